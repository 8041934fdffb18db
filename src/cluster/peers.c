/* The other nodes: what arrives from them, and what goes to them. */
#include "cluster/cluster_internal.h"
#include "cluster/cluster_mutation.h"

#include "base/assert.h"
#include "base/varint.h"

#include <inttypes.h>

enum {
    RAFT_BUNDLE_BYTES = 1 << 20, /* of messages in one frame, unless one is larger */
    CROWDED_BYTES = 256 << 10,   /* with so much on its way before them, signals go ahead */
    LEADS_BYTES = 12,            /* shard, term */
    TELL_AGAIN_S = 10,
    PEER_LOST_MS = 250, /* its connection broke, and was tried again some times (transport.h: after 20 ms, 40, 80 …) */
};

struct peer *peer_find(struct cluster *cluster, uint64_t node)
{
    for (size_t i = 0; i < cluster->peer_count; i++) {
        if (cluster->peers[i].node == node) {
            return &cluster->peers[i];
        }
    }
    return NULL;
}

static void tell_shards(struct cluster *cluster, uint64_t node, void (*tell)(struct shard *shard, uint64_t member))
{
    for (uint32_t shard = 0; shard <= cluster->shard_count; shard++) {
        struct lane *lane = lane_of(cluster, shard);
        if (lane->local != NULL) {
            tell(lane->local, node);
        }
    }
}

#ifdef COHORT_MUTATIONS
enum cluster_mutation cluster_mutation_of_all;

void cluster_mutate(enum cluster_mutation mutation) { cluster_mutation_of_all = mutation; }
#endif

/* ---- out ---- */

static enum status send(struct cluster *cluster, struct peer *peer, uint64_t generation,
                        enum transport_priority priority, enum node_frame type, const struct slice *parts, size_t count)
{
    return cluster->worker == 0
               ? transport_send(cluster->transport, peer->node, generation, priority, (uint8_t)type, parts, count)
               : relay_send(cluster, peer, generation, priority, (uint8_t)type, parts, count);
}

/* What keeps groups together overtakes what is large: all but entries. */
static void send_signals(struct cluster *cluster, const struct peer *peer, uint64_t generation, struct slice messages)
{
    struct buffer signals;
    buffer_init(&signals);
    while (messages.size != 0) {
        size_t size = RAFT_HEAD_BYTES + get_u32(messages.data + 4);
        if (messages.data[RAFT_HEAD_BYTES] != RAFT_APPEND) {
            buffer_append(&signals, messages.data, size);
        }
        messages = slice_of(messages.data + size, messages.size - size);
    }
    struct slice part = buffer_slice(&signals);
    if (part.size != 0) { /* without room they are as good as lost, and go the common way */
        (void)!transport_send(cluster->transport, peer->node, generation, TRANSPORT_SIGNAL, NODE_RAFT_SIGNAL, &part, 1);
    }
    buffer_deinit(&signals);
}

/* Signals go the common way too: only there a heartbeat finds out what was lost (raft_progress.c), and no message of
 * consensus does harm when it comes twice. */
enum status peers_send_messages(struct cluster *cluster, const struct peer *peer, uint64_t generation,
                                struct slice messages)
{
    if (transport_queued(cluster->transport, peer->node, TRANSPORT_URGENT) >= CROWDED_BYTES) {
        send_signals(cluster, peer, generation, messages);
    }
    return transport_send(cluster->transport, peer->node, generation, TRANSPORT_URGENT, NODE_RAFT, &messages, 1);
}

static void send_messages(struct cluster *cluster, struct peer *peer, struct slice messages)
{
    enum status status = cluster->worker == 0
                             ? peers_send_messages(cluster, peer, peer->generation, messages)
                             : relay_send(cluster, peer, peer->generation, TRANSPORT_URGENT, NODE_RAFT, &messages, 1);
    peer->lossy = peer->lossy || status != STATUS_OK;
}

static void send_bundle(struct cluster *cluster, struct peer *peer)
{
    if (peer->raft.size != 0) {
        send_messages(cluster, peer, buffer_slice(&peer->raft));
        buffer_clear(&peer->raft);
        buffer_shrink(&peer->raft, RAFT_BUNDLE_BYTES);
    }
}

