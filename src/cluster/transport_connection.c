#include "base/assert.h"
#include "base/memory.h"
#include "base/varint.h"
#include "cluster/transport_internal.h"

#include <stdio.h>
#include <stdlib.h>

static void timer_due(struct env_timer *timer);

/* ---- reading ---- */

static void pong_arrived(struct transport_connection *connection, struct slice payload)
{
    int64_t now_ns = env_monotonic_ns(connection->transport->env);
    int64_t sent_ns = payload.size == TRANSPORT_PING_BYTES ? (int64_t)get_u64(payload.data) : 0;
    if (sent_ns <= 0 || sent_ns > now_ns) {
        return; /* not an echo of ours; nothing depends on it */
    }
    struct transport_peer_statistics *statistics = &connection->peer->statistics;
    int64_t sample_ns = now_ns - sent_ns;
    statistics->rtt_ns =
        statistics->rtt_ns == 0 ? sample_ns : statistics->rtt_ns + (sample_ns - statistics->rtt_ns) / 8;
}

static bool signals_have_room(const struct transport_connection *connection)
{
    return transport_lane_size(&connection->queue.lanes[TRANSPORT_SIGNAL]) <
           connection->transport->options.queue_bytes[TRANSPORT_SIGNAL];
}

/* Pings and pongs are dropped when the queue is full: then the queue itself shows that we live, and a peer that sends
 * pings without reading cannot make it grow. */
static void send_ping(struct transport_connection *connection, enum transport_type type, uint64_t number)
{
    if (!signals_have_room(connection)) {
        return;
    }
    struct buffer *out = &connection->queue.lanes[TRANSPORT_SIGNAL].bytes;
    uint8_t payload[TRANSPORT_PING_BYTES];
    put_u64(payload, number);
    size_t at = frame_begin(out);
    buffer_append(out, payload, sizeof(payload));
    frame_end(out, at, (uint8_t)type);
    transport_connection_dirty(connection);
}

static void deliver(struct transport_connection *connection, uint8_t type, struct slice payload)
{
    struct transport *transport = connection->transport;
    transport->statistics.frames_received++;
    connection->peer->statistics.frames_received++;
    transport->options.events->frame(transport->options.owner, connection->peer->node, connection->generation, type,
                                     payload);
}

/* Of one priority, the parts of a frame come one behind the other. Only what came costs memory. */
static void part_arrived(struct transport_connection *connection, struct slice payload)
{
    const struct transport_options *options = &connection->transport->options;
    bool readable = payload.size > TRANSPORT_PART_HEAD_BYTES && payload.data[0] >= TRANSPORT_FIRST_TYPE &&
                    payload.data[1] < TRANSPORT_PRIORITIES && payload.data[2] <= 1;
    uint8_t priority = readable ? payload.data[1] : 0;
    struct buffer *whole = &connection->large[priority].bytes;
    uint8_t *type = &connection->large[priority].type;
    if (!readable || (*type != 0 && *type != payload.data[0]) ||
        whole->size + payload.size - TRANSPORT_PART_HEAD_BYTES > options->frame_bytes) {
        transport_refuse(connection, TRANSPORT_DAMAGED);
        return;
    }
    *type = payload.data[0];
    buffer_append(whole, payload.data + TRANSPORT_PART_HEAD_BYTES, payload.size - TRANSPORT_PART_HEAD_BYTES);
    if (payload.data[2] == 1) {
        *type = 0;
        deliver(connection, payload.data[0], buffer_slice(whole));
        buffer_clear(whole);
        buffer_shrink(whole, TRANSPORT_KEEP_BYTES);
    }
}

static void frame_arrived(struct transport_connection *connection, const struct frame *frame)
{
    if (connection->state != TRANSPORT_UP || frame->type == TRANSPORT_TYPE_REFUSE) {
        transport_handshake_frame(connection, frame);
    } else if (frame->type >= TRANSPORT_FIRST_TYPE) {
        deliver(connection, frame->type, frame->payload);
    } else if (frame->type == TRANSPORT_TYPE_PART) {
        part_arrived(connection, frame->payload);
    } else if (frame->type == TRANSPORT_TYPE_PING && frame->payload.size == TRANSPORT_PING_BYTES) {
        send_ping(connection, TRANSPORT_TYPE_PONG, get_u64(frame->payload.data));
    } else if (frame->type == TRANSPORT_TYPE_PONG) {
        pong_arrived(connection, frame->payload);
    } else {
        transport_refuse(connection, TRANSPORT_DAMAGED);
    }
}

