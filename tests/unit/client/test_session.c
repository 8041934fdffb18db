/* Sessions and elections against a scripted server. */
#include "client/handle.h"
#include "scripted_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { TTL_MS = 60000 };

/* One session and one office. */
struct state {
    atomic_bool is_open;
    atomic_int beats;
    atomic_int token;     /* of whoever leads; 0: nobody */
    atomic_int last;      /* the last token */
    atomic_int resigned;  /* the token that was given up last */
    atomic_bool is_other; /* somebody else leads */
    char acquire[256];    /* the words of the last acquire */
};

static void join(const struct cohort_reply *request, char *text, size_t size)
{
    size_t at = 0;
    for (size_t i = 0; i < cohort_reply_count(request) && at < size; i++) {
        at += (size_t)snprintf(text + at, size - at, "%s%s", i == 0 ? "" : " ", scripted_word(request, i));
    }
}

static void play_session(struct state *state, const struct cohort_reply *request, struct buffer *out)
{
    if (scripted_is(request, "SESSION.OPEN")) {
        atomic_store(&state->is_open, true);
        buffer_append_string(out, "$3\r\n7-a\r\n");
    } else if (scripted_is(request, "SESSION.KEEPALIVE")) {
        atomic_fetch_add(&state->beats, 1);
        buffer_append_format(out, atomic_load(&state->is_open) ? ":%d\r\n" : "-NOSESSION it has ended %d\r\n", TTL_MS);
    } else {
        buffer_append_format(out, ":%d\r\n", atomic_exchange(&state->is_open, false));
    }
}

static void play_election(struct state *state, const struct cohort_reply *request, struct buffer *out)
{
    if (scripted_is(request, "ELECT.RESIGN")) {
        int token = atoi(scripted_word(request, 3));
        bool leads = token == atomic_load(&state->token);
        atomic_store(&state->resigned, token);
        atomic_store(&state->token, leads ? 0 : atomic_load(&state->token));
        buffer_append_format(out, ":%d\r\n", leads);
    } else if (scripted_is(request, "ELECT.LEADER")) {
        buffer_append_string(out, atomic_load(&state->token) == 0 ? "_\r\n" : "%1\r\n$9\r\ncandidate\r\n$2\r\nme\r\n");
    } else if (atomic_load(&state->is_other)) {
        buffer_append_string(out, "_\r\n");
    } else {
        if (atomic_load(&state->token) == 0) {
            atomic_store(&state->token, atomic_fetch_add(&state->last, 1) + 1);
        }
        bool says = strcmp(scripted_word(request, 3), "PX") == 0;
        int ttl_ms = says ? atoi(scripted_word(request, 4)) : TTL_MS;
        buffer_append_format(out, "*2\r\n:%d\r\n:%d\r\n", atomic_load(&state->token), ttl_ms);
    }
}

static enum scripted_verdict play(struct scripted_server *server, int connection, const struct cohort_reply *request,
                                  struct buffer *out)
{
    struct state *state = server->data;
    const char *name = scripted_word(request, 0);
    if (strncmp(name, "SESSION.", 8) == 0) {
        play_session(state, request, out);
    } else if (scripted_is(request, "ELECT.CAMPAIGN") || scripted_is(request, "LOCK.ACQUIRE")) {
        join(request, state->acquire, sizeof(state->acquire));
        play_election(state, request, out);
    } else if (strncmp(name, "ELECT.", 6) == 0) {
        play_election(state, request, out);
    } else {
        buffer_append_string(out, ":1\r\n");
    }
    return SCRIPTED_ANSWER;
}

struct fixture {
    struct state state;
    struct scripted_server server;
    struct cohort *cohort;
};

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->server.answer = play;
    f->server.data = &f->state;
    scripted_start(&f->server);
    assert_int_equal(cohort_open(f->server.url, NULL, &f->cohort, NULL), COHORT_OK);
}

static void teardown(struct fixture *f)
{
    cohort_close(f->cohort);
    scripted_stop(&f->server);
}

/* Until it has been called; a loop when one is driven. */
static void wait_for(struct cohort *cohort, atomic_int *called, bool on_loop)
{
    for (int i = 0; atomic_load(called) == 0 && i < 60000; i++) {
        if (on_loop) {
            cohort_process(cohort);
        }
        usleep(1000);
    }
    assert_int_equal(atomic_load(called), 1);
}

/* ---- sessions ---- */

