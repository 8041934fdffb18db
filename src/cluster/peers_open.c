/* The connections to the other nodes: at the first worker, which tells the others what they must know. */
#include "cluster/cluster_internal.h"

#include "base/assert.h"
#include "base/memory.h"
#include "env/listen_advice.h"

#include <stdio.h>
#include <stdlib.h>

static void up(void *owner, uint64_t node, uint64_t generation, const struct id128 *incarnation)
{
    struct cluster *cluster = owner;
    struct peer *peer = peer_find(cluster, node);
    ASSERT(peer != NULL);
    relay_tell_all(cluster, CLUSTER_TELL_UP, peer, generation);
    if (cluster->frames_unwanted) {
        transport_want_frames(cluster->transport, node, false);
    }
    peers_up(cluster, peer, generation);
    cluster_peer_up(cluster, node, incarnation);
    if (cluster->events.met != NULL) {
        cluster->events.met(cluster->owner, node, true);
    }
}

static void down(void *owner, uint64_t node, uint64_t generation)
{
    struct cluster *cluster = owner;
    struct peer *peer = peer_find(cluster, node);
    ASSERT(peer != NULL);
    relay_tell_all(cluster, CLUSTER_TELL_DOWN, peer, generation);
    peers_down(cluster, peer, generation);
    cluster_peer_down(cluster, node);
    if (cluster->events.met != NULL) {
        cluster->events.met(cluster->owner, node, false);
    }
}

static void gone(void *owner, uint64_t node, uint64_t start)
{
    struct cluster *cluster = owner;
    struct peer *peer = peer_find(cluster, node);
    ASSERT(peer != NULL);
    relay_tell_all(cluster, CLUSTER_TELL_GONE, peer, start);
    peers_gone(cluster, peer, start);
}

static void frame(void *owner, uint64_t node, uint64_t generation, uint8_t type, struct slice payload)
{
    struct cluster *cluster = owner;
    struct peer *peer = peer_find(cluster, node);
    ASSERT(peer != NULL && peer->generation == generation);
    peers_take(cluster, peer, type, payload);
}

static void copying(void *owner) { store_beat(((struct cluster *)owner)->store); }

static void refused(void *owner, uint64_t node, enum transport_reason reason, bool by_peer)
{
    cluster_peer_refused(owner, node, reason, by_peer);
}

static const struct transport_events events = {
    .up = up, .down = down, .gone = gone, .frame = frame, .refused = refused, .copying = copying};

/* ---- beginning and end ---- */

enum status peers_open(struct cluster *cluster, const struct id128 *cluster_id,
                       char ret_message[static CLUSTER_MESSAGE_BYTES])
{
    struct transport_options options;
    transport_options_init(&options);
    options.node = cluster->options.node;
    options.incarnation = cluster->options.incarnation;
    options.lineage = cluster->options.lineage;
    options.cluster = *cluster_id;
    options.host = cluster->options.peer_host;
    options.port = cluster->options.peer_port;
    options.events = &events;
    options.owner = cluster;
    enum status status = transport_create(cluster->env, &options, &cluster->transport);
    if (status != STATUS_OK) {
        char advice[LISTEN_ADVICE_BYTES];
        listen_advice(status, "--peer-listen", advice);
        (void)snprintf(ret_message, CLUSTER_MESSAGE_BYTES, "cannot listen for other nodes on %s:%d: %s",
                       cluster->options.peer_host, cluster->options.peer_port, advice);
    }
    return status;
}

void peers_name(struct cluster *cluster, const struct member *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (nodes[i].id != cluster->options.node) {
            struct peer *peer = &cluster->peers[cluster->peer_count++];
            peer->node = nodes[i].id;
            peer->relayed_bytes = memory_allocate_zeroed(cluster->worker_count, sizeof(*peer->relayed_bytes));
            list_init(&peer->relayed);
        }
    }
}

void peers_close(struct cluster *cluster)
{
    if (cluster->transport != NULL) {
        transport_destroy(cluster->transport);
    }
    for (size_t i = 0; i < cluster->peer_count; i++) {
        relay_forget(cluster, &cluster->peers[i]);
        buffer_deinit(&cluster->peers[i].raft);
        buffer_deinit(&cluster->peers[i].beats);
        buffer_deinit(&cluster->peers[i].messages);
        buffer_deinit(&cluster->peers[i].lock_news);
        free(cluster->peers[i].relayed_bytes);
    }
}
