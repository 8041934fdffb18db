/* Transactions: batches (MULTI/EXEC), and interactive ones (TXN.*), over any keys of any shards.
 *
 * Both are strictly serializable and happen as a whole or not at all. A batch is known in advance and costs one round;
 * in an interactive one each command is answered before the next is chosen, and it has a connection of its own until
 * its end. */
#ifndef COHORT_TRANSACTION_H
#define COHORT_TRANSACTION_H

#include <cohort/client.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- batches ---- */

struct cohort_batch;

COHORT_API enum cohort_status cohort_batch_create(struct cohort_batch **ret_batch);
COHORT_API void cohort_batch_free(struct cohort_batch *batch);

/* One more command, at most 65,536. COHORT_INVALID: it may not stand in a batch (as in cohort_command). COHORT_FULL,
 * COHORT_NOMEM: there is no room for it. A batch of which one was refused is not executed any more, as Redis's EXEC
 * after an error (EXECABORT): cohort_batch_run ends COHORT_TXNABORT. */
COHORT_API enum cohort_status cohort_batch_add(struct cohort_batch *batch, size_t argc,
                                               const struct cohort_bytes *argv);

/* Executes all of them, in their order, at one moment. The reply is an array of their replies; single ones may be
 * errors. COHORT_REFUSED: one of them is malformed, none was executed. COHORT_TXNABORT: one was refused when it was
 * added, none was executed. The batch stays as it is and may be run again. */
