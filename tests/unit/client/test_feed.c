/* Feeds against a scripted server: what is told, positions, calls on a loop, many threads, a slow reader. */
#include "client/feed.h"
#include "scripted_feed.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct scripted_feed told;
    struct cohort *cohort;
    struct cohort_feed *feed;
};

static void setup(struct fixture *f, int last)
{
    scripted_feed_start(&f->told);
    atomic_store(&f->told.last, last);
    const struct cohort_options options = {.timeout_ms = 60000};
    assert_int_equal(cohort_open(f->told.server.url, &options, &f->cohort, NULL), COHORT_OK);
    f->feed = NULL;
}

static void open_feed(struct fixture *f, const struct cohort_feed_options *options)
{
    const struct cohort_feed_options patient = {.silence_ms = 3600000}; /* the machine may stand still */
    enum cohort_status status =
        cohort_feed_open(f->cohort, cohort_text("k"), options == NULL ? &patient : options, &f->feed, NULL);
    assert_int_equal(status, COHORT_OK);
}

static void teardown(struct fixture *f)
{
    cohort_feed_close(f->feed);
    cohort_close(f->cohort);
    scripted_feed_stop(&f->told);
}

static void assert_bytes(struct cohort_bytes bytes, const char *text)
{
    assert_int_equal(bytes.size, strlen(text));
    assert_memory_equal(bytes.data, text, bytes.size);
}

static void test_from_now_and_from_a_position(void **state)
{
    struct fixture f;
    setup(&f, 5);
    atomic_store(&f.told.first, 3);
    open_feed(&f, NULL);
    assert_string_equal(cohort_feed_position(f.feed), "p3");
    assert_null(cohort_feed_change(f.feed, 0));
    scripted_feed_expect(f.feed, 4, 5);
    cohort_feed_close(f.feed);
    const struct cohort_feed_options options = {.from = cohort_text("p1")};
    open_feed(&f, &options);
    assert_int_equal(atomic_load(&f.told.from), 1);
    scripted_feed_expect(f.feed, 2, 5);
    teardown(&f);
}

static const char all_kinds[] = ">4\r\n$4\r\nfeed\r\n$1\r\nk\r\n$2\r\np1\r\n*10\r\n"
                                "*4\r\n$3\r\nset\r\n$1\r\nk\r\n:1\r\n$2\r\n0v\r\n"
                                "*5\r\n$4\r\nhset\r\n$1\r\nk\r\n:2\r\n$1\r\nf\r\n$0\r\n\r\n"
                                "*4\r\n$4\r\nhdel\r\n$1\r\nk\r\n:3\r\n$1\r\nf\r\n"
                                "*3\r\n$3\r\ndel\r\n$1\r\nk\r\n:4\r\n"
                                "*3\r\n$7\r\nexpired\r\n$1\r\nk\r\n:5\r\n"
                                "*4\r\n$6\r\nexpire\r\n$1\r\nk\r\n:6\r\n:1700000000123\r\n"
                                "*3\r\n$7\r\npersist\r\n$1\r\nk\r\n:7\r\n"
                                "*5\r\n$5\r\nflush\r\n$0\r\n\r\n:8\r\n:4096\r\n:6143\r\n"
                                "*3\r\n$6\r\nreload\r\n$1\r\nk\r\n:9\r\n"
                                "*5\r\n$5\r\nstale\r\n$0\r\n\r\n:10\r\n:0\r\n:16383\r\n";

static void test_every_kind(void **state)
{
    struct fixture f;
    setup(&f, 0);
    atomic_store(&f.told.tail, all_kinds);
    open_feed(&f, NULL);
    size_t count = 0;
    struct cohort_reply *reply = (struct cohort_reply *)&count;
    assert_int_equal(cohort_feed_next(f.feed, 60000, &count, &reply), COHORT_OK);
    assert_null(reply);
    assert_int_equal(count, 10);
    assert_string_equal(cohort_feed_position(f.feed), "p1");
    for (size_t i = 0; i < count; i++) {
        const struct cohort_feed_change *change = cohort_feed_change(f.feed, i);
        bool is_of_all = change->kind == COHORT_FEED_FLUSH || change->kind == COHORT_FEED_STALE;
        assert_int_equal(change->kind, i);
        assert_int_equal(change->version, i + 1);
        assert_bytes(change->key, is_of_all ? "" : "k");
        assert_bytes(change->field, i == COHORT_FEED_HSET || i == COHORT_FEED_HDEL ? "f" : "");
        assert_bytes(change->value, i == COHORT_FEED_SET ? "0v" : "");
        assert_true(change->expires_ms == (i == COHORT_FEED_EXPIRE ? 1700000000123 : 0));
    }
    assert_int_equal(cohort_feed_change(f.feed, COHORT_FEED_FLUSH)->first_slot, 4096);
    assert_int_equal(cohort_feed_change(f.feed, COHORT_FEED_FLUSH)->last_slot, 6143);
    assert_int_equal(cohort_feed_change(f.feed, COHORT_FEED_STALE)->last_slot, 16383);
    assert_int_equal(cohort_key_slot(cohort_text("user:17")), 4440);
    teardown(&f);
}

