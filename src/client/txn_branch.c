/* External participants of transactions, and what became of one by its id (cohort/transaction.h). */
#include "client/command.h"
#include "client/handle.h"
#include "client/txn_own.h"

#include "base/number.h"

/* ---- joining ---- */

static size_t join_words(struct cohort_bytes argv[static 6], const struct cohort_txn *txn, const char *resource,
                         const char *branch, const char *evidence)
{
    argv[0] = cohort_text("TXN.JOIN");
    argv[1] = cohort_text(cohort_txn_id(txn));
    argv[2] = cohort_text(resource);
    argv[3] = cohort_text(branch);
    argv[4] = cohort_text("EVIDENCE");
    argv[5] = cohort_text(evidence == NULL ? "" : evidence);
    return evidence == NULL ? 4 : 6;
}

enum cohort_status cohort_txn_join(struct cohort_txn *txn, const char *resource, const char *branch,
                                   const char *evidence, struct cohort_reply **ret_reply)
{
    struct cohort_bytes argv[6];
    return txn_say_own(txn, join_words(argv, txn, resource, branch, evidence), argv, ret_reply);
}

enum cohort_status cohort_txn_join_start(struct cohort_txn *txn, const char *resource, const char *branch,
                                         const char *evidence, cohort_callback callback, void *data)
{
    struct cohort_bytes argv[6];
    return txn_say_own_start(txn, join_words(argv, txn, resource, branch, evidence), argv, callback, data);
}

/* ---- what is decided ---- */

/* Both answers are the same when they are asked for twice. */
static bool take_outcome(struct operation *operation, bool may_go_on)
{
    const char *word = cohort_reply_text(cohort_reply_at(operation->reply, 0));
    (void)may_go_on;
    if (operation->status == COHORT_OK) {
        operation->status = strcmp(word, "COMMIT") == 0  ? COHORT_OK
                            : strcmp(word, "ABORT") == 0 ? COHORT_TXNABORT
                            : strcmp(word, "OPEN") == 0  ? COHORT_BUSY
                                                         : COHORT_NOTFOUND;
    }
    return false;
}

static struct client_request outcome_request(struct cohort_bytes argv[static 3], const char *id, const char *name)
{
    argv[0] = cohort_text("TXN.OUTCOME");
    argv[1] = cohort_text(id);
    argv[2] = cohort_text(name == NULL ? "" : name);
    return (struct client_request){
        .argv = argv, .argc = name == NULL ? 2 : 3, .flags = COHORT_AGAIN, .step = take_outcome};
}

enum cohort_status cohort_txn_outcome(struct cohort *cohort, const char *id, const char *name,
                                      struct cohort_reply **ret_reply)
{
    struct cohort_bytes argv[3];
    struct client_request request = outcome_request(argv, id, name);
    return client_call(cohort, &request, ret_reply);
}

enum cohort_status cohort_txn_outcome_start(struct cohort *cohort, const char *id, const char *name,
                                            cohort_callback callback, void *data)
{
    struct cohort_bytes argv[3];
    struct client_request request = outcome_request(argv, id, name);
    return client_start(cohort, &request, callback, data);
}

/* ---- what is finished ---- */

static struct client_request done_request(struct cohort_bytes argv[static 4], const char *id, const char *name,
                                          enum cohort_branch_end end)
{
    static const char *const words[] = {"COMMITTED", "ABORTED", "ABANDONED"};
    bool known = end >= COHORT_BRANCH_COMMITTED && end <= COHORT_BRANCH_ABANDONED;
    argv[0] = cohort_text("TXN.DONE");
    argv[1] = cohort_text(id);
    argv[2] = cohort_text(name);
    argv[3] = cohort_text(known ? words[end] : ""); /* which the server refuses */
    return (struct client_request){.argv = argv, .argc = 4, .flags = COHORT_AGAIN};
}

enum cohort_status cohort_txn_done(struct cohort *cohort, const char *id, const char *name, enum cohort_branch_end end,
                                   struct cohort_reply **ret_reply)
{
    struct cohort_bytes argv[4];
    struct client_request request = done_request(argv, id, name, end);
    return client_call(cohort, &request, ret_reply);
}

enum cohort_status cohort_txn_done_start(struct cohort *cohort, const char *id, const char *name,
                                         enum cohort_branch_end end, cohort_callback callback, void *data)
{
    struct cohort_bytes argv[4];
    struct client_request request = done_request(argv, id, name, end);
    return client_start(cohort, &request, callback, data);
}

/* ---- what is not ---- */

static struct client_request branches_request(struct cohort_bytes argv[static 5], const char *resource,
                                              const char *cursor)
{
    size_t argc = 0;
    argv[argc++] = cohort_text("TXN.BRANCHES");
    if (resource != NULL) {
        argv[argc++] = cohort_text("RESOURCE");
        argv[argc++] = cohort_text(resource);
    }
    if (cursor != NULL) {
        argv[argc++] = cohort_text("CURSOR");
        argv[argc++] = cohort_text(cursor);
    }
    return (struct client_request){.argv = argv, .argc = argc, .flags = COHORT_READ};
}

enum cohort_status cohort_txn_branches(struct cohort *cohort, const char *resource, const char *cursor,
                                       struct cohort_reply **ret_reply)
{
    struct cohort_bytes argv[5];
    struct client_request request = branches_request(argv, resource, cursor);
    return client_call(cohort, &request, ret_reply);
}

enum cohort_status cohort_txn_branches_start(struct cohort *cohort, const char *resource, const char *cursor,
                                             cohort_callback callback, void *data)
{
    struct cohort_bytes argv[5];
    struct client_request request = branches_request(argv, resource, cursor);
    return client_start(cohort, &request, callback, data);
}

/* ---- by id ---- */

enum cohort_status txn_outcome_of(const struct cohort_reply *reply)
{
    const char *state = cohort_reply_text(cohort_reply_get(reply, "state"));
    const char *outcome = cohort_reply_text(cohort_reply_get(reply, "outcome"));
    if (cohort_reply_type(reply) == COHORT_REPLY_NIL) {
        return COHORT_NOTFOUND;
    }
    if (strcmp(state, "COMMIT") == 0 || (strcmp(state, "DONE") == 0 && strcmp(outcome, "COMMIT") == 0)) {
        return COHORT_OK;
    }
    return strcmp(state, "ABORT") == 0 || strcmp(state, "DONE") == 0 ? COHORT_TXNABORT : COHORT_BUSY;
}

static bool take_status(struct operation *operation, bool may_go_on)
{
    if (operation->status == COHORT_OK) {
        operation->status = txn_outcome_of(operation->reply);
    }
    return false;
}

static struct client_request status_request(struct cohort_bytes argv[static 2], const char *id)
{
    argv[0] = cohort_text("TXN.STATUS");
    argv[1] = cohort_text(id);
    return (struct client_request){
        .argv = argv, .argc = 2, .flags = COHORT_READ | OPERATION_NO_RETRY, .step = take_status};
}

enum cohort_status cohort_txn_status(struct cohort *cohort, const char *id, struct cohort_reply **ret_reply)
{
    struct cohort_bytes argv[2];
    struct client_request request = status_request(argv, id);
    return client_call(cohort, &request, ret_reply);
}

enum cohort_status cohort_txn_status_start(struct cohort *cohort, const char *id, cohort_callback callback, void *data)
{
    struct cohort_bytes argv[2];
    struct client_request request = status_request(argv, id);
    return client_start(cohort, &request, callback, data);
}
