/* Snapshots (section 5.1): a follower that needs trimmed entries gets the state instead, in chunks.
 *
 * Leader: one chunk at a time, the next from the offset that the answer wants; so a transfer resumes after a loss, a
 * restart of the leader's connection, or a new leader that has the same file (raft_snapshot_ident). A transfer goes on
 * with its file when a newer snapshot appears: else quick snapshots would starve a slow follower.
 *
 * Follower:
 *   IDLE, WAITING ──chunk at the wanted offset──→ WRITING ──written──→ WAITING
 *                 └─the last chunk──→ INSTALLING ──installed, failed──→ IDLE
 *
 * Rules
 * 1. A snapshot at or below commit is not taken; the acknowledgement tells how far this log is (section 5.1; otherwise
 *    the state would go back).
 * 2. From the last chunk on until the host's answer, appends and commit stand still and no election is begun: nothing
 *    is applied around a state that is being replaced. Terms and votes go on.
 * 3. If our log has the snapshot's last entry, with its term, what follows it stays; else all of the log is dropped,
 *    durably: it conflicts with the state (section 5.1).
 * 4. After that the log continues at the snapshot's index exactly. */
#include "raft/raft_internal.h"

static bool same_file(const struct raft_snapshot_ident *a, const struct raft_snapshot_ident *b)
{
    return a->index == b->index && a->term == b->term && a->id == b->id && a->size_bytes == b->size_bytes;
}

/* ---- the leader's side ---- */

void raft_snapshot_available(struct raft *raft, const struct raft_snapshot_ident *ident)
{
    ASSERT(ident->index > 0 && ident->term > 0 && ident->size_bytes > 0);
    ASSERT(ident->index <= raft->applied);
    if (ident->index >= raft->available.index) {
        raft->available = *ident;
    }
}

bool raft_snapshot_in_use(const struct raft *raft, const struct raft_snapshot_ident *ident)
{
    if (same_file(&raft->available, ident)) {
        return true;
    }
    for (size_t i = 0; i < raft->peer_count; i++) {
        const struct raft_peer *peer = &raft->peers[i];
        if (raft->role == RAFT_LEADER && peer->state == RAFT_PEER_SNAPSHOT && same_file(&peer->snapshot, ident)) {
            return true;
        }
    }
    return false;
}

static void choose_again(struct raft_peer *peer)
{
    peer->snapshot = (struct raft_snapshot_ident){0};
    peer->snapshot_offset = 0;
    peer->chunk_sent = false;
}

void raft_snapshot_gone(struct raft *raft, const struct raft_snapshot_ident *ident)
{
    if (same_file(&raft->available, ident)) {
        raft->available = (struct raft_snapshot_ident){0};
    }
    for (size_t i = 0; i < raft->peer_count; i++) {
        if (raft->peers[i].state == RAFT_PEER_SNAPSHOT && same_file(&raft->peers[i].snapshot, ident)) {
            choose_again(&raft->peers[i]);
        }
    }
}

bool raft_snapshot_message(struct raft *raft, struct raft_peer *peer, struct raft_message *message)
{
    if (peer->state != RAFT_PEER_SNAPSHOT || peer->chunk_sent) {
        return false;
    }
    if (peer->snapshot.index == 0) {
        if (raft->available.index < raft->log.floor || raft->available.index == 0) {
            raft->snapshot_wanted = true;
            return false;
        }
        peer->snapshot = raft->available;
    }
    ASSERT(peer->snapshot_offset <= peer->snapshot.size_bytes);
    uint64_t rest = peer->snapshot.size_bytes - peer->snapshot_offset;
    message->type = RAFT_SNAPSHOT;
    message->snapshot.ident = peer->snapshot;
    message->snapshot.offset = peer->snapshot_offset;
    message->snapshot.room_bytes =
        rest < raft->options.snapshot_chunk_bytes ? rest : raft->options.snapshot_chunk_bytes;
    peer->chunk_sent = true;
    peer->chunk_sent_ms = raft->now_ms;
    return true;
}

void raft_step_snapshot_reply(struct raft *raft, const struct raft_message *message)
{
    struct raft_peer *peer = raft_peer_of(raft, message->from);
    if (raft->role != RAFT_LEADER || peer == NULL) {
        return;
    }
    raft_hear_peer(raft, peer);
    if (peer->state != RAFT_PEER_SNAPSHOT || !same_file(&peer->snapshot, &message->snapshot_reply.ident) ||
        message->snapshot_reply.offset > peer->snapshot.size_bytes) {
        return;
    }
    peer->snapshot_offset = message->snapshot_reply.offset;
    peer->chunk_sent = false;
}

void raft_compact(struct raft *raft, uint64_t index)
{
    ASSERT(index <= raft->applied && index <= raft->available.index);
    if (index <= raft->log.floor) {
        return;
    }
    raft_log_compact(&raft->log, index);
    raft->trim_due = true;
    raft_check(raft);
}

