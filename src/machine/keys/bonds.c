#include "machine/keys/bonds.h"

#include "base/memory.h"
#include "machine/keys/entry.h"

#include <stdlib.h>

static struct slice key_of(const uint64_t *ordinal) { return slice_of(ordinal, sizeof(*ordinal)); }

void bonds_init(struct bonds *bonds, uint64_t seed)
{
    *bonds = (struct bonds){0};
    table_init(&bonds->table, seed, offsetof(struct bond, ordinal));
}

static void free_bond(void *owner, void *item)
{
    struct bond *bond = item;
    (void)owner;
    free(bond->entries);
    free(bond);
}

void bonds_deinit(struct bonds *bonds)
{
    while (table_release(&bonds->table, 1024, free_bond, NULL)) {
    }
    bonds_init(bonds, bonds->table.seed);
}

struct bond *bonds_find(const struct bonds *bonds, uint64_t ordinal)
{
    return table_find(&bonds->table, table_hash(&bonds->table, key_of(&ordinal)), key_of(&ordinal));
}

void bonds_insert(struct bonds *bonds, struct entry *entry, uint64_t ordinal)
{
    struct bond *bond = bonds_find(bonds, ordinal);
    if (bond == NULL) {
        bond = memory_allocate_zeroed(1, sizeof(*bond));
        bond->key_size = sizeof(bond->ordinal);
        bond->ordinal = ordinal;
        table_insert(&bonds->table, table_hash(&bonds->table, key_of(&bond->ordinal)), bond);
    }
    if (bond->count == bond->capacity) {
        bond->capacity = bond->capacity == 0 ? 1 : 2 * bond->capacity;
        bond->entries = memory_resize(bond->entries, bond->capacity * sizeof(struct entry *));
    }
    bond->entries[bond->count++] = entry;
    entry->heap_index = bond->count;
    bonds->count++;
}

static struct bond *bond_of(const struct bonds *bonds, const struct entry *entry)
{
    struct bond *bond = bonds_find(bonds, (uint64_t)entry->due_ms);
    ASSERT(bond != NULL && entry->heap_index >= 1 && entry->heap_index <= bond->count);
    return bond;
}

void bonds_remove(struct bonds *bonds, struct entry *entry)
{
    struct bond *bond = bond_of(bonds, entry);
    struct entry *last = bond->entries[--bond->count];
    bond->entries[entry->heap_index - 1] = last;
    last->heap_index = entry->heap_index;
    entry->heap_index = 0;
    bonds->count--;
    if (bond->count == 0) {
        table_remove(&bonds->table, table_hash(&bonds->table, key_of(&bond->ordinal)), bond);
        free_bond(NULL, bond);
    }
}

void bonds_moved(struct bonds *bonds, struct entry *entry)
{
    bond_of(bonds, entry)->entries[entry->heap_index - 1] = entry;
}

static int by_key(const void *a, const void *b)
{
    struct slice x = entry_key(*(struct entry *const *)a);
    struct slice y = entry_key(*(struct entry *const *)b);
    size_t size = x.size < y.size ? x.size : y.size;
    int order = size == 0 ? 0 : memcmp(x.data, y.data, size);
    return order != 0 ? order : (x.size > y.size) - (x.size < y.size);
}

void bond_sort(struct bond *bond)
{
    qsort(bond->entries, bond->count, sizeof(struct entry *), by_key);
    for (uint32_t i = 0; i < bond->count; i++) {
        bond->entries[i]->heap_index = i + 1;
    }
}
