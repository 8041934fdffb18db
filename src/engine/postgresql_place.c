#include "engine/postgresql_place.h"

#include <stdio.h>
#include <stdlib.h>

#define SCHEMA_DEFAULT "cohort"

static enum status refuse(char problem[static ENGINE_PROBLEM_BYTES], const char *words)
{
    (void)snprintf(problem, ENGINE_PROBLEM_BYTES, "%s", words);
    return STATUS_INVALID;
}

/* ---- the schema ---- */

static bool is_letter(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_';
}

static bool take_schema(struct pg_place *place, struct slice name)
{
    bool plain = name.size > 0 && name.size < sizeof(place->schema) && is_letter(name.data[0]);
    for (size_t i = 0; plain && i < name.size; i++) {
        plain = is_letter(name.data[i]) || (name.data[i] >= '0' && name.data[i] <= '9');
    }
    if (plain) {
        memcpy(place->schema, name.data, name.size);
        place->schema[name.size] = '\0';
    }
    return plain;
}

static bool is_ours(const char *option, size_t size)
{
    size_t name = strcspn(option, "=");
    struct slice word = slice_of(option, name < size ? name : size);
    return slice_equal(word, SLICE_LITERAL("timeout")) || slice_equal(word, SLICE_LITERAL("schema"));
}

/* ---- libpq's part ---- */

/* The URL without what is ours. NULL: memory was refused. */
static char *libpq_url(const char *text)
{
    char *made = malloc(strlen(text) + 1);
    size_t start = strcspn(text, "?");
    if (made == NULL) {
        return NULL;
    }
    memcpy(made, text, start);
    size_t size = start;
    char mark = '?';
    for (const char *at = text + start; *at != '\0';) {
        at++; /* ? or & */
        size_t option = strcspn(at, "&");
        if (option > 0 && !is_ours(at, option)) {
            made[size++] = mark;
            memcpy(&made[size], at, option);
            size += option;
            mark = '&';
        }
        at += option;
    }
    made[size] = '\0';
    return made;
}

/* Its words may repeat the whole URL, with the password. */
static enum status refuse_url(char problem[static ENGINE_PROBLEM_BYTES], const char *words)
{
    static const char unknown[] = "invalid URI query parameter: ";
    if (words != NULL && strncmp(words, unknown, strlen(unknown)) == 0) {
        const char *name = words + strlen(unknown);
        (void)snprintf(problem, ENGINE_PROBLEM_BYTES,
                       "unknown option %.*s; there are: schema=NAME, timeout=DURATION and those of libpq",
                       (int)strcspn(name, "\n"), name);
        return STATUS_INVALID;
    }
    return refuse(problem, "libpq does not understand this URL: postgresql://user@host:port/database[?option=value&…], "
                           "with %40 for an @ and %2F for a slash in a name or a password");
}

static const char *value_of(const struct pg_place *place, const char *name)
{
    for (const PQconninfoOption *at = place->options; at->keyword != NULL; at++) {
        if (strcmp(at->keyword, name) == 0) {
            return at->val != NULL && at->val[0] != '\0' ? at->val : NULL;
        }
    }
    return NULL;
}

/* ---- the servers ---- */

static enum status cut(struct pg_pieces *pieces, const char *text, char problem[static ENGINE_PROBLEM_BYTES])
{
    if (text == NULL) {
        return STATUS_OK;
    }
    pieces->text = strdup(text);
    if (pieces->text == NULL) {
        (void)refuse(problem, "memory was refused");
        return STATUS_NOMEM;
    }
    char *at = pieces->text;
    for (;;) {
        if (pieces->count == PG_HOSTS) {
            return refuse(problem, "the URL has too many hosts: 16 at most");
        }
        pieces->pieces[pieces->count++] = at;
        at += strcspn(at, ",");
        if (*at == '\0') {
            return STATUS_OK;
        }
        *at++ = '\0';
    }
}

