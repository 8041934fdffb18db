/* One group of three members in the simulator: loss, repetition, delay and reordering of messages, partitions, crashes
 * that lose what was not synced, pauses and slow syncs; then everything heals.
 *
 * Clients append words that are never used twice to one key. In the end each acknowledged word stands there once, each
 * returned one ("definitely not executed") not at all, all others at most once; every read has seen all that was
 * acknowledged before it was asked; and the members' states are equal. */
#include "base/assert.h"
#include "shard/shard.h"
#include "sim_net.h"
#include "wire/resp_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS INT64_C(1000000)

enum { MEMBERS = 3, WORDS = 4000, WORD_BYTES = 6, READS = 4000, FLYING = 20000 };
enum word_state { WORD_UNSENT, WORD_SENT, WORD_ACKNOWLEDGED, WORD_RETURNED, WORD_UNCERTAIN };

struct flying {
    int64_t at_ns;
    int from, to;
    struct buffer bytes;
};

struct read_state {
    int acknowledged_before; /* words acknowledged when it was asked: the first so many of acknowledged[] */
    bool answered;
};

struct world;

struct member {
    struct world *world;
    int number;
    struct env *env;
    struct store *store; /* NULL while it is down */
    struct shard *shard;
    bool failed;
    int64_t paused_until_ns; /* what is sent to it arrives when it goes on; asked by a client it answers at once: as if
                              * it had just woken up */
    struct buffer reply;
    struct resp_writer writer;
};

struct world {
    struct sim *sim;
    struct member members[MEMBERS];
    struct flying flying[FLYING];
    int flying_count;
    bool cut[MEMBERS][MEMBERS];
    bool lease_reads;
    uint32_t lose_one_in, repeat_one_in;
    int64_t delay_ns;

    enum word_state words[WORDS];
    int taken_by[WORDS]; /* the member that was asked */
    int next_word;
    int acknowledged[WORDS];
    int acknowledged_count;
    struct read_state reads[READS];
    int next_read;
    int counts[5];
    uint64_t installs, leaders, leased, transfers;
};

enum { TAG_READ = 1 << 30 };

static const uint64_t voters[MEMBERS] = {1, 2, 3};

static uint64_t draw(struct world *world, uint64_t bound)
{
    return prng_below(sim_prng(world->sim, SIM_DRAW_CLIENT), bound);
}

/* ---- the sink ---- */

static struct resp_writer *sink_begin(void *owner, void *origin, uint64_t tag)
{
    (void)origin;
    (void)tag;
    struct member *member = owner;
    buffer_clear(&member->reply);
    member->writer = resp_writer_to(&member->reply, RESP2);
    return &member->writer;
}

static void settle(struct world *world, uint64_t word, enum word_state state)
{
    ASSERT(word < WORDS && world->words[word] == WORD_SENT);
    world->words[word] = state;
    world->counts[state]++;
    if (state == WORD_ACKNOWLEDGED) {
        world->acknowledged[world->acknowledged_count++] = (int)word;
    }
}

static int occurrences(struct slice text, int word)
{
    char wanted[WORD_BYTES + 1];
    (void)snprintf(wanted, sizeof(wanted), "%0*d", WORD_BYTES, word);
    int count = 0;
    for (size_t at = 0; at + WORD_BYTES <= text.size; at += WORD_BYTES) {
        count += memcmp(text.data + at, wanted, WORD_BYTES) == 0;
    }
    return count;
}

static struct slice bulk_of(const struct buffer *reply)
{
    const uint8_t *end = memchr(reply->data, '\n', reply->size);
    ASSERT(end != NULL && reply->data[0] == '$');
    if (reply->data[1] == '-') {
        return slice_of(NULL, 0);
    }
    return slice_of(end + 1, reply->size - (size_t)(end + 1 - reply->data) - 2);
}

static void check_read(struct world *world, struct read_state *read, struct slice text)
{
    read->answered = true;
    /* The last one that was acknowledged before, and one of the others: enough to find a stale state. */
    for (int i = 0; i < 2 && read->acknowledged_before > 0; i++) {
        int which = i == 0 ? read->acknowledged_before - 1 : (int)draw(world, (uint64_t)read->acknowledged_before);
        if (occurrences(text, world->acknowledged[which]) != 1) {
            fail_msg("a read does not see word %d, acknowledged before it was asked", world->acknowledged[which]);
        }
    }
}

