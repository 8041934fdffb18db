/* Known bugs, switched on by tests to prove that they would be seen. Without COHORT_MUTATIONS (every build but the
 * tests' own copy of this room) none of this exists. */
#pragma once

enum cluster_mutation {
    CLUSTER_MUTATION_NONE,
    CLUSTER_MUTATION_PARCEL_TWICE,   /* a parcel that arrives is taken twice; the machine must execute it once */
    CLUSTER_MUTATION_TOLD_EARLY,     /* a transaction is told to be committed before its decision is */
    CLUSTER_MUTATION_HALF_DONE,      /* the last participant of a committed transaction is told that it was aborted */
    CLUSTER_MUTATION_HOME_ALONE,     /* home's vote decides, whatever the other participants have voted */
    CLUSTER_MUTATION_SCRIPT_UNASKED, /* a text of a script that is not here is asked for nowhere, and given to nobody */
    CLUSTER_MUTATION_SCRIPT_FLUSH_HERE,   /* SCRIPT FLUSH is told to no other node */
    CLUSTER_MUTATION_FEED_STALE,          /* a push has the position before its changes */
    CLUSTER_MUTATION_FEED_DROPPED,        /* what a slow client has no room for is not told */
    CLUSTER_MUTATION_FEED_FRONT,          /* a feed begins where its node is, whatever position it gave */
    CLUSTER_MUTATION_MESSAGE_TWICE,       /* each frame of messages is sent twice */
    CLUSTER_MUTATION_MESSAGE_LATE,        /* a message to a peer goes before the one that waits already */
    CLUSTER_MUTATION_NO_LOCK_NEWS,        /* nobody hears by itself that he was granted a lock */
    CLUSTER_MUTATION_SETTLED_ALONE,       /* an overdue part of a MACQUIRE is taken back without asking home */
    CLUSTER_MUTATION_PLACED_ONCE,         /* who is to lead stays as it was when the node started */
    CLUSTER_MUTATION_AGE_FROM_ARRIVAL,    /* the age of a replica counts from the arrival of what was told of it */
    CLUSTER_MUTATION_READ_BEFORE_APPLIED, /* a replica answers before it has applied what a session has seen */
    CLUSTER_MUTATION_POSITION_FORGOTTEN,  /* a client that comes with a position is taken for one without */
    CLUSTER_MUTATION_LOST_WAITED_FOR,     /* what a lost node ran is not asked about before its time */
    CLUSTER_MUTATION_WATCH_SKIPS,         /* of several changes of a service only the last one is pushed */
    CLUSTER_MUTATION_PROMOTED_EARLY,      /* who is to vote does, before it has caught up */
    CLUSTER_MUTATION_CHANGES_AT_ONCE,     /* a group's next change is asked for while the last one is not committed */
    CLUSTER_MUTATION_COUNT,
};

#ifdef COHORT_MUTATIONS
/* From now on, at every node. */
void cluster_mutate(enum cluster_mutation mutation);
extern enum cluster_mutation cluster_mutation_of_all;
#define CLUSTER_MUTATED(name) (cluster_mutation_of_all == CLUSTER_MUTATION_##name)
#else
#define CLUSTER_MUTATED(name) false
#endif
