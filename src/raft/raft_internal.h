/* The core's state and the calls between its files. Nobody outside this room includes it.
 *
 *   raft.c              dispatch of messages, what is handed out               raft_log.c       terms of the log
 *   raft_boot.c         the start from what the disk says
 *   raft_storage.c      hard state, unstored entries, what is durable          raft_progress.c  one peer's replication
 *   raft_election.c     pre-vote, vote, roles, timers                          raft_quorum.c    majorities, commit
 *   raft_replication.c  append and heartbeat, both ends                        raft_read.c      ReadIndex, leases
 *   raft_membership.c   history of configurations, changes                     raft_transfer.c  handing over leadership
 *   raft_snapshot.c     chunks, both ends; trimming                            raft_beat.c      signs of life
 */
#pragma once

#include "base/assert.h"
#include "base/prng.h"
#include "raft/raft.h"
#include "raft/raft_codec.h"
#include "raft/raft_log.h"
#include "raft/raft_mutation.h"

enum {
    RAFT_OUTBOX = 64,               /* messages that wait for the host; more are dropped, as a network might */
    RAFT_PENDING_STORES = 64,       /* readies whose durability is told apart; more are told together */
    RAFT_READ_ROUNDS = 8,           /* read rounds under way; further reads gather for the next */
    RAFT_TERM_RUNS_WANTED = 4096,   /* changes of term in the log past which a snapshot is asked for */
    RAFT_HURRY = 16,                /* this part of T is waited for an election when the leader is gone */
    RAFT_LISTENS = 5,               /* who waits for others wants ticks no further apart than this part of T; … */
    RAFT_LATE = 4,                  /* … one that is further from the last than this part of it is late, … */
    RAFT_LATE_COUNTS = 8,           /* … and this part is what counts as silence between the two */
    RAFT_COMMIT_HINT_ENTRIES = 256, /* the stored commit hint may lag this far before entries carry a new one along */
};

#define RAFT_NEVER UINT64_MAX

struct raft_inflight {
    uint64_t last;
    uint64_t bytes;
};

/* Another member, as this one sees it. Everything but `id` and `vote` is a leader's. */
struct raft_peer {
    uint64_t id;
    enum { RAFT_VOTE_UNKNOWN, RAFT_VOTE_GRANTED, RAFT_VOTE_REFUSED } vote;

    enum raft_peer_state state;
    uint64_t match; /* known to be durable there and equal to ours */
    uint64_t next;  /* the next entry to send */
    uint64_t commit_sent;
    bool probe_sent;     /* PROBE: one append is under way, … */
    uint64_t probe_last; /* … up to here */
    /* Is something lost? The heartbeat with this sequence followed appends up to check_index; 0: none is awaited. */
    uint64_t check_sequence;
    uint64_t check_index;
    struct raft_inflight inflight[RAFT_MAXIMUM_INFLIGHT]; /* a ring, ascending in last */
    uint32_t inflight_first;
    uint32_t inflight_count;
    uint64_t inflight_bytes;

    bool heartbeat_due;
    uint64_t heard_ms;       /* any message of this term, … */
    uint64_t heard_awake_ms; /* … on the clock of awake_ms */
    uint64_t acked_sequence; /* newest heartbeat it answered, */
    uint64_t acked_sent_ms;  /* and when that was sent; 0: none */

    struct raft_snapshot_ident snapshot; /* SNAPSHOT: what is being sent; index 0: not chosen yet */
    uint64_t snapshot_offset;            /* the next byte it wants */
    uint64_t chunk_sent_ms;
    bool chunk_sent;
};

/* What one ready gave to the disk. */
struct raft_pending_store {
    uint64_t number;
    uint64_t last; /* the log reached this far with it, as far as that still counts */
};

struct raft_read_round {
    uint64_t round;
    uint64_t from_sequence; /* heartbeats from this one on were sent after the round began */
    uint64_t index;         /* commit when it began */
};

struct raft_history_item {
    uint64_t index;
    struct raft_configuration configuration;
};

struct raft {
    struct raft_options options;
    struct prng prng;
    bool started;
    uint64_t now_ms;
    uint64_t awake_ms; /* of that, the time in which this member could have heard others (raft_election.c, rule 6) */

    /* The state of section 3.3. */
    enum raft_role role;
    uint64_t term;
    uint64_t vote;
    uint64_t leader;
    uint64_t commit;
    uint64_t applied;
    struct raft_log log;

    /* Storage. */
    bool hard_state_dirty;      /* term or vote changed since the last ready */
    uint64_t hard_state_number; /* the ready that carried them last */
    uint64_t commit_hint;       /* as last given to store */
    uint64_t ready_number;      /* of the last ready that stored something */
    uint64_t stored_number;     /* told durable */
    uint64_t durable;           /* entries up to here are */
    struct raft_pending_store pending[RAFT_PENDING_STORES];
    uint32_t pending_first;
    uint32_t pending_count;
    struct raft_entry *unstored; /* for the next ready; consecutive, ending at log.last */
    size_t unstored_count;
    size_t unstored_capacity;
    struct buffer payload; /* of the configuration entries made here that are among them */
    bool trim_due;
    bool trim_all;

