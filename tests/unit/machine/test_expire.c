#include "harness.h"

#include <stdio.h>

#define NOT_INTEGER "-ERR value is not an integer or out of range"

static void test_setting(void **state)
{
    struct harness *h = *state;
    CHECK(h, "EXPIRE none 10", ":0");
    CHECK(h, "SET a 1", "+OK");
    CHECK(h, "TTL a", ":-1");
    CHECK(h, "PTTL none", ":-2");
    CHECK(h, "EXPIRETIME a", ":-1");
    CHECK(h, "PEXPIRETIME none", ":-2");
    CHECK(h, "EXPIRE a 10", ":1");
    CHECK(h, "TTL a", ":10");
    CHECK(h, "PTTL a", ":10000");
    CHECK(h, "EXPIRETIME a", ":1700000010");
    CHECK(h, "PEXPIRETIME a", ":1700000010000");
    CHECK(h, "PEXPIRE a 1499", ":1");
    CHECK(h, "TTL a", ":1");
    CHECK(h, "PEXPIRE a 1500", ":1");
    CHECK(h, "TTL a", ":2");
    CHECK(h, "EXPIREAT a 1700000020", ":1");
    CHECK(h, "PTTL a", ":20000");
    CHECK(h, "PEXPIREAT a 1700000020500", ":1");
    CHECK(h, "EXPIRETIME a", ":1700000021");
    CHECK(h, "PEXPIRETIME a", ":1700000020500");
    CHECK(h, "PERSIST a", ":1");
    CHECK(h, "PERSIST a", ":0");
    CHECK(h, "PERSIST none", ":0");
    CHECK(h, "TTL a", ":-1");
    CHECK(h, "HSET h f v", ":1");
    CHECK(h, "EXPIRE h 5", ":1");
    CHECK(h, "HSET h f w", ":0");
    CHECK(h, "TTL h", ":5");
}

static void test_past_removes(void **state)
{
    struct harness *h = *state;
    const char *const commands[] = {
        "EXPIRE a 0",    "EXPIRE a -1",           "PEXPIRE a 0",
        "EXPIREAT a 1",  "EXPIREAT a 1700000000", "PEXPIREAT a 1700000000000",
        "PEXPIREAT a 0", "PEXPIREAT a -7",        "PEXPIRE a -9223372036854775808",
    };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        CHECK(h, "SET a 1", "+OK");
        CHECK_TOUCHES(h, "a", commands[i]);
        CHECK(h, "EXISTS a", ":0");
        CHECK(h, "DBSIZE", ":0");
        CHECK(h, commands[i], ":0");
    }
}

static void test_conditions(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SET a 1", "+OK");
    CHECK(h, "EXPIRE a 10 XX", ":0");
    CHECK(h, "EXPIRE a 10 GT", ":0");
    CHECK(h, "EXPIRE a 10 LT", ":1");
    CHECK(h, "EXPIRE a 10 LT", ":0");
    CHECK(h, "EXPIRE a 10 GT", ":0");
    CHECK(h, "EXPIRE a 9 GT", ":0");
    CHECK(h, "EXPIRE a 11 GT", ":1");
    CHECK(h, "EXPIRE a 9 LT", ":1");
    CHECK(h, "EXPIRE a 20 NX", ":0");
    CHECK(h, "EXPIRE a 20 XX", ":1");
    CHECK(h, "EXPIRE a 30 xx gt", ":1");
    CHECK(h, "TTL a", ":30");
    CHECK(h, "EXPIREAT a 1700000030 GT", ":0");
    CHECK(h, "EXPIREAT a 1700000031 GT", ":1");
    CHECK(h, "EXPIRE a 31 LT", ":0");
    CHECK(h, "EXPIRE a 30 LT", ":1");
    CHECK(h, "EXPIRE a -5 GT", ":0");
    CHECK_SPARES(h, "a", "EXPIRE a 40 NX");
    CHECK_SPARES(h, "a", "EXPIRE a 40 LT");
    CHECK_TOUCHES(h, "a", "EXPIRE a 40 GT");
    CHECK(h, "EXPIRE a -5 LT", ":1");
    CHECK(h, "EXISTS a", ":0");
}

