#include "server/lock_knot.h"

#include "base/memory.h"
#include "base/printable.h"
#include "cluster/workers.h"
#include "server/lock_knot_graph.h"

#include <stdlib.h>

struct search {
    struct knot_graph graph;
    uint32_t *path, *stack; /* of owners: on the way from the first; of no finished component */
    uint32_t path_count, stack_count;
    uint32_t last_index;
    const struct lock_knot_events *events;
    void *owner;
    size_t found;
};

/* ---- who waits for whom ---- */

/* The next claim that keeps this owner waiting, of another one who is left, behind the last one; false: there is none.
 */
static bool next_blocker(struct search *search, uint32_t owner, uint32_t *claim, uint32_t *blocker)
{
    const struct knot_graph *graph = &search->graph;
    while (*claim != KNOT_NOBODY) {
        const struct knot_claim *mine = &graph->claims[*claim];
        uint32_t first = graph->locks[mine->lock].first;
        bool waits = mine->waits && !mine->met;
        for (uint32_t at = *blocker == KNOT_NOBODY ? first : *blocker + 1; waits && at < *claim; at++) {
            const struct knot_claim *other = &graph->claims[at];
            if (!knot_graph_step(&search->graph)) {
                return false;
            }
            if (other->owner != owner && !other->passing && knot_owner_left(graph, other->owner) &&
                knot_modes_exclude(other->mode, mine->mode)) {
                *blocker = at;
                return true;
            }
        }
        *claim = mine->next;
        *blocker = KNOT_NOBODY;
    }
    return false;
}

