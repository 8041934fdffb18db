/* Checks, ejections, outliers, panic, slow start. */
#include "balance_fixture.h"

static struct balancer *with_health(size_t count, struct balancer_options *options, struct fixture_list **ret_list)
{
    *ret_list = list_create(count);
    struct balancer *balancer = balancer_of(options);
    update(balancer, *ret_list, 0);
    return balancer;
}

static struct balancer_options health_options(void)
{
    struct balancer_options options;
    balancer_options_init(&options);
    options.policy = BALANCER_ROUND_ROBIN;
    options.slow_start_ns = 0;
    return options;
}

static void request(struct balancer *balancer, uint32_t handle, int64_t now_ns, enum balancer_outcome outcome)
{
    balancer_begin(balancer, handle, now_ns);
    balancer_end(balancer, handle, now_ns, MILLISECOND_NS, outcome);
}

/* So many errors in a row that it is ejected, if it may be. */
static void fail_row(struct balancer *balancer, uint32_t handle, int64_t now_ns)
{
    for (int i = 0; i < 5; i++) {
        request(balancer, handle, now_ns, BALANCER_ERROR);
    }
}

static bool is_ejected(const struct balancer *balancer, uint32_t handle)
{
    return statistics_of(balancer, handle).ejected;
}

static void test_rise_and_fall(void **state)
{
    struct fixture_list *list;
    struct balancer_options options = health_options();
    struct balancer *balancer = with_health(3, &options, &list);
    /* 3 failures in a row, 2 passes in a row */
    static const char results[] = "--+---+-++--+--+---";
    static const char healthy[] = "yyyyynnnnyyyyyyyyyn";
    for (size_t i = 0; results[i] != '\0'; i++) {
        balancer_check_result(balancer, 1, 0, results[i] == '+');
        struct balancer_statistics statistics = statistics_of(balancer, 1);
        assert_int_equal(statistics.healthy, healthy[i] == 'y');
        assert_int_equal(statistics.eligible, healthy[i] == 'y');
        for (int j = 0; j < 6; j++) {
            assert_true(balancer_pick(balancer, NULL, 0) != 1 || healthy[i] == 'y');
        }
    }
    balancer_destroy(balancer);
    test_free(list);
}

static void test_errors_in_a_row_eject(void **state)
{
    struct fixture_list *list;
    struct balancer_options options = health_options();
    struct balancer *balancer = with_health(10, &options, &list);
    for (int i = 0; i < 4; i++) {
        request(balancer, 2, 0, BALANCER_ERROR);
    }
    request(balancer, 2, 0, BALANCER_CANCELLED); /* says nothing, ends nothing */
    assert_false(is_ejected(balancer, 2));
    request(balancer, 2, 0, BALANCER_OK);
    fail_row(balancer, 2, SECOND_NS);
    assert_true(is_ejected(balancer, 2));
    assert_int_equal(statistics_of(balancer, 2).ejected_until_ns, 31 * SECOND_NS);
    for (int i = 0; i < 20; i++) {
        assert_int_not_equal(balancer_pick(balancer, NULL, 2 * SECOND_NS), 2);
    }
    balancer_tick(balancer, 31 * SECOND_NS - 1);
    assert_true(is_ejected(balancer, 2));
    assert_true(balancer_next_deadline(balancer) <= 31 * SECOND_NS);
    balancer_tick(balancer, 31 * SECOND_NS);
    assert_false(is_ejected(balancer, 2));
    uint32_t seen = 0;
    for (int i = 0; i < 10; i++) {
        seen += balancer_pick(balancer, NULL, 31 * SECOND_NS) == 2;
    }
    assert_int_equal(seen, 1);
    balancer_destroy(balancer);
    test_free(list);
}

