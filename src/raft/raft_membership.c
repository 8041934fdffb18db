/* Membership changes (chapter 4), by joint consensus (section 4.3).
 *
 *   C_old ──(change proposed)──→ C_old,new ──(committed: the leader goes on by itself)──→ C_new ──(committed)──→ done
 *
 * Rules
 * 1. The newest configuration in the log counts, committed or not; when its entry is removed, the one before counts
 *    again (4.1). So that one is kept too. It is all the history there is: by rule 2 it was committed when the newest
 *    was proposed, whether or not this member has heard so, and will never be removed.
 * 2. A change begins only when the one before it is committed and the leader has committed an entry of its own term:
 *    otherwise two leaders could change the same configuration to sets without a common majority (the bug in the
 *    single-server algorithm of the dissertation, published on raft-dev in July 2015). A change of voters always goes
 *    through the joint configuration, whose majorities overlap with both sides anyway.
 * 3. A leader outside of C_new leads until C_new is committed, without counting itself, then steps down and asks the
 *    voter with the longest log to stand at once. Until it knows of the commit, a member that C_new leaves out still
 *    stands for election: its log may be the only one that can win (4.2.2).
 * 4. Whoever is removed is sent entries until its removal is committed, and then a last heartbeat that says so: it
 *    learns of it if it can. If it cannot, pre-vote and the quorum check keep it from disturbing the others (4.2.3).
 */
#include "raft/raft_internal.h"

#include "base/memory.h"

#include <stdlib.h>

const struct raft_configuration *raft_configuration_now(const struct raft *raft)
{
    ASSERT(raft->history_count > 0);
    return &raft->history[raft->history_count - 1].configuration;
}

bool raft_is_voter(const struct raft *raft)
{
    return raft_configuration_is_voter(raft_configuration_now(raft), raft->options.id);
}

bool raft_may_stand(const struct raft *raft)
{
    return raft_is_voter(raft) || raft_configuration_is_voter(&raft->history[0].configuration, raft->options.id);
}

static bool in_history(const struct raft *raft, uint64_t id)
{
    for (uint32_t i = 0; i < raft->history_count; i++) {
        if (raft_configuration_has(&raft->history[i].configuration, id)) {
            return true;
        }
    }
    return false;
}

/* The last it hears: with the commit index of its removal, if it has the entry. */
static void say_goodbye(struct raft *raft, const struct raft_peer *peer)
{
    struct raft_message *message = raft_send(raft, RAFT_HEARTBEAT, peer->id);
    if (message != NULL) {
        message->heartbeat.sequence = ++raft->sequence;
        message->heartbeat.sent_ms = raft->now_ms;
        message->heartbeat.commit = raft->commit < peer->match ? raft->commit : peer->match;
        message->heartbeat.time = raft->time;
    }
}

static void add_peer(struct raft *raft, uint64_t id)
{
    if (id == raft->options.id || raft_peer_of(raft, id) != NULL) {
        return;
    }
    if (raft->peer_count == raft->peer_capacity) {
        size_t capacity = raft->peer_capacity == 0 ? 4 : raft->peer_capacity * 2;
        struct raft_peer *peers = memory_resize(raft->peers, capacity * sizeof *peers);
        raft->peers = peers;
        raft->peer_capacity = capacity;
    }
    struct raft_peer *peer = &raft->peers[raft->peer_count++];
    memset(peer, 0, sizeof *peer);
    peer->id = id;
    raft_peer_reset(raft, peer);
}

void raft_peers_sync(struct raft *raft)
{
    size_t kept = 0;
    for (size_t i = 0; i < raft->peer_count; i++) {
        if (in_history(raft, raft->peers[i].id)) {
            raft->peers[kept] = raft->peers[i];
            kept++;
            continue;
        }
        if (raft->role == RAFT_LEADER) {
            say_goodbye(raft, &raft->peers[i]);
        }
        if (raft->peers[i].id == raft->transfer_to) {
            raft_transfer_abandon(raft);
        }
    }
    raft->peer_count = kept;
    for (uint32_t i = 0; i < raft->history_count; i++) {
        const struct raft_configuration *c = &raft->history[i].configuration;
        for (size_t j = 0; j < c->voter_count; j++) {
            add_peer(raft, c->voters[j]);
        }
        for (size_t j = 0; j < c->outgoing_count; j++) {
            add_peer(raft, c->outgoing[j]);
        }
        for (size_t j = 0; j < c->learner_count; j++) {
            add_peer(raft, c->learners[j]);
        }
    }
}

