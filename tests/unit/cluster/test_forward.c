/* Frames about requests, and the parcels that they travel in. */
#include "base/varint.h"
#include "cluster/forward_frame.h"
#include "cluster/parcel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct slice literal(const char *text) { return slice_from_string(text); }

static const struct forward_head sound = {.shard = 3,
                                          .count = 5,
                                          .logged = 2,
                                          .parcel = 7,
                                          .term = 9,
                                          .start = 11,
                                          .sequence = 13,
                                          .settled_below = 12,
                                          .slow_us = 10000};

static enum status take_head(const struct forward_head *head, struct forward_head *ret_head)
{
    uint8_t bytes[FORWARD_HEAD_BYTES];
    forward_head_put(bytes, head);
    struct slice from = slice_of(bytes, sizeof(bytes));
    enum status status = forward_head_take(&from, ret_head);
    assert_int_equal(from.size, status == STATUS_OK ? 0 : FORWARD_HEAD_BYTES);
    return status;
}

static void test_head_round_trip(void **state)
{
    (void)state;
    struct forward_head head;
    assert_int_equal(take_head(&sound, &head), STATUS_OK);
    assert_true(head.shard == sound.shard && head.count == sound.count && head.logged == sound.logged &&
                head.parcel == sound.parcel && head.term == sound.term && head.start == sound.start &&
                head.sequence == sound.sequence && head.settled_below == sound.settled_below &&
                head.slow_us == sound.slow_us);
    uint8_t bytes[FORWARD_HEAD_BYTES];
    forward_head_put(bytes, &sound);
    for (size_t size = 0; size < FORWARD_HEAD_BYTES; size++) {
        struct slice from = slice_of(bytes, size);
        assert_int_equal(forward_head_take(&from, &head), STATUS_CORRUPT);
    }
}

static void test_senseless_heads(void **state)
{
    (void)state;
    struct forward_head head, bad;
    bad = sound, bad.count = 0;
    assert_int_equal(take_head(&bad, &head), STATUS_CORRUPT);
    bad = sound, bad.count = FORWARD_REQUESTS + 1;
    assert_int_equal(take_head(&bad, &head), STATUS_CORRUPT);
    bad = sound, bad.logged = 6;
    assert_int_equal(take_head(&bad, &head), STATUS_CORRUPT);
    bad = sound, bad.term = 0;
    assert_int_equal(take_head(&bad, &head), STATUS_CORRUPT);
    bad = sound, bad.sequence = 0;
    assert_int_equal(take_head(&bad, &head), STATUS_CORRUPT);
    bad = sound, bad.logged = 0;
    assert_int_equal(take_head(&bad, &head), STATUS_CORRUPT);
    bad = sound, bad.settled_below = 14;
    assert_int_equal(take_head(&bad, &head), STATUS_CORRUPT);
}

static void test_answers(void **state)
{
    (void)state;
    uint8_t bytes[ANSWERS_HEAD_BYTES + ANSWER_HEAD_BYTES + 5];
    answers_head_put(bytes, 4, 1234567890123);
    struct answer_head put = {.place = 2, .size = 5, .outcome = FORWARD_REPLIED};
    answer_head_put(bytes + ANSWERS_HEAD_BYTES, &put);
    memcpy(bytes + ANSWERS_HEAD_BYTES + ANSWER_HEAD_BYTES, "+OK\r\n", 5);
    struct slice from = slice_of(bytes, sizeof(bytes));
    uint32_t shard = 0;
    uint64_t parcel = 0;
    assert_int_equal(answers_head_take(&from, &shard, &parcel), STATUS_OK);
    assert_int_equal(shard, 4);
    assert_true(parcel == 1234567890123);
    struct slice all = from;
    struct answer_head head;
    struct slice reply;
    assert_int_equal(answer_take(&from, &head, &reply), STATUS_OK);
    assert_int_equal(head.place, 2);
    assert_int_equal(from.size, 0);
    assert_true(slice_equal(reply, literal("+OK\r\n")));
    for (size_t size = 0; size < all.size; size++) {
        from = slice_of(all.data, size);
        assert_int_equal(answer_take(&from, &head, &reply), STATUS_AGAIN);
    }
}

