/* A node forwards batches to a faulty group of three: each is sent again and again, to whoever leads, also after it was
 * executed. In the end each stands there once, whole; what the group told of any of them was true.
 *
 * Each batch appends words that are never used twice to one key. A node that starts anew gives up its old batches: they
 * stand there once or not at all. */
#include "group_fixture.h"

#ifdef COHORT_MUTATIONS
#include "shard/shard_mutation.h"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { NODE = 9, BATCHES = 3000, BATCH_WORDS = 3, WORD_BYTES = 6, RECENT = 40, QUESTIONS = 4000 };
enum { TAG_READ = 1 << 30, TAG_QUESTION = 1 << 29 };

struct batch_state {
    uint64_t start, sequence;
    uint64_t settled_below; /* as it was when the batch was made: copies that are late say so */
    int words;
    int copies;         /* submitted */
    uint64_t last_term; /* of a leader that was sent a copy */
    int ended;          /* words */
    bool executed;      /* by what the group said */
    bool dead;          /* never executed, by what it said */
};

struct question {
    int batch;
    uint64_t term; /* of the leader asked */
    int copies;    /* of the batch by then */
    bool executed; /* known by then */
};

struct world {
    struct group group; /* the first */
    struct batch_state batches[BATCHES];
    int batch_count;
    uint64_t start, sequence; /* the next batch's */
    int oldest;               /* of this start, not settled */
    struct question questions[QUESTIONS];
    int question_count;
    bool no_new;
    int told_once, told_again, told_dead, abandoned;
    char failure[160];
};

static struct world *world_of(const struct group_member *member) { return (struct world *)member->group; }

