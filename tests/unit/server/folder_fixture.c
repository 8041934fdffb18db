#include "folder_fixture.h"

#include "cluster/members.h"
#include "env/whole_file.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void stopped(void *owner, enum status status)
{
    struct folder_world *world = owner;
    world->stopped = true;
    world->stop_status = status;
}

static void configured(void *owner, struct env *env, const struct config *config)
{
    (void)owner;
    (void)env;
    (void)config;
}

static void ready(void *owner)
{
    struct folder_world *world = owner;
    world->ready = true;
}

int folder_setup(void **state)
{
    static struct folder_world world;
    world = (struct folder_world){.sim = sim_create(7), .workers = 1};
    *state = &world;
    return 0;
}

int folder_teardown(void **state)
{
    struct folder_world *world = *state;
    server_destroy(world->server);
    sim_destroy(world->sim);
    return 0;
}

/* The other workers open their logs in turns of their own. */
static enum status open_workers(struct folder_world *world)
{
    while (!world->ready && !world->stopped && sim_node_env(world->sim, FOLDER_NODE) != NULL) {
        assert_true(sim_step(world->sim));
    }
    return world->stopped ? world->stop_status : STATUS_OK;
}

enum status folder_start(struct folder_world *world)
{
    static const struct member founders[2];
    static const struct server_events events = {.stopped = stopped, .configured = configured, .ready = ready};
    struct config config;
    config_init(&config);
    world->ready = false;
    world->stopped = false;
    world->envs[0] = sim_node_start(world->sim, FOLDER_NODE);
    for (uint32_t i = 1; i < world->workers; i++) {
        world->envs[i] = sim_node_add_worker(world->sim, FOLDER_NODE);
    }
    struct server_options options = {.node_id = FOLDER_NODE_ID,
                                     .directory = "/data",
                                     .host = sim_node_address(world->sim, FOLDER_NODE),
                                     .port = 6379,
                                     .version = "test",
                                     .shards = world->workers,
                                     .workers = world->envs,
                                     .worker_count = world->workers};
    if (world->several) { /* nothing here comes so far that it looks at them */
        options.founders = founders;
        options.founder_count = 2;
    }
    enum status status =
        server_create(world->envs[0], &options, &config, &events, world, &world->server, world->message);
    return status == STATUS_OK && world->workers > 1 ? open_workers(world) : status;
}

void folder_end(struct folder_world *world, enum sim_crash how)
{
    sim_node_crash(world->sim, FOLDER_NODE, how);
    server_destroy(world->server);
    world->server = NULL;
}

static struct env *any_process(struct folder_world *world)
{
    struct env *env = sim_node_env(world->sim, FOLDER_NODE);
    return env == NULL ? sim_node_start(world->sim, FOLDER_NODE) : env;
}

bool folder_peek(struct folder_world *world, struct node_file *ret_file)
{
    bool known = false;
    char message[LINE_FILE_MESSAGE_BYTES] = "";
    if (node_file_read(any_process(world), "/data", FOLDER_NODE_ID, &known, ret_file, message) != STATUS_OK) {
        fail_msg("%s", message);
    }
    return known;
}

void folder_put(struct folder_world *world, const char *path, struct slice content)
{
    assert_int_equal(whole_file_replace(any_process(world), path, content), STATUS_OK);
    sim_node_crash(world->sim, FOLDER_NODE, SIM_CRASH_KILL);
}

void folder_put_node_file(struct folder_world *world, const struct node_file *file)
{
    char message[LINE_FILE_MESSAGE_BYTES] = "";
    assert_int_equal(node_file_write(any_process(world), "/data", file, message), STATUS_OK);
    sim_node_crash(world->sim, FOLDER_NODE, SIM_CRASH_KILL);
}

void folder_remove(struct folder_world *world, const char *path)
{
    assert_int_equal(env_unlink(any_process(world), path), STATUS_OK);
    sim_node_crash(world->sim, FOLDER_NODE, SIM_CRASH_KILL);
}