static void test_session(void **state)
{
    struct fixture f;
    setup(&f);
    struct cohort_session *session;
    struct cohort_reply *reply;
    assert_int_equal(cohort_session_open(f.cohort, 50, &session, &reply), COHORT_INVALID);
    assert_string_equal(cohort_reply_text(reply), "ttl_ms must be from 100 ms to 24 hours");
    cohort_reply_free(reply);
    int64_t before_ns = handle_boottime_ns();
    assert_int_equal(cohort_session_open(f.cohort, TTL_MS, &session, NULL), COHORT_OK);
    assert_string_equal(cohort_session_id(session), "7-a");
    int64_t until_ns = cohort_session_valid_until(session);
    assert_true(until_ns > before_ns && until_ns < handle_boottime_ns() + TTL_MS * (int64_t)1000000);
    assert_int_equal(cohort_session_keepalive(session, NULL), COHORT_OK);
    assert_true(cohort_session_valid_until(session) > until_ns);
    assert_int_equal(cohort_session_close(session, NULL), COHORT_OK);
    assert_int_equal(cohort_session_valid_until(session), 0);
    assert_int_equal(cohort_session_close(session, NULL), COHORT_NOSESSION);
    assert_int_equal(cohort_session_keepalive(session, NULL), COHORT_NOSESSION);
    cohort_session_free(session);
    teardown(&f);
}

/* It has no time of its own: it is valid as long as the session, and renewing it is a heartbeat. */
static void test_lock_of_a_session(void **state)
{
    struct fixture f;
    setup(&f);
    struct cohort_session *session;
    struct cohort_lock *lock;
    struct cohort_keeper *keeper;
    assert_int_equal(cohort_session_open(f.cohort, TTL_MS, &session, NULL), COHORT_OK);
    const struct cohort_lock_options how = {.session = session, .owner = cohort_text("me")};
    assert_int_equal(cohort_lock_acquire(f.cohort, cohort_text("door"), &how, &lock, NULL), COHORT_OK);
    assert_string_equal(f.state.acquire, "LOCK.ACQUIRE door me SESSION 7-a");
    assert_int_equal(cohort_lock_valid_until(lock), cohort_session_valid_until(session));
    assert_int_equal(cohort_lock_renew(lock, NULL), COHORT_OK);
    assert_int_equal(atomic_load(&f.state.beats), 1);
    assert_int_equal(cohort_lock_valid_until(lock), cohort_session_valid_until(session));
    assert_int_equal(cohort_keeper_start(lock, 0, NULL, NULL, &keeper), COHORT_INVALID);
    assert_int_equal(cohort_lock_release(lock, NULL), COHORT_OK);
    assert_int_equal(cohort_lock_valid_until(lock), 0);
    assert_true(cohort_session_valid_until(session) > 0);
    cohort_lock_free(lock);
    cohort_session_free(session);
    teardown(&f);
}

struct ended {
    atomic_int called;
    enum cohort_status why;
};

static void session_ended(void *data, struct cohort_session *session, enum cohort_status why)
{
    struct ended *ended = data;
    assert_int_equal(cohort_session_valid_until(session), 0);
    ended->why = why;
    atomic_fetch_add(&ended->called, 1);
}

static void opened(void *data, enum cohort_status status, struct cohort_session *session,
                   const struct cohort_reply *reply)
{
    assert_int_equal(status, COHORT_OK);
    *(struct cohort_session **)data = session;
}

static void test_keeper_of_a_session(void **state)
{
    for (unsigned flags = 0; flags <= COHORT_KEEPER_ON_LOOP; flags++) {
        struct fixture f;
        setup(&f);
        struct cohort_session *session = NULL;
        struct cohort_keeper *keeper;
        struct ended ended = {0};
        assert_int_equal(cohort_session_open_start(f.cohort, 600, opened, &session), COHORT_OK);
        for (int i = 0; session == NULL && i < 60000; i++) {
            cohort_process(f.cohort);
            usleep(1000);
        }
        atomic_store(&f.state.is_open, false); /* behind its back */
        assert_int_equal(cohort_session_keeper_start(session, flags, session_ended, &ended, &keeper), COHORT_OK);
        wait_for(f.cohort, &ended.called, flags != 0);
        assert_true(ended.why == COHORT_NOSESSION || ended.why == COHORT_TIMEOUT); /* if the machine stood still */
        cohort_keeper_stop(keeper);
        cohort_session_free(session);
        teardown(&f);
    }
}

/* ---- elections ---- */

