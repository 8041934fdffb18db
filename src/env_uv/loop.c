/* The loop: turns, timers, work, signals, foreign descriptors, clocks. */
#include "base/assert.h"
#include "base/memory.h"
#include "env_uv/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { NS_PER_MS = 1000000, DEFAULT_KEEPALIVE_S = 300 };

/* ---- clocks and random ---- */

static int64_t monotonic_ns(struct env *env)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t wall_us(struct env *env)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void random_bytes(struct env *env, void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t count = getrandom((char *)data + done, size - done, 0);
        ASSERT(count > 0 || errno == EINTR);
        done += count > 0 ? (size_t)count : 0;
    }
}

/* ---- timers ---- */

static void timer_due(uv_timer_t *timer)
{
    struct env_uv *env = timer->data;
    env->timer_set_ns = INT64_MAX;
    (void)timer_heap_fire(&env->timers, monotonic_ns(&env->env));
}

/* libuv counts in whole milliseconds of the same clock, rounded down; rounding the due time up never fires early. */
static void set_timer(struct env_uv *env)
{
    int64_t next_ns = timer_heap_next_ns(&env->timers);
    if (next_ns == env->timer_set_ns) {
        return;
    }
    env->timer_set_ns = next_ns;
    if (next_ns == INT64_MAX) {
        (void)uv_timer_stop(&env->timer);
        return;
    }
    uint64_t due_ms = next_ns <= 0 ? 0 : ((uint64_t)next_ns + NS_PER_MS - 1) / NS_PER_MS;
    uint64_t now_ms = uv_now(&env->loop);
    int result = uv_timer_start(&env->timer, timer_due, due_ms > now_ms ? due_ms - now_ms : 0, 0);
    ASSERT(result == 0);
}

static void timer_start(struct env *env, struct env_timer *timer, int64_t at_ns)
{
    timer_heap_start(&env_uv_of(env)->timers, timer, at_ns);
}

static void timer_stop(struct env *env, struct env_timer *timer) { timer_heap_stop(&env_uv_of(env)->timers, timer); }

/* ---- the end of a turn ---- */

static void idle(uv_idle_t *handle) { (void)handle; }

static void end_turn(uv_prepare_t *prepare)
{
    struct env_uv *env = prepare->data;
    env->waking = false;
    if (env->hook != NULL) {
        env->hook(env->hook_owner);
    }
    streams_apply_interest(env);
    set_timer(env);
    if (env->waking) {
        (void)uv_idle_start(&env->idle, idle);
    } else {
        (void)uv_idle_stop(&env->idle);
    }
}

static void set_turn_hook(struct env *env, void (*hook)(void *owner), void *owner)
{
    env_uv_of(env)->hook = hook;
    env_uv_of(env)->hook_owner = owner;
}

static void wake(struct env *env) { env_uv_of(env)->waking = true; }

/* ---- work ---- */

static void work_run(uv_work_t *request)
{
    struct env_work *work = request->data;
    work->run(work);
}

static void work_done(uv_work_t *request, int status)
{
    struct env_work *work = request->data;
    ((struct env_uv *)request->loop->data)->working--;
    work->implementation = NULL;
    free(request);
    work->done(work);
}

static void work_submit(struct env *env, struct env_work *work)
{
    uv_work_t *request = memory_allocate(sizeof(*request));
    ASSERT(work->implementation == NULL);
    request->data = work;
    work->implementation = request;
    env_uv_of(env)->working++;
    int result = uv_queue_work(&env_uv_of(env)->loop, request, work_run, work_done);
    ASSERT(result == 0);
}

/* ---- signals and foreign descriptors ---- */

static void signal_arrived(uv_signal_t *handle, int signum)
{
    struct env_uv_signal *watched = handle->data;
    watched->arrived(watched->owner, signum);
}

enum status env_uv_on_signal(struct env *env_any, int signum, void (*arrived)(void *owner, int signum), void *owner)
{
    struct env_uv *env = env_uv_of(env_any);
    ASSERT(env->signal_count < ENV_UV_SIGNALS);
    struct env_uv_signal *watched = &env->signals[env->signal_count];
    *watched = (struct env_uv_signal){.arrived = arrived, .owner = owner};
    int result = uv_signal_init(&env->loop, &watched->handle);
    if (result < 0) {
        return env_uv_status(result);
    }
    watched->handle.data = watched;
    env->signal_count++;
    result = uv_signal_start(&watched->handle, signal_arrived, signum);
    return result < 0 ? env_uv_status(result) : STATUS_OK;
}

struct env_uv_watch {
    uv_poll_t poll;
    struct env_uv *env;
    void (*readable)(void *owner);
    void *owner;
};

static void watch_freed(uv_handle_t *handle) { free(handle->data); }

static void watch_ready(uv_poll_t *poll, int status, int events)
{
    struct env_uv_watch *watch = poll->data;
    watch->readable(watch->owner);
}

enum status env_uv_watch_fd(struct env *env_any, int fd, void (*readable)(void *owner), void *owner,
                            struct env_uv_watch **ret_watch)
{
    struct env_uv *env = env_uv_of(env_any);
    struct env_uv_watch *watch = calloc(1, sizeof(*watch));
    int result = watch == NULL ? UV_ENOMEM : uv_poll_init(&env->loop, &watch->poll, fd);
    if (result < 0) {
        free(watch);
        return env_uv_status(result);
    }
    watch->poll.data = watch;
    watch->env = env;
    watch->readable = readable;
    watch->owner = owner;
    result = uv_poll_start(&watch->poll, UV_READABLE, watch_ready);
    ASSERT(result == 0);
    env->open_objects++;
    *ret_watch = watch;
    return STATUS_OK;
}

