#include "machine/snapshot_walk.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/record.h"

void snapshot_walk_init(struct snapshot_walk *walk, const struct snapshot_walk_kind *kind, const struct table *table)
{
    *walk = (struct snapshot_walk){.kind = kind, .table = table};
}

void snapshot_walk_deinit(struct snapshot_walk *walk) { buffer_deinit(&walk->pending); }

/* ---- out ---- */

static uint32_t *epoch_of(const struct snapshot_walk *walk, void *item)
{
    return (uint32_t *)(void *)((uint8_t *)item + walk->kind->epoch_offset);
}

void snapshot_walk_keep_slow(struct snapshot_walk *walk, void *item)
{
    const struct snapshot_walk_kind *kind = walk->kind;
    if (*epoch_of(walk, item) == walk->epoch) {
        return;
    }
    ASSERT(!walk->over); /* invariant 1: the cursor has passed all others */
    struct buffer record;
    buffer_init(&record);
    kind->put_item(&record, item);
    record_put_text(&walk->pending, buffer_slice(&record));
    buffer_deinit(&record);
    if (kind->put_behind_item != NULL) {
        kind->put_behind_item(&walk->pending, item);
    }
    *epoch_of(walk, item) = walk->epoch;
}

void snapshot_walk_begin(struct snapshot_walk *walk)
{
    ASSERT(!walk->running);
    walk->running = true;
    walk->over = false;
    walk->epoch++;
    walk->cursor = 0;
    buffer_clear(&walk->pending);
    struct buffer record;
    buffer_init(&record);
    walk->kind->put_marks(&record, walk);
    if (record.size != 0) {
        record_put_text(&walk->pending, buffer_slice(&record));
    }
    buffer_deinit(&record);
    if (walk->kind->put_behind_marks != NULL) {
        walk->kind->put_behind_marks(&walk->pending, walk);
    }
}

static void keep(void *walk, void *item) { snapshot_walk_keep_slow(walk, item); }

bool snapshot_walk_step(struct snapshot_walk *walk, struct buffer *out, size_t budget_bytes)
{
    ASSERT(walk->running);
    while (!walk->over && walk->pending.size < budget_bytes) {
        walk->cursor = table_walk(walk->table, walk->cursor, keep, walk);
        walk->over = walk->cursor == 0;
    }
    buffer_append_slice(out, buffer_slice(&walk->pending));
    buffer_clear(&walk->pending);
    return !walk->over;
}

void snapshot_walk_end(struct snapshot_walk *walk)
{
    walk->running = false;
    buffer_deinit(&walk->pending);
}

/* ---- digest ---- */

struct digesting {
    const struct snapshot_walk_kind *kind;
    struct buffer record;
    uint64_t sum;
};

static void add(struct digesting *digesting)
{
    if (digesting->record.size != 0) {
        digesting->sum += hash_bytes(0, digesting->record.data, digesting->record.size);
        buffer_clear(&digesting->record);
    }
}

static void add_item(void *owner, void *item)
{
    struct digesting *digesting = owner;
    digesting->kind->put_item(&digesting->record, item);
    if (digesting->kind->put_behind_item != NULL) {
        digesting->kind->put_behind_item(&digesting->record, item);
    }
    add(digesting);
}

uint64_t snapshot_walk_digest(const struct snapshot_walk *walk)
{
    struct digesting digesting = {.kind = walk->kind};
    walk->kind->put_marks(&digesting.record, walk);
    add(&digesting);
    if (walk->kind->put_behind_marks != NULL) {
        walk->kind->put_behind_marks(&digesting.record, walk);
        add(&digesting);
    }
    uint64_t cursor = 0;
    do {
        cursor = table_walk(walk->table, cursor, add_item, &digesting);
    } while (cursor != 0);
    buffer_deinit(&digesting.record);
    return digesting.sum;
}

/* ---- back ---- */

enum status snapshot_walk_load(struct snapshot_walk *walk, struct slice record)
{
    uint8_t record_kind;
    ASSERT(snapshot_walk_has(walk, record));
    enum status status = record_take_head(&record, walk->kind->version, &record_kind);
    return status == STATUS_OK ? walk->kind->load(walk, record_kind, record) : status;
}
