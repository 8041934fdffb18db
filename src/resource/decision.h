/* What home says: the decisions about transactions that have external participants. Over libcohort;
 * docs/transactions.md has the commands.
 *
 * Invariants
 * 1. DECISION_COMMITTED and DECISION_ABORTED are final. An id that home does not know has become an abort before it is
 * told.
 * 2. A decision is asked for after what it is about was seen: whoever lists prepared branches and then asks hears of
 *    each an outcome that nobody can undo, or that it is under way. */
#pragma once

#include "resource/branch_name.h"

#include <cohort/transaction.h>

enum decision_state { DECISION_UNDER_WAY, DECISION_COMMITTED, DECISION_ABORTED };

/* Cluster and epoch: what names of branches begin with. */
enum cohort_status decision_self(struct cohort *cohort, struct branch_name *ret_self, struct cohort_reply **ret_reply);

/* Makes the transaction wait for this participant's vote; the branch's name. Before anything is done there. */
enum cohort_status decision_join(struct cohort_txn *txn, const char *url, const char *label,
                                 char ret_name[static BRANCH_NAME_BYTES], struct cohort_reply **ret_reply);

/* Cohort's own part is prepared, and the record is open. */
enum cohort_status decision_prepare(struct cohort_txn *txn, struct cohort_reply **ret_reply);

/* The participant has voted yes. */
enum cohort_status decision_vote(struct cohort *cohort, const char *id, const char *label, const char *evidence,
                                 struct cohort_reply **ret_reply);

/* OK: it is so. TXNABORT, when it should commit: it was rolled back. Any other: decision_outcome tells. */
enum cohort_status decision_make(struct cohort *cohort, const char *id, bool commits, struct cohort_reply **ret_reply);

enum cohort_status decision_outcome(struct cohort *cohort, const char *id, enum decision_state *ret_state,
                                    struct cohort_reply **ret_reply);

/* The branch is finished: home need not remember the transaction for it. */
enum cohort_status decision_acknowledge(struct cohort *cohort, const char *id, const char *label);
