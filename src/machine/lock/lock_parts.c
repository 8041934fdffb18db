#include "machine/lock/lock_parts.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/varint.h"
#include "machine/lock/lock.h"
#include "machine/lock/lock_grant.h"
#include "machine/lock/lock_reap.h"
#include "machine/machine_mutation.h"

#include <stdlib.h>

void lock_part_told_put(struct buffer *out, const struct lock_part_told *told)
{
    uint8_t *at = buffer_reserve(out, LOCK_PART_TOLD_BYTES);
    at[0] = (uint8_t)told->state;
    put_u64(at + 1, told->token);
    put_u64(at + 9, (uint64_t)told->ttl_ms);
    out->size += LOCK_PART_TOLD_BYTES;
}

bool lock_part_told_take(struct slice *from, struct lock_part_told *ret_told)
{
    if (from->size < LOCK_PART_TOLD_BYTES || from->data[0] >= LOCK_PART_STATES) {
        return false;
    }
    *ret_told = (struct lock_part_told){(enum lock_part_state)from->data[0], get_u64(from->data + 1),
                                        (int64_t)get_u64(from->data + 9)};
    *from = slice_of(from->data + LOCK_PART_TOLD_BYTES, from->size - LOCK_PART_TOLD_BYTES);
    return true;
}

/* ---- what home has refused ---- */

static struct lock_refused *refused_of(const struct locks *locks, const struct lock_origin *origin)
{
    for (uint32_t i = 0; i < locks->refused_count; i++) {
        struct lock_refused *refused = &locks->refused[i];
        if (refused->node == origin->node &&
            refused->number % LOCK_ORIGIN_WORKERS == origin->number % LOCK_ORIGIN_WORKERS) {
            return refused;
        }
    }
    return NULL;
}

bool lock_part_refused(const struct locks *locks, const struct lock_origin *origin)
{
    const struct lock_refused *refused = refused_of(locks, origin);
    return refused != NULL &&
           (origin->start < refused->start || (origin->start == refused->start && origin->number <= refused->number));
}

/* The longest unchanged one goes, when there is no room. */
static struct lock_refused *new_refused(struct locks *locks)
{
    if (locks->refused_count == LOCK_REFUSED_WORKERS) {
        memmove(locks->refused, locks->refused + 1, (LOCK_REFUSED_WORKERS - 1) * sizeof(*locks->refused));
        return &locks->refused[LOCK_REFUSED_WORKERS - 1];
    }
    locks->refused = memory_resize(locks->refused, (locks->refused_count + 1) * sizeof(*locks->refused));
    return &locks->refused[locks->refused_count++];
}

static void refuse(struct locks *locks, const struct lock_origin *origin)
{
    struct lock_refused *refused = refused_of(locks, origin);
    if (lock_part_refused(locks, origin)) {
        return;
    }
    refused = refused == NULL ? new_refused(locks) : refused;
    *refused = (struct lock_refused){origin->node, origin->start, origin->number};
}

/* ---- a claim's part ---- */

struct lock_part *lock_part_create(const struct lock_part_ask *ask, int64_t deadline_ms)
{
    struct lock_part *part = memory_allocate(sizeof(*part) + ask->home.size);
    *part = (struct lock_part){.deadline_ms = deadline_ms, .home_size = (uint16_t)ask->home.size};
    list_init(&part->node);
    if (ask->home.size > 0) {
        memcpy(part->home, ask->home.data, ask->home.size);
    }
    return part;
}

void lock_part_reserve(struct claim *claim)
{
    claim->state = CLAIM_HOLDS;
    claim->token = 0;
    claim->due_ms = claim->part->home_size == 0 ? claim->part->deadline_ms : LOCK_NEVER_MS;
}

static struct lock_answer answer_of(const struct claim *claim, const struct lock_now *now)
{
    return (struct lock_answer){.token = claim->token,
                                .ttl_ms = claim->tie != NULL ? claim->ttl_ms : claim->due_ms - now->time_ms};
}

enum lock_outcome lock_part_again(struct locks *locks, struct claim *claim, const struct lock_request *request,
                                  const struct lock_now *now, struct lock_answer *ret_answer)
{
    if (request->part == NULL) {
        return LOCK_IS_PART;
    }
    if (claim->part != NULL && lock_same_request(&claim->origin, &request->origin)) {
        return claim->state == CLAIM_HOLDS ? LOCK_RESERVED : LOCK_QUEUED;
    }
    if (claim->part != NULL || claim->state == CLAIM_WAITS) {
        return LOCK_OTHER_REQUEST;
    }
    if (claim->mode != LOCK_EXCLUSIVE || claim->tie != request->tie) {
        return LOCK_IS_HELD_OTHERWISE;
    }
    *ret_answer = answer_of(claim, now);
    return LOCK_GRANTED;
}

