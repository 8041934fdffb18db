/* TXN.* of one connection: what becomes of what a client sends behind a step that failed. */
#include "server_fixture.h"

#include "server/server_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { SHARDS = 4 };

#define DOWN "-CLUSTERDOWN the shards of the transaction do not answer; it was not committed, try again\n"
#define EXISTS "-TXNEXISTS a transaction with this id runs or ran already; TXN.STATUS tells what became of it\n"
#define REFUSED                                                                                                        \
    "-TXNABORT the transaction was not begun or was given up, so this is not executed; TXN.ROLLBACK it first\n"
#define HELD                                                                                                           \
    "-BUSY the transaction lock has held a key of this command for too long; the command was not executed, ask "       \
    "TXN.STATUS about it, or try again in a moment\n"
#define FAILED "-TXNABORT it was not begun or was given up, as was said before\n"
#define UNKNOWN                                                                                                        \
    "-UNCERTAIN the shard that decides about the transaction does not answer; ask TXN.STATUS what became of it\n"
#define BY_ITSELF "-ERR this is the transaction of a command or a MULTI; it ends by itself\n"
#define NONE "-ERR no transaction is open on this connection\n"
#define APART "-ERR MULTI and WATCH do not go together with TXN.BEGIN; TXN.COMMIT or TXN.ROLLBACK first\n"

static struct fixture *create(uint64_t seed)
{
    return fixture_create_shards(seed, SHARDS, (const char *const[]){"command-timeout", "1000", NULL});
}

/* The whole transaction in one pipeline: its id ran already, so nothing of it is executed. */
static void test_behind_an_id_that_ran(void **state)
{
    struct fixture *fixture = create(1);
    struct fixture_client *client = fixture_connect(fixture, 0);
    static const char transfer[] = "TXN.BEGIN ID one\r\nINCR a\r\nINCR b\r\nTXN.COMMIT\r\nMGET a b\r\n";
    fixture_expect(client, transfer, "$3\none\n:1\n:1\n+OK\n*2\n$1\n1\n$1\n1\n");
    fixture_expect(client, transfer, EXISTS REFUSED REFUSED FAILED "*2\n$1\n1\n$1\n1\n");
    /* said with its id, the end is that of the first time */
    fixture_expect(client, "TXN.BEGIN ID one\r\nINCR a\r\nTXN.COMMIT one\r\nGET a\r\n", EXISTS REFUSED "+OK\n$1\n1\n");
    fixture_destroy(fixture);
}

/* A node whose log has failed gives its clients up, and may read more of what they had sent. */
static void test_behind_the_end_of_the_node(void **state)
{
    struct fixture *fixture = create(3);
    struct fixture_client *client = fixture_connect(fixture, 0);
    fixture_expect(client, "TXN.BEGIN ID one\r\nSET a 1\r\n", "$3\none\n+OK\n");
    server_give_up(fixture->server);
    fixture_expect(client, "SET a 2\r\nTXN.PREPARE\r\nTXN.ROLLBACK\r\nGET a\r\n", REFUSED FAILED "+OK\n$-1\n");
    fixture_destroy(fixture);
}

