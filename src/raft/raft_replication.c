/* Appends and heartbeats (section 3.5), at the leader and at the follower.
 *
 * Follower's rules
 * 1. An append counts only if our entry at prev_index has prev_term (the consistency check); else it is rejected with a
 *    hint. All up to commit is the leader's too (3.6.3), so nothing at or below commit is compared or replaced.
 * 2. Only an entry that conflicts (same index, other term) removes what follows it: a delayed append never shortens the
 *    log.
 * 3. `matched` is how far our log is known to equal the log of *this term's* leader. commit follows the leader's, but
 *    not beyond matched; acknowledged is what matched and is durable.
 * 4. While a snapshot is being installed, appends are not taken and commit stands still.
 * 5. A heartbeat's commit is never above what this member acknowledged to that leader, and nothing that it acknowledged
 *    leaves its log within the term (1), or but for a snapshot that reaches further. So a commit beyond the end of the
 *    log, in whatever order heartbeats come, says that the log has lost what was acknowledged. The leader never sends
 *    it again, so silence here would be for ever.
 */
#include "raft/raft_internal.h"

uint64_t raft_acknowledgeable(const struct raft *raft)
{
    if (RAFT_MUTATED(raft, ACK_BEFORE_SYNC)) {
        return raft->matched;
    }
    return raft->matched < raft->durable ? raft->matched : raft->durable;
}

void raft_acknowledge(struct raft *raft, bool durable_moved)
{
    if (!raft->ack_due || raft->role != RAFT_FOLLOWER || raft->leader == 0) {
        return;
    }
    uint64_t index = raft_acknowledgeable(raft);
    if (index < raft->matched && !durable_moved) {
        return; /* raft_stored comes */
    }
    raft->ack_due = index < raft->matched;
    struct raft_message *reply = raft_send(raft, RAFT_APPEND_REPLY, raft->leader);
    if (reply != NULL) {
        reply->append_reply.index = index;
    }
}

static void reject(struct raft *raft, const struct raft_message *message)
{
    struct raft_message *reply = raft_send(raft, RAFT_APPEND_REPLY, message->from);
    if (reply == NULL) {
        return;
    }
    uint64_t hint;
    if (!raft_log_find(&raft->log, message->append.prev_index, message->append.prev_term, &hint) ||
        hint < raft->commit) {
        hint = raft->commit;
    }
    reply->append_reply.rejected = true;
    reply->append_reply.index = message->append.prev_index;
    reply->append_reply.hint_index = hint;
    bool known = raft_log_term(&raft->log, hint, &reply->append_reply.hint_term);
    ASSERT(known);
}

static void follow_commit(struct raft *raft, uint64_t commit)
{
    uint64_t limit = RAFT_MUTATED(raft, COMMIT_UNMATCHED) ? raft->log.last : raft->matched;
    commit = commit < limit ? commit : limit;
    if (commit > raft->commit) {
        raft_commit_to(raft, commit);
    }
}

/* Adds what is new of entries[0, count), the first being last + 1 or less. Returns the index up to which our log now
 * equals the leader's. */
static uint64_t add_entries(struct raft *raft, const struct raft_entry *entries, uint32_t count)
{
    uint64_t matched = entries[0].index - 1;
    for (uint32_t i = 0; i < count; i++) {
        const struct raft_entry *entry = &entries[i];
        if (raft_log_matches(&raft->log, entry->index, entry->term)) {
            matched = entry->index;
            continue;
        }
        if (entry->index <= raft->log.last) {
            raft_log_remove(raft, entry->index);
        }
        struct raft_configuration configuration;
        if (entry->kind == RAFT_ENTRY_CONFIGURATION) {
            enum status status = raft_configuration_decode(entry->payload, &configuration);
            ASSERT(status == STATUS_OK); /* checked before anything changed */
        }
        raft_log_add(raft, entry);
        if (entry->kind == RAFT_ENTRY_CONFIGURATION) {
            raft_history_add(raft, entry->index, &configuration);
        }
        matched = entry->index;
    }
    return matched;
}

