#include "cluster/txn_rules.h"

enum txn_verdict txn_terminate(const struct txn_census *census)
{
    const uint32_t *in = census->in;
    if (in[PART_COMMITTED] != 0) {
        return TXN_COMMIT;
    }
    if (in[PART_ABORTED] != 0) {
        return TXN_ABORT;
    }
    if (in[PART_PRECOMMIT] >= census->quorum_commit) {
        return TXN_COMMIT;
    }
    if (in[PART_PREABORT] >= census->quorum_abort) {
        return TXN_ABORT;
    }
    if (in[PART_PRECOMMIT] != 0 && in[PART_PRECOMMIT] + in[PART_WAIT] >= census->quorum_commit) {
        return TXN_MOVE_COMMIT;
    }
    if (in[PART_PREABORT] + in[PART_WAIT] >= census->quorum_abort) {
        return TXN_MOVE_ABORT;
    }
    return TXN_WAIT;
}
