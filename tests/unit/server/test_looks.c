/* Looks at all keys (DBSIZE, KEYS, SCAN, RANDOMKEY) in transactions over several shards: in MULTI, beside what moves
 * values between shards, and in TXN.*. */
#include "server_fixture.h"

#include "server/server_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { SHARDS = 4 };

static const char *const protocols[] = {"2pc", "3pc"};

/* Keys a, b, c, d are in four shards. */
static struct fixture *create(uint64_t seed, int protocol)
{
    return fixture_create_shards(seed, SHARDS, (const char *const[]){"txn-protocol", protocols[protocol], NULL});
}

static void test_in_multi(void **state)
{
    (void)state;
    for (int protocol = 0; protocol < 2; protocol++) {
        struct fixture *fixture = create(6, protocol);
        struct fixture_client *client = fixture_connect(fixture, 0);
        fixture_expect(client, "MULTI\r\nDBSIZE\r\nKEYS *\r\nRANDOMKEY\r\nEXEC\r\nMSET a 1 b 2\r\n",
                       "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n*3\n:0\n*0\n$-1\n+OK\n");
        /* they alone: two rounds of reads */
        fixture_expect(client, "MULTI\r\nDBSIZE\r\nKEYS [ab]\r\nKEYS c\r\nGET a\r\nEXEC\r\n",
                       "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n*4\n:2\n*2\n$1\nb\n$1\na\n*0\n$1\n1\n");
        /* they see what the transaction has done so far */
        fixture_expect(client,
                       "MULTI\r\nDEL a\r\nDBSIZE\r\nMSET c 3 d 4 e 5\r\nDBSIZE\r\nKEYS [a-d]\r\nDEL b c d\r\n"
                       "RANDOMKEY\r\nEXEC\r\n",
                       "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n"
                       "*7\n:1\n:1\n+OK\n:4\n*3\n$1\nb\n$1\nc\n$1\nd\n:3\n$1\ne\n");
        fixture_expect(client, "MULTI\r\nSET x 1\r\nFLUSHALL\r\nDBSIZE\r\nSET b 1\r\nKEYS *\r\nRANDOMKEY\r\nEXEC\r\n",
                       "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n"
                       "*6\n+OK\n+OK\n:0\n+OK\n*1\n$1\nb\n$1\nb\n");
        /* SCAN, of the shard where its cursor is; cursors: position × 4 + shard − 1 */
        fixture_expect(client,
                       "MULTI\r\nSET a 1\r\nSCAN 0\r\nSCAN 1\r\nSCAN 3 TYPE hash\r\nSCAN 3 MATCH a\r\nSCAN x\r\n"
                       "SCAN 0 COUNT\r\nEXEC\r\n",
                       "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n"
                       "*7\n+OK\n*2\n$1\n1\n*1\n$1\nb\n*2\n$1\n2\n*0\n*2\n$1\n0\n*0\n*2\n$1\n0\n*1\n$1\na\n"
                       "-ERR invalid cursor\n-ERR syntax error\n");
        fixture_expect(client, "MULTI\r\nSCAN 0\r\nEXEC\r\nWATCH a\r\nSET a 2\r\nMULTI\r\nDBSIZE\r\nEXEC\r\n",
                       "+OK\n+QUEUED\n*1\n*2\n$1\n1\n*1\n$1\nb\n+OK\n+OK\n+OK\n+QUEUED\n*-1\n");
        fixture_destroy(fixture);
    }
}

#define QUEUED4 "+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n"

/* What stands before a look and is computed at the node is seen by it, and nothing else. */
static void test_beside_moves(void **state)
{
    (void)state;
    for (int protocol = 0; protocol < 2; protocol++) {
        struct fixture *fixture = create(7, protocol);
        struct fixture_client *client = fixture_connect(fixture, 0);
        fixture_expect(client, "MSET a 1 e 5\r\nHSET c f v\r\n", "+OK\n:1\n");
        fixture_expect(client,
                       "MULTI\r\nDBSIZE\r\nRENAME a b\r\nDBSIZE\r\nKEYS [a-d]\r\nCOPY b a\r\nDBSIZE\r\nKEYS a\r\nGET "
                       "a\r\nEXEC\r\n",
                       "+OK\n" QUEUED4 QUEUED4 "*8\n:3\n+OK\n:3\n*2\n$1\nb\n$1\nc\n:1\n:4\n*1\n$1\na\n$1\n1\n");
        /* types, and what is there again */
        fixture_expect(
            client,
            "MULTI\r\nRENAME c d\r\nSCAN 3 TYPE hash\r\nSCAN 2 TYPE hash\r\nSET d x\r\nSCAN 2 TYPE string\r\n"
            "RENAME d c\r\nDEL c\r\nKEYS [cd]\r\nEXEC\r\n",
            "+OK\n" QUEUED4 QUEUED4
            "*8\n+OK\n*2\n$1\n0\n*0\n*2\n$1\n3\n*1\n$1\nd\n+OK\n*2\n$1\n3\n*1\n$1\nd\n+OK\n:1\n*0\n");
        /* around a flush, which is seen as well; a mistake flushes nothing */
        fixture_expect(
            client,
            "MULTI\r\nRENAME a d\r\nFLUSHALL NOW\r\nDBSIZE\r\nFLUSHALL\r\nDBSIZE\r\nMSETNX a 1 d 2\r\nKEYS *\r\n"
            "DEL a\r\nRANDOMKEY\r\nEXEC\r\nDBSIZE\r\n",
            "+OK\n" QUEUED4 QUEUED4
            "+QUEUED\n*9\n+OK\n-ERR syntax error\n:3\n+OK\n:0\n:1\n*2\n$1\nd\n$1\na\n:1\n$1\nd\n:1\n");
        fixture_destroy(fixture);
    }
}

