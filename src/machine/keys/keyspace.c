#include "machine/keys/keyspace.h"

#include "base/memory.h"
#include "base/prng.h"
#include "machine/events.h"
#include "machine/keys/journal.h"
#include "machine/keys/keyspace_internal.h"
#include "machine/keys/snapshot.h"

#include <stdlib.h>

enum { RANDOM_TRIES = 64, RANDOM_WALK_BUCKETS = 64 };

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

/* Takes the entry out of table and heap; the snapshot has what it needs of it. */
static void detach(struct keyspace *keyspace, struct entry *entry, uint64_t hash)
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
    detach(keyspace, entry, hash);
    entry_drop_value(keyspace, entry);
    free(entry);
    garbage_work(&keyspace->garbage, GARBAGE_EFFORT_WRITE);
}

static void remove_due(struct keyspace *keyspace, struct entry *entry)
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
        remove_due(keyspace, entry);
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
    detach(keyspace, from, hash);
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

void entry_set_due(struct keyspace *keyspace, struct entry *entry, enum due_kind kind, int64_t due_ms)
{
    keyspace_keep(keyspace, entry);
    due_stop(keyspace, entry);
    if (kind != DUE_NEVER) {
        keyspace_due_start(keyspace, entry, kind, due_ms);
    }
}

/* ---- walking ---- */

struct scan_call {
    const struct keyspace_time *time;
    void (*each)(void *owner, const struct entry *entry);
    void *owner;
    size_t met;
};

static bool entry_live(const struct entry *entry, const struct keyspace_time *time)
{
    return !entry_due_by(entry, time->applied_time_ms, time->applied_wall_ms) &&
           !entry_due_by(entry, time->present_time_ms, time->present_wall_ms);
}

static void scan_entry(void *owner, void *item)
{
    struct scan_call *call = owner;
    call->met++;
    if (entry_live(item, call->time)) {
        call->each(call->owner, item);
    }
}

uint64_t keyspace_scan(const struct keyspace *keyspace, const struct keyspace_time *time, uint64_t cursor, size_t count,
                       void (*each)(void *owner, const struct entry *entry), void *owner)
{
    struct scan_call call = {time, each, owner, 0};
    size_t buckets = 0;
    do {
        cursor = table_walk(&keyspace->table, cursor, scan_entry, &call);
    } while (cursor != 0 && call.met < count && ++buckets < count);
    return cursor;
}

static void take_entry(void *owner, const struct entry *entry) { *(const struct entry **)owner = entry; }

const struct entry *keyspace_random(const struct keyspace *keyspace, const struct keyspace_time *time, uint64_t random)
{
    for (int i = 0; i < RANDOM_TRIES && keyspace->table.count > 0; i++) {
        const struct entry *entry = table_random(&keyspace->table, prng_splitmix(&random));
        if (entry_live(entry, time)) {
            return entry;
        }
    }
    const struct entry *found = NULL;
    uint64_t cursor = table_position(prng_splitmix(&random));
    for (int i = 0; i < RANDOM_WALK_BUCKETS && found == NULL; i++) {
        cursor = keyspace_scan(keyspace, time, cursor, 1, take_entry, &found);
    }
    return found;
}

/* ---- expiry ---- */

static struct entry *heap_due(const struct keyspace *keyspace, enum due_kind kind, int64_t now_ms)
{
    const struct due_item *first = due_heap_first(&keyspace->heaps[kind - 1]);
    return first == NULL || first->due_ms > now_ms ? NULL : first->of;
}

size_t keyspace_expire(struct keyspace *keyspace, const struct keyspace_time *time, size_t limit, uint64_t position)
{
    size_t removed = 0;
    keyspace_saw(keyspace, position);
    for (; removed < limit; removed++) {
        struct entry *by_time = heap_due(keyspace, DUE_TIME, time->applied_time_ms);
        struct entry *by_wall = heap_due(keyspace, DUE_WALL, time->applied_wall_ms);
        struct entry *first = by_time;
        if (by_time == NULL || (by_wall != NULL && by_wall->due_ms < by_time->due_ms)) {
            first = by_wall;
        }
        if (first == NULL) {
            break;
        }
        remove_due(keyspace, first);
    }
    return removed;
}

void keyspace_next_due(const struct keyspace *keyspace, int64_t *ret_time_ms, int64_t *ret_wall_ms)
{
    const struct due_item *by_time = due_heap_first(&keyspace->heaps[DUE_TIME - 1]);
    const struct due_item *by_wall = due_heap_first(&keyspace->heaps[DUE_WALL - 1]);
    *ret_time_ms = by_time == NULL ? INT64_MAX : by_time->due_ms;
    *ret_wall_ms = by_wall == NULL ? INT64_MAX : by_wall->due_ms;
}

/* ---- keys that end with a session ---- */

uint64_t keyspace_count_bonded(const struct keyspace *keyspace, uint64_t ordinal)
{
    const struct bond *bond = bonds_find(&keyspace->bonds, ordinal);
    return bond == NULL ? 0 : bond->count;
}

uint64_t keyspace_count_all_bonded(const struct keyspace *keyspace) { return keyspace->bonds.count; }

size_t keyspace_end_bond(struct keyspace *keyspace, uint64_t ordinal, size_t limit, uint64_t position)
{
    struct bond *bond = bonds_find(&keyspace->bonds, ordinal);
    size_t count = bond == NULL ? 0 : bond->count;
    if (count == 0 || limit == 0) {
        return 0;
    }
    bond_sort(bond);
    size_t removed = count < limit ? count : limit;
    struct entry **entries = memory_allocate(removed * sizeof(struct entry *));
    memcpy(entries, bond->entries, removed * sizeof(struct entry *));
    for (size_t i = 0; i < removed; i++) {
        keyspace_remove(keyspace, entries[i], position);
    }
    free(entries);
    return removed;
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
