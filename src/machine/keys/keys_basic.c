/* Whole keys, whatever they hold: removing, looking, renaming, copying, counting. */
#include "command/machine_handlers.h"
#include "machine/call.h"
#include "machine/session/session_words.h"

void keys_del(struct call *call)
{
    int64_t removed = 0;
    for (uint32_t i = 1; i < call->argc; i++) {
        struct entry *entry = call_edit(call, call->argv[i]);
        if (entry != NULL) {
            call_remove(call, entry);
            call_notify(call, EVENT_GENERIC, "del", call->argv[i]);
            removed++;
        }
    }
    resp_integer(&call->reply, removed);
}

static void count_keys(struct call *call)
{
    int64_t found = 0;
    for (uint32_t i = 1; i < call->argc; i++) {
        found += call_find(call, call->argv[i]) != NULL;
    }
    resp_integer(&call->reply, found);
}

void keys_exists(struct call *call) { count_keys(call); }
void keys_touch(struct call *call) { count_keys(call); }

void keys_type(struct call *call)
{
    const struct entry *entry = call_find(call, call->argv[1]);
    if (entry == NULL) {
        resp_status(&call->reply, "none");
        return;
    }
    resp_status(&call->reply, entry_type(entry) == ENTRY_STRING ? "string" : "hash");
}

static void rename_key(struct call *call, bool only_if_absent)
{
    struct slice from = call->argv[1];
    struct slice to = call->argv[2];
    struct entry *entry = call_edit(call, from);
    if (entry == NULL) {
        resp_error(&call->reply, "ERR no such key");
        return;
    }
    if (!slice_equal(from, to)) {
        struct entry *former = call_edit(call, to);
        if (former != NULL && only_if_absent) {
            resp_integer(&call->reply, 0);
            return;
        }
        if (former != NULL) {
            call_remove(call, former);
        }
        entry = call_edit(call, from);
        (void)keyspace_rename(call->keyspace, entry, to, call->position);
        call_notify(call, EVENT_GENERIC, "rename_from", from);
        call_notify(call, EVENT_GENERIC, "rename_to", to);
    } else if (only_if_absent) {
        resp_integer(&call->reply, 0);
        return;
    }
    if (only_if_absent) {
        resp_integer(&call->reply, 1);
    } else {
        call_ok(call);
    }
}

void keys_rename(struct call *call) { rename_key(call, false); }
void keys_renamenx(struct call *call) { rename_key(call, true); }

/* Reads COPY's options; false after an error reply. */
static bool read_copy_options(struct call *call, bool *ret_replace)
{
    for (uint32_t i = 3; i < call->argc; i++) {
        if (slice_is_word(call->argv[i], "replace")) {
            *ret_replace = true;
        } else if (slice_is_word(call->argv[i], "db") && i + 1 < call->argc) {
            int64_t database;
            if (!call_integer(call, call->argv[++i], &database)) {
                return false;
            }
            if (database < INT32_MIN || database > INT32_MAX) {
                resp_error_format(&call->reply, "ERR value is out of range, value must between %d and %d", INT32_MIN,
                                  INT32_MAX);
                return false;
            }
            if (database != 0) {
                resp_error(&call->reply, "ERR DB index is out of range");
                return false;
            }
        } else {
            call_syntax_error(call);
            return false;
        }
    }
    if (slice_equal(call->argv[1], call->argv[2])) {
        resp_error(&call->reply, "ERR source and destination objects are the same");
        return false;
    }
    return true;
}

void keys_copy(struct call *call)
{
    bool replace = false;
    if (!read_copy_options(call, &replace)) {
        return;
    }
    struct slice to = call->argv[2];
    const struct entry *source = call_find(call, call->argv[1]);
    if (source == NULL) {
        resp_integer(&call->reply, 0);
        return;
    }
    int64_t ordinal = 0;
    bool bonded = entry_due(source, &ordinal) == DUE_SESSION;
    struct entry *former = call_edit(call, to);
    if (former != NULL && !replace) {
        resp_integer(&call->reply, 0);
        return;
    }
    if (bonded && keyspace_count_bonded(call->keyspace, (uint64_t)ordinal) >= SESSION_CLAIMS) {
        resp_error(&call->reply, SESSION_BONDS_FULL);
        return;
    }
    if (former != NULL) {
        call_remove(call, former);
    }
    const struct entry *from = call_look(call, call->argv[1]);
    struct entry *copy = keyspace_copy(call->keyspace, from, to);
    keyspace_tell_whole(call->keyspace, copy, false);
    call_changed(call, copy);
    call_notify(call, EVENT_GENERIC, "copy_to", to);
    resp_integer(&call->reply, 1);
}

void keys_dbsize(struct call *call) { resp_integer(&call->reply, (int64_t)keyspace_count(call->keyspace)); }

static void flush(struct call *call)
{
    if (!call_flush_asked(call)) {
        return;
    }
    if (keyspace_count(call->keyspace) != 0) {
        keyspace_clear(call->keyspace, call->position);
    }
    call_ok(call);
}

void keys_flushdb(struct call *call) { flush(call); }
void keys_flushall(struct call *call) { flush(call); }
