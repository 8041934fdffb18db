/* The cluster as one of its nodes sees it: requests in, by shard; replies out, whoever leads that shard.
 *
 *   cluster_submit ─▶ led here: the shard ─▶ log ─▶ apply ─▶ requester
 *                  ├▶ led elsewhere: the batch for that node ─▶ transport ─▶ its shard ─▶ … ─▶ requester
 *                  └▶ led by nobody yet: waits, until somebody leads or the time is up
 *
 * Invariants
 * 1. Of each request that was taken the requester hears exactly once (requester.h).
 * 2. Requests of one requester to one shard take effect in the order of their tags, wherever they are executed and
 *    however often the leader changes.
 * 3. No request is executed twice: what was sent to a leader that was lost is sent again only when a leader of that or
 *    a later term has said, after a confirmed read, that it was not executed (src/machine/origin.h).
 * 4. What waits is bounded in bytes and in time.
 *
 * A node of a cluster of one has one voter in every shard, no meta group and no transport.
 *
 * A node with several workers has one of these in each (workers.h). A shard belongs to worker shard mod N, with its
 * lane and its part of the log; requests for another worker's shard go there and back as messages (errand.c). The first
 * worker has the meta group, the founding and the connections to other nodes, whose frames it passes on (relay.c). */
#pragma once

#include "base/id128.h"
#include "cluster/cluster_reply.h"
#include "cluster/lineage.h"
#include "cluster/members.h"
#include "cluster/placement.h"
#include "cluster/requester.h"
#include "env/env.h"
#include "shard/shard.h"
#include "wire/message.h"

struct cluster;
struct workers;
struct txns;
struct transport_statistics;

struct cluster_options {
    uint64_t node;            /* this one's id */
    struct id128 incarnation; /* of its data folder */
    struct lineage lineage;   /* its start is larger at each start of the node: what it forwards carries it */
    const char *directory;    /* the data folder */
    const char *worker_directory;
    /* The nodes of the cluster's beginning, this one among them: ids and addresses are taken. The same at all. */
    const struct member *founders;
    size_t founder_count;
    uint32_t shards, replicas;
    const char *peer_host; /* to listen for other nodes */
    int peer_port;
    uint64_t log_segment_bytes, snapshot_log_bytes;
    uint32_t turn_steps;                   /* as store_options.turn_steps */
    bool lease_reads;                      /* strong reads trust the clocks' rates instead of asking a majority */
    const struct machine_scripts *scripts; /* as machine_options.scripts; borrowed */
    struct workers *workers;               /* this worker's; NULL: the node has one */
};

/* Whence a message comes decides who is to hear of it from here. */
enum cluster_source {
    CLUSTER_FROM_SHARD,     /* led here: everybody */
    CLUSTER_FROM_NODE,      /* the other workers */
    CLUSTER_FROM_COLLEAGUE, /* nobody else */
};

struct lock_notice;

struct cluster_events {
    /* The node must stop: its log failed, or it is not a node of this cluster (any more). Called once; `what` is a line
     * for a person. */
    void (*failed)(void *owner, enum status status, const char *what);
    /* The members have this start of the node (lineage_join); once, and not in a cluster of one. May be NULL. */
    void (*joined)(void *owner);
    /* A request of another worker was executed here: counts its time. True: it was slow, and who asked is to be told,
     * if it wants to be (requester.h). May be NULL. */
    bool (*visited)(void *owner, const struct command *command, int64_t *ret_duration_ns);
    /* At the first worker: a node can be reached, or no longer. May be NULL. */
    void (*met)(void *owner, uint64_t node, bool up);
    /* At the first worker: what its server on another node said (cluster_note). CORRUPT: it makes no sense. May be
     * NULL. */
    enum status (*noted)(void *owner, uint64_t node, struct slice note);
    /* For subscribers; valid during the call. May be NULL. */
    void (*message)(void *owner, const struct message *message, enum cluster_source source);
    /* For a client of this worker that asked for a lock in this start of the node (lock_news.c); valid during the call.
     * May be NULL. */
    void (*lock_news)(void *owner, const struct lock_notice *notice);
    /* Requests are about to be executed: what they take is counted from now on. May be NULL. */
    void (*works)(void *owner);
    /* A request of this node was executed here: counts its time, and keeps it if it was slow. Returns the time. May be
     * NULL. */
    int64_t (*served)(void *owner, uint64_t node, const struct command *command);
    /* Of what takes at least so long at another node, who asked is to be told, if it wants to be (requester.h). May be
     * NULL: of nothing. */
    uint32_t (*slow_us)(void *owner);
};

enum { CLUSTER_MESSAGE_BYTES = 1024 };

/* Recovers, and takes part in the cluster. A cluster of one is ready when this returns; with several workers the log is
 * open then, and nothing else happens before cluster_begin. On failure ret_message is a
 * line for a person. */
