/* History files: what is read, what is refused and with which line, and that what is written reads back. */
#include "check/check.h"
#include "check/history_reader.h"
#include "check/history_writer.h"
#include "check_random.h"

#include <stdarg.h>

#include <setjmp.h>

#include <cmocka.h>

#define HEADER "{\"history\":1}\n"

static enum status read_text(const char *text, size_t piece, struct history *history, char *ret_problem)
{
    struct history_reader reader;
    history_init(history);
    history_reader_init(&reader, history);
    enum status status = STATUS_OK;
    struct slice left = slice_from_string(text);
    while (status == STATUS_OK && left.size > 0) {
        size_t size = left.size < piece ? left.size : piece;
        status = history_reader_feed(&reader, slice_of(left.data, size));
        left = slice_of(left.data + size, left.size - size);
    }
    if (status == STATUS_OK) {
        status = history_reader_end(&reader);
    }
    strcpy(ret_problem, reader.problem);
    history_reader_deinit(&reader);
    return status;
}

static void refuses(const char *text, enum status status, const char *said)
{
    struct history history;
    char problem[HISTORY_PROBLEM_BYTES];
    assert_int_equal(read_text(text, SIZE_MAX, &history, problem), status);
    if (strstr(problem, said) == NULL) {
        fail_msg("said '%s', expected '%s'", problem, said);
    }
    history_deinit(&history);
}

static void reads_every_kind(void **state)
{
    static const char text[] =
        "{\"history\":1,\"about\":\"seed 7\",\"seed\":7}\r\n"
        "{\"process\":1,\"op\":\"set\",\"key\":\"k\",\"value\":\"v\",\"outcome\":\"ok\",\"start\":1,\"end\":2}\n"
        "\n"
        "{\"process\":1,\"op\":\"get\",\"key\":\"k\",\"outcome\":\"ok\",\"start\":3,\"end\":4,\"result\":null,\"x\":{}}"
        "\n"
        "{\"process\":1,\"op\":\"ifeq\",\"key\":\"k\",\"expected\":\"v\",\"value\":\"w\",\"outcome\":\"unknown\","
        "\"start\":5}\n"
        "{\"process\":1,\"op\":\"incr\",\"key\":\"n\",\"outcome\":\"failed\",\"start\":6,\"end\":1}\n"
        "{\"process\":2,\"op\":\"hincrby\",\"key\":\"h\",\"field\":\"f\",\"by\":-3,\"outcome\":\"ok\",\"start\":7,"
        "\"end\":7,"
        "\"result\":-3}\n" HEADER "{\"process\":1,\"op\":\"hget\",\"key\":\"h\",\"field\":\"f\",\"outcome\":\"ok\","
        "\"start\":8,\"end\":9,\"result\":\"\\u0000é\"}";
    for (size_t piece = 1; piece < 100; piece += 7) {
        struct history history;
        char problem[HISTORY_PROBLEM_BYTES];
        assert_int_equal(read_text(text, piece, &history, problem), STATUS_OK);
        assert_int_equal(history.count, 6);
        const struct history_operation *all = history.operations;
        assert_int_equal(all[1].shape, HISTORY_RESULT_NULL);
        assert_true(slice_is_word(history_text(&history, all[2].expected), "v"));
        assert_true(all[2].outcome == HISTORY_UNKNOWN && all[2].end == HISTORY_NEVER);
        assert_true(all[3].outcome == HISTORY_FAILED && all[3].by == 1);
        assert_true(all[4].by == -3 && all[4].result_number == -3 && all[4].process == 2);
        assert_true(slice_equal(history_text(&history, all[5].result_text), SLICE_LITERAL("\0é")));
        history_deinit(&history);
    }
}

#define LINE(more) HEADER "{\"process\":1,\"op\":\"get\",\"key\":\"k\",\"start\":1," more "}\n"

