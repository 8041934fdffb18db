/* Refusals, in both directions: counted always, logged once a minute for each peer and reason. */
#include "cluster/transport_internal.h"

#include <stdio.h>

enum { TEXT_BYTES = 400, NAME_BYTES = 128 };

static const char *const names[TRANSPORT_REASONS] = {
    [TRANSPORT_ACCEPTABLE] = "unknown",      [TRANSPORT_GARBAGE] = "garbage",   [TRANSPORT_DAMAGED] = "damaged",
    [TRANSPORT_VERSION] = "version",         [TRANSPORT_PURPOSE] = "purpose",   [TRANSPORT_CLUSTER] = "cluster",
    [TRANSPORT_STRANGER] = "stranger",       [TRANSPORT_RECEIVER] = "receiver", [TRANSPORT_DIRECTION] = "direction",
    [TRANSPORT_INCARNATION] = "incarnation", [TRANSPORT_STALE] = "stale",       [TRANSPORT_SLOW] = "slow",
    [TRANSPORT_CROWDED] = "crowded",         [TRANSPORT_COPY] = "copy",
};

const char *transport_reason_name(enum transport_reason reason)
{
    return (unsigned)reason < TRANSPORT_REASONS ? names[reason] : names[TRANSPORT_ACCEPTABLE];
}

/* ---- words ---- */

/* Who is meant: the peer whose connection it is, or who it says it is, if that can be true. */
static struct transport_peer *peer_of(const struct transport *transport, const struct transport_connection *connection)
{
    if (connection->peer != NULL || !id128_equal(&connection->hello.cluster, &transport->options.cluster)) {
        return connection->peer;
    }
    return transport_find(transport, connection->hello.from);
}

static uint64_t node_of(const struct transport_connection *connection)
{
    return connection->peer != NULL ? connection->peer->node : connection->hello.from;
}

static void describe(const struct transport_connection *connection, char ret_text[static NAME_BYTES])
{
    unsigned long long node = node_of(connection);
    if (node == 0) {
        (void)snprintf(ret_text, NAME_BYTES, "%s", connection->address);
    } else {
        (void)snprintf(ret_text, NAME_BYTES, "node %llu (%s)", node, connection->address);
    }
}

static void explain_versions(const struct transport *transport, uint16_t lowest, uint16_t highest,
                             char ret_text[static TEXT_BYTES])
{
    (void)snprintf(ret_text, TEXT_BYTES,
                   "it speaks versions %u to %u of the protocol between nodes, this node %u to %u; upgrade the older",
                   lowest, highest, transport->options.version_lowest, transport->options.version_highest);
}

static void explain_cluster(const struct transport *transport, const struct transport_connection *connection,
                            char ret_text[static TEXT_BYTES])
{
    char theirs[ID128_DIGITS + 1], ours[ID128_DIGITS + 1];
    id128_format(&connection->hello.cluster, theirs);
    id128_format(&transport->options.cluster, ours);
    (void)snprintf(ret_text, TEXT_BYTES, "it is of cluster %s, this node of %s; check the addresses of the peers",
                   theirs, ours);
}

static void explain_receiver(const struct transport *transport, const struct transport_connection *connection,
                             char ret_text[static TEXT_BYTES])
{
    if (connection->dialed) {
        (void)snprintf(ret_text, TEXT_BYTES, "node %llu answered there; check the addresses of the peers",
                       (unsigned long long)connection->hello.from);
    } else {
        (void)snprintf(ret_text, TEXT_BYTES,
                       "it looks for node %llu, but this is node %llu; check the addresses in its list of peers",
                       (unsigned long long)connection->hello.to, (unsigned long long)transport->options.node);
    }
}

