#include "machine/meet/meets.h"

#include "base/assert.h"
#include "base/memory.h"
#include "machine/lock/lock_notice.h"
#include "machine/machine_mutation.h"
#include "machine/meet/meet.h"

#include <stdlib.h>

enum { STEP = 16 /* that are due, ended on the way of another command */ };

static bool member_before(const void *a, const void *b)
{
    const struct member *x = a;
    const struct member *y = b;
    return x->order < y->order;
}

static bool opened_before(const void *a, const void *b)
{
    const struct meet *x = a;
    const struct meet *y = b;
    return x->order < y->order;
}

void meets_init(struct meets *meets, uint64_t seed, struct locks *news)
{
    static const struct due_order members = {offsetof(struct member, heap_index), member_before};
    static const struct due_order latches = {offsetof(struct meet, heap_index), opened_before};
    *meets = (struct meets){.news = news};
    table_init(&meets->table, seed, offsetof(struct meet, key));
    table_init(&meets->index, seed, offsetof(struct member, bytes));
    due_heap_init(&meets->waits, &members);
    due_heap_init(&meets->gone, &members);
    due_heap_init(&meets->open, &latches);
    snapshot_walk_init(&meets->walk, &meets_snapshot, &meets->table);
}

static void release(void *owner, void *item)
{
    (void)owner;
    free(item);
}

void meets_deinit(struct meets *meets)
{
    while (table_release(&meets->index, 1024, release, NULL)) {
    }
    while (table_release(&meets->table, 1024, release, NULL)) {
    }
    due_heap_deinit(&meets->waits);
    due_heap_deinit(&meets->gone);
    due_heap_deinit(&meets->open);
    for (size_t i = 0; i < meets->node_count; i++) {
        free(meets->nodes[i]);
    }
    free(meets->nodes);
    snapshot_walk_deinit(&meets->walk);
}

/* ---- ends of waits ---- */

static void tell(struct meets *meets, enum lock_notice_kind kind, const struct member *member)
{
    if (meets->news->tell && meets->news->notices.size <= LOCK_NOTICES_BYTES) {
        struct lock_notice notice = {kind, member->origin, 0, 0, meet_name(member->meet), member_owner(member)};
        lock_notice_put(&meets->news->notices, &notice);
    }
}

/* Nobody waits here any more: all of them go on. */
static void pass_all(struct meets *meets, struct meet *meet, const struct lock_now *now)
{
    LIST_FOR_EACH_SAFE (at, after, &meet->waiting) {
        struct member *member = member_of(at);
        if (MACHINE_MUTATED(MEMBER_LEFT) && after == &meet->waiting && meet->passed_count > 0) {
            break;
        }
        tell(meets, LOCK_NOTICE_GRANTED, member);
        member_pass(meets, member, now->time_ms + MEET_PASSED_MS);
        meets->passed++;
    }
    while (meets->gone.count > MEETS_PASSED) {
        struct member *oldest = due_heap_first(&meets->gone)->of;
        struct meet *of = oldest->meet;
        meet_keep(meets, of);
        member_leave(meets, oldest);
        if (of != meet) {
            meet_settle(meets, of);
        }
    }
}

static void member_end(struct meets *meets, struct member *member, bool told)
{
    struct meet *meet = member->meet;
    meet_keep(meets, meet);
    if (told) {
        tell(meets, LOCK_NOTICE_ENDED, member);
    }
    member_leave(meets, member);
    meet_settle(meets, meet);
}

static void latch_forget(struct meets *meets, struct meet *latch)
{
    meet_keep(meets, latch);
    meet_not_open(meets, latch);
    meet_settle(meets, latch);
}

static void *due(const struct due_heap *heap, const struct lock_now *now)
{
    const struct due_item *first = due_heap_first(heap);
    return first == NULL || first->due_ms > now->time_ms ? NULL : first->of;
}

size_t meets_expire(struct meets *meets, const struct lock_now *now, size_t limit)
{
    size_t ended = 0;
    for (; ended < limit; ended++) {
        struct member *waits = due(&meets->waits, now);
        struct member *gone = due(&meets->gone, now);
        struct meet *latch = due(&meets->open, now);
        if (waits != NULL) {
            member_end(meets, waits, true);
        } else if (gone != NULL) {
            member_end(meets, gone, false);
        } else if (latch != NULL) {
            latch_forget(meets, latch);
        } else {
            break;
        }
    }
    return ended;
}

/* What is due of it does not count; more that is due elsewhere comes by itself. */
static struct meet *find_settled(struct meets *meets, enum meet_kind kind, struct slice name,
                                 const struct lock_now *now)
{
    (void)meets_expire(meets, now, STEP);
    struct meet *meet = meet_find(meets, kind, name);
    struct list *at = meet == NULL ? NULL : meet->waiting.next;
    while (at != NULL && at != &meet->waiting && due(&meets->waits, now) != NULL) {
        struct member *member = member_of(at);
        at = at->next;
        if (member->due_ms <= now->time_ms) {
            bool last = meet->waiting_count + meet->passed_count == 1 && meet_kind_of(meet) == MEET_BARRIER;
            member_end(meets, member, true);
            meet = last ? NULL : meet;
            at = last ? NULL : at;
        }
    }
    return meet;
}

