#include "machine/keys/dump.h"

#include "base/record.h"
#include "machine/keys/keyspace_internal.h"
#include "machine/machine_mutation.h"
#include "machine/session/ties.h"

static bool put_field(void *owner, struct slice name, struct slice value)
{
    record_put_text(owner, name);
    record_put_text(owner, value);
    return true;
}

static void put_i64(struct buffer *out, int64_t value)
{
    put_u64(buffer_reserve(out, sizeof(value)), (uint64_t)value);
    out->size += sizeof(value);
}

static void put_value(const struct entry *entry, struct buffer *out)
{
    if (entry->kind == VALUE_INT) {
        put_i64(out, entry_number(entry));
    } else if (entry->kind == VALUE_PACKED) {
        const struct packed *packed = entry_pointer(entry);
        buffer_append(out, packed->bytes, packed->size);
    } else if (entry->kind == VALUE_TABLE) {
        entry_hash_each(entry, put_field, out);
    } else {
        buffer_append_slice(out, entry_string(entry, NULL));
    }
}

/* The byte before it has the encoding. */
static void put_head(const struct entry *entry, unsigned kind, struct buffer *out)
{
    buffer_append_byte(out, (uint8_t)((unsigned)entry_encoding(entry) | kind << 4));
}

void entry_dump_here(const struct entry *entry, struct buffer *out)
{
    put_head(entry, entry->due_kind, out);
    if (entry->due_kind != DUE_NEVER) {
        put_i64(out, entry->due_ms);
    }
    put_value(entry, out);
}

void entry_dump(const struct entry *entry, const struct ties *ties, struct buffer *out)
{
    if (entry->due_kind != DUE_SESSION) {
        entry_dump_here(entry, out);
        return;
    }
    const struct tie *tie = ties == NULL ? NULL : ties_of_ordinal(ties, (uint64_t)entry->due_ms);
    tie = MACHINE_MUTATED(SESSION_LEFT) ? NULL : tie;
    put_head(entry, tie == NULL ? DUE_NEVER : DUMP_NAMED, out);
    if (tie != NULL) {
        struct session_id id = tie_id(tie);
        put_i64(out, (int64_t)id.number);
        put_u32(buffer_reserve(out, sizeof(id.shard)), id.shard);
        out->size += sizeof(id.shard);
    }
    put_value(entry, out);
}

size_t dump_due_bytes(uint8_t first)
{
    unsigned kind = first >> 4;
    return kind == DUE_NEVER ? 0 : kind == DUMP_NAMED ? sizeof(uint64_t) + sizeof(uint32_t) : sizeof(int64_t);
}

bool dump_session(struct slice dump, struct session_id *ret_id)
{
    if (dump.size == 0 || dump.data[0] >> 4 != DUMP_NAMED || dump.size < 1 + dump_due_bytes(dump.data[0])) {
        return false;
    }
    *ret_id = (struct session_id){.number = get_u64(dump.data + 1), .shard = get_u32(dump.data + 1 + sizeof(uint64_t))};
    return true;
}

void entry_dump_shift(struct buffer *dump, int64_t by_ms)
{
    if (dump->size < 1 + sizeof(int64_t) || dump->data[0] >> 4 != DUE_TIME) {
        return;
    }
    int64_t due_ms = (int64_t)get_u64(dump->data + 1);
    if (!__builtin_add_overflow(due_ms, by_ms, &due_ms)) { /* else it is further away than time reaches */
        put_u64(dump->data + 1, (uint64_t)due_ms);
    }
}

/* ---- back ---- */

struct dump {
    enum entry_encoding encoding;
    enum due_kind due_kind;
    int64_t due_ms;
    struct slice value;
};

/* The session that is named, by its ordinal here. */
static bool take_session(struct ties *ties, struct slice from, struct dump *dump)
{
    struct session_id id;
    if (ties == NULL || !dump_session(from, &id) || id.shard == 0 || id.shard > UINT16_MAX || id.number == 0 ||
        id.number > INT64_MAX) {
        return false;
    }
    const struct tie *tie = ties->open ? ties_name(ties, id, false) : ties_find(ties, id);
    if (tie == NULL || tie->ordinal == 0) {
        return false;
    }
    dump->due_kind = DUE_SESSION;
    dump->due_ms = (int64_t)tie->ordinal;
    return true;
}

