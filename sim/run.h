/* One run of the simulator, of whichever level its profile names, and what came of it. */
#pragma once

#include "diagram.h"
#include "profile.h"
#include "sequence.h"

#include "base/buffer.h"

#include <stdbool.h>

/* What a long run must have reached at least once. */
enum sim_mark {
    GROUP_MARK_SNAPSHOT_INSTALLED,
    GROUP_MARK_TRUNCATION,       /* entries were replaced after a conflict */
    GROUP_MARK_ORPHAN_RETURNED,  /* a request of a lost leadership was found not executed */
    GROUP_MARK_ORPHAN_EXECUTED,  /* … and executed after all */
    GROUP_MARK_WAITING_RETURNED, /* leadership went while a write waited for its place in the log */
    GROUP_MARK_READ_VOID,        /* leadership went while a read waited for its round */
    GROUP_MARK_UNCERTAIN,        /* a client will never know */
    GROUP_MARK_SNAPSHOT_RESTART, /* a member started from a snapshot */
    GROUP_MARK_GENESIS_AGAIN,    /* a second leader proposed a group's first entry */
    GROUP_MARK_CRASH_POINT,      /* power went between two operations of the disk */
    GROUP_MARK_STORE_FAILED,     /* a disk error stopped a member */
    GROUP_MARK_EXPIRED,          /* a key was seen to be gone after its time */
    GROUP_MARK_ALL_DOWN,         /* all members were without power at once */
    GROUP_MARK_TWO_LEADERS,      /* two members believed to lead a group at once */
    GROUP_MARK_DIVIDED,          /* an entry was applied in several turns */
    GROUP_MARK_CHANGED,          /* a change of members began */
    GROUP_MARK_HANDED_OVER,      /* a leader that is to go hands over */
    GROUP_MARK_CHANGE_DIVIDED,   /* a change of voters began, and the network was divided between old and new ones */
    GROUP_MARKS,