static bool same_request(const struct lock_origin *a, const struct lock_origin *b)
{
    return a->node == b->node && a->start == b->start && a->number == b->number;
}

/* ---- waiting ---- */

/* Of one who is in already. */
static enum meet_outcome wait_again(struct meets *meets, struct member *member, const struct meet_request *request,
                                    const struct lock_now *now)
{
    if (request->wait_ms == 0) {
        return MEET_NOT_YET;
    }
    if (!same_request(&member->origin, &request->origin)) {
        meet_keep(meets, member->meet);
        tell(meets, LOCK_NOTICE_TAKEN, member);
        member_take_over(meets, member, &request->origin, now->time_ms + request->wait_ms);
    }
    return MEET_QUEUED;
}

static enum meet_outcome may_wait(const struct meets *meets, const struct meet *meet)
{
    if (meet != NULL && meet->waiting_count >= MEET_MEMBERS) {
        return MEET_MANY_MEMBERS;
    }
    return meets->waits.count >= MEETS_MEMBERS ? MEET_MANY_MEMBERS_IN_ALL : MEET_QUEUED;
}

static void wait_in(struct meets *meets, struct meet *meet, const struct meet_request *request,
                    const struct lock_now *now)
{
    struct member like = {
        .order = ++meets->last_order, .due_ms = now->time_ms + request->wait_ms, .origin = request->origin};
    (void)member_enter(meets, meet, request->owner, &like);
}

/* ---- barriers ---- */

/* It completes the barrier. Without a node that could ask it need not be known. */
static enum meet_outcome complete(struct meets *meets, struct meet *barrier, const struct meet_request *request,
                                  const struct lock_now *now)
{
    barrier = barrier != NULL ? barrier : meet_add(meets, MEET_BARRIER, request->name);
    meet_keep(meets, barrier);
    pass_all(meets, barrier, now);
    if (request->wait_ms > 0) {
        struct member like = {.order = ++meets->last_order,
                              .due_ms = now->time_ms + MEET_PASSED_MS,
                              .origin = request->origin,
                              .passed = true};
        (void)member_enter(meets, barrier, request->owner, &like);
    }
    meets->passed++;
    meet_settle(meets, barrier);
    return MEET_PASSED;
}

/* A new one. */
static enum meet_outcome enter(struct meets *meets, struct meet *barrier, const struct meet_request *request,
                               const struct lock_now *now)
{
    uint32_t in = barrier == NULL ? 0 : barrier->waiting_count;
    if (in + 1 + (MACHINE_MUTATED(BARRIER_SHORT) && in > 0 ? 1 : 0) >= request->count) {
        return complete(meets, barrier, request, now);
    }
    if (request->wait_ms == 0) {
        return MEET_NOT_YET;
    }
    if (in == 0 && meets->busy >= MEETS_BUSY) {
        return MEET_MANY;
    }
    enum meet_outcome outcome = may_wait(meets, barrier);
    if (outcome != MEET_QUEUED) {
        return outcome;
    }
    barrier = barrier != NULL ? barrier : meet_add(meets, MEET_BARRIER, request->name);
    meet_keep(meets, barrier);
    wait_in(meets, barrier, request, now);
    meet_set_count(meets, barrier, request->count);
    return MEET_QUEUED;
}

enum meet_outcome meets_enter(struct meets *meets, const struct meet_request *request, const struct lock_now *now,
                              uint32_t *ret_count)
{
    struct meet *barrier = find_settled(meets, MEET_BARRIER, request->name, now);
    if (barrier != NULL && barrier->count != 0 && barrier->count != request->count) {
        *ret_count = barrier->count;
        return MEET_OTHER_COUNT;
    }
    struct member *member = barrier == NULL ? NULL : member_find(meets, barrier, request->owner);
    if (member != NULL && !member->passed) {
        return wait_again(meets, member, request, now);
    }
    if (member != NULL && same_request(&member->origin, &request->origin)) {
        return MEET_PASSED;
    }
    if (member != NULL) { /* that was the last time */
        bool alone = barrier->waiting_count + barrier->passed_count == 1;
        member_end(meets, member, false);
        barrier = alone ? NULL : barrier;
    }
    return enter(meets, barrier, request, now);
}

/* ---- latches ---- */

static void latch_open(struct meets *meets, struct meet *latch, const struct lock_now *now)
{
    meet_set_count(meets, latch, 0);
    meet_open(meets, latch, ++meets->last_order, now->time_ms + LATCH_OPEN_MS);
    pass_all(meets, latch, now);
    while (meets->open.count > MEETS_OPEN) {
        latch_forget(meets, due_heap_first(&meets->open)->of);
    }
}

