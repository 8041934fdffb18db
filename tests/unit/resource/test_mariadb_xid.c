#include "resource/mariadb_xid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define FIRST "cohort:0123456789abcdef0123456789abcdef:0.1f"

static bool parses(const char *format, const char *first, const char *second, const char *data, size_t size)
{
    char name[BRANCH_NAME_BYTES] = "";
    bool parsed = maria_xid_parse(format, first, second, slice_of(data, size), name);
    assert_true(!parsed || strlen(name) == size + 1);
    return parsed;
}

static void test_there_and_back(void **unused)
{
    char xid[MARIA_XID_BYTES];
    char name[BRANCH_NAME_BYTES];
    assert_true(maria_xid_format("cohort:ab:0.1:x:bank", xid));
    assert_string_equal(xid, "X'636f686f72743a61623a302e31',X'783a62616e6b',1131374703");
    assert_true(maria_xid_parse("1131374703", "44", "6", slice_from_string(FIRST "x:bank"), name));
    assert_string_equal(name, FIRST ":x:bank");
    char longest[BRANCH_NAME_BYTES] = FIRST ":";
    memset(longest + strlen(longest), 'x', 62);
    strcat(longest, ":b");
    assert_true(maria_xid_format(longest, xid));
    assert_true(strlen(xid) < MARIA_XID_BYTES - 1);
    strcat(longest, "c");
    assert_false(maria_xid_format(longest, xid));
    assert_false(maria_xid_format("x", xid));
}

static void test_foreign(void **unused)
{
    assert_true(parses("1131374703", "1", "1", "ab", 2));
    assert_false(parses("1", "1", "1", "ab", 2));
    assert_false(parses(NULL, "1", "1", "ab", 2));
    assert_false(parses("1131374703", NULL, "1", "ab", 2));
    assert_false(parses("1131374703", "1", NULL, "ab", 2));
    assert_false(parses("1131374703", "1", "1", NULL, 0));
    assert_false(parses("1131374703", "1", "1", "abc", 3));
    assert_false(parses("1131374703", "1", "-1", "ab", 2));
    assert_false(parses("1131374703", "18446744073709551615", "3", "ab", 2));
    assert_false(parses("1131374703", "1", "1", "a\0", 2));
    char many[200];
    memset(many, 'x', sizeof(many));
    assert_false(parses("1131374703", "100", "100", many, 200));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_foreign)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
