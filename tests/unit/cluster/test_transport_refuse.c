/* Who is refused, with what reason, and that nobody else suffers. */
#include "base/crc32c.h"
#include "base/varint.h"
#include "cluster/transport_hello.h"
#include "cluster/transport_internal.h"
#include "transport_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { RAWS = 200 };

static struct world world;
static struct raw raws[RAWS];

static int setup(void **state)
{
    world_init(&world, 11);
    return 0;
}

static int teardown(void **state)
{
    for (int i = 0; i < RAWS; i++) {
        raw_close(&raws[i]);
    }
    world_deinit(&world);
    return 0;
}

/* ---- nodes that do not fit together ---- */

static void test_other_cluster(void **state)
{
    world_start_all(&world, 1);
    world_prepare(&world, 2);
    world_node(&world, 2)->options.cluster = (struct id128){{0xdd}};
    world_restart(&world, 2, 2);
    struct id128 incarnation = world_incarnation(2);
    world_allow(&world, 1, 2, &incarnation);
    world_run_ms(&world, 30000);
    assert_false(world_link(&world, 1, 2)->up || world_link(&world, 2, 1)->up);
    assert_true(world_node(&world, 2)->refused[TRANSPORT_CLUSTER] > 10);
    assert_true(world_node(&world, 1)->refused_by_peer[TRANSPORT_CLUSTER] > 10);
    assert_int_equal(world_statistics(&world, 2).refused[TRANSPORT_CLUSTER],
                     world_node(&world, 2)->refused[TRANSPORT_CLUSTER]);
    /* Logged once by each, however often it tries. */
    assert_int_equal(world_logged(&world, "it is of cluster cc"), 1);
    assert_int_equal(world_logged(&world, "it is of another cluster than cc"), 1);
    assert_int_equal(world_logged(&world, "check the addresses of the peers"), 2);
    world_run_ms(&world, 60000);
    assert_int_equal(world_logged(&world, "it is of cluster cc"), 2); /* a reminder, once a minute */
}

/* When the first nodes have agreed on a cluster id they carry on with it. */
static void test_cluster_id_is_set_later(void **state)
{
    struct id128 incarnations[] = {{{0}}, world_incarnation(1), world_incarnation(2)};
    for (uint64_t id = 1; id <= 2; id++) {
        world_prepare(&world, id);
        world_node(&world, id)->options.cluster = (struct id128){0};
        world_start(&world, id);
        world_allow(&world, id, 3 - id, NULL);
    }
    world_run_ms(&world, 300);
    assert_true(world_connected(&world, 1, 2));
    struct id128 cluster = {{0xee}};
    transport_set_cluster(world_node(&world, 1)->transport, &cluster);
    world_link(&world, 1, 2)->up = false;
    world_run_ms(&world, 3000);
    assert_false(world_link(&world, 1, 2)->up || world_link(&world, 2, 1)->up);
    transport_set_cluster(world_node(&world, 2)->transport, &cluster);
    world_run_ms(&world, 1500);
    assert_true(world_connected(&world, 1, 2));
    assert_memory_equal(&world_link(&world, 1, 2)->incarnation, &incarnations[2], 16);
}

static void start_with_versions(uint64_t id, uint16_t lowest, uint16_t highest)
{
    world_prepare(&world, id);
    world_node(&world, id)->options.version_lowest = lowest;
    world_node(&world, id)->options.version_highest = highest;
    world_restart(&world, id, 2);
}

static void test_highest_common_version(void **state)
{
    start_with_versions(1, 1, 3);
    start_with_versions(2, 2, 9);
    world_run_ms(&world, 300);
    assert_true(world_connected(&world, 1, 2));
    assert_int_equal(world_peer_statistics(&world, 1, 2).version, 3);
    assert_int_equal(world_peer_statistics(&world, 2, 1).version, 3);
}

static void test_no_common_version(void **state)
{
    start_with_versions(1, 1, 3);
    start_with_versions(2, 4, 9);
    world_run_ms(&world, 5000);
    assert_false(world_connected(&world, 1, 2));
    assert_true(world_node(&world, 2)->refused[TRANSPORT_VERSION] > 2);
    assert_int_equal(world_logged(&world, "it speaks versions 1 to 3 of the protocol between nodes, this node 4 to 9"),
                     1);
    assert_int_equal(world_logged(&world, "it speaks versions 4 to 9 of the protocol between nodes, this node 1 to 3"),
                     1);
}

