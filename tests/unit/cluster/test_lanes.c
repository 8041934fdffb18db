/* Requests on their way, one scenario after the other. What must always be true is checked by cluster_world.h: each
 * request heard exactly once, executed at most once, in order, and told honestly. */
#include "cluster_world.h"

#include "base/varint.h"
#include "shard/shard_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* One shard with three voters; node `away` votes nowhere in it and has a client. */
struct scene {
    struct world world;
    uint64_t leader, second, third, away;
    uint64_t term;
    struct world_client *client;
};

static void scene_begin(struct scene *scene, uint64_t seed)
{
    struct world *world = &scene->world;
    world_begin(world, seed, 5, 1, 3);
    scene->away = world_stranger(world, 1);
    scene->leader = world_leader(world, scene->away, 1);
    scene->term = world_lane(world, scene->away, 1)->term;
    scene->second = world_other_voter(world, 1, scene->leader, 0);
    scene->third = world_other_voter(world, 1, scene->leader, scene->second);
    scene->client = world_client(world, scene->away);
}

static void part_leader(struct scene *scene, bool parted)
{
    world_part(&scene->world, scene->leader, scene->second, parted);
    world_part(&scene->world, scene->leader, scene->third, parted);
}

static void hush(struct scene *scene, bool hushed) /* what the leader says to `away` does not arrive */
{
    sim_network_block(scene->world.sim, (int)scene->leader - 1, (int)scene->away - 1, hushed);
}

static struct shard_stats leader_stats(struct scene *scene)
{
    struct shard_stats stats;
    shard_stats(world_lane(&scene->world, scene->leader, 1)->local, &stats);
    return stats;
}

static struct lane *away_lane(struct scene *scene) { return world_lane(&scene->world, scene->away, 1); }

static void append_many(struct world_client *client, int count)
{
    for (int i = 0; i < count; i++) {
        (void)world_append(client, 1);
    }
}

static void forwarded_and_answered(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 1);
    append_many(scene.client, 3);
    (void)world_read(scene.client, 1);
    append_many(scene.client, 1);
    world_wait(scene.client);
    world_expect(scene.client, 0, 4, STATUS_OK);
    assert_int_equal(scene.client->requests[3].seen, 3);
    struct cluster_counters counters = world_counters(&scene.world, scene.away);
    assert_int_equal(counters.forwarded_requests,
                     5 + counters.forwarded_parcels - 1); /* the members are asked for too */
    assert_int_equal(counters.doubted_parcels, 0);
    world_end(&scene.world);
}

static void lost_before_it_was_executed_it_is_sent_again_before_what_came_later(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 2);
    part_leader(&scene, true);
    append_many(scene.client, 2);
    world_run_ms(&scene.world, 20);
    append_many(scene.client, 2); /* another parcel */
    (void)world_read(scene.client, 1);
    world_run_ms(&scene.world, 20);
    assert_int_equal(scene.client->heard, 0);
    while (world_leader(&scene.world, scene.away, 1) == scene.leader) {
        append_many(scene.client, 1);
        world_run_ms(&scene.world, 100);
    }
    append_many(scene.client, 1);
    world_wait(scene.client);
    world_expect(scene.client, 0, scene.client->count - 1, STATUS_OK);
    struct cluster_counters counters = world_counters(&scene.world, scene.away);
    assert_true(counters.doubts_absent >= 2);
    assert_int_equal(counters.doubts_executed, 0);
    world_end(&scene.world); /* the old leader comes back, with the old entries */
}

static bool all_executed_at_leader(void *argument)
{
    struct scene *scene = argument;
    struct shard_stats stats = leader_stats(scene);
    return stats.applied_index == stats.last_index && stats.commands >= 2;
}

static void lost_after_it_was_executed_it_is_told_so_and_never_executed_again(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 3);
    hush(&scene, true);
    (void)world_read(scene.client, 1);
    append_many(scene.client, 2);
    (void)world_read(scene.client, 1);
    world_run_until(&scene.world, all_executed_at_leader, &scene);
    world_run_ms(&scene.world, 20);
    world_kill(&scene.world, scene.leader, SIM_CRASH_POWER);
    append_many(scene.client, 2);
    world_wait(scene.client);
    /* the first read would see what came behind it; the other may be read again */
    world_expect(scene.client, 0, 2, STATUS_EXECUTED);
    world_expect(scene.client, 3, 5, STATUS_OK);
    struct cluster_counters counters = world_counters(&scene.world, scene.away);
    assert_int_equal(counters.doubts_executed, 1);
    hush(&scene, false);
    world_start(&scene.world, scene.leader);
    world_end(&scene.world);
}

static void resets_while_the_leader_stays(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 4);
    for (int i = 0; i < 60; i++) {
        append_many(scene.client, 3);
        (void)world_read(scene.client, 1);
        sim_run_for(scene.world.sim, i % 12 * WORLD_MS / 8);
        world_reset(&scene.world, scene.leader, scene.away);
        append_many(scene.client, 1);
        world_run_ms(&scene.world, i % 5 * 100);
    }
    world_wait(scene.client);
    assert_int_equal(away_lane(&scene)->term, scene.term);
    struct cluster_counters counters = world_counters(&scene.world, scene.away);
    assert_true(counters.doubts_executed > 0 && counters.doubts_absent > 0);
    world_end(&scene.world);
}

static void leadership_goes_away_and_comes_back_with_requests_pending(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 5);
    struct world_client *here = world_client(&scene.world, scene.leader);
    for (int round = 0; round < 3; round++) {
        part_leader(&scene, true);
        append_many(here, 3);
        (void)world_read(here, 1);
        world_run_ms(&scene.world, 30);
        append_many(here, 2);
        append_many(scene.client, 2);
        while (world_leader(&scene.world, scene.second, 1) == scene.leader ||
               world_leader(&scene.world, scene.second, 1) == 0) {
            world_run_ms(&scene.world, 50);
            append_many(here, 1);
        }
        part_leader(&scene, false);
        append_many(here, 2);
        world_wait(here);
        world_wait(scene.client);
        append_many(here, 4);
        (void)world_read(here, 1);
        world_run_ms(&scene.world, 1);
        world_let_lead(&scene.world, scene.leader, 1);
        append_many(here, 2);
    }
    world_wait(here);
    world_expect(here, 0, here->count - 1, STATUS_OK);
    assert_true(world_counters(&scene.world, scene.leader).returned > 0);
    world_end(&scene.world);
}