__attribute__((format(printf, 2, 3))) static void wrong(struct world *world, const char *format, ...)
{
    if (world->failure[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(world->failure, sizeof(world->failure), format, arguments);
        va_end(arguments);
    }
}

static bool is_settled(const struct world *world, const struct batch_state *batch)
{
    return batch->executed || batch->dead || batch->start != world->start;
}

/* ---- what the group says ---- */

static void hear_answer(struct world *world, const struct question *question, struct slice reply)
{
    struct batch_state *batch = &world->batches[question->batch];
    if (reply.size < 6 || memcmp(reply.data, "*1\r\n:", 5) != 0) {
        wrong(world, "an answer of another form");
    } else if (reply.data[5] == '1') {
        batch->executed = true;
    } else if (reply.data[5] == '-') {
        if (!is_settled(world, batch)) {
            wrong(world, "batch %d is told to be settled", question->batch);
        }
    } else if (question->executed) {
        wrong(world, "batch %d was executed, and is told not to be", question->batch);
    } else if (question->term > batch->last_term && question->copies == batch->copies && !batch->dead) {
        batch->dead = true;
        world->told_dead++;
    }
}

static void sink_end(void *owner, void *origin, uint64_t tag, const struct command *command)
{
    struct group_member *member = owner;
    struct world *world = world_of(member);
    if (tag & TAG_QUESTION) {
        hear_answer(world, &world->questions[tag & ~(uint64_t)TAG_QUESTION], buffer_slice(&member->reply));
    } else if ((tag & TAG_READ) == 0) {
        struct batch_state *batch = &world->batches[tag];
        batch->ended++;
        batch->executed = true;
        world->told_once++;
        if (batch->ended > batch->words || batch->dead) {
            wrong(world, "batch %d is executed %s", (int)tag, batch->dead ? "after all" : "again");
        }
    }
}

static void sink_repeated(void *owner, void *origin, uint64_t tag)
{
    struct world *world = world_of(owner);
    struct batch_state *batch = &world->batches[tag & ~(uint64_t)TAG_READ];
    world->told_again++;
    if (batch->start == world->start) {
        batch->executed = true;
        if (batch->dead) {
            wrong(world, "batch %d was executed after all", (int)(tag & ~(uint64_t)TAG_READ));
        }
    }
}

static void sink_returned(void *owner, void *origin, uint64_t tag, const struct command *command)
{
    /* It is sent again. */
}

static void sink_uncertain(void *owner, void *origin, uint64_t tag)
{ /* It is sent again. */
}

static void sink_refused(void *owner, void *origin, uint64_t tag, enum status status)
{ /* It is sent again. */
}

static const struct shard_sink sink = {
    .begin = group_begin,
    .end = sink_end,
    .refused = sink_refused,
    .returned = sink_returned,
    .uncertain = sink_uncertain,
    .repeated = sink_repeated,
};

/* ---- the node ---- */

static void word_text(int batch, int number, char ret_text[static WORD_BYTES + 1])
{
    int value = batch * BATCH_WORDS + number;
    for (int i = WORD_BYTES - 1; i >= 0; i--, value /= 10) {
        ret_text[i] = (char)('0' + value % 10);
    }
    ret_text[WORD_BYTES] = '\0';
}

static enum status submit(struct group_member *member, uint16_t id, const struct slice *argv, uint32_t argc,
                          bool logged, uint64_t tag)
{
    struct command command = {command_by_id(id), argv, argc, RESP2};
    return logged ? shard_submit_logged(member->shard, &command, NULL, tag)
                  : shard_submit(member->shard, &command, NULL, tag);
}

static size_t encoded_size(uint16_t id, const struct slice *argv, uint32_t argc)
{
    struct buffer bytes;
    buffer_init(&bytes);
    command_encode(&bytes, &(struct command){command_by_id(id), argv, argc, RESP2});
    size_t size = bytes.size;
    buffer_deinit(&bytes);
    return size;
}

static void settle_oldest(struct world *world)
{
    while (world->oldest < world->batch_count && is_settled(world, &world->batches[world->oldest])) {
        world->oldest++;
    }
}

/* Sends a copy, its reads between its writes. */
static void send_copy(struct world *world, struct group_member *member, int number)
{
    struct batch_state *batch = &world->batches[number];
    const struct slice read[] = {SLICE_LITERAL("GET"), SLICE_LITERAL("k")};
    char text[WORD_BYTES + 1];
    word_text(number, 0, text);
    const struct slice append[] = {SLICE_LITERAL("APPEND"), SLICE_LITERAL("k"), slice_of(text, WORD_BYTES)};
    bool logged_read = number % 3 == 0;
    size_t bytes = (size_t)batch->words * encoded_size(COMMAND_APPEND, append, 3) +
                   (logged_read ? encoded_size(COMMAND_GET, read, 2) : 0);
    bool again = is_settled(world, batch);
    struct shard_origin origin = {NODE, batch->start, batch->sequence, batch->settled_below};
    origin.settled_below =
        again || world->oldest > number ? origin.settled_below : world->batches[world->oldest].sequence;
    enum status status = shard_forwarded(member->shard, &origin, (uint32_t)batch->words + (logged_read ? 1 : 0), bytes);
    if (status != STATUS_OK) {
        return;
    }
    uint64_t leader = 0;
    uint64_t term = 0;
    shard_leader(member->shard, &leader, &term);
    batch->last_term = term > batch->last_term ? term : batch->last_term;
    batch->copies++;
    for (int i = 0; i < batch->words; i++) {
        word_text(number, i, text);
        assert_int_equal(submit(member, COMMAND_APPEND, append, 3, false, (uint64_t)number), STATUS_OK);
        if (i == 0 && logged_read) {
            assert_int_equal(submit(member, COMMAND_GET, read, 2, true, TAG_READ | (uint64_t)number), STATUS_OK);
        } else if (i == 0 && number % 3 == 1) {
            assert_int_equal(submit(member, COMMAND_GET, read, 2, false, TAG_READ | (uint64_t)number), STATUS_OK);
        }
    }
    env_wake(member->env);
}

static void send_new(struct world *world, struct group_member *member)
{
    settle_oldest(world);
    if (world->no_new || world->batch_count == BATCHES || world->batch_count - world->oldest >= RECENT) {
        return;
    }
    int number = world->batch_count++;
    uint64_t settled_below = world->oldest == number ? world->sequence : world->batches[world->oldest].sequence;
    world->batches[number] = (struct batch_state){.start = world->start,
                                                  .sequence = world->sequence++,
                                                  .settled_below = settled_below,
                                                  .words = 1 + (int)group_draw(&world->group, BATCH_WORDS)};
    send_copy(world, member, number);
}

static void send_again(struct world *world, struct group_member *member)
{
    settle_oldest(world);
    int recent = world->batch_count < 2 * RECENT ? world->batch_count : 2 * RECENT;
    if (recent == 0) {
        return;
    }
    int number = world->batch_count - 1 - (int)group_draw(&world->group, (uint64_t)recent);
    if (world->oldest < world->batch_count && group_draw(&world->group, 2) == 0) {
        number = world->oldest;
    }
    if (!world->batches[number].dead) {
        send_copy(world, member, number);
    }
}

static void ask(struct world *world, struct group_member *member)
{
    if (world->question_count == QUESTIONS || world->batch_count == 0) {
        return;
    }
    int recent = world->batch_count < RECENT ? world->batch_count : RECENT;
    int batch = world->batch_count - 1 - (int)group_draw(&world->group, (uint64_t)recent);
    const struct batch_state *state = &world->batches[batch];
    uint64_t leader = 0;
    struct question *question = &world->questions[world->question_count];
    *question = (struct question){.batch = batch, .copies = state->copies, .executed = state->executed};
    shard_leader(member->shard, &leader, &question->term);
    char texts[3][24];
    (void)snprintf(texts[0], sizeof(texts[0]), "%d", NODE);
    (void)snprintf(texts[1], sizeof(texts[1]), "%llu", (unsigned long long)state->start);
    (void)snprintf(texts[2], sizeof(texts[2]), "%llu", (unsigned long long)state->sequence);
    const struct slice argv[] = {SLICE_LITERAL("COHORT.OUTCOME"), slice_from_string(texts[0]),
                                 slice_from_string(texts[1]), slice_from_string(texts[2])};
    if (submit(member, COMMAND_COHORT_OUTCOME, argv, 4, false, TAG_QUESTION | (uint64_t)world->question_count) ==
        STATUS_OK) {
        world->question_count++;
        env_wake(member->env);
    }
}

/* The node starts anew; what it was waiting for it will never learn. */
static void start_anew(struct world *world)
{
    for (int i = world->oldest; i < world->batch_count; i++) {
        world->abandoned += is_settled(world, &world->batches[i]) ? 0 : 1;
    }
    world->start++;
    world->sequence = 1;
    world->oldest = world->batch_count;
}

static void client_step(struct group *group)
{
    struct world *world = (struct world *)group;
    struct group_member *member = group_leader(group);
    if (member == NULL) {
        return;
    }
    if (!world->no_new && group_draw(group, 400) == 0) {
        start_anew(world);
    }
    switch (group_draw(group, 8)) {
    case 0:
    case 1:
    case 2: send_new(world, member); break;
    case 3: ask(world, member); break;
    default: send_again(world, member); break;
    }
}

/* ---- the end ---- */

/* How often the batch stands in the text, whole; -1: a part of it does. */
static int occurrences(struct slice text, int number, int words)
{
    char wanted[BATCH_WORDS * WORD_BYTES + 1];
    int whole = 0;
    int first = 0;
    int parts = 0;
    for (int i = 0; i < words; i++) {
        word_text(number, i, wanted + (size_t)i * WORD_BYTES);
    }
    for (size_t at = 0; at + WORD_BYTES <= text.size; at += WORD_BYTES) {
        size_t size = (size_t)words * WORD_BYTES;
        whole += at + size <= text.size && memcmp(text.data + at, wanted, size) == 0;
        first += memcmp(text.data + at, wanted, WORD_BYTES) == 0;
        for (int i = 1; i < words; i++) {
            parts += memcmp(text.data + at, wanted + (size_t)i * WORD_BYTES, WORD_BYTES) == 0;
        }
    }
    return first == whole && parts == whole * (words - 1) ? whole : -1;
}

static void check_text(struct world *world, struct slice text)
{
    for (int i = 0; i < world->batch_count; i++) {
        const struct batch_state *batch = &world->batches[i];
        int count = occurrences(text, i, batch->words);
        bool right = batch->executed ? count == 1 : batch->dead ? count == 0 : count == 0 || count == 1;
        if (!right) {
            wrong(world, "batch %d of start %llu stands there %d times, executed %d, dead %d", i,
                  (unsigned long long)batch->start, count, batch->executed, batch->dead);
        }
    }
}

static void check_end(struct world *world)
{
    world->no_new = true;
    settle_oldest(world);
    for (int i = 0; i < 20 && world->oldest < world->batch_count; i++) {
        group_run_for(&world->group, 1000 * MS, true);
        settle_oldest(world);
    }
    if (world->oldest < world->batch_count) {
        wrong(world, "batch %d finds no end in a healthy group", world->oldest);
    }
    group_run_for(&world->group, 1000 * MS, false);
    struct group_member *member = group_check_agreed(&world->group);
    const struct slice argv[] = {SLICE_LITERAL("GET"), SLICE_LITERAL("k")};
    struct command command = {command_by_id(COMMAND_GET), argv, 2, RESP2};
    assert_true(shard_read_applied(member->shard, &command, group_begin(member, NULL, 0)));
    const uint8_t *end = memchr(member->reply.data, '\n', member->reply.size);
    size_t head = (size_t)(end + 1 - member->reply.data);
    check_text(world, slice_of(end + 1, member->reply.size - head - 2));
}

/* ---- lives ---- */

struct sums {
    uint64_t installs, leaders, repeated;
    int batches, told_once, told_again, told_dead, abandoned;
};

static void add(struct sums *sums, const struct world *world)
{
    sums->installs += world->group.installs;
    sums->leaders += world->group.leaders;
    sums->repeated += world->group.repeated;
    sums->batches += world->batch_count;
    sums->told_once += world->told_once;
    sums->told_again += world->told_again;
    sums->told_dead += world->told_dead;
    sums->abandoned += world->abandoned;
}

/* What went wrong; empty: nothing. */
static void live(uint64_t seed, struct sums *sums, char ret_failure[static 160])
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world->start = 1;
    world->sequence = 1;
    world->group = (struct group){.sink = sink, .client = client_step};
    group_start(&world->group, seed);
    sim_timing(world->group.sim)->slow_sync_one_in = 50;
    sim_timing(world->group.sim)->slow_sync_ns = 100 * MS;
    sim_timing(world->group.sim)->work_maximum_ns = seed % 3 == 0 ? 150 * MS : MS;
    for (int i = 0; i < 30 && world->failure[0] == '\0'; i++) {
        group_run_for(&world->group, (int64_t)group_draw(&world->group, 400) * MS, true);
        group_fault(&world->group);
    }
    group_heal(&world->group);
    group_run_for(&world->group, 3000 * MS, true);
    if (world->failure[0] == '\0') {
        check_end(world);
    }
    add(sums, world);
    memcpy(ret_failure, world->failure, sizeof(world->failure));
    (void)group_end(&world->group);
    free(world);
}

