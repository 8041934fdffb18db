/* What a transport does among well-behaved nodes: connections, frames, queues, peers that come and go. */
#include "transport_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct world world;

static int setup(void **state)
{
    world_init(&world, 7);
    return 0;
}

static int teardown(void **state)
{
    world_deinit(&world);
    return 0;
}

/* ---- connections ---- */

static void test_one_connection_for_each_pair(void **state)
{
    world_start_all(&world, 5);
    world_run_ms(&world, 500);
    for (uint64_t one = 1; one <= 5; one++) {
        assert_int_equal(world_statistics(&world, one).connected, 4);
        assert_int_equal(world_statistics(&world, one).unknown, 0);
        for (uint64_t other = 1; other <= 5; other++) {
            if (other != one) {
                struct transport_peer_statistics statistics = world_peer_statistics(&world, one, other);
                struct id128 incarnation = world_incarnation(other);
                assert_true(world_connected(&world, one, other));
                assert_memory_equal(&world_link(&world, one, other)->incarnation, &incarnation, 16);
                assert_true(statistics.up && statistics.version == TRANSPORT_PROTOCOL);
                assert_int_equal(statistics.connections, 1);
                assert_true(other > one ? statistics.dials > 0 : statistics.dials == 0); /* the smaller id dials */
            }
        }
    }
}

static void test_round_trip_is_measured(void **state)
{
    sim_network(world.sim)->delay_minimum_ns = sim_network(world.sim)->delay_maximum_ns = 5 * WORLD_MS;
    world_start_all(&world, 2);
    world_run_ms(&world, 2000);
    for (uint64_t id = 1; id <= 2; id++) {
        int64_t rtt_ns = world_peer_statistics(&world, id, 3 - id).rtt_ns;
        assert_true(rtt_ns >= 10 * WORLD_MS && rtt_ns < 15 * WORLD_MS);
    }
}

static void test_restart_gives_a_new_generation(void **state)
{
    world_start_all(&world, 3);
    world_run_ms(&world, 300);
    uint64_t generation = world_link(&world, 1, 2)->generation;
    world_crash(&world, 2, SIM_CRASH_KILL);
    world_run_ms(&world, 300);
    assert_false(world_link(&world, 1, 2)->up);
    assert_int_equal(world_link(&world, 1, 2)->downs, 1);
    world_restart(&world, 2, 3);
    world_run_ms(&world, 2000);
    assert_true(world_connected(&world, 1, 2) && world_connected(&world, 2, 3));
    assert_true(world_link(&world, 1, 2)->generation > generation);
    assert_true(world_connected(&world, 1, 3));
    assert_int_equal(world_link(&world, 1, 3)->downs, 0);
}

/* Nothing says that the machine is gone; the pings that do not come back do. */
static void test_dead_machine_is_noticed(void **state)
{
    world_start_all(&world, 2);
    world_run_ms(&world, 300);
    world_crash(&world, 2, SIM_CRASH_POWER);
    world_run_ms(&world, 2500);
    assert_true(world_link(&world, 1, 2)->up);
    world_run_ms(&world, 1700);
    assert_false(world_link(&world, 1, 2)->up);
    assert_int_equal(world_logged(&world, "nothing heard for 3000 ms"), 1);
    world_restart(&world, 2, 2);
    world_run_ms(&world, 3000);
    assert_true(world_connected(&world, 1, 2));
}

/* After a restart without notice the dialer comes anew while the acceptor still holds the old connection. */
static void test_new_connection_replaces_the_old(void **state)
{
    world_start_all(&world, 2);
    world_run_ms(&world, 300);
    uint64_t generation = world_link(&world, 2, 1)->generation;
    world_crash(&world, 1, SIM_CRASH_POWER);
    world_restart(&world, 1, 2);
    world_run_ms(&world, 500);
    assert_true(world_connected(&world, 1, 2));
    assert_true(world_link(&world, 2, 1)->generation > generation);
    assert_int_equal(world_link(&world, 2, 1)->downs, 1);
    assert_int_equal(world_statistics(&world, 2).connected, 1);
}

