/* Workers of a node: what they tell each other (workers.h), and the bounds of what is under way between them, requests
 * and answers (errand.c) and frames from and to other nodes (relay.c). */
#include "cluster_world.h"

#include "base/varint.h"
#include "cluster/forward_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

enum { AWAY = 1 /* a shard of the second worker */ };

/* ---- mailboxes ---- */

struct reader {
    struct buffer heard; /* "sender, kind, body;" */
    bool stops;          /* hears nothing more */
    struct workers *workers;
};

static void heard(void *owner, uint32_t from, uint8_t kind, struct slice body)
{
    struct reader *reader = owner;
    buffer_append_format(&reader->heard, "%u%c%.*s;", (unsigned)from, kind, (int)body.size, (const char *)body.data);
    if (reader->stops) {
        workers_listen(reader->workers, WORKERS_CLUSTER, NULL, NULL);
    }
}

static void tell(struct workers *from, uint32_t to, enum workers_room room, char kind, const char *text)
{
    struct slice parts[2] = {SLICE_LITERAL("<"), slice_from_string(text)};
    workers_tell(from, to, room, (uint8_t)kind, parts, 2);
}

static void expect_heard(struct reader *reader, const char *expected)
{
    buffer_append_byte(&reader->heard, '\0');
    assert_string_equal((const char *)reader->heard.data, expected);
    buffer_clear(&reader->heard);
}

static void records_come_in_order_and_each_once(void **state)
{
    (void)state;
    struct sim *sim = sim_create(1);
    struct env *envs[3] = {sim_node_start(sim, 0), sim_node_add_worker(sim, 0), sim_node_add_worker(sim, 0)};
    struct workers *workers[3];
    struct reader cluster = {0}, server = {0}, third = {0};
    workers_create(envs, 3, workers);
    cluster.workers = workers[1];
    workers_listen(workers[1], WORKERS_CLUSTER, heard, &cluster);
    workers_listen(workers[1], WORKERS_SERVER, heard, &server);
    workers_listen(workers[2], WORKERS_CLUSTER, heard, &third);
    tell(workers[0], 1, WORKERS_CLUSTER, 'a', "one");
    tell(workers[0], 1, WORKERS_SERVER, 'b', "");
    struct buffer *record = workers_begin(workers[0], 1, WORKERS_CLUSTER, 'c');
    tell(workers[0], 2, WORKERS_CLUSTER, 'd', "between"); /* to another: allowed */
    buffer_append_format(record, "two");
    assert_int_equal(workers_end(workers[0], 1), 3);
    sim_run_for(sim, 1000 * WORLD_MS);
    expect_heard(&cluster, ""); /* nothing leaves before it is posted */
    workers_post(workers[0]);
    workers_post(workers[0]);
    tell(workers[0], 1, WORKERS_CLUSTER, 'e', "later");
    workers_post(workers[0]);
    sim_run_for(sim, 1000 * WORLD_MS);
    expect_heard(&cluster, "0a<one;0ctwo;0e<later;");
    expect_heard(&server, "0b<;");
    expect_heard(&third, "0d<between;");
    cluster.stops = true;
    struct slice word = SLICE_LITERAL("all");
    workers_tell_all(workers[2], WORKERS_CLUSTER, 'f', &word, 1);
    workers_tell_all(workers[2], WORKERS_CLUSTER, 'g', &word, 1);
    workers_post(workers[2]);
    sim_run_for(sim, 1000 * WORLD_MS);
    expect_heard(&cluster, "2fall;"); /* who stopped listening is told nothing, also not of the same message */
    expect_heard(&third, "");
    tell(workers[0], 1, WORKERS_CLUSTER, 'h', "never posted");
    tell(workers[2], 1, WORKERS_CLUSTER, 'i', "never taken");
    workers_post(workers[2]);
    for (int i = 0; i < 3; i++) {
        workers_destroy(workers[i]);
    }
    sim_destroy(sim);
    buffer_deinit(&cluster.heard);
    buffer_deinit(&server.heard);
    buffer_deinit(&third.heard);
}

/* ---- what each keeps of the others ---- */