static bool take_head(struct ties *ties, struct slice from, struct dump *ret_dump)
{
    if (from.size == 0) {
        return false;
    }
    unsigned kind = from.data[0] >> 4;
    size_t head = 1 + dump_due_bytes(from.data[0]);
    struct dump dump = {.encoding = from.data[0] & 0xf};
    if (dump.encoding > ENCODING_HASHTABLE || kind > DUMP_NAMED || from.size < head) {
        return false;
    }
    if (kind == DUMP_NAMED) {
        if (!take_session(ties, from, &dump)) {
            return false;
        }
    } else if (kind == DUE_SESSION && ties != NULL) {
        return false; /* an ordinal of elsewhere */
    } else if (kind != DUE_NEVER) {
        dump.due_kind = (enum due_kind)kind;
        dump.due_ms = (int64_t)get_u64(from.data + 1);
    }
    dump.value = slice_of(from.data + head, from.size - head);
    *ret_dump = dump;
    return true;
}

static bool fill_hash(struct hash *hash, struct slice fields)
{
    while (fields.size > 0) {
        struct slice name;
        struct slice value;
        if (!record_take_text(&fields, ENTRY_STRING_MAXIMUM, &name) ||
            !record_take_text(&fields, ENTRY_STRING_MAXIMUM, &value) ||
            table_find(&hash->table, table_hash(&hash->table, name), name) != NULL) {
            return false;
        }
        hash_add(hash, name, value, 0);
    }
    return hash->table.count != 0;
}

static struct entry *make_large_hash(struct keyspace *keyspace, struct slice key, struct slice fields)
{
    struct hash *hash = hash_create(keyspace->table.seed);
    if (!fill_hash(hash, fields)) {
        garbage_hash(&keyspace->garbage, hash);
        return NULL;
    }
    struct entry *entry = entry_create(key, sizeof(hash));
    entry_set_pointer(entry, VALUE_TABLE, hash);
    return entry;
}

static struct entry *make_small_hash(struct slice key, struct slice value)
{
    uint32_t count;
    if (!packed_valid(value, &count) || count == 0) {
        return NULL;
    }
    struct entry *entry = entry_create(key, sizeof(void *));
    entry_set_pointer(entry, VALUE_PACKED, packed_create_copy(value, count));
    return entry;
}

static struct entry *make_entry(struct keyspace *keyspace, struct slice key, const struct dump *dump)
{
    switch (dump->encoding) {
    case ENCODING_INT:
        return dump->value.size == sizeof(int64_t) ? entry_create_string(key, VALUE_INT, dump->value) : NULL;
    case ENCODING_EMBSTR:
        return dump->value.size <= ENTRY_EMBSTR_MAXIMUM ? entry_create_string(key, VALUE_EMBSTR, dump->value) : NULL;
    case ENCODING_RAW:
        return dump->value.size <= ENTRY_STRING_MAXIMUM ? entry_create_string(key, VALUE_RAW, dump->value) : NULL;
    case ENCODING_LISTPACK: return make_small_hash(key, dump->value);
    case ENCODING_HASHTABLE: return make_large_hash(keyspace, key, dump->value);
    }
    return NULL;
}

enum status keyspace_restore(struct keyspace *keyspace, struct ties *ties, struct slice key, struct slice dump,
                             struct entry **ret_entry)
{
    struct dump head;
    if (key.size > ENTRY_STRING_MAXIMUM || !take_head(ties, dump, &head)) {
        return STATUS_CORRUPT;
    }
    struct entry *entry = make_entry(keyspace, key, &head);
    if (entry == NULL) {
        return STATUS_CORRUPT;
    }
    keyspace_insert_new(keyspace, entry);
    if (head.due_kind != DUE_NEVER) {
        keyspace_due_start(keyspace, entry, head.due_kind, head.due_ms);
    }
    *ret_entry = entry;
    return STATUS_OK;
}
