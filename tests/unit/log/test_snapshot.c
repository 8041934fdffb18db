/* Snapshot files: what was written is read, half of one never counts, damage is always seen. */
#include "disk_env.h"

#include "base/crc32c.h"
#include "base/prng.h"
#include "base/varint.h"
#include "log/snapshot_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MESSAGE_BYTES = 512 };

/* A process that writes `blocks` blocks of records. */
struct writing {
    struct sim_disk *disk;
    struct disk_env env;
    struct snapshot_writer *writer;
    int blocks, records; /* still to come; records in each */
    int next;
    int finished;
    enum status status;
    char what[1500];
};

static void append_record(struct buffer *block, int number)
{
    size_t size = (size_t)number * 7 % 300;
    uint8_t *at = buffer_reserve(block, size + VARINT_MAXIMUM_BYTES);
    uint8_t *to = varint_put(at, size);
    memset(to, number, size);
    block->size += (size_t)(to - at) + size;
}

static void ready(void *owner)
{
    struct writing *writing = owner;
    if (writing->blocks-- == 0) {
        snapshot_writer_finish(writing->writer);
        return;
    }
    struct buffer block;
    buffer_init(&block);
    for (int i = 0; i < writing->records; i++) {
        append_record(&block, writing->next++);
    }
    snapshot_writer_put(writing->writer, &block);
    assert_int_equal(block.size, 0);
    buffer_deinit(&block);
}

static void finished(void *owner, enum status status, const char *what)
{
    struct writing *writing = owner;
    writing->finished++;
    writing->status = status;
    (void)snprintf(writing->what, sizeof(writing->what), "%s", what);
    snapshot_writer_destroy(writing->writer);
    writing->writer = NULL;
}

static const struct snapshot_writer_events events = {ready, finished};

static const struct snapshot_meta meta = {.group = 3,
                                          .index = 700,
                                          .term = 5,
                                          .time_ms = 123456,
                                          .wall_ms = -7,
                                          .hash_seed = 0x1122334455667788,
                                          .folder = {{{1}}, 1},
                                          .extra = {(const uint8_t *)"configuration", 13}};

static void init(struct writing *writing, uint64_t seed)
{
    *writing = (struct writing){.disk = sim_disk_create(seed), .blocks = 3, .records = 40};
    disk_env_init(&writing->env, writing->disk);
    assert_int_equal(sim_disk_make_directory(writing->disk, "s"), STATUS_OK);
    assert_int_equal(sim_disk_sync_directory(writing->disk, "."), STATUS_OK);
}

static enum status start(struct writing *writing, uint64_t index)
{
    struct snapshot_meta at_index = meta;
    at_index.index = index;
    writing->finished = 0;
    writing->next = 0;
    enum status status = snapshot_writer_create(&writing->env.env, "s", &at_index, &events, writing, &writing->writer);
    if (status == STATUS_OK) {
        ready(writing);
    }
    return status;
}

static void write_all(struct writing *writing, uint64_t index)
{
    assert_int_equal(start(writing, index), STATUS_OK);
    disk_env_run(&writing->env);
    assert_int_equal(writing->finished, 1);
    assert_int_equal(writing->status, STATUS_OK);
}

struct reading {
    int records;
    bool wrong;
    struct snapshot_meta header;
    enum status refuse_header, refuse_record;
};

static enum status take_header(void *owner, const struct snapshot_meta *header)
{
    struct reading *reading = owner;
    reading->header = *header;
    return reading->refuse_header;
}

static enum status take_record(void *owner, struct slice record)
{
    struct reading *reading = owner;
    struct buffer expected;
    buffer_init(&expected);
    append_record(&expected, reading->records++);
    struct slice rest = buffer_slice(&expected);
    uint64_t size;
    reading->wrong |= !varint_take(&rest, &size) || !slice_equal(rest, record);
    buffer_deinit(&expected);
    return reading->refuse_record;
}

