#include "base/prng.h"
#include "cluster/members.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const struct id128 cluster = {{0xc1}};

static struct id128 incarnation(uint8_t number) { return (struct id128){{number, 0xee}}; }

static struct member_address at(uint16_t port)
{
    struct member_address address;
    assert_true(member_address_make(&address, SLICE_LITERAL("127.0.0.1"), port));
    return address;
}

static struct member node(uint64_t id, uint16_t port)
{
    return (struct member){.id = id, .client = at(port), .peer = at((uint16_t)(port + 10000))};
}

static struct members_change seen(uint64_t id, uint16_t port, uint8_t number)
{
    return (struct members_change){.kind = MEMBERS_SEEN,
                                   .node = id,
                                   .incarnation = incarnation(number),
                                   .client = at(port),
                                   .peer = at((uint16_t)(port + 10000)),
                                   .format = MEMBERS_FORMAT};
}

static struct members_change add(uint64_t id, uint16_t port)
{
    return (struct members_change){
        .kind = MEMBERS_ADD, .node = id, .client = at(port), .peer = at((uint16_t)(port + 10000))};
}

static struct members_change about(enum members_change_kind kind, uint64_t id)
{
    return (struct members_change){.kind = kind, .node = id};
}

/* Through the log: encoded, decoded, judged and applied. */
static enum members_verdict apply(struct members *members, const struct members_change *change)
{
    struct buffer bytes;
    buffer_init(&bytes);
    members_change_encode(change, &bytes);
    struct members_change decoded;
    assert_int_equal(members_change_decode(buffer_slice(&bytes), &decoded), STATUS_OK);
    enum members_verdict judged = members_judge(members, &decoded);
    uint64_t before = members_digest(members);
    enum members_verdict verdict;
    assert_int_equal(members_apply(members, &decoded, &verdict), STATUS_OK);
    assert_int_equal(verdict, judged);
    assert_int_equal(verdict == MEMBERS_CHANGED, members_digest(members) != before);
    buffer_deinit(&bytes);
    return verdict;
}

#define expect(members, change, verdict)                                                                               \
    do {                                                                                                               \
        struct members_change to_apply = (change);                                                                     \
        assert_int_equal(apply(members, &to_apply), verdict);                                                          \
    } while (0)

static enum members_verdict bootstrap(struct members *members, uint32_t shards, uint32_t replicas,
                                      const struct member *nodes, size_t count)
{
    struct members *first = members_create();
    assert_int_equal(members_make(first, &cluster, shards, replicas, nodes, count), STATUS_OK);
    struct buffer state;
    buffer_init(&state);
    members_encode(first, &state);
    struct members_change change = {.kind = MEMBERS_BOOTSTRAP, .state = buffer_slice(&state)};
    enum members_verdict verdict = apply(members, &change);
    buffer_deinit(&state);
    members_destroy(first);
    return verdict;
}

static int make_cluster(void **state)
{
    const struct member nodes[] = {node(3, 7003), node(1, 7001), node(2, 7002)};
    struct members *members = members_create();
    assert_int_equal(bootstrap(members, 4, 3, nodes, 3), MEMBERS_CHANGED);
    *state = members;
    return 0;
}

static int end_cluster(void **state)
{
    members_destroy(*state);
    return 0;
}

static void test_nothing_before_the_bootstrap(void **state)
{
    struct members *members = members_create();
    assert_false(members_bootstrapped(members));
    expect(members, seen(1, 7001, 1), MEMBERS_NO_CLUSTER);
    expect(members, add(4, 7004), MEMBERS_NO_CLUSTER);
    expect(members, about(MEMBERS_REMOVE, 1), MEMBERS_NO_CLUSTER);
    members_destroy(members);
}

static void test_bootstrap_happens_once(void **state)
{
    struct members *members = *state;
    assert_true(members_bootstrapped(members));
    assert_int_equal(members->placement.shard_count, 4);
    assert_int_equal(members->nodes[0].id, 1); /* sorted */
    assert_string_equal(members_find(members, 2)->client.host, "127.0.0.1");
    assert_int_equal(members_find(members, 2)->peer.port, 17002);
    assert_null(members_find(members, 4));
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(members->placement.shards[i].voter_count, 3);
    }
    const struct member others[] = {node(7, 7007)};
    assert_int_equal(bootstrap(members, 8, 1, others, 1), MEMBERS_HAS_CLUSTER);
    assert_int_equal(members->placement.shard_count, 4);
}

