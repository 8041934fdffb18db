/* cohort txn resolve: finishes what clients left prepared at databases and services. */
#include "base/printable.h"
#include "cli/cohort_call.h"
#include "cli/table.h"
#include "cli/txn.h"
#include "resource/resolve.h"
#include "resource/resource_url.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

#define ELECTION "cohort-txn-resolve"

enum {
    TARGETS = 32,
    SHOWN = 64,
    TERM_MS = 10000,
    EVERY_MS = 5000,
    WAIT_MS = 30000,
    TIMEOUT_DEFAULT_MS = 3000,
    EVERY_MAXIMUM_MS = 3600 * 1000,
    NS_PER_MS = 1000000,
};

struct resolver {
    const struct cli_command *command;
    const char *url;
    bool once, watch, json;
    int64_t every_ms, wait_ms, timeout_ms;
    struct resolve resolve;
    struct resolve_target targets[TARGETS];
    const char *urls[TARGETS];
    char labels[TARGETS][TXN_LABEL_BYTES];
    uint32_t count;
    struct cohort *cohort;
    struct table table;
    json_t *events;          /* of this round */
    uint32_t later, persons; /* of this round */
};

static volatile sig_atomic_t ended;

static void note_signal(int number) { ended = number; }

static int take_resource(const struct cli_command *command, void *data, const char *text)
{
    struct resolver *resolver = data;
    if (resolver->count == TARGETS) {
        return cli_error(command, EX_USAGE, "there are more than %d resources: run another one beside", TARGETS);
    }
    char *label = resolver->labels[resolver->count];
    int code = txn_take_participant(command, "resource", text, label, &resolver->urls[resolver->count]);
    for (uint32_t i = 0; i < resolver->count && code == CLI_CONTINUE; i++) {
        if (strcmp(resolver->labels[i], label) == 0) {
            code = cli_error(command, EX_USAGE, "'%s' stands for two resources", label);
        }
    }
    resolver->count += code == CLI_CONTINUE;
    return code;
}

/* ---- what is told ---- */

static const char *const ends[] = {
    [RESOLVE_COMMITTED] = "committed",   [RESOLVE_ROLLED_BACK] = "rolled back",
    [RESOLVE_UNDER_WAY] = "under way",   [RESOLVE_FAILED] = "not yet",
    [RESOLVE_PERSON] = "needs a person", [RESOLVE_ELSEWHERE] = "committed, not here",
};

static void tell(void *data, const struct resolve_event *event)
{
    struct resolver *resolver = data;
    resolver->later += event->end == RESOLVE_UNDER_WAY || event->end == RESOLVE_FAILED;
    resolver->persons += event->end == RESOLVE_PERSON;
    if (resolver->json) {
        char id[4 * BRANCH_TXID_BYTES];
        (void)printable_copy(slice_from_string(event->txid), id, sizeof(id));
        char words[4 * RESOURCE_PROBLEM_BYTES]; /* a server's, in whatever bytes */
        (void)printable_copy(slice_from_string(event->problem), words, sizeof(words));
        json_t *problem = words[0] == '\0' ? json_null() : json_string(words);
        (void)json_array_append_new(resolver->events,
                                    json_pack("{s:s, s:s, s:s, s:I, s:s, s:o}", "resource", event->label, "id", id,
                                              "branch", event->branch, "age_ms", (json_int_t)event->age_ms, "end",
                                              ends[event->end], "problem", problem));
        return;
    }
    struct table_cell *row = table_add_row(&resolver->table);
    table_set_text(&row[0], slice_from_string(event->label), SHOWN);
    table_set_text(&row[1], slice_from_string(event->txid), SHOWN);
    table_set_duration(&row[2], event->age_ms);
    table_set_text(&row[3], slice_from_string(ends[event->end]), SHOWN);
    row[3].colour = event->end <= RESOLVE_ROLLED_BACK ? TABLE_GOOD
                    : event->end == RESOLVE_PERSON    ? TABLE_BAD
                                                      : TABLE_WARN;
    table_set_text(&row[4], slice_from_string(event->problem), TABLE_CELL_BYTES - 1);
}

/* ---- rounds ---- */

