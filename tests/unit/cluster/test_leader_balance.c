/* Decisions about leaders, on a clock of the test's own. */
#include "cluster/leader_balance.h"

#include "base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MS 1000000LL

enum { SELF = 1, OTHER = 2, THIRD = 3, SHARDS = 4, LOOK_MS = 100 };

struct fixture {
    struct leader_balance *balance;
    int64_t now_ms;
    struct leader_balance_view views[SHARDS];
    uint32_t shard; /* last chosen */
    uint64_t node;
};

/* This node leads all, and should lead shard 1. */
static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    fixture->balance = leader_balance_create(SELF, SHARDS);
    for (int i = 0; i < SHARDS; i++) {
        fixture->views[i] = (struct leader_balance_view){
            .leading = true, .preferred = i == 0 ? SELF : OTHER, .up = i < 2, .match = 100, .last = 100};
    }
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    leader_balance_destroy(fixture->balance);
    free(fixture);
    return 0;
}

static bool look(struct fixture *fixture)
{
    for (uint32_t i = 0; i < SHARDS; i++) {
        leader_balance_see(fixture->balance, fixture->now_ms * MS, i + 1, &fixture->views[i]);
    }
    return leader_balance_choose(fixture->balance, fixture->now_ms * MS, &fixture->shard, &fixture->node);
}

/* Looks every LOOK_MS until something is chosen; how long that took, or −1. */
static int64_t wait(struct fixture *fixture, int64_t at_most_ms)
{
    for (int64_t begin_ms = fixture->now_ms; fixture->now_ms - begin_ms <= at_most_ms; fixture->now_ms += LOOK_MS) {
        if (look(fixture)) {
            int64_t took_ms = fixture->now_ms - begin_ms;
            fixture->now_ms += LOOK_MS;
            return took_ms;
        }
    }
    return -1;
}

static void the_preferred_one_leads_when_it_is_steady(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(wait(fixture, 60000), LEADER_BALANCE_STEADY_MS);
    assert_int_equal(fixture->shard, 2);
    assert_int_equal(fixture->node, OTHER);
    fixture->views[1].leading = false; /* it worked */
    assert_int_equal(wait(fixture, 60000), -1);
}

static void nothing_is_done_without_reason(void **state)
{
    struct fixture *fixture = *state;
    struct leader_balance_view *view = &fixture->views[1];
    const struct leader_balance_view good = *view;
    for (int what = 0; what < 5; what++) {
        *view = good;
        view->leading = what != 0;
        view->preferred = what == 1 ? SELF : what == 2 ? 0 : OTHER;
        view->up = what != 3;
        view->match = what == 4 ? 99 : 100;
        assert_int_equal(wait(fixture, 10000), -1);
    }
    *view = good;
    assert_int_equal(wait(fixture, 10000), LEADER_BALANCE_STEADY_MS);
}

static void every_interruption_begins_anew(void **state)
{
    struct fixture *fixture = *state;
    struct leader_balance_view *view = &fixture->views[1];
    const struct leader_balance_view good = *view;
    for (int what = 0; what < 4; what++) {
        assert_int_equal(wait(fixture, LEADER_BALANCE_STEADY_MS - LOOK_MS), -1);
        view->leading = what != 0;
        view->preferred = what == 1 ? THIRD : OTHER;
        view->up = what != 2;
        view->match = what == 3 ? 99 : 100;
        assert_false(look(fixture));
        fixture->now_ms += LOOK_MS;
        *view = good;
    }
    assert_int_equal(wait(fixture, 10000), LEADER_BALANCE_STEADY_MS);
}

static void looks_too_far_apart_prove_nothing(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 20; i++) {
        assert_false(look(fixture));
        fixture->now_ms += LEADER_BALANCE_GAP_MS + 1;
    }
    for (int i = 0; i <= 3; i++) {
        assert_true(look(fixture) == (i == 3));
        fixture->now_ms += LEADER_BALANCE_GAP_MS;
    }
}

static void what_was_not_looked_at_is_not_chosen(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(wait(fixture, LEADER_BALANCE_STEADY_MS - LOOK_MS), -1);
    assert_false(leader_balance_choose(fixture->balance, fixture->now_ms * MS, &fixture->shard, &fixture->node));
    assert_true(look(fixture));
}

