/* The judge of locks against one that looks at every pair: random histories, most of them nearly right, and some with
 * very many holds at once. */
#include "base/prng.h"
#include "check/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { ROUNDS = 60000, HOLDS_MAXIMUM = 14, MANY = 200 * 1000 };

/* ---- the rules of holds.h, pair by pair ---- */

static bool is_believed(const struct hold *hold) { return !hold->use && hold->until > hold->end; }

/* The order in which holds and uses of all keys are judged. */
static bool is_told_before(const struct holds *holds, uint32_t a, uint32_t b)
{
    const struct hold *first = &holds->items[a];
    const struct hold *second = &holds->items[b];
    if (first->key != second->key) {
        return first->key < second->key;
    }
    return first->end != second->end ? first->end < second->end : a < b;
}

/* The first is believed when the second comes to be. */
static bool are_together(const struct holds *holds, uint32_t a, uint32_t b)
{
    const struct hold *first = &holds->items[a];
    const struct hold *second = &holds->items[b];
    return first->key == second->key && is_believed(first) && is_believed(second) && is_told_before(holds, a, b) &&
           first->until > second->end;
}

static bool is_over_limit(const struct holds *holds, uint32_t b)
{
    uint64_t permits = holds->items[b].permits;
    bool others = false;
    for (uint32_t a = 0; a < holds->count; a++) {
        bool together = are_together(holds, a, b);
        permits += together ? holds->items[a].permits : 0;
        others = others || together;
    }
    return others && holds->items[b].mode == HOLD_PERMITS && permits > holds->items[b].limit;
}

static bool is_wrong(const struct holds *holds, enum hold_problem problem, uint32_t a, uint32_t b)
{
    const struct hold *first = &holds->items[a];
    const struct hold *second = &holds->items[b];
    if (first->key != second->key) {
        return false;
    }
    bool grants = !first->use && !second->use;
    bool after = first->end < second->start;
    switch (problem) {
    case HOLD_TOGETHER:
        return are_together(holds, a, b) && (first->mode != second->mode || first->mode == HOLD_EXCLUSIVE);
    case HOLD_TOO_MANY: return are_together(holds, a, b) && is_over_limit(holds, b);
    case HOLD_TOKEN_BACK: return grants && after && second->token != 0 && second->token < first->token;
    case HOLD_OLD_USE_PASSED:
        return first->use && second->use && first->passed && second->passed && after &&
               second->mode == HOLD_EXCLUSIVE && second->token < first->token;
    case HOLD_TOKEN_TWICE: return grants && a != b && first->token != 0 && first->token == second->token;
    case HOLD_USE_REFUSED:
        return !first->use && second->use && !second->passed && first->token == second->token &&
               first->end <= second->start && second->end <= first->until;
    case HOLD_FINE:
    case HOLD_PROBLEMS: break;
    }
    return false;
}

static bool is_wrong_with_any(const struct holds *holds, enum hold_problem problem, uint32_t b)
{
    for (uint32_t a = 0; a < holds->count; a++) {
        if (is_wrong(holds, problem, a, b)) {
            return true;
        }
    }
    return false;
}

/* What is wrong with the first that is told while something is; of a time, or of tokens alone, whatever is. */
static void compare(const struct holds *holds, const struct hold_finding *finding)
{
    static const enum hold_problem by_time[] = {HOLD_TOKEN_BACK, HOLD_OLD_USE_PASSED, HOLD_TOGETHER, HOLD_TOO_MANY};
    uint32_t first = UINT32_MAX;
    enum hold_problem expected = HOLD_FINE;
    for (uint32_t b = 0; b < holds->count; b++) {
        for (size_t p = 0; p < sizeof(by_time) / sizeof(by_time[0]); p++) {
            bool earlier = first == UINT32_MAX || is_told_before(holds, b, first);
            if (earlier && is_wrong_with_any(holds, by_time[p], b)) {
                first = b;
                expected = by_time[p];
            }
        }
    }
    if (expected != HOLD_FINE) {
        assert_int_equal(finding->problem, expected);
        assert_int_equal(finding->second, first);
    } else {
        bool twice = false;
        bool refused = false;
        for (uint32_t b = 0; b < holds->count; b++) {
            twice = twice || is_wrong_with_any(holds, HOLD_TOKEN_TWICE, b);
            refused = refused || is_wrong_with_any(holds, HOLD_USE_REFUSED, b);
        }
        assert_true(finding->problem == HOLD_FINE ? !twice && !refused
                                                  : finding->problem == HOLD_TOKEN_TWICE || !twice || refused);
    }
    if (finding->problem != HOLD_FINE) {
        assert_true(is_wrong(holds, finding->problem, finding->first, finding->second));
    }
}