static void sink_end(void *owner, void *origin, uint64_t tag, const struct command *command)
{
    (void)origin;
    (void)command;
    struct member *member = owner;
    if (tag & TAG_READ) {
        check_read(member->world, &member->world->reads[tag & ~(uint64_t)TAG_READ], bulk_of(&member->reply));
    } else {
        assert_int_equal(member->reply.data[0], ':');
        settle(member->world, tag, WORD_ACKNOWLEDGED);
    }
}

static void sink_returned(void *owner, void *origin, uint64_t tag, const struct command *command)
{
    (void)origin;
    (void)command;
    struct member *member = owner;
    if ((tag & TAG_READ) == 0) {
        settle(member->world, tag, WORD_RETURNED);
    }
}

static void sink_uncertain(void *owner, void *origin, uint64_t tag)
{
    (void)origin;
    struct member *member = owner;
    if ((tag & TAG_READ) == 0) {
        settle(member->world, tag, WORD_UNCERTAIN);
    }
}

static void launch(struct world *world, int from, int to, struct slice bytes)
{
    ASSERT(world->flying_count < FLYING);
    struct flying *flying = &world->flying[world->flying_count++];
    *flying = (struct flying){.from = from, .to = to};
    flying->at_ns = sim_now_ns(world->sim) + 1 + (int64_t)draw(world, (uint64_t)world->delay_ns);
    buffer_append_slice(&flying->bytes, bytes);
}

static void sink_send(void *owner, uint32_t group, uint64_t to, struct slice message)
{
    struct member *member = owner;
    struct world *world = member->world;
    assert_int_equal(group, 7);
    if (world->lose_one_in != 0 && draw(world, world->lose_one_in) == 0) {
        return;
    }
    launch(world, member->number, (int)to - 1, message);
    if (world->repeat_one_in != 0 && draw(world, world->repeat_one_in) == 0) {
        launch(world, member->number, (int)to - 1, message);
    }
}

static void sink_led(void *owner, uint32_t group, bool leading, uint64_t leader, uint64_t term)
{
    (void)group;
    (void)leader;
    (void)term;
    struct member *member = owner;
    member->world->leaders += leading;
}

static void sink_refused(void *owner, void *origin, uint64_t tag, enum status status)
{
    (void)status;
    sink_returned(owner, origin, tag, NULL);
}

static const struct shard_sink sink = {
    .begin = sink_begin,
    .end = sink_end,
    .refused = sink_refused,
    .returned = sink_returned,
    .uncertain = sink_uncertain,
    .send = sink_send,
    .led = sink_led,
};

/* ---- members ---- */

static void store_failed(void *owner, enum status status, const char *what)
{
    (void)status;
    (void)what;
    struct member *member = owner;
    member->failed = true;
}

static const struct store_events store_events = {store_failed};

static void turn(void *owner)
{
    struct member *member = owner;
    if (member->store != NULL && store_turn(member->store)) {
        env_wake(member->env);
    }
}

static void member_start(struct world *world, int number)
{
    struct member *member = &world->members[number];
    char message[512] = "";
    member->env = sim_node_start(world->sim, number);
    member->failed = false;
    assert_int_equal(env_make_directory(member->env, "/d"), STATUS_OK);
    assert_int_equal(env_sync_directory(member->env, "/"), STATUS_OK);
    struct store_options store_options = {"/d", 64 << 10, {{(uint8_t)(1 + number)}}};
    enum status status =
        store_open(member->env, &store_options, &store_events, member, &member->store, message, sizeof(message));
    if (status != STATUS_OK) {
        fail_msg("member %d: %s", number, message);
    }
    struct shard_options options = {.group = 7,
                                    .member = voters[number],
                                    .voters = voters,
                                    .voter_count = MEMBERS,
                                    .directory = "/d",
                                    .snapshot_log_bytes = 10000,
                                    .lease_reads = world->lease_reads};
    status = shard_open(member->store, &options, &sink, member, &member->shard, message, sizeof(message));
    if (status != STATUS_OK) {
        fail_msg("member %d: %s", number, message);
    }
    env_set_turn_hook(member->env, turn, member);
    env_wake(member->env);
}

