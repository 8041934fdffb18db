/* The request parser against Redis 7.0.15's answers, at every way of cutting the bytes. */
#include "base/prng.h"
#include "base/slice.h"
#include "wire/resp_command.h"
#include "wire/resp_request.h"

#include "../../support/resp_transcript.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct sample {
    const char *bytes;
    size_t size;
    const char *transcript;
};

#define SAMPLE(bytes, transcript)                                                                                      \
    {                                                                                                                  \
        bytes, sizeof(bytes) - 1, transcript                                                                           \
    }
#define PROTOCOL_ERROR "ERR Protocol error: "

/* What Redis 7.0.15 answers to the same bytes. */
static const struct sample samples[] = {
    SAMPLE("", "end"),
    SAMPLE("*1\r\n$4\r\nPING\r\n", " 4:PING\nend"),
    SAMPLE("*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\nPING\r\n", " 3:GET 1:a\n 4:PING\n 4:PING\nend"),
    SAMPLE("*2\r\n$0\r\n\r\n$2\r\n\r\n\r\n", " 0: 2:\r\n\nend"),
    SAMPLE("*1\rx$4\rxPINGxx", " 4:PING\nend"),
    SAMPLE("*1\r\n$10\r\nabcdefghij\r\n", " 10:abcdefghij\nend"),
    /* skipped */
    SAMPLE("*0\r\n*-1\r\n*-5\r\nPING\r\n", " 4:PING\nend"),
    SAMPLE("\r\n\n  \r\nPING\n*0\r\n\r\n", " 4:PING\nend"),
    /* counts */
    SAMPLE("*\r\n", PROTOCOL_ERROR "invalid multibulk length"),
    SAMPLE("*a\r\n", PROTOCOL_ERROR "invalid multibulk length"),
    SAMPLE("*-0\r\n", PROTOCOL_ERROR "invalid multibulk length"),
    SAMPLE("*01\r\n", PROTOCOL_ERROR "invalid multibulk length"),
    SAMPLE("*+1\r\n", PROTOCOL_ERROR "invalid multibulk length"),
    SAMPLE("* 1\r\n", PROTOCOL_ERROR "invalid multibulk length"),
    SAMPLE("*2147483648\r\n", PROTOCOL_ERROR "invalid multibulk length"),
    SAMPLE("*99999999999999999999999\r\n", PROTOCOL_ERROR "invalid multibulk length"),
    SAMPLE("*1048576\r\n", "end"),
    SAMPLE("*1048577\r\n", PROTOCOL_ERROR "invalid multibulk length"),
    SAMPLE("PING\r\n*x\r\nPING\r\n", " 4:PING\n" PROTOCOL_ERROR "invalid multibulk length"),
    /* bulks */
    SAMPLE("*1\r\nfoo", "end"),
    SAMPLE("*1\r\nfoo\r\n", PROTOCOL_ERROR "expected '$', got 'f'"),
    SAMPLE("*1\r\n\r\n", PROTOCOL_ERROR "expected '$', got '\r'"),
    SAMPLE("*1\r\n\r5\r\n", PROTOCOL_ERROR "expected '$', got '\r'"),
    SAMPLE("*1\r\n\x80\r\n", PROTOCOL_ERROR "expected '$', got '\x80'"),
    SAMPLE("*1\r\n\0\r\n", PROTOCOL_ERROR "expected '$', got ' '"),
    SAMPLE("*2\r\n$3\r\nGET\r\n:5\r\n", PROTOCOL_ERROR "expected '$', got ':'"),
    SAMPLE("*1\r\n$\r\n", PROTOCOL_ERROR "invalid bulk length"),
    SAMPLE("*1\r\n$-1\r\n", PROTOCOL_ERROR "invalid bulk length"),
    SAMPLE("*1\r\n$a\r\n", PROTOCOL_ERROR "invalid bulk length"),
    SAMPLE("*1\r\n$04\r\nPING\r\n", PROTOCOL_ERROR "invalid bulk length"),
    SAMPLE("*1\r\n$536870912\r\n", "end"),
    SAMPLE("*1\r\n$536870913\r\n", PROTOCOL_ERROR "invalid bulk length"),
    SAMPLE("*1\n$4\nPING\n", "end"),
    /* inline */
    SAMPLE("SET a b\r\n", " 3:SET 1:a 1:b\nend"),
    SAMPLE("  SET\ta   b \n", " 3:SET 1:a 1:b\nend"),
    SAMPLE("echo \"\\x41\\n\\q\\t\\r\\b\\a\"\r\n", " 4:echo 7:A\nq\t\r\b\a\nend"),
    SAMPLE("echo \"a\\x4\"\r\n", " 4:echo 3:ax4\nend"),
    SAMPLE("echo \"\\xfg\\xAf\\x0z\"\r\n", " 4:echo 7:xfg\xafx0z\nend"),
    SAMPLE("echo 'a\\'b\\n'\r\n", " 4:echo 5:a'b\\n\nend"),
    SAMPLE("echo a\"b c\" d\r\n", " 4:echo 4:ab c 1:d\nend"),
    SAMPLE("echo a\x0b"
           "b\r\n",
           " 4:echo 3:a\x0b"
           "b\nend"),
    SAMPLE("echo ab\r\r\n", " 4:echo 2:ab\nend"),
    SAMPLE("ping \"\" ''\r\n", " 4:ping 0: 0:\nend"),
    SAMPLE("\"\"\r\n", " 0:\nend"),
    SAMPLE("\"a\r\n", PROTOCOL_ERROR "unbalanced quotes in request"),
    SAMPLE("'a\r\n", PROTOCOL_ERROR "unbalanced quotes in request"),
    SAMPLE("'a\\'\r\n", PROTOCOL_ERROR "unbalanced quotes in request"),
    SAMPLE("\"a\"b\r\n", PROTOCOL_ERROR "unbalanced quotes in request"),
    SAMPLE("'a'b\r\n", PROTOCOL_ERROR "unbalanced quotes in request"),
    SAMPLE("echo \"a\\\r\n", PROTOCOL_ERROR "unbalanced quotes in request"),
};