/* ---- the outcome ---- */

/* The claim of this request, reserved or granted; NULL. */
static struct claim *find_part(struct locks *locks, struct slice key, struct slice owner,
                               const struct lock_origin *origin, const struct lock_now *now)
{
    struct claim *claim = lock_settled_claim(locks, key, owner, now);
    return claim != NULL && claim->state == CLAIM_HOLDS && claim_is_of(claim, origin) ? claim : NULL;
}

/* The same, or what another request of the owner was granted. */
static struct claim *find_grant(struct locks *locks, struct slice key, struct slice owner,
                                const struct lock_origin *origin, const struct lock_now *now)
{
    struct claim *claim = lock_settled_claim(locks, key, owner, now);
    bool holds = claim != NULL && claim->state == CLAIM_HOLDS;
    bool other = holds && claim->part == NULL && claim->mode == LOCK_EXCLUSIVE;
    return holds && (other || claim_is_of(claim, origin)) ? claim : NULL;
}

static void make_hold(struct locks *locks, struct claim *claim, const struct lock_now *now)
{
    lock_keep(locks, claim->lock);
    claim_leave(locks, claim);
    bool elsewhere = claim->part->home_size != 0;
    bool apart = elsewhere && (MACHINE_MUTATED(PART_APART) || MACHINE_MUTATED(PART_OUTLIVES));
    free(claim->part);
    claim->part = NULL;
    claim->tie = apart ? NULL : claim->tie;
    lock_make_grant(locks, claim, now);
    claim->due_ms = elsewhere && MACHINE_MUTATED(PART_OUTLIVES) ? LOCK_NEVER_MS : claim->due_ms;
    claim_enter(locks, claim);
}

bool locks_grant_parts(struct locks *locks, const struct slice *keys, uint32_t count, struct slice owner,
                       const struct lock_origin *origin, const struct lock_now *now, struct lock_answer *ret_answers)
{
    for (uint32_t i = 0; i < count; i++) {
        if (find_grant(locks, keys[i], owner, origin, now) == NULL) {
            return false;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        struct claim *claim = find_grant(locks, keys[i], owner, origin, now);
        ASSERT(claim != NULL);
        if (claim->part != NULL) {
            make_hold(locks, claim, now);
        } else if (!claim_is_of(claim, origin)) {
            claim_tell_another(locks, claim, origin);
        }
        ret_answers[i] = answer_of(claim, now);
    }
    return true;
}

bool locks_take_back_parts(struct locks *locks, const struct slice *keys, uint32_t count, struct slice owner,
                           const struct lock_origin *origin, const struct lock_now *now)
{
    uint32_t told = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct claim *claim = find_part(locks, keys[i], owner, origin, now);
        if (MACHINE_MUTATED(BACK_BLIND) && claim != NULL) {
            claim->origin.number &= ~LOCK_TOLD_OTHERS;
        }
        told += claim != NULL && claim_told_others(claim) ? 1 : 0;
    }
    for (uint32_t i = 0; i < count && told < count; i++) {
        locks_take_back(locks, keys[i], owner, origin, now);
    }
    return told < count || MACHINE_MUTATED(BACK_HALF);
}

bool locks_settle(struct locks *locks, struct slice key, struct slice owner, const struct lock_origin *origin,
                  const struct lock_now *now)
{
    const struct claim *claim = find_part(locks, key, owner, origin, now);
    if (claim != NULL && claim->part == NULL) {
        return true;
    }
    locks_take_back(locks, key, owner, origin, now);
    refuse(locks, origin);
    return false;
}

/* ---- looking ---- */

const struct lock_part *locks_next_reserved(const struct locks *locks, const struct lock_part *after)
{
    const struct list *next = after == NULL ? locks->reserved.next : after->node.next;
    return next == &locks->reserved ? NULL : CONTAINER_OF(next, struct lock_part, node);
}

void lock_part_names(const struct lock_part *part, struct slice *ret_key, struct slice *ret_owner,
                     struct lock_origin *ret_origin)
{
    *ret_key = lock_key(part->claim->lock);
    *ret_owner = claim_owner(part->claim);
    *ret_origin = part->claim->origin;
}

void locks_look(const struct locks *locks, struct slice key, struct lock_exclusive *ret_look)
{
    const struct lock *lock = lock_find(locks, key);
    *ret_look = (struct lock_exclusive){.grants = lock == NULL ? 0 : lock->grants};
    if (lock != NULL && lock->holder_count > 0) {
        const struct claim *claim = claim_of(lock->holders.next);
        ret_look->owner = claim_owner(claim);
        ret_look->note = claim_note(claim);
        ret_look->reserved = claim_is_reserved(claim);
        ret_look->number = claim->origin.number & ~LOCK_TOLD_OTHERS;
    }
}
