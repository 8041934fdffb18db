#include "check/history_writer.h"

#include "base/assert.h"
#include "check/history_reader.h"

/* The size of the UTF-8 sequence at the front (RFC 3629), 0 when there is none. */
static size_t utf8_size(struct slice text)
{
    uint8_t first = text.data[0];
    size_t size = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (size == 0 || size > text.size) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if ((text.data[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (first == 0xe0 && text.data[1] < 0xa0) || (first == 0xf0 && text.data[1] < 0x90);
    bool surrogate = first == 0xed && text.data[1] >= 0xa0;
    bool beyond = first == 0xf4 && text.data[1] >= 0x90;
    return overlong || surrogate || beyond ? 0 : size;
}

static void write_text(struct slice text, struct buffer *out)
{
    buffer_append_byte(out, '"');
    while (text.size > 0) {
        uint8_t byte = text.data[0];
        size_t size = utf8_size(text);
        if (size == 0) {
            buffer_append_string(out, "\\ufffd");
            size = 1;
        } else if (byte < ' ' || byte == 0x7f) {
            buffer_append_format(out, "\\u%04x", byte);
        } else {
            if (byte == '"' || byte == '\\') {
                buffer_append_byte(out, '\\');
            }
            buffer_append(out, text.data, size);
        }
        text = slice_of(text.data + size, text.size - size);
    }
    buffer_append_byte(out, '"');
}

static void write_field(const struct history *history, const char *name, uint32_t text, struct buffer *out)
{
    if (text != TEXTS_NONE) {
        buffer_append_format(out, ",\"%s\":", name);
        write_text(history_text(history, text), out);
    }
}

void history_write_header(const char *about, struct buffer *out)
{
    buffer_append_format(out, "{\"history\":%d", HISTORY_FORMAT);
    if (about != NULL) {
        buffer_append_string(out, ",\"about\":");
        write_text(slice_from_string(about), out);
    }
    buffer_append_string(out, "}\n");
}

static void write_result(const struct history *history, const struct history_operation *operation, struct buffer *out)
{
    switch ((enum history_shape)operation->shape) {
    case HISTORY_RESULT_NULL: buffer_append_string(out, ",\"result\":null"); break;
    case HISTORY_RESULT_TEXT: write_field(history, "result", operation->result_text, out); break;
    case HISTORY_RESULT_NUMBER:
        buffer_append_format(out, ",\"result\":%lld", (long long)operation->result_number);
        break;
    case HISTORY_RESULT_NONE: break;
    }
}

static void write_call(const struct history *history, const struct history_operation *operation, struct buffer *out)
{
    const struct history_kind_facts *facts = history_kind_facts(operation->kind);
    buffer_append_format(out, "\"op\":\"%s\"", facts->name);
    write_field(history, "key", operation->key, out);
    write_field(history, "field", operation->field, out);
    write_field(history, "value", operation->value, out);
    write_field(history, "expected", operation->expected, out);
    if (facts->has_by) {
        buffer_append_format(out, ",\"by\":%lld", (long long)operation->by);
    }
}

static void write_outcome(const struct history_operation *operation, struct buffer *out)
{
    buffer_append_format(out, ",\"outcome\":\"%s\",\"start\":%llu", history_outcome_name(operation->outcome),
                         (unsigned long long)operation->start);
    if (operation->outcome == HISTORY_OK) {
        buffer_append_format(out, ",\"end\":%llu", (unsigned long long)operation->end);
    }
}

static void write_transaction(const struct history *history, uint32_t first, struct buffer *out)
{
    buffer_append_string(out, "\"op\":\"txn\",\"ops\":[");
    for (uint32_t i = first, end = history_unit_end(history, first); i < end; i++) {
        buffer_append_string(out, i == first ? "{" : ",{");
        write_call(history, &history->operations[i], out);
        write_result(history, &history->operations[i], out);
        buffer_append_byte(out, '}');
    }
    buffer_append_byte(out, ']');
    write_outcome(&history->operations[first], out);
}

void history_write_operation(const struct history *history, uint32_t at, struct buffer *out)
{
    ASSERT(at < history->count);
    const struct history_operation *operation = &history->operations[at];
    if (operation->transaction != HISTORY_ALONE && operation->transaction != at) {
        return;
    }
    buffer_append_format(out, "{\"process\":%u,", operation->process);
    if (operation->transaction == at) {
        write_transaction(history, at, out);
    } else {
        write_call(history, operation, out);
        write_outcome(operation, out);
        write_result(history, operation, out);
    }
    buffer_append_string(out, "}\n");
}

void history_write_hold(const struct history *history, uint32_t at, struct buffer *out)
{
    static const char *const modes[HOLD_MODES] = {"exclusive", "shared", "permits"};
    const struct hold *hold = &history->holds.items[at];
    ASSERT(at < history->holds.count);
    buffer_append_format(out, "{\"process\":%u,\"op\":\"%s\"", hold->process, hold->use ? "use" : "hold");
    write_field(history, "key", hold->key, out);
    buffer_append_format(out, ",\"mode\":\"%s\",\"outcome\":\"ok\",\"start\":%llu,\"end\":%llu", modes[hold->mode],
                         (unsigned long long)hold->start, (unsigned long long)hold->end);
    if (hold->token != 0) {
        buffer_append_format(out, ",\"token\":%lld", (long long)hold->token);
    }
    if (hold->use) {
        buffer_append_format(out, ",\"result\":%d", hold->passed);
    } else {
        buffer_append_format(out, ",\"until\":%llu", (unsigned long long)hold->until);
    }
    if (hold->mode == HOLD_PERMITS && !hold->use) {
        buffer_append_format(out, ",\"permits\":%u,\"limit\":%u", hold->permits, hold->limit);
    }
    buffer_append_string(out, "}\n");
}
