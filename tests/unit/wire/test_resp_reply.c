/* The reply reader: every type, every way of cutting the bytes, malformed replies, limits. */
#include "base/prng.h"
#include "wire/resp_reply.h"
#include "wire/resp_writer.h"

#include "../../support/resp_transcript.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct buffer transcript(const struct resp_reply_limits *limits, struct slice bytes, cut_function cut,
                                void *owner, bool skip)
{
    struct buffer out;
    buffer_init(&out);
    transcript_replies(&out, limits, transcript_feed_of(bytes, cut, owner), skip);
    return out;
}

static void expect_same(struct buffer actual, const struct buffer *expected)
{
    assert_int_equal(actual.size, expected->size);
    assert_memory_equal(actual.data, expected->data, actual.size);
    buffer_deinit(&actual);
}

/* All cuts give the transcript of the whole, which ends with `end`. */
static void expect_end_at_every_cut(const struct resp_reply_limits *limits, struct slice bytes, bool skip,
                                    const char *end)
{
    struct buffer whole = transcript(limits, bytes, cut_whole, NULL, skip);
    size_t size = strlen(end);
    assert_true(whole.size >= size);
    assert_memory_equal(whole.data + whole.size - size, end, size);
    expect_same(transcript(limits, bytes, cut_bytes, NULL, skip), &whole);
    for (size_t i = 1; i < bytes.size; i++) {
        size_t at = i;
        expect_same(transcript(limits, bytes, cut_once, &at, skip), &whole);
    }
    buffer_deinit(&whole);
}

static const char every_type[] = "+OK\r\n"
                                 "-ERR no\r\n"
                                 ":-42\r\n"
                                 "$5\r\nhe\r\no\r\n"
                                 "$0\r\n\r\n"
                                 "$-1\r\n"
                                 "*-1\r\n"
                                 "*0\r\n"
                                 "*2\r\n*1\r\n:1\r\n$1\r\na\r\n"
                                 "_\r\n"
                                 ",3.5\r\n,inf\r\n,-inf\r\n,1e3\r\n"
                                 "#t\r\n#f\r\n"
                                 "!5\r\nERR x\r\n"
                                 "=8\r\ntxt:text\r\n"
                                 "(12345678901234567890123\r\n"
                                 "%2\r\n+a\r\n:1\r\n+b\r\n*2\r\n:2\r\n:3\r\n"
                                 "~2\r\n:1\r\n:2\r\n"
                                 "|1\r\n+ttl\r\n:3\r\n*2\r\n:1\r\n|1\r\n+k\r\n~1\r\n:0\r\n:2\r\n"
                                 "|0\r\n+OK\r\n"
                                 ">3\r\n+message\r\n+channel\r\n+text\r\n";

static void test_every_type_at_every_cut(void **state)
{
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    expect_end_at_every_cut(&limits, slice_from_string(every_type), false, "4:text\nend");
    expect_end_at_every_cut(&limits, slice_from_string(every_type), true, "\nend");
}

static void take(struct resp_reader *reader, struct slice *from, struct resp_token *ret_token)
{
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    assert_int_equal(resp_reader_next(reader, &limits, from->data, from->size, ret_token), RESP_REPLY_READY);
    from->data += reader->consumed;
    from->size -= reader->consumed;
}

struct expected_token {
    enum resp_type type;
    uint32_t depth;
    bool last;
    const char *text; /* NULL: not compared */
    int64_t integer;
    double number;
    uint64_t count;
};

