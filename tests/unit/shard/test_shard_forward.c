/* What a batch from another node may be, and that it stands in one entry. */
#include "shard_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

enum { PLENTY = 1 << 20 };

static struct fixture *open_new(uint64_t seed)
{
    struct fixture *fixture = fixture_create(seed);
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    fixture_settle(fixture);
    return fixture;
}

static enum status announce(struct fixture *fixture, uint64_t sequence, uint32_t count, size_t bytes)
{
    return shard_forwarded(fixture->shard, &(struct shard_origin){3, 1, sequence, sequence}, count, bytes);
}

static void test_refusals(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(1);
    fixture->options.pending_bytes = 100000;
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    fixture_settle(fixture);
    struct shard_origin invalid = {3, 1, MACHINE_ORIGIN_WINDOW + 5, 5};
    assert_int_equal(shard_forwarded(fixture->shard, &invalid, 1, 10), STATUS_INVALID);
    assert_int_equal(announce(fixture, 0, 1, 10), STATUS_INVALID);
    assert_int_equal(announce(fixture, 1, 1, LOG_MAXIMUM_ENTRY_BYTES), STATUS_TOO_LARGE);
    assert_int_equal(announce(fixture, 1, SHARD_BATCH_COMMANDS, 10), STATUS_TOO_LARGE);
    assert_int_equal(announce(fixture, 1, 1, 100000), STATUS_FULL);
    assert_int_equal(announce(fixture, 1, 50000, 10), STATUS_FULL);
    assert_int_equal(announce(fixture, 1, 0, 10), STATUS_OK); /* of reads alone */
    assert_int_equal(fixture_stats(fixture).pending_bytes, 0);
    uint64_t entries = fixture_stats(fixture).entries;
    assert_string_equal(fixture_call(fixture, "GET a"), "$-1");
    assert_int_equal(fixture_stats(fixture).entries, entries);
    assert_int_equal(announce(fixture, 1, 1, 90000), STATUS_OK); /* nothing was noted of those refused */
    assert_string_equal(fixture_call(fixture, "SET a 1"), "+OK");
    assert_int_equal(fixture_stats(fixture).pending_bytes, 0);
    fixture_destroy(fixture);
}

/* What was taken before goes first, when all does not go into one entry. */
static void test_one_entry(void **state)
{
    (void)state;
    static const struct {
        int before, count, entries;
        const char *words;
        size_t bytes; /* of them at most */
        bool reads;   /* before */
    } cases[] = {
        {1, 2, 1, "INCR a", 30, false},
        {5, 3, 2, "APPEND a ~40000", 40030, false},
        {SHARD_BATCH_COMMANDS - 20, 19, 1, "INCR a", 30, true},
        {SHARD_BATCH_COMMANDS - 20, 20, 2, "INCR a", 30, true},
        {0, 7, 1, "APPEND a ~200000", 200030, false}, /* larger than an entry usually becomes */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *fixture = open_new(2 + i);
        struct shard_stats before = fixture_stats(fixture);
        for (int at = 0; at < cases[i].before; at++) {
            (void)fixture_submit(fixture, cases[i].reads && at != 0 ? "EXISTS a" : cases[i].words);
        }
        assert_int_equal(announce(fixture, 1, (uint32_t)cases[i].count, (size_t)cases[i].count * cases[i].bytes),
                         STATUS_OK);
        uint64_t read = 0;
        for (int at = 0; at < cases[i].count; at++) {
            (void)fixture_submit(fixture, cases[i].words);
            read = fixture_submit(fixture, "EXISTS a"); /* none of the entry's */
        }
        fixture_settle(fixture);
        assert_string_equal(fixture_reply(fixture, read), ":1");
        struct shard_stats after = fixture_stats(fixture);
        assert_int_equal(after.entries - before.entries, cases[i].entries);
        assert_int_equal(after.commands - before.commands, (cases[i].reads ? 1 : cases[i].before) + cases[i].count);
        uint64_t digest = shard_digest(fixture->shard);
        fixture_restart(fixture, SIM_CRASH_POWER); /* replay gives the same positions */
        assert_true(shard_digest(fixture->shard) == digest);
        fixture_destroy(fixture);
    }
}

static void test_again(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(8);
    for (int times = 0; times < 3; times++) {
        uint64_t tags[4];
        assert_int_equal(announce(fixture, 1, 2, PLENTY), STATUS_OK);
        tags[0] = fixture_submit(fixture, "INCR a");
        tags[1] = fixture_submit(fixture, "GET a");
        tags[2] = fixture_submit_logged(fixture, "GET a");
        tags[3] = fixture_submit(fixture, "INCR b"); /* not of the batch */
        fixture_settle(fixture);
        assert_string_equal(fixture_reply(fixture, tags[0]), times == 0 ? ":1" : "repeated");
        assert_string_equal(fixture_reply(fixture, tags[1]), "$1 1");
        assert_string_equal(fixture_reply(fixture, tags[2]), times == 0 ? "$1 1" : "repeated");
        assert_int_equal(fixture_reply(fixture, tags[3])[1], '1' + times);
        assert_int_equal(fixture_stats(fixture).repeated, times == 2 ? 1 : times); /* since the process started */
        if (times == 1) {
            assert_int_equal(shard_snapshot(fixture->shard), STATUS_OK);
            fixture_settle(fixture);
            sim_run_for(fixture->sim, SECOND);
            assert_int_equal(fixture_stats(fixture).snapshots, 1);
            fixture_restart(fixture, SIM_CRASH_KILL);
        }
    }
    fixture_destroy(fixture);
}

/* Refused are all of it or none, and what was refused may come again. */
static void test_a_full_disk(void **state)
{
    (void)state;
    for (uint64_t seed = 20; seed < 25; seed++) {
        struct fixture *fixture = open_new(seed);
        sim_disk_set_quota(fixture_disk(fixture), sim_disk_used(fixture_disk(fixture)) + 3 * FIXTURE_SEGMENT_BYTES);
        uint64_t tags[2];
        uint64_t sequence = 0;
        do {
            assert_int_equal(announce(fixture, ++sequence, 2, PLENTY), STATUS_OK);
            tags[0] = fixture_submit(fixture, "APPEND a ~5000");
            tags[1] = fixture_submit(fixture, "APPEND b ~5000");
            fixture_settle(fixture);
            assert_true((fixture_reply(fixture, tags[0]) == NULL) == (fixture_reply(fixture, tags[1]) == NULL));
        } while (fixture_reply(fixture, tags[0]) != NULL);
        assert_int_equal(fixture->replies[tags[0]].refused, STATUS_NOSPACE);
        assert_int_equal(fixture_stats(fixture).pending_bytes, 0);
        sim_disk_set_quota(fixture_disk(fixture), 0);
        sim_run_for(fixture->sim, SECOND);
        char expected[32];
        (void)snprintf(expected, sizeof(expected), ":%d", (int)sequence * 5000);
        for (int times = 0; times < 2; times++) {
            assert_int_equal(announce(fixture, sequence, 1, PLENTY), STATUS_OK);
            assert_string_equal(fixture_call(fixture, "APPEND a ~5000"), times == 0 ? expected : "repeated");
        }
        fixture_destroy(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_one_entry),
        cmocka_unit_test(test_again),
        cmocka_unit_test(test_a_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
