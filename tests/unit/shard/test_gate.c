/* What meets a transaction's lock waits before the log (src/shard/gate.h). */
#include "shard_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* Prepares to set `key` to "new": \001 is the head of a short string's value. */
#define PREPARE(id, wait, key) "COHORT.TXN.PREPARE " id " 1 0 2 " wait " 1 1 0 1 " key " \001new"
/* Prepares to remove every key, and to have counted them. */
#define PREPARE_FLUSH(id, wait) "COHORT.TXN.PREPARE " id " 1 0 2 " wait " 1 1 0 0 =FLUSHALL"
#define PREPARE_COUNT(id, wait) "COHORT.TXN.PREPARE " id " 1 0 2 " wait " 1 1 0 0 =DBSIZE"
/* Prepares having read a key that is not there. */
#define PREPARE_READ(id, key) "COHORT.TXN.PREPARE " id " 1 0 2 NOW 1 1 1 " key " 0 0"

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

static void prepared(struct fixture *fixture, const char *words)
{
    assert_non_null(strstr(fixture_call(fixture, words), "YES"));
}

/* The same while something is held. */
static void prepared_beside(struct fixture *fixture, const char *words)
{
    uint64_t tag = fixture_submit(fixture, words);
    run_ms(fixture, 100);
    assert_non_null(fixture_reply(fixture, tag));
    assert_non_null(strstr(fixture_reply(fixture, tag), "YES"));
}

static void expect(const struct fixture *fixture, uint64_t tag, const char *text)
{
    const char *reply = fixture_reply(fixture, tag);
    if (text == NULL) {
        assert_null(reply);
    } else {
        assert_non_null(reply);
        assert_string_equal(reply, text);
    }
}

/* Writers and readers of a key that is going to be written, and nobody else, wait for the outcome, in order. */
static void test_they_wait_for_the_outcome(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(1);
    prepared(fixture, PREPARE("t", "NOW", "k"));
    uint64_t read = fixture_submit(fixture, "GET k");
    uint64_t append = fixture_submit(fixture, "APPEND k x");
    uint64_t again = fixture_submit(fixture, "APPEND k y");
    uint64_t other = fixture_submit(fixture, "SET other 1");
    assert_null(fixture_read(fixture, "GET k"));
    assert_non_null(fixture_read(fixture, "GET none"));
    run_ms(fixture, 100);
    expect(fixture, read, NULL);
    expect(fixture, append, NULL);
    expect(fixture, other, "+OK");
    expect(fixture, fixture_submit(fixture, "COHORT.TXN.FINISH t 0 COMMIT"), NULL);
    fixture_settle(fixture);
    expect(fixture, read, "$3 new");
    expect(fixture, append, ":4");
    expect(fixture, again, ":5");
    finish(fixture);
}

/* A key that a transaction has read may be read, and not be written. */
static void test_read_locks(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(2);
    prepared(fixture, PREPARE_READ("t", "k"));
    assert_string_equal(fixture_call(fixture, "GET k"), "$-1");
    uint64_t write = fixture_submit(fixture, "SET k 1");
    run_ms(fixture, 100);
    expect(fixture, write, NULL);
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH t 0 ABORT");
    fixture_settle(fixture);
    expect(fixture, write, "+OK");
    finish(fixture);
}

/* A PREPARE that is on its way counts for writes; a read before it is applied may still see what was. */
static void test_what_is_coming(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(3);
    uint64_t before = fixture_submit(fixture, "APPEND k a");
    uint64_t prepare = fixture_submit(fixture, PREPARE("t", "NOW", "k"));
    uint64_t read = fixture_submit(fixture, "GET k");
    uint64_t after = fixture_submit(fixture, "APPEND k b");
    run_ms(fixture, 100);
    expect(fixture, before, ":1");
    assert_non_null(strstr(fixture_reply(fixture, prepare), "YES"));
    expect(fixture, read, "$1 a");
    expect(fixture, after, NULL);
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH t 0 ABORT");
    fixture_settle(fixture);
    expect(fixture, after, ":2");
    /* One that votes no leaves nobody waiting. */
    prepared(fixture, PREPARE("u", "NOW", "k"));
    (void)fixture_submit(fixture, "COHORT.TXN.PREPARE v 1 0 2 NOW 1 1 1 j 9 0");
    uint64_t free = fixture_submit(fixture, "SET j 1");
    run_ms(fixture, 100);
    expect(fixture, free, "+OK");
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH u 0 ABORT");
    fixture_settle(fixture);
    finish(fixture);
}

