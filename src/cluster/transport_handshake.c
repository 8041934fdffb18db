/* Who is at the other end: the rules by which a connection comes up. */
#include "base/assert.h"
#include "cluster/transport_internal.h"

static struct transport_hello own_hello(const struct transport_connection *connection)
{
    struct transport *transport = connection->transport;
    return (struct transport_hello){
        .version_lowest = transport->options.version_lowest,
        .version_highest = transport->options.version_highest,
        .purpose = transport->options.purpose,
        .cluster = transport->options.cluster,
        .from = transport->options.node,
        .to = connection->dialed ? connection->peer->node : connection->hello.from,
        .incarnation = transport->options.incarnation,
        .run = transport->run,
        .attempt = transport->attempts,
        .lineage = transport->options.lineage,
    };
}

void transport_greet(struct transport_connection *connection)
{
    struct buffer *out = &connection->queue.lanes[TRANSPORT_SIGNAL].bytes;
    struct transport_hello hello = own_hello(connection);
    transport_queue_put_magic(&connection->queue, transport_magic, sizeof(transport_magic));
    transport_hello_encode(&hello, out);
    connection->greeted = true;
    transport_connection_dirty(connection);
}

/* ---- accepting ---- */

/* Makes room for a newcomer: the oldest that has not said who it is goes first, since real peers say so at once. */
static bool make_room(struct transport *transport)
{
    LIST_FOR_EACH (at, &transport->connections) {
        struct transport_connection *connection = CONTAINER_OF(at, struct transport_connection, node);
        bool nobody = connection->state == TRANSPORT_AWAIT_HELLO || connection->state == TRANSPORT_LINGERING;
        if (connection->unknown && nobody) {
            if (connection->state == TRANSPORT_AWAIT_HELLO) {
                transport_note_refusal(transport, connection, TRANSPORT_CROWDED);
            }
            transport_connection_drop(connection);
            return true;
        }
    }
    return false;
}

void transport_accepted(void *owner, struct env_stream *stream)
{
    struct transport *transport = owner;
    transport->statistics.accepted++;
    bool crowded = transport->unknown >= transport->options.unknown_connections && !make_room(transport);
    struct transport_connection *connection = transport_connection_create(transport, stream, NULL);
    if (crowded) {
        transport_note_refusal(transport, connection, TRANSPORT_CROWDED);
        transport_connection_drop(connection);
    }
}

void transport_accept_failed(void *owner, enum status status)
{
    struct transport *transport = owner;
    env_log(transport->env, ENV_LOG_WARNING,
            "the node port cannot accept connections: %s; raise the limit of open files, or see who holds them",
            status_text(status));
}

/* ---- rules ---- */

/* An attempt that another one has overtaken (invariant 2 of transport.h); of two processes, see is_copy. */
static bool is_stale(const struct transport_peer *peer, const struct transport_hello *hello)
{
    return hello->run == peer->run && hello->attempt <= peer->attempt;
}

/* A process that does not descend from the one that was seen. Of two with copies of one data folder the one that came
 * first stays, also when they began in the same moment. A true successor has its predecessors in its lineage, so it
 * comes up while we still have the dead one's connection. */
static bool is_copy(const struct transport_peer *peer, const struct transport_hello *hello)
{
    if (hello->lineage.start == peer->seen) {
        return peer->seen_run != 0 && peer->seen_run != hello->run;
    }
    return !lineage_knows(&hello->lineage, peer->seen);
}

/* Asked when the hello comes, and again when the connection is to come up: much may have changed between. */
static enum transport_reason judge(const struct transport_connection *connection)
{
    const struct transport_options *options = &connection->transport->options;
    const struct transport_hello *hello = &connection->hello;
    const struct transport_hello own = {.version_lowest = options->version_lowest,
                                        .version_highest = options->version_highest};
    if (transport_common_version(&own, hello) == 0) {
        return TRANSPORT_VERSION;
    }
    if (hello->purpose != options->purpose) {
        return TRANSPORT_PURPOSE;
    }
    if (!id128_equal(&hello->cluster, &options->cluster)) {
        return TRANSPORT_CLUSTER;
    }
    if (hello->to != options->node || (connection->dialed && hello->from != connection->peer->node)) {
        return TRANSPORT_RECEIVER;
    }
    const struct transport_peer *peer = transport_find(connection->transport, hello->from);
    if (peer == NULL) {
        return TRANSPORT_STRANGER;
    }
    if (!id128_is_zero(&peer->incarnation) && !id128_equal(&peer->incarnation, &hello->incarnation)) {
        return TRANSPORT_INCARNATION;
    }
    if (is_copy(peer, hello)) {
        return TRANSPORT_COPY;
    }
    if (!connection->dialed && hello->from > options->node) {
        return TRANSPORT_DIRECTION;
    }
    return !connection->dialed && is_stale(peer, hello) ? TRANSPORT_STALE : TRANSPORT_ACCEPTABLE;
}