static void test_make_refuses_nonsense(void **state)
{
    struct members *members = members_create();
    const struct member twice[] = {node(1, 7001), node(1, 7002)};
    const struct member same_place[] = {node(1, 7001), node(2, 7001)};
    const struct member zero[] = {node(0, 7001)};
    const struct member good[] = {node(1, 7001)};
    const struct id128 none = {0};
    assert_int_equal(members_make(members, &cluster, 4, 3, twice, 2), STATUS_INVALID);
    assert_int_equal(members_make(members, &cluster, 4, 3, same_place, 2), STATUS_INVALID);
    assert_int_equal(members_make(members, &cluster, 4, 3, zero, 1), STATUS_INVALID);
    assert_int_equal(members_make(members, &cluster, 4, 3, good, 0), STATUS_INVALID);
    assert_int_equal(members_make(members, &cluster, 0, 3, good, 1), STATUS_INVALID);
    assert_int_equal(members_make(members, &cluster, SLOT_MAXIMUM_SHARDS + 1, 3, good, 1), STATUS_INVALID);
    assert_int_equal(members_make(members, &cluster, 4, 0, good, 1), STATUS_INVALID);
    assert_int_equal(members_make(members, &cluster, 4, 8, good, 1), STATUS_INVALID);
    assert_int_equal(members_make(members, &none, 4, 3, good, 1), STATUS_INVALID);
    assert_false(members_bootstrapped(members));
    members_destroy(members);
}

static void test_addresses(void **state)
{
    struct member_address address;
    assert_true(member_address_make(&address, SLICE_LITERAL("fe80::1%eth0"), 65535));
    assert_true(member_address_valid(&address));
    assert_true(member_address_make(&address, SLICE_LITERAL("a-b_c.example"), 1));
    assert_false(member_address_make(&address, SLICE_LITERAL(""), 1));
    assert_false(member_address_make(&address, SLICE_LITERAL("a b"), 1));
    assert_false(member_address_make(&address, SLICE_LITERAL("a,b"), 1));
    assert_false(member_address_make(&address, SLICE_LITERAL("a\0b"), 1));
    assert_false(member_address_make(&address, SLICE_LITERAL("a\r\nb"), 1));
    assert_false(member_address_make(&address, SLICE_LITERAL("a"), 0));
    assert_false(member_address_make(&address, SLICE_LITERAL("a"), 65536));
    char host[MEMBERS_HOST_BYTES + 1];
    memset(host, 'h', sizeof(host));
    assert_true(member_address_make(&address, slice_of(host, MEMBERS_HOST_BYTES - 1), 1));
    assert_false(member_address_make(&address, slice_of(host, MEMBERS_HOST_BYTES), 1));
}

static void test_the_first_incarnation_is_bound(void **state)
{
    struct members *members = *state;
    expect(members, seen(2, 7002, 5), MEMBERS_CHANGED);
    expect(members, seen(2, 7002, 5), MEMBERS_UNCHANGED);
    expect(members, seen(2, 7002, 6), MEMBERS_OTHER_INCARNATION);
    expect(members, seen(2, 7902, 6), MEMBERS_OTHER_INCARNATION); /* nor may it change anything else */
    expect(members, seen(9, 7009, 9), MEMBERS_UNKNOWN_NODE);
    assert_int_equal(members_find(members, 2)->client.port, 7002);
}

