/* Handing over leadership (section 3.10): proposals stop, the target is brought up to date, and is told to stand for
 * election at once, without a pre-vote and past its fellows' stickiness. If that has not happened within T the leader
 * goes on as before; should the message arrive later all the same, it makes an election, no harm. */
#include "raft/raft_internal.h"

enum status raft_transfer(struct raft *raft, uint64_t target)
{
    ASSERT(raft->started);
    if (raft->role != RAFT_LEADER) {
        return STATUS_NOT_LEADER;
    }
    bool voter = target != 0 && raft_configuration_is_voter(raft_configuration_now(raft), target);
    if (!voter || target == raft->options.id) {
        return STATUS_INVALID;
    }
    if (raft->transfer_to != 0) {
        return raft->transfer_to == target ? STATUS_OK : STATUS_BUSY;
    }
    raft->transfer_to = target;
    raft->transfer_sent = false;
    raft->transfer_deadline_ms = raft->now_ms + raft->options.election_timeout_ms;
    raft_transfer_advance(raft);
    raft_check(raft);
    return STATUS_OK;
}

static void send_timeout_now(struct raft *raft, uint64_t to)
{
    ASSERT(raft->role == RAFT_LEADER);
    raft->lease_broken = true;
    (void)raft_send(raft, RAFT_TIMEOUT_NOW, to); /* when the outbox is full: as if lost */
}

void raft_transfer_advance(struct raft *raft)
{
    if (raft->transfer_to == 0) {
        return;
    }
    const struct raft_peer *peer = raft_peer_of(raft, raft->transfer_to);
    ASSERT(raft->role == RAFT_LEADER && peer != NULL);
    bool again = !raft->transfer_sent || raft->now_ms - raft->transfer_sent_ms >= raft->options.heartbeat_ms;
    if (peer->match == raft->log.last && again) {
        send_timeout_now(raft, raft->transfer_to);
        raft->transfer_sent = true;
        raft->transfer_sent_ms = raft->now_ms;
    }
}

void raft_transfer_abandon(struct raft *raft)
{
    raft->transfer_to = 0;
    raft->transfer_sent = false;
}

void raft_transfer_tick(struct raft *raft)
{
    ASSERT(raft->role == RAFT_LEADER);
    if (raft->transfer_to != 0 && raft->now_ms >= raft->transfer_deadline_ms) {
        raft_transfer_abandon(raft);
    }
    raft_transfer_advance(raft);
}

void raft_transfer_farewell(struct raft *raft)
{
    const struct raft_peer *best = NULL;
    for (size_t i = 0; i < raft->peer_count; i++) {
        const struct raft_peer *peer = &raft->peers[i];
        if (raft_configuration_is_voter(raft_configuration_now(raft), peer->id) &&
            (best == NULL || peer->match > best->match)) {
            best = peer;
        }
    }
    ASSERT(best != NULL); /* this member is not the voter */
    send_timeout_now(raft, best->id);
}

void raft_step_timeout_now(struct raft *raft, const struct raft_message *message)
{
    ASSERT(message->term == raft->term);
    bool able = raft->role != RAFT_LEADER && raft_may_stand(raft) && raft->receive != RAFT_RECEIVE_INSTALLING;
    if (able && (raft->leader == message->from || raft->leader == 0)) {
        raft_campaign(raft, true);
    }
}
