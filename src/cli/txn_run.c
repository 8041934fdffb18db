/* cohort txn run: statements at a cohort and at resources, all or none of them. */
#include "base/memory.h"
#include "base/printable.h"
#include "cli/cohort_call.h"
#include "cli/table.h"
#include "cli/txn.h"
#include "cli/words.h"
#include "resource/work.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { STEPS_MAXIMUM = 1024, SHOWN = 60, AT_COHORT = -1, TIMEOUT_DEFAULT_MS = 30000, TIMEOUT_MAXIMUM_MS = 3600 * 1000 };

struct step {
    int part; /* AT_COHORT: cohort itself */
    const char *text;
    json_t *result; /* NULL: not done */
};

struct run {
    const struct cli_command *command;
    const char *url; /* NULL: the default */
    const char *cohort_label;
    struct step steps[STEPS_MAXIMUM];
    int count;
    int at; /* where the next --do goes */
    char labels[WORK_PARTS + 1][TXN_LABEL_BYTES];
    char at_cohort[TXN_LABEL_BYTES];
    struct work work;
    bool json;
};

/* ---- options ---- */

/* "cohort://…": the transaction's home. */
static int take_home(struct run *run, const char *label, const char *url)
{
    if (run->url != NULL && strcmp(run->url, url) != 0) {
        return cli_error(run->command, EX_USAGE, "a transaction has one home: '%s' and '%s' are two cohorts", run->url,
                         url);
    }
    (void)snprintf(run->at_cohort, sizeof(run->at_cohort), "%s", label);
    run->url = url;
    run->at = AT_COHORT;
    return CLI_CONTINUE;
}

static int take_on(const struct cli_command *command, void *data, const char *text)
{
    struct run *run = data;
    struct work *work = &run->work;
    for (uint32_t i = 0; i < work->count; i++) { /* one that was named before */
        if (strcmp(work->parts[i].label, text) == 0) {
            run->at = (int)i;
            return CLI_CONTINUE;
        }
    }
    if (strcmp(run->at_cohort, text) == 0) {
        run->at = AT_COHORT;
        return CLI_CONTINUE;
    }
    const char *url;
    char *label = run->labels[work->count];
    int code = txn_take_participant(command, "on", text, label, &url);
    if (code != CLI_CONTINUE) {
        return code;
    }
    if (strncmp(url, "cohort://", strlen("cohort://")) == 0) {
        return take_home(run, label, url);
    }
    if (strcmp(run->at_cohort, label) == 0 || !work_add(work, label, url)) {
        return cli_error(command, EX_USAGE, "--on: %s",
                         work->problem[0] == '\0' ? "that name is cohort's own" : work->problem);
    }
    run->at = (int)work->count - 1;
    return CLI_CONTINUE;
}

static int take_do(const struct cli_command *command, void *data, const char *text)
{
    struct run *run = data;
    if (run->count == STEPS_MAXIMUM) {
        return cli_error(command, EX_USAGE, "there are more than %d statements", STEPS_MAXIMUM);
    }
    run->steps[run->count++] = (struct step){.part = run->at, .text = text};
    return CLI_CONTINUE;
}

static int take_protocol(const struct cli_command *command, const char *text, enum cohort_txn_protocol *ret_protocol)
{
    if (text == NULL || strcmp(text, "2pc") == 0) {
        *ret_protocol = text == NULL ? COHORT_TXN_DEFAULT : COHORT_TXN_2PC;
        return CLI_CONTINUE;
    }
    if (strcmp(text, "3pc") != 0) {
        (void)cli_error(command, EX_USAGE, "--protocol: '%s' is neither 2pc nor 3pc", text);
        return cli_usage_hint(command);
    }
    *ret_protocol = COHORT_TXN_3PC;
    return CLI_CONTINUE;
}

/* ---- the statements ---- */

static bool do_command(struct run *run, struct step *step)
{
    struct words *words = memory_allocate_zeroed(1, sizeof(*words));
    const char *problem = words_split(words, step->text);
    struct cohort_reply *reply = NULL;
    bool done = problem == NULL;
    if (!done) {
        (void)snprintf(run->work.problem, sizeof(run->work.problem), "'%s' is no command: %s", step->text, problem);
    } else {
        struct cohort_bytes argv[WORDS_MAXIMUM];
        for (size_t i = 0; i < words->count; i++) {
            argv[i] = cohort_bytes_of(words->items[i].data, words->items[i].size);
        }
        done = work_command(&run->work, words->count, argv, &reply);
    }
    if (done) {
        step->result = cohort_call_json(reply);
        cohort_reply_free(reply);
    }
    words_deinit(words);
    free(words);
    return done;
}

