/* The log's invariants, one by one (numbers as in log.h). */
#include "log_fixture.h"

#include "base/prng.h"
#include "log/log_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct fixture *open_new(void)
{
    struct fixture *fixture = fixture_create(1);
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    return fixture;
}

static void reopen(struct fixture *fixture)
{
    fixture_close(fixture);
    if (fixture_open(fixture) != STATUS_OK) {
        fail_msg("%s", fixture->message);
    }
}

static struct log_stats stats_of(struct fixture *fixture)
{
    struct log_stats stats;
    log_stats(fixture->log, &stats);
    return stats;
}

static void test_empty(void **state)
{
    struct fixture *fixture = open_new();
    fixture_check(fixture);
    log_flush(fixture->log, LOG_SYNC_INLINE);
    log_flush(fixture->log, LOG_SYNC_BACKGROUND);
    assert_int_equal(stats_of(fixture).syncs, 0);
    assert_int_equal(log_term(fixture->log, 3, 1), 0);
    reopen(fixture);
    fixture_check(fixture);
    assert_int_equal(fixture_files(fixture), 1);
    fixture_destroy(fixture);
}

/* 1: inline. One write and one sync, however many records and groups. */
static void test_inline_flush(void **state)
{
    struct fixture *fixture = open_new();
    for (int i = 0; i < 30; i++) {
        fixture_next(fixture, (uint32_t)i % 3, (size_t)i * 10);
    }
    fixture_hard_state(fixture, 1, 4, 2);
    assert_int_equal(fixture->durable, 0);
    fixture_check(fixture);
    log_flush(fixture->log, LOG_SYNC_INLINE);
    assert_int_equal(fixture->durable, 31);
    assert_int_equal(stats_of(fixture).writes, 1);
    assert_int_equal(stats_of(fixture).syncs, 1);
    fixture_check(fixture);
    reopen(fixture);
    fixture_check(fixture);
    fixture_destroy(fixture);
}

/* 1: background. What comes while a sync runs is durable only with the next one, which needs no further call when a
 * flush was asked for. */
static void test_background_flush(void **state)
{
    struct fixture *fixture = open_new();
    fixture_next(fixture, 1, 100);
    log_flush(fixture->log, LOG_SYNC_BACKGROUND);
    assert_true(log_syncing(fixture->log));
    fixture_next(fixture, 1, 100);
    log_flush(fixture->log, LOG_SYNC_BACKGROUND);
    fixture_next(fixture, 1, 100);
    log_flush(fixture->log, LOG_SYNC_INLINE); /* cannot be, while one runs */
    assert_int_equal(fixture->durable, 0);
    assert_true(disk_env_step(&fixture->env));
    assert_int_equal(fixture->durable, 1);
    assert_true(disk_env_step(&fixture->env));
    assert_int_equal(fixture->durable, 3);
    assert_false(log_syncing(fixture->log));
    assert_false(disk_env_step(&fixture->env));
    fixture_next(fixture, 1, 100);
    assert_false(disk_env_step(&fixture->env)); /* nobody asked */
    reopen(fixture);
    fixture->count = 3; /* the last was not flushed */
    fixture_check(fixture);
    fixture_destroy(fixture);
}

/* 2: one report, and nothing durable afterwards. */
static void test_failure_is_final(void **state)
{
    static const int kinds[] = {SIM_DISK_WRITE, SIM_DISK_SYNC};
    static const enum status statuses[] = {STATUS_IO, STATUS_NOSPACE, STATUS_READONLY};
    for (int i = 0; i < 12; i++) {
        struct fixture *fixture = open_new();
        enum log_sync sync = i < 6 ? LOG_SYNC_INLINE : LOG_SYNC_BACKGROUND;
        fixture_next(fixture, 1, 100);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        sim_disk_add_fault(fixture->disk,
                           &(struct sim_disk_fault){.kinds = kinds[i % 2], .status = statuses[i / 2 % 3], .times = 1});
        fixture_next(fixture, 1, 100);
        log_flush(fixture->log, sync);
        disk_env_run(&fixture->env);
        assert_int_equal(fixture->failures, 1);
        assert_int_equal(fixture->failure, statuses[i / 2 % 3]);
        assert_non_null(
            strstr(fixture->what, i % 2 == 0 ? "write log/0000000000000001.log" : "sync log/0000000000000001.log"));
        fixture_next(fixture, 1, 100);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        log_flush(fixture->log, LOG_SYNC_BACKGROUND);
        disk_env_run(&fixture->env);
        disk_env_advance(&fixture->env, 1000000000);
        assert_int_equal(fixture->failures, 1);
        assert_int_equal(fixture->durable, 1);
        fixture_crash(fixture, true);
        fixture_recover(fixture);
        fixture_destroy(fixture);
    }
}

