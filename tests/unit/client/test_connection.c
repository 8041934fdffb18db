/* A connection against a peer that a thread of the test plays. */
#include "base/assert.h"
#include "client/connection.h"
#include "wire/resp_command.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { SECOND_NS = 1000000000 };

/* Accepts one connection, reads the expected bytes, answers, and closes when told to. */
struct peer {
    int listener;
    struct client_endpoint endpoint;
    const char *expected;
    const char *answer;
    size_t piece; /* bytes sent at a time */
    bool stays;   /* waits for the other side to close */
    pthread_t thread;
};

static void *play(void *owner)
{
    struct peer *peer = owner;
    int fd = accept(peer->listener, NULL, NULL);
    ASSERT(fd >= 0);
    char bytes[4096];
    size_t wanted = strlen(peer->expected);
    ASSERT(recv(fd, bytes, wanted, MSG_WAITALL) == (ssize_t)wanted);
    ASSERT(memcmp(bytes, peer->expected, wanted) == 0);
    size_t size = strlen(peer->answer);
    for (size_t at = 0; at < size; at += peer->piece) {
        size_t piece = size - at < peer->piece ? size - at : peer->piece;
        ASSERT(send(fd, peer->answer + at, piece, MSG_NOSIGNAL) == (ssize_t)piece);
    }
    if (peer->stays) {
        ASSERT(recv(fd, bytes, 1, 0) == 0);
    }
    close(fd);
    return NULL;
}

static void peer_listen(struct peer *peer)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    peer->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(peer->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(peer->listener, 1), 0);
    assert_int_equal(getsockname(peer->listener, (struct sockaddr *)&address, &size), 0);
    peer->endpoint = (struct client_endpoint){.host = "127.0.0.1", .port = ntohs(address.sin_port)};
}

static void peer_start(struct peer *peer)
{
    peer_listen(peer);
    assert_int_equal(pthread_create(&peer->thread, NULL, play, peer), 0);
}

static void peer_end(struct peer *peer)
{
    assert_int_equal(pthread_join(peer->thread, NULL), 0);
    close(peer->listener);
}

static int64_t soon(void) { return client_clock_ns() + (int64_t)20 * SECOND_NS; }

static const struct slice ping[] = {{(const uint8_t *)"PING", 4}};
#define PING_BYTES "*1\r\n$4\r\nPING\r\n"

static void test_call(void **state)
{
    struct peer peer = {.expected = PING_BYTES,
                        .answer = ">2\r\n+invalidate\r\n:1\r\n*2\r\n$5\r\nhello\r\n:1\r\n",
                        .piece = 1,
                        .stays = true};
    peer_start(&peer);
    struct client_connection connection;
    client_connection_init(&connection);
    assert_int_equal(client_connection_open(&connection, &peer.endpoint, soon()), STATUS_OK);
    struct slice reply;
    assert_int_equal(client_connection_call(&connection, ping, 1, soon(), &reply), STATUS_OK);
    assert_true(slice_equal(reply, SLICE_LITERAL("*2\r\n$5\r\nhello\r\n:1\r\n")));
    client_connection_deinit(&connection);
    peer_end(&peer);
}

static void test_peer_closes(void **state)
{
    struct peer peer = {.expected = PING_BYTES, .answer = "$5\r\nhel", .piece = 100};
    peer_start(&peer);
    struct client_connection connection;
    client_connection_init(&connection);
    assert_int_equal(client_connection_open(&connection, &peer.endpoint, soon()), STATUS_OK);
    struct slice reply;
    assert_int_equal(client_connection_call(&connection, ping, 1, soon(), &reply), STATUS_CLOSED);
    assert_int_equal(connection.fd, -1);
    client_connection_deinit(&connection);
    peer_end(&peer);
}

static void test_silent_peer(void **state)
{
    struct peer peer = {.expected = PING_BYTES, .answer = "", .piece = 1, .stays = true};
    peer_start(&peer);
    struct client_connection connection;
    client_connection_init(&connection);
    assert_int_equal(client_connection_open(&connection, &peer.endpoint, soon()), STATUS_OK);
    struct slice reply;
    int64_t deadline_ns = client_clock_ns() + SECOND_NS / 50;
    assert_int_equal(client_connection_call(&connection, ping, 1, deadline_ns, &reply), STATUS_TIMEOUT);
    assert_true(client_clock_ns() >= deadline_ns);
    client_connection_deinit(&connection);
    peer_end(&peer);
}

static void test_nonsense(void **state)
{
    struct peer peer = {.expected = PING_BYTES, .answer = "HTTP/1.1 400 Bad Request\r\n\r\n", .piece = 100};
    peer_start(&peer);
    struct client_connection connection;
    client_connection_init(&connection);
    assert_int_equal(client_connection_open(&connection, &peer.endpoint, soon()), STATUS_OK);
    struct slice reply;
    assert_int_equal(client_connection_call(&connection, ping, 1, soon(), &reply), STATUS_CORRUPT);
    client_connection_deinit(&connection);
    peer_end(&peer);
}

static void test_nobody_listens(void **state)
{
    struct peer peer = {0};
    peer_listen(&peer);
    close(peer.listener);
    struct client_connection connection;
    client_connection_init(&connection);
    assert_int_equal(client_connection_open(&connection, &peer.endpoint, soon()), STATUS_REFUSED);
    assert_int_equal(connection.fd, -1);
    client_connection_deinit(&connection);
}

static void wait_for(const struct client_connection *connection, short events)
{
    struct pollfd poll_fd = {.fd = connection->fd, .events = events};
    assert_int_equal(poll(&poll_fd, 1, 20000), 1);
}

/* Three requests at once on the caller's own loop; an error, a status and a bulk come back in order. */
static void test_pipeline(void **state)
{
    struct peer peer = {.expected = PING_BYTES PING_BYTES PING_BYTES,
                        .answer = "-ERR no\r\n+PONG\r\n$3\r\nabc\r\n",
                        .piece = 2,
                        .stays = true};
    peer_start(&peer);
    struct client_connection connection;
    client_connection_init(&connection);
    assert_int_equal(client_connection_start(&connection, &peer.endpoint), STATUS_OK);
    wait_for(&connection, POLLOUT);
    assert_int_equal(client_connection_finish(&connection), STATUS_OK);
    for (int i = 0; i < 3; i++) {
        resp_command(&connection.out, ping, 1);
    }
    assert_int_equal(client_connection_flush(&connection), STATUS_OK);
    static const enum resp_type types[] = {RESP_ERROR, RESP_STATUS, RESP_BULK};
    static const char *const lines[] = {"ERR no", "PONG", ""};
    int taken = 0;
    while (taken < 3) {
        enum resp_type type;
        struct slice line;
        enum status status = client_connection_skip(&connection, &type, &line);
        if (status == STATUS_AGAIN) {
            wait_for(&connection, POLLIN);
            status = client_connection_fill(&connection);
            assert_int_equal(status, STATUS_OK);
        } else {
            assert_int_equal(status, STATUS_OK);
            assert_int_equal(type, types[taken]);
            assert_true(slice_equal(line, slice_from_string(lines[taken])));
            taken++;
        }
    }
    client_connection_deinit(&connection);
    peer_end(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call),     cmocka_unit_test(test_peer_closes),    cmocka_unit_test(test_silent_peer),
        cmocka_unit_test(test_nonsense), cmocka_unit_test(test_nobody_listens), cmocka_unit_test(test_pipeline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
