/* What goes to the disk, and what is known to have arrived there.
 *
 * The log changes in memory at once; each ready that stores something has a number, and raft_stored(number) says that
 * it and all before it are durable (the log writes in order). `durable` is the last entry known to be on this disk *as
 * the log now has it*: when entries are replaced, the promise of every ready under way is cut back to what remains, so
 * a late notice about replaced bytes is never taken for one about their successors (the ABA that asynchronous storage
 * brings; etcd's "divergence after a crash under load", PROOF.md).
 *
 * Order within a ready: hard state first, so that no entry of a term is durable without the term. */
#include "raft/raft_internal.h"

#include "base/memory.h"

#include <stdlib.h>

void raft_hard_state_changed(struct raft *raft) { raft->hard_state_dirty = true; }

bool raft_gate_open(const struct raft *raft)
{
    if (RAFT_MUTATED(raft, SEND_BEFORE_STORED)) {
        return true;
    }
    return !raft->hard_state_dirty && raft->hard_state_number <= raft->stored_number;
}

void raft_log_add(struct raft *raft, const struct raft_entry *entry)
{
    ASSERT(entry->index == raft->log.last + 1);
    ASSERT(entry->term <= raft->term && entry->term > 0);
    if (raft->unstored_count == raft->unstored_capacity) {
        size_t capacity = raft->unstored_capacity == 0 ? 16 : raft->unstored_capacity * 2;
        struct raft_entry *entries = memory_resize(raft->unstored, capacity * sizeof *entries);
        raft->unstored = entries;
        raft->unstored_capacity = capacity;
    }
    raft_log_append(&raft->log, entry->term);
    raft->unstored[raft->unstored_count++] = *entry;
    ASSERT(raft->unstored[0].index + raft->unstored_count == raft->log.last + 1);
}

/* What is under way counts for no more than `last`. */
static void clamp_promises(struct raft *raft, uint64_t last)
{
    if (raft->durable > last) {
        raft->durable = last;
    }
    if (RAFT_MUTATED(raft, STALE_STORED)) {
        return;
    }
    for (uint32_t i = 0; i < raft->pending_count; i++) {
        struct raft_pending_store *store = &raft->pending[(raft->pending_first + i) % RAFT_PENDING_STORES];
        if (store->last > last) {
            store->last = last;
        }
    }
}

void raft_log_remove(struct raft *raft, uint64_t from)
{
    ASSERT(from > raft->commit && from <= raft->log.last);
    uint64_t gone = raft->log.last - from + 1;
    raft->unstored_count = gone < raft->unstored_count ? raft->unstored_count - gone : 0;
    raft_log_truncate(&raft->log, from);
    clamp_promises(raft, raft->log.last);
    raft_history_remove(raft, from);
}

void raft_log_replace(struct raft *raft, uint64_t index, uint64_t term)
{
    ASSERT(index > raft->commit && raft->unstored_count == 0);
    raft_log_reset(&raft->log, index, term);
    clamp_promises(raft, index);
    raft->trim_due = true;
    raft->trim_all = true;
}

static void pending_push(struct raft *raft)
{
    struct raft_pending_store store = {.number = ++raft->ready_number, .last = raft->log.last};
    if (raft->pending_count == RAFT_PENDING_STORES) {
        /* Told together with the one before it: later than it might be, never earlier. */
        raft->pending[(raft->pending_first + raft->pending_count - 1) % RAFT_PENDING_STORES] = store;
        return;
    }
    raft->pending[(raft->pending_first + raft->pending_count) % RAFT_PENDING_STORES] = store;
    raft->pending_count++;
}

void raft_storage_ready(struct raft *raft, struct raft_ready *ready)
{
    if (!raft->hard_state_dirty && !raft->trim_due && raft->unstored_count == 0) {
        return;
    }
    pending_push(raft);
    ready->number = raft->ready_number;
    uint64_t hint = raft->commit < raft->durable ? raft->commit : raft->durable;
    ASSERT(hint >= raft->commit_hint);
    bool hint_lags = raft->unstored_count > 0 && hint >= raft->commit_hint + RAFT_COMMIT_HINT_ENTRIES;
    if (raft->hard_state_dirty || hint_lags) {
        ready->store_hard_state = true;
        ready->hard_state = (struct raft_hard_state){.term = raft->term, .vote = raft->vote, .commit = hint};
        if (RAFT_MUTATED(raft, VOTE_NOT_STORED)) {
            ready->hard_state.vote = 0;
        }
        raft->commit_hint = hint;
    }
    if (raft->hard_state_dirty) {
        raft->hard_state_dirty = false;
        raft->hard_state_number = raft->ready_number;
    }
    if (raft->trim_due) {
        ready->store_trim = true;
        ready->trim_all = raft->trim_all;
        ready->trim_index = raft->log.floor;
        ready->trim_term = raft->log.floor_term;
        raft->trim_due = false;
        raft->trim_all = false;
    }
    ready->entries = raft->unstored;
    ready->entry_count = raft->unstored_count;
    raft->unstored_count = 0;
    ASSERT(ready->entry_count == 0 || ready->entries[0].index > raft->log.floor);
}

void raft_stored(struct raft *raft, uint64_t number)
{
    ASSERT(raft->started);
    ASSERT(number <= raft->ready_number && number >= raft->stored_number);
    raft->stored_number = number;
    uint64_t durable = raft->durable;
    while (raft->pending_count > 0 && raft->pending[raft->pending_first].number <= number) {
        uint64_t last = raft->pending[raft->pending_first].last;
        durable = last > durable ? last : durable;
        raft->pending_first = (raft->pending_first + 1) % RAFT_PENDING_STORES;
        raft->pending_count--;
    }
    if (RAFT_MUTATED(raft, STALE_STORED) && durable > raft->log.last) {
        durable = raft->log.last;
    }
    ASSERT(durable <= raft->log.last);
    bool moved = durable > raft->durable;
    raft->durable = durable;
    raft_election_stored(raft);
    if (raft->role == RAFT_LEADER) {
        raft_commit_advance(raft);
    } else if (moved) {
        raft_acknowledge(raft, true);
    }
    raft_check(raft);
}