/* After a failed sync the cache shows what the disk may not have. A new process must bring it there or cut it. */
static void test_failed_sync_then_restart(void **state)
{
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct fixture *fixture = fixture_create(seed);
        assert_int_equal(fixture_open(fixture), STATUS_OK);
        fixture_next(fixture, 1, 100);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        sim_disk_add_fault(fixture->disk,
                           &(struct sim_disk_fault){.kinds = SIM_DISK_SYNC, .status = STATUS_IO, .times = 1});
        fixture_next(fixture, 1, 1000);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        assert_int_equal(fixture->failures, 1);
        fixture_crash(fixture, false);
        fixture_recover(fixture); /* what it finds counts as durable from here on */
        assert_int_equal(fixture->count, 2);
        fixture_crash(fixture, true);
        fixture_recover(fixture);
        assert_int_equal(fixture->count, 2);
        fixture_destroy(fixture);
    }
}

/* 4: an entry at an index that is there removes it and all after it. */
static void test_conflict(void **state)
{
    struct fixture *fixture = open_new();
    for (uint64_t index = 1; index <= 10; index++) {
        fixture_entry(fixture, 2, index, 1, 50);
    }
    log_flush(fixture->log, LOG_SYNC_INLINE);
    fixture_entry(fixture, 2, 7, 2, 60);
    assert_int_equal(fixture_last(fixture, 2), 7);
    assert_int_equal(log_term(fixture->log, 2, 7), 2);
    assert_int_equal(log_term(fixture->log, 2, 8), 0);
    fixture_check(fixture);
    fixture_entry(fixture, 2, 8, 2, 60);
    fixture_entry(fixture, 2, 1, 3, 60);
    fixture_check(fixture);
    log_flush(fixture->log, LOG_SYNC_INLINE);
    reopen(fixture);
    fixture_check(fixture);
    fixture_destroy(fixture);
}

/* 4: trims inside, at the end, beyond the end, with another term, and again. */
static void test_trim(void **state)
{
    struct fixture *fixture = open_new();
    for (uint64_t index = 1; index <= 10; index++) {
        fixture_entry(fixture, 2, index, 1, 50);
        fixture_entry(fixture, 3, index, 1, 50);
        fixture_entry(fixture, 4, index, 1, 50);
    }
    fixture_trim(fixture, 2, 4, 1);
    fixture_check(fixture);
    assert_int_equal(log_term(fixture->log, 2, 4), 1);
    assert_int_equal(log_term(fixture->log, 2, 3), 0);
    fixture_trim(fixture, 2, 4, 1);
    fixture_trim(fixture, 2, 3, 1);
    fixture_trim(fixture, 3, 10, 1);
    fixture_entry(fixture, 3, 11, 2, 50);
    fixture_trim(fixture, 4, 5, 2); /* another history */
    fixture_check(fixture);
    assert_int_equal(fixture_last(fixture, 4), 5);
    fixture_trim(fixture, 2, 100, 7); /* a snapshot from the leader */
    fixture_check(fixture);
    fixture_entry(fixture, 2, 101, 7, 50);
    fixture_trim(fixture, 5, 9, 3); /* a group without entries */
    fixture_entry(fixture, 5, 10, 3, 50);
    log_flush(fixture->log, LOG_SYNC_INLINE);
    fixture_check(fixture);
    reopen(fixture);
    fixture_check(fixture);
    fixture_destroy(fixture);
}

/* 5, and hard states that outlive the segment they were written to. */
static void test_segments_come_and_go(void **state)
{
    struct fixture *fixture = open_new();
    fixture_hard_state(fixture, 7, 5, 3);
    fixture_trim(fixture, 6, 1000, 2);
    int most = 0;
    for (int i = 0; i < 400; i++) {
        fixture_next(fixture, 1 + (uint32_t)i % 2, 3000);
        log_flush(fixture->log, i % 3 == 0 ? LOG_SYNC_BACKGROUND : LOG_SYNC_INLINE);
        disk_env_run(&fixture->env);
        most = fixture_files(fixture) > most ? fixture_files(fixture) : most;
        if (i % 50 == 49) {
            fixture_trim(fixture, 1, fixture_last(fixture, 1), log_term(fixture->log, 1, fixture_last(fixture, 1)));
            fixture_trim(fixture, 2, fixture_last(fixture, 2), log_term(fixture->log, 2, fixture_last(fixture, 2)));
            log_flush(fixture->log, LOG_SYNC_INLINE);
            disk_env_run(&fixture->env);
            fixture_check(fixture);
        }
    }
    assert_in_range(most, 3, 6);
    assert_in_range(fixture_files(fixture), 1, 3);
    assert_int_equal(stats_of(fixture).live_bytes, 0);
    assert_int_equal(fixture->durable, fixture->count);
    reopen(fixture);
    fixture_check(fixture);
    assert_int_equal(log_hard_state(fixture->log, 7).vote, 3);
    fixture_next(fixture, 6, 10);
    assert_int_equal(fixture_last(fixture, 6), 1001);
    fixture_destroy(fixture);
}

