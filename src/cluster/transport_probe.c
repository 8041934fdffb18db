/* Has a peer's process ended? The end of its connection does not say so: that may also be the network's doing. But when
 * nobody listens at its address any more, it has, as far as its host's network can tell.
 *
 * A process that dies closes its sockets one after the other, in an order of the system's, so an address that still
 * accepts is asked again. Nothing is sent, and who accepts learns nothing from it. */
#include "cluster/transport_internal.h"

enum { ATTEMPTS = 4, AGAIN_MS = 10, PATIENCE_MS = 200 };

static void start_timer(struct transport_peer *peer, int64_t ms)
{
    struct env *env = peer->transport->env;
    env_timer_start(env, &peer->probe.timer, env_monotonic_ns(env) + ms * TRANSPORT_NS_PER_MS);
}

/* `status` is what became of an attempt. */
static void settle(struct transport_peer *peer, enum status status)
{
    struct transport *transport = peer->transport;
    uint32_t attempts = peer->probe.attempts;
    transport_probe_end(peer);
    if (status == STATUS_REFUSED) {
        transport->options.events->gone(transport->options.owner, peer->node, peer->seen);
    } else if (attempts < ATTEMPTS) {
        peer->probe.attempts = attempts;
        start_timer(peer, AGAIN_MS);
    }
}

/* Connected, or not: reading says which. */
static void decided(void *owner)
{
    struct transport_peer *peer = owner;
    uint8_t byte;
    size_t size;
    settle(peer, env_stream_read(peer->transport->env, peer->probe.stream, &byte, sizeof(byte), &size));
}

static const struct env_stream_events stream_events = {.readable = decided, .writable = decided};

static void attempt(struct transport_peer *peer)
{
    struct env *env = peer->transport->env;
    peer->probe.attempts++;
    enum status status = env_connect(env, peer->host, peer->port, &peer->probe.stream);
    if (status != STATUS_OK) {
        peer->probe.stream = NULL;
        settle(peer, status);
        return;
    }
    env_stream_attach(env, peer->probe.stream, &stream_events, peer);
    env_stream_want_write(env, peer->probe.stream, true);
    start_timer(peer, PATIENCE_MS);
}

static void due(struct env_timer *timer)
{
    struct transport_peer *peer = CONTAINER_OF(timer, struct transport_peer, probe.timer);
    if (peer->probe.stream == NULL) {
        attempt(peer);
    } else {
        transport_probe_end(peer); /* no answer is none */
    }
}

void transport_probe_init(struct transport_peer *peer) { env_timer_init(&peer->probe.timer, due); }

void transport_probe_begin(struct transport_peer *peer)
{
    transport_probe_end(peer);
    if (peer->transport->options.events->gone != NULL) {
        start_timer(peer, 0);
    }
}

void transport_probe_end(struct transport_peer *peer)
{
    struct env *env = peer->transport->env;
    if (peer->probe.stream != NULL) {
        env_stream_close(env, peer->probe.stream);
    }
    env_timer_stop(env, &peer->probe.timer);
    peer->probe.stream = NULL;
    peer->probe.attempts = 0;
}