/* What ends that state, and what does not. */
static void test_until_the_client_knows(void **state)
{
    struct fixture *fixture = create(2);
    struct fixture_client *client = fixture_connect(fixture, 0);
    fixture_expect(client, "TXN.BEGIN ID one\r\nTXN.COMMIT\r\n", "$3\none\n+OK\n");
    fixture_expect(client, "TXN.BEGIN ID one\r\nPING\r\nMULTI\r\nWATCH a\r\nDBSIZE\r\nTXN.PREPARE\r\nSET a 1\r\n",
                   EXISTS "+PONG\n" APART APART REFUSED FAILED REFUSED);
    fixture_expect(client, "TXN.BEGIN WHAT\r\nSET a 1\r\nTXN.ROLLBACK\r\nTXN.ROLLBACK\r\nGET a\r\n",
                   "-ERR syntax error\n" REFUSED "+OK\n" NONE "$-1\n");
    fixture_expect(client, "TXN.BEGIN ID one\r\nTXN.BEGIN ID two\r\nSET a 1\r\nTXN.COMMIT\r\nGET a\r\n",
                   EXISTS "$3\ntwo\n+OK\n+OK\n$1\n1\n");
    fixture_expect(client, "TXN.BEGIN ID one\r\nRESET\r\nSET a 2\r\n", EXISTS "+RESET\n+OK\n");
    /* RESET is the end of a transaction that is open, too */
    fixture_expect(client, "TXN.BEGIN ID three\r\nSET a 3\r\nRESET\r\nGET a\r\nTXN.COMMIT\r\nTXN.COMMIT three\r\n",
                   "$5\nthree\n+OK\n+RESET\n$1\n2\n" NONE "-TXNABORT it was aborted: its client is gone\n");
    fixture_destroy(fixture);
}

/* What is said wrongly is not begun either, and what was sent behind it is nothing by itself. */
static void test_behind_a_begin_that_is_wrong(void **state)
{
    struct fixture *fixture = create(7);
    struct fixture_client *client = fixture_connect(fixture, 0);
    fixture_expect(client, "TXN.BEGIN TIMEOUT 0\r\nSET a 1\r\nSET b 1\r\nTXN.COMMIT\r\nMGET a b\r\n",
                   "-ERR the timeout is 1 to 86400000 ms\n" REFUSED REFUSED FAILED "*2\n$-1\n$-1\n");
    fixture_expect(client, "TXN.BEGIN ID ~1\r\nSET a 1\r\nTXN.COMMIT\r\nGET a\r\n",
                   "-ERR an id of a client is 1 to 128 bytes that do not begin with ~\n" REFUSED FAILED "$-1\n");
    fixture_expect(client, "WATCH b\r\nTXN.BEGIN\r\nSET a 1\r\nTXN.ROLLBACK\r\nUNWATCH\r\nGET a\r\n",
                   "+OK\n-ERR TXN.BEGIN does not go together with MULTI and WATCH; DISCARD and UNWATCH first\n" REFUSED
                   "+OK\n+OK\n$-1\n");
    /* the one that is open goes on */
    fixture_expect(client, "TXN.BEGIN ID one\r\nTXN.BEGIN ID two\r\nSET a 1\r\nTXN.COMMIT\r\nGET a\r\n",
                   "$3\none\n-ERR this connection has a transaction open; TXN.COMMIT or TXN.ROLLBACK it first\n"
                   "+OK\n+OK\n$1\n1\n");
    fixture_destroy(fixture);
}

/* What it has written is kept back at the client's node, and limited there. */
static void test_one_that_writes_too_much(void **state)
{
    struct fixture *fixture =
        fixture_create_shards(8, SHARDS, (const char *const[]){"client-query-buffer-limit", "1048576", NULL});
    struct fixture_client *client = fixture_connect(fixture, 0);
    fixture_expect(
        client, "TXN.BEGIN ID one\r\nSETRANGE a 1048576 x\r\nSET b 1\r\nTXN.COMMIT\r\nSTRLEN a\r\nGET b\r\n",
        "$3\none\n:1048577\n-ERR the transaction is larger than client-query-buffer-limit; TXN.ROLLBACK it and send "
        "less\n+OK\n:1048577\n$-1\n");
    fixture_destroy(fixture);
}

