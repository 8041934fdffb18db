/* Batches, scripts and transactions against a scripted server: what is asked when an answer is lost. */
#include "base/assert.h"
#include "scripted_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* What the server does, and what it was asked. */
struct script {
    const char *exec;   /* EXEC's answer */
    const char *queued; /* of commands between; NULL: +QUEUED */
    const char *commit; /* NULL: the connection is cut instead */
    const char *status; /* TXN.STATUS's answers, in turn, until the last */
    const char *status_later;
    const char *rollback;
    bool cut_command;
    bool knows_script;
    atomic_int begins;
    atomic_int commits;
    atomic_int statuses;
    atomic_int rollbacks;
    atomic_int evals;
    atomic_int evalshas;
    atomic_int loads;
};

static enum scripted_verdict say(struct buffer *out, const char *text)
{
    if (text == NULL) {
        return SCRIPTED_CLOSE;
    }
    buffer_append_string(out, text);
    return SCRIPTED_ANSWER;
}

static enum scripted_verdict play_transaction(struct script *script, const struct cohort_reply *request,
                                              struct buffer *out)
{
    if (scripted_is(request, "TXN.BEGIN")) {
        atomic_fetch_add(&script->begins, 1);
        return say(out, "+id\r\n");
    }
    if (scripted_is(request, "TXN.COMMIT")) {
        atomic_fetch_add(&script->commits, 1);
        return say(out, script->commit);
    }
    if (scripted_is(request, "TXN.STATUS")) {
        return say(out, atomic_fetch_add(&script->statuses, 1) == 0 ? script->status : script->status_later);
    }
    atomic_fetch_add(&script->rollbacks, 1);
    return say(out, script->rollback);
}

static enum scripted_verdict play(struct scripted_server *server, int connection, const struct cohort_reply *request,
                                  struct buffer *out)
{
    struct script *script = server->data;
    if (strncmp(scripted_word(request, 0), "TXN.", 4) == 0) {
        return play_transaction(script, request, out);
    }
    if (scripted_is(request, "MULTI")) {
        return say(out, "+OK\r\n");
    }
    if (scripted_is(request, "EXEC")) {
        return say(out, script->exec);
    }
    if (scripted_is(request, "SCRIPT")) {
        atomic_fetch_add(&script->loads, 1);
        return say(out, "$40\r\n0123456789012345678901234567890123456789\r\n");
    }
    if (scripted_is(request, "EVALSHA")) {
        atomic_fetch_add(&script->evalshas, 1);
        return say(out, script->knows_script ? ":1\r\n" : "-NOSCRIPT No matching script. Please use EVAL.\r\n");
    }
    if (scripted_is(request, "EVAL")) {
        atomic_fetch_add(&script->evals, 1);
        return say(out, ":2\r\n");
    }
    return script->cut_command ? SCRIPTED_CLOSE : say(out, script->queued == NULL ? "+QUEUED\r\n" : script->queued);
}

struct fixture {
    struct script script;
    struct scripted_server server;
    struct cohort *cohort;
};

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->server.answer = play;
    f->server.data = &f->script;
    scripted_start(&f->server);
    struct cohort_options options = {.timeout_ms = 20000};
    assert_int_equal(cohort_open(f->server.url, &options, &f->cohort, NULL), COHORT_OK);
}

static void teardown(struct fixture *f)
{
    cohort_close(f->cohort);
    scripted_stop(&f->server);
}

static const struct cohort_bytes incr[] = {{"INCR", 4}, {"key", 3}};

