/* Strings changed in part: counting, appending, overwriting a range. An expiry stays as it is. */
#include "command/machine_handlers.h"
#include "machine/call.h"

#include <math.h>

/* The string at argv[1] for a change: true and the entry, or NULL when there is none; false after WRONGTYPE. */
static bool edit_string(struct call *call, struct entry **ret_entry)
{
    struct entry *entry = call_edit(call, call->argv[1]);
    if (entry != NULL && !call_has_type(call, entry, ENTRY_STRING)) {
        return false;
    }
    *ret_entry = entry;
    return true;
}

static void increment(struct call *call, int64_t by)
{
    struct entry *entry;
    if (!edit_string(call, &entry)) {
        return;
    }
    int64_t value = 0;
    if (entry == NULL) {
        entry = keyspace_add(call->keyspace, call->argv[1], ENTRY_STRING);
    } else if (!entry_integer(entry, &value)) {
        char digits[NUMBER_INT64_BYTES];
        if (!call_integer(call, entry_string(entry, digits), &value)) {
            return;
        }
    }
    if (__builtin_add_overflow(value, by, &value)) {
        resp_error(&call->reply, "ERR increment or decrement would overflow");
        return;
    }
    call_changed(call, entry_set_integer(call->keyspace, entry, value));
    call_notify(call, EVENT_STRING, "incrby", call->argv[1]);
    resp_integer(&call->reply, value);
}

void strings_incr(struct call *call) { increment(call, 1); }
void strings_decr(struct call *call) { increment(call, -1); }

void strings_incrby(struct call *call)
{
    int64_t by;
    if (call_integer(call, call->argv[2], &by)) {
        increment(call, by);
    }
}

void strings_decrby(struct call *call)
{
    int64_t by;
    if (!call_integer(call, call->argv[2], &by)) {
        return;
    }
    if (by == INT64_MIN) {
        resp_error(&call->reply, "ERR decrement would overflow");
        return;
    }
    increment(call, -by);
}

void strings_incrbyfloat(struct call *call)
{
    struct entry *entry;
    if (!edit_string(call, &entry)) {
        return;
    }
    long double value = 0;
    long double by;
    char digits[NUMBER_INT64_BYTES];
    if ((entry != NULL && !call_long_double(call, entry_string(entry, digits), &value)) ||
        !call_long_double(call, call->argv[2], &by)) {
        return;
    }
    value += by;
    if (isnan(value) || isinf(value)) {
        resp_error(&call->reply, "ERR increment would produce NaN or Infinity");
        return;
    }
    char text[NUMBER_LONG_DOUBLE_BYTES];
    struct slice result = slice_of(text, number_format_long_double(text, value));
    if (entry == NULL) {
        entry = keyspace_add(call->keyspace, call->argv[1], ENTRY_STRING);
    }
    call_changed(call, entry_set_text(call->keyspace, entry, result));
    call_notify(call, EVENT_STRING, "incrbyfloat", call->argv[1]);
    resp_bulk(&call->reply, result);
}

/* True when a string of `size` bytes may be; else the reply is an error. */
static bool size_is_allowed(struct call *call, uint64_t size, uint64_t extra)
{
    if (size <= CALL_STRING_BYTES && extra <= CALL_STRING_BYTES - size) {
        return true;
    }
    resp_error(&call->reply, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    return false;
}

void strings_append(struct call *call)
{
    struct slice extra = call->argv[2];
    struct entry *entry;
    if (!edit_string(call, &entry)) {
        return;
    }
    size_t size = 0;
    if (entry == NULL) {
        entry = keyspace_add(call->keyspace, call->argv[1], ENTRY_STRING);
        entry = entry_set_string(call->keyspace, entry, extra);
    } else {
        char digits[NUMBER_INT64_BYTES];
        size = entry_string(entry, digits).size;
        if (!size_is_allowed(call, size, extra.size)) {
            return;
        }
        uint8_t *bytes;
        entry = entry_string_writable(call->keyspace, entry, size + extra.size, &bytes);
        if (extra.size != 0) {
            memcpy(bytes + size, extra.data, extra.size);
        }
    }
    call_changed(call, entry);
    call_notify(call, EVENT_STRING, "append", call->argv[1]);
    resp_integer(&call->reply, (int64_t)(size + extra.size));
}

void strings_setrange(struct call *call)
{
    int64_t offset;
    if (!call_integer(call, call->argv[2], &offset)) {
        return;
    }
    if (offset < 0) {
        resp_error(&call->reply, "ERR offset is out of range");
        return;
    }
    struct slice part = call->argv[3];
    struct entry *entry;
    if (!edit_string(call, &entry)) {
        return;
    }
    char digits[NUMBER_INT64_BYTES];
    size_t size = entry == NULL ? 0 : entry_string(entry, digits).size;
    if (part.size == 0) {
        resp_integer(&call->reply, (int64_t)size);
        return;
    }
    if (!size_is_allowed(call, (uint64_t)offset, part.size)) {
        return;
    }
    if (entry == NULL) {
        entry = keyspace_add(call->keyspace, call->argv[1], ENTRY_STRING);
    }
    size_t end = (size_t)offset + part.size;
    uint8_t *bytes;
    entry = entry_string_writable(call->keyspace, entry, end > size ? end : size, &bytes);
    memcpy(bytes + offset, part.data, part.size);
    call_changed(call, entry);
    call_notify(call, EVENT_STRING, "setrange", call->argv[1]);
    resp_integer(&call->reply, (int64_t)(end > size ? end : size));
}
