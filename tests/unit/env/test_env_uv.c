/* What only the production env has; the rest is in conformance.c. */
#include "env_uv/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { MS = 1000000, CLIENTS = 4 };

static struct env *env;

static int setup(void **state) { return env_uv_create(NULL, &env); }

static int teardown(void **state)
{
    env_uv_destroy(env);
    return 0;
}

static void stop_now(struct env_timer *timer) { env_uv_stop(env); }

static void run_for_ms(int64_t ms)
{
    struct env_timer timer;
    env_timer_init(&timer, stop_now);
    env_timer_start(env, &timer, env_monotonic_ns(env) + ms * MS);
    env_uv_run(env);
    env_timer_stop(env, &timer);
}

/* ---- loop ---- */

static int signals, done;

static void signal_arrived(void *owner, int signum)
{
    assert_int_equal(signum, SIGUSR1);
    signals++;
    env_uv_stop(env);
}

static void test_signal(void **state)
{
    assert_int_equal(env_uv_on_signal(env, SIGUSR1, signal_arrived, NULL), STATUS_OK);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(signals, 0);
    env_uv_run(env);
    assert_int_equal(signals, 1);
}

static void stop_in_hook(void *owner)
{
    done++;
    env_uv_stop(env);
}

/* Without anything to wait for, a stop in the hook must not sleep; running again is possible. */
static void test_stop_in_hook(void **state)
{
    done = 0;
    env_set_turn_hook(env, stop_in_hook, NULL);
    env_uv_run(env);
    env_uv_run(env);
    assert_true(done >= 2);
}

static void slow_run(struct env_work *work) { (void)usleep(20000); }

static void count_done(struct env_work *work) { done++; }

static void test_destroy_waits_for_work(void **state)
{
    struct env_work work = {.run = slow_run, .done = count_done};
    done = 0;
    env_work_submit(env, &work);
    env_uv_destroy(env);
    assert_int_equal(done, 1);
    assert_int_equal(setup(NULL), 0);
}

static struct env_uv_watch *watch;
static int watched[2];

static void watched_readable(void *owner)
{
    char byte;
    assert_int_equal(read(watched[0], &byte, 1), 1);
    if (byte == '2') {
        env_uv_unwatch(watch);
        env_uv_stop(env);
    }
}

static void test_watch(void **state)
{
    assert_int_equal(pipe(watched), 0);
    assert_int_equal(env_uv_watch_fd(env, watched[0], watched_readable, NULL, &watch), STATUS_OK);
    assert_int_equal(write(watched[1], "123", 3), 3);
    env_uv_run(env);
    char rest;
    assert_int_equal(read(watched[0], &rest, 1), 1);
    assert_int_equal(rest, '3');
    (void)close(watched[0]);
    (void)close(watched[1]);
}

/* ---- streams ---- */

static struct env_listener *listener;
static struct env_stream *streams[CLIENTS];
static int clients[CLIENTS];
static int stream_count, failures;
static enum status failure, read_status;
static int readable_calls;

static void readable(void *owner)
{
    char byte;
    size_t size;
    readable_calls++;
    read_status = env_stream_read(env, owner, &byte, 1, &size);
    if (read_status != STATUS_AGAIN) {
        env_uv_stop(env);
    }
}

static void writable(void *owner) { env_stream_want_write(env, owner, false); }

static const struct env_stream_events stream_events = {readable, writable};

static void accepted(void *owner, struct env_stream *stream)
{
    streams[stream_count++] = stream;
    env_stream_attach(env, stream, &stream_events, stream);
    if (stream_count == (int)(intptr_t)owner) {
        env_uv_stop(env);
    }
}

static void accept_failed(void *owner, enum status status)
{
    failures++;
    failure = status;
    env_uv_stop(env);
}

static const struct env_listener_events listener_events = {accepted, accept_failed};

