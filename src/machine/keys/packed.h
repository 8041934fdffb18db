/* A small hash as one run of bytes: (size u8, name, size u8, value) for each field, in order of insertion. What
 * OBJECT ENCODING calls a listpack. Names and values are at most PACKED_BYTES_MAXIMUM, fields PACKED_FIELDS_MAXIMUM. */
#pragma once

#include "base/slice.h"

enum { PACKED_FIELDS_MAXIMUM = 512, PACKED_BYTES_MAXIMUM = 64 }; /* hash-max-listpack-entries, -value */

struct packed {
    uint32_t size; /* of bytes in use */
    uint32_t capacity;
    uint32_t count; /* of fields */
    uint8_t bytes[];
};

/* Empty, with room for `capacity` bytes. */
struct packed *packed_create(size_t capacity);
/* Copies bytes that packed_valid has found good. */
struct packed *packed_create_copy(struct slice bytes, uint32_t count);
/* True when the bytes are such a run without repeated names; gives how many fields there are. */
bool packed_valid(struct slice bytes, uint32_t *ret_count);

bool packed_get(const struct packed *packed, struct slice name, struct slice *ret_value);
/* Sets a field in *packed, which may move; true when it is new. */
bool packed_set(struct packed **packed, struct slice name, struct slice value);
/* True when it was there. */
bool packed_remove(struct packed *packed, struct slice name);
/* Takes the field at *at (0 first) and moves *at on; false at the end. */
bool packed_next(const struct packed *packed, size_t *at, struct slice *ret_name, struct slice *ret_value);