/* Many short connections are a storm; after a long one the first attempt comes at once again. */
static void test_backoff_is_forgotten(void **state)
{
    world_start_all(&world, 2);
    for (int i = 0; i < 50; i++) {
        world_run_ms(&world, 100);
        (void)sim_network_reset(world.sim, 0, 1);
    }
    assert_true(world_peer_statistics(&world, 1, 2).dials < 15);
    world_run_ms(&world, 5000);
    assert_true(world_connected(&world, 1, 2));
    for (int i = 0; i < 5; i++) {
        (void)sim_network_reset(world.sim, 0, 1);
        world_run_ms(&world, 50);
        assert_true(world_connected(&world, 1, 2));
        world_run_ms(&world, 1000);
    }
}

/* ---- frames ---- */

static void test_frames_both_ways(void **state)
{
    world_start_all(&world, 2);
    world_run_ms(&world, 300);
    for (size_t i = 0; i < 100; i++) {
        for (uint64_t id = 1; id <= 2; id++) {
            assert_int_equal(
                world_send(world_node(&world, id), 3 - id, i % 3 == 0 ? TRANSPORT_BULK : TRANSPORT_URGENT, i * i),
                STATUS_OK);
        }
        if (i % 10 == 0) {
            env_wake(world_node(&world, 1)->env);
            world_run_ms(&world, 1);
        }
    }
    world_run_ms(&world, 1000);
    assert_int_equal(world_link(&world, 1, 2)->frames, 100);
    assert_int_equal(world_link(&world, 2, 1)->frames, 100);
    assert_int_equal(world_statistics(&world, 1).frames_sent, 100);
    assert_int_equal(world_peer_statistics(&world, 2, 1).frames_received, 100);
    assert_true(world_statistics(&world, 1).bytes_sent > 300000);
}

static void test_what_cannot_be_sent(void **state)
{
    world_prepare(&world, 1);
    world_node(&world, 1)->options.frame_bytes = 1000;
    world_prepare(&world, 2);
    world_restart(&world, 1, 2);
    world_restart(&world, 2, 2);
    struct transport *transport = world_node(&world, 1)->transport;
    struct slice part = SLICE_LITERAL("0123456789");
    assert_int_equal(transport_send(transport, 2, 0, TRANSPORT_URGENT, WORLD_TYPE, &part, 1), STATUS_CLOSED);
    assert_int_equal(transport_room(transport, 2, TRANSPORT_URGENT), 0);
    world_run_ms(&world, 300);
    uint64_t generation = world_link(&world, 1, 2)->generation;
    assert_int_equal(transport_room(transport, 2, TRANSPORT_URGENT), 1000);
    assert_int_equal(transport_send(transport, 3, 0, TRANSPORT_URGENT, WORLD_TYPE, &part, 1), STATUS_CLOSED);
    assert_int_equal(transport_send(transport, 2, generation + 1, TRANSPORT_URGENT, WORLD_TYPE, &part, 1),
                     STATUS_CLOSED);
    struct slice large = slice_of(&world, 991);
    struct slice parts[] = {part, large};
    assert_int_equal(transport_send(transport, 2, generation, TRANSPORT_URGENT, WORLD_TYPE, parts, 2),
                     STATUS_TOO_LARGE);
    struct slice endless[] = {slice_of(&world, SIZE_MAX), slice_of(&world, SIZE_MAX)};
    assert_int_equal(transport_send(transport, 2, 0, TRANSPORT_URGENT, WORLD_TYPE, endless, 2), STATUS_TOO_LARGE);
    assert_int_equal(world_send(world_node(&world, 1), 2, TRANSPORT_URGENT, 990), STATUS_TOO_LARGE);
    /* Nothing of what was refused leaves, and what follows does. */
    assert_int_equal(world_send(world_node(&world, 1), 2, TRANSPORT_URGENT, 983), STATUS_OK);
    env_wake(world_node(&world, 1)->env);
    world_run_ms(&world, 100);
    assert_int_equal(world_link(&world, 2, 1)->frames, 1);
    assert_int_equal(world_statistics(&world, 1).frames_sent, 1);
}

static uint64_t parts_seen;

static void parts_frame(void *owner, uint64_t peer, uint64_t generation, uint8_t type, struct slice payload)
{
    assert_int_equal(type, 255);
    assert_true(slice_equal(payload, slice_from_string("one, two, three")));
    parts_seen++;
}

