/* A handle on a libuv loop: nobody listens, so that each operation ends by its deadline. */
#include <cohort/cohort.h>
#include <cohort/uv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { OPERATIONS = 5 };

struct seen {
    struct cohort_uv *attached;
    int ended;
    bool detached;
};

static void detached(void *data) { ((struct seen *)data)->detached = true; }

static void ended(void *data, enum cohort_status status, const struct cohort_reply *reply)
{
    struct seen *seen = data;
    assert_int_equal(status, COHORT_UNREACHABLE);
    if (++seen->ended == OPERATIONS) {
        cohort_uv_detach(seen->attached, detached, seen);
    }
}

static void test_loop(void **state)
{
    uv_loop_t loop;
    struct cohort *cohort;
    struct seen seen = {0};
    struct cohort_options options = {.timeout_ms = 50};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(cohort_open("127.0.0.1:1", &options, &cohort, NULL), COHORT_OK);
    assert_int_equal(cohort_get_start(cohort, cohort_text("a"), ended, &seen), COHORT_OK);
    assert_int_equal(cohort_uv_attach(cohort, &loop, &seen.attached), COHORT_OK);
    for (int i = 1; i < OPERATIONS; i++) {
        assert_int_equal(cohort_get_start(cohort, cohort_text("a"), ended, &seen), COHORT_OK);
    }
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(seen.ended, OPERATIONS);
    assert_true(seen.detached);
    assert_int_equal(uv_loop_close(&loop), 0);
    cohort_close(cohort);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_loop)};
    return cmocka_run_group_tests_name("client_uv", tests, NULL, NULL);
}
