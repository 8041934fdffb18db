/* What users can grow of locks ends somewhere, in words; what is idle is forgotten, and no token comes back. */
#include "harness.h"
#include "machine/lock/lock_arguments.h"
#include "machine/lock/lock_limits.h"
#include "machine/lock/locks.h"

#include <stdio.h>
#include <string.h>

/* Applies; the words are borrowed. Faster than the harness, for a million. */
static const char *apply(struct harness *h, uint16_t id, const struct slice *argv, uint32_t argc)
{
    struct command command = {command_by_id(id), argv, argc, RESP2};
    h->position += 3;
    struct machine_context context = {h->position, h->time_ms, h->wall_ms, h->term};
    buffer_clear(&h->reply);
    struct resp_writer writer = resp_writer_to(&h->reply, RESP2);
    machine_apply(h->machine, &context, &command, &writer);
    buffer_append_byte(&h->reply, 0);
    return (const char *)h->reply.data;
}

static const char *acquire(struct harness *h, const char *key, const char *owner, const char *mode, bool waits)
{
    uint8_t origin[LOCK_ORIGIN_BYTES];
    lock_origin_put(origin, &(struct lock_origin){1, 1, 1, h->position});
    const struct slice argv[] = {
        SLICE_LITERAL("COHORT.LOCK.ACQUIRE"),
        slice_of(origin, sizeof(origin)),
        slice_from_string(key),
        slice_from_string(owner),
        SLICE_LITERAL("PX"),
        SLICE_LITERAL("100000"),
        SLICE_LITERAL("MODE"),
        slice_from_string(mode),
        SLICE_LITERAL("WAIT"),
        waits ? SLICE_LITERAL("50000") : SLICE_LITERAL("0"),
    };
    return apply(h, COMMAND_COHORT_LOCK_ACQUIRE, argv, 10);
}

static const char *name(const char *what, int number)
{
    static char text[2][32];
    static int next;
    char *at = text[next = 1 - next];
    (void)snprintf(at, sizeof(text[0]), "%s%d", what, number);
    return at;
}

static bool starts(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

static void check_equal_after_load(struct harness *h)
{
    struct machine *copy = harness_copy(h->machine, 10000);
    assert_true(machine_digest(copy) == machine_digest(h->machine));
    machine_destroy(copy);
}

static void holders_and_waiters_of_one(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < LOCK_HOLDERS; i++) {
        assert_true(starts(acquire(h, "l", name("o", i), "SHARED", false), "*2"));
    }
    assert_true(starts(acquire(h, "l", "more", "SHARED", true), "-BUSY 4096 hold"));
    assert_true(starts(acquire(h, "l", name("o", 77), "SHARED", true), "*2")); /* it has it */
    CHECK(h, "LOCK.RELEASE l o1000 3003", ":1");
    for (int i = 0; i < LOCK_WAITERS; i++) {
        assert_true(starts(acquire(h, "l", name("w", i), "EXCLUSIVE", true), "+QUEUED"));
    }
    assert_true(starts(acquire(h, "l", "more", "EXCLUSIVE", true), "-BUSY 4096 wait"));
    assert_true(starts(acquire(h, "l", "more", "EXCLUSIVE", false), "*-1"));
    assert_true(starts(acquire(h, "l", name("w", 4000), "EXCLUSIVE", true), "+QUEUED")); /* it has its place */
    check_equal_after_load(h);
    harness_pass(h, 100000);
    for (int i = 0; i < 100 && machine_has_due(h->machine, h->time_ms, h->wall_ms); i++) {
        h->position += 3;
        struct machine_context context = {h->position, h->time_ms, h->wall_ms, h->term};
        machine_apply_time(h->machine, &context);
    }
    struct machine_stats stats;
    machine_stats(h->machine, &stats);
    assert_int_equal(stats.locks + stats.lock_holders + stats.lock_waiters, 0);
}

static void waiters_of_a_shard(void **state)
{
    struct harness *h = *state;
    for (int lock = 0; lock <= LOCKS_WAITERS / LOCK_WAITERS; lock++) {
        assert_true(starts(acquire(h, name("l", lock), "o", "EXCLUSIVE", false), "*2"));
        for (int i = 0; i < LOCK_WAITERS && lock < LOCKS_WAITERS / LOCK_WAITERS; i++) {
            assert_true(starts(acquire(h, name("l", lock), name("w", i), "EXCLUSIVE", true), "+QUEUED"));
        }
    }
    assert_true(
        starts(acquire(h, name("l", LOCKS_WAITERS / LOCK_WAITERS), "x", "EXCLUSIVE", true), "-BUSY 131072 wait"));
    const struct slice reap[] = {SLICE_LITERAL("COHORT.LOCK.REAP"), SLICE_LITERAL("1"), SLICE_LITERAL("2")};
    assert_string_equal(apply(h, COMMAND_COHORT_LOCK_REAP, reap, 3), ":131072\r\n");
    assert_true(starts(acquire(h, "l0", "x", "EXCLUSIVE", true), "+QUEUED"));
}

