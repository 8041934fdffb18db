#include "sim_disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct env_file *open_file(struct sim_disk *disk, const char *path, int flags)
{
    struct env_file *file = NULL;
    assert_int_equal(sim_disk_open(disk, path, flags | ENV_OPEN_READ | ENV_OPEN_WRITE, &file), STATUS_OK);
    return file;
}

static enum status put(struct sim_disk *disk, struct env_file *file, uint64_t offset, const void *data, size_t size)
{
    struct iovec part = {(void *)(uintptr_t)data, size};
    return sim_disk_write(disk, file, offset, &part, 1);
}

static bool exists(struct sim_disk *disk, const char *path)
{
    struct slice content;
    return sim_disk_peek(disk, path, &content) == STATUS_OK;
}

/* A file "d/f" of `size` bytes `fill`, synced with its name. */
static struct env_file *synced_file(struct sim_disk *disk, int fill, size_t size)
{
    static uint8_t data[64 * 1024];
    memset(data, fill, size);
    assert_int_equal(sim_disk_make_directory(disk, "d"), STATUS_OK);
    struct env_file *file = open_file(disk, "d/f", ENV_OPEN_CREATE);
    assert_int_equal(put(disk, file, 0, data, size), STATUS_OK);
    assert_int_equal(sim_disk_sync(disk, file), STATUS_OK);
    assert_int_equal(sim_disk_sync_directory(disk, "d"), STATUS_OK);
    assert_int_equal(sim_disk_sync_directory(disk, "."), STATUS_OK);
    return file;
}

static void test_paths_and_flags(void **state)
{
    struct sim_disk *disk = sim_disk_create(1);
    struct env_file *file = NULL;
    assert_int_equal(sim_disk_open(disk, "a", ENV_OPEN_READ, &file), STATUS_NOTFOUND);
    assert_int_equal(sim_disk_open(disk, "x/a", ENV_OPEN_WRITE | ENV_OPEN_CREATE, &file), STATUS_NOTFOUND);
    file = open_file(disk, "/./a", ENV_OPEN_CREATE);
    assert_int_equal(put(disk, file, 3, "xyz", 3), STATUS_OK);
    sim_disk_close(disk, file);
    struct slice content;
    assert_int_equal(sim_disk_peek(disk, "x/../a", &content), STATUS_OK);
    assert_true(slice_equal(content, slice_of("\0\0\0xyz", 6)));
    assert_int_equal(sim_disk_open(disk, "a", ENV_OPEN_WRITE | ENV_OPEN_CREATE | ENV_OPEN_EXCLUSIVE, &file),
                     STATUS_EXISTS);
    file = open_file(disk, "a", ENV_OPEN_TRUNCATE);
    uint64_t size = 9;
    assert_int_equal(sim_disk_size(disk, file, &size), STATUS_OK);
    assert_int_equal(size, 0);
    sim_disk_close(disk, file);
    assert_int_equal(sim_disk_make_directory(disk, "b"), STATUS_OK);
    assert_int_equal(sim_disk_make_directory(disk, "b/"), STATUS_OK);
    assert_int_equal(sim_disk_make_directory(disk, "a"), STATUS_EXISTS);
    assert_int_equal(sim_disk_rename(disk, "a", "b/c"), STATUS_OK);
    assert_int_equal(sim_disk_unlink(disk, "a"), STATUS_NOTFOUND);
    assert_int_equal(sim_disk_unlink(disk, "b/c"), STATUS_OK);
    sim_disk_destroy(disk);
}

static void add_name(void *owner, const char *name) { strcat(owner, name); }

static void test_list(void **state)
{
    struct sim_disk *disk = sim_disk_create(1);
    sim_disk_close(disk, synced_file(disk, 'a', 1));
    char names[64] = "";
    assert_int_equal(sim_disk_list_directory(disk, "d", add_name, names), STATUS_OK);
    assert_string_equal(names, "f");
    names[0] = '\0';
    assert_int_equal(sim_disk_list_directory(disk, ".", add_name, names), STATUS_OK);
    assert_string_equal(names, "d");
    assert_int_equal(sim_disk_list_directory(disk, "e", add_name, names), STATUS_NOTFOUND);
    sim_disk_destroy(disk);
}

