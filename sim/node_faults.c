/* What goes wrong, and how it heals. */
#include "node_world.h"

#include <stdio.h>

enum { PAUSE_MAXIMUM_MS = 3000, FAULT_PAUSE_MS = 700, HASTY_PAUSE_MS = 100, ROT_CANDIDATES = 64 };

static uint64_t draw(struct node_world *world, uint64_t bound) { return node_draw(world, SIM_DRAW_CRASH, bound); }

static int some_node(struct node_world *world)
{
    /* Who leads is where it hurts. */
    if (draw(world, 3) == 0) {
        struct node *node = node_leader(world, 1 + (int)draw(world, (uint64_t)world->profile.groups), SIM_DRAW_CRASH);
        if (node != NULL) {
            return node->number;
        }
    }
    return (int)draw(world, (uint64_t)world->profile.members);
}

/* ---- network ---- */

static void cut(struct node_world *world, int one, int other, bool both)
{
    if (one != other) {
        sim_network_block(world->sim, one, other, true);
        sim_network_block(world->sim, other, one, both);
    }
}

/* From all nodes; its clients stay. */
static void isolate(struct node_world *world, int one, bool both)
{
    for (int i = 0; i < world->profile.members; i++) {
        cut(world, one, i, both);
    }
    node_note(world, one, DIAGRAM_FAULT, both ? "cut off" : "cut off, but hears");
}

static void heal_network(struct node_world *world)
{
    struct sim_network *network = sim_network(world->sim);
    sim_network_heal(world->sim);
    network->lose_one_in = 0;
    network->slow_one_in = 0;
    network->reset_one_in = 0;
    network->delay_maximum_ns = MS;
    for (int from = 0; from < SIM_NODES; from++) {
        for (int to = 0; to < world->profile.members; to++) {
            sim_network_clog(world->sim, from, to, 0);
            sim_network_clog(world->sim, to, from, 0);
        }
    }
    node_note(world, -1, DIAGRAM_FAULT, "network healed");
}

static void clog_way(struct node_world *world, int one, int other)
{
    int64_t ms = 50 + (int64_t)draw(world, 2000);
    sim_network_clog(world->sim, one, other, sim_now_ns(world->sim) + ms * MS);
    node_note(world, one, DIAGRAM_FAULT, "to machine %d nothing arrives for %d ms", other + 1, (int)ms);
}

static void break_connections(struct node_world *world, int one)
{
    int count = 0;
    for (int other = 0; other < SIM_NODES; other++) {
        if (draw(world, 2) == 0) {
            count += sim_network_reset(world->sim, one, other);
        }
    }
    node_note(world, one, DIAGRAM_FAULT, "%d connections reset", count);
}

static void network_fault(struct node_world *world)
{
    static const int64_t delays_ms[] = {1, 3, 20, 80, 300};
    struct sim_network *network = sim_network(world->sim);
    int one = some_node(world);
    int other = (int)draw(world, (uint64_t)world->profile.members);
    int client = NODE_CLIENT_MACHINE + (int)draw(world, (uint64_t)world->profile.clients);
    switch (draw(world, 14)) {
    case 0: cut(world, one, other, false); break;
    case 1: cut(world, one, other, true); break;
    case 2: isolate(world, one, true); break;
    case 3: isolate(world, one, false); break;
    case 4: cut(world, client, one, draw(world, 2) == 0); break;
    case 5: network->lose_one_in = 5 + (uint32_t)draw(world, 40); break;
    case 6: network->delay_maximum_ns = delays_ms[draw(world, 5)] * MS; break;
    case 7:
        network->slow_one_in = 2 + (uint32_t)draw(world, 30);
        network->slow_ns = (int64_t)(50 + draw(world, 1000)) * MS;
        break;
    case 8: network->reset_one_in = 20 + (uint32_t)draw(world, 300); break;
    case 9: clog_way(world, one, draw(world, 3) == 0 ? client : other); break;
    case 10: break_connections(world, one); break;
    default: heal_network(world); return;
    }
    node_note(world, -1, DIAGRAM_FAULT, "network: delays to %d ms, lost 1/%u, slow 1/%u, reset 1/%u",
              (int)(network->delay_maximum_ns / MS), network->lose_one_in, network->slow_one_in, network->reset_one_in);
}

/* ---- disk ---- */

static bool any_disk_lost(const struct node_world *world)
{
    bool lost = false;
    for (int i = 0; i < world->profile.members; i++) {
        lost = lost || world->nodes[i].wiped || world->nodes[i].rotten;
    }
    return lost;
}

