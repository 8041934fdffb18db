/* A workload that uses everything (several groups, inline and background flushes, segments made and removed, conflicts,
 * hard states, snapshots with the trims that follow them, reopening), stopped at every operation of the disk: by a loss
 * of power with every kind of outcome, by a kill, by a failure.
 *
 * Afterwards the log must show the state after some first part of what was appended, with everything that was reported
 * durable; what is trimmed must be in a snapshot; and the log must go on, and survive the next crash. */
#include "log_fixture.h"

#include "base/prng.h"
#include "log/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SNAPSHOT_GROUP = 1, STEPS = 70 };

struct run {
    struct fixture *fixture;
    struct prng prng;
    struct snapshot_writer *writer;
    uint64_t snapshot_index, snapshot_term;
    bool writer_fed;
};

/* ---- snapshots of one group: after each, the log is trimmed up to it ---- */

static void ready(void *owner)
{
    struct run *run = owner;
    struct buffer block;
    buffer_init(&block);
    if (run->writer_fed) {
        snapshot_writer_finish(run->writer);
    } else {
        run->writer_fed = true;
        buffer_append(&block, "\5state", 6);
        snapshot_writer_put(run->writer, &block);
    }
    buffer_deinit(&block);
}

static void finished(void *owner, enum status status, const char *what)
{
    struct run *run = owner;
    snapshot_writer_destroy(run->writer);
    run->writer = NULL;
    if (status == STATUS_OK && run->fixture->log != NULL) {
        fixture_trim(run->fixture, SNAPSHOT_GROUP, run->snapshot_index, run->snapshot_term);
    }
}

static const struct snapshot_writer_events events = {ready, finished};

static void begin_snapshot(struct run *run)
{
    struct fixture *fixture = run->fixture;
    uint64_t last = fixture_last(fixture, SNAPSHOT_GROUP);
    if (run->writer != NULL || last <= fixture_trimmed(fixture, SNAPSHOT_GROUP)) {
        return;
    }
    run->snapshot_index = last;
    run->snapshot_term = log_term(fixture->log, SNAPSHOT_GROUP, run->snapshot_index);
    run->writer_fed = false;
    struct snapshot_meta meta = {
        .group = SNAPSHOT_GROUP, .index = run->snapshot_index, .term = run->snapshot_term, .folder = fixture->folder};
    if (snapshot_writer_create(&fixture->env.env, "log", &meta, &events, run, &run->writer) == STATUS_OK) {
        ready(run);
    }
}

static enum status take_record(void *owner, struct slice record)
{
    return slice_equal(record, SLICE_LITERAL("state")) ? STATUS_OK : STATUS_CORRUPT;
}

static void check_snapshot(struct fixture *fixture)
{
    uint64_t trimmed = fixture_trimmed(fixture, SNAPSHOT_GROUP);
    if (trimmed == 0) {
        return;
    }
    char path[64];
    char message[512] = "";
    uint64_t index = 0;
    struct snapshot_meta meta;
    struct buffer extra;
    buffer_init(&extra);
    assert_int_equal(snapshot_find(&fixture->env.env, "log", SNAPSHOT_GROUP, path, sizeof(path), &index), STATUS_OK);
    assert_true(index >= trimmed);
    assert_int_equal(
        snapshot_load(&fixture->env.env, path, &fixture->folder, NULL, take_record, NULL, &meta, &extra, message, 512),
        STATUS_OK);
    assert_int_equal(meta.index, index);
    buffer_deinit(&extra);
}

/* ---- the workload ---- */

static void reopen(struct run *run)
{
    struct fixture *fixture = run->fixture;
    snapshot_writer_destroy(run->writer); /* its trim would come after the flush */
    run->writer = NULL;
    log_flush(fixture->log, LOG_SYNC_INLINE);
    disk_env_run(&fixture->env);
    while (fixture->failures == 0 && !sim_disk_down(fixture->disk) && fixture->durable < fixture->count) {
        disk_env_advance(&fixture->env, 1000 * 1000000); /* a segment that could not be made is tried again */
        disk_env_run(&fixture->env);
    }
    if (fixture->failures == 0 && !sim_disk_down(fixture->disk)) {
        fixture_close(fixture);
        (void)fixture_open(fixture);
    }
}

static void step(struct run *run)
{
    struct fixture *fixture = run->fixture;
    struct prng *prng = &run->prng;
    uint32_t group = (uint32_t)prng_below(prng, 3);
    uint64_t trimmed = fixture_trimmed(fixture, group);
    uint64_t last = fixture_last(fixture, group);
    uint64_t some = trimmed + 1 + prng_below(prng, last - trimmed + 1);
    uint64_t draw = prng_below(prng, 100);
    if (draw < 45) {
        fixture_next(fixture, group, prng_below(prng, prng_chance(prng, 1, 12) ? 60000 : 7000));
    } else if (draw < 50) {
        fixture_entry(fixture, group, some, 1000 + fixture->count, prng_below(prng, 3000));
    } else if (draw < 55) {
        fixture_hard_state(fixture, group, prng_below(prng, 99), prng_below(prng, 5));
    } else if (draw < 60 && group != SNAPSHOT_GROUP) {
        uint64_t to = prng_chance(prng, 1, 4) ? last + 3 : some;
        fixture_trim(fixture, group, to, log_term(fixture->log, group, to));
    } else if (draw < 64) {
        begin_snapshot(run);
    } else if (draw < 74) {
        log_flush(fixture->log, LOG_SYNC_INLINE);
    } else if (draw < 82) {
        log_flush(fixture->log, LOG_SYNC_BACKGROUND);
    } else if (draw < 95) {
        disk_env_step(&fixture->env);
    } else if (draw < 98) {
        disk_env_advance(&fixture->env, 60 * 1000000);
    } else {
        reopen(run);
    }
}

