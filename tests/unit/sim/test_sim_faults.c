/* The simulator under all its faults at once: whatever happens, a stream carries a prefix of what was sent, in order,
 * and a seed repeats itself. */
#include "sim_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS 1000000LL
enum { NODES = 4, PORT = 7000, STREAMS = 64, SEEDS = 30, STEPS = 150, CHUNK_BYTES = 700 };

struct talker;

/* One end. Both ends send the same endless sequence, so each knows what must come next. */
struct end {
    struct talker *talker;
    struct env_stream *stream; /* NULL: slot is free */
    uint64_t sent, received;
    uint64_t limit; /* closes after sending so much */
};

struct talker {
    struct sim *sim;
    int node;
    struct env *env;
    struct env_listener *listener;
    struct env_timer timer;
    struct env_work work;
    bool working;
    struct env_file *file;
    struct end ends[STREAMS];
};

static struct talker talkers[NODES];
static uint64_t total_received;
static int total_connections;

static uint8_t byte_at(uint64_t position) { return (uint8_t)(position * 131 ^ position >> 7); }

static void end_close(struct end *end)
{
    env_stream_close(end->talker->env, end->stream);
    end->stream = NULL;
}

static void end_readable(void *owner)
{
    struct end *end = owner;
    uint8_t data[CHUNK_BYTES];
    size_t size;
    enum status status = env_stream_read(end->talker->env, end->stream, data, sizeof(data), &size);
    if (status == STATUS_OK) {
        for (size_t i = 0; i < size; i++) {
            assert_int_equal(data[i], byte_at(end->received + i));
        }
        end->received += size;
        total_received += size;
    } else if (status != STATUS_AGAIN) {
        end_close(end);
    }
}

static void end_writable(void *owner)
{
    struct end *end = owner;
    uint8_t data[CHUNK_BYTES];
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = byte_at(end->sent + i);
    }
    struct iovec parts[] = {{data, 1}, {data + 1, sizeof(data) - 1}};
    size_t taken;
    enum status status = env_stream_write(end->talker->env, end->stream, parts, 2, &taken);
    if (status == STATUS_OK) {
        end->sent += taken;
    }
    if ((status != STATUS_OK && status != STATUS_AGAIN) || end->sent > end->limit) {
        end_close(end);
    }
}

static const struct env_stream_events end_events = {end_readable, end_writable};

static void adopt(struct talker *talker, struct env_stream *stream)
{
    for (int i = 0; i < STREAMS; i++) {
        struct end *end = &talker->ends[i];
        if (end->stream == NULL) {
            *end = (struct end){.talker = talker, .stream = stream};
            end->limit = prng_below(sim_prng(talker->sim, SIM_DRAW_CLIENT), 20000);
            env_stream_attach(talker->env, stream, &end_events, end);
            env_stream_want_write(talker->env, stream, true);
            total_connections++;
            return;
        }
    }
    env_stream_close(talker->env, stream);
}

static void accepted(void *owner, struct env_stream *stream) { adopt(owner, stream); }

static void accept_failed(void *owner, enum status status) {}

static const struct env_listener_events listener_events = {accepted, accept_failed};

static void work_run(struct env_work *work)
{
    struct talker *talker = CONTAINER_OF(work, struct talker, work);
    struct iovec part = {(char[]){"something"}, 9};
    enum status status = env_write(talker->env, talker->file, 0, &part, 1);
    if (status == STATUS_OK) {
        status = env_sync(talker->env, talker->file);
    }
    (void)status;
}

static void work_done(struct env_work *work) { CONTAINER_OF(work, struct talker, work)->working = false; }

static void timer_fires(struct env_timer *timer)
{
    struct talker *talker = CONTAINER_OF(timer, struct talker, timer);
    struct prng *prng = sim_prng(talker->sim, SIM_DRAW_CLIENT);
    struct env_stream *stream;
    int to = (int)prng_below(prng, NODES);
    if (env_connect(talker->env, sim_node_address(talker->sim, to), PORT, &stream) == STATUS_OK) {
        adopt(talker, stream);
    }
    if (!talker->working) {
        talker->working = true;
        env_work_submit(talker->env, &talker->work);
    }
    env_timer_start(talker->env, timer, env_monotonic_ns(talker->env) + (int64_t)prng_below(prng, 30 * MS));
}

