#include "cluster/cluster_reply.h"

#include "base/assert.h"

#include <inttypes.h>
#include <stdio.h>

struct node_id {
    char text[CLUSTER_NODE_ID_DIGITS + 1];
};

static struct node_id node_id(const struct cluster_view *view, uint64_t node)
{
    struct node_id id;
    id128_format(&view->members->cluster, id.text);
    (void)snprintf(id.text + ID128_DIGITS, sizeof(id.text) - ID128_DIGITS, "%08" PRIx32, (uint32_t)node);
    return id;
}

static bool is_up(const struct cluster_view *view, const struct member *node)
{
    return node->id == view->self || view->up[node - view->members->nodes];
}

static bool id_is_up(const struct cluster_view *view, uint64_t id)
{
    const struct member *node = members_find(view->members, id);
    return node != NULL && is_up(view, node);
}

/* Who leads the shard as far as is known and up, or 0. */
static uint64_t known_leader(const struct cluster_view *view, uint32_t shard)
{
    uint64_t leader = view->leaders[shard - 1];
    return id_is_up(view, leader) ? leader : 0;
}

/* The node to ask about the shard. */
static const struct member *shown_leader(const struct cluster_view *view, uint32_t shard)
{
    const struct placement_shard *place = &view->members->placement.shards[shard - 1];
    uint64_t leader = known_leader(view, shard);
    leader = leader == 0 && id_is_up(view, place->leader) ? place->leader : leader;
    for (size_t i = 0; i < place->voter_count && leader == 0; i++) {
        leader = id_is_up(view, place->voters[i]) ? place->voters[i] : 0;
    }
    return members_find(view->members, leader == 0 ? place->leader : leader);
}

/* The voters of the shard that are not the one shown as its leader; SLOTS tells only of those that are up. */
static size_t list_followers(const struct cluster_view *view, uint32_t shard, bool only_up,
                             const struct member *ret_nodes[static PLACEMENT_MAXIMUM_REPLICAS])
{
    const struct placement_shard *place = &view->members->placement.shards[shard - 1];
    const struct member *leader = shown_leader(view, shard);
    size_t count = 0;
    for (size_t i = 0; i < place->voter_count; i++) {
        const struct member *node = members_find(view->members, place->voters[i]);
        if (node != leader && (!only_up || is_up(view, node))) {
            ret_nodes[count++] = node;
        }
    }
    return count;
}

/* ---- SLOTS ---- */

static void slots_node(const struct cluster_view *view, const struct member *node, struct resp_writer *reply)
{
    resp_array(reply, 4);
    resp_bulk_string(reply, node->client.host);
    resp_integer(reply, node->client.port);
    resp_bulk_string(reply, node_id(view, node->id).text);
    resp_map(reply, 0); /* Redis: further names of the node */
}

void cluster_reply_slots(const struct cluster_view *view, struct resp_writer *reply)
{
    uint32_t shards = view->members->placement.shard_count;
    resp_array(reply, shards);
    for (uint32_t shard = 1; shard <= shards; shard++) {
        const struct member *followers[PLACEMENT_MAXIMUM_REPLICAS];
        size_t count = list_followers(view, shard, true, followers);
        struct slot_range range = slot_range(shard, shards);
        resp_array(reply, 3 + count);
        resp_integer(reply, range.first);
        resp_integer(reply, range.last);
        slots_node(view, shown_leader(view, shard), reply);
        for (size_t i = 0; i < count; i++) {
            slots_node(view, followers[i], reply);
        }
    }
}

/* ---- SHARDS ---- */

static void shards_node(const struct cluster_view *view, const struct member *node, const char *role,
                        struct resp_writer *reply)
{
    resp_map(reply, 7);
    resp_bulk_string(reply, "id");
    resp_bulk_string(reply, node_id(view, node->id).text);
    resp_bulk_string(reply, "port");
    resp_integer(reply, node->client.port);
    resp_bulk_string(reply, "ip");
    resp_bulk_string(reply, node->client.host);
    resp_bulk_string(reply, "endpoint");
    resp_bulk_string(reply, node->client.host);
    resp_bulk_string(reply, "role");
    resp_bulk_string(reply, role);
    resp_bulk_string(reply, "replication-offset");
    resp_integer(reply, 0); /* logs are compared by `cohort status`; here is nothing to choose a replica by */
    resp_bulk_string(reply, "health");
    resp_bulk_string(reply, is_up(view, node) ? "online" : "failed");
}