static void round_at(struct resolver *resolver, struct resolve_target *target)
{
    char problem[4 * RESOURCE_PROBLEM_BYTES];
    resolve_listed(&resolver->resolve, target);
    if (target->is_down) {
        (void)printable_copy(slice_from_string(target->problem), problem, sizeof(problem));
        (void)cli_error(resolver->command, EX_OK, "%s: %s", target->label, problem);
        resolver->later++;
    }
}

static void print_round(struct resolver *resolver)
{
    if (resolver->json) {
        cohort_call_print_json(resolver->events);
    } else {
        table_print(&resolver->table);
    }
    (void)fflush(stdout);
}

static int do_round(struct resolver *resolver)
{
    struct cohort_reply *reply = NULL;
    struct resolve *resolve = &resolver->resolve;
    resolver->later = 0;
    resolver->persons = 0;
    enum cohort_status status = decision_cluster(resolver->cohort, resolve->cluster, &reply);
    bool knows = status == COHORT_OK;
    resolver->events = resolver->json ? json_array() : NULL;
    for (uint32_t i = 0; i < resolver->count && ended == 0 && knows; i++) {
        round_at(resolver, &resolver->targets[i]);
    }
    if (knows) {
        cohort_reply_free(reply);
        reply = NULL;
        status = resolve_unfinished(resolve, &reply);
    }
    print_round(resolver);
    int code = status != COHORT_OK     ? cohort_call_failed(resolver->command, status, reply)
               : resolver->persons > 0 ? TXN_PERSON
               : resolver->later > 0   ? TXN_LATER
                                       : EX_OK;
    cohort_reply_free(reply);
    return code;
}

static void pause_between(int64_t ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NS_PER_MS};
    if (ended == 0) {
        (void)nanosleep(&pause, NULL); /* a signal ends it */
    }
}

/* ---- in office: so that one works, and the others wait. Two at once would do no harm (resolve.h). ---- */

static int in_office(struct resolver *resolver, struct cohort_lock *office)
{
    struct cohort_keeper *keeper = NULL;
    struct cohort_reply *reply = NULL;
    int code = EX_OK;
    (void)cohort_keeper_start(office, 0, NULL, NULL, &keeper);
    do {
        code = do_round(resolver);
        if (resolver->watch) {
            pause_between(resolver->every_ms);
        }
    } while (resolver->watch && ended == 0 && cohort_lock_valid_until(office) != 0);
    cohort_keeper_stop(keeper);
    (void)cohort_lock_release(office, &reply);
    cohort_reply_free(reply);
    cohort_lock_free(office);
    return code;
}

/* One office after the other, until a signal comes or, without --watch, one round was done. */
static int campaign(struct resolver *resolver)
{
    const struct cohort_campaign wanted = {
        .size = sizeof(wanted), .ttl_ms = TERM_MS, .wait_ms = resolver->watch ? TERM_MS : resolver->wait_ms};
    do {
        struct cohort_lock *office = NULL;
        struct cohort_reply *reply = NULL;
        enum cohort_status status =
            cohort_elect_campaign(resolver->cohort, cohort_text(ELECTION), &wanted, &office, &reply);
        int code = EX_OK;
        if (status == COHORT_OK) {
            code = in_office(resolver, office);
        } else if (status == COHORT_NOT_GRANTED && !resolver->watch) {
            code = cli_error(resolver->command, TXN_LATER,
                             "another process resolves already: `cohort elect leader " ELECTION "` tells which");
        } else if (status != COHORT_NOT_GRANTED) {
            code = cohort_call_failed(resolver->command, status, reply);
        }
        cohort_reply_free(reply);
        if (!resolver->watch) {
            return code;
        }
        if (status != COHORT_OK && status != COHORT_NOT_GRANTED) {
            pause_between(resolver->every_ms);
        }
    } while (ended == 0);
    return EX_OK;
}

/* ---- the command ---- */

static int open_targets(struct resolver *resolver)
{
    for (uint32_t i = 0; i < resolver->count; i++) {
        char problem[RESOURCE_PROBLEM_BYTES];
        struct resolve_target *target = &resolver->targets[i];
        target->label = resolver->labels[i];
        resource_url_public(resolver->urls[i], target->url, sizeof(target->url));
        enum status status = resource_open(resolver->urls[i], &target->resource, problem);
        if (status != STATUS_OK) {
            target->resource = NULL;
            return cli_error(resolver->command, status == STATUS_INVALID ? EX_USAGE : EX_UNAVAILABLE, "%s: %s",
                             target->label, problem);
        }
    }
    return CLI_CONTINUE;
}

