/* Members in the meta group: nodes whose requests are executed, lost, refused or left in doubt by hand, over real
 * machines. Every version that was ever written is checked against the one before. */
#include "cluster/meta.h"

#include "base/prng.h"
#include "disk_env.h"
#include "machine/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS 1000000LL

enum { NODES = 6, REQUESTS = 64, ENTRIES = 2000, VOTERS = 3 };

struct node {
    struct disk_env env;
    struct meta *meta; /* NULL: down */
    struct id128 incarnation;
    struct lineage lineage;
    struct machine *replica; /* NULL: does not vote in the group */
    int applied;
    uint64_t version; /* as last heard by `changed` */
    int changes;
    bool refused;
    enum status status;
    char line[1024];
};

struct request {
    int node;
    struct requester *requester;
    uint64_t tag;
    struct buffer command;
};

struct world {
    int count;
    struct founding_record record;
    struct node nodes[NODES];
    struct sim_disk *disk; /* of no use, but an env has one */
    struct machine *leader;
    struct buffer log[ENTRIES];
    int entries;
    struct request requests[REQUESTS];
    int request_count;
    enum status submit_status;
    int submitted, written;
    struct members *last; /* what the last write wrote */
};

struct owner {
    struct world *world;
    int node;
};

static struct owner owners[NODES];

/* ---- the group ---- */

static struct id128 incarnation(int node) { return (struct id128){{(uint8_t)(node + 1), 0xee}}; }

static void apply(struct machine *machine, int position, struct slice bytes, struct resp_writer *reply)
{
    struct command_arguments arguments;
    struct command command;
    struct machine_context context = {(uint64_t)(position + 1) << 16, 1000, 1700000000000};
    command_arguments_init(&arguments);
    assert_int_equal(command_decode(&bytes, &arguments, &command), STATUS_OK);
    command.protocol = RESP2;
    machine_apply(machine, &context, &command, reply);
    command_arguments_deinit(&arguments);
}

/* Each version is the founding, or the one before with one node more that was seen, or seen again. */
static void check_step(struct world *world, struct slice bytes)
{
    struct members *now = members_create();
    assert_int_equal(members_decode(bytes, now), STATUS_OK);
    assert_int_equal(now->epoch, world->last->epoch + 1);
    int seen = 0;
    for (int i = 0; i < world->count; i++) {
        struct id128 id = incarnation(i);
        assert_true(id128_equal(&now->nodes[i].incarnation, &id));
        seen += now->nodes[i].start != world->last->nodes[i].start;
        assert_true(now->nodes[i].start >= world->last->nodes[i].start);
        assert_int_equal(now->nodes[i].format != 0, now->nodes[i].start != 0);
    }
    assert_int_equal(seen, world->last->epoch == 0 ? 0 : 1);
    members_destroy(world->last);
    world->last = now;
    world->written++;
}

static void execute(struct world *world, const struct request *request, struct buffer *reply)
{
    struct resp_writer writer = resp_writer_to(reply, RESP2);
    assert_true(world->entries < ENTRIES);
    buffer_append_slice(&world->log[world->entries], buffer_slice(&request->command));
    apply(world->leader, world->entries++, buffer_slice(&request->command), &writer);
    if (reply->data[0] == ':') {
        struct slice bytes = buffer_slice(&request->command);
        struct command_arguments arguments;
        struct command command;
        command_arguments_init(&arguments);
        assert_int_equal(command_decode(&bytes, &arguments, &command), STATUS_OK);
        check_step(world, command.argv[2]);
        command_arguments_deinit(&arguments);
    }
}

static void catch_up(struct world *world, int at, int entries)
{
    struct node *node = &world->nodes[at];
    struct resp_writer none = resp_writer_to(NULL, RESP2);
    for (; node->replica != NULL && entries > 0 && node->applied < world->entries; entries--) {
        apply(node->replica, node->applied, buffer_slice(&world->log[node->applied]), &none);
        node->applied++;
        if (node->meta != NULL) {
            meta_applied(node->meta);
        }
    }
}

enum outcome { DONE, LOST, UNCERTAIN_DONE, UNCERTAIN_LOST, EXECUTED_ALONE };