static void test_batch(void **state)
{
    struct fixture f;
    setup(&f);
    struct cohort_batch *batch;
    struct cohort_reply *reply;
    assert_int_equal(cohort_batch_create(&batch), COHORT_OK);
    assert_int_equal(cohort_batch_add(batch, 2, incr), COHORT_OK);
    assert_int_equal(cohort_batch_add(batch, 2, incr), COHORT_OK);
    f.script.exec = "*2\r\n:1\r\n:2\r\n";
    assert_int_equal(cohort_batch_run(f.cohort, batch, &reply), COHORT_OK);
    assert_int_equal(cohort_reply_integer(cohort_reply_at(reply, 1)), 2);
    cohort_reply_free(reply);
    f.script.queued = "-ERR wrong number of arguments\r\n";
    f.script.exec = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    assert_int_equal(cohort_batch_run(f.cohort, batch, &reply), COHORT_REFUSED);
    assert_string_equal(cohort_reply_text(reply), "ERR wrong number of arguments");
    cohort_reply_free(reply);
    f.script.queued = NULL;
    f.script.exec = NULL;
    assert_int_equal(cohort_batch_run(f.cohort, batch, NULL), COHORT_UNCERTAIN);
    cohort_batch_free(batch);
    teardown(&f);
}

/* What is executed has all that was asked of it: nothing is sent. */
static void test_batch_with_a_refused_command(void **state)
{
    struct fixture f;
    setup(&f);
    const struct cohort_bytes watch[] = {cohort_text("WATCH"), cohort_text("key")};
    for (int full = 0; full < 2; full++) {
        struct cohort_batch *batch;
        struct cohort_reply *reply;
        assert_int_equal(cohort_batch_create(&batch), COHORT_OK);
        for (int i = 0; i < (full ? 65536 : 1); i++) {
            assert_int_equal(cohort_batch_add(batch, 2, incr), COHORT_OK);
        }
        assert_int_equal(cohort_batch_add(batch, 2, full ? incr : watch), full ? COHORT_FULL : COHORT_INVALID);
        (void)cohort_batch_add(batch, 2, incr); /* does not mend it */
        assert_int_equal(cohort_batch_run(f.cohort, batch, &reply), COHORT_TXNABORT);
        assert_string_equal(
            cohort_reply_text(reply),
            "a command was refused when it was added to the batch, so none of it is executed; make it anew");
        cohort_reply_free(reply);
        assert_int_equal(cohort_batch_run_start(f.cohort, batch, NULL, NULL), COHORT_TXNABORT);
        cohort_batch_free(batch);
    }
    assert_int_equal(atomic_load(&f.server.requests), 0);
    teardown(&f);
}

static void test_script(void **state)
{
    struct fixture f;
    setup(&f);
    struct cohort_script *script;
    struct cohort_reply *reply;
    assert_int_equal(cohort_script_create("return 1", 0, &script), COHORT_OK);
    assert_int_equal(cohort_script_run(f.cohort, script, 0, NULL, 0, NULL, &reply), COHORT_OK);
    assert_int_equal(cohort_reply_integer(reply), 2); /* the text had to be sent */
    cohort_reply_free(reply);
    f.script.knows_script = true;
    assert_int_equal(cohort_script_run(f.cohort, script, 0, NULL, 0, NULL, NULL), COHORT_OK);
    assert_int_equal(atomic_load(&f.script.loads), 1);
    assert_int_equal(atomic_load(&f.script.evalshas), 2);
    assert_int_equal(atomic_load(&f.script.evals), 1);
    cohort_script_free(script);
    teardown(&f);
}

/* Begins one, commits it, and says how that ended. */
static enum cohort_status commit(struct fixture *f)
{
    struct cohort_txn *txn;
    assert_int_equal(cohort_txn_begin(f->cohort, NULL, &txn, NULL), COHORT_OK);
    enum cohort_status status = cohort_txn_command(txn, 2, incr, NULL);
    assert_int_equal(status, f->script.cut_command ? COHORT_TXNABORT : COHORT_OK);
    status = cohort_txn_commit(txn, NULL);
    cohort_txn_free(txn);
    return status;
}

#define MAP(state, outcome) "%2\r\n+state\r\n+" state "\r\n+outcome\r\n+" outcome "\r\n"

