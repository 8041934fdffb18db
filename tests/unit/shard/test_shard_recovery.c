/* Snapshots, and what a new process finds. */
#include "shard_fixture.h"

#include "base/varint.h"
#include "raft/raft_message.h"
#include "shard/shard_entry.h"

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

static void write_some(struct fixture *fixture, int from, int to, int size)
{
    char words[64];
    for (int i = from; i < to; i++) {
        (void)snprintf(words, sizeof(words), "SET k%d ~%d", i, size + i % 7);
        (void)fixture_submit(fixture, words);
        (void)fixture_submit(fixture, "INCR n");
        if (i % 10 == 9) {
            fixture_settle(fixture);
        }
    }
    fixture_settle(fixture);
}

static void make_snapshot(struct fixture *fixture)
{
    uint64_t before = fixture_stats(fixture).snapshots;
    assert_int_equal(shard_snapshot(fixture->shard), STATUS_OK);
    for (int i = 0; i < 1000 && fixture_stats(fixture).snapshots == before; i++) {
        sim_run_for(fixture->sim, 10 * MS);
    }
    assert_int_equal(fixture_stats(fixture).snapshots, before + 1);
    sim_run_for(fixture->sim, 100 * MS); /* the trim, and the removal of what is older */
}

static void restart_and_compare(struct fixture *fixture, enum sim_crash how)
{
    uint64_t digest = shard_digest(fixture->shard);
    fixture_restart(fixture, how);
    assert_int_equal(shard_digest(fixture->shard), digest);
}

/* The first entry says how the machine hashes: the same for ever, another for each group. */
static void test_genesis(void **state)
{
    struct fixture *one = open_new(1);
    struct fixture *other = open_new(2);
    assert_true(fixture_stats(one).last_index >= 1);
    restart_and_compare(one, SIM_CRASH_POWER);
    for (uint64_t seed = 1; seed < 50; seed++) { /* a first start that is cut short is a first start again */
        struct fixture *fixture = fixture_create(seed);
        sim_disk_crash_after(fixture_disk(fixture), SIM_DISK_CHANGES, seed % 25, NULL, NULL);
        enum status status = fixture_open(fixture);
        assert_true(status == STATUS_OK || status == STATUS_IO);
        fixture_restart(fixture, SIM_CRASH_POWER);
        assert_string_equal(fixture_call(fixture, "INCR n"), ":1");
        fixture_destroy(fixture);
    }
    fixture_destroy(one);
    fixture_destroy(other);
}

static void test_from_the_log_alone(void **state)
{
    struct fixture *fixture = open_new(3);
    write_some(fixture, 0, 300, 500);
    assert_int_equal(fixture_files(fixture, ".snap"), 0);
    restart_and_compare(fixture, SIM_CRASH_KILL);
    assert_true(fixture_stats(fixture).replayed_entries >= 30);
    restart_and_compare(fixture, SIM_CRASH_POWER);
    write_some(fixture, 100, 200, 900);
    restart_and_compare(fixture, SIM_CRASH_POWER);
    fixture_destroy(fixture);
}

static void test_from_snapshot_and_log(void **state)
{
    struct fixture *fixture = open_new(4);
    write_some(fixture, 0, 300, 500);
    uint64_t live = fixture_stats(fixture).log.live_bytes;
    make_snapshot(fixture);
    struct shard_stats stats = fixture_stats(fixture);
    assert_int_equal(stats.snapshot_status, STATUS_OK);
    assert_true(stats.log.live_bytes < live / 10);
    assert_in_range(stats.snapshot_bytes, 150000, 250000);
    assert_int_equal(fixture_files(fixture, ".snap"), 1);
    restart_and_compare(fixture, SIM_CRASH_POWER); /* snapshot alone */
    assert_int_equal(fixture_stats(fixture).snapshot_index, stats.snapshot_index);
    write_some(fixture, 250, 400, 700);
    restart_and_compare(fixture, SIM_CRASH_POWER); /* and what came after */
    assert_true(fixture_stats(fixture).replayed_entries >= 15);
    make_snapshot(fixture);
    assert_int_equal(fixture_files(fixture, ".snap"), 1); /* the older one is gone */
    assert_true(fixture_stats(fixture).snapshot_index > stats.snapshot_index);
    restart_and_compare(fixture, SIM_CRASH_POWER);
    assert_string_equal(fixture_read(fixture, "GET n"), "$3 450");
    fixture_destroy(fixture);
}

