#include "base/units.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_durations(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"0", 0},        {"250ms", 250},   {"10s", 10000}, {"5m", 300000},
                {"2h", 7200000}, {"1d", 86400000}, {"1S", 1000}};
    static const char *const bad[] = {"",    "s",    "10",  "-1s",   "1.5s",
                                      "01s", "10 s", "10x", "10mss", "9223372036854775807s"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        int64_t ms = -1;
        assert_true(units_parse_duration(slice_from_string(good[i].text), &ms));
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t ms = -1;
        assert_false(units_parse_duration(slice_from_string(bad[i]), &ms));
        assert_int_equal(ms, -1);
    }
}

static void test_sizes(void **state)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } good[] = {{"0", 0},
                {"17", 17},
                {"17b", 17},
                {"1k", 1000},
                {"1kb", 1024},
                {"64KB", 65536},
                {"2m", 2000000},
                {"2mb", 2 << 20},
                {"3g", 3000000000},
                {"1Gb", 1073741824},
                {"9223372036854775807", INT64_MAX}};
    static const char *const bad[] = {"", "kb", "-1", "1.5gb", "1tb", "1 kb", "9223372036854775807k"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        int64_t bytes = -1;
        assert_true(units_parse_size(slice_from_string(good[i].text), &bytes));
        assert_int_equal(bytes, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t bytes = -1;
        assert_false(units_parse_size(slice_from_string(bad[i]), &bytes));
    }
}

static void test_formats(void **state)
{
    char text[UNITS_TEXT_BYTES];
    units_format_size(text, 1023);
    assert_string_equal(text, "1023 B");
    units_format_size(text, 1536);
    assert_string_equal(text, "1.50 KB");
    units_format_size(text, UINT64_MAX);
    assert_string_equal(text, "16.00 EB");
    units_format_duration(text, 59);
    assert_string_equal(text, "59 s");
    units_format_duration(text, 65);
    assert_string_equal(text, "1 min 5 s");
    units_format_duration(text, 3 * 86400 + 4 * 3600 + 59);
    assert_string_equal(text, "3 d 4 h");
    units_format_duration(text, UINT64_MAX);
    assert_string_equal(text, "213503982334601 d 7 h");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