static void expect_transcript(const struct resp_request_limits *limits, struct slice bytes, cut_function cut,
                              void *owner, struct slice expected)
{
    struct buffer out;
    buffer_init(&out);
    transcript_requests(&out, limits, transcript_feed_of(bytes, cut, owner));
    assert_int_equal(out.size, expected.size);
    assert_memory_equal(out.data, expected.data, out.size);
    buffer_deinit(&out);
}

/* Whole, byte by byte, and cut at each place. */
static void expect_at_every_cut(const struct resp_request_limits *limits, struct slice bytes, const char *transcript)
{
    struct slice expected = slice_from_string(transcript);
    expect_transcript(limits, bytes, cut_whole, NULL, expected);
    expect_transcript(limits, bytes, cut_bytes, NULL, expected);
    for (size_t i = 1; i < bytes.size; i++) {
        size_t at = i;
        expect_transcript(limits, bytes, cut_once, &at, expected);
    }
}

static void test_samples(void **state)
{
    struct resp_request_limits limits = RESP_REQUEST_DEFAULT_LIMITS;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        expect_at_every_cut(&limits, slice_of(samples[i].bytes, samples[i].size), samples[i].transcript);
    }
}

static void test_unauthenticated(void **state)
{
    struct resp_request_limits limits = RESP_REQUEST_DEFAULT_LIMITS;
    limits.unauthenticated = true;
    expect_at_every_cut(&limits, SLICE_LITERAL("*10\r\n"), "end");
    expect_at_every_cut(&limits, SLICE_LITERAL("*11\r\n"), PROTOCOL_ERROR "unauthenticated multibulk length");
    expect_at_every_cut(&limits, SLICE_LITERAL("*1\r\n$16384\r\n"), "end");
    expect_at_every_cut(&limits, SLICE_LITERAL("*1\r\n$16385\r\n"), PROTOCOL_ERROR "unauthenticated bulk length");
}

/* `prefix`, then `count` times 'a' or '1', then `suffix`, in 1000-byte pieces. */
static size_t cut_thousand(void *owner, size_t left) { return left < 1000 ? left : 1000; }

