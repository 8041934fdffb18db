/* What is about all keys, over several shards: FLUSHALL, alone, in MULTI and in TXN.*. */
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

static void test_alone(void **state)
{
    (void)state;
    for (int protocol = 0; protocol < 2; protocol++) {
        struct fixture *fixture = create(1, protocol);
        struct fixture_client *client = fixture_connect(fixture, 0);
        fixture_expect(client, "MSET a 1 b 2 c 3 d 4 e 5\r\nFLUSHALL\r\nDBSIZE\r\nMGET a b c d e\r\n",
                       "+OK\n+OK\n:0\n*5\n$-1\n$-1\n$-1\n$-1\n$-1\n");
        fixture_expect(client,
                       "SET a 1\r\nFLUSHDB ASYNC\r\nFLUSHALL\r\nGET a\r\nSET a 2\r\nFLUSHALL SYNC x\r\nGET a\r\n",
                       "+OK\n+OK\n+OK\n$-1\n+OK\n-ERR syntax error\n$1\n2\n");
        fixture_destroy(fixture);
    }
}

static void test_in_multi(void **state)
{
    (void)state;
    for (int protocol = 0; protocol < 2; protocol++) {
        struct fixture *fixture = create(2, protocol);
        struct fixture_client *client = fixture_connect(fixture, 0);
        fixture_expect(client, "MSET a 1 b 2 c 3 d 4\r\n", "+OK\n");
        fixture_expect(client,
                       "MULTI\r\nINCR a\r\nFLUSHALL\r\nFLUSHALL NOW\r\nINCR a\r\nPING\r\nMSET c x e y\r\nDEL b c\r\n"
                       "EXEC\r\n",
                       "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n"
                       "*7\n:2\n+OK\n-ERR syntax error\n:1\n+PONG\n+OK\n:1\n");
        fixture_expect(client, "DBSIZE\r\nMGET a b c d e\r\n", ":2\n*5\n$1\n1\n$-1\n$-1\n$-1\n$1\ny\n");
        fixture_expect(client, "MULTI\r\nFLUSHDB\r\nEXEC\r\nDBSIZE\r\n", "+OK\n+QUEUED\n*1\n+OK\n:0\n");
        fixture_destroy(fixture);
    }
}

/* What moves values between shards runs at the node: what it reads after the flush is nothing, and what it wrote
 * before it is gone. */
static void test_with_values(void **state)
{
    (void)state;
    for (int protocol = 0; protocol < 2; protocol++) {
        struct fixture *fixture = create(3, protocol);
        struct fixture_client *client = fixture_connect(fixture, 0);
        fixture_expect(client, "MSET a 1 b 2 c 3 d 4 e 5\r\n", "+OK\n");
        fixture_expect(
            client, "MULTI\r\nRENAME a b\r\nFLUSHALL\r\nMSETNX c x d y\r\nRENAME a c\r\nCOPY c a\r\nGET e\r\nEXEC\r\n",
            "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n"
            "*6\n+OK\n+OK\n:1\n-ERR no such key\n:1\n$-1\n");
        fixture_expect(client, "MGET a b c d e\r\nDBSIZE\r\n", "*5\n$1\nx\n$-1\n$1\nx\n$1\ny\n$-1\n:3\n");
        fixture_expect(client, "MULTI\r\nRENAME a b\r\nFLUSHALL NOW\r\nEXEC\r\nGET b\r\n",
                       "+OK\n+QUEUED\n+QUEUED\n*2\n+OK\n-ERR syntax error\n$1\nx\n");
        fixture_destroy(fixture);
    }
}

static void test_watched(void **state)
{
    (void)state;
    struct fixture *fixture = create(4, 0);
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    fixture_expect(client, "MSET a 1 b 2\r\nWATCH a none\r\n", "+OK\n+OK\n");
    fixture_expect(other, "FLUSHALL\r\n", "+OK\n");
    fixture_expect(client, "MULTI\r\nSET b 1\r\nEXEC\r\nDBSIZE\r\n", "+OK\n+QUEUED\n*-1\n:0\n");
    fixture_expect(client, "MSET a 1 b 2\r\nWATCH a\r\n", "+OK\n+OK\n");
    fixture_expect(other, "APPEND a x\r\n", ":2\n");
    fixture_expect(client, "MULTI\r\nFLUSHALL\r\nEXEC\r\nDBSIZE\r\n", "+OK\n+QUEUED\n*-1\n:2\n");
    fixture_expect(client, "WATCH a c\r\nMULTI\r\nFLUSHALL\r\nSET c 1\r\nEXEC\r\nDBSIZE\r\n",
                   "+OK\n+OK\n+QUEUED\n+QUEUED\n*2\n+OK\n+OK\n:1\n");
    fixture_destroy(fixture);
}