static void test_lock(void **state)
{
    struct sim_disk *disk = sim_disk_create(1);
    struct env_file *first = NULL;
    struct env_file *second = NULL;
    assert_int_equal(sim_disk_lock_file(disk, "lock", &first), STATUS_OK);
    assert_int_equal(sim_disk_lock_file(disk, "lock", &second), STATUS_BUSY);
    sim_disk_close(disk, first);
    assert_int_equal(sim_disk_lock_file(disk, "lock", &first), STATUS_OK);
    sim_disk_kill(disk);
    assert_int_equal(sim_disk_lock_file(disk, "lock", &second), STATUS_OK);
    sim_disk_destroy(disk);
}

/* Guarantees 1 and 2: what was synced is there after a crash, whatever the seed. */
static void test_synced_survives(void **state)
{
    for (uint64_t seed = 0; seed < 64; seed++) {
        struct sim_disk *disk = sim_disk_create(seed);
        struct env_file *file = synced_file(disk, 'a', 5000);
        assert_int_equal(put(disk, file, 6000, "later", 5), STATUS_OK);
        sim_disk_crash(disk);
        size_t size = 0;
        char byte = 0;
        assert_int_equal(sim_disk_read(disk, file, 0, &byte, 1, &size), STATUS_IO); /* dead */
        sim_disk_close(disk, file);
        struct slice content;
        assert_int_equal(sim_disk_peek(disk, "d/f", &content), STATUS_OK);
        assert_true(content.size == 5000 || content.size == 6005);
        for (size_t i = 0; i < 5000; i++) {
            assert_int_equal(content.data[i], 'a');
        }
        for (size_t i = 5000; i < content.size; i++) {
            assert_true(content.data[i] == 0 || (i >= 6000 && content.data[i] == "later"[i - 6000]));
        }
        sim_disk_destroy(disk);
    }
}

/* Guarantee 4: over many seeds the unsynced part is seen lost, kept, mixed by sector, and torn inside one. */
static void test_unsynced_outcomes(void **state)
{
    int lost = 0, kept = 0, mixed = 0, torn = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct sim_disk *disk = sim_disk_create(seed);
        struct env_file *file = synced_file(disk, 'a', 4096);
        static uint8_t fresh[4096];
        memset(fresh, 'b', sizeof(fresh));
        assert_int_equal(put(disk, file, 0, fresh, sizeof(fresh)), STATUS_OK);
        sim_disk_crash(disk);
        struct slice content;
        assert_int_equal(sim_disk_peek(disk, "d/f", &content), STATUS_OK);
        int fresh_sectors = 0;
        bool any_torn = false;
        for (int sector = 0; sector < 8; sector++) {
            int fresh_bytes = 0;
            for (int i = 0; i < 512; i++) {
                uint8_t byte = content.data[sector * 512 + i];
                assert_true(byte == 'a' || byte == 'b');
                fresh_bytes += byte == 'b';
            }
            fresh_sectors += fresh_bytes == 512;
            any_torn = any_torn || (fresh_bytes > 0 && fresh_bytes < 512);
        }
        torn += any_torn;
        lost += !any_torn && fresh_sectors == 0;
        kept += fresh_sectors == 8;
        mixed += fresh_sectors > 0 && fresh_sectors < 8;
        sim_disk_destroy(disk);
    }
    assert_true(lost > 10 && kept > 10 && mixed > 10 && torn > 10);
}

/* Writes to one sector are never kept out of order. */
static void test_one_sector_keeps_order(void **state)
{
    int seen[4] = {0};
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct sim_disk *disk = sim_disk_create(seed);
        struct env_file *file = synced_file(disk, '0', 1);
        for (const char *c = "123"; *c != '\0'; c++) {
            assert_int_equal(put(disk, file, 0, c, 1), STATUS_OK);
        }
        sim_disk_crash(disk);
        struct slice content;
        assert_int_equal(sim_disk_peek(disk, "d/f", &content), STATUS_OK);
        assert_in_range(content.data[0], '0', '3');
        seen[content.data[0] - '0']++;
        sim_disk_destroy(disk);
    }
    assert_true(seen[0] > 0 && seen[1] > 0 && seen[2] > 0 && seen[3] > 0);
}

