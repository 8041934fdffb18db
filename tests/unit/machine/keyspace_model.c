#include "keyspace_model.h"

#include "base/assert.h"
#include "base/number.h"
#include "base/varint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct keyspace *load_records(uint64_t seed, struct slice records)
{
    struct keyspace *keyspace = keyspace_create(seed);
    while (records.size > 0) {
        uint64_t size;
        assert_true(varint_take(&records, &size) && size <= records.size);
        assert_int_equal(keyspace_load_record(keyspace, slice_of(records.data, size)), STATUS_OK);
        records = slice_of(records.data + size, records.size - size);
    }
    return keyspace;
}

struct model *model_create(uint64_t seed)
{
    struct model *model = calloc(1, sizeof(*model));
    ASSERT(model != NULL);
    model->keyspace = keyspace_create(MODEL_SEED);
    prng_seed(&model->prng, seed);
    model->time = (struct keyspace_time){1000, 500000, 1000, 500000};
    model->position = 1 << 16;
    for (int i = 0; i < MODEL_KEYS; i++) { /* number 0 is the empty key; some hold zero bytes */
        struct model_key *key = &model->keys[i];
        key->name_size = i == 0 ? 0 : (size_t)snprintf(key->name, sizeof(key->name), "%*d", 1 + i % 36, i);
        if (i % 5 == 0 && i > 0) {
            key->name[0] = '\0';
        }
    }
    return model;
}

void model_destroy(struct model *model)
{
    keyspace_destroy(model->keyspace);
    for (int i = 0; i < MODEL_KEYS; i++) {
        buffer_deinit(&model->keys[i].string);
    }
    buffer_deinit(&model->records);
    free(model);
}

/* ---- the model ---- */

static uint64_t below(struct model *model, uint64_t bound) { return prng_below(&model->prng, bound); }

static struct slice key_name(const struct model_key *key) { return slice_of(key->name, key->name_size); }

static bool key_due(const struct model *model, const struct model_key *key)
{
    return (key->due_kind == DUE_TIME && key->due_ms <= model->time.applied_time_ms) ||
           (key->due_kind == DUE_WALL && key->due_ms <= model->time.applied_wall_ms);
}

static bool key_live(const struct model *model, const struct model_key *key)
{
    return key->present && !key_due(model, key);
}

/* Removing a key that is due already is no change that anybody could see. */
static void key_drop(const struct model *model, struct model_key *key)
{
    key->changed |= key_live(model, key);
    key->present = false;
    key->due_kind = DUE_NEVER;
    buffer_clear(&key->string);
    memset(key->fields, 0, sizeof(key->fields));
    key->field_count = 0;
}

static void key_changed(struct model *model, struct model_key *key, struct entry *entry)
{
    keyspace_changed(model->keyspace, entry, model->position);
    key->version = model->position;
    key->changed = true;
}

/* The entry for a change, made when it is not there. */
static struct entry *key_open(struct model *model, struct model_key *key, enum entry_type type)
{
    struct entry *entry = keyspace_edit(model->keyspace, &model->time, key_name(key));
    if (!key_live(model, key)) {
        assert_null(entry);
        key_drop(model, key);
        entry = keyspace_add(model->keyspace, key_name(key), type);
        key->present = true;
        key->type = type;
        key->encoding = type == ENTRY_HASH ? ENCODING_LISTPACK : ENCODING_EMBSTR;
    }
    assert_non_null(entry);
    return entry;
}

static struct model_key *any_key(struct model *model) { return &model->keys[below(model, MODEL_KEYS)]; }

/* ---- operations ---- */

static size_t string_size(struct model *model, bool large)
{
    static const size_t limits[] = {8, 44, 46, 200, 1030, 1030, 3000, 20000};
    uint64_t which = below(model, large ? 40 : 36);
    return below(model, which >= 36 ? 300000 : which >= 35 ? 70000 : limits[which % 8]);
}

static void random_bytes(struct model *model, struct buffer *out, size_t size)
{
    buffer_clear(out);
    uint8_t *at = buffer_reserve(out, size + 8);
    for (size_t i = 0; i < size; i += 8) {
        put_u64(at + i, prng_next(&model->prng) | 0x80); /* never a number */
    }
    out->size = size;
}

