/* A hash table that never pauses: linear hashing (W. Litwin, VLDB 1980) over buckets of one cache line.
 *
 * Growing splits one bucket per insertion, shrinking joins one per removal; no call moves more than one bucket's items
 * or copies more than one segment (16 KiB) of buckets, apart from the directory (8 bytes per 1280 items).
 *
 * Invariants
 * 1. With k = bits, an item with hash h is in bucket h mod 2^k when that bucket exists, else in h mod 2^(k-1). So each
 *    bucket holds one interval of *positions*, where position(h) is h with its bits reversed; splitting halves the
 *    interval. Walks go in order of position: a cursor means the same whatever was split or joined in between.
 * 2. A bucket is a chain of lines of seven words and a pointer to the next line; items fill words from the front, and
 *    only a first line may be empty.
 * 3. A word is 48 bits of the item's address below 16 bits of its hash (the tag), taken from bit (depth & ~7) up, where
 *    depth is the number of hash bits which the bucket's items share. A split reads the bit it needs from the tag, and
 *    touches the items themselves only at every eighth doubling.
 * 4. 2 <= items per bucket <= 5 on average, except for small tables and while removals catch up.
 *
 * Items are the caller's. Each begins with struct table_item, and its key's bytes are at key_offset. */
#pragma once

#include "base/slice.h"

enum { TABLE_WORDS = 7, TABLE_SEGMENT_BUCKETS = 256, TABLE_GROW_LOAD = 5, TABLE_SHRINK_LOAD = 2 };

struct table_item {
    uint32_t key_size;
};

struct table_bucket {
    uint64_t words[TABLE_WORDS];
    struct table_bucket *next;
};

struct table {
    struct table_bucket **segments; /* each of TABLE_SEGMENT_BUCKETS; a first one alone may be smaller */
    uint64_t mask;                  /* 2^bits - 1 */
    uint64_t buckets;               /* in use: 2^(bits-1) < buckets <= 2^bits; 0 before the first insertion */
    uint64_t count;                 /* of items */
    uint64_t seed;
    uint32_t segments_capacity;
    uint16_t first_capacity; /* buckets that fit the first segment */
    uint8_t bits;
    uint8_t key_offset;
};

void table_init(struct table *table, uint64_t seed, size_t key_offset);

uint64_t table_hash(const struct table *table, struct slice key);

/* The item with this key, or NULL; `hash` is the key's table_hash. */
void *table_find(const struct table *table, uint64_t hash, struct slice key);
/* Start loading what a table_find will need: first the bucket, then, when it has come, the item. */
void table_prefetch_bucket(const struct table *table, uint64_t hash);
void table_prefetch_item(const struct table *table, uint64_t hash);
/* Adds an item whose key is not in the table. */
void table_insert(struct table *table, uint64_t hash, void *item);
/* Takes out an item that is in the table. */
void table_remove(struct table *table, uint64_t hash, const void *item);
/* Notes that an item which is in the table has a new address. */
void table_moved(struct table *table, uint64_t hash, const void *from, void *to);

/* One step of a walk: calls for each item of one bucket at or after the cursor. Returns the next cursor. The walk
 * starts with 0 and is over when 0 comes back. Cursors are bit-reversed positions: small numbers while the table is
 * small. */
uint64_t table_walk(const struct table *table, uint64_t cursor, void (*each)(void *owner, void *item), void *owner);

static inline uint64_t table_position(uint64_t hash)
{
    hash = ((hash >> 1) & 0x5555555555555555ULL) | ((hash & 0x5555555555555555ULL) << 1);
    hash = ((hash >> 2) & 0x3333333333333333ULL) | ((hash & 0x3333333333333333ULL) << 2);
    hash = ((hash >> 4) & 0x0f0f0f0f0f0f0f0fULL) | ((hash & 0x0f0f0f0f0f0f0f0fULL) << 4);
    return __builtin_bswap64(hash);
}

/* True when a walk that is about to continue at this cursor has passed the item with this hash. */
static inline bool table_walked(uint64_t cursor, uint64_t hash)
{
    return table_position(hash) < table_position(cursor);
}

/* An item chosen by `random`, nearly uniformly, in constant expected time; NULL when the table is empty. */
void *table_random(const struct table *table, uint64_t random);

/* Gives back up to `buckets` buckets, and by `release` their items; true while some are left. Nothing else may be done
 * with the table from the first such call on. */
bool table_release(struct table *table, size_t buckets, void (*release)(void *owner, void *item), void *owner);