enum status peers_send_request(struct cluster *cluster, struct peer *peer, uint64_t generation, enum node_frame type,
                               const struct slice parts[static 2])
{
    bool here = cluster->worker == 0; /* else the first worker sees to it */
    if (here && peer->generation == generation &&
        transport_room(cluster->transport, peer->node, TRANSPORT_URGENT) + PEER_QUEUED_BYTES < FRAME_MAXIMUM_BYTES) {
        return STATUS_FULL;
    }
    return send(cluster, peer, generation, TRANSPORT_URGENT, type, parts, 2);
}

void peers_send_raft(struct cluster *cluster, uint32_t group, uint64_t to, struct slice head, struct slice tail)
{
    struct peer *peer = peer_find(cluster, to);
    if (peer == NULL || peer->generation == 0) {
        return;
    }
    uint8_t in_front[RAFT_HEAD_BYTES];
    put_u32(in_front, group);
    put_u32(in_front + 4, (uint32_t)(head.size + tail.size));
    struct slice parts[] = {slice_of(in_front, sizeof(in_front)), head, tail};
    size_t size = sizeof(in_front) + head.size + tail.size;
    bool snapshot = head.data[0] == RAFT_SNAPSHOT;
    env_wake(cluster->env);
    if (!snapshot && peer->raft.size + size > RAFT_BUNDLE_BYTES) {
        send_bundle(cluster, peer);
    }
    if (snapshot || size > RAFT_BUNDLE_BYTES) { /* alone, and not copied once more */
        enum status status = send(cluster, peer, peer->generation, snapshot ? TRANSPORT_BULK : TRANSPORT_URGENT,
                                  snapshot ? NODE_RAFT_BULK : NODE_RAFT, parts, 3);
        peer->lossy = peer->lossy || status != STATUS_OK;
        return;
    }
    for (size_t i = 0; i < 3; i++) {
        buffer_append_slice(&peer->raft, parts[i]);
    }
}

enum status cluster_note(struct cluster *cluster, uint64_t node, const struct slice *parts, size_t count)
{
    const struct peer *peer = peer_find(cluster, node);
    if (peer == NULL || peer->generation == 0) {
        return STATUS_CLOSED;
    }
    env_wake(cluster->env);
    return transport_send(cluster->transport, node, peer->generation, TRANSPORT_URGENT, NODE_NOTE, parts, count);
}

size_t cluster_connected(const struct cluster *cluster, uint64_t ret_nodes[static PLACEMENT_MAXIMUM_NODES])
{
    size_t count = 0;
    for (size_t i = 0; i < cluster->peer_count && count < PLACEMENT_MAXIMUM_NODES; i++) {
        if (cluster->peers[i].generation != 0) {
            ret_nodes[count++] = cluster->peers[i].node;
        }
    }
    return count;
}

static void put_leads(struct buffer *out, const struct lane *lane)
{
    uint8_t *at = buffer_reserve(out, LEADS_BYTES);
    put_u32(at, lane->shard);
    put_u64(at + 4, lane->term);
    out->size += LEADS_BYTES;
}

/* When its queue is full, it is told again later: it may know of no leader without. */
static void announce_to(struct cluster *cluster, struct peer *peer, struct slice leads)
{
    if (peer->generation != 0 && leads.size != 0 &&
        send(cluster, peer, peer->generation, TRANSPORT_URGENT, NODE_LEADS, &leads, 1) == STATUS_FULL) {
        peer->untold = true;
    }
}

void peers_announce(struct cluster *cluster, const struct lane *lane)
{
    struct buffer leads;
    buffer_init(&leads);
    put_leads(&leads, lane);
    for (size_t i = 0; i < cluster->peer_count; i++) {
        announce_to(cluster, &cluster->peers[i], buffer_slice(&leads));
    }
    buffer_deinit(&leads);
}

static void announce_all(struct cluster *cluster, struct peer *peer)
{
    struct buffer leads;
    buffer_init(&leads);
    for (uint32_t shard = 0; shard <= cluster->shard_count; shard++) {
        if (lane_leads(lane_of(cluster, shard))) {
            put_leads(&leads, lane_of(cluster, shard));
        }
    }
    peer->untold = false;
    announce_to(cluster, peer, buffer_slice(&leads));
    buffer_deinit(&leads);
}