enum meet_outcome meets_latch_set(struct meets *meets, struct slice name, uint32_t count, const struct lock_now *now)
{
    struct meet *latch = find_settled(meets, MEET_LATCH, name, now);
    bool known = latch != NULL && (latch->count != 0 || latch->heap_index != 0);
    if (count == 0) {
        if (known) {
            meet_keep(meets, latch);
            if (latch->count != 0) {
                latch_open(meets, latch, now);
            }
            latch_forget(meets, latch);
        }
        return known ? MEET_PASSED : MEET_NOT_YET;
    }
    if (latch != NULL && latch->count != 0) {
        return MEET_NOT_YET;
    }
    if (meets->busy >= MEETS_BUSY) {
        return MEET_MANY;
    }
    latch = latch != NULL ? latch : meet_add(meets, MEET_LATCH, name);
    meet_keep(meets, latch);
    meet_not_open(meets, latch);
    meet_set_count(meets, latch, count);
    return MEET_PASSED;
}

enum meet_outcome meets_latch_down(struct meets *meets, struct slice name, const struct lock_now *now,
                                   uint32_t *ret_left)
{
    struct meet *latch = find_settled(meets, MEET_LATCH, name, now);
    if (latch == NULL || (latch->count == 0 && latch->heap_index == 0)) {
        return MEET_NO_LATCH;
    }
    *ret_left = latch->count;
    if (latch->count == 0) {
        return MEET_PASSED;
    }
    meet_keep(meets, latch);
    *ret_left = latch->count - 1;
    if (*ret_left == 0 || (MACHINE_MUTATED(LATCH_EARLY) && *ret_left == 1)) {
        latch_open(meets, latch, now);
    } else {
        meet_set_count(meets, latch, *ret_left);
    }
    return MEET_PASSED;
}

enum meet_outcome meets_latch_wait(struct meets *meets, const struct meet_request *request, const struct lock_now *now)
{
    struct meet *latch = find_settled(meets, MEET_LATCH, request->name, now);
    if (latch == NULL || (latch->count == 0 && latch->heap_index == 0)) {
        return MEET_NO_LATCH;
    }
    if (latch->count == 0) {
        return MEET_PASSED;
    }
    if (request->wait_ms == 0) {
        return MEET_NOT_YET;
    }
    struct member *member = member_find(meets, latch, request->owner);
    if (member != NULL) {
        return member->passed ? MEET_PASSED : wait_again(meets, member, request, now);
    }
    enum meet_outcome outcome = may_wait(meets, latch);
    if (outcome == MEET_QUEUED) {
        meet_keep(meets, latch);
        wait_in(meets, latch, request, now);
    }
    return outcome;
}

/* ---- clients that are gone ---- */

static struct member *find_request(const struct meets *meets, enum meet_kind kind, struct slice name,
                                   struct slice owner, const struct lock_origin *origin)
{
    const struct meet *meet = meet_find(meets, kind, name);
    struct member *member = meet == NULL ? NULL : member_find(meets, meet, owner);
    return member != NULL && same_request(&member->origin, origin) ? member : NULL;
}

bool meets_take_back(struct meets *meets, enum meet_kind kind, struct slice name, struct slice owner,
                     const struct lock_origin *origin, const struct lock_now *now)
{
    (void)meets_expire(meets, now, STEP);
    struct member *member = find_request(meets, kind, name, owner, origin);
    bool passed = member != NULL && member->passed;
    if (member != NULL) {
        member_end(meets, member, false);
    }
    return passed;
}

size_t meets_reap(struct meets *meets, uint64_t node, uint64_t start)
{
    struct meet_node *waits = meet_node_find(meets, node);
    size_t count = 0;
    size_t all = waits == NULL ? 0 : waits->count;
    struct list *at = waits == NULL ? NULL : waits->members.next;
    for (size_t i = 0; i < all; i++) { /* the node's record goes with the last of its members */
        struct member *member = CONTAINER_OF(at, struct member, node_of);
        at = at->next;
        if (member->origin.start < start) {
            member_end(meets, member, false);
            count++;
        }
    }
    if (waits != NULL && count < all && waits->oldest_start < start) {
        waits->oldest_start = start;
    }
    return count;
}

/* ---- looking ---- */

enum meet_outcome meets_ask(const struct meets *meets, enum meet_kind kind, struct slice name, struct slice owner,
                            const struct lock_origin *origin, int64_t time_ms)
{
    const struct member *member = find_request(meets, kind, name, owner, origin);
    if (member == NULL || member->due_ms <= time_ms) {
        const struct meet *meet = meet_find(meets, kind, name);
        return meet != NULL && meet->heap_index != 0 ? MEET_PASSED : MEET_NOT_YET;
    }
    return member->passed ? MEET_PASSED : MEET_QUEUED;
}

bool meets_waiting_node(const struct meets *meets, size_t place, uint64_t *ret_node, uint64_t *ret_oldest_start)
{
    if (place >= meets->node_count) {
        return false;
    }
    *ret_node = meets->nodes[place]->node;
    *ret_oldest_start = meets->nodes[place]->oldest_start;
    return true;
}

static int64_t earlier(int64_t a_ms, const struct due_heap *heap)
{
    const struct due_item *first = due_heap_first(heap);
    return first == NULL || first->due_ms > a_ms ? a_ms : first->due_ms;
}

int64_t meets_next_due(const struct meets *meets)
{
    return earlier(earlier(earlier(INT64_MAX, &meets->waits), &meets->gone), &meets->open);
}