/* Ends the oldest request of this node. */
static bool answer(struct world *world, int at, enum outcome outcome)
{
    for (int i = 0; i < world->request_count; i++) {
        struct request request = world->requests[i];
        if (request.node != at) {
            continue;
        }
        world->request_count--;
        memmove(&world->requests[i], &world->requests[i + 1], (size_t)(world->request_count - i) * sizeof(request));
        struct buffer reply;
        buffer_init(&reply);
        if (outcome == DONE || outcome == UNCERTAIN_DONE || outcome == EXECUTED_ALONE) {
            execute(world, &request, &reply);
        }
        if (outcome == DONE) {
            struct resp_writer *writer = request.requester->events->begin(request.requester, request.tag);
            resp_raw(writer, buffer_slice(&reply));
            request.requester->events->end(request.requester, request.tag, NULL);
        } else {
            request.requester->events->failed(request.requester, request.tag,
                                              outcome == LOST             ? STATUS_NO_LEADER
                                              : outcome == EXECUTED_ALONE ? STATUS_EXECUTED
                                                                          : STATUS_UNCERTAIN);
        }
        buffer_deinit(&reply);
        buffer_deinit(&request.command);
        return true;
    }
    return false;
}

/* ---- events ---- */

static enum status on_submit(void *owner_any, const struct command *command, struct requester *requester, uint64_t tag)
{
    struct owner *owner = owner_any;
    struct world *world = owner->world;
    world->submitted++;
    if (world->submit_status != STATUS_OK) {
        return world->submit_status;
    }
    for (int i = 0; i < world->request_count; i++) {
        assert_int_not_equal(world->requests[i].node, owner->node); /* one at a time */
    }
    struct request *request = &world->requests[world->request_count++];
    *request = (struct request){.node = owner->node, .requester = requester, .tag = tag};
    command_encode(&request->command, command);
    return STATUS_OK;
}

static bool on_read_here(void *owner_any, const struct command *command, struct resp_writer *reply)
{
    struct owner *owner = owner_any;
    struct machine *replica = owner->world->nodes[owner->node].replica;
    struct machine_context context = {0, 1000, 1700000000000};
    return replica != NULL && machine_read(replica, &context, command, reply);
}

static void on_changed(void *owner_any, const struct members *members)
{
    struct owner *owner = owner_any;
    struct node *node = &owner->world->nodes[owner->node];
    assert_ptr_equal(members, meta_members(node->meta));
    assert_true(meta_version(node->meta) > node->version);
    node->version = meta_version(node->meta);
    node->changes++;
}

static void on_refused(void *owner_any, enum status status, const char *line)
{
    struct owner *owner = owner_any;
    struct node *node = &owner->world->nodes[owner->node];
    assert_false(node->refused);
    node->refused = true;
    node->status = status;
    (void)snprintf(node->line, sizeof(node->line), "%s", line);
}

static const struct meta_events events = {on_submit, on_read_here, on_changed, on_refused};

/* ---- life ---- */

static void node_start(struct world *world, int at)
{
    struct node *node = &world->nodes[at];
    int64_t now_ns = node->env.now_ns;
    uint64_t random = node->env.random + 1;
    owners[at] = (struct owner){world, at};
    disk_env_init(&node->env, world->disk);
    node->env.now_ns = now_ns;
    node->env.random = random;
    node->version = 0;
    node->refused = false;
    lineage_begin(&node->lineage, node->lineage.start + 1);
    struct meta_options options = {(uint64_t)at + 1, node->incarnation, node->lineage, &world->record};
    node->meta = meta_create(&node->env.env, &options, &events, &owners[at]);
    assert_true(members_bootstrapped(meta_members(node->meta)));
}

static void node_stop(struct world *world, int at)
{
    meta_destroy(world->nodes[at].meta);
    world->nodes[at].meta = NULL;
    for (int i = 0; i < world->request_count;) {
        if (world->requests[i].node != at) {
            i++;
            continue;
        }
        buffer_deinit(&world->requests[i].command);
        world->requests[i] = world->requests[--world->request_count];
    }
}

static struct world *world_create(int count)
{
    struct world *world = calloc(1, sizeof(*world));
    struct member founders[NODES] = {0};
    assert_non_null(world);
    world->count = count;
    world->disk = sim_disk_create(1);
    world->leader = machine_create(&(struct machine_options){.hash_seed = 1});
    world->last = members_create();
    for (int i = 0; i < count; i++) {
        founders[i].id = (uint64_t)i + 1;
        assert_true(member_address_make(&founders[i].client, SLICE_LITERAL("127.0.0.1"), 7001 + i));
        assert_true(member_address_make(&founders[i].peer, SLICE_LITERAL("127.0.0.1"), 17001 + i));
    }
    assert_int_equal(founding_record_make(&world->record, founders, (size_t)count, 4, 3), STATUS_OK);
    for (int i = 0; i < count; i++) {
        world->record.nodes[i].incarnation = incarnation(i);
        world->nodes[i].incarnation = incarnation(i);
        world->nodes[i].env.random = (uint64_t)i * 1000;
        if (i < VOTERS) {
            world->nodes[i].replica = machine_create(&(struct machine_options){.hash_seed = 1});
        }
    }
    for (int i = 0; i < count; i++) {
        node_start(world, i);
    }
    return world;
}

