/* Nodes of a run: their machines and servers, and what can be seen of them from outside time. */
#include "node_feeds.h"
#include "node_services.h"

#include "base/assert.h"
#include "cluster/cluster.h"
#include "cluster/transport.h"

#include <stdarg.h>
#include <stdio.h>

/* Faults happen, and shards are looked at, at whole steps of this. */
#define STEP_NS MS

enum { SEGMENT_BYTES = 64 << 10, DIGEST_EVERY = 4, RESTART_AGAIN_MS = 300, RESTART_MAXIMUM_MS = 1500 };

uint64_t node_draw(struct node_world *world, enum sim_draw stream, uint64_t bound)
{
    return prng_below(sim_prng(world->sim, stream), bound);
}

void node_fail(struct node_world *world, const char *format, ...)
{
    if (world->result->failed) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(world->result->failure, sizeof(world->result->failure), format, arguments);
    va_end(arguments);
    world->result->failed = true;
    diagram_mark(world->record.diagram, sim_now_ns(world->sim), -1, 0, DIAGRAM_FAILURE, world->result->failure);
}

void node_note(struct node_world *world, int node, enum diagram_mark mark, const char *format, ...)
{
    char text[96];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    diagram_mark(world->record.diagram, sim_now_ns(world->sim), node, 0, mark, text);
    if (world->record.line != NULL) {
        world->record.line(world->record.owner, sim_now_ns(world->sim), node, text);
    }
}

void node_reach(struct node_world *world, enum sim_mark mark, uint64_t times) { world->result->marks[mark] += times; }

bool node_alive(const struct node *node)
{
    return node->server != NULL && !node->stopped && !node->crashed &&
           !sim_disk_down(sim_node_disk(node->world->sim, node->number));
}

/* ---- beginning and end of a process ---- */

static void stopped(void *owner, enum status status)
{
    struct node *node = owner;
    node->stopped = true;
    node->stop_status = status;
}

static void configured(void *owner, struct env *env, const struct config *config)
{
    (void)owner;
    (void)env;
    (void)config;
}

static enum status create(struct node *node, struct env *env, char message[static SERVER_MESSAGE_BYTES])
{
    static const struct server_events events = {.stopped = stopped, .configured = configured};
    struct node_world *world = node->world;
    struct config config;
    config_init(&config);
    config.log_segment_bytes = SEGMENT_BYTES;
    config.snapshot_log_bytes = world->snapshot_log_bytes;
    config.turn_steps = world->turn_steps;
    config.protected_mode = 0;
    config.command_timeout_ms = world->command_timeout_ms;
    config.txn_id_kept_ms *= 1 + node->number % 3; /* replicas must forget alike nevertheless */
    config.feed_history_bytes = (1 + node->number % 2) * world->feed_history_bytes;
    config.feed_output_bytes = world->feed_history_bytes / 4;
    config.feed_history_ms = world->feed_history_ms;
    config.txn_protocol = world->protocols == 2 ? node->number % 2 : world->protocols;
    struct server_options options = {.node_id = (uint64_t)node->number + 1,
                                     .directory = "/data",
                                     .host = sim_node_address(world->sim, node->number),
                                     .port = NODE_PORT,
                                     .version = "simulated",
                                     .shards = (uint32_t)world->profile.groups,
                                     .replicas = (uint32_t)world->profile.replicas,
                                     .lease_reads =
                                         world->lease_reads && (!world->mixed_reads || node->number % 2 == 0),
                                     .workers = node->envs,
                                     .worker_count = (uint32_t)node->workers};
    node->envs[0] = env;
    for (int i = 1; i < node->workers; i++) {
        node->envs[i] = sim_node_add_worker(world->sim, node->number);
    }
    if (world->profile.members > 1) {
        options.founders = world->founders;
        options.founder_count = (size_t)world->profile.members;
        options.peer_host = options.host;
        options.peer_port = NODE_PEER_PORT;
    }
    return server_create(env, &options, &config, &events, node, &node->server, message);
}

void node_restart_after(struct node *node, int64_t delay_ms)
{
    struct node_world *world = node->world;
    timer_heap_start(&world->events, &node->restart, sim_now_ns(world->sim) + delay_ms * MS);
}

/* A worker that could not open its log yet has nothing. */
static void replica_of(const struct node *node, int shard, struct cluster_replica *ret_replica)
{
    const struct cluster *cluster = server_cluster_of(node->server, (uint32_t)shard);
    *ret_replica = (struct cluster_replica){0};
    if (cluster != NULL) {
        cluster_replica(cluster, (uint32_t)shard, ret_replica);
    }
}

