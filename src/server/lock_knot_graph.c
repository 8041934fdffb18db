#include "server/lock_knot_graph.h"

#include "base/hash.h"
#include "base/memory.h"

#include <stdlib.h>

/* ---- what was seen before ---- */

/* What a claim is in a look. */
enum seen_as { SEEN_HOLDS, SEEN_RESERVED, SEEN_WAITS };

struct seen {
    uint32_t shard;
    enum seen_as as;
    uint64_t order;
};

struct seen_claims {
    struct seen *items;
    size_t count, capacity;
};

static int compare_seen(const void *a, const void *b)
{
    const struct seen *x = a;
    const struct seen *y = b;
    int by_shard = (x->shard > y->shard) - (x->shard < y->shard);
    int by_order = (x->order > y->order) - (x->order < y->order);
    return by_shard != 0 ? by_shard : by_order != 0 ? by_order : (x->as > y->as) - (x->as < y->as);
}

static enum seen_as seen_as(const struct lock_queue_claim *claim, bool waits)
{
    return waits ? SEEN_WAITS : claim->part ? SEEN_RESERVED : SEEN_HOLDS;
}

static void add_seen(struct seen_claims *seen, const struct seen *one)
{
    if (seen->count == seen->capacity) {
        seen->capacity = seen->capacity == 0 ? 64 : 2 * seen->capacity;
        seen->items = memory_resize(seen->items, seen->capacity * sizeof(*seen->items));
    }
    seen->items[seen->count++] = *one;
}

static void look_before(struct seen_claims *seen, const struct lock_sight *sight)
{
    struct slice from = sight->before;
    struct lock_queue queue;
    while (from.size > 0 && seen->count < LOCK_KNOT_CLAIMS && lock_queue_take(&from, &queue)) {
        struct lock_queue_claim claim;
        for (uint32_t i = 0; i < queue.holders + queue.waiters && lock_queue_claim_take(&from, &claim); i++) {
            add_seen(seen, &(struct seen){sight->shard, seen_as(&claim, i >= queue.holders), claim.order});
        }
    }
}

static bool was_seen(const struct seen_claims *seen, const struct seen *one)
{
    return seen->count > 0 && bsearch(one, seen->items, seen->count, sizeof(*one), compare_seen) != NULL;
}

/* ---- owners by name ---- */

static uint32_t *place_of(const struct knot_graph *graph, struct slice name)
{
    uint32_t at = (uint32_t)hash_bytes(0, name.data, name.size) & (graph->name_capacity - 1);
    while (graph->names[at] != KNOT_NOBODY && !slice_equal(graph->owners[graph->names[at]].name, name)) {
        at = (at + 1) & (graph->name_capacity - 1);
    }
    return &graph->names[at];
}

static void grow_names(struct knot_graph *graph)
{
    free(graph->names);
    graph->name_capacity = graph->name_capacity == 0 ? 64 : 2 * graph->name_capacity;
    graph->names = memory_allocate(graph->name_capacity * sizeof(*graph->names));
    for (uint32_t i = 0; i < graph->name_capacity; i++) {
        graph->names[i] = KNOT_NOBODY;
    }
    for (uint32_t i = 0; i < graph->owner_count; i++) {
        *place_of(graph, graph->owners[i].name) = i;
    }
}

static void *room(void *items, uint32_t count, uint32_t *capacity, size_t item_bytes)
{
    if (count < *capacity) {
        return items;
    }
    *capacity = *capacity == 0 ? 64 : 2 * *capacity;
    return memory_resize(items, *capacity * item_bytes);
}

static uint32_t owner_named(struct knot_graph *graph, struct slice name)
{
    if (2 * graph->owner_count >= graph->name_capacity) {
        grow_names(graph);
    }
    uint32_t *place = place_of(graph, name);
    if (*place == KNOT_NOBODY) {
        graph->owners = room(graph->owners, graph->owner_count, &graph->owner_capacity, sizeof(*graph->owners));
        graph->owners[graph->owner_count] =
            (struct knot_owner){.name = name, .claims = KNOT_NOBODY, .by_claim = KNOT_NOBODY};
        *place = graph->owner_count++;
    }
    return *place;
}

/* ---- making it ---- */

static void add_claim(struct knot_graph *graph, const struct lock_queue_claim *seen, bool waits)
{
    graph->claims = room(graph->claims, graph->claim_count, &graph->claim_capacity, sizeof(*graph->claims));
    uint32_t owner = owner_named(graph, seen->owner);
    graph->claims[graph->claim_count] = (struct knot_claim){
        .lock = graph->lock_count,
        .owner = owner,
        .next = graph->owners[owner].claims,
        .waits = waits,
        .part = seen->part,
        .passing = seen->part && !waits, /* until its request is seen to wait */
        .mode = seen->mode,
        .permits = seen->permits,
        .order = seen->order,
        .origin = seen->origin,
    };
    graph->owners[owner].claims = graph->claim_count++;
    graph->owners[owner].unmet += waits ? 1 : 0;
}

static void make_due(struct knot_graph *graph, uint32_t lock)
{
    if (!graph->locks[lock].due) {
        graph->locks[lock].due = true;
        graph->locks[lock].next_due = graph->due;
        graph->due = lock;
    }
}

