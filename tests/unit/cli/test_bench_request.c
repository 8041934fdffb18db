#include "cli/bench_request.h"
#include "cluster/slot.h"
#include "wire/resp_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KEYS = 1000, SHARDS = 8, ROUNDS = 300 };

static struct bench_mix mix_of(enum bench_form form, uint32_t keys, uint32_t hot_percent)
{
    return (struct bench_mix){
        .txn = {form, NULL, keys, SHARDS, hot_percent}, .keys = KEYS, .value_bytes = 3, .seed = 7};
}

/* The words of the commands, a line for each; and the keys, which are where they should be. */
struct said {
    char text[4096];
    uint64_t keys[BENCH_TXN_KEYS_MAXIMUM];
    uint32_t key_count, command_count;
    uint32_t shards; /* different ones */
};

static void add_key(struct said *said, struct slice key)
{
    char digits[BENCH_KEY_BYTES + 1] = {0};
    assert_int_equal(key.size, BENCH_KEY_BYTES);
    memcpy(digits, key.data, key.size);
    said->keys[said->key_count++] = strtoull(digits + strlen("key:"), NULL, 10);
}

static uint32_t different_shards(const struct said *said)
{
    uint64_t seen = 0;
    for (uint32_t i = 0; i < said->key_count; i++) {
        char key[BENCH_KEY_BYTES + 1];
        (void)snprintf(key, sizeof(key), "key:%012llu", (unsigned long long)said->keys[i]);
        seen |= UINT64_C(1) << slot_shard(key_slot(slice_from_string(key)), SHARDS);
    }
    return (uint32_t)__builtin_popcountll(seen);
}

static struct said read_requests(struct slice bytes)
{
    struct resp_request_limits limits = RESP_REQUEST_DEFAULT_LIMITS;
    struct resp_request_parser parser;
    struct said said = {0};
    size_t size = 0;
    resp_request_init(&parser);
    while (bytes.size > 0) {
        assert_int_equal(resp_request_parse(&parser, &limits, (uint8_t *)(uintptr_t)bytes.data, bytes.size),
                         RESP_REQUEST_READY);
        for (uint32_t i = 0; i < parser.argc; i++) {
            struct slice word = parser.argv[i];
            bool key = word.size > 4 && memcmp(word.data, "key:", 4) == 0;
            if (key) {
                add_key(&said, word);
            }
            size += (size_t)snprintf(said.text + size, sizeof(said.text) - size, "%s%.*s", i == 0 ? "" : " ",
                                     key ? 3 : (int)word.size, (const char *)word.data);
        }
        size += (size_t)snprintf(said.text + size, sizeof(said.text) - size, "\n");
        said.command_count++;
        bytes = slice_of(bytes.data + parser.consumed, bytes.size - parser.consumed);
    }
    resp_request_deinit(&parser);
    said.shards = different_shards(&said);
    return said;
}

static struct said next(struct bench_requests *requests, enum bench_operation expected)
{
    struct buffer out;
    buffer_init(&out);
    assert_int_equal(bench_requests_append(requests, &out), expected);
    struct said said = read_requests(buffer_slice(&out));
    assert_int_equal(said.command_count, requests->templates[expected].replies);
    buffer_deinit(&out);
    return said;
}

/* Without the value, which is of random letters. */
static void assert_said(const struct said *said, const char *form, const struct bench_requests *requests)
{
    const struct buffer *set = &requests->templates[BENCH_SET].bytes;
    char value[4] = {0};
    memcpy(value, set->data + set->size - 5, 3);
    char expected[1024] = "";
    for (const char *at = form; *at != '\0'; at++) {
        (void)snprintf(expected + strlen(expected), sizeof(expected) - strlen(expected), *at == '?' ? "%s" : "%.1s",
                       *at == '?' ? value : at);
    }
    assert_string_equal(said->text, expected);
}

