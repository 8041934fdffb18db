/* What goes wrong, and how it heals. */
#include "group_world.h"

#include <string.h>

enum { PAUSE_MAXIMUM_MS = 2000, FAULT_PAUSE_MS = 400, HASTY_PAUSE_MS = 60 };

static int some_member(struct world *world)
{
    /* Who leads is where it hurts. */
    if (world_draw(world, SIM_DRAW_CRASH, 3) == 0) {
        int group = (int)world_draw(world, SIM_DRAW_CRASH, (uint64_t)world->profile.groups);
        struct replica *replica = world_leader(world, group, SIM_DRAW_CRASH);
        if (replica != NULL) {
            return replica->member->number;
        }
    }
    return (int)world_draw(world, SIM_DRAW_CRASH, (uint64_t)world->profile.members);
}

static void isolate(struct world *world, int one)
{
    for (int i = 0; i < world->profile.members; i++) {
        world->cut[one][i] = world->cut[i][one] = i != one;
    }
    world_note(world, one, DIAGRAM_FAULT, "cut off");
}

static void heal_network(struct world *world)
{
    memset(world->cut, 0, sizeof(world->cut));
    world->lose_one_in = 0;
    world->slow_one_in = 0;
    world->delay_ns = 2 * MS;
    world_note(world, -1, DIAGRAM_FAULT, "network healed");
}

static void network_fault(struct world *world)
{
    int one = some_member(world);
    int other = (int)world_draw(world, SIM_DRAW_CRASH, (uint64_t)world->profile.members);
    static const int64_t delays_ms[] = {1, 2, 10, 60, 200};
    switch (world_draw(world, SIM_DRAW_CRASH, 8)) {
    case 0:
        world->cut[one][other] = true;
        world_note(world, one, DIAGRAM_FAULT, "cut towards %d", other + 1);
        break;
    case 1:
        world->cut[one][other] = world->cut[other][one] = one != other;
        world_note(world, one, DIAGRAM_FAULT, "cut from %d", other + 1);
        break;
    case 2: isolate(world, one); break;
    case 3:
        world->lose_one_in = world->lose_one_in != 0 ? 0 : 3 + (uint32_t)world_draw(world, SIM_DRAW_CRASH, 20);
        world_note(world, -1, DIAGRAM_FAULT, "one message in %u is lost", world->lose_one_in);
        break;
    case 4:
        world->delay_ns = delays_ms[world_draw(world, SIM_DRAW_CRASH, 5)] * MS;
        world_note(world, -1, DIAGRAM_FAULT, "delay up to %d ms", (int)(world->delay_ns / MS));
        break;
    case 5:
        world->slow_one_in = 2 + (uint32_t)world_draw(world, SIM_DRAW_CRASH, 10);
        world_note(world, -1, DIAGRAM_FAULT, "one message in %u is late", world->slow_one_in);
        break;
    default: heal_network(world); break;
    }
}

static void disk_fault(struct world *world)
{
    int one = some_member(world);
    struct sim_disk *disk = sim_node_disk(world->sim, one);
    struct sim_timing *timing = sim_timing(world->sim);
    uint64_t skip = world_draw(world, SIM_DRAW_CRASH, 30);
    switch (world_draw(world, SIM_DRAW_CRASH, 4)) {
    case 0:
        timing->slow_sync_one_in = timing->slow_sync_one_in != 0 ? 0 : 10;
        timing->slow_sync_ns = (int64_t)(20 + world_draw(world, SIM_DRAW_CRASH, 200)) * MS;
        world_note(world, -1, DIAGRAM_FAULT, "syncs %s", timing->slow_sync_one_in != 0 ? "slow" : "fast");
        break;
    case 1:
        sim_disk_clear_faults(disk);
        sim_disk_add_fault(
            disk, &(struct sim_disk_fault){.kinds = SIM_DISK_CHANGES, .status = STATUS_IO, .skip = skip, .times = 1});
        world_note(world, one, DIAGRAM_FAULT, "disk error soon");
        break;
    case 2:
        sim_disk_set_quota(disk, sim_disk_used(disk) + world_draw(world, SIM_DRAW_CRASH, 200000));
        world_note(world, one, DIAGRAM_FAULT, "disk nearly full");
        break;
    default:
        sim_disk_clear_faults(disk);
        sim_disk_set_quota(disk, 0);
        world_note(world, one, DIAGRAM_FAULT, "disk healed");
        break;
    }
}

