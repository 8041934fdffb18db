/* A run: the safety phase, then healing and convergence, then the account. */
#include "node_feeds.h"
#include "node_holders.h"
#include "node_services.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/key_slot.h"
#include "check/history_writer.h"
#include "cluster/slot.h"
#include "shard/store.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    SAFETY_STEP_MS = 100,
    CONVERGE_MS = 30000,
    EXPIRE_MS = 3500,
    QUIET_MS = 10000, /* longer than any client waits */
    FINAL_MS = 20000,
};

static void node_crashed(void *owner, int node)
{
    struct node_world *world = owner;
    world->nodes[node].crashed = true; /* buried after the step */
}

static int column_of(const struct node_world *world, int machine)
{
    int client = machine - NODE_CLIENT_MACHINE; /* talkers and followers have no column of their own */
    client = client < world->profile.clients ? client : world->profile.clients - 1;
    return machine < NODE_CLIENT_MACHINE ? machine : world->profile.members + client;
}

static size_t draw_sent(void *owner, int64_t at_ns, int from, int to, struct slice data)
{
    struct node_world *world = owner;
    bool between = from < NODE_CLIENT_MACHINE && to < NODE_CLIENT_MACHINE;
    (void)data;
    return diagram_sent(world->record.diagram, at_ns, column_of(world, from), column_of(world, to), 0,
                        between ? DIAGRAM_BETWEEN_NODES : DIAGRAM_OF_CLIENT);
}

static void draw_arrived(void *owner, size_t sent)
{
    struct node_world *world = owner;
    diagram_arrived(world->record.diagram, sent, sim_now_ns(world->sim));
}

static void log_line(void *owner, int node, int64_t at_ns, enum env_log_level level, const char *text)
{
    struct node_world *world = owner;
    (void)level;
    world->record.line(world->record.owner, at_ns, node, text);
}

static void restart_fire(struct env_timer *timer)
{
    struct node *node = CONTAINER_OF(timer, struct node, restart);
    if (node->server == NULL && !node->left_out) {
        node_start(node);
    }
}

static void make_founders(struct node_world *world)
{
    for (int i = 0; i < world->profile.members; i++) {
        struct member *member = &world->founders[i];
        struct slice host = slice_from_string(sim_node_address(world->sim, i));
        member->id = (uint64_t)i + 1;
        ASSERT(member_address_make(&member->client, host, NODE_PORT));
        ASSERT(member_address_make(&member->peer, host, NODE_PEER_PORT));
    }
}

/* Hash tags whose slots belong to the shards. */
static void find_tags(struct node_world *world)
{
    for (int found = 0, number = 0; found < world->profile.groups; number++) {
        char tag[8];
        (void)snprintf(tag, sizeof(tag), "t%d", number % 100000);
        int shard = (int)slot_shard(key_slot(slice_from_string(tag)), (uint32_t)world->profile.groups);
        if (world->shards[shard].tag[0] == '\0') {
            memcpy(world->shards[shard].tag, tag, sizeof(tag));
            found++;
        }
    }
}

static void start_machines(struct node_world *world)
{
    for (int i = 0; i < world->profile.members; i++) {
        struct node *node = &world->nodes[i];
        node->world = world;
        node->number = i;
        node->workers = world->profile.workers;
        env_timer_init(&node->restart, restart_fire);
        if (world->profile.classes & SIM_FAULT_DISK && node_draw(world, SIM_DRAW_CRASH, 2) == 0) {
            sim_disk_set_sector(sim_node_disk(world->sim, i), 4096);
        }
        timer_heap_start(&world->events, &node->restart, (int64_t)node_draw(world, SIM_DRAW_CRASH, 200) * MS);
    }
    for (int i = 0; i < world->profile.clients; i++) {
        world->clients[i].world = world;
        world->clients[i].number = i;
        node_client_start(&world->clients[i]);
    }
    node_talkers_start(world);
    node_moves_start(world);
}

/* Nodes of one cluster need not have equally many. */
static void draw_workers(struct node_world *world)
{
    if (world->profile.workers > 1 && node_draw(world, SIM_DRAW_CLIENT, 2) == 0) {
        world->nodes[node_draw(world, SIM_DRAW_CLIENT, (uint64_t)world->profile.members)].workers--;
    }
}

