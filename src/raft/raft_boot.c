/* The start and the end of a member: from what its disk says to one that takes part. */
#include "raft/raft_internal.h"

#include "base/memory.h"

#include <stdlib.h>

static bool options_valid(const struct raft_options *o)
{
    return o->id != 0 && o->election_timeout_ms >= RAFT_MINIMUM_ELECTION_TIMEOUT_MS && o->heartbeat_ms > 0 &&
           o->heartbeat_ms <= o->election_timeout_ms / 2 && o->append_bytes > 0 && o->inflight_messages > 0 &&
           o->inflight_messages <= RAFT_MAXIMUM_INFLIGHT && o->inflight_bytes > 0 && o->snapshot_chunk_bytes > 0 &&
           o->uncommitted_entries > 0 && o->uncommitted_entries <= RAFT_MAXIMUM_UNSTORED &&
           o->clock_drift_ppm <= 500000;
}

/* A log that begins after the snapshot's end would be a gap in the history of the state. */
static bool boot_valid(const struct raft_boot *b)
{
    return b->trimmed_index <= b->snapshot_index && (b->snapshot_index == 0) == (b->snapshot_term == 0) &&
           (b->trimmed_index == 0) == (b->trimmed_term == 0) &&
           (b->trimmed_index != b->snapshot_index || b->trimmed_term == b->snapshot_term) &&
           b->trimmed_term <= b->hard_state.term && raft_configuration_valid(&b->configuration) &&
           (b->hard_state.vote == 0 || b->hard_state.term > 0);
}

enum status raft_create(const struct raft_options *options, const struct raft_boot *boot, struct raft **ret_raft)
{
    if (!options_valid(options)) {
        return STATUS_INVALID;
    }
    if (!boot_valid(boot)) {
        return STATUS_CORRUPT;
    }
    struct raft *raft = memory_allocate_zeroed(1, sizeof *raft);
    raft->options = *options;
    prng_seed(&raft->prng, options->seed);
    raft->role = RAFT_FOLLOWER;
    raft->term = boot->hard_state.term;
    raft->vote = boot->hard_state.vote;
    raft->commit_hint = boot->hard_state.commit;
    raft_log_init(&raft->log, boot->trimmed_index, boot->trimmed_term);
    raft->commit = boot->snapshot_index;
    raft->applied = boot->snapshot_index;
    raft->told_commit = boot->snapshot_index;
    raft->available = (struct raft_snapshot_ident){.index = boot->snapshot_index, .term = boot->snapshot_term};
    raft->boot_configuration = boot->configuration;
    raft->history[0] = (struct raft_history_item){.index = boot->snapshot_index, .configuration = boot->configuration};
    raft->history_count = 1;
    raft->read_next = 1;
    raft->heartbeat_deadline_ms = RAFT_NEVER;
    raft->notice_deadline_ms = RAFT_NEVER;
    buffer_init(&raft->payload);
    raft_peers_sync(raft);
    *ret_raft = raft;
    return STATUS_OK;
}

enum status raft_boot_entry(struct raft *raft, const struct raft_entry *entry)
{
    ASSERT(!raft->started);
    if (entry->index != raft->log.last + 1 || entry->term == 0 || entry->term < raft_log_last_term(&raft->log) ||
        entry->term > raft->term) {
        return STATUS_CORRUPT;
    }
    if (entry->kind == RAFT_ENTRY_CONFIGURATION && entry->index > raft->commit) {
        struct raft_configuration configuration;
        enum status status = raft_configuration_decode(entry->payload, &configuration);
        if (status != STATUS_OK || configuration.voter_count == 0) {
            return status == STATUS_VERSION ? STATUS_VERSION : STATUS_CORRUPT;
        }
        raft_history_add(raft, entry->index, &configuration);
    }
    raft_log_append(&raft->log, entry->term);
    return STATUS_OK;
}

/* A snapshot that was installed just before a crash may be ahead of the log, or of another history than its tail: then
 * what the crash interrupted is done now. */
static void meet_snapshot(struct raft *raft)
{
    struct raft_snapshot_ident snapshot = raft->available;
    raft->available = (struct raft_snapshot_ident){0}; /* until the host announces it */
    if (snapshot.index <= raft->log.floor || raft_log_matches(&raft->log, snapshot.index, snapshot.term)) {
        return;
    }
    raft_log_reset(&raft->log, snapshot.index, snapshot.term);
    raft->trim_due = true;
    raft->trim_all = true;
    raft_history_reset(raft, snapshot.index, &raft->boot_configuration);
    if (snapshot.term > raft->term) {
        raft->term = snapshot.term;
        raft->vote = 0;
        raft_hard_state_changed(raft);
    }
}

static bool is_lone_voter(const struct raft *raft)
{
    const struct raft_configuration *c = raft_configuration_now(raft);
    return c->voter_count == 1 && c->outgoing_count == 0 && c->voters[0] == raft->options.id;
}

/* What was promised to a leader before the crash may still bind (rule 3 of raft_election.c): whether it reads by lease
 * is nothing that a member knows. Before the first term there was nobody to promise to. The early election of whom
 * should lead comes when the others are free of their promises, too, if all started together. */
static void keep_promise(struct raft *raft)
{
    uint64_t timeout_ms = raft->options.election_timeout_ms;
    raft->heard_ever = raft->term > 0;
    raft->heard_ms = raft->now_ms;
    if (raft->options.eager) {
        raft->election_deadline_ms = raft->awake_ms + timeout_ms / 4 + (raft->heard_ever ? timeout_ms : 0);
    }
}

enum status raft_start(struct raft *raft, uint64_t now_ms)
{
    ASSERT(!raft->started);
    meet_snapshot(raft);
    if (raft->commit_hint > raft->log.last) {
        return STATUS_CORRUPT;
    }
    if (raft->commit_hint > raft->commit) {
        raft->commit = raft->commit_hint;
        raft_history_commit(raft);
    }
    raft->commit_hint = raft->commit_hint < raft->commit ? raft->commit_hint : raft->commit;
    raft->matched = raft->commit;
    raft->durable = raft->log.last;
    raft->started = true;
    raft->now_ms = now_ms;
    raft->awake_ms = now_ms;
    raft_election_reset_timer(raft);
    if (is_lone_voter(raft)) {
        raft->election_deadline_ms = raft->awake_ms;
    } else {
        keep_promise(raft);
    }
    raft_check(raft);
    return STATUS_OK;
}

void raft_destroy(struct raft *raft)
{
    if (raft == NULL) {
        return;
    }
    raft_log_deinit(&raft->log);
    buffer_deinit(&raft->payload);
    free(raft->unstored);
    free(raft->peers);
    free(raft);
}
