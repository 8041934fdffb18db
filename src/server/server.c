#include "server/server.h"

#include "base/memory.h"
#include "env/listen_advice.h"
#include "env/whole_file.h"
#include "server/data_folder.h"
#include "server/figures.h"
#include "server/route.h"
#include "server/server_state.h"

#include <stdio.h>
#include <stdlib.h>

enum { MS_NS = 1000000, TELL_AGAIN_S = 10 };

static const char node_down_text[] =
    "UNCERTAIN this node stopped before it knew; the command may have been executed, look before you send it again";
static const char node_down_read_text[] =
    "CLUSTERDOWN this node stopped before it had the answer; the command changes nothing, ask another node";
static const char time_limit_text[] =
    "UNCERTAIN the command-timeout passed; the command may yet be executed, look before you send it again";
static const char time_limit_read_text[] =
    "CLUSTERDOWN the command-timeout passed without an answer; the command changes nothing, send it again";

int64_t server_now_ns(struct server *server)
{
    if (!server->clock_fresh) {
        server->now_ns = env_monotonic_ns(server->env);
        server->mark_ns = server->now_ns;
        server->clock_fresh = true;
    }
    return server->now_ns;
}

/* ---- what the shards answer to clients ---- */

static struct resp_writer *client_begin(struct requester *requester, uint64_t tag)
{
    return slot_begin((struct connection *)requester, tag);
}

static void client_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    slot_end((struct connection *)requester, tag, command);
}

static void client_failed(struct requester *requester, uint64_t tag, enum status status)
{
    slot_failed((struct connection *)requester, tag, status);
}

const struct requester_events connection_requester = {client_begin, client_end, client_failed};

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

static void cluster_failed(void *owner, enum status status, const char *what)
{
    struct server *server = owner;
    env_log(server->env, ENV_LOG_ERROR, "this node stops: %s", what);
    LIST_FOR_EACH (at, &server->connections) {
        (void)slots_give_up(CONTAINER_OF(at, struct connection, node), true, 0, node_down_text, node_down_read_text);
    }
    server_stop(server, status);
}

static void cluster_joined(void *owner) { data_folder_joined(owner); }

static const struct cluster_events cluster_events = {cluster_failed, cluster_joined};

/* ---- accepting ---- */

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
    if (server->connection_count >= (size_t)server->config.maxclients) {
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
    (void)connection_create(server, stream);
}

static void accept_failed(void *owner, enum status status)
{
    struct server *server = owner;
    if (tell_now(server, &server->told_accept_ns)) {
        env_log(server->env, ENV_LOG_WARNING, "cannot accept clients for now: %s", shortage_text(status));
    }
}

static const struct env_listener_events listener_events = {accepted, accept_failed};

/* ---- the turn ---- */

static void flush_dirty(struct server *server)
{
    while (!list_empty(&server->dirty)) {
        connection_flush(CONTAINER_OF(server->dirty.next, struct connection, dirty_node));
    }
}

/* Takes those that are listed now; who lists itself again waits for the next turn. */
static void resume_listed(struct server *server)
{
    struct list now;
    list_init(&now);
    while (!list_empty(&server->resume)) {
        struct list *node = server->resume.next;
        list_remove(node);
        list_append(&now, node);
    }
    while (!list_empty(&now)) {
        connection_resume(CONTAINER_OF(now.next, struct connection, resume_node));
    }
}

static bool drained(const struct server *server)
{
    return cluster_idle(server->cluster) && list_empty(&server->dirty) && list_empty(&server->resume);
}

static void drain(struct server *server)
{
    bool late = server_now_ns(server) >= server->shutdown_deadline_ns;
    if (!drained(server) && !late) {
        return;
    }
    size_t unsent = 0;
    LIST_FOR_EACH (at, &server->connections) {
        struct connection *connection = CONTAINER_OF(at, struct connection, node);
        (void)slots_give_up(connection, true, 0, node_down_text, node_down_read_text);
        if (connection->parked) {
            connection->parked = false;
            route_refuse(connection, STATUS_CLOSED);
        }
        unsent += connection_unsent_bytes(connection);
    }
    flush_dirty(server);
    if (unsent == 0 || late) {
        server_stop(server, STATUS_OK);
    }
}