static void operate_add(struct model *model, struct model_key *key, bool large)
{
    assert_null(keyspace_edit(model->keyspace, &model->time, key_name(key)));
    key_drop(model, key);
    random_bytes(model, &key->string, string_size(model, large));
    key->present = true;
    key->type = ENTRY_STRING;
    key->encoding = key->string.size <= 44 ? ENCODING_EMBSTR : ENCODING_RAW;
    key_changed(model, key, keyspace_add_string(model->keyspace, key_name(key), buffer_slice(&key->string)));
}

static void operate_set(struct model *model, bool large)
{
    struct model_key *key = any_key(model);
    if (!key_live(model, key) && below(model, 2) == 0) {
        operate_add(model, key, large);
        return;
    }
    struct entry *entry = key_open(model, key, ENTRY_STRING);
    enum due_kind due_kind = key->due_kind;
    key_drop(model, key);
    key->present = true;
    key->due_kind = due_kind;
    key->type = ENTRY_STRING;
    if (below(model, 4) == 0) {
        char digits[NUMBER_INT64_BYTES];
        int64_t number = (int64_t)prng_next(&model->prng) >> below(model, 64);
        buffer_append(&key->string, digits, number_format_int64(digits, number));
        if (below(model, 3) == 0) {
            entry = entry_set_text(model->keyspace, entry, buffer_slice(&key->string));
            key->encoding = ENCODING_EMBSTR;
        } else {
            entry = below(model, 2) == 0 ? entry_set_integer(model->keyspace, entry, number)
                                         : entry_set_string(model->keyspace, entry, buffer_slice(&key->string));
            key->encoding = ENCODING_INT;
        }
    } else {
        random_bytes(model, &key->string, string_size(model, large));
        entry = entry_set_string(model->keyspace, entry, buffer_slice(&key->string));
        key->encoding = key->string.size <= 44 ? ENCODING_EMBSTR : ENCODING_RAW;
    }
    key_changed(model, key, entry);
}

/* APPEND and SETRANGE: bytes written at some place in or past the end. */
static void operate_write(struct model *model, bool large)
{
    struct model_key *key = any_key(model);
    if (key_live(model, key) && key->type != ENTRY_STRING) {
        return;
    }
    struct entry *entry = key_open(model, key, ENTRY_STRING);
    struct buffer bytes = {0};
    random_bytes(model, &bytes, string_size(model, large && below(model, 4) == 0));
    size_t offset = below(model, 2) == 0 ? key->string.size : below(model, key->string.size + 20);
    size_t size = offset + bytes.size > key->string.size ? offset + bytes.size : key->string.size;
    if (size < 600000) {
        uint8_t *at;
        entry = entry_string_writable(model->keyspace, entry, size, &at);
        memcpy(at + offset, bytes.data, bytes.size);
        size_t before = key->string.size;
        buffer_reserve(&key->string, size + 1);
        uint8_t *mine = key->string.data;
        memset(mine + before, 0, size - before);
        memcpy(mine + offset, bytes.data, bytes.size);
        key->string.size = size;
        key->encoding = ENCODING_RAW;
    }
    buffer_deinit(&bytes);
    key_changed(model, key, entry);
}

static struct slice field_name_of(size_t index, char *room)
{
    return slice_of(room, (size_t)sprintf(room, "f%0*zu", index % 97 == 96 ? 70 : 1, index));
}

static struct slice field_value_of(uint32_t code, char *room)
{
    size_t size = code % 50 == 0 ? code % 230 : code % 64;
    memset(room, (int)(code & 0xff), size);
    return slice_of(room, size);
}

