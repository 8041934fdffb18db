/* Records back into a keyspace. Whatever the bytes are, the keyspace stays sound: what no snapshot step made is
 * refused, and what was taken before stays. */
#include "base/memory.h"
#include "base/record.h"
#include "machine/keys/snapshot.h"

#include <stdlib.h>

enum { LOAD_GROW_BYTES = 1024 * 1024 }; /* memory is taken as bytes come, not as a head promises them */

static bool take_byte(struct slice *from, uint8_t *ret_byte)
{
    if (from->size == 0) {
        return false;
    }
    *ret_byte = from->data[0];
    *from = slice_of(from->data + 1, from->size - 1);
    return true;
}

static bool take_slice(struct slice *from, struct slice *ret_slice)
{
    return record_take_text(from, ENTRY_STRING_MAXIMUM, ret_slice);
}

/* The part that records of entries have in common. */
struct head {
    enum entry_encoding encoding;
    enum due_kind due_kind;
    int64_t due_ms;
    uint64_t version, hash;
    struct slice key;
};

static bool take_head(const struct keyspace *keyspace, struct slice *from, struct head *ret_head)
{
    uint8_t attributes;
    if (!take_byte(from, &attributes) || !varint_take(from, &ret_head->version)) {
        return false;
    }
    ret_head->encoding = attributes & 0xf;
    ret_head->due_kind = attributes >> 4;
    if (ret_head->encoding > ENCODING_HASHTABLE || ret_head->due_kind > DUE_SESSION || ret_head->version == 0 ||
        ret_head->version > INT64_MAX) {
        return false;
    }
    if (ret_head->due_kind != DUE_NEVER) {
        if (from->size < 8) {
            return false;
        }
        ret_head->due_ms = (int64_t)get_u64(from->data);
        *from = slice_of(from->data + 8, from->size - 8);
    }
    if (!take_slice(from, &ret_head->key)) {
        return false;
    }
    ret_head->hash = table_hash(&keyspace->table, ret_head->key);
    return table_find(&keyspace->table, ret_head->hash, ret_head->key) == NULL;
}

static void insert(struct keyspace *keyspace, const struct head *head, struct entry *entry)
{
    entry->version = head->version;
    keyspace_saw(keyspace, head->version);
    keyspace_insert(keyspace, head->hash, entry);
    if (head->due_kind != DUE_NEVER) {
        keyspace_due_start(keyspace, entry, head->due_kind, head->due_ms);
    }
}

static struct entry *find(const struct keyspace *keyspace, struct slice key)
{
    return table_find(&keyspace->table, table_hash(&keyspace->table, key), key);
}

/* ---- entry ---- */

static enum status load_entry(struct keyspace *keyspace, struct slice from)
{
    struct head head;
    if (!take_head(keyspace, &from, &head)) {
        return STATUS_CORRUPT;
    }
    struct entry *entry = NULL;
    uint32_t count;
    switch (head.encoding) {
    case ENCODING_INT:
        if (from.size == sizeof(int64_t)) {
            entry = entry_create_string(head.key, VALUE_INT, from);
        }
        break;
    case ENCODING_EMBSTR:
        if (from.size <= ENTRY_EMBSTR_MAXIMUM) {
            entry = entry_create_string(head.key, VALUE_EMBSTR, from);
        }
        break;
    case ENCODING_RAW:
        if (from.size <= SNAPSHOT_WHOLE_MAXIMUM) {
            entry = entry_create_string(head.key, VALUE_RAW, from);
        }
        break;
    case ENCODING_LISTPACK:
        if (packed_valid(from, &count)) {
            entry = entry_create(head.key, sizeof(void *));
            entry_set_pointer(entry, VALUE_PACKED, packed_create_copy(from, count));
        }
        break;
    case ENCODING_HASHTABLE: break; /* has a record of its own */
    }
    if (entry == NULL) {
        return STATUS_CORRUPT;
    }
    insert(keyspace, &head, entry);
    return STATUS_OK;
}

/* ---- large strings ---- */

static enum status load_large(struct keyspace *keyspace, struct slice from)
{
    struct head head;
    uint64_t size;
    if (!take_head(keyspace, &from, &head) || !varint_take(&from, &size) || from.size != 0 ||
        head.encoding != ENCODING_RAW || size <= SNAPSHOT_WHOLE_MAXIMUM || size > ENTRY_STRING_MAXIMUM) {
        return STATUS_CORRUPT;
    }
    struct large *large = large_create(size < LOAD_GROW_BYTES ? size : LOAD_GROW_BYTES);
    large->missing = (uint32_t)size;
    struct entry *entry = entry_create(head.key, sizeof(large));
    entry_set_pointer(entry, VALUE_LARGE, large);
    insert(keyspace, &head, entry);
    keyspace->incomplete++;
    return STATUS_OK;
}

