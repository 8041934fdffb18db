#include "cli/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const char *const names[] = {"clients", "keys", "pipeline", "prepare", "url", NULL};

static void test_near_words(void **state)
{
    assert_string_equal(cli_suggest("clinets", names), "clients");
    assert_string_equal(cli_suggest("client", names), "clients");
    assert_string_equal(cli_suggest("key", names), "keys");
    assert_string_equal(cli_suggest("pipe", names), "pipeline");
    assert_string_equal(cli_suggest("prep", names), "prepare");
    assert_string_equal(cli_suggest("ulr", names), "url");
}

static void test_far_words(void **state)
{
    assert_null(cli_suggest("", names));
    assert_null(cli_suggest("duration", names));
    assert_null(cli_suggest("xyz", names));
    assert_null(cli_suggest("a-word-that-is-longer-than-every-option-of-every-command", names));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_near_words),
        cmocka_unit_test(test_far_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
