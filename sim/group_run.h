/* Replicated groups under faults, from one seed: 3 or 5 members, each with one store and a shard of every group.
 *
 * Clients append words that are never used twice to one key of a group, read it, and set keys that expire. A run has a
 * safety phase, in which the profile's faults happen, then everything heals and must converge.
 *
 * What is checked all the time
 *  1. One leader per term. 2. Equal state digests at equal applied index, at all members, after restarts too.
 *  3. Linearizability of the key: a reply (the text, or its length after an append) is never behind one that was given
 *     before the request was asked, and every text is a beginning of every longer one.
 *  4. A key with a time to live is there until its time has passed, and once gone stays gone.
 *  5. No message of a member is refused as corrupt, and no start fails but by an error of the disk.
 * and in the end
 *  6. Each group has a leader, all members have applied the same and have equal digests, no request is open but at
 *     members that crashed, and what was to expire is gone.
 *  7. Each acknowledged word stands once, where its reply said; each returned one ("definitely not executed") not at
 *     all; each uncertain one at most once; nothing else is there. */
#pragma once

#include "run.h"

/* mutation and record may be NULL. */
void group_run(uint64_t seed, const struct sim_profile *profile, const struct sim_mutation *mutation,
               const struct sim_record *record, struct sim_result *ret_result);