/* Within TXN.*: kept back until the end, and what is read behind it is nothing. */
static void test_interactive(void **state)
{
    (void)state;
    for (uint32_t shards = 1; shards <= SHARDS; shards += SHARDS - 1) {
        struct fixture *fixture = fixture_create_shards(5, shards, NULL);
        struct fixture_client *client = fixture_connect(fixture, 0);
        struct fixture_client *other = fixture_connect(fixture, 1);
        fixture_expect(client, "MSET a 1 b 2 c 3\r\nTXN.BEGIN ID one\r\nINCR a\r\nFLUSHALL\r\nMGET a b\r\n",
                       "+OK\n$3\none\n:2\n+OK\n*2\n$-1\n$-1\n");
        fixture_expect(client, "SET b new\r\nFLUSHALL NOW\r\nFLUSHDB\r\nINCR b\r\nDBSIZE\r\n",
                       "+OK\n-ERR syntax error\n+OK\n:1\n:1\n");
        fixture_expect(other, "MGET a b c\r\n", "*3\n$1\n1\n$1\n2\n$1\n3\n");
        fixture_expect(client, "TXN.COMMIT\r\nMGET a b c\r\nDBSIZE\r\n", "+OK\n*3\n$-1\n$1\n1\n$-1\n:1\n");
        fixture_expect(client, "TXN.BEGIN ID two\r\nFLUSHALL\r\nTXN.PREPARE\r\nTXN.ROLLBACK\r\nGET b\r\n",
                       "$3\ntwo\n+OK\n+PREPARED\n+OK\n$1\n1\n");
        fixture_expect(client, "TXN.BEGIN ID three\r\nFLUSHALL\r\nTXN.PREPARE\r\n", "$5\nthree\n+OK\n+PREPARED\n");
        fixture_send(other, "SET a waits\r\n");
        sim_run_for(fixture->sim, 500 * MS);
        assert_string_equal(fixture_received(other), "");
        fixture_expect(client, "TXN.COMMIT\r\n", "+OK\n");
        fixture_expect(other, "DBSIZE\r\n", "+OK\n:1\n");
        fixture_destroy(fixture);
    }
}

/* ---- beside others ---- */

enum { WRITERS = 8, READERS = 4, ROUNDS = 60 };

static void send_writes(struct fixture_client *client)
{
    char text[128];
    for (int i = 0; i < ROUNDS; i++) {
        (void)snprintf(text, sizeof(text), "MSET a %d b %d c %d d %d\r\n", i, i, i, i);
        fixture_send(client, text);
    }
}

/* Each look is at four keys that are written together, and flushed together. */
static int look_through(const char *replies, int *ret_empty)
{
    int looks = 0;
    for (const char *at = replies; (at = strstr(at, "*4\n")) != NULL; looks++) {
        at += 3;
        bool absent = strncmp(at, "$-1\n", 4) == 0;
        const char *first = absent ? at : strchr(at, '\n') + 1;
        size_t size = strcspn(first, "\n");
        for (int i = 0; i < 4; i++) {
            const char *value = absent ? at : strchr(at, '\n') + 1;
            assert_int_equal(strcspn(value, "\n"), size);
            assert_memory_equal(value, first, size);
            at = strchr(value, '\n') + 1;
        }
        *ret_empty += absent;
    }
    return looks;
}

/* Nobody sees some shards empty and others not; everybody is answered, and a second attempt gets through. */
static void test_nobody_sees_half_of_it(void **state)
{
    (void)state;
    int empty = 0;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct fixture *fixture = create(seed, seed % 2 == 0);
        fixture_slow_disk(fixture, 2 * MS);
        struct fixture_client *flusher = fixture_connect(fixture, 0);
        for (int i = 1; i <= WRITERS; i++) {
            send_writes(fixture_connect(fixture, i));
        }
        for (int i = 1; i <= READERS; i++) {
            fixture_send_many(fixture_connect(fixture, WRITERS + i), ROUNDS,
                              i % 2 == 0 ? "MGET a b c d\r\n" : "TOUCH a\r\nMGET a b c d\r\n");
        }
        fixture_send_many(flusher, ROUNDS, "FLUSHALL\r\n");
        fixture_wait_lines(flusher, ROUNDS);
        assert_null(strchr(fixture_received(flusher), '-'));
        sim_run_for(fixture->sim, 30 * SECOND);
        for (int i = 1; i <= READERS; i++) {
            assert_int_equal(look_through(fixture_received(&fixture->clients[WRITERS + i]), &empty), ROUNDS);
        }
        assert_int_equal(fixture->server->txn_attempts_most, 2);
        fixture_destroy(fixture);
    }
    assert_in_range(empty, 1, 6 * READERS * ROUNDS - 1);
}

/* Counting all keys beside those who make and remove them four at a time, and never leave it unanswered. */
static void test_a_count_in_a_storm(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct fixture *fixture = create(seed, seed % 2 == 0);
        fixture_slow_disk(fixture, 2 * MS);
        for (int i = 1; i <= WRITERS; i++) {
            struct fixture_client *writer = fixture_connect(fixture, i);
            for (int round = 0; round < ROUNDS; round++) {
                fixture_send(writer, "MSET a 1 b 1 c 1 d 1\r\nDEL a b c d\r\n");
            }
        }
        struct fixture_client *counter = fixture_connect(fixture, 0);
        fixture_send_many(counter, ROUNDS,
                          "MULTI\r\nDBSIZE\r\nEXEC\r\nMULTI\r\nDBSIZE\r\nSET {a}n 1\r\nDEL {a}n\r\nEXEC\r\n");
        sim_run_for(fixture->sim, 60 * SECOND);
        const char *replies = fixture_received(counter);
        int counted = 0;
        for (const char *at = replies; (at = strstr(at, "*1\n:")) != NULL; counted++, at++) {
            assert_true(at[4] == '0' || at[4] == '4');
        }
        for (const char *at = replies; (at = strstr(at, "*3\n:")) != NULL; counted++, at++) {
            assert_true(at[4] == '0' || at[4] == '4');
        }
        assert_int_equal(counted, 2 * ROUNDS);
        assert_int_equal(fixture->server->txn_attempts_most, 2);
        fixture_destroy(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_in_multi),
        cmocka_unit_test(test_with_values),
        cmocka_unit_test(test_watched),
        cmocka_unit_test(test_interactive),
        cmocka_unit_test(test_nobody_sees_half_of_it),
        cmocka_unit_test(test_a_count_in_a_storm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