static void world_destroy(struct world *world)
{
    for (int i = 0; i < world->count; i++) {
        node_stop(world, i);
        if (world->nodes[i].replica != NULL) {
            machine_destroy(world->nodes[i].replica);
        }
    }
    for (int i = 0; i < world->entries; i++) {
        buffer_deinit(&world->log[i]);
    }
    machine_destroy(world->leader);
    members_destroy(world->last);
    sim_disk_destroy(world->disk);
    free(world);
}

static void turn(struct world *world, int at)
{
    if (world->nodes[at].meta != NULL) {
        meta_turn(world->nodes[at].meta);
    }
}

static void pass(struct world *world, int64_t ms)
{
    for (int i = 0; i < world->count; i++) {
        disk_env_advance(&world->nodes[i].env, ms * MS);
        turn(world, i);
    }
}

/* Time passes and everything goes well. */
static void settle(struct world *world, int64_t ms)
{
    for (int64_t at = 0; at < ms; at += 10) {
        pass(world, 10);
        for (int i = 0; i < world->count; i++) {
            (void)answer(world, i, DONE);
            catch_up(world, i, ENTRIES);
            turn(world, i);
        }
    }
}

static bool all_settled(const struct world *world)
{
    for (int i = 0; i < world->count; i++) {
        const struct node *node = &world->nodes[i];
        if (!meta_settled(node->meta) || members_digest(meta_members(node->meta)) != members_digest(world->last)) {
            return false;
        }
        if (world->last->nodes[i].start != node->lineage.start) {
            return false;
        }
    }
    return world->last->epoch >= 1 + (uint64_t)world->count;
}

/* ---- tests ---- */

static void the_leader_writes_the_founding_and_all_are_seen(void **state)
{
    (void)state;
    for (int count = 2; count <= NODES; count++) {
        struct world *world = world_create(count);
        for (int i = 0; i < count; i++) {
            turn(world, i);
        }
        settle(world, 5000);
        assert_int_equal(world->written, 0); /* nobody leads */
        meta_leading(world->nodes[1].meta, true);
        settle(world, 5000);
        assert_int_equal(world->written, 1 + count);
        settle(world, META_REFRESH_MS + 10);
        assert_true(all_settled(world));
        assert_true(id128_equal(&world->last->cluster, &world->record.cluster));
        assert_int_equal(world->last->placement.shard_count, 4);
        world_destroy(world);
    }
}

static void nothing_is_asked_when_nothing_is_new(void **state)
{
    (void)state;
    struct world *world = world_create(4);
    meta_leading(world->nodes[0].meta, true);
    settle(world, 20000);
    assert_true(all_settled(world));
    int submitted = world->submitted;
    settle(world, 60000);
    assert_true(world->submitted - submitted <= 60000 / META_REFRESH_MS + 1); /* the one that does not vote */
    world->nodes[0].changes = 0;
    meta_applied(world->nodes[0].meta);
    turn(world, 0);
    assert_int_equal(world->nodes[0].changes, 0);
    world_destroy(world);
}

static void a_node_that_does_not_vote_learns_of_changes(void **state)
{
    (void)state;
    struct world *world = world_create(4);
    meta_leading(world->nodes[0].meta, true);
    node_stop(world, 1);
    settle(world, 3000);
    assert_int_equal(world->last->epoch, 4);
    assert_int_equal(meta_members(world->nodes[3].meta)->epoch, 4);
    node_start(world, 1);
    for (int i = 0; i < 3; i++) {
        turn(world, i);
    }
    settle(world, META_ASK_MS + 1000); /* while one is missing it asks every second */
    assert_true(all_settled(world));
    world_destroy(world);
}

static void conflicts_are_tried_again(void **state)
{
    (void)state;
    struct world *world = world_create(3);
    meta_leading(world->nodes[0].meta, true);
    turn(world, 0);
    assert_true(answer(world, 0, DONE));
    for (int i = 0; i < 3; i++) {
        catch_up(world, i, ENTRIES);
        turn(world, i);
    }
    assert_int_equal(world->request_count, 3); /* all of one version */
    for (int i = 0; i < 3; i++) {
        assert_true(answer(world, i, DONE));
    }
    assert_int_equal(world->written, 2); /* one of them won */
    settle(world, 1000);
    assert_true(all_settled(world));
    world_destroy(world);
}

