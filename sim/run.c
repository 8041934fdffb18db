#include "run.h"

#include "external_run.h"
#include "group_run.h"
#include "node_run.h"
#include "phases_run.h"
#include "txn_run.h"
#ifdef COHORT_MUTATIONS
#include "cluster/cluster_mutation.h"
#include "machine/machine_mutation.h"
#include "shard/shard_mutation.h"
#endif

const char *sim_mark_name(enum sim_mark mark)
{
    static const char *const names[SIM_MARKS] = {
        [GROUP_MARK_SNAPSHOT_INSTALLED] = "snapshot installed",
        [GROUP_MARK_TRUNCATION] = "truncation after conflict",
        [GROUP_MARK_ORPHAN_RETURNED] = "orphan returned",
        [GROUP_MARK_ORPHAN_EXECUTED] = "orphan executed",
        [GROUP_MARK_WAITING_RETURNED] = "leader lost with requests waiting",
        [GROUP_MARK_READ_VOID] = "read void",
        [GROUP_MARK_UNCERTAIN] = "outcome unknown after a snapshot",
        [GROUP_MARK_SNAPSHOT_RESTART] = "restart from snapshot",
        [GROUP_MARK_GENESIS_AGAIN] = "genesis by a second leader",
        [GROUP_MARK_CRASH_POINT] = "power lost between two disk operations",
        [GROUP_MARK_STORE_FAILED] = "disk error stops a member",
        [GROUP_MARK_CHANGED] = "change of members",
        [GROUP_MARK_HANDED_OVER] = "leader that is to go hands over",
        [GROUP_MARK_CHANGE_DIVIDED] = "change of voters while old and new ones are divided",
        [GROUP_MARK_EXPIRED] = "key expired",
        [GROUP_MARK_ALL_DOWN] = "power lost at all members",
        [GROUP_MARK_TWO_LEADERS] = "two members believe to lead",
        [GROUP_MARK_DIVIDED] = "entry applied in several turns",
        [NODE_MARK_SNAPSHOT_INSTALLED] = "snapshot installed",
        [NODE_MARK_TRUNCATION] = "truncation after conflict",
        [NODE_MARK_ORPHAN_RETURNED] = "orphan returned",
        [NODE_MARK_ORPHAN_EXECUTED] = "orphan executed",
        [NODE_MARK_FORWARDED] = "batch forwarded",
        [NODE_MARK_RETURNED] = "request returned, to be sent elsewhere",
        [NODE_MARK_LEADERLESS] = "request refused for want of a leader",
        [NODE_MARK_DOUBT_EXECUTED] = "lost leader's batch found executed",
        [NODE_MARK_DOUBT_ABSENT] = "lost leader's batch found absent",
        [NODE_MARK_TWO_LEADERS] = "two nodes believe to lead",
        [NODE_MARK_WIPED_REFUSED] = "node with an emptied disk refused",
        [NODE_MARK_MINORITY_LOST] = "all well without one node",
        [NODE_MARK_SNAPSHOT_RESTART] = "restart from snapshot",
        [NODE_MARK_CRASH_POINT] = "power lost between two disk operations",
        [NODE_MARK_SHUT_DOWN] = "node asked to stop, and stopped",
        [NODE_MARK_FAILED] = "disk error stops a node",
        [NODE_MARK_ALL_DOWN] = "power lost at all nodes",
        [NODE_MARK_ROT_REFUSED] = "damaged disk refused",
        [NODE_MARK_ROT_HARMLESS] = "damage met nobody",
        [NODE_MARK_MEMORY] = "process out of memory",
        [NODE_MARK_DISK_FULL] = "client refused by a full disk",
        [NODE_MARK_UNCERTAIN] = "client told that nobody knows",
        [NODE_MARK_TIMED_OUT] = "client waits no longer",
        [NODE_MARK_CUT_OFF] = "connection ends with requests open",
        [NODE_MARK_EXPIRED] = "key expired",
        [NODE_MARK_EXEC_ABORTED] = "watched key changed",
        [NODE_MARK_CROSSED] = "transaction over several shards",
        [NODE_MARK_VERSION_CHANGED] = "compare-and-set met another version",
        [NODE_MARK_TXN_CONFLICT] = "transaction aborted by a conflict",
        [NODE_MARK_TXN_WAITED] = "transaction's next attempt waits for locks",
        [NODE_MARK_TXN_HELD] = "transaction reads under its locks",
        [NODE_MARK_TXN_LATER_LEADER] = "transaction finished by a later leader",
        [NODE_MARK_TXN_RESOLVED] = "transaction unknown at home, so aborted",
        [NODE_MARK_TXN_IN_DOUBT] = "transaction in doubt and recovered",
        [NODE_MARK_TXN_PRECOMMIT] = "participant in pre-commit",
        [NODE_MARK_TXN_PREABORT] = "participant in pre-abort",
        [NODE_MARK_TXN_ANY] = "prepared transaction committed by another connection",
        [NODE_MARK_TXN_ROLLED_BACK] = "transaction rolled back by another client",
        [NODE_MARK_TXN_STATUS] = "outcome learned by TXN.STATUS",
        [NODE_MARK_OUTCOME_JOINED] = "outcome of a transaction logged with what came next",
        [NODE_MARK_OUTCOME_RETURNED] = "outcome of a transaction said again: leadership went before it was logged",
        [NODE_MARK_TXN_EXISTS] = "transaction's id refused: it began before",
        [NODE_MARK_FLUSHED] = "FLUSHALL committed",
        [NODE_MARK_SCRIPT_UNKNOWN] = "script unknown by its name",
        [NODE_MARK_SCRIPTS_KNOWN] = "scripts known at all nodes",
        [NODE_MARK_LOOKED] = "TXN.* committed that looked at all keys",
        [NODE_MARK_FEED_TOLD] = "change told to a follower",
        [NODE_MARK_FEED_RESUMED] = "feed resumed from a position",
        [NODE_MARK_FEED_COMPACTED] = "position told to be forgotten",
        [NODE_MARK_FEED_CUT] = "feed ended, its client was slow",
        [NODE_MARK_FEED_CHECKED] = "feed compared with the history",
        [NODE_MARK_LOCK_WAITED] = "a lock granted after a wait",
        [NODE_MARK_LOCK_LOST] = "a lock lost",
        [NODE_MARK_LOCK_FENCED] = "a token refused",
        [NODE_MARK_SESSION_LOCK] = "a lock granted to a session",
        [NODE_MARK_SESSION_ENDED] = "a session ended",
        [NODE_MARK_SESSION_MOVED] = "a key of a session in a transaction",
        [NODE_MARK_DEADLOCK] = "a circle of waits was ended",
        [NODE_MARK_DIVIDED] = "entry applied in several turns",
        [NODE_MARK_MANY] = "several locks granted at once",
        [NODE_MARK_BUNDLE] = "several locks granted to a session",
        [NODE_MARK_BUNDLE_ENDED] = "a session ends while it asks for several locks",
        [NODE_MARK_ELECTED_LATER] = "a candidate elected after a wait",
        [NODE_MARK_REELECTED] = "a leader led on",
        [NODE_MARK_BARRIER_PASSED] = "a barrier passed",
        [NODE_MARK_LATCH_OPENED] = "a latch open",
        [NODE_MARK_ENDPOINT] = "an endpoint registered",
        [NODE_MARK_DRAINED] = "an endpoint drained",
        [NODE_MARK_WATCHED] = "a watcher told",
        [NODE_MARK_LOCK_TAKEN] = "a lock taken away by force",
        [NODE_MARK_OFFICE_TAKEN] = "an office taken away by force",
        [NODE_MARK_ERRAND] = "request executed by another worker",
        [NODE_MARK_SESSION_CARRIED] = "a position carried to another connection",
        [NODE_MARK_STALE] = "a read refused as stale",
    };
    return names[mark];
}

