/* Many seeds of one level: none fails, and together they reach everything.
 *
 * usage: test_seeds groups|nodes FIRST COUNT; COHORT_SIM_SEEDS overrides COUNT */
#include "hunt.h"
#include "run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ENOUGH = 200 };

static struct sim_hunt hunt = {.step = 1};

/* One or two in 200 seeds reach it: what rots is mostly needed by somebody, of a circle one mostly gives up before, and
 * an answer to COMMIT that is lost was mostly none. */
static bool is_rare(enum sim_mark mark)
{
    return mark == NODE_MARK_ROT_HARMLESS || mark == NODE_MARK_DEADLOCK || mark == NODE_MARK_TXN_STATUS;
}

static void test_seeds(void **state)
{
    (void)state;
    struct sim_hunt_result result;
    assert_int_equal(sim_hunt_run(&hunt, &result), STATUS_OK);
    if (result.last.failed) {
        fail_msg("seed %d: %s; replay: cohort sim --seed %d --profile %s", (int)result.seed, result.last.failure,
                 (int)result.seed, hunt.profile_changes);
    }
    for (int i = 0; i < SIM_MARKS; i++) {
        enum sim_level level = sim_mark_level((enum sim_mark)i);
        if (strcmp(sim_level_name(level), hunt.profile_changes) == 0) {
            uint64_t times = result.levels[level].result.marks[i];
            print_message("# %d times: %s\n", (int)times, sim_mark_name((enum sim_mark)i));
            assert_true(hunt.count < ENOUGH || times != 0 || is_rare((enum sim_mark)i));
        }
    }
    assert_int_equal(result.levels[SIM_LEVEL_NODES].result.undecided, 0);
    assert_true(result.levels[SIM_LEVEL_GROUPS].result.acknowledged +
                    result.levels[SIM_LEVEL_NODES].result.acknowledged >
                100 * hunt.count);
}

int main(int argc, char **argv)
{
    const char *count = getenv("COHORT_SIM_SEEDS");
    if (argc != 4) {
        return 2;
    }
    hunt.profile_changes = argv[1];
    hunt.first_seed = strtoull(argv[2], NULL, 10);
    hunt.count = strtoull(count != NULL ? count : argv[3], NULL, 10);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_seeds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
