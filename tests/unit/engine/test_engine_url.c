#include "engine/engine_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct engine_url url;

static bool takes(const char *text)
{
    const char *problem = NULL;
    bool taken = engine_url_parse(text, &url, &problem) == STATUS_OK;
    assert_true(taken == (problem == NULL));
    return taken;
}

static void test_good(void **unused)
{
    assert_true(takes("file:///var/lib/a%20b?timeout=250ms&x=1&y"));
    assert_true(slice_equal(url.scheme, SLICE_LITERAL("file")));
    assert_string_equal((const char *)url.place.data, "/var/lib/a b");
    assert_int_equal(url.timeout_ms, 250);
    assert_int_equal(url.option_count, 2);
    assert_true(slice_equal(url.options[0].value, SLICE_LITERAL("1")));
    assert_int_equal(url.options[1].value.size, 0);
    assert_true(takes("redlock://a,b:1,[::1]:2"));
    assert_string_equal((const char *)url.place.data, "a,b:1,[::1]:2");
    assert_int_equal(url.timeout_ms, 5000);
    assert_true(takes("x://"));
    assert_int_equal(url.place.size, 0);
    assert_true(takes("x://?"));
}

static void test_bad(void **unused)
{
    static const char *const bad[] = {"",
                                      "x",
                                      "x:/y",
                                      "x://%",
                                      "x://%4",
                                      "x://%zz",
                                      "x://%00",
                                      "x://a?timeout",
                                      "x://a?timeout=0",
                                      "x://a?timeout=x",
                                      "x://a?a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q&r&s&t&u&v&w&x&y"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(takes(bad[i]));
    }
}

static void test_long(void **unused)
{
    for (size_t size = ENGINE_PLACE_BYTES - 16; size < ENGINE_PLACE_BYTES + 16; size++) {
        char *text = malloc(size + 5);
        memcpy(text, "x://", 4);
        memset(text + 4, 'a', size);
        text[size + 4] = '\0';
        bool taken = takes(text);
        assert_true(taken == (size < ENGINE_PLACE_BYTES - 2 - 1));
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
