/* The replicated state machine: commands in, replies out, nothing else.
 *
 * Pure: no clock, randomness, I/O, logging, threads or globals. The same sequence of machine_apply calls gives the same
 * state on every node, whatever was read in between.
 *
 * Invariants
 * 1. Time never goes back: time_ms and wall_ms of an apply are never less than those of the one before.
 * 2. Positions grow: each apply's position is larger than the one before. A key's version is the position of its last
 *    change; deletion leaves a trace (machine_key_version), so delete-and-recreate never passes unseen.
 * 3. A key is absent from the moment its time to live is due by the *applied* time. Only applies remove it.
 * 4. Reads change nothing that a later read, apply, snapshot or digest could see.
 * 5. The work of one call is bounded by its command's size and result, not by the number of keys: growing tables,
 *    freeing large values and expiring many keys go on in small steps. That of scripts by their budget, in an EXEC by
 *    twice one of those that write, and of those that read.
 */
#pragma once

#include "base/status.h"
#include "command/command.h"
#include "wire/resp_writer.h"

struct locks;
struct meets;
struct machine;
struct machine_events;
struct machine_scripts;
struct services;
struct sessions;
struct txns;

struct machine_options {
    uint64_t hash_seed;                    /* the same at all replicas of a shard; part of its snapshots */
    const struct machine_scripts *scripts; /* borrowed; NULL: EVAL is an error, at all replicas or at none */
};

struct machine_context {
    uint64_t position; /* of the entry, times 2^16 plus the command's place in it: unique per command */
    int64_t time_ms;   /* the shard's time */
    int64_t wall_ms;   /* wall clock of the entry, Unix milliseconds */
    uint64_t term;     /* of the entry; for transactions (txn/README.md) */
    /* Of a read: so much later it is by the clock of who leads. What remains of something is told by that. */
    int64_t ahead_ms, ahead_wall_ms;
};

struct machine *machine_create(const struct machine_options *options);
void machine_destroy(struct machine *machine);

/* From now on what applies and reads do to keys, and what scripts publish, is told there (events.h); borrowed. NULL:
 * nobody listens. */
void machine_listen(struct machine *machine, struct machine_events *events);

/* Executes one command from the log (a write, an EXEC, or a read that needed the log) and writes its reply. */
void machine_apply(struct machine *machine, const struct machine_context *context, const struct command *command,
                   struct resp_writer *reply);

/* Steps that scripts have used here, ever (script/README.md: two to twenty nanoseconds each): what a command took is
 * the difference. Borrowed. */
const uint64_t *machine_steps(const struct machine *machine);

/* ---- batches that another node forwarded: executed once, whatever way and however often they come (origin.h) ---- */

enum {
    MACHINE_ORIGIN_NODES = 256,   /* nodes of whom it is known what was executed */
    MACHINE_ORIGIN_WINDOW = 4096, /* batches of one node, from its oldest that is not settled on */
};

struct machine_origin {
    uint64_t node;          /* its id: never 0, never another node's */
    uint64_t start;         /* larger at each of its starts */
    uint64_t sequence;      /* of the batch, in this shard, since that start; from 1 */
    uint64_t settled_below; /* the node has the answers to all below, and sends none of them again */
};

/* Within its bounds: settled_below ≤ sequence < settled_below + MACHINE_ORIGIN_WINDOW, numbers fit int64. */
bool machine_origin_valid(const struct machine_origin *origin);

/* The commands of this batch stand next in the log. True: execute them. False: they were executed before, or their node
 * has started anew or given them up since; they must be skipped. An apply like others: it has a position of its own.
 * `part`: these are some of the batch; others of it come, or came, in other entries, each once. */
MUST_USE bool machine_apply_origin(struct machine *machine, const struct machine_context *context,
                                   const struct machine_origin *origin, bool part);

/* Executes a read-only command against the applied state; context holds the reader's *present* shard and wall time.
 * False, and nothing written, when it met a key that is due by the present time but not yet by the applied one: the
 * caller then takes it through the log (machine_apply), so that no later reader sees the key come back. */
bool machine_read(struct machine *machine, const struct machine_context *context, const struct command *command,
                  struct resp_writer *reply);

/* Moves the time on and nothing else, as every apply does: for a read that stands in an entry before its first command.
 */
void machine_apply_clock(struct machine *machine, int64_t time_ms, int64_t wall_ms);

/* Start loading what a command waits for in memory, so that the waits of a batch overlap: its bucket some commands
 * ahead, its entry when the bucket has come. `aim` is machine_aim of the command: a key, or a lock. They change
 * nothing. */
uint64_t machine_aim(const struct machine *machine, const struct command *command);
void machine_prefetch_bucket(const struct machine *machine, uint64_t aim);
void machine_prefetch_entry(const struct machine *machine, uint64_t aim);

/* Moves the time on and removes keys that are due, at most MACHINE_EXPIRE_STEP of them, in the order of (due, key).
 * Every apply moves the time; only this removes in bulk. */
enum { MACHINE_EXPIRE_STEP = 128 };
void machine_apply_time(struct machine *machine, const struct machine_context *context);

