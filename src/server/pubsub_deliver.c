/* A message on its way to subscribers. */
#include "base/assert.h"
#include "server/notify.h"
#include "server/pubsub.h"

/* What is to be written, in the forms in which it was needed so far. */
struct delivery {
    struct server *server;
    const char *word;     /* message, pmessage, smessage */
    struct slice pattern; /* of pmessage */
    bool by_pattern;
    struct slice channel, body;
    bool encoded[2]; /* for RESP2, for RESP3: in server.encoded */
};

static struct slice encoded(struct delivery *delivery, int protocol)
{
    size_t at = protocol == RESP3;
    struct buffer *out = &delivery->server->encoded[at];
    if (!delivery->encoded[at]) {
        delivery->encoded[at] = true;
        buffer_clear(out);
        struct resp_writer writer = resp_writer_to(out, protocol);
        resp_push(&writer, delivery->by_pattern ? 4 : 3);
        resp_bulk_string(&writer, delivery->word);
        if (delivery->by_pattern) {
            resp_bulk(&writer, delivery->pattern);
        }
        resp_bulk(&writer, delivery->channel);
        resp_bulk(&writer, delivery->body);
    }
    return buffer_slice(out);
}

static void deliver_to(struct connection *connection, struct delivery *delivery)
{
    struct slice bytes = encoded(delivery, connection->protocol);
    size_t unsent = connection_unsent_bytes(connection) +
                    (connection == delivery->server->executing ? delivery->server->behind_exec.size : 0);
    size_t limit = (size_t)connection_output_limit(connection)->hard_bytes;
    if (connection->overrun) {
        return;
    }
    connection_mark_dirty(connection);
    if (unsent > limit || (unsent != 0 && bytes.size > limit)) {
        connection->overrun = true; /* it is closed at the end of the turn: it shall not think that it has heard all */
        return;
    }
    bool executing = connection == delivery->server->executing;
    buffer_append_slice(executing ? &delivery->server->behind_exec : connection_output(connection), bytes);
    delivery->server->figures.messages_delivered++;
    bool much = connection_output_bytes(connection) >= CONNECTION_OUTPUT_HIGH;
    if (much && !connection->want_write && connection != delivery->server->publisher) {
        connection_write(connection); /* not all of a turn at once */
    }
}

/* Nobody is closed meanwhile, so nobody leaves. */
static void deliver(const struct channel *channel, struct delivery *delivery)
{
    LIST_FOR_EACH (at, (struct list *)(uintptr_t)&channel->subscriptions) {
        deliver_to(CONTAINER_OF(at, struct subscription, by_channel)->listener->owner, delivery);
    }
}

struct heard {
    uint64_t here, elsewhere;
};

static void deliver_channel(struct server *server, enum channel_kind kind, struct slice name, struct slice body,
                            struct heard *heard)
{
    const struct channel *channel = channels_find(&server->channels, kind, name);
    if (channel == NULL) {
        return;
    }
    heard->here += channel->here;
    heard->elsewhere += channel->elsewhere;
    struct delivery delivery = {
        .server = server, .word = kind == CHANNEL_SHARD ? "smessage" : "message", .channel = name, .body = body};
    deliver(channel, &delivery);
}

static void deliver_patterns(struct server *server, struct slice name, struct slice body, struct heard *heard)
{
    LIST_FOR_EACH (at, &server->channels.patterns) {
        const struct channel *pattern = CONTAINER_OF(at, struct channel, node);
        if (!channel_matches(channel_name(pattern), name)) {
            continue;
        }
        heard->here += pattern->here;
        heard->elsewhere += pattern->elsewhere;
        struct delivery delivery = {.server = server,
                                    .word = "pmessage",
                                    .by_pattern = true,
                                    .pattern = channel_name(pattern),
                                    .channel = name,
                                    .body = body};
        deliver(pattern, &delivery);
    }
}

/* Encoded messages may be large, and are rare then. */
enum { ENCODED_KEEP_BYTES = 1 << 20 };

static void deliver_published(struct server *server, enum message_kind kind, struct slice name, struct slice body,
                              struct heard *heard)
{
    if (server->channels.here + server->channels.elsewhere == 0) {
        return;
    }
    bool sharded = kind == MESSAGE_SHARDED;
    deliver_channel(server, sharded ? CHANNEL_SHARD : CHANNEL_NAMED, name, body, heard);
    if (!sharded) {
        deliver_patterns(server, name, body, heard);
    }
    for (int i = 0; i < 2; i++) {
        buffer_clear(&server->encoded[i]);
        buffer_shrink(&server->encoded[i], ENCODED_KEEP_BYTES);
    }
}

/* ---- what happened to a key ---- */

static struct slice name_of(struct server *server, const char *prefix, struct slice rest)
{
    struct buffer *name = &server->event_name;
    buffer_clear(name);
    buffer_append_string(name, prefix);
    buffer_append_slice(name, rest);
    return buffer_slice(name);
}

static void deliver_event(struct server *server, const struct message *event, struct heard *heard)
{
    int64_t wanted = server->config.notify_keyspace_events;
    if ((wanted & event->class) == 0 || server->channels.here + server->channels.elsewhere == 0) {
        return;
    }
    if ((wanted & NOTIFY_BY_KEY) != 0) {
        deliver_published(server, MESSAGE_PUBLISHED, name_of(server, "__keyspace@0__:", event->subject), event->body,
                          heard);
    }
    if ((wanted & NOTIFY_BY_EVENT) != 0) {
        deliver_published(server, MESSAGE_PUBLISHED, name_of(server, "__keyevent@0__:", event->body), event->subject,
                          heard);
    }
}

/* ---- whither ---- */

static struct heard deliver_here(struct server *server, const struct message *message)
{
    struct heard heard = {0};
    if (message->kind == MESSAGE_EVENT) {
        deliver_event(server, message, &heard);
    } else {
        deliver_published(server, message->kind, message->subject, message->body, &heard);
    }
    return heard;
}

void pubsub_take(struct server *server, const struct message *message, enum cluster_source source)
{
    server->figures.messages_published += source == CLUSTER_FROM_SHARD && message->kind != MESSAGE_EVENT; /* a script */
    struct heard heard = deliver_here(server, message);
    if (source != CLUSTER_FROM_COLLEAGUE && heard.elsewhere != 0) {
        cluster_tell_colleagues(server->cluster, message);
    }
    if (source == CLUSTER_FROM_SHARD) {
        cluster_tell_nodes(server->cluster, message);
    }
}

uint64_t pubsub_publish(struct server *server, const struct message *message)
{
    server->figures.messages_published++;
    struct heard heard = deliver_here(server, message);
    if (heard.elsewhere != 0) {
        cluster_tell_colleagues(server->cluster, message);
    }
    cluster_tell_nodes(server->cluster, message);
    return heard.here + heard.elsewhere;
}

void pubsub_publish_all(struct server *server, struct slice messages)
{
    while (messages.size != 0) {
        struct message message;
        bool whole = message_take(&messages, &message);
        ASSERT(whole); /* a machine of ours has put it there */
        (void)pubsub_publish(server, &message);
    }
}
