/* A shard's invariants but for time and recovery (numbers as in shard.h). */
#include "shard_fixture.h"

#include "shard/shard_state.h"
#include "shard/store_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct fixture *open_new(uint64_t seed)
{
    struct fixture *fixture = fixture_create(seed);
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    return fixture;
}

static void assert_in_order(const struct fixture *fixture, uint64_t first)
{
    for (uint64_t tag = first; tag < fixture->tags; tag++) {
        assert_true(fixture->replies[tag].order < fixture->replies[tag + 1].order);
    }
}

/* 2: reads between writes see what stands before them, and nothing after; one entry carries them all. */
static void test_reads_keep_their_place(void **state)
{
    struct fixture *fixture = open_new(1);
    uint64_t entries = fixture_stats(fixture).entries;
    static const char *const script[][2] = {
        {"GET a", "$-1"},   {"SET a 1", "+OK"},
        {"GET a", "$1 1"},  {"INCR a", ":2"},
        {"GET a", "$1 2"},  {"EXISTS a b", ":1"},
        {"SET b x", "+OK"}, {"DEL a", ":1"},
        {"GET a", "$-1"},   {"INCR b", "-ERR value is not an integer or o"},
        {"GET b", "$1 x"},  {"DBSIZE", ":1"},
    };
    size_t count = sizeof(script) / sizeof(script[0]);
    for (size_t i = 0; i < count; i++) {
        (void)fixture_submit(fixture, script[i][0]);
    }
    assert_int_equal(fixture->reply_count, 0);
    fixture_settle(fixture);
    for (size_t i = 0; i < count; i++) {
        assert_non_null(fixture_reply(fixture, i + 1));
        if (strncmp(fixture_reply(fixture, i + 1), script[i][1], FIXTURE_TEXT_BYTES - 1) != 0) {
            fail_msg("%s: %s, not %s", script[i][0], fixture_reply(fixture, i + 1), script[i][1]);
        }
    }
    assert_in_order(fixture, 1);
    assert_int_equal(fixture_stats(fixture).entries, entries + 1);
    assert_int_equal(fixture_stats(fixture).pending_bytes, 0);
    fixture_destroy(fixture);
}

/* Reads alone leave nothing in the log. */
static void test_reads_alone(void **state)
{
    struct fixture *fixture = open_new(2);
    assert_string_equal(fixture_call(fixture, "SET a 1"), "+OK");
    struct shard_stats before = fixture_stats(fixture);
    assert_string_equal(fixture_call(fixture, "GET a"), "$1 1");
    assert_string_equal(fixture_read(fixture, "GET a"), "$1 1");
    struct shard_stats after = fixture_stats(fixture);
    assert_int_equal(after.last_index, before.last_index);
    assert_int_equal(after.log.syncs, before.log.syncs);
    fixture_destroy(fixture);
}

/* 1: while the disk is slow nothing is answered, and nobody sees what is not durable; what comes meanwhile gathers. */
static void test_nothing_before_it_is_durable(void **state)
{
    struct fixture *fixture = open_new(3);
    sim_timing(fixture->sim)->sync_minimum_ns = 50 * MS;
    sim_timing(fixture->sim)->sync_maximum_ns = 60 * MS;
    uint64_t syncs = fixture_stats(fixture).log.syncs;
    char words[32];
    for (int i = 0; i < 40; i++) { /* too many for the turn to wait for them */
        (void)snprintf(words, sizeof(words), "SET k%d 1", i);
        (void)fixture_submit(fixture, words);
    }
    sim_run_for(fixture->sim, 5 * MS);
    uint64_t read = fixture_submit(fixture, "GET k39"); /* keeps its place, though nothing of it is written */
    uint64_t write = fixture_submit(fixture, "INCR k39");
    sim_run_for(fixture->sim, 35 * MS);
    assert_int_equal(fixture->reply_count, 0);
    assert_string_equal(fixture_read(fixture, "GET k0"), "$-1");
    assert_int_equal(fixture_stats(fixture).entries, 0);
    assert_false(shard_idle(fixture->shard));
    fixture_settle(fixture);
    assert_int_equal(fixture->reply_count, 42);
    assert_in_order(fixture, 1);
    assert_string_equal(fixture_reply(fixture, 1), "+OK");
    assert_string_equal(fixture_reply(fixture, read), "$1 1");
    assert_string_equal(fixture_reply(fixture, write), ":2");
    assert_int_equal(fixture->replies[1].syncs, syncs + 1);
    assert_int_equal(fixture->replies[write].syncs, syncs + 2);
    fixture_destroy(fixture);
}