/* Syncing a file does not sync its name; syncing the folder does not sync content. */
static void test_names_need_their_own_sync(void **state)
{
    int named = 0, unnamed = 0, empty = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct sim_disk *disk = sim_disk_create(seed);
        sim_disk_close(disk, synced_file(disk, 'a', 1));
        struct env_file *file = open_file(disk, "d/new", ENV_OPEN_CREATE);
        assert_int_equal(put(disk, file, 0, "x", 1), STATUS_OK);
        assert_int_equal(sim_disk_sync(disk, file), STATUS_OK);
        struct env_file *other = open_file(disk, "other", ENV_OPEN_CREATE);
        assert_int_equal(put(disk, other, 0, "x", 1), STATUS_OK);
        assert_int_equal(sim_disk_sync_directory(disk, "."), STATUS_OK);
        sim_disk_crash(disk);
        struct slice content;
        if (sim_disk_peek(disk, "d/new", &content) == STATUS_OK) {
            named++;
            assert_true(slice_equal(content, slice_of("x", 1)));
        } else {
            unnamed++;
        }
        assert_int_equal(sim_disk_peek(disk, "other", &content), STATUS_OK);
        empty += content.size == 0;
        sim_disk_destroy(disk);
    }
    assert_true(named > 10 && unnamed > 10 && empty > 10);
}

/* Guarantee 3, and durability of a rename after the sync of its folder. */
static void test_rename_is_atomic(void **state)
{
    int before = 0, after = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct sim_disk *disk = sim_disk_create(seed);
        sim_disk_close(disk, synced_file(disk, 'a', 1));
        struct env_file *file = open_file(disk, "d/tmp", ENV_OPEN_CREATE);
        assert_int_equal(put(disk, file, 0, "b", 1), STATUS_OK);
        assert_int_equal(sim_disk_sync(disk, file), STATUS_OK);
        assert_int_equal(sim_disk_sync_directory(disk, "d"), STATUS_OK);
        assert_int_equal(sim_disk_rename(disk, "d/tmp", "d/f"), STATUS_OK);
        bool synced = seed % 2 == 0;
        if (synced) {
            assert_int_equal(sim_disk_sync_directory(disk, "d"), STATUS_OK);
        }
        sim_disk_crash(disk);
        struct slice content;
        assert_int_equal(sim_disk_peek(disk, "d/f", &content), STATUS_OK);
        bool renamed = content.data[0] == 'b';
        assert_true(renamed == !exists(disk, "d/tmp"));
        assert_true(renamed || !synced);
        before += !renamed;
        after += renamed && !synced;
        sim_disk_destroy(disk);
    }
    assert_true(before > 5 && after > 5);
}

/* Guarantee 5: a second sync after a failed one brings nothing back. */
static void test_failed_sync_loses(void **state)
{
    int lost = 0, kept = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct sim_disk *disk = sim_disk_create(seed);
        struct env_file *file = synced_file(disk, 'a', 1);
        assert_int_equal(put(disk, file, 0, "b", 1), STATUS_OK);
        sim_disk_add_fault(disk, &(struct sim_disk_fault){.kinds = SIM_DISK_SYNC, .status = STATUS_IO, .times = 1});
        assert_int_equal(sim_disk_sync(disk, file), STATUS_IO);
        assert_int_equal(sim_disk_sync(disk, file), STATUS_OK);
        char byte = 0;
        size_t size = 0;
        assert_int_equal(sim_disk_read(disk, file, 0, &byte, 1, &size), STATUS_OK);
        assert_int_equal(byte, 'b');
        sim_disk_crash(disk);
        struct slice content;
        assert_int_equal(sim_disk_peek(disk, "d/f", &content), STATUS_OK);
        lost += content.data[0] == 'a';
        kept += content.data[0] == 'b';
        sim_disk_destroy(disk);
    }
    assert_true(lost > 10 && kept > 10);
}

static void count(void *owner) { (*(int *)owner)++; }