void peers_turn(struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->peer_count; i++) {
        struct peer *peer = &cluster->peers[i];
        send_bundle(cluster, peer);
        relay_turn(cluster, peer);
        lock_news_turn(cluster, peer);
        if (peer->untold) {
            announce_all(cluster, peer);
        }
        if (peer->lossy) {
            peer->lossy = false;
            tell_shards(cluster, peer->node, shard_peer_lost);
        }
    }
    messages_turn(cluster);
    if (cluster->transport != NULL) {
        transport_turn(cluster->transport);
    }
}

/* ---- in ---- */

void peers_up(struct cluster *cluster, struct peer *peer, uint64_t generation)
{
    peer->generation = generation;
    peer->down_ns = 0;
    announce_all(cluster, peer);
    messages_up(cluster, peer);
    env_wake(cluster->env);
}

void peers_down(struct cluster *cluster, struct peer *peer, uint64_t generation)
{
    peer->generation = 0;
    peer->down_ns = env_monotonic_ns(cluster->env);
    peer->untold = false;
    buffer_clear(&peer->raft);
    buffer_deinit(&peer->lock_news);
    relay_forget(cluster, peer);
    messages_down(cluster, peer);
    tell_shards(cluster, peer->node, shard_peer_lost);
    for (uint32_t shard = 0; shard <= cluster->shard_count; shard++) {
        lane_doubt_connection(lane_of(cluster, shard), peer->node, generation);
    }
    remotes_lost(cluster, peer, generation);
    env_wake(cluster->env);
}

void peers_gone(struct cluster *cluster, struct peer *peer, uint64_t start)
{
    peer->ended = start > peer->ended ? start : peer->ended;
    tell_shards(cluster, peer->node, shard_peer_gone);
    env_wake(cluster->env);
}

bool peers_lost(struct cluster *cluster, const struct txn_runner *runner)
{
    if (runner->node == cluster->options.node) {
        return runner->start < cluster->options.lineage.start;
    }
    const struct peer *peer = peer_find(cluster, runner->node);
    const struct member *member = peer == NULL ? NULL : members_find(cluster->members, runner->node);
    if (member == NULL) {
        return false;
    }
    bool ended = runner->start <= peer->ended || runner->start < member->start;
    bool cut = peer->down_ns != 0 && env_monotonic_ns(cluster->env) - peer->down_ns >= PEER_LOST_MS * INT64_C(1000000);
    return ended || cut;
}

/* One message of consensus; it says itself whom it is from, and must not lie. */
static enum status take_message(struct lane *lane, uint64_t node, struct slice message, bool overtook)
{
    struct slice rest = slice_of(message.data + 1, message.size - 1);
    uint64_t from = 0;
    if (!varint_take(&rest, &from) || from != node) {
        return STATUS_CORRUPT;
    }
    /* not open yet: as good as lost */
    return lane->local == NULL ? STATUS_OK : shard_receive(lane->local, message, overtook);
}

static enum status take_messages(struct cluster *cluster, const struct peer *peer, uint8_t type, struct slice payload)
{
    while (payload.size != 0) {
        if (payload.size < RAFT_HEAD_BYTES) {
            return STATUS_CORRUPT;
        }
        uint32_t group = get_u32(payload.data);
        uint32_t size = get_u32(payload.data + 4);
        if (size == 0 || size > payload.size - RAFT_HEAD_BYTES || group > cluster->shard_count) {
            return STATUS_CORRUPT;
        }
        struct lane *lane = lane_of(cluster, group);
        enum status status = STATUS_OK;
        if (lane->away) {
            relay_deliver(cluster, cluster_worker_of(cluster, group), peer, type,
                          slice_of(payload.data, RAFT_HEAD_BYTES + size));
        } else {
            struct slice message = slice_of(payload.data + RAFT_HEAD_BYTES, size);
            status = take_message(lane, peer->node, message, type == NODE_RAFT_SIGNAL);
        }
        if (status != STATUS_OK) {
            return status;
        }
        payload = slice_of(payload.data + RAFT_HEAD_BYTES + size, payload.size - RAFT_HEAD_BYTES - size);
    }
    return STATUS_OK;
}