/* Takes what belongs to the magic; false when it is another's. */
static bool take_magic(struct transport_connection *connection, struct slice bytes, size_t *at)
{
    while (connection->magic_seen < TRANSPORT_MAGIC_BYTES && *at < bytes.size) {
        if (bytes.data[(*at)++] != transport_magic[connection->magic_seen++]) {
            transport_refuse(connection, TRANSPORT_GARBAGE);
            return false;
        }
    }
    return connection->magic_seen == TRANSPORT_MAGIC_BYTES;
}

static bool may_take(const struct transport_connection *connection)
{
    return connection->state < TRANSPORT_LINGERING && !connection->paused;
}

/* Takes whole frames; returns how many bytes it is done with. */
static size_t take_frames(struct transport_connection *connection, struct slice bytes)
{
    size_t at = 0;
    if (connection->state < TRANSPORT_LINGERING && !take_magic(connection, bytes, &at)) {
        return bytes.size;
    }
    while (at < bytes.size && may_take(connection)) {
        size_t limit_bytes = connection->state == TRANSPORT_UP ? TRANSPORT_PART_HEAD_BYTES + TRANSPORT_PART_BYTES
                                                               : TRANSPORT_HANDSHAKE_FRAME_BYTES;
        struct frame frame;
        size_t missing;
        struct slice rest = slice_of(bytes.data + at, bytes.size - at);
        enum status status = frame_decode(rest, limit_bytes, &frame, &missing);
        if (status == STATUS_AGAIN) {
            return at;
        }
        if (status != STATUS_OK) {
            transport_refuse(connection, TRANSPORT_DAMAGED);
            break;
        }
        at += frame.size;
        frame_arrived(connection, &frame);
    }
    return connection->state < TRANSPORT_LINGERING ? at : bytes.size;
}

static void take_kept(struct transport_connection *connection)
{
    struct slice kept =
        slice_of(connection->in.data + connection->in_start, connection->in.size - connection->in_start);
    connection->in_start += take_frames(connection, kept);
    if (connection->in_start == connection->in.size) {
        connection->in_start = 0;
        buffer_clear(&connection->in);
        if (connection->in.capacity > TRANSPORT_KEEP_BYTES && connection->state != TRANSPORT_ENDED) {
            buffer_deinit(&connection->in);
        }
    }
}

static enum status read_behind(struct transport_connection *connection, size_t *ret_size)
{
    buffer_consume(&connection->in, connection->in_start);
    connection->in_start = 0;
    uint8_t *at = buffer_reserve(&connection->in, TRANSPORT_READ_BYTES);
    enum status status =
        env_stream_read(connection->transport->env, connection->stream, at, TRANSPORT_READ_BYTES, ret_size);
    if (status == STATUS_OK) {
        connection->in.size += *ret_size;
    }
    return status;
}

/* Into the shared buffer; only what is left over is kept. */
static void take_shared(struct transport_connection *connection, size_t size)
{
    uint8_t *data = connection->transport->read_buffer;
    size_t taken = take_frames(connection, slice_of(data, size));
    if (taken < size && connection->state != TRANSPORT_ENDED) {
        buffer_append(&connection->in, data + taken, size - taken);
    }
}

static void readable(void *owner)
{
    struct transport_connection *connection = owner;
    struct transport *transport = connection->transport;
    bool shared = connection->in.size == connection->in_start;
    size_t size = 0;
    enum status status = shared ? env_stream_read(transport->env, connection->stream, transport->read_buffer,
                                                  TRANSPORT_READ_BYTES, &size)
                                : read_behind(connection, &size);
    if (status == STATUS_AGAIN) {
        return;
    }
    if (status != STATUS_OK) {
        transport_connection_lost(connection,
                                  status == STATUS_CLOSED ? "closed by the other side" : status_text(status));
        return;
    }
    connection->silent_pings = 0;
    transport->statistics.bytes_received += size;
    if (connection->state == TRANSPORT_UP) {
        connection->peer->statistics.bytes_received += size;
    }
    if (shared) {
        take_shared(connection, size);
    } else {
        take_kept(connection);
    }
}

