/* The inside of struct cluster; for the files of the façade only: cluster*.c, lane*.c, remote.c,
 * peers*.c, errand.c, relay.c. */
#pragma once

#include "cluster/cluster.h"
#include "cluster/forward_frame.h"
#include "cluster/founding.h"
#include "cluster/leader_balance.h"
#include "cluster/leaderless.h"
#include "cluster/meta.h"
#include "cluster/parcel.h"
#include "cluster/txn_finisher.h"
#include "cluster/workers.h"

enum {
    CLUSTER_LARGE_BYTES = 1 << 20,    /* what is copied in one piece, and takes a while */
    CLUSTER_COMMAND_BYTES = 32 << 20, /* of one command in a shard of several voters: on its way it is in memory
                                       * several times, and what else is urgent between two nodes waits for it */
    LANE_PENDING_BYTES = 128 << 20,   /* of requests that wait or are under way, in one lane, … */
    NODE_PENDING_BYTES = 256 << 20,   /* … and in all of them: a shard that nobody leads leaves room for the others */
    LANE_PARCELS = 64,                /* under way at a time, … */
    LANE_SENT_BYTES = 512 << 10,      /* … and none is added to so much: heartbeats take the same way, and what the
                                       * leader cannot do yet waits here, where it counts as late */
    LANE_ROOM_BYTES = 640 << 10,      /* in a shard, for requests of each node: what one has under way, about */
    CLUSTER_LATE_BYTES = 4 << 20,     /* while less waits in all lanes, nothing is late */
    PEER_QUEUED_BYTES = 16 << 20,     /* to a peer, before parcels and answers wait: consensus must find room */
    REMOTE_OWED_BYTES = 64 << 20,     /* of answers that a peer has not taken: then it gets no more replies */
    ERRAND_ASKED_BYTES = 64 << 20,    /* of requests that another worker has not answered */
    ERRAND_OWED_BYTES = 64 << 20,     /* of answers that another worker has not taken, as REMOTE_OWED_BYTES */
    RELAY_BYTES = 8 << 20,            /* of frames of a worker to a peer, on their way through the first one, … */
    RELAY_RAFT_BYTES = 32 << 20,      /* … with those of consensus */
    RELAY_UNREAD_BYTES = 64 << 20,    /* of frames from peers that a worker has not taken: then no more are read */
    RELAY_TELL_BYTES = 64 << 10,      /* of both, told of at a time */
    MESSAGES_WAITING_BYTES = 32 << 20, /* of messages to a peer, or to another worker: more are dropped */
    MESSAGES_FRAME_BYTES = 256 << 10,  /* of them in one frame, unless one is larger, … */
    MESSAGES_QUEUED_BYTES = 1 << 20,   /* … and on the way to a peer: snapshots find room beside them */
    LOCK_NEWS_WAITING_BYTES = 4 << 20, /* of notices to a peer: more are dropped, and asked for */
};

/* What workers of a node tell each other (workers.h). */
enum cluster_tell {
    CLUSTER_TELL_REQUEST, /* errand.c */
    CLUSTER_TELL_ANSWER,
    CLUSTER_TELL_SLOW,
    CLUSTER_TELL_TAKEN,
    CLUSTER_TELL_FRAME, /* relay.c: to or from a peer */
    CLUSTER_TELL_SENT,
    CLUSTER_TELL_READ,
    CLUSTER_TELL_LOSSY,
    CLUSTER_TELL_UP,
    CLUSTER_TELL_DOWN,
    CLUSTER_TELL_GONE,
    CLUSTER_TELL_OPEN, /* cluster_workers.c: the members; the groups may be opened */
    CLUSTER_TELL_MEMBERS,
    CLUSTER_TELL_LEADER,
    CLUSTER_TELL_LOST,        /* to the first: whether a shard has no leader (leaderless.h) */
    CLUSTER_TELL_MESSAGE,     /* messages.c: for clients of that worker */
    CLUSTER_TELL_MESSAGE_OUT, /* to the first: for other nodes */
    CLUSTER_TELL_MESSAGES_TAKEN,
    CLUSTER_TELL_LISTEN,    /* from the first: to which classes of events anybody listens */
    CLUSTER_TELL_LOCK_NEWS, /* lock_news.c: for clients of that worker */
};

/* Another worker of this node. */
struct colleague {
    uint64_t asked;      /* requests that it has not answered, … */
    size_t asked_bytes;  /* … and their bytes */
    size_t owed_bytes;   /* of answers that it has not taken */
    size_t taken_bytes;  /* of its answers, that it was not told of */
    size_t unread_bytes; /* of frames for it, that it has not taken */
    size_t told_bytes;   /* of messages for it, or by way of it, that it has not taken */
    size_t heard_bytes;  /* of its messages, that it was not told of */
};

