#include "machine/keys/table.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/prng.h"

#include <stdlib.h>

enum { TAG_SHIFT = 48, FIRST_BUCKETS = 4, RANDOM_TRIES = 64, RANDOM_WORDS = 16 };

static const uint64_t ADDRESS_MASK = (1ULL << TAG_SHIFT) - 1;

static void *word_item(uint64_t word) { return (void *)(uintptr_t)(word & ADDRESS_MASK); }

static uint64_t word_of(const void *item, uint64_t tag)
{
    ASSERT(((uintptr_t)item & ~ADDRESS_MASK) == 0);
    return (tag << TAG_SHIFT) | (uintptr_t)item;
}

static struct slice item_key(const struct table *table, const void *item)
{
    return (struct slice){(const uint8_t *)item + table->key_offset, ((const struct table_item *)item)->key_size};
}

static uint64_t item_hash(const struct table *table, const void *item)
{
    return table_hash(table, item_key(table, item));
}

static struct table_bucket *bucket_at(const struct table *table, uint64_t index)
{
    return &table->segments[index / TABLE_SEGMENT_BUCKETS][index % TABLE_SEGMENT_BUCKETS];
}

static uint64_t bucket_index(const struct table *table, uint64_t hash)
{
    uint64_t index = hash & table->mask;
    return index < table->buckets ? index : hash & (table->mask >> 1);
}

/* How many hash bits the items of the bucket share. */
static unsigned bucket_depth(const struct table *table, uint64_t index)
{
    uint64_t half = (table->mask + 1) / 2;
    return table->bits - (index < half && index + half >= table->buckets);
}

static uint64_t tag_at(uint64_t hash, unsigned depth) { return (hash >> (depth & ~7U)) & 0xffff; }

void table_init(struct table *table, uint64_t seed, size_t key_offset)
{
    ASSERT(key_offset >= sizeof(struct table_item) && key_offset <= UINT8_MAX);
    *table = (struct table){.seed = seed, .key_offset = (uint8_t)key_offset};
}

uint64_t table_hash(const struct table *table, struct slice key) { return hash_bytes(table->seed, key.data, key.size); }

void *table_find(const struct table *table, uint64_t hash, struct slice key)
{
    if (table->count == 0) {
        return NULL;
    }
    uint64_t index = bucket_index(table, hash);
    uint64_t wanted = tag_at(hash, bucket_depth(table, index)) << TAG_SHIFT;
    const struct table_bucket *bucket = bucket_at(table, index);
    do {
        for (unsigned i = 0; i < TABLE_WORDS; i++) {
            uint64_t address = bucket->words[i] ^ wanted; /* the address alone when the tags are equal */
            if (address <= ADDRESS_MASK && address != 0) {
                const struct table_item *item = (const void *)(uintptr_t)address;
                __builtin_prefetch((const char *)item + sizeof(*bucket)); /* the value, most likely */
                if (slice_equal(item_key(table, item), key)) {
                    return (void *)(uintptr_t)address;
                }
            }
        }
        bucket = bucket->next;
    } while (bucket != NULL);
    return NULL;
}

void table_prefetch_bucket(const struct table *table, uint64_t hash)
{
    if (table->count != 0) {
        __builtin_prefetch(bucket_at(table, bucket_index(table, hash)));
    }
}

static void item_prefetch(const struct table *table, const void *item)
{
    enum { LINE = sizeof(struct table_bucket) };
    __builtin_prefetch(item);
    __builtin_prefetch((const char *)item + LINE);
    if (table->key_offset >= 2 * LINE) {
        __builtin_prefetch((const char *)item + table->key_offset);
    }
}

void table_prefetch_item(const struct table *table, uint64_t hash)
{
    if (table->count == 0) {
        return;
    }
    uint64_t index = bucket_index(table, hash);
    uint64_t wanted = tag_at(hash, bucket_depth(table, index)) << TAG_SHIFT;
    const struct table_bucket *bucket = bucket_at(table, index);
    for (unsigned i = 0; i < TABLE_WORDS; i++) {
        uint64_t address = bucket->words[i] ^ wanted;
        if (address <= ADDRESS_MASK && address != 0) {
            item_prefetch(table, (const void *)(uintptr_t)address);
        }
    }
}

/* ---- chains ---- */

struct place {
    struct table_bucket *bucket;
    unsigned word;
};

/* Moves to the next word; `extend` makes a line where there is none. */
static void place_next(struct place *at, bool extend)
{
    if (++at->word < TABLE_WORDS) {
        return;
    }
    if (at->bucket->next == NULL && extend) {
        at->bucket->next = memory_allocate_zeroed(1, sizeof(struct table_bucket));
    }
    *at = (struct place){at->bucket->next, 0};
}

static bool place_filled(struct place at) { return at.bucket != NULL && at.bucket->words[at.word] != 0; }

