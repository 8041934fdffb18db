/* Changing hashes. A hash without fields does not exist. */
#include "command/machine_handlers.h"
#include "machine/call.h"

#include <math.h>

/* The hash at argv[1] for a change: true and the entry, or NULL when there is none; false after WRONGTYPE. */
static bool edit_hash(struct call *call, struct entry **ret_entry)
{
    struct entry *entry = call_edit(call, call->argv[1]);
    if (entry != NULL && !call_has_type(call, entry, ENTRY_HASH)) {
        return false;
    }
    *ret_entry = entry;
    return true;
}

/* Sets one field, making the hash when there is none; true when the field is new. */
static bool set_field(struct call *call, struct entry **entry, struct slice field, struct slice value)
{
    if (*entry == NULL) {
        *entry = keyspace_add(call->keyspace, call->argv[1], ENTRY_HASH);
    }
    return entry_hash_set(call->keyspace, *entry, field, value);
}

/* Sets all pairs; false after an error reply. */
static bool set_pairs(struct call *call, int64_t *ret_added)
{
    if (call->argc % 2 != 0) {
        call_arity_error(call);
        return false;
    }
    struct entry *entry;
    if (!edit_hash(call, &entry)) {
        return false;
    }
    int64_t added = 0;
    for (uint32_t i = 2; i < call->argc; i += 2) {
        added += set_field(call, &entry, call->argv[i], call->argv[i + 1]);
    }
    call_changed(call, entry);
    call_notify(call, EVENT_HASH, "hset", call->argv[1]);
    *ret_added = added;
    return true;
}

void hash_hset(struct call *call)
{
    int64_t added;
    if (set_pairs(call, &added)) {
        resp_integer(&call->reply, added);
    }
}

void hash_hmset(struct call *call)
{
    int64_t added;
    if (set_pairs(call, &added)) {
        call_ok(call);
    }
}

void hash_hsetnx(struct call *call)
{
    struct entry *entry;
    if (!edit_hash(call, &entry)) {
        return;
    }
    struct slice value;
    bool absent = entry == NULL || !entry_hash_get(entry, call->argv[2], &value);
    if (absent) {
        (void)set_field(call, &entry, call->argv[2], call->argv[3]);
        call_changed(call, entry);
        call_notify(call, EVENT_HASH, "hset", call->argv[1]);
    }
    resp_integer(&call->reply, absent);
}

void hash_hdel(struct call *call)
{
    struct entry *entry;
    if (!edit_hash(call, &entry)) {
        return;
    }
    int64_t removed = 0;
    if (entry != NULL) {
        for (uint32_t i = 2; i < call->argc && entry_hash_size(entry) > 0; i++) {
            removed += entry_hash_remove(call->keyspace, entry, call->argv[i]);
        }
        if (removed > 0) {
            call_notify(call, EVENT_HASH, "hdel", call->argv[1]);
        }
        if (entry_hash_size(entry) == 0) {
            call_remove(call, entry);
            call_notify(call, EVENT_GENERIC, "del", call->argv[1]);
        } else if (removed > 0) {
            call_changed(call, entry);
        }
    }
    resp_integer(&call->reply, removed);
}

void hash_hincrby(struct call *call)
{
    int64_t by;
    struct entry *entry;
    if (!call_integer(call, call->argv[3], &by) || !edit_hash(call, &entry)) {
        return;
    }
    struct slice former;
    int64_t value = 0;
    if (entry != NULL && entry_hash_get(entry, call->argv[2], &former) && !number_parse_int64(former, &value)) {
        resp_error(&call->reply, "ERR hash value is not an integer");
        return;
    }
    if (__builtin_add_overflow(value, by, &value)) {
        resp_error(&call->reply, "ERR increment or decrement would overflow");
        return;
    }
    char digits[NUMBER_INT64_BYTES];
    (void)set_field(call, &entry, call->argv[2], slice_of(digits, number_format_int64(digits, value)));
    call_changed(call, entry);
    call_notify(call, EVENT_HASH, "hincrby", call->argv[1]);
    resp_integer(&call->reply, value);
}

void hash_hincrbyfloat(struct call *call)
{
    long double by;
    if (!call_long_double(call, call->argv[3], &by)) {
        return;
    }
    if (isinf(by)) {
        resp_error(&call->reply, "ERR value is NaN or Infinity");
        return;
    }
    struct entry *entry;
    if (!edit_hash(call, &entry)) {
        return;
    }
    struct slice former;
    long double value = 0;
    if (entry != NULL && entry_hash_get(entry, call->argv[2], &former) && !number_parse_long_double(former, &value)) {
        resp_error(&call->reply, "ERR hash value is not a float");
        return;
    }
    value += by;
    if (isnan(value) || isinf(value)) {
        resp_error(&call->reply, "ERR increment would produce NaN or Infinity");
        return;
    }
    char text[NUMBER_LONG_DOUBLE_BYTES];
    struct slice result = slice_of(text, number_format_long_double(text, value));
    (void)set_field(call, &entry, call->argv[2], result);
    call_changed(call, entry);
    call_notify(call, EVENT_HASH, "hincrbyfloat", call->argv[1]);
    resp_bulk(&call->reply, result);
}
