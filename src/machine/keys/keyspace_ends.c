/* Keys that end by themselves: by time, and with a session. */
#include "base/memory.h"
#include "machine/keys/keyspace_internal.h"

/* ---- expiry ---- */

static struct entry *heap_due(const struct keyspace *keyspace, enum due_kind kind, int64_t now_ms)
{
    const struct due_item *first = due_heap_first(&keyspace->heaps[kind - 1]);
    return first == NULL || first->due_ms > now_ms ? NULL : first->of;
}

size_t keyspace_expire(struct keyspace *keyspace, const struct keyspace_time *time, size_t limit, uint64_t position)
{
    size_t removed = 0;
    keyspace_saw(keyspace, position);
    for (; removed < limit; removed++) {
        struct entry *by_time = heap_due(keyspace, DUE_TIME, time->applied_time_ms);
        struct entry *by_wall = heap_due(keyspace, DUE_WALL, time->applied_wall_ms);
        struct entry *first = by_time;
        if (by_time == NULL || (by_wall != NULL && by_wall->due_ms < by_time->due_ms)) {
            first = by_wall;
        }
        if (first == NULL) {
            break;
        }
        keyspace_remove_due(keyspace, first);
    }
    return removed;
}

void keyspace_next_due(const struct keyspace *keyspace, int64_t *ret_time_ms, int64_t *ret_wall_ms)
{
    const struct due_item *by_time = due_heap_first(&keyspace->heaps[DUE_TIME - 1]);
    const struct due_item *by_wall = due_heap_first(&keyspace->heaps[DUE_WALL - 1]);
    *ret_time_ms = by_time == NULL ? INT64_MAX : by_time->due_ms;
    *ret_wall_ms = by_wall == NULL ? INT64_MAX : by_wall->due_ms;
}

/* ---- keys that end with a session ---- */

uint64_t keyspace_count_bonded(const struct keyspace *keyspace, uint64_t ordinal)
{
    const struct bond *bond = bonds_find(&keyspace->bonds, ordinal);
    return bond == NULL ? 0 : bond->count;
}

uint64_t keyspace_count_all_bonded(const struct keyspace *keyspace) { return keyspace->bonds.count; }

size_t keyspace_end_bond(struct keyspace *keyspace, uint64_t ordinal, size_t limit, uint64_t position)
{
    struct bond *bond = bonds_find(&keyspace->bonds, ordinal);
    size_t count = bond == NULL ? 0 : bond->count;
    if (count == 0 || limit == 0) {
        return 0;
    }
    bond_sort(bond);
    size_t removed = count < limit ? count : limit;
    struct entry **entries = memory_allocate(removed * sizeof(struct entry *));
    memcpy(entries, bond->entries, removed * sizeof(struct entry *));
    for (size_t i = 0; i < removed; i++) {
        keyspace_remove(keyspace, entries[i], position);
    }
    free(entries);
    return removed;
}
