/* Foundings joined by hand: every order of arrival, a crash at every operation of every disk, an emptied disk at every
 * step, and all of it at random. founding_world.c checks the invariants all the time. */
#include "base/prng.h"
#include "founding_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND 1000000000LL

static void all_nodes_found_the_same_cluster(void **state)
{
    (void)state;
    for (int count = 1; count <= WORLD_NODES; count++) {
        struct world *world = world_create(count, 1);
        world_settle(world);
        assert_true(world_all_founded(world));
        for (int i = 0; i < count; i++) {
            assert_int_equal(world->nodes[i].founded_events, count == 1 ? 0 : 1);
            world_crash(world, i, false);
        }
        for (int i = 0; i < count; i++) { /* and each knows it by itself from then on */
            assert_true(world_start(world, i));
            assert_int_equal(founding_state(world->nodes[i].founding), FOUNDING_FOUNDED);
            assert_int_equal(world->nodes[i].founded_events, 0);
        }
        world_destroy(world);
    }
}

static void nobody_founds_while_one_is_missing(void **state)
{
    (void)state;
    for (int missing = 0; missing < 3; missing++) {
        struct world *world = world_create(3, 2);
        for (int i = 0; i < 3; i++) {
            assert_true(i == missing || world_start(world, i));
        }
        int a = missing == 0 ? 1 : 0;
        int b = missing == 2 ? 1 : 2;
        world_connect(world, a, b);
        world_settle_links(world);
        assert_int_equal(founding_state(world->nodes[a].founding), FOUNDING_FRESH);
        assert_int_equal(founding_state(world->nodes[b].founding), FOUNDING_FRESH);
        char line[100];
        disk_env_advance(&world->nodes[a].env, 2 * SECOND);
        (void)snprintf(line, sizeof(line), "waiting for node %d at 127.0.0.1:1700%d to found the cluster", missing + 1,
                       missing + 1);
        assert_string_equal(world->nodes[a].env.line, line);
        disk_env_advance(&world->nodes[a].env, 9 * SECOND);
        assert_int_equal(world->nodes[a].env.lines, 1);
        disk_env_advance(&world->nodes[a].env, 1 * SECOND);
        assert_int_equal(world->nodes[a].env.lines, 2);
        world_settle(world);
        assert_true(world_all_founded(world));
        unsigned lines = world->nodes[a].env.lines;
        disk_env_advance(&world->nodes[a].env, 60 * SECOND);
        assert_int_equal(world->nodes[a].env.lines, lines);
        world_destroy(world);
    }
}

static void it_says_whom_it_waits_for(void **state)
{
    (void)state;
    struct world *world = world_create(3, 2);
    assert_true(world_start(world, 0));
    disk_env_advance(&world->nodes[0].env, 2 * SECOND);
    assert_string_equal(world->nodes[0].env.line,
                        "waiting for node 2 at 127.0.0.1:17002 and node 3 at 127.0.0.1:17003 to found the cluster");
    world_destroy(world);
}

/* ---- orders ---- */

