/* What changed lately in the keys of a shard, in order: what COHORT.FEED is served from. Part of the replicated state,
 * so a position means the same at every replica, after every snapshot and every restart.
 *
 * It is off, and costs nothing, until somebody asks for it (COHORT.FEED.KEEP, feed_log_keep); from then on each change
 * is a record at the end of a ring, until nobody has asked for longer than was said.
 *
 * A *mark* names a place between records: (position, sub), the position of the apply that made the record before it,
 * and its number among the records of that apply. Marks only grow.
 *
 *          floor                                          last
 *            │ record │ record │ record │  …  │ record │
 *   forgotten└─────── can be read from any mark ────────┘
 *
 * Invariants
 * 1. The same applies make the same records, and forget the same ones: what is kept depends on their bytes, never on
 * the chunks that hold them, nor on snapshots.
 * 2. Every change of a key behind `floor` is here; nothing that was undone is (feed_log_hold).
 * 3. Records are at most `limit_bytes` together, but that those of the last FEED_YOUNG_MS of the shard's time, which
 * readers may not have seen yet, are kept beyond it: up to FEED_BURST times `limit_bytes` in all. Marks say which are
 * old: what is not behind `old` was there when `noted` was taken, FEED_YOUNG_MS before or longer ago. 3a. So one apply
 * never ends whoever had read everything before it: it makes no more records than fit. What changes after
 * FEED_APPLY_FULL times `limit_bytes` is told as RELOAD, once for all that happens to a key in a row; after
 * FEED_APPLY_NAMES times, one STALE says that everything has to be read, and nothing follows it.
 * 4. It ends with the first change that comes after `until_ms`: while nothing changes, no mark is forgotten.
 * 5. A record that a snapshot has yet to send stays in memory until then, though it was forgotten.
 *
 * A record: size u32, all of it · position u64 · sub u32 · kind u8 · key size u32 · key · data, by kind
 * (little-endian): SET value · HSET name size u32, name, value · HDEL name · EXPIRE due i64, Unix milliseconds · others
 * none. The order of a key's records, applied to an empty key, gives its value: SET replaces it and takes the expiry
 * away (an EXPIRE follows when there is one); RELOAD says that it must be read, for its value was too large to be told.
 * FLUSH and STALE are of all keys of the shard; theirs is empty.
 */
#pragma once

#include "base/buffer.h"
#include "base/slice.h"
#include "base/status.h"

enum feed_kind {
    FEED_SET,
    FEED_HSET,
    FEED_HDEL,
    FEED_DEL,
    FEED_EXPIRED,
    FEED_EXPIRE,
    FEED_PERSIST,
    FEED_FLUSH,
    FEED_RELOAD,
    FEED_STALE, /* more changed at once than can be told */
    FEED_KINDS,
};

enum {
    FEED_LIMIT_MINIMUM_BYTES = 1024,
    FEED_LIMIT_MAXIMUM_BYTES = 1 << 30,
    FEED_KEPT_MAXIMUM_MS = 24 * 3600 * 1000,
    FEED_VALUE_BYTES = 1 << 20, /* of a value in a record, or an eighth of the limit if that is less */
    FEED_HEAD_BYTES = 4 + 8 + 4 + 1 + 4,
    FEED_YOUNG_MS = 2000,
    FEED_BURST = 8, /* of limits: invariants 3 and 3a */
    FEED_APPLY_FULL = 4,
    FEED_APPLY_NAMES = 6,
};

/* Of no key: every prefix is told. */
static inline bool feed_kind_is_of_all(enum feed_kind kind) { return kind == FEED_FLUSH || kind == FEED_STALE; }

struct feed_mark {
    uint64_t position;
    uint32_t sub;
};

static inline int feed_mark_compare(struct feed_mark a, struct feed_mark b)
{
    return a.position != b.position ? (a.position > b.position) - (a.position < b.position)
                                    : (a.sub > b.sub) - (a.sub < b.sub);
}

/* A record; its slices point into it. */
struct feed_change {
    struct feed_mark mark;
    enum feed_kind kind;
    struct slice key;
    struct slice field; /* HSET, HDEL */
    struct slice value; /* SET, HSET */
    int64_t due_ms;     /* EXPIRE */
};

struct feed_log_chunk;

