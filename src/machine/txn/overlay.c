#include "machine/txn/overlay.h"

#include "base/assert.h"
#include "base/memory.h"
#include "machine/dispatch.h"
#include "machine/keys/dump.h"
#include "machine/keys/table.h"
#include "machine/session/ties.h"

#include <stdlib.h>

/* Every change in an overlay gets this version, which no key in a shard ever has. */
#define OVERLAY_POSITION ((uint64_t)INT64_MAX - 1)

struct loaded {
    uint32_t key_size; /* first: struct table_item */
    bool seems;        /* looks see `shape`, whatever is here */
    uint8_t shape;
    uint64_t version;
    uint8_t key[];
};

struct overlay {
    struct keyspace *keyspace;
    struct table index;     /* of struct loaded */
    struct loaded **loaded; /* in order */
    size_t count, capacity;
    size_t loaded_bytes; /* of all that is loaded, but their values */
    bool flushed;
    int64_t time_ms, wall_ms;
    struct prng prng;
    struct command_arguments queued;
    const struct machine_scripts *scripts;
    struct scripts_spent *spent;
    struct machine_events *events;
    struct ties own, *ties; /* `ties`: those that are used */
};

struct overlay *overlay_create(uint64_t hash_seed)
{
    struct overlay *overlay = memory_allocate_zeroed(1, sizeof(*overlay));
    ties_init(&overlay->own, hash_seed);
    overlay->own.open = true;
    overlay->ties = &overlay->own;
    overlay->keyspace = keyspace_create(hash_seed);
    table_init(&overlay->index, hash_seed, offsetof(struct loaded, key));
    prng_seed(&overlay->prng, hash_seed);
    command_arguments_init(&overlay->queued);
    return overlay;
}

void overlay_use_scripts(struct overlay *overlay, const struct machine_scripts *scripts, struct scripts_spent *spent)
{
    overlay->scripts = scripts;
    overlay->spent = spent;
}

void overlay_listen(struct overlay *overlay, struct machine_events *events) { overlay->events = events; }

void overlay_use_ties(struct overlay *overlay, struct ties *ties)
{
    ASSERT(overlay->count == 0); /* what is loaded has ordinals of these */
    overlay->ties = ties == NULL ? &overlay->own : ties;
}

bool overlay_untied(const struct overlay *overlay, struct session_id *ret_id)
{
    if (list_empty(&overlay->own.asked)) {
        return false;
    }
    *ret_id = tie_id(CONTAINER_OF(overlay->own.asked.next, struct tie, node));
    return true;
}

void overlay_tied(struct overlay *overlay, struct session_id id) { (void)ties_name(&overlay->own, id, true); }

static void release_nothing(void *owner, void *item)
{
    (void)owner;
    (void)item;
}

void overlay_destroy(struct overlay *overlay)
{
    if (overlay == NULL) {
        return;
    }
    overlay_clear(overlay);
    while (table_release(&overlay->index, 1024, release_nothing, NULL)) {
    }
    keyspace_destroy(overlay->keyspace);
    ties_deinit(&overlay->own);
    command_arguments_deinit(&overlay->queued);
    free(overlay->loaded);
    free(overlay);
}

static struct slice key_of(const struct loaded *loaded) { return slice_of(loaded->key, loaded->key_size); }

/* As seen by whoever looks at the times of the overlay: nothing is due in between. */
static struct keyspace_time time_of(const struct overlay *overlay)
{
    return (struct keyspace_time){overlay->time_ms, overlay->wall_ms, overlay->time_ms, overlay->wall_ms};
}

/* Nothing is due at this time: what is there is found. */
static const struct keyspace_time before_all = {INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN};

void overlay_clear(struct overlay *overlay)
{
    for (size_t i = 0; i < overlay->count; i++) {
        struct loaded *loaded = overlay->loaded[i];
        struct entry *entry = keyspace_edit(overlay->keyspace, &before_all, key_of(loaded));
        if (entry != NULL) {
            keyspace_drop(overlay->keyspace, entry);
        }
        keyspace_forget_trace(overlay->keyspace, key_of(loaded));
        table_remove(&overlay->index, table_hash(&overlay->index, key_of(loaded)), loaded);
        free(loaded);
    }
    overlay->count = 0;
    overlay->loaded_bytes = 0;
    overlay->flushed = false;
    overlay->time_ms = 0;
    overlay->wall_ms = 0;
    ties_clear(&overlay->own);
    ASSERT(keyspace_count(overlay->keyspace) == 0); /* invariant 1 was kept */
}