static void refuses_what_is_malformed(void **state)
{
    refuses("", STATUS_INVALID, "line 1: the file is empty");
    refuses("\n\n", STATUS_INVALID, "the file is empty");
    refuses("{\"process\":1}\n", STATUS_INVALID, "line 1: a history begins with a line {\"history\":1}");
    refuses("{\"history\":2}\n", STATUS_VERSION, "line 1: format 2; this program knows up to 1");
    refuses("{\"history\":\"1\"}\n", STATUS_INVALID, "\"history\" must be a whole number");
    refuses(HEADER "\n[1]\n", STATUS_INVALID, "line 3: not a JSON object");
    refuses(HEADER "{\"a\":\n", STATUS_INVALID, "line 2: not JSON: ");
    refuses(HEADER "{\"a\":1,\"a\":2}", STATUS_INVALID, "line 2: not JSON: ");
    refuses(HEADER "{\"op\":\"\xff\"}", STATUS_INVALID, "line 2: not JSON: ");
    refuses(HEADER "{}", STATUS_INVALID, "\"op\" must be a string");
    refuses(HEADER "{\"op\":\"flush\\u0007\"}", STATUS_INVALID, "no operation is called \"flush\\x07\"; docs");
    refuses(HEADER "{\"op\":\"get\",\"process\":-1}", STATUS_INVALID, "\"process\" must be a whole number from 0");
    refuses(HEADER "{\"op\":\"get\",\"process\":1}", STATUS_INVALID, "\"key\" must be a string");
    refuses(HEADER "{\"op\":\"set\",\"process\":1,\"key\":\"k\"}", STATUS_INVALID, "\"value\" must be a string");
    refuses(HEADER "{\"op\":\"hget\",\"process\":1,\"key\":\"k\"}", STATUS_INVALID, "\"field\" must be a string");
    refuses(LINE("\"end\":2,\"result\":null"), STATUS_INVALID, "\"outcome\" must be a string");
    refuses(LINE("\"outcome\":\"maybe\""), STATUS_INVALID, "\"outcome\" must be \"ok\"");
    refuses(LINE("\"outcome\":\"ok\""), STATUS_INVALID,
            "\"end\" must be a whole number from 0 to 9223372036854775807; there is none");
    refuses(LINE("\"outcome\":\"ok\",\"end\":0"), STATUS_INVALID, "\"end\" (0) is before \"start\" (1)");
    refuses(LINE("\"outcome\":\"ok\",\"end\":-1"), STATUS_INVALID, "\"end\" must be a whole number from 0");
    refuses(LINE("\"outcome\":\"ok\",\"end\":99999999999999999999"), STATUS_INVALID, "line 2: not JSON: too big");
    refuses(LINE("\"outcome\":\"ok\",\"end\":NaN"), STATUS_INVALID, "line 2: not JSON: ");
    refuses(LINE("\"outcome\":\"ok\",\"end\":1.5"), STATUS_INVALID, "\"end\" must be a whole number");
    refuses(LINE("\"outcome\":\"ok\",\"end\":2"), STATUS_INVALID, "\"result\" of get must be a string or null");
    refuses(LINE("\"outcome\":\"ok\",\"end\":2,\"result\":1"), STATUS_INVALID, "must be a string or null");
    refuses(HEADER "{\"op\":\"del\",\"process\":1,\"key\":\"k\",\"outcome\":\"ok\",\"start\":1,\"end\":2,\"result\":2}",
            STATUS_INVALID, "\"result\" must be a whole number from 0 to 1");
}

/* A name is all of its text, and a line with "op" is no header. */
static void takes_nothing_for_something_else(void **state)
{
    (void)state;
#define REST ",\"process\":1,\"key\":\"k\",\"outcome\":\"ok\",\"start\":1,\"end\":2,\"until\":3"
    refuses(HEADER "{\"op\":\"hold\\u0000x\"" REST "}", STATUS_INVALID, "no operation is called \"hold\\x00x\"");
    refuses(HEADER "{\"op\":\"use\\u0000\"" REST "}", STATUS_INVALID, "no operation is called \"use\\x00\"");
    refuses(HEADER "{\"op\":\"txn\\u0000\"" REST "}", STATUS_INVALID, "no operation is called \"txn\\x00\"");
    refuses(HEADER "{\"op\":\"hold\",\"mode\":\"shared\\u0000\"" REST "}", STATUS_INVALID, "\"mode\" must be");
    refuses(HEADER "{\"history\":1,\"op\":\"get\"" REST "}", STATUS_INVALID, "\"result\" of get must be");
    refuses("{\"history\":1,\"op\":\"get\"" REST "}", STATUS_INVALID, "line 1: a history begins with a line");
}

