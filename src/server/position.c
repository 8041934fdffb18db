#include "server/position.h"

#include "base/base64url.h"
#include "base/crc32c.h"
#include "base/memory.h"
#include "base/record.h"

#include <stdlib.h>

enum { VERSION = 1, HEAD_BYTES = 1 + 8, SUM_BYTES = 4 };

#define INDEX_LIMIT (UINT64_MAX / 4) /* as that of consensus */

void position_put(struct buffer *out, uint64_t whose, const uint64_t *indices, uint32_t shards)
{
    size_t start = out->size;
    uint32_t count = 0;
    for (uint32_t i = 0; i < shards; i++) {
        count += indices[i] != 0;
    }
    buffer_append_byte(out, VERSION);
    put_u64(buffer_reserve(out, 8), whose);
    out->size += 8;
    record_put_number(out, shards);
    record_put_number(out, count);
    uint32_t next = 0;
    for (uint32_t i = 0; i < shards; i++) {
        if (indices[i] != 0) {
            record_put_number(out, i - next);
            record_put_number(out, indices[i]);
            next = i + 1;
        }
    }
    uint32_t sum = crc32c(0, out->data + start, out->size - start);
    put_u32(buffer_reserve(out, SUM_BYTES), sum);
    out->size += SUM_BYTES;
    base64url_encode(out, start);
}

/* The shards' part, into all of `indices`. */
static bool take_indices(struct slice rest, uint32_t shards, uint64_t *indices)
{
    uint64_t count;
    uint64_t next = 0;
    if (!record_take_number(&rest, shards, &count)) {
        return false;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t skipped;
        uint64_t index;
        if (!record_take_number(&rest, shards - 1 - next, &skipped) ||
            !record_take_number(&rest, INDEX_LIMIT, &index) || index == 0) {
            return false;
        }
        next += skipped;
        indices[next++] = index;
        if (next == shards && i + 1 < count) {
            return false;
        }
    }
    return rest.size == 0;
}

static enum position_error take(struct slice bytes, uint64_t whose, uint32_t shards, uint64_t *indices)
{
    if (bytes.size < HEAD_BYTES + 2 + SUM_BYTES ||
        crc32c(0, bytes.data, bytes.size - SUM_BYTES) != get_u32(bytes.data + bytes.size - SUM_BYTES)) {
        return POSITION_MALFORMED;
    }
    if (bytes.data[0] != VERSION) {
        return POSITION_NEWER;
    }
    struct slice rest = slice_of(bytes.data + HEAD_BYTES, bytes.size - HEAD_BYTES - SUM_BYTES);
    uint64_t number;
    if (!varint_take(&rest, &number)) {
        return POSITION_MALFORMED;
    }
    if (get_u64(bytes.data + 1) != whose || number != shards) {
        return POSITION_FOREIGN;
    }
    return take_indices(rest, shards, indices) ? POSITION_OK : POSITION_MALFORMED;
}

enum position_error position_take(struct slice text, uint64_t whose, uint32_t shards, uint64_t *ret_indices)
{
    size_t most = HEAD_BYTES + SUM_BYTES + 2 * (1 + (size_t)shards) * VARINT_MAXIMUM_BYTES;
    if (text.size > 2 * most) { /* nobody has so much to say of so few shards */
        return POSITION_MALFORMED;
    }
    struct buffer bytes = {0};
    uint64_t *indices = memory_allocate_zeroed(shards, sizeof(*indices));
    enum position_error error = POSITION_MALFORMED;
    if (base64url_decode(text, &bytes)) {
        error = take(buffer_slice(&bytes), whose, shards, indices);
    }
    for (uint32_t i = 0; i < shards && error == POSITION_OK; i++) {
        ret_indices[i] = indices[i] > ret_indices[i] ? indices[i] : ret_indices[i];
    }
    free(indices);
    buffer_deinit(&bytes);
    return error;
}
