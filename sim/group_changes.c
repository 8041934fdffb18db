/* Members come and go: who is to vote in each group is drawn anew now and then, members hear of it late, and whoever
 * leads brings the group there (cluster/group_move.h). Some members begin outside, with nothing. In the end every group
 * has the members that it was to have. Members that were taken out stay up, with what they know.
 *
 * Some changes of voters divide the network as they begin: who leads and who comes on one side, those who voted before
 * on the other. If either side could go on without the other, both would. */
#include "group_world.h"

#include <string.h>

enum { LOOK_MS = 60, WISH_ONE_IN = 25, DIVIDE_ONE_IN = 3, DIVIDED_MS = 3000, PLAN_DIVIDE = -1 };

size_t changes_first_voters(const struct world *world)
{
    return (size_t)world->profile.members - (world->profile.changes != 0 ? 2 : 0);
}

/* ---- wishes ---- */

static uint64_t draw(struct world *world, uint64_t bound) { return world_draw(world, SIM_DRAW_CLIENT, bound); }

static void draw_wish(struct world *world, int group)
{
    uint32_t all = (1U << world->profile.members) - 1;
    uint32_t voters = (uint32_t)draw(world, all) + 1;
    world->wishes[group].voters = voters;
    world_note(world, -1, DIAGRAM_FAULT, "group %d is to have voters %x", group + 1, voters);
}

static void hear(struct member *member, int group)
{
    struct group_wish *wish = &member->world->wishes[group];
    wish->known[member->number] = wish->voters;
}

static size_t voters_of(uint32_t wish, uint64_t ret_voters[static SIM_MEMBERS])
{
    size_t count = 0;
    for (uint64_t i = 0; i < SIM_MEMBERS; i++) {
        if (wish & 1U << i) {
            ret_voters[count++] = i + 1;
        }
    }
    return count;
}

/* ---- whoever leads ---- */

/* Newcomers have, durably, what the leader's log had at its look before: then the new majority waits for nobody. */
static void check_newcomers(const struct replica *replica, const struct raft_configuration *now,
                            const struct raft_configuration *next, uint64_t last)
{
    struct world *world = replica->member->world;
    for (size_t i = 0; i < next->voter_count; i++) {
        const struct member *member = &world->members[next->voters[i] - 1];
        if (raft_configuration_is_voter(now, next->voters[i]) || member->store == NULL) {
            continue;
        }
        struct shard_stats stats;
        shard_stats(member->replicas[replica->group - 1].shard, &stats);
        if (stats.last_index < last) {
            world_fail(world, "group %u: member %d is to vote before it has caught up", replica->group,
                       member->number + 1);
        }
    }
}

/* Plans (group_plans.c) leave the network alone meanwhile. */
static void divide(const struct replica *replica, const struct raft_configuration *before)
{
    struct world *world = replica->member->world;
    int leader = replica->member->number;
    if (!(world->profile.classes & SIM_FAULT_NETWORK) || world->healed || world->plan.kind != 0 ||
        draw(world, DIVIDE_ONE_IN) != 0) {
        return;
    }
    world->plan = (struct group_plan){.kind = PLAN_DIVIDE,
                                      .group = (int)replica->group - 1,
                                      .first = leader,
                                      .second = -1,
                                      .until_ns = sim_now_ns(world->sim) + DIVIDED_MS * MS};
    for (int i = 0; i < world->profile.members; i++) {
        for (int j = 0; j < world->profile.members; j++) {
            bool with_i = i == leader || !raft_configuration_is_voter(before, (uint64_t)i + 1);
            bool with_j = j == leader || !raft_configuration_is_voter(before, (uint64_t)j + 1);
            world->cut[i][j] = with_i != with_j;
        }
    }
    world_reach(world, GROUP_MARK_CHANGE_DIVIDED, 1);
    world_note(world, leader, DIAGRAM_FAULT, "divided from those who voted before");
}

static void begin_change(struct replica *replica, const struct raft_configuration *now,
                         const struct raft_configuration *next, uint64_t last)
{
    struct world *world = replica->member->world;
    if (shard_change(replica->shard, next) != STATUS_OK) {
        return;
    }
    world_reach(world, GROUP_MARK_CHANGED, 1);
    check_newcomers(replica, now, next, last);
    if (next->voter_count != now->voter_count ||
        memcmp(next->voters, now->voters, next->voter_count * sizeof(now->voters[0])) != 0) {
        divide(replica, now);
    }
}

