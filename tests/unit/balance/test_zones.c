/* Zones: the own one is preferred while it has its share of what is healthy. */
#include "balance_fixture.h"

/* Endpoints by the letters of their zones; the own zone is "a". */
static struct balancer *in_zones(const char *zones, struct fixture_list **ret_list, struct balancer_options *options)
{
    static const char letters[] = "abcdefgh";
    *ret_list = list_create(strlen(zones));
    for (size_t i = 0; zones[i] != '\0'; i++) {
        (*ret_list)->items[i].zone = zones[i] == '-' ? slice_of(NULL, 0) : slice_of(&letters[zones[i] - 'a'], 1);
    }
    options->zone = SLICE_LITERAL("a");
    struct balancer *balancer = balancer_of(options);
    update(balancer, *ret_list, 0);
    return balancer;
}

static void fall(struct balancer *balancer, uint32_t handle)
{
    for (int i = 0; i < 3; i++) {
        balancer_check_result(balancer, handle, 0, false);
    }
}

static uint32_t seen_by(struct balancer *balancer)
{
    uint32_t seen = 0;
    for (int i = 0; i < 200; i++) {
        seen |= 1U << balancer_pick(balancer, NULL, 0);
    }
    return seen;
}

static void test_share(void **state)
{
    static const struct {
        const char *zones;
        const char *failed; /* x: checks fail */
        const char *seen;
        uint32_t percent;
    } cases[] = {
        {"aabb", "    ", "aa  ", 100}, {"abab", "    ", "a a ", 100},
        {"aabb", "x   ", " abb", 100},                                /* 1 of 3 is less than a half */
        {"aabb", "x x ", " a  ", 100},                                /* 1 of 2 is a half */
        {"aabb", "x   ", " a  ", 66},  {"aaab", "x   ", " aa ", 100}, /* 2 of 3 */
        {"abbb", "    ", "abbb", 100},                                /* it could not carry a half */
        {"abbb", "    ", "a   ", 50},  {"abbb", "    ", "a   ", 0},
        {"abc-", "    ", "a   ", 100}, /* four zones: none is one too */
        {"bbcc", "    ", "bbcc", 100}, /* nobody in the own zone */
        {"aabb", "xx  ", "  bb", 0},   /* nobody healthy in it */
        {"aabb", "xxx ", "aabb", 100}, /* panic: all */
        {"aaaa", "    ", "aaaa", 100},
    };
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        for (int policy = 0; policy < BALANCER_POLICIES; policy++) {
            struct fixture_list *list;
            struct balancer_options options = plain_options((enum balancer_policy)policy, 1);
            options.zone_share_percent = cases[c].percent;
            struct balancer *balancer = in_zones(cases[c].zones, &list, &options);
            uint32_t expected = 0;
            for (uint32_t i = 0; i < list->count; i++) {
                if (cases[c].failed[i] == 'x') {
                    fall(balancer, i);
                }
                expected |= (uint32_t)(cases[c].seen[i] != ' ') << i;
            }
            uint32_t seen = seen_by(balancer);
            assert_int_equal(seen, expected);
            balancer_destroy(balancer);
            test_free(list);
        }
    }
}

/* A retry goes to other zones when the own one has nobody left. */
static void test_retries_leave_the_zone(void **state)
{
    struct fixture_list *list;
    for (int policy = 0; policy < BALANCER_POLICIES; policy++) {
        struct balancer_options options = plain_options((enum balancer_policy)policy, 1);
        struct balancer *balancer = in_zones("aabb", &list, &options);
        assert_true(summary_of(balancer).own_zone);
        uint32_t excluded[4];
        for (size_t i = 0; i < 4; i++) {
            struct balancer_request request = {.excluded = excluded, .excluded_count = i};
            excluded[i] = balancer_pick(balancer, &request, 0);
            assert_true(i < 2 ? excluded[i] < 2 : excluded[i] == 2 || excluded[i] == 3);
        }
        assert_int_not_equal(excluded[2], excluded[3]);
        balancer_destroy(balancer);
        test_free(list);
    }
}

/* Endpoints that drain count in no zone. */
static void test_draining_has_no_share(void **state)
{
    struct fixture_list *list;
    struct balancer_options options = plain_options(BALANCER_ROUND_ROBIN, 1);
    struct balancer *balancer = in_zones("aabbc", &list, &options);
    assert_int_equal(seen_by(balancer), 3);
    list->items[0].draining = true; /* 1 of 4 in three zones */
    update(balancer, list, 0);
    assert_int_equal(seen_by(balancer), 30);
    list->items[2].draining = list->items[4].draining = true; /* 1 of 2 in two zones */
    update(balancer, list, 0);
    assert_int_equal(seen_by(balancer), 2);
    balancer_destroy(balancer);
    test_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_retries_leave_the_zone),
        cmocka_unit_test(test_draining_has_no_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
