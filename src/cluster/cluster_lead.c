/* Who should lead: leaders go back to where the placement wants them, and away from a node that stops or has no space
 * for writes. */
#include "cluster/cluster_internal.h"
#include "cluster/cluster_mutation.h"

#include <inttypes.h>

enum {
    BALANCE_EVERY_MS = 300,
    MAKE_WAY_MS = 2000,  /* so long after it refused a write for want of space, this node wants others to lead */
    HAND_OVER_MS = 1000, /* a node that stops tries for so long: when all stop at once, they hand over in circles */
    CALM_MS = 100,       /* for answers on their way: the end of a connection may overtake them */
    FORSAKEN_MS = 1000,  /* a connection that broke is there again by then */
};

/* The voter that is connected and has most of the log; 0: none. */
static uint64_t best_heir(struct cluster *cluster, const struct shard *shard)
{
    struct shard_peer_status peers[PLACEMENT_MAXIMUM_REPLICAS];
    size_t count = shard_peers(shard, peers, PLACEMENT_MAXIMUM_REPLICAS);
    uint64_t heir = 0;
    uint64_t match = 0;
    for (size_t i = 0; i < count && i < PLACEMENT_MAXIMUM_REPLICAS; i++) {
        const struct peer *peer = peer_find(cluster, peers[i].id);
        if (peer != NULL && peer->generation != 0 && peers[i].match >= match) {
            heir = peers[i].id;
            match = peers[i].match;
        }
    }
    return heir;
}

/* The leader that the placement prefers; while this node has no space for writes, anybody else. */
static uint64_t preferred_leader(struct cluster *cluster, uint32_t shard)
{
    int64_t ago_ns = env_monotonic_ns(cluster->env) - cluster->refused_ns;
    if (cluster->refused_ns != 0 && ago_ns < (int64_t)MAKE_WAY_MS * 1000000) {
        return best_heir(cluster, lane_of(cluster, shard)->local);
    }
    return cluster->members->placement.shards[shard - 1].leader;
}

static struct leader_balance_view balance_view(struct cluster *cluster, uint32_t shard)
{
    const struct lane *lane = lane_of(cluster, shard);
    struct leader_balance_view view = {.leading = lane_leads(lane)};
    view.preferred = view.leading ? preferred_leader(cluster, shard) : 0;
    if (!view.leading || view.preferred == cluster->options.node) {
        return view;
    }
    struct shard_peer_status peers[PLACEMENT_MAXIMUM_REPLICAS];
    size_t count = shard_peers(lane->local, peers, PLACEMENT_MAXIMUM_REPLICAS);
    for (size_t i = 0; i < count && i < PLACEMENT_MAXIMUM_REPLICAS; i++) {
        const struct peer *peer = peer_find(cluster, peers[i].id);
        if (peers[i].id == view.preferred && peer != NULL && peer->generation != 0) {
            view.up = peers[i].state == RAFT_PEER_REPLICATE;
            view.match = peers[i].match;
        }
    }
    struct shard_stats stats;
    shard_stats(lane->local, &stats);
    view.last = stats.last_index;
    return view;
}

void cluster_balance_leaders(struct cluster *cluster)
{
    int64_t now_ns = env_monotonic_ns(cluster->env);
    if (cluster->balance == NULL || now_ns - cluster->balanced_ns < (int64_t)BALANCE_EVERY_MS * 1000000) {
        return;
    }
    cluster->balanced_ns = now_ns;
    for (uint32_t shard = 1; shard <= cluster->shard_count; shard++) {
        struct leader_balance_view view = balance_view(cluster, shard);
        leader_balance_see(cluster->balance, now_ns, shard, &view);
    }
    uint32_t shard = 0;
    uint64_t node = 0;
    if (leader_balance_choose(cluster->balance, now_ns, &shard, &node) &&
        shard_transfer(lane_of(cluster, shard)->local, node) == STATUS_OK) {
        cluster->counters.transfers++;
        env_log(cluster->env, ENV_LOG_INFO, "shard %" PRIu32 " goes to node %" PRIu64 ", which should lead it", shard,
                node);
    }
}

