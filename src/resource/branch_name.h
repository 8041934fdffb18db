/* Names of branches: what a database calls its part of a transaction.
 *
 *      cohort:CLUSTER:EPOCH:TXID:BRANCH
 *      cohort:0b8e…32 digits…:1:order-17:bank
 *
 * CLUSTER is the cluster's id, EPOCH how often it was restored from a backup, TXID the transaction's id and BRANCH the
 * participant's name in it. In TXID every byte but letters, digits, '.', '_' and '-' is %XX, so that a colon always
 * separates; there is one way to write a name, and what is written otherwise is foreign.
 *
 * Whose a name is decides what may be done with the branch:
 *   OURS      of this cluster, in its present life: finished as home decided
 *   EARLIER   of this cluster, before it was restored: its decision may be lost with what came after the backup, so it
 *             is told to a person and left alone. (LATER: the cluster was put back behind it; the same.)
 *   FOREIGN   anything else, another cluster's too: never touched
 *
 * XA has two parts of 64 bytes: `cohort:CLUSTER:EPOCH` and `TXID:BRANCH`. */
#pragma once

#include "base/slice.h"

enum {
    BRANCH_NAME_BYTES = 200, /* with the NUL: PostgreSQL's limit */
    BRANCH_CLUSTER_DIGITS = 32,
    BRANCH_TXID_BYTES = 128,  /* with the NUL; decoded */
    BRANCH_LABEL_BYTES = 33,  /* with the NUL */
    BRANCH_XA_PART_BYTES = 64 /* without one */
};

struct branch_name {
    char cluster[BRANCH_CLUSTER_DIGITS + 1];
    uint64_t epoch;
    char txid[BRANCH_TXID_BYTES]; /* no zero bytes */
    char label[BRANCH_LABEL_BYTES];
};

enum branch_owner { BRANCH_OURS, BRANCH_EARLIER, BRANCH_LATER, BRANCH_FOREIGN };

/* 1 to 32 letters, digits, '.', '_' and '-'. */
bool branch_label_is_good(struct slice label);

/* False: a field is not as it must be, or the name is longer than a name may be. */
__attribute__((warn_unused_result)) bool branch_name_format(const struct branch_name *name,
                                                            char ret_text[static BRANCH_NAME_BYTES]);

/* False: foreign. What is parsed is formatted to the same bytes. */
__attribute__((warn_unused_result)) bool branch_name_parse(struct slice text, struct branch_name *ret_name);

/* `self` says cluster and epoch. */
enum branch_owner branch_owner_of(const struct branch_name *name, const struct branch_name *self);

/* Where XA's second part begins: behind the third colon. 0: one of the parts is too long for XA. */
size_t branch_name_xa_split(struct slice text);