static void nobody_leads_and_the_refused_are_never_executed(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 6);
    world_kill(&scene.world, scene.leader, SIM_CRASH_KILL);
    world_kill(&scene.world, scene.second, SIM_CRASH_KILL);
    world_run_ms(&scene.world, 100);
    append_many(scene.client, 5);
    (void)world_read(scene.client, 1);
    world_run_ms(&scene.world, 2000);
    struct world_node *node = world_node(&scene.world, scene.away);
    int64_t before_ns = env_monotonic_ns(node->env) - 1000 * WORLD_MS;
    append_many(scene.client, 2); /* not long enough */
    cluster_look_after(node->cluster, before_ns);
    world_expect(scene.client, 0, 5, STATUS_NO_LEADER);
    assert_int_equal(scene.client->heard, 6);
    assert_int_equal(world_counters(&scene.world, scene.away).leaderless, 6);
    world_start(&scene.world, scene.leader);
    world_start(&scene.world, scene.second);
    world_wait(scene.client);
    world_expect(scene.client, 6, 7, STATUS_OK);
    world_end(&scene.world);
}

static bool second_leads(void *argument)
{
    struct scene *scene = argument;
    return lane_leads(world_lane(&scene->world, scene->second, 1));
}

/* The leader hears nothing of consensus any more, and hands over: another leads, and it does not know. */
static void make_stale(struct scene *scene)
{
    struct lane *lane = world_lane(&scene->world, scene->leader, 1);
    sim_network_block(scene->world.sim, (int)scene->second - 1, (int)scene->leader - 1, true);
    sim_network_block(scene->world.sim, (int)scene->third - 1, (int)scene->leader - 1, true);
    assert_int_equal(shard_transfer(lane->local, scene->second), STATUS_OK);
    world_run_until(&scene->world, second_leads, scene);
    assert_true(lane_leads(lane)); /* so it believes */
}

static void reads_in_doubt_fail_for_sure(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 30);
    hush(&scene, true);
    (void)world_read(scene.client, 1);
    append_many(scene.client, 1);
    (void)world_read(scene.client, 1);
    world_run_ms(&scene.world, 20);
    world_kill(&scene.world, scene.leader, SIM_CRASH_POWER);
    world_kill(&scene.world, scene.second, SIM_CRASH_POWER);
    while (list_empty(&away_lane(&scene)->doubtful)) {
        world_run_ms(&scene.world, 100);
    }
    struct world_node *node = world_node(&scene.world, scene.away);
    cluster_look_after(node->cluster, env_monotonic_ns(node->env) + WORLD_MS);
    world_expect(scene.client, 0, 0, STATUS_NO_LEADER);
    world_expect(scene.client, 2, 2, STATUS_NO_LEADER);
    assert_int_equal(scene.client->heard, 2); /* of the write nobody knows yet */
    hush(&scene, false);
    world_start(&scene.world, scene.leader);
    world_start(&scene.world, scene.second);
    world_wait(scene.client);
    world_expect(scene.client, 1, 1, STATUS_EXECUTED);
    world_end(&scene.world);
}

static void a_stale_leader_keeps_the_order(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 7);
    struct world_client *here = world_client(&scene.world, scene.leader);
    struct lane *lane = world_lane(&scene.world, scene.leader, 1);
    make_stale(&scene);
    append_many(here, 2);
    (void)world_read(here, 1);
    world_run_ms(&scene.world, 10);
    /* it is announced that another leads, before consensus says so */
    lane_led_by(lane, scene.second, world_lane(&scene.world, scene.second, 1)->term);
    assert_true(shard_leading(lane->local) && !lane_leads(lane));
    append_many(here, 2);
    (void)world_read(here, 1);
    world_run_ms(&scene.world, 10);
    assert_int_equal(here->heard, 0);
    sim_network_heal(scene.world.sim);
    world_wait(here);
    world_expect(here, 0, here->count - 1, STATUS_OK);
    world_end(&scene.world);
}

static void nobody_announces_himself_for_the_term_of_another(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 8);
    struct lane *lane = world_lane(&scene.world, scene.leader, 1);
    struct lane *other = world_lane(&scene.world, scene.third, 1);
    make_stale(&scene);
    uint64_t term = world_lane(&scene.world, scene.second, 1)->term;
    world_run_ms(&scene.world, 10);
    other->leader = 0; /* as if it had not heard yet */
    other->term = scene.term;
    lane_led_by(lane, scene.second, term);
    lane_sink.led(lane, 1, true, scene.leader, scene.term);
    world_run_ms(&scene.world, 10);
    assert_int_equal(other->term, scene.term);
    lane_led_by(other, scene.second, term);
    append_many(scene.client, 1);
    world_wait(scene.client);
    world_expect(scene.client, 0, 0, STATUS_OK);
    world_end(&scene.world);
}

static void who_was_not_told_of_the_leader_is_told_later(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 9);
    away_lane(&scene)->leader = 0;
    peer_find(world_node(&scene.world, scene.leader)->cluster, scene.away)->untold = true;
    append_many(scene.client, 1);
    world_wait(scene.client);
    world_expect(scene.client, 0, 0, STATUS_OK);
    world_end(&scene.world);
}

static bool has_asked(void *argument)
{
    struct scene *scene = argument;
    return away_lane(scene)->asked != 0;
}

/* `node` tells node `to` that it leads the shard. */
static void say_leads(struct scene *scene, uint64_t node, uint64_t to, uint32_t shard, uint64_t term)
{
    struct cluster *cluster = world_node(&scene->world, node)->cluster;
    uint8_t leads[12];
    put_u32(leads, shard);
    put_u64(leads + 4, term);
    struct slice payload = slice_of(leads, sizeof(leads));
    assert_int_equal(transport_send(cluster->transport, to, 0, TRANSPORT_URGENT, NODE_LEADS, &payload, 1), STATUS_OK);
    env_wake(cluster->env);
    world_run_ms(&scene->world, 50);
}

