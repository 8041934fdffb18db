#include "machine/keys/packed.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"

#include <stdlib.h>

struct packed *packed_create(size_t capacity)
{
    struct packed *packed = memory_allocate(sizeof(struct packed) + capacity);
    ASSERT(capacity <= UINT32_MAX);
    *packed = (struct packed){.capacity = (uint32_t)capacity};
    return packed;
}

struct packed *packed_create_copy(struct slice bytes, uint32_t count)
{
    struct packed *packed = packed_create(bytes.size);
    memcpy(packed->bytes, bytes.data, bytes.size);
    packed->size = packed->capacity;
    packed->count = count;
    return packed;
}

static bool take_short(struct slice *from, struct slice *ret_short)
{
    if (from->size == 0 || from->data[0] > PACKED_BYTES_MAXIMUM || from->data[0] > from->size - 1) {
        return false;
    }
    *ret_short = slice_of(from->data + 1, from->data[0]);
    *from = slice_of(from->data + 1 + ret_short->size, from->size - 1 - ret_short->size);
    return true;
}

bool packed_valid(struct slice bytes, uint32_t *ret_count)
{
    struct slice names[PACKED_FIELDS_MAXIMUM];
    uint16_t seen[2 * PACKED_FIELDS_MAXIMUM] = {0}; /* open addressing: 1 + index into names */
    uint32_t count = 0;
    while (bytes.size > 0) {
        struct slice name, value;
        if (count == PACKED_FIELDS_MAXIMUM || !take_short(&bytes, &name) || !take_short(&bytes, &value)) {
            return false;
        }
        size_t at = hash_bytes(0, name.data, name.size) % (2 * PACKED_FIELDS_MAXIMUM);
        for (; seen[at] != 0; at = (at + 1) % (2 * PACKED_FIELDS_MAXIMUM)) {
            if (slice_equal(names[seen[at] - 1], name)) {
                return false;
            }
        }
        names[count++] = name;
        seen[at] = (uint16_t)count;
    }
    *ret_count = count;
    return count > 0;
}

bool packed_next(const struct packed *packed, size_t *at, struct slice *ret_name, struct slice *ret_value)
{
    if (*at >= packed->size) {
        return false;
    }
    const uint8_t *name = packed->bytes + *at;
    const uint8_t *value = name + 1 + name[0];
    *ret_name = slice_of(name + 1, name[0]);
    *ret_value = slice_of(value + 1, value[0]);
    *at = (size_t)(value + 1 + value[0] - packed->bytes);
    return true;
}

/* Where the field's two parts begin, or NULL. */
static uint8_t *field_find(const struct packed *packed, struct slice name)
{
    const uint8_t *at = packed->bytes, *end = packed->bytes + packed->size;
    while (at < end) {
        const uint8_t *value = at + 1 + at[0];
        if (at[0] == name.size && (name.size == 0 || memcmp(at + 1, name.data, name.size) == 0)) {
            return (uint8_t *)at;
        }
        at = value + 1 + value[0];
    }
    return NULL;
}

bool packed_get(const struct packed *packed, struct slice name, struct slice *ret_value)
{
    const uint8_t *field = field_find(packed, name);
    if (field == NULL) {
        return false;
    }
    const uint8_t *value = field + 1 + field[0];
    *ret_value = slice_of(value + 1, value[0]);
    return true;
}

/* Makes `size` bytes at offset `at` into `wanted` bytes, moving what follows. */
static void bytes_resize(struct packed **packed, size_t at, size_t size, size_t wanted)
{
    struct packed *now = *packed;
    size_t total = now->size - size + wanted;
    if (total > now->capacity) {
        size_t capacity = total + total / 2;
        now = memory_resize(now, sizeof(struct packed) + capacity);
        ASSERT(capacity <= UINT32_MAX);
        now->capacity = (uint32_t)capacity;
        *packed = now;
    }
    memmove(now->bytes + at + wanted, now->bytes + at + size, now->size - at - size);
    now->size = (uint32_t)total;
}

static uint8_t *put_short(uint8_t *at, struct slice text)
{
    *at = (uint8_t)text.size;
    if (text.size > 0) {
        memcpy(at + 1, text.data, text.size);
    }
    return at + 1 + text.size;
}

bool packed_set(struct packed **packed, struct slice name, struct slice value)
{
    ASSERT(name.size <= PACKED_BYTES_MAXIMUM && value.size <= PACKED_BYTES_MAXIMUM);
    const uint8_t *field = field_find(*packed, name);
    if (field != NULL) {
        const uint8_t *old = field + 1 + field[0];
        size_t at = (size_t)(old - (*packed)->bytes);
        bytes_resize(packed, at, 1U + old[0], 1 + value.size);
        put_short((*packed)->bytes + at, value);
        return false;
    }
    size_t at = (*packed)->size;
    bytes_resize(packed, at, 0, 2 + name.size + value.size);
    put_short(put_short((*packed)->bytes + at, name), value);
    (*packed)->count++;
    return true;
}

bool packed_remove(struct packed *packed, struct slice name)
{
    const uint8_t *field = field_find(packed, name);
    if (field == NULL) {
        return false;
    }
    const uint8_t *value = field + 1 + field[0];
    bytes_resize(&packed, (size_t)(field - packed->bytes), (size_t)(value + 1 + value[0] - field), 0);
    packed->count--;
    return true;
}
