/* Sessions and what ends with them, by the rules of src/machine/session/sessions.h and ties.h. Positions grow by 3. */
#include "base/prng.h"
#include "harness.h"
#include "machine/lock/lock_arguments.h"
#include "machine/lock/lock_notice.h"
#include "machine/session/session_id.h"
#include "machine/session/session_limits.h"

#include <stdio.h>
#include <string.h>

#define OVER "-NOSESSION the session has ended, or never was; open another one"
#define UNTIED                                                                                                         \
    "-NOSESSION the session has ended, or this shard has nothing of it yet; send one command with SESSION for a key "  \
    "of this shard outside of scripts and LOCK.GUARD first"

static void time_entry(struct harness *h, int64_t ms)
{
    harness_pass(h, ms);
    h->position += 3;
    struct machine_context context = {h->position, h->time_ms, h->wall_ms, h->term};
    machine_apply_time(h->machine, &context);
}

static struct machine_stats stats_of(struct harness *h)
{
    struct machine_stats stats;
    machine_stats(h->machine, &stats);
    return stats;
}

/* The state comes back from a snapshot as it is. */
static void reload(struct harness *h)
{
    uint64_t digest = machine_digest(h->machine);
    struct machine *copy = harness_copy(h->machine, 64);
    assert_true(machine_digest(copy) == digest);
    machine_destroy(h->machine);
    h->machine = copy;
}

static void ids(void **state)
{
    (void)state;
    char text[SESSION_ID_BYTES];
    struct session_id id = {3, 0x1a2b};
    int64_t left_ms;
    assert_int_equal(session_id_format(text, id), 6);
    assert_string_equal(text, "3-1a2b");
    struct session_id back = {0};
    assert_true(session_id_parse(slice_from_string("3-1a2b"), &back) && back.shard == 3 && back.number == 0x1a2b);
    assert_true(session_name_parse(slice_from_string("3-1a2b/77"), &back, &left_ms) && left_ms == 77);
    assert_true(session_name_parse(slice_from_string("3-1a2b"), &back, &left_ms) && left_ms == -1);
    const char *const bad[] = {"",
                               "3",
                               "3-",
                               "-1",
                               "0-1",
                               "3-0",
                               "3-01",
                               "3-1A",
                               "3-1/",
                               "3-1/-1",
                               "65536-1",
                               "3-1/x",
                               "3 -1",
                               "x-1",
                               "3-1-1",
                               "3-fffffffffffffffff",
                               "3-ffffffffffffffff"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(session_name_parse(slice_from_string(bad[i]), &back, &left_ms));
    }
}

static void sessions_live_by_heartbeats(void **state)
{
    struct harness *h = *state;
    CHECK(h, "COHORT.SESSION.OPEN 1 1000", "$3 1-3");
    CHECK(h, "COHORT.SESSION.OPEN 1 5000", "$3 1-6");
    CHECK(h, "COHORT.SESSION.LOOK 3", ":1000");
    time_entry(h, 900);
    CHECK(h, "COHORT.SESSION.LOOK 3", ":100");
    CHECK(h, "COHORT.SESSION.BEAT 3 6 7", "*3 :1000 :5000 :0");
    time_entry(h, 999);
    reload(h);
    CHECK(h, "COHORT.SESSION.LOOK 3", ":1");
    time_entry(h, 1);
    CHECK(h, "COHORT.SESSION.LOOK 3", ":0");
    CHECK(h, "COHORT.SESSION.BEAT 3", "*1 :0");
    assert_int_equal(stats_of(h).sessions, 1);
    assert_int_equal(stats_of(h).sessions_expired, 1);
    assert_int_equal(stats_of(h).sessions_ended, 0); /* nobody had anything of it */
    CHECK(h, "COHORT.SESSION.CLOSE 6", ":1");
    CHECK(h, "COHORT.SESSION.CLOSE 6", ":0");
    assert_int_equal(stats_of(h).sessions, 0);
}

