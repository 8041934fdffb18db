/* What home says: the decisions about transactions that have external participants (cohort/transaction.h,
 * docs/transactions.md).
 *
 * Invariants
 * 1. COMMITTED and ABORTED are final. An id that home does not know has become an abort before it is told.
 * 2. A decision is asked for after what it is about was seen: whoever lists prepared branches and then asks hears of
 *    each an outcome that nobody can undo, or that it is under way.
 * 3. FORGOTTEN is no outcome: a person has given the branch up, or it was prepared before the cluster was restored from
 *    a backup. */
#pragma once

#include "resource/resource_name.h"

#include <cohort/transaction.h>

enum decision_state { DECISION_UNDER_WAY, DECISION_COMMITTED, DECISION_ABORTED, DECISION_FORGOTTEN };

/* The cluster's id, with which names of branches begin. */
enum cohort_status decision_cluster(struct cohort *cohort, char ret_cluster[static BRANCH_CLUSTER_DIGITS + 1],
                                    struct cohort_reply **ret_reply);

/* There will be this branch: its name. Said again with its evidence, before it is prepared ("": none yet). */
enum cohort_status decision_join(struct cohort_txn *txn, const char *url, const char *label, const char *evidence,
                                 char ret_name[static BRANCH_NAME_BYTES], struct cohort_reply **ret_reply);

/* About a branch of the transaction. */
enum cohort_status decision_ask(struct cohort *cohort, const char *id, const char *name, enum decision_state *ret_state,
                                struct cohort_reply **ret_reply);

/* The next page of what is not finished: its cursor takes the place of the one that is given, "0" behind the last. */
enum { DECISION_CURSOR_BYTES = 64 };
enum cohort_status decision_unfinished(struct cohort *cohort, char cursor[static DECISION_CURSOR_BYTES],
                                       struct cohort_reply **ret_reply);