bool raft_contradicts(const struct raft *raft, uint64_t index, uint64_t term)
{
    uint64_t known;
    ASSERT(raft->matched >= raft->commit);
    uint64_t certain = raft->matched > raft->history[0].index ? raft->matched : raft->history[0].index;
    return index <= certain && raft_log_term(&raft->log, index, &known) && known != term;
}

/* What must hold of an append before its first entry changes anything. */
static enum status check_entries(const struct raft *raft, const struct raft_message *message)
{
    if (raft_contradicts(raft, message->append.prev_index, message->append.prev_term)) {
        return STATUS_CORRUPT;
    }
    for (uint32_t i = 0; i < message->append.count; i++) {
        const struct raft_entry *entry = &message->append.entries[i];
        if (raft_contradicts(raft, entry->index, entry->term)) {
            return STATUS_CORRUPT;
        }
        if (entry->kind == RAFT_ENTRY_CONFIGURATION) {
            struct raft_configuration configuration;
            enum status status = raft_configuration_decode(entry->payload, &configuration);
            if (status != STATUS_OK || configuration.voter_count == 0) {
                return status != STATUS_OK ? status : STATUS_INVALID;
            }
        }
    }
    return STATUS_OK;
}

enum status raft_step_append(struct raft *raft, const struct raft_message *message)
{
    ASSERT(raft->role == RAFT_FOLLOWER && raft->leader == message->from);
    const struct raft_entry *entries = message->append.entries;
    uint32_t count = message->append.count;
    uint64_t prev = message->append.prev_index;
    if (raft->receive == RAFT_RECEIVE_INSTALLING || raft->unstored_count + count > RAFT_MAXIMUM_UNSTORED) {
        return STATUS_OK; /* as if lost */
    }
    enum status status = check_entries(raft, message);
    if (status != STATUS_OK) {
        return status;
    }
    bool prev_agrees = prev <= raft->commit || raft_log_matches(&raft->log, prev, message->append.prev_term) ||
                       (RAFT_MUTATED(raft, NO_PREV_CHECK) && prev <= raft->log.last);
    if (!prev_agrees) {
        reject(raft, message);
        return STATUS_OK;
    }
    uint64_t skip = prev < raft->commit ? raft->commit - prev : 0;
    uint64_t matched = prev < raft->commit ? raft->commit : prev;
    if (skip < count) {
        matched = add_entries(raft, entries + skip, count - (uint32_t)skip);
    }
    raft->matched = matched > raft->matched ? matched : raft->matched;
    raft->ack_due = true;
    follow_commit(raft, message->append.commit);
    raft_acknowledge(raft, false);
    return STATUS_OK;
}

enum status raft_step_heartbeat(struct raft *raft, const struct raft_message *message)
{
    if (message->heartbeat.commit > raft->log.last) { /* rule 5 */
        raft->lost = message->heartbeat.commit;
        return STATUS_CORRUPT;
    }
    raft->no_lease = message->heartbeat.sent_ms == 0;
    raft->leader_time = message->heartbeat.time;
    raft->leader_time_heard = true;
    if (raft->receive != RAFT_RECEIVE_INSTALLING) {
        follow_commit(raft, message->heartbeat.commit);
    }
    raft->heartbeat.term = raft->term;
    raft->heartbeat.sequence = message->heartbeat.sequence;
    raft->heartbeat.sent_ms = message->heartbeat.sent_ms;
    raft->heartbeat.at_ms = raft->now_ms;
    struct raft_message *reply = raft_send(raft, RAFT_HEARTBEAT_REPLY, message->from);
    if (reply != NULL) {
        reply->heartbeat_reply.sequence = message->heartbeat.sequence;
        reply->heartbeat_reply.sent_ms = message->heartbeat.sent_ms;
        reply->heartbeat_reply.matched = raft->matched;
        reply->heartbeat_reply.durable = raft_acknowledgeable(raft);
        reply->heartbeat_reply.overtook = message->heartbeat.overtook;
    }
    return STATUS_OK;
}