static void test_other_purpose(void **state)
{
    world_start_all(&world, 1);
    world_prepare(&world, 2);
    world_node(&world, 2)->options.purpose = 9;
    world_restart(&world, 2, 1);
    world_allow(&world, 1, 2, NULL);
    world_run_ms(&world, 1000);
    assert_false(world_connected(&world, 1, 2));
    assert_true(world_node(&world, 2)->refused[TRANSPORT_PURPOSE] > 0);
    assert_true(world_node(&world, 1)->refused_by_peer[TRANSPORT_PURPOSE] > 0);
}

/* ---- incarnations ---- */

/* Its disk is lost, so it comes with another incarnation: refused as the voter it was, until the cluster says so. */
static void lost_disk(uint64_t loser)
{
    struct id128 fresh = {{0xf0}};
    uint64_t other = 3 - loser;
    world_start_all(&world, 2);
    world_run_ms(&world, 300);
    assert_true(world_connected(&world, 1, 2));
    world_crash(&world, loser, SIM_CRASH_KILL);
    world_node(&world, loser)->options.incarnation = fresh;
    world_restart(&world, loser, 2);
    world_run_ms(&world, 10000);
    assert_false(world_link(&world, other, loser)->up);
    assert_true(world_node(&world, other)->refused[TRANSPORT_INCARNATION] > 3);
    assert_true(world_node(&world, loser)->refused_by_peer[TRANSPORT_INCARNATION] > 3);
    assert_int_equal(world_logged(&world, "its data folder is not the one that joined"), 1);
    assert_int_equal(world_logged(&world, "joined with another data folder than this one; bring that folder back, or "
                                          "remove node"),
                     1);
    assert_int_equal(world_peer_statistics(&world, other, loser).refused, TRANSPORT_INCARNATION);
    world_allow(&world, other, loser, &fresh);
    world_run_ms(&world, 1500);
    assert_true(world_connected(&world, 1, 2));
    assert_memory_equal(&world_link(&world, other, loser)->incarnation, &fresh, 16);
    assert_int_equal(world_peer_statistics(&world, other, loser).refused, TRANSPORT_ACCEPTABLE);
}

static void test_lost_disk_of_an_acceptor(void **state) { lost_disk(2); }

static void test_lost_disk_of_a_dialer(void **state) { lost_disk(1); }

/* What is learned once is expected from then on, also when the list of peers is given again. */
static void test_learned_incarnation_is_kept(void **state)
{
    for (uint64_t id = 1; id <= 2; id++) {
        world_prepare(&world, id);
        world_start(&world, id);
        world_allow(&world, id, 3 - id, NULL);
    }
    world_run_ms(&world, 300);
    struct id128 two = world_incarnation(2);
    assert_true(world_connected(&world, 1, 2));
    struct transport_peer_statistics statistics = world_peer_statistics(&world, 1, 2);
    assert_memory_equal(statistics.incarnation.bytes, two.bytes, 16);
    world_crash(&world, 2, SIM_CRASH_KILL);
    world_node(&world, 2)->options.incarnation = (struct id128){{0xf0}};
    world_start(&world, 2);
    world_allow(&world, 2, 1, NULL);
    world_allow(&world, 1, 2, NULL);
    world_run_ms(&world, 3000);
    assert_false(world_link(&world, 1, 2)->up);
    assert_true(world_node(&world, 1)->refused[TRANSPORT_INCARNATION] > 0);
    transport_remove_peer(world_node(&world, 1)->transport, 2);
    world_allow(&world, 1, 2, NULL);
    world_run_ms(&world, 1500);
    assert_true(world_connected(&world, 1, 2));
}

/* The cluster replaces a node while the old one is still connected. */
static void test_old_incarnation_is_thrown_out(void **state)
{
    struct id128 fresh = {{0xf0}};
    world_start_all(&world, 2);
    world_run_ms(&world, 300);
    world_allow(&world, 1, 2, &fresh);
    world_link(&world, 1, 2)->up = false; /* the caller's own doing */
    world_run_ms(&world, 3000);
    assert_false(world_link(&world, 1, 2)->up || world_link(&world, 2, 1)->up);
    assert_true(world_node(&world, 1)->refused[TRANSPORT_INCARNATION] > 0);
}

/* ---- strangers ---- */

