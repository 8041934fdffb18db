/* The start of a node: its folder, its listener, its part of the cluster; and of its other workers. */
#include "base/hash.h"
#include "base/memory.h"
#include "env/listen_advice.h"
#include "server/data_folder.h"
#include "server/figures.h"
#include "server/lock_client.h"
#include "server/pubsub.h"
#include "server/script_home.h"
#include "server/script_peers.h"
#include "server/server_state.h"
#include "server/session_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void cluster_failed(void *owner, enum status status, const char *what) { crew_fail(owner, status, what); }

static void cluster_joined(void *owner) { data_folder_joined(owner); }

/* Of a client elsewhere: it is counted there, here is what it took. */
static int64_t take_time(struct server *server, const struct command *command)
{
    (void)server_now_ns(server); /* the first of a turn begins it */
    int64_t now_ns = env_monotonic_ns(server->env);
    int64_t duration_ns = now_ns - server->mark_ns;
    server->mark_ns = now_ns;
    figures_part(server, command_called(command)->id, duration_ns, false);
    return duration_ns;
}

static bool cluster_visited(void *owner, const struct command *command, int64_t *ret_duration_ns)
{
    struct server *server = owner;
    *ret_duration_ns = take_time(server, command);
    return !command->spec->internal && figures_is_slow(server, command, *ret_duration_ns);
}

/* Its client is known at its own node, and shown there; here it is the node. */
static __attribute__((noinline)) void keep_served(struct server *server, uint64_t node, const struct command *command,
                                                  int64_t duration_ns)
{
    struct cluster_view view;
    const struct member *member = cluster_look(server->cluster, &view) ? members_find(view.members, node) : NULL;
    char address[CONNECTION_NAME_BYTES] = "";
    if (member != NULL) {
        (void)snprintf(address, sizeof(address), "%.57s:%u", member->client.host, (unsigned)member->client.port);
    }
    figures_slow(server, command, duration_ns, address, "");
}

static int64_t cluster_served(void *owner, uint64_t node, const struct command *command)
{
    struct server *server = owner;
    int64_t duration_ns = take_time(server, command);
    if (__builtin_expect(!command->spec->internal && figures_is_slow(server, command, duration_ns), 0)) {
        keep_served(server, node, command, duration_ns);
    }
    return duration_ns;
}

static uint32_t cluster_slow_us(void *owner)
{
    const struct server *server = owner;
    int64_t slow_us = server->config.slowlog_log_slower_than_us;
    return slow_us < 0 || slow_us > UINT32_MAX ? UINT32_MAX : (uint32_t)slow_us;
}

static void cluster_met(void *owner, uint64_t node, bool up) { script_peers_met(owner, node, up); }

static enum status cluster_noted(void *owner, uint64_t node, struct slice note)
{
    return script_peers_noted(owner, node, note);
}

static void cluster_message(void *owner, const struct message *message, enum cluster_source source)
{
    pubsub_take(owner, message, source);
}

static void cluster_lock_news(void *owner, const struct lock_notice *notice) { lock_client_news(owner, notice); }

/* What was done for others meanwhile, and what the disk took, is no command's time. */
static void cluster_works(void *owner)
{
    struct server *server = owner;
    server->mark_ns = env_monotonic_ns(server->env);
}

static const struct cluster_events cluster_events = {cluster_failed, cluster_joined,  cluster_visited,   cluster_met,
                                                     cluster_noted,  cluster_message, cluster_lock_news, cluster_works,
                                                     cluster_served, cluster_slow_us};

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
    bool listens = server->options.host != NULL; /* else nobody can go where it says */
    struct slice host = slice_from_string(listens ? client_host(server->options.host) : "127.0.0.1");
    int port = listens ? server_port(server) : 1;
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
        .turn_steps = server->config.turn_steps,
        .lease_reads = given->lease_reads,
        .scripts = script_home(),
        .workers = server->workers,
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
    if (options.scripts == NULL) {
        (void)snprintf(ret_message, SERVER_MESSAGE_BYTES,
                       "the memory of scripts, %d MiB at %#lx, is taken by something else in this process; start the "
                       "program without what was loaded into it (LD_PRELOAD)",
                       SCRIPT_REGION_BYTES >> 20, (unsigned long)SCRIPT_ADDRESS);
        return STATUS_BUSY;
    }
    server->shards = options.shards;
    session_clients_init(server);
    server->txn_positions = memory_allocate_zeroed(server->shards, sizeof(*server->txn_positions));
    return cluster_create(server->env, &options, &cluster_events, server, &server->cluster, ret_message);
}

