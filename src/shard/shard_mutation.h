/* Known bugs, switched on by tests to prove that they would be seen. Without COHORT_MUTATIONS (every build but the
 * tests' own copy of this room) none of this exists. */
#pragma once

#include "raft/raft_mutation.h"

enum shard_mutation {
    SHARD_MUTATION_NONE,
    SHARD_MUTATION_EXPIRE_BY_LOCAL_CLOCK, /* each member expires by its own clock instead of the entry's time */
    SHARD_MUTATION_SNAPSHOT_WITH_GAP,     /* a snapshot names the entry after the last one in it */
    SHARD_MUTATION_FORWARDED_TWICE,       /* a forwarded batch is applied although it was applied before */
    SHARD_MUTATION_OUTCOME_BEHIND,        /* an outcome that waits is logged behind what it was to make room for */
    SHARD_MUTATION_OUTCOME_SLOW,          /* one waits for a second; no bug, but part of the next two: … */
    SHARD_MUTATION_OUTCOME_LOST,          /* … and is forgotten when leadership goes */
    SHARD_MUTATION_READ_BEFORE_OUTCOME,   /* … and a read passes its lock, as a write does */
    SHARD_MUTATION_GOES_ON_BEHIND,        /* a follower that goes on with an entry leaves out a command */
    SHARD_MUTATION_NO_BEATS,              /* nothing is heard of a member while it runs a script */
    SHARD_MUTATION_COUNT,
};

#ifdef COHORT_MUTATIONS
/* Every shard opened from now on has them: a server's, too. */
void shard_mutate(enum raft_mutation raft_mutation, enum shard_mutation mutation);
#define SHARD_MUTATED(shard, name) ((shard)->mutation == SHARD_MUTATION_##name)
#else
#define SHARD_MUTATED(shard, name) false
#endif
