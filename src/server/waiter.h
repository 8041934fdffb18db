/* A client's request whose answer may take its time: one that waits in the queue of a lock or the like (lock_wait.h),
 * or one for several locks (lock_many.h). Here is what the rest of a server has to do with it: by its connection, by
 * its number, and ten times a second.
 *
 * Invariants
 * 1. A connection has one at most; what its client says behind it is held back.
 * 2. It is answered once, in its slot, and has no connection from then on. It stays, with nobody who waits, until the
 *    shards have heard that.
 * 3. No number is given twice in one start of a node: shards know a request by its origin, which is node, start, client
 *    and number. */
#pragma once

#include "base/list.h"
#include "machine/keys/table.h"
#include "machine/lock/lock_notice.h"

struct connection;
struct server;
struct waiter;

enum { WAITER_READ_AHEAD = 64 << 10 }; /* bytes that are read from a client that waits: to see that it is there */

struct waiter_kind {
    /* It is in a queue, and has a deadline of its own: no command-timeout ends it. */
    bool (*queued)(const struct waiter *waiter);
    /* Ends it if it is in a queue and somebody waits: the client is told this, or nil (NULL). False: it is not. */
    bool (*end)(struct waiter *waiter, const char *text);
    /* Nobody waits any more, as of now. */
    void (*leave)(struct waiter *waiter);
    /* A shard tells of it. */
    void (*hear)(struct waiter *waiter, const struct lock_notice *notice);
    void (*look_after)(struct waiter *waiter, int64_t now_ns);
    void (*destroy)(struct waiter *waiter);
    const char *stopping; /* how it ends when the node stops */
};

enum waiter_unblock { WAITER_STAYS, WAITER_ENDS, WAITER_FAILS };

struct waiter {
    uint32_t key_size; /* first: struct table_item; of the number */
    const struct waiter_kind *kind;
    struct list node;              /* of server.waiters */
    struct connection *connection; /* NULL: nobody waits */
    uint64_t client, slot, number;
    int64_t began_ns;
    enum waiter_unblock unblock; /* how it ends as soon as it waits */
};

/* Of a server. */
struct waiters {
    struct list all;      /* the oldest first */
    struct table numbers; /* the same by number */
    size_t count;
    uint64_t last_us; /* of the last number */
};

/* ---- for its kinds ---- */

/* It is asked for now by this connection. It has no number and no slot yet. */
void waiter_init(struct waiter *waiter, const struct waiter_kind *kind, struct connection *connection);
void waiter_deinit(struct waiter *waiter, struct server *server);
/* Gives it a number, another one if it has one: the microsecond of the wall clock, or one more than the last one, and
 * the worker. So of two waits of a circle everybody sees alike which one is younger (lock_knot.h). */
void waiter_set_number(struct waiter *waiter, struct server *server);
struct lock_origin waiter_origin(const struct waiter *waiter, const struct server *server);
/* The slot is its own from now on, and the connection waits. */
void waiter_hold(struct waiter *waiter);
/* The client hears this. */
void waiter_answer(struct waiter *waiter, struct slice reply);

/* ---- for the rest ---- */

/* The connection closes, or gives up its slot. */
void waiter_leave(struct waiter *waiter);
static inline bool waiter_queued(const struct waiter *waiter) { return waiter->kind->queued(waiter); }
/* CLIENT UNBLOCK: the wait ends with nil, or an error; at once, or as soon as it is known to have begun (others may see
 * it in its queue before), unless the request is granted or refused by then. False: this client does not wait. */
bool waiter_unblock(struct connection *connection, bool error);
/* The wait with this number ends: it is one of a circle. False: it has ended already. */
bool waiter_deadlock(struct server *server, uint64_t number, const char *text);
void waiter_news(struct server *server, const struct lock_notice *notice);
/* Ten times a second. True: one has waited for `old_ms` or longer. */
bool waiters_look_after(struct server *server, int64_t old_ms);
/* The node stops: waits end with an error, and the shards are told. */
void waiters_drain(struct server *server);
bool waiters_idle(const struct server *server);
void waiters_init(struct server *server);
void waiters_destroy(struct server *server);
