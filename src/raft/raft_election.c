/* Elections (dissertation, section 3.4), with a pre-vote before each (9.6) and the quorum check that lets a leader
 * without followers go (6.2).
 *
 *                  deadline                 a quorum would vote            vote durable, a quorum voted
 *   FOLLOWER ───────────────→ PRE_CANDIDATE ───────────────────→ CANDIDATE ───────────────────────────→ LEADER
 *      ↑ ↑                         │                                │ ↑                                    │
 *      │ └── leader heard, or a quorum refused ─────────────────────┘ └── timeout-now (any non-leader)     │
 *      └──────────────── higher term, no quorum heard for T, removed ──────────────────────────────────────┘
 *
 * Rules
 * 1. A vote is given once per term (3.4), only to a candidate whose log is at least as up to date as ours (3.6.1).
 * 2. A pre-vote changes nothing at either end. It is refused to a stale log, for a term not above ours, and while a
 *    leader was heard within T: so neither a member cut off nor a removed one can unseat a working leader (4.2.3, 9.6).
 * 3. A vote is refused for the same last reason, without looking at its term, unless the leader itself wanted the
 *    election (transfer). A lease rests on this promise (6.4.1).
 * 4. A candidate counts its own vote once term and vote are durable, and asks others not before (raft_gate_open).
 * 5. Whose leader's process is known to have ended (raft_peer_gone) forgets that it heard it, and stands within T / 16.
 *    Others that still hear the leader refuse the pre-vote as ever (2), so a leader that lives is only unseated by a
 *    quorum of such news. For a T from then on rounds that come to nothing are repeated sooner, since the survivors
 *    hear of it in the same moment and may split their votes. Only for a leader that reads without leases: its
 * heartbeats say so. That an earlier one had a lease does not matter: it ended before this one was elected (3).
 * 6. Silence is what was not heard while one listened. Of a member whose host did not run (a busy machine, a stopped
 *    process, a long turn) much may wait to be read, and what others would answer waits for them. So what passes
 *    between two ticks counts as T / 8 when it is more than T / 4: for the wait of those who do not lead, and for
 *    the quorum check. Before anybody is believed to be silent the host has read what was there, eight times. Promises
 *    to others (2, 3, leases) go by the whole time. */
#include "raft/raft_internal.h"

uint64_t raft_listened_ms(const struct raft *raft, uint64_t passed_ms)
{
    uint64_t timeout_ms = raft->options.election_timeout_ms;
    bool late = passed_ms > timeout_ms / RAFT_LATE && !RAFT_MUTATED(raft, LATE_IS_SILENCE);
    return late ? timeout_ms / RAFT_LATE_COUNTS : passed_ms;
}

void raft_hear_peer(const struct raft *raft, struct raft_peer *peer)
{
    peer->heard_ms = raft->now_ms;
    peer->heard_awake_ms = raft->awake_ms;
}

/* The least wait; a candidate's is longer than a pre-candidate's, for it costs the others a sync to answer. */
static uint64_t timeout_ms_now(const struct raft *raft)
{
    uint64_t timeout_ms = raft->options.election_timeout_ms;
    if (raft->now_ms >= raft->hurry_until_ms) {
        return timeout_ms;
    }
    uint64_t hurried_ms = timeout_ms / (raft->role == RAFT_CANDIDATE ? 4 : RAFT_HURRY);
    return hurried_ms > 0 ? hurried_ms : 1;
}

void raft_election_reset_timer(struct raft *raft)
{
    uint64_t timeout_ms = timeout_ms_now(raft);
    raft->election_deadline_ms = raft->awake_ms + timeout_ms + prng_below(&raft->prng, timeout_ms);
}

void raft_peer_gone(struct raft *raft, uint64_t id)
{
    ASSERT(raft->started);
    bool leased = !raft->no_lease && !RAFT_MUTATED(raft, GONE_BREAKS_LEASE);
    if (raft->role != RAFT_FOLLOWER || raft->leader != id || leased) {
        return;
    }
    raft->heard_ever = false;
    raft->heard_pending = false;
    raft->hurry_until_ms = raft->now_ms + raft->options.election_timeout_ms;
    raft->election_deadline_ms = raft->awake_ms + prng_below(&raft->prng, timeout_ms_now(raft));
}

bool raft_is_sticky(const struct raft *raft)
{
    if (RAFT_MUTATED(raft, LEASE_NO_STICKINESS)) {
        return false;
    }
    if (raft->role == RAFT_LEADER || raft->heard_pending) {
        return true;
    }
    return raft->heard_ever && raft->now_ms - raft->heard_ms < raft->options.election_timeout_ms;
}

