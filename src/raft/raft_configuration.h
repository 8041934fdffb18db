/* Who belongs to a group: voters, and learners who get entries but neither vote nor count.
 *
 * Voters change by joint consensus (Ongaro's dissertation, section 4.3): while `outgoing` is not empty the group is
 * joint, and each decision (election, commit, confirmed read, lease, quorum check) needs a majority of `voters` and a
 * majority of `outgoing`. A change of learners alone alters no quorum and is one entry.
 *
 * Invariants of a valid configuration
 * 1. Each set is sorted ascending, without zero and without repeats; a learner is no voter (it may be in outgoing: a
 *    voter on its way to become a learner).
 * 2. voters is empty only in the empty configuration: that of a node which has not been told its group yet.
 *
 * Bytes: version (1), then for voters, outgoing, learners: count (1), ids (varints).
 */
#pragma once

#include "base/buffer.h"
#include "base/status.h"

enum {
    RAFT_MAXIMUM_VOTERS = 9,
    RAFT_MAXIMUM_LEARNERS = 64,
    RAFT_CONFIGURATION_VERSION = 1,
    RAFT_CONFIGURATION_MAXIMUM_BYTES = 4 + 10 * (2 * RAFT_MAXIMUM_VOTERS + RAFT_MAXIMUM_LEARNERS),
};

struct raft_configuration {
    uint64_t voters[RAFT_MAXIMUM_VOTERS];
    uint64_t outgoing[RAFT_MAXIMUM_VOTERS]; /* the voters before, while joint */
    uint64_t learners[RAFT_MAXIMUM_LEARNERS];
    uint8_t voter_count;
    uint8_t outgoing_count;
    uint8_t learner_count;
};

/* Builds a configuration that is not joint from ids in any order. STATUS_INVALID when it breaks invariant 1, has no
 * voters or too many. */
MUST_USE enum status raft_configuration_make(const uint64_t *voters, size_t voter_count, const uint64_t *learners,
                                             size_t learner_count, struct raft_configuration *ret_configuration);

void raft_configuration_encode(const struct raft_configuration *configuration, struct buffer *out);
/* The whole of `bytes`. STATUS_INVALID, or STATUS_VERSION when a newer binary wrote it. */
MUST_USE enum status raft_configuration_decode(struct slice bytes, struct raft_configuration *ret_configuration);

bool raft_configuration_valid(const struct raft_configuration *configuration);
bool raft_configuration_equal(const struct raft_configuration *a, const struct raft_configuration *b);

static inline bool raft_configuration_is_joint(const struct raft_configuration *configuration)
{
    return configuration->outgoing_count > 0;
}
/* A voter of either set. */
bool raft_configuration_is_voter(const struct raft_configuration *configuration, uint64_t id);
/* A voter or a learner. */
bool raft_configuration_has(const struct raft_configuration *configuration, uint64_t id);
