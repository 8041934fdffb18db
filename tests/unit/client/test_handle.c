/* A handle against scripted servers: what is sent again and what never, cuts at every byte, deadlines, pushes, many
 * threads, the caller's loop. */
#include "base/assert.h"
#include "scripted_server.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* Counts INCR; GET answers the count; other words do what their tests want. */
struct counter {
    atomic_int value;
    atomic_int refuse; /* so many INCR are answered -BUSY first */
    atomic_int cut;    /* the connection of so many is cut before they are answered, after they are executed */
    atomic_bool silent;
    atomic_int heard_fd; /* not 0: GET's answer is followed, once this was written, by a push and the end */
};

/* The answer to GET is sent; what comes behind it waits until the client has it. */
static enum scripted_verdict say_last_words(struct scripted_server *server, int connection, int heard_fd,
                                            struct buffer *out)
{
    static const char answer[] = "$1\r\n0\r\n";
    eventfd_t value;
    ASSERT(send(server->connections[connection].fd, answer, sizeof(answer) - 1, 0) == sizeof(answer) - 1);
    ASSERT(eventfd_read(heard_fd, &value) == 0);
    buffer_append_string(out, ">1\r\n+farewell\r\n");
    return SCRIPTED_CLOSE;
}

static enum scripted_verdict count(struct scripted_server *server, int connection, const struct cohort_reply *request,
                                   struct buffer *out)
{
    struct counter *counter = server->data;
    if (atomic_load(&counter->silent)) {
        return SCRIPTED_STOP;
    }
    if (scripted_is(request, "GET")) {
        if (atomic_load(&counter->heard_fd) != 0) {
            return say_last_words(server, connection, atomic_load(&counter->heard_fd), out);
        }
        if (atomic_load(&counter->cut) > 0) {
            atomic_fetch_sub(&counter->cut, 1);
            return SCRIPTED_CLOSE;
        }
        char digits[16];
        int size = snprintf(digits, sizeof(digits), "%d", atomic_load(&counter->value));
        buffer_append_format(out, "$%d\r\n%s\r\n", size, digits);
        return SCRIPTED_ANSWER;
    }
    if (scripted_is(request, "INCRBY")) {
        if (atomic_load(&counter->refuse) > 0) {
            atomic_fetch_sub(&counter->refuse, 1);
            buffer_append_string(out, "-BUSY too much waits; try again\r\n");
            return SCRIPTED_ANSWER;
        }
        int value = atomic_fetch_add(&counter->value, 1) + 1;
        if (atomic_load(&counter->cut) > 0) {
            atomic_fetch_sub(&counter->cut, 1);
            return SCRIPTED_CLOSE;
        }
        buffer_append_format(out, ">2\r\n+news\r\n*1\r\n:1\r\n:%d\r\n", value); /* a push before it */
        return SCRIPTED_ANSWER;
    }
    if (scripted_is(request, "ECHO")) {
        struct cohort_bytes text = cohort_reply_bytes(cohort_reply_at(request, 1));
        buffer_append_format(out, "$%zu\r\n", text.size);
        buffer_append(out, text.data, text.size);
        buffer_append_string(out, "\r\n");
        return SCRIPTED_ANSWER;
    }
    buffer_append_string(out, "-ERR unknown command\r\n");
    return SCRIPTED_ANSWER;
}

struct fixture {
    struct counter counter;
    struct scripted_server server;
    struct cohort *cohort;
};

static void open_with(struct fixture *fixture, const char *url, const struct cohort_options *options)
{
    assert_int_equal(cohort_open(url, options, &fixture->cohort, NULL), COHORT_OK);
}

static void setup(struct fixture *fixture, int64_t timeout_ms)
{
    memset(fixture, 0, sizeof(*fixture));
    fixture->server.answer = count;
    fixture->server.data = &fixture->counter;
    scripted_start(&fixture->server);
    struct cohort_options options = {.timeout_ms = timeout_ms};
    open_with(fixture, fixture->server.url, &options);
}

static void teardown(struct fixture *fixture)
{
    cohort_close(fixture->cohort);
    scripted_stop(&fixture->server);
}

static struct cohort_bytes key(void) { return cohort_text("key"); }

