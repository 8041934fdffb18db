/* Reading strings. */
#include "command/machine_handlers.h"
#include "machine/call.h"

/* The string at argv[1], for reading; NULL after the reply when there is none. */
static const struct entry *find_string(struct call *call, struct slice reply_when_absent)
{
    const struct entry *entry = call_find(call, call->argv[1]);
    if (entry == NULL) {
        resp_raw(&call->reply, reply_when_absent);
        return NULL;
    }
    return call_has_type(call, entry, ENTRY_STRING) ? entry : NULL;
}

static struct slice null_reply(const struct call *call)
{
    return call->reply.protocol == RESP3 ? SLICE_LITERAL("_\r\n") : SLICE_LITERAL("$-1\r\n");
}

void strings_get(struct call *call)
{
    const struct entry *entry = find_string(call, null_reply(call));
    if (entry != NULL) {
        call_bulk_entry(call, entry);
    }
}

void strings_strlen(struct call *call)
{
    const struct entry *entry = find_string(call, SLICE_LITERAL(":0\r\n"));
    if (entry != NULL) {
        char digits[NUMBER_INT64_BYTES];
        resp_integer(&call->reply, (int64_t)entry_string(entry, digits).size);
    }
}

void strings_mget(struct call *call)
{
    resp_array(&call->reply, call->argc - 1);
    for (uint32_t i = 1; i < call->argc; i++) {
        const struct entry *entry = call_find(call, call->argv[i]);
        if (entry == NULL || entry_type(entry) != ENTRY_STRING) {
            resp_null(&call->reply);
        } else {
            call_bulk_entry(call, entry);
        }
        if (!call_reply_fits(call)) {
            return;
        }
    }
}

/* The part of `text` from start to end, both counted from the back when negative, end included. */
static struct slice range_of(struct slice text, int64_t start, int64_t end)
{
    int64_t size = (int64_t)text.size;
    if (start < 0 && end < 0 && start > end) {
        return slice_of(text.data, 0);
    }
    start = start < 0 ? start + size : start;
    end = end < 0 ? end + size : end;
    start = start < 0 ? 0 : start;
    end = end < 0 ? 0 : end;
    end = end >= size ? size - 1 : end;
    if (start > end || size == 0) {
        return slice_of(text.data, 0);
    }
    return slice_of(text.data + start, (size_t)(end - start + 1));
}

void strings_getrange(struct call *call)
{
    int64_t start;
    int64_t end;
    if (!call_integer(call, call->argv[2], &start) || !call_integer(call, call->argv[3], &end)) {
        return;
    }
    const struct entry *entry = find_string(call, SLICE_LITERAL("$0\r\n\r\n"));
    if (entry != NULL) {
        char digits[NUMBER_INT64_BYTES];
        resp_bulk(&call->reply, range_of(entry_string(entry, digits), start, end));
    }
}

void strings_getv(struct call *call)
{
    struct slice absent = call->reply.protocol == RESP3 ? SLICE_LITERAL("_\r\n") : SLICE_LITERAL("*-1\r\n");
    const struct entry *entry = find_string(call, absent);
    if (entry != NULL) {
        resp_array(&call->reply, 2);
        call_bulk_entry(call, entry);
        resp_integer(&call->reply, (int64_t)entry_version(entry));
    }
}