/* Cuts off everything from `end` on. */
static void chain_cut(struct table_bucket *first, struct place end)
{
    struct table_bucket *last = end.bucket;
    if (last == NULL) {
        return;
    }
    for (unsigned i = end.word; i < TABLE_WORDS; i++) {
        last->words[i] = 0;
    }
    if (end.word == 0 && last != first) { /* a line without items: it goes too */
        struct table_bucket *previous = first;
        while (previous->next != last) {
            previous = previous->next;
        }
        last = previous;
    }
    struct table_bucket *extra = last->next;
    last->next = NULL;
    while (extra != NULL) {
        struct table_bucket *next = extra->next;
        free(extra);
        extra = next;
    }
}

static void chain_append(struct table_bucket *bucket, uint64_t word)
{
    struct place at = {bucket, 0};
    while (at.bucket->next != NULL) {
        at.bucket = at.bucket->next;
    }
    while (at.bucket->words[at.word] != 0) {
        place_next(&at, true);
    }
    at.bucket->words[at.word] = word;
}

static struct place chain_find(struct table_bucket *bucket, const void *item)
{
    struct place at = {bucket, 0};
    while (place_filled(at)) {
        if (word_item(at.bucket->words[at.word]) == item) {
            return at;
        }
        place_next(&at, false);
    }
    UNREACHABLE();
}

/* ---- one bucket more, one less ---- */

static void segments_prepare(struct table *table, uint64_t index)
{
    uint64_t segment = index / TABLE_SEGMENT_BUCKETS;
    size_t bucket_size = sizeof(struct table_bucket);
    if (segment >= table->segments_capacity) {
        table->segments_capacity = table->segments_capacity == 0 ? 1 : table->segments_capacity * 2;
        table->segments = memory_resize(table->segments, table->segments_capacity * sizeof(table->segments[0]));
    }
    if (segment == 0 && index >= table->first_capacity) {
        size_t capacity = table->first_capacity == 0 ? FIRST_BUCKETS : table->first_capacity * 2U;
        struct table_bucket *first = memory_allocate_aligned(bucket_size, capacity * bucket_size);
        if (index > 0) {
            memcpy(first, table->segments[0], table->first_capacity * bucket_size);
            free(table->segments[0]);
        }
        table->segments[0] = first;
        table->first_capacity = (uint16_t)capacity;
    } else if (segment > 0 && index % TABLE_SEGMENT_BUCKETS == 0) {
        table->segments[segment] = memory_allocate_aligned(bucket_size, TABLE_SEGMENT_BUCKETS * bucket_size);
    }
    *bucket_at(table, index) = (struct table_bucket){0};
}

/* After a bucket has left: its segment goes with the first of its buckets. */
static void segments_trim(struct table *table)
{
    if (table->buckets > 0 && table->buckets % TABLE_SEGMENT_BUCKETS == 0) {
        free(table->segments[table->buckets / TABLE_SEGMENT_BUCKETS]);
    }
}

/* Divides the next bucket in turn in two. */
static void table_split(struct table *table)
{
    uint64_t added = table->buckets;
    segments_prepare(table, added);
    table->buckets++;
    if (added > table->mask) {
        table->mask = table->mask * 2 + 1;
        table->bits++;
    }
    struct table_bucket *parent = bucket_at(table, added & (table->mask >> 1));
    unsigned depth = table->bits; /* of both from now on */
    bool retag = depth % 8 == 0;
    struct place from = {parent, 0}, kept = from, moved = {bucket_at(table, added), 0};
    while (place_filled(from)) {
        uint64_t word = from.bucket->words[from.word];
        struct place *to = (word >> (TAG_SHIFT + (depth - 1) % 8)) & 1 ? &moved : &kept;
        if (retag) {
            word = word_of(word_item(word), tag_at(item_hash(table, word_item(word)), depth));
        }
        place_next(&from, false);
        if (to->word == TABLE_WORDS) {
            place_next(to, true);
        }
        to->bucket->words[to->word] = word;
        to->word++;
    }
    if (kept.word == TABLE_WORDS) {
        place_next(&kept, false);
    }
    chain_cut(parent, kept);
}

/* Takes the last bucket away, its items to the bucket that it was split from. */
static void table_join(struct table *table)
{
    uint64_t removed = --table->buckets;
    struct table_bucket *parent = bucket_at(table, removed & (table->mask >> 1));
    struct place from = {bucket_at(table, removed), 0};
    unsigned depth = table->bits - 1U;
    bool retag = table->bits % 8 == 0;
    for (struct place at = {parent, 0}; retag && place_filled(at); place_next(&at, false)) {
        void *item = word_item(at.bucket->words[at.word]);
        at.bucket->words[at.word] = word_of(item, tag_at(item_hash(table, item), depth));
    }
    while (place_filled(from)) {
        uint64_t word = from.bucket->words[from.word];
        if (retag) {
            word = word_of(word_item(word), tag_at(item_hash(table, word_item(word)), depth));
        }
        chain_append(parent, word);
        place_next(&from, false);
    }
    chain_cut(bucket_at(table, removed), (struct place){bucket_at(table, removed), 0});
    segments_trim(table);
    if (table->buckets - 1 <= table->mask >> 1) {
        table->mask >>= 1;
        table->bits--;
    }
}

