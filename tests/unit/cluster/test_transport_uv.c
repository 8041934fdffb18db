/* The same over real sockets: two nodes on one loop. */
#include "base/varint.h"
#include "cluster/transport.h"
#include "env_uv/env_uv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MS 1000000LL
enum { NODES = 2, TYPE = 50, DEADLINE_MS = 20000 };

struct node {
    struct transport *transport;
    uint64_t peer;
    bool up;
    uint64_t ups, downs, frames, bytes, next, sent;
};

static struct env *env;
static struct node nodes[NODES]; /* ids 1 and 2 */
static bool (*wanted)(void);
static void (*talk)(void); /* each turn; may be NULL */
static bool late;

static void on_up(void *owner, uint64_t peer, uint64_t generation, const struct id128 *incarnation)
{
    struct node *node = owner;
    assert_false(node->up);
    assert_int_equal(peer, node->peer);
    node->up = true;
    node->ups++;
    node->next = node->sent = 0;
}

static void on_down(void *owner, uint64_t peer, uint64_t generation)
{
    struct node *node = owner;
    assert_true(node->up);
    node->up = false;
    node->downs++;
}

static void on_frame(void *owner, uint64_t peer, uint64_t generation, uint8_t type, struct slice payload)
{
    struct node *node = owner;
    assert_true(node->up && type == TYPE && payload.size >= 8);
    assert_int_equal(get_u64(payload.data), node->next++);
    for (size_t i = 8; i < payload.size; i += 997) {
        assert_int_equal(payload.data[i], (uint8_t)(i * 3));
    }
    node->frames++;
    node->bytes += payload.size;
}

static const struct transport_events events = {.up = on_up, .down = on_down, .frame = on_frame};

static void hook(void *owner)
{
    if (talk != NULL) {
        talk();
    }
    for (int i = 0; i < NODES; i++) {
        if (nodes[i].transport != NULL) {
            transport_turn(nodes[i].transport);
        }
    }
    if (wanted()) {
        env_uv_stop(env);
    }
}

static void too_late(struct env_timer *timer)
{
    late = true;
    env_uv_stop(env);
}

static void run_until(bool (*condition)(void))
{
    struct env_timer timer;
    wanted = condition;
    late = false;
    env_timer_init(&timer, too_late);
    env_timer_start(env, &timer, env_monotonic_ns(env) + DEADLINE_MS * MS);
    env_wake(env);
    env_uv_run(env);
    env_timer_stop(env, &timer);
    assert_false(late);
}

static void start(uint64_t id, uint8_t cluster)
{
    static uint64_t starts;
    struct transport_options options;
    transport_options_init(&options);
    options.node = id;
    options.incarnation = (struct id128){{(uint8_t)id}};
    options.lineage = (struct lineage){.start = starts + 1, .joined = starts};
    starts++;
    options.cluster = (struct id128){{cluster}};
    options.host = "127.0.0.1";
    options.events = &events;
    options.owner = &nodes[id - 1];
    nodes[id - 1] = (struct node){.peer = 3 - id};
    assert_int_equal(transport_create(env, &options, &nodes[id - 1].transport), STATUS_OK);
}

static void introduce(uint64_t id)
{
    assert_int_equal(
        transport_set_peer(nodes[id - 1].transport, 3 - id, "127.0.0.1", transport_port(nodes[2 - id].transport), NULL),
        STATUS_OK);
}

static int setup(void **state)
{
    assert_int_equal(env_uv_create(&(struct env_uv_options){.log_level = ENV_LOG_ERROR}, &env), STATUS_OK);
    env_set_turn_hook(env, hook, NULL);
    memset(nodes, 0, sizeof(nodes));
    talk = NULL;
    return 0;
}

static int teardown(void **state)
{
    for (int i = 0; i < NODES; i++) {
        transport_destroy(nodes[i].transport);
    }
    env_uv_destroy(env);
    return 0;
}

static void start_both(void)
{
    start(1, 7);
    start(2, 7);
    introduce(1);
    introduce(2);
}

static bool both_up(void) { return nodes[0].up && nodes[1].up; }

static bool none_up(void) { return !nodes[0].up && !nodes[1].up; }

static enum status send(struct node *node, size_t size)
{
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    for (size_t i = 8; i < size; i++) {
        bytes[i] = (uint8_t)(i * 3);
    }
    put_u64(bytes, node->sent);
    struct slice payload = slice_of(bytes, size);
    enum status status = transport_send(node->transport, node->peer, 0, TRANSPORT_URGENT, TYPE, &payload, 1);
    node->sent += status == STATUS_OK ? 1 : 0;
    free(bytes);
    return status;
}