/* Listens and connects this many plain sockets; accepting starts with the next env_uv_run. */
static void connect_plain(const char *host, int count)
{
    stream_count = failures = readable_calls = 0;
    assert_int_equal(env_listen(env, host, 0, &listener_events, (void *)(intptr_t)count, &listener), STATUS_OK);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)env_listener_port(env, listener)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < count; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_true(clients[i] >= 0);
        assert_int_equal(connect(clients[i], (struct sockaddr *)&address, sizeof(address)), 0);
    }
}

static void close_plain(int count)
{
    for (int i = 0; i < stream_count; i++) {
        env_stream_close(env, streams[i]);
    }
    for (int i = 0; i < count; i++) {
        (void)close(clients[i]);
    }
    env_listener_close(env, listener);
}

static void test_descriptors_run_out(void **state)
{
    connect_plain("127.0.0.1", CLIENTS);
    struct rlimit before, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int free_fd = dup(0);
    assert_true(free_fd >= 0);
    (void)close(free_fd);
    low = before;
    low.rlim_cur = (rlim_t)free_fd + 2;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    int64_t from_ns = env_monotonic_ns(env);
    env_uv_run(env);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(failures, 1);
    assert_int_equal(failure, STATUS_FULL);
    assert_true(stream_count < CLIENTS);
    env_uv_run(env);
    assert_int_equal(stream_count, CLIENTS);
    assert_int_equal(failures, 1);
    assert_true(env_monotonic_ns(env) - from_ns > 50 * MS); /* it paused */
    close_plain(CLIENTS);
}

static void test_socket_options(void **state)
{
    connect_plain("localhost", 1);
    env_uv_run(env);
    int value = 0;
    socklen_t size = sizeof(value);
    assert_int_equal(getsockopt(env_stream_id(env, streams[0]), IPPROTO_TCP, TCP_NODELAY, &value, &size), 0);
    assert_true(value != 0);
    assert_int_equal(getsockopt(env_stream_id(env, streams[0]), SOL_SOCKET, SO_KEEPALIVE, &value, &size), 0);
    assert_true(value != 0);
    close_plain(1);
}