/* Others go on without it. */
static void node_refuse_damage(struct node *node, const char *what)
{
    node_note(node->world, node->number, DIAGRAM_FAULT, "stays down: %.70s", what);
    node_reach(node->world, NODE_MARK_ROT_REFUSED, 1);
    node->left_out = true;
}

void node_start(struct node *node)
{
    struct node_world *world = node->world;
    struct sim_disk *disk = sim_node_disk(world->sim, node->number);
    char message[SERVER_MESSAGE_BYTES] = "";
    struct env *env = sim_node_start(world->sim, node->number);
    node->leaving = false;
    node->stopped = false;
    node->crashed = false;
    sim_disk_set_lying(disk, world->mutation.no_sync);
    enum status status = create(node, env, message);
    if (status == STATUS_OK) {
        node_note(world, node->number, DIAGRAM_START, "starts");
        node_reach(world, NODE_MARK_ROT_HARMLESS, node->rotten);
        return;
    }
    bool down = sim_disk_down(disk);
    bool damaged = node->rotten && !down && strstr(message, "/data/") != NULL; /* it says which file */
    if (damaged) {
        node_refuse_damage(node, message);
    } else if (!down && status != STATUS_IO && status != STATUS_NOSPACE) {
        node_fail(world, "node %d cannot start: %.150s (%s)", node->number + 1, message, status_text(status));
    }
    node->server = NULL;
    sim_node_crash(world->sim, node->number, down ? SIM_CRASH_POWER : SIM_CRASH_KILL);
    node_restart_after(node, RESTART_AGAIN_MS);
}

/* What it has counted. */
/* The gate has held back whatever met a lock; but it lets writes pass that stand behind an outcome, and a full disk may
 * take that one away. */
static void look_at_blocked(struct node_world *world, int shard, const struct cluster_replica *replica)
{
    if (replica->stats.machine.blocked != 0 && (world->profile.classes & SIM_FAULT_DISK) == 0) {
        node_fail(world, "shard %d: %llu writes met a lock behind the gate", shard,
                  (unsigned long long)replica->stats.machine.blocked);
    }
}

static void take_account(struct node *node)
{
    struct node_world *world = node->world;
    struct transport_statistics transport;
    cluster_transport_statistics(server_cluster(node->server), &transport);
    world->result->messages += transport.frames_sent;
    for (int i = 0; i < node->workers; i++) { /* each has a shard of this number, or had */
        const struct cluster *cluster = server_cluster_of(node->server, (uint32_t)i);
        if (cluster != NULL) {
            struct cluster_counters counters;
            cluster_counters(cluster, &counters);
            node_reach(world, NODE_MARK_FORWARDED, counters.forwarded_parcels);
            node_reach(world, NODE_MARK_RETURNED, counters.returned);
            node_reach(world, NODE_MARK_LEADERLESS, counters.leaderless);
            node_reach(world, NODE_MARK_DOUBT_EXECUTED, counters.doubts_executed);
            node_reach(world, NODE_MARK_DOUBT_ABSENT, counters.doubts_absent);
            node_reach(world, NODE_MARK_ERRAND, counters.errands);
            node_reach(world, NODE_MARK_TXN_WAITED, server_txn_attempts_of(node->server, (uint32_t)i));
        }
    }
    for (int shard = 0; shard <= world->profile.groups; shard++) {
        struct cluster_replica replica;
        replica_of(node, shard, &replica);
        node_reach(world, NODE_MARK_SNAPSHOT_INSTALLED, replica.stats.installed);
        node_reach(world, NODE_MARK_TRUNCATION, replica.stats.replaced);
        node_reach(world, NODE_MARK_ORPHAN_EXECUTED, replica.stats.orphans_executed);
        node_reach(world, NODE_MARK_DIVIDED, replica.stats.divided);
        node_reach(world, NODE_MARK_ORPHAN_RETURNED, replica.stats.orphans_returned);
        node_reach(world, NODE_MARK_OUTCOME_JOINED, replica.stats.outcomes_joined);
        node_reach(world, NODE_MARK_OUTCOME_RETURNED, replica.stats.outcomes_returned);
        look_at_blocked(world, shard, &replica);
        node->terms[shard] = 0;
        node->applied[shard] = 0;
        node->leading[shard] = false;
        node->opened[shard] = false;
    }
}

