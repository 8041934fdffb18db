/* Counts of latencies in buckets of equal relative width, in the manner of HdrHistogram (Gil Tene): 128 buckets for
 * each power of two, so a percentile is at most 0.8 % above the truth, in 36 KB whatever the number of values. */
#pragma once

#include <stdint.h>

enum {
    HISTOGRAM_BITS = 7,
    HISTOGRAM_EXPONENTS = 42, /* values up to 2^42 ns, more than an hour; larger ones count as that */
    HISTOGRAM_BUCKETS = (HISTOGRAM_EXPONENTS - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS,
};

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t sum_ns;
    uint64_t maximum_ns;
};

static inline uint32_t histogram_bucket(uint64_t value_ns)
{
    uint64_t limit = ((uint64_t)1 << HISTOGRAM_EXPONENTS) - 1;
    uint64_t value = value_ns < limit ? value_ns : limit;
    if (value < (uint64_t)1 << HISTOGRAM_BITS) {
        return (uint32_t)value;
    }
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - HISTOGRAM_BITS;
    return (shift << HISTOGRAM_BITS) + (uint32_t)(value >> shift);
}

static inline void histogram_add(struct histogram *histogram, uint64_t value_ns)
{
    histogram->counts[histogram_bucket(value_ns)]++;
    histogram->total++;
    histogram->sum_ns += value_ns;
    if (value_ns > histogram->maximum_ns) {
        histogram->maximum_ns = value_ns;
    }
}

void histogram_merge(struct histogram *into, const struct histogram *from);

/* The value that `fraction` (0 to 1) of all values do not exceed; 0 when there are none. */
uint64_t histogram_percentile(const struct histogram *histogram, double fraction);

double histogram_mean(const struct histogram *histogram);
