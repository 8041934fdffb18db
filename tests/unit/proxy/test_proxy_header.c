/* The PROXY protocol: what is written can be parsed, however it is cut; examples of the specification; random bytes. */
#include "base/prng.h"
#include "proxy/proxy_header.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static union proxy_peer peer(const char *host, int port)
{
    union proxy_peer peer = {.any.sa_family = AF_UNSPEC};
    if (inet_pton(AF_INET, host, &peer.four.sin_addr) == 1) {
        peer.four.sin_family = AF_INET;
        peer.four.sin_port = htons((uint16_t)port);
    } else {
        assert_int_equal(inet_pton(AF_INET6, host, &peer.six.sin6_addr), 1);
        peer.six.sin6_family = AF_INET6;
        peer.six.sin6_port = htons((uint16_t)port);
    }
    return peer;
}

static void assert_same(const union proxy_peer *a, const union proxy_peer *b)
{
    assert_int_equal(a->any.sa_family, b->any.sa_family);
    if (a->any.sa_family == AF_INET) {
        assert_int_equal(a->four.sin_port, b->four.sin_port);
        assert_memory_equal(&a->four.sin_addr, &b->four.sin_addr, 4);
    } else {
        assert_int_equal(a->six.sin6_port, b->six.sin6_port);
        assert_memory_equal(&a->six.sin6_addr, &b->six.sin6_addr, 16);
    }
}

