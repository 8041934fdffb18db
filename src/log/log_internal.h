/* What the files of the log share.
 *
 *   log.c           the door: open, close, append, read, stats
 *   log_groups.c    what each group has: entries (where they lie), hard state, trim point
 *   log_write.c     memory of recent bytes, blocks, flushing, marks
 *   log_segment.c   segment files: making them ahead of time, removing them
 *   log_recovery.c  from files to all of the above: which blocks count
 *   log_replay.c    and what their records mean
 *
 * Bytes get their place (segment, offset) when they are appended; the files follow. So an arena is an image of a run of
 * one segment, whether that was written yet or not.
 *
 *   segments: [oldest … writing … appending … ahead]
 *      writing    where flushed bytes go now; all before it are written and synced
 *      appending  where appended bytes go
 *      ahead      made before it is needed: one as a rule, none after some recoveries, two when a record needs a larger
 *                 one than the first
 */
#pragma once

#include "base/list.h"
#include "log/log.h"
#include "log/log_format.h"

enum {
    LOG_ARENA_BYTES = 256 * 1024,
    LOG_CACHE_BYTES = 8 * 1024 * 1024,
    LOG_FIRST_SEGMENT_BYTES = 1024 * 1024,
    LOG_DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024,
    LOG_MINIMUM_SEGMENT_BYTES = 64 * 1024,
    LOG_MAXIMUM_SEGMENT_BYTES = 1024 * 1024 * 1024,
    LOG_FLUSH_PARTS = 64,
    LOG_PATH_BYTES = 1024,
    LOG_WHAT_BYTES = LOG_PATH_BYTES + 128,
};

/* How long after the last sync a mark says so, and the cache is given back. */
#define LOG_MARK_DELAY_NS (100 * 1000000LL)

/* Where an entry's record lies. */
struct log_position {
    uint64_t term;
    uint32_t segment;
    uint32_t offset;
    uint32_t size; /* of the record */
};

struct log_group {
    uint32_t id;
    struct log_hard_state hard_state;
    uint64_t trimmed, trimmed_term;
    /* positions[start .. start + count): entries first, first + 1, …; first is trimmed + 1, except during recovery,
     * when entries in removed segments are yet to be trimmed by a later record. */
    uint64_t first;
    struct log_position *positions;
    size_t start, count, capacity;
};

struct log_segment {
    uint64_t number, salt, size;
    uint32_t seed;
    bool made;             /* the file is there */
    struct env_file *file; /* open in all that are made from `writing` on, and in LOG_READ_FILES before; else NULL */
    bool started;          /* has its checkpoint */
    bool fresh;            /* nothing but the checkpoint: takes a record of any size */
    uint64_t end;          /* where the next appended byte goes */
    uint64_t written;      /* bytes before this offset are in the file */
    uint64_t previous;     /* blocks of the segment before */
    uint64_t blocks;       /* made */
    uint64_t synced_blocks;
    uint64_t start_ticket; /* of its checkpoint */
    uint64_t live, live_bytes;
    uint64_t dead_ticket; /* `live` fell to 0 with this record */
};

struct log_arena {
    struct list in_log;
    uint64_t segment, offset; /* of data[0] */
    uint8_t *data;
    size_t used, written, capacity;
    uint64_t last_ticket;
    uint64_t last_block; /* sequence of the last block that begins here */
};

/* One write and sync. Filled on the loop, run anywhere, finished on the loop. */
struct log_flush_job {
    struct env_work work;
    struct log *log;
    bool running;
    bool sync;
    struct env_file *file;
    uint64_t offset, bytes;
    struct iovec parts[LOG_FLUSH_PARTS];
    int count;
    uint64_t segment, ticket, block; /* what it makes durable */
    enum status status;
    const char *operation; /* that failed */
    int64_t sync_ns;
};

/* Making or removing a segment. */
struct log_chore {
    struct env_work work;
    struct log *log;
    bool running;
    bool removal;
    struct log_segment_header header;
    char path[LOG_PATH_BYTES], temporary[LOG_PATH_BYTES];
    struct env_file *file; /* made, or to be closed */
    enum status status;
    const char *operation;
};

/* So many files before `writing` are open at most, for readers: a long log takes no more descriptors than a short one.
 */
enum { LOG_READ_FILES = 4 };

#define LOG_PREPARE_AGAIN_NS INT64_C(1000000000)
/* What log_reserve leaves free in a segment, for trims and the like, which do not ask. */
enum { LOG_RESERVE_BYTES = 4096 };

struct log {
    struct env *env;
    char directory[LOG_PATH_BYTES - LOG_NAME_BYTES - 8];
    uint64_t segment_bytes;
    struct folder_name folder;
    const struct log_events *events;
    void *owner;
    bool failed, closing;

    struct log_group **groups; /* by id, ascending */
    size_t group_count, group_capacity;

    struct log_segment *segments;
    size_t segment_count, segment_capacity;
    size_t appending, writing;           /* indexes */
    uint64_t read_files[LOG_READ_FILES]; /* numbers of the segments before `writing` that are open, oldest first */
    size_t read_file_count;

