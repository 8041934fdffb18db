/* cohort node transfer: has a node lead a shard, and waits until it does. */
#include "cli/node_transfer.h"

#include "base/memory.h"
#include "cli/cohort_call.h"
#include "cli/status_view.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WAIT_MS = 10000, LOOK_MS = 100, ASK_MS = 1000 };

struct transfer {
    const struct cli_command *command;
    struct client_url url;
    const char *shard, *node; /* as they were given */
    int64_t wait_ms;
};

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- whether it leads ---- */

/* The shard as the cluster sees it now; false when nobody answers. */
static bool look(const struct transfer *transfer, struct view *view, struct view_shard *ret_shard)
{
    bool answered = view_ask(&transfer->url, ASK_MS, view);
    if (answered) {
        view_shard(view, (uint32_t)strtoul(transfer->shard, NULL, 10), ret_shard);
    }
    return answered;
}

static int still_waits(const struct transfer *transfer, const struct view_shard *shard, bool answered)
{
    if (!answered) {
        return cli_error(transfer->command, EX_TEMPFAIL,
                         "it is written down, but nobody answers any more; `cohort status` shows who leads");
    }
    char leader[48] = "nobody leads it";
    if (shard->led != NULL) {
        (void)snprintf(leader, sizeof(leader), "node %" PRId64 " leads it", shard->led->id);
    }
    return cli_error(transfer->command, EX_TEMPFAIL,
                     "it is written down, but %s yet: node %s gets shard %s when it has all that the leader has; "
                     "`cohort status` shows how far behind it is",
                     leader, transfer->node, transfer->shard);
}

static int wait_for_leader(const struct transfer *transfer)
{
    int64_t until_ms = now_ms() + transfer->wait_ms;
    struct view *view = memory_allocate(sizeof(*view));
    int code = CLI_CONTINUE;
    while (code == CLI_CONTINUE) {
        struct view_shard shard = {0};
        bool answered = look(transfer, view, &shard);
        if (answered && shard.led != NULL && shard.led->id == strtoll(transfer->node, NULL, 10)) {
            printf("node %s leads shard %s\n", transfer->node, transfer->shard);
            code = EX_OK;
        } else if (now_ms() >= until_ms) {
            code = still_waits(transfer, &shard, answered);
        } else {
            (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
        }
        view_close(view);
    }
    free(view);
    return code;
}

/* ---- the command ---- */

static int say(const struct transfer *transfer, const char *url)
{
    struct cohort *cohort;
    int code = cohort_call_open(transfer->command, url, &cohort);
    if (code != CLI_CONTINUE) {
        return code;
    }
    const struct cohort_bytes argv[] = {cohort_text("COHORT.TRANSFER"), cohort_text(transfer->shard),
                                        cohort_text(transfer->node)};
    const struct cohort_call call = {0};
    struct cohort_reply *reply = NULL;
    enum cohort_status status = cohort_command(cohort, sizeof(argv) / sizeof(argv[0]), argv, &call, &reply);
    if (status != COHORT_OK) {
        code = cohort_call_failed(transfer->command, status, reply);
    }
    cohort_reply_free(reply);
    cohort_close(cohort);
    return code;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct transfer transfer = {.command = command, .wait_ms = WAIT_MS};
    const char *url = CLIENT_URL_DEFAULT;
    const struct cli_option options[] = {
        {"wait", CLI_DURATION, &transfer.wait_ms, "DURATION", "until it leads, 0 not at all (default 10s)", 0,
         86400000},
        {"url", CLI_TEXT, &url, "URL", "of the cohort (default cohort://127.0.0.1:6379)"},
        {0},
    };
    struct cli_arguments arguments;
    int code = cli_parse(command, options, argc, argv, &arguments);
    if (code == CLI_CONTINUE && arguments.count < 2) {
        (void)cli_error(command, EX_USAGE, "say which shard, and which node is to lead it");
        code = cli_usage_hint(command);
    }
    code = code == CLI_CONTINUE ? node_parse_url(command, url, &transfer.url) : code;
    if (code != CLI_CONTINUE) {
        return code;
    }
    transfer.shard = arguments.items[0];
    transfer.node = arguments.items[1];
    code = say(&transfer, url);
    if (code == CLI_CONTINUE && transfer.wait_ms == 0) {
        return EX_OK;
    }
    return code == CLI_CONTINUE ? wait_for_leader(&transfer) : code;
}

const struct cli_command cli_node_transfer = {
    .name = "node transfer",
    .arguments = "SHARD NODE",
    .arguments_maximum = 2,
    .summary = "have a node lead a shard",
    .details = "Writes down for the whole cluster that this node is to lead the shard, and waits\n"
               "until it does. The node must vote in the shard. Requests wait a moment while it is\n"
               "handed over; one that lags gets it when it has caught up. When the node is lost\n"
               "another one leads, and when it is back and has caught up it gets the shard again.\n"
               "\n"
               "Exit status: 0 it leads, 75 not yet, 69 no answer or refused, 64 wrong usage.",
    .examples = "  cohort node transfer 3 2\n"
                "  cohort node transfer 3 2 --wait 0 --url cohort://10.0.0.1:6379\n",
    .run = run,
};