    NODE_MARK_SNAPSHOT_INSTALLED = GROUP_MARKS,
    NODE_MARK_SNAPSHOT_RESTART, /* a node started from a snapshot */
    NODE_MARK_TRUNCATION,       /* entries were replaced after a conflict */
    NODE_MARK_ORPHAN_RETURNED,  /* a request of a lost leadership was found not executed */
    NODE_MARK_ORPHAN_EXECUTED,  /* … and executed after all */
    NODE_MARK_FORWARDED,        /* a batch of requests went to another node */
    NODE_MARK_RETURNED,         /* a shard gave back what it had taken, to be sent elsewhere */
    NODE_MARK_LEADERLESS,       /* nobody led for so long that requests were refused */
    NODE_MARK_DOUBT_EXECUTED,   /* a forwarded batch of a lost leader was found executed */
    NODE_MARK_DOUBT_ABSENT,     /* … and not executed, so it was sent again */
    NODE_MARK_TWO_LEADERS,      /* two nodes believed to lead a shard at once */
    NODE_MARK_WIPED_REFUSED,    /* a node with an emptied disk was refused as the voter it was */
    NODE_MARK_MINORITY_LOST,    /* all converged with one node missing */
    NODE_MARK_CRASH_POINT,      /* power went between two operations of the disk */
    NODE_MARK_SHUT_DOWN,        /* a node was asked to stop, and did */
    NODE_MARK_FAILED,           /* a disk error stopped a node */
    NODE_MARK_ALL_DOWN,         /* all nodes were without power at once */
    NODE_MARK_ROT_REFUSED,      /* a node found its disk damaged, and stopped */
    NODE_MARK_ROT_HARMLESS,     /* a node started on a damaged disk: what it read was whole */
    NODE_MARK_MEMORY,           /* a process to which memory was refused ended in the middle of a turn */
    NODE_MARK_DISK_FULL,        /* a client was refused for want of space */
    NODE_MARK_UNCERTAIN,        /* a client was told that nobody knows */
    NODE_MARK_TIMED_OUT,        /* a client waited no longer */
    NODE_MARK_CUT_OFF,          /* a connection ended with requests open */
    NODE_MARK_EXPIRED,          /* a key was seen to be gone after its time */
    NODE_MARK_EXEC_ABORTED,     /* a watched key had changed */
    NODE_MARK_CROSSED,          /* a transaction over several shards was committed, or read */
    NODE_MARK_VERSION_CHANGED,  /* a compare-and-set met another version */
    NODE_MARK_TXN_CONFLICT,     /* a transaction was aborted by a conflict with another */
    NODE_MARK_TXN_WAITED,       /* another attempt of a transaction asked for locks, to wait for them */
    NODE_MARK_TXN_HELD,         /* one whose commands run at the client's node took its locks before it read */
    NODE_MARK_TXN_LATER_LEADER, /* a decision was told by another leader than the one it was opened at */
    NODE_MARK_TXN_RESOLVED,     /* home was asked about an id that it did not know, and aborted it */
    NODE_MARK_TXN_IN_DOUBT,     /* a participant waited long for an outcome, and got it */
    NODE_MARK_TXN_PRECOMMIT,    /* a participant of 3PC was in pre-commit */
    NODE_MARK_TXN_PREABORT,     /* … and in pre-abort: participants aborted it among them */
    NODE_MARK_TXN_ANY,          /* a prepared one was committed from another connection */
    NODE_MARK_TXN_ROLLED_BACK,  /* one was rolled back by another client, by its id */
    NODE_MARK_TXN_STATUS,       /* who had lost the answer to a COMMIT learned the outcome by the id */
    NODE_MARK_OUTCOME_JOINED,   /* a participant logged an outcome with what came next */
    NODE_MARK_OUTCOME_RETURNED, /* one waited for that when leadership went, and was said again */
    NODE_MARK_TXN_EXISTS,       /* an id that a client chose was refused: it had begun before */
    NODE_MARK_FLUSHED,          /* FLUSHALL, alone or in a transaction, was committed */
    NODE_MARK_SCRIPT_UNKNOWN,   /* EVALSHA met a name that nobody knew, or could be asked about */
    NODE_MARK_SCRIPTS_KNOWN,    /* in the end all nodes knew what any was told */
    NODE_MARK_LOOKED,           /* a transaction of TXN.* that looked at all keys was committed */
    NODE_MARK_FEED_TOLD,        /* a follower was told a change */
    NODE_MARK_FEED_RESUMED,     /* one went on from its position */
    NODE_MARK_FEED_COMPACTED,   /* one was told that its position is forgotten */
    NODE_MARK_FEED_CUT,         /* a feed ended, for its client was too slow */
    NODE_MARK_FEED_CHECKED,     /* what one was told of a shard was compared with its history */
    NODE_MARK_LOCK_WAITED,      /* a client that waited for a lock was granted it */
    NODE_MARK_LOCK_LOST,        /* a client learned that its lease had ended */
    NODE_MARK_LOCK_FENCED,      /* a token was refused: its holder came too late */
    NODE_MARK_SESSION_LOCK,     /* a lock was granted to a session */
    NODE_MARK_SESSION_ENDED,    /* a client learned that its session had ended, or ended it */
    NODE_MARK_SESSION_MOVED,    /* a key of a session was renamed to another shard, or written together with one */
    NODE_MARK_DEADLOCK,         /* a client waited in a circle, and was told */
    NODE_MARK_DIVIDED,          /* an entry was applied in several turns */
    NODE_MARK_MANY,             /* a client was granted several locks at once */
    NODE_MARK_BUNDLE,           /* a session was, … */
    NODE_MARK_BUNDLE_ENDED,     /* … and one ended while it asked for several */
    NODE_MARK_ELECTED_LATER,    /* a candidate that waited was elected */
    NODE_MARK_REELECTED,        /* a leader campaigned again and led on */
    NODE_MARK_BARRIER_PASSED,   /* a client passed a barrier */
    NODE_MARK_LATCH_OPENED,     /* a client was told that a latch is open */
    NODE_MARK_LOCK_TAKEN,       /* a lock was taken away by force */
    NODE_MARK_OFFICE_TAKEN,     /* … and an office */
    NODE_MARK_ENDPOINT,         /* an endpoint of a service was registered, … */
    NODE_MARK_DRAINED,          /* … and drained */
    NODE_MARK_WATCHED,          /* a watcher of a service was told something */
    NODE_MARK_ERRAND,           /* a request was executed by another worker than its connection's */
    NODE_MARK_SESSION_CARRIED,  /* a read showed what another connection had seen, by its position */
    NODE_MARK_STALE,            /* a client was told that what is here is older than it asked for */
    SIM_MARKS,
};
const char *sim_mark_name(enum sim_mark mark);
static inline enum sim_level sim_mark_level(enum sim_mark mark)
{
    return mark < GROUP_MARKS ? SIM_LEVEL_GROUPS : SIM_LEVEL_NODES;
}

/* Known bugs, to prove that they would be seen. Those of rooms need libraries built with
 * COHORT_MUTATIONS. */
struct sim_mutation {
    bool no_sync;                      /* syncs of the disk do nothing */
    bool blind;                        /* the resource of holders looks at no token */
    bool early;                        /* the resolver reads what is decided before it lists what is prepared */
    int raft, shard, cluster, machine; /* enum raft_mutation, enum shard_mutation, and so on */
};

struct sim_result {
    bool failed;
    char failure[240];
    int64_t virtual_ns; /* how long the run was; when it failed */
    uint64_t trace;     /* hash over all that happened */
    uint64_t marks[SIM_MARKS];
    uint64_t acknowledged, returned, uncertain, reads;
    uint64_t leaders, messages;
    uint64_t undecided; /* histories too hard to judge */
};

/* Where a run leaves more of itself than the result; each part may be NULL. It changes nothing. */
struct sim_record {
    struct diagram *diagram;
    struct sequence *sequence; /* of 3pc, 3pc-no-quorum, transaction-2pc, transaction-3pc */
    struct buffer *history;    /* of nodes: what clients asked and were told, as docs/history.md describes it */
    /* What happens, and what the nodes say in their logs; node −1: all. */
    void (*line)(void *owner, int64_t at_ns, int node, const char *text);
    void *owner;
};

/* mutation and record may be NULL. A broken assertion aborts: see hunt.h. */
void sim_run(uint64_t seed, const struct sim_profile *profile, const struct sim_mutation *mutation,
             const struct sim_record *record, struct sim_result *ret_result);