static void test_commit(void **state)
{
    struct fixture f;
    setup(&f);
    f.script.commit = "+OK\r\n";
    assert_int_equal(commit(&f), COHORT_OK);
    f.script.commit = "-TXNABORT keys are held\r\n";
    assert_int_equal(commit(&f), COHORT_TXNABORT);
    assert_int_equal(atomic_load(&f.server.accepted), 1); /* the connection was as new */
    f.script.cut_command = true;
    assert_int_equal(commit(&f), COHORT_TXNABORT);
    assert_int_equal(atomic_load(&f.script.commits), 2); /* not sent for one that is rolled back */
    assert_int_equal(atomic_load(&f.script.statuses), 0);
    teardown(&f);
}

static void restart(struct fixture *f)
{
    scripted_stop(&f->server);
    scripted_wait_until_heard(&f->server);
    scripted_start_again(&f->server);
}

/* A transaction's own connection that ended while nothing was under way: nothing of it is sent, and so nobody needs to
 * be asked what became of it. One that is kept for the next transaction is noticed, too. */
static void test_connection_ended_between_commands(void **state)
{
    struct fixture f;
    setup(&f);
    struct cohort_txn *txn;
    f.script.commit = "+OK\r\n";
    assert_int_equal(cohort_txn_begin(f.cohort, NULL, &txn, NULL), COHORT_OK);
    assert_int_equal(cohort_txn_command(txn, 2, incr, NULL), COHORT_OK);
    restart(&f);
    assert_int_equal(cohort_txn_commit(txn, NULL), COHORT_TXNABORT);
    cohort_txn_free(txn);
    assert_int_equal(atomic_load(&f.script.commits), 0);
    assert_int_equal(atomic_load(&f.script.statuses), 0);
    for (int round = 1; round <= 3; round++) {
        assert_int_equal(commit(&f), COHORT_OK);
        assert_int_equal(atomic_load(&f.script.begins), 1 + round);
        restart(&f);
    }
    teardown(&f);
}

static void test_commit_whose_answer_is_lost(void **state)
{
    static const struct {
        const char *status;
        const char *status_later;
        const char *rollback;
        enum cohort_status outcome;
        int rollbacks;
    } cases[] = {
        {MAP("COMMIT", ""), NULL, NULL, COHORT_OK, 0},
        {MAP("DONE", "COMMIT"), NULL, NULL, COHORT_OK, 0},
        {MAP("DONE", "ABORT"), NULL, NULL, COHORT_TXNABORT, 0},
        {MAP("BEGUN", ""), NULL, "+OK\r\n", COHORT_TXNABORT, 1},
        {"_\r\n", NULL, "+OK\r\n", COHORT_TXNABORT, 1},
        {MAP("OPEN", ""), MAP("COMMIT", ""), "-ERR it is committed\r\n", COHORT_OK, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        setup(&f);
        f.script.status = cases[i].status;
        f.script.status_later = cases[i].status_later;
        f.script.rollback = cases[i].rollback;
        assert_int_equal(commit(&f), cases[i].outcome);
        assert_int_equal(atomic_load(&f.script.commits), 1);
        assert_int_equal(atomic_load(&f.script.rollbacks), cases[i].rollbacks);
        teardown(&f);
    }
}

static void test_rollback_and_status(void **state)
{
    struct fixture f;
    setup(&f);
    struct cohort_txn *txn;
    f.script.rollback = "+OK\r\n";
    assert_int_equal(cohort_txn_begin(f.cohort, NULL, &txn, NULL), COHORT_OK);
    assert_int_equal(strlen(cohort_txn_id(txn)), 32);
    assert_int_equal(cohort_txn_rollback(txn, NULL), COHORT_OK);
    cohort_txn_free(txn);
    f.script.status = MAP("BEGUN", "");
    f.script.status_later = MAP("DONE", "COMMIT");
    assert_int_equal(cohort_txn_status(f.cohort, "id", NULL), COHORT_BUSY);
    assert_int_equal(cohort_txn_status(f.cohort, "id", NULL), COHORT_OK);
    struct cohort_txn_options options = {.id = ""};
    assert_int_equal(cohort_txn_begin(f.cohort, &options, &txn, NULL), COHORT_INVALID);
    teardown(&f);
}

static void test_connections_are_bounded(void **state)
{
    struct fixture f;
    setup(&f);
    cohort_close(f.cohort);
    struct cohort_options options = {.timeout_ms = 300, .connections_max = 2};
    assert_int_equal(cohort_open(f.server.url, &options, &f.cohort, NULL), COHORT_OK);
    struct cohort_txn *txns[3];
    f.script.rollback = "+OK\r\n";
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cohort_txn_begin(f.cohort, NULL, &txns[i], NULL), COHORT_OK);
    }
    assert_int_equal(cohort_txn_begin(f.cohort, NULL, &txns[2], NULL), COHORT_FULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cohort_txn_rollback(txns[i], NULL), COHORT_OK);
        cohort_txn_free(txns[i]);
    }
    assert_int_equal(cohort_txn_begin(f.cohort, NULL, &txns[2], NULL), COHORT_OK);
    cohort_txn_free(txns[2]);
    teardown(&f);
}

