/* Reads without log writes (section 6.4) and by lease (6.4.1).
 *
 * A read joins the next round. When the host takes a ready, and the leader has committed an entry of its own term (so
 * that its commit index covers all that earlier leaders answered for), the round begins: it remembers the commit index
 * and the sequence of the first heartbeat that will be sent after this moment. Once a quorum has answered a heartbeat
 * with that sequence or a later one, no other leader could have committed anything before the round began; the reads
 * are confirmed and wait for the remembered index to be applied. Reads that arrive while rounds are under way join a
 * later one: a burst costs one round of messages, and a lost answer is made good by any later heartbeat.
 *
 * Lease: members do not vote within T of hearing their leader (raft_is_sticky), on their own clocks. Counted from
 * *sending* the heartbeats that a quorum answered, on our clock, nobody else is elected for T · (1 - d) / (1 + d), d
 * being the largest rate by which a clock is off. Only heartbeats with a sending time ask for that; a leader without
 * lease reads sends none, so that nobody waits for it when it is gone (raft_peer_gone). A transfer breaks the promise,
 * so after a timeout-now there is no lease for the rest of the term. */
#include "raft/raft_internal.h"

enum status raft_read(struct raft *raft, uint64_t *ret_round)
{
    ASSERT(raft->started);
    if (raft->role != RAFT_LEADER) {
        return STATUS_NOT_LEADER;
    }
    if (RAFT_MUTATED(raft, READ_EARLIER_ROUND) && raft->round_count > 0) {
        *ret_round = raft->rounds[raft->round_count - 1].round;
        return STATUS_OK;
    }
    *ret_round = raft->read_next;
    raft->read_waiting = true;
    return STATUS_OK;
}

void raft_read_begin(struct raft *raft)
{
    if (raft->round_count > 0) {
        raft_read_confirm(raft); /* a change of membership may have made a quorum of those who answered */
    }
    bool ready = raft_term_committed(raft) || (RAFT_MUTATED(raft, READ_BEFORE_NOOP) && raft->role == RAFT_LEADER);
    if (!raft->read_waiting || !ready || raft->round_count == RAFT_READ_ROUNDS) {
        return;
    }
    struct raft_read_round round = {
        .round = raft->read_next,
        .from_sequence = raft->sequence + 1,
        .index = raft->commit,
    };
    ASSERT(raft->round_count == 0 || raft->rounds[raft->round_count - 1].round < round.round);
    raft->rounds[raft->round_count++] = round;
    raft->read_next++;
    raft->read_waiting = false;
    for (size_t i = 0; i < raft->peer_count; i++) {
        if (raft_configuration_is_voter(raft_configuration_now(raft), raft->peers[i].id)) {
            raft->peers[i].heartbeat_due = true;
        }
    }
    raft_read_confirm(raft); /* a lone voter is its own quorum */
}

static uint64_t answered_value(const struct raft *raft, const struct raft_peer *peer)
{
    return peer == NULL ? RAFT_NEVER : peer->acked_sequence;
}

void raft_read_confirm(struct raft *raft)
{
    ASSERT(raft->role == RAFT_LEADER);
    uint32_t confirmed = 0;
    uint64_t answered = raft->round_count == 0 ? 0 : raft_quorum(raft, answered_value);
    while (confirmed < raft->round_count &&
           (raft->rounds[confirmed].from_sequence <= answered || RAFT_MUTATED(raft, READ_WITHOUT_ROUND))) {
        ASSERT(raft->rounds[confirmed].round > raft->read_round && raft->rounds[confirmed].index >= raft->read_index);
        raft->read_round = raft->rounds[confirmed].round;
        raft->read_index = raft->rounds[confirmed].index;
        raft->reads_confirmed = true;
        confirmed++;
    }
    raft->round_count -= confirmed;
    memmove(raft->rounds, raft->rounds + confirmed, raft->round_count * sizeof *raft->rounds);
}

void raft_read_abandon(struct raft *raft)
{
    raft->round_count = 0;
    raft->read_waiting = false;
    raft->read_next++; /* what waited joins no later round */
}

static uint64_t lease_start(const struct raft *raft, const struct raft_peer *peer)
{
    return peer == NULL ? raft->now_ms : peer->acked_sent_ms;
}

enum status raft_lease(const struct raft *raft, uint64_t *ret_index, uint64_t *ret_until_ms)
{
    if (raft->role != RAFT_LEADER) {
        return STATUS_NOT_LEADER;
    }
    bool broken = raft->lease_broken && !RAFT_MUTATED(raft, LEASE_AFTER_TRANSFER);
    if (!raft->options.lease_reads || broken || !raft_term_committed(raft)) {
        return STATUS_AGAIN;
    }
    uint64_t start_ms = raft_quorum(raft, lease_start);
    uint64_t drift = raft->options.clock_drift_ppm;
    uint64_t length_ms = raft->options.election_timeout_ms * (1000000 - drift) / (1000000 + drift);
    if (start_ms == 0 || start_ms + length_ms <= raft->now_ms) {
        return STATUS_AGAIN;
    }
    ASSERT(length_ms <= raft->options.election_timeout_ms && start_ms <= raft->now_ms);
    *ret_index = raft->commit;
    *ret_until_ms = start_ms + length_ms;
    return STATUS_OK;
}
