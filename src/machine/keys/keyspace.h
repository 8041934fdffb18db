/* Keys and values: the table, expiry and snapshots of it. No commands here; those are in the files beside.
 *
 * Invariants
 * 1. An entry that is due by the applied time is never returned, whether or not it is removed yet.
 * 2. Every call that changes an entry (entry_set_*, entry_string_writable, entry_hash_set, entry_hash_remove that
 * removed) first keeps what a running snapshot still needs, and is followed, within the same apply, by keyspace_changed
 * or keyspace_remove: only these give the entry a version that is the same on every replica.
 * 3. No call takes time that grows with the number of keys or the size of a value beyond the bytes it is given or
 *    returns; large things are moved and freed in steps (keyspace_work).
 */
#pragma once

#include "base/buffer.h"
#include "base/slice.h"
#include "base/status.h"

struct feed_log;
struct keyspace;
struct machine_events;
struct entry; /* one key with its value; the pointer holds until the next call that takes a non-const keyspace,
               * but survives keyspace_changed and the edits of its own value unless they say they return a new one */

enum entry_type { ENTRY_STRING, ENTRY_HASH };

/* As OBJECT ENCODING names them in Redis 7.0: kept so that the answer is the same, not because we store it so. */
enum entry_encoding { ENCODING_INT, ENCODING_EMBSTR, ENCODING_RAW, ENCODING_LISTPACK, ENCODING_HASHTABLE };

/* Time as the keyspace sees it during one call. For applies `applied` equals `present`. */
struct keyspace_time {
    int64_t applied_time_ms, applied_wall_ms; /* due by this: absent */
    int64_t present_time_ms, present_wall_ms; /* due by this, not by applied: a read must go through the log */
};

/* EXPIRE and SET PX count in shard time, EXPIREAT in wall time; SET SESSION names a tie (machine/session/ties.h) by its
 * ordinal, in the place of a time: the key ends when somebody says so (keyspace_end_bond). */
enum due_kind { DUE_NEVER, DUE_TIME, DUE_WALL, DUE_SESSION };

struct keyspace *keyspace_create(uint64_t hash_seed);
void keyspace_destroy(struct keyspace *keyspace);
/* From now on keys that come, or go because they are due, are told there (machine/events.h; borrowed). What commands do
 * to keys they tell themselves. NULL: nobody listens. */
void keyspace_listen(struct keyspace *keyspace, struct machine_events *events);
struct machine_events *keyspace_events(const struct keyspace *keyspace);

/* ---- looking ---- */

/* The live entry, or NULL. *ret_must_log (may be NULL) becomes true when the entry is due by present but not by applied
 * time; NULL is returned then. It is never set to false. */
const struct entry *keyspace_find(const struct keyspace *keyspace, const struct keyspace_time *time, struct slice key,
                                  bool *ret_must_log);
/* Start loading what a keyspace_find or keyspace_edit of a key waits for in memory, so that the waits of a batch of
 * keys overlap: first the bucket, some keys later the entry, then the work. They change nothing. */
uint64_t keyspace_hash(const struct keyspace *keyspace, struct slice key);
void keyspace_prefetch_bucket(const struct keyspace *keyspace, uint64_t hash);
void keyspace_prefetch_entry(const struct keyspace *keyspace, uint64_t hash);
struct slice entry_key(const struct entry *entry);
enum entry_type entry_type(const struct entry *entry);
enum entry_encoding entry_encoding(const struct entry *entry);
uint64_t entry_version(const struct entry *entry);
enum due_kind entry_due(const struct entry *entry, int64_t *ret_due_ms);
/* Bytes charged for it to memory_bytes. */
size_t entry_memory_bytes(const struct entry *entry);
/* See machine_key_version. */
uint64_t keyspace_version(const struct keyspace *keyspace, const struct keyspace_time *time, struct slice key);

/* ---- changing ---- */

/* The live entry for a change, or NULL; an entry that is due is removed on the way (by a deterministic apply). */
struct entry *keyspace_edit(struct keyspace *keyspace, const struct keyspace_time *time, struct slice key);
/* Makes an entry for a key that is not there (asserted): an empty string or an empty hash, without expiry. */
struct entry *keyspace_add(struct keyspace *keyspace, struct slice key, enum entry_type type);
/* The same with entry_set_string, in one allocation. */
struct entry *keyspace_add_string(struct keyspace *keyspace, struct slice key, struct slice value);
/* Stamps the version after a change: entry is live and holds its new value. A hash that became empty must be
 * removed instead. */
