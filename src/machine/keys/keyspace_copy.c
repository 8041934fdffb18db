/* Keys under other names, with what they have and until when. */
#include "machine/keys/journal.h"
#include "machine/keys/keyspace_internal.h"

#include <stdlib.h>

/* The journal's note of a large hash is for the key that had it, so another key gets a copy. */
static struct entry *copy_and_remove(struct keyspace *keyspace, struct entry *from, struct slice to, uint64_t position)
{
    struct entry *entry = keyspace_copy(keyspace, from, to);
    keyspace_remove(keyspace, from, position);
    keyspace_tell_whole(keyspace, entry, false);
    keyspace_changed(keyspace, entry, position);
    return entry;
}

struct entry *keyspace_rename(struct keyspace *keyspace, struct entry *from, struct slice to, uint64_t position)
{
    if (keyspace->journal != NULL && from->kind == VALUE_TABLE) {
        return copy_and_remove(keyspace, from, to, position);
    }
    keyspace_keep(keyspace, from);
    if (keyspace_told(keyspace) != NULL) {
        feed_log_key(keyspace->history, FEED_DEL, entry_key(from));
    }
    uint64_t hash = entry_hash(keyspace, from);
    enum due_kind due_kind = from->due_kind;
    struct entry *entry = entry_create(to, entry_area_size(from));
    memcpy(entry_value(entry), entry_value(from), entry_area_size(from));
    entry->kind = from->kind;
    entry->value_size = from->value_size;
    keyspace_detach(keyspace, from, hash);
    keyspace_insert_new(keyspace, entry);
    if (due_kind != DUE_NEVER) {
        keyspace_due_start(keyspace, entry, due_kind, from->due_ms);
    }
    keyspace_leave_trace(keyspace, hash, position);
    free(from);
    keyspace_tell_whole(keyspace, entry, false);
    keyspace_changed(keyspace, entry, position);
    return entry;
}

static bool copy_field(void *owner, struct slice name, struct slice value)
{
    hash_add(owner, name, value, 0);
    return true;
}

struct entry *keyspace_copy(struct keyspace *keyspace, const struct entry *from, struct slice to)
{
    struct entry *entry = entry_create(to, entry_area_size(from));
    entry->value_size = from->value_size;
    entry->kind = from->kind;
    if (from->kind == VALUE_LARGE) {
        struct large *large = large_create(from->value_size);
        memcpy(large->bytes, ((const struct large *)entry_pointer(from))->bytes, from->value_size);
        entry_set_pointer(entry, VALUE_LARGE, large);
    } else if (from->kind == VALUE_PACKED) {
        const struct packed *packed = entry_pointer(from);
        entry_set_pointer(entry, VALUE_PACKED,
                          packed_create_copy(slice_of(packed->bytes, packed->size), packed->count));
    } else if (from->kind == VALUE_TABLE) {
        struct hash *hash = hash_create(keyspace->table.seed);
        entry_hash_each(from, copy_field, hash);
        entry_set_pointer(entry, VALUE_TABLE, hash);
    } else {
        memcpy(entry_value(entry), entry_value(from), entry_area_size(from));
    }
    keyspace_insert_new(keyspace, entry);
    if (from->due_kind != DUE_NEVER) {
        keyspace_due_start(keyspace, entry, from->due_kind, from->due_ms);
    }
    return entry;
}