void raft_become_follower(struct raft *raft, uint64_t term, uint64_t leader)
{
    ASSERT(term >= raft->term);
    bool another = term > raft->term || raft->leader != leader || raft->role != RAFT_FOLLOWER;
    if (term > raft->term) {
        raft->term = term;
        raft->vote = 0;
        raft->leader_time_heard = false;
        raft_hard_state_changed(raft);
        raft_outbox_clear(raft);
    }
    if (raft->role == RAFT_LEADER) {
        raft_read_abandon(raft);
        raft_transfer_abandon(raft);
        raft->heartbeat_deadline_ms = RAFT_NEVER;
        raft->notice_deadline_ms = RAFT_NEVER;
        raft_election_reset_timer(raft);
    }
    /* Of another leader's log, or of the same member's in another term, we know that it has all that is committed. */
    if (another) {
        raft->matched = raft->commit;
        raft->ack_due = false;
    }
    raft->role = RAFT_FOLLOWER;
    raft->leader = leader;
    raft->own_vote = false;
}

bool raft_hear_leader(struct raft *raft, uint64_t from)
{
    if (raft->role == RAFT_LEADER || (raft->leader != 0 && raft->leader != from)) {
        return false;
    }
    if (raft->role != RAFT_FOLLOWER || raft->leader == 0) {
        raft_become_follower(raft, raft->term, from);
    }
    raft->heard_pending = true;
    ASSERT(raft->role == RAFT_FOLLOWER && raft->leader == from);
    return true;
}

static bool is_up_to_date(const struct raft *raft, uint64_t last_index, uint64_t last_term)
{
    uint64_t own_term = raft_log_last_term(&raft->log);
    return last_term > own_term || (last_term == own_term && last_index >= raft->log.last);
}

static uint64_t granted_value(const struct raft *raft, const struct raft_peer *peer)
{
    if (peer == NULL) {
        return raft->role == RAFT_PRE_CANDIDATE || raft->own_vote;
    }
    return peer->vote == RAFT_VOTE_GRANTED;
}

static uint64_t not_refused_value(const struct raft *raft, const struct raft_peer *peer)
{
    return peer == NULL || peer->vote != RAFT_VOTE_REFUSED;
}

static void become_leader(struct raft *raft)
{
    ASSERT(raft->role == RAFT_CANDIDATE && raft->own_vote && raft->vote == raft->options.id);
    raft->role = RAFT_LEADER;
    raft->leader = raft->options.id;
    raft->lease_broken = false;
    raft->time = (struct raft_time){0}; /* what the host said as an earlier leader is void */
    raft->term_start = raft->log.last + 1;
    for (size_t i = 0; i < raft->peer_count; i++) {
        raft_peer_reset(raft, &raft->peers[i]);
        raft->peers[i].heartbeat_due = true;
    }
    raft->heartbeat_deadline_ms = raft->now_ms + raft->options.heartbeat_ms;
    raft->notice_deadline_ms = RAFT_NEVER;
    raft->election_deadline_ms = RAFT_NEVER;
    struct raft_entry noop = {
        .index = raft->term_start,
        .term = raft->term,
        .kind = RAFT_ENTRY_NOOP,
        .version = raft->options.entry_version,
    };
    raft_log_add(raft, &noop);
}

static void start_round(struct raft *raft, enum raft_role role)
{
    ASSERT(raft->role != RAFT_LEADER && raft_may_stand(raft));
    raft->role = role;
    raft->leader = 0;
    raft->own_vote = false;
    raft->matched = raft->commit;
    raft->ack_due = false;
    raft_election_reset_timer(raft);
    for (size_t i = 0; i < raft->peer_count; i++) {
        raft->peers[i].vote = RAFT_VOTE_UNKNOWN;
    }
}

static void ask(struct raft *raft, enum raft_message_type type, bool transfer)
{
    for (size_t i = 0; i < raft->peer_count; i++) {
        if (!raft_configuration_is_voter(raft_configuration_now(raft), raft->peers[i].id)) {
            continue;
        }
        struct raft_message *message = raft_send(raft, type, raft->peers[i].id);
        if (message == NULL) {
            continue;
        }
        if (type == RAFT_PRE_VOTE) {
            message->pre_vote.next_term = raft->term + 1;
            message->pre_vote.last_index = raft->log.last;
            message->pre_vote.last_term = raft_log_last_term(&raft->log);
        } else {
            message->vote.transfer = transfer;
            message->vote.last_index = raft->log.last;
            message->vote.last_term = raft_log_last_term(&raft->log);
        }
    }
}

static void stand(struct raft *raft, bool transfer)
{
    start_round(raft, RAFT_CANDIDATE);
    raft->term++;
    raft->vote = raft->options.id;
    raft->leader_time_heard = false;
    raft_hard_state_changed(raft);
    raft_outbox_clear(raft);
    raft->own_vote = RAFT_MUTATED(raft, SEND_BEFORE_STORED);
    ask(raft, RAFT_VOTE, transfer);
}

