/* The inside of a shard; for the files of this room only. */
#pragma once

#include "base/list.h"
#include "log/snapshot.h"
#include "machine/events.h"
#include "raft/raft.h"
#include "shard/gate.h"
#include "shard/outcomes.h"
#include "shard/shard.h"
#include "shard/shard_entry.h"
#include "shard/shard_gather.h"
#include "shard/shard_mutation.h"
#include "shard/store_internal.h"

/* Entries of tens of megabytes take their time to copy, into the log and then once for each member: of what is larger
 * than this no more than one copy is made in a turn, so that heartbeats are not late. */
enum { SHARD_LARGE_BYTES = 2 << 20 };

enum request_kind {
    REQUEST_LOGGED,
    REQUEST_READ,
    REQUEST_ORIGIN, /* nobody's: the marker before commands that another node forwarded */
};

/* Who waits for the reply of one request of a batch. */
struct request {
    void *origin;
    uint64_t tag;
    enum request_kind kind;
    uint64_t aim; /* machine_aim */
};

/* How far an entry is applied that takes more than one turn. */
struct progress {
    size_t requests;                 /* of a batch of ours */
    uint32_t commands;               /* in the log */
    size_t logged_bytes, read_bytes; /* of what these are encoded in */
    uint32_t forwarded;              /* so many of the commands that come next stand behind a marker, … */
    uint32_t skipped;                /* … and so many are skipped */
};

/* Requests that travel together: those to be logged form one entry, reads keep their place among them. */
struct batch {
    struct list node;     /* in shard.waiting, shard.sealed or shard.spare */
    struct buffer logged; /* the entry's payload: room for its header, then encoded commands in order */
    struct buffer reads;  /* encoded reads, in order */
    struct request *requests;
    size_t request_count, request_capacity;
    uint32_t logged_count; /* commands in the entry, markers among them */
    enum entry_kind kind;
    struct entry_header header; /* when sealed */
    uint64_t index, term;       /* of its entry; 0: nothing to log */
    int64_t since_ns;           /* when its first request came */
    struct buffer claimed;      /* the PREPAREs in it, encoded … */
    uint64_t claim_generation;  /* … when the gate's claims were of that generation */
    uint64_t round;             /* of reads alone: the confirmation they wait for; 0: none */
    struct progress done;
};

struct stored_ready {
    uint64_t number; /* of the ready */
    uint64_t ticket; /* of the log, when all of it is durable */
};

struct shard {
    struct list node; /* in store.shards */
    struct store *store;
    struct env *env;
    struct shard_options options;
    struct shard_sink sink;
    void *owner;
    struct log *log;
    struct machine *machine;
    uint64_t hash_seed;

    struct batch *open;     /* gathers; never NULL */
    uint32_t announced;     /* so many forwarded requests to be logged must still come into it, … */
    size_t announced_bytes; /* … of so many bytes at most */
    struct list waiting;    /* in order: closed, and not in the log yet */
    struct gather gather;
    bool held_back;      /* some of them by what is sealed already, in the last turn */
    struct list sealed;  /* in order: waiting for their entry to be committed */
    struct list orphans; /* of an earlier term of ours: waiting to learn what became of their entry; the reads alone
                          * among them, of the entry behind them */
    struct list spare;   /* empty batches to use again, … */
    size_t spare_count;  /* … a few */
    struct gate gate;
    struct outcomes outcomes;
    struct command_arguments gate_arguments; /* of commands inside the one at the gate */
    size_t pending_bytes;
    struct command_arguments arguments; /* of the command being applied */
    struct command_arguments ahead_arguments;
    uint64_t steps_seen; /* of the machine, before that command */

    uint64_t told_index;      /* of the replies that are being told (shard.h) */
    bool applying;            /* the machine is between two entries' states */
    bool behind;              /* the turn's work is used up, and more is to be applied */
    struct progress replayed; /* of the entry behind applied_index, when it is no batch of ours */
    struct machine_events events;

    struct raft *raft;
    struct raft_configuration configuration; /* as applied */
    uint64_t term, leader;
    bool elected;                            /* leader by consensus */
    bool leading;                            /* and ready to take requests */
    bool lone;                               /* the only voter */
    uint64_t genesis_term;                   /* in which the first entry was proposed here */
    uint8_t genesis[ENTRY_HEADER_BYTES + 8]; /* its payload, which consensus borrows */
    uint64_t read_round, read_index;         /* confirmed */
    uint64_t last_index, commit, applied_index;
    struct buffer storing;     /* struct stored_ready: handed to the log, not durable yet */
    struct buffer entry_bytes; /* of an entry read back from the log */
    bool had_large;            /* logged or sent, in this turn: what else is to be sent waits for the next */

