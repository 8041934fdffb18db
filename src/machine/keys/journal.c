#include "machine/keys/journal.h"

#include "base/memory.h"
#include "machine/keys/dump.h"
#include "machine/keys/snapshot.h"

#include <stdlib.h>

struct field_note {
    struct field_note *earlier;
    bool present;
    uint32_t name_size, value_size;
    uint8_t bytes[]; /* name, value */
};

struct key_note {
    uint32_t key_size; /* first: struct table_item */
    struct key_note *earlier;
    struct journal *journal;
    struct buffer dump; /* empty: the key was absent, or it has a hash */
    struct hash *hash;
    bool let_go; /* the hash is in no entry any more */
    enum due_kind due_kind;
    int64_t due_ms;
    struct field_note *fields; /* the last one first */
    uint8_t key[];
};

struct journal {
    struct key_note *last;
    struct table index;
    size_t bytes; /* of all notes: names, values, and themselves */
};

void keyspace_journal_begin(struct keyspace *keyspace)
{
    ASSERT(keyspace->journal == NULL);
    keyspace->journal = memory_allocate_zeroed(1, sizeof(*keyspace->journal));
    table_init(&keyspace->journal->index, keyspace->table.seed, offsetof(struct key_note, key));
    if (keyspace->history != NULL) {
        feed_log_hold(keyspace->history);
    }
}

static struct slice key_of(const struct key_note *note) { return slice_of(note->key, note->key_size); }

void journal_note_slow(struct keyspace *keyspace, struct slice key, struct entry *entry)
{
    struct journal *journal = keyspace->journal;
    uint64_t hash = table_hash(&journal->index, key);
    if (table_find(&journal->index, hash, key) != NULL) {
        return;
    }
    struct key_note *note = memory_allocate(sizeof(*note) + key.size);
    journal->bytes += sizeof(*note) + key.size;
    *note = (struct key_note){.earlier = journal->last, .journal = journal, .key_size = (uint32_t)key.size};
    if (key.size > 0) {
        memcpy(note->key, key.data, key.size);
    }
    journal->last = note;
    table_insert(&journal->index, hash, note);
    if (entry != NULL && entry->kind == VALUE_TABLE) {
        note->hash = entry_pointer(entry);
        note->hash->note = note;
        note->due_kind = entry_due(entry, &note->due_ms);
    } else if (entry != NULL) {
        entry_dump_here(entry, &note->dump);
        journal->bytes += note->dump.size;
    }
}

size_t keyspace_journal_bytes(const struct keyspace *keyspace)
{
    return keyspace->journal == NULL ? 0 : keyspace->journal->bytes;
}

size_t keyspace_journal_needs(const struct keyspace *keyspace, struct slice key)
{
    const struct journal *journal = keyspace->journal;
    if (journal == NULL || table_find(&journal->index, table_hash(&journal->index, key), key) != NULL) {
        return 0;
    }
    const struct entry *entry = table_find(&keyspace->table, table_hash(&keyspace->table, key), key);
    size_t value = entry == NULL || entry->kind == VALUE_TABLE ? 0 : entry_memory_bytes(entry);
    return sizeof(struct key_note) + key.size + value;
}

void journal_note_field(struct key_note *note, struct slice name, const struct slice *before)
{
    size_t value_size = before == NULL ? 0 : before->size;
    struct field_note *field = memory_allocate(sizeof(*field) + name.size + value_size);
    note->journal->bytes += sizeof(*field) + name.size + value_size;
    *field = (struct field_note){.earlier = note->fields,
                                 .present = before != NULL,
                                 .name_size = (uint32_t)name.size,
                                 .value_size = (uint32_t)value_size};
    if (name.size > 0) {
        memcpy(field->bytes, name.data, name.size);
    }
    if (value_size > 0) {
        memcpy(field->bytes + name.size, before->data, value_size);
    }
    note->fields = field;
}

void journal_take_hash(struct hash *hash)
{
    ASSERT(!hash->note->let_go);
    hash->note->let_go = true;
}

/* ---- undoing ---- */

static struct entry *restore_hash(struct keyspace *keyspace, struct key_note *note)
{
    struct entry *entry = entry_create(key_of(note), 0);
    entry_set_pointer(entry, VALUE_TABLE, note->hash);
    note->let_go = false;
    keyspace_insert_new(keyspace, entry);
    return entry;
}

static void undo_fields(struct keyspace *keyspace, struct entry *entry, const struct key_note *note)
{
    for (const struct field_note *field = note->fields; field != NULL; field = field->earlier) {
        struct slice name = slice_of(field->bytes, field->name_size);
        if (field->present) {
            (void)entry_hash_set(keyspace, entry, name, slice_of(field->bytes + field->name_size, field->value_size));
        } else {
            (void)entry_hash_remove(keyspace, entry, name);
        }
    }
}

static void undo_key(struct keyspace *keyspace, struct key_note *note, uint64_t position)
{
    struct slice key = key_of(note);
    struct entry *entry = table_find(&keyspace->table, table_hash(&keyspace->table, key), key);
    bool in_place = note->hash != NULL && !note->let_go;
    if (note->hash != NULL) {
        note->hash->note = NULL; /* what undoing changes is noted no more */
    }
    if (entry != NULL && !in_place) {
        keyspace_drop(keyspace, entry);
    }
    if (note->hash != NULL) {
        entry = in_place ? entry : restore_hash(keyspace, note);
        undo_fields(keyspace, entry, note);
        entry_set_due(keyspace, entry, note->due_kind, note->due_ms);
    } else if (note->dump.size > 0) {
        ASSERT(keyspace_restore(keyspace, NULL, key, buffer_slice(&note->dump), &entry) == STATUS_OK);
    } else {
        keyspace_touch_absent(keyspace, key, position);
        return;
    }
    keyspace_changed(keyspace, entry, position);
}

/* A hash that no key has any more: as if its key had let go of it just now. */
static void free_note(struct keyspace *keyspace, struct key_note *note)
{
    if (note->hash != NULL) {
        note->hash->note = NULL;
    }
    ASSERT(!note->let_go || note->hash != NULL);
    if (note->let_go && note->hash->walk != NULL) {
        snapshot_take_hash(note->hash);
    } else if (note->let_go) {
        garbage_hash(&keyspace->garbage, note->hash);
    }
    while (note->fields != NULL) {
        struct field_note *field = note->fields;
        note->fields = field->earlier;
        free(field);
    }
    buffer_deinit(&note->dump);
    free(note);
}

static void release_nothing(void *owner, void *item) {}

void keyspace_journal_end(struct keyspace *keyspace, bool undo, uint64_t position)
{
    struct journal *journal = keyspace->journal;
    keyspace->journal = NULL;
    struct feed_log *history = keyspace->history;
    keyspace->history = undo ? NULL : history; /* undoing is no change */
    while (journal->last != NULL) {
        struct key_note *note = journal->last;
        journal->last = note->earlier;
        table_remove(&journal->index, table_hash(&journal->index, key_of(note)), note);
        if (undo) {
            undo_key(keyspace, note, position);
        }
        free_note(keyspace, note);
    }
    while (table_release(&journal->index, 1024, release_nothing, NULL)) {
    }
    free(journal);
    keyspace->history = history;
    if (history != NULL) {
        feed_log_release(history, undo);
    }
}
