/* Who gets which message, and what is handed to the host. */
#include "raft/raft_internal.h"

/* ---- inputs ---- */

void raft_tick(struct raft *raft, uint64_t now_ms)
{
    ASSERT(raft->started && now_ms >= raft->now_ms);
    raft->awake_ms += raft_listened_ms(raft, now_ms - raft->now_ms);
    raft->now_ms = now_ms;
    raft_election_tick(raft);
    if (raft->role == RAFT_LEADER) {
        raft_replication_tick(raft);
        raft_transfer_tick(raft);
    }
    raft_check(raft);
}

uint64_t raft_deadline(const struct raft *raft)
{
    if (raft->role != RAFT_LEADER) {
        uint64_t left_ms = raft->election_deadline_ms - raft->awake_ms;
        uint64_t most_ms = raft->options.election_timeout_ms / RAFT_LISTENS;
        return raft->election_deadline_ms <= raft->awake_ms ? raft->now_ms
                                                            : raft->now_ms + (left_ms < most_ms ? left_ms : most_ms);
    }
    uint64_t at = raft->heartbeat_deadline_ms;
    at = raft->notice_deadline_ms < at ? raft->notice_deadline_ms : at;
    return raft->transfer_to != 0 && raft->transfer_deadline_ms < at ? raft->transfer_deadline_ms : at;
}

static bool is_reply(enum raft_message_type type)
{
    return type == RAFT_PRE_VOTE_REPLY || type == RAFT_VOTE_REPLY || type == RAFT_APPEND_REPLY ||
           type == RAFT_HEARTBEAT_REPLY || type == RAFT_SNAPSHOT_REPLY;
}

static bool is_leaders(enum raft_message_type type)
{
    return type == RAFT_APPEND || type == RAFT_HEARTBEAT || type == RAFT_SNAPSHOT;
}

/* Section 3.3's rule on terms. False when the message has thereby been dealt with. */
static bool settle_term(struct raft *raft, const struct raft_message *message)
{
    if (message->type == RAFT_PRE_VOTE) {
        return true; /* asks without changing anything, whatever the terms */
    }
    if (message->type == RAFT_PRE_VOTE_REPLY && message->term < raft->term) {
        return true; /* from one who would follow into a higher term; next_term says whether it is for us */
    }
    if (message->term < raft->term) {
        if (!is_reply(message->type)) {
            /* Tells a leader or a candidate of the past to step down; without it a member with a higher term, which
             * pre-vote keeps from an election, could never be led again ("no leader in a healthy cluster"). */
            (void)raft_send(raft, RAFT_HEARTBEAT_REPLY, message->from);
        }
        return false;
    }
    if (message->term == raft->term) {
        return true;
    }
    if (message->type == RAFT_VOTE && !message->vote.transfer && raft_is_sticky(raft)) {
        return false;
    }
    raft_become_follower(raft, message->term, is_leaders(message->type) ? message->from : 0);
    return true;
}

static enum status dispatch(struct raft *raft, const struct raft_message *message)
{
    if (is_leaders(message->type) && !raft_hear_leader(raft, message->from)) {
        return STATUS_CORRUPT;
    }
    switch (message->type) {
    case RAFT_PRE_VOTE: raft_step_pre_vote(raft, message); return STATUS_OK;
    case RAFT_PRE_VOTE_REPLY: raft_step_pre_vote_reply(raft, message); return STATUS_OK;
    case RAFT_VOTE: raft_step_vote(raft, message); return STATUS_OK;
    case RAFT_VOTE_REPLY: raft_step_vote_reply(raft, message); return STATUS_OK;
    case RAFT_APPEND: return raft_step_append(raft, message);
    case RAFT_APPEND_REPLY: return raft_step_append_reply(raft, message);
    case RAFT_HEARTBEAT: return raft_step_heartbeat(raft, message);
    case RAFT_HEARTBEAT_REPLY: return raft_step_heartbeat_reply(raft, message);
    case RAFT_SNAPSHOT: return raft_step_snapshot(raft, message);
    case RAFT_SNAPSHOT_REPLY: raft_step_snapshot_reply(raft, message); return STATUS_OK;
    case RAFT_TIMEOUT_NOW: raft_step_timeout_now(raft, message); return STATUS_OK;
    }
    UNREACHABLE();
}

enum status raft_step(struct raft *raft, const struct raft_message *message)
{
    ASSERT(raft->started);
    if (!raft_message_valid(message) || message->to != raft->options.id || message->from == raft->options.id) {
        return STATUS_INVALID;
    }
    enum status status = STATUS_OK;
    if (settle_term(raft, message)) {
        status = dispatch(raft, message);
    }
    raft_check(raft);
    return status;
}

