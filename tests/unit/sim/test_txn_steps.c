/* One transaction over three shards of five whole nodes (sim/txn_run.h), and a crash at each of its steps: of the
 * client, of the node that runs it, of each shard's leader, after each message that leaves or arrives and after each
 * forced write, and within a turn between a forced write and what follows it; many of two crashes.
 *
 * usage: test_txn_steps 2pc|3pc */
#include "hunt.h"
#include "txn_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { SEED = 5, SEEDS = 8, NODES_LOST = TXN_VICTIMS - TXN_VICTIM_DRIVER, PAIRS = 250, STORM = 12 };

static enum txn_protocol protocol;

static void play(const struct txn_case *one, struct txn_outcome *ret_outcome)
{
    struct sim_result result;
    txn_run_case(one, NULL, NULL, &result, ret_outcome);
    if (result.failed) {
        fail_msg("seed %d: crash of %d at %s %d, of %d crashes: %s", (int)one->seed, (int)one->crashes[0].victim,
                 one->crashes[0].mid_turn ? "forced write" : "point", one->crashes[0].point, one->crash_count,
                 result.failure);
    }
}

static struct txn_outcome undisturbed(uint64_t seed)
{
    struct txn_outcome outcome;
    play(&(struct txn_case){.seed = seed, .protocol = protocol}, &outcome);
    assert_true(outcome.told && outcome.written && !outcome.refused && outcome.crashes == 0);
    return outcome;
}

static void nobody_is_lost(void **state)
{
    (void)state;
    struct txn_outcome outcome = undisturbed(SEED);
    print_message("# %d points, %d forced writes at one node\n", outcome.points, outcome.forced_writes);
    assert_true(outcome.points > 60 && outcome.forced_writes >= 4);
}

struct tally {
    int runs, crashes, written, told, refused;
    int unheard; /* committed, and its client and the node that ran it are there, but it does not know */
};

static void count(struct tally *tally, enum txn_victim victim, const struct txn_outcome *outcome)
{
    tally->unheard += victim > TXN_VICTIM_DRIVER && outcome->written && !outcome->told ? 1 : 0;
    tally->runs++;
    tally->crashes += outcome->crashes;
    tally->written += outcome->written ? 1 : 0;
    tally->told += outcome->told ? 1 : 0;
    tally->refused += outcome->refused ? 1 : 0;
}

/* Each kind of end was among them. */
static void conclude(const struct tally *tally)
{
    print_message("# %d runs, %d crashes: %d committed, %d clients were told so, %d refused; %d do not know\n",
                  tally->runs, tally->crashes, tally->written, tally->told, tally->refused, tally->unheard);
    assert_int_equal(tally->unheard, 0); /* home keeps what it has replied */
    assert_true(tally->written > 0 && tally->written < tally->runs && tally->told > 0 && tally->told < tally->written);
}

static void one_crash_at_every_point(void **state)
{
    (void)state;
    int points = undisturbed(SEED).points;
    struct tally tally = {0};
    for (int point = 0; point < points; point++) {
        for (enum txn_victim victim = TXN_VICTIM_CLIENT; victim < TXN_VICTIMS; victim++) {
            struct txn_outcome outcome;
            play(&(struct txn_case){.seed = SEED,
                                    .protocol = protocol,
                                    .crashes = {{.victim = victim, .point = point}},
                                    .crash_count = 1},
                 &outcome);
            assert_int_equal(outcome.crashes, 1);
            assert_true(outcome.points < STORM * points); /* who asks and asks again does so ever more seldom */
            count(&tally, victim, &outcome);
        }
    }
    conclude(&tally);
}

/* Its process has ended, and others know: they do not wait for its time. Some point is reached at which they would. */
static void a_node_that_has_ended_frees_its_keys_soon(void **state)
{
    (void)state;
    int points = undisturbed(SEED).points;
    int held_ms = 0;
    for (int point = 0; point < points; point++) {
        struct txn_outcome outcome; /* play checks TXN_FREED_MS */
        play(&(struct txn_case){.seed = SEED,
                                .protocol = protocol,
                                .crashes = {{.victim = TXN_VICTIM_DRIVER, .killed = true, .point = point}},
                                .crash_count = 1},
             &outcome);
        held_ms = outcome.held_ms > held_ms ? outcome.held_ms : held_ms;
    }
    print_message("# held for %d ms at most\n", held_ms);
    assert_true(held_ms > 0);
}

