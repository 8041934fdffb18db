#include "server/server.h"

#include "base/memory.h"
#include "env/whole_file.h"
#include "server/feeds.h"
#include "server/figures.h"
#include "server/lock_client.h"
#include "server/pubsub.h"
#include "server/round.h"
#include "server/route_refuse.h"
#include "server/script_peers.h"
#include "server/server_state.h"
#include "server/service_watch.h"
#include "server/session_client.h"
#include "server/txn_client.h"
#include "server/txn_session.h"

#include <stdlib.h>

enum { MS_NS = 1000000 };

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

/* Closed or not: connections are freed at the end of a turn. */
static void client_slow(struct requester *requester, const struct command *command, int64_t duration_ns)
{
    const struct connection *connection = (const struct connection *)requester;
    figures_slow(connection->server, command, duration_ns, connection->peer,
                 connection->closed || connection->name == NULL ? "" : connection->name);
}

const struct requester_events connection_requester = {client_begin, client_end, client_failed, NULL, client_slow};

static void flush_dirty(struct server *server)
{
    while (!list_empty(&server->dirty)) {
        connection_flush(CONTAINER_OF(server->dirty.next, struct connection, dirty_node));
    }
}

void server_give_up(struct server *server)
{
    LIST_FOR_EACH (at, &server->connections) {
        (void)slots_give_up(CONTAINER_OF(at, struct connection, node), true, 0, node_down_text, node_down_read_text);
    }
    flush_dirty(server);
}

/* ---- the turn ---- */

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
    return cluster_idle(server->cluster) && list_empty(&server->dirty) && list_empty(&server->resume) &&
           txn_clients_idle(server) && waiters_idle(server) && session_clients_idle(server);
}

static void drain(struct server *server)
{
    bool forsaken = cluster_forsaken(server->cluster);
    bool late = forsaken || server_now_ns(server) >= server->shutdown_deadline_ns;
    server->quiet = false;
    if (forsaken) {
        cluster_look_after(server->cluster, server_now_ns(server)); /* what never left is certainly not executed */
    }
    if (!drained(server) && !late) {
        return;
    }
    size_t unsent = 0;
    txn_clients_look_after(server, INT64_MAX);
    txn_sessions_look_after(server, INT64_MAX);
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
    server->quiet = unsent == 0;
    if (server->worker == 0 && ((server->quiet && crew_quiet(server)) || late)) {
        server_stop(server, STATUS_OK);
    }
}

/* The next turn's shares, as if it had the same clients; when some had to be slowed down, as if all came. */
static void share_turn(struct server *server)
{
    uint32_t takers = list_empty(&server->slowed) ? server->takers : (uint32_t)server->connection_count;
    uint32_t share = SERVER_COMMANDS_PER_TURN / (takers == 0 ? 1 : takers);
    share = share < SERVER_SHARE_MINIMUM ? SERVER_SHARE_MINIMUM : share;
    server->share_of_turn = share < SERVER_SHARE_MAXIMUM ? share : SERVER_SHARE_MAXIMUM;
    server->takers = 0;
    server->taken = 0;
}

static void turn(void *owner)
{
    struct server *server = owner;
    (void)server_now_ns(server);
    if (server->phase == SERVER_STOPPED || server->cluster == NULL) {
        server->clock_fresh = false;
        workers_post(server->workers);
        return;
    }
    if (server->ready_due) {
        server->ready_due = false;
        if (server->events.ready != NULL) {
            server->events.ready(server->owner);
        }
    }
    server->figures.turns++;
    connections_hurry(server);
    resume_listed(server);
    server->mark_ns = env_monotonic_ns(server->env);
    bool more = cluster_turn(server->cluster);
    more = (server->phase == SERVER_SERVING && feeds_turn(server)) || more;
    more = (server->phase == SERVER_SERVING && service_watches_turn(server)) || more;
    workers_post(server->workers); /* before any reply: who has one may go on with another worker */
    if (server->phase != SERVER_STOPPED) {
        flush_dirty(server);
    }
    if (server->phase == SERVER_DRAINING) {
        drain(server);
    }
    connections_reap(server);
    crew_turn(server);
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
    if (connection->behind_since_ns != 0 && connection_cut_if_behind(connection)) {
        return;
    }
    int64_t idle_s = (now_ns - connection->active_ns) / 1000000000;
    if (server->config.timeout_s != 0 && idle_s >= server->config.timeout_s && !connection->monitor &&
        !feeds_of(connection) && !service_watches_of(connection) && !connection_subscribed(connection) &&
        !connection_pending(connection) && !connection->parked) {
        server->figures.clients_cut_idle++;
        connection_close(connection);
    }
}

