/* A participant's leader has taken an outcome and not logged it (src/shard/outcomes.h) when it is lost, cut off, or
 * hands over: whoever leads next hears it again at once, from whoever said it, and long before the part would ask. */
#include "cluster_world.h"
#include "shard/shard_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { SHARD = 2, SOON_MS = 2500 };

struct scene {
    struct world world;
    struct world_client *client;
    uint64_t leader;
};

static const struct shard *leader_of(struct scene *scene)
{
    return world_lane(&scene->world, scene->leader, SHARD)->local;
}

static bool waits(void *argument) { return leader_of(argument)->outcomes.count == 1; }

static void say(struct scene *scene, uint16_t id, const struct slice *words, uint32_t count)
{
    struct slice argv[16] = {slice_from_string(command_by_id(id)->shown)};
    memcpy(argv + 1, words, count * sizeof(*words));
    (void)world_internal(scene->client, SHARD, id, argv, count + 1);
}

static const char *reply_of(struct scene *scene)
{
    world_wait(scene->client);
    world_expect(scene->client, scene->client->count - 1, scene->client->count - 1, STATUS_OK);
    buffer_append_byte(&scene->client->reply, '\0');
    return (const char *)scene->client->reply.data;
}

/* A part that has voted, at a node that does not vote in its shard; then the outcome, which waits at the leader. */
static void begin(struct scene *scene, uint64_t seed)
{
    const struct slice prepare[] = {SLICE_LITERAL("t"), SLICE_LITERAL("1"),      SLICE_LITERAL("0"),
                                    SLICE_LITERAL("2"), SLICE_LITERAL("NOW"),    SLICE_LITERAL("1"),
                                    SLICE_LITERAL("2"), SLICE_LITERAL("0"),      SLICE_LITERAL("1"),
                                    SLICE_LITERAL("k"), SLICE_LITERAL("\001new")};
    const struct slice finish[] = {SLICE_LITERAL("t"), SLICE_LITERAL("0"), SLICE_LITERAL("COMMIT")};
    *scene = (struct scene){0};
    world_begin(&scene->world, seed, 5, 3, 3);
    scene->client = world_client(&scene->world, world_stranger(&scene->world, SHARD));
    scene->leader = world_leader(&scene->world, scene->client->node->id, SHARD);
    say(scene, COMMAND_COHORT_TXN_PREPARE, prepare, 11);
    assert_non_null(strstr(reply_of(scene), "YES"));
    uint64_t last = leader_of(scene)->last_index;
    say(scene, COMMAND_COHORT_TXN_FINISH, finish, 3);
    world_run_until(&scene->world, waits, scene);
    assert_int_equal(leader_of(scene)->last_index, last);
}

/* It was executed once, by who led then. Nobody asked what became of it, and it has left no marker. */
static void finish(struct scene *scene, int64_t since_ns)
{
    assert_non_null(strstr(reply_of(scene), "COMMITTED"));
    assert_true(sim_now_ns(scene->world.sim) - since_ns < SOON_MS * WORLD_MS);
    assert_int_equal(world_counters(&scene->world, scene->client->node->id).questions, 0);
    const struct slice get[] = {SLICE_LITERAL("get"), SLICE_LITERAL("k")};
    (void)world_command(scene->client, SHARD, get, 2);
    assert_string_equal(reply_of(scene), "$3\r\nnew\r\n");
}

static void the_leader_is_killed(void **state)
{
    (void)state;
    static struct scene scene;
    begin(&scene, 1);
    int64_t since_ns = sim_now_ns(scene.world.sim);
    world_kill(&scene.world, scene.leader, SIM_CRASH_KILL);
    finish(&scene, since_ns);
    world_start(&scene.world, scene.leader);
    world_end(&scene.world);
}

static void the_leader_hands_over(void **state)
{
    (void)state;
    static struct scene scene;
    begin(&scene, 2);
    int64_t since_ns = sim_now_ns(scene.world.sim);
    uint64_t other = world_other_voter(&scene.world, SHARD, scene.leader, 0);
    assert_int_equal(shard_transfer(world_lane(&scene.world, scene.leader, SHARD)->local, other), STATUS_OK);
    finish(&scene, since_ns);
    world_end(&scene.world);
}

/* It takes the outcome, and can log it nowhere; the client's node still hears it. */
static void the_leader_is_cut_off(void **state)
{
    (void)state;
    static struct scene scene;
    begin(&scene, 3);
    int64_t since_ns = sim_now_ns(scene.world.sim);
    for (uint64_t id = 1; id <= (uint64_t)scene.world.node_count; id++) {
        if (id != scene.leader && world_votes(&scene.world, id, SHARD)) {
            world_part(&scene.world, scene.leader, id, true);
        }
    }
    finish(&scene, since_ns);
    for (uint64_t id = 1; id <= (uint64_t)scene.world.node_count; id++) {
        if (id != scene.leader && world_votes(&scene.world, id, SHARD)) {
            world_part(&scene.world, scene.leader, id, false);
        }
    }
    world_end(&scene.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_leader_is_killed),
        cmocka_unit_test(the_leader_hands_over),
        cmocka_unit_test(the_leader_is_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