static void only_a_voter_is_believed_to_lead(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 31);
    uint64_t other = scene.away == 5 ? 4 : 5;
    while (world_votes(&scene.world, other, 1)) {
        other--;
    }
    assert_true(other != scene.away && !world_votes(&scene.world, scene.away, 1));
    say_leads(&scene, other, scene.away, 1, scene.term + 100);
    assert_true(away_lane(&scene)->leader == scene.leader && away_lane(&scene)->term == scene.term);
    append_many(scene.client, 1);
    world_wait(scene.client);
    world_expect(scene.client, 0, 0, STATUS_OK);
    world_end(&scene.world);
}

static void a_lost_question_is_asked_again(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 10);
    part_leader(&scene, true);
    append_many(scene.client, 3);
    for (int i = 0; i < 3; i++) {
        world_run_until(&scene.world, has_asked, &scene);
        world_reset(&scene.world, away_lane(&scene)->leader, scene.away);
        world_run_ms(&scene.world, 1);
    }
    world_wait(scene.client);
    world_expect(scene.client, 0, 2, STATUS_OK);
    assert_true(world_counters(&scene.world, scene.away).questions >= 3);
    world_end(&scene.world);
}

static bool starts_with(struct slice reply, const char *text)
{
    return reply.size >= strlen(text) && memcmp(reply.data, text, strlen(text)) == 0;
}

static void answers_come_in_pieces(void **state)
{
    (void)state;
    static struct scene scene;
    enum { LARGE = 3500000 };
    scene_begin(&scene, 11);
    uint8_t *bytes = malloc(LARGE);
    assert_non_null(bytes);
    memset(bytes, 'x', LARGE);
    struct slice set[] = {SLICE_LITERAL("set"), SLICE_LITERAL("large"), slice_of(bytes, LARGE)};
    struct slice get[] = {SLICE_LITERAL("get"), SLICE_LITERAL("large")};
    struct slice several[] = {SLICE_LITERAL("mget"), SLICE_LITERAL("large"), SLICE_LITERAL("large")};
    (void)world_command(scene.client, 1, set, 3);
    append_many(scene.client, 1);
    for (int i = 0; i < 4; i++) {
        (void)world_command(scene.client, 1, get, 2);
    }
    (void)world_command(scene.client, 1, several, 3);
    world_wait(scene.client);
    world_expect(scene.client, 0, 6, STATUS_OK);
    assert_true(scene.client->reply.size > (size_t)2 * LARGE);
    assert_true(starts_with(buffer_slice(&scene.client->reply), "*2\r\n$3500000\r\nxxx"));
    /* and the connection breaks in the middle of them */
    for (int i = 0; i < 8; i++) {
        append_many(scene.client, 1);
        (void)world_command(scene.client, 1, several, 3);
        world_run_ms(&scene.world, 2 + i);
        world_reset(&scene.world, scene.leader, scene.away);
    }
    world_wait(scene.client);
    free(bytes);
    world_end(&scene.world);
}

static void a_peer_that_takes_no_answers_gets_no_more(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 12);
    struct peer *peer = peer_find(world_node(&scene.world, scene.leader)->cluster, scene.away);
    peer->owed_bytes += REMOTE_OWED_BYTES + 1;
    append_many(scene.client, 1);
    (void)world_read(scene.client, 1);
    world_wait(scene.client);
    world_expect(scene.client, 0, 0, STATUS_EXECUTED);
    world_expect(scene.client, 1, 1, STATUS_FULL);
    peer->owed_bytes -= REMOTE_OWED_BYTES + 1;
    append_many(scene.client, 1);
    world_wait(scene.client);
    world_expect(scene.client, 2, 2, STATUS_OK);
    assert_int_equal(peer->owed_bytes, 0);
    assert_int_equal(peer->parcels, 0);
    world_end(&scene.world);
}

static void full_queues_refuse(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 13);
    away_lane(&scene)->pending_bytes += LANE_PENDING_BYTES;
    append_many(scene.client, 1);
    world_expect(scene.client, 0, 0, STATUS_FULL);
    away_lane(&scene)->pending_bytes -= LANE_PENDING_BYTES;
    struct cluster *cluster = world_node(&scene.world, scene.away)->cluster;
    cluster->pending_bytes += NODE_PENDING_BYTES; /* by other shards */
    append_many(scene.client, 1);
    world_expect(scene.client, 1, 1, STATUS_FULL);
    cluster->pending_bytes -= NODE_PENDING_BYTES;
    struct shard *shard = world_lane(&scene.world, scene.leader, 1)->local;
    size_t limit_bytes = shard->options.pending_bytes;
    shard->options.pending_bytes = 1;
    append_many(scene.client, 2);
    (void)world_read(scene.client, 1);
    world_wait(scene.client);
    world_expect(scene.client, 2, 4, STATUS_FULL);
    shard->options.pending_bytes = limit_bytes;
    append_many(scene.client, 1);
    world_wait(scene.client);
    world_expect(scene.client, 5, 5, STATUS_OK);
    assert_int_equal(away_lane(&scene)->pending_bytes, 0);
    world_run_ms(&scene.world, 5000); /* the members are asked for too */
    assert_int_equal(cluster->pending_bytes, 0);
    world_end(&scene.world);
}

/* Much waits for a leader that is there, and for long. While there is none, or little waits, nothing is late. */
static void late_queues_refuse(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 14);
    struct lane *lane = away_lane(&scene);
    hush(&scene, true);
    append_many(scene.client, 1);
    world_run_ms(&scene.world, SHARD_LATE_MS + 100);
    assert_int_equal(lane->sent_count, 1);
    append_many(scene.client, 1); /* little waits */
    struct cluster *cluster = lane->cluster;
    cluster->pending_bytes += CLUSTER_LATE_BYTES; /* elsewhere in this node */
    append_many(scene.client, 1);
    (void)world_read(scene.client, 1);
    world_expect(scene.client, 2, 3, STATUS_FULL);
    uint64_t leader = lane->leader;
    lane->leader = 0;
    append_many(scene.client, 1);
    lane->leader = leader;
    cluster->pending_bytes -= CLUSTER_LATE_BYTES;
    hush(&scene, false);
    world_wait(scene.client);
    world_expect(scene.client, 0, 1, STATUS_OK);
    world_expect(scene.client, 4, 4, STATUS_OK);
    assert_int_equal(lane->sent_bytes, 0);
    world_end(&scene.world);
}