/* ---- tests ---- */

static bool got_hundreds(void) { return nodes[0].frames >= 500 && nodes[1].frames >= 500; }

static void talk_both(void)
{
    for (int i = 0; i < NODES; i++) {
        for (int j = 0; j < 10 && nodes[i].up; j++) {
            (void)!send(&nodes[i], 8 + (size_t)j * 500);
        }
    }
}

static void test_both_ways(void **state)
{
    start_both();
    run_until(both_up);
    talk = talk_both;
    run_until(got_hundreds);
    assert_int_equal(nodes[0].downs + nodes[1].downs, 0);
}

static bool got_both_large(void) { return nodes[0].frames == 1 && nodes[1].frames == 1; }

/* Larger than all socket buffers, in both directions at once. */
static void test_large_frames(void **state)
{
    start_both();
    run_until(both_up);
    assert_int_equal(send(&nodes[0], 24 << 20), STATUS_OK);
    assert_int_equal(send(&nodes[1], FRAME_MAXIMUM_BYTES), STATUS_OK);
    assert_int_equal(send(&nodes[1], 8), STATUS_FULL);
    run_until(got_both_large);
    assert_int_equal(nodes[0].bytes, FRAME_MAXIMUM_BYTES);
    assert_int_equal(nodes[1].bytes, 24 << 20);
}

static bool first_alone(void) { return !nodes[0].up; }

static void test_end_and_return(void **state)
{
    start_both();
    run_until(both_up);
    transport_destroy(nodes[1].transport);
    nodes[1] = (struct node){0};
    run_until(first_alone);
    assert_int_equal(nodes[0].downs, 1);
    start(2, 7);
    introduce(1);
    introduce(2);
    run_until(both_up);
    assert_int_equal(nodes[0].ups, 2);
}

static bool refused_twice(void)
{
    struct transport_statistics one, two;
    transport_statistics(nodes[0].transport, &one);
    transport_statistics(nodes[1].transport, &two);
    return two.refused[TRANSPORT_CLUSTER] >= 2 && one.refused_by_peer[TRANSPORT_CLUSTER] >= 2;
}

/* Two clusters on one machine, one with the other's address by mistake. */
static void test_two_clusters(void **state)
{
    start(1, 7);
    start(2, 8);
    introduce(1);
    introduce(2);
    run_until(refused_twice);
    assert_int_equal(nodes[0].ups + nodes[1].ups, 0);
}

/* ---- a client on the wrong port ---- */

static bool client_wrote, client_ended;
static struct env_stream *client;

static void client_readable(void *owner)
{
    uint8_t bytes[64];
    size_t size;
    enum status status = env_stream_read(env, client, bytes, sizeof(bytes), &size);
    assert_int_not_equal(status, STATUS_OK); /* not a word to strangers */
    if (status != STATUS_AGAIN) {
        env_stream_want_read(env, client, false);
        client_ended = true;
    }
}

static void client_writable(void *owner)
{
    struct iovec part = {(char[]){"PING\r\n"}, 6};
    size_t taken;
    env_stream_want_write(env, client, false);
    client_wrote = env_stream_write(env, client, &part, 1, &taken) == STATUS_OK;
}

static const struct env_stream_events client_events = {client_readable, client_writable};

static bool client_is_out(void) { return client_ended; }

static void test_redis_client(void **state)
{
    start_both();
    run_until(both_up);
    client_wrote = client_ended = false;
    assert_int_equal(env_connect(env, "127.0.0.1", transport_port(nodes[0].transport), &client), STATUS_OK);
    env_stream_attach(env, client, &client_events, NULL);
    env_stream_want_write(env, client, true);
    run_until(client_is_out);
    env_stream_close(env, client);
    struct transport_statistics statistics;
    transport_statistics(nodes[0].transport, &statistics);
    assert_true(client_wrote);
    assert_int_equal(statistics.refused[TRANSPORT_GARBAGE], 1);
    assert_true(both_up());
}

static void test_removed_peer(void **state)
{
    start_both();
    run_until(both_up);
    transport_remove_peer(nodes[0].transport, 2);
    nodes[0].up = false;
    run_until(none_up);
    assert_int_equal(nodes[1].downs, 1);
    introduce(1);
    run_until(both_up);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_both_ways),    TEST(test_large_frames), TEST(test_end_and_return),
        TEST(test_two_clusters), TEST(test_redis_client), TEST(test_removed_peer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
