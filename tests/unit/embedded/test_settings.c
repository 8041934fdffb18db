/* URLs of embedded://: what is taken, what is refused, and what has to be the same for who comes second. */
#include "embedded/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct engine_url url;
static struct embedded_settings settings;
static char problem[ENGINE_PROBLEM_BYTES];

static bool takes(const char *text)
{
    const char *why = NULL;
    problem[0] = '\0';
    assert_int_equal(engine_url_parse(text, &url, &why), STATUS_OK);
    return embedded_settings_parse(&url, &settings, problem) == STATUS_OK;
}

static bool refuses(const char *text, const char *words) { return !takes(text) && strstr(problem, words) != NULL; }

static void test_defaults(void **unused)
{
    assert_true(takes("embedded:///var/lib/a%20b?timeout=1s"));
    assert_string_equal(settings.folder, "/var/lib/a b");
    assert_true(settings.create && !settings.local);
    assert_int_equal(settings.shards, 0);
    assert_string_equal(settings.log, "");
    assert_string_equal(settings.said, "");
}

static void test_options(void **unused)
{
    assert_true(takes("embedded:///x?create=no&local=yes&shards=8&log=/y%20z&maxmemory=1gb&workers=2"));
    assert_true(!settings.create && settings.local);
    assert_int_equal(settings.shards, 8);
    assert_string_equal(settings.log, "/y z");
    assert_string_equal(settings.said,
                        "shards=8&log=/y z&maxmemory=1gb&workers=2&"); /* the way to it is not the node's */
    struct config config;
    config_init(&config);
    assert_int_equal(embedded_settings_configure(&url, &config, problem), STATUS_OK);
    assert_int_equal(config.maxmemory_bytes, 1 << 30);
    assert_int_equal(config.workers, 2);
    config_deinit(&config);
}

static void test_refusals(void **unused)
{
    assert_true(refuses("embedded://", "whole path"));
    assert_true(refuses("embedded://x", "whole path"));
    assert_true(refuses("embedded://?shards=1", "/dev/shm"));
    assert_true(refuses("embedded:///x?create", "yes or no"));
    assert_true(refuses("embedded:///x?local=1", "yes or no"));
    assert_true(refuses("embedded:///x?shards=0", "from 1 to"));
    assert_true(refuses("embedded:///x?shards=99999999999999999999", "from 1 to"));
    assert_true(refuses("embedded:///x?log=y", "whole path"));
    assert_true(refuses("embedded:///x?log=", "whole path"));
    static const char *const strangers[] = {
        "metrics=x", "requirepass=x", "protected-mode=no", "maxclients=1", "appendfsync=no", "nothing=1", "=1"};
    for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "embedded:///x?%s", strangers[i]);
        assert_true(refuses(text, "none of this name"));
    }
}

static void test_values(void **unused)
{
    struct config config;
    assert_true(takes("embedded:///x?maxmemory=lots")); /* its value is the node's business */
    config_init(&config);
    assert_int_equal(embedded_settings_configure(&url, &config, problem), STATUS_INVALID);
    assert_non_null(strstr(problem, "option maxmemory: "));
    config_deinit(&config);
}

/* Whatever its length, an option is taken whole or refused. */
static void test_lengths(void **unused)
{
    char text[ENGINE_PLACE_BYTES];
    for (size_t size = 1; size < 3000; size += 7) {
        int head = snprintf(text, sizeof(text), "embedded:///x?notify-keyspace-events=");
        memset(text + head, 'K', size);
        text[(size_t)head + size] = '\0';
        bool taken = takes(text);
        assert_true(taken == (sizeof("notify-keyspace-events=&") + size <= EMBEDDED_SAID_BYTES));
        assert_true(taken ? strlen(settings.said) == sizeof("notify-keyspace-events=&") - 1 + size
                          : strstr(problem, "too long") != NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_options), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_values),   cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
