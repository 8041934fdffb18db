/* The keyspace itself, for the files of this folder alone. */
#pragma once

#include "base/key_slot.h"
#include "machine/due_heap.h"
#include "machine/feed/feed_log.h"
#include "machine/keys/bonds.h"
#include "machine/keys/entry.h"
#include "machine/keys/garbage.h"

enum { KEYSPACE_TRACES = 16384, KEYSPACE_CLEAR_TRACES = 4096 };

struct snapshot;

struct keyspace {
    struct table table;
    struct due_heap heaps[2];      /* by due_kind - 1 */
    struct bonds bonds;            /* of kind DUE_SESSION */
    struct snapshot *snapshot;     /* the running one, or NULL */
    struct journal *journal;       /* of the command that runs, or NULL */
    struct feed_log *history;      /* borrowed: is told of changes; NULL while nobody wants that */
    struct machine_events *events; /* whom changes are told; NULL: nobody */
    struct garbage *garbage;
    uint64_t memory_bytes;
    uint64_t last_position; /* no version, trace or clear_position is larger */
    uint64_t expired;
    uint64_t *traces;              /* KEYSPACE_TRACES, by hash of the key; NULL before the first */
    uint64_t clear_position;       /* a trace of all keys */
    uint64_t incomplete;           /* entries of which keyspace_load_record has not brought everything */
    uint32_t epoch;                /* number of the last snapshot begun */
    bool sealed;                   /* the last record of a snapshot is loaded */
    uint32_t slot_keys[KEY_SLOTS]; /* how many keys of the table are in each slot */
};

static inline uint64_t entry_hash(const struct keyspace *keyspace, const struct entry *entry)
{
    return table_hash(&keyspace->table, entry_key(entry));
}

static inline bool entry_due_by(const struct entry *entry, int64_t time_ms, int64_t wall_ms)
{
    if (__builtin_expect(entry->due_kind == DUE_NEVER, 1)) {
        return false;
    }
    return entry->due_kind != DUE_SESSION && entry->due_ms <= (entry->due_kind == DUE_TIME ? time_ms : wall_ms);
}

/* ---- what the history is told (tell.c); only while it is there ---- */

/* A string's value; of a hash nothing, for its fields were told one by one. */
void keyspace_tell_value(struct keyspace *keyspace, const struct entry *entry);
void keyspace_tell_due(struct keyspace *keyspace, const struct entry *entry);
static inline struct feed_log *keyspace_told(const struct keyspace *keyspace)
{
    return __builtin_expect(keyspace->history != NULL, 0) ? keyspace->history : NULL;
}

/* The trace which a key's deletion left. */
uint64_t keyspace_trace(const struct keyspace *keyspace, uint64_t hash);
void keyspace_leave_trace(struct keyspace *keyspace, uint64_t hash, uint64_t position);
static inline void keyspace_saw(struct keyspace *keyspace, uint64_t position)
{
    if (position > keyspace->last_position) {
        keyspace->last_position = position;
    }
}

/* Puts an entry made by entry_create into the table and its charge into memory_bytes. */
void keyspace_insert(struct keyspace *keyspace, uint64_t hash, struct entry *entry);
/* Puts a new entry in, newer than all that a running snapshot has; it is not in the table (asserted). */
struct entry *keyspace_insert_new(struct keyspace *keyspace, struct entry *entry);
/* Its expiry, without telling the snapshot; charged. */
void keyspace_due_start(struct keyspace *keyspace, struct entry *entry, enum due_kind kind, int64_t due_ms);
/* Takes the entry out of table and heap, but does not free it; the snapshot has what it needs of it. */
void keyspace_detach(struct keyspace *keyspace, struct entry *entry, uint64_t hash);
/* Its time is over. */
void keyspace_remove_due(struct keyspace *keyspace, struct entry *entry);
