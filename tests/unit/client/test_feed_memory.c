/* A feed whose process is refused memory, at each allocation in turn: nothing is lost or given twice for that. */
#include "refused_memory.h"
#include "scripted_feed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { PUSHES = 8, AT_MOST = 3, ALLOCATIONS = 400 };

static void open_until_it_is(struct cohort *cohort, struct cohort_feed **ret_feed)
{
    enum cohort_status status;
    do {
        status = cohort_feed_open(cohort, cohort_text("k"), NULL, ret_feed, NULL);
        assert_true(status == COHORT_OK || status == COHORT_NOMEM || status == COHORT_TIMEOUT ||
                    status == COHORT_UNREACHABLE);
    } while (status != COHORT_OK);
}

/* True: some allocation was refused. */
static bool follow(struct scripted_feed *told, int first, int count)
{
    struct cohort *cohort;
    struct cohort_feed *feed;
    const struct cohort_options options = {.timeout_ms = 300};
    assert_int_equal(cohort_open(told->server.url, &options, &cohort, NULL), COHORT_OK);
    refuse_memory(first, count);
    open_until_it_is(cohort, &feed);
    scripted_feed_expect(feed, 1, PUSHES);
    bool was_refused = refuse_memory_no_more();
    cohort_feed_close(feed);
    cohort_close(cohort);
    return was_refused;
}

static void test_each_allocation(void **state)
{
    for (int count = 1; count <= 7; count += 3) {
        struct scripted_feed told;
        scripted_feed_start(&told);
        atomic_store(&told.last, PUSHES);
        atomic_store(&told.at_most, AT_MOST);
        int first = 0;
        while (first < ALLOCATIONS && follow(&told, first, count)) {
            first++;
        }
        assert_true(first > 3 * PUSHES && first < ALLOCATIONS); /* all were, and it has an end */
        scripted_feed_stop(&told);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_allocation)};
    return cmocka_run_group_tests_name("client_feed_memory", tests, NULL, NULL);
}
