#include "base/prng.h"
#include "cluster/placement.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { NODES = 9, SHARDS = 64 };

static const uint32_t replica_counts[] = {1, 3, 5};
enum { REPLICA_COUNTS = 3 };

/* Ids with gaps, as they are after nodes were removed. */
static const uint64_t ids[NODES + 1] = {2, 3, 5, 8, 13, 21, 34, 55, 89, 144};

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

static bool is_node(uint64_t id, const uint64_t *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (nodes[i] == id) {
            return true;
        }
    }
    return false;
}

static uint32_t spread(const uint32_t *figures, size_t count)
{
    uint32_t least = figures[0];
    uint32_t most = figures[0];
    for (size_t i = 1; i < count; i++) {
        least = figures[i] < least ? figures[i] : least;
        most = figures[i] > most ? figures[i] : most;
    }
    return most - least;
}

static void check_whole(const struct placement *placement, uint32_t replicas, const uint64_t *nodes, size_t node_count)
{
    for (uint32_t i = 0; i < placement->shard_count; i++) {
        const struct placement_shard *shard = &placement->shards[i];
        assert_int_equal(shard->voter_count, smaller(replicas, (uint32_t)node_count));
        for (size_t at = 0; at < shard->voter_count; at++) {
            assert_true(at == 0 || shard->voters[at] > shard->voters[at - 1]);
            assert_true(is_node(shard->voters[at], nodes, node_count));
        }
        assert_true(placement_votes(shard, shard->leader));
    }
}

static void check_even(const struct placement *placement, const uint64_t *nodes, size_t node_count)
{
    uint32_t seats[PLACEMENT_MAXIMUM_NODES] = {0};
    uint32_t leads[PLACEMENT_MAXIMUM_NODES] = {0};
    for (uint32_t i = 0; i < placement->shard_count; i++) {
        for (size_t node = 0; node < node_count; node++) {
            seats[node] += placement_votes(&placement->shards[i], nodes[node]);
            leads[node] += placement->shards[i].leader == nodes[node];
        }
    }
    assert_true(spread(seats, node_count) <= 1);
    assert_true(spread(leads, node_count) <= 1);
}

static void balance(struct placement *placement, uint32_t replicas, const uint64_t *nodes, size_t node_count)
{
    placement_balance(placement, replicas, nodes, node_count);
    check_whole(placement, replicas, nodes, node_count);
    check_even(placement, nodes, node_count);
}

/* Seats that nodes which are still there lost, and leaderships that nodes which still vote lost. */
static void count_moves(const struct placement *before, const struct placement *after, const uint64_t *nodes,
                        size_t node_count, uint32_t *ret_seats, uint32_t *ret_leads)
{
    *ret_seats = 0;
    *ret_leads = 0;
    for (uint32_t i = 0; i < before->shard_count; i++) {
        const struct placement_shard *old = &before->shards[i];
        for (size_t at = 0; at < old->voter_count; at++) {
            *ret_seats +=
                is_node(old->voters[at], nodes, node_count) && !placement_votes(&after->shards[i], old->voters[at]);
        }
        *ret_leads += old->leader != after->shards[i].leader && placement_votes(&after->shards[i], old->leader);
    }
}

static struct placement placement, before, again;

static void for_each_case(void (*check)(size_t node_count, uint32_t shards, uint32_t replicas))
{
    for (size_t node_count = 1; node_count <= NODES; node_count++) {
        for (uint32_t shards = 1; shards <= SHARDS; shards++) {
            for (size_t i = 0; i < REPLICA_COUNTS; i++) {
                check(node_count, shards, replica_counts[i]);
            }
        }
    }
}

static void check_fresh(size_t node_count, uint32_t shards, uint32_t replicas)
{
    placement_init(&placement, shards);
    balance(&placement, replicas, ids, node_count);
    memcpy(&again, &placement, sizeof(again));
    placement_balance(&again, replicas, ids, node_count); /* nothing moves for nothing */
    assert_memory_equal(&again, &placement, sizeof(again));
    placement_init(&again, shards); /* always the same */
    placement_balance(&again, replicas, ids, node_count);
    assert_memory_equal(&again, &placement, sizeof(again));
}