/* ---- the leader's side ---- */

/* After this `peer` may be gone: a commit can end the membership of its owner. */
static void acked(struct raft *raft, struct raft_peer *peer, uint64_t index)
{
    uint64_t before = peer->match;
    raft_peer_acked(raft, peer, index);
    if (peer->match == before) {
        return;
    }
    if (raft->commit > peer->commit_sent && raft->notice_deadline_ms == RAFT_NEVER) {
        raft->notice_deadline_ms = raft->now_ms + raft->options.commit_notice_ms;
    }
    raft_transfer_advance(raft);
    raft_commit_advance(raft);
}

enum status raft_step_append_reply(struct raft *raft, const struct raft_message *message)
{
    struct raft_peer *peer = raft_peer_of(raft, message->from);
    if (raft->role != RAFT_LEADER || peer == NULL) {
        return STATUS_OK;
    }
    raft_hear_peer(raft, peer);
    uint64_t index = message->append_reply.index;
    if (message->append_reply.rejected) {
        if (index == 0 || index > raft->log.last || message->append_reply.hint_index > index) {
            return STATUS_INVALID;
        }
        raft_peer_rejected(raft, peer, index, message->append_reply.hint_index, message->append_reply.hint_term);
        return STATUS_OK;
    }
    if (index > raft->log.last) {
        return STATUS_INVALID;
    }
    acked(raft, peer, index);
    return STATUS_OK;
}

enum status raft_step_heartbeat_reply(struct raft *raft, const struct raft_message *message)
{
    struct raft_peer *peer = raft_peer_of(raft, message->from);
    if (raft->role != RAFT_LEADER || peer == NULL || message->heartbeat_reply.sequence == 0) {
        return STATUS_OK;
    }
    uint64_t sequence = message->heartbeat_reply.sequence;
    uint64_t sent_ms = message->heartbeat_reply.sent_ms;
    uint64_t matched = message->heartbeat_reply.matched;
    if (sequence > raft->sequence || sent_ms > raft->now_ms || matched > raft->log.last ||
        message->heartbeat_reply.durable > matched) {
        return STATUS_INVALID;
    }
    raft_hear_peer(raft, peer);
    peer->acked_sequence = sequence > peer->acked_sequence ? sequence : peer->acked_sequence;
    peer->acked_sent_ms = sent_ms > peer->acked_sent_ms ? sent_ms : peer->acked_sent_ms;
    if (!message->heartbeat_reply.overtook) {
        raft_peer_checked(raft, peer, sequence, matched);
    }
    if (peer->chunk_sent && raft->now_ms - peer->chunk_sent_ms >= raft->options.election_timeout_ms) {
        peer->chunk_sent = false;
    }
    raft_read_confirm(raft);
    acked(raft, peer, message->heartbeat_reply.durable);
    return STATUS_OK;
}

static uint64_t commit_for(const struct raft *raft, const struct raft_peer *peer)
{
    return raft->commit < peer->match ? raft->commit : peer->match;
}

/* On multiples of the interval, so that the heartbeats of all groups at a node fall together. */
static void next_heartbeat(struct raft *raft, uint64_t now_ms)
{
    uint64_t interval = raft->options.heartbeat_ms;
    raft->heartbeat_deadline_ms = (now_ms / interval + 1) * interval;
}

void raft_heartbeats_due(struct raft *raft, uint64_t now_ms)
{
    for (size_t i = 0; i < raft->peer_count; i++) {
        raft->peers[i].heartbeat_due = true;
    }
    next_heartbeat(raft, now_ms);
}