static void test_forms(void **state)
{
    static const struct {
        enum bench_form form;
        const char *protocol, *said;
    } cases[] = {
        {BENCH_MULTI, NULL, "MULTI\nSET key ?\nSET key ?\nSET key ?\nEXEC\n"},
        {BENCH_BEGIN, NULL, "TXN.BEGIN\nSET key ?\nSET key ?\nSET key ?\nTXN.COMMIT\n"},
        {BENCH_BEGIN, "3PC", "TXN.BEGIN PROTOCOL 3PC\nSET key ?\nSET key ?\nSET key ?\nTXN.COMMIT\n"},
        {BENCH_MSET, NULL, "MSET key ? key ? key ?\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bench_mix mix = mix_of(cases[i].form, 3, 0);
        struct bench_requests requests;
        mix.txn.protocol = cases[i].protocol;
        bench_requests_init(&requests, &mix, 0, 1);
        struct said said = next(&requests, BENCH_TXN);
        assert_said(&said, cases[i].said, &requests);
        assert_int_equal(said.key_count, 3);
        bench_requests_deinit(&requests);
    }
}

static void test_keys_are_of_different_shards(void **state)
{
    for (uint32_t keys = 1; keys <= SHARDS; keys++) {
        struct bench_mix mix = mix_of(BENCH_MULTI, keys, 0);
        struct bench_requests requests;
        bench_requests_init(&requests, &mix, 0, 1);
        for (int i = 0; i < ROUNDS; i++) {
            struct said said = next(&requests, BENCH_TXN);
            assert_int_equal(said.key_count, keys);
            assert_int_equal(said.shards, keys);
        }
        bench_requests_deinit(&requests);
    }
}

static uint32_t count_hot(uint32_t percent)
{
    struct bench_mix mix = mix_of(BENCH_MULTI, 2, percent);
    struct bench_requests requests;
    uint32_t hot = 0;
    bench_requests_init(&requests, &mix, 0, 1);
    for (int i = 0; i < ROUNDS; i++) {
        struct said said = next(&requests, BENCH_TXN);
        assert_int_equal(said.shards, 2);
        hot += said.keys[0] == 0;
    }
    bench_requests_deinit(&requests);
    return hot;
}

static void test_hot_key(void **state)
{
    assert_true(count_hot(0) < ROUNDS / 20);
    assert_in_range(count_hot(50), ROUNDS * 2 / 5, ROUNDS * 3 / 5);
    assert_int_equal(count_hot(100), ROUNDS);
}

/* Two threads of two: the keys of one are the even ones. */
static void test_without_transactions(void **state)
{
    struct bench_mix mix = {.sets = 1, .gets = 1, .keys = KEYS, .value_bytes = 3, .seed = 7};
    struct bench_requests requests;
    uint32_t sets = 0;
    bench_requests_init(&requests, &mix, 0, 1);
    for (int i = 0; i < ROUNDS; i++) {
        struct buffer out;
        buffer_init(&out);
        sets += bench_requests_append(&requests, &out) == BENCH_SET;
        struct said said = read_requests(buffer_slice(&out));
        assert_int_equal(said.key_count, 1);
        assert_true(said.keys[0] < KEYS);
        buffer_deinit(&out);
    }
    assert_in_range(sets, ROUNDS * 2 / 5, ROUNDS * 3 / 5);
    bench_requests_deinit(&requests);
    mix.gets = 0;
    mix.in_order = true;
    bench_requests_init(&requests, &mix, 1, 2);
    for (uint64_t key = 1; key < 9; key += 2) {
        struct said said = next(&requests, BENCH_SET);
        assert_int_equal(said.keys[0], key);
        assert_said(&said, "SET key ?\n", &requests);
    }
    bench_requests_deinit(&requests);
}

static void test_shards_with_keys(void **state)
{
    assert_int_equal(bench_txn_shards(1, SHARDS, 2), 1);
    assert_int_equal(bench_txn_shards(KEYS, SHARDS, SHARDS), SHARDS);
    assert_int_equal(bench_txn_shards(KEYS, SHARDS, 3), 3);
    assert_int_equal(bench_txn_shards(KEYS, 1, 1), 1);
    assert_int_equal(bench_txn_shards(UINT64_MAX, SLOT_MAXIMUM_SHARDS, BENCH_TXN_KEYS_MAXIMUM), BENCH_TXN_KEYS_MAXIMUM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_keys_are_of_different_shards),
        cmocka_unit_test(test_hot_key),
        cmocka_unit_test(test_without_transactions),
        cmocka_unit_test(test_shards_with_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