void overlay_set_time(struct overlay *overlay, int64_t time_ms, int64_t wall_ms)
{
    ASSERT(time_ms >= overlay->time_ms && wall_ms >= overlay->wall_ms);
    overlay->time_ms = time_ms;
    overlay->wall_ms = wall_ms;
}

static struct loaded *find(const struct overlay *overlay, struct slice key)
{
    return table_find(&overlay->index, table_hash(&overlay->index, key), key);
}

bool overlay_has(const struct overlay *overlay, struct slice key) { return find(overlay, key) != NULL; }

bool overlay_version(const struct overlay *overlay, struct slice key, uint64_t *ret_version)
{
    const struct loaded *loaded = find(overlay, key);
    *ret_version = loaded == NULL ? *ret_version : loaded->version;
    return loaded != NULL;
}

static void note_loaded(struct overlay *overlay, struct slice key, uint64_t version)
{
    struct loaded *loaded = memory_allocate(sizeof(*loaded) + key.size);
    *loaded = (struct loaded){.key_size = (uint32_t)key.size, .version = version};
    if (key.size > 0) {
        memcpy(loaded->key, key.data, key.size);
    }
    if (overlay->count == overlay->capacity) {
        overlay->capacity = overlay->capacity == 0 ? 8 : overlay->capacity * 2;
        overlay->loaded = memory_resize(overlay->loaded, overlay->capacity * sizeof(struct loaded *));
    }
    overlay->loaded[overlay->count++] = loaded;
    overlay->loaded_bytes += sizeof(*loaded) + key.size;
    table_insert(&overlay->index, table_hash(&overlay->index, key), loaded);
}

enum status overlay_load(struct overlay *overlay, struct slice key, uint64_t version, struct slice value)
{
    ASSERT(!overlay_has(overlay, key) && version < OVERLAY_POSITION);
    if (value.size != 0) {
        struct entry *entry = NULL;
        struct session_id id;
        enum status status = keyspace_restore(overlay->keyspace, overlay->ties, key, value, &entry);
        if (status != STATUS_OK) {
            return status;
        }
        if (overlay->ties == &overlay->own && dump_session(value, &id)) {
            overlay_tied(overlay, id); /* where this comes from */
        }
        keyspace_changed(overlay->keyspace, entry, version == 0 ? 1 : version);
    }
    note_loaded(overlay, key, version);
    return STATUS_OK;
}

enum status overlay_put(struct overlay *overlay, struct slice key, struct slice value)
{
    ASSERT(overlay_has(overlay, key));
    struct keyspace_time time = time_of(overlay);
    struct entry *former = keyspace_edit(overlay->keyspace, &time, key);
    if (former != NULL) {
        keyspace_remove(overlay->keyspace, former, OVERLAY_POSITION);
    }
    if (value.size == 0) {
        if (former == NULL) {
            keyspace_touch_absent(overlay->keyspace, key, OVERLAY_POSITION);
        }
        return STATUS_OK;
    }
    struct entry *entry = NULL;
    enum status status = keyspace_restore(overlay->keyspace, overlay->ties, key, value, &entry);
    if (status == STATUS_OK) {
        keyspace_changed(overlay->keyspace, entry, OVERLAY_POSITION);
    }
    return status;
}

const struct entry *overlay_look(const struct overlay *overlay, struct slice key)
{
    struct keyspace_time time = time_of(overlay);
    return keyspace_find(overlay->keyspace, &time, key, NULL);
}

void overlay_dump(const struct overlay *overlay, struct slice key, struct buffer *out)
{
    const struct entry *entry = overlay_look(overlay, key);
    if (entry != NULL) {
        entry_dump(entry, overlay->ties, out);
    }
}

