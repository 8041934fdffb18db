/* Circles: Tarjan's strongly connected components (1972), then the shortest circle of the plainest kind in one. */
#include "check/serial_state.h"

enum { STARTS_TRIED = 256 };

struct tarjan {
    const struct serial *serial;
    uint32_t *index; /* 0: not visited */
    uint32_t *low;
    uint32_t *stack;
    uint32_t *path; /* nodes being visited */
    uint32_t *next; /* the arc to follow next, of nodes on the path */
    bool *on_stack;
    uint32_t stack_count;
    uint32_t visited;
};

static void enter(struct tarjan *tarjan, uint32_t node, uint32_t *depth)
{
    tarjan->index[node] = tarjan->low[node] = ++tarjan->visited;
    tarjan->stack[tarjan->stack_count++] = node;
    tarjan->on_stack[node] = true;
    tarjan->next[node] = tarjan->serial->heads[node];
    tarjan->path[(*depth)++] = node;
}

/* The component that ends at the node, when it has more than one: its nodes are left marked on_stack. */
static bool leave(struct tarjan *tarjan, uint32_t node)
{
    if (tarjan->low[node] != tarjan->index[node]) {
        return false;
    }
    if (tarjan->stack[tarjan->stack_count - 1] != node) {
        return true;
    }
    tarjan->stack_count--;
    tarjan->on_stack[node] = false;
    return false;
}

/* True at the first component of several nodes, which are then those at and behind `root` on the stack. */
static bool visit(struct tarjan *tarjan, uint32_t root, uint32_t *ret_root)
{
    uint32_t depth = 0;
    enter(tarjan, root, &depth);
    while (depth > 0) {
        uint32_t node = tarjan->path[depth - 1];
        uint32_t at = tarjan->next[node];
        if (at == UINT32_MAX) {
            if (leave(tarjan, node)) {
                *ret_root = node;
                return true;
            }
            depth--;
            if (depth > 0 && tarjan->low[node] < tarjan->low[tarjan->path[depth - 1]]) {
                tarjan->low[tarjan->path[depth - 1]] = tarjan->low[node];
            }
            continue;
        }
        const struct arc *arc = &tarjan->serial->arcs[at];
        tarjan->next[node] = arc->next;
        if (arc->guess) {
            continue;
        }
        if (tarjan->index[arc->to] == 0) {
            enter(tarjan, arc->to, &depth);
        } else if (tarjan->on_stack[arc->to] && tarjan->index[arc->to] < tarjan->low[node]) {
            tarjan->low[node] = tarjan->index[arc->to];
        }
    }
    return false;
}

/* ---- the circle ---- */

#define MAY(reason) (1U << (reason))

enum {
    WRITES = MAY(SERIAL_OVERWROTE) | MAY(SERIAL_WAS_SEEN),
    ORDERS = WRITES | MAY(SERIAL_SAW_BEFORE),
    ALL = ORDERS | MAY(SERIAL_ENDED_BEFORE),
};

struct circle {
    const struct serial *serial;
    const bool *inside; /* the component */
    uint32_t *came_by;  /* arcs, by node */
    uint32_t *queue;
    uint32_t *best; /* arcs */
    uint32_t best_count;
};

static bool may(const struct circle *circle, const struct arc *arc, unsigned reasons)
{
    return !arc->guess && (reasons & MAY(arc->reason)) != 0 && circle->inside[arc->to];
}

/* The shortest way back from where the arc leads to where it begins; kept when it is the shortest circle so far. */
static void close_circle(struct circle *circle, uint32_t first, unsigned reasons)
{
    const struct arc *arcs = circle->serial->arcs;
    memset(circle->came_by, 0xff, circle->serial->node_count * sizeof(*circle->came_by));
    uint32_t count = 0;
    uint32_t from = arcs[first].to;
    circle->queue[count++] = from;
    circle->came_by[from] = first;
    for (uint32_t i = 0; i < count && circle->came_by[arcs[first].from] == UINT32_MAX; i++) {
        for (uint32_t at = circle->serial->heads[circle->queue[i]]; at != UINT32_MAX; at = arcs[at].next) {
            if (may(circle, &arcs[at], reasons) && circle->came_by[arcs[at].to] == UINT32_MAX) {
                circle->came_by[arcs[at].to] = at;
                circle->queue[count++] = arcs[at].to;
            }
        }
    }
    uint32_t node = arcs[first].from;
    if (circle->came_by[node] == UINT32_MAX) {
        return;
    }
    uint32_t length = 1;
    for (uint32_t at = circle->came_by[node]; at != first; at = circle->came_by[arcs[at].from]) {
        length++;
    }
    if (circle->best_count != 0 && length >= circle->best_count) {
        return;
    }
    circle->best_count = length;
    circle->best[0] = first;
    for (uint32_t at = circle->came_by[node]; at != first; at = circle->came_by[arcs[at].from]) {
        circle->best[--length] = at;
    }
}

