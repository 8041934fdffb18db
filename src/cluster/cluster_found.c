/* How nodes become a cluster, and a node takes part: its groups, and the members that the meta group keeps. */
#include "cluster/cluster_internal.h"

#include "base/assert.h"
#include "cluster/transport.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- founding ---- */

static void founding_send(void *owner, uint64_t node, struct slice payload)
{
    struct cluster *cluster = owner;
    struct peer *peer = peer_find(cluster, node);
    if (peer != NULL && peer->generation != 0 &&
        transport_send(cluster->transport, node, peer->generation, TRANSPORT_URGENT, NODE_FOUNDING, &payload, 1) !=
            STATUS_OK) {
        env_log(cluster->env, ENV_LOG_WARNING, "node %" PRIu64 " could not be told about the founding", node);
    }
    env_wake(cluster->env);
}

static void founding_founded(void *owner, const struct founding_record *record)
{
    (void)record;
    env_wake(((struct cluster *)owner)->env); /* the groups are opened in the turn */
}

static void founding_refused(void *owner, enum status status, const char *line) { cluster_fail(owner, status, line); }

static const struct founding_events founding_events = {founding_send, founding_founded, founding_refused};

/* Tells the transport which incarnations the peers must have, as far as that is known. */
static enum status expect_peers(struct cluster *cluster)
{
    const struct founding_record *record = founding_record(cluster->founding);
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < record->count && status == STATUS_OK; i++) {
        const struct member *node = &record->nodes[i];
        if (node->id != cluster->options.node) {
            status = transport_set_peer(cluster->transport, node->id, node->peer.host, node->peer.port,
                                        founding_expected(cluster->founding, node->id));
        }
    }
    cluster->expected = founding_state(cluster->founding);
    return status;
}

void cluster_peer_up(struct cluster *cluster, uint64_t node, const struct id128 *incarnation)
{
    founding_peer_up(cluster->founding, node, incarnation);
}

/* Until the cluster is founded, a node may come back with another data folder (founding.h). */
static void forget_incarnation(struct cluster *cluster, uint64_t node)
{
    const struct founding_record *record = founding_record(cluster->founding);
    for (uint32_t i = 0; i < record->count; i++) {
        const struct member *member = &record->nodes[i];
        if (member->id == node) {
            transport_remove_peer(cluster->transport, node);
            enum status status =
                transport_set_peer(cluster->transport, node, member->peer.host, member->peer.port, NULL);
            ASSERT(status == STATUS_OK); /* it was a peer */
        }
    }
}

void cluster_peer_down(struct cluster *cluster, uint64_t node)
{
    founding_peer_down(cluster->founding, node);
    if (founding_state(cluster->founding) != FOUNDING_FOUNDED) {
        forget_incarnation(cluster, node);
    }
}

void cluster_peer_refused(struct cluster *cluster, uint64_t node, enum transport_reason reason, bool by_peer)
{
    if (by_peer && reason == TRANSPORT_INCARNATION) {
        founding_peer_refuses(cluster->founding, node);
    } else if (by_peer && reason == TRANSPORT_COPY) { /* it stays so: this process will never know what it lacks */
        char line[CLUSTER_MESSAGE_BYTES];
        uint64_t self = cluster->options.node;
        (void)snprintf(line, sizeof(line), "node %" PRIu64 " refuses it: " MEMBERS_COPY_FORMAT, node, self, self, self);
        cluster_fail(cluster, STATUS_INVALID, line);
    }
}

enum status cluster_founding_frame(struct cluster *cluster, uint64_t node, struct slice payload)
{
    return founding_receive(cluster->founding, node, payload);
}

/* ---- the groups ---- */

static enum status open_group(struct cluster *cluster, uint32_t number, const uint64_t *voters, size_t voter_count,
                              char ret_message[static CLUSTER_MESSAGE_BYTES])
{
    struct shard_options options = {
        .group = number,
        .member = cluster->options.node,
        .voters = voters,
        .voter_count = voter_count,
        .directory = cluster->worker_directory,
        .snapshot_log_bytes = cluster->options.snapshot_log_bytes,
        .lease_reads = cluster->options.lease_reads,
        .event_classes = &cluster->event_classes,
        .eager = number != 0 && cluster->members->placement.shards[number - 1].leader == cluster->options.node,
    };
    struct lane *lane = lane_of(cluster, number);
    enum status status =
        shard_open(cluster->store, &options, &lane_sink, lane, &lane->local, ret_message, CLUSTER_MESSAGE_BYTES);
    lane->told = status == STATUS_OK ? shard_told_index(lane->local) : NULL;
    return status;
}

static enum status open_meta_group(struct cluster *cluster, char ret_message[static CLUSTER_MESSAGE_BYTES])
{
    uint64_t ids[PLACEMENT_MAXIMUM_NODES];
    uint64_t voters[PLACEMENT_MAXIMUM_REPLICAS];
    size_t count = placement_meta_voters(ids, members_placeable(cluster->members, ids), voters);
    for (size_t i = 0; i < count; i++) {
        if (voters[i] == cluster->options.node) {
            return open_group(cluster, 0, voters, count, ret_message);
        }
    }
    return STATUS_OK;
}

/* ---- the members, kept in the meta group ---- */

