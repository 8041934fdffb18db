#include "harness.h"

#include <stdio.h>

static void test_replies(void **state)
{
    struct harness *h = *state;
    assert_string_equal(harness_exec(h, "", NULL), "*0");
    assert_string_equal(harness_exec(h, "", "SET a 1", "INCR a", "GET a", NULL), "*3 +OK :2 $1 2");
    assert_string_equal(harness_exec(h, "", "SET a x", "INCR a", "HSET a f v", "STRLEN a", NULL),
                        "*4 +OK -ERR value is not an integer or out of range "
                        "-WRONGTYPE Operation against a key holding the wrong kind of value :1");
    h->protocol = RESP3;
    assert_string_equal(harness_exec(h, "", "HSET h f v", "HGETALL h", "GET none", NULL), "*3 :1 %1 $1 f $1 v _");
}

static const char *watch(struct harness *h, const char *key, char *text, size_t size)
{
    (void)snprintf(text, size, "%s %llu", key, (unsigned long long)harness_version(h, key));
    return text;
}

static void test_watch(void **state)
{
    struct harness *h = *state;
    char w[64];
    CHECK(h, "SET a 1", "+OK");
    watch(h, "a", w, sizeof(w));
    assert_string_equal(harness_exec(h, w, "INCR a", NULL), "*1 :2");
    assert_string_equal(harness_exec(h, w, "INCR a", NULL), "*-1");
    CHECK(h, "GET a", "$1 2");
    watch(h, "none", w, sizeof(w));
    assert_string_equal(harness_exec(h, w, "INCR a", NULL), "*1 :3");
    CHECK(h, "SET none 1", "+OK");
    CHECK(h, "DEL none", ":1");
    assert_string_equal(harness_exec(h, w, "INCR a", NULL), "*-1"); /* was there in between */
    watch(h, "a", w, sizeof(w));
    CHECK(h, "DEL a", ":1");
    CHECK(h, "SET a 3", "+OK");
    assert_string_equal(harness_exec(h, w, NULL), "*-1");
    h->protocol = RESP3;
    assert_string_equal(harness_exec(h, w, NULL), "_");
}

static void test_watch_of_several(void **state)
{
    struct harness *h = *state;
    char watches[160];
    CHECK(h, "MSET a 1 b 2", "+OK");
    (void)snprintf(watches, sizeof(watches), "a %llu b %llu", (unsigned long long)harness_version(h, "a"),
                   (unsigned long long)harness_version(h, "b"));
    CHECK(h, "SET c 3", "+OK");
    assert_string_equal(harness_exec(h, watches, "GET a", NULL), "*1 $1 1");
    CHECK(h, "EXPIRE b 100", ":1");
    assert_string_equal(harness_exec(h, watches, "GET a", NULL), "*-1");
}

static void test_watch_and_expiry(void **state)
{
    struct harness *h = *state;
    char w[64];
    CHECK(h, "SET a 1 PX 100", "+OK");
    watch(h, "a", w, sizeof(w));
    assert_string_equal(harness_exec_read(h, w, "GET a", NULL), "*1 $1 1");
    harness_pass(h, 100);
    assert_null(harness_exec_read(h, w, "GET none", NULL)); /* the watched key is due: through the log */
    assert_string_equal(harness_exec(h, w, "SET b 1", NULL), "*-1");
    CHECK(h, "EXISTS b", ":0");
}

static void test_one_version(void **state)
{
    struct harness *h = *state;
    assert_string_equal(harness_exec(h, "", "SET a 1", "SET b 1", "DEL c", NULL), "*3 +OK +OK :0");
    assert_int_equal(harness_version(h, "a"), harness_version(h, "b"));
    assert_int_equal(harness_version(h, "a"), h->position);
    CHECK_SPARES(h, "a", "GET a");
}

static void test_reads(void **state)
{
    struct harness *h = *state;
    CHECK(h, "MSET a 1 b 2", "+OK");
    uint64_t digest = machine_digest(h->machine);
    assert_string_equal(harness_exec_read(h, "", "GET a", "MGET a b", "HLEN none", NULL), "*3 $1 1 *2 $1 1 $1 2 :0");
    assert_string_equal(harness_exec_read(h, "a 1", "GET a", NULL), "*-1");
    assert_int_equal(machine_digest(h->machine), digest);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_replies),          CASE(test_watch),       CASE(test_watch_of_several),
        CASE(test_watch_and_expiry), CASE(test_one_version), CASE(test_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
