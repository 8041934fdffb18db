#include "client/connection.h"

#include "base/assert.h"
#include "wire/resp_command.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

void client_connection_init(struct client_connection *connection)
{
    *connection = (struct client_connection){.fd = -1, .limits = RESP_REPLY_DEFAULT_LIMITS};
}

void client_connection_close(struct client_connection *connection)
{
    if (connection->fd >= 0) {
        (void)close(connection->fd);
        connection->fd = -1;
    }
    buffer_clear(&connection->out);
    buffer_clear(&connection->in);
    connection->sent = 0;
    connection->parsed = 0;
    resp_reader_init(&connection->reader);
}

void client_connection_deinit(struct client_connection *connection)
{
    client_connection_close(connection);
    buffer_deinit(&connection->out);
    buffer_deinit(&connection->in);
}

int64_t client_clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static enum status status_from_errno(int code)
{
    switch (code) {
    case EAGAIN:
    case EINPROGRESS: return STATUS_AGAIN;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH: return STATUS_REFUSED;
    case ETIMEDOUT: return STATUS_TIMEOUT;
    case ECONNRESET:
    case EPIPE: return STATUS_CLOSED;
    case ENOMEM:
    case ENOBUFS: return STATUS_NOMEM;
    case EMFILE:
    case ENFILE: return STATUS_FULL;
    case EACCES:
    case EPERM: return STATUS_DENIED;
    default: return STATUS_IO;
    }
}

/* Closes on a real failure and passes the status on. */
static enum status checked(struct client_connection *connection, enum status status)
{
    if (status != STATUS_OK && status != STATUS_AGAIN) {
        client_connection_close(connection);
    }
    return status;
}

static enum status resolve(const struct client_endpoint *endpoint, struct addrinfo **ret_addresses)
{
    char port[8];
    (void)snprintf(port, sizeof(port), "%d", endpoint->port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    switch (getaddrinfo(endpoint->host, port, &hints, ret_addresses)) {
    case 0: return STATUS_OK;
    case EAI_MEMORY: return STATUS_NOMEM;
    case EAI_AGAIN: return STATUS_TIMEOUT;
    default: return STATUS_NOTFOUND;
    }
}

/* A peer whose machine went without a word is missed within half a minute, also by who waits for a lock and sends
 * nothing.
 */
static void set_options(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1}, {IPPROTO_TCP, TCP_KEEPIDLE, 10},
        {IPPROTO_TCP, TCP_KEEPINTVL, 5}, {IPPROTO_TCP, TCP_KEEPCNT, 3},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(options[i].value));
    }
}

static enum status start_address(struct client_connection *connection, const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, address->ai_protocol);
    if (fd < 0) {
        return status_from_errno(errno);
    }
    set_options(fd);
    connection->fd = fd;
    if (connect(fd, address->ai_addr, address->ai_addrlen) < 0) {
        return checked(connection, status_from_errno(errno));
    }
    return STATUS_OK;
}

/* Waits until the descriptor is ready for `events`, or the deadline. */
static enum status wait_ready(struct client_connection *connection, short events, int64_t deadline_ns)
{
    for (;;) {
        int64_t left_ns = deadline_ns - client_clock_ns();
        if (left_ns <= 0) {
            return checked(connection, STATUS_TIMEOUT);
        }
        int64_t left_ms = left_ns / 1000000 + 1;
        struct pollfd poll_fd = {.fd = connection->fd, .events = events};
        int count = poll(&poll_fd, 1, left_ms > 3600000 ? 3600000 : (int)left_ms);
        if (count > 0) {
            return STATUS_OK;
        }
        if (count < 0 && errno != EINTR) {
            return checked(connection, status_from_errno(errno));
        }
    }
}

enum status client_connection_finish(struct client_connection *connection)
{
    int code = 0;
    socklen_t size = sizeof(code);
    if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &code, &size) < 0) {
        code = errno;
    }
    return code == 0 ? STATUS_OK : checked(connection, status_from_errno(code));
}

enum status client_connection_start(struct client_connection *connection, const struct client_endpoint *endpoint)
{
    uint32_t count;
    return client_connection_start_other(connection, endpoint, 0, &count);
}

enum status client_connection_start_other(struct client_connection *connection, const struct client_endpoint *endpoint,
                                          uint32_t which, uint32_t *ret_count)
{
    ASSERT(connection->fd < 0);
    struct addrinfo *addresses;
    enum status status = resolve(endpoint, &addresses);
    if (status == STATUS_OK) {
        uint32_t count = 0;
        for (const struct addrinfo *at = addresses; at != NULL; at = at->ai_next) {
            count++;
        }
        const struct addrinfo *chosen = addresses;
        for (uint32_t i = 0; i < which % count; i++) {
            chosen = chosen->ai_next;
        }
        status = start_address(connection, chosen);
        freeaddrinfo(addresses);
        *ret_count = count;
    }
    return status == STATUS_AGAIN ? STATUS_OK : status;
}

enum status client_connection_open(struct client_connection *connection, const struct client_endpoint *endpoint,
                                   int64_t deadline_ns)
{
    ASSERT(connection->fd < 0);
    struct addrinfo *addresses;
    enum status status = resolve(endpoint, &addresses);
    if (status != STATUS_OK) {
        return status;
    }
    for (const struct addrinfo *at = addresses; at != NULL; at = at->ai_next) {
        status = start_address(connection, at);
        if (status == STATUS_AGAIN) {
            status = wait_ready(connection, POLLOUT, deadline_ns);
            status = status == STATUS_OK ? client_connection_finish(connection) : status;
        }
        if (status == STATUS_OK || status == STATUS_TIMEOUT) {
            break;
        }
    }
    freeaddrinfo(addresses);
    return status;
}

