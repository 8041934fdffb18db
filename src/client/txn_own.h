/* What the files of transactions (cohort/transaction.h) share. */
#pragma once

#include <cohort/transaction.h>

/* A command about the transaction itself, on its own connection: as cohort_txn_command. */
enum cohort_status txn_say_own(struct cohort_txn *txn, size_t argc, const struct cohort_bytes *argv,
                               struct cohort_reply **ret_reply);
enum cohort_status txn_say_own_start(struct cohort_txn *txn, size_t argc, const struct cohort_bytes *argv,
                                     cohort_callback callback, void *data);

/* From TXN.STATUS: COHORT_OK, COHORT_TXNABORT, COHORT_NOTFOUND, or COHORT_BUSY while it is under way. */
enum cohort_status txn_outcome_of(const struct cohort_reply *reply);
