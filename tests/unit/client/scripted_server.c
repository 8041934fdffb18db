#include "scripted_server.h"

#include "base/assert.h"
#include "client/reply.h"
#include "wire/resp_reply.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SCRIPTED_DESCRIPTORS = 1024 }; /* of this process; a test has fewer */

bool scripted_is(const struct cohort_reply *request, const char *name)
{
    return strcmp(scripted_word(request, 0), name) == 0;
}

const char *scripted_word(const struct cohort_reply *request, size_t index)
{
    return cohort_reply_text(cohort_reply_at(request, index));
}

static void drop(struct scripted_server *server, int index)
{
    close(server->connections[index].fd);
    server->connections[index].fd = -1;
    buffer_deinit(&server->connections[index].in);
}

/* False: the connection is gone. */
static bool send_answer(struct scripted_server *server, int index, const struct buffer *out)
{
    size_t at = 0;
    while (at < out->size) {
        size_t piece = server->piece == 0 || server->piece > out->size - at ? out->size - at : server->piece;
        long left = atomic_load(&server->cut_after);
        if (left == 0) {
            atomic_store(&server->cut_after, -1);
            drop(server, index);
            return false;
        }
        if (left > 0) {
            piece = 1;
            atomic_fetch_sub(&server->cut_after, 1);
        }
        ssize_t sent = send(server->connections[index].fd, out->data + at, piece, MSG_NOSIGNAL);
        if (sent < 0) {
            drop(server, index);
            return false;
        }
        at += (size_t)sent;
    }
    return true;
}

static enum scripted_verdict decide(struct scripted_server *server, int index, const struct cohort_reply *request,
                                    struct buffer *out, bool *ret_own)
{
    *ret_own = true;
    if (scripted_is(request, "HELLO")) {
        buffer_append_string(out, server->hello == NULL ? "%1\r\n$5\r\nproto\r\n:3\r\n" : server->hello);
        return SCRIPTED_ANSWER;
    }
    if (scripted_is(request, "CLUSTER")) {
        buffer_append_string(out, server->slots == NULL ? "*0\r\n" : server->slots);
        return SCRIPTED_ANSWER;
    }
    *ret_own = false;
    atomic_fetch_add(&server->requests, 1);
    return server->answer(server, index, request, out);
}

/* Answers one whole request; false when there is none, or the connection is gone. */
static bool answer_next(struct scripted_server *server, int index)
{
    struct buffer *in = &server->connections[index].in;
    struct resp_reader reader;
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    enum resp_type root;
    resp_reader_init(&reader);
    if (server->connections[index].stopped ||
        resp_reader_skip(&reader, &limits, in->data, in->size, &root) != RESP_REPLY_READY) {
        return false;
    }
    struct cohort_reply *request;
    ASSERT(reply_create(slice_of(in->data, reader.consumed), &request) == STATUS_OK);
    buffer_consume(in, reader.consumed);
    struct buffer out;
    buffer_init(&out);
    bool own;
    enum scripted_verdict verdict = decide(server, index, request, &out, &own);
    long cut = own ? atomic_exchange(&server->cut_after, -1) : -1; /* cuts only what a test answers */
    bool there = send_answer(server, index, &out);
    if (own && cut >= 0) {
        atomic_store(&server->cut_after, cut);
    }
    if (there && verdict == SCRIPTED_CLOSE) {
        drop(server, index);
        there = false;
    }
    if (there && verdict == SCRIPTED_STOP) {
        server->connections[index].stopped = true;
    }
    buffer_deinit(&out);
    cohort_reply_free(request);
    return there;
}

static void receive(struct scripted_server *server, int index)
{
    struct buffer *in = &server->connections[index].in;
    uint8_t *at = buffer_reserve(in, 65536);
    ssize_t size = recv(server->connections[index].fd, at, 65536, 0);
    if (size <= 0) {
        drop(server, index);
        return;
    }
    in->size += (size_t)size;
    while (answer_next(server, index)) {
    }
}

static void accept_one(struct scripted_server *server)
{
    int fd = accept(server->listener, NULL, NULL);
    ASSERT(fd >= 0);
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    atomic_fetch_add(&server->accepted, 1);
    for (int i = 0; i < SCRIPTED_CONNECTIONS; i++) {
        if (server->connections[i].fd < 0) {
            server->connections[i].fd = fd;
            server->connections[i].stopped = false;
            buffer_init(&server->connections[i].in);
            return;
        }
    }
    ASSERT(false);
}

static void *serve(void *owner)
{
    struct scripted_server *server = owner;
    for (;;) {
        struct pollfd fds[SCRIPTED_CONNECTIONS + 2];
        fds[0] = (struct pollfd){.fd = server->stop_fd, .events = POLLIN};
        fds[1] = (struct pollfd){.fd = server->listener, .events = POLLIN};
        for (int i = 0; i < SCRIPTED_CONNECTIONS; i++) {
            fds[i + 2] = (struct pollfd){.fd = server->connections[i].fd, .events = POLLIN};
        }
        ASSERT(poll(fds, SCRIPTED_CONNECTIONS + 2, -1) > 0);
        if (fds[0].revents != 0) {
            return NULL;
        }
        for (int i = 0; i < SCRIPTED_CONNECTIONS; i++) {
            if (fds[i + 2].fd >= 0 && fds[i + 2].revents != 0) {
                receive(server, i);
            }
        }
        if (fds[1].revents != 0) {
            accept_one(server);
        }
    }
}

static void listen_on(struct scripted_server *server, int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    socklen_t size = sizeof(address);
    int on = 1;
    server->listener = socket(AF_INET, SOCK_STREAM, 0);
    ASSERT(setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
    ASSERT(bind(server->listener, (struct sockaddr *)&address, size) == 0);
    ASSERT(listen(server->listener, 16) == 0);
    ASSERT(getsockname(server->listener, (struct sockaddr *)&address, &size) == 0);
    server->port = ntohs(address.sin_port);
    (void)snprintf(server->url, sizeof(server->url), "cohort://127.0.0.1:%d", server->port);
    server->stop_fd = eventfd(0, 0);
    for (int i = 0; i < SCRIPTED_CONNECTIONS; i++) {
        server->connections[i].fd = -1;
    }
    ASSERT(pthread_create(&server->thread, NULL, serve, server) == 0);
}

void scripted_start(struct scripted_server *server)
{
    atomic_store(&server->cut_after, -1);
    listen_on(server, 0);
}

void scripted_start_again(struct scripted_server *server) { listen_on(server, server->port); }

void scripted_stop(struct scripted_server *server)
{
    (void)eventfd_write(server->stop_fd, 1);
    (void)pthread_join(server->thread, NULL);
    for (int i = 0; i < SCRIPTED_CONNECTIONS; i++) {
        if (server->connections[i].fd >= 0) {
            drop(server, i);
        }
    }
    close(server->listener);
    close(server->stop_fd);
}

static bool is_connected_to(int fd, int port)
{
    struct sockaddr_in peer = {0};
    socklen_t size = sizeof(peer);
    return getpeername(fd, (struct sockaddr *)&peer, &size) == 0 && peer.sin_family == AF_INET &&
           ntohs(peer.sin_port) == port;
}

void scripted_wait_until_heard(const struct scripted_server *server)
{
    for (int fd = 0; fd < SCRIPTED_DESCRIPTORS; fd++) {
        if (is_connected_to(fd, server->port)) {
            struct pollfd poll_fd = {.fd = fd, .events = POLLRDHUP};
            ASSERT(poll(&poll_fd, 1, 20000) > 0);
        }
    }
}
