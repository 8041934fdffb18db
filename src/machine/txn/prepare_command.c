/* COHORT.TXN.PREPARE: a shard's vote. The commands are executed over an overlay of their keys, at the entry's time, and
 * what they change is kept back with the locks. COHORT.TXN.LAST is the same at home when all others have voted yes: its
 * own yes is the decision. */
#include "base/assert.h"
#include "base/memory.h"
#include "command/machine_handlers.h"
#include "machine/call.h"
#include "machine/keys/dump.h"
#include "machine/txn/footprint.h"
#include "machine/txn/home_commands.h"
#include "machine/txn/txn.h"
#include "machine/txn/whole.h"

#include <stdlib.h>

struct touched {
    struct slice key;
    bool writes;
};

struct preparing {
    struct call *call;
    struct txn_prepare said;
    struct touched *keys; /* sorted, each once, when they are gathered */
    size_t key_count, key_capacity;
    enum footprint_reach reach;
    struct buffer body;
    struct buffer replies;
    const char *no;     /* why the vote is no */
    struct slice whose; /* which transaction or key that is about, or what home knows better */
    char number[NUMBER_INT64_BYTES];
};

/* ---- keys ---- */

static void gather_key(void *owner, struct slice key, bool writes)
{
    struct preparing *preparing = owner;
    if (preparing->key_count == preparing->key_capacity) {
        preparing->key_capacity = preparing->key_capacity == 0 ? 16 : preparing->key_capacity * 2;
        preparing->keys = memory_resize(preparing->keys, preparing->key_capacity * sizeof(*preparing->keys));
    }
    preparing->keys[preparing->key_count++] = (struct touched){key, writes};
}

static int compare_keys(const void *a, const void *b)
{
    const struct touched *left = a;
    const struct touched *right = b;
    return slice_compare(left->key, right->key);
}

static void gather_keys(struct preparing *preparing)
{
    struct call *call = preparing->call;
    const struct command command = {call->spec, call->argv, call->argc, RESP2};
    preparing->reach = footprint_visit(&command, call->queued, gather_key, preparing);
    if (preparing->key_count == 0) {
        return;
    }
    qsort(preparing->keys, preparing->key_count, sizeof(*preparing->keys), compare_keys);
    size_t kept = 0;
    for (size_t i = 1; i < preparing->key_count; i++) {
        if (slice_equal(preparing->keys[kept].key, preparing->keys[i].key)) {
            preparing->keys[kept].writes = preparing->keys[kept].writes || preparing->keys[i].writes;
        } else {
            preparing->keys[++kept] = preparing->keys[i];
        }
    }
    preparing->key_count = kept + 1;
}

/* ---- reasons to vote no ---- */

static bool vote_no(struct preparing *preparing, const char *why, struct slice whose)
{
    preparing->no = why;
    preparing->whose = whose;
    return false;
}

static bool has_room(struct preparing *preparing)
{
    const struct parts *parts = &preparing->call->txns->parts;
    if (!parts_see_epoch(&preparing->call->txns->parts, preparing->said.home, preparing->said.epoch)) {
        return vote_no(preparing, "EPOCH", slice_of(NULL, 0));
    }
    if (parts->prepared_count >= TXN_PARTS || parts->bytes >= TXN_PARTS_BYTES ||
        (preparing->said.protocol == TXN_3PC && parts->finished_count + parts->prepared_count >= TXN_FINISHED)) {
        return vote_no(preparing, "FULL", slice_of(NULL, 0));
    }
    return true;
}

static bool vote_locked(struct preparing *preparing, const struct part *holder)
{
    return vote_no(preparing, "LOCKED", holder == NULL ? slice_of(NULL, 0) : part_id(holder));
}

static bool keys_free(struct preparing *preparing)
{
    const struct lock_table *locks = &preparing->call->txns->parts.locks;
    const void *holder = NULL;
    if (preparing->reach != FOOTPRINT_KEYS &&
        lock_table_blocks_all(locks, preparing->reach == FOOTPRINT_ALL_WRITTEN, &holder)) {
        return vote_locked(preparing, holder);
    }
    for (size_t i = 0; i < preparing->key_count; i++) {
        if (lock_table_blocks(locks, preparing->keys[i].key, preparing->keys[i].writes, &holder)) {
            return vote_locked(preparing, holder);
        }
    }
    return true;
}

static bool versions_hold(struct preparing *preparing)
{
    const struct call *call = preparing->call;
    const struct slice *checks = preparing->said.checks;
    for (uint32_t i = 0; i < preparing->said.check_count; i++) {
        int64_t seen;
        if (!number_parse_int64(checks[2 * i + 1], &seen) ||
            keyspace_version(call->keyspace, &call->time, checks[2 * i]) != (uint64_t)seen) {
            return vote_no(preparing, "CHANGED", checks[2 * i]);
        }
    }
    return true;
}

