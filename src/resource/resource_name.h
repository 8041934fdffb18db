/* Names of branches: what a database calls its part of a transaction. Home makes them (TXN.JOIN).
 *
 *      cohort:CLUSTER:R.P:TXID:BRANCH
 *      cohort:0b8e…32 digits…:0.1f3:order-17:bank
 *
 * CLUSTER is the cluster's id; R how often it was restored from a backup, decimal, and P a position in the log of the
 * transaction's home, hexadecimal, so that no name comes twice; TXID the transaction's id and BRANCH the participant's
 * label in it. In TXID every byte but letters, digits, '.', '_', '-' and '~' is %XX, so that a colon always separates;
 * there is one way to write a name, and what is written otherwise is foreign, as is another cluster's: never touched.
 *
 * XA has two parts of 64 bytes: `cohort:CLUSTER:R.P` and `TXID:BRANCH`. */
#pragma once

#include "base/slice.h"

enum {
    BRANCH_NAME_BYTES = 200, /* with the NUL: PostgreSQL's limit */
    BRANCH_CLUSTER_DIGITS = 32,
    BRANCH_TXID_BYTES = 128,  /* with the NUL; decoded */
    BRANCH_LABEL_BYTES = 32,  /* with the NUL */
    BRANCH_XA_PART_BYTES = 64 /* without one */
};

struct resource_name {
    char cluster[BRANCH_CLUSTER_DIGITS + 1];
    uint64_t restores, position;  /* R.P: the epoch */
    char txid[BRANCH_TXID_BYTES]; /* no zero bytes */
    char label[BRANCH_LABEL_BYTES];
};

/* 1 to 31 letters, digits, '.', '_' and '-'. */
bool resource_label_is_good(struct slice label);

/* 32 lower-case hexadecimal digits, not all of them 0. */
bool resource_cluster_is_good(struct slice cluster);

/* False: a field is not as it must be, or the name is longer than a name may be. */
__attribute__((warn_unused_result)) bool resource_name_format(const struct resource_name *name,
                                                              char ret_text[static BRANCH_NAME_BYTES]);

/* False: foreign. What is parsed is formatted to the same bytes. */
__attribute__((warn_unused_result)) bool resource_name_parse(struct slice text, struct resource_name *ret_name);

/* Where XA's second part begins: behind the third colon. 0: one of the parts is too long for XA. */
size_t resource_name_xa_split(struct slice text);
