/* A change of the members, with a meta group made by hand. */
#include "server/member_ask.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 3, SHARDS = 2, REPLICAS = 2 };

struct fixture {
    struct members *members;
    bool up[NODES];
    struct cluster_view view;
    struct member_ask *ask;
    struct buffer answer, said;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct member nodes[NODES] = {0};
    const struct id128 cluster = {{7}};
    assert_non_null(fixture);
    fixture->members = members_create();
    for (int i = 0; i < NODES; i++) {
        nodes[i].id = (uint64_t)i + 1;
        assert_true(member_address_make(&nodes[i].client, SLICE_LITERAL("127.0.0.1"), 7001 + i));
        assert_true(member_address_make(&nodes[i].peer, SLICE_LITERAL("127.0.0.1"), 17001 + i));
        fixture->up[i] = true;
    }
    assert_int_equal(members_make(fixture->members, &cluster, SHARDS, REPLICAS, nodes, NODES), STATUS_OK);
    fixture->view = (struct cluster_view){.members = fixture->members, .self = 1, .up = fixture->up};
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    member_ask_destroy(fixture->ask);
    members_destroy(fixture->members);
    buffer_deinit(&fixture->answer);
    buffer_deinit(&fixture->said);
    free(fixture);
    return 0;
}

static const char *begin(struct fixture *fixture, const char *shard, const char *node)
{
    const struct slice argv[] = {SLICE_LITERAL("COHORT.TRANSFER"), slice_from_string(shard), slice_from_string(node)};
    const struct command command = {command_by_id(COMMAND_COHORT_TRANSFER), argv, 3, RESP2};
    const char *problem = NULL;
    fixture->ask = member_ask_create(&command, &problem);
    assert_true((fixture->ask == NULL) == (problem != NULL));
    return problem;
}

/* The next command's name, "" when it is over. A write's value is kept in `answer`. */
static const char *asks(struct fixture *fixture)
{
    struct slice argv[MEMBER_ASK_ARGUMENTS];
    struct command command;
    if (!member_ask_next(fixture->ask, argv, &command)) {
        return "";
    }
    if (command.argc == 4) {
        buffer_clear(&fixture->answer);
        buffer_append_slice(&fixture->answer, argv[2]);
    }
    return command.argc == 4 ? "SETV" : "GETV";
}

static bool answers(struct fixture *fixture, struct slice answer)
{
    return member_ask_take(fixture->ask, answer, &fixture->view);
}

static void answers_with_members(struct fixture *fixture, uint64_t version)
{
    struct buffer bytes;
    struct buffer reply;
    buffer_init(&bytes);
    buffer_init(&reply);
    members_encode(fixture->members, &bytes);
    struct resp_writer writer = resp_writer_to(&reply, RESP2);
    resp_array(&writer, 2);
    resp_bulk(&writer, buffer_slice(&bytes));
    resp_integer(&writer, (int64_t)version);
    assert_true(answers(fixture, buffer_slice(&reply)));
    buffer_deinit(&bytes);
    buffer_deinit(&reply);
}

/* What the client hears begins so. */
static void says(struct fixture *fixture, const char *words)
{
    assert_string_equal(asks(fixture), "");
    buffer_clear(&fixture->said);
    struct resp_writer writer = resp_writer_to(&fixture->said, RESP2);
    member_ask_reply(fixture->ask, &writer);
    assert_true(slice_starts_with(buffer_slice(&fixture->said), slice_from_string(words)));
}

/* A voter of shard 1 that does not lead it, and a node that does not vote there. */
static void some(const struct fixture *fixture, char ret_voter[static 2], char ret_outside[static 2])
{
    const struct placement_shard *place = &fixture->members->placement.shards[0];
    for (uint64_t id = 1; id <= NODES; id++) {
        char *to = placement_votes(place, id) ? ret_voter : ret_outside;
        if (id != place->leader) {
            (void)snprintf(to, 2, "%u", (unsigned)id);
        }
    }
}

