#include "cluster_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SEGMENT_BYTES = 1 << 20, PATIENCE_S = 120, LEAD_TRIES = 20 };

static const char key[] = "words";

struct world_node *world_node(struct world *world, uint64_t id)
{
    if (id < 1 || id > (uint64_t)world->node_count) {
        fail_msg("no node %d", (int)id);
        abort();
    }
    return &world->nodes[id - 1];
}

struct cluster *world_part_of(struct world *world, uint64_t id, uint32_t shard)
{
    return world_node(world, id)->workers[shard % (uint32_t)world->workers].cluster;
}

struct lane *world_lane(struct world *world, uint64_t id, uint32_t shard)
{
    assert_non_null(world_part_of(world, id, shard));
    return lane_of(world_part_of(world, id, shard), shard);
}

/* ---- clients ---- */

static struct world_request *hear(struct world_client *client, uint64_t tag, enum status status)
{
    assert_true(tag < (uint64_t)client->count);
    struct world_request *request = &client->requests[tag];
    assert_false(request->heard);
    request->heard = true;
    request->status = status;
    client->heard++;
    return request;
}

static struct resp_writer *client_begin(struct requester *requester, uint64_t tag)
{
    struct world_client *client = (struct world_client *)requester;
    (void)tag;
    buffer_clear(&client->reply);
    client->writer = resp_writer_to(&client->reply, RESP2);
    return &client->writer;
}

/* Reads the words in a text: each of the client's in order, and only those before `below`. Returns how many. */
static uint32_t count_words(const struct world_client *client, struct slice words, uint64_t below)
{
    uint32_t count = 0;
    int64_t last = -1;
    assert_int_equal(words.size % WORLD_WORD_BYTES, 0);
    for (size_t at = 0; at < words.size; at += WORLD_WORD_BYTES) {
        int owner = -1;
        long tag = -1;
        char word[WORLD_WORD_BYTES + 1] = "";
        memcpy(word, words.data + at, WORLD_WORD_BYTES);
        assert_int_equal(sscanf(word, "%2d%5ld.", &owner, &tag), 2);
        if (owner == client->number) {
            assert_true(tag > last);
            assert_true((uint64_t)tag < below);
            last = tag;
            count++;
        }
    }
    return count;
}

/* The bulk string that the reply is; empty for nil. */
static struct slice bulk_of(struct slice reply)
{
    const uint8_t *end = memchr(reply.data, '\n', reply.size);
    assert_non_null(end);
    assert_int_equal(reply.data[0], '$');
    size_t head = (size_t)(end - reply.data) + 1;
    return reply.data[1] == '-' ? slice_of(reply.data, 0) : slice_of(reply.data + head, reply.size - head - 2);
}

static void client_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    struct world_client *client = (struct world_client *)requester;
    struct world_request *request = hear(client, tag, STATUS_OK);
    (void)command;
    if (request->reads) {
        request->seen = count_words(client, bulk_of(buffer_slice(&client->reply)), tag);
    } else if (!request->raw) {
        assert_int_equal(client->reply.data[0], ':');
    }
    if (client->told != NULL) {
        client->told(client, tag);
    }
}

static void client_failed(struct requester *requester, uint64_t tag, enum status status)
{
    struct world_client *client = (struct world_client *)requester;
    assert_int_not_equal(status, STATUS_OK);
    hear(client, tag, status);
    if (client->told != NULL) {
        client->told(client, tag);
    }
}

static void client_slow(struct requester *requester, const struct command *command, int64_t duration_ns)
{
    struct world_client *client = (struct world_client *)requester;
    buffer_append_slice(&client->slow, command->argv[0]);
    buffer_append_format(&client->slow, " %d ", (int)(duration_ns / 1000));
}

static const struct requester_events client_events = {client_begin, client_end, client_failed, NULL, client_slow};

struct world_client *world_client(struct world *world, uint64_t node)
{
    assert_true(world->client_count < WORLD_CLIENTS);
    struct world_client *client = &world->clients[world->client_count];
    *client = (struct world_client){
        .requester = {&client_events, (uint64_t)world->client_count + 1},
        .world = world,
        .number = world->client_count++,
        .node = world_node(world, node),
        .life = world_node(world, node)->lives,
        .requests = calloc(WORLD_REQUESTS, sizeof(*client->requests)),
    };
    assert_non_null(client->requests);
    return client;
}