void node_stop(struct node *node, enum sim_crash how)
{
    struct node_world *world = node->world;
    if (node->server == NULL) {
        if (how == SIM_CRASH_POWER) {
            sim_node_crash(world->sim, node->number, how); /* its machine was still on */
        }
        return;
    }
    node_note(world, node->number, DIAGRAM_CRASH,
              how == SIM_CRASH_KILL && node->crashed ? "out of memory"
              : node->crashed                        ? "power lost at a crash point"
              : node->stopped                        ? "stopped by itself"
              : how == SIM_CRASH_POWER               ? "power lost"
                                                     : "killed");
    sim_node_crash(world->sim, node->number, how);
    take_account(node);
    server_destroy(node->server);
    node->server = NULL;
    node_restart_after(node, (int64_t)node_draw(world, SIM_DRAW_CRASH, RESTART_MAXIMUM_MS));
}

void node_shut_down(struct node *node)
{
    if (node_alive(node)) {
        node_note(node->world, node->number, DIAGRAM_FAULT, "asked to stop");
        server_shutdown(node->server);
        node->leaving = true;
    }
}

/* ---- looking ---- */

void node_look(const struct node *node, int shard, struct node_sight *ret_sight)
{
    struct cluster_replica replica;
    replica_of(node, shard, &replica);
    *ret_sight = (struct node_sight){.here = replica.here,
                                     .leading = replica.leading,
                                     .term = replica.term,
                                     .applied = replica.stats.applied_index,
                                     .last = replica.stats.last_index,
                                     .snapshot = replica.stats.snapshot_index,
                                     .keys = replica.stats.machine.keys};
}

uint64_t node_digest(const struct node *node, int shard)
{
    const struct cluster *cluster = server_cluster_of(node->server, (uint32_t)shard);
    return cluster == NULL ? 0 : cluster_shard_digest(cluster, (uint32_t)shard);
}

const struct txns *node_txns(const struct node *node, int shard, int64_t *ret_time_ms)
{
    const struct cluster *cluster = server_cluster_of(node->server, (uint32_t)shard);
    return cluster == NULL ? NULL : cluster_txns(cluster, (uint32_t)shard, ret_time_ms);
}

struct node *node_leader(struct node_world *world, int shard, enum sim_draw stream)
{
    int first = (int)node_draw(world, stream, (uint64_t)world->profile.members);
    for (int i = 0; i < world->profile.members; i++) {
        struct node *node = &world->nodes[(first + i) % world->profile.members];
        struct node_sight sight = {0};
        if (node_alive(node)) {
            node_look(node, shard, &sight);
        }
        if (sight.leading) {
            return node;
        }
    }
    return NULL;
}

/* One leader per term. */
static void check_leader(struct node *node, int shard, uint64_t term)
{
    struct node_world *world = node->world;
    struct buffer *leaders = &world->shards[shard].leaders;
    while (leaders->size <= term) {
        buffer_append(leaders, "", 1);
    }
    int before = leaders->data[term];
    if (before != 0 && before != node->number + 1) {
        node_fail(world, "shard %d has two leaders in term %llu: nodes %d and %d", shard, (unsigned long long)term,
                  before, node->number + 1);
    }
    leaders->data[term] = (uint8_t)(node->number + 1);
}

static void note_leadership(struct node *node, int shard, const struct node_sight *sight)
{
    struct node_world *world = node->world;
    char text[48];
    (void)snprintf(text, sizeof(text), sight->leading ? "leads shard %d, term %llu" : "leads shard %d no more", shard,
                   (unsigned long long)sight->term);
    if (shard == 0) { /* the meta group has no line of its own */
        node_note(world, node->number, DIAGRAM_SNAPSHOT, "%s", text);
        return;
    }
    diagram_mark(world->record.diagram, sim_now_ns(world->sim), node->number, (uint32_t)shard,
                 sight->leading ? DIAGRAM_LEADS : DIAGRAM_FOLLOWS, text);
    if (world->record.line != NULL) {
        world->record.line(world->record.owner, sim_now_ns(world->sim), node->number, text);
    }
}

static void check_leadership(struct node *node, int shard, const struct node_sight *sight)
{
    struct node_world *world = node->world;
    if (!sight->here) {
        return; /* it knows only what others say, until it has opened the group */
    }
    if (sight->term < node->terms[shard]) {
        node_fail(world, "shard %d: the term of node %d went back from %llu to %llu", shard, node->number + 1,
                  (unsigned long long)node->terms[shard], (unsigned long long)sight->term);
    }
    bool was_leading = node->leading[shard] && sight->term == node->terms[shard];
    if (sight->leading && !was_leading) {
        world->result->leaders++;
        check_leader(node, shard, sight->term);
    }
    if (sight->leading != node->leading[shard]) {
        note_leadership(node, shard, sight);
    }
    node->terms[shard] = sight->term;
    node->leading[shard] = sight->leading;
}

