/* Messages between workers and nodes (messages.c). Each publisher numbers what it says; whoever hears it checks the
 * invariants: nothing twice, nothing that was not said, each publisher's in its order. */
#include "cluster_world.h"

#include "base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

enum { PUBLISHERS = WORLD_NODES * WORLD_WORKERS, EVENTS = 64 };

static struct world world;

/* What each worker has heard, by publisher: how many, and the last number. A worker that starts anew begins anew. */
static struct heard {
    uint64_t lives;
    int count[PUBLISHERS], last[PUBLISHERS];
    int events;
    char last_event[EVENTS];
} heard[WORLD_NODES][WORLD_WORKERS];
static int said[PUBLISHERS];

static int place_of(const struct world_worker *worker) { return (int)(worker - worker->node->workers); }

static struct heard *heard_by(const struct world_worker *worker)
{
    struct heard *by = &heard[worker->node->id - 1][place_of(worker)];
    if (by->lives != worker->node->lives) {
        *by = (struct heard){.lives = worker->node->lives};
    }
    return by;
}

static void hears(struct world_worker *worker, const struct message *message)
{
    struct heard *by = heard_by(worker);
    if (message->kind == MESSAGE_EVENT) {
        by->events++;
        (void)snprintf(by->last_event, EVENTS, "%.*s %.*s", (int)message->body.size, (const char *)message->body.data,
                       (int)message->subject.size, (const char *)message->subject.data);
        return;
    }
    char text[16] = "";
    int publisher = -1;
    int number = -1;
    memcpy(text, message->body.data, message->body.size < 15 ? message->body.size : 15);
    assert_int_equal(sscanf(text, "%d:%d", &publisher, &number), 2);
    assert_in_range(publisher, 0, PUBLISHERS - 1);
    assert_in_range(number, by->last[publisher] + 1, said[publisher]);
    by->last[publisher] = number;
    by->count[publisher]++;
}

static void begin(uint64_t seed, int nodes, int workers)
{
    memset(heard, 0, sizeof(heard));
    memset(said, 0, sizeof(said));
    world = (struct world){.workers = workers, .heard = hears};
    world_begin(&world, seed, nodes, 4, 3);
}

/* One more of this worker's, with so many bytes behind it. */
static void say_large(uint64_t node, int worker, size_t bytes)
{
    struct world_worker *from = &world_node(&world, node)->workers[worker];
    int publisher = (int)(node - 1) * WORLD_WORKERS + worker;
    uint8_t *text = calloc(1, 16 + bytes);
    int size = snprintf((char *)text, 16, "%d:%d", publisher, ++said[publisher]);
    struct message message = {MESSAGE_PUBLISHED, 0, SLICE_LITERAL("c"), slice_of(text, (size_t)size + 1 + bytes)};
    cluster_tell_colleagues(from->cluster, &message);
    cluster_tell_nodes(from->cluster, &message);
    env_wake(from->env);
    free(text);
}

static void say(uint64_t node, int worker) { say_large(node, worker, 0); }

static int count_at(uint64_t node, int worker, uint64_t by_node, int by_worker)
{
    return heard_by(&world_node(&world, node)->workers[worker])->count[(int)(by_node - 1) * WORLD_WORKERS + by_worker];
}

static void everybody_hears_everything_once(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    begin(1, 3, 2);
    for (int i = 0; i < COUNT; i++) {
        for (uint64_t node = 1; node <= 3; node++) {
            say_large(node, 0, i % 50 == 0 ? 300000 : 0);
            say(node, 1);
        }
        world_run_ms(&world, i % 3);
    }
    world_run_ms(&world, 1000);
    for (uint64_t to = 1; to <= 3; to++) {
        for (int worker = 0; worker < 2; worker++) {
            for (uint64_t from = 1; from <= 3; from++) {
                for (int by = 0; by < 2; by++) {
                    bool itself = to == from && worker == by;
                    assert_int_equal(count_at(to, worker, from, by), itself ? 0 : COUNT);
                }
            }
        }
    }
    world_end(&world);
}