static bool add_lock(struct knot_graph *graph, const struct lock_queue *queue, struct slice *from, uint32_t shard,
                     const struct seen_claims *seen)
{
    graph->locks = room(graph->locks, graph->lock_count, &graph->lock_capacity, sizeof(*graph->locks));
    struct knot_lock *lock = &graph->locks[graph->lock_count];
    *lock = (struct knot_lock){.shard = shard, .key = queue->key, .limit = queue->limit, .first = graph->claim_count};
    struct lock_queue_claim claim;
    bool whole = true;
    for (uint32_t i = 0; i < queue->holders + queue->waiters; i++) {
        whole = lock_queue_claim_take(from, &claim);
        if (!whole) {
            break;
        }
        if (was_seen(seen, &(struct seen){shard, seen_as(&claim, i >= queue->holders), claim.order})) {
            add_claim(graph, &claim, i >= queue->holders);
        }
    }
    lock->count = graph->claim_count - lock->first;
    graph->lock_count++;
    make_due(graph, graph->lock_count - 1);
    return whole;
}

/* ---- parts that are reserved (server/lock_many.h) ---- */

/* In the order in which every LOCK.MACQUIRE waits. */
static bool stands_before(const struct knot_lock *a, const struct knot_lock *b)
{
    return a->shard != b->shard ? a->shard < b->shard : slice_compare(a->key, b->key) < 0;
}

static bool same_request(const struct lock_origin *a, const struct lock_origin *b)
{
    return a->node == b->node && a->start == b->start && a->number == b->number;
}

/* Its request waits for one that stands behind it. */
static bool is_kept(struct knot_graph *graph, const struct knot_claim *part)
{
    const struct knot_lock *lock = &graph->locks[part->lock];
    for (uint32_t at = graph->owners[part->owner].claims; at != KNOT_NOBODY; at = graph->claims[at].next) {
        const struct knot_claim *other = &graph->claims[at];
        if (!knot_graph_step(graph)) {
            return false;
        }
        if (other->waits && same_request(&other->origin, &part->origin) &&
            stands_before(lock, &graph->locks[other->lock])) {
            return true;
        }
    }
    return false;
}

/* The others are given back, as soon as that can be said to their shards, or their requests wait for nothing. */
static void keep_parts(struct knot_graph *graph)
{
    for (uint32_t i = 0; i < graph->claim_count && !graph->gave_up; i++) {
        struct knot_claim *claim = &graph->claims[i];
        claim->passing = claim->passing && !is_kept(graph, claim);
    }
}

void knot_graph_init(struct knot_graph *graph, const struct lock_sight *sights, size_t count)
{
    struct seen_claims seen = {0};
    *graph = (struct knot_graph){.due = KNOT_NOBODY};
    for (size_t i = 0; i < count; i++) {
        look_before(&seen, &sights[i]);
    }
    if (seen.count > 0) {
        qsort(seen.items, seen.count, sizeof(*seen.items), compare_seen);
    }
    for (size_t i = 0; i < count; i++) {
        struct slice from = sights[i].now;
        struct lock_queue queue;
        while (graph->claim_count < LOCK_KNOT_CLAIMS && lock_queue_take(&from, &queue) &&
               add_lock(graph, &queue, &from, sights[i].shard, &seen)) {
        }
    }
    keep_parts(graph);
    free(seen.items);
}

void knot_graph_deinit(struct knot_graph *graph)
{
    free(graph->claims);
    free(graph->locks);
    free(graph->owners);
    free(graph->names);
}

bool knot_graph_step(struct knot_graph *graph)
{
    graph->gave_up = graph->gave_up || ++graph->steps > LOCK_KNOT_STEPS;
    return !graph->gave_up;
}

/* ---- reducing it ---- */

/* Nobody of the owner's waits is left: all that it has is released. */
static void let_go(struct knot_graph *graph, uint32_t owner)
{
    for (uint32_t at = graph->owners[owner].claims; at != KNOT_NOBODY; at = graph->claims[at].next) {
        make_due(graph, graph->claims[at].lock);
    }
}

/* Who holds a lock of those that are left. */
struct held {
    uint32_t count;
    enum lock_mode mode;
    uint64_t permits;
};

static bool fits(const struct knot_lock *lock, const struct held *held, const struct knot_claim *claim)
{
    if (held->count == 0) {
        return true;
    }
    if (held->mode != claim->mode || claim->mode == LOCK_EXCLUSIVE) {
        return false;
    }
    return claim->mode == LOCK_SHARED || held->permits + claim->permits <= lock->limit;
}

static void hold(struct held *held, const struct knot_claim *claim)
{
    held->count++;
    held->mode = claim->mode;
    held->permits += claim->permits;
}

/* The waits of this lock that would be granted if those who went had released it, in the order of the queue. */
static void grant(struct knot_graph *graph, const struct knot_lock *lock)
{
    struct held held = {0};
    for (uint32_t at = lock->first; at < lock->first + lock->count; at++) {
        struct knot_claim *claim = &graph->claims[at];
        struct knot_owner *owner = &graph->owners[claim->owner];
        if (!knot_graph_step(graph) || (claim->waits && owner->unmet > 0 && !fits(lock, &held, claim))) {
            return;
        }
        if (claim->waits && !claim->met) {
            claim->met = true;
            if (--owner->unmet == 0) {
                let_go(graph, claim->owner);
            }
        }
        if (owner->unmet > 0 && !claim->passing) {
            hold(&held, claim);
        }
    }
}

void knot_graph_reduce(struct knot_graph *graph)
{
    while (graph->due != KNOT_NOBODY && !graph->gave_up) {
        struct knot_lock *lock = &graph->locks[graph->due];
        graph->due = lock->next_due;
        lock->due = false;
        grant(graph, lock);
    }
}
