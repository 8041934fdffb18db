/* On a machine that is busy beyond its cores turns come late and last long, at all nodes alike. What was not heard
 * because nobody read it is not silence: leaders stay. Who hangs while others do not is followed as ever.
 * COHORT_SEEDS sets how many worlds.
 *
 * usage: test_late_turns [no-beats] */
#include "cluster_world.h"

#include "env/fixed_memory.h"
#include "machine/scripts.h"
#include "shard/shard_mutation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 3, SHARDS = 2, SEEDS = 20, FREEZES = 10, BUSY_MS = 20000, ELECTION_TIMEOUT_MS = 500 };

static bool mutated; /* what the tests see is what a known bug does */

static uint64_t seeds(void)
{
    const char *text = getenv("COHORT_SEEDS");
    return text != NULL ? strtoull(text, NULL, 10) : SEEDS;
}

static uint64_t draw(struct world *world, uint64_t bound)
{
    return prng_below(sim_prng(world->sim, SIM_DRAW_CLIENT), bound);
}

struct leaders {
    uint64_t node[SHARDS + 1], term[SHARDS + 1];
};

/* As all nodes know them. */
static bool same_leaders(struct world *world, struct leaders *ret_leaders)
{
    for (uint32_t shard = 0; shard <= SHARDS; shard++) {
        ret_leaders->node[shard] = world_lane(world, 1, shard)->leader;
        ret_leaders->term[shard] = world_lane(world, 1, shard)->term;
        for (uint64_t id = 1; id <= NODES; id++) {
            const struct lane *lane = world_lane(world, id, shard);
            if (lane->leader == 0 || lane->leader != ret_leaders->node[shard] ||
                lane->term != ret_leaders->term[shard]) {
                return false;
            }
        }
    }
    return true;
}

static void begin(struct world *world, uint64_t seed, struct leaders *ret_leaders)
{
    world_begin(world, seed, NODES, SHARDS, NODES);
    world_run_ms(world, 3000); /* leaders are where the placement wants them */
    assert_true(same_leaders(world, ret_leaders));
}

static void check_stay(struct world *world, uint64_t seed, const struct leaders *before)
{
    struct leaders now;
    if (!same_leaders(world, &now)) {
        fail_msg("seed %d: nodes do not agree on who leads", (int)seed);
    }
    for (uint32_t shard = 0; shard <= SHARDS; shard++) {
        if (now.term[shard] != before->term[shard]) {
            fail_msg("seed %d: shard %d went from term %d to %d", (int)seed, (int)shard, (int)before->term[shard],
                     (int)now.term[shard]);
        }
    }
}

/* Each turn of every node lasts for longer than followers wait for their leader, as often as not. */
static void test_long_turns_depose_nobody(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(); seed++) {
        static struct world world;
        struct leaders before;
        begin(&world, seed, &before);
        struct sim_timing *timing = sim_timing(world.sim);
        struct sim_timing calm = *timing;
        timing->turn_minimum_ns = (int64_t)(200 + draw(&world, 400)) * WORLD_MS;
        timing->turn_maximum_ns = timing->turn_minimum_ns + (int64_t)(1 + draw(&world, 200)) * WORLD_MS;
        world_run_ms(&world, BUSY_MS);
        *timing = calm;
        world_run_ms(&world, 1500);
        check_stay(&world, seed, &before);
        world_end(&world);
    }
}

/* All of them stand still together, as they do on a machine that has something better to do, for up to five seconds. */
static void test_a_frozen_machine_deposes_nobody(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(); seed++) {
        static struct world world;
        struct leaders before;
        begin(&world, seed, &before);
        for (int i = 0; i < FREEZES; i++) {
            int64_t until_ns = sim_now_ns(world.sim) + (int64_t)(1 + draw(&world, 5000)) * WORLD_MS;
            for (int node = 0; node < NODES; node++) {
                sim_node_pause(world.sim, node, until_ns + (int64_t)draw(&world, 100) * WORLD_MS);
            }
            sim_run_until(world.sim, until_ns);
            world_run_ms(&world, 200 + (int64_t)draw(&world, 300));
        }
        world_run_ms(&world, 1500);
        check_stay(&world, seed, &before);
        world_end(&world);
    }
}

/* A follower that stood still for however long comes back quietly. */
static void test_a_frozen_follower_deposes_nobody(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(); seed++) {
        static struct world world;
        struct leaders before;
        begin(&world, seed, &before);
        uint64_t follower = 1;
        while (follower == before.node[0] || follower == before.node[1]) {
            follower++;
        }
        bool leads = before.node[2] == follower; /* then only the others' shards are looked at */
        sim_node_pause(world.sim, (int)follower - 1,
                       sim_now_ns(world.sim) + (int64_t)(1 + draw(&world, leads ? 300 : 9000)) * WORLD_MS);
        world_run_ms(&world, 11000);
        check_stay(&world, seed, &before);
        world_end(&world);
    }
}

