/* Snapshot files: the state of one group at one index, replaced atomically (temporary file, fsync, rename, fsync of the
 * folder). Bytes in snapshot_format.h: a header with magic, format version, group, index, term, times; blocks of
 * records, each block with its length and CRC32C; a trailer with the count and a checksum over all blocks, without
 * which the file does not count.
 *
 * Names: snapshot-<group>-<index>.snap; temporary ones end with .tmp and are removed at start. */
#pragma once

#include "base/buffer.h"
#include "env/env.h"
#include "log/folder_name.h"

struct snapshot_meta {
    uint32_t group;
    uint64_t index, term;
    int64_t time_ms, wall_ms;
    uint64_t hash_seed;
    struct folder_name folder; /* it belongs to */
    struct slice extra;        /* the owner's, up to 64 KiB: configuration of the group, remembered sequences */
};

/* ---- writing, beside service: blocks are written and synced by env_work ---- */
struct snapshot_writer;
struct snapshot_writer_events {
    /* The last block given is written; give the next. */
    void (*ready)(void *owner);
    /* The file is in place and durable (OK), or it does not count (anything else; the temporary file is removed, and
     * `what` says what failed and what to do). A failure of put comes here too, instead of `ready`. The owner then
     * destroys the writer. */
    void (*finished)(void *owner, enum status status, const char *what);
};
MUST_USE enum status snapshot_writer_create(struct env *env, const char *directory, const struct snapshot_meta *meta,
                                            const struct snapshot_writer_events *events, void *owner,
                                            struct snapshot_writer **ret_writer);
/* Takes the bytes of *block (whole records, as machine_snapshot_step appends them) by swapping buffers; `ready`
 * follows. One at a time. */
void snapshot_writer_put(struct snapshot_writer *writer, struct buffer *block);
/* After the last block: trailer, sync, rename, sync of the folder; `finished` follows. */
void snapshot_writer_finish(struct snapshot_writer *writer);
/* Gives up unless finished; no callback follows; the memory is given back when background work has ended, which needs
 * turns of the env. Allowed from inside an event. */
void snapshot_writer_destroy(struct snapshot_writer *writer);

/* ---- reading ---- */

/* Finds the newest complete snapshot of a group; STATUS_NOTFOUND when there is none. path gets its name. */
MUST_USE enum status snapshot_find(struct env *env, const char *directory, uint32_t group, char *ret_path,
                                   size_t path_capacity, uint64_t *ret_index);
/* Checks header, blocks and trailer while giving each record to `record` (which may fail); refuses a snapshot of
 * another folder. ret_meta->extra is appended to `extra`. On failure ret_message names file, offset and the way
 * out. */
MUST_USE enum status snapshot_load(struct env *env, const char *path, const struct folder_name *folder,
                                   enum status (*header)(void *owner, const struct snapshot_meta *meta),
                                   enum status (*record)(void *owner, struct slice record), void *owner,
                                   struct snapshot_meta *ret_meta, struct buffer *extra, char *ret_message,
                                   size_t message_capacity);
/* Makes a file that came from another node, open for writing and yet to be synced, one of this folder. */
MUST_USE enum status snapshot_adopt(struct env *env, struct env_file *file, const struct folder_name *folder);
/* Removes snapshots of the group older than `index`, and its temporary files: so not while one is written. File
 * operations only; removing a large file takes a while, so rather from env_work. */
MUST_USE enum status snapshot_remove_older(struct env *env, const char *directory, uint32_t group, uint64_t index);
