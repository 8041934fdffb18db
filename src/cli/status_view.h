/* A cluster as all its nodes together describe it: each is asked for itself (COHORT.STATUS), at the address that the
 * first one to answer gives for it.
 *
 * What a node says is never trusted to be well-formed: absent or odd values read as unknown (−1), lists are cut at the
 * limits of a cluster, texts become printable where they are shown. */
#pragma once

#include "cli/node.h"
#include "cluster/placement.h"

#include <jansson.h>

enum { VIEW_TEXT_BYTES = 64 };

struct view_node {
    int64_t id; /* −1: not known */
    struct client_endpoint endpoint;
    char address[CLIENT_ENDPOINT_TEXT_BYTES];
    char state[VIEW_TEXT_BYTES];      /* "active", "joining", "leaving", "awaited"; "" when not known */
    json_t *answer;                   /* an object; NULL: none that can be trusted */
    char problem[NODE_PROBLEM_BYTES]; /* why not */
    int64_t timeout_ms;
};

enum view_role {
    VIEW_NO_VOTER,
    VIEW_LEADER,
    VIEW_OLD_LEADER, /* thinks it leads, but somebody leads in a later term */
    VIEW_FOLLOWER,
    VIEW_TO_COME, /* should vote, but does not yet */
    VIEW_UNKNOWN, /* should vote, and does not answer */
};
/* A word for programs. */
const char *view_role_name(enum view_role role);

/* What is −1 is not known. */
struct view_replica {
    enum view_role role;
    int64_t term, commit, applied, last, snapshot_index;
    int64_t lag; /* entries that are committed, and not applied here */
};

struct view_shard {
    uint32_t number;             /* 0: the meta group */
    const struct view_node *led; /* the node that leads; NULL when none says so */
    int64_t term, commit, keys;
    bool votes[PLACEMENT_MAXIMUM_NODES]; /* by place in the view's nodes: it should */
};

struct view {
    struct view_node nodes[PLACEMENT_MAXIMUM_NODES];
    size_t node_count;
    const struct view_node *first; /* that named the nodes */
    const char *cluster;           /* its id; NULL before the cluster is founded */
    uint32_t shard_count;
    bool has_meta;
};

/* Asks until a node of the URL answers, then all nodes at the same time. False: none answered; ret_view has the URL's
 * endpoints with their problems as nodes. Must be closed in either case. */
bool view_ask(const struct client_url *url, int64_t timeout_ms, struct view *ret_view);
void view_close(struct view *view);
/* The view of a node that answered and was asked by its address, before the others are asked; takes over the answer. A
 * node that is not in its own list stands alone. */
void view_of(struct view_node *asked, struct view *ret_view);

void view_shard(const struct view *view, uint32_t number, struct view_shard *ret_shard);
void view_replica(const struct view *view, const struct view_shard *shard, const struct view_node *node,
                  struct view_replica *ret_replica);

/* A whole number of an answer; −1 when there is none. */
int64_t view_number(const json_t *object, const char *name);