/* ---- histories ---- */

/* Tokens rise with the time, most of the time. */
static struct hold random_hold(struct prng *prng, uint64_t times, uint8_t mode)
{
    struct hold hold = {.key = (uint32_t)prng_below(prng, 2), .permits = 1, .limit = 1, .mode = mode};
    hold.start = prng_below(prng, times);
    hold.end = hold.start + prng_below(prng, 5);
    hold.until = hold.end + prng_below(prng, 12);
    hold.until -= hold.until > 2 && prng_below(prng, 8) == 0 ? 2 : 0;
    hold.mode = prng_below(prng, 20) == 0 ? (uint8_t)prng_below(prng, HOLD_MODES) : mode;
    if (hold.mode == HOLD_PERMITS) {
        hold.limit = 3 + (uint32_t)prng_below(prng, 2);
        hold.permits = 1 + (uint32_t)prng_below(prng, 2);
    }
    hold.token = prng_below(prng, 5) == 0 ? 0 : (int64_t)(hold.end * 20 + prng_below(prng, 15) + 1);
    hold.token += prng_below(prng, 40) == 0 ? (int64_t)prng_below(prng, 60) : 0;
    return hold;
}

static void make_use(struct prng *prng, const struct holds *holds, struct hold *hold)
{
    hold->use = true;
    hold->passed = prng_below(prng, 4) != 0;
    if (holds->count > 0) { /* of a token that somebody has, with some luck while it is held */
        const struct hold *of = &holds->items[prng_below(prng, holds->count)];
        hold->token = of->token;
        hold->key = of->key;
        hold->start = of->end + prng_below(prng, 8);
        hold->end = hold->start + prng_below(prng, 4);
    }
    hold->token = hold->token == 0 ? 1 : hold->token;
}

static void random_histories(void **state)
{
    (void)state;
    struct prng prng;
    uint32_t found[HOLD_PROBLEMS] = {0};
    prng_seed(&prng, 7);
    for (int round = 0; round < ROUNDS; round++) {
        struct holds holds = {0};
        uint64_t times = 10 + prng_below(&prng, 150);
        uint8_t mode = (uint8_t)prng_below(&prng, HOLD_MODES);
        for (uint64_t count = prng_below(&prng, HOLDS_MAXIMUM); count > 0; count--) {
            struct hold hold = random_hold(&prng, times, mode);
            if (prng_below(&prng, 3) == 0) {
                make_use(&prng, &holds, &hold);
            }
            holds_add(&holds, &hold);
        }
        struct hold_finding finding;
        holds_check(&holds, &finding);
        compare(&holds, &finding);
        found[finding.problem]++;
        holds_deinit(&holds);
    }
    for (int problem = 0; problem < HOLD_PROBLEMS; problem++) {
        assert_true(found[problem] > 100);
    }
}

/* ---- very many at once: pair by pair this takes minutes, longer than a test may ---- */

static enum hold_problem judge_many(uint32_t limit, const struct hold *last, struct hold_finding *ret_finding)
{
    struct holds holds = {0};
    for (uint32_t i = 0; i < MANY; i++) {
        holds_add(&holds, &(struct hold){.start = i,
                                         .end = i + 1,
                                         .until = 2 * MANY + i,
                                         .token = i + 1,
                                         .permits = 1,
                                         .limit = limit,
                                         .mode = limit == 1 ? HOLD_SHARED : HOLD_PERMITS});
    }
    if (last != NULL) {
        holds_add(&holds, last);
    }
    holds_check(&holds, ret_finding);
    holds_deinit(&holds);
    return ret_finding->problem;
}

static void very_many_at_once(void **state)
{
    (void)state;
    struct hold last = {.start = MANY, .end = 2 * MANY - 1, .until = 3 * MANY, .token = MANY + 1, .permits = 1};
    struct hold_finding finding;
    assert_int_equal(judge_many(1, NULL, &finding), HOLD_FINE);
    assert_int_equal(judge_many(MANY, NULL, &finding), HOLD_FINE);
    assert_int_equal(judge_many(MANY - 1, NULL, &finding), HOLD_TOO_MANY);
    assert_int_equal(finding.second, MANY - 1);
    last.limit = MANY + 1;
    last.mode = HOLD_PERMITS;
    assert_int_equal(judge_many(MANY, &last, &finding), HOLD_FINE);
    assert_int_equal(judge_many(1, &last, &finding), HOLD_TOGETHER);
    last.mode = HOLD_EXCLUSIVE;
    assert_int_equal(judge_many(MANY, &last, &finding), HOLD_TOGETHER);
    assert_int_equal(finding.second, MANY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_histories), cmocka_unit_test(very_many_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
