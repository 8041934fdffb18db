/* cohort elect: a command while this process leads, and who leads. */
#include "base/printable.h"
#include "cli/actions.h"
#include "cli/cohort_call.h"
#include "cli/hold.h"
#include "cli/table.h"

#include <stdio.h>

enum { SHOWN = 128 };

/* ---- run ---- */

static int run_run(const struct cli_command *command, int argc, char **argv)
{
    struct hold_options given = {.is_office = true,
                                 .note = "",
                                 .ttl_ms = HOLD_TTL_MS,
                                 .wait_ms = -1,
                                 .wait_default_ms = HOLD_WAIT_MAXIMUM_MS,
                                 .grace_ms = -1};
    const struct cli_option options[] = {
        {"ttl", CLI_DURATION, &given.ttl_ms, "DURATION", "of the term, renewed meanwhile (default 10s)",
         HOLD_TTL_MINIMUM_MS, HOLD_TTL_MAXIMUM_MS},
        {"wait", CLI_DURATION, &given.wait_ms, "DURATION",
         "to lead, 0 not at all (default a year); given, also for a node to come", 0, HOLD_WAIT_MAXIMUM_MS},
        {"value", CLI_TEXT, &given.value, "TEXT", "for who asks for the leader, such as an address"},
        {"grace", CLI_DURATION, &given.grace_ms, "DURATION",
         "between SIGTERM and SIGKILL (default a fifth of --ttl, 5s at most)", 0, HOLD_TTL_MAXIMUM_MS},
        {"url", CLI_TEXT, &given.url, "URL", "of the cohort (default cohort://127.0.0.1:6379)"},
        {0},
    };
    struct cli_arguments arguments;
    int code = cli_parse(command, options, argc, argv, &arguments);
    code = code == CLI_CONTINUE ? hold_take_words(command, &arguments, &given) : code;
    return code == CLI_CONTINUE ? hold_run(command, &given) : code;
}

static const struct cli_command elect_run = {
    .name = "elect run",
    .arguments = "NAME -- COMMAND …",
    .arguments_maximum = 1,
    .summary = "run a command while this process leads",
    .details = "Campaigns, waits until it leads, runs the command with the term's token in\n"
               "COHORT_TOKEN, renews the term meanwhile, and resigns when the command has ended.\n"
               "The command is gone before anybody else leads; signals, the end of this process\n"
               "and exit status are as those of `cohort lock run`: 75 did not lead in time, 76 led\n"
               "no more while the command ran. Where nobody listens it ends at once; when --wait is\n"
               "given, after that time.",
    .examples = "  cohort elect run billing --value 10.0.0.1:8080 -- ./serve.sh\n"
                "  cohort elect run billing --wait 0 -- ./job.sh\n",
    .run = run_run,
};

/* ---- leader ---- */

static void print_field(const char *title, const struct cohort_reply *leader, const char *name)
{
    char shown[4 * SHOWN];
    struct cohort_bytes text = cohort_reply_bytes(cohort_reply_get(leader, name));
    (void)printable_copy(slice_of(text.data, text.size), shown, sizeof(shown));
    if (text.size > 0) {
        printf("%-10s %s\n", title, shown);
    }
}

static void print_leader(const struct cohort_reply *leader)
{
    struct table_cell left;
    table_set_duration(&left, cohort_reply_integer(cohort_reply_get(leader, "ttl_ms")));
    print_field("candidate", leader, "candidate");
    print_field("value", leader, "value");
    printf("%-10s %lld\n", "token", (long long)cohort_reply_integer(cohort_reply_get(leader, "token")));
    printf("%-10s %s\n", "left", left.text);
}

static int run_leader(const struct cli_command *command, int argc, char **argv)
{
    bool json = false;
    const char *url = NULL;
    const struct cli_option options[] = {
        {"json", CLI_FLAG, &json, NULL, "print JSON; null when nobody leads"},
        {"url", CLI_TEXT, &url, "URL", "of the cohort (default cohort://127.0.0.1:6379)"},
        {0},
    };
    struct cli_arguments arguments;
    struct cohort *cohort;
    int code = cli_parse(command, options, argc, argv, &arguments);
    if (code == CLI_CONTINUE && arguments.count == 0) {
        (void)cli_error(command, EX_USAGE, "the name of the election is missing");
        code = cli_usage_hint(command);
    }
    code = code == CLI_CONTINUE ? cohort_call_open(command, url, &cohort) : code;
    if (code != CLI_CONTINUE) {
        return code;
    }
    struct cohort_reply *leader = NULL;
    enum cohort_status status = cohort_elect_leader(cohort, cohort_text(arguments.items[0]), &leader);
    if (json && (status == COHORT_OK || status == COHORT_NOTFOUND)) {
        cohort_call_print_json(cohort_call_json(leader));
    } else if (status == COHORT_OK) {
        print_leader(leader);
    }
    code = status == COHORT_OK         ? EX_OK
           : status == COHORT_NOTFOUND ? cli_error(command, 1, "nobody leads '%s'", arguments.items[0])
                                       : cohort_call_failed(command, status, leader);
    cohort_reply_free(leader);
    cohort_close(cohort);
    return code;
}

static const struct cli_command elect_leader = {
    .name = "elect leader",
    .arguments = "NAME",
    .arguments_maximum = 1,
    .summary = "show who leads",
    .details = "Exit status: 0 somebody leads, 1 nobody does, 69 no answer, 64 wrong usage.",
    .examples = "  cohort elect leader billing\n"
                "  cohort elect leader billing --json\n",
    .run = run_leader,
};

static int run(const struct cli_command *command, int argc, char **argv)
{
    static const struct cli_command *const actions[] = {&elect_run, &elect_leader, NULL};
    return actions_run(command, actions, argc, argv);
}

const struct cli_command cli_elect = {
    .name = "elect",
    .arguments = "run NAME -- COMMAND … | leader NAME",
    .summary = "run a command while this process leads; show who leads",
    .examples = "  cohort elect run billing --value 10.0.0.1:8080 -- ./serve.sh\n"
                "  cohort elect leader billing\n",
    .run = run,
};
