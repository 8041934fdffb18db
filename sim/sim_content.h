/* The bytes of one file, as reads see them and as the disk has them.
 *
 * Invariant: `disk` with all of `changes` applied in order is `cache`, unless a sync has failed (then the cache may
 * hold bytes that no change will bring to the disk). */
#pragma once

#include "base/buffer.h"
#include "base/prng.h"

struct sim_change {
    uint64_t offset; /* of a write; the new size of a truncation */
    uint8_t *data;   /* owned; NULL for a truncation */
    size_t size;
};

struct sim_content {
    struct buffer cache;
    struct buffer disk;
    struct sim_change *changes; /* since the last sync, in order */
    size_t count, capacity;
};

void sim_content_init(struct sim_content *content);
void sim_content_deinit(struct sim_content *content);
void sim_content_write(struct sim_content *content, uint64_t offset, const void *data, size_t size);
void sim_content_truncate(struct sim_content *content, uint64_t size);
/* All changes reach the disk. */
void sim_content_sync(struct sim_content *content);
/* Any legal part of the changes reaches the disk, drawn from prng; the rest never will. The cache stays. */
void sim_content_settle(struct sim_content *content, struct prng *prng, size_t sector_bytes);
/* What reads see is what the disk has. */
void sim_content_reload(struct sim_content *content);