/* Nobody of these waits for what another was granted, or would be by those who went, but for parts alone. */
static bool opens_by_itself(struct search *search, const uint32_t *owners, uint32_t count)
{
    const struct knot_graph *graph = &search->graph;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t claim = graph->owners[owners[i]].claims;
        uint32_t blocker = KNOT_NOBODY;
        while (next_blocker(search, owners[i], &claim, &blocker)) {
            const struct knot_claim *other = &graph->claims[blocker];
            if (!other->part && (!other->waits || other->met)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- the youngest of a knot, and its words ---- */

static bool younger(const struct lock_origin *a, const struct lock_origin *b)
{
    uint64_t asked = a->number / WORKERS_MAXIMUM;
    uint64_t other = b->number / WORKERS_MAXIMUM;
    if (asked != other) {
        return asked > other;
    }
    return a->node != b->node ? a->node > b->node : a->number > b->number;
}

static bool stays(const struct knot_claim *claim) { return claim->waits && !claim->met; }

/* Nobody of the knot stands behind it in the queue: there the clocks of nodes do not count. So its owner is waited for
 * since it holds something, and not for its place alone, which would change nothing if it ended. */
static bool is_last(struct knot_graph *graph, uint32_t wait)
{
    const struct knot_lock *lock = &graph->locks[graph->claims[wait].lock];
    for (uint32_t at = wait + 1; at < lock->first + lock->count && knot_graph_step(graph); at++) {
        if (stays(&graph->claims[at]) && graph->owners[graph->claims[at].owner].in_knot) {
            return false;
        }
    }
    return true;
}

static uint32_t youngest_wait(struct knot_graph *graph, const uint32_t *owners, uint32_t count)
{
    uint32_t youngest = KNOT_NOBODY;
    for (uint32_t i = 0; i < count; i++) {
        graph->owners[owners[i]].in_knot = true;
    }
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t at = graph->owners[owners[i]].claims; at != KNOT_NOBODY; at = graph->claims[at].next) {
            const struct knot_claim *claim = &graph->claims[at];
            if (stays(claim) && (youngest == KNOT_NOBODY || younger(&claim->origin, &graph->claims[youngest].origin)) &&
                is_last(graph, at)) {
                youngest = at;
            }
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        graph->owners[owners[i]].in_knot = false;
    }
    return youngest;
}

/* The shortest way from what this wait waits for back to its owner; false when there is none, or it takes too long.
 * Owners on the way know how it came to them. `queue` has room for all of the knot. */
static bool find_circle(struct search *search, uint32_t wait, uint32_t *queue)
{
    struct knot_graph *graph = &search->graph;
    uint32_t home = graph->claims[wait].owner;
    uint32_t first = 0, count = 0;
    uint32_t owner = home, claim = wait, blocker = KNOT_NOBODY;
    while (true) {
        while (next_blocker(search, owner, &claim, &blocker) && (owner != home || claim == wait)) {
            struct knot_owner *to = &graph->owners[graph->claims[blocker].owner];
            if (to->by_claim != KNOT_NOBODY) {
                continue;
            }
            to->by_claim = claim;
            to->by_blocker = blocker;
            if (graph->claims[blocker].owner == home) {
                return true;
            }
            queue[count++] = graph->claims[blocker].owner;
        }
        if (first == count || graph->gave_up) {
            return false;
        }
        owner = queue[first++];
        claim = graph->owners[owner].claims;
        blocker = KNOT_NOBODY;
    }
}

static void put_name(struct buffer *out, struct slice name)
{
    char text[LOCK_KNOT_NAME_BYTES + 1];
    size_t size = printable_copy(name, text, sizeof(text));
    buffer_append(out, text, size);
    if (size == LOCK_KNOT_NAME_BYTES && name.size > size) {
        buffer_append_string(out, "...");
    }
}

static void put_link(const struct knot_graph *graph, struct buffer *out, uint32_t wait, uint32_t blocker)
{
    const struct knot_claim *claim = &graph->claims[wait];
    const struct knot_claim *other = &graph->claims[blocker];
    put_name(out, graph->owners[claim->owner].name);
    buffer_append_string(out, " waits for lock ");
    put_name(out, graph->locks[claim->lock].key);
    buffer_append_string(out, other->waits ? " behind " : " held by ");
    put_name(out, graph->owners[other->owner].name);
}

/* The circle from its last link to its first, as it was found, and so written from behind. */
static void put_circle(const struct knot_graph *graph, struct buffer *out, uint32_t wait)
{
    uint32_t links[LOCK_KNOT_LINKS];
    uint32_t count = 0;
    uint32_t owner = graph->claims[wait].owner;
    do {
        links[count++ % LOCK_KNOT_LINKS] = owner;
        owner = graph->claims[graph->owners[owner].by_claim].owner;
    } while (owner != graph->claims[wait].owner);
    uint32_t told = count < LOCK_KNOT_LINKS ? count : LOCK_KNOT_LINKS;
    for (uint32_t i = 0; i < told; i++) {
        const struct knot_owner *to = &graph->owners[links[(count - 1 - i) % LOCK_KNOT_LINKS]];
        buffer_append_string(out, i == 0 ? "" : ", ");
        put_link(graph, out, to->by_claim, to->by_blocker);
    }
    if (told < count) {
        buffer_append_format(out, ", and %u more", count - told);
    }
}

static void tell_knot(struct search *search, const uint32_t *owners, uint32_t count)
{
    struct knot_graph *graph = &search->graph;
    uint32_t wait = youngest_wait(graph, owners, count);
    uint32_t *queue = memory_allocate(count * sizeof(*queue));
    if (find_circle(search, wait, queue)) {
        struct buffer text;
        buffer_init(&text);
        buffer_append_string(&text, "DEADLOCK ");
        put_circle(graph, &text, wait);
        buffer_append_string(&text, "; this wait has ended: release what its owner holds, then try again");
        buffer_append_byte(&text, 0);
        search->found++;
        search->events->victim(search->owner, &graph->claims[wait].origin, (const char *)text.data);
        buffer_deinit(&text);
    }
    free(queue);
}

/* ---- knots: strong components that nothing leaves (Tarjan, SIAM J. Computing 1972) ---- */

static void enter(struct search *search, uint32_t owner)
{
    struct knot_owner *state = &search->graph.owners[owner];
    state->index = ++search->last_index;
    state->low = state->index;
    state->at_claim = state->claims;
    state->at_blocker = KNOT_NOBODY;
    search->path[search->path_count++] = owner;
    search->stack[search->stack_count++] = owner;
}

/* Its component is whole when it reaches none that was seen before it. */
static void finish(struct search *search, uint32_t owner)
{
    struct knot_graph *graph = &search->graph;
    struct knot_owner *state = &graph->owners[owner];
    search->path_count--;
    if (state->low == state->index) {
        uint32_t first = search->stack_count;
        bool leaves = false;
        do {
            struct knot_owner *member = &graph->owners[search->stack[--first]];
            member->finished = true;
            leaves = leaves || member->leaves;
        } while (search->stack[first] != owner);
        uint32_t count = search->stack_count - first;
        search->stack_count = first;
        if (!leaves && !graph->gave_up && count > 1 &&
            !opens_by_itself(search, search->stack + first, count)) { /* who is left waits for somebody else who is */
            tell_knot(search, search->stack + first, count);
        }
    }
    if (search->path_count > 0) {
        struct knot_owner *parent = &graph->owners[search->path[search->path_count - 1]];
        parent->low = !state->finished && state->low < parent->low ? state->low : parent->low;
        parent->leaves = parent->leaves || state->finished;
    }
}

static void explore(struct search *search, uint32_t from)
{
    struct knot_graph *graph = &search->graph;
    enter(search, from);
    while (search->path_count > 0) {
        uint32_t owner = search->path[search->path_count - 1];
        struct knot_owner *state = &graph->owners[owner];
        if (!next_blocker(search, owner, &state->at_claim, &state->at_blocker)) {
            finish(search, owner);
            continue;
        }
        uint32_t to = graph->claims[state->at_blocker].owner;
        const struct knot_owner *other = &graph->owners[to];
        if (other->index == 0) {
            enter(search, to);
        } else if (other->finished) {
            state->leaves = true;
        } else if (other->index < state->low) {
            state->low = other->index;
        }
    }
}

size_t lock_knots(const struct lock_sight *sights, size_t count, const struct lock_knot_events *events, void *owner)
{
    struct search search = {.events = events, .owner = owner};
    struct knot_graph *graph = &search.graph;
    knot_graph_init(graph, sights, count);
    knot_graph_reduce(graph);
    search.path = memory_allocate((graph->owner_count + 1) * sizeof(*search.path));
    search.stack = memory_allocate((graph->owner_count + 1) * sizeof(*search.stack));
    for (uint32_t i = 0; i < graph->owner_count && !graph->gave_up; i++) {
        if (knot_owner_left(graph, i) && graph->owners[i].index == 0) {
            explore(&search, i);
        }
    }
    free(search.path);
    free(search.stack);
    knot_graph_deinit(graph);
    return search.found;
}
