#include "machine/keys/entry.h"

#include "base/memory.h"
#include "machine/keys/journal.h"

#include <stdlib.h>

/* The allocator hands out multiples of 16 less 8: room for the value grows to fill that. */
static size_t entry_capacity(size_t key_size, size_t value_size)
{
    if (value_size < sizeof(void *)) {
        value_size = sizeof(void *);
    }
    size_t total = ((sizeof(struct entry) + key_size + value_size + 8 + 15) & ~(size_t)15) - 8;
    return total - sizeof(struct entry) - key_size;
}

struct entry *entry_create(struct slice key, size_t value_size)
{
    ASSERT(key.size <= ENTRY_STRING_MAXIMUM && value_size <= ENTRY_INLINE_MAXIMUM);
    size_t capacity = entry_capacity(key.size, value_size);
    struct entry *entry = memory_allocate(sizeof(struct entry) + key.size + capacity);
    *entry = (struct entry){.key_size = (uint32_t)key.size, .capacity = (uint16_t)capacity, .kind = VALUE_EMBSTR};
    if (key.size > 0) {
        memcpy(entry->bytes, key.data, key.size);
    }
    return entry;
}

struct entry *entry_create_string(struct slice key, enum value_kind kind, struct slice value)
{
    struct entry *entry;
    if (value.size > ENTRY_INLINE_MAXIMUM) {
        struct large *large = large_create(value.size);
        memcpy(large->bytes, value.data, value.size);
        entry = entry_create(key, sizeof(large));
        entry_set_pointer(entry, VALUE_LARGE, large);
    } else {
        entry = entry_create(key, value.size);
        entry->kind = (uint8_t)kind;
        if (value.size > 0) {
            memcpy(entry_value(entry), value.data, value.size);
        }
    }
    entry->value_size = (uint32_t)value.size;
    return entry;
}

struct entry *entry_reserve(struct keyspace *keyspace, struct entry *entry, size_t value_size)
{
    if (value_size <= entry->capacity && entry->capacity <= 2 * value_size + 64) {
        return entry;
    }
    struct slice key = entry_key(entry);
    struct entry *moved = entry_create(key, value_size);
    uint16_t capacity = moved->capacity;
    *moved = *entry;
    moved->capacity = capacity;
    memcpy(entry_value(moved), entry_value(entry), capacity < entry->capacity ? capacity : entry->capacity);
    table_moved(&keyspace->table, table_hash(&keyspace->table, key), entry, moved);
    if (moved->due_kind == DUE_SESSION) {
        bonds_moved(&keyspace->bonds, moved);
    } else if (moved->due_kind != DUE_NEVER) {
        due_heap_moved(&keyspace->heaps[moved->due_kind - 1], moved);
    }
    free(entry);
    return moved;
}

void entry_drop_value(struct keyspace *keyspace, struct entry *entry)
{
    if (entry->kind == VALUE_LARGE) {
        struct large *large = entry_pointer(entry);
        if (large->walk != NULL) {
            snapshot_take_large(keyspace, large);
        } else {
            garbage_memory(&keyspace->garbage, large, sizeof(*large) + large->capacity);
        }
    } else if (entry->kind == VALUE_PACKED) {
        free(entry_pointer(entry));
    } else if (entry->kind == VALUE_TABLE) {
        struct hash *hash = entry_pointer(entry);
        if (hash->note != NULL) {
            journal_take_hash(hash);
        } else if (hash->walk != NULL) {
            snapshot_take_hash(hash);
        } else {
            garbage_hash(&keyspace->garbage, hash);
        }
    }
}

struct slice entry_key(const struct entry *entry) { return slice_of(entry->bytes, entry->key_size); }

enum entry_type entry_type(const struct entry *entry) { return entry_is_string(entry) ? ENTRY_STRING : ENTRY_HASH; }

enum entry_encoding entry_encoding(const struct entry *entry)
{
    static const uint8_t encodings[] = {
        [VALUE_INT] = ENCODING_INT,   [VALUE_EMBSTR] = ENCODING_EMBSTR,   [VALUE_RAW] = ENCODING_RAW,
        [VALUE_LARGE] = ENCODING_RAW, [VALUE_PACKED] = ENCODING_LISTPACK, [VALUE_TABLE] = ENCODING_HASHTABLE,
    };
    return encodings[entry->kind];
}

uint64_t entry_version(const struct entry *entry) { return entry->version; }

enum due_kind entry_due(const struct entry *entry, int64_t *ret_due_ms)
{
    if (entry->due_kind != DUE_NEVER) {
        *ret_due_ms = entry->due_ms;
    }
    return entry->due_kind;
}

static size_t value_memory_bytes(const struct entry *entry)
{
    if (entry->kind == VALUE_PACKED) {
        const struct packed *packed = entry_pointer(entry);
        return CHARGE_PACKED + packed->size;
    }
    if (entry->kind == VALUE_TABLE) {
        const struct hash *hash = entry_pointer(entry);
        return CHARGE_HASH + hash->bytes;
    }
    return entry->value_size + (entry->value_size > ENTRY_INLINE_MAXIMUM ? CHARGE_LARGE : 0U);
}

size_t entry_memory_bytes(const struct entry *entry)
{
    return CHARGE_ENTRY + entry->key_size + (entry->due_kind == DUE_NEVER ? 0U : CHARGE_DUE) +
           value_memory_bytes(entry);
}
