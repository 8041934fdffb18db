#include "machine/keys/keyspace.h"

#include "base/memory.h"
#include "machine/events.h"
#include "machine/keys/journal.h"
#include "machine/keys/keyspace_internal.h"
#include "machine/keys/snapshot.h"

#include <stdlib.h>

static bool due_before(const void *a, const void *b) { return slice_compare(entry_key(a), entry_key(b)) < 0; }

static void heaps_init(struct keyspace *keyspace)
{
    static const struct due_order by_key = {offsetof(struct entry, heap_index), due_before};
    due_heap_init(&keyspace->heaps[0], &by_key);
    due_heap_init(&keyspace->heaps[1], &by_key);
}

struct keyspace *keyspace_create(uint64_t hash_seed)
{
    struct keyspace *keyspace = memory_allocate_zeroed(1, sizeof(*keyspace));
    table_init(&keyspace->table, hash_seed, offsetof(struct entry, bytes));
    heaps_init(keyspace);
    bonds_init(&keyspace->bonds, hash_seed);
    return keyspace;
}

/* Hands all keys to the garbage line or to the snapshot that still needs them. */
static void keys_detach(struct keyspace *keyspace)
{
    struct detached_keys *keys = memory_allocate(sizeof(*keys));
    *keys = (struct detached_keys){
        .table = keyspace->table, .heaps[0] = keyspace->heaps[0], .heaps[1] = keyspace->heaps[1]};
    table_init(&keyspace->table, keys->table.seed, keys->table.key_offset);
    heaps_init(keyspace);
    bonds_deinit(&keyspace->bonds);
    if (!snapshot_take_keys(keyspace, keys)) {
        garbage_keys(&keyspace->garbage, keys);
    }
}

void keyspace_destroy(struct keyspace *keyspace)
{
    if (keyspace == NULL) {
        return;
    }
    keyspace_snapshot_end(keyspace);
    keys_detach(keyspace);
    while (garbage_work(&keyspace->garbage, GARBAGE_EFFORT_WORK)) {
    }
    free(keyspace->traces);
    free(keyspace);
}

void keyspace_listen(struct keyspace *keyspace, struct machine_events *events) { keyspace->events = events; }

struct machine_events *keyspace_events(const struct keyspace *keyspace) { return keyspace->events; }

bool keyspace_work(struct keyspace *keyspace) { return garbage_work(&keyspace->garbage, GARBAGE_EFFORT_WORK); }

/* ---- looking ---- */

static struct entry *find(const struct keyspace *keyspace, struct slice key)
{
    return table_find(&keyspace->table, table_hash(&keyspace->table, key), key);
}

const struct entry *keyspace_find(const struct keyspace *keyspace, const struct keyspace_time *time, struct slice key,
                                  bool *ret_must_log)
{
    const struct entry *entry = find(keyspace, key);
    if (entry == NULL || entry_due_by(entry, time->applied_time_ms, time->applied_wall_ms)) {
        return NULL;
    }
    if (entry_due_by(entry, time->present_time_ms, time->present_wall_ms)) {
        if (ret_must_log != NULL) {
            *ret_must_log = true;
        }
        return NULL;
    }
    return entry;
}

uint64_t keyspace_hash(const struct keyspace *keyspace, struct slice key) { return table_hash(&keyspace->table, key); }

void keyspace_prefetch_bucket(const struct keyspace *keyspace, uint64_t hash)
{
    table_prefetch_bucket(&keyspace->table, hash);
}

void keyspace_prefetch_entry(const struct keyspace *keyspace, uint64_t hash)
{
    table_prefetch_item(&keyspace->table, hash);
}

uint64_t keyspace_trace(const struct keyspace *keyspace, uint64_t hash)
{
    uint64_t trace = keyspace->traces == NULL ? 0 : keyspace->traces[hash % KEYSPACE_TRACES];
    return trace > keyspace->clear_position ? trace : keyspace->clear_position;
}

/* The trace of a key that fell due. It depends on the key alone, not on when it is removed: nobody can see that. */
static uint64_t due_trace(const struct entry *entry) { return entry->version + 1; }

uint64_t keyspace_version(const struct keyspace *keyspace, const struct keyspace_time *time, struct slice key)
{
    uint64_t hash = table_hash(&keyspace->table, key);
    const struct entry *entry = table_find(&keyspace->table, hash, key);
    uint64_t trace = keyspace_trace(keyspace, hash);
    if (entry == NULL) {
        return trace;
    }
    if (entry_due_by(entry, time->applied_time_ms, time->applied_wall_ms)) {
        return due_trace(entry) > trace ? due_trace(entry) : trace;
    }
    return entry->version;
}