    struct list arenas; /* oldest first; the last one takes appends, when it is of the appending segment */
    size_t arena_bytes;
    bool block_open;
    size_t block_at; /* in the last arena */
    uint64_t ticket, durable_ticket;

    struct log_flush_job job;
    struct log_chore chore;
    enum status prepare_status;     /* of the last segment made */
    struct env_timer prepare_timer; /* armed after a failure: as large a segment is not tried again before it fires */
    enum status refused_status;     /* while it is armed: of the failure, and the size */
    uint64_t refused_bytes;
    bool flush_wanted, flushing;
    struct env_timer mark_timer;
    int64_t last_sync_at_ns;

    struct { /* the last piece read from disk, for readers that go on */
        uint64_t segment, offset;
        struct buffer bytes;
    } window;

    struct log_stats stats;
    char what[LOG_WHAT_BYTES];
};

/* ---- log_groups.c ---- */
struct log_group *log_group_find(const struct log *log, uint32_t id);
struct log_group *log_group_get(struct log *log, uint32_t id);
void log_groups_deinit(struct log *log);
uint64_t log_group_last(const struct log_group *group);
const struct log_position *log_group_at(const struct log_group *group, uint64_t index);
/* Removes entries from index on. */
void log_group_cut(struct log *log, struct log_group *group, uint64_t index, uint64_t ticket);
/* index == last + 1. */
void log_group_add(struct log *log, struct log_group *group, const struct log_position *position);
/* Removes entries up to index; when the term at index is another one, all. */
void log_group_trim(struct log *log, struct log_group *group, uint64_t index, uint64_t term, uint64_t ticket);
/* Bytes of a checkpoint's payload, and the payload. */
size_t log_checkpoint_bytes(const struct log *log);
void log_checkpoint_put(const struct log *log, uint8_t *at);
/* Takes a checkpoint at the start of the oldest segment; false when it is malformed. */
bool log_checkpoint_take(struct log *log, const struct log_record *record);

/* ---- log_write.c ---- */
void log_write_init(struct log *log);
/* Room for a record with so many payload bytes in the open block; its position is in ret_position. The caller fills the
 * payload in at the returned address + LOG_RECORD_HEADER_BYTES, then calls log_write_end. */
uint8_t *log_write_begin(struct log *log, size_t payload_size, struct log_position *ret_position);
uint64_t log_write_end(struct log *log, uint8_t *at, const struct log_record *record);
/* Begins a flush if one is wanted and possible. */
void log_write_continue(struct log *log);
/* States that the last sync happened, when nothing else has done so. */
void log_write_mark(struct log *log);
void log_write_mark_due(struct env_timer *timer);
/* Borrowed bytes when the record is still in memory. */
const uint8_t *log_write_cached(const struct log *log, uint64_t segment, uint64_t offset);
void log_write_deinit(struct log *log);
/* Reports the failure, once. */
void log_fail(struct log *log, enum status status, const char *operation, uint64_t segment);

/* ---- log_segment.c ---- */
struct log_segment *log_segment_by_number(const struct log *log, uint64_t number);
/* Adds a segment with these properties to the end of the list. */
struct log_segment *log_segment_push(struct log *log, const struct log_segment_header *header);
/* Adds the next one, by the rule for sizes but no smaller than `least_bytes`; its file is yet to be made. */
void log_segment_add(struct log *log, uint64_t least_bytes);
/* Whether the segment has room for a record of this size, block and all. */
bool log_segment_takes(const struct log *log, const struct log_segment *segment, uint64_t record_bytes);
/* A segment behind the appending one has, and its file is there. */
bool log_segment_ahead_takes(const struct log *log, uint64_t record_bytes);
void log_segment_path(const struct log *log, uint64_t number, char path[LOG_PATH_BYTES]);
/* `writing` has left this segment: its file is now one of those open for readers. */
void log_segment_leave(struct log *log, struct log_segment *segment);
/* Opens the segment's file when it is not. */
MUST_USE enum status log_segment_open(struct log *log, struct log_segment *segment);
/* Makes the file of a chore's segment, or removes it; on any thread. */
void log_chore_run(struct env_work *work);
void log_chore_done(struct env_work *work);
/* Fills a chore that makes the file of a segment. */
void log_chore_make(struct log *log, const struct log_segment *segment);
/* Starts what is due: a file that a flush waits for, one ahead of time, a removal. */
void log_segments_tend(struct log *log);
/* Makes the file that a flush waits for; or the log has failed. */
void log_segment_make_now(struct log *log);
void log_segments_init(struct log *log);
void log_segments_deinit(struct log *log);

/* ---- log_recovery.c ---- */
MUST_USE enum status log_recover(struct log *log, char *ret_message, size_t message_capacity);

/* ---- log_replay.c ---- */
/* Takes the records of a good block's body. NULL, or what is wrong; *offset (in the file) is then where. */
const char *log_replay_body(struct log *log, struct log_segment *segment, struct slice body, uint64_t *offset);

/* ---- log.c ---- */
/* Frees the log when it is closed and nothing runs. True when it is gone. */
bool log_free_when_idle(struct log *log);
