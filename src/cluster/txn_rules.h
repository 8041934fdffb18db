/* How participants of a three-phase transaction end it without its coordinator: the termination rule of Skeen's
 * quorum-based protocol (1982), as TRANSACTIONS.md orders it. Pure.
 *
 * With V participants, Vc + Va = V + 1 (machine/txn/txn.h). States are sticky compare-and-sets, so of Vc in pre-commit
 * and Va in pre-abort there is never both; without quorums (each of them 1) there may be, and the transaction splits.
 */
#pragma once

#include "machine/txn/part.h"

enum txn_verdict {
    TXN_WAIT,   /* ask again later */
    TXN_COMMIT, /* tell all */
    TXN_ABORT,
    TXN_MOVE_COMMIT, /* those that wait to pre-commit, then look again */
    TXN_MOVE_ABORT,
};

struct txn_census {
    uint32_t participants;                /* V */
    uint32_t quorum_commit, quorum_abort; /* Vc, Va */
    uint32_t in[PART_STATES];             /* how many of those that answered are in each state */
};

enum txn_verdict txn_terminate(const struct txn_census *census);