static void test_values(void **state)
{
    static const struct expected_token expected[] = {
        {RESP_STATUS, 0, true, "OK"},
        {RESP_ERROR, 0, true, "ERR no"},
        {RESP_INTEGER, 0, true, NULL, -42},
        {RESP_BULK, 0, true, "he\r\no"},
        {RESP_BULK, 0, true, ""},
        {RESP_NULL, 0, true},
        {RESP_NULL, 0, true},
        {RESP_ARRAY, 0, true},
        {RESP_ARRAY, 0, false, .count = 2},
        {RESP_ARRAY, 1, false, .count = 1},
        {RESP_INTEGER, 2, false, NULL, 1},
        {RESP_BULK, 1, true, "a"},
        {RESP_NULL, 0, true},
        {RESP_DOUBLE, 0, true, .number = 3.5},
        {RESP_DOUBLE, 0, true, .number = __builtin_inf()},
        {RESP_DOUBLE, 0, true, .number = -__builtin_inf()},
        {RESP_DOUBLE, 0, true, .number = 1000},
        {RESP_BOOLEAN, 0, true, NULL, 1},
        {RESP_BOOLEAN, 0, true, NULL, 0},
        {RESP_ERROR, 0, true, "ERR x"},
        {RESP_VERBATIM, 0, true, "text"},
        {RESP_BIG_NUMBER, 0, true, "12345678901234567890123"},
        {RESP_MAP, 0, false, .count = 4},
        {RESP_STATUS, 1, false, "a"},
        {RESP_INTEGER, 1, false, NULL, 1},
        {RESP_STATUS, 1, false, "b"},
        {RESP_ARRAY, 1, false, .count = 2},
        {RESP_INTEGER, 2, false, NULL, 2},
        {RESP_INTEGER, 2, true, NULL, 3},
        {RESP_SET, 0, false, .count = 2},
        {RESP_INTEGER, 1, false, NULL, 1},
        {RESP_INTEGER, 1, true, NULL, 2},
        {RESP_ATTRIBUTE, 0, false, .count = 2},
        {RESP_STATUS, 1, false, "ttl"},
        {RESP_INTEGER, 1, false, NULL, 3},
        {RESP_ARRAY, 0, false, .count = 2},
        {RESP_INTEGER, 1, false, NULL, 1},
        {RESP_ATTRIBUTE, 1, false, .count = 2},
        {RESP_STATUS, 2, false, "k"},
        {RESP_SET, 2, false, .count = 1},
        {RESP_INTEGER, 3, false, NULL, 0},
        {RESP_INTEGER, 1, true, NULL, 2},
        {RESP_ATTRIBUTE, 0, false},
        {RESP_STATUS, 0, true, "OK"},
        {RESP_PUSH, 0, false, .count = 3},
        {RESP_STATUS, 1, false, "message"},
        {RESP_STATUS, 1, false, "channel"},
        {RESP_STATUS, 1, true, "text"},
    };
    struct resp_reader reader;
    resp_reader_init(&reader);
    struct slice from = slice_from_string(every_type);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        struct resp_token token;
        take(&reader, &from, &token);
        assert_int_equal(token.type, expected[i].type);
        assert_int_equal(token.depth, expected[i].depth);
        assert_int_equal(token.last, expected[i].last);
        assert_int_equal(token.integer, expected[i].integer);
        assert_true(token.number == expected[i].number);
        assert_int_equal(token.count, expected[i].count);
        if (expected[i].text != NULL) {
            assert_true(slice_equal(token.text, slice_from_string(expected[i].text)));
        }
    }
    assert_int_equal(from.size, 0);
}

static void test_skip_tells_the_root(void **state)
{
    static const enum resp_type roots[] = {
        RESP_STATUS, RESP_ERROR,    RESP_INTEGER,    RESP_BULK,   RESP_BULK,   RESP_NULL,   RESP_NULL,    RESP_ARRAY,
        RESP_ARRAY,  RESP_NULL,     RESP_DOUBLE,     RESP_DOUBLE, RESP_DOUBLE, RESP_DOUBLE, RESP_BOOLEAN, RESP_BOOLEAN,
        RESP_ERROR,  RESP_VERBATIM, RESP_BIG_NUMBER, RESP_MAP,    RESP_SET,    RESP_ARRAY,  RESP_STATUS,  RESP_PUSH};
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct resp_reader reader;
    resp_reader_init(&reader);
    struct slice from = slice_from_string(every_type);
    for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) {
        enum resp_type root;
        assert_int_equal(resp_reader_skip(&reader, &limits, from.data, from.size, &root), RESP_REPLY_READY);
        assert_int_equal(root, roots[i]);
        from.data += reader.consumed;
        from.size -= reader.consumed;
    }
    assert_int_equal(from.size, 0);
}

static void test_malformed(void **state)
{
    static const struct {
        const char *bytes;
        const char *problem;
    } samples[] = {
        {"x\r\n", "unknown type of reply"},
        {"\r\n", "empty line"},
        {"+a\rb\r\n", "line does not end with CRLF"},
        {":\r\n", "malformed integer"},
        {":1x\r\n", "malformed integer"},
        {":99999999999999999999\r\n", "malformed integer"},
        {"$\r\n", "malformed length"},
        {"$?\r\n", "malformed length"},
        {"$-2\r\n", "negative length"},
        {"~-1\r\n", "negative length"},
        {"$3\r\nabcd\r\n", "string does not end with CRLF"},
        {"_x\r\n", "malformed null"},
        {"#x\r\n", "malformed boolean"},
        {"#tt\r\n", "malformed boolean"},
        {",\r\n", "malformed double"},
        {",1x\r\n", "malformed double"},
        {"(\r\n", "malformed big number"},
        {"(12a\r\n", "malformed big number"},
        {"=3\r\ntxt\r\n", "malformed verbatim string"},
        {"*1\r\n>1\r\n:1\r\n", "push inside a reply"},
        {"|1\r\n:1\r\n:2\r\n*1\r\n>1\r\n", "push inside a reply"},
        {"$101\r\n", "string too long"},
        {"*11\r\n", "too many elements"},
    };
    struct resp_reply_limits limits = {.bulk_bytes = 100, .line_bytes = 100, .elements = 10};
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        expect_end_at_every_cut(&limits, slice_from_string(samples[i].bytes), false, samples[i].problem);
        expect_end_at_every_cut(&limits, slice_from_string(samples[i].bytes), true, samples[i].problem);
    }
    expect_end_at_every_cut(&limits, SLICE_LITERAL("=8\r\ntext:abc\r\n"), false, "malformed verbatim string");
    char line[103] = "+";
    memset(line + 1, 'a', 100);
    expect_end_at_every_cut(&limits, slice_of(line, 100), false, "end");
    expect_end_at_every_cut(&limits, slice_of(line, 101), false, "line too long");
}

