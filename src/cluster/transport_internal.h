/* The inside of the transport.
 *
 *   transport.c             life, sending, the turn, figures
 *   transport_peer.c        who is allowed, dialing and backoff
 *   transport_probe.c       whether a peer's process has ended
 *   transport_connection.c  bytes of a connection: reading, writing, pings, its end
 *   transport_handshake.c   who is at the other end
 *   transport_refuse.c      refusals: counted, told, logged
 *
 * Memory: a connection that is closed stays in `closed` until the turn ends, because callers up the stack and a payload
 * being delivered may still use it. A peer goes at once, so after a callback it must be looked up again. */
#pragma once

#include "base/prng.h"
#include "cluster/transport.h"
#include "cluster/transport_hello.h"
#include "cluster/transport_queue.h"

enum {
    TRANSPORT_READ_BYTES = 256 << 10, /* of one read; bounds the work for a peer in a turn */
    TRANSPORT_KEEP_BYTES = 64 << 10,  /* an empty receive buffer larger than this is given back */
    TRANSPORT_LINGER_MS = 1000,
    TRANSPORT_LOG_MS = 60 * 1000, /* a peer's problem is logged once in this time */
    TRANSPORT_NS_PER_MS = 1000000,
    TRANSPORT_ADDRESS_BYTES = 64,
};

enum transport_state {
    TRANSPORT_CONNECTING,
    TRANSPORT_AWAIT_HELLO,
    TRANSPORT_AWAIT_READY,
    TRANSPORT_UP,
    TRANSPORT_LINGERING,
    TRANSPORT_ENDED,
};

/* When something was last logged; 0: never. [0] by us, [1] by the peer. The entry of TRANSPORT_ACCEPTABLE is for peers
 * that cannot be reached. */
struct transport_log_times {
    int64_t at_ns[2][TRANSPORT_REASONS];
};

struct transport_probe {
    struct env_stream *stream; /* NULL: none is under way */
    struct env_timer timer;    /* to the next attempt, or the end of patience with this one */
    uint32_t attempts;
};

struct transport_peer {
    uint64_t node;
    char host[TRANSPORT_HOST_BYTES];
    int port;
    struct id128 incarnation; /* zero: not known */
    /* Being dialed, or up. NULL: neither; then dial_timer is armed when it is ours to dial. */
    struct transport_connection *connection;
    struct env_timer dial_timer;
    struct transport_probe probe;
    struct transport *transport;
    int64_t backoff_ns;
    uint64_t run, attempt; /* at an acceptor: of the newest connection that came up */
    /* The largest start of its process that was seen; 0: none. And the run of that process; 0: others have seen it. Two
     * processes on copies may begin in the same moment. */
    uint64_t seen, seen_run;
    struct transport_peer_statistics statistics;
    struct transport_log_times logged;
};

struct transport_connection {
    struct list node, dirty_node, resume_node;
    struct transport *transport;
    struct transport_peer *peer; /* whose connection this is; NULL: nobody's yet, or not any more */
    struct env_stream *stream;
    struct env_timer timer; /* until up or while lingering: the deadline; then: the next ping */
    enum transport_state state;
    bool dialed;
    bool unknown; /* counts as a connection whose peer is not known */
    bool greeted; /* our magic is in the queue or sent */
    bool blocked; /* waits for `writable` before it writes again */
    bool paused;  /* the caller wants no frames */
    bool refused_room[TRANSPORT_PRIORITIES];
    uint32_t magic_seen;
    uint32_t silent_pings; /* since something was heard */
    uint64_t generation;
    struct transport_hello hello; /* theirs; from AWAIT_READY on, or UP */
    struct transport_queue queue;
    struct buffer in; /* a frame that is not whole yet, and what came behind it */
    size_t in_start;
    struct {
        struct buffer bytes; /* the parts of a large frame that have come */
        uint8_t type;        /* what it will be; 0: none has come */
    } large[TRANSPORT_PRIORITIES];
    char address[TRANSPORT_ADDRESS_BYTES]; /* of the other end, for people */
};

struct transport {
    struct env *env;
    struct transport_options options;
    struct env_listener *listener;
    struct prng prng;
    uint64_t run, attempts, generations;
    uint32_t unknown;
    struct transport_peer *peers[TRANSPORT_PEERS]; /* ascending by node */
    uint32_t peer_count;
    struct list connections;   /* oldest first */
    struct list dirty, resume; /* have something to write; may deliver what they hold */
    struct list closed;
    struct env_timer resume_timer;
    struct transport_statistics statistics;
    struct transport_log_times logged; /* about strangers */
    uint8_t *read_buffer;
};

/* ---- transport_peer.c ---- */
struct transport_peer *transport_find(const struct transport *transport, uint64_t node);
/* The connection that is up, or NULL. */
struct transport_connection *transport_find_up(const struct transport *transport, uint64_t node);
void transport_dial(struct transport_peer *peer);
/* Dials after the backoff, if it is ours to dial. */
void transport_dial_later(struct transport_peer *peer);
void transport_peer_free(struct transport_peer *peer);

/* ---- transport_probe.c ---- */
void transport_probe_init(struct transport_peer *peer);
/* Finds out whether its process has ended; calls `gone` when it has, from the loop. */
void transport_probe_begin(struct transport_peer *peer);
void transport_probe_end(struct transport_peer *peer);

/* ---- transport_connection.c ---- */
/* The stream is the connection's, also when it fails. */
struct transport_connection *transport_connection_create(struct transport *transport, struct env_stream *stream,
                                                         struct transport_peer *peer);
/* It is its peer's no more. */
void transport_connection_detach(struct transport_connection *connection, enum transport_state state);
/* Ends it without a word to anyone. */
void transport_connection_drop(struct transport_connection *connection);
/* Ends it; the peer's connection is dialed again, and `down` is called when it was up. `why` for the log; NULL: it is
 * logged already. */
void transport_connection_lost(struct transport_connection *connection, const char *why);
/* What follows from that for the peer; calls `down`, after which the peer may be gone. */
void transport_peer_lost(struct transport_peer *peer, const struct transport_connection *connection, bool was_up,
                         const char *why);
/* Bytes were appended to the queue. */
void transport_connection_dirty(struct transport_connection *connection);
void transport_connection_flush(struct transport_connection *connection);
/* Writes signals; what the connection waits for stays as it was. */
void transport_connection_beat(struct transport_connection *connection);
/* Goes on with what is here already. */
void transport_connection_resume(struct transport_connection *connection);
/* Counts as unknown, or no longer. */
void transport_connection_unknown(struct transport_connection *connection, bool unknown);

/* ---- transport_handshake.c ---- */
void transport_greet(struct transport_connection *connection);
void transport_accepted(void *owner, struct env_stream *stream);
void transport_accept_failed(void *owner, enum status status);
/* A frame of the transport's own before the connection is up; or any that is not a caller's. */
void transport_handshake_frame(struct transport_connection *connection, const struct frame *frame);

/* ---- transport_refuse.c ---- */
/* Says why, as far as the other side could understand, and lets go of the connection. */
void transport_refuse(struct transport_connection *connection, enum transport_reason reason);
/* The peer said why. */
void transport_refused(struct transport_connection *connection, struct slice payload);
/* Counts and logs a refusal of someone who is not told. */
void transport_note_refusal(struct transport *transport, const struct transport_connection *connection,
                            enum transport_reason reason);
/* The peer could not be reached. */
void transport_note_unreachable(struct transport_peer *peer, const char *why);
