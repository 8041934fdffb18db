#include "machine/session/ties.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/varint.h"

#include <stdlib.h>

enum { CHARGE_TIE = 128 };

void ties_init(struct ties *ties, uint64_t seed)
{
    *ties = (struct ties){0};
    table_init(&ties->table, seed, offsetof(struct tie, key));
    table_init(&ties->ordinals, seed, offsetof(struct tie, ordinal));
    _Static_assert(offsetof(struct tie, zero) == offsetof(struct tie, ordinal) + 8 && TIE_KEY_BYTES == 12, "a key");
    list_init(&ties->asked);
    snapshot_walk_init(&ties->walk, &ties_snapshot, &ties->table);
}

static void free_tie(void *owner, void *item)
{
    (void)owner;
    free(item);
}

static void free_nothing(void *owner, void *item)
{
    (void)owner;
    (void)item;
}

void ties_deinit(struct ties *ties)
{
    while (table_release(&ties->ordinals, 1024, free_nothing, NULL)) {
    }
    while (table_release(&ties->table, 1024, free_tie, NULL)) {
    }
    snapshot_walk_deinit(&ties->walk);
}

void ties_clear(struct ties *ties)
{
    ASSERT(ties->open && !ties->walk.running);
    if (ties->table.count != 0) {
        uint64_t seed = ties->table.seed;
        ties_deinit(ties);
        ties_init(ties, seed);
        ties->open = true;
    }
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

static struct slice ordinal_of(const struct tie *tie) { return slice_of(&tie->ordinal, TIE_KEY_BYTES); }

struct tie *ties_of_ordinal(const struct ties *ties, uint64_t ordinal)
{
    const struct tie like = {.ordinal = ordinal};
    return table_find(&ties->ordinals, table_hash(&ties->ordinals, ordinal_of(&like)), ordinal_of(&like));
}

void tie_set_ordinal(struct ties *ties, struct tie *tie, uint64_t ordinal)
{
    ASSERT(tie->ordinal == 0 && ordinal != 0);
    tie->ordinal = ordinal;
    table_insert(&ties->ordinals, table_hash(&ties->ordinals, ordinal_of(tie)), tie);
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
    list_init(&tie->endpoints);
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
    tie_set_ordinal(ties, tie, ++ties->last_ordinal);
    list_append(&ties->asked, &tie->node);
    return tie;
}

struct tie *ties_name(struct ties *ties, struct session_id id, bool lives)
{
    ASSERT(ties->open);
    struct tie *tie = ties_find(ties, id);
    if (tie == NULL) {
        tie = ties_enter(ties, id);
        tie_set_ordinal(ties, tie, ++ties->last_ordinal);
        tie->state = TIE_ASKED;
        list_append(&ties->asked, &tie->node);
    }
    if (lives && tie->state == TIE_ASKED) {
        tie->state = TIE_LIVES;
        list_remove(&tie->node);
    }
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
    ASSERT(tie->claim_count == 0 && tie->endpoint_count == 0);
    tie_keep(ties, tie);
    list_remove(&tie->node);
    if (tie->ordinal != 0) {
        table_remove(&ties->ordinals, table_hash(&ties->ordinals, ordinal_of(tie)), tie);
    }
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
