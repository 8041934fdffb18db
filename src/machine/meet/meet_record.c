/* Memory of barriers, latches and who is in them, and what is charged for it: alike on every replica. */
#include "base/assert.h"
#include "base/memory.h"
#include "machine/meet/meet.h"

#include <stdlib.h>

enum { CHARGE_MEET = 160, CHARGE_MEMBER = 184 /* header, allocator, places in tables and heaps */ };

/* ---- meets ---- */

static struct slice key_of(enum meet_kind kind, struct slice name, uint8_t space[static MEET_NAME_BYTES + 1])
{
    ASSERT(name.size <= MEET_NAME_BYTES);
    space[0] = (uint8_t)kind;
    if (name.size > 0) {
        memcpy(space + 1, name.data, name.size);
    }
    return slice_of(space, name.size + 1);
}

struct meet *meet_find(const struct meets *meets, enum meet_kind kind, struct slice name)
{
    uint8_t space[MEET_NAME_BYTES + 1];
    if (name.size > MEET_NAME_BYTES) {
        return NULL;
    }
    struct slice key = key_of(kind, name, space);
    return table_find(&meets->table, table_hash(&meets->table, key), key);
}

struct meet *meet_add(struct meets *meets, enum meet_kind kind, struct slice name)
{
    struct meet *meet = memory_allocate(sizeof(*meet) + 1 + name.size);
    *meet =
        (struct meet){.key_size = (uint32_t)name.size + 1, .number = ++meets->last_number, .epoch = meets->walk.epoch};
    list_init(&meet->waiting);
    list_init(&meet->passed);
    (void)key_of(kind, name, meet->key);
    table_insert(&meets->table, table_hash(&meets->table, slice_of(meet->key, meet->key_size)), meet);
    meets->memory_bytes += CHARGE_MEET + meet->key_size;
    return meet;
}

void meet_settle(struct meets *meets, struct meet *meet)
{
    if (meet_kind_of(meet) == MEET_BARRIER && meet->waiting_count == 0) {
        meet_set_count(meets, meet, 0);
    }
    if (meet->count != 0 || meet->waiting_count + meet->passed_count != 0 || meet->heap_index != 0) {
        return;
    }
    table_remove(&meets->table, table_hash(&meets->table, slice_of(meet->key, meet->key_size)), meet);
    meets->memory_bytes -= CHARGE_MEET + meet->key_size;
    free(meet);
}

void meet_set_count(struct meets *meets, struct meet *meet, uint32_t count)
{
    meets->busy += (uint64_t)(count != 0) - (uint64_t)(meet->count != 0);
    meet->count = count;
}

void meet_open(struct meets *meets, struct meet *meet, uint64_t order, int64_t due_ms)
{
    meet->order = order;
    meet->due_ms = due_ms;
    due_heap_insert(&meets->open, meet, due_ms);
}

void meet_not_open(struct meets *meets, struct meet *meet)
{
    if (meet->heap_index != 0) {
        due_heap_remove(&meets->open, meet);
        meet->order = 0;
        meet->due_ms = 0;
    }
}

/* ---- nodes ---- */

struct meet_node *meet_node_find(const struct meets *meets, uint64_t node)
{
    for (size_t i = 0; i < meets->node_count; i++) {
        if (meets->nodes[i]->node == node) {
            return meets->nodes[i];
        }
    }
    return NULL;
}

static void node_enter(struct meets *meets, struct member *member)
{
    struct meet_node *node = meet_node_find(meets, member->origin.node);
    if (node == NULL) {
        if (meets->node_count == meets->node_capacity) {
            meets->node_capacity = meets->node_capacity == 0 ? 4 : 2 * meets->node_capacity;
            meets->nodes = memory_resize(meets->nodes, meets->node_capacity * sizeof(struct meet_node *));
        }
        node = memory_allocate(sizeof(*node));
        *node = (struct meet_node){.node = member->origin.node, .oldest_start = member->origin.start};
        list_init(&node->members);
        meets->nodes[meets->node_count++] = node;
    }
    node->oldest_start = member->origin.start < node->oldest_start ? member->origin.start : node->oldest_start;
    list_append(&node->members, &member->node_of);
    node->count++;
}

