/* External participants in libcohort, against a scripted server: what is sent, and what is made of the answers. */
#include "scripted_server.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { SAID_BYTES = 256 };

struct script {
    const char *answer;    /* to all but TXN.BEGIN */
    char said[SAID_BYTES]; /* of the last one of those, a space between words */
};

static enum scripted_verdict play(struct scripted_server *server, int connection, const struct cohort_reply *request,
                                  struct buffer *out)
{
    struct script *script = server->data;
    (void)connection;
    if (scripted_is(request, "TXN.BEGIN")) {
        buffer_append_string(out, "+id\r\n");
        return SCRIPTED_ANSWER;
    }
    size_t size = 0;
    for (size_t i = 0; i < cohort_reply_count(request) && size < SAID_BYTES; i++) {
        size += (size_t)snprintf(script->said + size, SAID_BYTES - size, "%s%s", i == 0 ? "" : " ",
                                 scripted_word(request, i));
    }
    buffer_append_string(out, script->answer);
    return SCRIPTED_ANSWER;
}

struct fixture {
    struct script script;
    struct scripted_server server;
    struct cohort *cohort;
};

static void setup_with(struct fixture *f, int64_t timeout_ms)
{
    memset(f, 0, sizeof(*f));
    f->server.answer = play;
    f->server.data = &f->script;
    scripted_start(&f->server);
    struct cohort_options options = {.timeout_ms = timeout_ms};
    assert_int_equal(cohort_open(f->server.url, &options, &f->cohort, NULL), COHORT_OK);
}

static void setup(struct fixture *f) { setup_with(f, 20000); }

static void teardown(struct fixture *f)
{
    cohort_close(f->cohort);
    scripted_stop(&f->server);
}

static void test_join(void **state)
{
    (void)state;
    struct fixture f;
    struct cohort_txn *txn;
    struct cohort_reply *reply;
    setup(&f);
    const struct cohort_txn_options options = {.size = sizeof(options), .id = "order"};
    assert_int_equal(cohort_txn_begin(f.cohort, &options, &txn, NULL), COHORT_OK);
    f.script.answer = "$4\r\nname\r\n";
    assert_int_equal(cohort_txn_join(txn, "db://host", "bank", NULL, &reply), COHORT_OK);
    assert_string_equal(cohort_reply_text(reply), "name");
    assert_string_equal(f.script.said, "TXN.JOIN order db://host bank");
    cohort_reply_free(reply);
    f.script.answer = "-ERR the URL of a resource is shown to others\r\n";
    assert_int_equal(cohort_txn_join(txn, "db://u:p@host", "bank", "77", NULL), COHORT_REFUSED);
    assert_string_equal(f.script.said, "TXN.JOIN order db://u:p@host bank EVIDENCE 77");
    f.script.answer = "-BUSY too many\r\n";
    assert_int_equal(cohort_txn_join(txn, "db://host", "shop", NULL, NULL), COHORT_BUSY);
    f.script.answer = "+OK\r\n"; /* it goes on without */
    assert_int_equal(cohort_txn_commit(txn, NULL), COHORT_OK);
    cohort_txn_free(txn);
    teardown(&f);
}

static void test_outcome(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        enum cohort_status status;
    } cases[] = {{"*2\r\n$6\r\nCOMMIT\r\n:0\r\n", COHORT_OK},
                 {"*2\r\n$5\r\nABORT\r\n:0\r\n", COHORT_TXNABORT},
                 {"*2\r\n$9\r\nFORGOTTEN\r\n:0\r\n", COHORT_NOTFOUND},
                 {"-ERR this is no name\r\n", COHORT_REFUSED}};
    struct fixture f;
    setup(&f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        f.script.answer = cases[i].answer;
        assert_int_equal(cohort_txn_outcome(f.cohort, "order", "name", NULL), cases[i].status);
        assert_string_equal(f.script.said, "TXN.OUTCOME order name");
    }
    teardown(&f);
}

