/* The always-true list, checked after each turn. See lab.h. */
#include "tests/unit/raft/lab.h"

#include "base/assert.h"
#include "base/hash.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void lab_fail(struct lab *lab, const char *format, ...)
{
    if (lab->failed) {
        return; /* the first is the cause */
    }
    lab->failed = true;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(lab->failure, sizeof lab->failure, format, arguments);
    va_end(arguments);
}

void lab_oracle_deinit(struct lab *lab)
{
    for (size_t i = 0; i < lab->oracle.capacity; i++) {
        free(lab->oracle.indexes[i].versions);
    }
    free(lab->oracle.indexes);
    free(lab->oracle.terms);
}

uint64_t lab_hash_entry(const struct lab_entry *entry)
{
    return hash_bytes((uint64_t)entry->kind << 8 | entry->version, entry->payload->data, entry->payload->size);
}

static struct lab_known *known_at(struct lab *lab, uint64_t index)
{
    struct lab_oracle *o = &lab->oracle;
    if (index >= o->capacity) {
        size_t capacity = index * 2 + 64;
        o->indexes = realloc(o->indexes, capacity * sizeof *o->indexes);
        ASSERT(o->indexes != NULL);
        memset(o->indexes + o->capacity, 0, (capacity - o->capacity) * sizeof *o->indexes);
        o->capacity = capacity;
    }
    return &o->indexes[index];
}

/* Log matching, by induction over the predecessor's term. */
void lab_oracle_appended(struct lab *lab, const struct lab_node *node, const struct lab_entry *entry)
{
    const struct lab_entry *before = lab_entry(&node->latest, entry->index - 1);
    uint64_t prev_term = before != NULL ? before->term : node->latest.trimmed_term;
    uint64_t hash = lab_hash_entry(entry);
    struct lab_known *known = known_at(lab, entry->index);
    for (size_t i = 0; i < known->version_count; i++) {
        if (known->versions[i].term != entry->term) {
            continue;
        }
        if (known->versions[i].hash != hash || known->versions[i].prev_term != prev_term) {
            lab_fail(lab, "log matching broken at %d by %d", (int)entry->index, (int)node->id);
        }
        return;
    }
    known->versions = realloc(known->versions, (known->version_count + 1) * sizeof *known->versions);
    ASSERT(known->versions != NULL);
    known->versions[known->version_count].term = entry->term;
    known->versions[known->version_count].prev_term = prev_term;
    known->versions[known->version_count].hash = hash;
    known->version_count++;
}

static bool has_durably(const struct lab_node *node, uint64_t index, uint64_t term)
{
    const struct lab_entry *entry = lab_entry(&node->stable, index);
    return node->file.ident.index >= index || node->stable.trimmed >= index || (entry != NULL && entry->term == term);
}

static bool set_has_durably(const struct lab *lab, const uint64_t *ids, size_t count, uint64_t index, uint64_t term)
{
    size_t having = 0;
    for (size_t i = 0; i < count; i++) {
        having += has_durably(&lab->nodes[ids[i]], index, term);
    }
    return having > count / 2;
}

static void commit_first(struct lab *lab, const struct lab_node *node, const struct lab_entry *entry,
                         const struct raft_status *status)
{
    const struct raft_configuration *c = &status->configuration;
    if (!set_has_durably(lab, c->voters, c->voter_count, entry->index, entry->term) ||
        (c->outgoing_count > 0 && !set_has_durably(lab, c->outgoing, c->outgoing_count, entry->index, entry->term))) {
        lab_fail(lab, "%d commits %d, which is not durable on a majority", (int)node->id, (int)entry->index);
    }
    struct lab_known *known = known_at(lab, entry->index);
    known->committed = true;
    known->term = entry->term;
    known->hash = lab_hash_entry(entry);
    known->commit_term = status->term;
}

void lab_oracle_committed(struct lab *lab, const struct lab_node *node, uint64_t commit)
{
    struct raft_status status;
    raft_status(node->raft, &status);
    /* From the end: an entry's durability is judged by the newest one committed with it. */
    for (uint64_t index = commit; index > node->latest.trimmed; index--) {
        const struct lab_entry *entry = lab_entry(&node->latest, index);
        if (entry == NULL) {
            lab_fail(lab, "%d commits %d, which it has not", (int)node->id, (int)index);
            return;
        }
        struct lab_known *known = known_at(lab, index);
        if (!known->committed) {
            commit_first(lab, node, entry, &status);
        } else if (known->term != entry->term || known->hash != lab_hash_entry(entry)) {
            lab_fail(lab, "%d commits term %d at %d, where term %d was committed", (int)node->id, (int)entry->term,
                     (int)index, (int)known->term);
            return;
        } else if (index <= node->applied) {
            break; /* looked at before */
        }
    }
    if (commit > lab->oracle.committed) {
        lab->oracle.committed = commit;
    }
}

