/* Messages from other envs: a stack that any thread may push to and the loop takes whole (R. K. Treiber, IBM RJ 5118,
 * 1986). Who pushes to an empty one wakes the loop, so a batch costs one wake. */
#include "base/assert.h"
#include "env_uv/internal.h"

static void posted(uv_async_t *post) { post_take(post->data); }

void post_init(struct env_uv *env)
{
    atomic_init(&env->posted, NULL);
    env->post.data = env;
    int result = uv_async_init(&env->loop, &env->post, posted);
    ASSERT(result == 0); /* the loop has one of its own, whose descriptor they share */
}

/* In the order in which they were posted. */
static struct env_message *take(struct env_uv *env)
{
    struct env_message *last = atomic_exchange_explicit(&env->posted, NULL, memory_order_acquire);
    struct env_message *first = NULL;
    while (last != NULL) {
        struct env_message *before = last->next;
        last->next = first;
        first = last;
        last = before;
    }
    return first;
}

void post_take_all(struct env_uv *env)
{
    for (struct env_message *at = take(env), *next; at != NULL; at = next) {
        next = at->next;
        at->arrived(at);
    }
}

void post_deinit(struct env_uv *env)
{
    for (struct env_message *at = take(env), *next; at != NULL; at = next) {
        next = at->next;
        at->dropped(at);
    }
}

void env_uv_post(struct env *env, struct env *to, struct env_message *message)
{
    env_uv_post_from_outside(to, message); /* a stack that any thread may push to */
}

void env_uv_post_from_outside(struct env *to_any, struct env_message *message)
{
    struct env_uv *to = env_uv_of(to_any);
    struct env_message *before = atomic_load_explicit(&to->posted, memory_order_relaxed);
    do {
        message->next = before;
    } while (!atomic_compare_exchange_weak_explicit(&to->posted, &before, message, memory_order_release,
                                                    memory_order_relaxed));
    if (before == NULL) {
        int result = uv_async_send(&to->post);
        ASSERT(result == 0);
    }
}
