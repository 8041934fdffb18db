/* String values of entries. */
#include "base/memory.h"
#include "base/number.h"
#include "machine/keys/journal.h"

#include <stdlib.h>

struct large *large_create(size_t capacity)
{
    struct large *large = memory_allocate(sizeof(struct large) + capacity);
    ASSERT(capacity <= UINT32_MAX);
    *large = (struct large){.capacity = (uint32_t)capacity};
    return large;
}

static uint8_t *string_bytes(const struct entry *entry)
{
    return entry->kind == VALUE_LARGE ? ((struct large *)entry_pointer(entry))->bytes : entry_value(entry);
}

struct slice entry_string(const struct entry *entry, char *digits)
{
    ASSERT(entry_is_string(entry));
    if (entry->kind == VALUE_INT) {
        return slice_of(digits, number_format_int64(digits, entry_number(entry)));
    }
    return slice_of(string_bytes(entry), entry->value_size);
}

bool entry_integer(const struct entry *entry, int64_t *ret_value)
{
    if (entry->kind != VALUE_INT) {
        return false;
    }
    *ret_value = entry_number(entry);
    return true;
}

/* ---- replacing ---- */

/* Ends a change of the value that began when the entry was charged `before`. */
static struct entry *value_charge(struct keyspace *keyspace, struct entry *entry, size_t before)
{
    keyspace->memory_bytes += entry_memory_bytes(entry) - before;
    return entry;
}

static struct entry *set_inline(struct keyspace *keyspace, struct entry *entry, enum value_kind kind, const void *bytes,
                                size_t size)
{
    keyspace_keep(keyspace, entry);
    size_t before = entry_memory_bytes(entry);
    entry_drop_value(keyspace, entry);
    entry->kind = (uint8_t)kind;
    entry = entry_reserve(keyspace, entry, size);
    if (size > 0) {
        memcpy(entry_value(entry), bytes, size);
    }
    entry->value_size = (uint32_t)size;
    return value_charge(keyspace, entry, before);
}

/* Stores a string past ENTRY_INLINE_MAXIMUM, in the memory that is there when it fits well. */
static struct entry *set_large(struct keyspace *keyspace, struct entry *entry, struct slice value)
{
    ASSERT(value.size <= ENTRY_STRING_MAXIMUM);
    keyspace_keep(keyspace, entry);
    size_t before = entry_memory_bytes(entry);
    struct large *large = entry->kind == VALUE_LARGE ? entry_pointer(entry) : NULL;
    if (large == NULL || large->walk != NULL || large->capacity < value.size || large->capacity / 2 > value.size) {
        large = large_create(value.size);
        entry_drop_value(keyspace, entry);
        entry->kind = VALUE_RAW; /* holds nothing while it moves */
        entry = entry_reserve(keyspace, entry, sizeof(large));
        entry_set_pointer(entry, VALUE_LARGE, large);
    }
    memcpy(large->bytes, value.data, value.size);
    entry->value_size = (uint32_t)value.size;
    return value_charge(keyspace, entry, before);
}

struct entry *entry_set_text(struct keyspace *keyspace, struct entry *entry, struct slice value)
{
    if (value.size > ENTRY_INLINE_MAXIMUM) {
        return set_large(keyspace, entry, value);
    }
    enum value_kind kind = value.size <= ENTRY_EMBSTR_MAXIMUM ? VALUE_EMBSTR : VALUE_RAW;
    return set_inline(keyspace, entry, kind, value.data, value.size);
}

struct entry *entry_set_integer(struct keyspace *keyspace, struct entry *entry, int64_t value)
{
    return set_inline(keyspace, entry, VALUE_INT, &value, sizeof(value));
}

struct entry *entry_set_string(struct keyspace *keyspace, struct entry *entry, struct slice value)
{
    int64_t number;
    if (number_parse_int64(value, &number)) {
        return entry_set_integer(keyspace, entry, number);
    }
    return entry_set_text(keyspace, entry, value);
}

/* ---- changing in place ---- */

/* Makes room for `size` bytes, at least half as much again when it has to move. */
static struct entry *large_grow(struct keyspace *keyspace, struct entry *entry, size_t size)
{
    struct large *large = entry->kind == VALUE_LARGE ? entry_pointer(entry) : NULL;
    if (large != NULL && large->capacity >= size) {
        return entry;
    }
    size_t capacity = size + entry->value_size / 2;
    if (capacity > ENTRY_STRING_MAXIMUM) {
        capacity = ENTRY_STRING_MAXIMUM;
    }
    if (large != NULL) {
        large = memory_resize(large, sizeof(struct large) + capacity);
        large->capacity = (uint32_t)capacity;
    } else {
        large = large_create(capacity);
        memcpy(large->bytes, entry_value(entry), entry->value_size);
        entry = entry_reserve(keyspace, entry, sizeof(large));
    }
    entry_set_pointer(entry, VALUE_LARGE, large);
    return entry;
}

/* The same for a string that stays in the entry. */
static struct entry *inline_grow(struct keyspace *keyspace, struct entry *entry, size_t size)
{
    if (size <= entry->capacity) {
        return entry;
    }
    size_t wanted = size + entry->value_size / 2;
    return entry_reserve(keyspace, entry, wanted < ENTRY_INLINE_MAXIMUM ? wanted : ENTRY_INLINE_MAXIMUM);
}

struct entry *entry_string_writable(struct keyspace *keyspace, struct entry *entry, size_t size, uint8_t **ret_bytes)
{
    ASSERT(entry_is_string(entry) && size <= ENTRY_STRING_MAXIMUM);
    if (entry->kind == VALUE_INT) {
        char digits[NUMBER_INT64_BYTES];
        entry = entry_set_text(keyspace, entry, entry_string(entry, digits));
    }
    keyspace_keep(keyspace, entry);
    size_t before = entry_memory_bytes(entry);
    if (entry->kind == VALUE_LARGE) {
        snapshot_keep_bytes(keyspace, entry_pointer(entry));
    }
    if (entry->kind == VALUE_LARGE || size > ENTRY_INLINE_MAXIMUM) {
        entry = large_grow(keyspace, entry, size);
    } else {
        entry = inline_grow(keyspace, entry, size);
        entry->kind = VALUE_RAW;
    }
    uint8_t *bytes = string_bytes(entry);
    if (size > entry->value_size) {
        memset(bytes + entry->value_size, 0, size - entry->value_size);
        entry->value_size = (uint32_t)size;
    }
    *ret_bytes = bytes;
    return value_charge(keyspace, entry, before);
}
