/* A value with its expiry as bytes, to be taken to another keyspace: another node's, or an overlay.
 *
 * encoding | due kind << 4, u8 · due_ms i64 when there is a due kind · the value: an integer as i64; the bytes of a
 * string; of a small hash its packed bytes; of a large one size, name, size, value of each field (sizes are varints).
 * The expiry is in the time of the keyspace that it comes from. A session has an ordinal there, which means nothing
 * elsewhere; so in a dump that leaves the keyspace it is named: due kind DUMP_NAMED, and instead of due_ms the number
 * u64 and shard u32 of the session. Never empty, so that an empty dump may mean "no key". */
#pragma once

#include "machine/keys/keyspace.h"
#include "machine/session/session_id.h"

struct ties;

enum { DUMP_NAMED = DUE_SESSION + 1 };

/* Appends the entry's value. */
void entry_dump(const struct entry *entry, const struct ties *ties, struct buffer *out);
/* The same for this keyspace alone: the session by its ordinal. */
void entry_dump_here(const struct entry *entry, struct buffer *out);
/* The session that the value ends with. False: with none, or it is none that left a keyspace. */
bool dump_session(struct slice dump, struct session_id *ret_id);
/* Of a dump: how many bytes stand between its first one and its value. */
size_t dump_due_bytes(uint8_t first);

/* Moves an expiry that counts in the shard's time by so many ms: what is taken to another shard keeps what remains of
 * its time to live. An empty dump, or one that never expires or at a wall time, stays as it is. */
void entry_dump_shift(struct buffer *dump, int64_t by_ms);

/* Makes an entry for a key that is not there (asserted); returns it for keyspace_changed. CORRUPT, and nothing made, on
 * bytes that entry_dump did not make, or when `ties`, which are those of the keyspace, have not the session that they
 * name (open ones get it; NULL: have none). */
MUST_USE enum status keyspace_restore(struct keyspace *keyspace, struct ties *ties, struct slice key, struct slice dump,
                                      struct entry **ret_entry);
