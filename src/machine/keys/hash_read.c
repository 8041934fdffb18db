/* Reading hashes. */
#include "command/machine_handlers.h"
#include "machine/call.h"

/* The hash at argv[1], for reading. True with the entry, or NULL when there is none; false after WRONGTYPE. */
static bool find_hash(struct call *call, const struct entry **ret_entry)
{
    const struct entry *entry = call_find(call, call->argv[1]);
    if (entry != NULL && !call_has_type(call, entry, ENTRY_HASH)) {
        return false;
    }
    *ret_entry = entry;
    return true;
}

static void reply_field(struct call *call, const struct entry *entry, struct slice field)
{
    struct slice value;
    if (entry != NULL && entry_hash_get(entry, field, &value)) {
        resp_bulk(&call->reply, value);
    } else {
        resp_null(&call->reply);
    }
}

void hash_hget(struct call *call)
{
    const struct entry *entry;
    if (find_hash(call, &entry)) {
        reply_field(call, entry, call->argv[2]);
    }
}

void hash_hmget(struct call *call)
{
    const struct entry *entry;
    if (!find_hash(call, &entry)) {
        return;
    }
    resp_array(&call->reply, call->argc - 2);
    for (uint32_t i = 2; i < call->argc; i++) {
        reply_field(call, entry, call->argv[i]);
        if (!call_reply_fits(call)) {
            return;
        }
    }
}

void hash_hexists(struct call *call)
{
    const struct entry *entry;
    struct slice value;
    if (find_hash(call, &entry)) {
        resp_integer(&call->reply, entry != NULL && entry_hash_get(entry, call->argv[2], &value));
    }
}

void hash_hlen(struct call *call)
{
    const struct entry *entry;
    if (find_hash(call, &entry)) {
        resp_integer(&call->reply, entry == NULL ? 0 : (int64_t)entry_hash_size(entry));
    }
}

void hash_hstrlen(struct call *call)
{
    const struct entry *entry;
    if (find_hash(call, &entry)) {
        struct slice value = {0};
        bool found = entry != NULL && entry_hash_get(entry, call->argv[2], &value);
        resp_integer(&call->reply, found ? (int64_t)value.size : 0);
    }
}

static bool write_field(void *owner, struct slice field, struct slice value)
{
    resp_bulk(owner, field);
    return true;
}

static bool write_value(void *owner, struct slice field, struct slice value)
{
    resp_bulk(owner, value);
    return true;
}

static bool write_pair(void *owner, struct slice field, struct slice value)
{
    resp_bulk(owner, field);
    resp_bulk(owner, value);
    return true;
}

typedef bool each_field(void *owner, struct slice field, struct slice value);

static void reply_all(struct call *call, each_field *each, bool as_map)
{
    const struct entry *entry;
    if (!find_hash(call, &entry)) {
        return;
    }
    size_t size = entry == NULL ? 0 : entry_hash_size(entry);
    if (as_map) {
        resp_map(&call->reply, size);
    } else {
        resp_array(&call->reply, size);
    }
    if (entry != NULL) {
        entry_hash_each(entry, each, &call->reply);
    }
}

void hash_hgetall(struct call *call) { reply_all(call, write_pair, true); }
void hash_hkeys(struct call *call) { reply_all(call, write_field, false); }
void hash_hvals(struct call *call) { reply_all(call, write_value, false); }
