#include "base/prng.h"
#include "env/timer_heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { TIMERS = 50, ROUNDS = 20000 };

struct model {
    struct env_timer timer;
    bool armed;
    int64_t at_ns;
    uint64_t order;
};

static struct model timers[TIMERS];
static int64_t now_ns;
static struct model *last_fired;

static void fires(struct env_timer *timer)
{
    struct model *model = (struct model *)timer;
    assert_true(model->armed);
    assert_true(model->at_ns <= now_ns);
    if (last_fired != NULL) {
        assert_true(last_fired->at_ns < model->at_ns ||
                    (last_fired->at_ns == model->at_ns && last_fired->order < model->order));
    }
    model->armed = false;
    last_fired = model;
}

/* Random starts, moves and stops against a plain table. */
static void test_against_a_table(void **state)
{
    struct prng prng;
    prng_seed(&prng, 7);
    struct timer_heap heap;
    timer_heap_init(&heap);
    for (int i = 0; i < TIMERS; i++) {
        env_timer_init(&timers[i].timer, fires);
    }
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct model *model = &timers[prng_below(&prng, TIMERS)];
        switch (prng_below(&prng, 4)) {
        case 0:
        case 1:
            model->at_ns = now_ns + (int64_t)prng_below(&prng, 100);
            model->order = round;
            model->armed = true;
            timer_heap_start(&heap, &model->timer, model->at_ns);
            break;
        case 2:
            model->armed = false;
            timer_heap_stop(&heap, &model->timer);
            break;
        default:
            now_ns += (int64_t)prng_below(&prng, 20);
            last_fired = NULL;
            (void)timer_heap_fire(&heap, now_ns);
        }
        int64_t earliest_ns = INT64_MAX;
        for (int i = 0; i < TIMERS; i++) {
            assert_int_equal(timers[i].armed, timers[i].timer.armed);
            if (timers[i].armed && timers[i].at_ns < earliest_ns) {
                earliest_ns = timers[i].at_ns;
            }
        }
        assert_true(timer_heap_next_ns(&heap) == earliest_ns);
    }
    timer_heap_deinit(&heap);
    assert_false(timers[0].timer.armed);
}

static struct timer_heap heap_of_again;
static int again_count, other_count;

static void again(struct env_timer *timer)
{
    again_count++;
    timer_heap_start(&heap_of_again, timer, INT64_MIN);
}

static void other(struct env_timer *timer) { other_count++; }

/* A timer that starts itself for the past neither loops nor overtakes others that are due. */
static void test_start_in_the_past(void **state)
{
    struct env_timer first, second;
    timer_heap_init(&heap_of_again);
    env_timer_init(&first, again);
    env_timer_init(&second, other);
    timer_heap_start(&heap_of_again, &first, 10);
    timer_heap_start(&heap_of_again, &second, 20);
    assert_int_equal(timer_heap_fire(&heap_of_again, 30), 2);
    assert_int_equal(again_count, 1);
    assert_int_equal(other_count, 1);
    assert_int_equal(timer_heap_fire(&heap_of_again, 30), 1);
    timer_heap_deinit(&heap_of_again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_a_table),
                                       cmocka_unit_test(test_start_in_the_past)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