struct feed_log {
    bool on;
    int64_t until_ms; /* of the shard's time */
    uint64_t limit_bytes;
    struct feed_mark floor, last; /* last: of the newest record, or floor */
    struct feed_mark old, noted;  /* invariant 3 */
    int64_t noted_ms;
    uint64_t bytes, count; /* of the records that are kept */
    /* of the apply that runs */
    uint64_t position;
    uint32_t sub;
    int64_t time_ms, wall_ms;
    uint64_t apply_bytes; /* its records */
    uint8_t *newest;      /* of its records, while any record is kept; NULL: none */
    bool stale;           /* it has told so */
    bool held;
    /* memory: chunks[first …) hold the records, those of the first chunk from `start` on */
    struct feed_log_chunk **chunks;
    size_t first, chunk_count, chunk_capacity;
    uint32_t start;
    struct feed_log_held {
        struct feed_mark last;
        uint64_t bytes, count;
        size_t chunks; /* in use then, counted from `first`, which stays while it is held */
        uint32_t size, sub;
        uint64_t apply_bytes;
        bool stale;
    } before; /* the hold */
    struct feed_log_sending {
        struct feed_log_chunk **chunks;
        size_t count, next;
        uint32_t start, end; /* in the first and in the last of them */
    } sending;               /* by the snapshot that runs */
};

void feed_log_deinit(struct feed_log *history);

/* ---- applying ---- */

/* What was noted is old by now: it is forgotten as far as it is too much, and what is there is noted. */
void feed_log_age(struct feed_log *history);

/* Before anything of an apply is recorded. */
static inline void feed_log_at(struct feed_log *history, uint64_t position, int64_t time_ms, int64_t wall_ms)
{
    history->position = position;
    history->sub = 0;
    history->time_ms = time_ms;
    history->wall_ms = wall_ms;
    history->apply_bytes = 0;
    history->newest = NULL;
    history->stale = false;
    if (history->on && time_ms - history->noted_ms >= FEED_YOUNG_MS) {
        feed_log_age(history);
    }
}

/* Somebody wants it: begins it if it is off, and keeps it for so long from now on. feed_log_at comes before, also while
 * it is off. */
void feed_log_keep(struct feed_log *history, uint64_t limit_bytes, int64_t kept_ms);

/* One change. May end it (invariant 4). */
void feed_log_key(struct feed_log *history, enum feed_kind kind, struct slice key);
void feed_log_set(struct feed_log *history, struct slice key, struct slice value);
void feed_log_field(struct feed_log *history, struct slice key, struct slice name, struct slice value);
void feed_log_field_gone(struct feed_log *history, struct slice key, struct slice name);
void feed_log_expire(struct feed_log *history, struct slice key, int64_t due_ms);

/* What follows may be undone; and ends so, or stays. Undoing itself is not to be told. */
void feed_log_hold(struct feed_log *history);
void feed_log_release(struct feed_log *history, bool undo);

/* ---- reading ---- */

enum feed_look {
    FEED_HERE,    /* it is a mark of this history, and what came behind it can be read */
    FEED_GONE,    /* what came behind it is forgotten */
    FEED_UNKNOWN, /* there never was such a mark */
};
/* Of a mark whose position is not behind the last apply. */
enum feed_look feed_log_find(const struct feed_log *history, struct feed_mark mark);
/* Appends whole records behind a mark that is HERE: at least one if there is one, and more while they are at most
 * `most_bytes` together. Moves the mark behind them. */
void feed_log_read(const struct feed_log *history, struct feed_mark *mark, size_t most_bytes, struct buffer *out);

/* Takes the first record of `from`. False when it is none. */
bool feed_take(struct slice *from, struct feed_change *ret_change);

/* ---- snapshots (feed_log_snapshot.c) ---- */

enum { FEED_RECORD_HEAD = 'F', FEED_RECORD_CHUNK = 'f' };

static inline bool feed_log_record(struct slice record)
{
    return record.size > 0 && (record.data[0] == FEED_RECORD_HEAD || record.data[0] == FEED_RECORD_CHUNK);
}

/* Fixes it as it is, and appends its first record; none while it is off. */
void feed_log_snapshot_begin(struct feed_log *history, struct buffer *out);
/* Appends records of a snapshot, about budget_bytes. True while more are to come. */
bool feed_log_snapshot_step(struct feed_log *history, struct buffer *out, size_t budget_bytes);
void feed_log_snapshot_end(struct feed_log *history);
/* Into one that was never on; none of it is behind this position, which is the last applied one. */
MUST_USE enum status feed_log_load(struct feed_log *history, struct slice record, uint64_t position);
uint64_t feed_log_digest(const struct feed_log *history);