/* The way to one shard.
 *
 *   straight to the shard here ◀── nothing waits, we lead, there is room
 *   waiting ──sent to the leader──▶ sent ──answered──▶ gone
 *      ▲                             └──the leader is lost──▶ doubtful ──not executed──┐
 *      └───────────────────────────────────────────────────────────────────────────────┘ */
struct lane {
    struct list node; /* in cluster.busy, while anything waits or is under way */
    struct cluster *cluster;
    uint32_t shard;       /* 0: the meta group */
    bool away;            /* another worker has it: nothing below is used */
    struct shard *local;  /* NULL: this node does not vote in it */
    const uint64_t *told; /* shard_told_index of it */
    uint64_t leader;      /* takes requests in this term; 0: not known */
    uint64_t term;        /* the highest in which somebody was said to lead */

    struct list waiting;    /* struct parcel */
    struct list sent;       /* in order of sequence */
    struct list doubtful;   /* in order of sequence; their leader is lost */
    bool held_up;           /* in the last turn, by what the shard here has not settled, or has no room for */
    bool disordered;        /* requests came back: what waits must be put in order */
    struct buffer executed; /* since the last time: what was executed though its answer is lost (lane_order.c) */
    size_t pending_bytes;
    uint64_t next_sequence, next_parcel;
    uint32_t sent_count;
    size_t sent_bytes; /* of their commands */

    /* the question what became of the doubtful ones */
    struct requester asker;
    uint64_t asked;       /* it is about so many of them, the first; 0: no question is under way */
    uint64_t question;    /* its tag */
    struct buffer answer; /* being written */
    struct resp_writer answer_writer;

    struct level_reads *level_reads; /* level_reads.h; NULL: nobody has asked for any */
    struct ends **ends;              /* of sessions that lived in it, by shard − 1 (session_ends.c); NULL: none yet */
    int64_t ends_next_ns;            /* they are not looked at before */
    bool reaping;                    /* waits for locks are being ended (lock_news.c) */
};

/* Another node. */
enum { RAFT_HEAD_BYTES = 8 }; /* before each message of a NODE_RAFT frame: group, size */

struct peer {
    uint64_t node;
    uint64_t generation; /* of its connection; 0: down */
    struct buffer raft;  /* messages for the next frame */
    struct buffer beats; /* that leave in the middle of a turn */
    bool lossy;          /* some did not find room */
    bool untold;         /* what this node leads did not */
    uint64_t parcels;    /* of its, by this connection, that are being executed or answered here (remote.c), … */
    size_t owed_bytes;   /* … and their answers that it has not taken */

    struct buffer lock_news; /* notices for the next frame */
    int64_t down_ns;         /* since when it is not connected, as was seen; 0: it is */
    uint64_t ended;          /* its process of this start has ended, and all before; 0: that is not known of any */

    size_t relaying_bytes; /* by way of the first worker, and not known to have left it */
    /* at the first worker */
    struct list relayed;    /* frames of others, which wait for room (relay.c) */
    size_t *relayed_bytes;  /* of each other worker's, that it was not told to have left */
    uint32_t listens;       /* to classes of events */
    bool unlistened;        /* it was not told to which this node listens */
    struct buffer messages; /* that wait for their frame, … */
    size_t messages_start;  /* … from here on */
};

struct cluster {
    struct env *env;
    struct cluster_options options;
    struct cluster_events events;
    void *owner;
    char *directory, *worker_directory;
    struct store *store;
    struct members *members;
    uint32_t shard_count;
    struct lane *lanes;   /* shard_count + 1 */
    struct list busy;     /* struct lane */
    size_t pending_bytes; /* of all lanes */
    uint64_t leaders[SLOT_MAXIMUM_SHARDS];
    bool up[PLACEMENT_MAXIMUM_NODES]; /* by place in members */
    struct command_arguments arguments;
    bool took_long;                         /* the scripts whose reply ends now; command_may_script */
    uint64_t told_index;                    /* of the reply that ends now */
    int64_t refused_ns;                     /* when a write was refused for want of space, the last time; 0: never */
    int64_t told_refused_ns, told_frame_ns; /* when the log was told of the last such thing; 0: never */
    bool failed;
    struct workers *workers; /* NULL: there is one */
    uint32_t worker, worker_count;
    struct colleague *colleagues; /* by worker */
    struct list visitors;         /* requests of other workers (errand.c) */
    struct buffer scratch;
    size_t read_bytes;    /* of frames from the first worker, that it was not told of */
    bool frames_unwanted; /* at the first worker: another one has much to take */
    bool begun;           /* all workers' logs are open: the groups may be */
    int64_t retired_ns;   /* when the node was told to stop; 0: it was not */
    int64_t calm_ns;      /* since when nothing waits; 0: something does */
    int64_t forsaken_ns;  /* since when no shard has a majority, as far as this node sees; 0: some has */