/* True when machine_apply_time at these times would remove something. */
bool machine_has_due(const struct machine *machine, int64_t time_ms, int64_t wall_ms);
/* When the next key is due, in each time; INT64_MAX for never. */
void machine_next_due(const struct machine *machine, int64_t *ret_time_ms, int64_t *ret_wall_ms);

/* The version of a key for WATCH: position of its last change when it is there, else the trace its slot of deletions
 * left (so two looks at an absent key differ when it was there in between; rarely also when a neighbour was). */
uint64_t machine_key_version(const struct machine *machine, struct slice key);

/* ---- transactions (txn/README.md) ---- */

/* Whether an ordinary command must wait for the outcome of a transaction: it would write a key that is locked, or read
 * one that is going to be written. One compare when none is prepared. (Reads of all keys are not looked at.) */
bool machine_blocked(struct machine *machine, const struct command *command);
/* Home records and prepared parts, for those who finish them. */
const struct txns *machine_txns(const struct machine *machine);

/* ---- locks (lock/locks.h) ---- */

const struct locks *machine_locks(const struct machine *machine);
/* Barriers and latches (meet/meets.h); their news goes with that of locks. */
const struct meets *machine_meets(const struct machine *machine);
/* Services and their endpoints (service/services.h). */
const struct services *machine_services(const struct machine *machine);
/* Whether applies from now on put down news for those who asked for locks (lock/lock_notice.h): at the replica that
 * tells them. What was put down goes. */
void machine_tell_locks(struct machine *machine, bool tell);
/* The news since it was cleared, which is the caller's to do. */
struct buffer *machine_lock_notices(struct machine *machine);

/* ---- sessions (session/sessions.h) ---- */

const struct sessions *machine_sessions(const struct machine *machine);

/* A little housekeeping (moving tables, freeing large values): call once per turn when there is time. True when
 * more is left. */
bool machine_work(struct machine *machine);

struct machine_stats {
    uint64_t keys;
    uint64_t keys_with_expiry;
    uint64_t memory_bytes;  /* keys, values and their structures, counted alike on every replica; with the next: */
    uint64_t history_bytes; /* of changes kept for feeds */
    uint64_t expired;       /* removed because due, since the process started */
    uint64_t hits;          /* as INFO's keyspace_hits and keyspace_misses */
    uint64_t misses;
    uint64_t prepared; /* parts of transactions that hold locks */
    uint64_t blocked;  /* commands that were not executed since they met a lock; nothing should come so far */
    uint64_t locks, lock_holders, lock_waiters;          /* of LOCK.*: held or waited for */
    uint64_t locks_granted, locks_expired, locks_queued; /* since the process started */
    uint64_t meets, meet_waiters; /* barriers that somebody is in, and closed latches; who waits there */
    uint64_t meets_passed;        /* since the process started */
    uint64_t services, endpoints; /* services that have endpoints, and these */
    uint64_t endpoints_registered, endpoints_expired, service_changes; /* since the process started */
    uint64_t sessions, sessions_ended;    /* of those that ended: ones that some shard has not left */
    uint64_t session_ties;                /* sessions, wherever they live, with something here */
    uint64_t session_locks, session_keys; /* that end with one */
    uint64_t sessions_opened, sessions_closed, sessions_expired; /* since the process started, … */
    uint64_t session_beats, session_beat_commands; /* … and heartbeats, and the commands that brought them */
    int64_t time_ms;                               /* applied time */
    int64_t wall_ms;
};
void machine_stats(const struct machine *machine, struct machine_stats *ret_stats);

/* Keys in one hash slot (base/key_slot.h), with keys that are due and not yet removed. */
uint64_t machine_count_in_slot(const struct machine *machine, uint16_t slot);

/* ---- snapshots: the state as records, in any order, while applies go on ----
 * begin fixes the state at that moment; each step emits some records of it (whatever is applied meanwhile: a key or
 * field that is about to change is emitted first). Loading all records into an empty machine made with the same seed
 * gives the same state. One snapshot at a time. */
void machine_snapshot_begin(struct machine *machine);
/* Appends records to out, about budget_bytes of them, each a varint size and that many bytes. True while more are to
 * come. Records made by applies in between are appended by the next step. */
bool machine_snapshot_step(struct machine *machine, struct buffer *out, size_t budget_bytes);
/* Ends it, whether finished or not. */
void machine_snapshot_end(struct machine *machine);
/* How many bytes of records wait inside for the next step; the caller steps more often when it grows. */
size_t machine_snapshot_pending_bytes(const struct machine *machine);
/* Takes one record (without its size). STATUS_CORRUPT on bytes that no step made, STATUS_VERSION on a newer kind. */
MUST_USE enum status machine_load_record(struct machine *machine, struct slice record);

/* Digest of the whole logical state (keys, values, versions, expiries, traces, times, origins): equal states, equal
 * digests, in whatever order they came about. Walks everything: for tests and the simulator. */
uint64_t machine_digest(const struct machine *machine);
