/* Peak EWMA, on virtual time: its average against the definition, and what it is for. */
#include "balance_fixture.h"
#include "base/prng.h"

#include <math.h>

static void test_average_follows_the_definition(void **state)
{
    struct fixture_list *list = list_create(1);
    struct balancer *balancer = balancer_over(BALANCER_PEAK_EWMA, 1, list);
    struct prng prng;
    prng_seed(&prng, 2);
    double average = -1;
    int64_t now_ns = 0;
    int64_t sampled_ns = 0;
    for (int i = 0; i < 5000; i++) {
        now_ns += (int64_t)prng_below(&prng, 3 * SECOND_NS);
        int64_t latency_ns = (int64_t)prng_below(&prng, 100 * MILLISECOND_NS);
        enum balancer_outcome outcome = (enum balancer_outcome)prng_below(&prng, 3);
        balancer_begin(balancer, 0, now_ns);
        balancer_end(balancer, 0, now_ns, latency_ns, outcome);
        double sample = (double)latency_ns;
        if (outcome == BALANCER_CANCELLED || (outcome == BALANCER_ERROR && sample <= average)) {
            continue;
        }
        double w = exp(-(double)(now_ns - sampled_ns) / 10e9);
        average = sample > average ? sample : average * w + sample * (1 - w);
        sampled_ns = now_ns;
        assert_true(fabs(statistics_of(balancer, 0).average_ns - average) < 1e-3);
    }
    balancer_destroy(balancer);
    test_free(list);
}

/* Of two, both are drawn: the smaller average × (in flight + 1) takes it, and an average decays while idle. */
static void test_score_decides(void **state)
{
    struct fixture_list *list = list_create(2);
    struct balancer *balancer = balancer_over(BALANCER_PEAK_EWMA, 1, list);
    balancer_begin(balancer, 0, 0);
    balancer_begin(balancer, 1, 0);
    balancer_end(balancer, 0, 0, 10 * MILLISECOND_NS, BALANCER_OK);
    balancer_end(balancer, 1, 0, 100 * MILLISECOND_NS, BALANCER_OK);
    for (int i = 0; i < 9; i++) { /* 10 ms × (i + 1) < 100 ms */
        assert_int_equal(balancer_pick(balancer, NULL, 0), 0);
        balancer_begin(balancer, 0, 0);
    }
    balancer_begin(balancer, 0, 0);
    assert_int_equal(balancer_pick(balancer, NULL, 0), 1);
    for (int i = 0; i < 10; i++) {
        balancer_end(balancer, 0, 0, 10 * MILLISECOND_NS, BALANCER_OK);
    }
    /* The quick one answers all the time; the slow one is forgiven after τ × ln 10 = 23.03 s. */
    int64_t now_ns = 0;
    while (balancer_pick(balancer, NULL, now_ns) == 0) {
        balancer_begin(balancer, 0, now_ns);
        balancer_end(balancer, 0, now_ns, 10 * MILLISECOND_NS, BALANCER_OK);
        now_ns += 10 * MILLISECOND_NS;
        assert_true(now_ns < 30 * SECOND_NS);
    }
    assert_in_range(now_ns, 23 * SECOND_NS, 23 * SECOND_NS + 50 * MILLISECOND_NS);
    balancer_destroy(balancer);
    test_free(list);
}

/* Refusing at once makes nobody attractive. */
static void test_quick_errors_attract_nothing(void **state)
{
    struct fixture_list *list = list_create(2);
    struct balancer *balancer = balancer_over(BALANCER_PEAK_EWMA, 1, list);
    for (uint32_t i = 0; i < 2; i++) {
        balancer_begin(balancer, i, 0);
        balancer_end(balancer, i, 0, (10 + i) * MILLISECOND_NS, BALANCER_OK);
    }
    for (int i = 0; i < 100; i++) {
        balancer_begin(balancer, 1, 0);
        balancer_end(balancer, 1, 0, 1000, BALANCER_ERROR);
    }
    assert_int_equal(balancer_pick(balancer, NULL, 0), 0);
    balancer_destroy(balancer);
    test_free(list);
}