/* A leader that hangs alone is followed within twice the election timeout and a little. */
static void test_a_frozen_leader_is_followed(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(); seed++) {
        static struct world world;
        struct leaders before;
        begin(&world, seed, &before);
        uint64_t leader = before.node[1], asked = 1 + leader % NODES;
        sim_node_pause(world.sim, (int)leader - 1, sim_now_ns(world.sim) + 10000 * WORLD_MS);
        int64_t ms = 0;
        while (world_lane(&world, asked, 1)->leader == leader || world_lane(&world, asked, 1)->leader == 0) {
            world_run_ms(&world, 10);
            ms += 10;
            assert_true(ms < 8 * ELECTION_TIMEOUT_MS); /* votes may split */
        }
        assert_true(ms >= ELECTION_TIMEOUT_MS - 150);
        world_end(&world);
    }
}

/* ---- scripts ---- */

enum { SCRIPTS = 20, SCRIPT_SEEDS = 12 };

/* While a script runs, the clock that is looked at meanwhile takes its time, so that it lasts. */
static struct sim_timing *timing;
static int64_t script_reading_ns;

static bool script_begins(void *reading_ns)
{
    *(int64_t *)reading_ns = timing->reading_ns;
    timing->reading_ns = script_reading_ns;
    return true;
}

static void script_ends(void *reading_ns) { timing->reading_ns = *(int64_t *)reading_ns; }

static const struct machine_scripts *engine(void)
{
    static int64_t reading_ns;
    static struct machine_scripts scripts = {.owner = &reading_ns, .lock = script_begins, .unlock = script_ends};
    if (scripts.engine == NULL) {
        assert_int_equal(fixed_memory_map(SCRIPT_ADDRESS, SCRIPT_REGION_BYTES), STATUS_OK);
        scripts.engine = script_engine_open(&(struct script_place){(void *)SCRIPT_ADDRESS, fixed_memory_release});
    }
    return &scripts;
}

/* A client sends endless ones; each takes every replica, or the leader alone, a second or two. With two workers only
 * the second one has scripts: the first has all connections, and who waits for it is deaf. */
static void run_scripts(struct world *world)
{
    struct slice eval[] = {SLICE_LITERAL("EVAL_RO"), SLICE_LITERAL("while true do end"), SLICE_LITERAL("1"),
                           SLICE_LITERAL("words")};
    struct world_client *client = world_client(world, 1);
    timing = sim_timing(world->sim);
    script_reading_ns = (int64_t)(15 + draw(world, 20)) * WORLD_MS;
    for (int i = 0; i < SCRIPTS; i++) {
        eval[0] = i % 2 == 0 ? SLICE_LITERAL("EVAL_RO") : SLICE_LITERAL("EVAL");
        (void)world_command(client, world->workers > 1 ? 1 : 1 + (uint32_t)draw(world, SHARDS), eval, 4);
        world_run_ms(world, (int64_t)draw(world, 3000));
    }
    world_wait(client);
    world_run_ms(world, 1500);
}

static void test_scripts_depose_nobody(void **state)
{
    (void)state;
    int changed = 0;
    for (uint64_t seed = 1; seed <= SCRIPT_SEEDS; seed++) {
        static struct world world;
        struct leaders before, now;
        world.scripts = engine();
        world.workers = seed % 2 == 0 ? 2 : 0;
        begin(&world, seed, &before);
        run_scripts(&world);
        if (mutated) {
            changed += !same_leaders(&world, &now) || memcmp(now.term, before.term, sizeof(now.term)) != 0;
        } else {
            check_stay(&world, seed, &before);
        }
        world_end(&world);
        world.workers = 0;
    }
    assert_true(!mutated || changed != 0);
}

int main(int argc, char **argv)
{
#ifdef COHORT_MUTATIONS
    mutated = argc > 1 && strcmp(argv[1], "no-beats") == 0;
    if (mutated) { /* … which the same run must see */
        const struct CMUnitTest without[] = {cmocka_unit_test(test_scripts_depose_nobody)};
        shard_mutate(RAFT_MUTATION_NONE, SHARD_MUTATION_NO_BEATS);
        return cmocka_run_group_tests_name("without beats", without, NULL, NULL);
    }
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_turns_depose_nobody),
        cmocka_unit_test(test_a_frozen_machine_deposes_nobody),
        cmocka_unit_test(test_a_frozen_follower_deposes_nobody),
        cmocka_unit_test(test_a_frozen_leader_is_followed),
        cmocka_unit_test(test_scripts_depose_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