static void operate_hash_set(struct model *model, struct model_key *key, struct entry *entry)
{
    char name_room[100], value_room[256];
    size_t span = below(model, 4) == 0 ? MODEL_FIELDS : 20;
    for (uint64_t i = below(model, below(model, 10) == 0 ? 300 : 6) + 1; i > 0; i--) {
        size_t field = below(model, span);
        uint32_t code = (uint32_t)below(model, 1 << 20) + 1;
        struct slice name = field_name_of(field, name_room), value = field_value_of(code, value_room);
        bool added = key->fields[field] == 0;
        assert_true(entry_hash_set(model->keyspace, entry, name, value) == added);
        key->fields[field] = code;
        key->field_count += added;
        if (name.size > 64 || value.size > 64 || key->field_count > 512) {
            key->encoding = ENCODING_HASHTABLE;
        }
    }
    key_changed(model, key, entry);
}

static void operate_hash_remove(struct model *model, struct model_key *key, struct entry *entry)
{
    char name_room[100];
    bool any = false;
    for (uint64_t i = below(model, below(model, 8) == 0 ? 1000 : 5); i > 0 && key->field_count > 0; i--) {
        size_t field = below(model, MODEL_FIELDS);
        bool there = key->fields[field] != 0;
        assert_true(entry_hash_remove(model->keyspace, entry, field_name_of(field, name_room)) == there);
        any |= there;
        key->field_count -= there;
        key->fields[field] = 0;
    }
    if (key->field_count == 0) {
        keyspace_remove(model->keyspace, entry, model->position);
        key_drop(model, key);
    } else if (any) {
        key_changed(model, key, entry);
    }
}

static void operate_hash(struct model *model)
{
    struct model_key *key = &model->keys[below(model, 12) * 3];
    if (key_live(model, key) && key->type != ENTRY_HASH) {
        return;
    }
    bool there = key_live(model, key);
    struct entry *entry = key_open(model, key, ENTRY_HASH);
    if (there && below(model, 3) == 0) {
        operate_hash_remove(model, key, entry);
    } else {
        operate_hash_set(model, key, entry);
    }
}

static void operate_remove(struct model *model)
{
    struct model_key *key = any_key(model);
    struct entry *entry = keyspace_edit(model->keyspace, &model->time, key_name(key));
    assert_true((entry != NULL) == key_live(model, key));
    if (entry != NULL) {
        keyspace_remove(model->keyspace, entry, model->position);
    }
    key_drop(model, key);
}

static void key_copy(struct model_key *to, const struct model_key *from, uint64_t version)
{
    buffer_append_slice(&to->string, buffer_slice(&from->string));
    memcpy(to->fields, from->fields, sizeof(to->fields));
    to->field_count = from->field_count;
    to->present = to->changed = true;
    to->type = from->type;
    to->encoding = from->encoding;
    to->due_kind = from->due_kind;
    to->due_ms = from->due_ms;
    to->version = version;
}

static void operate_rename_or_copy(struct model *model)
{
    struct model_key *from = any_key(model), *to = any_key(model);
    if (from == to || !key_live(model, from)) {
        return;
    }
    struct entry *target = keyspace_edit(model->keyspace, &model->time, key_name(to));
    if (target != NULL) {
        keyspace_remove(model->keyspace, target, model->position);
    }
    key_drop(model, to);
    struct entry *entry = keyspace_edit(model->keyspace, &model->time, key_name(from));
    key_copy(to, from, model->position);
    if (below(model, 2) == 0) {
        keyspace_rename(model->keyspace, entry, key_name(to), model->position);
        key_drop(model, from);
    } else {
        keyspace_changed(model->keyspace, keyspace_copy(model->keyspace, entry, key_name(to)), model->position);
    }
}

static void operate_due(struct model *model)
{
    struct model_key *key = any_key(model);
    struct entry *entry = keyspace_edit(model->keyspace, &model->time, key_name(key));
    if (entry == NULL) {
        key_drop(model, key);
        return;
    }
    key->due_kind = (enum due_kind)below(model, 3);
    key->due_ms = (key->due_kind == DUE_WALL ? model->time.applied_wall_ms : model->time.applied_time_ms) +
                  (int64_t)below(model, 30) * 10;
    entry_set_due(model->keyspace, entry, key->due_kind, key->due_ms);
    key_changed(model, key, entry);
}

