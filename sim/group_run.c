/* A run: the safety phase, then healing and convergence, then the account. */
#include "group_world.h"

#include "base/assert.h"
#include "base/hash.h"

#include <stdlib.h>

enum { SAFETY_STEP_MS = 100, CONVERGE_MS = 30000, EXPIRE_MS = 4500, ANSWER_MS = 2000 };

static void node_crashed(void *owner, int node)
{
    struct world *world = owner;
    world->members[node].crashed = true; /* buried after the step */
}

static void restart_fire(struct env_timer *timer)
{
    struct member *member = CONTAINER_OF(timer, struct member, restart);
    if (member->store == NULL) {
        member_start(member);
    }
}

static void world_init(struct world *world, uint64_t seed, const struct sim_profile *profile)
{
    world->sim = sim_create(seed);
    world->profile = *profile;
    world->faults_left = profile->classes == 0 ? 0 : profile->faults; /* each plan is one, too */
    world->delay_ns = 2 * MS;
    world->repeat_one_in = profile->classes & SIM_FAULT_NETWORK ? 10 : 0;
    world->snapshot_log_bytes = 500 + world_draw(world, SIM_DRAW_CLIENT, 8000);
    world->turn_steps = seed / 7 % 2 == 0 ? 0 : STORE_COMMAND_STEPS * (uint32_t)(seed / 14 % 8) + 1;
    timer_heap_init(&world->events);
    sim_on_crash(world->sim, node_crashed, world);
    for (int i = 0; i < profile->members; i++) {
        struct member *member = &world->members[i];
        member->world = world;
        member->number = i;
        member->inbox_end = &member->inbox;
        env_timer_init(&member->restart, restart_fire);
        if (profile->classes & SIM_FAULT_DISK && world_draw(world, SIM_DRAW_CRASH, 2) == 0) {
            sim_disk_set_sector(sim_node_disk(world->sim, i), 4096);
        }
        member_start(member);
    }
    for (int i = 0; i < profile->clients; i++) {
        world->clients[i].world = world;
        env_timer_init(&world->clients[i].timer, client_fire);
        timer_heap_start(&world->events, &world->clients[i].timer, 1);
    }
    env_timer_init(&world->fault, fault_fire);
    int64_t first_ns = (int64_t)world_draw(world, SIM_DRAW_CRASH, 1500) * MS; /* often before the first leader */
    world->hasty_faults = world_draw(world, SIM_DRAW_CRASH, 3) == 0 ? 12 : 0;
    if (profile->classes & ((1U << SIM_FAULT_CLASSES) - 1)) {
        timer_heap_start(&world->events, &world->fault, first_ns);
    }
    changes_start(world);
    env_timer_init(&world->plan_timer, group_plan_fire);
    if (profile->classes >> SIM_FAULT_CLASSES) {
        timer_heap_start(&world->events, &world->plan_timer, first_ns);
    }
    if (profile->classes & SIM_FAULT_NETWORK && world_draw(world, SIM_DRAW_NETWORK, 2) == 0) {
        world->delay_ns = (int64_t)(1 + world_draw(world, SIM_DRAW_NETWORK, 200)) * MS; /* long elections */
    }
}

static bool group_agrees(struct world *world, int group)
{
    struct replica *leader = world_leader(world, group, SIM_DRAW_TIMING);
    if (leader == NULL || !changes_done(leader)) {
        return false;
    }
    struct shard_stats first;
    shard_stats(leader->shard, &first);
    for (int i = 0; i < world->profile.members; i++) {
        struct member *member = &world->members[i];
        struct shard_stats stats;
        if (member->store == NULL || member->failed) {
            return false;
        }
        if (!changes_belongs(leader, member)) {
            continue;
        }
        shard_stats(member->replicas[group].shard, &stats);
        if (stats.applied_index != first.last_index || !shard_idle(member->replicas[group].shard)) {
            return false;
        }
    }
    return true;
}

static void check_agreement(struct world *world, int group)
{
    struct replica *leader = world_leader(world, group, SIM_DRAW_TIMING);
    uint64_t digest = shard_digest(leader->shard);
    for (int i = 0; i < world->profile.members; i++) {
        if (changes_belongs(leader, &world->members[i]) &&
            shard_digest(world->members[i].replicas[group].shard) != digest) {
            world_fail(world, "group %d: in the end member %d has another state than member %d", group + 1, i + 1,
                       leader->member->number + 1);
        }
    }
}

/* All groups agree, or the run has failed. */
static void converge(struct world *world)
{
    int64_t limit_ns = sim_now_ns(world->sim) + CONVERGE_MS * MS;
    for (int group = 0; group < world->profile.groups && !world->result->failed;) {
        if (group_agrees(world, group)) {
            check_agreement(world, group++);
        } else if (sim_now_ns(world->sim) > limit_ns) {
            world_fail(world, "group %d: %s %d s after everything healed", group + 1,
                       world_leader(world, group, SIM_DRAW_TIMING) == NULL ? "no leader" : "members differ",
                       CONVERGE_MS / 1000);
        } else {
            world_run_for(world, SAFETY_STEP_MS * MS);
            group = 0;
        }
    }
}

