#include "base/glob.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static bool matches(const char *pattern, const char *text)
{
    return glob_match(slice_from_string(pattern), slice_from_string(text), false);
}

static void test_literals_and_wildcards(void **state)
{
    (void)state;
    assert_true(matches("", ""));
    assert_false(matches("", "a"));
    assert_true(matches("*", ""));
    assert_false(matches("**", ""));
    assert_false(matches("a", ""));
    assert_true(matches("**", "abc"));
    assert_true(matches("a*c", "abbbc"));
    assert_true(matches("a*bc*d", "abcbcxd"));
    assert_false(matches("a*c", "abd"));
    assert_true(matches("h?llo", "hello"));
    assert_false(matches("h?llo", "hllo"));
    assert_false(matches("abc", "abcd"));
    assert_false(matches("abcd", "abc"));
}

static void test_classes(void **state)
{
    (void)state;
    assert_true(matches("h[ae]llo", "hallo"));
    assert_false(matches("h[ae]llo", "hillo"));
    assert_true(matches("h[^e]llo", "hallo"));
    assert_false(matches("h[^e]llo", "hello"));
    assert_true(matches("[a-c]", "b"));
    assert_true(matches("[c-a]", "b"));
    assert_false(matches("[a-c]", "d"));
    assert_true(matches("[\\]]", "]"));
    assert_true(matches("[ab", "b"));
    assert_true(matches("[^", "b"));
    assert_false(matches("[", "["));
    assert_false(matches("[]a]", "a"));
    assert_true(matches("[a-]", "^"));
    assert_true(matches("[a-]", "_")); /* up to the bracket, and not closed */
    assert_true(matches("[\x80-\x05]", "\xf0"));
    assert_false(matches("[\x01-\xff]", "\x80"));
    assert_true(matches("*[0-9]x", "ab1x"));
}

static void test_escapes_and_case(void **state)
{
    (void)state;
    assert_true(matches("a\\*c", "a*c"));
    assert_false(matches("a\\*c", "abc"));
    assert_true(matches("a\\", "a\\"));
    assert_false(matches("ABC", "abc"));
    assert_true(glob_match(slice_from_string("A[B-D]*"), slice_from_string("acx"), true));
}

static void test_hard_pattern_is_quick(void **state)
{
    (void)state;
    char *text = malloc(20001);
    memset(text, 'a', 20000);
    text[20000] = '\0';
    assert_false(matches("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", text));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_literals_and_wildcards),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_escapes_and_case),
        cmocka_unit_test(test_hard_pattern_is_quick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
