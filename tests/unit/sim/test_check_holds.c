/* Histories of locks with a known verdict, as files have them. */
#include "check/check.h"
#include "check/history_reader.h"
#include "check/history_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* `hold l 5 100-200 until 900`, `hold l 5 100-200 until 900 permits 2/3`, `use l 5 1-2 passed`: as JSON. */
static void put_line(struct buffer *file, const char *line)
{
    char op[8], key[8], word[16] = "", mode[16] = "";
    int token, start, end, until = 0, permits = 1, limit = 1;
    assert_true(sscanf(line, "%7s %7s %d %d-%d %15s %d %15s %d/%d", op, key, &token, &start, &end, word, &until, mode,
                       &permits, &limit) >= 6);
    buffer_append_format(file,
                         "{\"process\":1,\"op\":\"%s\",\"key\":\"%s\",\"outcome\":\"ok\",\"start\":%d,"
                         "\"end\":%d,\"until\":%d,\"result\":%d",
                         op, key, start, end, until, strcmp(word, "passed") == 0);
    if (token != 0) {
        buffer_append_format(file, ",\"token\":%d", token);
    }
    if (mode[0] != '\0') {
        buffer_append_format(file, ",\"mode\":\"%s\",\"permits\":%d,\"limit\":%d", mode, permits, limit);
    }
    buffer_append_string(file, "}\n");
}

/* What is written and read again is the same. */
static void write_and_read(const struct history *history)
{
    struct history again;
    struct history_reader reader;
    struct buffer first;
    struct buffer second;
    buffer_init(&first);
    buffer_init(&second);
    history_init(&again);
    history_reader_init(&reader, &again);
    history_write_header(NULL, &first);
    history_write_header(NULL, &second);
    for (uint32_t i = 0; i < history->holds.count; i++) {
        history_write_hold(history, i, &first);
    }
    assert_int_equal(history_reader_feed(&reader, buffer_slice(&first)), STATUS_OK);
    assert_int_equal(history_reader_end(&reader), STATUS_OK);
    assert_int_equal(again.holds.count, history->holds.count);
    for (uint32_t i = 0; i < again.holds.count; i++) {
        history_write_hold(&again, i, &second);
    }
    assert_true(slice_equal(buffer_slice(&first), buffer_slice(&second)));
    history_reader_deinit(&reader);
    history_deinit(&again);
    buffer_deinit(&first);
    buffer_deinit(&second);
}

