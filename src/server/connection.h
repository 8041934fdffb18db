/* One client: bytes in, requests in order, replies in order, bytes out.
 *
 * Invariants
 * 1. Replies leave in the order of the requests. A request that cannot be answered at once gets a *slot*; what is
 * answered behind it waits in its own slot's stash.
 * 2. One write per turn: replies gather in `out` and leave in the turn hook, or before when there are many.
 * 3. Memory is bounded: past CONNECTION_PENDING slots or CONNECTION_REQUESTED_BYTES of requests, CONNECTION_OWED
 *    requests at shards, or CONNECTION_OUTPUT_HIGH bytes of unsent replies the client's requests are not read until
 * that is less; what was read already can still add up to the limits of the configuration, beyond which the client is
 * closed. A turn takes about SERVER_COMMANDS_PER_TURN requests: each client has its share of them.
 * 4. A parked request holds back all later ones of this client.
 * 5. A client that was refused with -BUSY gives nothing more before its turn among all who were: refusing is work, too,
 * and the time for it must not be taken from what is accepted. Its requests wait in its socket.
 * 6. A closed connection's memory stays until the shards have answered all its requests; those answers are dropped.
 */
#pragma once

#include "base/buffer.h"
#include "base/list.h"
#include "cluster/requester.h"
#include "cluster/slot.h"
#include "command/command.h"
#include "env/env.h"
#include "server/channels.h"
#include "server/script_room.h"
#include "wire/resp_request.h"
#include "wire/resp_writer.h"

struct client_txn;
struct feed_start;
struct output_limit;
struct txn_session;
struct round;
struct server;
struct session_tying;
struct waiter;

enum {
    CONNECTION_PENDING = 16384,
    CONNECTION_OWED = 4 * CONNECTION_PENDING, /* requests at shards: a gather makes many, and some were given up */
    CONNECTION_OUTPUT_HIGH = 1 << 20,
    CONNECTION_REQUESTED_BYTES = 512 << 10, /* of requests under way, were they as large as the last ones: less than
                                             * SHARD_LATE_BYTES, so that one client is slowed down, not refused */
    CONNECTION_EXPECTED_BYTES = 4 << 20, /* of replies to the requests under way, were they as large as the last ones */
    CONNECTION_REPLY_BYTES = 256 << 10,  /* a reply's size, before any is known */
    CONNECTION_NAME_BYTES = 64,          /* of an address */
};

enum consistency { /* of what a connection reads (consistency.h) */
                   CONSISTENCY_STRONG,
                   CONSISTENCY_SESSION,
                   CONSISTENCY_BOUNDED,
                   CONSISTENCY_EVENTUAL, /* READONLY */
                   CONSISTENCY_LEVELS,
};

enum slot_state { SLOT_WAITING, SLOT_DONE };

/* Who makes the client's reply of what the shards answer. */
enum slot_kind {
    SLOT_PLAIN,  /* nobody: it is the reply */
    SLOT_EXEC,   /* exec_plan.h: weaves in the replies of commands about the node */
    SLOT_WATCH,  /* watch.h: keeps the versions */
    SLOT_GATHER, /* gather.h: makes one of the replies of all shards */
    SLOT_FEED,   /* feeds.h: a feed begins when all shards have answered */
    SLOT_WAITER, /* waiter.h: the answer may take its time */
};

struct slot {
    uint8_t state; /* enum slot_state */
    uint8_t kind;  /* enum slot_kind */
    bool silent;   /* CLIENT REPLY OFF or SKIP */
    bool script;   /* it has a place in server.script_room */
    uint8_t protocol;
    uint16_t command;  /* its id, for the figures; 0: counted already */
    uint32_t began_ms; /* since the server began */
    struct buffer stash;
    union {
        struct exec_plan *exec;
        struct watch_look *look;
        struct gather *gather;
        struct feed_start *feed_start;
        struct waiter *waiter; /* borrowed */
    };                         /* owned, as kind says */
};

/* What server.lock_clients finds. */
struct lock_client_item {
    uint32_t key_size; /* first: struct table_item; 0: it is not in there */
    uint64_t id;       /* of the connection */
};

enum reply_mode { REPLY_ON, REPLY_OFF, REPLY_SKIP }; /* SKIP: the next one only */

struct watch {
    struct slice key; /* owned */
    uint64_t version;
};

