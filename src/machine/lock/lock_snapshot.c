/* Locks as records of snapshots (machine/snapshot_walk.h).
 *
 * After the kind and a version (1), u8 each; numbers are varints, texts a size and bytes:
 *   'l' marks   restores · last token · last order · last used · fence floor; the first one
 *   'L' lock    key · fence · grants · used · limit · holders · waiters · past, then so many claims, each: owner · note
 * · order · token · due · since · ttl · node · start · client · number · permits · mode · end · count of ids · shard
 * and number of the session that it ends with, 0 when it has none · ids
 *   'Q', 'q'    parts of LOCK.MACQUIREs, behind their lock, and what home has refused (lock_parts_snapshot.c) */
#include "machine/lock/lock.h"

#include "base/memory.h"
#include "base/record.h"
#include "machine/machine_mutation.h"

enum { LOCK_NUMBERS = 7, CLAIM_NUMBERS = 15, MARKS = 5 };

static struct locks *locks_of(const struct snapshot_walk *walk) { return CONTAINER_OF(walk, struct locks, walk); }

static void put_claim(struct buffer *out, const struct claim *claim)
{
    record_put_text(out, claim_owner(claim));
    record_put_text(out, claim_note(claim));
    struct session_id session = claim->tie == NULL ? (struct session_id){0} : tie_id(claim->tie);
    const uint64_t numbers[CLAIM_NUMBERS] = {claim->order,
                                             claim->token,
                                             (uint64_t)claim->due_ms,
                                             (uint64_t)claim->since_ms,
                                             (uint64_t)claim->ttl_ms,
                                             claim->origin.node,
                                             claim->origin.start,
                                             claim->origin.client,
                                             claim->origin.number,
                                             claim->permits,
                                             claim->mode,
                                             claim->end,
                                             claim->id_count,
                                             session.shard,
                                             session.number};
    record_put_numbers(out, numbers, CLAIM_NUMBERS);
    record_put_text(out, claim->ids == NULL ? slice_of(NULL, 0) : buffer_slice(claim->ids));
}

static void put_claims(struct buffer *out, const struct list *claims)
{
    LIST_FOR_EACH (at, claims) {
        put_claim(out, claim_of(at));
    }
}

static void put_lock(struct buffer *out, const void *item)
{
    const struct lock *lock = item;
    bool waiters = !MACHINE_MUTATED(WAITERS_NOT_KEPT);
    record_put_head(out, LOCK_RECORD, LOCK_RECORD_VERSION);
    record_put_text(out, lock_key(lock));
    const uint64_t numbers[LOCK_NUMBERS] = {
        lock->fence,     lock->grants,       claim_count(lock) == 0 ? lock->used : 0,
        lock->limit,     lock->holder_count, waiters ? lock->waiter_count : 0,
        lock->past_count};
    record_put_numbers(out, numbers, LOCK_NUMBERS);
    put_claims(out, &lock->holders);
    if (waiters) {
        put_claims(out, &lock->waiters);
    }
    put_claims(out, &lock->past);
}

static bool unused(const struct locks *locks)
{
    return locks->last_order == 0 && locks->last_used == 0 && locks->restores == 0;
}

static void put_marks(struct buffer *out, const struct snapshot_walk *walk)
{
    const struct locks *locks = locks_of(walk);
    const uint64_t numbers[MARKS] = {locks->restores, locks->last_token, locks->last_order, locks->last_used,
                                     locks->fence_floor};
    if (!unused(locks)) {
        record_put_head(out, LOCK_RECORD_MARKS, LOCK_RECORD_VERSION);
        record_put_numbers(out, numbers, MARKS);
    }
}

static void put_refused(struct buffer *out, const struct snapshot_walk *walk) { lock_refused_put(out, locks_of(walk)); }

static void put_parts(struct buffer *out, const void *item) { lock_parts_put(out, item); }

/* ---- back: whatever the bytes are, what was taken before stays sound ---- */