/* 5: the only copy of a hard state stays until the next segment's checkpoint is durable. */
static void test_removal_waits_for_checkpoint(void **state)
{
    struct fixture *fixture = open_new();
    fixture_hard_state(fixture, 7, 5, 3);
    fixture_next(fixture, 1, 57000);
    log_flush(fixture->log, LOG_SYNC_INLINE);
    disk_env_run(&fixture->env);
    fixture_trim(fixture, 1, 1, 1);
    log_flush(fixture->log, LOG_SYNC_INLINE);
    fixture_next(fixture, 1, 5000); /* the next segment */
    log_flush(fixture->log, LOG_SYNC_BACKGROUND);
    assert_int_equal(fixture->env.work_count, 1); /* the flush, and no removal */
    assert_int_equal(fixture_files(fixture), 2);
    disk_env_run(&fixture->env);
    assert_int_equal(fixture_files(fixture), 1);
    reopen(fixture);
    fixture_check(fixture);
    fixture_destroy(fixture);
}

/* Power is lost at every moment of removing many segments at once: the files that are left have no gap. */
static void test_removals_leave_no_gap(void **state)
{
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct fixture *fixture = fixture_create(seed);
        assert_int_equal(fixture_open(fixture), STATUS_OK);
        for (int i = 0; i < 100; i++) {
            fixture_next(fixture, 1, 3000);
            log_flush(fixture->log, LOG_SYNC_INLINE);
            disk_env_run(&fixture->env);
        }
        fixture_trim(fixture, 1, 100, log_term(fixture->log, 1, 100));
        sim_disk_crash_after(fixture->disk, SIM_DISK_CHANGES, seed % 16, NULL, NULL);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        disk_env_run(&fixture->env);
        fixture_crash(fixture, true);
        fixture_recover(fixture);
        fixture_destroy(fixture);
    }
}

/* The mark at the end of a segment is not lost when the next one says that it was there. */
static void test_mark_before_next_segment(void **state)
{
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct fixture *fixture = fixture_create(seed);
        assert_int_equal(fixture_open(fixture), STATUS_OK);
        fixture_next(fixture, 1, 58000);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        disk_env_run(&fixture->env);
        disk_env_advance(&fixture->env, 200 * 1000000);
        assert_int_equal(stats_of(fixture).writes, 2);
        fixture_next(fixture, 1, 5000);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        assert_int_equal(fixture->durable, 2);
        fixture_crash(fixture, true);
        fixture_recover(fixture);
        fixture_destroy(fixture);
    }
}

/* One group that trims does not take another one's entries along. */
static void test_untrimmed_group_keeps_segments(void **state)
{
    struct fixture *fixture = open_new();
    fixture_next(fixture, 3, 10);
    for (int i = 0; i < 100; i++) {
        fixture_next(fixture, 1, 4000);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        disk_env_run(&fixture->env);
    }
    int before = fixture_files(fixture);
    fixture_trim(fixture, 1, 100, log_term(fixture->log, 1, 100));
    log_flush(fixture->log, LOG_SYNC_INLINE);
    disk_env_run(&fixture->env);
    assert_int_equal(fixture_files(fixture), before);
    fixture_check(fixture);
    fixture_entry(fixture, 3, 1, 99, 10); /* a conflict takes the old entry away */
    log_flush(fixture->log, LOG_SYNC_INLINE);
    disk_env_run(&fixture->env);
    assert_in_range(fixture_files(fixture), 1, 2);
    reopen(fixture);
    fixture_check(fixture);
    fixture_destroy(fixture);
}

/* A record that is larger than a segment, between others; then the log goes on. */
static void test_large_record(void **state)
{
    struct fixture *fixture = open_new();
    for (int i = 0; i < 12; i++) {
        fixture_next(fixture, 1, i % 4 == 2 ? 700000 : 1000);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        disk_env_run(&fixture->env);
    }
    assert_int_equal(fixture->durable, 12);
    fixture_check(fixture);
    reopen(fixture);
    fixture_check(fixture);
    fixture_destroy(fixture);
}

/* A backlog of many segments at once, flushed with one call. */
static void test_backlog(void **state)
{
    struct fixture *fixture = open_new();
    for (int i = 0; i < 300; i++) {
        fixture_next(fixture, (uint32_t)i % 4, 2000);
    }
    log_flush(fixture->log, LOG_SYNC_INLINE); /* the first segment now, the others when they are made */
    assert_in_range(fixture->durable, 1, 299);
    disk_env_run(&fixture->env);
    assert_int_equal(fixture->durable, 300);
    fixture_check(fixture);
    reopen(fixture);
    fixture_check(fixture);
    fixture_destroy(fixture);
}