static void begin(struct world *world, uint64_t seed, int nodes, uint32_t shards)
{
    *world = (struct world){.workers = 2};
    world_begin(world, seed, nodes, shards, 3);
}

static void every_worker_knows_who_leads(void **state)
{
    (void)state;
    static struct world world;
    begin(&world, 5, 3, 2);
    for (uint32_t shard = 1; shard <= 2; shard++) {
        uint64_t leader = world_leader(&world, 1, shard);
        assert_int_not_equal(leader, 0);
        for (uint64_t node = 1; node <= 3; node++) {
            world_wait_for_leader(&world, node, shard);
            for (int i = 0; i < 2; i++) {
                struct cluster_replica replica;
                cluster_replica(world_node(&world, node)->workers[i].cluster, shard, &replica);
                assert_int_equal(replica.leader, leader);
            }
        }
    }
    world_end(&world);
}

/* ---- requests and answers ---- */

static struct colleague *colleague(struct world *world, uint64_t node, int of, int other)
{
    return &world_node(world, node)->workers[of].cluster->colleagues[other];
}

static struct slice large(size_t size)
{
    uint8_t *text = calloc(1, size);
    assert_non_null(text);
    return slice_of(text, size);
}

static void requests_of_a_worker_are_bounded(void **state)
{
    (void)state;
    static struct world world;
    begin(&world, 1, 3, 2);
    struct world_client *client = world_client(&world, world_leader(&world, 1, AWAY));
    struct colleague *other = colleague(&world, client->node->id, 0, 1);
    struct slice key = large(9 * MIB);
    const struct slice get[] = {SLICE_LITERAL("GET"), key};
    const struct slice small[] = {SLICE_LITERAL("GET"), SLICE_LITERAL("small")};
    for (int round = 0; round < 2; round++) {
        int first = client->count;
        for (int i = 0; i < 8; i++) {
            (void)world_command(client, AWAY, get, 2);
        }
        (void)world_command(client, AWAY, small, 2);
        world_expect(client, first + 7, first + 7, STATUS_FULL); /* at once */
        assert_in_range(other->asked_bytes, ERRAND_ASKED_BYTES - key.size, ERRAND_ASKED_BYTES);
        assert_int_equal(other->asked, 8);
        world_wait(client);
        world_expect(client, first, first + 6, STATUS_OK);
        world_expect(client, first + 8, first + 8, STATUS_OK);
        assert_int_equal(other->asked, 0);
        assert_int_equal(other->asked_bytes, 0);
    }
    free((void *)(uintptr_t)key.data);
    key = large(CLUSTER_COMMAND_BYTES);
    const struct slice too_large[] = {SLICE_LITERAL("GET"), key};
    int last = world_command(client, AWAY, too_large, 2);
    world_expect(client, last, last, STATUS_TOO_LARGE);
    free((void *)(uintptr_t)key.data);
    world_end(&world);
}

/* Who asked takes nothing for a while; then it gets no more replies, only outcomes. */
static void answers_to_a_worker_are_bounded(void **state)
{
    (void)state;
    static struct world world;
    begin(&world, 2, 3, 2);
    struct world_client *client = world_client(&world, world_leader(&world, 1, AWAY));
    struct colleague *other = colleague(&world, client->node->id, 1, 0);
    struct slice value = large(20 * MIB);
    const struct slice set[] = {SLICE_LITERAL("SET"), SLICE_LITERAL("large"), value};
    const struct slice get[] = {SLICE_LITERAL("GET"), SLICE_LITERAL("large")};
    const struct slice incr[] = {SLICE_LITERAL("INCR"), SLICE_LITERAL("number")};
    (void)world_command(client, AWAY, set, 3);
    world_wait(client);
    world_expect(client, 0, 0, STATUS_OK);
    struct sim_timing *timing = sim_timing(world.sim);
    struct sim_timing usual = *timing;
    timing->post_minimum_ns = timing->post_maximum_ns = 30 * WORLD_MS;
    for (int i = 0; i < 6; i++) {
        (void)world_command(client, AWAY, get, 2);
    }
    (void)world_command(client, AWAY, incr, 2);
    size_t most = 0;
    while (!world_done(client)) {
        assert_true(sim_step(world.sim));
        most = other->owed_bytes > most ? other->owed_bytes : most;
    }
    world_expect(client, 1, 4, STATUS_OK);
    world_expect(client, 5, 6, STATUS_FULL);
    world_expect(client, 7, 7, STATUS_EXECUTED);
    assert_in_range(most, ERRAND_OWED_BYTES, ERRAND_OWED_BYTES + value.size + 1024);
    *timing = usual;
    world_run_ms(&world, 1000);
    assert_true(other->owed_bytes < MIB); /* told of so many at a time */
    (void)world_command(client, AWAY, get, 2);
    world_wait(client);
    world_expect(client, 8, 8, STATUS_OK);
    free((void *)(uintptr_t)value.data);
    world_end(&world);
}

