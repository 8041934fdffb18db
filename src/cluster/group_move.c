#include "cluster/group_move.h"

#include "base/assert.h"
#include "cluster/cluster_mutation.h"

#include <string.h>

static bool is_in(const uint64_t *ids, size_t count, uint64_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    return false;
}

static bool is_wanted(const struct group_move_view *view, uint64_t id)
{
    return is_in(view->voters, view->voter_count, id);
}

static bool votes(const struct group_move_view *view, uint64_t id)
{
    return is_in(view->now.voters, view->now.voter_count, id);
}

static bool learns(const struct group_move_view *view, uint64_t id)
{
    return is_in(view->now.learners, view->now.learner_count, id);
}

/* ---- sets: ascending ---- */

static void put_in(uint64_t *ids, uint8_t *count, uint64_t id)
{
    size_t at = (*count)++;
    for (; at > 0 && ids[at - 1] > id; at--) {
        ids[at] = ids[at - 1];
    }
    ids[at] = id;
}

static void take_out(uint64_t *ids, uint8_t *count, uint64_t id)
{
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        ids[kept] = ids[i];
        kept += ids[i] != id;
    }
    memset(ids + kept, 0, (*count - kept) * sizeof(ids[0]));
    *count = (uint8_t)kept;
}

/* ---- how the others do ---- */

static const struct shard_peer_status *peer_of(const struct group_move_view *view, uint64_t id)
{
    for (size_t i = 0; i < view->peer_count; i++) {
        if (view->peers[i].id == id) {
            return &view->peers[i];
        }
    }
    return NULL;
}

/* `last`: of the log at the look before. */
static bool has_caught_up(const struct group_move_view *view, uint64_t id, uint64_t last)
{
    const struct shard_peer_status *peer = peer_of(view, id);
    return CLUSTER_MUTATED(PROMOTED_EARLY) ||
           (peer != NULL && peer->state == RAFT_PEER_REPLICATE && peer->match >= last);
}

/* A voter that is to go, but this node; 0: there is none. */
static uint64_t next_to_go(const struct group_move_view *view)
{
    uint64_t found = 0;
    int64_t longest_ms = -1;
    for (size_t i = 0; i < view->now.voter_count; i++) {
        uint64_t id = view->now.voters[i];
        const struct shard_peer_status *peer = peer_of(view, id);
        int64_t heard_ms = peer == NULL ? INT64_MAX : peer->heard_ms;
        if (id != view->self && !is_wanted(view, id) && heard_ms > longest_ms) {
            found = id;
            longest_ms = heard_ms;
        }
    }
    return found;
}

/* ---- steps ---- */

static void promote(const struct group_move_view *view, uint64_t id, struct raft_configuration *next)
{
    uint64_t goes = next_to_go(view);
    take_out(next->learners, &next->learner_count, id);
    if (goes != 0) {
        take_out(next->voters, &next->voter_count, goes);
    }
    ASSERT(next->voter_count < RAFT_MAXIMUM_VOTERS);
    put_in(next->voters, &next->voter_count, id);
}

/* Takes in who is to vote. */
static enum group_move_step take_in(const struct group_move_view *view, uint64_t last, struct raft_configuration *next)
{
    enum group_move_step step = GROUP_MOVE_NOTHING;
    for (size_t i = 0; i < view->voter_count; i++) {
        uint64_t id = view->voters[i];
        if (votes(view, id)) {
            continue;
        }
        step = GROUP_MOVE_WAITS;
        if (!learns(view, id)) {
            if (next->learner_count < RAFT_MAXIMUM_LEARNERS) {
                put_in(next->learners, &next->learner_count, id);
                return GROUP_MOVE_CHANGES;
            }
        } else if (has_caught_up(view, id, last)) {
            promote(view, id, next);
            return GROUP_MOVE_CHANGES;
        }
    }
    return step;
}

/* The one who has most. */
static uint64_t best_heir(const struct group_move_view *view, uint64_t last)
{
    uint64_t heir = 0;
    uint64_t match = 0;
    for (size_t i = 0; i < view->voter_count; i++) {
        const struct shard_peer_status *peer = peer_of(view, view->voters[i]);
        if (peer != NULL && has_caught_up(view, peer->id, last) && (heir == 0 || peer->match > match)) {
            heir = peer->id;
            match = peer->match;
        }
    }
    return heir;
}

/* All who are to vote do; lets the others go. */
static enum group_move_step let_go(const struct group_move_view *view, uint64_t last, struct raft_configuration *next,
                                   uint64_t *ret_heir)
{
    uint64_t goes = next_to_go(view);
    if (goes != 0) {
        take_out(next->voters, &next->voter_count, goes);
        return GROUP_MOVE_CHANGES;
    }
    if (!is_wanted(view, view->self)) {
        *ret_heir = best_heir(view, last);
        return *ret_heir == 0 ? GROUP_MOVE_WAITS : GROUP_MOVE_HANDS_OVER;
    }
    if (next->learner_count == 0) {
        return GROUP_MOVE_NOTHING;
    }
    memset(next->learners, 0, sizeof(next->learners));
    next->learner_count = 0;
    return GROUP_MOVE_CHANGES;
}

enum group_move_step group_move_next(struct group_move *move, const struct group_move_view *view,
                                     struct raft_configuration *ret_next, uint64_t *ret_heir)
{
    ASSERT(view->voter_count > 0 && view->voter_count < RAFT_MAXIMUM_VOTERS);
    bool again = move->term == view->term && view->term != 0;
    uint64_t last = again ? move->last : UINT64_MAX;
    *move = (struct group_move){view->term, view->last};
    bool settled = view->settled || CLUSTER_MUTATED(CHANGES_AT_ONCE);
    if (!settled || !votes(view, view->self)) {
        return GROUP_MOVE_WAITS;
    }
    *ret_next = view->now;
    enum group_move_step step = take_in(view, last, ret_next);
    return step == GROUP_MOVE_NOTHING ? let_go(view, last, ret_next, ret_heir) : step;
}
