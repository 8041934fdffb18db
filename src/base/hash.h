/* Keyed 64-bit hashing (XXH3), the same on every machine for the same seed.
 * The seed is random per cluster, so that users cannot aim keys at one bucket. */
#pragma once

#include "base/id128.h"
#include "base/slice.h"

uint64_t hash_bytes(uint64_t seed, const void *data, size_t size);

/* 128 bits of it (XXH128): a name for content that nobody forges. */
struct id128 hash_name(const void *data, size_t size);