/* A reset is found by reading, also when it came while reading was off. */
static void test_reset_by_peer(void **state)
{
    connect_plain("127.0.0.1", 1);
    env_uv_run(env);
    env_stream_want_read(env, streams[0], false);
    struct linger at_once = {.l_onoff = 1};
    assert_int_equal(setsockopt(clients[0], SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    (void)close(clients[0]);
    run_for_ms(30);
    assert_int_equal(readable_calls, 0);
    env_stream_want_write(env, streams[0], true);
    run_for_ms(10);
    env_stream_want_read(env, streams[0], true);
    env_uv_run(env);
    assert_int_equal(readable_calls, 1);
    assert_int_equal(read_status, STATUS_CLOSED);
    close_plain(0);
}

static void test_names(void **state)
{
    union socket_address address = {0};
    socklen_t size;
    char text[64];
    assert_int_equal(socket_address_parse("::1", 65535, &address, &size), STATUS_OK);
    socket_address_format(&address, text, sizeof(text));
    assert_string_equal(text, "[::1]:65535");
    assert_int_equal(socket_address_parse("10.1.2.3", 1, &address, &size), STATUS_OK);
    socket_address_format(&address, text, sizeof(text));
    assert_string_equal(text, "10.1.2.3:1");
    assert_int_equal(socket_address_parse("10.1.2", 1, &address, &size), STATUS_INVALID);
    assert_int_equal(socket_address_parse("::1", 0, &address, &size), STATUS_INVALID);
    assert_int_equal(socket_address_parse("::1", 65536, &address, &size), STATUS_INVALID);
    assert_int_equal(env_listen(env, "203.0.113.1", 0, &listener_events, NULL, &listener), STATUS_INVALID);
}

/* ---- in a process that is somebody else's ---- */

static void test_a_guest_leaves_signals_alone(void **state)
{
    struct env_uv_options options = {.guest = true, .log_descriptor = -1};
    struct env *guest;
    (void)signal(SIGPIPE, SIG_DFL);
    (void)signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(env_uv_create(&options, &guest), STATUS_OK);
    env_log(guest, ENV_LOG_ERROR, "nobody reads this");
    env_uv_destroy(guest);
    assert_ptr_equal(signal(SIGPIPE, SIG_IGN), SIG_DFL);
    assert_ptr_equal(signal(SIGXFSZ, SIG_IGN), SIG_DFL);
}

static void taken_readable(void *owner)
{
    char byte = 0;
    size_t size = 0;
    assert_int_equal(env_stream_read(env, *(struct env_stream **)owner, &byte, 1, &size), STATUS_OK);
    assert_int_equal(byte, 'x');
    env_uv_stop(env);
}

static void test_a_descriptor_becomes_a_stream(void **state)
{
    static const struct env_stream_events events = {.readable = taken_readable};
    struct env_stream *stream;
    char name[64];
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(env_uv_take_descriptor(env, pair[1], &stream), STATUS_OK);
    env_stream_name(env, stream, true, name, sizeof(name));
    assert_string_equal(name, "/socketpair:0");
    env_stream_attach(env, stream, &events, &stream);
    assert_int_equal(write(pair[0], "x", 1), 1);
    env_uv_run(env);
    env_stream_close(env, stream);
    (void)close(pair[0]);
}

/* ---- files ---- */

static void test_a_lock_says_who_has_it(void **state)
{
    char path[] = "/tmp/cohort-lock-XXXXXX";
    char text[ENV_LOCK_OWNER_BYTES] = "";
    struct env_file *lock;
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "something longer than a number", 30), 30);
    assert_int_equal(env_lock_file(env, path, &lock), STATUS_OK);
    ssize_t size = pread(fd, text, sizeof(text) - 1, 0);
    assert_true(size > 1 && text[size - 1] == '\n');
    assert_int_equal(strtol(text, NULL, 10), getpid());
    env_close(env, lock);
    (void)close(fd);
    (void)unlink(path);
}

static char fork_path[] = "/tmp/cohort-lock-XXXXXX";

/* A process that locks the file, and ends; its child, which lives on, says that it does. */
static void lock_and_fork(const int says[2], const int waits[2], bool closes)
{
    char byte = 0;
    struct env_file *file;
    bool locked = env_lock_file(env, fork_path, &file) == STATUS_OK;
    if (locked && fork() == 0) {
        (void)close(waits[1]);
        (void)!write(says[1], &byte, 1);
        (void)!read(waits[0], &byte, 1); /* until this test closes it */
        _exit(0);
    }
    if (locked && closes) {
        env_close(env, file);
        locked = env_lock_file(env, fork_path, &file) == STATUS_OK; /* whether the child has come so far or not */
    }
    _exit(locked ? 0 : 1);
}

static void test_a_child_of_fork_keeps_no_lock(void **state)
{
    int file = mkstemp(fork_path);
    for (int closes = 0; closes < 2; closes++) {
        int says[2];
        int waits[2];
        int status;
        char byte;
        struct env_file *lock;
        assert_int_equal(pipe(says), 0);
        assert_int_equal(pipe(waits), 0);
        pid_t parent = fork();
        if (parent == 0) {
            lock_and_fork(says, waits, closes);
        }
        assert_int_equal(waitpid(parent, &status, 0), parent);
        assert_int_equal(status, 0);
        assert_int_equal(read(says[0], &byte, 1), 1);
        assert_int_equal(env_lock_file(env, fork_path, &lock), STATUS_OK);
        env_close(env, lock);
        for (int i = 0; i < 2; i++) {
            (void)close(says[i]);
            (void)close(waits[i]);
        }
    }
    (void)close(file);
    (void)unlink(fork_path);
}

