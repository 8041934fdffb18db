/* Reading a history: from a mark on. */
#include "machine/feed/history_internal.h"

/* The first mark of a chunk, of the records that are kept. */
static struct history_mark first_mark(const struct history *history, size_t chunk)
{
    return history_record_mark(history_chunk_at(history, chunk)->bytes + history_chunk_start(history, chunk));
}

/* The last chunk whose first record is not behind the mark; 0 when there is none. */
static size_t find_chunk(const struct history *history, struct history_mark mark)
{
    size_t low = 0;
    size_t high = history_chunks(history);
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (history_mark_compare(first_mark(history, middle), mark) <= 0) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

enum history_look history_find(const struct history *history, struct history_mark mark)
{
    if (!history->on || history_mark_compare(mark, history->floor) < 0) {
        return HISTORY_GONE;
    }
    int to_last = history_mark_compare(mark, history->last);
    if (to_last == 0 || history_mark_compare(mark, history->floor) == 0) {
        return HISTORY_HERE;
    }
    if (to_last > 0) {
        return HISTORY_UNKNOWN;
    }
    size_t i = find_chunk(history, mark);
    const struct history_chunk *chunk = history_chunk_at(history, i);
    for (uint32_t at = history_chunk_start(history, i); at < chunk->size;
         at += history_record_size(chunk->bytes + at)) {
        if (history_mark_compare(history_record_mark(chunk->bytes + at), mark) == 0) {
            return HISTORY_HERE;
        }
    }
    return HISTORY_UNKNOWN;
}

void history_read(const struct history *history, struct history_mark *mark, size_t most_bytes, struct buffer *out)
{
    if (history_mark_compare(*mark, history->last) >= 0) {
        return;
    }
    size_t taken = 0;
    for (size_t i = find_chunk(history, *mark); i < history_chunks(history); i++) {
        const struct history_chunk *chunk = history_chunk_at(history, i);
        uint32_t at = history_chunk_start(history, i);
        while (at < chunk->size && history_mark_compare(history_record_mark(chunk->bytes + at), *mark) <= 0) {
            at += history_record_size(chunk->bytes + at);
        }
        uint32_t from = at;
        bool full = false;
        while (at < chunk->size && !full) {
            uint32_t size = history_record_size(chunk->bytes + at);
            full = taken != 0 && taken + size > most_bytes;
            if (!full) {
                taken += size;
                *mark = history_record_mark(chunk->bytes + at);
                at += size;
            }
        }
        buffer_append(out, chunk->bytes + from, at - from);
        if (full) {
            return;
        }
    }
}

static bool take_data(struct slice data, struct history_change *change)
{
    switch (change->kind) {
    case HISTORY_SET: change->value = data; return true;
    case HISTORY_HDEL: change->field = data; return true;
    case HISTORY_HSET: {
        uint32_t size = data.size < sizeof(size) ? UINT32_MAX : get_u32(data.data);
        if (size > data.size - sizeof(size) || data.size < sizeof(size)) {
            return false;
        }
        change->field = slice_of(data.data + sizeof(size), size);
        change->value = slice_of(change->field.data + size, data.size - sizeof(size) - size);
        return true;
    }
    case HISTORY_EXPIRE:
        change->due_ms = data.size == sizeof(int64_t) ? (int64_t)get_u64(data.data) : 0;
        return data.size == sizeof(int64_t);
    default: return data.size == 0;
    }
}

bool history_take(struct slice *from, struct history_change *ret_change)
{
    if (from->size < HISTORY_HEAD_BYTES) {
        return false;
    }
    const uint8_t *at = from->data;
    uint32_t size = history_record_size(at);
    uint32_t key_size = get_u32(at + 17);
    if (size > from->size || size < HISTORY_HEAD_BYTES || key_size > size - HISTORY_HEAD_BYTES ||
        at[16] >= HISTORY_KINDS || get_u32(at + 12) == 0) {
        return false;
    }
    struct history_change change = {
        .mark = history_record_mark(at),
        .kind = at[16],
        .key = slice_of(at + HISTORY_HEAD_BYTES, key_size),
    };
    if (!take_data(slice_of(at + HISTORY_HEAD_BYTES + key_size, size - HISTORY_HEAD_BYTES - key_size), &change)) {
        return false;
    }
    *from = slice_of(at + size, from->size - size);
    *ret_change = change;
    return true;
}
