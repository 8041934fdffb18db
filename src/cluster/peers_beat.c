/* Signs of life from the middle of a long turn (shard/store.h): to each peer one frame of signals, which overtakes all
 * that was sent in this turn and is not ready to leave yet: workers are told before that leaves. */
#include "cluster/cluster_internal.h"

#include "base/varint.h"

void peers_add_beat(struct cluster *cluster, uint32_t group, uint64_t to, struct slice message)
{
    struct peer *peer = peer_find(cluster, to);
    if (peer == NULL || peer->generation == 0) {
        return;
    }
    uint8_t *head = buffer_reserve(&peer->beats, RAFT_HEAD_BYTES);
    put_u32(head, group);
    put_u32(head + 4, (uint32_t)message.size);
    peer->beats.size += RAFT_HEAD_BYTES;
    buffer_append_slice(&peer->beats, message);
}

void peers_beat(struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->peer_count; i++) {
        struct peer *peer = &cluster->peers[i];
        struct slice messages = buffer_slice(&peer->beats);
        if (messages.size == 0) {
            continue;
        }
        if (cluster->worker != 0) {
            relay_send_signals(cluster, peer, messages);
        } else { /* without room they are as good as lost */
            (void)!transport_send(cluster->transport, peer->node, peer->generation, TRANSPORT_SIGNAL, NODE_RAFT_SIGNAL,
                                  &messages, 1);
        }
        buffer_clear(&peer->beats);
    }
    if (cluster->worker == 0 && cluster->transport != NULL) {
        transport_beat(cluster->transport);
    }
}