static void test_unknown_node(void **state)
{
    world_start_all(&world, 2);
    world_prepare(&world, 3);
    world_node(&world, 3)->options.node = 1000; /* it dials nobody */
    world_restart(&world, 3, 0);
    struct id128 three = world_incarnation(3);
    assert_int_equal(transport_set_peer(world_node(&world, 1)->transport, 1000, "10.0.0.3", WORLD_PORT, &three),
                     STATUS_OK);
    world_run_ms(&world, 2000);
    assert_true(world_node(&world, 3)->refused[TRANSPORT_STRANGER] > 0);
    assert_int_equal(world_logged(&world, "it is no member of this cluster; add it first"), 1);
    assert_true(world_connected(&world, 1, 2));
}

/* An address in the list of peers leads to another node of the cluster. */
static void test_wrong_address(void **state)
{
    world_start_all(&world, 3);
    struct id128 two = world_incarnation(2);
    assert_int_equal(transport_set_peer(world_node(&world, 1)->transport, 2, "10.0.0.3", WORLD_PORT, &two), STATUS_OK);
    world_run_ms(&world, 2000);
    assert_false(world_link(&world, 1, 2)->up);
    assert_true(world_connected(&world, 1, 3));
    assert_true(world_node(&world, 3)->refused[TRANSPORT_RECEIVER] > 0);
    assert_true(world_node(&world, 1)->refused_by_peer[TRANSPORT_RECEIVER] > 0);
    assert_int_equal(world_logged(&world, "it looks for node 2, but this is node 3"), 1);
}

/* ---- hellos made by hand ---- */

static struct transport_hello hello_of(uint64_t from, uint64_t to)
{
    return (struct transport_hello){.version_lowest = TRANSPORT_PROTOCOL,
                                    .version_highest = TRANSPORT_PROTOCOL,
                                    .purpose = TRANSPORT_PURPOSE_MEMBER,
                                    .cluster = {{0xcc}},
                                    .from = from,
                                    .to = to,
                                    .incarnation = world_incarnation(from),
                                    .run = 77,
                                    .attempt = 1,
                                    .lineage = {.start = 77}};
}

static void say_hello(struct raw *raw, const struct transport_hello *hello)
{
    struct buffer out = {0};
    buffer_append(&out, transport_magic, sizeof(transport_magic));
    transport_hello_encode(hello, &out);
    raw_send(raw, out.data, out.size);
    buffer_deinit(&out);
}

static void say_frame(struct raw *raw, uint8_t type, struct slice payload)
{
    struct buffer out = {0};
    size_t at = frame_begin(&out);
    buffer_append_slice(&out, payload);
    frame_end(&out, at, type);
    raw_send(raw, out.data, out.size);
    buffer_deinit(&out);
}

static struct raw *dial(int number, uint64_t to)
{
    raw_open(&raws[number], world_raw_env(&world), sim_node_address(world.sim, (int)to - 1));
    return &raws[number];
}

/* The frames that came back: their last one, and the one before. */
static struct frame frame_from(const struct raw *raw, int number)
{
    struct frame frame = {0};
    size_t at = TRANSPORT_MAGIC_BYTES, missing;
    assert_true(raw->received.size > TRANSPORT_MAGIC_BYTES);
    assert_memory_equal(raw->received.data, transport_magic, TRANSPORT_MAGIC_BYTES);
    for (int i = 0; i <= number; i++) {
        struct slice rest = slice_of(raw->received.data + at, raw->received.size - at);
        assert_int_equal(frame_decode(rest, 1 << 20, &frame, &missing), STATUS_OK);
        at += frame.size;
    }
    return frame;
}

static void assert_refused(const struct raw *raw, int frame_number, enum transport_reason reason)
{
    struct frame frame = frame_from(raw, frame_number);
    struct transport_refusal refusal;
    assert_int_equal(frame.type, TRANSPORT_TYPE_REFUSE);
    assert_int_equal(transport_refusal_decode(frame.payload, &refusal), STATUS_OK);
    assert_int_equal(refusal.reason, reason);
    assert_true(refusal.version_lowest == TRANSPORT_PROTOCOL && refusal.version_highest == TRANSPORT_PROTOCOL);
}

/* Node 2 with the allowed peers 1 and 3; `raw` comes in as node 1. */
static void start_acceptor(void)
{
    world_prepare(&world, 2);
    world_restart(&world, 2, 0);
    for (uint64_t peer = 1; peer <= 3; peer += 2) {
        struct id128 incarnation = world_incarnation(peer);
        world_allow(&world, 2, peer, &incarnation);
    }
}

