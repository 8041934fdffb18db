#include "machine/lock/lock_waits.h"

#include "base/record.h"
#include "command/machine_handlers.h"
#include "machine/call.h"
#include "machine/lock/elections.h"
#include "machine/lock/lock_reap.h"
#include "machine/machine_mutation.h"

/* ---- the form ---- */

void lock_queue_put(struct buffer *out, const struct lock_queue *queue)
{
    record_put_text(out, queue->key);
    record_put_number(out, queue->limit);
    record_put_number(out, queue->holders);
    record_put_number(out, queue->waiters);
}

void lock_queue_claim_put(struct buffer *out, const struct lock_queue_claim *claim)
{
    record_put_text(out, claim->owner);
    record_put_number(out, claim->order);
    record_put_number(out, claim->origin.node);
    record_put_number(out, claim->origin.start);
    record_put_number(out, claim->origin.number);
    record_put_number(out, claim->part ? (uint64_t)LOCK_MODES : (uint64_t)claim->mode);
    record_put_number(out, claim->permits);
}

static bool take_u32(struct slice *from, uint64_t most, uint32_t *ret_value)
{
    uint64_t value;
    if (!record_take_number(from, most, &value)) {
        return false;
    }
    *ret_value = (uint32_t)value;
    return true;
}

bool lock_queue_take(struct slice *from, struct lock_queue *ret_queue)
{
    return record_take_text(from, LOCK_KEY_BYTES, &ret_queue->key) && take_u32(from, LOCK_PERMITS, &ret_queue->limit) &&
           take_u32(from, LOCK_WAITS_HOLDERS, &ret_queue->holders) &&
           take_u32(from, LOCK_WAITS_WAITERS, &ret_queue->waiters);
}

bool lock_queue_claim_take(struct slice *from, struct lock_queue_claim *ret_claim)
{
    uint32_t mode;
    ret_claim->origin.client = 0;
    if (!record_take_text(from, LOCK_OWNER_BYTES, &ret_claim->owner) || !varint_take(from, &ret_claim->order) ||
        !varint_take(from, &ret_claim->origin.node) || !varint_take(from, &ret_claim->origin.start) ||
        !varint_take(from, &ret_claim->origin.number) || !take_u32(from, LOCK_MODES, &mode) ||
        !take_u32(from, LOCK_PERMITS, &ret_claim->permits)) {
        return false;
    }
    ret_claim->part = mode == LOCK_MODES;
    ret_claim->mode = ret_claim->part ? LOCK_EXCLUSIVE : (enum lock_mode)mode;
    return true;
}

/* ---- the look ---- */

static uint32_t count_live(const struct list *claims, int64_t time_ms, uint32_t most)
{
    uint32_t count = 0;
    for (const struct list *at = claims->next; at != claims && count < most; at = at->next) {
        count += claim_of(at)->due_ms > time_ms ? 1 : 0;
    }
    return count;
}

static void put_claims(struct buffer *out, const struct list *claims, int64_t time_ms, uint32_t count)
{
    for (const struct list *at = claims->next; count > 0; at = at->next) {
        const struct claim *claim = claim_of(at);
        if (claim->due_ms <= time_ms) {
            continue;
        }
        bool part = claim->part != NULL && !MACHINE_MUTATED(PARTS_UNTOLD);
        const struct lock_queue_claim one = {claim_owner(claim),          claim->order,   claim->origin,
                                             (enum lock_mode)claim->mode, claim->permits, part};
        lock_queue_claim_put(out, &one);
        count--;
    }
}

static void put_lock(struct buffer *out, const struct lock *lock, int64_t time_ms)
{
    if (lock->holder_count > LOCK_WAITS_HOLDERS ||
        lock_name_reserved(lock_key(lock))) { /* whoever stands in an election blocks nobody */
        return;
    }
    const struct lock_queue queue = {lock_key(lock), lock->limit,
                                     count_live(&lock->holders, time_ms, LOCK_WAITS_HOLDERS),
                                     count_live(&lock->waiters, time_ms, LOCK_WAITS_WAITERS)};
    if (queue.waiters > 0) {
        lock_queue_put(out, &queue);
        put_claims(out, &lock->holders, time_ms, queue.holders);
        put_claims(out, &lock->waiters, time_ms, queue.waiters);
    }
}

/* All waits are found by the nodes from where they come; a lock is told of at the first of its queue. */
void locks_put_waits(const struct locks *locks, int64_t time_ms, struct buffer *out)
{
    size_t looks = 0;
    size_t most = out->size + LOCK_WAITS_BYTES;
    for (size_t i = 0; i < locks->node_count; i++) {
        LIST_FOR_EACH (at, &locks->nodes[i]->claims) {
            const struct claim *claim = CONTAINER_OF(at, struct claim, node_of);
            if (looks++ >= LOCK_WAITS_LOOKS || out->size >= most) {
                return;
            }
            if (claim->node.prev == &claim->lock->waiters) {
                put_lock(out, claim->lock, time_ms);
            }
        }
    }
}

/* COHORT.LOCK.WAITS */
void lock_waits(struct call *call)
{
    struct buffer out;
    buffer_init(&out);
    locks_put_waits(call->locks, call->time.present_time_ms, &out);
    resp_bulk(&call->reply, buffer_slice(&out));
    buffer_deinit(&out);
}