static void test_parts_are_joined(void **state)
{
    world_prepare(&world, 1);
    world_prepare(&world, 2);
    struct transport_events events = *world_node(&world, 2)->options.events;
    events.frame = parts_frame;
    world_node(&world, 2)->options.events = &events;
    world_restart(&world, 1, 2);
    world_restart(&world, 2, 2);
    world_run_ms(&world, 300);
    struct slice parts[] = {SLICE_LITERAL("one, "), SLICE_LITERAL(""), SLICE_LITERAL("two, "), SLICE_LITERAL("three")};
    parts_seen = 0;
    assert_int_equal(transport_send(world_node(&world, 1)->transport, 2, 0, TRANSPORT_URGENT, 255, parts, 4),
                     STATUS_OK);
    env_wake(world_node(&world, 1)->env);
    world_run_ms(&world, 100);
    assert_int_equal(parts_seen, 1);
}

static void test_large_frame_in_pieces(void **state)
{
    sim_network(world.sim)->split_one_in = 3;
    world_start_all(&world, 2);
    world_run_ms(&world, 300);
    assert_int_equal(world_send(world_node(&world, 1), 2, TRANSPORT_URGENT, 3 << 20), STATUS_OK);
    assert_int_equal(world_send(world_node(&world, 1), 2, TRANSPORT_URGENT, 5), STATUS_OK);
    env_wake(world_node(&world, 1)->env);
    world_run_ms(&world, 20000);
    assert_int_equal(world_link(&world, 2, 1)->frames, 2);
}

/* ---- signals while a large frame is copied ---- */

static int copying_calls, signals_seen, signals_before;
static bool large_seen;

static void send_signal(void *owner)
{
    const struct world_node *node = world_node(&world, 1);
    struct slice part = SLICE_LITERAL("alive");
    copying_calls++;
    assert_int_equal(transport_send(node->transport, 2, 0, TRANSPORT_SIGNAL, 200, &part, 1), STATUS_OK);
    transport_beat(node->transport);
}

static void signal_or_large(void *owner, uint64_t peer, uint64_t generation, uint8_t type, struct slice payload)
{
    if (type == 200) {
        assert_true(slice_equal(payload, slice_from_string("alive")));
        signals_seen++;
        return;
    }
    assert_int_equal(payload.size, 5 << 20);
    for (size_t i = 0; i < payload.size; i++) {
        assert_int_equal(payload.data[i], i % 251);
    }
    large_seen = true;
    signals_before = signals_seen;
}

static void test_signals_go_ahead_while_a_large_frame_is_copied(void **state)
{
    world_prepare(&world, 1);
    world_prepare(&world, 2);
    struct transport_events of_sender = *world_node(&world, 1)->options.events;
    struct transport_events of_receiver = *world_node(&world, 2)->options.events;
    of_sender.copying = send_signal;
    of_receiver.frame = signal_or_large;
    world_node(&world, 1)->options.events = &of_sender;
    world_node(&world, 2)->options.events = &of_receiver;
    world_restart(&world, 1, 2);
    world_restart(&world, 2, 2);
    world_run_ms(&world, 300);
    static uint8_t large[5 << 20];
    for (size_t i = 0; i < sizeof(large); i++) {
        large[i] = (uint8_t)(i % 251);
    }
    struct slice part = slice_of(large, sizeof(large));
    copying_calls = signals_seen = 0;
    large_seen = false;
    assert_int_equal(transport_send(world_node(&world, 1)->transport, 2, 0, TRANSPORT_URGENT, 255, &part, 1),
                     STATUS_OK);
    env_wake(world_node(&world, 1)->env);
    world_run_ms(&world, 20000);
    assert_true(large_seen);
    assert_in_range(copying_calls, 4, 6); /* each megabyte */
    assert_int_equal(signals_seen, copying_calls);
    assert_int_equal(signals_before, copying_calls);
}

/* ---- one write for each peer and turn ---- */

static struct env_operations counting;
static enum status (*real_write)(struct env *env, struct env_stream *stream, const struct iovec *parts, int count,
                                 size_t *ret_size);
static int writes_in_turn, most_writes_in_turn, writes;

