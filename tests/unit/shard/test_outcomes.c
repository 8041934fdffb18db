/* An outcome waits for the next entry of its shard (src/shard/outcomes.h). */
#include "shard/outcomes.h"
#include "shard_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Prepares to set `key` to "new": \001 is the head of a short string's value. */
#define PREPARE(id, key) "COHORT.TXN.PREPARE " id " 1 0 2 NOW 1 1 0 1 " key " \001new"
/* Prepares having read a key that is not there. */
#define PREPARE_READ(id, key) "COHORT.TXN.PREPARE " id " 1 0 2 NOW 1 1 1 " key " 0 0"
#define FINISH(id, outcome) "COHORT.TXN.FINISH " id " 0 " outcome

static const char committed[] = "*1 $9 COMMITTED";

static struct fixture *open_new(uint64_t seed)
{
    struct fixture *fixture = fixture_create(seed);
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    fixture_settle(fixture);
    return fixture;
}

/* No ordinary command ever met a lock in the machine. */
static void finish(struct fixture *fixture)
{
    fixture_settle(fixture);
    assert_int_equal(fixture_stats(fixture).machine.blocked, 0);
    assert_int_equal(fixture_stats(fixture).pending_bytes, 0);
    fixture_destroy(fixture);
}

static void run_ms(struct fixture *fixture, int64_t ms)
{
    int64_t until_ns = env_monotonic_ns(fixture->env) + ms * MS;
    while (env_monotonic_ns(fixture->env) < until_ns && sim_step(fixture->sim)) {
    }
}

static uint64_t entries(const struct fixture *fixture) { return fixture_stats(fixture).last_index; }

static void prepared(struct fixture *fixture, const char *words)
{
    assert_non_null(strstr(fixture_call(fixture, words), "YES"));
}

static void expect(const struct fixture *fixture, uint64_t tag, const char *text)
{
    const char *reply = fixture_reply(fixture, tag);
    assert_non_null(reply);
    assert_string_equal(reply, text);
}

/* Nobody says anything: it has an entry of its own, but not at once, and no answer before that. */
static void test_alone(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(1);
    prepared(fixture, PREPARE("t", "k"));
    uint64_t before = entries(fixture);
    uint64_t outcome = fixture_submit(fixture, FINISH("t", "COMMIT"));
    int64_t said_ns = env_monotonic_ns(fixture->env);
    fixture_settle(fixture);
    expect(fixture, outcome, committed);
    assert_true(env_monotonic_ns(fixture->env) - said_ns >= OUTCOME_MS * MS);
    assert_int_equal(fixture_stats(fixture).outcomes_joined, 0);
    assert_int_equal(entries(fixture), before + 1);
    assert_string_equal(fixture_call(fixture, "GET k"), "$3 new");
    finish(fixture);
}

static void test_with_whatever_comes(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(2);
    prepared(fixture, PREPARE("t", "k"));
    prepared(fixture, PREPARE("u", "j"));
    uint64_t before = entries(fixture);
    uint64_t first = fixture_submit(fixture, FINISH("t", "COMMIT"));
    uint64_t second = fixture_submit(fixture, FINISH("u", "COMMIT"));
    assert_string_equal(fixture_call(fixture, "SET other 1"), "+OK");
    expect(fixture, first, committed);
    expect(fixture, second, committed);
    assert_int_equal(entries(fixture), before + 1);
    assert_int_equal(fixture_stats(fixture).outcomes_joined, 2);
    /* Also with what came before it, and is not logged yet. */
    prepared(fixture, PREPARE("v", "k"));
    before = entries(fixture);
    (void)fixture_submit(fixture, "SET other 2");
    uint64_t third = fixture_submit(fixture, FINISH("v", "COMMIT"));
    fixture_settle(fixture);
    expect(fixture, third, committed);
    assert_int_equal(entries(fixture), before + 1);
    finish(fixture);
}