/* Why we refuse, and what a person can do. */
static void explain(const struct transport *transport, const struct transport_connection *connection,
                    enum transport_reason reason, char ret_text[static TEXT_BYTES])
{
    const struct transport_hello *hello = &connection->hello;
    unsigned long long node = node_of(connection);
    const char *text = "";
    switch (reason) {
    case TRANSPORT_GARBAGE:
        text = "it does not speak the protocol between nodes; clients belong to the other port";
        break;
    case TRANSPORT_DAMAGED:
        text = "it sent a damaged or misplaced frame; when this repeats, look at the network and the memory of both";
        break;
    case TRANSPORT_VERSION:
        explain_versions(transport, hello->version_lowest, hello->version_highest, ret_text);
        return;
    case TRANSPORT_PURPOSE: text = "it wants something that this version does not know; upgrade the older"; break;
    case TRANSPORT_CLUSTER: explain_cluster(transport, connection, ret_text); return;
    case TRANSPORT_STRANGER: text = "it is no member of this cluster; add it first"; break;
    case TRANSPORT_RECEIVER: explain_receiver(transport, connection, ret_text); return;
    case TRANSPORT_DIRECTION: text = "it dialed, though its id is the larger; see that no two nodes share an id"; break;
    case TRANSPORT_INCARNATION:
        (void)snprintf(ret_text, TEXT_BYTES,
                       "its data folder is not the one that joined as node %llu (disk lost or replaced); bring "
                       "that folder back, or remove node %llu from the cluster and add it anew",
                       node, node);
        return;
    case TRANSPORT_STALE: text = "a newer connection has taken the place of this one"; break;
    case TRANSPORT_SLOW: text = "it did not say who it is in time"; break;
    case TRANSPORT_CROWDED: text = "too many connections to the node port are unidentified; see who opens them"; break;
    case TRANSPORT_COPY:
        (void)snprintf(ret_text, TEXT_BYTES,
                       "its data folder is an older copy of node %llu's, or another process runs on a copy of it; stop "
                       "it, and go on with the folder as node %llu left it last",
                       node, node);
        return;
    case TRANSPORT_ACCEPTABLE:
    case TRANSPORT_REASONS: break;
    }
    (void)snprintf(ret_text, TEXT_BYTES, "%s", text);
}

/* Why a peer refuses us, and what a person can do. */
static void explain_theirs(const struct transport *transport, const struct transport_refusal *refusal,
                           char ret_text[static TEXT_BYTES])
{
    unsigned long long self = transport->options.node;
    char cluster[ID128_DIGITS + 1];
    const char *text = "";
    switch ((enum transport_reason)refusal->reason) {
    case TRANSPORT_GARBAGE:
    case TRANSPORT_DAMAGED:
        text = "what arrives is damaged; when this repeats, look at the network and the memory of both";
        break;
    case TRANSPORT_VERSION:
        explain_versions(transport, refusal->version_lowest, refusal->version_highest, ret_text);
        return;
    case TRANSPORT_PURPOSE: text = "it does not know what this node wants; upgrade the older"; break;
    case TRANSPORT_CLUSTER:
        id128_format(&transport->options.cluster, cluster);
        (void)snprintf(ret_text, TEXT_BYTES, "it is of another cluster than %s; check the addresses of the peers",
                       cluster);
        return;
    case TRANSPORT_STRANGER:
        (void)snprintf(ret_text, TEXT_BYTES, "it does not know node %llu as a member of the cluster; add it first",
                       self);
        return;
    case TRANSPORT_RECEIVER: text = "it is another node than expected; check the addresses of the peers"; break;
    case TRANSPORT_DIRECTION: text = "the node with the smaller id dials; see that no two nodes share an id"; break;
    case TRANSPORT_INCARNATION:
        (void)snprintf(
            ret_text, TEXT_BYTES,
            "node %llu joined with another data folder than this one; bring that folder back, or remove node "
            "%llu from the cluster and add it anew",
            self, self);
        return;
    case TRANSPORT_STALE: text = "a newer connection has taken the place of this one"; break;
    case TRANSPORT_SLOW: text = "the handshake took too long"; break;
    case TRANSPORT_CROWDED: text = "too many unidentified connections to its port"; break;
    case TRANSPORT_COPY:
        text = "this data folder is an older copy of this node's, or another process runs on a copy of it";
        break;
    case TRANSPORT_ACCEPTABLE:
    case TRANSPORT_REASONS:
    default:
        (void)snprintf(ret_text, TEXT_BYTES, "reason %u, of a later version; upgrade the older", refusal->reason);
        return;
    }
    (void)snprintf(ret_text, TEXT_BYTES, "%s", text);
}

/* ---- counting and logging ---- */

/* True at most once in TRANSPORT_LOG_MS for each peer (all strangers are one), direction and reason. */
static bool may_log(struct transport *transport, struct transport_peer *peer, bool by_peer,
                    enum transport_reason reason)
{
    int64_t *last_ns = &(peer != NULL ? &peer->logged : &transport->logged)->at_ns[by_peer ? 1 : 0][reason];
    int64_t now_ns = env_monotonic_ns(transport->env);
    if (*last_ns != 0 && now_ns - *last_ns < (int64_t)TRANSPORT_LOG_MS * TRANSPORT_NS_PER_MS) {
        return false;
    }
    *last_ns = now_ns;
    return true;
}

