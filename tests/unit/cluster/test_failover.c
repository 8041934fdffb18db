/* Who leads after something broke: a leader whose process was killed is followed soon, one that only lost connections
 * keeps leading. COHORT_SEEDS sets how many worlds. */
#include "cluster_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SEEDS = 30, RESETS = 10, ELECTION_TIMEOUT_MS = 500, SOON_MS = 150 };

static uint64_t seeds(void)
{
    const char *text = getenv("COHORT_SEEDS");
    return text != NULL ? strtoull(text, NULL, 10) : SEEDS;
}

static uint64_t draw(struct world *world, uint64_t bound)
{
    return prng_below(sim_prng(world->sim, SIM_DRAW_CLIENT), bound);
}

/* All nodes know the same leader of the shard, in the same term. */
static bool settled(struct world *world, uint32_t shard, uint64_t *ret_leader, uint64_t *ret_term)
{
    uint64_t leader = 0, term = 0;
    for (uint64_t id = 1; id <= (uint64_t)world->node_count; id++) {
        if (world_node(world, id)->cluster == NULL) {
            continue;
        }
        const struct lane *lane = world_lane(world, id, shard);
        if (lane->leader == 0 || (leader != 0 && (lane->leader != leader || lane->term != term))) {
            return false;
        }
        leader = lane->leader;
        term = lane->term;
    }
    *ret_leader = leader;
    *ret_term = term;
    return world_node(world, leader)->cluster != NULL;
}

static void settle(struct world *world, uint32_t shard, uint64_t *ret_leader, uint64_t *ret_term)
{
    for (int i = 0; i < 1000 && !settled(world, shard, ret_leader, ret_term); i++) {
        world_run_ms(world, 10);
    }
    assert_true(settled(world, shard, ret_leader, ret_term));
}

/* Connections are reset one by one and all at once, while nothing else is wrong. Not in a storm: then dialing backs
 * off, and the silence is long enough to end any leader. */
static void one_with_resets(uint64_t seed)
{
    static struct world world;
    uint64_t leader = 0, term = 0, leader_then = 0, term_then = 0;
    world_begin(&world, seed, 3, 1, 3);
    world_run_ms(&world, 3000); /* leaders are where the placement wants them */
    settle(&world, 1, &leader, &term);
    for (int i = 0; i < RESETS; i++) {
        uint64_t other = 1 + leader % 3;
        world_reset(&world, leader, other);
        if (draw(&world, 2) == 0) {
            world_reset(&world, leader, 1 + other % 3);
        }
        world_run_ms(&world, 1000 + (int64_t)draw(&world, 300));
    }
    world_run_ms(&world, 2000);
    settle(&world, 1, &leader_then, &term_then);
    if (leader_then != leader || term_then != term) {
        fail_msg("seed %d: resets made %d the leader of term %d, after %d of term %d", (int)seed, (int)leader_then,
                 (int)term_then, (int)leader, (int)term);
    }
    world_end(&world);
}

static void test_resets_depose_nobody(void **state)
{
    for (uint64_t seed = 1; seed <= seeds(); seed++) {
        one_with_resets(seed);
    }
}

/* How long it takes until the nodes that are left know another leader. */
static int64_t failover_ms(uint64_t seed, bool lease_reads)
{
    static struct world world;
    uint64_t leader, term, leader_then = 0, term_then = 0;
    world.lease_reads = lease_reads;
    world_begin(&world, seed, 3, 1, 3);
    world_run_ms(&world, 3000);
    settle(&world, 1, &leader, &term);
    world_kill(&world, leader, SIM_CRASH_KILL);
    int64_t ms = 0;
    while (!settled(&world, 1, &leader_then, &term_then) || leader_then == leader) {
        world_run_ms(&world, 1);
        assert_true(++ms < 5000);
    }
    assert_true(term_then > term);
    world_start(&world, leader);
    world_end(&world);
    return ms;
}

static void test_killed_leader_is_followed_soon(void **state)
{
    uint64_t soon = 0;
    for (uint64_t seed = 1; seed <= seeds(); seed++) {
        int64_t ms = failover_ms(seed, false);
        soon += ms <= SOON_MS ? 1 : 0;
        assert_true(ms < 2 * ELECTION_TIMEOUT_MS);
    }
    assert_true(soon >= seeds() * 9 / 10);
}

/* Its clients may still be reading by lease, for all that the others can know. */
static void test_lease_is_waited_for(void **state)
{
    for (uint64_t seed = 1; seed <= seeds() / 3; seed++) {
        assert_true(failover_ms(seed, true) > ELECTION_TIMEOUT_MS - 150); /* less what passed since its last word */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resets_depose_nobody),
        cmocka_unit_test(test_killed_leader_is_followed_soon),
        cmocka_unit_test(test_lease_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