#ifndef COHORT_MUTATIONS

static void test_each_batch_once(void **state)
{
    (void)state;
    struct sums sums = {0};
    const char *seeds = getenv("COHORT_GROUP_SEEDS");
    uint64_t last = seeds == NULL ? 40 : strtoull(seeds, NULL, 10);
    for (uint64_t seed = 1; seed <= last; seed++) {
        char failure[160];
        live(seed, &sums, failure);
        if (failure[0] != '\0') {
            fail_msg("seed %d: %s", (int)seed, failure);
        }
    }
    print_message("# %d batches, %d words told once, %d again, %d batches dead, %d abandoned; skipped %d; "
                  "%d snapshots installed, %d leaders\n",
                  sums.batches, sums.told_once, sums.told_again, sums.told_dead, sums.abandoned, (int)sums.repeated,
                  (int)sums.installs, (int)sums.leaders);
    assert_true(sums.told_once > 5000 && sums.told_again > 5000 && sums.told_dead > 10 && sums.abandoned > 100);
    assert_true(sums.repeated > 5000 && sums.installs > 5 && sums.leaders > 40);
}

#else

static void test_a_batch_applied_twice_is_seen(void **state)
{
    (void)state;
    struct sums sums = {0};
    char failure[160];
    shard_mutate(RAFT_MUTATION_NONE, SHARD_MUTATION_FORWARDED_TWICE);
    live(1, &sums, failure);
    print_message("# %s\n", failure);
    assert_non_null(strstr(failure, "again"));
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifndef COHORT_MUTATIONS
        cmocka_unit_test(test_each_batch_once),
#else
        cmocka_unit_test(test_a_batch_applied_twice_is_seen),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
