/* Each known bug (raft_mutation.h), switched on in a copy of the core built for this test alone, must be seen by the
 * random lives within a stated number of seeds: by the oracle, or by an assertion of the core itself. Each runs in a
 * child process, since an assertion aborts. RAFT_SEEDS overrides the bound, to see how far one is from being caught. */
#include "base/assert.h"
#include "tests/unit/raft/random_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct hunt {
    enum raft_mutation mutation;
    const char *name;
    uint64_t seeds; /* it is seen within so many */
};

static const struct hunt hunts[] = {
    {RAFT_MUTATION_COMMIT_OLDER_TERM, "an older term's entry is committed by counting", 12000},
    {RAFT_MUTATION_VOTE_NOT_STORED, "the vote is not stored", 12000},
    {RAFT_MUTATION_SEND_BEFORE_STORED, "messages leave before term and vote are durable", 1000},
    {RAFT_MUTATION_READ_EARLIER_ROUND, "a read is confirmed by a round that started before it", 1000},
    {RAFT_MUTATION_READ_WITHOUT_ROUND, "a read is confirmed by believing to lead", 12000},
    {RAFT_MUTATION_READ_BEFORE_NOOP, "a read does not wait for an entry of the term", 1000},
    {RAFT_MUTATION_ACK_BEFORE_SYNC, "a follower acknowledges before its sync", 1000},
    {RAFT_MUTATION_LEADER_COUNTS_UNSYNCED, "a leader counts itself before its sync", 1000},
    {RAFT_MUTATION_COMMIT_UNMATCHED, "a follower commits what it did not compare", 1000},
    {RAFT_MUTATION_NO_LOG_CHECK_IN_VOTE, "a vote for an older log", 12000},
    {RAFT_MUTATION_VOTE_TWICE, "two votes in a term", 1000},
    {RAFT_MUTATION_NO_PRE_VOTE, "no pre-vote", 1000},
    {RAFT_MUTATION_NO_JOINT, "a joint configuration asks the new voters only", 1000},
    {RAFT_MUTATION_CHANGE_UNCOMMITTED, "a change begins before the one before it is committed", 12000},
    {RAFT_MUTATION_NO_PREV_CHECK, "entries appended without the consistency check", 1000},
    {RAFT_MUTATION_STALE_STORED, "a late durable notice counts for replaced entries", 12000},
    {RAFT_MUTATION_SNAPSHOT_KEEPS_LOG, "a conflicting log survives a snapshot", 12000},
    {RAFT_MUTATION_SNAPSHOT_OLD, "a snapshot older than the state is installed", 12000},
    {RAFT_MUTATION_LEASE_NO_STICKINESS, "votes are given against a lease", 12000},
    {RAFT_MUTATION_LEASE_AFTER_TRANSFER, "a lease is used after a transfer", 12000},
    {RAFT_MUTATION_GONE_BREAKS_LEASE, "a leader that seems gone is forgotten against a lease", 12000},
    {RAFT_MUTATION_NO_QUORUM_CHECK, "a leader without a quorum stays", 1000},
    {RAFT_MUTATION_LATE_IS_SILENCE, "what passes while the host does not run counts as silence", 1000},
};

struct finding { /* shared with the child */
    uint64_t seed;
    bool caught;
    char failure[256];
};

static void search(const struct hunt *hunt, uint64_t seeds, struct finding *finding)
{
    if (freopen("/dev/null", "w", stderr) == NULL) { /* assertions speak there */
        _exit(2);
    }
    for (uint64_t seed = 1; seed <= seeds && !finding->caught; seed++) {
        finding->seed = seed;
        struct random_result result;
        random_run(seed, hunt->mutation, NULL, &result);
        if (result.failed) {
            memcpy(finding->failure, result.failure, sizeof finding->failure);
            finding->caught = true;
        }
    }
    _exit(0);
}

static void test_hunt(void **state)
{
    const struct hunt *hunt = *state;
    const char *text = getenv("RAFT_SEEDS");
    uint64_t seeds = text != NULL ? strtoull(text, NULL, 10) : hunt->seeds;
    struct finding *finding = mmap(NULL, sizeof *finding, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(finding, MAP_FAILED);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        search(hunt, seeds, finding);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    bool asserted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
    if (!finding->caught && !asserted) {
        fail_msg("not seen in %d seeds: %s", (int)seeds, hunt->name);
    }
    print_message("# seed %d: %s: %s\n", (int)finding->seed, hunt->name,
                  finding->caught ? finding->failure : "an assertion");
    munmap(finding, sizeof *finding);
}

int main(void)
{
    enum { HUNTS = sizeof hunts / sizeof hunts[0] };
    ASSERT(HUNTS == RAFT_MUTATION_COUNT - 1);
    static struct CMUnitTest tests[HUNTS];
    for (size_t i = 0; i < HUNTS; i++) {
        tests[i] = (struct CMUnitTest){
            .name = hunts[i].name, .test_func = test_hunt, .initial_state = (void *)(uintptr_t)&hunts[i]};
    }
    return _cmocka_run_group_tests("mutations", tests, HUNTS, NULL, NULL);
}