static void talker_start(struct sim *sim, int node)
{
    struct talker *talker = &talkers[node];
    struct env *env = sim_node_start(sim, node);
    *talker = (struct talker){.sim = sim, .node = node, .env = env, .work = {.run = work_run, .done = work_done}};
    env_timer_init(&talker->timer, timer_fires);
    env_timer_start(env, &talker->timer, env_monotonic_ns(env) + MS);
    enum status status = env_open(env, "file", ENV_OPEN_WRITE | ENV_OPEN_CREATE, &talker->file);
    assert_int_equal(status, STATUS_OK);
    assert_int_equal(env_listen(env, "*", PORT, &listener_events, talker, &talker->listener), STATUS_OK);
}

/* Gives back what the process held. Every second time streams and listener are left to the env. */
static void talker_end(struct talker *talker, bool tidy)
{
    env_timer_stop(talker->env, &talker->timer);
    env_close(talker->env, talker->file);
    for (int i = 0; tidy && i < STREAMS; i++) {
        if (talker->ends[i].stream != NULL) {
            end_close(&talker->ends[i]);
        }
    }
    if (tidy) {
        env_listener_close(talker->env, talker->listener);
    }
}

static void restart(struct sim *sim, int node, enum sim_crash how, bool tidy)
{
    if (sim_node_env(sim, node) != NULL) {
        sim_node_crash(sim, node, how);
        talker_end(&talkers[node], tidy);
    } else {
        talker_start(sim, node);
    }
}

static void do_harm(struct sim *sim)
{
    struct prng *prng = sim_prng(sim, SIM_DRAW_CRASH);
    int one = (int)prng_below(prng, NODES), other = (int)prng_below(prng, NODES);
    bool coin = prng_below(prng, 2) == 0;
    int64_t soon_ns = sim_now_ns(sim) + (int64_t)prng_below(prng, 300 * MS);
    switch (prng_below(prng, 10)) {
    case 0: restart(sim, one, SIM_CRASH_KILL, coin); break;
    case 1: restart(sim, one, SIM_CRASH_POWER, coin); break;
    case 2: sim_network_block(sim, one, other, coin); break;
    case 3: sim_network_heal(sim); break;
    case 4: sim_network_clog(sim, one, other, soon_ns); break;
    case 5: (void)sim_network_reset(sim, one, other); break;
    case 6: sim_node_pause(sim, one, soon_ns); break;
    case 7: sim_node_set_clock_rate(sim, one, (int32_t)prng_below(prng, 200001) - 100000); break;
    case 8: sim_node_set_wall_offset(sim, one, (int64_t)prng_below(prng, 20000) - 10000); break;
    default: sim_network(sim)->descriptors = coin ? 20 : 1024;
    }
}

static uint64_t run_seed(uint64_t seed)
{
    struct sim *sim = sim_create(seed);
    struct sim_network *network = sim_network(sim);
    network->slow_one_in = 20;
    network->slow_ns = 100 * MS;
    network->lose_one_in = 100;
    network->split_one_in = 3;
    network->reset_one_in = 500;
    network->buffer_bytes = 2000;
    network->give_up_ns = 2000 * MS;
    sim_timing(sim)->slow_sync_one_in = 10;
    sim_timing(sim)->slow_sync_ns = 200 * MS;
    for (int i = 0; i < NODES; i++) {
        talker_start(sim, i);
    }
    for (int step = 0; step < STEPS; step++) {
        sim_run_for(sim, 20 * MS);
        do_harm(sim);
    }
    uint64_t hash = sim_trace_hash(sim);
    for (int i = 0; i < NODES; i++) {
        if (sim_node_env(sim, i) != NULL) {
            sim_node_crash(sim, i, i % 2 == 0 ? SIM_CRASH_KILL : SIM_CRASH_POWER);
            talker_end(&talkers[i], i % 2 == 0);
        }
    }
    sim_run_for(sim, 10000 * MS);
    assert_true(list_empty(&sim->connections)); /* both ends gone, nothing left on the way */
    sim_destroy(sim);
    return hash;
}

static void test_streams_stay_true_under_faults(void **state)
{
    uint64_t seen[SEEDS];
    total_received = 0;
    total_connections = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        seen[seed] = run_seed(seed);
        for (uint64_t before = 0; before < seed; before++) {
            assert_true(seen[before] != seen[seed]);
        }
    }
    assert_true(total_connections > SEEDS * 100);
    assert_true(total_received > SEEDS * 100000);
    for (uint64_t seed = 0; seed < SEEDS; seed += 7) {
        assert_true(run_seed(seed) == seen[seed]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_streams_stay_true_under_faults)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
