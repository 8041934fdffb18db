#include "cluster/cluster_internal.h"

#include "base/assert.h"

enum { TELL_AGAIN_S = 10 };

/* ---- what a shard here answers ---- */

static struct resp_writer *sink_begin(void *owner, void *origin, uint64_t tag)
{
    (void)owner;
    struct requester *requester = origin;
    return requester->events->begin(requester, tag);
}

static void sink_end(void *owner, void *origin, uint64_t tag, const struct command *command)
{
    (void)owner;
    struct requester *requester = origin;
    requester->events->end(requester, tag, command);
}

static const char *shortage_text(enum status status)
{
    switch (status) {
    case STATUS_FULL: return "too many open files; raise the limit (ulimit -n)";
    case STATUS_NOSPACE: return "disk full; free some space on it";
    case STATUS_NOTFOUND: return "the folder is not there any more; stop this node, and restore the folder";
    default: return status_text(status);
    }
}

static void sink_refused(void *owner, void *origin, uint64_t tag, enum status status)
{
    struct cluster *cluster = ((struct lane *)owner)->cluster;
    int64_t now_ns = env_monotonic_ns(cluster->env);
    if (cluster->told_refused_ns == 0 || now_ns - cluster->told_refused_ns >= (int64_t)TELL_AGAIN_S * 1000000000) {
        cluster->told_refused_ns = now_ns;
        env_log(cluster->env, ENV_LOG_WARNING, "writes are refused: no further file for the log in %s: %s",
                cluster->worker_directory, shortage_text(status));
    }
    struct requester *requester = origin;
    /* Out of descriptors; to who asked, FULL is a queue. */
    requester->events->failed(requester, tag, status == STATUS_FULL ? STATUS_IO : status);
}

static void sink_led(void *owner, uint32_t group, bool leading, uint64_t leader, uint64_t term)
{
    (void)group;
    struct lane *lane = owner;
    lane->leading = leading;
    lane->leader = leader;
    lane->term = term;
    if (lane->shard != 0) {
        lane->cluster->leaders[lane->shard - 1] = leader;
    }
}

const struct shard_sink lane_sink = {
    .begin = sink_begin,
    .end = sink_end,
    .refused = sink_refused,
    .led = sink_led,
};

/* ---- requests ---- */

enum status cluster_submit(struct cluster *cluster, uint32_t shard, const struct command *command, enum cluster_way way,
                           struct requester *requester, uint64_t tag)
{
    struct lane *lane = lane_of(cluster, shard);
    return way == CLUSTER_LOGGED ? shard_submit_logged(lane->local, command, requester, tag)
                                 : shard_submit(lane->local, command, requester, tag);
}

bool cluster_read(struct cluster *cluster, uint32_t shard, const struct command *command, struct resp_writer *reply,
                  enum cluster_way *ret_way)
{
    struct lane *lane = lane_of(cluster, shard);
    *ret_way = CLUSTER_LOGGED; /* it met a key about to expire */
    return shard_read(lane->local, command, reply);
}

bool cluster_read_here(struct cluster *cluster, uint32_t shard, const struct command *command,
                       struct resp_writer *reply)
{
    enum cluster_way way;
    return cluster_read(cluster, shard, command, reply, &way);
}
