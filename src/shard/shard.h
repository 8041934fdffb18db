/* One group at one node: requests in, batches to the log, entries to the machine, replies out.
 *
 * The life of a write: shard_submit copies the encoded command into the open batch → a turn seals the batch as one log
 * entry (shard_gather.h says when), for which the log has space already, and flushes the log → durable → commit → at
 * the end of a turn, apply in order → the reply goes to the origin through the sink.
 *
 * Invariants
 * 1. Nothing is applied, and no reply given, before its entry is committed (here: durable; with more voters: on a
 *    majority).
 * 2. Requests take effect in the order of shard_submit. A read submitted between writes is evaluated at its place, from
 *    the applied state, and leaves nothing in the log.
 * 3. Times in entries never go back (cluster time: it never runs fast, and a restart resumes where the log ends).
 * 4. Memory is bounded: shard_submit refuses (STATUS_FULL) past options.pending_bytes of requests not applied yet, and
 * past STORE_PENDING_BYTES of all shards together. For waiting to be bounded, too, who takes requests from clients
 * refuses them while shard_late.
 * 5. After the log has failed nothing is accepted any more, and what waits stays unanswered: its outcome is unknown.
 * 6. A full disk stops nothing: writes for which there is no space are refused before they reach the log.
 *
 * 7. What meets a transaction's lock is held back before it is logged (gate.h).
 * 8. A transaction's outcome (COHORT.TXN.FINISH) is not logged at once: it goes with the next entry (outcomes.h).
 *
 * The bytes of an entry's payload are in shard_entry.h.
 */
#pragma once

#include "command/command.h"
#include "env/env.h"
#include "log/log.h"
#include "machine/machine.h"
#include "raft/raft.h"
#include "shard/store.h"

struct shard;

/* Where replies go. `origin` and `tag` are as given to shard_submit. */
struct shard_sink {
    /* A writer for the reply of this request, or NULL when nobody waits for it any more. */
    struct resp_writer *(*begin)(void *owner, void *origin, uint64_t tag);
    void (*end)(void *owner, void *origin, uint64_t tag, const struct command *command);
    /* Instead of both: the request was taken, and definitely not executed (NOSPACE: the disk is full; BUSY: it waited
     * for a transaction, and there was no room for it then). */
    void (*refused)(void *owner, void *origin, uint64_t tag, enum status status);
    /* Instead of both: the request was definitely not executed here: another member leads now. It may be sent to that
     * one. May be NULL in a group of one. */
    void (*returned)(void *owner, void *origin, uint64_t tag, const struct command *command);
    /* Instead of both: nobody here will ever know whether the request was executed: answer -UNCERTAIN. May be NULL in a
     * group of one. */
    void (*uncertain)(void *owner, void *origin, uint64_t tag);
    /* Instead of both: the request came with a batch that was not executed again: it was executed before (or its node
     * has given it up, or has started anew, since). May be NULL where shard_forwarded is not used. */
    void (*repeated)(void *owner, void *origin, uint64_t tag);
    /* A message of consensus to another member: one behind the other, the bytes to give to its shard_receive. The head
     * is never empty. May be lost. NULL in a group of one. */
    void (*send)(void *owner, uint32_t group, uint64_t to, struct slice head, struct slice tail);
    /* The same from the middle of a long turn, where it says no more than that this member lives (store.h); it may
     * overtake what was sent before. May be NULL. */
    void (*beat)(void *owner, uint32_t group, uint64_t to, struct slice message);
    /* Who leads the group has changed: this member or not; leader 0 when unknown. May be NULL. */
    void (*led)(void *owner, uint32_t group, bool leading, uint64_t leader, uint64_t term);
    /* What commands have told (machine/events.h), between two replies: at the member that logged their entry, while it
     * leads in the same term. So no two members tell of an entry, and of some nobody does. NULL: nobody listens. */
    void (*told)(void *owner, struct slice messages);
    /* News for those who asked for locks (machine/lock/lock_notice.h), of one entry: at the member that logged it,
     * while it leads in the same term. So no two members tell of an entry, and of some nobody does. May be NULL. */
    void (*lock_news)(void *owner, struct slice notices);
};

