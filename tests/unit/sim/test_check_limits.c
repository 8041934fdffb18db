/* What the judge may take of time and memory, and that it says so when it would need more. */
#include "check/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

enum { ADDITIONS = 60, TRANSACTIONS = 1000 };

static struct history_call call_of(enum history_kind kind, const char *key, const char *value)
{
    return (struct history_call){
        .kind = kind, .key = slice_from_string(key), .value = slice_from_string(value), .by = 1};
}

/* Additions of powers of two, of which nobody knows which were done, and a number that is not their sum in any way:
 * all their subsets are looked through. */
static void make_sums(struct history *history, uint32_t *operations)
{
    struct history_result found = {.shape = HISTORY_RESULT_TEXT, .text = SLICE_LITERAL("0.5")};
    struct history_call call = call_of(HISTORY_INCR, "k", "");
    for (int i = 0; i < ADDITIONS; i++) {
        call.by = (int64_t)1 << (i % 30);
        assert_int_equal(history_add(history, &call, 0, 0, HISTORY_UNKNOWN, NULL), STATUS_OK);
    }
    struct history_result number = {.shape = HISTORY_RESULT_NUMBER, .number = (int64_t)1 << 40};
    call.by = 3;
    assert_int_equal(history_add(history, &call, 5, 9, HISTORY_OK, &number), STATUS_OK);
    call = call_of(HISTORY_GET, "k", "");
    assert_int_equal(history_add(history, &call, 10, 20, HISTORY_OK, &found), STATUS_OK);
    for (uint32_t i = 0; i < history->count; i++) {
        operations[i] = i;
    }
}

static void a_search_ends_when_it_has_looked_enough(void **state)
{
    (void)state;
    struct history history;
    uint32_t operations[ADDITIONS + 2];
    history_init(&history);
    make_sums(&history, operations);
    struct partition partition = {&history, operations, history.count, HISTORY_NEVER};
    for (uint64_t steps = 1; steps <= 1000 * 1000; steps *= 100) {
        struct search *search = search_create(&partition, CHECK_MEMORY_DEFAULT);
        uint64_t left = steps;
        assert_int_equal(search_run(search, &left), SEARCH_GAVE_UP);
        assert_int_equal(left, 0);
        assert_true(search_configurations(search) <= steps);
        search_destroy(search);
    }
    partition.count = 2; /* those alone say nothing */
    struct search *search = search_create(&partition, CHECK_MEMORY_DEFAULT);
    uint64_t left = 1;
    assert_int_equal(search_run(search, &left), SEARCH_LINEARIZABLE);
    search_destroy(search);
    history_deinit(&history);
}

/* Each appends to a list that all others saw empty, which is an edge from each to each. */
static void a_graph_stays_in_its_memory(void **state)
{
    (void)state;
    struct history history;
    struct check check;
    history_init(&history);
    for (int i = 0; i < TRANSACTIONS; i++) {
        char key[16], value[16];
        (void)snprintf(key, sizeof(key), "k%d", i);
        (void)snprintf(value, sizeof(value), "v%d;", i);
        struct history_call calls[] = {call_of(HISTORY_APPEND, "list", value), call_of(HISTORY_SET, key, value)};
        struct history_call look = call_of(HISTORY_GET, key, "");
        struct history_result found = {.shape = HISTORY_RESULT_TEXT, .text = slice_from_string(value)};
        assert_int_equal(history_add_transaction(&history, calls, 2, 0, 0, HISTORY_UNKNOWN, NULL), STATUS_OK);
        assert_int_equal(history_add(&history, &look, 0, 10, HISTORY_OK, &found), STATUS_OK);
        look = call_of(HISTORY_GET, "list", "");
        found = (struct history_result){.shape = HISTORY_RESULT_NULL};
        assert_int_equal(history_add(&history, &look, 0, 10, HISTORY_OK, &found), STATUS_OK);
    }
    assert_int_equal(check_run(&check, &history, (size_t)64 << 20), STATUS_OK);
    assert_int_equal(check.verdict, CHECK_LINEARIZABLE);
    check_deinit(&check);
    assert_int_equal(check_run(&check, &history, (size_t)8 << 20), STATUS_OK);
    assert_int_equal(check.verdict, CHECK_GAVE_UP);
    check_deinit(&check);
    history_deinit(&history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_search_ends_when_it_has_looked_enough),
                                       cmocka_unit_test(a_graph_stays_in_its_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
