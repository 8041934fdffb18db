/* Messages for subscribers: from the worker where they are published, or where the shard is led that tells of a key, to
 * all workers of all nodes.
 *
 *   worker ─▶ colleagues                                   (workers.h)
 *          └▶ first worker ─▶ peers ─▶ their first workers ─▶ their colleagues
 *
 * Invariants
 * 1. At most once: nothing is sent again, and each way leads to a worker once.
 * 2. What one worker tells arrives everywhere in that order, with gaps where something was dropped: every way is a
 *    queue, a message passes all of them or is dropped at the end of one, and what a connection had under way is lost
 *    with it, before the next one begins.
 * 3. Nobody waits for anybody: what finds MESSAGES_WAITING_BYTES waiting for a peer or a worker is dropped and counted.
 *    (One message, however large, finds room where none waits.) To peers they go as bulk, at most MESSAGES_QUEUED_BYTES
 *    at a time: consensus goes before them, and snapshots find room beside them.
 *
 * Every node is sent every message, whether or not it has subscribers: who has just been told that it subscribes may
 * rely on it. Events alone are sent to those only that have said that they listen (NODE_LISTENS); a shard tells of
 * what any node wants. */
#include "cluster/cluster_internal.h"
#include "cluster/cluster_mutation.h"

#include "base/assert.h"
#include "base/varint.h"

/* ---- to the other workers ---- */

static void tell_colleague(struct cluster *cluster, uint32_t to, enum cluster_tell what, const struct message *message)
{
    struct colleague *colleague = &cluster->colleagues[to];
    /* What it has taken it tells in steps of RELAY_TELL_BYTES: less may be nothing. */
    if (colleague->told_bytes >= RELAY_TELL_BYTES &&
        colleague->told_bytes + message_bytes(message) > MESSAGES_WAITING_BYTES) {
        cluster->message_counters.dropped++;
        return;
    }
    message_put(workers_begin(cluster->workers, to, WORKERS_CLUSTER, (uint8_t)what), message);
    colleague->told_bytes += workers_end(cluster->workers, to);
}

void cluster_tell_colleagues(struct cluster *cluster, const struct message *message)
{
    for (uint32_t i = 0; i < cluster->worker_count; i++) {
        if (i != cluster->worker) {
            tell_colleague(cluster, i, CLUSTER_TELL_MESSAGE, message);
        }
    }
}

/* ---- to the other nodes ---- */

#ifdef COHORT_MUTATIONS
static void put_in_front(struct buffer *messages, size_t start, const struct message *message)
{
    struct buffer behind = *messages;
    buffer_init(messages);
    buffer_append(messages, behind.data, start);
    message_put(messages, message);
    buffer_append(messages, behind.data + start, behind.size - start);
    buffer_deinit(&behind);
}
#else
#define put_in_front(messages, start, message) ((void)0)
#endif

static void tell_peer(struct cluster *cluster, struct peer *peer, const struct message *message)
{
    if (peer->generation == 0 || (message->kind == MESSAGE_EVENT && (peer->listens & message->class) == 0)) {
        return;
    }
    size_t waiting = peer->messages.size - peer->messages_start;
    if (waiting != 0 && waiting + message_bytes(message) > MESSAGES_WAITING_BYTES) {
        cluster->message_counters.dropped++;
        return;
    }
    if (CLUSTER_MUTATED(MESSAGE_LATE)) {
        put_in_front(&peer->messages, peer->messages_start, message);
    } else {
        message_put(&peer->messages, message);
    }
    cluster->message_counters.sent++;
    env_wake(cluster->env);
}

static void tell_peers(struct cluster *cluster, const struct message *message)
{
    for (size_t i = 0; i < cluster->peer_count; i++) {
        tell_peer(cluster, &cluster->peers[i], message);
    }
}

void cluster_tell_nodes(struct cluster *cluster, const struct message *message)
{
    if (message->subject.size + message->body.size > CLUSTER_MESSAGE_LARGEST) {
        cluster->message_counters.dropped += cluster_alone(cluster) ? 0 : 1;
    } else if (cluster->worker == 0) {
        tell_peers(cluster, message);
    } else if (!cluster_alone(cluster) &&
               (message->kind != MESSAGE_EVENT || (cluster->others_classes & message->class) != 0)) {
        tell_colleague(cluster, 0, CLUSTER_TELL_MESSAGE_OUT, message);
    }
}

