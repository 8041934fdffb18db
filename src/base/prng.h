/* xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64: for simulation,
 * sampling and jitter; not for secrets. */
#pragma once

#include <stdint.h>

struct prng {
    uint64_t state[4];
};

static inline uint64_t prng_splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

static inline void prng_seed(struct prng *prng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        prng->state[i] = prng_splitmix(&seed);
    }
}

static inline uint64_t prng_next(struct prng *prng)
{
    uint64_t *s = prng->state;
    uint64_t x = s[1] * 5;
    uint64_t result = ((x << 7) | (x >> 57)) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return result;
}

/* Uniform in [0, bound); bound > 0 (Lemire's multiply-shift; the bias is below bound / 2^64). */
static inline uint64_t prng_below(struct prng *prng, uint64_t bound)
{
    __extension__ typedef unsigned __int128 uint128;
    return (uint64_t)(((uint128)prng_next(prng) * bound) >> 64);
}

/* True in `numerator` of `denominator` cases. */
static inline int prng_chance(struct prng *prng, uint64_t numerator, uint64_t denominator)
{
    return prng_below(prng, denominator) < numerator;
}
