/* Connections between the nodes of a cluster: one for each pair, carrying everything they have to say.
 *
 * The caller names the peers that are allowed (node id → address, incarnation) and changes them while running. The
 * transport keeps a connection to each that can be reached, tells when it comes and goes, and carries typed frames
 * (wire/frame.h) whose content it does not know.
 *
 * Invariants
 * 1. Frames pass only between nodes of one cluster that agree on a protocol version, each of which knows the other's
 *    id and incarnation. Everybody else is refused with a reason, counted, and logged once in a while. So is a process
 *    whose lineage (lineage.h) lacks a start of its node that was seen here: that had a connection that was up, or
 *    transport_set_seen told of it.
 * 2. Of a pair, the node with the smaller id dials, so there are never two connections by design. When the dialer comes
 *    again while the old connection seems alive, the newer attempt of a process wins, whatever order they arrive in;
 *    of a process and its successor, the successor.
 * 3. A connection that is up has a generation, unique and growing within this transport. up, its frames and down come
 *    in this order, and nothing of a generation after its down or after the next up.
 * 4. Frames of one priority arrive in the order in which they were sent, without gaps, until the connection ends; what
 *    was queued or under way then is lost, and nobody knows how much arrived. Signals overtake all others, and urgent
 *    frames overtake bulk frames; a bulk frame is passed over TRANSPORT_PASSED_OVER times at most. A large frame
 * travels in parts, between which others go, so nothing waits for more than a part and for what the kernel has.
 * 5. One write for each peer in each turn (transport_turn); one read for each peer in each turn.
 * 6. Memory is bounded: by the queue limits for each peer and priority, by one large frame being received for each
 * peer, by the limit on connections whose peer is not known yet. Large frames cost nothing until their bytes come.
 *
 *   dialer:    CONNECTING ─▶ AWAIT_HELLO ─hello is good, ready sent─▶ UP
 *   acceptor:                AWAIT_HELLO ─hello is good, ours sent──▶ AWAIT_READY ─ready─▶ UP
 *   either:    anywhere ─refusal sent─▶ LINGERING (discards, until the other closes or for a moment) ─▶ closed
 *
 * Callbacks come from the loop, or from transport_turn (down, room); never from inside another call. They may call
 * everything here but transport_turn and transport_destroy. */
#pragma once

#include "base/buffer.h"
#include "base/id128.h"
#include "cluster/lineage.h"
#include "env/env.h"
#include "wire/frame.h"

struct transport;

enum {
    TRANSPORT_PROTOCOL = 3,    /* the version that this source speaks; 1 knew no parts, 2 told nothing of slow ones */
    TRANSPORT_FIRST_TYPE = 16, /* frame types below are the transport's own */
    TRANSPORT_PEERS = 64,
    TRANSPORT_HOST_BYTES = 256, /* with the NUL */
    TRANSPORT_PASSED_OVER = 8,
    TRANSPORT_PURPOSE_MEMBER = 1,
};

/* Signals: small, and few; what keeps nodes together, for whoever sends it can do with its overtaking the others.
 * Urgent: what consensus and clients wait for. Bulk: what must not hold them up (pieces of snapshots). */
enum transport_priority { TRANSPORT_SIGNAL, TRANSPORT_URGENT, TRANSPORT_BULK, TRANSPORT_PRIORITIES };

