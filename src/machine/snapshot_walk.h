/* A table's part of a snapshot: its items as they were when the snapshot began, while they change. Locks, sessions,
 * ties, meets and services have one each; keys, of which some are large, have their own (keys/snapshot.h).
 *
 * A cursor goes through the table; whoever changes an item that it has not passed puts the record of what it was into
 * `pending` first (snapshot_walk_keep).
 *
 * Invariants
 * 1. While it runs: exactly the items whose epoch is another one than the walk's belong to the snapshot and are not in
 *    its records yet. A new item gets the walk's present epoch.
 * 2. The record of the marks comes before those of items, and behind each comes what its kind puts behind it.
 * 3. The digest is that of the records, in any order of items, and the same whether a snapshot runs or not. */
#pragma once

#include "base/buffer.h"
#include "base/status.h"
#include "machine/keys/table.h"

struct snapshot_walk;

/* What is in the table, and how that is written and read. */
struct snapshot_walk_kind {
    uint8_t records[4];  /* the kinds of its records; 0: no more */
    uint8_t version;     /* of their form */
    size_t epoch_offset; /* in an item, of its uint32_t epoch */
    /* A record: of what there is besides the items (nothing, as long as that is so); of an item. */
    void (*put_marks)(struct buffer *record, const struct snapshot_walk *walk);
    void (*put_item)(struct buffer *record, const void *item);
    /* Whole records, each behind its size, that follow these; NULL: there are none. */
    void (*put_behind_marks)(struct buffer *out, const struct snapshot_walk *walk);
    void (*put_behind_item)(struct buffer *out, const void *item);
    /* Back, without kind and version. Whatever the bytes are, what was taken before stays sound. */
    enum status (*load)(struct snapshot_walk *walk, uint8_t record_kind, struct slice rest);
};

struct snapshot_walk {
    const struct snapshot_walk_kind *kind; /* borrowed, as the table */
    const struct table *table;
    uint64_t cursor;
    uint32_t epoch;
    bool running, over;    /* over: nothing is left to emit */
    struct buffer pending; /* records that are to go out next */
};

void snapshot_walk_init(struct snapshot_walk *walk, const struct snapshot_walk_kind *kind, const struct table *table);
void snapshot_walk_deinit(struct snapshot_walk *walk);

void snapshot_walk_keep_slow(struct snapshot_walk *walk, void *item);
/* Before each change of an item: the running snapshot has it as it was. */
static inline void snapshot_walk_keep(struct snapshot_walk *walk, void *item)
{
    if (__builtin_expect(walk->running, 0)) {
        snapshot_walk_keep_slow(walk, item);
    }
}

/* ---- as machine.h has them ---- */

void snapshot_walk_begin(struct snapshot_walk *walk);
/* Appends whole records, each behind its size; budget_bytes is a soft limit. False when all are out. */
bool snapshot_walk_step(struct snapshot_walk *walk, struct buffer *out, size_t budget_bytes);
void snapshot_walk_end(struct snapshot_walk *walk);

/* Whether the record is one of this table. */
static inline bool snapshot_walk_has(const struct snapshot_walk *walk, struct slice record)
{
    const uint8_t *kinds = walk->kind->records;
    uint8_t is = record.size == 0 ? 0 : record.data[0];
    return is != 0 && (is == kinds[0] || is == kinds[1] || is == kinds[2] || is == kinds[3]);
}
MUST_USE enum status snapshot_walk_load(struct snapshot_walk *walk, struct slice record);
uint64_t snapshot_walk_digest(const struct snapshot_walk *walk);
