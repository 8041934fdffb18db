/* A child has its parent's handle: every call is refused there, and the parent notices nothing. */
#include "scripted_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { TTL_MS = 900, CHILD_FAILED = 3, ATTEMPTS = 10 };

/* Every lock is granted, and everything else is fine. */
struct play {
    atomic_int renewals;
};

static enum scripted_verdict play(struct scripted_server *server, int connection, const struct cohort_reply *request,
                                  struct buffer *out)
{
    struct play *play = server->data;
    if (scripted_is(request, "LOCK.ACQUIRE")) {
        buffer_append_format(out, "*2\r\n:1\r\n:%s\r\n", scripted_word(request, 4));
    } else if (scripted_is(request, "LOCK.RENEW")) {
        atomic_fetch_add(&play->renewals, 1);
        buffer_append_format(out, ":%s\r\n", scripted_word(request, 5));
    } else if (scripted_is(request, "LOCK.RELEASE")) {
        buffer_append_string(out, ":1\r\n");
    } else if (scripted_is(request, "SESSION.OPEN")) {
        buffer_append_string(out, "$3\r\n1-1\r\n");
    } else if (scripted_is(request, "SESSION.KEEPALIVE")) {
        buffer_append_string(out, ":60000\r\n");
    } else {
        buffer_append_string(out, "$2\r\nme\r\n");
    }
    return SCRIPTED_ANSWER;
}

struct fixture {
    struct play play;
    struct scripted_server server;
    struct cohort *cohort;
    struct cohort_lock *lock;
    struct cohort_session *session;
    struct cohort_keeper *keeper;
    atomic_int losses;
};

static void lost(void *data, struct cohort_lock *lock, enum cohort_status why)
{
    struct fixture *f = data;
    (void)lock;
    (void)why;
    atomic_fetch_add(&f->losses, 1);
}

static void called(void *data, enum cohort_status status, const struct cohort_reply *reply)
{
    (void)status;
    (void)reply;
    ++*(int *)data;
}

static void setup(struct fixture *f, unsigned keeper_flags)
{
    memset(f, 0, sizeof(*f));
    f->server.answer = play;
    f->server.data = &f->play;
    scripted_start(&f->server);
    struct cohort_options options = {.timeout_ms = 60000};
    assert_int_equal(cohort_open(f->server.url, &options, &f->cohort, NULL), COHORT_OK);
    struct cohort_lock_options how = {.ttl_ms = TTL_MS};
    assert_int_equal(cohort_lock_acquire(f->cohort, cohort_text("door"), &how, &f->lock, NULL), COHORT_OK);
    assert_int_equal(cohort_session_open(f->cohort, 60000, &f->session, NULL), COHORT_OK);
    assert_int_equal(cohort_keeper_start(f->lock, keeper_flags, lost, f, &f->keeper), COHORT_OK);
}

static void teardown(struct fixture *f)
{
    cohort_keeper_stop(f->keeper);
    cohort_lock_free(f->lock);
    cohort_session_free(f->session);
    cohort_close(f->cohort);
    scripted_stop(&f->server);
}

/* In the child: what is wrong ends it with the line's number on standard error. */
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            (void)fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                              \
            _exit(CHILD_FAILED);                                                                                       \
        }                                                                                                              \
    } while (0)