/* Asks once more for everything that must still be there, and for what must be gone. */
static void ask_finally(struct world *world)
{
    uint64_t asked[SIM_GROUPS] = {0};
    size_t before = world_operation_count(world);
    for (int group = 0; group < world->profile.groups; group++) {
        struct replica *leader = world_leader(world, group, SIM_DRAW_TIMING);
        if (leader == NULL) {
            world_fail(world, "group %d: the leader of a healthy group is gone", group + 1);
            return;
        }
        asked[group] = client_ask(leader, OPERATION_READ, 0);
        for (size_t i = before, left = FINAL_OPERATIONS; i-- > 0 && left > 0;) {
            const struct operation *operation = world_operation(world, i);
            if (operation->kind == OPERATION_SET_EXPIRING && operation->group == group &&
                operation->state == OPERATION_ACKNOWLEDGED) {
                (void)client_ask(leader, OPERATION_READ_EXPIRING, i);
                left--;
            }
        }
    }
    world_run_for(world, ANSWER_MS * MS);
    for (int group = 0; group < world->profile.groups && !world->result->failed; group++) {
        if (world_operation(world, asked[group])->state != OPERATION_ACKNOWLEDGED) {
            world_fail(world, "group %d: a read in a healthy group is not answered", group + 1);
        }
        client_check_final(world, group);
    }
    for (size_t i = before; i < world_operation_count(world) && !world->result->failed; i++) {
        const struct operation *operation = world_operation(world, i);
        if (operation->kind == OPERATION_READ_EXPIRING && world_operation(world, operation->subject)->gone_ns == 0) {
            world_fail(world, "key t%zu is there long after its time", operation->subject);
        }
    }
}

static void check_open(struct world *world)
{
    for (size_t i = 0; i < world_operation_count(world); i++) {
        const struct operation *operation = world_operation(world, i);
        struct replica *leader = world_leader(world, operation->group, SIM_DRAW_TIMING);
        bool belongs = leader == NULL || changes_belongs(leader, &world->members[operation->member]);
        if (operation->state == OPERATION_OPEN && belongs) { /* who was taken out may never hear of it */
            world_fail(world, "group %d: request %zu to member %d was never answered", operation->group + 1, i,
                       operation->member + 1);
        }
    }
}

static void world_live(struct world *world)
{
    while (world->faults_left > 0 && !world->result->failed) {
        world_run_for(world, SAFETY_STEP_MS * MS);
    }
    world_run_for(world, 1000 * MS);
    faults_heal(world);
    changes_end(world);
    world_run_for(world, 2000 * MS);
    world->clients_stopped = true;
    converge(world);
    if (!world->result->failed) {
        world_run_for(world, EXPIRE_MS * MS);
    }
    converge(world);
    if (!world->result->failed) {
        check_open(world);
        ask_finally(world);
    }
}

static void free_flights(struct world *world)
{
    while (world->events.count > 0) { /* whatever is left fires into a world where all are down */
        (void)timer_heap_fire(&world->events, timer_heap_next_ns(&world->events));
    }
}

static void world_deinit(struct world *world)
{
    world->clients_stopped = true;
    world->healed = true;
    for (int i = 0; i < world->profile.members; i++) {
        member_stop(&world->members[i], SIM_CRASH_KILL);
        timer_heap_stop(&world->events, &world->members[i].restart);
        buffer_deinit(&world->members[i].reply);
    }
    timer_heap_stop(&world->events, &world->change);
    free_flights(world);
    uint64_t parts[] = {sim_trace_hash(world->sim), world->result->acknowledged,
                        world->result->returned,    world->result->uncertain,
                        world->result->messages,    hash_bytes(0, world->operations.data, world->operations.size)};
    world->result->trace = hash_bytes(0, parts, sizeof(parts));
    for (int group = 0; group < SIM_GROUPS; group++) {
        buffer_deinit(&world->groups[group].known);
        buffer_deinit(&world->groups[group].leaders);
        buffer_deinit(&world->groups[group].digests);
    }
    buffer_deinit(&world->operations);
    timer_heap_deinit(&world->events);
    sim_destroy(world->sim);
}

void group_run(uint64_t seed, const struct sim_profile *profile, const struct sim_mutation *mutation,
               const struct sim_record *record, struct sim_result *ret_result)
{
    *ret_result = (struct sim_result){0};
    struct world *world = calloc(1, sizeof(*world));
    ASSERT(world != NULL);
    world->result = ret_result;
    if (record != NULL) {
        world->record = *record;
    }
    if (mutation != NULL) {
        world->mutation = *mutation;
    }
    world_init(world, seed, profile);
    world_live(world);
    ret_result->virtual_ns = sim_now_ns(world->sim);
    world_deinit(world);
    free(world);
}
