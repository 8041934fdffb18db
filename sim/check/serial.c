#include "check/serial_state.h"

const char *serial_name(enum serial_kind kind)
{
    static const char *const names[SERIAL_KINDS] = {
        [SERIAL_NONE] = "no order",
        [SERIAL_OWN_WRITE] = "own write unseen",
        [SERIAL_NEVER_WRITTEN] = "value never written",
        [SERIAL_ABORTED] = "aborted read",
        [SERIAL_INTERMEDIATE] = "intermediate read",
        [SERIAL_TWICE] = "applied twice",
        [SERIAL_LISTS_DIFFER] = "lists differ",
        [SERIAL_LOST_UPDATE] = "lost update",
        [SERIAL_CIRCULAR] = "circular information flow",
        [SERIAL_FRACTURED] = "fractured read",
        [SERIAL_WRITE_SKEW] = "write skew",
        [SERIAL_LONG_FORK] = "long fork",
        [SERIAL_STALE] = "stale read",
        [SERIAL_REAL_TIME] = "against real time",
        [SERIAL_NO_ORDER] = "no serial order",
    };
    ASSERT((unsigned)kind < SERIAL_KINDS);
    return names[kind];
}

void serial_found(struct serial *serial, enum serial_kind kind, uint32_t operation, uint32_t other)
{
    if (serial->finding->kind == SERIAL_NONE) {
        serial->finding->kind = kind;
        serial->finding->operation = operation;
        serial->finding->other = other;
    }
}

void serial_add_arc(struct serial *serial, const struct arc *arc)
{
    if (serial->arc_count == serial->arc_maximum) {
        serial->full = true;
        return;
    }
    if (serial->arc_count == serial->arc_capacity) {
        serial->arc_capacity = serial->arc_capacity == 0 ? 1024 : serial->arc_capacity * 2;
        serial->arcs = memory_resize(serial->arcs, serial->arc_capacity * sizeof(*serial->arcs));
    }
    struct arc *added = &serial->arcs[serial->arc_count];
    *added = *arc;
    added->next = serial->heads[arc->from];
    serial->heads[arc->from] = serial->arc_count++;
}

static uint32_t unit_number(const struct history *history, uint32_t number)
{
    uint32_t transaction = history->operations[number].transaction;
    return transaction == HISTORY_ALONE ? number : transaction;
}

/* Each unit gets the next number, at its first operation's place in `unit_of`. */
static void find_units(struct serial *serial, uint32_t operations, uint32_t *unit_of)
{
    serial->units = serial_allocate(operations, sizeof(*serial->units));
    for (uint32_t o = 0; o < serial->object_count; o++) {
        const struct serial_object *object = &serial->objects[o].of;
        for (uint32_t i = 0; i < object->count; i++) {
            uint32_t first = unit_number(serial->history, object->operations[i]);
            if (unit_of[first] != TEXTS_NONE) {
                continue;
            }
            const struct history_operation *operation = &serial->history->operations[first];
            unit_of[first] = serial->unit_count;
            serial->units[serial->unit_count++] = (struct unit){
                .first = first,
                .start = operation->start,
                .end = operation->end,
                .needed = operation->outcome == HISTORY_OK,
            };
        }
    }
}

static void forget_units(const struct serial *serial, uint32_t *unit_of)
{
    for (uint32_t u = 0; u < serial->unit_count; u++) {
        unit_of[serial->units[u].first] = TEXTS_NONE;
    }
}

/* What a needed unit saw was written: until nothing more is needed. */
static void spread_need(struct serial *serial)
{
    for (bool more = true; more;) {
        more = false;
        for (uint32_t o = 0; o < serial->object_count; o++) {
            struct object *object = &serial->objects[o];
            for (uint32_t t = 0; t < object->count; t++) {
                const struct touch *touch = &object->touches[t];
                bool known = touch->writer < object->count && serial_needed(serial, touch);
                if (known && !serial_needed(serial, &object->touches[touch->writer])) {
                    serial->units[object->touches[touch->writer].unit].needed = true;
                    more = true;
                }
            }
        }
    }
}

static bool something_is_vague(const struct serial *serial)
{
    for (uint32_t u = 0; u < serial->unit_count; u++) {
        if (serial->units[u].needed && serial->units[u].vague) {
            return true;
        }
    }
    return false;
}

/* ---- real time ---- */

struct end {
    uint64_t time;
    uint32_t unit;
};

static int compare_ends(const void *left, const void *right)
{
    const struct end *a = left;
    const struct end *b = right;
    return a->time != b->time ? (a->time < b->time ? -1 : 1) : a->unit < b->unit ? -1 : a->unit > b->unit;
}

static void add_time(struct serial *serial, uint32_t from, uint32_t to)
{
    serial_add_arc(serial, &(struct arc){.from = from, .to = to, .reason = SERIAL_ENDED_BEFORE});
}