void cluster_take_members(struct cluster *cluster, const struct members *members)
{
    const struct placement *before = &cluster->members->placement;
    bool asks = cluster->balance != NULL && !CLUSTER_MUTATED(PLACED_ONCE);
    for (uint32_t i = 0; asks && i < before->shard_count; i++) {
        if (before->shards[i].leader != members->placement.shards[i].leader) {
            leader_balance_ask(cluster->balance, i + 1);
            env_wake(cluster->env);
        }
    }
    if (CLUSTER_MUTATED(PLACED_ONCE) && members_bootstrapped(cluster->members)) {
        return;
    }
    *cluster->members = *members;
}

/* ---- a node that stops ---- */

/* Hands over what can be; true when nothing is left that could. */
static bool hand_over(struct cluster *cluster)
{
    bool done = true;
    for (uint32_t shard = 0; shard <= cluster->shard_count; shard++) {
        struct lane *lane = lane_of(cluster, shard);
        uint64_t heir = lane_leads(lane) ? best_heir(cluster, lane->local) : 0;
        if (heir != 0) {
            done = false;
            if (shard_transfer(lane->local, heir) == STATUS_OK) {
                env_wake(cluster->env);
            }
        }
    }
    return done;
}

void cluster_retire(struct cluster *cluster)
{
    cluster->retired_ns = env_monotonic_ns(cluster->env);
    (void)hand_over(cluster);
}

static bool handing_over(struct cluster *cluster)
{
    int64_t limit_ns = cluster->retired_ns + (int64_t)HAND_OVER_MS * 1000000;
    return cluster->retired_ns != 0 && env_monotonic_ns(cluster->env) < limit_ns && !hand_over(cluster);
}

static bool nothing_waits(const struct cluster *cluster)
{
    for (uint32_t shard = 1; shard <= cluster->shard_count; shard++) {
        if (!lane_idle(lane_of(cluster, shard))) {
            return false;
        }
    }
    for (size_t i = 0; i < cluster->peer_count && cluster->transport != NULL; i++) {
        struct transport_peer_statistics peer;
        if (!list_empty(&cluster->peers[i].relayed)) {
            return false;
        }
        if (transport_peer_statistics(cluster->transport, cluster->peers[i].node, &peer) == STATUS_OK &&
            peer.queued_bytes[TRANSPORT_URGENT] != 0) {
            return false;
        }
    }
    return list_empty(&cluster->remotes) && cluster->level_reads_waiting == 0 && errands_idle(cluster);
}

static bool has_majority(struct cluster *cluster, const struct placement_shard *shard)
{
    uint32_t connected = 0;
    for (uint32_t i = 0; i < shard->voter_count; i++) {
        const struct peer *peer = peer_find(cluster, shard->voters[i]);
        bool here = shard->voters[i] == cluster->options.node;
        connected += here || (peer != NULL && peer->generation != 0) ? 1 : 0;
    }
    return 2 * connected > shard->voter_count;
}

bool cluster_forsaken(struct cluster *cluster)
{
    bool served = cluster->retired_ns == 0 || cluster_alone(cluster);
    for (uint32_t i = 0; i < cluster->shard_count && !served; i++) {
        const struct placement_shard *shard = &cluster->members->placement.shards[i];
        served = shard->voter_count == 0 || has_majority(cluster, shard);
    }
    int64_t now_ns = env_monotonic_ns(cluster->env);
    cluster->forsaken_ns = served ? 0 : cluster->forsaken_ns == 0 ? now_ns : cluster->forsaken_ns;
    return !served && now_ns - cluster->forsaken_ns >= (int64_t)FORSAKEN_MS * 1000000;
}

bool cluster_idle(struct cluster *cluster)
{
    if (!nothing_waits(cluster) || handing_over(cluster)) {
        cluster->calm_ns = 0;
        return false;
    }
    if (cluster_alone(cluster)) {
        return true;
    }
    int64_t now_ns = env_monotonic_ns(cluster->env);
    cluster->calm_ns = cluster->calm_ns == 0 ? now_ns : cluster->calm_ns;
    return now_ns - cluster->calm_ns >= (int64_t)CALM_MS * 1000000;
}
