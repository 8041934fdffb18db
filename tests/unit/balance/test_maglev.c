/* The table itself, which picks do not show slot by slot; hence the room's own header. */
#include "balance/balancer_internal.h"
#include "balance_fixture.h"

static void count_slots(const struct balancer *balancer, uint32_t *ret_counts, size_t count)
{
    memset(ret_counts, 0, count * sizeof(*ret_counts));
    for (size_t i = 0; i < BALANCER_MAGLEV_SLOTS; i++) {
        assert_true(balancer->table[i] < count);
        ret_counts[balancer->table[i]]++;
    }
}

static void test_counts_differ_by_one_at_most(void **state)
{
    static const size_t sizes[] = {1, 2, 3, 7, 100, 1000, 4096};
    static uint32_t counts[FIXTURE_ENDPOINTS];
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct fixture_list *list = list_create(sizes[s]);
        struct balancer *balancer = balancer_over(BALANCER_MAGLEV, 1, list);
        count_slots(balancer, counts, sizes[s]);
        for (size_t i = 0; i < sizes[s]; i++) {
            assert_in_range(counts[i], BALANCER_MAGLEV_SLOTS / sizes[s], BALANCER_MAGLEV_SLOTS / sizes[s] + 1);
        }
        balancer_destroy(balancer);
        test_free(list);
    }
}

/* An endpoint's slots are its part of the table, rounded down or up. */
static void test_weighted_counts_are_exact(void **state)
{
    static uint32_t counts[FIXTURE_ENDPOINTS];
    struct prng prng;
    prng_seed(&prng, 6);
    static const uint32_t largest[] = {2, 10, 1000, 65535};
    for (int round = 0; round < 20; round++) {
        size_t count = 1 + prng_below(&prng, round < 16 ? 200 : 4096);
        struct fixture_list *list = list_create(count);
        uint64_t weights = 0;
        for (size_t i = 0; i < count; i++) {
            weights += list->items[i].weight = 1 + (uint32_t)prng_below(&prng, largest[round % 4]);
        }
        struct balancer *balancer = balancer_over(BALANCER_MAGLEV, 1, list);
        count_slots(balancer, counts, count);
        for (size_t i = 0; i < count; i++) {
            uint64_t part = BALANCER_MAGLEV_SLOTS * (uint64_t)list->items[i].weight / weights;
            assert_in_range(counts[i], part, part + 1);
        }
        balancer_destroy(balancer);
        test_free(list);
    }
}

/* Of 100, each third in turn is removed: its own share moves, and at most one point of percent besides. */
static void removing_one_of_a_hundred(bool weighted)
{
    static uint16_t full[BALANCER_MAGLEV_SLOTS];
    struct fixture_list *list = list_create(100);
    for (size_t i = 0; i < 100 && weighted; i++) {
        list->items[i].weight = 1 + (uint32_t)(i % 10);
    }
    struct balancer *balancer = balancer_over(BALANCER_MAGLEV, 1, list);
    memcpy(full, balancer->table, sizeof(full));
    uint32_t worst = 0;
    for (size_t removed = 0; removed < 100; removed += 3) {
        struct balancer_listing kept = list->items[removed];
        list->items[removed] = list->items[99];
        list->count = 99;
        update(balancer, list, 0);
        uint32_t share = 0;
        uint32_t moved = 0;
        for (size_t i = 0; i < BALANCER_MAGLEV_SLOTS; i++) {
            share += full[i] == removed;
            moved += full[i] != balancer->table[i];
        }
        worst = moved - share > worst ? moved - share : worst;
        assert_true(moved <= share + BALANCER_MAGLEV_SLOTS / 100);
        list->items[removed] = kept;
        list->count = 100;
        update(balancer, list, 0);
        assert_memory_equal(full, balancer->table, sizeof(full)); /* and all comes back */
    }
    print_message("# besides its share, at most %.2f %% of the slots moved\n", 100.0 * worst / BALANCER_MAGLEV_SLOTS);
    balancer_destroy(balancer);
    test_free(list);
}

static void test_removing_one_of_a_hundred(void **state) { removing_one_of_a_hundred(false); }

static void test_removing_one_of_a_hundred_weighted(void **state) { removing_one_of_a_hundred(true); }

/* An update that changes neither ids nor weights leaves the table alone. */
static void test_the_same_list_moves_nothing(void **state)
{
    static uint16_t full[BALANCER_MAGLEV_SLOTS];
    struct fixture_list *list = list_create(10);
    struct balancer *balancer = balancer_over(BALANCER_MAGLEV, 1, list);
    memcpy(full, balancer->table, sizeof(full));
    list->items[2].draining = true;
    list->items[3].address = SLICE_LITERAL("elsewhere");
    update(balancer, list, 0);
    assert_memory_equal(full, balancer->table, sizeof(full));
    list_remove_at(list, 9);
    update(balancer, list, 0);
    assert_memory_not_equal(full, balancer->table, sizeof(full));
    balancer_destroy(balancer);
    test_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_differ_by_one_at_most), cmocka_unit_test(test_weighted_counts_are_exact),
        cmocka_unit_test(test_removing_one_of_a_hundred),    cmocka_unit_test(test_removing_one_of_a_hundred_weighted),
        cmocka_unit_test(test_the_same_list_moves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
