/* Whole servers under faults, from one seed: nodes of a cluster, each with its machine, disk and clocks, and clients
 * that speak RESP to any of them over the simulated network.
 *
 * Clients set, append, increment, compare and set, watch, and set keys that expire; singly, in pipelines and in
 * transactions of one shard and of several; in some runs (flush=1) FLUSHALL is among it, and what expires or grows is
 * not. A run has a safety phase, in which the profile's faults happen, then a majority of every
 * shard heals and must converge.
 *
 * What is checked all the time
 *  1. One leader per shard and term; the term that a process knows never goes back.
 *  2. Equal state digests of a shard at equal applied index, at all nodes, after restarts too.
 *  3. Two texts that are appended to in one transaction are equal in every look at both.
 *  4. A key with a time to live is there until its time has passed, and once gone stays gone.
 *  5. Each reply has the shape of its command, and no error is given but those that mean a fault; no start fails but by
 *     an error of the disk.
 * and in the end
 *  6. Each shard has a leader, its voters that are up have applied the same and have equal digests, every node that is
 *     up serves every shard, and what was to expire is gone.
 *  7. All operations of all clients are linearizable (check/check.h), the final reads of everything included: what was
 *     acknowledged is there, once; what was refused is not; what is uncertain is there once or not at all.
 *  8. What a weak read (READONLY) saw was there at some time before it ended.
 *
 * In some runs (messages=1) clients beside them subscribe and publish: node_messages.c says what is checked of that. */
#pragma once

#include "run.h"

/* mutation and record may be NULL. */
void node_run(uint64_t seed, const struct sim_profile *profile, const struct sim_mutation *mutation,
              const struct sim_record *record, struct sim_result *ret_result);