/* A few are synced at once: the reply comes with the turn. */
static void test_few_are_synced_inline(void **state)
{
    struct fixture *fixture = open_new(4);
    uint64_t syncs = fixture_stats(fixture).log.syncs;
    uint64_t tag = fixture_submit(fixture, "SET a 1");
    while (fixture_reply(fixture, tag) == NULL) {
        assert_true(sim_step(fixture->sim));
    }
    assert_int_equal(fixture->replies[tag].syncs, syncs + 1);
    assert_true(shard_idle(fixture->shard));
    fixture_destroy(fixture);
}

static void test_group_commit(void **state)
{
    struct fixture *fixture = open_new(5);
    struct shard_stats before = fixture_stats(fixture);
    for (int i = 0; i < 5000; i++) {
        (void)fixture_submit(fixture, i % 3 == 0 ? "GET n" : "INCR n");
    }
    fixture_settle(fixture);
    struct shard_stats after = fixture_stats(fixture);
    assert_int_equal(after.entries, before.entries + 1);
    assert_int_equal(after.log.syncs, before.log.syncs + 1);
    assert_int_equal(after.commands, before.commands + 3333);
    assert_string_equal(fixture_read(fixture, "GET n"), "$4 3333");
    assert_in_order(fixture, 1);
    fixture_destroy(fixture);
}

/* An entry has its limits; more requests make more entries, in order. */
static void test_large_turns(void **state)
{
    struct fixture *fixture = open_new(6);
    fixture->segment_bytes = 0;
    uint64_t entries = fixture_stats(fixture).entries;
    for (int i = 0; i < SHARD_BATCH_COMMANDS + 10; i++) {
        (void)fixture_submit(fixture, i % 3 == 0 ? "INCR n" : "EXISTS n");
    }
    (void)fixture_submit(fixture, "SET a ~170000");
    (void)fixture_submit(fixture, "SET b ~170000");
    (void)fixture_submit(fixture, "SET c ~3000000");
    (void)fixture_submit(fixture, "APPEND c x");
    (void)fixture_submit(fixture, "STRLEN c");
    fixture_settle(fixture);
    assert_int_equal(fixture_stats(fixture).entries, entries + 5);
    assert_in_order(fixture, 1);
    assert_string_equal(fixture_reply(fixture, fixture->tags), ":3000001");
    assert_string_equal(fixture_read(fixture, "GET n"), "$5 20004");
    fixture_destroy(fixture);
}

