/* LEB128 variable-length unsigned integers and fixed little-endian ones. */
#pragma once

#include "base/slice.h"

enum { VARINT_MAXIMUM_BYTES = 10 };

/* Writes value at `at` (at least VARINT_MAXIMUM_BYTES of room); returns the byte after it. */
static inline uint8_t *varint_put(uint8_t *at, uint64_t value)
{
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

/* Multi-byte half of varint_take. */
bool varint_take_slow(struct slice *from, uint64_t *ret_value);

/* Takes a varint from the front of *from. False on a truncated or overlong one; *from is then unspecified. */
static inline bool varint_take(struct slice *from, uint64_t *ret_value)
{
    if (__builtin_expect(from->size > 0 && from->data[0] < 0x80, 1)) {
        *ret_value = from->data[0];
        from->data++;
        from->size--;
        return true;
    }
    return varint_take_slow(from, ret_value);
}

static inline void put_u16(uint8_t *at, uint16_t value) { memcpy(at, &value, 2); }
static inline void put_u32(uint8_t *at, uint32_t value) { memcpy(at, &value, 4); }
static inline void put_u64(uint8_t *at, uint64_t value) { memcpy(at, &value, 8); }
static inline uint16_t get_u16(const uint8_t *at)
{
    uint16_t v;
    memcpy(&v, at, 2);
    return v;
}
static inline uint32_t get_u32(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, 4);
    return v;
}
static inline uint64_t get_u64(const uint8_t *at)
{
    uint64_t v;
    memcpy(&v, at, 8);
    return v;
}

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "formats on disk and wire are little-endian; this machine needs byte swaps in put_/get_"
#endif
