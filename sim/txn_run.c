#include "txn_run.h"

#include "txn_world.h"

#include "base/assert.h"
#include "machine/txn/txn.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    SETTLE_MS = 1500,       /* leaders move to where they belong */
    COMMAND_MS = 4000,      /* time limit of the client's words */
    TRANSACTION_MS = 20000, /* longer than it can take, with every crash */
    FINAL_MS = 5000,
    DRAWN_POINTS = 130,
    REPLIES = 5, /* to MULTI or TXN.BEGIN, three times SET, EXEC or TXN.COMMIT */
};

/* ---- what happens on the way ---- */

static int victim_node(const struct txn_world *world, enum txn_victim victim)
{
    if (victim == TXN_VICTIM_DRIVER) {
        return world->driver;
    }
    int shard = (int)victim - (int)TXN_VICTIM_FIRST + 1;
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

static void lose_node(struct txn_world *world, int node, bool killed)
{
    if (node >= 0 && world->nodes->nodes[node].server != NULL) {
        txn_show_crash(world, world->column_of[node], killed ? "killed" : "power lost");
        node_stop(&world->nodes->nodes[node], killed ? SIM_CRASH_KILL : SIM_CRASH_POWER);
        world->lost_ns = node == world->driver ? sim_now_ns(world->nodes->sim) : world->lost_ns;
        world->outcome->crashes++;
        world->client.gone = world->client.gone || node == world->driver; /* it may be back before anybody looks */
    }
}

static void lose(struct txn_world *world, enum txn_victim victim, bool killed)
{
    if (victim == TXN_VICTIM_CLIENT) {
        if (!world->client.gone) {
            world->client.gone = true;
            (void)sim_network_reset(world->nodes->sim, NODE_CLIENT_MACHINE, world->driver);
            txn_show_crash(world, 0, "client lost");
            world->outcome->crashes++;
        }
        return;
    }
    lose_node(world, victim_node(world, victim), killed);
}

/* Leads the home of a transaction that is decided, and not done; -1: nobody does. */
static int decider(const struct txn_world *world)
{
    for (int shard = 1; shard <= TXN_SHARDS; shard++) {
        int64_t time_ms;
        int node = victim_node(world, TXN_VICTIM_FIRST + (enum txn_victim)(shard - 1));
        const struct txns *txns = node < 0 ? NULL : node_txns(&world->nodes->nodes[node], shard, &time_ms);
        if (txns != NULL && !list_empty(&txns->homes.decided)) {
            return node;
        }
    }
    return -1;
}

static void crash_when_decided(struct txn_world *world)
{
    int node = world->what->crashes[0].decided && world->outcome->crashes == 0 ? decider(world) : -1;
    lose_node(world, node, false);
}

static void reach_point(struct txn_world *world)
{
    world->outcome->points += world->began_ns != 0 && !world->ended ? 1 : 0;
}

/* Between turns: who is to be lost at the points that were passed in the last step. */
static void crash_at_points(struct txn_world *world, int from)
{
    for (int i = 0; i < world->what->crash_count; i++) {
        const struct txn_crash *crash = &world->what->crashes[i];
        if (!crash->mid_turn && !crash->decided && crash->point >= from && crash->point < world->outcome->points) {
            lose(world, crash->victim, crash->killed);
        }
    }
}

static void name_reply(struct slice data, char text[static TXN_WATCH_TEXT_BYTES])
{
    const uint8_t *behind = memmem(data.data, data.size, "\r\n-", 3);
    const uint8_t *error = behind != NULL ? behind + 2 : data.size > 0 && data.data[0] == '-' ? data.data : NULL;
    const uint8_t *end = error == NULL ? NULL : memchr(error, ' ', data.size - (size_t)(error - data.data));
    if (end != NULL) {
        (void)snprintf(text, TXN_WATCH_TEXT_BYTES, "%.*s", (int)(end - error), (const char *)error);
    } else {
        bool done = memmem(data.data, data.size, "*3\r\n", 4) != NULL;
        (void)snprintf(text, TXN_WATCH_TEXT_BYTES, "%s", done ? "OK, OK, OK" : "QUEUED");
    }
}

static size_t sent(void *owner, int64_t at_ns, int from, int to, struct slice data)
{
    struct txn_world *world = owner;
    char text[TXN_WATCH_TEXT_BYTES];
    enum txn_message message = TXN_MESSAGE_NONE;
    if (from < TXN_NODES && to < TXN_NODES) {
        message = txn_watch_sent(world->watch, from, to, data, text);
    } else if (from == NODE_CLIENT_MACHINE) {
        message = TXN_MESSAGE_ASK;
        (void)snprintf(text, sizeof(text), "MULTI, 3 × SET, EXEC");
    } else if (to == NODE_CLIENT_MACHINE) {
        message = TXN_MESSAGE_ANSWER;
        name_reply(data, text);
    }
    if (message == TXN_MESSAGE_NONE || world->began_ns == 0 || world->ended) {
        return SIZE_MAX;
    }
    reach_point(world);
    return world->sequence == NULL ? 0 : txn_show_sent(world, at_ns, from, to, message, text);
}

static void arrived(void *owner, size_t message)
{
    struct txn_world *world = owner;
    if (message != SIZE_MAX) {
        reach_point(world);
        sequence_arrived(world->sequence, message, sim_now_ns(world->nodes->sim) - world->began_ns);
    }
}

static void count_syncs(struct txn_world *world)
{
    for (int i = 0; i < TXN_NODES; i++) {
        uint64_t syncs = sim_disk_operations(sim_node_disk(world->nodes->sim, i), SIM_DISK_SYNC);
        for (; world->syncs[i] < syncs; world->syncs[i]++) {
            reach_point(world);
        }
        int forced = (int)(syncs - world->first_syncs[i]);
        if (!world->ended && forced > world->outcome->forced_writes) {
            world->outcome->forced_writes = forced;
        }
    }
}

/* Those whose power went within a turn; the world buries them. */
static void count_ended(struct txn_world *world)
{
    for (int i = 0; i < TXN_NODES; i++) {
        const struct node *node = &world->nodes->nodes[i];
        if (node->crashed && node->server != NULL) {
            txn_show_crash(world, world->column_of[i], "power lost");
            world->outcome->crashes++;
            world->client.gone = world->client.gone || i == world->driver;
        }
    }
}

/* After the node that ran it was lost. */
static void look_at_locks(struct txn_world *world)
{
    for (int shard = 1; world->lost_ns != 0 && shard <= TXN_SHARDS; shard++) {
        int64_t time_ms;
        int node = victim_node(world, TXN_VICTIM_FIRST + (enum txn_victim)(shard - 1));
        const struct txns *txns = node < 0 ? NULL : node_txns(&world->nodes->nodes[node], shard, &time_ms);
        if (txns != NULL && !list_empty(&txns->parts.prepared)) {
            world->outcome->held_ms = (int)((sim_now_ns(world->nodes->sim) - world->lost_ns) / MS);
        }
    }
}

/* What TXN.* opens waits for its client's time, whoever runs it. */
static void check_freed(struct txn_world *world)
{
    const struct txn_case *what = world->what;
    const struct txn_crash *crash = &what->crashes[0];
    bool quiet = what->crash_count == 1 && crash->victim == TXN_VICTIM_DRIVER && crash->killed &&
                 !(what->interactive && what->protocol == TXN_3PC);
    if (quiet && world->outcome->held_ms > TXN_FREED_MS) {
        node_fail(world->nodes, "the node that ran it has ended, and its keys were held for %d ms more",
                  world->outcome->held_ms);
    }
}

static void step(struct txn_world *world)
{
    struct node_world *nodes = world->nodes;
    int points = world->outcome->points;
    (void)sim_step(nodes->sim);
    if (!world->ended) {
        txn_show_step(world);
        count_syncs(world);
        crash_at_points(world, points);
        crash_when_decided(world);
    }
    int64_t now_ns = sim_now_ns(nodes->sim);
    if (now_ns >= world->looked_ns + MS) {
        world->looked_ns = now_ns;
        count_ended(world);
        look_at_locks(world);
        node_world_turn(nodes);
    }
}

/* ---- the beginning ---- */

static void find_roles(struct txn_world *world)
{
    bool leads[TXN_NODES] = {false};
    for (int shard = 1; shard <= TXN_SHARDS; shard++) {
        int node = victim_node(world, TXN_VICTIM_FIRST + (enum txn_victim)(shard - 1));
        world->leaders[shard] = node < 0 ? 0 : node;
        leads[world->leaders[shard]] = true;
    }
    for (int i = TXN_NODES - 1; i >= 0; i--) {
        world->driver = leads[i] ? world->driver : i;
    }
}

static void arm_disks(struct txn_world *world)
{
    for (int i = 0; i < TXN_NODES; i++) {
        struct sim_disk *disk = sim_node_disk(world->nodes->sim, i);
        world->syncs[i] = sim_disk_operations(disk, SIM_DISK_SYNC);
        world->first_syncs[i] = world->syncs[i];
    }
    for (int i = 0; i < world->what->crash_count; i++) {
        const struct txn_crash *crash = &world->what->crashes[i];
        int node = crash->mid_turn ? victim_node(world, crash->victim) : -1;
        if (node >= 0) {
            sim_disk_crash_after(sim_node_disk(world->nodes->sim, node), SIM_DISK_SYNC, (uint64_t)crash->point, NULL,
                                 NULL);
        }
    }
}

static void say(const struct txn_world *world, const char *command, const char *value, struct buffer *out)
{
    for (int shard = 1; shard <= TXN_SHARDS; shard++) {
        buffer_append_format(out, "%s {%s}k%s\r\n", command, world->nodes->shards[shard].tag, value);
    }
}

static void begin(struct txn_world *world)
{
    struct buffer words = {0};
    bool interactive = world->what->interactive;
    buffer_append_string(&words, interactive ? "TXN.BEGIN\r\n" : "MULTI\r\n");
    say(world, "SET", " new", &words);
    buffer_append_string(&words, interactive ? "TXN.COMMIT\r\n" : "EXEC\r\n");
    find_roles(world);
    txn_show_begin(world);
    arm_disks(world);
    world->began_ns = sim_now_ns(world->nodes->sim);
    txn_client_say(&world->client, world->driver, buffer_slice(&words));
    buffer_deinit(&words);
}

/* ---- the end ---- */

static bool all_alive(const struct txn_world *world)
{
    bool alive = true;
    for (int i = 0; i < TXN_NODES; i++) {
        alive = alive && node_alive(&world->nodes->nodes[i]);
    }
    return alive;
}

/* At every leader nothing is left of it, and the client has heard, or never will: who talks to it is lost. */
static bool is_over(struct txn_world *world)
{
    struct node_world *nodes = world->nodes;
    bool heard = world->client.gone || world->client.stream == NULL || txn_client_heard(&world->client, REPLIES);
    for (int shard = 1; heard && shard <= TXN_SHARDS; shard++) {
        int64_t time_ms;
        int node = victim_node(world, TXN_VICTIM_FIRST + (enum txn_victim)(shard - 1));
        const struct txns *txns = node < 0 ? NULL : node_txns(&nodes->nodes[node], shard, &time_ms);
        heard = node >= 0 && (txns == NULL || node_txn_left(nodes, shard) == NULL);
    }
    return heard && all_alive(world);
}

static void run_until_over(struct txn_world *world)
{
    struct node_world *nodes = world->nodes;
    int64_t limit_ns = sim_now_ns(nodes->sim) + TRANSACTION_MS * MS;
    while (!nodes->result->failed && !is_over(world)) {
        for (int i = 0; i < 16 && !nodes->result->failed; i++) {
            step(world);
        }
        nodes->healed_ns = !all_alive(world) ? 0 : nodes->healed_ns == 0 ? sim_now_ns(nodes->sim) : nodes->healed_ns;
        if (sim_now_ns(nodes->sim) > limit_ns) {
            node_fail(nodes, "the transaction is not over after %d s", TRANSACTION_MS / 1000);
        }
    }
}

/* To EXEC; and to three times SET, and to TXN.COMMIT. */
#define REPLIED "*3\r\n+OK\r\n+OK\r\n+OK\r\n"
#define REPLIED_EACH "+OK\r\n+OK\r\n+OK\r\n+OK\r\n"

static void hear(struct txn_world *world)
{
    struct slice in = buffer_slice(&world->client.in);
    if (!txn_client_heard(&world->client, REPLIES)) {
        return; /* it will never know */
    }
    const uint8_t *error = memmem(in.data, in.size, "\r\n-", 3);
    const char *replied = world->what->interactive ? REPLIED_EACH : REPLIED;
    world->outcome->told = error == NULL && memmem(in.data, in.size, replied, strlen(replied)) != NULL;
    world->outcome->refused = error != NULL && memmem(in.data, in.size, "\r\n-UNCERTAIN", 12) == NULL;
    if (error == NULL && !world->outcome->told) {
        node_fail(world->nodes, "the client hears neither that it is committed nor that it is not");
    }
}

/* Each key by itself, so that nothing of a transaction helps. */
static void read_all(struct txn_world *world)
{
    struct node_world *nodes = world->nodes;
    struct txn_client reader;
    struct buffer words = {0};
    txn_client_begin(&reader, nodes, NODE_CLIENT_MACHINE + 1);
    say(world, "GET", "", &words);
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
    world->outcome->written = there > 0;
    if (!nodes->result->failed && there != 0 && there != TXN_SHARDS) {
        node_fail(nodes, "%d of %d keys are written", there, TXN_SHARDS);
    } else if (world->outcome->told && there == 0) {
        node_fail(nodes, "the client was told that it is committed, and it is not");
    } else if (world->outcome->refused && there != 0) {
        node_fail(nodes, "the client was refused, and it is committed");
    }
    txn_client_end(&reader);
    buffer_deinit(&words);
}

static void entitle(const struct txn_world *world)
{
    char text[96];
    (void)snprintf(text, sizeof(text), "%s over three shards%s: %s",
                   world->what->protocol == TXN_3PC ? "Three-phase commit" : "Two-phase commit",
                   world->outcome->crashes == 0 ? "" : ", and a crash",
                   world->outcome->written ? "all is written" : "nothing is written");
    sequence_entitle(world->sequence, text);
}

void txn_run_case(const struct txn_case *one, const struct sim_mutation *mutation, const struct sim_record *record,
                  struct sim_result *ret_result, struct txn_outcome *ret_outcome)
{
    static const struct sim_network_watcher watcher = {sent, arrived};
    const struct sim_profile profile = {
        .level = SIM_LEVEL_NODES, .members = TXN_NODES, .groups = TXN_SHARDS, .replicas = 3, .workers = 1};
    *ret_result = (struct sim_result){0};
    *ret_outcome = (struct txn_outcome){0};
    struct txn_world *world = calloc(1, sizeof(*world));
    ASSERT(world != NULL);
    *world = (struct txn_world){.what = one,
                                .outcome = ret_outcome,
                                .watch = txn_watch_create(),
                                .sequence = record == NULL ? NULL : record->sequence,
                                .nodes = node_world_create(one->seed, &profile, mutation, record, ret_result)};
    struct node_world *nodes = world->nodes;
    nodes->protocols = one->protocol == TXN_3PC ? 1 : 0;
    nodes->command_timeout_ms = COMMAND_MS;
    sim_network(nodes->sim)->split_one_in = 0; /* whole frames, for the watch */
    sim_network_watch(nodes->sim, &watcher, world);
    txn_client_begin(&world->client, nodes, NODE_CLIENT_MACHINE);
    node_converge(nodes);
    node_world_run_for(nodes, SETTLE_MS * MS);
    if (!ret_result->failed) {
        begin(world);
        run_until_over(world);
        check_freed(world);
        hear(world);
        world->ended = true;
        node_converge(nodes);
        read_all(world);
        entitle(world);
    }
    ret_result->virtual_ns = sim_now_ns(nodes->sim);
    ret_result->trace = sim_trace_hash(nodes->sim);
    ret_result->acknowledged = ret_outcome->told ? 1 : 0;
    ret_result->returned = ret_outcome->refused ? 1 : 0;
    ret_result->uncertain = ret_outcome->told || ret_outcome->refused ? 0 : 1;
    txn_client_end(&world->client);
    node_world_destroy(nodes);
    txn_watch_destroy(world->watch);
    free(world);
}

void txn_run(uint64_t seed, const struct sim_profile *profile, const struct sim_mutation *mutation,
             const struct sim_record *record, struct sim_result *ret_result)
{
    struct txn_case one = {.seed = seed,
                           .protocol = profile->level == SIM_LEVEL_TXN_3PC ? TXN_3PC : TXN_2PC,
                           .crash_count = profile->faults < TXN_CRASHES ? profile->faults : TXN_CRASHES};
    struct txn_outcome outcome;
    struct prng prng;
    prng_seed(&prng, seed ^ UINT64_C(0x74726e7361637464));
    struct prng kinds;
    prng_seed(&kinds, seed ^ UINT64_C(0x6b696c6c6564)); /* of its own: what seeds have drawn stays */
    for (int i = 0; i < TXN_CRASHES; i++) {
        struct txn_crash *crash = &one.crashes[i];
        crash->killed = prng_below(&kinds, 2) == 0;
        crash->victim = (enum txn_victim)prng_below(&prng, TXN_VICTIMS);
        crash->mid_turn = crash->victim != TXN_VICTIM_CLIENT && prng_below(&prng, 4) == 0;
        crash->point = (int)prng_below(&prng, crash->mid_turn ? 8 : DRAWN_POINTS);
    }
    if (one.crash_count > 0 && (profile->classes & SIM_FAULT_BLACKOUT) != 0) {
        one.crashes[0] = (struct txn_crash){.decided = true};
    }
    txn_run_case(&one, mutation, record, ret_result, &outcome);
}
