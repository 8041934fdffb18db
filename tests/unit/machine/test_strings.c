#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

#define WRONGTYPE "-WRONGTYPE Operation against a key holding the wrong kind of value"
#define NOT_INTEGER "-ERR value is not an integer or out of range"
#define SYNTAX "-ERR syntax error"

static void test_set_and_get(void **state)
{
    struct harness *h = *state;
    CHECK(h, "GET a", "$-1");
    CHECK(h, "SET a 1", "+OK");
    CHECK(h, "GET a", "$1 1");
    CHECK(h, "SET a \"\"", "+OK");
    CHECK(h, "GET a", "$0 ");
    CHECK(h, "SET \"\" \"x\\x00\\r\"", "+OK");
    CHECK(h, "STRLEN \"\"", ":3");
    CHECK(h, "HSET h f v", ":1");
    CHECK(h, "GET h", WRONGTYPE);
    CHECK(h, "SET h now-a-string", "+OK");
    CHECK(h, "TYPE h", "+string");
    h->protocol = RESP3;
    CHECK(h, "GET nothing", "_");
}

static void test_set_conditions(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SET a 1 XX", "$-1");
    CHECK(h, "SET a 1 NX", "+OK");
    CHECK(h, "SET a 2 NX", "$-1");
    CHECK(h, "SET a 2 xx", "+OK");
    CHECK(h, "SET a 3 GET", "$1 2");
    CHECK(h, "SET a 4 NX GET", "$1 3");
    CHECK(h, "GET a", "$1 3");
    CHECK(h, "SET b 1 GET", "$-1");
    CHECK(h, "SET c 1 XX GET", "$-1");
    CHECK(h, "EXISTS b c", ":1");
    CHECK(h, "SET a 1 NX NX", "$-1");
    CHECK(h, "SET a 1 NX XX", SYNTAX);
    CHECK(h, "SET a 1 FOO", SYNTAX);
    CHECK(h, "SET a 1 PERSIST", SYNTAX);
    CHECK(h, "HSET h f v", ":1");
    CHECK(h, "SET h 1 GET", WRONGTYPE);
    CHECK(h, "SET h 1 NX GET", WRONGTYPE);
    CHECK(h, "SET h 1 NX", "$-1");
    CHECK(h, "SETNX a 9", ":0");
    CHECK(h, "SETNX n 9", ":1");
}

static void test_set_ifeq(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SET a 1 IFEQ \"\"", "$-1");
    CHECK(h, "EXISTS a", ":0");
    CHECK(h, "SET a 10", "+OK");
    CHECK(h, "SET a 11 IFEQ 1", "$-1");
    CHECK(h, "SET a 11 IFEQ 10", "+OK");
    CHECK(h, "SET a 12 IFEQ 10 GET", "$2 11");
    CHECK(h, "SET a 12 IFEQ 11 GET", "$2 11");
    CHECK(h, "GET a", "$2 12");
    CHECK(h, "SET none 12 IFEQ 11 GET", "$-1");
    CHECK(h, "SET a 13 IFEQ 12 EX 10", "+OK");
    CHECK(h, "SET a 14 IFEQ 13 KEEPTTL", "+OK");
    CHECK(h, "TTL a", ":10");
    CHECK(h, "SET a 1 IFEQ", SYNTAX);
    CHECK(h, "SET a 1 NX IFEQ 14", SYNTAX);
    CHECK(h, "SET a 1 IFEQ 14 XX", SYNTAX);
    CHECK(h, "SET a 1 IFEQ 14 IFEQ 14", SYNTAX);
    CHECK(h, "HSET h f v", ":1");
    CHECK(h, "SET h 1 IFEQ x", WRONGTYPE);
    CHECK_SPARES(h, "a", "SET a 1 IFEQ 1");
}

