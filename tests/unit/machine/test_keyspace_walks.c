/* SCAN, HSCAN, random picks, and what is freed in steps. */
#include "base/prng.h"
#include "machine/keys/keyspace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SEED = 3, CONSTANT = 2000, PASSING = 30000 };

static const struct keyspace_time NOW = {0, 0, 0, 0};

static struct slice name_of(char *room, char kind, uint64_t number)
{
    return slice_of(room, (size_t)sprintf(room, "%c%llu", kind, (unsigned long long)number));
}

static void add(struct keyspace *keyspace, char kind, uint64_t number)
{
    char room[32];
    struct slice name = name_of(room, kind, number);
    if (keyspace_edit(keyspace, &NOW, name) == NULL) {
        struct entry *entry = keyspace_add(keyspace, name, ENTRY_STRING);
        keyspace_changed(keyspace, entry_set_string(keyspace, entry, name), 1);
    }
}

static void take(struct keyspace *keyspace, char kind, uint64_t number)
{
    char room[32];
    struct entry *entry = keyspace_edit(keyspace, &NOW, name_of(room, kind, number));
    if (entry != NULL) {
        keyspace_remove(keyspace, entry, 1);
    }
}

struct seen {
    uint8_t times[CONSTANT];
    size_t given;
};

static void see(struct seen *seen, struct slice name)
{
    seen->given++;
    if (name.data[0] == 'c') {
        seen->times[strtoul((const char *)name.data + 1, NULL, 10)]++;
    }
}

static void see_entry(void *owner, const struct entry *entry)
{
    char text[32] = {0};
    memcpy(text, entry_key(entry).data, entry_key(entry).size);
    see(owner, slice_from_string(text));
}

static void see_field(void *owner, struct slice field, struct slice value)
{
    char text[32] = {0};
    memcpy(text, field.data, field.size);
    see(owner, slice_from_string(text));
}

static void assert_each_once(const struct seen *seen)
{
    for (size_t i = 0; i < CONSTANT; i++) {
        assert_int_equal(seen->times[i], 1);
    }
}

/* Between two steps thousands of keys come or go, so that buckets before and behind the cursor split and join. */
static void test_scan_across_resizes(void **state)
{
    struct keyspace *keyspace = keyspace_create(SEED);
    struct prng prng;
    prng_seed(&prng, 1);
    for (uint64_t i = 0; i < CONSTANT; i++) {
        add(keyspace, 'c', i);
    }
    for (int round = 0; round < 4; round++) {
        struct seen seen = {0};
        uint64_t cursor = 0, steps = 0;
        do {
            cursor = keyspace_scan(keyspace, &NOW, cursor, 1 + prng_below(&prng, 200), see_entry, &seen);
            bool grow = (steps++ / 3 + (unsigned)round) % 2 == 0;
            for (uint64_t i = prng_below(&prng, PASSING); i > 0; i--) {
                (grow ? add : take)(keyspace, 'p', grow ? prng_below(&prng, PASSING) : i);
            }
        } while (cursor != 0);
        assert_each_once(&seen);
    }
    keyspace_destroy(keyspace);
}

static void test_hash_scan_across_resizes(void **state)
{
    struct keyspace *keyspace = keyspace_create(SEED);
    struct entry *entry = keyspace_add(keyspace, SLICE_LITERAL("hash"), ENTRY_HASH);
    struct prng prng;
    char room[32];
    prng_seed(&prng, 2);
    for (uint64_t i = 0; i < CONSTANT; i++) {
        assert_true(entry_hash_set(keyspace, entry, name_of(room, 'c', i), SLICE_LITERAL("v")));
    }
    struct seen seen = {0};
    uint64_t cursor = 0, steps = 0;
    do {
        cursor = entry_hash_scan(entry, cursor, 50, see_field, &seen);
        bool grow = steps++ / 3 % 2 == 0;
        for (uint64_t i = prng_below(&prng, PASSING / 2); i > 0; i--) {
            if (grow) {
                entry_hash_set(keyspace, entry, name_of(room, 'p', prng_below(&prng, PASSING)), SLICE_LITERAL("w"));
            } else {
                entry_hash_remove(keyspace, entry, name_of(room, 'p', i));
            }
        }
    } while (cursor != 0);
    assert_each_once(&seen);
    keyspace_changed(keyspace, entry, 1);
    keyspace_destroy(keyspace);
}

