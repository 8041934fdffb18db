#include "machine/feed/feed_log_internal.h"
#include "machine/machine_mutation.h"

#include <stdlib.h>

/* ---- memory ---- */

void feed_log_chunk_release(struct feed_log_chunk *chunk)
{
    ASSERT(chunk->refs > 0);
    if (--chunk->refs == 0) {
        free(chunk);
    }
}

static void drop_all(struct feed_log *history)
{
    for (size_t i = 0; i < feed_log_chunks(history); i++) {
        feed_log_chunk_release(feed_log_chunk_at(history, i));
    }
    free(history->chunks);
    history->chunks = NULL;
    history->first = history->chunk_count = history->chunk_capacity = 0;
    history->start = 0;
    history->bytes = history->count = 0;
}

void feed_log_deinit(struct feed_log *history)
{
    feed_log_snapshot_end(history);
    drop_all(history);
    *history = (struct feed_log){0};
}

static void add_chunk(struct feed_log *history, uint32_t capacity)
{
    if (history->chunk_count == history->chunk_capacity) {
        size_t used = feed_log_chunks(history);
        if (history->first > used) { /* at most as much is moved as was forgotten */
            memmove(history->chunks, history->chunks + history->first, used * sizeof(*history->chunks));
            history->first = 0;
            history->chunk_count = used;
        } else {
            history->chunk_capacity = history->chunk_capacity == 0 ? 8 : history->chunk_capacity * 2;
            history->chunks = memory_resize(history->chunks, history->chunk_capacity * sizeof(*history->chunks));
        }
    }
    struct feed_log_chunk *chunk = memory_allocate(sizeof(*chunk) + capacity);
    *chunk = (struct feed_log_chunk){.refs = 1, .capacity = capacity};
    history->chunks[history->chunk_count++] = chunk;
}

/* A history that is small has small ones: there may be a thousand shards. */
static uint32_t chunk_capacity(const struct feed_log *history)
{
    uint64_t bytes = history->bytes < FEED_CHUNK_LEAST_BYTES ? FEED_CHUNK_LEAST_BYTES : history->bytes;
    return bytes < FEED_CHUNK_BYTES ? (uint32_t)bytes : FEED_CHUNK_BYTES;
}

uint8_t *feed_log_room(struct feed_log *history, uint32_t size)
{
    size_t count = feed_log_chunks(history);
    struct feed_log_chunk *last = count == 0 ? NULL : feed_log_chunk_at(history, count - 1);
    if (last == NULL || last->capacity - last->size < size) {
        uint32_t capacity = chunk_capacity(history);
        add_chunk(history, size > capacity ? size : capacity);
        last = feed_log_chunk_at(history, feed_log_chunks(history) - 1);
    }
    uint8_t *at = last->bytes + last->size;
    last->size += size;
    return at;
}

void feed_log_grown(struct feed_log *history, const uint8_t *record)
{
    struct feed_mark mark = feed_log_record_mark(record);
    ASSERT(feed_mark_compare(mark, history->last) > 0);
    history->last = mark;
    history->bytes += feed_log_record_size(record);
    history->count++;
}

static void forget_oldest(struct feed_log *history)
{
    struct feed_log_chunk *chunk = feed_log_chunk_at(history, 0);
    const uint8_t *record = chunk->bytes + history->start;
    history->floor = feed_log_record_mark(record);
    history->bytes -= feed_log_record_size(record);
    history->count--;
    history->start += feed_log_record_size(record);
    if (history->start == chunk->size) {
        feed_log_chunk_release(chunk);
        history->first++;
        history->start = 0;
    }
}

static bool oldest_is_old(const struct feed_log *history)
{
    const uint8_t *record = feed_log_chunk_at(history, 0)->bytes + history->start;
    return feed_mark_compare(feed_log_record_mark(record), history->old) <= 0;
}