static void expect_long(const char *prefix, char fill, size_t count, const char *suffix, const char *transcript_end)
{
    struct resp_request_limits limits = RESP_REQUEST_DEFAULT_LIMITS;
    struct buffer bytes;
    buffer_init(&bytes);
    buffer_append_string(&bytes, prefix);
    memset(buffer_reserve(&bytes, count), fill, count);
    bytes.size += count;
    buffer_append_string(&bytes, suffix);
    cut_function cuts[] = {cut_whole, cut_thousand};
    for (size_t i = 0; i < 2; i++) {
        struct buffer out;
        buffer_init(&out);
        transcript_requests(&out, &limits, transcript_feed_of(buffer_slice(&bytes), cuts[i], NULL));
        struct slice end = slice_from_string(transcript_end);
        assert_true(out.size >= end.size);
        assert_memory_equal(out.data + out.size - end.size, end.data, end.size);
        buffer_deinit(&out);
    }
    buffer_deinit(&bytes);
}

static void test_long_lines(void **state)
{
    expect_long("", 'a', 65536, "", "end");
    expect_long("", 'a', 65537, "", PROTOCOL_ERROR "too big inline request");
    expect_long("", 'a', 65536, "\n", "a\nend");
    expect_long("", 'a', 65537, "\n", PROTOCOL_ERROR "too big inline request");
    expect_long("*", '1', 65535, "", "end");
    expect_long("*", '1', 65536, "", PROTOCOL_ERROR "too big mbulk count string");
    expect_long("*", '1', 65535, "\r\n", PROTOCOL_ERROR "invalid multibulk length");
    expect_long("*", '1', 65536, "\r\n", PROTOCOL_ERROR "too big mbulk count string");
    expect_long("*1\r\n$", '1', 65535, "", "end");
    expect_long("*1\r\n$", '1', 65536, "\r\n", PROTOCOL_ERROR "too big bulk count string");
}

static void test_limits(void **state)
{
    struct resp_request_limits limits = {.bulk_bytes = 8, .arguments = 3, .line_bytes = 16, .total_bytes = 32};
    expect_at_every_cut(&limits, SLICE_LITERAL("*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"), " 1:a 1:b 1:c\nend");
    expect_at_every_cut(&limits, SLICE_LITERAL("*4\r\n$1\r\n"), PROTOCOL_ERROR "invalid multibulk length");
    expect_at_every_cut(&limits, SLICE_LITERAL("*1\r\n$8\r\n12345678\r\n"), " 8:12345678\nend");
    expect_at_every_cut(&limits, SLICE_LITERAL("*1\r\n$9\r\n"), PROTOCOL_ERROR "invalid bulk length");
    expect_at_every_cut(&limits, SLICE_LITERAL("*2\r\n$8\r\n12345678\r\n$8\r\n12345678\r\n"),
                        " 8:12345678 8:12345678\nend"); /* 32 bytes in all */
    expect_at_every_cut(&limits, SLICE_LITERAL("*3\r\n$8\r\n12345678\r\n$7\r\n1234567\r\n$0\r\n\r\n"),
                        PROTOCOL_ERROR "request exceeds client-query-buffer-limit");
    expect_at_every_cut(&limits, SLICE_LITERAL("0123456789abcdef\n"), " 16:0123456789abcdef\nend");
    expect_at_every_cut(&limits, SLICE_LITERAL("0123456789abcdefg"), PROTOCOL_ERROR "too big inline request");
}

static size_t cut_random(void *owner, size_t left)
{
    uint64_t piece = 1 + prng_below(owner, 1 + prng_below(owner, 64));
    return piece < left ? (size_t)piece : left;
}

