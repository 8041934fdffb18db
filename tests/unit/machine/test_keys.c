#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOT_INTEGER "-ERR value is not an integer or out of range"
#define SYNTAX "-ERR syntax error"

static void test_presence(void **state)
{
    struct harness *h = *state;
    CHECK(h, "MSET a 1 b 2", "+OK");
    CHECK(h, "HSET h f v", ":1");
    CHECK(h, "EXISTS a b a none h", ":4");
    CHECK(h, "TOUCH a none", ":1");
    CHECK(h, "TYPE a", "+string");
    CHECK(h, "TYPE h", "+hash");
    CHECK(h, "TYPE none", "+none");
    CHECK(h, "DBSIZE", ":3");
    CHECK(h, "DEL a a none", ":1");
    CHECK(h, "UNLINK b h", ":2");
    CHECK(h, "DBSIZE", ":0");
    CHECK_SPARES(h, "a", "DEL a");
    CHECK_SPARES(h, "a", "TOUCH a");
}

static void test_rename(void **state)
{
    struct harness *h = *state;
    CHECK(h, "RENAME none b", "-ERR no such key");
    CHECK(h, "RENAME none none", "-ERR no such key");
    CHECK(h, "SET a 1 EX 10", "+OK");
    CHECK(h, "RENAME a a", "+OK");
    CHECK(h, "RENAMENX a a", ":0");
    CHECK_SPARES(h, "a", "RENAME a a");
    CHECK(h, "SET b 2 EX 99", "+OK");
    CHECK(h, "RENAMENX a b", ":0");
    CHECK(h, "RENAME a b", "+OK");
    CHECK(h, "GET b", "$1 1");
    CHECK(h, "TTL b", ":10");
    CHECK(h, "EXISTS a", ":0");
    CHECK(h, "RENAMENX b c", ":1");
    CHECK(h, "RENAMENX b c", "-ERR no such key");
    CHECK(h, "HSET h f v", ":1");
    CHECK(h, "RENAME h c", "+OK");
    CHECK(h, "HGETALL c", "*2 $1 f $1 v");
    CHECK(h, "TTL c", ":-1");
    CHECK_TOUCHES(h, "c", "RENAME c d");
    CHECK_TOUCHES(h, "c", "RENAME d c");
    CHECK(h, "SET e 1", "+OK");
    CHECK_TOUCHES(h, "c", "RENAME e c");
}

static void test_copy(void **state)
{
    struct harness *h = *state;
    CHECK(h, "COPY a b", ":0");
    CHECK(h, "SET a 1 EX 10", "+OK");
    CHECK(h, "COPY a b", ":1");
    CHECK(h, "TTL b", ":10");
    CHECK(h, "OBJECT ENCODING b", "$3 int");
    CHECK(h, "COPY a b", ":0");
    CHECK(h, "HSET h f v g w", ":2");
    CHECK(h, "COPY h b REPLACE", ":1");
    CHECK(h, "HGETALL b", "*4 $1 f $1 v $1 g $1 w");
    CHECK(h, "TTL b", ":-1");
    CHECK(h, "HSET b f x", ":0");
    CHECK(h, "HGET h f", "$1 v");
    CHECK(h, "COPY h b replace db 0", ":1");
    CHECK(h, "HGET b f", "$1 v");
    CHECK_TOUCHES(h, "b", "COPY h b REPLACE");
    CHECK_SPARES(h, "h", "COPY h b REPLACE");
    CHECK(h, "COPY a a", "-ERR source and destination objects are the same");
    CHECK(h, "COPY none none", "-ERR source and destination objects are the same");
    CHECK(h, "COPY a c DB", SYNTAX);
    CHECK(h, "COPY a c FOO", SYNTAX);
    CHECK(h, "COPY a c DB x", NOT_INTEGER);
    CHECK(h, "COPY a c DB 1", "-ERR DB index is out of range");
    CHECK(h, "COPY a a DB -1", "-ERR DB index is out of range");
    CHECK(h, "COPY a c DB 2147483648", "-ERR value is out of range, value must between -2147483648 and 2147483647");
}

