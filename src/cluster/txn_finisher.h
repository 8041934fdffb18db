/* Brings transactions to their end, at the node that leads one of their shards: the usual way and after a crash alike.
 *
 *   home, decided            FINISH to each participant until it acknowledges, then DONE
 *   home, open too long      2PC: DECIDE(ABORT); 3PC: as a participant, or RESOLVE when it has none yet
 *   part, prepared too long  STATUS at home, and RESOLVE when nobody has opened it there; told an outcome, FINISH here.
 *                            Of 2PC it never decides alone. Of 3PC, when home does not answer twice (it may be
 *                            electing), or somebody has begun to decide: asks all participants, and ends it by
 *                            txn_rules.h; the later, the higher its number, so that mostly one of them does
 *   part, finished (3PC)     the same questions; FORGET when home is DONE; told OPEN (home was away when the
 *                            participants ended it), DECIDE there, with the votes that all tell
 *
 * When the process that runs it is lost, open and prepared are too long at once (txn_finisher_lost.c).
 *
 * What to do is read from the machine's state each time, so a new leader carries on, and whatever is lost is asked for
 * again: no message here is needed twice, and none hurts twice.
 *
 * Invariants
 * 1. A task for each record that asks for one, so at most as many as the machine's limits allow; of each at most
 *    FINISHER_OWED commands for each participant are under way, and more than one only while it does not answer.
 * 2. What was not answered well is tried again after a pause that doubles from FINISHER_PAUSE_MS to
 * FINISHER_PAUSE_MAXIMUM_MS; what home says to be OPEN, after the longest. Long ones are up to a quarter shorter, from
 * task to task.
 * 3. A turn looks at its tasks, at what is new since the last one, and at FINISHER_LOOK of what is finished, at others
 * in the next turn: not at what just runs. All open records are looked at only when the soonest deadline of them has
 * passed, and all prepared parts only when one of them may be due: thousands that are left for minutes cost little.
 * What is younger than FINISHER_YOUNG_MS is looked at every FINISHER_PAUSE_MS, for the node that runs it may be lost.
 * 4. FINISH is sent at once, for somebody may wait for the keys; nobody waits for its entry, so its shard logs it with
 * the next one (shard/outcomes.h). Nobody waits for DONE, so it goes with the next entry of its shard; or alone, when
 * none comes in a pause.
 *
 * Its requests go by `submit`; the requesters are its own. */
#pragma once

#include "base/status.h"
#include "cluster/requester.h"
#include "env/env.h"
#include "machine/txn/txn.h"

struct finisher;

enum {
    FINISHER_LOOK = 1024,
    FINISHER_PAUSE_MS = 100,
    FINISHER_PAUSE_MAXIMUM_MS = 5000,
    FINISHER_ASK_MS = 1000,     /* so long a part is as it is before somebody is asked, … */
    FINISHER_ASK_2PC_MS = 3000, /* … under 2PC so long: when home votes last, who asks before ends it */
    FINISHER_YOUNG_MS = 5000,   /* … and in this time sooner, when the node that runs it is lost */
    FINISHER_FEW = 16,        /* … of 3PC, when no more than these take part: each asks all others if home is away */
    FINISHER_RANKS_MS = 2000, /* … and up to so much longer under 3PC, by the participants before it; */
    FINISHER_WIDE = 128,      /* … and both once more for each so many participants, each of which will ask */
    FINISHER_ROUND_MS = 1500, /* so long 3PC waits for those that it asks */
    FINISHER_OWED = 8,
};

struct finisher_events {
    enum status (*submit)(void *owner, uint32_t shard, const struct command *command, struct requester *requester,
                          uint64_t tag);
    /* Whether the process is lost, as far as this node can tell. NULL: nobody can. */
    bool (*runner_lost)(void *owner, const struct txn_runner *runner);
};

struct finisher *finisher_create(struct env *env, const struct finisher_events *events, void *owner);
/* Takes NULL. Requests under way are forgotten: their answers must not come any more. */
void finisher_destroy(struct finisher *finisher);

/* A shard that this node leads. */
struct finisher_shard {
    uint32_t number;
    const struct txns *txns;
    int64_t time_ms; /* the shard's */
    bool gathering;  /* an entry is about to be logged: what joins it costs nothing more */
};

/* Each turn: begin, a look at each shard that this node leads and that has transactions, end. The loop is woken when
 * something is due. */
void finisher_begin_turn(struct finisher *finisher);
void finisher_look(struct finisher *finisher, const struct finisher_shard *shard);
void finisher_end_turn(struct finisher *finisher);
/* Records that were looked at so far, for tests of invariant 3. */
uint64_t finisher_looked(const struct finisher *finisher);
/* Records that were asked about, or aborted, before their time, since their node is lost. */
uint64_t finisher_early(const struct finisher *finisher);