void raft_replication_tick(struct raft *raft)
{
    ASSERT(raft->role == RAFT_LEADER);
    bool heartbeat = raft->now_ms >= raft->heartbeat_deadline_ms;
    bool notice = raft->now_ms >= raft->notice_deadline_ms;
    for (size_t i = 0; i < raft->peer_count && (heartbeat || notice); i++) {
        struct raft_peer *peer = &raft->peers[i];
        if (heartbeat || commit_for(raft, peer) > peer->commit_sent) {
            peer->heartbeat_due = true;
        }
    }
    if (heartbeat) {
        next_heartbeat(raft, raft->now_ms);
    }
    if (heartbeat || notice) {
        raft->notice_deadline_ms = RAFT_NEVER;
    }
}

void raft_make_heartbeat(struct raft *raft, struct raft_peer *peer, struct raft_message *message)
{
    message->type = RAFT_HEARTBEAT;
    message->heartbeat.sequence = ++raft->sequence;
    message->heartbeat.sent_ms = raft->options.lease_reads ? raft->now_ms : 0;
    message->heartbeat.commit = commit_for(raft, peer);
    message->heartbeat.time = raft->time;
    peer->commit_sent = message->heartbeat.commit;
    peer->heartbeat_due = false;
    if (peer->check_sequence == 0 || peer->check_index <= peer->match) {
        peer->check_sequence = raft->sequence;
        peer->check_index = peer->state == RAFT_PEER_REPLICATE                   ? peer->next - 1
                            : peer->state == RAFT_PEER_PROBE && peer->probe_sent ? peer->probe_last
                                                                                 : 0;
    }
}

static void make_append(struct raft *raft, struct raft_peer *peer, struct raft_message *message)
{
    message->type = RAFT_APPEND;
    message->append.prev_index = peer->next - 1;
    bool known = raft_log_term(&raft->log, peer->next - 1, &message->append.prev_term);
    ASSERT(known);
    message->append.commit = raft->commit;
    uint64_t available = raft->log.last - peer->next + 1;
    message->append.available =
        available < RAFT_MAXIMUM_APPEND_ENTRIES ? (uint32_t)available : RAFT_MAXIMUM_APPEND_ENTRIES;
    message->append.room_bytes = raft->options.append_bytes;
    raft->append_open = true;
}

bool raft_replication_message(struct raft *raft, struct raft_message *ret_message)
{
    ASSERT(raft->role == RAFT_LEADER && raft_gate_open(raft));
    for (size_t i = 0; i < raft->peer_count; i++) {
        struct raft_peer *peer = &raft->peers[i];
        *ret_message = (struct raft_message){.from = raft->options.id, .to = peer->id, .term = raft->term};
        if (peer->heartbeat_due) {
            raft_make_heartbeat(raft, peer, ret_message);
            return true;
        }
        if (peer->state != RAFT_PEER_SNAPSHOT && peer->next <= raft->log.floor) {
            raft_peer_snapshot(peer);
        }
        if (raft_peer_wants_append(raft, peer)) {
            make_append(raft, peer, ret_message);
            return true;
        }
        if (raft_snapshot_message(raft, peer, ret_message)) {
            return true;
        }
    }
    return false;
}

void raft_append_filled(struct raft *raft, const struct raft_message *message)
{
    ASSERT(raft->append_open && raft->role == RAFT_LEADER);
    ASSERT(message->type == RAFT_APPEND && message->append.count <= message->append.available);
    ASSERT(message->append.count > 0 || message->append.available == 0);
    struct raft_peer *peer = raft_peer_of(raft, message->to);
    ASSERT(peer != NULL && peer->next == message->append.prev_index + 1);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < message->append.count; i++) {
        ASSERT(message->append.entries[i].index == peer->next + i);
        ASSERT(raft_log_matches(&raft->log, peer->next + i, message->append.entries[i].term));
        bytes += message->append.entries[i].payload.size;
    }
    raft->append_open = false;
    uint64_t last = message->append.prev_index + message->append.count;
    raft_peer_sent(raft, peer, last, bytes);
    uint64_t commit = raft->commit < last ? raft->commit : last;
    peer->commit_sent = commit > peer->commit_sent ? commit : peer->commit_sent;
}