/* The next turn's shares, as if it had the same clients. */
static void share_turn(struct server *server)
{
    uint32_t share = SERVER_COMMANDS_PER_TURN / (server->takers == 0 ? 1 : server->takers);
    share = share < SERVER_SHARE_MINIMUM ? SERVER_SHARE_MINIMUM : share;
    server->share = share < SERVER_SHARE_MAXIMUM ? share : SERVER_SHARE_MAXIMUM;
    server->takers = 0;
    server->taken = 0;
}

static void turn(void *owner)
{
    struct server *server = owner;
    (void)server_now_ns(server);
    if (server->phase == SERVER_STOPPED) {
        return;
    }
    server->figures.turns++;
    connections_hurry(server);
    resume_listed(server);
    server->mark_ns = env_monotonic_ns(server->env);
    bool more = cluster_turn(server->cluster);
    if (server->phase != SERVER_STOPPED) {
        flush_dirty(server);
    }
    if (server->phase == SERVER_DRAINING) {
        drain(server);
    }
    connections_reap(server);
    if (more || !list_empty(&server->resume) || !list_empty(&server->dirty)) {
        env_wake(server->env);
    }
    server->clock_fresh = false;
    server->memory_fresh = false;
    share_turn(server);
}

/* ---- ten times a second ---- */

static void look_after(struct server *server, struct connection *connection, uint32_t before_ms)
{
    int64_t now_ns = server_now_ns(server);
    size_t given_up = slots_give_up(connection, false, before_ms, time_limit_text, time_limit_read_text);
    if (given_up != 0) {
        env_log(server->env, ENV_LOG_WARNING, "%zu commands of client %s passed the command-timeout", given_up,
                connection->peer);
    }
    if (connection->parked && connection->parked_until_ns != 0 && now_ns >= connection->parked_until_ns) {
        connection_mark_resume(connection);
    }
    int64_t idle_s = (now_ns - connection->active_ns) / 1000000000;
    if (server->config.timeout_s != 0 && idle_s >= server->config.timeout_s && !connection->monitor &&
        !connection_pending(connection) && !connection->parked) {
        server->figures.clients_cut_idle++;
        connection_close(connection);
    }
}

/* All clients' buffers together are over the limit: the largest goes. */
static void cut_largest(struct server *server)
{
    while (server->client_bytes > (size_t)server->config.maxmemory_clients_bytes) {
        struct connection *largest = NULL;
        LIST_FOR_EACH (at, &server->connections) {
            struct connection *connection = CONTAINER_OF(at, struct connection, node);
            if (!connection->no_evict && (largest == NULL || connection->counted_bytes > largest->counted_bytes)) {
                largest = connection;
            }
        }
        if (largest == NULL) {
            return;
        }
        server->figures.clients_cut_memory++;
        env_log(server->env, ENV_LOG_WARNING,
                "client %s closed: it holds %zu bytes, and all clients together more than maxmemory-clients",
                largest->peer, largest->counted_bytes);
        connection_close(largest);
    }
}

static void cron(struct env_timer *timer)
{
    struct server *server = CONTAINER_OF(timer, struct server, cron);
    int64_t now_ns = server_now_ns(server);
    int64_t age_ms = (now_ns - server->began_ns) / MS_NS;
    int64_t limit_ms = server->config.command_timeout_ms;
    uint32_t before_ms = (uint32_t)(age_ms - limit_ms);
    /* Definite answers first: what has found no leader until shortly before its time limit. */
    int64_t margin_ms = limit_ms / 2 < 2 * SERVER_CRON_MS ? limit_ms / 2 : 2 * SERVER_CRON_MS;
    cluster_look_after(server->cluster, now_ns - (limit_ms - margin_ms) * MS_NS);
    LIST_FOR_EACH_SAFE (at, after, &server->connections) {
        look_after(server, CONTAINER_OF(at, struct connection, node), before_ms);
    }
    cut_largest(server);
    if (server->pause_until_ns != 0 && now_ns >= server->pause_until_ns) {
        server->pause_until_ns = 0;
    }
    figures_sample(server);
    env_timer_start(server->env, &server->cron, now_ns + (int64_t)SERVER_CRON_MS * MS_NS);
}

/* ---- beginning and end ---- */

