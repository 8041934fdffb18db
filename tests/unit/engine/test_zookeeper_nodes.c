/* What zookeeper:// writes into ZooKeeper, and what it makes of what others have written there. */
#include "engine/zookeeper_nodes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEXT(text) ((char[]){text}) /* that may be written */

static void test_names(void **unused)
{
    static const struct {
        const char *key, *name;
    } cases[] = {{"nightly", "nightly"}, {"plain name", "plain name"},
                 {"a/b", "a%2fb"},       {"100%", "100%25"},
                 {".", "%2e"},           {"..", "%2e%2e"},
                 {".x", ".x"},           {"", "%"},
                 {"\n\x7f", "%0a%7f"},   {"\xc3\xbc", "%c3%bc"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char name[NODES_NAME_BYTES];
        uint8_t key[NODES_NAME_BYTES];
        nodes_name(slice_from_string(cases[i].key), name);
        assert_string_equal(name, cases[i].name);
        assert_true(slice_equal(slice_of(key, nodes_key(name, key)), slice_from_string(cases[i].key)));
    }
    uint8_t all[LOCK_STATE_KEY_BYTES];
    char name[NODES_NAME_BYTES];
    uint8_t back[NODES_NAME_BYTES];
    for (size_t i = 0; i < sizeof(all); i++) {
        all[i] = (uint8_t)i;
    }
    nodes_name(slice_of(all, sizeof(all)), name);
    assert_true(slice_equal(slice_of(back, nodes_key(name, back)), slice_of(all, sizeof(all))));
}

static void test_contenders(void **unused)
{
    struct contender contender;
    assert_true(nodes_read_contender("0123__lock__0000000012", &contender));
    assert_true(!contender.shared && contender.sequence == 12);
    assert_true(nodes_read_contender("0123__rlock__0000000013", &contender));
    assert_true(contender.shared && contender.sequence == 13);
    assert_true(nodes_read_contender("x__lock__-2147483648", &contender));
    assert_true(contender.sequence == INT32_MIN);
    static const char *const others[] = {
        "", "lock", "__lock__", "x__lock__1x", "x__lease__0000000001", "0000000001", "x__lock__00000000001"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_false(nodes_read_contender(others[i], &contender));
    }
}

static ptrdiff_t ahead_of(const struct contender *contenders, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(contenders[i].name, name) == 0) {
            return nodes_predecessor(contenders, i);
        }
    }
    fail();
    return -1;
}

static void test_who_waits_for_whom(void **unused)
{
    char *names[] = {TEXT("d__lock__0000000009"),  TEXT("a__rlock__0000000003"), TEXT("other"),
                     TEXT("c__rlock__0000000008"), TEXT("b__rlock__0000000004"), TEXT("e__rlock__0000000010")};
    size_t count;
    struct contender *contenders = nodes_contenders(names, sizeof(names) / sizeof(names[0]), &count);
    assert_int_equal(count, 5);
    assert_int_equal(ahead_of(contenders, count, names[1]), -1);
    assert_int_equal(ahead_of(contenders, count, names[4]), -1);
    assert_int_equal(ahead_of(contenders, count, names[3]), -1);
    assert_int_equal(ahead_of(contenders, count, names[0]), 2); /* the last that shares */
    assert_int_equal(ahead_of(contenders, count, names[5]), 3); /* the exclusive one, not who shares */
    free(contenders);
}

/* ZooKeeper counts children in 32 bits: after two thousand million of one lock it begins below zero. */
static void test_sequences_wrap_around(void **unused)
{
    char *names[] = {TEXT("b__lock__-2147483648"), TEXT("a__lock__2147483647")};
    size_t count;
    struct contender *contenders = nodes_contenders(names, 2, &count);
    assert_string_equal(contenders[0].name, names[1]);
    free(contenders);
}

static void test_data_of_contenders(void **unused)
{
    struct buffer bytes;
    struct contender_data data;
    uint8_t owner[LOCK_STATE_OWNER_BYTES];
    memset(owner, ' ', sizeof(owner));
    owner[3] = 0;
    buffer_init(&bytes);
    assert_true(nodes_write_contender(&bytes, 1234, slice_of(owner, sizeof(owner)), SLICE_LITERAL("50 % owner=x\n")));
    nodes_read_contender_data(buffer_slice(&bytes), &data);
    assert_true(data.ours && data.ttl_ms == 1234);
    assert_true(slice_equal(data.owner, slice_of(owner, sizeof(owner))));
    assert_true(slice_equal(data.note, SLICE_LITERAL("50 % owner=x\n")));
    nodes_read_contender_data(SLICE_LITERAL("somebody of kazoo's"), &data);
    assert_true(!data.ours && data.ttl_ms == 0 && slice_equal(data.owner, SLICE_LITERAL("somebody of kazoo's")));
    nodes_read_contender_data(slice_of(NULL, 0), &data);
    assert_true(!data.ours && data.owner.size == 0);
    buffer_deinit(&bytes);
}

static void test_data_of_locks(void **unused)
{
    struct buffer bytes;
    struct lock_state state;
    struct lock_state again;
    lock_state_init(&state);
    lock_state_init(&again);
    buffer_init(&bytes);
    state.fence = 77;
    for (int i = 0; i < LOCK_WHYS; i++) {
        struct lock_past past = {SLICE_LITERAL("a b"), (uint64_t)(90 - i), 100, 200 + i, (enum lock_why)i};
        assert_true(lock_state_add_past(&state, &past));
    }
    assert_true(nodes_write_lock(&bytes, &state));
    assert_int_equal(nodes_read_lock(buffer_slice(&bytes), &again), STATUS_OK);
    assert_true(again.fence == 77 && again.past_count == LOCK_WHYS);
    for (uint32_t i = 0; i < LOCK_WHYS; i++) {
        assert_true(slice_equal(again.past[i].owner, SLICE_LITERAL("a b")) && again.past[i].token == 90 - i &&
                    again.past[i].to_ms == 200 + i && again.past[i].why == (enum lock_why)i);
    }
    lock_state_deinit(&again);
    assert_int_equal(nodes_read_lock(slice_of(NULL, 0), &again), STATUS_OK);
    assert_int_equal(nodes_read_lock(SLICE_LITERAL("x"), &again), STATUS_CORRUPT);
    for (size_t i = 7; i < bytes.size; i++) { /* cut anywhere, it is read without harm */
        assert_int_equal(nodes_read_lock(slice_of(bytes.data, i), &again), STATUS_OK);
        lock_state_deinit(&again);
    }
    lock_state_deinit(&state);
    buffer_deinit(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_contenders),
        cmocka_unit_test(test_who_waits_for_whom),
        cmocka_unit_test(test_sequences_wrap_around),
        cmocka_unit_test(test_data_of_contenders),
        cmocka_unit_test(test_data_of_locks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