static void crash_fault(struct world *world)
{
    struct member *member = &world->members[some_member(world)];
    switch (world_draw(world, SIM_DRAW_CRASH, 6)) {
    case 0:
    case 1: member_stop(member, SIM_CRASH_POWER); break;
    case 2: member_stop(member, SIM_CRASH_KILL); break;
    case 3:
        world_reach(world, GROUP_MARK_ALL_DOWN, 1);
        for (int i = 0; i < world->profile.members; i++) {
            member_stop(&world->members[i], SIM_CRASH_POWER);
        }
        break;
    default:
        if (member->store != NULL) {
            sim_disk_crash_after(sim_node_disk(world->sim, member->number), SIM_DISK_CHANGES,
                                 world_draw(world, SIM_DRAW_CRASH, 40), NULL, NULL);
        }
        break;
    }
}

static void timing_fault(struct world *world)
{
    int one = some_member(world);
    int64_t size = (int64_t)world_draw(world, SIM_DRAW_CRASH, PAUSE_MAXIMUM_MS);
    switch (world_draw(world, SIM_DRAW_CRASH, 4)) {
    case 0:
    case 1:
        sim_node_pause(world->sim, one, sim_now_ns(world->sim) + size * MS);
        world_note(world, one, DIAGRAM_FAULT, "paused for %d ms", (int)size);
        break;
    case 2:
        sim_node_set_clock_rate(world->sim, one, (int32_t)(size - PAUSE_MAXIMUM_MS / 2) * 10); /* one in a hundred */
        world_note(world, one, DIAGRAM_FAULT, "clock off by %d ppm", (int)(size - PAUSE_MAXIMUM_MS / 2) * 10);
        break;
    default:
        sim_node_set_wall_offset(world->sim, one, (size - PAUSE_MAXIMUM_MS / 2) * 3600);
        world_note(world, one, DIAGRAM_FAULT, "wall clock jumps by %d s", (int)(size - PAUSE_MAXIMUM_MS / 2) * 36 / 10);
        break;
    }
}

void fault_fire(struct env_timer *timer)
{
    struct world *world = CONTAINER_OF(timer, struct world, fault);
    static void (*const faults[])(struct world *) = {network_fault, disk_fault, crash_fault, timing_fault};
    if (world->healed || world->faults_left == 0) {
        return;
    }
    world->faults_left--;
    int which = (int)world_draw(world, SIM_DRAW_CRASH, 4);
    while ((world->profile.classes & 1U << which) == 0) {
        which = (which + 1) % 4;
    }
    faults[which](world);
    uint64_t pause_ms = world->hasty_faults-- > 0 ? HASTY_PAUSE_MS : FAULT_PAUSE_MS;
    int64_t pause_ns = (int64_t)world_draw(world, SIM_DRAW_CRASH, pause_ms) * MS;
    timer_heap_start(&world->events, &world->fault, sim_now_ns(world->sim) + pause_ns);
}

void faults_heal(struct world *world)
{
    world->healed = true;
    heal_network(world);
    world->repeat_one_in = 0;
    sim_timing(world->sim)->slow_sync_one_in = 0;
    for (int i = 0; i < world->profile.members; i++) {
        struct sim_disk *disk = sim_node_disk(world->sim, i);
        sim_disk_clear_faults(disk);
        sim_disk_set_quota(disk, 0);
        sim_disk_crash_after(disk, 0, 0, NULL, NULL);
        sim_node_set_clock_rate(world->sim, i, 0);
    }
}
