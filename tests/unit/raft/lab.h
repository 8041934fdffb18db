/* A laboratory for the consensus core: members with logs in memory, disks that may lose what was not synced, and a
 * network in the hands of the test. An oracle watches every member after every turn and remembers all that was ever
 * promised; the first broken promise ends the run.
 *
 * What the oracle holds to be always true
 *  - one leader per term; term and vote never go back, also over a crash, seen from what was sent
 *  - log matching: equal (index, term) means an equal entry after an equal predecessor
 *  - what is committed is on a durable majority when it is committed, stays the same everywhere, and is in the log of
 *    every later leader (leader completeness); equal applied index, equal state (state machine safety)
 *  - an acknowledged index is durable at the one who acknowledged it
 *  - a read, by round or by lease, sees what was acknowledged, or read, before it began
 *  - who hears nobody does not raise the term, and does not go on leading; who hears its leader does not give it up
 *    because its host was away meanwhile
 */
#pragma once

#include "base/buffer.h"
#include "base/prng.h"
#include "raft/raft.h"
#include "raft/raft_codec.h"
#include "raft/raft_mutation.h"

enum { LAB_NODES = 8, LAB_READS = 32, LAB_FILE_BYTES = 1024, LAB_STATE_BYTES = 8, LAB_LISTENS = 5 };

struct lab_bytes {
    uint32_t refs;
    uint32_t size;
    uint8_t data[];
};

struct lab_entry {
    uint64_t index;
    uint64_t term;
    uint8_t kind;
    uint8_t version;
    struct lab_bytes *payload;
};

/* A log with its hard state: once as the disk has it, once as the member believes it will be. */
struct lab_log {
    struct raft_hard_state hard_state;
    uint64_t trimmed, trimmed_term;
    struct lab_entry *entries; /* (trimmed, …] */
    size_t count, capacity;
};

struct lab_op {
    enum { LAB_OP_HARD_STATE, LAB_OP_TRIM, LAB_OP_TRIM_ALL, LAB_OP_ENTRY, LAB_OP_END } kind;
    struct raft_hard_state hard_state;
    struct lab_entry entry; /* for trims: index and term */
    uint64_t number;        /* END: of the ready whose operations came before */
};

struct lab_file {
    struct raft_snapshot_ident ident; /* index 0: none */
    uint8_t bytes[LAB_FILE_BYTES];
};

struct lab_read {
    uint64_t round;
    uint64_t must_see;
    uint64_t tag;
};

struct lab_node {
    uint64_t id;
    struct raft *raft; /* NULL: down */
    bool exists;
    bool paused;
    bool stalled; /* its disk does not sync by itself (transcripts) */
    struct raft_options options;
    struct raft_configuration first; /* at index 0 */
    double clock_rate;
    double clock_ms;

    struct lab_log stable, latest;
    struct lab_op *ops; /* given to the disk, not durable yet */
    size_t op_count, op_capacity;

    struct lab_file file; /* newest snapshot, durable */
    struct lab_file old_file;
    struct lab_file incoming;
    uint64_t incoming_size;
    bool installing;

    uint64_t told_commit;
    uint64_t applied;
    uint64_t state;                  /* a hash over all that was applied */
    struct lab_bytes *configuration; /* last applied; NULL: `first` */
    struct lab_read reads[LAB_READS];
    size_t read_count;
    struct raft_time leader_time;

    /* The oracle's memory of this member; survives its crashes. */
    uint64_t seen_term, seen_vote;
    uint64_t sent_term;
    enum raft_role seen_role;
    uint64_t received_since_quiet; /* messages since it last fell out of contact */
    uint64_t ticked_ms;            /* on its clock */
    uint64_t awake_ms;             /* of that, what passed while its host had turns */
    uint64_t contact_ms;           /* of awake_ms: the last message, restart or start of leadership */
    uint64_t led_ms;               /* of awake_ms: its leader was heard; 0: not since it started, or it is gone */
};

struct lab_packet {
    uint64_t from, to;
    enum raft_message_type type;
    struct lab_bytes *bytes;
};

struct lab_known { /* of one index */
    struct {
        uint64_t term, prev_term, hash;
    } * versions;
    size_t version_count;
    bool committed;
    uint64_t term, hash, commit_term;
    bool has_state;
    uint64_t state;
};

struct lab_oracle {
    struct lab_known *indexes;
    size_t capacity;
    uint64_t committed; /* highest */
    struct {
        uint64_t leader;
        uint64_t votes[LAB_NODES + 1];
    } * terms;
    size_t term_capacity;
    uint64_t observed; /* highest index a client knows of: acknowledged or read */
};

/* What a run reached, so that tests can demand that it was not a quiet one. */
struct lab_marks {
    uint64_t elections, truncations, installs, resumed_chunks, transfers, changes, removed_leaders, reads, lease_reads,
        crashes, lost_ops, rejects, compactions;
};

