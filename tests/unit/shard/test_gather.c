/* The open batch waits for those that come with it, and for nobody else (shard_gather.h). */
#include "shard_fixture.h"

#include "shard/shard_state.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define US INT64_C(1000)

static struct fixture *open_new(uint64_t seed)
{
    struct fixture *fixture = fixture_create(seed);
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    sim_timing(fixture->sim)->turn_minimum_ns = 2 * US;
    sim_timing(fixture->sim)->turn_maximum_ns = 3 * US;
    sim_timing(fixture->sim)->sync_minimum_ns = 100 * US;
    sim_timing(fixture->sim)->sync_maximum_ns = 100 * US;
    return fixture;
}

static void submit(struct fixture *fixture, int count)
{
    for (int i = 0; i < count; i++) {
        (void)fixture_submit(fixture, "INCR n");
    }
}

/* How many entries `count` requests become of which one comes every `gap_ns`, after a batch of `before`. */
static int entries_of(struct fixture *fixture, int before, int count, int64_t gap_ns)
{
    submit(fixture, before);
    fixture_settle(fixture);
    uint64_t entries = fixture_stats(fixture).entries;
    for (int i = 0; i < count; i++) {
        submit(fixture, 1);
        sim_run_for(fixture->sim, gap_ns);
    }
    fixture_settle(fixture);
    return (int)(fixture_stats(fixture).entries - entries);
}

static void test_the_rest_is_waited_for(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(1);
    assert_int_equal(entries_of(fixture, 12, 12, 8 * US), 1);
    assert_int_equal(entries_of(fixture, 12, 10, 8 * US), 1); /* two do not come */
    assert_int_equal(fixture->shard->gather.last, 10);
    fixture_destroy(fixture);
}

/* Nor for those that take their time. */
static void test_nobody_else_is(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(2);
    assert_in_range(entries_of(fixture, 12, 12, 40 * US), 2, 11); /* what comes while the disk works is together */
    assert_int_equal(entries_of(fixture, 12, 4, 1000 * US), 4);
    fixture_destroy(fixture);
}

/* Who was alone before is answered as soon as the disk has it; after others, once, some microseconds later. */
static void test_who_is_alone(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(3);
    static const int64_t bound_us[] = {160, 130, 130};
    submit(fixture, 12);
    fixture_settle(fixture);
    for (int i = 0; i < 3; i++) {
        int64_t began_ns = sim_now_ns(fixture->sim);
        uint64_t tag = fixture_submit(fixture, "INCR n");
        fixture_settle(fixture);
        assert_in_range(fixture->replies[tag].at_ns - began_ns, 100 * US, bound_us[i] * US);
        assert_int_equal(fixture->shard->gather.last, 1);
    }
    fixture_destroy(fixture);
}

/* However many come, the first one waits for half a millisecond at most. */
static void test_not_for_ever(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(4);
    submit(fixture, 4000);
    fixture_settle(fixture);
    int64_t began_ns = sim_now_ns(fixture->sim);
    uint64_t first = fixture_submit(fixture, "INCR n");
    for (int i = 0; i < 1000 && fixture_reply(fixture, first) == NULL; i++) {
        submit(fixture, 1);
        sim_run_for(fixture->sim, 4 * US);
    }
    assert_in_range(fixture->replies[first].at_ns - began_ns, 300 * US, 700 * US);
    fixture_settle(fixture);
    fixture_destroy(fixture);
}

/* A round of heartbeats is asked for at once. */
static void test_reads_do_not_wait(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(5);
    submit(fixture, 12);
    fixture_settle(fixture);
    (void)fixture_submit(fixture, "GET n");
    (void)sim_step(fixture->sim);
    assert_false(fixture->shard->gather.waits);
    fixture_settle(fixture);
    assert_int_equal(fixture->shard->gather.last, 12);
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_rest_is_waited_for), cmocka_unit_test(test_nobody_else_is),
        cmocka_unit_test(test_who_is_alone),           cmocka_unit_test(test_not_for_ever),
        cmocka_unit_test(test_reads_do_not_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