/* Entries beyond what memory keeps come from the disk, at any size. */
static void test_reads_from_disk(void **state)
{
    struct fixture *fixture = fixture_create(1);
    fixture->segment_bytes = 0;
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    for (int i = 0; i < 60; i++) {
        fixture_next(fixture, 1, i % 10 == 5 ? 900000 : (size_t)i * 3000);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        disk_env_run(&fixture->env);
    }
    uint64_t before = sim_disk_operations(fixture->disk, SIM_DISK_READ);
    fixture_check(fixture);
    uint64_t reads = sim_disk_operations(fixture->disk, SIM_DISK_READ) - before;
    assert_in_range(reads, 1, 60);
    reopen(fixture);
    before = sim_disk_operations(fixture->disk, SIM_DISK_READ);
    fixture_check(fixture);
    assert_in_range(sim_disk_operations(fixture->disk, SIM_DISK_READ) - before, 1, 60);
    /* A failed read is an error of that read, and no more. */
    struct buffer out;
    buffer_init(&out);
    struct log_entry entry;
    sim_disk_add_fault(fixture->disk,
                       &(struct sim_disk_fault){.kinds = SIM_DISK_READ, .status = STATUS_IO, .times = 1});
    assert_int_equal(log_read(fixture->log, 1, 1, &out, &entry), STATUS_IO);
    fixture_check(fixture);
    buffer_deinit(&out);
    fixture_destroy(fixture);
}

/* Little data takes little disk; more data larger segments. */
static void test_segment_sizes(void **state)
{
    struct fixture *fixture = fixture_create(1);
    fixture->segment_bytes = 4 << 20;
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    assert_int_equal(stats_of(fixture).bytes_on_disk, 1 << 20);
    for (int i = 0; i < 140; i++) {
        fixture_next(fixture, 1, 64000);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        disk_env_run(&fixture->env);
    }
    assert_int_equal(stats_of(fixture).segments, 4); /* 1 + 2 + 4 + 4 MiB for 9 MB */
    assert_int_equal(stats_of(fixture).bytes_on_disk, 11 << 20);
    fixture_destroy(fixture);
}

/* Many groups: the checkpoints do not fill the segments. */
static void test_many_groups(void **state)
{
    struct fixture *fixture = open_new();
    for (uint32_t group = 0; group < LOG_MAXIMUM_GROUPS; group++) {
        log_append_hard_state(fixture->log, group, &(struct log_hard_state){group + 1, 2, 3});
    }
    struct slice payload = SLICE_LITERAL("x");
    for (uint64_t index = 1; index <= 2000; index++) {
        log_append(fixture->log, 5, &(struct log_entry){.index = index, .term = 1}, &payload, 1);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        disk_env_run(&fixture->env);
    }
    assert_in_range(stats_of(fixture).segments, 1, 6);
    reopen(fixture);
    uint32_t groups[2];
    assert_int_equal(log_groups(fixture->log, groups, 2), LOG_MAXIMUM_GROUPS);
    assert_int_equal(groups[1], 1);
    assert_int_equal(log_hard_state(fixture->log, 4095).term, 4096);
    assert_int_equal(fixture_last(fixture, 5), 2000);
    fixture_destroy(fixture);
}

/* What is appended without asking, on a full disk, waits until its segment can be made; nothing fails. */
static void test_full_disk_makes_wait(void **state)
{
    struct fixture *fixture = open_new();
    sim_disk_set_quota(fixture->disk, FIXTURE_SEGMENT_BYTES + 10000);
    for (int i = 0; i < 120; i++) {
        fixture_next(fixture, 1, 1000);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        disk_env_run(&fixture->env);
    }
    assert_int_equal(stats_of(fixture).prepare_status, STATUS_NOSPACE);
    assert_int_equal(fixture->failures, 0);
    assert_in_range(fixture->durable, 50, 70);
    /* One attempt a second, and only as long as something waits. */
    uint64_t attempts = sim_disk_operations(fixture->disk, SIM_DISK_CREATE);
    for (int i = 0; i < 50; i++) {
        log_flush(fixture->log, LOG_SYNC_INLINE);
        disk_env_advance(&fixture->env, 100 * INT64_C(1000000));
        disk_env_run(&fixture->env);
    }
    assert_in_range(sim_disk_operations(fixture->disk, SIM_DISK_CREATE) - attempts, 4, 6);
    sim_disk_set_quota(fixture->disk, 0);
    disk_env_advance(&fixture->env, INT64_C(1000000000));
    disk_env_run(&fixture->env);
    assert_int_equal(fixture->failures, 0);
    assert_int_equal(fixture->durable, fixture->count);
    assert_int_equal(stats_of(fixture).prepare_status, STATUS_OK);
    reopen(fixture);
    fixture_check(fixture);
    fixture_destroy(fixture);
}

