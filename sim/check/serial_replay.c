/* Looks for an order of all needed units that explains every reply, by sorting the graph and replaying. */
#include "check/serial_state.h"

enum { PASSES = 200 };
#define STEPS_MAXIMUM ((uint64_t)1 << 32) /* touches replayed, in all passes */

struct replay {
    struct serial *serial;
    uint32_t *order;    /* nodes */
    uint32_t *position; /* of nodes in it */
    uint32_t *heap;
    uint32_t heap_count;
    uint64_t *key; /* of nodes: when they want to come */
    uint32_t *degree;
    uint32_t *first_touch; /* of units, into `touches` */
    struct unit_touch {
        uint32_t object;
        uint32_t touch;
    } * touches;
    bool *marked; /* a search's */
    uint32_t *stack;
    uint64_t steps;
    uint32_t added; /* arcs, in this pass */
    bool lost;      /* no arc can help */
};

/* ---- the order: Kahn's, what ended first comes first ---- */

static bool earlier(const struct replay *replay, uint32_t a, uint32_t b)
{
    return replay->key[a] != replay->key[b] ? replay->key[a] < replay->key[b] : a < b;
}

static void heap_push(struct replay *replay, uint32_t node)
{
    uint32_t at = replay->heap_count++;
    for (; at > 0 && earlier(replay, node, replay->heap[(at - 1) / 2]); at = (at - 1) / 2) {
        replay->heap[at] = replay->heap[(at - 1) / 2];
    }
    replay->heap[at] = node;
}

static uint32_t heap_pop(struct replay *replay)
{
    uint32_t top = replay->heap[0];
    uint32_t last = replay->heap[--replay->heap_count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child + 1 < replay->heap_count && earlier(replay, replay->heap[child + 1], replay->heap[child])) {
            child++;
        }
        if (child >= replay->heap_count || !earlier(replay, replay->heap[child], last)) {
            break;
        }
        replay->heap[at] = replay->heap[child];
        at = child;
    }
    replay->heap[at] = last;
    return top;
}

/* False when guesses made a circle. */
static bool sort(struct replay *replay)
{
    const struct serial *serial = replay->serial;
    memset(replay->degree, 0, serial->node_count * sizeof(*replay->degree));
    for (uint32_t i = 0; i < serial->arc_count; i++) {
        replay->degree[serial->arcs[i].to]++;
    }
    for (uint32_t node = 0; node < serial->node_count; node++) {
        if (replay->degree[node] == 0) {
            heap_push(replay, node);
        }
    }
    uint32_t count = 0;
    while (replay->heap_count > 0) {
        uint32_t node = heap_pop(replay);
        replay->position[node] = count;
        replay->order[count++] = node;
        for (uint32_t at = serial->heads[node]; at != UINT32_MAX; at = serial->arcs[at].next) {
            if (--replay->degree[serial->arcs[at].to] == 0) {
                heap_push(replay, serial->arcs[at].to);
            }
        }
    }
    return count == serial->node_count;
}

/* ---- what must come before what ---- */

/* True when there is a way from a unit to another; only what stands between them in the order can be on it. */
static bool leads(struct replay *replay, uint32_t from, uint32_t to, bool with_guesses)
{
    const struct serial *serial = replay->serial;
    uint32_t limit = replay->position[to];
    uint32_t count = 0;
    uint32_t seen = 0;
    uint32_t *seen_nodes = replay->heap; /* it is empty between sorts */
    bool found = false;
    replay->stack[count++] = from;
    replay->marked[from] = true;
    seen_nodes[seen++] = from;
    while (count > 0 && !found) {
        uint32_t node = replay->stack[--count];
        for (uint32_t at = serial->heads[node]; at != UINT32_MAX && !found; at = serial->arcs[at].next) {
            const struct arc *arc = &serial->arcs[at];
            if ((arc->guess && !with_guesses) || replay->marked[arc->to] || replay->position[arc->to] > limit) {
                continue;
            }
            found = arc->to == to;
            replay->marked[arc->to] = true;
            seen_nodes[seen++] = arc->to;
            replay->stack[count++] = arc->to;
        }
    }
    for (uint32_t i = 0; i < seen; i++) {
        replay->marked[seen_nodes[i]] = false;
    }
    replay->steps += seen;
    return found;
}

static void add(struct replay *replay, uint32_t from, uint32_t to, uint32_t object, enum serial_reason reason,
                bool guess)
{
    serial_add_arc(replay->serial,
                   &(struct arc){.from = from, .to = to, .object = object, .reason = (uint8_t)reason, .guess = guess});
    replay->added++;
}

/* The reader should see what `writer` left, but `between` wrote since: it comes before the writer, or after the reader.
 */
static void settle(struct replay *replay, uint32_t object, uint32_t writer, uint32_t between, uint32_t reader)
{
    bool must_follow = writer == SERIAL_START || leads(replay, writer, between, false);
    bool must_precede = leads(replay, between, reader, false);
    if (must_follow) { /* when it must precede, too, this arc closes a circle */
        add(replay, reader, between, object, SERIAL_SAW_BEFORE, false);
    } else if (must_precede) {
        add(replay, between, writer, object, SERIAL_OVERWROTE, false);
    } else if (replay->added == 0 && !leads(replay, between, reader, true)) {
        add(replay, reader, between, object, SERIAL_SAW_BEFORE, true);
    } else if (replay->added == 0 && !leads(replay, writer, between, true)) {
        add(replay, between, writer, object, SERIAL_OVERWROTE, true);
    } else if (replay->added == 0) {
        replay->lost = true;
    }
}

/* ---- the replay ---- */