/* What its clients were waiting for they will never learn. */
static void forget_waiting(struct world *world, int number)
{
    for (int word = 0; word < world->next_word; word++) {
        if (world->words[word] == WORD_SENT && world->taken_by[word] == number) {
            settle(world, (uint64_t)word, WORD_UNCERTAIN);
        }
    }
}

static void member_stop(struct world *world, int number, enum sim_crash how)
{
    struct member *member = &world->members[number];
    if (member->store == NULL) {
        return;
    }
    struct shard_stats stats;
    shard_stats(member->shard, &stats);
    world->installs += stats.installed;
    sim_node_crash(world->sim, number, how);
    shard_close(member->shard);
    store_close(member->store);
    member->store = NULL;
    member->shard = NULL;
    forget_waiting(world, number);
}

static void member_pause(struct member *member, int64_t duration_ns)
{
    struct sim *sim = member->world->sim;
    member->paused_until_ns = sim_now_ns(sim) + duration_ns;
    sim_node_pause(sim, member->number, member->paused_until_ns);
}

/* ---- the clients ---- */

static struct member *leader(struct world *world)
{
    int first = (int)draw(world, MEMBERS);
    for (int i = 0; i < MEMBERS; i++) {
        struct member *member = &world->members[(first + i) % MEMBERS];
        if (member->store != NULL && !member->failed && shard_leading(member->shard)) {
            return member;
        }
    }
    return NULL;
}

static enum status submit(struct member *member, const struct slice *argv, uint32_t argc, uint64_t tag)
{
    struct command command = {.argv = argv, .argc = argc, .protocol = RESP2};
    assert_int_equal(command_lookup(argv, argc, &command.spec), COMMAND_FOUND);
    enum status status = shard_submit(member->shard, &command, NULL, tag);
    env_wake(member->env);
    return status;
}

/* Reads at once; false when the shard wants it submitted. */
static bool read_now(struct member *member, const struct slice *argv, uint32_t argc, bool strong)
{
    struct command command = {.argv = argv, .argc = argc, .protocol = RESP2};
    assert_int_equal(command_lookup(argv, argc, &command.spec), COMMAND_FOUND);
    buffer_clear(&member->reply);
    member->writer = resp_writer_to(&member->reply, RESP2);
    return strong ? shard_may_read(member->shard) && shard_read(member->shard, &command, &member->writer)
                  : shard_read_applied(member->shard, &command, &member->writer);
}

static void client_step(struct world *world)
{
    struct member *member = leader(world);
    if (member == NULL) {
        return;
    }
    if (draw(world, 2) == 0 && world->next_read < READS) {
        const struct slice argv[] = {SLICE_LITERAL("GET"), SLICE_LITERAL("k")};
        int number = world->next_read++;
        world->reads[number] = (struct read_state){.acknowledged_before = world->acknowledged_count};
        if (draw(world, 4) != 0 && read_now(member, argv, 2, true)) {
            assert_true(world->lease_reads);
            world->leased++;
            check_read(world, &world->reads[number], bulk_of(&member->reply));
            return;
        }
        (void)!submit(member, argv, 2, TAG_READ | (uint64_t)number);
        return;
    }
    if (world->next_word == WORDS) {
        return;
    }
    char text[WORD_BYTES + 1];
    int word = world->next_word++;
    (void)snprintf(text, sizeof(text), "%0*d", WORD_BYTES, word);
    const struct slice argv[] = {SLICE_LITERAL("APPEND"), SLICE_LITERAL("k"), slice_of(text, WORD_BYTES)};
    world->words[word] = WORD_SENT;
    world->taken_by[word] = member->number;
    if (submit(member, argv, 3, (uint64_t)word) != STATUS_OK) {
        settle(world, (uint64_t)word, WORD_RETURNED);
    }
}

