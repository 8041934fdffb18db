#include "env_uv/threads.h"

#include "base/memory.h"

#include <pthread.h>
#include <stdlib.h>

struct thread {
    struct env_message end; /* first */
    struct env *env;
    pthread_t thread;
    bool runs;
};

struct env_uv_threads {
    uint32_t count;
    struct env *envs[ENV_UV_THREADS_MAXIMUM];
    struct thread threads[ENV_UV_THREADS_MAXIMUM];
};

static void *run(void *env)
{
    env_uv_run(env);
    return NULL;
}

static void end(struct env_message *message) { env_uv_stop(((struct thread *)message)->env); }

static void ended_already(struct env_message *message) { (void)message; }

static enum status start(struct env_uv_threads *threads, uint32_t number, const struct env_uv_options *options)
{
    struct thread *thread = &threads->threads[number];
    enum status status = env_uv_create(options, &thread->env);
    if (status != STATUS_OK) {
        return status;
    }
    threads->envs[number] = thread->env;
    thread->end = (struct env_message){.arrived = end, .dropped = ended_already};
    thread->runs = pthread_create(&thread->thread, NULL, run, thread->env) == 0;
    return thread->runs ? STATUS_OK : STATUS_NOMEM;
}

enum status env_uv_threads_start(struct env *first, uint32_t count, const struct env_uv_options *options,
                                 struct env_uv_threads **ret_threads)
{
    struct env_uv_threads *threads = memory_allocate_zeroed(1, sizeof(*threads));
    threads->count = count;
    threads->envs[0] = first;
    enum status status = STATUS_OK;
    for (uint32_t i = 1; i < count && status == STATUS_OK; i++) {
        status = start(threads, i, options);
    }
    if (status != STATUS_OK) {
        env_uv_threads_end(threads);
        env_uv_threads_destroy(threads);
        return status;
    }
    *ret_threads = threads;
    return STATUS_OK;
}

struct env *const *env_uv_threads_envs(const struct env_uv_threads *threads) { return threads->envs; }

void env_uv_threads_end(struct env_uv_threads *threads)
{
    for (uint32_t i = 1; threads != NULL && i < threads->count; i++) {
        struct thread *thread = &threads->threads[i];
        if (thread->runs) {
            env_post(threads->envs[0], thread->env, &thread->end);
            (void)pthread_join(thread->thread, NULL);
            thread->runs = false;
        }
    }
}

void env_uv_threads_destroy(struct env_uv_threads *threads)
{
    for (uint32_t i = 1; threads != NULL && i < threads->count; i++) {
        env_uv_destroy(threads->threads[i].env);
    }
    free(threads);
}