static bool fits_list(struct object *object, const struct touch *touch, uint32_t t)
{
    bool fits = (touch->seen == SERIAL_NOBODY || touch->seen == object->state) &&
                (touch->place == SERIAL_NOBODY || touch->place == object->state);
    if (touch->place != SERIAL_NOBODY) {
        object->state++;
        object->last = t;
    }
    return fits;
}

static bool fits_register(const struct serial *serial, struct object *object, const struct touch *touch, uint32_t t)
{
    uint32_t state = object->state;
    for (uint32_t i = 0; i < touch->count; i++) {
        struct rule rule =
            rule_of(serial->history, serial_operation(serial, object, touch->first + i), &object->states);
        if (!rule_step(&rule, &object->states, state, &state)) {
            return false;
        }
    }
    if (touch->write != WRITE_NOTHING) {
        object->state = state;
        object->last = t;
    }
    return true;
}

static void step(struct replay *replay, uint32_t unit)
{
    struct serial *serial = replay->serial;
    for (uint32_t i = replay->first_touch[unit]; i < replay->first_touch[unit + 1]; i++) {
        struct object *object = &serial->objects[replay->touches[i].object];
        uint32_t t = replay->touches[i].touch;
        const struct touch *touch = &object->touches[t];
        bool fits = object->is_list ? fits_list(object, touch, t) : fits_register(serial, object, touch, t);
        replay->steps++;
        if (fits) {
            continue;
        }
        uint32_t writer = touch->writer == SERIAL_START   ? SERIAL_START
                          : touch->writer < object->count ? object->touches[touch->writer].unit
                                                          : SERIAL_NOBODY;
        uint32_t last = object->last == SERIAL_NOBODY ? SERIAL_NOBODY : object->touches[object->last].unit;
        if (object->is_list || writer == SERIAL_NOBODY || last == SERIAL_NOBODY || last == unit || last == writer) {
            replay->lost = true;
        } else {
            settle(replay, replay->touches[i].object, writer, last, unit);
        }
        if (!object->is_list && touch->write == WRITE_VALUE) { /* go on as if it had been right */
            object->state = touch->write_value;
            object->last = t;
        }
    }
}

static void replay_all(struct replay *replay)
{
    struct serial *serial = replay->serial;
    for (uint32_t o = 0; o < serial->object_count; o++) {
        serial->objects[o].state = serial->objects[o].is_list ? 0 : STATE_ABSENT;
        serial->objects[o].last = SERIAL_NOBODY;
    }
    for (uint32_t i = 0; i < serial->node_count; i++) {
        uint32_t node = replay->order[i];
        if (node < serial->unit_count && serial->units[node].needed) {
            step(replay, node);
        }
    }
}

/* The touches of each unit, in a row. */
static void index_touches(struct replay *replay)
{
    const struct serial *serial = replay->serial;
    uint32_t total = 0;
    for (uint32_t o = 0; o < serial->object_count; o++) {
        total += serial->objects[o].count;
        for (uint32_t t = 0; t < serial->objects[o].count; t++) {
            replay->first_touch[serial->objects[o].touches[t].unit + 1]++;
        }
    }
    for (uint32_t u = 0; u < serial->unit_count; u++) {
        replay->first_touch[u + 1] += replay->first_touch[u];
    }
    replay->touches = serial_allocate(total, sizeof(*replay->touches));
    uint32_t *next = serial_allocate(serial->unit_count, sizeof(*next));
    memcpy(next, replay->first_touch, serial->unit_count * sizeof(*next));
    for (uint32_t o = 0; o < serial->object_count; o++) {
        for (uint32_t t = 0; t < serial->objects[o].count; t++) {
            replay->touches[next[serial->objects[o].touches[t].unit]++] = (struct unit_touch){o, t};
        }
    }
    free(next);
}

static void replay_init(struct replay *replay, struct serial *serial)
{
    uint32_t nodes = serial->node_count;
    *replay = (struct replay){
        .serial = serial,
        .order = serial_allocate(nodes, sizeof(uint32_t)),
        .position = serial_allocate(nodes, sizeof(uint32_t)),
        .heap = serial_allocate(nodes, sizeof(uint32_t)),
        .key = serial_allocate(nodes, sizeof(uint64_t)),
        .degree = serial_allocate(nodes, sizeof(uint32_t)),
        .first_touch = serial_allocate(serial->unit_count + (size_t)1, sizeof(uint32_t)),
        .marked = serial_allocate(nodes, sizeof(bool)),
        .stack = serial_allocate(nodes, sizeof(uint32_t)),
    };
    for (uint32_t u = 0; u < serial->unit_count; u++) {
        replay->key[u] = serial->units[u].end;
    }
    index_touches(replay); /* the ends of units come as soon as they can */
}

static void replay_deinit(struct replay *replay)
{
    free(replay->order);
    free(replay->position);
    free(replay->heap);
    free(replay->key);
    free(replay->degree);
    free(replay->first_touch);
    free(replay->touches);
    free(replay->marked);
    free(replay->stack);
}

enum search_result serial_replay(struct serial *serial)
{
    struct replay replay;
    replay_init(&replay, serial);
    enum search_result result = SEARCH_GAVE_UP;
    for (int pass = 0; pass < PASSES && replay.steps < STEPS_MAXIMUM; pass++) {
        if (!sort(&replay)) {
            result = serial_find_circle(serial) ? SEARCH_NOT_LINEARIZABLE : SEARCH_GAVE_UP;
            break;
        }
        replay.added = 0;
        replay.lost = false;
        replay_all(&replay);
        if (replay.added == 0) {
            result = replay.lost || serial->unsure ? SEARCH_GAVE_UP : SEARCH_LINEARIZABLE;
            break;
        }
    }
    replay_deinit(&replay);
    return result;
}
