#include "server/connection.h"

#include "base/memory.h"
#include "server/consistency.h"
#include "server/feeds.h"
#include "server/lock_client.h"
#include "server/pubsub.h"
#include "server/round.h"
#include "server/route.h"
#include "server/route_park.h"
#include "server/script_peers.h"
#include "server/server_state.h"
#include "server/service_watch.h"
#include "server/session_client.h"
#include "server/txn_client.h"
#include "server/txn_session.h"

#include <stdlib.h>

enum { INPUT_STEP_BYTES = 64 << 10, SECOND_NS = 1000000000, REQUEST_AVERAGE = 8 };

void connection_count_bytes(struct connection *connection)
{
    size_t bytes = sizeof(*connection) + connection->in.capacity + connection->out.capacity +
                   connection->queued.capacity + connection->parked_bytes.capacity +
                   connection->slot_capacity * sizeof(struct slot) + connection->stash_bytes +
                   connection->watches.bytes + connection->watches.capacity * sizeof(struct watch) +
                   connection->feed_bytes + (connection->session == NULL ? 0 : txn_session_bytes(connection->session)) +
                   (connection->listener == NULL ? 0 : sizeof(*connection->listener) + connection->listener->bytes);
    connection->server->client_bytes += bytes - connection->counted_bytes;
    connection->counted_bytes = bytes;
}

void connection_mark_dirty(struct connection *connection)
{
    if (!connection->closed && list_empty(&connection->dirty_node)) {
        list_append(&connection->server->dirty, &connection->dirty_node);
    }
}

void connection_mark_resume(struct connection *connection)
{
    if (!connection->closed && list_empty(&connection->resume_node)) {
        list_append(&connection->server->resume, &connection->resume_node);
    }
}

bool connection_may_take(const struct connection *connection)
{
    uint64_t pending = connection->slot_tail - connection->slot_head;
    return !connection->closed && !connection->parked && !connection->slowed && !connection->close_after_replies &&
           pending < CONNECTION_PENDING && connection->owed < CONNECTION_OWED &&
           pending * connection->request_bytes < CONNECTION_REQUESTED_BYTES &&
           pending * connection->reply_bytes < CONNECTION_EXPECTED_BYTES &&
           connection_unsent_bytes(connection) < CONNECTION_OUTPUT_HIGH;
}

void connection_update_reading(struct connection *connection)
{
    if (connection->closed) {
        return;
    }
    bool serving = connection->server->phase == SERVER_SERVING;
    /* Who waits is watched: it may go away. */
    bool watched = connection->waiter != NULL && connection->in.size - connection->in_start < WAITER_READ_AHEAD;
    bool wanted = serving && (connection_may_take(connection) || watched) && !connection->finished_reading;
    if (wanted != connection->reading) {
        connection->reading = wanted;
        env_stream_want_read(connection->server->env, connection->stream, wanted);
    }
}

void connection_slow(struct connection *connection)
{
    if (connection->slowed || connection->closed) {
        return;
    }
    connection->slowed = true;
    list_append(&connection->server->slowed, &connection->slowed_node);
    connection_update_reading(connection);
}

void connections_hurry(struct server *server)
{
    int64_t now_ns = server_now_ns(server);
    int64_t earned = (now_ns - server->refusals_ns) / (SECOND_NS / SERVER_REFUSALS_PER_SECOND);
    int64_t most = SERVER_REFUSALS_AT_ONCE - server->refusals;
    server->refusals += (uint32_t)(earned < most ? earned : most);
    server->refusals_ns += earned * (SECOND_NS / SERVER_REFUSALS_PER_SECOND);
    while (server->refusals > 0 && !list_empty(&server->slowed)) {
        struct connection *connection = CONTAINER_OF(server->slowed.next, struct connection, slowed_node);
        list_remove(&connection->slowed_node);
        connection->slowed = false;
        connection_mark_resume(connection);
        server->refusals--;
    }
}

static void refuse(struct connection *connection)
{
    char text[RESP_REQUEST_ERROR_BYTES];
    resp_request_error(&connection->parser, text);
    struct resp_writer *reply = reply_begin(connection);
    resp_error(reply, text);
    reply_end(connection);
    connection_finish(connection);
}

static struct resp_request_limits limits_of(const struct connection *connection)
{
    const struct config *config = &connection->server->config;
    struct resp_request_limits limits = RESP_REQUEST_DEFAULT_LIMITS;
    limits.bulk_bytes = (size_t)config->proto_max_bulk_bytes;
    limits.total_bytes = (size_t)config->client_query_buffer_bytes;
    limits.unauthenticated = !connection->authenticated;
    return limits;
}

