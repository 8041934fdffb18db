#include "check/memo.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 256 };

void memo_deinit(struct memo *memo)
{
    free(memo->entries);
    *memo = (struct memo){0};
}

static bool is_free(const struct memo_entry *entry) { return (entry->placed[0] | entry->placed[1]) == 0; }

/* Where the entry is or belongs. */
static struct memo_entry *find(struct memo_entry *entries, size_t capacity, const struct memo_entry *entry)
{
    uint64_t hash = entry->placed[0] ^ (entry->state * 0x9e3779b97f4a7c15ULL) ^ (entry->before * 0xc2b2ae3d27d4eb4fULL);
    size_t at = (size_t)(hash ^ (hash >> 32)) & (capacity - 1);
    while (!is_free(&entries[at]) && memcmp(&entries[at], entry, sizeof(*entry)) != 0) {
        at = (at + 1) & (capacity - 1);
    }
    return &entries[at];
}

/* Old and new table are there at the same time, and both count. */
static bool grow(struct memo *memo)
{
    size_t capacity = memo->capacity == 0 ? FIRST_CAPACITY : memo->capacity * 2;
    if ((capacity + memo->capacity) * sizeof(struct memo_entry) > memo->bytes_maximum) {
        return false;
    }
    struct memo_entry *entries = calloc(capacity, sizeof(*entries));
    if (entries == NULL) {
        return false;
    }
    for (size_t i = 0; i < memo->capacity; i++) {
        if (!is_free(&memo->entries[i])) {
            *find(entries, capacity, &memo->entries[i]) = memo->entries[i];
        }
    }
    free(memo->entries);
    memo->entries = entries;
    memo->capacity = capacity;
    return true;
}

enum memo_result memo_add(struct memo *memo, const struct memo_entry *entry)
{
    ASSERT(!is_free(entry));
    if (memo->count >= memo->capacity / 4 * 3 && !grow(memo)) {
        return MEMO_FULL;
    }
    struct memo_entry *at = find(memo->entries, memo->capacity, entry);
    if (!is_free(at)) {
        return MEMO_SEEN;
    }
    *at = *entry;
    memo->count++;
    return MEMO_ADDED;
}
