/* What the files of this room share. */
#pragma once

#include "env/timer_heap.h"
#include "env_uv/env_uv.h"

#include <stdatomic.h>
#include <sys/socket.h>
#include <uv.h>

struct env_uv {
    struct env env; /* first: a struct env * of ours points here */
    uv_loop_t loop;
    uv_prepare_t prepare; /* the turn hook */
    uv_idle_t idle;       /* active: the next poll does not sleep */
    uv_timer_t timer;     /* set for the earliest of `timers` */
    uv_async_t post;      /* wakes the poll for `posted` */
    struct timer_heap timers;
    int64_t timer_set_ns; /* what `timer` is set for; INT64_MAX when it is not */
    void (*hook)(void *owner);
    void *hook_owner;
    bool waking;         /* env_wake since the hook last began */
    bool stopping;       /* env_uv_stop since env_uv_run began */
    struct list changed; /* streams whose interest differs from what libuv was told */
    size_t open_objects; /* streams, listeners, watches */
    size_t working;      /* work in flight */

    struct env_uv_signal {
        uv_signal_t handle;
        void (*arrived)(void *owner, int signum);
        void *owner;
    } signals[ENV_UV_SIGNALS];
    int signal_count;

    _Atomic(struct env_message *) posted; /* by other threads; the last one first */

    enum env_log_level log_level;
    bool log_json;
    int log_descriptor;
    int keepalive_s;
};

static inline struct env_uv *env_uv_of(struct env *env) { return (struct env_uv *)env; }

/* error.c: errno (positive) or a libuv code (negative errno) to a status; never STATUS_OK. */
enum status env_uv_status(int error);

/* log_sink.c */
void env_uv_log(struct env *env_any, enum env_log_level level, const char *message);

/* file.c */
enum status env_uv_open(struct env *env, const char *path, int flags, struct env_file **ret_file);
void env_uv_close(struct env *env, struct env_file *file);
enum status env_uv_read(struct env *env, struct env_file *file, uint64_t offset, void *data, size_t size,
                        size_t *ret_size);
enum status env_uv_write(struct env *env, struct env_file *file, uint64_t offset, const struct iovec *parts, int count);
enum status env_uv_sync(struct env *env, struct env_file *file);
enum status env_uv_size(struct env *env, struct env_file *file, uint64_t *ret_size);
enum status env_uv_truncate(struct env *env, struct env_file *file, uint64_t size);
enum status env_uv_rename(struct env *env, const char *from, const char *to);
enum status env_uv_unlink(struct env *env, const char *path);
enum status env_uv_make_directory(struct env *env, const char *path);
enum status env_uv_sync_directory(struct env *env, const char *path);
enum status env_uv_list_directory(struct env *env, const char *path, void (*entry)(void *owner, const char *name),
                                  void *owner);
enum status env_uv_lock_file(struct env *env, const char *path, struct env_file **ret_file);

/* post.c: messages from other envs */
void post_init(struct env_uv *env);
/* Gives back what has not arrived. */
void post_deinit(struct env_uv *env);
void env_uv_post(struct env *env, struct env *to, struct env_message *message);
void post_take_all(struct env_uv *env);
/* Before anything that comes from outside: what was posted before it arrives before it. */
static inline void post_take(struct env_uv *env)
{
    if (atomic_load_explicit(&env->posted, memory_order_relaxed) != NULL) {
        post_take_all(env);
    }
}

/* socket.c: addresses and options */
union socket_address {
    struct sockaddr any;
    struct sockaddr_storage storage;
};
/* "address:port", IPv6 in brackets; "/socketpair:0" for a local one, "?:0" for all others. */
void socket_address_format(const union socket_address *address, char *ret_text, size_t capacity);
/* A numeric address only; STATUS_INVALID otherwise. */
MUST_USE enum status socket_address_parse(const char *host, int port, union socket_address *ret_address,
                                          socklen_t *ret_size);
int socket_address_port(const union socket_address *address);
/* TCP_NODELAY and keepalive; on a listening socket they are inherited by what it accepts. */
void socket_set_options(int fd, int keepalive_s);

/* stream.c */
/* Takes over the descriptor, also on failure. */
MUST_USE enum status stream_create(struct env_uv *env, int fd, struct env_stream **ret_stream);
/* Tells libuv about changed interest; before the loop sleeps. */
void streams_apply_interest(struct env_uv *env);
enum status env_uv_connect(struct env *env, const char *host, int port, struct env_stream **ret_stream);
struct env_stream *env_uv_stream_give(struct env *env, struct env_stream *stream);
enum status env_uv_stream_take(struct env *env, struct env_stream *stream);
void env_uv_stream_attach(struct env *env, struct env_stream *stream, const struct env_stream_events *events,
                          void *owner);
enum status env_uv_stream_read(struct env *env, struct env_stream *stream, void *data, size_t size, size_t *ret_size);
enum status env_uv_stream_write(struct env *env, struct env_stream *stream, const struct iovec *parts, int count,
                                size_t *ret_size);
void env_uv_stream_want_read(struct env *env, struct env_stream *stream, bool wanted);
void env_uv_stream_want_write(struct env *env, struct env_stream *stream, bool wanted);
void env_uv_stream_name(struct env *env, struct env_stream *stream, bool peer, char *ret_text, size_t capacity);
int env_uv_stream_id(struct env *env, struct env_stream *stream);
void env_uv_stream_close(struct env *env, struct env_stream *stream);

/* listener.c */
enum status env_uv_listen(struct env *env, const char *host, int port, const struct env_listener_events *events,
                          void *owner, struct env_listener **ret_listener);
int env_uv_listener_port(struct env *env, struct env_listener *listener);
void env_uv_listener_close(struct env *env, struct env_listener *listener);
