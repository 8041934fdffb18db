/* A whole node in the simulator, its disk crashed or failing at every operation of a workload: after recovery every
 * acknowledged write is there, and nothing that was never sent.
 *
 * Each key is a counter: the client sends SET key n, SET key n + 1, … in pipelines, so that what is found must lie
 * between the last acknowledged and the last sent value. Beside it a hash and a key with a time to live see that other
 * kinds of writes travel the same way. */
#include "server/server.h"
#include "sim_net.h"
#include "wire/resp_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS 1000000LL
#define SECOND 1000000000LL

enum { NODE = 0, CLIENT = 1, PORT = 6379, KEYS = 4, PIPELINE = 5, VALUE_BYTES = 700, STEPS_MAXIMUM = 2000000 };

struct world {
    struct sim *sim;
    struct server *server; /* NULL when the node is down */
    struct env *env;       /* of the client */
    struct env_stream *stream;
    struct resp_reader reader;
    struct buffer in, out;

    uint64_t sent[KEYS], acknowledged[KEYS], found[KEYS];
    int expected[PIPELINE * 2]; /* key of each reply to come, or −1 for one that only has to be there */
    int expected_count, expected_at;
    int rounds, rounds_wanted;
    bool verifying, verified, stopped, crashed, refused;
    enum status stop_status;
};

/* ---- the node ---- */

static void server_stopped(void *owner, enum status status)
{
    struct world *world = owner;
    world->stopped = true;
    world->stop_status = status;
}

static void server_configured(void *owner, struct env *env, const struct config *config)
{
    (void)owner;
    (void)config;
}

static enum status node_start(struct world *world, char message[static SERVER_MESSAGE_BYTES])
{
    struct env *env = sim_node_start(world->sim, NODE);
    struct config config;
    char why[CONFIG_MESSAGE_BYTES];
    config_init(&config);
    assert_int_equal(config_set(&config, SLICE_LITERAL("log-segment-size"), SLICE_LITERAL("64kb"), false, why),
                     CONFIG_SET);
    assert_int_equal(config_set(&config, SLICE_LITERAL("snapshot-log-size"), SLICE_LITERAL("1mb"), false, why),
                     CONFIG_SET);
    assert_int_equal(config_set(&config, SLICE_LITERAL("protected-mode"), SLICE_LITERAL("no"), false, why), CONFIG_SET);
    struct server_options options = {.node_id = 1,
                                     .directory = "/data",
                                     .host = sim_node_address(world->sim, NODE),
                                     .port = PORT,
                                     .version = "test"};
    struct server_events events = {.stopped = server_stopped, .configured = server_configured};
    world->stopped = false;
    return server_create(env, &options, &config, &events, world, &world->server, message);
}

static void node_end(struct world *world)
{
    server_destroy(world->server);
    world->server = NULL;
}

/* ---- the client ---- */

static void client_close(struct world *world)
{
    if (world->stream != NULL) {
        env_stream_close(world->env, world->stream);
        world->stream = NULL;
    }
    buffer_clear(&world->in);
    buffer_clear(&world->out);
    resp_reader_init(&world->reader);
    world->expected_count = 0;
    world->expected_at = 0;
}

static void client_flush(struct world *world)
{
    while (world->out.size > 0) {
        struct iovec part = {world->out.data, world->out.size};
        size_t taken = 0;
        if (env_stream_write(world->env, world->stream, &part, 1, &taken) != STATUS_OK) {
            break;
        }
        buffer_consume(&world->out, taken);
    }
    env_stream_want_write(world->env, world->stream, world->out.size > 0);
}

static void client_send(struct world *world, struct slice bytes)
{
    buffer_append_slice(&world->out, bytes);
    client_flush(world);
}

static void add_set(struct world *world, struct buffer *out, int key)
{
    char value[VALUE_BYTES + 1];
    uint64_t n = ++world->sent[key];
    int size = snprintf(value, sizeof(value), "%0*llu", VALUE_BYTES, (unsigned long long)n);
    buffer_append_format(out, "*3\r\n$3\r\nSET\r\n$2\r\nk%d\r\n$%d\r\n%s\r\n", key, size, value);
    world->expected[world->expected_count++] = key;
}

static void client_work(struct world *world)
{
    struct buffer out;
    buffer_init(&out);
    struct prng *prng = sim_prng(world->sim, SIM_DRAW_CLIENT);
    world->expected_count = 0;
    world->expected_at = 0;
    for (int i = 0; i < PIPELINE; i++) {
        add_set(world, &out, (int)prng_below(prng, KEYS));
    }
    buffer_append_string(&out, "*4\r\n$4\r\nHSET\r\n$1\r\nh\r\n$1\r\nf\r\n$1\r\nv\r\n");
    world->expected[world->expected_count++] = -1;
    buffer_append_string(&out, "*5\r\n$3\r\nSET\r\n$1\r\nt\r\n$1\r\n1\r\n$2\r\nPX\r\n$2\r\n20\r\n");
    world->expected[world->expected_count++] = -1;
    client_send(world, buffer_slice(&out));
    buffer_deinit(&out);
}