static int due_order(const void *a, const void *b)
{
    const struct model_key *x = *(struct model_key *const *)a, *y = *(struct model_key *const *)b;
    if (x->due_ms != y->due_ms) {
        return x->due_ms < y->due_ms ? -1 : 1;
    }
    if (x->due_kind != y->due_kind) {
        return x->due_kind < y->due_kind ? -1 : 1;
    }
    return slice_compare(key_name(x), key_name(y));
}

static void operate_time(struct model *model)
{
    model->time.applied_time_ms += (int64_t)below(model, 40);
    model->time.applied_wall_ms += (int64_t)below(model, 40);
    model->time.present_time_ms = model->time.applied_time_ms;
    model->time.present_wall_ms = model->time.applied_wall_ms;
    struct model_key *due[MODEL_KEYS];
    size_t count = 0, limit = below(model, 12);
    for (int i = 0; i < MODEL_KEYS; i++) {
        if (model->keys[i].present && key_due(model, &model->keys[i])) {
            due[count++] = &model->keys[i];
        }
    }
    qsort(due, count, sizeof(due[0]), due_order);
    uint64_t expired = keyspace_expired(model->keyspace);
    size_t removed = keyspace_expire(model->keyspace, &model->time, limit, model->position);
    assert_int_equal(removed, count < limit ? count : limit);
    assert_int_equal(keyspace_expired(model->keyspace), expired + removed);
    for (size_t i = 0; i < removed; i++) {
        key_drop(model, due[i]);
    }
}

static void operate_clear(struct model *model)
{
    keyspace_clear(model->keyspace, model->position);
    for (int i = 0; i < MODEL_KEYS; i++) {
        key_drop(model, &model->keys[i]);
    }
    assert_int_equal(keyspace_memory_bytes(model->keyspace), 0);
}

static void watch(struct model *model)
{
    struct model_key *key = any_key(model);
    uint64_t version = keyspace_version(model->keyspace, &model->time, key_name(key));
    bool live = key_live(model, key);
    if (key->watched != 0 && (key->changed || (key->watched_live && !live))) {
        assert_true(version > key->watched);
    } else if (key->watched != 0 && live) {
        assert_true(version == key->watched);
    }
    key->watched = version;
    key->watched_live = live;
    key->changed = false;
}

void model_operate(struct model *model, bool large)
{
    model->position += 1 + below(model, 3);
    uint64_t which = below(model, 1000);
    if (which < 300) {
        operate_set(model, large);
    } else if (which < 400) {
        operate_write(model, large);
    } else if (which < 600) {
        operate_hash(model);
    } else if (which < 700) {
        operate_remove(model);
    } else if (which < 750) {
        operate_rename_or_copy(model);
    } else if (which < 850) {
        operate_due(model);
    } else if (which < 900) {
        operate_time(model);
    } else if (which < 997) {
        watch(model);
    } else if (which < 999) {
        keyspace_work(model->keyspace);
    } else {
        operate_clear(model);
    }
}

/* ---- comparing ---- */

static void check_string(const struct model_key *key, const struct entry *entry)
{
    char digits[NUMBER_INT64_BYTES];
    struct slice value = entry_string(entry, digits);
    assert_int_equal(value.size, key->string.size);
    assert_true(slice_equal(value, buffer_slice(&key->string)));
    int64_t number;
    assert_true(entry_integer(entry, &number) == (key->encoding == ENCODING_INT));
}

static bool count_field(void *owner, struct slice field, struct slice value)
{
    ++*(size_t *)owner;
    return true;
}

static void count_scanned(void *owner, struct slice field, struct slice value) { ++*(size_t *)owner; }

static void check_hash(const struct model_key *key, const struct entry *entry)
{
    char name_room[100], value_room[256];
    assert_int_equal(entry_hash_size(entry), key->field_count);
    for (size_t i = 0; i < MODEL_FIELDS; i++) {
        struct slice value;
        bool there = entry_hash_get(entry, field_name_of(i, name_room), &value);
        assert_true(there == (key->fields[i] != 0));
        assert_true(!there || slice_equal(value, field_value_of(key->fields[i], value_room)));
    }
    size_t given = 0, scanned = 0;
    entry_hash_each(entry, count_field, &given);
    assert_int_equal(given, key->field_count);
    uint64_t cursor = 0;
    do {
        cursor = entry_hash_scan(entry, cursor, 7, count_scanned, &scanned);
    } while (cursor != 0);
    assert_int_equal(scanned, key->field_count);
}

