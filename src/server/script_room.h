/* How many scripts of this worker's clients are on their way at a time: so that whoever sends one long script behind
 * the other, by one connection or by many, is slowed down, and nobody else is.
 *
 * Every script is executed at every replica of its shard, in the order of the shard's log, and what stands behind it
 * waits. So the log is given few at a time while they take long, and many while they do not: a script that took long
 * halves the room, one that did not widens it by one. Commands without scripts pass by those that wait here.
 *
 *   dispatch ─enter─▶ in the room ─slot_open─▶ the slot's ─reply─▶ left
 *      │ no room                                  └─ given up ─▶ lost: left when the connection is owed nothing
 *      ▼
 *   parked, in the order of coming; at most a command-timeout long
 *
 * Invariants
 * 1. Each connection waits for one place at most: it is parked, and takes no further requests meanwhile.
 * 2. Who waits is before who comes. A place that was given to who waits counts as taken.
 * 3. `taken` is the sum of all connections' places: given, entering, of slots, and lost. */
#pragma once

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct command;
struct connection;
struct server;

enum {
    SCRIPT_ROOM_FIRST = 4, /* while nothing is known, or nobody has come for a while */
    SCRIPT_ROOM_MOST = 256,
};

struct script_room {
    uint32_t size, taken;
    struct list waiting; /* connections */
    bool used;           /* since the last tick */
};

/* A connection's part of it. */
struct script_places {
    struct list node; /* in waiting */
    int64_t since_ns; /* when it came there */
    bool given;       /* it waits no longer */
    bool entering;    /* the request that is being dispatched has one */
    uint32_t lost;    /* of slots that were given up */
};

void script_room_init(struct script_room *room);
void script_places_init(struct script_places *places);

/* Whether the command executes scripts, itself or as an EXEC. */
bool script_room_takes(const struct connection *connection, const struct command *command);
/* True: the request has a place until it is dispatched; its slot takes that over. False: park it. */
bool script_room_enter(struct connection *connection);
/* The parked request waits for its place. */
bool script_room_waits(const struct connection *connection);
/* The request was dispatched, and no slot has its place: it goes. */
void script_room_dispatched(struct connection *connection);
/* A slot is opened for the request: whether it has the place now. */
static inline bool script_places_keep(struct script_places *places)
{
    bool keeps = places->entering;
    places->entering = false;
    return keeps;
}
/* A slot's answer is there; `took_long`: the script. */
void script_room_leave(struct connection *connection, bool took_long);
/* A slot was given up, and its script may still be executed. */
void script_room_lose(struct connection *connection);
/* The connection is owed nothing any more, and has lost some. */
void script_room_settle(struct connection *connection);
/* It is closed. */
void script_room_forget(struct connection *connection);
/* Ten times a second; refuses who has waited since before then. */
void script_room_tick(struct server *server, int64_t before_ns);
