#include "check/history_reader.h"

#include "base/memory.h"
#include "base/printable.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 64 };

void history_reader_init(struct history_reader *reader, struct history *history)
{
    *reader = (struct history_reader){.history = history, .line = 1};
    buffer_init(&reader->partial);
    key_uses_init(&reader->uses);
}

void history_reader_deinit(struct history_reader *reader)
{
    buffer_deinit(&reader->partial);
    key_uses_deinit(&reader->uses);
}

/* Notes the problem unless there is one; what is noted is printable, whatever the file holds. */
__attribute__((format(printf, 3, 4))) static bool problem(struct history_reader *reader, enum status status,
                                                          const char *format, ...)
{
    if (reader->status == STATUS_OK) {
        reader->status = status;
        int size = snprintf(reader->problem, sizeof(reader->problem), "line %llu: ", (unsigned long long)reader->line);
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(reader->problem + size, sizeof(reader->problem) - (size_t)size, format, arguments);
        va_end(arguments);
        for (char *at = reader->problem; *at != '\0'; at++) {
            *at = (*at >= ' ' && *at <= '~') ? *at : '?';
        }
    }
    return false;
}

/* ---- one field each: false after a problem ---- */

static const char *none_of(const json_t *value) { return value == NULL ? "; there is none" : ""; }

static bool take_text(struct history_reader *reader, const json_t *line, const char *name, struct slice *ret_text)
{
    const json_t *value = json_object_get(line, name);
    if (!json_is_string(value)) {
        return problem(reader, STATUS_INVALID, "\"%s\" must be a string%s", name, none_of(value));
    }
    *ret_text = slice_of(json_string_value(value), json_string_length(value));
    return true;
}

static bool take_number(struct history_reader *reader, const json_t *line, const char *name, int64_t minimum,
                        int64_t maximum, int64_t *ret_number)
{
    const json_t *value = json_object_get(line, name);
    if (!json_is_integer(value) || json_integer_value(value) < minimum || json_integer_value(value) > maximum) {
        return problem(reader, STATUS_INVALID, "\"%s\" must be a whole number from %lld to %lld%s", name,
                       (long long)minimum, (long long)maximum, none_of(value));
    }
    *ret_number = json_integer_value(value);
    return true;
}

static bool take_kind(struct history_reader *reader, const json_t *line, enum history_kind *ret_kind)
{
    struct slice name = {0};
    if (!take_text(reader, line, "op", &name)) {
        return false;
    }
    for (int kind = 0; kind < HISTORY_KINDS; kind++) {
        if (slice_equal(name, slice_from_string(history_kind_facts((enum history_kind)kind)->name))) {
            *ret_kind = (enum history_kind)kind;
            return true;
        }
    }
    char shown[NAME_BYTES];
    (void)printable_copy(name, shown, sizeof(shown));
    return problem(reader, STATUS_INVALID, "no operation is called \"%s\"; docs/history.md lists them", shown);
}

static bool take_outcome(struct history_reader *reader, const json_t *line, enum history_outcome *ret_outcome)
{
    struct slice name = {0};
    if (!take_text(reader, line, "outcome", &name)) {
        return false;
    }
    for (int outcome = 0; outcome < HISTORY_OUTCOMES; outcome++) {
        if (slice_equal(name, slice_from_string(history_outcome_name((enum history_outcome)outcome)))) {
            *ret_outcome = (enum history_outcome)outcome;
            return true;
        }
    }
    return problem(reader, STATUS_INVALID, "\"outcome\" must be \"ok\", \"failed\" or \"unknown\"");
}

static bool take_process(struct history_reader *reader, const json_t *line, uint32_t *ret_process)
{
    int64_t process = 0;
    bool taken = take_number(reader, line, "process", 0, UINT32_MAX, &process);
    *ret_process = (uint32_t)process;
    return taken;
}

/* `inside` a transaction, whose line names the process. */
static bool take_call(struct history_reader *reader, const json_t *line, bool inside, struct history_call *ret_call)
{
    struct history_call call = {.by = 1};
    if (!take_kind(reader, line, &call.kind)) {
        return false;
    }
    const struct history_kind_facts *facts = history_kind_facts(call.kind);
    if ((!inside && !take_process(reader, line, &call.process)) || !take_text(reader, line, "key", &call.key) ||
        (facts->has_field && !take_text(reader, line, "field", &call.field)) ||
        (facts->has_value && !take_text(reader, line, "value", &call.value)) ||
        (facts->has_expected && !take_text(reader, line, "expected", &call.expected)) ||
        (facts->has_by && json_object_get(line, "by") != NULL &&
         !take_number(reader, line, "by", INT64_MIN, INT64_MAX, &call.by))) {
        return false;
    }
    *ret_call = call;
    return true;
}