/* An end is remembered until every shard that joined has left; none joins afterwards. */
static void ends_are_told(void **state)
{
    struct harness *h = *state;
    CHECK(h, "COHORT.SESSION.OPEN 1 1000", "$3 1-3");
    CHECK(h, "COHORT.SESSION.SHARD JOIN 2 3", ":1000");
    CHECK(h, "COHORT.SESSION.SHARD JOIN 7 3", ":1000");
    CHECK(h, "COHORT.SESSION.SHARD JOIN 2 3", ":1000");
    CHECK(h, "COHORT.SESSION.SHARD LEFT 7 3", "+OK"); /* it lives: nobody can have left */
    CHECK(h, "COHORT.SESSION.CLOSE 3", ":1");
    CHECK(h, "COHORT.SESSION.SHARD JOIN 5 3", ":0");
    reload(h);
    assert_int_equal(stats_of(h).sessions_ended, 1);
    CHECK(h, "COHORT.SESSION.SHARD LEFT 2 3", "+OK");
    CHECK(h, "COHORT.SESSION.SHARD LEFT 2 3", "+OK");
    assert_int_equal(stats_of(h).sessions_ended, 1);
    CHECK(h, "COHORT.SESSION.SHARD LEFT 7 3 9", "+OK");
    assert_int_equal(stats_of(h).sessions_ended, 0);
}

/* Of a shard; the session may live anywhere. */
static void tie(struct harness *h, const char *id, int ordinal)
{
    char command[128];
    char expected[32];
    (void)snprintf(command, sizeof(command), "COHORT.SESSION.TIE %s", id);
    (void)snprintf(expected, sizeof(expected), ":%d", ordinal);
    CHECK(h, command, expected);
    (void)snprintf(command, sizeof(command), "COHORT.SESSION.TIE %s %d", id, ordinal);
    CHECK(h, command, ":1");
}

static void locks_end_with_it(void **state)
{
    struct harness *h = *state;
    CHECK(h, "LOCK.ACQUIRE l a SESSION 9-1/500", UNTIED);
    tie(h, "9-1", 1);
    tie(h, "9-2", 2);
    CHECK(h, "COHORT.SESSION.TIE 9-1", ":0");
    CHECK(h, "LOCK.ACQUIRE l a SESSION 9-1/500", "*2 :21 :500");
    CHECK(h, "LOCK.ACQUIRE l a SESSION 9-1/400", "*2 :21 :400");
    CHECK(h, "LOCK.ACQUIRE l b SESSION 9-2/500", "*-1");
    assert_string_equal(harness_apply(h, "LOCK.ACQUIRE l a PX 500"),
                        "-ERR this owner holds the lock with MODE EXCLUSIVE and SESSION 9-1, and now asks with MODE "
                        "EXCLUSIVE and PX; ask as before, or LOCK.RELEASE it, then acquire it anew");
    CHECK(h, "LOCK.RENEW l a 21 PX 500",
          "-ERR this lock is held as long as its session lives: SESSION.KEEPALIVE renews that");
    CHECK(h, "LOCK.ACQUIRE l2 a SESSION 9-1/500 MODE SHARED", "*2 :36 :500");
    time_entry(h, 1000 * 3600 * 24);
    reload(h);
    CHECK(h, "LOCK.ACQUIRE l b SESSION 9-2/500", "*-1"); /* no time ends it */
    CHECK(h, "COHORT.SESSION.END 9-1", "*1 :1");
    CHECK(h, "COHORT.SESSION.END 9-1 9-77", "*2 :1 :1");
    CHECK(h, "LOCK.ACQUIRE l b SESSION 9-2/500", "*2 :51 :500");
    CHECK(h, "LOCK.ACQUIRE l2 a SESSION 9-1/500", UNTIED);
    assert_non_null(strstr(harness_apply(h, "LOCK.HISTORY l"), "session"));
    CHECK(h, "LOCK.RELEASE l b 51", ":1");
    assert_int_equal(stats_of(h).session_locks, 0);
}