static struct raw *come_up(int number, uint64_t run, uint64_t attempt)
{
    struct raw *raw = dial(number, 2);
    struct transport_hello hello = hello_of(1, 2);
    hello.run = run;
    hello.attempt = attempt;
    hello.lineage = (struct lineage){.start = run, .joined = run - 1};
    say_hello(raw, &hello);
    world_run_ms(&world, 20);
    assert_int_equal(frame_from(raw, 0).type, TRANSPORT_TYPE_HELLO);
    say_frame(raw, TRANSPORT_TYPE_READY, SLICE_LITERAL(""));
    world_run_ms(&world, 20);
    return raw;
}

static void test_larger_id_must_not_dial(void **state)
{
    start_acceptor();
    struct raw *raw = dial(0, 2);
    struct transport_hello hello = hello_of(3, 2);
    say_hello(raw, &hello);
    world_run_ms(&world, 20);
    assert_refused(raw, 0, TRANSPORT_DIRECTION);
}

static void test_refused_even_when_it_says_ready(void **state)
{
    start_acceptor();
    struct raw *raw = dial(0, 2);
    struct transport_hello hello = hello_of(1, 2);
    hello.cluster = (struct id128){{0xdd}};
    say_hello(raw, &hello);
    say_frame(raw, TRANSPORT_TYPE_READY, SLICE_LITERAL(""));
    say_frame(raw, WORLD_TYPE, SLICE_LITERAL("let me in"));
    world_run_ms(&world, 20);
    assert_refused(raw, 0, TRANSPORT_CLUSTER);
    assert_false(raw->ended); /* so that the reason is not lost; it ends soon */
    world_run_ms(&world, 1500);
    assert_true(raw->ended);
    assert_int_equal(world_link(&world, 2, 1)->ups, 0);
    assert_int_equal(world_statistics(&world, 2).unknown, 0);
}

/* Between the hello and the ready the caller has changed its mind. */
static void test_judged_again_when_ready(void **state)
{
    start_acceptor();
    struct raw *raw = dial(0, 2);
    struct transport_hello hello = hello_of(1, 2);
    say_hello(raw, &hello);
    world_run_ms(&world, 20);
    transport_remove_peer(world_node(&world, 2)->transport, 1);
    say_frame(raw, TRANSPORT_TYPE_READY, SLICE_LITERAL(""));
    world_run_ms(&world, 20);
    assert_refused(raw, 1, TRANSPORT_STRANGER);
    assert_int_equal(world_link(&world, 2, 1)->ups, 0);
}

/* Two attempts of one dialer that arrive in the wrong order: the newer stays. */
static void test_older_attempt_does_not_replace(void **state)
{
    start_acceptor();
    struct raw *newer = come_up(0, 77, 5);
    assert_true(world_link(&world, 2, 1)->up);
    struct raw *older = dial(1, 2);
    struct transport_hello hello = hello_of(1, 2);
    hello.attempt = 4;
    say_hello(older, &hello);
    world_run_ms(&world, 20);
    assert_refused(older, 0, TRANSPORT_STALE);
    assert_true(world_link(&world, 2, 1)->up && world_link(&world, 2, 1)->ups == 1);
    assert_false(newer->ended);
    (void)come_up(2, 77, 6);
    assert_int_equal(world_link(&world, 2, 1)->ups, 2);
    assert_true(newer->ended);
    (void)come_up(3, 78, 1); /* the process started again: attempts count anew */
    assert_int_equal(world_link(&world, 2, 1)->ups, 3);
    assert_int_equal(world_statistics(&world, 2).connected, 1);
}

/* The last words of a dead process arrive after its successor. */
static void test_dead_process_does_not_keep_out_its_successor(void **state)
{
    start_acceptor();
    (void)come_up(0, 77, 8);
    struct raw *successor = come_up(1, 78, 1);
    struct raw *dead = dial(2, 2);
    struct transport_hello hello = hello_of(1, 2);
    hello.attempt = 9;
    say_hello(dead, &hello);
    world_run_ms(&world, 20);
    assert_refused(dead, 0, TRANSPORT_COPY);
    assert_false(successor->ended);
    assert_int_equal(world_link(&world, 2, 1)->ups, 2);
    assert_int_equal(world_statistics(&world, 2).connected, 1);
}

/* ---- copies ---- */

static void start_again(uint64_t id)
{
    world_crash(&world, id, SIM_CRASH_KILL);
    world_restart(&world, id, 2);
    world_run_ms(&world, 3000);
}

/* A data folder as it was two starts ago, in the place of itself: refused for good by whoever saw those starts, however
 * often it is started; the folder itself is welcome. */