static void test_device_errors(void **state)
{
    struct env_file *full;
    struct iovec part = {(char[]){"x"}, 1};
    assert_int_equal(env_open(env, "/dev/full", ENV_OPEN_WRITE, &full), STATUS_OK);
    assert_int_equal(env_write(env, full, 0, &part, 1), STATUS_NOSPACE);
    assert_int_equal(env_sync(env, full), STATUS_INVALID); /* a device without a disk */
    assert_int_equal(env_sync(env, full), STATUS_IO);      /* and never again */
    env_close(env, full);
    assert_int_equal(env_make_directory(env, "/dev/full"), STATUS_EXISTS);
    assert_int_equal(env_make_directory(env, "/dev/full/below"), STATUS_NOTFOUND);
}

static void test_error_translation(void **state)
{
    static const struct {
        int error;
        enum status status;
    } expected[] = {
        {EIO, STATUS_IO},        {ENOSPC, STATUS_NOSPACE},  {EDQUOT, STATUS_NOSPACE}, {EROFS, STATUS_READONLY},
        {EACCES, STATUS_DENIED}, {EAGAIN, STATUS_AGAIN},    {EPIPE, STATUS_CLOSED},   {ECONNREFUSED, STATUS_REFUSED},
        {EMFILE, STATUS_FULL},   {UV_ENOMEM, STATUS_NOMEM}, {0, STATUS_IO},
    };
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_int_equal(env_uv_status(expected[i].error), expected[i].status);
    }
}

/* ---- log lines ---- */

static char *log_through(bool json, enum env_log_level level, const char *message)
{
    static char line[10000];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct env_uv_options options = {.log_level = ENV_LOG_INFO, .log_json = json, .log_descriptor = ends[1]};
    struct env *logging;
    assert_int_equal(env_uv_create(&options, &logging), STATUS_OK);
    logging->operations->log(logging, level, message);
    env_uv_destroy(logging);
    (void)close(ends[1]);
    ssize_t size = read(ends[0], line, sizeof(line) - 1);
    (void)close(ends[0]);
    assert_true(size >= 0);
    line[size] = '\0';
    return line;
}

static void test_log_text(void **state)
{
    char *line = log_through(false, ENV_LOG_WARNING, "name \"a\xc3\xa4\"\n\x1b[31m\x7f\xff\xc2\x9b\xe2\x82 end");
    assert_int_equal(line[10], 'T');
    assert_string_equal(line + 23, "Z warning name \"a\xc3\xa4\"\\x0a\\x1b[31m\\x7f\\xff\\xc2\\x9b\\xe2\\x82 end\n");
    assert_string_equal(log_through(false, ENV_LOG_DEBUG, "hidden"), "");
}

static void test_log_json(void **state)
{
    char *line = log_through(true, ENV_LOG_ERROR, "a \"b\\c\n\xff");
    assert_memory_equal(line, "{\"time\":\"20", 11);
    assert_non_null(strstr(line, "Z\",\"level\":\"error\",\"message\":\"a \\\"b\\\\c\\u000a\\u00ff\"}\n"));
}

static void test_log_long_line_is_cut(void **state)
{
    char message[9000];
    memset(message, 1, sizeof(message));
    message[sizeof(message) - 1] = '\0';
    char *line = log_through(true, ENV_LOG_ERROR, message);
    size_t size = strlen(line);
    assert_true(size > 7000 && size <= 8192);
    assert_string_equal(line + size - 3, "\"}\n");
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_signal),
        TEST(test_stop_in_hook),
        TEST(test_destroy_waits_for_work),
        TEST(test_watch),
        TEST(test_descriptors_run_out),
        TEST(test_socket_options),
        TEST(test_reset_by_peer),
        TEST(test_names),
        TEST(test_a_guest_leaves_signals_alone),
        TEST(test_a_descriptor_becomes_a_stream),
        TEST(test_a_lock_says_who_has_it),
        TEST(test_a_child_of_fork_keeps_no_lock),
        TEST(test_device_errors),
        TEST(test_error_translation),
        TEST(test_log_text),
        TEST(test_log_json),
        TEST(test_log_long_line_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
