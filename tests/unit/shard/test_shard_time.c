/* Cluster time (invariant 3 of shard.h), and keys that are due. */
#include "shard_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct fixture *open_new(uint64_t seed)
{
    struct fixture *fixture = fixture_create(seed);
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    return fixture;
}

static int64_t number(const char *reply)
{
    assert_non_null(reply);
    assert_int_equal(reply[0], ':');
    return strtoll(reply + 1, NULL, 10);
}

/* A key that is due goes by itself, through the log, soon. */
static void test_due_keys_go(void **state)
{
    struct fixture *fixture = open_new(1);
    (void)fixture_submit(fixture, "SET a 1 PX 500");
    (void)fixture_submit(fixture, "SET b 1");
    fixture_settle(fixture);
    sim_run_for(fixture->sim, 480 * MS);
    assert_int_equal(fixture_stats(fixture).machine.keys, 2);
    assert_string_equal(fixture_read(fixture, "GET a"), "$1 1");
    uint64_t entries = fixture_stats(fixture).entries;
    sim_run_for(fixture->sim, 150 * MS);
    assert_int_equal(fixture_stats(fixture).machine.keys, 1);
    assert_int_equal(fixture_stats(fixture).machine.expired, 1);
    assert_int_equal(fixture_stats(fixture).entries, entries + 1);
    assert_string_equal(fixture_read(fixture, "GET a"), "$-1");
    entries = fixture_stats(fixture).entries;
    sim_run_for(fixture->sim, 60 * SECOND);
    assert_int_equal(fixture_stats(fixture).entries, entries); /* nothing expires: nothing is logged */
    fixture_destroy(fixture);
}

/* Many at once go in bounded steps, one after the other. */
static void test_many_due_keys(void **state)
{
    struct fixture *fixture = open_new(2);
    char words[64];
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(words, sizeof(words), "SET k%d v PX 200", i);
        (void)fixture_submit(fixture, words);
    }
    fixture_settle(fixture);
    uint64_t entries = fixture_stats(fixture).entries;
    uint64_t keys = 5000;
    int64_t began_ns = sim_now_ns(fixture->sim);
    while (keys != 0) {
        assert_true(sim_step(fixture->sim));
        uint64_t now = fixture_stats(fixture).machine.keys;
        assert_true(keys - now <= MACHINE_EXPIRE_STEP);
        keys = now;
    }
    assert_true(fixture_stats(fixture).entries - entries <= 5000 / MACHINE_EXPIRE_STEP + 2);
    assert_true(sim_now_ns(fixture->sim) - began_ns < 600 * MS);
    fixture_destroy(fixture);
}

/* A read that meets a key which is due, but not yet removed, goes through the log; nobody sees it come back. */
static void test_a_read_of_a_due_key(void **state)
{
    struct fixture *fixture = open_new(3);
    (void)fixture_call(fixture, "SET a 1 PX 30");
    assert_string_equal(fixture_read(fixture, "GET a"), "$1 1");
    sim_run_for(fixture->sim, 35 * MS); /* the next time entry comes no sooner than after SHARD_EXPIRE_PAUSE_MS */
    assert_int_equal(fixture_stats(fixture).machine.keys, 1);
    assert_null(fixture_read(fixture, "GET a"));
    assert_null(fixture_read(fixture, "EXISTS a b"));
    assert_string_equal(fixture_read(fixture, "GET b"), "$-1");
    uint64_t tag = fixture_submit_logged(fixture, "GET a");
    fixture_settle(fixture);
    assert_string_equal(fixture_reply(fixture, tag), "$-1");
    assert_string_equal(fixture_read(fixture, "GET a"), "$-1");
    fixture_destroy(fixture);
}

/* What remains of a time to live outlives restarts: not lost while the node is down, not given again beyond a second.
 */