/* A chain of all ends: units lead to their own, and each unit follows the last one before its start. */
static void add_real_time(struct serial *serial, const struct end *ends, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        add_time(serial, ends[i].unit, serial->unit_count + i);
        if (i > 0) {
            add_time(serial, serial->unit_count + i - 1, serial->unit_count + i);
        }
    }
    for (uint32_t u = 0; u < serial->unit_count; u++) {
        uint32_t low = 0;
        uint32_t high = count;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (ends[middle].time < serial->units[u].start) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (low > 0 && serial->units[u].needed) {
            add_time(serial, serial->unit_count + low - 1, u);
        }
    }
}

static struct end *sorted_ends(struct serial *serial, uint32_t *ret_count)
{
    struct end *ends = serial_allocate(serial->unit_count, sizeof(*ends));
    uint32_t count = 0;
    for (uint32_t u = 0; u < serial->unit_count; u++) {
        if (serial->units[u].end != HISTORY_NEVER) {
            ends[count++] = (struct end){serial->units[u].end, u};
        }
    }
    qsort(ends, count, sizeof(*ends), compare_ends);
    *ret_count = count;
    return ends;
}

/* ---- the judgement ---- */

static void serial_init(struct serial *serial, const struct serial_object *objects, uint32_t count, uint32_t *unit_of)
{
    uint32_t operations = 0;
    serial->object_count = count;
    serial->objects = serial_allocate(count, sizeof(*serial->objects));
    for (uint32_t o = 0; o < count; o++) {
        serial->objects[o].of = objects[o];
        states_init(&serial->objects[o].states);
        operations += objects[o].count;
    }
    find_units(serial, operations, unit_of);
}

static void serial_deinit(struct serial *serial)
{
    for (uint32_t o = 0; o < serial->object_count; o++) {
        states_deinit(&serial->objects[o].states);
        free(serial->objects[o].touches);
        free(serial->objects[o].list);
    }
    free(serial->objects);
    free(serial->units);
    free(serial->heads);
    free(serial->arcs);
}

static enum search_result judge(struct serial *serial, uint32_t *unit_of)
{
    uint32_t ends_count;
    struct end *ends = sorted_ends(serial, &ends_count);
    serial->node_count = serial->unit_count + ends_count;
    serial->heads = serial_allocate(serial->node_count, sizeof(*serial->heads));
    memset(serial->heads, 0xff, serial->node_count * sizeof(*serial->heads));
    for (uint32_t o = 0; o < serial->object_count; o++) {
        struct object *object = &serial->objects[o];
        serial_touches(serial, object, unit_of);
        (object->is_list ? serial_list_writers : serial_register_writers)(serial, object);
    }
    spread_need(serial);
    serial->unsure = serial->unsure || something_is_vague(serial);
    for (uint32_t o = 0; o < serial->object_count; o++) {
        struct object *object = &serial->objects[o];
        (object->is_list ? serial_list_arcs : serial_register_arcs)(serial, object, o);
    }
    add_real_time(serial, ends, ends_count);
    free(ends);
    if (serial->finding->kind != SERIAL_NONE || serial_find_circle(serial)) {
        return SEARCH_NOT_LINEARIZABLE;
    }
    return serial->full ? SEARCH_GAVE_UP : serial_replay(serial);
}

/* What the graph takes, about. */
static size_t bytes_needed(const struct serial *serial)
{
    size_t operations = 0;
    for (uint32_t o = 0; o < serial->object_count; o++) {
        operations += serial->objects[o].of.count;
    }
    return operations * (sizeof(struct touch) + 6 * sizeof(struct arc)) + serial->unit_count * (size_t)128;
}

enum { ARCS_MAXIMUM = 1 << 30 };

enum search_result serial_run(const struct history *history, const struct serial_object *objects, uint32_t count,
                              size_t memory_bytes, uint32_t *scratch, struct serial_finding *ret_finding)
{
    *ret_finding = (struct serial_finding){.operation = TEXTS_NONE, .other = TEXTS_NONE};
    size_t arcs = memory_bytes / sizeof(struct arc);
    struct serial serial = {
        .history = history,
        .finding = ret_finding,
        .arc_maximum = arcs < ARCS_MAXIMUM ? (uint32_t)arcs : ARCS_MAXIMUM,
    };
    serial_init(&serial, objects, count, scratch);
    enum search_result result = bytes_needed(&serial) > memory_bytes ? SEARCH_GAVE_UP : judge(&serial, scratch);
    forget_units(&serial, scratch);
    serial_deinit(&serial);
    return result;
}

void serial_finding_deinit(struct serial_finding *finding)
{
    free(finding->edges);
    *finding = (struct serial_finding){0};
}