static bool take_result(struct history_reader *reader, const json_t *line, enum history_kind kind,
                        struct history_result *ret_result)
{
    const struct history_kind_facts *facts = history_kind_facts(kind);
    *ret_result = (struct history_result){.shape = facts->shape};
    switch (facts->shape) {
    case HISTORY_RESULT_TEXT:
        if (json_is_null(json_object_get(line, "result"))) {
            ret_result->shape = HISTORY_RESULT_NULL;
            return true;
        }
        if (!json_is_string(json_object_get(line, "result"))) {
            return problem(reader, STATUS_INVALID, "\"result\" of %s must be a string or null", facts->name);
        }
        return take_text(reader, line, "result", &ret_result->text);
    case HISTORY_RESULT_NUMBER:
        return take_number(reader, line, "result", facts->is_flag ? 0 : INT64_MIN, facts->is_flag ? 1 : INT64_MAX,
                           &ret_result->number);
    case HISTORY_RESULT_NONE:
    case HISTORY_RESULT_NULL: break;
    }
    return true;
}

/* What a line says of one operation or of a transaction. */
struct line_facts {
    enum history_outcome outcome;
    int64_t start;
    int64_t end;
};

static bool take_facts(struct history_reader *reader, const json_t *line, struct line_facts *ret_facts)
{
    struct line_facts facts = {.outcome = HISTORY_UNKNOWN};
    if (!take_outcome(reader, line, &facts.outcome) ||
        !take_number(reader, line, "start", 0, INT64_MAX, &facts.start) ||
        (facts.outcome == HISTORY_OK && !take_number(reader, line, "end", 0, INT64_MAX, &facts.end))) {
        return false;
    }
    *ret_facts = facts;
    return facts.outcome != HISTORY_OK || facts.end >= facts.start ||
           problem(reader, STATUS_INVALID, "\"end\" (%lld) is before \"start\" (%lld)", (long long)facts.end,
                   (long long)facts.start);
}

/* What check_run would refuse: only here its line is known. */
static bool keys_are_clear(struct history_reader *reader)
{
    const struct history *history = reader->history;
    for (; reader->looked_at < history->count; reader->looked_at++) {
        const struct history_operation *operation = &history->operations[reader->looked_at];
        if (!key_uses_add(&reader->uses, operation)) {
            char shown[NAME_BYTES];
            (void)printable_copy(history_text(history, operation->key), shown, sizeof(shown));
            return problem(reader, STATUS_INVALID,
                           "key '%s' is used as a string and as a hash; it can be judged as one only", shown);
        }
    }
    return true;
}

static bool added(struct history_reader *reader, enum status status)
{
    if (status != STATUS_OK) {
        return problem(reader, status, "the history is too large: at most %d operations and %zu bytes of texts",
                       HISTORY_OPERATIONS_MAXIMUM, HISTORY_BYTES_MAXIMUM);
    }
    return keys_are_clear(reader);
}

static bool take_operation(struct history_reader *reader, const json_t *line)
{
    struct history_call call;
    struct history_result result = {0};
    struct line_facts facts;
    if (!take_call(reader, line, false, &call) || !take_facts(reader, line, &facts) ||
        (facts.outcome == HISTORY_OK && !take_result(reader, line, call.kind, &result))) {
        return false;
    }
    return added(reader, history_add(reader->history, &call, (uint64_t)facts.start, (uint64_t)facts.end, facts.outcome,
                                     &result));
}

/* The operations of a transaction; what one of unknown outcome found may be there. */
static bool take_operations(struct history_reader *reader, const json_t *array, const struct line_facts *facts,
                            struct history_call *calls, struct history_result *results)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *item = json_array_get(array, i);
        if (!json_is_object(item)) {
            return problem(reader, STATUS_INVALID, "\"ops\" must be objects");
        }
        results[i] = (struct history_result){0};
        bool told = facts->outcome == HISTORY_OK ||
                    (facts->outcome == HISTORY_UNKNOWN && json_object_get(item, "result") != NULL);
        if (!take_call(reader, item, true, &calls[i]) ||
            (told && !take_result(reader, item, calls[i].kind, &results[i]))) {
            return false;
        }
    }
    return true;
}