static enum status meta_submit(void *owner, const struct command *command, struct requester *requester, uint64_t tag)
{
    return cluster_submit(owner, 0, command, CLUSTER_PLAIN, requester, tag);
}

static bool meta_read_here(void *owner, const struct command *command, struct resp_writer *reply)
{
    return cluster_read_here(owner, 0, command, reply);
}

static void meta_changed(void *owner, const struct members *members)
{
    struct cluster *cluster = owner;
    cluster_take_members(cluster, members);
    for (uint32_t i = 0; i < members->count; i++) {
        transport_set_seen(cluster->transport, members->nodes[i].id, members->nodes[i].start);
    }
    cluster_tell_members(cluster, CLUSTER_TELL_MEMBERS);
}

static void meta_refused(void *owner, enum status status, const char *line) { cluster_fail(owner, status, line); }

static const struct meta_events meta_events = {meta_submit, meta_read_here, meta_changed, meta_refused};

static void open_meta(struct cluster *cluster)
{
    struct meta_options options = {
        .node = cluster->options.node,
        .incarnation = cluster->options.incarnation,
        .lineage = cluster->options.lineage,
        .record = founding_record(cluster->founding),
    };
    cluster->meta = meta_create(cluster->env, &options, &meta_events, cluster);
}

void cluster_turn_meta(struct cluster *cluster)
{
    const struct shard *local = lane_of(cluster, 0)->local;
    if (local != NULL && shard_applied_index(local) != cluster->meta_applied) {
        cluster->meta_applied = shard_applied_index(local);
        meta_applied(cluster->meta);
    }
    meta_turn(cluster->meta);
    if (!cluster->joined && meta_settled(cluster->meta)) {
        cluster->joined = true;
        if (cluster->events.joined != NULL) {
            cluster->events.joined(cluster->owner);
        }
    }
}

enum status cluster_open_groups(struct cluster *cluster, char ret_message[static CLUSTER_MESSAGE_BYTES])
{
    enum status status = STATUS_OK;
    bool several = !cluster_alone(cluster);
    if (several) {
        cluster->balance = leader_balance_create(cluster->options.node, cluster->shard_count);
    }
    if (several && cluster->worker == 0) {
        open_meta(cluster);
        status = open_meta_group(cluster, ret_message);
    }
    for (uint32_t shard = 1; shard <= cluster->shard_count && status == STATUS_OK; shard++) {
        const struct placement_shard *place = &cluster->members->placement.shards[shard - 1];
        if (!lane_of(cluster, shard)->away && placement_votes(place, cluster->options.node)) {
            status = open_group(cluster, shard, place->voters, place->voter_count, ret_message);
        }
    }
    cluster->opened = status == STATUS_OK;
    return status;
}

/* ---- beginning ---- */

static enum status make_members(struct cluster *cluster, char ret_message[static CLUSTER_MESSAGE_BYTES])
{
    const struct cluster_options *options = &cluster->options;
    const struct founding_record *record = founding_record(cluster->founding);
    const struct member *nodes = options->founder_count == 1 ? options->founders : record->nodes;
    cluster->members = members_create();
    enum status status = members_make(cluster->members, &record->cluster, record->shards, record->replicas, nodes,
                                      options->founder_count);
    if (status != STATUS_OK) {
        (void)snprintf(ret_message, CLUSTER_MESSAGE_BYTES, "the cluster's nodes: %s", status_text(status));
    }
    return status;
}

static enum status open_peers(struct cluster *cluster, char ret_message[static CLUSTER_MESSAGE_BYTES])
{
    const struct founding_record *record = founding_record(cluster->founding);
    peers_name(cluster, record->nodes, record->count);
    enum status status = peers_open(cluster, &record->cluster, ret_message);
    if (status == STATUS_OK) {
        status = expect_peers(cluster);
        if (status != STATUS_OK) {
            (void)snprintf(ret_message, CLUSTER_MESSAGE_BYTES,
                           "an address in --peers is none that can be connected to; numeric addresses are needed");
        }
    }
    return status;
}

enum status cluster_open_founding(struct cluster *cluster, char ret_message[static CLUSTER_MESSAGE_BYTES])
{
    const struct cluster_options *options = &cluster->options;
    struct founding_options founding = {
        .directory = cluster->directory,
        .node = options->node,
        .incarnation = options->incarnation,
        .founders = options->founders,
        .founder_count = options->founder_count,
        .shards = options->shards,
        .replicas = options->replicas,
    };
    enum status status =
        founding_create(cluster->env, &founding, &founding_events, cluster, &cluster->founding, ret_message);
    if (status == STATUS_OK) {
        status = make_members(cluster, ret_message);
    }
    return status == STATUS_OK && !cluster_alone(cluster) ? open_peers(cluster, ret_message) : status;
}

void cluster_found(struct cluster *cluster)
{
    enum founding_state state = founding_state(cluster->founding);
    if (!cluster_alone(cluster) && state != cluster->expected && expect_peers(cluster) != STATUS_OK) {
        return;
    }
    if (state == FOUNDING_FOUNDED && cluster->begun && !cluster->opened) {
        char message[CLUSTER_MESSAGE_BYTES] = "";
        enum status status = cluster_open_groups(cluster, message);
        if (status != STATUS_OK) {
            cluster_fail(cluster, status, message);
            return;
        }
        cluster_tell_members(cluster, CLUSTER_TELL_OPEN);
    }
}
