/* The data folder over a simulated disk: what is refused, and that no crash of a start is taken for a loss. */
#include "cluster/members.h"
#include "server/node_file.h"
#include "server/server.h"
#include "sim.h"
#include "sim_disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { NODE = 0 };

struct world {
    struct sim *sim;
    struct server *server;
    bool several; /* nodes in the cluster */
    char message[SERVER_MESSAGE_BYTES];
};

static void stopped(void *owner, enum status status)
{
    (void)owner;
    (void)status;
}

static void configured(void *owner, struct env *env, const struct config *config)
{
    (void)owner;
    (void)config;
}

static int setup(void **state)
{
    static struct world world;
    world = (struct world){.sim = sim_create(7)};
    *state = &world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    server_destroy(world->server);
    sim_destroy(world->sim);
    return 0;
}

static enum status start(struct world *world)
{
    static const struct member founders[2];
    struct env *env = sim_node_start(world->sim, NODE);
    struct config config;
    config_init(&config);
    struct server_options options = {.node_id = 3,
                                     .directory = "/data",
                                     .host = sim_node_address(world->sim, NODE),
                                     .port = 6379,
                                     .version = "test"};
    struct server_events events = {.stopped = stopped, .configured = configured};
    if (world->several) { /* nothing here comes so far that it looks at them */
        options.founders = founders;
        options.founder_count = 2;
    }
    return server_create(env, &options, &config, &events, world, &world->server, world->message);
}

static void end(struct world *world, enum sim_crash how)
{
    sim_node_crash(world->sim, NODE, how);
    server_destroy(world->server);
    world->server = NULL;
}

/* What the file says now. */
static bool peek(struct world *world, struct node_file *ret_file)
{
    bool known = false;
    char message[NODE_FILE_MESSAGE_BYTES] = "";
    struct env *env = sim_node_env(world->sim, NODE);
    if (env == NULL) {
        env = sim_node_start(world->sim, NODE);
    }
    if (node_file_read(env, "/data", 3, &known, ret_file, message) != STATUS_OK) {
        fail_msg("%s", message);
    }
    return known;
}

static void put(struct world *world, const char *path, const char *text)
{
    struct env_file *file = NULL;
    struct iovec part = {(void *)(uintptr_t)text, strlen(text)};
    struct env *env = sim_node_start(world->sim, NODE);
    assert_int_equal(env_open(env, path, ENV_OPEN_WRITE | ENV_OPEN_CREATE | ENV_OPEN_TRUNCATE, &file), STATUS_OK);
    assert_int_equal(env_write(env, file, 0, &part, 1), STATUS_OK);
    env_close(env, file);
    sim_node_crash(world->sim, NODE, SIM_CRASH_KILL);
}

static void each_start_has_a_larger_number(void **state)
{
    struct world *world = *state;
    struct node_file before = {0};
    struct node_file file = {0};
    for (int i = 0; i < 4; i++) {
        if (i == 2) {
            sim_node_set_wall_offset(world->sim, NODE, -1000000000); /* a wall clock that was set back */
        }
        assert_int_equal(start(world), STATUS_OK);
        assert_true(peek(world, &file));
        assert_true(file.lineage.start > before.lineage.start);
        assert_true(file.log_made && file.id == 3);
        assert_true(i == 0 || id128_equal(&file.incarnation, &before.incarnation));
        before = file;
        end(world, SIM_CRASH_POWER);
    }
    sim_node_set_wall_offset(world->sim, NODE, 5000000000000);
    assert_int_equal(start(world), STATUS_OK);
    assert_true(peek(world, &file));
    assert_true(file.lineage.start >= 5000000000000);
}

