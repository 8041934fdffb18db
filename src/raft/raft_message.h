/* What the members of a group tell one another, and the entries they agree on.
 *
 * `term` is always the sender's own current term (a pre-vote asks for `next_term` in its body), so that one rule serves
 * all types: a higher term is adopted, a lower one is answered with ours (dissertation, section 3.3). The exceptions
 * stand in raft_step. Which group a message belongs to is the frame's business.
 */
#pragma once

#include "base/slice.h"

enum {
    RAFT_ENTRY_NOOP = 0,          /* begins a leader's term; no payload */
    RAFT_ENTRY_CONFIGURATION = 1, /* payload: raft_configuration_encode */
    RAFT_ENTRY_HOST = 2,          /* this kind and all above mean what the host says */
};

struct raft_entry {
    uint64_t index; /* from 1 */
    uint64_t term;
    uint8_t kind;
    uint8_t version;      /* of the rules by which it is applied: old and new binaries apply alike */
    struct slice payload; /* borrowed */
};

enum raft_message_type {
    RAFT_PRE_VOTE = 1,
    RAFT_PRE_VOTE_REPLY,
    RAFT_VOTE,
    RAFT_VOTE_REPLY,
    RAFT_APPEND,
    RAFT_APPEND_REPLY,
    RAFT_HEARTBEAT,
    RAFT_HEARTBEAT_REPLY, /* also tells the sender of a stale message the current term */
    RAFT_SNAPSHOT,
    RAFT_SNAPSHOT_REPLY,
    RAFT_TIMEOUT_NOW, /* start an election at once: leadership is being handed over */
};

enum {
    RAFT_MAXIMUM_APPEND_ENTRIES = 1024,
};

/* Cluster time of the leader: opaque here, carried in heartbeats and handed to the host. */
struct raft_time {
    int64_t time_ms;
    int64_t wall_ms;
};

/* Which snapshot; `id` tells apart files of one index made by different nodes, so that a transfer is only resumed with
 * the same bytes. */
struct raft_snapshot_ident {
    uint64_t index;
    uint64_t term;
    uint64_t id;
    uint64_t size_bytes; /* at least 1 */
};

struct raft_message {
    enum raft_message_type type;
    uint64_t from;
    uint64_t to;
    uint64_t term;
    union {
        struct {
            uint64_t next_term; /* the term the election would be for */
            uint64_t last_index;
            uint64_t last_term;
        } pre_vote;
        struct {
            uint64_t next_term; /* as asked */
            bool granted;
        } pre_vote_reply;
        struct {
            uint64_t last_index;
            uint64_t last_term;
            bool transfer; /* by the leader's wish: passes members who still hear it */
        } vote;
        struct {
            bool granted;
        } vote_reply;
        struct {
            uint64_t prev_index;
            uint64_t prev_term;
            uint64_t commit;
            const struct raft_entry *entries; /* borrowed; from prev_index + 1 on, consecutive */
            uint32_t count;
            /* Not on the wire: what the host may fill in (see raft_take_message). */
            uint32_t available;
            uint64_t room_bytes;
        } append;
        struct {
            bool rejected;
            uint64_t index;      /* all up to here is the leader's and durable; when rejected, the prev_index asked */
            uint64_t hint_index; /* rejected: a place at or below which the logs may agree, */
            uint64_t hint_term;  /* and the term of the follower's entry there */
        } append_reply;
        struct {
            uint64_t sequence; /* grows with each heartbeat of a leader */
            uint64_t sent_ms;  /* the clock of a leader that reads by lease; else 0: it asks for no promise */
            uint64_t commit;   /* never above what this member is known to have */
            struct raft_time time;
            bool overtook; /* not on the wire: it came before appends that were sent before it */
        } heartbeat;
        struct {
            uint64_t sequence; /* echoed; 0: only the term matters */
            uint64_t sent_ms;  /* echoed */
            uint64_t matched;  /* received of the leader's log, durable or not */
            uint64_t durable;  /* of that, durable: as good as an append_reply's index, should that be lost */
            bool overtook;     /* as the heartbeat did: what is missing in matched need not be lost */
        } heartbeat_reply;
        struct {
            struct raft_snapshot_ident ident;
            uint64_t offset;
            struct slice data; /* borrowed */
            /* Not on the wire: how much data the host puts in, exactly. */
            uint64_t room_bytes;
        } snapshot;
        struct {
            struct raft_snapshot_ident ident;
            uint64_t offset; /* the next byte wanted */
        } snapshot_reply;
    };
};
