/* The policies without keys, each by the check that its definition has. */
#include "balance_fixture.h"
#include "base/prng.h"

/* Chi-square of counts against weights; of `count` - 1 degrees of freedom. */
static double chi_square(const uint64_t *counts, const uint32_t *weights, size_t count)
{
    double total = 0;
    double weight = 0;
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        total += (double)counts[i];
        weight += weights[i];
    }
    for (size_t i = 0; i < count; i++) {
        double expected = total * weights[i] / weight;
        sum += ((double)counts[i] - expected) * ((double)counts[i] - expected) / expected;
    }
    return sum;
}

/* 0.999 quantiles: 26.12 for 8 degrees of freedom, 24.32 for 7. */
static void test_random_is_in_proportion(void **state)
{
    static const uint32_t weights[9] = {1, 2, 3, 4, 5, 10, 20, 55, 100};
    struct fixture_list *list = list_create(9);
    for (size_t i = 0; i < 9; i++) {
        list->items[i].weight = weights[i];
    }
    struct balancer *balancer = balancer_over(BALANCER_RANDOM, 11, list);
    uint64_t counts[9] = {0};
    for (int i = 0; i < 200000; i++) {
        counts[balancer_pick(balancer, NULL, 0)]++;
    }
    assert_true(chi_square(counts, weights, 9) < 26.12);

    /* Who is excluded leaves the proportions of the others; the heaviest two, so that drawing again does not do. */
    uint32_t excluded[2] = {7, 8};
    struct balancer_request request = {.excluded = excluded, .excluded_count = 2};
    memset(counts, 0, sizeof(counts));
    for (int i = 0; i < 200000; i++) {
        counts[balancer_pick(balancer, &request, 0)]++;
    }
    assert_int_equal(counts[7] + counts[8], 0);
    assert_true(chi_square(counts, weights, 7) < 22.46);
    balancer_destroy(balancer);
    test_free(list);
}

static void test_random_of_equals(void **state)
{
    uint32_t weights[100];
    uint64_t counts[100] = {0};
    struct fixture_list *list = list_create(100);
    for (size_t i = 0; i < 100; i++) {
        weights[i] = list->items[i].weight = 7;
    }
    struct balancer *balancer = balancer_over(BALANCER_RANDOM, 3, list);
    for (int i = 0; i < 200000; i++) {
        counts[balancer_pick(balancer, NULL, 0)]++;
    }
    assert_true(chi_square(counts, weights, 100) < 148.2); /* 99 degrees, 0.999 */
    balancer_destroy(balancer);
    test_free(list);
}

static void test_round_robin_counts(void **state)
{
    struct fixture_list *list = list_create(7);
    bool started[7] = {0};
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct balancer *balancer = balancer_over(BALANCER_ROUND_ROBIN, seed, list);
        uint32_t first = balancer_pick(balancer, NULL, 0);
        started[first] = true;
        for (uint32_t i = 1; i < 70; i++) {
            assert_int_equal(balancer_pick(balancer, NULL, 0), (first + i) % 7);
        }
        balancer_destroy(balancer);
    }
    for (int i = 0; i < 7; i++) {
        assert_true(started[i]);
    }
    test_free(list);
}

/* An update in the middle of a cycle: whose turn is next has it still. */
static void test_round_robin_keeps_its_place(void **state)
{
    struct fixture_list *list = list_create(5);
    struct balancer *balancer = balancer_over(BALANCER_ROUND_ROBIN, 1, list);
    while (balancer_pick(balancer, NULL, 0) != 1) {
    }
    list_remove_at(list, 0);
    update(balancer, list, 0); /* e1 e2 e3 e4 */
    assert_int_equal(balancer_pick(balancer, NULL, 0), 2);
    list_remove_at(list, 2);
    update(balancer, list, 0); /* e1 e2 e4: e3, whose turn it was, is gone */
    assert_int_equal(balancer_pick(balancer, NULL, 0), 4);
    uint32_t excluded[1] = {1};
    struct balancer_request request = {.excluded = excluded, .excluded_count = 1};
    assert_int_equal(balancer_pick(balancer, &request, 0), 2);
    assert_int_equal(balancer_pick(balancer, NULL, 0), 4);
    balancer_destroy(balancer);
    test_free(list);
}

static void test_weighted_sequence(void **state)
{
    struct fixture_list *list = list_create(3);
    list->items[0].weight = 5;
    struct balancer *balancer = balancer_over(BALANCER_WEIGHTED_ROUND_ROBIN, 1, list);
    char picked[8] = {0};
    for (int cycle = 0; cycle < 3; cycle++) {
        for (int i = 0; i < 7; i++) {
            picked[i] = (char)('a' + balancer_pick(balancer, NULL, 0));
        }
        assert_string_equal(picked, "aabacaa");
    }
    balancer_destroy(balancer);
    test_free(list);
}