/* Why a connection is refused. The numbers travel. */
enum transport_reason {
    TRANSPORT_ACCEPTABLE = 0,
    TRANSPORT_GARBAGE,     /* not our protocol at all */
    TRANSPORT_DAMAGED,     /* our protocol, but a frame that fails its checks or is out of place */
    TRANSPORT_VERSION,     /* no protocol version in common */
    TRANSPORT_PURPOSE,     /* it wants something else of the port */
    TRANSPORT_CLUSTER,     /* of another cluster */
    TRANSPORT_STRANGER,    /* not one of the allowed peers */
    TRANSPORT_RECEIVER,    /* it wanted to reach another node, or another node answered */
    TRANSPORT_DIRECTION,   /* the node with the smaller id dials */
    TRANSPORT_INCARNATION, /* the right id on another data folder: its disk was lost or replaced */
    TRANSPORT_STALE,       /* an attempt older than one that has succeeded */
    TRANSPORT_SLOW,        /* no handshake in time */
    TRANSPORT_CROWDED,     /* too many connections whose peer is not known */
    TRANSPORT_COPY,        /* the right data folder, but not the one that was seen: a copy (lineage.h) */
    TRANSPORT_REASONS,
};
/* A word for metrics ("garbage"); "unknown" for numbers of later versions. Static. */
const char *transport_reason_name(enum transport_reason reason);

struct transport_events {
    /* The connection is up; `incarnation` is the peer's, and is expected of it from now on. */
    void (*up)(void *owner, uint64_t node, uint64_t generation, const struct id128 *incarnation);
    /* It is gone. Not called for connections that the caller ended by changing or removing the peer. */
    void (*down)(void *owner, uint64_t node, uint64_t generation);
    /* The process that was connected last, of this start, has ended: nobody listens at its address any more, or another
     * of the node has come up. Comes some time after its `down`, if it can be found out; may be wrong where a network
     * refuses connections in the peer's name. May be NULL. */
    void (*gone)(void *owner, uint64_t node, uint64_t start);
    /* The payload is valid during the call. */
    void (*frame)(void *owner, uint64_t node, uint64_t generation, uint8_t type, struct slice payload);
    /* A queue that refused a frame is at most half full again. May be NULL. */
    void (*room)(void *owner, uint64_t node, uint64_t generation, enum transport_priority priority);
    /* A large frame is being copied: now and then, so that signals can go ahead (transport_beat). May be NULL. */
    void (*copying)(void *owner);
    /* Somebody was refused by us, or we by a peer. node is 0 when it did not come that far, and need not be a peer.
     * Comes for each refusal, so as often as others try. May be NULL. */
    void (*refused)(void *owner, uint64_t node, enum transport_reason reason, bool by_peer);
};

struct transport_options {
    /* Required */
    uint64_t node;            /* not 0 */
    struct id128 incarnation; /* not zero */
    struct lineage lineage;   /* of this process */
    struct id128 cluster;     /* zero: of no cluster yet, and equal to others of none */
    const char *host;         /* to listen at; loopback only, as long as there is no TLS */
    int port;                 /* 0: a free one */
    const struct transport_events *events;
    void *owner;
    /* With defaults */
    uint8_t purpose;                               /* both sides must have the same */
    uint16_t version_lowest, version_highest;      /* of the protocol */
    size_t frame_bytes;                            /* largest payload, the same on all nodes; < 4 GiB */
    size_t queue_bytes[TRANSPORT_PRIORITIES];      /* for each peer; an empty queue takes any one frame */
    size_t bulk_turn_bytes;                        /* of bulk in one write, if more than one frame */
    uint32_t unknown_connections;                  /* accepted, without a complete handshake */
    uint32_t handshake_ms;                         /* from dialing or accepting until up */
    uint32_t ping_ms;                              /* a ping in this interval, also on busy connections */
    uint32_t dead_ms;                              /* nothing heard for so long: the peer is gone */
    uint32_t backoff_first_ms, backoff_maximum_ms; /* between attempts: doubles, less up to half of it at random */
};
/* Everything zero but what has a default. */
void transport_options_init(struct transport_options *options);

/* ---- life ---- */

/* Listens. Errors are those of env_listen; STATUS_INVALID for options that make no sense. */
MUST_USE enum status transport_create(struct env *env, const struct transport_options *options,
                                      struct transport **ret_transport);
/* Closes everything; no callbacks. */
void transport_destroy(struct transport *transport);
int transport_port(struct transport *transport);

