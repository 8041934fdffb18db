/* Who asked hears which of its requests were slow at another node, by its own node's limit. */
#include "cluster_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void expect_slow(struct world_client *client, const char *text)
{
    world_wait(client);
    buffer_append_byte(&client->slow, '\0');
    assert_string_equal((const char *)client->slow.data, text);
    buffer_deinit(&client->slow);
}

static void set_and_get(struct world_client *client)
{
    struct slice set[] = {SLICE_LITERAL("SET"), SLICE_LITERAL("key"), SLICE_LITERAL("value")};
    struct slice get[] = {SLICE_LITERAL("GET"), SLICE_LITERAL("key")};
    (void)world_command(client, 1, set, 3);
    (void)world_command(client, 1, get, 2);
}

/* The client is at a node whose first worker has shard 0 alone, so with several its requests are errands there first.
 */
static void told_through(int workers, uint64_t seed)
{
    struct world world = {.workers = workers};
    world_begin(&world, seed, 3, 2, 3);
    uint64_t leader = world_leader(&world, 1, 1);
    uint64_t follower = world_other_voter(&world, 1, leader, 0);
    struct world_client *far = world_client(&world, follower);
    struct world_client *near = world_client(&world, leader);
    world.served_ns = 5000 * 1000 + 999;
    set_and_get(far);
    expect_slow(far, "");
    world.slow_us[follower - 1] = 5001;
    set_and_get(far);
    expect_slow(far, "");
    world.slow_us[follower - 1] = 5000;
    set_and_get(far);
    expect_slow(far, "SET 5000 GET 5000 ");
    struct slice large[] = {SLICE_LITERAL("COHORT.VERSIONS"), SLICE_LITERAL("key")};
    (void)world_internal(far, 1, COMMAND_COHORT_VERSIONS, large, 2); /* what servers ask by themselves is no command */
    expect_slow(far, "");
    world.slow_us[leader - 1] = 1;
    set_and_get(near); /* executed where it was asked: there its server knows */
    expect_slow(near, "");
    world_end(&world);
}

static void who_asked_is_told(void **state)
{
    (void)state;
    told_through(1, 1);
}

static void who_asked_at_another_worker_is_told(void **state)
{
    (void)state;
    told_through(3, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_asked_is_told),
        cmocka_unit_test(who_asked_at_another_worker_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