static void world_init(struct node_world *world, uint64_t seed, const struct sim_profile *profile)
{
    world->sim = sim_create(seed);
    world->profile = *profile;
    world->faults_left = profile->faults;
    world->command_timeout_ms = 1000 + (int64_t)node_draw(world, SIM_DRAW_CLIENT, 9000);
    world->lease_reads = node_draw(world, SIM_DRAW_CLIENT, 4) == 0;
    world->mixed_reads = seed % 2 != 0;
    world->protocols = (int)node_draw(world, SIM_DRAW_CLIENT, 3);
    world->snapshot_log_bytes = 1000 + (int64_t)node_draw(world, SIM_DRAW_CLIENT, 40000);
    if (profile->clients != 0 && seed / 7 % 2 != 0) { /* not for one transaction alone (txn_run.h) */
        world->turn_steps = STORE_COMMAND_STEPS * (uint32_t)(seed / 14 % 8) + 1;
    }
    world->feed_history_bytes = INT64_C(2000) << seed / 3 % 8;
    world->feed_history_ms = seed / 5 % 3 == 0 ? 3000 : 600000;
    timer_heap_init(&world->events);
    history_init(&world->history);
    sim_on_crash(world->sim, node_crashed, world);
    if (world->record.diagram != NULL) {
        static const struct sim_network_watcher watcher = {draw_sent, draw_arrived};
        sim_network_watch(world->sim, &watcher, world);
    }
    sim_on_log(world->sim, world->record.line == NULL ? NULL : log_line, world);
    make_founders(world);
    find_tags(world);
    start_machines(world);
    draw_workers(world);
    world->feeds = node_feeds_create(world);
    world->services = node_services_create(world);
    world->holders = node_holders_create(world);
    world->levels = node_levels_create(world);
    env_timer_init(&world->fault, node_fault_fire);
    int64_t first_ns = (int64_t)node_draw(world, SIM_DRAW_CRASH, 2500) * MS; /* often before the first leader */
    world->hasty_faults = node_draw(world, SIM_DRAW_CRASH, 3) == 0 ? 12 : 0;
    if ((profile->classes & ~(uint32_t)SIM_FAULT_PLANS) || profile->classes == 0) {
        timer_heap_start(&world->events, &world->fault, first_ns);
    }
    env_timer_init(&world->plan_timer, node_plan_fire);
    if (profile->classes & SIM_FAULT_PLANS) {
        timer_heap_start(&world->events, &world->plan_timer, first_ns);
    }
}

/* Those that lost their disk, or stay down, do not. */
static bool belongs(const struct node *node) { return !node->left_out && !node->wiped; }

/* Everything is applied everywhere; then states are equal. */
static bool shard_agrees(struct node_world *world, int shard)
{
    struct node *leader = node_leader(world, shard, SIM_DRAW_TIMING);
    if (leader == NULL) {
        return false;
    }
    struct node_sight first;
    node_look(leader, shard, &first);
    for (int i = 0; i < world->profile.members; i++) {
        struct node *node = &world->nodes[i];
        struct node_sight sight;
        if (!belongs(node)) {
            continue;
        }
        if (!node_alive(node) || node->leaving) {
            return false;
        }
        node_look(node, shard, &sight);
        if (sight.here && (sight.applied != first.last || sight.last != first.last)) {
            return false;
        }
    }
    return shard == 0 || node_txn_left(world, shard) == NULL;
}

static void check_agreement(struct node_world *world, int shard)
{
    uint64_t digest = 0;
    for (int i = 0; i < world->profile.members; i++) {
        struct node *node = &world->nodes[i];
        uint64_t one = belongs(node) ? node_digest(node, shard) : 0;
        if (one != 0 && digest != 0 && one != digest) {
            node_fail(world, "shard %d: in the end node %d has another state than others", shard, i + 1);
        }
        digest = one != 0 ? one : digest;
    }
}

static void fail_to_converge(struct node_world *world, int shard)
{
    char text[200] = "";
    size_t size = 0;
    for (int i = 0; i < world->profile.members && size < sizeof(text) - 60; i++) {
        const struct node *node = &world->nodes[i];
        struct node_sight sight = {0};
        if (!node_alive(node)) {
            size += (size_t)snprintf(text + size, sizeof(text) - size, "; %d down", i + 1);
            continue;
        }
        node_look(node, shard, &sight);
        size += (size_t)snprintf(text + size, sizeof(text) - size, "; %d: term %llu, applied %llu of %llu%s", i + 1,
                                 (unsigned long long)sight.term, (unsigned long long)sight.applied,
                                 (unsigned long long)sight.last, sight.leading ? ", leads" : "");
    }
    const char *left = shard > 0 ? node_txn_left(world, shard) : NULL;
    node_fail(world, "shard %d: no agreement%s%s %d s after everything healed%s", shard, left == NULL ? "" : ", and ",
              left == NULL ? "" : left, CONVERGE_MS / 1000, text);
}