static void old_copy_put_back(uint64_t copied)
{
    uint64_t other = 3 - copied;
    world_start_all(&world, 2);
    world_run_ms(&world, 300);
    assert_true(world_connected(&world, 1, 2));
    struct lineage *lineage = &world_node(&world, copied)->options.lineage;
    struct lineage copy = *lineage;
    start_again(copied);
    start_again(copied);
    assert_true(world_connected(&world, 1, 2));
    const struct lineage newest = *lineage;
    for (int i = 0; i < 3; i++) {
        lineage_begin(&copy, copy.start + 100); /* times are others */
        *lineage = copy;
        start_again(copied);
        assert_false(world_link(&world, other, copied)->up);
    }
    assert_true(world_node(&world, other)->refused[TRANSPORT_COPY] >= 3);
    assert_true(world_node(&world, copied)->refused_by_peer[TRANSPORT_COPY] > 0);
    assert_int_equal(world_logged(&world, "its data folder is an older copy of node"), 1);
    assert_true(world_logged(&world, "refuses this node: this data folder is an older copy") > 0);
    *lineage = newest;
    start_again(copied);
    assert_true(world_connected(&world, 1, 2));
}

static void test_old_copy_of_a_dialer(void **state) { old_copy_put_back(1); }

static void test_old_copy_of_an_acceptor(void **state) { old_copy_put_back(2); }

/* Two processes on copies: who came first stays, whatever its number; also when both began in the same moment. */
static void test_two_processes_on_copies(void **state)
{
    start_acceptor();
    struct raw *first = come_up(0, 77, 1);
    for (uint64_t start = 76; start <= 78; start++) {
        struct raw *second = dial((int)(start - 75), 2);
        struct transport_hello hello = hello_of(1, 2);
        hello.run = 99;
        hello.lineage = (struct lineage){.start = start, .joined = 75};
        say_hello(second, &hello);
        world_run_ms(&world, 20);
        assert_refused(second, 0, TRANSPORT_COPY);
    }
    assert_false(first->ended);
    assert_int_equal(world_link(&world, 2, 1)->ups, 1);
}

/* What others have seen counts as well; what they have not need not be known. */
static void test_seen_by_others(void **state)
{
    start_acceptor();
    transport_set_seen(world_node(&world, 2)->transport, 1, 78);
    transport_set_seen(world_node(&world, 2)->transport, 1, 70);
    transport_set_seen(world_node(&world, 2)->transport, 4, 70); /* nobody */
    struct raw *copy = dial(0, 2);
    struct transport_hello hello = hello_of(1, 2);
    say_hello(copy, &hello);
    world_run_ms(&world, 20);
    assert_refused(copy, 0, TRANSPORT_COPY);
    (void)come_up(1, 78, 1);
    (void)come_up(2, 79, 1);
    assert_int_equal(world_link(&world, 2, 1)->ups, 2);
}

/* ---- damage ---- */

static void test_damaged_frame_ends_the_connection(void **state)
{
    start_acceptor();
    struct raw *raw = come_up(0, 77, 1);
    struct buffer out = {0};
    size_t at = frame_begin(&out);
    buffer_append_string(&out, "0123456789");
    frame_end(&out, at, WORLD_TYPE);
    out.data[out.size - 1] ^= 4;
    raw_send(raw, out.data, out.size);
    buffer_deinit(&out);
    world_run_ms(&world, 20);
    assert_int_equal(world_link(&world, 2, 1)->downs, 1);
    assert_int_equal(world_link(&world, 2, 1)->frames, 0);
    assert_int_equal(world_statistics(&world, 2).refused[TRANSPORT_DAMAGED], 1);
    assert_int_equal(world_logged(&world, "refused node 1"), 1);
    (void)come_up(1, 77, 2);
    assert_true(world_link(&world, 2, 1)->up);
}

