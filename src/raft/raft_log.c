#include "raft/raft_log.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

enum { RUNS_AT_FIRST = 8 };

void raft_log_init(struct raft_log *log, uint64_t floor, uint64_t floor_term)
{
    ASSERT((floor == 0) == (floor_term == 0));
    *log = (struct raft_log){.floor = floor, .floor_term = floor_term, .last = floor};
}

void raft_log_deinit(struct raft_log *log)
{
    free(log->runs);
    *log = (struct raft_log){0};
}

uint64_t raft_log_last_term(const struct raft_log *log)
{
    ASSERT((log->run_count > 0) == (log->last > log->floor));
    return log->run_count > 0 ? log->runs[log->run_count - 1].term : log->floor_term;
}

/* The run that holds index (floor < index ≤ last). Searched from the end by halving: most questions are about the
 * tail, and there are few runs. */
static size_t run_of(const struct raft_log *log, uint64_t index)
{
    ASSERT(index > log->floor && index <= log->last && log->run_count > 0);
    size_t low = 0;
    size_t high = log->run_count - 1;
    if (log->runs[high].first <= index) {
        return high;
    }
    while (low < high) {
        size_t middle = low + (high - low + 1) / 2;
        if (log->runs[middle].first <= index) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    ASSERT(log->runs[low].first <= index);
    return low;
}

bool raft_log_term(const struct raft_log *log, uint64_t index, uint64_t *ret_term)
{
    if (index < log->floor || index > log->last) {
        return false;
    }
    *ret_term = index == log->floor ? log->floor_term : log->runs[run_of(log, index)].term;
    return true;
}

bool raft_log_matches(const struct raft_log *log, uint64_t index, uint64_t term)
{
    uint64_t known;
    return raft_log_term(log, index, &known) && known == term;
}

bool raft_log_find(const struct raft_log *log, uint64_t index, uint64_t term, uint64_t *ret_index)
{
    uint64_t at = index < log->last ? index : log->last;
    while (at > log->floor) {
        const struct raft_term_run *run = &log->runs[run_of(log, at)];
        if (run->term <= term) {
            *ret_index = at;
            return true;
        }
        at = run->first - 1;
    }
    if (at < log->floor || log->floor_term > term) {
        return false;
    }
    *ret_index = log->floor;
    return true;
}

void raft_log_append(struct raft_log *log, uint64_t term)
{
    uint64_t last_term = raft_log_last_term(log);
    ASSERT(term >= last_term && term > 0);
    log->last++;
    if (log->run_count > 0 && term == last_term) {
        return;
    }
    if (log->run_count == log->run_capacity) {
        size_t capacity = log->run_capacity == 0 ? RUNS_AT_FIRST : log->run_capacity * 2;
        struct raft_term_run *runs = memory_resize(log->runs, capacity * sizeof *runs);
        log->runs = runs;
        log->run_capacity = capacity;
    }
    log->runs[log->run_count++] = (struct raft_term_run){.first = log->last, .term = term};
}

void raft_log_truncate(struct raft_log *log, uint64_t from)
{
    ASSERT(from > log->floor && from <= log->last);
    log->last = from - 1;
    while (log->run_count > 0 && log->runs[log->run_count - 1].first >= from) {
        log->run_count--;
    }
    ASSERT((log->run_count > 0) == (log->last > log->floor));
}

void raft_log_compact(struct raft_log *log, uint64_t index)
{
    uint64_t term;
    bool known = raft_log_term(log, index, &term);
    ASSERT(known);
    if (index == log->floor) {
        return;
    }
    if (index == log->last) {
        raft_log_reset(log, index, term);
        return;
    }
    size_t keep = run_of(log, index + 1);
    memmove(log->runs, log->runs + keep, (log->run_count - keep) * sizeof *log->runs);
    log->run_count -= keep;
    log->runs[0].first = index + 1;
    log->floor = index;
    log->floor_term = term;
    ASSERT(log->run_count > 0 && log->runs[0].term >= term);
}

void raft_log_reset(struct raft_log *log, uint64_t index, uint64_t term)
{
    ASSERT(index > 0 && term > 0);
    log->floor = index;
    log->floor_term = term;
    log->last = index;
    log->run_count = 0;
}