static void test_office(void **state)
{
    struct fixture f;
    setup(&f);
    struct cohort_lock *office;
    const struct cohort_campaign campaign = {
        .ttl_ms = TTL_MS, .candidate = cohort_text("me"), .value = cohort_text("10.0.0.1:80")};
    assert_int_equal(cohort_elect_leader(f.cohort, cohort_text("billing"), NULL), COHORT_NOTFOUND);
    assert_int_equal(cohort_elect_campaign(f.cohort, cohort_text("billing"), &campaign, &office, NULL), COHORT_OK);
    assert_string_equal(f.state.acquire, "ELECT.CAMPAIGN billing me PX 60000 VALUE 10.0.0.1:80");
    assert_int_equal(cohort_lock_token(office), 1);
    int64_t until_ns = cohort_lock_valid_until(office);
    assert_true(until_ns > handle_boottime_ns());
    struct cohort_reply *reply;
    assert_int_equal(cohort_elect_leader(f.cohort, cohort_text("billing"), &reply), COHORT_OK);
    assert_string_equal(cohort_reply_text(cohort_reply_get(reply, "candidate")), "me");
    cohort_reply_free(reply);
    assert_int_equal(cohort_lock_renew(office, NULL), COHORT_OK);
    assert_string_equal(f.state.acquire, "ELECT.CAMPAIGN billing me PX 60000");
    assert_true(cohort_lock_valid_until(office) > until_ns);
    assert_int_equal(cohort_lock_release(office, NULL), COHORT_OK);
    assert_int_equal(atomic_load(&f.state.resigned), 1);
    assert_int_equal(cohort_lock_release(office, NULL), COHORT_LOCKLOST);
    cohort_lock_free(office);
    atomic_store(&f.state.is_other, true);
    assert_int_equal(cohort_elect_campaign(f.cohort, cohort_text("billing"), &campaign, &office, NULL),
                     COHORT_NOT_GRANTED);
    teardown(&f);
}

/* A renewal is to campaign again. Who has lost the office may win it anew by that: it is lost all the same, and what
 * was won is given up. */
static void test_office_that_is_lost(void **state)
{
    for (int is_other = 0; is_other < 2; is_other++) {
        struct fixture f;
        setup(&f);
        struct cohort_lock *office;
        const struct cohort_campaign campaign = {.ttl_ms = TTL_MS};
        assert_int_equal(cohort_elect_campaign(f.cohort, cohort_text("billing"), &campaign, &office, NULL), COHORT_OK);
        atomic_store(&f.state.token, 0);
        atomic_store(&f.state.is_other, is_other != 0);
        assert_int_equal(cohort_lock_renew(office, NULL), COHORT_LOCKLOST);
        assert_int_equal(cohort_lock_valid_until(office), 0);
        assert_int_equal(atomic_load(&f.state.resigned), is_other != 0 ? 0 : 2);
        assert_int_equal(atomic_load(&f.state.token), 0);
        assert_int_equal(cohort_lock_renew(office, NULL), COHORT_LOCKLOST);
        assert_int_equal(atomic_load(&f.state.token), 0);
        cohort_lock_free(office);
        teardown(&f);
    }
}

static void office_lost(void *data, struct cohort_lock *office, enum cohort_status why)
{
    struct ended *ended = data;
    ended->why = why;
    atomic_fetch_add(&ended->called, 1);
}

static void test_keeper_of_an_office(void **state)
{
    struct fixture f;
    setup(&f);
    struct cohort_lock *office;
    struct cohort_keeper *keeper;
    struct ended ended = {0};
    const struct cohort_campaign campaign = {.ttl_ms = 600};
    assert_int_equal(cohort_elect_campaign(f.cohort, cohort_text("billing"), &campaign, &office, NULL), COHORT_OK);
    atomic_store(&f.state.token, 0);
    assert_int_equal(cohort_keeper_start(office, 0, office_lost, &ended, &keeper), COHORT_OK);
    wait_for(f.cohort, &ended.called, false);
    assert_int_equal(cohort_lock_valid_until(office), 0);
    cohort_keeper_stop(keeper);
    cohort_lock_free(office);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session),
        cmocka_unit_test(test_lock_of_a_session),
        cmocka_unit_test(test_keeper_of_a_session),
        cmocka_unit_test(test_office),
        cmocka_unit_test(test_office_that_is_lost),
        cmocka_unit_test(test_keeper_of_an_office),
    };
    return cmocka_run_group_tests_name("client_session", tests, NULL, NULL);
}
