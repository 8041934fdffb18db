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

/* Makes an entry for a key that is not there (asserted); returns it for keyspace_changed. CORRUPT, and nothing made, on
 * bytes that entry_dump did not make. */
MUST_USE enum status keyspace_restore(struct keyspace *keyspace, struct slice key, struct slice dump,
                                      struct entry **ret_entry);
