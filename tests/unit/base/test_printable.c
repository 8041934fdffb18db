#include "base/printable.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void expect(struct slice text, const char *shown)
{
    char out[256];
    assert_int_equal(printable_copy(text, out, sizeof(out)), strlen(shown));
    assert_string_equal(out, shown);
}

static void test_what_stays(void **state)
{
    expect(SLICE_LITERAL(""), "");
    expect(SLICE_LITERAL(" ~\\x"), " ~\\x");
    expect(SLICE_LITERAL("\xc2\xa0\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"),
           "\xc2\xa0\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
    expect(SLICE_LITERAL("\xe2\x80\xa6\xe2\x81\xaa"), "\xe2\x80\xa6\xe2\x81\xaa");
}

static void test_what_is_escaped(void **state)
{
    expect(SLICE_LITERAL("a\0b\x1b[2J\r\n\x7f"), "a\\x00b\\x1b[2J\\x0d\\x0a\\x7f");
    expect(SLICE_LITERAL("\x80\xbf\xc0\x80\xc1\xbf\xf5\xff"),
           "\\x80\\xbf\\xc0\\x80\\xc1\\xbf\\xf5\\xff");                                  /* no UTF-8 */
    expect(SLICE_LITERAL("\xc2\x9b"), "\\xc2\\x9b");                                     /* U+009B, CSI */
    expect(SLICE_LITERAL("\xe2\x80\xae\xe2\x81\xa6"), "\\xe2\\x80\\xae\\xe2\\x81\\xa6"); /* directions */
    expect(SLICE_LITERAL("\xe2\x80\xa8"), "\\xe2\\x80\\xa8");                            /* a line's end */
    expect(SLICE_LITERAL("\xe0\x9f\xbf"), "\\xe0\\x9f\\xbf");                            /* overlong */
    expect(SLICE_LITERAL("\xed\xa0\x80"), "\\xed\\xa0\\x80");                            /* surrogate */
    expect(SLICE_LITERAL("\xf0\x8f\xbf\xbf\xf4\x90\x80\x80"), "\\xf0\\x8f\\xbf\\xbf\\xf4\\x90\\x80\\x80");
    expect(SLICE_LITERAL("\xc3(\xe2\x82(\xe2\x82"), "\\xc3(\\xe2\\x82(\\xe2\\x82"); /* cut short */
}

static void test_cut(void **state)
{
    char out[8];
    assert_int_equal(printable_copy(SLICE_LITERAL("0123456789"), out, sizeof(out)), 7);
    assert_string_equal(out, "0123456");
    assert_int_equal(printable_copy(SLICE_LITERAL("01234\n6"), out, sizeof(out)), 5); /* never half an escape */
    assert_int_equal(printable_copy(SLICE_LITERAL("012345\xc3\xa4"), out, sizeof(out)), 6);
    assert_int_equal(printable_copy(SLICE_LITERAL("x"), out, 1), 0);
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_stays),
        cmocka_unit_test(test_what_is_escaped),
        cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
