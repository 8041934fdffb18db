/* What checks say, and which answers pass, however they are cut. */
#include "base/assert.h"
#include "proxy/check_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_kinds(void **state)
{
    enum proxy_check_kind kind = PROXY_CHECK_HTTP;
    struct slice path;
    assert_true(proxy_check_parse(SLICE_LITERAL("tcp"), &kind, &path) && kind == PROXY_CHECK_TCP);
    assert_true(proxy_check_parse(SLICE_LITERAL("resp"), &kind, &path) && kind == PROXY_CHECK_RESP);
    assert_true(proxy_check_parse(SLICE_LITERAL("http:/a?b=1"), &kind, &path) && kind == PROXY_CHECK_HTTP);
    assert_true(slice_equal(path, SLICE_LITERAL("/a?b=1")));
    const char *wrong[] = {"", "http", "http:", "http:a", "http:/a b", "http:/a\r\nX: y", "https:/", "TCP", "resp:"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(proxy_check_parse(slice_from_string(wrong[i]), &kind, &path));
    }
    char longest[5 + PROXY_CHECK_PATH_BYTES + 1];
    memset(longest, '/', sizeof(longest));
    memcpy(longest, "http:", 5);
    assert_true(proxy_check_parse(slice_of(longest, sizeof(longest) - 1), &kind, &path));
    assert_false(proxy_check_parse(slice_of(longest, sizeof(longest)), &kind, &path));
    (void)state;
}

static void test_what_is_said(void **state)
{
    uint8_t said[PROXY_CHECK_SAID_BYTES];
    struct slice none = slice_of(NULL, 0);
    char host[255];
    char path[PROXY_CHECK_PATH_BYTES];
    memset(host, 'h', sizeof(host));
    memset(path, '/', sizeof(path));
    assert_int_equal(proxy_check_say(PROXY_CHECK_TCP, none, none, said), 0);
    size_t size = proxy_check_say(PROXY_CHECK_RESP, none, none, said);
    assert_true(slice_equal(slice_of(said, size), SLICE_LITERAL("*1\r\n$4\r\nPING\r\n")));
    size = proxy_check_say(PROXY_CHECK_HTTP, SLICE_LITERAL("/up"), SLICE_LITERAL("a:1"), said);
    assert_true(slice_starts_with(slice_of(said, size), SLICE_LITERAL("GET /up HTTP/1.0\r\nHost: a:1\r\n")));
    assert_memory_equal(said + size - 4, "\r\n\r\n", 4);
    size = proxy_check_say(PROXY_CHECK_HTTP, slice_of(path, sizeof(path)), slice_of(host, sizeof(host)), said);
    assert_true(size > sizeof(path) + sizeof(host));
    (void)state;
}

static void test_answers(void **state)
{
    const struct {
        enum proxy_check_kind kind;
        const char *heard;
        enum status status;
    } cases[] = {
        {PROXY_CHECK_TCP, "", STATUS_OK},
        {PROXY_CHECK_RESP, "+PONG\r\n", STATUS_OK},
        {PROXY_CHECK_RESP, "-NOAUTH Authentication required.\r\n", STATUS_OK},
        {PROXY_CHECK_RESP, "-LOADING Redis is loading\r\n", STATUS_INVALID},
        {PROXY_CHECK_RESP, "+PONGS", STATUS_INVALID},
        {PROXY_CHECK_RESP, "HTTP/1.1 400", STATUS_INVALID},
        {PROXY_CHECK_HTTP, "HTTP/1.1 200 OK\r\n", STATUS_OK},
        {PROXY_CHECK_HTTP, "HTTP/1.0 302 Found", STATUS_OK},
        {PROXY_CHECK_HTTP, "HTTP/1.1 404 Not Found", STATUS_INVALID},
        {PROXY_CHECK_HTTP, "HTTP/1.1 503 Busy", STATUS_INVALID},
        {PROXY_CHECK_HTTP, "HTTP/1.1 2x0 Busy", STATUS_INVALID},
        {PROXY_CHECK_HTTP, "HTTP/1.1x200", STATUS_INVALID},
        {PROXY_CHECK_HTTP, "HTTP/2 200 OK", STATUS_INVALID},
        {PROXY_CHECK_HTTP, "-ERR unknown", STATUS_INVALID},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct slice heard = slice_from_string(cases[i].heard);
        size_t most = heard.size < PROXY_CHECK_HEARD_BYTES ? heard.size : PROXY_CHECK_HEARD_BYTES;
        enum status decided = STATUS_AGAIN;
        for (size_t cut = 0; cut <= most; cut++) {
            enum status status = proxy_check_judge(cases[i].kind, slice_of(heard.data, cut));
            assert_true(decided == STATUS_AGAIN || status == decided);
            decided = status;
        }
        assert_int_equal(decided, cases[i].status);
    }
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_what_is_said),
        cmocka_unit_test(test_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