static enum status count_write(struct env *env, struct env_stream *stream, const struct iovec *parts, int count,
                               size_t *ret_size)
{
    writes++;
    writes_in_turn++;
    return real_write(env, stream, parts, count, ret_size);
}

static void send_twenty(struct world_node *node)
{
    most_writes_in_turn = writes_in_turn > most_writes_in_turn ? writes_in_turn : most_writes_in_turn;
    writes_in_turn = 0;
    for (int i = 0; i < 20; i++) {
        (void)world_send(node, 2, i % 2 == 0 ? TRANSPORT_BULK : TRANSPORT_URGENT, 50);
    }
}

static void test_one_write_in_a_turn(void **state)
{
    world_start_all(&world, 2);
    world_run_ms(&world, 300);
    struct world_node *node = world_node(&world, 1);
    counting = *node->env->operations;
    real_write = counting.stream_write;
    counting.stream_write = count_write;
    node->env->operations = &counting;
    node->turn = send_twenty;
    writes = 0;
    world_run_ms(&world, 3000);
    assert_int_equal(most_writes_in_turn, 1);
    assert_true(world_link(&world, 2, 1)->frames >= 20 * (uint64_t)(writes - 2));
}

/* ---- full queues, priorities, backpressure ---- */

static void test_slow_peer_costs_bounded_memory(void **state)
{
    world_prepare(&world, 1);
    world_prepare(&world, 2);
    world_node(&world, 1)->options.queue_bytes[TRANSPORT_BULK] = 1 << 20;
    world_restart(&world, 1, 2);
    world_restart(&world, 2, 2);
    world_run_ms(&world, 300);
    struct world_node *one = world_node(&world, 1);
    uint64_t sent = 0;
    transport_want_frames(world_node(&world, 2)->transport, 1, false);
    for (int i = 0; i < 300; i++) {
        while (world_send(one, 2, TRANSPORT_BULK, 50000) == STATUS_OK) {
            sent++;
        }
        assert_true(world_peer_statistics(&world, 1, 2).queued_bytes[TRANSPORT_BULK] <= 1 << 20);
        world_run_ms(&world, 100); /* 30 s: longer than any deadline */
    }
    assert_true(world_connected(&world, 1, 2));
    assert_int_equal(world_link(&world, 1, 2)->rooms, 0);
    assert_true(world_statistics(&world, 1).full >= 300);
    assert_true(transport_room(one->transport, 2, TRANSPORT_BULK) < 50000);
    uint64_t before = world_link(&world, 2, 1)->frames;
    transport_want_frames(world_node(&world, 2)->transport, 1, true);
    assert_int_equal(world_link(&world, 2, 1)->frames, before); /* from the loop only */
    world_run_ms(&world, 3000);
    assert_int_equal(world_link(&world, 2, 1)->frames, sent);
    assert_int_equal(world_link(&world, 1, 2)->rooms, 1);
    assert_int_equal(world_link(&world, 1, 2)->downs, 0);
}

/* Frames that came in one piece with those before are held back too when the caller says so in a callback. */
static uint64_t pausing_seen;

static void pausing_frame(void *owner, uint64_t peer, uint64_t generation, uint8_t type, struct slice payload)
{
    pausing_seen++;
    transport_want_frames(world_node(&world, 2)->transport, 1, false);
}

static void test_pause_in_the_middle(void **state)
{
    world_prepare(&world, 1);
    world_prepare(&world, 2);
    struct transport_events events = *world_node(&world, 2)->options.events;
    events.frame = pausing_frame;
    world_node(&world, 2)->options.events = &events;
    world_restart(&world, 1, 2);
    world_restart(&world, 2, 2);
    world_run_ms(&world, 300);
    pausing_seen = 0;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(world_send(world_node(&world, 1), 2, TRANSPORT_URGENT, 10), STATUS_OK);
    }
    env_wake(world_node(&world, 1)->env);
    for (uint64_t expected = 1; expected <= 10; expected++) {
        world_run_ms(&world, 20); /* not because of the next ping */
        assert_int_equal(pausing_seen, expected);
        transport_want_frames(world_node(&world, 2)->transport, 1, true);
    }
    world_run_ms(&world, 1000);
    assert_int_equal(pausing_seen, 10);
    assert_true(world_connected(&world, 1, 2));
}