/* 4, and the other refusals of shard_submit: nothing of what was refused is executed. */
static void test_refusals(void **state)
{
    struct fixture *fixture = fixture_create(7);
    fixture->options.pending_bytes = 100000;
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    uint64_t tag = 0;
    uint64_t taken = 0;
    enum status status = STATUS_OK;
    while ((status = fixture_try(fixture, "APPEND a ~1000", &tag)) == STATUS_OK) {
        taken++;
        assert_true(fixture_stats(fixture).pending_bytes > taken * 1000);
    }
    assert_int_equal(status, STATUS_FULL);
    assert_in_range(taken, 80, 99);
    assert_int_equal(fixture_try(fixture, "GET ~1000", &tag), STATUS_FULL);
    fixture_settle(fixture);
    fixture->store->pending_bytes += STORE_PENDING_BYTES; /* by other shards */
    assert_int_equal(fixture_try(fixture, "GET a", &tag), STATUS_FULL);
    fixture->store->pending_bytes -= STORE_PENDING_BYTES;
    assert_int_equal(fixture->store->pending_bytes, 0);
    assert_int_equal(fixture_stats(fixture).pending_bytes, 0);
    char wanted[32];
    (void)snprintf(wanted, sizeof(wanted), ":%d", (int)taken * 1000);
    assert_string_equal(fixture_call(fixture, "STRLEN a"), wanted);

    struct slice huge[3] = {SLICE_LITERAL("SET"), SLICE_LITERAL("a"), {(const uint8_t *)"x", LOG_MAXIMUM_ENTRY_BYTES}};
    const struct command_spec *spec = NULL;
    assert_int_equal(command_lookup(huge, 3, &spec), COMMAND_FOUND);
    assert_int_equal(shard_submit(fixture->shard, &(struct command){spec, huge, 3, RESP2}, fixture->replies, 9999),
                     STATUS_TOO_LARGE); /* before a byte of it is looked at */
    fixture_destroy(fixture);
}

/* 6: the writes of a batch for which there is no space are refused, its reads are not, and small ones still go; with
 * space again all is as before. */
/* 4: whoever asks is told that a new request would wait for too long; a little may always wait. What another node has
 * forwarded was judged there, and is taken. */
static void test_late_requests(void **state)
{
    struct fixture *fixture = open_new(71);
    sim_timing(fixture->sim)->sync_minimum_ns = 2 * SECOND;
    sim_timing(fixture->sim)->sync_maximum_ns = 2 * SECOND;
    (void)fixture_submit(fixture, "SET a ~4000000");
    sim_run_for(fixture->sim, (SHARD_LATE_MS + 100) * MS);
    assert_false(shard_late(fixture->shard));
    (void)fixture_submit(fixture, "SET b ~300000"); /* now it is much … */
    assert_true(shard_late(fixture->shard));        /* … and late */
    assert_int_equal(shard_forwarded(fixture->shard, &(struct shard_origin){3, 1, 1, 1}, 1, 40), STATUS_OK);
    (void)fixture_submit(fixture, "SET c 1");
    fixture_settle(fixture);
    assert_false(shard_late(fixture->shard));
    (void)fixture_submit(fixture, "SET a ~4000000");
    (void)fixture_submit(fixture, "SET b ~300000");
    sim_run_for(fixture->sim, (SHARD_LATE_MS - 100) * MS);
    assert_false(shard_late(fixture->shard)); /* much, and not late */
    fixture_settle(fixture);
    assert_string_equal(fixture_read(fixture, "GET c"), "$1 1");
    assert_int_equal(fixture_stats(fixture).pending_bytes, 0);
    fixture_destroy(fixture);
}

/* One turn takes so much to the log, and the rest follows by itself. */
static void test_little_is_sealed_at_once(void **state)
{
    struct fixture *fixture = open_new(72);
    sim_timing(fixture->sim)->sync_minimum_ns = 100 * MS;
    sim_timing(fixture->sim)->sync_maximum_ns = 100 * MS;
    enum { COUNT = 30 };
    for (int i = 0; i < COUNT; i++) {
        (void)fixture_submit(fixture, "APPEND a ~100000");
    }
    uint64_t replies = 0;
    while (fixture->reply_count < COUNT) {
        assert_true(sim_step(fixture->sim));
        assert_in_range(fixture->reply_count - replies, 0, SHARD_SEALED_BYTES / 100000 + SHARD_BATCH_BYTES / 100000);
        replies = fixture->reply_count;
    }
    assert_in_order(fixture, 1);
    char wanted[32];
    (void)snprintf(wanted, sizeof(wanted), ":%d", COUNT * 100000);
    assert_string_equal(fixture_reply(fixture, COUNT), wanted);
    fixture_destroy(fixture);
}

/* While others are held back the open batch gathers, however many turns that takes: a queue makes entries larger, not
 * more of them. What it took for a crowd of batches is given back when they are gone. */
