/* Barriers and latches, by the rules of src/machine/meet/meets.h. */
#include "base/prng.h"
#include "harness.h"
#include "machine/lock/lock_arguments.h"
#include "machine/lock/lock_notice.h"
#include "machine/meet/meets.h"

#include <stdio.h>
#include <string.h>

/* What a node says for its n-th request: COHORT.<word> origin rest. */
static const char *command_from(uint64_t node, uint64_t start, uint64_t number, const char *word, const char *rest)
{
    static char text[2048];
    uint8_t origin[LOCK_ORIGIN_BYTES];
    lock_origin_put(origin, &(struct lock_origin){node, start, 7, number});
    size_t size = (size_t)snprintf(text, sizeof(text), "COHORT.%s \"", word);
    for (size_t i = 0; i < sizeof(origin); i++) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, "\\x%02x", origin[i]);
    }
    (void)snprintf(text + size, sizeof(text) - size, "\" %s", rest);
    return text;
}

static void said(struct harness *h, uint64_t number, const char *word, const char *rest, const char *expected)
{
    assert_string_equal(harness_apply(h, command_from(1, 1, number, word, rest)), expected);
    assert_null(meets_problem(machine_meets(h->machine)));
}

#define ENTER(h, number, rest, expected) said(h, number, "BARRIER.ENTER", rest, expected)
#define WAIT(h, number, rest, expected) said(h, number, "LATCH.WAIT", rest, expected)
#define ASK(h, number, rest, expected) said(h, number, "MEET.ASK", rest, expected)
#define LEAVE(h, number, rest) said(h, number, "MEET.LEAVE", rest, "+OK")

static void pass_to_time_entry(struct harness *h, int64_t ms)
{
    harness_pass(h, ms);
    h->position += 3;
    struct machine_context context = {h->position, h->time_ms, h->wall_ms, h->term};
    machine_apply_time(h->machine, &context);
    assert_null(meets_problem(machine_meets(h->machine)));
}

static void check_notice(struct harness *h, enum lock_notice_kind kind, uint64_t number)
{
    struct buffer *notices = machine_lock_notices(h->machine);
    struct slice rest = buffer_slice(notices);
    struct lock_notice notice;
    assert_true(lock_notice_take(&rest, &notice));
    assert_int_equal(notice.kind, kind);
    assert_int_equal(notice.to.number, number);
    buffer_consume(notices, notices->size - rest.size);
}

static void no_notice(struct harness *h) { assert_int_equal(machine_lock_notices(h->machine)->size, 0); }

static void check_memory(struct harness *h, uint64_t meets, uint64_t waiters, bool empty)
{
    struct machine_stats stats;
    machine_stats(h->machine, &stats);
    assert_int_equal(stats.meets, meets);
    assert_int_equal(stats.meet_waiters, waiters);
    assert_int_equal(stats.memory_bytes == 0, empty);
}

/* ---- barriers ---- */

static void all_pass_together(void **state)
{
    struct harness *h = *state;
    machine_tell_locks(h->machine, true);
    for (uint64_t turn = 0; turn < 30; turn += 10) { /* it can be used again */
        ENTER(h, turn + 1, "b x COUNT 3 WAIT 5000", "+QUEUED");
        ENTER(h, turn + 2, "b y COUNT 3 WAIT 5000", "+QUEUED");
        no_notice(h);
        ASK(h, turn + 1, "b x barrier", "+QUEUED");
        ENTER(h, turn + 3, "b z COUNT 3 WAIT 5000", ":1");
        check_notice(h, LOCK_NOTICE_GRANTED, turn + 1);
        check_notice(h, LOCK_NOTICE_GRANTED, turn + 2);
        no_notice(h);
        for (uint64_t i = 1; i <= 3; i++) {
            char rest[32];
            (void)snprintf(rest, sizeof(rest), "b %c barrier", (char)('w' + i));
            ASK(h, turn + i, rest, ":1");
        }
        check_memory(h, 0, 0, false);
    }
    pass_to_time_entry(h, MEET_PASSED_MS);
    ASK(h, 21, "b x barrier", "$-1");
    check_memory(h, 0, 0, true);
}

