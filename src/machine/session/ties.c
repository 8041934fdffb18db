#include "machine/session/ties.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/varint.h"

#include <stdlib.h>

enum { CHARGE_TIE = 112 };

void ties_init(struct ties *ties, uint64_t seed)
{
    *ties = (struct ties){0};
    table_init(&ties->table, seed, offsetof(struct tie, key));
    list_init(&ties->asked);
    snapshot_walk_init(&ties->walk, &ties_snapshot, &ties->table);
}

static void free_tie(void *owner, void *item)
{
    (void)owner;
    free(item);
}

void ties_deinit(struct ties *ties)
{
    while (table_release(&ties->table, 1024, free_tie, NULL)) {
    }
    snapshot_walk_deinit(&ties->walk);
}

static void put_key(uint8_t key[static TIE_KEY_BYTES], struct session_id id)
{
    put_u64(key, id.number);
    put_u32(key + 8, id.shard);
}

static struct slice key_of(const struct tie *tie) { return slice_of(tie->key, TIE_KEY_BYTES); }

struct session_id tie_id(const struct tie *tie)
{
    return (struct session_id){.shard = get_u32(tie->key + 8), .number = get_u64(tie->key)};
}

struct tie *ties_find(const struct ties *ties, struct session_id id)
{
    uint8_t bytes[TIE_KEY_BYTES];
    put_key(bytes, id);
    struct slice key = slice_of(bytes, sizeof(bytes));
    return table_find(&ties->table, table_hash(&ties->table, key), key);
}

struct tie *ties_enter(struct ties *ties, struct session_id id)
{
    struct tie *tie = ties_find(ties, id);
    if (tie != NULL) {
        return tie;
    }
    tie = memory_allocate_zeroed(1, sizeof(*tie));
    tie->key_size = TIE_KEY_BYTES;
    tie->state = TIE_ENDS;
    tie->epoch = ties->walk.epoch;
    put_key(tie->key, id);
    list_init(&tie->claims);
    list_init(&tie->node);
    table_insert(&ties->table, table_hash(&ties->table, key_of(tie)), tie);
    ties->memory_bytes += CHARGE_TIE;
    return tie;
}

struct tie *ties_ask(struct ties *ties, struct session_id id, int64_t time_ms)
{
    struct tie *tie = ties_find(ties, id);
    if (tie != NULL) {
        return tie;
    }
    if (ties->table.count >= SESSION_TIES) {
        return NULL;
    }
    tie = ties_enter(ties, id);
    tie->state = TIE_ASKED;
    tie->asked_ms = time_ms;
    tie->ordinal = ++ties->last_ordinal;
    list_append(&ties->asked, &tie->node);
    return tie;
}

bool ties_confirm(struct ties *ties, struct session_id id, uint64_t ordinal)
{
    struct tie *tie = ties_find(ties, id);
    if (tie == NULL || tie->ordinal != ordinal || tie->state == TIE_ENDS) {
        return false;
    }
    if (tie->state == TIE_ASKED) {
        tie_keep(ties, tie);
        tie->state = TIE_LIVES;
        list_remove(&tie->node);
    }
    return true;
}

void tie_end(struct ties *ties, struct tie *tie)
{
    if (tie->state != TIE_ENDS) {
        tie_keep(ties, tie);
        tie->state = TIE_ENDS;
        list_remove(&tie->node);
        ties->ended++;
    }
}

void ties_forget(struct ties *ties, struct tie *tie)
{
    ASSERT(tie->claim_count == 0);
    tie_keep(ties, tie);
    list_remove(&tie->node);
    table_remove(&ties->table, table_hash(&ties->table, key_of(tie)), tie);
    ties->memory_bytes -= CHARGE_TIE;
    free(tie);
}

static struct tie *first_asked(const struct ties *ties)
{
    return list_empty(&ties->asked) ? NULL : CONTAINER_OF(ties->asked.next, struct tie, node);
}

int64_t ties_next_due(const struct ties *ties)
{
    const struct tie *first = first_asked(ties);
    return first == NULL ? INT64_MAX : first->asked_ms + SESSION_ASKED_MS;
}

void ties_expire(struct ties *ties, int64_t time_ms, size_t limit)
{
    for (; limit > 0 && ties_next_due(ties) <= time_ms; limit--) {
        ties_forget(ties, first_asked(ties));
    }
}
