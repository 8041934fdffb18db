#include "log/log_format.h"

#include "base/crc32c.h"

#include <inttypes.h>
#include <stdio.h>

static const char segment_magic[8] = {'C', 'O', 'H', 'O', 'R', 'T', 'W', 'L'};

uint32_t log_format_seed(uint64_t salt) { return crc32c(0, &salt, sizeof(salt)); }

static uint32_t segment_crc(const uint8_t *at)
{
    uint8_t copy[LOG_SEGMENT_HEADER_BYTES];
    memcpy(copy, at, sizeof(copy));
    put_u32(copy + 12, 0);
    return crc32c(0, copy, sizeof(copy));
}

void log_format_put_segment(uint8_t at[LOG_SEGMENT_HEADER_BYTES], const struct log_segment_header *header)
{
    memset(at, 0, LOG_SEGMENT_HEADER_BYTES);
    memcpy(at, segment_magic, sizeof(segment_magic));
    put_u32(at + 8, LOG_FORMAT_VERSION);
    put_u64(at + 16, header->number);
    put_u64(at + 24, header->salt);
    put_u64(at + 32, header->size);
    memcpy(at + 40, header->folder.incarnation.bytes, sizeof(header->folder.incarnation.bytes));
    put_u32(at + 56, header->folder.worker);
    put_u32(at + 12, segment_crc(at));
}

enum log_header_fault log_format_take_segment(struct slice bytes, struct log_segment_header *ret_header)
{
    if (bytes.size < LOG_SEGMENT_HEADER_BYTES || memcmp(bytes.data, segment_magic, sizeof(segment_magic)) != 0) {
        return LOG_HEADER_MAGIC;
    }
    if (get_u32(bytes.data + 12) != segment_crc(bytes.data)) {
        return LOG_HEADER_CHECKSUM;
    }
    if (get_u32(bytes.data + 8) != LOG_FORMAT_VERSION) {
        return LOG_HEADER_VERSION;
    }
    ret_header->number = get_u64(bytes.data + 16);
    ret_header->salt = get_u64(bytes.data + 24);
    ret_header->size = get_u64(bytes.data + 32);
    memcpy(ret_header->folder.incarnation.bytes, bytes.data + 40, sizeof(ret_header->folder.incarnation.bytes));
    ret_header->folder.worker = get_u32(bytes.data + 56);
    return LOG_HEADER_OK;
}

void log_format_put_block(uint8_t at[LOG_BLOCK_HEADER_BYTES], uint32_t seed, const struct log_block_header *header)
{
    put_u32(at, LOG_BLOCK_MAGIC);
    put_u64(at + 8, header->segment);
    put_u64(at + 16, header->sequence);
    put_u64(at + 24, header->synced);
    put_u64(at + 32, header->previous);
    put_u32(at + 40, header->body_size);
    put_u32(at + 44, header->body_crc);
    put_u32(at + 4, crc32c(seed, at + 8, LOG_BLOCK_HEADER_BYTES - 8));
}

uint32_t log_format_body_crc(struct slice body, uint32_t seed) { return crc32c(seed, body.data, body.size); }

bool log_format_take_block(struct slice bytes, uint32_t seed, uint64_t segment, struct log_block_header *ret_header)
{
    const uint8_t *at = bytes.data;
    if (bytes.size < LOG_BLOCK_HEADER_BYTES || get_u32(at) != LOG_BLOCK_MAGIC || get_u64(at + 8) != segment ||
        get_u32(at + 4) != crc32c(seed, at + 8, LOG_BLOCK_HEADER_BYTES - 8)) {
        return false;
    }
    *ret_header = (struct log_block_header){
        .segment = segment,
        .sequence = get_u64(at + 16),
        .synced = get_u64(at + 24),
        .previous = get_u64(at + 32),
        .body_size = get_u32(at + 40),
        .body_crc = get_u32(at + 44),
    };
    return true;
}

bool log_format_take_body(struct slice bytes, uint32_t seed, const struct log_block_header *header,
                          struct slice *ret_body)
{
    if (header->body_size % LOG_BLOCK_ALIGNMENT != 0 || bytes.size - LOG_BLOCK_HEADER_BYTES < header->body_size) {
        return false;
    }
    *ret_body = slice_of(bytes.data + LOG_BLOCK_HEADER_BYTES, header->body_size);
    return log_format_body_crc(*ret_body, seed) == header->body_crc;
}

size_t log_format_put_record(uint8_t *at, uint32_t seed, const struct log_record *record)
{
    size_t size = LOG_RECORD_HEADER_BYTES + record->payload.size;
    put_u32(at + 4, (uint32_t)record->payload.size);
    put_u32(at + 8, record->group);
    at[12] = record->type;
    at[13] = record->kind;
    put_u16(at + 14, 0);
    put_u64(at + 16, record->a);
    put_u64(at + 24, record->b);
    put_u32(at, crc32c(seed, at + 4, size - 4));
    return size;
}

bool log_format_take_record(struct slice bytes, uint32_t seed, struct log_record *ret_record, size_t *ret_size)
{
    const uint8_t *at = bytes.data;
    if (bytes.size < LOG_RECORD_HEADER_BYTES || bytes.size - LOG_RECORD_HEADER_BYTES < get_u32(at + 4)) {
        return false;
    }
    size_t size = LOG_RECORD_HEADER_BYTES + get_u32(at + 4);
    if (crc32c(seed, at + 4, size - 4) != get_u32(at)) {
        return false;
    }
    *ret_record = (struct log_record){
        .group = get_u32(at + 8),
        .type = at[12],
        .kind = at[13],
        .a = get_u64(at + 16),
        .b = get_u64(at + 24),
        .payload = slice_of(at + LOG_RECORD_HEADER_BYTES, size - LOG_RECORD_HEADER_BYTES),
    };
    *ret_size = size;
    return true;
}

void log_format_name(uint64_t number, char name[LOG_NAME_BYTES])
{
    (void)snprintf(name, LOG_NAME_BYTES, "%016" PRIu64 ".log", number);
}

bool log_format_parse_name(const char *name, uint64_t *ret_number)
{
    uint64_t number = 0;
    for (int i = 0; i < 16; i++) {
        if (name[i] < '0' || name[i] > '9') {
            return false;
        }
        number = number * 10 + (uint64_t)(name[i] - '0');
    }
    if (strcmp(name + 16, ".log") != 0 || number == 0 || number > UINT32_MAX) {
        return false;
    }
    *ret_number = number;
    return true;
}
