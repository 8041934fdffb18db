/* Keepers, and a caller's loop, beside other threads of the same handle. */
#include "scripted_server.h"

#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

/* One lock that is always granted. GET is answered when a test says so, ECHO never. */
struct play {
    atomic_int renewals;
    atomic_bool may_answer;
    atomic_bool lost;
};

static enum scripted_verdict play(struct scripted_server *server, int connection, const struct cohort_reply *request,
                                  struct buffer *out)
{
    struct play *play = server->data;
    if (scripted_is(request, "LOCK.ACQUIRE")) {
        buffer_append_format(out, "*2\r\n:1\r\n:%s\r\n", scripted_word(request, 4));
    } else if (scripted_is(request, "LOCK.RENEW")) {
        atomic_fetch_add(&play->renewals, 1);
        buffer_append_format(out, atomic_load(&play->lost) ? "-LOCKLOST %s\r\n" : ":%s\r\n", scripted_word(request, 5));
    } else if (scripted_is(request, "GET")) {
        while (!atomic_load(&play->may_answer)) {
            usleep(1000);
        }
        buffer_append_string(out, "$2\r\nme\r\n");
    } else {
        return SCRIPTED_STOP;
    }
    return SCRIPTED_ANSWER;
}

struct fixture {
    struct play play;
    struct scripted_server server;
    struct cohort *cohort;
    struct cohort_lock *lock;
};

static void setup(struct fixture *f, int64_t ttl_ms)
{
    memset(f, 0, sizeof(*f));
    f->server.answer = play;
    f->server.data = &f->play;
    scripted_start(&f->server);
    struct cohort_options options = {.timeout_ms = 60000};
    assert_int_equal(cohort_open(f->server.url, &options, &f->cohort, NULL), COHORT_OK);
    struct cohort_lock_options how = {.ttl_ms = ttl_ms};
    assert_int_equal(cohort_lock_acquire(f->cohort, cohort_text("door"), &how, &f->lock, NULL), COHORT_OK);
}

static void teardown(struct fixture *f)
{
    cohort_lock_free(f->lock);
    cohort_close(f->cohort);
    scripted_stop(&f->server);
}

