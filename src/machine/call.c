#include "machine/call.h"

#include "base/assert.h"

bool call_has_type(struct call *call, const struct entry *entry, enum entry_type type)
{
    if (entry_type(entry) == type) {
        return true;
    }
    resp_error(&call->reply, "WRONGTYPE Operation against a key holding the wrong kind of value");
    return false;
}

struct keyspace_time call_applied_time(const struct call *call)
{
    struct keyspace_time time = call->time;
    time.present_time_ms = time.applied_time_ms;
    time.present_wall_ms = time.applied_wall_ms;
    return time;
}

bool call_meets_due(struct call *call, const struct entry *entry)
{
    int64_t due_ms;
    enum due_kind kind = entry_due(entry, &due_ms);
    bool due = (kind == DUE_TIME && due_ms <= call->time.present_time_ms) ||
               (kind == DUE_WALL && due_ms <= call->time.present_wall_ms);
    call->must_log |= due;
    return due;
}

bool call_integer(struct call *call, struct slice text, int64_t *ret_value)
{
    if (number_parse_int64(text, ret_value)) {
        return true;
    }
    resp_error(&call->reply, "ERR value is not an integer or out of range");
    return false;
}

bool call_long_double(struct call *call, struct slice text, long double *ret_value)
{
    if (number_parse_long_double(text, ret_value)) {
        return true;
    }
    resp_error(&call->reply, "ERR value is not a valid float");
    return false;
}

bool call_flush_asked(struct call *call)
{
    bool known = call->argc == 1 ||
                 (call->argc == 2 && (slice_is_word(call->argv[1], "sync") || slice_is_word(call->argv[1], "async")));
    if (!known) {
        call_syntax_error(call);
    }
    return known;
}

void call_syntax_error(struct call *call) { resp_error(&call->reply, "ERR syntax error"); }

void call_arity_error(struct call *call)
{
    resp_error_format(&call->reply, "ERR wrong number of arguments for '%s' command", call->spec->name);
}

void call_expire_error(struct call *call)
{
    resp_error_format(&call->reply, "ERR invalid expire time in '%s' command", call->spec->name);
}

static bool is_line_end(uint8_t byte) { return byte == '\r' || byte == '\n'; }

void call_error_about(struct call *call, const char *text, struct slice what)
{
    if (call->reply.out == NULL) {
        return;
    }
    size_t size = what.size == 0 ? 0 : strnlen((const char *)what.data, what.size);
    while (size > 0 && is_line_end(what.data[size - 1])) {
        size--;
    }
    buffer_append_string(call->reply.out, "-ERR ");
    buffer_append_string(call->reply.out, text);
    uint8_t *at = buffer_reserve(call->reply.out, size);
    for (size_t i = 0; i < size; i++) {
        at[i] = is_line_end(what.data[i]) ? ' ' : what.data[i];
    }
    call->reply.out->size += size;
    buffer_append_string(call->reply.out, "\r\n");
}

size_t call_array_begin(struct call *call) { return call->reply.out == NULL ? 0 : call->reply.out->size; }

void call_insert(struct call *call, size_t begin, struct slice bytes)
{
    struct buffer *out = call->reply.out;
    if (out == NULL) {
        return;
    }
    ASSERT(begin <= out->size);
    (void)buffer_reserve(out, bytes.size);
    memmove(out->data + begin + bytes.size, out->data + begin, out->size - begin);
    memcpy(out->data + begin, bytes.data, bytes.size);
    out->size += bytes.size;
}

void call_array_end(struct call *call, size_t begin, size_t count)
{
    char head[NUMBER_INT64_BYTES + 3];
    head[0] = '*';
    size_t size = 1 + number_format_uint64(head + 1, count);
    head[size++] = '\r';
    head[size++] = '\n';
    call_insert(call, begin, slice_of(head, size));
}

void call_cursor_end(struct call *call, size_t begin, size_t count, uint64_t cursor)
{
    call_array_end(call, begin, count);
    char digits[NUMBER_INT64_BYTES];
    struct buffer head;
    buffer_init(&head);
    struct resp_writer writer = resp_writer_to(&head, call->reply.protocol);
    resp_array(&writer, 2);
    resp_bulk(&writer, slice_of(digits, number_format_uint64(digits, cursor)));
    call_insert(call, begin, buffer_slice(&head));
    buffer_deinit(&head);
}

bool call_reply_fits(struct call *call)
{
    struct buffer *out = call->reply.out;
    if (out == NULL || out->size - call->reply_base <= CALL_REPLY_BYTES) {
        return true;
    }
    out->size = call->reply_start;
    resp_error(&call->reply, "ERR the reply would exceed 1 GiB; ask for less in one command");
    return false;
}
