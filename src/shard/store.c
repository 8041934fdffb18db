#include "shard/store.h"

#include "base/assert.h"
#include "base/memory.h"
#include "shard/shard_state.h"
#include "shard/store_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { NS_PER_MS = 1000000 };

/* A turn with at most this many requests and bytes is synced inline: one caller waits, and a hop to another thread and
 * back costs more than it hides (docs/performance.md). Only while the disk is quick: on a slow one the hop costs
 * nothing to speak of, and readers, timeouts and all other clients must not wait for it. */
enum { STORE_INLINE_REQUESTS = 16, STORE_INLINE_BYTES = 32 << 10, STORE_INLINE_SYNC_MS = 4 };

void store_fail(struct store *store, enum status status, const char *what)
{
    if (store->failed) {
        return;
    }
    store->failed = true;
    store->failed_status = status;
    if (store->opening_message != NULL) { /* the caller of shard_open hears of it */
        (void)snprintf(store->opening_message, store->opening_message_capacity, "%s: %s", what, status_text(status));
    } else {
        store->events.failed(store->owner, status, what);
    }
}

void store_begin_work(struct store *store)
{
    if (store->tired != NULL) {
        list_remove(&store->tired->node);
        list_append(&store->shards, &store->tired->node);
        store->tired = NULL;
    }
    store->steps_left = store->turn_steps;
    store->script_ns = 0;
}

/* Who is not heard meanwhile may be taken for dead. */
void store_beat(struct store *store)
{
    int64_t now_ns = env_monotonic_ns(store->env);
    if (store->failed || now_ns - store->beat_ns < (int64_t)STORE_BEAT_MS * NS_PER_MS) {
        return;
    }
    store->beat_ns = now_ns;
    bool any = false;
    LIST_FOR_EACH (at, &store->shards) {
        any = shard_beat(CONTAINER_OF(at, struct shard, node), (uint64_t)(now_ns / NS_PER_MS)) || any;
    }
    if (any && store->events.beat != NULL) {
        store->events.beat(store->owner);
    }
}

static void beat(void *beating) { store_beat(beating); }

static void log_durable(void *owner, uint64_t ticket)
{
    struct store *store = owner;
    LIST_FOR_EACH (at, &store->shards) {
        struct shard *shard = CONTAINER_OF(at, struct shard, node);
        if (shard->raft != NULL && !store->failed) {
            shard_stored(shard, ticket);
            shard_pump(shard);
        }
    }
}

static void log_failed(void *owner, enum status status, const char *what) { store_fail(owner, status, what); }

static const struct log_events store_log_events = {log_durable, log_failed};

static void timer_fire(struct env_timer *timer)
{
    struct store *store = CONTAINER_OF(timer, struct store, timer);
    env_wake(store->env);
}

enum status store_open(struct env *env, const struct store_options *options, const struct store_events *events,
                       void *owner, struct store **ret_store, char *ret_message, size_t message_capacity)
{
    struct store *store = memory_allocate_zeroed(1, sizeof(*store));
    *store = (struct store){.env = env, .events = *events, .owner = owner, .folder = options->folder};
    if (options->scripts != NULL) {
        store->own_scripts = *options->scripts;
        store->own_scripts.beat = beat;
        store->own_scripts.beating = store;
        store->scripts = &store->own_scripts;
    }
    store->turn_steps = options->turn_steps == 0 ? STORE_TURN_STEPS : options->turn_steps;
    list_init(&store->shards);
    store_begin_work(store);
    env_timer_init(&store->timer, timer_fire);
    struct log_options log_options = {options->directory, options->log_segment_bytes, options->folder};
    enum status status =
        log_open(env, &log_options, &store_log_events, store, &store->log, ret_message, message_capacity);
    if (status != STATUS_OK) {
        free(store);
        return status;
    }
    *ret_store = store;
    return STATUS_OK;
}

void store_close(struct store *store)
{
    if (store == NULL) {
        return;
    }
    ASSERT(list_empty(&store->shards));
    store->failed = true;
    env_timer_stop(store->env, &store->timer);
    log_close(store->log);
    free(store);
}

/* Wakes the loop when consensus has something to do next. */
static void schedule(struct store *store)
{
    uint64_t deadline_ms = UINT64_MAX;
    LIST_FOR_EACH (at, &store->shards) {
        uint64_t shard_ms = raft_deadline(CONTAINER_OF(at, struct shard, node)->raft);
        deadline_ms = shard_ms < deadline_ms ? shard_ms : deadline_ms;
    }
    if (deadline_ms > INT64_MAX / NS_PER_MS) {
        if (store->timer.armed) {
            env_timer_stop(store->env, &store->timer);
        }
        return;
    }
    int64_t at_ns = (int64_t)deadline_ms * NS_PER_MS;
    if (!store->timer.armed || store->timer_at_ns != at_ns) {
        store->timer_at_ns = at_ns;
        env_timer_start(store->env, &store->timer, at_ns);
    }
}

static enum log_sync sync_for(const struct store *store, size_t requests)
{
    struct log_stats stats;
    log_stats(store->log, &stats);
    bool quick = stats.last_sync_ns <= (int64_t)STORE_INLINE_SYNC_MS * NS_PER_MS;
    bool small = requests <= STORE_INLINE_REQUESTS && log_unwritten_bytes(store->log) <= STORE_INLINE_BYTES;
    return quick && small ? LOG_SYNC_INLINE : LOG_SYNC_BACKGROUND;
}

static bool must_apply(const struct store *store)
{
    LIST_FOR_EACH (at, &store->shards) {
        if (shard_must_apply(CONTAINER_OF(at, struct shard, node))) {
            return true;
        }
    }
    return false;
}

bool store_turn(struct store *store)
{
    if (store->failed) {
        return false;
    }
    store_begin_work(store);
    /* While a sync runs the next batches gather. */
    bool sealing = !log_syncing(store->log);
    size_t requests = 0;
    LIST_FOR_EACH (at, &store->shards) {
        requests += shard_begin_turn(CONTAINER_OF(at, struct shard, node), sealing);
    }
    if (sealing && !store->failed) {
        if (store->events.before_sync != NULL) {
            store->events.before_sync(store->owner);
        }
        log_flush(store->log, sync_for(store, requests));
        if (store->had_large) { /* it was checksummed */
            store->had_large = false;
            store_beat(store);
        }
    }
    if (!store->failed && store->events.before_apply != NULL) {
        store->events.before_apply(store->owner, must_apply(store));
    }
    bool more = false;
    LIST_FOR_EACH (at, &store->shards) {
        if (!store->failed) {
            more = shard_end_turn(CONTAINER_OF(at, struct shard, node)) || more;
        }
    }
    if (!store->failed) {
        schedule(store);
    }
    return more && !store->failed;
}

bool store_idle(const struct store *store) { return !log_syncing(store->log); }

const struct machine_scripts *store_scripts(const struct store *store) { return store->scripts; }