static enum hold_problem judge(const char *transcript)
{
    struct history history;
    struct history_reader reader;
    struct check check;
    struct buffer file;
    buffer_init(&file);
    history_init(&history);
    history_reader_init(&reader, &history);
    buffer_append_string(&file, "{\"history\":1}\n");
    char *copy = strdup(transcript);
    char *rest = NULL;
    for (char *line = strtok_r(copy, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        put_line(&file, line);
    }
    free(copy);
    assert_int_equal(history_reader_feed(&reader, buffer_slice(&file)), STATUS_OK);
    assert_int_equal(history_reader_end(&reader), STATUS_OK);
    assert_int_equal(check_run(&check, &history, CHECK_MEMORY_DEFAULT), STATUS_OK);
    enum hold_problem problem = check.holds.problem;
    assert_int_equal(check.verdict, problem == HOLD_FINE ? CHECK_LINEARIZABLE : CHECK_NOT_LINEARIZABLE);
    if (problem != HOLD_FINE) {
        buffer_clear(&file);
        holds_write(&history.holds, &history.texts, &check.holds, &file);
        assert_true(file.size > 50);
    }
    write_and_read(&history);
    check_deinit(&check);
    history_reader_deinit(&reader);
    history_deinit(&history);
    buffer_deinit(&file);
    return problem;
}

static void one_after_the_other(void **state)
{
    (void)state;
    assert_int_equal(judge("hold l 5 100-200 until 900\nhold l 7 300-901 until 2000\nhold m 1 100-200 until 5000"),
                     HOLD_FINE);
    assert_int_equal(judge("hold l 5 100-200 until 900\nhold l 7 300-900 until 2000"), HOLD_FINE);
    assert_int_equal(judge("hold l 5 100-200 until 900\nhold l 7 300-899 until 2000"), HOLD_TOGETHER);
    assert_int_equal(judge("hold l 5 100-200 until 150\nhold l 7 130-180 until 2000"), HOLD_FINE); /* never believed */
}

static void some_together(void **state)
{
    (void)state;
    assert_int_equal(judge("hold l 5 1-2 until 900 shared 1/1\nhold l 7 3-4 until 900 shared 1/1"), HOLD_FINE);
    assert_int_equal(judge("hold l 5 1-2 until 900 shared 1/1\nhold l 7 3-4 until 900"), HOLD_TOGETHER);
    assert_int_equal(judge("hold s 5 1-2 until 900 permits 2/3\nhold s 7 3-4 until 900 permits 1/3"), HOLD_FINE);
    assert_int_equal(judge("hold s 5 1-2 until 900 permits 2/3\nhold s 7 3-4 until 900 permits 2/3"), HOLD_TOO_MANY);
    assert_int_equal(judge("hold s 5 1-2 until 10 permits 2/3\nhold s 7 3-11 until 900 permits 2/3"), HOLD_FINE);
}

static void tokens(void **state)
{
    (void)state;
    assert_int_equal(judge("hold l 5 1-2 until 3\nhold l 4 10-12 until 13"), HOLD_TOKEN_BACK);
    assert_int_equal(judge("hold l 5 1-2 until 3\nhold l 5 10-12 until 13"), HOLD_TOKEN_TWICE);
    assert_int_equal(judge("hold l 5 1-20 until 3\nhold l 5 2-12 until 3"), HOLD_TOKEN_TWICE);
    assert_int_equal(judge("hold l 5 1-20 until 3\nhold l 4 2-12 until 3"), HOLD_FINE);  /* at once */
    assert_int_equal(judge("hold l 0 1-2 until 3\nhold l 0 10-12 until 13"), HOLD_FINE); /* there are none */
    assert_int_equal(judge("hold l 5 1-2 until 3\nhold l 0 10-12 until 13"), HOLD_FINE);
    assert_int_equal(judge("hold l 0 1-2 until 13\nhold l 0 10-12 until 15"), HOLD_TOGETHER);
}

static void uses(void **state)
{
    (void)state;
    assert_int_equal(judge("use l 5 1-2 passed\nuse l 5 3-4 passed\nuse l 7 5-6 passed\nuse l 5 7-8 refused"),
                     HOLD_FINE);
    assert_int_equal(judge("use l 7 5-6 passed\nuse l 5 7-8 passed"), HOLD_OLD_USE_PASSED);
    assert_int_equal(judge("use l 7 5-8 passed\nuse l 5 6-7 passed"), HOLD_FINE);
    assert_int_equal(judge("use l 7 5-6 refused\nuse l 5 7-8 passed"), HOLD_FINE);
}

static void refused(void **state)
{
    (void)state;
    assert_int_equal(judge("hold l 5 1-2 until 9\nuse l 5 2-9 refused"), HOLD_USE_REFUSED);
    assert_int_equal(judge("hold l 5 1-2 until 9\nuse l 5 1-9 refused"), HOLD_FINE);  /* maybe before the grant */
    assert_int_equal(judge("hold l 5 1-2 until 9\nuse l 5 2-10 refused"), HOLD_FINE); /* maybe when it was over */
    assert_int_equal(judge("hold l 5 1-2 until 9\nuse l 7 3-4 refused"), HOLD_FINE);  /* of whom nothing is known */
    assert_int_equal(judge("use l 5 2-9 refused\nuse l 5 2-9 passed\nhold l 5 1-2 until 9"), HOLD_USE_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_after_the_other), cmocka_unit_test(some_together),
                                       cmocka_unit_test(tokens), cmocka_unit_test(uses), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