/* What one requester asks later does not pass what is held; what others ask does. */
static void test_order_of_a_requester(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(4);
    prepared(fixture, PREPARE("t", "NOW", "k"));
    uint64_t held = fixture_submit_as(fixture, 7, "APPEND k x");
    uint64_t behind = fixture_submit_as(fixture, 7, "APPEND log 7");
    uint64_t read = fixture_submit_as(fixture, 7, "GET log");
    uint64_t passes = fixture_submit_as(fixture, 8, "APPEND log 8");
    run_ms(fixture, 100);
    expect(fixture, held, NULL);
    expect(fixture, behind, NULL);
    expect(fixture, read, NULL);
    expect(fixture, passes, ":1");
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH t 0 COMMIT");
    fixture_settle(fixture);
    expect(fixture, behind, ":2");
    expect(fixture, read, "$2 87");
    finish(fixture);
}

/* The last vote of a transaction that TXN.BEGIN has opened, at its home: it sets k. */
static void begin_last(struct fixture *fixture, const char *id, char text[static 128])
{
    uint64_t leader;
    uint64_t term;
    unsigned long long position;
    shard_leader(fixture->shard, &leader, &term);
    (void)snprintf(text, 128, "COHORT.TXN.OPEN %s %llu 2 60000", id, (unsigned long long)term);
    assert_int_equal(sscanf(fixture_call(fixture, text), "*3 $2 OK :%*u :%llu", &position), 1);
    (void)snprintf(text, 128, "COHORT.TXN.LAST %s 1 %llu %llu 2 1 2 2 0 9 0 1 k \001new", id, (unsigned long long)term,
                   position);
}

/* The last vote claims its keys as any PREPARE does, and leaves no lock: what was held for it goes on at once. It waits
 * for nobody itself. */
static void test_a_last_vote(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(12);
    char words[3][128];
    begin_last(fixture, "s", words[0]);
    begin_last(fixture, "v", words[1]);
    begin_last(fixture, "w", words[2]);
    uint64_t last = fixture_submit(fixture, words[0]);
    uint64_t read = fixture_submit(fixture, "GET k");
    uint64_t write = fixture_submit(fixture, "APPEND k x");
    fixture_settle(fixture);
    assert_non_null(strstr(fixture_reply(fixture, last), "YES"));
    expect(fixture, read, "$3 new");
    expect(fixture, write, ":4");
    assert_string_equal(fixture_call(fixture, "GET k"), "$4 newx");
    prepared(fixture, "COHORT.TXN.PREPARE t 2 0 2 NOW 1 1 0 1 k \001new");
    uint64_t no = fixture_submit(fixture, words[1]);
    run_ms(fixture, 100);
    assert_non_null(strstr(fixture_reply(fixture, no), "LOCKED"));
    uint64_t waits = fixture_submit(fixture, "COHORT.TXN.PREPARE u 2 0 2 WAIT 1 1 0 1 k \001uu");
    no = fixture_submit(fixture, words[2]);
    run_ms(fixture, 100);
    assert_non_null(strstr(fixture_reply(fixture, no), "LOCKED")); /* it does not pass who waits */
    expect(fixture, waits, NULL);
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH t 0 ABORT");
    run_ms(fixture, 100);
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH u 0 ABORT");
    fixture_settle(fixture);
    finish(fixture);
}

/* A PREPARE that waits is next, whoever came behind it; one that does not wait votes no. */
static void test_a_prepare_that_waits(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(5);
    prepared(fixture, PREPARE("t", "NOW", "k"));
    uint64_t waits = fixture_submit(fixture, "COHORT.TXN.PREPARE u 1 0 2 WAIT 1 1 0 2 k \001uu j \001uu");
    uint64_t behind = fixture_submit(fixture, "SET j 1");
    uint64_t read = fixture_submit(fixture, "GET j");
    uint64_t no = fixture_submit(fixture, PREPARE("v", "NOW", "k"));
    run_ms(fixture, 100);
    expect(fixture, waits, NULL);
    expect(fixture, behind, NULL);
    expect(fixture, read, "$-1"); /* it waits for no PREPARE that is not applied */
    assert_non_null(strstr(fixture_reply(fixture, no), "LOCKED"));
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH t 0 COMMIT");
    run_ms(fixture, 100);
    assert_non_null(strstr(fixture_reply(fixture, waits), "YES"));
    expect(fixture, behind, NULL);
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH u 0 COMMIT");
    fixture_settle(fixture);
    expect(fixture, behind, "+OK");
    assert_string_equal(fixture_call(fixture, "GET k"), "$2 uu");
    finish(fixture);
}