static int submit_command(struct world_client *client, const struct world_request *request,
                          const struct command *command)
{
    assert_true(client->count < WORLD_REQUESTS);
    assert_true(client->node->cluster != NULL && client->node->lives == client->life);
    uint64_t tag = (uint64_t)client->count;
    client->requests[client->count++] = *request;
    enum status status =
        cluster_submit(client->node->cluster, request->shard, command, CLUSTER_PLAIN, &client->requester, tag);
    if (status != STATUS_OK) {
        hear(client, tag, status);
    }
    env_wake(client->node->env);
    return (int)tag;
}

static int submit(struct world_client *client, const struct world_request *request, const struct slice *argv,
                  uint32_t argc)
{
    struct command command = {.argv = argv, .argc = argc, .protocol = RESP2};
    assert_int_equal(command_lookup(argv, argc, &command.spec), COMMAND_FOUND);
    return submit_command(client, request, &command);
}

int world_internal(struct world_client *client, uint32_t shard, uint16_t id, const struct slice *argv, uint32_t argc)
{
    struct command command = {command_by_id(id), argv, argc, RESP2};
    return submit_command(client, &(struct world_request){.shard = shard, .raw = true}, &command);
}

int world_append(struct world_client *client, uint32_t shard)
{
    char word[32];
    (void)snprintf(word, sizeof(word), "%02d%05d.", client->number, client->count);
    struct slice argv[] = {SLICE_LITERAL("append"), slice_from_string(key), slice_from_string(word)};
    return submit(client, &(struct world_request){.shard = shard}, argv, 3);
}

int world_read(struct world_client *client, uint32_t shard)
{
    struct slice argv[] = {SLICE_LITERAL("get"), slice_from_string(key)};
    return submit(client, &(struct world_request){.shard = shard, .reads = true}, argv, 2);
}

int world_command(struct world_client *client, uint32_t shard, const struct slice *argv, uint32_t argc)
{
    return submit(client, &(struct world_request){.shard = shard, .raw = true}, argv, argc);
}

bool world_done(void *client)
{
    return ((struct world_client *)client)->heard == ((struct world_client *)client)->count;
}

void world_wait(struct world_client *client) { world_run_until(client->world, world_done, client); }

void world_expect(const struct world_client *client, int first, int last, enum status status)
{
    for (int i = first; i <= last; i++) {
        assert_true(client->requests[i].heard);
        assert_int_equal(client->requests[i].status, status);
    }
}

/* ---- nodes ---- */

static void hook(void *owner)
{
    struct world_worker *worker = owner;
    if (!worker->node->failed && cluster_turn(worker->cluster)) {
        env_wake(worker->env);
    }
    workers_post(worker->workers);
}

static void on_failed(void *owner, enum status status, const char *what)
{
    struct world_node *node = ((struct world_worker *)owner)->node;
    assert_false(node->failed);
    node->failed = true;
    if (getenv("WORLD_LOG") != NULL) {
        (void)fprintf(stderr, "node %d fails: %s (%s)\n", (int)node->id, what, status_text(status));
    }
}

static void on_message(void *owner, const struct message *message, enum cluster_source source)
{
    struct world_worker *worker = owner;
    if (source != CLUSTER_FROM_COLLEAGUE) {
        cluster_tell_colleagues(worker->cluster, message);
    }
    if (source == CLUSTER_FROM_SHARD) {
        cluster_tell_nodes(worker->cluster, message);
    }
    if (worker->node->world->heard != NULL) {
        worker->node->world->heard(worker, message);
    }
}

static int64_t on_served(void *owner, uint64_t node, const struct command *command)
{
    struct world_worker *worker = owner;
    (void)command;
    assert_int_not_equal(node, worker->node->id);
    return worker->node->world->served_ns;
}

static uint32_t slow_us(void *owner)
{
    const struct world_node *node = ((struct world_worker *)owner)->node;
    uint32_t from_us = node->world->slow_us[node->id - 1];
    return from_us == 0 ? FORWARD_NEVER_SLOW : from_us;
}

