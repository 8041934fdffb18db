#include "cluster/cluster.h"

#include "base/assert.h"
#include "cluster/cluster_internal.h"
#include "cluster/transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cluster_fail(struct cluster *cluster, enum status status, const char *what)
{
    if (!cluster->failed) {
        cluster->failed = true;
        cluster->events.failed(cluster->owner, status, what);
    }
}

static void store_failed(void *owner, enum status status, const char *what)
{
    char text[CLUSTER_MESSAGE_BYTES];
    (void)snprintf(text, sizeof(text), "the log failed: %.700s: %s", what, status_text(status));
    cluster_fail(owner, status, text);
}

static const struct store_events store_events = {store_failed};

/* ---- beginning and end ---- */

static enum status open_shard(struct cluster *cluster, uint32_t number, char ret_message[static CLUSTER_MESSAGE_BYTES])
{
    const struct placement_shard *place = &cluster->members->placement.shards[number - 1];
    struct shard_options options = {
        .group = number,
        .member = cluster->options.node,
        .voters = place->voters,
        .voter_count = place->voter_count,
        .directory = cluster->worker_directory,
        .snapshot_log_bytes = cluster->options.snapshot_log_bytes,
    };
    struct lane *lane = lane_of(cluster, number);
    return shard_open(cluster->store, &options, &lane_sink, lane, &lane->local, ret_message, CLUSTER_MESSAGE_BYTES);
}

static enum status make_members(struct cluster *cluster)
{
    const struct cluster_options *options = &cluster->options;
    cluster->members = members_create();
    cluster->up[0] = true;
    return members_make(cluster->members, &options->incarnation, options->shards, options->replicas, options->founders,
                        options->founder_count);
}

static enum status open_all(struct cluster *cluster, char ret_message[static CLUSTER_MESSAGE_BYTES])
{
    struct store_options options = {cluster->worker_directory, cluster->options.log_segment_bytes,
                                    cluster->options.incarnation};
    enum status status =
        store_open(cluster->env, &options, &store_events, cluster, &cluster->store, ret_message, CLUSTER_MESSAGE_BYTES);
    if (status != STATUS_OK) {
        return status;
    }
    status = make_members(cluster);
    if (status != STATUS_OK) {
        (void)snprintf(ret_message, CLUSTER_MESSAGE_BYTES, "the cluster's nodes: %s", status_text(status));
        return status;
    }
    for (uint32_t shard = 1; shard <= cluster->shard_count && status == STATUS_OK; shard++) {
        status = open_shard(cluster, shard, ret_message);
    }
    return status;
}

enum status cluster_create(struct env *env, const struct cluster_options *options, const struct cluster_events *events,
                           void *owner, struct cluster **ret_cluster, char ret_message[static CLUSTER_MESSAGE_BYTES])
{
    struct cluster *cluster = calloc(1, sizeof(*cluster));
    ASSERT(cluster != NULL);
    cluster->env = env;
    cluster->options = *options;
    cluster->events = *events;
    cluster->owner = owner;
    cluster->directory = strdup(options->directory);
    cluster->worker_directory = strdup(options->worker_directory);
    cluster->shard_count = options->shards;
    cluster->lanes = calloc(options->shards + 1, sizeof(*cluster->lanes));
    ASSERT(cluster->directory != NULL && cluster->worker_directory != NULL && cluster->lanes != NULL);
    for (uint32_t shard = 0; shard <= options->shards; shard++) {
        cluster->lanes[shard] = (struct lane){.cluster = cluster, .shard = shard};
    }
    enum status status = open_all(cluster, ret_message);
    if (status != STATUS_OK) {
        cluster_destroy(cluster);
        return status;
    }
    *ret_cluster = cluster;
    return STATUS_OK;
}

void cluster_destroy(struct cluster *cluster)
{
    if (cluster == NULL) {
        return;
    }
    for (uint32_t shard = 0; shard <= cluster->shard_count; shard++) {
        shard_close(cluster->lanes[shard].local);
    }
    store_close(cluster->store);
    members_destroy(cluster->members);
    free(cluster->lanes);
    free(cluster->directory);
    free(cluster->worker_directory);
    free(cluster);
}

bool cluster_turn(struct cluster *cluster) { return store_turn(cluster->store); }

void cluster_look_after(struct cluster *cluster, int64_t before_ns)
{
    (void)cluster;
    (void)before_ns;
}

bool cluster_idle(const struct cluster *cluster)
{
    for (uint32_t shard = 1; shard <= cluster->shard_count; shard++) {
        if (!shard_idle(lane_of(cluster, shard)->local)) {
            return false;
        }
    }
    return true;
}