/* ---- changing ---- */

void keyspace_leave_trace(struct keyspace *keyspace, uint64_t hash, uint64_t position)
{
    if (position == 0) {
        return;
    }
    if (keyspace->traces == NULL) {
        keyspace->traces = memory_allocate_zeroed(KEYSPACE_TRACES, sizeof(keyspace->traces[0]));
    }
    uint64_t *trace = &keyspace->traces[hash % KEYSPACE_TRACES];
    if (position > *trace) {
        *trace = position;
    }
}

static void due_stop(struct keyspace *keyspace, struct entry *entry)
{
    if (entry->due_kind == DUE_NEVER) {
        return;
    }
    if (entry->due_kind == DUE_SESSION) {
        bonds_remove(&keyspace->bonds, entry);
    } else {
        due_heap_remove(&keyspace->heaps[entry->due_kind - 1], entry);
    }
    entry->due_kind = DUE_NEVER;
    keyspace->memory_bytes -= CHARGE_DUE;
}

void keyspace_due_start(struct keyspace *keyspace, struct entry *entry, enum due_kind kind, int64_t due_ms)
{
    ASSERT(kind == DUE_TIME || kind == DUE_WALL || kind == DUE_SESSION);
    entry->due_kind = (uint8_t)kind;
    entry->due_ms = due_ms;
    if (kind == DUE_SESSION) {
        bonds_insert(&keyspace->bonds, entry, (uint64_t)due_ms);
    } else {
        due_heap_insert(&keyspace->heaps[kind - 1], entry, due_ms);
    }
    keyspace->memory_bytes += CHARGE_DUE;
}

void keyspace_detach(struct keyspace *keyspace, struct entry *entry, uint64_t hash)
{
    due_stop(keyspace, entry);
    keyspace->memory_bytes -= entry_memory_bytes(entry);
    keyspace->slot_keys[key_slot(entry_key(entry))]--;
    table_remove(&keyspace->table, hash, entry);
}

static void remove_entry(struct keyspace *keyspace, struct entry *entry, uint64_t hash, uint64_t trace)
{
    snapshot_keep(keyspace, entry);
    keyspace_leave_trace(keyspace, hash, trace);
    keyspace_detach(keyspace, entry, hash);
    entry_drop_value(keyspace, entry);
    free(entry);
    garbage_work(&keyspace->garbage, GARBAGE_EFFORT_WRITE);
}

void keyspace_remove_due(struct keyspace *keyspace, struct entry *entry)
{
    if (keyspace_told(keyspace) != NULL) {
        feed_log_key(keyspace->history, FEED_EXPIRED, entry_key(entry));
    }
    machine_events_note(keyspace->events, EVENT_EXPIRED, "expired", entry_key(entry));
    remove_entry(keyspace, entry, entry_hash(keyspace, entry), due_trace(entry));
    keyspace->expired++;
}

struct entry *keyspace_edit(struct keyspace *keyspace, const struct keyspace_time *time, struct slice key)
{
    struct entry *entry = find(keyspace, key);
    if (entry != NULL && entry_due_by(entry, time->applied_time_ms, time->applied_wall_ms)) {
        keyspace_remove_due(keyspace, entry);
        return NULL;
    }
    return entry;
}

void keyspace_insert(struct keyspace *keyspace, uint64_t hash, struct entry *entry)
{
    table_insert(&keyspace->table, hash, entry);
    keyspace->slot_keys[key_slot(entry_key(entry))]++;
    keyspace->memory_bytes += entry_memory_bytes(entry);
}

/* Puts a new entry in, newer than all that a running snapshot has. */
struct entry *keyspace_insert_new(struct keyspace *keyspace, struct entry *entry)
{
    uint64_t hash = entry_hash(keyspace, entry);
    ASSERT(table_find(&keyspace->table, hash, entry_key(entry)) == NULL);
    journal_note(keyspace, entry_key(entry), NULL);
    machine_events_note(keyspace->events, EVENT_NEW, "new", entry_key(entry));
    entry->version = keyspace->last_position + 1;
    keyspace_insert(keyspace, hash, entry);
    return entry;
}

struct entry *keyspace_add(struct keyspace *keyspace, struct slice key, enum entry_type type)
{
    struct entry *entry = entry_create(key, 0);
    if (type == ENTRY_HASH) {
        entry_set_pointer(entry, VALUE_PACKED, packed_create(0));
    }
    return keyspace_insert_new(keyspace, entry);
}

struct entry *keyspace_add_string(struct keyspace *keyspace, struct slice key, struct slice value)
{
    struct entry *entry = entry_create(key, value.size <= ENTRY_INLINE_MAXIMUM ? value.size : 0);
    return entry_set_string(keyspace, keyspace_insert_new(keyspace, entry), value);
}

