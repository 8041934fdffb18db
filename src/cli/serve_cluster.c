#include "cli/serve_cluster.h"

#include "base/assert.h"
#include "cli/cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SHARDS_ALONE = 1, SHARDS_WITH_PEERS = 8, REPLICAS_WITH_PEERS = 3 };

#define LISTEN_DEFAULT "127.0.0.1:6379"

__attribute__((format(printf, 3, 4))) static int refuse(char ret_message[static SERVE_CLUSTER_MESSAGE_BYTES],
                                                        int exit_code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(ret_message, SERVE_CLUSTER_MESSAGE_BYTES, format, arguments);
    va_end(arguments);
    return exit_code;
}

static void take_member_address(const struct member_address *address, struct host_port *ret_at)
{
    memcpy(ret_at->host, address->host, sizeof(ret_at->host));
    ret_at->port = address->port;
}

/* `own`: where the list of peers has this node; NULL without one. */
static int take_listen(struct serve_cluster *cluster, const struct member *own, char *ret_message)
{
    if (cluster->listen == NULL && own != NULL) {
        take_member_address(&own->client, &cluster->listen_at);
        return CLI_CONTINUE;
    }
    const char *text = cluster->listen == NULL ? LISTEN_DEFAULT : cluster->listen;
    if (!host_port_parse(slice_from_string(text), &cluster->listen_at)) {
        return refuse(ret_message, EX_USAGE, "--listen %s: HOST:PORT is needed, such as 127.0.0.1:6379 or [::1]:6379",
                      text);
    }
    if (own != NULL && cluster->listen_at.port == 0) {
        return refuse(ret_message, EX_USAGE,
                      "--listen %s: with --peers the port must not be 0, for the others must know it", text);
    }
    return CLI_CONTINUE;
}

static int take_peer_listen(struct serve_cluster *cluster, const struct member *own, char *ret_message)
{
    if (cluster->peer_listen == NULL) {
        take_member_address(&own->peer, &cluster->peer_at);
        return CLI_CONTINUE;
    }
    if (!host_port_parse(slice_from_string(cluster->peer_listen), &cluster->peer_at) || cluster->peer_at.port == 0 ||
        !peers_normalize_host(cluster->peer_at.host)) {
        return refuse(ret_message, EX_USAGE,
                      "--peer-listen %s: a numeric address and a port are needed, such as 127.0.0.1:16379",
                      cluster->peer_listen);
    }
    return CLI_CONTINUE;
}

static bool is_at(const struct member_address *address, const struct host_port *at)
{
    return address->port == at->port && strcmp(address->host, at->host) == 0;
}

/* Another node could not listen there, and this one would be taken for it. */
static int check_others(const struct serve_cluster *cluster, uint64_t id, char *ret_message)
{
    const struct {
        const char *option;
        const struct host_port *at;
    } own[] = {{"--listen", &cluster->listen_at}, {"--peer-listen", &cluster->peer_at}};
    for (size_t i = 0; i < 2 * cluster->founders.count; i++) {
        const struct member *node = &cluster->founders.nodes[i / 2];
        const struct host_port *at = own[i % 2].at;
        if (node->id != id && (is_at(&node->client, at) || is_at(&node->peer, at))) {
            return refuse(ret_message, EX_USAGE,
                          "%s %s:%d: that is where --peers has node %" PRIu64 "; correct it, or --id",
                          own[i % 2].option, at->host, at->port, node->id);
        }
    }
    return CLI_CONTINUE;
}