static void test_calls(void **state)
{
    struct fixture f;
    setup(&f, 20000);
    int64_t value = 0;
    assert_int_equal(cohort_incr(f.cohort, key(), 1, &value, NULL), COHORT_OK);
    assert_int_equal(value, 1);
    struct cohort_reply *reply;
    assert_int_equal(cohort_get(f.cohort, key(), &reply), COHORT_OK);
    assert_string_equal(cohort_reply_text(reply), "1");
    cohort_reply_free(reply);
    assert_int_equal(cohort_hget(f.cohort, key(), key(), &reply), COHORT_REFUSED);
    assert_string_equal(cohort_reply_text(reply), "ERR unknown command");
    cohort_reply_free(reply);
    teardown(&f);
}

static void test_urls(void **state)
{
    struct cohort *cohort = NULL;
    struct cohort_reply *reply;
    assert_int_equal(cohort_open("cohort://host:99999", NULL, &cohort, &reply), COHORT_INVALID);
    assert_string_equal(cohort_reply_text(reply), "a port must be a number from 1 to 65535");
    cohort_reply_free(reply);
    assert_null(cohort);
    assert_int_equal(cohort_open(NULL, NULL, &cohort, &reply), COHORT_OK);
    assert_null(reply);
    cohort_close(cohort);
    cohort_close(NULL);
}

static void test_refusals_are_sent_again(void **state)
{
    struct fixture f;
    setup(&f, 20000);
    atomic_store(&f.counter.refuse, 3);
    int64_t value = 0;
    assert_int_equal(cohort_incr(f.cohort, key(), 1, &value, NULL), COHORT_OK);
    assert_int_equal(value, 1);
    assert_int_equal(atomic_load(&f.server.requests), 4);
    teardown(&f);
}

static void test_refused_until_the_deadline(void **state)
{
    struct fixture f;
    setup(&f, 200);
    atomic_store(&f.counter.refuse, 1000000);
    struct cohort_reply *reply;
    assert_int_equal(cohort_incr(f.cohort, key(), 1, NULL, &reply), COHORT_BUSY);
    assert_string_equal(cohort_reply_text(reply), "BUSY too much waits; try again");
    cohort_reply_free(reply);
    assert_int_equal(atomic_load(&f.counter.value), 0);
    teardown(&f);
}

/* The answer of a write cut at each byte, a push in front of it: never sent again, and the next call finds another way.
 */
static void test_writes_cut_at_every_byte(void **state)
{
    struct fixture f;
    setup(&f, 20000);
    static const char answer[] = ">2\r\n+news\r\n*1\r\n:1\r\n:1\r\n";
    int uncertain = 0;
    for (long cut = 0; cut < (long)strlen(answer); cut++) {
        atomic_store(&f.counter.value, 0);
        assert_int_equal(cohort_get(f.cohort, key(), NULL), COHORT_OK); /* connected */
        atomic_store(&f.server.cut_after, cut);
        int64_t value = 0;
        enum cohort_status status = cohort_incr(f.cohort, key(), 1, &value, NULL);
        assert_int_equal(status, COHORT_UNCERTAIN);
        assert_int_equal(atomic_load(&f.counter.value), 1);
        uncertain++;
    }
    assert_int_equal(uncertain, strlen(answer));
    teardown(&f);
}

static void test_reads_cut_at_every_byte(void **state)
{
    struct fixture f;
    setup(&f, 20000);
    f.server.piece = 1;
    for (long cut = 0; cut < (long)strlen("$1\r\n0\r\n"); cut++) {
        assert_int_equal(cohort_get(f.cohort, key(), NULL), COHORT_OK);
        atomic_store(&f.server.cut_after, cut);
        struct cohort_reply *reply;
        assert_int_equal(cohort_get(f.cohort, key(), &reply), COHORT_OK);
        assert_string_equal(cohort_reply_text(reply), "0");
        cohort_reply_free(reply);
    }
    teardown(&f);
}