struct shard_options {
    uint32_t group;              /* in the log and the names of snapshots */
    uint64_t member;             /* this one's id in the group; never given to another disk */
    const uint64_t *voters;      /* of the group's beginning: the same at all of them; … */
    size_t voter_count;          /* … 0 at one that joins later: its leader tells */
    const char *directory;       /* of snapshots: the store's */
    uint64_t snapshot_log_bytes; /* a snapshot begins when this much, and as much as the last snapshot had, was logged
                                  * since; 0: SHARD_SNAPSHOT_LOG_BYTES */
    size_t pending_bytes;        /* invariant 4; 0: SHARD_PENDING_BYTES */
    /* Reads at a leader without asking a majority: trusts that no member's monotonic clock is off by more than
     * SHARD_CLOCK_DRIFT_PPM. Other members may do without (raft.h). */
    bool lease_reads;
    bool eager;                    /* this member should lead (raft.h) */
    const uint32_t *event_classes; /* that `told` is to hear of, as they are at each entry; borrowed; NULL: none */
};

enum {
    SHARD_PENDING_BYTES = 512 << 20, /* of one shard, … */
    STORE_PENDING_BYTES = 1 << 30,   /* … and of all that share a store */
    SHARD_LATE_MS = 250,             /* far below any command-timeout: a definite refusal instead of an uncertain end */
    SHARD_LATE_BYTES = 4 << 20,
    SHARD_SEALED_BYTES = 512 << 10, /* no batch is added to so much on its way through consensus: bounds what one turn
                                     * may have to apply */
    SHARD_BATCH_COMMANDS = 60000,
    SHARD_BATCH_BYTES = 256 << 10, /* of commands in one entry, unless one is larger */
    SHARD_SNAPSHOT_LOG_BYTES = 64 << 20,
    SHARD_SNAPSHOT_STEP_BYTES = 32 << 10,  /* of snapshot made in one turn */
    SHARD_SNAPSHOT_BEHIND_BYTES = 1 << 30, /* a snapshot that is so far behind the writes is given up */
    SHARD_EXPIRE_PAUSE_MS = 100,           /* between time entries, unless more is due than one removes */
    SHARD_TIME_ENTRY_MS = 1000,            /* an idle shard with keys that expire logs the time this often */
    SHARD_HELD = 1024,                     /* requests that wait for transactions (gate.h), … */
    SHARD_HELD_MS = 4000,                  /* … for so long at most: a second more than the longest that a transaction
                                            * goes on when its node is lost (cluster/txn_finisher.h); … */
    SHARD_HELD_PREPARE_MS = 2000,          /* … a PREPARE, whose own home waits for it, and which begins anew */
    SHARD_LONG_STEPS = 100 * 1000,         /* of scripts in one command: beyond, others notice */
    SHARD_CLOCK_DRIFT_PPM = 1000,          /* twice what a clock that is being slewed to the right time may be off */
};

/* Loads the newest snapshot and takes part in the group; a group of one has replayed its log when this returns, and is
 * ready. The store runs its turns from then on. On failure ret_message says which file, and the way out. */
MUST_USE enum status shard_open(struct store *store, const struct shard_options *options, const struct shard_sink *sink,
                                void *owner, struct shard **ret_shard, char *ret_message, size_t message_capacity);
void shard_close(struct shard *shard);

/* Takes a command for the next batch: a write, or a read that must keep its place among them. The arguments are copied.
 * OK: the sink will hear of it (unless the log fails). FULL, TOO_LARGE, CLOSED: it was definitely not executed. */
MUST_USE enum status shard_submit(struct shard *shard, const struct command *command, void *origin, uint64_t tag);

/* SHARD_LATE_BYTES of requests are not applied yet, and the oldest has waited for more than SHARD_LATE_MS: a new one
 * would wait as long. What another node forwarded has waited there, where it was judged; to refuse it here would cost
 * as much as to execute it. */
bool shard_late(const struct shard *shard);
/* Of scripts, in the command whose reply ends now (store.h). */
uint64_t shard_steps(const struct shard *shard);
/* Of requests that are not applied yet. */
size_t shard_pending_bytes(const struct shard *shard);

/* The same, for one of several whose requests must keep their order while some are held back for a transaction. */
struct shard_origin;
struct shard_request {
    void *origin;
    uint64_t tag;
    uint64_t who;                         /* 0: nobody's order counts */
    const struct shard_origin *forwarded; /* the batch that it came with; NULL: it is our own */
};
MUST_USE enum status shard_take(struct shard *shard, const struct command *command, bool logged,
                                const struct shard_request *request);

/* A batch that another node forwarded. */
struct shard_origin {
    uint64_t node;          /* its id; never 0, never given to another disk */
    uint64_t start;         /* of the node: larger at each */
    uint64_t sequence;      /* from 1, by node, start and shard; the same when it is sent again */
    uint64_t settled_below; /* the node waits for none below, and sends none of them again */
};