    /* Cluster time: what the last entry said, and what the clock said then. */
    int64_t time_ms, wall_ms;
    int64_t applied_time_ms, applied_wall_ms;
    int64_t time_base_ms, time_base_ns;
    struct raft_time heard; /* the leader's time, when last heard */
    int64_t heard_ns;
    uint64_t heard_term, time_term; /* in which that leader led; of the entry that says time_ms */
    struct env_timer expire_timer;
    int64_t expire_at_ns; /* when it fires, while armed */
    bool time_entry_due;
    int64_t last_time_entry_ms;

    struct snapshot_writer *snapshot;
    struct raft_snapshot_ident offered; /* the newest that consensus knows of */
    struct removal *removal;            /* of older snapshots, running; NULL: none */
    bool snapshot_asked;                /* for when the entry is applied */
    struct buffer snapshot_block;
    bool snapshot_ready;    /* the writer takes a block */
    bool snapshot_given;    /* the machine has no more records */
    bool snapshot_draining; /* all blocks are written: waiting for finished */
    uint64_t snapshot_index, snapshot_term;
    int64_t snapshot_began_ns, snapshot_retry_ns;
    uint64_t snapshot_size_bytes;
    uint64_t logged_since_snapshot_bytes;
    uint64_t logged_before_snapshot_bytes; /* given back when it fails */

    /* what travels: shard_transfer.c, shard_install.c */
    struct arrival *arrival;    /* a snapshot being received; NULL: none was yet */
    struct list departures;     /* chunks being read for other members */
    struct buffer message;      /* being encoded */
    struct raft_entry *entries; /* of a message */

    struct shard_stats stats;
#ifdef COHORT_MUTATIONS
    enum shard_mutation mutation;
#endif
};

/* ---- shard_batch.c ---- */
struct batch *batch_take(struct shard *shard);
void batch_give_back(struct shard *shard, struct batch *batch);
void batch_destroy(struct batch *batch);
MUST_USE enum status batch_add(struct shard *shard, const struct command *command, enum request_kind kind, void *origin,
                               uint64_t tag);
/* Commands that wait elsewhere, and count in what is pending already, come into the open batch. */
void batch_join(struct shard *shard, struct slice commands, const struct request *requests, uint32_t count);
/* As shard_forwarded; `part`: others of the batch are logged in other entries. */
MUST_USE enum status batch_announce(struct shard *shard, const struct machine_origin *from, bool part,
                                    uint32_t logged_count, size_t bytes);
/* Tells those whose requests were to be logged, and forgets these; its reads stay. */
void batch_refuse(struct shard *shard, struct batch *batch, enum status status);
/* What it counts in what is pending. */
size_t batch_pending_bytes(const struct batch *batch);
/* Whether there is room for so much more in what waits. */
bool shard_may_wait(const struct shard *shard, size_t bytes);
/* So much more, or less, is pending: in the shard, and in all of the store. */
void shard_weigh(struct shard *shard, size_t bytes);
void shard_unweigh(struct shard *shard, size_t bytes);

/* ---- shard_gather.c ---- */
/* Looks at the open batch, once in each turn. */
void gather_turn(struct shard *shard);
void gather_sealed(struct shard *shard, const struct batch *batch);

/* ---- shard_time.c ---- */
void shard_time_start(struct shard *shard, int64_t time_ms, int64_t wall_ms);
/* The shard's time and wall clock now: never less than any entry's. */
void shard_time_now(const struct shard *shard, int64_t *ret_time_ms, int64_t *ret_wall_ms);
void shard_time_entry_made(struct shard *shard, const struct entry_header *header, uint64_t term);
void shard_time_schedule(struct shard *shard);
void shard_time_stop(struct shard *shard);
/* A heartbeat told the leader's time. */
void shard_time_heard(struct shard *shard, const struct raft_time *time, uint64_t term);
/* This member begins to lead: its time goes on from the last entry or heartbeat, whichever is later; but not from a
 * heartbeat of a term before the entry's: since then somebody led who had not heard it, whose time was behind, and who
 * gave times to live by that. */
void shard_time_lead(struct shard *shard);
void shard_time_init(struct shard *shard);

