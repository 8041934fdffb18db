#include "machine/keys/snapshot.h"

#include "base/memory.h"
#include "base/record.h"

#include <stdlib.h>

/* ---- writing records ---- */

static size_t varint_size(uint64_t value)
{
    uint8_t bytes[VARINT_MAXIMUM_BYTES];
    return (size_t)(varint_put(bytes, value) - bytes);
}

enum { HEAD_MAXIMUM_BYTES = 2 + 2 * VARINT_MAXIMUM_BYTES + 8 };

/* Writes the size of a record of an entry and the record up to and with the key; `rest` more bytes are to follow. */
static void put_head(struct buffer *out, enum record_kind kind, const struct entry *entry, size_t rest)
{
    uint8_t head[HEAD_MAXIMUM_BYTES] = {(uint8_t)kind, (uint8_t)(entry_encoding(entry) | entry->due_kind << 4)};
    uint8_t *at = varint_put(head + 2, entry->version);
    if (entry->due_kind != DUE_NEVER) {
        put_u64(at, (uint64_t)entry->due_ms);
        at += 8;
    }
    at = varint_put(at, entry->key_size);
    record_put_number(out, (size_t)(at - head) + entry->key_size + rest);
    buffer_append(out, head, (size_t)(at - head));
    buffer_append_slice(out, entry_key(entry));
}

/* ---- walks ---- */

static struct walk *walk_create(struct snapshot *snapshot, const struct entry *entry, uint64_t left)
{
    struct walk *walk = memory_allocate(sizeof(*walk) + entry->key_size);
    *walk = (struct walk){.left = left, .key_size = entry->key_size};
    if (entry->key_size > 0) {
        memcpy(walk->key, entry->bytes, entry->key_size);
    }
    list_append(&snapshot->walks, &walk->node);
    return walk;
}

static struct slice walk_key(const struct walk *walk) { return slice_of(walk->key, walk->key_size); }

static void walk_end(struct keyspace *keyspace, struct walk *walk)
{
    if (walk->large != NULL) {
        walk->large->walk = NULL;
        if (walk->owned) {
            keyspace->snapshot->owned_bytes -= walk->left;
            garbage_memory(&keyspace->garbage, walk->large, sizeof(struct large) + walk->large->capacity);
        }
    } else {
        walk->hash->walk = NULL;
        if (walk->owned) {
            garbage_hash(&keyspace->garbage, walk->hash);
        }
    }
    list_remove(&walk->node);
    free(walk);
}

/* Emits the next piece of a large string. */
static void walk_large(struct keyspace *keyspace, struct walk *walk, struct buffer *out)
{
    size_t size = walk->left < SNAPSHOT_PIECE_BYTES ? walk->left : SNAPSHOT_PIECE_BYTES;
    record_put_number(out, 1 + varint_size(walk->key_size) + walk->key_size + varint_size(walk->offset) + size);
    buffer_append_byte(out, RECORD_PIECE);
    record_put_text(out, walk_key(walk));
    record_put_number(out, walk->offset);
    buffer_append(out, walk->large->bytes + walk->offset - walk->start, size);
    walk->offset += (uint32_t)size;
    walk->left -= size;
    if (walk->owned) {
        keyspace->snapshot->owned_bytes -= size;
    }
    if (walk->left == 0) {
        walk_end(keyspace, walk);
    }
}

struct fields_call {
    struct keyspace *keyspace;
    struct walk *walk;
};

static void fields_put(struct snapshot *snapshot, struct walk *walk, const struct field *field)
{
    if (snapshot->fields.size == 0) {
        buffer_append_byte(&snapshot->fields, RECORD_FIELDS);
        record_put_text(&snapshot->fields, walk_key(walk));
    }
    record_put_text(&snapshot->fields, field_name(field));
    record_put_text(&snapshot->fields, field_value(field));
    ASSERT(walk->left > 0);
    walk->left--;
}

static void fields_flush(struct snapshot *snapshot, struct buffer *out)
{
    if (snapshot->fields.size > 0) {
        record_put_text(out, buffer_slice(&snapshot->fields));
        buffer_clear(&snapshot->fields);
        buffer_shrink(&snapshot->fields, SNAPSHOT_PIECE_BYTES);
    }
}

static void fields_emit(void *owner, void *item)
{
    struct fields_call *call = owner;
    struct field *field = item;
    if (field->epoch != call->keyspace->epoch) {
        field->epoch = call->keyspace->epoch;
        fields_put(call->keyspace->snapshot, call->walk, field);
    }
}