/* Announces the requests of such a batch: it is executed at most once, however often and to whichever leaders it is
 * sent. The next `logged_count` requests that are to be logged are its, `bytes` of them at most as command_encode makes
 * them: they are taken for sure, by shard_submit or shard_submit_logged before anything else happens here, and stand in
 * one entry: executed together, or not at all. Its reads come between them as anybody's (and may be refused), and
 * so do outcomes of transactions that are not said to be logged. A batch of those alone needs no announcement. Refused,
 * and nothing taken: INVALID (machine_origin_valid; so at most MACHINE_ORIGIN_WINDOW sequences wait), TOO_LARGE, FULL,
 * CLOSED, NOT_LEADER. */
MUST_USE enum status shard_forwarded(struct shard *shard, const struct shard_origin *origin, uint32_t logged_count,
                                     size_t bytes);

/* Before it is announced, and in its order: whether a request of it must wait for a transaction, or is an outcome that
 * frees keys for the rest of the batch. True: it was taken, and is not to be announced (*ret_status FULL: it was
 * refused). When any of the batch that is logged waits, the rest is announced by shard_forwarded_part: those that wait
 * are logged later, and that the batch was executed says nothing about each of them. Then shard_take takes the rest. */
MUST_USE bool shard_hold(struct shard *shard, const struct command *command, bool logged,
                         const struct shard_request *request, enum status *ret_status);
MUST_USE enum status shard_forwarded_part(struct shard *shard, const struct shard_origin *origin, uint32_t logged_count,
                                          size_t bytes);
/* One that shard_hold let go on is not going to be taken after all. */
void shard_let_go(struct shard *shard, const struct command *command);
/* Gives back what waits of whoever is gone (`origin` of its requests): it definitely will not be executed. */
void shard_forget(struct shard *shard, const void *origin);
/* False while shard_hold would hold nothing but a PREPARE. */
bool shard_holds_any(const struct shard *shard);

/* Whether a read from the applied state is a strong one at this moment: the member leads, and needs nobody's word for
 * it (alone in the group, or with a lease). Not while requests of the same origin wait. */
bool shard_may_read(const struct shard *shard);
/* Executes a read-only command now, from the applied state; shard_may_read has just said that it may. False when it
 * must go through shard_submit_logged. */
bool shard_read(struct shard *shard, const struct command *command, struct resp_writer *reply);
/* Before that, and before shard_read_applied, of one that command_may_script: the turn's work is not used up. Else it
 * waits for another, by shard_submit. */
bool shard_may_run(const struct shard *shard);
/* As shard_submit, for a read that met a key about to expire: it is evaluated in apply, from the log. */
MUST_USE enum status shard_submit_logged(struct shard *shard, const struct command *command, void *origin,
                                         uint64_t tag);

/* Executes a read-only command on the applied state as it is, however old: whoever leads. False, and nothing written,
 * while there is no state yet. */
bool shard_read_applied(struct shard *shard, const struct command *command, struct resp_writer *reply);

/* The version of a key in the applied state (see machine_key_version). */
uint64_t shard_key_version(const struct shard *shard, struct slice key);

/* The transactions of the applied state, and the shard's time now; NULL when there are none, or no state yet. Borrowed
 * until the next turn. */
const struct txns *shard_txns(const struct shard *shard, int64_t *ret_time_ms);
/* The locks of the applied state; NULL when there is none yet. Borrowed until the next turn. */
const struct locks *shard_locks(const struct shard *shard);
/* The sessions of the applied state; the same. */
const struct sessions *shard_sessions(const struct shard *shard);
/* The shard's time now, at the member that leads it. */
int64_t shard_present_ms(const struct shard *shard);
/* The same of barriers and latches. */
const struct meets *shard_meets(const struct shard *shard);
/* The same of services. */
const struct services *shard_services(const struct shard *shard);
/* There are commands for the next entry: one more of them costs none. */
bool shard_gathering(const struct shard *shard);

/* A message from another member; it may have overtaken appends that were sent before it, which will come. INVALID and
 * CORRUPT: it cannot be one of ours, or contradicts what is committed. */
MUST_USE enum status shard_receive(struct shard *shard, struct slice message, bool overtook);
/* What was sent to this member may be lost: its connection broke. */
void shard_peer_lost(struct shard *shard, uint64_t member);
/* The member's process has ended, as far as can be told: if it led, it need not be waited for. */
void shard_peer_gone(struct shard *shard, uint64_t member);
/* True while this member leads the group and may take requests. */
bool shard_leading(const struct shard *shard);
/* Whom this member holds for the leader (0: nobody), and its term. */
void shard_leader(const struct shard *shard, uint64_t *ret_leader, uint64_t *ret_term);
/* True while requests taken here, in an earlier term, wait to learn what became of their entry. */
bool shard_orphaned(const struct shard *shard);
/* Hands leadership to another voter; meanwhile, for an election timeout at most, requests wait. NOT_LEADER; INVALID:
 * not another voter; BUSY: it is being handed to someone else. */
