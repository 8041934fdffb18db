/* Which link an operation goes to (handle.h). */
#include "base/assert.h"
#include "client/handle.h"

#include <stdio.h>
#include <stdlib.h>

/* Starts the node's shared link if its pause is over. */
static void try_connecting(struct cohort *cohort, struct node *node, int64_t now_ns)
{
    if (node->shared.state == LINK_CLOSED && node->again_ns <= now_ns) {
        link_start(&node->shared);
    }
}

static bool is_connecting(const struct link *link)
{
    return link->state == LINK_RESOLVING || link->state == LINK_CONNECTING || link->state == LINK_GREETING;
}

static bool is_doubted(const struct node *node)
{
    return node->doubt_until_ns != 0 && node->doubt_until_ns > client_clock_ns();
}

void handle_doubt_node(struct cohort *cohort, struct node *node)
{
    node->doubt_until_ns = client_clock_ns() + (int64_t)HANDLE_DOUBT_MS * 1000000;
    cohort->leaders_doubted = true;
}

/* It is not connected to, and may be. */
static bool may_be_tried(const struct node *node, int64_t now_ns)
{
    return is_connecting(&node->shared) || (node->shared.state == LINK_CLOSED && node->again_ns <= now_ns);
}

/* Somebody is there to ask before those who are in doubt. */
static bool has_others(const struct cohort *cohort)
{
    int64_t now_ns = client_clock_ns();
    for (uint32_t i = 0; i < cohort->node_count; i++) {
        if (!is_doubted(cohort->nodes[i]) && may_be_tried(cohort->nodes[i], now_ns)) {
            return true;
        }
    }
    return false;
}

/* Someone who can be asked now: leaders first, then whoever is connected to; those who said that they cannot serve only
 * when nobody else can be reached. */
static struct link *choose_shared(struct cohort *cohort, int slot)
{
    struct node *leader = handle_leader(cohort, slot);
    if (leader != NULL && !is_doubted(leader)) {
        if (link_is_usable(&leader->shared)) {
            return &leader->shared;
        }
        try_connecting(cohort, leader, client_clock_ns());
    }
    struct node *last = NULL;
    for (uint32_t i = 0; i < cohort->node_count; i++) {
        struct node *node = cohort->nodes[(cohort->next_node + i) % cohort->node_count];
        if (!link_is_usable(&node->shared)) {
            continue;
        }
        if (!is_doubted(node)) {
            return &node->shared;
        }
        last = last == NULL || node->doubt_until_ns < last->doubt_until_ns ? node : last;
    }
    return last == NULL || has_others(cohort) ? NULL : &last->shared;
}

/* The next node whose pause is over, those in doubt last; NULL: *ret_again_ns is when the first one's is. */
static struct node *next_to_try(struct cohort *cohort, int64_t now_ns, int64_t *ret_again_ns)
{
    for (int doubted = 0; doubted < 2; doubted++) {
        for (uint32_t i = 0; i < cohort->node_count; i++) {
            uint32_t index = (cohort->next_node + i) % cohort->node_count;
            struct node *node = cohort->nodes[index];
            if (node->again_ns <= now_ns && !node->shared.suspect && is_doubted(node) == (doubted != 0)) {
                cohort->next_node = (index + 1) % cohort->node_count;
                return node;
            }
            if (node->again_ns > now_ns && node->again_ns < *ret_again_ns) {
                *ret_again_ns = node->again_ns;
            }
        }
    }
    return NULL;
}

/* There is nobody to ask: connects to the next node, one at a time. */
static void connect_somewhere(struct cohort *cohort)
{
    int64_t again_ns = INT64_MAX;
    for (uint32_t tries = 0; tries < cohort->node_count; tries++) {
        for (uint32_t i = 0; i < cohort->node_count; i++) {
            struct node *node = cohort->nodes[i];
            if (is_connecting(&node->shared) || (!is_doubted(node) && link_is_usable(&node->shared))) {
                return;
            }
        }
        struct node *node = next_to_try(cohort, client_clock_ns(), &again_ns);
        if (node == NULL) {
            break;
        }
        if (node->shared.state == LINK_CLOSED) {
            link_start(&node->shared);
        }
    }
    if (again_ns != INT64_MAX) {
        handle_set_timer(cohort, &cohort->timer, again_ns);
    }
}

/* ---- connections of their own ---- */

/* One that nobody has; of a node in doubt only when no more can be made. */
static struct link *find_idle(struct cohort *cohort)
{
    bool is_last = cohort->private_count >= cohort->settings.connections_max;
    LIST_FOR_EACH (at, &cohort->links) {
        struct link *link = CONTAINER_OF(at, struct link, all);
        if (link->is_private && !link->is_taken && link->state == LINK_OPEN && (is_last || !is_doubted(link->node))) {
            return link;
        }
    }
    return NULL;
}

static struct link *take_private(struct cohort *cohort)
{
    for (;;) {
        struct link *idle = find_idle(cohort);
        if (idle == NULL) {
            return NULL;
        }
        if (link_is_usable(idle)) { /* else it is gone now */
            idle->is_taken = true;
            return idle;
        }
        if (idle->state == LINK_OPEN) {
            return NULL; /* suspect: not for now */
        }
    }
}

