/* The production env: libuv's loop, POSIX files and sockets.
 *
 * One turn of the loop is: due timers, then one callback for each ready stream, listener and finished work, then the
 * turn hook, then sleep. The hook runs from uv_prepare, the last thing before libuv polls.
 *
 * Invariants (besides those of env.h)
 * 1. A stream is a raw non-blocking descriptor on uv_poll: one system call for each read or write, none for
 *    want_read/want_write toggles within a turn.
 * 2. Everything of libuv that a stream or listener needs lives in its own struct, which is freed by libuv's close
 *    callback: at the end of the turn, so later callbacks of the same batch find it and see that it is closed.
 * 3. errno is translated in error.c and nowhere else.
 *
 * Creating one ignores SIGPIPE and SIGXFSZ for the whole process, unless it is somebody else's (`guest`). */
#pragma once

#include "env/env.h"

struct env_uv_options {
    enum env_log_level log_level; /* lines below it are dropped */
    bool log_json;                /* one JSON object per line instead of text */
    int log_descriptor;           /* borrowed; 0: stderr; negative: nowhere */
    int keepalive_s;              /* TCP keepalive of accepted and outgoing streams; 0: 300, negative: off */
    /* The process is somebody else's: its signals are left as they are. The threads that create and run the env block
     * SIGPIPE and SIGXFSZ, which those of libuv's pool inherit. */
    bool guest;
};

/* options may be NULL. STATUS_NOMEM, STATUS_FULL (descriptors) or STATUS_IO when libuv cannot start. */
MUST_USE enum status env_uv_create(const struct env_uv_options *options, struct env **ret_env);
/* Waits for work in flight (its done callbacks run); streams, listeners and watches must be closed before. */
void env_uv_destroy(struct env *env);

/* Runs turns until env_uv_stop; the last turn ends with its hook. May be called again afterwards. */
void env_uv_run(struct env *env);
/* From a callback or the hook: this turn is the last. */
void env_uv_stop(struct env *env);

/* As env_post, from a thread that has no env. */
void env_uv_post_from_outside(struct env *to, struct env_message *message);

/* A stream on a connected descriptor, non-blocking and closed on exec, which is taken over, also on failure. As one
 * that was accepted: silent until env_stream_attach. */
MUST_USE enum status env_uv_take_descriptor(struct env *env, int fd, struct env_stream **ret_stream);

/* Calls back on the loop for each arrival of the signal, instead of its default action; at most ENV_UV_SIGNALS
 * different ones (asserted). */
enum { ENV_UV_SIGNALS = 8 };
MUST_USE enum status env_uv_on_signal(struct env *env, int signum, void (*arrived)(void *owner, int signum),
                                      void *owner);

/* Calls `readable` once per turn while the foreign descriptor is readable (another library's epoll descriptor). The
 * descriptor is borrowed and stays open until after env_uv_unwatch. */
struct env_uv_watch;
MUST_USE enum status env_uv_watch_fd(struct env *env, int fd, void (*readable)(void *owner), void *owner,
                                     struct env_uv_watch **ret_watch);
void env_uv_unwatch(struct env_uv_watch *watch);

/* Changes the level while running (CONFIG SET loglevel). */
void env_uv_set_log_level(struct env *env, enum env_log_level level);
/* One JSON object per line from now on, or text. */
void env_uv_set_log_json(struct env *env, bool json);
