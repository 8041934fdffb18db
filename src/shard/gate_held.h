/* What the gate holds: for gate*.c. */
#pragma once

#include "base/assert.h"
#include "machine/txn/footprint.h"
#include "shard/claims.h"
#include "shard/shard.h"

struct held {
    struct list node;
    struct shard_request request;
    struct machine_origin from; /* when request.forwarded */
    bool logged;
    bool prepares;
    bool refuses; /* a PREPARE that would wait and must not: a no vote, at the next turn */
    bool wants;   /* a key is taken; else it only stands behind its requester's own */
    enum footprint_reach reach;
    uint64_t barrier; /* of a read: it may wait for what was prepared up to here alone */
    int64_t since_ns;
    struct buffer bytes; /* the command, encoded */
};

/* The id of the transaction that this one waits for, or of one of them; empty when that is not known. Valid until
 * something is held or applied (gate_look.c). */
struct slice gate_holder(struct shard *shard, const struct held *held, const struct command *command);

/* The command's keys are claimed from now on; gate_unclaim takes them back from `coming` (gate_claim.c). */
void gate_claim(struct shard *shard, struct claims *claims, const struct command *command);

/* Slices point into `held`. */
static inline struct command held_command(const struct held *held, struct command_arguments *arguments)
{
    struct slice from = buffer_slice(&held->bytes);
    struct command command;
    ASSERT(command_decode(&from, arguments, &command) == STATUS_OK);
    return command;
}