/* ---- time ---- */

static void deliver_due(struct world *world)
{
    int64_t now_ns = sim_now_ns(world->sim);
    for (int i = 0; i < world->flying_count;) {
        if (world->flying[i].at_ns > now_ns) {
            i++;
            continue;
        }
        struct flying flying = world->flying[i];
        struct member *member = &world->members[flying.to];
        if (member->paused_until_ns > now_ns) {
            world->flying[i++].at_ns = member->paused_until_ns;
            continue;
        }
        world->flying[i] = world->flying[--world->flying_count];
        if (member->store != NULL && !member->failed && !world->cut[flying.from][flying.to]) {
            assert_int_equal(shard_receive(member->shard, buffer_slice(&flying.bytes)), STATUS_OK);
        }
        buffer_deinit(&flying.bytes);
    }
}

/* Whoever may read without asking anybody is the only one who leads. */
static void check_leases(struct world *world)
{
    for (int i = 0; i < MEMBERS; i++) {
        if (world->members[i].store == NULL || !shard_may_read(world->members[i].shard)) {
            continue;
        }
        for (int other = 0; other < MEMBERS; other++) {
            struct shard *shard = world->members[other].shard;
            if (other != i && shard != NULL && shard_leading(shard)) {
                struct shard_stats mine;
                struct shard_stats theirs;
                shard_stats(world->members[i].shard, &mine);
                shard_stats(shard, &theirs);
                assert_true(mine.term > theirs.term);
            }
        }
    }
}

static void run_for(struct world *world, int64_t duration_ns, bool clients)
{
    int64_t end_ns = sim_now_ns(world->sim) + duration_ns;
    while (sim_now_ns(world->sim) < end_ns) {
        sim_run_for(world->sim, MS / 2);
        deliver_due(world);
        check_leases(world);
        if (clients && draw(world, 4) == 0) {
            client_step(world);
        }
    }
}

static void hand_over(struct world *world, int other)
{
    struct member *member = leader(world);
    if (member != NULL) {
        enum status status = shard_transfer(member->shard, voters[other]);
        assert_true(status == STATUS_OK || status == STATUS_BUSY || other == member->number);
        world->transfers += status == STATUS_OK;
    }
}

static void some_fault(struct world *world)
{
    int one = (int)draw(world, MEMBERS);
    int other = (int)draw(world, MEMBERS);
    switch (draw(world, 10)) {
    case 0: world->cut[one][other] = true; break;
    case 1: world->cut[one][other] = world->cut[other][one] = one != other; break;
    case 2: memset(world->cut, 0, sizeof(world->cut)); break;
    case 3: member_stop(world, one, SIM_CRASH_POWER); break;
    case 4: member_stop(world, one, SIM_CRASH_KILL); break;
    case 5: member_pause(&world->members[one], (int64_t)draw(world, 2000) * MS); break;
    case 6: world->lose_one_in = draw(world, 2) == 0 ? 0 : 5; break;
    case 7: world->delay_ns = draw(world, 2) == 0 ? 2 * MS : 60 * MS; break;
    default: hand_over(world, other); break;
    }
    for (int i = 0; i < MEMBERS; i++) {
        if (world->members[i].store == NULL && draw(world, 3) != 0) {
            member_start(world, i);
        }
    }
}

static void heal(struct world *world)
{
    memset(world->cut, 0, sizeof(world->cut));
    world->lose_one_in = 0;
    world->repeat_one_in = 0;
    world->delay_ns = 2 * MS;
    for (int i = 0; i < MEMBERS; i++) {
        if (world->members[i].failed) {
            member_stop(world, i, SIM_CRASH_KILL);
        }
        if (world->members[i].store == NULL) {
            member_start(world, i);
        }
    }
}