static enum status cut_servers(struct pg_place *place, char problem[static ENGINE_PROBLEM_BYTES])
{
    enum status status = cut(&place->hosts, value_of(place, "host"), problem);
    status = status == STATUS_OK ? cut(&place->addresses, value_of(place, "hostaddr"), problem) : status;
    status = status == STATUS_OK ? cut(&place->ports, value_of(place, "port"), problem) : status;
    if (status != STATUS_OK) {
        return status;
    }
    uint32_t hosts = place->hosts.count;
    uint32_t addresses = place->addresses.count;
    place->count = addresses > 0 ? addresses : hosts > 0 ? hosts : 1;
    bool fit = (hosts == 0 || hosts == place->count) && (place->ports.count <= 1 || place->ports.count == place->count);
    return fit ? STATUS_OK : refuse(problem, "the URL has not as many hosts as addresses or ports");
}

static enum status take_options(struct pg_place *place, const struct engine_url *url,
                                char problem[static ENGINE_PROBLEM_BYTES])
{
    for (uint32_t i = 0; i < url->option_count; i++) {
        const struct engine_option *option = &url->options[i];
        if (slice_equal(option->name, SLICE_LITERAL("schema")) && !take_schema(place, option->value)) {
            return refuse(problem, "schema must be at most 63 letters, digits and _, and begin with no digit");
        }
    }
    char *text = libpq_url(url->text);
    if (text == NULL) {
        (void)refuse(problem, "memory was refused");
        return STATUS_NOMEM;
    }
    char *words = NULL;
    place->options = PQconninfoParse(text, &words);
    free(text);
    enum status status = place->options == NULL ? refuse_url(problem, words) : STATUS_OK;
    PQfreemem(words);
    return status;
}

enum status pg_place_init(struct pg_place *place, const struct engine_url *url,
                          char problem[static ENGINE_PROBLEM_BYTES])
{
    *place = (struct pg_place){.schema = SCHEMA_DEFAULT};
    enum status status = take_options(place, url, problem);
    if (status == STATUS_OK && value_of(place, "dbname") == NULL && value_of(place, "service") == NULL) {
        status = refuse(problem, "the URL names no database: postgresql://user@host:port/database");
    }
    return status == STATUS_OK ? cut_servers(place, problem) : status;
}

void pg_place_deinit(struct pg_place *place)
{
    PQconninfoFree(place->options);
    free(place->hosts.text);
    free(place->addresses.text);
    free(place->ports.text);
    *place = (struct pg_place){0};
}

/* ---- for one connection ---- */

static const char *piece_of(const struct pg_pieces *pieces, uint32_t server)
{
    return pieces->count == 1 ? pieces->pieces[0] : pieces->pieces[server];
}

void pg_place_words(const struct pg_place *place, uint32_t server, const char *ret_keywords[static PG_WORDS],
                    const char *ret_values[static PG_WORDS])
{
    size_t count = 0;
    for (const PQconninfoOption *at = place->options; at->keyword != NULL && count < PG_WORDS - 3; at++) {
        if (at->val == NULL) {
            continue;
        }
        bool empty = at->val[0] == '\0';
        ret_keywords[count] = at->keyword;
        ret_values[count++] = !empty && strcmp(at->keyword, "host") == 0       ? piece_of(&place->hosts, server)
                              : !empty && strcmp(at->keyword, "hostaddr") == 0 ? piece_of(&place->addresses, server)
                              : !empty && strcmp(at->keyword, "port") == 0     ? piece_of(&place->ports, server)
                                                                               : at->val;
    }
    if (place->count > 1 && value_of(place, "target_session_attrs") == NULL) {
        ret_keywords[count] = "target_session_attrs";
        ret_values[count++] = "read-write"; /* standbys keep no locks */
    }
    ret_keywords[count] = "fallback_application_name";
    ret_values[count++] = "cohort";
    ret_keywords[count] = NULL;
    ret_values[count] = NULL;
}
