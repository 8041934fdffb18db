/* The policies of keys: ring with bounded loads, Maglev. */
#include "balance_fixture.h"
#include "base/prng.h"

enum { KEYS = 20000 };

static uint64_t key_at(int i) { return balancer_key_hash(slice_of(&i, sizeof(i))); }

static void owners_of_keys(struct balancer *balancer, uint32_t *ret_owners)
{
    for (int i = 0; i < KEYS; i++) {
        ret_owners[i] = pick_key(balancer, key_at(i), 0);
    }
}

static uint32_t before[KEYS], after[KEYS];

/* Removing one moves only its keys; adding it again brings back exactly these. By update, by drain, by checks. */
static void test_ring_moves_only_the_keys_of_one(void **state)
{
    struct fixture_list *list = list_create(50);
    for (size_t i = 0; i < list->count; i++) {
        list->items[i].weight = 100 + 10 * (uint32_t)(i % 5);
    }
    struct balancer *balancer = balancer_over(BALANCER_RING, 1, list);
    owners_of_keys(balancer, before);
    struct balancer_listing removed = list->items[17];
    list_remove_at(list, 17);
    update(balancer, list, 0);
    owners_of_keys(balancer, after);
    int moved = 0;
    for (int i = 0; i < KEYS; i++) {
        assert_true(before[i] == after[i] || before[i] == 17);
        moved += before[i] != after[i];
    }
    assert_in_range(moved, KEYS / 100, KEYS / 30);
    list->items[list->count++] = removed;
    update(balancer, list, 0);
    for (int i = 0; i < KEYS; i++) {
        assert_int_equal(pick_key(balancer, key_at(i), 0), before[i]);
    }
    list->items[3].draining = true;
    update(balancer, list, 0);
    for (int i = 0; i < 3; i++) {
        balancer_check_result(balancer, 17, 0, false);
    }
    owners_of_keys(balancer, after);
    for (int i = 0; i < KEYS; i++) {
        assert_true(after[i] != 3 && after[i] != 17);
        assert_true(before[i] == after[i] || before[i] == 3 || before[i] == 17);
    }
    balancer_destroy(balancer);
    test_free(list);
}

static void test_ring_parts_follow_weights(void **state)
{
    struct fixture_list *list = list_create(10);
    for (size_t i = 0; i < list->count; i++) {
        list->items[i].weight = i < 5 ? 1 : 3;
    }
    struct balancer *balancer = balancer_over(BALANCER_RING, 1, list);
    owners_of_keys(balancer, before);
    int heavy = 0;
    for (int i = 0; i < KEYS; i++) {
        heavy += before[i] >= 5;
    }
    assert_in_range(heavy, KEYS * 70 / 100, KEYS * 80 / 100);
    balancer_destroy(balancer);
    test_free(list);
}

/* ceil(percent / 100 × (all in flight) × weight / weights), after the request. */
static uint64_t bound_of(uint64_t percent, uint64_t all, uint64_t weight, uint64_t weights)
{
    return (percent * all * weight + 100 * weights - 1) / (100 * weights);
}

/* One key alone, and keys of all kinds, while requests end at random: nobody ever gets above the bound. */
static void test_ring_is_bounded(void **state)
{
    static const uint32_t percents[] = {101, 125, 200};
    struct prng prng;
    prng_seed(&prng, 3);
    struct fixture_list *list = list_create(12);
    uint64_t weights = 0;
    for (size_t i = 0; i < list->count; i++) {
        weights += list->items[i].weight = 1 + (uint32_t)(i % 4);
    }
    for (size_t c = 0; c < 3; c++) {
        struct balancer_options options = plain_options(BALANCER_RING, 1);
        options.ring_load_percent = percents[c];
        struct balancer *balancer = balancer_of(&options);
        update(balancer, list, 0);
        uint64_t loads[12] = {0};
        uint64_t all = 0;
        for (int i = 0; i < 30000; i++) {
            uint32_t picked = pick_key(balancer, prng_chance(&prng, 1, 2) ? 42 : prng_next(&prng), 0);
            balancer_begin(balancer, picked, 0);
            loads[picked]++;
            all++;
            assert_true(loads[picked] <= bound_of(percents[c], all, list->items[picked].weight, weights));
            uint32_t ending = (uint32_t)prng_below(&prng, 12);
            while (loads[ending] > 0 && prng_chance(&prng, 9, 10)) {
                balancer_end(balancer, ending, 0, 1, BALANCER_OK);
                loads[ending]--;
                all--;
            }
        }
        balancer_destroy(balancer);
    }
    test_free(list);
}

