/* Hash values of entries: packed while small, a table of fields past that. */
#include "base/memory.h"
#include "machine/keys/journal.h"

#include <stdlib.h>

struct hash *hash_create(uint64_t seed)
{
    struct hash *hash = memory_allocate_zeroed(1, sizeof(*hash));
    table_init(&hash->table, seed, offsetof(struct field, bytes));
    return hash;
}

static size_t field_charge(const struct field *field)
{
    return CHARGE_FIELD + (size_t)field->key_size + field->value_size;
}

/* As the allocator rounds: a value that fits the old one's memory replaces it in place. */
static size_t field_allocation(size_t name_size, size_t value_size)
{
    return ((sizeof(struct field) + name_size + value_size + 8 + 15) & ~(size_t)15) - 8;
}

static struct field *field_create(struct slice name, size_t value_size, uint32_t epoch)
{
    ASSERT(name.size <= ENTRY_STRING_MAXIMUM && value_size <= ENTRY_STRING_MAXIMUM);
    struct field *field = memory_allocate(field_allocation(name.size, value_size));
    *field = (struct field){.key_size = (uint32_t)name.size, .epoch = epoch};
    if (name.size > 0) {
        memcpy(field->bytes, name.data, name.size);
    }
    return field;
}

static void field_put(struct field *field, struct slice value)
{
    field->value_size = (uint32_t)value.size;
    if (value.size > 0) {
        memcpy(field->bytes + field->key_size, value.data, value.size);
    }
}

static void field_discard(struct keyspace *keyspace, struct field *field)
{
    garbage_memory(&keyspace->garbage, field, sizeof(*field) + field->key_size + field->value_size);
}

void hash_add(struct hash *hash, struct slice name, struct slice value, uint32_t epoch)
{
    struct field *field = field_create(name, value.size, epoch);
    field_put(field, value);
    hash->bytes += field_charge(field);
    table_insert(&hash->table, table_hash(&hash->table, name), field);
}

/* ---- reading ---- */

size_t entry_hash_size(const struct entry *entry)
{
    if (entry->kind == VALUE_PACKED) {
        return ((const struct packed *)entry_pointer(entry))->count;
    }
    ASSERT(entry->kind == VALUE_TABLE);
    return ((const struct hash *)entry_pointer(entry))->table.count;
}

bool entry_hash_get(const struct entry *entry, struct slice name, struct slice *ret_value)
{
    if (entry->kind == VALUE_PACKED) {
        return packed_get(entry_pointer(entry), name, ret_value);
    }
    ASSERT(entry->kind == VALUE_TABLE);
    const struct hash *hash = entry_pointer(entry);
    const struct field *field = table_find(&hash->table, table_hash(&hash->table, name), name);
    if (field == NULL) {
        return false;
    }
    *ret_value = field_value(field);
    return true;
}

struct each_call {
    bool (*each)(void *owner, struct slice name, struct slice value);
    void *owner;
    bool stopped;
};

static void each_field(void *owner, void *item)
{
    struct each_call *call = owner;
    if (!call->stopped) {
        call->stopped = !call->each(call->owner, field_name(item), field_value(item));
    }
}

void entry_hash_each(const struct entry *entry, bool (*each)(void *owner, struct slice field, struct slice value),
                     void *owner)
{
    if (entry->kind == VALUE_PACKED) {
        const struct packed *packed = entry_pointer(entry);
        size_t at = 0;
        struct slice name, value;
        while (packed_next(packed, &at, &name, &value) && each(owner, name, value)) {
        }
        return;
    }
    ASSERT(entry->kind == VALUE_TABLE);
    const struct hash *hash = entry_pointer(entry);
    struct each_call call = {each, owner, false};
    uint64_t cursor = 0;
    do {
        cursor = table_walk(&hash->table, cursor, each_field, &call);
    } while (cursor != 0 && !call.stopped);
}

struct scan_call {
    void (*each)(void *owner, struct slice name, struct slice value);
    void *owner;
    size_t given;
};

static void scan_field(void *owner, void *item)
{
    struct scan_call *call = owner;
    call->given++;
    call->each(call->owner, field_name(item), field_value(item));
}

uint64_t entry_hash_scan(const struct entry *entry, uint64_t cursor, size_t count,
                         void (*each)(void *owner, struct slice field, struct slice value), void *owner)
{
    if (entry->kind == VALUE_PACKED) {
        const struct packed *packed = entry_pointer(entry);
        size_t at = 0;
        struct slice name, value;
        while (packed_next(packed, &at, &name, &value)) {
            each(owner, name, value);
        }
        return 0;
    }
    ASSERT(entry->kind == VALUE_TABLE);
    const struct hash *hash = entry_pointer(entry);
    struct scan_call call = {each, owner, 0};
    size_t buckets = 0;
    do {
        cursor = table_walk(&hash->table, cursor, scan_field, &call);
    } while (cursor != 0 && call.given < count && ++buckets < count);
    return cursor;
}

