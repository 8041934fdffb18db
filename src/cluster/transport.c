#include "cluster/transport.h"

#include "base/assert.h"
#include "base/memory.h"
#include "cluster/transport_internal.h"

#include <stdlib.h>

enum { COPYING_BYTES = 1 << 20, PART_OVERHEAD_BYTES = FRAME_HEADER_BYTES + TRANSPORT_PART_HEAD_BYTES };

/* ---- life ---- */

void transport_options_init(struct transport_options *options)
{
    *options = (struct transport_options){
        .purpose = TRANSPORT_PURPOSE_MEMBER,
        .version_lowest = TRANSPORT_PROTOCOL,
        .version_highest = TRANSPORT_PROTOCOL,
        .frame_bytes = FRAME_MAXIMUM_BYTES,
        .queue_bytes = {[TRANSPORT_SIGNAL] = 4 << 20, [TRANSPORT_URGENT] = 64 << 20, [TRANSPORT_BULK] = 4 << 20},
        .bulk_turn_bytes = 256 << 10,
        .unknown_connections = 64,
        .handshake_ms = 2000,
        .ping_ms = 500,
        .dead_ms = 3000,
        .backoff_first_ms = 20,
        .backoff_maximum_ms = 1000,
    };
}

static bool options_valid(const struct transport_options *options)
{
    return options->node != 0 && !id128_is_zero(&options->incarnation) && lineage_valid(&options->lineage) &&
           options->version_lowest != 0 && options->version_lowest <= options->version_highest &&
           options->frame_bytes != 0 && options->frame_bytes <= UINT32_MAX &&
           options->queue_bytes[TRANSPORT_SIGNAL] != 0 && options->queue_bytes[TRANSPORT_URGENT] != 0 &&
           options->queue_bytes[TRANSPORT_BULK] != 0 && options->unknown_connections != 0 &&
           options->handshake_ms != 0 && options->ping_ms != 0 && options->dead_ms >= options->ping_ms &&
           options->backoff_first_ms != 0 && options->backoff_maximum_ms >= options->backoff_first_ms;
}

/* What was held back by a caller that now wants frames again. */
static void resume_due(struct env_timer *timer)
{
    struct transport *transport = CONTAINER_OF(timer, struct transport, resume_timer);
    while (!list_empty(&transport->resume)) {
        transport_connection_resume(CONTAINER_OF(transport->resume.next, struct transport_connection, resume_node));
    }
}

static const struct env_listener_events listener_events = {.accepted = transport_accepted,
                                                           .failed = transport_accept_failed};

enum status transport_create(struct env *env, const struct transport_options *options, struct transport **ret_transport)
{
    if (!options_valid(options)) {
        return STATUS_INVALID;
    }
    struct transport *transport = memory_allocate_zeroed(1, sizeof(*transport));
    transport->env = env;
    transport->options = *options;
    list_init(&transport->connections);
    list_init(&transport->dirty);
    list_init(&transport->resume);
    list_init(&transport->closed);
    env_timer_init(&transport->resume_timer, resume_due);
    enum status status =
        env_listen(env, options->host, options->port, &listener_events, transport, &transport->listener);
    if (status != STATUS_OK) {
        free(transport);
        return status;
    }
    transport->read_buffer = memory_allocate(TRANSPORT_READ_BYTES);
    uint64_t seed;
    env_random(env, &seed, sizeof(seed));
    prng_seed(&transport->prng, seed);
    env_random(env, &transport->run, sizeof(transport->run));
    *ret_transport = transport;
    return STATUS_OK;
}

static void free_closed(struct transport *transport)
{
    while (!list_empty(&transport->closed)) {
        struct transport_connection *connection =
            CONTAINER_OF(transport->closed.next, struct transport_connection, node);
        list_remove(&connection->node);
        buffer_deinit(&connection->in);
        for (int i = 0; i < TRANSPORT_PRIORITIES; i++) {
            buffer_deinit(&connection->large[i].bytes);
        }
        free(connection);
    }
}

void transport_destroy(struct transport *transport)
{
    if (transport == NULL) {
        return;
    }
    while (transport->peer_count > 0) {
        transport_peer_free(transport->peers[--transport->peer_count]);
    }
    while (!list_empty(&transport->connections)) {
        transport_connection_drop(CONTAINER_OF(transport->connections.next, struct transport_connection, node));
    }
    free_closed(transport);
    env_listener_close(transport->env, transport->listener);
    env_timer_stop(transport->env, &transport->resume_timer);
    free(transport->read_buffer);
    free(transport);
}

int transport_port(struct transport *transport) { return env_listener_port(transport->env, transport->listener); }

/* ---- the turn ---- */

void transport_turn(struct transport *transport)
{
    struct list batch; /* what callbacks send meanwhile waits for the next turn: one write for each */
    list_init(&batch);
    while (!list_empty(&transport->dirty)) {
        struct list *first = transport->dirty.next;
        list_remove(first);
        list_append(&batch, first);
    }
    while (!list_empty(&batch)) {
        struct transport_connection *connection = CONTAINER_OF(batch.next, struct transport_connection, dirty_node);
        list_remove(&connection->dirty_node);
        transport_connection_flush(connection);
    }
    free_closed(transport);
    if (!list_empty(&transport->dirty)) {
        env_wake(transport->env);
    }
}

void transport_beat(struct transport *transport)
{
    LIST_FOR_EACH (at, &transport->connections) { /* also those that wait for room: nobody hears of it in this turn */
        transport_connection_beat(CONTAINER_OF(at, struct transport_connection, node));
    }
}

/* ---- sending ---- */

