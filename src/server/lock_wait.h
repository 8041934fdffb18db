/* Requests that wait their turn in one shard: LOCK.ACQUIRE with WAIT, and whatever else is waited for (wait_kind.h).
 *
 * One goes to its shard as the command that nodes say, with where its answer goes. The slot of the request is its own,
 * and the client's next requests are held back:
 *
 *   ASKED ─granted, nil, refused────────────────────────────────────────▶ answered
 *     │                            ┌─────────a notice: granted, ended──────▶ answered
 *     └─QUEUED──▶ WAITS ───────────┤
 *                  ▲  │            └─the shard, asked: it holds ──────────▶ answered
 *                  │  └─now and then, and when somebody else leads: ASKING ─nothing known─▶ ASKED anew, or nil
 *                  └─────QUEUED────────────────────────────────────────┘
 *   nobody waits any more (the client is gone, or was told UNCERTAIN or, its time being over, nil) ─▶ LEAVING: the
 *   shard is told until it has heard. Who may have passed together with others (a barrier) hears its end then alone:
 *   it may have been in until then.
 *
 * Invariants
 * 1. Each wait is answered once: whichever of a reply, a notice and an answer comes first; its number is known to
 *    nobody afterwards.
 * 2. What a shard may have of a request that nobody waits for is taken back, also when it was granted meanwhile.
 * 3. One request of a wait is under way at a time. */
#pragma once

#include "command/command.h"

struct connection;
struct wait_kind;

enum {
    LOCK_ASK_MS = 2000,          /* a wait is asked about so often, … */
    LOCK_ASKS_PER_SECOND = 1000, /* … and all of a worker not more than so often */
    LOCK_LATE_MS = 400,          /* so late its end may be told */
    LOCK_LEAVE_AGAIN_MS = 200,   /* that nobody waits is said again */
    LOCK_LOST_MS = 10000,        /* a shard that cannot be asked so long behind the end: UNCERTAIN */
};

/* The command waits for `ms` at most. */
void lock_wait_begin(struct connection *connection, uint32_t shard, const struct command *command,
                     const struct wait_kind *kind, int64_t ms);
