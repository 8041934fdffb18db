/* What a barrier or latch, and whoever is in it, look like in memory. For the files of this folder alone.
 *
 * Invariants
 * 1. `count` of a barrier is 0 exactly when nobody waits in it; of a latch, when it is not closed.
 * 2. A latch is in meets.open exactly when it is known and open.
 * 3. A member that waits is in meets.waits and in the list of its node; one that has passed is in meets.gone.
 * 4. What has no members, no count, and is no latch that is known, is not there. */
#pragma once

#include "base/list.h"
#include "machine/meet/meets.h"

struct meet {
    uint32_t key_size;           /* first: struct table_item */
    uint32_t heap_index;         /* in meets.open; 0: it is not */
    uint32_t epoch;              /* of the last snapshot that has it, or need not */
    uint32_t count;              /* of a barrier: COUNT; of a latch: what is left */
    uint64_t number;             /* in this process */
    uint64_t order;              /* of an open latch: larger than of those opened earlier, and … */
    int64_t due_ms;              /* … when it is forgotten */
    struct list waiting, passed; /* of struct member, in their order */
    uint32_t waiting_count, passed_count;
    uint8_t key[]; /* kind, name */
};

struct member {
    uint32_t key_size;   /* first: struct table_item */
    uint32_t heap_index; /* in meets.waits or meets.gone */
    struct list node;    /* of meet.waiting or meet.passed */
    struct list node_of; /* while it waits: of meet_node.members */
    struct meet *meet;
    uint64_t order;
    int64_t due_ms;
    struct lock_origin origin;
    bool passed;
    uint8_t bytes[]; /* number of the meet u64, owner */
};

enum { MEMBER_PREFIX = sizeof(uint64_t) };

/* Whose clients wait: to find these waits when the node is gone. */
struct meet_node {
    uint64_t node;
    struct list members;
    size_t count;
    uint64_t oldest_start; /* of these members, or older; no part of the state */
};

static inline enum meet_kind meet_kind_of(const struct meet *meet) { return (enum meet_kind)meet->key[0]; }
static inline struct slice meet_name(const struct meet *meet) { return slice_of(meet->key + 1, meet->key_size - 1); }
static inline struct member *member_of(const struct list *node) { return CONTAINER_OF(node, struct member, node); }
static inline struct slice member_owner(const struct member *member)
{
    return slice_of(member->bytes + MEMBER_PREFIX, member->key_size - MEMBER_PREFIX);
}

/* ---- meet_record.c ---- */

struct meet *meet_find(const struct meets *meets, enum meet_kind kind, struct slice name);
struct meet *meet_add(struct meets *meets, enum meet_kind kind, struct slice name);
/* It goes, when there is nothing to know about it. */
void meet_settle(struct meets *meets, struct meet *meet);
/* Its count changes; a closed latch, and a barrier that somebody is in, are counted. */
void meet_set_count(struct meets *meets, struct meet *meet, uint32_t count);
/* A latch is known to be open from now on; it is not, or not known, any more. */
void meet_open(struct meets *meets, struct meet *meet, uint64_t order, int64_t due_ms);
void meet_not_open(struct meets *meets, struct meet *meet);

struct member *member_find(const struct meets *meets, const struct meet *meet, struct slice owner);
/* Puts one in, with all that it says of itself; its memory counts. */
struct member *member_enter(struct meets *meets, struct meet *meet, struct slice owner, const struct member *like);
void member_leave(struct meets *meets, struct member *member);
/* It waits for another request, or longer; it has passed. */
void member_take_over(struct meets *meets, struct member *member, const struct lock_origin *origin, int64_t due_ms);
void member_pass(struct meets *meets, struct member *member, int64_t due_ms);
struct meet_node *meet_node_find(const struct meets *meets, uint64_t node);

/* ---- meet_snapshot.c ---- */

extern const struct snapshot_walk_kind meets_snapshot;
/* Before each change of a meet: the running snapshot has it as it was. */
static inline void meet_keep(struct meets *meets, struct meet *meet) { snapshot_walk_keep(&meets->walk, meet); }
