#include "group_fixture.h"

#include "base/assert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const uint64_t voters[GROUP_MEMBERS] = {1, 2, 3};

uint64_t group_draw(struct group *group, uint64_t bound)
{
    return prng_below(sim_prng(group->sim, SIM_DRAW_CLIENT), bound);
}

struct resp_writer *group_begin(void *owner, void *origin, uint64_t tag)
{
    (void)origin;
    (void)tag;
    struct group_member *member = owner;
    buffer_clear(&member->reply);
    member->writer = resp_writer_to(&member->reply, RESP2);
    return &member->writer;
}

/* ---- messages ---- */

static void launch(struct group *group, int from, int to, struct slice head, struct slice tail)
{
    ASSERT(group->flight_count < GROUP_FLYING);
    struct group_flight *flying = &group->flights[group->flight_count++];
    *flying = (struct group_flight){.from = from, .to = to};
    flying->at_ns = sim_now_ns(group->sim) + 1 + (int64_t)group_draw(group, (uint64_t)group->delay_ns);
    buffer_append_slice(&flying->bytes, head);
    buffer_append_slice(&flying->bytes, tail);
}

static void sink_send(void *owner, uint32_t group_id, uint64_t to, struct slice head, struct slice tail)
{
    struct group_member *member = owner;
    struct group *group = member->group;
    assert_int_equal(group_id, GROUP_ID);
    if (group->lose_one_in != 0 && group_draw(group, group->lose_one_in) == 0) {
        return;
    }
    launch(group, member->number, (int)to - 1, head, tail);
    if (group->repeat_one_in != 0 && group_draw(group, group->repeat_one_in) == 0) {
        launch(group, member->number, (int)to - 1, head, tail);
    }
}

static void sink_led(void *owner, uint32_t group, bool leading, uint64_t leader, uint64_t term)
{
    (void)group;
    (void)leader;
    (void)term;
    struct group_member *member = owner;
    member->group->leaders += leading;
}

/* ---- members ---- */

static void store_failed(void *owner, enum status status, const char *what)
{
    (void)status;
    struct group_member *member = owner;
    member->failed = true;
    (void)snprintf(member->failure, sizeof(member->failure), "%s", what);
}

static const struct store_events store_events = {store_failed};

static void turn(void *owner)
{
    struct group_member *member = owner;
    if (member->store != NULL && store_turn(member->store)) {
        env_wake(member->env);
    }
}

void group_member_start(struct group_member *member)
{
    struct group *group = member->group;
    int number = member->number;
    char message[512] = "";
    member->env = sim_node_start(group->sim, number);
    member->failed = false;
    assert_int_equal(env_make_directory(member->env, "/d"), STATUS_OK);
    assert_int_equal(env_sync_directory(member->env, "/"), STATUS_OK);
    struct store_options store_options = {"/d", 64 << 10, {{{(uint8_t)(1 + number)}}, 0}};
    enum status status =
        store_open(member->env, &store_options, &store_events, member, &member->store, message, sizeof(message));
    if (status != STATUS_OK) {
        fail_msg("member %d: %s", number, message);
    }
    struct shard_options options = {.group = GROUP_ID,
                                    .member = voters[number],
                                    .voters = voters,
                                    .voter_count = GROUP_MEMBERS,
                                    .directory = "/d",
                                    .snapshot_log_bytes = 10000,
                                    .lease_reads = group->lease_reads};
    status = shard_open(member->store, &options, &group->sink, member, &member->shard, message, sizeof(message));
    if (status != STATUS_OK) {
        fail_msg("member %d: %s", number, message);
    }
    env_set_turn_hook(member->env, turn, member);
    env_wake(member->env);
}

static void count(struct group_member *member)
{
    struct shard_stats stats;
    shard_stats(member->shard, &stats);
    member->group->installs += stats.installed;
    member->group->repeated += stats.repeated;
}

void group_member_stop(struct group_member *member, enum sim_crash how)
{
    struct group *group = member->group;
    if (member->store == NULL) {
        return;
    }
    count(member);
    sim_node_crash(group->sim, member->number, how);
    shard_close(member->shard);
    store_close(member->store);
    member->store = NULL;
    member->shard = NULL;
    if (group->stopped != NULL) {
        group->stopped(group, member->number);
    }
}

void group_member_pause(struct group_member *member, int64_t duration_ns)
{
    struct sim *sim = member->group->sim;
    member->paused_until_ns = sim_now_ns(sim) + duration_ns;
    sim_node_pause(sim, member->number, member->paused_until_ns);
}

struct group_member *group_leader(struct group *group)
{
    int first = (int)group_draw(group, GROUP_MEMBERS);
    for (int i = 0; i < GROUP_MEMBERS; i++) {
        struct group_member *member = &group->members[(first + i) % GROUP_MEMBERS];
        if (member->store != NULL && !member->failed && shard_leading(member->shard)) {
            return member;
        }
    }
    return NULL;
}

static void deliver_due(struct group *group)
{
    int64_t now_ns = sim_now_ns(group->sim);
    for (int i = 0; i < group->flight_count;) {
        if (group->flights[i].at_ns > now_ns) {
            i++;
            continue;
        }
        struct group_flight flying = group->flights[i];
        struct group_member *member = &group->members[flying.to];
        if (member->paused_until_ns > now_ns) {
            group->flights[i++].at_ns = member->paused_until_ns;
            continue;
        }
        group->flights[i] = group->flights[--group->flight_count];
        if (member->store != NULL && !member->failed && !group->cut[flying.from][flying.to]) {
            enum status status = shard_receive(member->shard, buffer_slice(&flying.bytes), false);
            assert_int_equal(status, member->failed ? STATUS_CLOSED : STATUS_OK);
        }
        buffer_deinit(&flying.bytes);
    }
}

