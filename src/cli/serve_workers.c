#include "cli/serve_workers.h"

#include "base/memory.h"
#include "env_uv/env_uv.h"
#include "server/config.h"
#include "server/server.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { POOL_THREADS = 4 }; /* of libuv, for syncs and snapshots, unless there are more workers */

struct serve_thread {
    struct env_message end; /* first */
    struct env *env;
    pthread_t thread;
    bool runs;
};

struct serve_workers {
    uint32_t count;
    struct env *envs[SERVER_WORKERS_MAXIMUM];
    struct serve_thread threads[SERVER_WORKERS_MAXIMUM];
};

static void *run(void *env)
{
    env_uv_run(env);
    return NULL;
}

static void end(struct env_message *message) { env_uv_stop(((struct serve_thread *)message)->env); }

static void ended_already(struct env_message *message) { (void)message; }

static enum status start(struct serve_workers *workers, uint32_t number, const struct config *config)
{
    struct serve_thread *thread = &workers->threads[number];
    enum status status = env_uv_create(NULL, &thread->env);
    if (status != STATUS_OK) {
        return status;
    }
    workers->envs[number] = thread->env;
    thread->end = (struct env_message){.arrived = end, .dropped = ended_already};
    env_uv_set_log_level(thread->env, (enum env_log_level)config->log_level);
    env_uv_set_log_json(thread->env, config->log_format != 0);
    thread->runs = pthread_create(&thread->thread, NULL, run, thread->env) == 0;
    return thread->runs ? STATUS_OK : STATUS_NOMEM;
}

/* So that each worker's sync finds a thread. Before libuv starts any. */
static void widen_pool(uint32_t count)
{
    char text[16];
    if (count > POOL_THREADS) {
        (void)snprintf(text, sizeof(text), "%u", (unsigned)count);
        (void)setenv("UV_THREADPOOL_SIZE", text, 0);
    }
}

enum status serve_workers_start(struct env *first, uint32_t count, const struct config *config,
                                struct serve_workers **ret_workers)
{
    struct serve_workers *workers = memory_allocate_zeroed(1, sizeof(*workers));
    workers->count = count;
    workers->envs[0] = first;
    enum status status = STATUS_OK;
    widen_pool(count);
    for (uint32_t i = 1; i < count && status == STATUS_OK; i++) {
        status = start(workers, i, config);
    }
    if (status != STATUS_OK) {
        serve_workers_end(workers);
        serve_workers_destroy(workers);
        return status;
    }
    *ret_workers = workers;
    return STATUS_OK;
}

struct env *const *serve_workers_envs(const struct serve_workers *workers) { return workers->envs; }

void serve_workers_end(struct serve_workers *workers)
{
    for (uint32_t i = 1; workers != NULL && i < workers->count; i++) {
        struct serve_thread *thread = &workers->threads[i];
        if (thread->runs) {
            env_post(workers->envs[0], thread->env, &thread->end);
            (void)pthread_join(thread->thread, NULL);
            thread->runs = false;
        }
    }
}

void serve_workers_destroy(struct serve_workers *workers)
{
    for (uint32_t i = 1; workers != NULL && i < workers->count; i++) {
        env_uv_destroy(workers->threads[i].env);
    }
    free(workers);
}