static bool do_statement(struct run *run, struct step *step)
{
    int64_t changed = 0;
    if (step->part == AT_COHORT) {
        return do_command(run, step);
    }
    if (!work_run(&run->work, (uint32_t)step->part, step->text, &changed)) {
        return false;
    }
    step->result = json_integer(changed);
    return true;
}

static enum work_end do_all(struct run *run, const struct work_options *options, struct cohort *cohort)
{
    bool fine = work_begin(&run->work, cohort, options);
    for (int i = 0; i < run->count && fine; i++) {
        fine = do_statement(run, &run->steps[i]);
    }
    if (fine) {
        return work_commit(&run->work);
    }
    work_roll_back(&run->work);
    return WORK_ROLLED_BACK;
}

/* ---- what is told ---- */

static const char *label_of(const struct run *run, int part)
{
    return part == AT_COHORT ? run->at_cohort : run->work.parts[part].label;
}

static const char *word_of(enum work_end end)
{
    return end == WORK_COMMITTED ? "committed" : end == WORK_ROLLED_BACK ? "rolled back" : "in doubt";
}

/* In whatever bytes it is. NULL for an empty one. */
static json_t *text_json(const char *text)
{
    size_t capacity = 4 * strlen(text) + 1;
    char *shown = memory_allocate(capacity);
    (void)printable_copy(slice_from_string(text), shown, capacity);
    json_t *json = shown[0] == '\0' ? json_null() : json_string(shown);
    free(shown);
    return json;
}

static void print_json(const struct run *run, enum work_end end)
{
    json_t *statements = json_array();
    for (int i = 0; i < run->count; i++) {
        const struct step *step = &run->steps[i];
        (void)json_array_append_new(statements, json_pack("{s:s, s:o, s:O?}", "at", label_of(run, step->part), "do",
                                                          text_json(step->text), "result", step->result));
    }
    cohort_call_print_json(json_pack("{s:o, s:s, s:i, s:o, s:o}", "id", text_json(run->work.id), "outcome",
                                     word_of(end), "unfinished", (int)run->work.unfinished, "problem",
                                     text_json(run->work.problem), "statements", statements));
}

static void set_result(struct table_cell *cell, const struct step *step)
{
    char text[TABLE_CELL_BYTES];
    if (step->part != AT_COHORT) {
        long long rows = json_integer_value(step->result);
        (void)snprintf(text, sizeof(text), "%lld row%s", rows, rows == 1 ? "" : "s");
    } else if (json_is_string(step->result)) {
        (void)snprintf(text, sizeof(text), "%.*s", SHOWN, json_string_value(step->result));
    } else if (json_is_integer(step->result)) {
        (void)snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(step->result));
    } else if (json_is_array(step->result) || json_is_object(step->result)) {
        (void)snprintf(text, sizeof(text), "%zu values",
                       json_is_array(step->result) ? json_array_size(step->result) : json_object_size(step->result));
    } else {
        (void)snprintf(text, sizeof(text), "%s", json_is_null(step->result) ? "(nil)" : "");
    }
    table_set_text(cell, slice_from_string(text), SHOWN);
}

static void print_table(const struct run *run, enum work_end end)
{
    static const char *const titles[] = {"AT", "STATEMENT", "RESULT", NULL};
    struct table table = {.titles = titles};
    for (int i = 0; i < run->count; i++) {
        struct table_cell *row = table_add_row(&table);
        table_set_text(&row[0], slice_from_string(label_of(run, run->steps[i].part)), SHOWN);
        table_set_text(&row[1], slice_from_string(run->steps[i].text), SHOWN);
        set_result(&row[2], &run->steps[i]);
    }
    printf("%s %s\n", run->work.id, word_of(end));
    table_print(&table);
    table_deinit(&table);
}

static int failure_code(const struct work *work)
{
    bool aborted = work->status == COHORT_OK || work->status == COHORT_TXNABORT || work->status == COHORT_REFUSED;
    return work->unreachable ? EX_UNAVAILABLE : aborted ? TXN_ROLLED_BACK : cohort_call_code(work->status);
}

static int tell(const struct run *run, enum work_end end)
{
    char problem[4 * WORK_PROBLEM_BYTES];
    const struct work *work = &run->work;
    (void)printable_copy(slice_from_string(work->problem), problem, sizeof(problem));
    if (run->json) {
        print_json(run, end);
    } else if (end == WORK_COMMITTED) {
        print_table(run, end);
    }
    switch (end) {
    case WORK_COMMITTED:
        return work->unfinished == 0
                   ? EX_OK
                   : cli_error(
                         run->command, work->refused > 0 ? TXN_PERSON : TXN_LATER,
                         "%s is committed; %u of its participants have not done so yet, which is what `cohort txn "
                         "resolve` is for: %s",
                         work->id, work->unfinished, problem);
    case WORK_ROLLED_BACK: return cli_error(run->command, failure_code(work), "nothing was done: %s", problem);
    default:
        return cli_error(
            run->command, TXN_UNKNOWN,
            "nobody could say in time what became of %s: `cohort txn status %s` tells; what is prepared is "
            "finished by `cohort txn resolve`: %s",
            work->id, work->id, problem);
    }
}

