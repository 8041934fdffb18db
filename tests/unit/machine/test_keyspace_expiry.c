/* The order of expiry, and tables and heaps that grow large and small again. */
#include "base/prng.h"
#include "keyspace_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { KEYS = 5000, DUES = 300 };

static const struct keyspace_time NOW = {0, 0, 0, 0};

struct due_key {
    char name[16];
    enum due_kind kind;
    int64_t due_ms;
};

static int due_order(const void *a, const void *b)
{
    const struct due_key *x = a, *y = b;
    if (x->due_ms != y->due_ms) {
        return x->due_ms < y->due_ms ? -1 : 1;
    }
    if (x->kind != y->kind) {
        return x->kind < y->kind ? -1 : 1;
    }
    return strcmp(x->name, y->name);
}

static struct entry *edit(struct keyspace *keyspace, const char *name)
{
    return keyspace_edit(keyspace, &NOW, slice_from_string(name));
}

static void add(struct keyspace *keyspace, const char *name)
{
    struct entry *entry = keyspace_add(keyspace, slice_from_string(name), ENTRY_STRING);
    keyspace_changed(keyspace, entry, 1);
}

/* Many ties in time and between the kinds; keys get another expiry, lose theirs, or go. */
static void test_order(void **state)
{
    struct keyspace *keyspace = keyspace_create(1);
    struct due_key *keys = calloc(KEYS, sizeof(*keys));
    struct prng prng;
    prng_seed(&prng, 1);
    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(keys[i].name, sizeof(keys[i].name), "k%d", i);
        add(keyspace, keys[i].name);
    }
    for (int i = 0; i < 8 * KEYS; i++) {
        struct due_key *key = &keys[prng_below(&prng, KEYS)];
        key->kind = (enum due_kind)prng_below(&prng, 3);
        key->due_ms = 1 + (int64_t)prng_below(&prng, DUES);
        entry_set_due(keyspace, edit(keyspace, key->name), key->kind, key->due_ms);
    }
    qsort(keys, KEYS, sizeof(*keys), due_order);
    const struct keyspace_time later = {DUES / 2, DUES, DUES / 2, DUES};
    for (int i = 0; i < KEYS; i++) {
        bool due = keys[i].kind == DUE_WALL || (keys[i].kind == DUE_TIME && keys[i].due_ms <= DUES / 2);
        if (due) {
            assert_non_null(edit(keyspace, keys[i].name));
            assert_int_equal(keyspace_expire(keyspace, &later, 1, 2), 1);
            assert_null(edit(keyspace, keys[i].name));
        }
    }
    assert_int_equal(keyspace_expire(keyspace, &later, 1, 2), 0);
    int64_t time_ms, wall_ms;
    keyspace_next_due(keyspace, &time_ms, &wall_ms);
    assert_int_equal(time_ms, DUES / 2 + 1);
    assert_int_equal(wall_ms, INT64_MAX);
    free(keys);
    keyspace_destroy(keyspace);
}

static void test_limit(void **state)
{
    struct keyspace *keyspace = keyspace_create(1);
    const struct keyspace_time later = {10, 10, 10, 10};
    char name[16];
    for (int i = 0; i < 300; i++) {
        (void)snprintf(name, sizeof(name), "k%d", i);
        add(keyspace, name);
        entry_set_due(keyspace, edit(keyspace, name), DUE_TIME, 10);
    }
    assert_int_equal(keyspace_expire(keyspace, &NOW, 128, 2), 0);
    assert_int_equal(keyspace_expire(keyspace, &later, 128, 2), 128);
    assert_int_equal(keyspace_expire(keyspace, &later, 128, 3), 128);
    assert_int_equal(keyspace_expire(keyspace, &later, 128, 4), 44);
    assert_int_equal(keyspace_count(keyspace), 0);
    assert_int_equal(keyspace_expired(keyspace), 300);
    assert_int_equal(keyspace_memory_bytes(keyspace), 0);
    keyspace_destroy(keyspace);
}

/* From nothing to thousands of buckets and back, several times: nothing gets lost on the way. */
static void test_growing_and_shrinking(void **state)
{
    enum { LARGE = 40000 };
    struct keyspace *keyspace = keyspace_create(1);
    char name[16];
    for (int round = 0, low = 50; round < 3; round++, low /= 7) {
        for (int i = 0; i < LARGE; i++) {
            (void)snprintf(name, sizeof(name), "k%d", i);
            if (edit(keyspace, name) == NULL) {
                add(keyspace, name);
            }
        }
        for (int i = low; i < LARGE; i++) {
            (void)snprintf(name, sizeof(name), "k%d", i);
            assert_non_null(edit(keyspace, name));
            keyspace_remove(keyspace, edit(keyspace, name), 2);
        }
        assert_int_equal(keyspace_count(keyspace), low);
        for (int i = 0; i < LARGE; i++) {
            (void)snprintf(name, sizeof(name), "k%d", i);
            assert_true((edit(keyspace, name) != NULL) == (i < low));
        }
    }
    keyspace_destroy(keyspace);
}