/* Begun by itself when enough was logged; writes go on meanwhile, and the snapshot holds none of them. */
static void test_snapshots_beside_service(void **state)
{
    struct fixture *fixture = fixture_create(5);
    fixture->options.snapshot_log_bytes = 100000;
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    uint64_t most = 0;
    for (int round = 0; round < 30; round++) {
        write_some(fixture, round * 7, round * 7 + 40, 500);
        most = fixture_stats(fixture).log.segments > most ? fixture_stats(fixture).log.segments : most;
    }
    sim_run_for(fixture->sim, SECOND);
    assert_in_range(fixture_stats(fixture).snapshots, 2, 8);
    assert_in_range(fixture_files(fixture, ".snap"), 1, 1);
    assert_in_range(most, 2, 12);
    restart_and_compare(fixture, SIM_CRASH_POWER);
    assert_string_equal(fixture_read(fixture, "GET n"), "$4 1200");
    fixture_destroy(fixture);
}

/* One that fails keeps the log, is told, and is tried again after a while. */
static void test_a_snapshot_that_fails(void **state)
{
    static const int kinds[] = {SIM_DISK_CREATE, SIM_DISK_WRITE, SIM_DISK_SYNC, SIM_DISK_RENAME,
                                SIM_DISK_SYNC_DIRECTORY};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct fixture *fixture = fixture_create(6 + i);
        fixture->segment_bytes = 16 << 20;
        assert_int_equal(fixture_open(fixture), STATUS_OK);
        write_some(fixture, 0, 100, 500);
        sim_run_for(fixture->sim, SECOND); /* the log is quiet */
        uint64_t live = fixture_stats(fixture).log.live_bytes;
        sim_disk_add_fault(fixture_disk(fixture),
                           &(struct sim_disk_fault){.kinds = kinds[i], .status = STATUS_NOSPACE, .times = 1});
        enum status begun = shard_snapshot(fixture->shard);
        assert_int_equal(begun, kinds[i] == SIM_DISK_CREATE ? STATUS_NOSPACE : STATUS_OK);
        assert_int_equal(shard_snapshot(fixture->shard), begun == STATUS_OK ? STATUS_BUSY : STATUS_OK);
        sim_run_for(fixture->sim, SECOND);
        struct shard_stats stats = fixture_stats(fixture);
        if (begun == STATUS_OK) {
            assert_int_equal(stats.snapshots, 0);
            assert_int_equal(stats.snapshot_status, STATUS_NOSPACE);
            assert_false(stats.snapshot_running);
            assert_int_equal(stats.log.live_bytes, live);
            assert_int_equal(fixture_files(fixture, ".tmp"), 0);
            make_snapshot(fixture);
        }
        assert_true(fixture_stats(fixture).log.live_bytes < live / 4);
        assert_int_equal(fixture->failures, 0);
        restart_and_compare(fixture, SIM_CRASH_POWER);
        fixture_destroy(fixture);
    }
}

static void test_a_failed_snapshot_is_tried_again(void **state)
{
    struct fixture *fixture = fixture_create(11);
    fixture->options.snapshot_log_bytes = 50000;
    fixture->segment_bytes = 16 << 20;
    sim_disk_add_fault(fixture_disk(fixture),
                       &(struct sim_disk_fault){.kinds = SIM_DISK_RENAME, .status = STATUS_IO, .skip = 1, .times = 1});
    assert_int_equal(fixture_open(fixture), STATUS_OK); /* renames its first segment */
    write_some(fixture, 0, 110, 500);
    sim_run_for(fixture->sim, SECOND);
    assert_int_equal(fixture_stats(fixture).snapshot_status, STATUS_IO);
    write_some(fixture, 110, 120, 500);
    assert_int_equal(fixture_stats(fixture).snapshots, 0); /* not at once */
    sim_run_for(fixture->sim, 12 * SECOND);
    write_some(fixture, 120, 121, 500);
    sim_run_for(fixture->sim, SECOND);
    assert_int_equal(fixture_stats(fixture).snapshots, 1);
    restart_and_compare(fixture, SIM_CRASH_POWER);
    fixture_destroy(fixture);
}

