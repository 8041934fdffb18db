/* The only door to the outside: clock, random, timers, files, sockets, background work.
 *
 * Everything above this file gets a `struct env *` and reaches the world through
 * it alone. src/env_uv implements it on libuv and POSIX, sim/ on virtual time from
 * one seed. One env belongs to one thread (one worker); envs of one process share nothing and exchange messages.
 *
 * Invariants
 * 1. Callbacks never run inside the call that started them; they run from the loop.
 * 2. After a close call no callback of that object runs, except the close callback
 *    where one is named; the caller's memory is free from then on.
 * 3. The turn hook runs once in each turn of the loop, after all callbacks of that
 *    turn and before the loop sleeps.
 * 4. File calls with a status block. Those that may be slow (sync, large writes) are
 *    given to env_work_submit by callers that must not stall.
 * 5. Messages from one env to another arrive in the order of env_post, each once, and before whatever reaches the
 *    receiver from outside because of what the sender did after it.
 */
#pragma once

#include "base/list.h"
#include "base/slice.h"
#include "base/status.h"

#include <sys/uio.h>

struct env;
struct env_file;   /* an open file; made by the env */
struct env_stream; /* one end of a byte stream */
struct env_listener;

/* ---- timers: caller's memory, inert until started ---- */
struct env_timer {
    void (*fire)(struct env_timer *timer);
    void *implementation; /* the env's own; NULL when never started */
    bool armed;
};

/* ---- background work: one job at a time per struct; caller's memory ---- */
struct env_work {
    /* Runs on another thread (or at a later virtual time): may call file operations only and must
     * touch nothing that the owner touches meanwhile. */
    void (*run)(struct env_work *work);
    /* Runs on the loop afterwards. */
    void (*done)(struct env_work *work);
    void *implementation;
};

/* ---- messages between the envs of one process; the receiver's memory from env_post on ---- */
struct env_message {
    /* Runs on the receiver's loop, which gives the memory back or keeps it. */
    void (*arrived)(struct env_message *message);
    /* Instead of it, when the receiver ends before: gives the memory back, and does nothing else. */
    void (*dropped)(struct env_message *message);
    struct env_message *next; /* the env's own */
};

/* ---- streams: readiness, level-triggered ---- */
struct env_stream_events {
    /* Bytes, end of stream or an error can be read. Called once per turn while that is so and reading is wanted. */
    void (*readable)(void *owner);
    /* Room to write again, after env_stream_want_write; also called once when an outgoing connection
     * is established or has failed (the next write or read says which). */
    void (*writable)(void *owner);
};

struct env_listener_events {
    /* A connection arrived. The stream is the owner's from now on; until env_stream_attach it is silent. */
    void (*accepted)(void *owner, struct env_stream *stream);
    /* Accepting failed for want of descriptors or memory; the env pauses it for a moment and tries again. */
    void (*failed)(void *owner, enum status status);
};

enum env_open_flags {
    ENV_OPEN_READ = 1,
    ENV_OPEN_WRITE = 2,
    ENV_OPEN_CREATE = 4,    /* make it when it is not there */
    ENV_OPEN_EXCLUSIVE = 8, /* with CREATE: STATUS_EXISTS when it is there */
    ENV_OPEN_TRUNCATE = 16,
};

enum env_log_level { ENV_LOG_DEBUG, ENV_LOG_INFO, ENV_LOG_WARNING, ENV_LOG_ERROR };

struct env_operations {
    int64_t (*monotonic_ns)(struct env *env);
    int64_t (*wall_us)(struct env *env);
    void (*random)(struct env *env, void *data, size_t size);

    void (*timer_start)(struct env *env, struct env_timer *timer, int64_t at_ns);
    void (*timer_stop)(struct env *env, struct env_timer *timer);
    void (*work_submit)(struct env *env, struct env_work *work);
    void (*set_turn_hook)(struct env *env, void (*hook)(void *owner), void *owner);
    void (*wake)(struct env *env);
    void (*post)(struct env *env, struct env *to, struct env_message *message);

    enum status (*open)(struct env *env, const char *path, int flags, struct env_file **ret_file);
    void (*close)(struct env *env, struct env_file *file);
    enum status (*read)(struct env *env, struct env_file *file, uint64_t offset, void *data, size_t size,
                        size_t *ret_size);
    enum status (*write)(struct env *env, struct env_file *file, uint64_t offset, const struct iovec *parts, int count);
    enum status (*sync)(struct env *env, struct env_file *file);
    enum status (*size)(struct env *env, struct env_file *file, uint64_t *ret_size);
    enum status (*truncate)(struct env *env, struct env_file *file, uint64_t size);
    enum status (*rename)(struct env *env, const char *from, const char *to);
    enum status (*unlink)(struct env *env, const char *path);
    enum status (*make_directory)(struct env *env, const char *path);
    enum status (*sync_directory)(struct env *env, const char *path);
    enum status (*list_directory)(struct env *env, const char *path, void (*entry)(void *owner, const char *name),
                                  void *owner);
    enum status (*lock_file)(struct env *env, const char *path, struct env_file **ret_file);

