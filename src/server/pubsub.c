#include "server/pubsub.h"

#include "base/memory.h"
#include "server/notify.h"

#include <stdlib.h>

struct kind_words {
    const char *subscribe, *unsubscribe;
};

static const struct kind_words words[CHANNEL_KINDS] = {
    [CHANNEL_NAMED] = {"subscribe", "unsubscribe"},
    [CHANNEL_PATTERN] = {"psubscribe", "punsubscribe"},
    [CHANNEL_SHARD] = {"ssubscribe", "sunsubscribe"},
};

bool pubsub_takes(const struct command_spec *spec)
{
    switch (spec->id) {
    case COMMAND_SUBSCRIBE:
    case COMMAND_UNSUBSCRIBE:
    case COMMAND_PSUBSCRIBE:
    case COMMAND_PUNSUBSCRIBE:
    case COMMAND_SSUBSCRIBE:
    case COMMAND_SUNSUBSCRIBE:
    case COMMAND_PUBLISH:
    case COMMAND_SPUBLISH: return true;
    default: return false;
    }
}

bool pubsub_forbids(const struct connection *connection, const struct command_spec *spec)
{
    if (connection->protocol != RESP2 || !connection_subscribed(connection)) {
        return false;
    }
    switch (spec->id) {
    case COMMAND_PUBLISH:
    case COMMAND_SPUBLISH: return true;
    case COMMAND_PING:
    case COMMAND_QUIT:
    case COMMAND_RESET: return false;
    default: return !pubsub_takes(spec);
    }
}

/* ---- what the other workers must know ---- */

static void tell_interest(struct server *server, enum channel_kind kind, struct slice name, bool more)
{
    if (server->worker_count > 1) {
        crew_tell_interest(server, (uint8_t)kind, name, more);
    }
}

void pubsub_told_interest(struct server *server, struct slice body)
{
    channels_elsewhere(&server->channels, (enum channel_kind)body.data[0], slice_of(body.data + 2, body.size - 2),
                       body.data[1] != 0);
}

void pubsub_configured(struct server *server)
{
    if (server->worker == 0) { /* the others hear of it from there */
        cluster_listen(server->cluster, notify_classes(server->config.notify_keyspace_events));
    }
}

/* ---- subscribing ---- */

/* The count that a reply tells: of shard channels, or of all others. */
static size_t told_count(const struct listener *listener, enum channel_kind kind)
{
    if (listener == NULL) {
        return 0;
    }
    return kind == CHANNEL_SHARD ? listener->counts[CHANNEL_SHARD]
                                 : listener->counts[CHANNEL_NAMED] + listener->counts[CHANNEL_PATTERN];
}

/* A push is no reply: it comes whatever CLIENT REPLY says. */
static void end_silence(struct local_call *call)
{
    struct connection *connection = call->connection;
    if (call->reply->out == NULL) {
        call->reply->out = connection_pending(connection) ? &slot_at(connection, connection->slot_tail - 1)->stash
                                                          : connection_output(connection);
    }
}

static void answer(struct local_call *call, const char *word, enum channel_kind kind, struct slice name)
{
    resp_push(call->reply, 3);
    resp_bulk_string(call->reply, word);
    resp_bulk(call->reply, name);
    resp_integer(call->reply, (int64_t)told_count(call->connection->listener, kind));
}

static bool subscribes_new(const struct local_call *call, enum channel_kind kind, uint32_t at)
{
    const struct listener *listener = call->connection->listener;
    return listener == NULL || !channels_has(&call->server->channels, kind, call->argv[at], listener);
}

