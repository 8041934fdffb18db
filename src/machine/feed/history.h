/* What changed lately in the keys of a shard, in order: what COHORT.FEED is served from. Part of the replicated state, so
 * a position means the same at every replica, after every snapshot and every restart.
 *
 * It is off, and costs nothing, until somebody asks for it (COHORT.FEED.KEEP, history_keep); from then on each change is
 * a record at the end of a ring, until nobody has asked for longer than was said.
 *
 * A *mark* names a place between records: (position, sub), the position of the apply that made the record before it, and
 * its number among the records of that apply. Marks only grow.
 *
 *          floor                                          last
 *            │ record │ record │ record │  …  │ record │
 *   forgotten└─────── can be read from any mark ────────┘
 *
 * Invariants
 * 1. The same applies make the same records, and forget the same ones: what is kept depends on their bytes, never on the
 *    chunks that hold them, nor on snapshots.
 * 2. Every change of a key behind `floor` is here; nothing that was undone is (history_hold).
 * 3. Records are at most `limit_bytes` together. A record too large for that is forgotten at once, and all before it.
 * 4. It ends with the first change that comes after `until_ms`: while nothing changes, no mark is forgotten.
 * 5. A record that a snapshot has yet to send stays in memory until then, though it was forgotten.
 *
 * A record: size u32, all of it · position u64 · sub u32 · kind u8 · key size u32 · key · data, by kind (little-endian):
 *   SET value · HSET name size u32, name, value · HDEL name · EXPIRE due i64, Unix milliseconds · others none.
 * The order of a key's records, applied to an empty key, gives its value: SET replaces it and takes the expiry away (an
 * EXPIRE follows when there is one); RELOAD says that it must be read, for its value was too large to be told. */
#pragma once

#include "base/buffer.h"
#include "base/slice.h"
#include "base/status.h"

enum history_kind {
    HISTORY_SET,
    HISTORY_HSET,
    HISTORY_HDEL,
    HISTORY_DEL,
    HISTORY_EXPIRED,
    HISTORY_EXPIRE,
    HISTORY_PERSIST,
    HISTORY_FLUSH, /* of all keys of the shard; the key is empty */
    HISTORY_RELOAD,
    HISTORY_KINDS,
};

enum {
    HISTORY_LIMIT_MINIMUM_BYTES = 1024,
    HISTORY_LIMIT_MAXIMUM_BYTES = 1 << 30,
    HISTORY_KEPT_MAXIMUM_MS = 24 * 3600 * 1000,
    HISTORY_VALUE_BYTES = 1 << 20, /* of a value in a record, or an eighth of the limit if that is less */
    HISTORY_HEAD_BYTES = 4 + 8 + 4 + 1 + 4,
};

struct history_mark {
    uint64_t position;
    uint32_t sub;
};

static inline int history_mark_compare(struct history_mark a, struct history_mark b)
{
    return a.position != b.position ? (a.position > b.position) - (a.position < b.position)
                                    : (a.sub > b.sub) - (a.sub < b.sub);
}

/* A record; its slices point into it. */
struct history_change {
    struct history_mark mark;
    enum history_kind kind;
    struct slice key;
    struct slice field; /* HSET, HDEL */
    struct slice value; /* SET, HSET */
    int64_t due_ms;     /* EXPIRE */
};

struct history_chunk;

struct history {
    bool on;
    int64_t until_ms; /* of the shard's time */
    uint64_t limit_bytes;
    struct history_mark floor, last; /* last: of the newest record, or floor */
    uint64_t bytes, count;           /* of the records that are kept */
    /* of the apply that runs */
    uint64_t position;
    uint32_t sub;
    int64_t time_ms, wall_ms;
    bool held;
    /* memory: chunks[first …) hold the records, those of the first chunk from `start` on */
    struct history_chunk **chunks;
    size_t first, chunk_count, chunk_capacity;
    uint32_t start;
    struct history_held {
        struct history_mark last;
        uint64_t bytes, count;
        size_t chunks; /* in use then, counted from `first`, which stays while it is held */
        uint32_t size, sub;
    } before; /* the hold */
    struct history_sending {
        struct history_chunk **chunks;
        size_t count, next;
        uint32_t start, end; /* in the first and in the last of them */
    } sending;               /* by the snapshot that runs */
};

void history_deinit(struct history *history);

/* ---- applying ---- */

/* Before anything of an apply is recorded. */
static inline void history_at(struct history *history, uint64_t position, int64_t time_ms, int64_t wall_ms)
{
    history->position = position;
    history->sub = 0;
    history->time_ms = time_ms;
    history->wall_ms = wall_ms;
}

/* Somebody wants it: begins it if it is off, and keeps it for so long from now on. history_at comes before, also while
 * it is off. */
void history_keep(struct history *history, uint64_t limit_bytes, int64_t kept_ms);

/* One change. May end it (invariant 4). */
void history_key(struct history *history, enum history_kind kind, struct slice key);
void history_set(struct history *history, struct slice key, struct slice value);
void history_field(struct history *history, struct slice key, struct slice name, struct slice value);
void history_field_gone(struct history *history, struct slice key, struct slice name);
void history_expire(struct history *history, struct slice key, int64_t due_ms);

/* What follows may be undone; and ends so, or stays. Undoing itself is not to be told. */
void history_hold(struct history *history);
void history_release(struct history *history, bool undo);

/* ---- reading ---- */

enum history_look {
    HISTORY_HERE,    /* it is a mark of this history, and what came behind it can be read */
    HISTORY_GONE,    /* what came behind it is forgotten */
    HISTORY_UNKNOWN, /* there never was such a mark */
};
/* Of a mark whose position is not behind the last apply. */
enum history_look history_find(const struct history *history, struct history_mark mark);
/* Appends whole records behind a mark that is HERE: at least one if there is one, and more while they are at most
 * `most_bytes` together. Moves the mark behind them. */
void history_read(const struct history *history, struct history_mark *mark, size_t most_bytes, struct buffer *out);

/* Takes the first record of `from`. False when it is none. */
bool history_take(struct slice *from, struct history_change *ret_change);

/* ---- snapshots (history_snapshot.c) ---- */

enum { HISTORY_RECORD_HEAD = 'F', HISTORY_RECORD_CHUNK = 'f' };

static inline bool history_record(struct slice record)
{
    return record.size > 0 && (record.data[0] == HISTORY_RECORD_HEAD || record.data[0] == HISTORY_RECORD_CHUNK);
}

/* Fixes it as it is, and appends its first record; none while it is off. */
void history_snapshot_begin(struct history *history, struct buffer *out);
/* Appends records of a snapshot, about budget_bytes. True while more are to come. */
bool history_snapshot_step(struct history *history, struct buffer *out, size_t budget_bytes);
void history_snapshot_end(struct history *history);
/* Into one that was never on. */
MUST_USE enum status history_load(struct history *history, struct slice record);
uint64_t history_digest(const struct history *history);