void table_insert(struct table *table, uint64_t hash, void *item)
{
    if (table->buckets == 0) {
        segments_prepare(table, 0);
        table->buckets = 1;
    }
    uint64_t index = bucket_index(table, hash);
    chain_append(bucket_at(table, index), word_of(item, tag_at(hash, bucket_depth(table, index))));
    table->count++;
    if (table->count > table->buckets * TABLE_GROW_LOAD) {
        table_split(table);
    }
}

void table_remove(struct table *table, uint64_t hash, const void *item)
{
    struct table_bucket *bucket = bucket_at(table, bucket_index(table, hash));
    struct place hole = chain_find(bucket, item);
    struct place last = hole;
    for (struct place at = hole; place_filled(at); place_next(&at, false)) {
        last = at;
    }
    hole.bucket->words[hole.word] = last.bucket->words[last.word];
    chain_cut(bucket, last);
    table->count--;
    if (table->buckets > 1 && table->count < table->buckets * TABLE_SHRINK_LOAD) {
        table_join(table);
    }
}

void table_moved(struct table *table, uint64_t hash, const void *from, void *to)
{
    struct place at = chain_find(bucket_at(table, bucket_index(table, hash)), from);
    at.bucket->words[at.word] = word_of(to, at.bucket->words[at.word] >> TAG_SHIFT);
}

/* ---- walking ---- */

uint64_t table_walk(const struct table *table, uint64_t cursor, void (*each)(void *owner, void *item), void *owner)
{
    if (table->count == 0) {
        return 0;
    }
    uint64_t index = bucket_index(table, cursor);
    unsigned depth = bucket_depth(table, index);
    bool partly = index != cursor; /* buckets were joined: the first part of this one is behind the cursor */
    uint64_t next = depth == 0 ? 0 : table_position(table_position(index) + (1ULL << (64 - depth)));
    struct place at = {bucket_at(table, index), 0};
    for (unsigned i = 0; i < TABLE_WORDS && at.bucket->words[i] != 0; i++) { /* their cache misses overlap */
        item_prefetch(table, word_item(at.bucket->words[i]));
    }
    while (place_filled(at)) {
        void *item = word_item(at.bucket->words[at.word]);
        place_next(&at, false);
        if (!partly || !table_walked(cursor, item_hash(table, item))) {
            each(owner, item);
        }
    }
    return next;
}

static void *chain_item(struct table_bucket *bucket, uint64_t number)
{
    for (; bucket != NULL && number >= TABLE_WORDS; number -= TABLE_WORDS) {
        bucket = bucket->next;
    }
    return bucket == NULL ? NULL : word_item(bucket->words[number]);
}

/* Rejection sampling: a bucket and a place in it, taken when filled. Only items past RANDOM_WORDS in their chain
 * (hardly any) have another chance than the rest. */
void *table_random(const struct table *table, uint64_t random)
{
    if (table->count == 0) {
        return NULL;
    }
    struct prng prng;
    prng_seed(&prng, random);
    for (int i = 0; i < RANDOM_TRIES; i++) {
        struct table_bucket *bucket = bucket_at(table, prng_below(&prng, table->buckets));
        uint64_t places = RANDOM_WORDS;
        while (chain_item(bucket, places) != NULL) {
            places++;
        }
        void *item = chain_item(bucket, prng_below(&prng, places));
        if (item != NULL) {
            return item;
        }
    }
    uint64_t start = prng_below(&prng, table->buckets);
    for (uint64_t i = 0;; i++) { /* an average of at least two per bucket puts the next item near */
        void *item = chain_item(bucket_at(table, (start + i) % table->buckets), 0);
        if (item != NULL) {
            return item;
        }
    }
}

bool table_release(struct table *table, size_t buckets, void (*release)(void *owner, void *item), void *owner)
{
    for (; buckets > 0 && table->buckets > 0; buckets--) {
        struct table_bucket *bucket = bucket_at(table, --table->buckets);
        for (struct place at = {bucket, 0}; place_filled(at);) {
            void *item = word_item(at.bucket->words[at.word]);
            place_next(&at, false);
            release(owner, item);
            table->count--;
        }
        chain_cut(bucket, (struct place){bucket, 0});
        if (table->buckets % TABLE_SEGMENT_BUCKETS == 0) {
            free(table->segments[table->buckets / TABLE_SEGMENT_BUCKETS]);
        }
    }
    if (table->buckets > 0) {
        return true;
    }
    ASSERT(table->count == 0);
    free(table->segments);
    table->segments = NULL;
    return false;
}
