/* Listeners: one for all addresses of a name, each with a socket of its own. */
#include "base/assert.h"
#include "env_uv/internal.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    LISTENER_SOCKETS = 8,
    LISTENER_ACCEPTS_PER_TURN = 64,    /* for each socket; the rest waits for the next turn */
    LISTENER_PAUSE_NS = 100 * 1000000, /* after a failure for want of descriptors or memory */
    LISTENER_PORT_TRIES = 8,           /* port 0: until one is free at all addresses */
};

struct listener_socket {
    uv_poll_t poll;
    struct env_listener *listener;
    int fd;
};

struct env_listener {
    struct env_uv *env;
    const struct env_listener_events *events;
    void *owner;
    struct env_timer resume;
    struct listener_socket sockets[LISTENER_SOCKETS];
    int count;
    int polling; /* the first so many sockets have an initialised poll; libuv's close callbacks count down */
    bool closed;
};

static void accept_ready(uv_poll_t *poll, int status, int events);

static void set_polling(struct env_listener *listener, bool on)
{
    for (int i = 0; i < listener->polling; i++) {
        uv_poll_t *poll = &listener->sockets[i].poll;
        int result = on ? uv_poll_start(poll, UV_READABLE, accept_ready) : uv_poll_stop(poll);
        ASSERT(result == 0);
    }
}

static void pause_over(struct env_timer *timer) { set_polling(CONTAINER_OF(timer, struct env_listener, resume), true); }

static void accept_failed(struct env_listener *listener, enum status status)
{
    set_polling(listener, false);
    env_timer_start(&listener->env->env, &listener->resume, env_monotonic_ns(&listener->env->env) + LISTENER_PAUSE_NS);
    listener->events->failed(listener->owner, status);
}

/* Errors of the one connection that was about to be accepted (accept(2), "Error handling"). */
static bool concerns_one_connection(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM: return true;
    default: return false;
    }
}

static void accept_ready(uv_poll_t *poll, int status, int events)
{
    struct listener_socket *socket = poll->data;
    struct env_listener *listener = socket->listener;
    post_take(listener->env);
    for (int i = 0; i < LISTENER_ACCEPTS_PER_TURN && !listener->closed; i++) {
        int fd = accept4(socket->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && errno == EAGAIN) {
            return;
        }
        if (fd < 0 && concerns_one_connection(errno)) {
            continue;
        }
        struct env_stream *stream = NULL;
        enum status result = fd < 0 ? env_uv_status(errno) : stream_create(listener->env, fd, &stream);
        if (result != STATUS_OK) {
            accept_failed(listener, result);
            return;
        }
        listener->events->accepted(listener->owner, stream);
    }
    /* libuv stops polling at a pending socket error, which the accept above has taken. */
    if (status < 0 && !listener->closed) {
        set_polling(listener, true);
    }
}

static enum status open_socket(const struct addrinfo *info, int port, int keepalive_s, int *ret_fd)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return env_uv_status(errno);
    }
    union socket_address address = {0};
    memcpy(&address, info->ai_addr, info->ai_addrlen);
    uint16_t port_net = htons((uint16_t)port);
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (info->ai_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
        ((struct sockaddr_in6 *)(void *)&address)->sin6_port = port_net;
    } else {
        ((struct sockaddr_in *)(void *)&address)->sin_port = port_net;
    }
    socket_set_options(fd, keepalive_s);
    if (bind(fd, &address.any, info->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0) {
        enum status status = env_uv_status(errno);
        (void)close(fd);
        return status;
    }
    *ret_fd = fd;
    return STATUS_OK;
}

static bool seen_before(const struct addrinfo *all, const struct addrinfo *at)
{
    for (; all != at; all = all->ai_next) {
        if (all->ai_addrlen == at->ai_addrlen && memcmp(all->ai_addr, at->ai_addr, at->ai_addrlen) == 0) {
            return true;
        }
    }
    return false;
}