    enum status (*listen)(struct env *env, const char *host, int port, const struct env_listener_events *events,
                          void *owner, struct env_listener **ret_listener);
    int (*listener_port)(struct env *env, struct env_listener *listener);
    void (*listener_close)(struct env *env, struct env_listener *listener);
    enum status (*connect)(struct env *env, const char *host, int port, struct env_stream **ret_stream);
    struct env_stream *(*stream_give)(struct env *env, struct env_stream *stream);
    enum status (*stream_take)(struct env *env, struct env_stream *stream);
    void (*stream_attach)(struct env *env, struct env_stream *stream, const struct env_stream_events *events,
                          void *owner);
    enum status (*stream_read)(struct env *env, struct env_stream *stream, void *data, size_t size, size_t *ret_size);
    enum status (*stream_write)(struct env *env, struct env_stream *stream, const struct iovec *parts, int count,
                                size_t *ret_size);
    void (*stream_want_read)(struct env *env, struct env_stream *stream, bool wanted);
    void (*stream_want_write)(struct env *env, struct env_stream *stream, bool wanted);
    void (*stream_name)(struct env *env, struct env_stream *stream, bool peer, char *ret_text, size_t capacity);
    int (*stream_id)(struct env *env, struct env_stream *stream);
    void (*stream_close)(struct env *env, struct env_stream *stream);

    void (*log)(struct env *env, enum env_log_level level, const char *line);
};

struct env {
    const struct env_operations *operations;
};

/* ---- clock and random ---- */

/* Nanoseconds that never go back and do not jump with the wall clock; the origin is arbitrary. Read once per
 * turn is cheap; it is a real reading every time. */
static inline int64_t env_monotonic_ns(struct env *env) { return env->operations->monotonic_ns(env); }
/* Milliseconds since 1970-01-01 UTC; may jump either way. */
static inline int64_t env_wall_ms(struct env *env) { return env->operations->wall_us(env) / 1000; }
/* The same in microseconds. */
static inline int64_t env_wall_us(struct env *env) { return env->operations->wall_us(env); }
/* Bytes nobody can guess (in production). */
static inline void env_random(struct env *env, void *data, size_t size) { env->operations->random(env, data, size); }

/* ---- timers ---- */
static inline void env_timer_init(struct env_timer *timer, void (*fire)(struct env_timer *timer))
{
    *timer = (struct env_timer){.fire = fire};
}
/* Fires once at or after `at_ns` of the monotonic clock; starting an armed timer moves it. */
static inline void env_timer_start(struct env *env, struct env_timer *timer, int64_t at_ns)
{
    env->operations->timer_start(env, timer, at_ns);
}
/* Disarms and gives back what the env holds for it; harmless when never started. Must be called before the
 * memory goes away. */
static inline void env_timer_stop(struct env *env, struct env_timer *timer) { env->operations->timer_stop(env, timer); }

/* ---- work, turn, wake ---- */

/* Runs work->run elsewhere, then work->done here; done may submit it again. The struct must live until done, also when
 * its owner goes away earlier. */
static inline void env_work_submit(struct env *env, struct env_work *work) { env->operations->work_submit(env, work); }
/* There is one hook; setting it again replaces it, NULL removes it. */
static inline void env_set_turn_hook(struct env *env, void (*hook)(void *owner), void *owner)
{
    env->operations->set_turn_hook(env, hook, owner);
}
/* Makes sure that the hook runs without waiting for an event: at the end of this turn, or in another one when it has
 * begun already. */
static inline void env_wake(struct env *env) { env->operations->wake(env); }

/* Sends a message to another env of this process, from this one's thread. The other env must not have been destroyed;
 * whether it still runs does not matter. */
static inline void env_post(struct env *env, struct env *to, struct env_message *message)
{
    env->operations->post(env, to, message);
}

/* ---- files: paths are relative to the process's folder or absolute ---- */

static inline MUST_USE enum status env_open(struct env *env, const char *path, int flags, struct env_file **ret_file)
{
    return env->operations->open(env, path, flags, ret_file);
}
static inline void env_close(struct env *env, struct env_file *file) { env->operations->close(env, file); }
/* Reads up to `size` bytes at offset; fewer only at the end of the file. */
static inline MUST_USE enum status env_read(struct env *env, struct env_file *file, uint64_t offset, void *data,
                                            size_t size, size_t *ret_size)
{
    return env->operations->read(env, file, offset, data, size, ret_size);
}
/* Writes all parts at offset, or fails; on failure an unknown part of it is written. */
static inline MUST_USE enum status env_write(struct env *env, struct env_file *file, uint64_t offset,
                                             const struct iovec *parts, int count)
{
    return env->operations->write(env, file, offset, parts, count);
}
/* fdatasync: all earlier writes and the size are on stable storage. A failure is final: what is on the disk is
 * unknown, and a second call proves nothing. */