static void test_frames_out_of_place(void **state)
{
    start_acceptor();
    struct transport_hello hello = hello_of(1, 2);
    struct raw *again = come_up(0, 77, 1);
    say_hello(again, &hello); /* its magic is no frame */
    struct raw *no_hello = dial(1, 2);
    raw_send(no_hello, transport_magic, sizeof(transport_magic));
    say_frame(no_hello, WORLD_TYPE, SLICE_LITERAL("frame"));
    struct raw *refuses = dial(2, 2);
    raw_send(refuses, transport_magic, sizeof(transport_magic));
    say_frame(refuses, TRANSPORT_TYPE_REFUSE, SLICE_LITERAL("\5\0\1\0\1\0"));
    struct raw *short_hello = dial(3, 2);
    raw_send(short_hello, transport_magic, sizeof(transport_magic));
    say_frame(short_hello, TRANSPORT_TYPE_HELLO, SLICE_LITERAL("hello"));
    struct raw *large = dial(4, 2);
    static const uint8_t zeros[TRANSPORT_HANDSHAKE_FRAME_BYTES + 1];
    raw_send(large, transport_magic, sizeof(transport_magic));
    say_frame(large, TRANSPORT_TYPE_HELLO, slice_of(zeros, sizeof(zeros)));
    world_run_ms(&world, 50);
    assert_refused(no_hello, 0, TRANSPORT_DAMAGED);
    assert_refused(refuses, 0, TRANSPORT_DAMAGED);
    assert_refused(short_hello, 0, TRANSPORT_DAMAGED);
    assert_refused(large, 0, TRANSPORT_DAMAGED);
    assert_int_equal(world_link(&world, 2, 1)->downs, 1);
    assert_int_equal(world_statistics(&world, 2).refused[TRANSPORT_DAMAGED], 5);
    world_run_ms(&world, 1500);
    assert_int_equal(world_statistics(&world, 2).unknown, 0);
}

static void say_part(struct raw *raw, uint8_t type, uint8_t priority, uint8_t last, size_t size)
{
    static uint8_t part[TRANSPORT_PART_HEAD_BYTES + TRANSPORT_PART_BYTES];
    part[0] = type;
    part[1] = priority;
    part[2] = last;
    say_frame(raw, TRANSPORT_TYPE_PART, slice_of(part, TRANSPORT_PART_HEAD_BYTES + size));
    world_run_ms(&world, 20);
}

/* A large frame costs the sender the bytes before it costs us the memory, and has a limit. */
static void test_large_frames_are_bounded(void **state)
{
    world_prepare(&world, 2);
    world_node(&world, 2)->options.frame_bytes = 200000;
    world_restart(&world, 2, 0);
    struct id128 incarnation = world_incarnation(1);
    world_allow(&world, 2, 1, &incarnation);
    struct raw *raw = come_up(0, 77, 1);
    for (size_t i = 0; i < 3; i++) {
        say_part(raw, WORLD_TYPE, TRANSPORT_URGENT, 0, TRANSPORT_PART_BYTES);
        const struct transport *transport = world_node(&world, 2)->transport;
        assert_int_equal(transport_find_up(transport, 1)->large[TRANSPORT_URGENT].bytes.size,
                         (i + 1) * TRANSPORT_PART_BYTES);
        assert_true(transport_find_up(transport, 1)->in.capacity <= 2 * TRANSPORT_READ_BYTES);
    }
    say_part(raw, WORLD_TYPE, TRANSPORT_URGENT, 0, 200000 - 3 * TRANSPORT_PART_BYTES);
    assert_true(world_link(&world, 2, 1)->up);
    say_part(raw, WORLD_TYPE, TRANSPORT_URGENT, 1, 1);
    assert_refused(raw, 2, TRANSPORT_DAMAGED);
    assert_int_equal(world_link(&world, 2, 1)->frames, 0);
}

static void test_parts_that_make_no_sense(void **state)
{
    static const struct {
        uint8_t type, priority, last;
        size_t size;
    } parts[] = {
        {WORLD_TYPE + 1, TRANSPORT_URGENT, 0, 10},    /* of another frame than the one that has begun */
        {TRANSPORT_TYPE_PING, TRANSPORT_BULK, 0, 10}, /* the transport's own are small */
        {WORLD_TYPE, TRANSPORT_PRIORITIES, 0, 10},    {WORLD_TYPE, TRANSPORT_BULK, 2, 10},
        {WORLD_TYPE, TRANSPORT_BULK, 1, 0},
    };
    enum { PARTS = sizeof(parts) / sizeof(parts[0]) };
    start_acceptor();
    for (uint64_t i = 0; i < PARTS; i++) {
        struct raw *raw = come_up((int)i, 77, i + 1);
        say_part(raw, WORLD_TYPE, TRANSPORT_URGENT, 0, 10);
        assert_true(world_link(&world, 2, 1)->up);
        say_part(raw, parts[i].type, parts[i].priority, parts[i].last, parts[i].size);
        assert_refused(raw, 2, TRANSPORT_DAMAGED);
    }
    assert_int_equal(world_statistics(&world, 2).refused[TRANSPORT_DAMAGED], PARTS);
}

