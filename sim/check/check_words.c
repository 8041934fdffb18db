/* Words about operations, for people. */
#include "check/check_words.h"

enum { TEXT_BYTES = 24 };

/* Quoted, printable, cut in the middle when long, as the end of a list tells more than its beginning. */
void words_text(struct slice text, struct buffer *out)
{
    bool cut = text.size > TEXT_BYTES;
    buffer_append_byte(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        if (cut && i == TEXT_BYTES / 2) {
            buffer_append_string(out, "…");
            i = text.size - TEXT_BYTES / 2;
        }
        uint8_t byte = text.data[i];
        if (byte < ' ' || byte > '~') {
            buffer_append_format(out, "\\x%02x", byte);
        } else {
            buffer_append_byte(out, byte);
        }
    }
    buffer_append_byte(out, '"');
}

void words_key(const struct check *check, const struct check_key *key, struct buffer *out)
{
    words_text(history_text(check->history, key->key), out);
    if (key->field != TEXTS_NONE) {
        buffer_append_string(out, " field ");
        words_text(history_text(check->history, key->field), out);
    }
}

void words_call(const struct history *history, const struct history_operation *operation, struct buffer *out)
{
    const struct history_kind_facts *facts = history_kind_facts(operation->kind);
    buffer_append_string(out, facts->name);
    if (facts->has_expected) {
        buffer_append_byte(out, ' ');
        words_text(history_text(history, operation->expected), out);
        buffer_append_string(out, " →");
    }
    if (facts->has_value) {
        buffer_append_byte(out, ' ');
        words_text(history_text(history, operation->value), out);
    }
    if (facts->has_by) {
        buffer_append_format(out, " %lld", (long long)operation->by);
    }
}

void words_result(const struct history *history, const struct history_operation *operation, struct buffer *out)
{
    if (operation->outcome == HISTORY_UNKNOWN) {
        buffer_append_string(out, "?");
        return;
    }
    switch ((enum history_shape)operation->shape) {
    case HISTORY_RESULT_NONE: buffer_append_string(out, "OK"); break;
    case HISTORY_RESULT_NULL: buffer_append_string(out, "nil"); break;
    case HISTORY_RESULT_TEXT: words_text(history_text(history, operation->result_text), out); break;
    case HISTORY_RESULT_NUMBER: buffer_append_format(out, "%lld", (long long)operation->result_number); break;
    }
}

uint64_t words_first_start(const struct history *history)
{
    uint64_t first = UINT64_MAX;
    for (uint32_t i = 0; i < history->count; i++) {
        first = history->operations[i].start < first ? history->operations[i].start : first;
    }
    return first;
}

void words_time(uint64_t first, uint64_t time, struct buffer *out)
{
    if (time == HISTORY_NEVER) {
        buffer_append_string(out, "-");
    } else {
        buffer_append_format(out, "%.3f", (double)(time - first) / 1e6);
    }
}
