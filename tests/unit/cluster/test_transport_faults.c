/* Networks and machines at their worst. The always-true part is checked in transport_world.c with every event; here
 * what happens to them is drawn from seeds, and afterwards everything must connect again. */
#include "transport_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SEEDS = 60, STEPS = 120, NODES = 4, CALM_MS = 12000 };

static struct world world;

static int setup(void **state)
{
    world_init(&world, 3);
    return 0;
}

static int teardown(void **state)
{
    world_deinit(&world);
    return 0;
}

/* ---- one fault at a time ---- */

static void partition(uint64_t one, uint64_t other, bool both_ways)
{
    sim_network_block(world.sim, (int)one - 1, (int)other - 1, true);
    sim_network_block(world.sim, (int)other - 1, (int)one - 1, both_ways);
}

static void survives_partition(uint64_t one, uint64_t other, bool both_ways)
{
    world_start_all(&world, 3);
    world_run_ms(&world, 300);
    uint64_t generation = world_link(&world, 1, 2)->generation;
    partition(one, other, both_ways);
    world_run_ms(&world, 10000);
    assert_false(world_link(&world, one, other)->up || world_link(&world, other, one)->up);
    assert_true(world_connected(&world, 1, 3) && world_connected(&world, 2, 3));
    assert_int_equal(world_link(&world, 1, 3)->downs + world_link(&world, 2, 3)->downs, 0);
    sim_network_heal(world.sim);
    world_run_ms(&world, 4000);
    assert_true(world_connected(&world, one, other));
    assert_true(world_link(&world, 1, 2)->generation > generation);
}

static void test_partition(void **state) { survives_partition(1, 2, true); }

static void test_one_way_from_the_dialer(void **state) { survives_partition(1, 2, false); }

static void test_one_way_from_the_acceptor(void **state) { survives_partition(2, 1, false); }

/* Shorter than the deadline: nobody notices, nothing is lost. */
static void test_short_clog(void **state)
{
    world_start_all(&world, 2);
    world_run_ms(&world, 300);
    sim_network_clog(world.sim, 0, 1, sim_now_ns(world.sim) + 2000 * WORLD_MS);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(world_send(world_node(&world, 1), 2, TRANSPORT_URGENT, 100), STATUS_OK);
    }
    env_wake(world_node(&world, 1)->env);
    world_run_ms(&world, 4000);
    assert_int_equal(world_link(&world, 2, 1)->frames, 10);
    assert_int_equal(world_link(&world, 1, 2)->downs + world_link(&world, 2, 1)->downs, 0);
}

/* A process that was stopped for long does not blame the others: what they sent waits in its kernel. */
static void test_pause(void **state)
{
    world_start_all(&world, 2);
    world_run_ms(&world, 300);
    for (int i = 0; i < 5; i++) {
        sim_node_pause(world.sim, 0, sim_now_ns(world.sim) + 2400 * WORLD_MS);
        world_run_ms(&world, 2500);
        assert_int_equal(world_link(&world, 1, 2)->downs, 0);
    }
    sim_node_pause(world.sim, 0, sim_now_ns(world.sim) + 20000 * WORLD_MS);
    world_run_ms(&world, 19000);
    assert_int_equal(world_link(&world, 2, 1)->downs, 1); /* to the other it is dead, rightly */
    world_run_ms(&world, 3000);
    assert_true(world_connected(&world, 1, 2));
    assert_int_equal(world_link(&world, 1, 2)->downs, 1);
    assert_int_equal(world_logged(&world, "0 node 2 (10.0.0.2:17000) is disconnected: nothing heard"), 0);
}

/* Resets in the middle of frames: each connection shows whole frames, in order, then its end. */
static void chatter(struct world_node *node)
{
    struct prng *prng = sim_prng(node->world->sim, SIM_DRAW_CLIENT);
    for (uint64_t peer = 1; peer <= NODES; peer++) {
        if (prng_chance(prng, 1, 2)) {
            size_t size = (size_t)prng_below(prng, prng_chance(prng, 1, 20) ? 180000 : 600);
            enum transport_priority priority = (enum transport_priority)prng_below(prng, TRANSPORT_PRIORITIES);
            (void)!world_send(node, peer, priority, size);
        }
    }
}

/* Lets time pass while all that run talk. */
static void run_talking(int64_t ms)
{
    for (; ms > 0; ms -= 10) {
        for (uint64_t id = 1; id <= NODES; id++) {
            if (world_node(&world, id)->transport != NULL) {
                chatter(world_node(&world, id));
                env_wake(world_node(&world, id)->env);
            }
        }
        world_run_ms(&world, ms < 10 ? ms : 10);
    }
}

static void test_resets_in_the_middle_of_frames(void **state)
{
    sim_network(world.sim)->split_one_in = 2;
    for (uint64_t id = 1; id <= 2; id++) {
        world_prepare(&world, id);
        world_node(&world, id)->options.backoff_maximum_ms = 30;
        world_restart(&world, id, 2);
    }
    for (int i = 0; i < 100; i++) {
        run_talking(37);
        (void)sim_network_reset(world.sim, 0, 1);
    }
    assert_true(world_link(&world, 1, 2)->last_generation > 20);
    world_run_ms(&world, 3000);
    assert_true(world_connected(&world, 1, 2));
    assert_true(world_link(&world, 1, 2)->frames > 20);
}

/* ---- everything at once ---- */