/* Asked for while an entry is being applied, it is of the state after it: no command is executed twice. */
static void test_a_snapshot_asked_for_inside_an_entry(void **state)
{
    struct fixture *fixture = open_new(12);
    for (int i = 0; i < 20; i++) {
        uint64_t tag = fixture_submit(fixture, "INCR n");
        fixture->snapshot_at = i == 10 ? tag : fixture->snapshot_at;
    }
    fixture_settle(fixture);
    sim_run_for(fixture->sim, SECOND);
    assert_int_equal(fixture_stats(fixture).snapshots, 1);
    restart_and_compare(fixture, SIM_CRASH_POWER);
    assert_string_equal(fixture_read(fixture, "GET n"), "$2 20");
    fixture_destroy(fixture);
}

static char *snapshot_name;

static void note_snapshot(void *owner, const char *name)
{
    (void)owner;
    if (strstr(name, ".snap") != NULL) {
        free(snapshot_name);
        snapshot_name = strdup(name);
    }
}

/* The log begins where a snapshot ended that is not there any more: said, not papered over. */
static void test_a_missing_snapshot(void **state)
{
    struct fixture *fixture = open_new(13);
    write_some(fixture, 0, 200, 500);
    make_snapshot(fixture);
    write_some(fixture, 200, 210, 500);
    fixture_close(fixture);
    sim_run_for(fixture->sim, SECOND);
    assert_int_equal(env_list_directory(fixture->env, "/data", note_snapshot, NULL), STATUS_OK);
    char path[256];
    (void)snprintf(path, sizeof(path), "/data/%s", snapshot_name);
    free(snapshot_name);
    snapshot_name = NULL;
    assert_int_equal(env_unlink(fixture->env, path), STATUS_OK);
    assert_int_equal(fixture_open(fixture), STATUS_CORRUPT);
    assert_non_null(strstr(fixture->message, "/data: the log begins after entry"));
    assert_non_null(strstr(fixture->message, "a snapshot file is missing"));
    fixture_destroy(fixture);
}

static void make_file(struct fixture *fixture, const char *path)
{
    struct env_file *file = NULL;
    assert_int_equal(env_open(fixture->env, path, ENV_OPEN_WRITE | ENV_OPEN_CREATE, &file), STATUS_OK);
    env_close(fixture->env, file);
}

/* What a crash left takes no space after the next start, though no further snapshot comes. */
static void test_leftovers_go(void **state)
{
    struct fixture *fixture = open_new(19);
    write_some(fixture, 0, 200, 500);
    make_snapshot(fixture);
    fixture_close(fixture);
    sim_run_for(fixture->sim, SECOND);
    make_file(fixture, "/data/snapshot-0-1.snap");
    make_file(fixture, "/data/snapshot-0-99999.snap.tmp");
    make_file(fixture, "/data/mine.tmp");
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    assert_int_equal(fixture_files(fixture, ".snap"), 1);
    assert_int_equal(fixture_files(fixture, "mine.tmp"), 1);
    fixture_destroy(fixture);
}

/* ---- entries of another hand ---- */

static void nothing_durable(void *owner, uint64_t ticket)
{
    (void)owner;
    (void)ticket;
}

static void nothing_failed(void *owner, enum status status, const char *what)
{
    (void)owner;
    fail_msg("%s: %s", what, status_text(status));
}

/* Puts an entry behind those of the shard, which is closed. */
static void add_entry(struct fixture *fixture, uint8_t kind, struct slice payload)
{
    static const struct log_events events = {nothing_durable, nothing_failed};
    struct log *log = NULL;
    char message[512];
    struct log_options options = {"/data", FIXTURE_SEGMENT_BYTES, FIXTURE_FOLDER};
    assert_int_equal(log_open(fixture->env, &options, &events, NULL, &log, message, sizeof(message)), STATUS_OK);
    uint64_t trimmed, trimmed_term, last, last_term;
    log_bounds(log, 0, &trimmed, &trimmed_term, &last, &last_term);
    struct log_entry entry = {.index = last + 1, .term = last_term, .kind = (uint8_t)(kind | ENTRY_VERSION << 4)};
    (void)log_append(log, 0, &entry, &payload, 1);
    log_flush(log, LOG_SYNC_WHOLE);
    log_close(log);
    sim_run_for(fixture->sim, SECOND);
}

