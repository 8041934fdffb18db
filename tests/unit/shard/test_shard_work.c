/* A turn's work is bounded: what is left of an entry is applied in the turns that follow (store.h). */
#include "shard_fixture.h"

#include "shard/shard_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { REQUESTS = 30, READ_EACH = 5, IN_A_TURN = 3 };

static struct fixture *open_small(uint64_t seed)
{
    struct fixture *fixture = fixture_create(seed);
    fixture->turn_steps = IN_A_TURN * STORE_COMMAND_STEPS;
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    return fixture;
}

/* INCRs with reads among them, all in one entry. */
static void submit_all(struct fixture *fixture)
{
    for (int i = 1; i <= REQUESTS; i++) {
        (void)fixture_submit(fixture, i % READ_EACH == 0 ? "GET n" : "INCR n");
    }
}

static void check_replies(const struct fixture *fixture, uint64_t first)
{
    int value = 0;
    for (int i = 1; i <= REQUESTS; i++) {
        char expected[32];
        uint64_t tag = first + (uint64_t)i - 1;
        bool reads = i % READ_EACH == 0;
        value += reads ? 0 : 1;
        if (reads) {
            (void)snprintf(expected, sizeof(expected), "$%d %d", value < 10 ? 1 : 2, value);
        } else {
            (void)snprintf(expected, sizeof(expected), ":%d", value);
        }
        assert_string_equal(fixture_reply(fixture, tag), expected);
        assert_int_equal(fixture->replies[tag].order, tag);
    }
}

static void test_an_entry_takes_several_turns(void **state)
{
    (void)state;
    struct fixture *fixture = open_small(1);
    struct shard_stats before = fixture_stats(fixture);
    submit_all(fixture);
    fixture_settle(fixture);
    struct shard_stats after = fixture_stats(fixture);
    check_replies(fixture, 1);
    assert_int_equal(after.entries, before.entries + 1);
    assert_int_equal(after.divided - before.divided, REQUESTS / IN_A_TURN - 1);
    assert_int_equal(after.pending_bytes, 0);
    fixture_destroy(fixture);
}

/* While an entry is half applied no snapshot begins and there is no digest; what is read at once sees what was applied,
 * and a command that may take long waits. */
static void test_between_two_states(void **state)
{
    (void)state;
    struct fixture *fixture = open_small(2);
    submit_all(fixture);
    int halves = 0;
    while (fixture_reply(fixture, REQUESTS) == NULL) {
        if (!sim_step(fixture->sim) || !fixture->shard->applying) {
            continue;
        }
        halves++;
        assert_int_equal(shard_digest(fixture->shard), 0);
        assert_false(shard_may_run(fixture->shard));
        assert_non_null(fixture_read(fixture, "GET n"));
        assert_int_equal(shard_snapshot(fixture->shard), STATUS_OK);
        assert_false(fixture_stats(fixture).snapshot_running);
    }
    assert_true(halves >= 2);
    fixture_settle(fixture);
    sim_run_for(fixture->sim, SECOND);
    assert_int_not_equal(shard_digest(fixture->shard), 0);
    check_replies(fixture, 1);
    assert_int_equal(fixture_stats(fixture).snapshots, 1);
    fixture_restart(fixture, SIM_CRASH_KILL);
    assert_string_equal(fixture_call(fixture, "GET n"), "$2 24");
    fixture_destroy(fixture);
}

/* A start applies the log in as many steps. */
static void test_start(void **state)
{
    (void)state;
    struct fixture *fixture = open_small(3);
    submit_all(fixture);
    fixture_settle(fixture);
    fixture_restart(fixture, SIM_CRASH_POWER);
    assert_true(fixture_stats(fixture).divided >= REQUESTS / IN_A_TURN / 2);
    assert_string_equal(fixture_call(fixture, "GET n"), "$2 24");
    fixture->turn_steps = 0;
    fixture_restart(fixture, SIM_CRASH_KILL);
    assert_int_equal(fixture_stats(fixture).divided, 0);
    assert_string_equal(fixture_call(fixture, "GET n"), "$2 24");
    fixture_destroy(fixture);
}

/* Reads alone, too; and what comes meanwhile comes behind them. */
static void test_reads_alone(void **state)
{
    (void)state;
    struct fixture *fixture = open_small(4);
    for (int i = 0; i < REQUESTS; i++) {
        (void)fixture_submit(fixture, "GET n");
    }
    while (fixture->reply_count == 0) {
        (void)sim_step(fixture->sim);
    }
    assert_true(fixture->reply_count < REQUESTS);
    uint64_t write = fixture_submit(fixture, "INCR n");
    fixture_settle(fixture);
    for (uint64_t tag = 1; tag <= REQUESTS; tag++) {
        assert_string_equal(fixture_reply(fixture, tag), "$-1");
    }
    assert_string_equal(fixture_reply(fixture, write), ":1");
    assert_int_equal(fixture->replies[write].order, write);
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_entry_takes_several_turns),
        cmocka_unit_test(test_between_two_states),
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_reads_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