void transport_connection_resume(struct transport_connection *connection)
{
    list_remove(&connection->resume_node);
    if (may_take(connection) && connection->in.size > connection->in_start) {
        take_kept(connection);
    }
}

/* ---- writing ---- */

static void set_blocked(struct transport_connection *connection, bool blocked)
{
    if (connection->blocked != blocked) {
        connection->blocked = blocked;
        env_stream_want_write(connection->transport->env, connection->stream, blocked);
    }
}

static void writable(void *owner)
{
    struct transport_connection *connection = owner;
    set_blocked(connection, false);
    if (connection->state == TRANSPORT_CONNECTING) {
        connection->state = TRANSPORT_AWAIT_HELLO;
        transport_greet(connection);
    }
    transport_connection_dirty(connection);
}

void transport_connection_dirty(struct transport_connection *connection)
{
    if (!connection->blocked && connection->state != TRANSPORT_ENDED && list_empty(&connection->dirty_node)) {
        list_append(&connection->transport->dirty, &connection->dirty_node);
    }
}

static void tell_room(struct transport_connection *connection)
{
    struct transport *transport = connection->transport;
    for (int i = 0; i < TRANSPORT_PRIORITIES && connection->state == TRANSPORT_UP; i++) {
        size_t used = transport_lane_size(&connection->queue.lanes[i]);
        if (connection->refused_room[i] && used <= transport->options.queue_bytes[i] / 2) {
            connection->refused_room[i] = false;
            if (transport->options.events->room != NULL) {
                transport->options.events->room(transport->options.owner, connection->peer->node,
                                                connection->generation, (enum transport_priority)i);
            }
        }
    }
}

static void note_sent(struct transport_connection *connection, size_t sent)
{
    transport_queue_sent(&connection->queue, sent);
    connection->transport->statistics.bytes_sent += sent;
    if (connection->state == TRANSPORT_UP) {
        connection->peer->statistics.bytes_sent += sent;
    }
}

void transport_connection_beat(struct transport_connection *connection)
{
    struct iovec parts[TRANSPORT_QUEUE_PARTS];
    size_t offered = 0, sent = 0;
    int count = connection->state == TRANSPORT_UP ? transport_queue_signals(&connection->queue, parts, &offered) : 0;
    if (count != 0) {
        enum status status = env_stream_write(connection->transport->env, connection->stream, parts, count, &sent);
        note_sent(connection, status == STATUS_OK ? sent : 0);
    }
}

void transport_connection_flush(struct transport_connection *connection)
{
    struct transport *transport = connection->transport;
    struct iovec parts[TRANSPORT_QUEUE_PARTS];
    size_t offered = 0, sent = 0;
    int count = transport_queue_parts(&connection->queue, transport->options.bulk_turn_bytes, parts, &offered);
    if (count == 0) {
        tell_room(connection); /* a beat has made it */
        return;
    }
    enum status status = env_stream_write(transport->env, connection->stream, parts, count, &sent);
    if (status != STATUS_OK && status != STATUS_AGAIN) {
        transport_connection_lost(connection, status_text(status));
        return;
    }
    note_sent(connection, sent);
    set_blocked(connection, transport_queue_size(&connection->queue) > 0);
    tell_room(connection);
}

/* ---- time ---- */

static void ping(struct transport_connection *connection)
{
    struct transport *transport = connection->transport;
    const struct transport_options *options = &transport->options;
    /* Counted in pings and not in time: while this process is stopped it cannot hear, and that is not the peer's
     * fault. Nor does a peer fall silent that we do not listen to. */
    if (!connection->paused && (uint64_t)connection->silent_pings++ * options->ping_ms >= options->dead_ms) {
        char why[64];
        (void)snprintf(why, sizeof(why), "nothing heard for %u ms", options->dead_ms);
        transport_connection_lost(connection, why);
        return;
    }
    int64_t now_ns = env_monotonic_ns(transport->env);
    send_ping(connection, TRANSPORT_TYPE_PING, (uint64_t)now_ns);
    env_timer_start(transport->env, &connection->timer, now_ns + (int64_t)options->ping_ms * TRANSPORT_NS_PER_MS);
}