static void only_so_many_bytes_are_under_way(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 17);
    enum { COUNT = 30, LARGE = 100000 };
    uint8_t *bytes = malloc(LARGE);
    assert_non_null(bytes);
    memset(bytes, 'x', LARGE);
    struct slice set[] = {SLICE_LITERAL("set"), SLICE_LITERAL("large"), slice_of(bytes, LARGE)};
    hush(&scene, true);
    for (int i = 0; i < COUNT; i++) {
        (void)world_command(scene.client, 1, set, 3);
    }
    world_run_ms(&scene.world, 50);
    assert_in_range(away_lane(&scene)->sent_bytes, LANE_SENT_BYTES, LANE_SENT_BYTES + PARCEL_BYTES);
    hush(&scene, false);
    world_wait(scene.client);
    world_expect(scene.client, 0, COUNT - 1, STATUS_OK);
    assert_int_equal(away_lane(&scene)->sent_bytes, 0);
    free(bytes);
    world_end(&scene.world);
}

/* At the leader's node, too, what its shard has no room for waits in the lane, and follows as soon as there is some. */
static void who_leads_has_no_more_room_than_others(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 18);
    enum { COUNT = 80, LARGE = 100000 };
    uint8_t *bytes = malloc(LARGE);
    assert_non_null(bytes);
    memset(bytes, 'x', LARGE);
    struct slice set[] = {SLICE_LITERAL("set"), SLICE_LITERAL("large"), slice_of(bytes, LARGE)};
    struct lane *lane = world_lane(&scene.world, scene.leader, 1);
    struct world_client *near = world_client(&scene.world, scene.leader);
    part_leader(&scene, true);
    for (int i = 0; i < COUNT; i++) {
        append_many(near, 1);
        (void)world_command(near, 1, set, 3);
    }
    world_run_ms(&scene.world, 20);
    assert_in_range(shard_pending_bytes(lane->local), WORLD_NODES * LANE_ROOM_BYTES,
                    WORLD_NODES * LANE_ROOM_BYTES + PARCEL_BYTES);
    assert_true(lane->pending_bytes > COUNT * LARGE - WORLD_NODES * LANE_ROOM_BYTES - PARCEL_BYTES);
    append_many(scene.client, 1); /* it need not wait for all of them */
    part_leader(&scene, false);
    world_wait(scene.client);
    assert_true(near->heard < near->count);
    int64_t began_ns = sim_now_ns(scene.world.sim);
    world_wait(near);
    assert_true(sim_now_ns(scene.world.sim) - began_ns < 200 * WORLD_MS);
    world_expect(near, 0, near->count - 1, STATUS_OK);
    assert_int_equal(lane->pending_bytes, 0);
    free(bytes);
    world_end(&scene.world);
}

static void full_disks_refuse(void **state)
{
    (void)state;
    static struct scene scene;
    enum { LARGE = 400000, COUNT = 12 };
    scene_begin(&scene, 14);
    uint8_t *bytes = calloc(1, LARGE);
    assert_non_null(bytes);
    struct slice set[] = {SLICE_LITERAL("set"), SLICE_LITERAL("large"), slice_of(bytes, LARGE)};
    struct sim_disk *disk = sim_node_disk(scene.world.sim, (int)scene.leader - 1);
    sim_disk_set_quota(disk, sim_disk_used(disk) + 1);
    for (int i = 0; i < COUNT; i++) {
        (void)world_command(scene.client, 1, set, 3);
        append_many(scene.client, 1);
        world_run_ms(&scene.world, 20);
    }
    world_wait(scene.client);
    world_expect(scene.client, 2 * COUNT - 2, 2 * COUNT - 2, STATUS_NOSPACE);
    sim_disk_set_quota(disk, 0);
    append_many(scene.client, 1);
    world_wait(scene.client);
    world_expect(scene.client, 2 * COUNT, 2 * COUNT, STATUS_OK);
    free(bytes);
    world_end(&scene.world);
}

static void only_so_many_parcels_are_under_way(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 15);
    sim_node_pause(scene.world.sim, (int)scene.leader - 1, sim_now_ns(scene.world.sim) + 250 * WORLD_MS);
    uint32_t most = 0;
    for (int i = 0; i < 200; i++) {
        append_many(scene.client, 1);
        world_run_ms(&scene.world, 1);
        most = away_lane(&scene)->sent_count > most ? away_lane(&scene)->sent_count : most;
    }
    assert_int_equal(most, LANE_PARCELS);
    world_wait(scene.client);
    world_expect(scene.client, 0, 199, STATUS_OK);
    world_end(&scene.world);
}

static void the_window_of_sequences_is_kept(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 16);
    hush(&scene, true);
    append_many(scene.client, 1);
    world_run_ms(&scene.world, 20);
    away_lane(&scene)->next_sequence += MACHINE_ORIGIN_WINDOW; /* as if so many had been answered meanwhile */
    append_many(scene.client, 1);
    world_run_ms(&scene.world, 20);
    assert_int_equal(away_lane(&scene)->sent_count, 1);
    hush(&scene, false);
    world_wait(scene.client);
    world_expect(scene.client, 0, 1, STATUS_OK);
    world_end(&scene.world);
}

static void too_large_commands_are_refused(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 17);
    uint8_t *bytes = calloc(1, CLUSTER_COMMAND_BYTES);
    assert_non_null(bytes);
    struct slice set[] = {SLICE_LITERAL("set"), SLICE_LITERAL("large"), slice_of(bytes, CLUSTER_COMMAND_BYTES)};
    (void)world_command(scene.client, 1, set, 3);
    world_expect(scene.client, 0, 0, STATUS_TOO_LARGE);
    free(bytes);
    world_end(&scene.world);
}