/* ---- shard_apply.c ---- */
bool shard_tires(struct shard *shard); /* false */
/* Whether this turn may do some work; else the next one will be soon. */
static inline bool shard_may_work(struct shard *shard)
{
    return __builtin_expect(shard->store->steps_left > 0, 1) || shard_tires(shard);
}
/* What is left of the batch. False: the turn's work is used up, and it is to be called again in another. */
MUST_USE bool batch_apply(struct shard *shard, struct batch *batch);
/* Applies what is left of an entry that no request of ours travels in. AGAIN: not all of it, as above. */
MUST_USE enum status entry_replay(struct shard *shard, const struct raft_entry *entry);

/* ---- shard_raft.c ---- */
struct raft_entry shard_entry_of(const struct log_entry *logged);
MUST_USE enum status shard_raft_open(struct shard *shard);
/* The clock of consensus. */
uint64_t shard_now_ms(const struct shard *shard);
/* What heartbeats say from now on. */
void shard_tell_time(struct shard *shard);
/* The time for consensus; at the start of every turn. */
void shard_tick(struct shard *shard);
/* Takes out of consensus what it wants done, and does it, but for applying what is committed. */
void shard_pump(struct shard *shard);
/* Whether something is. */
bool shard_must_apply(const struct shard *shard);
/* All of it, as far as the turn's work goes. Once in a turn, when what others wait for has left. */
void shard_apply(struct shard *shard);
/* The log is durable up to the ticket. */
void shard_stored(struct shard *shard, uint64_t ticket);
/* An entry of our own; NOT_LEADER, BUSY, FULL: it was not appended. */
MUST_USE enum status shard_propose(struct shard *shard, enum entry_kind kind, struct slice payload,
                                   uint64_t *ret_index);

/* ---- shard_snapshot.c ---- */
void snapshot_begin_if_due(struct shard *shard);
/* True when more can be done at once. */
bool snapshot_go_on(struct shard *shard);
/* Gives up the one being made. */
void snapshot_abandon(struct shard *shard);
/* Gives up what runs: the shard closes. */
void snapshot_leave(struct shard *shard);
/* Tells consensus of the newest durable snapshot, so that the log before it can go. */
void shard_snapshot_announce(struct shard *shard);

/* ---- shard_apply.c ---- */
/* A read by the machine; to what it has of a transaction, who waits there is added. */
bool shard_look(struct shard *shard, const struct machine_context *context, const struct command *command,
                struct resp_writer *reply);
/* Commands of this term tell what happens, if this member is to tell of it; until the end, when it goes to the sink. */
void shard_listen_begin(struct shard *shard, uint64_t term);
void shard_listen_end(struct shard *shard);

/* ---- shard.c ---- */
/* Closes the open batch: it waits for its place in the log. */
void shard_close_batch(struct shard *shard);
/* The two halves of a turn, around the store's flush. The first returns how many requests it sealed, the second whether
 * more can be done at once. */
size_t shard_begin_turn(struct shard *shard, bool sealing);
bool shard_end_turn(struct shard *shard);

/* ---- shard_lead.c ---- */
/* Leadership is gone: what was not handed to consensus, and reads, go back to their origins. */
void shard_return_waiting(struct shard *shard);
/* The batch's requests were definitely not executed; takes the batch. */
void batch_return(struct shard *shard, struct batch *batch);
/* An entry at the index is being applied: the orphan that travels in it, or NULL; those that it shuts out, by taking
 * their place or by a later term before it, are returned. False: reads that stand before it have not all been applied.
 */
MUST_USE bool shard_settle_orphans(struct shard *shard, uint64_t index, struct batch **ret_orphan);
/* Entries up to the index were skipped by a snapshot: nobody here knows what became of the requests in them. */
void shard_lose_sight(struct shard *shard, uint64_t index);

/* ---- shard_transfer.c ---- */
void shard_send_messages(struct shard *shard);
/* In the middle of anything else that the store does: says that this member lives. False: there was no need to. */
bool shard_beat(struct shard *shard, uint64_t now_ms);
/* Gives up what is on its way: the shard closes. */
void shard_transfer_leave(struct shard *shard);

/* ---- shard_install.c ---- */
/* Writes it, and makes the last one's whole the state; consensus hears of it later. */
void shard_take_chunk(struct shard *shard, const struct raft_ready *ready);
/* The last chunk has come, the state has not. */
bool install_runs(const struct shard *shard);
void install_leave(struct shard *shard);
/* What a crash left of a snapshot that was being received. */
void install_remove_leftovers(struct shard *shard);

/* ---- shard_members.c ---- */
/* It is the only voter, by the newest configuration. */
bool shard_is_lone(const struct shard *shard);

/* ---- shard_open.c ---- */
MUST_USE enum status shard_recover(struct shard *shard, char *ret_message, size_t message_capacity);