/* The disk has it, and nobody else has heard of it. Several seeds: who leads what and where home is differ, and with
 * that what each forced write is. */
static void one_crash_after_every_forced_write(void **state)
{
    (void)state;
    struct tally tally = {0};
    for (uint64_t seed = SEED; seed < SEED + SEEDS; seed++) {
        int writes = undisturbed(seed).forced_writes;
        for (int i = 0; i < writes * NODES_LOST; i++) {
            enum txn_victim victim = TXN_VICTIM_DRIVER + (enum txn_victim)(i % NODES_LOST);
            struct txn_outcome outcome;
            play(&(struct txn_case){.seed = seed,
                                    .protocol = protocol,
                                    .crashes = {{.victim = victim, .mid_turn = true, .point = i / NODES_LOST}},
                                    .crash_count = 1},
                 &outcome);
            count(&tally, victim, &outcome);
        }
    }
    assert_true(tally.crashes > tally.runs / 2); /* not everybody forces so many */
    conclude(&tally);
}

/* TXN.*, which cannot begin anew by itself as MULTI does: a participant's leader that is lost with its vote does not
 * end it, as the next leader tells the vote again. Only that of home may, which is one of the three. */
static void a_vote_that_is_lost_is_asked_for_again(void **state)
{
    (void)state;
    struct txn_case one = {.seed = SEED, .protocol = protocol, .interactive = true};
    struct txn_outcome outcome;
    play(&one, &outcome);
    assert_true(outcome.told && outcome.written);
    int points = outcome.points;
    int ending = 0; /* victims that ended it at some point */
    one.crash_count = 1;
    for (enum txn_victim victim = TXN_VICTIM_FIRST; victim < TXN_VICTIMS; victim++) {
        bool refused = false;
        for (int point = 0; point < points; point++) {
            one.crashes[0] = (struct txn_crash){.victim = victim, .point = point};
            play(&one, &outcome);
            refused = refused || outcome.refused;
            assert_true(outcome.told || outcome.refused);
            assert_true(outcome.told == outcome.written);
        }
        ending += refused ? 1 : 0;
    }
    assert_int_equal(ending, 1);
}

static void two_crashes(void **state)
{
    (void)state;
    struct sim_hunt hunt = {.first_seed = 1,
                            .count = PAIRS,
                            .step = 1,
                            .profile_changes = protocol == TXN_2PC ? "transaction-2pc" : "transaction-3pc"};
    struct sim_hunt_result result;
    assert_int_equal(sim_hunt_run(&hunt, &result), STATUS_OK);
    if (result.last.failed) {
        fail_msg("cohort sim --seed %d --profile %s: %s", (int)result.seed, hunt.profile_changes, result.last.failure);
    }
}

static void the_same_seed_is_the_same_run(void **state)
{
    (void)state;
    struct txn_case one = {
        .seed = SEED, .protocol = protocol, .crashes = {{.victim = TXN_VICTIM_FIRST, .point = 20}}, .crash_count = 1};
    struct sim_result results[2];
    struct txn_outcome outcome;
    struct sequence *sequence = sequence_create();
    struct sim_record record = {.sequence = sequence};
    txn_run_case(&one, NULL, NULL, &results[0], &outcome);
    txn_run_case(&one, NULL, &record, &results[1], &outcome); /* who looks changes nothing */
    assert_int_equal(results[0].trace, results[1].trace);
    sequence_destroy(sequence);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_lost),
        cmocka_unit_test(the_same_seed_is_the_same_run),
        cmocka_unit_test(one_crash_at_every_point),
        cmocka_unit_test(a_node_that_has_ended_frees_its_keys_soon),
        cmocka_unit_test(one_crash_after_every_forced_write),
        cmocka_unit_test(a_vote_that_is_lost_is_asked_for_again),
        cmocka_unit_test(two_crashes),
    };
    protocol = argc == 2 && strcmp(argv[1], "3pc") == 0 ? TXN_3PC : TXN_2PC;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