/* What commits has all that was asked of it. */
static void test_a_refused_command_ends_its_transaction(void **state)
{
    struct fixture f;
    setup(&f);
    cohort_close(f.cohort);
    struct cohort_options options = {.request_bytes_max = 4096};
    assert_int_equal(cohort_open(f.server.url, &options, &f.cohort, NULL), COHORT_OK);
    f.script.commit = "+OK\r\n";
    static char large[8192];
    const struct cohort_bytes argv[] = {cohort_text("SET"), cohort_text("key"), cohort_bytes_of(large, sizeof(large))};
    const struct cohort_bytes watch[] = {cohort_text("WATCH"), cohort_text("key")};
    for (int round = 0; round < 3; round++) {
        struct cohort_txn *txn;
        struct cohort_reply *reply;
        assert_int_equal(cohort_txn_begin(f.cohort, NULL, &txn, NULL), COHORT_OK);
        if (round == 0) {
            assert_int_equal(cohort_txn_command(txn, 3, argv, NULL), COHORT_FULL);
        } else if (round == 1) {
            assert_int_equal(cohort_txn_command_start(txn, 3, argv, NULL, NULL), COHORT_FULL);
            assert_int_equal(cohort_txn_command_start(txn, 2, argv, NULL, NULL), COHORT_TXNABORT);
            assert_int_equal(cohort_txn_commit_start(txn, NULL, NULL), COHORT_TXNABORT);
        } else {
            assert_int_equal(cohort_txn_command(txn, 2, watch, NULL), COHORT_INVALID);
        }
        assert_int_equal(cohort_txn_command(txn, 2, argv, NULL), COHORT_TXNABORT);
        assert_int_equal(cohort_txn_commit(txn, &reply), COHORT_TXNABORT);
        assert_string_equal(
            cohort_reply_text(reply),
            "a command of the transaction was refused by this handle, and so all of it; begin it again");
        cohort_reply_free(reply);
        assert_int_equal(cohort_txn_rollback(txn, NULL), COHORT_OK);
        cohort_txn_free(txn);
    }
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_batch_with_a_refused_command),
        cmocka_unit_test(test_script),
        cmocka_unit_test(test_commit),
        cmocka_unit_test(test_connection_ended_between_commands),
        cmocka_unit_test(test_commit_whose_answer_is_lost),
        cmocka_unit_test(test_rollback_and_status),
        cmocka_unit_test(test_connections_are_bounded),
        cmocka_unit_test(test_a_refused_command_ends_its_transaction),
    };
    return cmocka_run_group_tests_name("client_transaction", tests, NULL, NULL);
}