/* "Rejoin with an empty disk under a new identity only." */
static void test_a_lost_disk_is_told_how_to_come_back(void **state)
{
    struct members *members = *state;
    expect(members, seen(2, 7002, 5), MEMBERS_CHANGED);
    struct members_change again = seen(2, 7002, 6);
    char text[MEMBERS_EXPLAIN_BYTES];
    members_explain(members, &again, members_judge(members, &again), text);
    assert_string_equal(
        text,
        "node 2 joined this cluster with another data folder (incarnation 05ee0000000000000000000000000000, this "
        "one is 06ee0000000000000000000000000000); start it with that folder, or, when that is lost, add it anew: "
        "`cohort node remove 2`, `cohort node add 4=127.0.0.1:7002`, then start it with --id 4 and an empty data "
        "folder");
    /* and that way works, once its seats are moved */
    expect(members, add(4, 7004), MEMBERS_CHANGED);
    expect(members, seen(4, 7004, 7), MEMBERS_CHANGED);
    expect(members, about(MEMBERS_PROMOTE, 4), MEMBERS_CHANGED);
    expect(members, about(MEMBERS_REMOVE, 2), MEMBERS_CHANGED);
    for (uint32_t shard = 1; shard <= 4; shard++) {
        expect(members, about(MEMBERS_FORGET, 2), MEMBERS_STILL_VOTES);
        struct members_change place = {
            .kind = MEMBERS_PLACE, .shard = shard, .place = {.voters = {1, 3, 4}, .leader = 4, .voter_count = 3}};
        expect(members, place, MEMBERS_CHANGED);
        expect(members, place, MEMBERS_UNCHANGED);
    }
    expect(members, about(MEMBERS_FORGET, 2), MEMBERS_CHANGED);
    expect(members, seen(2, 7002, 5), MEMBERS_UNKNOWN_NODE);
}

static void test_a_node_moves_to_another_address(void **state)
{
    struct members *members = *state;
    expect(members, seen(1, 7001, 1), MEMBERS_CHANGED);
    expect(members, seen(1, 7101, 1), MEMBERS_CHANGED);
    assert_int_equal(members_find(members, 1)->client.port, 7101);
    expect(members, seen(1, 7002, 1), MEMBERS_ADDRESS_TAKEN);
    expect(members, add(4, 7002), MEMBERS_ADDRESS_TAKEN);
    expect(members, add(4, 7001), MEMBERS_CHANGED); /* that one is free now */
}

static void test_ids_are_used_once(void **state)
{
    struct members *members = *state;
    expect(members, add(3, 7004), MEMBERS_ID_USED);
    expect(members, add(5, 7005), MEMBERS_CHANGED);
    expect(members, add(5, 7005), MEMBERS_UNCHANGED);
    expect(members, add(5, 7006), MEMBERS_ID_USED);
    expect(members, add(4, 7004), MEMBERS_ID_USED); /* 4 was never used, but is smaller */
    expect(members, about(MEMBERS_REMOVE, 5), MEMBERS_CHANGED);
    expect(members, about(MEMBERS_FORGET, 5), MEMBERS_CHANGED);
    expect(members, add(5, 7005), MEMBERS_ID_USED);
    expect(members, add(6, 7005), MEMBERS_CHANGED);
}

static void test_a_node_goes_its_way(void **state)
{
    struct members *members = *state;
    expect(members, add(4, 7004), MEMBERS_CHANGED);
    expect(members, about(MEMBERS_PROMOTE, 4), MEMBERS_NOT_SEEN);
    expect(members, about(MEMBERS_FORGET, 4), MEMBERS_WRONG_STATE);
    expect(members, seen(4, 7004, 4), MEMBERS_CHANGED);
    expect(members, about(MEMBERS_PROMOTE, 4), MEMBERS_CHANGED);
    expect(members, about(MEMBERS_PROMOTE, 4), MEMBERS_UNCHANGED);
    expect(members, about(MEMBERS_REMOVE, 4), MEMBERS_CHANGED);
    expect(members, about(MEMBERS_REMOVE, 4), MEMBERS_UNCHANGED);
    expect(members, about(MEMBERS_PROMOTE, 4), MEMBERS_WRONG_STATE);
    expect(members, about(MEMBERS_FORGET, 4), MEMBERS_CHANGED);
    expect(members, about(MEMBERS_FORGET, 4), MEMBERS_UNKNOWN_NODE);
    expect(members, about(MEMBERS_REMOVE, 1), MEMBERS_CHANGED);
    expect(members, about(MEMBERS_REMOVE, 2), MEMBERS_CHANGED);
    expect(members, about(MEMBERS_REMOVE, 3), MEMBERS_LAST_NODE);
}

static struct members_change place(uint32_t shard, uint8_t count, uint64_t a, uint64_t b, uint64_t c, uint64_t leader)
{
    return (struct members_change){.kind = MEMBERS_PLACE, .shard = shard, .place = {{a, b, c, 9}, leader, count}};
}

