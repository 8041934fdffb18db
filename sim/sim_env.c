/* A process of the simulator: turns, clocks, timers, work, messages. */
#include "base/hash.h"
#include "sim_internal.h"

#include <stdlib.h>

#define EPOCH_MS 1767225600000LL /* 2026-01-01 00:00 UTC at virtual time 0 */
enum { NS_PER_MS = 1000000, PPM = 1000000 };

struct sim_work {
    struct list link;     /* env->work, then env->finished */
    struct env_timer due; /* in sim->arrivals: when it runs, and then when it has run */
    struct sim_env *env;
    struct env_work *work;
    bool ran;
};

struct sim_message {
    struct list link;     /* messages of the receiver */
    struct env_timer due; /* in sim->arrivals */
    struct sim_env *to;
    struct env_message *message;
};

/* ---- clocks ---- */

/* value * numerator / denominator without overflow between; denominator is about a million. */
static int64_t scale(int64_t value, int64_t numerator, int64_t denominator)
{
    return value / denominator * numerator + value % denominator * numerator / denominator;
}

int64_t sim_host_local_ns(const struct sim_host *host, int64_t at_ns)
{
    return host->anchor_local_ns + scale(at_ns - host->anchor_ns, PPM + host->rate_ppm, PPM);
}

int64_t sim_host_virtual_ns(const struct sim_host *host, int64_t local_ns)
{
    int64_t at_ns = host->anchor_ns + scale(local_ns - host->anchor_local_ns, PPM, PPM + host->rate_ppm);
    while (sim_host_local_ns(host, at_ns) < local_ns) {
        at_ns++; /* the divisions rounded down */
    }
    return at_ns;
}

int64_t sim_env_now_ns(const struct sim_env *env)
{
    return env->sim->now_ns + (env->spent_ns == NULL ? 0 : *env->spent_ns);
}

static int64_t monotonic_ns(struct env *env_any)
{
    struct sim_env *env = sim_env_of(env_any);
    sim_env_spend(env, env->sim->timing.reading_ns);
    /* A rate that changed while the process was busy counts from when it changed, and what was read since was by the
     * old one. */
    int64_t now_ns = sim_host_local_ns(env->host, sim_env_now_ns(env));
    env->shown_ns = now_ns > env->shown_ns ? now_ns : env->shown_ns;
    return env->shown_ns;
}

static int64_t wall_us(struct env *env_any)
{
    struct sim_env *env = sim_env_of(env_any);
    return (EPOCH_MS + env->host->wall_offset_ms) * 1000 + sim_env_now_ns(env) / 1000;
}

static void random_bytes(struct env *env, void *data, size_t size)
{
    for (size_t done = 0; done < size; done += sizeof(uint64_t)) {
        uint64_t draw = prng_next(&sim_env_of(env)->random);
        size_t left = size - done;
        memcpy((char *)data + done, &draw, left < sizeof(draw) ? left : sizeof(draw));
    }
}

/* ---- turns ---- */

bool sim_env_mute(const struct sim_env *env) { return env->dead || env->host->ended || sim_disk_down(env->host->disk); }

bool sim_env_goes_on(struct sim_env *env)
{
    struct sim_host *host = env->host;
    if (!sim_env_mute(env) && host->ends_after != 0 && --host->ends_after == 0) {
        host->ended = true;
    }
    return !env->dead && !host->ended;
}

void sim_env_need_turn(struct sim_env *env, int64_t at_ns)
{
    if (env->dead || env->in_turn) {
        return; /* at its end a turn looks for itself what is to come */
    }
    int64_t earliest_ns =
        env->busy_until_ns > env->host->paused_until_ns ? env->busy_until_ns : env->host->paused_until_ns;
    earliest_ns = env->sim->now_ns > earliest_ns ? env->sim->now_ns : earliest_ns;
    at_ns = at_ns > earliest_ns ? at_ns : earliest_ns;
    if (at_ns < env->turn_at_ns) {
        env->turn_at_ns = at_ns;
        timer_heap_start(&env->sim->turns, &env->turn, at_ns);
    }
}