/* Crashes the first start, and then one that finds a folder, at every operation on the disk. */
static void crash_at_every_operation(void **state, bool first)
{
    for (uint64_t at = 0;; at++) {
        (void)setup(state);
        struct world *world = *state;
        struct node_file before = {0};
        if (!first) {
            assert_int_equal(start(world), STATUS_OK);
            assert_true(peek(world, &before));
            end(world, SIM_CRASH_POWER);
        }
        struct sim_disk *disk = sim_node_disk(world->sim, NODE);
        sim_disk_crash_after(disk, SIM_DISK_CHANGES, at, NULL, NULL);
        enum status status = start(world);
        bool over = !sim_disk_down(disk);
        assert_true(!over || status == STATUS_OK);
        end(world, SIM_CRASH_POWER);
        struct node_file between = before;
        bool known = peek(world, &between);
        assert_true(known || first);
        sim_node_crash(world->sim, NODE, SIM_CRASH_KILL);
        if (start(world) != STATUS_OK) {
            fail_msg("crash after %d: %s", (int)at, world->message);
        }
        struct node_file after = {0};
        assert_true(peek(world, &after));
        assert_true(after.log_made && after.lineage.start > between.lineage.start &&
                    between.lineage.start >= before.lineage.start);
        assert_true(!known || id128_equal(&between.incarnation, &after.incarnation));
        end(world, SIM_CRASH_KILL);
        if (over) {
            assert_true(at > 3);
            return;
        }
        (void)teardown(state);
    }
}

static void a_crash_of_the_first_start_is_no_loss(void **state) { crash_at_every_operation(state, true); }
static void a_crash_of_a_later_start_is_no_loss(void **state) { crash_at_every_operation(state, false); }

static void a_failing_disk_starts_nothing(void **state)
{
    struct world *world = *state;
    assert_int_equal(start(world), STATUS_OK);
    end(world, SIM_CRASH_POWER);
    struct sim_disk *disk = sim_node_disk(world->sim, NODE);
    const struct sim_disk_fault fault = {.kinds = SIM_DISK_SYNC, .status = STATUS_IO, .times = 1};
    sim_disk_add_fault(disk, &fault);
    assert_int_equal(start(world), STATUS_IO);
    assert_non_null(strstr(world->message, "cannot write /data/node"));
}

static void a_log_without_its_node_file_is_refused(void **state)
{
    struct world *world = *state;
    assert_int_equal(start(world), STATUS_OK);
    end(world, SIM_CRASH_POWER);
    assert_int_equal(env_unlink(sim_node_start(world->sim, NODE), "/data/node"), STATUS_OK);
    sim_node_crash(world->sim, NODE, SIM_CRASH_KILL);
    assert_int_equal(start(world), STATUS_CORRUPT);
    assert_string_equal(world->message,
                        "/data/node is missing, though /data/worker-0 has a log; restore the folder from a backup, or "
                        "start with an empty one");
    world->several = true; /* then a backup has forgotten what was promised */
    sim_node_crash(world->sim, NODE, SIM_CRASH_KILL);
    assert_int_equal(start(world), STATUS_CORRUPT);
    assert_string_equal(world->message,
                        "/data/node is missing, though /data/worker-0 has a log; the others serve without this node; "
                        "bring the folder back as the node left it last, but no backup: it has forgotten what the node "
                        "promised since");
    struct node_file file = {0};
    assert_false(peek(world, &file)); /* and it is not made by that */
}

/* By hand, or by a mistake in restoring a backup: the node file says whose the folder is, and the log does too. */
static void a_log_of_another_folder_is_refused(void **state)
{
    struct world *world = *state;
    struct node_file file = {0};
    char message[NODE_FILE_MESSAGE_BYTES] = "";
    assert_int_equal(start(world), STATUS_OK);
    assert_true(peek(world, &file));
    end(world, SIM_CRASH_POWER);
    for (int made = 0; made < 2; made++) { /* also where this node has had no log yet */
        struct node_file other = {.id = 3, .incarnation = {{0xff}}, .lineage = {.start = 1}, .log_made = made != 0};
        struct env *env = sim_node_start(world->sim, NODE);
        assert_int_equal(node_file_write(env, "/data", &other, message), STATUS_OK);
        sim_node_crash(world->sim, NODE, SIM_CRASH_KILL);
        assert_int_equal(start(world), STATUS_INVALID);
        assert_non_null(
            strstr(world->message, "/data/worker-0/0000000000000001.log: it belongs to another data folder"));
        end(world, SIM_CRASH_POWER);
    }
    assert_int_equal(node_file_write(sim_node_start(world->sim, NODE), "/data", &file, message), STATUS_OK);
    sim_node_crash(world->sim, NODE, SIM_CRASH_KILL);
    assert_int_equal(start(world), STATUS_OK); /* nothing was changed */
}

