#include "log/snapshot_format.h"

#include "base/crc32c.h"

#include <inttypes.h>
#include <stdio.h>

static const uint8_t file_magic[8] = {'C', 'O', 'H', 'O', 'R', 'T', 'S', 'N'};
static const uint8_t block_magic[4] = {'S', 'B', 'L', 'K'};
static const uint8_t trailer_magic[4] = {'S', 'T', 'R', 'L'};

static uint32_t header_crc(const uint8_t *at, size_t extra_size)
{
    static const uint8_t zero[4];
    uint32_t crc = crc32c(0, at, 12);
    crc = crc32c(crc, zero, sizeof(zero));
    crc = crc32c(crc, at + 16, SNAPSHOT_FOLDER_AT - 16);
    return crc32c(crc, at + SNAPSHOT_HEADER_BYTES, extra_size);
}

void snapshot_format_put_folder(uint8_t at[SNAPSHOT_FOLDER_BYTES], const struct folder_name *folder)
{
    memcpy(at, folder->incarnation.bytes, sizeof(folder->incarnation.bytes));
    put_u32(at + 16, folder->worker);
    put_u32(at + 20, crc32c(0, at, 20));
}

void snapshot_format_put_header(struct buffer *out, const struct snapshot_meta *meta, uint32_t *chain)
{
    size_t size = SNAPSHOT_HEADER_BYTES + meta->extra.size;
    uint8_t *at = buffer_reserve(out, size);
    memcpy(at, file_magic, sizeof(file_magic));
    put_u32(at + 8, SNAPSHOT_FORMAT_VERSION);
    put_u32(at + 16, meta->group);
    put_u32(at + 20, (uint32_t)meta->extra.size);
    put_u64(at + 24, meta->index);
    put_u64(at + 32, meta->term);
    put_u64(at + 40, (uint64_t)meta->time_ms);
    put_u64(at + 48, (uint64_t)meta->wall_ms);
    put_u64(at + 56, meta->hash_seed);
    snapshot_format_put_folder(at + SNAPSHOT_FOLDER_AT, &meta->folder);
    if (meta->extra.size > 0) {
        memcpy(at + SNAPSHOT_HEADER_BYTES, meta->extra.data, meta->extra.size);
    }
    put_u32(at + 12, header_crc(at, meta->extra.size));
    *chain = crc32c(0, at + 12, 4);
    out->size += size;
}

enum snapshot_fault snapshot_format_take_header(struct slice bytes, struct snapshot_meta *ret_meta, uint32_t *chain)
{
    const uint8_t *at = bytes.data;
    if (bytes.size < SNAPSHOT_HEADER_BYTES || memcmp(at, file_magic, sizeof(file_magic)) != 0) {
        return SNAPSHOT_MAGIC;
    }
    size_t extra = get_u32(at + 20);
    if (bytes.size - SNAPSHOT_HEADER_BYTES < extra) {
        return SNAPSHOT_SHORT;
    }
    const uint8_t *folder = at + SNAPSHOT_FOLDER_AT;
    if (get_u32(at + 12) != header_crc(at, extra) || get_u32(folder + 20) != crc32c(0, folder, 20)) {
        return SNAPSHOT_CHECKSUM;
    }
    if (get_u32(at + 8) != SNAPSHOT_FORMAT_VERSION) {
        return SNAPSHOT_VERSION;
    }
    *ret_meta = (struct snapshot_meta){
        .group = get_u32(at + 16),
        .index = get_u64(at + 24),
        .term = get_u64(at + 32),
        .time_ms = (int64_t)get_u64(at + 40),
        .wall_ms = (int64_t)get_u64(at + 48),
        .hash_seed = get_u64(at + 56),
        .extra = slice_of(at + SNAPSHOT_HEADER_BYTES, extra),
    };
    memcpy(ret_meta->folder.incarnation.bytes, folder, sizeof(struct id128));
    ret_meta->folder.worker = get_u32(folder + 16);
    *chain = crc32c(0, at + 12, 4);
    return SNAPSHOT_OK;
}

