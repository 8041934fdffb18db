#include "wire/frame.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/varint.h"

enum { TYPE_AT = 4, FLAGS_AT = 5, CHECK_AT = 6, CHECKSUM_AT = 8 };

static uint16_t header_check(const uint8_t *header) { return (uint16_t)crc32c(0, header, CHECK_AT); }

static uint32_t checksum(const uint8_t *header, struct slice payload)
{
    return crc32c(crc32c(0, header, CHECKSUM_AT), payload.data, payload.size);
}

size_t frame_begin(struct buffer *out)
{
    size_t at = out->size;
    (void)buffer_reserve(out, FRAME_HEADER_BYTES);
    out->size += FRAME_HEADER_BYTES;
    return at;
}

void frame_end(struct buffer *out, size_t at, uint8_t type)
{
    ASSERT(out->size >= at + FRAME_HEADER_BYTES);
    uint8_t *header = out->data + at;
    struct slice payload = slice_of(header + FRAME_HEADER_BYTES, out->size - at - FRAME_HEADER_BYTES);
    ASSERT(payload.size <= UINT32_MAX);
    put_u32(header, (uint32_t)payload.size);
    header[TYPE_AT] = type;
    header[FLAGS_AT] = 0;
    put_u16(header + CHECK_AT, header_check(header));
    put_u32(header + CHECKSUM_AT, checksum(header, payload));
}

enum status frame_decode(struct slice bytes, size_t limit_bytes, struct frame *ret_frame, size_t *ret_missing)
{
    if (bytes.size < FRAME_HEADER_BYTES) {
        *ret_missing = FRAME_HEADER_BYTES - bytes.size;
        return STATUS_AGAIN;
    }
    const uint8_t *header = bytes.data;
    if (get_u16(header + CHECK_AT) != header_check(header)) {
        return STATUS_INVALID;
    }
    if (header[FLAGS_AT] != 0) {
        return STATUS_VERSION;
    }
    size_t size = get_u32(header);
    if (size > limit_bytes) {
        return STATUS_TOO_LARGE;
    }
    if (bytes.size - FRAME_HEADER_BYTES < size) {
        *ret_missing = size - (bytes.size - FRAME_HEADER_BYTES);
        return STATUS_AGAIN;
    }
    struct slice payload = slice_of(header + FRAME_HEADER_BYTES, size);
    if (get_u32(header + CHECKSUM_AT) != checksum(header, payload)) {
        return STATUS_CORRUPT;
    }
    *ret_frame = (struct frame){.type = header[TYPE_AT], .payload = payload, .size = FRAME_HEADER_BYTES + size};
    return STATUS_OK;
}

size_t frame_size(const uint8_t *at) { return FRAME_HEADER_BYTES + (size_t)get_u32(at); }