static enum status load(struct writing *writing, const char *path, struct reading *reading, char *message)
{
    struct buffer extra;
    buffer_init(&extra);
    buffer_append_string(&extra, "before");
    struct snapshot_meta got = {0};
    enum status status = snapshot_load(&writing->env.env, path, &meta.folder, take_header, take_record, reading, &got,
                                       &extra, message, MESSAGE_BYTES);
    if (status == STATUS_OK) {
        assert_true(slice_equal(got.extra, meta.extra) && got.extra.data == extra.data + 6);
        assert_true(got.group == 3 && got.term == 5 && got.time_ms == 123456 && got.wall_ms == -7 &&
                    got.hash_seed == meta.hash_seed);
    }
    buffer_deinit(&extra);
    return status;
}

static void test_round_trip(void **state)
{
    for (int blocks = 0; blocks < 4; blocks++) {
        struct writing writing;
        init(&writing, 1);
        writing.blocks = blocks;
        writing.records = blocks == 3 ? 0 : 40; /* also empty blocks */
        write_all(&writing, 700);
        char path[64];
        uint64_t index;
        assert_int_equal(snapshot_find(&writing.env.env, "s", 3, path, sizeof(path), &index), STATUS_OK);
        assert_string_equal(path, "s/snapshot-3-700.snap");
        assert_int_equal(index, 700);
        struct reading reading = {0};
        char message[MESSAGE_BYTES] = "";
        assert_int_equal(load(&writing, path, &reading, message), STATUS_OK);
        assert_int_equal(reading.records, blocks == 3 ? 0 : blocks * 40);
        assert_false(reading.wrong);
        assert_int_equal(reading.header.index, 700);
        sim_disk_destroy(writing.disk);
    }
}

static void test_find_and_remove(void **state)
{
    struct writing writing;
    init(&writing, 1);
    char path[64];
    uint64_t index;
    assert_int_equal(snapshot_find(&writing.env.env, "s", 3, path, sizeof(path), &index), STATUS_NOTFOUND);
    for (uint64_t at = 9; at <= 11; at++) {
        writing.blocks = 1;
        write_all(&writing, at);
    }
    struct env_file *file;
    static const char *others[] = {"s/snapshot-3-12.snap.tmp", "s/snapshot-4-99.snap", "s/snapshot-4-99.snap.tmp",
                                   "s/snapshot-3-010.snap",    "s/snapshot-3-.snap",   "s/snapshot-3-13.snapx",
                                   "s/0000000000000001.log"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_int_equal(sim_disk_open(writing.disk, others[i], ENV_OPEN_WRITE | ENV_OPEN_CREATE, &file), STATUS_OK);
        sim_disk_close(writing.disk, file);
    }
    assert_int_equal(snapshot_find(&writing.env.env, "s", 3, path, sizeof(path), &index), STATUS_OK);
    assert_int_equal(index, 11);
    assert_int_equal(snapshot_find(&writing.env.env, "s", 3, path, 5, &index), STATUS_TOO_LARGE);
    assert_int_equal(snapshot_find(&writing.env.env, "nowhere", 3, path, sizeof(path), &index), STATUS_NOTFOUND);
    assert_int_equal(snapshot_remove_older(&writing.env.env, "s", 3, 11), STATUS_OK);
    struct slice content;
    assert_int_equal(sim_disk_peek(writing.disk, "s/snapshot-3-9.snap", &content), STATUS_NOTFOUND);
    assert_int_equal(sim_disk_peek(writing.disk, "s/snapshot-3-10.snap", &content), STATUS_NOTFOUND);
    assert_int_equal(sim_disk_peek(writing.disk, others[0], &content), STATUS_NOTFOUND);
    assert_int_equal(sim_disk_peek(writing.disk, "s/snapshot-3-11.snap", &content), STATUS_OK);
    for (size_t i = 1; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_int_equal(sim_disk_peek(writing.disk, others[i], &content), STATUS_OK);
    }
    sim_disk_destroy(writing.disk);
}

