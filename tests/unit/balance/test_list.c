/* Lists: whose state survives, what is refused, drain, freeze, limits. */
#include "balance_fixture.h"

static void test_state_belongs_to_the_id(void **state)
{
    struct fixture_list *list = list_create(5);
    struct balancer *balancer = balancer_over(BALANCER_PEAK_EWMA, 1, list);
    balancer_begin(balancer, 1, 0);
    balancer_begin(balancer, 1, 0);
    balancer_end(balancer, 1, 0, 7 * MILLISECOND_NS, BALANCER_OK);
    for (int i = 0; i < 3; i++) {
        balancer_check_result(balancer, 1, 0, false);
    }
    struct fixture_list *without = list_create(5);
    list_remove_at(without, 1);
    update(balancer, without, 0);
    assert_int_equal(balancer_find(balancer, SLICE_LITERAL("e1")), BALANCER_NONE);
    assert_int_equal(summary_of(balancer).leaving, 1);
    assert_false(statistics_of(balancer, 1).listed);
    balancer_end(balancer, 1, 0, 9 * MILLISECOND_NS, BALANCER_OK); /* it left with this in flight */
    balancer_begin(balancer, 1, 0);                                /* and a pick from before the update */
    assert_int_equal(summary_of(balancer).leaving, 1);
    list->items[1].address = SLICE_LITERAL("moved");
    list->items[1].weight = 9;
    update(balancer, list, 0);
    struct balancer_statistics back = statistics_of(balancer, handle_of(balancer, "e1"));
    assert_int_equal(back.in_flight, 1);
    assert_int_equal(back.succeeded, 2);
    assert_false(back.healthy);
    assert_int_equal(back.weight, 9);
    assert_float_equal(back.average_ns, 9e6, 1);
    assert_true(slice_equal(back.address, SLICE_LITERAL("moved")));
    balancer_destroy(balancer);
    test_free(list);
    test_free(without);
}

/* Exactly as many that left are remembered as the limit says, the latest ones; those with requests in flight always. */
static void test_what_is_remembered(void **state)
{
    struct fixture_list *list = list_create(FIXTURE_ENDPOINTS);
    struct balancer *balancer = balancer_over(BALANCER_RANDOM, 1, list);
    for (uint32_t i = 0; i < FIXTURE_ENDPOINTS; i++) {
        balancer_begin(balancer, i, 0);
        if (i > 0) {
            balancer_end(balancer, i, 0, 1, BALANCER_OK);
        }
    }
    struct fixture_list *other = list_create(FIXTURE_ENDPOINTS);
    for (size_t i = 0; i < FIXTURE_ENDPOINTS; i++) {
        other->names[i][0] = 'x';
    }
    update(balancer, other, 0); /* all e left, all are remembered */
    list->count = 1000;
    update(balancer, list, 0); /* e0 to e999 are back with their state, all x left: 4096 + 3096 */
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(statistics_of(balancer, handle_of(balancer, list->names[i])).succeeded, i > 0);
    }
    list->count = FIXTURE_ENDPOINTS;
    update(balancer, list, 0); /* the other e were forgotten */
    for (uint32_t i = 1000; i < FIXTURE_ENDPOINTS; i++) {
        assert_int_equal(statistics_of(balancer, handle_of(balancer, list->names[i])).succeeded, 0);
    }
    assert_int_equal(statistics_of(balancer, handle_of(balancer, "e0")).in_flight, 1);
    balancer_destroy(balancer);
    test_free(list);
    test_free(other);
}

static void test_too_many_leave_with_requests(void **state)
{
    struct fixture_list *list = list_create(FIXTURE_ENDPOINTS);
    struct fixture_list *other = list_create(FIXTURE_ENDPOINTS);
    struct balancer *balancer = balancer_over(BALANCER_RANDOM, 1, list);
    for (uint32_t i = 0; i < FIXTURE_ENDPOINTS; i++) {
        balancer_begin(balancer, i, 0);
        other->names[i][0] = 'x';
    }
    update(balancer, other, 0);
    uint32_t busy = handle_of(balancer, "x0");
    balancer_begin(balancer, busy, 0);
    struct balancer_refused refused = {0};
    assert_int_equal(balancer_update(balancer, NULL, 0, 0, &refused), STATUS_FULL);
    assert_int_equal(refused.why, BALANCER_REFUSED_IN_FLIGHT);
    assert_int_equal(summary_of(balancer).listed, FIXTURE_ENDPOINTS);
    balancer_end(balancer, busy, 0, 1, BALANCER_OK);
    assert_int_equal(balancer_update(balancer, NULL, 0, 0, &refused), STATUS_OK);
    balancer_destroy(balancer);
    test_free(list);
    test_free(other);
}