static void a_leader_that_lags_does_not_write_it_twice(void **state)
{
    (void)state;
    struct world *world = world_create(3);
    meta_leading(world->nodes[0].meta, true);
    turn(world, 0);
    assert_true(answer(world, 0, UNCERTAIN_DONE));
    meta_leading(world->nodes[0].meta, false);
    meta_leading(world->nodes[1].meta, true);
    turn(world, 1); /* it has applied nothing yet */
    assert_true(answer(world, 1, DONE));
    assert_int_equal(world->written, 1);
    assert_int_equal(world->nodes[1].changes, 0);
    settle(world, 3000);
    assert_true(all_settled(world));
    world_destroy(world);
}

static void what_is_not_taken_is_tried_again(void **state)
{
    (void)state;
    struct world *world = world_create(3);
    meta_leading(world->nodes[0].meta, true);
    world->submit_status = STATUS_FULL;
    for (int i = 0; i < 600; i++) {
        settle(world, 100);
        meta_applied(world->nodes[0].meta); /* which is no reason to hurry */
    }
    assert_true(world->submitted >= 30 && world->submitted <= 80); /* in ever longer pauses, of two seconds at most */
    world->submit_status = STATUS_OK;
    settle(world, 4000);
    assert_true(all_settled(world));
    world_destroy(world);
}

static void another_data_folder_is_refused(void **state)
{
    (void)state;
    for (int at = 2; at <= 3; at++) { /* one votes in the group, one does not */
        struct world *world = world_create(4);
        node_stop(world, at);
        world->nodes[at].incarnation.bytes[9] = 1;
        node_start(world, at);
        meta_leading(world->nodes[0].meta, true);
        settle(world, 3000);
        struct node *node = &world->nodes[at];
        assert_true(node->refused);
        assert_int_equal(node->status, STATUS_INVALID);
        assert_non_null(strstr(node->line, "joined this cluster with another data folder"));
        assert_int_equal(world->last->epoch, 4); /* the other three */
        world_destroy(world);
    }
}

/* A folder as it was before its last start: however often it is started, its own look at the members finds that start.
 */
static void an_old_copy_is_refused(void **state)
{
    (void)state;
    for (int at = 2; at <= 3; at++) {
        struct world *world = world_create(4);
        struct node *node = &world->nodes[at];
        struct lineage copy = node->lineage;
        meta_leading(world->nodes[0].meta, true);
        settle(world, 3000);
        node_stop(world, at);
        node_start(world, at);
        settle(world, META_REFRESH_MS + 3000);
        assert_true(all_settled(world));
        assert_int_equal(world->last->nodes[at].start, 2);
        for (int i = 0; i < 3; i++) {
            lineage_begin(&copy, copy.start + 100);
            node->lineage = copy;
            node_stop(world, at);
            node_start(world, at);
            settle(world, 3000);
            assert_true(node->refused);
            assert_int_equal(node->status, STATUS_INVALID);
            assert_non_null(strstr(node->line, "this data folder is an older copy of node"));
            assert_int_equal(world->last->nodes[at].start, 2);
        }
        world_destroy(world);
    }
}

static void put(struct world *world, struct slice bytes)
{
    const struct slice argv[] = {SLICE_LITERAL("SET"), SLICE_LITERAL("members"), bytes};
    struct command command = {.argv = argv, .argc = 3, .protocol = RESP2};
    assert_int_equal(command_lookup(argv, 3, &command.spec), COMMAND_FOUND);
    command_encode(&world->log[world->entries], &command);
    struct resp_writer none = resp_writer_to(NULL, RESP2);
    apply(world->leader, world->entries, buffer_slice(&world->log[world->entries]), &none);
    world->entries++;
}