static void timer_due(struct env_timer *timer)
{
    struct transport_connection *connection = CONTAINER_OF(timer, struct transport_connection, timer);
    if (connection->state == TRANSPORT_UP) {
        ping(connection);
    } else if (connection->state == TRANSPORT_LINGERING) {
        transport_connection_drop(connection);
    } else if (connection->dialed) {
        transport_connection_lost(connection, "no answer in time");
    } else {
        transport_refuse(connection, TRANSPORT_SLOW);
    }
}

/* ---- life ---- */

static const struct env_stream_events stream_events = {.readable = readable, .writable = writable};

void transport_connection_unknown(struct transport_connection *connection, bool unknown)
{
    if (connection->unknown != unknown) {
        connection->unknown = unknown;
        connection->transport->unknown += unknown ? 1 : UINT32_MAX;
    }
}

struct transport_connection *transport_connection_create(struct transport *transport, struct env_stream *stream,
                                                         struct transport_peer *peer)
{
    struct transport_connection *connection = memory_allocate_zeroed(1, sizeof(*connection));
    connection->transport = transport;
    connection->peer = peer;
    connection->stream = stream;
    connection->dialed = peer != NULL;
    connection->state = connection->dialed ? TRANSPORT_CONNECTING : TRANSPORT_AWAIT_HELLO;
    if (connection->dialed) {
        (void)snprintf(connection->address, sizeof(connection->address), "%.50s:%d", peer->host, peer->port);
    } else {
        env_stream_name(transport->env, stream, true, connection->address, sizeof(connection->address));
    }
    list_append(&transport->connections, &connection->node);
    list_init(&connection->dirty_node);
    list_init(&connection->resume_node);
    transport_connection_unknown(connection, !connection->dialed);
    env_timer_init(&connection->timer, timer_due);
    int64_t wait_ns = (int64_t)transport->options.handshake_ms * TRANSPORT_NS_PER_MS;
    env_timer_start(transport->env, &connection->timer, env_monotonic_ns(transport->env) + wait_ns);
    env_stream_attach(transport->env, stream, &stream_events, connection);
    set_blocked(connection, connection->dialed);
    return connection;
}

void transport_connection_detach(struct transport_connection *connection, enum transport_state state)
{
    ASSERT(state >= TRANSPORT_LINGERING);
    if (connection->state == TRANSPORT_UP) {
        connection->transport->statistics.connected--;
    }
    if (connection->peer != NULL) {
        connection->peer->connection = NULL;
        connection->peer = NULL;
    }
    connection->state = state;
}

void transport_connection_drop(struct transport_connection *connection)
{
    struct transport *transport = connection->transport;
    ASSERT(connection->state != TRANSPORT_ENDED);
    transport_connection_detach(connection, TRANSPORT_ENDED);
    transport_connection_unknown(connection, false);
    env_stream_close(transport->env, connection->stream);
    env_timer_stop(transport->env, &connection->timer);
    list_remove(&connection->dirty_node);
    list_remove(&connection->resume_node);
    list_remove(&connection->node);
    list_append(&transport->closed, &connection->node);
    transport_queue_deinit(&connection->queue);
}

void transport_peer_lost(struct transport_peer *peer, const struct transport_connection *connection, bool was_up,
                         const char *why)
{
    struct transport *transport = connection->transport;
    if (!was_up) {
        if (why != NULL) {
            transport_note_unreachable(peer, why);
        }
        transport_dial_later(peer);
        return;
    }
    int64_t now_ns = env_monotonic_ns(transport->env);
    if (now_ns - peer->statistics.since_ns >= (int64_t)transport->options.backoff_maximum_ms * TRANSPORT_NS_PER_MS) {
        peer->backoff_ns = 0; /* it was of use: not part of a storm */
    }
    peer->statistics.up = false;
    peer->statistics.since_ns = now_ns;
    if (why != NULL) {
        env_log(transport->env, ENV_LOG_INFO, "node %llu (%s) is disconnected: %s", (unsigned long long)peer->node,
                connection->address, why);
    }
    transport_dial_later(peer);
    transport_probe_begin(peer);
    transport->options.events->down(transport->options.owner, peer->node, connection->generation);
}

void transport_connection_lost(struct transport_connection *connection, const char *why)
{
    struct transport_peer *peer = connection->peer;
    bool was_up = connection->state == TRANSPORT_UP;
    transport_connection_drop(connection);
    if (peer != NULL) {
        transport_peer_lost(peer, connection, was_up, why);
    }
}