/* At most one in a run, and only a node that has voted: what it had acknowledged, a majority of the others has. */
static void wipe(struct node *node)
{
    struct node_world *world = node->world;
    if (any_disk_lost(world)) {
        return;
    }
    struct node_sight sight = {0};
    if (node_alive(node)) {
        node_look(node, 0, &sight);
    }
    if (world->profile.members == 1 || sight.term == 0 || draw(world, 3) != 0) {
        return;
    }
    node_note(world, node->number, DIAGRAM_FAULT, "its disk is replaced by an empty one");
    node_stop(node, SIM_CRASH_POWER);
    sim_node_replace_disk(world->sim, node->number);
    node->wiped = true;
}

static void disk_fault(struct node_world *world)
{
    int one = some_node(world);
    struct sim_disk *disk = sim_node_disk(world->sim, one);
    struct sim_timing *timing = sim_timing(world->sim);
    uint64_t skip = draw(world, 30);
    switch (draw(world, 8)) {
    case 5: wipe(&world->nodes[one]); break;
    case 0:
        timing->slow_sync_one_in = timing->slow_sync_one_in != 0 ? 0 : 10;
        timing->slow_sync_ns = (int64_t)(20 + draw(world, 300)) * MS;
        node_note(world, -1, DIAGRAM_FAULT, "syncs %s", timing->slow_sync_one_in != 0 ? "slow" : "fast");
        break;
    case 1:
        sim_disk_clear_faults(disk);
        sim_disk_add_fault(
            disk, &(struct sim_disk_fault){.kinds = SIM_DISK_CHANGES, .status = STATUS_IO, .skip = skip, .times = 1});
        node_note(world, one, DIAGRAM_FAULT, "disk error soon");
        break;
    case 2:
    case 6:
    case 7: /* often: it is seen only when a segment ends before the disk is healed */
        sim_disk_set_quota(disk, sim_disk_used(disk) + draw(world, 8000));
        node_note(world, one, DIAGRAM_FAULT, "disk nearly full");
        break;
    default:
        sim_disk_clear_faults(disk);
        sim_disk_set_quota(disk, 0);
        node_note(world, one, DIAGRAM_FAULT, "disk healed");
        break;
    }
}

/* What may rot so that it must be noticed: everything but the last two segments of a log, of whose last blocks no later
 * one tells that they were synced (src/log/README.md, "What it cannot know"). */
struct rot {
    const char *candidates[ROT_CANDIDATES];
    uint64_t sizes[ROT_CANDIDATES];
    size_t count;
};

static bool is_log(const char *path) { return strcmp(path + strlen(path) - 4, ".log") == 0; }

static bool of_same_folder(const char *one, const char *other)
{
    size_t size = (size_t)(strrchr(one, '/') - one);
    return strncmp(one, other, size + 1) == 0 && strrchr(other, '/') == other + size;
}

static void rot_candidate(void *owner, const char *path, uint64_t size)
{
    struct rot *rot = owner;
    bool fits = is_log(path) || strstr(path, ".snap") != NULL || strcmp(path, "data/node") == 0 ||
                strcmp(path, "data/cluster") == 0 || strstr(path, "/start") != NULL;
    if (fits && strstr(path, ".tmp") == NULL && size > 0 && rot->count < ROT_CANDIDATES) {
        rot->candidates[rot->count] = path;
        rot->sizes[rot->count++] = size;
    }
}

static bool is_old(const struct rot *rot, size_t at)
{
    int later = 0;
    for (size_t i = 0; i < rot->count && is_log(rot->candidates[at]); i++) {
        later += is_log(rot->candidates[i]) && of_same_folder(rot->candidates[at], rot->candidates[i]) &&
                 strcmp(rot->candidates[i], rot->candidates[at]) > 0;
    }
    return later >= 2 || !is_log(rot->candidates[at]);
}

/* Of one node in a run, once the cluster is founded; as when it loses its disk, a majority of the others has it all. */
static void rot_fault(struct node_world *world)
{
    struct node *node = &world->nodes[some_node(world)];
    struct rot rot = {0};
    if (any_disk_lost(world) || world->profile.members == 1 || world->shards[0].leaders.size == 0) {
        return;
    }
    struct sim_disk *disk = sim_node_disk(world->sim, node->number);
    sim_disk_each_file(disk, rot_candidate, &rot);
    size_t at = rot.count == 0 ? 0 : (size_t)draw(world, rot.count);
    if (rot.count == 0 || !is_old(&rot, at)) {
        return;
    }
    char path[128];
    uint64_t offset = draw(world, draw(world, 2) == 0 ? rot.sizes[at] : rot.sizes[at] / 16 + 1);
    (void)snprintf(path, sizeof(path), "%s", rot.candidates[at]);
    node_stop(node, SIM_CRASH_KILL);
    if (sim_disk_flip(disk, path, offset, (int)draw(world, 8)) == STATUS_OK) {
        node->rotten = true;
        node_note(world, node->number, DIAGRAM_FAULT, "byte %d of %s rots", (int)offset, path);
    }
}

/* ---- processes and machines ---- */