/* TXN.BEGIN and TXN.PREPARE wait for the disk, longer than they may. */
static void test_behind_what_took_too_long(void **state)
{
    struct fixture *fixture = create(3);
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    fixture_slow_disk(fixture, 20 * MS);
    fixture_expect(client, "SET b 0\r\nTXN.BEGIN ID two\r\nSET a 2\r\n",
                   "+OK\n$3\ntwo\n+OK\n"); /* it is known as slow */
    fixture_slow_disk(fixture, 3 * SECOND);
    fixture_expect(client, "TXN.PREPARE\r\nSET a 2\r\nTXN.COMMIT\r\nGET b\r\n", DOWN REFUSED FAILED "$1\n0\n");
    fixture_expect(other, "TXN.BEGIN ID one\r\nSET a 1\r\nTXN.COMMIT\r\nGET b\r\n", DOWN REFUSED FAILED "$1\n0\n");
    fixture_slow_disk(fixture, MS);
    sim_run_for(fixture->sim, 10 * SECOND);
    /* what was prepared too late is rolled back long before its own time is over */
    fixture_expect(client, "SET a 3\r\nGET a\r\nTXN.COMMIT two\r\n",
                   "+OK\n$1\n3\n-TXNABORT it was aborted: it took too long to prepare\n");
    fixture_destroy(fixture);
}

/* A read inside the transaction waits for another one's outcome. */
static void test_behind_a_read_that_took_too_long(void **state)
{
    struct fixture *fixture = create(4);
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    fixture_expect(other, "TXN.BEGIN ID lock\r\nSET a 1\r\nTXN.PREPARE\r\n", "$4\nlock\n+OK\n+PREPARED\n");
    fixture_expect(client, "TXN.BEGIN ID one\r\nSET b 1\r\nGET a\r\nSET b 2\r\nTXN.COMMIT\r\nGET b\r\n",
                   "$3\none\n+OK\n" DOWN REFUSED FAILED "$-1\n");
    sim_run_for(fixture->sim, 5 * SECOND);
    fixture_expect(client, "TXN.COMMIT one\r\n", "-TXNABORT it was aborted: a shard refused what it reads\n");
    fixture_expect(other, "TXN.COMMIT\r\nGET a\r\n", "+OK\n$1\n1\n");
    fixture_destroy(fixture);
}

/* The same, and the shard refuses the read before its time is over: then nothing of the transaction is committed. */
static void test_behind_a_read_that_was_refused(void **state)
{
    struct fixture *fixture = fixture_create_shards(7, SHARDS, (const char *const[]){"command-timeout", "60000", NULL});
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    fixture_expect(other, "TXN.BEGIN ID lock\r\nSET a 1\r\nTXN.PREPARE\r\n", "$4\nlock\n+OK\n+PREPARED\n");
    fixture_expect(client, "TXN.BEGIN ID one\r\nSET b 1\r\nGET a\r\nSET b 2\r\nTXN.COMMIT\r\nGET b\r\n",
                   "$3\none\n+OK\n" HELD REFUSED FAILED "$-1\n");
    sim_run_for(fixture->sim, SECOND);
    fixture_expect(client, "TXN.COMMIT one\r\n", "-TXNABORT it was aborted: a shard refused what it reads\n");
    fixture_expect(other, "TXN.COMMIT\r\nGET a\r\n", "+OK\n$1\n1\n");
    fixture_destroy(fixture);
}

