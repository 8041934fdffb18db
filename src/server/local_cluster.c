/* CLUSTER, READONLY and READWRITE: a single node answers as a cluster of one that leads its one shard. */
#include "base/assert.h"
#include "base/number.h"
#include "cluster/cluster_reply.h"
#include "server/local.h"

enum { PEER_PORT_DISTANCE = 10000 };

/* Where clients find it: an address to listen on may be a wildcard. */
static const char *client_host(const char *listen_host)
{
    if (strcmp(listen_host, "0.0.0.0") == 0) {
        return "127.0.0.1";
    }
    return strcmp(listen_host, "::") == 0 ? "::1" : listen_host;
}

/* Calls `write` with what this node knows. */
static void answer(struct local_call *call, void (*write)(const struct cluster_view *view, struct resp_writer *reply))
{
    struct server *server = call->server;
    struct members *members = members_create();
    struct member self = {.id = server->options.node_id};
    struct id128 incarnation;
    int port = server_port(server);
    int peer_port = port + PEER_PORT_DISTANCE > UINT16_MAX ? port : port + PEER_PORT_DISTANCE;
    struct slice host = slice_from_string(client_host(server->options.host));
    bool known = id128_parse(server->incarnation, &incarnation) && member_address_make(&self.client, host, port) &&
                 member_address_make(&self.peer, host, peer_port) &&
                 members_make(members, &incarnation, 1, 1, &self, 1) == STATUS_OK;
    if (known) {
        const uint64_t leader = server->options.node_id;
        const bool up = true;
        struct cluster_view view = {members, leader, &leader, &up, 0, 0};
        write(&view, call->reply);
    } else { /* it has stopped listening */
        resp_error(call->reply, "CLUSTERDOWN this node is stopping; ask another node");
    }
    members_destroy(members);
}

void local_cluster_slots(struct local_call *call) { answer(call, cluster_reply_slots); }
void local_cluster_shards(struct local_call *call) { answer(call, cluster_reply_shards); }
void local_cluster_nodes(struct local_call *call) { answer(call, cluster_reply_nodes); }
void local_cluster_info(struct local_call *call) { answer(call, cluster_reply_info); }
void local_cluster_myid(struct local_call *call) { answer(call, cluster_reply_myid); }

void local_cluster_keyslot(struct local_call *call) { resp_integer(call->reply, key_slot(call->argv[2])); }

void local_cluster_countkeysinslot(struct local_call *call)
{
    int64_t slot = 0;
    if (!number_parse_int64(call->argv[2], &slot)) {
        resp_error(call->reply, "ERR value is not an integer or out of range");
    } else if (slot < 0 || slot >= KEY_SLOTS) {
        resp_error(call->reply, "ERR Invalid slot");
    } else {
        resp_integer(call->reply, (int64_t)shard_count_in_slot(call->server->shard, (uint16_t)slot));
    }
}

void local_readonly(struct local_call *call)
{
    call->connection->readonly = true;
    resp_status(call->reply, "OK");
}

void local_readwrite(struct local_call *call)
{
    call->connection->readonly = false;
    resp_status(call->reply, "OK");
}