/* One bit anywhere: refused, with file, offset and the way out. */
static void test_every_flipped_bit(void **state)
{
    struct writing writing;
    init(&writing, 1);
    writing.records = 5;
    write_all(&writing, 700);
    struct slice content;
    const char *path = "s/snapshot-3-700.snap";
    assert_int_equal(sim_disk_peek(writing.disk, path, &content), STATUS_OK);
    for (size_t at = 0; at < content.size; at++) {
        int bit = (int)(at % 8);
        assert_int_equal(sim_disk_flip(writing.disk, path, at, bit), STATUS_OK);
        struct reading reading = {0};
        char message[MESSAGE_BYTES] = "";
        assert_int_equal(load(&writing, path, &reading, message), STATUS_CORRUPT);
        assert_ptr_equal(strstr(message, "s/snapshot-3-700.snap: damaged at byte "), message);
        assert_non_null(strstr(message, "; nothing was changed"));
        assert_false(reading.wrong);
        assert_int_equal(sim_disk_flip(writing.disk, path, at, bit), STATUS_OK);
    }
    sim_disk_destroy(writing.disk);
}

/* The file cut anywhere, or with something behind it. */
static void test_every_length(void **state)
{
    struct writing writing;
    init(&writing, 1);
    writing.records = 5;
    write_all(&writing, 700);
    struct slice content;
    const char *path = "s/snapshot-3-700.snap";
    assert_int_equal(sim_disk_peek(writing.disk, path, &content), STATUS_OK);
    struct env_file *file;
    char message[MESSAGE_BYTES] = "";
    assert_int_equal(sim_disk_open(writing.disk, path, ENV_OPEN_WRITE, &file), STATUS_OK);
    size_t size = content.size;
    assert_int_equal(sim_disk_truncate(writing.disk, file, size + 1), STATUS_OK);
    assert_int_equal(load(&writing, path, &(struct reading){0}, message), STATUS_CORRUPT);
    while (size-- > 0) {
        assert_int_equal(sim_disk_truncate(writing.disk, file, size), STATUS_OK);
        assert_int_equal(load(&writing, path, &(struct reading){0}, message), STATUS_CORRUPT);
    }
    sim_disk_destroy(writing.disk);
}

static void test_newer_version(void **state)
{
    struct writing writing;
    init(&writing, 1);
    uint8_t header[SNAPSHOT_HEADER_BYTES] = "COHORTSN";
    header[8] = SNAPSHOT_FORMAT_VERSION + 1;
    put_u32(header + 12, crc32c(0, header, SNAPSHOT_FOLDER_AT)); /* the field itself is zero here */
    snapshot_format_put_folder(header + SNAPSHOT_FOLDER_AT, &meta.folder);
    struct env_file *file;
    struct iovec part = {header, sizeof(header)};
    assert_int_equal(sim_disk_open(writing.disk, "s/x", ENV_OPEN_WRITE | ENV_OPEN_CREATE, &file), STATUS_OK);
    assert_int_equal(sim_disk_write(writing.disk, file, 0, &part, 1), STATUS_OK);
    char message[MESSAGE_BYTES] = "";
    assert_int_equal(load(&writing, "s/x", &(struct reading){0}, message), STATUS_VERSION);
    assert_non_null(strstr(message, "version 4"));
    assert_non_null(strstr(message, "another version of cohort"));
    assert_int_equal(load(&writing, "s/none", &(struct reading){0}, message), STATUS_NOTFOUND);
    assert_non_null(strstr(message, "s/none: cannot open"));
    sim_disk_destroy(writing.disk);
}

static void test_owner_refuses(void **state)
{
    struct writing writing;
    init(&writing, 1);
    write_all(&writing, 700);
    char message[MESSAGE_BYTES] = "";
    const char *path = "s/snapshot-3-700.snap";
    assert_int_equal(load(&writing, path, &(struct reading){.refuse_header = STATUS_VERSION}, message), STATUS_VERSION);
    assert_non_null(strstr(message, "another version"));
    assert_int_equal(load(&writing, path, &(struct reading){.refuse_record = STATUS_CORRUPT}, message), STATUS_CORRUPT);
    assert_non_null(strstr(message, "the record at byte 125 "));
    sim_disk_add_fault(writing.disk,
                       &(struct sim_disk_fault){.kinds = SIM_DISK_READ, .status = STATUS_IO, .skip = 2, .times = 1});
    assert_int_equal(load(&writing, path, &(struct reading){0}, message), STATUS_IO);
    assert_non_null(strstr(message, "dmesg"));
    sim_disk_destroy(writing.disk);
}