/* Equal digests at equal index. */
static void check_digest(struct node *node, int shard, const struct node_sight *sight)
{
    struct node_world *world = node->world;
    uint64_t digest = node_digest(node, shard);
    if (digest == 0) {
        return; /* the next entry is half applied */
    }
    struct buffer *digests = &world->shards[shard].digests;
    size_t at = (size_t)sight->applied * sizeof(digest);
    while (digests->size <= at) {
        uint64_t none = 0;
        buffer_append(digests, &none, sizeof(none));
    }
    uint64_t seen = 0;
    memcpy(&seen, digests->data + at, sizeof(seen));
    if (seen != 0 && seen != digest) {
        node_fail(world, "shard %d: node %d has another state than others at entry %llu", shard, node->number + 1,
                  (unsigned long long)sight->applied);
    }
    memcpy(digests->data + at, &digest, sizeof(digest));
}

static void look_at(struct node *node, int shard)
{
    struct node_world *world = node->world;
    struct node_sight sight;
    node_look(node, shard, &sight);
    check_leadership(node, shard, &sight);
    if (sight.here && !node->opened[shard]) {
        node->opened[shard] = true;
        node_reach(world, NODE_MARK_SNAPSHOT_RESTART, sight.snapshot != 0);
    }
    if (sight.leading && shard > 0) {
        node_txn_look(node, shard, sight.term);
        if (world->profile.locks || world->profile.meets || world->profile.sessions) {
            node_lock_look(node, shard);
        }
        if (world->profile.locks || world->profile.meets) {
            node_meet_look(node, shard);
        }
    }
    if (!sight.here || sight.applied == node->applied[shard]) {
        return;
    }
    node->applied[shard] = sight.applied;
    node_feeds_look(world->feeds, node, shard, sight.applied);
    node_services_look(world->services, node, shard);
    char text[48];
    (void)snprintf(text, sizeof(text), "shard %d applied %llu", shard, (unsigned long long)sight.applied);
    diagram_mark(world->record.diagram, sim_now_ns(world->sim), node->number, (uint32_t)shard, DIAGRAM_COMMIT, text);
    if (sight.keys != 0 && sight.applied % DIGEST_EVERY == 0) {
        check_digest(node, shard, &sight);
    }
}

static void look(struct node_world *world)
{
    for (int shard = 0; shard <= world->profile.groups; shard++) {
        int leaders = 0;
        for (int i = 0; i < world->profile.members; i++) {
            if (node_alive(&world->nodes[i])) {
                look_at(&world->nodes[i], shard);
                leaders += world->nodes[i].leading[shard];
            }
        }
        node_reach(world, NODE_MARK_TWO_LEADERS, leaders > 1);
    }
}

/* ---- time ---- */

static void bury(struct node_world *world)
{
    for (int i = 0; i < world->profile.members; i++) {
        struct node *node = &world->nodes[i];
        if (node->server == NULL) {
            continue;
        }
        if (node->crashed) {
            bool ended = sim_node_ended(world->sim, i);
            node_reach(world, ended ? NODE_MARK_MEMORY : NODE_MARK_CRASH_POINT, 1);
            node_stop(node, ended ? SIM_CRASH_KILL : SIM_CRASH_POWER);
        } else if (node->stopped) {
            bool asked = node->stop_status == STATUS_OK && node->leaving;
            bool disk = node->stop_status == STATUS_IO || node->stop_status == STATUS_NOSPACE;
            bool refused = node->stop_status == STATUS_INVALID && node->wiped;
            bool damaged = node->stop_status == STATUS_CORRUPT && node->rotten;
            node_reach(world,
                       asked  ? NODE_MARK_SHUT_DOWN
                       : disk ? NODE_MARK_FAILED
                              : NODE_MARK_WIPED_REFUSED,
                       !damaged);
            if (damaged) {
                node_refuse_damage(node, "what it reads is damaged");
            } else if (!asked && !disk && !refused) {
                node_fail(world, "node %d stops: %s", i + 1, status_text(node->stop_status));
            }
            node->left_out = refused || damaged;
            node_stop(node, SIM_CRASH_KILL);
        }
    }
}

void node_world_turn(struct node_world *world)
{
    bury(world);
    (void)timer_heap_fire(&world->events, sim_now_ns(world->sim));
    look(world);
    node_plan_step(world);
}

void node_world_run_for(struct node_world *world, int64_t duration_ns)
{
    int64_t now_ns = sim_now_ns(world->sim);
    int64_t end_ns = now_ns + duration_ns;
    while (now_ns < end_ns && !world->result->failed) {
        now_ns = now_ns + STEP_NS < end_ns ? now_ns + STEP_NS : end_ns;
        sim_run_until(world->sim, now_ns);
        node_world_turn(world);
    }
}
