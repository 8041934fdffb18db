/* Consensus for one group at one node: Raft (Ongaro's dissertation, "Consensus: Bridging Theory and Practice", 2014),
 * pure. Calls tell it what happened; what it wants done is taken from it. It does no I/O, reads no clock, draws no
 * randomness of its own, and keeps no entry's bytes: it knows where terms begin (raft_log.h) and the host keeps the
 * log.
 *
 *   raft_tick, raft_step, raft_propose, raft_read, raft_stored, raft_applied, …
 *        │
 *        ▼
 *   raft_take_ready ───→ hard state, trim, entries: append to the log, in this order, at once (no waiting for the disk)
 *        │           └─→ commit index: apply up to it · confirmed reads · role · leader's time · a chunk of a snapshot
 *        ▼
 *   raft_take_message, until false ───→ the network (an append's entries are read from the log by the host)
 *        ⋮
 *   the log says durable ───→ raft_stored(number of that ready); then take ready and messages again
 *
 * A host's turn: raft_tick with the present time first, then all inputs, then raft_take_ready until false, then
 * raft_take_message until false. Bytes given to raft_step, raft_propose (payloads) are borrowed until raft_take_ready
 * has handed them out and the host has copied them into its log.
 *
 * Persist before send. Whatever raft_take_message gives may be sent at once; what must not leave yet stays inside:
 *   - nothing leaves before the current term and vote are durable;
 *   - a follower acknowledges an index only when it is durable; a rejection promises nothing and may leave at once;
 *   - a leader sends entries while its own disk still writes them (section 10.2.1), and counts itself only up to what
 *     raft_stored has told.
 *
 * Invariants
 *  1. term never goes back; in one term the vote, once given, stays.
 *  2. applied ≤ commit ≤ last; commit never goes back; entries up to commit are never replaced.
 *  3. commit moves only to an entry of the leader's own term which a quorum has durably (section 3.6.2).
 *  4. floor ≤ commit: what was trimmed is in a durable snapshot.
 *  5. A read is released only by a round of heartbeats that started after it arrived, by a leader that has committed an
 *     entry of its own term (section 6.4).
 *  6. Among the entries above commit at most one change of configuration is new; the newest configuration in the log
 *     counts, committed or not (section 4.1).
 *
 * Memory: bounded by the configuration (peers), RAFT_MAXIMUM_UNSTORED entries between two readies, and 16 bytes for
 * each change of term within the log kept.
 */
#pragma once

#include "raft/raft_configuration.h"
#include "raft/raft_message.h"

struct raft;

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };

enum {
    RAFT_MAXIMUM_INFLIGHT = 64,
    RAFT_MAXIMUM_UNSTORED = 1 << 16,
    RAFT_MINIMUM_ELECTION_TIMEOUT_MS = 10,
};

struct raft_options {
    uint64_t id;                  /* this member; never 0, never given to another disk (DESIGN.md, section 3) */
    uint64_t seed;                /* for election timeouts; different at each member */
    uint32_t election_timeout_ms; /* T: drawn from [T, 2T) for each wait */
    uint32_t heartbeat_ms;        /* at most T / 2 */
    uint32_t commit_notice_ms;    /* an idle leader tells a new commit index after this */
    uint32_t append_bytes;        /* payload that an append message aims at; one entry may exceed it */
    uint32_t inflight_messages;   /* unacknowledged appends per peer; at most RAFT_MAXIMUM_INFLIGHT */
    uint64_t inflight_bytes;      /* and their payload */
    uint32_t snapshot_chunk_bytes;
    uint32_t uncommitted_entries; /* proposals are refused (STATUS_FULL) past this many entries without commit */
    /* Reads by lease (section 6.4.1), of this member when it leads, trust that no member's monotonic clock is off by
     * more than this rate, which must be the same at all. */
    bool lease_reads;
    uint32_t clock_drift_ppm;
    bool eager; /* it should lead: its first election comes early. A hint, and harmless where one leads already */
    uint8_t entry_version; /* of the entries made here: no-op, configuration */
};

struct raft_hard_state {
    uint64_t term;
    uint64_t vote;   /* 0: none */
    uint64_t commit; /* a hint: committed and durable here */
};

/* Where a member starts from: what its disk says. */
struct raft_boot {
    struct raft_hard_state hard_state;
    /* The newest durable snapshot, with the configuration at its index; index 0 for none: then the configuration is
     * that of the group's beginning, equal at all first members and empty at one that joins later. */
    uint64_t snapshot_index;
    uint64_t snapshot_term;
    struct raft_configuration configuration;
    /* The log holds (trimmed, last]. */
    uint64_t trimmed_index;
    uint64_t trimmed_term;
};

/* ---- life ---- */

