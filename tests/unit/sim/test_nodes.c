/* Whole nodes in the simulator: the same seed twice, its picture, and seeds that once found a bug. */
#include "hunt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_same_seed_same_trace(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct sim_profile profile;
        struct sim_result one, other;
        assert_int_equal(sim_profile_draw(seed, "nodes,all", &profile), STATUS_OK);
        sim_run(seed, &profile, NULL, NULL, &one);
        sim_run(seed, &profile, NULL, NULL, &other);
        assert_true(one.trace == other.trace);
        sim_run(seed + 1000, &profile, NULL, NULL, &other);
        assert_true(one.trace != other.trace);
    }
}

static void test_a_picture_changes_nothing(void **state)
{
    (void)state;
    struct sim_profile profile;
    struct sim_result one, other;
    assert_int_equal(sim_profile_draw(5, "nodes,all", &profile), STATUS_OK);
    struct diagram *diagram = diagram_create(profile.members, profile.clients, profile.groups, 0, INT64_MAX);
    struct sim_record record = {.diagram = diagram};
    struct buffer html = {0};
    sim_run(5, &profile, NULL, &record, &one);
    diagram_write(diagram, "five", &html);
    sim_run(5, &profile, NULL, NULL, &other);
    assert_true(one.trace == other.trace);
    assert_non_null(memmem(html.data, html.size, "leads shard 1", 13));
    assert_non_null(memmem(html.data, html.size, "between nodes, group 0, 1 to 2", 30));
    buffer_deinit(&html);
    diagram_destroy(diagram);
}

static void check_seed(uint64_t seed, const char *changes)
{
    struct sim_profile profile;
    struct sim_result result;
    assert_int_equal(sim_profile_draw(seed, changes, &profile), STATUS_OK);
    sim_run(seed, &profile, NULL, NULL, &result);
    if (result.failed) {
        fail_msg("%s", result.failure);
    }
}

/* A node that had stood still heard a SCRIPT FLUSH after others had told it of the new epoch, made one more, and told
 * nobody: what nodes were told since was forgotten whenever it spoke next. */
static void test_a_flush_that_is_heard_late(void **state)
{
    (void)state;
    check_seed(41192, "nodes,network,disk,crash,timing,members=5,groups=3,replicas=3,clients=6,faults=20,workers=1,"
                      "flush=0,scripts=1,feeds=1,messages=0,locks=1");
}

/* A LOCK.MACQUIRE gave back what stood behind the lock it waited for; its own node, whose disk was full, refused that,
 * and was asked again in the same turn, for ever. And one that asked again was told an older time to live of its
 * session. */
static void test_several_locks_of_a_session_and_a_full_disk(void **state)
{
    (void)state;
    check_seed(7, "nodes,network,disk,timing,memory,members=3,groups=3,replicas=3,clients=7,faults=7,workers=1,flush=0,"
                  "scripts=1,feeds=0,messages=0,locks=0,holders=0,sessions=1,meets=1");
}

/* Who held a lock and asked for it again, with WAIT, was told nil: the answer was lost with a leader, the shard knew of
 * no such request that waited, and the time was over. */
static void test_a_holder_whose_answer_is_lost(void **state)
{
    (void)state;
    check_seed(12040762, "nodes,network,disk,crash,memory,members=5,groups=16,replicas=3,clients=8,faults=22,workers=3,"
                         "flush=0,scripts=0,feeds=0,messages=1,locks=0,holders=0,sessions=1,meets=1");
}

/* A client left a node that was cut off, and asked elsewhere as the same owner: that waited for another one who waited
 * for what the first node could not give back, and was told of a circle, though all of it was reserved alone. */
static void test_parts_that_are_not_given_back(void **state)
{
    (void)state;
    check_seed(145,
               "nodes,network,members=3,groups=2,replicas=3,clients=16,faults=80,workers=1,flush=0,scripts=0,feeds=0,"
               "messages=0,locks=1,holders=0,sessions=0,meets=1");
    check_seed(6,
               "nodes,network,members=5,groups=3,replicas=3,clients=16,faults=200,workers=2,flush=0,scripts=1,feeds=0,"
               "messages=0,locks=1,holders=0,sessions=1,meets=0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_seed_same_trace),
        cmocka_unit_test(test_a_picture_changes_nothing),
        cmocka_unit_test(test_a_flush_that_is_heard_late),
        cmocka_unit_test(test_a_holder_whose_answer_is_lost),
        cmocka_unit_test(test_several_locks_of_a_session_and_a_full_disk),
        cmocka_unit_test(test_parts_that_are_not_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
