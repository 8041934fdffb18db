/* The prefixes that feeds of this worker ask for, each once: which of them does a key begin with?
 *
 * One pass over the key: a hash of the bytes so far is looked up at each length that some prefix has. So a key costs
 * its length, however many prefixes there are. The hash is keyed by a random number: who chooses prefixes cannot aim at
 * one bucket. */
#pragma once

#include "base/list.h"
#include "base/slice.h"

enum { FEED_PREFIX_BYTES = 512 };

struct feed_prefix {
    struct feed_prefix *next; /* in the bucket */
    uint64_t hash;
    void *owner; /* whoever has added it */
    size_t size;
    uint8_t bytes[];
};

struct feed_prefixes {
    struct feed_prefix **buckets;
    size_t bucket_count, count; /* buckets: a power of two, or none */
    uint64_t key;
    uint32_t by_length[FEED_PREFIX_BYTES + 1];
    size_t longest; /* none is longer */
};

/* `key` is a random number. */
void feed_prefixes_init(struct feed_prefixes *prefixes, uint64_t key);
void feed_prefixes_deinit(struct feed_prefixes *prefixes);
/* NULL when it is not there. */
struct feed_prefix *feed_prefixes_find(const struct feed_prefixes *prefixes, struct slice prefix);
/* One that is not there; at most FEED_PREFIX_BYTES. */
struct feed_prefix *feed_prefixes_add(struct feed_prefixes *prefixes, struct slice bytes, void *owner);
void feed_prefixes_remove(struct feed_prefixes *prefixes, struct feed_prefix *prefix);
/* Calls for each that the key begins with, the shortest first; nothing may be added or removed meanwhile. */
void feed_prefixes_match(const struct feed_prefixes *prefixes, struct slice key,
                         void (*match)(void *owner, struct feed_prefix *prefix), void *owner);
/* Calls for each. */
void feed_prefixes_each(const struct feed_prefixes *prefixes, void (*each)(void *owner, struct feed_prefix *prefix),
                        void *owner);
