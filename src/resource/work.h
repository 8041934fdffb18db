/* One transaction over a cohort and resources, by the client that does the work (two-phase commit: Gray 1978; Mohan,
 * Lindsay, Obermarck 1986).
 *
 *      begun, joined ──▶ work ──▶ each is prepared ──all of them──▶ home decides COMMIT ──▶ each is told, and noted
 *                                       └── a no, no answer, the time is over ──▶ home decides ABORT ──▶ each is told
 *
 * Invariants
 * 1. Every branch is joined at home before anything is done there: so home knows of all that may ever be prepared, and
 * an id that it does not know is an abort.
 * 2. Home is told to commit when all have prepared, and by this client alone. No branch is committed before home has
 * said COMMIT. */
#pragma once

#include "resource/decision.h"
#include "resource/resource.h"
#include "resource/resource_url.h"

enum { WORK_PARTS = 16, WORK_PROBLEM_BYTES = 512 };

enum work_end {
    WORK_COMMITTED,
    WORK_ROLLED_BACK,
    WORK_UNCERTAIN, /* nobody could say yet; prepared branches wait for whoever resolves */
};

enum work_state { WORK_IDLE, WORK_WORKING, WORK_PREPARED, WORK_FINISHED };

struct work_part {
    const char *label;         /* borrowed */
    const char *url;           /* borrowed */
    struct resource *resource; /* owned; NULL: not opened yet */
    enum work_state state;
    bool may_be_prepared; /* PREPARE was sent, and was not refused */
    char name[BRANCH_NAME_BYTES];
    char evidence[RESOURCE_EVIDENCE_BYTES];
};

struct work {
    struct cohort *cohort; /* borrowed */
    struct cohort_txn *txn;
    char id[BRANCH_TXID_BYTES];
    int64_t timeout_ms, deadline_ns;
    struct work_part parts[WORK_PARTS];
    uint32_t count;
    uint32_t unfinished; /* parts that have not heard the outcome yet, */
    uint32_t refused;    /* of them those that refuse it */
    bool unreachable;    /* a participant, so nothing was done */
    char problem[WORK_PROBLEM_BYTES];
    enum cohort_status status; /* of cohort's last answer */
};

struct work_options {
    const char *id; /* NULL: a random one */
    enum cohort_txn_protocol protocol;
    int64_t timeout_ms;
};

/* Adds a participant; false: there are too many, or the label is taken. Before work_begin. */
bool work_add(struct work *work, const char *label, const char *url);

/* Takes the id, joins and opens everything. False: `problem` has words, nothing was done. */
bool work_begin(struct work *work, struct cohort *cohort, const struct work_options *options);

/* One statement at a part. */
bool work_run(struct work *work, uint32_t part, const char *statement, int64_t *ret_changed);

/* A command of cohort's own. The reply is the caller's to free. */
bool work_command(struct work *work, size_t argc, const struct cohort_bytes *argv, struct cohort_reply **ret_reply);

/* With words in `problem` unless all is well; committed with `unfinished` parts is committed. */
enum work_end work_commit(struct work *work);

/* After a failure before work_commit. */
void work_roll_back(struct work *work);

void work_deinit(struct work *work);