/* A walk goes on at another replica, whose table came about in another way. */
static void test_cursor_moves_to_a_replica(void **state)
{
    struct keyspace *replicas[2] = {keyspace_create(SEED), keyspace_create(SEED)};
    for (uint64_t i = 0; i < PASSING; i++) {
        add(replicas[1], 'p', i);
    }
    for (uint64_t i = 0; i < CONSTANT; i++) {
        add(replicas[0], 'c', i);
        add(replicas[1], 'c', CONSTANT - 1 - i);
    }
    for (uint64_t i = 0; i < PASSING; i++) {
        take(replicas[1], 'p', i);
    }
    struct seen seen = {0};
    uint64_t cursor = 0, steps = 0;
    do {
        cursor = keyspace_scan(replicas[steps++ % 2], &NOW, cursor, 10, see_entry, &seen);
    } while (cursor != 0);
    assert_each_once(&seen);
    assert_int_equal(seen.given, CONSTANT);
    keyspace_destroy(replicas[0]);
    keyspace_destroy(replicas[1]);
}

static void test_scan_with_any_cursor(void **state)
{
    struct keyspace *keyspace = keyspace_create(SEED);
    struct prng prng;
    prng_seed(&prng, 4);
    for (uint64_t i = 0; i < 1000; i++) {
        struct seen seen = {0};
        for (uint64_t cursor = prng_next(&prng); cursor != 0;) {
            cursor = keyspace_scan(keyspace, &NOW, cursor, 100, see_entry, &seen);
        }
        assert_true(seen.given <= keyspace_count(keyspace));
        add(keyspace, 'c', i);
    }
    keyspace_destroy(keyspace);
}

static void test_random_is_nearly_uniform(void **state)
{
    enum { KEYS = 777, DRAWS = KEYS * 400 };
    struct keyspace *keyspace = keyspace_create(SEED);
    struct entry *hash = keyspace_add(keyspace, SLICE_LITERAL("hash"), ENTRY_HASH);
    char room[32];
    for (uint64_t i = 0; i < KEYS; i++) {
        entry_hash_set(keyspace, hash, name_of(room, 'c', i), SLICE_LITERAL("v"));
    }
    struct entry *table = keyspace_rename(keyspace, hash, SLICE_LITERAL("h"), 1);
    uint32_t *times = calloc(KEYS, sizeof(*times));
    for (uint64_t i = 0; i < DRAWS; i++) {
        struct slice field, value;
        entry_hash_random(table, i * 0x9e3779b97f4a7c15ULL, &field, &value);
        char text[32] = {0};
        memcpy(text, field.data, field.size);
        times[strtoul(text + 1, NULL, 10)]++;
    }
    for (uint64_t i = 0; i < KEYS; i++) { /* 400 ± 6 standard deviations, and a little for long chains */
        assert_in_range(times[i], 270, 530);
    }
    free(times);
    keyspace_destroy(keyspace);
}

static void test_random_of_a_small_hash(void **state)
{
    struct keyspace *keyspace = keyspace_create(SEED);
    struct entry *entry = keyspace_add(keyspace, SLICE_LITERAL("hash"), ENTRY_HASH);
    unsigned seen = 0;
    char room[32];
    for (uint64_t i = 0; i < 5; i++) {
        entry_hash_set(keyspace, entry, name_of(room, '0', i), SLICE_LITERAL("v"));
    }
    for (uint64_t i = 0; i < 50; i++) {
        struct slice field, value;
        entry_hash_random(entry, i, &field, &value);
        assert_true(field.size == 2 && slice_equal(value, SLICE_LITERAL("v")));
        seen |= 1U << (field.data[1] - '0');
    }
    assert_int_equal(seen, 0x1f);
    keyspace_destroy(keyspace);
}

/* Asking for memory ahead is harmless for any key, in any state of the table. */
static void test_prefetch(void **state)
{
    struct keyspace *keyspace = keyspace_create(SEED);
    for (uint64_t i = 0; i < 5000; i++) {
        char room[32];
        uint64_t hash = keyspace_hash(keyspace, name_of(room, 'c', i * 7 % 6000));
        keyspace_prefetch_bucket(keyspace, hash);
        keyspace_prefetch_entry(keyspace, hash);
        (i < 3000 ? add : take)(keyspace, 'c', i % 3000);
    }
    keyspace_destroy(keyspace);
}