static void test_arguments(void **state)
{
    struct harness *h = *state;
    CHECK(h, "EXPIRE none 10 FOO", "-ERR Unsupported option FOO");
    CHECK(h, "EXPIRE none x FOO", "-ERR Unsupported option FOO");
    CHECK(h, "EXPIRE none 1 \"a\\r\\nb\\r\\n\"", "-ERR Unsupported option a  b");
    CHECK(h, "EXPIRE none 1 \"ab\\x00cd\"", "-ERR Unsupported option ab");
    CHECK(h, "EXPIRE none 10 NX XX", "-ERR NX and XX, GT or LT options at the same time are not compatible");
    CHECK(h, "EXPIRE none 10 LT NX", "-ERR NX and XX, GT or LT options at the same time are not compatible");
    CHECK(h, "EXPIRE none 10 GT LT", "-ERR GT and LT options at the same time are not compatible");
    CHECK(h, "EXPIRE none x", NOT_INTEGER);
    CHECK(h, "EXPIRE none 9223372036854776", "-ERR invalid expire time in 'expire' command");
    CHECK(h, "EXPIRE none -9223372036854776", "-ERR invalid expire time in 'expire' command");
    CHECK(h, "EXPIRE none 9223372036854775", "-ERR invalid expire time in 'expire' command");
    CHECK(h, "PEXPIRE none 9223372036854775807", "-ERR invalid expire time in 'pexpire' command");
    CHECK(h, "EXPIREAT none 9223372036854776", "-ERR invalid expire time in 'expireat' command");
    CHECK(h, "PEXPIREAT none 9223372036854775807", ":0");
    CHECK(h, "SET a 1", "+OK");
    CHECK(h, "PEXPIREAT a 9223372036854775807", ":1");
    CHECK(h, "PEXPIRETIME a", ":9223372036854775807");
    CHECK(h, "EXPIRETIME a", ":9223372036854776");
    CHECK(h, "TTL a", ":9223370336854776");
}

static void test_two_clocks(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SET t 1 EX 10", "+OK");
    CHECK(h, "SET w 1 EXAT 1700000010", "+OK");
    h->wall_ms += 9000; /* the shard stood still */
    CHECK(h, "TTL t", ":10");
    CHECK(h, "TTL w", ":1");
    CHECK(h, "PEXPIRETIME t", ":1700000019000");
    CHECK(h, "PEXPIRETIME w", ":1700000010000");
    h->wall_ms += 1000;
    CHECK(h, "EXISTS t w", ":1");
    h->time_ms += 9999;
    CHECK(h, "EXISTS t", ":1");
    h->time_ms += 1;
    CHECK(h, "EXISTS t", ":0");
}

static void test_due_is_absent(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SET a old PX 100", "+OK");
    uint64_t version = harness_version(h, "a");
    harness_pass(h, 100);
    CHECK(h, "GET a", "$-1");
    assert_true(harness_version(h, "a") != version);
    CHECK(h, "SET a new XX", "$-1");
    CHECK(h, "INCR a", ":1");
    CHECK(h, "TTL a", ":-1");
    CHECK(h, "HSET h f v", ":1");
    CHECK(h, "PEXPIRE h 5", ":1");
    harness_pass(h, 5);
    CHECK(h, "APPEND h x", ":1");
    CHECK(h, "TYPE h", "+string");
    CHECK(h, "SET b 1 PX 5", "+OK");
    CHECK(h, "SET c 1", "+OK");
    harness_pass(h, 5);
    CHECK(h, "RENAMENX c b", ":1");
    CHECK(h, "TTL b", ":-1");
    CHECK(h, "SET d 1 PX 5", "+OK");
    harness_pass(h, 5);
    CHECK(h, "DEL d", ":0");
    CHECK(h, "PERSIST d", ":0");
}

