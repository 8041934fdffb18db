/* The steps of a group's leader towards the members that it is to have. */
#include "cluster/group_move.h"

#include "base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SELF = 1, MEMBERS = 6, LAST = 100 };

struct fixture {
    struct group_move move;
    struct group_move_view view;
    struct shard_peer_status peers[MEMBERS];
    uint64_t wanted[MEMBERS];
    struct raft_configuration next;
    uint64_t heir;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

/* Of digits; all others have caught up. */
static void begin(struct fixture *fixture, const char *voters, const char *learners, const char *wanted)
{
    *fixture = (struct fixture){.view = {.self = SELF, .term = 3, .last = LAST, .settled = true}};
    struct group_move_view *view = &fixture->view;
    view->peers = fixture->peers;
    view->voters = fixture->wanted;
    for (; *voters != '\0'; voters++) {
        view->now.voters[view->now.voter_count++] = (uint64_t)(*voters - '0');
    }
    for (; *learners != '\0'; learners++) {
        view->now.learners[view->now.learner_count++] = (uint64_t)(*learners - '0');
    }
    for (; *wanted != '\0'; wanted++) {
        fixture->wanted[view->voter_count++] = (uint64_t)(*wanted - '0');
    }
    for (uint64_t id = SELF + 1; id <= MEMBERS; id++) {
        if (raft_configuration_has(&view->now, id)) {
            fixture->peers[view->peer_count++] =
                (struct shard_peer_status){.id = id, .match = LAST, .state = RAFT_PEER_REPLICATE, .heard_ms = 10};
        }
    }
}

static enum group_move_step look(struct fixture *fixture)
{
    return group_move_next(&fixture->move, &fixture->view, &fixture->next, &fixture->heir);
}

static bool is_next(const struct fixture *fixture, const char *voters, const char *learners)
{
    struct fixture expected;
    begin(&expected, voters, learners, "1");
    return raft_configuration_valid(&fixture->next) && raft_configuration_equal(&fixture->next, &expected.view.now);
}

static struct shard_peer_status *peer_of(struct fixture *fixture, uint64_t id)
{
    for (size_t i = 0; i < fixture->view.peer_count; i++) {
        if (fixture->peers[i].id == id) {
            return &fixture->peers[i];
        }
    }
    fail();
    return NULL;
}

static void nothing_is_done_without_reason(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, "123", "", "123");
    assert_int_equal(look(fixture), GROUP_MOVE_NOTHING);
    assert_int_equal(look(fixture), GROUP_MOVE_NOTHING);
}

static void a_new_one_learns_first(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, "123", "", "124");
    assert_int_equal(look(fixture), GROUP_MOVE_CHANGES);
    assert_true(is_next(fixture, "123", "4"));
}

static void who_has_caught_up_takes_the_place_of_who_is_to_go(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, "123", "4", "124");
    assert_int_equal(look(fixture), GROUP_MOVE_WAITS); /* one look proves nothing */
    assert_int_equal(look(fixture), GROUP_MOVE_CHANGES);
    assert_true(is_next(fixture, "124", ""));
}

static void who_lags_waits(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, "123", "4", "124");
    for (int i = 0; i < 10; i++) {
        peer_of(fixture, 4)->match = fixture->view.last - 1;
        assert_int_equal(look(fixture), GROUP_MOVE_WAITS);
    }
    peer_of(fixture, 4)->match = fixture->view.last;
    peer_of(fixture, 4)->state = RAFT_PEER_SNAPSHOT;
    assert_int_equal(look(fixture), GROUP_MOVE_WAITS);
    peer_of(fixture, 4)->state = RAFT_PEER_REPLICATE;
    fixture->view.last += 1000; /* a log that grows all the time hinders nothing */
    assert_int_equal(look(fixture), GROUP_MOVE_CHANGES);
    begin(fixture, "123", "4", "124");
    assert_int_equal(look(fixture), GROUP_MOVE_WAITS);
    fixture->view.term++; /* of another term it knows nothing */
    assert_int_equal(look(fixture), GROUP_MOVE_WAITS);
}

static void one_change_at_a_time(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, "123", "", "124");
    fixture->view.settled = false;
    assert_int_equal(look(fixture), GROUP_MOVE_WAITS);
    begin(fixture, "123", "", "456"); /* one by one */
    assert_int_equal(look(fixture), GROUP_MOVE_CHANGES);
    assert_true(is_next(fixture, "123", "4"));
    begin(fixture, "23", "", "124"); /* who does not vote (any more) changes nothing */
    assert_int_equal(look(fixture), GROUP_MOVE_WAITS);
}