/* A heartbeat does not wait for the snapshot that is queued before it, only for the frames that the kernel has. */
static void test_bulk_does_not_delay_urgent(void **state)
{
    sim_network(world.sim)->buffer_bytes = 64 << 10;
    world_start_all(&world, 2);
    world_run_ms(&world, 300);
    struct world_node *one = world_node(&world, 1);
    while (world_send(one, 2, TRANSPORT_BULK, 50000) == STATUS_OK) {
    }
    env_wake(one->env);
    world_run_ms(&world, 3);
    assert_int_equal(world_send(one, 2, TRANSPORT_URGENT, 10), STATUS_OK);
    while (world_link(&world, 2, 1)->next_in[TRANSPORT_URGENT] == 0 && sim_step(world.sim)) {
    }
    uint64_t overtaken = world_peer_statistics(&world, 1, 2).queued_bytes[TRANSPORT_BULK];
    assert_true(overtaken > 3 << 20);
    world_run_ms(&world, 5000);
    assert_int_equal(world_link(&world, 2, 1)->next_in[TRANSPORT_BULK], one->links[2].next_out[TRANSPORT_BULK]);
}

/* Nor for what is large, of whatever priority: that travels in parts, and both large frames arrive whole. */
static void test_signals_go_between_the_parts(void **state)
{
    sim_network(world.sim)->buffer_bytes = 64 << 10;
    world_start_all(&world, 2);
    world_run_ms(&world, 300);
    struct world_node *one = world_node(&world, 1);
    assert_int_equal(world_send(one, 2, TRANSPORT_BULK, 3 << 20), STATUS_OK);
    assert_int_equal(world_send(one, 2, TRANSPORT_URGENT, 20 << 20), STATUS_OK);
    for (uint64_t i = 0; i < 10; i++) {
        env_wake(one->env);
        world_run_ms(&world, 3);
        assert_int_equal(world_send(one, 2, TRANSPORT_SIGNAL, 10), STATUS_OK);
        world_run_ms(&world, 10);
        assert_int_equal(world_link(&world, 2, 1)->next_in[TRANSPORT_SIGNAL], i + 1);
    }
    assert_int_equal(world_link(&world, 2, 1)->frames, 10);
    assert_true(transport_queued(one->transport, 2, TRANSPORT_URGENT) > 1 << 20);
    world_run_ms(&world, 20000);
    assert_int_equal(world_link(&world, 2, 1)->next_in[TRANSPORT_URGENT], 1);
    assert_int_equal(world_link(&world, 2, 1)->next_in[TRANSPORT_BULK], 1);
    assert_int_equal(transport_queued(one->transport, 2, TRANSPORT_URGENT), 0);
}

/* ---- peers that change ---- */

static void test_peer_is_removed_and_comes_back(void **state)
{
    world_start_all(&world, 3);
    world_run_ms(&world, 300);
    struct transport *one = world_node(&world, 1)->transport;
    transport_remove_peer(one, 2);
    transport_remove_peer(one, 2);
    world_link(&world, 1, 2)->up = false; /* the caller's own doing: no `down` */
    world_run_ms(&world, 3000);
    assert_false(world_link(&world, 2, 1)->up);
    assert_int_equal(world_link(&world, 1, 2)->downs, 0);
    assert_int_equal(world_send(world_node(&world, 1), 2, TRANSPORT_URGENT, 1), STATUS_CLOSED);
    assert_true(world_connected(&world, 1, 3));
    struct id128 incarnation = world_incarnation(2);
    world_allow(&world, 1, 2, &incarnation);
    world_run_ms(&world, 1000);
    assert_true(world_connected(&world, 1, 2));
}

/* The other end of a pair removes: the dialer is refused, and knows why. */
static void test_removed_at_the_acceptor(void **state)
{
    world_start_all(&world, 2);
    world_run_ms(&world, 300);
    transport_remove_peer(world_node(&world, 2)->transport, 1);
    world_link(&world, 2, 1)->up = false;
    world_run_ms(&world, 10000);
    assert_false(world_link(&world, 1, 2)->up);
    assert_true(world_node(&world, 1)->refused_by_peer[TRANSPORT_STRANGER] > 3);
    assert_int_equal(world_peer_statistics(&world, 1, 2).refused_by_peer, TRANSPORT_STRANGER);
    assert_int_equal(world_logged(&world, "it does not know node 1 as a member of the cluster; add it first"), 1);
    assert_int_equal(world_logged(&world, "refused node 1"), 1);
}