void env_uv_unwatch(struct env_uv_watch *watch)
{
    watch->env->open_objects--;
    uv_close((uv_handle_t *)&watch->poll, watch_freed);
}

/* ---- life ---- */

static const struct env_operations operations = {
    .monotonic_ns = monotonic_ns,
    .wall_us = wall_us,
    .random = random_bytes,
    .timer_start = timer_start,
    .timer_stop = timer_stop,
    .work_submit = work_submit,
    .set_turn_hook = set_turn_hook,
    .wake = wake,
    .post = env_uv_post,
    .open = env_uv_open,
    .close = env_uv_close,
    .read = env_uv_read,
    .write = env_uv_write,
    .sync = env_uv_sync,
    .size = env_uv_size,
    .truncate = env_uv_truncate,
    .rename = env_uv_rename,
    .unlink = env_uv_unlink,
    .make_directory = env_uv_make_directory,
    .sync_directory = env_uv_sync_directory,
    .list_directory = env_uv_list_directory,
    .lock_file = env_uv_lock_file,
    .listen = env_uv_listen,
    .listener_port = env_uv_listener_port,
    .listener_close = env_uv_listener_close,
    .connect = env_uv_connect,
    .stream_give = env_uv_stream_give,
    .stream_take = env_uv_stream_take,
    .stream_attach = env_uv_stream_attach,
    .stream_read = env_uv_stream_read,
    .stream_write = env_uv_stream_write,
    .stream_want_read = env_uv_stream_want_read,
    .stream_want_write = env_uv_stream_want_write,
    .stream_name = env_uv_stream_name,
    .stream_id = env_uv_stream_id,
    .stream_close = env_uv_stream_close,
    .log = env_uv_log,
};

enum status env_uv_create(const struct env_uv_options *options, struct env **ret_env)
{
    struct env_uv_options defaults = {.log_level = ENV_LOG_INFO};
    options = options == NULL ? &defaults : options;
    struct env_uv *env = calloc(1, sizeof(*env));
    int result = env == NULL ? UV_ENOMEM : uv_loop_init(&env->loop);
    if (result < 0) {
        free(env);
        return env_uv_status(result);
    }
    env->env.operations = &operations;
    env->log_level = options->log_level;
    env->log_json = options->log_json;
    env->log_descriptor = options->log_descriptor == 0 ? STDERR_FILENO : options->log_descriptor;
    env->keepalive_s = options->keepalive_s == 0 ? DEFAULT_KEEPALIVE_S : options->keepalive_s;
    env->timer_set_ns = INT64_MAX;
    timer_heap_init(&env->timers);
    list_init(&env->changed);
    env->loop.data = env->prepare.data = env->idle.data = env->timer.data = env;
    /* None of these can fail. */
    (void)uv_prepare_init(&env->loop, &env->prepare);
    (void)uv_prepare_start(&env->prepare, end_turn);
    (void)uv_idle_init(&env->loop, &env->idle);
    (void)uv_timer_init(&env->loop, &env->timer);
    post_init(env);
    if (!options->guest) {
        (void)signal(SIGPIPE, SIG_IGN);
        (void)signal(SIGXFSZ, SIG_IGN); /* a limit of file sizes is told by write */
    }
    *ret_env = &env->env;
    return STATUS_OK;
}

void env_uv_destroy(struct env *env_any)
{
    if (env_any == NULL) {
        return;
    }
    struct env_uv *env = env_uv_of(env_any);
    env->hook = NULL;
    while (env->working > 0) {
        (void)uv_run(&env->loop, UV_RUN_ONCE);
    }
    post_deinit(env);
    ASSERT(env->open_objects == 0);
    timer_heap_deinit(&env->timers);
    uv_close((uv_handle_t *)&env->post, NULL);
    uv_close((uv_handle_t *)&env->prepare, NULL);
    uv_close((uv_handle_t *)&env->idle, NULL);
    uv_close((uv_handle_t *)&env->timer, NULL);
    for (int i = 0; i < env->signal_count; i++) {
        uv_close((uv_handle_t *)&env->signals[i].handle, NULL);
    }
    (void)uv_run(&env->loop, UV_RUN_DEFAULT);
    int result = uv_loop_close(&env->loop);
    ASSERT(result == 0);
    free(env);
}

void env_uv_run(struct env *env_any)
{
    struct env_uv *env = env_uv_of(env_any);
    env->stopping = false;
    while (!env->stopping) {
        (void)uv_run(&env->loop, UV_RUN_ONCE);
    }
    end_turn(&env->prepare);
}

void env_uv_stop(struct env *env)
{
    env_uv_of(env)->stopping = true;
    env_uv_of(env)->waking = true; /* from the hook: the poll after it must not sleep */
}

void env_uv_set_log_level(struct env *env, enum env_log_level level) { env_uv_of(env)->log_level = level; }

void env_uv_set_log_json(struct env *env, bool json) { env_uv_of(env)->log_json = json; }
