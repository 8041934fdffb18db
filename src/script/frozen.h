/* The part of the region that short runs leave as it is: libraries, their tables and texts. A run that follows a short
 * one needs only the rest of its image (chunks.h) copied.
 *
 * Invariants
 * 1. Blocks of the engine that was made ready are never given out again, so what a run allocates lies behind them.
 *    Among them a run without the collector writes to those of `ranges` alone: engine and state, stacks, buckets of
 *    texts, the buffers of concatenation and of cjson, and the tables that get KEYS,
 *    ARGV, the script, and numbers of objects. What
 *    tables know of the methods that they lack is found out before.
 * 2. The collector, or more buckets, touch everything, and so may a write to a table of the sandbox, before it is
 *    refused. A run is short if it ended by itself, tried no such thing, allocated too little to wake the collector,
 * and left as many buckets.
 * 3. `laid` is a promise about the region. With script_place.verify each copy is compared with the whole image. */
#pragma once

#include "script/engine.h"

struct frozen_range {
    size_t from, size;
};

enum { FROZEN_RANGES = 13 };

struct frozen {
    size_t size;                               /* from the region's start */
    struct frozen_range ranges[FROZEN_RANGES]; /* of it what a run writes to, in order */
    uint32_t count;
    int buckets;        /* of texts, while it was laid */
    uint8_t *reference; /* what the region has there, outside of the ranges, when it is laid; NULL: not known yet */
    bool laid;
};

/* Of an engine that is ready. Its free blocks are lost. */
struct frozen *frozen_create(struct script_engine *engine);
void frozen_destroy(struct frozen *frozen);

/* Whether this image, which the region has right now, has the common frozen part; the first one makes it. */
bool frozen_adopt(struct frozen *frozen, const struct script_engine *engine, struct slice image);

/* Copies the image into the region. `common`: as frozen_adopt has told of it. */
void frozen_lay(struct frozen *frozen, struct script_engine *engine, struct slice image, bool common);
