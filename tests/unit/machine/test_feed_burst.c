/* More changes at once than a history keeps: who had read everything before goes on, memory stays bounded, and every
 * replica has the same. */
#include "machine/feed/feed_log.h"

#include "base/prng.h"
#include "base/varint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

enum { LIMIT = 4000, KEPT_MS = 1000000 };

static uint8_t letters[LIMIT * FEED_BURST];

static void step(struct feed_log *history, int64_t passed_ms)
{
    feed_log_at(history, history->position + 1, history->time_ms + passed_ms, 0);
}

static void begin(struct feed_log *history, uint64_t limit)
{
    memset(letters, 'x', sizeof(letters));
    *history = (struct feed_log){0};
    feed_log_at(history, 1, 1000, 0);
    feed_log_keep(history, limit, KEPT_MS);
}

static struct slice key_of(char *out, size_t size, int number)
{
    return slice_of(out, (size_t)snprintf(out, size, "key%05d", number));
}

/* As many changes of as many keys, with values of so many bytes. */
static void set_many(struct feed_log *history, int count, size_t bytes)
{
    for (int i = 0; i < count; i++) {
        char key[16];
        feed_log_set(history, key_of(key, sizeof(key), i), slice_of(letters, bytes));
    }
}

/* How many of each kind there are behind a mark, which is there; the kind of the last one. */
static enum feed_kind count_behind(const struct feed_log *history, struct feed_mark mark,
                                   size_t ret_counts[static FEED_KINDS])
{
    struct buffer records = {0};
    enum feed_kind last = FEED_KINDS;
    memset(ret_counts, 0, FEED_KINDS * sizeof(*ret_counts));
    assert_int_equal(feed_log_find(history, mark), FEED_HERE);
    feed_log_read(history, &mark, SIZE_MAX, &records);
    struct slice rest = buffer_slice(&records);
    while (rest.size > 0) {
        struct feed_change change;
        assert_true(feed_take(&rest, &change));
        ret_counts[change.kind]++;
        last = change.kind;
    }
    buffer_deinit(&records);
    return last;
}

/* ---- one apply ---- */

static void test_more_than_the_limit_is_told(void **state)
{
    struct feed_log history;
    size_t counts[FEED_KINDS];
    begin(&history, LIMIT);
    step(&history, 1);
    set_many(&history, 10, 50);
    struct feed_mark mark = history.last;
    step(&history, 1);
    set_many(&history, 150, 50); /* of 79 bytes each: three limits */
    assert_int_equal(count_behind(&history, mark, counts), FEED_SET);
    assert_int_equal(counts[FEED_SET], 150);
    feed_log_deinit(&history);
    (void)state;
}

static void test_much_more_is_told_by_names(void **state)
{
    struct feed_log history;
    size_t counts[FEED_KINDS];
    begin(&history, LIMIT);
    struct feed_mark mark = history.last;
    step(&history, 1);
    set_many(&history, 400, 50);
    assert_int_equal(count_behind(&history, mark, counts), FEED_RELOAD);
    assert_int_equal(counts[FEED_SET], FEED_APPLY_FULL * LIMIT / 79);
    assert_int_equal(counts[FEED_SET] + counts[FEED_RELOAD], 400);
    mark = history.last;
    step(&history, 1);
    for (int i = 0; i < 1000; i++) { /* of one key: its name is told once */
        feed_log_field(&history, SLICE_LITERAL("hash"), slice_of(letters, 20), slice_of(letters, 20));
    }
    feed_log_expire(&history, SLICE_LITERAL("hash"), 1);
    feed_log_field_gone(&history, SLICE_LITERAL("hash"), slice_of(letters, 20));
    assert_int_equal(count_behind(&history, mark, counts), FEED_RELOAD);
    assert_in_range(counts[FEED_HSET], FEED_APPLY_FULL * LIMIT / 80, 1000);
    assert_in_range(counts[FEED_RELOAD], 1, 2); /* the expiry, which is shorter, may have found room */
    feed_log_deinit(&history);
    (void)state;
}

static void test_all_at_once_is_told_to_be_read(void **state)
{
    struct feed_log history;
    size_t counts[FEED_KINDS];
    begin(&history, LIMIT);
    struct feed_mark mark = history.last;
    step(&history, 1);
    set_many(&history, 5000, 50);
    feed_log_key(&history, FEED_FLUSH, (struct slice){0});
    assert_int_equal(count_behind(&history, mark, counts), FEED_STALE);
    assert_int_equal(counts[FEED_STALE], 1);
    assert_in_range(history.bytes, FEED_APPLY_FULL * LIMIT, FEED_APPLY_NAMES * LIMIT + FEED_HEAD_BYTES);
    step(&history, 1); /* the next one begins anew */
    mark = history.last;
    feed_log_key(&history, FEED_DEL, slice_of(letters, FEED_APPLY_NAMES * LIMIT)); /* a key that is too long for all */
    assert_int_equal(count_behind(&history, mark, counts), FEED_STALE);
    mark = history.last;
    step(&history, 1);
    set_many(&history, 1, 50);
    assert_int_equal(count_behind(&history, mark, counts), FEED_SET);
    feed_log_deinit(&history);
    (void)state;
}

static void test_what_is_undone_takes_no_room(void **state)
{
    struct feed_log history;
    size_t counts[FEED_KINDS];
    begin(&history, LIMIT);
    struct feed_mark mark = history.last;
    step(&history, 1);
    for (int i = 0; i < 3; i++) {
        feed_log_hold(&history);
        set_many(&history, 5000, 50);
        assert_true(history.stale);
        feed_log_release(&history, true);
        set_many(&history, 1, 50);
    }
    assert_int_equal(count_behind(&history, mark, counts), FEED_SET);
    assert_int_equal(counts[FEED_SET], 3);
    assert_int_equal(history.count, 3);
    feed_log_deinit(&history);
    (void)state;
}