static enum status open_listener(struct server *server, char ret_message[static SERVER_MESSAGE_BYTES])
{
    const struct server_options *options = &server->options;
    enum status status =
        env_listen(server->env, options->host, options->port, &accept_events, server, &server->listener);
    if (status == STATUS_OK) {
        server->port = env_listener_port(server->env, server->listener);
        return STATUS_OK;
    }
    char advice[LISTEN_ADVICE_BYTES];
    listen_advice(status, "--listen", advice);
    (void)snprintf(ret_message, SERVER_MESSAGE_BYTES, "cannot listen on %s:%d: %s", options->host, options->port,
                   advice);
    return status;
}

static enum status open_all(struct server *server, char ret_message[static SERVER_MESSAGE_BYTES])
{
    enum status status = data_folder_open(server, ret_message);
    if (status != STATUS_OK) {
        return status;
    }
    status = server->options.host == NULL ? STATUS_OK : open_listener(server, ret_message);
    if (status != STATUS_OK) {
        return status;
    }
    status = open_cluster(server, ret_message);
    if (status != STATUS_OK) {
        return status;
    }
    pubsub_configured(server);
    if (server->worker_count > 1) {
        crew_start(server);
        return STATUS_OK;
    }
    server_ready(server);
    return data_folder_complete(server, ret_message);
}

static struct server *server_new(struct env *env, const struct server_options *options,
                                 const struct server_events *events, void *owner, uint32_t worker)
{
    struct server *server = memory_allocate_zeroed(1, sizeof(*server));
    server->env = env;
    server->options = *options;
    server->events = *events;
    server->owner = owner;
    server->worker = worker;
    server->worker_count = options->worker_count == 0 ? 1 : options->worker_count;
    server->directory = memory_copy_text(options->directory);
    server->worker_directory = data_folder_of_worker(options->directory, worker);
    server->share_of_turn = SERVER_SHARE_MAXIMUM;
    server->read_buffer = memory_allocate(SERVER_READ_BYTES);
    server->others = memory_allocate_zeroed(server->worker_count, sizeof(*server->others));
    list_init(&server->connections);
    list_init(&server->dirty);
    list_init(&server->resume);
    list_init(&server->slowed);
    script_room_init(&server->script_room);
    list_init(&server->closed);
    list_init(&server->rounds);
    list_init(&server->txns);
    list_init(&server->sessions);
    lock_clients_init(server);
    command_arguments_init(&server->session_arguments);
    command_arguments_init(&server->arguments);
    command_arguments_init(&server->script_arguments);
    script_peers_init(server);
    slowlog_init(&server->slowlog, worker, server->worker_count);
    server->began_ns = env_monotonic_ns(env);
    server->refusals_ns = server->began_ns;
    server->began_wall_ms = env_wall_ms(env);
    return server;
}

struct server *server_create_worker(struct server *first, uint32_t worker)
{
    struct server *server =
        server_new(first->options.workers[worker], &first->options, &first->events, first->owner, worker);
    config_copy(&server->config, &first->config);
    memcpy(server->run_id, first->run_id, sizeof(server->run_id));
    channels_init(&server->channels, hash_bytes(0, server->run_id, sizeof(server->run_id)));
    memcpy(server->incarnation, first->incarnation, sizeof(server->incarnation));
    server->node_file = first->node_file;
    server->port = first->port;
    server->workers = first->crew_workers[worker];
    return server;
}

enum status server_open_worker(struct server *server, char ret_message[static SERVER_MESSAGE_BYTES])
{
    enum status status = open_cluster(server, ret_message);
    if (status == STATUS_CORRUPT) {
        data_folder_advise(server, ret_message);
    }
    server_begin_turns(server);
    return status;
}

enum status server_create(struct env *env, const struct server_options *options, struct config *config,
                          const struct server_events *events, void *owner, struct server **ret_server,
                          char ret_message[static SERVER_MESSAGE_BYTES])
{
    struct server *server = server_new(env, options, events, owner, 0);
    server->config = *config;
    *config = (struct config){0};
    make_run_id(server);
    channels_init(&server->channels, hash_bytes(0, server->run_id, sizeof(server->run_id)));
    if (server->worker_count > 1) {
        server->crew = memory_allocate_zeroed(server->worker_count, sizeof(struct server *));
        server->crew_quiet = memory_allocate_zeroed(server->worker_count, sizeof(bool));
        server->crew_workers = memory_allocate_zeroed(server->worker_count, sizeof(struct workers *));
        workers_create(options->workers, server->worker_count, server->crew_workers);
        server->workers = server->crew_workers[0];
    }
    ret_message[0] = '\0';
    enum status status = open_all(server, ret_message);
    if (status == STATUS_CORRUPT) {
        data_folder_advise(server, ret_message);
    }
    if (status != STATUS_OK) {
        server_destroy(server);
        return status;
    }
    server_begin_turns(server);
    *ret_server = server;
    return STATUS_OK;
}