static void need_turn_for_timers(struct sim_env *env)
{
    int64_t local_ns = timer_heap_next_ns(&env->timers);
    if (local_ns <= sim_host_local_ns(env->host, env->sim->now_ns)) {
        sim_env_need_turn(env, 0);
    } else if (local_ns < INT64_MAX / 2) { /* what lies further away is never */
        sim_env_need_turn(env, sim_host_virtual_ns(env->host, local_ns));
    }
}

static void finish_work(struct sim_env *env)
{
    struct list now;
    list_init(&now);
    while (!list_empty(&env->finished)) {
        struct list *first = env->finished.next;
        list_remove(first);
        list_append(&now, first);
    }
    while (!list_empty(&now)) {
        struct sim_work *entry = CONTAINER_OF(now.next, struct sim_work, link);
        struct env_work *work = entry->work;
        list_remove(&entry->link);
        free(entry);
        sim_trace(env->sim, env->host->number, SIM_EVENT_WORK_DONE, env->turn_number, 0);
        work->implementation = NULL;
        work->done(work);
    }
}

/* ---- messages ---- */

static void message_due(struct env_timer *timer)
{
    struct sim_message *entry = CONTAINER_OF(timer, struct sim_message, due);
    struct sim_env *to = entry->to;
    entry->message->next = NULL;
    *to->arrived_end = entry->message;
    to->arrived_end = &entry->message->next;
    list_remove(&entry->link);
    free(entry);
    sim_env_need_turn(to, 0);
}

static void post(struct env *env_any, struct env *to_any, struct env_message *message)
{
    struct sim_env *env = sim_env_of(env_any);
    struct sim_env *to = sim_env_of(to_any);
    struct sim *sim = env->sim;
    ASSERT(to->host == env->host);
    if (env->dead || to->dead) {
        message->dropped(message);
        return;
    }
    struct sim_message *entry = malloc(sizeof(*entry));
    ASSERT(entry != NULL);
    *entry = (struct sim_message){.to = to, .message = message};
    env_timer_init(&entry->due, message_due);
    list_append(&to->messages, &entry->link);
    int64_t at_ns = sim_env_now_ns(env) +
                    sim_between(sim, SIM_DRAW_TIMING, sim->timing.post_minimum_ns, sim->timing.post_maximum_ns);
    int64_t *last_ns = &env->posted_ns[to->worker];
    *last_ns = at_ns > *last_ns ? at_ns : *last_ns + 1; /* in order */
    timer_heap_start(&sim->arrivals, &entry->due, *last_ns);
}

static void take_messages(struct sim_env *env)
{
    uint64_t count = 0;
    struct env_message *at = env->arrived;
    env->arrived = NULL;
    env->arrived_end = &env->arrived;
    for (struct env_message *next; at != NULL; at = next, count++) {
        next = at->next;
        at->arrived(at);
    }
    if (count != 0) {
        sim_trace(env->sim, env->host->number, SIM_EVENT_MESSAGE, (uint64_t)env->worker, count);
    }
}

void sim_env_drop_messages(struct sim_env *env)
{
    LIST_FOR_EACH_SAFE (at, after, &env->messages) {
        struct sim_message *entry = CONTAINER_OF(at, struct sim_message, link);
        timer_heap_stop(&env->sim->arrivals, &entry->due);
        list_remove(&entry->link);
        entry->message->dropped(entry->message);
        free(entry);
    }
    for (struct env_message *at = env->arrived, *next; at != NULL; at = next) {
        next = at->next;
        at->dropped(at);
    }
    env->arrived = NULL;
}

/* A crash point of the disk or the process's end has been reached: now that it is between turns, it ends. */
static void crash_when_mute(struct sim_env *env)
{
    struct sim *sim = env->sim;
    int node = env->host->number;
    if (!env->dead && sim_env_mute(env)) {
        sim_node_crash(sim, node, env->host->ended ? SIM_CRASH_KILL : SIM_CRASH_POWER);
        if (sim->crashed != NULL) {
            sim->crashed(sim->crashed_owner, node);
        }
    }
}

