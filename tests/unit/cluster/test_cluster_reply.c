/* What clients are told about a cluster; that Redis's own replies have these shapes is checked against redis-server in
 * tests/system/test_cluster_commands.py. */
#include "cluster/cluster_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define CLUSTER_ID "c1000000000000000000000000000000"

struct fixture {
    struct members *members;
    struct buffer out;
    uint64_t leaders[3];
    bool up[3];
    struct cluster_view view;
};

/* Three nodes, three shards of two voters each: {1 2}, {1 3}, {2 3}, to be led by 1, 3 and 2. */
static int make(void **state)
{
    static struct fixture fixture;
    const struct id128 cluster = {{0xc1}};
    struct member nodes[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        nodes[i].id = i + 1;
        assert_true(member_address_make(&nodes[i].client, SLICE_LITERAL("::1"), 7001 + (int64_t)i));
        assert_true(member_address_make(&nodes[i].peer, SLICE_LITERAL("::1"), 17001 + (int64_t)i));
    }
    fixture = (struct fixture){.members = members_create(), .leaders = {1, 3, 2}, .up = {true, true, true}};
    assert_int_equal(members_make(fixture.members, &cluster, 3, 2, nodes, 3), STATUS_OK);
    const uint64_t voters[3][2] = {{1, 2}, {1, 3}, {2, 3}};
    for (size_t i = 0; i < 3; i++) {
        struct placement_shard *place = &fixture.members->placement.shards[i];
        assert_memory_equal(place->voters, voters[i], sizeof(voters[i]));
        assert_int_equal(place->leader, fixture.leaders[i]);
    }
    fixture.view = (struct cluster_view){fixture.members, 2, fixture.leaders, fixture.up, 5, 6};
    *state = &fixture;
    return 0;
}

static int end(void **state)
{
    struct fixture *fixture = *state;
    buffer_deinit(&fixture->out);
    members_destroy(fixture->members);
    return 0;
}

static const char *render(struct fixture *fixture, int protocol,
                          void (*write)(const struct cluster_view *view, struct resp_writer *reply))
{
    struct resp_writer writer = resp_writer_to(&fixture->out, protocol);
    buffer_clear(&fixture->out);
    write(&fixture->view, &writer);
    buffer_append_byte(&fixture->out, '\0');
    return (const char *)fixture->out.data;
}

#define NODE(port, number, map) "*4\r\n$3\r\n::1\r\n:" port "\r\n$40\r\n" CLUSTER_ID "0000000" number "\r\n" map "0\r\n"
#define RANGE(nodes, first, last) "*" nodes "\r\n:" first "\r\n:" last "\r\n"

/* A line for each shard. */
/* clang-format off */
static void test_slots(void **state)
{
    assert_string_equal(render(*state, RESP2, cluster_reply_slots), "*3\r\n"
        RANGE("4", "0", "5460") NODE("7001", "1", "*") NODE("7002", "2", "*")
        RANGE("4", "5461", "10921") NODE("7003", "3", "*") NODE("7001", "1", "*")
        RANGE("4", "10922", "16383") NODE("7002", "2", "*") NODE("7003", "3", "*"));
    assert_non_null(strstr(render(*state, RESP3, cluster_reply_slots), NODE("7001", "1", "%")));
}

/* Node 3 is down: not told as a follower; where it led, another voter stands until somebody leads. */
static void test_slots_with_a_node_down(void **state)
{
    struct fixture *fixture = *state;
    fixture->up[2] = false;
    assert_string_equal(render(fixture, RESP2, cluster_reply_slots), "*3\r\n"
        RANGE("4", "0", "5460") NODE("7001", "1", "*") NODE("7002", "2", "*")
        RANGE("3", "5461", "10921") NODE("7001", "1", "*")
        RANGE("3", "10922", "16383") NODE("7002", "2", "*"));
}

