/* What leaves a connection: one write a turn, and how far behind its client may be. */
#include "server/connection.h"

#include "server/feeds.h"
#include "server/pubsub.h"
#include "server/server_state.h"

enum { CONNECTION_IOVECS = 1, SECOND_NS = 1000000000 };

struct buffer *connection_output(struct connection *connection)
{
    struct server *server = connection->server;
    if (connection->out.data == NULL && server->spare_count > 0) {
        connection->out = server->spare_buffers[--server->spare_count];
    }
    return &connection->out;
}

/* An idle client holds no buffer. */
static void output_give_back(struct connection *connection)
{
    struct server *server = connection->server;
    buffer_clear(&connection->out);
    connection->out_start = 0;
    if (connection->out.capacity <= SERVER_SPARE_BUFFER_BYTES && server->spare_count < SERVER_SPARE_BUFFERS) {
        server->spare_buffers[server->spare_count++] = connection->out;
        buffer_init(&connection->out);
    } else {
        buffer_deinit(&connection->out);
    }
}

const struct output_limit *connection_output_limit(const struct connection *connection)
{
    const struct output_limits *limits = &connection->server->config.client_output;
    return connection_subscribed(connection) ? &limits->pubsub : &limits->normal;
}

bool connection_cut_if_behind(struct connection *connection)
{
    struct server *server = connection->server;
    const struct output_limit *limit = connection_output_limit(connection);
    size_t unsent = connection_unsent_bytes(connection);
    bool over_soft = limit->soft_bytes != 0 && unsent > (size_t)limit->soft_bytes;
    int64_t now_ns = server_now_ns(server);
    if (!over_soft) {
        connection->behind_since_ns = 0;
    } else if (connection->behind_since_ns == 0) {
        connection->behind_since_ns = now_ns;
    }
    bool too_long = over_soft && now_ns - connection->behind_since_ns > limit->soft_s * SECOND_NS;
    if (!connection->overrun && !too_long && unsent <= (size_t)limit->hard_bytes) {
        return false;
    }
    server->figures.clients_cut_output++;
    env_log(server->env, ENV_LOG_WARNING,
            "client %s closed: %zu bytes of replies unread, more than client-output-buffer-limit", connection->peer,
            unsent);
    connection_close(connection);
    return true;
}

static enum status write_out(struct connection *connection)
{
    struct server *server = connection->server;
    size_t size = connection_output_bytes(connection);
    if (size != 0) {
        struct iovec part = {connection->out.data + connection->out_start, size};
        size_t written = 0;
        enum status status = env_stream_write(server->env, connection->stream, &part, CONNECTION_IOVECS, &written);
        if (status != STATUS_OK && status != STATUS_AGAIN) {
            return status;
        }
        server->figures.bytes_written += written;
        connection->out_start += written;
        size -= written;
    }
    if (size == 0 && connection->out.data != NULL) {
        output_give_back(connection);
    }
    return STATUS_OK;
}

void connection_write(struct connection *connection)
{
    enum status status = write_out(connection);
    (void)status; /* it will fail again */
    connection_mark_dirty(connection);
}

void connection_flush(struct connection *connection)
{
    struct server *server = connection->server;
    list_remove(&connection->dirty_node);
    if (write_out(connection) != STATUS_OK) {
        connection_close(connection);
        return;
    }
    size_t size = connection_output_bytes(connection);
    if (connection_cut_if_behind(connection)) {
        return;
    }
    if (connection->feed_stuck && connection_unsent_bytes(connection) < (size_t)server->config.feed_output_bytes / 2) {
        feeds_flushed(connection);
    }
    if (connection->want_write != (size != 0)) {
        connection->want_write = size != 0;
        env_stream_want_write(server->env, connection->stream, connection->want_write);
    }
    if (size == 0 && connection->close_after_replies && !connection_pending(connection)) {
        connection_close(connection);
        return;
    }
    if (!connection->reading && connection_may_take(connection)) {
        connection_mark_resume(connection); /* also one that has sent all: what is kept may go on */
    }
    connection_count_bytes(connection);
}