static void test_times_of_waiting(void **state)
{
    struct fixture f;
    setup(&f, 1);
    open_feed(&f, NULL);
    scripted_feed_expect(f.feed, 1, 1);
    struct cohort_reply *reply;
    size_t count = 7;
    for (int64_t wait_ms = 0; wait_ms <= 20; wait_ms += 20) {
        assert_int_equal(cohort_feed_next(f.feed, wait_ms, &count, &reply), COHORT_TIMEOUT);
        assert_string_equal(cohort_reply_text(reply), "nothing was told within the time limit");
        cohort_reply_free(reply);
        assert_int_equal(count, 7);
        assert_string_equal(cohort_feed_position(f.feed), "p1");
        assert_non_null(cohort_feed_change(f.feed, 0)); /* the batch before stays */
    }
    const struct cohort_feed_options wrong[] = {{.timeout_ms = -1}, {.silence_ms = -1}, {.from = {"", 0}}};
    for (size_t i = 0; i < 3; i++) {
        struct cohort_feed *none;
        assert_int_equal(cohort_feed_open(f.cohort, cohort_text("k"), &wrong[i], &none, NULL), COHORT_INVALID);
    }
    assert_int_equal(cohort_feed_next(f.feed, INT64_MAX, &count, NULL), COHORT_INVALID);
    teardown(&f);
}

/* An empty push is given too: only the position is new. */
static void test_position_alone(void **state)
{
    struct fixture f;
    setup(&f, 0);
    atomic_store(&f.told.tail, ">4\r\n$4\r\nfeed\r\n$1\r\nk\r\n$4\r\np777\r\n*0\r\n");
    open_feed(&f, NULL);
    size_t count = 7;
    assert_int_equal(cohort_feed_next(f.feed, 60000, &count, NULL), COHORT_OK);
    assert_int_equal(count, 0);
    assert_string_equal(cohort_feed_position(f.feed), "p777");
    assert_null(cohort_feed_change(f.feed, 0));
    teardown(&f);
}

/* ---- a reader that is slow ---- */

/* What is not asked for stays with the server, whoever drives the handle; and nothing of it is lost then. */
static void test_slow_reader(void **state)
{
    enum { PUSHES = 3000, VALUE_BYTES = 4096 };
    struct fixture f;
    setup(&f, PUSHES);
    atomic_store(&f.told.value_bytes, VALUE_BYTES);
    open_feed(&f, NULL);
    scripted_feed_expect(f.feed, 1, 2);
    for (int i = 0; i < 1000; i++) {
        cohort_process(f.cohort);
    }
    for (int i = 0; !f.feed->link->deaf && i < 60000; i++) { /* there is more, and it is not looked at */
        cohort_process(f.cohort);
        usleep(1000);
    }
    assert_true(f.feed->link->deaf);
    assert_true(f.feed->link->connection.in.capacity <= 4 * CLIENT_READ_BYTES);
    struct pollfd fd = {.fd = cohort_fd(f.cohort), .events = POLLIN};
    cohort_process(f.cohort);
    assert_int_equal(poll(&fd, 1, 0), 0); /* nor does it keep the caller's loop busy */
    scripted_feed_expect(f.feed, 3, PUSHES);
    assert_int_equal(atomic_load(&f.told.asked), 1);
    teardown(&f);
}

/* Its connection ends meanwhile, or breaks: what it had not taken is asked for again. */
static void test_lost_while_it_is_slow(void **state)
{
    for (int reset = 0; reset < 2; reset++) {
        struct fixture f;
        setup(&f, 40);
        atomic_store(&f.told.at_most, 9);
        atomic_store(&f.told.reset, reset != 0);
        open_feed(&f, NULL);
        for (int next = 1; next <= 40; next++) {
            for (int i = 0; i < 20; i++) {
                cohort_process(f.cohort);
                usleep(200);
            }
            scripted_feed_expect(f.feed, next, next);
        }
        assert_true(atomic_load(&f.told.asked) >= 5);
        teardown(&f);
    }
}

/* The silence of who does not read is not the server's. */
static void test_slow_reader_is_not_silence(void **state)
{
    struct fixture f;
    setup(&f, 3);
    const struct cohort_feed_options options = {.silence_ms = 50};
    open_feed(&f, &options);
    for (int i = 0; i < 200; i++) {
        cohort_process(f.cohort);
        usleep(1000);
    }
    assert_int_equal(atomic_load(&f.told.asked), 1);
    usleep(100000); /* nor is that of who does not even drive */
    scripted_feed_expect(f.feed, 1, 3);
    teardown(&f);
}