static void waits_end_and_nobody_passes(void **state)
{
    struct harness *h = *state;
    machine_tell_locks(h->machine, true);
    ENTER(h, 1, "b x COUNT 2 WAIT 100", "+QUEUED");
    CHECK(h, "BARRIER.ENTER b y COUNT 2", ":1"); /* without WAIT it passes only when it completes the barrier */
    check_notice(h, LOCK_NOTICE_GRANTED, 1);
    CHECK(h, "BARRIER.ENTER b y COUNT 2", "$-1");
    ENTER(h, 2, "b x COUNT 2 WAIT 100", "+QUEUED");
    pass_to_time_entry(h, 100);
    check_notice(h, LOCK_NOTICE_ENDED, 2);
    ENTER(h, 3, "b y COUNT 2 WAIT 100", "+QUEUED");
    harness_pass(h, 100);
    ENTER(h, 4, "b z COUNT 2 WAIT 100", "+QUEUED"); /* the other one's time is over under its feet */
    check_notice(h, LOCK_NOTICE_ENDED, 3);
    LEAVE(h, 4, "b z barrier");
    no_notice(h);
    check_memory(h, 0, 0, true);
    ENTER(h, 5, "b x COUNT 5 WAIT 100", "+QUEUED"); /* nobody is in: COUNT may be another */
    CHECK(h, "BARRIER.ENTER one x COUNT 1", ":1");
    ENTER(h, 6, "one x COUNT 1 WAIT 100", ":1");
}

static void a_place_is_kept(void **state)
{
    struct harness *h = *state;
    machine_tell_locks(h->machine, true);
    ENTER(h, 1, "b x COUNT 2 WAIT 100", "+QUEUED");
    ENTER(h, 1, "b x COUNT 2 WAIT 100", "+QUEUED"); /* the same request again */
    no_notice(h);
    CHECK(h, "BARRIER.ENTER b x COUNT 2", "$-1"); /* is in, and does not complete it with itself */
    ENTER(h, 2, "b x COUNT 2 WAIT 200", "+QUEUED");
    check_notice(h, LOCK_NOTICE_TAKEN, 1);
    LEAVE(h, 1, "b x barrier"); /* late: it is another request's place */
    pass_to_time_entry(h, 199);
    CHECK(h, "BARRIER.ENTER b y COUNT 3", "-ERR those who are in this barrier gave COUNT 2; all of them give the same");
    ENTER(h, 3, "b y COUNT 2 WAIT 1000", ":1");
    check_notice(h, LOCK_NOTICE_GRANTED, 2);
    ENTER(h, 3, "b y COUNT 2 WAIT 1000", ":1");      /* the same request again: it has passed */
    ENTER(h, 4, "b y COUNT 2 WAIT 1000", "+QUEUED"); /* the next time */
    ASK(h, 2, "b x barrier", ":1");
    ASK(h, 3, "b y barrier", "$-1");
    said(h, 2, "MEET.LEAVE", "b x barrier", ":1"); /* it had passed already */
    ASK(h, 2, "b x barrier", "$-1");
    LEAVE(h, 2, "b x barrier");
}

/* ---- latches ---- */

static void opens_after_n(void **state)
{
    struct harness *h = *state;
    machine_tell_locks(h->machine, true);
    CHECK(h, "LATCH.WAIT l", "-ERR no latch of this name is set, or it was open long ago; LATCH.SET name n first");
    CHECK(h, "LATCH.DOWN l", "-ERR no latch of this name is set, or it was open long ago; LATCH.SET name n first");
    CHECK(h, "LATCH.SET l 0", ":0");
    check_memory(h, 0, 0, true);
    CHECK(h, "LATCH.SET l 2", ":1");
    CHECK(h, "LATCH.SET l 5", ":0"); /* it is closed, and stays as it is */
    CHECK(h, "LATCH.WAIT l", "$-1");
    WAIT(h, 1, "l WAIT 1000", "+QUEUED");
    WAIT(h, 2, "l WAIT 10", "+QUEUED");
    CHECK(h, "LATCH.DOWN l", ":1");
    pass_to_time_entry(h, 10);
    check_notice(h, LOCK_NOTICE_ENDED, 2);
    CHECK(h, "LATCH.DOWN l", ":0");
    check_notice(h, LOCK_NOTICE_GRANTED, 1);
    ASK(h, 1, "l - latch", ":1");
    CHECK(h, "LATCH.DOWN l", ":0"); /* and not below */
    CHECK(h, "LATCH.WAIT l", ":1");
    WAIT(h, 3, "l WAIT 1000", ":1");
    ASK(h, 3, "l - latch", ":1");    /* it is open */
    CHECK(h, "LATCH.SET l 1", ":1"); /* an open one closes anew */
    ASK(h, 1, "l - latch", ":1");    /* who passed has passed */
    WAIT(h, 4, "l WAIT 1000", "+QUEUED");
    CHECK(h, "LATCH.SET l 0", ":1"); /* opens it, and forgets it */
    check_notice(h, LOCK_NOTICE_GRANTED, 4);
    ASK(h, 4, "l - latch", ":1");
    CHECK(h, "LATCH.SET l 0", ":0");
    CHECK(h, "LATCH.DOWN l", "-ERR no latch of this name is set, or it was open long ago; LATCH.SET name n first");
    pass_to_time_entry(h, MEET_PASSED_MS);
    check_memory(h, 0, 0, true);
}

