/* Copies of a worker's folder, over a simulated disk: an older one is refused wherever a start was crashed, and the
 * rightful one never is. */
#include "folder_fixture.h"
#include "server/worker_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { FILES = 16, PATH = 64 };

/* Files whose paths begin so, as they were. */
struct copy {
    const char *prefix;
    struct sim_disk *disk;
    char paths[FILES][PATH];
    struct buffer contents[FILES];
    size_t count;
};

static void note_file(void *owner, const char *path, uint64_t size)
{
    struct copy *copy = owner;
    (void)size;
    if (strncmp(path, copy->prefix, strlen(copy->prefix)) == 0) {
        assert_true(copy->count < FILES);
        (void)snprintf(copy->paths[copy->count++], PATH, "%s", path);
    }
}

static struct copy take(struct folder_world *world, const char *prefix)
{
    struct copy copy = {.prefix = prefix, .disk = sim_node_disk(world->sim, FOLDER_NODE)};
    sim_disk_each_file(copy.disk, note_file, &copy);
    for (size_t i = 0; i < copy.count; i++) {
        struct slice content;
        assert_int_equal(sim_disk_peek(copy.disk, copy.paths[i], &content), STATUS_OK);
        buffer_append_slice(&copy.contents[i], content);
    }
    return copy;
}

/* In the place of what is there. */
static void put_back(struct folder_world *world, const struct copy *copy)
{
    struct copy there = {.prefix = copy->prefix, .disk = copy->disk};
    sim_disk_each_file(copy->disk, note_file, &there);
    for (size_t i = 0; i < there.count; i++) {
        folder_remove(world, there.paths[i]);
    }
    for (size_t i = 0; i < copy->count; i++) {
        folder_put(world, copy->paths[i], buffer_slice(&copy->contents[i]));
    }
}

static void forget(struct copy *copy)
{
    for (size_t i = 0; i < copy->count; i++) {
        buffer_deinit(&copy->contents[i]);
    }
}

static void start_and_end(struct folder_world *world, enum sim_crash how)
{
    if (folder_start(world) != STATUS_OK) {
        fail_msg("%s", world->message);
    }
    folder_end(world, how);
}

static void check_refused(struct folder_world *world, enum status status, const char *what)
{
    for (int again = 0; again < 2; again++) { /* as a supervisor would */
        assert_int_equal(folder_start(world), status);
        if (strstr(world->message, what) == NULL || strstr(world->message, "; ") == NULL) {
            fail_msg("%s", world->message);
        }
        folder_end(world, SIM_CRASH_KILL);
    }
}

static const char *folder_of(uint32_t worker) { return worker == 0 ? "data/worker-0/" : "data/worker-1/"; }

static void an_older_copy_is_refused(void **state)
{
    struct folder_world *world = *state;
    for (world->workers = 1; world->workers <= FOLDER_WORKERS; world->workers++) {
        for (uint32_t worker = 0; worker < world->workers; worker++) {
            char text[PATH];
            start_and_end(world, SIM_CRASH_POWER);
            struct copy old = take(world, folder_of(worker));
            start_and_end(world, SIM_CRASH_POWER);
            struct copy whole = take(world, "data/");
            put_back(world, &old);
            (void)snprintf(text, sizeof(text), "/data/worker-%u is an older copy", (unsigned)worker);
            check_refused(world, STATUS_INVALID, text);
            put_back(world, &whole);
            start_and_end(world, SIM_CRASH_POWER);
            forget(&old);
            forget(&whole);
        }
        struct copy nothing = {.prefix = "data/", .disk = sim_node_disk(world->sim, FOLDER_NODE)};
        put_back(world, &nothing);
    }
}

/* The start of `world` that is crashed: the first one, a later one, one over an older version's folder. */
enum kind { FIRST, LATER, UPGRADE };

static void make_older_version(struct folder_world *world)
{
    struct node_file file = {0};
    assert_true(folder_peek(world, &file));
    file.opened = 0;
    folder_put_node_file(world, &file);
    folder_remove(world, "/data/worker-0/start");
    folder_remove(world, "/data/worker-1/start");
}

/* Then the one that is there goes on; but a folder from before the last start that was whole is refused. */
static void check_after(struct folder_world *world, const struct copy *old, enum kind kind)
{
    struct copy whole = take(world, "data/");
    if (kind == LATER) {
        put_back(world, old);
        check_refused(world, STATUS_INVALID, "is an older copy");
        put_back(world, &whole);
    }
    start_and_end(world, SIM_CRASH_POWER);
    if (kind != FIRST) {
        put_back(world, old);
        check_refused(world, kind == LATER ? STATUS_INVALID : STATUS_CORRUPT,
                      kind == LATER ? "is an older copy" : "/start is missing");
    }
    forget(&whole);
}

static void crash_at_every_change(void **state, enum kind kind, uint32_t worker)
{
    bool over = false;
    uint64_t at = 0;
    for (; !over; at++) {
        (void)folder_setup(state);
        struct folder_world *world = *state;
        struct copy old = {0};
        world->workers = FOLDER_WORKERS;
        if (kind != FIRST) {
            start_and_end(world, SIM_CRASH_POWER);
        }
        if (kind == UPGRADE) {
            make_older_version(world);
        }
        if (kind != FIRST) {
            old = take(world, folder_of(worker));
        }
        if (kind == LATER) {
            start_and_end(world, SIM_CRASH_POWER);
        }
        sim_disk_crash_after(sim_node_disk(world->sim, FOLDER_NODE), SIM_DISK_CHANGES, at, NULL, NULL);
        enum status status = folder_start(world);
        over = world->ready && !sim_disk_down(sim_node_disk(world->sim, FOLDER_NODE));
        assert_true(!over || status == STATUS_OK);
        folder_end(world, SIM_CRASH_POWER);
        check_after(world, &old, kind);
        forget(&old);
        (void)folder_teardown(state);
    }
    print_message("# %d crashes\n", (int)at - 1);
    assert_true(at > 8);
    (void)folder_setup(state);
}

