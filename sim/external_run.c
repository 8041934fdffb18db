#include "external_run.h"

#include "external_world.h"

#include "base/assert.h"
#include "machine/txn/txn.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    SETTLE_MS = 1500,  /* leaders move to where they belong */
    COMMAND_MS = 4000, /* time limit of the client's words */
    RUN_MS = 40000,    /* longer than it can take, with every crash and pause */
    FINAL_MS = 5000,
    DRAWN_POINTS = 160,
    SHORT_PAUSE_MS = 4,
    LONG_PAUSE_MS = 3000,
};

void external_point(struct external_world *world)
{
    world->outcome->points += world->began_ns != 0 && !world->ended ? 1 : 0;
}

int64_t external_pause(struct external_world *world)
{
    bool is_long = world->what->pauses && prng_below(&world->prng, 8) == 0;
    return (int64_t)prng_below(&world->prng, (is_long ? LONG_PAUSE_MS : SHORT_PAUSE_MS) * (uint64_t)MS);
}

/* ---- who is lost ---- */

static int leader_of(const struct external_world *world, int shard)
{
    for (int i = 0; i < TXN_NODES; i++) {
        struct node_sight sight = {0};
        if (node_alive(&world->nodes->nodes[i])) {
            node_look(&world->nodes->nodes[i], shard, &sight);
        }
        if (sight.leading) {
            return i;
        }
    }
    return -1;
}

static void lose(struct external_world *world, enum txn_victim victim)
{
    if (victim == TXN_VICTIM_CLIENT) {
        world->client.gone = true;
        (void)sim_network_reset(world->nodes->sim, NODE_CLIENT_MACHINE, world->driver);
        world->outcome->crashes++;
        return;
    }
    int shard = (int)victim - (int)TXN_VICTIM_FIRST + 1;
    int node = victim == TXN_VICTIM_DRIVER ? world->driver : leader_of(world, shard);
    if (node >= 0 && world->nodes->nodes[node].server != NULL) {
        node_stop(&world->nodes->nodes[node], SIM_CRASH_POWER);
        world->client.gone = world->client.gone || node == world->driver;
        world->outcome->crashes++;
    }
}

static void crash_at_points(struct external_world *world, int from)
{
    for (int i = 0; i < world->what->crash_count; i++) {
        const struct txn_crash *crash = &world->what->crashes[i];
        if (crash->point >= from && crash->point < world->outcome->points) {
            lose(world, crash->victim);
        }
    }
}

/* ---- messages ---- */

static size_t sent(void *owner, int64_t at_ns, int from, int to, struct slice data)
{
    struct external_world *world = owner;
    char text[TXN_WATCH_TEXT_BYTES];
    (void)at_ns;
    if (from < TXN_NODES && to < TXN_NODES && txn_watch_sent(world->watch, from, to, data, text) == TXN_MESSAGE_NONE) {
        return SIZE_MAX;
    }
    external_point(world);
    return 0;
}

static void arrived(void *owner, size_t message)
{
    if (message != SIZE_MAX) {
        external_point(owner);
    }
}

/* ---- the run ---- */

static bool all_alive(const struct external_world *world)
{
    bool alive = true;
    for (int i = 0; i < TXN_NODES; i++) {
        alive = alive && node_alive(&world->nodes->nodes[i]);
    }
    return alive;
}

static bool is_over(struct external_world *world)
{
    bool over = world->over && all_alive(world) && world->resolving == RESOLVER_REST;
    for (int i = 0; i < EXTERNAL_RESOURCES; i++) {
        over = over && world->branches[i].state != EXTERNAL_PREPARED;
    }
    for (int shard = 1; over && shard <= TXN_SHARDS; shard++) {
        over = leader_of(world, shard) >= 0 && node_txn_left(world->nodes, shard) == NULL;
    }
    return over;
}

static void step(struct external_world *world)
{
    struct node_world *nodes = world->nodes;
    int points = world->outcome->points;
    (void)sim_step(nodes->sim);
    external_client_turn(world);
    external_resolver_turn(world);
    crash_at_points(world, points);
    int64_t now_ns = sim_now_ns(nodes->sim);
    if (now_ns >= world->looked_ns + MS) {
        world->looked_ns = now_ns;
        node_world_turn(nodes);
    }
    nodes->healed_ns = !all_alive(world) ? 0 : nodes->healed_ns == 0 ? now_ns : nodes->healed_ns;
}

static void run_until_over(struct external_world *world)
{
    struct node_world *nodes = world->nodes;
    int64_t limit_ns = sim_now_ns(nodes->sim) + RUN_MS * MS;
    while (!nodes->result->failed && !is_over(world)) {
        for (int i = 0; i < 16 && !nodes->result->failed; i++) {
            step(world);
        }
        if (sim_now_ns(nodes->sim) > limit_ns) {
            node_fail(nodes, "something is prepared, or remembered for it, after %d s", RUN_MS / 1000);
        }
    }
}

/* How many keys are written. */
static int read_all(struct external_world *world)
{
    struct node_world *nodes = world->nodes;
    struct txn_client reader;
    struct buffer words = {0};
    txn_client_begin(&reader, nodes, NODE_CLIENT_MACHINE + 2);
    for (int shard = 1; shard <= TXN_SHARDS; shard++) {
        buffer_append_format(&words, "GET {%s}k\r\n", nodes->shards[shard].tag);
    }
    txn_client_say(&reader, 0, buffer_slice(&words));
    int64_t limit_ns = sim_now_ns(nodes->sim) + FINAL_MS * MS;
    while (!nodes->result->failed && !txn_client_heard(&reader, TXN_SHARDS)) {
        node_world_run_for(nodes, 10 * MS);
        if (sim_now_ns(nodes->sim) > limit_ns || reader.stream == NULL) {
            node_fail(nodes, "in the end the keys cannot be read");
        }
    }
    int there = 0;
    struct slice in = buffer_slice(&reader.in);
    for (const uint8_t *at; (at = memmem(in.data, in.size, "new", 3)) != NULL; there++) {
        in = slice_of(at + 3, (size_t)(in.data + in.size - at - 3));
    }
    txn_client_end(&reader);
    buffer_deinit(&words);
    return there;
}