/* Emits some more fields of a large hash. */
static void walk_hash(struct keyspace *keyspace, struct walk *walk, struct buffer *out, size_t budget)
{
    struct snapshot *snapshot = keyspace->snapshot;
    struct fields_call call = {keyspace, walk};
    size_t most = budget < SNAPSHOT_WHOLE_MAXIMUM ? budget : SNAPSHOT_WHOLE_MAXIMUM;
    do {
        walk->cursor = table_walk(&walk->hash->table, walk->cursor, fields_emit, &call);
    } while (walk->cursor != 0 && snapshot->fields.size < most);
    fields_flush(snapshot, out);
    if (walk->cursor == 0) {
        ASSERT(walk->left == 0);
        walk_end(keyspace, walk);
    }
}

/* ---- entries ---- */

static void emit_entry(struct snapshot *snapshot, struct entry *entry, struct buffer *out)
{
    snapshot->emitted++;
    if (entry->kind == VALUE_TABLE) {
        struct hash *hash = entry_pointer(entry);
        put_head(out, RECORD_HASH, entry, varint_size(hash->table.count));
        record_put_number(out, hash->table.count);
        hash->walk = walk_create(snapshot, entry, hash->table.count);
        hash->walk->hash = hash;
    } else if (entry->kind == VALUE_LARGE && entry->value_size > SNAPSHOT_WHOLE_MAXIMUM) {
        struct large *large = entry_pointer(entry);
        put_head(out, RECORD_LARGE, entry, varint_size(entry->value_size));
        record_put_number(out, entry->value_size);
        large->walk = walk_create(snapshot, entry, entry->value_size);
        large->walk->large = large;
    } else {
        struct slice value = slice_of(entry_value(entry), entry->value_size);
        if (entry->kind == VALUE_LARGE) {
            value.data = ((const struct large *)entry_pointer(entry))->bytes;
        } else if (entry->kind == VALUE_PACKED) {
            const struct packed *packed = entry_pointer(entry);
            value = slice_of(packed->bytes, packed->size);
        }
        put_head(out, RECORD_ENTRY, entry, value.size);
        buffer_append_slice(out, value);
    }
}

void snapshot_keep_slow(struct keyspace *keyspace, struct entry *entry)
{
    struct snapshot *snapshot = keyspace->snapshot;
    if (entry->version > snapshot->position) {
        return; /* made, or kept, since it began */
    }
    if (!snapshot->walked && !table_walked(snapshot->cursor, entry_hash(keyspace, entry))) {
        emit_entry(snapshot, entry, &snapshot->pending);
        entry->version = snapshot->position + 1; /* keyspace_changed will say which */
    }
}

void snapshot_keep_field_slow(struct keyspace *keyspace, struct hash *hash, struct field *field)
{
    if (field->epoch != keyspace->epoch) {
        field->epoch = keyspace->epoch;
        fields_put(keyspace->snapshot, hash->walk, field);
        fields_flush(keyspace->snapshot, &keyspace->snapshot->pending);
    }
}

void snapshot_take_large(struct keyspace *keyspace, struct large *large)
{
    large->walk->owned = true;
    keyspace->snapshot->owned_bytes += large->walk->left;
}

void snapshot_take_hash(struct hash *hash) { hash->walk->owned = true; }

void snapshot_keep_bytes(struct keyspace *keyspace, struct large *large)
{
    struct walk *walk = large->walk;
    if (walk == NULL) {
        return;
    }
    struct large *copy = large_create(walk->left); /* what is emitted already need not be copied */
    memcpy(copy->bytes, large->bytes + walk->offset - walk->start, walk->left);
    copy->walk = walk;
    walk->large = copy;
    walk->start = walk->offset;
    large->walk = NULL;
    snapshot_take_large(keyspace, copy);
}

bool snapshot_take_keys(struct keyspace *keyspace, struct detached_keys *keys)
{
    struct snapshot *snapshot = keyspace->snapshot;
    if (snapshot == NULL || snapshot->table != &keyspace->table) {
        return false; /* none, or it keeps the keys of an earlier clear */
    }
    snapshot->table = &keys->table;
    snapshot->detached = keys;
    return true;
}

/* ---- running ---- */

