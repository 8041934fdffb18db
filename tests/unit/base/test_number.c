#include "base/number.h"
#include "base/varint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool parses(const char *text, int64_t expected)
{
    int64_t value = 0;
    return number_parse_int64(slice_from_string(text), &value) && value == expected;
}

static bool refused(const char *text)
{
    int64_t value = 7;
    return !number_parse_int64(slice_from_string(text), &value) && value == 7;
}

static void test_int64(void **state)
{
    (void)state;
    assert_true(parses("0", 0));
    assert_true(parses("-1", -1));
    assert_true(parses("9223372036854775807", INT64_MAX));
    assert_true(parses("-9223372036854775808", INT64_MIN));
    const char *wrong[] = {"",
                           "-",
                           "+1",
                           " 1",
                           "1 ",
                           "01",
                           "-0",
                           "00",
                           "1.0",
                           "9223372036854775808",
                           "-9223372036854775809",
                           "99999999999999999999",
                           "0x10",
                           "abc"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_true(refused(wrong[i]));
    }
}

static void test_int64_format(void **state)
{
    (void)state;
    const int64_t values[] = {0, 1, -1, 10, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char text[NUMBER_INT64_BYTES];
        int64_t back = 0;
        assert_true(number_parse_int64(slice_of(text, number_format_int64(text, values[i])), &back));
        assert_true(back == values[i]);
    }
}

static void test_long_double(void **state)
{
    (void)state;
    char text[NUMBER_LONG_DOUBLE_BYTES];
    long double value = 0;
    assert_true(number_parse_long_double(SLICE_LITERAL("10.5"), &value));
    assert_int_equal(number_format_long_double(text, value + 0.1L), 4);
    assert_memory_equal(text, "10.6", 4);
    assert_true(number_parse_long_double(SLICE_LITERAL("5.0e3"), &value));
    assert_int_equal(number_format_long_double(text, value), 4);
    assert_memory_equal(text, "5000", 4);
    assert_false(number_parse_long_double(SLICE_LITERAL(" 1"), &value));
    assert_false(number_parse_long_double(SLICE_LITERAL("nan"), &value));
    assert_false(number_parse_long_double(SLICE_LITERAL("1x"), &value));
    assert_false(number_parse_long_double(SLICE_LITERAL(""), &value));
}

static void test_varint(void **state)
{
    (void)state;
    const uint64_t values[] = {0, 1, 127, 128, 300, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint8_t bytes[VARINT_MAXIMUM_BYTES];
        size_t size = (size_t)(varint_put(bytes, values[i]) - bytes);
        struct slice from = slice_of(bytes, size);
        uint64_t back = 0;
        assert_true(varint_take(&from, &back));
        assert_true(back == values[i] && from.size == 0);
        from = slice_of(bytes, size - 1);
        assert_false(varint_take(&from, &back));
    }
    struct slice overlong = slice_of("\x80\x00", 2);
    uint64_t back = 0;
    assert_false(varint_take(&overlong, &back));
    struct slice large = slice_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10);
    assert_false(varint_take(&large, &back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_int64),
        cmocka_unit_test(test_int64_format),
        cmocka_unit_test(test_long_double),
        cmocka_unit_test(test_varint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
