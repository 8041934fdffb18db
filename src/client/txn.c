/* Interactive transactions (cohort/transaction.h).
 *
 *      begun ──commit──▶ asked ──its answer──▶ over
 *        │                 └──the connection is lost──▶ TXN.STATUS id ──▶ over, or TXN.ROLLBACK id ──▶ TXN.STATUS id …
 *        └──the connection is lost: rolled back by the server──▶ over
 *
 * Invariants
 * 1. `link` is the transaction's own while it is begun, and NULL once it is lost. A transaction whose link is lost
 * before its commit was sent is rolled back.
 * 2. What TXN.ROLLBACK answers with OK was not committed and never will be.
 * 3. A command that this process refuses, or does not send in time, ends its transaction: what commits has all that
 * was asked of it. */
#include "client/command.h"
#include "client/handle.h"
#include "client/txn_own.h"

#include "base/assert.h"
#include "base/number.h"

#include <cohort/transaction.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum { TXN_ID_BYTES = 128 };

struct cohort_txn {
    struct cohort *cohort;
    struct link *link; /* under the mutex */
    bool is_random;
    bool is_over;    /* its link is as new */
    bool is_refused; /* a command of it was, here */
    char id[TXN_ID_BYTES];
};

static bool make_id(char id[static TXN_ID_BYTES])
{
    uint8_t random[16];
    if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(random); i++) {
        (void)snprintf(id + 2 * i, 3, "%02x", random[i]);
    }
    return true;
}

static void link_lost(struct link *link)
{
    struct cohort_txn *txn = link->owner;
    txn->link = NULL;
}

const char *cohort_txn_id(const struct cohort_txn *txn) { return txn->id; }

/* ---- begin ---- */

struct begin {
    struct cohort_txn *txn;
    struct cohort_txn **ret_txn; /* of a blocking call */
    cohort_txn_callback callback;
    void *data;
    struct cohort_txn_options options;
};

static void release_begin(void *context)
{
    struct begin *begin = context;
    free(begin->txn);
    free(begin);
}

static size_t begin_words(const struct begin *begin, struct cohort_bytes argv[static 7],
                          char digits[static NUMBER_INT64_BYTES])
{
    size_t argc = 0;
    argv[argc++] = cohort_text("TXN.BEGIN");
    argv[argc++] = cohort_text("ID");
    argv[argc++] = cohort_text(begin->txn->id);
    if (begin->options.protocol != COHORT_TXN_DEFAULT) {
        argv[argc++] = cohort_text("PROTOCOL");
        argv[argc++] = cohort_text(begin->options.protocol == COHORT_TXN_2PC ? "2PC" : "3PC");
    }
    if (begin->options.timeout_ms > 0) {
        argv[argc++] = cohort_text("TIMEOUT");
        argv[argc++] = cohort_bytes_of(digits, number_format_int64(digits, begin->options.timeout_ms));
    }
    return argc;
}

static bool take_begin(struct operation *operation, bool may_go_on)
{
    struct begin *begin = operation->context;
    if (operation->status == COHORT_UNCERTAIN) { /* whatever began is rolled back; its id is used up */
        char digits[NUMBER_INT64_BYTES];
        struct cohort_bytes argv[7];
        if (may_go_on && begin->txn->is_random && make_id(begin->txn->id) &&
            operation_ask(operation, argv, begin_words(begin, argv, digits)) == STATUS_OK) {
            operation->was_lost = false;
            return true;
        }
        operation->was_lost = false;
        operation_answer(operation, COHORT_TXNABORT,
                         reply_error("the connection was lost; what began is rolled back, and its id may be used up"));
    }
    if (operation->status != COHORT_OK) {
        return false;
    }
    struct link *link = operation->link;
    begin->txn->link = link;
    link->owner = begin->txn;
    link->lost = link_lost;
    if (begin->ret_txn != NULL) {
        *begin->ret_txn = begin->txn;
        begin->txn = NULL;
    }
    return false;
}

