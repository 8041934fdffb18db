#include "engine/host.h"

#include "base/assert.h"
#include "base/list.h"
#include "engine/commands.h"
#include "wire/resp_request.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_BYTES = 16 * 1024,
    OUT_BYTES = 4096, /* what any reply takes that is not checked by itself */
    EVENTS = 16,
    NS_PER_MS = 1000000,
};

struct connection {
    struct list node;
    int fd;
    struct buffer in, out;
    size_t sent;
    struct resp_request_parser parser;
    bool waits;
    bool wants_write;
    struct engine_wait wait;
};

struct host {
    struct engine *engine;
    int64_t timeout_ms;
    pthread_t thread;
    int epoll_fd;
    int wake_fd;
    struct list connections; /* the thread's */

    pthread_mutex_t mutex;
    struct list arrivals; /* connections that the thread has not taken yet */
    bool stopping;
};

/* ---- connections ---- */

/* A child that the program forked may have the descriptor too, and then its events would go on. */
static void destroy(struct host *host, struct connection *connection)
{
    list_remove(&connection->node);
    (void)epoll_ctl(host->epoll_fd, EPOLL_CTL_DEL, connection->fd, NULL);
    (void)close(connection->fd);
    buffer_deinit(&connection->in);
    buffer_deinit(&connection->out);
    resp_request_deinit(&connection->parser);
    free(connection);
}

/* The engine ends before libcohort's time does, so that its words are heard. */
static void begin_command(struct host *host)
{
    host->engine->deadline_ns = engine_clock_ns() + host->timeout_ms * NS_PER_MS / 4 * 3;
}

static void close_connection(struct host *host, struct connection *connection)
{
    if (connection->waits) {
        begin_command(host);
        (void)host->engine->ops->leave(host->engine, connection->wait.wanted.key, connection->wait.wanted.owner);
    }
    destroy(host, connection);
}

static void watch(struct host *host, struct connection *connection, int how)
{
    uint32_t events = EPOLLRDHUP | (connection->waits ? 0 : EPOLLIN) | (connection->wants_write ? EPOLLOUT : 0);
    struct epoll_event event = {.events = events, .data.ptr = connection};
    (void)epoll_ctl(host->epoll_fd, how, connection->fd, &event);
}

/* False: it has ended. */
static bool flush(struct host *host, struct connection *connection)
{
    while (connection->sent < connection->out.size) {
        ssize_t size = send(connection->fd, connection->out.data + connection->sent,
                            connection->out.size - connection->sent, MSG_NOSIGNAL);
        if (size >= 0) {
            connection->sent += (size_t)size;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            return false;
        }
    }
    if (connection->sent == connection->out.size) {
        buffer_clear(&connection->out);
        connection->sent = 0;
    }
    bool wants_write = connection->out.size > 0;
    if (wants_write != connection->wants_write) {
        connection->wants_write = wants_write;
        watch(host, connection, EPOLL_CTL_MOD);
    }
    return true;
}

static void set_waits(struct host *host, struct connection *connection, bool waits)
{
    if (connection->waits != waits) {
        connection->waits = waits;
        watch(host, connection, EPOLL_CTL_MOD);
    }
}

/* Executes what is whole, until one has to wait. False: it is to be closed. */
static bool execute_all(struct host *host, struct connection *connection)
{
    const struct resp_request_limits limits = RESP_REQUEST_DEFAULT_LIMITS;
    while (!connection->waits && connection->in.size > 0) {
        enum resp_request_result result =
            resp_request_parse(&connection->parser, &limits, connection->in.data, connection->in.size);
        if (result == RESP_REQUEST_INVALID || !buffer_try_reserve(&connection->out, OUT_BYTES)) {
            return false;
        }
        if (result == RESP_REQUEST_READY) {
            struct resp_writer reply = resp_writer_to(&connection->out, RESP3);
            begin_command(host);
            if (engine_execute(host->engine, connection->parser.argv, connection->parser.argc, &reply,
                               &connection->wait) == ENGINE_MUST_WAIT) {
                set_waits(host, connection, true); /* its words stay where they are */
                return true;
            }
        }
        buffer_consume(&connection->in, connection->parser.consumed);
        if (result == RESP_REQUEST_PARTIAL) {
            break;
        }
    }
    return true;
}

