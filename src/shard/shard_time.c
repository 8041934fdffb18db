/* Cluster time: entries carry it, the leader's clock moves it.
 *
 * The shard's time counts from what the last entry said by the monotonic clock; a restart resumes at the last entry, so
 * what remained of a time to live is neither lost nor given again beyond SHARD_TIME_ENTRY_MS. The wall reading is the
 * wall clock's, but never goes back. */
#include "shard/shard_state.h"

enum { NS_PER_MS = 1000000 };

static void expire_fire(struct env_timer *timer)
{
    struct shard *shard = CONTAINER_OF(timer, struct shard, expire_timer);
    shard->time_entry_due = true;
    env_wake(shard->env);
}

void shard_time_init(struct shard *shard) { env_timer_init(&shard->expire_timer, expire_fire); }

void shard_time_start(struct shard *shard, int64_t time_ms, int64_t wall_ms)
{
    shard->time_ms = time_ms;
    shard->wall_ms = wall_ms;
    shard->applied_time_ms = time_ms;
    shard->applied_wall_ms = wall_ms;
    shard->time_base_ms = time_ms;
    shard->time_base_ns = env_monotonic_ns(shard->env);
    shard->last_time_entry_ms = time_ms;
}

void shard_time_now(const struct shard *shard, int64_t *ret_time_ms, int64_t *ret_wall_ms)
{
    int64_t elapsed_ms = (env_monotonic_ns(shard->env) - shard->time_base_ns) / NS_PER_MS;
    int64_t time_ms = shard->time_base_ms + elapsed_ms;
    int64_t wall_ms = env_wall_ms(shard->env);
    *ret_time_ms = time_ms < shard->time_ms ? shard->time_ms : time_ms;
    *ret_wall_ms = wall_ms < shard->wall_ms ? shard->wall_ms : wall_ms;
}

void shard_time_entry_made(struct shard *shard, const struct entry_header *header, uint64_t term)
{
    shard->time_term = term;
    shard->time_ms = header->time_ms;
    shard->wall_ms = header->wall_ms;
    shard->last_time_entry_ms = header->time_ms;
}

void shard_time_heard(struct shard *shard, const struct raft_time *time, uint64_t term)
{
    if (time->time_ms == 0) {
        return; /* elected, and not leading yet */
    }
    shard->heard_term = term;
    shard->heard = *time;
    shard->heard_ns = env_monotonic_ns(shard->env);
}

void shard_time_lead(struct shard *shard)
{
    int64_t now_ns = env_monotonic_ns(shard->env);
    int64_t time_ms = shard->time_ms;
    if (shard->heard.time_ms != 0 && shard->heard_term >= shard->time_term) {
        int64_t heard_ms = shard->heard.time_ms + (now_ns - shard->heard_ns) / NS_PER_MS;
        time_ms = heard_ms > time_ms ? heard_ms : time_ms;
    }
    shard->wall_ms = shard->heard.wall_ms > shard->wall_ms ? shard->heard.wall_ms : shard->wall_ms;
    shard->time_base_ms = time_ms;
    shard->time_base_ns = now_ns;
}

/* Arms the timer for the next moment at which a time entry is wanted. */
void shard_time_schedule(struct shard *shard)
{
    int64_t due_time_ms = INT64_MAX;
    int64_t due_wall_ms = INT64_MAX;
    machine_next_due(shard->machine, &due_time_ms, &due_wall_ms);
    if (due_time_ms == INT64_MAX && due_wall_ms == INT64_MAX) {
        if (shard->expire_timer.armed) {
            env_timer_stop(shard->env, &shard->expire_timer);
        }
        shard->time_entry_due = false;
        return;
    }
    if (shard->time_entry_due) {
        return;
    }
    int64_t time_ms = 0;
    int64_t wall_ms = 0;
    shard_time_now(shard, &time_ms, &wall_ms);
    int64_t wait_ms = SHARD_TIME_ENTRY_MS;
    int64_t to_due_ms = due_time_ms == INT64_MAX ? INT64_MAX : due_time_ms - time_ms;
    int64_t to_wall_ms = due_wall_ms == INT64_MAX ? INT64_MAX : due_wall_ms - wall_ms;
    wait_ms = to_due_ms < wait_ms ? to_due_ms : wait_ms;
    wait_ms = to_wall_ms < wait_ms ? to_wall_ms : wait_ms;
    wait_ms = wait_ms < SHARD_EXPIRE_PAUSE_MS ? SHARD_EXPIRE_PAUSE_MS : wait_ms;
    int64_t at_ns = env_monotonic_ns(shard->env) + wait_ms * NS_PER_MS;
    if (!shard->expire_timer.armed || at_ns < shard->expire_at_ns) {
        shard->expire_at_ns = at_ns;
        env_timer_start(shard->env, &shard->expire_timer, at_ns);
    }
}

void shard_time_stop(struct shard *shard) { env_timer_stop(shard->env, &shard->expire_timer); }