static void call_back_begin(struct operation *operation)
{
    struct begin *begin = operation->context;
    struct cohort_txn *txn = operation->status == COHORT_OK ? begin->txn : NULL;
    if (txn != NULL) {
        begin->txn = NULL;
    }
    begin->callback(begin->data, operation->status, txn, operation->reply);
}

/* NULL: memory was refused. */
static struct operation *make_begin(struct cohort *cohort, const struct cohort_txn_options *options,
                                    struct begin **ret_begin)
{
    struct begin *begin = calloc(1, sizeof(*begin));
    struct cohort_txn *txn = begin == NULL ? NULL : calloc(1, sizeof(*txn));
    if (txn == NULL) {
        free(begin);
        return NULL;
    }
    begin->txn = txn;
    begin->options = *options;
    txn->cohort = cohort;
    txn->is_random = options->id == NULL;
    bool named = options->id != NULL || make_id(txn->id);
    if (options->id != NULL) {
        (void)snprintf(txn->id, sizeof(txn->id), "%s", options->id);
    }
    char digits[NUMBER_INT64_BYTES];
    struct cohort_bytes argv[7];
    struct client_request request = {.argv = argv,
                                     .argc = begin_words(begin, argv, digits),
                                     .flags = OPERATION_PRIVATE | OPERATION_KEEPS_LINK,
                                     .step = take_begin,
                                     .context = begin,
                                     .release = release_begin};
    struct operation *operation = NULL;
    if (!named || operation_create(cohort, &request, &operation) != STATUS_OK) {
        release_begin(begin);
        return NULL;
    }
    *ret_begin = begin;
    return operation;
}

static const char *problem_of(const struct cohort_txn_options *options)
{
    bool bad = options->id != NULL && (options->id[0] == '\0' || strlen(options->id) >= TXN_ID_BYTES);
    return bad ? "a transaction's id has 1 to 127 bytes" : NULL;
}

enum cohort_status cohort_txn_begin(struct cohort *cohort, const struct cohort_txn_options *options,
                                    struct cohort_txn **ret_txn, struct cohort_reply **ret_reply)
{
    struct cohort_txn_options given;
    client_take_options(&given, sizeof(given), options);
    if (problem_of(&given) != NULL) {
        return client_refuse(COHORT_INVALID, ret_reply, problem_of(&given));
    }
    struct begin *begin;
    struct operation *operation = make_begin(cohort, &given, &begin);
    if (operation != NULL) {
        begin->ret_txn = ret_txn;
    }
    return client_run(cohort, operation, ret_reply);
}

enum cohort_status cohort_txn_begin_start(struct cohort *cohort, const struct cohort_txn_options *options,
                                          cohort_txn_callback callback, void *data)
{
    struct cohort_txn_options given;
    client_take_options(&given, sizeof(given), options);
    if (problem_of(&given) != NULL || callback == NULL) {
        return COHORT_INVALID;
    }
    struct begin *begin;
    struct operation *operation = make_begin(cohort, &given, &begin);
    if (operation != NULL) {
        begin->callback = callback;
        begin->data = data;
        operation->call_back = call_back_begin;
    }
    return client_submit(cohort, operation, NULL, NULL);
}

/* ---- commands ---- */

/* The server rolls back. Under the mutex. */
static void give_up(struct cohort_txn *txn)
{
    struct link *link = txn->link;
    txn->link = NULL; /* before those that are under way on it hear of that */
    if (link != NULL) {
        link_give_back(link, false);
    }
}

/* A lost connection ends it, and so does a command without an answer, also one that had not left: its link is there
 * then. */
static bool take_command(struct operation *operation, bool may_go_on)
{
    struct cohort_txn *txn = operation->context;
    bool answered = operation->state == OPERATION_SENT && txn->link != NULL;
    if (!answered) {
        give_up(txn);
        operation->was_lost = false;
        operation->status = COHORT_TXNABORT;
    }
    return false;
}