static void test_weighted_cycles_are_exact(void **state)
{
    struct prng prng;
    prng_seed(&prng, 5);
    for (int round = 0; round < 50; round++) {
        size_t count = 1 + prng_below(&prng, 20);
        struct fixture_list *list = list_create(count);
        uint32_t cycle = 0;
        for (size_t i = 0; i < count; i++) {
            cycle += list->items[i].weight = 1 + (uint32_t)prng_below(&prng, 30);
        }
        struct balancer *balancer = balancer_over(BALANCER_WEIGHTED_ROUND_ROBIN, 1, list);
        for (int cycles = 1; cycles <= 3; cycles++) {
            for (uint32_t i = 0; i < cycle; i++) {
                (void)balancer_pick(balancer, NULL, 0);
            }
            for (uint32_t i = 0; i < count; i++) {
                assert_int_equal(statistics_of(balancer, i).picked, (uint64_t)cycles * list->items[i].weight);
            }
        }
        balancer_destroy(balancer);
        test_free(list);
    }
}

/* A weight that was huge for a while leaves no debt that would take ages to pay. */
static void test_weighted_forgets_huge_weights(void **state)
{
    struct fixture_list *list = list_create(3);
    struct balancer *balancer = balancer_over(BALANCER_WEIGHTED_ROUND_ROBIN, 1, list);
    for (int round = 0; round < 20; round++) {
        list->items[round % 3].weight = 65535;
        update(balancer, list, 0);
        for (int i = 0; i < 30000; i++) {
            (void)balancer_pick(balancer, NULL, 0);
        }
        list->items[round % 3].weight = 1;
        update(balancer, list, 0);
        uint32_t seen = 0;
        for (int i = 0; i < 12; i++) {
            seen |= 1U << balancer_pick(balancer, NULL, 0);
        }
        assert_int_equal(seen, 7);
    }
    balancer_destroy(balancer);
    test_free(list);
}

static void test_least_never_picks_a_larger_one(void **state)
{
    struct prng prng;
    prng_seed(&prng, 9);
    struct fixture_list *list = list_create(23);
    for (size_t i = 0; i < list->count; i++) {
        list->items[i].weight = 1 + (uint32_t)prng_below(&prng, 9);
    }
    struct balancer *balancer = balancer_over(BALANCER_LEAST_OUTSTANDING, 1, list);
    uint64_t load[23] = {0};
    for (int i = 0; i < 20000; i++) {
        uint32_t picked = balancer_pick(balancer, NULL, 0);
        for (uint32_t j = 0; j < 23; j++) {
            assert_true((load[picked] + 1) * list->items[j].weight <= (load[j] + 1) * list->items[picked].weight);
        }
        load[picked]++;
        balancer_begin(balancer, picked, 0);
        uint32_t ending = (uint32_t)prng_below(&prng, 23);
        if (load[ending] > 0 && prng_chance(&prng, 3, 4)) {
            load[ending]--;
            balancer_end(balancer, ending, 0, 1, BALANCER_OK);
        }
    }
    balancer_destroy(balancer);
    test_free(list);
}

/* One request at a time goes round. */
static void test_least_takes_turns_when_idle(void **state)
{
    struct fixture_list *list = list_create(4);
    struct balancer *balancer = balancer_over(BALANCER_LEAST_OUTSTANDING, 1, list);
    uint32_t first = balancer_pick(balancer, NULL, 0);
    for (uint32_t i = 1; i < 12; i++) {
        assert_int_equal(balancer_pick(balancer, NULL, 0), (first + i) % 4);
    }
    balancer_destroy(balancer);
    test_free(list);
}

/* The largest load after m = n = 1000 requests that do not end. */
static uint32_t largest_load(enum balancer_policy policy, uint64_t seed, const struct fixture_list *list)
{
    struct balancer *balancer = balancer_over(policy, seed, list);
    for (size_t i = 0; i < list->count; i++) {
        balancer_begin(balancer, balancer_pick(balancer, NULL, 0), 0);
    }
    uint32_t largest = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        uint32_t load = statistics_of(balancer, i).in_flight;
        largest = load > largest ? load : largest;
    }
    balancer_destroy(balancer);
    return largest;
}

static void test_two_choices_keep_loads_even(void **state)
{
    struct fixture_list *list = list_create(1000);
    double random = 0;
    double two = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        uint32_t load = largest_load(BALANCER_TWO_CHOICES, seed, list);
        assert_in_range(load, 2, 4);
        two += load;
        load = largest_load(BALANCER_RANDOM, seed, list);
        assert_in_range(load, 4, 9);
        random += load;
    }
    print_message("# largest of 1000 loads: two choices %.2f, random %.2f\n", two / 50, random / 50);
    assert_true(two / 50 > 2.5 && two / 50 < 3.5);
    assert_true(random / 50 > 5 && random / 50 < 6.5);
    test_free(list);
}