void keyspace_changed(struct keyspace *keyspace, struct entry *entry, uint64_t position);
/* The same after entry_set_due alone. */
void keyspace_due_changed(struct keyspace *keyspace, struct entry *entry, uint64_t position);
/* Removes an entry, leaving the trace of its deletion. The value's memory goes back in steps when it is large. */
void keyspace_remove(struct keyspace *keyspace, struct entry *entry, uint64_t position);
/* The same without a trace: another value takes its place in this apply. */
void keyspace_drop(struct keyspace *keyspace, struct entry *entry);
/* The trace of a key that came and went; it is not there (asserted). */
void keyspace_touch_absent(struct keyspace *keyspace, struct slice key, uint64_t position);
/* No trace of this key any more, nor of those that share it: for a keyspace that is used again and again. */
void keyspace_forget_trace(struct keyspace *keyspace, struct slice key);
/* Removes everything, at once to see, in steps to free. */
void keyspace_clear(struct keyspace *keyspace, uint64_t position);
/* Moves value and expiry of `from` to a key that is not there (asserted) and removes `from`; returns the new entry. */
struct entry *keyspace_rename(struct keyspace *keyspace, struct entry *from, struct slice to, uint64_t position);
/* Makes an entry for a key that is not there (asserted) with a copy of `from`'s value, encoding and expiry; returns it,
 * for keyspace_changed. Work grows with the value. */
struct entry *keyspace_copy(struct keyspace *keyspace, const struct entry *from, struct slice to);
void entry_set_due(struct keyspace *keyspace, struct entry *entry, enum due_kind kind, int64_t due_ms);

/* Begins to note what is changed, and ends that: with `undo`, every key has the value and expiry that it had at the
 * begin, and those that were changed have this position as their version (or as the trace of their deletion). Nothing
 * is cleared in between. Costs what was changed. */
void keyspace_journal_begin(struct keyspace *keyspace);
void keyspace_journal_end(struct keyspace *keyspace, bool undo, uint64_t position);
/* What the notes take so far, and what that of a change of this key would add: the same on all replicas. */
size_t keyspace_journal_bytes(const struct keyspace *keyspace);
size_t keyspace_journal_needs(const struct keyspace *keyspace, struct slice key);

/* From now on, or no longer, this history is told of every change, and of the expiry of keys; borrowed. */
void keyspace_record_to(struct keyspace *keyspace, struct feed_log *history);
/* Before keyspace_changed of an entry that keyspace_restore has made; `instead`: of another value of this key. */
void keyspace_tell_whole(struct keyspace *keyspace, const struct entry *entry, bool instead);

/* ---- strings ---- */

/* The bytes; an integer is written out in `digits` (NUMBER_INT64_BYTES), others point into the entry. */
struct slice entry_string(const struct entry *entry, char *digits);
/* True and the value when the encoding is int. */
bool entry_integer(const struct entry *entry, int64_t *ret_value);
/* Replaces the value (which does not point into the entry), choosing the encoding as Redis's SET does (int when it is a
 * canonical int64, embstr to 44 bytes, else raw). Of a hash, makes it a string. Keeps the expiry. The entry may move:
 * returns where it is. */
struct entry *entry_set_string(struct keyspace *keyspace, struct entry *entry, struct slice value);
/* The same, but never as an integer: embstr to 44 bytes, else raw (what INCRBYFLOAT leaves in Redis). */
struct entry *entry_set_text(struct keyspace *keyspace, struct entry *entry, struct slice value);
struct entry *entry_set_integer(struct keyspace *keyspace, struct entry *entry, int64_t value);
/* Grows (zero-filled) or keeps the size so that [0, size) exists, makes it raw, and gives the writable bytes; amortised
 * for appends. */
struct entry *entry_string_writable(struct keyspace *keyspace, struct entry *entry, size_t size, uint8_t **ret_bytes);

/* ---- hashes ---- */

