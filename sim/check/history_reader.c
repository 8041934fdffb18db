#include "check/history_reader.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

void history_reader_init(struct history_reader *reader, struct history *history)
{
    *reader = (struct history_reader){.history = history, .line = 1};
    buffer_init(&reader->partial);
}

void history_reader_deinit(struct history_reader *reader) { buffer_deinit(&reader->partial); }

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

static bool take_text(struct history_reader *reader, const json_t *line, const char *name, struct slice *ret_text)
{
    const json_t *value = json_object_get(line, name);
    if (!json_is_string(value)) {
        return problem(reader, STATUS_INVALID, "\"%s\" must be a string", name);
    }
    *ret_text = slice_of(json_string_value(value), json_string_length(value));
    return true;
}

static bool take_number(struct history_reader *reader, const json_t *line, const char *name, int64_t minimum,
                        int64_t maximum, int64_t *ret_number)
{
    const json_t *value = json_object_get(line, name);
    if (!json_is_integer(value) || json_integer_value(value) < minimum || json_integer_value(value) > maximum) {
        return problem(reader, STATUS_INVALID, "\"%s\" must be a whole number from %lld to %lld", name,
                       (long long)minimum, (long long)maximum);
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
    return problem(reader, STATUS_INVALID, "no operation is called \"%.*s\"", (int)(name.size < 32 ? name.size : 32),
                   (const char *)name.data);
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

static bool take_call(struct history_reader *reader, const json_t *line, struct history_call *ret_call)
{
    struct history_call call = {.by = 1};
    if (!take_kind(reader, line, &call.kind)) {
        return false;
    }
    const struct history_kind_facts *facts = history_kind_facts(call.kind);
    int64_t process = 0;
    if (!take_number(reader, line, "process", 0, UINT32_MAX, &process) || !take_text(reader, line, "key", &call.key) ||
        (facts->has_field && !take_text(reader, line, "field", &call.field)) ||
        (facts->has_value && !take_text(reader, line, "value", &call.value)) ||
        (facts->has_expected && !take_text(reader, line, "expected", &call.expected)) ||
        (facts->has_by && json_object_get(line, "by") != NULL &&
         !take_number(reader, line, "by", INT64_MIN, INT64_MAX, &call.by))) {
        return false;
    }
    call.process = (uint32_t)process;
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

static bool take_operation(struct history_reader *reader, const json_t *line)
{
    struct history_call call;
    struct history_result result = {0};
    enum history_outcome outcome = HISTORY_UNKNOWN;
    int64_t start = 0;
    int64_t end = 0;
    if (!take_call(reader, line, &call) || !take_outcome(reader, line, &outcome) ||
        !take_number(reader, line, "start", 0, INT64_MAX, &start)) {
        return false;
    }
    if (outcome == HISTORY_OK &&
        (!take_number(reader, line, "end", start, INT64_MAX, &end) || !take_result(reader, line, call.kind, &result))) {
        return false;
    }
    enum status status = history_add(reader->history, &call, (uint64_t)start, (uint64_t)end, outcome, &result);
    return status == STATUS_OK ||
           problem(reader, status, "the history is too large (at most %d operations)", HISTORY_OPERATIONS_MAXIMUM);
}

static bool take_header(struct history_reader *reader, const json_t *line)
{
    const json_t *format = json_object_get(line, "history");
    if (format == NULL) {
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

static bool take_line(struct history_reader *reader, struct slice text)
{
    if (is_blank(text)) {
        return true;
    }
    json_error_t error;
    json_t *line = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (line == NULL) {
        return problem(reader, STATUS_INVALID, "not JSON: %s", error.text);
    }
    bool taken = json_is_object(line) || problem(reader, STATUS_INVALID, "not a JSON object");
    if (taken) {
        bool header = !reader->header || json_object_get(line, "history") != NULL;
        taken = header ? take_header(reader, line) : take_operation(reader, line);
    }
    json_decref(line);
    return taken;
}

static bool too_long(struct history_reader *reader, size_t size)
{
    return size > HISTORY_LINE_BYTES &&
           !problem(reader, STATUS_FULL, "a line of more than %d bytes", HISTORY_LINE_BYTES);
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