/* How much of the front goes into one frame: whole messages. */
static size_t frame_bytes(struct slice waiting)
{
    struct slice rest = waiting;
    size_t bytes = 0;
    while (rest.size != 0) {
        struct message message;
        bool whole = message_take(&rest, &message);
        ASSERT(whole); /* ours */
        size_t end = waiting.size - rest.size;
        if (bytes != 0 && end > MESSAGES_FRAME_BYTES) {
            break;
        }
        bytes = end;
    }
    return bytes;
}

static void send_waiting(struct cluster *cluster, struct peer *peer)
{
    while (peer->messages_start != peer->messages.size &&
           transport_queued(cluster->transport, peer->node, TRANSPORT_BULK) < MESSAGES_QUEUED_BYTES) {
        struct slice waiting =
            slice_of(peer->messages.data + peer->messages_start, peer->messages.size - peer->messages_start);
        size_t bytes = waiting.size <= MESSAGES_FRAME_BYTES ? waiting.size : frame_bytes(waiting);
        struct slice part = slice_of(waiting.data, bytes);
        enum status status =
            transport_send(cluster->transport, peer->node, peer->generation, TRANSPORT_BULK, NODE_MESSAGES, &part, 1);
        if (status != STATUS_OK) {
            break; /* no room yet; or the connection is lost, and that will be told */
        }
        if (CLUSTER_MUTATED(MESSAGE_TWICE)) {
            (void)!transport_send(cluster->transport, peer->node, peer->generation, TRANSPORT_BULK, NODE_MESSAGES,
                                  &part, 1);
        }
        peer->messages_start += bytes;
        env_wake(cluster->env); /* the queue may be empty after this turn */
    }
    if (peer->messages_start == peer->messages.size) {
        buffer_clear(&peer->messages);
        buffer_shrink(&peer->messages, MESSAGES_FRAME_BYTES);
        peer->messages_start = 0;
    } else if (peer->messages_start > peer->messages.size / 2) {
        buffer_consume(&peer->messages, peer->messages_start);
        peer->messages_start = 0;
    }
}

static void send_listens(struct cluster *cluster, struct peer *peer)
{
    uint8_t classes[4];
    put_u32(classes, cluster->own_classes);
    struct slice part = slice_of(classes, sizeof(classes));
    peer->unlistened = transport_send(cluster->transport, peer->node, peer->generation, TRANSPORT_URGENT, NODE_LISTENS,
                                      &part, 1) == STATUS_FULL;
}

void messages_turn(struct cluster *cluster)
{
    for (size_t i = 0; cluster->transport != NULL && i < cluster->peer_count; i++) {
        struct peer *peer = &cluster->peers[i];
        if (peer->generation != 0 && peer->unlistened) {
            send_listens(cluster, peer);
        }
        if (peer->messages.size != 0) {
            send_waiting(cluster, peer);
        }
    }
}

/* ---- in ---- */

static void hear(struct cluster *cluster, const struct message *message, enum cluster_source source)
{
    if (cluster->events.message != NULL) {
        cluster->events.message(cluster->owner, message, source);
    }
}

void messages_told(struct cluster *cluster, struct slice messages)
{
    while (messages.size != 0) {
        struct message message;
        bool whole = message_take(&messages, &message);
        ASSERT(whole);
        hear(cluster, &message, CLUSTER_FROM_SHARD);
    }
}

enum status messages_receive(struct cluster *cluster, struct slice payload)
{
    struct slice rest = payload;
    while (rest.size != 0) { /* all of it makes sense, or none is heard */
        struct message message;
        if (!message_take(&rest, &message)) {
            return STATUS_CORRUPT;
        }
    }
    while (payload.size != 0) {
        struct message message;
        bool whole = message_take(&payload, &message);
        ASSERT(whole);
        cluster->message_counters.received++;
        hear(cluster, &message, CLUSTER_FROM_NODE);
    }
    return STATUS_OK;
}

