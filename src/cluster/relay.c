/* Frames between nodes for the shards of other workers: the first worker has the connections, so what another sends
 * goes through it, and what arrives for another's shards goes to that one. Facts about connections go to all.
 *
 * Within a generation frames keep their order on the whole way, and a worker hears that a connection is lost behind all
 * that came by it; what it sent by a connection that is lost meanwhile goes nowhere. So lanes, parcels and consensus
 * find what transport.h promises.
 *
 * Bounds: a worker has RELAY_BYTES (consensus: RELAY_RAFT_BYTES) to each peer on the way through the first one, else
 * FULL; one frame of any size when there are less than RELAY_TELL_BYTES, which may have left long ago. What it has not
 * taken of what arrived for it is bounded by what other nodes may have under way; past RELAY_UNREAD_BYTES no more
 * frames are read, from any. */
#include "cluster/cluster_internal.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/varint.h"

#include <stdlib.h>

/* As it lies in records. */
struct frame_head {
    uint64_t node, generation;
    uint8_t type, priority;
};

/* What waits at the first worker until there is room for it. */
struct relayed {
    struct list node; /* in peer.relayed */
    uint64_t generation;
    uint32_t from;
    uint8_t type;
    struct buffer payload;
};

static bool is_raft(uint8_t type) { return type == NODE_RAFT || type == NODE_RAFT_BULK; }

static void tell_peer(struct cluster *cluster, uint32_t to, enum cluster_tell what, uint64_t node, uint64_t number)
{
    uint64_t numbers[2] = {node, number};
    struct slice part = slice_of(numbers, sizeof(numbers));
    workers_tell(cluster->workers, to, WORKERS_CLUSTER, (uint8_t)what, &part, 1);
}

/* ---- from another worker to a peer ---- */

enum status relay_send(struct cluster *cluster, struct peer *peer, uint64_t generation,
                       enum transport_priority priority, uint8_t type, const struct slice *parts, size_t count)
{
    if (peer->generation == 0 || peer->generation != generation) {
        return STATUS_CLOSED;
    }
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        size += parts[i].size;
    }
    size_t limit = is_raft(type) ? RELAY_RAFT_BYTES : RELAY_BYTES;
    if (peer->relaying_bytes >= RELAY_TELL_BYTES && peer->relaying_bytes + size > limit) { /* less may stay untold */
        return STATUS_FULL;
    }
    struct frame_head head = {.node = peer->node, .generation = generation, .type = type, .priority = priority};
    struct buffer *record = workers_begin(cluster->workers, 0, WORKERS_CLUSTER, CLUSTER_TELL_FRAME);
    buffer_append(record, &head, sizeof(head));
    for (size_t i = 0; i < count; i++) {
        buffer_append_slice(record, parts[i]);
    }
    (void)workers_end(cluster->workers, 0);
    peer->relaying_bytes += size;
    return STATUS_OK;
}

void relay_send_signals(struct cluster *cluster, const struct peer *peer, struct slice messages)
{
    struct frame_head head = {.node = peer->node, .generation = peer->generation, .type = NODE_RAFT_SIGNAL};
    const struct slice parts[2] = {slice_of((const uint8_t *)&head, sizeof(head)), messages};
    workers_tell_at_once(cluster->workers, 0, WORKERS_CLUSTER, CLUSTER_TELL_FRAME, parts, 2);
}

static void relayed_free(struct relayed *relayed)
{
    list_remove(&relayed->node);
    buffer_deinit(&relayed->payload);
    free(relayed);
}

static void note_sent(struct cluster *cluster, struct peer *peer, uint32_t worker, size_t bytes)
{
    size_t *sent = &peer->relayed_bytes[worker];
    *sent += bytes;
    if (*sent >= RELAY_TELL_BYTES) {
        tell_peer(cluster, worker, CLUSTER_TELL_SENT, peer->node, *sent);
        *sent = 0;
    }
}

static bool waits_for(const struct peer *peer, uint32_t worker)
{
    LIST_FOR_EACH (at, &peer->relayed) {
        if (CONTAINER_OF(at, struct relayed, node)->from == worker) {
            return true;
        }
    }
    return false;
}

static enum status pass(struct cluster *cluster, struct peer *peer, const struct frame_head *head, struct slice payload)
{
    const struct slice parts[2] = {payload, {0}};
    if (head->type == NODE_RAFT) {
        return peers_send_messages(cluster, peer, head->generation, payload);
    }
    if (is_raft(head->type)) {
        return transport_send(cluster->transport, peer->node, head->generation, (enum transport_priority)head->priority,
                              head->type, parts, 1);
    }
    return peers_send_request(cluster, peer, head->generation, (enum node_frame)head->type, parts);
}

/* At the first worker. */
static void relay(struct cluster *cluster, uint32_t from, struct slice body)
{
    struct frame_head head;
    ASSERT(body.size >= sizeof(head));
    memcpy(&head, body.data, sizeof(head));
    struct slice payload = slice_of(body.data + sizeof(head), body.size - sizeof(head));
    struct peer *peer = peer_find(cluster, head.node);
    ASSERT(peer != NULL);
    if (head.type == NODE_RAFT_SIGNAL) {
        (void)!transport_send(cluster->transport, head.node, head.generation, TRANSPORT_SIGNAL, head.type, &payload, 1);
        return;
    }
    bool behind = !is_raft(head.type) && waits_for(peer, from);
    enum status status = behind ? STATUS_FULL : pass(cluster, peer, &head, payload);
    if (status == STATUS_FULL && is_raft(head.type)) {
        tell_peer(cluster, from, CLUSTER_TELL_LOSSY, peer->node, 0);
    } else if (status == STATUS_FULL) {
        struct relayed *relayed = memory_allocate_zeroed(1, sizeof(*relayed));
        *relayed = (struct relayed){.generation = head.generation, .from = from, .type = head.type};
        list_init(&relayed->node);
        list_append(&peer->relayed, &relayed->node);
        buffer_append_slice(&relayed->payload, payload);
        return;
    }
    note_sent(cluster, peer, from, payload.size);
}

