/* The search for an order: Wing and Gong's ("Testing and verifying concurrent objects", 1993) with Lowe's memory of
 * configurations ("Testing for linearizability", 2017), over the operations of one key or field.
 *
 * A configuration is the set of operations placed so far and the state after them. From it any operation may come next
 * that is open (it began before the first unplaced one ended) and whose condition holds. When all operations of known
 * outcome are placed, the history is linearizable.
 *
 * What is left out, because whenever there is an order there is also one without it:
 *  1. An open operation that fits and has no effect is placed at once, with no alternative.
 *  2. An operation of unknown outcome is placed only when what follows it would not fit, or would end in another state,
 *     without it; of several that do the same, the first comes first. (Take an order with as few of them as can be.)
 *  3. A text that no remaining operation can tell from others is STATE_OTHER.
 *  4. A state that some remaining operation needs is not left when nothing remaining can bring it back.
 *  5. While no remaining operation demands just any value, a write of STATE_OTHER is good for nothing: when the state
 * is that already it is placed at once, and before any other write that can follow everything.
 *
 * Bounded: memory for configurations and texts by the caller's limit, time by the number of looks at operations; then
 * the answer is SEARCH_GAVE_UP, which is neither yes nor no. */
#pragma once

#include "check/memo.h"
#include "check/rule.h"

enum search_result { SEARCH_LINEARIZABLE, SEARCH_NOT_LINEARIZABLE, SEARCH_GAVE_UP };

/* The operations of one key or field, failed ones left out, up to a time; all borrowed. */
struct partition {
    const struct history *history;
    const uint32_t *operations; /* numbers in the history */
    uint32_t count;
    uint64_t horizon; /* what starts later is left out, what ends later may be; HISTORY_NEVER: no end */
};

/* Looks at an operation that a search may take: some seconds, and some for each 100,000 operations. What clients make
 * takes less than a thousand for each. */
static inline uint64_t search_steps_maximum(const struct partition *partition)
{
    return ((uint64_t)1 << 32) + ((uint64_t)partition->count << 14);
}

struct search;

struct search *search_create(const struct partition *partition, size_t memory_bytes);
void search_destroy(struct search *search); /* takes NULL */

/* Runs the search, once; gives up after so many looks, from which those it took are subtracted. */
enum search_result search_run(struct search *search, uint64_t *steps_left);

/* After SEARCH_LINEARIZABLE: the operations placed (all known ones, and unknown ones that were needed), in order. Valid
 * until destroy. */
const uint32_t *search_placed(struct search *search, uint32_t *ret_count);

/* After SEARCH_NOT_LINEARIZABLE or SEARCH_GAVE_UP: a time before whose end everything has an order. */
uint64_t search_reached(const struct search *search);

size_t search_configurations(const struct search *search);
