#include "client/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *text, const char *endpoints, int64_t timeout_ms)
{
    struct client_url url;
    const char *problem = NULL;
    assert_int_equal(client_url_parse(text, &url, &problem), STATUS_OK);
    char all[1024] = "";
    for (uint32_t i = 0; i < url.endpoint_count; i++) {
        char one[CLIENT_ENDPOINT_TEXT_BYTES];
        client_endpoint_format(&url.endpoints[i], one);
        size_t used = strlen(all);
        (void)snprintf(all + used, sizeof(all) - used, "%s%s", i == 0 ? "" : " ", one);
    }
    assert_string_equal(all, endpoints);
    assert_int_equal(url.timeout_ms, timeout_ms);
}

static void test_good(void **state)
{
    expect(CLIENT_URL_DEFAULT, "127.0.0.1:6379", 5000);
    expect("cohort://a", "a:6379", 5000);
    expect("cohort://a:1/", "a:1", 5000);
    expect("a:1,b,[::1]:3,[fe80::2]", "a:1 b:6379 [::1]:3 [fe80::2]:6379", 5000);
    expect("cohort://a:65535?timeout=250ms", "a:65535", 250);
    expect("cohort://a?", "a:6379", 5000);
}

static void test_bad(void **state)
{
    static const char *const bad[] = {
        "",
        "cohort://",
        ":6379",
        "a:",
        "a:0",
        "a:65536",
        "a:x",
        "a,",
        "a,,b",
        "redis://a",
        "::1",
        "[::1",
        "[::1]6379",
        "[]:1",
        "a b:1",
        "a/b",
        "u@a",
        "a?x=1",
        "a?timeout=",
        "a?timeout=0",
        "a?timeout=10",
        "a:1:2",
        "cohort://a?timeout=5s&x",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct client_url url;
        const char *problem = NULL;
        assert_int_equal(client_url_parse(bad[i], &url, &problem), STATUS_INVALID);
        assert_non_null(problem);
    }
}

static void test_limits(void **state)
{
    char text[CLIENT_HOST_BYTES + 2];
    memset(text, 'a', sizeof(text));
    text[CLIENT_HOST_BYTES] = '\0';
    struct client_url url;
    const char *problem = NULL;
    assert_int_equal(client_url_parse(text, &url, &problem), STATUS_INVALID);
    text[CLIENT_HOST_BYTES - 1] = '\0';
    assert_int_equal(client_url_parse(text, &url, &problem), STATUS_OK);
    char many[2 * (CLIENT_ENDPOINTS_MAXIMUM + 1)];
    for (size_t i = 0; i < sizeof(many); i += 2) {
        many[i] = 'h';
        many[i + 1] = ',';
    }
    many[sizeof(many) - 1] = '\0';
    assert_int_equal(client_url_parse(many, &url, &problem), STATUS_INVALID);
    many[sizeof(many) - 3] = '\0';
    assert_int_equal(client_url_parse(many, &url, &problem), STATUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