static void consensus_finds_room_behind_requests(void **state)
{
    (void)state;
    static struct scene scene;
    enum { LARGE = 1 << 20, COUNT = 40 };
    scene_begin(&scene, 27);
    uint8_t *bytes = calloc(1, LARGE);
    assert_non_null(bytes);
    struct slice set[] = {SLICE_LITERAL("set"), SLICE_LITERAL("large"), slice_of(bytes, LARGE)};
    sim_network_clog(scene.world.sim, (int)scene.away - 1, (int)scene.leader - 1,
                     sim_now_ns(scene.world.sim) + 200 * WORLD_MS);
    struct lane *lane = away_lane(&scene);
    size_t sent_bytes = 0;
    for (int i = 0; i < COUNT; i++) {
        (void)world_command(scene.client, 1, set, 3);
        world_run_ms(&scene.world, 2);
        sent_bytes += lane->sent_bytes; /* as if each were of another shard */
        lane->sent_bytes = 0;
    }
    lane->sent_bytes = sent_bytes;
    struct transport_peer_statistics peer;
    assert_int_equal(
        transport_peer_statistics(world_node(&scene.world, scene.away)->cluster->transport, scene.leader, &peer),
        STATUS_OK);
    assert_true(peer.queued_bytes[TRANSPORT_URGENT] > PEER_QUEUED_BYTES - 2 * LARGE);
    assert_true(peer.queued_bytes[TRANSPORT_URGENT] < PEER_QUEUED_BYTES + 2 * LARGE);
    world_wait(scene.client);
    world_expect(scene.client, 0, COUNT - 1, STATUS_OK);
    free(bytes);
    world_end(&scene.world);
}

static bool found_absent(void *argument)
{
    struct scene *scene = argument;
    return world_counters(&scene->world, scene->away).doubts_absent == 1;
}

static bool leads_again(void *argument)
{
    struct scene *scene = argument;
    return lane_leads(world_lane(&scene->world, scene->leader, 1));
}

static void a_parcel_for_an_earlier_term_is_not_taken(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 28);
    struct world_node *node = world_node(&scene.world, scene.away);
    struct lane *lane = away_lane(&scene);
    sim_network_block(scene.world.sim, (int)scene.away - 1, (int)scene.leader - 1, true);
    append_many(scene.client, 1);
    world_run_ms(&scene.world, 5);
    assert_int_equal(shard_transfer(world_lane(&scene.world, scene.leader, 1)->local, scene.second), STATUS_OK);
    world_run_until(&scene.world, second_leads, &scene);
    lane->sent_count += LANE_PARCELS; /* it is not sent again at once */
    world_run_until(&scene.world, found_absent, &scene);
    cluster_look_after(node->cluster, env_monotonic_ns(node->env) + WORLD_MS);
    world_expect(scene.client, 0, 0, STATUS_NO_LEADER);
    lane->sent_count -= LANE_PARCELS;
    assert_int_equal(shard_transfer(world_lane(&scene.world, scene.second, 1)->local, scene.leader), STATUS_OK);
    world_run_until(&scene.world, leads_again, &scene);
    /* the old leader leads again, and only now gets what was sent to it first */
    uint64_t received = world_counters(&scene.world, scene.leader).received_parcels;
    sim_network_heal(scene.world.sim);
    world_run_ms(&scene.world, 2000);
    assert_true(world_counters(&scene.world, scene.leader).received_parcels > received);
    world_end(&scene.world);
}

static void reads_between_orphans_keep_their_place(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 29);
    struct world_client *here = world_client(&scene.world, scene.leader);
    sim_network_block(scene.world.sim, (int)scene.second - 1, (int)scene.leader - 1, true);
    sim_network_block(scene.world.sim, (int)scene.third - 1, (int)scene.leader - 1, true);
    append_many(here, 1);
    world_run_ms(&scene.world, 10);
    (void)world_read(here, 1); /* a batch by itself */
    world_run_ms(&scene.world, 10);
    append_many(here, 1);
    world_run_ms(&scene.world, 10);
    (void)world_read(here, 1);
    assert_int_equal(here->heard, 0);
    world_run_ms(&scene.world, 2000);
    sim_network_heal(scene.world.sim);
    world_wait(here);
    world_expect(here, 0, 3, STATUS_OK);
    assert_int_equal(here->requests[1].seen, 1);
    assert_int_equal(here->requests[3].seen, 2);
    struct shard_stats stats = leader_stats(&scene);
    assert_true(stats.orphans_executed >= 2);
    world_end(&scene.world);
}

static void several_nodes_forward_at_once(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 18);
    struct world_client *clients[] = {scene.client, world_client(&scene.world, scene.leader),
                                      world_client(&scene.world, scene.second), world_client(&scene.world, scene.third),
                                      world_client(&scene.world, scene.away)};
    for (int i = 0; i < 100; i++) {
        append_many(clients[i % 5], 1 + i % 3);
        (void)world_read(clients[(i + 2) % 5], 1);
        world_run_ms(&scene.world, i % 2);
    }
    for (int i = 0; i < 5; i++) {
        world_wait(clients[i]);
        world_expect(clients[i], 0, clients[i]->count - 1, STATUS_OK);
    }
    world_end(&scene.world);
}

/* A parcel with one append, as the node made it in an earlier life. */
static void forward_by_hand(struct scene *scene, uint64_t start, uint64_t sequence, const char *word)
{
    struct cluster *cluster = world_node(&scene->world, scene->leader)->cluster;
    struct buffer payload = {0};
    struct forward_head head = {.shard = 1,
                                .count = 1,
                                .logged = 1,
                                .parcel = 1 << 30,
                                .term = world_lane(&scene->world, scene->leader, 1)->term,
                                .start = start,
                                .sequence = sequence,
                                .settled_below = 1};
    forward_head_put(buffer_reserve(&payload, FORWARD_HEAD_BYTES), &head);
    payload.size = FORWARD_HEAD_BYTES;
    buffer_append(&payload, (uint8_t[]){1, 0}, 2); /* logged; of nobody whose order counts */
    struct slice argv[] = {SLICE_LITERAL("append"), SLICE_LITERAL("other"), slice_from_string(word)};
    struct command command = {command_by_id(COMMAND_APPEND), argv, 3, RESP2};
    command_encode(&payload, &command);
    struct peer *peer = peer_find(cluster, scene->away);
    assert_int_equal(remote_receive(cluster, peer, peer->generation, buffer_slice(&payload)), STATUS_OK);
    buffer_deinit(&payload);
    world_run_ms(&scene->world, 50);
}