/* Runs until the end, or until the disk or the log is no more. */
static void run_steps(struct run *run, int steps)
{
    struct fixture *fixture = run->fixture;
    for (int i = 0; i < steps && fixture->log != NULL && fixture->failures == 0 && !sim_disk_down(fixture->disk); i++) {
        step(run);
    }
    if (fixture->log != NULL && fixture->failures == 0) {
        log_flush(fixture->log, LOG_SYNC_INLINE);
        disk_env_run(&fixture->env);
    }
}

static struct run start_run(uint64_t workload, uint64_t seed)
{
    struct run run = {.fixture = fixture_create(seed)};
    sim_disk_set_sector(run.fixture->disk, seed % 2 == 0 ? 512 : 4096);
    run.fixture->env.any_order = true;
    prng_seed(&run.prng, workload);
    return run;
}

static void crash(struct run *run, bool power)
{
    struct fixture *fixture = run->fixture;
    if (power) {
        sim_disk_crash(fixture->disk);
    } else {
        sim_disk_kill(fixture->disk);
    }
    sim_disk_clear_faults(fixture->disk);
    snapshot_writer_destroy(run->writer); /* the dead process's memory; its files are dead */
    run->writer = NULL;
    fixture_close(fixture);
}

/* After the stop: it is all there, and can be stopped again. */
static void survive(struct run *run, bool power)
{
    struct fixture *fixture = run->fixture;
    crash(run, power);
    fixture_recover(fixture);
    check_snapshot(fixture);
    assert_int_equal(snapshot_remove_older(&fixture->env.env, "log", SNAPSHOT_GROUP, 0), STATUS_OK);
    sim_disk_crash_after(fixture->disk, SIM_DISK_CHANGES, prng_below(&run->prng, 30), NULL, NULL);
    run_steps(run, 25);
    crash(run, true);
    fixture_recover(fixture);
    check_snapshot(fixture);
    fixture_close(fixture);
    fixture_recover(fixture);
    fixture_next(fixture, 0, 100);
    log_flush(fixture->log, LOG_SYNC_INLINE);
    disk_env_run(&fixture->env);
    assert_int_equal(fixture->durable, fixture->count);
    fixture_destroy(fixture);
}

static void crash_everywhere(uint64_t workload, int outcomes)
{
    for (uint64_t skip = 0;; skip++) {
        bool down = false;
        for (int i = 0; i < outcomes; i++) {
            struct run run = start_run(workload, skip * 1000 + (uint64_t)i);
            sim_disk_crash_after(run.fixture->disk, SIM_DISK_CHANGES, skip, NULL, NULL);
            if (fixture_open(run.fixture) == STATUS_OK) {
                run_steps(&run, STEPS);
            }
            down = sim_disk_down(run.fixture->disk);
            survive(&run, i > 0);
        }
        if (!down) {
            assert_true(skip > 30);
            return;
        }
    }
}

static void test_crash_everywhere(void **state)
{
    for (uint64_t workload = 0; workload < 4; workload++) {
        crash_everywhere(workload, 6);
    }
}

/* Each operation fails once. The log reports it at most once, nothing is durable afterwards (the fixture asserts both),
 * and the next process finds all that was. A failure need not be reported when nothing depended on the operation. */
static void test_fail_everywhere(void **state)
{
    static const enum status statuses[] = {STATUS_IO, STATUS_NOSPACE, STATUS_READONLY};
    for (uint64_t workload = 0; workload < 3; workload++) {
        for (uint64_t skip = 0;; skip++) {
            struct run run = start_run(workload, skip);
            struct fixture *fixture = run.fixture;
            enum status status = statuses[skip % 3];
            int kinds = SIM_DISK_ALL & ~(SIM_DISK_UNLINK | SIM_DISK_LIST_DIRECTORY);
            uint64_t before = sim_disk_operations(fixture->disk, kinds);
            sim_disk_add_fault(fixture->disk,
                               &(struct sim_disk_fault){.kinds = kinds, .status = status, .skip = skip, .times = 1});
            enum status opened = fixture_open(fixture);
            assert_true(opened == STATUS_OK || opened == status);
            if (opened == STATUS_OK) {
                run_steps(&run, STEPS);
                assert_true(fixture->failures == 0 || fixture->failure == status);
            }
            assert_true(opened == STATUS_OK || strlen(fixture->message) > 30);
            bool reached = sim_disk_operations(fixture->disk, kinds) - before > skip;
            survive(&run, skip % 2 == 0);
            if (!reached) {
                break;
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash_everywhere),
        cmocka_unit_test(test_fail_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
