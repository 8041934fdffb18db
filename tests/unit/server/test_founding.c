/* Whole nodes in the simulator become a cluster, over real transports: also when a disk is emptied before that, and not
 * when it is emptied after it. */
#include "cluster/cluster.h"
#include "server/server.h"
#include "sim_net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND 1000000000LL

enum { NODES = 3, PORT = 6379, PEER_PORT = 16379, LINE_BYTES = 1024 };

struct node {
    struct server *server;
    bool stopped;
    enum status stop_status;
    char error[LINE_BYTES]; /* the last line of level ERROR */
    char waits[LINE_BYTES]; /* the last one that says whom it waits for */
};

struct world {
    struct sim *sim;
    struct member founders[NODES];
    struct node nodes[NODES];
    uint32_t shards;
};

static void stopped(void *owner, enum status status)
{
    struct node *node = owner;
    node->stopped = true;
    node->stop_status = status;
}

static void configured(void *owner, struct env *env, const struct config *config)
{
    (void)owner;
    (void)config;
}

static void line(void *owner, int node, int64_t at_ns, enum env_log_level level, const char *text)
{
    struct world *world = owner;
    (void)at_ns;
    if (level == ENV_LOG_ERROR || strncmp(text, "waiting for", 11) == 0) {
        char *to = level == ENV_LOG_ERROR ? world->nodes[node].error : world->nodes[node].waits;
        (void)snprintf(to, LINE_BYTES, "%s", text);
    }
}

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world->sim = sim_create(3);
    world->shards = 4;
    sim_on_log(world->sim, line, world);
    for (int i = 0; i < NODES; i++) {
        struct member *founder = &world->founders[i];
        struct slice host = slice_from_string(sim_node_address(world->sim, i));
        founder->id = (uint64_t)i + 1;
        assert_true(member_address_make(&founder->client, host, PORT));
        assert_true(member_address_make(&founder->peer, host, PEER_PORT));
    }
    *state = world;
    return 0;
}

static enum status start(struct world *world, int at, char message[static SERVER_MESSAGE_BYTES])
{
    static const struct server_events events = {.stopped = stopped, .configured = configured};
    struct node *node = &world->nodes[at];
    struct env *env = sim_node_start(world->sim, at);
    struct config config;
    config_init(&config);
    config.protected_mode = 0;
    *node = (struct node){0};
    struct server_options options = {.node_id = (uint64_t)at + 1,
                                     .directory = "/data",
                                     .host = sim_node_address(world->sim, at),
                                     .port = PORT,
                                     .version = "test",
                                     .founders = world->founders,
                                     .founder_count = NODES,
                                     .shards = world->shards,
                                     .replicas = 3,
                                     .peer_host = sim_node_address(world->sim, at),
                                     .peer_port = PEER_PORT};
    return server_create(env, &options, &config, &events, node, &node->server, message);
}

static void must_start(struct world *world, int at)
{
    char message[SERVER_MESSAGE_BYTES] = "";
    if (start(world, at, message) != STATUS_OK) {
        fail_msg("node %d: %s", at + 1, message);
    }
}

static void stop(struct world *world, int at)
{
    sim_node_crash(world->sim, at, SIM_CRASH_KILL);
    server_destroy(world->nodes[at].server);
    world->nodes[at].server = NULL;
}

static int teardown(void **state)
{
    struct world *world = *state;
    for (int i = 0; i < NODES; i++) {
        server_destroy(world->nodes[i].server);
    }
    sim_destroy(world->sim);
    free(world);
    return 0;
}

/* ---- an emptied disk ---- */

struct names {
    char names[64][64];
    int count;
};

static void note_name(void *owner, const char *name)
{
    struct names *names = owner;
    assert_true(names->count < 64);
    (void)snprintf(names->names[names->count++], sizeof(names->names[0]), "%s", name);
}

static void empty(struct env *env, const char *folder)
{
    struct names names = {.count = 0};
    assert_int_equal(env_list_directory(env, folder, note_name, &names), STATUS_OK);
    for (int i = 0; i < names.count; i++) {
        char path[200];
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names.names[i]);
        if (strcmp(names.names[i], "worker-0") != 0) {
            assert_int_equal(env_unlink(env, path), STATUS_OK);
        }
    }
}

static void wipe(struct world *world, int at)
{
    stop(world, at);
    struct env *env = sim_node_start(world->sim, at);
    empty(env, "/data/worker-0");
    empty(env, "/data");
    sim_node_crash(world->sim, at, SIM_CRASH_KILL);
}

/* ---- what there is ---- */

static bool look(const struct node *node, struct cluster_view *ret_view)
{
    return cluster_look((struct cluster *)(uintptr_t)server_cluster(node->server), ret_view);
}