/* Random; tells this process from all others. */
static void make_run_id(struct server *server)
{
    uint8_t bytes[(sizeof(server->run_id) - 1) / 2];
    env_random(server->env, bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        (void)snprintf(server->run_id + 2 * i, 3, "%02x", bytes[i]);
    }
}

/* Where clients find it: an address to listen on may be a wildcard. */
static const char *client_host(const char *listen_host)
{
    if (strcmp(listen_host, "0.0.0.0") == 0 || strcmp(listen_host, "*") == 0) {
        return "127.0.0.1";
    }
    return strcmp(listen_host, "::") == 0 ? "::1" : listen_host;
}

/* What a node that is told of no others says of itself. */
static bool make_lone_founder(const struct server *server, struct member *ret_founder)
{
    struct slice host = slice_from_string(client_host(server->options.host));
    int port = server_port(server);
    int peer_port = port + SERVER_PEER_PORT_DISTANCE > UINT16_MAX ? port : port + SERVER_PEER_PORT_DISTANCE;
    *ret_founder = (struct member){.id = server->options.node_id};
    return member_address_make(&ret_founder->client, host, port) &&
           member_address_make(&ret_founder->peer, host, peer_port);
}

static enum status open_cluster(struct server *server, char ret_message[static SERVER_MESSAGE_BYTES])
{
    struct server_options *given = &server->options;
    struct member lone;
    struct cluster_options options = {
        .node = given->node_id,
        .incarnation = server->node_file.incarnation,
        .lineage = server->node_file.lineage,
        .directory = server->directory,
        .worker_directory = server->worker_directory,
        .founders = given->founders,
        .founder_count = given->founder_count,
        .shards = given->shards == 0 ? 1 : given->shards,
        .replicas = given->replicas == 0 ? 1 : given->replicas,
        .peer_host = given->peer_host,
        .peer_port = given->peer_port,
        .log_segment_bytes = (uint64_t)server->config.log_segment_bytes,
        .snapshot_log_bytes = (uint64_t)server->config.snapshot_log_bytes,
        .lease_reads = given->lease_reads,
    };
    if (given->founder_count == 0) {
        options.founders = &lone;
        options.founder_count = 1;
        if (!make_lone_founder(server, &lone)) {
            (void)snprintf(ret_message, SERVER_MESSAGE_BYTES, "%s is no address that clients could be told",
                           given->host);
            return STATUS_INVALID;
        }
    }
    server->shards = options.shards;
    return cluster_create(server->env, &options, &cluster_events, server, &server->cluster, ret_message);
}

static enum status open_all(struct server *server, char ret_message[static SERVER_MESSAGE_BYTES])
{
    enum status status = data_folder_open(server, ret_message);
    if (status != STATUS_OK) {
        return status;
    }
    status = env_listen(server->env, server->options.host, server->options.port, &listener_events, server,
                        &server->listener);
    if (status != STATUS_OK) {
        char advice[LISTEN_ADVICE_BYTES];
        listen_advice(status, "--listen", advice);
        (void)snprintf(ret_message, SERVER_MESSAGE_BYTES, "cannot listen on %s:%d: %s", server->options.host,
                       server->options.port, advice);
        return status;
    }
    status = open_cluster(server, ret_message);
    if (status == STATUS_OK) {
        status = data_folder_complete(server, ret_message);
    }
    return status;
}

enum status server_create(struct env *env, const struct server_options *options, struct config *config,
                          const struct server_events *events, void *owner, struct server **ret_server,
                          char ret_message[static SERVER_MESSAGE_BYTES])
{
    struct server *server = memory_allocate_zeroed(1, sizeof(*server));
    server->env = env;
    server->options = *options;
    server->config = *config;
    *config = (struct config){0};
    server->events = *events;
    server->owner = owner;
    server->directory = memory_copy_text(options->directory);
    server->worker_directory = data_folder_path(options->directory, "worker-0");
    server->share = SERVER_SHARE_MAXIMUM;
    server->read_buffer = memory_allocate(SERVER_READ_BYTES);
    make_run_id(server);
    list_init(&server->connections);
    list_init(&server->dirty);
    list_init(&server->resume);
    list_init(&server->slowed);
    list_init(&server->closed);
    command_arguments_init(&server->arguments);
    slowlog_init(&server->slowlog);
    env_timer_init(&server->cron, cron);
    server->began_ns = env_monotonic_ns(env);
    server->refusals_ns = server->began_ns;
    server->began_wall_ms = env_wall_ms(env);
    ret_message[0] = '\0';
    enum status status = open_all(server, ret_message);
    if (status == STATUS_CORRUPT) {
        data_folder_advise(server, ret_message);
    }
    if (status != STATUS_OK) {
        server_destroy(server);
        return status;
    }
    env_set_turn_hook(env, turn, server);
    env_timer_start(env, &server->cron, server->began_ns + (int64_t)SERVER_CRON_MS * MS_NS);
    *ret_server = server;
    return STATUS_OK;
}