/* As many are being connected as operations wait for one. */
static void connect_private(struct cohort *cohort)
{
    uint32_t wanted = 0;
    LIST_FOR_EACH (at, &cohort->waiting) {
        wanted += (CONTAINER_OF(at, struct operation, node)->flags & OPERATION_PRIVATE) != 0;
    }
    uint32_t coming = 0;
    LIST_FOR_EACH (at, &cohort->links) {
        const struct link *link = CONTAINER_OF(at, struct link, all);
        coming += link->is_private && is_connecting(link);
    }
    int64_t again_ns = INT64_MAX;
    while (coming < wanted && cohort->private_count < cohort->settings.connections_max) {
        int64_t now_ns = client_clock_ns();
        struct node *node = next_to_try(cohort, now_ns, &again_ns);
        struct link *link = node == NULL ? NULL : malloc(sizeof(*link));
        if (link == NULL && node != NULL) { /* no memory now */
            again_ns = now_ns + (int64_t)HANDLE_BACKOFF_MS * 1000000;
        }
        if (link == NULL) {
            break;
        }
        link_init(link, cohort, node);
        link->is_private = true;
        cohort->private_count++;
        coming++;
        link_start(link); /* it may be gone now */
    }
    if (again_ns != INT64_MAX) {
        handle_set_timer(cohort, &cohort->timer, again_ns);
    }
}

/* ---- operations ---- */

static struct link *choose(struct cohort *cohort, struct operation *operation)
{
    if (operation->pinned) {
        return operation->link;
    }
    if ((operation->flags & OPERATION_PRIVATE) != 0) {
        return take_private(cohort);
    }
    return choose_shared(cohort, operation->slot);
}

/* False: there is no link now. */
static bool give(struct cohort *cohort, struct operation *operation)
{
    struct link *link = choose(cohort, operation);
    if (link == NULL) {
        return false;
    }
    list_remove(&operation->node);
    if (!operation->pinned) {
        handle_ask_leaders(cohort, link); /* first: behind a wait it would have no answer, or behind a feed's reader */
    }
    link_append(link, operation);
    return true;
}

static void connect_for(struct cohort *cohort, const struct operation *operation)
{
    if ((operation->flags & OPERATION_PRIVATE) != 0) {
        connect_private(cohort);
    } else {
        connect_somewhere(cohort);
    }
}

void handle_dispatch(struct cohort *cohort, struct operation *operation)
{
    if (!give(cohort, operation)) {
        list_append(&cohort->waiting, &operation->node);
        connect_for(cohort, operation);
    }
}

/* No node was ever reached, and each has refused at all of its addresses. */
static bool nobody_is_there(const struct cohort *cohort)
{
    for (uint32_t i = 0; i < cohort->node_count; i++) {
        const struct node *node = cohort->nodes[i];
        if (node->was_reached || node->refused == 0 || node->refused < node->addresses) {
            return false;
        }
    }
    return true;
}

/* What is asked next tries each of them once more. */
static void fail_fast(struct cohort *cohort)
{
    char why[sizeof(cohort->problem) + 32];
    (void)snprintf(why, sizeof(why), "no node can be reached: %s", cohort->problem);
    for (uint32_t i = 0; i < cohort->node_count; i++) {
        cohort->nodes[i]->refused = 0;
    }
    handle_fail_waiting(cohort, COHORT_UNREACHABLE, why);
}

void handle_dispatch_waiting(struct cohort *cohort)
{
    if ((cohort->settings.flags & COHORT_FAIL_FAST) != 0 && nobody_is_there(cohort)) {
        fail_fast(cohort);
    }
    bool is_blocked[2] = {false, false}; /* shared, private: the first that found none speaks for all */
    struct list waiting;
    list_init(&waiting);
    while (!list_empty(&cohort->waiting)) {
        struct list *first = cohort->waiting.next;
        list_remove(first);
        list_append(&waiting, first);
    }
    while (!list_empty(&waiting)) {
        struct operation *operation = CONTAINER_OF(waiting.next, struct operation, node);
        bool *blocked = &is_blocked[(operation->flags & OPERATION_PRIVATE) != 0];
        if (*blocked || !give(cohort, operation)) {
            *blocked = true;
            list_remove(&operation->node);
            list_append(&cohort->waiting, &operation->node);
        }
    }
    if (is_blocked[0]) {
        connect_somewhere(cohort);
    }
    if (is_blocked[1]) {
        connect_private(cohort);
    }
}

void handle_fail_waiting(struct cohort *cohort, enum cohort_status status, const char *why)
{
    uint32_t count = cohort->operations; /* who comes meanwhile is not among them */
    while (!list_empty(&cohort->waiting) && count-- > 0) {
        operation_cancel(CONTAINER_OF(cohort->waiting.next, struct operation, node), status, why);
    }
}

void handle_node_failed(struct cohort *cohort, struct node *node, bool was_open, const char *why)
{
    if (cohort->closing) {
        return;
    }
    char address[CLIENT_ENDPOINT_TEXT_BYTES];
    client_endpoint_format(&node->endpoint, address);
    (void)snprintf(cohort->problem, sizeof(cohort->problem), "%.100s: %.50s", address, why);
    int64_t pause_ms = HANDLE_BACKOFF_MS;
    if (!was_open) {
        int64_t maximum_ms =
            node->is_told && !node->was_reached ? HANDLE_STRANGER_MAXIMUM_MS : HANDLE_BACKOFF_MAXIMUM_MS;
        uint32_t doubled = node->failures < 10 ? node->failures++ : 10;
        pause_ms <<= doubled;
        pause_ms = pause_ms > maximum_ms ? maximum_ms : pause_ms;
    }
    int64_t pause_ns = pause_ms * 1000000;
    node->again_ns = client_clock_ns() + pause_ns / 2 + (int64_t)prng_below(&cohort->prng, (uint64_t)pause_ns / 2);
    cohort->leaders_doubted = true;
    cohort->dispatch_due = true;
    handle_wake(cohort);
}