static void who_was_not_heard_goes_first(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, "123", "4", "145");
    peer_of(fixture, 2)->heard_ms = 9;
    peer_of(fixture, 3)->heard_ms = 9000;
    (void)look(fixture);
    fixture->view.now.learner_count = 2;
    fixture->view.now.learners[1] = 5;
    assert_int_equal(look(fixture), GROUP_MOVE_CHANGES);
    assert_true(is_next(fixture, "124", "5"));
}

static void a_dead_one_keeps_nobody_from_coming(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, "123", "45", "1245");
    peer_of(fixture, 4)->match = 0;
    (void)look(fixture);
    assert_int_equal(look(fixture), GROUP_MOVE_CHANGES);
    assert_true(is_next(fixture, "125", "4"));
}

static void a_leader_that_is_to_go_hands_over(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, "123", "4", "234");
    (void)look(fixture);
    assert_int_equal(look(fixture), GROUP_MOVE_CHANGES);
    assert_true(is_next(fixture, "1234", ""));
    begin(fixture, "1234", "", "234");
    peer_of(fixture, 3)->match = LAST + 1;
    (void)look(fixture);
    assert_int_equal(look(fixture), GROUP_MOVE_HANDS_OVER);
    assert_int_equal(fixture->heir, 3);
    for (uint64_t id = 2; id <= 4; id++) {
        peer_of(fixture, id)->match = 0;
    }
    assert_int_equal(look(fixture), GROUP_MOVE_WAITS);
}

static void who_is_too_many_goes(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, "12345", "6", "123");
    assert_int_equal(look(fixture), GROUP_MOVE_CHANGES);
    assert_true(is_next(fixture, "1235", "6") || is_next(fixture, "1234", "6"));
    begin(fixture, "123", "6", "123");
    assert_int_equal(look(fixture), GROUP_MOVE_CHANGES);
    assert_true(is_next(fixture, "123", ""));
}

/* From any members to any others, whoever leads, while it is said anew who is to vote: one in and one out in a step,
 * never fewer than the smaller of both, and an end. */
static void at_random(void **state)
{
    struct fixture *fixture = *state;
    struct prng prng;
    prng_seed(&prng, 9);
    for (int run = 0; run < 2000; run++) {
        char wanted[MEMBERS + 1] = "";
        char voters[MEMBERS + 1] = "";
        for (uint64_t id = 1; id <= MEMBERS; id++) {
            const char digit[2] = {(char)('0' + id), '\0'};
            strcat(wanted, prng_below(&prng, 2) == 0 ? digit : "");
            strcat(voters, prng_below(&prng, 2) == 0 ? digit : "");
        }
        if (wanted[0] == '\0' || voters[0] == '\0') {
            continue;
        }
        begin(fixture, voters, "", wanted);
        struct raft_configuration now = fixture->view.now;
        uint64_t self = now.voters[0];
        int steps = 0;
        for (enum group_move_step step = GROUP_MOVE_WAITS; step != GROUP_MOVE_NOTHING; steps++) {
            struct group_move move = fixture->move;
            assert_true(steps < 60);
            begin(fixture, "", "", wanted);
            fixture->move = move;
            fixture->view.now = now;
            fixture->view.self = self;
            for (uint64_t id = 1; id <= MEMBERS; id++) {
                if (id != self && raft_configuration_has(&now, id)) {
                    fixture->peers[fixture->view.peer_count++] =
                        (struct shard_peer_status){.id = id, .match = LAST, .state = RAFT_PEER_REPLICATE};
                }
            }
            step = look(fixture);
            if (step == GROUP_MOVE_CHANGES) {
                size_t least = strlen(wanted) < now.voter_count ? strlen(wanted) : now.voter_count;
                assert_true(raft_configuration_valid(&fixture->next));
                assert_true(fixture->next.voter_count >= least);
                assert_true(raft_configuration_is_voter(&fixture->next, self));
                now = fixture->next;
            } else if (step == GROUP_MOVE_HANDS_OVER) {
                assert_true(raft_configuration_is_voter(&now, fixture->heir) && fixture->heir != self);
                self = fixture->heir;
            }
        }
        assert_int_equal(now.voter_count, strlen(wanted));
        for (size_t i = 0; i < now.voter_count; i++) {
            assert_int_equal(now.voters[i], wanted[i] - '0');
        }
        assert_int_equal(now.learner_count, 0);
    }
}

int main(void)
{
#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(nothing_is_done_without_reason),
        WITH_FIXTURE(a_new_one_learns_first),
        WITH_FIXTURE(who_has_caught_up_takes_the_place_of_who_is_to_go),
        WITH_FIXTURE(who_lags_waits),
        WITH_FIXTURE(one_change_at_a_time),
        WITH_FIXTURE(who_was_not_heard_goes_first),
        WITH_FIXTURE(a_dead_one_keeps_nobody_from_coming),
        WITH_FIXTURE(a_leader_that_is_to_go_hands_over),
        WITH_FIXTURE(who_is_too_many_goes),
        WITH_FIXTURE(at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
