#include "server/lock_knot_graph.h"

#include "base/hash.h"
#include "base/memory.h"

#include <stdlib.h>

/* ---- what was seen before ---- */

struct seen {
    uint32_t shard;
    uint64_t claim; /* order × 2, and 1 when it waits */
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
    return by_shard != 0 ? by_shard : (x->claim > y->claim) - (x->claim < y->claim);
}

static void add_seen(struct seen_claims *seen, uint32_t shard, uint64_t order, bool waits)
{
    if (seen->count == seen->capacity) {
        seen->capacity = seen->capacity == 0 ? 64 : 2 * seen->capacity;
        seen->items = memory_resize(seen->items, seen->capacity * sizeof(*seen->items));
    }
    seen->items[seen->count++] = (struct seen){shard, 2 * order + (waits ? 1 : 0)};
}

static void look_before(struct seen_claims *seen, const struct lock_sight *sight)
{
    struct slice from = sight->before;
    struct lock_queue queue;
    while (from.size > 0 && seen->count < LOCK_KNOT_CLAIMS && lock_queue_take(&from, &queue)) {
        struct lock_queue_claim claim;
        for (uint32_t i = 0; i < queue.holders + queue.waiters && lock_queue_claim_take(&from, &claim); i++) {
            add_seen(seen, sight->shard, claim.order, i >= queue.holders);
        }
    }
}

static bool was_seen(const struct seen_claims *seen, uint32_t shard, uint64_t order, bool waits)
{
    const struct seen key = {shard, 2 * order + (waits ? 1 : 0)};
    return seen->count > 0 && bsearch(&key, seen->items, seen->count, sizeof(key), compare_seen) != NULL;
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
    *lock = (struct knot_lock){.key = queue->key, .limit = queue->limit, .first = graph->claim_count};
    struct lock_queue_claim claim;
    bool whole = true;
    for (uint32_t i = 0; i < queue->holders + queue->waiters; i++) {
        whole = lock_queue_claim_take(from, &claim);
        if (!whole) {
            break;
        }
        if (was_seen(seen, shard, claim.order, i >= queue->holders)) {
            add_claim(graph, &claim, i >= queue->holders);
        }
    }
    lock->count = graph->claim_count - lock->first;
    graph->lock_count++;
    make_due(graph, graph->lock_count - 1);
    return whole;
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
        if (owner->unmet > 0) {
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