/* STATUS_INVALID for options out of range; STATUS_CORRUPT for a boot state that cannot be ours. Then one
 * raft_boot_entry for each entry of the log, in order (payload matters for configurations only), then raft_start. */
MUST_USE enum status raft_create(const struct raft_options *options, const struct raft_boot *boot,
                                 struct raft **ret_raft);
MUST_USE enum status raft_boot_entry(struct raft *raft, const struct raft_entry *entry);
MUST_USE enum status raft_start(struct raft *raft, uint64_t now_ms);
void raft_destroy(struct raft *raft);

/* ---- inputs ---- */

/* The host's monotonic time; never goes back. Call at the start of every turn, and not later than raft_deadline. */
void raft_tick(struct raft *raft, uint64_t now_ms);
/* When raft_tick has something to do. */
uint64_t raft_deadline(const struct raft *raft);

/* A message from a member. STATUS_INVALID: malformed, or not for us. STATUS_CORRUPT: it contradicts what is committed
 * or a term's one leader, or what this member acknowledged (raft_status.lost), so some member is broken; refused,
 * nothing changed, and worth a line in the log. */
MUST_USE enum status raft_step(struct raft *raft, const struct raft_message *message);

/* Appends at the leader. kind, version and payload of each are given; index and term are filled in. STATUS_NOT_LEADER;
 * STATUS_BUSY during a transfer; STATUS_FULL (also past RAFT_MAXIMUM_UNSTORED). Refused means not appended at all. What
 * became of an accepted one shows when its index is applied: with its term it is this entry, with another it never will
 * be; until then, also when this member leads no more, it is open. */
MUST_USE enum status raft_propose(struct raft *raft, struct raft_entry *entries, size_t count);

/* All that this ready asked to store, and all before it, is durable. */
void raft_stored(struct raft *raft, uint64_t number);
/* The host has applied up to index. */
void raft_applied(struct raft *raft, uint64_t index);
/* Messages to the peer `id` may have been lost (its connection broke): send again rather than wait. */
void raft_peer_lost(struct raft *raft, uint64_t id);
/* The process of member `id` has ended, as far as its host's network can tell: when it led, there is no need to wait
 * for its silence. Wrong news does no harm but an election that nobody needed, and that only when a majority has it. */
void raft_peer_gone(struct raft *raft, uint64_t id);
/* What heartbeats carry from now on, until this member is elected anew: zeros then. */
void raft_set_time(struct raft *raft, struct raft_time time);

/* ---- reads ---- */

/* Waits for a confirmation: the read may be served when a ready says read_round ≥ *ret_round and read_index is applied.
 * When this member's term or role changes first, the read is void. STATUS_NOT_LEADER. */
MUST_USE enum status raft_read(struct raft *raft, uint64_t *ret_round);
/* With lease_reads: *ret_index, once applied, may be read until *ret_until_ms on the clock of raft_tick. The host looks
 * at its clock again after reading and before it answers; past the limit, or when this gives STATUS_AGAIN, it takes
 * raft_read. */
MUST_USE enum status raft_lease(const struct raft *raft, uint64_t *ret_index, uint64_t *ret_until_ms);

/* ---- membership and leadership ---- */

/* Begins a change to these voters and learners (not joint). STATUS_NOT_LEADER; STATUS_INVALID; STATUS_BUSY while a
 * change is not finished, a transfer runs, or no entry of this term is committed yet; STATUS_EXISTS when it is so
 * already. Members that are to vote should first be learners that have caught up (section 4.2.1): raft_peer_status. */
MUST_USE enum status raft_change(struct raft *raft, const struct raft_configuration *target);

/* Hands leadership to a voter: proposals are refused until it happened, or T has passed (section 3.10).
 * STATUS_NOT_LEADER, STATUS_INVALID (not another voter), STATUS_BUSY (a transfer to someone else runs). */
MUST_USE enum status raft_transfer(struct raft *raft, uint64_t target);

/* ---- snapshots ---- */

/* The host has this snapshot, durably, and keeps it readable until raft_snapshot_in_use says no. */
void raft_snapshot_available(struct raft *raft, const struct raft_snapshot_ident *ident);
bool raft_snapshot_in_use(const struct raft *raft, const struct raft_snapshot_ident *ident);
/* It can no longer be read: transfers begin anew with the next one. */
void raft_snapshot_gone(struct raft *raft, const struct raft_snapshot_ident *ident);
/* Lets the log go up to index: applied, and not above the newest snapshot (asserted). The trim comes with a ready. */
void raft_compact(struct raft *raft, uint64_t index);
/* How far the log may be trimmed without sending one more peer, of those now heard, to a snapshot. A wish, not a rule.
 */
uint64_t raft_compact_wish(const struct raft *raft);