static void test_crash_point(void **state)
{
    struct sim_disk *disk = sim_disk_create(1);
    struct env_file *file = synced_file(disk, 'a', 1);
    int crashes = 0;
    sim_disk_crash_after(disk, SIM_DISK_CHANGES, 1, count, &crashes);
    assert_int_equal(put(disk, file, 0, "b", 1), STATUS_OK);
    assert_int_equal(crashes, 0);
    assert_int_equal(sim_disk_sync(disk, file), STATUS_OK); /* this one still happens */
    assert_int_equal(crashes, 1);
    assert_true(sim_disk_down(disk));
    assert_int_equal(put(disk, file, 0, "c", 1), STATUS_IO);
    assert_int_equal(sim_disk_unlink(disk, "d/f"), STATUS_IO);
    sim_disk_crash(disk);
    assert_false(sim_disk_down(disk));
    struct slice content;
    assert_int_equal(sim_disk_peek(disk, "d/f", &content), STATUS_OK);
    assert_int_equal(content.data[0], 'b');
    assert_int_equal(crashes, 1);
    sim_disk_destroy(disk);
}

static void test_kill_keeps_the_cache(void **state)
{
    struct sim_disk *disk = sim_disk_create(1);
    struct env_file *file = open_file(disk, "f", ENV_OPEN_CREATE);
    assert_int_equal(put(disk, file, 0, "b", 1), STATUS_OK);
    sim_disk_kill(disk);
    assert_int_equal(sim_disk_sync(disk, file), STATUS_IO);
    assert_true(exists(disk, "f"));
    sim_disk_destroy(disk);
}

static void test_faults(void **state)
{
    struct sim_disk *disk = sim_disk_create(7);
    struct env_file *file = synced_file(disk, 'a', 1);
    sim_disk_add_fault(
        disk, &(struct sim_disk_fault){.kinds = SIM_DISK_WRITE, .status = STATUS_READONLY, .skip = 1, .times = 2});
    assert_int_equal(put(disk, file, 0, "b", 1), STATUS_OK);
    assert_int_equal(put(disk, file, 0, "c", 1), STATUS_READONLY);
    assert_int_equal(put(disk, file, 0, "c", 1), STATUS_READONLY);
    assert_int_equal(put(disk, file, 0, "d", 1), STATUS_OK);
    sim_disk_clear_faults(disk);
    sim_disk_add_fault(
        disk, &(struct sim_disk_fault){.kinds = SIM_DISK_READ, .status = STATUS_IO, .times = UINT64_MAX, .one_in = 4});
    int failed = 0;
    for (int i = 0; i < 400; i++) {
        char byte;
        size_t size;
        failed += sim_disk_read(disk, file, 0, &byte, 1, &size) == STATUS_IO;
    }
    assert_in_range(failed, 60, 140);
    sim_disk_destroy(disk);
}

static void test_quota(void **state)
{
    struct sim_disk *disk = sim_disk_create(1);
    struct env_file *file = synced_file(disk, 'a', 1000);
    sim_disk_set_quota(disk, 1002);
    assert_int_equal(sim_disk_used(disk), 1000);
    assert_int_equal(put(disk, file, 0, "bb", 2), STATUS_OK); /* overwriting takes no room */
    assert_int_equal(put(disk, file, 999, "bbb", 3), STATUS_OK);
    assert_int_equal(put(disk, file, 1002, "bbbb", 4), STATUS_NOSPACE);
    sim_disk_destroy(disk);
}

static void test_flip(void **state)
{
    struct sim_disk *disk = sim_disk_create(1);
    sim_disk_close(disk, synced_file(disk, 'a', 10));
    assert_int_equal(sim_disk_flip(disk, "d/f", 3, 1), STATUS_OK);
    sim_disk_crash(disk);
    struct slice content;
    assert_int_equal(sim_disk_peek(disk, "d/f", &content), STATUS_OK);
    assert_int_equal(content.data[3], 'a' ^ 2);
    assert_int_equal(sim_disk_flip(disk, "d/x", 3, 1), STATUS_NOTFOUND);
    sim_disk_destroy(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_and_flags),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_synced_survives),
        cmocka_unit_test(test_unsynced_outcomes),
        cmocka_unit_test(test_one_sector_keeps_order),
        cmocka_unit_test(test_names_need_their_own_sync),
        cmocka_unit_test(test_rename_is_atomic),
        cmocka_unit_test(test_failed_sync_loses),
        cmocka_unit_test(test_crash_point),
        cmocka_unit_test(test_kill_keeps_the_cache),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_quota),
        cmocka_unit_test(test_flip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