void server_stop(struct server *server, enum status status)
{
    if (server->phase == SERVER_STOPPED) {
        return;
    }
    flush_dirty(server);
    server->phase = SERVER_STOPPED;
    server->stop_status = status;
    server->events.stopped(server->owner, status);
}

void server_shutdown(struct server *server)
{
    if (server->phase == SERVER_STOPPED) {
        return;
    }
    int64_t now_ns = server_now_ns(server);
    bool again = server->phase == SERVER_DRAINING;
    server->phase = SERVER_DRAINING;
    server->shutdown_deadline_ns = again ? now_ns : now_ns + server->config.shutdown_timeout_s * 1000000000;
    if (server->listener != NULL) {
        env_listener_close(server->env, server->listener);
        server->listener = NULL;
    }
    LIST_FOR_EACH (at, &server->connections) {
        connection_update_reading(
            CONTAINER_OF(at, struct connection, node)); /* what was received is answered, no more */
    }
    cluster_retire(server->cluster);
    env_log(server->env, ENV_LOG_INFO, "stopping: answering %zu clients first", server->connection_count);
    env_wake(server->env);
}

void server_destroy(struct server *server)
{
    if (server == NULL) {
        return;
    }
    env_set_turn_hook(server->env, NULL, NULL);
    env_timer_stop(server->env, &server->cron);
    if (server->listener != NULL) {
        env_listener_close(server->env, server->listener);
    }
    LIST_FOR_EACH_SAFE (at, after, &server->connections) {
        connection_close(CONTAINER_OF(at, struct connection, node));
    }
    cluster_destroy(server->cluster);
    LIST_FOR_EACH_SAFE (at, after, &server->closed) {
        CONTAINER_OF(at, struct connection, node)->owed = 0;
    }
    connections_reap(server);
    if (server->folder_lock != NULL) {
        env_close(server->env, server->folder_lock);
    }
    for (size_t i = 0; i < server->spare_count; i++) {
        buffer_deinit(&server->spare_buffers[i]);
    }
    slowlog_clear(&server->slowlog);
    command_arguments_deinit(&server->arguments);
    buffer_deinit(&server->scratch);
    config_deinit(&server->config);
    free(server->read_buffer);
    free(server->directory);
    free(server->worker_directory);
    free(server);
}

void server_apply_config(struct server *server)
{
    slowlog_trim(&server->slowlog, (size_t)server->config.slowlog_max_len);
    server->events.configured(server->owner, &server->config);
}

enum status server_rewrite_config(struct server *server)
{
    struct buffer old;
    struct buffer text;
    buffer_init(&old);
    buffer_init(&text);
    const char *path = server->config.path;
    enum status status = whole_file_read(server->env, path, CONFIG_FILE_BYTES, &old);
    if (status == STATUS_OK || status == STATUS_NOTFOUND) {
        config_rewrite(&server->config, buffer_slice(&old), &text);
        status = whole_file_replace(server->env, path, buffer_slice(&text));
    }
    buffer_deinit(&old);
    buffer_deinit(&text);
    return status;
}

int server_port(const struct server *server)
{
    return server->listener == NULL ? 0 : env_listener_port(server->env, server->listener);
}

void server_shard_stats(const struct server *server, struct shard_stats *ret_stats)
{
    cluster_stats(server->cluster, ret_stats);
}

uint64_t server_digest(const struct server *server) { return cluster_digest(server->cluster); }

const struct cluster *server_cluster(const struct server *server) { return server->cluster; }