/* A file of another folder, put here by hand; or sent by another node, then it comes to belong here. */
static void test_another_folder(void **state)
{
    struct writing writing;
    init(&writing, 1);
    write_all(&writing, 700);
    const char *path = "s/snapshot-3-700.snap";
    const struct folder_name other = {{{2}}, 1}, colleague = {{{1}}, 0};
    char message[MESSAGE_BYTES] = "";
    struct env_file *file = NULL;
    struct reading reading = {0};
    assert_int_equal(sim_disk_open(writing.disk, path, ENV_OPEN_WRITE, &file), STATUS_OK);
    assert_int_equal(snapshot_adopt(&writing.env.env, file, &other), STATUS_OK);
    assert_int_equal(load(&writing, path, &reading, message), STATUS_INVALID);
    assert_string_equal(message, "s/snapshot-3-700.snap: it belongs to another data folder (its incarnation is "
                                 "02000000000000000000000000000000, that of this folder "
                                 "01000000000000000000000000000000); move away what does not belong here, and bring "
                                 "back what does");
    assert_int_equal(snapshot_adopt(&writing.env.env, file, &colleague), STATUS_OK);
    assert_int_equal(load(&writing, path, &reading, message), STATUS_INVALID);
    assert_string_equal(message, "s/snapshot-3-700.snap: it belongs to worker 0 of this node, and this is the folder "
                                 "of worker 1; move away what does not belong here, and bring back what does");
    assert_int_equal(reading.records, 0);
    assert_int_equal(reading.header.group, 0); /* nobody heard of it */
    assert_int_equal(snapshot_adopt(&writing.env.env, file, &meta.folder), STATUS_OK);
    assert_int_equal(load(&writing, path, &reading, message), STATUS_OK);
    assert_int_equal(reading.records, 120);
    sim_disk_close(writing.disk, file);
    sim_disk_destroy(writing.disk);
}

static void count_temporary(void *owner, const char *name) { *(int *)owner += strstr(name, ".tmp") != NULL; }

/* Every operation fails once, in each way: one report, no temporary file, and the snapshot before it is still good. */
static void test_every_failure(void **state)
{
    static const enum status statuses[] = {STATUS_IO, STATUS_NOSPACE, STATUS_READONLY};
    for (uint64_t skip = 0;; skip++) {
        enum status status = statuses[skip % 3];
        struct writing writing;
        init(&writing, skip);
        write_all(&writing, 600);
        sim_disk_add_fault(
            writing.disk, &(struct sim_disk_fault){
                              .kinds = SIM_DISK_CHANGES | SIM_DISK_RENAME, .status = status, .skip = skip, .times = 1});
        writing.blocks = 3;
        enum status created = start(&writing, 700);
        disk_env_run(&writing.env);
        if (created == STATUS_OK && writing.status == STATUS_OK) {
            assert_in_range(skip, 7, 8); /* open, three blocks, trailer, sync, rename, folder */
            sim_disk_destroy(writing.disk);
            return;
        }
        assert_int_equal(created == STATUS_OK ? writing.status : created, status);
        assert_int_equal(writing.finished, created == STATUS_OK);
        assert_true(created != STATUS_OK || strstr(writing.what, "s/snapshot-3-700.snap") != NULL);
        int temporary = 0;
        assert_int_equal(sim_disk_list_directory(writing.disk, "s", count_temporary, &temporary), STATUS_OK);
        assert_int_equal(temporary, 0);
        char path[64];
        char message[MESSAGE_BYTES];
        uint64_t index;
        assert_int_equal(snapshot_find(&writing.env.env, "s", 3, path, sizeof(path), &index), STATUS_OK);
        assert_int_equal(load(&writing, path, &(struct reading){0}, message), STATUS_OK);
        sim_disk_destroy(writing.disk);
    }
}

