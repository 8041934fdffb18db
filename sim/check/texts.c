#include "check/texts.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"

#include <stdlib.h>

enum { BLOCK_BYTES = 4096, FIRST_SLOTS = 64 };

struct texts_block {
    struct texts_block *next;
    size_t used;
    size_t size;
    uint8_t data[];
};

void texts_deinit(struct texts *texts)
{
    while (texts->blocks != NULL) {
        struct texts_block *next = texts->blocks->next;
        free(texts->blocks);
        texts->blocks = next;
    }
    free(texts->entries);
    free(texts->slots);
    texts_init(texts);
}

/* Blocks double with what is held, up to a megabyte, so that many small tables stay small. */
static struct texts_block *new_block(struct texts *texts, size_t needed)
{
    size_t size = texts->bytes < BLOCK_BYTES       ? BLOCK_BYTES / 8
                  : texts->bytes < (size_t)1 << 20 ? texts->bytes
                                                   : (size_t)1 << 20;
    size = needed > size ? needed : size;
    struct texts_block *block = memory_allocate(sizeof(*block) + size);
    *block = (struct texts_block){.next = texts->blocks, .size = size};
    texts->blocks = block;
    texts->bytes += sizeof(*block) + size;
    return block;
}

static struct slice keep(struct texts *texts, struct slice text)
{
    struct texts_block *block = texts->blocks;
    if (block == NULL || block->size - block->used < text.size) {
        block = new_block(texts, text.size);
    }
    uint8_t *at = block->data + block->used;
    if (text.size > 0) {
        memcpy(at, text.data, text.size);
    }
    block->used += text.size;
    return slice_of(at, text.size);
}

static void grow_slots(struct texts *texts)
{
    uint32_t slot_count = texts->slot_count == 0 ? FIRST_SLOTS : texts->slot_count * 2;
    uint32_t *slots = memory_allocate_zeroed(slot_count, sizeof(*slots));
    for (uint32_t i = 0; i < texts->count; i++) {
        uint32_t at = (uint32_t)texts->entries[i].hash & (slot_count - 1);
        while (slots[at] != 0) {
            at = (at + 1) & (slot_count - 1);
        }
        slots[at] = i + 1;
    }
    free(texts->slots);
    texts->bytes += (slot_count - texts->slot_count) * sizeof(*slots);
    texts->slots = slots;
    texts->slot_count = slot_count;
}

static void grow_entries(struct texts *texts)
{
    uint32_t capacity = texts->capacity == 0 ? FIRST_SLOTS / 2 : texts->capacity * 2;
    struct texts_entry *entries = memory_resize(texts->entries, capacity * sizeof(*entries));
    texts->bytes += (capacity - texts->capacity) * sizeof(*entries);
    texts->entries = entries;
    texts->capacity = capacity;
}

/* The slot where the text is or belongs; there must be slots. */
static uint32_t find_slot(const struct texts *texts, struct slice text, uint64_t hash)
{
    uint32_t at = (uint32_t)hash & (texts->slot_count - 1);
    for (; texts->slots[at] != 0; at = (at + 1) & (texts->slot_count - 1)) {
        const struct texts_entry *entry = &texts->entries[texts->slots[at] - 1];
        if (entry->hash == hash && slice_equal(entry->text, text)) {
            break;
        }
    }
    return at;
}

uint32_t texts_add(struct texts *texts, struct slice text)
{
    if (texts->count * 2 >= texts->slot_count) {
        ASSERT(texts->count < (uint32_t)1 << 31);
        grow_slots(texts);
    }
    uint64_t hash = hash_bytes(0, text.data, text.size);
    uint32_t at = find_slot(texts, text, hash);
    if (texts->slots[at] != 0) {
        return texts->slots[at] - 1;
    }
    if (texts->count == texts->capacity) {
        grow_entries(texts);
    }
    uint32_t number = texts->count++;
    texts->entries[number] = (struct texts_entry){keep(texts, text), hash};
    texts->slots[at] = number + 1;
    return number;
}

uint32_t texts_find(const struct texts *texts, struct slice text)
{
    if (texts->slot_count == 0) {
        return TEXTS_NONE;
    }
    uint32_t at = find_slot(texts, text, hash_bytes(0, text.data, text.size));
    return texts->slots[at] == 0 ? TEXTS_NONE : texts->slots[at] - 1;
}