static void an_open_latch_is_forgotten(void **state)
{
    struct harness *h = *state;
    char text[64];
    CHECK(h, "LATCH.SET l 1", ":1");
    CHECK(h, "LATCH.DOWN l", ":0");
    pass_to_time_entry(h, LATCH_OPEN_MS - 1);
    CHECK(h, "LATCH.WAIT l", ":1");
    pass_to_time_entry(h, 1);
    check_memory(h, 0, 0, true);
    for (int i = 0; i <= MEETS_OPEN; i++) { /* one more than is known */
        (void)snprintf(text, sizeof(text), "LATCH.SET l%d 1", i);
        CHECK(h, text, ":1");
        (void)snprintf(text, sizeof(text), "LATCH.DOWN l%d", i);
        CHECK(h, text, ":0");
    }
    CHECK(h, "LATCH.WAIT l0", "-ERR no latch of this name is set, or it was open long ago; LATCH.SET name n first");
    CHECK(h, "LATCH.WAIT l1", ":1");
}

/* ---- both ---- */

static void nodes_are_reaped(void **state)
{
    struct harness *h = *state;
    uint64_t node;
    uint64_t start;
    CHECK(h, "LATCH.SET l 1", ":1");
    assert_string_equal(harness_apply(h, command_from(2, 3, 1, "BARRIER.ENTER", "b x COUNT 3 WAIT 1000")), "+QUEUED");
    assert_string_equal(harness_apply(h, command_from(2, 4, 2, "BARRIER.ENTER", "b y COUNT 3 WAIT 1000")), "+QUEUED");
    assert_string_equal(harness_apply(h, command_from(2, 3, 3, "LATCH.WAIT", "l WAIT 1000")), "+QUEUED");
    assert_true(meets_waiting_node(machine_meets(h->machine), 0, &node, &start));
    assert_int_equal(node, 2);
    assert_int_equal(start, 3);
    CHECK(h, "COHORT.LOCK.REAP 2 4", ":2");
    assert_true(meets_waiting_node(machine_meets(h->machine), 0, &node, &start));
    assert_int_equal(start, 4);
    check_memory(h, 2, 1, false);
    CHECK(h, "COHORT.LOCK.REAP 2 5", ":1");
    assert_false(meets_waiting_node(machine_meets(h->machine), 0, &node, &start));
    assert_null(meets_problem(machine_meets(h->machine)));
    check_memory(h, 1, 0, false);
}

static void beside_keys_and_locks(void **state)
{
    struct harness *h = *state;
    CHECK(h, "LATCH.SET n 1", ":1");
    ENTER(h, 1, "n x COUNT 2 WAIT 1000", "+QUEUED");
    CHECK(h, "LOCK.ACQUIRE n x PX 1000", "*2 :9 :1000");
    CHECK(h, "SET n v", "+OK");
    CHECK(h, "FLUSHALL", "+OK");
    CHECK(h, "LATCH.WAIT n", "$-1");
    ASK(h, 1, "n x barrier", "+QUEUED");
}

