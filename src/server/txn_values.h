/* What a transaction sees and has written so far, kept at the node of its client: for each shard an overlay of the keys
 * that it read (COHORT.DUMP), over which its commands run. For commands whose writes in one shard depend on another
 * (RENAME, COPY, MSETNX, EVAL), and for TXN.*, whose client wants each reply before it says what comes next.
 *
 * A command whose keys are in several shards runs over one more overlay, into which they are copied, and from which
 * what changed goes back. Times of shards are not compared: a time to live keeps what remains of it. */
#pragma once

#include "base/buffer.h"
#include "command/command.h"
#include "machine/events.h"
#include "machine/scripts.h"
#include "machine/txn/overlay.h"
#include "wire/resp_writer.h"

struct values_shard {
    struct overlay *overlay; /* NULL: none of its keys is known */
    int64_t time_ms, wall_ms;
    size_t memory_bytes; /* of the overlay, as it was counted last */
};

struct txn_values {
    const struct machine_scripts *scripts; /* borrowed; at first those of the process */
    uint32_t shard_count;
    struct values_shard *shards; /* by shard − 1 */
    struct overlay *across;
    bool flushed;                 /* by a command that was run: what is read from now on is gone */
    size_t bytes;                 /* of values that were read */
    size_t memory_bytes;          /* of all shards */
    struct machine_events events; /* what scripts have published: for when it is committed */
    struct scripts_spent spent;   /* by its scripts, since it knew no key */
};

void txn_values_init(struct txn_values *values, uint32_t shard_count);
void txn_values_deinit(struct txn_values *values);
/* Knows no key again. */
void txn_values_clear(struct txn_values *values);

/* What was read and written takes so much. */
static inline size_t txn_values_memory_bytes(const struct txn_values *values)
{
    return values->memory_bytes + values->events.messages.size;
}
/* How many keys are known, and how much is written. */
struct values_size {
    size_t keys, written_bytes;
};
struct values_size txn_values_size(const struct txn_values *values);
/* It is more than one transaction may have read, or read and written; NULL: it is not. */
const char *txn_values_too_much(const struct txn_values *values);
bool txn_values_knows(const struct txn_values *values, struct slice key);
/* The version that was read; false when the key is not known. */
bool txn_values_version(const struct txn_values *values, struct slice key, uint64_t *ret_version);
/* Takes the answer to COHORT.DUMP of these keys of a shard; none is known already. False: it is no such answer. */
bool txn_values_take(struct txn_values *values, uint32_t shard, const struct slice *keys, uint32_t count,
                     struct slice answer);
/* Runs the command, all of whose keys are known, or FLUSHALL or FLUSHDB, and writes its reply. */
void txn_values_run(struct txn_values *values, const struct command *command, struct resp_writer *reply);

/* Scripts took long (SHARD_LONG_STEPS) since this was asked last. */
bool txn_values_took_long(struct txn_values *values);

/* The keys of a shard, as overlay_at; 0 when none is known. */
size_t txn_values_count(const struct txn_values *values, uint32_t shard);
void txn_values_at(const struct txn_values *values, uint32_t shard, size_t at, struct overlay_key *ret_key);
/* Appends the key's value as it is now; nothing when it is absent. */
void txn_values_dump(const struct txn_values *values, uint32_t shard, struct slice key, struct buffer *out);