/* What a healthy group's members tell of it. */
static void check_looks(struct world *world, struct member *member)
{
    uint64_t wanted = 0;
    uint64_t term = 0;
    shard_leader(member->shard, &wanted, &term);
    assert_int_equal(wanted, voters[member->number]);
    for (int i = 0; i < MEMBERS; i++) {
        struct shard_stats stats;
        struct shard_peer_status peers[MEMBERS];
        shard_stats(world->members[i].shard, &stats);
        assert_true(stats.leader == wanted && stats.term == term);
        assert_int_equal(stats.leading, i == member->number);
        assert_false(shard_orphaned(world->members[i].shard));
        assert_int_equal(shard_peers(world->members[i].shard, peers, 1), stats.leading ? MEMBERS - 1 : 0);
        size_t count = shard_peers(world->members[i].shard, peers, MEMBERS);
        for (size_t at = 0; at < count; at++) {
            assert_true(peers[at].match == stats.last_index && peers[at].heard_ms < 500 && peers[at].id != wanted);
        }
    }
    assert_int_equal(shard_transfer(world->members[(member->number + 1) % MEMBERS].shard, wanted), STATUS_NOT_LEADER);
    assert_int_equal(shard_transfer(member->shard, wanted), STATUS_INVALID);
}

static void check_end(struct world *world)
{
    struct member *member = leader(world);
    if (member == NULL) {
        fail_msg("no leader in a healthy group");
    }
    uint64_t digest = shard_digest(member->shard);
    for (int i = 0; i < MEMBERS; i++) {
        struct shard_stats stats;
        shard_stats(world->members[i].shard, &stats);
        world->installs += stats.installed;
        assert_true(shard_digest(world->members[i].shard) == digest);
    }
    const struct slice argv[] = {SLICE_LITERAL("GET"), SLICE_LITERAL("k")};
    int number = world->next_read = READS - 1;
    world->reads[number] = (struct read_state){.acknowledged_before = world->acknowledged_count};
    assert_int_equal(submit(member, argv, 2, TAG_READ | (uint64_t)number), STATUS_OK);
    run_for(world, 300 * MS, false);
    if (!world->reads[number].answered) {
        for (int i = 0; i < MEMBERS; i++) {
            struct shard_stats stats;
            shard_stats(world->members[i].shard, &stats);
            print_message("# %d: leading %d applied %llu committed %llu last %llu pending %llu failed %d idle %d\n", i,
                          shard_leading(world->members[i].shard), (unsigned long long)stats.applied_index,
                          (unsigned long long)stats.committed_index, (unsigned long long)stats.last_index,
                          (unsigned long long)stats.pending_bytes, world->members[i].failed,
                          shard_idle(world->members[i].shard));
        }
    }
    assert_true(world->reads[number].answered);
    for (int i = 0; i < MEMBERS; i++) {
        assert_true(read_now(&world->members[i], argv, 2, false));
        assert_true(world->members[i].reply.size == member->reply.size &&
                    memcmp(world->members[i].reply.data, member->reply.data, member->reply.size) == 0);
    }
    check_looks(world, member);
    struct slice text = bulk_of(&member->reply);
    for (int word = 0; word < world->next_word; word++) {
        int count = occurrences(text, word);
        bool right = world->words[word] == WORD_ACKNOWLEDGED ? count == 1
                     : world->words[word] == WORD_RETURNED   ? count == 0
                                                             : count <= 1;
        if (!right) {
            fail_msg("word %d in state %d stands there %d times", word, (int)world->words[word], count);
        }
    }
}

static struct world *world_create(uint64_t seed, bool lease_reads)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world->sim = sim_create(seed);
    world->lease_reads = lease_reads;
    world->delay_ns = 2 * MS;
    world->repeat_one_in = 10;
    for (int i = 0; i < MEMBERS; i++) {
        world->members[i] = (struct member){.world = world, .number = i};
        member_start(world, i);
    }
    return world;
}

static uint64_t world_destroy(struct world *world)
{
    uint64_t trace = sim_trace_hash(world->sim);
    for (int i = 0; i < MEMBERS; i++) {
        member_stop(world, i, SIM_CRASH_KILL);
        buffer_deinit(&world->members[i].reply);
    }
    for (int i = 0; i < world->flying_count; i++) {
        buffer_deinit(&world->flying[i].bytes);
    }
    sim_destroy(world->sim);
    free(world);
    return trace;
}