static void child_is_refused(struct fixture *f)
{
    struct cohort_reply *reply = NULL;
    struct cohort_lock *lock = NULL;
    struct cohort_txn *txn = NULL;
    struct cohort_feed *feed = NULL;
    struct cohort_keeper *keeper = NULL;
    struct cohort_lock_options how = {.ttl_ms = TTL_MS};
    int calls = 0;
    CHECK(cohort_get(f->cohort, cohort_text("key"), &reply) == COHORT_INVALID);
    CHECK(strstr(cohort_reply_text(reply), "before a fork") != NULL);
    cohort_reply_free(reply);
    CHECK(cohort_get_start(f->cohort, cohort_text("key"), called, &calls) == COHORT_INVALID);
    CHECK(cohort_lock_acquire(f->cohort, cohort_text("other"), &how, &lock, NULL) == COHORT_INVALID && lock == NULL);
    CHECK(cohort_txn_begin(f->cohort, NULL, &txn, NULL) == COHORT_INVALID && txn == NULL);
    CHECK(cohort_feed_open(f->cohort, cohort_text(""), NULL, &feed, NULL) == COHORT_INVALID && feed == NULL);
    CHECK(cohort_lock_valid_until(f->lock) == 0);
    CHECK(cohort_session_valid_until(f->session) == 0);
    CHECK(cohort_lock_renew(f->lock, NULL) == COHORT_INVALID);
    CHECK(cohort_lock_release(f->lock, NULL) == COHORT_INVALID);
    CHECK(cohort_session_keepalive(f->session, NULL) == COHORT_INVALID);
    CHECK(cohort_session_close(f->session, NULL) == COHORT_INVALID);
    CHECK(cohort_keeper_start(f->lock, 0, lost, f, &keeper) == COHORT_INVALID && keeper == NULL);
    CHECK(cohort_timeout(f->cohort) == -1);
    cohort_process(f->cohort);
    CHECK(calls == 0);
}

/* … and has a handle of its own, through which it can be told the same. */
static void child_has_its_own(struct fixture *f)
{
    struct cohort *own = NULL;
    struct cohort_lock *lock = NULL;
    struct cohort_lock_options how = {.ttl_ms = 60000};
    cohort_keeper_stop(f->keeper);
    cohort_lock_free(f->lock);
    cohort_session_free(f->session);
    cohort_close(f->cohort);
    CHECK(cohort_open(f->server.url, NULL, &own, NULL) == COHORT_OK);
    CHECK(cohort_get(own, cohort_text("key"), NULL) == COHORT_OK);
    CHECK(cohort_lock_acquire(own, cohort_text("mine"), &how, &lock, NULL) == COHORT_OK);
    CHECK(cohort_lock_valid_until(lock) > 0);
    CHECK(cohort_lock_release(lock, NULL) == COHORT_OK);
    cohort_lock_free(lock);
    cohort_close(own);
}

static void run_child(struct fixture *f)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        child_is_refused(f);
        child_has_its_own(f);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* False: this process stood still for longer than the time to live, which tells nothing. */
static bool is_kept(struct fixture *f)
{
    bool kept = atomic_load(&f->losses) == 0;
    assert_true(!kept || cohort_lock_valid_until(f->lock) > 0);
    teardown(f);
    return kept;
}

static bool keeps_with_a_thread(void)
{
    struct fixture f;
    setup(&f, 0);
    run_child(&f);
    run_child(&f);
    int renewals = atomic_load(&f.play.renewals);
    while (atomic_load(&f.play.renewals) < renewals + 3 && atomic_load(&f.losses) == 0) {
        usleep(1000);
    }
    assert_int_equal(cohort_get(f.cohort, cohort_text("key"), NULL), COHORT_OK);
    assert_int_equal(atomic_load(&f.server.accepted), 3); /* the parent's, and one of each child */
    return is_kept(&f);
}

/* What was under way at the fork is answered to the parent, and to it alone. */
static bool keeps_on_the_loop(void)
{
    struct fixture f;
    setup(&f, COHORT_KEEPER_ON_LOOP);
    int calls = 0;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(cohort_get_start(f.cohort, cohort_text("key"), called, &calls), COHORT_OK);
        if (i == 50) {
            cohort_process(f.cohort);
            run_child(&f);
        }
    }
    int renewals = atomic_load(&f.play.renewals);
    while (calls < 100 || (atomic_load(&f.play.renewals) < renewals + 2 && atomic_load(&f.losses) == 0)) {
        cohort_process(f.cohort);
        usleep(1000);
    }
    assert_int_equal(calls, 100);
    return is_kept(&f);
}

static void test_with_a_thread(void **state)
{
    (void)state;
    for (int i = 0; !keeps_with_a_thread(); i++) {
        assert_true(i < ATTEMPTS);
    }
}

static void test_on_the_loop(void **state)
{
    (void)state;
    for (int i = 0; !keeps_on_the_loop(); i++) {
        assert_true(i < ATTEMPTS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_with_a_thread), cmocka_unit_test(test_on_the_loop)};
    return cmocka_run_group_tests_name("client_fork", tests, NULL, NULL);
}