/* Keys for the next EXEC (watch.h). */
struct watches {
    struct watch *items; /* a key may be there more than once */
    size_t count, capacity;
    size_t looking;   /* keys whose versions are on their way */
    size_t bytes;     /* of all these keys */
    uint32_t shard;   /* 0: none yet; ROUTE_SEVERAL */
    bool failed;      /* a WATCH was refused: the EXEC must not run */
    uint64_t pending; /* the slot after that of the last WATCH that waits for a shard; 0: none yet */
};

struct connection {
    struct requester requester; /* first: see requester.h */
    struct list node, dirty_node, resume_node, slowed_node;
    struct server *server;
    struct env_stream *stream; /* NULL when closed */
    uint64_t id;
    char peer[CONNECTION_NAME_BYTES], local[CONNECTION_NAME_BYTES];
    char *name, *library_name, *library_version; /* NULL: none */

    struct resp_request_parser parser;
    struct buffer in; /* a request that is not whole yet, and what came behind it */
    size_t in_start;
    struct buffer out;
    size_t out_start;
    size_t counted_bytes; /* what server.client_bytes has of this one */
    bool want_write, reading;
    bool slowed;           /* invariant 5: listed in server.slowed */
    bool finished_reading; /* the client sent its end of stream */
    bool close_after_replies, closed;

    /* slots: a ring; the oldest has sequence slot_head */
    struct slot *slots;
    uint32_t slot_capacity; /* a power of two */
    uint64_t slot_head, slot_tail;
    size_t stash_bytes;  /* in the stashes of slots that are done */
    uint64_t strong_end; /* the slot after the last that is more than a weak read at another worker; 0: none yet */
    uint64_t level_end;  /* the slot after the last read that need not be strong (consistency.h); 0: none yet */
    uint64_t plan_end;   /* the slot after that of the last EXEC which holds commands about the node; 0: none yet */
    uint64_t owed;       /* replies that shards still owe, also of slots given up */
    struct resp_writer writer;
    size_t request_bytes; /* about the size of the last requests */
    size_t reply_bytes;   /* about the size of the last replies from shards */
    size_t reply_start;   /* where the reply being written begins in its buffer */

    /* the request that waits (invariant 4) */
    bool parked;
    struct buffer parked_bytes;
    struct command_arguments parked_arguments;
    uint32_t parked_argc;
    struct round *round;                /* it waits for, or has, what other workers say (round.h); NULL */
    struct script_wait *script_wait;    /* it waits for, or has, what other nodes say (script_peers.h); NULL */
    struct script_places script_places; /* it waits for, or has, room for scripts */
    bool slept;                         /* the parked DEBUG SLEEP has had its time */
    int64_t parked_until_ns;            /* DEBUG SLEEP, CLIENT PAUSE: not before; 0: until nothing is pending */

    uint8_t protocol;
    bool authenticated, monitor, no_evict;
    uint8_t level;     /* enum consistency */
    int64_t bound_ms;  /* of level BOUNDED */
    uint64_t *reached; /* by shard − 1: how far it has seen the data (consistency.h); NULL: nothing of any */
    enum reply_mode reply_mode;
    int64_t created_ns, active_ns;
    const struct command_spec *last_command;
    uint64_t commands;

    /* MULTI */
    bool in_multi, multi_failed;
    struct buffer queued; /* encoded commands */
    uint32_t queued_count;
    uint32_t queued_flags; /* of all queued commands together */
    uint32_t queued_shard; /* of their keys; 0: they have none */
    bool queued_crosses;   /* their keys are in several shards */
    bool queued_values;    /* … even those of one that cannot be cut */
    bool queued_scripts;
    uint8_t queued_protocol; /* what replies will be written in by then: a queued HELLO changes it */
    struct watches watches;
    struct client_txn *txn;      /* the transaction over several shards that is under way, or NULL */
    struct txn_session *session; /* of TXN.*, or NULL */
    struct list feeds;           /* of struct feed (feeds.h) */
    uint32_t feed_count;
    size_t feed_bytes;
    bool feed_stuck;               /* one of them waits until this client has read */
    struct feed_start *feed_start; /* COHORT.FEED waits for the shards, or NULL; its slot's */
    struct list service_watches;   /* of struct service_watch (service_watch.h) */
    uint32_t service_watch_count;
    struct listener *listener;   /* to channels and patterns; NULL: it never was one */
    int64_t behind_since_ns;     /* more is unread than the soft limit allows; 0: it is not */
    bool overrun;                /* messages for it found no room: it is to be closed */
    struct waiter *waiter;       /* its request that may take its time (waiter.h), or NULL */
    struct session_tying *tying; /* the parked command waits for its session, or has it; NULL */
    struct lock_client_item lock_client;
    bool txn_failed; /* one ended before its client said so: what is meant for it is refused */
};