size_t entry_hash_size(const struct entry *entry);
bool entry_hash_get(const struct entry *entry, struct slice field, struct slice *ret_value);
/* Sets a field; true when it is new. The encoding becomes hashtable past 512 fields or 64 bytes of field or value
 * (as Redis's defaults) and never goes back. */
bool entry_hash_set(struct keyspace *keyspace, struct entry *entry, struct slice field, struct slice value);
/* True when it was there. */
bool entry_hash_remove(struct keyspace *keyspace, struct entry *entry, struct slice field);
/* Calls for each field, in insertion order while the encoding is listpack, else in table order. */
void entry_hash_each(const struct entry *entry, bool (*each)(void *owner, struct slice field, struct slice value),
                     void *owner); /* `each` returns false to stop */
/* One scan step with Redis's guarantee (every field there throughout is given at least once, here exactly once);
 * cursor 0 starts and ends. A listpack is given whole. */
uint64_t entry_hash_scan(const struct entry *entry, uint64_t cursor, size_t count,
                         void (*each)(void *owner, struct slice field, struct slice value), void *owner);
/* A field chosen by `random` (any 64-bit number), nearly uniformly, in constant expected time. */
void entry_hash_random(const struct entry *entry, uint64_t random, struct slice *ret_field, struct slice *ret_value);

/* ---- walking ---- */

/* One SCAN step: at least `count` buckets' worth, bounded; calls for each live entry; cursor 0 starts and ends. Cursors
 * are positions in hash order, so they hold on any replica with the same seed and across resizing. */
uint64_t keyspace_scan(const struct keyspace *keyspace, const struct keyspace_time *time, uint64_t cursor, size_t count,
                       void (*each)(void *owner, const struct entry *entry), void *owner);
/* A live entry chosen by `random`, nearly uniformly; NULL when there is none to be found in a bounded search. */
const struct entry *keyspace_random(const struct keyspace *keyspace, const struct keyspace_time *time, uint64_t random);

/* ---- expiry ---- */

/* Removes at most `limit` entries that are due by the applied time, in the order of (due, kind, key). Returns how many.
 */
size_t keyspace_expire(struct keyspace *keyspace, const struct keyspace_time *time, size_t limit, uint64_t position);
void keyspace_next_due(const struct keyspace *keyspace, int64_t *ret_time_ms, int64_t *ret_wall_ms);

/* ---- keys that end with a session ---- */

uint64_t keyspace_count_bonded(const struct keyspace *keyspace, uint64_t ordinal);
/* Of all sessions. */
uint64_t keyspace_count_all_bonded(const struct keyspace *keyspace);
/* Removes at most `limit` of them, in the order of their keys; returns how many. */
size_t keyspace_end_bond(struct keyspace *keyspace, uint64_t ordinal, size_t limit, uint64_t position);

/* ---- housekeeping, figures, snapshots: see machine.h ---- */

/* The first byte of every record that a snapshot step makes is in this range; others are free for the machine's own.
 * The last record is of kind KEYSPACE_RECORD_END; loading it tells that nothing is missing. */
enum { KEYSPACE_RECORD_FIRST = 1, KEYSPACE_RECORD_END = 7, KEYSPACE_RECORD_LAST = 31 };

bool keyspace_work(struct keyspace *keyspace);
uint64_t keyspace_count(const struct keyspace *keyspace);
/* No change of a key is later; one that fell due and was removed is no change. */
uint64_t keyspace_last_position(const struct keyspace *keyspace);
/* Those in one hash slot (base/key_slot.h), with keys that are due and not yet removed. */
uint64_t keyspace_count_in_slot(const struct keyspace *keyspace, uint16_t slot);
uint64_t keyspace_count_with_expiry(const struct keyspace *keyspace);
uint64_t keyspace_expired(const struct keyspace *keyspace);
uint64_t keyspace_memory_bytes(const struct keyspace *keyspace);
uint64_t keyspace_digest(const struct keyspace *keyspace);

void keyspace_snapshot_begin(struct keyspace *keyspace);
bool keyspace_snapshot_step(struct keyspace *keyspace, struct buffer *out, size_t budget_bytes);
void keyspace_snapshot_end(struct keyspace *keyspace);
size_t keyspace_snapshot_pending_bytes(const struct keyspace *keyspace);
MUST_USE enum status keyspace_load_record(struct keyspace *keyspace, struct slice record);
