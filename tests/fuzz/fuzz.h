/* What every fuzz target shares. A target defines LLVMFuzzerTestOneInput, which takes any bytes and aborts (ASSERT or a
 * sanitizer) when a property does not hold. */
#pragma once

#include "base/assert.h"
#include "base/prng.h"
#include "base/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Takes a byte that steers the target from the front of the input; 0 when there is none. */
static inline uint8_t fuzz_take_byte(struct slice *from)
{
    if (from->size == 0) {
        return 0;
    }
    from->size--;
    return *from->data++;
}

/* Cuts into short pieces at random; `owner` is a struct prng. A cut_function of support/resp_transcript.h. */
static inline size_t fuzz_cut(void *owner, size_t left)
{
    uint64_t piece = 1 + prng_below(owner, 1 + prng_below(owner, 32));
    return piece < left ? (size_t)piece : left;
}