static void refuses_a_key_that_is_two_things(void **state)
{
    (void)state;
#define STRING(key) "{\"op\":\"get\",\"process\":1,\"key\":\"" key "\",\"outcome\":\"failed\",\"start\":1}\n"
#define FIELD(key) "{\"op\":\"hget\",\"key\":\"" key "\",\"field\":\"f\"}"
#define FIELDS(key) "{\"op\":\"txn\",\"process\":1,\"ops\":[" FIELD(key) "],\"outcome\":\"unknown\",\"start\":1}\n"
    refuses(HEADER STRING("a") FIELDS("b") STRING("a") FIELDS("a"), STATUS_INVALID,
            "line 5: key 'a' is used as a string and as a hash");
    refuses(HEADER FIELDS("a\\u0007") STRING("a") STRING("a\\u0007"), STATUS_INVALID,
            "line 4: key 'a\\x07' is used as a string and as a hash");
}

/* Objects in a line take fifteen times its bytes once they are parsed; what is quoted takes nothing. */
static void refuses_a_line_of_too_many_values(void **state)
{
    (void)state;
    struct buffer text;
    buffer_init(&text);
    buffer_append_string(&text, HEADER "{\"x\":[");
    for (int i = 0; i < HISTORY_VALUES_MAXIMUM; i++) {
        buffer_append_string(&text, "{},");
    }
    buffer_append_string(&text, "{}]}\n");
    buffer_append_byte(&text, '\0');
    refuses((const char *)text.data, STATUS_FULL, "line 2: a line of more than 1048576 values");
    buffer_clear(&text);
    buffer_append_string(&text, HEADER "{\"x\":\"\\\"");
    for (int i = 0; i < HISTORY_VALUES_MAXIMUM; i++) {
        buffer_append_string(&text, "{},");
    }
    buffer_append_string(&text, "\"}\n");
    buffer_append_byte(&text, '\0');
    refuses((const char *)text.data, STATUS_INVALID, "line 2: \"op\" must be a string; there is none");
    buffer_deinit(&text);
}

static void refuses_a_line_without_end(void **state)
{
    struct history history;
    struct history_reader reader;
    history_init(&history);
    history_reader_init(&reader, &history);
    size_t size = 1 << 20;
    uint8_t *blanks = malloc(size);
    assert_non_null(blanks);
    memset(blanks, ' ', size);
    enum status status = history_reader_feed(&reader, SLICE_LITERAL(HEADER));
    for (size_t fed = 0; status == STATUS_OK && fed <= HISTORY_LINE_BYTES; fed += size) {
        status = history_reader_feed(&reader, slice_of(blanks, size));
    }
    assert_int_equal(status, STATUS_FULL);
    assert_non_null(strstr(reader.problem, "line 2: a line of more than"));
    assert_int_equal(history_reader_feed(&reader, SLICE_LITERAL("\n")), STATUS_FULL);
    free(blanks);
    history_reader_deinit(&reader);
    history_deinit(&history);
}

static struct buffer write_all(const struct history *history)
{
    struct buffer text;
    buffer_init(&text);
    history_write_header("a \"test\"", &text);
    for (uint32_t i = 0; i < history->count; i++) {
        history_write_operation(history, i, &text);
    }
    buffer_append_byte(&text, '\0');
    return text;
}