void keyspace_snapshot_begin(struct keyspace *keyspace)
{
    ASSERT(keyspace->snapshot == NULL && keyspace->incomplete == 0);
    struct snapshot *snapshot = memory_allocate_zeroed(1, sizeof(*snapshot));
    snapshot->position = keyspace->last_position;
    snapshot->table = &keyspace->table;
    snapshot->keys = keyspace->table.count;
    snapshot->clear_position = keyspace->clear_position;
    list_init(&snapshot->walks);
    if (keyspace->traces != NULL) {
        size_t size = KEYSPACE_TRACES * sizeof(keyspace->traces[0]);
        snapshot->traces = memory_allocate(size);
        memcpy(snapshot->traces, keyspace->traces, size);
    }
    keyspace->epoch++;
    keyspace->snapshot = snapshot;
}

struct entries_call {
    struct snapshot *snapshot;
    struct buffer *out;
};

static void emit_unchanged(void *owner, void *item)
{
    struct entries_call *call = owner;
    struct entry *entry = item;
    if (entry->version <= call->snapshot->position) {
        emit_entry(call->snapshot, entry, call->out);
    }
}

static void emit_bucket(struct snapshot *snapshot, struct buffer *out)
{
    struct entries_call call = {snapshot, out};
    snapshot->cursor = table_walk(snapshot->table, snapshot->cursor, emit_unchanged, &call);
    snapshot->walked = snapshot->cursor == 0;
}

static void emit_traces(struct snapshot *snapshot, struct buffer *out)
{
    enum { AT_ONCE = 1024 };
    struct buffer record;
    buffer_init(&record);
    buffer_append_byte(&record, RECORD_TRACES);
    uint32_t end = snapshot->next_trace + AT_ONCE, next = 0;
    for (; snapshot->next_trace < end; snapshot->next_trace++) {
        uint64_t trace = snapshot->traces[snapshot->next_trace];
        if (trace != 0) {
            record_put_number(&record, snapshot->next_trace - next);
            record_put_number(&record, trace);
            next = snapshot->next_trace + 1;
        }
    }
    if (record.size > 1) {
        record_put_text(out, buffer_slice(&record));
    }
    buffer_deinit(&record);
}

static void emit_end(struct keyspace *keyspace, struct buffer *out)
{
    struct snapshot *snapshot = keyspace->snapshot;
    ASSERT(snapshot->emitted == snapshot->keys);
    record_put_number(out, 1 + varint_size(snapshot->keys) + varint_size(snapshot->clear_position) +
                               varint_size(snapshot->position));
    buffer_append_byte(out, RECORD_END);
    record_put_number(out, snapshot->keys);
    record_put_number(out, snapshot->clear_position);
    record_put_number(out, snapshot->position);
    snapshot->over = true;
}

bool keyspace_snapshot_step(struct keyspace *keyspace, struct buffer *out, size_t budget_bytes)
{
    struct snapshot *snapshot = keyspace->snapshot;
    ASSERT(snapshot != NULL);
    size_t start = out->size;
    buffer_append_slice(out, buffer_slice(&snapshot->pending));
    buffer_clear(&snapshot->pending);
    buffer_shrink(&snapshot->pending, SNAPSHOT_PIECE_BYTES);
    while (!snapshot->over && out->size - start <= budget_bytes) {
        if (!list_empty(&snapshot->walks)) {
            struct walk *walk = CONTAINER_OF(snapshot->walks.next, struct walk, node);
            if (walk->large != NULL) {
                walk_large(keyspace, walk, out);
            } else {
                walk_hash(keyspace, walk, out, budget_bytes);
            }
        } else if (snapshot->traces != NULL && snapshot->next_trace < KEYSPACE_TRACES) {
            emit_traces(snapshot, out);
        } else if (!snapshot->walked) {
            emit_bucket(snapshot, out);
        } else {
            emit_end(keyspace, out);
        }
    }
    return !snapshot->over;
}

void keyspace_snapshot_end(struct keyspace *keyspace)
{
    struct snapshot *snapshot = keyspace->snapshot;
    if (snapshot == NULL) {
        return;
    }
    LIST_FOR_EACH_SAFE (at, after, &snapshot->walks) {
        walk_end(keyspace, CONTAINER_OF(at, struct walk, node));
    }
    if (snapshot->detached != NULL) {
        garbage_keys(&keyspace->garbage, snapshot->detached);
    }
    buffer_deinit(&snapshot->pending);
    buffer_deinit(&snapshot->fields);
    free(snapshot->traces);
    free(snapshot);
    keyspace->snapshot = NULL;
}

size_t keyspace_snapshot_pending_bytes(const struct keyspace *keyspace)
{
    const struct snapshot *snapshot = keyspace->snapshot;
    return snapshot == NULL ? 0 : snapshot->pending.size + snapshot->owned_bytes;
}