void relay_turn(struct cluster *cluster, struct peer *peer)
{
    while (!list_empty(&peer->relayed)) {
        struct relayed *relayed = CONTAINER_OF(peer->relayed.next, struct relayed, node);
        struct frame_head head = {.generation = relayed->generation, .type = relayed->type};
        if (pass(cluster, peer, &head, buffer_slice(&relayed->payload)) == STATUS_FULL) {
            return;
        }
        note_sent(cluster, peer, relayed->from, relayed->payload.size);
        relayed_free(relayed);
    }
}

void relay_forget(struct cluster *cluster, struct peer *peer)
{
    while (!list_empty(&peer->relayed)) {
        struct relayed *relayed = CONTAINER_OF(peer->relayed.next, struct relayed, node);
        note_sent(cluster, peer, relayed->from, relayed->payload.size);
        relayed_free(relayed);
    }
}

/* ---- from a peer to another worker ---- */

static void want_frames(struct cluster *cluster, bool wanted)
{
    cluster->frames_unwanted = !wanted;
    for (size_t i = 0; i < cluster->peer_count; i++) {
        transport_want_frames(cluster->transport, cluster->peers[i].node, wanted);
    }
}

void relay_deliver(struct cluster *cluster, uint32_t worker, const struct peer *peer, uint8_t type,
                   struct slice payload)
{
    struct frame_head head = {.node = peer->node, .generation = peer->generation, .type = type};
    const struct slice parts[2] = {slice_of(&head, sizeof(head)), payload};
    workers_tell(cluster->workers, worker, WORKERS_CLUSTER, CLUSTER_TELL_FRAME, parts, 2);
    struct colleague *colleague = &cluster->colleagues[worker];
    colleague->unread_bytes += payload.size;
    if (colleague->unread_bytes > RELAY_UNREAD_BYTES && !cluster->frames_unwanted) {
        want_frames(cluster, false);
    }
}

static void delivered(struct cluster *cluster, struct slice body)
{
    struct frame_head head;
    ASSERT(body.size >= sizeof(head));
    memcpy(&head, body.data, sizeof(head));
    struct slice payload = slice_of(body.data + sizeof(head), body.size - sizeof(head));
    struct peer *peer = peer_find(cluster, head.node);
    ASSERT(peer != NULL && peer->generation == head.generation);
    peers_take(cluster, peer, head.type, payload);
    cluster->read_bytes += payload.size;
    if (cluster->read_bytes >= RELAY_TELL_BYTES) {
        tell_peer(cluster, 0, CLUSTER_TELL_READ, 0, cluster->read_bytes);
        cluster->read_bytes = 0;
    }
}

static void was_read(struct cluster *cluster, uint32_t from, uint64_t bytes)
{
    ASSERT(cluster->colleagues[from].unread_bytes >= bytes);
    cluster->colleagues[from].unread_bytes -= bytes;
    bool calm = cluster->frames_unwanted;
    for (uint32_t i = 0; i < cluster->worker_count; i++) {
        calm = calm && cluster->colleagues[i].unread_bytes < RELAY_UNREAD_BYTES / 2;
    }
    if (calm) {
        want_frames(cluster, true);
    }
}

void relay_frame(struct cluster *cluster, uint32_t from, struct slice body)
{
    if (cluster->worker == 0) {
        relay(cluster, from, body);
    } else {
        delivered(cluster, body);
    }
}

void relay_fact(struct cluster *cluster, uint32_t from, enum cluster_tell what, struct slice body)
{
    uint64_t numbers[2];
    ASSERT(body.size == sizeof(numbers));
    memcpy(numbers, body.data, sizeof(numbers));
    struct peer *peer = numbers[0] == 0 ? NULL : peer_find(cluster, numbers[0]);
    ASSERT(peer != NULL || what == CLUSTER_TELL_READ);
    switch (what) {
    case CLUSTER_TELL_UP: peers_up(cluster, peer, numbers[1]); break;
    case CLUSTER_TELL_DOWN: peers_down(cluster, peer, numbers[1]); break;
    case CLUSTER_TELL_GONE: peers_gone(cluster, peer, numbers[1]); break;
    case CLUSTER_TELL_LOSSY: peer->lossy = true; break;
    case CLUSTER_TELL_SENT:
        ASSERT(peer->relaying_bytes >= numbers[1]);
        peer->relaying_bytes -= numbers[1];
        break;
    case CLUSTER_TELL_READ: was_read(cluster, from, numbers[1]); break;
    default: UNREACHABLE();
    }
}

void relay_tell_all(struct cluster *cluster, enum cluster_tell what, const struct peer *peer, uint64_t generation)
{
    for (uint32_t i = 1; i < cluster->worker_count; i++) {
        tell_peer(cluster, i, what, peer->node, generation);
    }
}
