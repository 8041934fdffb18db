#include "client/timer.h"

#include "base/assert.h"

#include <stddef.h>

/* Both are roots, or NULL. */
static struct timer *meld(struct timer *a, struct timer *b)
{
    if (a == NULL || b == NULL) {
        return a == NULL ? b : a;
    }
    if (b->due_ns < a->due_ns) {
        struct timer *swap = a;
        a = b;
        b = swap;
    }
    b->next = a->child;
    if (a->child != NULL) {
        a->child->previous = b;
    }
    b->previous = a;
    a->child = b;
    return a;
}

/* Melds the run of siblings in pairs from the left, then the pairs from the right. */
static struct timer *meld_siblings(struct timer *first)
{
    struct timer *pairs = NULL;
    while (first != NULL) {
        struct timer *a = first;
        struct timer *b = a->next;
        first = b == NULL ? NULL : b->next;
        a->next = NULL;
        a->previous = NULL;
        if (b != NULL) {
            b->next = NULL;
            b->previous = NULL;
        }
        a = meld(a, b);
        a->next = pairs;
        pairs = a;
    }
    struct timer *root = NULL;
    while (pairs != NULL) {
        struct timer *after = pairs->next;
        pairs->next = NULL;
        root = meld(root, pairs);
        pairs = after;
    }
    return root;
}

static struct timer *take_children(struct timer *timer)
{
    struct timer *children = timer->child;
    timer->child = NULL;
    return meld_siblings(children);
}

void timers_clear(struct timers *timers, struct timer *timer)
{
    if (!timer->is_set) {
        return;
    }
    timer->is_set = false;
    if (timers->root == timer) {
        timers->root = take_children(timer);
        return;
    }
    ASSERT(timer->previous != NULL);
    if (timer->previous->child == timer) {
        timer->previous->child = timer->next;
    } else {
        timer->previous->next = timer->next;
    }
    if (timer->next != NULL) {
        timer->next->previous = timer->previous;
    }
    timer->next = NULL;
    timer->previous = NULL;
    timers->root = meld(timers->root, take_children(timer));
}

void timers_set(struct timers *timers, struct timer *timer, int64_t due_ns)
{
    timers_clear(timers, timer);
    timer->due_ns = due_ns;
    timer->is_set = true;
    timers->root = meld(timers->root, timer);
}

struct timer *timers_take(struct timers *timers, int64_t now_ns)
{
    struct timer *first = timers->root;
    if (first == NULL || first->due_ns > now_ns) {
        return NULL;
    }
    timers_clear(timers, first);
    return first;
}
