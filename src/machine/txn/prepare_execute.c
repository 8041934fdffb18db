/* What a PREPARE would write and what its commands reply: they are executed over an overlay of their keys, at the
 * entry's time. Of HOLD: the locks alone, and what is there. */
#include "base/assert.h"
#include "machine/keys/dump.h"
#include "machine/session/ties.h"
#include "machine/txn/prepare_internal.h"
#include "machine/txn/txn.h"
#include "machine/txn/whole.h"

/* Every key as it is; false when that is too much. */
static bool load_keys(struct preparing *preparing, struct overlay *overlay)
{
    struct call *call = preparing->call;
    struct buffer value;
    bool fits = true;
    buffer_init(&value);
    for (size_t i = 0; i < preparing->key_count && fits; i++) {
        struct slice key = preparing->keys[i].key;
        const struct entry *entry = call_look(call, key);
        buffer_clear(&value);
        if (entry != NULL && overlay_value_bytes(overlay) + entry_memory_bytes(entry) > TXN_TOUCHED_BYTES) {
            fits = prepare_no(preparing, "LARGE", key);
            break;
        }
        if (entry != NULL) {
            entry_dump(entry, call->ties, &value);
        }
        enum status status =
            overlay_load(overlay, key, keyspace_version(call->keyspace, &call->time, key), buffer_slice(&value));
        ASSERT(status == STATUS_OK);
    }
    buffer_deinit(&value);
    return fits;
}

/* Runs one command; the replies of all are bounded as those of an EXEC. False: it is none. */
static bool run_command(struct preparing *preparing, struct overlay *overlay, const struct command *command)
{
    bool good = true;
    /* Home keeps what it replies to its own vote, if that is little: so every replica must know it. */
    bool keeps = preparing->said.mode == PREPARE_LAST && !preparing->vary && preparing->replies.size <= TXN_REPLY_BYTES;
    bool discards = preparing->call->reply.out == NULL && !keeps;
    preparing->vary = preparing->vary || command->spec->varies || command->spec->key_count != 0;
    struct resp_writer writer = {discards ? NULL : &preparing->replies, command->protocol};
    size_t before = preparing->replies.size;
    if (whole_looks(command->spec)) {
        whole_run(preparing->call, overlay, command, &writer);
    } else if (command->spec->id == COMMAND_COHORT_TXN_SEEM || command->spec->id == COMMAND_COHORT_TXN_SEEN) {
        good = command->spec->id == COMMAND_COHORT_TXN_SEEN || whole_seem(overlay, command, false);
        resp_status(&writer, "OK");
    } else {
        overlay_run(overlay, command, &writer);
    }
    if (preparing->replies.size > CALL_REPLY_BYTES) {
        preparing->replies.size = before;
        resp_error(&writer, "ERR the reply would exceed 1 GiB; ask for less in one command");
    }
    return good;
}

/* False as soon as they have made too much of what was loaded. */
static bool run_commands(struct preparing *preparing, struct overlay *overlay)
{
    struct call *call = preparing->call;
    size_t loaded = overlay_value_bytes(overlay);
    for (uint32_t i = 0; i < preparing->said.command_count; i++) {
        struct slice from = preparing->said.commands[i];
        struct command command;
        enum status status = command_decode(&from, call->queued, &command);
        ASSERT(status == STATUS_OK); /* commands_valid has looked */
        if (!run_command(preparing, overlay, &command)) {
            return false;
        }
        if (overlay_value_bytes(overlay) > loaded + TXN_GROWTH_BYTES) {
            return prepare_no(preparing, "LARGE", slice_of(NULL, 0));
        }
    }
    return true;
}

/* The lock of all keys, before those of single ones. */
static void keep_all(struct preparing *preparing, bool flushed)
{
    if (preparing->reach != FOOTPRINT_KEYS) {
        bool writes = preparing->reach == FOOTPRINT_ALL_WRITTEN;
        part_add_key(&preparing->body,
                     &(struct part_key){.all = true, .exclusive = writes, .written = flushed, .deleted = flushed});
    }
}

static void keep_changes(struct preparing *preparing, const struct overlay *overlay)
{
    struct buffer value;
    buffer_init(&value);
    keep_all(preparing, overlay_flushed(overlay));
    for (size_t i = 0; i < preparing->key_count; i++) {
        struct overlay_key now;
        overlay_at(overlay, i, &now);
        /* Traces of deletion are shared: an absent key that is only read may look as if it were deleted here. */
        bool written = now.changed && preparing->keys[i].writes;
        buffer_clear(&value);
        if (written) {
            overlay_dump(overlay, now.key, &value);
        }
        part_add_key(&preparing->body, &(struct part_key){.key = preparing->keys[i].key,
                                                          .exclusive = preparing->keys[i].writes,
                                                          .written = written,
                                                          .deleted = !now.present,
                                                          .value = buffer_slice(&value)});
    }
    buffer_deinit(&value);
}