void lab_oracle_applied(struct lab *lab, const struct lab_node *node, const struct lab_entry *entry)
{
    struct lab_known *known = known_at(lab, entry->index);
    if (!known->committed) {
        lab_fail(lab, "%d applies %d, which is not committed", (int)node->id, (int)entry->index);
    }
    if (known->has_state && known->state != node->state) {
        lab_fail(lab, "%d has another state after %d", (int)node->id, (int)entry->index);
    }
    known->has_state = true;
    known->state = node->state;
    /* The leader that applies its own entry answers its client. */
    struct raft_status status;
    raft_status(node->raft, &status);
    if (status.role == RAFT_LEADER && entry->term == status.term && entry->index > lab->oracle.observed) {
        lab->oracle.observed = entry->index;
    }
}

static void make_term(struct lab *lab, uint64_t term)
{
    struct lab_oracle *o = &lab->oracle;
    if (term >= o->term_capacity) {
        size_t capacity = term * 2 + 16;
        o->terms = realloc(o->terms, capacity * sizeof *o->terms);
        ASSERT(o->terms != NULL);
        memset(o->terms + o->term_capacity, 0, (capacity - o->term_capacity) * sizeof *o->terms);
        o->term_capacity = capacity;
    }
}

static void new_leader(struct lab *lab, const struct lab_node *node, uint64_t term)
{
    lab->marks.elections++;
    make_term(lab, term);
    uint64_t *leader = &lab->oracle.terms[term].leader;
    if (*leader != 0 && *leader != node->id) {
        lab_fail(lab, "two leaders in term %d: %d and %d", (int)term, (int)*leader, (int)node->id);
    }
    *leader = node->id;
    for (uint64_t index = node->latest.trimmed + 1; index <= lab->oracle.committed; index++) {
        const struct lab_known *known = known_at(lab, index);
        if (!known->committed || known->commit_term >= term) {
            continue;
        }
        const struct lab_entry *entry = lab_entry(&node->latest, index);
        if (entry == NULL || entry->term != known->term) {
            lab_fail(lab, "leader %d of term %d lacks %d, committed in term %d", (int)node->id, (int)term, (int)index,
                     (int)known->commit_term);
            return;
        }
    }
}

static bool is_own_quorum(uint64_t id, const struct raft_configuration *c)
{
    return c->voter_count == 1 && c->voters[0] == id &&
           (c->outgoing_count == 0 || (c->outgoing_count == 1 && c->outgoing[0] == id));
}

/* After a tick: a leader that heard nobody for twice the election timeout, while it ran, should have let go. */
void lab_oracle_alone(struct lab *lab, struct lab_node *node)
{
    struct raft_status status;
    raft_status(node->raft, &status);
    if (is_own_quorum(node->id, &status.configuration)) {
        node->contact_ms = node->awake_ms;
    }
    if (status.role == RAFT_LEADER && node->awake_ms - node->contact_ms > 2 * node->options.election_timeout_ms) {
        lab_fail(lab, "%d leads on in term %d without having heard anybody", (int)node->id, (int)status.term);
    }
}

void lab_oracle_led(struct lab_node *node, const struct raft_message *message)
{
    bool leaders = message->type == RAFT_APPEND || message->type == RAFT_HEARTBEAT || message->type == RAFT_SNAPSHOT;
    struct raft_status status;
    raft_status(node->raft, &status);
    if (leaders && status.leader == message->from) {
        node->led_ms = node->awake_ms;
    }
}

void lab_oracle_status(struct lab *lab, struct lab_node *node)
{
    struct raft_status status;
    raft_status(node->raft, &status);
    if (status.term < node->sent_term) {
        lab_fail(lab, "%d went back from term %d, which others know, to %d", (int)node->id, (int)node->sent_term,
                 (int)status.term);
    }
    if (status.role == RAFT_LEADER && node->seen_role != RAFT_LEADER) {
        node->contact_ms = node->awake_ms;
        new_leader(lab, node, status.term);
    }
    if (status.role == RAFT_PRE_CANDIDATE && node->seen_role == RAFT_FOLLOWER && node->led_ms != 0 &&
        node->awake_ms - node->led_ms < node->options.election_timeout_ms) {
        lab_fail(lab, "%d gives up its leader of term %d, which it heard just before its host was away", (int)node->id,
                 (int)status.term);
    }
    if (status.role == RAFT_CANDIDATE && node->seen_term < status.term) {
        if (node->received_since_quiet == 0 && !is_own_quorum(node->id, &status.configuration)) {
            lab_fail(lab, "%d raised the term to %d without having heard anybody", (int)node->id, (int)status.term);
        }
    }
    if (status.role == RAFT_FOLLOWER && node->seen_role == RAFT_LEADER && status.removed) {
        lab->marks.removed_leaders++;
    }
    node->seen_role = status.role;
    node->seen_term = status.term;
    node->seen_vote = status.vote;
}

static void check_acknowledged(struct lab *lab, const struct lab_node *node, uint64_t index)
{
    if (index > lab_last(&node->stable) && index > node->file.ident.index) {
        lab_fail(lab, "%d acknowledges %d, but has only %d durably", (int)node->id, (int)index,
                 (int)lab_last(&node->stable));
    }
}