static void stamp(struct keyspace *keyspace, struct entry *entry, uint64_t position)
{
    ASSERT(entry_is_string(entry) || entry_hash_size(entry) > 0);
    ASSERT(position > 0);
    keyspace_saw(keyspace, position);
    entry->version = position;
    garbage_work(&keyspace->garbage, GARBAGE_EFFORT_WRITE);
}

void keyspace_changed(struct keyspace *keyspace, struct entry *entry, uint64_t position)
{
    if (keyspace_told(keyspace) != NULL) {
        keyspace_tell_value(keyspace, entry);
    }
    stamp(keyspace, entry, position);
}

void keyspace_due_changed(struct keyspace *keyspace, struct entry *entry, uint64_t position)
{
    if (keyspace_told(keyspace) != NULL) {
        keyspace_tell_due(keyspace, entry);
    }
    stamp(keyspace, entry, position);
}

void keyspace_remove(struct keyspace *keyspace, struct entry *entry, uint64_t position)
{
    if (keyspace_told(keyspace) != NULL) {
        feed_log_key(keyspace->history, FEED_DEL, entry_key(entry));
    }
    keyspace_saw(keyspace, position);
    journal_note(keyspace, entry_key(entry), entry);
    remove_entry(keyspace, entry, entry_hash(keyspace, entry), position);
}

void keyspace_drop(struct keyspace *keyspace, struct entry *entry)
{
    journal_note(keyspace, entry_key(entry), entry);
    remove_entry(keyspace, entry, entry_hash(keyspace, entry), 0);
}

void keyspace_touch_absent(struct keyspace *keyspace, struct slice key, uint64_t position)
{
    uint64_t hash = table_hash(&keyspace->table, key);
    ASSERT(table_find(&keyspace->table, hash, key) == NULL);
    keyspace_saw(keyspace, position);
    keyspace_leave_trace(keyspace, hash, position);
}

void keyspace_forget_trace(struct keyspace *keyspace, struct slice key)
{
    if (keyspace->traces != NULL) {
        keyspace->traces[table_hash(&keyspace->table, key) % KEYSPACE_TRACES] = 0;
    }
}

struct trace_call {
    struct keyspace *keyspace;
    uint64_t position;
};

static void leave_trace(void *owner, void *item)
{
    struct trace_call *call = owner;
    keyspace_leave_trace(call->keyspace, entry_hash(call->keyspace, item), call->position);
}

void keyspace_clear(struct keyspace *keyspace, uint64_t position)
{
    ASSERT(keyspace->journal == NULL); /* it would have to hold everything */
    if (keyspace->table.count == 0) {
        return;
    }
    if (keyspace_told(keyspace) != NULL) {
        feed_log_key(keyspace->history, FEED_FLUSH, (struct slice){0});
    }
    keyspace_saw(keyspace, position);
    if (keyspace->table.count <= KEYSPACE_CLEAR_TRACES) {
        struct trace_call call = {keyspace, position};
        uint64_t cursor = 0;
        do {
            cursor = table_walk(&keyspace->table, cursor, leave_trace, &call);
        } while (cursor != 0);
    } else {
        keyspace->clear_position = position;
    }
    keyspace->memory_bytes = 0;
    memset(keyspace->slot_keys, 0, sizeof(keyspace->slot_keys));
    keys_detach(keyspace);
}

void entry_set_due(struct keyspace *keyspace, struct entry *entry, enum due_kind kind, int64_t due_ms)
{
    keyspace_keep(keyspace, entry);
    due_stop(keyspace, entry);
    if (kind != DUE_NEVER) {
        keyspace_due_start(keyspace, entry, kind, due_ms);
    }
}

/* ---- figures ---- */

uint64_t keyspace_count(const struct keyspace *keyspace) { return keyspace->table.count; }

uint64_t keyspace_last_position(const struct keyspace *keyspace) { return keyspace->last_position; }

uint64_t keyspace_count_in_slot(const struct keyspace *keyspace, uint16_t slot)
{
    ASSERT(slot < KEY_SLOTS);
    return keyspace->slot_keys[slot];
}

uint64_t keyspace_count_with_expiry(const struct keyspace *keyspace)
{
    return (uint64_t)keyspace->heaps[0].count + keyspace->heaps[1].count;
}

uint64_t keyspace_expired(const struct keyspace *keyspace) { return keyspace->expired; }

uint64_t keyspace_memory_bytes(const struct keyspace *keyspace) { return keyspace->memory_bytes; }