/* Of two endpoints both are always drawn, so the less loaded one takes it. */
static void test_two_choices_are_two(void **state)
{
    struct fixture_list *list = list_create(2);
    list->items[0].weight = 65535;
    list->items[1].weight = 65535;
    struct balancer *balancer = balancer_over(BALANCER_TWO_CHOICES, 4, list);
    for (int i = 0; i < 1000; i++) {
        balancer_begin(balancer, balancer_pick(balancer, NULL, 0), 0);
    }
    assert_int_equal(statistics_of(balancer, 0).in_flight, 500);
    balancer_destroy(balancer);

    list->items[1].weight = 1; /* hardly ever drawn, so it is looked for */
    balancer = balancer_over(BALANCER_TWO_CHOICES, 4, list);
    for (int i = 0; i < 65535; i++) {
        balancer_begin(balancer, 0, 0);
    }
    assert_int_equal(balancer_pick(balancer, NULL, 0), 1);
    balancer_destroy(balancer);
    test_free(list);
}

/* Whatever the policy: the others when some are excluded, nobody when all are, nobody without a list. */
static void test_exclusions(void **state)
{
    struct fixture_list *list = list_create(20);
    for (int policy = 0; policy < BALANCER_POLICIES; policy++) {
        struct balancer_options options = plain_options((enum balancer_policy)policy, 1);
        struct balancer *balancer = balancer_of(&options);
        assert_int_equal(balancer_pick(balancer, NULL, 0), BALANCER_NONE);
        assert_int_equal(pick_key(balancer, 7, 0), BALANCER_NONE);
        update(balancer, list, 0);
        uint32_t excluded[21];
        for (size_t count = 0; count < 20; count++) {
            struct balancer_request request = {
                .has_key = true, .key = 7, .excluded = excluded, .excluded_count = count};
            excluded[count] = balancer_pick(balancer, &request, 0);
            assert_int_not_equal(excluded[count], BALANCER_NONE);
            for (size_t i = 0; i < count; i++) {
                assert_int_not_equal(excluded[count], excluded[i]);
            }
        }
        excluded[20] = excluded[0]; /* given twice */
        struct balancer_request request = {.excluded = excluded, .excluded_count = 21};
        assert_int_equal(balancer_pick(balancer, &request, 0), BALANCER_NONE);
        assert_int_not_equal(balancer_pick(balancer, NULL, 0), BALANCER_NONE);
        assert_int_equal(balancer_update(balancer, NULL, 0, 0, NULL), STATUS_OK);
        assert_int_equal(balancer_pick(balancer, NULL, 0), BALANCER_NONE);
        assert_int_equal(summary_of(balancer).picked_none, 4);
        balancer_destroy(balancer);
    }
    test_free(list);
}

/* The same seed and the same calls: the same picks. */
static void test_deterministic(void **state)
{
    struct fixture_list *list = list_create(30);
    for (int policy = 0; policy < BALANCER_POLICIES; policy++) {
        struct balancer *one = balancer_over((enum balancer_policy)policy, 8, list);
        struct balancer *other = balancer_over((enum balancer_policy)policy, 8, list);
        for (int i = 0; i < 500; i++) {
            uint32_t picked = balancer_pick(one, NULL, i);
            assert_int_equal(picked, balancer_pick(other, NULL, i));
            balancer_begin(one, picked, i);
            balancer_begin(other, picked, i);
        }
        balancer_destroy(one);
        balancer_destroy(other);
    }
    test_free(list);
}

static void test_names(void **state)
{
    for (int i = 0; i < BALANCER_POLICIES; i++) {
        enum balancer_policy policy = BALANCER_POLICIES;
        assert_true(balancer_policy_parse(slice_from_string(balancer_policy_name((enum balancer_policy)i)), &policy));
        assert_int_equal(policy, i);
    }
    enum balancer_policy untouched = BALANCER_RING;
    assert_false(balancer_policy_parse(slice_from_string("fastest"), &untouched));
    assert_int_equal(untouched, BALANCER_RING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_is_in_proportion),
        cmocka_unit_test(test_random_of_equals),
        cmocka_unit_test(test_round_robin_counts),
        cmocka_unit_test(test_round_robin_keeps_its_place),
        cmocka_unit_test(test_weighted_sequence),
        cmocka_unit_test(test_weighted_cycles_are_exact),
        cmocka_unit_test(test_weighted_forgets_huge_weights),
        cmocka_unit_test(test_least_never_picks_a_larger_one),
        cmocka_unit_test(test_least_takes_turns_when_idle),
        cmocka_unit_test(test_two_choices_keep_loads_even),
        cmocka_unit_test(test_two_choices_are_two),
        cmocka_unit_test(test_exclusions),
        cmocka_unit_test(test_deterministic),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
