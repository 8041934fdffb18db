#include "server/feed_position.h"

#include "base/base64url.h"
#include "base/crc32c.h"
#include "base/record.h"

enum { POSITION_VERSION = 1, PLACE_BITS = 16, MARK_BYTES = 3 * VARINT_MAXIMUM_BYTES };

void feed_position_put(struct buffer *out, uint64_t whose, const struct feed_mark *marks, uint32_t shards)
{
    size_t start = out->size;
    /* Twice, and half as much again for the text. */
    (void)buffer_reserve(out, 3 * (1 + 8 + VARINT_MAXIMUM_BYTES + 4 + shards * (size_t)MARK_BYTES));
    buffer_append_byte(out, POSITION_VERSION);
    put_u64(buffer_reserve(out, 8), whose);
    out->size += 8;
    record_put_number(out, shards);
    for (uint32_t i = 0; i < shards; i++) {
        record_put_number(out, marks[i].position >> PLACE_BITS);
        record_put_number(out, marks[i].position & ((1U << PLACE_BITS) - 1));
        record_put_number(out, marks[i].sub);
    }
    uint32_t sum = crc32c(0, out->data + start, out->size - start);
    put_u32(buffer_reserve(out, 4), sum);
    out->size += 4;
    base64url_encode(out, start);
}

static bool take_mark(struct slice *from, struct feed_mark *ret_mark)
{
    uint64_t index;
    uint64_t place;
    uint64_t sub;
    if (!varint_take(from, &index) || !varint_take(from, &place) || !varint_take(from, &sub) ||
        index >= UINT64_C(1) << (63 - PLACE_BITS) || place >= 1U << PLACE_BITS || sub > UINT32_MAX) {
        return false;
    }
    *ret_mark = (struct feed_mark){index << PLACE_BITS | place, (uint32_t)sub};
    return true;
}

static enum feed_position_error take(struct slice bytes, uint32_t shards, uint64_t *ret_whose,
                                     struct feed_mark *ret_marks)
{
    if (bytes.size < 1 + 8 + 1 + 4 || crc32c(0, bytes.data, bytes.size - 4) != get_u32(bytes.data + bytes.size - 4)) {
        return FEED_POSITION_MALFORMED;
    }
    if (bytes.data[0] != POSITION_VERSION) {
        return FEED_POSITION_VERSION;
    }
    *ret_whose = get_u64(bytes.data + 1);
    struct slice rest = slice_of(bytes.data + 9, bytes.size - 9 - 4);
    uint64_t count;
    if (!varint_take(&rest, &count)) {
        return FEED_POSITION_MALFORMED;
    }
    if (count != shards) {
        return FEED_POSITION_SHARDS;
    }
    for (uint32_t i = 0; i < shards; i++) {
        if (!take_mark(&rest, &ret_marks[i])) {
            return FEED_POSITION_MALFORMED;
        }
    }
    return rest.size == 0 ? FEED_POSITION_OK : FEED_POSITION_MALFORMED;
}

enum feed_position_error feed_position_take(struct slice text, uint32_t shards, uint64_t *ret_whose,
                                            struct feed_mark *ret_marks)
{
    size_t most = 1 + 8 + VARINT_MAXIMUM_BYTES + 4 + shards * (size_t)MARK_BYTES;
    if (text.size > 4 * most) { /* nothing that long is remembered of a cluster with so few shards */
        return FEED_POSITION_SHARDS;
    }
    struct buffer bytes = {0};
    enum feed_position_error error = FEED_POSITION_MALFORMED;
    if (base64url_decode(text, &bytes)) {
        error = take(buffer_slice(&bytes), shards, ret_whose, ret_marks);
    }
    buffer_deinit(&bytes);
    return error;
}
