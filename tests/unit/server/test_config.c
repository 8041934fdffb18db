#include "server/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static enum config_result set(struct config *config, const char *name, const char *value, bool running, char *message)
{
    return config_set(config, slice_from_string(name), slice_from_string(value), running, message);
}

static void test_set_checks_kind_and_limits(void **state)
{
    (void)state;
    struct config config;
    char message[CONFIG_MESSAGE_BYTES] = "";
    config_init(&config);
    assert_int_equal(config.maxclients, 10000);
    assert_int_equal(set(&config, "MAXMEMORY", "10mb", true, message), CONFIG_SET);
    assert_int_equal(config.maxmemory_bytes, 10 << 20);
    assert_int_equal(set(&config, "maxmemory", "ten", true, message), CONFIG_INVALID);
    assert_string_equal(message, "argument must be a memory value");
    assert_int_equal(set(&config, "maxclients", "0", true, message), CONFIG_INVALID);
    assert_string_equal(message, "argument must be between 1 and 1000000 inclusive");
    assert_int_equal(config.maxclients, 10000);
    assert_int_equal(set(&config, "protected-mode", "maybe", true, message), CONFIG_INVALID);
    assert_string_equal(message, "argument(s) must be one of the following: no, yes");
    assert_int_equal(set(&config, "enable-debug-command", "yes", true, message), CONFIG_IMMUTABLE);
    assert_int_equal(set(&config, "enable-debug-command", "yes", false, message), CONFIG_SET);
    assert_int_equal(set(&config, "appendonly", "no", false, message), CONFIG_IMMUTABLE);
    assert_int_equal(set(&config, "nonsense", "1", false, message), CONFIG_UNKNOWN);
    config_deinit(&config);
}

static void test_file_names_line_and_setting(void **state)
{
    (void)state;
    struct config config;
    char message[CONFIG_MESSAGE_BYTES] = "";
    config_init(&config);
    assert_int_equal(
        config_parse(&config, slice_from_string("# a comment\nmaxclients = 5\nrequirepass=x y\n"), "f.conf", message),
        STATUS_OK);
    assert_int_equal(config.maxclients, 5);
    assert_string_equal(config.requirepass, "x y");
    assert_string_equal(config.path, "f.conf");
    const char *wrong[][2] = {
        {"maxclients = 5\nmaxcleints = 6\n", "f.conf, line 2: 'maxcleints' is not a setting"},
        {"timeout = soon\n", "f.conf, line 1: 'timeout': argument couldn't be parsed into an integer"},
        {"[server]\nmaxclients = 1\n", "f.conf, line 2: [server]: sections are not used here"},
        {"\n\njust words\n", "f.conf, line 3: not a `name = value` line"},
        {"save = 900 1\n", "f.conf, line 1: 'save' is fixed"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(config_parse(&config, slice_from_string(wrong[i][0]), "f.conf", message), STATUS_INVALID);
        if (strncmp(message, wrong[i][1], strlen(wrong[i][1])) != 0) {
            print_message("got: %s\n", message);
            fail();
        }
    }
    assert_int_equal(config_parse(&config, slice_of("a\0b", 3), "f.conf", message), STATUS_INVALID);
    config_deinit(&config);
}

static void test_rewrite_keeps_comments_and_round_trips(void **state)
{
    (void)state;
    struct config config;
    char message[CONFIG_MESSAGE_BYTES] = "";
    config_init(&config);
    struct slice text = slice_from_string("# mine\nmaxclients = 5\ntimeout = 1\nmaxclients = 6\n");
    assert_int_equal(config_parse(&config, text, "f.conf", message), STATUS_OK);
    assert_int_equal(set(&config, "timeout", "7", true, message), CONFIG_SET);
    assert_int_equal(set(&config, "loglevel", "warning", true, message), CONFIG_SET);
    struct buffer out;
    buffer_init(&out);
    config_rewrite(&config, text, &out);
    buffer_append_byte(&out, '\0');
    assert_string_equal((char *)out.data, "# mine\nmaxclients = 6\ntimeout = 7\nloglevel = warning\n");
    struct config again;
    config_init(&again);
    assert_int_equal(config_parse(&again, slice_of(out.data, out.size - 1), "g.conf", message), STATUS_OK);
    assert_int_equal(again.timeout_s, 7);
    assert_int_equal(again.maxclients, 6);
    config_deinit(&again);
    config_deinit(&config);
    buffer_deinit(&out);
}

static void each_counts(void *owner, const char *name, const char *value)
{
    (void)name;
    (void)value;
    (*(int *)owner)++;
}

/* What a line of the file cannot hold would be lost, or become another setting, at the next start. */
static void test_texts_that_the_file_cannot_hold(void **state)
{
    (void)state;
    static const char *const bad[] = {"; a", "a ;b", " a", "a ", "a\nmaxclients = 1", "a\x7f"};
    static const char *const good[] = {"", "a;b", "a = b", "#a", "\"a\"", "\xc3\xa9"};
    struct config config;
    char message[CONFIG_MESSAGE_BYTES] = "";
    config_init(&config);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(set(&config, "requirepass", bad[i], true, message), CONFIG_INVALID);
    }
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(set(&config, "requirepass", good[i], true, message), CONFIG_SET);
    }
    char line[201];
    memset(line, '#', sizeof(line));
    assert_int_equal(config_parse(&config, slice_of(line, 198), "f.conf", message), STATUS_OK);
    assert_int_equal(config_parse(&config, slice_of(line, 199), "f.conf", message), STATUS_INVALID);
    assert_string_equal(message, "f.conf, line 1: longer than 198 bytes");
    config_deinit(&config);
}

static void test_rewrite_drops_continuation_lines(void **state)
{
    (void)state;
    struct config config;
    char message[CONFIG_MESSAGE_BYTES] = "";
    config_init(&config);
    struct slice text = slice_from_string("metrics = a\nrequirepass = b\nmetrics = c\n d\n");
    assert_int_equal(config_parse(&config, text, "f.conf", message), STATUS_OK);
    struct buffer out;
    buffer_init(&out);
    config_rewrite(&config, text, &out);
    buffer_append_byte(&out, '\0');
    assert_string_equal((char *)out.data, "metrics = d\nrequirepass = b\n");
    buffer_deinit(&out);
    config_deinit(&config);
}

static void test_each_matches_globs_once(void **state)
{
    (void)state;
    struct config config;
    config_init(&config);
    struct slice patterns[] = {SLICE_LITERAL("max*"), SLICE_LITERAL("MAXMEMORY"), SLICE_LITERAL("nothing")};
    int count = 0;
    config_each(&config, patterns, 3, each_counts, &count);
    assert_int_equal(count, 7);
    struct config copy;
    config_copy(&copy, &config);
    config_deinit(&config);
    assert_int_equal(copy.maxclients, 10000);
    config_deinit(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_checks_kind_and_limits),
        cmocka_unit_test(test_file_names_line_and_setting),
        cmocka_unit_test(test_rewrite_keeps_comments_and_round_trips),
        cmocka_unit_test(test_texts_that_the_file_cannot_hold),
        cmocka_unit_test(test_rewrite_drops_continuation_lines),
        cmocka_unit_test(test_each_matches_globs_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
