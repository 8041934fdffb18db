/* A member that was away gets the state from the leader: beside service, whatever happens meanwhile. */
#include "group_fixture.h"

#include "wire/resp_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { KEYS = 400, VALUE_BYTES = 3000, CHUNKS = KEYS * VALUE_BYTES / (96 << 10) };

struct world {
    struct group group; /* the first */
    uint64_t next_tag, written;
};

static void sink_end(void *owner, void *origin, uint64_t tag, const struct command *command)
{
    ((struct world *)((struct group_member *)owner)->group)->written++;
}

static void sink_returned(void *owner, void *origin, uint64_t tag, const struct command *command)
{
    /* Other writes follow. */
}

static void sink_refused(void *owner, void *origin, uint64_t tag, enum status status)
{ /* Other writes follow. */
}

static void sink_uncertain(void *owner, void *origin, uint64_t tag)
{ /* Other writes follow. */
}

static const struct shard_sink sink = {
    .begin = group_begin,
    .end = sink_end,
    .refused = sink_refused,
    .returned = sink_returned,
    .uncertain = sink_uncertain,
};

static void write_something(struct group *group)
{
    static const uint8_t value[VALUE_BYTES];
    struct world *world = (struct world *)group;
    struct group_member *member = group_leader(group);
    char key[16];
    int size = snprintf(key, sizeof(key), "k%d", (int)group_draw(group, KEYS));
    const struct slice argv[] = {SLICE_LITERAL("SET"), slice_of(key, (size_t)size), slice_of(value, VALUE_BYTES)};
    struct command command = {command_by_id(COMMAND_SET), argv, 3, RESP2};
    if (member != NULL && shard_submit(member->shard, &command, NULL, ++world->next_tag) == STATUS_OK) {
        env_wake(member->env);
    }
}

static struct shard_stats stats_of(const struct group_member *member)
{
    struct shard_stats stats;
    shard_stats(member->shard, &stats);
    return stats;
}

/* A group in which one follower, which is returned, comes back after the others have trimmed what it needs. */
static struct group_member *one_comes_back(struct world *world, uint64_t seed)
{
    struct group *group = &world->group;
    *world = (struct world){.group = {.sink = sink, .client = write_something}};
    group_start(group, seed);
    group_run_for(group, 3000 * MS, true);
    struct group_member *member = group_leader(group);
    assert_non_null(member);
    member = &group->members[(member->number + 1) % GROUP_MEMBERS];
    group_member_stop(member, SIM_CRASH_POWER);
    uint64_t snapshots = stats_of(group_leader(group)).snapshots;
    for (int i = 0; i < 100 && stats_of(group_leader(group)).snapshots < snapshots + 2; i++) {
        group_run_for(group, 100 * MS, true);
    }
    assert_true(stats_of(group_leader(group)).snapshots >= snapshots + 2);
    group_member_start(member);
    return member;
}

static void slow_work(struct group *group, int64_t work_ns)
{
    sim_timing(group->sim)->work_minimum_ns = work_ns / 2;
    sim_timing(group->sim)->work_maximum_ns = work_ns;
}

/* Runs until the last chunk is there and the state is not. */
static void run_until_installing(struct group *group, const struct group_member *member)
{
    for (int i = 0; i < 60000 && !stats_of(member).installing; i++) {
        group_run_for(group, MS, true);
    }
    assert_true(stats_of(member).installing);
    assert_int_equal(stats_of(member).installed, 0);
}

static void check_all_well(struct world *world)
{
    struct group *group = &world->group;
    uint64_t written = world->written;
    slow_work(group, MS / 2);
    group_heal(group);
    group_run_for(group, 5000 * MS, true);
    group_run_for(group, 2000 * MS, false);
    (void)group_check_agreed(group);
    assert_true(world->written > written + 500);
    (void)group_end(group);
}