static void test_places(void **state)
{
    struct members *members = *state;
    expect(members, place(4, 1, 2, 0, 0, 2), MEMBERS_CHANGED);
    expect(members, place(5, 1, 2, 0, 0, 2), MEMBERS_BAD_PLACE); /* no such shard */
    expect(members, place(1, 2, 1, 7, 0, 1), MEMBERS_BAD_PLACE); /* no such node */
    expect(members, place(1, 4, 1, 2, 3, 1), MEMBERS_BAD_PLACE); /* more than the replicas */
    expect(members, add(4, 7004), MEMBERS_CHANGED);
    expect(members, place(1, 3, 1, 2, 4, 1), MEMBERS_BAD_PLACE); /* joining */
    expect(members, about(MEMBERS_REMOVE, 3), MEMBERS_CHANGED);
    expect(members, place(1, 2, 1, 3, 0, 1), MEMBERS_CHANGED);   /* it voted there, and may stay a while */
    expect(members, place(4, 2, 2, 3, 0, 2), MEMBERS_BAD_PLACE); /* but gets nothing new */
}

static void test_formats(void **state)
{
    struct members *members = *state;
    struct members_change newer = seen(1, 7001, 1);
    newer.format = MEMBERS_FORMAT + 1;
    expect(members, newer, MEMBERS_CHANGED);
    expect(members, seen(2, 7002, 2), MEMBERS_CHANGED);
    struct members_change raise = {.kind = MEMBERS_RAISE, .format = MEMBERS_FORMAT + 1};
    expect(members, raise, MEMBERS_OLD_BINARY); /* node 2 */
    newer = seen(2, 7002, 2);
    newer.format = MEMBERS_FORMAT + 1;
    expect(members, newer, MEMBERS_CHANGED);
    expect(members, raise, MEMBERS_CHANGED);
    expect(members, raise, MEMBERS_UNCHANGED);
    expect(members, seen(3, 7003, 3), MEMBERS_OLD_BINARY); /* node 3 comes late, with the old one */
}

static void test_a_full_cluster(void **state)
{
    struct members *members = *state;
    for (uint64_t id = 4; id <= PLACEMENT_MAXIMUM_NODES; id++) {
        expect(members, add(id, (uint16_t)(7000 + id)), MEMBERS_CHANGED);
    }
    expect(members, add(100, 7100), MEMBERS_FULL);
}

static void test_every_verdict_has_a_text(void **state)
{
    struct members *members = *state;
    struct members_change change = seen(2, 7002, 5);
    for (int verdict = MEMBERS_CHANGED; verdict <= MEMBERS_BAD_PLACE; verdict++) {
        char text[MEMBERS_EXPLAIN_BYTES] = "";
        members_explain(members, &change, (enum members_verdict)verdict, text);
        assert_true(strlen(text) >= 2);
        assert_null(strstr(text, "null"));
    }
}

/* ---- bytes ---- */

static void test_state_survives_its_bytes(void **state)
{
    struct members *members = *state;
    expect(members, seen(1, 7001, 1), MEMBERS_CHANGED);
    expect(members, add(4, 7004), MEMBERS_CHANGED);
    struct buffer bytes;
    buffer_init(&bytes);
    members_encode(members, &bytes);
    struct members *other = members_create();
    assert_int_equal(members_decode(buffer_slice(&bytes), other), STATUS_OK);
    assert_int_equal(members_digest(other), members_digest(members));
    assert_memory_equal(other, members, sizeof(*other));
    for (size_t size = 0; size < bytes.size; size++) { /* cut short anywhere: refused, nothing touched */
        assert_int_equal(members_decode(slice_of(bytes.data, size), other), STATUS_CORRUPT);
    }
    assert_memory_equal(other, members, sizeof(*other));
    buffer_append_byte(&bytes, 0);
    assert_int_equal(members_decode(buffer_slice(&bytes), other), STATUS_CORRUPT);
    bytes.data[0] = 2;
    assert_int_equal(members_decode(buffer_slice(&bytes), other), STATUS_VERSION);
    members_destroy(other);
    buffer_deinit(&bytes);
}