MUST_USE enum status shard_transfer(struct shard *shard, uint64_t to);

/* ---- who belongs to the group ---- */

/* The newest configuration in the log; settled: it is committed, and not joint. No voters: this member was not told. */
void shard_members(const struct shard *shard, struct raft_configuration *ret_configuration, bool *ret_settled);
/* At the leader: begins a change to these voters and learners. BUSY while another one is not finished; EXISTS when it
 * is so; NOT_LEADER; INVALID; or what log_reserve says. Who is to vote should be a learner that has caught up, and the
 * leader should not take itself out: who asked it would never hear. */
MUST_USE enum status shard_change(struct shard *shard, const struct raft_configuration *target);

/* How another member does, in the eyes of the leader. */
struct shard_peer_status {
    uint64_t id;
    uint64_t match; /* it has the log up to here, durably */
    enum raft_peer_state state;
    int64_t heard_ms; /* ago */
};
/* The other members, at a leader; elsewhere none. Returns how many there are, also when `capacity` is less. */
size_t shard_peers(const struct shard *shard, struct shard_peer_status *ret_peers, size_t capacity);

/* The last entry that is applied. */
uint64_t shard_applied_index(const struct shard *shard);
/* The last entry of which anything is in the applied state: that one, or the one behind it, while that is half applied.
 * What is read from the applied state shows nothing of later ones. */
uint64_t shard_seen_index(const struct shard *shard);
/* While a reply is told: the entry that holds its command; of a read, the last one of which it may have seen anything.
 * Borrowed, as long as the shard is open. */
const uint64_t *shard_told_index(const struct shard *shard);
/* Whether what the command reads may be about to be changed by a transaction: a key of it is held by one that is
 * prepared in the applied state. True while there is no state. */
bool shard_read_blocked(const struct shard *shard, const struct command *command);
/* True when nothing waits: no open batch, nothing on the way to the disk. */
bool shard_idle(const struct shard *shard);

/* Begins a snapshot now, or after the entry that is being applied; BUSY when one is being made. The outcome is in
 * shard_stats. */
MUST_USE enum status shard_snapshot(struct shard *shard);

struct shard_stats {
    struct machine_stats machine;
    struct log_stats log;
    bool elected;          /* leader by consensus */
    bool leading;          /* and ready to take requests */
    uint64_t leader, term; /* as shard_leader */
    uint64_t applied_index, committed_index, last_index;
    uint64_t entries, commands; /* applied since the process started */
    uint64_t repeated;          /* forwarded batches skipped, since then */
    uint64_t divided;           /* times that an entry was left for the next turn */
    uint64_t pending_bytes;
    bool snapshot_running;
    bool installing;           /* a snapshot from another member is being loaded */
    uint64_t installed;        /* snapshots taken from other members */
    uint64_t replaced;         /* entries that took the place of others, after a conflict */
    uint64_t orphans_executed; /* entries of a lost leadership that were committed after all */
    uint64_t orphans_returned; /* … and that were not */
    uint64_t waiting_returned; /* batches that waited for their place in the log when leadership went */
    uint64_t outcomes_joined;  /* outcomes of transactions that went into an entry which was made anyway (outcomes.h) */
    uint64_t outcomes_returned; /* … and that waited for one when leadership went */
    uint64_t geneses;           /* times that this member proposed the group's first entry */
    uint64_t snapshots;         /* finished since the process started */
    uint64_t snapshot_index;    /* of the newest */
    uint64_t snapshot_bytes;
    int64_t snapshot_wall_ms; /* when it finished; 0: never in this process */
    int64_t snapshot_duration_ms;
    enum status snapshot_status; /* of the last attempt */
    uint64_t replayed_entries;   /* at start */
    int64_t open_ms;             /* how long opening took */
};
void shard_stats(const struct shard *shard, struct shard_stats *ret_stats);

/* Keys in one hash slot of the applied state (see machine_count_in_slot). */
uint64_t shard_count_in_slot(const struct shard *shard, uint16_t slot);

/* Of the whole state; see machine_digest. 0 while there is none, or an entry is half applied. */
uint64_t shard_digest(const struct shard *shard);