/* How many commands the client may give before the others get their turn. */
static uint32_t share_of_turn(const struct server *server)
{
    return server->taken < SERVER_COMMANDS_PER_TURN ? server->share_of_turn : SERVER_SHARE_MINIMUM;
}

/* Takes whole requests from the region; returns how many bytes it is done with. */
static size_t take_requests(struct connection *connection, uint8_t *data, size_t size)
{
    struct resp_request_limits limits = limits_of(connection);
    struct server *server = connection->server;
    uint32_t share = share_of_turn(server);
    uint32_t requests = 0;
    size_t at = 0;
    while (at < size && connection_may_take(connection)) {
        if (requests == share) {
            connection_mark_resume(connection);
            break;
        }
        requests++;
        enum resp_request_result result = resp_request_parse(&connection->parser, &limits, data + at, size - at);
        if (result == RESP_REQUEST_READY) {
            connection->request_bytes += connection->parser.consumed / REQUEST_AVERAGE;
            connection->request_bytes -= connection->request_bytes / REQUEST_AVERAGE;
            route_request(connection, connection->parser.argv, connection->parser.argc);
            limits.unauthenticated = !connection->authenticated;
        } else if (result == RESP_REQUEST_INVALID) {
            refuse(connection);
            return size;
        }
        at += connection->parser.consumed;
        if (result == RESP_REQUEST_PARTIAL) {
            break;
        }
    }
    server->takers++;
    server->taken += requests;
    return connection->close_after_replies || connection->closed ? size : at;
}

static void take_kept_input(struct connection *connection)
{
    size_t size = connection->in.size - connection->in_start;
    if (size == 0 || !connection_may_take(connection)) {
        return;
    }
    connection->in_start += take_requests(connection, connection->in.data + connection->in_start, size);
    if (connection->in_start == connection->in.size) {
        connection->in_start = 0;
        buffer_clear(&connection->in);
        if (connection->in.capacity > 0) {
            buffer_deinit(&connection->in);
        }
    }
}

/* Room for what is known to come, but never much more than what has come already: an announced size costs the sender
 * the bytes before it costs us the memory. */
static size_t input_room(struct connection *connection)
{
    size_t held = connection->in.size - connection->in_start;
    size_t missing = connection->parser.missing_bytes;
    size_t room = held < INPUT_STEP_BYTES ? INPUT_STEP_BYTES : held;
    return missing > INPUT_STEP_BYTES && missing < room ? missing : room;
}

/* Reads behind what is kept. */
static enum status read_more(struct connection *connection, size_t *ret_size)
{
    struct server *server = connection->server;
    if (connection->in_start > 0) {
        buffer_consume(&connection->in, connection->in_start);
        connection->in_start = 0;
    }
    size_t room = input_room(connection);
    uint8_t *at = buffer_reserve(&connection->in, room);
    enum status status = env_stream_read(server->env, connection->stream, at, room, ret_size);
    if (status == STATUS_OK) {
        connection->in.size += *ret_size;
        take_kept_input(connection);
    }
    return status;
}

/* Reads into the shared buffer and keeps only what is left over. */
static enum status read_shared(struct connection *connection, size_t *ret_size)
{
    struct server *server = connection->server;
    size_t each = connection->request_bytes == 0 ? SERVER_BYTES_PER_COMMAND : connection->request_bytes;
    size_t room = share_of_turn(server) * each; /* what is read beyond its share would only wait, and age */
    room = room < SERVER_READ_LEAST_BYTES ? SERVER_READ_LEAST_BYTES : room;
    room = room < SERVER_READ_BYTES ? room : SERVER_READ_BYTES;
    enum status status = env_stream_read(server->env, connection->stream, server->read_buffer, room, ret_size);
    if (status != STATUS_OK) {
        return status;
    }
    size_t taken = take_requests(connection, server->read_buffer, *ret_size);
    if (!connection->closed && taken < *ret_size) {
        buffer_append(&connection->in, server->read_buffer + taken, *ret_size - taken);
    }
    return STATUS_OK;
}