/* Random requests survive the writer and the parser, however they are cut. */
static void test_round_trip(void **state)
{
    struct resp_request_limits limits = RESP_REQUEST_DEFAULT_LIMITS;
    struct prng prng;
    prng_seed(&prng, 7);
    struct buffer bytes;
    struct buffer expected;
    buffer_init(&bytes);
    buffer_init(&expected);
    for (int round = 0; round < 300; round++) {
        buffer_clear(&bytes);
        buffer_clear(&expected);
        uint8_t values[40][300];
        struct slice argv[40];
        for (uint64_t requests = prng_below(&prng, 5); requests > 0; requests--) {
            size_t argc = 1 + (size_t)prng_below(&prng, 40);
            for (size_t i = 0; i < argc; i++) {
                argv[i] = slice_of(values[i], (size_t)prng_below(&prng, 1 + prng_below(&prng, sizeof(values[i]))));
                for (size_t j = 0; j < argv[i].size; j++) {
                    values[i][j] = (uint8_t)prng_next(&prng);
                }
                transcript_slice(&expected, argv[i]);
            }
            buffer_append_byte(&expected, '\n');
            resp_command(&bytes, argv, argc);
        }
        buffer_append_string(&expected, "end");
        expect_transcript(&limits, buffer_slice(&bytes), cut_random, &prng, buffer_slice(&expected));
        expect_transcript(&limits, buffer_slice(&bytes), cut_whole, NULL, buffer_slice(&expected));
    }
    buffer_deinit(&bytes);
    buffer_deinit(&expected);
}

static void test_hint_counts_what_is_missing_of_a_bulk(void **state)
{
    struct resp_request_limits limits = RESP_REQUEST_DEFAULT_LIMITS;
    struct resp_request_parser parser;
    resp_request_init(&parser);
    uint8_t bytes[] = "*1\r\n$1000\r\nabc";
    assert_int_equal(resp_request_parse(&parser, &limits, bytes, 2), RESP_REQUEST_PARTIAL);
    assert_int_equal(parser.missing_bytes, 1);
    assert_int_equal(resp_request_parse(&parser, &limits, bytes, sizeof(bytes) - 1), RESP_REQUEST_PARTIAL);
    assert_int_equal(parser.missing_bytes, 1002 - 3);
    resp_request_deinit(&parser);
}

/* Announcing a million arguments costs nothing until they come, and the room for them is given back. */
static void test_memory_follows_arrived_arguments(void **state)
{
    struct resp_request_limits limits = RESP_REQUEST_DEFAULT_LIMITS;
    struct resp_request_parser parser;
    resp_request_init(&parser);
    uint8_t announced[] = "*1048576\r\n$1\r\na\r\n";
    assert_int_equal(resp_request_parse(&parser, &limits, announced, sizeof(announced) - 1), RESP_REQUEST_PARTIAL);
    assert_true(parser.capacity <= 16);
    resp_request_deinit(&parser);

    struct buffer bytes;
    buffer_init(&bytes);
    buffer_append_string(&bytes, "*5000\r\n");
    for (int i = 0; i < 5000; i++) {
        buffer_append_string(&bytes, "$1\r\na\r\n");
    }
    buffer_append_string(&bytes, "PING\r\n");
    assert_int_equal(resp_request_parse(&parser, &limits, bytes.data, bytes.size), RESP_REQUEST_READY);
    assert_int_equal(parser.argc, 5000);
    size_t rest = parser.consumed;
    assert_int_equal(resp_request_parse(&parser, &limits, bytes.data + rest, bytes.size - rest), RESP_REQUEST_READY);
    assert_int_equal(parser.argc, 1);
    assert_true(parser.capacity <= RESP_REQUEST_KEPT_ARGUMENTS);
    resp_request_trim(&parser);
    assert_int_equal(parser.capacity, 0);
    buffer_deinit(&bytes);
    resp_request_deinit(&parser);
}

/* Blank requests are dropped as they come, so they cannot fill a buffer. */
static void test_skipped_bytes_are_consumed(void **state)
{
    struct resp_request_limits limits = RESP_REQUEST_DEFAULT_LIMITS;
    struct resp_request_parser parser;
    resp_request_init(&parser);
    uint8_t bytes[] = "\r\n*0\r\n\n*-1\r\n*";
    assert_int_equal(resp_request_parse(&parser, &limits, bytes, sizeof(bytes) - 1), RESP_REQUEST_PARTIAL);
    assert_int_equal(parser.consumed, sizeof(bytes) - 2);
    resp_request_deinit(&parser);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_unauthenticated),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_hint_counts_what_is_missing_of_a_bulk),
        cmocka_unit_test(test_memory_follows_arrived_arguments),
        cmocka_unit_test(test_skipped_bytes_are_consumed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