static void a_log_that_grows_does_not_hinder(void **state)
{
    struct fixture *fixture = *state;
    struct leader_balance_view *view = &fixture->views[1];
    bool chosen = false;
    for (int i = 0; i <= LEADER_BALANCE_STEADY_MS / LOOK_MS && !chosen; i++) {
        chosen = look(fixture);
        assert_true(chosen == (i == LEADER_BALANCE_STEADY_MS / LOOK_MS));
        fixture->now_ms += LOOK_MS;
        view->match = view->last; /* always one look behind */
        view->last += 1000;
    }
    assert_true(chosen);
}

static void one_that_falls_behind_is_left_alone(void **state)
{
    struct fixture *fixture = *state;
    struct leader_balance_view *view = &fixture->views[1];
    for (int i = 0; i < 1000; i++) {
        assert_false(look(fixture));
        fixture->now_ms += LOOK_MS;
        view->match += 999;
        view->last += 1000;
        view->match = i == 0 ? 50 : view->match;
    }
}

static void one_at_a_time(void **state)
{
    struct fixture *fixture = *state;
    fixture->views[2].up = fixture->views[3].up = true;
    fixture->views[3].preferred = THIRD;
    assert_int_equal(wait(fixture, 60000), LEADER_BALANCE_STEADY_MS);
    assert_int_equal(fixture->shard, 2);
    fixture->views[1].leading = false;
    assert_int_equal(wait(fixture, 60000), LEADER_BALANCE_PAUSE_MS - LOOK_MS);
    assert_int_equal(fixture->shard, 3);
    fixture->views[2].leading = false;
    assert_int_equal(wait(fixture, 60000), LEADER_BALANCE_PAUSE_MS - LOOK_MS);
    assert_int_equal(fixture->shard, 4);
    assert_int_equal(fixture->node, THIRD);
}

static void what_does_not_work_is_tried_ever_more_rarely(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(wait(fixture, 60000), LEADER_BALANCE_STEADY_MS);
    int64_t pause_ms = LEADER_BALANCE_PAUSE_MS;
    for (int i = 0; i < 12; i++) {
        assert_int_equal(wait(fixture, 1000000), pause_ms - LOOK_MS);
        pause_ms = 2 * pause_ms < LEADER_BALANCE_MAXIMUM_MS ? 2 * pause_ms : LEADER_BALANCE_MAXIMUM_MS;
    }
    assert_int_equal(pause_ms, LEADER_BALANCE_MAXIMUM_MS);
    fixture->views[2].up = true; /* others do not wait for it */
    assert_int_equal(wait(fixture, 60000), LEADER_BALANCE_PAUSE_MS - LOOK_MS);
    assert_int_equal(fixture->shard, 3);
    fixture->views[1].leading = fixture->views[2].leading = false;
    assert_int_equal(wait(fixture, 2 * LEADER_BALANCE_MAXIMUM_MS), -1);
    fixture->views[1].leading = true; /* long after: as if it were the first time */
    assert_int_equal(wait(fixture, 60000), LEADER_BALANCE_STEADY_MS);
    assert_int_equal(wait(fixture, 60000), LEADER_BALANCE_PAUSE_MS - LOOK_MS);
}

static void those_never_tried_go_first(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(wait(fixture, 60000), LEADER_BALANCE_STEADY_MS);
    fixture->views[3].up = true;
    fixture->now_ms += 900;
    assert_int_equal(wait(fixture, 60000), LEADER_BALANCE_PAUSE_MS - 1000);
    assert_int_equal(fixture->shard, 4);
    assert_int_equal(wait(fixture, 60000), LEADER_BALANCE_PAUSE_MS - LOOK_MS);
    assert_int_equal(fixture->shard, 2); /* shard 4 stays too, but was tried later */
}

static void what_is_asked_for_is_done_at_once(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(wait(fixture, 60000), LEADER_BALANCE_STEADY_MS); /* shard 2; the next one would have to wait */
    fixture->views[1].leading = false;
    leader_balance_ask(fixture->balance, 3);
    assert_int_equal(wait(fixture, 1000), -1); /* it is not up */
    fixture->views[2].up = true;
    fixture->views[2].match = 99;
    assert_int_equal(wait(fixture, 1000), -1); /* it lags */
    fixture->views[2].match = 100;
    assert_int_equal(wait(fixture, 1000), 0);
    assert_int_equal(fixture->shard, 3);
    assert_int_equal(wait(fixture, 60000), LEADER_BALANCE_PAUSE_MS - LOOK_MS); /* it did not work: as always */
}

