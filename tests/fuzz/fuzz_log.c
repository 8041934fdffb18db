/* Segment files: any bytes are refused or give a log that is sound: every entry within its bounds can be read, it takes
 * appends, and when it is opened again it shows the same.
 *
 * The first byte chooses how the rest is meant: as a whole file, or as records, which get the checksums, blocks and
 * header that they need to be looked at; its bit 6 makes the header that of another folder,
 * with bit 5 of another worker of the node. */
#include "../unit/log/disk_env.h"
#include "base/hash.h"
#include "fuzz.h"
#include "log/log.h"
#include "log/log_format.h"

#include <stdlib.h>

enum { SALT = 7, SEGMENT_BYTES = 64 * 1024, NUMBER = 1 };

static const struct folder_name mine = {{{1}}, 0}, others[] = {{{{2}}, 0}, {{{1}}, 1}};

struct harness {
    struct sim_disk *disk;
    struct disk_env env;
    struct log *log;
    int failures;
};

static void durable(void *owner, uint64_t ticket) {}
static void failed(void *owner, enum status status, const char *what) { ((struct harness *)owner)->failures++; }
static const struct log_events events = {durable, failed};

/* ---- input to file ---- */

static uint64_t take_number(struct slice *from, bool wide)
{
    uint64_t number = 0;
    for (int i = 0; i < (wide ? 8 : 1); i++) {
        number |= (uint64_t)fuzz_take_byte(from) << (8 * i);
    }
    return number;
}

/* A record: type (high bit: wide numbers), group, kind, a, b, size, payload. */
static void append_record(struct buffer *body, struct slice *input, uint32_t seed)
{
    uint8_t type = fuzz_take_byte(input);
    bool wide = (type & 0x80) != 0;
    struct log_record record = {.type = type & 0x7f, .group = fuzz_take_byte(input), .kind = fuzz_take_byte(input)};
    record.a = take_number(input, wide);
    record.b = take_number(input, wide);
    size_t size = fuzz_take_byte(input);
    size = size < input->size ? size : input->size;
    uint8_t *at = buffer_reserve(body, LOG_RECORD_HEADER_BYTES + size);
    if (size > 0) {
        memcpy(at + LOG_RECORD_HEADER_BYTES, input->data, size);
    }
    record.payload = slice_of(at + LOG_RECORD_HEADER_BYTES, size);
    *input = slice_of(input->data + size, input->size - size);
    body->size += log_format_put_record(at, seed, &record);
}

static void append_block(struct buffer *file, struct slice *input, uint32_t seed, uint64_t sequence, uint8_t how)
{
    struct buffer body;
    buffer_init(&body);
    for (int records = 1 + how % 4; records > 0 && input->size > 0; records--) {
        append_record(&body, input, seed);
    }
    while (body.size % LOG_BLOCK_ALIGNMENT != 0) {
        buffer_append_byte(&body, 0);
    }
    uint8_t *at = buffer_reserve(file, LOG_BLOCK_HEADER_BYTES + body.size);
    if (body.size > 0) {
        memcpy(at + LOG_BLOCK_HEADER_BYTES, body.data, body.size);
    }
    log_format_put_block(at, seed,
                         &(struct log_block_header){
                             .segment = NUMBER,
                             .sequence = sequence,
                             .synced = sequence > 1 + how / 128 ? sequence - 1 - how / 128 : 0,
                             .body_size = (uint32_t)body.size,
                             .body_crc = log_format_body_crc(slice_of(at + LOG_BLOCK_HEADER_BYTES, body.size), seed),
                         });
    file->size += LOG_BLOCK_HEADER_BYTES + body.size;
    buffer_deinit(&body);
}

/* Returns whether the file is of another folder. */
static bool make_file(struct buffer *file, struct slice input)
{
    uint8_t how = fuzz_take_byte(&input);
    bool foreign = (how & 0x40) != 0;
    if (how % 4 == 0) {
        buffer_append_slice(file, input);
        return false;
    }
    uint32_t seed = log_format_seed(SALT);
    memset(buffer_reserve(file, LOG_SEGMENT_START), 0, LOG_SEGMENT_START);
    log_format_put_segment(file->data, &(struct log_segment_header){.number = NUMBER,
                                                                    .salt = SALT,
                                                                    .size = SEGMENT_BYTES,
                                                                    .folder = foreign ? others[how >> 5 & 1] : mine});
    file->size = LOG_SEGMENT_START;
    for (uint64_t sequence = 1; input.size > 0; sequence++) {
        append_block(file, &input, seed, sequence, fuzz_take_byte(&input));
    }
    return foreign;
}

