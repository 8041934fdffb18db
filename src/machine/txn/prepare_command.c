/* COHORT.TXN.PREPARE: a shard's vote. What its commands change is kept back with the locks. */
#include "base/assert.h"
#include "base/memory.h"
#include "command/machine_handlers.h"
#include "machine/call.h"
#include "machine/txn/prepare_internal.h"
#include "machine/txn/txn.h"
#include "machine/txn/whole.h"

#include <stdlib.h>

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

bool prepare_no(struct preparing *preparing, const char *why, struct slice whose)
{
    preparing->no = why;
    preparing->whose = whose;
    return false;
}

static bool has_room(struct preparing *preparing)
{
    const struct parts *parts = &preparing->call->txns->parts;
    if (!parts_see_epoch(&preparing->call->txns->parts, preparing->said.home, preparing->said.epoch)) {
        return prepare_no(preparing, "EPOCH", slice_of(NULL, 0));
    }
    if (parts->prepared_count >= TXN_PARTS || parts->bytes >= TXN_PARTS_BYTES ||
        (preparing->said.protocol == TXN_3PC && parts->finished_count + parts->prepared_count >= TXN_FINISHED)) {
        return prepare_no(preparing, "FULL", slice_of(NULL, 0));
    }
    return true;
}

static bool vote_locked(struct preparing *preparing, const struct part *holder)
{
    return prepare_no(preparing, "LOCKED", holder == NULL ? slice_of(NULL, 0) : part_id(holder));
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
            return prepare_no(preparing, "CHANGED", checks[2 * i]);
        }
    }
    return true;
}

/* ---- what it would write ---- */

/* Of looks at all keys that were told before. */
static bool looks_hold(struct preparing *preparing)
{
    for (uint32_t i = 0; i < preparing->said.command_count; i++) {
        struct slice from = preparing->said.commands[i];
        struct command command;
        struct whole_numbers seen;
        enum status status = command_decode(&from, preparing->call->queued, &command);
        ASSERT(status == STATUS_OK); /* commands_valid has looked */
        if (command.spec->id == COMMAND_COHORT_TXN_SEEN &&
            !(whole_seen(&command, &seen) && whole_is_as_seen(preparing->call, &seen))) {
            return prepare_no(preparing, "CHANGED", slice_of(NULL, 0));
        }
    }
    return true;
}

/* ---- the vote ---- */

/* What may stand in a PREPARE; in HOLD it only says that all keys are wanted. */
static bool may_stand(const struct preparing *preparing, const struct command *command)
{
    uint16_t id = command->spec->id;
    bool said = id == COMMAND_COHORT_TXN_SEEM || id == COMMAND_COHORT_TXN_SEEN;
    return overlay_flushes(command) || whole_looks(command->spec) ||
           (preparing->said.mode != PREPARE_HOLD && (overlay_takes(command) || said));
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
        return prepare_no(preparing, "LARGE", slice_of(NULL, 0));
    }
    return held + preparing->body.size <= TXN_PARTS_BYTES || prepare_no(preparing, "FULL", slice_of(NULL, 0));
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
        (void)prepare_no(preparing, "REFUSED", part_id(part));
        return true;
    }
    if (part->epoch < preparing->said.epoch) {
        if (part->protocol == TXN_3PC) {
            (void)prepare_no(preparing, "REFUSED", part_id(part));
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

void prepare_vote(struct preparing *preparing)
{
    if (known(preparing) || !has_room(preparing)) {
        return;
    }
    gather_keys(preparing);
    if (preparing->key_count > TXN_PART_KEYS) {
        (void)prepare_no(preparing, "LARGE", slice_of(NULL, 0));
        return;
    }
    if (!keys_free(preparing) || !versions_hold(preparing) || !looks_hold(preparing)) {
        return;
    }
    bool executed = prepare_execute(preparing);
    if (executed && fits(preparing)) {
        vote_yes(preparing);
    } else if (!executed && preparing->no == NULL) {
        resp_error(&preparing->call->reply, "ERR malformed value in a transaction");
    }
}

bool prepare_begin(struct preparing *preparing, struct call *call)
{
    *preparing = (struct preparing){.call = call};
    const struct command command = {call->spec, call->argv, call->argc, RESP2};
    if (txn_prepare_parse(&command, &preparing->said) && commands_valid(preparing)) {
        return true;
    }
    resp_error(&call->reply, "ERR malformed command of a transaction");
    return false;
}

void prepare_end(struct preparing *preparing)
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
    if (prepare_begin(&preparing, call)) {
        prepare_vote(&preparing);
        prepare_end(&preparing);
    }
}
