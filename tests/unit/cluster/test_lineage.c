#include "cluster/lineage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_a_folder_knows_its_starts(void **state)
{
    (void)state;
    struct lineage lineage = {0};
    assert_false(lineage_valid(&lineage));
    for (uint64_t start = 10; start <= 50; start += 10) {
        lineage_begin(&lineage, start);
        assert_true(lineage_valid(&lineage));
        for (uint64_t seen = 0; seen <= 60; seen++) {
            assert_int_equal(lineage_knows(&lineage, seen), seen % 10 == 0 && seen <= start);
        }
    }
    lineage_join(&lineage);
    assert_true(lineage_valid(&lineage) && lineage.count == 0);
    for (uint64_t seen = 0; seen <= 60; seen++) { /* the members have seen to it */
        assert_int_equal(lineage_knows(&lineage, seen), seen <= 50);
    }
    lineage_begin(&lineage, 60);
    assert_int_equal(lineage.count, 0);
    assert_true(lineage_knows(&lineage, 50) && lineage_knows(&lineage, 60) && !lineage_knows(&lineage, 55));
}

/* However often it is started: what the copy did not know it never knows. */
static void test_a_copy_never_knows(void **state)
{
    (void)state;
    struct lineage lineage = {0};
    lineage_begin(&lineage, 10);
    lineage_join(&lineage);
    struct lineage copy = lineage;
    lineage_begin(&lineage, 20);
    for (uint64_t start = 21; start < 500; start++) {
        lineage_begin(&copy, start);
        assert_true(lineage_valid(&copy));
        assert_false(lineage_knows(&copy, lineage.start));
        assert_true(lineage_knows(&copy, 10) && lineage_knows(&copy, 21) && lineage_knows(&copy, start));
        assert_true(start == 21 || lineage_knows(&copy, start - 1));
    }
}

static void test_what_makes_no_sense(void **state)
{
    (void)state;
    const struct lineage cases[] = {
        {.start = 0},
        {.start = 5, .joined = 5},
        {.start = 5, .joined = 6},
        {.start = 5, .count = 1, .between = {0}},
        {.start = 5, .count = 1, .between = {5}},
        {.start = 5, .joined = 3, .count = 1, .between = {3}},
        {.start = 9, .count = 2, .between = {4, 3}},
        {.start = 9, .count = LINEAGE_BETWEEN + 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(lineage_valid(&cases[i]), cases[i].start == 5 && cases[i].joined == 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_folder_knows_its_starts),
        cmocka_unit_test(test_a_copy_never_knows),
        cmocka_unit_test(test_what_makes_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