enum status raft_propose(struct raft *raft, struct raft_entry *entries, size_t count)
{
    ASSERT(raft->started);
    if (raft->role != RAFT_LEADER) {
        return STATUS_NOT_LEADER;
    }
    if (raft->transfer_to != 0) {
        return STATUS_BUSY;
    }
    if (raft->log.last - raft->commit + count > raft->options.uncommitted_entries ||
        raft->unstored_count + count > RAFT_MAXIMUM_UNSTORED) {
        return STATUS_FULL;
    }
    for (size_t i = 0; i < count; i++) {
        ASSERT(entries[i].kind >= RAFT_ENTRY_HOST);
        entries[i].index = raft->log.last + 1;
        entries[i].term = raft->term;
        raft_log_add(raft, &entries[i]);
    }
    raft_check(raft);
    return STATUS_OK;
}

void raft_applied(struct raft *raft, uint64_t index)
{
    ASSERT(index >= raft->applied && index <= raft->told_commit);
    raft->applied = index;
}

void raft_peer_lost(struct raft *raft, uint64_t id)
{
    struct raft_peer *peer = raft_peer_of(raft, id);
    if (raft->role != RAFT_LEADER || peer == NULL) {
        return;
    }
    switch (peer->state) {
    case RAFT_PEER_PROBE: peer->probe_sent = false; break;
    case RAFT_PEER_REPLICATE:
        raft_peer_probe(peer, (peer->match > raft->log.floor ? peer->match : raft->log.floor) + 1);
        break;
    case RAFT_PEER_SNAPSHOT: peer->chunk_sent = false; break;
    }
    peer->heartbeat_due = true;
}

void raft_set_time(struct raft *raft, struct raft_time time) { raft->time = time; }

/* ---- outputs ---- */

struct raft_message *raft_send(struct raft *raft, enum raft_message_type type, uint64_t to)
{
    ASSERT(to != 0 && to != raft->options.id);
    if (raft->outbox_count == RAFT_OUTBOX) {
        return NULL;
    }
    struct raft_message *message = &raft->outbox[(raft->outbox_first + raft->outbox_count) % RAFT_OUTBOX];
    raft->outbox_count++;
    *message = (struct raft_message){.type = type, .from = raft->options.id, .to = to, .term = raft->term};
    return message;
}

void raft_outbox_clear(struct raft *raft)
{
    raft->outbox_first = 0;
    raft->outbox_count = 0;
}

static void report_news(struct raft *raft, struct raft_ready *ready)
{
    ready->commit = raft->commit;
    ready->commit_changed = raft->commit != raft->told_commit;
    ready->role = raft->role;
    ready->term = raft->term;
    ready->leader = raft->leader;
    ready->role_changed =
        raft->role != raft->told_role || raft->term != raft->told_term || raft->leader != raft->told_leader;
    ready->reads_confirmed = raft->reads_confirmed;
    ready->read_round = raft->read_round;
    ready->read_index = raft->read_index;
    ready->leader_time_heard = raft->leader_time_heard;
    ready->leader_time = raft->leader_time;
    ready->snapshot_wanted =
        raft->snapshot_wanted || (raft->log.run_count > RAFT_TERM_RUNS_WANTED && raft->applied > raft->available.index);
    ASSERT(raft->commit >= raft->told_commit && raft->term >= raft->told_term);
    ASSERT(!raft->reads_confirmed || raft->read_index <= raft->commit);
    raft->told_commit = raft->commit;
    raft->told_role = raft->role;
    raft->told_term = raft->term;
    raft->told_leader = raft->leader;
    raft->reads_confirmed = false;
    raft->leader_time_heard = false;
    raft->snapshot_wanted = false;
}

bool raft_take_ready(struct raft *raft, struct raft_ready *ret_ready)
{
    ASSERT(raft->started && !raft->append_open);
    raft_read_begin(raft);
    *ret_ready = (struct raft_ready){0};
    raft_storage_ready(raft, ret_ready);
    raft_snapshot_ready(raft, ret_ready);
    report_news(raft, ret_ready);
    buffer_clear(&raft->payload); /* its bytes stay until it is used again */
    raft_check(raft);
    return ret_ready->number != 0 || ret_ready->has_chunk || ret_ready->commit_changed || ret_ready->role_changed ||
           ret_ready->reads_confirmed || ret_ready->leader_time_heard || ret_ready->snapshot_wanted;
}