/* Whoever may read without asking anybody is the only one who leads. */
static void check_leases(struct group *group)
{
    for (int i = 0; i < GROUP_MEMBERS; i++) {
        if (group->members[i].store == NULL || !shard_may_read(group->members[i].shard)) {
            continue;
        }
        for (int other = 0; other < GROUP_MEMBERS; other++) {
            struct shard *shard = group->members[other].shard;
            if (other != i && shard != NULL && shard_leading(shard)) {
                struct shard_stats mine;
                struct shard_stats theirs;
                shard_stats(group->members[i].shard, &mine);
                shard_stats(shard, &theirs);
                assert_true(mine.term > theirs.term);
            }
        }
    }
}

void group_run_for(struct group *group, int64_t duration_ns, bool clients)
{
    int64_t end_ns = sim_now_ns(group->sim) + duration_ns;
    while (sim_now_ns(group->sim) < end_ns) {
        sim_run_for(group->sim, MS / 2);
        deliver_due(group);
        check_leases(group);
        if (clients && group_draw(group, 4) == 0) {
            group->client(group);
        }
    }
}

static void hand_over(struct group *group, int other)
{
    struct group_member *member = group_leader(group);
    if (member != NULL) {
        enum status status = shard_transfer(member->shard, voters[other]);
        assert_true(status == STATUS_OK || status == STATUS_BUSY || other == member->number);
        group->transfers += status == STATUS_OK;
    }
}

void group_fault(struct group *group)
{
    int one = (int)group_draw(group, GROUP_MEMBERS);
    int other = (int)group_draw(group, GROUP_MEMBERS);
    switch (group_draw(group, 10)) {
    case 0: group->cut[one][other] = true; break;
    case 1: group->cut[one][other] = group->cut[other][one] = one != other; break;
    case 2: memset(group->cut, 0, sizeof(group->cut)); break;
    case 3: group_member_stop(&group->members[one], SIM_CRASH_POWER); break;
    case 4: group_member_stop(&group->members[one], SIM_CRASH_KILL); break;
    case 5: group_member_pause(&group->members[one], (int64_t)group_draw(group, 2000) * MS); break;
    case 6: group->lose_one_in = group_draw(group, 2) == 0 ? 0 : 5; break;
    case 7: group->delay_ns = group_draw(group, 2) == 0 ? 2 * MS : 60 * MS; break;
    default: hand_over(group, other); break;
    }
    for (int i = 0; i < GROUP_MEMBERS; i++) {
        if (group->members[i].store == NULL && group_draw(group, 3) != 0) {
            group_member_start(&group->members[i]);
        }
    }
}

void group_heal(struct group *group)
{
    memset(group->cut, 0, sizeof(group->cut));
    group->lose_one_in = 0;
    group->repeat_one_in = 0;
    group->delay_ns = 2 * MS;
    for (int i = 0; i < GROUP_MEMBERS; i++) {
        if (group->members[i].failed) {
            group_member_stop(&group->members[i], SIM_CRASH_KILL);
        }
        if (group->members[i].store == NULL) {
            group_member_start(&group->members[i]);
        }
    }
}

struct group_member *group_check_agreed(struct group *group)
{
    struct group_member *member = group_leader(group);
    if (member == NULL) {
        fail_msg("no leader in a healthy group");
    }
    uint64_t wanted = 0;
    uint64_t term = 0;
    shard_leader(member->shard, &wanted, &term);
    assert_int_equal(wanted, voters[member->number]);
    for (int i = 0; i < GROUP_MEMBERS; i++) {
        struct shard_stats stats;
        struct shard_peer_status peers[GROUP_MEMBERS];
        shard_stats(group->members[i].shard, &stats);
        assert_true(stats.leader == wanted && stats.term == term);
        assert_int_equal(stats.leading, i == member->number);
        count(&group->members[i]);
        assert_true(shard_digest(group->members[i].shard) == shard_digest(member->shard));
        assert_true(shard_idle(group->members[i].shard));
        assert_false(shard_orphaned(group->members[i].shard));
        assert_int_equal(shard_peers(group->members[i].shard, peers, 1), stats.leading ? GROUP_MEMBERS - 1 : 0);
        size_t count = shard_peers(group->members[i].shard, peers, GROUP_MEMBERS);
        for (size_t at = 0; at < count; at++) {
            assert_true(peers[at].match == stats.last_index && peers[at].heard_ms < 500 && peers[at].id != wanted);
        }
    }
    assert_int_equal(shard_transfer(group->members[(member->number + 1) % GROUP_MEMBERS].shard, wanted),
                     STATUS_NOT_LEADER);
    assert_int_equal(shard_transfer(member->shard, wanted), STATUS_INVALID);
    return member;
}

void group_start(struct group *group, uint64_t seed)
{
    group->sim = sim_create(seed);
    group->flights = calloc(GROUP_FLYING, sizeof(*group->flights));
    assert_non_null(group->flights);
    group->delay_ns = 2 * MS;
    group->repeat_one_in = 10;
    group->sink.send = sink_send;
    group->sink.led = sink_led;
    for (int i = 0; i < GROUP_MEMBERS; i++) {
        group->members[i] = (struct group_member){.group = group, .number = i};
        group_member_start(&group->members[i]);
    }
}

uint64_t group_end(struct group *group)
{
    uint64_t trace = sim_trace_hash(group->sim);
    for (int i = 0; i < GROUP_MEMBERS; i++) {
        group_member_stop(&group->members[i], SIM_CRASH_KILL);
        buffer_deinit(&group->members[i].reply);
    }
    for (int i = 0; i < group->flight_count; i++) {
        buffer_deinit(&group->flights[i].bytes);
    }
    free(group->flights);
    sim_destroy(group->sim);
    return trace;
}