static uint64_t heard_ms(struct group_member *leader, const struct group_member *member)
{
    struct shard_peer_status peers[GROUP_MEMBERS];
    size_t count = shard_peers(leader->shard, peers, GROUP_MEMBERS);
    for (size_t i = 0; i < count; i++) {
        if (peers[i].id == (uint64_t)member->number + 1) {
            return (uint64_t)peers[i].heard_ms;
        }
    }
    return 0;
}

/* The member answers its leader and reads all the time. */
static void test_service_goes_on(void **state)
{
    (void)state;
    static struct world world;
    struct group_member *member = one_comes_back(&world, 1);
    struct group *group = &world.group;
    const struct slice argv[] = {SLICE_LITERAL("DBSIZE")};
    struct command command = {command_by_id(COMMAND_DBSIZE), argv, 1, RESP2};
    uint64_t index = 0;
    slow_work(group, 700 * MS);
    int installing = 0;
    for (int i = 0; i < 60000 && stats_of(member).installed == 0; i++) {
        group_run_for(group, MS, true);
        struct group_member *leader = group_leader(group);
        assert_non_null(leader);
        if (stats_of(member).installing) {
            assert_true(heard_ms(leader, member) < 300);
            index = installing++ == 0 ? stats_of(member).applied_index : index;
            assert_true(shard_read_applied(member->shard, &command, group_begin(member, NULL, 0)));
            assert_int_equal(stats_of(member).applied_index, index); /* nothing is applied around it */
        }
    }
    assert_true(installing > 300);
    assert_int_equal(stats_of(member).installed, 1);
    assert_true(stats_of(member).last_index >= stats_of(member).applied_index);
    check_all_well(&world);
}

static void cut_off(struct group *group, const struct group_member *member)
{
    for (int i = 0; i < GROUP_MEMBERS; i++) {
        group->cut[member->number][i] = group->cut[i][member->number] = i != member->number;
    }
}

/* The third member stands while one installs, and leads once the state is there: then true. By other seeds the state
 * is there before anybody stands, as turns that take long are no silence. */
static bool is_elected_meanwhile(struct world *world, uint64_t seed)
{
    struct group_member *member = one_comes_back(world, seed);
    struct group *group = &world->group;
    slow_work(group, 1200 * MS);
    run_until_installing(group, member);
    group_run_for(group, 500 * MS, false); /* nobody else syncs any more */
    struct sim_timing fast = *sim_timing(group->sim);
    sim_timing(group->sim)->sync_minimum_ns = 5000 * MS;
    sim_timing(group->sim)->sync_maximum_ns = 5000 * MS;
    group_run_for(group, 700 * MS, false);
    *sim_timing(group->sim) = fast;
    slow_work(group, MS / 2);
    const struct group_member *leader = group_leader(group);
    const struct group_member *third = &group->members[3 - leader->number - member->number];
    cut_off(group, leader);
    bool met = false, leads = false;
    for (int i = 0; i < 24000 && !leads; i++) { /* which needs an entry at both */
        group_run_for(group, MS, true);
        met = met || (stats_of(third).elected && stats_of(member).installing);
        leads = stats_of(third).leading || stats_of(member).leading;
    }
    assert_true(leads);
    assert_true(stats_of(member).installed >= 1);
    check_all_well(world);
    return met;
}

/* A vote counts while the state is installed. */
static void test_a_leader_is_elected_meanwhile(void **state)
{
    (void)state;
    static struct world world;
    int met = 0;
    for (uint64_t seed = 2; seed < 12; seed++) {
        met += is_elected_meanwhile(&world, seed);
    }
    print_message("# met by %d of 10 seeds\n", met);
    assert_true(met > 0);
}

