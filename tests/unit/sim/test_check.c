/* Small histories with a known verdict, written as transcripts: a line for each operation,
 *
 *     START-END operation arguments -> result
 *
 * with END "?" where the outcome is unknown and "!" where it failed, and "nil" and "''" for nothing and the empty text.
 */
#include "check/check.h"
#include "check_random.h"

#include <stdarg.h>

#include <setjmp.h>

#include <cmocka.h>

enum { WORDS = 8 };

static struct slice text_of(const char *word) { return slice_from_string(strcmp(word, "''") == 0 ? "" : word); }

static struct history_result result_of(enum history_kind kind, const char *word)
{
    enum history_shape shape = history_kind_facts(kind)->shape;
    if (shape == HISTORY_RESULT_TEXT && strcmp(word, "nil") == 0) {
        return model_null();
    }
    return (struct history_result){.shape = shape, .text = text_of(word), .number = strtoll(word, NULL, 10)};
}

static void add_line(struct history *history, char *line)
{
    const char *words[WORDS] = {"", "", "", "", "", "", "", ""};
    char *rest = NULL;
    size_t count = 0;
    for (const char *word = strtok_r(line, " ", &rest); word != NULL && count < WORDS; count++) {
        words[count] = word;
        word = strtok_r(NULL, " ", &rest);
    }
    struct history_call call = {.key = SLICE_LITERAL("k"), .field = SLICE_LITERAL("f"), .by = 1};
    while (strcmp(history_kind_facts(call.kind)->name, words[1]) != 0) {
        call.kind++;
    }
    const struct history_kind_facts *facts = history_kind_facts(call.kind);
    size_t at = 2;
    call.expected = facts->has_expected ? text_of(words[at++]) : call.expected;
    call.value = facts->has_value ? text_of(words[at++]) : call.value;
    call.by = facts->has_by ? strtoll(words[at++], NULL, 10) : 0;
    const char *end = strchr(words[0], '-') + 1;
    enum history_outcome outcome = *end == '?' ? HISTORY_UNKNOWN : *end == '!' ? HISTORY_FAILED : HISTORY_OK;
    struct history_result result = result_of(call.kind, outcome == HISTORY_OK ? words[at + 1] : "");
    assert_int_equal(
        history_add(history, &call, strtoull(words[0], NULL, 10), strtoull(end, NULL, 10), outcome, &result),
        STATUS_OK);
}