static void test_copy_of_a_large_hash(void **state)
{
    struct harness *h = *state;
    for (int i = 0; i < 700; i++) {
        char command[64];
        (void)snprintf(command, sizeof(command), "HSET big f%d v%d", i, i);
        CHECK(h, command, ":1");
    }
    CHECK(h, "COPY big big2", ":1");
    CHECK(h, "OBJECT ENCODING big2", "$9 hashtable");
    CHECK(h, "HDEL big f0", ":1");
    CHECK(h, "HLEN big", ":699");
    CHECK(h, "HLEN big2", ":700");
    CHECK(h, "HGET big2 f699", "$4 v699");
}

static void test_flush(void **state)
{
    struct harness *h = *state;
    CHECK(h, "MSET a 1 b 2", "+OK");
    CHECK(h, "FLUSHALL FOO", SYNTAX);
    CHECK(h, "FLUSHALL ASYNC SYNC", SYNTAX);
    CHECK(h, "DBSIZE", ":2");
    CHECK_TOUCHES(h, "a", "FLUSHALL async");
    CHECK(h, "DBSIZE", ":0");
    CHECK(h, "GET a", "$-1");
    CHECK(h, "KEYS *", "*0");
    CHECK_SPARES(h, "a", "FLUSHALL");
    CHECK(h, "SET a 1", "+OK");
    CHECK(h, "FLUSHDB SYNC", "+OK");
    CHECK(h, "FLUSHDB", "+OK");
    CHECK(h, "DBSIZE", ":0");
}

static void test_object(void **state)
{
    struct harness *h = *state;
    CHECK(h, "MSET i 5 j 10000 e abc n -1", "+OK");
    CHECK(h, "SET r 012345678901234567890123456789012345678901234", "+OK");
    CHECK(h, "SET e44 01234567890123456789012345678901234567890123", "+OK");
    CHECK(h, "OBJECT ENCODING i", "$3 int");
    CHECK(h, "OBJECT ENCODING e", "$6 embstr");
    CHECK(h, "OBJECT ENCODING e44", "$6 embstr");
    CHECK(h, "OBJECT ENCODING r", "$3 raw");
    CHECK(h, "OBJECT ENCODING none", "$-1");
    CHECK(h, "OBJECT REFCOUNT i", ":2147483647");
    CHECK(h, "OBJECT REFCOUNT j", ":1");
    CHECK(h, "OBJECT REFCOUNT n", ":1");
    CHECK(h, "OBJECT REFCOUNT e", ":1");
    CHECK(h, "OBJECT REFCOUNT none", "$-1");
    CHECK(h, "OBJECT IDLETIME i", ":0");
    CHECK(h, "OBJECT IDLETIME none", "$-1");
    CHECK(h, "OBJECT FREQ none", "$-1");
    CHECK(h, "OBJECT FREQ i",
          "-ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching "
          "between policies at runtime LRU and LFU data will take some time to adjust.");
}

static void test_keys(void **state)
{
    struct harness *h = *state;
    CHECK(h, "KEYS *", "*0");
    CHECK(h, "SET hello 1", "+OK");
    CHECK(h, "KEYS *", "*1 $5 hello");
    CHECK(h, "KEYS h?llo", "*1 $5 hello");
    CHECK(h, "KEYS h[^e]llo", "*0");
    CHECK(h, "SET \"\" 1", "+OK");
    CHECK(h, "DEL hello", ":1");
    CHECK(h, "KEYS *", "*1 $0 ");
    CHECK(h, "KEYS **", "*0");
}

/* Walks all keys "k<i>" and marks those seen; returns the number of steps. */
static int scan(struct harness *h, const char *options, bool *seen)
{
    char cursor[32] = "0";
    int steps = 0;
    do {
        char command[128];
        (void)snprintf(command, sizeof(command), "SCAN %s %s", cursor, options);
        const char *reply = harness_read(h, command);
        assert_int_equal(sscanf(reply, "*2 $%*d %31s", cursor), 1);
        for (const char *at = strstr(reply, " k"); at != NULL; at = strstr(at + 1, " k")) {
            seen[atoi(at + 2)] = true;
        }
        steps++;
    } while (strcmp(cursor, "0") != 0);
    return steps;
}

