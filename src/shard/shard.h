/* One group at one node: requests in, batches to the log, entries to the machine, replies out.
 *
 * The life of a write: shard_submit copies the encoded command into the open batch → shard_turn seals the batch as one
 * log entry and flushes the log → durable → commit → apply in order → the reply goes to the origin's sink.
 *
 * Invariants
 * 1. Nothing is applied, and no reply given, before its entry is committed (here: durable; with more voters: on a
 *    majority).
 * 2. Requests take effect in the order of shard_submit. A read submitted between writes is evaluated at its place, from
 *    the applied state, and leaves nothing in the log.
 * 3. Times in entries never go back; time comes from the env once per turn.
 * 4. Memory is bounded: shard_submit refuses (STATUS_FULL) past SHARD_PENDING_BYTES of unapplied requests.
 */
#pragma once

#include "command/command.h"
#include "env/env.h"
#include "log/log.h"
#include "machine/machine.h"

struct shard;

/* Where replies go. */
struct shard_sink {
    /* A writer for the reply of this request, or NULL when nobody waits for it any more. */
    struct resp_writer *(*begin)(void *owner, void *origin, uint64_t tag);
    void (*end)(void *owner, void *origin, uint64_t tag);
    /* The log failed: the node must stop. */
    void (*failed)(void *owner, enum status status, const char *what);
};

struct shard_options {
    uint32_t group;
    const char *directory;
    uint64_t snapshot_log_bytes; /* a snapshot is begun when this much was logged since the last */
};

enum { SHARD_PENDING_BYTES = 256 << 20, SHARD_BATCH_COMMANDS = 60000 };
