/* Replies as trees. */
#include "client/reply.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct cohort_reply *made(const char *resp)
{
    struct cohort_reply *reply = NULL;
    assert_int_equal(reply_create(slice_from_string(resp), &reply), STATUS_OK);
    return reply;
}

static void test_scalars(void **state)
{
    static const struct {
        const char *resp;
        enum cohort_reply_type type;
        const char *text;
        int64_t integer;
    } cases[] = {
        {"+OK\r\n", COHORT_REPLY_STRING, "OK", 0},
        {"$5\r\nhello\r\n", COHORT_REPLY_STRING, "hello", 0},
        {"$2\r\n42\r\n", COHORT_REPLY_STRING, "42", 42},
        {":-7\r\n", COHORT_REPLY_INTEGER, "", -7},
        {"#t\r\n", COHORT_REPLY_INTEGER, "", 1},
        {"_\r\n", COHORT_REPLY_NIL, "", 0},
        {"$-1\r\n", COHORT_REPLY_NIL, "", 0},
        {"*-1\r\n", COHORT_REPLY_NIL, "", 0},
        {"-ERR no\r\n", COHORT_REPLY_ERROR, "ERR no", 0},
        {"=7\r\ntxt:abc\r\n", COHORT_REPLY_STRING, "abc", 0},
        {"(123\r\n", COHORT_REPLY_STRING, "123", 123},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cohort_reply *reply = made(cases[i].resp);
        assert_int_equal(cohort_reply_type(reply), cases[i].type);
        assert_string_equal(cohort_reply_text(reply), cases[i].text);
        assert_int_equal(cohort_reply_integer(reply), cases[i].integer);
        assert_int_equal(cohort_reply_count(reply), 0);
        cohort_reply_free(reply);
    }
    struct cohort_reply *reply = made(",1.5\r\n");
    assert_true(cohort_reply_double(reply) == 1.5);
    cohort_reply_free(reply);
}

static void test_trees(void **state)
{
    struct cohort_reply *reply =
        made("*4\r\n*2\r\n:1\r\n*1\r\n+deep\r\n%2\r\n+a\r\n:10\r\n+b\r\n*0\r\n$0\r\n\r\n*0\r\n");
    assert_int_equal(cohort_reply_count(reply), 4);
    const struct cohort_reply *first = cohort_reply_at(reply, 0);
    assert_int_equal(cohort_reply_integer(cohort_reply_at(first, 0)), 1);
    assert_string_equal(cohort_reply_text(cohort_reply_at(cohort_reply_at(first, 1), 0)), "deep");
    const struct cohort_reply *map = cohort_reply_at(reply, 1);
    assert_int_equal(cohort_reply_type(map), COHORT_REPLY_MAP);
    assert_int_equal(cohort_reply_integer(cohort_reply_get(map, "a")), 10);
    assert_int_equal(cohort_reply_type(cohort_reply_get(map, "b")), COHORT_REPLY_ARRAY);
    assert_null(cohort_reply_get(map, "c"));
    assert_int_equal(cohort_reply_bytes(cohort_reply_at(reply, 2)).size, 0);
    assert_null(cohort_reply_at(reply, 4));
    cohort_reply_free(reply);
}

static void test_attributes_are_left_out(void **state)
{
    struct cohort_reply *reply =
        made("*2\r\n|1\r\n+ttl\r\n*2\r\n:1\r\n:2\r\n:5\r\n|1\r\n+x\r\n|1\r\n+y\r\n:1\r\n:2\r\n:6\r\n");
    assert_int_equal(cohort_reply_count(reply), 2);
    assert_int_equal(cohort_reply_integer(cohort_reply_at(reply, 0)), 5);
    assert_int_equal(cohort_reply_integer(cohort_reply_at(reply, 1)), 6);
    cohort_reply_free(reply);
}

static void test_nothing(void **state)
{
    assert_int_equal(cohort_reply_type(NULL), COHORT_REPLY_NIL);
    assert_string_equal(cohort_reply_text(NULL), "");
    assert_non_null(cohort_reply_bytes(NULL).data);
    assert_int_equal(cohort_reply_integer(NULL), 0);
    assert_null(cohort_reply_at(NULL, 0));
    assert_null(cohort_reply_get(NULL, "a"));
    cohort_reply_free(NULL);
    struct cohort_reply *reply = NULL;
    assert_int_equal(reply_create(SLICE_LITERAL("*2\r\n:1\r\n"), &reply), STATUS_CORRUPT);
    assert_int_equal(reply_create(SLICE_LITERAL(""), &reply), STATUS_CORRUPT);
    assert_null(reply);
}

static void test_errors(void **state)
{
    static const struct {
        const char *resp;
        enum cohort_status status;
    } cases[] = {
        {"-CLUSTERDOWN no majority\r\n", COHORT_CLUSTERDOWN},
        {"-BUSY too much\r\n", COHORT_BUSY},
        {"-BUSYGROUP other\r\n", COHORT_REFUSED},
        {"-UNCERTAIN perhaps\r\n", COHORT_UNCERTAIN},
        {"-LOCKLOST gone\r\n", COHORT_LOCKLOST},
        {"-ERR syntax error\r\n", COHORT_REFUSED},
        {"+BUSY is a text\r\n", COHORT_OK},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cohort_reply *reply = made(cases[i].resp);
        assert_int_equal(reply_status(reply), cases[i].status);
        cohort_reply_free(reply);
    }
    for (int status = 5; status > -40; status--) {
        assert_true(strlen(cohort_status_text(status)) > 0);
    }
    assert_string_equal(cohort_status_text(COHORT_SYSTEM), "the system refused a descriptor or a thread");
    assert_string_equal(cohort_status_text(COHORT_LOCKLOST), "the lock is no longer held");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars), cmocka_unit_test(test_trees),  cmocka_unit_test(test_attributes_are_left_out),
        cmocka_unit_test(test_nothing), cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests_name("client_reply", tests, NULL, NULL);
}