static void bad_network(void)
{
    struct prng *prng = sim_prng(world.sim, SIM_DRAW_CRASH);
    struct sim_network *network = sim_network(world.sim);
    network->delay_maximum_ns = (int64_t)(1 + prng_below(prng, 20)) * WORLD_MS;
    network->slow_one_in = (uint32_t)prng_below(prng, 50);
    network->slow_ns = 300 * WORLD_MS;
    network->lose_one_in = (uint32_t)prng_below(prng, 50);
    network->split_one_in = (uint32_t)prng_below(prng, 5);
    network->reset_one_in = prng_chance(prng, 1, 2) ? 200 : 0;
    network->buffer_bytes = 1000 + (size_t)prng_below(prng, 100000);
}

static void good_network(void)
{
    struct sim_network *network = sim_network(world.sim);
    network->delay_maximum_ns = WORLD_MS;
    network->slow_one_in = network->lose_one_in = network->split_one_in = network->reset_one_in = 0;
    sim_network_heal(world.sim);
}

static void strike(struct prng *prng)
{
    uint64_t id = 1 + prng_below(prng, NODES), other = 1 + prng_below(prng, NODES);
    int64_t until_ns = sim_now_ns(world.sim) + (int64_t)prng_below(prng, 6000) * WORLD_MS;
    bool running = world_node(&world, id)->transport != NULL;
    switch (prng_below(prng, 11)) {
    case 0: partition(id, other, prng_chance(prng, 1, 2)); break;
    case 2: sim_network_clog(world.sim, (int)id - 1, (int)other - 1, until_ns); break;
    case 3: (void)sim_network_reset(world.sim, (int)id - 1, (int)other - 1); break;
    case 4: sim_node_pause(world.sim, (int)id - 1, until_ns); break;
    case 5:
        if (running) {
            world_crash(&world, id, prng_chance(prng, 1, 2) ? SIM_CRASH_KILL : SIM_CRASH_POWER);
        }
        break;
    case 6:
        if (!running) {
            world_restart(&world, id, NODES);
        }
        break;
    case 7:
        if (running && other != id) {
            transport_want_frames(world_node(&world, id)->transport, other, prng_chance(prng, 2, 3));
        }
        break;
    case 8:
        if (running && other != id && prng_chance(prng, 1, 3)) {
            transport_remove_peer(world_node(&world, id)->transport, other);
            world_link(&world, id, other)->up = false;
            world_allow(&world, id, other, NULL);
        }
        break;
    default: sim_network_heal(world.sim); break;
    }
}

static uint64_t total_frames, total_ups;

static uint64_t live(uint64_t seed)
{
    world_init(&world, seed);
    bad_network();
    world_start_all(&world, NODES);
    for (uint64_t id = 1; id <= NODES; id++) {
        world_node(&world, id)->options.queue_bytes[TRANSPORT_BULK] = 200000;
        world_node(&world, id)->options.queue_bytes[TRANSPORT_URGENT] = 200000;
    }
    struct prng *prng = sim_prng(world.sim, SIM_DRAW_CRASH);
    for (int step = 0; step < STEPS; step++) {
        strike(prng);
        run_talking((int64_t)prng_below(prng, 300));
    }
    good_network();
    for (uint64_t id = 1; id <= NODES; id++) {
        if (world_node(&world, id)->transport == NULL) {
            world_restart(&world, id, NODES);
        }
        for (uint64_t peer = 1; peer <= NODES; peer++) {
            if (peer != id) {
                transport_want_frames(world_node(&world, id)->transport, peer, true);
            }
        }
    }
    world_run_ms(&world, CALM_MS);
    run_talking(500);
    for (uint64_t one = 1; one <= NODES; one++) {
        assert_true(world_statistics(&world, one).unknown == 0);
        for (uint64_t other = 1; other <= NODES; other++) {
            if (one != other) {
                assert_true(world_connected(&world, one, other));
                assert_true(world_link(&world, one, other)->frames > 0);
            }
        }
    }
    total_frames += world.frames;
    total_ups += world.ups;
    uint64_t hash = world.hash ^ sim_trace_hash(world.sim);
    world_deinit(&world);
    return hash;
}

static void test_random_lives(void **state)
{
    const char *only = getenv("TRANSPORT_SEED"), *many = getenv("TRANSPORT_SEEDS");
    uint64_t first = only == NULL ? 1 : strtoull(only, NULL, 10);
    uint64_t count = only != NULL ? 1 : many == NULL ? SEEDS : strtoull(many, NULL, 10);
    for (uint64_t seed = first; seed < first + count; seed++) {
        if (many != NULL) {
            (void)fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
        }
        (void)live(seed);
    }
    if (many != NULL) {
        (void)fprintf(stderr, "%llu frames, %llu connections\n", (unsigned long long)total_frames,
                      (unsigned long long)total_ups);
    }
    assert_true(only != NULL || (total_frames > 500 * count && total_ups > 20 * count));
}

static void test_same_seed_same_life(void **state)
{
    uint64_t hashes[3];
    for (uint64_t seed = 100; seed < 103; seed++) {
        hashes[seed - 100] = live(seed);
        assert_int_equal(live(seed), hashes[seed - 100]);
    }
    assert_true(hashes[0] != hashes[1] && hashes[1] != hashes[2]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_partition),
        TEST(test_one_way_from_the_dialer),
        TEST(test_one_way_from_the_acceptor),
        TEST(test_short_clog),
        TEST(test_pause),
        TEST(test_resets_in_the_middle_of_frames),
        cmocka_unit_test(test_random_lives),
        cmocka_unit_test(test_same_seed_same_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