static void test_a_group_agrees(void **state)
{
    (void)state;
    struct world *world = world_create(1, false);
    run_for(world, 3000 * MS, true);
    run_for(world, 500 * MS, false);
    print_message("# %d sent, %d acknowledged, %d returned, leaders %d\n", world->next_word,
                  world->counts[WORD_ACKNOWLEDGED], world->counts[WORD_RETURNED], (int)world->leaders);
    assert_true(world->counts[WORD_ACKNOWLEDGED] > 200);
    assert_int_equal(world->counts[WORD_UNCERTAIN], 0);
    check_end(world);
    (void)world_destroy(world);
}

struct sums {
    uint64_t installs, leaders, leased, transfers;
};

/* The leader sleeps for ever longer: meanwhile others may lead, and what it thinks of its lease must be right. */
static void test_a_lease_ends(void **state)
{
    (void)state;
    struct world *world = world_create(2, true);
    uint64_t leaders = 0;
    for (int64_t pause_ns = 100 * MS; pause_ns < 3000 * MS; pause_ns += 100 * MS) {
        run_for(world, 2500 * MS, true);
        struct member *member = leader(world);
        assert_non_null(member);
        leaders = world->leaders;
        member_pause(member, pause_ns);
        run_for(world, pause_ns, true);
    }
    assert_true(world->leaders > leaders); /* in the longest pause another led */
    assert_true(world->leased > 500);
    run_for(world, 2000 * MS, true);
    run_for(world, 1000 * MS, false);
    check_end(world);
    (void)world_destroy(world);
}

static uint64_t faulty_life(uint64_t seed, int counts[5], struct sums *sums)
{
    struct world *world = world_create(seed, seed % 2 == 0);
    sim_timing(world->sim)->slow_sync_one_in = 50;
    sim_timing(world->sim)->slow_sync_ns = 100 * MS;
    for (int i = 0; i < 30; i++) {
        run_for(world, (int64_t)draw(world, 400) * MS, true);
        some_fault(world);
    }
    heal(world);
    run_for(world, 5000 * MS, true);
    run_for(world, 1000 * MS, false);
    check_end(world);
    for (int i = 0; i < 5; i++) {
        counts[i] += world->counts[i];
    }
    sums->installs += world->installs;
    sums->leaders += world->leaders;
    sums->leased += world->leased;
    sums->transfers += world->transfers;
    return world_destroy(world);
}

static void test_faulty_lives(void **state)
{
    (void)state;
    int counts[5] = {0};
    struct sums sums = {0};
    const char *seeds = getenv("COHORT_GROUP_SEEDS");
    uint64_t last = seeds == NULL ? 40 : strtoull(seeds, NULL, 10);
    const char *only = getenv("COHORT_GROUP_SEED");
    for (uint64_t seed = only == NULL ? 1 : (last = strtoull(only, NULL, 10)); seed <= last; seed++) {
        print_message("# seed %llu\n", (unsigned long long)seed);
        (void)faulty_life(seed, counts, &sums);
    }
    print_message("# %d acknowledged, %d returned, %d uncertain, %llu snapshots installed, %llu leaders, "
                  "%llu transfers, %llu reads by lease\n",
                  counts[WORD_ACKNOWLEDGED], counts[WORD_RETURNED], counts[WORD_UNCERTAIN],
                  (unsigned long long)sums.installs, (unsigned long long)sums.leaders,
                  (unsigned long long)sums.transfers, (unsigned long long)sums.leased);
    assert_true(counts[WORD_ACKNOWLEDGED] > 1000 && counts[WORD_RETURNED] > 10 && counts[WORD_UNCERTAIN] > 10);
    assert_true(sums.installs > 5 && sums.leaders > 40 && sums.transfers > 10 && sums.leased > 500);
}

static void test_same_seed_same_trace(void **state)
{
    (void)state;
    int counts[5] = {0};
    struct sums sums = {0};
    assert_true(faulty_life(3, counts, &sums) == faulty_life(3, counts, &sums));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_group_agrees),
        cmocka_unit_test(test_a_lease_ends),
        cmocka_unit_test(test_same_seed_same_trace),
        cmocka_unit_test(test_faulty_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
