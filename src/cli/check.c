/* cohort check HISTORY: is what clients saw linearizable? */
#include "sim/check/check.h"

#include "base/assert.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "sim/check/history_reader.h"
#include "sim/check/history_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    READ_BYTES = 256 * 1024,
    KEYS_SHOWN = 30,
    EXPLAINED = 3,      /* keys */
    PLACED_SHOWN = 100, /* operations, in JSON */
    EX_FOUND = 1,
};

/* Returns CLI_CONTINUE, or the exit code after an error that it has reported. */
static int read_history(const struct cli_command *command, const char *path, struct history *history)
{
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return cli_error(command, EX_NOINPUT, "cannot open %s: %s", path, strerror(errno));
    }
    uint8_t *bytes = memory_allocate(READ_BYTES);
    struct history_reader reader;
    history_reader_init(&reader, history);
    enum status status = STATUS_OK;
    ssize_t size;
    while (status == STATUS_OK && ((size = read(fd, bytes, READ_BYTES)) > 0 || (size < 0 && errno == EINTR))) {
        status = size > 0 ? history_reader_feed(&reader, slice_of(bytes, (size_t)size)) : STATUS_OK;
    }
    int code = CLI_CONTINUE;
    if (status == STATUS_OK && size < 0) {
        code = cli_error(command, EX_IOERR, "cannot read %s: %s", path, strerror(errno));
    } else if (status != STATUS_OK || history_reader_end(&reader) != STATUS_OK) {
        code = cli_error(command, EX_DATAERR, "%s: %s", standard ? "standard input" : path, reader.problem);
    }
    history_reader_deinit(&reader);
    free(bytes);
    if (!standard) {
        (void)close(fd);
    }
    return code;
}

/* ---- JSON ---- */

static json_t *text_json(const struct history *history, uint32_t text)
{
    struct slice slice = history_text(history, text);
    return text == TEXTS_NONE ? json_null() : json_stringn((const char *)slice.data, slice.size);
}

/* Operations as they stand in files. */
static json_t *operations_json(const struct history *history, const uint32_t *operations, uint32_t count)
{
    json_t *array = json_array();
    struct buffer line;
    buffer_init(&line);
    for (uint32_t i = 0; i < count; i++) {
        buffer_clear(&line);
        history_write_operation(history, operations[i], &line);
        (void)json_array_append_new(array, json_loadb((const char *)line.data, line.size, JSON_ALLOW_NUL, NULL));
    }
    buffer_deinit(&line);
    return array;
}

static json_t *anomalies_json(const struct anomalies *anomalies)
{
    json_t *counts = json_object();
    for (int kind = ANOMALY_NONE + 1; kind < ANOMALY_KINDS; kind++) {
        (void)json_object_set_new(counts, anomaly_name((enum anomaly_kind)kind), json_integer(anomalies->counts[kind]));
    }
    return counts;
}

static json_t *explanation_json(const struct check *check, const struct check_key *key)
{
    struct check_explanation explanation;
    check_explain(check, key, &explanation);
    const struct history *history = check->history;
    uint32_t left_out = explanation.placed_count > PLACED_SHOWN ? explanation.placed_count - PLACED_SHOWN : 0;
    json_t *json = json_object();
    (void)json_object_set_new(json, "problem", json_string(anomaly_name(explanation.anomaly.kind)));
    (void)json_object_set_new(json, "operation", operations_json(history, &explanation.anomaly.operation, 1));
    (void)json_object_set_new(
        json, "other",
        operations_json(history, &explanation.anomaly.other, explanation.anomaly.other == TEXTS_NONE ? 0 : 1));
    (void)json_object_set_new(json, "ordered", json_integer(explanation.placed_count));
    (void)json_object_set_new(
        json, "last_ordered",
        operations_json(history, explanation.placed + left_out, explanation.placed_count - left_out));
    (void)json_object_set_new(json, "stuck", operations_json(history, explanation.stuck, explanation.stuck_count));
    (void)json_object_set_new(json, "stuck_unknown", json_integer(explanation.unknown));
    (void)json_object_set_new(json, "findings", anomalies_json(explanation.anomalies));
    check_explanation_deinit(&explanation);
    return json;
}

static json_t *key_json(const struct check *check, const struct check_key *key, bool explain)
{
    json_t *json = json_object();
    (void)json_object_set_new(json, "key", text_json(check->history, key->key));
    (void)json_object_set_new(json, "field", text_json(check->history, key->field));
    (void)json_object_set_new(json, "verdict", json_string(check_verdict_name(key->verdict)));
    (void)json_object_set_new(json, "ok", json_integer(key->ok));
    (void)json_object_set_new(json, "failed", json_integer(key->failed));
    (void)json_object_set_new(json, "unknown", json_integer(key->unknown));
    (void)json_object_set_new(json, "configurations", json_integer((json_int_t)key->configurations));
    if (explain) {
        (void)json_object_set_new(json, "explanation", explanation_json(check, key));
    }
    return json;
}

static json_t *group_json(const struct check *check, const struct check_group *group)
{
    const struct serial_finding *finding = &group->finding;
    json_t *json = json_object();
    json_t *circle = json_array();
    bool bad = group->verdict == CHECK_NOT_LINEARIZABLE;
    for (uint32_t i = 0; i < finding->edge_count; i++) {
        json_t *line = operations_json(check->history, &finding->edges[i].from, 1);
        (void)json_array_extend(circle, line);
        json_decref(line);
    }
    (void)json_object_set_new(json, "verdict", json_string(check_verdict_name(group->verdict)));
    (void)json_object_set_new(json, "keys", json_integer(group->key_count));
    (void)json_object_set_new(json, "transactions", json_integer(group->transactions));
    (void)json_object_set_new(json, "problem", bad ? json_string(serial_name(finding->kind)) : json_null());
    (void)json_object_set_new(json, "circle", circle);
    return json;
}