/* A request of the n-th client of a node, which can wait. */
static const char *asks(struct harness *h, const char *what, uint64_t number, const char *rest)
{
    char text[512];
    uint8_t origin[LOCK_ORIGIN_BYTES];
    lock_origin_put(origin, &(struct lock_origin){.node = 1, .start = 1, .number = number});
    size_t size = (size_t)snprintf(text, sizeof(text), "COHORT.LOCK.%s \"", what);
    for (size_t i = 0; i < sizeof(origin); i++) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, "\\x%02x", origin[i]);
    }
    (void)snprintf(text + size, sizeof(text) - size, "\" %s", rest);
    return harness_apply(h, text);
}

/* Who waits, and asks anew, is told what was looked up after it asked, not before. */
static void a_wait_taken_over_has_its_own_time(void **state)
{
    struct harness *h = *state;
    tie(h, "9-1", 1);
    CHECK(h, "LOCK.ACQUIRE l b PX 1000", "*2 :9 :1000");
    assert_string_equal(asks(h, "ACQUIRE", 1, "l a SESSION 9-1/500 WAIT 900"), "+QUEUED");
    assert_string_equal(asks(h, "ACQUIRE", 2, "l a SESSION 9-1/300 WAIT 900"), "+QUEUED");
    CHECK(h, "LOCK.RELEASE l b 9", ":1");
    reload(h);
    assert_string_equal(asks(h, "ASK", 2, "l a"), "*2 :18 :300");
    assert_string_equal(asks(h, "ASK", 1, "l a"), "*-1");
}

static enum lock_notice_kind notice_of(struct harness *h, uint64_t number)
{
    struct slice rest = buffer_slice(machine_lock_notices(h->machine));
    struct lock_notice notice;
    while (lock_notice_take(&rest, &notice)) {
        if (notice.to.number == number) {
            return notice.kind;
        }
    }
    return LOCK_NOTICES;
}

/* A wait that ends with its session is told so, whatever ends it; one that is over by itself is not. */
static void waits_are_told_why_they_end(void **state)
{
    struct harness *h = *state;
    machine_tell_locks(h->machine, true);
    tie(h, "9-1", 1);
    CHECK(h, "LOCK.ACQUIRE l b PX 5000", "*2 :9 :5000");
    assert_string_equal(asks(h, "ACQUIRE", 1, "l a SESSION 9-1/500 WAIT 900"), "+QUEUED");
    assert_string_equal(asks(h, "ACQUIRE", 2, "l c SESSION 9-1/500 WAIT 100"), "+QUEUED");
    assert_string_equal(asks(h, "ACQUIRE", 3, "l d PX 500 WAIT 900"), "+QUEUED");
    assert_string_equal(
        asks(h, "ACQUIRE", 4, "l a PX 500 WAIT 900"),
        "-ERR this owner waits for the lock with MODE EXCLUSIVE and SESSION 9-1, and now asks with MODE "
        "EXCLUSIVE and PX; ask as before, or end that wait first (CLIENT UNBLOCK)");
    time_entry(h, 100);
    assert_int_equal(notice_of(h, 2), LOCK_NOTICE_ENDED);
    CHECK(h, "COHORT.SESSION.END 9-1", "*1 :1");
    assert_int_equal(notice_of(h, 1), LOCK_NOTICE_OVER);
    assert_int_equal(notice_of(h, 3), LOCK_NOTICES);
}