static void test_a_queue_gathers(void **state)
{
    struct fixture *fixture = open_new(73);
    sim_timing(fixture->sim)->sync_minimum_ns = 5 * MS;
    sim_timing(fixture->sim)->sync_maximum_ns = 5 * MS;
    enum { LARGE = 40, SMALL = 400 };
    uint64_t before = fixture_stats(fixture).last_index;
    for (int i = 0; i < LARGE; i++) {
        (void)fixture_submit(fixture, "APPEND a ~200000");
    }
    for (int i = 0; i < SMALL; i++) {
        (void)fixture_submit(fixture, "APPEND a b");
        sim_run_for(fixture->sim, MS / 10);
    }
    assert_true(fixture_stats(fixture).pending_bytes > SHARD_SEALED_BYTES); /* there was a queue all the time */
    fixture_settle(fixture);
    assert_in_range(fixture_stats(fixture).last_index - before, LARGE, LARGE + 5);
    assert_in_order(fixture, 1);
    size_t spare = 0;
    LIST_FOR_EACH (at, &fixture->shard->spare) {
        spare++;
    }
    assert_in_range(spare, 1, 8);
    fixture_destroy(fixture);
}

static void test_a_full_disk(void **state)
{
    for (uint64_t seed = 10; seed < 20; seed++) {
        struct fixture *fixture = open_new(seed);
        assert_string_equal(fixture_call(fixture, "SET a 1"), "+OK");
        sim_disk_set_quota(fixture_disk(fixture), sim_disk_used(fixture_disk(fixture)) + 3 * FIXTURE_SEGMENT_BYTES);
        uint64_t last = 0;
        char words[64];
        int written = 0;
        do {
            (void)snprintf(words, sizeof(words), "SET k%d ~%d", written++, 1000 + (int)seed * 777);
            last = fixture_submit(fixture, words);
            fixture_settle(fixture);
        } while (fixture_reply(fixture, last) != NULL);
        assert_int_equal(fixture->replies[last].refused, STATUS_NOSPACE);
        uint64_t read = fixture_submit(fixture, "GET a");
        uint64_t large = fixture_submit(fixture, "SET big ~200000");
        uint64_t again = fixture_submit(fixture, "EXISTS big");
        fixture_settle(fixture);
        assert_string_equal(fixture_reply(fixture, read), "$1 1");
        assert_int_equal(fixture->replies[large].refused, STATUS_NOSPACE);
        assert_string_equal(fixture_reply(fixture, again), ":0");
        assert_int_equal(fixture_stats(fixture).pending_bytes, 0);
        uint64_t digest = shard_digest(fixture->shard);
        for (int i = 0; i < 5; i++) { /* also for a new process */
            fixture_restart(fixture, SIM_CRASH_POWER);
            assert_int_equal(shard_digest(fixture->shard), digest);
        }
        sim_disk_set_quota(fixture_disk(fixture), 0);
        sim_run_for(fixture->sim, SECOND);
        assert_string_equal(fixture_call(fixture, "SET big ~200000"), "+OK");
        assert_int_equal(fixture->failures, 0);
        fixture_destroy(fixture);
    }
}

/* What a full disk held up is done in order once a segment of its size is made. */
static void test_a_large_entry_waits_for_its_segment(void **state)
{
    struct fixture *fixture = open_new(21);
    sim_timing(fixture->sim)->sync_minimum_ns = 10 * MS;
    sim_timing(fixture->sim)->sync_maximum_ns = 20 * MS;
    (void)fixture_submit(fixture, "SET a ~500000");
    sim_run_for(fixture->sim, MS);
    (void)fixture_submit(fixture, "APPEND a x");
    (void)fixture_submit(fixture, "STRLEN a");
    fixture_settle(fixture);
    assert_in_order(fixture, 1);
    assert_string_equal(fixture_reply(fixture, 3), ":500001");
    fixture_destroy(fixture);
}

