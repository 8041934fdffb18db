/* Streams: raw descriptors on uv_poll.
 *
 * `wanted` is what the owner asked for, `applied` what libuv was told. The two are brought together once per turn, as
 * each uv_poll_start costs two system calls. Reading that is no longer wanted stays applied until an event arrives
 * for it (`surplus`): mostly it is wanted again before. Writing is switched off at once, for a socket is nearly always
 * writable and would wake the loop for nothing. */
#include "base/assert.h"
#include "base/memory.h"
#include "env_uv/internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct env_stream {
    uv_poll_t poll;
    struct env_uv *env; /* NULL: given, and not yet taken */
    const struct env_stream_events *events;
    void *owner;
    struct list changed; /* in env->changed while wanted may differ from applied */
    int fd;
    uint8_t wanted, applied; /* UV_READABLE, UV_WRITABLE */
    bool surplus;            /* libuv reported what is not wanted */
    bool closed;
};

static void stream_freed(uv_handle_t *handle) { free(handle->data); }

static void mark_changed(struct env_stream *stream)
{
    if (list_empty(&stream->changed)) {
        list_append(&stream->env->changed, &stream->changed);
    }
}

static void stream_ready(uv_poll_t *poll, int status, int events)
{
    struct env_stream *stream = poll->data;
    post_take(stream->env);
    if (stream->closed) {
        return; /* by a message */
    }
    if (status < 0) {
        /* A pending socket error: libuv has stopped polling. The owner's next read or write gets the error. */
        events = UV_READABLE | UV_WRITABLE;
        stream->applied = 0;
        mark_changed(stream);
    } else if ((events & ~stream->wanted) != 0) {
        stream->surplus = true;
        mark_changed(stream);
    }
    if ((events & stream->wanted & UV_WRITABLE) != 0) {
        stream->events->writable(stream->owner);
    }
    if (!stream->closed && (events & stream->wanted & UV_READABLE) != 0) {
        stream->events->readable(stream->owner);
    }
}

static void apply_interest(struct env_stream *stream)
{
    bool less_reading = stream->wanted == (stream->applied & ~UV_READABLE);
    if (stream->wanted == stream->applied || (less_reading && !stream->surplus)) {
        return;
    }
    int result =
        stream->wanted == 0 ? uv_poll_stop(&stream->poll) : uv_poll_start(&stream->poll, stream->wanted, stream_ready);
    ASSERT(result == 0); /* libuv only checks its arguments here */
    stream->applied = stream->wanted;
    stream->surplus = false;
}

void streams_apply_interest(struct env_uv *env)
{
    while (!list_empty(&env->changed)) {
        struct env_stream *stream = CONTAINER_OF(env->changed.next, struct env_stream, changed);
        list_remove(&stream->changed);
        apply_interest(stream);
    }
}

static enum status begin_polling(struct env_uv *env, struct env_stream *stream)
{
    int result = uv_poll_init(&env->loop, &stream->poll, stream->fd);
    if (result < 0) {
        (void)close(stream->fd);
        free(stream);
        return env_uv_status(result);
    }
    stream->poll.data = stream;
    stream->env = env;
    env->open_objects++;
    return STATUS_OK;
}

static struct env_stream *stream_new(int fd)
{
    struct env_stream *stream = memory_allocate_zeroed(1, sizeof(*stream));
    stream->fd = fd;
    list_init(&stream->changed);
    return stream;
}

enum status stream_create(struct env_uv *env, int fd, struct env_stream **ret_stream)
{
    struct env_stream *stream = stream_new(fd);
    enum status status = begin_polling(env, stream);
    if (status == STATUS_OK) {
        *ret_stream = stream;
    }
    return status;
}

enum status env_uv_take_descriptor(struct env *env, int fd, struct env_stream **ret_stream)
{
    return stream_create(env_uv_of(env), fd, ret_stream);
}

/* What libuv has of it goes with the old struct, at the end of the turn. */
struct env_stream *env_uv_stream_give(struct env *env, struct env_stream *stream)
{
    ASSERT(stream->events == NULL && !stream->closed);
    struct env_stream *given = stream_new(stream->fd);
    stream->closed = true;
    stream->env->open_objects--;
    uv_close((uv_handle_t *)&stream->poll, stream_freed);
    return given;
}