MUST_USE enum status cluster_create(struct env *env, const struct cluster_options *options,
                                    const struct cluster_events *events, void *owner, struct cluster **ret_cluster,
                                    char ret_message[static CLUSTER_MESSAGE_BYTES]);
/* At the first of several workers: all have opened their logs, and all may take part. */
void cluster_begin(struct cluster *cluster);
/* Closes everything at once; requesters hear nothing any more. Takes NULL. */
void cluster_destroy(struct cluster *cluster);

/* Once per turn. True when there is more to do without waiting for an event. */
bool cluster_turn(struct cluster *cluster);
/* Ten times a second: what has waited for a leader since before `before_ns` (of the monotonic clock) fails with
 * NO_LEADER; so do reads whose leader is lost. */
void cluster_look_after(struct cluster *cluster, int64_t before_ns);
/* The node is going to stop: hands over what it leads, so that the others need no election. */
void cluster_retire(struct cluster *cluster);
/* Nothing waits, here or for an answer of this node; after cluster_retire: nor leads it anything that another could
 * (for a second at most), and all that has held for a moment. */
bool cluster_idle(struct cluster *cluster);
/* After cluster_retire: for a second no shard has had a majority of its voters connected here, so that what waits is
 * not going to be answered: when all nodes stop at once, the others were faster. */
bool cluster_forsaken(struct cluster *cluster);

/* ---- requests; shard: 1 … cluster_shards ---- */

uint32_t cluster_shards(const struct cluster *cluster);
/* To run a script with, beside the shards: so that others hear of this node meanwhile. NULL: there is no engine. */
const struct machine_scripts *cluster_scripts(const struct cluster *cluster);

enum cluster_way {
    CLUSTER_PLAIN,  /* a write through the log; a read, strong, at its place among the requester's writes */
    CLUSTER_LOGGED, /* a read that takes the log's way: a read-only EXEC behind a write, or one that met a due key */
    CLUSTER_READ,   /* a read as PLAIN, of a requester with nothing pending: as cluster_read if the owner can */
    CLUSTER_WEAK,   /* the same, from the node's state however old, if it has some */
    CLUSTER_WITHIN, /* between workers: cluster_submit_within */
};

/* How old what a read shows may be (level_reads.h). */
struct cluster_bound {
    uint64_t index; /* it shows all entries of the shard's log up to this one */
    int64_t age_ms; /* and all that was acknowledged so long before it is read, or before it arrived; CLUSTER_ANY_AGE */
};
#define CLUSTER_ANY_AGE INT64_MAX

/* Takes a command (its arguments are copied). FULL, TOO_LARGE, CLOSED: it was definitely not executed. */
MUST_USE enum status cluster_submit(struct cluster *cluster, uint32_t shard, const struct command *command,
                                    enum cluster_way way, struct requester *requester, uint64_t tag);
/* Answers a read now, from this node's state, if that is a strong read: this node leads alone, or by lease. False, and
 * nothing written: submit it (`*ret_way` says how). The requester has nothing pending. */
bool cluster_read(struct cluster *cluster, uint32_t shard, const struct command *command, struct resp_writer *reply,
                  enum cluster_way *ret_way);
/* Answers a read from this node's state, however old. False: this node has none of that shard. */
bool cluster_read_here(struct cluster *cluster, uint32_t shard, const struct command *command,
                       struct resp_writer *reply);

/* Answers a read now, from this node's replica of the shard, when that is known to be within the bound, and nothing of
 * this requester waits there already. False: submit it. No command that may run scripts. */
bool cluster_read_within(struct cluster *cluster, uint32_t shard, const struct command *command,
                         const struct cluster_bound *bound, uint64_t requester_id, struct resp_writer *reply);
/* As cluster_submit: it is read here as soon as the replica is known to be within the bound; when that takes long, or
 * there is no replica here, the leader is asked. So are reads of keys that a transaction holds. Those of one requester
 * never see less than earlier ones. It fails with STALE when it could not be answered in time, with INVALID when a
 * majority has no such index: it is none of this cluster, or not any more. */
MUST_USE enum status cluster_submit_within(struct cluster *cluster, uint32_t shard, const struct command *command,
                                           const struct cluster_bound *bound, struct requester *requester,
                                           uint64_t tag);

/* The scripts of the request whose end is being told took long (SHARD_LONG_STEPS). */
bool cluster_took_long(const struct cluster *cluster);
/* While the end of a request is told, and behind a read that was answered at once: the entry of its shard's log that
 * holds it; of a read, the last one of which it may have seen anything. */
uint64_t cluster_told_index(const struct cluster *cluster);
/* The last entry of a shard that is applied here, which is what cluster_read_here shows; 0: this worker has none. */
uint64_t cluster_applied_here(const struct cluster *cluster, uint32_t shard);

/* ---- servers among each other, at the first worker ---- */

