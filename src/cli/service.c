/* cohort service: endpoints of services, registered, listed, drained. */
#include "cli/service.h"

#include "cli/actions.h"
#include "cli/cohort_call.h"
#include "cli/table.h"

#include <stdio.h>

enum { ID_SHOWN = 64, ADDRESS_SHOWN = 64, ZONE_SHOWN = 24, META_SHOWN = 64 };

struct words {
    const char *name, *id;
    bool json;
};

/* Parses, opens; so many words there must be. CLI_CONTINUE, or the exit code. */
static int begin(const struct cli_command *command, int argc, char **argv, bool shows, int count,
                 struct words *ret_words, struct cohort **ret_cohort)
{
    const char *url = NULL;
    *ret_words = (struct words){.json = false};
    const struct cli_option options[] = {
        {"url", CLI_TEXT, &url, "URL", "of the cohort (default cohort://127.0.0.1:6379)"},
        {shows ? "json" : NULL, CLI_FLAG, &ret_words->json, NULL, "print JSON"},
        {0},
    };
    struct cli_arguments arguments;
    int code = cli_parse(command, options, argc, argv, &arguments);
    if (code == CLI_CONTINUE && arguments.count < count) {
        (void)cli_error(command, EX_USAGE,
                        arguments.count == 0 ? "the name of the service is missing"
                                             : "the id of the endpoint is missing");
        code = cli_usage_hint(command);
    }
    ret_words->name = arguments.count > 0 ? arguments.items[0] : NULL;
    ret_words->id = arguments.count > 1 ? arguments.items[1] : NULL;
    return code == CLI_CONTINUE ? cohort_call_open(command, url, ret_cohort) : code;
}

/* ---- list ---- */

static void set_text(struct table_cell *cell, const struct cohort_reply *map, const char *name, size_t longest)
{
    struct cohort_bytes text = cohort_reply_bytes(cohort_reply_get(map, name));
    table_set_text(cell, slice_of(text.data, text.size), longest);
}

static int64_t number_of(const struct cohort_reply *map, const char *name)
{
    return cohort_reply_integer(cohort_reply_get(map, name));
}

static void print_endpoints(const struct cohort_reply *endpoints)
{
    static const char *const titles[] = {"ID", "ADDRESS", "STATE", "WEIGHT", "ZONE", "AGE", "LEFT", NULL};
    struct table table = {.titles = titles};
    for (size_t i = 0; i < cohort_reply_count(endpoints); i++) {
        const struct cohort_reply *endpoint = cohort_reply_at(endpoints, i);
        struct table_cell *row = table_add_row(&table);
        set_text(&row[0], endpoint, "id", ID_SHOWN);
        set_text(&row[1], endpoint, "address", ADDRESS_SHOWN);
        set_text(&row[2], endpoint, "state", ID_SHOWN);
        row[2].colour = strcmp(row[2].text, "up") == 0 ? TABLE_GOOD : TABLE_WARN;
        table_set_number(&row[3], number_of(endpoint, "weight"));
        set_text(&row[4], endpoint, "zone", ZONE_SHOWN);
        table_set_duration(&row[5], number_of(endpoint, "age_ms"));
        table_set_duration(&row[6], number_of(endpoint, "ttl_ms"));
    }
    table_print(&table);
    table_deinit(&table);
}

static int run_list(const struct cli_command *command, int argc, char **argv)
{
    struct words words;
    struct cohort *cohort;
    int code = begin(command, argc, argv, true, 1, &words, &cohort);
    if (code != CLI_CONTINUE) {
        return code;
    }
    const struct cohort_bytes ask[] = {cohort_text("SERVICE.LIST"), cohort_text(words.name)};
    const struct cohort_call call = {.size = sizeof(call), .flags = COHORT_READ};
    struct cohort_reply *reply = NULL;
    enum cohort_status status = cohort_command(cohort, 2, ask, &call, &reply);
    if (status == COHORT_OK && words.json) {
        cohort_call_print_json(cohort_call_json(reply));
    } else if (status == COHORT_OK && cohort_reply_count(reply) > 0) {
        print_endpoints(reply);
    }
    code = status != COHORT_OK ? cohort_call_failed(command, status, reply)
           : cohort_reply_count(reply) == 0
               ? (words.json ? 1 : cli_error(command, 1, "'%s' has no endpoints", words.name))
               : EX_OK;
    cohort_reply_free(reply);
    cohort_close(cohort);
    return code;
}

static const struct cli_command service_list = {
    .name = "service list",
    .arguments = "NAME",
    .arguments_maximum = 1,
    .summary = "show where a service can be reached",
    .details = "LEFT is what remains of each lease; - when it ends with a session.\n"
               "Exit status: 0 there are some, 1 there are none, 69 no answer, 64 wrong usage.",
    .examples = "  cohort service list web\n"
                "  cohort service list web --json\n",
    .run = run_list,
};

/* ---- drain, remove ---- */

static int run_change(const struct cli_command *command, int argc, char **argv, const char *verb)
{
    struct words words;
    struct cohort *cohort;
    int code = begin(command, argc, argv, false, 2, &words, &cohort);
    if (code != CLI_CONTINUE) {
        return code;
    }
    const struct cohort_bytes ask[] = {cohort_text(verb), cohort_text(words.name), cohort_text(words.id)};
    const struct cohort_call call = {.size = sizeof(call), .flags = COHORT_AGAIN};
    struct cohort_reply *reply = NULL;
    enum cohort_status status = cohort_command(cohort, 3, ask, &call, &reply);
    code = status != COHORT_OK                ? cohort_call_failed(command, status, reply)
           : cohort_reply_integer(reply) == 1 ? EX_OK
                                              : cli_error(command, 1,
                                                          "'%s' has no endpoint '%s'; `cohort service list` "
                                                          "shows those it has",
                                                          words.name, words.id);
    cohort_reply_free(reply);
    cohort_close(cohort);
    return code;
}

static int run_drain(const struct cli_command *command, int argc, char **argv)
{
    return run_change(command, argc, argv, "SERVICE.DRAIN");
}

static int run_remove(const struct cli_command *command, int argc, char **argv)
{
    return run_change(command, argc, argv, "SERVICE.REMOVE");
}

static const struct cli_command service_drain = {
    .name = "service drain",
    .arguments = "NAME ID",
    .arguments_maximum = 2,
    .summary = "no new work for an endpoint; it stays listed until it goes",
    .details = "Exit status: 0 it drains, 1 there is no such endpoint, 69 no answer, 64 wrong usage.",
    .examples = "  cohort service drain web web-1\n",
    .run = run_drain,
};

static const struct cli_command service_remove = {
    .name = "service remove",
    .arguments = "NAME ID",
    .arguments_maximum = 2,
    .summary = "take an endpoint away",
    .details = "Who keeps it registered registers it again: end that first.\n"
               "Exit status: 0 it is gone, 1 there was none, 69 no answer, 64 wrong usage.",
    .examples = "  cohort service remove web web-1\n",
    .run = run_remove,
};

static int run(const struct cli_command *command, int argc, char **argv)
{
    static const struct cli_command *const actions[] = {&cli_service_register, &service_list, &service_drain,
                                                        &service_remove, NULL};
    return actions_run(command, actions, argc, argv);
}

const struct cli_command cli_service = {
    .name = "service",
    .arguments = "register NAME ADDR | list NAME | drain NAME ID | remove NAME ID",
    .summary = "register, list and drain where a service can be reached",
    .examples = "  cohort service register web 10.0.0.1:8080 -- ./serve.sh\n"
                "  cohort service list web\n"
                "  cohort service drain web web-1\n",
    .run = run,
};