enum status env_uv_stream_take(struct env *env, struct env_stream *stream)
{
    ASSERT(stream->env == NULL);
    return begin_polling(env_uv_of(env), stream);
}

enum status env_uv_connect(struct env *env, const char *host, int port, struct env_stream **ret_stream)
{
    union socket_address address;
    socklen_t size;
    enum status status = socket_address_parse(host, port, &address, &size);
    if (status != STATUS_OK) {
        return status;
    }
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return env_uv_status(errno);
    }
    socket_set_options(fd, env_uv_of(env)->keepalive_s);
    if (connect(fd, &address.any, size) < 0 && errno != EINPROGRESS) {
        status = env_uv_status(errno);
        (void)close(fd);
        return status;
    }
    return stream_create(env_uv_of(env), fd, ret_stream);
}

void env_uv_stream_attach(struct env *env, struct env_stream *stream, const struct env_stream_events *events,
                          void *owner)
{
    stream->events = events;
    stream->owner = owner;
    env_uv_stream_want_read(env, stream, true);
}

static void want(struct env_stream *stream, uint8_t what, bool wanted)
{
    ASSERT(stream->events != NULL && !stream->closed);
    uint8_t now = (uint8_t)(wanted ? stream->wanted | what : stream->wanted & ~what);
    if (now != stream->wanted) {
        stream->wanted = now;
        mark_changed(stream);
    }
}

void env_uv_stream_want_read(struct env *env, struct env_stream *stream, bool wanted)
{
    want(stream, UV_READABLE, wanted);
}

void env_uv_stream_want_write(struct env *env, struct env_stream *stream, bool wanted)
{
    want(stream, UV_WRITABLE, wanted);
}

enum status env_uv_stream_read(struct env *env, struct env_stream *stream, void *data, size_t size, size_t *ret_size)
{
    ASSERT(size > 0);
    for (;;) {
        ssize_t count = recv(stream->fd, data, size, 0);
        if (count > 0) {
            *ret_size = (size_t)count;
            return STATUS_OK;
        }
        if (count == 0) {
            return STATUS_CLOSED;
        }
        if (errno != EINTR) {
            return env_uv_status(errno);
        }
    }
}

enum status env_uv_stream_write(struct env *env, struct env_stream *stream, const struct iovec *parts, int count,
                                size_t *ret_size)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts,
                             .msg_iovlen = (size_t)(count < IOV_MAX ? count : IOV_MAX)};
    for (;;) {
        ssize_t sent = count == 1 ? send(stream->fd, parts->iov_base, parts->iov_len, MSG_NOSIGNAL)
                                  : sendmsg(stream->fd, &message, MSG_NOSIGNAL);
        if (sent >= 0) {
            *ret_size = (size_t)sent;
            return STATUS_OK;
        }
        if (errno != EINTR) {
            return env_uv_status(errno);
        }
    }
}

void env_uv_stream_name(struct env *env, struct env_stream *stream, bool peer, char *ret_text, size_t capacity)
{
    union socket_address address = {0};
    socklen_t size = sizeof(address);
    int result = peer ? getpeername(stream->fd, &address.any, &size) : getsockname(stream->fd, &address.any, &size);
    if (result < 0) {
        address.any.sa_family = AF_UNSPEC;
    }
    socket_address_format(&address, ret_text, capacity);
}

int env_uv_stream_id(struct env *env, struct env_stream *stream) { return stream->fd; }

void env_uv_stream_close(struct env *env, struct env_stream *stream)
{
    ASSERT(!stream->closed);
    if (stream->env == NULL) {
        (void)close(stream->fd);
        free(stream);
        return;
    }
    stream->closed = true;
    list_remove(&stream->changed);
    stream->env->open_objects--;
    uv_close((uv_handle_t *)&stream->poll, stream_freed); /* leaves epoll before the descriptor is closed */
    (void)close(stream->fd);
}