static void test_peer_moves(void **state)
{
    struct id128 three = world_incarnation(3);
    world_start_all(&world, 2);
    world_prepare(&world, 3);
    world_node(&world, 3)->options.port = WORLD_PORT + 1;
    world_restart(&world, 3, 2);
    world_allow(&world, 1, 3, &three); /* where it is not */
    world_run_ms(&world, 3000);
    assert_false(world_connected(&world, 1, 3));
    assert_int_equal(world_logged(&world, "cannot reach node 3"), 1);
    assert_int_equal(
        transport_set_peer(world_node(&world, 1)->transport, 3, sim_node_address(world.sim, 2), WORLD_PORT + 1, &three),
        STATUS_OK);
    world_run_ms(&world, 20);
    assert_true(world_connected(&world, 1, 3));
}

static void test_peers_that_cannot_be(void **state)
{
    world_start_all(&world, 1);
    struct transport *transport = world_node(&world, 1)->transport;
    assert_int_equal(transport_set_peer(transport, 0, "10.0.0.2", 1, NULL), STATUS_INVALID);
    assert_int_equal(transport_set_peer(transport, 1, "10.0.0.2", 1, NULL), STATUS_INVALID);
    assert_int_equal(transport_set_peer(transport, 2, "10.0.0.2", 0, NULL), STATUS_INVALID);
    assert_int_equal(transport_set_peer(transport, 2, "10.0.0.2", 65536, NULL), STATUS_INVALID);
    char host[TRANSPORT_HOST_BYTES + 1] = {0};
    memset(host, '1', TRANSPORT_HOST_BYTES);
    assert_int_equal(transport_set_peer(transport, 2, host, 1, NULL), STATUS_INVALID);
    for (uint64_t id = 2; id < 2 + TRANSPORT_PEERS; id++) {
        assert_int_equal(transport_set_peer(transport, id, "10.0.0.2", 1, NULL), STATUS_OK);
    }
    assert_int_equal(transport_set_peer(transport, 1000, "10.0.0.2", 1, NULL), STATUS_FULL);
    assert_int_equal(transport_set_peer(transport, 2, "10.0.0.3", 1, NULL), STATUS_OK);
    transport_remove_peer(transport, 30);
    assert_int_equal(transport_set_peer(transport, 1000, "10.0.0.2", 1, NULL), STATUS_OK);
}

static void test_senseless_options(void **state)
{
    world_start_all(&world, 1);
    struct transport *transport;
    struct transport_options options = world_node(&world, 1)->options;
    assert_int_equal(transport_create(world_node(&world, 1)->env, &options, &transport), STATUS_BUSY);
    options.node = 0;
    assert_int_equal(transport_create(world_node(&world, 1)->env, &options, &transport), STATUS_INVALID);
    options = world_node(&world, 1)->options;
    options.version_lowest = TRANSPORT_PROTOCOL + 1;
    assert_int_equal(transport_create(world_node(&world, 1)->env, &options, &transport), STATUS_INVALID);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_one_connection_for_each_pair),
        TEST(test_round_trip_is_measured),
        TEST(test_restart_gives_a_new_generation),
        TEST(test_dead_machine_is_noticed),
        TEST(test_new_connection_replaces_the_old),
        TEST(test_backoff_is_forgotten),
        TEST(test_frames_both_ways),
        TEST(test_what_cannot_be_sent),
        TEST(test_parts_are_joined),
        TEST(test_large_frame_in_pieces),
        TEST(test_signals_go_ahead_while_a_large_frame_is_copied),
        TEST(test_signals_go_between_the_parts),
        TEST(test_one_write_in_a_turn),
        TEST(test_slow_peer_costs_bounded_memory),
        TEST(test_pause_in_the_middle),
        TEST(test_bulk_does_not_delay_urgent),
        TEST(test_peer_is_removed_and_comes_back),
        TEST(test_removed_at_the_acceptor),
        TEST(test_peer_moves),
        TEST(test_peers_that_cannot_be),
        TEST(test_senseless_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
