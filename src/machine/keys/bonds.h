/* Keys that end with a session: for each session that has some here, which. What machine/session/ties.h calls the
 * ordinal of a tie names the session; it is the entry's due_ms, of kind DUE_SESSION, and heap_index is its place + 1.
 * A bond without entries is forgotten. */
#pragma once

#include "machine/keys/table.h"

struct entry;

struct bond {
    uint32_t key_size; /* first: struct table_item */
    uint32_t count, capacity;
    struct entry **entries;
    uint64_t ordinal; /* the table's key */
};

struct bonds {
    struct table table;
    uint64_t count; /* entries of all */
};

void bonds_init(struct bonds *bonds, uint64_t seed);
void bonds_deinit(struct bonds *bonds);
struct bond *bonds_find(const struct bonds *bonds, uint64_t ordinal);
void bonds_insert(struct bonds *bonds, struct entry *entry, uint64_t ordinal);
void bonds_remove(struct bonds *bonds, struct entry *entry);
/* An entry has a new address. */
void bonds_moved(struct bonds *bonds, struct entry *entry);
/* In the order of their keys: the same at every replica. */
void bond_sort(struct bond *bond);
