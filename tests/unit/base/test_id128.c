#include "base/id128.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_text(void **state)
{
    static const char text[] = "00ff1234567890abcdef0000a0b0c0d0";
    char again[ID128_DIGITS + 1];
    struct id128 id = {0};
    assert_true(id128_is_zero(&id));
    assert_true(id128_parse(text, &id));
    assert_int_equal(id.bytes[1], 0xff);
    assert_int_equal(id.bytes[15], 0xd0);
    assert_false(id128_is_zero(&id));
    id128_format(&id, again);
    assert_string_equal(again, text);
    struct id128 upper = {0};
    assert_true(id128_parse("00FF1234567890ABCDEF0000A0B0C0D0", &upper));
    assert_true(id128_equal(&id, &upper));
}

static void test_malformed(void **state)
{
    static const char *const texts[] = {"",
                                        "00ff",
                                        "00ff1234567890abcdef0000a0b0c0d",
                                        "00ff1234567890abcdef0000a0b0c0dg",
                                        "00ff1234567890abcdef0000a0b0c0d00",
                                        " 0ff1234567890abcdef0000a0b0c0d0"};
    for (int i = 0; i < 6; i++) {
        struct id128 id = {{7}};
        assert_false(id128_parse(texts[i], &id));
        assert_true(id128_equal(&id, &(struct id128){{7}}));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_text), cmocka_unit_test(test_malformed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