/* It comes first, so that they find the key free, in the same entry. */
static void test_before_who_wants_its_keys(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(3);
    prepared(fixture, PREPARE("t", "k"));
    uint64_t before = entries(fixture);
    (void)fixture_submit(fixture, FINISH("t", "COMMIT"));
    assert_string_equal(fixture_call(fixture, "APPEND k x"), ":4");
    assert_int_equal(entries(fixture), before + 1);
    prepared(fixture, PREPARE("u", "k"));
    (void)fixture_submit(fixture, FINISH("u", "COMMIT"));
    prepared(fixture, PREPARE("v", "k"));
    (void)fixture_submit(fixture, FINISH("v", "COMMIT"));
    prepared(fixture, "COHORT.TXN.PREPARE w 1 0 2 WAIT 1 1 0 1 k \001ww");
    assert_int_equal(entries(fixture), before + 4);
    uint64_t held = fixture_submit(fixture, "APPEND k y"); /* it was here before the outcome */
    run_ms(fixture, 100);
    assert_null(fixture_reply(fixture, held));
    (void)fixture_submit(fixture, FINISH("w", "COMMIT"));
    fixture_settle(fixture);
    expect(fixture, held, ":3");
    assert_int_equal(entries(fixture), before + 5);
    finish(fixture);
}

/* A read is told nothing that is not on the disk: it waits, and for the outcome alone. */
static void test_who_reads_its_keys_waits_for_no_time(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(4);
    prepared(fixture, PREPARE("t", "k"));
    uint64_t outcome = fixture_submit(fixture, FINISH("t", "COMMIT"));
    assert_null(fixture_read(fixture, "GET k"));
    uint64_t read = fixture_submit(fixture, "GET k");
    int64_t said_ns = env_monotonic_ns(fixture->env);
    fixture_settle(fixture);
    expect(fixture, outcome, committed);
    expect(fixture, read, "$3 new");
    assert_true(env_monotonic_ns(fixture->env) - said_ns < OUTCOME_MS * MS);
    finish(fixture);
}

/* Who tells an abort waits, to try again. */
static void test_an_abort_goes_at_once(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(5);
    prepared(fixture, PREPARE("t", "k"));
    int64_t said_ns = env_monotonic_ns(fixture->env);
    uint64_t outcome = fixture_submit(fixture, FINISH("t", "ABORT"));
    fixture_settle(fixture);
    expect(fixture, outcome, "*1 $7 ABORTED");
    assert_true(env_monotonic_ns(fixture->env) - said_ns < OUTCOME_MS * MS);
    finish(fixture);
}

/* A key that two have read is not free when one of them goes. */
static void test_two_readers(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(6);
    prepared(fixture, PREPARE_READ("t", "k"));
    prepared(fixture, PREPARE_READ("u", "k"));
    (void)fixture_submit(fixture, FINISH("u", "COMMIT"));
    uint64_t write = fixture_submit(fixture, "SET k 1");
    run_ms(fixture, 100);
    assert_null(fixture_reply(fixture, write));
    (void)fixture_submit(fixture, FINISH("t", "COMMIT"));
    fixture_settle(fixture);
    expect(fixture, write, "+OK");
    /* The only one that has. */
    prepared(fixture, PREPARE_READ("v", "j"));
    uint64_t before = entries(fixture);
    (void)fixture_submit(fixture, FINISH("v", "COMMIT"));
    assert_string_equal(fixture_call(fixture, "SET j 1"), "+OK");
    assert_int_equal(entries(fixture), before + 1);
    finish(fixture);
}

/* What does not end the part for sure lets nobody pass: another epoch, and locks without a vote. */
static void test_what_is_not_sure(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(7);
    prepared(fixture, PREPARE("t", "k"));
    uint64_t other = fixture_submit(fixture, "COHORT.TXN.FINISH t 5 COMMIT");
    uint64_t write = fixture_submit(fixture, "APPEND k x");
    run_ms(fixture, 100);
    expect(fixture, other, "*1 $4 WAIT");
    assert_null(fixture_reply(fixture, write));
    (void)fixture_submit(fixture, FINISH("t", "ABORT"));
    fixture_settle(fixture);
    expect(fixture, write, ":1");
    prepared(fixture, "COHORT.TXN.PREPARE u 1 0 2 HOLD 1 1 0 1 k -");
    other = fixture_submit(fixture, FINISH("u", "COMMIT"));
    write = fixture_submit(fixture, "APPEND k y");
    run_ms(fixture, 100);
    expect(fixture, other, "*1 $4 HELD");
    assert_null(fixture_reply(fixture, write));
    (void)fixture_submit(fixture, FINISH("u", "ABORT"));
    finish(fixture);
}

/* It does not pass the PREPARE that it is the outcome of. */
static void test_behind_its_own_vote(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(8);
    uint64_t vote = fixture_submit(fixture, PREPARE("t", "k"));
    uint64_t outcome = fixture_submit(fixture, FINISH("t", "ABORT"));
    fixture_settle(fixture);
    assert_non_null(strstr(fixture_reply(fixture, vote), "YES"));
    expect(fixture, outcome, "*1 $7 ABORTED");
    assert_string_equal(fixture_call(fixture, "APPEND k x"), ":1");
    finish(fixture);
}

