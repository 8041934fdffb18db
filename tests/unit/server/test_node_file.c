/* The data folder over a simulated disk: what is refused, and that no crash of a start is taken for a loss. */
#include "folder_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { NODE = FOLDER_NODE };

static void each_start_has_a_larger_number(void **state)
{
    struct folder_world *world = *state;
    struct node_file before = {0};
    struct node_file file = {0};
    for (int i = 0; i < 4; i++) {
        if (i == 2) {
            sim_node_set_wall_offset(world->sim, NODE, -1000000000); /* a wall clock that was set back */
        }
        assert_int_equal(folder_start(world), STATUS_OK);
        assert_true(folder_peek(world, &file));
        assert_true(file.lineage.start > before.lineage.start);
        assert_true(file.log_made && file.id == 3);
        assert_true(i == 0 || id128_equal(&file.incarnation, &before.incarnation));
        before = file;
        folder_end(world, SIM_CRASH_POWER);
    }
    sim_node_set_wall_offset(world->sim, NODE, 5000000000000);
    assert_int_equal(folder_start(world), STATUS_OK);
    assert_true(folder_peek(world, &file));
    assert_true(file.lineage.start >= 5000000000000);
}

/* Crashes the first start, and then one that finds a folder, at every operation on the disk. */
static void crash_at_every_operation(void **state, bool first)
{
    for (uint64_t at = 0;; at++) {
        (void)folder_setup(state);
        struct folder_world *world = *state;
        struct node_file before = {0};
        if (!first) {
            assert_int_equal(folder_start(world), STATUS_OK);
            assert_true(folder_peek(world, &before));
            folder_end(world, SIM_CRASH_POWER);
        }
        struct sim_disk *disk = sim_node_disk(world->sim, NODE);
        sim_disk_crash_after(disk, SIM_DISK_CHANGES, at, NULL, NULL);
        enum status status = folder_start(world);
        bool over = !sim_disk_down(disk);
        assert_true(!over || status == STATUS_OK);
        folder_end(world, SIM_CRASH_POWER);
        struct node_file between = before;
        bool known = folder_peek(world, &between);
        assert_true(known || first);
        sim_node_crash(world->sim, NODE, SIM_CRASH_KILL);
        if (folder_start(world) != STATUS_OK) {
            fail_msg("crash after %d: %s", (int)at, world->message);
        }
        struct node_file after = {0};
        assert_true(folder_peek(world, &after));
        assert_true(after.log_made && after.lineage.start > between.lineage.start &&
                    between.lineage.start >= before.lineage.start);
        assert_true(!known || id128_equal(&between.incarnation, &after.incarnation));
        folder_end(world, SIM_CRASH_KILL);
        if (over) {
            assert_true(at > 3);
            return;
        }
        (void)folder_teardown(state);
    }
}

static void a_crash_of_the_first_start_is_no_loss(void **state) { crash_at_every_operation(state, true); }
static void a_crash_of_a_later_start_is_no_loss(void **state) { crash_at_every_operation(state, false); }

static void a_failing_disk_starts_nothing(void **state)
{
    struct folder_world *world = *state;
    assert_int_equal(folder_start(world), STATUS_OK);
    folder_end(world, SIM_CRASH_POWER);
    struct sim_disk *disk = sim_node_disk(world->sim, NODE);
    const struct sim_disk_fault fault = {.kinds = SIM_DISK_SYNC, .status = STATUS_IO, .times = 1};
    sim_disk_add_fault(disk, &fault);
    assert_int_equal(folder_start(world), STATUS_IO);
    assert_non_null(strstr(world->message, "cannot write /data/node"));
}

static void a_log_without_its_node_file_is_refused(void **state)
{
    struct folder_world *world = *state;
    assert_int_equal(folder_start(world), STATUS_OK);
    folder_end(world, SIM_CRASH_POWER);
    folder_remove(world, "/data/node");
    assert_int_equal(folder_start(world), STATUS_CORRUPT);
    assert_string_equal(world->message,
                        "/data/node is missing, though /data/worker-0 has a log; restore the folder from a backup, or "
                        "start with an empty one");
    world->several = true; /* then a backup has forgotten what was promised */
    sim_node_crash(world->sim, NODE, SIM_CRASH_KILL);
    assert_int_equal(folder_start(world), STATUS_CORRUPT);
    assert_string_equal(world->message,
                        "/data/node is missing, though /data/worker-0 has a log; the others serve without this node; "
                        "bring the folder back as the node left it last, but no backup: it has forgotten what the node "
                        "promised since");
    struct node_file file = {0};
    assert_false(folder_peek(world, &file)); /* and it is not made by that */
}