/* Asks as its contract says; true when the entry may be appended. */
static bool reserved(struct fixture *fixture, size_t size)
{
    enum status status = log_reserve(fixture->log, size);
    while (status == STATUS_AGAIN) {
        assert_true(fixture->env.work_count > 0);
        disk_env_run(&fixture->env);
        status = log_reserve(fixture->log, size);
    }
    assert_true(status == STATUS_OK || status == STATUS_NOSPACE);
    return status == STATUS_OK;
}

/* Whatever the sizes and however little space is left: what log_reserve allows becomes durable at once, never by a
 * file's growing, and a full disk is told before anything is appended. */
static void test_reserve_on_a_full_disk(void **state)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct fixture *fixture = open_new();
        struct prng prng;
        prng_seed(&prng, seed);
        sim_disk_set_quota(fixture->disk, 70000 + prng_below(&prng, 1000000));
        int refused = 0;
        for (int i = 0; i < 2000 && refused < 20; i++) {
            size_t most = prng_chance(&prng, 1, 10) ? 200000 : 20000;
            size_t size = prng_below(&prng, most);
            if (!reserved(fixture, size)) {
                refused++;
                assert_int_equal(stats_of(fixture).prepare_status, STATUS_NOSPACE);
                if (prng_chance(&prng, 1, 2)) {
                    fixture_hard_state(fixture, 1, (uint64_t)i, 1); /* does not ask: what is left free is for it */
                    log_flush(fixture->log, LOG_SYNC_INLINE);
                    assert_int_equal(fixture->durable, fixture->count);
                }
                disk_env_advance(&fixture->env, (int64_t)prng_below(&prng, 2000) * 1000000);
                continue;
            }
            uint64_t used = sim_disk_used(fixture->disk);
            fixture_next(fixture, 1, size);
            struct log_stats before = stats_of(fixture);
            log_flush(fixture->log, prng_chance(&prng, 1, 2) ? LOG_SYNC_INLINE : LOG_SYNC_BACKGROUND);
            if (fixture->env.work_count == 0) {
                assert_int_equal(sim_disk_used(fixture->disk), used);
            }
            disk_env_run(&fixture->env);
            assert_int_equal(fixture->durable, fixture->count);
            assert_true(stats_of(fixture).bytes_on_disk >= before.bytes_on_disk);
        }
        assert_int_equal(fixture->failures, 0);
        assert_int_equal(fixture->durable, fixture->count);
        assert_int_equal(refused, 20);
        fixture_check(fixture);
        /* Every file is as large as it was made. */
        assert_int_equal(stats_of(fixture).bytes_on_disk, sim_disk_used(fixture->disk));
        sim_disk_set_quota(fixture->disk, 0);
        disk_env_advance(&fixture->env, INT64_C(1000000000));
        assert_true(reserved(fixture, 300000));
        fixture_next(fixture, 1, 300000);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        assert_int_equal(fixture->durable, fixture->count);
        reopen(fixture);
        fixture_check(fixture);
        fixture_destroy(fixture);
    }
}

/* What is too large for the space left does not keep out what is not. */
static void test_reserve_by_size(void **state)
{
    struct fixture *fixture = open_new();
    sim_disk_set_quota(fixture->disk, 3 * FIXTURE_SEGMENT_BYTES);
    assert_false(reserved(fixture, 5 * FIXTURE_SEGMENT_BYTES));
    for (int i = 0; i < 3; i++) {
        if (!reserved(fixture, FIXTURE_SEGMENT_BYTES - 20000)) {
            fail_msg("%d: %d files, %llu used", i, fixture_files(fixture),
                     (unsigned long long)sim_disk_used(fixture->disk));
        }
        fixture_next(fixture, 1, FIXTURE_SEGMENT_BYTES - 20000);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        disk_env_run(&fixture->env);
        assert_int_equal(fixture->durable, fixture->count);
    }
    assert_false(reserved(fixture, FIXTURE_SEGMENT_BYTES - 20000));
    assert_int_equal(fixture->failures, 0);
    fixture_check(fixture);
    fixture_destroy(fixture);
}