/* ---- frames ---- */

/* An answer to what nobody asked: taken and forgotten. */
static struct slice stray_answer(size_t size)
{
    struct slice frame = large(size);
    answers_head_put((uint8_t *)(uintptr_t)frame.data, AWAY, UINT64_MAX);
    return frame;
}

/* A message of consensus to who does not vote in the shard: the same. */
static struct slice stray_message(uint64_t from, size_t size)
{
    struct slice frame = large(size);
    uint8_t *at = (uint8_t *)(uintptr_t)frame.data;
    put_u32(at, AWAY);
    put_u32(at + 4, (uint32_t)size - 8);
    at[8] = 1;
    at[9] = (uint8_t)from;
    return frame;
}

/* The second worker of a node, and what it has of a peer that does not vote in AWAY. */
struct way {
    struct world world;
    struct cluster *cluster;
    struct peer *peer;
};

static struct way *way_begin(uint64_t seed)
{
    struct way *way = calloc(1, sizeof(*way));
    assert_non_null(way);
    begin(&way->world, seed, 5, 1);
    uint64_t to = world_stranger(&way->world, AWAY);
    way->cluster = world_part_of(&way->world, to % 5 + 1, AWAY);
    way->peer = peer_find(way->cluster, to);
    world_run_ms(&way->world, 1000);
    assert_true(way->peer->relaying_bytes < RELAY_TELL_BYTES);
    return way;
}

static void way_end(struct way *way)
{
    world_end(&way->world);
    free(way);
}

static enum status way_send(struct way *way, uint8_t type, struct slice frame)
{
    env_wake(way->cluster->env);
    return relay_send(way->cluster, way->peer, way->peer->generation, TRANSPORT_URGENT, type, &frame, 1);
}

/* Returns how many found room. */
static int way_fill(struct way *way, uint8_t type, struct slice frame)
{
    int count = 0;
    enum status status;
    while ((status = way_send(way, type, frame)) == STATUS_OK) {
        count++;
        assert_true(count < 1000);
    }
    assert_int_equal(status, STATUS_FULL);
    return count;
}

static void frames_of_a_worker_to_a_peer_are_bounded(void **state)
{
    (void)state;
    struct way *way = way_begin(3);
    struct slice answer = stray_answer(MIB), huge = stray_answer(20 * MIB);
    struct slice message = stray_message(way->cluster->options.node, MIB);
    struct slice word = stray_answer(ANSWERS_HEAD_BYTES);
    for (int round = 0; round < 2; round++) {
        size_t untold = way->peer->relaying_bytes;
        int answers = way_fill(way, NODE_ANSWERS, answer);
        assert_int_equal(answers, (RELAY_BYTES - untold) / MIB);
        assert_int_equal(way_send(way, NODE_LEADS, answer), STATUS_FULL);
        int messages = way_fill(way, NODE_RAFT, message);
        assert_int_equal(answers + messages, (RELAY_RAFT_BYTES - untold) / MIB);
        assert_int_equal(way_send(way, NODE_RAFT_BULK, message), STATUS_FULL);
        world_run_ms(&way->world, 2000);
        assert_true(way->peer->relaying_bytes < RELAY_TELL_BYTES);
    }
    assert_int_equal(way_send(way, NODE_ANSWERS, huge), STATUS_OK); /* one of any size, when nothing is on its way */
    assert_int_equal(way_send(way, NODE_ANSWERS, word), STATUS_FULL);
    world_run_ms(&way->world, 2000);
    assert_int_equal(way_send(way, NODE_ANSWERS, word), STATUS_OK);
    free((void *)(uintptr_t)answer.data);
    free((void *)(uintptr_t)huge.data);
    free((void *)(uintptr_t)message.data);
    free((void *)(uintptr_t)word.data);
    way_end(way);
}

