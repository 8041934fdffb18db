#include "cli/peers.h"

#include "base/number.h"
#include "cli/host_port.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

_Static_assert((int)HOST_BYTES == (int)MEMBERS_HOST_BYTES, "an address fits into a member");

enum { SHOWN_BYTES = 128 }; /* of what was given, in a message */

#define EXAMPLE "1=127.0.0.1:7001"

__attribute__((format(printf, 3, 4))) static enum status refuse(char ret_message[static PEERS_MESSAGE_BYTES],
                                                                struct slice peer, const char *format, ...)
{
    bool cut = peer.size > SHOWN_BYTES;
    int size = snprintf(ret_message, PEERS_MESSAGE_BYTES, "'%.*s%s': ", (int)(cut ? SHOWN_BYTES : peer.size),
                        (const char *)peer.data, cut ? "…" : "");
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(ret_message + size, PEERS_MESSAGE_BYTES - (size_t)size, format, arguments);
    va_end(arguments);
    return STATUS_INVALID;
}

/* ---- addresses ---- */

bool peers_normalize_host(char host[static MEMBERS_HOST_BYTES])
{
    unsigned char bytes[sizeof(struct in6_addr)];
    int family = strchr(host, ':') == NULL ? AF_INET : AF_INET6;
    return inet_pton(family, host, bytes) == 1 && inet_ntop(family, bytes, host, MEMBERS_HOST_BYTES) != NULL;
}

bool peers_is_loopback(const char *host) { return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0; }

bool peers_is_wildcard(const char *host) { return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0; }

static bool same_address(const struct member_address *a, const struct member_address *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* ---- one peer ---- */

static struct slice before(struct slice text, const uint8_t *at)
{
    return slice_of(text.data, (size_t)(at - text.data));
}

static struct slice behind(struct slice text, const uint8_t *at)
{
    return slice_of(at + 1, text.size - (size_t)(at - text.data) - 1);
}

static const uint8_t *find(struct slice text, char byte)
{
    return text.size == 0 ? NULL : memchr(text.data, byte, text.size);
}

/* "host:port[@peer-port]" */
static enum status parse_addresses(struct slice peer, struct slice text, struct member *node,
                                   char ret_message[static PEERS_MESSAGE_BYTES])
{
    struct host_port at;
    int64_t peer_port = 0;
    const uint8_t *separator = find(text, '@');
    if (!host_port_parse(separator == NULL ? text : before(text, separator), &at)) {
        return refuse(ret_message, peer, "N=HOST:PORT is needed, such as " EXAMPLE " or 1=[::1]:7001");
    }
    if (!peers_normalize_host(at.host) || peers_is_wildcard(at.host)) {
        return refuse(ret_message, peer, "the host must be a numeric address at which the other nodes find it");
    }
    if (at.port == 0) {
        return refuse(ret_message, peer, "the port must be from 1 to 65535, for the other nodes must know it");
    }
    if (separator == NULL) {
        peer_port = at.port + PEERS_PORT_DISTANCE;
        if (peer_port > UINT16_MAX) {
            return refuse(ret_message, peer,
                          "nodes would find it %d above its port, at %" PRId64
                          ", which is beyond 65535; give that port too: HOST:PORT@PEERPORT",
                          PEERS_PORT_DISTANCE, peer_port);
        }
    } else if (!number_parse_int64(behind(text, separator), &peer_port) || peer_port < 1 || peer_port > UINT16_MAX) {
        return refuse(ret_message, peer, "the port behind @ must be from 1 to 65535");
    }
    struct slice host = slice_from_string(at.host);
    if (!member_address_make(&node->client, host, at.port) || !member_address_make(&node->peer, host, peer_port)) {
        return refuse(ret_message, peer, "this address cannot be used");
    }
    return STATUS_OK;
}

static enum status parse_peer(struct slice peer, struct member *ret_node, char ret_message[static PEERS_MESSAGE_BYTES])
{
    int64_t id = 0;
    const uint8_t *equals = find(peer, '=');
    if (equals == NULL) {
        return refuse(ret_message, peer, "N=HOST:PORT is needed, such as " EXAMPLE);
    }
    if (!number_parse_int64(before(peer, equals), &id) || id < 1 || id > MEMBERS_MAXIMUM_ID) {
        return refuse(ret_message, peer, "the node's number, before '=', must be from 1 to %" PRIu32,
                      (uint32_t)MEMBERS_MAXIMUM_ID);
    }
    *ret_node = (struct member){.id = (uint64_t)id};
    return parse_addresses(peer, behind(peer, equals), ret_node, ret_message);
}

/* ---- the list ---- */

const struct member *peers_find(const struct peers *peers, uint64_t id)
{
    for (size_t i = 0; i < peers->count; i++) {
        if (peers->nodes[i].id == id) {
            return &peers->nodes[i];
        }
    }
    return NULL;
}

/* Puts it among the others, at its place by id. */
static enum status add_peer(struct peers *peers, struct slice peer, const struct member *node,
                            char ret_message[static PEERS_MESSAGE_BYTES])
{
    if (same_address(&node->client, &node->peer)) {
        return refuse(ret_message, peer, "clients and nodes need different ports");
    }
    if (peers->count == PLACEMENT_MAXIMUM_NODES) {
        return refuse(ret_message, peer, "there are at most %d nodes", PLACEMENT_MAXIMUM_NODES);
    }
    size_t at = 0;
    for (size_t i = 0; i < peers->count; i++) {
        const struct member *other = &peers->nodes[i];
        if (other->id == node->id) {
            return refuse(ret_message, peer, "there are two nodes %" PRIu64, node->id);
        }
        if (same_address(&other->client, &node->client) || same_address(&other->peer, &node->peer) ||
            same_address(&other->client, &node->peer) || same_address(&other->peer, &node->client)) {
            return refuse(ret_message, peer, "node %" PRIu64 " has this address or its port for nodes already",
                          other->id);
        }
        at += other->id < node->id;
    }
    memmove(&peers->nodes[at + 1], &peers->nodes[at], (peers->count - at) * sizeof(*node));
    peers->nodes[at] = *node;
    peers->count++;
    return STATUS_OK;
}

enum status peers_parse(struct slice text, struct peers *ret_peers, char ret_message[static PEERS_MESSAGE_BYTES])
{
    ret_peers->count = 0;
    for (;;) {
        struct member node = {0};
        const uint8_t *comma = find(text, ',');
        struct slice peer = comma == NULL ? text : before(text, comma);
        enum status status = parse_peer(peer, &node, ret_message);
        if (status == STATUS_OK) {
            status = add_peer(ret_peers, peer, &node, ret_message);
        }
        if (status != STATUS_OK || comma == NULL) {
            return status;
        }
        text = behind(text, comma);
    }
}
