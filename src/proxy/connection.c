#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "proxy/worker.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { ACCEPTS_A_TURN = 64, RETRY_BURST = 100 };
static const int64_t ACCEPT_PAUSE_NS = 100000000;

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

static void close_socket(int fd, bool reset)
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
    set_nodelay(fd);
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
            close_socket(connection->sides[i].fd, reset);
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

static bool begins_well(int result) { return result == 0 || errno == EINPROGRESS; }

/* False when it failed at once; the descriptor, if any, is in the side. */
static bool start_attempt(struct proxy_worker *worker, struct proxy_connection *connection, uint32_t handle)
{
    const struct proxy_backend *backend = &worker->proxy->options.backends[handle];
    connection->tried[connection->tried_count++] = handle;
    connection->engaged = true;
    connection->begun_ns = worker->now_ns;
    connection->latency_ns = -1;
    balancer_begin(worker->balancer, handle, worker->now_ns);
    int fd = socket(backend->at.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    return side_open(worker, connection, BACKEND, fd) &&
           begins_well(connect(fd, (const struct sockaddr *)&backend->at.address, backend->at.size));
}

static void end_attempt(struct proxy_worker *worker, struct proxy_connection *connection)
{
    disengage(worker, connection, BALANCER_ERROR);
    if (connection->sides[BACKEND].fd >= 0) {
        close_socket(connection->sides[BACKEND].fd, true);
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
        if (start_attempt(worker, connection, handle)) {
            return;
        }
        worker->counts.connect_errors++;
        end_attempt(worker, connection);
    }
    worker->counts.no_backend++;
    proxy_connection_close(worker, connection, true);
}

static void retry(struct proxy_worker *worker, struct proxy_connection *connection)
{
    end_attempt(worker, connection);
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

static void connected(struct proxy_worker *worker, struct proxy_connection *connection)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(connection->sides[BACKEND].fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        worker->counts.connect_errors++;
        retry(worker, connection);
        return;
    }
    connection->state = PROXY_STREAMING;
    wait_in(worker, connection, &worker->streaming);
    hold_header(worker, connection);
    proxy_connection_run(worker, connection);
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
        if (which == BACKEND && (broken || (events & EPOLLOUT) != 0)) {
            connected(worker, connection);
        } else if (which == CLIENT && broken) {
            proxy_connection_close(worker, connection, true); /* it left */
        }
        break;
    default: proxy_connection_run(worker, connection); break;
    }
}

static void begin(struct proxy_worker *worker, int fd, const union proxy_peer *client)
{
    struct proxy_connection *connection = memory_allocate_zeroed(1, sizeof(*connection));
    const struct proxy_options *options = &worker->proxy->options;
    list_init(&connection->timed);
    list_init(&connection->ready);
    connection->client = *client;
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

/* No descriptors or no memory: the listener rests a moment, else it would be told of again and again. */
static void pause_accepting(struct proxy_worker *worker)
{
    worker->counts.accept_errors++;
    worker->accept_again_ns = worker->now_ns + ACCEPT_PAUSE_NS;
    (void)epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, worker->listen_fd, NULL);
}

void proxy_connection_accept_some(struct proxy_worker *worker)
{
    struct proxy *proxy = worker->proxy;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        union proxy_peer client = {.any.sa_family = AF_UNSPEC};
        socklen_t size = sizeof(client);
        int fd = accept4(worker->listen_fd, &client.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EAGAIN) {
                return;
            }
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                pause_accepting(worker);
                return;
            }
            continue; /* that client left before */
        }
        if (atomic_fetch_add(&proxy->open, 1) >= proxy->options.connections) {
            atomic_fetch_sub(&proxy->open, 1);
            worker->counts.refused++;
            close_socket(fd, true);
            continue;
        }
        begin(worker, fd, &client);
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
        proxy_connection_close(worker, connection, false);
    }
}