/* It is asked until the time is over; a slow machine makes it likely that it is over while it is asked once more. */
static void test_outcome_that_is_open(void **state)
{
    (void)state;
    enum cohort_status status = COHORT_TIMEOUT;
    for (int64_t timeout_ms = 200; status == COHORT_TIMEOUT && timeout_ms < 60000; timeout_ms *= 2) {
        struct fixture f;
        struct cohort_reply *reply = NULL;
        setup_with(&f, timeout_ms);
        f.script.answer = "*2\r\n$4\r\nOPEN\r\n:70\r\n";
        status = cohort_txn_outcome(f.cohort, "order", NULL, &reply);
        if (status == COHORT_BUSY) {
            assert_string_equal(f.script.said, "TXN.OUTCOME order");
            assert_int_equal(cohort_reply_integer(cohort_reply_at(reply, 1)), 70);
        }
        cohort_reply_free(reply);
        teardown(&f);
    }
    assert_int_equal(status, COHORT_BUSY);
}

static void test_done_and_list(void **state)
{
    (void)state;
    struct fixture f;
    struct cohort_reply *reply;
    setup(&f);
    f.script.answer = ":1\r\n";
    assert_int_equal(cohort_txn_done(f.cohort, "order", "name", COHORT_BRANCH_COMMITTED, &reply), COHORT_OK);
    assert_int_equal(cohort_reply_integer(reply), 1);
    assert_string_equal(f.script.said, "TXN.DONE order name COMMITTED");
    cohort_reply_free(reply);
    assert_int_equal(cohort_txn_done(f.cohort, "order", "name", COHORT_BRANCH_ABANDONED, NULL), COHORT_OK);
    assert_string_equal(f.script.said, "TXN.DONE order name ABANDONED");
    f.script.answer = "*2\r\n$1\r\n0\r\n*0\r\n";
    assert_int_equal(cohort_txn_branches(f.cohort, NULL, NULL, &reply), COHORT_OK);
    assert_string_equal(f.script.said, "TXN.BRANCHES");
    cohort_reply_free(reply);
    assert_int_equal(cohort_txn_branches(f.cohort, "db://host", "7", NULL), COHORT_OK);
    assert_string_equal(f.script.said, "TXN.BRANCHES RESOURCE db://host CURSOR 7");
    teardown(&f);
}

struct told {
    int count;
    enum cohort_status last;
};

static void note(void *data, enum cohort_status status, const struct cohort_reply *reply)
{
    struct told *told = data;
    (void)reply;
    told->count++;
    told->last = status;
}

/* The same, by callback. */
static void test_callbacks(void **state)
{
    (void)state;
    struct fixture f;
    struct cohort_txn *txn;
    struct told told = {0};
    setup(&f);
    assert_int_equal(cohort_txn_begin(f.cohort, NULL, &txn, NULL), COHORT_OK);
    f.script.answer = "*2\r\n$5\r\nABORT\r\n:0\r\n";
    assert_int_equal(cohort_txn_join_start(txn, "db://host", "bank", NULL, note, &told), COHORT_OK);
    assert_int_equal(cohort_txn_done_start(f.cohort, "o", "n", COHORT_BRANCH_ABORTED, note, &told), COHORT_OK);
    assert_int_equal(cohort_txn_branches_start(f.cohort, "db://host", NULL, note, &told), COHORT_OK);
    assert_int_equal(cohort_txn_outcome_start(f.cohort, "o", "n", note, &told), COHORT_OK);
    for (int i = 0; i < 1000 && told.count < 4; i++) {
        struct pollfd poller = {.fd = cohort_fd(f.cohort), .events = POLLIN};
        (void)poll(&poller, 1, (int)cohort_timeout(f.cohort));
        cohort_process(f.cohort);
    }
    assert_int_equal(told.count, 4);
    cohort_txn_free(txn);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_outcome),
        cmocka_unit_test(test_outcome_that_is_open),
        cmocka_unit_test(test_done_and_list),
        cmocka_unit_test(test_callbacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
