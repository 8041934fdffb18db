/* What the files of serial_*.c share: the graph, and what each transaction does to each object. */
#pragma once

#include "base/assert.h"
#include "base/memory.h"
#include "check/serial.h"

#include <stdlib.h>

#define SERIAL_NOBODY UINT32_MAX      /* not known who wrote it */
#define SERIAL_START (UINT32_MAX - 1) /* nobody: absent from the beginning */

enum touch_read { READ_NOTHING, READ_ABSENT, READ_VALUE, READ_LENGTH, READ_SOMETHING };
enum touch_write { WRITE_NOTHING, WRITE_VALUE, WRITE_APPEND, WRITE_ANYTHING };

/* What one unit does to one object: what it found before it wrote, and what it left. */
struct touch {
    uint32_t unit;
    uint32_t first; /* of the object's operations */
    uint32_t count;
    uint8_t read;
    uint8_t write;
    uint32_t read_value;  /* a state */
    uint32_t write_value; /* STATE_ABSENT after a deletion */
    int64_t length;       /* READ_LENGTH */
    uint32_t writer;      /* the touch that left what was read, SERIAL_START, SERIAL_NOBODY */
    uint32_t seen;        /* of a list: how many of its touches it saw, or SERIAL_NOBODY */
    uint32_t place;       /* of a list: where in it this touch stands, or SERIAL_NOBODY */
};

/* A transaction or an operation alone. */
struct unit {
    uint32_t first; /* in the history */
    uint64_t start;
    uint64_t end;
    bool needed; /* it took effect */
    bool vague;  /* what it did depends on what it found, and nobody knows that */
};

struct object {
    struct serial_object of;
    struct states states;
    struct touch *touches;
    uint32_t count;
    bool is_list;   /* nothing but appends writes it */
    uint32_t *list; /* of a list: the touches that append, in order */
    uint32_t list_count;
    uint32_t state; /* while an order is replayed: a state, or how long the list is */
    uint32_t last;  /* the touch that left it */
};

/* Nodes: units first, then one for each end of a known unit, in the order of time. */
struct arc {
    uint32_t from;
    uint32_t to;
    uint32_t next; /* of the same from */
    uint32_t object;
    uint8_t reason;
    bool guess; /* it may hold; else it must */
};

struct serial {
    const struct history *history;
    struct object *objects;
    uint32_t object_count;
    struct unit *units;
    uint32_t unit_count;
    uint32_t node_count;
    uint32_t *heads; /* of nodes, into arcs */
    struct arc *arcs;
    uint32_t arc_count;
    uint32_t arc_capacity;
    uint32_t arc_maximum; /* by the caller's memory */
    bool full;            /* arcs were left out: only what is wrong on its face is known */
    bool unsure;          /* something was left out: a fault of the replay proves nothing */
    struct serial_finding *finding;
};

static inline void *serial_allocate(size_t count, size_t size) { return memory_allocate_zeroed(count + 1, size); }

static inline const struct history_operation *serial_operation(const struct serial *serial, const struct object *object,
                                                               uint32_t at)
{
    return &serial->history->operations[object->of.operations[at]];
}

static inline bool serial_needed(const struct serial *serial, const struct touch *touch)
{
    return serial->units[touch->unit].needed;
}

/* Notes the first thing that is wrong; more are not needed. */
void serial_found(struct serial *serial, enum serial_kind kind, uint32_t operation, uint32_t other);
void serial_add_arc(struct serial *serial, const struct arc *arc);

/* serial_touch.c: what the units do to an object. */
void serial_touches(struct serial *serial, struct object *object, const uint32_t *unit_of);

/* serial_register.c: who wrote what was read, then, of what is needed, the arcs that follow. */
void serial_register_writers(struct serial *serial, struct object *object);
void serial_register_arcs(struct serial *serial, struct object *object, uint32_t number);

/* serial_list.c: the same for what only appends write. */
void serial_list_writers(struct serial *serial, struct object *object);
void serial_list_arcs(struct serial *serial, struct object *object, uint32_t number);

/* serial_cycle.c: finds a circle among arcs that must hold, and names it. */
bool serial_find_circle(struct serial *serial);

/* serial_replay.c: looks for an order that explains everything. */
enum search_result serial_replay(struct serial *serial);