static const int permutations[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
static const int pairs[3][2] = {{0, 1}, {0, 2}, {1, 2}};

/* Delivers what is under way, preferring links in the order of a permutation of the senders, and one step of each at a
 * time or all of one. */
static void deliver_in_order(struct world *world, const int order[3], bool greedy)
{
    bool more = true;
    while (more) {
        more = false;
        for (int i = 0; i < 3; i++) {
            for (int k = 0; k < 3; k++) {
                bool one = world_deliver(world, order[i], order[k]);
                while (one && greedy && world_deliver(world, order[i], order[k])) {
                }
                more = more || one;
            }
        }
    }
}

static void every_order_of_arrival(void **state)
{
    (void)state;
    for (int starts = 0; starts < 6; starts++) {
        for (int links = 0; links < 6; links++) {
            for (int how = 0; how < 24; how++) {
                struct world *world = world_create(3, 3);
                for (int i = 0; i < 3; i++) {
                    assert_true(world_start(world, permutations[starts][i]));
                }
                for (int i = 0; i < 3; i++) {
                    const int *pair = pairs[permutations[links][i]];
                    world_connect(world, pair[how & 1], pair[!(how & 1)]);
                    if (how & 2) {
                        deliver_in_order(world, permutations[how >> 2], i == 1);
                    }
                }
                deliver_in_order(world, permutations[how >> 2], how & 1);
                assert_true(world_all_founded(world));
                world_destroy(world);
            }
        }
    }
}

/* ---- crashes ---- */

/* A node crashes at an operation of its disk; it comes back with what is left, and the founding goes on. */
static void a_crash_at_every_operation(void **state)
{
    (void)state;
    for (int node = 0; node < 3; node++) {
        bool over = false;
        for (uint64_t at = 0; !over; at++) {
            for (uint64_t seed = 0; seed < 8; seed++) {
                struct world *world = world_create(3, 100 + seed);
                sim_disk_crash_after(world->nodes[node].disk, SIM_DISK_CHANGES, at, NULL, NULL);
                world_settle(world);
                over = !sim_disk_down(world->nodes[node].disk);
                world_crash(world, node, seed & 1);
                world_settle(world);
                assert_true(world_all_founded(world));
                world_destroy(world);
            }
            assert_true(!over || at >= 10); /* two replacements of the file: create, write, sync, rename, sync */
        }
    }
}

static void all_crash_at_every_operation(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < 12 * 12 * 12; at++) {
        struct world *world = world_create(3, at);
        const uint64_t skip[3] = {at % 12, at / 12 % 12, at / 144};
        for (int i = 0; i < 3; i++) {
            sim_disk_crash_after(world->nodes[i].disk, SIM_DISK_CHANGES, skip[i], NULL, NULL);
        }
        world_settle(world);
        for (int i = 0; i < 3; i++) {
            world_crash(world, i, false);
        }
        world_settle(world);
        assert_true(world_all_founded(world));
        world_destroy(world);
    }
}

static void a_disk_that_fails_ends_it(void **state)
{
    (void)state;
    struct world *world = world_create(3, 5);
    const struct sim_disk_fault fault = {.kinds = SIM_DISK_SYNC, .status = STATUS_NOSPACE, .times = 1};
    sim_disk_add_fault(world->nodes[1].disk, &fault);
    world_settle(world);
    assert_true(world->nodes[1].refused);
    assert_int_equal(world->nodes[1].status, STATUS_NOSPACE);
    assert_string_equal(world->nodes[1].line, "cannot write //cluster: disk full");
    assert_int_equal(founding_state(world->nodes[0].founding), FOUNDING_AGREED);
    world_crash(world, 1, false);
    world_settle(world);
    assert_true(world_all_founded(world));
    world_destroy(world);
}

/* ---- emptied disks ---- */

/* One step of a fixed schedule; false when there was nothing to do. */
static bool step(struct world *world, int number)
{
    for (int i = 0; i < 9; i++) {
        int link = (number + i) % 9;
        if (world_deliver(world, link / 3, link % 3)) {
            return true;
        }
    }
    return false;
}

static bool anyone_agreed(const struct world *world, int but)
{
    for (int i = 0; i < world->count; i++) {
        if (i != but && world->nodes[i].founding != NULL &&
            founding_state(world->nodes[i].founding) != FOUNDING_FRESH) {
            return true;
        }
    }
    return false;
}