/* With everybody but a few passed over, whoever is left is found, beyond any walk. */
static void test_ring_finds_the_last_one(void **state)
{
    struct fixture_list *list = list_create(4000);
    for (size_t i = 0; i < list->count; i++) {
        list->items[i].draining = i != 1234;
    }
    struct balancer_options options = plain_options(BALANCER_RING, 1);
    options.ring_points = 10;
    struct balancer *ring = balancer_of(&options);
    update(ring, list, 0);
    struct balancer *maglev = balancer_over(BALANCER_MAGLEV, 1, list);
    for (uint64_t key = 0; key < 300; key++) {
        assert_int_equal(pick_key(ring, key, 0), 1234);
        assert_int_equal(pick_key(maglev, key, 0), 1234);
    }
    balancer_destroy(ring);
    balancer_destroy(maglev);
    test_free(list);
}

/* Several balancers with lists in different orders and other seeds agree about every key. */
static void test_balancers_agree(void **state)
{
    static const enum balancer_policy policies[] = {BALANCER_RING, BALANCER_MAGLEV};
    struct fixture_list *list = list_create(40);
    struct fixture_list *turned = list_create(40);
    for (size_t i = 0; i < 40; i++) {
        list->items[i].weight = 1 + (uint32_t)i % 7;
    }
    for (size_t i = 0; i < 40; i++) {
        turned->items[i] = list->items[39 - i];
    }
    for (int p = 0; p < 2; p++) {
        struct balancer *one = balancer_over(policies[p], 1, list);
        struct balancer *other = balancer_over(policies[p], 2, turned);
        for (int i = 0; i < 5000; i++) {
            struct balancer_statistics a = statistics_of(one, pick_key(one, key_at(i), 0));
            struct balancer_statistics b = statistics_of(other, pick_key(other, key_at(i), 0));
            assert_true(slice_equal(a.id, b.id));
        }
        balancer_destroy(one);
        balancer_destroy(other);
    }
    test_free(list);
    test_free(turned);
}

/* Slow start: an endpoint that is back gets a growing part of its keys, and what it has it keeps. */
static void test_keys_come_back_slowly(void **state)
{
    static const enum balancer_policy policies[] = {BALANCER_RING, BALANCER_MAGLEV};
    struct fixture_list *list = list_create(10);
    for (int p = 0; p < 2; p++) {
        struct balancer_options options = plain_options(policies[p], 1);
        options.slow_start_ns = 10 * SECOND_NS;
        struct balancer *balancer = balancer_of(&options);
        update(balancer, list, 0);
        owners_of_keys(balancer, before);
        for (int i = 0; i < 3; i++) {
            balancer_check_result(balancer, 4, 0, false);
        }
        balancer_check_result(balancer, 4, 0, true);
        balancer_check_result(balancer, 4, 0, true);
        int last = 0;
        static bool had[KEYS];
        memset(had, 0, sizeof(had));
        for (int64_t second = 0; second <= 10; second++) {
            int mine = 0;
            for (int i = 0; i < KEYS; i++) {
                uint32_t owner = pick_key(balancer, key_at(i), second * SECOND_NS);
                assert_true(owner == before[i] || before[i] == 4);
                assert_true(!had[i] || owner == 4);
                had[i] = owner == 4;
                mine += owner == 4;
            }
            assert_true(mine > last || second == 1);
            last = mine;
        }
        for (int i = 0; i < KEYS; i++) {
            assert_int_equal(had[i], before[i] == 4);
        }
        balancer_destroy(balancer);
    }
    test_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring_moves_only_the_keys_of_one),
        cmocka_unit_test(test_ring_parts_follow_weights),
        cmocka_unit_test(test_ring_is_bounded),
        cmocka_unit_test(test_ring_finds_the_last_one),
        cmocka_unit_test(test_balancers_agree),
        cmocka_unit_test(test_keys_come_back_slowly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
