/* The process's one script engine: who waits for it comes back soon, to say that it lives, whatever the wall clock
 * does. */
#include "server/script_home.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

enum { HOUR_S = 3600, THREADS = 4, ROUNDS = 2000 };

int __real_clock_gettime(clockid_t clock, struct timespec *ret_now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now);

/* A wall clock that is set back by an hour right after each look. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    int result = __real_clock_gettime(clock, ret_now);
    ret_now->tv_sec += clock == CLOCK_REALTIME ? HOUR_S : 0;
    return result;
}

static void *look(void *owner)
{
    const struct machine_scripts *home = owner;
    return home->lock(home->owner) ? owner : NULL;
}

static void test_who_waits_comes_back(void **state)
{
    const struct machine_scripts *home = script_home();
    pthread_t thread;
    void *got;
    assert_true(home->lock(home->owner));
    assert_int_equal(pthread_create(&thread, NULL, look, (void *)home), 0);
    assert_int_equal(pthread_join(thread, &got), 0);
    assert_null(got);
    home->unlock(home->owner);
    assert_int_equal(pthread_create(&thread, NULL, look, (void *)home), 0);
    assert_int_equal(pthread_join(thread, &got), 0);
    assert_non_null(got);
    home->unlock(home->owner);
}

static int64_t counter; /* who has the engine alone touches it */

static void *count(void *owner)
{
    for (int i = 0; i < ROUNDS; i++) {
        machine_scripts_enter(owner);
        counter++;
        machine_scripts_leave(owner);
    }
    return NULL;
}

static void test_one_at_a_time(void **state)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, count, (void *)script_home()), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(counter, THREADS * ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_waits_comes_back),
        cmocka_unit_test(test_one_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
