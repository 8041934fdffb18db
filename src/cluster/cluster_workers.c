/* What the workers of a node tell each other, and what each keeps of it. */
#include "cluster/cluster_internal.h"

#include "base/assert.h"

#include <string.h>

struct leader_note {
    uint32_t shard;
    uint64_t node; /* or whether there is none */
};

void cluster_set_leader(struct cluster *cluster, uint32_t shard, uint64_t node)
{
    if (shard == 0 || cluster->leaders[shard - 1] == node) {
        return;
    }
    cluster->leaders[shard - 1] = node;
    if (cluster->workers != NULL) {
        struct leader_note note = {shard, node};
        struct slice part = slice_of(&note, sizeof(note));
        workers_tell_all(cluster->workers, WORKERS_CLUSTER, CLUSTER_TELL_LEADER, &part, 1);
    }
}

void cluster_tell_members(struct cluster *cluster, enum cluster_tell what)
{
    if (cluster->workers != NULL && cluster->opened) {
        struct slice part = slice_of(cluster->members, sizeof(*cluster->members));
        workers_tell_all(cluster->workers, WORKERS_CLUSTER, (uint8_t)what, &part, 1);
    }
}

static void take_leader(struct cluster *cluster, struct slice body)
{
    struct leader_note note;
    ASSERT(body.size == sizeof(note));
    memcpy(&note, body.data, sizeof(note));
    cluster->leaders[note.shard - 1] = note.node;
}

void cluster_tell_lost(struct cluster *cluster, uint32_t shard, bool lost)
{
    struct leader_note note = {shard, lost};
    struct slice part = slice_of(&note, sizeof(note));
    workers_tell(cluster->workers, 0, WORKERS_CLUSTER, CLUSTER_TELL_LOST, &part, 1);
}

static void take_lost(struct cluster *cluster, struct slice body)
{
    struct leader_note note;
    ASSERT(body.size == sizeof(note));
    memcpy(&note, body.data, sizeof(note));
    cluster->leaderless.lost[note.shard - 1] = note.node != 0;
}

static void take_members(struct cluster *cluster, struct slice body, bool open)
{
    ASSERT(body.size == sizeof(*cluster->members));
    struct members *members = members_create(); /* the bytes need not be aligned */
    memcpy(members, body.data, sizeof(*members));
    cluster_take_members(cluster, members);
    members_destroy(members);
    if (!open || cluster->failed) {
        return;
    }
    char message[CLUSTER_MESSAGE_BYTES] = "";
    enum status status = cluster_open_groups(cluster, message);
    if (status != STATUS_OK) {
        cluster_fail(cluster, status, message);
    }
}

static void arrived(void *owner, uint32_t from, uint8_t kind, struct slice body)
{
    struct cluster *cluster = owner;
    switch ((enum cluster_tell)kind) {
    case CLUSTER_TELL_REQUEST: errand_arrived(cluster, from, body); return;
    case CLUSTER_TELL_ANSWER: errand_answered(cluster, from, body); return;
    case CLUSTER_TELL_SLOW: errand_was_slow(cluster, body); return;
    case CLUSTER_TELL_TAKEN: errand_taken(cluster, from, body); return;
    case CLUSTER_TELL_FRAME: relay_frame(cluster, from, body); return;
    case CLUSTER_TELL_SENT:
    case CLUSTER_TELL_READ:
    case CLUSTER_TELL_LOSSY:
    case CLUSTER_TELL_UP:
    case CLUSTER_TELL_DOWN:
    case CLUSTER_TELL_GONE: relay_fact(cluster, from, (enum cluster_tell)kind, body); return;
    case CLUSTER_TELL_OPEN: take_members(cluster, body, true); return;
    case CLUSTER_TELL_MEMBERS: take_members(cluster, body, false); return;
    case CLUSTER_TELL_LEADER: take_leader(cluster, body); return;
    case CLUSTER_TELL_LOST: take_lost(cluster, body); return;
    case CLUSTER_TELL_MESSAGE:
    case CLUSTER_TELL_MESSAGE_OUT:
    case CLUSTER_TELL_MESSAGES_TAKEN:
    case CLUSTER_TELL_LISTEN: messages_arrived(cluster, from, (enum cluster_tell)kind, body); return;
    case CLUSTER_TELL_LOCK_NEWS: lock_news_arrived(cluster, body); return;
    }
    UNREACHABLE();
}

void cluster_listen_to_workers(struct cluster *cluster)
{
    workers_listen(cluster->workers, WORKERS_CLUSTER, arrived, cluster);
}
