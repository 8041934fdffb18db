/* Signs of life from the middle of a long turn (raft_take_beat).
 *
 * 1. A leader's is a heartbeat like any other, but that it says it was sent when the turn began: so leases, which count
 *    from there, are shorter and not longer for it.
 * 2. A follower's is its answer to the last heartbeat, once more. It confirms nothing that the first did not, but that
 *    the leader is not alone.
 * 3. Who does not hear the other end meanwhile has not been silent, nor was that (raft_election.c, rule 6). */
#include "raft/raft_internal.h"

static bool leaders_beat(struct raft *raft, uint64_t now_ms, struct raft_message *message)
{
    if (now_ms >= raft->heartbeat_deadline_ms) {
        raft_heartbeats_due(raft, now_ms);
    }
    for (size_t i = 0; i < raft->peer_count; i++) {
        if (raft->peers[i].heartbeat_due) {
            message->to = raft->peers[i].id;
            raft_make_heartbeat(raft, &raft->peers[i], message);
            message->heartbeat.overtook = true;
            return true;
        }
    }
    return false;
}

static bool followers_beat(struct raft *raft, uint64_t now_ms, struct raft_message *message)
{
    if (raft->leader == 0 || raft->heartbeat.term != raft->term ||
        now_ms < raft->heartbeat.at_ms + raft->options.heartbeat_ms) {
        return false;
    }
    raft->heartbeat.at_ms = now_ms;
    message->type = RAFT_HEARTBEAT_REPLY;
    message->to = raft->leader;
    message->heartbeat_reply.sequence = raft->heartbeat.sequence;
    message->heartbeat_reply.sent_ms = raft->heartbeat.sent_ms;
    message->heartbeat_reply.matched = raft->matched;
    message->heartbeat_reply.durable = raft_acknowledgeable(raft);
    message->heartbeat_reply.overtook = true;
    return true;
}

bool raft_take_beat(struct raft *raft, uint64_t now_ms, struct raft_message *ret_message)
{
    ASSERT(raft->started && now_ms >= raft->now_ms);
    *ret_message = (struct raft_message){.from = raft->options.id, .term = raft->term};
    if (!raft_gate_open(raft)) {
        return false;
    }
    switch (raft->role) {
    case RAFT_LEADER: return leaders_beat(raft, now_ms, ret_message);
    case RAFT_FOLLOWER: return followers_beat(raft, now_ms, ret_message);
    case RAFT_PRE_CANDIDATE:
    case RAFT_CANDIDATE: break;
    }
    return false;
}
