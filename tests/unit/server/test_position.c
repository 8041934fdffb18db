/* How far somebody has seen the data, as text: what is put is taken, by the cluster that put it, and nothing else. */
#include "base/base64url.h"
#include "base/crc32c.h"
#include "base/prng.h"
#include "base/varint.h"
#include "server/position.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { SHARDS = 70, WHOSE = 77 };

static void test_there_and_back(void **state)
{
    (void)state;
    struct prng prng;
    prng_seed(&prng, 1);
    for (int i = 0; i < 2000; i++) {
        uint64_t indices[SHARDS] = {0};
        uint64_t taken[SHARDS] = {0};
        struct buffer text = {0};
        uint32_t shards = 1 + (uint32_t)prng_below(&prng, SHARDS);
        for (uint32_t shard = 0; shard < shards; shard++) {
            indices[shard] = prng_below(&prng, 3) == 0 ? 0 : prng_next(&prng) >> (2 + prng_below(&prng, 61));
        }
        position_put(&text, WHOSE, indices, shards);
        assert_int_equal(position_take(buffer_slice(&text), WHOSE, shards, taken), POSITION_OK);
        assert_memory_equal(indices, taken, sizeof(taken));
        assert_int_equal(position_take(buffer_slice(&text), WHOSE + 1, shards, taken), POSITION_FOREIGN);
        assert_int_equal(position_take(buffer_slice(&text), WHOSE, shards + 1, taken), POSITION_FOREIGN);
        for (int change = 0; change < 20; change++) { /* any letter, and its end */
            size_t at = prng_below(&prng, text.size);
            uint8_t before = text.data[at];
            text.data[at] = (uint8_t)prng_next(&prng);
            if (text.data[at] != before) {
                assert_int_equal(position_take(buffer_slice(&text), WHOSE, shards, taken), POSITION_MALFORMED);
            }
            text.data[at] = before;
            assert_int_equal(position_take(slice_of(text.data, at), WHOSE, shards, taken), POSITION_MALFORMED);
        }
        assert_memory_equal(indices, taken, sizeof(taken));
        buffer_deinit(&text);
    }
}

/* What one has seen is never taken away by what another one has. */
static void test_the_larger_counts(void **state)
{
    (void)state;
    const uint64_t one[3] = {5, 0, 9};
    uint64_t other[3] = {7, 2, 8};
    struct buffer text = {0};
    position_put(&text, WHOSE, one, 3);
    assert_int_equal(position_take(buffer_slice(&text), WHOSE, 3, other), POSITION_OK);
    const uint64_t both[3] = {7, 2, 9};
    assert_memory_equal(other, both, sizeof(both));
    buffer_deinit(&text);
}

/* Bytes that nobody puts, with a sum that is right. */
static void test_forged(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        enum position_error error;
    } forged[] = {
        {"\1\115\0\0\0\0\0\0\0\3\0", 11, POSITION_OK},
        {"\2\115\0\0\0\0\0\0\0\3\0", 11, POSITION_NEWER},
        {"\1\115\0\0\0\0\0\0\1\3\0", 11, POSITION_FOREIGN},
        {"\1\115\0\0\0\0\0\0\0\4\0", 11, POSITION_FOREIGN},
        {"\1\115\0\0\0\0\0\0\0\3\1", 11, POSITION_MALFORMED},         /* one, which is missing */
        {"\1\115\0\0\0\0\0\0\0\3\0\1", 12, POSITION_MALFORMED},       /* more than it says */
        {"\1\115\0\0\0\0\0\0\0\3\1\2\1", 13, POSITION_OK},            /* the third shard */
        {"\1\115\0\0\0\0\0\0\0\3\1\3\1", 13, POSITION_MALFORMED},     /* the fourth */
        {"\1\115\0\0\0\0\0\0\0\3\1\2\0", 13, POSITION_MALFORMED},     /* nothing of it */
        {"\1\115\0\0\0\0\0\0\0\3\2\2\1\0\1", 15, POSITION_MALFORMED}, /* another behind the last */
        {"\1\115\0\0\0\0\0\0\0\3\4\0\1\0\1\0\1\0\1", 19, POSITION_MALFORMED},
        {"\1\115\0\0\0\0\0\0\0\200", 10, POSITION_MALFORMED},
    };
    for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
        uint64_t taken[3] = {0};
        struct buffer text = {0};
        buffer_append(&text, forged[i].bytes, forged[i].size);
        put_u32(buffer_reserve(&text, 4), crc32c(0, text.data, text.size));
        text.size += 4;
        base64url_encode(&text, 0);
        assert_int_equal(position_take(buffer_slice(&text), WHOSE, 3, taken), forged[i].error);
        buffer_deinit(&text);
    }
}

static void test_far_too_long(void **state)
{
    (void)state;
    uint64_t taken[3] = {0};
    struct buffer text = {0};
    memset(buffer_reserve(&text, 1 << 20), 'A', 1 << 20);
    text.size = 1 << 20;
    assert_int_equal(position_take(buffer_slice(&text), WHOSE, 3, taken), POSITION_MALFORMED);
    assert_int_equal(position_take(slice_of(text.data, 0), WHOSE, 3, taken), POSITION_MALFORMED);
    buffer_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_the_larger_counts),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_far_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
