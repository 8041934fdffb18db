/* Values of tens of megabytes between nodes whose connections take seconds for them. What nodes tell one another to
 * stay together goes in between: nobody stands for election, and other requests are answered meanwhile. */
#include "cluster_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { VALUE_BYTES = 31 << 20 };

static uint64_t sent_bytes(struct world *world, uint64_t id)
{
    struct transport_statistics statistics;
    cluster_transport_statistics(world_node(world, id)->cluster, &statistics);
    return statistics.bytes_sent;
}

/* A SET in shard 1 begins at a node; all ways pass 12 MB in a second. Shard 2 is read meanwhile, at the leader of both:
 * each read takes a round between the nodes. */
static void set_large(uint64_t seed, bool at_leader)
{
    struct world world = {0};
    world_begin(&world, seed, 3, 2, 3);
    uint64_t leader = world_leader(&world, 1, 1);
    uint64_t term = world_lane(&world, 1, 1)->term;
    world_let_lead(&world, leader, 2);
    struct world_client *near = world_client(&world, leader);
    uint64_t other = world_other_voter(&world, 1, leader, 0);
    struct world_client *client = world_client(&world, at_leader ? leader : other);
    struct sim_network *network = sim_network(world.sim);
    network->delay_minimum_ns = network->delay_maximum_ns = 10 * WORLD_MS;
    network->buffer_bytes = 256 << 10;
    uint8_t *value = calloc(1, VALUE_BYTES);
    assert_non_null(value);
    struct slice set[] = {SLICE_LITERAL("SET"), SLICE_LITERAL("large"), slice_of(value, VALUE_BYTES)};
    uint64_t sent = sent_bytes(&world, leader);
    int64_t begun_ns = sim_now_ns(world.sim);
    (void)world_command(client, 1, set, 3);
    while (client->heard == 0) {
        int first = near->count;
        (void)world_read(near, 2);
        world_run_ms(&world, 200);
        assert_int_equal(near->heard, near->count);
        world_expect(near, first, first, STATUS_OK);
        assert_true(sim_now_ns(world.sim) - begun_ns < 20000 * WORLD_MS);
    }
    world_expect(client, 0, 0, STATUS_OK);
    assert_true(sim_now_ns(world.sim) - begun_ns > (at_leader ? 2000 : 4000) * WORLD_MS);
    world_run_ms(&world, 3000);
    for (uint64_t id = 1; id <= 3; id++) {
        assert_int_equal(world_leader(&world, id, 1), leader);
        assert_int_equal(world_lane(&world, id, 1)->term, term);
    }
    sent = sent_bytes(&world, leader) - sent;
    assert_in_range(sent, 2 * (uint64_t)VALUE_BYTES, 2 * (uint64_t)VALUE_BYTES + (1 << 20)); /* once to each */
    free(value);
    world_end(&world);
}

static void a_large_value_for_the_leader_here(void **state)
{
    (void)state;
    set_large(1, true);
}

static void a_large_value_for_a_leader_elsewhere(void **state)
{
    (void)state;
    set_large(2, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_value_for_the_leader_here),
        cmocka_unit_test(a_large_value_for_a_leader_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
