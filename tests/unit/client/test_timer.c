/* The heap of timers against a sorted look at all of them. */
#include "base/prng.h"
#include "client/timer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { TIMERS = 64, STEPS = 20000 };

static struct timer *first_of(struct timer *all, int64_t now_ns)
{
    struct timer *first = NULL;
    for (int i = 0; i < TIMERS; i++) {
        if (all[i].is_set && all[i].due_ns <= now_ns && (first == NULL || all[i].due_ns < first->due_ns)) {
            first = &all[i];
        }
    }
    return first;
}

static void test_random(void **state)
{
    struct timer all[TIMERS];
    struct timers timers = {0};
    struct prng prng;
    prng_seed(&prng, 7);
    for (int i = 0; i < TIMERS; i++) {
        timer_init(&all[i], TIMER_OPERATION);
    }
    for (int step = 0; step < STEPS; step++) {
        struct timer *timer = &all[prng_below(&prng, TIMERS)];
        uint64_t what = prng_below(&prng, 10);
        if (what < 5) {
            timers_set(&timers, timer, (int64_t)prng_below(&prng, 1000));
        } else if (what < 7) {
            timers_clear(&timers, timer);
            assert_false(timer->is_set);
        } else {
            int64_t now_ns = (int64_t)prng_below(&prng, 1000);
            struct timer *expected = first_of(all, now_ns);
            struct timer *taken = timers_take(&timers, now_ns);
            assert_int_equal(taken == NULL, expected == NULL);
            assert_true(taken == NULL || (taken->due_ns == expected->due_ns && !taken->is_set));
        }
        struct timer *first = first_of(all, INT64_MAX);
        assert_true(timers_next_ns(&timers) == (first == NULL ? INT64_MAX : first->due_ns));
    }
    while (timers_take(&timers, INT64_MAX) != NULL) {
    }
    assert_null(first_of(all, INT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests_name("client_timer", tests, NULL, NULL);
}