/* What a node that is away would have heard is lost; what comes behind the gap is in order. */
static void what_a_lost_connection_had_is_lost(void **state)
{
    (void)state;
    begin(2, 3, 1);
    say(1, 0);
    world_run_ms(&world, 100);
    world_part(&world, 1, 2, true);
    for (int i = 0; i < 100; i++) {
        say(1, 0);
    }
    world_run_ms(&world, 100);
    assert_int_equal(count_at(2, 0, 1, 0), 1);
    assert_int_equal(count_at(3, 0, 1, 0), 101);
    world_run_ms(&world, 20000); /* the connection is given up, and what waited for it */
    world_part(&world, 1, 2, false);
    world_run_ms(&world, 20000);
    say(1, 0);
    world_run_ms(&world, 100);
    assert_int_equal(count_at(2, 0, 1, 0), 2);
    assert_int_equal(count_at(3, 0, 1, 0), 102);
    world_end(&world);
}

/* A peer that takes nothing costs bounded memory, and nobody else's messages or entries. */
static void a_slow_node_misses_messages(void **state)
{
    (void)state;
    begin(3, 3, 1);
    for (uint32_t shard = 1; shard <= 4; shard++) {
        world_let_lead(&world, 1, shard);
    }
    struct world_client *client = world_client(&world, 1);
    struct cluster *cluster = world_node(&world, 1)->cluster;
    world_part(&world, 1, 2, true);
    for (int i = 0; i < 100; i++) {
        say_large(1, 0, MIB);
        (void)world_append(client, 1 + (uint32_t)i % 4);
        world_run_ms(&world, 10);
        struct peer *peer = peer_find(cluster, 2);
        assert_in_range(peer->messages.size - peer->messages_start, 0, MESSAGES_WAITING_BYTES);
        assert_in_range(transport_queued(cluster->transport, 2, TRANSPORT_BULK), 0, MESSAGES_QUEUED_BYTES + 2 * MIB);
    }
    world_wait(client);
    world_expect(client, 0, 99, STATUS_OK);
    struct cluster_message_counters counters;
    cluster_message_counters(cluster, &counters);
    assert_in_range(counters.dropped, 60, 70);
    assert_int_equal(count_at(3, 0, 1, 0), 100);
    world_part(&world, 1, 2, false);
    world_run_ms(&world, 30000);
    say(1, 0);
    world_run_ms(&world, 1000);
    assert_int_equal(heard[1][0].last[0], 101);
    world_end(&world);
}

static void a_slow_worker_misses_messages(void **state)
{
    (void)state;
    begin(4, 1, 3);
    struct cluster *cluster = world_node(&world, 1)->workers[1].cluster;
    for (int i = 0; i < 100; i++) { /* nobody gets a turn meanwhile */
        say_large(1, 1, MIB);
    }
    struct cluster_message_counters counters;
    cluster_message_counters(cluster, &counters);
    assert_int_equal(counters.dropped, 2 * (100 - 31));
    world_run_ms(&world, 1000);
    for (int to = 0; to < 3; to += 2) {
        assert_int_equal(count_at(1, to, 1, 1), 31);
    }
    for (int i = 0; i < 100; i++) { /* what was taken is told: there is room again, for ever */
        say_large(1, 1, MIB);
        world_run_ms(&world, 100);
    }
    assert_int_equal(count_at(1, 0, 1, 1), 131);
    cluster_message_counters(cluster, &counters);
    assert_int_equal(counters.dropped, 2 * (100 - 31));
    world_end(&world);
}

/* ---- events ---- */

static void set(struct world_client *client, uint32_t shard, const char *key)
{
    struct slice argv[] = {SLICE_LITERAL("set"), slice_from_string(key), SLICE_LITERAL("1")};
    (void)world_command(client, shard, argv, 3);
    world_wait(client);
    world_run_ms(&world, 100);
}

static void expect_event(uint64_t node, int worker, int count, const char *last)
{
    const struct heard *by = heard_by(&world_node(&world, node)->workers[worker]);
    assert_int_equal(by->events, count);
    assert_string_equal(by->last_event, last);
}

