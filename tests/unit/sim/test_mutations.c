/* Each known bug, switched on in copies of the rooms built for this test alone, must be seen within a stated number of
 * seeds: by a check of group_run.h or node_run.h, or by an assertion. COHORT_SIM_SEEDS overrides the bounds.
 *
 * usage: test_mutations groups|nodes|transaction */
#include "cluster/cluster_mutation.h"
#include "hunt.h"
#include "machine/machine_mutation.h"
#include "shard/shard_mutation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct mutant {
    const char *name;
    struct sim_mutation mutation;
    const char *profile;
    uint64_t seeds; /* it is seen within so many */
    bool harmless;  /* it is not seen in so many */
};

static const struct mutant mutants[] = {
    {"no fsync", {.no_sync = true}, "groups,crash", 5},
    {"a vote not stored", {.raft = RAFT_MUTATION_VOTE_NOT_STORED}, "groups,votes", 200},
    {"two votes in a term", {.raft = RAFT_MUTATION_VOTE_TWICE}, "groups,network,crash", 200},
    {"a read confirmed by an earlier round", {.raft = RAFT_MUTATION_READ_EARLIER_ROUND}, "groups,split", 300},
    {"a read confirmed by believing to lead", {.raft = RAFT_MUTATION_READ_WITHOUT_ROUND}, "groups,split", 20},
    {"the leader counts itself before its sync",
     {.raft = RAFT_MUTATION_LEADER_COUNTS_UNSYNCED},
     "groups,blackout,members=3,groups=1",
     40},
    {"a follower acknowledges before its sync", {.raft = RAFT_MUTATION_ACK_BEFORE_SYNC}, "groups,blackout", 20},
    {"an older term's entry committed by counting",
     {.raft = RAFT_MUTATION_COMMIT_OLDER_TERM},
     "groups,comeback,members=3,groups=1",
     10},
    {"entries appended without the consistency check",
     {.raft = RAFT_MUTATION_NO_PREV_CHECK},
     "groups,network,crash",
     50},
    {"a commit index taken over unmatched", {.raft = RAFT_MUTATION_COMMIT_UNMATCHED}, "groups", 30},
    {"a snapshot with a gap", {.shard = SHARD_MUTATION_SNAPSHOT_WITH_GAP}, "groups,all", 20},
    {"expiry by the local clock", {.shard = SHARD_MUTATION_EXPIRE_BY_LOCAL_CLOCK}, "groups,all", 20},
    {"a command left out between two turns", {.shard = SHARD_MUTATION_GOES_ON_BEHIND}, "groups,all", 40},
    {"a voter that has not caught up", {.cluster = CLUSTER_MUTATION_PROMOTED_EARLY}, "groups,changes=1", 40},
    {"a joint group that asks the new voters only",
     {.raft = RAFT_MUTATION_NO_JOINT},
     "groups,network,changes=1,members=5,groups=1,faults=40",
     40},
    {"two changes of members at once",
     {.raft = RAFT_MUTATION_CHANGE_UNCOMMITTED, .cluster = CLUSTER_MUTATION_CHANGES_AT_ONCE},
     "groups,network,changes=1,members=5,groups=1,faults=40",
     80},

    {"no fsync", {.no_sync = true}, "nodes,crash", 5},
    {"a read confirmed by believing to lead", {.raft = RAFT_MUTATION_READ_WITHOUT_ROUND}, "nodes,split", 120},
    {"the leader counts itself before its sync",
     {.raft = RAFT_MUTATION_LEADER_COUNTS_UNSYNCED},
     "nodes,blackout,members=3",
     10},
    {"a follower acknowledges before its sync", {.raft = RAFT_MUTATION_ACK_BEFORE_SYNC}, "nodes,blackout", 10},
    {"entries appended without the consistency check",
     {.raft = RAFT_MUTATION_NO_PREV_CHECK},
     "nodes,network,crash",
     140},
    {"a commit index taken over unmatched", {.raft = RAFT_MUTATION_COMMIT_UNMATCHED}, "nodes", 30},
    {"a snapshot with a gap", {.shard = SHARD_MUTATION_SNAPSHOT_WITH_GAP}, "nodes", 40},
    {"expiry by the local clock", {.shard = SHARD_MUTATION_EXPIRE_BY_LOCAL_CLOCK}, "nodes", 10},
    {"a command left out between two turns", {.shard = SHARD_MUTATION_GOES_ON_BEHIND}, "nodes", 40},
    {"a forwarded batch applied twice",
     {.cluster = CLUSTER_MUTATION_PARCEL_TWICE, .shard = SHARD_MUTATION_FORWARDED_TWICE},
     "nodes",
     10},
    {"a forwarded batch that comes twice is applied once",
     {.cluster = CLUSTER_MUTATION_PARCEL_TWICE},
     "nodes",
     30,
     .harmless = true},
    {"a heartbeat that does nothing", {.machine = MACHINE_MUTATION_BEAT_IGNORED}, "nodes,sessions=1,flush=0", 10},
    {"a session that forgets where its locks are",
     {.machine = MACHINE_MUTATION_JOIN_FORGOTTEN},
     "nodes,sessions=1,flush=0",
     20},
    {"snapshots that forget where a session's locks are",
     {.machine = MACHINE_MUTATION_SHARDS_NOT_KEPT},
     "nodes,sessions=1,flush=0",
     200},
    {"what remains of a session told as it was at the last entry",
     {.machine = MACHINE_MUTATION_LOOK_BY_LAST_ENTRY},
     "nodes,sessions=1,groups=1,locks=0,flush=0,moves=0,meets=0,messages=0",
     200},
    {"a transaction that takes sessions off what it writes",
     {.machine = MACHINE_MUTATION_SESSION_LEFT},
     "nodes,sessions=1,groups=3,flush=0",
     40},
    {"a transaction told to be committed before it is",
     {.cluster = CLUSTER_MUTATION_TOLD_EARLY},
     "nodes,blackout,members=3,groups=2",
     60},
    {"an outcome not applied at one participant", {.cluster = CLUSTER_MUTATION_HALF_DONE}, "nodes", 10},
    {"home decides though another has not voted yes",
     {.cluster = CLUSTER_MUTATION_HOME_ALONE},
     "nodes,groups=2,clients=16",
     60},
    {"a PREPARE without locks", {.machine = MACHINE_MUTATION_NO_LOCKS}, "nodes", 80},
    {"FLUSHALL without its lock", {.machine = MACHINE_MUTATION_NO_LOCK_OF_ALL}, "nodes,flush=1,clients=16", 40},
    {"an outcome logged behind what it makes room for",
     {.shard = SHARD_MUTATION_OUTCOME_BEHIND},
     "nodes,network,groups=2,clients=16",
     40},
    {"outcomes that wait for a second", {.shard = SHARD_MUTATION_OUTCOME_SLOW}, "nodes", 30, .harmless = true},
    {"an outcome lost with leadership",
     {.shard = SHARD_MUTATION_OUTCOME_LOST},
     "nodes,network,groups=4,clients=4,faults=200,locks=0",
     120},
    {"a read passes an outcome that is not logged",
     {.shard = SHARD_MUTATION_READ_BEFORE_OUTCOME},
     "nodes,none,groups=2,clients=16",
     40},
    {"texts of scripts that are given to nobody, and asked for nowhere",
     {.cluster = CLUSTER_MUTATION_SCRIPT_UNASKED},
     "nodes,scripts=1",
     10},
    {"SCRIPT FLUSH at one node alone", {.cluster = CLUSTER_MUTATION_SCRIPT_FLUSH_HERE}, "nodes,scripts=1", 10},
    {"a look that does not hear what its transaction did",
     {.machine = MACHINE_MUTATION_LOOKS_NOT_TOLD},
     "nodes,groups=2,clients=16",
     40},
    {"a look of TXN.* that is not compared",
     {.machine = MACHINE_MUTATION_LOOKS_NOT_COMPARED},
     "nodes,none,flush=1,groups=3,clients=16",
     200},
    {"read locks dropped early",
     {.machine = MACHINE_MUTATION_NO_READ_LOCKS},
     "nodes,network,groups=2,clients=16,scripts=0,feeds=0,messages=0",
     200},
    {"a push with the position before its changes", {.cluster = CLUSTER_MUTATION_FEED_STALE}, "nodes,feeds=1", 40},
    {"changes dropped for a slow client", {.cluster = CLUSTER_MUTATION_FEED_DROPPED}, "nodes,feeds=1", 200},
    {"a feed that begins where its node is", {.cluster = CLUSTER_MUTATION_FEED_FRONT}, "nodes,feeds=1", 40},
    {"a snapshot without the newest changes", {.machine = MACHINE_MUTATION_FEED_SNAPSHOT}, "nodes,feeds=1", 40},
    {"changes forgotten before anybody could read them",
     {.machine = MACHINE_MUTATION_FEED_NO_BURST},
     "nodes,feeds=1",
     60},
    {"what a stopped script did is told",
     {.machine = MACHINE_MUTATION_FEED_UNDONE},
     "nodes,feeds=1,scripts=1,locks=0",
     200},
    {"a message sent twice", {.cluster = CLUSTER_MUTATION_MESSAGE_TWICE}, "nodes,messages=1", 10},
    {"a leader that stays where it was founded", {.cluster = CLUSTER_MUTATION_PLACED_ONCE}, "nodes,moves=1", 10},
    {"messages out of order", {.cluster = CLUSTER_MUTATION_MESSAGE_LATE}, "nodes,messages=1", 20},

    {"a token used again", {.machine = MACHINE_MUTATION_TOKEN_REUSED}, "nodes,locks=1", 10},
    {"a free lock whose waiters are forgotten", {.machine = MACHINE_MUTATION_LOST_WAKEUP}, "nodes,locks=1", 10},
    {"waiters left out of snapshots", {.machine = MACHINE_MUTATION_WAITERS_NOT_KEPT}, "nodes,locks=1,groups=1", 60},
    {"leases reset at a change of leader", {.machine = MACHINE_MUTATION_LEASE_RESET}, "nodes,locks=1,groups=1", 60},
    {"leases that end early", {.machine = MACHINE_MUTATION_LEASE_SHORT}, "nodes,locks=1", 10},
    {"the last one to ask is served first", {.machine = MACHINE_MUTATION_LAST_COME}, "nodes,locks=1", 20},
    {"an exclusive lock with two holders", {.machine = MACHINE_MUTATION_TWO_HOLDERS}, "nodes,locks=1", 10},
    {"a token used again, by holders that are stopped",
     {.machine = MACHINE_MUTATION_TOKEN_REUSED},
     "nodes,locks=0,holders=1",
     10},
    {"an exclusive lock with two of these holders",
     {.machine = MACHINE_MUTATION_TWO_HOLDERS},
     "nodes,locks=0,holders=1",
     10},
    {"FENCE.CHECK takes an older token", {.machine = MACHINE_MUTATION_FENCE_BLIND}, "nodes,holders=1", 20},
    {"LOCK.GUARD with a token that does not hold", {.machine = MACHINE_MUTATION_GUARD_BLIND}, "nodes,holders=1", 20},
    {"a client that is gone takes back what its owner was told elsewhere",
     {.machine = MACHINE_MUTATION_TAKEN_BACK},
     "nodes,holders=1",
     300},
    {"FENCE.CHECK takes a token that was taken away",
     {.machine = MACHINE_MUTATION_FORCE_UNFENCED},
     "nodes,holders=1",
     40},
    {"a lock that is told to be taken away, and is not",
     {.machine = MACHINE_MUTATION_FORCE_IDLE},
     "nodes,holders=1",
     40},
    {"a resource that looks at no token", {.blind = true}, "nodes,holders=1", 20},
    {"a part of several locks that is held before all are there",
     {.machine = MACHINE_MUTATION_PART_HELD_EARLY},
     "nodes,locks=1,groups=3,clients=8",
     20},
    {"a part of several locks that is taken back without asking home",
     {.cluster = CLUSTER_MUTATION_SETTLED_ALONE},
     "nodes,crash,locks=1,groups=4,clients=16,faults=200",
     200},
    {"parts of several locks that are told as if they were granted",
     {.machine = MACHINE_MUTATION_PARTS_UNTOLD},
     "nodes,network,locks=1,groups=3,clients=16,members=5,faults=200,meets=0",
     60},
    {"a part of a session's locks that is granted for a time",
     {.machine = MACHINE_MUTATION_PART_APART},
     "nodes,sessions=1,flush=0,groups=3,clients=8",
     100},
    {"a part of a session's locks that outlives it",
     {.machine = MACHINE_MUTATION_PART_OUTLIVES},
     "nodes,sessions=1,flush=0,groups=3,clients=8",
     100},
    {"a leader that is elected anew each time", {.machine = MACHINE_MUTATION_OFFICE_ANEW}, "nodes,meets=1", 10},
    {"a leader that has resigned is told to lead", {.machine = MACHINE_MUTATION_LEADER_PAST}, "nodes,meets=1", 10},
    {"an office that is told to be taken away, and is not",
     {.machine = MACHINE_MUTATION_FORCE_IDLE},
     "nodes,meets=1",
     40},
    {"a barrier that opens when one is missing", {.machine = MACHINE_MUTATION_BARRIER_SHORT}, "nodes,meets=1", 10},
    {"one of those who pass a barrier is forgotten", {.machine = MACHINE_MUTATION_MEMBER_LEFT}, "nodes,meets=1", 10},
    {"a latch that opens when one down is missing", {.machine = MACHINE_MUTATION_LATCH_EARLY}, "nodes,meets=1", 40},
    {"snapshots without those who have passed",
     {.machine = MACHINE_MUTATION_PASSED_NOT_KEPT},
     "nodes,meets=1,groups=1",
     120},
    {"grants that nobody is told of",
     {.cluster = CLUSTER_MUTATION_NO_LOCK_NEWS},
     "nodes,locks=1,clients=3",
     20,
     .harmless = true},

    {"a transaction told to be committed before it is",
     {.cluster = CLUSTER_MUTATION_TOLD_EARLY},
     "transaction-2pc",
     400},
    {"an outcome not applied at one participant", {.cluster = CLUSTER_MUTATION_HALF_DONE}, "transaction-2pc", 5},
    {"the same with three phases", {.cluster = CLUSTER_MUTATION_HALF_DONE}, "transaction-3pc", 5},
    {"home tells other replies than it has made", {.machine = MACHINE_MUTATION_OTHER_REPLIES}, "transaction-2pc", 200},

    {"a resolver that reads before it lists", {.early = true}, "transaction-external", 60},
    {"home guesses what is not decided", {.machine = MACHINE_MUTATION_OUTCOME_GUESSED}, "transaction-external", 60},
    {"home tells a commit before it is decided",
     {.machine = MACHINE_MUTATION_OUTCOME_EARLY},
     "transaction-external",
     60},
    {"a commit forgotten before its branches are finished",
     {.machine = MACHINE_MUTATION_BRANCHES_FORGOTTEN},
     "transaction-external",
     60},
};