static void large_append(struct keyspace *keyspace, struct entry *entry, struct slice bytes)
{
    struct large *large = entry_pointer(entry);
    size_t before = entry_memory_bytes(entry);
    size_t size = entry->value_size + bytes.size;
    if (size > large->capacity) {
        size_t total = (size_t)entry->value_size + large->missing;
        size_t capacity = 2 * size < total ? 2 * size : total;
        large = memory_resize(large, sizeof(*large) + capacity);
        large->capacity = (uint32_t)capacity;
        entry_set_pointer(entry, VALUE_LARGE, large);
    }
    memcpy(large->bytes + entry->value_size, bytes.data, bytes.size);
    entry->value_size = (uint32_t)size;
    large->missing -= (uint32_t)bytes.size;
    keyspace->incomplete -= large->missing == 0;
    keyspace->memory_bytes += entry_memory_bytes(entry) - before;
}

static enum status load_piece(struct keyspace *keyspace, struct slice from)
{
    struct slice key;
    uint64_t offset;
    if (!take_slice(&from, &key) || !varint_take(&from, &offset) || from.size == 0) {
        return STATUS_CORRUPT;
    }
    struct entry *entry = find(keyspace, key);
    if (entry == NULL || entry->kind != VALUE_LARGE || entry->value_size != offset ||
        from.size > ((const struct large *)entry_pointer(entry))->missing) {
        return STATUS_CORRUPT;
    }
    large_append(keyspace, entry, from);
    return STATUS_OK;
}

/* ---- large hashes ---- */

static enum status load_hash(struct keyspace *keyspace, struct slice from)
{
    struct head head;
    uint64_t count;
    if (!take_head(keyspace, &from, &head) || !varint_take(&from, &count) || from.size != 0 ||
        head.encoding != ENCODING_HASHTABLE || count == 0) {
        return STATUS_CORRUPT;
    }
    struct hash *hash = hash_create(keyspace->table.seed);
    hash->missing = count;
    struct entry *entry = entry_create(head.key, sizeof(hash));
    entry_set_pointer(entry, VALUE_TABLE, hash);
    insert(keyspace, &head, entry);
    keyspace->incomplete++;
    return STATUS_OK;
}

static bool take_field(struct hash *hash, struct slice *from)
{
    struct slice name, value;
    if (hash->missing == 0 || !take_slice(from, &name) || !take_slice(from, &value) ||
        table_find(&hash->table, table_hash(&hash->table, name), name) != NULL) {
        return false;
    }
    hash_add(hash, name, value, 0);
    hash->missing--;
    return true;
}

static enum status load_fields(struct keyspace *keyspace, struct slice from)
{
    struct slice key;
    struct entry *entry = take_slice(&from, &key) ? find(keyspace, key) : NULL;
    if (entry == NULL || entry->kind != VALUE_TABLE || from.size == 0) {
        return STATUS_CORRUPT;
    }
    struct hash *hash = entry_pointer(entry);
    size_t before = entry_memory_bytes(entry);
    bool taken = true;
    bool missed = hash->missing > 0;
    while (taken && from.size > 0) {
        taken = take_field(hash, &from);
    }
    keyspace->incomplete -= missed && hash->missing == 0;
    keyspace->memory_bytes += entry_memory_bytes(entry) - before;
    return taken ? STATUS_OK : STATUS_CORRUPT;
}

/* ---- the rest ---- */

static enum status load_traces(struct keyspace *keyspace, struct slice from)
{
    uint64_t index, trace, next = 0;
    while (from.size > 0) {
        if (!varint_take(&from, &index) || !varint_take(&from, &trace) || index >= KEYSPACE_TRACES - next ||
            trace == 0 || trace > INT64_MAX) {
            return STATUS_CORRUPT;
        }
        index += next;
        if (keyspace->traces != NULL && keyspace->traces[index] != 0) {
            return STATUS_CORRUPT;
        }
        keyspace_leave_trace(keyspace, index, trace);
        keyspace_saw(keyspace, trace);
        next = index + 1;
    }
    return STATUS_OK;
}

static enum status load_end(struct keyspace *keyspace, struct slice from)
{
    uint64_t keys, clear_position;
    if (!varint_take(&from, &keys) || !varint_take(&from, &clear_position) || keys != keyspace->table.count ||
        clear_position > INT64_MAX || keyspace->incomplete != 0) {
        return STATUS_CORRUPT;
    }
    keyspace->clear_position = clear_position;
    keyspace_saw(keyspace, clear_position);
    if (from.size != 0 && (!varint_take(&from, &keyspace->last_position) || from.size != 0 ||
                           keyspace->last_position > INT64_MAX)) { /* older ones end before it */
        return STATUS_CORRUPT;
    }
    keyspace->sealed = true;
    return STATUS_OK;
}

enum status keyspace_load_record(struct keyspace *keyspace, struct slice record)
{
    ASSERT(keyspace->snapshot == NULL);
    uint8_t kind;
    if (!take_byte(&record, &kind) || kind < KEYSPACE_RECORD_FIRST || keyspace->sealed) {
        return STATUS_CORRUPT;
    }
    switch (kind) {
    case RECORD_ENTRY: return load_entry(keyspace, record);
    case RECORD_LARGE: return load_large(keyspace, record);
    case RECORD_PIECE: return load_piece(keyspace, record);
    case RECORD_HASH: return load_hash(keyspace, record);
    case RECORD_FIELDS: return load_fields(keyspace, record);
    case RECORD_TRACES: return load_traces(keyspace, record);
    case RECORD_END: return load_end(keyspace, record);
    default: return STATUS_VERSION;
    }
}
