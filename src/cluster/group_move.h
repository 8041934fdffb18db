/* How a group's leader brings its members to what the placement wants, step by step. Pure; one of these for each group,
 * asked some times a second while this node leads.
 *
 *   learner ─caught up in two looks─▶ voter, and one that is to go leaves in the same change ─▶ the next one
 *
 * Invariants
 * 1. One change at a time: nothing is asked for while the last one is not committed, or the group is joint.
 * 2. Nobody becomes a voter before it has been sent the log without gaps, and had durably what the log had at the look
 *    before: so the new majority does not wait for it.
 * 3. A change takes one voter in and one out at most; one goes without another coming only when all that are to vote
 *    do. So there are never fewer voters than before while some are still missing.
 * 4. Of those who are to go, the one that was not heard for longest goes first; the leader goes last, and by handing
 *    over: it never takes itself out.
 * 5. Whatever the placement was when an earlier step was made, the next one leads to that of now. */
#pragma once

#include "shard/shard.h"

/* What the leader saw at its last look. */
struct group_move {
    uint64_t term; /* 0: there was none */
    uint64_t last; /* index of the log */
};

struct group_move_view {
    uint64_t self, term;
    uint64_t last;                         /* index of the log */
    struct raft_configuration now;         /* the newest in the log, … */
    bool settled;                          /* … committed, and not joint */
    const struct shard_peer_status *peers; /* shard_peers */
    size_t peer_count;
    const uint64_t *voters; /* those who are to vote; at least one */
    size_t voter_count;
};

enum group_move_step {
    GROUP_MOVE_NOTHING, /* it is as it should be */
    GROUP_MOVE_WAITS,
    GROUP_MOVE_CHANGES,    /* to *ret_next */
    GROUP_MOVE_HANDS_OVER, /* to *ret_heir */
};

enum group_move_step group_move_next(struct group_move *move, const struct group_move_view *view,
                                     struct raft_configuration *ret_next, uint64_t *ret_heir);