/* A peer that only ever pings cannot make us hoard answers. */
static void test_pings_without_reading(void **state)
{
    world_prepare(&world, 2);
    world_node(&world, 2)->options.queue_bytes[TRANSPORT_SIGNAL] = 10000;
    sim_network(world.sim)->buffer_bytes = 20000;
    world_restart(&world, 2, 0);
    struct id128 incarnation = world_incarnation(1);
    world_allow(&world, 2, 1, &incarnation);
    struct raw *raw = come_up(0, 77, 1);
    env_stream_want_read(raw->env, raw->stream, false);
    for (int i = 0; i < 5000; i++) {
        say_frame(raw, TRANSPORT_TYPE_PING, SLICE_LITERAL("01234567"));
    }
    world_run_ms(&world, 2500);
    assert_true(world_link(&world, 2, 1)->up);
    assert_true(world_peer_statistics(&world, 2, 1).queued_bytes[TRANSPORT_SIGNAL] >= 10000);
    assert_true(world_peer_statistics(&world, 2, 1).queued_bytes[TRANSPORT_SIGNAL] < 10100);
}

/* ---- garbage ---- */

static void test_garbage(void **state)
{
    static const char *const texts[] = {"PING\r\n", "*1\r\n$4\r\nPING\r\n", "GET / HTTP/1.1\r\n\r\n",
                                        "\xc0"
                                        "COHORT!"};
    world_start_all(&world, 2);
    world_run_ms(&world, 300);
    for (int i = 0; i < 40; i++) {
        struct raw *raw = dial(i, 2);
        raw_send(raw, texts[i % 4], strlen(texts[i % 4]));
    }
    world_run_ms(&world, 50);
    for (int i = 0; i < 40; i++) {
        assert_true(raws[i].ended); /* at once */
        assert_int_equal(raws[i].received.size, 0);
    }
    assert_int_equal(world_statistics(&world, 2).refused[TRANSPORT_GARBAGE], 40);
    assert_int_equal(world_node(&world, 2)->refused[TRANSPORT_GARBAGE], 40);
    assert_int_equal(world_logged(&world, "it does not speak the protocol between nodes; clients belong to"), 1);
    assert_true(world_connected(&world, 1, 2));
}

static void test_random_garbage(void **state)
{
    start_acceptor();
    struct prng *prng = sim_prng(world.sim, SIM_DRAW_CLIENT);
    for (int i = 0; i < RAWS; i++) {
        struct raw *raw = dial(i, 2);
        uint8_t bytes[300];
        for (size_t j = 0; j < sizeof(bytes); j++) {
            bytes[j] = (uint8_t)prng_next(prng);
        }
        if (i % 2 == 0) {
            memcpy(bytes, transport_magic, TRANSPORT_MAGIC_BYTES);
        }
        raw_send(raw, bytes, sizeof(bytes));
        world_run_ms(&world, 20);
    }
    struct transport_statistics statistics = world_statistics(&world, 2);
    assert_int_equal(statistics.refused[TRANSPORT_GARBAGE], RAWS / 2);
    assert_int_equal(statistics.refused[TRANSPORT_DAMAGED], RAWS / 2);
    assert_true(statistics.unknown <= 64);
}

/* ---- silence and crowds ---- */

static void test_silence(void **state)
{
    start_acceptor();
    struct raw *silent = dial(0, 2), *half = dial(1, 2), *no_ready = dial(2, 2);
    struct transport_hello hello = hello_of(1, 2);
    raw_send(half, transport_magic, 5);
    say_hello(no_ready, &hello);
    world_run_ms(&world, 1900);
    assert_int_equal(world_statistics(&world, 2).unknown, 3);
    world_run_ms(&world, 200);
    assert_refused(silent, 0, TRANSPORT_SLOW);
    assert_refused(half, 0, TRANSPORT_SLOW);
    assert_refused(no_ready, 1, TRANSPORT_SLOW);
    world_run_ms(&world, 1200);
    assert_true(silent->ended && half->ended && no_ready->ended);
    assert_int_equal(world_statistics(&world, 2).unknown, 0);
    assert_int_equal(world_statistics(&world, 2).refused[TRANSPORT_SLOW], 3);
}

/* A crowd of strangers is bounded, and a real peer gets through it. */
static void test_crowd(void **state)
{
    world_prepare(&world, 2);
    world_restart(&world, 2, 2);
    for (int i = 0; i < RAWS; i++) {
        (void)dial(i, 2);
        world_run_ms(&world, 1);
        assert_true(world_statistics(&world, 2).unknown <= 64);
    }
    world_run_ms(&world, 50);
    assert_int_equal(world_statistics(&world, 2).unknown, 64);
    assert_int_equal(world_statistics(&world, 2).refused[TRANSPORT_CROWDED], RAWS - 64);
    world_prepare(&world, 1);
    world_restart(&world, 1, 2);
    world_run_ms(&world, 200);
    assert_true(world_connected(&world, 1, 2));
}