static void test_there_and_back(void **state)
{
    const struct {
        union proxy_peer source, destination;
    } cases[] = {
        {peer("192.0.2.1", 1), peer("192.0.2.255", 65535)},
        {peer("255.255.255.255", 65535), peer("255.255.255.255", 65535)},
        {peer("2001:db8::1", 80), peer("::", 0)},
        {peer("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
         peer("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535)},
    };
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        for (int version = 1; version <= 2; version++) {
            uint8_t bytes[PROXY_HEADER_WRITTEN_BYTES + 4];
            size_t size = proxy_header_write(version, &cases[c].source, &cases[c].destination, bytes);
            assert_true(size <= PROXY_HEADER_WRITTEN_BYTES);
            memcpy(bytes + size, "more", 4);
            union proxy_peer source;
            union proxy_peer destination;
            size_t used = 0;
            for (size_t cut = 0; cut < size; cut++) {
                assert_int_equal(proxy_header_parse(slice_of(bytes, cut), &used, &source, &destination), STATUS_AGAIN);
            }
            assert_int_equal(proxy_header_parse(slice_of(bytes, size + 4), &used, &source, &destination), STATUS_OK);
            assert_int_equal(used, size);
            assert_same(&source, &cases[c].source);
            assert_same(&destination, &cases[c].destination);
        }
    }
}

static void test_addresses_within_others(void **state)
{
    union proxy_peer mapped = peer("::ffff:192.0.2.1", 7);
    union proxy_peer six = peer("2001:db8::1", 7);
    union proxy_peer four = peer("192.0.2.1", 7);
    proxy_peer_unmap(&mapped);
    assert_same(&mapped, &four);
    proxy_peer_unmap(&four);
    assert_same(&mapped, &four);
    union proxy_peer before = six;
    proxy_peer_unmap(&six);
    assert_same(&six, &before);
    (void)state;
}

static void test_unknown(void **state)
{
    union proxy_peer none = {.any.sa_family = AF_UNSPEC};
    union proxy_peer four = peer("192.0.2.1", 1);
    union proxy_peer six = peer("2001:db8::1", 1);
    for (int version = 1; version <= 2; version++) {
        uint8_t bytes[PROXY_HEADER_WRITTEN_BYTES];
        const union proxy_peer *pairs[][2] = {{&none, &none}, {&four, &six}, {&four, &none}};
        for (int i = 0; i < 3; i++) {
            size_t size = proxy_header_write(version, pairs[i][0], pairs[i][1], bytes);
            union proxy_peer source = four;
            union proxy_peer destination = four;
            size_t used = 0;
            assert_int_equal(proxy_header_parse(slice_of(bytes, size), &used, &source, &destination), STATUS_OK);
            assert_int_equal(used, size);
            assert_int_equal(source.any.sa_family, AF_UNSPEC);
        }
    }
}

static enum status parse_text(const char *text)
{
    union proxy_peer source;
    union proxy_peer destination;
    size_t used = 0;
    return proxy_header_parse(slice_from_string(text), &used, &source, &destination);
}

static void test_lines(void **state)
{
    static const struct {
        const char *text;
        enum status status;
    } cases[] = {
        {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", STATUS_OK},
        {"PROXY UNKNOWN\r\n", STATUS_OK},
        {"PROXY UNKNOWN ffff:: whatever 1\r\n", STATUS_OK},
        {"PROXY TCP4 1.1.1.1 2.2.2.2 1 2", STATUS_AGAIN},
        {"PROXY", STATUS_AGAIN},
        {"", STATUS_AGAIN},
        {"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n", STATUS_INVALID},
        {"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n", STATUS_INVALID},
        {"PROXY TCP4 1.1.1.1 2.2.2.2 1 -2\r\n", STATUS_INVALID},
        {"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n", STATUS_INVALID},
        {"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n", STATUS_INVALID},
        {"PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n", STATUS_INVALID},
        {"PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n", STATUS_INVALID},
        {"PROXY TCP4 ::1 ::2 1 2\r\n", STATUS_INVALID},
        {"PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n", STATUS_INVALID},
        {"PROXY TCP7 1.1.1.1 2.2.2.2 1 2\r\n", STATUS_INVALID},
        {"PROXY \r\n", STATUS_INVALID},
        {"proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n", STATUS_INVALID},
        {"GET / HTTP/1.1\r\n", STATUS_INVALID},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(parse_text(cases[i].text), cases[i].status);
    }
    char endless[200];
    memset(endless, 'x', sizeof(endless));
    memcpy(endless, "PROXY ", 6);
    endless[106] = '\0';
    assert_int_equal(parse_text(endless), STATUS_AGAIN);
    endless[106] = 'x';
    endless[107] = '\0';
    assert_int_equal(parse_text(endless), STATUS_INVALID);
}

static enum status parse_v2(uint8_t command, uint8_t family, size_t size, size_t there)
{
    uint8_t bytes[1024] = "\r\n\r\n\0\r\nQUIT\n";
    bytes[12] = command;
    bytes[13] = family;
    bytes[14] = (uint8_t)(size >> 8);
    bytes[15] = (uint8_t)size;
    union proxy_peer source;
    union proxy_peer destination;
    size_t used = 0;
    enum status status = proxy_header_parse(slice_of(bytes, there), &used, &source, &destination);
    assert_true(status != STATUS_OK || used == 16 + size);
    return status;
}

static void test_version_two(void **state)
{
    assert_int_equal(parse_v2(0x21, 0x11, 12, 28), STATUS_OK);
    assert_int_equal(parse_v2(0x21, 0x11, 12, 27), STATUS_AGAIN);
    assert_int_equal(parse_v2(0x21, 0x11, 11, 28), STATUS_INVALID);
    assert_int_equal(parse_v2(0x21, 0x21, 36, 52), STATUS_OK);
    assert_int_equal(parse_v2(0x21, 0x21, 35, 52), STATUS_INVALID);
    assert_int_equal(parse_v2(0x21, 0x31, 216, 232), STATUS_OK); /* a UNIX socket: nothing that could be told on */
    assert_int_equal(parse_v2(0x20, 0x00, 0, 16), STATUS_OK);
    assert_int_equal(parse_v2(0x22, 0x11, 12, 28), STATUS_INVALID);
    assert_int_equal(parse_v2(0x11, 0x11, 12, 28), STATUS_INVALID);
    assert_int_equal(parse_v2(0x21, 0x11, 520, 536), STATUS_OK);
    assert_int_equal(parse_v2(0x21, 0x11, 520, 535), STATUS_AGAIN);
    assert_int_equal(parse_v2(0x21, 0x11, 521, 100), STATUS_TOO_LARGE);
}

/* Headers with some bytes that are others: nothing but a status comes of it, and never more is used than there is. */
static void test_damaged(void **state)
{
    struct prng prng;
    prng_seed(&prng, 1);
    union proxy_peer four = peer("192.0.2.1", 1);
    union proxy_peer six = peer("2001:db8::1", 1);
    for (int i = 0; i < 200000; i++) {
        uint8_t bytes[PROXY_HEADER_WRITTEN_BYTES];
        const union proxy_peer *of = prng_chance(&prng, 1, 2) ? &four : &six;
        size_t size = proxy_header_write(1 + (int)prng_below(&prng, 2), of, of, bytes);
        for (uint64_t left = 1 + prng_below(&prng, 3); left > 0; left--) {
            bytes[prng_below(&prng, size)] = (uint8_t)prng_next(&prng);
        }
        union proxy_peer source;
        union proxy_peer destination;
        size_t used = 0;
        size_t there = prng_below(&prng, size + 1);
        enum status status = proxy_header_parse(slice_of(bytes, there), &used, &source, &destination);
        assert_true(status != STATUS_OK || (used > 0 && used <= there));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_addresses_within_others),
        cmocka_unit_test(test_unknown),        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_version_two),    cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