    struct raft_configuration boot_configuration; /* of the snapshot this member started from */

    /* Timers. */
    uint64_t election_deadline_ms; /* of awake_ms, as the only one */
    uint64_t heartbeat_deadline_ms;
    uint64_t notice_deadline_ms;
    uint64_t heard_ms; /* a leader was heard, … */
    bool heard_ever;
    bool heard_pending;      /* … or since the last tick, whenever that was: counts as the next tick's time */
    bool no_lease;           /* the last heartbeat, since the start, was of a leader that reads without leases */
    uint64_t hurry_until_ms; /* the leader is gone; elections are tried more often until then */

    /* Members. */
    struct raft_history_item history[2]; /* see raft_membership.c */
    uint32_t history_count;              /* 1, or 2 while the newest is not committed */
    struct raft_peer *peers;             /* all in any configuration of the history, without this member */
    size_t peer_count;
    size_t peer_capacity;

    /* Candidate, leader. */
    bool own_vote;        /* it counts: the vote is durable */
    uint64_t term_start;  /* the leader's no-op */
    uint64_t sequence;    /* of the last heartbeat */
    bool append_open;     /* an append was taken and not yet filled */
    uint64_t transfer_to; /* 0: none */
    uint64_t transfer_deadline_ms;
    uint64_t transfer_sent_ms;
    bool transfer_sent;
    bool lease_broken; /* someone was told to start an election in this term */

    /* Follower. */
    uint64_t matched; /* our log equals the leader's of this term up to here */
    bool ack_due;
    uint64_t lost; /* see raft_status */
    struct {
        uint64_t term, sequence, sent_ms;
        uint64_t at_ms; /* it was answered last */
    } heartbeat;        /* the last one */

    /* Reads. */
    uint64_t read_next; /* the round that arriving reads join */
    bool read_waiting;
    struct raft_read_round rounds[RAFT_READ_ROUNDS];
    uint32_t round_count;
    uint64_t read_round; /* confirmed */
    uint64_t read_index;
    bool reads_confirmed;

    /* Snapshots. */
    struct raft_snapshot_ident available;
    enum { RAFT_RECEIVE_IDLE, RAFT_RECEIVE_WAITING, RAFT_RECEIVE_WRITING, RAFT_RECEIVE_INSTALLING } receive;
    struct raft_snapshot_ident receive_ident;
    uint64_t receive_offset;
    struct slice chunk; /* WRITING, INSTALLING: given or to be given to the host */
    bool chunk_due;

    /* Messages and news for the host. */
    struct raft_message outbox[RAFT_OUTBOX];
    uint32_t outbox_first;
    uint32_t outbox_count;
    struct raft_time time;
    struct raft_time leader_time;
    bool leader_time_heard;
    uint64_t told_commit;
    enum raft_role told_role;
    uint64_t told_term;
    uint64_t told_leader;
    bool snapshot_wanted;

#ifdef COHORT_MUTATIONS
    enum raft_mutation mutation;
#endif
};

/* ---- raft.c ---- */

/* A message of this type to `to`, with from and term filled in; NULL when the outbox is full. Borrowed: fill at once.
 */
struct raft_message *raft_send(struct raft *raft, enum raft_message_type type, uint64_t to);
void raft_outbox_clear(struct raft *raft);
/* NULL when it is no member. */
struct raft_peer *raft_peer_of(struct raft *raft, uint64_t id);
/* Everything that must hold between two calls. */
void raft_check(const struct raft *raft);

/* ---- raft_storage.c ---- */

void raft_hard_state_changed(struct raft *raft);
/* Term and vote are durable: messages may leave. */
bool raft_gate_open(const struct raft *raft);
/* Adds entry last + 1 to the log; payload is borrowed until the next ready. */
void raft_log_add(struct raft *raft, const struct raft_entry *entry);
/* Removes `from` and all after it: replaced by another leader's entries. */
void raft_log_remove(struct raft *raft, uint64_t from);
/* The log becomes empty after a snapshot at index. */
void raft_log_replace(struct raft *raft, uint64_t index, uint64_t term);
void raft_storage_ready(struct raft *raft, struct raft_ready *ready);

/* ---- raft_quorum.c ---- */

/* The largest v such that a majority of each set of voters has a value ≥ v. `peer` is NULL for this member. */
uint64_t raft_quorum(const struct raft *raft, uint64_t (*value)(const struct raft *raft, const struct raft_peer *peer));
void raft_commit_advance(struct raft *raft);
/* commit is now `commit`; configurations settle. */
void raft_commit_to(struct raft *raft, uint64_t commit);
/* The leader has committed an entry of its term. */
bool raft_term_committed(const struct raft *raft);

/* ---- raft_election.c ---- */

