/* Locks, and whatever else is waited for (wait_kind.h), as clients of this node ask for them: refusals in words,
 * requests that wait, and pushes to those who lose a lock.
 *
 * LOCK.ACQUIRE goes to the shard as COHORT.LOCK.ACQUIRE, with where its answer goes. Without WAIT the shard's reply is
 * the client's. With WAIT the slot of the request is this file's, and the client's next requests are held back:
 *
 *   ASKED ─granted, nil, refused────────────────────────────────────────▶ answered
 *     │                            ┌─────────a notice: granted, ended──────▶ answered
 *     └─QUEUED──▶ WAITS ───────────┤
 *                  ▲  │            └─the shard, asked: it holds ──────────▶ answered
 *                  │  └─now and then, and when somebody else leads: ASKING ─nothing known─▶ ASKED anew, or nil
 *                  └─────QUEUED────────────────────────────────────────┘
 *   nobody waits any more (the client is gone, or was told UNCERTAIN) ─▶ LEAVING: the shard is told until it has heard
 *
 * Invariants
 * 1. Each wait is answered once: whichever of a reply, a notice and an answer comes first; its number is known to
 *    nobody afterwards.
 * 2. What a shard may have of a request that nobody waits for is taken back, also when it was granted meanwhile.
 * 3. One request of a wait is under way at a time. */
#pragma once

#include "command/command.h"
#include "machine/lock/lock_notice.h"

struct connection;
struct lock_wait;
struct server;
struct wait_kind;

enum {
    LOCK_ASK_MS = 2000,          /* a wait is asked about so often, … */
    LOCK_ASKS_PER_SECOND = 1000, /* … and all of a worker not more than so often */
    LOCK_READ_AHEAD = 64 << 10,  /* bytes that are read from a client that waits: to see that it is there */
};

/* Looks at a command about locks before it goes anywhere. NULL, or why it is refused. */
const char *lock_client_problem(const struct connection *connection, const struct command *command);
/* Sends LOCK.ACQUIRE, or another command that may wait, to its shard. */
void lock_client_ask(struct connection *connection, uint32_t shard, const struct command *command,
                     const struct wait_kind *kind);
/* The connection closes, or gives up its slot: nobody waits for this any more. Takes NULL. */
void lock_wait_leave(struct lock_wait *wait);
/* The client hears of locks that it loses, if it speaks RESP3. */
void lock_client_note(struct connection *connection);
/* The connection closes: no news any more. */
void lock_client_forget(struct connection *connection);
/* It waits in the queue of its lock: no command-timeout ends it. */
bool lock_wait_queued(const struct lock_wait *wait);
/* The wait with this number ends: it is one of a circle. False: it has ended already. */
bool lock_wait_deadlock(struct server *server, uint64_t number, const char *text);
/* CLIENT UNBLOCK: the wait ends with nil, or an error. False: this client does not wait for a lock. */
bool lock_wait_unblock(struct connection *connection, bool error);
/* The number of a request that may wait, never the same twice in one start: the microsecond of the wall clock at which
 * it was asked, or one more than the last one, and the worker. So of two waits of a circle everybody sees alike which
 * one is younger (lock_knot.h). */
uint64_t lock_wait_number(struct server *server);
/* What a shard tells (lock_notice.h). */
void lock_client_news(struct server *server, const struct lock_notice *notice);
/* Ten times a second. */
void lock_waits_look_after(struct server *server);
/* The node stops: waits end with an error, and the shards are told. */
void lock_waits_drain(struct server *server);
bool lock_waits_idle(const struct server *server);
void lock_waits_init(struct server *server);
void lock_waits_destroy(struct server *server);
