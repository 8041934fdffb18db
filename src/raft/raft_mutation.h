/* Known bugs, switched on by tests to prove that they would be seen. Without COHORT_MUTATIONS (every build but the
 * tests' own copy of this room) none of this exists. */
#pragma once

enum raft_mutation {
    RAFT_MUTATION_NONE,
    RAFT_MUTATION_COMMIT_OLDER_TERM,      /* an older term's entry is committed by counting */
    RAFT_MUTATION_VOTE_NOT_STORED,        /* the vote is not part of the hard state */
    RAFT_MUTATION_SEND_BEFORE_STORED,     /* messages leave before term and vote are durable */
    RAFT_MUTATION_READ_EARLIER_ROUND,     /* a read joins a round that started before it arrived */
    RAFT_MUTATION_READ_WITHOUT_ROUND,     /* a read is confirmed by believing to be the leader */
    RAFT_MUTATION_READ_BEFORE_NOOP,       /* a read does not wait for an entry of the leader's term */
    RAFT_MUTATION_ACK_BEFORE_SYNC,        /* a follower acknowledges before its sync */
    RAFT_MUTATION_LEADER_COUNTS_UNSYNCED, /* the leader counts itself before its sync */
    RAFT_MUTATION_COMMIT_UNMATCHED,       /* a follower takes over the commit index without looking at its log */
    RAFT_MUTATION_NO_LOG_CHECK_IN_VOTE,   /* a vote is given to a candidate with an older log */
    RAFT_MUTATION_VOTE_TWICE,             /* a second vote is given in one term */
    RAFT_MUTATION_NO_PRE_VOTE,            /* an election starts without asking first */
    RAFT_MUTATION_NO_JOINT,               /* while joint, only the new voters are asked */
    RAFT_MUTATION_CHANGE_UNCOMMITTED,     /* a change begins before the one before it is committed */
    RAFT_MUTATION_NO_PREV_CHECK,          /* entries are appended without comparing the one before them */
    RAFT_MUTATION_STALE_STORED,         /* a durable notice counts entries that were replaced since it was asked for */
    RAFT_MUTATION_SNAPSHOT_KEEPS_LOG,   /* a conflicting log survives the installation of a snapshot */
    RAFT_MUTATION_SNAPSHOT_OLD,         /* a snapshot older than what is committed is installed */
    RAFT_MUTATION_LEASE_NO_STICKINESS,  /* votes are given while a leader may hold its lease */
    RAFT_MUTATION_LEASE_AFTER_TRANSFER, /* the lease is used after a successor was told to start */
    RAFT_MUTATION_GONE_BREAKS_LEASE,    /* a leader that seems gone is forgotten though it may hold a lease */
    RAFT_MUTATION_NO_QUORUM_CHECK,      /* a leader without a quorum stays one */
    RAFT_MUTATION_LATE_IS_SILENCE,      /* what passes while the host does not run counts as silence */
    RAFT_MUTATION_COUNT,
};

#ifdef COHORT_MUTATIONS
struct raft;
void raft_mutate(struct raft *raft, enum raft_mutation mutation);
#define RAFT_MUTATED(raft, name) ((raft)->mutation == RAFT_MUTATION_##name)
#else
#define RAFT_MUTATED(raft, name) false
#endif