/* All clients' buffers together are over the limit: the largest goes. */
static void cut_largest(struct server *server)
{
    struct crew_share others = crew_others(server);
    for (;;) {
        struct connection *largest = NULL;
        LIST_FOR_EACH (at, &server->connections) {
            struct connection *connection = CONTAINER_OF(at, struct connection, node);
            if (!connection->no_evict && (largest == NULL || connection->counted_bytes > largest->counted_bytes)) {
                largest = connection;
            }
        }
        server->share.largest_bytes = largest == NULL ? 0 : largest->counted_bytes;
        bool over = server->client_bytes + others.client_bytes > (uint64_t)server->config.maxmemory_clients_bytes;
        if (!over || largest == NULL || largest->counted_bytes < others.largest_bytes) {
            return; /* another worker has a larger one */
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
    if (server->phase == SERVER_STOPPED) {
        return;
    }
    int64_t now_ns = server_now_ns(server);
    int64_t age_ms = (now_ns - server->began_ns) / MS_NS;
    int64_t limit_ms = server->config.command_timeout_ms;
    uint32_t before_ms = (uint32_t)(age_ms - limit_ms);
    /* Definite answers first: what has found no leader until shortly before its time limit. */
    int64_t margin_ms = limit_ms / 2 < 2 * SERVER_CRON_MS ? limit_ms / 2 : 2 * SERVER_CRON_MS;
    cluster_look_after(server->cluster, now_ns - (limit_ms - margin_ms) * MS_NS);
    txn_clients_look_after(server, now_ns - (limit_ms - margin_ms / 2) * MS_NS);
    txn_sessions_look_after(server, now_ns - (limit_ms - margin_ms / 2) * MS_NS);
    lock_clients_look_after(server);
    LIST_FOR_EACH_SAFE (at, after, &server->connections) {
        look_after(server, CONTAINER_OF(at, struct connection, node), before_ms);
    }
    cut_largest(server);
    feeds_tick(server);
    service_watches_tick(server);
    if (server->pause_until_ns != 0 && now_ns >= server->pause_until_ns) {
        server->pause_until_ns = 0;
    }
    figures_sample(server);
    script_peers_tick(server);
    script_room_tick(server, now_ns - limit_ms * MS_NS);
    crew_tick(server);
    env_timer_start(server->env, &server->cron, now_ns + (int64_t)SERVER_CRON_MS * MS_NS);
}

/* ---- beginning and end ---- */

void server_begin_turns(struct server *server)
{
    env_timer_init(&server->cron, cron);
    env_set_turn_hook(server->env, turn, server);
    env_timer_start(server->env, &server->cron, server->began_ns + (int64_t)SERVER_CRON_MS * MS_NS);
}

void server_ready(struct server *server)
{
    server->ready_due = true;
    env_wake(server->env);
}

void server_stop(struct server *server, enum status status)
{
    if (server->phase == SERVER_STOPPED) {
        return;
    }
    flush_dirty(server);
    server->phase = SERVER_STOPPED;
    server->stop_status = status;
    crew_stop(server);
}

void server_drain(struct server *server, int64_t deadline_ns)
{
    if (server->phase == SERVER_STOPPED) {
        return;
    }
    server->phase = SERVER_DRAINING;
    server->shutdown_deadline_ns = deadline_ns;
    LIST_FOR_EACH (at, &server->connections) {
        connection_update_reading(
            CONTAINER_OF(at, struct connection, node)); /* what was received is answered, no more */
    }
    waiters_drain(server);
    cluster_retire(server->cluster);
    env_wake(server->env);
}

void server_shutdown(struct server *server)
{
    if (server->phase == SERVER_STOPPED) {
        return;
    }
    int64_t now_ns = server_now_ns(server);
    bool again = server->phase == SERVER_DRAINING;
    if (server->listener != NULL) {
        env_listener_close(server->env, server->listener);
        server->listener = NULL;
    }
    server_drain(server, again ? now_ns : now_ns + server->config.shutdown_timeout_s * 1000000000);
    crew_drain(server);
    env_log(server->env, ENV_LOG_INFO, "stopping: answering %zu clients first", crew_clients(server));
}

void server_destroy(struct server *server)
{
    if (server == NULL) {
        return;
    }
    crew_destroy(server);
    env_set_turn_hook(server->env, NULL, NULL);
    env_timer_stop(server->env, &server->cron);
    if (server->listener != NULL) {
        env_listener_close(server->env, server->listener);
    }
    LIST_FOR_EACH_SAFE (at, after, &server->connections) {
        connection_close(CONTAINER_OF(at, struct connection, node));
    }
    cluster_destroy(server->cluster);
    rounds_destroy(server);
    feeds_destroy(server);
    service_watches_destroy(server);
    txn_clients_destroy(server);
    txn_sessions_destroy(server);
    lock_clients_destroy(server);
    session_clients_destroy(server);
    command_arguments_deinit(&server->session_arguments);
    free(server->txn_positions);
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
    command_arguments_deinit(&server->script_arguments);
    script_peers_destroy(server);
    channels_deinit(&server->channels);
    buffer_deinit(&server->encoded[0]);
    buffer_deinit(&server->encoded[1]);
    buffer_deinit(&server->event_name);
    buffer_deinit(&server->behind_exec);
    buffer_deinit(&server->scratch);
    config_deinit(&server->config);
    workers_destroy(server->workers);
    free(server->crew_quiet);
    free(server->crew_workers);
    free(server->parts);
    free(server->others);
    free(server->read_buffer);
    free(server->directory);
    free(server->worker_directory);
    free(server);
}

void server_apply_config(struct server *server)
{
    slowlog_trim(&server->slowlog, (size_t)server->config.slowlog_max_len);
    server->events.configured(server->owner, server->env, &server->config);
    crew_tell_config(server);
    pubsub_configured(server);
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

int server_port(const struct server *server) { return server->port; }

uint64_t server_memory_bytes(struct server *server)
{
    if (!server->memory_fresh) {
        struct shard_stats stats;
        cluster_stats(server->cluster, &stats);
        server->memory_bytes = stats.machine.memory_bytes + stats.pending_bytes;
        server->memory_fresh = true;
    }
    return server->memory_bytes;
}

void server_shard_stats(const struct server *server, struct shard_stats *ret_stats)
{
    cluster_stats(server->cluster, ret_stats);
}

uint64_t server_digest(const struct server *server) { return cluster_digest(server->cluster); }

const struct cluster *server_cluster(const struct server *server) { return server->cluster; }

static const struct server *owner_of(const struct server *server, uint32_t shard)
{
    uint32_t owner = shard % server->worker_count;
    return owner == 0 ? server : server->crew[owner];
}

const struct cluster *server_cluster_of(const struct server *server, uint32_t shard)
{
    return owner_of(server, shard)->cluster;
}

uint64_t server_txn_attempts_of(const struct server *server, uint32_t shard)
{
    return owner_of(server, shard)->txn_attempts;
}
