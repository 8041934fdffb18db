/* Positions of feeds as text: what is put is taken, and nothing else. */
#include "base/prng.h"
#include "server/feed_position.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SHARDS = 70 };

static void random_marks(struct prng *prng, struct feed_mark *marks, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t index = prng_next(prng) >> (17 + prng_below(prng, 47));
        marks[i] = (struct feed_mark){index << 16 | prng_below(prng, 1 << 16),
                                      (uint32_t)(prng_next(prng) >> (32 + prng_below(prng, 32)))};
    }
}

static void test_there_and_back(void **state)
{
    (void)state;
    struct prng prng;
    prng_seed(&prng, 1);
    for (int i = 0; i < 2000; i++) {
        struct feed_mark marks[SHARDS];
        struct feed_mark taken[SHARDS];
        uint32_t shards = 1 + (uint32_t)prng_below(&prng, SHARDS);
        uint64_t whose = prng_next(&prng);
        uint64_t found;
        struct buffer text = {0};
        buffer_append_string(&text, "before");
        random_marks(&prng, marks, shards);
        feed_position_put(&text, whose, marks, shards);
        for (size_t at = 6; at < text.size; at++) {
            assert_non_null(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", text.data[at]));
        }
        struct slice position = slice_of(text.data + 6, text.size - 6);
        assert_int_equal(feed_position_take(position, shards, &found, taken), FEED_POSITION_OK);
        assert_true(found == whose);
        for (uint32_t s = 0; s < shards; s++) {
            assert_int_equal(feed_mark_compare(marks[s], taken[s]), 0);
        }
        assert_int_equal(feed_position_take(position, shards + 1, &found, taken), FEED_POSITION_SHARDS);
        buffer_deinit(&text);
    }
}

static void test_damaged(void **state)
{
    (void)state;
    struct prng prng;
    struct feed_mark marks[8];
    uint64_t whose;
    prng_seed(&prng, 2);
    random_marks(&prng, marks, 8);
    struct buffer text = {0};
    feed_position_put(&text, 7, marks, 8);
    for (size_t cut = 0; cut < text.size; cut++) {
        assert_int_not_equal(feed_position_take(slice_of(text.data, cut), 8, &whose, marks), FEED_POSITION_OK);
    }
    for (int i = 0; i < 20000; i++) {
        size_t at = prng_below(&prng, text.size);
        uint8_t was = text.data[at];
        text.data[at] = (uint8_t)prng_next(&prng);
        if (text.data[at] != was) {
            assert_int_not_equal(feed_position_take(buffer_slice(&text), 8, &whose, marks), FEED_POSITION_OK);
        }
        text.data[at] = was;
    }
    assert_int_equal(feed_position_take(buffer_slice(&text), 8, &whose, marks), FEED_POSITION_OK);
    buffer_append_string(&text, "A");
    assert_int_not_equal(feed_position_take(buffer_slice(&text), 8, &whose, marks), FEED_POSITION_OK);
    buffer_deinit(&text);
}

static void test_anything(void **state)
{
    (void)state;
    struct prng prng;
    prng_seed(&prng, 3);
    for (int i = 0; i < 20000; i++) {
        uint8_t bytes[200];
        struct feed_mark marks[4];
        uint64_t whose;
        size_t size = prng_below(&prng, sizeof(bytes));
        for (size_t at = 0; at < size; at++) {
            bytes[at] = prng_chance(&prng, 1, 200) ? (uint8_t)prng_next(&prng) : (uint8_t)('A' + prng_below(&prng, 26));
        }
        assert_int_not_equal(feed_position_take(slice_of(bytes, size), 4, &whose, marks), FEED_POSITION_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_damaged),
                                       cmocka_unit_test(test_anything)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