static void print_json(const struct check *check)
{
    json_t *json = json_object();
    json_t *keys = json_array();
    uint32_t explained = 0;
    for (uint32_t i = 0; i < check->key_count; i++) {
        const struct check_key *key = &check->keys[i];
        bool explain = key->group == CHECK_ALONE && key->verdict == CHECK_NOT_LINEARIZABLE && explained++ < EXPLAINED;
        (void)json_array_append_new(keys, key_json(check, &check->keys[i], explain));
    }
    json_t *groups = json_array();
    for (uint32_t i = 0; i < check->group_count; i++) {
        (void)json_array_append_new(groups, group_json(check, &check->groups[i]));
    }
    (void)json_object_set_new(json, "groups", groups);
    (void)json_object_set_new(json, "verdict", json_string(check_verdict_name(check->verdict)));
    (void)json_object_set_new(json, "operations", json_integer(check->history->count));
    (void)json_object_set_new(json, "keys", keys);
    (void)json_object_set_new(json, "holds", json_integer(check->history->holds.count));
    (void)json_object_set_new(json, "locks", json_string(hold_problem_name(check->holds.problem)));
    (void)json_dumpf(json, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(json);
}

/* ---- text ---- */

static void print_text(const struct check *check)
{
    struct buffer out;
    buffer_init(&out);
    uint32_t explained = 0;
    if (check->holds.problem != HOLD_FINE) {
        holds_write(&check->history->holds, &check->history->texts, &check->holds, &out);
        buffer_append_byte(&out, '\n');
    }
    for (uint32_t i = 0; i < check->group_count && explained < EXPLAINED; i++) {
        if (check->groups[i].verdict == CHECK_NOT_LINEARIZABLE) {
            check_write_group(check, &check->groups[i], &out);
            buffer_append_byte(&out, '\n');
            explained++;
        }
    }
    for (uint32_t i = 0; i < check->key_count && explained < EXPLAINED; i++) {
        if (check->keys[i].group == CHECK_ALONE && check->keys[i].verdict == CHECK_NOT_LINEARIZABLE) {
            struct check_explanation explanation;
            check_explain(check, &check->keys[i], &explanation);
            check_write_explanation(check, &explanation, &out);
            check_explanation_deinit(&explanation);
            buffer_append_byte(&out, '\n');
            explained++;
        }
    }
    check_write_summary(check, KEYS_SHOWN, &out);
    (void)fwrite(out.data, 1, out.size, stdout);
    buffer_deinit(&out);
}

static int judge(const struct history *history, size_t memory_bytes, bool json)
{
    static const int codes[] = {
        [CHECK_LINEARIZABLE] = EX_OK, [CHECK_NOT_LINEARIZABLE] = EX_FOUND, [CHECK_GAVE_UP] = EX_TEMPFAIL};
    struct check check;
    enum status status = check_run(&check, history, memory_bytes);
    ASSERT(status == STATUS_OK); /* the reader has refused what could not be judged */
    (json ? print_json : print_text)(&check);
    int code = codes[check.verdict];
    check_deinit(&check);
    return code;
}

/* Refused memory ends the program with a line that says so; else a good line would be told to be malformed. */
static void *memory_for_json(size_t bytes) { return memory_allocate(bytes); }

static int run(const struct cli_command *command, int argc, char **argv)
{
    bool json = false;
    int64_t memory_bytes = CHECK_MEMORY_DEFAULT;
    const struct cli_option options[] = {
        {"json", CLI_FLAG, &json, NULL, "print JSON"},
        {"memory", CLI_SIZE, &memory_bytes, "SIZE", "what the search of one key may remember (default 1gb)", 64 * 1024,
         0},
        {0},
    };
    struct cli_arguments arguments;
    int code = cli_parse(command, options, argc, argv, &arguments);
    if (code != CLI_CONTINUE) {
        return code;
    }
    if (arguments.count != 1) {
        (void)cli_error(command, EX_USAGE, "one HISTORY is needed: a file, or - for standard input");
        return cli_usage_hint(command);
    }
    json_set_alloc_funcs(memory_for_json, free);
    struct history history;
    history_init(&history);
    code = read_history(command, arguments.items[0], &history);
    if (code == CLI_CONTINUE) {
        code = judge(&history, (size_t)memory_bytes, json);
    }
    history_deinit(&history);
    return code;
}

const struct cli_command cli_check = {
    .name = "check",
    .arguments = "HISTORY",
    .arguments_maximum = 1,
    .summary = "tell whether what clients saw is linearizable",
    .details = "Reads a history (JSON lines, described in docs/history.md; - is standard input)\n"
               "and looks, for each string key and hash field, for an order of the operations\n"
               "that explains every reply; keys that transactions connect are judged together:\n"
               "are they strictly serializable? Holds of locks must not overlap, and their tokens\n"
               "must not go back. The exit code is 0 when there is one, 1 when there\n"
               "is none, 75 when the search gave up, 65 when the file is malformed.",
    .examples = "  cohort check history.jsonl\n"
                "  zcat run.jsonl.gz | cohort check --json -",
    .run = run,
};
