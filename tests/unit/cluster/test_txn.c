/* A transaction over two shards whose home is a third, crashed at every step: whoever is lost after whichever message
 * or forced write, all of it or none of it is there in the end, nothing is in doubt, no lock stands, and who was told
 * of a commit was told the truth. The transaction is run by hand, command by command, as src/machine/txn/README.md
 * says. */
#include "cluster_world.h"

#include "base/number.h"
#include "base/prng.h"
#include "cluster/txn_rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MADE "~1.0.1.1.1" /* home may hear of it first when it is to be committed */

enum { HOME = 1, FIRST, SECOND, WORDS = 24, TIMEOUT_MS = 1000, DAY_MS = 86400000 };

enum victim { NOBODY, CLIENT, HOME_LEADER, FIRST_LEADER, SECOND_LEADER, VICTIMS };

struct crash {
    int point; /* 2 × step: its command is on its way; + 1: it is answered */
    enum victim victim;
};

struct run {
    struct world world;
    struct world_client *client;
    enum txn_protocol protocol;
    int timeout_ms;
    bool last; /* home votes last, and has a part */
    struct crash crashes[2];
    int crash_count, step;
    uint64_t epoch;
    uint64_t votes[2];
    uint64_t down[2];
    int down_count;
    bool gone;      /* the client does nothing any more */
    bool no;        /* a vote, or what else there is no commit without */
    bool committed; /* it was told so */
};

/* ---- one command after the other ---- */

static void crash_at(struct run *run, int point)
{
    for (int i = 0; i < run->crash_count; i++) {
        const struct crash *crash = &run->crashes[i];
        if (crash->point != point || crash->victim == NOBODY) {
            continue;
        }
        if (crash->victim == CLIENT) {
            run->gone = true;
            continue;
        }
        uint64_t node = world_leader(&run->world, run->client->node->id, (uint32_t)crash->victim - HOME_LEADER + HOME);
        if (node != 0 && node != run->client->node->id && world_node(&run->world, node)->cluster != NULL) {
            world_kill(&run->world, node, SIM_CRASH_POWER);
            run->down[run->down_count++] = node;
        }
    }
}

/* Three of five nodes are enough for every shard. */
static void revive(struct run *run)
{
    while (run->down_count > 0) {
        world_start(&run->world, run->down[--run->down_count]);
    }
}

static bool heard(void *argument)
{
    struct world_client *client = argument;
    return client->requests[client->count - 1].heard;
}

/* Those who are down come back when nobody can answer without them. */
static void wait_for_answer(struct run *run)
{
    for (int i = 0; i < 30 && !heard(run->client); i++) {
        world_run_ms(&run->world, 100);
    }
    if (!heard(run->client)) {
        revive(run);
    }
    world_run_until(&run->world, heard, run->client);
}

