/* The state as records while changes go on. For the files of this folder alone.
 *
 * A snapshot is the state at begin. A cursor goes through the table in order of position (table.h) and emits whole
 * entries; large strings and large hashes get a walk each, which emits them in pieces before the cursor goes on.
 *
 * Invariants
 * 1. Belongs to the snapshot and is not emitted yet: exactly the entries with version <= position at begin that the
 *    cursor has not passed. Everybody who changes an entry calls snapshot_keep first: it emits such an entry into
 *    `pending` (or begins its walk) and moves its version past begin's.
 * 2. While a hash has a walk: exactly its fields with epoch < the keyspace's epoch are not emitted yet. Who changes or
 *    removes a field calls snapshot_keep_field first; a new field gets the present epoch.
 * 3. A walk owns what nobody else holds any more (a value replaced or removed, a private copy of bytes overwritten).
 * 4. `pending` goes out before anything else, so the head of a value always comes before its pieces.
 *
 * Records: kind u8, then by kind (numbers are varints unless said otherwise; `attributes` is encoding | due kind << 4;
 * due is 8 bytes and there only with a due kind):
 *   1 entry    attributes u8, version, due, key size, key, rest: value (an integer as 8 bytes, packed bytes of a
 * listpack) 2 large    attributes u8, version, due, key size, key, size of the value          followed by all its
 * pieces 3 piece    key size, key, offset, rest: bytes; in order 4 hash     attributes u8, version, due, key size, key,
 * count of fields            followed by all its fields 5 fields   key size, key, then for each: name size, name, value
 * size, value 6 traces   for each: index less the index before, less one; position 7 end      count of keys, position
 * of the last clear, of the last change (older ones: not there); nothing follows */
#pragma once

#include "base/list.h"
#include "machine/keys/keyspace_internal.h"

enum record_kind {
    RECORD_ENTRY = KEYSPACE_RECORD_FIRST,
    RECORD_LARGE,
    RECORD_PIECE,
    RECORD_HASH,
    RECORD_FIELDS,
    RECORD_TRACES,
    RECORD_END = KEYSPACE_RECORD_END,
};

enum {
    SNAPSHOT_WHOLE_MAXIMUM = 16 * 1024, /* longer strings go in pieces */
    SNAPSHOT_PIECE_BYTES = 64 * 1024,
};

/* One large value on its way out. */
struct walk {
    struct list node;
    struct large *large; /* this … */
    struct hash *hash;   /* … or this */
    uint64_t cursor;     /* in the hash's table */
    uint64_t left;       /* fields or bytes to emit */
    uint32_t offset;     /* of the next piece */
    uint32_t start;      /* offset of the first byte that `large` holds */
    bool owned;
    uint32_t key_size;
    uint8_t key[];
};

struct snapshot {
    uint64_t position;         /* the largest version at begin */
    const struct table *table; /* the keyspace's or the detached keys' */
    struct detached_keys *detached;
    struct list walks;
    struct buffer pending;
    struct buffer fields; /* a record of fields in the making */
    uint64_t cursor;
    uint64_t keys, clear_position, emitted;
    uint64_t *traces; /* as at begin; NULL when there were none */
    uint32_t next_trace;
    bool walked;          /* the cursor is at the end */
    bool over;            /* the last record is out */
    uint64_t owned_bytes; /* in walks of large strings */
};

void snapshot_keep_slow(struct keyspace *keyspace, struct entry *entry);
/* Call before any change of an entry, its value or its expiry. */
static inline void snapshot_keep(struct keyspace *keyspace, struct entry *entry)
{
    if (__builtin_expect(keyspace->snapshot != NULL, 0)) {
        snapshot_keep_slow(keyspace, entry);
    }
}

void snapshot_keep_field_slow(struct keyspace *keyspace, struct hash *hash, struct field *field);
/* Call before any change of a field, after snapshot_keep. */
static inline void snapshot_keep_field(struct keyspace *keyspace, struct hash *hash, struct field *field)
{
    if (__builtin_expect(hash->walk != NULL, 0)) {
        snapshot_keep_field_slow(keyspace, hash, field);
    }
}

/* Call before bytes of a large string are overwritten in place. */
void snapshot_keep_bytes(struct keyspace *keyspace, struct large *large);
/* Gives the walk what its holder lets go of. */
void snapshot_take_large(struct keyspace *keyspace, struct large *large);
void snapshot_take_hash(struct hash *hash);
/* Call when all keys were detached; true when the snapshot keeps them. */
bool snapshot_take_keys(struct keyspace *keyspace, struct detached_keys *keys);
