#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "proxy/worker.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { RETRY_BURST = 100 };

static void set_option(int fd, int level, int name, const void *value, socklen_t size)
{
    int result = setsockopt(fd, level, name, value, size);
    (void)result; /* of a socket that was reset meanwhile; the next read says so */
}

static void set_nodelay(int fd)
{
    int on = 1;
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void proxy_socket_close(int fd, bool reset)
{
    if (reset) {
        struct linger now = {.l_onoff = 1};
        set_option(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    (void)close(fd);
}

static bool side_open(struct proxy_worker *worker, struct proxy_connection *connection, int side, int fd)
{
    connection->sides[side] = (struct proxy_side){.fd = fd, .writable = side == CLIENT};
    if (side == BACKEND) { /* clients have it from the listener */
        set_nodelay(fd);
    }
    return proxy_worker_watch(worker, fd, (uint64_t)(uintptr_t)connection | (uint64_t)side);
}

static void wait_in(struct proxy_worker *worker, struct proxy_connection *connection, struct list *list)
{
    connection->since_ns = worker->now_ns;
    list_remove(&connection->timed);
    list_append(list, &connection->timed);
}

/* ---- the end ---- */

/* The balancer hears how the present attempt ended. */
static void disengage(struct proxy_worker *worker, struct proxy_connection *connection, enum balancer_outcome outcome)
{
    if (!connection->engaged) {
        return;
    }
    connection->engaged = false;
    int64_t latency_ns = outcome == BALANCER_ERROR ? worker->now_ns - connection->begun_ns : connection->latency_ns;
    balancer_end(worker->balancer, connection->tried[connection->tried_count - 1], worker->now_ns, latency_ns, outcome);
}

void proxy_connection_close(struct proxy_worker *worker, struct proxy_connection *connection, bool reset)
{
    ASSERT(connection->state != PROXY_CLOSED);
    bool answered = connection->state == PROXY_STREAMING && (!reset || connection->flows[BACKEND].bytes > 0);
    disengage(worker, connection,
              connection->backend_failed ? BALANCER_ERROR
              : answered                 ? BALANCER_OK
                                         : BALANCER_CANCELLED);
    for (int i = 0; i < PROXY_SIDES; i++) {
        proxy_flow_deinit(worker, &connection->flows[i]);
        if (connection->sides[i].fd >= 0) {
            proxy_socket_close(connection->sides[i].fd, reset);
        }
    }
    worker->counts.resets += reset;
    worker->counts.open--;
    atomic_fetch_sub(&worker->proxy->open, 1);
    connection->state = PROXY_CLOSED;
    list_remove(&connection->ready);
    list_remove(&connection->timed);
    list_append(&worker->closed, &connection->timed); /* events of this turn may name it still */
}

/* ---- connecting ---- */

static uint64_t key_of(const struct proxy_connection *connection)
{
    const union proxy_peer *client = &connection->client;
    return client->any.sa_family == AF_INET6 ? hash_bytes(0, &client->six.sin6_addr, sizeof(client->six.sin6_addr))
                                             : hash_bytes(0, &client->four.sin_addr, sizeof(client->four.sin_addr));
}

bool proxy_is_own_failure(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM || error == EADDRNOTAVAIL ||
           error == ENOSPC;
}

/* 0, or why it failed at once; the descriptor, if any, is in the side. */
static int start_attempt(struct proxy_worker *worker, struct proxy_connection *connection, uint32_t handle)
{
    const struct proxy_address *at = &worker->targets[handle].at;
    connection->tried[connection->tried_count++] = handle;
    connection->engaged = true;
    connection->begun_ns = worker->now_ns;
    connection->latency_ns = -1;
    balancer_begin(worker->balancer, handle, worker->now_ns);
    int fd = socket(at->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || !side_open(worker, connection, BACKEND, fd)) {
        return errno;
    }
    return connect(fd, (const struct sockaddr *)&at->address, at->size) == 0 || errno == EINPROGRESS ? 0 : errno;
}

static void end_attempt(struct proxy_worker *worker, struct proxy_connection *connection, enum balancer_outcome outcome)
{
    disengage(worker, connection, outcome);
    if (connection->sides[BACKEND].fd >= 0) {
        proxy_socket_close(connection->sides[BACKEND].fd, true);
        connection->sides[BACKEND].fd = -1;
    }
}

static bool may_retry(struct proxy_worker *worker, const struct proxy_connection *connection)
{
    if (connection->tried_count > worker->proxy->options.retries || worker->retry_tokens < 1) {
        return false;
    }
    worker->retry_tokens--;
    worker->counts.retries++;
    return true;
}

/* To a backend that was not tried yet; until one is being connected to, or nobody is left. */
static void connect_somewhere(struct proxy_worker *worker, struct proxy_connection *connection)
{
    connection->state = PROXY_CONNECTING;
    wait_in(worker, connection, &worker->connecting);
    for (bool first = connection->tried_count == 0;; first = false) {
        if (!first && !may_retry(worker, connection)) {
            break;
        }
        struct balancer_request request = {true, key_of(connection), connection->tried, connection->tried_count};
        uint32_t handle = balancer_pick(worker->balancer, &request, worker->now_ns);
        if (handle == BALANCER_NONE) {
            break;
        }
        int error = start_attempt(worker, connection, handle);
        if (error == 0) {
            return;
        }
        bool own = proxy_is_own_failure(error); /* which says nothing about the backend */
        (*(own ? &worker->counts.local_errors : &worker->counts.connect_errors))++;
        end_attempt(worker, connection, own ? BALANCER_CANCELLED : BALANCER_ERROR);
    }
    worker->counts.no_backend++;
    proxy_connection_close(worker, connection, true);
}

static void retry(struct proxy_worker *worker, struct proxy_connection *connection)
{
    end_attempt(worker, connection, BALANCER_ERROR);
    connect_somewhere(worker, connection);
}

/* The header goes before everything else; a new socket has room for it. */
static void hold_header(struct proxy_worker *worker, struct proxy_connection *connection)
{
    struct proxy_flow *flow = &connection->flows[CLIENT];
    int version = worker->proxy->options.send_header;
    if (version == 0) {
        return;
    }
    flow->held = memory_allocate(PROXY_HEADER_WRITTEN_BYTES);
    flow->held_from = 0;
    flow->held_to = (uint32_t)proxy_header_write(version, &connection->client, &connection->local, flow->held);
}

bool proxy_has_failed(int fd)
{
    int error = 0;
    socklen_t size = sizeof(error);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0;
}

static void connected(struct proxy_worker *worker, struct proxy_connection *connection)
{
    connection->state = PROXY_STREAMING;
    wait_in(worker, connection, &worker->streaming);
    hold_header(worker, connection);
    proxy_connection_run(worker, connection);
}

/* Of the backend's side while it is being connected to. */
static void attempt_event(struct proxy_worker *worker, struct proxy_connection *connection, bool broken)
{
    if (broken && proxy_has_failed(connection->sides[BACKEND].fd)) {
        worker->counts.connect_errors++;
        retry(worker, connection);
    } else if (connection->sides[BACKEND].writable) {
        connected(worker, connection);
    }
}

/* ---- streaming ---- */

static bool nothing_moved(const struct proxy_connection *connection)
{
    return connection->flows[CLIENT].bytes == 0 && connection->flows[BACKEND].bytes == 0;
}

/* A side was reset. */
static void read_failed(struct proxy_worker *worker, struct proxy_connection *connection, int from)
{
    if (from == BACKEND && nothing_moved(connection)) {
        worker->counts.connect_errors++;
        proxy_flow_deinit(worker, &connection->flows[CLIENT]); /* a header that was not written */
        retry(worker, connection);
        return;
    }
    connection->backend_failed = from == BACKEND;
    proxy_connection_close(worker, connection, true);
}

/* Nobody takes these bytes any more; the other direction may have some yet. False when the connection is another one
 * now. */
static bool write_failed(struct proxy_worker *worker, struct proxy_connection *connection, int from)
{
    if (from == CLIENT && nothing_moved(connection)) {
        read_failed(worker, connection, BACKEND); /* it was a header of our own */
        return false;
    }
    proxy_flow_deinit(worker, &connection->flows[from]);
    connection->flows[from].done = true;
    connection->broken = true;
    connection->backend_failed = connection->backend_failed || (from == CLIENT && !connection->flows[BACKEND].ended);
    return true;
}

void proxy_connection_run(struct proxy_worker *worker, struct proxy_connection *connection)
{
    uint64_t bytes = connection->flows[CLIENT].bytes + connection->flows[BACKEND].bytes;
    for (int from = CLIENT; from <= BACKEND; from++) {
        enum flow_result result = proxy_flow_run(worker, connection, from);
        if (result == FLOW_READ_ERROR) {
            read_failed(worker, connection, from);
            return;
        }
        if (result == FLOW_WRITE_ERROR && !write_failed(worker, connection, from)) {
            return;
        }
        if (result == FLOW_MORE && list_empty(&connection->ready)) {
            list_append(&worker->ready, &connection->ready);
        }
    }
    if (connection->flows[CLIENT].done && connection->flows[BACKEND].done) {
        proxy_connection_close(worker, connection, connection->broken);
    } else if (connection->flows[CLIENT].bytes + connection->flows[BACKEND].bytes != bytes) {
        wait_in(worker, connection, &worker->streaming);
    }
}

/* ---- the beginning ---- */

static void bad_header(struct proxy_worker *worker, struct proxy_connection *connection)
{
    worker->counts.bad_headers++;
    proxy_connection_close(worker, connection, true);
}

/* Looks without taking, so that what follows the header stays where it is. */
static void read_header(struct proxy_worker *worker, struct proxy_connection *connection)
{
    int fd = connection->sides[CLIENT].fd;
    ssize_t size = recv(fd, worker->scratch, PROXY_HEADER_MAXIMUM_BYTES, MSG_PEEK);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    size_t used = 0;
    union proxy_peer source;
    union proxy_peer destination;
    enum status status =
        size <= 0 ? STATUS_CLOSED
                  : proxy_header_parse(slice_of(worker->scratch, (size_t)size), &used, &source, &destination);
    if (status == STATUS_AGAIN && size < PROXY_HEADER_MAXIMUM_BYTES && !connection->sides[CLIENT].hung) {
        return;
    }
    if (status != STATUS_OK || recv(fd, worker->scratch, used, 0) != (ssize_t)used) {
        bad_header(worker, connection);
        return;
    }
    if (source.any.sa_family != AF_UNSPEC) {
        connection->client = source;
        connection->local = destination;
    }
    connection->sides[CLIENT].readable = true;
    connect_somewhere(worker, connection);
}

void proxy_connection_event(struct proxy_worker *worker, struct proxy_connection *connection, int which,
                            uint32_t events)
{
    struct proxy_side *side = &connection->sides[which];
    if (connection->state == PROXY_CLOSED) {
        return;
    }
    bool broken = (events & (EPOLLERR | EPOLLHUP)) != 0;
    side->readable = side->readable || broken || (events & (EPOLLIN | EPOLLRDHUP)) != 0;
    side->writable = side->writable || broken || (events & EPOLLOUT) != 0;
    side->hung = side->hung || broken || (events & EPOLLRDHUP) != 0;
    switch (connection->state) {
    case PROXY_HEADER: read_header(worker, connection); break;
    case PROXY_CONNECTING:
        if (which == BACKEND) {
            attempt_event(worker, connection, broken);
        } else if (which == CLIENT && broken) {
            proxy_connection_close(worker, connection, true); /* it left */
        }
        break;
    default: proxy_connection_run(worker, connection); break;
    }
}

void proxy_connection_begin(struct proxy_worker *worker, int fd, const union proxy_peer *client)
{
    struct proxy_connection *connection = memory_allocate_zeroed(1, sizeof(*connection));
    const struct proxy_options *options = &worker->proxy->options;
    list_init(&connection->timed);
    list_init(&connection->ready);
    connection->client = *client;
    proxy_peer_unmap(&connection->client);
    connection->sides[BACKEND].fd = -1;
    worker->counts.open++;
    worker->counts.accepted++;
    worker->retry_tokens += (double)options->retry_budget_percent / 100;
    worker->retry_tokens = worker->retry_tokens > RETRY_BURST ? RETRY_BURST : worker->retry_tokens;
    if (options->send_header != 0) {
        socklen_t size = sizeof(connection->local);
        if (getsockname(fd, &connection->local.any, &size) != 0) {
            connection->local.any.sa_family = AF_UNSPEC;
        }
        proxy_peer_unmap(&connection->local);
    }
    if (!side_open(worker, connection, CLIENT, fd)) {
        proxy_connection_close(worker, connection, true);
    } else if (options->accept_header) {
        connection->state = PROXY_HEADER;
        wait_in(worker, connection, &worker->headers);
    } else {
        connect_somewhere(worker, connection);
    }
}

/* ---- timeouts ---- */

static struct proxy_connection *first_due(const struct proxy_worker *worker, const struct list *list,
                                          int64_t timeout_ns)
{
    if (list_empty(list) || timeout_ns == 0) {
        return NULL;
    }
    struct proxy_connection *first = CONTAINER_OF(list->next, struct proxy_connection, timed);
    return worker->now_ns - first->since_ns >= timeout_ns ? first : NULL;
}

static bool holds_bytes(const struct proxy_connection *connection)
{
    bool held = false;
    for (int i = 0; i < PROXY_SIDES; i++) {
        held = held || connection->flows[i].held != NULL || connection->flows[i].in_pipe > 0;
    }
    return held;
}

void proxy_connection_expire(struct proxy_worker *worker)
{
    const struct proxy_options *options = &worker->proxy->options;
    struct proxy_connection *connection;
    while ((connection = first_due(worker, &worker->headers, options->connect_timeout_ns)) != NULL) {
        bad_header(worker, connection);
    }
    while ((connection = first_due(worker, &worker->connecting, options->connect_timeout_ns)) != NULL) {
        worker->counts.connect_timeouts++;
        retry(worker, connection);
    }
    while ((connection = first_due(worker, &worker->streaming, options->idle_timeout_ns)) != NULL) {
        worker->counts.idle_timeouts++;
        proxy_connection_close(worker, connection,
                               holds_bytes(connection)); /* a reader that does not read is cut off */
    }
}