uint64_t raft_compact_wish(const struct raft *raft)
{
    uint64_t wish = raft->applied < raft->available.index ? raft->applied : raft->available.index;
    for (size_t i = 0; i < raft->peer_count && raft->role == RAFT_LEADER; i++) {
        const struct raft_peer *peer = &raft->peers[i];
        if (raft->now_ms - peer->heard_ms >= raft->options.election_timeout_ms) {
            continue;
        }
        uint64_t needs = peer->snapshot.index > peer->match ? peer->snapshot.index : peer->match;
        wish = needs < wish ? needs : wish;
    }
    return wish;
}

/* ---- the follower's side ---- */

static void want(struct raft *raft, const struct raft_snapshot_ident *ident, uint64_t offset)
{
    if (raft->role != RAFT_FOLLOWER || raft->leader == 0) {
        return; /* the next leader's first chunk will ask */
    }
    struct raft_message *reply = raft_send(raft, RAFT_SNAPSHOT_REPLY, raft->leader);
    if (reply != NULL) {
        reply->snapshot_reply.ident = *ident;
        reply->snapshot_reply.offset = offset;
    }
}

enum status raft_step_snapshot(struct raft *raft, const struct raft_message *message)
{
    ASSERT(raft->role == RAFT_FOLLOWER && raft->leader == message->from);
    const struct raft_snapshot_ident *ident = &message->snapshot.ident;
    if (raft->receive == RAFT_RECEIVE_WRITING || raft->receive == RAFT_RECEIVE_INSTALLING) {
        return STATUS_OK;
    }
    if (ident->index <= raft->commit && !RAFT_MUTATED(raft, SNAPSHOT_OLD)) {
        raft->ack_due = true;
        raft_acknowledge(raft, true);
        return STATUS_OK;
    }
    if (raft_contradicts(raft, ident->index, ident->term)) {
        return STATUS_CORRUPT;
    }
    if (raft->receive == RAFT_RECEIVE_IDLE || !same_file(ident, &raft->receive_ident)) {
        raft->receive = RAFT_RECEIVE_WAITING;
        raft->receive_ident = *ident;
        raft->receive_offset = 0;
    }
    if (message->snapshot.offset != raft->receive_offset) {
        want(raft, ident, raft->receive_offset);
        return STATUS_OK;
    }
    if (message->snapshot.data.size == 0) {
        return STATUS_INVALID; /* all of it would be here, and it would be installing */
    }
    bool last = raft->receive_offset + message->snapshot.data.size == ident->size_bytes;
    raft->receive = last ? RAFT_RECEIVE_INSTALLING : RAFT_RECEIVE_WRITING;
    raft->chunk = message->snapshot.data;
    raft->chunk_due = true;
    return STATUS_OK;
}

void raft_snapshot_ready(struct raft *raft, struct raft_ready *ready)
{
    if (!raft->chunk_due) {
        return;
    }
    ASSERT(raft->receive == RAFT_RECEIVE_WRITING || raft->receive == RAFT_RECEIVE_INSTALLING);
    raft->chunk_due = false;
    ready->has_chunk = true;
    ready->chunk_last = raft->receive == RAFT_RECEIVE_INSTALLING;
    ready->chunk_ident = raft->receive_ident;
    ready->chunk_offset = raft->receive_offset;
    ready->chunk_data = raft->chunk;
    raft->receive_offset += raft->chunk.size;
}

void raft_snapshot_chunk_written(struct raft *raft)
{
    ASSERT(raft->receive == RAFT_RECEIVE_WRITING && !raft->chunk_due);
    raft->receive = RAFT_RECEIVE_WAITING;
    want(raft, &raft->receive_ident, raft->receive_offset);
}

void raft_snapshot_failed(struct raft *raft)
{
    ASSERT((raft->receive == RAFT_RECEIVE_WRITING || raft->receive == RAFT_RECEIVE_INSTALLING) && !raft->chunk_due);
    raft->receive = RAFT_RECEIVE_IDLE;
    raft->receive_offset = 0;
    want(raft, &raft->receive_ident, 0);
}

void raft_snapshot_installed(struct raft *raft, const struct raft_configuration *configuration)
{
    ASSERT(raft->receive == RAFT_RECEIVE_INSTALLING && !raft->chunk_due && raft->role != RAFT_LEADER);
    uint64_t index = raft->receive_ident.index;
    uint64_t term = raft->receive_ident.term;
    ASSERT(index > raft->commit); /* it stood still */
    raft->receive = RAFT_RECEIVE_IDLE;
    bool agrees = raft_log_matches(&raft->log, index, term) ||
                  (RAFT_MUTATED(raft, SNAPSHOT_KEEPS_LOG) && index <= raft->log.last);
    if (agrees) {
        raft_log_compact(&raft->log, index);
        raft->trim_due = true;
    } else {
        raft_log_replace(raft, index, term);
    }
    /* The file is durable, so all up to index is, whatever the log has written of it. */
    raft->durable = raft->durable > index ? raft->durable : index;
    raft->commit = index;
    raft->applied = index;
    raft->told_commit = index;
    raft->matched = raft->matched > index ? raft->matched : index;
    raft_history_reset(raft, index, configuration);
    raft->ack_due = true;
    raft_acknowledge(raft, true);
    ASSERT(raft->log.floor == index && raft->durable <= raft->log.last);
    raft_check(raft);
}