/* What is held is not passed: a PREPARE that does not wait, and could have the key now, is told no and logs nothing. */
static void test_first_come(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(9);
    prepared(fixture, PREPARE("t", "NOW", "k"));
    uint64_t waits = fixture_submit(fixture, "COHORT.TXN.PREPARE u 1 0 2 WAIT 1 1 0 2 k \001uu j \001uu");
    uint64_t exec = fixture_submit(fixture, "MSET k 1 l 1");
    uint64_t before = fixture_stats(fixture).last_index;
    uint64_t passes = fixture_submit(fixture, PREPARE("v", "NOW", "j"));
    uint64_t passes_write = fixture_submit(fixture, PREPARE("w", "NOW", "l"));
    run_ms(fixture, 100);
    expect(fixture, passes, "*3 $2 NO $6 LOCKED $0 ");
    expect(fixture, passes_write, "*3 $2 NO $6 LOCKED $0 ");
    assert_int_equal(fixture_stats(fixture).last_index, before);
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH t 0 COMMIT");
    run_ms(fixture, 100);
    assert_non_null(strstr(fixture_reply(fixture, waits), "YES"));
    expect(fixture, exec, NULL);
    prepared_beside(fixture, PREPARE("x", "NOW", "other"));
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH u 0 COMMIT");
    run_ms(fixture, 100);
    expect(fixture, exec, "+OK");
    prepared(fixture, PREPARE("y", "NOW", "l"));
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH x 0 ABORT");
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH y 0 ABORT");
    fixture_settle(fixture);
    finish(fixture);
}

/* Who has its locks already is not kept from its vote by those who want them. */
static void test_locks_before_the_vote(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(11);
    prepared(fixture, "COHORT.TXN.PREPARE t 1 0 2 HOLD 1 1 0 1 k -");
    uint64_t next = fixture_submit(fixture, "COHORT.TXN.PREPARE u 1 0 2 HOLD 1 1 0 1 k -");
    uint64_t write = fixture_submit(fixture, "SET k 1");
    run_ms(fixture, 100);
    expect(fixture, next, NULL);
    prepared_beside(fixture, PREPARE("t", "NOW", "k"));
    expect(fixture, next, NULL);
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH t 0 COMMIT");
    run_ms(fixture, 100);
    assert_non_null(fixture_reply(fixture, next));
    expect(fixture, write, NULL);
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH u 0 ABORT");
    fixture_settle(fixture);
    expect(fixture, write, "+OK");
    finish(fixture);
}

/* Whose versions are compared afterwards waits for the locks that it met, and for none that came later; an ordinary
 * read of several keys waits for those too, for it may see what is newer, and nobody takes its keys meanwhile. */
static void test_a_read_that_is_compared(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(10);
    prepared(fixture, PREPARE("t", "NOW", "k"));
    uint64_t dump = fixture_submit(fixture, "COHORT.DUMP k j");
    prepared_beside(fixture, PREPARE("u", "NOW", "j"));
    uint64_t plain = fixture_submit(fixture, "MGET k l");
    uint64_t no = fixture_submit(fixture, PREPARE("v", "NOW", "l"));
    uint64_t both = fixture_submit(fixture, "COHORT.DUMP k j");
    run_ms(fixture, 100);
    expect(fixture, dump, NULL);
    expect(fixture, plain, NULL);
    assert_non_null(strstr(fixture_reply(fixture, no), "LOCKED"));
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH t 0 COMMIT");
    run_ms(fixture, 100);
    assert_non_null(fixture_reply(fixture, dump));
    expect(fixture, plain, "*2 $3 new $-1");
    expect(fixture, both, NULL);
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH u 0 COMMIT");
    fixture_settle(fixture);
    assert_non_null(fixture_reply(fixture, both));
    finish(fixture);
}

/* Who looks at all keys waits for what was prepared when it came, and not for what is prepared later; while FLUSHALL
 * waits, nothing is prepared. */
