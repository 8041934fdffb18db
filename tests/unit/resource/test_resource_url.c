#include "resource/resource_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct resource_url url;

static bool takes(const char *text)
{
    const char *problem = NULL;
    bool taken = resource_url_parse(text, &url, &problem) == STATUS_OK;
    assert_true(taken == (problem == NULL));
    return taken;
}

static void test_good(void **unused)
{
    assert_true(takes("mariadb://app:p%40ss%3Aw@db.example:3307/bank?ssl=1&x"));
    assert_string_equal(url.scheme, "mariadb");
    assert_string_equal(url.user, "app");
    assert_string_equal(url.password, "p@ss:w");
    assert_string_equal(url.host, "db.example");
    assert_int_equal(url.port, 3307);
    assert_string_equal(url.path, "bank");
    assert_string_equal(resource_url_option(&url, "ssl"), "1");
    assert_string_equal(resource_url_option(&url, "x"), "");
    assert_null(resource_url_option(&url, "y"));
    assert_true(takes("http://[::1]:80/a/b"));
    assert_string_equal(url.host, "::1");
    assert_string_equal(url.path, "a/b");
    assert_int_equal(url.port, 80);
    assert_true(takes("http://h"));
    assert_string_equal(url.user, "");
    assert_string_equal(url.path, "");
    assert_int_equal(url.port, 0);
    assert_true(takes("x://"));
    assert_true(takes("x://a@?b=c"));
    assert_string_equal(url.user, "a");
    assert_string_equal(url.host, "");
}

static void test_bad(void **unused)
{
    static const char *const bad[] = {"",         "x",        "://h",       "x:/h",     "x://h:0",  "x://h:65536",
                                      "x://h:a",  "x://[::1", "x://[::1]a", "x://%",    "x://%4",   "x://%zz",
                                      "x://%00/", "x://h/%",  "x://h?%=1",  "x://%4@h", "x://a:%@h"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(takes(bad[i]));
    }
}

static void test_long(void **unused)
{
    char text[2 * RESOURCE_URL_BYTES] = "x://h/";
    for (size_t size = strlen(text); size < sizeof(text) - 1; size++) {
        text[size] = 'a';
        assert_true(takes(text) || size > RESOURCE_URL_BYTES - 16);
    }
    assert_false(takes(text));
    char many[8 + 2 * (RESOURCE_OPTIONS + 2)] = "x://h?a";
    for (size_t count = 1; count <= RESOURCE_OPTIONS + 1; count++) {
        assert_true(takes(many) == (count <= RESOURCE_OPTIONS));
        strcat(many, "&a");
    }
}

static void test_passwords_are_told_to_nobody(void **unused)
{
    char text[64];
    resource_url_public("postgresql://u:secret@h:5/d?password=secret", text, sizeof(text));
    assert_string_equal(text, "postgresql://h:5/d");
    resource_url_public("x://u:se/cr@et@h", text, sizeof(text)); /* not as it must be */
    assert_string_equal(text, "x://h");
    resource_url_public("http://h/a@b", text, sizeof(text));
    assert_string_equal(text, "http://b");
    resource_url_public("postgresql:///d?host=/run", text, 8);
    assert_string_equal(text, "postgre");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_passwords_are_told_to_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