/* A segment that is too small for a record stays behind, and is removed with the others. */
static void test_reserve_large(void **state)
{
    struct fixture *fixture = open_new();
    for (int i = 0; i < 20; i++) {
        size_t size = i % 3 == 2 ? 100 : (size_t)(i + 1) * 40000;
        assert_true(reserved(fixture, size));
        fixture_next(fixture, 1, size);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        disk_env_run(&fixture->env);
        assert_int_equal(fixture->durable, fixture->count);
        assert_int_equal(stats_of(fixture).bytes_on_disk, sim_disk_used(fixture->disk));
    }
    reopen(fixture);
    fixture_check(fixture);
    fixture_trim(fixture, 1, fixture_last(fixture, 1), log_term(fixture->log, 1, fixture_last(fixture, 1)));
    for (int i = 0; i < 3; i++) {
        assert_true(reserved(fixture, 100000));
        fixture_next(fixture, 1, 100000);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        disk_env_run(&fixture->env);
    }
    assert_in_range(fixture_files(fixture), 1, 8);
    fixture_check(fixture);
    fixture_destroy(fixture);
}

/* A disk that is broken, not full, ends the log when it is asked for a segment. */
static void test_reserve_on_a_broken_disk(void **state)
{
    struct fixture *fixture = open_new();
    sim_disk_add_fault(fixture->disk,
                       &(struct sim_disk_fault){.kinds = SIM_DISK_CREATE, .status = STATUS_IO, .times = 1});
    assert_int_equal(log_reserve(fixture->log, 100000), STATUS_AGAIN);
    disk_env_run(&fixture->env);
    assert_int_equal(fixture->failures, 0);
    assert_int_equal(log_reserve(fixture->log, 1000), STATUS_OK);
    assert_int_equal(log_reserve(fixture->log, 100000), STATUS_CLOSED);
    assert_int_equal(fixture->failures, 1);
    assert_int_equal(fixture->failure, STATUS_IO);
    assert_int_equal(log_reserve(fixture->log, 1000), STATUS_CLOSED);
    fixture_destroy(fixture);
}

