#include "harness.h"

#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WRONGTYPE "-WRONGTYPE Operation against a key holding the wrong kind of value"
#define NOT_INTEGER "-ERR value is not an integer or out of range"
#define SYNTAX "-ERR syntax error"

static void test_set_and_get(void **state)
{
    struct harness *h = *state;
    CHECK(h, "HSET h a 1 b 2 a 3", ":2");
    CHECK(h, "HSET h a 4", ":0");
    CHECK(h, "HGET h a", "$1 4");
    CHECK(h, "HGET h none", "$-1");
    CHECK(h, "HGET none a", "$-1");
    CHECK(h, "HMGET h a none b", "*3 $1 4 $-1 $1 2");
    CHECK(h, "HMGET none a b", "*2 $-1 $-1");
    CHECK(h, "HMSET h c 5 d 6", "+OK");
    CHECK(h, "HLEN h", ":4");
    CHECK(h, "HLEN none", ":0");
    CHECK(h, "HEXISTS h a", ":1");
    CHECK(h, "HEXISTS h x", ":0");
    CHECK(h, "HEXISTS none x", ":0");
    CHECK(h, "HSET h e \"\"", ":1");
    CHECK(h, "HSTRLEN h e", ":0");
    CHECK(h, "HSET h e 12345", ":0");
    CHECK(h, "HSTRLEN h e", ":5");
    CHECK(h, "HSTRLEN h none", ":0");
    CHECK(h, "HSTRLEN none none", ":0");
}

static void test_wrong_arguments(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SET s 1", "+OK");
    CHECK(h, "HSET s a 1 b", "-ERR wrong number of arguments for 'hset' command");
    CHECK(h, "HMSET s a 1 b", "-ERR wrong number of arguments for 'hmset' command");
    const char *const commands[] = {
        "HSET s a 1",
        "HMSET s a 1",
        "HSETNX s a 1",
        "HGET s a",
        "HMGET s a",
        "HGETALL s",
        "HKEYS s",
        "HVALS s",
        "HDEL s a",
        "HEXISTS s a",
        "HLEN s",
        "HSTRLEN s a",
        "HINCRBY s a 1",
        "HINCRBYFLOAT s a 1",
        "HSCAN s 0",
        "HRANDFIELD s",
        "HRANDFIELD s 1 WITHVALUES",
    };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        CHECK(h, commands[i], WRONGTYPE);
    }
    CHECK(h, "HINCRBY s a x", NOT_INTEGER);
    CHECK(h, "HINCRBYFLOAT s a x", "-ERR value is not a valid float");
    CHECK(h, "HSCAN s x", "-ERR invalid cursor");
    CHECK(h, "GET s", "$1 1");
}

static void test_all(void **state)
{
    struct harness *h = *state;
    CHECK(h, "HGETALL none", "*0");
    CHECK(h, "HKEYS none", "*0");
    CHECK(h, "HSET h a 1 b 2", ":2");
    CHECK(h, "HGETALL h", "*4 $1 a $1 1 $1 b $1 2");
    CHECK(h, "HKEYS h", "*2 $1 a $1 b");
    CHECK(h, "HVALS h", "*2 $1 1 $1 2");
    h->protocol = RESP3;
    CHECK(h, "HGETALL none", "%0");
    CHECK(h, "HVALS none", "*0");
    CHECK(h, "HGETALL h", "%2 $1 a $1 1 $1 b $1 2");
    CHECK(h, "HKEYS h", "*2 $1 a $1 b");
    CHECK(h, "HGET h none", "_");
}

static void test_removing(void **state)
{
    struct harness *h = *state;
    CHECK(h, "HDEL none a", ":0");
    CHECK(h, "HSET h a 1 b 2 c 3", ":3");
    CHECK_SPARES(h, "h", "HDEL h x y");
    CHECK_TOUCHES(h, "h", "HDEL h a");
    CHECK(h, "HDEL h b b x", ":1");
    CHECK(h, "HGETALL h", "*2 $1 c $1 3");
    CHECK_TOUCHES(h, "h", "HDEL h c x");
    CHECK(h, "EXISTS h", ":0");
}

static void test_setnx(void **state)
{
    struct harness *h = *state;
    CHECK(h, "HSETNX h a 1", ":1");
    CHECK(h, "HSETNX h a 2", ":0");
    CHECK(h, "HGET h a", "$1 1");
    CHECK_SPARES(h, "h", "HSETNX h a 2");
    CHECK_TOUCHES(h, "h", "HSETNX h b 2");
    CHECK_TOUCHES(h, "h", "HSET h b 2");
}

