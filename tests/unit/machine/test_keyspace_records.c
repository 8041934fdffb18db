/* Snapshot records: what no snapshot made is refused, and nothing breaks whatever the bytes. */
#include "base/buffer.h"
#include "base/prng.h"
#include "base/varint.h"
#include "machine/keys/keyspace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SEED = 5, RECORDS = 64 };

struct sample {
    struct buffer bytes;
    struct slice records[RECORDS];
    size_t count;
    uint64_t digest;
};

static void add_string(struct keyspace *keyspace, struct slice key, size_t size)
{
    uint8_t *bytes;
    struct entry *entry = keyspace_add(keyspace, key, ENTRY_STRING);
    entry = entry_string_writable(keyspace, entry, size, &bytes);
    memset(bytes, 'x', size);
    keyspace_changed(keyspace, entry, size + 1);
}

static void add_hash(struct keyspace *keyspace, struct slice key, int fields)
{
    struct entry *entry = keyspace_add(keyspace, key, ENTRY_HASH);
    for (int i = 0; i < fields; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "field%d", i);
        entry_hash_set(keyspace, entry, slice_from_string(name), slice_from_string(name + 5));
    }
    keyspace_changed(keyspace, entry, 77);
}

/* One of each kind of record. */
static void sample_make(struct sample *sample)
{
    struct keyspace *keyspace = keyspace_create(SEED);
    *sample = (struct sample){0};
    struct entry *number = keyspace_add(keyspace, SLICE_LITERAL("number"), ENTRY_STRING);
    keyspace_changed(keyspace, entry_set_integer(keyspace, number, -5), 3);
    struct entry *text = keyspace_add(keyspace, SLICE_LITERAL("text"), ENTRY_STRING);
    text = entry_set_string(keyspace, text, SLICE_LITERAL("some text"));
    entry_set_due(keyspace, text, DUE_WALL, -123456789);
    keyspace_changed(keyspace, text, 4);
    add_string(keyspace, SLICE_LITERAL("gone"), 10);
    keyspace_remove(keyspace, keyspace_edit(keyspace, &(struct keyspace_time){0}, SLICE_LITERAL("gone")), 1000);
    add_string(keyspace, SLICE_LITERAL(""), 100);
    add_string(keyspace, SLICE_LITERAL("long"), 5000);
    add_string(keyspace, SLICE_LITERAL("longest"), 150000);
    add_hash(keyspace, SLICE_LITERAL("packed"), 10);
    add_hash(keyspace, SLICE_LITERAL("table"), 600);
    sample->digest = keyspace_digest(keyspace);
    keyspace_snapshot_begin(keyspace);
    while (keyspace_snapshot_step(keyspace, &sample->bytes, 1000)) {
    }
    keyspace_destroy(keyspace); /* with the snapshot still open */
    struct slice rest = buffer_slice(&sample->bytes);
    while (rest.size > 0) {
        uint64_t size;
        assert_true(varint_take(&rest, &size) && size <= rest.size && sample->count < RECORDS);
        sample->records[sample->count++] = slice_of(rest.data, size);
        rest = slice_of(rest.data + size, rest.size - size);
    }
}

static size_t load_all(struct keyspace *keyspace, const struct sample *sample)
{
    for (size_t i = 0; i < sample->count; i++) {
        if (keyspace_load_record(keyspace, sample->records[i]) != STATUS_OK) {
            return i;
        }
    }
    return sample->count;
}

static void test_all_kinds(void **state)
{
    struct sample sample;
    sample_make(&sample);
    struct keyspace *keyspace = keyspace_create(SEED);
    assert_int_equal(load_all(keyspace, &sample), sample.count);
    assert_true(keyspace_digest(keyspace) == sample.digest);
    uint32_t kinds = 0;
    for (size_t i = 0; i < sample.count; i++) {
        kinds |= 1U << sample.records[i].data[0];
    }
    assert_int_equal(kinds, 0xfe); /* 1 to 7 */
    keyspace_destroy(keyspace);
    buffer_deinit(&sample.bytes);
}

/* Each record a second time, at once or after all. */
static void test_repeated(void **state)
{
    struct sample sample;
    sample_make(&sample);
    struct keyspace *keyspace = keyspace_create(SEED);
    for (size_t i = 0; i < sample.count; i++) {
        assert_int_equal(keyspace_load_record(keyspace, sample.records[i]), STATUS_OK);
        for (size_t j = 0; j <= i; j++) {
            assert_int_equal(keyspace_load_record(keyspace, sample.records[j]), STATUS_CORRUPT);
        }
    }
    assert_true(keyspace_digest(keyspace) == sample.digest);
    keyspace_destroy(keyspace);
    buffer_deinit(&sample.bytes);
}