static void make_some(struct history *history)
{
    struct model model = {0};
    struct prng prng;
    prng_seed(&prng, 3);
    for (uint32_t i = 0; i < 200; i++) {
        static const char *const texts[] = {"", "5", "a\"b\\c", "\n\x7f", "é€😀"};
        char copy[MODEL_TEXT_BYTES];
        struct history_result result;
        uint32_t operation;
        struct history_call call = {.kind = (enum history_kind)prng_below(&prng, HISTORY_HGET),
                                    .process = i % 3,
                                    .key = SLICE_LITERAL("k"),
                                    .value = slice_from_string(texts[prng_below(&prng, 5)]),
                                    .expected = slice_from_string(texts[prng_below(&prng, 5)]),
                                    .by = (int64_t)i};
        assert_int_equal(history_invoke(history, &call, i / 2, &operation), STATUS_OK);
        if (i % 10 == 0) {
            history_fail(history, operation);
        } else if (model_execute(&model, &call, copy, &result) && i % 10 != 1) {
            assert_int_equal(history_complete(history, operation, &result, i / 2), STATUS_OK);
        }
        if (strlen(model.text) > MODEL_TEXT_BYTES / 2) {
            model.present = false;
        }
    }
}

static void what_is_written_reads_back(void **state)
{
    struct history history;
    struct history again;
    char problem[HISTORY_PROBLEM_BYTES];
    history_init(&history);
    make_some(&history);
    struct buffer text = write_all(&history);
    if (read_text((const char *)text.data, SIZE_MAX, &again, problem) != STATUS_OK) {
        fail_msg("%s", problem);
    }
    struct buffer twice = write_all(&again);
    assert_string_equal((const char *)text.data, (const char *)twice.data);
    buffer_deinit(&text);
    buffer_deinit(&twice);
    history_deinit(&history);
    history_deinit(&again);
}

static void bytes_that_are_no_text_are_replaced(void **state)
{
    struct history history;
    struct history_call call = {.kind = HISTORY_SET,
                                .key = SLICE_LITERAL("k\xff\xc3\xa9\xed\xa0\x80\xf4\x90\x80\x80\xc0\x80"),
                                .value = SLICE_LITERAL("v\xe2\x82")};
    history_init(&history);
    assert_int_equal(history_add(&history, &call, 0, 0, HISTORY_FAILED, NULL), STATUS_OK);
    struct buffer text = write_all(&history);
    struct history again;
    char problem[HISTORY_PROBLEM_BYTES];
    assert_int_equal(read_text((const char *)text.data, SIZE_MAX, &again, problem), STATUS_OK);
    assert_non_null(strstr((const char *)text.data, "\"k\\ufffdé\\ufffd"));
    buffer_deinit(&text);
    history_deinit(&history);
    history_deinit(&again);
}

/* Events keep the order in which they are noted, even when the clock stands still. */
static void noted_events_are_ordered(void **state)
{
    struct history history;
    struct history_call set = {.kind = HISTORY_SET, .key = SLICE_LITERAL("k"), .value = SLICE_LITERAL("v")};
    struct history_call get = {.kind = HISTORY_GET, .key = SLICE_LITERAL("k")};
    struct history_result done = {.shape = HISTORY_RESULT_NONE};
    struct history_result nothing = model_null();
    uint32_t operation;
    history_init(&history);
    assert_int_equal(history_invoke(&history, &set, 5, &operation), STATUS_OK);
    assert_int_equal(history_complete(&history, operation, &done, 5), STATUS_OK);
    assert_int_equal(history_invoke(&history, &get, 5, &operation), STATUS_OK);
    assert_int_equal(history_complete(&history, operation, &done, 5), STATUS_INVALID);
    assert_int_equal(history_complete(&history, operation, &nothing, 5), STATUS_OK);
    assert_true(history.operations[0].end < history.operations[1].start);
    struct check check;
    assert_int_equal(check_run(&check, &history, CHECK_MEMORY_DEFAULT), STATUS_OK);
    assert_int_equal(check.verdict, CHECK_NOT_LINEARIZABLE);
    check_deinit(&check);
    history_deinit(&history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind),
        cmocka_unit_test(refuses_what_is_malformed),
        cmocka_unit_test(takes_nothing_for_something_else),
        cmocka_unit_test(refuses_a_key_that_is_two_things),
        cmocka_unit_test(refuses_a_line_of_too_many_values),
        cmocka_unit_test(refuses_a_line_without_end),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(bytes_that_are_no_text_are_replaced),
        cmocka_unit_test(noted_events_are_ordered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
