/* COHORT.STATUS: this node, its replicas of all shards, and the nodes that it knows. `cohort status` asks every node
 * and puts the answers together. */
#include "server/local.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>

enum { SECOND_NS = 1000000000 };

static void reply_number(struct resp_writer *reply, const char *name, uint64_t value)
{
    resp_bulk_string(reply, name);
    resp_integer(reply, (int64_t)value);
}

static void reply_text(struct resp_writer *reply, const char *name, const char *text)
{
    resp_bulk_string(reply, name);
    resp_bulk_string(reply, text);
}

static void reply_id(struct resp_writer *reply, const char *name, const struct id128 *id)
{
    char digits[ID128_DIGITS + 1];
    id128_format(id, digits);
    resp_bulk_string(reply, name);
    if (id128_is_zero(id)) {
        resp_null(reply);
    } else {
        resp_bulk_string(reply, digits);
    }
}

/* ---- replicas ---- */

/* What this node knows of one group. The numbers of the log are nil where it has none. */
static void reply_replica(struct resp_writer *reply, uint32_t shard, const struct cluster_replica *replica,
                          const uint64_t *voters, size_t voter_count)
{
    const struct shard_stats *stats = &replica->stats;
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"commit", stats->committed_index},        {"applied", stats->applied_index}, {"last", stats->last_index},
        {"snapshot_index", stats->snapshot_index}, {"keys", stats->machine.keys},
    };
    const size_t count = sizeof(numbers) / sizeof(numbers[0]);
    resp_map(reply, count + 5);
    reply_number(reply, "shard", shard);
    reply_text(reply, "role", !replica->here ? "none" : replica->leading ? "leader" : "follower");
    reply_number(reply, "leader", replica->leader);
    reply_number(reply, "term", replica->term);
    for (size_t i = 0; i < count; i++) {
        resp_bulk_string(reply, numbers[i].name);
        if (replica->here) {
            resp_integer(reply, (int64_t)numbers[i].value);
        } else {
            resp_null(reply);
        }
    }
    resp_bulk_string(reply, "voters");
    resp_array(reply, voter_count);
    for (size_t i = 0; i < voter_count; i++) {
        resp_integer(reply, (int64_t)voters[i]);
    }
}

/* The meta group: nil in a cluster of one, which has none. */
static void reply_meta(struct local_call *call, const struct cluster_view *view)
{
    resp_bulk_string(call->reply, "meta");
    if (view == NULL || call->server->options.founder_count == 0) {
        resp_null(call->reply);
        return;
    }
    uint64_t nodes[PLACEMENT_MAXIMUM_NODES];
    uint64_t voters[PLACEMENT_MAXIMUM_REPLICAS];
    size_t node_count = members_placeable(view->members, nodes);
    size_t voter_count = placement_meta_voters(nodes, node_count, voters);
    struct cluster_replica replica;
    round_replica(call->server, call->round, 0, &replica);
    reply_replica(call->reply, 0, &replica, voters, voter_count);
}

static void reply_shards(struct local_call *call, const struct cluster_view *view)
{
    uint32_t count = view == NULL ? 0 : view->members->placement.shard_count;
    resp_bulk_string(call->reply, "shards");
    resp_array(call->reply, count);
    for (uint32_t shard = 1; shard <= count; shard++) {
        const struct placement_shard *place = &view->members->placement.shards[shard - 1];
        struct cluster_replica replica;
        round_replica(call->server, call->round, shard, &replica);
        reply_replica(call->reply, shard, &replica, place->voters, place->voter_count);
    }
}

/* ---- nodes ---- */

static const char *state_text(enum member_state state)
{
    switch (state) {
    case MEMBER_JOINING: return "joining";
    case MEMBER_ACTIVE: return "active";
    case MEMBER_LEAVING: return "leaving";
    }
    return "awaited";
}

/* `up` is NULL before the cluster is founded. */
static void reply_node(struct resp_writer *reply, const struct member *node, const bool *up)
{
    resp_map(reply, 7);
    reply_number(reply, "node", node->id);
    reply_text(reply, "state", up == NULL ? "awaited" : state_text(node->state));
    reply_text(reply, "host", node->client.host);
    reply_number(reply, "port", node->client.port);
    reply_number(reply, "peer_port", node->peer.port);
    reply_id(reply, "incarnation", &node->incarnation);
    resp_bulk_string(reply, "up");
    if (up == NULL) {
        resp_null(reply);
    } else {
        resp_boolean(reply, *up);
    }
}

/* Before the cluster is founded: those that it waits for. */
static void reply_nodes(struct local_call *call, const struct cluster_view *view)
{
    const struct server_options *options = &call->server->options;
    const struct member *nodes = view == NULL ? options->founders : view->members->nodes;
    size_t count = view == NULL ? options->founder_count : view->members->count;
    resp_bulk_string(call->reply, "nodes");
    resp_array(call->reply, count);
    for (size_t i = 0; i < count; i++) {
        reply_node(call->reply, &nodes[i], view == NULL ? NULL : &view->up[i]);
    }
}

void local_status(struct local_call *call)
{
    struct server *server = call->server;
    struct resp_writer *reply = call->reply;
    struct cluster_view look;
    struct server_part *part = memory_allocate_zeroed(1, sizeof(*part));
    const struct cluster_view *view = cluster_look(server->cluster, &look) ? &look : NULL;
    server_part_sum(server, call->round, part);
    const struct shard_stats stats = part->stats;
    resp_map(reply, 14);
    reply_text(reply, "version", server->options.version);
    reply_number(reply, "node", server->options.node_id);
    reply_text(reply, "incarnation", server->incarnation);
    reply_number(reply, "uptime_s", (uint64_t)((env_monotonic_ns(server->env) - server->began_ns) / SECOND_NS));
    reply_number(reply, "clients", part->connections);
    reply_number(reply, "keys", stats.machine.keys);
    reply_number(reply, "memory_bytes", stats.machine.memory_bytes);
    reply_number(reply, "log_bytes", stats.log.live_bytes);
    reply_number(reply, "snapshot_time_s", (uint64_t)(stats.snapshot_wall_ms / 1000));
    reply_id(reply, "cluster", view == NULL ? &(struct id128){0} : &view->members->cluster);
    reply_number(reply, "replicas", view == NULL ? server->options.replicas : view->members->replicas);
    free(part);
    reply_meta(call, view);
    reply_shards(call, view);
    reply_nodes(call, view);
}