static void tell(struct transport *transport, uint64_t node, enum transport_reason reason, bool by_peer)
{
    if (transport->options.events->refused != NULL) {
        transport->options.events->refused(transport->options.owner, node, reason, by_peer);
    }
}

static void note(struct transport *transport, const struct transport_connection *connection,
                 enum transport_reason reason)
{
    struct transport_peer *peer = peer_of(transport, connection);
    transport->statistics.refused[reason]++;
    if (peer != NULL) {
        peer->statistics.refused = reason;
    }
    if (may_log(transport, peer, false, reason)) {
        char name[NAME_BYTES], text[TEXT_BYTES];
        describe(connection, name);
        explain(transport, connection, reason, text);
        env_log(transport->env, ENV_LOG_WARNING, "refused %s: %s", name, text);
    }
}

void transport_note_refusal(struct transport *transport, const struct transport_connection *connection,
                            enum transport_reason reason)
{
    note(transport, connection, reason);
    tell(transport, node_of(connection), reason, false);
}

void transport_note_unreachable(struct transport_peer *peer, const char *why)
{
    struct transport *transport = peer->transport;
    if (may_log(transport, peer, false, TRANSPORT_ACCEPTABLE)) {
        env_log(transport->env, ENV_LOG_WARNING, "cannot reach node %llu at %s port %d: %s; trying again",
                (unsigned long long)peer->node, peer->host, peer->port, why);
    }
}

/* Tells the other side, if it speaks our protocol. */
static void say(struct transport_connection *connection, enum transport_reason reason)
{
    struct transport *transport = connection->transport;
    struct buffer *out = &connection->queue.lanes[TRANSPORT_SIGNAL].bytes;
    struct transport_refusal refusal = {.reason = (uint8_t)reason,
                                        .version_lowest = transport->options.version_lowest,
                                        .version_highest = transport->options.version_highest};
    if (!connection->greeted) {
        transport_queue_put_magic(&connection->queue, transport_magic, sizeof(transport_magic));
        connection->greeted = true;
    }
    transport_refusal_encode(&refusal, out);
    transport_connection_unknown(connection, true);
    env_timer_start(transport->env, &connection->timer,
                    env_monotonic_ns(transport->env) + (int64_t)TRANSPORT_LINGER_MS * TRANSPORT_NS_PER_MS);
    transport_connection_dirty(connection);
}

void transport_refuse(struct transport_connection *connection, enum transport_reason reason)
{
    struct transport *transport = connection->transport;
    struct transport_peer *peer = connection->peer;
    uint64_t node = node_of(connection);
    bool was_up = connection->state == TRANSPORT_UP;
    note(transport, connection, reason);
    if (reason == TRANSPORT_GARBAGE) {
        transport_connection_drop(connection);
    } else {
        transport_connection_detach(connection, TRANSPORT_LINGERING);
        say(connection, reason);
    }
    if (peer != NULL) {
        transport_peer_lost(peer, connection, was_up, NULL);
    }
    tell(transport, node, reason, false);
}

void transport_refused(struct transport_connection *connection, struct slice payload)
{
    struct transport *transport = connection->transport;
    struct transport_refusal refusal;
    if (transport_refusal_decode(payload, &refusal) != STATUS_OK) {
        transport_refuse(connection, TRANSPORT_DAMAGED);
        return;
    }
    struct transport_peer *peer = peer_of(transport, connection);
    enum transport_reason reason =
        refusal.reason < TRANSPORT_REASONS ? (enum transport_reason)refusal.reason : TRANSPORT_ACCEPTABLE;
    uint64_t node = node_of(connection);
    transport->statistics.refused_by_peer[reason]++;
    if (peer != NULL) {
        peer->statistics.refused_by_peer = reason;
    }
    if (may_log(transport, peer, true, reason)) {
        char name[NAME_BYTES], text[TEXT_BYTES];
        describe(connection, name);
        explain_theirs(transport, &refusal, text);
        env_log(transport->env, ENV_LOG_WARNING, "%s refuses this node: %s", name, text);
    }
    transport_connection_lost(connection, NULL);
    tell(transport, node, reason, true);
}