/* Whatever waits for a key of a prepared transaction, or for all keys, hears in the end whom it waited for. */
static void test_who_waits_hears_for_whom(void **state)
{
    static const char *const commands[] = {
        "SET a 2",      "GET a",          "MGET a b",  "DBSIZE",   "KEYS *",
        "SCAN 0",       "SCAN 1",         "RANDOMKEY", "COPY a b", "MULTI\r\nGET a\r\nEXEC",
        "MSET a 1 b 2", "MSETNX a 1 b 2", "FLUSHALL",  "DEL a b",  "WATCH a",
    };
    struct fixture *fixture = fixture_create_shards(9, SHARDS, (const char *const[]){"command-timeout", "8000", NULL});
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    fixture_expect(
        other, "MSET a 0 b 0 c 0 d 0\r\nTXN.BEGIN ID lock TIMEOUT 3600000\r\nMSET a 1 b 1 c 1 d 1\r\nTXN.PREPARE\r\n",
        "+OK\n$4\nlock\n+OK\n+PREPARED\n");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        fixture_send(client, commands[i]);
        fixture_send(client, "\r\n");
        sim_run_for(fixture->sim, 10 * SECOND);
        const char *said = fixture_received(client);
        bool named = strstr(said, "-BUSY the transaction lock has held") != NULL ||
                     strstr(said, "-BUSY keys of the transaction are held by lock;") != NULL;
        if (!named) {
            fail_msg("%s: %s", commands[i], said);
        }
    }
    fixture_expect(other, "TXN.COMMIT\r\nGET a\r\n", "+OK\n$1\n1\n");
    /* one of TXN.* */
    fixture_expect(client, "UNWATCH\r\n", "+OK\n");
    fixture_expect(client, "TXN.BEGIN ID two\r\nGET a\r\n", "$3\ntwo\n$1\n1\n");
    fixture_expect(other, "TXN.BEGIN ID lock2\r\nSET a 1\r\nTXN.PREPARE\r\n", "$5\nlock2\n+OK\n+PREPARED\n");
    fixture_expect(client, "TXN.COMMIT\r\n", "-TXNABORT the transaction lock2 holds one of its keys\n");
    fixture_destroy(fixture);
}

/* An id that Cohort made, as TXN.LIST tells it. */
static void find_id(struct fixture_client *client, char id[static 128])
{
    char cursor[32] = "0";
    do {
        char list[64];
        (void)snprintf(list, sizeof(list), "TXN.LIST CURSOR %s\r\n", cursor);
        fixture_send(client, list);
        sim_run_for(client->fixture->sim, SECOND);
        const char *text = fixture_received(client);
        assert_int_equal(sscanf(text, "*2 $%*d %31s", cursor), 1);
        for (const char *at = text; (at = strstr(at, "\n~")) != NULL; at++) {
            (void)snprintf(id, 128, "%.*s", (int)strcspn(at + 1, "\n"), at + 1);
        }
    } while (strcmp(cursor, "0") != 0);
}

/* A command over several shards is a transaction with an id, too; its node alone says COMMIT, and may rely on that. */
static void test_what_ends_by_itself(void **state)
{
    struct fixture *fixture = create(5);
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    char id[128] = "";
    char text[512];
    fixture_expect(client, "MSET a 1 b 2\r\n", "+OK\n");
    find_id(other, id);
    assert_int_equal(id[0], '~');
    (void)snprintf(text, sizeof(text), "TXN.COMMIT %s\r\nTXN.ROLLBACK %s\r\n", id, id);
    fixture_expect(other, text, BY_ITSELF BY_ITSELF);
    /* one of TXN.BEGIN has an id of the same form, and is finished by it */
    fixture_send(client, "TXN.BEGIN\r\n");
    fixture_wait_lines(client, 2);
    (void)snprintf(id, sizeof(id), "%s", strchr(fixture_received(client), '~'));
    id[strcspn(id, "\n")] = '\0';
    fixture_expect(client, "SET a 3\r\nSET b 3\r\nTXN.PREPARE\r\n", "+OK\n+OK\n+PREPARED\n");
    (void)snprintf(text, sizeof(text), "TXN.COMMIT %s\r\nMGET a b\r\n", id);
    fixture_expect(other, text, "+OK\n*2\n$1\n3\n$1\n3\n");
    fixture_destroy(fixture);
}

/* One says TXN.COMMIT, the other TXN.ROLLBACK, so much later: one of them has its way, at all shards, and the other
 * hears of it. Which one? */