/* The peer takes nothing: parcels and answers wait at the first worker, within the sender's bound, until the
 * connection is lost. */
static void frames_for_a_peer_that_takes_none_wait_and_are_forgotten(void **state)
{
    (void)state;
    struct way *way = way_begin(4);
    uint64_t node = way->cluster->options.node, to = way->peer->node;
    uint64_t generation = way->peer->generation;
    struct peer *at_first = peer_find(world_node(&way->world, node)->cluster, to);
    struct slice answer = stray_answer(MIB);
    int sent = 0;
    world_part(&way->world, node, to, true);
    for (int i = 0; i < 50; i++) {
        sent += way_fill(way, NODE_ANSWERS, answer);
        assert_true(way->peer->relaying_bytes <= RELAY_BYTES);
        world_run_ms(&way->world, 2);
    }
    assert_false(list_empty(&at_first->relayed));
    assert_in_range(sent * MIB, PEER_QUEUED_BYTES + RELAY_BYTES, PEER_QUEUED_BYTES + RELAY_BYTES + 2 * MIB);
    world_part(&way->world, node, to, false);
    world_reset(&way->world, node, to);
    world_run_ms(&way->world, 100);
    assert_true(list_empty(&at_first->relayed));
    assert_true(way->peer->relaying_bytes < RELAY_TELL_BYTES);
    assert_int_equal(relay_send(way->cluster, way->peer, generation, TRANSPORT_URGENT, NODE_ANSWERS, &answer, 1),
                     STATUS_CLOSED);
    world_run_ms(&way->world, 5000);
    assert_int_equal(way_send(way, NODE_ANSWERS, answer), STATUS_OK);
    free((void *)(uintptr_t)answer.data);
    way_end(way);
}

/* The second worker takes nothing for a while: the first stops reading from other nodes, and begins again. */
static void frames_for_a_worker_that_takes_none_are_not_read(void **state)
{
    (void)state;
    struct way *way = way_begin(5);
    uint64_t from = way->cluster->options.node, to = way->peer->node;
    struct cluster *sender = world_node(&way->world, from)->cluster;
    struct cluster *reader = world_node(&way->world, to)->cluster;
    const struct colleague *worker = colleague(&way->world, to, 0, 1);
    struct slice answer = stray_answer(MIB);
    struct sim_timing *timing = sim_timing(way->world.sim);
    struct sim_timing usual = *timing;
    timing->post_minimum_ns = timing->post_maximum_ns = 2000 * WORLD_MS;
    size_t most = 0;
    bool stopped = false;
    for (int i = 0; i < 1000; i++) {
        uint64_t generation = peer_find(sender, to)->generation;
        (void)!transport_send(sender->transport, to, generation, TRANSPORT_URGENT, NODE_ANSWERS, &answer, 1);
        env_wake(sender->env);
        world_run_ms(&way->world, 1);
        most = worker->unread_bytes > most ? worker->unread_bytes : most;
        stopped = stopped || reader->frames_unwanted;
    }
    assert_true(stopped);
    assert_in_range(most, RELAY_UNREAD_BYTES, RELAY_UNREAD_BYTES + 2 * MIB);
    *timing = usual;
    world_run_ms(&way->world, 20000);
    assert_false(reader->frames_unwanted);
    assert_true(worker->unread_bytes < RELAY_TELL_BYTES);
    free((void *)(uintptr_t)answer.data);
    way_end(way);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_in_order_and_each_once),
        cmocka_unit_test(every_worker_knows_who_leads),
        cmocka_unit_test(requests_of_a_worker_are_bounded),
        cmocka_unit_test(answers_to_a_worker_are_bounded),
        cmocka_unit_test(frames_of_a_worker_to_a_peer_are_bounded),
        cmocka_unit_test(frames_for_a_peer_that_takes_none_wait_and_are_forgotten),
        cmocka_unit_test(frames_for_a_worker_that_takes_none_are_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