static void test_slow_answers(void **state)
{
    (void)state;
    uint8_t bytes[ANSWER_HEAD_BYTES + 5 + ANSWER_TOOK_BYTES];
    answer_head_put(bytes, &(struct answer_head){.size = 5, .outcome = FORWARD_REPLIED_LONG, .slow = true});
    memcpy(bytes + ANSWER_HEAD_BYTES, "+OK\r\n", 5);
    put_u32(bytes + ANSWER_HEAD_BYTES + 5, 123456789);
    struct answer_head head;
    struct slice reply;
    for (size_t size = 0; size < sizeof(bytes); size++) {
        struct slice part = slice_of(bytes, size);
        assert_int_equal(answer_take(&part, &head, &reply), STATUS_AGAIN);
    }
    struct slice from = slice_of(bytes, sizeof(bytes));
    assert_int_equal(answer_take(&from, &head, &reply), STATUS_OK);
    assert_int_equal(head.outcome, FORWARD_REPLIED_LONG);
    assert_true(head.slow && head.took_us == 123456789);
    assert_true(slice_equal(reply, literal("+OK\r\n")));
    assert_int_equal(from.size, 0);
}

static void test_senseless_answers(void **state)
{
    (void)state;
    static const struct answer_head bad[] = {
        {.outcome = FORWARD_REPLIED, .size = 0},
        {.outcome = FORWARD_OUTCOMES, .size = 0},
        {.outcome = FORWARD_REFUSED, .size = 0, .status = STATUS_OK},
        {.outcome = FORWARD_UNCERTAIN, .size = 0, .status = STATUS_FULL},
        {.outcome = FORWARD_RETURNED, .size = 1},
        {.outcome = FORWARD_RETURNED, .slow = true},
        {.outcome = FORWARD_REPLIED, .slow = true},
        {.outcome = FORWARD_REFUSED, .status = 1},
        {.outcome = FORWARD_RETURNED, .place = FORWARD_REQUESTS},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint8_t bytes[ANSWER_HEAD_BYTES + 1] = {0};
        answer_head_put(bytes, &bad[i]);
        struct slice from = slice_of(bytes, ANSWER_HEAD_BYTES + bad[i].size);
        struct answer_head head;
        struct slice reply;
        assert_int_equal(answer_take(&from, &head, &reply), STATUS_CORRUPT);
    }
}

static struct command set_command(struct slice argv[static 3], const char *key, const char *value)
{
    argv[0] = literal("SET");
    argv[1] = literal(key);
    argv[2] = literal(value);
    return (struct command){command_by_id(COMMAND_SET), argv, 3, RESP2};
}

static void test_parcel_keeps_and_moves(void **state)
{
    (void)state;
    struct requester one = {NULL, 1};
    struct parcel *parcel = parcel_create();
    struct slice argv[3];
    struct command command = set_command(argv, "a", "1");
    parcel_add(parcel, &command, true, &one, 10, 100);
    command = set_command(argv, "b", "22");
    parcel_add(parcel, &command, false, &one, 11, 101);
    assert_int_equal(parcel->logged, 1);
    assert_int_equal(parcel_request_bytes(parcel, 0) + parcel_request_bytes(parcel, 1), parcel->bytes.size);

    struct parcel *other = parcel_create();
    parcel_move(parcel, 1, other);
    parcel_move(parcel, 0, other);
    assert_int_equal(parcel->settled, 2);
    assert_int_equal(other->count, 2);
    assert_int_equal(other->logged, 1);
    assert_int_equal(other->requests[0].tag, 11);
    assert_int_equal(other->requests[1].since_ns, 100);
    struct command_arguments arguments;
    command_arguments_init(&arguments);
    assert_false(parcel_command(other, 0, &arguments, &command));
    assert_true(slice_equal(command.argv[2], literal("22")));
    assert_true(parcel_command(other, 1, &arguments, &command));
    assert_true(slice_equal(command.argv[1], literal("a")));
    command_arguments_deinit(&arguments);
    parcel_destroy(parcel);
    parcel_destroy(other);
}

static void test_parcel_limits(void **state)
{
    (void)state;
    struct parcel *parcel = parcel_create();
    assert_true(parcel_takes(parcel, 10 * PARCEL_BYTES)); /* one, however large */
    struct requester one = {NULL, 1};
    struct slice argv[3];
    struct command command = set_command(argv, "a", "1");
    for (uint32_t i = 0; i < FORWARD_REQUESTS; i++) {
        assert_true(parcel_takes(parcel, 8));
        parcel_add(parcel, &command, true, &one, i, 0);
    }
    assert_false(parcel_takes(parcel, 8));
    parcel_destroy(parcel);
    parcel = parcel_create();
    parcel_add(parcel, &command, true, &one, 0, 0);
    assert_false(parcel_takes(parcel, PARCEL_BYTES));
    parcel_destroy(parcel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head_round_trip),   cmocka_unit_test(test_senseless_heads),
        cmocka_unit_test(test_answers),           cmocka_unit_test(test_slow_answers),
        cmocka_unit_test(test_senseless_answers), cmocka_unit_test(test_parcel_keeps_and_moves),
        cmocka_unit_test(test_parcel_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