static void crash_fault(struct node_world *world)
{
    struct node *node = &world->nodes[some_node(world)];
    switch (draw(world, 7)) {
    case 6: node_shut_down(node); break;
    case 0:
    case 1: node_stop(node, SIM_CRASH_POWER); break;
    case 2: node_stop(node, SIM_CRASH_KILL); break;
    case 3:
        node_reach(world, NODE_MARK_ALL_DOWN, 1);
        for (int i = 0; i < world->profile.members; i++) {
            node_stop(&world->nodes[i], SIM_CRASH_POWER);
        }
        break;
    default:
        if (node->server != NULL) {
            sim_disk_crash_after(sim_node_disk(world->sim, node->number), SIM_DISK_CHANGES, draw(world, 40), NULL,
                                 NULL);
        }
        break;
    }
}

static void timing_fault(struct node_world *world)
{
    int one = some_node(world);
    int64_t size = (int64_t)draw(world, PAUSE_MAXIMUM_MS);
    int64_t around_zero = size - PAUSE_MAXIMUM_MS / 2;
    switch (draw(world, 4)) {
    case 0:
    case 1:
        sim_node_pause(world->sim, one, sim_now_ns(world->sim) + size * MS);
        node_note(world, one, DIAGRAM_FAULT, "paused for %d ms", (int)size);
        break;
    case 2: { /* one in a hundred at most; what lease reads assume is one in a thousand */
        int ppm = world->lease_reads ? (int)around_zero / 2 : (int)around_zero * 6;
        sim_node_set_clock_rate(world->sim, one, ppm);
        node_note(world, one, DIAGRAM_FAULT, "clock off by %d ppm", ppm);
        break;
    }
    default:
        sim_node_set_wall_offset(world->sim, one, around_zero * 3600);
        node_note(world, one, DIAGRAM_FAULT, "wall clock off by %d s", (int)around_zero * 36 / 10);
        break;
    }
}

/* Wherever in its work an allocation fails, all that tells of it is what the process did before. */
static void memory_fault(struct node_world *world)
{
    struct node *node = &world->nodes[some_node(world)];
    uint64_t operations = draw(world, 60);
    if (node_alive(node)) {
        sim_node_end_after(world->sim, node->number, operations);
        node_note(world, node->number, DIAGRAM_FAULT, "memory is refused soon");
    }
}

void node_fault_fire(struct env_timer *timer)
{
    struct node_world *world = CONTAINER_OF(timer, struct node_world, fault);
    static void (*const faults[SIM_FAULT_CLASSES])(struct node_world *) = {network_fault, disk_fault, crash_fault,
                                                                           timing_fault};
    if (world->healed || world->faults_left == 0) {
        return;
    }
    world->faults_left--;
    uint32_t classes = world->profile.classes & ((1U << SIM_FAULT_CLASSES) - 1);
    uint64_t which = draw(world, SIM_FAULT_CLASSES);
    while (classes != 0 && (classes & 1U << which) == 0) {
        which = (which + 1) % SIM_FAULT_CLASSES;
    }
    if (classes != 0) {
        faults[which](world);
    }
    if (world->profile.classes & SIM_FAULT_MEMORY && draw(world, 6) == 0) {
        memory_fault(world);
    }
    if (world->profile.classes & SIM_FAULT_ROT && draw(world, 6) == 0) {
        rot_fault(world);
    }
    uint64_t pause_ms = world->hasty_faults-- > 0 ? HASTY_PAUSE_MS : FAULT_PAUSE_MS;
    timer_heap_start(&world->events, &world->fault, sim_now_ns(world->sim) + (int64_t)draw(world, pause_ms) * MS);
}

/* A majority of every shard is enough, once the cluster is founded: sometimes one node does not come back. */
static void lose_one(struct node_world *world)
{
    struct node *node = &world->nodes[some_node(world)];
    bool founded = world->shards[0].leaders.size > 0;
    bool enough = founded && world->profile.members > 1 && draw(world, 3) == 0;
    if (enough && !any_disk_lost(world)) {
        node->left_out = true;
        node_stop(node, SIM_CRASH_POWER);
        node_reach(world, NODE_MARK_MINORITY_LOST, 1);
    }
}

void node_faults_heal(struct node_world *world)
{
    world->healed = true;
    lose_one(world);
    heal_network(world);
    sim_timing(world->sim)->slow_sync_one_in = 0;
    for (int i = 0; i < world->profile.members; i++) {
        struct sim_disk *disk = sim_node_disk(world->sim, i);
        sim_disk_clear_faults(disk);
        sim_disk_set_quota(disk, 0);
        sim_disk_crash_after(disk, 0, 0, NULL, NULL);
        if (node_alive(&world->nodes[i])) {
            sim_node_end_after(world->sim, i, UINT64_MAX);
        }
        sim_node_set_clock_rate(world->sim, i, 0);
    }
}
