/* A flipped bit in a log that was closed well. Where it was synced, the log refuses with the right file and a good
 * offset; elsewhere (padding of the header page, the last mark, unused space) it opens and has everything. */
#include "log_fixture.h"

#include "base/crc32c.h"
#include "base/varint.h"
#include "log/log_format.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void name_file(uint64_t number, char path[64]) { (void)snprintf(path, 64, "log/%016" PRIu64 ".log", number); }

/* Three segments with blocks of one and of several records. */
static struct fixture *make_log(void)
{
    struct fixture *fixture = fixture_create(1);
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    fixture_hard_state(fixture, 3, 1, 2);
    for (int i = 0; i < 80; i++) {
        fixture_next(fixture, (uint32_t)i % 3, i % 5 == 0 ? 8000 : (size_t)i);
        if (i % 2 == 0) {
            log_flush(fixture->log, LOG_SYNC_INLINE);
            disk_env_run(&fixture->env);
        }
    }
    fixture_trim(fixture, 1, 2, log_term(fixture->log, 1, 2));
    log_flush(fixture->log, LOG_SYNC_INLINE);
    assert_int_equal(fixture->durable, fixture->count);
    fixture_close(fixture);
    return fixture;
}

/* Where the blocks end, and where the last one begins. */
static void measure(struct fixture *fixture, const char *path, uint64_t *ret_last, uint64_t *ret_end)
{
    struct slice content;
    struct log_segment_header header;
    struct log_block_header block;
    assert_int_equal(sim_disk_peek(fixture->disk, path, &content), STATUS_OK);
    assert_int_equal(log_format_take_segment(content, &header), LOG_HEADER_OK);
    uint64_t at = LOG_SEGMENT_START;
    while (log_format_take_block(slice_of(content.data + at, content.size - at), log_format_seed(header.salt),
                                 header.number, &block)) {
        *ret_last = at;
        at += LOG_BLOCK_HEADER_BYTES + block.body_size;
    }
    *ret_end = at;
}

static uint8_t byte_of(struct fixture *fixture, const char *path, uint64_t offset)
{
    struct slice content;
    assert_int_equal(sim_disk_peek(fixture->disk, path, &content), STATUS_OK);
    return content.data[offset];
}

static void try_flip(struct fixture *fixture, const char *path, uint64_t offset, bool harmless)
{
    int bit = (int)(offset % 8);
    uint8_t before = byte_of(fixture, path, offset);
    assert_int_equal(sim_disk_flip(fixture->disk, path, offset, bit), STATUS_OK);
    enum status status = fixture_open(fixture);
    if (harmless) {
        if (status != STATUS_OK) {
            fail_msg("byte %" PRIu64 " of %s matters: %s", offset, path, fixture->message);
        }
        fixture_check(fixture);
        fixture_close(fixture);
    } else {
        if (status != STATUS_CORRUPT) {
            fail_msg("byte %" PRIu64 " of %s does not matter", offset, path);
        }
        assert_null(fixture->log);
        uint64_t said = UINT64_MAX;
        const char *text = strstr(fixture->message, ": damaged at byte ");
        assert_true(text != NULL && strncmp(fixture->message, path, strlen(path)) == 0);
        assert_int_equal(sscanf(text, ": damaged at byte %" SCNu64, &said), 1);
        assert_in_range(said, offset < 10000 ? 0 : offset - 10000, offset);
        assert_non_null(strstr(fixture->message, "; nothing was changed"));
    }
    if (byte_of(fixture, path, offset) != before) {
        assert_int_equal(sim_disk_flip(fixture->disk, path, offset, bit), STATUS_OK);
    }
}

static void test_flips(void **state)
{
    struct fixture *fixture = make_log();
    assert_int_equal(fixture_files(fixture), 3);
    for (uint64_t number = 1; number <= 3; number++) {
        char path[64];
        name_file(number, path);
        uint64_t last = 0;
        uint64_t end = 0;
        measure(fixture, path, &last, &end);
        assert_true(number < 3 || end - last == LOG_BLOCK_HEADER_BYTES); /* the mark */
        for (uint64_t at = 0; at < FIXTURE_SEGMENT_BYTES;) {
            bool header = at < LOG_SEGMENT_HEADER_BYTES;
            bool block = at >= LOG_SEGMENT_START && at < (number == 3 ? last : end);
            try_flip(fixture, path, at, !header && !block);
            /* Dense where structure is, sparse inside long payloads and in the unused rest. */
            bool dense = header || (at >= LOG_SEGMENT_START && at < LOG_SEGMENT_START + 600) ||
                         (at + 600 > end && at < end + 64);
            at += dense ? 1 : 37;
        }
    }
    fixture_recover(fixture);
    fixture_destroy(fixture);
}