/* Answers to a ready's chunk: it is written (durably or not) and it was not the last: */
void raft_snapshot_chunk_written(struct raft *raft);
/* … it was the last; the snapshot was checked, is durable, and the machine has its state, which includes this
 * configuration: */
void raft_snapshot_installed(struct raft *raft, const struct raft_configuration *configuration);
/* … or the chunk or the whole could not be used; it is asked for from the start. The machine is as before. */
void raft_snapshot_failed(struct raft *raft);

/* ---- outputs ---- */

struct raft_ready {
    /* To store: hard state, then trim, then entries. number ≠ 0 when there is any of them; give it to raft_stored. */
    uint64_t number;
    bool store_hard_state;
    bool store_trim;
    bool trim_all; /* no entry of the log remains; otherwise those above trim_index do */
    struct raft_hard_state hard_state;
    uint64_t trim_index;
    uint64_t trim_term;
    /* Consecutive; the first may lie at or below the log's last: that one and all after it are replaced. Borrowed until
     * the next input. */
    const struct raft_entry *entries;
    size_t entry_count;

    /* To act on. */
    bool commit_changed;
    uint64_t commit;   /* entries up to here are to be applied, in order */
    bool role_changed; /* any of role, term, leader */
    enum raft_role role;
    uint64_t term;
    uint64_t leader; /* 0: unknown */
    bool reads_confirmed;
    uint64_t read_round;    /* reads with this round or an earlier one … */
    uint64_t read_index;    /* … see the right state once this is applied */
    bool leader_time_heard; /* from the leader of this term */
    struct raft_time leader_time;
    bool snapshot_wanted; /* make a snapshot, announce it, and compact */

    /* A part of a snapshot; offset 0 begins a new file, whatever was there before. Borrowed until the next input.
     * With `last`, the file is complete: check it and make it the state; until the answer, appends are not taken. */
    bool has_chunk;
    bool chunk_last;
    struct raft_snapshot_ident chunk_ident;
    uint64_t chunk_offset;
    struct slice chunk_data;
};

/* True, and what is to be done, when anything is. */
bool raft_take_ready(struct raft *raft, struct raft_ready *ret_ready);

/* The next message to send now, or false. After raft_take_ready: the log must hold the entries it gave out.
 *
 * RAFT_APPEND comes without entries: the host reads up to `available` of them from its log, from prev_index + 1 on,
 * until their payload reaches room_bytes (at least one when any is available), sets entries and count, and calls
 * raft_append_filled before anything else, also when it then cannot send.
 * RAFT_SNAPSHOT comes without data: the host puts room_bytes of the file at offset, now or, when that takes a disk,
 * later (or calls raft_snapshot_gone). */
bool raft_take_message(struct raft *raft, struct raft_message *ret_message);
/* In the middle of a turn that takes long, in place of all else: the next message that says that this member lives, or
 * false. A leader's heartbeat when one is due at now_ms; a follower's answer to the last heartbeat, once more. They
 * change nothing but what others have heard, may overtake what was sent before (both ends count them as such), and may
 * be asked for between any two calls. */
bool raft_take_beat(struct raft *raft, uint64_t now_ms, struct raft_message *ret_message);
void raft_append_filled(struct raft *raft, const struct raft_message *message);

/* ---- looking ---- */

struct raft_status {
    uint64_t id;
    enum raft_role role;
    uint64_t term, vote, leader;
    uint64_t floor, last, last_term, durable, commit, applied;
    bool term_committed; /* a leader that has committed an entry of its term */
    bool removed;        /* the newest configuration, committed, is without this member */
    /* Not 0: the leader was told that this member has entries up to here, durably, but its log ends before: the disk
     * has lost them, or is an older copy of itself. The host must stop the member: to vote or to acknowledge with such
     * a log may lose what is committed. */
    uint64_t lost;
    uint64_t transfer_to;
    uint64_t configuration_index;
    struct raft_configuration configuration; /* the newest in the log */
    size_t peers;
};
void raft_status(const struct raft *raft, struct raft_status *ret_status);

enum raft_peer_state { RAFT_PEER_PROBE, RAFT_PEER_REPLICATE, RAFT_PEER_SNAPSHOT };

struct raft_peer_status {
    uint64_t id;
    enum raft_peer_state state;
    uint64_t match, next;
    uint64_t heard_ms; /* of the clock of raft_tick */
    uint32_t inflight_messages;
    uint64_t inflight_bytes;
    uint64_t snapshot_offset;
};
/* At a leader; index < status.peers. */
void raft_peer_status(const struct raft *raft, size_t index, struct raft_peer_status *ret_status);

/* The term of an entry, as far as it is known here (floor ≤ index ≤ last). */
MUST_USE enum status raft_term_at(const struct raft *raft, uint64_t index, uint64_t *ret_term);