/* 5: a failed log is told once; nothing is answered afterwards, and nothing is taken. */
static void test_a_failed_log(void **state)
{
    static const int kinds[] = {SIM_DISK_WRITE, SIM_DISK_SYNC};
    for (uint64_t seed = 30; seed < 40; seed++) {
        struct fixture *fixture = open_new(seed);
        assert_string_equal(fixture_call(fixture, "SET a 1"), "+OK");
        sim_disk_add_fault(fixture_disk(fixture),
                           &(struct sim_disk_fault){.kinds = kinds[seed % 2], .status = STATUS_IO, .times = 1});
        uint64_t first = fixture->tags + 1;
        for (uint64_t i = 0; i < (seed % 4 < 2 ? 5 : 50); i++) { /* inline, and in the background */
            (void)fixture_submit(fixture, "INCR a");
        }
        sim_run_for(fixture->sim, SECOND);
        assert_int_equal(fixture->failures, 1);
        assert_int_equal(fixture->failure, STATUS_IO);
        assert_non_null(strstr(fixture->message, "/data/0000000000000001.log"));
        for (uint64_t tag = first; tag <= fixture->tags; tag++) {
            assert_int_equal(fixture->replies[tag].tag, 0);
        }
        uint64_t tag = 0;
        assert_int_equal(fixture_try(fixture, "INCR a", &tag), STATUS_CLOSED);
        assert_int_equal(shard_snapshot(fixture->shard), STATUS_CLOSED);
        sim_run_for(fixture->sim, 10 * SECOND);
        assert_int_equal(fixture->failures, 1);
        assert_string_equal(fixture_read(fixture, "GET a"), "$1 1");
        fixture_restart(fixture, SIM_CRASH_POWER);
        assert_string_equal(fixture_read(fixture, "EXISTS a"), ":1");
        fixture_destroy(fixture);
    }
}

static void test_versions(void **state)
{
    struct fixture *fixture = open_new(50);
    uint64_t absent = shard_key_version(fixture->shard, SLICE_LITERAL("a"));
    (void)fixture_call(fixture, "SET a 1");
    uint64_t first = shard_key_version(fixture->shard, SLICE_LITERAL("a"));
    (void)fixture_call(fixture, "SET a 1");
    assert_true(first != absent);
    assert_true(shard_key_version(fixture->shard, SLICE_LITERAL("a")) > first);
    fixture_destroy(fixture);
}

/* Closing while requests wait, a sync runs, or a snapshot is written leaves nothing behind. */
static void test_closing_at_any_moment(void **state)
{
    for (uint64_t seed = 60; seed < 160; seed++) {
        struct fixture *fixture = open_new(seed);
        for (int i = 0; i < 30; i++) {
            (void)fixture_submit(fixture, "APPEND a ~3000");
        }
        fixture_settle(fixture);
        if (seed % 2 == 0) {
            assert_int_equal(shard_snapshot(fixture->shard), STATUS_OK);
        }
        for (int i = 0; i < 20; i++) {
            (void)fixture_submit(fixture, "INCR b");
        }
        for (uint64_t step = 0; step < (seed - 60) / 2; step++) {
            (void)sim_step(fixture->sim);
        }
        fixture_close(fixture);
        sim_run_for(fixture->sim, SECOND);
        assert_int_equal(fixture_open(fixture), STATUS_OK);
        assert_string_equal(fixture_read(fixture, "STRLEN a"), ":90000");
        assert_in_range(fixture_files(fixture, ".tmp"), 0, 1); /* of a segment being made */
        fixture_destroy(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_keep_their_place),
        cmocka_unit_test(test_reads_alone),
        cmocka_unit_test(test_nothing_before_it_is_durable),
        cmocka_unit_test(test_few_are_synced_inline),
        cmocka_unit_test(test_group_commit),
        cmocka_unit_test(test_large_turns),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_late_requests),
        cmocka_unit_test(test_little_is_sealed_at_once),
        cmocka_unit_test(test_a_queue_gathers),
        cmocka_unit_test(test_a_full_disk),
        cmocka_unit_test(test_a_large_entry_waits_for_its_segment),
        cmocka_unit_test(test_a_failed_log),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_closing_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