static void an_emptied_disk_at_every_step(void **state)
{
    (void)state;
    for (int node = 0; node < 3; node++) {
        for (int silently = 0; silently < 2; silently++) {
            bool over = false;
            int refused = 0;
            int before = 0;
            for (int at = 0; !over; at++) {
                struct world *world = world_create(3, 6);
                for (int i = 0; i < 3; i++) {
                    assert_true(world_start(world, i));
                }
                for (int i = 0; i < 3; i++) {
                    world_connect(world, pairs[i][0], pairs[i][1]);
                }
                for (int i = 0; i < at && !over; i++) {
                    over = !step(world, i * node);
                }
                bool agreed = anyone_agreed(world, node);
                world_wipe(world, node, silently);
                world_settle_links(world);
                agreed = agreed || anyone_agreed(world, node);
                world_settle(world);
                assert_true(agreed || world_all_founded(world));
                if (agreed && !over) {
                    struct world_node *emptied = &world->nodes[node];
                    refused += emptied->refused;
                    assert_true(emptied->refused || founding_state(emptied->founding) == FOUNDING_FRESH);
                    assert_true(!emptied->refused || strstr(emptied->line, "add it anew under another id") != NULL);
                }
                before += !agreed;
                world_destroy(world);
            }
            assert_true(refused >= 3 && (silently || before > 0));
        }
    }
}

static void an_emptied_disk_of_a_founded_node_is_refused(void **state)
{
    (void)state;
    struct world *world = world_create(3, 7);
    world_settle(world);
    world_wipe(world, 2, false);
    world_settle(world); /* nobody lets it in */
    assert_int_equal(founding_state(world->nodes[2].founding), FOUNDING_FRESH);
    struct world_node *emptied = &world->nodes[2];
    founding_peer_refuses(emptied->founding, 1);
    disk_env_advance(&emptied->env, 60 * SECOND); /* once, long ago */
    for (int i = 0; i < 15; i++) {
        founding_peer_refuses(emptied->founding, 1);
        assert_false(emptied->refused);
        disk_env_advance(&emptied->env, SECOND);
    }
    founding_peer_refuses(emptied->founding, 1);
    assert_true(emptied->refused);
    assert_int_equal(emptied->status, STATUS_INVALID);
    assert_string_equal(emptied->line,
                        "node 1 knows this cluster with another data folder of node 3 than /; start this node with "
                        "that folder, or, when that is lost, remove the node and add it anew under another id");
    world_destroy(world);
}

static void what_was_agreed_is_not_taken_back(void **state)
{
    (void)state;
    struct world *world = world_create(3, 8);
    sim_disk_crash_after(world->nodes[0].disk, SIM_DISK_CHANGES, 9, NULL, NULL); /* before it can found */
    sim_disk_crash_after(world->nodes[1].disk, SIM_DISK_CHANGES, 4, NULL, NULL);
    sim_disk_crash_after(world->nodes[2].disk, SIM_DISK_CHANGES, 4, NULL, NULL);
    world_settle(world);
    world_crash(world, 0, false);
    world_crash(world, 1, false);
    world_wipe(world, 2, false);
    world_settle(world);
    assert_int_equal(founding_state(world->nodes[0].founding), FOUNDING_AGREED);
    assert_true(world->nodes[2].refused);
    assert_string_equal(world->nodes[2].line,
                        "node 1 began to found this cluster with another data folder of node 3 than /; start this node "
                        "with that folder, or, when that is lost, remove the node and add it anew under another id; "
                        "when no node of it has served yet, empty the data folders of all instead");
    disk_env_advance(&world->nodes[0].env, 2 * SECOND);
    assert_string_equal(world->nodes[0].env.line, "waiting for node 3 at 127.0.0.1:17003 to found the cluster");
    for (int i = 0; i < 3; i++) {
        world_wipe(world, i, false); /* the way out */
    }
    world_settle(world);
    assert_true(world_all_founded(world));
    world_destroy(world);
}

/* ---- founded already ---- */