static bool ids_sound(struct slice ids, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (ids.size == 0 || ids.data[0] > LOCK_REQUEST_ID_BYTES || (size_t)ids.data[0] + 1 > ids.size) {
            return false;
        }
        size_t size = 1 + (size_t)ids.data[0];
        ids = slice_of(ids.data + size, ids.size - size);
    }
    return ids.size == 0;
}

static bool numbers_sound(const struct locks *locks, const uint64_t numbers[static CLAIM_NUMBERS])
{
    return numbers[0] <= locks->last_order && numbers[1] <= locks->last_token && numbers[2] <= INT64_MAX / 2 &&
           numbers[3] <= INT64_MAX / 2 && numbers[4] <= (uint64_t)LOCK_TIME_MS && numbers[9] >= 1 &&
           numbers[9] <= LOCK_PERMITS && numbers[10] < LOCK_MODES && numbers[11] < LOCK_ENDS &&
           numbers[12] <= LOCK_REQUEST_IDS + 1 && numbers[13] <= UINT16_MAX && numbers[14] <= INT64_MAX &&
           (numbers[13] == 0 || locks->ties != NULL) && (numbers[13] == 0) == (numbers[14] == 0);
}

static void set_numbers(struct claim *claim, const uint64_t numbers[static CLAIM_NUMBERS])
{
    claim->order = numbers[0];
    claim->token = numbers[1];
    claim->due_ms = (int64_t)numbers[2];
    claim->since_ms = (int64_t)numbers[3];
    claim->ttl_ms = (int64_t)numbers[4];
    claim->origin = (struct lock_origin){numbers[5], numbers[6], numbers[7], numbers[8]};
    claim->permits = (uint32_t)numbers[9];
    claim->mode = (uint8_t)numbers[10];
    claim->end = (uint8_t)numbers[11];
    claim->id_count = (uint32_t)numbers[12];
}

/* Whether the claim may stand beside those that the lock has. */
static bool claim_sound(const struct locks *locks, const struct lock *lock, const struct claim *claim, uint32_t limit)
{
    if (claim->state == CLAIM_PAST) {
        return claim->id_count == 0 && claim->tie == NULL;
    }
    bool fits = claim->mode != LOCK_PERMITS_MODE || (limit > 0 && claim->permits <= limit);
    if (claim->state == CLAIM_HOLDS && lock->holder_count > 0) {
        fits = fits && claim->mode != LOCK_EXCLUSIVE && claim_of(lock->holders.next)->mode == claim->mode &&
               (claim->mode == LOCK_SHARED || lock->permits_held + claim->permits <= limit);
    }
    return fits && lock_claim(locks, lock, claim_owner(claim)) == NULL;
}

static bool take_claim(struct locks *locks, struct lock *lock, struct slice *from, enum claim_state state,
                       uint32_t limit)
{
    struct slice owner;
    struct slice note;
    struct slice ids;
    uint64_t numbers[CLAIM_NUMBERS];
    if (!record_take_text(from, LOCK_OWNER_BYTES, &owner) || !record_take_text(from, LOCK_NOTE_BYTES, &note) ||
        !record_take_numbers(from, UINT64_MAX, numbers, CLAIM_NUMBERS) || !numbers_sound(locks, numbers) ||
        !record_take_text(from, (LOCK_REQUEST_IDS + 1) * (LOCK_REQUEST_ID_BYTES + 1), &ids) ||
        !ids_sound(ids, numbers[12])) {
        return false;
    }
    struct claim *claim = claim_create(lock, owner, note);
    set_numbers(claim, numbers);
    claim->lock = lock;
    claim->state = (uint8_t)state;
    if (numbers[13] != 0) {
        claim->tie = ties_enter(locks->ties, (struct session_id){(uint32_t)numbers[13], numbers[14]});
    }
    if (!claim_sound(locks, lock, claim, limit)) {
        claim_free(claim);
        return false;
    }
    if (claim->id_count > 0) {
        claim->ids = memory_allocate_zeroed(1, sizeof(*claim->ids));
        buffer_append_slice(claim->ids, ids);
    }
    lock_busy(locks, lock);
    claim_enter(locks, claim);
    return true;
}