/* Power is lost after every operation, with every kind of outcome: the newest file with a final name is whole; it is
 * the new one when that was reported. */
static void test_every_crash(void **state)
{
    for (uint64_t seed = 0; seed < 40; seed++) {
        for (uint64_t skip = 0;; skip++) {
            struct writing writing;
            init(&writing, seed);
            write_all(&writing, 600);
            writing.blocks = 3;
            sim_disk_crash_after(writing.disk, SIM_DISK_CHANGES, skip, NULL, NULL);
            enum status created = start(&writing, 700);
            disk_env_run(&writing.env);
            bool reported = created == STATUS_OK && writing.status == STATUS_OK;
            bool down = sim_disk_down(writing.disk);
            sim_disk_crash(writing.disk);
            char path[64];
            char message[MESSAGE_BYTES] = "";
            uint64_t index;
            struct reading reading = {0};
            assert_int_equal(snapshot_find(&writing.env.env, "s", 3, path, sizeof(path), &index), STATUS_OK);
            assert_true(index == 700 || (index == 600 && !reported));
            assert_int_equal(load(&writing, path, &reading, message), STATUS_OK);
            assert_false(reading.wrong);
            assert_int_equal(snapshot_remove_older(&writing.env.env, "s", 3, index), STATUS_OK);
            int temporary = 0;
            assert_int_equal(sim_disk_list_directory(writing.disk, "s", count_temporary, &temporary), STATUS_OK);
            assert_int_equal(temporary, 0);
            sim_disk_destroy(writing.disk);
            if (!down) {
                break;
            }
        }
    }
}

/* Given up at every stage: no callback, no file, no leak (the sanitizer sees to that). */
static void test_destroy_at_every_stage(void **state)
{
    for (int steps = 0; steps < 5; steps++) {
        struct writing writing;
        init(&writing, 1);
        assert_int_equal(start(&writing, 700), STATUS_OK);
        for (int i = 0; i < steps; i++) {
            assert_true(disk_env_step(&writing.env));
        }
        snapshot_writer_destroy(writing.writer); /* NULL when it is finished */
        disk_env_run(&writing.env);
        assert_int_equal(writing.finished, steps == 4);
        int temporary = 0;
        assert_int_equal(sim_disk_list_directory(writing.disk, "s", count_temporary, &temporary), STATUS_OK);
        assert_int_equal(temporary, 0);
        sim_disk_destroy(writing.disk);
    }
    snapshot_writer_destroy(NULL);
}

/* Large snapshots are synced as they grow. */
static void test_syncs_on_the_way(void **state)
{
    struct writing writing;
    init(&writing, 1);
    writing.blocks = 10;
    writing.records = 10000;
    uint64_t before = sim_disk_operations(writing.disk, SIM_DISK_SYNC);
    write_all(&writing, 700);
    assert_in_range(sim_disk_operations(writing.disk, SIM_DISK_SYNC) - before, 3, 11);
    struct reading reading = {0};
    char message[MESSAGE_BYTES] = "";
    assert_int_equal(load(&writing, "s/snapshot-3-700.snap", &reading, message), STATUS_OK);
    assert_int_equal(reading.records, 100000);
    assert_false(reading.wrong);
    sim_disk_destroy(writing.disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),        cmocka_unit_test(test_find_and_remove),
        cmocka_unit_test(test_every_flipped_bit), cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_newer_version),     cmocka_unit_test(test_owner_refuses),
        cmocka_unit_test(test_another_folder),    cmocka_unit_test(test_every_failure),
        cmocka_unit_test(test_every_crash),       cmocka_unit_test(test_destroy_at_every_stage),
        cmocka_unit_test(test_syncs_on_the_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