static void connection_readable(void *owner)
{
    struct connection *connection = owner;
    struct server *server = connection->server;
    connection->active_ns = server_now_ns(server);
    if (!list_empty(&connection->resume_node)) {
        return; /* what was read before comes first, in the turn */
    }
    size_t size = 0;
    enum status status =
        connection->in.size == connection->in_start ? read_shared(connection, &size) : read_more(connection, &size);
    if (connection->closed) {
        return;
    }
    if (status == STATUS_OK) {
        server->figures.bytes_read += size;
        connection_update_reading(connection);
        connection_count_bytes(connection);
    } else if (status == STATUS_CLOSED) {
        /* Half-closed clients (printf … | nc) still get their replies. */
        connection->finished_reading = true;
        if (connection->waiter != NULL && waiter_queued(connection->waiter)) {
            connection_close(connection); /* but nobody waits for a lock who may be gone */
            return;
        }
        connection_update_reading(connection);
        connection_mark_resume(connection);
    } else if (status != STATUS_AGAIN) {
        connection_close(connection);
    }
}

static void connection_writable(void *owner)
{
    struct connection *connection = owner;
    connection->active_ns = server_now_ns(connection->server);
    connection_mark_dirty(connection);
}

static const struct env_stream_events connection_events = {connection_readable, connection_writable};

struct connection *connection_create(struct server *server, struct env_stream *stream, uint64_t id)
{
    struct connection *connection = memory_allocate_zeroed(1, sizeof(*connection));
    connection->server = server;
    connection->stream = stream;
    connection->id = id;
    connection->requester = (struct requester){&connection_requester, connection->id};
    connection->protocol = RESP2;
    connection->reply_bytes = CONNECTION_REPLY_BYTES;
    connection->authenticated = server->config.requirepass[0] == '\0';
    connection->created_ns = server_now_ns(server);
    connection->active_ns = connection->created_ns;
    connection->reading = true;
    resp_request_init(&connection->parser);
    command_arguments_init(&connection->parked_arguments);
    env_stream_name(server->env, stream, true, connection->peer, sizeof(connection->peer));
    env_stream_name(server->env, stream, false, connection->local, sizeof(connection->local));
    list_init(&connection->dirty_node);
    list_init(&connection->resume_node);
    list_init(&connection->slowed_node);
    script_places_init(&connection->script_places);
    list_init(&connection->feeds);
    list_init(&connection->service_watches);
    list_append(&server->connections, &connection->node);
    server->connection_count++;
    connection_count_bytes(connection);
    env_stream_attach(server->env, stream, &connection_events, connection);
    return connection;
}

static void connection_free(struct connection *connection)
{
    list_remove(&connection->node);
    consistency_deinit(connection);
    free(connection);
}

void connection_close(struct connection *connection)
{
    if (connection->closed) {
        return;
    }
    struct server *server = connection->server;
    env_stream_close(server->env, connection->stream);
    connection->stream = NULL;
    connection->closed = true;
    list_remove(&connection->dirty_node);
    list_remove(&connection->resume_node);
    list_remove(&connection->slowed_node);
    list_remove(&connection->node);
    list_append(&server->closed, &connection->node);
    server->connection_count--;
    server->share.clients++;
    server->client_bytes -= connection->counted_bytes;
    connection->counted_bytes = 0;
    server->monitors -= connection->monitor ? 1 : 0;
    pubsub_leave(connection);
    txn_client_leave(connection);
    txn_session_leave(connection);
    feeds_leave(connection);
    service_watches_leave(connection);
    lock_client_forget(connection);
    session_client_forget(connection);
    slots_destroy(connection);
    script_room_forget(connection);
    route_forget(connection);
    round_end(connection);
    script_peers_end(connection);
    resp_request_deinit(&connection->parser);
    command_arguments_deinit(&connection->parked_arguments);
    buffer_deinit(&connection->in);
    buffer_deinit(&connection->out);
    buffer_deinit(&connection->parked_bytes);
    free(connection->name);
    free(connection->library_name);
    free(connection->library_version);
}

void connections_reap(struct server *server)
{
    LIST_FOR_EACH_SAFE (at, after, &server->closed) {
        struct connection *connection = CONTAINER_OF(at, struct connection, node);
        if (connection->owed == 0) {
            connection_free(connection);
        }
    }
}

void connection_finish(struct connection *connection)
{
    connection->close_after_replies = true;
    connection_mark_dirty(connection);
}

void connection_resume(struct connection *connection)
{
    list_remove(&connection->resume_node);
    if (connection->parked && !route_unpark(connection)) {
        return;
    }
    take_kept_input(connection);
    if (connection->closed) {
        return;
    }
    connection_update_reading(connection);
    connection_count_bytes(connection);
    bool later = connection->parked || !connection_may_take(connection) || !list_empty(&connection->resume_node);
    if (connection->finished_reading && !later) {
        connection_finish(connection); /* what is left is no whole request, or there is nothing */
    }
}