void node_converge(struct node_world *world)
{
    int64_t limit_ns = sim_now_ns(world->sim) + CONVERGE_MS * MS;
    for (int shard = world->profile.members == 1; shard <= world->profile.groups && !world->result->failed;) {
        if (shard_agrees(world, shard)) {
            check_agreement(world, shard++);
        } else if (sim_now_ns(world->sim) > limit_ns) {
            fail_to_converge(world, shard);
        } else {
            node_world_run_for(world, SAFETY_STEP_MS * MS);
            shard = world->profile.members == 1;
        }
    }
}

static bool clients_quiet(struct node_world *world)
{
    for (int i = 0; i < world->profile.clients; i++) {
        if (world->clients[i].pending_count > 0) {
            return false;
        }
    }
    return true;
}

static bool clients_finished(struct node_world *world)
{
    for (int i = 0; i < world->profile.clients; i++) {
        if (world->clients[i].final_shard <= world->profile.groups || world->clients[i].pending_count > 0) {
            return false;
        }
    }
    return true;
}

/* Every node that is up serves every shard. */
static void finish_clients(struct node_world *world)
{
    int node = 0;
    for (int i = 0; i < world->profile.clients; i++, node++) {
        while (!belongs(&world->nodes[node % world->profile.members])) {
            node++;
        }
        node_client_finish(&world->clients[i], node % world->profile.members);
    }
    int64_t limit_ns = sim_now_ns(world->sim) + FINAL_MS * MS;
    while (!world->result->failed && !clients_finished(world)) {
        node_world_run_for(world, SAFETY_STEP_MS * MS);
        if (sim_now_ns(world->sim) > limit_ns) {
            node_fail(world, "%d s after everything healed clients are not served", FINAL_MS / 1000);
        }
    }
}

static bool scripts_finished(const struct node_world *world)
{
    for (int i = 0; i < world->profile.clients; i++) {
        if (world->clients[i].final_scripts != NODE_SCRIPTS_NOTHING || world->clients[i].pending_count > 0) {
            return false;
        }
    }
    return true;
}

/* Every node that is up finds by name what any was told. */
static void finish_scripts(struct node_world *world)
{
    for (int stage = NODE_SCRIPTS_TELL; stage < NODE_SCRIPTS_STAGES && !world->result->failed; stage++) {
        int count = stage == NODE_SCRIPTS_FLUSH ? 1 : world->profile.clients;
        for (int i = 0; i < count; i++) {
            node_client_finish_scripts(&world->clients[i], (enum node_scripts_stage)stage);
        }
        int64_t limit_ns = sim_now_ns(world->sim) + FINAL_MS * MS;
        while (!world->result->failed && !scripts_finished(world)) {
            node_world_run_for(world, SAFETY_STEP_MS * MS);
            if (sim_now_ns(world->sim) > limit_ns) {
                node_fail(world, "%d s after everything healed scripts are not served", FINAL_MS / 1000);
            }
        }
    }
}

/* Who lost its disk must stop by itself, and not serve. */
static void check_refusals(struct node_world *world)
{
    int64_t limit_ns = sim_now_ns(world->sim) + CONVERGE_MS * MS;
    for (int i = 0; i < world->profile.members; i++) {
        while (world->nodes[i].wiped && !world->nodes[i].left_out && !world->result->failed) {
            node_world_run_for(world, SAFETY_STEP_MS * MS);
            if (sim_now_ns(world->sim) > limit_ns) {
                node_fail(world, "node %d has lost its disk and does not stop", i + 1);
            }
        }
    }
}