static void test_all_keys(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(6);
    prepared(fixture, PREPARE("t", "NOW", "k"));
    uint64_t size = fixture_submit(fixture, "DBSIZE");
    prepared_beside(fixture, PREPARE("u", "NOW", "j"));
    uint64_t flush = fixture_submit(fixture, "FLUSHALL");
    uint64_t later = fixture_submit(fixture, PREPARE("v", "NOW", "i"));
    run_ms(fixture, 100);
    expect(fixture, size, NULL);
    assert_non_null(strstr(fixture_reply(fixture, later), "LOCKED"));
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH t 0 COMMIT");
    run_ms(fixture, 100);
    expect(fixture, size, ":1");
    expect(fixture, flush, NULL);
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH u 0 COMMIT");
    fixture_settle(fixture);
    expect(fixture, flush, "+OK");
    assert_string_equal(fixture_call(fixture, "DBSIZE"), ":0");
    finish(fixture);
}

/* Who has all keys keeps everybody waiting, from when it is on its way. */
static void test_a_flush_that_is_prepared(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(12);
    assert_string_equal(fixture_call(fixture, "SET k old"), "+OK");
    uint64_t flush = fixture_submit(fixture, PREPARE_FLUSH("t", "NOW"));
    uint64_t behind = fixture_submit(fixture, "APPEND k x");
    uint64_t new = fixture_submit(fixture, "SETNX none 1");
    run_ms(fixture, 100);
    assert_non_null(strstr(fixture_reply(fixture, flush), "YES"));
    assert_null(fixture_read(fixture, "GET none"));
    assert_null(fixture_read(fixture, "DBSIZE"));
    uint64_t read = fixture_submit(fixture, "GET k");
    uint64_t size = fixture_submit(fixture, "DBSIZE");
    uint64_t no = fixture_submit(fixture, PREPARE_READ("u", "r"));
    run_ms(fixture, 100);
    expect(fixture, behind, NULL);
    expect(fixture, new, NULL);
    expect(fixture, read, NULL);
    expect(fixture, size, NULL);
    assert_non_null(strstr(fixture_reply(fixture, no), "LOCKED"));
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH t 0 COMMIT");
    fixture_settle(fixture);
    expect(fixture, behind, ":1");
    expect(fixture, new, ":1");
    expect(fixture, read, "$1 x");
    expect(fixture, size, ":2");
    finish(fixture);
}

/* A flush that waits is next: what comes behind it, for whichever key, does not pass it. */
static void test_a_flush_that_waits(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(13);
    prepared(fixture, PREPARE_READ("t", "k"));
    uint64_t no = fixture_submit(fixture, PREPARE_FLUSH("v", "NOW"));
    uint64_t flush = fixture_submit(fixture, PREPARE_FLUSH("u", "WAIT"));
    uint64_t write = fixture_submit(fixture, "SET other 1");
    uint64_t passes = fixture_submit(fixture, PREPARE("w", "NOW", "j"));
    uint64_t again = fixture_submit(fixture, PREPARE_FLUSH("x", "HOLD"));
    uint64_t read = fixture_submit(fixture, "GET other");
    run_ms(fixture, 100);
    assert_non_null(strstr(fixture_reply(fixture, no), "LOCKED"));
    expect(fixture, flush, NULL);
    expect(fixture, write, NULL);
    assert_non_null(strstr(fixture_reply(fixture, passes), "LOCKED"));
    expect(fixture, read, "$-1");
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH t 0 ABORT");
    run_ms(fixture, 100);
    assert_non_null(strstr(fixture_reply(fixture, flush), "YES"));
    expect(fixture, write, NULL);
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH u 0 COMMIT");
    run_ms(fixture, 100);
    expect(fixture, write, "+OK"); /* it came before the other flush */
    assert_non_null(strstr(fixture_reply(fixture, again), "YES"));
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH x 0 ABORT");
    fixture_settle(fixture);
    assert_string_equal(fixture_call(fixture, "DBSIZE"), ":1");
    finish(fixture);
}