static void test_again_is_sent_again(void **state)
{
    struct fixture f;
    setup(&f, 20000);
    atomic_store(&f.counter.cut, 2);
    struct cohort_bytes argv[] = {cohort_text("INCRBY"), key(), cohort_text("1")};
    struct cohort_call call = {.flags = COHORT_AGAIN};
    assert_int_equal(cohort_command(f.cohort, 3, argv, &call, NULL), COHORT_OK);
    assert_int_equal(atomic_load(&f.counter.value), 3);
    atomic_store(&f.counter.cut, 1);
    assert_int_equal(cohort_command(f.cohort, 3, argv, NULL, NULL), COHORT_UNCERTAIN);
    assert_int_equal(atomic_load(&f.counter.value), 4);
    teardown(&f);
}

static void test_deadlines(void **state)
{
    struct fixture f;
    setup(&f, 200);
    assert_int_equal(cohort_get(f.cohort, key(), NULL), COHORT_OK);
    atomic_store(&f.counter.silent, true);
    struct cohort_reply *reply;
    assert_int_equal(cohort_incr(f.cohort, key(), 1, NULL, &reply), COHORT_UNCERTAIN);
    assert_string_equal(cohort_reply_text(reply), "no answer came within the time limit");
    cohort_reply_free(reply);
    enum cohort_status status = cohort_get(f.cohort, key(), NULL);
    assert_true(status == COHORT_TIMEOUT || status == COHORT_UNREACHABLE);
    teardown(&f);
}

static void test_nobody_there(void **state)
{
    struct fixture f;
    setup(&f, 200);
    scripted_stop(&f.server);
    struct cohort_reply *reply;
    assert_int_equal(cohort_incr(f.cohort, key(), 1, NULL, &reply), COHORT_UNREACHABLE);
    assert_non_null(strstr(cohort_reply_text(reply), "no node can be reached: 127.0.0.1:"));
    cohort_reply_free(reply);
    scripted_start_again(&f.server);
    struct cohort_call call = {.timeout_ms = 20000};
    struct cohort_bytes argv[] = {cohort_text("INCRBY"), key(), cohort_text("1")};
    assert_int_equal(cohort_command(f.cohort, 3, argv, &call, NULL), COHORT_OK);
    teardown(&f);
}

/* A server that ended while the handle was idle is noticed before a write is entrusted to it. */
static void test_idle_connection_ended(void **state)
{
    struct fixture f;
    setup(&f, 20000);
    for (int round = 0; round < 5; round++) {
        assert_int_equal(cohort_incr(f.cohort, key(), 1, NULL, NULL), COHORT_OK);
        scripted_stop(&f.server);
        scripted_wait_until_heard(&f.server);
        scripted_start_again(&f.server);
    }
    assert_int_equal(cohort_incr(f.cohort, key(), 1, NULL, NULL), COHORT_OK);
    assert_int_equal(atomic_load(&f.counter.value), 6);
    teardown(&f);
}

/* So is one that said something before it ended: the answer to what the handle asks by itself, a push. */
static void test_idle_connection_ended_behind_something(void **state)
{
    struct fixture f;
    setup(&f, 20000);
    int heard_fd = eventfd(0, EFD_CLOEXEC);
    atomic_store(&f.counter.heard_fd, heard_fd);
    assert_int_equal(cohort_get(f.cohort, key(), NULL), COHORT_OK);
    assert_int_equal(eventfd_write(heard_fd, 1), 0);
    scripted_wait_until_heard(&f.server);
    int64_t value = 0;
    assert_int_equal(cohort_incr(f.cohort, key(), 1, &value, NULL), COHORT_OK);
    assert_int_equal(value, 1);
    teardown(&f);
    close(heard_fd);
}

/* A node that hangs: reads go to the other one. */
static void test_silent_node_is_left(void **state)
{
    struct fixture f;
    setup(&f, 20000);
    cohort_close(f.cohort);
    struct counter other_counter = {0};
    struct scripted_server other = {.answer = count, .data = &other_counter};
    scripted_start(&other);
    char url[128];
    (void)snprintf(url, sizeof(url), "127.0.0.1:%d,127.0.0.1:%d", f.server.port, other.port);
    struct cohort_options options = {.timeout_ms = 1500};
    open_with(&f, url, &options);
    assert_int_equal(cohort_get(f.cohort, key(), NULL), COHORT_OK);
    bool first = atomic_load(&f.server.requests) == 1;
    atomic_store(first ? &f.counter.silent : &other_counter.silent, true);
    assert_int_equal(cohort_get(f.cohort, key(), NULL), COHORT_OK);
    assert_int_equal(cohort_incr(f.cohort, key(), 1, NULL, NULL), COHORT_OK); /* not at the suspect */
    teardown(&f);
    scripted_stop(&other);
}