static void test_checks_that_saw_an_outage_end_its_ejection(void **state)
{
    struct fixture_list *list;
    struct balancer_options options = health_options();
    struct balancer *balancer = with_health(10, &options, &list);
    fail_row(balancer, 2, SECOND_NS);
    for (int i = 0; i < 5; i++) { /* checks that pass all the time know nothing of it */
        balancer_check_result(balancer, 2, 2 * SECOND_NS, true);
    }
    assert_true(is_ejected(balancer, 2));
    for (int i = 0; i < 3; i++) {
        balancer_check_result(balancer, 2, 3 * SECOND_NS, false);
    }
    balancer_check_result(balancer, 2, 4 * SECOND_NS, true);
    assert_true(is_ejected(balancer, 2));
    balancer_check_result(balancer, 2, 4 * SECOND_NS, true);
    assert_false(is_ejected(balancer, 2));
    assert_true(statistics_of(balancer, 2).eligible);
    balancer_destroy(balancer);
    test_free(list);
}

/* 30 s, 60 s, 90 s, … 300 s; each base time without one takes one off. */
static void test_ejections_grow(void **state)
{
    struct fixture_list *list;
    struct balancer_options options = health_options();
    struct balancer *balancer = with_health(10, &options, &list);
    int64_t now_ns = 0;
    for (int64_t n = 1; n <= 14; n++) {
        fail_row(balancer, 0, now_ns);
        int64_t until_ns = now_ns + 30 * SECOND_NS * (n < 10 ? n : 10);
        assert_int_equal(statistics_of(balancer, 0).ejected_until_ns, until_ns);
        now_ns = until_ns;
    }
    now_ns += 95 * SECOND_NS;
    fail_row(balancer, 0, now_ns); /* of 11 in a row three are forgotten */
    assert_int_equal(statistics_of(balancer, 0).ejected_until_ns, now_ns + 270 * SECOND_NS);
    now_ns += 270 * SECOND_NS + 3600 * SECOND_NS;
    fail_row(balancer, 0, now_ns);
    assert_int_equal(statistics_of(balancer, 0).ejected_until_ns, now_ns + 30 * SECOND_NS);
    assert_int_equal(statistics_of(balancer, 0).ejections, 16);
    balancer_destroy(balancer);
    test_free(list);
}

/* All fail: how many of them may be ejected. */
static void test_how_many_are_ejected(void **state)
{
    static const struct {
        size_t count;
        uint32_t percent;
        uint32_t ejected;
    } cases[] = {{1, 10, 0},  {2, 10, 1},  {3, 10, 1},  {10, 10, 1}, {19, 10, 1},  {20, 10, 2},
                 {45, 10, 4}, {10, 50, 5}, {4, 100, 3}, {10, 0, 0},  {100, 10, 10}};
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        struct fixture_list *list;
        struct balancer_options options = health_options();
        options.eject_percent = cases[c].percent;
        struct balancer *balancer = with_health(cases[c].count, &options, &list);
        for (uint32_t i = 0; i < cases[c].count; i++) {
            fail_row(balancer, i, 0);
        }
        assert_int_equal(summary_of(balancer).ejected, cases[c].ejected);
        assert_int_not_equal(balancer_pick(balancer, NULL, 0), BALANCER_NONE);
        balancer_destroy(balancer);
        test_free(list);
    }
}

/* The list shrinks, or checks fail: those that are ejected beyond the limits come back, the first to end first. */
static void test_limits_hold_when_the_list_shrinks(void **state)
{
    struct fixture_list *list;
    struct balancer_options options = health_options();
    struct balancer *balancer = with_health(40, &options, &list);
    for (uint32_t i = 0; i < 4; i++) {
        fail_row(balancer, i, i);
    }
    assert_int_equal(summary_of(balancer).ejected, 4);
    list->count = 20;
    update(balancer, list, 10);
    assert_int_equal(summary_of(balancer).ejected, 2);
    assert_true(is_ejected(balancer, 2) && is_ejected(balancer, 3));
    for (uint32_t i = 0; i < 20; i++) { /* the last healthy one was among the ejected */
        for (int j = 0; j < 3 && i != 2; j++) {
            balancer_check_result(balancer, i, 10, false);
        }
    }
    assert_false(is_ejected(balancer, 2));
    balancer_destroy(balancer);
    test_free(list);
}