/* ---- the command ---- */

static int run_with(struct run *run, const struct work_options *options)
{
    struct cohort *cohort;
    (void)signal(SIGPIPE, SIG_IGN); /* what a participant closes, or who reads what is printed, is no end of this */
    int code = cohort_call_open(run->command, run->url, &cohort);
    if (code != CLI_CONTINUE) {
        return code;
    }
    enum work_end end = do_all(run, options, cohort);
    code = tell(run, end);
    work_deinit(&run->work);
    cohort_close(cohort);
    return code;
}

static int run_run(const struct cli_command *command, int argc, char **argv)
{
    struct run *run = memory_allocate_zeroed(1, sizeof(*run));
    struct work_options given = {.timeout_ms = TIMEOUT_DEFAULT_MS};
    const char *protocol = NULL;
    run->command = command;
    run->at = AT_COHORT;
    (void)snprintf(run->at_cohort, sizeof(run->at_cohort), "cohort");
    struct cli_each on = {take_on, run};
    struct cli_each does = {take_do, run};
    const struct cli_option options[] = {
        {"on", CLI_EACH, &on, "NAME=URL", "where the statements that follow are done; NAME alone: again there"},
        {"do", CLI_EACH, &does, "STATEMENT", "SQL, or a command of cohort's own before the first --on"},
        {"id", CLI_TEXT, &given.id, "ID", "of the transaction, never used before (default a random one)"},
        {"protocol", CLI_TEXT, &protocol, "2pc|3pc", "among cohort's shards (default the server's)"},
        {"timeout", CLI_DURATION, &given.timeout_ms, "DURATION",
         "what is not decided by then is rolled back (default 30s)", 100, TIMEOUT_MAXIMUM_MS},
        {"url", CLI_TEXT, &run->url, "URL", "of the cohort that decides (default cohort://127.0.0.1:6379)"},
        {"json", CLI_FLAG, &run->json, NULL, "print JSON"},
        {0},
    };
    struct cli_arguments arguments;
    int code = cli_parse(command, options, argc, argv, &arguments);
    code = code == CLI_CONTINUE ? take_protocol(command, protocol, &given.protocol) : code;
    if (code == CLI_CONTINUE && run->count == 0) {
        (void)cli_error(command, EX_USAGE, "there is nothing to do: --do STATEMENT is missing");
        code = cli_usage_hint(command);
    }
    code = code == CLI_CONTINUE ? run_with(run, &given) : code;
    for (int i = 0; i < run->count; i++) {
        json_decref(run->steps[i].result);
    }
    free(run);
    return code;
}

const struct cli_command cli_txn_run = {
    .name = "txn run",
    .arguments = "--on NAME=URL --do STATEMENT …",
    .arguments_maximum = 0,
    .summary = "do statements at a cohort, databases and services: all of them or none",
    .details = "Statements are done in their order, each where the last --on before it says; those\n"
               "before the first --on are commands of cohort's own, in words as redis-cli takes\n"
               "them. When all have succeeded everything is prepared, cohort decides, and everything\n"
               "is committed. A statement that fails rolls everything back.\n\n"
               "URLs: postgresql://user@host:port/database (max_prepared_transactions must not be 0),\n"
               "mariadb://user@host:port/database, http://host:port/path (--do is the body of its\n"
               "try). Passwords: in PGPASSFILE, ?defaults-file=PATH, ~/.netrc, since other users can\n"
               "see command lines.\n\n"
               "Whoever dies in between leaves prepared what `cohort txn resolve` finishes.\n\n"
               "Exit status: 0 committed everywhere; 1 refused, 69 somebody did not answer: nothing was\n"
               "done; 75 committed, and not everyone has heard so yet; 65 the same, and somebody\n"
               "refuses it; 76 nobody could say in time; 64 wrong usage.",
    .examples = "  cohort txn run --do 'DECRBY stock:9 1' --on bank=postgresql://app@db/bank \\\n"
                "      --do 'UPDATE account SET balance = balance - 5 WHERE id = 7'\n"
                "  cohort txn run --id order-17 --on a=postgresql://app@db1/bank --do 'UPDATE …' \\\n"
                "      --on b=postgresql://app@db2/bank --do 'UPDATE …' --json\n",
    .run = run_run,
};