/* Why these are too many, or one of them is too long; all or none are taken. NULL: they are not. */
static const char *refusal(const struct local_call *call, enum channel_kind kind)
{
    const struct config *config = &call->server->config;
    const struct channels *channels = &call->server->channels;
    const struct listener *listener = call->connection->listener;
    size_t more = 0;
    size_t more_patterns = 0;
    for (uint32_t i = 1; i < call->argc; i++) {
        if (call->argv[i].size > PUBSUB_NAME_BYTES) {
            return "ERR the name of a channel or pattern is longer than 65536 bytes; use a shorter one";
        }
        more += subscribes_new(call, kind, i);
        more_patterns += kind == CHANNEL_PATTERN && channels_find(channels, kind, call->argv[i]) == NULL;
    }
    size_t own = listener == NULL ? 0 : listener_count(listener);
    if (more != 0 && own + more > (size_t)config->max_client_subscriptions) {
        return "ERR this client would have more subscriptions than max-client-subscriptions; unsubscribe from "
               "some, or raise it with CONFIG SET";
    }
    if (more != 0 && channels->here + channels->elsewhere + more > (size_t)config->max_subscriptions) {
        return "ERR the clients of this node would have more subscriptions than max-subscriptions; subscribe at "
               "another node, or raise it with CONFIG SET";
    }
    if (more_patterns != 0 && channels_count(channels, kind) + more_patterns > (size_t)config->max_patterns) {
        return "ERR the clients of this node would have more patterns than max-patterns; subscribe to channels, or "
               "raise it with CONFIG SET";
    }
    return NULL;
}

static void subscribe(struct local_call *call, enum channel_kind kind)
{
    struct connection *connection = call->connection;
    const char *refused = refusal(call, kind);
    if (refused != NULL) {
        resp_error(call->reply, refused);
        return;
    }
    end_silence(call);
    if (connection->listener == NULL) {
        connection->listener = memory_allocate(sizeof(*connection->listener));
        listener_init(connection->listener, connection);
    }
    for (uint32_t i = 1; i < call->argc; i++) {
        if (channels_subscribe(&call->server->channels, kind, call->argv[i], connection->listener)) {
            tell_interest(call->server, kind, call->argv[i], true);
        }
        answer(call, words[kind].subscribe, kind, call->argv[i]);
    }
}

static void unsubscribe_one(struct server *server, enum channel_kind kind, struct slice name, struct listener *listener)
{
    if (listener != NULL && channels_unsubscribe(&server->channels, kind, name, listener)) {
        tell_interest(server, kind, name, false);
    }
}

/* The name of its oldest one, in `room`: it outlives the channel. */
static struct slice oldest(const struct listener *listener, enum channel_kind kind, struct buffer *room)
{
    const struct subscription *subscription =
        CONTAINER_OF(listener->subscriptions[kind].next, struct subscription, by_listener);
    buffer_clear(room);
    buffer_append_slice(room, channel_name(subscription->channel));
    return buffer_slice(room);
}

static void unsubscribe_all(struct local_call *call, enum channel_kind kind)
{
    struct listener *listener = call->connection->listener;
    if (listener == NULL || listener->counts[kind] == 0) {
        resp_push(call->reply, 3);
        resp_bulk_string(call->reply, words[kind].unsubscribe);
        resp_null(call->reply);
        resp_integer(call->reply, (int64_t)told_count(listener, kind));
        return;
    }
    struct buffer room;
    buffer_init(&room);
    while (listener->counts[kind] != 0) {
        struct slice name = oldest(listener, kind, &room);
        unsubscribe_one(call->server, kind, name, listener);
        answer(call, words[kind].unsubscribe, kind, name);
    }
    buffer_deinit(&room);
}

static void unsubscribe(struct local_call *call, enum channel_kind kind)
{
    end_silence(call);
    if (call->argc == 1) {
        unsubscribe_all(call, kind);
        return;
    }
    for (uint32_t i = 1; i < call->argc; i++) {
        unsubscribe_one(call->server, kind, call->argv[i], call->connection->listener);
        answer(call, words[kind].unsubscribe, kind, call->argv[i]);
    }
}

void pubsub_leave(struct connection *connection)
{
    struct listener *listener = connection->listener;
    struct buffer room;
    buffer_init(&room);
    for (int kind = 0; listener != NULL && kind < CHANNEL_KINDS; kind++) {
        while (listener->counts[kind] != 0) {
            unsubscribe_one(connection->server, (enum channel_kind)kind,
                            oldest(listener, (enum channel_kind)kind, &room), listener);
        }
    }
    buffer_deinit(&room);
    free(listener);
    connection->listener = NULL;
}

