#include "resource/decision.h"

#include "client/txn.h"

#include <stdio.h>

#define PAGE "1000"

static const struct cohort_call reads = {.size = sizeof(reads), .flags = COHORT_READ};
static const struct cohort_call again = {.size = sizeof(again), .flags = COHORT_AGAIN};

/* What should have been answered was not. */
static enum cohort_status strange(enum cohort_status status) { return status == COHORT_OK ? COHORT_PROTOCOL : status; }

enum cohort_status decision_cluster(struct cohort *cohort, char ret_cluster[static BRANCH_CLUSTER_DIGITS + 1],
                                    struct cohort_reply **ret_reply)
{
    const struct cohort_bytes argv[] = {cohort_text("COHORT.STATUS")};
    enum cohort_status status = cohort_command(cohort, 1, argv, &reads, ret_reply);
    struct cohort_bytes cluster = cohort_reply_bytes(cohort_reply_get(*ret_reply, "cluster"));
    if (status != COHORT_OK || !branch_cluster_is_good(slice_of(cluster.data, cluster.size))) {
        return status == COHORT_OK ? COHORT_CLUSTERDOWN : status; /* the node has not met the others yet */
    }
    memcpy(ret_cluster, cluster.data, cluster.size);
    ret_cluster[cluster.size] = '\0';
    return COHORT_OK;
}

enum cohort_status decision_join(struct cohort_txn *txn, const char *url, const char *label, const char *evidence,
                                 char ret_name[static BRANCH_NAME_BYTES], struct cohort_reply **ret_reply)
{
    const struct cohort_bytes argv[] = {cohort_text("TXN.JOIN"), cohort_text(cohort_txn_id(txn)),
                                        cohort_text(url),        cohort_text(label),
                                        cohort_text("EVIDENCE"), cohort_text(evidence)};
    enum cohort_status status = txn_say(txn, evidence[0] == '\0' ? 4 : 6, argv, ret_reply);
    struct cohort_bytes name = cohort_reply_bytes(*ret_reply);
    struct branch_name parsed;
    if (status != COHORT_OK || cohort_reply_type(*ret_reply) != COHORT_REPLY_STRING ||
        !branch_name_parse(slice_of(name.data, name.size), &parsed)) {
        return strange(status);
    }
    memcpy(ret_name, name.data, name.size);
    ret_name[name.size] = '\0';
    return COHORT_OK;
}

static bool take_state(struct cohort_bytes word, enum decision_state *ret_state)
{
    static const char *const words[] = {[DECISION_UNDER_WAY] = "OPEN",
                                        [DECISION_COMMITTED] = "COMMIT",
                                        [DECISION_ABORTED] = "ABORT",
                                        [DECISION_FORGOTTEN] = "FORGOTTEN"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (slice_is_word(slice_of(word.data, word.size), words[i])) {
            *ret_state = (enum decision_state)i;
            return true;
        }
    }
    return false;
}

/* It may abort the transaction, which is as good twice as once. */
enum cohort_status decision_ask(struct cohort *cohort, const char *id, const char *name, enum decision_state *ret_state,
                                struct cohort_reply **ret_reply)
{
    const struct cohort_bytes argv[] = {cohort_text("TXN.OUTCOME"), cohort_text(id), cohort_text(name)};
    enum cohort_status status = cohort_command(cohort, 3, argv, &again, ret_reply);
    struct cohort_bytes word = cohort_reply_bytes(cohort_reply_at(*ret_reply, 0));
    return status == COHORT_OK && take_state(word, ret_state) ? COHORT_OK : strange(status);
}

enum cohort_status decision_note(struct cohort *cohort, const char *id, const char *name, bool committed,
                                 struct cohort_reply **ret_reply)
{
    const struct cohort_bytes argv[] = {cohort_text("TXN.DONE"), cohort_text(id), cohort_text(name),
                                        cohort_text(committed ? "COMMITTED" : "ABORTED")};
    return cohort_command(cohort, 4, argv, &again, ret_reply);
}

enum cohort_status decision_unfinished(struct cohort *cohort, char cursor[static DECISION_CURSOR_BYTES],
                                       struct cohort_reply **ret_reply)
{
    const struct cohort_bytes argv[] = {cohort_text("TXN.BRANCHES"), cohort_text("COUNT"), cohort_text(PAGE),
                                        cohort_text("CURSOR"), cohort_text(cursor)};
    enum cohort_status status = cohort_command(cohort, 5, argv, &reads, ret_reply);
    struct cohort_bytes next = cohort_reply_bytes(cohort_reply_at(*ret_reply, 0));
    if (status != COHORT_OK || next.size == 0 || next.size >= DECISION_CURSOR_BYTES) {
        return strange(status);
    }
    memcpy(cursor, next.data, next.size);
    cursor[next.size] = '\0';
    return COHORT_OK;
}