static void on_log(void *owner, int number, int64_t at_ns, enum env_log_level level, const char *text)
{
    (void)owner;
    (void)level;
    if (getenv("WORLD_LOG") != NULL) {
        (void)fprintf(stderr, "%10.3f ms  node %d  %s\n", (double)at_ns / 1e6, number + 1, text);
    }
}

static void directory_of(int worker, char path[static 32]) { (void)snprintf(path, 32, "/data/worker-%d", worker); }

static void make_folders(struct world_node *node)
{
    assert_int_equal(env_make_directory(node->env, "/data"), STATUS_OK);
    for (int i = 0; i < node->world->workers; i++) {
        char path[32];
        directory_of(i, path);
        assert_int_equal(env_make_directory(node->env, path), STATUS_OK);
    }
    assert_int_equal(env_sync_directory(node->env, "/"), STATUS_OK);
    assert_int_equal(env_sync_directory(node->env, "/data"), STATUS_OK);
}

static void start_worker(struct world_worker *worker, int number)
{
    static const struct cluster_events events = {
        .failed = on_failed, .message = on_message, .served = on_served, .slow_us = slow_us};
    const struct world_node *node = worker->node;
    const struct world *world = node->world;
    char path[32];
    directory_of(number, path);
    struct cluster_options options = {
        .node = node->id,
        .incarnation = {{0xaa, (uint8_t)node->id}},
        .lineage = {.start = node->start, .joined = node->start - 1},
        .directory = "/data",
        .worker_directory = path,
        .founders = world->founders,
        .founder_count = (size_t)world->node_count,
        .shards = world->shards,
        .replicas = world->replicas,
        .peer_host = sim_node_address(world->sim, (int)node->id - 1),
        .peer_port = WORLD_PEER_PORT,
        .log_segment_bytes = SEGMENT_BYTES,
        .lease_reads = world->lease_reads,
        .workers = worker->workers,
        .scripts = world->scripts,
    };
    char message[CLUSTER_MESSAGE_BYTES] = "";
    enum status status = cluster_create(worker->env, &options, &events, worker, &worker->cluster, message);
    if (status != STATUS_OK) {
        fail_msg("node %d, worker %d: %s (%s)", (int)node->id, number, message, status_text(status));
    }
    env_set_turn_hook(worker->env, hook, worker);
    env_wake(worker->env);
}

void world_start(struct world *world, uint64_t id)
{
    struct world_node *node = world_node(world, id);
    struct env *envs[WORLD_WORKERS];
    struct workers *workers[WORLD_WORKERS] = {NULL};
    assert_null(node->cluster);
    node->env = envs[0] = sim_node_start(world->sim, (int)id - 1);
    node->failed = false;
    node->start++;
    node->lives++;
    for (int i = 1; i < world->workers; i++) {
        envs[i] = sim_node_add_worker(world->sim, (int)id - 1);
    }
    if (world->workers > 1) {
        workers_create(envs, (uint32_t)world->workers, workers);
    }
    if (node->start == 1) {
        make_folders(node);
    }
    for (int i = 0; i < world->workers; i++) {
        node->workers[i] = (struct world_worker){.node = node, .env = envs[i], .workers = workers[i]};
        start_worker(&node->workers[i], i);
    }
    node->cluster = node->workers[0].cluster;
    if (world->workers > 1) {
        cluster_begin(node->cluster);
    }
}

static void end_node(struct world_node *node)
{
    for (int i = 0; i < node->world->workers; i++) {
        cluster_destroy(node->workers[i].cluster);
    }
    for (int i = 0; i < node->world->workers; i++) {
        workers_destroy(node->workers[i].workers);
        node->workers[i] = (struct world_worker){0};
    }
    node->cluster = NULL;
}

void world_kill(struct world *world, uint64_t id, enum sim_crash how)
{
    struct world_node *node = world_node(world, id);
    sim_node_crash(world->sim, (int)id - 1, how);
    end_node(node);
    node->lives++;
}

void world_part(struct world *world, uint64_t one, uint64_t other, bool parted)
{
    sim_network_block(world->sim, (int)one - 1, (int)other - 1, parted);
    sim_network_block(world->sim, (int)other - 1, (int)one - 1, parted);
}

void world_reset(struct world *world, uint64_t one, uint64_t other)
{
    (void)sim_network_reset(world->sim, (int)one - 1, (int)other - 1);
}