static void test_mutant(void **state)
{
    const struct mutant *mutant = *state;
    const char *text = getenv("COHORT_SIM_SEEDS");
    struct sim_hunt hunt = {.first_seed = 1,
                            .count = text == NULL ? mutant->seeds : strtoull(text, NULL, 10),
                            .step = 1,
                            .profile_changes = mutant->profile,
                            .mutation = &mutant->mutation};
    struct sim_hunt_result result;
    assert_int_equal(sim_hunt_run(&hunt, &result), STATUS_OK);
    if (result.last.failed == mutant->harmless) {
        fail_msg("%s: after %d seeds: %s", mutant->name, (int)result.seeds,
                 mutant->harmless ? result.last.failure : "not seen");
    }
    print_message("# seed %d: %s: %.*s\n", (int)result.seed, mutant->name, (int)strcspn(result.last.failure, "\n"),
                  result.last.failure);
}

int main(int argc, char **argv)
{
    enum { MUTANTS = sizeof(mutants) / sizeof(mutants[0]) };
    static struct CMUnitTest tests[MUTANTS];
    size_t count = 0;
    for (size_t i = 0; i < MUTANTS; i++) {
        if (argc == 2 && strncmp(mutants[i].profile, argv[1], strlen(argv[1])) == 0) {
            tests[count++] = (struct CMUnitTest){
                .name = mutants[i].name, .test_func = test_mutant, .initial_state = (void *)(uintptr_t)&mutants[i]};
        }
    }
    return _cmocka_run_group_tests("mutants", tests, count, NULL, NULL);
}