static void test_counting(void **state)
{
    struct harness *h = *state;
    CHECK(h, "HINCRBY h n 5", ":5");
    CHECK(h, "HINCRBY h n -7", ":-2");
    CHECK(h, "HGET h n", "$2 -2");
    CHECK(h, "HSET h n 9223372036854775807 s x f 1.5", ":2");
    CHECK(h, "HINCRBY h n 1", "-ERR increment or decrement would overflow");
    CHECK(h, "HINCRBY h s 1", "-ERR hash value is not an integer");
    CHECK(h, "HINCRBY h f 1", "-ERR hash value is not an integer");
    CHECK(h, "HINCRBY h s x", NOT_INTEGER);
    CHECK_SPARES(h, "h", "HINCRBY h s 1");
    CHECK_TOUCHES(h, "h", "HINCRBY h c 0");
    CHECK(h, "HINCRBYFLOAT h f 1.5", "$1 3");
    CHECK(h, "HINCRBYFLOAT h g 10.5", "$4 10.5");
    CHECK(h, "HINCRBYFLOAT h s 1", "-ERR hash value is not a float");
    CHECK(h, "HINCRBYFLOAT h g inf", "-ERR value is NaN or Infinity");
    CHECK(h, "HINCRBYFLOAT h g nan", "-ERR value is not a valid float");
    CHECK(h, "HINCRBYFLOAT new g -inf", "-ERR value is NaN or Infinity");
    CHECK(h, "HSET h i inf", ":1");
    CHECK(h, "HINCRBYFLOAT h i 1", "-ERR increment would produce NaN or Infinity");
    CHECK(h, "EXISTS new", ":0");
}

static void test_encoding(void **state)
{
    struct harness *h = *state;
    CHECK(h, "HSET h a 1", ":1");
    CHECK(h, "OBJECT ENCODING h", "$8 listpack");
    CHECK(h, "HSETNX h a 0123456789012345678901234567890123456789012345678901234567890123456789", ":0");
    CHECK(h, "OBJECT ENCODING h", "$8 listpack");
    CHECK(h, "HSET h b 0123456789012345678901234567890123456789012345678901234567890123", ":1");
    CHECK(h, "OBJECT ENCODING h", "$8 listpack");
    CHECK(h, "HSET h b 01234567890123456789012345678901234567890123456789012345678901234", ":0");
    CHECK(h, "OBJECT ENCODING h", "$9 hashtable");
    CHECK(h, "HDEL h b", ":1");
    CHECK(h, "OBJECT ENCODING h", "$9 hashtable");
    for (int i = 0; i < 513; i++) {
        char command[64];
        (void)snprintf(command, sizeof(command), "HSET many f%d %d", i, i);
        CHECK(h, command, ":1");
        CHECK(h, "OBJECT ENCODING many", i < 512 ? "$8 listpack" : "$9 hashtable");
    }
}

static void fill(struct harness *h, const char *key, int count)
{
    for (int i = 0; i < count; i++) {
        char command[64];
        (void)snprintf(command, sizeof(command), "HSET %s f%d v%d", key, i, i);
        CHECK(h, command, ":1");
    }
}

/* Walks a hash by HSCAN and marks each field "f<i>" seen. */
static int scan_hash(struct harness *h, const char *key, const char *options, bool *seen)
{
    char cursor[32] = "0";
    int steps = 0;
    do {
        char command[128];
        (void)snprintf(command, sizeof(command), "HSCAN %s %s %s", key, cursor, options);
        const char *reply = harness_read(h, command);
        assert_int_equal(sscanf(reply, "*2 $%*d %31s", cursor), 1);
        for (const char *at = strstr(reply, " f"); at != NULL; at = strstr(at + 1, " f")) {
            seen[atoi(at + 2)] = true;
        }
        steps++;
    } while (strcmp(cursor, "0") != 0);
    return steps;
}

static void test_scan(void **state)
{
    struct harness *h = *state;
    CHECK(h, "HSCAN none 0", "*2 $1 0 *0");
    CHECK(h, "HSCAN none x", "-ERR invalid cursor");
    CHECK(h, "HSCAN none 0 FOO", "*2 $1 0 *0");
    CHECK(h, "HSET h a 1 ab 2 b 3", ":3");
    CHECK(h, "HSCAN h 0", "*2 $1 0 *6 $1 a $1 1 $2 ab $1 2 $1 b $1 3");
    CHECK(h, "HSCAN h 7", "*2 $1 0 *6 $1 a $1 1 $2 ab $1 2 $1 b $1 3");
    CHECK(h, "HSCAN h 0 MATCH a* COUNT 1", "*2 $1 0 *4 $1 a $1 1 $2 ab $1 2");
    CHECK(h, "HSCAN h 0 COUNT 0", SYNTAX);
    CHECK(h, "HSCAN h 0 COUNT x", NOT_INTEGER);
    CHECK(h, "HSCAN h 0 TYPE string", SYNTAX);
    CHECK(h, "HSCAN h 0 MATCH", SYNTAX);
    fill(h, "big", 1000);
    bool seen[1000] = {false};
    assert_true(scan_hash(h, "big", "COUNT 20", seen) > 10);
    for (int i = 0; i < 1000; i++) {
        assert_true(seen[i]);
    }
    bool matched[1000] = {false};
    (void)scan_hash(h, "big", "MATCH f?7", matched);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(matched[i], i >= 10 && i < 100 && i % 10 == 7);
    }
}

