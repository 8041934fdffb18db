/* Nodes that cannot serve, though they are there: what a handle asks goes to others. */
#include "scripted_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROUNDS = 8 /* which node is first is random */ };

/* A node. */
struct play {
    const char *answer; /* to all, but what follows */
    atomic_bool silent;
    atomic_int acquires;
    int looks;      /* with so many EXISTS the one that waits is granted the lock */
    int connection; /* where it waits */
    char wait[32];  /* of the last LOCK.ACQUIRE; "": none came */
    const char *acquired;
    int waits_ms; /* so long before that; it is no answer, and the connection is closed, when `acquired` is NULL */
};

static enum scripted_verdict play(struct scripted_server *server, int connection, const struct cohort_reply *request,
                                  struct buffer *out)
{
    struct play *play = server->data;
    if (atomic_load(&play->silent)) {
        return SCRIPTED_STOP;
    }
    if (!scripted_is(request, "LOCK.ACQUIRE")) {
        if (scripted_is(request, "EXISTS") && --play->looks == 0) {
            static const char granted[] = "*2\r\n:7\r\n:86400000\r\n";
            (void)send(server->connections[play->connection].fd, granted, strlen(granted), MSG_NOSIGNAL);
        }
        buffer_append_string(out, play->answer);
        return SCRIPTED_ANSWER;
    }
    play->connection = connection;
    atomic_fetch_add(&play->acquires, 1);
    size_t last = cohort_reply_count(request) - 1;
    (void)snprintf(play->wait, sizeof(play->wait), "%s", scripted_word(request, last));
    usleep((useconds_t)play->waits_ms * 1000);
    if (play->acquired == NULL) {
        return SCRIPTED_CLOSE;
    }
    buffer_append_string(out, play->acquired);
    return SCRIPTED_ANSWER;
}

struct fixture {
    struct play plays[2];
    struct scripted_server servers[2];
    struct cohort *cohort;
};

static void setup(struct fixture *f, int64_t timeout_ms)
{
    char url[128];
    for (int i = 0; i < 2; i++) {
        f->servers[i] = (struct scripted_server){.answer = play, .data = &f->plays[i]};
        scripted_start(&f->servers[i]);
    }
    (void)snprintf(url, sizeof(url), "127.0.0.1:%d,127.0.0.1:%d", f->servers[0].port, f->servers[1].port);
    struct cohort_options options = {.timeout_ms = timeout_ms};
    assert_int_equal(cohort_open(url, &options, &f->cohort, NULL), COHORT_OK);
}

static void teardown(struct fixture *f)
{
    cohort_close(f->cohort);
    scripted_stop(&f->servers[0]);
    scripted_stop(&f->servers[1]);
}

/* A node that is cut off from the others answers, but cannot serve. */
static void test_a_node_that_cannot_serve(void **state)
{
    for (int round = 0; round < ROUNDS; round++) {
        struct fixture f = {
            .plays = {{.answer = "-CLUSTERDOWN nobody leads the shard\r\n"}, {.answer = "$2\r\nme\r\n"}}};
        setup(&f, 5000);
        assert_int_equal(cohort_get(f.cohort, cohort_text("key"), NULL), COHORT_OK);
        teardown(&f);
    }
}

/* When all of them cannot, it is told as they say it; unless its time ends while one of them is asked once more, which
 * a slow machine makes likely. */
static void test_no_node_can_serve(void **state)
{
    enum cohort_status status = COHORT_TIMEOUT;
    for (int round = 0; status == COHORT_TIMEOUT && round < ROUNDS; round++) {
        struct fixture f = {.plays = {{.answer = "-CLUSTERDOWN nobody leads the shard\r\n"},
                                      {.answer = "-CLUSTERDOWN nobody leads the shard\r\n"}}};
        setup(&f, 500 << round);
        struct cohort_reply *reply = NULL;
        status = cohort_get(f.cohort, cohort_text("key"), &reply);
        if (status != COHORT_TIMEOUT) {
            assert_string_equal(cohort_reply_text(reply), "CLUSTERDOWN nobody leads the shard");
            assert_true(atomic_load(&f.servers[0].requests) > 1 && atomic_load(&f.servers[1].requests) > 1);
        }
        cohort_reply_free(reply);
        teardown(&f);
    }
    assert_int_equal(status, COHORT_CLUSTERDOWN);
}

