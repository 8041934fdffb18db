#include "wire/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct message event(uint16_t class)
{
    return (struct message){MESSAGE_EVENT, class, SLICE_LITERAL("key"), SLICE_LITERAL("set")};
}

static void test_come_back_as_they_were(void **state)
{
    static char large[300];
    const struct message messages[] = {
        {MESSAGE_PUBLISHED, 0, SLICE_LITERAL("channel"), SLICE_LITERAL("text")},
        {MESSAGE_SHARDED, 0, SLICE_LITERAL(""), slice_of(large, sizeof(large))},
        event(EVENT_GENERIC),
        event(EVENT_MISSED),
        {MESSAGE_PUBLISHED, 0, slice_of(large, sizeof(large)), SLICE_LITERAL("")},
    };
    enum { COUNT = sizeof(messages) / sizeof(messages[0]) };
    struct buffer bytes = {0};
    for (size_t i = 0; i < COUNT; i++) {
        size_t before = bytes.size;
        message_put(&bytes, &messages[i]);
        assert_in_range(bytes.size - before, 5, message_bytes(&messages[i]));
    }
    struct slice rest = buffer_slice(&bytes);
    for (size_t i = 0; i < COUNT; i++) {
        struct message message;
        assert_true(message_take(&rest, &message));
        assert_int_equal(message.kind, messages[i].kind);
        assert_int_equal(message.class, messages[i].class);
        assert_true(slice_equal(message.subject, messages[i].subject));
        assert_true(slice_equal(message.body, messages[i].body));
    }
    assert_int_equal(rest.size, 0);
    buffer_deinit(&bytes);
    (void)state;
}

static bool takes(const uint8_t *data, size_t size)
{
    struct slice rest = slice_of(data, size);
    struct message message;
    return message_take(&rest, &message);
}

/* Cut anywhere, and with every byte of the head changed: nothing is read beyond its end. */
static void test_what_is_none(void **state)
{
    struct buffer bytes = {0};
    const struct message message = event(EVENT_HASH);
    message_put(&bytes, &message);
    for (size_t size = 0; size < bytes.size; size++) {
        assert_false(takes(bytes.data, size));
    }
    assert_true(takes(bytes.data, bytes.size));
    const uint8_t wrong[][5] = {
        {MESSAGE_KINDS, 0, 0, 0, 0},     {MESSAGE_PUBLISHED, 1, 0, 0, 0}, {MESSAGE_EVENT, 0, 0, 0, 0},
        {MESSAGE_EVENT, 3, 0, 0, 0},     {MESSAGE_EVENT, 0, 0x10, 0, 0},  {MESSAGE_PUBLISHED, 0, 0, 0, 1},
        {MESSAGE_PUBLISHED, 0, 0, 1, 0},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(takes(wrong[i], sizeof(wrong[i])));
    }
    const uint8_t far[] = {MESSAGE_PUBLISHED, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 'x'};
    assert_false(takes(far, sizeof(far)));
    buffer_deinit(&bytes);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_come_back_as_they_were),
        cmocka_unit_test(test_what_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
