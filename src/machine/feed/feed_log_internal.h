/* The memory of a history, for the files of this folder alone: chunks of whole records, the oldest first. */
#pragma once

#include "base/assert.h"
#include "base/memory.h"
#include "base/varint.h"
#include "machine/feed/feed_log.h"

enum { FEED_CHUNK_BYTES = 32 << 10, FEED_CHUNK_LEAST_BYTES = 1024 };

/* Shared by a history and the snapshot that sends it; bytes that are there never change while two have it. */
struct feed_log_chunk {
    uint32_t refs;
    uint32_t size, capacity;
    uint8_t bytes[];
};

static inline uint32_t feed_log_record_size(const uint8_t *at) { return get_u32(at); }

static inline struct feed_mark feed_log_record_mark(const uint8_t *at)
{
    return (struct feed_mark){get_u64(at + 4), get_u32(at + 12)};
}

static inline size_t feed_log_chunks(const struct feed_log *history) { return history->chunk_count - history->first; }

static inline struct feed_log_chunk *feed_log_chunk_at(const struct feed_log *history, size_t i)
{
    ASSERT(i < feed_log_chunks(history));
    return history->chunks[history->first + i];
}

/* Where the records of a chunk begin that are kept. */
static inline uint32_t feed_log_chunk_start(const struct feed_log *history, size_t i)
{
    return i == 0 ? history->start : 0;
}

void feed_log_chunk_release(struct feed_log_chunk *chunk);
/* Room for a whole record behind the newest; the caller fills it. */
uint8_t *feed_log_room(struct feed_log *history, uint32_t size);
/* A record that stands there is the newest now. */
void feed_log_grown(struct feed_log *history, const uint8_t *record);