static void test_time_resumes(void **state)
{
    for (uint64_t seed = 10; seed < 20; seed++) {
        struct fixture *fixture = open_new(seed);
        (void)fixture_call(fixture, "SET a 1 PX 100000");
        int64_t left_ms = 100000;
        for (int restart = 0; restart < 4; restart++) {
            sim_run_for(fixture->sim,
                        5 * SECOND + (int64_t)prng_below(sim_prng(fixture->sim, SIM_DRAW_CLIENT), SECOND));
            int64_t before_ms = number(fixture_read(fixture, "PTTL a"));
            assert_in_range(left_ms - before_ms, 4900, 6100);
            fixture_crash(fixture, seed % 2 == 0 ? SIM_CRASH_KILL : SIM_CRASH_POWER);
            sim_run_for(fixture->sim, 1000 * SECOND);
            assert_int_equal(fixture_open(fixture), STATUS_OK);
            left_ms = number(fixture_read(fixture, "PTTL a"));
            assert_in_range(left_ms - before_ms, 0, SHARD_TIME_ENTRY_MS + 150);
            sim_run_for(fixture->sim, 10 * MS);
        }
        sim_run_for(fixture->sim, 100 * SECOND);
        assert_string_equal(fixture_read(fixture, "EXISTS a"), ":0");
        fixture_destroy(fixture);
    }
}

/* The wall clock may jump; what entries say of it never goes back, and EXPIREAT is due by it. */
static void test_a_wall_clock_that_jumps(void **state)
{
    struct fixture *fixture = open_new(4);
    int64_t wall_ms = env_wall_ms(fixture->env);
    char words[64];
    (void)snprintf(words, sizeof(words), "SET a 1 PXAT %lld", (long long)wall_ms + 10000);
    assert_string_equal(fixture_call(fixture, words), "+OK");
    int64_t last_ms = 0;
    for (int i = 0; i < 40; i++) {
        sim_node_set_wall_offset(fixture->sim, 0, i % 2 == 0 ? -3600000 : i * 100);
        sim_run_for(fixture->sim, 20 * MS);
        assert_string_equal(fixture_call(fixture, "INCR n") != NULL ? "" : NULL, "");
        struct shard_stats stats = fixture_stats(fixture);
        assert_true(stats.machine.wall_ms >= last_ms);
        last_ms = stats.machine.wall_ms;
    }
    assert_string_equal(fixture_read(fixture, "EXISTS a"), ":1");
    sim_node_set_wall_offset(fixture->sim, 0, -3600000);
    fixture_restart(fixture, SIM_CRASH_KILL); /* the log's readings are in order */
    assert_int_equal(fixture_stats(fixture).machine.wall_ms >= last_ms, 1);
    sim_run_for(fixture->sim, 60 * SECOND);
    assert_string_equal(fixture_read(fixture, "EXISTS a"), ":1"); /* an hour behind: not due */
    sim_node_set_wall_offset(fixture->sim, 0, 3600000);
    sim_run_for(fixture->sim, 2 * SECOND);
    assert_string_equal(fixture_read(fixture, "EXISTS a"), ":0");
    assert_int_equal(fixture_stats(fixture).machine.keys, 1);
    fixture_destroy(fixture);
}

/* On a full disk keys that are due stay, and go when there is space; reads of them are refused, not wrong. */
static void test_due_keys_on_a_full_disk(void **state)
{
    struct fixture *fixture = open_new(5);
    (void)fixture_call(fixture, "SET a 1 PX 3000");
    sim_disk_set_quota(fixture_disk(fixture), sim_disk_used(fixture_disk(fixture)) + 1);
    uint64_t last = 0;
    do {
        last = fixture_submit(fixture, "SET fill ~60");
        fixture_settle(fixture);
    } while (fixture_reply(fixture, last) != NULL);
    sim_run_for(fixture->sim, 5 * SECOND);
    assert_int_equal(fixture->failures, 0);
    assert_int_equal(fixture_stats(fixture).machine.keys, 2);
    assert_null(fixture_read(fixture, "GET a"));
    uint64_t tag = fixture_submit_logged(fixture, "GET a");
    fixture_settle(fixture);
    assert_int_equal(fixture->replies[tag].refused, STATUS_NOSPACE);
    sim_disk_set_quota(fixture_disk(fixture), 0);
    sim_run_for(fixture->sim, 2 * SECOND);
    assert_int_equal(fixture_stats(fixture).machine.keys, 1);
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_due_keys_go),
        cmocka_unit_test(test_many_due_keys),
        cmocka_unit_test(test_a_read_of_a_due_key),
        cmocka_unit_test(test_time_resumes),
        cmocka_unit_test(test_a_wall_clock_that_jumps),
        cmocka_unit_test(test_due_keys_on_a_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