/* Opening where nothing can be opened says what to do. */
static void test_open_failures(void **state)
{
    struct {
        struct sim_disk_fault fault;
        const char *text;
    } cases[] = {
        {{SIM_DISK_LIST_DIRECTORY, STATUS_DENIED, 0, 1, 0}, "permission"},
        {{SIM_DISK_OPEN, STATUS_DENIED, 0, 1, 0}, "cannot open"},
        {{SIM_DISK_READ, STATUS_IO, 0, 1, 0}, "dmesg"},
        {{SIM_DISK_SYNC, STATUS_IO, 0, 1, 0}, "cannot sync"},
        {{SIM_DISK_SYNC_DIRECTORY, STATUS_IO, 0, 1, 0}, "cannot sync"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *fixture = open_new();
        fixture_next(fixture, 1, 10);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        fixture_close(fixture);
        sim_disk_add_fault(fixture->disk, &cases[i].fault);
        assert_int_equal(fixture_open(fixture), cases[i].fault.status);
        assert_non_null(strstr(fixture->message, cases[i].text));
        sim_disk_clear_faults(fixture->disk);
        fixture_recover(fixture);
        fixture_destroy(fixture);
    }
    struct fixture *fixture = fixture_create(1);
    sim_disk_set_quota(fixture->disk, 1000);
    assert_int_equal(fixture_open(fixture), STATUS_NOSPACE);
    assert_non_null(strstr(fixture->message, "free some space"));
    sim_disk_set_quota(fixture->disk, 0);
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    fixture_destroy(fixture);
}

static void durable_appends(void *owner, uint64_t ticket);

struct chain {
    struct fixture *fixture;
    int left;
    uint64_t durable;
};

static void chain_failed(void *owner, enum status status, const char *what) { fail_msg("%s", what); }

static const struct log_events chain_events = {.durable = durable_appends, .failed = chain_failed};

static void durable_appends(void *owner, uint64_t ticket)
{
    struct chain *chain = owner;
    chain->durable = ticket;
    if (chain->left-- > 0) {
        struct slice payload = SLICE_LITERAL("payload");
        uint64_t index = fixture_last(chain->fixture, 1) + 1;
        log_append(chain->fixture->log, 1, &(struct log_entry){.index = index, .term = 1}, &payload, 1);
        log_flush(chain->fixture->log, LOG_SYNC_INLINE);
    }
}

/* Appending and flushing from inside `durable`. */
static void test_flush_from_event(void **state)
{
    for (int background = 0; background < 2; background++) {
        struct fixture *fixture = fixture_create(1);
        struct chain chain = {.fixture = fixture, .left = 2000};
        struct log_options options = {"log", 64 * 1024, fixture->folder};
        assert_int_equal(log_open(&fixture->env.env, &options, &chain_events, &chain, &fixture->log, fixture->message,
                                  sizeof(fixture->message)),
                         STATUS_OK);
        uint64_t first = log_append_hard_state(fixture->log, 1, &(struct log_hard_state){1, 1, 1});
        log_flush(fixture->log, background ? LOG_SYNC_BACKGROUND : LOG_SYNC_INLINE);
        disk_env_run(&fixture->env);
        assert_int_equal(fixture_last(fixture, 1), 2000);
        assert_true(chain.durable >= first + 2000);
        assert_int_equal(log_durable_ticket(fixture->log), chain.durable);
        fixture_destroy(fixture);
    }
}

/* Closing while a flush and a new segment are under way; the memory is given back later. */
static void test_close_while_working(void **state)
{
    struct fixture *fixture = open_new();
    for (int i = 0; i < 40; i++) {
        fixture_next(fixture, 1, 1000);
    }
    log_flush(fixture->log, LOG_SYNC_INLINE);
    fixture_next(fixture, 1, 1000);
    log_flush(fixture->log, LOG_SYNC_BACKGROUND);
    fixture_next(fixture, 1, 1000);
    log_flush(fixture->log, LOG_SYNC_BACKGROUND);
    assert_int_equal(fixture->env.work_count, 2);
    size_t durable = fixture->durable;
    fixture_close(fixture);
    assert_int_equal(fixture->durable, durable);
    fixture_recover(fixture);
    assert_int_equal(fixture->count, 41);
    fixture_destroy(fixture);
}

/* An idle log marks that its last block was synced: once, and without a sync. */
static void test_mark(void **state)
{
    struct fixture *fixture = open_new();
    fixture_next(fixture, 1, 1000);
    log_flush(fixture->log, LOG_SYNC_INLINE);
    disk_env_advance(&fixture->env, 50 * 1000000);
    fixture_next(fixture, 1, 1000);
    log_flush(fixture->log, LOG_SYNC_INLINE);
    disk_env_advance(&fixture->env, 60 * 1000000);
    assert_int_equal(stats_of(fixture).writes, 2); /* not idle for long enough */
    disk_env_advance(&fixture->env, 60 * 1000000);
    assert_int_equal(stats_of(fixture).writes, 3);
    assert_int_equal(stats_of(fixture).syncs, 2);
    disk_env_advance(&fixture->env, 1000 * 1000000);
    assert_int_equal(stats_of(fixture).writes, 3);
    fixture_close(fixture);
    struct slice before;
    assert_int_equal(sim_disk_peek(fixture->disk, "log/0000000000000001.log", &before), STATUS_OK);
    uint8_t *copy = malloc(before.size);
    assert_non_null(copy);
    memcpy(copy, before.data, before.size);
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    reopen(fixture);
    struct slice after;
    assert_int_equal(sim_disk_peek(fixture->disk, "log/0000000000000001.log", &after), STATUS_OK);
    assert_memory_equal(copy, after.data, after.size); /* opening and closing leaves no trace */
    free(copy);
    fixture_check(fixture);
    fixture_destroy(fixture);
}

/* What was written stays in memory while there is work, up to a bound, and goes when there is none. */
static void test_memory_of_an_idle_log(void **state)
{
    struct fixture *fixture = fixture_create(1);
    fixture->segment_bytes = 4 << 20;
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    for (int i = 0; i < 400; i++) {
        fixture_next(fixture, 1, 30000);
        log_flush(fixture->log, LOG_SYNC_INLINE);
        disk_env_run(&fixture->env);
        assert_true(stats_of(fixture).memory_bytes <= (8 << 20) + (256 << 10));
    }
    assert_true(stats_of(fixture).memory_bytes > 7 << 20);
    disk_env_advance(&fixture->env, 50 * 1000000);
    assert_true(stats_of(fixture).memory_bytes > 7 << 20); /* not idle for long enough */
    disk_env_advance(&fixture->env, 60 * 1000000);
    assert_in_range(stats_of(fixture).memory_bytes, 1, 256 << 10);
    fixture_check(fixture); /* all is read from the files */
    fixture_next(fixture, 1, 1000);
    log_flush(fixture->log, LOG_SYNC_INLINE);
    fixture_check(fixture);
    fixture_destroy(fixture);
}

/* Random work against the model, with reopening. */
static void test_model(void **state)
{
    for (uint64_t seed = 0; seed < 6; seed++) {
        struct fixture *fixture = fixture_create(seed);
        assert_int_equal(fixture_open(fixture), STATUS_OK);
        struct prng prng;
        prng_seed(&prng, seed);
        while (fixture->count < 1000) {
            uint32_t group = (uint32_t)prng_below(&prng, 4);
            uint64_t trimmed = fixture_trimmed(fixture, group);
            uint64_t last = fixture_last(fixture, group);
            uint64_t some = trimmed + 1 + prng_below(&prng, last - trimmed + 1);
            switch (prng_below(&prng, 12)) {
            case 0: fixture_hard_state(fixture, group, prng_below(&prng, 9), prng_below(&prng, 9)); break;
            case 1: fixture_entry(fixture, group, some, 1 + fixture->count, prng_below(&prng, 2000)); break;
            case 2: fixture_trim(fixture, group, some, log_term(fixture->log, group, some)); break;
            case 3: fixture_trim(fixture, group, last + prng_below(&prng, 5), 5); break;
            case 4: log_flush(fixture->log, LOG_SYNC_INLINE); break;
            case 5: log_flush(fixture->log, LOG_SYNC_BACKGROUND); break;
            case 6: disk_env_step(&fixture->env); break;
            case 7: disk_env_advance(&fixture->env, 60 * 1000000); break;
            case 8:
                if (prng_chance(&prng, 1, 10)) {
                    log_flush(fixture->log, LOG_SYNC_INLINE);
                    disk_env_run(&fixture->env);
                    fixture_check(fixture);
                    reopen(fixture);
                    fixture_check(fixture);
                }
                break;
            default: fixture_next(fixture, group, prng_below(&prng, 4000)); break;
            }
        }
        fixture_check(fixture);
        fixture_destroy(fixture);
    }
}

/* Reads everything, newest first and then oldest first, and checks how many files that takes. */
static void read_both_ways(struct fixture *fixture, int files_maximum)
{
    uint64_t trimmed = fixture_trimmed(fixture, 1);
    uint64_t last = fixture_last(fixture, 1);
    struct buffer out;
    struct log_entry entry;
    buffer_init(&out);
    for (uint64_t index = last; index > trimmed; index--) {
        assert_int_equal(log_read(fixture->log, 1, index, &out, &entry), STATUS_OK);
        buffer_clear(&out);
    }
    buffer_deinit(&out);
    fixture_check(fixture);
    assert_in_range(fixture->env.most_open_files, 1, files_maximum);
    fixture->env.most_open_files = 0;
}

/* A long log has few files open, and does with fewer still where there are no more descriptors. */
static void test_descriptors(void **state)
{
    struct fixture *fixture = fixture_create(1);
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    for (int i = 0; i < 4000; i++) { /* more than the cache takes */
        fixture_next(fixture, 1, 6000);
        log_flush(fixture->log, i % 2 == 0 ? LOG_SYNC_INLINE : LOG_SYNC_BACKGROUND);
        disk_env_run(&fixture->env);
    }
    assert_true(fixture_files(fixture) > 300);
    read_both_ways(fixture, LOG_READ_FILES + 2); /* those written to, and one ahead */
    fixture->env.open_limit = fixture->env.open_files - LOG_READ_FILES + 1;
    read_both_ways(fixture, LOG_READ_FILES + 2);

    fixture->env.open_limit = 3;
    reopen(fixture);
    read_both_ways(fixture, 3);
    fixture_next(fixture, 1, 70000); /* a segment is made for it */
    log_flush(fixture->log, LOG_SYNC_INLINE);
    fixture->env.open_limit = 0;
    disk_env_advance(&fixture->env, 2000000000);
    disk_env_run(&fixture->env);
    read_both_ways(fixture, LOG_READ_FILES + 2);

    fixture_trim(fixture, 1, 3900, log_term(fixture->log, 1, 3900)); /* files go, whether open or not */
    log_flush(fixture->log, LOG_SYNC_INLINE);
    disk_env_run(&fixture->env);
    assert_in_range(fixture_files(fixture), 8, 20);
    read_both_ways(fixture, LOG_READ_FILES + 2);
    fixture_close(fixture);
    assert_int_equal(fixture->env.open_files, 0);
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_inline_flush),
        cmocka_unit_test(test_background_flush),
        cmocka_unit_test(test_failure_is_final),
        cmocka_unit_test(test_failed_sync_then_restart),
        cmocka_unit_test(test_conflict),
        cmocka_unit_test(test_trim),
        cmocka_unit_test(test_segments_come_and_go),
        cmocka_unit_test(test_removal_waits_for_checkpoint),
        cmocka_unit_test(test_removals_leave_no_gap),
        cmocka_unit_test(test_mark_before_next_segment),
        cmocka_unit_test(test_untrimmed_group_keeps_segments),
        cmocka_unit_test(test_large_record),
        cmocka_unit_test(test_backlog),
        cmocka_unit_test(test_reads_from_disk),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_segment_sizes),
        cmocka_unit_test(test_many_groups),
        cmocka_unit_test(test_full_disk_makes_wait),
        cmocka_unit_test(test_reserve_on_a_full_disk),
        cmocka_unit_test(test_reserve_by_size),
        cmocka_unit_test(test_reserve_large),
        cmocka_unit_test(test_reserve_on_a_broken_disk),
        cmocka_unit_test(test_open_failures),
        cmocka_unit_test(test_flush_from_event),
        cmocka_unit_test(test_close_while_working),
        cmocka_unit_test(test_mark),
        cmocka_unit_test(test_memory_of_an_idle_log),
        cmocka_unit_test(test_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