static void test_bulk_removal(void **state)
{
    enum { KEYS = 3 * MACHINE_EXPIRE_STEP };
    struct harness *h = *state;
    for (int i = 0; i < KEYS; i++) {
        char command[64];
        (void)snprintf(command, sizeof(command), i % 2 == 0 ? "SET k%d v PX %d" : "SET k%d v PXAT 170000000%04d", i,
                       1000 + i);
        CHECK(h, command, "+OK");
    }
    int64_t time_ms;
    int64_t wall_ms;
    machine_next_due(h->machine, &time_ms, &wall_ms);
    assert_int_equal(time_ms, 1000 + 1000);
    assert_int_equal(wall_ms, 1700000001001);
    assert_false(machine_has_due(h->machine, 1999, 1700000001000));
    assert_true(machine_has_due(h->machine, 2000, 1700000001000));
    assert_true(machine_has_due(h->machine, 1999, 1700000001001));

    harness_pass(h, 5000);
    struct machine_stats stats;
    for (int left = KEYS; left > 0; left -= MACHINE_EXPIRE_STEP) {
        machine_stats(h->machine, &stats);
        assert_int_equal(stats.keys, left);
        assert_int_equal(stats.keys_with_expiry, left);
        assert_true(machine_has_due(h->machine, h->time_ms, h->wall_ms));
        struct machine_context context = {++h->position, h->time_ms, h->wall_ms};
        machine_apply_time(h->machine, &context);
    }
    machine_stats(h->machine, &stats);
    assert_int_equal(stats.keys, 0);
    assert_int_equal(stats.expired, KEYS);
    assert_int_equal(stats.time_ms, h->time_ms);
    machine_next_due(h->machine, &time_ms, &wall_ms);
    assert_int_equal(time_ms, INT64_MAX);
    assert_int_equal(wall_ms, INT64_MAX);
    assert_false(machine_has_due(h->machine, h->time_ms, h->wall_ms));
}

/* A read that meets a key which is due now, but not yet for the log, is given back; others are answered. */
static void test_read_must_be_logged(void **state)
{
    struct harness *h = *state;
    const char *const touching[] = {
        "GET a",     "MGET b a",     "EXISTS b a",        "TTL a",        "TYPE a",        "KEYS *",
        "SCAN 0",    "HGET a f",     "STRLEN a",          "TOUCH a",      "HGETALL a",     "GETRANGE a 0 1",
        "HSCAN a 0", "HRANDFIELD a", "OBJECT ENCODING a", "EXPIRETIME a", "COHORT.GETV a",
    };
    const char *const others[] = {"GET b", "EXISTS none", "KEYS b*", "SCAN 0 TYPE hash", "DBSIZE"};
    for (int kind = 0; kind < 2; kind++) {
        CHECK(h, "SET b 1", "+OK");
        CHECK(h, kind == 0 ? "SET a 1 PX 100" : "SET a 1", "+OK");
        if (kind == 1) {
            char command[64];
            (void)snprintf(command, sizeof(command), "PEXPIREAT a %lld", (long long)h->wall_ms + 100);
            CHECK(h, command, ":1");
        }
        uint64_t digest = machine_digest(h->machine);
        harness_pass(h, 99);
        assert_non_null(harness_read(h, "GET a"));
        assert_string_equal(harness_read(h, "PTTL a"), ":1");
        harness_pass(h, 1);
        for (size_t i = 0; i < sizeof(touching) / sizeof(touching[0]); i++) {
            assert_null(harness_read(h, touching[i]));
        }
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
            assert_non_null(harness_read(h, others[i]));
        }
        assert_null(harness_exec_read(h, "", "GET b", "GET a", NULL));
        assert_int_equal(machine_digest(h->machine), digest); /* reading left no trace */
        assert_string_equal(harness_apply(h, "GET a"), "$-1");
        assert_string_equal(harness_read(h, "GET a"), "$-1");
    }
}

/* A reader whose clock is behind the applied time sees the applied state. */
static void test_reader_behind(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SET a 1 PX 100", "+OK");
    harness_pass(h, 60);
    CHECK(h, "SET b 1", "+OK");
    h->time_ms -= 50;
    h->wall_ms -= 50;
    assert_string_equal(harness_read(h, "PTTL a"), ":40");
    h->time_ms += 50;
    h->wall_ms += 50;
}

/* A read that stands first in an entry is made at that entry's time. */
static void test_clock_alone(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SET a 1 PX 100", "+OK");
    harness_pass(h, 100);
    assert_null(harness_read(h, "GET a"));
    machine_apply_clock(h->machine, h->time_ms, h->wall_ms);
    assert_string_equal(harness_read(h, "GET a"), "$-1");
    struct machine_stats stats;
    machine_stats(h->machine, &stats);
    assert_int_equal(stats.keys, 1); /* not removed yet */
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_setting),       CASE(test_past_removes),  CASE(test_conditions),   CASE(test_arguments),
        CASE(test_two_clocks),    CASE(test_due_is_absent), CASE(test_bulk_removal), CASE(test_read_must_be_logged),
        CASE(test_reader_behind), CASE(test_clock_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