/* Without any one of its records the last is refused, and so are pieces without their head. */
static void test_missing(void **state)
{
    struct sample sample;
    sample_make(&sample);
    for (size_t missing = 0; missing < sample.count; missing++) {
        struct keyspace *keyspace = keyspace_create(SEED);
        enum status last = STATUS_OK;
        for (size_t i = 0; i < sample.count; i++) {
            if (i != missing) {
                last = keyspace_load_record(keyspace, sample.records[i]);
            }
        }
        bool traces = sample.records[missing].data[0] == 6; /* nothing counts them */
        assert_true(last == STATUS_CORRUPT || traces || missing == sample.count - 1);
        keyspace_destroy(keyspace);
    }
    buffer_deinit(&sample.bytes);
}

/* Damaged bytes after good ones: taken or refused, the keyspace stays sound. */
static void load_damaged(const struct sample *sample, size_t at, struct slice damaged)
{
    struct keyspace *keyspace = keyspace_create(SEED);
    for (size_t i = 0; i < sample->count; i++) {
        /* an exact copy, so that a sanitizer sees a byte too far */
        struct slice record = i == at ? damaged : sample->records[i];
        uint8_t *copy = malloc(record.size + (record.size == 0));
        memcpy(copy, record.data, record.size);
        enum status status = keyspace_load_record(keyspace, slice_of(copy, record.size));
        assert_true(status == STATUS_OK || status == STATUS_CORRUPT || status == STATUS_VERSION);
        free(copy);
    }
    (void)keyspace_digest(keyspace);
    keyspace_destroy(keyspace);
}

static void test_truncated(void **state)
{
    struct sample sample;
    sample_make(&sample);
    for (size_t i = 0; i < sample.count; i++) {
        for (size_t size = 0; size < sample.records[i].size; size += size < 60 ? 1 : 997) {
            load_damaged(&sample, i, slice_of(sample.records[i].data, size));
        }
    }
    buffer_deinit(&sample.bytes);
}

static void test_flipped_bits(void **state)
{
    struct sample sample;
    sample_make(&sample);
    struct prng prng;
    prng_seed(&prng, 9);
    for (int i = 0; i < 3000; i++) {
        size_t at = prng_below(&prng, sample.count);
        struct slice record = sample.records[at];
        uint8_t *damaged = malloc(record.size);
        memcpy(damaged, record.data, record.size);
        size_t reach = prng_chance(&prng, 3, 4) && record.size > 24 ? 24 : record.size;
        for (uint64_t flips = 1 + prng_below(&prng, 3); flips > 0; flips--) {
            damaged[prng_below(&prng, reach)] ^= (uint8_t)(1U << prng_below(&prng, 8));
        }
        load_damaged(&sample, at, slice_of(damaged, record.size));
        free(damaged);
    }
    buffer_deinit(&sample.bytes);
}

static void assert_refused(const char *bytes, size_t size, enum status expected)
{
    struct keyspace *keyspace = keyspace_create(SEED);
    assert_int_equal(keyspace_load_record(keyspace, slice_of(bytes, size)), expected);
    assert_int_equal(keyspace_count(keyspace), 0);
    keyspace_destroy(keyspace);
}

#define REFUSED(bytes) assert_refused(bytes, sizeof(bytes) - 1, STATUS_CORRUPT)

static void test_impossible(void **state)
{
    REFUSED("");
    REFUSED("\0");
    assert_refused("\x08", 1, STATUS_VERSION);
    assert_refused("\x1f", 1, STATUS_VERSION);
    REFUSED("\x01\x05\x01\x01k");                 /* no such encoding */
    REFUSED("\x01\x41\x01\0\0\0\0\0\0\0\0\x01k"); /* no such due kind */
    REFUSED("\x01\x01\0\x01kv");                  /* version 0 */
    REFUSED("\x01\x01\x01\x05kv");                /* key longer than the record */
    REFUSED("\x01\x11\x01\x01k");                 /* due cut off */
    REFUSED("\x01\0\x01\x01k1234567");            /* an integer of seven bytes */
    REFUSED("\x01\x03\x01\x01k");                 /* a listpack without fields */
    REFUSED("\x01\x03\x01\x01k\x01"
            "a\x01"); /* cut off */
    REFUSED("\x01\x03\x01\x01k\x01"
            "a\0\x01"
            "a\0");                   /* a field twice */
    REFUSED("\x01\x04\x01\x01k");     /* hashtable in an entry record */
    REFUSED("\x02\x02\x01\x01k\x05"); /* a large string that is none */
    REFUSED("\x04\x04\x01\x01k\0");   /* a hash without fields */
    REFUSED("\x04\x03\x01\x01k\x05"); /* not a hashtable */
    REFUSED("\x03\x01k\0abc");        /* a piece of nothing */
    REFUSED("\x05\x01k\x01"
            "a\x01"
            "b");                    /* a field of nothing */
    REFUSED("\x06\x80\x80\x01\x01"); /* trace 16384 */
    REFUSED("\x06\0\0");             /* trace at position 0 */
    REFUSED("\x07\x01\0");           /* a key that is not there */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_kinds), cmocka_unit_test(test_repeated),     cmocka_unit_test(test_missing),
        cmocka_unit_test(test_truncated), cmocka_unit_test(test_flipped_bits), cmocka_unit_test(test_impossible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