static void test_refusals(void **state)
{
    static char long_text[300];
    memset(long_text, 'x', sizeof(long_text));
    struct slice fine = SLICE_LITERAL("fine");
    struct slice nothing = slice_of(NULL, 0);
    const struct {
        struct balancer_listing listing;
        enum balancer_refusal why;
    } cases[] = {
        {{.id = nothing, .address = fine, .weight = 1}, BALANCER_REFUSED_ID},
        {{.id = slice_of(long_text, 255), .address = fine, .weight = 1}, BALANCER_REFUSED_NOTHING},
        {{.id = slice_of(long_text, 256), .address = fine, .weight = 1}, BALANCER_REFUSED_ID},
        {{.id = SLICE_LITERAL("a b"), .address = fine, .weight = 1}, BALANCER_REFUSED_ID},
        {{.id = SLICE_LITERAL("a\0b"), .address = fine, .weight = 1}, BALANCER_REFUSED_ID},
        {{.id = SLICE_LITERAL("e1"), .address = fine, .weight = 1}, BALANCER_REFUSED_DUPLICATE},
        {{.id = fine, .address = nothing, .weight = 1}, BALANCER_REFUSED_ADDRESS},
        {{.id = fine, .address = slice_of(long_text, 255), .weight = 1}, BALANCER_REFUSED_NOTHING},
        {{.id = fine, .address = slice_of(long_text, 256), .weight = 1}, BALANCER_REFUSED_ADDRESS},
        {{.id = fine, .address = SLICE_LITERAL("a\nb"), .weight = 1}, BALANCER_REFUSED_ADDRESS},
        {{.id = fine, .address = fine, .weight = 0}, BALANCER_REFUSED_WEIGHT},
        {{.id = fine, .address = fine, .weight = 65535}, BALANCER_REFUSED_NOTHING},
        {{.id = fine, .address = fine, .weight = 65536}, BALANCER_REFUSED_WEIGHT},
        {{.id = fine, .address = fine, .weight = 1, .zone = slice_of(long_text, 63)}, BALANCER_REFUSED_NOTHING},
        {{.id = fine, .address = fine, .weight = 1, .zone = slice_of(long_text, 64)}, BALANCER_REFUSED_ZONE},
        {{.id = fine, .address = fine, .weight = 1, .zone = SLICE_LITERAL("\x7f")}, BALANCER_REFUSED_ZONE},
    };
    struct fixture_list *list = list_create(3);
    struct balancer *balancer = balancer_over(BALANCER_RANDOM, 1, list);
    list->count = 4;
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        list->items[3] = cases[c].listing;
        struct balancer_refused refused = {.at = 99};
        enum status status = balancer_update(balancer, list->items, 4, 0, &refused);
        assert_int_equal(status, cases[c].why == BALANCER_REFUSED_NOTHING ? STATUS_OK : STATUS_INVALID);
        if (status != STATUS_OK) {
            assert_int_equal(refused.why, cases[c].why);
            assert_int_equal(refused.at, 3);
        }
        assert_int_equal(summary_of(balancer).listed, status == STATUS_OK ? 4 : 3);
        assert_int_equal(balancer_update(balancer, list->items, 3, 0, NULL), STATUS_OK);
    }
    balancer_destroy(balancer);
    test_free(list);
}

static void test_number_of_endpoints(void **state)
{
    struct fixture_list *list = list_create(FIXTURE_ENDPOINTS);
    struct balancer_listing *more = test_calloc(FIXTURE_ENDPOINTS + 1, sizeof(*more));
    memcpy(more, list->items, sizeof(list->items));
    more[FIXTURE_ENDPOINTS] =
        (struct balancer_listing){.id = SLICE_LITERAL("more"), .address = SLICE_LITERAL("more"), .weight = 1};
    for (int policy = 0; policy < BALANCER_POLICIES; policy++) {
        struct balancer *balancer = balancer_over((enum balancer_policy)policy, 1, list);
        struct balancer_refused refused;
        assert_int_equal(balancer_update(balancer, more, FIXTURE_ENDPOINTS + 1, 0, &refused), STATUS_TOO_LARGE);
        assert_int_equal(refused.why, BALANCER_REFUSED_COUNT);
        assert_int_not_equal(balancer_pick(balancer, NULL, 0), BALANCER_NONE);
        balancer_destroy(balancer);
    }
    test_free(more);
    test_free(list);
}

static void test_points_of_a_ring(void **state)
{
    struct fixture_list *list = list_create(300);
    struct balancer_options options = plain_options(BALANCER_RING, 1);
    options.ring_points = 4096;
    struct balancer *balancer = balancer_of(&options);
    struct balancer_refused refused;
    assert_int_equal(balancer_update(balancer, list->items, 257, 0, &refused), STATUS_TOO_LARGE);
    assert_int_equal(refused.why, BALANCER_REFUSED_RING_POINTS);
    assert_int_equal(balancer_update(balancer, list->items, 256, 0, NULL), STATUS_OK);
    list->items[0].weight = 2; /* twice the points of the first list's weight */
    assert_int_equal(balancer_update(balancer, list->items, 1, 0, &refused), STATUS_TOO_LARGE);
    assert_int_equal(balancer_update(balancer, list->items + 1, 255, 0, NULL), STATUS_OK);
    balancer_destroy(balancer);

    options.ring_points = 1; /* at least one, however small the weight */
    options.ring_weight = 65535;
    balancer = balancer_of(&options);
    update(balancer, list, 0);
    bool seen[300] = {0};
    for (uint64_t key = 0; key < 100000; key++) {
        seen[pick_key(balancer, key, 0)] = true;
    }
    size_t count = 0;
    for (int i = 0; i < 300; i++) {
        count += seen[i];
    }
    assert_in_range(count, 290, 300); /* some have hardly any keys */
    balancer_destroy(balancer);
    test_free(list);
}