/* ---- on a loop ---- */

struct listener {
    struct fixture *f;
    int called;
    int next; /* number of the push that is to come */
    int until;
    enum cohort_status status;
    bool closes;
    char words[64];
};

static void heard(void *data, enum cohort_status status, struct cohort_feed *feed, size_t count,
                  const struct cohort_reply *reply)
{
    struct listener *listener = data;
    listener->called++;
    listener->status = status;
    (void)snprintf(listener->words, sizeof(listener->words), "%s", cohort_reply_text(reply));
    if (status == COHORT_OK) {
        assert_int_equal(count, 1);
        assert_int_equal(cohort_feed_change(feed, 0)->version, listener->next++);
        if (listener->next <= listener->until) {
            assert_int_equal(cohort_feed_next_start(feed, -1, heard, listener), COHORT_OK);
        }
    }
    if (listener->closes) {
        cohort_feed_close(feed);
        listener->f->feed = NULL;
    }
}

static void opened(void *data, enum cohort_status status, struct cohort_feed *feed, const struct cohort_reply *reply)
{
    struct listener *listener = data;
    listener->called++;
    listener->status = status;
    listener->f->feed = feed;
}

static void run_loop(struct fixture *f, const struct listener *listener, int calls)
{
    for (int i = 0; listener->called < calls && i < 60000; i++) {
        struct pollfd fd = {.fd = cohort_fd(f->cohort), .events = POLLIN};
        int timeout_ms = cohort_timeout(f->cohort);
        (void)poll(&fd, 1, timeout_ms < 0 || timeout_ms > 100 ? 100 : timeout_ms);
        cohort_process(f->cohort);
    }
    assert_int_equal(listener->called, calls);
}

static void test_on_the_loop(void **state)
{
    struct fixture f;
    setup(&f, 20);
    atomic_store(&f.told.at_most, 3);
    struct listener listener = {.f = &f, .next = 1, .until = 20};
    assert_int_equal(cohort_feed_open_start(f.cohort, cohort_text("k"), NULL, opened, &listener), COHORT_OK);
    run_loop(&f, &listener, 1);
    assert_int_equal(listener.status, COHORT_OK);
    assert_int_equal(cohort_feed_next_start(f.feed, -1, heard, &listener), COHORT_OK);
    assert_int_equal(cohort_feed_next_start(f.feed, -1, heard, &listener), COHORT_INVALID); /* one at a time */
    assert_int_equal(cohort_feed_next(f.feed, 0, NULL, NULL), COHORT_INVALID);
    run_loop(&f, &listener, 21);
    assert_int_equal(listener.next, 21);
    atomic_store(&f.told.at_most, 0);
    assert_int_equal(cohort_feed_next_start(f.feed, 10, heard, &listener), COHORT_OK);
    run_loop(&f, &listener, 22);
    assert_true(listener.status == COHORT_TIMEOUT || listener.status == COHORT_UNREACHABLE);
    assert_true(listener.words[0] != '\0');
    teardown(&f);
}

static void test_closed_within_its_callback(void **state)
{
    struct fixture f;
    setup(&f, 5);
    open_feed(&f, NULL);
    struct listener listener = {.f = &f, .next = 1, .until = 5, .closes = true};
    assert_int_equal(cohort_feed_next_start(f.feed, -1, heard, &listener), COHORT_OK);
    run_loop(&f, &listener, 1);
    for (int i = 0; i < 20; i++) { /* what it started within is not called */
        cohort_process(f.cohort);
        usleep(1000);
    }
    assert_int_equal(listener.called, 1);
    teardown(&f);
}

static void test_closed_while_it_waits(void **state)
{
    for (int last = 0; last < 2; last++) { /* nothing has come; or it has, and was not called for */
        struct fixture f;
        setup(&f, last);
        open_feed(&f, NULL);
        struct listener listener = {.f = &f, .next = 1};
        assert_int_equal(cohort_feed_next_start(f.feed, 20, heard, &listener), COHORT_OK);
        usleep(2000);
        cohort_feed_close(f.feed);
        f.feed = NULL;
        usleep(30000);
        cohort_process(f.cohort);
        assert_int_equal(listener.called, 0);
        teardown(&f);
    }
}

static void test_stopped_on_the_loop(void **state)
{
    struct fixture f;
    setup(&f, 0);
    open_feed(&f, NULL);
    struct listener listener = {.f = &f, .next = 1};
    assert_int_equal(cohort_feed_next_start(f.feed, -1, heard, &listener), COHORT_OK);
    cohort_feed_stop(f.feed);
    run_loop(&f, &listener, 1);
    assert_int_equal(listener.status, COHORT_CANCELLED);
    assert_int_equal(cohort_feed_next(f.feed, -1, NULL, NULL), COHORT_CANCELLED);
    teardown(&f);
}