/* Circles of one arc of some reasons and others of other reasons. */
static bool try_circles(struct circle *circle, unsigned first_reasons, unsigned reasons)
{
    uint32_t tried = 0;
    for (uint32_t at = 0; at < circle->serial->arc_count && tried < STARTS_TRIED; at++) {
        const struct arc *arc = &circle->serial->arcs[at];
        if (circle->inside[arc->from] && may(circle, arc, first_reasons)) {
            close_circle(circle, at, reasons);
            tried++;
        }
    }
    return circle->best_count > 0;
}

static enum serial_kind name_of(const struct serial_edge *edges, uint32_t count)
{
    uint32_t by[SERIAL_ENDED_BEFORE + 1] = {0};
    bool adjacent = false;
    bool one_object = true;
    for (uint32_t i = 0; i < count; i++) {
        by[edges[i].reason]++;
        adjacent =
            adjacent || (edges[i].reason == SERIAL_SAW_BEFORE && edges[(i + 1) % count].reason == SERIAL_SAW_BEFORE);
        one_object = one_object && edges[i].object == edges[0].object;
    }
    uint32_t saw = by[SERIAL_SAW_BEFORE];
    if (by[SERIAL_ENDED_BEFORE] > 0) {
        return saw == 1 && by[SERIAL_OVERWROTE] == 0 ? SERIAL_STALE : SERIAL_REAL_TIME;
    }
    if (saw == 0) {
        return SERIAL_CIRCULAR;
    }
    if (count == 2 && one_object && (saw == 2 || by[SERIAL_OVERWROTE] == 1)) {
        return SERIAL_LOST_UPDATE;
    }
    if (saw == 1) {
        return SERIAL_FRACTURED;
    }
    return saw == count ? SERIAL_WRITE_SKEW : adjacent ? SERIAL_NO_ORDER : SERIAL_LONG_FORK;
}

/* The arcs of the circle as edges between units; a way over ends of operations is one edge. */
static void keep(const struct circle *circle, struct serial_finding *finding)
{
    const struct serial *serial = circle->serial;
    uint32_t start = 0;
    while (serial->arcs[circle->best[start]].from >= serial->unit_count) {
        start++;
    }
    finding->edges = serial_allocate(circle->best_count, sizeof(*finding->edges));
    finding->edge_count = 0;
    for (uint32_t i = 0; i < circle->best_count; i++) {
        const struct arc *arc = &serial->arcs[circle->best[(start + i) % circle->best_count]];
        struct serial_edge *edge = &finding->edges[finding->edge_count];
        if (arc->from < serial->unit_count) {
            *edge = (struct serial_edge){.from = serial->units[arc->from].first,
                                         .object = arc->object,
                                         .reason = (enum serial_reason)arc->reason};
        }
        if (arc->to < serial->unit_count) {
            edge->to = serial->units[arc->to].first;
            finding->edge_count++;
        }
    }
    finding->kind = name_of(finding->edges, finding->edge_count);
}

static void explain(const struct serial *serial, const bool *inside, struct serial_finding *finding)
{
    struct circle circle = {
        .serial = serial,
        .inside = inside,
        .came_by = serial_allocate(serial->node_count, sizeof(uint32_t)),
        .queue = serial_allocate(serial->node_count, sizeof(uint32_t)),
        .best = serial_allocate(serial->node_count, sizeof(uint32_t)),
    };
    bool found = try_circles(&circle, WRITES, WRITES) || try_circles(&circle, MAY(SERIAL_SAW_BEFORE), WRITES) ||
                 try_circles(&circle, ORDERS, ORDERS) ||
                 try_circles(&circle, MAY(SERIAL_SAW_BEFORE), WRITES | MAY(SERIAL_ENDED_BEFORE)) ||
                 try_circles(&circle, ALL, ALL);
    ASSERT(found);
    keep(&circle, finding);
    free(circle.came_by);
    free(circle.queue);
    free(circle.best);
}

bool serial_find_circle(struct serial *serial)
{
    struct tarjan tarjan = {
        .serial = serial,
        .index = serial_allocate(serial->node_count, sizeof(uint32_t)),
        .low = serial_allocate(serial->node_count, sizeof(uint32_t)),
        .stack = serial_allocate(serial->node_count, sizeof(uint32_t)),
        .path = serial_allocate(serial->node_count, sizeof(uint32_t)),
        .next = serial_allocate(serial->node_count, sizeof(uint32_t)),
        .on_stack = serial_allocate(serial->node_count, sizeof(bool)),
    };
    bool found = false;
    for (uint32_t node = 0; node < serial->node_count && !found; node++) {
        uint32_t root;
        if (tarjan.index[node] != 0 || !visit(&tarjan, node, &root)) {
            continue;
        }
        found = true;
        memset(tarjan.on_stack, 0, serial->node_count * sizeof(bool));
        for (uint32_t i = tarjan.stack_count; i > 0; i--) {
            tarjan.on_stack[tarjan.stack[i - 1]] = true;
            if (tarjan.stack[i - 1] == root) {
                break;
            }
        }
        explain(serial, tarjan.on_stack, serial->finding);
    }
    free(tarjan.index);
    free(tarjan.low);
    free(tarjan.stack);
    free(tarjan.path);
    free(tarjan.next);
    free(tarjan.on_stack);
    return found;
}