static void crashes_of_the_first_start(void **state) { crash_at_every_change(state, FIRST, 0); }

static void crashes_of_a_later_start(void **state)
{
    crash_at_every_change(state, LATER, 0);
    (void)folder_teardown(state);
    crash_at_every_change(state, LATER, 1);
}

static void crashes_of_an_older_versions_folder(void **state)
{
    crash_at_every_change(state, UPGRADE, 0);
    (void)folder_teardown(state);
    crash_at_every_change(state, UPGRADE, 1);
}

static void an_older_node_file_is_refused(void **state)
{
    struct folder_world *world = *state;
    start_and_end(world, SIM_CRASH_POWER);
    struct copy old = take(world, "data/node");
    start_and_end(world, SIM_CRASH_POWER);
    start_and_end(world, SIM_CRASH_POWER);
    struct copy present = take(world, "data/node");
    put_back(world, &old);
    check_refused(world, STATUS_INVALID, "the file `node` of the data folder is an older copy");
    put_back(world, &present);
    start_and_end(world, SIM_CRASH_POWER);
    forget(&old);
    forget(&present);
}

static void one_that_belongs_elsewhere_is_refused(void **state)
{
    struct folder_world *world = *state;
    struct node_file node = {0};
    start_and_end(world, SIM_CRASH_POWER);
    struct copy own = take(world, "data/worker-0/start");
    for (int other = 0; other < 2; other++) {
        char message[LINE_FILE_MESSAGE_BYTES] = "";
        assert_true(folder_peek(world, &node));
        struct worker_file file = {{node.incarnation, other == 0 ? 5 : 0}, node.lineage.start, 0};
        file.folder.incarnation.bytes[0] ^= (uint8_t)other;
        assert_int_equal(worker_file_write(sim_node_env(world->sim, FOLDER_NODE), "/data/worker-0", &file, message),
                         STATUS_OK);
        sim_node_crash(world->sim, FOLDER_NODE, SIM_CRASH_KILL);
        check_refused(world, STATUS_INVALID,
                      other == 0 ? "/data/worker-0/start: it belongs to worker 5 of this node"
                                 : "/data/worker-0/start: it belongs to another data folder");
    }
    put_back(world, &own);
    start_and_end(world, SIM_CRASH_POWER);
    forget(&own);
}

static void what_cannot_be_read_is_refused(void **state)
{
    static const struct {
        const char *text, *what;
        enum status status;
    } cases[] = {
        {"", "/data/worker-0/start is damaged", STATUS_CORRUPT},
        {"cohort-worker 1\n", "/data/worker-0/start is damaged", STATUS_CORRUPT},
        {"cohort-worker 2\nanything\n", "newer version of cohort (format 2); start that", STATUS_VERSION},
    };
    struct folder_world *world = *state;
    start_and_end(world, SIM_CRASH_POWER);
    struct copy whole = take(world, "data/");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        folder_put(world, "/data/worker-0/start", slice_from_string(cases[i].text));
        check_refused(world, cases[i].status, cases[i].what);
    }
    folder_remove(world, "/data/worker-0/start");
    check_refused(world, STATUS_CORRUPT, "/data/worker-0/start is missing, though this node has written it; restore");
    put_back(world, &whole);
    start_and_end(world, SIM_CRASH_POWER);
    forget(&whole);
}

static void no_bit_of_it_is_believed_when_it_has_changed(void **state)
{
    struct folder_world *world = *state;
    start_and_end(world, SIM_CRASH_POWER);
    struct sim_disk *disk = sim_node_disk(world->sim, FOLDER_NODE);
    struct copy own = take(world, "data/worker-0/start");
    for (uint64_t offset = 0; offset < own.contents[0].size; offset++) {
        assert_int_equal(sim_disk_flip(disk, own.paths[0], offset, (int)(offset % 8)), STATUS_OK);
        if (folder_start(world) == STATUS_OK) {
            fail_msg("byte %d", (int)offset);
        }
        assert_non_null(strstr(world->message, "/data/worker-0/start"));
        folder_end(world, SIM_CRASH_KILL);
        assert_int_equal(sim_disk_flip(disk, own.paths[0], offset, (int)(offset % 8)), STATUS_OK);
    }
    start_and_end(world, SIM_CRASH_POWER);
    forget(&own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_older_copy_is_refused, folder_setup, folder_teardown),
        cmocka_unit_test_teardown(crashes_of_the_first_start, folder_teardown),
        cmocka_unit_test_teardown(crashes_of_a_later_start, folder_teardown),
        cmocka_unit_test_teardown(crashes_of_an_older_versions_folder, folder_teardown),
        cmocka_unit_test_setup_teardown(an_older_node_file_is_refused, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(one_that_belongs_elsewhere_is_refused, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_refused, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(no_bit_of_it_is_believed_when_it_has_changed, folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