static void put_file(struct sim_disk *disk, struct slice content)
{
    struct env_file *file;
    struct iovec part = {(void *)(uintptr_t)content.data, content.size};
    ASSERT(sim_disk_make_directory(disk, "log") == STATUS_OK);
    ASSERT(sim_disk_sync_directory(disk, ".") == STATUS_OK);
    ASSERT(sim_disk_open(disk, "log/0000000000000001.log", ENV_OPEN_WRITE | ENV_OPEN_CREATE, &file) == STATUS_OK);
    ASSERT(sim_disk_write(disk, file, 0, &part, 1) == STATUS_OK);
    sim_disk_close(disk, file);
}

/* ---- properties ---- */

static enum status open_log(struct harness *harness)
{
    char message[512] = "";
    struct log_options options = {"log", SEGMENT_BYTES, mine};
    enum status status =
        log_open(&harness->env.env, &options, &events, harness, &harness->log, message, sizeof(message));
    ASSERT(status == STATUS_OK || strlen(message) > 30);
    return status;
}

static uint64_t mix(uint64_t digest, const void *data, size_t size) { return hash_bytes(digest, data, size); }

/* Reads everything there is. */
static uint64_t digest_group(struct log *log, uint32_t group)
{
    uint64_t bounds[4];
    log_bounds(log, group, &bounds[0], &bounds[1], &bounds[2], &bounds[3]);
    struct log_hard_state state = log_hard_state(log, group);
    uint64_t digest = mix(mix(group, bounds, sizeof(bounds)), &state, sizeof(state));
    struct buffer out;
    buffer_init(&out);
    for (uint64_t index = bounds[0] + 1; index <= bounds[2]; index++) {
        struct log_entry entry;
        ASSERT(log_read(log, group, index, &out, &entry) == STATUS_OK);
        ASSERT(entry.index == index && entry.term == log_term(log, group, index));
        digest = mix(mix(digest, &entry.term, sizeof(entry.term)), entry.payload.data, entry.payload.size);
        buffer_clear(&out);
    }
    buffer_deinit(&out);
    return digest;
}

static uint64_t digest_log(struct log *log)
{
    uint32_t groups[LOG_MAXIMUM_GROUPS];
    size_t count = log_groups(log, groups, LOG_MAXIMUM_GROUPS);
    uint64_t digest = count;
    for (size_t i = 0; i < count; i++) {
        uint64_t group = digest_group(log, groups[i]);
        digest = mix(digest, &group, sizeof(group));
    }
    return digest;
}

static void use_log(struct harness *harness)
{
    struct log *log = harness->log;
    uint32_t groups[LOG_MAXIMUM_GROUPS];
    size_t count = log_groups(log, groups, LOG_MAXIMUM_GROUPS);
    for (size_t i = 0; i < count; i++) {
        uint64_t trimmed, trimmed_term, last, last_term;
        log_bounds(log, groups[i], &trimmed, &trimmed_term, &last, &last_term);
        if (last < UINT64_MAX - 1) {
            struct slice payload = SLICE_LITERAL("payload");
            log_append(log, groups[i], &(struct log_entry){.index = last + 1, .term = 9}, &payload, 1);
        }
    }
    log_flush(log, LOG_SYNC_INLINE);
    disk_env_run(&harness->env);
    ASSERT(harness->failures == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer file;
    buffer_init(&file);
    bool foreign = make_file(&file, slice_of(data, size));
    struct harness harness = {.disk = sim_disk_create(1)};
    disk_env_init(&harness.env, harness.disk);
    put_file(harness.disk, buffer_slice(&file));
    if (open_log(&harness) == STATUS_OK) {
        ASSERT(!foreign);
        use_log(&harness);
        uint64_t digest = digest_log(harness.log);
        log_close(harness.log);
        disk_env_run(&harness.env);
        sim_disk_crash(harness.disk);
        ASSERT(open_log(&harness) == STATUS_OK);
        ASSERT(digest_log(harness.log) == digest);
        log_close(harness.log);
    }
    disk_env_run(&harness.env);
    sim_disk_destroy(harness.disk);
    buffer_deinit(&file);
    return 0;
}