    struct founding *founding;
    enum founding_state expected;   /* the state for which the peers' incarnations were told to the transport */
    bool opened;                    /* the groups are */
    struct meta *meta;              /* NULL in a cluster of one, and until it is founded */
    uint64_t meta_applied;          /* of group 0, when meta was last told */
    struct leader_balance *balance; /* as meta */
    struct leaderless leaderless;
    int64_t balanced_ns;         /* when it last looked */
    struct transport *transport; /* NULL in a cluster of one, and at all workers but the first */
    struct peer peers[PLACEMENT_MAXIMUM_NODES];
    size_t peer_count;
    bool joined;                /* the owner was told */
    struct finisher *finisher;  /* of transactions whose shards are led here */
    size_t level_reads_waiting; /* in all lanes */
    struct list remotes;        /* struct remote: parcels of other nodes being executed here */
    struct requester reaper;    /* ends waits for locks whose node is gone */
    struct list settlings;      /* parts of LOCK.MACQUIREs that are being ended (lock_settle.c) */
    size_t settling_count;
    struct cluster_counters counters;
    uint32_t own_classes;    /* of events that clients here may hear, … */
    uint32_t others_classes; /* … that those of other nodes may, … */
    uint32_t event_classes;  /* … and all of them: what shards tell */
    struct cluster_message_counters message_counters;
};

/* The node must stop. */
void cluster_fail(struct cluster *cluster, enum status status, const char *what);
/* A cluster of one node. */
static inline bool cluster_alone(const struct cluster *cluster) { return cluster->options.founder_count == 1; }
static inline uint32_t cluster_worker_of(const struct cluster *cluster, uint32_t shard)
{
    return shard % cluster->worker_count;
}

/* ---- cluster_lead.c ---- */
/* Hands over what others should lead, now and then. */
void cluster_balance_leaders(struct cluster *cluster);
/* Other members are known: whoever should lead a shard now gets it soon. */
void cluster_take_members(struct cluster *cluster, const struct members *members);

/* ---- cluster_found.c ---- */
MUST_USE enum status cluster_make_members(struct cluster *cluster, char ret_message[static CLUSTER_MESSAGE_BYTES]);
MUST_USE enum status cluster_open_founding(struct cluster *cluster, char ret_message[static CLUSTER_MESSAGE_BYTES]);
/* Takes part: the meta group, and the shards of this worker in which this node votes. */
MUST_USE enum status cluster_open_groups(struct cluster *cluster, char ret_message[static CLUSTER_MESSAGE_BYTES]);
/* What was founded since the last turn. */
void cluster_found(struct cluster *cluster);
void cluster_turn_meta(struct cluster *cluster);
/* what the peers tell */
void cluster_peer_up(struct cluster *cluster, uint64_t node, const struct id128 *incarnation);
void cluster_peer_down(struct cluster *cluster, uint64_t node);
void cluster_peer_refused(struct cluster *cluster, uint64_t node, enum transport_reason reason, bool by_peer);
MUST_USE enum status cluster_founding_frame(struct cluster *cluster, uint64_t node, struct slice payload);

/* ---- cluster_workers.c ---- */
void cluster_listen_to_workers(struct cluster *cluster);
/* At the first worker: the others take part, or have other members. */
void cluster_tell_members(struct cluster *cluster, enum cluster_tell what);
/* To the first worker: a shard here has no leader, or has one again. */
void cluster_tell_lost(struct cluster *cluster, uint32_t shard, bool lost);
/* A node takes requests for a shard (0: nobody), as far as this worker knows. */
void cluster_set_leader(struct cluster *cluster, uint32_t shard, uint64_t node);

/* ---- errand.c ---- */
/* cluster_submit, for a shard of another worker. */
MUST_USE enum status errand_submit(const struct lane *lane, const struct command *command, enum cluster_way way,
                                   const struct cluster_bound *bound, struct requester *requester, uint64_t tag);
