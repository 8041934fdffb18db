/* Majorities: one function answers for elections, commit, confirmed reads, leases and the quorum check, so that a joint
 * configuration (section 4.3) is respected by all of them. */
#include "raft/raft_internal.h"

typedef uint64_t value_of(const struct raft *raft, const struct raft_peer *peer);

static uint64_t member_value(const struct raft *raft, uint64_t id, value_of *value)
{
    if (id == raft->options.id) {
        return value(raft, NULL);
    }
    for (size_t i = 0; i < raft->peer_count; i++) {
        if (raft->peers[i].id == id) {
            return value(raft, &raft->peers[i]);
        }
    }
    UNREACHABLE();
}

static uint64_t set_quorum(const struct raft *raft, const uint64_t *ids, size_t count, value_of *value)
{
    ASSERT(count > 0 && count <= RAFT_MAXIMUM_VOTERS);
    uint64_t values[RAFT_MAXIMUM_VOTERS];
    for (size_t i = 0; i < count; i++) {
        uint64_t v = member_value(raft, ids[i], value);
        size_t at = i;
        for (; at > 0 && values[at - 1] < v; at--) {
            values[at] = values[at - 1];
        }
        values[at] = v;
    }
    return values[count / 2]; /* descending: count / 2 + 1 members have at least this */
}

uint64_t raft_quorum(const struct raft *raft, value_of *value)
{
    const struct raft_configuration *c = raft_configuration_now(raft);
    ASSERT(c->voter_count > 0);
    uint64_t reached = set_quorum(raft, c->voters, c->voter_count, value);
    if (raft_configuration_is_joint(c) && !RAFT_MUTATED(raft, NO_JOINT)) {
        uint64_t outgoing = set_quorum(raft, c->outgoing, c->outgoing_count, value);
        reached = outgoing < reached ? outgoing : reached;
    }
    return reached;
}

/* The leader counts itself only up to what is durable (section 10.2.1). */
static uint64_t match_value(const struct raft *raft, const struct raft_peer *peer)
{
    if (peer != NULL) {
        return peer->match;
    }
    return RAFT_MUTATED(raft, LEADER_COUNTS_UNSYNCED) ? raft->log.last : raft->durable;
}

/* Section 3.6.2: only entries of the own term are committed by counting; those before them with them. */
void raft_commit_advance(struct raft *raft)
{
    ASSERT(raft->role == RAFT_LEADER);
    uint64_t index = raft_quorum(raft, match_value);
    ASSERT(index <= raft->log.last);
    if (index <= raft->commit) {
        return;
    }
    if (raft_log_matches(&raft->log, index, raft->term) || RAFT_MUTATED(raft, COMMIT_OLDER_TERM)) {
        raft_commit_to(raft, index);
    }
}

void raft_commit_to(struct raft *raft, uint64_t commit)
{
    ASSERT(commit > raft->commit && commit <= raft->log.last);
    raft->commit = commit;
    if (raft->role == RAFT_LEADER && raft->notice_deadline_ms == RAFT_NEVER) {
        raft->notice_deadline_ms = raft->now_ms + raft->options.commit_notice_ms;
    }
    raft_history_commit(raft);
    if (raft->role == RAFT_LEADER) {
        raft_membership_settle(raft);
    }
}

bool raft_term_committed(const struct raft *raft)
{
    return raft->role == RAFT_LEADER && raft->commit >= raft->term_start;
}