/* Counts the fields in a reply of HRANDFIELD; all of them must be of that hash. */
static size_t count_fields(const char *reply, int size, bool distinct)
{
    bool *seen = calloc((size_t)size, 1);
    ASSERT(seen != NULL);
    size_t count = 0;
    for (const char *at = strstr(reply, " f"); at != NULL; at = strstr(at + 1, " f")) {
        int field = atoi(at + 2);
        assert_in_range(field, 0, size - 1);
        assert_false(distinct && seen[field]);
        seen[field] = true;
        count++;
    }
    free(seen);
    return count;
}

static void check_random(struct harness *h, const char *key, int size)
{
    for (int count = 1; count <= size + 2; count += size / 12 + 1) {
        char command[64];
        char head[32];
        size_t expected = (size_t)(count < size ? count : size);
        (void)snprintf(command, sizeof(command), "HRANDFIELD %s %d", key, count);
        (void)snprintf(head, sizeof(head), "*%zu ", expected);
        const char *reply = harness_read(h, command);
        assert_memory_equal(reply, head, strlen(head));
        assert_int_equal(count_fields(reply, size, true), expected);

        (void)snprintf(command, sizeof(command), "HRANDFIELD %s %d WITHVALUES", key, -count);
        (void)snprintf(head, sizeof(head), "*%d ", h->protocol == RESP3 ? count : 2 * count);
        reply = harness_read(h, command);
        assert_memory_equal(reply, head, strlen(head));
        assert_int_equal(count_fields(reply, size, false), count);
    }
}

static void test_random(void **state)
{
    struct harness *h = *state;
    fill(h, "small", 9);
    fill(h, "big", 900);
    check_random(h, "small", 9);
    check_random(h, "big", 900);
    h->protocol = RESP3;
    check_random(h, "small", 9);
    CHECK(h, "HSET one a 1", ":1");
    CHECK(h, "HRANDFIELD one", "$1 a");
    CHECK(h, "HRANDFIELD one 5 WITHVALUES", "*1 *2 $1 a $1 1");
    CHECK(h, "HRANDFIELD one -2 WITHVALUES", "*2 *2 $1 a $1 1 *2 $1 a $1 1");
    CHECK(h, "HRANDFIELD none", "_");
    h->protocol = RESP2;
    CHECK(h, "HRANDFIELD one -2 WITHVALUES", "*4 $1 a $1 1 $1 a $1 1");
    CHECK(h, "HRANDFIELD one 0", "*0");
    CHECK(h, "HRANDFIELD none", "$-1");
    CHECK(h, "HRANDFIELD none 3", "*0");
    CHECK(h, "HRANDFIELD none -3 withvalues", "*0");
}

static void test_random_arguments(void **state)
{
    struct harness *h = *state;
    CHECK(h, "HRANDFIELD none x", NOT_INTEGER);
    CHECK(h, "HRANDFIELD none x FOO", NOT_INTEGER);
    CHECK(h, "HRANDFIELD none 1 FOO", SYNTAX);
    CHECK(h, "HRANDFIELD none 1 WITHVALUES x", SYNTAX);
    CHECK(h, "HRANDFIELD none -9223372036854775808 FOO",
          "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
    CHECK(h, "HRANDFIELD none 9223372036854775807", "*0");
    CHECK(h, "HRANDFIELD none 9223372036854775807 WITHVALUES", "-ERR value is out of range");
    CHECK(h, "HRANDFIELD none -9000000", "-ERR value is out of range, at most 1048576 fields with repetition");
}

/* Every field must be drawn sometimes, whichever way the fields are chosen. */
static void test_random_reaches_all(void **state)
{
    struct harness *h = *state;
    fill(h, "small", 20);
    fill(h, "big", 600);
    CHECK(h, "HSET big g 0123456789012345678901234567890123456789012345678901234567890123456789", ":1");
    const char *const commands[] = {"HRANDFIELD small", "HRANDFIELD small 3", "HRANDFIELD small 11",
                                    "HRANDFIELD small -7"};
    for (size_t c = 0; c < sizeof(commands) / sizeof(commands[0]); c++) {
        bool seen[20] = {false};
        for (int i = 0; i < 600; i++) {
            char reply[512];
            (void)snprintf(reply, sizeof(reply), "%s", harness_read(h, commands[c]));
            for (const char *at = strstr(reply, " f"); at != NULL; at = strstr(at + 1, " f")) {
                seen[atoi(at + 2)] = true;
            }
        }
        for (int i = 0; i < 20; i++) {
            assert_true(seen[i]);
        }
    }
    bool seen[600] = {false};
    for (int i = 0; i < 400; i++) {
        const char *reply = harness_read(h, "HRANDFIELD big 100");
        for (const char *at = strstr(reply, " f"); at != NULL; at = strstr(at + 1, " f")) {
            seen[atoi(at + 2)] = true;
        }
    }
    for (int i = 0; i < 600; i++) {
        assert_true(seen[i]);
    }
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_set_and_get),
        CASE(test_wrong_arguments),
        CASE(test_all),
        CASE(test_removing),
        CASE(test_setnx),
        CASE(test_counting),
        CASE(test_encoding),
        CASE(test_scan),
        CASE(test_random),
        CASE(test_random_arguments),
        CASE(test_random_reaches_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