static bool receive(struct connection *connection)
{
    for (;;) {
        if (!buffer_try_reserve(&connection->in, READ_BYTES)) {
            return false;
        }
        ssize_t size = recv(connection->fd, connection->in.data + connection->in.size,
                            connection->in.capacity - connection->in.size, 0);
        if (size > 0) {
            connection->in.size += (size_t)size;
            return true;
        }
        if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
            return false;
        }
        if (errno == EAGAIN) {
            return true;
        }
    }
}

static void ready(struct host *host, struct connection *connection, uint32_t events)
{
    bool lives = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0;
    if (lives && (events & EPOLLIN) != 0) {
        lives = receive(connection) && execute_all(host, connection);
    }
    if (!lives || !flush(host, connection)) {
        close_connection(host, connection);
    }
}

/* ---- waits ---- */

/* Its peer is gone, so what was granted is of no use to anybody. */
static void give_back(struct host *host, struct connection *connection)
{
    struct lock_state state;
    int64_t now_ms;
    const struct lock_wanted *wanted = &connection->wait.wanted;
    lock_state_init(&state);
    begin_command(host);
    if (host->engine->ops->look(host->engine, wanted->key, &state, &now_ms) == ENGINE_OK) {
        for (uint32_t i = 0; i < state.holder_count; i++) {
            if (slice_equal(state.holders[i].owner, wanted->owner)) {
                (void)host->engine->ops->release(host->engine, wanted->key, wanted->owner, state.holders[i].token);
            }
        }
    }
    lock_state_deinit(&state);
}

static void ask_again(struct host *host, struct connection *connection)
{
    if (!buffer_try_reserve(&connection->out, OUT_BYTES)) {
        close_connection(host, connection);
        return;
    }
    struct resp_writer reply = resp_writer_to(&connection->out, RESP3);
    begin_command(host);
    if (engine_execute_wait(host->engine, &connection->wait, &reply) == ENGINE_MUST_WAIT) {
        return;
    }
    if (!flush(host, connection)) {
        give_back(host, connection);
        destroy(host, connection);
        return;
    }
    set_waits(host, connection, false);
    buffer_consume(&connection->in, connection->parser.consumed);
    if (!execute_all(host, connection) || !flush(host, connection)) {
        close_connection(host, connection);
    }
}

static void ask_waits(struct host *host, bool heard)
{
    LIST_FOR_EACH_SAFE (at, after, &host->connections) {
        struct connection *connection = CONTAINER_OF(at, struct connection, node);
        if (connection->waits && (heard || connection->wait.again_ns <= engine_clock_ns())) {
            ask_again(host, connection);
        }
    }
}

static int until_next_ms(const struct host *host)
{
    int64_t next_ns = INT64_MAX;
    LIST_FOR_EACH (at, &host->connections) {
        const struct connection *connection = CONTAINER_OF(at, struct connection, node);
        if (connection->waits && connection->wait.again_ns < next_ns) {
            next_ns = connection->wait.again_ns;
        }
    }
    if (next_ns == INT64_MAX) {
        return -1;
    }
    int64_t left_ns = next_ns - engine_clock_ns();
    return left_ns <= 0 ? 0 : (int)(left_ns / NS_PER_MS) + 1; /* waits are asked again soon: it fits */
}

/* ---- the thread ---- */