void local_subscribe(struct local_call *call) { subscribe(call, CHANNEL_NAMED); }
void local_psubscribe(struct local_call *call) { subscribe(call, CHANNEL_PATTERN); }
void local_ssubscribe(struct local_call *call)
{
    if (call->server->executing == call->connection) {
        resp_error(call->reply, "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client"); /* unlike the others */
        return;
    }
    subscribe(call, CHANNEL_SHARD);
}
void local_unsubscribe(struct local_call *call) { unsubscribe(call, CHANNEL_NAMED); }
void local_punsubscribe(struct local_call *call) { unsubscribe(call, CHANNEL_PATTERN); }
void local_sunsubscribe(struct local_call *call) { unsubscribe(call, CHANNEL_SHARD); }

/* ---- publishing ---- */

static void publish(struct local_call *call, enum message_kind kind)
{
    struct message message = {kind, 0, call->argv[1], call->argv[2]};
    if (call->server->options.founder_count > 1 && message.subject.size + message.body.size > CLUSTER_MESSAGE_LARGEST) {
        resp_error(call->reply, "ERR the message is larger than 32 MiB, so other nodes would not get it; it was not "
                                "sent, send less in one");
        return;
    }
    call->server->publisher = call->connection;
    uint64_t heard = pubsub_publish(call->server, &message);
    call->server->publisher = NULL;
    resp_integer(call->reply, (int64_t)heard);
}

void local_publish(struct local_call *call) { publish(call, MESSAGE_PUBLISHED); }
void local_spublish(struct local_call *call) { publish(call, MESSAGE_SHARDED); }

/* ---- PUBSUB ---- */

struct listing {
    struct slice pattern;
    struct buffer names;
    size_t count;
};

static void list_channel(void *owner, void *item)
{
    struct listing *listing = owner;
    struct slice name = channel_name(item);
    if (listing->pattern.data == NULL || channel_matches(listing->pattern, name)) {
        struct resp_writer writer = resp_writer_to(&listing->names, RESP2);
        resp_bulk(&writer, name);
        listing->count++;
    }
}

static void list_channels(struct local_call *call, enum channel_kind kind)
{
    if (call->argc > 3) {
        resp_error_format(call->reply,
                          "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try PUBSUB HELP.",
                          (int)(call->argv[1].size < 128 ? call->argv[1].size : 128), (const char *)call->argv[1].data);
        return;
    }
    struct listing listing = {.pattern = call->argc == 3 ? call->argv[2] : slice_of(NULL, 0)};
    uint64_t cursor = 0;
    do {
        cursor = table_walk(&call->server->channels.tables[kind], cursor, list_channel, &listing);
    } while (cursor != 0);
    resp_array(call->reply, listing.count);
    resp_raw(call->reply, buffer_slice(&listing.names));
    buffer_deinit(&listing.names);
}

static void count_subscribers(struct local_call *call, enum channel_kind kind)
{
    resp_array(call->reply, 2 * (size_t)(call->argc - 2));
    for (uint32_t i = 2; i < call->argc; i++) {
        const struct channel *channel = channels_find(&call->server->channels, kind, call->argv[i]);
        resp_bulk(call->reply, call->argv[i]);
        resp_integer(call->reply, channel == NULL ? 0 : (int64_t)(channel->here + channel->elsewhere));
    }
}

void local_pubsub_channels(struct local_call *call) { list_channels(call, CHANNEL_NAMED); }
void local_pubsub_shardchannels(struct local_call *call) { list_channels(call, CHANNEL_SHARD); }
void local_pubsub_numsub(struct local_call *call) { count_subscribers(call, CHANNEL_NAMED); }
void local_pubsub_shardnumsub(struct local_call *call) { count_subscribers(call, CHANNEL_SHARD); }

void local_pubsub_numpat(struct local_call *call)
{
    resp_integer(call->reply, (int64_t)channels_count(&call->server->channels, CHANNEL_PATTERN));
}
