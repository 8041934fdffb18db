/* Locks and keepers against a scripted server. */
#include "base/assert.h"
#include "client/handle.h"
#include "scripted_server.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* One lock. */
struct table {
    atomic_int held; /* its token; 0: free */
    atomic_int next; /* the last token */
    atomic_int renewals;
    atomic_int released;
    atomic_bool busy;   /* somebody else holds it */
    atomic_int wait_ms; /* a grant takes so long */
    atomic_bool lost;   /* it was taken away */
    atomic_bool silent;
    atomic_bool cut_release;
    char owner[64]; /* who asked last */
};

static enum scripted_verdict play(struct scripted_server *server, int connection, const struct cohort_reply *request,
                                  struct buffer *out)
{
    struct table *table = server->data;
    if (atomic_load(&table->silent)) {
        return SCRIPTED_STOP;
    }
    if (scripted_is(request, "LOCK.ACQUIRE")) {
        if (atomic_load(&table->busy)) {
            buffer_append_string(out, "_\r\n");
            return SCRIPTED_ANSWER;
        }
        usleep((useconds_t)atomic_load(&table->wait_ms) * 1000);
        (void)snprintf(table->owner, sizeof(table->owner), "%s", scripted_word(request, 2));
        int token = atomic_fetch_add(&table->next, 1) + 1;
        atomic_store(&table->held, token);
        buffer_append_format(out, "*2\r\n:%d\r\n:%s\r\n", token, scripted_word(request, 4));
    } else if (scripted_is(request, "LOCK.RENEW")) {
        atomic_fetch_add(&table->renewals, 1);
        bool holds = atoi(scripted_word(request, 3)) == atomic_load(&table->held) && !atomic_load(&table->lost);
        buffer_append_format(out, holds ? ":%s\r\n" : "-LOCKLOST %s\r\n", scripted_word(request, 5));
    } else if (scripted_is(request, "LOCK.RELEASE")) {
        bool holds = atoi(scripted_word(request, 3)) == atomic_load(&table->held) && !atomic_load(&table->lost);
        atomic_store(&table->held, 0);
        atomic_fetch_add(&table->released, holds);
        if (atomic_exchange(&table->cut_release, false)) {
            return SCRIPTED_CLOSE;
        }
        buffer_append_format(out, ":%d\r\n", holds);
    } else if (scripted_is(request, "SESSION.OPEN")) {
        buffer_append_string(out, "$3\r\n1-1\r\n");
    } else if (scripted_is(request, "GET")) { /* the key is the token that is lost */
        buffer_append_format(out, ">4\r\n$9\r\nlock-lost\r\n$4\r\ndoor\r\n$%zu\r\n%s\r\n:%s\r\n_\r\n",
                             strlen(table->owner), table->owner, scripted_word(request, 1));
    } else {
        buffer_append_string(out, "-ERR unknown command\r\n");
    }
    return SCRIPTED_ANSWER;
}

struct fixture {
    struct table table;
    struct scripted_server server;
    struct cohort *cohort;
    struct cohort_lock *lock;
};

static void setup(struct fixture *f, int64_t ttl_ms)
{
    memset(f, 0, sizeof(*f));
    f->server.answer = play;
    f->server.data = &f->table;
    scripted_start(&f->server);
    struct cohort_options options = {.timeout_ms = 20000};
    assert_int_equal(cohort_open(f->server.url, &options, &f->cohort, NULL), COHORT_OK);
    if (ttl_ms > 0) {
        struct cohort_lock_options how = {.ttl_ms = ttl_ms};
        assert_int_equal(cohort_lock_acquire(f->cohort, cohort_text("door"), &how, &f->lock, NULL), COHORT_OK);
    }
}

static void teardown(struct fixture *f)
{
    cohort_lock_free(f->lock);
    cohort_close(f->cohort);
    scripted_stop(&f->server);
}

