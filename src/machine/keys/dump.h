/* A value with its expiry as bytes, to be taken to another keyspace: another node's, or an overlay.
 *
 * encoding | due kind << 4, u8 · due_ms i64 when there is a due kind · the value: an integer as i64; the bytes of a
 * string; of a small hash its packed bytes; of a large one size, name, size, value of each field (sizes are varints).
 * The expiry is in the time of the keyspace that it comes from. Never empty, so that an empty dump may mean "no key".
 */
#pragma once

#include "machine/keys/keyspace.h"

/* Appends the entry's value. */
void entry_dump(const struct entry *entry, struct buffer *out);
/* The same with the session that it ends with, which means something in this shard alone. */
void entry_dump_here(const struct entry *entry, struct buffer *out);

/* Moves an expiry that counts in the shard's time by so many ms: what is taken to another shard keeps what remains of
 * its time to live. An empty dump, or one that never expires or at a wall time, stays as it is. */
void entry_dump_shift(struct buffer *dump, int64_t by_ms);

/* Makes an entry for a key that is not there (asserted); returns it for keyspace_changed. CORRUPT, and nothing made, on
 * bytes that entry_dump did not make. */
MUST_USE enum status keyspace_restore(struct keyspace *keyspace, struct slice key, struct slice dump,
                                      struct entry **ret_entry);
