/* Peers: who is allowed, where they are, and when to dial them. */
#include "base/assert.h"
#include "base/memory.h"
#include "cluster/transport_internal.h"

#include <stdlib.h>

static uint32_t place_of(const struct transport *transport, uint64_t node)
{
    uint32_t at = 0;
    while (at < transport->peer_count && transport->peers[at]->node < node) {
        at++;
    }
    return at;
}

struct transport_peer *transport_find(const struct transport *transport, uint64_t node)
{
    uint32_t at = place_of(transport, node);
    return at < transport->peer_count && transport->peers[at]->node == node ? transport->peers[at] : NULL;
}

struct transport_connection *transport_find_up(const struct transport *transport, uint64_t node)
{
    const struct transport_peer *peer = transport_find(transport, node);
    bool up = peer != NULL && peer->connection != NULL && peer->connection->state == TRANSPORT_UP;
    return up ? peer->connection : NULL;
}

/* ---- dialing ---- */

void transport_dial(struct transport_peer *peer)
{
    struct transport *transport = peer->transport;
    struct env_stream *stream;
    ASSERT(peer->connection == NULL);
    transport->attempts++;
    transport->statistics.dialed++;
    peer->statistics.dials++;
    enum status status = env_connect(transport->env, peer->host, peer->port, &stream);
    if (status != STATUS_OK) {
        transport_note_unreachable(peer, status_text(status));
        transport_dial_later(peer);
        return;
    }
    peer->connection = transport_connection_create(transport, stream, peer);
}

static void dial_due(struct env_timer *timer)
{
    transport_dial(CONTAINER_OF(timer, struct transport_peer, dial_timer));
}

static bool ours_to_dial(const struct transport_peer *peer) { return peer->transport->options.node < peer->node; }

/* Exponential backoff; the random part keeps the nodes of a cluster from trying in step. */
void transport_dial_later(struct transport_peer *peer)
{
    struct transport *transport = peer->transport;
    if (!ours_to_dial(peer)) {
        return;
    }
    int64_t first_ns = (int64_t)transport->options.backoff_first_ms * TRANSPORT_NS_PER_MS;
    int64_t maximum_ns = (int64_t)transport->options.backoff_maximum_ms * TRANSPORT_NS_PER_MS;
    int64_t backoff_ns = peer->backoff_ns == 0 ? first_ns : peer->backoff_ns * 2;
    peer->backoff_ns = backoff_ns < maximum_ns ? backoff_ns : maximum_ns;
    int64_t less_ns = (int64_t)prng_below(&transport->prng, (uint64_t)peer->backoff_ns / 2 + 1);
    env_timer_start(transport->env, &peer->dial_timer, env_monotonic_ns(transport->env) + peer->backoff_ns - less_ns);
}

/* Something is different: no need to wait. */
static void dial_anew(struct transport_peer *peer)
{
    peer->backoff_ns = 0;
    if (peer->connection == NULL && ours_to_dial(peer)) {
        env_timer_start(peer->transport->env, &peer->dial_timer, env_monotonic_ns(peer->transport->env));
    }
}

/* ---- who is allowed ---- */

static struct transport_peer *peer_add(struct transport *transport, uint64_t node)
{
    struct transport_peer *peer = memory_allocate_zeroed(1, sizeof(*peer));
    peer->transport = transport;
    peer->node = node;
    env_timer_init(&peer->dial_timer, dial_due);
    transport_probe_init(peer);
    uint32_t at = place_of(transport, node);
    memmove(transport->peers + at + 1, transport->peers + at,
            (transport->peer_count - at) * sizeof(struct transport_peer *));
    transport->peers[at] = peer;
    transport->peer_count++;
    return peer;
}

/* The caller's own doing, so `down` is not called. */
static void disconnect(struct transport_peer *peer)
{
    transport_probe_end(peer);
    if (peer->connection != NULL) {
        transport_connection_drop(peer->connection);
        peer->statistics.up = false;
        peer->statistics.since_ns = env_monotonic_ns(peer->transport->env);
    }
}

enum status transport_set_peer(struct transport *transport, uint64_t node, const char *host, int port,
                               const struct id128 *incarnation)
{
    if (node == 0 || node == transport->options.node || strlen(host) >= TRANSPORT_HOST_BYTES || port <= 0 ||
        port > UINT16_MAX) {
        return STATUS_INVALID;
    }
    struct transport_peer *peer = transport_find(transport, node);
    bool added = peer == NULL;
    if (added && transport->peer_count == TRANSPORT_PEERS) {
        return STATUS_FULL;
    }
    peer = added ? peer_add(transport, node) : peer;
    bool moved = strcmp(peer->host, host) != 0 || peer->port != port;
    bool another = incarnation != NULL && !id128_equal(&peer->incarnation, incarnation);
    memcpy(peer->host, host, strlen(host) + 1);
    peer->port = port;
    if (another) {
        peer->incarnation = *incarnation;
        peer->seen = peer->seen_run = 0;
    }
    bool up = peer->connection != NULL && peer->connection->state == TRANSPORT_UP;
    if (up && !id128_equal(&peer->connection->hello.incarnation, &peer->incarnation)) {
        disconnect(peer);
    } else if (!up && moved) {
        disconnect(peer); /* what is being dialed is the old address */
    }
    if (moved || another) {
        dial_anew(peer);
    }
    return STATUS_OK;
}

void transport_set_seen(struct transport *transport, uint64_t node, uint64_t start)
{
    struct transport_peer *peer = transport_find(transport, node);
    if (peer != NULL && start > peer->seen) {
        peer->seen = start;
        peer->seen_run = 0;
    }
}

void transport_peer_free(struct transport_peer *peer)
{
    disconnect(peer);
    env_timer_stop(peer->transport->env, &peer->dial_timer);
    free(peer);
}

void transport_remove_peer(struct transport *transport, uint64_t node)
{
    uint32_t at = place_of(transport, node);
    struct transport_peer *peer = transport_find(transport, node);
    if (peer == NULL) {
        return;
    }
    transport->peer_count--;
    memmove(transport->peers + at, transport->peers + at + 1,
            (transport->peer_count - at) * sizeof(struct transport_peer *));
    transport_peer_free(peer);
}

void transport_set_cluster(struct transport *transport, const struct id128 *cluster)
{
    if (id128_equal(&transport->options.cluster, cluster)) {
        return;
    }
    transport->options.cluster = *cluster;
    for (uint32_t i = 0; i < transport->peer_count; i++) {
        disconnect(transport->peers[i]);
        dial_anew(transport->peers[i]);
    }
}

enum status transport_peer_statistics(const struct transport *transport, uint64_t node,
                                      struct transport_peer_statistics *ret_statistics)
{
    const struct transport_peer *peer = transport_find(transport, node);
    if (peer == NULL) {
        return STATUS_NOTFOUND;
    }
    *ret_statistics = peer->statistics;
    ret_statistics->incarnation = peer->incarnation;
    for (int i = 0; i < TRANSPORT_PRIORITIES && peer->connection != NULL; i++) {
        ret_statistics->queued_bytes[i] = transport_lane_size(&peer->connection->queue.lanes[i]);
    }
    return STATUS_OK;
}