static void what_a_dead_process_sent_comes_too_late(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 19);
    append_many(scene.client, 2);
    world_run_ms(&scene.world, 1);
    world_kill(&scene.world, scene.away, SIM_CRASH_KILL);
    world_run_ms(&scene.world, 50);
    world_start(&scene.world, scene.away);
    struct world_client *next = world_client(&scene.world, scene.away);
    append_many(next, 1);
    world_wait(next);
    uint64_t repeated = leader_stats(&scene).repeated;
    forward_by_hand(&scene, 1, 3, "late");
    assert_int_equal(leader_stats(&scene).repeated, repeated + 1);
    forward_by_hand(&scene, 2, 50, "new");
    forward_by_hand(&scene, 2, 50, "new");
    assert_int_equal(leader_stats(&scene).repeated, repeated + 2);
    struct slice get[] = {SLICE_LITERAL("get"), SLICE_LITERAL("other")};
    (void)world_command(next, 1, get, 2);
    world_wait(next);
    assert_true(starts_with(buffer_slice(&next->reply), "$3\r\nnew\r\n"));
    world_end(&scene.world);
}

static void a_leader_that_retires_loses_nothing(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 20);
    struct world_client *here = world_client(&scene.world, scene.leader);
    append_many(here, 3);
    append_many(scene.client, 3);
    world_run_ms(&scene.world, 1);
    cluster_retire(world_node(&scene.world, scene.leader)->cluster);
    append_many(here, 3);
    append_many(scene.client, 3);
    world_wait(here);
    world_wait(scene.client);
    world_expect(here, 0, 5, STATUS_OK);
    world_run_ms(&scene.world, 200);
    assert_int_not_equal(world_leader(&scene.world, scene.away, 1), scene.leader);
    world_end(&scene.world);
}

static void what_was_overtaken_is_not_sent_again(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 21);
    struct shard *shard = world_lane(&scene.world, scene.leader, 1)->local;
    size_t limit_bytes = shard->options.pending_bytes;
    hush(&scene, true);
    shard->options.pending_bytes = 1; /* the first is refused, and nobody hears of it */
    append_many(scene.client, 1);
    world_run_ms(&scene.world, 20);
    shard->options.pending_bytes = limit_bytes;
    append_many(scene.client, 1);
    world_run_ms(&scene.world, 20);
    world_kill(&scene.world, scene.leader, SIM_CRASH_POWER);
    append_many(scene.client, 1);
    world_wait(scene.client);
    world_expect(scene.client, 0, 0, STATUS_NOT_LEADER);
    world_expect(scene.client, 1, 1, STATUS_EXECUTED);
    world_expect(scene.client, 2, 2, STATUS_OK);
    world_start(&scene.world, scene.leader);
    world_end(&scene.world);
}

static void answers_without_sense_are_a_doubt(void **state)
{
    (void)state;
    static struct scene scene;
    static const struct answer_head bad[] = {{.place = 9, .outcome = FORWARD_UNCERTAIN},
                                             {.place = 0, .outcome = FORWARD_REPLIED},
                                             {.place = 0, .outcome = FORWARD_OUTCOMES}};
    scene_begin(&scene, 22);
    hush(&scene, true);
    struct cluster *cluster = world_node(&scene.world, scene.away)->cluster;
    struct peer *peer = peer_find(cluster, scene.leader);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        append_many(scene.client, 2);
        world_run_ms(&scene.world, 20);
        uint8_t payload[ANSWERS_HEAD_BYTES + ANSWER_HEAD_BYTES];
        answers_head_put(payload, 1, away_lane(&scene)->next_parcel - 1);
        answer_head_put(payload + ANSWERS_HEAD_BYTES, &bad[i]);
        assert_int_equal(lane_receive_answers(cluster, peer, slice_of(payload, sizeof(payload))), STATUS_CORRUPT);
        hush(&scene, false);
        world_wait(scene.client);
        world_expect(scene.client, 0, 2 * (int)i + 1, STATUS_EXECUTED);
        hush(&scene, true);
    }
    /* a request that is returned twice is not settled twice */
    append_many(scene.client, 2);
    world_run_ms(&scene.world, 20);
    uint8_t payload[ANSWERS_HEAD_BYTES + 2 * ANSWER_HEAD_BYTES];
    answers_head_put(payload, 1, away_lane(&scene)->next_parcel - 1);
    answer_head_put(payload + ANSWERS_HEAD_BYTES, &(struct answer_head){.outcome = FORWARD_RETURNED});
    answer_head_put(payload + ANSWERS_HEAD_BYTES + ANSWER_HEAD_BYTES,
                    &(struct answer_head){.outcome = FORWARD_RETURNED});
    assert_int_equal(lane_receive_answers(cluster, peer, slice_of(payload, sizeof(payload))), STATUS_CORRUPT);
    hush(&scene, false);
    world_wait(scene.client);
    world_end(&scene.world);
}

static void parcels_without_sense_are_refused(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 23);
    struct cluster *cluster = world_node(&scene.world, scene.leader)->cluster;
    struct peer *peer = peer_find(cluster, scene.away);
    struct buffer payload = {0};
    /* a write that says that it is a read, and would go without its marker */
    struct forward_head head = {.shard = 1, .count = 1, .parcel = 1 << 30, .term = scene.term, .start = 1};
    forward_head_put(buffer_reserve(&payload, FORWARD_HEAD_BYTES), &head);
    payload.size = FORWARD_HEAD_BYTES;
    buffer_append_byte(&payload, 0);
    struct slice argv[] = {SLICE_LITERAL("append"), SLICE_LITERAL("words"), SLICE_LITERAL("bad")};
    struct command command = {command_by_id(COMMAND_APPEND), argv, 3, RESP2};
    command_encode(&payload, &command);
    assert_int_equal(remote_receive(cluster, peer, peer->generation, buffer_slice(&payload)), STATUS_CORRUPT);
    assert_int_equal(peer->parcels, 1); /* it is answered */
    world_run_ms(&scene.world, 20);
    assert_int_equal(peer->parcels, 0);
    /* more than any honest node has under way */
    peer->parcels = 2 * (LANE_PARCELS + 1);
    payload.data[FORWARD_HEAD_BYTES] = 1;
    assert_int_equal(remote_receive(cluster, peer, peer->generation, buffer_slice(&payload)), STATUS_FULL);
    peer->parcels = 0;
    buffer_deinit(&payload);
    append_many(scene.client, 1);
    world_wait(scene.client);
    world_end(&scene.world);
}