static void count_votes(struct raft *raft)
{
    if (raft->role == RAFT_CANDIDATE && !raft->own_vote) {
        return; /* nobody was asked yet */
    }
    if (raft_quorum(raft, granted_value) == 1) {
        if (raft->role == RAFT_PRE_CANDIDATE) {
            stand(raft, false);
        } else {
            become_leader(raft);
        }
    } else if (raft_quorum(raft, not_refused_value) == 0) {
        raft_become_follower(raft, raft->term, 0);
    }
}

void raft_campaign(struct raft *raft, bool transfer)
{
    if (transfer || RAFT_MUTATED(raft, NO_PRE_VOTE)) {
        stand(raft, transfer);
        return;
    }
    start_round(raft, RAFT_PRE_CANDIDATE);
    ask(raft, RAFT_PRE_VOTE, false);
    count_votes(raft); /* a lone voter needs nobody */
}

void raft_election_stored(struct raft *raft)
{
    bool durable = !raft->hard_state_dirty && raft->hard_state_number <= raft->stored_number;
    if (raft->role == RAFT_CANDIDATE && !raft->own_vote && durable) {
        raft->own_vote = true;
        count_votes(raft);
    }
}

static uint64_t heard_value(const struct raft *raft, const struct raft_peer *peer)
{
    return peer == NULL ? raft->awake_ms : peer->heard_awake_ms;
}

void raft_election_tick(struct raft *raft)
{
    if (raft->heard_pending) {
        raft->heard_pending = false;
        raft->heard_ever = true;
        raft->heard_ms = raft->now_ms;
        raft->hurry_until_ms = 0;
        if (raft->role != RAFT_LEADER) {
            raft_election_reset_timer(raft);
        }
    }
    if (raft->role == RAFT_LEADER) {
        uint64_t heard_ms = raft_quorum(raft, heard_value);
        if (heard_ms + raft->options.election_timeout_ms <= raft->awake_ms && !RAFT_MUTATED(raft, NO_QUORUM_CHECK)) {
            raft_become_follower(raft, raft->term, 0);
        }
    } else if (raft->awake_ms >= raft->election_deadline_ms) {
        raft_election_reset_timer(raft);
        if (raft->role == RAFT_CANDIDATE && !raft->own_vote) {
            return; /* the disk is slow; a new term would only give it more to write, and never end */
        }
        if (raft_may_stand(raft) && raft->receive != RAFT_RECEIVE_INSTALLING) {
            raft_campaign(raft, false);
        }
    }
}

void raft_step_pre_vote(struct raft *raft, const struct raft_message *message)
{
    struct raft_message *reply = raft_send(raft, RAFT_PRE_VOTE_REPLY, message->from);
    if (reply == NULL) {
        return;
    }
    reply->pre_vote_reply.next_term = message->pre_vote.next_term;
    reply->pre_vote_reply.granted = message->pre_vote.next_term > raft->term && !raft_is_sticky(raft) &&
                                    is_up_to_date(raft, message->pre_vote.last_index, message->pre_vote.last_term);
}

void raft_step_pre_vote_reply(struct raft *raft, const struct raft_message *message)
{
    struct raft_peer *peer = raft_peer_of(raft, message->from);
    if (raft->role != RAFT_PRE_CANDIDATE || peer == NULL || message->pre_vote_reply.next_term != raft->term + 1) {
        return;
    }
    peer->vote = message->pre_vote_reply.granted ? RAFT_VOTE_GRANTED : RAFT_VOTE_REFUSED;
    count_votes(raft);
}

void raft_step_vote(struct raft *raft, const struct raft_message *message)
{
    ASSERT(message->term == raft->term);
    bool free = raft->vote == 0 || raft->vote == message->from || RAFT_MUTATED(raft, VOTE_TWICE);
    bool fresh = is_up_to_date(raft, message->vote.last_index, message->vote.last_term) ||
                 RAFT_MUTATED(raft, NO_LOG_CHECK_IN_VOTE);
    bool granted = free && fresh && (raft->role == RAFT_FOLLOWER || raft->role == RAFT_PRE_CANDIDATE);
    if (granted && raft->vote != message->from) {
        raft->vote = message->from;
        raft_hard_state_changed(raft);
    }
    if (granted) {
        raft_become_follower(raft, raft->term, raft->leader);
        raft_election_reset_timer(raft);
    }
    struct raft_message *reply = raft_send(raft, RAFT_VOTE_REPLY, message->from);
    if (reply != NULL) {
        reply->vote_reply.granted = granted;
    }
}

void raft_step_vote_reply(struct raft *raft, const struct raft_message *message)
{
    struct raft_peer *peer = raft_peer_of(raft, message->from);
    if (raft->role != RAFT_CANDIDATE || peer == NULL || message->term != raft->term) {
        return;
    }
    peer->vote = message->vote_reply.granted ? RAFT_VOTE_GRANTED : RAFT_VOTE_REFUSED;
    count_votes(raft);
}
