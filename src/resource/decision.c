#include "resource/decision.h"

/* What should have been answered was not. */
static enum cohort_status strange(enum cohort_status status) { return status == COHORT_OK ? COHORT_PROTOCOL : status; }

enum cohort_status decision_cluster(struct cohort *cohort, char ret_cluster[static BRANCH_CLUSTER_DIGITS + 1],
                                    struct cohort_reply **ret_reply)
{
    const struct cohort_bytes argv[] = {cohort_text("COHORT.STATUS")};
    const struct cohort_call reads = {.size = sizeof(reads), .flags = COHORT_READ};
    enum cohort_status status = cohort_command(cohort, 1, argv, &reads, ret_reply);
    struct cohort_bytes cluster = cohort_reply_bytes(cohort_reply_get(*ret_reply, "cluster"));
    if (status != COHORT_OK || !resource_cluster_is_good(slice_of(cluster.data, cluster.size))) {
        return status == COHORT_OK ? COHORT_CLUSTERDOWN : status; /* the node has not met the others yet */
    }
    memcpy(ret_cluster, cluster.data, cluster.size);
    ret_cluster[cluster.size] = '\0';
    return COHORT_OK;
}

enum cohort_status decision_join(struct cohort_txn *txn, const char *url, const char *label, const char *evidence,
                                 char ret_name[static BRANCH_NAME_BYTES], struct cohort_reply **ret_reply)
{
    enum cohort_status status = cohort_txn_join(txn, url, label, evidence[0] == '\0' ? NULL : evidence, ret_reply);
    struct cohort_bytes name = cohort_reply_bytes(*ret_reply);
    struct resource_name parsed;
    if (status != COHORT_OK || !resource_name_parse(slice_of(name.data, name.size), &parsed)) {
        return strange(status);
    }
    memcpy(ret_name, name.data, name.size);
    ret_name[name.size] = '\0';
    return COHORT_OK;
}

/* -BUSY and the like are answers of the server's, too, and no outcome. */
enum cohort_status decision_ask(struct cohort *cohort, const char *id, const char *name, enum decision_state *ret_state,
                                struct cohort_reply **ret_reply)
{
    enum cohort_status status = cohort_txn_outcome(cohort, id, name, ret_reply);
    if (cohort_reply_type(*ret_reply) != COHORT_REPLY_ARRAY) {
        return strange(status);
    }
    switch (status) {
    case COHORT_OK: *ret_state = DECISION_COMMITTED; return COHORT_OK;
    case COHORT_TXNABORT: *ret_state = DECISION_ABORTED; return COHORT_OK;
    case COHORT_NOTFOUND: *ret_state = DECISION_FORGOTTEN; return COHORT_OK;
    case COHORT_BUSY: *ret_state = DECISION_UNDER_WAY; return COHORT_OK;
    default: return status;
    }
}

enum cohort_status decision_unfinished(struct cohort *cohort, char cursor[static DECISION_CURSOR_BYTES],
                                       struct cohort_reply **ret_reply)
{
    enum cohort_status status = cohort_txn_branches(cohort, NULL, cursor, ret_reply);
    struct cohort_bytes next = cohort_reply_bytes(cohort_reply_at(*ret_reply, 0));
    if (status != COHORT_OK || next.size == 0 || next.size >= DECISION_CURSOR_BYTES) {
        return strange(status);
    }
    memcpy(cursor, next.data, next.size);
    cursor[next.size] = '\0';
    return COHORT_OK;
}
