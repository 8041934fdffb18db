/* A process that is refused memory while it acquires, keeps and releases a lock: at each allocation in turn, and all
 * the time while a renewal is due. What is refused is told or tried again; a lock is not lost for that. */
#include "refused_memory.h"
#include "scripted_server.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* What is left of a lease when it is told is a little more than two thirds: the first renewal is due soon. */
enum { TTL_MS = 24000, LEFT_MS = TTL_MS * 2 / 3 + 200, ALLOCATIONS = 200 };

struct play {
    atomic_int renewals;
};

static enum scripted_verdict play(struct scripted_server *server, int connection, const struct cohort_reply *request,
                                  struct buffer *out)
{
    struct play *play = server->data;
    if (scripted_is(request, "LOCK.ACQUIRE")) {
        buffer_append_format(out, "*2\r\n:1\r\n:%d\r\n", LEFT_MS);
    } else if (scripted_is(request, "LOCK.RENEW")) {
        atomic_fetch_add(&play->renewals, 1);
        buffer_append_format(out, ":%d\r\n", TTL_MS);
    } else {
        buffer_append_string(out, ":1\r\n");
    }
    return SCRIPTED_ANSWER;
}

static void start(struct scripted_server *server, struct play *play_, struct cohort **ret_cohort)
{
    *server = (struct scripted_server){.answer = play, .data = play_};
    scripted_start(server);
    struct cohort_options options = {.timeout_ms = 600};
    assert_int_equal(cohort_open(server->url, &options, ret_cohort, NULL), COHORT_OK);
}

static void lose(void *data, struct cohort_lock *lock, enum cohort_status why) { *(enum cohort_status *)data = why; }

static void turn(struct cohort *cohort)
{
    struct pollfd ready = {.fd = cohort_fd(cohort), .events = POLLIN};
    assert_true(poll(&ready, 1, cohort_timeout(cohort)) >= 0);
    cohort_process(cohort);
}

/* Renewals are tried again when there was no memory for one, not given up until the lease is over. */
static void test_no_memory_for_a_renewal(void **state)
{
    struct play said = {0};
    struct scripted_server server;
    struct cohort *cohort;
    struct cohort_lock *lock;
    struct cohort_keeper *keeper;
    enum cohort_status lost = COHORT_OK;
    start(&server, &said, &cohort);
    struct cohort_lock_options how = {.ttl_ms = TTL_MS};
    assert_int_equal(cohort_lock_acquire(cohort, cohort_text("door"), &how, &lock, NULL), COHORT_OK);
    assert_int_equal(cohort_keeper_start(lock, COHORT_KEEPER_ON_LOOP, lose, &lost, &keeper), COHORT_OK);
    refuse_memory(0, 1);
    while (lost == COHORT_OK && atomic_load(&said.renewals) == 0) {
        turn(cohort);
    }
    assert_true(refuse_memory_no_more());
    assert_int_equal(lost, COHORT_OK);
    cohort_keeper_stop(keeper);
    assert_int_equal(cohort_lock_release(lock, NULL), COHORT_OK);
    cohort_lock_free(lock);
    cohort_close(cohort);
    scripted_stop(&server);
}

static bool is_expected(enum cohort_status status)
{
    return status == COHORT_OK || status == COHORT_NOMEM || status == COHORT_TIMEOUT || status == COHORT_UNREACHABLE ||
           status == COHORT_UNCERTAIN;
}

/* True: some allocation was refused. */
static bool use(struct scripted_server *server, int first, int count)
{
    struct cohort *cohort;
    struct cohort_lock *lock = NULL;
    struct cohort_session *session = NULL;
    struct cohort_options options = {.timeout_ms = 600};
    assert_int_equal(cohort_open(server->url, &options, &cohort, NULL), COHORT_OK);
    refuse_memory(first, count);
    struct cohort_lock_options how = {.ttl_ms = TTL_MS, .note = cohort_text("a note")};
    enum cohort_status status = cohort_lock_acquire(cohort, cohort_text("door"), &how, &lock, NULL);
    assert_true(is_expected(status) && (status == COHORT_OK) == (lock != NULL));
    if (lock != NULL) {
        assert_true(is_expected(cohort_lock_renew(lock, NULL)));
        assert_true(cohort_lock_valid_until(lock) > 0); /* though the renewal may have been refused */
        assert_true(is_expected(cohort_lock_release(lock, NULL)));
        assert_int_equal(cohort_lock_valid_until(lock), 0);
    }
    status = cohort_session_open(cohort, TTL_MS, &session, NULL);
    assert_true(is_expected(status) && (status == COHORT_OK) == (session != NULL));
    if (session != NULL) {
        assert_true(is_expected(cohort_session_close(session, NULL)));
    }
    bool was_refused = refuse_memory_no_more();
    cohort_session_free(session);
    cohort_lock_free(lock);
    cohort_close(cohort);
    return was_refused;
}

static void test_each_allocation(void **state)
{
    for (int count = 1; count <= 3; count += 2) {
        struct play said = {0};
        struct scripted_server server = {.answer = play, .data = &said};
        scripted_start(&server);
        int first = 0;
        while (first < ALLOCATIONS && use(&server, first, count)) {
            first++;
        }
        assert_true(first > 10 && first < ALLOCATIONS); /* all were, and it has an end */
        scripted_stop(&server);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory_for_a_renewal),
        cmocka_unit_test(test_each_allocation),
    };
    return cmocka_run_group_tests_name("client_lock_memory", tests, NULL, NULL);
}
