/* What a journal takes back: random changes of strings and hashes, small and large, with expiries, renamed, copied and
 * removed, while a snapshot runs or not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/prng.h"
#include "base/varint.h"
#include "machine/keys/dump.h"
#include "machine/keys/keyspace.h"

enum { KEYS = 6, STEPS = 40, ROUNDS = 400, FAR = 1 << 30 };

static const struct keyspace_time now = {0, 0, 0, 0};

static struct slice key_of(uint64_t number, char *text)
{
    return slice_of(text, (size_t)snprintf(text, 8, "k%llu", (unsigned long long)number));
}

static struct slice value_of(struct prng *prng)
{
    static uint8_t bytes[40000];
    static const size_t sizes[] = {0, 3, 44, 60, 1000, 1025, 20000, 40000};
    size_t size = sizes[prng_below(prng, 8)];
    memset(bytes, (int)('a' + prng_below(prng, 26)), size);
    return slice_of(bytes, size);
}

static void fill_hash(struct keyspace *keyspace, struct entry *entry, struct prng *prng, size_t fields)
{
    for (size_t i = 0; i < fields; i++) {
        char name[16];
        size_t size = (size_t)snprintf(name, sizeof(name), "f%llu", (unsigned long long)prng_below(prng, 900));
        struct slice value = value_of(prng);
        value.size = value.size > 100 ? 100 : value.size;
        (void)entry_hash_set(keyspace, entry, slice_of(name, size), value);
    }
}

static void change_hash(struct keyspace *keyspace, struct entry *entry, struct prng *prng, uint64_t position)
{
    if (prng_chance(prng, 1, 2)) {
        fill_hash(keyspace, entry, prng, prng_chance(prng, 1, 4) ? 600 : 3);
    }
    for (int i = 0; i < 5 && entry_hash_size(entry) > 0; i++) {
        struct slice field, value;
        char name[64];
        entry_hash_random(entry, prng_next(prng), &field, &value);
        memcpy(name, field.data, field.size);
        (void)entry_hash_remove(keyspace, entry, slice_of(name, field.size));
    }
    if (entry_hash_size(entry) == 0) {
        keyspace_remove(keyspace, entry, position);
    } else {
        keyspace_changed(keyspace, entry, position);
    }
}

static void add(struct keyspace *keyspace, struct slice key, struct prng *prng, uint64_t position)
{
    struct entry *entry;
    if (prng_chance(prng, 1, 2)) {
        entry = keyspace_add_string(keyspace, key, value_of(prng));
    } else {
        entry = keyspace_add(keyspace, key, ENTRY_HASH);
        fill_hash(keyspace, entry, prng, prng_chance(prng, 1, 2) ? 700 : 4);
    }
    keyspace_changed(keyspace, entry, position);
}

static void move(struct keyspace *keyspace, struct entry *entry, struct prng *prng, uint64_t position)
{
    char text[8];
    struct slice to = key_of(prng_below(prng, KEYS), text);
    if (slice_equal(to, entry_key(entry))) {
        return;
    }
    struct entry *former = keyspace_edit(keyspace, &now, to);
    if (former != NULL) {
        keyspace_drop(keyspace, former);
    }
    if (prng_chance(prng, 1, 2)) {
        (void)keyspace_rename(keyspace, entry, to, position);
    } else {
        keyspace_changed(keyspace, keyspace_copy(keyspace, entry, to), position);
    }
}

static void change(struct keyspace *keyspace, struct prng *prng, uint64_t position)
{
    char text[8];
    struct slice key = key_of(prng_below(prng, KEYS), text);
    struct entry *entry = keyspace_edit(keyspace, &now, key);
    if (entry == NULL) {
        add(keyspace, key, prng, position);
        return;
    }
    uint8_t *bytes;
    switch (prng_below(prng, 6)) {
    case 0: keyspace_remove(keyspace, entry, position); return;
    case 1: move(keyspace, entry, prng, position); return;
    case 2: entry = entry_set_string(keyspace, entry, value_of(prng)); break;
    case 3:
        entry_set_due(keyspace, entry, (enum due_kind)prng_below(prng, 3), FAR + (int64_t)prng_below(prng, 9));
        break;
    default:
        if (entry_type(entry) == ENTRY_HASH) {
            change_hash(keyspace, entry, prng, position);
            return;
        }
        entry = entry_string_writable(keyspace, entry, 1 + prng_below(prng, 3000), &bytes);
        bytes[0]++;
    }
    keyspace_changed(keyspace, entry, position);
}

static bool add_field(void *owner, struct slice field, struct slice value)
{
    uint64_t *sum = owner;
    *sum += hash_bytes(hash_bytes(1, field.data, field.size), value.data, value.size);
    return true;
}

/* The value and expiry; of a hash in a table in no order. */
static void tell_entry(const struct entry *entry, struct buffer *out)
{
    if (entry_encoding(entry) != ENCODING_HASHTABLE) {
        entry_dump_here(entry, out);
        return;
    }
    int64_t due_ms = 0;
    uint64_t sum = 0;
    enum due_kind due_kind = entry_due(entry, &due_ms);
    entry_hash_each(entry, add_field, &sum);
    buffer_append_format(out, "%zu fields, %llx, due %d %lld", entry_hash_size(entry), (unsigned long long)sum,
                         (int)due_kind, (long long)due_ms);
}