/* The values that the sender computed. One that ends with a session needs a tie that lives. */
static bool put_values(struct preparing *preparing, struct overlay *overlay)
{
    const struct slice *writes = preparing->said.writes;
    for (uint32_t i = 0; i < preparing->said.write_count; i++) {
        struct session_id id;
        if (dump_session(writes[2 * i + 1], &id)) {
            const struct tie *tie = ties_find(preparing->call->ties, id);
            if (tie == NULL || tie->state != TIE_LIVES) {
                return prepare_no(preparing, "SESSION", writes[2 * i]);
            }
        }
        if (overlay_put(overlay, writes[2 * i], writes[2 * i + 1]) != STATUS_OK) {
            return false;
        }
    }
    return true;
}

/* The locks alone, and what is there: as COHORT.DUMP tells it. False when that is too much. */
static bool keep_locks(struct preparing *preparing)
{
    struct call *call = preparing->call;
    struct resp_writer reply = resp_writer_to(&preparing->replies, RESP2);
    struct buffer value;
    size_t bytes = 0;
    buffer_init(&value);
    keep_all(preparing, false);
    resp_array(&reply, 2 + 2 * (size_t)preparing->said.write_count);
    resp_integer(&reply, call->time.applied_time_ms);
    resp_integer(&reply, call->time.applied_wall_ms);
    for (uint32_t i = 0; i < preparing->said.write_count; i++) {
        struct slice key = preparing->said.writes[2 * i];
        const struct entry *entry = call_look(call, key);
        bytes += entry == NULL ? 0 : entry_memory_bytes(entry);
        if (bytes > TXN_READ_BYTES) {
            buffer_deinit(&value);
            return prepare_no(preparing, "READS", slice_of(NULL, 0));
        }
        resp_integer(&reply, (int64_t)keyspace_version(call->keyspace, &call->time, key));
        buffer_clear(&value);
        if (entry == NULL) {
            resp_null(&reply);
        } else {
            entry_dump(entry, call->ties, &value);
            resp_bulk(&reply, buffer_slice(&value));
        }
    }
    for (size_t i = 0; i < preparing->key_count; i++) {
        part_add_key(&preparing->body,
                     &(struct part_key){.key = preparing->keys[i].key, .exclusive = preparing->keys[i].writes});
    }
    buffer_deinit(&value);
    return true;
}

/* As SET in the shard itself refuses it; what several transactions prepare at a time may come to more. */
static bool bonds_fit(struct preparing *preparing, const struct overlay *overlay)
{
    for (size_t i = 0; i < preparing->key_count; i++) {
        struct overlay_key now;
        int64_t ordinal;
        int64_t before;
        overlay_at(overlay, i, &now);
        const struct entry *entry = overlay_look(overlay, now.key);
        if (entry == NULL || !now.changed || entry_due(entry, &ordinal) != DUE_SESSION) {
            continue;
        }
        const struct entry *former = call_look(preparing->call, now.key);
        bool has = former != NULL && entry_due(former, &before) == DUE_SESSION && before == ordinal;
        if (!has && keyspace_count_bonded(preparing->call->keyspace, (uint64_t)ordinal) >= SESSION_CLAIMS) {
            return prepare_no(preparing, "BONDS", preparing->keys[i].key); /* now.key goes with the overlay */
        }
    }
    return true;
}

bool prepare_execute(struct preparing *preparing)
{
    struct call *call = preparing->call;
    struct txns *txns = call->txns;
    if (preparing->said.mode == PREPARE_HOLD) {
        return keep_locks(preparing);
    }
    if (txns->overlay == NULL) {
        txns->overlay = overlay_create(txns->hash_seed);
    }
    overlay_use_ties(txns->overlay, call->ties);
    overlay_set_time(txns->overlay, call->time.applied_time_ms, call->time.applied_wall_ms);
    bool good = load_keys(preparing, txns->overlay) && run_commands(preparing, txns->overlay) &&
                put_values(preparing, txns->overlay) && bonds_fit(preparing, txns->overlay);
    if (good) {
        keep_changes(preparing, txns->overlay);
    }
    overlay_clear(txns->overlay);
    overlay_use_ties(txns->overlay, NULL);
    return good;
}