static void client_verify(struct world *world)
{
    struct buffer out;
    buffer_init(&out);
    world->expected_count = 0;
    world->expected_at = 0;
    for (int key = 0; key < KEYS; key++) {
        buffer_append_format(&out, "*2\r\n$3\r\nGET\r\n$2\r\nk%d\r\n", key);
        world->expected[world->expected_count++] = key;
    }
    client_send(world, buffer_slice(&out));
    buffer_deinit(&out);
}

static void take_reply(struct world *world, const struct resp_token *token)
{
    assert_true(world->expected_at < world->expected_count);
    int key = world->expected[world->expected_at++];
    if (world->verifying) {
        char text[VALUE_BYTES + 1] = "0";
        assert_true(token->type == RESP_BULK || token->type == RESP_NULL);
        if (token->type == RESP_BULK) {
            assert_int_equal(token->text.size, VALUE_BYTES);
            memcpy(text, token->text.data, VALUE_BYTES);
            text[VALUE_BYTES] = '\0';
        }
        world->found[key] = strtoull(text, NULL, 10);
    } else if (token->type == RESP_ERROR) {
        world->refused = true; /* UNCERTAIN, or the node is stopping: nothing was promised */
    } else if (key >= 0) {
        assert_int_equal(token->type, RESP_STATUS);
        /* Replies are in order, so this one is for the oldest value of the key that has none. */
        world->acknowledged[key]++;
    }
}

static void round_over(struct world *world)
{
    if (world->verifying) {
        world->verified = true;
        return;
    }
    if (++world->rounds < world->rounds_wanted && !world->refused) {
        client_work(world);
    }
}

static void client_readable(void *owner)
{
    struct world *world = owner;
    size_t size = 0;
    uint8_t *at = buffer_reserve(&world->in, 65536);
    enum status status = env_stream_read(world->env, world->stream, at, 65536, &size);
    if (status == STATUS_AGAIN) {
        return;
    }
    if (status != STATUS_OK) {
        client_close(world);
        return;
    }
    world->in.size += size;
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct resp_token token;
    while (world->stream != NULL) {
        enum resp_reply_result result =
            resp_reader_next(&world->reader, &limits, world->in.data, world->in.size, &token);
        assert_true(result != RESP_REPLY_INVALID);
        if (result == RESP_REPLY_READY) {
            take_reply(world, &token);
        }
        buffer_consume(&world->in, world->reader.consumed);
        if (result == RESP_REPLY_PARTIAL) {
            break;
        }
        if (world->expected_at == world->expected_count) {
            round_over(world);
        }
    }
}

static void client_writable(void *owner)
{
    struct world *world = owner;
    client_flush(world);
    if (world->expected_count == 0) {
        if (world->verifying) {
            client_verify(world);
        } else {
            client_work(world);
        }
    }
}

static const struct env_stream_events client_events = {client_readable, client_writable};

static void client_start(struct world *world)
{
    client_close(world);
    world->refused = false;
    assert_int_equal(env_connect(world->env, sim_node_address(world->sim, NODE), PORT, &world->stream), STATUS_OK);
    env_stream_attach(world->env, world->stream, &client_events, world);
    env_stream_want_write(world->env, world->stream, true);
}

/* ---- runs ---- */

static void node_crashed(void *owner, int node)
{
    struct world *world = owner;
    assert_int_equal(node, NODE);
    world->crashed = true;
}

static void world_init(struct world *world, uint64_t seed, int rounds)
{
    *world = (struct world){.sim = sim_create(seed), .rounds_wanted = rounds};
    sim_network(world->sim)->buffer_bytes = 1 << 20;
    sim_on_crash(world->sim, node_crashed, world);
    world->env = sim_node_start(world->sim, CLIENT);
    resp_reader_init(&world->reader);
}

static void world_deinit(struct world *world)
{
    client_close(world);
    node_end(world);
    buffer_deinit(&world->in);
    buffer_deinit(&world->out);
    sim_destroy(world->sim);
}

/* Runs until the workload is through, the node crashed or stopped, or the client was cut off. */
static void run_work(struct world *world)
{
    world->verifying = false;
    client_start(world);
    for (int i = 0; i < STEPS_MAXIMUM; i++) {
        if (world->crashed || world->stopped || world->rounds >= world->rounds_wanted || world->stream == NULL) {
            return;
        }
        assert_true(sim_step(world->sim));
    }
    fail_msg("the workload does not end");
}

static void check_found(const struct world *world)
{
    for (int key = 0; key < KEYS; key++) {
        if (world->found[key] < world->acknowledged[key] || world->found[key] > world->sent[key]) {
            fail_msg("k%d: acknowledged %llu, sent %llu, found %llu", key, (unsigned long long)world->acknowledged[key],
                     (unsigned long long)world->sent[key], (unsigned long long)world->found[key]);
        }
    }
}

