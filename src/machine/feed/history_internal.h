/* The memory of a history, for the files of this folder alone: chunks of whole records, the oldest first. */
#pragma once

#include "base/assert.h"
#include "base/memory.h"
#include "base/varint.h"
#include "machine/feed/history.h"

enum { HISTORY_CHUNK_BYTES = 32 << 10 };

/* Shared by a history and the snapshot that sends it; bytes that are there never change while two have it. */
struct history_chunk {
    uint32_t refs;
    uint32_t size, capacity;
    uint8_t bytes[];
};

static inline uint32_t history_record_size(const uint8_t *at) { return get_u32(at); }

static inline struct history_mark history_record_mark(const uint8_t *at)
{
    return (struct history_mark){get_u64(at + 4), get_u32(at + 12)};
}

static inline size_t history_chunks(const struct history *history) { return history->chunk_count - history->first; }

static inline struct history_chunk *history_chunk_at(const struct history *history, size_t i)
{
    ASSERT(i < history_chunks(history));
    return history->chunks[history->first + i];
}

/* Where the records of a chunk begin that are kept. */
static inline uint32_t history_chunk_start(const struct history *history, size_t i)
{
    return i == 0 ? history->start : 0;
}

void history_chunk_release(struct history_chunk *chunk);
/* Room for a whole record behind the newest; the caller fills it. */
uint8_t *history_room(struct history *history, uint32_t size);
/* A record that stands there is the newest now. */
void history_grown(struct history *history, const uint8_t *record);