/* Invariant 3. */
static void trim(struct feed_log *history)
{
    if (history->held) {
        return;
    }
    uint64_t most = history->limit_bytes * (MACHINE_MUTATED(FEED_NO_BURST) ? 1 : FEED_BURST);
    while (history->bytes > most || (history->bytes > history->limit_bytes && oldest_is_old(history))) {
        forget_oldest(history);
    }
}

void feed_log_age(struct feed_log *history)
{
    history->old = history->noted;
    history->noted = history->last;
    history->noted_ms = history->time_ms;
    trim(history);
}

/* ---- applying ---- */

static void begin(struct feed_log *history)
{
    history->on = true;
    history->floor = history->last = (struct feed_mark){history->position, 0};
    history->old = history->noted = history->last;
    history->noted_ms = history->until_ms = history->time_ms;
}

static void end(struct feed_log *history)
{
    drop_all(history);
    history->on = false;
    history->floor = history->last = history->old = history->noted = (struct feed_mark){0, 0};
    history->noted_ms = history->until_ms = 0;
    history->limit_bytes = 0;
}

void feed_log_keep(struct feed_log *history, uint64_t limit_bytes, int64_t kept_ms)
{
    ASSERT(!history->held && history->position != 0);
    ASSERT(limit_bytes >= FEED_LIMIT_MINIMUM_BYTES && limit_bytes <= FEED_LIMIT_MAXIMUM_BYTES);
    ASSERT(kept_ms >= 0 && kept_ms <= FEED_KEPT_MAXIMUM_MS);
    if (!history->on) {
        begin(history);
    }
    int64_t until_ms = history->time_ms + kept_ms;
    history->until_ms = until_ms > history->until_ms ? until_ms : history->until_ms;
    history->limit_bytes = limit_bytes;
    trim(history);
}

static bool records(struct feed_log *history)
{
    if (!history->on || history->stale) {
        return false;
    }
    if (history->time_ms > history->until_ms && !history->held) {
        end(history);
        return false;
    }
    return true;
}

/* Where the data of a new record goes. */
static uint8_t *record_begin(struct feed_log *history, enum feed_kind kind, struct slice key, size_t data_size)
{
    ASSERT(history->position != 0);
    size_t size = FEED_HEAD_BYTES + key.size + data_size;
    ASSERT(size <= UINT32_MAX);
    uint8_t *at = feed_log_room(history, (uint32_t)size);
    put_u32(at, (uint32_t)size);
    put_u64(at + 4, history->position);
    put_u32(at + 12, ++history->sub);
    at[16] = (uint8_t)kind;
    put_u32(at + 17, (uint32_t)key.size);
    if (key.size > 0) {
        memcpy(at + FEED_HEAD_BYTES, key.data, key.size);
    }
    feed_log_grown(history, at);
    history->apply_bytes += size;
    history->newest = at;
    return at + FEED_HEAD_BYTES + key.size;
}

/* Invariant 3a: so many limits are enough for what this apply has told, and a record with so much behind its head. */
static bool has_room(const struct feed_log *history, uint64_t limits, size_t size)
{
    return history->apply_bytes + FEED_HEAD_BYTES + size <= limits * history->limit_bytes;
}

static uint8_t *put_bytes(uint8_t *at, struct slice bytes)
{
    if (bytes.size > 0) {
        memcpy(at, bytes.data, bytes.size);
    }
    return at + bytes.size;
}

/* The newest record says already that this key must be read. */
static bool said_reload(const struct feed_log *history, struct slice key)
{
    const uint8_t *at = history->count == 0 ? NULL : history->newest;
    return at != NULL && at[16] == FEED_RELOAD && slice_equal(slice_of(at + FEED_HEAD_BYTES, get_u32(at + 17)), key);
}

/* A record without data: the last resort of what has no room, which has one of its own. */
static void put_key(struct feed_log *history, enum feed_kind kind, struct slice key)
{
    if (kind == FEED_RELOAD && said_reload(history, key)) {
        return;
    }
    if (has_room(history, FEED_APPLY_NAMES, key.size)) {
        (void)record_begin(history, kind, key, 0);
    } else {
        (void)record_begin(history, FEED_STALE, (struct slice){0}, 0);
        history->stale = true;
    }
    trim(history);
}

