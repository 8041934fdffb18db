#include "cli/peers.h"

#include "base/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static struct peers peers;
static char message[PEERS_MESSAGE_BYTES];

static enum status parse(const char *text) { return peers_parse(slice_from_string(text), &peers, message); }

static void expect(size_t at, uint64_t id, const char *host, int port, int peer_port)
{
    const struct member *node = &peers.nodes[at];
    assert_true(at < peers.count);
    assert_int_equal(node->id, id);
    assert_string_equal(node->client.host, host);
    assert_string_equal(node->peer.host, host);
    assert_int_equal(node->client.port, port);
    assert_int_equal(node->peer.port, peer_port);
}

static void test_list(void **state)
{
    assert_int_equal(parse("1=127.0.0.1:6379"), STATUS_OK);
    assert_int_equal(peers.count, 1);
    expect(0, 1, "127.0.0.1", 6379, 16379);
    assert_int_equal(parse("3=10.0.0.3:6379@7000,1=10.0.0.1:55535,4294967295=[fe80::1]:65535@1"), STATUS_OK);
    assert_int_equal(peers.count, 3);
    expect(0, 1, "10.0.0.1", 55535, 65535);
    expect(1, 3, "10.0.0.3", 6379, 7000);
    expect(2, UINT32_MAX, "fe80::1", 65535, 1);
    assert_ptr_equal(peers_find(&peers, 3), &peers.nodes[1]);
    assert_null(peers_find(&peers, 2));
}

static void test_one_spelling(void **state)
{
    assert_int_equal(parse("2=[0:0::0001]:7002,1=[FE80::00AB]:7001"), STATUS_OK);
    expect(0, 1, "fe80::ab", 7001, 17001);
    expect(1, 2, "::1", 7002, 17002);
}

static void test_refused(void **state)
{
    const struct {
        const char *text, *said;
    } cases[] = {
        {"", "'': N=HOST:PORT is needed, such as 1=127.0.0.1:7001"},
        {",", "'': N=HOST:PORT is needed"},
        {"1=127.0.0.1:7001,", "'': N=HOST:PORT is needed"},
        {"127.0.0.1:7001", "'127.0.0.1:7001': N=HOST:PORT is needed"},
        {"1=127.0.0.1", "N=HOST:PORT is needed"},
        {"1=::1:7001", "N=HOST:PORT is needed"},
        {"0=127.0.0.1:7001", "must be from 1 to 4294967295"},
        {"4294967296=127.0.0.1:7001", "must be from 1 to 4294967295"},
        {"-1=127.0.0.1:7001", "must be from 1 to 4294967295"},
        {"=127.0.0.1:7001", "must be from 1 to 4294967295"},
        {"one=127.0.0.1:7001", "must be from 1 to 4294967295"},
        {"1=localhost:7001", "must be a numeric address"},
        {"1=127.0.0.256:7001", "must be a numeric address"},
        {"1=*:7001", "must be a numeric address"},
        {"1=0.0.0.0:7001", "must be a numeric address"},
        {"1=[0::0]:7001", "must be a numeric address"},
        {"1=127.0.0.1:0", "the port must be from 1 to 65535"},
        {"1=127.0.0.1:65536", "N=HOST:PORT is needed"},
        {"1=127.0.0.1:55536", "at 65536, which is beyond 65535; give that port too"},
        {"1=127.0.0.1:7001@", "behind @ must be from 1 to 65535"},
        {"1=127.0.0.1:7001@0", "behind @ must be from 1 to 65535"},
        {"1=127.0.0.1:7001@65536", "behind @ must be from 1 to 65535"},
        {"1=127.0.0.1:7001@7002@7003", "behind @ must be from 1 to 65535"},
        {"1=127.0.0.1:7001@7001", "different ports"},
        {"1=127.0.0.1:7001,1=127.0.0.1:7002", "'1=127.0.0.1:7002': there are two nodes 1"},
        {"1=127.0.0.1:7001,2=127.0.0.1:7001@9", "node 1 has this address"},
        {"1=127.0.0.1:7001@9,2=127.0.0.1:7002@9", "node 1 has this address"},
        {"1=127.0.0.1:7001,2=127.0.0.1:17001", "node 1 has this address"},
        {"1=127.0.0.1:17001,2=127.0.0.1:7001", "node 1 has this address"},
        {"1=[::1]:7001,2=[0::1]:7001@9", "node 1 has this address"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(parse(cases[i].text), STATUS_INVALID);
        if (strstr(message, cases[i].said) == NULL) {
            fail_msg("%s: %s", cases[i].text, message);
        }
    }
}

static void test_as_many_as_there_may_be(void **state)
{
    struct buffer text;
    buffer_init(&text);
    for (int id = PLACEMENT_MAXIMUM_NODES; id > 0; id--) {
        char one[64];
        int size = snprintf(one, sizeof(one), "%d=127.0.0.1:%d%s", id, 7000 + id, id == 1 ? "" : ",");
        buffer_append(&text, one, (size_t)size);
    }
    assert_int_equal(peers_parse(buffer_slice(&text), &peers, message), STATUS_OK);
    assert_int_equal(peers.count, PLACEMENT_MAXIMUM_NODES);
    for (size_t i = 0; i < peers.count; i++) {
        expect(i, i + 1, "127.0.0.1", (int)(7001 + i), (int)(17001 + i));
    }
    struct slice one_more = SLICE_LITERAL(",99=127.0.0.1:9999");
    buffer_append_slice(&text, one_more);
    assert_int_equal(peers_parse(buffer_slice(&text), &peers, message), STATUS_INVALID);
    assert_string_equal(message, "'99=127.0.0.1:9999': there are at most 64 nodes");
    buffer_deinit(&text);
}

static void test_a_long_word_is_cut(void **state)
{
    char text[2000];
    memset(text, 'x', sizeof(text));
    assert_int_equal(peers_parse(slice_of(text, sizeof(text)), &peers, message), STATUS_INVALID);
    assert_non_null(strstr(message, "xxx…': N=HOST:PORT is needed"));
}

static void test_addresses(void **state)
{
    assert_true(peers_is_loopback("127.0.0.1") && peers_is_loopback("127.9.9.9") && peers_is_loopback("::1"));
    assert_false(peers_is_loopback("12.7.0.1") || peers_is_loopback("0.0.0.0") || peers_is_loopback("::") ||
                 peers_is_loopback("::ffff:127.0.0.1"));
    assert_true(peers_is_wildcard("0.0.0.0") && peers_is_wildcard("::"));
    assert_false(peers_is_wildcard("127.0.0.1") || peers_is_wildcard("::1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_one_spelling),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_as_many_as_there_may_be),
        cmocka_unit_test(test_a_long_word_is_cut),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
