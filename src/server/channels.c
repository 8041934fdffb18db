#include "server/channels.h"

#include "base/assert.h"
#include "base/glob.h"
#include "base/hash.h"
#include "base/memory.h"

#include <stdlib.h>

enum { FIRST_BUCKETS = 16 };

void channels_init(struct channels *channels, uint64_t seed)
{
    *channels = (struct channels){0};
    for (int kind = 0; kind < CHANNEL_KINDS; kind++) {
        table_init(&channels->tables[kind], seed, offsetof(struct channel, name));
    }
    list_init(&channels->patterns);
}

static void release(void *owner, void *item)
{
    (void)owner;
    free(item);
}

void channels_deinit(struct channels *channels)
{
    ASSERT(channels->here == 0);
    for (int kind = 0; kind < CHANNEL_KINDS; kind++) {
        while (table_release(&channels->tables[kind], 1024, release, NULL)) {
        }
    }
    free(channels->buckets);
}

void listener_init(struct listener *listener, void *owner)
{
    *listener = (struct listener){.owner = owner};
    for (int kind = 0; kind < CHANNEL_KINDS; kind++) {
        list_init(&listener->subscriptions[kind]);
    }
}

/* ---- channels ---- */

bool channel_matches(struct slice pattern, struct slice name)
{
    return name.size == 0 ? pattern.size == 0 : glob_match(pattern, name, false);
}

struct channel *channels_find(const struct channels *channels, enum channel_kind kind, struct slice name)
{
    const struct table *table = &channels->tables[kind];
    return table->count == 0 ? NULL : table_find(table, table_hash(table, name), name);
}

static struct channel *find_or_make(struct channels *channels, enum channel_kind kind, struct slice name)
{
    struct table *table = &channels->tables[kind];
    struct channel *channel = channels_find(channels, kind, name);
    if (channel != NULL) {
        return channel;
    }
    channel = memory_allocate(sizeof(*channel) + name.size);
    *channel = (struct channel){.name_size = (uint32_t)name.size, .kind = (uint8_t)kind};
    if (name.size != 0) {
        memcpy(channel->name, name.data, name.size);
    }
    list_init(&channel->subscriptions);
    list_init(&channel->node);
    if (kind == CHANNEL_PATTERN) {
        list_append(&channels->patterns, &channel->node);
    }
    table_insert(table, table_hash(table, name), channel);
    return channel;
}

static void free_if_unused(struct channels *channels, struct channel *channel)
{
    if (channel->here + channel->elsewhere == 0) {
        struct table *table = &channels->tables[channel->kind];
        table_remove(table, table_hash(table, channel_name(channel)), channel);
        list_remove(&channel->node);
        free(channel);
    }
}

/* ---- subscriptions, by channel and listener ---- */

static struct subscription **bucket_of(const struct channels *channels, const struct channel *channel,
                                       const struct listener *listener)
{
    const void *both[2] = {channel, listener};
    return &channels->buckets[hash_bytes(0, both, sizeof(both)) & (channels->bucket_count - 1)];
}

static void grow(struct channels *channels)
{
    struct subscription **former = channels->buckets;
    size_t former_count = channels->bucket_count;
    channels->bucket_count = former_count == 0 ? FIRST_BUCKETS : former_count * 2;
    channels->buckets = memory_allocate_zeroed(channels->bucket_count, sizeof(struct subscription *));
    for (size_t i = 0; i < former_count; i++) {
        while (former[i] != NULL) {
            struct subscription *subscription = former[i];
            former[i] = subscription->next;
            struct subscription **bucket = bucket_of(channels, subscription->channel, subscription->listener);
            subscription->next = *bucket;
            *bucket = subscription;
        }
    }
    free(former);
}

/* Where the subscription hangs, or would. */
static struct subscription **place_of(const struct channels *channels, const struct channel *channel,
                                      const struct listener *listener)
{
    struct subscription **place = bucket_of(channels, channel, listener);
    while (*place != NULL && ((*place)->channel != channel || (*place)->listener != listener)) {
        place = &(*place)->next;
    }
    return place;
}

bool channels_has(const struct channels *channels, enum channel_kind kind, struct slice name,
                  const struct listener *listener)
{
    const struct channel *channel = channels_find(channels, kind, name);
    return channel != NULL && channels->here != 0 && *place_of(channels, channel, listener) != NULL;
}

static size_t bytes_of(const struct channel *channel)
{
    return sizeof(struct subscription) + sizeof(*channel) + channel->name_size;
}

bool channels_subscribe(struct channels *channels, enum channel_kind kind, struct slice name, struct listener *listener)
{
    if (channels->here == channels->bucket_count) {
        grow(channels);
    }
    struct channel *channel = find_or_make(channels, kind, name);
    struct subscription **place = place_of(channels, channel, listener);
    if (*place != NULL) {
        return false;
    }
    struct subscription *subscription = memory_allocate(sizeof(*subscription));
    *subscription = (struct subscription){.channel = channel, .listener = listener};
    *place = subscription;
    list_init(&subscription->by_channel);
    list_init(&subscription->by_listener);
    list_append(&channel->subscriptions, &subscription->by_channel);
    list_append(&listener->subscriptions[kind], &subscription->by_listener);
    listener->counts[kind]++;
    listener->bytes += bytes_of(channel);
    channel->here++;
    channels->here++;
    return true;
}

bool channels_unsubscribe(struct channels *channels, enum channel_kind kind, struct slice name,
                          struct listener *listener)
{
    struct channel *channel = channels_find(channels, kind, name);
    struct subscription **place = channel == NULL || channels->here == 0 ? NULL : place_of(channels, channel, listener);
    if (place == NULL || *place == NULL) {
        return false;
    }
    struct subscription *subscription = *place;
    *place = subscription->next;
    list_remove(&subscription->by_channel);
    list_remove(&subscription->by_listener);
    free(subscription);
    listener->counts[kind]--;
    listener->bytes -= bytes_of(channel);
    channel->here--;
    channels->here--;
    free_if_unused(channels, channel);
    return true;
}

void channels_elsewhere(struct channels *channels, enum channel_kind kind, struct slice name, bool more)
{
    struct channel *channel = more ? find_or_make(channels, kind, name) : channels_find(channels, kind, name);
    ASSERT(channel != NULL && (more || channel->elsewhere > 0));
    channel->elsewhere += more ? 1 : (uint64_t)-1;
    channels->elsewhere += more ? 1 : (size_t)-1;
    free_if_unused(channels, channel);
}
