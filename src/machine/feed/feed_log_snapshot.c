/* A history in snapshots, and its digest.
 *
 *   'F' u8 · version u8 · until_ms i64 · limit u64 · floor, last, old, noted: u64, u32 · noted_ms i64    first
 *   'f' u8 · version u8 · whole records, the oldest first                                as many as there are chunks
 *
 * Version 1 of a head ended behind last. */
#include "base/hash.h"
#include "base/record.h"
#include "machine/feed/feed_log_internal.h"
#include "machine/machine_mutation.h"

#include <stdlib.h>

enum { RECORD_VERSION = 2, HEAD_BYTES = 2 + 8 + 8 + 4 * 12 + 8, OLD_HEAD_BYTES = 2 + 8 + 8 + 2 * 12 };

static void put_mark(uint8_t *at, struct feed_mark mark)
{
    put_u64(at, mark.position);
    put_u32(at + 8, mark.sub);
}

static struct feed_mark get_mark(const uint8_t *at) { return (struct feed_mark){get_u64(at), get_u32(at + 8)}; }

static void put_head(const struct feed_log *history, struct buffer *out)
{
    record_put_number(out, HEAD_BYTES);
    uint8_t *at = buffer_reserve(out, HEAD_BYTES);
    at[0] = FEED_RECORD_HEAD;
    at[1] = RECORD_VERSION;
    put_u64(at + 2, (uint64_t)history->until_ms);
    put_u64(at + 10, history->limit_bytes);
    put_mark(at + 18, history->floor);
    put_mark(at + 30, history->last);
    put_mark(at + 42, history->old);
    put_mark(at + 54, history->noted);
    put_u64(at + 66, (uint64_t)history->noted_ms);
    out->size += HEAD_BYTES;
}

void feed_log_snapshot_begin(struct feed_log *history, struct buffer *out)
{
    struct feed_log_sending *sending = &history->sending;
    ASSERT(sending->chunks == NULL && !history->held);
    size_t count = feed_log_chunks(history);
    *sending = (struct feed_log_sending){.count = count, .start = history->start};
    if (history->on) {
        put_head(history, out);
    }
    if (count == 0) {
        return;
    }
    sending->chunks = memory_allocate(count * sizeof(*sending->chunks));
    for (size_t i = 0; i < count; i++) {
        sending->chunks[i] = feed_log_chunk_at(history, i);
        sending->chunks[i]->refs++;
    }
    sending->end = sending->chunks[count - 1]->size;
    if (MACHINE_MUTATED(FEED_SNAPSHOT)) {
        sending->next = count;
    }
}

bool feed_log_snapshot_step(struct feed_log *history, struct buffer *out, size_t budget_bytes)
{
    struct feed_log_sending *sending = &history->sending;
    size_t before = out->size;
    while (sending->next < sending->count && out->size - before < budget_bytes) {
        const struct feed_log_chunk *chunk = sending->chunks[sending->next];
        uint32_t from = sending->next == 0 ? sending->start : 0;
        uint32_t to = sending->next + 1 == sending->count ? sending->end : chunk->size;
        record_put_number(out, 2 + (to - from));
        buffer_append_byte(out, FEED_RECORD_CHUNK);
        buffer_append_byte(out, RECORD_VERSION);
        buffer_append(out, chunk->bytes + from, to - from);
        sending->next++;
    }
    return sending->next < sending->count;
}

void feed_log_snapshot_end(struct feed_log *history)
{
    struct feed_log_sending *sending = &history->sending;
    for (size_t i = 0; i < sending->count; i++) {
        feed_log_chunk_release(sending->chunks[i]);
    }
    free(sending->chunks);
    *sending = (struct feed_log_sending){0};
}

static enum status load_head(struct feed_log *history, struct slice record, uint64_t position)
{
    bool whole = record.data[1] == RECORD_VERSION;
    if (record.size != (whole ? HEAD_BYTES : OLD_HEAD_BYTES) || history->on) {
        return STATUS_CORRUPT;
    }
    int64_t until_ms = (int64_t)get_u64(record.data + 2);
    uint64_t limit = get_u64(record.data + 10);
    struct feed_mark floor = get_mark(record.data + 18);
    struct feed_mark last = get_mark(record.data + 30);
    struct feed_mark old = whole ? get_mark(record.data + 42) : last;
    struct feed_mark noted = whole ? get_mark(record.data + 54) : last;
    int64_t noted_ms = whole ? (int64_t)get_u64(record.data + 66) : 0;
    if (until_ms < 0 || limit < FEED_LIMIT_MINIMUM_BYTES || limit > FEED_LIMIT_MAXIMUM_BYTES || floor.position == 0 ||
        feed_mark_compare(last, floor) < 0 || last.position > position || feed_mark_compare(old, noted) > 0 ||
        feed_mark_compare(noted, last) > 0 || noted_ms < 0) {
        return STATUS_CORRUPT;
    }
    history->on = true;
    history->until_ms = until_ms;
    history->limit_bytes = limit;
    history->floor = history->last = floor;
    history->old = old;
    history->noted = noted;
    history->noted_ms = noted_ms;
    return STATUS_OK;
}

static enum status load_chunk(struct feed_log *history, struct slice records, uint64_t position)
{
    if (!history->on) {
        return STATUS_CORRUPT;
    }
    while (records.size > 0) {
        struct slice rest = records;
        struct feed_change change;
        if (!feed_take(&rest, &change) || feed_mark_compare(change.mark, history->last) <= 0 ||
            change.mark.position > position ||
            history->bytes + (records.size - rest.size) > FEED_BURST * history->limit_bytes) {
            return STATUS_CORRUPT;
        }
        size_t size = records.size - rest.size;
        uint8_t *at = feed_log_room(history, (uint32_t)size);
        memcpy(at, records.data, size);
        feed_log_grown(history, at);
        records = rest;
    }
    return STATUS_OK;
}

enum status feed_log_load(struct feed_log *history, struct slice record, uint64_t position)
{
    if (record.size < 2) {
        return STATUS_CORRUPT;
    }
    if (record.data[1] == 0 || record.data[1] > RECORD_VERSION) {
        return record.data[1] > RECORD_VERSION ? STATUS_VERSION : STATUS_CORRUPT;
    }
    return record.data[0] == FEED_RECORD_HEAD
               ? load_head(history, record, position)
               : load_chunk(history, slice_of(record.data + 2, record.size - 2), position);
}

uint64_t feed_log_digest(const struct feed_log *history)
{
    if (!history->on) {
        return 0;
    }
    struct buffer head = {0};
    put_head(history, &head);
    uint64_t digest = hash_bytes(history->count, head.data, head.size);
    buffer_deinit(&head);
    for (size_t i = 0; i < feed_log_chunks(history); i++) {
        const struct feed_log_chunk *chunk = feed_log_chunk_at(history, i);
        for (uint32_t at = feed_log_chunk_start(history, i); at < chunk->size;) {
            uint32_t size = feed_log_record_size(chunk->bytes + at);
            digest = hash_bytes(digest, chunk->bytes + at, size);
            at += size;
        }
    }
    return digest;
}