/* Values and expiries of all keys. */
static void tell(const struct keyspace *keyspace, struct buffer *out)
{
    buffer_clear(out);
    for (uint64_t i = 0; i < KEYS; i++) {
        char text[8];
        const struct entry *entry = keyspace_find(keyspace, &now, key_of(i, text), NULL);
        buffer_append_byte(out, entry == NULL ? '-' : '+');
        if (entry != NULL) {
            tell_entry(entry, out);
        }
    }
}

static uint64_t load_and_digest(struct slice records, uint64_t seed)
{
    struct keyspace *keyspace = keyspace_create(seed);
    while (records.size > 0) {
        uint64_t size;
        assert_true(varint_take(&records, &size) && size <= records.size);
        assert_int_equal(keyspace_load_record(keyspace, slice_of(records.data, size)), STATUS_OK);
        records = slice_of(records.data + size, records.size - size);
    }
    uint64_t digest = keyspace_digest(keyspace);
    keyspace_destroy(keyspace);
    return digest;
}

struct round {
    struct prng prng;
    struct keyspace *one, *two; /* two has snapshots */
    struct buffer before, after, records;
    uint64_t position;
};

static void play(struct round *round, bool undo)
{
    struct prng prng = round->prng;
    uint64_t begun = keyspace_digest(round->two);
    uint64_t before_bytes = keyspace_memory_bytes(round->one);
    buffer_clear(&round->records);
    tell(round->one, &round->before);
    keyspace_snapshot_begin(round->two);
    (void)keyspace_snapshot_step(round->two, &round->records, prng_below(&round->prng, 3000));
    struct keyspace *both[] = {round->one, round->two};
    uint64_t position = ++round->position;
    for (int k = 0; k < 2; k++) {
        round->prng = prng;
        keyspace_journal_begin(both[k]);
        for (uint64_t i = 1 + prng_below(&round->prng, STEPS); i > 0; i--) {
            change(both[k], &round->prng, position);
        }
        keyspace_journal_end(both[k], undo, position);
    }
    assert_int_equal(keyspace_digest(round->one), keyspace_digest(round->two));
    while (keyspace_snapshot_step(round->two, &round->records, 5000)) {
    }
    keyspace_snapshot_end(round->two);
    assert_int_equal(load_and_digest(buffer_slice(&round->records), 7), begun);
    if (undo) {
        tell(round->one, &round->after);
        assert_true(slice_equal(buffer_slice(&round->before), buffer_slice(&round->after)));
        assert_int_equal(keyspace_memory_bytes(round->one), before_bytes);
    }
}

static void test_undo(void **state)
{
    struct round round = {.one = keyspace_create(7), .two = keyspace_create(7)};
    prng_seed(&round.prng, 1);
    for (int i = 0; i < ROUNDS; i++) {
        play(&round, i % 3 != 0);
    }
    keyspace_destroy(round.one);
    keyspace_destroy(round.two);
    buffer_deinit(&round.before);
    buffer_deinit(&round.after);
    buffer_deinit(&round.records);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_undo)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
