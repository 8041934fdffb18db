#include "machine/lock/lock.h"
#include "machine/lock/lock_grant.h"
#include "machine/lock/lock_ids.h"
#include "machine/lock/lock_reap.h"

#include "base/memory.h"
#include "machine/lock/lock_limits.h"
#include "machine/machine_mutation.h"
#include "machine/session/ties.h"

#include <string.h>

static enum lock_outcome held(const struct claim *claim, const struct lock_now *now, struct lock_answer *ret_answer)
{
    int64_t left_ms = claim->tie != NULL ? claim->ttl_ms : claim->due_ms - now->time_ms;
    *ret_answer = (struct lock_answer){.token = claim->token, .ttl_ms = left_ms};
    ret_answer->ttl_ms += MACHINE_MUTATED(LEASE_SHORT) ? claim->ttl_ms / 2 : 0;
    return LOCK_GRANTED;
}

/* Another logical acquire of who holds it already. */
static enum lock_outcome enter_again(struct locks *locks, struct claim *claim, const struct lock_request *request,
                                     const struct lock_now *now, struct lock_answer *ret_answer)
{
    if (claim_has_id(claim, request->id)) {
        return held(claim, now, ret_answer);
    }
    if (claim->id_count >= LOCK_REQUEST_IDS) {
        return LOCK_MANY_IDS;
    }
    lock_keep(locks, claim->lock);
    if (claim->ids == NULL) { /* the first acquire was without, and counts too */
        claim_add_id(locks, claim, slice_of(NULL, 0));
    }
    claim_add_id(locks, claim, request->id);
    if (claim->due_ms < now->time_ms + request->ttl_ms) {
        claim_set_due(locks, claim, now->time_ms + request->ttl_ms);
    }
    return held(claim, now, ret_answer);
}

void claim_tell_another(struct locks *locks, struct claim *claim, const struct lock_origin *origin)
{
    bool mine = claim->origin.number == 0 || lock_same_request(&claim->origin, origin); /* 0: nobody takes it back */
    if (!MACHINE_MUTATED(TAKEN_BACK) && !mine && !claim_told_others(claim)) {
        lock_keep(locks, claim->lock);
        claim->origin.number |= LOCK_TOLD_OTHERS;
    }
}

/* A later request of the owner waits in the place of this one. */
static void take_place(struct locks *locks, struct claim *claim, const struct lock_request *request,
                       const struct lock_now *now)
{
    lock_tell(locks, LOCK_NOTICE_TAKEN, claim);
    lock_node_leave(locks, claim);
    claim->origin = request->origin;
    claim->ttl_ms = request->tie != NULL ? request->ttl_ms : claim->ttl_ms; /* looked up after this one asked */
    claim_set_id(locks, claim, request->id);                                /* the earlier request acquires nothing */
    lock_node_enter(locks, claim);
    claim_set_due(locks, claim, now->time_ms + request->wait_ms);
}

/* The owner has a claim already. */
static enum lock_outcome ask_again(struct locks *locks, struct claim *claim, const struct lock_request *request,
                                   const struct lock_now *now, struct lock_answer *ret_answer)
{
    if (claim->part != NULL || request->part != NULL) {
        return lock_part_again(locks, claim, request, now, ret_answer);
    }
    if (claim->tie != request->tie || claim->mode != request->mode || claim->permits != request->permits ||
        (request->mode == LOCK_PERMITS_MODE && claim->lock->limit != request->limit)) {
        return LOCK_IS_HELD_OTHERWISE;
    }
    if (claim->state == CLAIM_HOLDS) {
        claim_tell_another(locks, claim, &request->origin);
        return request->id.size > 0 ? enter_again(locks, claim, request, now, ret_answer)
                                    : held(claim, now, ret_answer);
    }
    if (request->wait_ms == 0) {
        return LOCK_HELD_BY_OTHERS;
    }
    lock_keep(locks, claim->lock);
    if (!lock_same_request(&claim->origin, &request->origin)) {
        take_place(locks, claim, request, now);
    }
    return LOCK_QUEUED;
}

static struct claim *make_claim(struct locks *locks, struct lock *lock, const struct lock_request *request,
                                const struct lock_now *now)
{
    struct claim *claim = claim_create(lock, request->owner, request->note);
    claim->lock = lock;
    claim->order = ++locks->last_order;
    claim->ttl_ms = request->ttl_ms;
    claim->origin = request->origin;
    claim->permits = request->permits;
    claim->mode = (uint8_t)request->mode;
    claim->tie = request->tie;
    if (request->id.size > 0) {
        claim_add_id(locks, claim, request->id);
    }
    if (request->part != NULL) {
        claim->part = lock_part_create(request->part, now->time_ms + request->part->keep_ms);
        claim->part->claim = claim;
    }
    return claim;
}