static void check_key(const struct model *model, const struct model_key *key)
{
    const struct entry *entry = keyspace_find(model->keyspace, &model->time, key_name(key), NULL);
    assert_true((entry != NULL) == key_live(model, key));
    if (entry == NULL) {
        return;
    }
    int64_t due_ms = 0;
    assert_true(slice_equal(entry_key(entry), key_name(key)));
    assert_int_equal(entry_type(entry), key->type);
    assert_int_equal(entry_encoding(entry), key->encoding);
    assert_int_equal(entry_version(entry), key->version);
    assert_int_equal(entry_due(entry, &due_ms), key->due_kind);
    assert_true(key->due_kind == DUE_NEVER || due_ms == key->due_ms);
    if (key->type == ENTRY_STRING) {
        check_string(key, entry);
    } else {
        check_hash(key, entry);
    }
}

struct sum {
    size_t count;
    uint64_t memory_bytes;
};

static void sum_entry(void *owner, const struct entry *entry)
{
    struct sum *sum = owner;
    sum->count++;
    sum->memory_bytes += entry_memory_bytes(entry);
}

void model_check(struct model *model)
{
    uint64_t present = 0, expiring = 0;
    int64_t next_time = INT64_MAX, next_wall = INT64_MAX, time_ms, wall_ms;
    bool due = false;
    size_t live = 0;
    for (int i = 0; i < MODEL_KEYS; i++) {
        const struct model_key *key = &model->keys[i];
        check_key(model, key);
        present += key->present;
        live += key_live(model, key);
        expiring += key->present && key->due_kind != DUE_NEVER;
        due |= key->present && key_due(model, key);
        int64_t *next = key->due_kind == DUE_TIME ? &next_time : &next_wall;
        if (key->present && key->due_kind != DUE_NEVER && key->due_ms < *next) {
            *next = key->due_ms;
        }
    }
    assert_int_equal(keyspace_count(model->keyspace), present);
    assert_int_equal(keyspace_count_with_expiry(model->keyspace), expiring);
    keyspace_next_due(model->keyspace, &time_ms, &wall_ms);
    assert_true(time_ms == next_time && wall_ms == next_wall);
    struct sum sum = {0};
    uint64_t cursor = 0;
    do {
        cursor = keyspace_scan(model->keyspace, &model->time, cursor, 5, sum_entry, &sum);
    } while (cursor != 0);
    assert_int_equal(sum.count, live);
    assert_true(due || sum.memory_bytes == keyspace_memory_bytes(model->keyspace));
    const struct entry *random = keyspace_random(model->keyspace, &model->time, model->position);
    assert_true((random != NULL) == (live > 0));
}

void model_snapshot(struct model *model, size_t budget_bytes)
{
    struct keyspace *keyspace = model->keyspace;
    if (!model->snapshot_runs) {
        model->digest = keyspace_digest(keyspace);
        model->memory_bytes = keyspace_memory_bytes(keyspace);
        model->count = keyspace_count(keyspace);
        buffer_clear(&model->records);
        keyspace_snapshot_begin(keyspace);
        model->snapshot_runs = true;
        return;
    }
    if (below(model, 300) == 0) { /* given up */
        keyspace_snapshot_end(keyspace);
        model->snapshot_runs = false;
        return;
    }
    if (keyspace_snapshot_step(keyspace, &model->records, budget_bytes)) {
        return;
    }
    assert_int_equal(keyspace_snapshot_pending_bytes(keyspace), 0);
    keyspace_snapshot_end(keyspace);
    model->snapshot_runs = false;
    model->snapshots++;
    struct keyspace *loaded = load_records(MODEL_SEED, buffer_slice(&model->records));
    assert_true(keyspace_digest(loaded) == model->digest);
    assert_int_equal(keyspace_memory_bytes(loaded), model->memory_bytes);
    assert_int_equal(keyspace_count(loaded), model->count);
    keyspace_destroy(loaded);
}