struct cluster_counters world_counters(struct world *world, uint64_t id)
{
    struct cluster_counters counters;
    cluster_counters(world_node(world, id)->cluster, &counters);
    return counters;
}

bool world_votes(struct world *world, uint64_t id, uint32_t shard)
{
    return placement_votes(&world_node(world, id)->cluster->members->placement.shards[shard - 1], id);
}

uint64_t world_other_voter(struct world *world, uint32_t shard, uint64_t one, uint64_t other)
{
    for (uint64_t id = 1; id <= (uint64_t)world->node_count; id++) {
        if (id != one && id != other && world_votes(world, id, shard)) {
            return id;
        }
    }
    fail_msg("no other voter");
    abort();
}

uint64_t world_stranger(struct world *world, uint32_t shard)
{
    for (uint64_t id = 1; id <= (uint64_t)world->node_count; id++) {
        if (!world_votes(world, id, shard)) {
            return id;
        }
    }
    fail_msg("all vote in the shard");
    abort();
}

/* ---- leaders ---- */

uint64_t world_leader(struct world *world, uint64_t asked, uint32_t shard)
{
    return world_lane(world, asked, shard)->leader;
}

struct wish {
    struct world *world;
    uint64_t node, leader, term;
    uint32_t shard;
};

/* The node knows a leader, who says so itself. */
static bool knows_leader(void *argument)
{
    const struct wish *wish = argument;
    struct lane *lane = world_lane(wish->world, wish->node, wish->shard);
    if (lane->leader == 0 || (wish->leader != 0 && lane->leader != wish->leader) ||
        world_node(wish->world, lane->leader)->cluster == NULL) {
        return false;
    }
    struct lane *there = world_lane(wish->world, lane->leader, wish->shard);
    return lane_leads(there) && there->term == lane->term;
}

void world_wait_for_leader(struct world *world, uint64_t asked, uint32_t shard)
{
    world_run_until(world, knows_leader, &(struct wish){.world = world, .node = asked, .shard = shard});
}

void world_let_lead(struct world *world, uint64_t id, uint32_t shard)
{
    for (int i = 0; i < LEAD_TRIES; i++) {
        world_wait_for_leader(world, id, shard);
        uint64_t leader = world_leader(world, id, shard);
        if (leader == id) {
            return;
        }
        enum status status = shard_transfer(world_lane(world, leader, shard)->local, id);
        assert_true(status == STATUS_OK || status == STATUS_BUSY);
        world_run_ms(world, 1000);
    }
    fail_msg("node %d does not lead", (int)id);
}

/* ---- time ---- */

void world_run_ms(struct world *world, int64_t ms) { sim_run_for(world->sim, ms * WORLD_MS); }

void world_run_until(struct world *world, bool (*so)(void *argument), void *argument)
{
    int64_t until_ns = sim_now_ns(world->sim) + PATIENCE_S * 1000 * WORLD_MS;
    while (!so(argument)) {
        assert_true(sim_now_ns(world->sim) < until_ns);
        assert_true(sim_step(world->sim));
    }
}

/* ---- beginning and end ---- */

void world_begin(struct world *world, uint64_t seed, int nodes, uint32_t shards, uint32_t replicas)
{
    bool lease_reads = world->lease_reads;
    int workers = world->workers == 0 ? 1 : world->workers;
    void (*heard)(struct world_worker *, const struct message *) = world->heard;
    const struct machine_scripts *scripts = world->scripts;
    *world = (struct world){.sim = sim_create(seed),
                            .node_count = nodes,
                            .shards = shards,
                            .replicas = replicas,
                            .lease_reads = lease_reads,
                            .workers = workers,
                            .heard = heard,
                            .scripts = scripts};
    assert_true(shards <= WORLD_SHARDS && workers <= WORLD_WORKERS);
    sim_on_log(world->sim, on_log, world);
    for (int i = 0; i < nodes; i++) {
        struct slice host = slice_from_string(sim_node_address(world->sim, i));
        world->nodes[i].world = world;
        world->nodes[i].id = world->founders[i].id = (uint64_t)i + 1;
        assert_true(member_address_make(&world->founders[i].client, host, WORLD_PEER_PORT - 1));
        assert_true(member_address_make(&world->founders[i].peer, host, WORLD_PEER_PORT));
    }
    for (int i = 1; i <= nodes; i++) {
        world_start(world, (uint64_t)i);
    }
    for (uint32_t shard = 1; shard <= shards; shard++) {
        for (int i = 1; i <= nodes; i++) {
            world_wait_for_leader(world, (uint64_t)i, shard);
        }
    }
}