/* `id` is unlike that of any other client of the node, and larger than earlier ones. */
struct connection *connection_create(struct server *server, struct env_stream *stream, uint64_t id);
/* Closes the stream now; the memory goes when nothing is owed any more. */
void connection_close(struct connection *connection);
/* Frees all closed connections that are owed nothing. */
void connections_reap(struct server *server);
/* Sends what gathered; called by the turn hook for each dirty connection. */
void connection_flush(struct connection *connection);
/* Sends what the system takes now; a failure shows in the flush that follows. */
void connection_write(struct connection *connection);
/* Goes on with input that is here already. */
void connection_resume(struct connection *connection);
void connection_mark_dirty(struct connection *connection);
void connection_mark_resume(struct connection *connection);
/* It was refused because too much waits. */
void connection_slow(struct connection *connection);
/* Those whose turn it is may give requests again. */
void connections_hurry(struct server *server);
/* Closes once all replies are sent. */
void connection_finish(struct connection *connection);
/* From the same machine, over loopback. */
bool connection_is_local(const struct connection *connection);
/* Brings server.client_bytes up to date. */
void connection_count_bytes(struct connection *connection);
/* Of replies that are not sent: ready to go, and all together. */
static inline size_t connection_output_bytes(const struct connection *connection)
{
    return connection->out.size - connection->out_start;
}
static inline size_t connection_unsent_bytes(const struct connection *connection)
{
    return connection_output_bytes(connection) + connection->stash_bytes;
}
/* It has at least one channel or pattern. */
static inline bool connection_subscribed(const struct connection *connection)
{
    return connection->listener != NULL && listener_count(connection->listener) != 0;
}
/* How much it may leave unread. */
const struct output_limit *connection_output_limit(const struct connection *connection);
/* True: it has left more, and was closed. */
bool connection_cut_if_behind(struct connection *connection);
/* Invariant 3: whether more requests may be taken from this client. */
bool connection_may_take(const struct connection *connection);
/* Asks for input, or no longer, as the state of connection and server says. */
void connection_update_reading(struct connection *connection);

/* ---- replies (reply.c) ---- */

/* The writer for a request that is answered now: straight to the output when nothing is pending, else into a new
 * slot. NULL never; a silent one discards. Ends with reply_end. */
struct resp_writer *reply_begin(struct connection *connection);
void reply_end(struct connection *connection);
/* An error, as the whole of it. */
void reply_with_error(struct connection *connection, const char *text);
/* A slot for a request that shards will answer; its number. */
uint64_t slot_open(struct connection *connection, const struct command_spec *spec);
/* The tag of a slot's request to a shard. */
static inline uint64_t slot_tag(uint64_t number, uint32_t shard) { return number * SLOT_MAXIMUM_SHARDS + shard - 1; }
/* A shard's answer to it: see requester.h. `command` is NULL when it was executed elsewhere. */
struct resp_writer *slot_begin(struct connection *connection, uint64_t tag);
void slot_end(struct connection *connection, uint64_t tag, const struct command *command);
void slot_failed(struct connection *connection, uint64_t tag, enum status status);
/* All answers are there: the reply goes out, or waits in the stash for those before it. */
void slot_finish(struct connection *connection, uint64_t number);
/* Takes back the slot just opened: the shard refused. */
void slot_withdraw(struct connection *connection);
/* Answers an error to all slots older than the limit, or to all: reads, which can be sent again, have another. Returns
 * how many. */
size_t slots_give_up(struct connection *connection, bool all, uint32_t before_ms, const char *text,
                     const char *text_of_reads);
static inline bool connection_pending(const struct connection *connection)
{
    return connection->slot_head != connection->slot_tail;
}
/* Nothing is pending that a read must wait for: nothing, or for a READONLY connection weak reads alone. */
static inline bool connection_quiet(const struct connection *connection)
{
    return !connection_pending(connection) ||
           (connection->level == CONSISTENCY_EVENTUAL && connection->strong_end <= connection->slot_head);
}
/* The buffer that leaves next; takes one from the spare ones when there is none. */
struct buffer *connection_output(struct connection *connection);
struct slot *slot_at(struct connection *connection, uint64_t number);
void slots_destroy(struct connection *connection);