static void test_fresh(void **state) { for_each_case(check_fresh); }

static void check_added(size_t node_count, uint32_t shards, uint32_t replicas)
{
    assert_true(node_count > 0);
    for (size_t new_at = 0; new_at <= node_count; new_at += node_count) { /* the lowest id is new, or the highest */
        uint64_t old_nodes[NODES];
        size_t from = new_at == 0 ? 1 : 0;
        memcpy(old_nodes, ids + from, node_count * sizeof(ids[0]));
        placement_init(&placement, shards);
        placement_balance(&placement, replicas, old_nodes, node_count);
        memcpy(&before, &placement, sizeof(before));
        balance(&placement, replicas, ids, node_count + 1);
        uint32_t seats, leads;
        count_moves(&before, &placement, ids, node_count + 1, &seats, &leads);
        uint32_t all_seats = shards * smaller(replicas, (uint32_t)node_count);
        assert_int_equal(seats, replicas > node_count ? 0 : all_seats / (node_count + 1));
        assert_true(leads <= shards / (node_count + 1));
    }
}

static void test_added_node(void **state) { for_each_case(check_added); }

static void check_removed(size_t node_count, uint32_t shards, uint32_t replicas)
{
    for (size_t gone = 0; gone <= node_count; gone++) {
        uint64_t rest[NODES];
        memcpy(rest, ids, gone * sizeof(ids[0]));
        memcpy(rest + gone, ids + gone + 1, (node_count - gone) * sizeof(ids[0]));
        placement_init(&placement, shards);
        placement_balance(&placement, replicas, ids, node_count + 1);
        balance(&placement, replicas, rest, node_count);
    }
}

static void test_removed_node(void **state) { for_each_case(check_removed); }

/* Clusters that grow, shrink and change their replicas for long stay whole and even. */
static void test_long_life(void **state)
{
    struct prng prng;
    prng_seed(&prng, 7);
    for (int life = 0; life < 20; life++) {
        uint64_t nodes[PLACEMENT_MAXIMUM_NODES] = {1};
        size_t count = 1;
        uint64_t next = 2;
        placement_init(&placement, 1 + (uint32_t)prng_below(&prng, 100));
        for (int step = 0; step < 60; step++) {
            if (count < 40 && (count == 1 || prng_chance(&prng, 3, 5))) {
                nodes[count++] = next++;
            } else {
                size_t gone = prng_below(&prng, count);
                memmove(nodes + gone, nodes + gone + 1, (--count - gone) * sizeof(nodes[0]));
            }
            balance(&placement, 1 + (uint32_t)prng_below(&prng, PLACEMENT_MAXIMUM_REPLICAS), nodes, count);
        }
    }
}

static void test_largest(void **state)
{
    uint64_t nodes[PLACEMENT_MAXIMUM_NODES];
    for (size_t i = 0; i < PLACEMENT_MAXIMUM_NODES; i++) {
        nodes[i] = i + 1;
    }
    placement_init(&placement, SLOT_MAXIMUM_SHARDS);
    balance(&placement, PLACEMENT_MAXIMUM_REPLICAS, nodes, PLACEMENT_MAXIMUM_NODES);
}

static void test_meta_voters(void **state)
{
    uint64_t voters[PLACEMENT_MAXIMUM_REPLICAS];
    assert_int_equal(placement_meta_voters(ids, 3, voters), 3);
    assert_int_equal(placement_meta_voters(ids, NODES, voters), 7);
    assert_memory_equal(voters, ids, sizeof(voters));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fresh),     cmocka_unit_test(test_added_node), cmocka_unit_test(test_removed_node),
        cmocka_unit_test(test_long_life), cmocka_unit_test(test_largest),    cmocka_unit_test(test_meta_voters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