void raft_history_add(struct raft *raft, uint64_t index, const struct raft_configuration *configuration)
{
    ASSERT(raft->history_count == 1 || raft->history_count == 2);
    ASSERT(index > raft->history[raft->history_count - 1].index && index > raft->commit);
    ASSERT(raft_configuration_valid(configuration) && configuration->voter_count > 0);
    if (raft->history_count == 2) {
        raft->history[0] = raft->history[1];
    }
    raft->history[1] = (struct raft_history_item){.index = index, .configuration = *configuration};
    raft->history_count = 2;
    raft_peers_sync(raft);
}

void raft_history_remove(struct raft *raft, uint64_t from)
{
    ASSERT(raft->history[0].index < from);
    if (raft->history_count == 2 && raft->history[1].index >= from) {
        raft->history_count = 1;
        raft_peers_sync(raft);
    }
}

void raft_history_reset(struct raft *raft, uint64_t index, const struct raft_configuration *configuration)
{
    ASSERT(raft_configuration_valid(configuration));
    while (raft->history_count > 0 && raft->history[raft->history_count - 1].index > raft->log.last) {
        raft->history_count--; /* its entry is gone */
    }
    struct raft_history_item base = {.index = index, .configuration = *configuration};
    if (raft->history_count == 0 || raft->history[raft->history_count - 1].index <= index) {
        raft->history[0] = base;
        raft->history_count = 1;
    } else if (raft->history[0].index <= index) {
        raft->history[0] = base; /* the newest is above */
    }
    raft_peers_sync(raft);
}

void raft_history_commit(struct raft *raft)
{
    if (raft->history_count == 2 && raft->history[1].index <= raft->commit) {
        raft->history[0] = raft->history[1];
        raft->history_count = 1;
        raft_peers_sync(raft);
    }
}

static void append_configuration(struct raft *raft, const struct raft_configuration *configuration)
{
    ASSERT(raft->role == RAFT_LEADER);
    if (raft->payload.size == 0) {
        (void)buffer_reserve(&raft->payload, (size_t)2 * RAFT_CONFIGURATION_MAXIMUM_BYTES);
    }
    size_t start = raft->payload.size;
    ASSERT(raft->payload.capacity - start >= RAFT_CONFIGURATION_MAXIMUM_BYTES); /* entries point into it */
    raft_configuration_encode(configuration, &raft->payload);
    struct raft_entry entry = {
        .index = raft->log.last + 1,
        .term = raft->term,
        .kind = RAFT_ENTRY_CONFIGURATION,
        .version = raft->options.entry_version,
        .payload = slice_of(raft->payload.data + start, raft->payload.size - start),
    };
    raft_log_add(raft, &entry);
    raft_history_add(raft, entry.index, configuration);
}

void raft_membership_settle(struct raft *raft)
{
    ASSERT(raft->role == RAFT_LEADER);
    if (raft->history_count > 1 || !raft_term_committed(raft)) {
        return;
    }
    struct raft_configuration now = *raft_configuration_now(raft);
    if (raft_configuration_is_joint(&now)) {
        now.outgoing_count = 0;
        append_configuration(raft, &now);
    } else if (!raft_is_voter(raft)) {
        raft_transfer_farewell(raft);
        raft_become_follower(raft, raft->term, 0);
    }
}

enum status raft_change(struct raft *raft, const struct raft_configuration *target)
{
    ASSERT(raft->started);
    if (raft->role != RAFT_LEADER) {
        return STATUS_NOT_LEADER;
    }
    if (!raft_configuration_valid(target) || target->voter_count == 0 || raft_configuration_is_joint(target)) {
        return STATUS_INVALID;
    }
    bool unfinished = raft->history_count > 1 || raft_configuration_is_joint(raft_configuration_now(raft));
    if (RAFT_MUTATED(raft, CHANGE_UNCOMMITTED)) {
        unfinished = raft->payload.size > 0;
    }
    if (unfinished || raft->transfer_to != 0 || !raft_term_committed(raft)) {
        return STATUS_BUSY;
    }
    const struct raft_configuration *now = raft_configuration_now(raft);
    if (raft_configuration_equal(now, target)) {
        return STATUS_EXISTS;
    }
    struct raft_configuration next = *target;
    bool voters_differ = now->voter_count != target->voter_count ||
                         memcmp(now->voters, target->voters, now->voter_count * sizeof now->voters[0]) != 0;
    if (voters_differ) {
        memcpy(next.outgoing, now->voters, sizeof next.outgoing);
        next.outgoing_count = now->voter_count;
    }
    append_configuration(raft, &next);
    raft_check(raft);
    return STATUS_OK;
}