static void world_live(struct node_world *world)
{
    while (world->faults_left > 0 && !world->result->failed) {
        node_world_run_for(world, SAFETY_STEP_MS * MS);
    }
    node_world_run_for(world, 1000 * MS);
    node_faults_heal(world);
    world->healed_ns = sim_now_ns(world->sim);
    node_world_run_for(world, 2000 * MS);
    world->clients_stopped = true;
    int64_t limit_ns = sim_now_ns(world->sim) + QUIET_MS * MS;
    while (!world->result->failed && !clients_quiet(world) && sim_now_ns(world->sim) < limit_ns) {
        node_world_run_for(world, SAFETY_STEP_MS * MS);
    }
    node_converge(world);
    if (!world->result->failed) {
        node_world_run_for(world, EXPIRE_MS * MS); /* the shards' time stood still while nobody led them */
    }
    node_converge(world);
    if (!world->result->failed) {
        finish_clients(world);
        node_talkers_finish(world);
    }
    if (world->profile.scripts) {
        finish_scripts(world);
    }
    node_converge(world);
    check_refusals(world);
    if (!world->result->failed) {
        node_feeds_finish(world->feeds);
    }
    node_services_finish(world->services);
    node_holders_finish(world->holders);
    node_moves_finish(world);
    node_levels_finish(world->levels);
    node_converge(world);
    if (!world->result->failed) {
        node_check_history(world);
        node_meets_check(world);
    }
}

static void world_deinit(struct node_world *world)
{
    world->healed = true;
    for (int i = 0; i < world->profile.clients; i++) {
        node_client_deinit(&world->clients[i]);
    }
    node_talkers_deinit(world);
    node_moves_deinit(world);
    for (int i = 0; i < world->profile.members; i++) {
        world->nodes[i].left_out = true;
        node_stop(&world->nodes[i], SIM_CRASH_KILL);
        timer_heap_stop(&world->events, &world->nodes[i].restart);
    }
    node_feeds_destroy(world->feeds);
    node_services_destroy(world->services);
    node_holders_destroy(world->holders);
    node_levels_destroy(world->levels);
    timer_heap_stop(&world->events, &world->fault);
    timer_heap_stop(&world->events, &world->plan_timer);
    for (int shard = 0; shard <= SIM_GROUPS; shard++) {
        buffer_deinit(&world->shards[shard].leaders);
        buffer_deinit(&world->shards[shard].digests);
    }
    buffer_deinit(&world->weak_reads);
    buffer_deinit(&world->weak_texts);
    buffer_deinit(&world->expiring);
    buffer_deinit(&world->entries);
    buffer_deinit(&world->txn_ids);
    buffer_deinit(&world->txn_outcomes);
    history_deinit(&world->history);
    timer_heap_deinit(&world->events);
    sim_destroy(world->sim);
}

/* Texts are numbered in the order of first sight, so this tells of every operation. */
static uint64_t history_hash(const struct history *history)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < history->count; i++) {
        const struct history_operation *operation = &history->operations[i];
        uint64_t parts[] = {operation->start,       operation->end,
                            operation->result_text, (uint64_t)operation->result_number,
                            operation->key,         operation->kind};
        hash = hash_bytes(hash, parts, sizeof(parts));
    }
    for (uint32_t i = 0; i < history->holds.count; i++) {
        const struct hold *hold = &history->holds.items[i];
        uint64_t parts[] = {hold->start, hold->end, hold->until, (uint64_t)hold->token, hold->passed};
        hash = hash_bytes(hash, parts, sizeof(parts));
    }
    return hash;
}

struct node_world *node_world_create(uint64_t seed, const struct sim_profile *profile,
                                     const struct sim_mutation *mutation, const struct sim_record *record,
                                     struct sim_result *result)
{
    struct node_world *world = calloc(1, sizeof(*world));
    ASSERT(world != NULL);
    world->result = result;
    if (record != NULL) {
        world->record = *record;
    }
    if (mutation != NULL) {
        world->mutation = *mutation;
    }
    world_init(world, seed, profile);
    return world;
}

void node_world_destroy(struct node_world *world)
{
    world_deinit(world);
    free(world);
}

void node_run(uint64_t seed, const struct sim_profile *profile, const struct sim_mutation *mutation,
              const struct sim_record *record, struct sim_result *ret_result)
{
    *ret_result = (struct sim_result){0};
    struct node_world *world = node_world_create(seed, profile, mutation, record, ret_result);
    world_live(world);
    if (world->record.history != NULL) {
        history_write_header(NULL, world->record.history);
        for (uint32_t i = 0; i < world->history.count; i++) {
            history_write_operation(&world->history, i, world->record.history);
        }
        for (uint32_t i = 0; i < world->history.holds.count; i++) {
            history_write_hold(&world->history, i, world->record.history);
        }
    }
    ret_result->virtual_ns = sim_now_ns(world->sim);
    ret_result->trace = sim_trace_hash(world->sim) ^ history_hash(&world->history);
    node_world_destroy(world);
}
