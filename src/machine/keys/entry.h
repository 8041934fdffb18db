/* What an entry and its value look like in memory. For the files of this folder alone.
 *
 * One allocation holds header, key and value area; the value area holds the value itself or a pointer to it:
 *
 *   kind          value area                         who owns what
 *   VALUE_INT     int64
 *   VALUE_EMBSTR  the bytes
 *   VALUE_RAW     the bytes                          up to ENTRY_INLINE_MAXIMUM
 *   VALUE_LARGE   struct large *                     a longer string, with room for more
 *   VALUE_PACKED  struct packed *                    a small hash in insertion order
 *   VALUE_TABLE   struct hash *                      a large hash: a table of struct field
 *
 * A large or hash whose `walk` is set is being sent by the snapshot: whoever lets go of it gives it to the walk, and
 * whoever overwrites its bytes first gives the walk a copy of them (snapshot.h). */
#pragma once

#include "base/assert.h"
#include "machine/keys/keyspace.h"
#include "machine/keys/packed.h"
#include "machine/keys/table.h"

enum { ENTRY_INLINE_MAXIMUM = 1024, ENTRY_EMBSTR_MAXIMUM = 44 };

/* The largest string and key, as Redis has it; the layers above refuse more. */
enum { ENTRY_STRING_MAXIMUM = 512 * 1024 * 1024 };

enum value_kind { VALUE_INT, VALUE_EMBSTR, VALUE_RAW, VALUE_LARGE, VALUE_PACKED, VALUE_TABLE };

struct entry {
    uint32_t key_size; /* first: struct table_item */
    uint32_t value_size;
    uint64_t version;
    int64_t due_ms;
    uint32_t heap_index; /* 0 without expiry */
    uint16_t capacity;   /* of the value area */
    uint8_t kind;
    uint8_t due_kind;
    uint8_t bytes[]; /* key, value area */
};
_Static_assert(sizeof(struct entry) == 32 && offsetof(struct entry, key_size) == 0, "half a cache line before the key");

struct walk;
struct key_note;

struct large {
    struct walk *walk; /* the snapshot's, while it sends this; else NULL */
    uint32_t capacity;
    uint32_t missing; /* bytes that keyspace_load_record has not brought yet */
    uint8_t bytes[];
};

struct field {
    uint32_t key_size; /* first: struct table_item; the field's name */
    uint32_t value_size;
    uint32_t epoch;  /* of the last snapshot that has it or may not have it */
    uint8_t bytes[]; /* name, value */
};

/* Things too big to free at once stand in line; see garbage.h. */
struct garbage {
    struct garbage *next;
    size_t size;
    enum garbage_kind { GARBAGE_MEMORY, GARBAGE_HASH, GARBAGE_KEYS } kind;
};

struct hash {
    struct garbage garbage; /* first */
    struct table table;
    struct walk *walk;
    struct key_note *note; /* the journal's, while a command runs that found it; else NULL */
    uint64_t bytes;        /* charged for the fields */
    uint64_t missing;      /* fields that keyspace_load_record has not brought yet */
};

static inline uint8_t *entry_value(const struct entry *entry) { return (uint8_t *)entry->bytes + entry->key_size; }

static inline void *entry_pointer(const struct entry *entry)
{
    void *pointer;
    memcpy(&pointer, entry_value(entry), sizeof(pointer));
    return pointer;
}

static inline void entry_set_pointer(struct entry *entry, enum value_kind kind, void *pointer)
{
    ASSERT(entry->capacity >= sizeof(pointer));
    memcpy(entry_value(entry), &pointer, sizeof(pointer));
    entry->kind = (uint8_t)kind;
}

/* How many bytes of the value area are in use. */
static inline size_t entry_area_size(const struct entry *entry)
{
    return entry->kind < VALUE_LARGE ? entry->value_size : sizeof(void *);
}

static inline int64_t entry_number(const struct entry *entry)
{
    int64_t number;
    memcpy(&number, entry_value(entry), sizeof(number));
    return number;
}

static inline bool entry_is_string(const struct entry *entry) { return entry->kind <= VALUE_LARGE; }

static inline struct slice field_name(const struct field *field) { return slice_of(field->bytes, field->key_size); }

static inline struct slice field_value(const struct field *field)
{
    return slice_of(field->bytes + field->key_size, field->value_size);
}

/* ---- what is charged to memory_bytes: by the value, never by how it came about ---- */

enum {
    CHARGE_ENTRY = 64, /* header, allocator, place in the table */
    CHARGE_DUE = 16,
    CHARGE_LARGE = 32,
    CHARGE_PACKED = 32,
    CHARGE_HASH = 192,
    CHARGE_FIELD = 40,
};

/* ---- making and changing (entry.c, string_value.c, hash_value.c) ---- */

/* Memory for an entry with room for `value_size` bytes of value; kind VALUE_EMBSTR, size 0, in no table. */
struct entry *entry_create(struct slice key, size_t value_size);
/* The same with a string in it, of a kind below VALUE_LARGE; VALUE_LARGE when it is long. */
struct entry *entry_create_string(struct slice key, enum value_kind kind, struct slice value);
/* Makes room in the value area (dropping room that is far too much); returns where the entry is now. The bytes of the
 * old value stay as far as they fit. */
struct entry *entry_reserve(struct keyspace *keyspace, struct entry *entry, size_t value_size);
/* Lets go of what the value area points to. */
void entry_drop_value(struct keyspace *keyspace, struct entry *entry);

struct large *large_create(size_t capacity);
struct hash *hash_create(uint64_t seed);
/* Adds a field that is not there. */
void hash_add(struct hash *hash, struct slice name, struct slice value, uint32_t epoch);