/* The next step: its reply as text, or "" when there is none. */
static const char *call(struct run *run, uint32_t shard, uint16_t id, const char *words)
{
    static char bytes[256];
    struct slice argv[WORDS] = {slice_from_string(command_by_id(id)->shown)};
    uint32_t argc = 1;
    (void)snprintf(bytes, sizeof(bytes), "%s", words);
    char *rest = bytes;
    for (char *word = strtok_r(rest, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        argv[argc++] = slice_from_string(word);
    }
    int number = world_internal(run->client, shard, id, argv, argc);
    crash_at(run, 2 * run->step);
    if (run->gone) {
        return "";
    }
    wait_for_answer(run);
    crash_at(run, 2 * run->step++ + 1);
    buffer_append_byte(&run->client->reply, '\0');
    return run->client->requests[number].status == STATUS_OK ? (const char *)run->client->reply.data : "";
}

static void prepare(struct run *run, uint32_t shard)
{
    char words[128];
    (void)snprintf(words, sizeof(words), "%s 1 %llu %d NOW %s 0 1 k \001new", run->last ? MADE : "t",
                   (unsigned long long)run->epoch, run->protocol, run->last ? "3 1 2 3" : "2 2 3");
    const char *reply = call(run, shard, COMMAND_COHORT_TXN_PREPARE, words);
    const char *vote = strstr(reply, "YES\r\n:");
    run->no = run->no || vote == NULL;
    run->votes[shard - FIRST] = vote == NULL ? 0 : strtoull(vote + 6, NULL, 10);
}

static void open_it(struct run *run)
{
    char words[128];
    run->epoch = world_lane(&run->world, run->client->node->id, HOME)->term;
    (void)snprintf(words, sizeof(words), "t %llu %d %d 2 3", (unsigned long long)run->epoch, run->protocol,
                   run->timeout_ms);
    run->no = strstr(call(run, HOME, COMMAND_COHORT_TXN_OPEN, words), "$2\r\nOK") == NULL;
}

static void move(struct run *run, uint32_t shard)
{
    run->no = strstr(call(run, shard, COMMAND_COHORT_TXN_MOVE, "t PRECOMMIT"), "PRECOMMIT") == NULL || run->no;
}

static void decide(struct run *run)
{
    char words[128];
    if (run->no) {
        (void)snprintf(words, sizeof(words), "t %llu ABORT no", (unsigned long long)run->epoch);
    } else {
        (void)snprintf(words, sizeof(words), "t %llu COMMIT 2 %llu 3 %llu", (unsigned long long)run->epoch,
                       (unsigned long long)run->votes[0], (unsigned long long)run->votes[1]);
    }
    const char *reply = call(run, HOME, COMMAND_COHORT_TXN_DECIDE, words);
    run->committed = strstr(reply, "COMMIT") != NULL;
    assert_false(run->committed && run->no);
}

/* Who ran it ends the parts when home has not said yes; unless nobody knows what home has said. */
static void say_last(struct run *run)
{
    char words[160];
    (void)snprintf(words, sizeof(words), MADE " 1 %llu 0 3 1 2 3 3 0 %llu %llu 0 1 k \001new",
                   (unsigned long long)run->epoch, (unsigned long long)run->votes[0],
                   (unsigned long long)run->votes[1]);
    const char *reply = call(run, HOME, COMMAND_COHORT_TXN_LAST, words);
    run->committed = strstr(reply, "YES") != NULL;
    run->no = strstr(reply, "NO\r\n") != NULL;
}

static void drive_last(struct run *run)
{
    char words[64];
    run->epoch = world_lane(&run->world, run->client->node->id, HOME)->term;
    prepare(run, FIRST);
    if (!run->gone) {
        prepare(run, SECOND);
    }
    if (!run->gone && !run->no) {
        say_last(run);
    }
    (void)snprintf(words, sizeof(words), MADE " %llu ABORT", (unsigned long long)run->epoch);
    for (uint32_t shard = FIRST; shard <= SECOND && !run->gone && run->no; shard++) {
        (void)call(run, shard, COMMAND_COHORT_TXN_FINISH, words);
    }
}

/* Under three phases a refusal before the votes aborts; later the participants decide among themselves. */
static void drive(struct run *run)
{
    open_it(run);
    if (!run->gone) {
        prepare(run, FIRST);
    }
    if (!run->gone) {
        prepare(run, SECOND);
    }
    bool voted = !run->no;
    if (run->protocol == TXN_3PC && !run->gone && voted) {
        move(run, FIRST);
        if (!run->gone) {
            move(run, SECOND);
        }
        if (run->no) {
            return;
        }
    }
    if (!run->gone) {
        decide(run);
    }
}

/* ---- the end ---- */

static bool all_ended(void *argument)
{
    struct run *run = argument;
    for (uint64_t node = 1; node <= (uint64_t)run->world.node_count; node++) {
        for (uint32_t shard = HOME; shard <= SECOND; shard++) {
            const struct lane *lane = world_lane(&run->world, node, shard);
            int64_t time_ms;
            if (lane->local != NULL && shard_txns(lane->local, &time_ms) != NULL) {
                return false;
            }
        }
    }
    return true;
}

/* True: the value is there. */
static bool is_written(struct run *run, uint32_t shard)
{
    struct slice argv[] = {SLICE_LITERAL("get"), SLICE_LITERAL("k")};
    (void)world_command(run->client, shard, argv, 2);
    world_run_until(&run->world, heard, run->client);
    assert_int_equal(run->client->requests[run->client->count - 1].status, STATUS_OK);
    buffer_append_byte(&run->client->reply, '\0');
    const char *reply = (const char *)run->client->reply.data;
    assert_true(strcmp(reply, "$3\r\nnew\r\n") == 0 || strcmp(reply, "$-1\r\n") == 0);
    return reply[1] == '3';
}

static void begin(struct run *run, uint64_t seed, enum txn_protocol protocol)
{
    *run = (struct run){.protocol = protocol, .timeout_ms = TIMEOUT_MS};
    world_begin(&run->world, seed, 5, 3, 3);
    /* At a node that leads none of them, so that it lives on when their leaders are lost. */
    uint64_t at = 1;
    for (uint64_t node = 1; node <= 5; node++) {
        bool leads = false;
        for (uint32_t shard = HOME; shard <= SECOND; shard++) {
            leads = leads || world_leader(&run->world, 1, shard) == node;
        }
        at = leads ? at : node;
    }
    run->client = world_client(&run->world, at);
}

static bool finish(struct run *run)
{
    world_run_ms(&run->world, 500);
    revive(run);
    world_run_until(&run->world, all_ended, run);
    bool first = is_written(run, FIRST);
    assert_int_equal(is_written(run, SECOND), first);
    assert_int_equal(is_written(run, HOME), first && run->last);
    assert_true(first || !run->committed);
    world_end(&run->world);
    return first;
}

enum way { OPEN_FIRST, LAST_VOTE, THREE_PHASES, WAYS };

static bool play(uint64_t seed, enum way way, const struct crash *crashes, int count)
{
    static struct run run;
    begin(&run, seed, way == THREE_PHASES ? TXN_3PC : TXN_2PC);
    run.last = way == LAST_VOTE;
    for (run.crash_count = 0; run.crash_count < count; run.crash_count++) {
        run.crashes[run.crash_count] = crashes[run.crash_count];
    }
    if (run.last) {
        drive_last(&run);
    } else {
        drive(&run);
    }
    return finish(&run);
}

/* ---- tests ---- */

static void undisturbed(void **state)
{
    (void)state;
    for (enum way way = OPEN_FIRST; way < WAYS; way++) {
        assert_true(play(1 + way, way, NULL, 0));
    }
}

/* Two of each step. */
static const int points_of[WAYS] = {[OPEN_FIRST] = 8, [LAST_VOTE] = 6, [THREE_PHASES] = 12};

static void one_crash_at_every_step(enum way way)
{
    int written = 0;
    int runs = 0;
    for (int point = 0; point < points_of[way]; point++) {
        for (enum victim victim = CLIENT; victim < VICTIMS; victim++) {
            struct crash crash = {point, victim};
            written += play(100 + (uint64_t)point, way, &crash, 1) ? 1 : 0;
            runs++;
        }
    }
    assert_true(written > 0 && written < runs); /* both outcomes came */
}

static void two_phases_crash_at_every_step(void **state)
{
    (void)state;
    one_crash_at_every_step(OPEN_FIRST);
}

static void last_vote_crash_at_every_step(void **state)
{
    (void)state;
    one_crash_at_every_step(LAST_VOTE);
}

static void three_phases_crash_at_every_step(void **state)
{
    (void)state;
    one_crash_at_every_step(THREE_PHASES);
}

static void two_crashes(void **state)
{
    (void)state;
    struct prng prng;
    prng_seed(&prng, 7);
    for (int i = 0; i < 60; i++) {
        enum way way = (enum way)(i % WAYS);
        uint64_t points = (uint64_t)points_of[way];
        struct crash crashes[2];
        for (int k = 0; k < 2; k++) {
            crashes[k].point = (int)prng_below(&prng, points);
            crashes[k].victim = CLIENT + (enum victim)prng_below(&prng, VICTIMS - CLIENT);
        }
        (void)play(1000 + (uint64_t)i, way, crashes, 2);
    }
}

/* ---- the majority of the home shard is gone ---- */

static int voters_but(struct run *run, uint32_t shard, uint64_t one, uint64_t other)
{
    int count = 0;
    for (uint64_t node = 1; node <= 5; node++) {
        count += node != one && node != other && world_votes(&run->world, node, shard) ? 1 : 0;
    }
    return count;
}

/* Two nodes without which this shard has no majority, and the others have one. */
static void kill_shard(struct run *run, uint32_t shard)
{
    uint32_t left = shard == HOME ? FIRST : HOME;
    uint32_t right = shard == SECOND ? FIRST : SECOND;
    for (uint64_t one = 1; one <= 5; one++) {
        for (uint64_t other = one + 1; other <= 5; other++) {
            if (voters_but(run, shard, one, other) == 1 && voters_but(run, left, one, other) >= 2 &&
                voters_but(run, right, one, other) >= 2) {
                world_kill(&run->world, one, SIM_CRASH_POWER);
                world_kill(&run->world, other, SIM_CRASH_POWER);
                run->down[0] = one;
                run->down[1] = other;
                run->down_count = 2;
                uint64_t at = 1;
                while (at == one || at == other) {
                    at++;
                }
                run->client = world_client(&run->world, at);
                return;
            }
        }
    }
    fail_msg("the groups do not differ");
}

static uint64_t prepared_at(struct run *run, uint32_t shard)
{
    world_wait_for_leader(&run->world, run->client->node->id, shard);
    uint64_t leader = world_leader(&run->world, run->client->node->id, shard);
    struct shard_stats stats;
    shard_stats(world_lane(&run->world, leader, shard)->local, &stats);
    return stats.machine.prepared;
}

/* All have voted, and maybe one knows that all have; then client and home are lost. */
static struct run *lose_home(uint64_t seed, enum txn_protocol protocol, bool moves, int timeout_ms)
{
    static struct run run;
    begin(&run, seed, protocol);
    run.timeout_ms = timeout_ms;
    open_it(&run);
    prepare(&run, FIRST);
    prepare(&run, SECOND);
    if (moves) {
        move(&run, FIRST);
    }
    assert_false(run.no);
    kill_shard(&run, HOME);
    world_run_ms(&run.world, 20000);
    return &run;
}

static void three_phases_end_without_home(void **state)
{
    (void)state;
    struct run *run = lose_home(50, TXN_3PC, true, TIMEOUT_MS);
    assert_int_equal(prepared_at(run, FIRST), 0);
    assert_int_equal(prepared_at(run, SECOND), 0);
    assert_true(is_written(run, FIRST) && is_written(run, SECOND));
    assert_true(finish(run)); /* home comes back, and reports it */
}

/* Long before the transaction's own time is over. */
static void a_home_that_comes_back_is_told(void **state)
{
    (void)state;
    assert_true(finish(lose_home(52, TXN_3PC, true, DAY_MS)));
    assert_false(finish(lose_home(52, TXN_3PC, false, DAY_MS)));
}

static void two_phases_wait_for_home(void **state)
{
    (void)state;
    struct run *run = lose_home(50, TXN_2PC, false, TIMEOUT_MS);
    assert_int_equal(prepared_at(run, FIRST), 1);
    assert_int_equal(prepared_at(run, SECOND), 1);
    struct slice argv[] = {SLICE_LITERAL("get"), SLICE_LITERAL("k")};
    (void)world_command(run->client, FIRST, argv, 2);
    world_run_ms(&run->world, 1000);
    assert_false(heard(run->client)); /* who meets the lock waits, … */
    world_run_ms(&run->world, SHARD_HELD_MS);
    world_expect(run->client, run->client->count - 1, run->client->count - 1, STATUS_OK); /* … but not for ever */
    assert_memory_equal(run->client->reply.data, "-BUSY the transaction ", 22);
    (void)finish(run);
}

/* Nobody waits for a participant that does not answer, as long as there is a quorum without it. */
static void three_phases_end_without_a_participant(void **state)
{
    (void)state;
    static struct run run;
    begin(&run, 51, TXN_3PC);
    open_it(&run);
    prepare(&run, FIRST);
    prepare(&run, SECOND);
    kill_shard(&run, FIRST);
    world_run_ms(&run.world, 6000);
    assert_int_equal(prepared_at(&run, SECOND), 0);
    assert_false(is_written(&run, SECOND));
    assert_false(finish(&run));
}

/* ---- the termination rule, for every state that participants can be in ---- */

/* What is told by it from any part of the participants is never told otherwise by it from any other part. */
static bool splits(const enum part_state states[4], uint32_t commit, uint32_t abort)
{
    bool may_commit = false;
    bool may_abort = false;
    for (unsigned reached = 1; reached < 16; reached++) {
        struct txn_census census = {.participants = 4, .quorum_commit = commit, .quorum_abort = abort};
        for (int i = 0; i < 4; i++) {
            census.in[states[i]] += (reached >> i & 1) != 0 ? 1 : 0;
        }
        enum txn_verdict verdict = txn_terminate(&census);
        may_commit = may_commit || verdict == TXN_COMMIT;
        may_abort = may_abort || verdict == TXN_ABORT;
    }
    return may_commit && may_abort;
}

static int count_splits(uint32_t commit, uint32_t abort)
{
    static const enum part_state open[] = {PART_WAIT, PART_PRECOMMIT, PART_PREABORT};
    int found = 0;
    for (int all = 0; all < 81; all++) {
        enum part_state states[4] = {open[all % 3], open[all / 3 % 3], open[all / 9 % 3], open[all / 27]};
        found += splits(states, commit, abort) ? 1 : 0;
    }
    return found;
}

static void quorums_never_split(void **state)
{
    (void)state;
    for (uint32_t participants = 1; participants <= 9; participants++) {
        assert_int_equal(txn_quorum_commit(participants) + txn_quorum_abort(participants), participants + 1);
    }
    assert_int_equal(count_splits(txn_quorum_commit(4), txn_quorum_abort(4)), 0);
    assert_int_not_equal(count_splits(1, 1), 0); /* the textbook's protocol, which has none */
}

static void rules_in_order(void **state)
{
    (void)state;
    static const struct {
        uint32_t wait, precommit, preabort, committed, aborted;
        enum txn_verdict verdict;
    } cases[] = {
        {3, 0, 0, 1, 0, TXN_COMMIT},     {3, 0, 0, 0, 1, TXN_ABORT},       {1, 3, 0, 0, 0, TXN_COMMIT},
        {2, 0, 2, 0, 0, TXN_ABORT},      {2, 1, 0, 0, 0, TXN_MOVE_COMMIT}, {1, 1, 0, 0, 0, TXN_WAIT},
        {2, 0, 0, 0, 0, TXN_MOVE_ABORT}, {1, 1, 1, 0, 0, TXN_MOVE_ABORT},  {1, 0, 0, 0, 0, TXN_WAIT},
        {0, 2, 1, 0, 0, TXN_WAIT},       {4, 0, 0, 0, 0, TXN_MOVE_ABORT},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct txn_census census = {.participants = 4,
                                    .quorum_commit = txn_quorum_commit(4),
                                    .quorum_abort = txn_quorum_abort(4),
                                    .in = {[PART_WAIT] = cases[i].wait,
                                           [PART_PRECOMMIT] = cases[i].precommit,
                                           [PART_PREABORT] = cases[i].preabort,
                                           [PART_COMMITTED] = cases[i].committed,
                                           [PART_ABORTED] = cases[i].aborted}};
        assert_int_equal(txn_terminate(&census), cases[i].verdict);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_in_order),
        cmocka_unit_test(quorums_never_split),
        cmocka_unit_test(undisturbed),
        cmocka_unit_test(two_phases_crash_at_every_step),
        cmocka_unit_test(last_vote_crash_at_every_step),
        cmocka_unit_test(three_phases_crash_at_every_step),
        cmocka_unit_test(two_crashes),
        cmocka_unit_test(three_phases_end_without_home),
        cmocka_unit_test(a_home_that_comes_back_is_told),
        cmocka_unit_test(two_phases_wait_for_home),
        cmocka_unit_test(three_phases_end_without_a_participant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