static bool commit_against_rollback(const char *protocol, int64_t later_ns, bool prepared)
{
    struct fixture *fixture = create(6);
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    char text[256];
    (void)snprintf(text, sizeof(text), "TXN.BEGIN ID one PROTOCOL %s\r\nSET a 1\r\nSET b 1\r\nSET c 1\r\n", protocol);
    fixture_expect(client, text, "$3\none\n+OK\n+OK\n+OK\n");
    if (prepared) {
        fixture_expect(client, "TXN.PREPARE\r\n", "+PREPARED\n");
    }
    fixture_slow_disk(fixture, 10 * MS);
    fixture_expect(other, "SET d 0\r\n", "+OK\n"); /* it is known as slow: what comes meanwhile is looked at */
    bool first = later_ns >= 0;
    fixture_send(first ? client : other, first ? "TXN.COMMIT\r\n" : "TXN.ROLLBACK one\r\n");
    sim_run_for(fixture->sim, first ? later_ns : -later_ns);
    fixture_send(first ? other : client, first ? "TXN.ROLLBACK one\r\n" : "TXN.COMMIT\r\n");
    fixture_wait_lines(client, 1);
    fixture_wait_lines(other, 1);
    const char *said = fixture_received(client);
    bool committed = strcmp(said, "+OK\n") == 0;
    assert_true(committed || strncmp(said, "-TXNABORT", 9) == 0);
    said = fixture_received(other);
    assert_true(strncmp(said, committed ? "-" : "+OK", committed ? 1 : 3) == 0);
    sim_run_for(fixture->sim, 10 * SECOND);
    fixture_expect(other, "MGET a b c\r\n", committed ? "*3\n$1\n1\n$1\n1\n$1\n1\n" : "*3\n$-1\n$-1\n$-1\n");
    fixture_destroy(fixture);
    return committed;
}

static void test_commit_against_rollback(void **state)
{
    for (int variant = 0; variant < 4; variant++) {
        int committed = 0;
        int runs = 0;
        for (int64_t later_ns = -30 * MS; later_ns <= 60 * MS; later_ns += MS) {
            committed += commit_against_rollback((variant & 1) != 0 ? "3PC" : "2PC", later_ns, (variant & 2) != 0);
            runs++;
        }
        assert_in_range(committed, 1, runs - 1);
    }
}

/* ROLLBACK takes longer than it may, and another connection has said COMMIT before: nobody is told that it was not. */
static void test_a_rollback_that_took_too_long(void **state)
{
    struct fixture *fixture = create(8);
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    fixture_expect(client, "TXN.BEGIN ID one PROTOCOL 2PC\r\nSET a 1\r\nSET b 1\r\nTXN.PREPARE\r\n",
                   "$3\none\n+OK\n+OK\n+PREPARED\n");
    fixture_slow_disk(fixture, 20 * MS);
    fixture_expect(other, "TXN.COMMIT one\r\n", "+OK\n"); /* and the disk is known as slow */
    fixture_slow_disk(fixture, 3 * SECOND);
    fixture_expect(client, "TXN.ROLLBACK\r\nTXN.COMMIT\r\n", UNKNOWN NONE);
    fixture_slow_disk(fixture, MS);
    sim_run_for(fixture->sim, 5 * SECOND);
    fixture_expect(client, "MGET a b\r\n", "*2\n$1\n1\n$1\n1\n");
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_behind_an_id_that_ran),          cmocka_unit_test(test_until_the_client_knows),
        cmocka_unit_test(test_behind_a_begin_that_is_wrong),   cmocka_unit_test(test_one_that_writes_too_much),
        cmocka_unit_test(test_behind_what_took_too_long),      cmocka_unit_test(test_behind_a_read_that_took_too_long),
        cmocka_unit_test(test_behind_a_read_that_was_refused), cmocka_unit_test(test_who_waits_hears_for_whom),
        cmocka_unit_test(test_a_rollback_that_took_too_long),  cmocka_unit_test(test_what_ends_by_itself),
        cmocka_unit_test(test_commit_against_rollback),        cmocka_unit_test(test_behind_the_end_of_the_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