enum status client_connection_flush(struct client_connection *connection)
{
    while (connection->sent < connection->out.size) {
        ssize_t size = send(connection->fd, connection->out.data + connection->sent,
                            connection->out.size - connection->sent, MSG_NOSIGNAL);
        if (size >= 0) {
            connection->sent += (size_t)size;
        } else if (errno != EINTR) {
            return checked(connection, status_from_errno(errno));
        }
    }
    buffer_clear(&connection->out);
    connection->sent = 0;
    return STATUS_OK;
}

enum status client_connection_send(struct client_connection *connection, const struct slice *pieces, size_t count,
                                   size_t *ret_sent)
{
    struct iovec vector[CLIENT_SEND_PIECES];
    ASSERT(count > 0 && count <= CLIENT_SEND_PIECES);
    for (size_t i = 0; i < count; i++) {
        vector[i] = (struct iovec){.iov_base = (void *)pieces[i].data, .iov_len = pieces[i].size};
    }
    struct msghdr message = {.msg_iov = vector, .msg_iovlen = count};
    for (;;) {
        ssize_t size = sendmsg(connection->fd, &message, MSG_NOSIGNAL);
        if (size >= 0) {
            *ret_sent = (size_t)size;
            return STATUS_OK;
        }
        if (errno != EINTR) {
            return checked(connection, status_from_errno(errno));
        }
    }
}

bool client_connection_has_ended(const struct client_connection *connection)
{
    struct pollfd poll_fd = {.fd = connection->fd, .events = POLLRDHUP};
    return poll(&poll_fd, 1, 0) > 0;
}

void client_connection_forget(struct client_connection *connection, size_t bytes)
{
    ASSERT(bytes <= connection->parsed);
    buffer_consume(&connection->in, bytes);
    connection->parsed -= bytes;
}

/* Drops what was taken. */
static void forget_parsed(struct client_connection *connection)
{
    client_connection_forget(connection, connection->parsed);
}

enum status client_connection_receive(struct client_connection *connection)
{
    for (;;) {
        if (!buffer_try_reserve(&connection->in, CLIENT_READ_BYTES)) {
            return checked(connection, STATUS_NOMEM);
        }
        uint8_t *at = connection->in.data + connection->in.size;
        ssize_t size = recv(connection->fd, at, connection->in.capacity - connection->in.size, 0);
        if (size > 0) {
            connection->in.size += (size_t)size;
            return STATUS_OK;
        }
        if (size == 0) {
            return checked(connection, STATUS_CLOSED);
        }
        if (errno != EINTR) {
            return checked(connection, status_from_errno(errno));
        }
    }
}

enum status client_connection_fill(struct client_connection *connection)
{
    forget_parsed(connection);
    return client_connection_receive(connection);
}

enum status client_connection_skip(struct client_connection *connection, enum resp_type *ret_type,
                                   struct slice *ret_line)
{
    const uint8_t *data = connection->in.data + connection->parsed;
    size_t size = connection->in.size - connection->parsed;
    if (size == 0) {
        return STATUS_AGAIN;
    }
    enum resp_reply_result result = resp_reader_skip(&connection->reader, &connection->limits, data, size, ret_type);
    if (result == RESP_REPLY_INVALID) {
        return checked(connection, connection->reader.too_long ? STATUS_TOO_LARGE : STATUS_CORRUPT);
    }
    connection->parsed += connection->reader.consumed;
    if (result == RESP_REPLY_PARTIAL) {
        return STATUS_AGAIN;
    }
    const uint8_t *end = memchr(data, '\r', size);
    bool is_line = (data[0] == '-' || data[0] == '+') && (size_t)(end - data) + 2 == connection->reader.consumed;
    *ret_line = is_line ? slice_of(data + 1, (size_t)(end - data) - 1) : slice_of(data, 0);
    return STATUS_OK;
}

static enum status flush_until(struct client_connection *connection, int64_t deadline_ns)
{
    enum status status = client_connection_flush(connection);
    while (status == STATUS_AGAIN) {
        status = wait_ready(connection, POLLOUT, deadline_ns);
        status = status == STATUS_OK ? client_connection_flush(connection) : status;
    }
    return status;
}

static enum status receive_until(struct client_connection *connection, int64_t deadline_ns)
{
    if (connection->in.size > CLIENT_REPLY_BYTES_MAXIMUM) {
        return checked(connection, STATUS_TOO_LARGE);
    }
    enum status status = client_connection_receive(connection);
    while (status == STATUS_AGAIN) {
        status = wait_ready(connection, POLLIN, deadline_ns);
        status = status == STATUS_OK ? client_connection_receive(connection) : status;
    }
    return status;
}

enum status client_connection_call(struct client_connection *connection, const struct slice *argv, size_t argc,
                                   int64_t deadline_ns, struct slice *ret_reply)
{
    ASSERT(connection->fd >= 0 && connection->out.size == 0);
    forget_parsed(connection);
    resp_command(&connection->out, argv, argc);
    enum status status = flush_until(connection, deadline_ns);
    while (status == STATUS_OK) {
        enum resp_type type;
        struct slice line;
        status = client_connection_skip(connection, &type, &line);
        if (status == STATUS_OK && type != RESP_PUSH) {
            *ret_reply = slice_of(connection->in.data, connection->parsed);
            return STATUS_OK;
        }
        if (status == STATUS_OK) {
            forget_parsed(connection); /* a push is not the answer */
        } else if (status == STATUS_AGAIN) {
            status = receive_until(connection, deadline_ns);
        }
    }
    return status;
}