/* On the transaction's own link, which is looked up when it is submitted. NULL: memory was refused. */
static struct operation *make_command(struct cohort_txn *txn, size_t argc, const struct cohort_bytes *argv,
                                      unsigned flags, operation_step step)
{
    struct client_request request = {
        .argv = argv, .argc = argc, .flags = flags | OPERATION_NO_RETRY, .step = step, .context = txn};
    struct operation *operation = NULL;
    if (operation_create(txn->cohort, &request, &operation) != STATUS_OK) {
        return NULL;
    }
    operation->link_of = &txn->link;
    return operation;
}

static bool is_allowed(size_t argc, const struct cohort_bytes *argv)
{
    return argc >= 1 && argc <= COMMAND_WORDS_MAXIMUM && command_may_be_queued(argv[0]);
}

/* A command that this process refuses, which no reply of a server does in these words, ends its transaction: the link
 * is given up, and the server rolls back. */
static enum cohort_status note_refusal(struct cohort_txn *txn, enum cohort_status status)
{
    bool refused = status == COHORT_FULL || status == COHORT_NOMEM || status == COHORT_INVALID;
    if (refused && !handle_is_inherited(txn->cohort)) {
        handle_lock(txn->cohort);
        txn->is_refused = true;
        give_up(txn);
        handle_unlock(txn->cohort);
    }
    return status;
}

static bool was_refused(struct cohort_txn *txn)
{
    if (handle_is_inherited(txn->cohort)) {
        return false; /* in other words, later */
    }
    handle_lock(txn->cohort);
    bool refused = txn->is_refused;
    handle_unlock(txn->cohort);
    return refused;
}

static enum cohort_status run(struct cohort_txn *txn, struct operation *operation, struct cohort_reply **ret_reply)
{
    if (was_refused(txn)) {
        operation_destroy(operation);
        return client_refuse(
            COHORT_TXNABORT, ret_reply,
            "a command of the transaction was refused by this handle, and so all of it; begin it again");
    }
    return client_run(txn->cohort, operation, ret_reply);
}

enum cohort_status cohort_txn_command(struct cohort_txn *txn, size_t argc, const struct cohort_bytes *argv,
                                      struct cohort_reply **ret_reply)
{
    if (!is_allowed(argc, argv)) {
        (void)note_refusal(txn, COHORT_INVALID);
        return client_refuse(COHORT_INVALID, ret_reply, "this command may not stand in a transaction");
    }
    return note_refusal(txn, run(txn, make_command(txn, argc, argv, OPERATION_UNHURRIED, take_command), ret_reply));
}

enum cohort_status cohort_txn_command_start(struct cohort_txn *txn, size_t argc, const struct cohort_bytes *argv,
                                            cohort_callback callback, void *data)
{
    if (!is_allowed(argc, argv)) {
        return note_refusal(txn, COHORT_INVALID);
    }
    struct operation *operation = make_command(txn, argc, argv, OPERATION_UNHURRIED, take_command);
    return note_refusal(txn, client_submit(txn->cohort, operation, callback, data));
}

/* ---- about itself ---- */

enum cohort_status txn_say_own(struct cohort_txn *txn, size_t argc, const struct cohort_bytes *argv,
                               struct cohort_reply **ret_reply)
{
    return note_refusal(txn, run(txn, make_command(txn, argc, argv, OPERATION_UNHURRIED, take_command), ret_reply));
}

enum cohort_status txn_say_own_start(struct cohort_txn *txn, size_t argc, const struct cohort_bytes *argv,
                                     cohort_callback callback, void *data)
{
    struct operation *operation = make_command(txn, argc, argv, OPERATION_UNHURRIED, take_command);
    return note_refusal(txn, client_submit(txn->cohort, operation, callback, data));
}

/* ---- what became of it ---- */

enum txn_stage { STAGE_COMMIT, STAGE_STATUS, STAGE_ROLLBACK };
enum { TXN_ROUNDS_MAXIMUM = 64 }; /* of asking and rolling back */

