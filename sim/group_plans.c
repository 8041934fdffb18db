/* Plans: what goes wrong in an order that a known kind of bug could not survive. One runs at a time.
 *
 * split: the answers to a leader are slow, then nothing that it says gets through. It hears that it leads while others
 *     elect another; clients ask both. Against reads that are confirmed by less than a round of their own.
 * blackout: right after an acknowledgement all lose power, and a bare majority comes back before the others. Against
 *     acknowledging what is not on a majority of disks.
 * votes: leaders go, messages take long, and who has just voted loses power for a moment. Against forgetting a vote.
 * comeback: a leader is cut off with an entry that needs a message of its own; the next leader is cut off as soon as it
 *     leads; the first one comes back, and goes when its entry is answered for; the second comes back. Against counting
 *     replicas of an older term's entry (Figure 8 of Ongaro and Ousterhout, 2014). */
#include "group_world.h"

#include "raft/raft_message.h"

#include <string.h>

enum { PLAN_PAUSE_MS = 600, SPLIT_MS = 2500, COMEBACK_MS = 4000, BLACKOUT_REST_MS = 2500 };

static uint64_t draw(struct world *world, uint64_t bound) { return world_draw(world, SIM_DRAW_CRASH, bound); }

static void cut_from_all(struct world *world, int one, bool cut)
{
    for (int i = 0; i < world->profile.members; i++) {
        world->cut[one][i] = world->cut[i][one] = cut && i != one;
    }
}

static void end(struct world *world)
{
    world->plan.kind = 0;
    memset(world->cut, 0, sizeof(world->cut));
    memset(world->way_closed, 0, sizeof(world->way_closed));
    memset(world->way_delay_ns, 0, sizeof(world->way_delay_ns));
    world_note(world, -1, DIAGRAM_FAULT, "plan ends");
}

/* ---- split ---- */

static void split_begin(struct world *world)
{
    struct group_plan *plan = &world->plan;
    plan->until_ns = sim_now_ns(world->sim) + SPLIT_MS * MS;
    for (int i = 0; i < world->profile.members; i++) {
        world->way_delay_ns[i][plan->first] = 1 + (int64_t)draw(world, 1000) * MS;
        plan->cut_at_ns[i] = sim_now_ns(world->sim) + (int64_t)draw(world, 400) * MS;
    }
    world_note(world, plan->first, DIAGRAM_FAULT, "plan: answers are slow, then none hears it");
}

static void split_step(struct world *world)
{
    struct group_plan *plan = &world->plan;
    for (int i = 0; i < world->profile.members; i++) {
        if (i != plan->first && sim_now_ns(world->sim) >= plan->cut_at_ns[i]) {
            world->way_closed[plan->first][i] = world->way_closed[i][plan->first] = true;
        }
    }
}

/* ---- blackout ---- */

static void blackout_begin(struct world *world)
{
    /* Disks too slow to be waited for, and threads that come to it late: a sync takes effect when it begins to run. */
    struct sim_timing *timing = sim_timing(world->sim);
    timing->sync_minimum_ns = 5 * MS;
    timing->sync_maximum_ns = 10 * MS;
    timing->work_maximum_ns = 60 * MS;
    world->plan.until_ns = sim_now_ns(world->sim) + SPLIT_MS * MS;
    world->plan.acknowledged = false;
}

static void blackout_step(struct world *world)
{
    if (!world->plan.acknowledged) {
        return;
    }
    int members = world->profile.members;
    int first = (int)draw(world, (uint64_t)members);
    world_note(world, -1, DIAGRAM_FAULT, "plan: all lose power");
    for (int i = 0; i < members; i++) {
        struct member *member = &world->members[(first + i) % members];
        member_stop(member, SIM_CRASH_POWER);
        bool early = i <= members / 2;
        member_restart_after(member, early ? (int64_t)draw(world, 100) : BLACKOUT_REST_MS);
    }
    world_reach(world, GROUP_MARK_ALL_DOWN, 1);
    end(world);
}

/* ---- comeback ---- */

static void comeback_begin(struct world *world)
{
    struct group_plan *plan = &world->plan;
    plan->until_ns = sim_now_ns(world->sim) + COMEBACK_MS * MS;
    cut_from_all(world, plan->first, true);
    (void)client_ask(&world->members[plan->first].replicas[plan->group], OPERATION_SET_LARGE, 0);
    world_note(world, plan->first, DIAGRAM_FAULT, "plan: cut off with a large entry");
}