static void what_cannot_be_read_is_refused(void **state)
{
    (void)state;
    struct members *members = members_create();
    struct buffer bytes;
    buffer_init(&bytes);
    for (int how = 0; how < 4; how++) {
        struct world *world = world_create(2);
        struct id128 other = {{1}};
        assert_int_equal(members_make(members, how == 1 ? &other : &world->record.cluster, how == 2 ? 5 : 4, 3,
                                      world->record.nodes, how == 3 ? 1 : 2),
                         STATUS_OK);
        buffer_clear(&bytes);
        members_encode(members, &bytes);
        bytes.data[0] = (uint8_t)(how == 0 ? 2 : bytes.data[0]);
        put(world, buffer_slice(&bytes));
        catch_up(world, 1, 1);
        turn(world, 1);
        assert_true(world->nodes[1].refused);
        assert_int_equal(world->nodes[1].status, how == 0   ? STATUS_VERSION
                                                 : how == 3 ? STATUS_INVALID
                                                            : STATUS_CORRUPT);
        assert_non_null(strstr(world->nodes[1].line, how == 3 ? "add it with" : "; "));
        assert_int_equal(world->submitted, 0);
        pass(world, 100000);
        world_destroy(world);
    }
    buffer_deinit(&bytes);
    members_destroy(members);
}

static void what_was_written_is_known_at_once(void **state)
{
    (void)state;
    struct world *world = world_create(4);
    meta_leading(world->nodes[0].meta, true);
    turn(world, 0);
    assert_true(answer(world, 0, DONE));
    turn(world, 3);
    assert_true(answer(world, 3, DONE)); /* reads */
    turn(world, 3);
    assert_true(answer(world, 3, DONE)); /* writes */
    turn(world, 3);
    assert_true(meta_settled(world->nodes[3].meta));
    assert_int_equal(meta_members(world->nodes[3].meta)->epoch, 2);
    assert_int_equal(world->request_count, 0);
    world_destroy(world);
}

static void a_node_that_was_removed_is_told(void **state)
{
    (void)state;
    struct world *world = world_create(4);
    meta_leading(world->nodes[0].meta, true);
    settle(world, 3000);
    struct members *members = members_create();
    *members = *world->last;
    members->count--;
    for (uint32_t i = 0; i < members->placement.shard_count; i++) {
        members->placement.shards[i] = (struct placement_shard){{1, 2}, 1, 2};
    }
    struct buffer bytes;
    buffer_init(&bytes);
    members_encode(members, &bytes);
    put(world, buffer_slice(&bytes));
    settle(world, META_REFRESH_MS + 1000);
    assert_true(world->nodes[3].refused);
    assert_non_null(strstr(world->nodes[3].line, "not a node of this cluster"));
    assert_false(world->nodes[0].refused);
    buffer_deinit(&bytes);
    members_destroy(members);
    world_destroy(world);
}

/* Requests end in every way, replicas lag, nodes restart, leadership moves: at the end all is well. */
static void at_random(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct prng prng;
        prng_seed(&prng, seed);
        struct world *world = world_create(2 + (int)(seed % 5));
        int leader = 0;
        for (int step = 0; step < 300; step++) {
            int at = (int)prng_below(&prng, (uint64_t)world->count);
            switch (prng_below(&prng, 8)) {
            case 0: pass(world, (int64_t)prng_below(&prng, 100)); break;
            case 1: pass(world, (int64_t)prng_below(&prng, 3000)); break;
            case 2: catch_up(world, at, (int)prng_below(&prng, 3)); break;
            case 3:
                meta_leading(world->nodes[leader].meta, false);
                leader = at < VOTERS ? at : leader;
                meta_leading(world->nodes[leader].meta, prng_below(&prng, 2) == 0);
                break;
            case 4:
                node_stop(world, at);
                node_start(world, at);
                meta_leading(world->nodes[leader].meta, true);
                break;
            default: (void)answer(world, at, (enum outcome)prng_below(&prng, 5)); break;
            }
            turn(world, at);
        }
        meta_leading(world->nodes[leader].meta, true);
        settle(world, 10000 + META_REFRESH_MS);
        assert_true(all_settled(world));
        world_destroy(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_leader_writes_the_founding_and_all_are_seen),
        cmocka_unit_test(nothing_is_asked_when_nothing_is_new),
        cmocka_unit_test(a_node_that_does_not_vote_learns_of_changes),
        cmocka_unit_test(conflicts_are_tried_again),
        cmocka_unit_test(a_leader_that_lags_does_not_write_it_twice),
        cmocka_unit_test(what_is_not_taken_is_tried_again),
        cmocka_unit_test(another_data_folder_is_refused),
        cmocka_unit_test(an_old_copy_is_refused),
        cmocka_unit_test(what_cannot_be_read_is_refused),
        cmocka_unit_test(what_was_written_is_known_at_once),
        cmocka_unit_test(a_node_that_was_removed_is_told),
        cmocka_unit_test(at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