/* To be called once in each turn of the loop, from its hook, after all sends: writes what has gathered. */
void transport_turn(struct transport *transport);
/* In the middle of a turn: writes the signals, as far as there is room, and calls nobody back. What fails meanwhile is
 * found by transport_turn. */
void transport_beat(struct transport *transport);

/* ---- peers ---- */

/* Allows a peer, or changes it: where it is (host is a numeric address) and which incarnation it must have. NULL: what
 * is known already, else that of the first connection, which then is kept until the peer is removed. A connection of
 * another incarnation than the expected one ends. STATUS_INVALID: node 0 or this one, address malformed; STATUS_FULL:
 * TRANSPORT_PEERS are there. */
MUST_USE enum status transport_set_peer(struct transport *transport, uint64_t node, const char *host, int port,
                                        const struct id128 *incarnation);
/* The peer was seen with this start by others; no matter when it is none, or if a later one was seen. Holds for
 * connections to come, until the peer is removed or has another incarnation. */
void transport_set_seen(struct transport *transport, uint64_t node, uint64_t start);
/* It is no longer allowed, and its connection ends. Harmless when it is none. */
void transport_remove_peer(struct transport *transport, uint64_t node);
/* This node belongs to another cluster from now on: all connections end and are made anew. */
void transport_set_cluster(struct transport *transport, const struct id128 *cluster);

/* ---- sending ---- */

/* Appends a frame of type ≥ TRANSPORT_FIRST_TYPE to what goes to the peer with the next transport_turn. The parts are
 * copied. `generation` is that of the connection that it must travel on; 0: any. Sent means no more than queued.
 * STATUS_CLOSED: not connected, or by another generation; STATUS_FULL: the queue is (events.room tells when to try
 * again); STATUS_TOO_LARGE: over frame_bytes. Refused means that nothing of it leaves. */
MUST_USE enum status transport_send(struct transport *transport, uint64_t node, uint64_t generation,
                                    enum transport_priority priority, uint8_t type, const struct slice *parts,
                                    size_t count);
/* Bytes of payload that one frame may have now; 0 when not connected or full. */
size_t transport_room(const struct transport *transport, uint64_t node, enum transport_priority priority);
/* Bytes that wait; 0 when not connected. */
size_t transport_queued(const struct transport *transport, uint64_t node, enum transport_priority priority);

/* ---- receiving ---- */

/* A caller that cannot take more frames of a peer says so; what is on its way stays there, and the peer's queue fills.
 * Wanted at first on every new connection. */
void transport_want_frames(struct transport *transport, uint64_t node, bool wanted);

/* ---- looking ---- */

struct transport_statistics {
    uint64_t bytes_sent, bytes_received, frames_sent, frames_received;
    uint64_t accepted, dialed;
    uint64_t refused[TRANSPORT_REASONS], refused_by_peer[TRANSPORT_REASONS];
    uint64_t full;               /* frames refused for want of room */
    uint32_t connected, unknown; /* connections now */
};
void transport_statistics(const struct transport *transport, struct transport_statistics *ret_statistics);

struct transport_peer_statistics {
    bool up;
    uint64_t generation;      /* of the last connection; 0: never */
    uint16_t version;         /* of the protocol */
    struct id128 incarnation; /* expected; zero: will be learned */
    int64_t rtt_ns;           /* smoothed round trip of pings (RFC 6298's average); 0: none yet */
    int64_t since_ns;         /* of the monotonic clock: when it came up, or went down */
    size_t queued_bytes[TRANSPORT_PRIORITIES];
    uint64_t bytes_sent, bytes_received, frames_sent, frames_received;
    uint64_t connections, dials;                    /* that came up; that were tried by this node */
    enum transport_reason refused, refused_by_peer; /* the last refusal since it was up, in either direction */
};
/* STATUS_NOTFOUND: not a peer. */
MUST_USE enum status transport_peer_statistics(const struct transport *transport, uint64_t node,
                                               struct transport_peer_statistics *ret_statistics);