static void test_set_expiry(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SET a 1 EX 10", "+OK");
    CHECK(h, "TTL a", ":10");
    CHECK(h, "SET a 1 EX 10 ex 20", "+OK");
    CHECK(h, "PTTL a", ":20000");
    CHECK(h, "SET a 2 KEEPTTL", "+OK");
    CHECK(h, "PTTL a", ":20000");
    CHECK(h, "SET a 3", "+OK");
    CHECK(h, "PTTL a", ":-1");
    CHECK(h, "SET a 3 PX 1500", "+OK");
    CHECK(h, "PTTL a", ":1500");
    CHECK(h, "SET a 3 EXAT 1700000100", "+OK");
    CHECK(h, "EXPIRETIME a", ":1700000100");
    CHECK(h, "SET a 3 PXAT 1700000100123", "+OK");
    CHECK(h, "PEXPIRETIME a", ":1700000100123");
    CHECK(h, "SET a 1 EX 10 PX 10", SYNTAX);
    CHECK(h, "SET a 1 EX 10 KEEPTTL", SYNTAX);
    CHECK(h, "SET a 1 KEEPTTL EX 10", SYNTAX);
    CHECK(h, "SET a 1 EX", SYNTAX);
    CHECK(h, "SET a 1 EX x", NOT_INTEGER);
    CHECK(h, "SET a 1 EX 0", "-ERR invalid expire time in 'set' command");
    CHECK(h, "SET a 1 PXAT -5", "-ERR invalid expire time in 'set' command");
    CHECK(h, "SET a 1 EX 9223372036854775", "-ERR invalid expire time in 'set' command");
    CHECK(h, "SET a 1 EXAT 9223372036854776", "-ERR invalid expire time in 'set' command");
    CHECK(h, "SET a 1 PX 9223372036854775807", "-ERR invalid expire time in 'set' command");
    CHECK(h, "SET a 1 PXAT 9223372036854775807", "+OK");
    CHECK(h, "SETEX a 10 v", "+OK");
    CHECK(h, "PTTL a", ":10000");
    CHECK(h, "PSETEX a 10 v", "+OK");
    CHECK(h, "PTTL a", ":10");
    CHECK(h, "SETEX a 0 v", "-ERR invalid expire time in 'setex' command");
    CHECK(h, "PSETEX a -1 v", "-ERR invalid expire time in 'psetex' command");
    CHECK(h, "SETEX a x v", NOT_INTEGER);
    CHECK(h, "GETSET a w", "$1 v");
    CHECK(h, "TTL a", ":-1");
}

static void test_set_in_the_past(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SET a 1", "+OK");
    CHECK(h, "SET a 2 PXAT 1", "+OK");
    CHECK(h, "GET a", "$-1");
    CHECK(h, "DBSIZE", ":0");
    CHECK_TOUCHES(h, "b", "SET b 2 EXAT 1");
    CHECK(h, "EXISTS b", ":0");
}

static void test_getset_getdel_getex(void **state)
{
    struct harness *h = *state;
    CHECK(h, "GETSET a 1", "$-1");
    CHECK(h, "GETSET a 2", "$1 1");
    CHECK(h, "GETDEL a", "$1 2");
    CHECK(h, "GETDEL a", "$-1");
    CHECK(h, "HSET h f v", ":1");
    CHECK(h, "GETSET h 1", WRONGTYPE);
    CHECK(h, "GETDEL h", WRONGTYPE);
    CHECK(h, "GETEX h", WRONGTYPE);
    CHECK(h, "SET a 1", "+OK");
    CHECK(h, "GETEX a EX 10", "$1 1");
    CHECK(h, "TTL a", ":10");
    CHECK(h, "GETEX a", "$1 1");
    CHECK(h, "TTL a", ":10");
    CHECK(h, "GETEX a PERSIST", "$1 1");
    CHECK(h, "TTL a", ":-1");
    CHECK_SPARES(h, "a", "GETEX a PERSIST");
    CHECK_SPARES(h, "a", "GETEX a");
    CHECK_TOUCHES(h, "a", "GETEX a PX 100");
    CHECK(h, "GETEX a KEEPTTL", SYNTAX);
    CHECK(h, "GETEX a NX", SYNTAX);
    CHECK(h, "GETEX a PERSIST EX 1", SYNTAX);
    CHECK(h, "GETEX a EX 1 PERSIST", SYNTAX);
    CHECK(h, "GETEX none EX 0", "$-1");
    CHECK(h, "GETEX none EX", SYNTAX);
    CHECK(h, "GETEX h EX 0", WRONGTYPE);
    CHECK(h, "GETEX a EX 0", "-ERR invalid expire time in 'getex' command");
    CHECK(h, "GETEX a PXAT 5", "$1 1");
    CHECK(h, "EXISTS a", ":0");
}