static void test_an_empty_state_has_bytes_too(void **state)
{
    struct members *members = members_create();
    struct members *other = members_create();
    struct buffer bytes;
    buffer_init(&bytes);
    members_encode(members, &bytes);
    assert_int_equal(members_decode(buffer_slice(&bytes), other), STATUS_OK);
    assert_false(members_bootstrapped(other));
    buffer_deinit(&bytes);
    members_destroy(members);
    members_destroy(other);
}

/* Two replicas hear the same random changes; one is now and then replaced by what its snapshot gives. */
static void test_replicas_stay_equal(void **state)
{
    struct prng prng;
    prng_seed(&prng, 3);
    struct members *one = *state;
    struct members *other = members_create();
    struct buffer bytes;
    buffer_init(&bytes);
    members_encode(one, &bytes);
    assert_int_equal(members_decode(buffer_slice(&bytes), other), STATUS_OK);
    uint32_t changed = 0;
    for (int i = 0; i < 20000; i++) {
        uint64_t id = 1 + prng_below(&prng, one->last_id + 1);
        uint16_t port = (uint16_t)(7000 + prng_below(&prng, 90));
        uint8_t number = (uint8_t)(1 + (prng_chance(&prng, 1, 10) ? prng_below(&prng, 3) : id % 3));
        struct members_change change;
        switch (prng_below(&prng, 6)) {
        case 0: change = seen(id, port, number); break;
        case 1: change = add(id, port); break;
        case 2: change = place(1 + (uint32_t)prng_below(&prng, 4), 1, id, 0, 0, id); break;
        default: change = about((enum members_change_kind)(MEMBERS_PROMOTE + prng_below(&prng, 3)), id); break;
        }
        enum members_verdict verdict = apply(one, &change);
        changed += verdict == MEMBERS_CHANGED;
        assert_int_equal(apply(other, &change), verdict);
        if (i % 100 == 0) {
            buffer_clear(&bytes);
            members_encode(other, &bytes);
            members_destroy(other);
            other = members_create();
            assert_int_equal(members_decode(buffer_slice(&bytes), other), STATUS_OK);
        }
        assert_int_equal(members_digest(one), members_digest(other));
    }
    assert_true(changed > 500);
    buffer_deinit(&bytes);
    members_destroy(other);
}

static void test_damaged_changes(void **state)
{
    struct buffer bytes;
    buffer_init(&bytes);
    struct members_change change = seen(2, 7002, 5);
    members_change_encode(&change, &bytes);
    struct members_change decoded;
    for (size_t size = 0; size < bytes.size; size++) {
        assert_int_equal(members_change_decode(slice_of(bytes.data, size), &decoded), STATUS_CORRUPT);
    }
    bytes.data[1] = 99;
    assert_int_equal(members_change_decode(buffer_slice(&bytes), &decoded), STATUS_CORRUPT);
    bytes.data[0] = 2;
    assert_int_equal(members_change_decode(buffer_slice(&bytes), &decoded), STATUS_VERSION);
    buffer_deinit(&bytes);
    struct members *members = members_create();
    struct members_change damaged = {.kind = MEMBERS_BOOTSTRAP, .state = SLICE_LITERAL("\1nonsense")};
    enum members_verdict verdict;
    assert_int_equal(members_apply(members, &damaged, &verdict), STATUS_CORRUPT);
    assert_false(members_bootstrapped(members));
    members_destroy(members);
}

#define with_cluster(test) cmocka_unit_test_setup_teardown(test, make_cluster, end_cluster)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_before_the_bootstrap),
        with_cluster(test_bootstrap_happens_once),
        cmocka_unit_test(test_make_refuses_nonsense),
        cmocka_unit_test(test_addresses),
        with_cluster(test_the_first_incarnation_is_bound),
        with_cluster(test_a_lost_disk_is_told_how_to_come_back),
        with_cluster(test_a_node_moves_to_another_address),
        with_cluster(test_ids_are_used_once),
        with_cluster(test_a_node_goes_its_way),
        with_cluster(test_places),
        with_cluster(test_formats),
        with_cluster(test_a_full_cluster),
        with_cluster(test_every_verdict_has_a_text),
        with_cluster(test_state_survives_its_bytes),
        cmocka_unit_test(test_an_empty_state_has_bytes_too),
        with_cluster(test_replicas_stay_equal),
        cmocka_unit_test(test_damaged_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
