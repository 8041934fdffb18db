/* One group of three members in the simulator: loss, repetition, delay and reordering of messages, partitions, crashes
 * that lose what was not synced, pauses and slow syncs; then everything heals.
 *
 * Clients append words that are never used twice to one key. In the end each acknowledged word stands there once, each
 * returned one ("definitely not executed") not at all, all others at most once; every read has seen all that was
 * acknowledged before it was asked; and the members' states are equal. */
#include "group_fixture.h"

#include "base/assert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { WORDS = 4000, WORD_BYTES = 6, READS = 4000 };
enum word_state { WORD_UNSENT, WORD_SENT, WORD_ACKNOWLEDGED, WORD_RETURNED, WORD_UNCERTAIN };

struct read_state {
    int acknowledged_before; /* words acknowledged when it was asked: the first so many of acknowledged[] */
    bool answered;
};

struct world {
    struct group group; /* the first */
    enum word_state words[WORDS];
    int taken_by[WORDS]; /* the member that was asked */
    int next_word;
    int acknowledged[WORDS];
    int acknowledged_count;
    struct read_state reads[READS];
    int next_read;
    int counts[5];
    uint64_t leased;
};

enum { TAG_READ = 1 << 30 };

static struct world *world_of(const struct group_member *member) { return (struct world *)member->group; }

/* ---- the sink ---- */

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
        int which = i == 0 ? read->acknowledged_before - 1
                           : (int)group_draw(&world->group, (uint64_t)read->acknowledged_before);
        if (occurrences(text, world->acknowledged[which]) != 1) {
            fail_msg("a read does not see word %d, acknowledged before it was asked", world->acknowledged[which]);
        }
    }
}

static void sink_end(void *owner, void *origin, uint64_t tag, const struct command *command)
{
    (void)origin;
    (void)command;
    struct group_member *member = owner;
    if (tag & TAG_READ) {
        check_read(world_of(member), &world_of(member)->reads[tag & ~(uint64_t)TAG_READ], bulk_of(&member->reply));
    } else {
        assert_int_equal(member->reply.data[0], ':');
        settle(world_of(member), tag, WORD_ACKNOWLEDGED);
    }
}

static void sink_returned(void *owner, void *origin, uint64_t tag, const struct command *command)
{
    (void)origin;
    (void)command;
    struct group_member *member = owner;
    if ((tag & TAG_READ) == 0) {
        settle(world_of(member), tag, WORD_RETURNED);
    }
}

static void sink_uncertain(void *owner, void *origin, uint64_t tag)
{
    (void)origin;
    struct group_member *member = owner;
    if ((tag & TAG_READ) == 0) {
        settle(world_of(member), tag, WORD_UNCERTAIN);
    }
}

static void sink_refused(void *owner, void *origin, uint64_t tag, enum status status)
{
    (void)status;
    sink_returned(owner, origin, tag, NULL);
}

static const struct shard_sink sink = {
    .begin = group_begin,
    .end = sink_end,
    .refused = sink_refused,
    .returned = sink_returned,
    .uncertain = sink_uncertain,
};

/* What its clients were waiting for they will never learn. */
static void forget_waiting(struct group *group, int number)
{
    struct world *world = (struct world *)group;
    for (int word = 0; word < world->next_word; word++) {
        if (world->words[word] == WORD_SENT && world->taken_by[word] == number) {
            settle(world, (uint64_t)word, WORD_UNCERTAIN);
        }
    }
}

/* ---- the clients ---- */

static enum status submit(struct group_member *member, const struct slice *argv, uint32_t argc, uint64_t tag)
{
    struct command command = {.argv = argv, .argc = argc, .protocol = RESP2};
    assert_int_equal(command_lookup(argv, argc, &command.spec), COMMAND_FOUND);
    enum status status = shard_submit(member->shard, &command, NULL, tag);
    env_wake(member->env);
    return status;
}