static void test_scan(void **state)
{
    enum { KEYS = 500 };
    struct harness *h = *state;
    for (int i = 0; i < KEYS; i++) {
        char command[64];
        (void)snprintf(command, sizeof(command), i % 2 == 0 ? "SET k%d v" : "HSET k%d f v", i);
        (void)harness_apply(h, command);
    }
    bool seen[KEYS] = {false};
    assert_true(scan(h, "", seen) > 5);
    bool hashes[KEYS] = {false};
    assert_true(scan(h, "TYPE HASH COUNT 100000", hashes) <= 3);
    bool matched[KEYS] = {false};
    (void)scan(h, "COUNT 100 MATCH k1? TYPE string", matched);
    bool none[KEYS] = {false};
    (void)scan(h, "TYPE list", none);
    for (int i = 0; i < KEYS; i++) {
        assert_true(seen[i]);
        assert_int_equal(hashes[i], i % 2 == 1);
        assert_int_equal(matched[i], i >= 10 && i < 20 && i % 2 == 0);
        assert_false(none[i]);
    }
}

static void test_scan_arguments(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SET a 1", "+OK");
    CHECK(h, "SCAN 0", "*2 $1 0 *1 $1 a");
    CHECK(h, "SCAN \"\" COUNT 9223372036854775807", "*2 $1 0 *1 $1 a");
    CHECK(h, "SCAN +0", "*2 $1 0 *1 $1 a");
    CHECK(h, "SCAN \"0\\x00x\"", "*2 $1 0 *1 $1 a");
    CHECK(h, "SCAN x", "-ERR invalid cursor");
    CHECK(h, "SCAN \" 0\"", "-ERR invalid cursor");
    CHECK(h, "SCAN +", "-ERR invalid cursor");
    CHECK(h, "SCAN 1x", "-ERR invalid cursor");
    CHECK(h, "SCAN 18446744073709551616", "-ERR invalid cursor");
    CHECK(h, "SCAN x FOO", "-ERR invalid cursor");
    CHECK(h, "SCAN 0 FOO", SYNTAX);
    CHECK(h, "SCAN 0 COUNT", SYNTAX);
    CHECK(h, "SCAN 0 COUNT x", NOT_INTEGER);
    CHECK(h, "SCAN 0 COUNT 0", SYNTAX);
    CHECK(h, "SCAN 0 COUNT -1", SYNTAX);
    CHECK(h, "SCAN -1 COUNT x", NOT_INTEGER);
    (void)harness_read(h, "SCAN 18446744073709551615");
    (void)harness_read(h, "SCAN 12345678901234567890 COUNT 100");
}

static void test_randomkey(void **state)
{
    struct harness *h = *state;
    CHECK(h, "RANDOMKEY", "$-1");
    CHECK(h, "MSET k0 v k1 v k2 v k3 v", "+OK");
    bool seen[4] = {false};
    for (int i = 0; i < 300; i++) {
        const char *reply = harness_read(h, "RANDOMKEY");
        assert_memory_equal(reply, "$2 k", 4);
        seen[reply[4] - '0'] = true;
    }
    assert_true(seen[0] && seen[1] && seen[2] && seen[3]);
}

static void test_hits_and_misses(void **state)
{
    struct harness *h = *state;
    (void)harness_apply(h, "SET a 1");
    (void)harness_read(h, "GET a");
    (void)harness_read(h, "MGET a none a");
    (void)harness_apply(h, "INCR a");
    struct machine_stats stats;
    machine_stats(h->machine, &stats);
    assert_int_equal(stats.hits, 3);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(stats.keys, 1);
    assert_int_equal(stats.keys_with_expiry, 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_presence),
        CASE(test_rename),
        CASE(test_copy),
        CASE(test_copy_of_a_large_hash),
        CASE(test_flush),
        CASE(test_object),
        CASE(test_keys),
        CASE(test_scan),
        CASE(test_scan_arguments),
        CASE(test_randomkey),
        CASE(test_hits_and_misses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