bool overlay_takes(const struct command *command)
{
    const struct command_spec *spec = command->spec;
    return spec->place == COMMAND_AT_MACHINE && !spec->internal && spec->first_key != 0 &&
           (spec->flags & COMMAND_NO_MULTI) == 0; /* about locks */
}

bool overlay_flushes(const struct command *command)
{
    return command->spec->id == COMMAND_FLUSHALL || command->spec->id == COMMAND_FLUSHDB;
}

bool overlay_flushed(const struct overlay *overlay) { return overlay->flushed; }

static void flush(struct overlay *overlay, struct call *call)
{
    if (!call_flush_asked(call)) {
        return;
    }
    for (size_t i = 0; i < overlay->count; i++) {
        struct entry *entry = keyspace_edit(overlay->keyspace, &call->time, key_of(overlay->loaded[i]));
        if (entry != NULL) {
            keyspace_remove(overlay->keyspace, entry, OVERLAY_POSITION);
        }
        overlay->loaded[i]->seems = false;
    }
    overlay->flushed = true;
    call_ok(call);
}

void overlay_run(struct overlay *overlay, const struct command *command, struct resp_writer *reply)
{
    ASSERT(overlay_takes(command) || overlay_flushes(command));
    size_t start = reply->out == NULL ? 0 : reply->out->size;
    struct call call = {
        .keyspace = overlay->keyspace,
        .ties = overlay->ties,
        .scripts = overlay->scripts,
        .spent = overlay->spent,
        .events = overlay->events,
        .time = time_of(overlay),
        .position = OVERLAY_POSITION,
        .spec = command->spec,
        .argv = command->argv,
        .argc = command->argc,
        .reply = resp_writer_to(reply->out, command->protocol),
        .reply_start = start,
        .reply_base = start,
        .prng = &overlay->prng,
        .queued = &overlay->queued,
    };
    if (overlay_flushes(command)) {
        flush(overlay, &call);
    } else {
        dispatch_find(command->spec)(&call);
    }
}

size_t overlay_count(const struct overlay *overlay) { return overlay->count; }

static enum overlay_shape shape_of(const struct loaded *loaded, const struct entry *entry)
{
    if (loaded->seems) {
        return (enum overlay_shape)loaded->shape;
    }
    return entry == NULL ? SHAPE_NONE : entry_type(entry) == ENTRY_STRING ? SHAPE_STRING : SHAPE_HASH;
}

bool overlay_shape(const struct overlay *overlay, struct slice key, enum overlay_shape *ret_shape)
{
    const struct loaded *loaded = find(overlay, key);
    if (loaded != NULL) {
        *ret_shape = shape_of(loaded, loaded->seems ? NULL : overlay_look(overlay, key));
    }
    return loaded != NULL;
}

bool overlay_seem(struct overlay *overlay, struct slice key, enum overlay_shape shape)
{
    struct loaded *loaded = find(overlay, key);
    if (loaded != NULL) {
        loaded->seems = true;
        loaded->shape = (uint8_t)shape;
    }
    return loaded != NULL;
}

void overlay_seem_flushed(struct overlay *overlay) { overlay->flushed = true; }

void overlay_at(const struct overlay *overlay, size_t at, struct overlay_key *ret_key)
{
    ASSERT(at < overlay->count);
    struct slice key = key_of(overlay->loaded[at]);
    struct keyspace_time time = time_of(overlay);
    const struct entry *entry = overlay_look(overlay, key);
    *ret_key = (struct overlay_key){
        .key = key,
        .version = overlay->loaded[at]->version,
        .changed = keyspace_version(overlay->keyspace, &time, key) == OVERLAY_POSITION,
        .present = entry != NULL,
        .shape = shape_of(overlay->loaded[at], entry),
    };
}

size_t overlay_value_bytes(const struct overlay *overlay) { return keyspace_memory_bytes(overlay->keyspace); }

size_t overlay_memory_bytes(const struct overlay *overlay)
{
    return keyspace_memory_bytes(overlay->keyspace) + overlay->loaded_bytes + overlay->own.memory_bytes +
           overlay->capacity * sizeof(struct loaded *);
}

bool overlay_work(struct overlay *overlay) { return keyspace_work(overlay->keyspace); }