static void verify(struct world *world)
{
    world->verifying = true;
    world->verified = false;
    client_start(world);
    for (int i = 0; i < STEPS_MAXIMUM && !world->verified; i++) {
        assert_true(sim_step(world->sim));
        assert_true(world->stream != NULL && !world->stopped);
    }
    assert_true(world->verified);
    check_found(world);
    for (int key = 0; key < KEYS; key++) {
        world->acknowledged[key] = world->found[key];
        world->sent[key] = world->found[key];
    }
    client_close(world);
}

static void restart_and_verify(struct world *world)
{
    node_end(world);
    client_close(world);
    char message[SERVER_MESSAGE_BYTES] = "";
    sim_disk_clear_faults(sim_node_disk(world->sim, NODE));
    world->crashed = false;
    enum status status = node_start(world, message);
    if (status != STATUS_OK) {
        fail_msg("the node does not start again: %s", message);
    }
    verify(world);
}

/* One run with a crash after the given operation; false when the workload ended before it came. */
static bool run_with_crash(uint64_t seed, uint64_t operation, int rounds, size_t sector)
{
    struct world world;
    char message[SERVER_MESSAGE_BYTES] = "";
    world_init(&world, seed, rounds);
    struct sim_disk *disk = sim_node_disk(world.sim, NODE);
    sim_disk_set_sector(disk, sector);
    sim_disk_crash_after(disk, SIM_DISK_CHANGES, operation, NULL, NULL);
    bool started = node_start(&world, message) == STATUS_OK;
    if (started) {
        run_work(&world);
    }
    bool hit = sim_disk_down(disk) || world.crashed;
    if (hit) {
        if (!world.crashed) {
            node_end(&world);
            sim_node_crash(world.sim, NODE, SIM_CRASH_POWER);
        }
        restart_and_verify(&world);
        /* And once more without warning, after a little more work. */
        world.rounds = 0;
        world.rounds_wanted = 3;
        run_work(&world);
        assert_int_equal(world.rounds, 3);
        client_close(&world);
        node_end(&world);
        sim_node_crash(world.sim, NODE, SIM_CRASH_POWER);
        restart_and_verify(&world);
    } else {
        assert_true(started);
        assert_int_equal(world.rounds, rounds);
    }
    world_deinit(&world);
    return hit;
}

static void test_crash_at_every_operation(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        uint64_t operation = 0;
        while (run_with_crash(seed, operation, 12, seed % 2 == 0 ? 4096 : 512)) {
            operation++;
        }
        assert_true(operation > 20);
    }
}

/* Long enough for segments to be switched, snapshots to be taken and the log to be trimmed; crashed at a stride. */
static void test_crash_around_snapshots(void **state)
{
    (void)state;
    uint64_t hits = 0;
    for (uint64_t operation = 0; run_with_crash(77, operation, 900, 512); operation += 97) {
        hits++;
    }
    assert_true(hits > 10);
}

/* The node may stop, with the truth told to everybody; what was acknowledged is there when the disk is well again. */
static bool run_with_fault(uint64_t seed, int kinds, enum status fault, uint64_t skip, uint64_t times)
{
    struct world world;
    char message[SERVER_MESSAGE_BYTES] = "";
    world_init(&world, seed, 8);
    struct sim_disk *disk = sim_node_disk(world.sim, NODE);
    sim_disk_add_fault(disk, &(struct sim_disk_fault){.kinds = kinds, .status = fault, .skip = skip, .times = times});
    uint64_t before = sim_disk_operations(disk, kinds);
    bool started = node_start(&world, message) == STATUS_OK;
    if (started) {
        run_work(&world);
    } else {
        assert_true(message[0] != '\0');
    }
    bool hit = sim_disk_operations(disk, kinds) - before > skip;
    if (hit) {
        node_end(&world);
        sim_node_crash(world.sim, NODE, SIM_CRASH_POWER);
        restart_and_verify(&world);
    }
    world_deinit(&world);
    return hit;
}

static void test_every_operation_fails_once_and_for_ever(void **state)
{
    (void)state;
    const enum status faults[] = {STATUS_IO, STATUS_NOSPACE, STATUS_READONLY};
    for (size_t f = 0; f < sizeof(faults) / sizeof(faults[0]); f++) {
        for (int ever = 0; ever < 2; ever++) {
            uint64_t skip = 0;
            while (run_with_fault(5 + f, SIM_DISK_CHANGES, faults[f], skip, ever ? UINT64_MAX : 1)) {
                skip++;
            }
            assert_true(skip > 10);
        }
    }
}

static uint64_t trace_of(uint64_t seed)
{
    struct world world;
    char message[SERVER_MESSAGE_BYTES] = "";
    world_init(&world, seed, 30);
    assert_int_equal(node_start(&world, message), STATUS_OK);
    run_work(&world);
    assert_int_equal(world.rounds, 30);
    uint64_t trace = sim_trace_hash(world.sim);
    world_deinit(&world);
    return trace;
}

static void test_same_seed_same_trace(void **state)
{
    (void)state;
    assert_true(trace_of(9) == trace_of(9));
    assert_true(trace_of(9) != trace_of(10));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_seed_same_trace),
        cmocka_unit_test(test_crash_at_every_operation),
        cmocka_unit_test(test_crash_around_snapshots),
        cmocka_unit_test(test_every_operation_fails_once_and_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