/* Rates of 100 %, and some lower ones, of `count` endpoints with `requests` each; then the interval ends. */
static void interval(struct balancer *balancer, const int *rates, uint32_t count, int requests, int64_t now_ns)
{
    for (int i = 0; i < requests; i++) {
        for (uint32_t j = 0; j < count; j++) {
            /* spread, so that no five errors come in a row */
            bool good = (i + 1) * rates[j] / 100 > i * rates[j] / 100;
            request(balancer, j, now_ns, good ? BALANCER_OK : BALANCER_ERROR);
        }
    }
    balancer_tick(balancer, now_ns + 10 * SECOND_NS);
}

static void test_outliers_are_ejected(void **state)
{
    /* mean 96, σ 12: below 73.2 */
    static const int one[10] = {100, 100, 100, 100, 60, 100, 100, 100, 100, 100};
    /* mean 80, σ 24.5: below 33.5 */
    static const int near[10] = {100, 100, 50, 50, 50, 100, 100, 50, 100, 100};
    static const struct {
        const int *rates;
        uint32_t count;
        int requests;
        uint32_t ejected;
    } cases[] = {{one, 10, 100, 4},
                 {one, 10, 99, BALANCER_NONE},     /* too few requests */
                 {one + 1, 4, 100, BALANCER_NONE}, /* too few endpoints */
                 {near, 10, 100, BALANCER_NONE}};
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        struct fixture_list *list;
        struct balancer_options options = health_options();
        struct balancer *balancer = with_health(cases[c].count, &options, &list);
        interval(balancer, cases[c].rates, cases[c].count, cases[c].requests, SECOND_NS);
        for (uint32_t i = 0; i < cases[c].count; i++) {
            assert_int_equal(is_ejected(balancer, i), i == cases[c].ejected);
        }
        balancer_destroy(balancer);
        test_free(list);
    }
}

/* Of several outliers the worst come first, as many as may be; a new interval counts from nothing. */
static void test_the_worst_outliers_come_first(void **state)
{
    struct fixture_list *list;
    struct balancer_options options = health_options();
    options.outlier_deviation_permille = 500;
    struct balancer *balancer = with_health(20, &options, &list);
    int rates[20];
    for (int i = 0; i < 20; i++) {
        rates[i] = i == 3 ? 70 : i == 9 ? 60 : i == 15 ? 65 : 100;
    }
    interval(balancer, rates, 20, 100, 0);
    assert_int_equal(summary_of(balancer).ejected, 2);
    assert_true(is_ejected(balancer, 9) && is_ejected(balancer, 15));
    interval(balancer, rates, 20, 50, 60 * SECOND_NS);
    assert_int_equal(summary_of(balancer).ejected, 0);
    balancer_destroy(balancer);
    test_free(list);
}

/* More than half unhealthy: all are used rather than few. */
static void test_panic(void **state)
{
    struct fixture_list *list;
    struct balancer_options options = health_options();
    struct balancer *balancer = with_health(10, &options, &list);
    for (uint32_t i = 0; i < 10; i++) {
        for (int j = 0; j < 3; j++) {
            balancer_check_result(balancer, i, 0, false);
        }
        struct balancer_summary summary = summary_of(balancer);
        assert_int_equal(summary.unhealthy, i + 1);
        assert_int_equal(summary.panic, i + 1 > 5);
        assert_int_equal(summary.eligible, i + 1 > 5 ? 10 : 10 - (i + 1));
    }
    uint32_t seen = 0;
    for (int i = 0; i < 10; i++) {
        seen |= 1U << balancer_pick(balancer, NULL, 0);
    }
    assert_int_equal(seen, 1023);
    for (uint32_t i = 0; i < 10; i++) {
        balancer_check_result(balancer, i, 0, true);
        balancer_check_result(balancer, i, 0, true);
    }
    assert_false(summary_of(balancer).panic);

    balancer_destroy(balancer);
    test_free(list);

    options.panic_percent = 100; /* never */
    balancer = with_health(2, &options, &list);
    for (int j = 0; j < 3; j++) {
        balancer_check_result(balancer, 0, 0, false);
        balancer_check_result(balancer, 1, 0, false);
    }
    assert_int_equal(balancer_pick(balancer, NULL, 0), BALANCER_NONE);
    balancer_destroy(balancer);
    test_free(list);
}