static bool take_arrivals(struct host *host)
{
    uint64_t count;
    ssize_t size = read(host->wake_fd, &count, sizeof(count));
    (void)size;
    (void)pthread_mutex_lock(&host->mutex);
    while (!list_empty(&host->arrivals)) {
        struct connection *connection = CONTAINER_OF(host->arrivals.next, struct connection, node);
        list_remove(&connection->node);
        list_append(&host->connections, &connection->node);
        watch(host, connection, EPOLL_CTL_ADD);
    }
    bool goes_on = !host->stopping;
    (void)pthread_mutex_unlock(&host->mutex);
    return goes_on;
}

static void *run(void *data)
{
    struct host *host = data;
    bool goes_on = true;
    while (goes_on) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(host->epoll_fd, events, EVENTS, until_next_ms(host));
        bool heard = false;
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == host) {
                goes_on = take_arrivals(host);
            } else if (events[i].data.ptr == host->engine) {
                host->engine->ops->heard(host->engine);
                heard = true;
            } else {
                ready(host, events[i].data.ptr, events[i].events);
            }
        }
        ask_waits(host, heard);
    }
    while (!list_empty(&host->connections)) {
        close_connection(host, CONTAINER_OF(host->connections.next, struct connection, node));
    }
    return NULL;
}

/* ---- from outside ---- */

static bool watch_own(struct host *host)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = host};
    if (epoll_ctl(host->epoll_fd, EPOLL_CTL_ADD, host->wake_fd, &event) != 0) {
        return false;
    }
    int fd = host->engine->ops->fd == NULL ? -1 : host->engine->ops->fd(host->engine);
    event.data.ptr = host->engine;
    return fd < 0 || epoll_ctl(host->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool start_thread(struct host *host)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the program's */
    int code = pthread_create(&host->thread, NULL, run, host);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code == 0;
}

static void destroy_host(struct host *host)
{
    while (!list_empty(&host->arrivals)) {
        destroy(host, CONTAINER_OF(host->arrivals.next, struct connection, node));
    }
    host->engine->ops->close(host->engine);
    if (host->epoll_fd >= 0) {
        (void)close(host->epoll_fd);
    }
    if (host->wake_fd >= 0) {
        (void)close(host->wake_fd);
    }
    (void)pthread_mutex_destroy(&host->mutex);
    free(host);
}

enum status host_start(struct engine *engine, int64_t timeout_ms, struct host **ret_host)
{
    struct host *host = malloc(sizeof(*host));
    if (host == NULL) {
        engine->ops->close(engine);
        return STATUS_NOMEM;
    }
    *host = (struct host){.engine = engine, .timeout_ms = timeout_ms};
    list_init(&host->connections);
    list_init(&host->arrivals);
    (void)pthread_mutex_init(&host->mutex, NULL);
    host->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    host->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    enum status status = STATUS_OK;
    if (host->epoll_fd < 0 || host->wake_fd < 0 || !watch_own(host)) {
        status = STATUS_FULL;
    } else if (!start_thread(host)) {
        status = STATUS_IO;
    }
    if (status != STATUS_OK) {
        destroy_host(host);
        return status;
    }
    *ret_host = host;
    return STATUS_OK;
}

static void wake(struct host *host)
{
    uint64_t one = 1;
    ssize_t size = write(host->wake_fd, &one, sizeof(one));
    (void)size;
}

enum status host_connect(struct host *host, int *ret_fd)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
        return STATUS_FULL;
    }
    struct connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL) {
        (void)close(fds[0]);
        (void)close(fds[1]);
        return STATUS_NOMEM;
    }
    connection->fd = fds[1];
    resp_request_init(&connection->parser);
    (void)pthread_mutex_lock(&host->mutex);
    list_append(&host->arrivals, &connection->node);
    (void)pthread_mutex_unlock(&host->mutex);
    wake(host);
    *ret_fd = fds[0];
    return STATUS_OK;
}

void host_stop(struct host *host)
{
    (void)pthread_mutex_lock(&host->mutex);
    host->stopping = true;
    (void)pthread_mutex_unlock(&host->mutex);
    wake(host);
    (void)pthread_join(host->thread, NULL);
    destroy_host(host);
}
