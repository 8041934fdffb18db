/* Three-phase commit by itself (sim/phases_run.h): the textbook's protocol splits, and the same seeds are safe with
 * quorums. */
#include "phases_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { SEEDS = 3000 };

static void quorums_keep_it_whole(void **state)
{
    (void)state;
    struct sim_profile quorums;
    struct sim_profile textbook;
    int splits = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim_result result;
        assert_int_equal(sim_profile_draw(seed, "3pc", &quorums), STATUS_OK);
        assert_int_equal(sim_profile_draw(seed, "3pc-no-quorum", &textbook), STATUS_OK);
        sim_run(seed, &quorums, NULL, NULL, &result);
        if (result.failed) {
            fail_msg("seed %d: %s", (int)seed, result.failure);
        }
        sim_run(seed, &textbook, NULL, NULL, &result);
        splits += result.failed && strstr(result.failure, "split") != NULL ? 1 : 0;
    }
    print_message("# %d of %d seeds split without quorums\n", splits, SEEDS);
    assert_true(splits > SEEDS / 100);
}

static void the_same_seed_is_the_same_run(void **state)
{
    (void)state;
    struct sim_profile profile;
    struct sim_result one;
    struct sim_result other;
    assert_int_equal(sim_profile_draw(1, "3pc", &profile), STATUS_OK);
    sim_run(7, &profile, NULL, NULL, &one);
    sim_run(7, &profile, NULL, NULL, &other);
    assert_int_equal(one.trace, other.trace);
    sim_run(8, &profile, NULL, NULL, &other);
    assert_int_not_equal(one.trace, other.trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quorums_keep_it_whole),
        cmocka_unit_test(the_same_seed_is_the_same_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