static int resolve(struct resolver *resolver)
{
    static const char *const titles[] = {"RESOURCE", "TRANSACTION", "AGE", "END", "PROBLEM", NULL};
    resolver->table.titles = titles;
    struct sigaction action = {.sa_handler = note_signal}; /* without SA_RESTART: a pause ends */
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* what a participant closes is no end of this */
    int code = open_targets(resolver);
    code = code == CLI_CONTINUE ? cohort_call_open(resolver->command, resolver->url, &resolver->cohort) : code;
    if (code == CLI_CONTINUE) {
        resolver->resolve = (struct resolve){.cohort = resolver->cohort,
                                             .targets = resolver->targets,
                                             .count = resolver->count,
                                             .timeout_ms = resolver->timeout_ms,
                                             .ended = &ended,
                                             .told = tell,
                                             .data = resolver};
        code = campaign(resolver);
        cohort_close(resolver->cohort);
    }
    for (uint32_t i = 0; i < resolver->count; i++) {
        resource_close(resolver->targets[i].resource);
    }
    table_deinit(&resolver->table);
    return code;
}

static int run_resolve(const struct cli_command *command, int argc, char **argv)
{
    static struct resolver resolver;
    resolver = (struct resolver){
        .command = command, .every_ms = EVERY_MS, .wait_ms = WAIT_MS, .timeout_ms = TIMEOUT_DEFAULT_MS};
    struct cli_each resources = {take_resource, &resolver};
    const struct cli_option options[] = {
        {"resource", CLI_EACH, &resources, "NAME=URL", "where to look; several may be given"},
        {"once", CLI_FLAG, &resolver.once, NULL, "one round (default)"},
        {"watch", CLI_FLAG, &resolver.watch, NULL, "stay, and look again and again"},
        {"every", CLI_DURATION, &resolver.every_ms, "DURATION", "between two looks (default 5s)", 100,
         EVERY_MAXIMUM_MS},
        {"wait", CLI_DURATION, &resolver.wait_ms, "DURATION", "for others that resolve (default 30s)", 0,
         EVERY_MAXIMUM_MS},
        {"timeout", CLI_DURATION, &resolver.timeout_ms, "DURATION", "for each question to a resource (default 3s)", 50,
         EVERY_MAXIMUM_MS},
        {"json", CLI_FLAG, &resolver.json, NULL, "print JSON, an array for each round"},
        {"url", CLI_TEXT, &resolver.url, "URL", "of the cohort (default cohort://127.0.0.1:6379)"},
        {0},
    };
    struct cli_arguments arguments;
    int code = cli_parse(command, options, argc, argv, &arguments);
    if (code == CLI_CONTINUE && (resolver.count == 0 || (resolver.once && resolver.watch))) {
        (void)cli_error(command, EX_USAGE, "%s",
                        resolver.count == 0 ? "say where to look: --resource NAME=URL"
                                            : "--once and --watch exclude each other");
        return cli_usage_hint(command);
    }
    return code == CLI_CONTINUE ? resolve(&resolver) : code;
}

const struct cli_command cli_txn_resolve = {
    .name = "txn resolve",
    .arguments = "--resource NAME=URL …",
    .arguments_maximum = 0,
    .summary = "finish what clients have left prepared",
    .details = "Lists what each resource has prepared for this cluster, then asks what was decided\n"
               "about each, then commits it or rolls it back. What is still under way is left alone,\n"
               "and so is what belongs to others, or to the cluster before it was restored from a\n"
               "backup. Of several that run with --watch one works, and the others take its place.\n"
               "Run one for as long as there are transactions with databases.\n\n"
               "Exit status: 0 nothing is left prepared, 75 something is under way or did not\n"
               "answer, 65 something needs a person, 69 no answer of the cohort, 64 wrong usage.",
    .examples =
        "  cohort txn resolve --resource bank=postgresql://app@db/bank\n"
        "  cohort txn resolve --resource a=postgresql://app@db1/bank --resource b=postgresql://app@db2/bank --watch\n",
    .run = run_resolve,
};