/* ---- what it would write ---- */

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
            fits = vote_no(preparing, "LARGE", key);
            break;
        }
        if (entry != NULL) {
            entry_dump(entry, &value);
        }
        enum status status =
            overlay_load(overlay, key, keyspace_version(call->keyspace, &call->time, key), buffer_slice(&value));
        ASSERT(status == STATUS_OK);
    }
    buffer_deinit(&value);
    return fits;
}

/* Runs one command; the replies of all are bounded as those of an EXEC. */
static void run_command(struct preparing *preparing, struct overlay *overlay, const struct command *command)
{
    bool discards = preparing->call->reply.out == NULL;
    struct resp_writer writer = {discards ? NULL : &preparing->replies, command->protocol};
    size_t before = preparing->replies.size;
    if (whole_looks(command->spec)) {
        whole_run(preparing->call, overlay, command, &writer);
    } else {
        overlay_run(overlay, command, &writer);
    }
    if (preparing->replies.size > CALL_REPLY_BYTES) {
        preparing->replies.size = before;
        resp_error(&writer, "ERR the reply would exceed 1 GiB; ask for less in one command");
    }
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
        run_command(preparing, overlay, &command);
        if (overlay_value_bytes(overlay) > loaded + TXN_GROWTH_BYTES) {
            return vote_no(preparing, "LARGE", slice_of(NULL, 0));
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

/* The values that the sender computed. */
static bool put_values(struct preparing *preparing, struct overlay *overlay)
{
    const struct slice *writes = preparing->said.writes;
    for (uint32_t i = 0; i < preparing->said.write_count; i++) {
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
            return vote_no(preparing, "READS", slice_of(NULL, 0));
        }
        resp_integer(&reply, (int64_t)keyspace_version(call->keyspace, &call->time, key));
        buffer_clear(&value);
        if (entry == NULL) {
            resp_null(&reply);
        } else {
            entry_dump(entry, &value);
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

/* False: it is too large, which is a vote, or the values are none. */
static bool execute(struct preparing *preparing)
{
    struct call *call = preparing->call;
    struct txns *txns = call->txns;
    if (preparing->said.mode == PREPARE_HOLD) {
        return keep_locks(preparing);
    }
    if (txns->overlay == NULL) {
        txns->overlay = overlay_create(txns->hash_seed);
    }
    overlay_set_time(txns->overlay, call->time.applied_time_ms, call->time.applied_wall_ms);
    bool good = load_keys(preparing, txns->overlay) && run_commands(preparing, txns->overlay) &&
                put_values(preparing, txns->overlay);
    if (good) {
        keep_changes(preparing, txns->overlay);
    }
    overlay_clear(txns->overlay);
    return good;
}

/* ---- the vote ---- */

/* What may stand in a PREPARE; in HOLD it only says that all keys are wanted. */
static bool may_stand(const struct preparing *preparing, const struct command *command)
{
    return overlay_flushes(command) ||
           (preparing->said.mode != PREPARE_HOLD && (overlay_takes(command) || whole_looks(command->spec)));
}

/* Each is a command for clients, to its last byte. */
static bool commands_valid(const struct preparing *preparing)
{
    for (uint32_t i = 0; i < preparing->said.command_count; i++) {
        struct slice from = preparing->said.commands[i];
        struct command command;
        if (command_decode(&from, preparing->call->queued, &command) != STATUS_OK || from.size != 0 ||
            !may_stand(preparing, &command)) {
            return false;
        }
    }
    return true;
}

static bool fits(struct preparing *preparing)
{
    size_t held = preparing->call->txns->parts.bytes;
    if (preparing->body.size > TXN_PART_BYTES || preparing->replies.size > CALL_REPLY_BYTES) {
        return vote_no(preparing, "LARGE", slice_of(NULL, 0));
    }
    return held + preparing->body.size <= TXN_PARTS_BYTES || vote_no(preparing, "FULL", slice_of(NULL, 0));
}

static void vote_yes(struct preparing *preparing)
{
    struct call *call = preparing->call;
    struct part_prepare prepare = {&preparing->said, call->position, call->time.applied_time_ms,
                                   (uint32_t)preparing->key_count};
    const struct part *part = parts_prepare(&call->txns->parts, &prepare, &preparing->body);
    resp_array(&call->reply, 3);
    resp_bulk_string(&call->reply, "YES");
    resp_integer(&call->reply, (int64_t)part->vote);
    resp_array(&call->reply, preparing->said.mode == PREPARE_HOLD ? 1 : preparing->said.command_count);
    resp_raw(&call->reply, buffer_slice(&preparing->replies));
}

/* It was prepared before, in the same epoch: the same vote again, though not the replies; one that is HELD gives its
 * locks to this vote. In an older one: that attempt was never opened, and is no more. */
static bool known(struct preparing *preparing)
{
    struct call *call = preparing->call;
    struct parts *parts = &call->txns->parts;
    struct part *part = parts_find(parts, preparing->said.id);
    if (part == NULL) {
        return false;
    }
    bool finished =
        part->state == PART_COMMITTED || part->state == PART_ABORTED || preparing->said.mode == PREPARE_LAST;
    bool holds = preparing->said.mode == PREPARE_HOLD && part->epoch == preparing->said.epoch;
    if (finished || holds || part->epoch > preparing->said.epoch) {
        (void)vote_no(preparing, "REFUSED", part_id(part));
        return true;
    }
    if (part->epoch < preparing->said.epoch) {
        if (part->protocol == TXN_3PC) {
            (void)vote_no(preparing, "REFUSED", part_id(part));
            return true;
        }
        part_finish(parts, part, false, call->keyspace, &call->time, call->position);
        return false;
    }
    if (part->state == PART_HELD) {
        parts_let_go(parts, part);
        return false;
    }
    resp_array(&call->reply, 3);
    resp_bulk_string(&call->reply, "YES");
    resp_integer(&call->reply, (int64_t)part->vote);
    resp_array(&call->reply, 0);
    return true;
}

static void prepare(struct preparing *preparing)
{
    if (known(preparing) || !has_room(preparing)) {
        return;
    }
    gather_keys(preparing);
    if (preparing->key_count > TXN_PART_KEYS) {
        (void)vote_no(preparing, "LARGE", slice_of(NULL, 0));
        return;
    }
    if (!keys_free(preparing) || !versions_hold(preparing)) {
        return;
    }
    bool executed = execute(preparing);
    if (executed && fits(preparing)) {
        vote_yes(preparing);
    } else if (!executed && preparing->no == NULL) {
        resp_error(&preparing->call->reply, "ERR malformed value in a transaction");
    }
}

/* False: malformed, and the reply is written. */
static bool begin(struct preparing *preparing, struct call *call)
{
    *preparing = (struct preparing){.call = call};
    const struct command command = {call->spec, call->argv, call->argc, RESP2};
    if (txn_prepare_parse(&command, &preparing->said) && commands_valid(preparing)) {
        return true;
    }
    resp_error(&call->reply, "ERR malformed command of a transaction");
    return false;
}

static void end(struct preparing *preparing)
{
    struct call *call = preparing->call;
    if (preparing->no != NULL) {
        resp_array(&call->reply, 3);
        resp_bulk_string(&call->reply, "NO");
        resp_bulk_string(&call->reply, preparing->no);
        resp_bulk(&call->reply, preparing->whose);
    }
    buffer_deinit(&preparing->body);
    buffer_deinit(&preparing->replies);
    free(preparing->keys);
}

void txn_prepare(struct call *call)
{
    struct preparing preparing;
    if (begin(&preparing, call)) {
        prepare(&preparing);
        end(&preparing);
    }
}

/* ---- the last vote ---- */

static struct home_open opening(const struct preparing *preparing)
{
    const struct call *call = preparing->call;
    return (struct home_open){.id = preparing->said.id,
                              .epoch = preparing->said.epoch,
                              .term = call->term,
                              .position = call->position,
                              .protocol = TXN_2PC,
                              .time_ms = call->time.applied_time_ms,
                              .participants = preparing->said.participants,
                              .participant_count = preparing->said.participant_count,
                              .votes = preparing->said.votes,
                              .begun = preparing->said.begun};
}

/* Home's record allows it. Of an epoch or an id that is too old the answer has the term or the position of now. */
static bool home_takes(struct preparing *preparing)
{
    const struct home_open open = opening(preparing);
    uint64_t now = 0;
    const char *why = NULL;
    switch (homes_take_last(&preparing->call->txns->homes, &open)) {
    case HOME_OPENED: return true;
    case HOME_EXISTS: return vote_no(preparing, "REFUSED", slice_of(NULL, 0));
    case HOME_FULL: return vote_no(preparing, "FULL", slice_of(NULL, 0));
    case HOME_EPOCH:
        why = "EPOCH";
        now = open.term;
        break;
    case HOME_OLD:
        why = "OLD";
        now = open.position;
        break;
    }
    return vote_no(preparing, why, slice_of(preparing->number, number_format_uint64(preparing->number, now)));
}

void txn_last(struct call *call)
{
    struct preparing preparing;
    if (!begin(&preparing, call)) {
        return;
    }
    if (home_takes(&preparing)) {
        prepare(&preparing);
    }
    const struct part *own = parts_find(&call->txns->parts, preparing.said.id);
    if (preparing.no == NULL && own != NULL && own->vote == call->position) {
        const struct home_open open = opening(&preparing);
        home_finish_own_part(call, homes_open_last(&call->txns->homes, &open));
    }
    end(&preparing);
}
