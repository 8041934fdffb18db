/* Reading a history: from a mark on. */
#include "machine/feed/feed_log_internal.h"

/* The first mark of a chunk, of the records that are kept. */
static struct feed_mark first_mark(const struct feed_log *history, size_t chunk)
{
    return feed_log_record_mark(feed_log_chunk_at(history, chunk)->bytes + feed_log_chunk_start(history, chunk));
}

/* The last chunk whose first record is not behind the mark; 0 when there is none. */
static size_t find_chunk(const struct feed_log *history, struct feed_mark mark)
{
    size_t low = 0;
    size_t high = feed_log_chunks(history);
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (feed_mark_compare(first_mark(history, middle), mark) <= 0) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

enum feed_look feed_log_find(const struct feed_log *history, struct feed_mark mark)
{
    if (!history->on || feed_mark_compare(mark, history->floor) < 0) {
        return FEED_GONE;
    }
    int to_last = feed_mark_compare(mark, history->last);
    if (to_last == 0 || feed_mark_compare(mark, history->floor) == 0) {
        return FEED_HERE;
    }
    if (to_last > 0) {
        return FEED_UNKNOWN;
    }
    size_t i = find_chunk(history, mark);
    const struct feed_log_chunk *chunk = feed_log_chunk_at(history, i);
    for (uint32_t at = feed_log_chunk_start(history, i); at < chunk->size;
         at += feed_log_record_size(chunk->bytes + at)) {
        if (feed_mark_compare(feed_log_record_mark(chunk->bytes + at), mark) == 0) {
            return FEED_HERE;
        }
    }
    return FEED_UNKNOWN;
}

void feed_log_read(const struct feed_log *history, struct feed_mark *mark, size_t most_bytes, struct buffer *out)
{
    if (feed_mark_compare(*mark, history->last) >= 0) {
        return;
    }
    size_t taken = 0;
    for (size_t i = find_chunk(history, *mark); i < feed_log_chunks(history); i++) {
        const struct feed_log_chunk *chunk = feed_log_chunk_at(history, i);
        uint32_t at = feed_log_chunk_start(history, i);
        while (at < chunk->size && feed_mark_compare(feed_log_record_mark(chunk->bytes + at), *mark) <= 0) {
            at += feed_log_record_size(chunk->bytes + at);
        }
        uint32_t from = at;
        bool full = false;
        while (at < chunk->size && !full) {
            uint32_t size = feed_log_record_size(chunk->bytes + at);
            full = taken != 0 && taken + size > most_bytes;
            if (!full) {
                taken += size;
                *mark = feed_log_record_mark(chunk->bytes + at);
                at += size;
            }
        }
        buffer_append(out, chunk->bytes + from, at - from);
        if (full) {
            return;
        }
    }
}

static bool take_data(struct slice data, struct feed_change *change)
{
    switch (change->kind) {
    case FEED_SET: change->value = data; return true;
    case FEED_HDEL: change->field = data; return true;
    case FEED_HSET: {
        uint32_t size = data.size < sizeof(size) ? UINT32_MAX : get_u32(data.data);
        if (size > data.size - sizeof(size) || data.size < sizeof(size)) {
            return false;
        }
        change->field = slice_of(data.data + sizeof(size), size);
        change->value = slice_of(change->field.data + size, data.size - sizeof(size) - size);
        return true;
    }
    case FEED_EXPIRE:
        change->due_ms = data.size == sizeof(int64_t) ? (int64_t)get_u64(data.data) : 0;
        return data.size == sizeof(int64_t);
    default: return data.size == 0;
    }
}

bool feed_take(struct slice *from, struct feed_change *ret_change)
{
    if (from->size < FEED_HEAD_BYTES) {
        return false;
    }
    const uint8_t *at = from->data;
    uint32_t size = feed_log_record_size(at);
    uint32_t key_size = get_u32(at + 17);
    if (size > from->size || size < FEED_HEAD_BYTES || key_size > size - FEED_HEAD_BYTES || at[16] >= FEED_KINDS ||
        get_u32(at + 12) == 0) {
        return false;
    }
    struct feed_change change = {
        .mark = feed_log_record_mark(at),
        .kind = at[16],
        .key = slice_of(at + FEED_HEAD_BYTES, key_size),
    };
    if (!take_data(slice_of(at + FEED_HEAD_BYTES + key_size, size - FEED_HEAD_BYTES - key_size), &change)) {
        return false;
    }
    *from = slice_of(at + size, from->size - size);
    *ret_change = change;
    return true;
}