static void test_acquire(void **state)
{
    struct fixture f;
    int64_t before_ns = handle_boottime_ns();
    setup(&f, 10000);
    int64_t after_ns = handle_boottime_ns();
    assert_int_equal(cohort_lock_token(f.lock), 1);
    int64_t less_ns = (2 + 10000 / 500) * (int64_t)1000000;
    int64_t until_ns = cohort_lock_valid_until(f.lock);
    assert_true(until_ns >= before_ns + 10000000000 - less_ns && until_ns <= after_ns + 10000000000 - less_ns);
    assert_int_equal(cohort_lock_renew(f.lock, NULL), COHORT_OK);
    assert_true(cohort_lock_valid_until(f.lock) > until_ns);
    assert_int_equal(cohort_lock_release(f.lock, NULL), COHORT_OK);
    assert_int_equal(cohort_lock_valid_until(f.lock), 0);
    assert_int_equal(cohort_lock_release(f.lock, NULL), COHORT_LOCKLOST);
    assert_int_equal(cohort_lock_renew(f.lock, NULL), COHORT_LOCKLOST);
    teardown(&f);
}

static void check_refused(struct cohort *cohort, const struct cohort_lock_options *how, const char *said)
{
    struct cohort_reply *reply;
    struct cohort_lock *lock = NULL;
    assert_int_equal(cohort_lock_acquire(cohort, cohort_text("door"), how, &lock, &reply), COHORT_INVALID);
    assert_null(lock);
    assert_non_null(strstr(cohort_reply_text(reply), said));
    cohort_reply_free(reply);
}

