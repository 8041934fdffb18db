/* The keyspace against a plain model of it: tens of thousands of random operations, with snapshots taken meanwhile. */
#include "keyspace_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void run(uint64_t seed, int operations, bool large, bool snapshots)
{
    struct model *model = model_create(seed);
    for (int i = 0; i < operations; i++) {
        model_operate(model, large);
        if (i % 500 == 0) {
            model_check(model);
        }
        if (snapshots && prng_chance(&model->prng, 1, 3)) {
            model_snapshot(model, prng_below(&model->prng, 20000));
        }
    }
    model_check(model);
    assert_true(!snapshots || model->snapshots > 10);
    model_destroy(model);
}

static void test_operations(void **state)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        run(seed, 20000, false, false);
    }
}

static void test_operations_during_snapshots(void **state)
{
    for (uint64_t seed = 11; seed <= 16; seed++) {
        run(seed, 20000, false, true);
    }
}

static void test_large_strings_during_snapshots(void **state)
{
    for (uint64_t seed = 21; seed <= 23; seed++) {
        run(seed, 6000, true, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operations),
        cmocka_unit_test(test_operations_during_snapshots),
        cmocka_unit_test(test_large_strings_during_snapshots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