/* Tells the server of another node; in order, and lost with the connection. CLOSED: it cannot be reached; FULL. */
MUST_USE enum status cluster_note(struct cluster *cluster, uint64_t node, const struct slice *parts, size_t count);
/* The nodes that can be reached now. */
size_t cluster_connected(const struct cluster *cluster, uint64_t ret_nodes[static PLACEMENT_MAXIMUM_NODES]);
/* The node that takes requests for a shard, as far as this worker knows; 0: nobody. */
uint64_t cluster_leader(const struct cluster *cluster, uint32_t shard);
/* The same; but where this worker has the shard nobody, as soon as its leader has not been heard for long. */
uint64_t cluster_heard_leader(const struct cluster *cluster, uint32_t shard);

/* ---- messages (messages.c): at most once, in the order of those who send, never in the way of consensus ---- */

enum { CLUSTER_MESSAGE_LARGEST = 32 << 20 }; /* subject and body */

/* To all other nodes that are connected; an event, to those that listen to its class. What does not find room is
 * dropped and counted. */
void cluster_tell_nodes(struct cluster *cluster, const struct message *message);
/* To the other workers of this node. */
void cluster_tell_colleagues(struct cluster *cluster, const struct message *message);
/* Clients of this node want to hear of these classes of events; at the first worker. */
void cluster_listen(struct cluster *cluster, uint32_t classes);

struct cluster_message_counters {
    uint64_t sent, received; /* between nodes, by this worker */
    uint64_t dropped;        /* for want of room */
};
void cluster_message_counters(const struct cluster *cluster, struct cluster_message_counters *ret_counters);

/* ---- looking ---- */

/* The worker that has a shard; looking at others' shards shows only who leads. */
uint32_t cluster_owner(const struct cluster *cluster, uint32_t shard);
/* What this node knows; borrowed until the next turn. False before the cluster is founded. */
bool cluster_look(struct cluster *cluster, struct cluster_view *ret_view);

struct cluster_replica {
    bool here;    /* this node votes in the shard; else only the leader is known, and the term if this worker has it */
    bool leading; /* and takes requests */
    uint64_t leader, term;    /* leader 0: not known, as of the meta group at other workers than the first */
    struct shard_stats stats; /* when here */
};
/* shard 0: the meta group. */
void cluster_replica(const struct cluster *cluster, uint32_t shard, struct cluster_replica *ret_replica);
/* This worker leads it, and takes requests. */
bool cluster_leads(const struct cluster *cluster, uint32_t shard);
/* All shards of this worker together: sums, and the newest snapshot. */
void cluster_stats(const struct cluster *cluster, struct shard_stats *ret_stats);
/* Adds those of another worker. */
void cluster_stats_add(struct shard_stats *sum, const struct shard_stats *one);
/* Of this node's replicas of all shards; see shard_digest. */
uint64_t cluster_digest(const struct cluster *cluster);
/* Of one shard, or of the meta group (0); 0 when this node has none of it. */
uint64_t cluster_shard_digest(const struct cluster *cluster, uint32_t shard);
/* Of one shard, and its time; NULL when nothing is open, or this node has none of it. Borrowed. */
const struct txns *cluster_txns(const struct cluster *cluster, uint32_t shard, int64_t *ret_time_ms);
/* Of one shard, as it is applied here; NULL when this node has none of it. Borrowed. */
const struct locks *cluster_locks(const struct cluster *cluster, uint32_t shard);
const struct services *cluster_services(const struct cluster *cluster, uint32_t shard);
const struct meets *cluster_meets(const struct cluster *cluster, uint32_t shard);
/* Keys in a hash slot, as far as this node has them. */
uint64_t cluster_count_in_slot(const struct cluster *cluster, uint16_t slot);
/* Begins a snapshot of every shard here. BUSY: one is being made. */
MUST_USE enum status cluster_snapshot(struct cluster *cluster);
/* How many voters other than the leader are sure to have what was acknowledged. */
uint32_t cluster_acknowledging(const struct cluster *cluster, uint32_t shard);

/* Since the process started. */
struct cluster_counters {
    uint64_t forwarded_parcels, forwarded_requests; /* sent to other nodes */
    uint64_t received_parcels;                      /* from other nodes */
    uint64_t returned;                              /* requests that a shard here had taken, and gave back */
    uint64_t leaderless;                            /* requests that failed with NO_LEADER */
    uint64_t doubted_parcels, questions;            /* whose leader was lost, and what was asked about them */
    uint64_t transfers;                             /* of leadership, to who should have it */
    uint64_t doubts_executed, doubts_absent;        /* the answers */
    uint64_t errands;                               /* requests to shards of other workers */
    uint64_t lock_news, lock_news_dropped;          /* for who asked for locks: told, and for want of room not */
    uint64_t session_ends;                          /* told to shards */
    uint64_t reaped;                                /* times that a node's waits were ended since it was gone */
    uint64_t txn_early;                             /* transactions asked about, or aborted, since their node is lost */
};
void cluster_counters(const struct cluster *cluster, struct cluster_counters *ret_counters);
/* All zero in a cluster of one. */
void cluster_transport_statistics(const struct cluster *cluster, struct transport_statistics *ret_statistics);