/* Who looks at all keys keeps writers waiting, also while it waits itself, and no readers. */
static void test_a_look_at_all_keys(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(14);
    prepared(fixture, PREPARE("t", "NOW", "k"));
    uint64_t look = fixture_submit(fixture, PREPARE_COUNT("u", "WAIT"));
    uint64_t other = fixture_submit(fixture, PREPARE_READ("v", "j"));
    uint64_t passes = fixture_submit(fixture, PREPARE("w", "NOW", "i"));
    uint64_t write = fixture_submit(fixture, "SET none 1");
    uint64_t read = fixture_submit(fixture, "GET none");
    run_ms(fixture, 100);
    expect(fixture, look, NULL);
    assert_non_null(strstr(fixture_reply(fixture, other), "YES"));
    assert_non_null(strstr(fixture_reply(fixture, passes), "LOCKED"));
    expect(fixture, write, NULL);
    expect(fixture, read, "$-1");
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH t 0 COMMIT");
    run_ms(fixture, 100);
    assert_non_null(strstr(fixture_reply(fixture, look), "YES"));
    expect(fixture, write, NULL);
    uint64_t late = fixture_submit(fixture, PREPARE_COUNT("x", "NOW")); /* the write was here before it */
    uint64_t size = fixture_submit(fixture, "DBSIZE");
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH v 0 ABORT");
    run_ms(fixture, 100);
    assert_non_null(strstr(fixture_reply(fixture, late), "LOCKED"));
    expect(fixture, write, NULL);
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH u 0 COMMIT");
    fixture_settle(fixture);
    expect(fixture, write, "+OK");
    assert_non_null(fixture_reply(fixture, size));
    finish(fixture);
}

/* Nobody waits for ever, nor do too many: both were not executed. */
static void test_limits(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(7);
    prepared(fixture, PREPARE("t", "NOW", "k"));
    uint64_t first = fixture_submit(fixture, "APPEND k x");
    uint64_t vote = fixture_submit(fixture, PREPARE("u", "WAIT", "k"));
    run_ms(fixture, SHARD_HELD_PREPARE_MS + 100);
    assert_non_null(strstr(fixture_reply(fixture, vote), "LOCKED"));
    assert_int_equal(fixture->replies[first].tag, 0);
    uint64_t second = fixture_submit(fixture, "APPEND k y");
    run_ms(fixture, SHARD_HELD_MS - SHARD_HELD_PREPARE_MS);
    assert_non_null(strstr(fixture_reply(fixture, first), "-BUSY the transaction t "));
    assert_int_equal(fixture->replies[second].tag, 0);
    run_ms(fixture, SHARD_HELD_PREPARE_MS);
    assert_non_null(strstr(fixture_reply(fixture, second), "-BUSY the transaction t "));
    uint64_t tag = 0;
    for (int i = 0; i < SHARD_HELD; i++) {
        assert_int_equal(fixture_try(fixture, "APPEND k z", &tag), STATUS_OK);
    }
    assert_int_equal(fixture_try(fixture, "APPEND k z", &tag), STATUS_FULL);
    assert_int_equal(fixture_try(fixture, "SET other 1", &tag), STATUS_OK);
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH t 0 COMMIT");
    fixture_settle(fixture);
    assert_string_equal(fixture_call(fixture, "STRLEN k"), ":1027");
    finish(fixture);
}

/* What is held by a shard that ends is nobody's any more; the locks stay. */
static void test_restart(void **state)
{
    (void)state;
    struct fixture *fixture = open_new(8);
    prepared(fixture, PREPARE("t", "NOW", "k"));
    (void)fixture_submit(fixture, "APPEND k x");
    run_ms(fixture, 10);
    fixture_restart(fixture, SIM_CRASH_POWER);
    run_ms(fixture, 100);
    uint64_t read = fixture_submit(fixture, "GET k");
    run_ms(fixture, 100);
    expect(fixture, read, NULL);
    (void)fixture_submit(fixture, "COHORT.TXN.FINISH t 0 COMMIT");
    fixture_settle(fixture);
    expect(fixture, read, "$3 new");
    finish(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_they_wait_for_the_outcome),
        cmocka_unit_test(test_read_locks),
        cmocka_unit_test(test_what_is_coming),
        cmocka_unit_test(test_order_of_a_requester),
        cmocka_unit_test(test_a_last_vote),
        cmocka_unit_test(test_a_prepare_that_waits),
        cmocka_unit_test(test_first_come),
        cmocka_unit_test(test_locks_before_the_vote),
        cmocka_unit_test(test_a_read_that_is_compared),
        cmocka_unit_test(test_all_keys),
        cmocka_unit_test(test_a_flush_that_is_prepared),
        cmocka_unit_test(test_a_flush_that_waits),
        cmocka_unit_test(test_a_look_at_all_keys),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