/* Reads at once; false when the shard wants it submitted. */
static bool read_now(struct group_member *member, const struct slice *argv, uint32_t argc, bool strong)
{
    struct command command = {.argv = argv, .argc = argc, .protocol = RESP2};
    assert_int_equal(command_lookup(argv, argc, &command.spec), COMMAND_FOUND);
    buffer_clear(&member->reply);
    member->writer = resp_writer_to(&member->reply, RESP2);
    return strong ? shard_may_read(member->shard) && shard_read(member->shard, &command, &member->writer)
                  : shard_read_applied(member->shard, &command, &member->writer);
}

static void client_step(struct group *group)
{
    struct world *world = (struct world *)group;
    struct group_member *member = group_leader(group);
    if (member == NULL) {
        return;
    }
    if (group_draw(&world->group, 2) == 0 && world->next_read < READS) {
        const struct slice argv[] = {SLICE_LITERAL("GET"), SLICE_LITERAL("k")};
        int number = world->next_read++;
        world->reads[number] = (struct read_state){.acknowledged_before = world->acknowledged_count};
        if (group_draw(&world->group, 4) != 0 && read_now(member, argv, 2, true)) {
            assert_true(world->group.lease_reads);
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

static void check_end(struct world *world)
{
    struct group_member *member = group_check_agreed(&world->group);
    const struct slice argv[] = {SLICE_LITERAL("GET"), SLICE_LITERAL("k")};
    int number = world->next_read = READS - 1;
    world->reads[number] = (struct read_state){.acknowledged_before = world->acknowledged_count};
    assert_int_equal(submit(member, argv, 2, TAG_READ | (uint64_t)number), STATUS_OK);
    group_run_for(&world->group, 300 * MS, false);
    assert_true(world->reads[number].answered);
    for (int i = 0; i < GROUP_MEMBERS; i++) {
        assert_true(read_now(&world->group.members[i], argv, 2, false));
        assert_true(world->group.members[i].reply.size == member->reply.size &&
                    memcmp(world->group.members[i].reply.data, member->reply.data, member->reply.size) == 0);
    }
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
    world->group =
        (struct group){.lease_reads = lease_reads, .sink = sink, .client = client_step, .stopped = forget_waiting};
    group_start(&world->group, seed);
    return world;
}

static uint64_t world_destroy(struct world *world)
{
    uint64_t trace = group_end(&world->group);
    free(world);
    return trace;
}

static void test_a_group_agrees(void **state)
{
    (void)state;
    struct world *world = world_create(1, false);
    group_run_for(&world->group, 3000 * MS, true);
    group_run_for(&world->group, 500 * MS, false);
    print_message("# %d sent, %d acknowledged, %d returned, leaders %d\n", world->next_word,
                  world->counts[WORD_ACKNOWLEDGED], world->counts[WORD_RETURNED], (int)world->group.leaders);
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
        group_run_for(&world->group, 2500 * MS, true);
        struct group_member *member = group_leader(&world->group);
        assert_non_null(member);
        leaders = world->group.leaders;
        group_member_pause(member, pause_ns);
        group_run_for(&world->group, pause_ns, true);
    }
    assert_true(world->group.leaders > leaders); /* in the longest pause another led */
    assert_true(world->leased > 500);
    group_run_for(&world->group, 2000 * MS, true);
    group_run_for(&world->group, 1000 * MS, false);
    check_end(world);
    (void)world_destroy(world);
}

static uint64_t faulty_life(uint64_t seed, int counts[5], struct sums *sums)
{
    struct world *world = world_create(seed, seed % 2 == 0);
    sim_timing(world->group.sim)->slow_sync_one_in = 50;
    sim_timing(world->group.sim)->slow_sync_ns = 100 * MS;
    sim_timing(world->group.sim)->work_maximum_ns = seed % 3 == 0 ? 150 * MS : MS; /* snapshots load for a while */
    for (int i = 0; i < 30; i++) {
        group_run_for(&world->group, (int64_t)group_draw(&world->group, 400) * MS, true);
        group_fault(&world->group);
    }
    group_heal(&world->group);
    group_run_for(&world->group, 5000 * MS, true);
    group_run_for(&world->group, 1000 * MS, false);
    check_end(world);
    for (int i = 0; i < 5; i++) {
        counts[i] += world->counts[i];
    }
    sums->installs += world->group.installs;
    sums->leaders += world->group.leaders;
    sums->leased += world->leased;
    sums->transfers += world->group.transfers;
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
