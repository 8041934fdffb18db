/* Requests on their way through random faults: nodes that crash, pause and are parted, connections that are reset,
 * leaders that hand over. cluster_world.h has what must be true. */
#include "cluster_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SEEDS = 24, STEPS = 120, STEP_MS = 50, BURST = 12, LIMIT_MS = 1500 };

struct chaos {
    struct world world;
    uint64_t down; /* this node; 0: none */
    struct cluster_counters sum;
};

static uint64_t draw(struct world *world, uint64_t bound)
{
    return prng_below(sim_prng(world->sim, SIM_DRAW_CLIENT), bound);
}

static uint64_t any_node(struct world *world) { return 1 + draw(world, (uint64_t)world->node_count); }

static void account(struct chaos *chaos, uint64_t id)
{
    struct cluster_counters one = world_counters(&chaos->world, id);
    chaos->sum.doubted_parcels += one.doubted_parcels;
    chaos->sum.questions += one.questions;
    chaos->sum.doubts_executed += one.doubts_executed;
    chaos->sum.doubts_absent += one.doubts_absent;
    chaos->sum.returned += one.returned;
    chaos->sum.leaderless += one.leaderless;
}

static void bring_back(struct chaos *chaos)
{
    if (chaos->down != 0) {
        world_start(&chaos->world, chaos->down);
        chaos->down = 0;
    }
}

static void do_harm(struct chaos *chaos)
{
    struct world *world = &chaos->world;
    uint64_t one = any_node(world);
    uint64_t other = any_node(world);
    switch (draw(world, 14)) {
    case 0: sim_network_block(world->sim, (int)one - 1, (int)other - 1, one != other); break;
    case 1: world_part(world, one, other, one != other); break;
    case 2:
    case 3: sim_network_heal(world->sim); break;
    case 4:
    case 5:
    case 6: world_reset(world, one, other); break;
    case 7:
        sim_node_pause(world->sim, (int)one - 1, sim_now_ns(world->sim) + (int64_t)draw(world, 2000) * WORLD_MS);
        break;
    case 8:
    case 9:
        if (chaos->down == 0) {
            account(chaos, one);
            world_kill(world, one, draw(world, 2) == 0 ? SIM_CRASH_KILL : SIM_CRASH_POWER);
            chaos->down = one;
        }
        break;
    case 10: bring_back(chaos); break;
    case 11:
        if (world_node(world, one)->cluster != NULL) {
            cluster_retire(world_node(world, one)->cluster);
        }
        break;
    default: break;
    }
}

static void ask(struct world_client *client)
{
    struct world *world = client->world;
    for (uint64_t i = draw(world, BURST); i > 0; i--) {
        uint32_t shard = 1 + (uint32_t)draw(world, world->shards);
        if (draw(world, 3) == 0) {
            (void)world_read(client, shard);
        } else {
            (void)world_append(client, shard);
        }
    }
}

static void look_after(struct world *world)
{
    for (int i = 0; i < world->node_count; i++) {
        struct world_node *node = &world->nodes[i];
        if (node->cluster != NULL && draw(world, 2) == 0) {
            cluster_look_after(node->cluster, env_monotonic_ns(node->env) - LIMIT_MS * WORLD_MS);
        }
    }
}

static void run_seed(struct chaos *chaos, uint64_t seed)
{
    struct world *world = &chaos->world;
    world_begin(world, seed, seed % 3 == 0 ? 3 : 5, 2, 3);
    struct world_client *clients[WORLD_NODES] = {NULL};
    sim_network(world->sim)->slow_one_in = 20;
    sim_network(world->sim)->slow_ns = 100 * WORLD_MS;
    sim_network(world->sim)->split_one_in = 10;
    sim_network(world->sim)->reset_one_in = seed % 2 == 0 ? 400 : 0;
    for (int step = 0; step < STEPS; step++) {
        do_harm(chaos);
        for (int i = 0; i < world->node_count; i++) {
            struct world_node *node = &world->nodes[i];
            bool alive = clients[i] != NULL && clients[i]->life == node->lives;
            if (node->cluster != NULL && !alive && world->client_count < WORLD_CLIENTS) {
                clients[i] = world_client(world, node->id);
                alive = true;
            }
            if (alive) {
                ask(clients[i]);
            }
        }
        look_after(world);
        world_run_ms(world, (int64_t)draw(world, STEP_MS));
    }
    bring_back(chaos);
    sim_network(world->sim)->reset_one_in = 0;
    for (int i = 0; i < world->node_count; i++) {
        account(chaos, (uint64_t)i + 1);
    }
    world_end(world);
}

static void test_exactly_once_in_order(void **state)
{
    (void)state;
    static struct chaos chaos;
    const char *from = getenv("LANES_SEED");
    const char *count = getenv("LANES_SEEDS");
    uint64_t first = from != NULL ? strtoull(from, NULL, 10) : 1;
    uint64_t seeds = count != NULL ? strtoull(count, NULL, 10) : SEEDS;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        run_seed(&chaos, seed);
    }
    (void)fprintf(stderr, "# doubted %d questions %d executed %d absent %d returned %d leaderless %d\n",
                  (int)chaos.sum.doubted_parcels, (int)chaos.sum.questions, (int)chaos.sum.doubts_executed,
                  (int)chaos.sum.doubts_absent, (int)chaos.sum.returned, (int)chaos.sum.leaderless);
    assert_true(seeds < SEEDS || (chaos.sum.doubts_executed > 0 && chaos.sum.doubts_absent > 0));
    assert_true(seeds < SEEDS || (chaos.sum.returned > 0 && chaos.sum.leaderless > 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_exactly_once_in_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