static void a_leader_whose_disk_fails(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 24);
    append_many(scene.client, 3);
    world_wait(scene.client);
    struct sim_disk *disk = sim_node_disk(scene.world.sim, (int)scene.leader - 1);
    sim_disk_add_fault(disk,
                       &(struct sim_disk_fault){.kinds = SIM_DISK_SYNC, .status = STATUS_IO, .times = UINT64_MAX});
    append_many(scene.client, 3);
    world_run_ms(&scene.world, 30);
    assert_true(world_node(&scene.world, scene.leader)->failed);
    sim_disk_clear_faults(disk);
    world_kill(&scene.world, scene.leader, SIM_CRASH_POWER);
    append_many(scene.client, 1);
    world_wait(scene.client);
    world_expect(scene.client, 6, 6, STATUS_OK);
    world_start(&scene.world, scene.leader);
    world_end(&scene.world);
}

static bool read_here(struct scene *scene, uint64_t id, bool strong, struct buffer *out, enum cluster_way *ret_way)
{
    struct slice argv[] = {SLICE_LITERAL("get"), SLICE_LITERAL("words")};
    struct command command = {command_by_id(COMMAND_GET), argv, 2, RESP2};
    struct cluster *cluster = world_node(&scene->world, id)->cluster;
    buffer_clear(out);
    struct resp_writer writer = resp_writer_to(out, RESP2);
    return strong ? cluster_read(cluster, 1, &command, &writer, ret_way)
                  : cluster_read_here(cluster, 1, &command, &writer);
}

static void reads_of_what_is_here(void **state)
{
    (void)state;
    static struct scene scene;
    struct buffer reply = {0};
    enum cluster_way way = CLUSTER_LOGGED;
    scene_begin(&scene, 25);
    append_many(scene.client, 1);
    world_wait(scene.client);
    world_run_ms(&scene.world, 200);
    assert_true(read_here(&scene, scene.second, false, &reply, &way));
    assert_true(starts_with(buffer_slice(&reply), "$8\r\n"));
    assert_false(read_here(&scene, scene.away, false, &reply, &way));
    assert_int_equal(reply.size, 0);
    /* no lease: a majority must be asked */
    assert_false(read_here(&scene, scene.leader, true, &reply, &way));
    assert_int_equal(way, CLUSTER_PLAIN);
    /* without the others it still answers, old */
    part_leader(&scene, true);
    world_run_ms(&scene.world, 3000);
    append_many(scene.client, 1);
    world_wait(scene.client);
    assert_true(read_here(&scene, scene.leader, false, &reply, &way));
    assert_true(starts_with(buffer_slice(&reply), "$8\r\n"));
    buffer_deinit(&reply);
    world_end(&scene.world);
}

static void reads_by_lease(void **state)
{
    (void)state;
    static struct scene scene;
    struct buffer reply = {0};
    enum cluster_way way;
    scene.world.lease_reads = true;
    scene_begin(&scene, 26);
    append_many(scene.client, 1);
    world_wait(scene.client);
    world_run_ms(&scene.world, 200);
    assert_true(read_here(&scene, scene.leader, true, &reply, &way));
    assert_true(starts_with(buffer_slice(&reply), "$8\r\n"));
    assert_false(read_here(&scene, scene.second, true, &reply, &way));
    assert_false(read_here(&scene, scene.away, true, &reply, &way));
    /* once it has heard of another leader it does not trust its lease */
    lane_led_by(world_lane(&scene.world, scene.leader, 1), scene.second, scene.term + 1);
    assert_false(read_here(&scene, scene.leader, true, &reply, &way));
    part_leader(&scene, true);
    world_run_ms(&scene.world, 1500);
    assert_false(read_here(&scene, scene.leader, true, &reply, &way));
    buffer_deinit(&reply);
    world_end(&scene.world);
}

/* ---- requests that meet a transaction's lock at the leader ---- */

/* A transaction of this shard alone that is prepared to write a key, and is open for long. */
static void prepare(struct scene *scene, struct world_client *client, const char *key)
{
    char epoch[24];
    (void)snprintf(epoch, sizeof(epoch), "%llu", (unsigned long long)scene->term);
    struct slice open[] = {SLICE_LITERAL("COHORT.TXN.OPEN"), SLICE_LITERAL("t"),
                           slice_from_string(epoch),         SLICE_LITERAL("2"),
                           SLICE_LITERAL("600000"),          SLICE_LITERAL("1")};
    (void)world_internal(client, 1, COMMAND_COHORT_TXN_OPEN, open, 6);
    struct slice argv[] = {SLICE_LITERAL("COHORT.TXN.PREPARE"),
                           SLICE_LITERAL("t"),
                           SLICE_LITERAL("1"),
                           slice_from_string(epoch),
                           SLICE_LITERAL("2"),
                           SLICE_LITERAL("NOW"),
                           SLICE_LITERAL("1"),
                           SLICE_LITERAL("1"),
                           SLICE_LITERAL("0"),
                           SLICE_LITERAL("1"),
                           slice_from_string(key),
                           SLICE_LITERAL("\001v")};
    (void)world_internal(client, 1, COMMAND_COHORT_TXN_PREPARE, argv, 12);
    world_wait(client);
    assert_non_null(strstr((const char *)client->reply.data, "YES"));
}

static void give_up(struct scene *scene, struct world_client *client)
{
    char epoch[24];
    (void)snprintf(epoch, sizeof(epoch), "%llu", (unsigned long long)scene->term);
    struct slice argv[] = {SLICE_LITERAL("COHORT.TXN.DECIDE"), SLICE_LITERAL("t"), slice_from_string(epoch),
                           SLICE_LITERAL("ABORT"), SLICE_LITERAL("given up")};
    (void)world_internal(client, 1, COMMAND_COHORT_TXN_DECIDE, argv, 5);
}

