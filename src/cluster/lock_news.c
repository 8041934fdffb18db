/* News about locks: from the shard led here to the node and worker whose client asked; and waits of nodes that are
 * gone.
 *
 * A notice may be lost: with its leader, with a connection, or since there was no room. Whoever waits asks again now
 * and then (src/server/lock_wait.c), so nothing here is kept or repeated.
 *
 * A node that has started anew has forgotten its clients' waits, and one that is gone will not take a grant: the leader
 * of the shard ends them by an entry. A node that is not connected to this one for LOCK_GONE_MS counts as gone; if it
 * lives, its clients' waits begin anew, behind the others. */
#include "cluster/cluster_internal.h"
#include "cluster/cluster_mutation.h"

#include "base/number.h"
#include "cluster/workers.h"
#include "machine/lock/lock_notice.h"
#include "machine/meet/meets.h"

enum { LOCK_GONE_MS = 10000, LOCK_NEWS_FRAME_BYTES = 256 << 10 };
#define NS_PER_MS INT64_C(1000000)

/* ---- out ---- */

/* Of this start, for whichever worker. */
static void take_notice(struct cluster *cluster, const struct lock_notice *notice, struct slice bytes)
{
    if (notice->to.start != cluster->options.lineage.start) {
        return; /* who asked is gone with the process */
    }
    uint32_t worker = (uint32_t)(notice->to.number % WORKERS_MAXIMUM);
    if (worker == cluster->worker) {
        if (cluster->events.lock_news != NULL) {
            cluster->events.lock_news(cluster->owner, notice);
        }
    } else if (cluster->workers != NULL && worker < cluster->worker_count) {
        workers_tell(cluster->workers, worker, WORKERS_CLUSTER, CLUSTER_TELL_LOCK_NEWS, &bytes, 1);
    }
}

static void send_notice(struct cluster *cluster, uint64_t node, struct slice bytes)
{
    struct peer *peer = peer_find(cluster, node);
    if (peer == NULL || peer->generation == 0 || peer->lock_news.size + bytes.size > LOCK_NEWS_WAITING_BYTES) {
        cluster->counters.lock_news_dropped++;
        return;
    }
    cluster->counters.lock_news++;
    buffer_append_slice(&peer->lock_news, bytes);
    env_wake(cluster->env);
}

void lock_news_told(struct cluster *cluster, struct slice notices)
{
    struct lock_notice notice;
    struct slice rest = CLUSTER_MUTATED(NO_LOCK_NEWS) ? slice_of(NULL, 0) : notices;
    while (rest.size != 0) {
        const uint8_t *at = rest.data;
        if (!lock_notice_take(&rest, &notice)) {
            return;
        }
        struct slice bytes = slice_of(at, (size_t)(rest.data - at));
        if (notice.to.node == cluster->options.node) {
            take_notice(cluster, &notice, bytes);
        } else {
            send_notice(cluster, notice.to.node, bytes);
        }
    }
}

void lock_news_turn(struct cluster *cluster, struct peer *peer)
{
    while (peer->lock_news.size != 0 && peer->generation != 0) {
        struct slice rest = buffer_slice(&peer->lock_news);
        size_t size = 0;
        struct lock_notice notice;
        while (rest.size != 0 && size < LOCK_NEWS_FRAME_BYTES && lock_notice_take(&rest, &notice)) {
            size = peer->lock_news.size - rest.size;
        }
        const struct slice parts[2] = {slice_of(peer->lock_news.data, size), {0}};
        if (peers_send_request(cluster, peer, peer->generation, NODE_LOCK_NEWS, parts) == STATUS_FULL) {
            return;
        }
        buffer_consume(&peer->lock_news, size);
    }
    if (peer->lock_news.capacity > LOCK_NEWS_FRAME_BYTES) {
        buffer_deinit(&peer->lock_news);
    }
}

/* ---- in ---- */

void lock_news_arrived(struct cluster *cluster, struct slice notices)
{
    (void)!lock_news_receive(cluster, notices); /* one of ours */
}