/* The handle closes while a feed is being opened: it has never been. */
static void test_handle_closed_while_it_opens(void **state)
{
    for (int silent = 0; silent < 2; silent++) {
        struct fixture f;
        setup(&f, 1);
        atomic_store(&f.told.silent, silent != 0);
        struct listener listener = {.f = &f};
        assert_int_equal(cohort_feed_open_start(f.cohort, cohort_text("k"), NULL, opened, &listener), COHORT_OK);
        for (int i = 0; atomic_load(&f.told.asked) == 0 && i < 60000; i++) {
            (void)cohort_set(f.cohort, cohort_text("x"), cohort_text("y"), NULL, NULL); /* drives, and calls nothing */
            usleep(1000);
        }
        cohort_close(f.cohort);
        assert_int_equal(listener.called, 1);
        assert_int_equal(listener.status, COHORT_CANCELLED);
        assert_null(f.feed);
        scripted_feed_stop(&f.told);
    }
}

/* ---- threads ---- */

static void *stop_soon(void *data)
{
    usleep(20000);
    cohort_feed_stop(data);
    return NULL;
}

static void test_stopped_by_another_thread(void **state)
{
    struct fixture f;
    setup(&f, 1);
    open_feed(&f, NULL);
    scripted_feed_expect(f.feed, 1, 1);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, f.feed), 0);
    struct cohort_reply *reply;
    assert_int_equal(cohort_feed_next(f.feed, -1, NULL, &reply), COHORT_CANCELLED);
    assert_string_equal(cohort_reply_text(reply), "the feed was stopped");
    cohort_reply_free(reply);
    (void)pthread_join(thread, NULL);
    teardown(&f);
}

enum { FOLLOWERS = 4, THREAD_PUSHES = 200 };

static void *follow(void *data)
{
    struct cohort_feed *feed = data;
    scripted_feed_expect(feed, 1, THREAD_PUSHES);
    cohort_feed_close(feed);
    return NULL;
}

static void *write_something(void *data)
{
    for (int i = 0; i < 200; i++) {
        assert_int_equal(cohort_set(data, cohort_text("x"), cohort_text("y"), NULL, NULL), COHORT_OK);
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    struct fixture f;
    setup(&f, THREAD_PUSHES);
    atomic_store(&f.told.at_most, 17);
    pthread_t threads[FOLLOWERS + 1];
    struct cohort_feed *feeds[FOLLOWERS];
    for (int i = 0; i < FOLLOWERS; i++) {
        assert_int_equal(cohort_feed_open(f.cohort, cohort_text("k"), NULL, &feeds[i], NULL), COHORT_OK);
    }
    for (int i = 0; i < FOLLOWERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, follow, feeds[i]), 0);
    }
    assert_int_equal(pthread_create(&threads[FOLLOWERS], NULL, write_something, f.cohort), 0);
    for (int i = 0; i <= FOLLOWERS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    teardown(&f);
}

/* A feed counts also while it has no connection, and no longer when it is closed. */
static void test_too_many(void **state)
{
    struct fixture f;
    setup(&f, 0);
    cohort_close(f.cohort);
    const struct cohort_options options = {.timeout_ms = 60000, .connections_max = 1};
    assert_int_equal(cohort_open(f.told.server.url, &options, &f.cohort, NULL), COHORT_OK);
    open_feed(&f, NULL);
    struct cohort_feed *other;
    assert_int_equal(cohort_feed_open(f.cohort, cohort_text("k"), NULL, &other, NULL), COHORT_FULL);
    scripted_stop(&f.told.server);
    for (int i = 0; f.feed->link != NULL && i < 60000; i++) {
        cohort_process(f.cohort);
        usleep(1000);
    }
    assert_null(f.feed->link);
    assert_int_equal(cohort_feed_open(f.cohort, cohort_text("k"), NULL, &other, NULL), COHORT_FULL);
    scripted_start_again(&f.told.server);
    cohort_feed_close(f.feed);
    open_feed(&f, NULL);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_now_and_from_a_position),
        cmocka_unit_test(test_every_kind),
        cmocka_unit_test(test_times_of_waiting),
        cmocka_unit_test(test_position_alone),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_lost_while_it_is_slow),
        cmocka_unit_test(test_slow_reader_is_not_silence),
        cmocka_unit_test(test_on_the_loop),
        cmocka_unit_test(test_closed_within_its_callback),
        cmocka_unit_test(test_closed_while_it_waits),
        cmocka_unit_test(test_stopped_on_the_loop),
        cmocka_unit_test(test_handle_closed_while_it_opens),
        cmocka_unit_test(test_stopped_by_another_thread),
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_too_many),
    };
    return cmocka_run_group_tests_name("client_feed", tests, NULL, NULL);
}