static void set_other(struct world_client *client)
{
    struct slice argv[] = {SLICE_LITERAL("set"), SLICE_LITERAL("other"), SLICE_LITERAL("1")};
    (void)world_command(client, 1, argv, 3);
}

/* What is forwarded and meets a lock waits alone: the rest of its parcel is executed and answered, what its requester
 * asks later waits behind it, and the outcome lets both go. */
static void held_at_the_leader(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 40);
    struct world_client *neighbour = world_client(&scene.world, scene.away);
    prepare(&scene, neighbour, "words");
    append_many(scene.client, 1);
    set_other(neighbour);
    world_run_ms(&scene.world, 50);
    set_other(scene.client); /* another key; behind the append */
    (void)world_read(scene.client, 1);
    set_other(neighbour);
    world_run_ms(&scene.world, 200);
    world_expect(neighbour, 0, 3, STATUS_OK);
    assert_int_equal(scene.client->heard, 0);
    give_up(&scene, neighbour);
    world_wait(scene.client);
    world_expect(scene.client, 0, 2, STATUS_OK);
    assert_int_equal(scene.client->requests[2].seen, 1);
    world_end(&scene.world);
}

/* The leader is lost while it holds some of a parcel back: of that it is not known whether it was executed. */
static void lost_while_it_holds(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 41);
    struct world_client *neighbour = world_client(&scene.world, scene.away);
    prepare(&scene, neighbour, "words");
    append_many(scene.client, 1);
    set_other(neighbour); /* of the same parcel */
    world_run_ms(&scene.world, 100);
    world_expect(neighbour, 0, 2, STATUS_OK);
    world_kill(&scene.world, scene.leader, SIM_CRASH_POWER);
    world_wait(scene.client);
    world_expect(scene.client, 0, 0, STATUS_UNCERTAIN);
    append_many(scene.client, 1); /* the lock stands at the next leader, too */
    world_run_ms(&scene.world, 500);
    assert_int_equal(scene.client->heard, 1);
    give_up(&scene, neighbour);
    world_wait(scene.client);
    world_expect(scene.client, 1, 1, STATUS_OK);
    world_start(&scene.world, scene.leader);
    world_end(&scene.world);
}

/* Nothing else of the parcel was executed: then it is known that this was not, and it is sent again. */
static void lost_while_it_holds_all(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 42);
    struct world_client *neighbour = world_client(&scene.world, scene.away);
    prepare(&scene, neighbour, "words");
    append_many(scene.client, 3);
    world_run_ms(&scene.world, 100);
    world_kill(&scene.world, scene.leader, SIM_CRASH_POWER);
    world_run_ms(&scene.world, 1500);
    assert_int_equal(scene.client->heard, 0);
    give_up(&scene, neighbour);
    world_wait(scene.client);
    world_expect(scene.client, 0, 2, STATUS_OK);
    world_start(&scene.world, scene.leader);
    world_end(&scene.world);
}

/* The connection breaks while the leader holds all of a parcel back. The leader is asked, says that it has not executed
 * it, and must not do so later: it is sent again. */
static void a_connection_breaks_while_it_is_held(void **state)
{
    (void)state;
    static struct scene scene;
    scene_begin(&scene, 43);
    struct world_client *neighbour = world_client(&scene.world, scene.leader);
    prepare(&scene, neighbour, "words");
    append_many(scene.client, 3);
    world_run_ms(&scene.world, 100);
    world_reset(&scene.world, scene.leader, scene.away);
    world_run_ms(&scene.world, 500);
    assert_int_equal(scene.client->heard, 0);
    give_up(&scene, neighbour);
    world_wait(scene.client);
    world_expect(scene.client, 0, 2, STATUS_OK);
    world_end(&scene.world); /* finds each append once */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forwarded_and_answered),
        cmocka_unit_test(lost_before_it_was_executed_it_is_sent_again_before_what_came_later),
        cmocka_unit_test(lost_after_it_was_executed_it_is_told_so_and_never_executed_again),
        cmocka_unit_test(resets_while_the_leader_stays),
        cmocka_unit_test(leadership_goes_away_and_comes_back_with_requests_pending),
        cmocka_unit_test(nobody_leads_and_the_refused_are_never_executed),
        cmocka_unit_test(reads_in_doubt_fail_for_sure),
        cmocka_unit_test(a_stale_leader_keeps_the_order),
        cmocka_unit_test(nobody_announces_himself_for_the_term_of_another),
        cmocka_unit_test(who_was_not_told_of_the_leader_is_told_later),
        cmocka_unit_test(only_a_voter_is_believed_to_lead),
        cmocka_unit_test(a_lost_question_is_asked_again),
        cmocka_unit_test(answers_come_in_pieces),
        cmocka_unit_test(a_peer_that_takes_no_answers_gets_no_more),
        cmocka_unit_test(full_queues_refuse),
        cmocka_unit_test(late_queues_refuse),
        cmocka_unit_test(only_so_many_bytes_are_under_way),
        cmocka_unit_test(who_leads_has_no_more_room_than_others),
        cmocka_unit_test(full_disks_refuse),
        cmocka_unit_test(only_so_many_parcels_are_under_way),
        cmocka_unit_test(the_window_of_sequences_is_kept),
        cmocka_unit_test(too_large_commands_are_refused),
        cmocka_unit_test(consensus_finds_room_behind_requests),
        cmocka_unit_test(a_parcel_for_an_earlier_term_is_not_taken),
        cmocka_unit_test(reads_between_orphans_keep_their_place),
        cmocka_unit_test(several_nodes_forward_at_once),
        cmocka_unit_test(what_a_dead_process_sent_comes_too_late),
        cmocka_unit_test(a_leader_that_retires_loses_nothing),
        cmocka_unit_test(what_was_overtaken_is_not_sent_again),
        cmocka_unit_test(answers_without_sense_are_a_doubt),
        cmocka_unit_test(parcels_without_sense_are_refused),
        cmocka_unit_test(a_leader_whose_disk_fails),
        cmocka_unit_test(reads_of_what_is_here),
        cmocka_unit_test(reads_by_lease),
        cmocka_unit_test(held_at_the_leader),
        cmocka_unit_test(lost_while_it_holds),
        cmocka_unit_test(lost_while_it_holds_all),
        cmocka_unit_test(a_connection_breaks_while_it_is_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
