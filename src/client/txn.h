/* Within Cohort's own programs: what cohort/transaction.h does not offer. */
#pragma once

#include <cohort/transaction.h>

/* A command about the transaction itself, TXN.JOIN or TXN.PREPARE, on its own connection. When that has answered OK to
 * TXN.PREPARE the transaction is finished by its id, and only cohort_txn_free remains. Status and reply as those of
 * cohort_txn_command. */
enum cohort_status txn_say(struct cohort_txn *txn, size_t argc, const struct cohort_bytes *argv,
                           struct cohort_reply **ret_reply);
