#include "server/feed_prefixes.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

enum { BUCKETS_LEAST = 16 };

/* One byte more: a multiplication whose halves are folded (W. Yi's wyhash does so with words). */
static inline uint64_t hash_more(uint64_t hash, uint8_t byte)
{
    __uint128_t product = (__uint128_t)(hash ^ (byte + UINT64_C(0x9e3779b97f4a7c15))) * UINT64_C(0xd6e8feb86659fd93);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_of(const struct feed_prefixes *prefixes, struct slice bytes)
{
    uint64_t hash = prefixes->key;
    for (size_t i = 0; i < bytes.size; i++) {
        hash = hash_more(hash, bytes.data[i]);
    }
    return hash;
}

void feed_prefixes_init(struct feed_prefixes *prefixes, uint64_t key)
{
    *prefixes = (struct feed_prefixes){.key = key};
}

void feed_prefixes_deinit(struct feed_prefixes *prefixes)
{
    ASSERT(prefixes->count == 0);
    free(prefixes->buckets);
    prefixes->buckets = NULL;
}

static struct feed_prefix **bucket_of(const struct feed_prefixes *prefixes, uint64_t hash)
{
    return &prefixes->buckets[hash & (prefixes->bucket_count - 1)];
}

static struct feed_prefix *look_up(const struct feed_prefixes *prefixes, uint64_t hash, struct slice bytes)
{
    struct feed_prefix *prefix = prefixes->count == 0 ? NULL : *bucket_of(prefixes, hash);
    while (prefix != NULL && (prefix->hash != hash || !slice_equal(slice_of(prefix->bytes, prefix->size), bytes))) {
        prefix = prefix->next;
    }
    return prefix;
}

struct feed_prefix *feed_prefixes_find(const struct feed_prefixes *prefixes, struct slice prefix)
{
    return look_up(prefixes, hash_of(prefixes, prefix), prefix);
}

static void grow(struct feed_prefixes *prefixes)
{
    struct feed_prefix **old = prefixes->buckets;
    size_t old_count = prefixes->bucket_count;
    prefixes->bucket_count = old_count == 0 ? BUCKETS_LEAST : old_count * 2;
    prefixes->buckets = memory_allocate_zeroed(prefixes->bucket_count, sizeof(*prefixes->buckets));
    for (size_t i = 0; i < old_count; i++) {
        while (old[i] != NULL) {
            struct feed_prefix *prefix = old[i];
            old[i] = prefix->next;
            struct feed_prefix **bucket = bucket_of(prefixes, prefix->hash);
            prefix->next = *bucket;
            *bucket = prefix;
        }
    }
    free(old);
}

struct feed_prefix *feed_prefixes_add(struct feed_prefixes *prefixes, struct slice bytes, void *owner)
{
    ASSERT(bytes.size <= FEED_PREFIX_BYTES);
    if (prefixes->count == prefixes->bucket_count) {
        grow(prefixes);
    }
    uint64_t hash = hash_of(prefixes, bytes);
    struct feed_prefix **bucket = bucket_of(prefixes, hash);
    struct feed_prefix *prefix = memory_allocate(sizeof(*prefix) + bytes.size);
    *prefix = (struct feed_prefix){.next = *bucket, .hash = hash, .owner = owner, .size = bytes.size};
    if (bytes.size > 0) {
        memcpy(prefix->bytes, bytes.data, bytes.size);
    }
    *bucket = prefix;
    prefixes->count++;
    prefixes->by_length[bytes.size]++;
    prefixes->longest = bytes.size > prefixes->longest ? bytes.size : prefixes->longest;
    return prefix;
}

void feed_prefixes_remove(struct feed_prefixes *prefixes, struct feed_prefix *prefix)
{
    struct feed_prefix **at = bucket_of(prefixes, prefix->hash);
    while (*at != prefix) {
        at = &(*at)->next;
    }
    *at = prefix->next;
    prefixes->count--;
    prefixes->by_length[prefix->size]--;
    while (prefixes->longest > 0 && prefixes->by_length[prefixes->longest] == 0) {
        prefixes->longest--;
    }
    free(prefix);
}

void feed_prefixes_match(const struct feed_prefixes *prefixes, struct slice key,
                         void (*match)(void *owner, struct feed_prefix *prefix), void *owner)
{
    uint64_t hash = prefixes->key;
    for (size_t size = 0; size <= prefixes->longest; size++) {
        struct feed_prefix *prefix =
            prefixes->by_length[size] == 0 ? NULL : look_up(prefixes, hash, slice_of(key.data, size));
        if (prefix != NULL) {
            match(owner, prefix);
        }
        if (size == key.size) {
            return;
        }
        hash = hash_more(hash, key.data[size]);
    }
}

void feed_prefixes_each(const struct feed_prefixes *prefixes, void (*each)(void *owner, struct feed_prefix *prefix),
                        void *owner)
{
    for (size_t i = 0; i < prefixes->bucket_count; i++) {
        for (struct feed_prefix *prefix = prefixes->buckets[i]; prefix != NULL; prefix = prefix->next) {
            each(owner, prefix);
        }
    }
}
