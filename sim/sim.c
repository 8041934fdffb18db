#include "base/hash.h"
#include "sim_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { MS = 1000000, HOST_BASE_SECONDS = 1000 };

struct sim *sim_create(uint64_t seed)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    ASSERT(sim != NULL);
    sim->seed = seed;
    for (int i = 0; i < SIM_DRAWS; i++) {
        prng_seed(&sim->prng[i], hash_bytes(seed, &i, sizeof(i)));
    }
    timer_heap_init(&sim->arrivals);
    timer_heap_init(&sim->turns);
    list_init(&sim->connections);
    sim->timing = (struct sim_timing){
        .turn_minimum_ns = 1000,
        .turn_maximum_ns = 20000,
        .reading_ns = 20,
        .work_minimum_ns = 5000,
        .work_maximum_ns = 50000,
        .post_minimum_ns = 500,
        .post_maximum_ns = 20000,
        .sync_minimum_ns = 100000,
        .sync_maximum_ns = 2 * MS,
    };
    sim->network = (struct sim_network){
        .delay_minimum_ns = 50000,
        .delay_maximum_ns = MS,
        .local_delay_maximum_ns = 20000,
        .split_one_in = 8,
        .buffer_bytes = 256 << 10,
        .resend_ns = 200LL * MS,
        .resend_maximum_ns = 5000LL * MS,
        .give_up_ns = 60000LL * MS,
        .descriptors = 1024,
    };
    for (int i = 0; i < SIM_NODES; i++) {
        struct sim_host *host = &sim->hosts[i];
        *host = (struct sim_host){.sim = sim, .number = i, .next_port = SIM_FIRST_FREE_PORT};
        (void)snprintf(host->address, sizeof(host->address), "10.0.0.%d", (i + 1) % 256);
    }
    return sim;
}

/* The process ends. */
static void kill_all(struct sim_host *host, bool silently)
{
    for (int i = 0; i < host->env_count; i++) {
        sim_streams_abandon(host->envs[i], silently);
        sim_env_kill(host->envs[i]);
    }
}

/* What is left of it goes. */
static void destroy_all(struct sim_host *host)
{
    for (int i = 0; i < host->env_count; i++) {
        sim_env_drop_messages(host->envs[i]);
    }
    for (int i = 0; i < host->env_count; i++) {
        sim_env_destroy(host->envs[i]);
        host->envs[i] = NULL;
    }
    host->env_count = 0;
}

void sim_destroy(struct sim *sim)
{
    if (sim == NULL) {
        return;
    }
    for (int i = 0; i < SIM_NODES; i++) {
        kill_all(&sim->hosts[i], true);
        destroy_all(&sim->hosts[i]);
    }
    LIST_FOR_EACH_SAFE (at, after, &sim->connections) {
        sim_connection_destroy(CONTAINER_OF(at, struct sim_connection, link));
    }
    for (int i = 0; i < SIM_NODES; i++) {
        sim_disk_destroy(sim->hosts[i].disk);
    }
    timer_heap_deinit(&sim->arrivals);
    timer_heap_deinit(&sim->turns);
    free(sim);
}

/* ---- time ---- */

int64_t sim_now_ns(const struct sim *sim) { return sim->now_ns; }

static int64_t next_ns(const struct sim *sim)
{
    int64_t arrival_ns = timer_heap_next_ns(&sim->arrivals);
    int64_t turn_ns = timer_heap_next_ns(&sim->turns);
    return arrival_ns < turn_ns ? arrival_ns : turn_ns;
}

bool sim_step(struct sim *sim)
{
    int64_t at_ns = next_ns(sim);
    if (at_ns == INT64_MAX) {
        return false;
    }
    sim->now_ns = at_ns;
    while (timer_heap_next_ns(&sim->arrivals) <= at_ns) {
        (void)timer_heap_fire(&sim->arrivals, at_ns);
    }
    (void)timer_heap_fire(&sim->turns, at_ns);
    return true;
}

void sim_run_until(struct sim *sim, int64_t at_ns)
{
    while (next_ns(sim) <= at_ns) {
        (void)sim_step(sim);
    }
    sim->now_ns = at_ns > sim->now_ns ? at_ns : sim->now_ns;
}

void sim_run_for(struct sim *sim, int64_t duration_ns) { sim_run_until(sim, sim->now_ns + duration_ns); }

/* ---- trace and draws ---- */

uint64_t sim_trace_hash(const struct sim *sim) { return sim->hash; }

void sim_trace(struct sim *sim, int node, enum sim_event event, uint64_t a, uint64_t b)
{
    uint64_t what[] = {(uint64_t)sim->now_ns, (uint64_t)node, event, a, b};
    sim->hash = hash_bytes(sim->hash, what, sizeof(what));
}

struct prng *sim_prng(struct sim *sim, enum sim_draw draw) { return &sim->prng[draw]; }

int64_t sim_between(struct sim *sim, enum sim_draw draw, int64_t minimum, int64_t maximum)
{
    ASSERT(minimum <= maximum);
    return minimum + (int64_t)prng_below(&sim->prng[draw], (uint64_t)(maximum - minimum) + 1);
}