/* Two whole sectors of zeros in the middle, and at the end of an earlier segment. */
static void test_lost_sectors(void **state)
{
    struct fixture *fixture = make_log();
    static uint8_t zeros[1024];
    char path[64];
    name_file(1, path);
    uint64_t last = 0;
    uint64_t end = 0;
    measure(fixture, path, &last, &end);
    uint64_t offsets[] = {LOG_SEGMENT_START, 8192, last / 512 * 512};
    for (size_t i = 0; i < 3; i++) {
        struct env_file *file;
        uint8_t saved[1024];
        size_t size;
        assert_int_equal(sim_disk_open(fixture->disk, path, ENV_OPEN_READ | ENV_OPEN_WRITE, &file), STATUS_OK);
        assert_int_equal(sim_disk_read(fixture->disk, file, offsets[i], saved, sizeof(saved), &size), STATUS_OK);
        struct iovec lost = {zeros, sizeof(zeros)};
        struct iovec found = {saved, sizeof(saved)};
        assert_int_equal(sim_disk_write(fixture->disk, file, offsets[i], &lost, 1), STATUS_OK);
        assert_int_equal(fixture_open(fixture), STATUS_CORRUPT);
        assert_int_equal(strncmp(fixture->message, path, strlen(path)), 0);
        assert_int_equal(sim_disk_write(fixture->disk, file, offsets[i], &found, 1), STATUS_OK);
        sim_disk_close(fixture->disk, file);
    }
    fixture_recover(fixture);
    fixture_destroy(fixture);
}

/* A file that lost its end: the blocks that prove what was synced went with it, so only its size can tell. */
static void test_short_files(void **state)
{
    for (uint64_t number = 1; number <= 3; number++) {
        struct fixture *fixture = make_log();
        char path[64];
        name_file(number, path);
        uint64_t last = 0;
        uint64_t end = 0;
        measure(fixture, path, &last, &end);
        uint64_t sizes[] = {LOG_SEGMENT_START, last, end, FIXTURE_SEGMENT_BYTES - 1};
        for (int i = 3; i >= 0; i--) {
            struct env_file *file = NULL;
            assert_int_equal(sim_disk_open(fixture->disk, path, ENV_OPEN_WRITE, &file), STATUS_OK);
            assert_int_equal(sim_disk_truncate(fixture->disk, file, sizes[i]), STATUS_OK);
            sim_disk_close(fixture->disk, file);
            assert_int_equal(fixture_open(fixture), STATUS_CORRUPT);
            char said[128];
            (void)snprintf(said, sizeof(said), "%s: damaged at byte %" PRIu64 ": the file ends here", path, sizes[i]);
            assert_non_null(strstr(fixture->message, said));
        }
        fixture_destroy(fixture);
    }
}

static void rename_file(struct fixture *fixture, uint64_t from, uint64_t to)
{
    char old_path[64];
    char new_path[64];
    name_file(from, old_path);
    name_file(to, new_path);
    assert_int_equal(sim_disk_rename(fixture->disk, old_path, new_path), STATUS_OK);
}

/* Files taken away or exchanged by hand. */
static void test_files_by_hand(void **state)
{
    struct fixture *fixture = make_log();
    rename_file(fixture, 2, 9); /* a gap */
    assert_int_equal(fixture_open(fixture), STATUS_CORRUPT);
    assert_non_null(strstr(fixture->message, "log/0000000000000002.log: this file is missing"));
    rename_file(fixture, 9, 2);

    rename_file(fixture, 3, 9);
    rename_file(fixture, 2, 3);
    rename_file(fixture, 9, 2); /* exchanged */
    assert_int_equal(fixture_open(fixture), STATUS_CORRUPT);
    assert_non_null(strstr(fixture->message, "names another segment"));
    rename_file(fixture, 3, 9);
    rename_file(fixture, 2, 3);
    rename_file(fixture, 9, 2);

    assert_int_equal(sim_disk_rename(fixture->disk, "log/0000000000000001.log", "gone"), STATUS_OK);
    assert_int_equal(fixture_open(fixture), STATUS_CORRUPT);
    assert_non_null(strstr(fixture->message, "of group 0 are missing"));
    assert_int_equal(sim_disk_rename(fixture->disk, "gone", "log/0000000000000001.log"), STATUS_OK);

    struct env_file *file; /* names that are not ours are left alone */
    assert_int_equal(sim_disk_open(fixture->disk, "log/00000000000000x1.log", ENV_OPEN_WRITE | ENV_OPEN_CREATE, &file),
                     STATUS_OK);
    sim_disk_close(fixture->disk, file);
    fixture_recover(fixture);
    fixture_destroy(fixture);
}

static void put_file(struct fixture *fixture, const void *data, size_t size, uint64_t file_size)
{
    struct env_file *file;
    struct iovec part = {(void *)(uintptr_t)data, size};
    assert_int_equal(sim_disk_open(fixture->disk, "log/0000000000000001.log",
                                   ENV_OPEN_WRITE | ENV_OPEN_CREATE | ENV_OPEN_TRUNCATE, &file),
                     STATUS_OK);
    assert_int_equal(sim_disk_write(fixture->disk, file, 0, &part, 1), STATUS_OK);
    assert_int_equal(sim_disk_truncate(fixture->disk, file, file_size), STATUS_OK);
    sim_disk_close(fixture->disk, file);
}