static bool votes_in(const struct cluster *cluster, uint32_t shard, uint64_t node)
{
    if (shard != 0) {
        return placement_votes(&cluster->members->placement.shards[shard - 1], node);
    }
    uint64_t ids[PLACEMENT_MAXIMUM_NODES];
    uint64_t voters[PLACEMENT_MAXIMUM_REPLICAS];
    size_t count = placement_meta_voters(ids, members_placeable(cluster->members, ids), voters);
    bool votes = false;
    for (size_t i = 0; i < count; i++) {
        votes = votes || voters[i] == node;
    }
    return votes;
}

/* Who does not vote in a shard cannot lead it; believing that would send it all requests, until a later term. */
static enum status take_leads(struct cluster *cluster, const struct peer *peer, struct slice payload)
{
    if (payload.size % LEADS_BYTES != 0) {
        return STATUS_CORRUPT;
    }
    for (size_t at = 0; at < payload.size; at += LEADS_BYTES) {
        uint32_t shard = get_u32(payload.data + at);
        uint64_t term = get_u64(payload.data + at + 4);
        if (shard > cluster->shard_count || term == 0 || term > INT64_MAX ||
            (cluster->worker == 0 && !votes_in(cluster, shard, peer->node))) {
            return STATUS_CORRUPT;
        }
        struct lane *lane = lane_of(cluster, shard);
        if (lane->away) {
            relay_deliver(cluster, cluster_worker_of(cluster, shard), peer, NODE_LEADS,
                          slice_of(payload.data + at, LEADS_BYTES));
        } else {
            lane_led_by(lane, peer->node, term);
        }
    }
    return STATUS_OK;
}

/* Of a parcel or its answers, which both begin with the shard. */
static enum status take_request(struct cluster *cluster, struct peer *peer, uint8_t type, struct slice payload)
{
    if (payload.size < 4 || get_u32(payload.data) > cluster->shard_count) {
        return STATUS_CORRUPT;
    }
    uint32_t shard = get_u32(payload.data);
    if (lane_of(cluster, shard)->away) {
        relay_deliver(cluster, cluster_worker_of(cluster, shard), peer, type, payload);
        return STATUS_OK;
    }
    if (type == NODE_ANSWERS) {
        return lane_receive_answers(cluster, peer, payload);
    }
    enum status status = remote_receive(cluster, peer, peer->generation, payload);
    return CLUSTER_MUTATED(PARCEL_TWICE) ? remote_receive(cluster, peer, 0, payload) : status;
}

void peers_take(struct cluster *cluster, struct peer *peer, uint8_t type, struct slice payload)
{
    enum status status = STATUS_VERSION;
    cluster_beat_beside(cluster, payload.size);
    switch (type) {
    case NODE_RAFT:
    case NODE_RAFT_SIGNAL:
    case NODE_RAFT_BULK: status = take_messages(cluster, peer, type, payload); break;
    case NODE_LEADS: status = take_leads(cluster, peer, payload); break;
    case NODE_FOUNDING: status = cluster_founding_frame(cluster, peer->node, payload); break;
    case NODE_FORWARD:
    case NODE_ANSWERS: status = take_request(cluster, peer, type, payload); break;
    case NODE_NOTE:
        status = cluster->events.noted == NULL ? STATUS_OK : cluster->events.noted(cluster->owner, peer->node, payload);
        break;
    case NODE_LISTENS: status = messages_listens(cluster, peer, payload); break;
    case NODE_MESSAGES: status = messages_receive(cluster, payload); break;
    case NODE_LOCK_NEWS: status = lock_news_receive(cluster, payload); break;
    default: break;
    }
    cluster_beat_beside(cluster, payload.size);
    env_wake(cluster->env);
    int64_t now_ns = env_monotonic_ns(cluster->env);
    bool tell = cluster->told_frame_ns == 0 || now_ns - cluster->told_frame_ns >= (int64_t)TELL_AGAIN_S * 1000000000;
    if (status != STATUS_OK && status != STATUS_CLOSED && tell) {
        cluster->told_frame_ns = now_ns;
        env_log(cluster->env, ENV_LOG_WARNING,
                "node %" PRIu64 " sent a frame of type %u that makes no sense here (%s); do both nodes run the same "
                "version of cohort?",
                peer->node, (unsigned)type, status_text(status));
    }
}