static void turn_due(struct env_timer *timer)
{
    struct sim_env *env = CONTAINER_OF(timer, struct sim_env, turn);
    struct sim *sim = env->sim;
    int64_t spent_ns = sim_between(sim, SIM_DRAW_TIMING, sim->timing.turn_minimum_ns, sim->timing.turn_maximum_ns);
    bool work_first = prng_below(&sim->prng[SIM_DRAW_TIMING], 2) == 0;
    env->turn_at_ns = INT64_MAX;
    env->spent_ns = &spent_ns;
    env->in_turn = true;
    env->turn_number++;
    sim_trace(sim, env->host->number, SIM_EVENT_TURN, env->turn_number, 0);

    take_messages(env);
    size_t fired = timer_heap_fire(&env->timers, sim_host_local_ns(env->host, sim->now_ns));
    sim_trace(sim, env->host->number, SIM_EVENT_TIMERS, fired, 0);
    if (work_first) {
        finish_work(env);
    }
    sim_streams_turn(env);
    if (!work_first) {
        finish_work(env);
    }
    env->waking = false;
    if (env->hook != NULL) {
        env->hook(env->hook_owner);
    }

    env->in_turn = false;
    env->spent_ns = NULL;
    env->busy_until_ns = sim->now_ns + spent_ns;
    sim_streams_free_closed(env);
    if (env->waking || env->arrived != NULL || !list_empty(&env->finished) || sim_streams_ready(env)) {
        sim_env_need_turn(env, env->busy_until_ns);
    }
    need_turn_for_timers(env);
    crash_when_mute(env);
}

static void set_turn_hook(struct env *env, void (*hook)(void *owner), void *owner)
{
    sim_env_of(env)->hook = hook;
    sim_env_of(env)->hook_owner = owner;
}

static void wake(struct env *env)
{
    sim_env_of(env)->waking = true;
    sim_env_need_turn(sim_env_of(env), 0);
}

/* ---- timers ---- */

static void timer_start(struct env *env_any, struct env_timer *timer, int64_t at_ns)
{
    struct sim_env *env = sim_env_of(env_any);
    if (!env->dead) {
        timer_heap_start(&env->timers, timer, at_ns);
        need_turn_for_timers(env);
    }
}

static void timer_stop(struct env *env, struct env_timer *timer) { timer_heap_stop(&sim_env_of(env)->timers, timer); }

/* ---- work ---- */

static void work_due(struct env_timer *timer)
{
    struct sim_work *entry = CONTAINER_OF(timer, struct sim_work, due);
    struct sim_env *env = entry->env;
    struct sim *sim = env->sim;
    if (env->host->paused_until_ns > sim->now_ns) {
        timer_heap_start(&sim->arrivals, &entry->due, env->host->paused_until_ns);
        return;
    }
    if (entry->ran) {
        list_remove(&entry->link);
        list_append(&env->finished, &entry->link);
        sim_env_need_turn(env, sim->now_ns);
        return;
    }
    int64_t spent_ns = 1;
    entry->ran = true;
    sim_trace(sim, env->host->number, SIM_EVENT_WORK_RUN, 0, 0);
    env->spent_ns = &spent_ns;
    entry->work->run(entry->work);
    env->spent_ns = NULL;
    timer_heap_start(&sim->arrivals, &entry->due, sim->now_ns + spent_ns);
    crash_when_mute(env);
}

static void work_submit(struct env *env_any, struct env_work *work)
{
    struct sim_env *env = sim_env_of(env_any);
    struct sim *sim = env->sim;
    struct sim_work *entry = malloc(sizeof(*entry));
    ASSERT(entry != NULL && work->implementation == NULL);
    *entry = (struct sim_work){.env = env, .work = work};
    env_timer_init(&entry->due, work_due);
    list_append(&env->work, &entry->link);
    work->implementation = entry;
    if (!env->dead) {
        int64_t wait_ns = sim_between(sim, SIM_DRAW_TIMING, sim->timing.work_minimum_ns, sim->timing.work_maximum_ns);
        timer_heap_start(&sim->arrivals, &entry->due, sim_env_now_ns(env) + wait_ns);
    }
}