static void test_several(void **state)
{
    struct harness *h = *state;
    CHECK(h, "MSET a 1 b 2 a 3", "+OK");
    CHECK(h, "HSET h f v", ":1");
    CHECK(h, "MGET a h b none", "*4 $1 3 $-1 $1 2 $-1");
    CHECK(h, "MSET a 1 b", "-ERR wrong number of arguments for 'mset' command");
    CHECK(h, "MSETNX c 1 a 9", ":0");
    CHECK(h, "EXISTS c", ":0");
    CHECK(h, "MSETNX c 1 c 2", ":1");
    CHECK(h, "GET c", "$1 2");
}

static void test_counting(void **state)
{
    struct harness *h = *state;
    CHECK(h, "INCR a", ":1");
    CHECK(h, "INCRBY a 41", ":42");
    CHECK(h, "DECR a", ":41");
    CHECK(h, "DECRBY a -9", ":50");
    CHECK(h, "GET a", "$2 50");
    CHECK(h, "SET a 9223372036854775807", "+OK");
    CHECK(h, "INCR a", "-ERR increment or decrement would overflow");
    CHECK(h, "DECRBY a -1", "-ERR increment or decrement would overflow");
    CHECK(h, "DECRBY a -9223372036854775808", "-ERR decrement would overflow");
    CHECK(h, "INCRBY n -9223372036854775808", ":-9223372036854775808");
    CHECK(h, "DECR n", "-ERR increment or decrement would overflow");
    CHECK(h, "INCRBY a 9223372036854775808", NOT_INTEGER);
    CHECK(h, "SET s 01", "+OK");
    CHECK(h, "INCR s", NOT_INTEGER);
    CHECK(h, "SET s \" 1\"", "+OK");
    CHECK(h, "INCR s", NOT_INTEGER);
    CHECK(h, "SET s \"\"", "+OK");
    CHECK(h, "INCR s", NOT_INTEGER);
    CHECK(h, "HSET h f 1", ":1");
    CHECK(h, "INCR h", WRONGTYPE);
    CHECK(h, "INCRBY h x", NOT_INTEGER);
    CHECK(h, "SET t 1 EX 10", "+OK");
    CHECK(h, "INCR t", ":2");
    CHECK(h, "TTL t", ":10");
    CHECK_SPARES(h, "s", "INCR s");
}

static void test_floats(void **state)
{
    struct harness *h = *state;
    CHECK(h, "INCRBYFLOAT a 10.5", "$4 10.5");
    CHECK(h, "INCRBYFLOAT a 0.1", "$4 10.6");
    CHECK(h, "INCRBYFLOAT a -5", "$3 5.6");
    CHECK(h, "SET a 5.0e3", "+OK");
    CHECK(h, "INCRBYFLOAT a 2.0e2", "$4 5200");
    CHECK(h, "OBJECT ENCODING a", "$6 embstr");
    CHECK(h, "INCR a", ":5201");
    CHECK(h, "OBJECT ENCODING a", "$3 int");
    CHECK(h, "INCRBYFLOAT z -0.0", "$1 0");
    CHECK(h, "INCRBYFLOAT a inf", "-ERR increment would produce NaN or Infinity");
    CHECK(h, "INCRBYFLOAT a nan", "-ERR value is not a valid float");
    CHECK(h, "INCRBYFLOAT a x", "-ERR value is not a valid float");
    CHECK(h, "INCRBYFLOAT a \" 1\"", "-ERR value is not a valid float");
    CHECK(h, "INCRBYFLOAT a 1e5000", "-ERR value is not a valid float");
    CHECK(h, "INCRBYFLOAT a 0x10", "$4 5217");
    CHECK(h, "SET s x", "+OK");
    CHECK(h, "INCRBYFLOAT s 1", "-ERR value is not a valid float");
    CHECK(h, "HSET h f 1", ":1");
    CHECK(h, "INCRBYFLOAT h x", WRONGTYPE);
    CHECK(h, "INCRBYFLOAT p 3.0000000000000000001", "$1 3");
    CHECK(h, "INCRBYFLOAT q 0.1", "$3 0.1");
    CHECK(h, "INCRBYFLOAT q 0.2", "$3 0.3");
}