static void take_message(struct cluster *cluster, uint32_t from, enum cluster_tell what, struct slice body)
{
    struct colleague *colleague = &cluster->colleagues[from];
    struct slice rest = body;
    struct message message;
    bool whole = message_take(&rest, &message);
    ASSERT(whole && rest.size == 0);
    if (what == CLUSTER_TELL_MESSAGE_OUT) {
        tell_peers(cluster, &message);
    } else {
        hear(cluster, &message, CLUSTER_FROM_COLLEAGUE);
    }
    colleague->heard_bytes += body.size;
    if (colleague->heard_bytes >= RELAY_TELL_BYTES) {
        uint64_t bytes = colleague->heard_bytes;
        struct slice part = slice_of(&bytes, sizeof(bytes));
        workers_tell(cluster->workers, from, WORKERS_CLUSTER, CLUSTER_TELL_MESSAGES_TAKEN, &part, 1);
        colleague->heard_bytes = 0;
    }
}

/* ---- who listens to which events ---- */

static void tell_classes(struct cluster *cluster)
{
    uint32_t classes[2] = {cluster->own_classes, cluster->others_classes};
    cluster->event_classes = classes[0] | classes[1];
    if (cluster->workers != NULL) {
        struct slice part = slice_of(classes, sizeof(classes));
        workers_tell_all(cluster->workers, WORKERS_CLUSTER, CLUSTER_TELL_LISTEN, &part, 1);
    }
}

static void reckon_others(struct cluster *cluster)
{
    uint32_t classes = 0;
    for (size_t i = 0; i < cluster->peer_count; i++) {
        classes |= cluster->peers[i].listens;
    }
    if (classes != cluster->others_classes) {
        cluster->others_classes = classes;
        tell_classes(cluster);
    }
}

void cluster_listen(struct cluster *cluster, uint32_t classes)
{
    ASSERT(cluster->worker == 0 && (classes & ~(uint32_t)EVENT_CLASSES) == 0);
    if (classes == cluster->own_classes) {
        return;
    }
    cluster->own_classes = classes;
    tell_classes(cluster);
    for (size_t i = 0; i < cluster->peer_count; i++) {
        cluster->peers[i].unlistened = true;
    }
    env_wake(cluster->env);
}

enum status messages_listens(struct cluster *cluster, struct peer *peer, struct slice payload)
{
    if (payload.size != 4) {
        return STATUS_CORRUPT;
    }
    peer->listens = get_u32(payload.data) & EVENT_CLASSES; /* a later version may know more */
    reckon_others(cluster);
    return STATUS_OK;
}

void messages_arrived(struct cluster *cluster, uint32_t from, enum cluster_tell what, struct slice body)
{
    uint64_t bytes = 0;
    uint32_t classes[2];
    switch (what) {
    case CLUSTER_TELL_MESSAGE:
    case CLUSTER_TELL_MESSAGE_OUT: take_message(cluster, from, what, body); return;
    case CLUSTER_TELL_MESSAGES_TAKEN:
        ASSERT(body.size == sizeof(bytes));
        memcpy(&bytes, body.data, sizeof(bytes));
        ASSERT(cluster->colleagues[from].told_bytes >= bytes);
        cluster->colleagues[from].told_bytes -= bytes;
        return;
    case CLUSTER_TELL_LISTEN:
        ASSERT(body.size == sizeof(classes));
        memcpy(classes, body.data, sizeof(classes));
        cluster->own_classes = classes[0];
        cluster->others_classes = classes[1];
        cluster->event_classes = classes[0] | classes[1];
        return;
    default: UNREACHABLE();
    }
}

/* ---- connections ---- */

void messages_up(const struct cluster *cluster, struct peer *peer) { peer->unlistened = cluster->own_classes != 0; }

void messages_down(struct cluster *cluster, struct peer *peer)
{
    buffer_deinit(&peer->messages); /* how many were dropped nobody counts: of those under way nobody knows either */
    peer->messages_start = 0;
    peer->listens = 0;
    if (cluster->worker == 0) {
        reckon_others(cluster);
    }
}

void cluster_message_counters(const struct cluster *cluster, struct cluster_message_counters *ret_counters)
{
    *ret_counters = cluster->message_counters;
}