static void move(struct replica *replica)
{
    struct world *world = replica->member->world;
    uint64_t voters[SIM_MEMBERS];
    struct shard_peer_status peers[RAFT_MAXIMUM_VOTERS + SIM_MEMBERS];
    struct shard_stats stats;
    struct raft_configuration next;
    uint64_t heir = 0;
    shard_stats(replica->shard, &stats);
    uint32_t wish = world->wishes[replica->group - 1].known[replica->member->number];
    struct group_move_view view = {
        .self = (uint64_t)replica->member->number + 1,
        .term = stats.term,
        .last = stats.last_index,
        .peers = peers,
        .peer_count = shard_peers(replica->shard, peers, RAFT_MAXIMUM_VOTERS + SIM_MEMBERS),
        .voters = voters,
        .voter_count = voters_of(wish, voters),
    };
    shard_members(replica->shard, &view.now, &view.settled);
    uint64_t last = replica->move.term == stats.term ? replica->move.last : UINT64_MAX;
    enum group_move_step step = group_move_next(&replica->move, &view, &next, &heir);
    if (step == GROUP_MOVE_CHANGES) {
        begin_change(replica, &view.now, &next, last);
    } else if (step == GROUP_MOVE_HANDS_OVER && shard_transfer(replica->shard, heir) == STATUS_OK) {
        world_reach(world, GROUP_MARK_HANDED_OVER, 1);
    }
}

static void look_at(struct member *member)
{
    struct world *world = member->world;
    for (int group = 0; group < world->profile.groups; group++) {
        struct replica *replica = &member->replicas[group];
        if (world->healed || draw(world, 4) == 0) {
            hear(member, group);
        }
        if (shard_leading(replica->shard)) {
            move(replica);
        } else {
            replica->move = (struct group_move){0};
        }
    }
}

static void change_fire(struct env_timer *timer)
{
    struct world *world = CONTAINER_OF(timer, struct world, change);
    for (int group = 0; group < world->profile.groups && !world->healed; group++) {
        if (draw(world, WISH_ONE_IN) == 0) {
            draw_wish(world, group);
        }
    }
    for (int i = 0; i < world->profile.members; i++) {
        struct member *member = &world->members[i];
        if (member->store != NULL && !member->failed && !member_mute(member)) {
            look_at(member);
        }
    }
    if (!world->result->failed) {
        timer_heap_start(&world->events, &world->change, sim_now_ns(world->sim) + LOOK_MS * MS);
    }
}

/* ---- life ---- */

void changes_start(struct world *world)
{
    env_timer_init(&world->change, change_fire);
    if (world->profile.changes == 0) {
        return;
    }
    for (int group = 0; group < world->profile.groups; group++) {
        world->wishes[group].voters = (1U << changes_first_voters(world)) - 1;
        for (int i = 0; i < world->profile.members; i++) {
            hear(&world->members[i], group);
        }
    }
    timer_heap_start(&world->events, &world->change, sim_now_ns(world->sim) + LOOK_MS * MS);
}

void changes_end(struct world *world)
{
    for (int group = 0; world->profile.changes != 0 && group < world->profile.groups; group++) {
        for (int i = 0; i < world->profile.members; i++) {
            hear(&world->members[i], group);
        }
    }
}

bool changes_belongs(struct replica *leader, const struct member *member)
{
    struct raft_configuration now;
    bool settled = false;
    shard_members(leader->shard, &now, &settled);
    return raft_configuration_has(&now, (uint64_t)member->number + 1);
}

bool changes_done(struct replica *leader)
{
    struct world *world = leader->member->world;
    uint64_t voters[SIM_MEMBERS];
    struct raft_configuration now;
    bool settled = false;
    size_t count = voters_of(world->wishes[leader->group - 1].voters, voters);
    shard_members(leader->shard, &now, &settled);
    return world->profile.changes == 0 || (settled && now.voter_count == count && now.learner_count == 0 &&
                                           memcmp(now.voters, voters, count * sizeof(voters[0])) == 0);
}