static void close_sockets(struct env_listener *listener)
{
    for (int i = 0; i < listener->count; i++) {
        (void)close(listener->sockets[i].fd);
    }
    listener->count = 0;
}

/* A socket for each address, all on one port. Families and addresses that this machine does not have are passed over
 * as long as one is left. */
static enum status open_sockets(struct env_listener *listener, const struct addrinfo *all, int port)
{
    enum status missing = STATUS_NOTFOUND;
    for (const struct addrinfo *at = all; at != NULL && listener->count < LISTENER_SOCKETS; at = at->ai_next) {
        if ((at->ai_family != AF_INET && at->ai_family != AF_INET6) || seen_before(all, at)) {
            continue;
        }
        int use_port = port == 0 && listener->count > 0 ? env_uv_listener_port(&listener->env->env, listener) : port;
        enum status status =
            open_socket(at, use_port, listener->env->keepalive_s, &listener->sockets[listener->count].fd);
        if (status == STATUS_OK) {
            listener->count++;
        } else if (status == STATUS_UNSUPPORTED || status == STATUS_INVALID) {
            missing = status;
        } else {
            close_sockets(listener);
            return status;
        }
    }
    return listener->count > 0 ? STATUS_OK : missing;
}

static enum status open_name(struct env_listener *listener, const char *host, int port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *all;
    int error = getaddrinfo(strcmp(host, "*") == 0 ? NULL : host, "0", &hints, &all);
    if (error != 0) {
        return error == EAI_MEMORY ? STATUS_NOMEM : error == EAI_AGAIN ? STATUS_TIMEOUT : STATUS_NOTFOUND;
    }
    enum status status = STATUS_BUSY;
    for (int i = 0; i < (port == 0 ? LISTENER_PORT_TRIES : 1) && status == STATUS_BUSY; i++) {
        status = open_sockets(listener, all, port);
    }
    freeaddrinfo(all);
    return status;
}

enum status env_uv_listen(struct env *env, const char *host, int port, const struct env_listener_events *events,
                          void *owner, struct env_listener **ret_listener)
{
    if (port < 0 || port > UINT16_MAX) {
        return STATUS_INVALID;
    }
    struct env_listener *listener = calloc(1, sizeof(*listener));
    if (listener == NULL) {
        return STATUS_NOMEM;
    }
    listener->env = env_uv_of(env);
    listener->events = events;
    listener->owner = owner;
    env_timer_init(&listener->resume, pause_over);
    enum status status = open_name(listener, host, port);
    if (status != STATUS_OK) {
        free(listener);
        return status;
    }
    listener->env->open_objects++;
    for (int i = 0; i < listener->count; i++) {
        struct listener_socket *socket = &listener->sockets[i];
        int result = uv_poll_init(&listener->env->loop, &socket->poll, socket->fd);
        if (result < 0) {
            env_uv_listener_close(env, listener);
            return env_uv_status(result);
        }
        socket->poll.data = socket;
        socket->listener = listener;
        listener->polling++;
    }
    set_polling(listener, true);
    *ret_listener = listener;
    return STATUS_OK;
}

int env_uv_listener_port(struct env *env, struct env_listener *listener)
{
    union socket_address address = {0};
    socklen_t size = sizeof(address);
    int result = getsockname(listener->sockets[0].fd, &address.any, &size);
    ASSERT(result == 0);
    return socket_address_port(&address);
}

static void socket_closed(uv_handle_t *handle)
{
    struct listener_socket *socket = handle->data;
    if (--socket->listener->polling == 0) {
        free(socket->listener);
    }
}

void env_uv_listener_close(struct env *env, struct env_listener *listener)
{
    ASSERT(!listener->closed);
    listener->closed = true;
    listener->env->open_objects--;
    env_timer_stop(env, &listener->resume);
    for (int i = 0; i < listener->polling; i++) {
        uv_close((uv_handle_t *)&listener->sockets[i].poll, socket_closed);
    }
    close_sockets(listener);
    if (listener->polling == 0) {
        free(listener);
    }
}