static void test_append_and_strlen(void **state)
{
    struct harness *h = *state;
    CHECK(h, "APPEND a 12", ":2");
    CHECK(h, "OBJECT ENCODING a", "$3 int");
    CHECK(h, "APPEND a 3", ":3");
    CHECK(h, "OBJECT ENCODING a", "$3 raw");
    CHECK(h, "GET a", "$3 123");
    CHECK(h, "STRLEN a", ":3");
    CHECK(h, "STRLEN none", ":0");
    CHECK(h, "APPEND e \"\"", ":0");
    CHECK(h, "EXISTS e", ":1");
    CHECK(h, "HSET h f v", ":1");
    CHECK(h, "APPEND h x", WRONGTYPE);
    CHECK(h, "STRLEN h", WRONGTYPE);
    CHECK(h, "SET n 123456", "+OK");
    CHECK(h, "STRLEN n", ":6");
    CHECK(h, "APPEND n \"\"", ":6");
    CHECK(h, "OBJECT ENCODING n", "$3 raw");
    CHECK_TOUCHES(h, "n", "APPEND n \"\"");
    for (int i = 1; i <= 3000; i++) {
        char expected[32];
        (void)snprintf(expected, sizeof(expected), ":%d", i * 10);
        CHECK(h, "APPEND long 0123456789", expected);
    }
    CHECK(h, "GETRANGE long 29985 -1", "$15 567890123456789");
}

static void test_ranges(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SET a \"Hello World\"", "+OK");
    CHECK(h, "GETRANGE a 0 4", "$5 Hello");
    CHECK(h, "GETRANGE a -5 -1", "$5 World");
    CHECK(h, "GETRANGE a 0 -1", "$11 Hello World");
    CHECK(h, "GETRANGE a 5 4", "$0 ");
    CHECK(h, "GETRANGE a -1 -5", "$0 ");
    CHECK(h, "GETRANGE a 0 -100", "$1 H");
    CHECK(h, "GETRANGE a -100 2", "$3 Hel");
    CHECK(h, "GETRANGE a 11 20", "$0 ");
    CHECK(h, "GETRANGE a -9223372036854775808 9223372036854775807", "$11 Hello World");
    CHECK(h, "GETRANGE none 0 1", "$0 ");
    CHECK(h, "GETRANGE a x 1", NOT_INTEGER);
    CHECK(h, "SET i 12345", "+OK");
    CHECK(h, "GETRANGE i 1 2", "$2 23");
    CHECK(h, "SETRANGE a 6 Redis", ":11");
    CHECK(h, "GET a", "$11 Hello Redis");
    CHECK(h, "SETRANGE i 7 x", ":8");
    CHECK(h, "GETRANGE i 7 7", "$1 x");
    CHECK(h, "SETRANGE i 5 ab", ":8");
    CHECK(h, "GET i", "$8 12345abx");
}