static bool is_readable(struct cohort *cohort)
{
    struct pollfd fd = {.fd = cohort_fd(cohort), .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

static void *get(void *owner)
{
    struct fixture *f = owner;
    assert_int_equal(cohort_get(f->cohort, cohort_text("key"), NULL), COHORT_OK);
    return NULL;
}

/* While another thread waits for the descriptors, the loop need not wake by itself; when that thread has left, who
 * polls with the time-out of before has to be woken, or its timers are nobody's: a lock would not be kept. */
static void test_the_loop_takes_over(void **state)
{
    struct fixture f;
    setup(&f, 3600 * 1000);
    struct cohort_keeper *keeper;
    assert_int_equal(cohort_keeper_start(f.lock, COHORT_KEEPER_ON_LOOP, NULL, NULL, &keeper), COHORT_OK);
    cohort_process(f.cohort);
    assert_true(cohort_timeout(f.cohort) >= 0);
    int before = atomic_load(&f.server.requests);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, get, &f), 0);
    while (atomic_load(&f.server.requests) == before || cohort_timeout(f.cohort) != -1) {
        usleep(1000);
    }
    while (is_readable(f.cohort)) { /* nothing is left of what woke it before */
        cohort_process(f.cohort);
    }
    assert_int_equal(cohort_timeout(f.cohort), -1);
    atomic_store(&f.play.may_answer, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(is_readable(f.cohort));
    cohort_process(f.cohort);
    assert_true(cohort_timeout(f.cohort) >= 0);
    assert_false(is_readable(f.cohort));
    cohort_keeper_stop(keeper);
    teardown(&f);
}

/* Who only ever waits in calls is not woken for nothing. */
static void test_no_loop_is_woken(void **state)
{
    struct fixture f;
    setup(&f, 3600 * 1000);
    atomic_store(&f.play.may_answer, true);
    assert_int_equal(cohort_get(f.cohort, cohort_text("key"), NULL), COHORT_OK);
    cohort_process(f.cohort);
    assert_false(is_readable(f.cohort));
    assert_int_equal(cohort_get(f.cohort, cohort_text("key"), NULL), COHORT_OK);
    assert_false(is_readable(f.cohort));
    teardown(&f);
}

struct loss {
    sem_t started; /* `keeper` is there */
    sem_t stopped;
    struct cohort_keeper *keeper;
};

static void stop_within(void *data, struct cohort_lock *lock, enum cohort_status why)
{
    struct loss *loss = data;
    while (sem_wait(&loss->started) != 0) {
    }
    cohort_keeper_stop(loss->keeper);
    (void)sem_post(&loss->stopped);
    usleep(50000); /* the handle is being closed now */
}

/* A keeper with a thread of its own is stopped by its callback: nobody can join the thread, so closing waits for it. */
static void test_stopped_within_and_closed(void **state)
{
    struct fixture f;
    setup(&f, 300);
    struct loss loss = {0};
    (void)sem_init(&loss.started, 0, 0);
    (void)sem_init(&loss.stopped, 0, 0);
    atomic_store(&f.play.lost, true);
    assert_int_equal(cohort_keeper_start(f.lock, 0, stop_within, &loss, &loss.keeper), COHORT_OK);
    (void)sem_post(&loss.started);
    while (sem_wait(&loss.stopped) != 0) {
    }
    teardown(&f);
    (void)sem_destroy(&loss.started);
    (void)sem_destroy(&loss.stopped);
}

/* What was called, in its order. */
struct calls {
    char order[8];
    size_t count;
};

static void was_got(void *data, enum cohort_status status, const struct cohort_reply *reply)
{
    struct calls *calls = data;
    (void)reply;
    assert_int_equal(status, COHORT_OK);
    calls->order[calls->count++] = 'g';
}

static void was_lost(void *data, struct cohort_lock *lock, enum cohort_status why)
{
    struct calls *calls = data;
    (void)why;
    assert_int_equal(cohort_lock_valid_until(lock), 0);
    calls->order[calls->count++] = 'l';
}

static void *answer_when_lost(void *owner)
{
    struct fixture *f = owner;
    while (cohort_lock_valid_until(f->lock) != 0) {
        usleep(1000);
    }
    atomic_store(&f->play.may_answer, true);
    return NULL;
}

/* The program did nothing for longer than the time to live, as one that was stopped: the first call finds out, whatever
 * it is for; a server that knows of no other holder yet changes nothing of that; and the loss is told first, and once.
 */
static void test_after_a_stop_the_loss_comes_first(void **state)
{
    struct fixture f;
    struct calls calls = {{0}, 0};
    setup(&f, 300);
    struct cohort_keeper *keeper;
    assert_int_equal(cohort_keeper_start(f.lock, COHORT_KEEPER_ON_LOOP, was_lost, &calls, &keeper), COHORT_OK);
    int before = atomic_load(&f.server.requests);
    assert_int_equal(cohort_get_start(f.cohort, cohort_text("key"), was_got, &calls), COHORT_OK);
    while (atomic_load(&f.server.requests) == before && calls.count == 0) {
        cohort_process(f.cohort);
    }
    int64_t until_ns = cohort_lock_valid_until(f.lock);
    struct timespec now;
    do {
        usleep(10000);
        (void)clock_gettime(CLOCK_BOOTTIME, &now);
    } while ((int64_t)now.tv_sec * 1000000000 + now.tv_nsec <= until_ns);
    assert_int_equal(cohort_lock_valid_until(f.lock), until_ns); /* nobody has looked; the clock tells */
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, answer_when_lost, &f), 0);
    assert_int_equal(cohort_lock_renew(f.lock, NULL), COHORT_LOCKLOST);
    assert_int_equal(cohort_lock_valid_until(f.lock), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    while (calls.count < 2) {
        cohort_process(f.cohort);
    }
    for (int i = 0; i < 20; i++) {
        usleep(10000);
        cohort_process(f.cohort);
    }
    assert_string_equal(calls.order, "lg");
    assert_int_equal(cohort_lock_renew(f.lock, NULL), COHORT_LOCKLOST);
    assert_int_equal(cohort_lock_valid_until(f.lock), 0);
    cohort_keeper_stop(keeper);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_loop_takes_over),
        cmocka_unit_test(test_no_loop_is_woken),
        cmocka_unit_test(test_stopped_within_and_closed),
        cmocka_unit_test(test_after_a_stop_the_loss_comes_first),
    };
    return cmocka_run_group_tests_name("client_keeper", tests, NULL, NULL);
}
