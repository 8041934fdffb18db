/* Who subscribes to what at one worker, and how many do at the other workers of the node. Knows no server: who listens
 * is a struct listener.
 *
 * Invariants
 * 1. A channel is here while somebody subscribes to it, here or elsewhere.
 * 2. A listener has each channel once at most; both sides of a subscription know it.
 * 3. Subscribing, leaving and finding cost the same however many there are; a message costs its listeners, and one
 *    look at each pattern of the node. */
#pragma once

#include "base/list.h"
#include "machine/keys/table.h"

enum channel_kind { CHANNEL_NAMED, CHANNEL_PATTERN, CHANNEL_SHARD, CHANNEL_KINDS };

struct channel {
    uint32_t name_size; /* first: struct table_item */
    uint8_t kind;
    uint64_t here, elsewhere;  /* subscriptions */
    struct list subscriptions; /* here */
    struct list node;          /* in channels.patterns, if it is one */
    uint8_t name[];
};

struct listener {
    void *owner;                              /* whoever it is */
    struct list subscriptions[CHANNEL_KINDS]; /* in the order in which they were made */
    size_t counts[CHANNEL_KINDS];
    size_t bytes; /* about what they take */
};

struct subscription {
    struct list by_channel, by_listener;
    struct subscription *next; /* in its bucket */
    struct channel *channel;
    struct listener *listener;
};

struct channels {
    struct table tables[CHANNEL_KINDS];
    struct list patterns;
    struct subscription **buckets; /* by channel and listener */
    size_t bucket_count;           /* a power of two, or 0 */
    size_t here;                   /* subscriptions at this worker, … */
    size_t elsewhere;              /* … and at the others */
};

void channels_init(struct channels *channels, uint64_t seed);
/* Nobody subscribes any more. */
void channels_deinit(struct channels *channels);

void listener_init(struct listener *listener, void *owner);
static inline size_t listener_count(const struct listener *listener)
{
    return listener->counts[CHANNEL_NAMED] + listener->counts[CHANNEL_PATTERN] + listener->counts[CHANNEL_SHARD];
}

static inline struct slice channel_name(const struct channel *channel)
{
    return slice_of(channel->name, channel->name_size);
}
/* NULL: nobody subscribes to it. */
struct channel *channels_find(const struct channels *channels, enum channel_kind kind, struct slice name);
/* Whether the pattern means this channel. As in Redis, that without a name is meant by the empty pattern alone. */
bool channel_matches(struct slice pattern, struct slice name);
/* How many different ones there are. */
static inline size_t channels_count(const struct channels *channels, enum channel_kind kind)
{
    return channels->tables[kind].count;
}
bool channels_has(const struct channels *channels, enum channel_kind kind, struct slice name,
                  const struct listener *listener);

/* False: it had, or did not have, this one already. */
bool channels_subscribe(struct channels *channels, enum channel_kind kind, struct slice name,
                        struct listener *listener);
bool channels_unsubscribe(struct channels *channels, enum channel_kind kind, struct slice name,
                          struct listener *listener);
/* Another worker has one more, or one less. */
void channels_elsewhere(struct channels *channels, enum channel_kind kind, struct slice name, bool more);