static void test_leader_is_followed(void **state)
{
    struct fixture f;
    setup(&f, 20000);
    struct counter other_counter = {0};
    struct scripted_server other = {.answer = count, .data = &other_counter};
    scripted_start(&other);
    char slots[128];
    (void)snprintf(slots, sizeof(slots), "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:%d\r\n$1\r\nx\r\n",
                   other.port);
    f.server.slots = slots;
    other.slots = slots;
    for (int i = 0; i < 1000 && atomic_load(&other.requests) == 0; i++) {
        assert_int_equal(cohort_incr(f.cohort, key(), 1, NULL, NULL), COHORT_OK);
    }
    assert_true(atomic_load(&other.requests) > 0);
    int before = atomic_load(&f.server.requests);
    assert_int_equal(cohort_incr(f.cohort, key(), 1, NULL, NULL), COHORT_OK);
    assert_int_equal(atomic_load(&f.server.requests), before);
    scripted_stop(&other); /* and when it is gone, the other serves */
    assert_int_equal(cohort_incr(f.cohort, key(), 1, NULL, NULL), COHORT_OK);
    assert_int_equal(atomic_load(&f.server.requests), before + 1);
    teardown(&f);
}

static void test_password(void **state)
{
    struct fixture f;
    setup(&f, 20000);
    f.server.hello = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    struct cohort_reply *reply;
    assert_int_equal(cohort_get(f.cohort, key(), &reply), COHORT_DENIED);
    assert_non_null(strstr(cohort_reply_text(reply), "WRONGPASS"));
    cohort_reply_free(reply);
    teardown(&f);
}

static void test_garbage(void **state)
{
    struct fixture f;
    setup(&f, 300);
    f.server.hello = "HTTP/1.1 400 Bad Request\r\n";
    struct cohort_reply *reply;
    assert_int_equal(cohort_get(f.cohort, key(), &reply), COHORT_UNREACHABLE);
    assert_non_null(strstr(cohort_reply_text(reply), "it sends what is no reply"));
    cohort_reply_free(reply);
    teardown(&f);
}

static void test_limits(void **state)
{
    struct fixture f;
    setup(&f, 20000);
    cohort_close(f.cohort);
    struct cohort_options options = {.operations_max = 4, .reply_bytes_max = 100000, .request_bytes_max = 1 << 20};
    open_with(&f, f.server.url, &options);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(cohort_incr_start(f.cohort, key(), 1, NULL, NULL), COHORT_OK);
    }
    assert_int_equal(cohort_incr_start(f.cohort, key(), 1, NULL, NULL), COHORT_FULL);
    struct cohort_reply *reply;
    assert_int_equal(cohort_get(f.cohort, key(), &reply), COHORT_FULL);
    assert_non_null(strstr(cohort_reply_text(reply), "too much is under way"));
    cohort_reply_free(reply);
    cohort_close(f.cohort);

    open_with(&f, f.server.url, &options);
    static char large[2 << 20];
    memset(large, 'x', sizeof(large));
    struct cohort_bytes argv[] = {cohort_text("ECHO"), cohort_bytes_of(large, sizeof(large))};
    assert_int_equal(cohort_command(f.cohort, 2, argv, NULL, NULL), COHORT_FULL);
    argv[1].size = 200000;
    struct cohort_call call = {.timeout_ms = 20000};
    assert_int_equal(cohort_command(f.cohort, 2, argv, &call, &reply), COHORT_UNCERTAIN); /* its reply is too large */
    assert_non_null(strstr(cohort_reply_text(reply), "larger than reply_bytes_max, which is 100000 bytes"));
    cohort_reply_free(reply);
    int accepted = atomic_load(&f.server.accepted);
    call.flags = COHORT_READ; /* it may be sent again, and is not: the reply would be as large */
    assert_int_equal(cohort_command(f.cohort, 2, argv, &call, &reply), COHORT_PROTOCOL);
    assert_non_null(strstr(cohort_reply_text(reply), "raise it in struct cohort_options"));
    cohort_reply_free(reply);
    call.flags = COHORT_AGAIN;
    assert_int_equal(cohort_command(f.cohort, 2, argv, &call, NULL), COHORT_UNCERTAIN);
    assert_int_equal(atomic_load(&f.server.accepted), accepted + 2);
    argv[1].size = 90000;
    assert_int_equal(cohort_command(f.cohort, 2, argv, NULL, &reply), COHORT_OK);
    assert_int_equal(cohort_reply_bytes(reply).size, 90000);
    cohort_reply_free(reply);
    teardown(&f);
}