void lab_oracle_sent(struct lab *lab, struct lab_node *node, const struct raft_message *message)
{
    if (message->term > node->sent_term) {
        node->sent_term = message->term;
    }
    if (message->type == RAFT_APPEND_REPLY && !message->append_reply.rejected) {
        check_acknowledged(lab, node, message->append_reply.index);
    }
    if (message->type == RAFT_HEARTBEAT_REPLY) {
        check_acknowledged(lab, node, message->heartbeat_reply.durable);
    }
    uint64_t candidate = message->type == RAFT_VOTE                                        ? node->id
                         : message->type == RAFT_VOTE_REPLY && message->vote_reply.granted ? message->to
                                                                                           : 0;
    if (candidate != 0) {
        make_term(lab, message->term);
        uint64_t *vote = &lab->oracle.terms[message->term].votes[node->id];
        if (*vote != 0 && *vote != candidate) {
            lab_fail(lab, "%d votes for %d and for %d in term %d", (int)node->id, (int)*vote, (int)candidate,
                     (int)message->term);
        }
        *vote = candidate;
    }
}

const char *lab_type_name(enum raft_message_type type)
{
    static const char *const names[] = {
        [RAFT_PRE_VOTE] = "pre-vote",
        [RAFT_PRE_VOTE_REPLY] = "pre-vote-reply",
        [RAFT_VOTE] = "vote",
        [RAFT_VOTE_REPLY] = "vote-reply",
        [RAFT_APPEND] = "append",
        [RAFT_APPEND_REPLY] = "append-reply",
        [RAFT_HEARTBEAT] = "heartbeat",
        [RAFT_HEARTBEAT_REPLY] = "heartbeat-reply",
        [RAFT_SNAPSHOT] = "snapshot",
        [RAFT_SNAPSHOT_REPLY] = "snapshot-reply",
        [RAFT_TIMEOUT_NOW] = "timeout-now",
    };
    return names[type];
}

static void describe_append(const struct raft_message *m, struct buffer *out)
{
    buffer_append_format(out, " after %d:%d, entries", (int)m->append.prev_index, (int)m->append.prev_term);
    for (uint32_t i = 0; i < m->append.count; i++) {
        buffer_append_format(out, " %d:%d", (int)m->append.entries[i].index, (int)m->append.entries[i].term);
    }
    buffer_append_format(out, "%s, commit %d", m->append.count == 0 ? " none" : "", (int)m->append.commit);
}

void lab_describe(const struct raft_message *m, struct buffer *out)
{
    buffer_append_format(out, "%d->%d %s term %d", (int)m->from, (int)m->to, lab_type_name(m->type), (int)m->term);
    switch (m->type) {
    case RAFT_PRE_VOTE:
        buffer_append_format(out, " for %d, last %d:%d", (int)m->pre_vote.next_term, (int)m->pre_vote.last_index,
                             (int)m->pre_vote.last_term);
        break;
    case RAFT_PRE_VOTE_REPLY:
        buffer_append_format(out, " for %d %s", (int)m->pre_vote_reply.next_term,
                             m->pre_vote_reply.granted ? "granted" : "refused");
        break;
    case RAFT_VOTE:
        buffer_append_format(out, " last %d:%d%s", (int)m->vote.last_index, (int)m->vote.last_term,
                             m->vote.transfer ? " (transfer)" : "");
        break;
    case RAFT_VOTE_REPLY: buffer_append_string(out, m->vote_reply.granted ? " granted" : " refused"); break;
    case RAFT_APPEND: describe_append(m, out); break;
    case RAFT_APPEND_REPLY:
        if (m->append_reply.rejected) {
            buffer_append_format(out, " rejected after %d, hint %d:%d", (int)m->append_reply.index,
                                 (int)m->append_reply.hint_index, (int)m->append_reply.hint_term);
        } else {
            buffer_append_format(out, " up to %d", (int)m->append_reply.index);
        }
        break;
    case RAFT_HEARTBEAT:
        buffer_append_format(out, " #%d commit %d", (int)m->heartbeat.sequence, (int)m->heartbeat.commit);
        break;
    case RAFT_HEARTBEAT_REPLY:
        buffer_append_format(out, " #%d matched %d durable %d", (int)m->heartbeat_reply.sequence,
                             (int)m->heartbeat_reply.matched, (int)m->heartbeat_reply.durable);
        break;
    case RAFT_SNAPSHOT:
        buffer_append_format(out, " %d:%d bytes %d-%d of %d", (int)m->snapshot.ident.index, (int)m->snapshot.ident.term,
                             (int)m->snapshot.offset, (int)(m->snapshot.offset + m->snapshot.data.size),
                             (int)m->snapshot.ident.size_bytes);
        break;
    case RAFT_SNAPSHOT_REPLY:
        buffer_append_format(out, " %d:%d wants %d", (int)m->snapshot_reply.ident.index,
                             (int)m->snapshot_reply.ident.term, (int)m->snapshot_reply.offset);
        break;
    case RAFT_TIMEOUT_NOW: break;
    }
}
