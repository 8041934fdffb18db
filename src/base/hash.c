#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t hash_bytes(uint64_t seed, const void *data, size_t size) { return XXH3_64bits_withSeed(data, size, seed); }

struct id128 hash_name(const void *data, size_t size)
{
    XXH128_canonical_t canonical;
    struct id128 name;
    _Static_assert(sizeof(canonical) == sizeof(name), "128 bits");
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, size));
    memcpy(&name, &canonical, sizeof(name));
    return name;
}
