/* Followers: clients of COHORT.FEED in a run of nodes, and the account of what they were told. For node_*.c only.
 *
 * A follower asks for a prefix, reads pushes, loses its connection or breaks it off, and goes on at any node from the
 * last position that it was told. What it was told between a beginning and an end of its own choosing is a *chain*.
 *
 * Always true
 * 1. A position never goes back, in no shard (no push goes back in time).
 * 2. In each shard a chain holds exactly the records of the shard's history between its first and its last position, in
 *    their order, those of its prefix: none lost, none twice, none of another history. The histories are put together
 *    from what the machines have, whenever an entry is applied anywhere; they are equal at equal index, as digests are.
 * 3. A text that is only appended to grows by what was appended, in each chain, whatever the history says.
 * 4. Who is told that a position is forgotten was told the truth: in the end no node has it.
 * 5. What an entry changes is never forgotten before anybody could read it, but for a full burst (feed_log.h). One
 * follower makes such entries now and then: MSETs of more than histories keep.
 * 6. In the end, when everything is healed and quiet, each follower gets to the end of every shard's history, and what
 * it was told last of a string is its value. */
#pragma once

#include "machine/feed/feed_log.h"
#include "node_world.h"

enum { NODE_FOLLOWERS = 2, NODE_FOLLOWER_MACHINE = NODE_CLIENT_MACHINE + SIM_CLIENTS };

struct node_feeds;

/* NULL when the profile has none. */
struct node_feeds *node_feeds_create(struct node_world *world);
void node_feeds_destroy(struct node_feeds *feeds);
/* A node has applied a shard up to this entry. */
void node_feeds_look(struct node_feeds *feeds, struct node *node, int shard, uint64_t applied);
/* Everything is healed, and nobody writes: runs until all are told everything, then takes the account. */
void node_feeds_finish(struct node_feeds *feeds);

/* ---- between node_feeds.c and node_follower.c ---- */

struct node_follower;
struct node_told; /* one change, as it was told */

/* The record as the words of a push, hashed: kind, key, version, and what belongs to the kind. */
struct node_told_words {
    struct slice words[5];
    size_t count;
    int64_t version;
};
uint64_t node_told_hash(const struct node_told_words *words);

struct node_follower *node_follower_create(struct node_feeds *feeds, struct node_world *world, int number);
void node_follower_destroy(struct node_follower *follower);
/* From now on it breaks nothing off, and stays at one node. */
void node_follower_settle(struct node_follower *follower, int node);

/* Appends an MSET of more than a history keeps (node_large_change.c). */
void node_put_large_change(struct node_world *world, struct buffer *out);

/* A position begins or ends a chain; shards are from 1. */
struct node_chain {
    struct feed_mark begin[SIM_GROUPS], end[SIM_GROUPS];
    struct buffer told;  /* of struct node_told, in the order of arrival */
    struct buffer texts; /* their keys, and values of strings */
};
struct node_told {
    uint64_t hash;
    uint32_t shard;
    bool of_all; /* of all its keys */
    size_t key_offset, key_size, value_offset, value_size;
    bool has_value;
    int64_t version;
};
size_t node_follower_chains(const struct node_follower *follower);
const struct node_chain *node_follower_chain(const struct node_follower *follower, size_t number);
struct slice node_follower_prefix(const struct node_follower *follower);
/* The marks that it was told to be forgotten. */
const struct buffer *node_follower_forgotten(const struct node_follower *follower);