void feed_log_key(struct feed_log *history, enum feed_kind kind, struct slice key)
{
    if (records(history)) {
        put_key(history, kind, key);
    }
}

/* Where the data of a record with data goes; `told_bytes` of it are of a user. NULL: it is told as RELOAD. */
static uint8_t *record_or_reload(struct feed_log *history, enum feed_kind kind, struct slice key, size_t data_size,
                                 size_t told_bytes)
{
    uint64_t share = history->limit_bytes / 8;
    if (told_bytes <= (share < FEED_VALUE_BYTES ? share : FEED_VALUE_BYTES) &&
        has_room(history, FEED_APPLY_FULL, key.size + data_size)) {
        return record_begin(history, kind, key, data_size);
    }
    put_key(history, FEED_RELOAD, key);
    return NULL;
}

void feed_log_set(struct feed_log *history, struct slice key, struct slice value)
{
    uint8_t *at = records(history) ? record_or_reload(history, FEED_SET, key, value.size, value.size) : NULL;
    if (at != NULL) {
        (void)put_bytes(at, value);
        trim(history);
    }
}

void feed_log_field(struct feed_log *history, struct slice key, struct slice name, struct slice value)
{
    size_t told_bytes = name.size + value.size;
    uint8_t *at =
        records(history) ? record_or_reload(history, FEED_HSET, key, sizeof(uint32_t) + told_bytes, told_bytes) : NULL;
    if (at != NULL) {
        put_u32(at, (uint32_t)name.size);
        (void)put_bytes(put_bytes(at + sizeof(uint32_t), name), value);
        trim(history);
    }
}

void feed_log_field_gone(struct feed_log *history, struct slice key, struct slice name)
{
    uint8_t *at = records(history) ? record_or_reload(history, FEED_HDEL, key, name.size, name.size) : NULL;
    if (at != NULL) {
        (void)put_bytes(at, name);
        trim(history);
    }
}

void feed_log_expire(struct feed_log *history, struct slice key, int64_t due_ms)
{
    uint8_t *at = records(history) ? record_or_reload(history, FEED_EXPIRE, key, sizeof(due_ms), 0) : NULL;
    if (at != NULL) {
        put_u64(at, (uint64_t)due_ms);
        trim(history);
    }
}

void feed_log_hold(struct feed_log *history)
{
    ASSERT(!history->held);
    if (!history->on) {
        return;
    }
    size_t count = feed_log_chunks(history);
    history->held = true;
    history->before = (struct feed_log_held){
        .last = history->last,
        .bytes = history->bytes,
        .count = history->count,
        .chunks = count,
        .size = count == 0 ? 0 : feed_log_chunk_at(history, count - 1)->size,
        .sub = history->sub,
        .apply_bytes = history->apply_bytes,
        .stale = history->stale,
    };
}

/* Of this apply alone: whatever a snapshot sends was there before it. */
static void take_back(struct feed_log *history)
{
    const struct feed_log_held *before = &history->before;
    while (feed_log_chunks(history) > before->chunks) {
        feed_log_chunk_release(history->chunks[--history->chunk_count]);
    }
    if (before->chunks > 0) {
        feed_log_chunk_at(history, before->chunks - 1)->size = before->size;
    }
    history->last = before->last;
    history->bytes = before->bytes;
    history->count = before->count;
    history->sub = before->sub;
    history->apply_bytes = before->apply_bytes;
    history->stale = before->stale;
    history->newest = NULL;
}

void feed_log_release(struct feed_log *history, bool undo)
{
    if (history->held && undo && !MACHINE_MUTATED(FEED_UNDONE)) {
        take_back(history);
    }
    history->held = false;
    trim(history);
}