/* A newcomer is tried at once, but not flooded before its first answer. */
static void test_unknown_is_tried_once(void **state)
{
    struct fixture_list *list = list_create(2);
    struct balancer *balancer = balancer_over(BALANCER_PEAK_EWMA, 1, list);
    balancer_begin(balancer, 0, 0);
    balancer_end(balancer, 0, 0, SECOND_NS, BALANCER_OK);
    assert_int_equal(balancer_pick(balancer, NULL, 0), 1);
    balancer_begin(balancer, 1, 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(balancer_pick(balancer, NULL, 0), 0);
        balancer_begin(balancer, 0, 0);
    }
    balancer_destroy(balancer);
    test_free(list);
}

/* ---- ten endpoints, one of them ten times slower ---- */

enum { REQUESTS = 20000, ENDPOINTS = 10, SLOW = 3, OPEN = 4096 };

struct request {
    int64_t done_ns;
    int64_t latency_ns;
    uint32_t endpoint;
};

static int compare_times(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left;
    int64_t b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

/* Ends what is done by now, in the order in which it was done. */
static size_t end_done(struct balancer *balancer, struct request *open, size_t count, int64_t now_ns)
{
    for (;;) {
        size_t first = count;
        for (size_t i = 0; i < count; i++) {
            if (open[i].done_ns <= now_ns && (first == count || open[i].done_ns < open[first].done_ns)) {
                first = i;
            }
        }
        if (first == count) {
            return count;
        }
        balancer_end(balancer, open[first].endpoint, open[first].done_ns, open[first].latency_ns, BALANCER_OK);
        open[first] = open[--count];
    }
}

/* 99 of 100 requests are answered within this. Arrivals are 400 a second, at random; an answer takes 5 to 15 ms, or ten
 * times that at one; each endpoint works at `lanes` requests at the same time, the others wait. */
static int64_t p99_ns(enum balancer_policy policy, uint64_t seed, int lanes)
{
    static int64_t latencies[REQUESTS];
    static struct request open[OPEN];
    int64_t free_ns[ENDPOINTS][16] = {{0}};
    struct fixture_list *list = list_create(ENDPOINTS);
    struct balancer *balancer = balancer_over(policy, seed, list);
    struct prng prng;
    prng_seed(&prng, seed);
    size_t count = 0;
    int64_t now_ns = 0;
    for (int i = 0; i < REQUESTS; i++) {
        now_ns += (int64_t)prng_below(&prng, 5 * MILLISECOND_NS);
        count = end_done(balancer, open, count, now_ns);
        uint32_t endpoint = balancer_pick(balancer, NULL, now_ns);
        balancer_begin(balancer, endpoint, now_ns);
        int64_t work_ns =
            (5 * MILLISECOND_NS + (int64_t)prng_below(&prng, 10 * MILLISECOND_NS)) * (endpoint == SLOW ? 10 : 1);
        int lane = 0;
        for (int j = 1; j < lanes; j++) {
            lane = free_ns[endpoint][j] < free_ns[endpoint][lane] ? j : lane;
        }
        int64_t from_ns = free_ns[endpoint][lane] > now_ns ? free_ns[endpoint][lane] : now_ns;
        free_ns[endpoint][lane] = from_ns + work_ns;
        latencies[i] = from_ns + work_ns - now_ns;
        assert_true(count < OPEN);
        open[count++] = (struct request){from_ns + work_ns, latencies[i], endpoint};
    }
    (void)end_done(balancer, open, count, INT64_MAX / 8);
    balancer_destroy(balancer);
    test_free(list);
    qsort(latencies, REQUESTS, sizeof(latencies[0]), compare_times);
    return latencies[REQUESTS * 99 / 100];
}

static void test_one_slow_endpoint(void **state)
{
    static const int lanes[] = {16, 2};
    for (int l = 0; l < 2; l++) {
        for (uint64_t seed = 1; seed <= 5; seed++) {
            int64_t turns_ns = p99_ns(BALANCER_ROUND_ROBIN, seed, lanes[l]);
            int64_t ewma_ns = p99_ns(BALANCER_PEAK_EWMA, seed, lanes[l]);
            if (seed == 1) {
                print_message("# p99 with %d lanes: round robin %.1f ms, peak EWMA %.1f ms\n", lanes[l],
                              (double)turns_ns / 1e6, (double)ewma_ns / 1e6);
            }
            assert_true(ewma_ns * 5 <= turns_ns);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_average_follows_the_definition),
        cmocka_unit_test(test_score_decides),
        cmocka_unit_test(test_quick_errors_attract_nothing),
        cmocka_unit_test(test_unknown_is_tried_once),
        cmocka_unit_test(test_one_slow_endpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