/* How many of 4000 requests, one at a time, an endpoint gets of four at this time. */
static uint32_t share_of(struct balancer *balancer, uint32_t handle, int64_t now_ns)
{
    uint32_t count = 0;
    for (int i = 0; i < 4000; i++) {
        count += balancer_pick(balancer, NULL, now_ns) == handle;
    }
    return count;
}

/* An endpoint that comes back, or joins, grows from a tenth of its part to all of it. */
static void test_slow_start(void **state)
{
    static const enum balancer_policy policies[] = {BALANCER_RANDOM, BALANCER_ROUND_ROBIN,
                                                    BALANCER_WEIGHTED_ROUND_ROBIN};
    for (int p = 0; p < 3; p++) {
        struct fixture_list *list;
        struct balancer_options options = health_options();
        options.policy = policies[p];
        options.slow_start_ns = 10 * SECOND_NS;
        struct balancer *balancer = with_health(3, &options, &list);
        assert_in_range(share_of(balancer, 0, 0), 1200, 1470); /* a first list starts at once */
        test_free(list);
        list = list_create(4);
        update(balancer, list, 100 * SECOND_NS);
        for (int64_t second = 0; second <= 10; second++) {
            double part = second < 1 ? 0.1 : (double)second / 10;
            double expected = 4000 * part / (3 + part);
            uint32_t share = share_of(balancer, 3, (100 + second) * SECOND_NS);
            assert_in_range(share, (uint32_t)(expected * 0.85) - 5, (uint32_t)(expected * 1.15) + 5);
            assert_in_range(statistics_of(balancer, 3).effective_weight_permille, part * 1000 - 2, part * 1000 + 1);
        }
        assert_int_equal(balancer_next_deadline(balancer), INT64_MAX);
        for (int i = 0; i < 5; i++) {
            balancer_check_result(balancer, 0, 120 * SECOND_NS, i >= 3);
        }
        assert_in_range(share_of(balancer, 0, 120 * SECOND_NS), 80, 180);
        assert_in_range(share_of(balancer, 0, 130 * SECOND_NS), 900, 1100);
        balancer_destroy(balancer);
        test_free(list);
    }
}

/* In a slow start an endpoint takes load of others only when they have more for their weight. */
static void test_slow_start_of_loads(void **state)
{
    struct fixture_list *list;
    struct balancer_options options = health_options();
    options.policy = BALANCER_LEAST_OUTSTANDING;
    options.slow_start_ns = 10 * SECOND_NS;
    struct balancer *balancer = with_health(1, &options, &list);
    test_free(list);
    list = list_create(2);
    update(balancer, list, 0);
    for (int i = 0; i < 9; i++) {
        assert_int_equal(balancer_pick(balancer, NULL, 0), 0);
        balancer_begin(balancer, 0, 0);
    }
    balancer_begin(balancer, 0, 0);
    assert_int_equal(balancer_pick(balancer, NULL, 0), 1);
    balancer_destroy(balancer);
    test_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rise_and_fall),
        cmocka_unit_test(test_errors_in_a_row_eject),
        cmocka_unit_test(test_checks_that_saw_an_outage_end_its_ejection),
        cmocka_unit_test(test_ejections_grow),
        cmocka_unit_test(test_how_many_are_ejected),
        cmocka_unit_test(test_limits_hold_when_the_list_shrinks),
        cmocka_unit_test(test_outliers_are_ejected),
        cmocka_unit_test(test_the_worst_outliers_come_first),
        cmocka_unit_test(test_panic),
        cmocka_unit_test(test_slow_start),
        cmocka_unit_test(test_slow_start_of_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
