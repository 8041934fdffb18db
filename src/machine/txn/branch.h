/* External participants: branches of a transaction that databases and services prepare, kept with its home record.
 *
 * 1. A branch joins before its transaction is prepared, and before the participant prepares. Its name has the position
 *    of its TXN.JOIN, so it never comes twice.
 * 2. A record that is COMMIT becomes DONE only when every branch of it is finished, or abandoned: so its decision is
 *    known for as long as anybody may ask. One that is ABORT does not wait: a branch without a record was aborted
 *    (presumed abort), unless it joined at or before `abandoned`. */
#pragma once

#include "base/slice.h"

enum branch_state {
    BRANCH_JOINED, /* not finished: as the transaction is */
    BRANCH_COMMITTED,
    BRANCH_ABORTED,
    BRANCH_ABANDONED, /* a person has given it up; what became of it is not known */
    BRANCH_STATES,
};

struct branch {
    uint64_t restores; /* of the cluster, when it joined */
    uint64_t position; /* of its TXN.JOIN */
    int64_t joined_ms; /* of the shard's time */
    uint8_t state;
    char *label, *resource, *evidence; /* evidence: NULL, when there is none */
};

const char *branch_state_name(enum branch_state state);
bool branch_state_parse(struct slice word, enum branch_state *ret_state);
void branch_deinit(struct branch *branch);

/* 1 to TXN_LABEL_BYTES letters, digits, '.', '_' and '-'. */
bool branch_label_valid(struct slice label);
/* Printable, no longer than `most`. */
bool branch_text_valid(struct slice text, size_t most);
/* scheme://…, and no password in it. NULL, or what is wrong. */
const char *branch_url_problem(struct slice url);

/* ---- names: cohort:CLUSTER:R.P:TXID:LABEL, as docs/transactions.md says ---- */

enum {
    BRANCH_PART_BYTES = 64,  /* of TXID:LABEL, and of what stands before it: an XA xid has two such parts */
    BRANCH_NAME_BYTES = 136, /* with the NUL */
    BRANCH_CLUSTER_DIGITS = 32,
};

struct branch_name {
    char cluster[BRANCH_CLUSTER_DIGITS + 1];
    uint64_t restores, position;
    struct slice id, label;
};

/* Whether TXID:LABEL is short enough. */
bool branch_name_fits(struct slice id, struct slice label);
/* The name's size; it fits. */
size_t branch_name_make(char at[static BRANCH_NAME_BYTES], const struct branch_name *name);
/* The name of a branch of this transaction and cluster (`ret_name` has both). False: it is not one. */
bool branch_name_parse(struct slice text, struct slice cluster, struct slice id, struct branch_name *ret_name);