static void test_random_finds_the_one_that_lives(void **state)
{
    struct keyspace *keyspace = keyspace_create(SEED);
    struct keyspace_time time = {10, 10, 10, 10};
    char room[32];
    for (uint64_t i = 0; i < 200; i++) {
        add(keyspace, 'p', i);
        entry_set_due(keyspace, keyspace_edit(keyspace, &NOW, name_of(room, 'p', i)), DUE_TIME, 5);
    }
    assert_null(keyspace_random(keyspace, &time, 1));
    add(keyspace, 'c', 1);
    for (uint64_t i = 0; i < 100; i++) {
        const struct entry *entry = keyspace_random(keyspace, &time, i);
        assert_true(entry != NULL && entry_key(entry).data[0] == 'c');
    }
    keyspace_destroy(keyspace);
}

static void test_clear_is_at_once(void **state)
{
    struct keyspace *keyspace = keyspace_create(SEED);
    char room[32];
    for (uint64_t i = 0; i < 20000; i++) {
        add(keyspace, 'p', i);
    }
    struct entry *hash = keyspace_add(keyspace, SLICE_LITERAL("hash"), ENTRY_HASH);
    for (uint64_t i = 0; i < 20000; i++) {
        entry_hash_set(keyspace, hash, name_of(room, 'c', i), SLICE_LITERAL("v"));
    }
    keyspace_changed(keyspace, hash, 2);
    uint64_t absent = keyspace_version(keyspace, &NOW, SLICE_LITERAL("absent"));
    keyspace_clear(keyspace, 3);
    assert_int_equal(keyspace_count(keyspace), 0);
    assert_int_equal(keyspace_memory_bytes(keyspace), 0);
    assert_null(keyspace_find(keyspace, &NOW, SLICE_LITERAL("p7"), NULL));
    assert_int_equal(keyspace_version(keyspace, &NOW, SLICE_LITERAL("p7")), 3);
    assert_true(keyspace_version(keyspace, &NOW, SLICE_LITERAL("absent")) >= absent);
    int steps = 0;
    while (keyspace_work(keyspace)) {
        steps++;
    }
    assert_in_range(steps, 100, 2000); /* neither all at once nor without end */
    keyspace_destroy(keyspace);
}

/* A clear of few keys is seen by those who watch them, not by who watches a key that was not there. */
static void test_clear_of_few_leaves_single_traces(void **state)
{
    struct keyspace *keyspace = keyspace_create(SEED);
    add(keyspace, 'c', 1);
    keyspace_clear(keyspace, 9);
    assert_int_equal(keyspace_version(keyspace, &NOW, SLICE_LITERAL("c1")), 9);
    assert_int_equal(keyspace_version(keyspace, &NOW, SLICE_LITERAL("c2")), 0);
    keyspace_destroy(keyspace);
}

static void test_due_by_the_present(void **state)
{
    struct keyspace *keyspace = keyspace_create(SEED);
    add(keyspace, 'c', 1);
    entry_set_due(keyspace, keyspace_edit(keyspace, &NOW, SLICE_LITERAL("c1")), DUE_WALL, 100);
    struct keyspace_time time = {.present_wall_ms = 99};
    bool must_log = false;
    assert_non_null(keyspace_find(keyspace, &time, SLICE_LITERAL("c1"), &must_log));
    assert_false(must_log);
    time.present_wall_ms = 100;
    assert_null(keyspace_find(keyspace, &time, SLICE_LITERAL("c1"), &must_log));
    assert_true(must_log);
    must_log = false;
    time.applied_wall_ms = 100;
    assert_null(keyspace_find(keyspace, &time, SLICE_LITERAL("c1"), &must_log));
    assert_false(must_log);
    assert_int_equal(keyspace_count(keyspace), 1);
    keyspace_destroy(keyspace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scan_across_resizes),
        cmocka_unit_test(test_hash_scan_across_resizes),
        cmocka_unit_test(test_cursor_moves_to_a_replica),
        cmocka_unit_test(test_scan_with_any_cursor),
        cmocka_unit_test(test_random_is_nearly_uniform),
        cmocka_unit_test(test_random_of_a_small_hash),
        cmocka_unit_test(test_prefetch),
        cmocka_unit_test(test_random_finds_the_one_that_lives),
        cmocka_unit_test(test_clear_is_at_once),
        cmocka_unit_test(test_clear_of_few_leaves_single_traces),
        cmocka_unit_test(test_due_by_the_present),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
