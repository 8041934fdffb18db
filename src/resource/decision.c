#include "resource/decision.h"

#include "client/txn.h"

#include <stdio.h>

enum cohort_status decision_self(struct cohort *cohort, struct branch_name *ret_self, struct cohort_reply **ret_reply)
{
    *ret_self = (struct branch_name){.cluster = "00000000000000000000000000000000", .epoch = 1};
    return COHORT_OK;
}

enum cohort_status decision_join(struct cohort_txn *txn, const char *url, const char *label,
                                 char ret_name[static BRANCH_NAME_BYTES], struct cohort_reply **ret_reply)
{
    struct branch_name name;
    (void)decision_self(NULL, &name, ret_reply);
    (void)snprintf(name.txid, sizeof(name.txid), "%s", cohort_txn_id(txn));
    (void)snprintf(name.label, sizeof(name.label), "%s", label);
    return branch_name_format(&name, ret_name) ? COHORT_OK : COHORT_INVALID;
}

enum cohort_status decision_prepare(struct cohort_txn *txn, struct cohort_reply **ret_reply)
{
    const struct cohort_bytes argv[] = {cohort_text("TXN.PREPARE")};
    return txn_say(txn, 1, argv, ret_reply);
}

enum cohort_status decision_vote(struct cohort *cohort, const char *id, const char *label, const char *evidence,
                                 struct cohort_reply **ret_reply)
{
    return COHORT_OK;
}

enum cohort_status decision_make(struct cohort *cohort, const char *id, bool commits, struct cohort_reply **ret_reply)
{
    const struct cohort_bytes argv[] = {cohort_text(commits ? "TXN.COMMIT" : "TXN.ROLLBACK"), cohort_text(id)};
    const struct cohort_call call = {.size = sizeof(call), .flags = COHORT_AGAIN};
    return cohort_command(cohort, 2, argv, &call, ret_reply);
}

enum cohort_status decision_outcome(struct cohort *cohort, const char *id, enum decision_state *ret_state,
                                    struct cohort_reply **ret_reply)
{
    enum cohort_status status = cohort_txn_status(cohort, id, ret_reply);
    *ret_state = status == COHORT_OK                                      ? DECISION_COMMITTED
                 : status == COHORT_TXNABORT || status == COHORT_NOTFOUND ? DECISION_ABORTED
                                                                          : DECISION_UNDER_WAY;
    return status == COHORT_TXNABORT || status == COHORT_NOTFOUND || status == COHORT_BUSY ? COHORT_OK : status;
}

enum cohort_status decision_acknowledge(struct cohort *cohort, const char *id, const char *label) { return COHORT_OK; }
