/* Clients that come: taken, turned away, or given to another worker. */
#include "server/server_state.h"

#include <string.h>

enum { TELL_AGAIN_S = 10 };

/* What may come a thousand times a second is told once in TELL_AGAIN_S; *told_ns is when it was. */
static bool tell_now(struct server *server, int64_t *told_ns)
{
    int64_t now_ns = env_monotonic_ns(server->env);
    if (*told_ns != 0 && now_ns - *told_ns < (int64_t)TELL_AGAIN_S * 1000000000) {
        return false;
    }
    *told_ns = now_ns;
    return true;
}

static const char *shortage_text(enum status status)
{
    switch (status) {
    case STATUS_FULL: return "too many open files; raise the limit (ulimit -n)";
    case STATUS_NOSPACE: return "disk full; free some space on it";
    case STATUS_NOTFOUND: return "the folder is not there any more; stop this node, and restore the folder";
    default: return status_text(status);
    }
}

static void turn_away(struct server *server, struct env_stream *stream, const char *text)
{
    struct iovec part = {(void *)(uintptr_t)text, strlen(text)};
    size_t written = 0;
    if (env_stream_write(server->env, stream, &part, 1, &written) != STATUS_OK) {
        written = 0; /* it goes without a word */
    }
    env_stream_close(server->env, stream);
    server->figures.connections_rejected++;
}

static bool is_local(const char *peer)
{
    return strncmp(peer, "127.", 4) == 0 || strncmp(peer, "[::1]", 5) == 0 || strncmp(peer, "[::ffff:127.", 12) == 0 ||
           peer[0] == '/';
}

bool connection_is_local(const struct connection *connection) { return is_local(connection->peer); }

static void accepted(void *owner, struct env_stream *stream)
{
    struct server *server = owner;
    char peer[CONNECTION_NAME_BYTES];
    env_stream_name(server->env, stream, true, peer, sizeof(peer));
    if (server->phase != SERVER_SERVING) {
        env_stream_close(server->env, stream);
        return;
    }
    if (crew_clients(server) >= (size_t)server->config.maxclients) {
        turn_away(server, stream, "-ERR max number of clients reached\r\n");
        return;
    }
    if (server->config.protected_mode != 0 && server->config.requirepass[0] == '\0' && !is_local(peer)) {
        turn_away(
            server, stream,
            "-DENIED this node serves loopback only while no password is set (protected-mode). Set requirepass in "
            "its configuration, or connect from the same machine.\r\n");
        return;
    }
    server->figures.connections_received++;
    uint64_t id = ++server->next_client_id;
    uint32_t worker = crew_next(server);
    if (worker == 0) {
        (void)connection_create(server, stream, id);
    } else {
        crew_give_client(server, worker, stream, id);
    }
}

void server_take_client(struct server *server, struct env_stream *stream) { accepted(server, stream); }

static void accept_failed(void *owner, enum status status)
{
    struct server *server = owner;
    if (tell_now(server, &server->told_accept_ns)) {
        env_log(server->env, ENV_LOG_WARNING, "cannot accept clients for now: %s", shortage_text(status));
    }
}

const struct env_listener_events accept_events = {accepted, accept_failed};