/* In TXN.*: with what was written so far, told at once, and the same at the commit. */
static void test_interactive(void **state)
{
    (void)state;
    for (int protocol = 0; protocol < 2; protocol++) {
        struct fixture *fixture = create(8, protocol);
        struct fixture_client *client = fixture_connect(fixture, 0);
        struct fixture_client *other = fixture_connect(fixture, 1);
        const char *begin = protocol == 0 ? "TXN.BEGIN ID one PROTOCOL 2PC\r\n" : "TXN.BEGIN ID one PROTOCOL 3PC\r\n";
        fixture_expect(client, "MSET a 1 b 2\r\n", "+OK\n");
        fixture_expect(client, begin, "$3\none\n");
        fixture_expect(client, "DBSIZE\r\nRENAME a c\r\nKEYS *\r\nSET d 4\r\nDBSIZE\r\nSCAN 2\r\nSCAN 2 TYPE hash\r\n",
                       ":2\n+OK\n*2\n$1\nb\n$1\nc\n+OK\n:3\n*2\n$1\n3\n*1\n$1\nd\n*2\n$1\n3\n*0\n");
        fixture_expect(client, "DEL b c\r\nRANDOMKEY\r\nFLUSHALL\r\nDBSIZE\r\nSET b x\r\nKEYS *\r\nSCAN x\r\n",
                       ":2\n$1\nd\n+OK\n:0\n+OK\n*1\n$1\nb\n-ERR invalid cursor\n");
        fixture_expect(other, "DBSIZE\r\n", ":2\n");
        fixture_expect(client, "TXN.COMMIT\r\nDBSIZE\r\nMGET a b\r\n", "+OK\n:1\n*2\n$-1\n$1\nx\n");
        fixture_destroy(fixture);
    }
}

/* Whoever writes between the look and the commit is seen: by another look, or by the commit. */
static void test_others_write(void **state)
{
    (void)state;
    struct fixture *fixture = create(9, 0);
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    fixture_expect(client, "TXN.BEGIN ID one\r\nDBSIZE\r\nSET a 1\r\n", "$3\none\n:0\n+OK\n");
    fixture_expect(other, "SET d 1\r\n", "+OK\n");
    fixture_expect(client, "TXN.COMMIT\r\nGET a\r\n", "-TXNABORT a key that it read was written by others\n$-1\n");
    fixture_expect(client, "TXN.BEGIN ID two\r\nDBSIZE\r\n", "$3\ntwo\n:1\n");
    fixture_expect(other, "DEL d\r\n", ":1\n");
    fixture_expect(client, "KEYS *\r\nSET a 1\r\nTXN.ROLLBACK\r\n",
                   "-TXNABORT others have written in a shard that it had looked at; begin it again\n"
                   "-TXNABORT the transaction was not begun or was given up, so this is not executed; TXN.ROLLBACK it "
                   "first\n+OK\n");
    /* what falls due, too */
    fixture_expect(other, "SET d 1 PX 100\r\n", "+OK\n");
    fixture_expect(client, "TXN.BEGIN ID three\r\nDBSIZE\r\nSET a 1\r\n", "$5\nthree\n:1\n+OK\n");
    sim_run_for(fixture->sim, 500 * MS);
    fixture_expect(client, "TXN.COMMIT\r\n", "-TXNABORT a key that it read was written by others\n");
    /* one shard alone is looked at by SCAN; writes elsewhere are none of its business */
    fixture_expect(client, "TXN.BEGIN ID four\r\nSCAN 0\r\nSET a 1\r\n", "$4\nfour\n*2\n$1\n1\n*0\n+OK\n");
    fixture_expect(other, "SET d 1\r\n", "+OK\n");
    fixture_expect(client, "TXN.COMMIT\r\n", "+OK\n");
    /* prepared: all keys of what was looked at stay as they are */
    fixture_expect(client, "TXN.BEGIN ID five\r\nDBSIZE\r\nTXN.PREPARE\r\n", "$4\nfive\n:2\n+PREPARED\n");
    fixture_send(other, "SET b 1\r\n");
    sim_run_for(fixture->sim, 500 * MS);
    assert_string_equal(fixture_received(other), "");
    fixture_expect(client, "TXN.COMMIT\r\n", "+OK\n");
    fixture_expect(other, "DBSIZE\r\n", "+OK\n:3\n");
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_multi),
        cmocka_unit_test(test_beside_moves),
        cmocka_unit_test(test_interactive),
        cmocka_unit_test(test_others_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