static bool founded(const struct world *world, int at)
{
    struct cluster_view view;
    const struct node *node = &world->nodes[at];
    return node->server != NULL && !node->stopped && look(node, &view);
}

/* Every shard has a leader that takes requests, and the members have seen all nodes. */
static bool whole(struct world *world)
{
    for (uint32_t shard = 1; shard <= world->shards; shard++) {
        bool led = false;
        for (int i = 0; i < NODES; i++) {
            struct cluster_replica replica;
            if (founded(world, i)) {
                cluster_replica(server_cluster(world->nodes[i].server), shard, &replica);
                led = led || replica.leading;
            }
        }
        if (!led) {
            return false;
        }
    }
    for (int i = 0; i < NODES; i++) {
        struct cluster_view view;
        if (!founded(world, i)) {
            return false;
        }
        (void)look(&world->nodes[i], &view);
        for (uint32_t k = 0; k < view.members->count; k++) {
            if (view.members->nodes[k].format == 0) {
                return false;
            }
        }
    }
    return true;
}

static void expect_whole(struct world *world)
{
    for (int i = 0; i < 100 && !whole(world); i++) {
        sim_run_for(world->sim, SECOND / 10);
    }
    assert_true(whole(world));
}

/* ---- tests ---- */

static void nodes_that_start_together_are_a_cluster(void **state)
{
    struct world *world = *state;
    for (int i = 0; i < NODES; i++) {
        must_start(world, i);
    }
    expect_whole(world);
    for (int i = 0; i < NODES; i++) {
        stop(world, i);
    }
    for (int i = 0; i < NODES - 1; i++) {
        must_start(world, i);
        assert_true(founded(world, i)); /* each knows it by itself */
    }
    must_start(world, NODES - 1);
    expect_whole(world);
}

static void they_wait_for_all(void **state)
{
    struct world *world = *state;
    must_start(world, 0);
    must_start(world, 2);
    sim_run_for(world->sim, 5 * SECOND);
    assert_false(founded(world, 0) || founded(world, 2));
    assert_string_equal(world->nodes[0].waits, "waiting for node 2 at 10.0.0.2:16379 to found the cluster");
    must_start(world, 1);
    expect_whole(world);
}

static void a_disk_emptied_before_the_founding_is_no_matter(void **state)
{
    for (int emptied = 0; emptied < 2; emptied++) {
        struct world *world = *state;
        must_start(world, 0);
        must_start(world, 1);
        sim_run_for(world->sim, 3 * SECOND); /* they know each other */
        wipe(world, emptied);
        must_start(world, emptied);
        sim_run_for(world->sim, 40 * SECOND);
        must_start(world, 2);
        expect_whole(world);
        if (emptied == 0) {
            (void)teardown(state);
            (void)setup(state);
        }
    }
}

static void a_disk_emptied_after_it_is_refused(void **state)
{
    struct world *world = *state;
    for (int i = 0; i < NODES; i++) {
        must_start(world, i);
    }
    expect_whole(world);
    wipe(world, 1);
    must_start(world, 1);
    sim_run_for(world->sim, 40 * SECOND);
    assert_true(world->nodes[1].stopped);
    assert_int_equal(world->nodes[1].stop_status, STATUS_INVALID);
    assert_non_null(strstr(world->nodes[1].error, "with another data folder of node 2 than /data; start this node with "
                                                  "that folder, or, when that is lost, remove the node and add it "
                                                  "anew under another id"));
    assert_true(founded(world, 0) && founded(world, 2));
}

static void another_start_than_the_founding_is_refused(void **state)
{
    struct world *world = *state;
    char message[SERVER_MESSAGE_BYTES] = "";
    for (int i = 0; i < NODES; i++) {
        must_start(world, i);
    }
    expect_whole(world);
    stop(world, 0);
    world->shards = 5;
    assert_int_equal(start(world, 0, message), STATUS_INVALID);
    assert_string_equal(message, "/data/cluster: the cluster was founded with --shards 4 (now 5); start this node as "
                                 "it was founded, or give another --data");
    world->shards = 4;
    sim_node_crash(world->sim, 0, SIM_CRASH_KILL);
    must_start(world, 0);
    expect_whole(world);
}

int main(void)
{
#define WITH_WORLD(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_WORLD(nodes_that_start_together_are_a_cluster),         WITH_WORLD(they_wait_for_all),
        WITH_WORLD(a_disk_emptied_before_the_founding_is_no_matter), WITH_WORLD(a_disk_emptied_after_it_is_refused),
        WITH_WORLD(another_start_than_the_founding_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
