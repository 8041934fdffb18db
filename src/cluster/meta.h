/* The members (members.h), as they are kept in the meta group: group 0, whose state holds the one key `members` with
 * the bytes of members_encode. Each node reads them, sees to it that its own line in them is right, and says when they
 * changed. Changes are made as any client makes one: read with the version (COHORT.GETV), compute, write if the version
 * is still that one (COHORT.SETV).
 *
 * Invariants
 * 1. What is known comes from the founding (version 0: what the bootstrap will write, or has written) or from the
 * group, and never goes back to an older version.
 * 2. The founding is written with version 0, so once, whoever leads and however often the write's outcome is unknown.
 * 3. A write changes one version into the next by one change of members.h, which that version allows. So repeating
 *    one whose outcome is unknown is harmless: the second look finds it done, or another version.
 * 4. A node whose incarnation is not the one in the members is refused, with what to do; and one whose lineage lacks
 * the start that the members have of it.
 * 5. At most one request is under way; what fails is tried again after a pause that grows and is drawn, so that many
 *    nodes which begin together do not keep each other from it.
 *
 * Nodes that vote in group 0 read their own replica, whenever something was applied; the others ask the group: every
 * second while a node is missing in the members, then every META_REFRESH_MS. */
#pragma once

#include "cluster/founding_record.h"
#include "cluster/lineage.h"
#include "cluster/requester.h"

struct meta;

enum {
    META_ASK_MS = 1000,
    META_REFRESH_MS = 5000,
    META_PAUSE_FIRST_MS = 20, /* after a conflict or a failure; doubles */
    META_PAUSE_MAXIMUM_MS = 2000,
};

struct meta_events {
    /* Gives the command (copied) to group 0: a strong read, or a write. Not OK: it was not taken. */
    enum status (*submit)(void *owner, const struct command *command, struct requester *requester, uint64_t tag);
    /* Answers a read from this node's replica of group 0, however old. False: it has none. */
    bool (*read_here)(void *owner, const struct command *command, struct resp_writer *reply);
    /* A newer version is known. Borrowed, until the next. */
    void (*changed)(void *owner, const struct members *members);
    /* Once: this node cannot go on as a member. `line` is for a person. */
    void (*refused)(void *owner, enum status status, const char *line);
};

struct meta_options {
    uint64_t node; /* this one */
    struct id128 incarnation;
    struct lineage lineage;
    const struct founding_record *record; /* founded, by several nodes; needed by meta_create only */
};

struct meta *meta_create(struct env *env, const struct meta_options *options, const struct meta_events *events,
                         void *owner);
/* A request that is under way is answered no more. Not from a callback. Takes NULL. */
void meta_destroy(struct meta *meta);

/* Once per turn: looks and acts, if there is anything new. Callbacks come from here and from the requester's. */
void meta_turn(struct meta *meta);
/* Group 0 has applied something here. */
void meta_applied(struct meta *meta);
/* Whether this node leads group 0. */
void meta_leading(struct meta *meta, bool leading);

/* What is known; bootstrapped, at all times. Borrowed, until `changed`. */
const struct members *meta_members(const struct meta *meta);
/* 0: from the founding alone. */
uint64_t meta_version(const struct meta *meta);
/* The members have this node, as it is, and nothing is left to write. */
bool meta_settled(const struct meta *meta);