/* Without a marker, before the batch that it came with; when it is said again, nothing happens. */
static void test_of_another_node(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(9);
    prepared(fixture, PREPARE("t", "k"));
    uint64_t before = entries(fixture);
    const struct shard_origin origin = {.node = 2, .start = 1, .sequence = 1, .settled_below = 1};
    const struct slice words[] = {SLICE_LITERAL("COHORT.TXN.FINISH"), SLICE_LITERAL("t"), SLICE_LITERAL("0"),
                                  SLICE_LITERAL("COMMIT")};
    const struct slice write[] = {SLICE_LITERAL("APPEND"), SLICE_LITERAL("k"), SLICE_LITERAL("x")};
    const struct command finishes = {command_by_id(COMMAND_COHORT_TXN_FINISH), words, 4, RESP2};
    const struct command appends = {command_by_id(COMMAND_APPEND), write, 3, RESP2};
    struct shard_request request = {.origin = fixture->replies, .tag = ++fixture->tags, .forwarded = &origin};
    enum status status = STATUS_INVALID;
    assert_true(shard_hold(fixture->shard, &finishes, false, &request, &status));
    assert_int_equal(status, STATUS_OK);
    request.tag = ++fixture->tags;
    assert_false(shard_hold(fixture->shard, &appends, true, &request, &status));
    assert_int_equal(shard_forwarded(fixture->shard, &origin, 1, 64), STATUS_OK);
    assert_int_equal(shard_take(fixture->shard, &appends, true, &request), STATUS_OK);
    env_wake(fixture->env);
    fixture_settle(fixture);
    expect(fixture, request.tag - 1, committed);
    expect(fixture, request.tag, ":4");
    assert_int_equal(entries(fixture), before + 1);
    request.tag = ++fixture->tags;
    assert_false(shard_hold(fixture->shard, &finishes, false, &request, &status)); /* no such part: in its place */
    assert_int_equal(shard_take(fixture->shard, &finishes, false, &request), STATUS_OK);
    env_wake(fixture->env);
    fixture_settle(fixture);
    expect(fixture, request.tag, "*1 $4 NONE");
    finish(fixture);
}

/* They count in what is pending, and beyond it are refused. */
static void test_limit(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(10);
    fixture->options.pending_bytes = 4096;
    assert_int_equal(fixture_open(fixture), STATUS_OK);
    fixture_settle(fixture);
    uint64_t tag = 0;
    int taken = 0;
    while (taken < 1000 && fixture_try(fixture, FINISH("t", "COMMIT"), &tag) == STATUS_OK) {
        taken++;
    }
    assert_in_range(taken, 10, 200);
    assert_int_equal(fixture_try(fixture, FINISH("t", "COMMIT"), &tag), STATUS_FULL);
    fixture_settle(fixture);
    assert_int_equal(fixture_try(fixture, FINISH("t", "COMMIT"), &tag), STATUS_OK);
    finish(fixture);
    fixture = open_new(10);
    for (int i = 0; i < OUTCOMES_WAITING; i++) {
        (void)fixture_submit(fixture, FINISH("t", "COMMIT"));
    }
    assert_int_equal(fixture_try(fixture, FINISH("t", "COMMIT"), &tag), STATUS_FULL);
    finish(fixture);
}

/* One that waited is gone with the process, and the part is as it was. */
static void test_restart(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(11);
    prepared(fixture, PREPARE("t", "k"));
    (void)fixture_submit(fixture, FINISH("t", "COMMIT"));
    fixture_restart(fixture, SIM_CRASH_POWER);
    run_ms(fixture, 100);
    uint64_t read = fixture_submit(fixture, "GET k");
    run_ms(fixture, 100);
    assert_null(fixture_reply(fixture, read));
    (void)fixture_submit(fixture, FINISH("t", "COMMIT"));
    fixture_settle(fixture);
    expect(fixture, read, "$3 new");
    finish(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_with_whatever_comes),
        cmocka_unit_test(test_before_who_wants_its_keys),
        cmocka_unit_test(test_who_reads_its_keys_waits_for_no_time),
        cmocka_unit_test(test_an_abort_goes_at_once),
        cmocka_unit_test(test_two_readers),
        cmocka_unit_test(test_what_is_not_sure),
        cmocka_unit_test(test_behind_its_own_vote),
        cmocka_unit_test(test_of_another_node),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