static void enter_new(struct locks *locks, struct claim *claim, uint32_t limit)
{
    claim_enter(locks, claim);
    if (claim->mode == LOCK_PERMITS_MODE) {
        claim->lock->limit = limit;
    }
}

static enum lock_outcome queue(struct locks *locks, struct lock *lock, const struct lock_request *request,
                               const struct lock_now *now)
{
    if (lock->waiter_count >= LOCK_WAITERS) {
        return LOCK_MANY_WAITERS;
    }
    if (locks->waiters >= LOCKS_WAITERS) {
        return LOCK_MANY_WAITERS_IN_ALL;
    }
    lock_keep(locks, lock);
    struct claim *claim = make_claim(locks, lock, request, now);
    claim->state = CLAIM_WAITS;
    claim->since_ms = now->time_ms;
    claim->due_ms = now->time_ms + request->wait_ms;
    enter_new(locks, claim, request->limit);
    locks->queued++;
    return LOCK_QUEUED;
}

/* A new claim of an owner who has none. */
static enum lock_outcome ask(struct locks *locks, struct lock *lock, const struct lock_request *request,
                             const struct lock_now *now, struct lock_answer *ret_answer)
{
    if (request->mode == LOCK_PERMITS_MODE && lock->permit_claims > 0 && lock->limit != request->limit) {
        ret_answer->limit = lock->limit;
        return LOCK_OTHER_LIMIT;
    }
    if (lock->holder_count >= LOCK_HOLDERS) {
        return LOCK_MANY_HOLDERS;
    }
    if (lock->waiter_count > 0 || !lock_fits(lock, request->mode, request->permits)) {
        lock_note_heat(locks, lock);
        return request->wait_ms == 0 ? LOCK_HELD_BY_OTHERS : queue(locks, lock, request, now);
    }
    lock_keep(locks, lock);
    lock_busy(locks, lock);
    struct claim *claim = make_claim(locks, lock, request, now);
    if (claim->part != NULL) {
        claim->since_ms = now->time_ms;
        lock_part_reserve(claim);
        enter_new(locks, claim, 0);
        return LOCK_RESERVED;
    }
    lock_make_grant(locks, claim, now);
    enter_new(locks, claim, request->limit);
    return held(claim, now, ret_answer);
}

static struct lock_manner manner_of(const struct claim *claim)
{
    return (struct lock_manner){
        .waits = claim->state == CLAIM_WAITS,
        .mode = (enum lock_mode)claim->mode,
        .permits = claim->permits,
        .limit = claim->lock->limit,
        .session = claim->tie == NULL ? (struct session_id){0} : tie_id(claim->tie),
    };
}

enum lock_outcome locks_acquire(struct locks *locks, const struct lock_request *request, const struct lock_now *now,
                                struct lock_answer *ret_answer)
{
    struct lock *lock = lock_settled(locks, request->key, now);
    struct claim *claim = lock == NULL ? NULL : lock_claim(locks, lock, request->owner);
    if (claim != NULL && claim->due_ms <= now->time_ms) {
        claim_end_due(locks, claim, now);
        claim = NULL;
    }
    if (claim != NULL) {
        enum lock_outcome again = ask_again(locks, claim, request, now, ret_answer);
        ret_answer->had = again == LOCK_IS_HELD_OTHERWISE ? manner_of(claim) : (struct lock_manner){0};
        ret_answer->ttl_ms = request->tie != NULL ? request->ttl_ms : ret_answer->ttl_ms; /* newer than the claim's */
        return again;
    }
    if (request->part != NULL && lock_part_refused(locks, &request->origin)) {
        return LOCK_NUMBER_REFUSED;
    }
    if (request->tie != NULL && request->tie->claim_count >= SESSION_CLAIMS) {
        return LOCK_MANY_OF_SESSION;
    }
    if ((lock == NULL || claim_count(lock) == 0) && locks_busy(locks) >= LOCKS_BUSY) {
        return LOCK_MANY_LOCKS;
    }
    if (lock == NULL) {
        lock = lock_add(locks, request->key);
    }
    enum lock_outcome outcome = ask(locks, lock, request, now, ret_answer);
    locks_tidy(locks);
    return outcome;
}