/* A wait that is asked for again, elsewhere, is only as long as what remains of it. */
static void test_the_rest_of_a_wait(void **state)
{
    for (int round = 0; round < ROUNDS; round++) {
        struct fixture f = {.plays = {{.waits_ms = 300, .answer = ""}, {.acquired = "_\r\n", .answer = ""}}};
        setup(&f, 20000);
        struct cohort_lock *lock = NULL;
        struct cohort_lock_options how = {.ttl_ms = 10000, .wait_ms = 100000, .note = cohort_text("why")};
        assert_int_equal(cohort_lock_acquire(f.cohort, cohort_text("door"), &how, &lock, NULL), COHORT_NOT_GRANTED);
        assert_null(lock);
        teardown(&f); /* the threads that write what follows have ended */
        bool first = f.plays[0].wait[0] != '\0';
        assert_true(!first || strcmp(f.plays[0].wait, "100000") == 0);
        assert_true(atoi(f.plays[1].wait) <= (first ? 99700 : 100000));
    }
}

/* Nothing else is asked behind a wait: it would have no answer in time, and the place in the queue would be lost. A
 * node that says that it can serve is waited at for as long as it takes. */
static void test_a_wait_has_its_connection_alone(void **state)
{
    struct fixture f = {.plays = {{.acquired = "", .answer = ":0\r\n", .looks = 2}}};
    struct cohort_options options = {.timeout_ms = 3000};
    setup(&f, 3000);
    cohort_close(f.cohort);
    assert_int_equal(cohort_open(f.servers[0].url, &options, &f.cohort, NULL), COHORT_OK);
    struct cohort_lock *lock = NULL;
    struct cohort_lock_options how = {.ttl_ms = 86400000, .wait_ms = 60000};
    assert_int_equal(cohort_lock_acquire(f.cohort, cohort_text("door"), &how, &lock, NULL), COHORT_OK);
    assert_int_equal(atomic_load(&f.plays[0].acquires), 1);
    cohort_lock_free(lock);
    teardown(&f);
}

/* A node that waits without an end, and cannot serve the shard any more, or nothing at all: the wait is asked for at
 * the other one. */
static void test_a_wait_at_a_node_that_cannot_serve(void **state)
{
    for (int round = 0; round < ROUNDS; round++) {
        struct fixture f = {.plays = {{.acquired = "", .answer = round % 2 == 0 ? "-CLUSTERDOWN nobody leads\r\n" : ""},
                                      {.acquired = "*2\r\n:7\r\n:10000\r\n", .answer = ":10000\r\n"}}};
        setup(&f, 200);
        struct cohort_lock *lock = NULL;
        struct cohort_lock_options how = {.ttl_ms = 10000, .wait_ms = 1000000};
        assert_int_equal(cohort_lock_acquire(f.cohort, cohort_text("door"), &how, &lock, NULL), COHORT_OK);
        assert_int_equal(cohort_lock_token(lock), 7);
        cohort_lock_free(lock);
        teardown(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_node_that_cannot_serve),
        cmocka_unit_test(test_no_node_can_serve),
        cmocka_unit_test(test_the_rest_of_a_wait),
        cmocka_unit_test(test_a_wait_has_its_connection_alone),
        cmocka_unit_test(test_a_wait_at_a_node_that_cannot_serve),
    };
    return cmocka_run_group_tests_name("client_elsewhere", tests, NULL, NULL);
}