void cluster_reply_shards(const struct cluster_view *view, struct resp_writer *reply)
{
    uint32_t shards = view->members->placement.shard_count;
    resp_array(reply, shards);
    for (uint32_t shard = 1; shard <= shards; shard++) {
        const struct member *followers[PLACEMENT_MAXIMUM_REPLICAS];
        size_t count = list_followers(view, shard, false, followers);
        struct slot_range range = slot_range(shard, shards);
        resp_map(reply, 2);
        resp_bulk_string(reply, "slots");
        resp_array(reply, 2);
        resp_integer(reply, range.first);
        resp_integer(reply, range.last);
        resp_bulk_string(reply, "nodes");
        resp_array(reply, 1 + count);
        shards_node(view, shown_leader(view, shard), "master", reply);
        for (size_t i = 0; i < count; i++) {
            shards_node(view, followers[i], "replica", reply);
        }
    }
}

/* ---- NODES, INFO, MYID ---- */

static void describe_node(const struct cluster_view *view, const struct member *node, struct buffer *out)
{
    uint32_t shards = view->members->placement.shard_count;
    bool up = is_up(view, node);
    buffer_append_format(out, "%s %s:%u@%u %smaster%s - 0 0 %" PRIu64 " %s", node_id(view, node->id).text,
                         node->client.host, (unsigned)node->client.port, (unsigned)node->peer.port,
                         node->id == view->self ? "myself," : "", up ? "" : ",fail?", view->members->epoch,
                         up ? "connected" : "disconnected");
    for (uint32_t shard = 1; shard <= shards; shard++) {
        if (shown_leader(view, shard) == node) {
            struct slot_range range = slot_range(shard, shards);
            buffer_append_format(out, range.first == range.last ? " %u" : " %u-%u", (unsigned)range.first,
                                 (unsigned)range.last);
        }
    }
    buffer_append_byte(out, '\n');
}

void cluster_reply_nodes(const struct cluster_view *view, struct resp_writer *reply)
{
    struct buffer text;
    buffer_init(&text);
    for (uint32_t i = 0; i < view->members->count; i++) {
        describe_node(view, &view->members->nodes[i], &text);
    }
    resp_verbatim(reply, "txt", buffer_slice(&text));
    buffer_deinit(&text);
}

/* Nodes that lead something. */
static uint32_t count_leading(const struct cluster_view *view)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < view->members->count; i++) {
        bool leads = false;
        for (uint32_t shard = 1; shard <= view->members->placement.shard_count; shard++) {
            leads = leads || known_leader(view, shard) == view->members->nodes[i].id;
        }
        count += leads;
    }
    return count;
}

void cluster_reply_info(const struct cluster_view *view, struct resp_writer *reply)
{
    uint32_t shards = view->members->placement.shard_count;
    uint32_t led = 0; /* slots of shards with a leader */
    for (uint32_t shard = 1; shard <= shards; shard++) {
        struct slot_range range = slot_range(shard, shards);
        led += known_leader(view, shard) == 0 ? 0 : range.last - range.first + 1U;
    }
    struct buffer text;
    buffer_init(&text);
    buffer_append_format(
        &text,
        "cluster_state:%s\r\ncluster_slots_assigned:%d\r\ncluster_slots_ok:%" PRIu32 "\r\ncluster_slots_pfail:%" PRIu32
        "\r\ncluster_slots_fail:0\r\ncluster_known_nodes:%" PRIu32 "\r\ncluster_size:%" PRIu32
        "\r\ncluster_current_epoch:%" PRIu64 "\r\ncluster_my_epoch:%" PRIu64 "\r\ncluster_stats_messages_sent:%" PRIu64
        "\r\ncluster_stats_messages_received:%" PRIu64 "\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n",
        led == KEY_SLOTS ? "ok" : "fail", KEY_SLOTS, led, KEY_SLOTS - led, view->members->count, count_leading(view),
        view->members->epoch, view->members->epoch, view->messages_sent, view->messages_received);
    resp_verbatim(reply, "txt", buffer_slice(&text));
    buffer_deinit(&text);
}

void cluster_reply_myid(const struct cluster_view *view, struct resp_writer *reply)
{
    resp_bulk_string(reply, node_id(view, view->self).text);
}
