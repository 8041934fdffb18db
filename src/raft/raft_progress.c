/* How far one peer is, as its leader sees it (sections 3.5, 5.2, 10.2.2).
 *
 *            acknowledged                    needs entries that were trimmed
 *   PROBE ────────────────→ REPLICATE      PROBE, REPLICATE ────────────────→ SNAPSHOT
 *     ↑ ←──────────────────────┘                                                 │
 *     │   rejected, lost                         acknowledged at floor or above  │
 *     └──────────────────────────────────────── (to REPLICATE) ←─────────────────┘
 *
 * PROBE: one append at a time finds where the logs agree. REPLICATE: appends are sent ahead of their acknowledgements,
 * within a window of messages and of bytes. SNAPSHOT: chunks, one at a time.
 *
 * Nothing is sent again by a timer. Each heartbeat carries a sequence and its answer tells what the peer has in memory;
 * what was sent before the heartbeat and is missing in the answer was lost (the answer to an append itself may take as
 * long as a sync), unless the heartbeat is known to have overtaken it. A peer that does not answer costs one small
 * heartbeat per interval. */
#include "raft/raft_internal.h"

static void inflight_clear(struct raft_peer *peer)
{
    peer->inflight_first = 0;
    peer->inflight_count = 0;
    peer->inflight_bytes = 0;
}

static void enter(struct raft_peer *peer, enum raft_peer_state state, uint64_t next)
{
    ASSERT(next > peer->match);
    peer->state = state;
    peer->next = next;
    peer->probe_sent = false;
    peer->check_sequence = 0;
    peer->snapshot = (struct raft_snapshot_ident){0};
    peer->snapshot_offset = 0;
    peer->chunk_sent = false;
    inflight_clear(peer);
}

void raft_peer_reset(struct raft *raft, struct raft_peer *peer)
{
    peer->match = 0;
    peer->commit_sent = 0;
    peer->heartbeat_due = false;
    raft_hear_peer(raft, peer);
    peer->acked_sequence = 0;
    peer->acked_sent_ms = 0;
    enter(peer, RAFT_PEER_PROBE, raft->log.last + 1);
}

void raft_peer_probe(struct raft_peer *peer, uint64_t next) { enter(peer, RAFT_PEER_PROBE, next); }

void raft_peer_snapshot(struct raft_peer *peer)
{
    ASSERT(peer->state != RAFT_PEER_SNAPSHOT);
    enter(peer, RAFT_PEER_SNAPSHOT, peer->match + 1);
}

bool raft_peer_wants_append(const struct raft *raft, const struct raft_peer *peer)
{
    switch (peer->state) {
    case RAFT_PEER_PROBE: return !peer->probe_sent;
    case RAFT_PEER_REPLICATE:
        return peer->next <= raft->log.last && peer->inflight_count < raft->options.inflight_messages &&
               peer->inflight_bytes < raft->options.inflight_bytes;
    case RAFT_PEER_SNAPSHOT: return false;
    }
    UNREACHABLE();
}

void raft_peer_sent(struct raft *raft, struct raft_peer *peer, uint64_t last, uint64_t bytes)
{
    ASSERT(last <= raft->log.last && last + 1 >= peer->next);
    if (peer->state == RAFT_PEER_PROBE) {
        ASSERT(!peer->probe_sent);
        peer->probe_sent = true;
        peer->probe_last = last;
        return;
    }
    ASSERT(peer->state == RAFT_PEER_REPLICATE && last >= peer->next);
    ASSERT(peer->inflight_count < RAFT_MAXIMUM_INFLIGHT);
    uint32_t at = (peer->inflight_first + peer->inflight_count) % RAFT_MAXIMUM_INFLIGHT;
    peer->inflight[at] = (struct raft_inflight){.last = last, .bytes = bytes};
    peer->inflight_count++;
    peer->inflight_bytes += bytes;
    peer->next = last + 1;
}

static void inflight_free(struct raft_peer *peer)
{
    while (peer->inflight_count > 0 && peer->inflight[peer->inflight_first].last <= peer->match) {
        ASSERT(peer->inflight_bytes >= peer->inflight[peer->inflight_first].bytes);
        peer->inflight_bytes -= peer->inflight[peer->inflight_first].bytes;
        peer->inflight_first = (peer->inflight_first + 1) % RAFT_MAXIMUM_INFLIGHT;
        peer->inflight_count--;
    }
    ASSERT(peer->inflight_count > 0 || peer->inflight_bytes == 0);
}

void raft_peer_acked(struct raft *raft, struct raft_peer *peer, uint64_t index)
{
    ASSERT(index <= raft->log.last);
    if (index > peer->match) {
        peer->match = index;
    }
    switch (peer->state) {
    case RAFT_PEER_PROBE: /* only what it says now tells that the logs agree: it may have restarted since */
        if (index + 1 >= peer->next && (!peer->probe_sent || index >= peer->probe_last)) {
            enter(peer, RAFT_PEER_REPLICATE, peer->match + 1);
        }
        break;
    case RAFT_PEER_REPLICATE: inflight_free(peer); break;
    case RAFT_PEER_SNAPSHOT:
        if (peer->match >= raft->log.floor) {
            enter(peer, RAFT_PEER_REPLICATE, peer->match + 1);
        } else if (peer->match >= peer->snapshot.index) {
            enter(peer, RAFT_PEER_SNAPSHOT, peer->match + 1); /* it has this one; the next is needed */
        }
        break;
    }
    peer->next = peer->next > peer->match ? peer->next : peer->match + 1;
}

/* The hint says: at or below hint_index, where the follower's term is hint_term, the logs may agree. With our own terms
 * that becomes the largest such place whose term is not above hint_term, so that a whole term of disagreement costs one
 * round (section 3.5's optimisation, from both ends). */
void raft_peer_rejected(struct raft *raft, struct raft_peer *peer, uint64_t asked, uint64_t hint_index,
                        uint64_t hint_term)
{
    bool stale = peer->state == RAFT_PEER_PROBE ? asked + 1 != peer->next : asked <= peer->match;
    if (stale || peer->state == RAFT_PEER_SNAPSHOT) {
        return;
    }
    uint64_t agreed;
    if (!raft_log_find(&raft->log, hint_index, hint_term, &agreed)) {
        raft_peer_snapshot(peer);
        return;
    }
    uint64_t next = agreed + 1 < asked ? agreed + 1 : asked; /* always back by at least one */
    raft_peer_probe(peer, next > peer->match ? next : peer->match + 1);
}

void raft_peer_checked(struct raft *raft, struct raft_peer *peer, uint64_t sequence, uint64_t matched)
{
    ASSERT(matched <= raft->log.last);
    if (peer->check_sequence == 0 || sequence < peer->check_sequence) {
        return;
    }
    peer->check_sequence = 0;
    if (matched >= peer->check_index) {
        return;
    }
    if (peer->state == RAFT_PEER_REPLICATE) {
        raft_peer_probe(peer, (matched > peer->match ? matched : peer->match) + 1);
    } else if (peer->state == RAFT_PEER_PROBE) {
        peer->probe_sent = false;
    }
}