/* What a program may get wrong is told in words, and nothing is asked. */
static void test_arguments(void **state)
{
    struct fixture f;
    setup(&f, 0);
    const struct {
        struct cohort_lock_options how;
        const char *said;
    } wrong[] = {
        {{0}, "ttl_ms must be from 100 ms"},
        {{.ttl_ms = -1}, "ttl_ms must be from 100 ms"},
        {{.ttl_ms = INT64_MAX}, "ttl_ms must be from 100 ms"},
        {{.ttl_ms = 1000, .wait_ms = -1}, "wait_ms must be from 0"},
        {{.ttl_ms = 1000, .mode = COHORT_LOCK_PERMITS}, "permits must be from 1 to limit"},
        {{.ttl_ms = 1000, .mode = COHORT_LOCK_PERMITS, .limit = 3}, "permits must be from 1 to limit"},
        {{.ttl_ms = 1000, .mode = COHORT_LOCK_PERMITS, .permits = 3, .limit = 2}, "permits must be from 1 to limit"},
        {{.ttl_ms = 1000, .permits = 1, .limit = 2}, "permits and limit are of the mode"},
        {{.ttl_ms = 1000, .mode = COHORT_LOCK_SHARED, .limit = 2}, "permits and limit are of the mode"},
        {{.ttl_ms = 1000, .owner = cohort_text("")}, "the owner is empty"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        check_refused(f.cohort, &wrong[i].how, wrong[i].said);
    }
    check_refused(f.cohort, NULL, "ttl_ms must be from 100 ms");
    assert_int_equal(atomic_load(&f.server.requests), 0);
    teardown(&f);
}

/* A session that another handle has is another server's, as far as is known here. */
static void test_session_of_another_handle(void **state)
{
    struct fixture f;
    setup(&f, 0);
    struct cohort *other;
    struct cohort_session *session;
    assert_int_equal(cohort_open(f.server.url, NULL, &other, NULL), COHORT_OK);
    assert_int_equal(cohort_session_open(other, 10000, &session, NULL), COHORT_OK);
    struct cohort_lock_options how = {.session = session};
    check_refused(f.cohort, &how, "the session is of another handle");
    cohort_session_free(session);
    cohort_close(other);
    teardown(&f);
}

/* As when a program takes a length that says "failed" for one: nothing is read, or written, beyond what is there. */
static void test_sizes_that_cannot_be(void **state)
{
    struct fixture f;
    setup(&f, 0);
    struct cohort_lock *lock = NULL;
    struct cohort_bytes none = cohort_bytes_of("x", SIZE_MAX);
    struct cohort_lock_options how = {.ttl_ms = 1000};
    assert_int_equal(cohort_lock_acquire(f.cohort, none, &how, &lock, NULL), COHORT_NOMEM);
    how.owner = none;
    assert_int_equal(cohort_lock_acquire(f.cohort, cohort_text("door"), &how, &lock, NULL), COHORT_NOMEM);
    how.owner = cohort_bytes_of(NULL, 0);
    how.note = none;
    assert_int_equal(cohort_lock_acquire(f.cohort, cohort_text("door"), &how, &lock, NULL), COHORT_NOMEM);
    assert_int_equal(cohort_set(f.cohort, cohort_text("key"), none, NULL, NULL), COHORT_NOMEM);
    assert_int_equal(cohort_get(f.cohort, none, NULL), COHORT_NOMEM);
    assert_int_equal(atomic_load(&f.server.requests), 0);
    teardown(&f);
}

static void test_not_granted(void **state)
{
    struct fixture f;
    setup(&f, 0);
    atomic_store(&f.table.busy, true);
    struct cohort_lock_options how = {.ttl_ms = 1000};
    assert_int_equal(cohort_lock_acquire(f.cohort, cohort_text("door"), &how, &f.lock, NULL), COHORT_NOT_GRANTED);
    assert_null(f.lock);
    how.mode = COHORT_LOCK_PERMITS + 1;
    assert_int_equal(cohort_lock_acquire(f.cohort, cohort_text("door"), &how, &f.lock, NULL), COHORT_INVALID);
    how.mode = COHORT_LOCK_EXCLUSIVE;
    how.wait_ms = INT64_MAX;
    assert_int_equal(cohort_lock_acquire(f.cohort, cohort_text("door"), &how, &f.lock, NULL), COHORT_INVALID);
    how.wait_ms = 0;
    how.ttl_ms = 5;
    struct cohort_reply *reply;
    assert_int_equal(cohort_lock_acquire(f.cohort, cohort_text("door"), &how, &f.lock, &reply), COHORT_INVALID);
    assert_string_equal(cohort_reply_text(reply), "ttl_ms must be from 100 ms to 24 hours");
    cohort_reply_free(reply);
    teardown(&f);
}

/* A wait longer than the time to live: the validity counts from a renewal that was sent after the grant. */
static void test_wait(void **state)
{
    struct fixture f;
    setup(&f, 0);
    atomic_store(&f.table.wait_ms, 400);
    struct cohort_lock_options how = {.ttl_ms = 300, .wait_ms = 5000};
    int64_t before_ns = handle_boottime_ns();
    assert_int_equal(cohort_lock_acquire(f.cohort, cohort_text("door"), &how, &f.lock, NULL), COHORT_OK);
    assert_int_equal(atomic_load(&f.table.renewals), 1);
    assert_true(cohort_lock_valid_until(f.lock) >= before_ns + (int64_t)(400 + 300 - 3) * 1000000);
    teardown(&f);
}

/* What a wait leaves behind is found to be closed when the next one wants it. */
static void test_wait_after_the_server_was_away(void **state)
{
    struct fixture f;
    setup(&f, 0);
    struct cohort_lock_options how = {.ttl_ms = 60000, .wait_ms = 60000};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cohort_lock_acquire(f.cohort, cohort_text("door"), &how, &f.lock, NULL), COHORT_OK);
        cohort_lock_free(f.lock);
        f.lock = NULL;
        scripted_stop(&f.server);
        scripted_start_again(&f.server);
    }
    teardown(&f);
}