struct lab {
    struct lab_node nodes[LAB_NODES + 1]; /* by id */
    struct lab_packet *packets;           /* in flight, oldest first */
    size_t packet_count, packet_capacity;
    bool cut[LAB_NODES + 1][LAB_NODES + 1]; /* from, to: what is sent now is lost */
    struct lab_oracle oracle;
    struct lab_marks marks;
    struct buffer *trace; /* NULL: nobody reads along */
    bool trace_packets;   /* … of each message and crash */
    enum raft_mutation mutation;
    bool lazy_apply;   /* apply only in lab_apply */
    bool lazy_install; /* install only in lab_install */
    uint64_t read_tags;
    uint64_t proposals;
    bool failed;
    char failure[256];
};

void lab_init(struct lab *lab);
void lab_deinit(struct lab *lab);

struct raft_options lab_options(uint64_t id, uint64_t seed);
/* A member with this configuration at index 0 (NULL: none yet), started. */
void lab_add(struct lab *lab, const struct raft_options *options, const struct raft_configuration *first);
/* The first `keep` of the operations that were not durable survive. */
void lab_crash(struct lab *lab, uint64_t id, size_t keep);
void lab_restart(struct lab *lab, uint64_t id);

/* Moves one member's clock (by its rate) and ticks, as often as a host does that runs. */
void lab_tick(struct lab *lab, uint64_t id, double real_ms);
uint64_t lab_now(const struct lab_node *node);
/* In the middle of a turn that takes long: what says that it lives. */
void lab_beat(struct lab *lab, uint64_t id);
/* Takes what the core wants done, and does it; messages go into flight. */
void lab_turn(struct lab *lab, uint64_t id);
/* The first `ops` operations become durable (those of whole readies are told). */
void lab_sync(struct lab *lab, uint64_t id, size_t ops);
void lab_apply(struct lab *lab, uint64_t id, uint64_t limit);
void lab_install(struct lab *lab, uint64_t id, bool succeeds);
/* Takes packet `at` out of flight and hands it over (if its receiver is up). */
void lab_deliver(struct lab *lab, size_t at);
void lab_drop(struct lab *lab, size_t at);
void lab_duplicate(struct lab *lab, size_t at);

enum status lab_propose(struct lab *lab, uint64_t id, const char *text);
enum status lab_read(struct lab *lab, uint64_t id);
enum status lab_lease_read(struct lab *lab, uint64_t id, uint64_t *ret_index);
/* A snapshot of what is applied; the log keeps `tail` entries below it. */
void lab_snapshot(struct lab *lab, uint64_t id, uint64_t tail);

uint64_t lab_leader(const struct lab *lab); /* of the highest term; 0: none */
uint64_t lab_last(const struct lab_log *log);
const struct lab_entry *lab_entry(const struct lab_log *log, uint64_t index); /* NULL: not there */
const char *lab_type_name(enum raft_message_type type);
void lab_describe(const struct raft_message *message, struct buffer *out);

/* ---- what it keeps (lab_store.c) ---- */

struct lab_bytes *lab_bytes_make(const void *data, size_t size);
struct lab_bytes *lab_bytes_share(struct lab_bytes *bytes);
void lab_bytes_release(struct lab_bytes *bytes);
void lab_log_drop_from(struct lab_log *log, uint64_t index);
void lab_log_copy(struct lab_log *to, const struct lab_log *from);
/* The operation is in `latest` at once, and waits for the disk. */
void lab_op_push(struct lab_node *node, const struct lab_op *op);
/* The first `count` operations reach the disk; returns the number of the last ready among them that is complete. */
uint64_t lab_ops_settle(struct lab_node *node, size_t count);
void lab_file_make(struct lab_file *file, uint64_t index, uint64_t term, uint64_t maker, uint64_t state,
                   struct slice configuration);
bool lab_file_read(const struct lab_file *file, uint64_t *ret_state, struct slice *ret_configuration);

/* ---- the oracle ---- */

__attribute__((format(printf, 2, 3))) void lab_fail(struct lab *lab, const char *format, ...);
void lab_oracle_deinit(struct lab *lab);
void lab_oracle_appended(struct lab *lab, const struct lab_node *node, const struct lab_entry *entry);
void lab_oracle_committed(struct lab *lab, const struct lab_node *node, uint64_t commit);
void lab_oracle_applied(struct lab *lab, const struct lab_node *node, const struct lab_entry *entry);
void lab_oracle_status(struct lab *lab, struct lab_node *node);
/* It took this message. */
void lab_oracle_led(struct lab_node *node, const struct raft_message *message);
void lab_oracle_alone(struct lab *lab, struct lab_node *node);
void lab_oracle_sent(struct lab *lab, struct lab_node *node, const struct raft_message *message);
uint64_t lab_hash_entry(const struct lab_entry *entry);
