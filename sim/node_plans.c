/* Plans: what goes wrong in an order that a known kind of bug could not survive. One runs at a time.
 *
 * split: a leader hears late answers, and nobody hears it any more. It believes to lead while others elect another;
 *     its own clients read, the others write. Against reads that are confirmed by less than a round of their own.
 * blackout: right after an acknowledgement all lose power, and a bare majority comes back before the others. Against
 *     acknowledging what is not on a majority of disks. */
#include "node_world.h"

enum { PLAN_PAUSE_MS = 900, SPLIT_MS = 2500, BLACKOUT_MS = 1500, BLACKOUT_REST_MS = 3500 };

static uint64_t draw(struct node_world *world, uint64_t bound) { return node_draw(world, SIM_DRAW_CRASH, bound); }

static void end(struct node_world *world)
{
    int first = world->plan.first;
    for (int i = 0; i < world->profile.members && world->plan.kind == SIM_FAULT_SPLIT; i++) {
        sim_network_block(world->sim, first, i, false);
        sim_network_clog(world->sim, i, first, 0);
    }
    world->plan.kind = 0;
    node_note(world, -1, DIAGRAM_FAULT, "plan ends");
}

/* ---- split ---- */

static void split_begin(struct node_world *world)
{
    struct node_plan *plan = &world->plan;
    int64_t now_ns = sim_now_ns(world->sim);
    int side = (int)draw(world, 2);
    plan->until_ns = now_ns + SPLIT_MS * MS;
    for (int i = 0; i < world->profile.members; i++) {
        bool in_time = i % 2 == side; /* before the leader gives up; or just not too late, with an answer to more */
        plan->cut_at_ns[i] = now_ns + (int64_t)draw(world, in_time ? 60 : 150) * MS;
        plan->late_ns[i] = now_ns + (int64_t)(in_time ? 380 + draw(world, 110) : 500 + draw(world, 350)) * MS;
        if (i != plan->first) {
            sim_network_clog(world->sim, i, plan->first, plan->late_ns[i]);
        }
    }
    node_note(world, plan->first, DIAGRAM_FAULT, "plan: answers are late, then none hears it");
}

static void split_step(struct node_world *world)
{
    struct node_plan *plan = &world->plan;
    int64_t now_ns = sim_now_ns(world->sim);
    for (int i = 0; i < world->profile.members; i++) {
        if (i == plan->first) {
            continue;
        }
        if (now_ns >= plan->cut_at_ns[i]) {
            sim_network_block(world->sim, plan->first, i, true);
        }
        if (now_ns + 2 * MS >= plan->late_ns[i] && plan->late_ns[i] != 0) { /* what is said from now on comes later */
            plan->late_ns[i] = 0;
            sim_network_clog(world->sim, i, plan->first, now_ns + (int64_t)(500 + draw(world, 500)) * MS);
        }
    }
}

enum node_plan_wish node_plan_wish_at(const struct node_world *world, int node, bool early)
{
    const struct node_plan *plan = &world->plan;
    if (plan->kind != SIM_FAULT_SPLIT) {
        return NODE_PLAN_ANYTHING;
    }
    bool again = false; /* another leads */
    for (int i = 0; i < world->profile.members; i++) {
        again = again || (i != plan->first && world->nodes[i].leading[plan->shard]);
    }
    if (node == plan->first) { /* some ask early, and wait for answers that come late */
        return again || early ? NODE_PLAN_READS : NODE_PLAN_NOTHING;
    }
    return again ? NODE_PLAN_ANYTHING : NODE_PLAN_NOTHING;
}

enum node_plan_wish node_plan_wish(struct node_client *client)
{
    return node_plan_wish_at(client->world, client->node, client->number % 2 == 0);
}

/* ---- blackout ---- */

static void blackout_begin(struct node_world *world)
{
    /* Disks too slow to be waited for, and threads that come to it late: a sync takes effect when it begins to run. */
    struct sim_timing *timing = sim_timing(world->sim);
    timing->sync_minimum_ns = 5 * MS;
    timing->sync_maximum_ns = 10 * MS;
    timing->work_maximum_ns = 60 * MS;
    world->plan.until_ns = sim_now_ns(world->sim) + BLACKOUT_MS * MS;
    world->plan.acknowledged = false;
}

static void blackout_step(struct node_world *world)
{
    if (!world->plan.acknowledged) {
        return;
    }
    int members = world->profile.members;
    int first = (int)draw(world, (uint64_t)members);
    node_note(world, -1, DIAGRAM_FAULT, "plan: all lose power");
    for (int i = 0; i < members; i++) {
        struct node *node = &world->nodes[(first + i) % members];
        node_stop(node, SIM_CRASH_POWER);
        node_restart_after(node, i <= members / 2 ? (int64_t)draw(world, 100) : BLACKOUT_REST_MS);
    }
    node_reach(world, NODE_MARK_ALL_DOWN, 1);
    end(world);
}

/* ---- both ---- */

static const struct {
    uint32_t class;
    void (*begin)(struct node_world *world);
    void (*step)(struct node_world *world);
} plans[] = {
    {SIM_FAULT_SPLIT, split_begin, split_step},
    {SIM_FAULT_BLACKOUT, blackout_begin, blackout_step},
};
enum { PLANS = sizeof(plans) / sizeof(plans[0]) };

void node_plan_fire(struct env_timer *timer)
{
    struct node_world *world = CONTAINER_OF(timer, struct node_world, plan_timer);
    if (world->healed || world->faults_left == 0) {
        return;
    }
    int shard = 1 + (int)draw(world, (uint64_t)world->profile.groups);
    struct node *leader = node_leader(world, shard, SIM_DRAW_CRASH);
    world->faults_left--; /* also when there is nobody to plan against: a run ends */
    if (world->plan.kind == 0 && leader != NULL) {
        uint64_t which = draw(world, PLANS);
        while ((world->profile.classes & plans[which].class) == 0) {
            which = (which + 1) % PLANS;
        }
        world->plan = (struct node_plan){.kind = (int)plans[which].class, .shard = shard, .first = leader->number};
        plans[which].begin(world);
    }
    int64_t pause_ns = (int64_t)(100 + draw(world, PLAN_PAUSE_MS)) * MS;
    timer_heap_start(&world->events, &world->plan_timer, sim_now_ns(world->sim) + pause_ns);
}

void node_plan_step(struct node_world *world)
{
    for (size_t i = 0; i < PLANS; i++) {
        if (world->plan.kind == (int)plans[i].class) {
            plans[i].step(world);
        }
    }
    if (world->plan.kind != 0 && (world->healed || sim_now_ns(world->sim) >= world->plan.until_ns)) {
        end(world);
    }
}