void sim_run(uint64_t seed, const struct sim_profile *profile, const struct sim_mutation *mutation,
             const struct sim_record *record, struct sim_result *ret_result)
{
#ifdef COHORT_MUTATIONS
    static const struct sim_mutation none;
    const struct sim_mutation *mutated = mutation == NULL ? &none : mutation;
    shard_mutate((enum raft_mutation)mutated->raft, (enum shard_mutation)mutated->shard);
    machine_mutate((enum machine_mutation)mutated->machine);
    cluster_mutate((enum cluster_mutation)mutated->cluster);
#endif
    static void (*const runs[SIM_LEVELS])(uint64_t seed, const struct sim_profile *profile,
                                          const struct sim_mutation *mutation, const struct sim_record *record,
                                          struct sim_result *ret_result) = {
        [SIM_LEVEL_GROUPS] = group_run,      [SIM_LEVEL_NODES] = node_run,  [SIM_LEVEL_PHASES] = phases_run,
        [SIM_LEVEL_TEXTBOOK] = phases_run,   [SIM_LEVEL_TXN_2PC] = txn_run, [SIM_LEVEL_TXN_3PC] = txn_run,
        [SIM_LEVEL_EXTERNAL] = external_run,
    };
    runs[profile->level](seed, profile, mutation, record, ret_result);
}