static void what_cannot_be_ours_is_refused(void **state)
{
    static const struct {
        const char *text;
        enum status status;
    } cases[] = {
        {"", STATUS_CORRUPT},
        {"cohort-node 1\n", STATUS_CORRUPT},
        {"cohort-node 2\nanything\n", STATUS_VERSION},
        {"cohort-node 1\nid = 3\nincarnation = 0123456789abcdef0123456789abcdef\n", STATUS_CORRUPT},
        {"cohort-node 1\nid = 3\nincarnation = 0123456789abcdef0123456789abcdef\nstarts = 0\njoined = 0\nbetween "
         "=\nlog = made\n",
         STATUS_CORRUPT},
        {"cohort-node 1\nid = 3\nincarnation = 0123456789abcdef0123456789abcdef\nstarts = 99999999999999999999\njoined "
         "= 5\nbetween =\nlog = "
         "made\n",
         STATUS_CORRUPT},
        {"cohort-node 1\nid = 3\nincarnation = 0123456789abcdef0123456789abcdef\nstarts = 7\njoined = 5\nbetween = "
         "6\nlog = maybe\n",
         STATUS_CORRUPT},
        {"cohort-node 1\nid = 3\nincarnation = 0123456789abcdef0123456789abcdef\nstarts = 7\njoined = 5\nbetween = "
         "6\nlog = made\nmore\n",
         STATUS_CORRUPT},
        {"cohort-node 1\nid = 3\nincarnation = 0123456789abcdef0123456789abcde\nstarts = 7\njoined = 5\nbetween = "
         "6\nlog = made\n",
         STATUS_CORRUPT},
        {"cohort-node 1\nid = 3\nincarnation = 00000000000000000000000000000000\nstarts = 7\njoined = 5\nbetween = "
         "6\nlog = made\n",
         STATUS_CORRUPT},
        {"cohort-node 1\nid = 4\nincarnation = 0123456789abcdef0123456789abcdef\nstarts = 7\njoined = 5\nbetween = "
         "6\nlog = made\n",
         STATUS_INVALID},
        {"cohort-node 1\nid = 3\nincarnation = 0123456789abcdef0123456789abcdef\nstarts = 7\njoined = 5\nbetween = "
         "6\nlog = made\n",
         STATUS_INVALID}, /* not that of the log */
    };
    struct world *world = *state;
    assert_int_equal(start(world), STATUS_OK);
    end(world, SIM_CRASH_POWER);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        put(world, "/data/node", cases[i].text);
        enum status status = start(world);
        if (status != cases[i].status) {
            fail_msg("%s: %s (%s)", cases[i].text, status_text(status), world->message);
        }
        assert_true(status == STATUS_OK || strchr(world->message, ';') != NULL); /* says what to do */
        end(world, SIM_CRASH_KILL);
    }
}

static void size_of_node_file(void *owner, const char *path, uint64_t size)
{
    uint64_t *ret_size = owner;
    *ret_size = strstr(path, "data/node") != NULL ? size : *ret_size;
}

/* Whatever bit of it rots, the node does not start as another one, or as an older one. */
static void no_bit_of_it_is_believed_when_it_has_changed(void **state)
{
    struct world *world = *state;
    assert_int_equal(start(world), STATUS_OK);
    end(world, SIM_CRASH_POWER);
    struct sim_disk *disk = sim_node_disk(world->sim, NODE);
    uint64_t size = 0;
    sim_disk_each_file(disk, size_of_node_file, &size);
    assert_true(size > 100);
    for (uint64_t offset = 0; offset < size; offset++) {
        assert_int_equal(sim_disk_flip(disk, "/data/node", offset, (int)(offset % 8)), STATUS_OK);
        if (start(world) == STATUS_OK) {
            fail_msg("byte %d", (int)offset);
        }
        assert_non_null(strstr(world->message, "/data/node"));
        end(world, SIM_CRASH_KILL);
        assert_int_equal(sim_disk_flip(disk, "/data/node", offset, (int)(offset % 8)), STATUS_OK);
    }
    assert_int_equal(start(world), STATUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_start_has_a_larger_number, setup, teardown),
        cmocka_unit_test_teardown(a_crash_of_the_first_start_is_no_loss, teardown),
        cmocka_unit_test_teardown(a_crash_of_a_later_start_is_no_loss, teardown),
        cmocka_unit_test_setup_teardown(a_failing_disk_starts_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_log_without_its_node_file_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_log_of_another_folder_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_ours_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(no_bit_of_it_is_believed_when_it_has_changed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