/* Where the shard is led decides nothing: who wants to hear does. */
static void events_come_to_those_who_listen(void **state)
{
    (void)state;
    begin(5, 3, 2);
    struct world_client *client = world_client(&world, 1);
    for (uint32_t shard = 1; shard <= 2; shard++) {
        world_let_lead(&world, 1, shard);
    }
    set(client, 1, "a");
    expect_event(1, 0, 0, "");
    cluster_listen(world_node(&world, 2)->cluster, EVENT_STRING);
    world_run_ms(&world, 100);
    for (uint32_t shard = 1; shard <= 2; shard++) { /* of either worker */
        set(client, shard, "b");
        for (int worker = 0; worker < 2; worker++) {
            expect_event(2, worker, (int)shard, "set b");
            expect_event(3, worker, 0, "");
        }
    }
    cluster_listen(world_node(&world, 3)->cluster, EVENT_GENERIC);
    cluster_listen(world_node(&world, 2)->cluster, EVENT_EXPIRED);
    world_run_ms(&world, 100);
    struct slice argv[] = {SLICE_LITERAL("del"), SLICE_LITERAL("b")};
    (void)world_command(client, 2, argv, 2);
    world_wait(client);
    world_run_ms(&world, 100);
    expect_event(2, 1, 2, "set b");
    expect_event(3, 1, 1, "del b");
    /* a connection that is new is told, too; and a leader that is new tells */
    world_reset(&world, 1, 3);
    world_run_ms(&world, 5000);
    set(client, 2, "c");
    world_let_lead(&world, 2, 2);
    (void)world_command(client, 2, (struct slice[]){SLICE_LITERAL("del"), SLICE_LITERAL("c")}, 2);
    world_wait(client);
    world_run_ms(&world, 100);
    expect_event(3, 0, 2, "del c");
    cluster_listen(world_node(&world, 3)->cluster, 0);
    world_run_ms(&world, 100);
    set(client, 1, "d");
    expect_event(3, 0, 2, "del c");
    world_end(&world);
}

/* ---- everything at once ---- */

static void fault(struct prng *prng, int nodes)
{
    uint64_t one = 1 + prng_below(prng, (uint64_t)nodes);
    uint64_t other = 1 + prng_below(prng, (uint64_t)nodes);
    switch (prng_below(prng, 6)) {
    case 0:
        if (world_node(&world, one)->cluster != NULL) {
            world_kill(&world, one, SIM_CRASH_KILL);
        }
        break;
    case 1:
    case 2:
        if (one != other) {
            world_reset(&world, one, other);
        }
        break;
    case 3:
        if (one != other) {
            world_part(&world, one, other, prng_below(prng, 2) == 0);
        }
        break;
    default: break;
    }
    for (uint64_t id = 1; id <= (uint64_t)nodes; id++) {
        if (world_node(&world, id)->cluster == NULL && prng_below(prng, 3) == 0) {
            world_start(&world, id);
        }
    }
}

static void under_faults(uint64_t seed)
{
    enum { NODES = 3 };
    struct prng prng;
    int workers = 1 + (int)(seed % 2);
    begin(seed, NODES, workers);
    prng_seed(&prng, seed);
    for (int step = 0; step < 300; step++) {
        for (uint64_t id = 1; id <= NODES; id++) {
            if (world_node(&world, id)->cluster != NULL) {
                say_large(id, (int)prng_below(&prng, (uint64_t)workers), prng_below(&prng, 20) == 0 ? 400000 : 0);
            }
        }
        if (prng_below(&prng, 10) == 0) {
            fault(&prng, NODES);
        }
        world_run_ms(&world, (int64_t)prng_below(&prng, 30));
    }
    for (uint64_t one = 1; one <= NODES; one++) {
        if (world_node(&world, one)->cluster == NULL) {
            world_start(&world, one);
        }
        for (uint64_t other = 1; other < one; other++) {
            world_part(&world, one, other, false);
        }
    }
    world_run_ms(&world, 30000);
    int before[NODES];
    for (uint64_t id = 1; id <= NODES; id++) {
        before[id - 1] = count_at(id, 0, id % NODES + 1, workers - 1);
        say(id, workers - 1);
    }
    world_run_ms(&world, 1000);
    for (uint64_t id = 1; id <= NODES; id++) { /* all is well again */
        assert_int_equal(count_at(id, 0, id % NODES + 1, workers - 1), before[id - 1] + 1);
    }
    world_end(&world);
}

static void order_holds_under_faults(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 120; seed++) {
        under_faults(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_hears_everything_once), cmocka_unit_test(what_a_lost_connection_had_is_lost),
        cmocka_unit_test(a_slow_node_misses_messages),     cmocka_unit_test(a_slow_worker_misses_messages),
        cmocka_unit_test(events_come_to_those_who_listen), cmocka_unit_test(order_holds_under_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