static void test_entries_of_another_hand(void **state)
{
    uint8_t payload[ENTRY_HEADER_BYTES + 8] = {0};
    static const int64_t late = INT64_C(1) << 50;
    const struct entry_header good = {.commands = 0, .time_ms = late, .wall_ms = late};
    const struct entry_header early = {.commands = 0, .time_ms = 0, .wall_ms = late};
    const struct entry_header many = {.commands = 3, .time_ms = late, .wall_ms = late};
    const struct {
        uint8_t kind;
        const struct entry_header *header;
        uint8_t version;
        size_t size;
        enum status status;
    } cases[] = {
        {ENTRY_COMMANDS, &good, 1, ENTRY_HEADER_BYTES, STATUS_OK},
        {ENTRY_TIME, &good, 1, ENTRY_HEADER_BYTES, STATUS_OK},
        {ENTRY_GENESIS + 1, &good, 1, ENTRY_HEADER_BYTES, STATUS_VERSION}, /* a kind to come */
        {ENTRY_COMMANDS, &good, ENTRY_VERSION, ENTRY_HEADER_BYTES, STATUS_OK},
        {ENTRY_COMMANDS, &good, ENTRY_VERSION + 1, ENTRY_HEADER_BYTES, STATUS_VERSION},
        {ENTRY_COMMANDS, &good, 0, ENTRY_HEADER_BYTES, STATUS_CORRUPT},
        {ENTRY_COMMANDS, &good, 1, ENTRY_HEADER_BYTES - 1, STATUS_CORRUPT},
        {ENTRY_COMMANDS, &good, 1, ENTRY_HEADER_BYTES + 1, STATUS_CORRUPT},
        {ENTRY_COMMANDS, &early, 1, ENTRY_HEADER_BYTES, STATUS_CORRUPT},    /* time goes back */
        {ENTRY_COMMANDS, &many, 1, ENTRY_HEADER_BYTES + 8, STATUS_CORRUPT}, /* no commands */
        {ENTRY_GENESIS, &good, 1, ENTRY_HEADER_BYTES + 8, STATUS_CORRUPT},  /* a second one */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *fixture = open_new(20 + i);
        (void)fixture_call(fixture, "SET a 1");
        fixture_close(fixture);
        sim_run_for(fixture->sim, SECOND);
        entry_header_put(payload, cases[i].header);
        payload[0] = cases[i].version;
        add_entry(fixture, cases[i].kind, slice_of(payload, cases[i].size));
        enum status status = fixture_open(fixture);
        if (status != cases[i].status) {
            fail_msg("case %zu: %s, not %s (%s)", i, status_text(status), status_text(cases[i].status),
                     fixture->message);
        }
        if (status == STATUS_OK) {
            assert_string_equal(fixture_call(fixture, "GET a"), "$1 1");
        } else {
            assert_non_null(strstr(fixture->message, "log entry"));
            assert_non_null(strstr(fixture->message, "/data"));
        }
        fixture_destroy(fixture);
    }
}

/* An entry of these items: 'i' INCR a, 'o' a question what became of a batch, a digit n: the marker of that batch
 * before two commands, '!': one whose count is 0. */
static void add_commands(struct fixture *fixture, int64_t time_ms, const char *items)
{
    const struct slice incr[] = {SLICE_LITERAL("INCR"), SLICE_LITERAL("a")};
    const struct slice outcome[] = {SLICE_LITERAL("COHORT.OUTCOME"), SLICE_LITERAL("9"), SLICE_LITERAL("1"),
                                    SLICE_LITERAL("1")};
    struct entry_header header = {(uint16_t)strlen(items), time_ms, time_ms};
    struct buffer payload;
    buffer_init(&payload);
    entry_header_put(buffer_reserve(&payload, ENTRY_HEADER_BYTES), &header);
    payload.size = ENTRY_HEADER_BYTES;
    for (const char *item = items; *item != '\0'; item++) {
        struct machine_origin origin = {9, 1, (uint64_t)(*item - '0'), 0};
        if (*item == 'i') {
            command_encode(&payload, &(struct command){command_by_id(COMMAND_INCR), incr, 2, RESP2});
        } else if (*item == 'o') {
            command_encode(&payload, &(struct command){command_by_id(COMMAND_COHORT_OUTCOME), outcome, 4, RESP2});
        } else {
            origin.sequence = *item == '!' ? 8 : origin.sequence;
            entry_origin_put(&payload, &origin, false, *item == '!' ? 0 : 2);
        }
    }
    add_entry(fixture, ENTRY_COMMANDS, buffer_slice(&payload));
    buffer_deinit(&payload);
}