/* Judges a transcript; the caller deinits both. */
static enum check_verdict judge(const char *transcript, struct history *history, struct check *check)
{
    char *copy = strdup(transcript);
    char *rest = NULL;
    history_init(history);
    for (char *line = strtok_r(copy, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        add_line(history, line);
    }
    free(copy);
    assert_int_equal(check_run(check, history, CHECK_MEMORY_DEFAULT), STATUS_OK);
    return check->verdict;
}

static void good(const char *transcript)
{
    struct history history;
    struct check check;
    if (judge(transcript, &history, &check) != CHECK_LINEARIZABLE) {
        fail_msg("not linearizable:\n%s", transcript);
    }
    check_deinit(&check);
    history_deinit(&history);
}

/* The transcript is bad, and the explanation names the kind and says the words. */
static void bad(const char *transcript, enum anomaly_kind kind, const char *words)
{
    struct history history;
    struct check check;
    struct check_explanation explanation;
    struct buffer text;
    buffer_init(&text);
    if (judge(transcript, &history, &check) != CHECK_NOT_LINEARIZABLE) {
        fail_msg("linearizable:\n%s", transcript);
    }
    check_explain(&check, &check.keys[0], &explanation);
    check_write_explanation(&check, &explanation, &text);
    buffer_append_byte(&text, '\0');
    if (explanation.anomaly.kind != kind || strstr((const char *)text.data, words) == NULL) {
        fail_msg("expected %s and '%s', found\n%s", anomaly_name(kind), words, (const char *)text.data);
    }
    buffer_deinit(&text);
    check_explanation_deinit(&explanation);
    check_deinit(&check);
    history_deinit(&history);
}

static void reads_see_the_last_write(void **state)
{
    good("");
    good("0-1 get -> nil");
    good("0-1 set a -> OK\n2-3 get -> a\n4-5 set b -> OK\n6-7 get -> b");
    bad("0-1 get -> a", ANOMALY_NEVER_WRITTEN, "saw what nobody wrote");
    bad("0-1 set a -> OK\n2-3 get -> nil", ANOMALY_LOST_WRITE, "set \"a\"");
    bad("0-1 set a -> OK\n2-3 set b -> OK\n4-5 get -> b\n6-7 get -> a", ANOMALY_STALE_READ, "needs \"a\"");
    bad("0-1 set a -> OK\n2-3 set b -> OK\n4-5 get -> a", ANOMALY_LOST_WRITE, "lost write");
    bad("0-1 get -> a\n2-3 set a -> OK", ANOMALY_FROM_THE_FUTURE, "only after it had ended");
}

static void what_overlaps_may_be_in_any_order(void **state)
{
    good("0-10 set a -> OK\n1-2 get -> a\n3-4 get -> a");
    good("0-10 set a -> OK\n1-2 get -> nil\n3-4 get -> a");
    bad("0-10 set a -> OK\n1-2 get -> a\n3-4 get -> nil", ANOMALY_NONE, "needs nil");
    good("0-10 set a -> OK\n0-10 set b -> OK\n11-12 get -> a");
    good("0-10 set a -> OK\n0-10 set b -> OK\n11-12 get -> b");
    good("0-10 set a -> OK\n0-10 set b -> OK\n1-4 get -> b\n5-9 get -> a\n11-12 get -> a");
    bad("0-10 set a -> OK\n0-10 set b -> OK\n11-12 get -> a\n13-14 get -> b", ANOMALY_NONE, "needs \"b\"");
    bad("0-10 set a -> OK\n0-10 set b -> OK\n1-4 get -> b\n5-9 get -> a\n11-12 get -> b", ANOMALY_NONE, "no order");
}

/* Herlihy and Wing's examples for a queue, told of a register. */
static void two_readers_must_agree(void **state)
{
    good("0-9 set a -> OK\n0-9 set b -> OK\n1-8 get -> a\n1-8 get -> b");
    bad("0-30 set a -> OK\n0-30 set b -> OK\n1-4 get -> a\n5-9 get -> b\n10-14 get -> a", ANOMALY_NONE, "needs \"a\"");
    bad("0-1 set x -> OK\n2-30 set y -> OK\n3-4 get -> y\n5-6 get -> x", ANOMALY_NONE, "needs \"x\"");
}

static void at_the_same_time_is_concurrent(void **state)
{
    good("0-5 set a -> OK\n5-9 get -> nil");
    bad("0-4 set a -> OK\n5-9 get -> nil", ANOMALY_LOST_WRITE, "set \"a\"");
}

static void unknown_outcomes_stay_open(void **state)
{
    good("0-? set a\n10-11 get -> nil");
    good("0-? set a\n10-11 get -> a");
    good("0-? set a\n10-11 get -> nil\n12-13 get -> a\n14-15 get -> a");
    bad("0-? set a\n10-11 get -> a\n12-13 get -> nil", ANOMALY_NONE, "needs nil");
    good("0-? set a\n1-2 set b -> OK\n3-4 get -> b\n5-6 get -> a");
    bad("0-? set a\n1-2 get -> a\n3-4 set b -> OK\n5-6 get -> a", ANOMALY_NONE, "needs \"a\"");
    bad("0-1 get -> a\n2-? set a", ANOMALY_FROM_THE_FUTURE, "(0.000 to -");
    good("0-? del\n1-2 setnx a -> 1\n3-4 get -> nil\n5-6 setnx b -> 1");
    bad("0-? del\n1-2 setnx a -> 1\n3-4 setnx b -> 1\n5-6 setnx c -> 1", ANOMALY_NONE, "needs nil");
}

static void a_refusal_is_definite(void **state)
{
    good("0-! set a\n2-3 get -> nil");
    bad("0-! set a\n2-3 get -> a", ANOMALY_NEVER_WRITTEN, "nobody wrote");
}

static void applied_once(void **state)
{
    good("0-1 incr 1 -> 1\n2-3 incr 1 -> 2\n4-5 get -> 2");
    bad("0-1 incr 1 -> 1\n2-3 incr 1 -> 3", ANOMALY_APPLIED_TWICE, "more than was asked for");
    bad("0-1 incr 1 -> 1\n2-3 get -> 2", ANOMALY_APPLIED_TWICE, "needs \"2\"");
    bad("0-9 incr 1 -> 1\n1-8 incr 1 -> 1", ANOMALY_SAME_NUMBER_TWICE, "same number as");
    bad("0-? incr 5\n1-2 incr 1 -> 6\n3-4 incr 1 -> 2\n", ANOMALY_WENT_BACK, "process 0's incr 1 → 6");
    bad("0-? incr 5\n1-2 incr 1 -> 6\n3-4 get -> 5\n", ANOMALY_WENT_BACK, "counter went back × 1");
    good("0-? incr 1\n2-3 incr 1 -> 2");
    good("0-? incr 1\n0-? incr 1\n2-3 incr 1 -> 2\n4-5 get -> 3");
    bad("0-? incr 1\n2-3 incr 1 -> 2\n4-5 incr 1 -> 4", ANOMALY_APPLIED_TWICE, "applied twice");
    good("0-1 append xy -> 2\n2-3 append z -> 3\n4-5 get -> xyz");
    bad("0-1 append xy -> 2\n2-3 append z -> 3\n4-5 get -> xyzz", ANOMALY_APPLIED_TWICE, "append \"z\"");
    bad("0-1 append xy -> 2\n2-3 append z -> 3\n4-5 get -> xy", ANOMALY_STALE_READ, "append \"z\"");
    bad("0-1 append xy -> 2\n2-3 get -> xyw", ANOMALY_NEVER_WRITTEN, "nobody wrote");
    good("0-? append a\n0-? append b\n0-? append c\n4-5 get -> ca\n6-7 get -> cab");
    bad("0-? append a\n0-? append b\n4-5 get -> ab\n6-7 get -> ba", ANOMALY_NONE, "needs \"ba\"");
}

static void compare_and_set(void **state)
{
    good("0-1 set a -> OK\n2-3 ifeq a b -> 1\n4-5 ifeq a c -> 0\n6-7 get -> b");
    good("0-1 set a -> OK\n2-9 ifeq a b -> 1\n2-9 ifeq a c -> 0");
    bad("0-1 set a -> OK\n2-9 ifeq a b -> 1\n2-9 ifeq a c -> 1", ANOMALY_NONE, "needs \"a\"");
    good("0-1 ifeq a b -> 0");
    good("0-1 set a -> OK\n2-? ifeq a b\n4-5 get -> b\n6-7 get -> b");
    bad("0-1 set a -> OK\n2-3 ifeq a b -> 0", ANOMALY_NONE, "needs other than \"a\"");
}

static void other_strings(void **state)
{
    good("0-1 setnx a -> 1\n2-3 setnx b -> 0\n4-5 getset c -> a\n6-7 getdel -> c\n8-9 del -> 0\n10-11 getdel -> nil");
    bad("0-9 setnx a -> 1\n0-9 setnx b -> 1", ANOMALY_NONE, "needs nil");
    bad("0-1 set a -> OK\n2-9 getset b -> a\n2-9 getset c -> a", ANOMALY_NONE, "needs \"a\"");
    bad("0-1 set a -> OK\n2-9 getdel -> a\n2-9 getdel -> a", ANOMALY_NONE, "needs \"a\"");
    good("0-1 set '' -> OK\n2-3 append a -> 1\n4-5 get -> a");
    good("0-1 set 9 -> OK\n2-3 append 9 -> 2\n4-5 incr 1 -> 100\n6-7 get -> 100");
    bad("0-1 set a -> OK\n2-3 incr 1 -> 1", ANOMALY_NONE, "needs nil or \"0\"");
    bad("0-1 append abc -> 2", ANOMALY_NONE, "can never be");
    bad("0-1 incr -9223372036854775808 -> 9223372036854775807", ANOMALY_NONE, "can never be");
}

static void hash_fields(void **state)
{
    good("0-1 hset a -> 1\n2-3 hset b -> 0\n4-5 hget -> b\n6-7 hdel -> 1\n8-9 hsetnx c -> 1\n10-11 hget -> c");
    bad("0-9 hset a -> 1\n0-9 hset b -> 1", ANOMALY_NONE, "needs nil");
    good("0-1 hincrby 5 -> 5\n2-3 hincrby -7 -> -2\n4-5 hget -> -2");
    bad("0-1 hincrby 5 -> 5\n2-3 hget -> nil", ANOMALY_WENT_BACK, "hincrby 5");
    good("0-? hset a\n2-3 hset b -> 0\n4-5 hget -> b");
}

/* The culprit is the first end at which no order is left, not something later. */
static void the_longest_part(void **state)
{
    struct history history;
    struct check check;
    struct check_explanation explanation;
    assert_int_equal(
        judge("0-1 set a -> OK\n2-3 set b -> OK\n4-5 get -> b\n6-7 get -> a\n6-20 set c -> OK\n8-9 get -> b\n"
              "21-22 get -> x",
              &history, &check),
        CHECK_NOT_LINEARIZABLE);
    check_explain(&check, &check.keys[0], &explanation);
    assert_int_equal(explanation.placed_count, 3);
    assert_int_equal(explanation.placed[2], 2);
    assert_int_equal(explanation.stuck_count, 2);
    assert_int_equal(explanation.stuck[0], 3);
    assert_int_equal(explanation.stuck[1], 4);
    assert_int_equal(explanation.anomalies->counts[ANOMALY_STALE_READ], 1);
    assert_int_equal(explanation.anomalies->counts[ANOMALY_NEVER_WRITTEN], 1);
    check_explanation_deinit(&explanation);
    check_deinit(&check);
    history_deinit(&history);
}

static void add(struct history *history, enum history_kind kind, const char *key, const char *field, uint64_t at,
                const char *value)
{
    struct history_call call = {.kind = kind,
                                .key = slice_from_string(key),
                                .field = slice_from_string(field),
                                .value = slice_from_string(value)};
    struct history_result result = result_of(kind, value);
    assert_int_equal(history_add(history, &call, at, at + 1, HISTORY_OK, &result), STATUS_OK);
}

static void keys_and_fields_are_apart(void **state)
{
    struct history history;
    struct check check;
    struct buffer text;
    buffer_init(&text);
    history_init(&history);
    add(&history, HISTORY_SET, "a", "", 1, "x");
    add(&history, HISTORY_GET, "b", "", 3, "nil");
    add(&history, HISTORY_HSET, "h", "f", 5, "1");
    add(&history, HISTORY_HGET, "h", "g", 7, "nil");
    assert_int_equal(check_run(&check, &history, CHECK_MEMORY_DEFAULT), STATUS_OK);
    assert_int_equal(check.verdict, CHECK_LINEARIZABLE);
    assert_int_equal(check.key_count, 4);
    check_write_summary(&check, 2, &text);
    buffer_append_byte(&text, '\0');
    assert_non_null(strstr((const char *)text.data, "… and 2 more\nlinearizable: 4 keys and fields, 4 operations ok"));
    buffer_deinit(&text);
    check_deinit(&check);

    add(&history, HISTORY_GET, "h", "", 9, "nil");
    assert_int_equal(check_run(&check, &history, CHECK_MEMORY_DEFAULT), STATUS_INVALID);
    assert_true(slice_is_word(history_text(&history, check.mixed_key), "h"));
    check_deinit(&check);
    history_deinit(&history);
}

/* Twenty writes at once, read in an order that only trying can rule out, and little memory. */
static void gives_up_and_says_so(void **state)
{
    struct history history;
    struct check check;
    history_init(&history);
    for (int i = 0; i < 20; i++) {
        struct history_result found = model_number(1);
        struct history_call call = {.kind = HISTORY_DEL, .key = SLICE_LITERAL("k")};
        assert_int_equal(history_add(&history, &call, 0, 100, HISTORY_OK, &found), STATUS_OK);
        char value[] = {(char)('a' + i), '\0'};
        call = (struct history_call){.kind = HISTORY_SETNX, .key = SLICE_LITERAL("k"), .value = text_of(value)};
        assert_int_equal(history_add(&history, &call, 0, 100, HISTORY_OK, &found), STATUS_OK);
    }
    add(&history, HISTORY_GET, "k", "", 200, "nil");
    assert_int_equal(check_run(&check, &history, CHECK_MEMORY_DEFAULT), STATUS_OK);
    assert_int_equal(check.verdict, CHECK_LINEARIZABLE);
    check_deinit(&check);
    struct history_call call = {.kind = HISTORY_DEL, .key = SLICE_LITERAL("k")};
    struct history_result found = model_number(1);
    assert_int_equal(history_add(&history, &call, 0, 100, HISTORY_OK, &found), STATUS_OK);
    assert_int_equal(check_run(&check, &history, 64 * 1024), STATUS_OK);
    assert_int_equal(check.verdict, CHECK_GAVE_UP);
    assert_true(check.keys[0].configurations > 500);
    check_deinit(&check);
    add(&history, HISTORY_GET, "k", "", 300, "never");
    assert_int_equal(check_run(&check, &history, 64 * 1024), STATUS_OK);
    assert_int_equal(check.verdict, CHECK_NOT_LINEARIZABLE);
    struct check_explanation explanation;
    check_explain(&check, &check.keys[0], &explanation);
    assert_int_equal(explanation.anomaly.kind, ANOMALY_NEVER_WRITTEN);
    check_explanation_deinit(&explanation);
    check_deinit(&check);
    history_deinit(&history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_see_the_last_write),
        cmocka_unit_test(what_overlaps_may_be_in_any_order),
        cmocka_unit_test(two_readers_must_agree),
        cmocka_unit_test(at_the_same_time_is_concurrent),
        cmocka_unit_test(unknown_outcomes_stay_open),
        cmocka_unit_test(a_refusal_is_definite),
        cmocka_unit_test(applied_once),
        cmocka_unit_test(compare_and_set),
        cmocka_unit_test(other_strings),
        cmocka_unit_test(hash_fields),
        cmocka_unit_test(the_longest_part),
        cmocka_unit_test(keys_and_fields_are_apart),
        cmocka_unit_test(gives_up_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