static void test_release_whose_answer_is_lost(void **state)
{
    struct fixture f;
    setup(&f, 10000);
    atomic_store(&f.table.cut_release, true);
    assert_int_equal(cohort_lock_release(f.lock, NULL), COHORT_OK); /* 0 at the second attempt */
    assert_int_equal(atomic_load(&f.table.released), 1);
    teardown(&f);
}

/* ---- keepers ---- */

struct loss {
    atomic_int called;
    enum cohort_status why;
    int64_t at_ns;
    struct cohort_keeper *keeper; /* stopped from within */
};

static void lose(void *data, struct cohort_lock *lock, enum cohort_status why)
{
    struct loss *loss = data;
    loss->why = why;
    loss->at_ns = handle_boottime_ns();
    assert_int_equal(cohort_lock_valid_until(lock), 0);
    if (loss->keeper != NULL) {
        cohort_keeper_stop(loss->keeper);
    }
    atomic_fetch_add(&loss->called, 1);
}

static void pause_until(atomic_int *value, int wanted)
{
    for (int i = 0; atomic_load(value) < wanted && i < 60000; i++) {
        usleep(1000);
    }
    assert_true(atomic_load(value) >= wanted);
}

static void turn_until(struct cohort *cohort, atomic_int *value, int wanted)
{
    while (atomic_load(value) < wanted) {
        struct pollfd fd = {.fd = cohort_fd(cohort), .events = POLLIN};
        (void)poll(&fd, 1, cohort_timeout(cohort));
        cohort_process(cohort);
    }
}

static void test_keeper_thread(void **state)
{
    struct fixture f;
    setup(&f, 300);
    struct loss loss = {0};
    struct cohort_keeper *keeper;
    struct cohort_keeper *other;
    assert_int_equal(cohort_keeper_start(f.lock, 0, lose, &loss, &keeper), COHORT_OK);
    assert_int_equal(cohort_keeper_start(f.lock, 0, lose, &loss, &other), COHORT_INVALID);
    pause_until(&f.table.renewals, 3);
    if (atomic_load(&loss.called) == 0) { /* unless the machine stood still for so long */
        cohort_keeper_stop(keeper);
        int renewals = atomic_load(&f.table.renewals);
        assert_int_equal(cohort_lock_renew(f.lock, NULL), COHORT_OK);
        assert_true(atomic_load(&f.table.renewals) <= renewals + 2); /* one may have been on its way */
        assert_int_equal(atomic_load(&loss.called), 0);
    } else {
        cohort_keeper_stop(keeper);
    }
    teardown(&f);
}

static void test_keeper_loses(void **state)
{
    for (unsigned flags = 0; flags <= COHORT_KEEPER_ON_LOOP; flags++) {
        for (int within = 0; within < 2; within++) {
            struct fixture f;
            setup(&f, 300);
            struct loss loss = {0};
            struct cohort_keeper *keeper;
            atomic_store(&f.table.lost, true);
            handle_lock(f.cohort); /* so that loss.keeper is there when it is called */
            handle_unlock(f.cohort);
            assert_int_equal(cohort_keeper_start(f.lock, flags, lose, &loss, &keeper), COHORT_OK);
            if (flags != 0) {
                loss.keeper = within != 0 ? keeper : NULL;
                turn_until(f.cohort, &loss.called, 1);
            } else {
                within = 1;
                pause_until(&loss.called, 1);
            }
            assert_true(loss.why == COHORT_LOCKLOST || loss.why == COHORT_TIMEOUT);
            if (loss.keeper == NULL) {
                cohort_keeper_stop(keeper);
            }
            assert_int_equal(atomic_load(&loss.called), 1);
            teardown(&f);
        }
    }
}