void raft_become_follower(struct raft *raft, uint64_t term, uint64_t leader);
/* This message came from the leader of the current term. False when the term has another leader. */
bool raft_hear_leader(struct raft *raft, uint64_t from);
/* So much passed since the last tick, as far as silence goes. */
uint64_t raft_listened_ms(const struct raft *raft, uint64_t passed_ms);
/* The leader heard this peer. */
void raft_hear_peer(const struct raft *raft, struct raft_peer *peer);
/* A leader may hold a lease that this member's vote would break. */
bool raft_is_sticky(const struct raft *raft);
/* Without asking first when `transfer`. */
void raft_campaign(struct raft *raft, bool transfer);
void raft_election_tick(struct raft *raft);
void raft_election_stored(struct raft *raft);
void raft_election_reset_timer(struct raft *raft);
void raft_step_pre_vote(struct raft *raft, const struct raft_message *message);
void raft_step_pre_vote_reply(struct raft *raft, const struct raft_message *message);
void raft_step_vote(struct raft *raft, const struct raft_message *message);
void raft_step_vote_reply(struct raft *raft, const struct raft_message *message);

/* ---- raft_replication.c ---- */

/* Our entry at index is the leader's (committed, or seen equal in this term), yet a message says otherwise. */
bool raft_contradicts(const struct raft *raft, uint64_t index, uint64_t term);
MUST_USE enum status raft_step_append(struct raft *raft, const struct raft_message *message);
MUST_USE enum status raft_step_append_reply(struct raft *raft, const struct raft_message *message);
MUST_USE enum status raft_step_heartbeat(struct raft *raft, const struct raft_message *message);
MUST_USE enum status raft_step_heartbeat_reply(struct raft *raft, const struct raft_message *message);
/* The follower's acknowledgement, when one is due: of all that matched, or of what became durable of it. */
void raft_acknowledge(struct raft *raft, bool durable_moved);
void raft_replication_tick(struct raft *raft);
/* One to every peer. */
void raft_heartbeats_due(struct raft *raft, uint64_t now_ms);
void raft_make_heartbeat(struct raft *raft, struct raft_peer *peer, struct raft_message *message);
/* Up to here the log equals the leader's, durably. */
uint64_t raft_acknowledgeable(const struct raft *raft);
bool raft_replication_message(struct raft *raft, struct raft_message *ret_message);

/* ---- raft_progress.c ---- */

void raft_peer_reset(struct raft *raft, struct raft_peer *peer);
void raft_peer_probe(struct raft_peer *peer, uint64_t next);
void raft_peer_snapshot(struct raft_peer *peer);
/* Entries or a probe should go to it now. */
bool raft_peer_wants_append(const struct raft *raft, const struct raft_peer *peer);
void raft_peer_sent(struct raft *raft, struct raft_peer *peer, uint64_t last, uint64_t bytes);
void raft_peer_acked(struct raft *raft, struct raft_peer *peer, uint64_t index);
void raft_peer_rejected(struct raft *raft, struct raft_peer *peer, uint64_t asked, uint64_t hint_index,
                        uint64_t hint_term);
/* It answered the heartbeat `sequence`, and has `matched` of our log in memory. */
void raft_peer_checked(struct raft *raft, struct raft_peer *peer, uint64_t sequence, uint64_t matched);

/* ---- raft_read.c ---- */

void raft_read_begin(struct raft *raft);
void raft_read_confirm(struct raft *raft);
void raft_read_abandon(struct raft *raft);

/* ---- raft_membership.c ---- */

const struct raft_configuration *raft_configuration_now(const struct raft *raft);
bool raft_is_voter(const struct raft *raft);
/* A voter of the newest configuration, or of the one before while the newest is not known to be committed: such a
 * member may hold the only copy that can get it committed (4.2.2). It does not count itself. */
bool raft_may_stand(const struct raft *raft);
/* Makes peers what the history says. */
void raft_peers_sync(struct raft *raft);
/* A configuration entry joined the log. */
void raft_history_add(struct raft *raft, uint64_t index, const struct raft_configuration *configuration);
void raft_history_remove(struct raft *raft, uint64_t from);
void raft_history_reset(struct raft *raft, uint64_t index, const struct raft_configuration *configuration);
/* commit moved. */
void raft_history_commit(struct raft *raft);
/* The leader's duties once a configuration is committed: leaving the joint one, stepping down. */
void raft_membership_settle(struct raft *raft);

/* ---- raft_transfer.c ---- */

void raft_transfer_tick(struct raft *raft);
/* Sends timeout-now when the target has everything. */
void raft_transfer_advance(struct raft *raft);
void raft_transfer_abandon(struct raft *raft);
/* To the voter with the longest log, when this member steps down for good. */
void raft_transfer_farewell(struct raft *raft);
void raft_step_timeout_now(struct raft *raft, const struct raft_message *message);

/* ---- raft_snapshot.c ---- */

MUST_USE enum status raft_step_snapshot(struct raft *raft, const struct raft_message *message);
void raft_step_snapshot_reply(struct raft *raft, const struct raft_message *message);
bool raft_snapshot_message(struct raft *raft, struct raft_peer *peer, struct raft_message *ret_message);
void raft_snapshot_ready(struct raft *raft, struct raft_ready *ready);
