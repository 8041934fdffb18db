/* Lists of peers: any bytes give nodes or a message. Nodes, written again, are read as the same. */
#include "cli/peers.h"
#include "fuzz.h"

#include <inttypes.h>

static void format_peers(const struct peers *peers, struct buffer *out)
{
    for (size_t i = 0; i < peers->count; i++) {
        const struct member *node = &peers->nodes[i];
        bool six = strchr(node->client.host, ':') != NULL;
        buffer_append_format(out, "%s%" PRIu64 "=%s%s%s:%u@%u", i == 0 ? "" : ",", node->id, six ? "[" : "",
                             node->client.host, six ? "]" : "", node->client.port, node->peer.port);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct peers peers, again;
    char message[PEERS_MESSAGE_BYTES];
    memset(message, 'x', sizeof(message));
    if (peers_parse(slice_of(data, size), &peers, message) != STATUS_OK) {
        ASSERT(memchr(message, '\0', sizeof(message)) != NULL);
        return 0;
    }
    ASSERT(peers.count >= 1 && peers.count <= PLACEMENT_MAXIMUM_NODES);
    struct buffer text;
    buffer_init(&text);
    format_peers(&peers, &text);
    ASSERT(peers_parse(buffer_slice(&text), &again, message) == STATUS_OK);
    ASSERT(again.count == peers.count);
    for (size_t i = 0; i < peers.count; i++) {
        const struct member *a = &peers.nodes[i];
        const struct member *b = &again.nodes[i];
        ASSERT(a->id == b->id && a->client.port == b->client.port && a->peer.port == b->peer.port);
        ASSERT(strcmp(a->client.host, b->client.host) == 0 && strcmp(a->peer.host, b->peer.host) == 0);
    }
    buffer_deinit(&text);
    return 0;
}
