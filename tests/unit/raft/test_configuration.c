#include "raft/raft_configuration.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_make_sorts_and_checks(void **state)
{
    const uint64_t voters[] = {5, 1, 3};
    const uint64_t learners[] = {9, 2};
    struct raft_configuration c;
    assert_int_equal(raft_configuration_make(voters, 3, learners, 2, &c), STATUS_OK);
    assert_int_equal(c.voters[0], 1);
    assert_int_equal(c.voters[2], 5);
    assert_int_equal(c.learners[0], 2);
    assert_true(raft_configuration_is_voter(&c, 3));
    assert_false(raft_configuration_is_voter(&c, 9));
    assert_true(raft_configuration_has(&c, 9));
    assert_false(raft_configuration_has(&c, 4));
    assert_false(raft_configuration_is_joint(&c));

    struct raft_configuration untouched = c;
    const uint64_t twice[] = {1, 1};
    const uint64_t zero[] = {0};
    const uint64_t both[] = {3};
    uint64_t many[RAFT_MAXIMUM_VOTERS + 1];
    for (uint64_t i = 0; i <= RAFT_MAXIMUM_VOTERS; i++) {
        many[i] = i + 1;
    }
    assert_int_equal(raft_configuration_make(twice, 2, NULL, 0, &c), STATUS_INVALID);
    assert_int_equal(raft_configuration_make(zero, 1, NULL, 0, &c), STATUS_INVALID);
    assert_int_equal(raft_configuration_make(voters, 3, both, 1, &c), STATUS_INVALID);
    assert_int_equal(raft_configuration_make(voters, 0, NULL, 0, &c), STATUS_INVALID);
    assert_int_equal(raft_configuration_make(many, RAFT_MAXIMUM_VOTERS + 1, NULL, 0, &c), STATUS_INVALID);
    assert_int_equal(raft_configuration_make(many, RAFT_MAXIMUM_VOTERS, NULL, 0, &untouched), STATUS_OK);
}

static void make_large(struct raft_configuration *c)
{
    *c = (struct raft_configuration){.voter_count = RAFT_MAXIMUM_VOTERS,
                                     .outgoing_count = RAFT_MAXIMUM_VOTERS,
                                     .learner_count = RAFT_MAXIMUM_LEARNERS};
    for (uint64_t i = 0; i < RAFT_MAXIMUM_VOTERS; i++) {
        c->voters[i] = UINT64_MAX - 100 + i;
        c->outgoing[i] = UINT64_MAX - 50 + i;
    }
    for (uint64_t i = 0; i < RAFT_MAXIMUM_LEARNERS; i++) {
        c->learners[i] = UINT64_MAX - 1000 + i;
    }
}

static void test_bytes_and_back(void **state)
{
    struct raft_configuration c, back;
    make_large(&c);
    struct buffer out;
    buffer_init(&out);
    raft_configuration_encode(&c, &out);
    assert_true(out.size <= RAFT_CONFIGURATION_MAXIMUM_BYTES);
    assert_int_equal(raft_configuration_decode(buffer_slice(&out), &back), STATUS_OK);
    assert_true(raft_configuration_equal(&c, &back));
    assert_true(raft_configuration_is_joint(&back));
    for (size_t size = 0; size < out.size; size++) {
        assert_int_equal(raft_configuration_decode(slice_of(out.data, size), &back), STATUS_INVALID);
    }
    buffer_append_byte(&out, 0);
    assert_int_equal(raft_configuration_decode(buffer_slice(&out), &back), STATUS_INVALID);
    buffer_deinit(&out);
}

static void test_refuses_what_is_none(void **state)
{
    struct raft_configuration c;
    const uint8_t newer[] = {RAFT_CONFIGURATION_VERSION + 1, 1, 1, 0, 0};
    const uint8_t unsorted[] = {1, 2, 7, 3, 0, 0};
    const uint8_t learner_votes[] = {1, 1, 7, 0, 1, 7};
    const uint8_t no_voter[] = {1, 0, 1, 7, 0};
    const uint8_t demoted[] = {1, 1, 7, 2, 7, 8, 1, 8}; /* 8 leaves the voters to be a learner */
    const uint8_t empty[] = {1, 0, 0, 0};
    assert_int_equal(raft_configuration_decode(slice_of(newer, sizeof newer), &c), STATUS_VERSION);
    assert_int_equal(raft_configuration_decode(slice_of(unsorted, sizeof unsorted), &c), STATUS_INVALID);
    assert_int_equal(raft_configuration_decode(slice_of(learner_votes, sizeof learner_votes), &c), STATUS_INVALID);
    assert_int_equal(raft_configuration_decode(slice_of(no_voter, sizeof no_voter), &c), STATUS_INVALID);
    assert_int_equal(raft_configuration_decode(slice_of(demoted, sizeof demoted), &c), STATUS_OK);
    assert_int_equal(raft_configuration_decode(slice_of(empty, sizeof empty), &c), STATUS_OK);
    assert_int_equal(c.voter_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_make_sorts_and_checks),
        cmocka_unit_test(test_bytes_and_back),
        cmocka_unit_test(test_refuses_what_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