static void malformed(void **state)
{
    struct harness *h = *state;
    static char text[2048];
    char name[600];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    CHECK(h, "BARRIER.ENTER b x WAIT 10", "-ERR COUNT is how many owners meet, from 1 to 4096");
    CHECK(h, "BARRIER.ENTER b x COUNT 0", "-ERR COUNT is how many owners meet, from 1 to 4096");
    CHECK(h, "BARRIER.ENTER b x COUNT 4097", "-ERR COUNT is how many owners meet, from 1 to 4096");
    CHECK(h, "BARRIER.ENTER b x COUNT 2 COUNT 2", "-ERR syntax error: COUNT is given twice");
    CHECK(h, "BARRIER.ENTER b x COUNT 2 WAIT", "-ERR syntax error");
    CHECK(h, "BARRIER.ENTER b x COUNT 2 WAIT 1 WAIT 1", "-ERR syntax error: WAIT is given twice");
    CHECK(h, "BARRIER.ENTER b x COUNT 2 WAIT x", "-ERR WAIT is a time in ms, from 0 to 31536000000 (a year)");
    CHECK(h, "LATCH.WAIT l WAIT -1", "-ERR WAIT is a time in ms, from 0 to 31536000000 (a year)");
    CHECK(h, "LATCH.WAIT l 10", "-ERR syntax error");
    CHECK(h, "LATCH.SET l -1", "-ERR a latch opens after 1 to 1073741824 downs; 0 opens and forgets it");
    CHECK(h, "LATCH.SET l 1073741825", "-ERR a latch opens after 1 to 1073741824 downs; 0 opens and forgets it");
    (void)snprintf(text, sizeof(text), "BARRIER.ENTER %.513s x COUNT 2", name);
    CHECK(h, text, "-ERR the name of a barrier has 512 bytes at most");
    (void)snprintf(text, sizeof(text), "BARRIER.ENTER b %.257s COUNT 2", name);
    CHECK(h, text, "-ERR the name of an owner has 1 to 256 bytes");
    CHECK(h, "BARRIER.ENTER b \"\" COUNT 2", "-ERR the name of an owner has 1 to 256 bytes");
    (void)snprintf(text, sizeof(text), "LATCH.SET %.513s 1", name);
    CHECK(h, text, "-ERR the name of a latch has 512 bytes at most");
    (void)snprintf(text, sizeof(text), "LATCH.WAIT %.513s", name);
    CHECK(h, text, "-ERR the name of a latch has 512 bytes at most");
    check_memory(h, 0, 0, true);
    (void)snprintf(text, sizeof(text), "%.512s %.256s COUNT 2 WAIT 10", name, name);
    ENTER(h, 1, text, "+QUEUED");
    (void)snprintf(text, sizeof(text), "LATCH.SET %.512s 1073741824", name);
    CHECK(h, text, ":1");
}

/* ---- limits ---- */

static void many(void **state)
{
    struct harness *h = *state;
    char text[96];
    CHECK(h, "LATCH.SET l 1", ":1");
    for (int i = 0; i <= MEET_MEMBERS; i++) {
        const char *expected =
            i < MEET_MEMBERS ? "+QUEUED" : "-BUSY 4096 wait here, which is the most; try again later";
        assert_string_equal(harness_apply(h, command_from(1, 1, (uint64_t)i, "LATCH.WAIT", "l WAIT 1000")), expected);
    }
    CHECK(h, "LATCH.DOWN l", ":0");
    for (int i = 0; i < MEETS_MEMBERS; i++) {
        (void)snprintf(text, sizeof(text), "b%d o%d COUNT 4096 WAIT 1000", i / 4000, i);
        assert_string_equal(harness_apply(h, command_from(1, 1, (uint64_t)i, "BARRIER.ENTER", text)), "+QUEUED");
    }
    ENTER(h, 1, "b0 more COUNT 4096 WAIT 1000",
          "-BUSY 131072 wait at barriers and latches of this shard, which is the most; try again later");
    pass_to_time_entry(h, 1000);
    while (machine_has_due(h->machine, h->time_ms, h->wall_ms)) {
        h->position += 3;
        struct machine_context context = {h->position, h->time_ms, h->wall_ms, h->term};
        machine_apply_time(h->machine, &context);
    }
    for (int i = 0; i < MEETS_BUSY; i++) {
        (void)snprintf(text, sizeof(text), "LATCH.SET busy%d 1", i);
        CHECK(h, text, ":1");
    }
    const char *busy =
        "-BUSY 65536 barriers and latches of this shard are in use, which is the most; open some latches "
        "by LATCH.SET name 0";
    CHECK(h, "LATCH.SET more 1", busy);
    ENTER(h, 1, "b x COUNT 2 WAIT 10", busy);
    CHECK(h, "LATCH.SET busy7 0", ":1");
    ENTER(h, 1, "b x COUNT 2 WAIT 10", "+QUEUED");
}

