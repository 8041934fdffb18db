/* One short random life of a group: loss, duplication, reordering, partitions, crashes that lose what was not synced,
 * pauses, clocks of different speed, changes of membership, snapshots, transfers; then everything is healed and the
 * group must converge. All of it follows from the seed. The oracle (lab.h) watches each step. */
#pragma once

#include "tests/unit/raft/lab.h"

struct random_result {
    bool failed;
    char failure[256];
    struct lab_marks marks;
    uint64_t proposals;
    uint64_t digest; /* of all that was sent: equal for equal seeds */
};

/* `trace` (may be NULL) gets all that happened, one line each. */
void random_run(uint64_t seed, enum raft_mutation mutation, struct buffer *trace, struct random_result *ret_result);
