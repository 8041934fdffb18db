#include "cli/cohort_call.h"

#include "base/memory.h"
#include "base/printable.h"
#include "cli/node.h"
#include "cli/password.h"
#include "client/url.h"

#include <stdio.h>
#include <string.h>

enum { PROBLEM_BYTES = 256 };

int cohort_call_open(const struct cli_command *command, const char *url, struct cohort **ret_cohort)
{
    struct cohort_reply *reply = NULL;
    struct cohort_options options = {.size = sizeof(options), .flags = COHORT_FAIL_FAST, .password = password_given()};
    enum cohort_status status = cohort_open(url, &options, ret_cohort, &reply);
    if (status == COHORT_OK) {
        return CLI_CONTINUE;
    }
    char problem[PROBLEM_BYTES];
    cohort_call_problem(status, reply, problem, sizeof(problem));
    cohort_reply_free(reply);
    if (status == COHORT_INVALID) {
        return cli_error(command, EX_USAGE, "the URL '%s' is wrong: %s", url, problem);
    }
    return cli_error(command, status == COHORT_BUSY ? EX_UNAVAILABLE : EX_OSERR, "%s", problem);
}

/* By the URL alone: nothing is made for somebody who cannot use it. */
int cohort_call_shared(const struct cli_command *command, const char *url)
{
    static const char alone[] = "embedded:";
    if (url == NULL || strncmp(url, alone, strlen(alone)) != 0) {
        return CLI_CONTINUE;
    }
    return cli_error(command, EX_USAGE,
                     "embedded:// is of one process at a time, so no two commands would share a lock: give file:// or "
                     "sqlite:// on one machine, or cohort:// and start `cohort serve --data` on the folder");
}

int cohort_call_code(enum cohort_status status)
{
    switch (status) {
    case COHORT_OK: return EX_OK;
    case COHORT_INVALID: return EX_USAGE;
    case COHORT_DENIED: return EX_NOPERM;
    case COHORT_NOMEM:
    case COHORT_SYSTEM: return EX_OSERR;
    default: return EX_UNAVAILABLE;
    }
}

/* What a person can do about it, by how libcohort's words end. */
static const char *hint(struct cohort_bytes words)
{
    static const enum status seen[] = {STATUS_REFUSED, STATUS_NOTFOUND};
    for (size_t i = 0; i < sizeof(seen) / sizeof(seen[0]); i++) {
        const char *text = status_text(seen[i]);
        size_t size = strlen(text);
        if (words.size >= size && memcmp((const char *)words.data + words.size - size, text, size) == 0) {
            return node_hint(seen[i]);
        }
    }
    return "";
}

void cohort_call_problem(enum cohort_status status, const struct cohort_reply *reply, char *ret_text, size_t capacity)
{
    bool has_words = cohort_reply_type(reply) == COHORT_REPLY_ERROR;
    struct cohort_bytes words = has_words ? cohort_reply_bytes(reply) : cohort_text(cohort_status_text(status));
    const char *about_password = password_problem(slice_of(words.data, words.size));
    words = about_password == NULL ? words : cohort_text(about_password);
    size_t shown = printable_copy(slice_of(words.data, words.size), ret_text, capacity);
    if (status == COHORT_UNREACHABLE) {
        (void)snprintf(ret_text + shown, capacity - shown, "%s", hint(words));
    }
}

int cohort_call_failed(const struct cli_command *command, enum cohort_status status, const struct cohort_reply *reply)
{
    char problem[PROBLEM_BYTES];
    cohort_call_problem(status, reply, problem, sizeof(problem));
    return cli_error(command, cohort_call_code(status), "%s", problem);
}

/* ---- JSON ---- */

static json_t *text_json(const struct cohort_reply *reply)
{
    struct cohort_bytes text = cohort_reply_bytes(reply);
    json_t *json = json_stringn(text.data, text.size);
    if (json == NULL) { /* not UTF-8 */
        size_t capacity = 4 * text.size + 1;
        char *shown = memory_allocate(capacity);
        (void)printable_copy(slice_of(text.data, text.size), shown, capacity);
        json = json_string(shown);
        free(shown);
    }
    return json;
}

static json_t *map_json(const struct cohort_reply *reply)
{
    json_t *object = json_object();
    for (size_t i = 0; i + 1 < cohort_reply_count(reply); i += 2) {
        (void)json_object_set_new(object, cohort_reply_text(cohort_reply_at(reply, i)),
                                  cohort_call_json(cohort_reply_at(reply, i + 1)));
    }
    return object;
}

json_t *cohort_call_json(const struct cohort_reply *reply)
{
    switch (cohort_reply_type(reply)) {
    case COHORT_REPLY_NIL: return json_null();
    case COHORT_REPLY_STRING:
    case COHORT_REPLY_ERROR: return text_json(reply);
    case COHORT_REPLY_INTEGER: return json_integer(cohort_reply_integer(reply));
    case COHORT_REPLY_DOUBLE: return json_real(cohort_reply_double(reply));
    case COHORT_REPLY_MAP: return map_json(reply);
    case COHORT_REPLY_ARRAY: break;
    }
    json_t *array = json_array();
    for (size_t i = 0; i < cohort_reply_count(reply); i++) {
        (void)json_array_append_new(array, cohort_call_json(cohort_reply_at(reply, i)));
    }
    return array;
}

void cohort_call_print_json(json_t *json)
{
    (void)json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
    printf("\n");
    json_decref(json);
}