bool raft_take_message(struct raft *raft, struct raft_message *ret_message)
{
    ASSERT(raft->started && !raft->append_open && raft->unstored_count == 0);
    if (!raft_gate_open(raft)) {
        return false;
    }
    if (raft->outbox_count > 0) {
        *ret_message = raft->outbox[raft->outbox_first];
        raft->outbox_first = (raft->outbox_first + 1) % RAFT_OUTBOX;
        raft->outbox_count--;
        return true;
    }
    return raft->role == RAFT_LEADER && raft_replication_message(raft, ret_message);
}

/* ---- looking ---- */

struct raft_peer *raft_peer_of(struct raft *raft, uint64_t id)
{
    for (size_t i = 0; i < raft->peer_count; i++) {
        if (raft->peers[i].id == id) {
            return &raft->peers[i];
        }
    }
    return NULL;
}

void raft_check(const struct raft *raft)
{
    ASSERT(raft->applied <= raft->commit && raft->commit <= raft->log.last);
    ASSERT(raft->log.floor <= raft->commit && raft->told_commit <= raft->commit);
    ASSERT(raft->durable <= raft->log.last && raft->stored_number <= raft->ready_number);
    ASSERT(raft_log_last_term(&raft->log) <= raft->term);
    ASSERT(raft->matched <= raft->log.last || raft->role == RAFT_LEADER);
    ASSERT((raft->role == RAFT_LEADER) == (raft->leader == raft->options.id));
    ASSERT(raft->role != RAFT_LEADER || (raft->own_vote && raft->term_start <= raft->log.last));
    ASSERT(raft->role != RAFT_LEADER || raft_log_last_term(&raft->log) == raft->term);
    ASSERT(raft->role != RAFT_CANDIDATE || raft->vote == raft->options.id);
    ASSERT(raft->role == RAFT_LEADER || (raft->transfer_to == 0 && raft->round_count == 0));
    ASSERT(raft->history_count == 1 || raft->history[1].index > raft->history[0].index);
    ASSERT(raft->history[raft->history_count - 1].index <= raft->log.last);
    ASSERT(raft->receive != RAFT_RECEIVE_INSTALLING || raft->role != RAFT_LEADER);
    ASSERT(raft->awake_ms <= raft->now_ms);
    ASSERT(raft->outbox_count <= RAFT_OUTBOX && raft->pending_count <= RAFT_PENDING_STORES);
}

void raft_status(const struct raft *raft, struct raft_status *ret_status)
{
    const struct raft_configuration *now = raft_configuration_now(raft);
    bool member = raft_configuration_has(now, raft->options.id);
    *ret_status = (struct raft_status){
        .id = raft->options.id,
        .role = raft->role,
        .term = raft->term,
        .vote = raft->vote,
        .leader = raft->leader,
        .floor = raft->log.floor,
        .last = raft->log.last,
        .last_term = raft_log_last_term(&raft->log),
        .durable = raft->durable,
        .commit = raft->commit,
        .applied = raft->applied,
        .term_committed = raft_term_committed(raft),
        .lost = raft->lost,
        .removed = !member && now->voter_count > 0 && raft->history[raft->history_count - 1].index <= raft->commit,
        .transfer_to = raft->transfer_to,
        .configuration_index = raft->history[raft->history_count - 1].index,
        .configuration = *now,
        .peers = raft->role == RAFT_LEADER ? raft->peer_count : 0,
    };
}

void raft_peer_status(const struct raft *raft, size_t index, struct raft_peer_status *ret_status)
{
    ASSERT(raft->role == RAFT_LEADER && index < raft->peer_count);
    const struct raft_peer *peer = &raft->peers[index];
    *ret_status = (struct raft_peer_status){
        .id = peer->id,
        .state = peer->state,
        .match = peer->match,
        .next = peer->next,
        .heard_ms = peer->heard_ms,
        .inflight_messages = peer->inflight_count,
        .inflight_bytes = peer->inflight_bytes,
        .snapshot_offset = peer->snapshot_offset,
    };
}

enum status raft_term_at(const struct raft *raft, uint64_t index, uint64_t *ret_term)
{
    return raft_log_term(&raft->log, index, ret_term) ? STATUS_OK : STATUS_NOTFOUND;
}

#ifdef COHORT_MUTATIONS
void raft_mutate(struct raft *raft, enum raft_mutation mutation) { raft->mutation = mutation; }
#endif
