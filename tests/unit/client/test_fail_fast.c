/* COHORT_FAIL_FAST: who asks where nobody listens hears of it at once, and not when a node was there before, or comes.
 * The time limit is so long that waiting for it would show. */
#include "scripted_server.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

enum { TIMEOUT_MS = 600 * 1000, THREADS = 8 };

static struct cohort_bytes key(void) { return cohort_text("key"); }

static enum scripted_verdict answer_ok(struct scripted_server *server, int connection,
                                       const struct cohort_reply *request, struct buffer *out)
{
    buffer_append_string(out, "+OK\r\n");
    return SCRIPTED_ANSWER;
}

/* Two nodes; those that are not `there` have a port at which nobody listens. */
struct fixture {
    struct scripted_server servers[2];
    bool there[2];
    struct cohort *cohort;
};

static void setup(struct fixture *f, bool first, bool second, const char *host)
{
    char url[64];
    *f = (struct fixture){.there = {first, second}};
    for (int i = 0; i < 2; i++) {
        f->servers[i] = (struct scripted_server){.answer = answer_ok};
        scripted_start(&f->servers[i]);
        if (!f->there[i]) {
            scripted_stop(&f->servers[i]);
        }
    }
    (void)snprintf(url, sizeof(url), "%s:%d,127.0.0.1:%d", host, f->servers[0].port, f->servers[1].port);
    struct cohort_options options = {.size = sizeof(options), .flags = COHORT_FAIL_FAST, .timeout_ms = TIMEOUT_MS};
    assert_int_equal(cohort_open(url, &options, &f->cohort, NULL), COHORT_OK);
}

static void teardown(struct fixture *f)
{
    cohort_close(f->cohort);
    for (int i = 0; i < 2; i++) {
        if (f->there[i]) {
            scripted_stop(&f->servers[i]);
        }
    }
}

static void start_again(struct fixture *f, int which)
{
    scripted_start_again(&f->servers[which]);
    f->there[which] = true;
}

static void test_nobody_there(void **state)
{
    struct fixture f;
    setup(&f, false, false, "127.0.0.1");
    struct cohort_reply *reply;
    for (int i = 0; i < 3; i++) { /* each time all are tried again */
        assert_int_equal(cohort_set(f.cohort, key(), key(), NULL, &reply), COHORT_UNREACHABLE);
        assert_non_null(strstr(cohort_reply_text(reply), "no node can be reached: 127.0.0.1:"));
        assert_non_null(strstr(cohort_reply_text(reply), "connection refused"));
        cohort_reply_free(reply);
    }
    start_again(&f, 1);
    assert_int_equal(cohort_set(f.cohort, key(), key(), NULL, NULL), COHORT_OK);
    teardown(&f);
}

static void test_one_of_two_is_there(void **state)
{
    for (int i = 0; i < 8; i++) { /* which one is tried first is random */
        struct fixture f;
        setup(&f, i % 2 == 0, i % 2 != 0, i < 4 ? "127.0.0.1" : "localhost" /* which may have two addresses */);
        assert_int_equal(cohort_set(f.cohort, key(), key(), NULL, NULL), COHORT_OK);
        teardown(&f);
    }
}

static void test_no_such_host(void **state)
{
    struct fixture f;
    struct cohort_call call = {.timeout_ms = 2000}; /* the resolver may have nobody to ask */
    struct cohort_bytes argv[] = {cohort_text("GET"), key()};
    setup(&f, false, false, "nobody.invalid");
    assert_int_equal(cohort_command(f.cohort, 2, argv, &call, NULL), COHORT_UNREACHABLE);
    teardown(&f);
}

/* What was there comes back, as a rule. */
static void test_a_node_that_was_reached(void **state)
{
    struct fixture f;
    setup(&f, false, true, "127.0.0.1");
    assert_int_equal(cohort_set(f.cohort, key(), key(), NULL, NULL), COHORT_OK);
    scripted_stop(&f.servers[1]);
    scripted_wait_until_heard(&f.servers[1]);
    struct cohort_call call = {.timeout_ms = 300};
    struct cohort_bytes argv[] = {cohort_text("GET"), key()};
    assert_int_equal(cohort_command(f.cohort, 2, argv, &call, NULL), COHORT_UNREACHABLE);
    scripted_start_again(&f.servers[1]);
    assert_int_equal(cohort_set(f.cohort, key(), key(), NULL, NULL), COHORT_OK);
    teardown(&f);
}

/* ---- others who ask ---- */

static void note_lock(void *data, enum cohort_status status, struct cohort_lock *lock, const struct cohort_reply *reply)
{
    assert_null(lock);
    *(enum cohort_status *)data = status;
}

static void note(void *data, enum cohort_status status, const struct cohort_reply *reply)
{
    *(enum cohort_status *)data = status;
}

/* On a loop: one on the connection of all, one that has its own. */
static void test_on_a_loop(void **state)
{
    struct fixture f;
    setup(&f, false, false, "127.0.0.1");
    enum cohort_status got = COHORT_OK;
    enum cohort_status acquired = COHORT_OK;
    struct cohort_lock_options options = {.ttl_ms = 1000, .wait_ms = 1000};
    assert_int_equal(cohort_get_start(f.cohort, key(), note, &got), COHORT_OK);
    assert_int_equal(cohort_lock_acquire_start(f.cohort, key(), &options, note_lock, &acquired), COHORT_OK);
    while (got == COHORT_OK || acquired == COHORT_OK) {
        struct pollfd ready = {.fd = cohort_fd(f.cohort), .events = POLLIN};
        assert_true(poll(&ready, 1, cohort_timeout(f.cohort)) >= 0);
        cohort_process(f.cohort);
    }
    assert_int_equal(got, COHORT_UNREACHABLE);
    assert_int_equal(acquired, COHORT_UNREACHABLE);
    teardown(&f);
}

static void *get(void *cohort)
{
    assert_int_equal(cohort_get(cohort, key(), NULL), COHORT_UNREACHABLE);
    return NULL;
}

static void test_threads(void **state)
{
    struct fixture f;
    pthread_t threads[THREADS];
    setup(&f, false, false, "127.0.0.1");
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, get, f.cohort), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_there), cmocka_unit_test(test_one_of_two_is_there),
        cmocka_unit_test(test_no_such_host), cmocka_unit_test(test_a_node_that_was_reached),
        cmocka_unit_test(test_on_a_loop),    cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