/* What proves that it was asked for is good once: after the end nothing is confirmed. */
static void no_tie_after_the_end(void **state)
{
    struct harness *h = *state;
    CHECK(h, "COHORT.SESSION.TIE 9-1", ":1");
    CHECK(h, "COHORT.SESSION.TIE 9-1", ":1");
    CHECK(h, "SET k v SESSION 9-1", UNTIED);
    CHECK(h, "COHORT.SESSION.END 9-1", "*1 :1");
    CHECK(h, "COHORT.SESSION.TIE 9-1 1", ":0");
    CHECK(h, "COHORT.SESSION.TIE 9-1", ":2"); /* somebody who has not heard yet */
    CHECK(h, "COHORT.SESSION.TIE 9-1 1", ":0");
    reload(h);
    time_entry(h, SESSION_ASKED_MS - 1);
    assert_int_equal(stats_of(h).session_ties, 1);
    time_entry(h, 1);
    assert_int_equal(stats_of(h).session_ties, 0);
}

static void keys_end_with_it(void **state)
{
    struct harness *h = *state;
    tie(h, "9-1", 1);
    CHECK(h, "SET k v SESSION 9-1/500", "+OK");
    CHECK(h, "SET gone v SESSION 9-1", "+OK");
    CHECK(h, "SET taken v SESSION 9-1", "+OK");
    CHECK(h, "SET kept v SESSION 9-1", "+OK");
    CHECK(h, "SET moved v SESSION 9-1", "+OK");
    CHECK(h, "SET k v SESSION 9-1 EX 5", "-ERR syntax error");
    CHECK(h, "SET k v KEEPTTL SESSION 9-1", "-ERR syntax error");
    CHECK(h, "SET k v SESSION 9-1 SESSION 9-1", "-ERR syntax error");
    CHECK(h, "SET k v SESSION nonsense", "-ERR SESSION is followed by the id that SESSION.OPEN gave");
    CHECK(h, "PTTL k", ":-1");
    CHECK(h, "APPEND k w", ":2");
    CHECK(h, "DEL gone", ":1");
    CHECK(h, "SET gone w", "+OK");
    CHECK(h, "SET taken w", "+OK");
    CHECK(h, "PERSIST kept", ":1");
    CHECK(h, "RENAME moved there", "+OK");
    assert_int_equal(stats_of(h).session_keys, 2);
    reload(h);
    assert_int_equal(stats_of(h).session_keys, 2);
    CHECK(h, "COHORT.SESSION.END 9-1", "*1 :1");
    CHECK(h, "EXISTS k there", ":0");
    CHECK(h, "EXISTS gone taken kept", ":3");
    tie(h, "9-2", 2);
    CHECK(h, "SET k v SESSION 9-2", "+OK");
    CHECK(h, "FLUSHALL", "+OK");
    assert_int_equal(stats_of(h).session_keys, 0);
    CHECK(h, "COHORT.SESSION.END 9-2", "*1 :1");
}

/* Much of one session ends in several steps, and gets nothing new meanwhile. */
static void a_large_end_takes_steps(void **state)
{
    struct harness *h = *state;
    char command[128];
    tie(h, "9-1", 1);
    for (int i = 0; i < 3000; i++) {
        (void)snprintf(command, sizeof(command), "LOCK.ACQUIRE l%d a SESSION 9-1/500", i);
        (void)harness_apply(h, command);
        (void)snprintf(command, sizeof(command), "SET k%d v SESSION 9-1", i);
        CHECK(h, command, "+OK");
    }
    CHECK(h, "COHORT.SESSION.END 9-1", "*1 :0");
    CHECK(h, "COHORT.SESSION.TIE 9-1", ":-1");
    CHECK(h, "SET k v SESSION 9-1", OVER);
    reload(h);
    CHECK(h, "COHORT.SESSION.END 9-1", "*1 :1");
    assert_int_equal(stats_of(h).session_locks + stats_of(h).session_keys + stats_of(h).session_ties, 0);
    CHECK(h, "DBSIZE", ":0");
}

