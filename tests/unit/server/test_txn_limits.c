/* How large one transaction over shards may be: refused early, clearly, and with nothing executed. */
#include "server_fixture.h"

#include "server/server_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SHARDS = 4 };

/* Keys a, b, c, d are in four shards. */
static struct fixture *create(uint64_t seed)
{
    return fixture_create_shards(seed, SHARDS, (const char *const[]){"txn-protocol", "2pc", NULL});
}

#define QUEUED3 "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n"
#define READS                                                                                                          \
    "-ERR the transaction reads more than 64 MiB of values to move or change them over shards; it was not executed, "  \
    "use less or smaller keys in one\n"

/* What moves values runs at the client's node, and stops as soon as it has made too much, whatever it would come to. */
static void test_values_are_limited_on_the_way(void **state)
{
    struct fixture *fixture = create(1);
    struct fixture_client *client = fixture_connect(fixture, 0);
    (void)state;
    fixture_expect(client, "SET a 1\r\nMULTI\r\nCOPY a b\r\nSETRANGE c 134217728 x\r\nDEL c\r\nEXEC\r\nMGET a b c\r\n",
                   "+OK\n" QUEUED3
                   "-ERR the transaction is larger than one may be (128 MiB of what it reads and writes); it was not "
                   "executed, send less in one\n*3\n$1\n1\n$-1\n$-1\n");
    fixture_expect(client, "MULTI\r\nCOPY a b\r\nSETRANGE c 33000000 x\r\nDEL c\r\nEXEC\r\nMGET a b c\r\n",
                   QUEUED3 "*3\n:1\n:33000001\n:1\n*3\n$1\n1\n$1\n1\n$-1\n");
    fixture_destroy(fixture);
}

static void test_values_that_are_read_are_limited(void **state)
{
    struct fixture *fixture = create(2);
    struct fixture_client *client = fixture_connect(fixture, 0);
    (void)state;
    fixture_expect(client, "SETRANGE a 67108864 x\r\nSET c 1\r\n", ":67108865\n+OK\n");
    fixture_expect(client, "MULTI\r\nSTRLEN a\r\nCOPY c d\r\nSET b 1\r\nEXEC\r\nEXISTS b d\r\n", QUEUED3 READS ":0\n");
    fixture_expect(client, "TXN.BEGIN ID one\r\nSET b 1\r\nSTRLEN a\r\nTXN.ROLLBACK\r\nEXISTS b\r\n",
                   "$3\none\n+OK\n" READS "+OK\n:0\n");
    /* two that are each smaller, at different shards */
    fixture_expect(client, "SETRANGE a2 40000000 x\r\nSETRANGE b2 40000000 x\r\nDEL a\r\n",
                   ":40000001\n:40000001\n:1\n");
    fixture_expect(client, "MULTI\r\nMGET a2 b2\r\nCOPY c d\r\nSET b 1\r\nEXEC\r\nEXISTS b d\r\n",
                   QUEUED3 READS ":0\n");
    fixture_destroy(fixture);
}

/* A shard stops as soon as a part's commands have made too much. */
static void test_a_part_is_limited_on_the_way(void **state)
{
    struct fixture *fixture = create(3);
    struct fixture_client *client = fixture_connect(fixture, 0);
    (void)state;
    fixture_expect(client, "MULTI\r\nSETRANGE a 67108864 x\r\nDEL a\r\nSET b 1\r\nEXEC\r\nEXISTS a b\r\n",
                   QUEUED3 "-ERR the transaction is larger than one may be in a shard (32 MiB, 65536 keys); it was not "
                           "executed, send less\n:0\n");
    fixture_expect(client, "MULTI\r\nSETRANGE a 60000000 x\r\nDEL a\r\nSET b 1\r\nEXEC\r\nEXISTS a b\r\n",
                   QUEUED3 "*3\n:60000001\n:1\n+OK\n:1\n");
    fixture_destroy(fixture);
}

/* A large value goes, whatever its size, with others in other shards. */
static void test_what_is_large_can_be_deleted(void **state)
{
    struct fixture *fixture = create(4);
    struct fixture_client *client = fixture_connect(fixture, 0);
    (void)state;
    fixture_expect(client, "SETRANGE a 200000000 x\r\nMSET b 1 c 1\r\nDEL a b c\r\nDBSIZE\r\n",
                   ":200000001\n+OK\n:3\n:0\n");
    fixture_destroy(fixture);
}

#define TOO_LARGE                                                                                                      \
    "-ERR the transaction is larger than one over several shards may be (65536 keys, 32 MiB); it was not executed, "   \
    "send it in parts\n"

/* Keys k0, k1, …, each with a value where `width` is 2. */
static void send_keys(struct fixture_client *client, const char *name, int count, int width)
{
    struct buffer text;
    char part[64];
    buffer_init(&text);
    (void)snprintf(part, sizeof(part), "*%d\r\n$%zu\r\n%s\r\n", 1 + width * count, strlen(name), name);
    buffer_append_string(&text, part);
    for (int i = 0; i < count; i++) {
        (void)snprintf(part, sizeof(part), "$6\r\nk%05d\r\n%s", i, width == 2 ? "$1\r\nx\r\n" : "");
        buffer_append_string(&text, part);
    }
    buffer_append_byte(&text, '\0');
    fixture_send(client, (const char *)text.data);
    buffer_deinit(&text);
}

/* Over all its shards a transaction has so many keys and bytes, however they are divided; what only reads has not. */
static void test_the_whole_is_limited(void **state)
{
    struct fixture *fixture = create(5);
    struct fixture_client *client = fixture_connect(fixture, 0);
    (void)state;
    send_keys(client, "MSET", 65537, 2);
    fixture_expect(client, "DBSIZE\r\n", TOO_LARGE ":0\n");
    send_keys(client, "MSETNX", 65537, 2);
    fixture_expect(client, "DBSIZE\r\n", TOO_LARGE ":0\n");
    send_keys(client, "MSET", 65536, 2);
    fixture_expect(client, "DBSIZE\r\n", "+OK\n:65536\n");
    send_keys(client, "EXISTS", 65537, 1);
    fixture_expect(client, "", ":65536\n");
    send_keys(client, "DEL", 65537, 1);
    fixture_expect(client, "DBSIZE\r\n", TOO_LARGE ":65536\n");
    /* of what is written: 12 MiB in each of three shards */
    fixture_expect(client,
                   "SETRANGE a 12582912 x\r\nMULTI\r\nCOPY a b\r\nCOPY a c\r\nCOPY a d\r\nEXEC\r\nEXISTS b c d\r\n",
                   ":12582913\n" QUEUED3 TOO_LARGE ":0\n");
    fixture_expect(
        client, "TXN.BEGIN ID one\r\nCOPY a b\r\nCOPY a c\r\nCOPY a d\r\nTXN.COMMIT\r\nEXISTS b c d\r\n",
        "$3\none\n:1\n:1\n:1\n-TXNABORT it is larger than one over several shards may be (65536 keys, 32 MiB "
        "written)\n:0\n");
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_are_limited_on_the_way), cmocka_unit_test(test_values_that_are_read_are_limited),
        cmocka_unit_test(test_a_part_is_limited_on_the_way),  cmocka_unit_test(test_what_is_large_can_be_deleted),
        cmocka_unit_test(test_the_whole_is_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