static inline MUST_USE enum status env_sync(struct env *env, struct env_file *file)
{
    return env->operations->sync(env, file);
}
static inline MUST_USE enum status env_size(struct env *env, struct env_file *file, uint64_t *ret_size)
{
    return env->operations->size(env, file, ret_size);
}
static inline MUST_USE enum status env_truncate(struct env *env, struct env_file *file, uint64_t size)
{
    return env->operations->truncate(env, file, size);
}
/* Atomic replacement; durable after env_sync_directory. */
static inline MUST_USE enum status env_rename(struct env *env, const char *from, const char *to)
{
    return env->operations->rename(env, from, to);
}
static inline MUST_USE enum status env_unlink(struct env *env, const char *path)
{
    return env->operations->unlink(env, path);
}
/* OK also when it is there already. */
static inline MUST_USE enum status env_make_directory(struct env *env, const char *path)
{
    return env->operations->make_directory(env, path);
}
/* Names made, renamed and removed in this folder are on stable storage afterwards. */
static inline MUST_USE enum status env_sync_directory(struct env *env, const char *path)
{
    return env->operations->sync_directory(env, path);
}
/* Calls entry for each name, without "." and "..", in any order. */
static inline MUST_USE enum status env_list_directory(struct env *env, const char *path,
                                                      void (*entry)(void *owner, const char *name), void *owner)
{
    return env->operations->list_directory(env, path, entry, owner);
}
/* Makes the file when needed and holds an exclusive lock on it until closed or the process ends; STATUS_BUSY when
 * another process has it, whose id the file may have as text: a number and a line's end. */
enum { ENV_LOCK_OWNER_BYTES = 24 };
static inline MUST_USE enum status env_lock_file(struct env *env, const char *path, struct env_file **ret_file)
{
    return env->operations->lock_file(env, path, ret_file);
}

/* ---- streams ---- */

/* host is a numeric address or a name; port 0 takes a free one (see env_listener_port). */
static inline MUST_USE enum status env_listen(struct env *env, const char *host, int port,
                                              const struct env_listener_events *events, void *owner,
                                              struct env_listener **ret_listener)
{
    return env->operations->listen(env, host, port, events, owner, ret_listener);
}
static inline int env_listener_port(struct env *env, struct env_listener *listener)
{
    return env->operations->listener_port(env, listener);
}
static inline void env_listener_close(struct env *env, struct env_listener *listener)
{
    env->operations->listener_close(env, listener);
}
/* Starts an outgoing connection to a numeric address. Attach and want_write to learn when it is up. */
static inline MUST_USE enum status env_connect(struct env *env, const char *host, int port,
                                               struct env_stream **ret_stream)
{
    return env->operations->connect(env, host, port, ret_stream);
}
/* Another env of this process can have a stream that was accepted and not attached: this one gives it, and names it
 * from then on only by what is returned, in a message; that one takes it. On failure it is closed. What was given and
 * is not taken must be closed, by either. */
static inline MUST_USE struct env_stream *env_stream_give(struct env *env, struct env_stream *stream)
{
    return env->operations->stream_give(env, stream);
}
static inline MUST_USE enum status env_stream_take(struct env *env, struct env_stream *stream)
{
    return env->operations->stream_take(env, stream);
}
/* Names the owner and starts reading. */
static inline void env_stream_attach(struct env *env, struct env_stream *stream, const struct env_stream_events *events,
                                     void *owner)
{
    env->operations->stream_attach(env, stream, events, owner);
}
/* OK with *ret_size > 0; AGAIN when there is nothing now; CLOSED at the end of the stream; else the error. */
static inline MUST_USE enum status env_stream_read(struct env *env, struct env_stream *stream, void *data, size_t size,
                                                   size_t *ret_size)
{
    return env->operations->stream_read(env, stream, data, size, ret_size);
}
/* OK with the bytes taken (may be fewer than given); AGAIN when none can be taken now; else the error. */
static inline MUST_USE enum status env_stream_write(struct env *env, struct env_stream *stream,
                                                    const struct iovec *parts, int count, size_t *ret_size)
{
    return env->operations->stream_write(env, stream, parts, count, ret_size);
}
/* Reading is wanted from attach on; a caller that cannot take more turns it off for a while. */
static inline void env_stream_want_read(struct env *env, struct env_stream *stream, bool wanted)
{
    env->operations->stream_want_read(env, stream, wanted);
}
static inline void env_stream_want_write(struct env *env, struct env_stream *stream, bool wanted)
{
    env->operations->stream_want_write(env, stream, wanted);
}
/* "address:port" of the peer (or of this end), IPv6 in brackets; always ends with NUL. */
static inline void env_stream_name(struct env *env, struct env_stream *stream, bool peer, char *ret_text,
                                   size_t capacity)
{
    env->operations->stream_name(env, stream, peer, ret_text, capacity);
}
/* A small number that tells this stream from the others open now (the descriptor). */
static inline int env_stream_id(struct env *env, struct env_stream *stream)
{
    return env->operations->stream_id(env, stream);
}
/* Closes at once; bytes that the kernel has taken are still delivered. */
static inline void env_stream_close(struct env *env, struct env_stream *stream)
{
    env->operations->stream_close(env, stream);
}

/* ---- log lines for people: one per event, at the edge ---- */
__attribute__((format(printf, 3, 4))) void env_log(struct env *env, enum env_log_level level, const char *format, ...);
