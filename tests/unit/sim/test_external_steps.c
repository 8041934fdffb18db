/* One transaction with external participants (sim/external_run.h): its client stops after each of its steps, and each
 * of client, its node and the shards' leaders is lost at every second point. */
#include "external_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SEED = 3, RESOURCES = 2, EVERY = 2, DRAWN = 100 };

static struct external_outcome play(struct external_case one)
{
    struct sim_result result;
    struct external_outcome outcome;
    external_run_case(&one, NULL, NULL, &result, &outcome);
    if (result.failed) {
        fail_msg("seed %d: stop after %d, crash of %d at point %d, of %d: %s", (int)one.seed, one.stop_after,
                 (int)one.crashes[0].victim, one.crashes[0].point, one.crash_count, result.failure);
    }
    return outcome;
}

static struct external_case plain(bool keyless)
{
    return (struct external_case){
        .seed = SEED, .resources = RESOURCES, .named = !keyless, .keyless = keyless, .stop_after = -1};
}

static void nobody_is_lost(void **state)
{
    (void)state;
    for (int keyless = 0; keyless < 2; keyless++) {
        struct external_outcome outcome = play(plain(keyless != 0));
        assert_true(outcome.told && outcome.committed && !outcome.resolved && outcome.crashes == 0);
    }
}

/* The client is gone then; whoever resolves ends what it has prepared, as home decided. */
static void the_client_stops_at_every_step(void **state)
{
    (void)state;
    for (int keyless = 0; keyless < 2; keyless++) {
        struct external_case one = plain(keyless != 0);
        int steps = play(one).steps;
        int committed = 0;
        int resolved = 0;
        for (one.stop_after = 0; one.stop_after < steps; one.stop_after++) {
            struct external_outcome outcome = play(one);
            committed += outcome.committed ? 1 : 0;
            resolved += outcome.resolved ? 1 : 0;
        }
        assert_true(committed > 0 && committed < steps && resolved > committed / 2);
    }
}

static void one_crash_at_every_second_point(void **state)
{
    (void)state;
    struct external_case one = plain(false);
    int points = play(one).points;
    int runs = 0;
    int committed = 0;
    int told = 0;
    one.crash_count = 1;
    for (int point = 0; point < points; point += EVERY) {
        for (enum txn_victim victim = TXN_VICTIM_CLIENT; victim < TXN_VICTIMS; victim++) {
            one.crashes[0] = (struct txn_crash){.victim = victim, .point = point};
            struct external_outcome outcome = play(one);
            runs++;
            committed += outcome.committed ? 1 : 0;
            told += outcome.told ? 1 : 0;
        }
    }
    print_message("# %d runs: %d committed, %d clients were told so\n", runs, committed, told);
    assert_true(committed > 0 && committed < runs && told > 0 && told <= committed);
}

/* Two crashes, and pauses that are longer than the transaction may take. */
static void drawn_from_seeds(void **state)
{
    (void)state;
    struct sim_profile profile;
    assert_int_equal(sim_profile_draw(1, "transaction-external", &profile), STATUS_OK);
    for (uint64_t seed = 1; seed <= DRAWN; seed++) {
        struct sim_result result;
        external_run(seed, &profile, NULL, NULL, &result);
        if (result.failed) {
            fail_msg("cohort sim --seed %d --profile transaction-external: %s", (int)seed, result.failure);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_lost),
        cmocka_unit_test(the_client_stops_at_every_step),
        cmocka_unit_test(one_crash_at_every_second_point),
        cmocka_unit_test(drawn_from_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