static void test_depth(void **state)
{
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct buffer bytes;
    buffer_init(&bytes);
    for (int i = 0; i < RESP_REPLY_DEPTH; i++) {
        buffer_append_string(&bytes, "*1\r\n");
    }
    struct slice deep = buffer_slice(&bytes);
    expect_end_at_every_cut(&limits, deep, false, "\nend");
    buffer_append_string(&bytes, "*1\r\n");
    expect_end_at_every_cut(&limits, buffer_slice(&bytes), false, "nested too deeply");
    expect_end_at_every_cut(&limits, buffer_slice(&bytes), true, "end");
    buffer_deinit(&bytes);
}

static void write_random_value(struct resp_writer *writer, struct prng *prng, int depth)
{
    uint64_t kind = prng_below(prng, depth < 4 ? 12 : 8);
    uint8_t bytes[40];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)prng_next(prng);
    }
    struct slice value = slice_of(bytes, (size_t)prng_below(prng, sizeof(bytes)));
    size_t count = (size_t)prng_below(prng, 4);
    switch (kind) {
    case 0: resp_status(writer, "OK"); return;
    case 1: resp_error(writer, "ERR a\r\nb"); return;
    case 2: resp_integer(writer, (int64_t)prng_next(prng)); return;
    case 3: resp_bulk(writer, value); return;
    case 4: resp_null(writer); return;
    case 5: resp_boolean(writer, (prng_next(prng) & 1) != 0); return;
    case 6: resp_double(writer, (double)(int64_t)prng_next(prng) / 3); return;
    case 7: resp_verbatim(writer, "txt", value); return;
    case 8: resp_array(writer, count); break;
    case 9: resp_set(writer, count); break;
    case 10: resp_map(writer, count); break;
    default: resp_array(writer, count);
    }
    for (size_t i = 0; i < (kind == 10 ? 2 * count : count); i++) {
        write_random_value(writer, prng, depth + 1);
    }
}

/* Long texts are told as they are; the longest are cut, so that the line can be read. */
static void test_long_lines(void **state)
{
    static char text[100001];
    static const size_t sizes[] = {1000,  1023, 1024, 25000, RESP_LINE_MAXIMUM_BYTES, RESP_LINE_MAXIMUM_BYTES + 1,
                                   100000};
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    for (size_t i = 0; i < 3 * sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t size = sizes[i / 3];
        size_t told = size < RESP_LINE_MAXIMUM_BYTES ? size : RESP_LINE_MAXIMUM_BYTES;
        memset(text, 'x', size);
        text[size] = '\0';
        struct buffer bytes = {0};
        struct resp_writer writer = resp_writer_to(&bytes, RESP2);
        if (i % 3 == 0) {
            resp_error_format(&writer, "%s", text);
        } else {
            (i % 3 == 1 ? resp_error : resp_status)(&writer, text);
        }
        struct resp_reader reader;
        resp_reader_init(&reader);
        struct resp_token token = {0};
        assert_int_equal(resp_reader_next(&reader, &limits, bytes.data, bytes.size, &token), RESP_REPLY_READY);
        assert_int_equal(token.text.size, told);
        assert_memory_equal(token.text.data, text, told);
        assert_int_equal(reader.consumed, bytes.size);
        buffer_deinit(&bytes);
    }
    (void)state;
}

static size_t cut_random(void *owner, size_t left)
{
    uint64_t piece = 1 + prng_below(owner, 20);
    return piece < left ? (size_t)piece : left;
}

/* What the writer writes, in either protocol, the reader reads: as many replies, however cut, skipped or not. */
static void test_round_trip(void **state)
{
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct prng prng;
    prng_seed(&prng, 11);
    for (int round = 0; round < 300; round++) {
        struct buffer bytes;
        buffer_init(&bytes);
        struct resp_writer writer = resp_writer_to(&bytes, round % 2 == 0 ? RESP2 : RESP3);
        size_t ends[5];
        for (size_t i = 0; i < 5; i++) {
            write_random_value(&writer, &prng, 0);
            ends[i] = bytes.size;
        }
        struct resp_reader reader;
        resp_reader_init(&reader);
        struct slice from = buffer_slice(&bytes);
        for (size_t i = 0; i < 5; i++) {
            struct resp_token token = {0};
            do {
                take(&reader, &from, &token);
            } while (!token.last);
            assert_int_equal((size_t)(from.data - bytes.data), ends[i]);
        }
        for (int skip = 0; skip < 2; skip++) {
            struct buffer whole = transcript(&limits, buffer_slice(&bytes), cut_whole, NULL, skip != 0);
            expect_same(transcript(&limits, buffer_slice(&bytes), cut_random, &prng, skip != 0), &whole);
            buffer_deinit(&whole);
        }
        buffer_deinit(&bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_at_every_cut),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_skip_tells_the_root),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
