/* Texts by number: each distinct text is kept once, so equal texts have equal numbers.
 *
 * Invariants: numbers count up from 0 in the order of first sight; a text never moves or changes until deinit. */
#pragma once

#include "base/assert.h"
#include "base/slice.h"

#define TEXTS_NONE UINT32_MAX

struct texts_entry {
    struct slice text; /* points into a block */
    uint64_t hash;
};

struct texts_block;

struct texts {
    struct texts_entry *entries;
    uint32_t count;
    uint32_t capacity;
    uint32_t *slots; /* open addressing; number + 1, 0 when free */
    uint32_t slot_count;
    struct texts_block *blocks;
    size_t bytes; /* of memory, all of it */
};

static inline void texts_init(struct texts *texts) { *texts = (struct texts){0}; }
void texts_deinit(struct texts *texts);

/* The text's number; a copy is kept when it is new. At most 2^31 texts. */
uint32_t texts_add(struct texts *texts, struct slice text);

/* The number of a text that is there, or TEXTS_NONE. */
uint32_t texts_find(const struct texts *texts, struct slice text);

/* The text of a number; valid until deinit. */
static inline struct slice texts_get(const struct texts *texts, uint32_t number)
{
    ASSERT(number < texts->count);
    return texts->entries[number].text;
}