void errand_arrived(struct cluster *cluster, uint32_t from, struct slice body);
void errand_answered(struct cluster *cluster, uint32_t from, struct slice body);
void errand_was_slow(struct cluster *cluster, struct slice body);
void errand_taken(struct cluster *cluster, uint32_t from, struct slice body);
void errands_turn(struct cluster *cluster);
bool errands_idle(const struct cluster *cluster);
void errands_destroy(struct cluster *cluster);

/* ---- relay.c ---- */
/* As transport_send, at a worker that is not the first. */
MUST_USE enum status relay_send(struct cluster *cluster, struct peer *peer, uint64_t generation,
                                enum transport_priority priority, uint8_t type, const struct slice *parts,
                                size_t count);
/* Signals, ahead of what this turn has for the first worker; lost when there is no room. */
void relay_send_signals(struct cluster *cluster, const struct peer *peer, struct slice messages);
/* At the first worker: a frame, or a part of one, for another. */
void relay_deliver(struct cluster *cluster, uint32_t worker, const struct peer *peer, uint8_t type,
                   struct slice payload);
void relay_tell_all(struct cluster *cluster, enum cluster_tell what, const struct peer *peer, uint64_t generation);
/* Sends what found no room. */
void relay_turn(struct cluster *cluster, struct peer *peer);
/* Its connection is lost. */
void relay_forget(struct cluster *cluster, struct peer *peer);
void relay_frame(struct cluster *cluster, uint32_t from, struct slice body);
void relay_fact(struct cluster *cluster, uint32_t from, enum cluster_tell what, struct slice body);

/* ---- lane.c ---- */
extern const struct shard_sink lane_sink; /* its owner is the lane */
static inline struct lane *lane_of(const struct cluster *cluster, uint32_t shard) { return &cluster->lanes[shard]; }
/* The cluster's workers are known. */
void lane_init(struct lane *lane, struct cluster *cluster, uint32_t shard);
void lane_deinit(struct lane *lane);
/* Brings on its way what can be. */
void lane_turn(struct lane *lane);
/* The node takes requests for the shard in this term. */
void lane_led_by(struct lane *lane, uint64_t node, uint64_t term);
/* Requests that waited since before then fail. */
void lane_look_after(struct lane *lane, int64_t before_ns);
bool lane_idle(const struct lane *lane);
/* It had to wait for the shard here, and need not any more. */
bool lane_released(const struct lane *lane);
/* This node leads in the newest term that it knows, and takes requests. */
bool lane_leads(const struct lane *lane);
/* The requests of a parcel that are not settled wait again; the parcel is gone. */
void lane_take_back(struct lane *lane, struct parcel *parcel);
void lane_forget_parcel(struct lane *lane, struct parcel *parcel);
void lane_mark_busy(struct lane *lane);
/* The parcel counts in what is pending; or it does not any more, and may change. */
void lane_weigh(struct lane *lane, const struct parcel *parcel);
void lane_unweigh(struct lane *lane, const struct parcel *parcel);
/* The request waits (again), behind the others. */
void lane_move(struct lane *lane, struct parcel *from, uint32_t place);

/* ---- lane_order.c ---- */
/* Closes the gaps that settled requests have left in a waiting parcel; one without requests is gone. */
void lane_close_gaps(struct lane *lane, struct parcel *parcel);
void lane_put_in_order(struct lane *lane);
/* What its requester asked for before, and was not executed, is not sent any more. */
void lane_note_executed(struct lane *lane, const struct parcel_request *request);

/* ---- lane_send.c ---- */
void lane_send(struct lane *lane);
MUST_USE enum status lane_send_parcel(struct lane *lane, struct parcel *parcel);
MUST_USE enum status lane_receive_answers(struct cluster *cluster, const struct peer *peer, struct slice payload);

/* ---- lane_doubt.c ---- */
void lane_doubt_init(struct lane *lane);
/* What was sent is in doubt: in other terms than the newest; by this connection. */
void lane_doubt_other_terms(struct lane *lane);
void lane_doubt_connection(struct lane *lane, uint64_t node, uint64_t generation);
/* Asks what became of the doubtful parcels, if somebody can be asked. */
void lane_ask(struct lane *lane);

/* ---- remote.c ---- */
/* generation 0: nobody waits for the answers. */
MUST_USE enum status remote_receive(struct cluster *cluster, struct peer *peer, uint64_t generation,
                                    struct slice payload);
/* Sends what is answered. */
void remotes_turn(struct cluster *cluster);
/* Nobody waits at the other end any more. */
void remotes_lost(struct cluster *cluster, const struct peer *peer, uint64_t generation);
void remotes_destroy(struct cluster *cluster);

