#include "base/crc32c.h"

#include "base/assert.h"

#include <isa-l/crc.h>
#include <limits.h>

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    /* isa-l takes an int length and neither inverts on entry nor on exit. */
    const uint8_t *at = data;
    crc = ~crc;
    while (size > 0) {
        size_t step = size > INT_MAX / 2 ? INT_MAX / 2 : size;
        crc = crc32_iscsi((unsigned char *)(uintptr_t)at, (int)step, crc);
        at += step;
        size -= step;
    }
    return ~crc;
}