static void a_lost_record_is_taken_from_a_founded_peer(void **state)
{
    (void)state;
    struct world *world = world_create(3, 9);
    world_settle(world);
    world_crash(world, 1, false);
    assert_int_equal(sim_disk_unlink(world->nodes[1].disk, "/cluster"), STATUS_OK);
    world->folders[world->nodes[1].folder].told = FOUNDING_FRESH; /* it is taken back by hand */
    assert_true(world_start(world, 1));
    world_crash(world, 2, false);
    world_connect(world, 0, 1);
    world_settle_links(world);
    assert_int_equal(founding_state(world->nodes[1].founding), FOUNDING_FOUNDED);
    world_settle(world);
    assert_true(world_all_founded(world));
    world_destroy(world);
}

/* ---- at random ---- */

static void random_step(struct world *world, struct prng *prng)
{
    int a = (int)prng_below(prng, (uint64_t)world->count);
    int b = (int)prng_below(prng, (uint64_t)world->count);
    bool silently = prng_below(prng, 2) == 0;
    struct world_node *node = &world->nodes[a];
    switch (prng_below(prng, 40)) {
    case 0: world_wipe(world, a, silently); break;
    case 1: world_crash(world, a, silently); break;
    case 2: world_disconnect(world, a, b); break;
    case 3: sim_disk_crash_after(node->disk, SIM_DISK_CHANGES, prng_below(prng, 12), NULL, NULL); break;
    case 4:
    case 5:
    case 6:
    case 7:
        if (node->founding != NULL && (node->refused || sim_disk_down(node->disk))) {
            world_crash(world, a, silently);
        }
        if (node->founding == NULL) {
            (void)world_start(world, a);
        }
        break;
    case 8:
        if (node->founding != NULL && !sim_disk_down(node->disk)) {
            disk_env_advance(&node->env, 10 * SECOND);
        }
        break;
    default: world_connect(world, a, b); (void)world_deliver(world, a, b);
    }
}

static void at_random(void **state)
{
    (void)state;
    int founded = 0;
    int several = 0;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        struct prng prng;
        prng_seed(&prng, seed);
        struct world *world = world_create(2 + (int)(seed % 3), seed);
        for (int i = 0; i < 400 && world->folder_count < WORLD_FOLDERS - 1; i++) {
            random_step(world, &prng);
        }
        int clusters = 0;
        for (int i = 0; i < world->folder_count; i++) {
            clusters += world->folders[i].founded && world->folders[i].node == 1;
        }
        founded += clusters > 0;
        several += clusters > 1;
        world_destroy(world);
    }
    assert_true(founded > 300); /* it does happen */
    assert_true(several > 10);
}

/* ---- what comes in ---- */

static void garbage_is_refused(void **state)
{
    (void)state;
    struct world *world = world_create(3, 11);
    for (int i = 0; i < 3; i++) {
        assert_true(world_start(world, i));
    }
    world_connect(world, 0, 1);
    struct founding *founding = world->nodes[1].founding;
    struct world_message good = world->links[0][1].queue[0];
    assert_int_equal(good.size, 18);
    for (size_t size = 0; size < good.size; size++) {
        assert_int_equal(founding_receive(founding, 1, slice_of(good.bytes, size)), STATUS_CORRUPT);
    }
    for (size_t i = 0; i < good.size; i++) {
        struct world_message bad = good;
        bad.bytes[i] ^= 0x40;
        assert_int_equal(founding_receive(founding, 1, slice_of(bad.bytes, bad.size)),
                         i == 0 ? STATUS_VERSION : STATUS_CORRUPT);
    }
    /* a set without the sender's incarnation; one with a founder that has none; one that is too long */
    uint8_t set[18 + 4 * 16];
    memcpy(set, good.bytes, 18);
    set[1] = FOUNDING_AGREED;
    for (int i = 0; i < 4; i++) {
        struct id128 id = world_incarnation(i == 0 ? 1 : i == 1 ? 0 : i);
        memcpy(set + 18 + 16 * i, &id, 16);
    }
    assert_int_equal(founding_receive(founding, 1, slice_of(set, 18 + 48)), STATUS_CORRUPT);
    assert_int_equal(founding_receive(founding, 1, slice_of(set, sizeof(set))), STATUS_CORRUPT);
    for (int i = 0; i < 3; i++) {
        struct id128 id = world_incarnation(i);
        memcpy(set + 18 + 16 * i, &id, 16);
    }
    memset(set + 18 + 32, 0, 16);
    assert_int_equal(founding_receive(founding, 1, slice_of(set, 18 + 48)), STATUS_CORRUPT);
    assert_false(world->nodes[1].refused);
    /* of no founder, and of one that is not connected: nothing */
    assert_int_equal(founding_receive(founding, 9, slice_of(set, 1)), STATUS_OK);
    assert_int_equal(founding_receive(founding, 3, slice_of(set, 1)), STATUS_OK);
    world_settle(world);
    assert_true(world_all_founded(world));
    world_destroy(world);
}