static bool take_claims(struct locks *locks, struct lock *lock, struct slice *from, uint64_t count,
                        enum claim_state state, uint32_t limit)
{
    for (uint64_t i = 0; i < count; i++) {
        if (!take_claim(locks, lock, from, state, limit)) {
            return false;
        }
    }
    return true;
}

static void drop_claims(struct locks *locks, struct list *claims)
{
    LIST_FOR_EACH_SAFE (at, after, claims) {
        struct claim *claim = claim_of(at);
        claim_leave(locks, claim);
        claim_free(claim);
    }
}

static enum status lock_load(struct locks *locks, struct slice record)
{
    struct slice key;
    uint64_t numbers[LOCK_NUMBERS];
    if (!record_take_text(&record, LOCK_KEY_BYTES, &key) || lock_find(locks, key) != NULL ||
        !record_take_numbers(&record, UINT64_MAX, numbers, LOCK_NUMBERS) || numbers[2] > locks->last_used ||
        numbers[3] > LOCK_PERMITS || numbers[4] > LOCK_HOLDERS || numbers[5] > LOCK_WAITERS ||
        numbers[6] > LOCK_HISTORY || locks->waiters + numbers[5] > LOCKS_WAITERS) {
        return STATUS_CORRUPT;
    }
    uint64_t last_used = locks->last_used;
    struct lock *lock = lock_add(locks, key);
    lock->fence = numbers[0];
    lock->grants = numbers[1];
    uint32_t limit = (uint32_t)numbers[3];
    lock_busy(locks, lock); /* its past counts from the beginning */
    bool good = take_claims(locks, lock, &record, numbers[4], CLAIM_HOLDS, limit) &&
                take_claims(locks, lock, &record, numbers[5], CLAIM_WAITS, limit) &&
                take_claims(locks, lock, &record, numbers[6], CLAIM_PAST, limit) && record.size == 0 &&
                (numbers[5] == 0 || numbers[4] > 0);
    lock->limit = lock->permit_claims == 0 ? 0 : limit;
    if (!good) {
        drop_claims(locks, &lock->holders);
        drop_claims(locks, &lock->waiters);
    }
    lock_idle(locks, lock);
    lock->used = numbers[2];
    locks->last_used = last_used;
    locks->idle_loaded = true;
    if (!good) {
        lock_forget(locks, lock);
    }
    return good ? STATUS_OK : STATUS_CORRUPT;
}

static enum status marks_load(struct locks *locks, struct slice record)
{
    uint64_t numbers[MARKS];
    if (!unused(locks) || !record_take_numbers(&record, INT64_MAX, numbers, MARKS) || record.size != 0 ||
        numbers[0] >= (UINT64_C(1) << (63 - LOCK_TOKEN_RESTORE_SHIFT))) {
        return STATUS_CORRUPT;
    }
    locks->restores = numbers[0];
    locks->last_token = numbers[1];
    locks->last_order = numbers[2];
    locks->last_used = numbers[3];
    locks->fence_floor = numbers[4];
    return STATUS_OK;
}

static enum status load(struct snapshot_walk *walk, uint8_t record_kind, struct slice rest)
{
    struct locks *locks = locks_of(walk);
    switch (record_kind) {
    case LOCK_RECORD: return lock_load(locks, rest);
    case LOCK_RECORD_PART: return lock_part_load(locks, rest);
    case LOCK_RECORD_REFUSED: return lock_refused_load(locks, rest);
    default: return marks_load(locks, rest);
    }
}

const struct snapshot_walk_kind locks_snapshot = {
    .records = {LOCK_RECORD, LOCK_RECORD_MARKS, LOCK_RECORD_PART, LOCK_RECORD_REFUSED},
    .version = LOCK_RECORD_VERSION,
    .epoch_offset = offsetof(struct lock, epoch),
    .put_marks = put_marks,
    .put_item = put_lock,
    .put_behind_marks = put_refused,
    .put_behind_item = put_parts,
    .load = load,
};
