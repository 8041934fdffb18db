/* What can be seen of the cluster from one of its nodes. */
#include "cluster/cluster_internal.h"
#include "cluster/transport.h"

uint32_t cluster_shards(const struct cluster *cluster) { return cluster->shard_count; }

const struct machine_scripts *cluster_scripts(const struct cluster *cluster) { return store_scripts(cluster->store); }

uint32_t cluster_owner(const struct cluster *cluster, uint32_t shard) { return cluster_worker_of(cluster, shard); }

bool cluster_look(struct cluster *cluster, struct cluster_view *ret_view)
{
    for (uint32_t i = 0; i < cluster->members->count; i++) {
        const struct peer *peer = peer_find(cluster, cluster->members->nodes[i].id);
        cluster->up[i] = peer == NULL || peer->generation != 0;
    }
    struct transport_statistics transport;
    cluster_transport_statistics(cluster, &transport);
    *ret_view = (struct cluster_view){
        .members = cluster->members,
        .self = cluster->options.node,
        .leaders = cluster->leaders,
        .up = cluster->up,
        .messages_sent = transport.frames_sent,
        .messages_received = transport.frames_received,
    };
    return cluster->opened;
}

void cluster_replica(const struct cluster *cluster, uint32_t shard, struct cluster_replica *ret_replica)
{
    const struct lane *lane = lane_of(cluster, shard);
    uint64_t leader = lane->away && shard != 0 ? cluster->leaders[shard - 1] : lane->leader;
    *ret_replica = (struct cluster_replica){.leader = leader, .term = lane->term};
    if (lane->local != NULL) {
        ret_replica->here = true;
        ret_replica->leading = lane_leads(lane);
        shard_leader(lane->local, &ret_replica->leader, &ret_replica->term);
        shard_stats(lane->local, &ret_replica->stats);
    }
}

bool cluster_leads(const struct cluster *cluster, uint32_t shard) { return lane_leads(lane_of(cluster, shard)); }

/* All but the log, which shards of a worker share. */
static void add(struct shard_stats *sum, const struct shard_stats *one)
{
    sum->machine.keys += one->machine.keys;
    sum->machine.keys_with_expiry += one->machine.keys_with_expiry;
    sum->machine.memory_bytes += one->machine.memory_bytes;
    sum->machine.history_bytes += one->machine.history_bytes;
    sum->machine.expired += one->machine.expired;
    sum->machine.hits += one->machine.hits;
    sum->machine.misses += one->machine.misses;
    sum->machine.locks += one->machine.locks;
    sum->machine.lock_holders += one->machine.lock_holders;
    sum->machine.lock_waiters += one->machine.lock_waiters;
    sum->machine.locks_granted += one->machine.locks_granted;
    sum->machine.locks_expired += one->machine.locks_expired;
    sum->machine.locks_queued += one->machine.locks_queued;
    sum->machine.sessions += one->machine.sessions;
    sum->machine.sessions_ended += one->machine.sessions_ended;
    sum->machine.session_ties += one->machine.session_ties;
    sum->machine.session_locks += one->machine.session_locks;
    sum->machine.session_keys += one->machine.session_keys;
    sum->machine.sessions_opened += one->machine.sessions_opened;
    sum->machine.sessions_closed += one->machine.sessions_closed;
    sum->machine.sessions_expired += one->machine.sessions_expired;
    sum->machine.session_beats += one->machine.session_beats;
    sum->machine.session_beat_commands += one->machine.session_beat_commands;
    sum->machine.meets += one->machine.meets;
    sum->machine.meet_waiters += one->machine.meet_waiters;
    sum->machine.meets_passed += one->machine.meets_passed;
    sum->machine.services += one->machine.services;
    sum->machine.endpoints += one->machine.endpoints;
    sum->machine.endpoints_registered += one->machine.endpoints_registered;
    sum->machine.endpoints_expired += one->machine.endpoints_expired;
    sum->machine.service_changes += one->machine.service_changes;
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
}

void cluster_stats_add(struct shard_stats *sum, const struct shard_stats *one)
{
    struct log_stats *log = &sum->log;
    add(sum, one);
    log->segments += one->log.segments;
    log->bytes_on_disk += one->log.bytes_on_disk;
    log->live_bytes += one->log.live_bytes;
    log->writes += one->log.writes;
    log->syncs += one->log.syncs;
    log->bytes_written += one->log.bytes_written;
    log->last_sync_ns = one->log.last_sync_ns > log->last_sync_ns ? one->log.last_sync_ns : log->last_sync_ns;
    log->maximum_sync_ns =
        one->log.maximum_sync_ns > log->maximum_sync_ns ? one->log.maximum_sync_ns : log->maximum_sync_ns;
    log->cut_bytes += one->log.cut_bytes;
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
            ret_stats->log = stats.log;
        }
    }
}

bool cluster_took_long(const struct cluster *cluster) { return cluster->took_long; }

uint64_t cluster_told_index(const struct cluster *cluster) { return cluster->told_index; }

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

const struct txns *cluster_txns(const struct cluster *cluster, uint32_t shard, int64_t *ret_time_ms)
{
    const struct lane *lane = lane_of(cluster, shard);
    return lane->local == NULL ? NULL : shard_txns(lane->local, ret_time_ms);
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
    *ret_statistics = (struct transport_statistics){0};
    if (cluster->transport != NULL) {
        transport_statistics(cluster->transport, ret_statistics);
    }
}

void cluster_counters(const struct cluster *cluster, struct cluster_counters *ret_counters)
{
    *ret_counters = cluster->counters;
    ret_counters->txn_early = finisher_early(cluster->finisher);
}

uint64_t cluster_leader(const struct cluster *cluster, uint32_t shard) { return cluster->leaders[shard - 1]; }

uint64_t cluster_heard_leader(const struct cluster *cluster, uint32_t shard)
{
    const struct lane *lane = lane_of(cluster, shard);
    uint64_t leader = cluster->leaders[shard - 1];
    uint64_t term = 0;
    if (lane->local != NULL) {
        shard_leader(lane->local, &leader, &term);
    }
    return leader;
}

const struct locks *cluster_locks(const struct cluster *cluster, uint32_t shard)
{
    const struct lane *lane = lane_of(cluster, shard);
    return lane->local == NULL ? NULL : shard_locks(lane->local);
}

const struct services *cluster_services(const struct cluster *cluster, uint32_t shard)
{
    const struct lane *lane = lane_of(cluster, shard);
    return lane->local == NULL ? NULL : shard_services(lane->local);
}

const struct meets *cluster_meets(const struct cluster *cluster, uint32_t shard)
{
    const struct lane *lane = lane_of(cluster, shard);
    return lane->local == NULL ? NULL : shard_meets(lane->local);
}