static void limits(void **state)
{
    struct harness *h = *state;
    char command[128];
    tie(h, "9-1", 1);
    for (int i = 0; i < SESSION_CLAIMS; i++) {
        (void)snprintf(command, sizeof(command), "LOCK.ACQUIRE l%d a SESSION 9-1/500", i);
        (void)harness_apply(h, command);
        (void)snprintf(command, sizeof(command), "SET k%d v SESSION 9-1", i);
        (void)harness_apply(h, command);
    }
    CHECK(h, "SET k v SESSION 9-1",
          "-BUSY this session has 16384 keys in this shard, which is the most; delete some, or open another one");
    CHECK(h, "LOCK.ACQUIRE l a SESSION 9-1/500",
          "-BUSY this session has 16384 locks in this shard, which is the most; release some, or open another one");
    assert_int_equal(stats_of(h).session_keys, SESSION_CLAIMS);
    for (int i = 0; i < SESSIONS; i++) {
        (void)harness_apply(h, "COHORT.SESSION.OPEN 1 1000");
    }
    assert_int_equal(stats_of(h).sessions, SESSIONS);
    CHECK(h, "COHORT.SESSION.OPEN 1 1000", "-BUSY 1048576 sessions live in this shard, which is the most; close some");
}

/* Three machines, one of them loaded anew from snapshots now and then, stay equal. */
static void replicas_agree(void **state)
{
    (void)state;
    struct harness h[2];
    struct prng prng;
    prng_seed(&prng, 7);
    harness_init(&h[0]);
    harness_init(&h[1]);
    for (int i = 0; i < 4000; i++) {
        char command[160];
        unsigned a = (unsigned)prng_below(&prng, 6) + 1;
        unsigned b = (unsigned)prng_below(&prng, 5);
        unsigned number = 3 * ((unsigned)prng_below(&prng, 60) + (i > 60 ? (unsigned)i - 60 : 0) + 1);
        switch (prng_below(&prng, 12)) {
        case 0: (void)snprintf(command, sizeof(command), "COHORT.SESSION.OPEN 1 %u", 100 + 50 * a); break;
        case 1: (void)snprintf(command, sizeof(command), "COHORT.SESSION.BEAT %u %u", number, number + 3); break;
        case 2: (void)snprintf(command, sizeof(command), "COHORT.SESSION.CLOSE %u", number); break;
        case 3: (void)snprintf(command, sizeof(command), "COHORT.SESSION.SHARD JOIN %u %u", a, number); break;
        case 4: (void)snprintf(command, sizeof(command), "COHORT.SESSION.SHARD LEFT %u %u", a, number); break;
        case 5: (void)snprintf(command, sizeof(command), "COHORT.SESSION.TIE 9-%u", a); break;
        case 6: (void)snprintf(command, sizeof(command), "COHORT.SESSION.TIE 9-%u %u", a, b + 1); break;
        case 7: (void)snprintf(command, sizeof(command), "COHORT.SESSION.END 9-%u", a); break;
        case 8: (void)snprintf(command, sizeof(command), "SET k%u v SESSION 9-%u", b, a); break;
        case 9: (void)snprintf(command, sizeof(command), "LOCK.ACQUIRE l%u o%u SESSION 9-%u/50", b, a, a); break;
        case 10: (void)snprintf(command, sizeof(command), "RENAME k%u k%u", b, a); break;
        default:
            time_entry(&h[0], 7);
            time_entry(&h[1], 7);
            continue;
        }
        (void)harness_apply(&h[0], command);
        (void)harness_apply(&h[1], command);
        if (prng_below(&prng, 50) == 0) {
            reload(&h[1]);
        }
        assert_true(machine_digest(h[0].machine) == machine_digest(h[1].machine));
    }
    harness_deinit(&h[0]);
    harness_deinit(&h[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids),
        cmocka_unit_test_setup_teardown(sessions_live_by_heartbeats, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(ends_are_told, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(locks_end_with_it, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_wait_taken_over_has_its_own_time, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(waits_are_told_why_they_end, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(no_tie_after_the_end, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(keys_end_with_it, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_large_end_takes_steps, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(limits, harness_setup, harness_teardown),
        cmocka_unit_test(replicas_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