/* By hand, or by a mistake in restoring a backup: the node file says whose the folder is, and the log does too. */
static void a_log_of_another_folder_is_refused(void **state)
{
    struct folder_world *world = *state;
    struct node_file file = {0};
    assert_int_equal(folder_start(world), STATUS_OK);
    assert_true(folder_peek(world, &file));
    folder_end(world, SIM_CRASH_POWER);
    for (int made = 0; made < 2; made++) { /* also where this node has had no log yet */
        struct node_file other = {.id = 3, .incarnation = {{0xff}}, .lineage = {.start = 1}, .log_made = made != 0};
        folder_put_node_file(world, &other);
        assert_int_equal(folder_start(world), STATUS_INVALID);
        assert_non_null(
            strstr(world->message, "/data/worker-0/0000000000000001.log: it belongs to another data folder"));
        folder_end(world, SIM_CRASH_POWER);
    }
    folder_put_node_file(world, &file);
    assert_int_equal(folder_start(world), STATUS_OK); /* nothing was changed */
}

static void what_cannot_be_ours_is_refused(void **state)
{
    static const struct {
        const char *text;
        enum status status;
    } cases[] = {
        {"", STATUS_CORRUPT},
        {"cohort-node 1\n", STATUS_CORRUPT},
        {"cohort-node 3\nanything\n", STATUS_VERSION},
        {"cohort-node 2\nid = 3\nincarnation = 0123456789abcdef0123456789abcdef\nstarts = 7\njoined = 5\nbetween = "
         "6\nlog = made\nopened = 7\n",
         STATUS_CORRUPT}, /* no checksum */
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
    struct folder_world *world = *state;
    assert_int_equal(folder_start(world), STATUS_OK);
    folder_end(world, SIM_CRASH_POWER);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        folder_put(world, "/data/node", slice_from_string(cases[i].text));
        enum status status = folder_start(world);
        if (status != cases[i].status) {
            fail_msg("%s: %s (%s)", cases[i].text, status_text(status), world->message);
        }
        assert_true(status == STATUS_OK || strchr(world->message, ';') != NULL); /* says what to do */
        folder_end(world, SIM_CRASH_KILL);
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
    struct folder_world *world = *state;
    assert_int_equal(folder_start(world), STATUS_OK);
    folder_end(world, SIM_CRASH_POWER);
    struct sim_disk *disk = sim_node_disk(world->sim, NODE);
    uint64_t size = 0;
    sim_disk_each_file(disk, size_of_node_file, &size);
    assert_true(size > 100);
    for (uint64_t offset = 0; offset < size; offset++) {
        assert_int_equal(sim_disk_flip(disk, "/data/node", offset, (int)(offset % 8)), STATUS_OK);
        if (folder_start(world) == STATUS_OK) {
            fail_msg("byte %d", (int)offset);
        }
        assert_non_null(strstr(world->message, "/data/node"));
        folder_end(world, SIM_CRASH_KILL);
        assert_int_equal(sim_disk_flip(disk, "/data/node", offset, (int)(offset % 8)), STATUS_OK);
    }
    assert_int_equal(folder_start(world), STATUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_start_has_a_larger_number, folder_setup, folder_teardown),
        cmocka_unit_test_teardown(a_crash_of_the_first_start_is_no_loss, folder_teardown),
        cmocka_unit_test_teardown(a_crash_of_a_later_start_is_no_loss, folder_teardown),
        cmocka_unit_test_setup_teardown(a_failing_disk_starts_nothing, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(a_log_without_its_node_file_is_refused, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(a_log_of_another_folder_is_refused, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_ours_is_refused, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(no_bit_of_it_is_believed_when_it_has_changed, folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