static void test_drain(void **state)
{
    struct fixture_list *list = list_create(4);
    for (int policy = 0; policy < BALANCER_POLICIES; policy++) {
        struct balancer *balancer = balancer_over((enum balancer_policy)policy, 1, list);
        balancer_begin(balancer, 2, 0);
        list->items[2].draining = true;
        update(balancer, list, 0);
        for (uint64_t i = 0; i < 500; i++) {
            assert_int_not_equal(pick_key(balancer, i, 0), 2);
        }
        struct balancer_statistics statistics = statistics_of(balancer, 2);
        assert_true(statistics.listed && statistics.draining && !statistics.eligible);
        assert_int_equal(statistics.in_flight, 1);
        balancer_end(balancer, 2, 0, 1, BALANCER_OK);
        for (size_t i = 0; i < 4; i++) {
            list->items[i].draining = true;
        }
        update(balancer, list, 0);
        assert_int_equal(balancer_pick(balancer, NULL, 0), BALANCER_NONE);
        for (size_t i = 0; i < 4; i++) {
            list->items[i].draining = false;
        }
        update(balancer, list, 0);
        bool seen = false;
        for (uint64_t i = 0; i < 500; i++) {
            seen = seen || pick_key(balancer, i, 0) == 2;
        }
        assert_true(seen || policy == BALANCER_PEAK_EWMA); /* which has to try the others first */
        balancer_destroy(balancer);
    }
    test_free(list);
}

/* A registry that cannot be reached: the last list stays, and it is told since when. */
static void test_freeze(void **state)
{
    struct fixture_list *list = list_create(2);
    struct balancer *balancer = balancer_over(BALANCER_RANDOM, 1, list);
    balancer_freeze(balancer, 5);
    balancer_freeze(balancer, 9);
    struct balancer_summary summary = summary_of(balancer);
    assert_true(summary.frozen);
    assert_int_equal(summary.frozen_since_ns, 5);
    assert_int_not_equal(balancer_pick(balancer, NULL, 10), BALANCER_NONE);
    list->items[0].weight = 0;
    assert_int_equal(balancer_update(balancer, list->items, 2, 11, NULL), STATUS_INVALID);
    assert_true(summary_of(balancer).frozen);
    list->items[0].weight = 1;
    update(balancer, list, 12);
    assert_false(summary_of(balancer).frozen);
    balancer_destroy(balancer);
    test_free(list);
}

static void test_options(void **state)
{
    struct balancer_options fine;
    balancer_options_init(&fine);
    struct balancer_options bad[20];
    for (int i = 0; i < 20; i++) {
        bad[i] = fine;
    }
    bad[0].policy = BALANCER_POLICIES;
    static char long_text[64];
    bad[1].zone = slice_of(long_text, 64);
    bad[2].zone_share_percent = 1001;
    bad[3].ewma_decay_ns = MILLISECOND_NS - 1;
    bad[4].ring_points = 0;
    bad[5].ring_points = 4097;
    bad[6].ring_weight = 65536;
    bad[7].ring_load_percent = 100;
    bad[8].rise = 0;
    bad[9].fall = 1001;
    bad[10].eject_base_ns = 0;
    bad[11].eject_maximum_ns = fine.eject_base_ns - 1;
    bad[12].eject_percent = 101;
    bad[13].outlier_interval_ns = 1;
    bad[14].outlier_requests = 0;
    bad[15].outlier_endpoints = 1;
    bad[16].outlier_deviation_permille = 0;
    bad[17].slow_start_ns = -1;
    bad[18].panic_percent = 101;
    bad[19].ewma_decay_ns = INT64_MAX;
    for (int i = 0; i < 20; i++) {
        struct balancer *untouched = NULL;
        const char *why = NULL;
        assert_int_equal(balancer_create(&bad[i], &untouched, &why), STATUS_INVALID);
        assert_null(untouched);
        assert_non_null(why);
    }
    balancer_destroy(NULL);
    for (int i = 0; i <= BALANCER_REFUSED_IN_FLIGHT; i++) {
        assert_non_null(balancer_refusal_text((enum balancer_refusal)i));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_belongs_to_the_id),
        cmocka_unit_test(test_what_is_remembered),
        cmocka_unit_test(test_too_many_leave_with_requests),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_number_of_endpoints),
        cmocka_unit_test(test_points_of_a_ring),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_freeze),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