enum status lock_news_receive(struct cluster *cluster, struct slice notices)
{
    struct lock_notice notice;
    while (notices.size != 0) {
        const uint8_t *at = notices.data;
        if (!lock_notice_take(&notices, &notice)) {
            return STATUS_CORRUPT;
        }
        if (notice.to.node == cluster->options.node) {
            take_notice(cluster, &notice, slice_of(at, (size_t)(notices.data - at)));
        }
    }
    return STATUS_OK;
}

/* ---- nodes that are gone ---- */

static struct cluster *of_reaper(struct requester *requester)
{
    return CONTAINER_OF(requester, struct cluster, reaper);
}

static struct resp_writer *reaper_begin(struct requester *requester, uint64_t tag)
{
    (void)requester;
    (void)tag;
    return NULL; /* what is left will be seen */
}

static void reaper_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    (void)command;
    lane_of(of_reaper(requester), (uint32_t)tag)->reaping = false;
}

static void reaper_failed(struct requester *requester, uint64_t tag, enum status status)
{
    (void)status;
    lane_of(of_reaper(requester), (uint32_t)tag)->reaping = false;
}

void lock_news_init(struct cluster *cluster)
{
    static const struct requester_events events = {reaper_begin, reaper_end, reaper_failed, NULL, NULL};
    cluster->reaper = (struct requester){.events = &events};
}

/* Waits of the node's starts before this one are nobody's. */
uint64_t lock_news_first_start(struct cluster *cluster, uint64_t node, int64_t now_ns)
{
    if (node == cluster->options.node) {
        return cluster->options.lineage.start;
    }
    const struct peer *peer = peer_find(cluster, node);
    const struct member *member = members_find(cluster->members, node);
    bool gone =
        peer == NULL || member == NULL || (peer->down_ns != 0 && now_ns - peer->down_ns > LOCK_GONE_MS * NS_PER_MS);
    return gone ? INT64_MAX : member->start;
}

static void reap(struct cluster *cluster, uint32_t shard, uint64_t node, uint64_t start)
{
    char texts[2][NUMBER_INT64_BYTES];
    const struct slice argv[] = {
        SLICE_LITERAL("COHORT.LOCK.REAP"),
        slice_of(texts[0], number_format_uint64(texts[0], node)),
        slice_of(texts[1], number_format_uint64(texts[1], start)),
    };
    const struct command command = {command_by_id(COMMAND_COHORT_LOCK_REAP), argv, 3, RESP2};
    if (cluster_submit(cluster, shard, &command, CLUSTER_PLAIN, &cluster->reaper, shard) == STATUS_OK) {
        lane_of(cluster, shard)->reaping = true;
        cluster->counters.reaped++;
    }
}

static void look_at_shard(struct cluster *cluster, uint32_t shard, int64_t now_ns)
{
    const struct lane *lane = lane_of(cluster, shard);
    const struct locks *locks = lane_leads(lane) && !lane->reaping ? shard_locks(lane->local) : NULL;
    uint64_t node;
    uint64_t oldest_start;
    for (size_t i = 0; locks != NULL && locks_waiting_node(locks, i, &node, &oldest_start); i++) {
        uint64_t start = lock_news_first_start(cluster, node, now_ns);
        if (oldest_start < start) {
            reap(cluster, shard, node, start);
            return;
        }
    }
    const struct meets *meets = locks == NULL ? NULL : shard_meets(lane->local);
    for (size_t i = 0; meets != NULL && meets_waiting_node(meets, i, &node, &oldest_start); i++) {
        uint64_t start = lock_news_first_start(cluster, node, now_ns);
        if (oldest_start < start) {
            reap(cluster, shard, node, start);
            return;
        }
    }
}

void lock_news_look_after(struct cluster *cluster)
{
    int64_t now_ns = env_monotonic_ns(cluster->env);
    for (size_t i = 0; i < cluster->peer_count; i++) {
        struct peer *peer = &cluster->peers[i];
        peer->down_ns = peer->generation != 0 ? 0 : peer->down_ns == 0 ? now_ns : peer->down_ns;
    }
    for (uint32_t shard = 1; shard <= cluster->shard_count; shard++) {
        look_at_shard(cluster, shard, now_ns);
        lock_settle_shard(cluster, shard, now_ns);
    }
    lock_settle_look_after(cluster, now_ns);
}
