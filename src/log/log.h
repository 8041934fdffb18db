/* The write-ahead log of one worker: one sequence of segments carries the records of all its groups, so that one
 * fdatasync makes a whole turn of the loop durable.
 *
 * Invariants
 * 1. Records become durable in the order in which they were appended; `durable` is called with a ticket only when that
 *    record and all before it are on stable storage.
 * 2. A failed write or sync is final: the log reports it once and does nothing more (fsync is never retried).
 * 3. Recovery cuts off a torn tail (bytes beyond what was known to be synced) and refuses damage before it: every write
 *    states how far the log was synced when it was made, and a segment is only followed by another once it is synced.
 * 4. For each group the entries kept are consecutive: (trimmed, last]. Appending at or below `last` removes that index
 * and all after it (a conflict), durably, in order with everything else.
 * 5. A segment is removed when every group has trimmed all its entries in it, and no group's hard state lives only
 *    there.
 * 6. Each segment names the folder it belongs to; recovery refuses those of another one, and changes nothing.
 *
 * What recovery cannot know: when the very last block is damaged, and no later one says that it was synced, it looks
 * like a torn tail. So an idle log writes a mark 100 ms after its last sync, and when it is closed, which says so.
 *
 * Files in the folder: 0000000000000001.log … (the number is the segment's), preallocated; see log_format.h for the
 * bytes.
 */
#pragma once

#include "base/buffer.h"
#include "env/env.h"
#include "log/folder_name.h"

struct log;

struct log_options {
    const char *directory; /* exists */
    /* Size of the largest segments, 64 KiB to 1 GiB; 0: 16 MiB. The first one has 1 MiB (or this, when smaller), and
     * each next one twice the size, so that little data takes little disk. A larger record makes its segment larger. */
    uint64_t segment_bytes;
    struct folder_name folder; /* stated in each segment: files of another one are refused */
};

struct log_events {
    /* Everything up to and with this ticket is durable. From the loop, or from inside log_flush when it synced inline.
     */
    void (*durable)(void *owner, uint64_t ticket);
    /* Invariant 2. `what` names the operation and the file. Nothing later becomes durable. */
    void (*failed)(void *owner, enum status status, const char *what);
};

struct log_entry {
    uint64_t index; /* from 1 */
    uint64_t term;
    uint8_t kind; /* the owner's: data, configuration, no-op, time */
    struct slice payload;
};

/* What a group must remember besides entries: term and vote of consensus, the state it started from. */
struct log_hard_state {
    uint64_t term;
    uint64_t vote;      /* node id; 0: none */
    uint64_t committed; /* a hint, may lag */
};

enum { LOG_MAXIMUM_ENTRY_BYTES = 1 << 30, LOG_MAXIMUM_GROUPS = 4096 };

/* Opens or makes the log in the folder and recovers it. On STATUS_CORRUPT, STATUS_VERSION and other failures,
 * *ret_message (a static-lifetime or log-owned buffer of at least 512 bytes given by the caller) says which file, which
 * offset, and what a person can do. */
MUST_USE enum status log_open(struct env *env, const struct log_options *options, const struct log_events *events,
                              void *owner, struct log **ret_log, char *ret_message, size_t message_capacity);
/* Unsynced records may be lost. No event follows; memory and files are given back when background work has ended, which
 * needs turns of the env. Not from inside an event. */
void log_close(struct log *log);

/* ---- appending: copies into memory; log_flush writes ---- */

/* Entry at index ≤ last + 1 of its group (asserted), or trimmed + 1 when it has none. Payload given in parts, so that
 * the owner's header and body need not be joined. Returns the ticket. */
uint64_t log_append(struct log *log, uint32_t group, const struct log_entry *entry, const struct slice *parts,
                    int count);
uint64_t log_append_hard_state(struct log *log, uint32_t group, const struct log_hard_state *state);
/* Entries up to and with (index, term) are in a durable snapshot and no longer needed; index may lie beyond `last` (a
 * snapshot from the leader): the group then continues after it. An entry at index with another term conflicts with the
 * snapshot: then all entries go, also those after it. Nothing happens when index is trimmed already. */