COHORT_API enum cohort_status cohort_batch_run(struct cohort *cohort, const struct cohort_batch *batch,
                                               struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_batch_run_start(struct cohort *cohort, const struct cohort_batch *batch,
                                                     cohort_callback callback, void *data);

/* ---- interactive transactions ---- */

struct cohort_txn;

enum cohort_txn_protocol { COHORT_TXN_DEFAULT, COHORT_TXN_2PC, COHORT_TXN_3PC };

/* All zero is the default. */
struct cohort_txn_options {
    size_t size;
    const char *id;                    /* NULL: a random one */
    enum cohort_txn_protocol protocol; /* of the server, when nothing is said */
    int64_t timeout_ms;                /* what is not committed by then is rolled back; 0: the server's 60 s */
};

/* COHORT_TXNEXISTS: this id runs or ran already. */
COHORT_API enum cohort_status cohort_txn_begin(struct cohort *cohort, const struct cohort_txn_options *options,
                                               struct cohort_txn **ret_txn, struct cohort_reply **ret_reply);

/* The transaction is the callback's, and NULL unless the status is COHORT_OK. */
typedef void (*cohort_txn_callback)(void *data, enum cohort_status status, struct cohort_txn *txn,
                                    const struct cohort_reply *reply);
COHORT_API enum cohort_status cohort_txn_begin_start(struct cohort *cohort, const struct cohort_txn_options *options,
                                                     cohort_txn_callback callback, void *data);

/* By this its outcome can be asked for, also by others and later. */
COHORT_API const char *cohort_txn_id(const struct cohort_txn *txn);

/* A command in it: reads see what it wrote, writes are kept back. COHORT_TXNABORT: it is over, nothing of it was done.
 * One that this handle refuses (COHORT_FULL, COHORT_NOMEM, COHORT_INVALID), or whose time is over before it could be
 * sent (COHORT_TXNABORT), ends the transaction: it is rolled back, and what follows is COHORT_TXNABORT. */
COHORT_API enum cohort_status cohort_txn_command(struct cohort_txn *txn, size_t argc, const struct cohort_bytes *argv,
                                                 struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_txn_command_start(struct cohort_txn *txn, size_t argc,
                                                       const struct cohort_bytes *argv, cohort_callback callback,
                                                       void *data);

/* Commits. COHORT_TXNABORT: it was rolled back. When the answer is lost, the library asks by the id what became of it,
 * and rolls back what is not committed; COHORT_UNCERTAIN remains only if nobody could say within the time limit:
 * cohort_txn_status tells later. Only one call for a transaction at a time; after this one only cohort_txn_free. */
COHORT_API enum cohort_status cohort_txn_commit(struct cohort_txn *txn, struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_txn_commit_start(struct cohort_txn *txn, cohort_callback callback, void *data);

COHORT_API enum cohort_status cohort_txn_rollback(struct cohort_txn *txn, struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_txn_rollback_start(struct cohort_txn *txn, cohort_callback callback, void *data);

/* Frees it; what was neither committed nor rolled back is rolled back by the server. NULL is fine. */
COHORT_API void cohort_txn_free(struct cohort_txn *txn);

/* What became of a transaction: COHORT_OK: committed. COHORT_TXNABORT: rolled back. COHORT_BUSY: it is under way.
 * COHORT_NOTFOUND: no such id is known. The reply is TXN.STATUS's map. */
COHORT_API enum cohort_status cohort_txn_status(struct cohort *cohort, const char *id, struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_txn_status_start(struct cohort *cohort, const char *id, cohort_callback callback,
                                                      void *data);

/* ---- external participants ---- */

/* Names a database or service that takes part, before it prepares; docs/transactions.md has the rules. `resource` is
 * its URL, without a password, at most 255 bytes; `branch` 1 to 31 letters, digits, '.', '_' and '-'; `evidence`, at
 * most 64 printable bytes or NULL, is kept for whoever finishes the branch, and may come with a second call. The reply
 * is the name under which it is to prepare; the same when it is asked for again. cohort_txn_commit then says that all
 * branches are prepared, and COHORT_OK that they are to be committed. COHORT_REFUSED: it cannot join, and the
 * transaction goes on without it. COHORT_BUSY: too many branches are not finished. */
COHORT_API enum cohort_status cohort_txn_join(struct cohort_txn *txn, const char *resource, const char *branch,
                                              const char *evidence, struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_txn_join_start(struct cohort_txn *txn, const char *resource, const char *branch,
                                                    const char *evidence, cohort_callback callback, void *data);

/* What is decided about a branch, or with name NULL about a transaction, for whoever is to finish it: list what the
 * resource has prepared first, then ask. COHORT_OK: commit it. COHORT_TXNABORT: roll it back; both are final.
 * COHORT_BUSY: not decided, ask again (the reply's second element is how many ms that takes at most). COHORT_NOTFOUND:
 * only a person can say; leave it. An id that nobody knows is an abort from then on. */
COHORT_API enum cohort_status cohort_txn_outcome(struct cohort *cohort, const char *id, const char *name,
                                                 struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_txn_outcome_start(struct cohort *cohort, const char *id, const char *name,
                                                       cohort_callback callback, void *data);

enum cohort_branch_end {
    COHORT_BRANCH_COMMITTED,
    COHORT_BRANCH_ABORTED,
    COHORT_BRANCH_ABANDONED, /* a person gives it up */
};

/* The branch is finished so; the reply is how many of the transaction are not. COHORT_REFUSED: it is decided otherwise,
 * not decided, or not known. */
COHORT_API enum cohort_status cohort_txn_done(struct cohort *cohort, const char *id, const char *name,
                                              enum cohort_branch_end end, struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_txn_done_start(struct cohort *cohort, const char *id, const char *name,
                                                    enum cohort_branch_end end, cohort_callback callback, void *data);

/* Branches that are not finished: of one resource, or with NULL of all. The reply is the next cursor, "0" at the end
 * (NULL to begin), and an array of maps: id, branch, name, resource, evidence, state, age_ms. */
COHORT_API enum cohort_status cohort_txn_branches(struct cohort *cohort, const char *resource, const char *cursor,
                                                  struct cohort_reply **ret_reply);
COHORT_API enum cohort_status cohort_txn_branches_start(struct cohort *cohort, const char *resource, const char *cursor,
                                                        cohort_callback callback, void *data);

#ifdef __cplusplus
}
#endif

#endif