void entry_hash_random(const struct entry *entry, uint64_t random, struct slice *ret_field, struct slice *ret_value)
{
    if (entry->kind == VALUE_PACKED) {
        const struct packed *packed = entry_pointer(entry);
        ASSERT(packed->count > 0);
        size_t at = 0;
        for (uint64_t skip = random % packed->count + 1; skip > 0; skip--) {
            packed_next(packed, &at, ret_field, ret_value);
        }
        return;
    }
    ASSERT(entry->kind == VALUE_TABLE);
    const struct field *field = table_random(&((const struct hash *)entry_pointer(entry))->table, random);
    ASSERT(field != NULL);
    *ret_field = field_name(field);
    *ret_value = field_value(field);
}

/* ---- changing ---- */

static struct hash *hash_from_packed(struct keyspace *keyspace, struct entry *entry)
{
    struct packed *packed = entry_pointer(entry);
    struct hash *hash = hash_create(keyspace->table.seed);
    size_t at = 0;
    struct slice name, value;
    while (packed_next(packed, &at, &name, &value)) {
        hash_add(hash, name, value, keyspace->epoch);
    }
    free(packed);
    entry_set_pointer(entry, VALUE_TABLE, hash);
    return hash;
}

static void note_field(struct hash *hash, struct slice name, const struct field *field)
{
    if (__builtin_expect(hash->note != NULL, 0)) {
        struct slice before = field == NULL ? (struct slice){0} : field_value(field);
        journal_note_field(hash->note, name, field == NULL ? NULL : &before);
    }
}

static bool hash_set(struct keyspace *keyspace, struct hash *hash, struct slice name, struct slice value)
{
    uint64_t key_hash = table_hash(&hash->table, name);
    struct field *field = table_find(&hash->table, key_hash, name);
    note_field(hash, name, field);
    if (field == NULL) {
        hash_add(hash, name, value, keyspace->epoch);
        return true;
    }
    snapshot_keep_field(keyspace, hash, field);
    hash->bytes += value.size - field->value_size;
    if (field_allocation(name.size, value.size) != field_allocation(name.size, field->value_size)) {
        struct field *moved = field_create(name, value.size, field->epoch);
        table_moved(&hash->table, key_hash, field, moved);
        field_discard(keyspace, field);
        field = moved;
    }
    field_put(field, value);
    return false;
}

bool entry_hash_set(struct keyspace *keyspace, struct entry *entry, struct slice name, struct slice value)
{
    ASSERT(!entry_is_string(entry));
    keyspace_keep(keyspace, entry);
    size_t before = entry_memory_bytes(entry);
    bool added;
    if (entry->kind == VALUE_PACKED && name.size <= PACKED_BYTES_MAXIMUM && value.size <= PACKED_BYTES_MAXIMUM) {
        struct packed *packed = entry_pointer(entry);
        added = packed_set(&packed, name, value);
        entry_set_pointer(entry, VALUE_PACKED, packed);
        if (packed->count > PACKED_FIELDS_MAXIMUM) {
            hash_from_packed(keyspace, entry);
        }
    } else {
        struct hash *hash = entry->kind == VALUE_TABLE ? entry_pointer(entry) : hash_from_packed(keyspace, entry);
        added = hash_set(keyspace, hash, name, value);
    }
    keyspace->memory_bytes += entry_memory_bytes(entry) - before;
    if (keyspace_told(keyspace) != NULL) {
        feed_log_field(keyspace->history, entry_key(entry), name, value);
    }
    return added;
}

static void hash_remove(struct keyspace *keyspace, struct hash *hash, struct slice name)
{
    uint64_t key_hash = table_hash(&hash->table, name);
    struct field *field = table_find(&hash->table, key_hash, name);
    note_field(hash, name, field);
    snapshot_keep_field(keyspace, hash, field);
    table_remove(&hash->table, key_hash, field);
    hash->bytes -= field_charge(field);
    field_discard(keyspace, field);
}

bool entry_hash_remove(struct keyspace *keyspace, struct entry *entry, struct slice name)
{
    struct slice value;
    if (!entry_hash_get(entry, name, &value)) {
        return false; /* no change: nothing may move on to a newer version */
    }
    keyspace_keep(keyspace, entry);
    size_t before = entry_memory_bytes(entry);
    if (entry->kind == VALUE_PACKED) {
        packed_remove(entry_pointer(entry), name);
    } else {
        hash_remove(keyspace, entry_pointer(entry), name);
    }
    keyspace->memory_bytes += entry_memory_bytes(entry) - before;
    if (keyspace_told(keyspace) != NULL) {
        feed_log_field_gone(keyspace->history, entry_key(entry), name);
    }
    return true;
}