static bool take_transaction(struct history_reader *reader, const json_t *line)
{
    const json_t *array = json_object_get(line, "ops");
    size_t count = json_array_size(array);
    struct line_facts facts;
    uint32_t process;
    if (count == 0 || count > HISTORY_TRANSACTION_MAXIMUM) {
        return problem(reader, STATUS_INVALID, "\"ops\" must be a list of 1 to %d operations",
                       HISTORY_TRANSACTION_MAXIMUM);
    }
    if (!take_process(reader, line, &process) || !take_facts(reader, line, &facts)) {
        return false;
    }
    struct history_call *calls = memory_allocate_zeroed(count, sizeof(*calls));
    struct history_result *results = memory_allocate_zeroed(count, sizeof(*results));
    bool taken = take_operations(reader, array, &facts, calls, results);
    calls[0].process = process;
    taken =
        taken && added(reader, history_add_transaction(reader->history, calls, (uint32_t)count, (uint64_t)facts.start,
                                                       (uint64_t)facts.end, facts.outcome, results));
    free(calls);
    free(results);
    return taken;
}

static bool is_op(const json_t *line, const char *name)
{
    const json_t *op = json_object_get(line, "op");
    return json_is_string(op) &&
           slice_equal(slice_of(json_string_value(op), json_string_length(op)), slice_from_string(name));
}

static bool take_mode(struct history_reader *reader, const json_t *line, struct hold *hold)
{
    static const char *const names[HOLD_MODES] = {"exclusive", "shared", "permits"};
    struct slice name = SLICE_LITERAL("exclusive");
    int64_t permits = 1;
    int64_t limit = 1;
    if (json_object_get(line, "mode") != NULL && !take_text(reader, line, "mode", &name)) {
        return false;
    }
    hold->mode = HOLD_MODES;
    for (uint8_t mode = 0; mode < HOLD_MODES; mode++) {
        hold->mode = slice_equal(name, slice_from_string(names[mode])) ? mode : hold->mode;
    }
    if (hold->mode == HOLD_MODES) {
        return problem(reader, STATUS_INVALID, "\"mode\" must be \"exclusive\", \"shared\" or \"permits\"");
    }
    bool weighed = hold->mode == HOLD_PERMITS && !hold->use;
    if (weighed && (!take_number(reader, line, "limit", 1, INT32_MAX, &limit) ||
                    !take_number(reader, line, "permits", 1, limit, &permits))) {
        return false;
    }
    hold->permits = (uint32_t)permits;
    hold->limit = (uint32_t)limit;
    return true;
}

/* Of a lock: a hold, or a use of its token. Those that were refused or are unknown tell nothing. */
static bool take_hold(struct history_reader *reader, const json_t *line)
{
    struct hold hold = {.use = is_op(line, "use")};
    struct line_facts facts;
    struct slice key = {0};
    int64_t until = 0;
    int64_t passed = 0;
    if (!take_process(reader, line, &hold.process) || !take_text(reader, line, "key", &key) ||
        !take_facts(reader, line, &facts)) {
        return false;
    }
    if (facts.outcome != HISTORY_OK) {
        return true;
    }
    bool has_token = hold.use || json_object_get(line, "token") != NULL;
    if ((has_token && !take_number(reader, line, "token", 1, INT64_MAX, &hold.token)) ||
        !take_mode(reader, line, &hold) ||
        (hold.use ? !take_number(reader, line, "result", 0, 1, &passed)
                  : !take_number(reader, line, "until", 0, INT64_MAX, &until))) {
        return false;
    }
    if (reader->history->holds.count >= HISTORY_OPERATIONS_MAXIMUM) {
        return added(reader, STATUS_FULL);
    }
    hold.key = texts_add(&reader->history->texts, key);
    hold.start = (uint64_t)facts.start;
    hold.end = (uint64_t)facts.end;
    hold.until = (uint64_t)until;
    hold.passed = passed != 0;
    holds_add(&reader->history->holds, &hold);
    return true;
}

