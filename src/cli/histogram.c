#include "cli/histogram.h"

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        into->counts[i] += from->counts[i];
    }
    into->total += from->total;
    into->sum_ns += from->sum_ns;
    into->maximum_ns = from->maximum_ns > into->maximum_ns ? from->maximum_ns : into->maximum_ns;
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_end(uint32_t bucket)
{
    uint32_t step = bucket >> HISTOGRAM_BITS;
    if (step < 2) {
        return bucket;
    }
    uint32_t shift = step - 1;
    uint64_t mantissa = (bucket & ((1U << HISTOGRAM_BITS) - 1)) + (1U << HISTOGRAM_BITS);
    return ((mantissa + 1) << shift) - 1;
}

uint64_t histogram_percentile(const struct histogram *histogram, double fraction)
{
    double wanted = fraction * (double)histogram->total;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->counts[i];
        if (seen > 0 && (double)seen >= wanted) {
            uint64_t end = bucket_end(i);
            return end < histogram->maximum_ns ? end : histogram->maximum_ns;
        }
    }
    return histogram->maximum_ns;
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->total == 0 ? 0 : (double)histogram->sum_ns / (double)histogram->total;
}
