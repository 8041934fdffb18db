/* What consensus must know of the log without having it: where it begins and ends, and the term of each entry, as runs
 * of equal terms. A log that lived through k leaders costs k runs, however long it is.
 *
 * Invariants: floor ≤ last; runs ascend strictly in first index and in term; the first run begins at floor + 1 exactly
 * when there are entries; every term ≥ floor_term.
 */
#pragma once

#include "base/slice.h"

struct raft_term_run {
    uint64_t first;
    uint64_t term;
};

struct raft_log {
    uint64_t floor; /* the last index no longer there; its term is known */
    uint64_t floor_term;
    uint64_t last;
    struct raft_term_run *runs;
    size_t run_count;
    size_t run_capacity;
};

void raft_log_init(struct raft_log *log, uint64_t floor, uint64_t floor_term);
void raft_log_deinit(struct raft_log *log);

uint64_t raft_log_last_term(const struct raft_log *log);
/* False below floor and above last. */
bool raft_log_term(const struct raft_log *log, uint64_t index, uint64_t *ret_term);
/* True when the entry at index is known to have this term. */
bool raft_log_matches(const struct raft_log *log, uint64_t index, uint64_t term);
/* The largest index ≤ `index` that is known to have a term ≤ `term`; false when that lies below floor. */
bool raft_log_find(const struct raft_log *log, uint64_t index, uint64_t term, uint64_t *ret_index);

/* Entry last + 1; term ≥ the last one's. */
void raft_log_append(struct raft_log *log, uint64_t term);
/* Removes `from` (> floor) and all after it. */
void raft_log_truncate(struct raft_log *log, uint64_t from);
/* Lets go of everything up to index (floor ≤ index ≤ last). */
void raft_log_compact(struct raft_log *log, uint64_t index);
/* The log is empty and continues after (index, term). */
void raft_log_reset(struct raft_log *log, uint64_t index, uint64_t term);