/* Only who leads sends appends: the first one tells of it before any entry of its term is anywhere else. */
static void comeback_sent(struct world *world, const struct replica *replica)
{
    struct group_plan *plan = &world->plan;
    int member = replica->member->number;
    if (plan->stage == 0 && member != plan->first) {
        plan->second = member;
        cut_from_all(world, plan->first, false);
        cut_from_all(world, member, true);
        world_note(world, member, DIAGRAM_FAULT, "plan: leads, and is cut off");
        plan->stage++;
    } else if (plan->stage == 1 && member == plan->first) {
        world_note(world, member, DIAGRAM_FAULT, "plan: leads again");
        plan->applied = replica->applied_index;
        plan->stage++;
    }
}

static void comeback_step(struct world *world)
{
    struct group_plan *plan = &world->plan;
    const struct replica *first = &world->members[plan->first].replicas[plan->group];
    if (first->shard == NULL) {
        end(world);
    } else if (plan->stage == 2 && first->applied_index > plan->applied) {
        cut_from_all(world, plan->second, false);
        cut_from_all(world, plan->first, true);
        world_note(world, plan->first, DIAGRAM_FAULT, "plan: is answered, and cut off again");
        plan->stage++;
    }
}

/* ---- votes ---- */

bool group_plan_lets_write(const struct replica *replica)
{
    const struct world *world = replica->member->world;
    return world->plan.kind != SIM_FAULT_SPLIT || replica->member->number != world->plan.first;
}

void group_plan_sent(struct replica *replica, int kind)
{
    struct member *member = replica->member;
    struct world *world = member->world;
    bool vote = kind == RAFT_VOTE || kind == RAFT_VOTE_REPLY;
    if (vote && (world->profile.classes & SIM_FAULT_VOTES) && !world->healed) {
        member->doomed = member->doomed || draw(world, kind == RAFT_VOTE ? 16 : 2) == 0;
    }
    if (kind == RAFT_APPEND && world->plan.kind == SIM_FAULT_COMEBACK && (int)replica->group == world->plan.group + 1) {
        comeback_sent(world, replica);
    }
}

static void votes_begin(struct world *world)
{
    world->delay_ns = (int64_t)(20 + draw(world, 300)) * MS;
    member_stop(&world->members[world->plan.first], SIM_CRASH_POWER);
    end(world);
}

/* ---- all of them ---- */

static const struct {
    uint32_t class;
    void (*begin)(struct world *world);
    void (*step)(struct world *world);
} plans[] = {
    {SIM_FAULT_SPLIT, split_begin, split_step},
    {SIM_FAULT_BLACKOUT, blackout_begin, blackout_step},
    {SIM_FAULT_VOTES, votes_begin, NULL},
    {SIM_FAULT_COMEBACK, comeback_begin, comeback_step},
};
enum { PLANS = sizeof(plans) / sizeof(plans[0]) };

void group_plan_fire(struct env_timer *timer)
{
    struct world *world = CONTAINER_OF(timer, struct world, plan_timer);
    struct group_plan *plan = &world->plan;
    if (world->healed || world->faults_left == 0) {
        return;
    }
    int group = (int)draw(world, (uint64_t)world->profile.groups);
    struct replica *leader = world_leader(world, group, SIM_DRAW_CRASH);
    world->faults_left--; /* also when there is nobody to plan against: a run ends */
    if (plan->kind == 0 && leader != NULL) {
        uint64_t which = draw(world, PLANS);
        while ((world->profile.classes & plans[which].class) == 0) {
            which = (which + 1) % PLANS;
        }
        *plan = (struct group_plan){
            .kind = (int)plans[which].class, .group = group, .first = leader->member->number, .second = -1};
        plans[which].begin(world);
    }
    int64_t pause_ns = (int64_t)(50 + draw(world, PLAN_PAUSE_MS)) * MS;
    timer_heap_start(&world->events, &world->plan_timer, sim_now_ns(world->sim) + pause_ns);
}

void group_plan_step(struct world *world)
{
    for (size_t i = 0; i < PLANS; i++) {
        if (world->plan.kind == (int)plans[i].class && plans[i].step != NULL) {
            plans[i].step(world);
        }
    }
    if (world->plan.kind != 0 && (world->healed || sim_now_ns(world->sim) >= world->plan.until_ns)) {
        end(world);
    }
}
