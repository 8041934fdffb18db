#include "base/prng.h"
#include "cli/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct histogram histogram;

static int clear(void **state)
{
    memset(&histogram, 0, sizeof(histogram));
    return 0;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Against the sorted values: never below the true percentile, at most 1/128 above it. */
static void test_percentiles(void **state)
{
    enum { COUNT = 20000 };
    static uint64_t values[COUNT];
    struct prng prng;
    prng_seed(&prng, 3);
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = prng_next(&prng) >> (24 + prng_below(&prng, 40)); /* all magnitudes up to 2^40 */
        histogram_add(&histogram, values[i]);
    }
    qsort(values, COUNT, sizeof(values[0]), compare);
    static const double fractions[] = {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1};
    for (size_t i = 0; i < sizeof(fractions) / sizeof(fractions[0]); i++) {
        uint64_t truth = values[(size_t)(fractions[i] * COUNT + 0.5) - 1];
        uint64_t shown = histogram_percentile(&histogram, fractions[i]);
        assert_true(shown >= truth);
        assert_true(shown <= truth + truth / 128);
    }
    assert_int_equal(histogram_percentile(&histogram, 1), values[COUNT - 1]);
}

static void test_edges(void **state)
{
    assert_int_equal(histogram_percentile(&histogram, 0.5), 0);
    assert_true(histogram_mean(&histogram) == 0);
    histogram_add(&histogram, 0);
    assert_int_equal(histogram_percentile(&histogram, 1), 0);
    for (uint32_t bit = 0; bit < 64; bit++) {
        assert_true(histogram_bucket((uint64_t)1 << bit) < HISTOGRAM_BUCKETS);
        assert_true(histogram_bucket(((uint64_t)1 << bit) - 1) <= histogram_bucket((uint64_t)1 << bit));
    }
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void test_merge(void **state)
{
    static struct histogram other;
    histogram_add(&histogram, 10);
    histogram_add(&other, 30);
    histogram_add(&other, 20);
    histogram_merge(&histogram, &other);
    assert_int_equal(histogram.total, 3);
    assert_int_equal(histogram_percentile(&histogram, 0.5), 20);
    assert_int_equal(histogram_percentile(&histogram, 1), 30);
    assert_true(histogram_mean(&histogram) == 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_percentiles, clear),
        cmocka_unit_test_setup(test_edges, clear),
        cmocka_unit_test_setup(test_merge, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
