/* Takes back what one command did to its keys: for a script that is stopped in the middle. For the files of this
 * folder; keyspace.h has the door.
 *
 * While it runs, the first change of a key notes what was there: that it was absent; its value as entry_dump has it; of
 * a large hash the hash itself, which then is edited in place with a note for each field, and is kept when the key lets
 * go of it. Undoing gives the value and the expiry back. The version becomes that of the command, so that the state is
 * the same on every replica, whether or not a snapshot was running (which moves versions of what it has sent): those
 * who watch such a key see a change.
 *
 * Invariants
 * 1. Each key has one note, of its first change; a hash that belongs to a note is freed by the end of the journal
 * alone.
 * 2. Work and memory follow what the command changed: large strings are copied once, large hashes never. */
#pragma once

#include "machine/keys/keyspace_internal.h"
#include "machine/keys/snapshot.h"

struct journal;
struct key_note;

void journal_note_slow(struct keyspace *keyspace, struct slice key, struct entry *entry);
/* Call before a key appears (NULL), or its entry changes or goes. */
static inline void journal_note(struct keyspace *keyspace, struct slice key, struct entry *entry)
{
    if (__builtin_expect(keyspace->journal != NULL, 0)) {
        journal_note_slow(keyspace, key, entry);
    }
}

/* Call before any change of an entry that stays, its value or its expiry. */
static inline void keyspace_keep(struct keyspace *keyspace, struct entry *entry)
{
    journal_note(keyspace, entry_key(entry), entry);
    snapshot_keep(keyspace, entry);
}

/* Call before a field of a hash with a note gets another value, appears or goes; `before` is NULL or its value. */
void journal_note_field(struct key_note *note, struct slice name, const struct slice *before);
/* The key lets go of a hash with a note: the journal keeps it. */
void journal_take_hash(struct hash *hash);