/* ---- at random: replicas, one of them made anew from snapshots ---- */

static void random_command(struct prng *prng, uint64_t *numbers, char text[static 2048])
{
    char rest[128];
    unsigned name = (unsigned)prng_below(prng, 3);
    unsigned owner = (unsigned)prng_below(prng, 5);
    unsigned wait = (unsigned)prng_below(prng, 300);
    uint64_t node = 1 + prng_below(prng, 2);
    uint64_t number = prng_below(prng, 4) == 0 ? 1 + prng_below(prng, *numbers) : ++*numbers;
    switch (prng_below(prng, 9)) {
    case 0:
    case 1:
    case 2:
        (void)snprintf(rest, sizeof(rest), "b%u o%u COUNT %u WAIT %u", name, owner, name + 1 + (wait == 0), wait);
        (void)snprintf(text, 2048, "%s", command_from(node, 1, number, "BARRIER.ENTER", rest));
        return;
    case 3: (void)snprintf(text, 2048, "BARRIER.ENTER b%u o%u COUNT %u", name, owner, name + 1); return;
    case 4: (void)snprintf(text, 2048, "LATCH.SET l%u %u", name, (unsigned)prng_below(prng, 4)); return;
    case 5: (void)snprintf(text, 2048, "LATCH.DOWN l%u", name); return;
    case 6:
        (void)snprintf(rest, sizeof(rest), "l%u WAIT %u", name, wait);
        (void)snprintf(text, 2048, "%s", command_from(node, 1, number, "LATCH.WAIT", rest));
        return;
    case 7:
        (void)snprintf(rest, sizeof(rest), "b%u o%u barrier", name, owner);
        (void)snprintf(text, 2048, "%s", command_from(node, 1, number, "MEET.LEAVE", rest));
        return;
    default:
        if (prng_below(prng, 20) == 0) {
            (void)snprintf(text, 2048, "COHORT.LOCK.REAP %u %u", (unsigned)node, (unsigned)prng_below(prng, 3));
        } else {
            (void)snprintf(rest, sizeof(rest), "l%u - latch", name);
            (void)snprintf(text, 2048, "%s", command_from(node, 1, number, "MEET.LEAVE", rest));
        }
        return;
    }
}

static void replicas_agree(void **state)
{
    struct harness *h = *state;
    struct harness other;
    struct prng prng;
    uint64_t numbers = 1;
    char text[2048];
    char reply[512];
    harness_init(&other);
    prng_seed(&prng, 7);
    for (int i = 0; i < 30000; i++) {
        int64_t pass_ms = prng_below(&prng, 500) == 0 ? 60000 : (int64_t)prng_below(&prng, 30);
        if (prng_below(&prng, 4) == 0) {
            pass_to_time_entry(h, pass_ms);
            pass_to_time_entry(&other, pass_ms);
        } else {
            harness_pass(h, pass_ms);
            harness_pass(&other, pass_ms);
        }
        random_command(&prng, &numbers, text);
        (void)snprintf(reply, sizeof(reply), "%s", harness_apply(h, text));
        assert_string_equal(harness_apply(&other, text), reply);
        assert_null(meets_problem(machine_meets(h->machine)));
        if (prng_below(&prng, 10) == 0) {
            struct machine *copy = harness_copy(other.machine, 1 + (size_t)prng_below(&prng, 200));
            machine_destroy(other.machine);
            other.machine = copy;
            assert_int_equal(machine_digest(copy), machine_digest(h->machine));
        }
    }
    harness_deinit(&other);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(all_pass_together),
        CASE(waits_end_and_nobody_passes),
        CASE(a_place_is_kept),
        CASE(opens_after_n),
        CASE(an_open_latch_is_forgotten),
        CASE(nodes_are_reaped),
        CASE(beside_keys_and_locks),
        CASE(malformed),
        CASE(many),
        CASE(replicas_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
