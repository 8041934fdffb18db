#include "machine/lock/lock_reap.h"

#include "base/memory.h"
#include "machine/lock/lock_grant.h"

#include <stdlib.h>

bool lock_same_request(const struct lock_origin *a, const struct lock_origin *b)
{
    return a->node == b->node && a->start == b->start && a->number == b->number;
}

bool claim_is_of(const struct claim *claim, const struct lock_origin *origin)
{
    return claim->origin.node == origin->node && claim->origin.start == origin->start &&
           (claim->origin.number & ~LOCK_TOLD_OTHERS) == origin->number;
}

/* ---- from where somebody waits ---- */

struct lock_node *lock_node_find(const struct locks *locks, uint64_t node)
{
    for (size_t i = 0; i < locks->node_count; i++) {
        if (locks->nodes[i]->node == node) {
            return locks->nodes[i];
        }
    }
    return NULL;
}

void lock_node_enter(struct locks *locks, struct claim *claim)
{
    if (claim->origin.node == 0) {
        return;
    }
    struct lock_node *node = lock_node_find(locks, claim->origin.node);
    if (node == NULL) {
        if (locks->node_count == locks->node_capacity) {
            locks->node_capacity = locks->node_capacity == 0 ? 4 : 2 * locks->node_capacity;
            locks->nodes = memory_resize(locks->nodes, locks->node_capacity * sizeof(struct lock_node *));
        }
        node = memory_allocate(sizeof(*node));
        *node = (struct lock_node){.node = claim->origin.node, .oldest_start = claim->origin.start};
        list_init(&node->claims);
        locks->nodes[locks->node_count++] = node;
    }
    node->oldest_start = claim->origin.start < node->oldest_start ? claim->origin.start : node->oldest_start;
    list_append(&node->claims, &claim->node_of);
    node->count++;
}

void lock_node_leave(struct locks *locks, struct claim *claim)
{
    if (claim->origin.node == 0) {
        return;
    }
    struct lock_node *node = lock_node_find(locks, claim->origin.node);
    list_remove(&claim->node_of);
    if (--node->count > 0) {
        return;
    }
    size_t place = 0;
    while (locks->nodes[place] != node) {
        place++;
    }
    locks->nodes[place] = locks->nodes[--locks->node_count];
    free(node);
}

bool locks_waiting_node(const struct locks *locks, size_t place, uint64_t *ret_node, uint64_t *ret_oldest_start)
{
    if (place >= locks->node_count) {
        return false;
    }
    *ret_node = locks->nodes[place]->node;
    *ret_oldest_start = locks->nodes[place]->oldest_start;
    return true;
}

/* ---- clients that are gone ---- */

static void take_back(struct locks *locks, struct claim *claim, const struct lock_now *now)
{
    struct lock *lock = claim->lock;
    lock_keep(locks, lock);
    if (claim->state == CLAIM_WAITS) {
        lock_end_wait(locks, claim, false);
    } else {
        lock_end_hold(locks, claim, LOCK_CLIENT_GONE, now);
    }
    lock_grant(locks, lock, now);
}

static int by_order(const void *a, const void *b)
{
    const struct claim *const *x = a;
    const struct claim *const *y = b;
    return ((*x)->order > (*y)->order) - ((*x)->order < (*y)->order);
}

size_t locks_reap(struct locks *locks, uint64_t node, uint64_t start, const struct lock_now *now)
{
    struct lock_node *waits = lock_node_find(locks, node);
    size_t count = 0;
    struct claim **gone = memory_allocate((waits == NULL ? 1 : waits->count) * sizeof(struct claim *));
    for (struct list *at = waits == NULL ? NULL : waits->claims.next; at != NULL && at != &waits->claims;
         at = at->next) {
        struct claim *claim = CONTAINER_OF(at, struct claim, node_of);
        if (claim->origin.start < start) {
            gone[count++] = claim;
        }
    }
    qsort(gone, count, sizeof(struct claim *), by_order); /* tokens are given in the order of what follows */
    struct lock **left = memory_allocate((count + 1) * sizeof(struct lock *));
    for (size_t i = 0; i < count; i++) {
        left[i] = gone[i]->lock;
        lock_keep(locks, left[i]);
        lock_end_wait(locks, gone[i], false);
    }
    for (size_t i = 0; i < count; i++) {
        lock_grant(locks, left[i], now);
    }
    waits = lock_node_find(locks, node);
    if (waits != NULL && waits->oldest_start < start) {
        waits->oldest_start = start;
    }
    free(left);
    free(gone);
    locks_tidy(locks);
    return count;
}

void locks_take_back(struct locks *locks, struct slice key, struct slice owner, const struct lock_origin *origin,
                     const struct lock_now *now)
{
    struct claim *claim = lock_settled_claim(locks, key, owner, now);
    if (claim != NULL && lock_same_request(&claim->origin, origin)) {
        take_back(locks, claim, now);
        locks_tidy(locks);
    }
}