static void test_setrange_corners(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SETRANGE a -1 x", "-ERR offset is out of range");
    CHECK(h, "SETRANGE a x x", NOT_INTEGER);
    CHECK(h, "SETRANGE a 0 \"\"", ":0");
    CHECK(h, "SETRANGE a 9223372036854775807 \"\"", ":0");
    CHECK(h, "EXISTS a", ":0");
    CHECK(h, "SETRANGE a 536870912 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    CHECK(h, "SETRANGE a 9223372036854775807 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    CHECK(h, "SETRANGE a 2 x", ":3");
    CHECK(h, "OBJECT ENCODING a", "$3 raw");
    CHECK(h, "SETRANGE a 0 abc", ":3");
    CHECK(h, "SETRANGE a 1 \"\"", ":3");
    CHECK_SPARES(h, "a", "SETRANGE a 1 \"\"");
    CHECK(h, "GET a", "$3 abc");
    CHECK(h, "HSET h f v", ":1");
    CHECK(h, "SETRANGE h 0 \"\"", WRONGTYPE);
    CHECK(h, "GETRANGE h 0 1", WRONGTYPE);
}

static void test_compare_and_set(void **state)
{
    struct harness *h = *state;
    CHECK(h, "COHORT.GETV a", "*-1");
    CHECK(h, "COHORT.SETV a 1 5", "$-1");
    CHECK(h, "EXISTS a", ":0");
    const char *reply = harness_apply(h, "COHORT.SETV a one 0");
    assert_int_equal(reply[0], ':');
    char version[32];
    char expected[64];
    char again[64];
    (void)snprintf(version, sizeof(version), "%s", reply + 1);
    assert_int_equal(strtoull(version, NULL, 10), h->position);
    (void)snprintf(expected, sizeof(expected), "*2 $3 one :%s", version);
    CHECK(h, "COHORT.GETV a", expected);
    CHECK(h, "COHORT.SETV a two 0", "$-1");
    CHECK(h, "EXPIRE a 10", ":1");
    (void)snprintf(again, sizeof(again), "COHORT.SETV a two %s", version);
    CHECK(h, again, "$-1"); /* EXPIRE was a change */
    (void)snprintf(again, sizeof(again), "COHORT.SETV a two %d", (int)h->position - 3);
    assert_int_equal(harness_apply(h, again)[0], ':');
    CHECK(h, "TTL a", ":10");
    CHECK(h, "GET a", "$3 two");
    CHECK(h, "COHORT.SETV a x -1", "-ERR value is out of range, must be positive");
    CHECK(h, "COHORT.SETV a x y", NOT_INTEGER);
    CHECK(h, "HSET h f v", ":1");
    CHECK(h, "COHORT.GETV h", WRONGTYPE);
    CHECK(h, "COHORT.SETV h x 0", WRONGTYPE);
    h->protocol = RESP3;
    CHECK(h, "COHORT.GETV none", "_");
    CHECK(h, "COHORT.SETV none x 7", "_");
}

static void test_versions(void **state)
{
    struct harness *h = *state;
    CHECK_TOUCHES(h, "a", "SET a 1");
    CHECK_TOUCHES(h, "a", "SET a 1");
    CHECK_SPARES(h, "a", "SET a 2 NX");
    CHECK_SPARES(h, "a", "GETRANGE a 0 1");
    CHECK_SPARES(h, "a", "SETNX a 1");
    CHECK_SPARES(h, "a", "MSETNX b 1 a 1");
    CHECK_TOUCHES(h, "a", "GETSET a 1");
    CHECK_TOUCHES(h, "a", "GETDEL a");
    CHECK_SPARES(h, "a", "GETDEL a");
    CHECK_SPARES(h, "a", "SET a 1 XX");
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_set_and_get),       CASE(test_set_conditions),  CASE(test_set_ifeq),
        CASE(test_set_expiry),        CASE(test_set_in_the_past), CASE(test_getset_getdel_getex),
        CASE(test_several),           CASE(test_counting),        CASE(test_floats),
        CASE(test_append_and_strlen), CASE(test_ranges),          CASE(test_setrange_corners),
        CASE(test_compare_and_set),   CASE(test_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