static void node_leave(struct meets *meets, struct member *member)
{
    struct meet_node *node = meet_node_find(meets, member->origin.node);
    list_remove(&member->node_of);
    if (--node->count > 0) {
        return;
    }
    size_t place = 0;
    while (meets->nodes[place] != node) {
        place++;
    }
    meets->nodes[place] = meets->nodes[--meets->node_count];
    free(node);
}

/* ---- members ---- */

static uint64_t member_hash(const struct meets *meets, const struct member *member)
{
    return table_hash(&meets->index, slice_of(member->bytes, member->key_size));
}

struct member *member_find(const struct meets *meets, const struct meet *meet, struct slice owner)
{
    uint8_t key[MEMBER_PREFIX + MEET_OWNER_BYTES];
    if (owner.size > MEET_OWNER_BYTES) {
        return NULL;
    }
    memcpy(key, &meet->number, MEMBER_PREFIX);
    if (owner.size > 0) {
        memcpy(key + MEMBER_PREFIX, owner.data, owner.size);
    }
    struct slice whole = slice_of(key, MEMBER_PREFIX + owner.size);
    return table_find(&meets->index, table_hash(&meets->index, whole), whole);
}

/* Into the list and heap of its state, and out of them. */
static void arrive(struct meets *meets, struct member *member)
{
    struct meet *meet = member->meet;
    if (member->passed) {
        list_append(&meet->passed, &member->node);
        meet->passed_count++;
    } else {
        list_append(&meet->waiting, &member->node);
        meet->waiting_count++;
        node_enter(meets, member);
    }
    due_heap_insert(member->passed ? &meets->gone : &meets->waits, member, member->due_ms);
}

static void depart(struct meets *meets, struct member *member)
{
    struct meet *meet = member->meet;
    list_remove(&member->node);
    due_heap_remove(member->passed ? &meets->gone : &meets->waits, member);
    if (member->passed) {
        meet->passed_count--;
    } else {
        meet->waiting_count--;
        node_leave(meets, member);
    }
}

struct member *member_enter(struct meets *meets, struct meet *meet, struct slice owner, const struct member *like)
{
    struct member *member = memory_allocate(sizeof(*member) + MEMBER_PREFIX + owner.size);
    *member = *like;
    member->key_size = (uint32_t)(MEMBER_PREFIX + owner.size);
    member->heap_index = 0;
    member->meet = meet;
    list_init(&member->node);
    list_init(&member->node_of);
    memcpy(member->bytes, &meet->number, MEMBER_PREFIX);
    if (owner.size > 0) {
        memcpy(member->bytes + MEMBER_PREFIX, owner.data, owner.size);
    }
    table_insert(&meets->index, member_hash(meets, member), member);
    meets->memory_bytes += CHARGE_MEMBER + member->key_size;
    arrive(meets, member);
    return member;
}

void member_leave(struct meets *meets, struct member *member)
{
    depart(meets, member);
    table_remove(&meets->index, member_hash(meets, member), member);
    meets->memory_bytes -= CHARGE_MEMBER + member->key_size;
    free(member);
}

void member_take_over(struct meets *meets, struct member *member, const struct lock_origin *origin, int64_t due_ms)
{
    due_heap_remove(&meets->waits, member);
    node_leave(meets, member);
    member->origin = *origin;
    member->due_ms = due_ms;
    node_enter(meets, member);
    due_heap_insert(&meets->waits, member, due_ms);
}

void member_pass(struct meets *meets, struct member *member, int64_t due_ms)
{
    depart(meets, member);
    member->passed = true;
    member->order = ++meets->last_order;
    member->due_ms = due_ms;
    arrive(meets, member);
}