static bool is_header(const json_t *line)
{
    return json_object_get(line, "history") != NULL && json_object_get(line, "op") == NULL;
}

static bool take_header(struct history_reader *reader, const json_t *line)
{
    if (!is_header(line)) {
        return problem(reader, STATUS_INVALID, "a history begins with a line {\"history\":%d}", HISTORY_FORMAT);
    }
    int64_t version = 0;
    if (!take_number(reader, line, "history", 1, INT64_MAX, &version)) {
        return false;
    }
    reader->header = true;
    return version <= HISTORY_FORMAT || problem(reader, STATUS_VERSION, "format %lld; this program knows up to %d",
                                                (long long)version, HISTORY_FORMAT);
}

static bool is_blank(struct slice line)
{
    for (size_t i = 0; i < line.size; i++) {
        if (line.data[i] != ' ' && line.data[i] != '\t' && line.data[i] != '\r') {
            return false;
        }
    }
    return true;
}

/* What would take much memory once it is parsed, fifteen times as much as the line. */
static bool too_wide(struct history_reader *reader, struct slice text)
{
    uint32_t values = 1;
    bool quoted = false;
    for (size_t i = 0; text.size > HISTORY_VALUES_MAXIMUM && i < text.size; i++) {
        uint8_t byte = text.data[i];
        quoted = quoted != (byte == '"');
        i += quoted && byte == '\\' ? 1 : 0;
        values += !quoted && (byte == ',' || byte == '[' || byte == '{') ? 1 : 0;
    }
    return values > HISTORY_VALUES_MAXIMUM &&
           !problem(reader, STATUS_FULL, "a line of more than %d values; a transaction has at most %d operations",
                    HISTORY_VALUES_MAXIMUM, HISTORY_TRANSACTION_MAXIMUM);
}

static bool take_line(struct history_reader *reader, struct slice text)
{
    if (is_blank(text)) {
        return true;
    }
    if (too_wide(reader, text)) {
        return false;
    }
    json_error_t error;
    json_t *line = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (line == NULL) {
        return problem(reader, STATUS_INVALID, "not JSON: %s; every line must be one JSON object", error.text);
    }
    bool taken = json_is_object(line) || problem(reader, STATUS_INVALID, "not a JSON object, as every line must be");
    if (taken) {
        bool header = !reader->header || is_header(line);
        bool hold = is_op(line, "hold") || is_op(line, "use");
        taken = header               ? take_header(reader, line)
                : is_op(line, "txn") ? take_transaction(reader, line)
                : hold               ? take_hold(reader, line)
                                     : take_operation(reader, line);
    }
    json_decref(line);
    return taken;
}

static bool too_long(struct history_reader *reader, size_t size)
{
    return size > HISTORY_LINE_BYTES &&
           !problem(reader, STATUS_FULL,
                    "a line of more than %d bytes; a history has one operation or transaction a line",
                    HISTORY_LINE_BYTES);
}

enum status history_reader_feed(struct history_reader *reader, struct slice bytes)
{
    while (reader->status == STATUS_OK && bytes.size > 0) {
        const uint8_t *newline = memchr(bytes.data, '\n', bytes.size);
        size_t size = newline == NULL ? bytes.size : (size_t)(newline - bytes.data);
        struct slice line = slice_of(bytes.data, size);
        if (too_long(reader, reader->partial.size + size)) {
            break;
        }
        if (newline == NULL || reader->partial.size > 0) {
            buffer_append_slice(&reader->partial, line);
            line = buffer_slice(&reader->partial);
        }
        if (newline == NULL) {
            break;
        }
        if (take_line(reader, line)) {
            reader->line++;
        }
        buffer_clear(&reader->partial);
        bytes = slice_of(bytes.data + size + 1, bytes.size - size - 1);
    }
    return reader->status;
}

enum status history_reader_end(struct history_reader *reader)
{
    if (reader->status == STATUS_OK && reader->partial.size > 0) {
        (void)take_line(reader, buffer_slice(&reader->partial));
        buffer_clear(&reader->partial);
    }
    if (reader->status == STATUS_OK && !reader->header) {
        (void)problem(reader, STATUS_INVALID, "the file is empty; a history begins with a line {\"history\":%d}",
                      HISTORY_FORMAT);
    }
    return reader->status;
}