bool sim_one_in(struct sim *sim, enum sim_draw draw, uint32_t one_in)
{
    return one_in != 0 && prng_below(&sim->prng[draw], one_in) == 0;
}

/* ---- nodes ---- */

static struct sim_host *host_of(struct sim *sim, int node)
{
    ASSERT(node >= 0 && node < SIM_NODES);
    return &sim->hosts[node];
}

struct env *sim_node_start(struct sim *sim, int node)
{
    struct sim_host *host = host_of(sim, node);
    ASSERT(sim_node_env(sim, node) == NULL);
    destroy_all(host);
    if (!host->powered) {
        host->powered = true;
        host->anchor_ns = sim->now_ns;
        host->anchor_local_ns = sim_between(sim, SIM_DRAW_TIMING, 1000LL * MS, HOST_BASE_SECONDS * 1000LL * MS);
    }
    (void)sim_node_disk(sim, node);
    host->ends_after = 0;
    host->ended = false;
    host->envs[host->env_count++] = sim_env_create(host, 0);
    sim_trace(sim, node, SIM_EVENT_START, 0, 0);
    return &host->envs[0]->env;
}

struct env *sim_node_add_worker(struct sim *sim, int node)
{
    struct sim_host *host = host_of(sim, node);
    ASSERT(sim_node_env(sim, node) != NULL && host->env_count < SIM_WORKERS);
    int worker = host->env_count++;
    host->envs[worker] = sim_env_create(host, worker);
    sim_trace(sim, node, SIM_EVENT_START, (uint64_t)worker, 0);
    return &host->envs[worker]->env;
}

struct env *sim_node_env(struct sim *sim, int node)
{
    struct sim_host *host = host_of(sim, node);
    const struct sim_env *first = sim_host_first(host);
    return first == NULL || first->dead ? NULL : &host->envs[0]->env;
}

struct sim_disk *sim_node_disk(struct sim *sim, int node)
{
    struct sim_host *host = host_of(sim, node);
    if (host->disk == NULL) {
        uint64_t seed[] = {sim->seed, (uint64_t)node + (uint64_t)host->disks * SIM_NODES};
        host->disk = sim_disk_create(hash_bytes(SIM_DRAW_DISK, seed, sizeof(seed)));
    }
    return host->disk;
}

void sim_node_replace_disk(struct sim *sim, int node)
{
    ASSERT(sim_node_env(sim, node) == NULL);
    struct sim_host *host = host_of(sim, node);
    destroy_all(host); /* what it has open is of the old one */
    sim_disk_destroy(host->disk);
    host->disk = NULL;
    host->disks++;
}

const char *sim_node_address(struct sim *sim, int node) { return host_of(sim, node)->address; }

void sim_node_crash(struct sim *sim, int node, enum sim_crash how)
{
    struct sim_host *host = host_of(sim, node);
    bool runs = sim_node_env(sim, node) != NULL;
    if (!runs && (how == SIM_CRASH_KILL || !host->powered)) {
        return;
    }
    sim_trace(sim, node, SIM_EVENT_CRASH, how, runs);
    if (runs) {
        kill_all(host, how == SIM_CRASH_POWER);
    }
    if (how == SIM_CRASH_POWER) {
        host->powered = false;
        sim_disk_crash(host->disk);
    } else {
        sim_disk_kill(host->disk);
    }
}

void sim_on_crash(struct sim *sim, void (*crashed)(void *owner, int node), void *owner)
{
    sim->crashed = crashed;
    sim->crashed_owner = owner;
}

void sim_node_end_after(struct sim *sim, int node, uint64_t operations)
{
    ASSERT(sim_node_env(sim, node) != NULL);
    host_of(sim, node)->ends_after = operations + 1;
}

bool sim_node_ended(struct sim *sim, int node) { return host_of(sim, node)->ended; }

void sim_node_pause(struct sim *sim, int node, int64_t until_ns)
{
    struct sim_host *host = host_of(sim, node);
    host->paused_until_ns = until_ns;
    for (int i = 0; i < host->env_count; i++) {
        struct sim_env *env = host->envs[i];
        if (env->turn.armed && env->turn_at_ns < until_ns) {
            env->turn_at_ns = until_ns;
            timer_heap_start(&sim->turns, &env->turn, until_ns);
        }
    }
}

void sim_node_set_clock_rate(struct sim *sim, int node, int32_t ppm)
{
    ASSERT(ppm >= -100000 && ppm <= 100000);
    struct sim_host *host = host_of(sim, node);
    host->anchor_local_ns = sim_host_local_ns(host, sim->now_ns);
    host->anchor_ns = sim->now_ns;
    host->rate_ppm = ppm;
    for (int i = 0; i < host->env_count; i++) {
        sim_env_need_turn(host->envs[i], sim->now_ns); /* at its end the timers are set by the new rate */
    }
}

void sim_node_set_wall_offset(struct sim *sim, int node, int64_t offset_ms)
{
    host_of(sim, node)->wall_offset_ms = offset_ms;
}

struct sim_timing *sim_timing(struct sim *sim) { return &sim->timing; }

void sim_on_log(struct sim *sim,
                void (*line)(void *owner, int node, int64_t at_ns, enum env_log_level level, const char *text),
                void *owner)
{
    sim->log = line;
    sim->log_owner = owner;
}