/* Writes alone free what a clear left behind, tables and heaps. */
static void test_writes_free_what_was_cleared(void **state)
{
    struct keyspace *keyspace = keyspace_create(1);
    char name[16];
    for (int i = 0; i < 2 * KEYS; i++) {
        (void)snprintf(name, sizeof(name), "k%d", i);
        add(keyspace, name);
        entry_set_due(keyspace, edit(keyspace, name), i % 2 == 0 ? DUE_TIME : DUE_WALL, i);
    }
    keyspace_clear(keyspace, 2);
    assert_int_equal(keyspace_count_with_expiry(keyspace), 0);
    add(keyspace, "k");
    for (int i = 0; i < KEYS; i++) {
        keyspace_changed(keyspace, entry_set_integer(keyspace, edit(keyspace, "k"), i), 3);
    }
    assert_false(keyspace_work(keyspace));
    keyspace_destroy(keyspace);
}

/* A string of several MiB on its way into a snapshot is overwritten, and replaced. */
static void test_snapshot_of_a_very_large_string(void **state)
{
    enum { SIZE = 5 << 20 };
    for (int way = 0; way < 4; way++) {
        struct keyspace *keyspace = keyspace_create(MODEL_SEED);
        add(keyspace, "large");
        uint8_t *bytes;
        struct entry *entry = entry_string_writable(keyspace, edit(keyspace, "large"), SIZE, &bytes);
        for (int i = 0; i < SIZE; i++) {
            bytes[i] = (uint8_t)(i % 251);
        }
        keyspace_changed(keyspace, entry, 2);
        uint64_t digest = keyspace_digest(keyspace);
        struct buffer records;
        buffer_init(&records);
        keyspace_snapshot_begin(keyspace);
        for (int step = 0; keyspace_snapshot_step(keyspace, &records, 500000); step++) {
            assert_in_range(records.size, 0, (size_t)(step + 1) * 600000);
            if (step == 2 && way == 1) {
                entry = entry_string_writable(keyspace, edit(keyspace, "large"), SIZE + 1, &bytes);
                memset(bytes, 'x', SIZE);
                keyspace_changed(keyspace, entry, 3);
            } else if (step == 2 && way == 2) {
                entry = entry_set_string(keyspace, edit(keyspace, "large"), SLICE_LITERAL("small"));
                keyspace_changed(keyspace, entry, 3);
            } else if (step == 2 && way == 3) {
                keyspace_clear(keyspace, 3);
            }
        }
        keyspace_snapshot_end(keyspace);
        struct keyspace *loaded = load_records(MODEL_SEED, buffer_slice(&records));
        assert_true(keyspace_digest(loaded) == digest);
        keyspace_destroy(loaded);
        buffer_deinit(&records);
        keyspace_destroy(keyspace);
    }
}

/* One trace for all keys, after a clear of many, is part of the snapshot. */
static void test_clear_of_many_and_snapshot(void **state)
{
    struct keyspace *keyspace = keyspace_create(MODEL_SEED);
    char name[16];
    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(name, sizeof(name), "k%d", i);
        add(keyspace, name);
    }
    keyspace_clear(keyspace, 7);
    assert_int_equal(keyspace_version(keyspace, &NOW, SLICE_LITERAL("never there")), 7);
    struct buffer records;
    buffer_init(&records);
    uint64_t digest = keyspace_digest(keyspace);
    keyspace_snapshot_begin(keyspace);
    keyspace_clear(keyspace, 8);
    while (keyspace_snapshot_step(keyspace, &records, 100)) {
    }
    keyspace_snapshot_end(keyspace);
    struct keyspace *loaded = load_records(MODEL_SEED, buffer_slice(&records));
    assert_true(keyspace_digest(loaded) == digest);
    assert_int_equal(keyspace_version(loaded, &NOW, SLICE_LITERAL("never there")), 7);
    keyspace_destroy(loaded);
    buffer_deinit(&records);
    keyspace_destroy(keyspace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_growing_and_shrinking),
        cmocka_unit_test(test_writes_free_what_was_cleared),
        cmocka_unit_test(test_snapshot_of_a_very_large_string),
        cmocka_unit_test(test_clear_of_many_and_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