/* ---- messages.c ---- */
/* From a shard led here. */
void messages_told(struct cluster *cluster, struct slice messages);
void messages_arrived(struct cluster *cluster, uint32_t from, enum cluster_tell what, struct slice body);
MUST_USE enum status messages_receive(struct cluster *cluster, struct slice payload);
MUST_USE enum status messages_listens(struct cluster *cluster, struct peer *peer, struct slice payload);
/* A connection is new, or lost. */
void messages_up(const struct cluster *cluster, struct peer *peer);
void messages_down(struct cluster *cluster, struct peer *peer);
/* Sends what has gathered, as far as there is room. */
void messages_turn(struct cluster *cluster);

/* ---- session_ends.c ---- */
/* Each turn: tells the ends of sessions, if the shard is led here. */
void session_ends_turn(struct cluster *cluster, uint32_t shard);
void session_ends_free(struct lane *lane);

/* ---- lock_news.c ---- */
void lock_news_init(struct cluster *cluster);
/* Of a shard led here. */
void lock_news_told(struct cluster *cluster, struct slice notices);
void lock_news_arrived(struct cluster *cluster, struct slice notices);
MUST_USE enum status lock_news_receive(struct cluster *cluster, struct slice notices);
/* Sends what has gathered, as far as there is room. */
void lock_news_turn(struct cluster *cluster, struct peer *peer);
/* Ten times a second: waits of nodes that are gone, or have started anew, end. */
void lock_news_look_after(struct cluster *cluster);
/* What the node's clients asked for in a start before this one is nobody's. */
uint64_t lock_news_first_start(struct cluster *cluster, uint64_t node, int64_t now_ns);

/* ---- lock_settle.c ---- */
void lock_settle_init(struct cluster *cluster);
void lock_settle_destroy(struct cluster *cluster);
/* Ten times a second: parts of LOCK.MACQUIREs that nobody ends, in a shard that may be led here; … */
void lock_settle_shard(struct cluster *cluster, uint32_t shard, int64_t now_ns);
/* … and what failed of that. */
void lock_settle_look_after(struct cluster *cluster, int64_t now_ns);

/* ---- peers_open.c ---- */
void peers_name(struct cluster *cluster, const struct member *nodes, size_t count);
MUST_USE enum status peers_open(struct cluster *cluster, const struct id128 *cluster_id,
                                char ret_message[static CLUSTER_MESSAGE_BYTES]);
void peers_close(struct cluster *cluster);

/* ---- peers.c ---- */
void peers_up(struct cluster *cluster, struct peer *peer, uint64_t generation);
void peers_down(struct cluster *cluster, struct peer *peer, uint64_t generation);
/* Its process has ended (transport.h). */
void peers_gone(struct cluster *cluster, struct peer *peer, uint64_t start);
/* Whether this process of a node is lost: it has ended, or this node is not connected to it and does not come to be
 * for some attempts. Who does not know, or never will, says no. */
bool peers_lost(struct cluster *cluster, const struct txn_runner *runner);
/* A frame; what is of other workers goes to them. */
void peers_take(struct cluster *cluster, struct peer *peer, uint8_t type, struct slice payload);
/* NULL: not a peer. */
struct peer *peer_find(struct cluster *cluster, uint64_t node);
/* As transport_send, urgent and by the connection of this generation, for what can wait: FULL when consensus could find
 * no room behind it. */
MUST_USE enum status peers_send_request(struct cluster *cluster, struct peer *peer, uint64_t generation,
                                        enum node_frame type, const struct slice parts[static 2]);
void peers_send_raft(struct cluster *cluster, uint32_t group, uint64_t to, struct slice head, struct slice tail);
/* What is being dealt with is so large that it takes its time: others hear of this node before and behind it. */
static inline void cluster_beat_beside(const struct cluster *cluster, size_t bytes)
{
    if (__builtin_expect(bytes >= CLUSTER_LARGE_BYTES, 0)) {
        store_beat(cluster->store);
    }
}
/* From the middle of a turn: beats (shard_sink) gather, … */
void peers_add_beat(struct cluster *cluster, uint32_t group, uint64_t to, struct slice message);
/* … and leave, before all that was sent in this turn. */
void peers_beat(struct cluster *cluster);
/* At the first worker, of whichever: messages as they stand in a NODE_RAFT frame. */
MUST_USE enum status peers_send_messages(struct cluster *cluster, const struct peer *peer, uint64_t generation,
                                         struct slice messages);
/* Sends what has gathered. */
void peers_turn(struct cluster *cluster);
/* This node takes requests for the shard from now on. */
void peers_announce(struct cluster *cluster, const struct lane *lane);