/* All agree: with each other, and with what the client was told. */
static void judge(struct external_world *world)
{
    struct node_world *nodes = world->nodes;
    int there = read_all(world);
    int committed = 0;
    for (int i = 0; i < world->what->resources; i++) {
        committed += world->branches[i].state == EXTERNAL_COMMITTED ? 1 : 0;
    }
    int keys = world->what->keyless ? 0 : TXN_SHARDS;
    bool all = committed == world->what->resources && there == keys;
    world->outcome->committed = committed > 0;
    if (nodes->result->failed) {
        return;
    }
    if (!all && (committed != 0 || there != 0)) {
        node_fail(nodes, "%d of %d branches are committed, and %d of %d keys", committed, world->what->resources, there,
                  keys);
    } else if (world->outcome->told && committed == 0) {
        node_fail(nodes, "the client was told that it is committed, and it is not");
    } else if (world->outcome->refused && committed != 0) {
        node_fail(nodes, "the client was refused, and it is committed");
    }
}

static void begin(struct external_world *world)
{
    bool leads[TXN_NODES] = {false};
    for (int shard = 1; shard <= TXN_SHARDS; shard++) {
        int node = leader_of(world, shard);
        leads[node < 0 ? 0 : node] = true;
    }
    for (int i = TXN_NODES - 1; i >= 0; i--) {
        world->driver = leads[i] ? world->driver : i;
    }
    (void)snprintf(world->id, sizeof(world->id), "order%llu", (unsigned long long)world->what->seed);
    world->began_ns = sim_now_ns(world->nodes->sim);
    world->resolve_ns = world->began_ns;
}

void external_run_case(const struct external_case *one, const struct sim_mutation *mutation,
                       const struct sim_record *record, struct sim_result *ret_result,
                       struct external_outcome *ret_outcome)
{
    static const struct sim_network_watcher watcher = {sent, arrived};
    const struct sim_profile profile = {
        .level = SIM_LEVEL_NODES, .members = TXN_NODES, .groups = TXN_SHARDS, .replicas = 3, .workers = 1};
    *ret_result = (struct sim_result){0};
    *ret_outcome = (struct external_outcome){0};
    struct external_world *world = calloc(1, sizeof(*world));
    ASSERT(world != NULL);
    *world = (struct external_world){.what = one,
                                     .outcome = ret_outcome,
                                     .watch = txn_watch_create(),
                                     .nodes = node_world_create(one->seed, &profile, mutation, record, ret_result)};
    struct node_world *nodes = world->nodes;
    prng_seed(&world->prng, one->seed ^ UINT64_C(0x65787465726e616c));
    nodes->protocols = 0;
    nodes->command_timeout_ms = COMMAND_MS;
    sim_network(nodes->sim)->split_one_in = 0; /* whole frames, for the watch */
    sim_network_watch(nodes->sim, &watcher, world);
    txn_client_begin(&world->client, nodes, NODE_CLIENT_MACHINE);
    txn_client_begin(&world->resolver, nodes, NODE_CLIENT_MACHINE + 1);
    node_converge(nodes);
    node_world_run_for(nodes, SETTLE_MS * MS);
    if (!ret_result->failed) {
        begin(world);
        run_until_over(world);
        world->ended = true;
        node_converge(nodes);
        judge(world);
    }
    ret_result->virtual_ns = sim_now_ns(nodes->sim);
    ret_result->trace = sim_trace_hash(nodes->sim);
    ret_result->acknowledged = ret_outcome->told ? 1 : 0;
    ret_result->returned = ret_outcome->refused ? 1 : 0;
    ret_result->uncertain = ret_outcome->told || ret_outcome->refused ? 0 : 1;
    txn_client_end(&world->client);
    txn_client_end(&world->resolver);
    node_world_destroy(nodes);
    txn_watch_destroy(world->watch);
    free(world);
}

void external_run(uint64_t seed, const struct sim_profile *profile, const struct sim_mutation *mutation,
                  const struct sim_record *record, struct sim_result *ret_result)
{
    struct prng prng;
    prng_seed(&prng, seed ^ UINT64_C(0x6578742d64726177));
    struct external_case one = {.seed = seed,
                                .resources = 1 + (int)prng_below(&prng, EXTERNAL_RESOURCES),
                                .keyless = prng_below(&prng, 4) == 0,
                                .named = prng_below(&prng, 2) == 0,
                                .pauses = true,
                                .stop_after = prng_below(&prng, 3) == 0 ? (int)prng_below(&prng, 12) : -1,
                                .crash_count = profile->faults < TXN_CRASHES ? profile->faults : TXN_CRASHES};
    for (int i = 0; i < TXN_CRASHES; i++) {
        one.crashes[i] = (struct txn_crash){.victim = (enum txn_victim)prng_below(&prng, TXN_VICTIMS),
                                            .point = (int)prng_below(&prng, DRAWN_POINTS)};
    }
    struct external_outcome outcome;
    external_run_case(&one, mutation, record, ret_result, &outcome);
}