static void test_what_would_change_the_connection(void **state)
{
    struct fixture f;
    setup(&f, 20000);
    static const char *const words[] = {"MULTI", "watch", "Subscribe", "HELLO", "TXN.BEGIN", "TXN.COMMIT", "SELECT"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct cohort_bytes argv[] = {cohort_text(words[i])};
        assert_int_equal(cohort_command(f.cohort, 1, argv, NULL, NULL), COHORT_INVALID);
    }
    assert_int_equal(cohort_command(f.cohort, 0, NULL, NULL, NULL), COHORT_INVALID);
    assert_int_equal(atomic_load(&f.server.accepted), 0);
    teardown(&f);
}

/* ---- the caller's loop ---- */

struct seen {
    struct cohort *cohort;
    int called;
    enum cohort_status last;
    int64_t sum;
    int chain; /* so many more are started from the callback */
};

static void note(void *data, enum cohort_status status, const struct cohort_reply *reply)
{
    struct seen *seen = data;
    seen->called++;
    seen->last = status;
    seen->sum += cohort_reply_integer(reply);
    if (seen->chain > 0) {
        seen->chain--;
        assert_int_equal(cohort_incr_start(seen->cohort, key(), 1, note, seen), COHORT_OK);
    }
}

static void turn(struct cohort *cohort)
{
    struct pollfd fd = {.fd = cohort_fd(cohort), .events = POLLIN};
    (void)poll(&fd, 1, cohort_timeout(cohort));
    cohort_process(cohort);
}

static void test_loop(void **state)
{
    struct fixture f;
    setup(&f, 20000);
    f.server.piece = 7;
    struct seen seen = {.cohort = f.cohort, .chain = 50};
    for (int i = 0; i < 50; i++) {
        assert_int_equal(cohort_incr_start(f.cohort, key(), 1, note, &seen), COHORT_OK);
    }
    assert_int_equal(seen.called, 0);
    while (seen.called < 100) {
        turn(f.cohort);
    }
    assert_int_equal(seen.sum, 100 * 101 / 2);
    assert_int_equal(seen.last, COHORT_OK);
    int64_t value;
    assert_int_equal(cohort_incr(f.cohort, key(), 1, &value, NULL), COHORT_OK); /* both ways at once */
    assert_int_equal(value, 101);
    teardown(&f);
}

static void test_close_calls_back(void **state)
{
    struct fixture f;
    setup(&f, 20000);
    atomic_store(&f.counter.silent, true);
    struct seen seen = {0};
    for (int i = 0; i < 10; i++) {
        assert_int_equal(cohort_get_start(f.cohort, key(), note, &seen), COHORT_OK);
    }
    while (atomic_load(&f.server.requests) == 0) {
        turn(f.cohort);
    }
    assert_int_equal(cohort_incr_start(f.cohort, key(), 1, note, &seen), COHORT_OK);
    teardown(&f);
    assert_int_equal(seen.called, 11);
    assert_int_equal(seen.last, COHORT_CANCELLED); /* the last never left */
}

/* What remains uses the handle that is being closed. */
static void use_it_again(void *data, enum cohort_status status, const struct cohort_reply *reply)
{
    struct fixture *f = data;
    struct cohort_reply *why;
    assert_int_equal(status, COHORT_CANCELLED);
    assert_int_equal(cohort_get(f->cohort, key(), &why), COHORT_CANCELLED);
    assert_string_equal(cohort_reply_text(why), "the handle is being closed");
    cohort_reply_free(why);
    assert_int_equal(cohort_get_start(f->cohort, key(), use_it_again, f), COHORT_CANCELLED);
    atomic_fetch_add(&f->counter.value, 1);
}