static void lists_that_disagree_found_nothing(void **state)
{
    (void)state;
    struct world *world = world_create(3, 12);
    assert_true(world_start(world, 0));
    world->shards = 5;
    assert_true(world_start(world, 1));
    world_connect(world, 0, 1);
    struct world_message *message = &world->links[0][1].queue[0];
    assert_int_equal(founding_receive(world->nodes[1].founding, 1, slice_of(message->bytes, message->size)),
                     STATUS_CORRUPT);
    assert_int_equal(founding_state(world->nodes[1].founding), FOUNDING_FRESH);
    assert_false(id128_equal(&founding_record(world->nodes[0].founding)->cluster,
                             &founding_record(world->nodes[1].founding)->cluster));
    world_destroy(world);
}

static void another_start_than_the_founding_is_refused(void **state)
{
    (void)state;
    struct world *world = world_create(3, 13);
    world_settle(world);
    world_crash(world, 0, false);
    world->shards = 5;
    assert_false(world_start(world, 0));
    assert_int_equal(world->nodes[0].status, STATUS_INVALID);
    assert_string_equal(world->nodes[0].line,
                        "//cluster: the cluster was founded with --shards 4 (now 5); start this node as it was "
                        "founded, or give another --data");
    world->shards = 4;
    world->nodes[0].folder = world->nodes[1].folder; /* a folder that was copied, or a record */
    assert_false(world_start(world, 0));
    assert_int_equal(world->nodes[0].status, STATUS_INVALID);
    assert_string_equal(world->nodes[0].line,
                        "//cluster is of another data folder of node 1; start this node with that folder, or, when "
                        "that is lost, remove the node and add it anew under another id, with an empty data folder");
    world->nodes[0].folder = 0;
    world->founders[0].id = 7;
    assert_false(world_start(world, 0));
    assert_string_equal(world->nodes[0].line, "this node is not one of --peers; correct --id or --peers");
    world->founders[0].id = 2;
    assert_false(world_start(world, 0));
    assert_string_equal(world->nodes[0].line,
                        "--peers, --shards and --replicas make no cluster: every node has an id and an address of its "
                        "own; correct them");
    world_destroy(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_nodes_found_the_same_cluster),
        cmocka_unit_test(nobody_founds_while_one_is_missing),
        cmocka_unit_test(it_says_whom_it_waits_for),
        cmocka_unit_test(every_order_of_arrival),
        cmocka_unit_test(a_crash_at_every_operation),
        cmocka_unit_test(all_crash_at_every_operation),
        cmocka_unit_test(a_disk_that_fails_ends_it),
        cmocka_unit_test(an_emptied_disk_at_every_step),
        cmocka_unit_test(an_emptied_disk_of_a_founded_node_is_refused),
        cmocka_unit_test(what_was_agreed_is_not_taken_back),
        cmocka_unit_test(a_lost_record_is_taken_from_a_founded_peer),
        cmocka_unit_test(at_random),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(lists_that_disagree_found_nothing),
        cmocka_unit_test(another_start_than_the_founding_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
