#include "cli/host_port.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_good(void **state)
{
    const struct {
        const char *text, *host;
        int port;
    } cases[] = {
        {"127.0.0.1:6379", "127.0.0.1", 6379},
        {"[::1]:0", "::1", 0},
        {"name:65535", "name", 65535},
        {"*:1", "*", 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct host_port at;
        assert_true(host_port_parse(slice_from_string(cases[i].text), &at));
        assert_string_equal(at.host, cases[i].host);
        assert_int_equal(at.port, cases[i].port);
    }
}

static void test_bad(void **state)
{
    const char *const texts[] = {
        "", ":", ":1", "host", "host:", "host:x", "host:-1", "host:65536", "host: 1", "::1:1", "[]:1x", "1:2:3",
    };
    struct host_port at;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_false(host_port_parse(slice_from_string(texts[i]), &at));
    }
    assert_false(host_port_parse(SLICE_LITERAL("ho\0st:1"), &at));
}

static void test_longest(void **state)
{
    char text[HOST_BYTES + 3];
    struct host_port at;
    memset(text, 'x', HOST_BYTES - 1);
    memcpy(text + HOST_BYTES - 1, ":1", 2);
    assert_true(host_port_parse(slice_of(text, HOST_BYTES + 1), &at));
    assert_int_equal(strlen(at.host), HOST_BYTES - 1);
    memcpy(text + HOST_BYTES - 1, "x:1", 3);
    assert_false(host_port_parse(slice_of(text, HOST_BYTES + 2), &at));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