/* The words of a shard, as all its voters have them. */
static void take_words(struct world *world, uint32_t shard, struct buffer *out)
{
    struct slice argv[] = {SLICE_LITERAL("get"), slice_from_string(key)};
    struct command command = {.argv = argv, .argc = 2, .protocol = RESP2};
    assert_int_equal(command_lookup(argv, 2, &command.spec), COMMAND_FOUND);
    uint64_t digest = 0;
    for (int i = 0; i < world->node_count; i++) {
        struct cluster *cluster = world_part_of(world, world->nodes[i].id, shard);
        buffer_clear(out);
        struct resp_writer writer = resp_writer_to(out, RESP2);
        if (cluster_read_here(cluster, shard, &command, &writer)) {
            assert_true(digest == 0 || digest == cluster_shard_digest(cluster, shard));
            digest = cluster_shard_digest(cluster, shard);
        }
    }
    assert_int_not_equal(digest, 0);
    uint64_t voter = world_other_voter(world, shard, 0, 0);
    buffer_clear(out);
    struct resp_writer writer = resp_writer_to(out, RESP2);
    assert_true(cluster_read_here(world_part_of(world, voter, shard), shard, &command, &writer));
}

static void check_client(const struct world_client *client, uint32_t shard, struct slice words)
{
    (void)count_words(client, words, UINT64_MAX);
    uint32_t before = 0; /* words that stand there */
    for (int tag = 0; tag < client->count; tag++) {
        const struct world_request *request = &client->requests[tag];
        if (request->shard != shard || request->raw) {
            continue;
        }
        assert_true(request->heard || client->node->lives != client->life);
        if (request->reads) {
            assert_true(!request->heard || request->status != STATUS_OK || request->seen == before);
            continue;
        }
        char word[32];
        (void)snprintf(word, sizeof(word), "%02d%05d.", client->number, tag);
        bool there = memmem(words.data, words.size, word, WORLD_WORD_BYTES) != NULL;
        before += there ? 1 : 0;
        if (request->heard && (request->status == STATUS_OK || request->status == STATUS_EXECUTED)) {
            assert_true(there);
        } else if (request->heard && request->status != STATUS_UNCERTAIN) {
            assert_false(there);
        }
    }
}

static bool all_settled(void *argument)
{
    struct world *world = argument;
    for (int i = 0; i < world->client_count; i++) {
        struct world_client *client = &world->clients[i];
        if (client->life == client->node->lives && !world_done(client)) {
            return false;
        }
    }
    for (uint32_t shard = 1; shard <= world->shards; shard++) {
        uint64_t applied = 0;
        for (int i = 0; i < world->node_count; i++) {
            struct lane *lane = world_lane(world, world->nodes[i].id, shard);
            struct shard *local = lane->local;
            if (local == NULL) {
                continue;
            }
            struct shard_stats stats;
            shard_stats(local, &stats);
            if (!lane_idle(lane) || stats.applied_index != stats.last_index ||
                (applied != 0 && applied != stats.applied_index)) {
                return false;
            }
            applied = stats.applied_index;
        }
    }
    return true;
}

void world_end(struct world *world)
{
    for (int i = 0; i < world->node_count; i++) {
        assert_false(world->nodes[i].failed);
        assert_non_null(world->nodes[i].cluster);
    }
    sim_network_heal(world->sim);
    world_run_until(world, all_settled, world);
    world_run_ms(world, 1000);
    struct buffer words = {0};
    for (uint32_t shard = 1; shard <= world->shards; shard++) {
        take_words(world, shard, &words);
        for (int i = 0; i < world->client_count; i++) {
            check_client(&world->clients[i], shard, bulk_of(buffer_slice(&words)));
        }
    }
    buffer_deinit(&words);
    for (int i = 0; i < world->node_count; i++) {
        end_node(&world->nodes[i]);
    }
    sim_destroy(world->sim);
    for (int i = 0; i < world->client_count; i++) {
        buffer_deinit(&world->clients[i].reply);
        free(world->clients[i].requests);
    }
}
