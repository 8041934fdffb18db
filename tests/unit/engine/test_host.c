/* The host of an engine (host.h), with one that does nothing. */
#include "engine/host.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void close_nothing(struct engine *engine) { free(engine); }

static const struct engine_ops nothing = {.scheme = "nothing", .close = close_nothing};

static struct host *start(void)
{
    struct engine *engine = calloc(1, sizeof(*engine));
    assert_non_null(engine);
    engine->ops = &nothing;
    struct host *host;
    assert_int_equal(host_start(engine, 1000, &host), STATUS_OK);
    return host;
}

/* The descriptor does not block, so this looks until the answer is there. */
static void ping(int fd)
{
    static const char request[] = "*1\r\n$4\r\nPING\r\n";
    char reply[16];
    size_t size = 0;
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    for (int i = 0; i < 60000 && size < strlen("+PONG\r\n"); i++) {
        ssize_t more = recv(fd, reply + size, sizeof(reply) - size, 0);
        size += more > 0 ? (size_t)more : 0;
        (void)usleep(more > 0 ? 0 : 1000);
    }
    assert_int_equal(size, strlen("+PONG\r\n"));
    assert_memory_equal(reply, "+PONG\r\n", size);
}

/* The program forked, so a child has each descriptor too: a connection that has ended here is heard of no more. */
static void test_a_child_that_has_its_descriptors(void **state)
{
    (void)state;
    struct host *host = start();
    int ends;
    int stays;
    assert_int_equal(host_connect(host, &ends), STATUS_OK);
    assert_int_equal(host_connect(host, &stays), STATUS_OK);
    ping(ends);
    ping(stays);
    pid_t child = fork();
    if (child == 0) {
        for (;;) {
            (void)pause();
        }
    }
    assert_true(child > 0);
    assert_int_equal(shutdown(ends, SHUT_RDWR), 0);
    for (int i = 0; i < 20; i++) {
        ping(stays);
    }
    (void)close(ends);
    (void)close(stays);
    host_stop(host);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_child_that_has_its_descriptors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