/* Every slot has a node, whatever is known. */
static void test_slots_when_nothing_is_known(void **state)
{
    struct fixture *fixture = *state;
    memset(fixture->leaders, 0, sizeof(fixture->leaders));
    memset(fixture->up, 0, sizeof(fixture->up));
    assert_string_equal(render(fixture, RESP2, cluster_reply_slots), "*3\r\n"
        RANGE("3", "0", "5460") NODE("7002", "2", "*") /* this node */
        RANGE("3", "5461", "10921") NODE("7003", "3", "*") /* which should lead */
        RANGE("3", "10922", "16383") NODE("7002", "2", "*"));
}
/* clang-format on */

static void test_leader_that_is_no_preferred_one(void **state)
{
    struct fixture *fixture = *state;
    fixture->leaders[0] = 2;
    assert_non_null(strstr(render(fixture, RESP2, cluster_reply_slots),
                           RANGE("4", "0", "5460") NODE("7002", "2", "*") NODE("7001", "1", "*")));
}

static void test_shards(void **state)
{
    struct fixture *fixture = *state;
    fixture->up[2] = false;
    const char *text = render(fixture, RESP3, cluster_reply_shards);
    assert_non_null(strstr(
        text,
        "*3\r\n%2\r\n$5\r\nslots\r\n*2\r\n:0\r\n:5460\r\n$5\r\nnodes\r\n*2\r\n%7\r\n$2\r\nid\r\n$40\r\n" CLUSTER_ID
        "00000001\r\n$4\r\nport\r\n:7001\r\n$2\r\nip\r\n$3\r\n::1\r\n$8\r\nendpoint\r\n$3\r\n::1\r\n"
        "$4\r\nrole\r\n$6\r\nmaster\r\n$18\r\nreplication-offset\r\n:0\r\n$6\r\nhealth\r\n$6\r\nonline\r\n"));
    assert_non_null(
        strstr(text, "$7\r\nreplica\r\n$18\r\nreplication-offset\r\n:0\r\n$6\r\nhealth\r\n$6\r\nfailed\r\n"));
}

static void test_nodes(void **state)
{
    struct fixture *fixture = *state;
    fixture->up[2] = false;
    const char lines[] = CLUSTER_ID "00000001 ::1:7001@17001 master - 0 0 1 connected 0-5460 5461-10921\n" CLUSTER_ID
                                    "00000002 ::1:7002@17002 myself,master - 0 0 1 connected 10922-16383\n" CLUSTER_ID
                                    "00000003 ::1:7003@17003 master,fail? - 0 0 1 disconnected\n";
    assert_non_null(strstr(render(fixture, RESP2, cluster_reply_nodes), lines));
}

static void test_info(void **state)
{
    struct fixture *fixture = *state;
    const char *text = render(fixture, RESP2, cluster_reply_info);
    assert_non_null(strstr(text, "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384\r\n"));
    assert_non_null(strstr(text, "cluster_known_nodes:3\r\ncluster_size:3\r\n"));
    assert_non_null(strstr(text, "messages_sent:5\r\ncluster_stats_messages_received:6\r\n"));
    fixture->up[2] = false;
    text = render(fixture, RESP2, cluster_reply_info);
    assert_non_null(strstr(text, "cluster_state:fail\r\n"));
    assert_non_null(strstr(text, "cluster_slots_ok:10923\r\ncluster_slots_pfail:5461\r\n"));
    assert_non_null(strstr(text, "cluster_known_nodes:3\r\ncluster_size:2\r\n"));
}

static void test_myid(void **state)
{
    assert_string_equal(render(*state, RESP2, cluster_reply_myid), "$40\r\n" CLUSTER_ID "00000002\r\n");
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, make, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_slots),
        CASE(test_slots_with_a_node_down),
        CASE(test_slots_when_nothing_is_known),
        CASE(test_leader_that_is_no_preferred_one),
        CASE(test_shards),
        CASE(test_nodes),
        CASE(test_info),
        CASE(test_myid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