/* What others can reach they can also change: nodes have neither password nor encryption among themselves. */
static int check_protection(const struct serve_cluster *cluster, char *ret_message)
{
    for (size_t i = 0; i < cluster->founders.count; i++) {
        const struct member *node = &cluster->founders.nodes[i];
        if (!peers_is_loopback(node->peer.host)) {
            return refuse(ret_message, EX_CONFIG,
                          "--peers: node %" PRIu64 " is at %s, not on this machine, and nodes speak to each other "
                          "without password and encryption; give --protected-mode no if all that can reach their "
                          "ports is trusted",
                          node->id, node->peer.host);
        }
    }
    if (!peers_is_loopback(cluster->peer_at.host)) {
        return refuse(ret_message, EX_CONFIG,
                      "--peer-listen %s can be reached from other machines, and nodes speak to each other without "
                      "password and encryption; give --protected-mode no if all that can reach it is trusted",
                      cluster->peer_listen);
    }
    return CLI_CONTINUE;
}

static int take_reads(const struct serve_cluster *cluster, bool *ret_lease, char *ret_message)
{
    const char *reads = cluster->reads == NULL ? "majority" : cluster->reads;
    *ret_lease = strcmp(reads, "lease") == 0;
    if (!*ret_lease && strcmp(reads, "majority") != 0) {
        return refuse(ret_message, EX_USAGE, "--reads %s: majority or lease is needed", reads);
    }
    return CLI_CONTINUE;
}

static int take_alone(struct serve_cluster *cluster, struct server_options *options, char *ret_message)
{
    const char *without = cluster->replicas != 0 ? "--replicas" : cluster->peer_listen != NULL ? "--peer-listen" : NULL;
    if (without != NULL) {
        return refuse(ret_message, EX_USAGE, "%s means nothing without --peers, which names the nodes of a cluster",
                      without);
    }
    options->node_id = cluster->id == 0 ? 1 : (uint64_t)cluster->id;
    options->shards = cluster->shards == 0 ? SHARDS_ALONE : (uint32_t)cluster->shards;
    options->replicas = 1;
    return take_listen(cluster, NULL, ret_message);
}

static int take_with_peers(struct serve_cluster *cluster, bool protected_mode, struct server_options *options,
                           char *ret_message)
{
    char problem[PEERS_MESSAGE_BYTES];
    if (peers_parse(slice_from_string(cluster->peers), &cluster->founders, problem) != STATUS_OK) {
        return refuse(ret_message, EX_USAGE, "--peers: %s", problem);
    }
    if (cluster->id == 0) {
        return refuse(ret_message, EX_USAGE, "--id N is needed with --peers: which of its nodes this one is");
    }
    const struct member *own = peers_find(&cluster->founders, (uint64_t)cluster->id);
    if (own == NULL) {
        return refuse(ret_message, EX_USAGE,
                      "--id %" PRId64 ": --peers does not name it; the list has all nodes, this one too", cluster->id);
    }
    int code = take_listen(cluster, own, ret_message);
    code = code == CLI_CONTINUE ? take_peer_listen(cluster, own, ret_message) : code;
    code = code == CLI_CONTINUE ? check_others(cluster, own->id, ret_message) : code;
    code = code == CLI_CONTINUE && protected_mode ? check_protection(cluster, ret_message) : code;
    options->node_id = own->id;
    options->founders = cluster->founders.nodes;
    options->founder_count = cluster->founders.count;
    options->shards = cluster->shards == 0 ? SHARDS_WITH_PEERS : (uint32_t)cluster->shards;
    options->replicas = cluster->replicas == 0 ? REPLICAS_WITH_PEERS : (uint32_t)cluster->replicas;
    options->peer_host = cluster->peer_at.host;
    options->peer_port = cluster->peer_at.port;
    return code;
}

int serve_cluster_take(struct serve_cluster *cluster, bool protected_mode, struct server_options *options,
                       char ret_message[static SERVE_CLUSTER_MESSAGE_BYTES])
{
    int code = take_reads(cluster, &options->lease_reads, ret_message);
    if (code == CLI_CONTINUE) {
        code = cluster->peers == NULL ? take_alone(cluster, options, ret_message)
                                      : take_with_peers(cluster, protected_mode, options, ret_message);
    }
    options->host = cluster->listen_at.host;
    options->port = cluster->listen_at.port;
    return code;
}
