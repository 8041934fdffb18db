/* What a transaction over several shards does: its commands, cut into steps that stay in one shard each, and what it
 * watched. It makes the commands that the shards are asked, and one reply for each command of what they answer. Pure.
 *
 * A step is a command, or the part of one that concerns one shard: MSET a 1 b 2 becomes MSET a 1 and MSET b 2, and
 * their replies become one again; what is about all keys (FLUSHALL, DBSIZE, KEYS, …) is a step in every shard, and SCAN
 * in the one where its cursor is (as in gather.h). What cannot be cut, because what it writes in one shard depends on
 * another (RENAME, COPY, MSETNX, EVAL), makes the plan one of values: all its keys are read first, its commands run
 * here over what was read (txn_values.h), and the shards are told what to check and what to write; looks at all keys
 * stay steps of theirs.
 *
 * Invariants: parts ascend by shard; within one, steps stand in the order of the transaction. */
#pragma once

#include "base/buffer.h"
#include "command/command.h"
#include "machine/txn/txn_id.h"
#include "machine/txn/txn_limits.h"
#include "server/txn_seem.h"
#include "server/txn_values.h"
#include "wire/resp_writer.h"

enum {
    PLAN_NARROW_PARTS = 64, /* more are wide */
    PLAN_OPEN_MS = 5000,
    PLAN_OPEN_PART_MS = 20, /* more for each part of one that is wide */
};

enum plan_merge {
    PLAN_WHOLE,  /* one shard's reply is the reply */
    PLAN_SUM,    /* integers: DEL, UNLINK, EXISTS, TOUCH, DBSIZE */
    PLAN_OK,     /* MSET, FLUSHALL */
    PLAN_ARRAY,  /* MGET: elements, in the order of the keys */
    PLAN_ARRAYS, /* KEYS: one array behind the other */
    PLAN_RANDOM, /* RANDOMKEY: of each shard DBSIZE, and a key; large shards win more often */
    PLAN_SCAN,   /* one shard's reply, but for its cursor */
};

struct plan_step {
    uint32_t shard;
    struct buffer encoded;
    struct buffer seems; /* a COHORT.TXN.SEEM that stands before it (txn_seem.h), if it is not empty */
    struct slice reply;  /* borrowed from the part's answer */
};

struct plan_command {
    uint8_t merge; /* enum plan_merge */
    uint8_t protocol;
    bool looks; /* at all keys */
    uint32_t first_step, step_count;
    uint32_t *order; /* PLAN_ARRAY: for each key, which of the steps has it */
    uint32_t order_count;
    struct buffer encoded, reply; /* of values */
};

/* A key that a plan of values reads. */
struct plan_key {
    uint32_t shard;
    struct slice key; /* in the command's `encoded` */
};

struct plan_watch {
    uint32_t shard;
    struct buffer key;
    uint64_t version;
};

struct plan_part {
    uint32_t shard;
    uint32_t first_step, step_count; /* in plan.order */
    uint32_t first_key, key_count;   /* in plan.keys */
    struct buffer answer;            /* of the round that is under way, or was */
};

struct txn_plan {
    uint32_t shards; /* of the cluster */
    bool draws;      /* a RANDOMKEY is among it, which wants … */
    uint64_t random; /* … any number */
    bool readonly;   /* no command writes, and nothing is watched */
    bool of_values;
    bool looks; /* at all keys: of values, those replies come from the shards, all others are made here */
    struct txn_values values;
    struct txn_seem seem;
    size_t replied_bytes;  /* of its commands so far */
    struct plan_key *keys; /* of values, after txn_plan_seal: sorted by shard and key, each once */
    uint32_t key_count;
    uint64_t said_keys, said_bytes; /* of the commands */
    struct plan_command *commands;
    uint32_t command_count;
    struct plan_step *steps;
    uint32_t step_count;
    uint32_t *order; /* of steps: part by part, and within one as they stand; with the parts */
    struct plan_watch *watches;
    uint32_t watch_count;
    struct plan_part *parts; /* after txn_plan_seal */
    uint32_t part_count;
};

void txn_plan_init(struct txn_plan *plan, uint32_t shards, bool of_values);
void txn_plan_deinit(struct txn_plan *plan);

/* FLUSHALL, FLUSHDB: every shard takes part. */
bool txn_plan_flushes(const struct command_spec *spec);
/* DBSIZE, KEYS, RANDOMKEY, SCAN: for plans that are not of values. */
bool txn_plan_looks(const struct command_spec *spec);
/* True when the command can be cut; else it needs a plan of values, if its keys are in several shards. */
bool txn_plan_cuts(const struct command_spec *spec);
/* Adds a command; its keys are in one shard, or it can be cut, or the plan is of values. Bytes are copied. In a plan of
 * values FLUSHALL is a step as well: the shards do it before they put the values. */
void txn_plan_add(struct txn_plan *plan, const struct command *command);
/* The transaction must not take effect unless all keys of the shard are as they were when a look told these numbers. */
void txn_plan_seen(struct txn_plan *plan, uint32_t shard, uint64_t position, uint64_t count);
/* The transaction must not take effect unless the key has this version. */
void txn_plan_watch(struct txn_plan *plan, struct slice key, uint64_t version);
/* All is added: finds the parts. */
void txn_plan_seal(struct txn_plan *plan);
/* The parts are there, which ascend; each step's shard is one of them: finds each part's steps. */
void txn_plan_order(struct txn_plan *plan);
/* The part of a shard, or part_count. */
uint32_t txn_plan_part(const struct txn_plan *plan, uint32_t shard);
/* It has more keys, or says or has written more, than one transaction may; one that only reads is not limited so. */
bool txn_plan_too_large(const struct txn_plan *plan);

/* Of so many parts that it may take longer than those wait that are prepared before they ask home: home has opened it
 * before any of them is asked, and so never aborts what somebody still runs. Of others home votes last, or is opened
 * meanwhile. */
bool txn_plan_is_wide(const struct txn_plan *plan);
/* Of one that is committed as soon as it is prepared: home aborts it by itself when it is not decided by then. */
int64_t txn_plan_open_ms(const struct txn_plan *plan);

/* Of values: takes the answer to COHORT.DUMP of the part's keys; false when it is none. */
bool txn_plan_take_dump(struct txn_plan *plan, uint32_t part, struct slice answer);
enum plan_run {
    PLAN_RAN,
    PLAN_CHANGED, /* a watched key was read with another version, so there is no use */
    PLAN_LARGE,   /* *ret_why says of what there is too much */
};
/* All dumps were taken: runs the commands, as long as what they make is not too much. */
enum plan_run txn_plan_run(struct txn_plan *plan, const char **ret_why);
/* Whether this key was read by the plan itself, so that another version of it only means to read again. */
bool txn_plan_reads(const struct txn_plan *plan, struct slice key);

/* Takes the replies of a part's steps, all that is in `from`. False when they are not there. */
bool txn_plan_take(struct txn_plan *plan, uint32_t part, struct slice from);
/* One command's reply, after all parts were taken; an error that a shard replied comes first. */
void txn_plan_reply(const struct txn_plan *plan, uint32_t at, struct resp_writer *reply);