/* ---- looking ---- */

uint32_t cluster_shards(const struct cluster *cluster) { return cluster->shard_count; }

bool cluster_look(struct cluster *cluster, struct cluster_view *ret_view)
{
    *ret_view = (struct cluster_view){
        .members = cluster->members,
        .self = cluster->options.node,
        .leaders = cluster->leaders,
        .up = cluster->up,
    };
    return true;
}

void cluster_replica(const struct cluster *cluster, uint32_t shard, struct cluster_replica *ret_replica)
{
    const struct lane *lane = lane_of(cluster, shard);
    *ret_replica = (struct cluster_replica){
        .here = lane->local != NULL, .leading = lane->leading, .leader = lane->leader, .term = lane->term};
    if (lane->local != NULL) {
        shard_stats(lane->local, &ret_replica->stats);
    }
}

static void add(struct shard_stats *sum, const struct shard_stats *one)
{
    sum->machine.keys += one->machine.keys;
    sum->machine.keys_with_expiry += one->machine.keys_with_expiry;
    sum->machine.memory_bytes += one->machine.memory_bytes;
    sum->machine.expired += one->machine.expired;
    sum->machine.hits += one->machine.hits;
    sum->machine.misses += one->machine.misses;
    sum->applied_index += one->applied_index;
    sum->committed_index += one->committed_index;
    sum->last_index += one->last_index;
    sum->entries += one->entries;
    sum->commands += one->commands;
    sum->pending_bytes += one->pending_bytes;
    sum->snapshot_running = sum->snapshot_running || one->snapshot_running;
    sum->installed += one->installed;
    sum->replaced += one->replaced;
    sum->orphans_executed += one->orphans_executed;
    sum->orphans_returned += one->orphans_returned;
    sum->waiting_returned += one->waiting_returned;
    sum->geneses += one->geneses;
    sum->snapshots += one->snapshots;
    sum->replayed_entries += one->replayed_entries;
    sum->open_ms += one->open_ms;
    sum->snapshot_bytes += one->snapshot_bytes;
    if (one->snapshot_wall_ms >= sum->snapshot_wall_ms) {
        sum->snapshot_wall_ms = one->snapshot_wall_ms;
        sum->snapshot_index = one->snapshot_index;
        sum->snapshot_duration_ms = one->snapshot_duration_ms;
    }
    sum->snapshot_status = sum->snapshot_status == STATUS_OK ? one->snapshot_status : sum->snapshot_status;
    sum->log = one->log; /* they share it */
}

void cluster_stats(const struct cluster *cluster, struct shard_stats *ret_stats)
{
    *ret_stats = (struct shard_stats){0};
    for (uint32_t shard = 1; shard <= cluster->shard_count; shard++) {
        const struct lane *lane = lane_of(cluster, shard);
        if (lane->local != NULL) {
            struct shard_stats stats;
            shard_stats(lane->local, &stats);
            add(ret_stats, &stats);
        }
    }
}

uint64_t cluster_digest(const struct cluster *cluster)
{
    uint64_t digest = 0;
    for (uint32_t shard = 1; shard <= cluster->shard_count; shard++) {
        const struct lane *lane = lane_of(cluster, shard);
        if (lane->local != NULL) {
            digest = digest * 31 + shard_digest(lane->local);
        }
    }
    return digest;
}

uint64_t cluster_shard_digest(const struct cluster *cluster, uint32_t shard)
{
    const struct lane *lane = lane_of(cluster, shard);
    return lane->local == NULL ? 0 : shard_digest(lane->local);
}

uint64_t cluster_count_in_slot(const struct cluster *cluster, uint16_t slot)
{
    const struct lane *lane = lane_of(cluster, slot_shard(slot, cluster->shard_count));
    return lane->local == NULL ? 0 : shard_count_in_slot(lane->local, slot);
}

enum status cluster_snapshot(struct cluster *cluster)
{
    enum status status = STATUS_OK;
    for (uint32_t shard = 1; shard <= cluster->shard_count; shard++) {
        const struct lane *lane = lane_of(cluster, shard);
        enum status one = lane->local == NULL ? STATUS_OK : shard_snapshot(lane->local);
        status = status == STATUS_OK ? one : status;
    }
    return status;
}

uint32_t cluster_acknowledging(const struct cluster *cluster, uint32_t shard)
{
    return cluster->members->placement.shards[shard - 1].voter_count / 2;
}

void cluster_transport_statistics(const struct cluster *cluster, struct transport_statistics *ret_statistics)
{
    (void)cluster;
    *ret_statistics = (struct transport_statistics){0};
}