/* ---- coming up ---- */

static void come_up(struct transport_connection *connection, struct transport_peer *peer)
{
    struct transport *transport = connection->transport;
    const struct transport_options *options = &transport->options;
    int64_t now_ns = env_monotonic_ns(transport->env);
    const struct transport_hello own = {.version_lowest = options->version_lowest,
                                        .version_highest = options->version_highest};
    bool another = peer->seen_run != 0 && peer->seen_run != connection->hello.run;
    uint64_t node = peer->node;
    uint64_t former = peer->seen;
    connection->state = TRANSPORT_UP;
    connection->peer = peer;
    transport_probe_end(peer);
    connection->generation = ++transport->generations;
    transport_connection_unknown(connection, false);
    peer->connection = connection;
    peer->incarnation = connection->hello.incarnation;
    peer->seen = connection->hello.lineage.start;
    peer->seen_run = connection->hello.run;
    if (!connection->dialed) {
        peer->run = connection->hello.run;
        peer->attempt = connection->hello.attempt;
    }
    transport->statistics.connected++;
    struct transport_peer_statistics *statistics = &peer->statistics;
    statistics->up = true;
    statistics->generation = connection->generation;
    statistics->version = transport_common_version(&own, &connection->hello);
    statistics->since_ns = now_ns;
    statistics->rtt_ns = 0;
    statistics->connections++;
    statistics->refused = statistics->refused_by_peer = TRANSPORT_ACCEPTABLE;
    env_timer_start(transport->env, &connection->timer, now_ns); /* the first ping, for the round trip */
    env_log(transport->env, ENV_LOG_INFO, "node %llu (%s) is connected, protocol %u", (unsigned long long)peer->node,
            connection->address, statistics->version);
    options->events->up(options->owner, node, connection->generation, &connection->hello.incarnation);
    if (another && options->events->gone != NULL) {
        options->events->gone(options->owner, node, former); /* the process before this one */
    }
}

static void send_ready(struct transport_connection *connection)
{
    struct buffer *out = &connection->queue.lanes[TRANSPORT_SIGNAL].bytes;
    frame_end(out, frame_begin(out), TRANSPORT_TYPE_READY);
    transport_connection_dirty(connection);
}

static void hello_arrived(struct transport_connection *connection, struct slice payload)
{
    if (transport_hello_decode(payload, &connection->hello) != STATUS_OK) {
        connection->hello = (struct transport_hello){0};
        transport_refuse(connection, TRANSPORT_DAMAGED);
        return;
    }
    enum transport_reason reason = judge(connection);
    if (reason != TRANSPORT_ACCEPTABLE) {
        transport_refuse(connection, reason);
    } else if (connection->dialed) {
        send_ready(connection);
        come_up(connection, connection->peer);
    } else {
        connection->state = TRANSPORT_AWAIT_READY;
        transport_greet(connection);
    }
}

static void ready_arrived(struct transport_connection *connection)
{
    struct transport *transport = connection->transport;
    uint64_t node = connection->hello.from;
    enum transport_reason reason = judge(connection);
    struct transport_peer *peer = transport_find(transport, node);
    if (reason == TRANSPORT_ACCEPTABLE && peer->connection != NULL) {
        /* The dialer only comes again when it has given up the old one. The callback may change everything. */
        transport_connection_lost(peer->connection, "the peer connected anew");
        if (connection->state == TRANSPORT_ENDED) {
            return;
        }
        reason = judge(connection);
        peer = transport_find(transport, node);
    }
    if (reason != TRANSPORT_ACCEPTABLE) {
        transport_refuse(connection, reason);
        return;
    }
    come_up(connection, peer);
}

void transport_handshake_frame(struct transport_connection *connection, const struct frame *frame)
{
    bool may_refuse = connection->dialed || connection->state != TRANSPORT_AWAIT_HELLO; /* we have said something */
    if (frame->type == TRANSPORT_TYPE_REFUSE && may_refuse) {
        transport_refused(connection, frame->payload);
    } else if (connection->state == TRANSPORT_AWAIT_HELLO && frame->type == TRANSPORT_TYPE_HELLO) {
        hello_arrived(connection, frame->payload);
    } else if (connection->state == TRANSPORT_AWAIT_READY && frame->type == TRANSPORT_TYPE_READY &&
               frame->payload.size == 0) {
        ready_arrived(connection);
    } else {
        transport_refuse(connection, TRANSPORT_DAMAGED);
    }
}
