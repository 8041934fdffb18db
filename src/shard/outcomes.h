/* Outcomes of transactions (COHORT.TXN.FINISH) on their way to the log: one that the leader has taken waits for the
 * next entry of its shard, so that it costs none of its own.
 *
 *   taken ─▶ waits ─┬─ another command comes to be logged: in front of it ──▶ batch
 *                   ├─ an entry is about to be sealed ──────────────────────▶
 *                   ├─ the gate holds somebody (for its keys, perhaps) ─────▶
 *                   ├─ it is an abort: who tells it waits, to try again ────▶
 *                   └─ OUTCOME_MS are over ─────────────────────────────────▶
 *
 * Invariants
 * 1. It stands in the log behind what came before it, and before what comes after it. So what comes after it finds the
 * keys free, in the same entry.
 * 2. Sure: its part has voted, in its epoch, as of what is applied. Then nothing but an outcome ends the part, and the
 * gate lets a write pass the locks of that part alone (gate.h, invariant 1). No read: were there no room for the
 * outcome on the disk, it would see what was before it.
 * 3. It waits in memory alone, for OUTCOME_MS at most while the shard may log, and is answered when it is applied. When
 * leadership goes it is returned: whoever said it says it again, to whoever leads, which changes nothing when it was
 * executed already. That is why it needs no marker of its batch (shard.h).
 * 4. No more than OUTCOMES_WAITING wait; their bytes count in what is pending. */
#pragma once

#include "base/buffer.h"
#include "shard/shard.h"

enum { OUTCOME_MS = 10, OUTCOMES_WAITING = 8192 };

struct outcomes {
    struct buffer bytes;    /* of the commands, encoded, in the order in which they came */
    struct buffer requests; /* struct request of each */
    uint32_t count;
    uint64_t mark; /* of parts that are sure to end with what waits now */
    bool due;
    struct env_timer timer;
};

struct part;

void outcomes_init(struct shard *shard);
void outcomes_deinit(struct shard *shard);
/* The part that this outcome is sure to end; NULL: there is none. */
struct part *outcome_part(const struct shard *shard, const struct command *command);
/* The shard leads; `part` is what outcome_part has just said. FULL: nothing was taken. */
MUST_USE enum status outcomes_take(struct shard *shard, const struct command *command, struct part *part,
                                   const struct shard_request *request);
/* Whoever locks this key, and it alone does, is sure to end with one that waits: before whatever comes next. */
bool outcome_frees(const struct shard *shard, struct slice key);
/* Something else is about to come into the open batch: all that wait come before it. */
void outcomes_go_first(struct shard *shard);
/* All that wait come into the open batch when there is a reason to; `sealing`: what is there is about to be logged. */
void outcomes_turn(struct shard *shard, bool sealing);
/* Leadership is gone. */
void outcomes_return(struct shard *shard);
