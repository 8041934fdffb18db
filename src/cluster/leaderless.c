#include "cluster/leaderless.h"

#include "base/buffer.h"
#include "cluster/cluster_internal.h"

#include <inttypes.h>

enum { NAMED = 8 }; /* of shards, and of nodes, in a line */
#define NS_PER_MS INT64_C(1000000)

/* Of a shard that this node does not vote in, it knows the last leader only. */
static bool is_led(struct cluster *cluster, uint32_t shard)
{
    const struct lane *lane = lane_of(cluster, shard);
    if (lane->local != NULL) {
        uint64_t leader, term;
        shard_leader(lane->local, &leader, &term);
        return leader != 0;
    }
    const struct peer *peer = lane->leader == 0 ? NULL : peer_find(cluster, lane->leader);
    return peer != NULL && peer->generation != 0;
}

static void put_number(struct buffer *text, uint32_t count, uint64_t number)
{
    if (count < NAMED) {
        buffer_append_format(text, "%s%" PRIu64, count == 0 ? "" : ", ", number);
    } else if (count == NAMED) {
        buffer_append_string(text, ", …");
    }
}

static void tell_beginning(struct cluster *cluster, uint32_t lost, int64_t now_ns)
{
    struct buffer text;
    buffer_init(&text);
    uint32_t count = 0;
    for (uint32_t shard = 1; shard <= cluster->shard_count; shard++) {
        if (cluster->leaderless.since_ns[shard - 1] != 0) {
            put_number(&text, count++, shard);
        }
    }
    buffer_append_string(&text, "; nodes that are not connected: ");
    count = 0;
    for (size_t i = 0; i < cluster->peer_count; i++) {
        if (cluster->peers[i].generation == 0) {
            put_number(&text, count++, cluster->peers[i].node);
        }
    }
    buffer_append_string(&text, count == 0 ? "none" : "");
    env_log(cluster->env, ENV_LOG_WARNING,
            "no leader for %" PRId64 " ms: commands for %" PRIu32 " of %" PRIu32
            " shards are refused until most of their "
            "voters reach one another (shards %.*s)",
            (now_ns - cluster->leaderless.began_ns) / NS_PER_MS, lost, cluster->shard_count, (int)text.size,
            (const char *)text.data);
    buffer_deinit(&text);
}

/* At this worker's shards. The first worker looks; the others tell it what has changed. */
static void look_at_own(struct cluster *cluster)
{
    for (uint32_t shard = 1; shard <= cluster->shard_count; shard++) {
        bool *lost = &cluster->leaderless.lost[shard - 1];
        if (!lane_of(cluster, shard)->away && *lost == is_led(cluster, shard)) {
            *lost = !*lost;
            if (cluster->worker != 0) {
                cluster_tell_lost(cluster, shard, *lost);
            }
        }
    }
}

void leaderless_look(struct cluster *cluster)
{
    struct leaderless *leaderless = &cluster->leaderless;
    int64_t now_ns = env_monotonic_ns(cluster->env);
    uint32_t lost = 0;
    int64_t oldest_ns = now_ns;
    look_at_own(cluster);
    if (cluster->worker != 0) {
        return;
    }
    for (uint32_t shard = 1; shard <= cluster->shard_count; shard++) {
        int64_t *since_ns = &leaderless->since_ns[shard - 1];
        *since_ns = !leaderless->lost[shard - 1] ? 0 : *since_ns == 0 ? now_ns : *since_ns;
        lost += *since_ns != 0 ? 1 : 0;
        oldest_ns = *since_ns != 0 && *since_ns < oldest_ns ? *since_ns : oldest_ns;
    }
    bool for_long = now_ns - oldest_ns >= LEADERLESS_AFTER_MS * NS_PER_MS;
    bool again = leaderless->told_ns == 0 || now_ns - leaderless->told_ns >= LEADERLESS_AGAIN_MS * NS_PER_MS;
    if (for_long && lost > leaderless->told && again) {
        leaderless->began_ns = leaderless->told == 0 ? oldest_ns : leaderless->began_ns;
        leaderless->told = lost;
        leaderless->told_ns = now_ns;
        tell_beginning(cluster, lost, now_ns);
    } else if (lost == 0 && leaderless->told != 0) {
        leaderless->told = 0;
        env_log(cluster->env, ENV_LOG_INFO, "every shard has a leader again, after %" PRId64 " ms",
                (now_ns - leaderless->began_ns) / NS_PER_MS);
    }
}