/* Nobody answers: told when the validity is over, not before. */
static void test_keeper_hears_nothing(void **state)
{
    for (unsigned flags = 0; flags <= COHORT_KEEPER_ON_LOOP; flags++) {
        struct fixture f;
        setup(&f, 300);
        struct loss loss = {0};
        struct cohort_keeper *keeper;
        int64_t until_ns = cohort_lock_valid_until(f.lock);
        atomic_store(&f.table.silent, true);
        assert_int_equal(cohort_keeper_start(f.lock, flags, lose, &loss, &keeper), COHORT_OK);
        if (flags != 0) {
            turn_until(f.cohort, &loss.called, 1);
        } else {
            pause_until(&loss.called, 1);
        }
        assert_true(loss.at_ns >= until_ns);
        assert_int_not_equal(loss.why, COHORT_LOCKLOST);
        assert_int_not_equal(loss.why, COHORT_OK);
        cohort_keeper_stop(keeper);
        teardown(&f);
    }
}

/* Told by the server, long before a renewal would tell; of another token it is none of ours. */
static void test_keeper_is_told(void **state)
{
    for (unsigned flags = 0; flags <= COHORT_KEEPER_ON_LOOP; flags++) {
        struct fixture f;
        setup(&f, 3600 * 1000);
        struct loss loss = {0};
        struct cohort_keeper *keeper;
        assert_int_equal(cohort_keeper_start(f.lock, flags, lose, &loss, &keeper), COHORT_OK);
        assert_int_equal(cohort_get(f.cohort, cohort_text("7"), NULL), COHORT_NOTFOUND);
        assert_true(cohort_lock_valid_until(f.lock) > 0);
        assert_int_equal(cohort_get(f.cohort, cohort_text("1"), NULL), COHORT_NOTFOUND);
        assert_int_equal(cohort_lock_valid_until(f.lock), 0);
        if (flags != 0) {
            turn_until(f.cohort, &loss.called, 1);
        } else {
            pause_until(&loss.called, 1);
        }
        assert_int_equal(loss.why, COHORT_LOCKLOST);
        cohort_keeper_stop(keeper);
        teardown(&f);
    }
}

static void acquired(void *data, enum cohort_status status, struct cohort_lock *lock, const struct cohort_reply *reply)
{
    struct fixture *f = data;
    assert_int_equal(status, COHORT_OK);
    f->lock = lock;
    atomic_fetch_add(&f->table.released, 1);
}

static void test_on_the_loop(void **state)
{
    struct fixture f;
    setup(&f, 0);
    struct cohort_lock_options how = {.ttl_ms = 600, .wait_ms = 10000, .mode = COHORT_LOCK_SHARED};
    assert_int_equal(cohort_lock_acquire_start(f.cohort, cohort_text("door"), &how, acquired, &f), COHORT_OK);
    turn_until(f.cohort, &f.table.released, 1);
    struct cohort_keeper *keeper;
    struct loss loss = {0};
    assert_int_equal(cohort_keeper_start(f.lock, COHORT_KEEPER_ON_LOOP, lose, &loss, &keeper), COHORT_OK);
    int before = atomic_load(&f.table.renewals);
    while (atomic_load(&f.table.renewals) < before + 2 && atomic_load(&loss.called) == 0) {
        struct pollfd fd = {.fd = cohort_fd(f.cohort), .events = POLLIN};
        (void)poll(&fd, 1, cohort_timeout(f.cohort));
        cohort_process(f.cohort);
    }
    cohort_keeper_stop(keeper);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acquire),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_session_of_another_handle),
        cmocka_unit_test(test_sizes_that_cannot_be),
        cmocka_unit_test(test_not_granted),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_wait_after_the_server_was_away),
        cmocka_unit_test(test_release_whose_answer_is_lost),
        cmocka_unit_test(test_keeper_thread),
        cmocka_unit_test(test_keeper_loses),
        cmocka_unit_test(test_keeper_hears_nothing),
        cmocka_unit_test(test_keeper_is_told),
        cmocka_unit_test(test_on_the_loop),
    };
    return cmocka_run_group_tests_name("client_lock", tests, NULL, NULL);
}