static void test_callbacks_of_a_handle_that_is_closed(void **state)
{
    struct fixture f;
    setup(&f, 2000);
    assert_int_equal(cohort_incr_start(f.cohort, key(), 1, use_it_again, &f), COHORT_OK);
    teardown(&f);
    assert_int_equal(atomic_load(&f.counter.value), 1);
    assert_int_equal(atomic_load(&f.server.requests), 0);
}

static void test_loop_deadline(void **state)
{
    struct fixture f;
    setup(&f, 100);
    atomic_store(&f.counter.silent, true);
    struct seen seen = {0};
    assert_int_equal(cohort_incr_start(f.cohort, key(), 1, note, &seen), COHORT_OK);
    while (seen.called == 0) {
        turn(f.cohort);
    }
    assert_int_equal(seen.last, COHORT_UNCERTAIN);
    teardown(&f);
}

/* ---- many threads ---- */

enum { THREADS = 8, CALLS = 300 };

static void *call_often(void *owner)
{
    struct fixture *f = owner;
    for (int i = 0; i < CALLS; i++) {
        ASSERT(cohort_incr(f->cohort, key(), 1, NULL, NULL) == COHORT_OK);
        ASSERT(cohort_get(f->cohort, key(), NULL) == COHORT_OK);
        if (i % 50 == 7) {
            atomic_store(&f->counter.refuse, 1);
        }
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct fixture f;
    setup(&f, 60000);
    pthread_t threads[THREADS];
    struct seen seen = {.cohort = f.cohort, .chain = CALLS};
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &f), 0);
    }
    assert_int_equal(cohort_incr_start(f.cohort, key(), 1, note, &seen), COHORT_OK);
    while (seen.called < CALLS + 1) { /* a loop beside them */
        turn(f.cohort);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&f.counter.value), THREADS * CALLS + CALLS + 1);
    assert_int_equal(atomic_load(&f.server.accepted), 1); /* all on one connection */
    teardown(&f);
}

/* Connections are cut under many threads: what succeeds and what is uncertain adds up. */
static atomic_int succeeded;
static atomic_int unsure;

static void *call_under_cuts(void *owner)
{
    struct fixture *f = owner;
    for (int i = 0; i < CALLS; i++) {
        enum cohort_status status = cohort_incr(f->cohort, key(), 1, NULL, NULL);
        ASSERT(status == COHORT_OK || status == COHORT_UNCERTAIN);
        atomic_fetch_add(status == COHORT_OK ? &succeeded : &unsure, 1);
        if (i % 20 == 3) {
            atomic_store(&f->server.cut_after, i % 23);
        }
    }
    return NULL;
}

static void test_threads_under_cuts(void **state)
{
    struct fixture f;
    setup(&f, 60000);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, call_under_cuts, &f), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    int executed = atomic_load(&f.counter.value);
    assert_int_equal(atomic_load(&succeeded) + atomic_load(&unsure), THREADS * CALLS);
    assert_true(executed >= atomic_load(&succeeded) && executed <= THREADS * CALLS); /* none twice, none lost */
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_refusals_are_sent_again),
        cmocka_unit_test(test_refused_until_the_deadline),
        cmocka_unit_test(test_writes_cut_at_every_byte),
        cmocka_unit_test(test_reads_cut_at_every_byte),
        cmocka_unit_test(test_again_is_sent_again),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_idle_connection_ended),
        cmocka_unit_test(test_idle_connection_ended_behind_something),
        cmocka_unit_test(test_silent_node_is_left),
        cmocka_unit_test(test_leader_is_followed),
        cmocka_unit_test(test_password),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_what_would_change_the_connection),
        cmocka_unit_test(test_loop),
        cmocka_unit_test(test_close_calls_back),
        cmocka_unit_test(test_callbacks_of_a_handle_that_is_closed),
        cmocka_unit_test(test_loop_deadline),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_threads_under_cuts),
    };
    return cmocka_run_group_tests_name("client_handle", tests, NULL, NULL);
}