static void a_leader_is_written_down(void **state)
{
    struct fixture *fixture = *state;
    char voter[2];
    char outside[2];
    some(fixture, voter, outside);
    assert_null(begin(fixture, "1", voter));
    assert_string_equal(asks(fixture), "GETV");
    answers_with_members(fixture, 9);
    assert_string_equal(asks(fixture), "SETV");
    struct members *written = members_create();
    assert_int_equal(members_decode(buffer_slice(&fixture->answer), written), STATUS_OK);
    assert_int_equal(written->placement.shards[0].leader, voter[0] - '0');
    assert_int_equal(written->epoch, fixture->members->epoch + 1);
    assert_true(answers(fixture, SLICE_LITERAL(":10\r\n")));
    says(fixture, "+OK\r\n");
    member_ask_destroy(fixture->ask);
    *fixture->members = *written; /* it is so already */
    members_destroy(written);
    assert_null(begin(fixture, "1", voter));
    assert_string_equal(asks(fixture), "GETV");
    answers_with_members(fixture, 10);
    says(fixture, "+OK\r\n");
}

static void others_may_change_them_meanwhile(void **state)
{
    struct fixture *fixture = *state;
    char voter[2];
    char outside[2];
    some(fixture, voter, outside);
    assert_null(begin(fixture, "1", voter));
    for (int i = 0; i < MEMBER_ASK_TRIES; i++) {
        assert_string_equal(asks(fixture), "GETV");
        answers_with_members(fixture, 9 + (uint64_t)i);
        assert_string_equal(asks(fixture), "SETV");
        assert_true(answers(fixture, SLICE_LITERAL("$-1\r\n")));
    }
    says(fixture, "-BUSY ");
}

static void what_cannot_be_is_refused(void **state)
{
    struct fixture *fixture = *state;
    char voter[2];
    char outside[2];
    some(fixture, voter, outside);
    fixture->up[voter[0] - '1'] = voter[0] == '1';
    const struct {
        const char *shard, *node, *words;
    } refused[] = {
        {"3", "1", "-ERR there is no shard 3; the last one is 2"},
        {"1", "4", "-ERR node 4 is not a node of this cluster"},
        {"1", outside, "-ERR node "},
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_null(begin(fixture, refused[i].shard, refused[i].node));
        assert_string_equal(asks(fixture), "GETV");
        answers_with_members(fixture, 9);
        says(fixture, refused[i].words);
        member_ask_destroy(fixture->ask);
        fixture->ask = NULL;
    }
    assert_non_null(begin(fixture, "0", "1"));
    assert_non_null(begin(fixture, "1", "4294967296"));
    if (voter[0] != '1') {
        assert_null(begin(fixture, "1", voter));
        assert_string_equal(asks(fixture), "GETV");
        answers_with_members(fixture, 9);
        says(fixture, "-ERR node ");
    }
}

static void answers_that_are_none(void **state)
{
    struct fixture *fixture = *state;
    assert_null(begin(fixture, "1", "1"));
    assert_string_equal(asks(fixture), "GETV");
    assert_false(answers(fixture, SLICE_LITERAL(":1\r\n")));
    assert_false(answers(fixture, SLICE_LITERAL("*2\r\n$1\r\nx\r\n")));
    assert_true(answers(fixture, SLICE_LITERAL("*2\r\n$1\r\nx\r\n:1\r\n")));
    says(fixture, "-ERR the cluster's nodes were written by another version");
    member_ask_destroy(fixture->ask);
    assert_null(begin(fixture, "1", "1"));
    assert_string_equal(asks(fixture), "GETV");
    assert_true(answers(fixture, SLICE_LITERAL("*-1\r\n")));
    says(fixture, "-CLUSTERDOWN ");
}

int main(void)
{
#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(a_leader_is_written_down),
        WITH_FIXTURE(others_may_change_them_meanwhile),
        WITH_FIXTURE(what_cannot_be_is_refused),
        WITH_FIXTURE(answers_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
