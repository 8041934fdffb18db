/* Thousands of short random lives (random_run.h), each of which must keep every promise and converge. A failing seed is
 * named; RAFT_SEED runs that one alone and tells all of it, RAFT_SEEDS sets how many. */
#include "tests/unit/raft/random_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SEEDS = 3000 };

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void add_marks(struct lab_marks *sum, const struct lab_marks *marks)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)marks;
    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++) {
        to[i] += from[i];
    }
}

static void test_random_lives(void **state)
{
    uint64_t only = from_environment("RAFT_SEED", 0);
    uint64_t first = only != 0 ? only : 1;
    uint64_t count = only != 0 ? 1 : from_environment("RAFT_SEEDS", SEEDS);
    struct lab_marks sum = {0};
    struct buffer trace;
    buffer_init(&trace);
    for (uint64_t seed = first; seed < first + count; seed++) {
        struct random_result result;
        random_run(seed, RAFT_MUTATION_NONE, only != 0 ? &trace : NULL, &result);
        add_marks(&sum, &result.marks);
        if (result.failed) {
            (void)fwrite(trace.data, 1, trace.size, stderr);
            fail_msg("seed %d: %s (run it alone with RAFT_SEED=%d)", (int)seed, result.failure, (int)seed);
        }
    }
    buffer_deinit(&trace);
    /* A run that did not reach these was not the test it is meant to be. */
    print_message("# elections %d truncations %d installs %d chunks %d transfers %d changes %d removed leaders %d "
                  "reads %d lease reads %d crashes %d lost operations %d rejects %d compactions %d\n",
                  (int)sum.elections, (int)sum.truncations, (int)sum.installs, (int)sum.resumed_chunks,
                  (int)sum.transfers, (int)sum.changes, (int)sum.removed_leaders, (int)sum.reads, (int)sum.lease_reads,
                  (int)sum.crashes, (int)sum.lost_ops, (int)sum.rejects, (int)sum.compactions);
    if (only == 0) {
        assert_true(sum.elections > count && sum.truncations > 0 && sum.installs > 0 && sum.resumed_chunks > 0);
        assert_true(sum.transfers > 0 && sum.changes > 0 && sum.removed_leaders > 0 && sum.rejects > 0);
        assert_true(sum.reads > count && sum.lease_reads > 0 && sum.lost_ops > 0 && sum.compactions > 0);
    }
}

static void test_equal_seeds_are_equal_lives(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct random_result a, b;
        random_run(seed, RAFT_MUTATION_NONE, NULL, &a);
        random_run(seed, RAFT_MUTATION_NONE, NULL, &b);
        assert_int_equal(a.digest, b.digest);
        assert_int_equal(a.proposals, b.proposals);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_lives),
        cmocka_unit_test(test_equal_seeds_are_equal_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
