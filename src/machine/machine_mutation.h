/* Known bugs, switched on by tests to prove that they would be seen. Without COHORT_MUTATIONS (every build but the
 * tests' own copy of this room) none of this exists. */
#pragma once

enum machine_mutation {
    MACHINE_MUTATION_NONE,
    MACHINE_MUTATION_NO_LOCKS,           /* a PREPARE takes none */
    MACHINE_MUTATION_NO_READ_LOCKS,      /* what a transaction has read is free again at once */
    MACHINE_MUTATION_NO_LOCK_OF_ALL,     /* a FLUSHALL takes none */
    MACHINE_MUTATION_LOOKS_NOT_TOLD,     /* a look at all keys does not hear what its transaction did elsewhere */
    MACHINE_MUTATION_LOOKS_NOT_COMPARED, /* a look of TXN.* is not looked at again when it is prepared */
    MACHINE_MUTATION_OTHER_REPLIES,      /* home keeps other replies than it has made */
    MACHINE_MUTATION_FEED_SNAPSHOT,      /* a snapshot lacks the newest chunk of the history */
    MACHINE_MUTATION_FEED_UNDONE,        /* what a stopped script did is told */
    MACHINE_MUTATION_FEED_NO_BURST,      /* changes that were made just now are forgotten for want of room */
    MACHINE_MUTATION_TOKEN_REUSED,       /* every grant of a lock has the same token */
    MACHINE_MUTATION_LOST_WAKEUP,        /* who waits for a lock is not granted it when it is free */
    MACHINE_MUTATION_WAITERS_NOT_KEPT,   /* snapshots leave out who waits for a lock */
    MACHINE_MUTATION_LEASE_RESET,        /* a new leader's first entry gives every lease its whole time again */
    MACHINE_MUTATION_LEASE_SHORT,        /* a lease ends before the time that its owner was told */
    MACHINE_MUTATION_LAST_COME,          /* the last one to ask is served first */
    MACHINE_MUTATION_TWO_HOLDERS,        /* who waits is granted beside an exclusive holder */
    MACHINE_MUTATION_FENCE_BLIND,        /* FENCE.CHECK takes an older token than one it has seen */
    MACHINE_MUTATION_GUARD_BLIND,        /* LOCK.GUARD executes with a token that does not hold the lock */
    MACHINE_MUTATION_BEAT_IGNORED,       /* a heartbeat does not make a session live longer */
    MACHINE_MUTATION_JOIN_FORGOTTEN,     /* a session does not know where its locks are */
    MACHINE_MUTATION_SHARDS_NOT_KEPT,    /* snapshots leave that out */
    MACHINE_MUTATION_LOOK_BY_LAST_ENTRY, /* what remains of a session is told as it was at the last entry */
    MACHINE_MUTATION_SESSION_LEFT,       /* a transaction over several shards takes its session off what it writes */
    MACHINE_MUTATION_PART_HELD_EARLY,    /* a part of a MACQUIRE that had to wait is held at once, not reserved */
    MACHINE_MUTATION_OFFICE_ANEW,        /* a leader that campaigns again has a new token */
    MACHINE_MUTATION_LEADER_PAST,        /* whoever led last is told to lead, though nobody does */
    MACHINE_MUTATION_BARRIER_SHORT,      /* a barrier opens when one is missing */
    MACHINE_MUTATION_MEMBER_LEFT,        /* of those who pass together the last one is forgotten */
    MACHINE_MUTATION_LATCH_EARLY,        /* a latch opens when one down is missing */
    MACHINE_MUTATION_PASSED_NOT_KEPT,    /* snapshots leave out who has passed a barrier or latch */
    MACHINE_MUTATION_TAKEN_BACK,         /* who has gone takes back what its owner was told elsewhere meanwhile */
    MACHINE_MUTATION_PART_APART,         /* a part of a session's MACQUIRE is granted for a time, not to the session */
    MACHINE_MUTATION_PART_OUTLIVES,      /* … or for ever */
    MACHINE_MUTATION_BACK_BLIND,         /* a MACQUIRE gives back what its owner's next one was told of */
    MACHINE_MUTATION_BACK_HALF,          /* … at the shards behind home alone */
    MACHINE_MUTATION_PARTS_UNTOLD,       /* parts of a MACQUIRE are told as claims that are held, or wait, as others */
    MACHINE_MUTATION_BRANCHES_FORGOTTEN, /* a commit is done, and forgotten, though branches of it are not finished */
    MACHINE_MUTATION_OUTCOME_GUESSED,    /* whoever asks about what is not decided hears ABORT, and may be wrong */
    MACHINE_MUTATION_OUTCOME_EARLY,      /* … hears COMMIT */
    MACHINE_MUTATION_FORCE_UNFENCED,     /* FENCE.CHECK takes the token of a lock that was taken away by force */
    MACHINE_MUTATION_FORCE_IDLE,         /* a lock is told to be taken away by force, and is not */
    MACHINE_MUTATION_SERVICE_EARLY,      /* leases of endpoints end a tenth of a second before their time */
    MACHINE_MUTATION_SERVICE_LATE,       /* … or a minute behind it */
    MACHINE_MUTATION_SERVICE_UNNOTED,    /* that an endpoint drains is no change that watchers hear of */
    MACHINE_MUTATION_SERVICE_DRAIN_FORGOTTEN, /* snapshots bring the first endpoint of a service back as one that is up
                                               */
    MACHINE_MUTATION_SERVICE_OUTLIVES,        /* endpoints outlive their sessions */
    MACHINE_MUTATION_COUNT,
};

#ifdef COHORT_MUTATIONS
/* From now on, in every machine that is empty. */
void machine_mutate(enum machine_mutation mutation);
extern enum machine_mutation machine_mutation_of_all;
#define MACHINE_MUTATED(name) (machine_mutation_of_all == MACHINE_MUTATION_##name)
#else
#define MACHINE_MUTATED(name) false
#endif
