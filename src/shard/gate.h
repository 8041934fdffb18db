/* The gate before the log: what meets a transaction's lock waits here for its outcome.
 *
 *   request ─▶ free ────────────────────────────────▶ batch
 *      │                                               ▲
 *      └─▶ held: its key is locked, or will be by a ───┘ in order, when nothing stands before it any more
 *          PREPARE before it; or something of the same
 *          requester is held
 *
 * Invariants
 * 1. An ordinary write enters the log only when no lock stands in its way as of what is applied, and none of a PREPARE
 * that is before it in the log: so none meets a lock in the machine. A lock does not count for a write that goes
 * behind the outcome which ends it (outcomes.h); should that be refused, because the disk is full, and the write not,
 * the machine answers BUSY.
 * 2. A strong read is given its place only when no write lock stood in its way as of what was applied when it arrived.
 * (A PREPARE under way then has not been applied, so its transaction is not acknowledged, and may come after the read.)
 * When it had to wait, none may stand in its way at all: what was prepared meanwhile may be older than something else
 * that it is going to see. But COHORT.TXN.READ and COHORT.DUMP, whose versions are compared with a later look, wait
 * for no lock that came after them: with many keys they would wait for ever.
 * 3. What one requester (`who`, not 0) asks of the shard goes through in the order in which it asked.
 * 4. First come, first served: what is held is next for its keys, so that nothing is passed for ever. What is to be
 * logged and comes later is held behind it; a PREPARE that does not wait is answered with a no vote, here.
 * 5. What is held was not executed. It waits for SHARD_HELD_MS at most (then: BUSY; a PREPARE for
 * SHARD_HELD_PREPARE_MS, then: no), and so many and so much of it as there may be (then: FULL). When leadership goes it
 * is returned.
 * 6. No cost while the shard has no transaction: one look at a count.
 *
 * A held request of a forwarded batch is logged later than the rest of it, behind a marker COHORT.PART of its own. */
#pragma once

#include "shard/claims.h"
#include "shard/shard.h"

enum { GATE_FILTER = 1024, GATE_TOLD = 64 };

struct gate {
    struct list held; /* struct held */
    uint32_t held_count;
    uint16_t requesters[GATE_FILTER]; /* of what is held, counted by hash: never misses one */
    struct claims coming;             /* of PREPAREs that are on their way to be applied */
    struct claims wanted;             /* of what is held, but what is compared */
    uint64_t generation;              /* of leadership: of what `coming` consists */
    bool awake;                       /* false: for sure there is nothing to look at (invariant 6) */
    bool dirty;                       /* locks may have gone since the last look */
    int64_t late_ns;                  /* none that is held has waited for too long before this */
    struct env_timer timer;
};

struct batch;

void gate_init(struct shard *shard);
void gate_deinit(struct shard *shard);
/* Takes what must wait, or must not be passed; false when it may go on (a PREPARE has claimed its keys then, for the
 * batch that it is going to be added to). FULL in *ret_status: refused. */
bool gate_holds(struct shard *shard, const struct command *command, const struct shard_request *request, bool logged,
                enum status *ret_status);
/* This member leads from now on. */
static inline void gate_open(struct gate *gate) { gate->awake = true; }
/* Whether the gate has anything to look at. */
bool gate_busy(const struct shard *shard);
/* Whether a read of the applied state would see what is about to change. */
bool gate_stops_read(struct shard *shard, const struct command *command);
/* Who stands in the way of a transaction here, and what it stands in the way of: `[[id …], [[transaction|command, id or
 * name, waited_ms] …]]` without the outer head, at most GATE_TOLD of each (gate_look.c). */
void gate_tell(struct shard *shard, struct slice id, struct resp_writer *reply);
/* Lets go on what can; refuses what has waited for too long. */
void gate_turn(struct shard *shard);
/* Whoever asked for these is gone: they go back, and are not executed any more. */
void gate_forget(struct shard *shard, const void *origin);
/* Leadership is gone: all go back. */
void gate_return(struct shard *shard);
/* A command was applied; one of a transaction may have freed keys. */
static inline void gate_applied(struct gate *gate, const struct command_spec *spec)
{
    bool moves = spec->internal && (spec->flags & COMMAND_READONLY) == 0;
    gate->dirty = gate->dirty || moves;
    gate->awake = gate->awake || moves;
}
/* One that was let go on is not going to be added after all. */
void gate_unclaim(struct shard *shard, const struct command *command);
/* The batch carries a PREPARE that gate_holds let go on; and it carries none any more. */
void gate_attach(struct batch *batch, const struct shard *shard, const struct command *command);
void gate_detach(struct shard *shard, struct batch *batch);