/* The process, or the machine, ends at any moment of it. */
static void test_a_crash_meanwhile(void **state)
{
    (void)state;
    static struct world world;
    uint64_t installed = 0;
    for (uint64_t seed = 3; seed < 15; seed++) {
        struct group_member *member = one_comes_back(&world, seed);
        struct group *group = &world.group;
        slow_work(group, 100 * MS);
        if (seed % 3 != 0) {
            run_until_installing(group, member);
        }
        group_run_for(group, (int64_t)group_draw(group, 130) * MS, true);
        installed += stats_of(member).installed;
        group_member_stop(member, seed % 2 == 0 ? SIM_CRASH_POWER : SIM_CRASH_KILL);
        check_all_well(&world);
    }
    assert_in_range(installed, 1, 11); /* some crashes came before, some after */
}

/* What cannot be used is asked for again. */
static void test_a_failed_install(void **state)
{
    (void)state;
    static struct world world;
    struct group_member *member = one_comes_back(&world, 30);
    struct group *group = &world.group;
    slow_work(group, 100 * MS);
    run_until_installing(group, member);
    struct sim_disk *disk = sim_node_disk(group->sim, member->number);
    sim_disk_set_quota(disk, sim_disk_used(disk)); /* nothing more may be written: not its last chunk either */
    for (int i = 0; i < 5000 && stats_of(member).installing; i++) {
        group_run_for(group, MS, true);
    }
    assert_false(stats_of(member).installing);
    assert_int_equal(stats_of(member).installed, 0);
    assert_false(member->failed);
    sim_disk_set_quota(disk, 0);
    group_run_for(group, 20000 * MS, true);
    assert_in_range(stats_of(member).installed, 1, 3);
    check_all_well(&world);
}

/* Each of the leader's snapshots is replaced before a slow member has all of it. */
static void test_quick_snapshots(void **state)
{
    (void)state;
    static struct world world;
    struct group_member *member = one_comes_back(&world, 31);
    struct group *group = &world.group;
    group->delay_ns = 60 * MS;
    uint64_t snapshots = stats_of(group_leader(group)).snapshots;
    int64_t began_ns = sim_now_ns(group->sim);
    for (int i = 0; i < 20000 && stats_of(member).installed == 0; i++) {
        group_run_for(group, MS, true);
    }
    snapshots = stats_of(group_leader(group)).snapshots - snapshots;
    int took_ms = (int)((sim_now_ns(group->sim) - began_ns) / MS);
    print_message("# installed after %d ms, meanwhile %d snapshots\n", took_ms, (int)snapshots);
    assert_int_equal(stats_of(member).installed, 1);
    assert_in_range(snapshots, 1, 4);
    group_run_for(group, 10000 * MS, true); /* from there on the log is enough */
    assert_int_equal(stats_of(member).installed, 1);
    check_all_well(&world);
}

/* A follower comes back with less than it acknowledged, to the leader that counted on it: an empty disk under the old
 * id is the oldest of all copies. */
static void test_a_log_that_lost_what_it_acknowledged(void **state)
{
    (void)state;
    static struct world world;
    struct group *group = &world.group;
    world = (struct world){.group = {.sink = sink, .client = write_something}};
    group_start(group, 11);
    group_run_for(group, 3000 * MS, true);
    struct group_member *leader = group_leader(group);
    assert_non_null(leader);
    struct group_member *member = &group->members[(leader->number + 1) % GROUP_MEMBERS];
    group_member_stop(member, SIM_CRASH_KILL);
    sim_node_replace_disk(group->sim, member->number);
    group_member_start(member);
    group_run_for(group, 1000 * MS, true);
    assert_ptr_equal(group_leader(group), leader);
    assert_true(member->failed);
    assert_non_null(strstr(member->failure, "ends at entry 0, but this node has acknowledged entry"));
    group_member_stop(member, SIM_CRASH_KILL);
    uint64_t written = world.written;
    group_run_for(group, 1000 * MS, true); /* the others go on */
    assert_true(world.written > written);
    group_end(group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_service_goes_on),   cmocka_unit_test(test_a_leader_is_elected_meanwhile),
        cmocka_unit_test(test_a_crash_meanwhile), cmocka_unit_test(test_a_failed_install),
        cmocka_unit_test(test_quick_snapshots),   cmocka_unit_test(test_a_log_that_lost_what_it_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