/* ---- a port that does not answer as it should ---- */

struct impostor {
    struct env *env;
    struct env_listener *listener;
    int accepted;
    bool hang_up;
    const char *says;
};

static void impostor_accepted(void *owner, struct env_stream *stream)
{
    struct impostor *impostor = owner;
    struct raw *raw = &raws[impostor->accepted++ % RAWS];
    raw_close(raw);
    raw_adopt(raw, impostor->env, stream);
    if (impostor->says != NULL) {
        raw_send(raw, impostor->says, strlen(impostor->says));
    }
    if (impostor->hang_up) {
        raw_close(raw);
    }
}

static void impostor_failed(void *owner, enum status status) {}

static const struct env_listener_events impostor_events = {impostor_accepted, impostor_failed};

static int connections_in_a_minute(struct impostor *impostor)
{
    impostor->env = sim_node_start(world.sim, 1);
    assert_int_equal(env_listen(impostor->env, sim_node_address(world.sim, 1), WORLD_PORT, &impostor_events, impostor,
                                &impostor->listener),
                     STATUS_OK);
    world_prepare(&world, 1);
    world_restart(&world, 1, 2);
    world_run_ms(&world, 60000);
    assert_int_equal(world_link(&world, 1, 2)->ups, 0);
    assert_true(world_logged(&world, "") <= 3); /* the first, and a minute later */
    return impostor->accepted;
}

/* Attempts come ever more seldom, whatever the other side does to us. */
static void test_storm_of_hang_ups(void **state)
{
    struct impostor impostor = {.hang_up = true};
    int count = connections_in_a_minute(&impostor);
    assert_true(count > 55 && count < 140);
}

static void test_storm_of_garbage(void **state)
{
    struct impostor impostor = {.says = "-ERR unknown command\r\n"};
    int count = connections_in_a_minute(&impostor);
    assert_true(count > 55 && count < 140);
    assert_int_equal(world_statistics(&world, 1).refused[TRANSPORT_GARBAGE], count);
}

static void test_silent_port(void **state)
{
    struct impostor impostor = {0};
    int count = connections_in_a_minute(&impostor);
    assert_true(count > 15 && count < 40);
}

/* Nobody is there at all: dials are refused at once, and still come seldom. */
static void test_nobody_there(void **state)
{
    world_start_all(&world, 1);
    (void)sim_node_start(world.sim, 1);
    struct id128 two = world_incarnation(2);
    world_allow(&world, 1, 2, &two);
    world_run_ms(&world, 59000);
    assert_true(world_statistics(&world, 1).dialed > 55 && world_statistics(&world, 1).dialed < 140);
    assert_int_equal(world_logged(&world, "cannot reach node 2 at 10.0.0.2 port 17000: connection refused"), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_other_cluster),
        TEST(test_cluster_id_is_set_later),
        TEST(test_highest_common_version),
        TEST(test_no_common_version),
        TEST(test_other_purpose),
        TEST(test_lost_disk_of_an_acceptor),
        TEST(test_lost_disk_of_a_dialer),
        TEST(test_learned_incarnation_is_kept),
        TEST(test_old_incarnation_is_thrown_out),
        TEST(test_unknown_node),
        TEST(test_wrong_address),
        TEST(test_larger_id_must_not_dial),
        TEST(test_refused_even_when_it_says_ready),
        TEST(test_judged_again_when_ready),
        TEST(test_older_attempt_does_not_replace),
        TEST(test_dead_process_does_not_keep_out_its_successor),
        TEST(test_old_copy_of_a_dialer),
        TEST(test_old_copy_of_an_acceptor),
        TEST(test_two_processes_on_copies),
        TEST(test_seen_by_others),
        TEST(test_damaged_frame_ends_the_connection),
        TEST(test_frames_out_of_place),
        TEST(test_large_frames_are_bounded),
        TEST(test_parts_that_make_no_sense),
        TEST(test_pings_without_reading),
        TEST(test_garbage),
        TEST(test_random_garbage),
        TEST(test_silence),
        TEST(test_crowd),
        TEST(test_storm_of_hang_ups),
        TEST(test_storm_of_garbage),
        TEST(test_silent_port),
        TEST(test_nobody_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