/* Headers that no log of ours has. */
static void test_headers(void **state)
{
    struct fixture *fixture = fixture_create(1);
    uint8_t header[LOG_SEGMENT_HEADER_BYTES];
    log_format_put_segment(
        header, &(struct log_segment_header){.number = 1, .salt = 7, .size = 65536, .folder = fixture->folder});
    put_file(fixture, header, sizeof(header), 65536);
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    fixture_close(fixture);

    put_u32(header + 8, LOG_FORMAT_VERSION + 1);
    put_u32(header + 12, 0);
    put_u32(header + 12, crc32c(0, header, sizeof(header)));
    put_file(fixture, header, sizeof(header), 65536);
    assert_int_equal(fixture_open(fixture), STATUS_VERSION);
    assert_non_null(strstr(fixture->message, "version 4"));
    assert_non_null(strstr(fixture->message, "another version of cohort"));

    put_file(fixture, header, 30, 30);
    assert_int_equal(fixture_open(fixture), STATUS_CORRUPT);
    put_file(fixture, "", 0, 0);
    assert_int_equal(fixture_open(fixture), STATUS_CORRUPT);
    fixture_destroy(fixture);
}

/* Files of another folder: all of them, or one among its own. Nothing is changed. */
static void check_foreign(const struct folder_name *folder, const char *said)
{
    struct fixture *fixture = make_log();
    fixture->folder = *folder;
    uint64_t changes = sim_disk_operations(fixture->disk, SIM_DISK_CHANGES);
    assert_int_equal(fixture_open(fixture), STATUS_INVALID);
    assert_int_equal(sim_disk_operations(fixture->disk, SIM_DISK_CHANGES), changes);
    assert_string_equal(fixture->message, said);

    for (uint64_t number = 1; number <= 3; number++) {
        char path[64];
        uint8_t header[LOG_SEGMENT_HEADER_BYTES];
        struct log_segment_header mine;
        struct slice content;
        struct env_file *file;
        struct iovec part = {header, sizeof(header)};
        name_file(number, path);
        assert_int_equal(sim_disk_peek(fixture->disk, path, &content), STATUS_OK);
        assert_int_equal(log_format_take_segment(content, &mine), LOG_HEADER_OK);
        mine.folder = fixture->folder;
        log_format_put_segment(header, &mine);
        assert_int_equal(sim_disk_open(fixture->disk, path, ENV_OPEN_WRITE, &file), STATUS_OK);
        assert_int_equal(sim_disk_write(fixture->disk, file, 0, &part, 1), STATUS_OK);
        sim_disk_close(fixture->disk, file);
        changes = sim_disk_operations(fixture->disk, SIM_DISK_CHANGES);
        name_file(number + 1, path); /* the first that is not its own */
        assert_int_equal(fixture_open(fixture), number < 3 ? STATUS_INVALID : STATUS_OK);
        assert_true(number == 3 || strncmp(fixture->message, path, strlen(path)) == 0);
        assert_true(number == 3 || sim_disk_operations(fixture->disk, SIM_DISK_CHANGES) == changes);
    }
    fixture_check(fixture);
    fixture_destroy(fixture);
}

static void test_foreign_files(void **state)
{
    check_foreign(&(struct folder_name){{{2}}, 1},
                  "log/0000000000000001.log: it belongs to another data folder (its incarnation is "
                  "01000000000000000000000000000000, that of this folder 02000000000000000000000000000000); move away "
                  "what does not belong here, and bring back what does");
    check_foreign(&(struct folder_name){{{1}}, 2},
                  "log/0000000000000001.log: it belongs to worker 1 of this node, and this is the folder of worker 2; "
                  "move away what does not belong here, and bring back what does");
}

/* A user stores a copy of the log's own blocks. In a torn tail they must not pass for blocks that prove a sync. */
static void test_users_cannot_forge_blocks(void **state)
{
    struct fixture *fixture = fixture_create(1);
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    fixture_next(fixture, 1, 100);
    log_flush(fixture->log, LOG_SYNC_INLINE);
    uint8_t forged[512];
    for (size_t at = 0; at + LOG_BLOCK_HEADER_BYTES <= sizeof(forged); at += LOG_BLOCK_HEADER_BYTES) {
        log_format_put_block(forged + at, log_format_seed(0), /* the salt is not known */
                             &(struct log_block_header){.segment = 1, .sequence = 9, .synced = 8});
    }
    uint64_t written = 0;
    uint64_t last = 0;
    measure(fixture, "log/0000000000000001.log", &last, &written);
    struct slice payload = slice_of(forged, sizeof(forged));
    log_append(fixture->log, 1, &(struct log_entry){.index = 2, .term = 1}, &payload, 1);
    log_flush(fixture->log, LOG_SYNC_INLINE);
    fixture_crash(fixture, false);
    assert_int_equal(sim_disk_flip(fixture->disk, "log/0000000000000001.log", written, 0), STATUS_OK); /* as if torn */
    fixture_recover(fixture);
    assert_int_equal(fixture_last(fixture, 1), 1);
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flips),
        cmocka_unit_test(test_lost_sectors),
        cmocka_unit_test(test_short_files),
        cmocka_unit_test(test_files_by_hand),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_foreign_files),
        cmocka_unit_test(test_users_cannot_forge_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