static void locks_of_a_shard(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < LOCKS_BUSY; i++) {
        assert_true(starts(acquire(h, name("l", i), "o", "EXCLUSIVE", false), "*2"));
    }
    assert_true(starts(acquire(h, "more", "o", "EXCLUSIVE", false), "-BUSY 1048576 locks"));
    assert_true(starts(acquire(h, "l5", "o", "EXCLUSIVE", false), "*2"));
    CHECK(h, "LOCK.RELEASE l5 o 18", ":1");
    assert_true(starts(acquire(h, "more", "o", "EXCLUSIVE", false), "*2"));
    assert_true(starts(acquire(h, "l5", "o", "EXCLUSIVE", false), "-BUSY 1048576 locks"));
}

static void logical_acquires(void **state)
{
    struct harness *h = *state;
    char text[128];
    for (int i = 0; i < LOCK_REQUEST_IDS; i++) {
        (void)snprintf(text, sizeof(text), "LOCK.ACQUIRE l o PX 1000 REENTRANT id%d", i);
        CHECK(h, text, "*2 :3 :1000");
    }
    CHECK(h, "LOCK.ACQUIRE l o PX 1000 REENTRANT more",
          "-ERR this owner has acquired the lock 256 times, which is the most; release some");
    CHECK(h, "LOCK.ACQUIRE l o PX 1000 REENTRANT id7", "*2 :3 :1000");
    check_equal_after_load(h);
}

static void history_of_a_lock(void **state)
{
    struct harness *h = *state;
    char text[128];
    for (int i = 0; i < LOCK_HISTORY + 5; i++) {
        (void)harness_apply(h, "LOCK.ACQUIRE l o PX 1000");
        (void)snprintf(text, sizeof(text), "LOCK.RELEASE l o %d", 3 + 6 * i);
        CHECK(h, text, ":1");
    }
    assert_true(starts(harness_apply(h, "LOCK.HISTORY l"), "*16 *10 $5 owner $1 o $5 token :123 "));
    check_equal_after_load(h);
}

/* Idle locks go, the longest idle first, alike at a replica that had a snapshot; tokens and fences do not go back. */
static void idle_ones_are_forgotten(void **state)
{
    struct harness *h = *state;
    struct harness other;
    harness_init(&other);
    CHECK(h, "LOCK.ACQUIRE first o PX 100000", "*2 :3 :100000");
    CHECK(h, "FENCE.CHECK first 3", ":1");
    CHECK(h, "LOCK.ACQUIRE second o PX 100000", "*2 :9 :100000");
    CHECK(h, "FENCE.CHECK second 9", ":1");
    CHECK(h, "LOCK.RELEASE second o 9", ":1");
    char text[128];
    for (int i = 0; i < LOCKS_IDLE + 100; i++) {
        (void)acquire(h, name("l", i), "o", "EXCLUSIVE", false);
        (void)snprintf(text, sizeof(text), "LOCK.RELEASE l%d o %d", i, (int)h->position);
        assert_string_equal(harness_apply(h, text), ":1");
        if (i == LOCKS_IDLE / 2) {
            machine_destroy(other.machine);
            other = (struct harness){.machine = harness_copy(h->machine, 10000)};
        } else if (i > LOCKS_IDLE / 2) {
            struct harness at = *h;
            at.machine = other.machine;
            at.position -= 6;
            at.reply = other.reply;
            at.text = other.text;
            (void)acquire(&at, name("l", i), "o", "EXCLUSIVE", false);
            (void)harness_apply(&at, text);
            other = at;
        }
    }
    assert_true(machine_digest(other.machine) == machine_digest(h->machine));
    struct machine_stats stats;
    machine_stats(h->machine, &stats);
    assert_int_equal(stats.locks, 1);
    CHECK(h, "LOCK.HISTORY second", "*0");
    CHECK(h, "FENCE.CHECK second 8", ":0"); /* a newer one was seen, of whatever lock is forgotten */
    CHECK(h, "FENCE.CHECK first 3", ":1");
    assert_true(starts(harness_apply(h, "LOCK.HISTORY l65000"), "*1"));
    check_equal_after_load(h);
    harness_deinit(&other);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(holders_and_waiters_of_one), CASE(waiters_of_a_shard), CASE(locks_of_a_shard),
        CASE(logical_acquires),           CASE(history_of_a_lock),  CASE(idle_ones_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
