/* An intrusive doubly linked list. A node that is in no list points to itself. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *prev;
};

#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#define LIST_FOR_EACH(at, head) for (struct list *at = (head)->next; at != (head); at = at->next)

/* The body may remove `at`. */
#define LIST_FOR_EACH_SAFE(at, after, head)                                                                            \
    for (struct list *at = (head)->next, *after = at->next; at != (head); at = after, after = at->next)

static inline void list_init(struct list *list)
{
    list->next = list;
    list->prev = list;
}

static inline bool list_empty(const struct list *list) { return list->next == list; }

static inline void list_append(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void list_prepend(struct list *head, struct list *node) { list_append(head->next, node); }

/* Removes a node from whatever list it is in; harmless when it is in none. */
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}