static struct transport_connection *connected(const struct transport *transport, uint64_t node, uint64_t generation)
{
    struct transport_connection *connection = transport_find_up(transport, node);
    bool meant = connection != NULL && (generation == 0 || generation == connection->generation);
    return meant ? connection : NULL;
}

/* Whether a payload may join what is queued already; counts when not. */
static enum status admit(struct transport_connection *connection, enum transport_priority priority,
                         size_t payload_bytes)
{
    struct transport *transport = connection->transport;
    size_t queued_bytes = transport_lane_size(&connection->queue.lanes[priority]);
    if (payload_bytes > transport->options.frame_bytes) {
        return STATUS_TOO_LARGE;
    }
    size_t limit_bytes = transport->options.queue_bytes[priority];
    if (queued_bytes > 0 && queued_bytes + FRAME_HEADER_BYTES + payload_bytes > limit_bytes) {
        connection->refused_room[priority] = true;
        transport->statistics.full++;
        return STATUS_FULL;
    }
    return STATUS_OK;
}

/* The next bytes of what is being sent, across its parts. */
static void take_bytes(struct buffer *out, const struct slice **part, size_t *at, size_t size)
{
    while (size > 0) {
        size_t rest = (*part)->size - *at;
        size_t take = rest < size ? rest : size;
        buffer_append(out, (*part)->data + *at, take);
        size -= take;
        *at += take;
        if (*at == (*part)->size) {
            (*part)++;
            *at = 0;
        }
    }
}

/* A part stands in the queue, whole: signals may go ahead of it. */
static void tell_copying(const struct transport *transport, size_t bytes_left)
{
    bool now = bytes_left / COPYING_BYTES != (bytes_left + TRANSPORT_PART_BYTES) / COPYING_BYTES;
    if (now && transport->options.events->copying != NULL) {
        transport->options.events->copying(transport->options.owner);
    }
}

/* One frame, or a large one in parts. */
static void put_frame(const struct transport *transport, struct transport_queue *queue,
                      enum transport_priority priority, uint8_t type, const struct slice *parts, size_t size)
{
    struct buffer *out = &queue->lanes[priority].bytes;
    size_t at_part = 0;
    if (size <= TRANSPORT_PART_BYTES) {
        size_t begin = frame_begin(out);
        take_bytes(out, &parts, &at_part, size);
        frame_end(out, begin, type);
        return;
    }
    size_t part_count = size / TRANSPORT_PART_BYTES + 1;
    (void)buffer_reserve(out, size + part_count * PART_OVERHEAD_BYTES); /* growing would copy it once more */
    while (size > 0) {
        size_t take = size < TRANSPORT_PART_BYTES ? size : TRANSPORT_PART_BYTES;
        size_t begin = frame_begin(out);
        buffer_append_byte(out, type);
        buffer_append_byte(out, (uint8_t)priority);
        buffer_append_byte(out, take == size);
        take_bytes(out, &parts, &at_part, take);
        frame_end(out, begin, TRANSPORT_TYPE_PART);
        size -= take;
        tell_copying(transport, size);
    }
}

enum status transport_send(struct transport *transport, uint64_t node, uint64_t generation,
                           enum transport_priority priority, uint8_t type, const struct slice *parts, size_t count)
{
    ASSERT((unsigned)priority < TRANSPORT_PRIORITIES && type >= TRANSPORT_FIRST_TYPE);
    struct transport_connection *connection = connected(transport, node, generation);
    if (connection == NULL) {
        return STATUS_CLOSED;
    }
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        size = parts[i].size < SIZE_MAX - size ? size + parts[i].size : SIZE_MAX;
    }
    enum status status = admit(connection, priority, size);
    if (status != STATUS_OK) {
        return status;
    }
    put_frame(transport, &connection->queue, priority, type, parts, size);
    transport->statistics.frames_sent++;
    connection->peer->statistics.frames_sent++;
    transport_connection_dirty(connection);
    return STATUS_OK;
}

size_t transport_queued(const struct transport *transport, uint64_t node, enum transport_priority priority)
{
    const struct transport_connection *connection = transport_find_up(transport, node);
    return connection == NULL ? 0 : transport_lane_size(&connection->queue.lanes[priority]);
}

size_t transport_room(const struct transport *transport, uint64_t node, enum transport_priority priority)
{
    const struct transport_connection *connection = transport_find_up(transport, node);
    if (connection == NULL) {
        return 0;
    }
    size_t limit_bytes = transport->options.queue_bytes[priority];
    size_t used_bytes = transport_lane_size(&connection->queue.lanes[priority]);
    if (used_bytes == 0) {
        return transport->options.frame_bytes;
    }
    size_t room = used_bytes + FRAME_HEADER_BYTES < limit_bytes ? limit_bytes - used_bytes - FRAME_HEADER_BYTES : 0;
    return room < transport->options.frame_bytes ? room : transport->options.frame_bytes;
}

/* ---- receiving ---- */

void transport_want_frames(struct transport *transport, uint64_t node, bool wanted)
{
    struct transport_connection *connection = transport_find_up(transport, node);
    if (connection == NULL || connection->paused == !wanted) {
        return;
    }
    connection->paused = !wanted;
    connection->silent_pings = 0;
    env_stream_want_read(transport->env, connection->stream, wanted);
    list_remove(&connection->resume_node);
    if (wanted && connection->in.size > connection->in_start) {
        list_append(&transport->resume, &connection->resume_node);
        env_timer_start(transport->env, &transport->resume_timer, env_monotonic_ns(transport->env));
    }
}

/* ---- looking ---- */

void transport_statistics(const struct transport *transport, struct transport_statistics *ret_statistics)
{
    *ret_statistics = transport->statistics;
    ret_statistics->unknown = transport->unknown;
}
