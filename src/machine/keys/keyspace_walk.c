/* Looking at many keys, or any. A key that is due is not there. */
#include "base/prng.h"
#include "machine/keys/keyspace_internal.h"

enum { RANDOM_TRIES = 64, RANDOM_WALK_BUCKETS = 64 };

struct scan_call {
    const struct keyspace_time *time;
    void (*each)(void *owner, const struct entry *entry);
    void *owner;
    size_t met;
};

static bool entry_live(const struct entry *entry, const struct keyspace_time *time)
{
    return !entry_due_by(entry, time->applied_time_ms, time->applied_wall_ms) &&
           !entry_due_by(entry, time->present_time_ms, time->present_wall_ms);
}

static void scan_entry(void *owner, void *item)
{
    struct scan_call *call = owner;
    call->met++;
    if (entry_live(item, call->time)) {
        call->each(call->owner, item);
    }
}

uint64_t keyspace_scan(const struct keyspace *keyspace, const struct keyspace_time *time, uint64_t cursor, size_t count,
                       void (*each)(void *owner, const struct entry *entry), void *owner)
{
    struct scan_call call = {time, each, owner, 0};
    size_t buckets = 0;
    do {
        cursor = table_walk(&keyspace->table, cursor, scan_entry, &call);
    } while (cursor != 0 && call.met < count && ++buckets < count);
    return cursor;
}

static void take_entry(void *owner, const struct entry *entry) { *(const struct entry **)owner = entry; }

const struct entry *keyspace_random(const struct keyspace *keyspace, const struct keyspace_time *time, uint64_t random)
{
    for (int i = 0; i < RANDOM_TRIES && keyspace->table.count > 0; i++) {
        const struct entry *entry = table_random(&keyspace->table, prng_splitmix(&random));
        if (entry_live(entry, time)) {
            return entry;
        }
    }
    const struct entry *found = NULL;
    uint64_t cursor = table_position(prng_splitmix(&random));
    for (int i = 0; i < RANDOM_WALK_BUCKETS && found == NULL; i++) {
        cursor = keyspace_scan(keyspace, time, cursor, 1, take_entry, &found);
    }
    return found;
}
