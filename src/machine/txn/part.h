/* Prepared parts: what this shard has promised to transactions, and which keys they hold. README.md has the states. */
#pragma once

#include "base/buffer.h"
#include "base/list.h"
#include "machine/keys/keyspace.h"
#include "machine/txn/lock_table.h"
#include "machine/txn/prepare.h"
#include "machine/txn/txn_limits.h"

enum part_state {
    PART_NONE, /* no record: q */
    PART_WAIT, /* voted yes: w */
    PART_PRECOMMIT,
    PART_PREABORT,
    PART_COMMITTED, /* under 3PC, until FORGET */
    PART_ABORTED,
    PART_HELD, /* has not voted, but holds the locks: a PREPARE with the writes is to come */
    PART_STATES,
};

struct part {
    uint32_t id_size; /* first: struct table_item */
    uint8_t state, protocol;
    uint32_t home;
    uint64_t epoch, vote;     /* vote: position of the PREPARE, or of the ASK that it refused at */
    uint64_t mark;            /* of whoever leads the shard, about its own queue: not replicated, 0 at first */
    int64_t since_ms;         /* of the shard's time, when it came to its state */
    struct txn_runner runner; /* while it is prepared; of a made id its own, else as PREPARE has told */
    uint32_t *participants;   /* of 3PC; NULL when there are none */
    uint32_t participant_count;
    uint32_t key_count; /* of single keys */
    struct buffer body; /* its keys and writes: see part_next */
    struct list node;   /* in the list of its state */
    uint8_t id[];
};

struct ties;

struct parts {
    struct table table;
    struct ties *ties;       /* of the same machine; NULL: nothing ends with a session */
    struct lock_table locks; /* holders are parts */
    struct list prepared;    /* HELD, WAIT, PRECOMMIT, PREABORT, in order of PREPARE */
    struct list finished;    /* COMMITTED, ABORTED */
    uint64_t prepared_count, finished_count;
    uint64_t bytes;   /* of all bodies */
    uint64_t *epochs; /* the newest seen of each home, by shard */
    uint32_t epoch_count;
};

void parts_init(struct parts *parts, uint64_t seed);
void parts_deinit(struct parts *parts);

static inline struct slice part_id(const struct part *part) { return slice_of(part->id, part->id_size); }
const char *part_state_name(enum part_state state);
struct part *parts_find(const struct parts *parts, struct slice id);

/* False when a newer epoch of this home was seen; else it is the newest now. */
bool parts_see_epoch(struct parts *parts, uint32_t home, uint64_t epoch);

/* ---- the body: each key once ---- */

struct part_key {
    bool all; /* comes first, if at all: it is about every key, and those that follow come on top of it */
    struct slice key;
    bool exclusive; /* the lock */
    bool written;   /* and then: */
    bool deleted;   /* … it is removed (all: every one is); else it gets this value, as entry_dump makes it */
    struct slice value;
};
void part_add_key(struct buffer *body, const struct part_key *key);
/* Takes the next from the front of *from, which begins as the body; false at its end, and on what is no body. */
bool part_next(struct slice *from, struct part_key *ret_key);

/* ---- moves ---- */

struct part_prepare {
    const struct txn_prepare *prepare;
    uint64_t position;
    int64_t time_ms;
    uint32_t key_count;
};
/* A yes vote, or the locks before it (HOLD): takes the body and all locks, which are free (asserted); the id is not
 * there. */
struct part *parts_prepare(struct parts *parts, const struct part_prepare *prepare, struct buffer *body);
/* One that is HELD: the locks are free, for its own PREPARE. */
void parts_let_go(struct parts *parts, struct part *part);
/* Never voted, and never will: a record that is ABORTED. The id is not there. */
struct part *parts_refuse(struct parts *parts, struct slice id, uint32_t home, uint64_t epoch, uint64_t position,
                          int64_t time_ms);
/* To PRECOMMIT or PREABORT; false when there is no such move from where it is. */
bool part_move(struct part *part, enum part_state to, int64_t time_ms);
/* The outcome: writes appear in the keyspace with this position as their version, or are dropped; locks are free. Of
 * 2PC the part is gone. A write that would end with a session that has ended meanwhile has ended with it. */
void part_finish(struct parts *parts, struct part *part, bool commit, struct keyspace *keyspace,
                 const struct keyspace_time *time, uint64_t position);
/* Of a finished one. */
void part_forget(struct parts *parts, struct part *part);

/* ---- snapshots (txn_snapshot.c) ---- */
void part_put(const struct part *part, struct buffer *out);