/* ---- life ---- */

static void log_line(struct env *env_any, enum env_log_level level, const char *line)
{
    struct sim_env *env = sim_env_of(env_any);
    if (env->sim->log != NULL && !env->dead) {
        env->sim->log(env->sim->log_owner, env->host->number, sim_env_now_ns(env), level, line);
    }
}

static const struct env_operations operations = {
    .monotonic_ns = monotonic_ns,
    .wall_us = wall_us,
    .random = random_bytes,
    .timer_start = timer_start,
    .timer_stop = timer_stop,
    .work_submit = work_submit,
    .set_turn_hook = set_turn_hook,
    .wake = wake,
    .post = post,
    .open = sim_file_open,
    .close = sim_file_close,
    .read = sim_file_read,
    .write = sim_file_write,
    .sync = sim_file_sync,
    .size = sim_file_size,
    .truncate = sim_file_truncate,
    .rename = sim_file_rename,
    .unlink = sim_file_unlink,
    .make_directory = sim_make_directory,
    .sync_directory = sim_sync_directory,
    .list_directory = sim_list_directory,
    .lock_file = sim_lock_file,
    .listen = sim_listen,
    .listener_port = sim_listener_port,
    .listener_close = sim_listener_close,
    .connect = sim_connect,
    .stream_give = sim_stream_give,
    .stream_take = sim_stream_take,
    .stream_attach = sim_stream_attach,
    .stream_read = sim_stream_read,
    .stream_write = sim_stream_write,
    .stream_want_read = sim_stream_want_read,
    .stream_want_write = sim_stream_want_write,
    .stream_name = sim_stream_name,
    .stream_id = sim_stream_id,
    .stream_close = sim_stream_close,
    .log = log_line,
};

struct sim_env *sim_env_create(struct sim_host *host, int worker)
{
    struct sim_env *env = calloc(1, sizeof(*env));
    ASSERT(env != NULL);
    env->env.operations = &operations;
    env->sim = host->sim;
    env->host = host;
    env->worker = worker;
    env->arrived_end = &env->arrived;
    env->turn_at_ns = INT64_MAX;
    timer_heap_init(&env->timers);
    env_timer_init(&env->turn, turn_due);
    list_init(&env->work);
    list_init(&env->finished);
    list_init(&env->messages);
    list_init(&env->streams);
    list_init(&env->closed);
    list_init(&env->listeners);
    uint64_t seed[] = {host->sim->seed, (uint64_t)host->number, (uint64_t)host->starts++};
    prng_seed(&env->random, hash_bytes(0, seed, sizeof(seed)));
    sim_env_need_turn(env, 0);
    return env;
}

void sim_env_kill(struct sim_env *env)
{
    if (env->dead) {
        return;
    }
    ASSERT(!env->in_turn);
    env->dead = true;
    timer_heap_stop(&env->sim->turns, &env->turn);
    timer_heap_deinit(&env->timers);
    LIST_FOR_EACH (at, &env->work) {
        timer_heap_stop(&env->sim->arrivals, &CONTAINER_OF(at, struct sim_work, link)->due);
    }
    LIST_FOR_EACH (at, &env->messages) {
        timer_heap_stop(&env->sim->arrivals, &CONTAINER_OF(at, struct sim_message, link)->due);
    }
}

void sim_env_destroy(struct sim_env *env)
{
    ASSERT(env->dead);
    while (!list_empty(&env->work) || !list_empty(&env->finished)) {
        LIST_FOR_EACH_SAFE (at, after, &env->work) {
            struct sim_work *entry = CONTAINER_OF(at, struct sim_work, link);
            if (!entry->ran) {
                entry->work->run(entry->work);
            }
            list_remove(&entry->link);
            list_append(&env->finished, &entry->link);
        }
        finish_work(env);
    }
    sim_streams_free_all(env);
    timer_heap_deinit(&env->timers);
    free(env);
}