/* ---- time ---- */

static void test_what_is_old_is_forgotten(void **state)
{
    struct feed_log history;
    begin(&history, LIMIT);
    step(&history, 1);
    set_many(&history, 150, 50);
    struct feed_mark mark = history.last;
    step(&history, FEED_YOUNG_MS - 2); /* noted at the beginning: nothing yet */
    assert_true(history.bytes > 2 * LIMIT);
    step(&history, 1); /* what is there is noted */
    assert_true(history.bytes > 2 * LIMIT);
    step(&history, FEED_YOUNG_MS - 1);
    assert_true(history.bytes > 2 * LIMIT);
    step(&history, 1);
    assert_in_range(history.bytes, LIMIT - 79, LIMIT);
    assert_int_equal(feed_log_find(&history, mark), FEED_HERE);
    feed_log_deinit(&history);
    (void)state;
}

static void test_many_in_a_short_time_are_bounded(void **state)
{
    struct feed_log history;
    begin(&history, LIMIT);
    struct feed_mark first = history.last;
    for (int i = 0; i < 1000; i++) {
        step(&history, 0);
        set_many(&history, 1, 50);
        assert_in_range(history.bytes, 0, FEED_BURST * LIMIT);
    }
    assert_int_equal(feed_log_find(&history, first), FEED_GONE);
    assert_in_range(history.bytes, FEED_BURST * LIMIT - 79, FEED_BURST * LIMIT);
    feed_log_deinit(&history);
    (void)state;
}

/* ---- every replica ---- */

static struct feed_log copy_of(struct feed_log *history)
{
    struct feed_log copy = {0};
    struct buffer records = {0};
    feed_log_snapshot_begin(history, &records);
    while (feed_log_snapshot_step(history, &records, 500)) {
    }
    feed_log_snapshot_end(history);
    struct slice rest = buffer_slice(&records);
    while (rest.size > 0) {
        uint64_t size;
        assert_true(varint_take(&rest, &size));
        assert_int_equal(feed_log_load(&copy, slice_of(rest.data, size), history->position), STATUS_OK);
        rest = slice_of(rest.data + size, rest.size - size);
    }
    buffer_deinit(&records);
    copy.position = history->position;
    copy.time_ms = history->time_ms;
    return copy;
}

static void change_at_random(struct prng *prng, struct feed_log *history)
{
    char text[16];
    struct slice key = key_of(text, sizeof(text), (int)prng_below(prng, 3));
    struct slice value = slice_of(letters, prng_below(prng, 200));
    switch (prng_below(prng, 6)) {
    case 0: feed_log_set(history, key, value); return;
    case 1: feed_log_field(history, key, SLICE_LITERAL("field"), value); return;
    case 2: feed_log_field_gone(history, key, value); return;
    case 3: feed_log_expire(history, key, 7); return;
    case 4: feed_log_key(history, FEED_DEL, key); return;
    default: feed_log_key(history, FEED_FLUSH, (struct slice){0}); return;
    }
}

static void apply_at_random(uint64_t seed, struct feed_log *history)
{
    struct prng prng;
    prng_seed(&prng, seed);
    step(history, (int64_t)prng_below(&prng, FEED_YOUNG_MS));
    if (prng_chance(&prng, 1, 10)) {
        feed_log_keep(history, FEED_LIMIT_MINIMUM_BYTES << prng_below(&prng, 3), KEPT_MS);
        return;
    }
    bool held = prng_chance(&prng, 1, 2);
    if (held) {
        feed_log_hold(history);
    }
    uint64_t count = prng_below(&prng, prng_chance(&prng, 1, 3) ? 1000 : 10);
    for (uint64_t i = 0; i < count; i++) {
        change_at_random(&prng, history);
    }
    if (held) {
        feed_log_release(history, prng_chance(&prng, 1, 3));
    }
}

/* One replica goes on by itself, the other one from a snapshot of the first now and then. In the first, a reader that
 * had read everything before an apply goes on. */
static void test_replicas_are_equal(void **state)
{
    struct prng prng;
    struct feed_log one;
    begin(&one, FEED_LIMIT_MINIMUM_BYTES);
    struct feed_log two = copy_of(&one);
    prng_seed(&prng, 3);
    size_t stale = 0;
    for (int i = 0; i < 3000; i++) {
        uint64_t seed = prng_next(&prng);
        struct feed_mark mark = one.last;
        apply_at_random(seed, &one);
        apply_at_random(seed, &two);
        assert_true(feed_log_digest(&one) == feed_log_digest(&two));
        assert_int_equal(feed_log_find(&one, mark), FEED_HERE);
        assert_in_range(one.bytes, 0, FEED_BURST * one.limit_bytes);
        stale += one.stale;
        if (prng_chance(&prng, 1, 10)) {
            feed_log_deinit(&two);
            two = copy_of(&one);
        }
    }
    assert_true(stale > 50);
    feed_log_deinit(&one);
    feed_log_deinit(&two);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_more_than_the_limit_is_told),
        cmocka_unit_test(test_much_more_is_told_by_names),
        cmocka_unit_test(test_all_at_once_is_told_to_be_read),
        cmocka_unit_test(test_what_is_undone_takes_no_room),
        cmocka_unit_test(test_what_is_old_is_forgotten),
        cmocka_unit_test(test_many_in_a_short_time_are_bounded),
        cmocka_unit_test(test_replicas_are_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
