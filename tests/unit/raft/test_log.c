/* Runs of terms against a plain array of terms. */
#include "base/prng.h"
#include "raft/raft_log.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { LAST = 400 };

struct model {
    uint64_t floor, last;
    uint64_t terms[LAST + 1]; /* [floor, last] */
};

static void compare(const struct raft_log *log, const struct model *model)
{
    assert_int_equal(log->floor, model->floor);
    assert_int_equal(log->last, model->last);
    assert_int_equal(raft_log_last_term(log), model->terms[model->last]);
    for (uint64_t index = 0; index <= LAST; index++) {
        uint64_t term = 0;
        bool known = raft_log_term(log, index, &term);
        assert_int_equal(known, index >= model->floor && index <= model->last);
        assert_int_equal(term, known ? model->terms[index] : 0);
        assert_int_equal(raft_log_matches(log, index, model->terms[model->last]),
                         known && term == model->terms[model->last]);
    }
}

static void compare_find(const struct raft_log *log, const struct model *model, uint64_t index, uint64_t term)
{
    uint64_t found = 0;
    bool known = raft_log_find(log, index, term, &found);
    uint64_t at = index < model->last ? index : model->last;
    while (at > model->floor && model->terms[at] > term) {
        at--;
    }
    bool expected = at >= model->floor && model->terms[at] <= term;
    assert_int_equal(known, expected);
    assert_int_equal(found, expected ? at : 0);
}

static void change(struct raft_log *log, struct model *model, struct prng *prng)
{
    uint64_t held = model->last - model->floor;
    switch (prng_below(prng, 12)) {
    case 0:
        if (held > 0) {
            uint64_t from = model->floor + 1 + prng_below(prng, held);
            raft_log_truncate(log, from);
            model->last = from - 1;
        }
        return;
    case 1: {
        uint64_t to = model->floor + prng_below(prng, held + 1);
        raft_log_compact(log, to);
        model->floor = to;
        return;
    }
    case 2:
        if (model->last + 5 < LAST && prng_chance(prng, 1, 5)) {
            uint64_t to = model->last + 1 + prng_below(prng, 4);
            uint64_t term = model->terms[model->last] + prng_below(prng, 3);
            term = term == 0 ? 1 : term;
            raft_log_reset(log, to, term);
            model->floor = model->last = to;
            model->terms[to] = term;
        }
        return;
    default:
        if (model->last < LAST) {
            uint64_t term = model->terms[model->last] + (prng_chance(prng, 1, 3) ? prng_below(prng, 3) : 0);
            term = term == 0 ? 1 : term;
            raft_log_append(log, term);
            model->terms[++model->last] = term;
        }
    }
}

static void test_runs_equal_an_array(void **state)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct prng prng;
        prng_seed(&prng, seed);
        struct model model = {0};
        struct raft_log log;
        raft_log_init(&log, 0, 0);
        for (int i = 0; i < 300; i++) {
            change(&log, &model, &prng);
            compare(&log, &model);
            compare_find(&log, &model, prng_below(&prng, LAST), prng_below(&prng, 40));
        }
        raft_log_deinit(&log);
    }
}

static void test_a_term_costs_one_run(void **state)
{
    struct raft_log log;
    raft_log_init(&log, 7, 2);
    for (int i = 0; i < 100000; i++) {
        raft_log_append(&log, i < 50000 ? 2 : 3);
    }
    assert_int_equal(log.run_count, 2);
    assert_int_equal(log.last, 100007);
    raft_log_deinit(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_equal_an_array),
        cmocka_unit_test(test_a_term_costs_one_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