uint64_t log_append_trim(struct log *log, uint32_t group, uint64_t index, uint64_t term);

enum log_sync { LOG_SYNC_INLINE, LOG_SYNC_BACKGROUND, LOG_SYNC_WHOLE };

/* Writes what was appended and makes it durable: inline (durable is called before it returns; fastest when nothing else
 * waits) or in the background (further appends gather meanwhile; a flush during a running one is remembered and started
 * when that ends). Without anything new it does nothing. Inline becomes background when a background flush runs, or
 * when the file of the next segment is not made yet. From inside `durable` it is remembered and done after the event.
 *
 * Whole is for an owner that cannot wait, as at its start: inline, and segments are made inline too, so that all is
 * durable when it returns, or the log has failed. Only when nothing runs in the background. */
void log_flush(struct log *log, enum log_sync sync);
/* Appended, and not given to the file yet. */
size_t log_unwritten_bytes(const struct log *log);
/* Whether an entry with a payload of this size, appended next, goes to space that the log has on the disk already, so
 * that a full disk cannot fail it. OK: it does. AGAIN: a segment is being made for it; ask again in a later turn of the
 * env. NOSPACE (or another status that may pass): none could be made; it is tried again once a second at most, when
 * asked. A disk that is broken fails the log (invariant 2): CLOSED.
 *
 * What is appended without asking waits in memory until its segment can be made. */
MUST_USE enum status log_reserve(struct log *log, uint64_t bytes);
/* True while a background write or sync runs. */
bool log_syncing(const struct log *log);
uint64_t log_durable_ticket(const struct log *log);

/* ---- looking ---- */

/* All of these show what was appended, durable or not. */

/* Hard state as last appended; zeroes when never. */
struct log_hard_state log_hard_state(const struct log *log, uint32_t group);
/* Where the entries begin and end: `trimmed` is the last index no longer there (with its term); last = trimmed when
 * empty. */
void log_bounds(const struct log *log, uint32_t group, uint64_t *ret_trimmed, uint64_t *ret_trimmed_term,
                uint64_t *ret_last, uint64_t *ret_last_term);
/* Term of an entry (also of `trimmed`); 0 when it is not there. */
uint64_t log_term(const struct log *log, uint32_t group, uint64_t index);
/* Reads an entry, from memory when it was appended recently, else from disk; payload is appended to out and
 * ret_entry->payload points into it. STATUS_NOTFOUND outside the bounds; STATUS_CORRUPT with a failed checksum. */
MUST_USE enum status log_read(struct log *log, uint32_t group, uint64_t index, struct buffer *out,
                              struct log_entry *ret_entry);
/* The same without a copy: the payload lies where it is, in the log's memory or behind room's end, until anything else
 * is asked of the log or done with room. */
MUST_USE enum status log_look(struct log *log, uint32_t group, uint64_t index, struct buffer *room,
                              struct log_entry *ret_entry);
/* Bytes of an entry's record, a little more than its payload has; 0 when it is not there. */
size_t log_entry_bytes(const struct log *log, uint32_t group, uint64_t index);
/* The groups that have anything in the log, ascending; returns how many there are in all. */
size_t log_groups(const struct log *log, uint32_t *ret_groups, size_t capacity);

struct log_stats {
    uint64_t segments, bytes_on_disk; /* preallocated size of all segments */
    uint64_t live_bytes;              /* records not yet trimmed */
    uint64_t memory_bytes;            /* of records kept in memory: those to be written, and a cache */
    uint64_t writes, syncs, bytes_written;
    int64_t last_sync_ns, maximum_sync_ns; /* how long write and fdatasync took (and the way to a thread and back) */
    uint64_t cut_bytes;                    /* torn tail that recovery cut off */
    enum status prepare_status;            /* of the last attempt to make a segment: NOSPACE when the disk is full */
};
void log_stats(const struct log *log, struct log_stats *ret_stats);
