/* The configurations that a search has been in: what is placed already, and the states. A set with a memory limit.
 *
 * What is placed is known by 128 bits of hash only. Two sets that share them would make a search pass over a
 * configuration that it has not seen: it might then call a good history bad, with a chance below 2^-70 for as many
 * configurations as memory holds, but never a bad one good. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memo_entry {
    uint64_t placed[2]; /* hash of the set; not both zero */
    uint32_t state;
    uint32_t before;
};

struct memo {
    struct memo_entry *entries; /* open addressing */
    size_t count;
    size_t capacity; /* a power of two, or 0 */
    size_t bytes_maximum;
};

enum memo_result { MEMO_ADDED, MEMO_SEEN, MEMO_FULL };

static inline void memo_init(struct memo *memo, size_t bytes_maximum)
{
    *memo = (struct memo){.bytes_maximum = bytes_maximum};
}
void memo_deinit(struct memo *memo);
enum memo_result memo_add(struct memo *memo, const struct memo_entry *entry);