/* Replay skips what was executed before, and refuses markers that no shard makes. */
static void test_forwarded_entries(void **state)
{
    static const struct {
        const char *first, *second;
        const char *a; /* NULL: CORRUPT */
    } cases[] = {
        {"1ii", "2ii", "$1 4"},   {"1ii", "1ii", "$1 2"}, {"1ii", "i1iii", "$1 4"}, {"1ii2ii", "i1ii3ii", "$1 7"},
        {"1oi", "1iioi", "$1 2"}, {"i", "1i", NULL},      {"i", "1", NULL},         {"i", "1i2ii", NULL},
        {"i", "12iiii", NULL},    {"i", "!i", NULL},      {"i", "0ii", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *fixture = open_new(40 + i);
        int64_t late_ms = INT64_C(1) << 50;
        (void)fixture_call(fixture, "GET a");
        fixture_close(fixture);
        sim_run_for(fixture->sim, SECOND);
        add_commands(fixture, late_ms, cases[i].first);
        add_commands(fixture, late_ms, cases[i].second);
        enum status status = fixture_open(fixture);
        if (status != (cases[i].a == NULL ? STATUS_CORRUPT : STATUS_OK)) {
            fail_msg("case %zu: %s", i, status_text(status));
        }
        if (status == STATUS_OK) {
            assert_string_equal(fixture_call(fixture, "GET a"), cases[i].a);
        }
        fixture_destroy(fixture);
    }
}

/* Whatever is cut off where: what was answered is there, and nothing else than what was sent. */
static void test_a_crash_at_every_change(void **state)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        for (uint64_t skip = 0;; skip++) {
            struct fixture *fixture = fixture_create(seed * 1000 + skip);
            fixture->options.snapshot_log_bytes = 60000;
            bool open = fixture_open(fixture) == STATUS_OK;
            assert_true(open);
            sim_disk_crash_after(fixture_disk(fixture), SIM_DISK_CHANGES, skip, NULL, NULL);
            int64_t sent = 0;
            for (int round = 0; round < 25 && sim_node_env(fixture->sim, 0) != NULL; round++) {
                for (int i = 0; i < 3 + round % 30; i++) {
                    (void)fixture_submit(fixture, i % 5 == 4 ? "SET pad ~2000" : "INCR n");
                    sent += i % 5 != 4;
                }
                sim_run_for(fixture->sim, 20 * MS);
            }
            bool down = sim_node_env(fixture->sim, 0) == NULL;
            int64_t answered = 0;
            for (uint64_t tag = 1; tag <= fixture->tags; tag++) {
                const char *reply = fixture_reply(fixture, tag);
                answered = reply != NULL && reply[0] == ':' ? strtoll(reply + 1, NULL, 10) : answered;
            }
            fixture_restart(fixture, SIM_CRASH_POWER);
            const char *reply = fixture_read(fixture, "GET n");
            const char *digits = strchr(reply, ' ');
            int64_t found = digits == NULL ? 0 : strtoll(digits, NULL, 10);
            assert_in_range(found, answered, sent);
            assert_true(down || found == sent);
            restart_and_compare(fixture, SIM_CRASH_POWER);
            assert_non_null(fixture_call(fixture, "INCR n"));
            fixture_destroy(fixture);
            if (!down) {
                assert_true(skip > 50);
                break;
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_genesis),
        cmocka_unit_test(test_from_the_log_alone),
        cmocka_unit_test(test_from_snapshot_and_log),
        cmocka_unit_test(test_snapshots_beside_service),
        cmocka_unit_test(test_a_snapshot_that_fails),
        cmocka_unit_test(test_a_failed_snapshot_is_tried_again),
        cmocka_unit_test(test_a_snapshot_asked_for_inside_an_entry),
        cmocka_unit_test(test_a_missing_snapshot),
        cmocka_unit_test(test_leftovers_go),
        cmocka_unit_test(test_entries_of_another_hand),
        cmocka_unit_test(test_forwarded_entries),
        cmocka_unit_test(test_a_crash_at_every_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
