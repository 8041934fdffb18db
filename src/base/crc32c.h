/* CRC32C (Castagnoli, RFC 3720 appendix B.4), in hardware where there is any. */
#pragma once

#include "base/slice.h"

/* The checksum of `crc`'s bytes followed by data; start with crc = 0. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);
