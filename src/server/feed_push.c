/* Pushes: [feed, prefix, position, [[kind, key, version, …] …]]. Over RESP2 an array, whose inside is the same. */
#include "cluster/slot.h"
#include "server/feeds_internal.h"

#include <stdio.h>

static const char *const kinds[FEED_KINDS] = {"set",    "hset",    "hdel",  "del",    "expired",
                                              "expire", "persist", "flush", "reload", "stale"};

void feed_put_change(struct feeds *feeds, uint32_t shard, const struct feed_change *change, struct buffer *out)
{
    static const uint8_t elements[FEED_KINDS] = {
        [FEED_SET] = 4,    [FEED_HSET] = 5,    [FEED_HDEL] = 4,  [FEED_DEL] = 3,    [FEED_EXPIRED] = 3,
        [FEED_EXPIRE] = 4, [FEED_PERSIST] = 3, [FEED_FLUSH] = 5, [FEED_RELOAD] = 3, [FEED_STALE] = 5,
    };
    struct resp_writer writer = resp_writer_to(out, RESP2);
    resp_array(&writer, elements[change->kind]);
    resp_bulk_string(&writer, kinds[change->kind]);
    resp_bulk(&writer, change->key);
    resp_integer(&writer, (int64_t)change->mark.position);
    switch (change->kind) {
    case FEED_HSET:
        resp_bulk(&writer, change->field);
        resp_bulk(&writer, change->value);
        break;
    case FEED_SET: resp_bulk(&writer, change->value); break;
    case FEED_HDEL: resp_bulk(&writer, change->field); break;
    case FEED_EXPIRE: resp_integer(&writer, change->due_ms); break;
    case FEED_FLUSH:
    case FEED_STALE: {
        struct slot_range slots = slot_range(shard, feeds->server->shards);
        resp_integer(&writer, slots.first);
        resp_integer(&writer, slots.last);
        break;
    }
    default: break;
    }
}

void feed_position_of(const struct feed *feed, struct buffer *out)
{
    struct feeds *feeds = feed->connection->server->feeds;
    for (uint32_t shard = 1; shard <= feeds->server->shards; shard++) {
        feeds->marks[shard - 1] = feed_mark_of(feed, shard);
    }
    feed_position_put(out, feeds->whose, feeds->marks, feeds->server->shards);
}

/* Those at the front have one position among them. */
static struct slice position(struct feed *feed)
{
    struct feeds *feeds = feed->connection->server->feeds;
    if (feed->behind != 0) {
        buffer_clear(&feeds->scratch);
        feed_position_of(feed, &feeds->scratch);
        return buffer_slice(&feeds->scratch);
    }
    if (feeds->position.size == 0) {
        feed_position_of(feed, &feeds->position);
    }
    return buffer_slice(&feeds->position);
}

static struct resp_writer begin(struct feed *feed, size_t elements)
{
    struct connection *connection = feed->connection;
    struct resp_writer writer = resp_writer_to(connection_output(connection), connection->protocol);
    resp_push(&writer, elements);
    return writer;
}

static void told(struct feed *feed)
{
    struct feeds *feeds = feed->connection->server->feeds;
    feed->told_ns = server_now_ns(feeds->server);
    feed->passed_bytes = feeds->passed_bytes;
    list_remove(&feed->told_node);
    list_append(&feeds->told, &feed->told_node);
    connection_mark_dirty(feed->connection);
}

void feed_push(struct feed *feed, struct slice body, size_t changes)
{
    struct resp_writer writer = begin(feed, 4);
    resp_bulk_string(&writer, "feed");
    resp_bulk(&writer, slice_of(feed->group->prefix->bytes, feed->group->prefix->size));
    resp_bulk(&writer, position(feed));
    resp_array(&writer, changes);
    resp_raw(&writer, body);
    told(feed);
    feed->connection->server->figures.feed_pushes++;
    feed->connection->server->figures.feed_changes += changes;
}

void feed_push_end(struct feed *feed, const char *code, const char *text)
{
    struct resp_writer writer = begin(feed, 3);
    resp_bulk_string(&writer, "unfeed");
    resp_bulk(&writer, slice_of(feed->group->prefix->bytes, feed->group->prefix->size));
    struct slice at = position(feed);
    resp_error_format(&writer, "%s %.*s %s", code, (int)at.size, (const char *)at.data, text);
    told(feed);
    feed->connection->server->figures.feeds_ended++;
    feed_end(feed);
}