static bool ask_about(struct operation *operation, const char *id, const char *command, enum txn_stage stage)
{
    struct cohort_bytes argv[] = {cohort_text(command), cohort_text(id)};
    operation->stage = (operation->stage & ~3U) + 4 + stage; /* the rounds stand above the stage */
    operation->pinned = false;
    operation->link = NULL;
    operation->flags = COHORT_AGAIN;
    return operation->stage / 4 < TXN_ROUNDS_MAXIMUM && operation_ask(operation, argv, 2) == STATUS_OK;
}

static bool unknown(struct operation *operation)
{
    operation->status = COHORT_UNCERTAIN;
    return false;
}

static bool take_commit(struct operation *operation, bool may_go_on)
{
    struct cohort_txn *txn = operation->context;
    enum cohort_status status = operation->status;
    switch (operation->stage & 3U) {
    case STAGE_COMMIT:
        txn->is_over = status == COHORT_OK || status == COHORT_TXNABORT;
        if (status == COHORT_UNREACHABLE) { /* it did not leave: the server has rolled back */
            operation->status = COHORT_TXNABORT;
        }
        if (status != COHORT_UNCERTAIN || !may_go_on) {
            return false;
        }
        operation->was_lost = true;
        return ask_about(operation, txn->id, "TXN.STATUS", STAGE_STATUS) || unknown(operation);
    case STAGE_STATUS: status = status == COHORT_OK ? txn_outcome_of(operation->reply) : COHORT_BUSY; break;
    default: /* OK: it was not committed, and will not be. Else it may have been: who was first? */
        if (status == COHORT_OK || status == COHORT_TXNABORT) {
            operation_answer(
                operation, COHORT_TXNABORT,
                reply_error("the answer to its commit was lost; it was not committed, and is rolled back"));
            return false;
        }
        return (may_go_on && ask_about(operation, txn->id, "TXN.STATUS", STAGE_STATUS)) || unknown(operation);
    }
    if (status == COHORT_OK || status == COHORT_TXNABORT) {
        operation->status = status;
        return false;
    }
    return (may_go_on && ask_about(operation, txn->id, "TXN.ROLLBACK", STAGE_ROLLBACK)) || unknown(operation);
}

static struct operation *make_commit(struct cohort_txn *txn)
{
    static const struct cohort_bytes commit = {"TXN.COMMIT", 10};
    return make_command(txn, 1, &commit, OPERATION_RESOLVES, take_commit);
}

enum cohort_status cohort_txn_commit(struct cohort_txn *txn, struct cohort_reply **ret_reply)
{
    return run(txn, make_commit(txn), ret_reply);
}

enum cohort_status cohort_txn_commit_start(struct cohort_txn *txn, cohort_callback callback, void *data)
{
    return client_submit(txn->cohort, make_commit(txn), callback, data);
}

/* A lost link has rolled it back, too. */
static bool take_rollback(struct operation *operation, bool may_go_on)
{
    struct cohort_txn *txn = operation->context;
    txn->is_over = operation->status == COHORT_OK || operation->status == COHORT_TXNABORT;
    if (txn->is_over || txn->link == NULL) {
        operation->was_lost = false;
        operation->status = COHORT_OK;
    }
    return false;
}

static struct operation *make_rollback(struct cohort_txn *txn)
{
    static const struct cohort_bytes rollback = {"TXN.ROLLBACK", 12};
    return make_command(txn, 1, &rollback, 0, take_rollback);
}

enum cohort_status cohort_txn_rollback(struct cohort_txn *txn, struct cohort_reply **ret_reply)
{
    enum cohort_status status = client_run(txn->cohort, make_rollback(txn), ret_reply);
    return status == COHORT_TXNABORT ? COHORT_OK : status; /* the link was lost before */
}

enum cohort_status cohort_txn_rollback_start(struct cohort_txn *txn, cohort_callback callback, void *data)
{
    return client_submit(txn->cohort, make_rollback(txn), callback, data);
}

void cohort_txn_free(struct cohort_txn *txn)
{
    if (txn == NULL || handle_is_inherited(txn->cohort)) {
        return;
    }
    handle_lock(txn->cohort);
    if (txn->link != NULL) {
        link_give_back(txn->link, txn->is_over);
    }
    handle_unlock(txn->cohort);
    free(txn);
}
