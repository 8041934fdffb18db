/* Whose connection broke: when its process has ended, both kinds of peers, who dials it and whom it dials, hear so
 * soon; while it lives, or nobody can tell, they do not. */
#include "transport_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct world world;

static int setup(void **state)
{
    world_init(&world, 11);
    world_start_all(&world, 3);
    world_run_ms(&world, 300);
    return 0;
}

static int teardown(void **state)
{
    world_deinit(&world);
    return 0;
}

static void assert_gone(uint64_t id, uint64_t peer, uint64_t count)
{
    assert_int_equal(world_link(&world, id, peer)->gones, count);
}

/* 1 dials 2, and 2 dials 3. */
static void test_killed(void **state)
{
    world_crash(&world, 2, SIM_CRASH_KILL);
    world_run_ms(&world, 50);
    for (uint64_t id = 1; id <= 3; id += 2) {
        assert_int_equal(world_link(&world, id, 2)->downs, 1);
        assert_gone(id, 2, 1);
    }
    world_run_ms(&world, 5000); /* once */
    assert_gone(1, 2, 1);
    assert_gone(3, 2, 1);
    assert_gone(1, 3, 0);
}

static void test_reset(void **state)
{
    for (int i = 0; i < 20; i++) {
        assert_true(sim_network_reset(world.sim, 0, 1) + sim_network_reset(world.sim, 1, 2) > 0);
        world_run_ms(&world, 2000);
        assert_true(world_connected(&world, 1, 2) && world_connected(&world, 2, 3));
    }
    assert_gone(1, 2, 0);
    assert_gone(2, 1, 0);
    assert_gone(2, 3, 0);
    assert_gone(3, 2, 0);
}

/* The connection broke and the other machine cannot be reached: who knows what became of it. */
static void test_reset_and_cut_off(void **state)
{
    for (int other = 0; other < 3; other += 2) {
        sim_network_block(world.sim, other, 1, true);
        sim_network_block(world.sim, 1, other, true);
    }
    world_crash(&world, 2, SIM_CRASH_POWER);
    world_run_ms(&world, 10000);
    assert_int_equal(world_link(&world, 1, 2)->downs, 1);
    assert_gone(1, 2, 0);
    assert_gone(3, 2, 0);
}

/* It is back before anybody found it missing: that it is another process says the same. */
static void test_restarted_at_once(void **state)
{
    world_crash(&world, 2, SIM_CRASH_POWER);
    world_restart(&world, 2, 3);
    world_run_ms(&world, 5000);
    assert_true(world_connected(&world, 1, 2) && world_connected(&world, 2, 3));
    assert_gone(1, 2, 1);
    assert_gone(3, 2, 1);
}

/* What is under way ends with the peer. */
static void test_removed_meanwhile(void **state)
{
    world_crash(&world, 2, SIM_CRASH_KILL);
    while (world_link(&world, 1, 2)->up) {
        world_run_ms(&world, 1);
    }
    transport_remove_peer(world_node(&world, 1)->transport, 2);
    world_run_ms(&world, 1000);
    assert_gone(1, 2, 0);
    assert_gone(3, 2, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_and_cut_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restarted_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_removed_meanwhile, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