void snapshot_format_put_block(uint8_t at[SNAPSHOT_BLOCK_HEADER_BYTES], uint64_t number, struct slice body,
                               uint32_t *chain)
{
    memcpy(at, block_magic, sizeof(block_magic));
    put_u64(at + 8, number);
    put_u32(at + 16, (uint32_t)body.size);
    put_u32(at + 20, 0);
    put_u32(at + 4, crc32c(crc32c(0, at + 8, SNAPSHOT_BLOCK_HEADER_BYTES - 8), body.data, body.size));
    *chain = crc32c(*chain, at + 4, 4);
}

bool snapshot_format_take_block(struct slice bytes, struct snapshot_block *ret_block)
{
    const uint8_t *at = bytes.data;
    if (bytes.size < SNAPSHOT_BLOCK_HEADER_BYTES || memcmp(at, block_magic, sizeof(block_magic)) != 0) {
        return false;
    }
    *ret_block =
        (struct snapshot_block){.crc = get_u32(at + 4), .number = get_u64(at + 8), .body_size = get_u32(at + 16)};
    return true;
}

bool snapshot_format_check_block(struct slice bytes, const struct snapshot_block *block, uint32_t *chain)
{
    size_t size = SNAPSHOT_BLOCK_HEADER_BYTES + (size_t)block->body_size;
    if (bytes.size < size || crc32c(0, bytes.data + 8, size - 8) != block->crc) {
        return false;
    }
    *chain = crc32c(*chain, bytes.data + 4, 4);
    return true;
}

void snapshot_format_put_trailer(uint8_t at[SNAPSHOT_TRAILER_BYTES], const struct snapshot_trailer *trailer)
{
    memcpy(at, trailer_magic, sizeof(trailer_magic));
    put_u64(at + 8, trailer->blocks);
    put_u64(at + 16, trailer->bytes);
    put_u32(at + 24, trailer->crc);
    put_u32(at + 28, 0);
    put_u32(at + 4, crc32c(0, at + 8, SNAPSHOT_TRAILER_BYTES - 8));
}

bool snapshot_format_take_trailer(struct slice bytes, struct snapshot_trailer *ret_trailer)
{
    const uint8_t *at = bytes.data;
    if (bytes.size < SNAPSHOT_TRAILER_BYTES || memcmp(at, trailer_magic, sizeof(trailer_magic)) != 0 ||
        get_u32(at + 4) != crc32c(0, at + 8, SNAPSHOT_TRAILER_BYTES - 8)) {
        return false;
    }
    *ret_trailer =
        (struct snapshot_trailer){.blocks = get_u64(at + 8), .bytes = get_u64(at + 16), .crc = get_u32(at + 24)};
    return true;
}

void snapshot_format_path(const char *directory, uint32_t group, uint64_t index, const char *suffix,
                          char path[SNAPSHOT_PATH_BYTES])
{
    (void)snprintf(path, SNAPSHOT_PATH_BYTES, "%s/snapshot-%" PRIu32 "-%" PRIu64 ".snap%s", directory, group, index,
                   suffix);
}

/* Takes decimal digits without leading zeros; false when there are none or too many. */
static bool take_number(const char **at, uint64_t *ret_number)
{
    uint64_t number = 0;
    const char *from = *at;
    for (; **at >= '0' && **at <= '9'; (*at)++) {
        if (*at - from == 19 || (*at > from && *from == '0')) {
            return false;
        }
        number = number * 10 + (uint64_t)(**at - '0');
    }
    *ret_number = number;
    return *at > from;
}

enum snapshot_name snapshot_format_parse_name(const char *name, uint32_t *ret_group, uint64_t *ret_index)
{
    static const char prefix[] = "snapshot-";
    uint64_t group;
    if (strncmp(name, prefix, sizeof(prefix) - 1) != 0) {
        return SNAPSHOT_NAME_OTHER;
    }
    name += sizeof(prefix) - 1;
    if (!take_number(&name, &group) || group > UINT32_MAX || *name++ != '-' || !take_number(&name, ret_index)) {
        return SNAPSHOT_NAME_OTHER;
    }
    *ret_group = (uint32_t)group;
    if (strcmp(name, ".snap") == 0) {
        return SNAPSHOT_NAME_COMPLETE;
    }
    return strcmp(name, ".snap.tmp") == 0 ? SNAPSHOT_NAME_TEMPORARY : SNAPSHOT_NAME_OTHER;
}