static void what_is_asked_for_begins_anew(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(wait(fixture, 60000), LEADER_BALANCE_STEADY_MS);
    assert_int_equal(wait(fixture, 60000), LEADER_BALANCE_PAUSE_MS - LOOK_MS);
    assert_int_equal(wait(fixture, 60000), 2 * LEADER_BALANCE_PAUSE_MS - LOOK_MS); /* it never works */
    leader_balance_ask(fixture->balance, 2);
    assert_int_equal(wait(fixture, 1000), 0);
    assert_int_equal(wait(fixture, 60000), LEADER_BALANCE_PAUSE_MS - LOOK_MS);
    assert_int_equal(wait(fixture, 60000), 2 * LEADER_BALANCE_PAUSE_MS - LOOK_MS);
}

static void what_is_asked_for_needs_no_silence(void **state)
{
    struct fixture *fixture = *state;
    struct leader_balance_view *view = &fixture->views[1];
    view->preferred = SELF;
    fixture->now_ms = LOOK_MS;
    assert_false(look(fixture));
    view->preferred = OTHER;
    view->last += 1000; /* while the log grows: what it had at the look before will do */
    leader_balance_ask(fixture->balance, 2);
    fixture->now_ms += LOOK_MS;
    assert_true(look(fixture));
}

static void who_does_not_lead_is_not_asked(void **state)
{
    struct fixture *fixture = *state;
    fixture->views[1].leading = false;
    leader_balance_ask(fixture->balance, 2);
    assert_false(look(fixture));
    fixture->views[1].leading = true; /* another time: whoever leads by then was asked */
    assert_int_equal(wait(fixture, 60000), LEADER_BALANCE_STEADY_MS);
}

/* Whatever is seen: the invariants. */
static void at_random(void **state)
{
    struct fixture *fixture = *state;
    struct prng prng;
    int64_t steady_ms[SHARDS] = {0};
    uint64_t before[SHARDS];
    int64_t last_ms = -LEADER_BALANCE_PAUSE_MS;
    int chosen = 0;
    prng_seed(&prng, 5);
    for (int i = 0; i < SHARDS; i++) {
        steady_ms[i] = -1;
        before[i] = UINT64_MAX;
    }
    for (int step = 0; step < 200000; step++) {
        for (int i = 0; i < SHARDS; i++) {
            struct leader_balance_view *view = &fixture->views[i];
            if (prng_below(&prng, 100) == 0) {
                view->leading = prng_below(&prng, 4) != 0;
                view->up = prng_below(&prng, 4) != 0;
                view->preferred = prng_below(&prng, 4);
            }
            view->last += prng_below(&prng, 3);
            view->match = view->last - prng_below(&prng, prng_below(&prng, 30) == 0 ? 9 : 2);
            bool good = view->leading && view->up && view->preferred > SELF &&
                        view->match >= (steady_ms[i] >= 0 && before[i] < view->last ? before[i] : view->last);
            steady_ms[i] = good ? (steady_ms[i] >= 0 ? steady_ms[i] : fixture->now_ms) : -1;
            before[i] = view->last;
        }
        if (look(fixture)) {
            const struct leader_balance_view *view = &fixture->views[fixture->shard - 1];
            assert_true(view->leading && view->up && view->preferred == fixture->node && fixture->node != SELF);
            assert_true(fixture->now_ms - last_ms >= LEADER_BALANCE_PAUSE_MS);
            assert_true(steady_ms[fixture->shard - 1] >= 0 &&
                        fixture->now_ms - steady_ms[fixture->shard - 1] >= LEADER_BALANCE_STEADY_MS);
            last_ms = fixture->now_ms;
            chosen++;
        }
        fixture->now_ms += LOOK_MS;
    }
    assert_true(chosen > 20);
}

int main(void)
{
#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(the_preferred_one_leads_when_it_is_steady),
        WITH_FIXTURE(nothing_is_done_without_reason),
        WITH_FIXTURE(every_interruption_begins_anew),
        WITH_FIXTURE(looks_too_far_apart_prove_nothing),
        WITH_FIXTURE(what_was_not_looked_at_is_not_chosen),
        WITH_FIXTURE(a_log_that_grows_does_not_hinder),
        WITH_FIXTURE(one_that_falls_behind_is_left_alone),
        WITH_FIXTURE(one_at_a_time),
        WITH_FIXTURE(what_does_not_work_is_tried_ever_more_rarely),
        WITH_FIXTURE(those_never_tried_go_first),
        WITH_FIXTURE(what_is_asked_for_is_done_at_once),
        WITH_FIXTURE(what_is_asked_for_begins_anew),
        WITH_FIXTURE(what_is_asked_for_needs_no_silence),
        WITH_FIXTURE(who_does_not_lead_is_not_asked),
        WITH_FIXTURE(at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
