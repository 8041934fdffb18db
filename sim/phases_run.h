/* Three-phase commit alone: participants that have all voted, a coordinator that is lost at some moment, a network that
 * splits, participants that pause. They end the transaction by the termination rule (cluster/txn_rules.h), over the
 * moves of machine/txn/part.h.
 *
 * Always true, or the run has failed: no participant commits what another aborts. At the end, when the network is
 * whole: all have ended. At the level "3pc-no-quorum" the rule is the textbook's, which counts no quorums: it fails,
 * and shows how; at "3pc" the same seeds do not. */
#pragma once

#include "run.h"

/* mutation and record may be NULL. */
void phases_run(uint64_t seed, const struct sim_profile *profile, const struct sim_mutation *mutation,
                const struct sim_record *record, struct sim_result *ret_result);
