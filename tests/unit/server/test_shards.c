/* A server with several shards: which shard a command goes to, replies made of the replies of all, transactions. */
#include "server/route_refuse.h"
#include "server_fixture.h"

#include "base/key_slot.h"
#include "cluster/slot.h"
#include "server/gather.h"
#include "server/server_state.h"
#include "server/txn_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SHARDS = 4 };

static uint32_t shard_of(const char *key) { return slot_shard(key_slot(slice_from_string(key)), SHARDS); }

/* Some keys, and where they are. */
static const char *const key_of[SHARDS + 1] = {NULL, "b", "c", "d", "a"};

static void test_the_keys_of_this_file(void **state)
{
    for (uint32_t shard = 1; shard <= SHARDS; shard++) {
        assert_int_equal(shard_of(key_of[shard]), shard);
    }
}

/* Every command at the machine has keys or is about the whole cluster; those of one key always have it. */
static void test_each_command_has_its_way(void **state)
{
    for (uint16_t id = 1; id < COMMAND_MAXIMUM; id++) {
        const struct command_spec *spec = command_by_id(id);
        if (spec == NULL || spec->place != COMMAND_AT_MACHINE || spec->internal || spec->id == COMMAND_EXEC) {
            continue;
        }
        assert_int_equal(spec->first_key == 0, gather_takes(spec) != txn_plan_flushes(spec));
        assert_int_equal(gather_takes(spec), txn_plan_looks(spec));
        assert_true(spec->first_key == 0 || spec->first_key < abs(spec->arity) || spec->key_count != 0);
    }
}

static void test_refusals(void **state)
{
    static const struct {
        enum status status;
        const char *code;
        bool executed;
    } refusals[] = {
        {STATUS_FULL, "BUSY ", false},
        {STATUS_NO_LEADER, "CLUSTERDOWN ", false},
        {STATUS_NOT_LEADER, "CLUSTERDOWN ", false},
        {STATUS_CLOSED, "CLUSTERDOWN ", false},
        {STATUS_NOSPACE, "MISCONF ", false},
        {STATUS_TOO_LARGE, "ERR ", false},
        {STATUS_IO, "MISCONF ", false},
        {STATUS_UNCERTAIN, "UNCERTAIN ", true},
        {STATUS_EXECUTED, "UNCERTAIN ", true},
    };
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        const char *text = route_refusal(refusals[i].status, false);
        assert_memory_equal(text, refusals[i].code, strlen(refusals[i].code));
        assert_int_equal(strstr(text, "not executed") == NULL, refusals[i].executed);
        assert_memory_not_equal(route_refusal(refusals[i].status, true), "UNCERTAIN", 9);
    }
}

static void test_keys_of_several_shards(void **state)
{
    struct fixture *fixture = fixture_create_shards(1, SHARDS, NULL);
    struct fixture_client *client = fixture_connect(fixture, 0);
    fixture_expect(client, "MSET {a}1 x {a}2 y\r\nMGET {a}1 {a}2\r\nSET b 1\r\nGET b\r\n",
                   "+OK\n*2\n$1\nx\n$1\ny\n+OK\n$1\n1\n");
    fixture_expect(client, "MSET a x b y c z\r\n", "+OK\n");
    fixture_expect(client, "MGET b d a c a\r\nEXISTS a b c d a\r\nTOUCH b d\r\n",
                   "*5\n$1\ny\n$-1\n$1\nx\n$1\nz\n$1\nx\n:4\n:1\n");
    fixture_expect(client, "RENAME a d\r\nRENAMENX d b\r\nCOPY d a\r\nMSETNX a 1 e 2\r\nGET e\r\n",
                   "+OK\n:0\n:1\n:0\n$-1\n");
    fixture_expect(client, "DEL a b c d\r\nUNLINK a b\r\nDBSIZE\r\n", ":4\n:0\n:2\n");
    fixture_expect(client, "MSET a 1 b\r\nRENAME a b\r\n",
                   "-ERR wrong number of arguments for 'mset' command\n-ERR no such key\n");
    fixture_destroy(fixture);
}

/* Replies come in order whichever shard answers first, and a read sees the writes before it. */
static void test_pipelines_over_shards(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct fixture *fixture = fixture_create_shards(seed, SHARDS, NULL);
        fixture_slow_disk(fixture, (int64_t)(seed % 3) * 20 * MS);
        struct fixture_client *client = fixture_connect(fixture, 0);
        fixture_expect(
            client,
            "SET a 1\r\nGET b\r\nINCR a\r\nSET b x\r\nDBSIZE\r\nGET a\r\nGET b\r\nDEL a\r\nDBSIZE\r\nPING\r\n"
            "FLUSHALL\r\nGET b\r\nSET c 1\r\nDBSIZE\r\nKEYS *\r\nRANDOMKEY\r\nSCAN 1\r\n",
            "+OK\n$-1\n:2\n+OK\n:2\n$1\n2\n$1\nx\n:1\n:1\n+PONG\n+OK\n$-1\n+OK\n:1\n*1\n$1\nc\n$1\nc\n"
            "*2\n$1\n2\n*1\n$1\nc\n");
        fixture_destroy(fixture);
    }
}

static void test_gathers(void **state)
{
    struct fixture *fixture = fixture_create_shards(2, SHARDS, NULL);
    struct fixture_client *client = fixture_connect(fixture, 0);
    fixture_expect(client, "DBSIZE\r\nKEYS *\r\nRANDOMKEY\r\nSCAN 0\r\nFLUSHALL\r\nHELLO 9\r\n",
                   ":0\n*0\n$-1\n*2\n$1\n1\n*0\n+OK\n-NOPROTO unsupported protocol version\n");
    fixture_expect(client, "SET a 1\r\nSET b 2\r\nSET c 3\r\nSET d 4\r\n", "+OK\n+OK\n+OK\n+OK\n");
    fixture_expect(client, "DBSIZE\r\nKEYS *\r\nKEYS [ab]\r\n",
                   ":4\n*4\n$1\nb\n$1\nc\n$1\nd\n$1\na\n*2\n$1\nb\n$1\na\n");
    /* each shard in its turn; cursors: position × 4 + shard − 1 */
    fixture_expect(client, "SCAN 0\r\nSCAN 1\r\nSCAN 2\r\nSCAN 3\r\n",
                   "*2\n$1\n1\n*1\n$1\nb\n*2\n$1\n2\n*1\n$1\nc\n*2\n$1\n3\n*1\n$1\nd\n*2\n$1\n0\n*1\n$1\na\n");
    fixture_expect(client, "SCAN x\r\nSCAN 0 COUNT\r\nFLUSHALL NOW\r\nFLUSHDB ASYNC\r\nDBSIZE\r\n",
                   "-ERR invalid cursor\n-ERR syntax error\n-ERR syntax error\n+OK\n:0\n");
    fixture_expect(client, "SET a 1\r\nCLIENT REPLY SKIP\r\nDBSIZE\r\nCLIENT REPLY SKIP\r\nFLUSHALL\r\nDBSIZE\r\n",
                   "+OK\n:0\n");
    fixture_destroy(fixture);
}

/* Large shards give more keys, and every key has its turn. */
static void test_random_keys(void **state)
{
    struct fixture *fixture = fixture_create_shards(3, SHARDS, NULL);
    struct fixture_client *client = fixture_connect(fixture, 0);
    char text[64];
    for (int i = 0; i < 30; i++) {
        (void)snprintf(text, sizeof(text), "SET {a}%d 1\r\n", i);
        fixture_send(client, text);
    }
    fixture_send(client, "SET b 1\r\n");
    fixture_wait_lines(client, 31);
    (void)fixture_received(client);
    fixture_send_many(client, 1000, "RANDOMKEY\r\n");
    fixture_wait_lines(client, 2000);
    int seen[2] = {0};
    for (const char *at = fixture_received(client); at != NULL && *at != '\0'; at = strchr(at + 1, '$')) {
        const char *key = strchr(at, '\n') + 1;
        assert_true(*key == '{' || *key == 'b');
        seen[*key == 'b']++;
    }
    assert_int_equal(seen[0] + seen[1], 1000);
    assert_in_range(seen[1], 10, 80); /* a thirtieth, not a half */
    fixture_destroy(fixture);
}

static void test_transactions(void **state)
{
    struct fixture *fixture = fixture_create_shards(4, SHARDS, NULL);
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    fixture_expect(client, "MULTI\r\nSET {d}1 1\r\nPING\r\nINCR {d}1\r\nEXEC\r\nGET {d}1\r\n",
                   "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n*3\n+OK\n+PONG\n:2\n$1\n2\n");
    fixture_expect(client, "MULTI\r\nSET a 1\r\nPING\r\nMGET a b\r\nINCR b\r\nEXEC\r\nEXEC\r\nDBSIZE\r\n",
                   "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n*4\n+OK\n+PONG\n*2\n$1\n1\n$-1\n:1\n"
                   "-ERR EXEC without MULTI\n:3\n");
    fixture_expect(client, "WATCH a\r\nMULTI\r\nSET b 2\r\nEXEC\r\nGET b\r\n", "+OK\n+OK\n+QUEUED\n*1\n+OK\n$1\n2\n");
    fixture_expect(client, "WATCH a b c\r\n", "+OK\n");
    fixture_expect(other, "DEL a\r\nSET a 1\r\n", ":1\n+OK\n"); /* the same again is a change */
    fixture_expect(client, "MULTI\r\nSET b 3\r\nEXEC\r\nGET b\r\n", "+OK\n+QUEUED\n*-1\n$1\n2\n");
    fixture_expect(client, "MULTI\r\nSET b x\r\nINCR b\r\nRENAME b a\r\nGET a\r\nEXEC\r\n",
                   "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n+QUEUED\n*4\n+OK\n-ERR value is not an integer or out of "
                   "range\n+OK\n$1\nx\n");
    fixture_expect(client, "DEL a b\r\n", ":1\n");
    fixture_expect(client, "MULTI\r\nEXEC\r\nMULTI\r\nPING\r\nEXEC\r\n", "+OK\n*0\n+OK\n+QUEUED\n*1\n+PONG\n");
    /* a watched key that changes, in a shard other than the first */
    fixture_expect(client, "WATCH d {d}x\r\nGET d\r\n", "+OK\n$-1\n");
    fixture_expect(other, "SET d 1\r\n", "+OK\n");
    fixture_expect(client, "MULTI\r\nSET d 2\r\nEXEC\r\nGET d\r\n", "+OK\n+QUEUED\n*-1\n$1\n1\n");
    fixture_expect(client, "WATCH d\r\nMULTI\r\nEXEC\r\nWATCH d\r\nMULTI\r\nPING\r\nEXEC\r\n",
                   "+OK\n+OK\n*0\n+OK\n+OK\n+QUEUED\n*1\n+PONG\n");
    fixture_destroy(fixture);
}

/* ---- nobody starves ---- */

enum { STORM_KEYS = 100, STORM_WRITERS = 24, STORM_WRITES = 400, STORM_READS = 8 };

/* Each client writes two keys at a time, whichever they are, one transaction after the other. */
static void begin_storm(struct fixture *fixture, uint64_t seed)
{
    struct prng prng;
    char text[64];
    prng_seed(&prng, seed);
    fixture_slow_disk(fixture, 2 * MS);
    for (int client = 1; client <= STORM_WRITERS; client++) {
        struct fixture_client *writer = fixture_connect(fixture, client);
        for (int i = 0; i < STORM_WRITES; i++) {
            unsigned one = prng_next(&prng) % STORM_KEYS;
            unsigned other = (one + 1 + prng_next(&prng) % (STORM_KEYS - 1)) % STORM_KEYS;
            (void)snprintf(text, sizeof(text), "MSET k:%u %d k:%u %d\r\n", one, i, other, i);
            fixture_send(writer, text);
        }
    }
    fixture_wait_lines(&fixture->clients[1], 5);
}

/* It still rages; and with locks that are waited for, no transaction needed a third attempt. */
static void end_storm(struct fixture *fixture)
{
    for (int client = 1; client <= STORM_WRITERS; client++) {
        assert_null(strchr(fixture_received(&fixture->clients[client]), '-'));
    }
    fixture_wait_lines(&fixture->clients[1], 1);
    assert_int_equal(fixture->server->txn_attempts_most, 2);
    fixture_destroy(fixture);
}

/* The command with every key, each followed by what goes with it. */
static void send_with_keys(struct fixture_client *client, const char *before, const char *each, const char *behind)
{
    char text[STORM_KEYS * 8 + 64];
    int size = snprintf(text, sizeof(text), "%s", before);
    for (int i = 0; i < STORM_KEYS; i++) {
        size += snprintf(text + size, sizeof(text) - (size_t)size, " k:%d%s", i, each);
    }
    (void)snprintf(text + size, sizeof(text) - (size_t)size, "\r\n%s", behind);
    fixture_send(client, text);
}

/* Who reads every key of every shard is answered while others write them all the time. */
static void test_a_reader_in_a_storm(void **state)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct fixture *fixture = fixture_create_shards(seed, SHARDS, NULL);
        struct fixture_client *reader = fixture_connect(fixture, 0);
        send_with_keys(reader, "MSET", " 0", "");
        begin_storm(fixture, seed);
        for (int i = 0; i < STORM_READS / 2; i++) {
            send_with_keys(reader, "MGET", "", "");
            send_with_keys(reader, "MULTI\r\nMGET", "", "EXEC\r\n");
        }
        fixture_wait_lines(reader, 1 + STORM_READS / 2 * (1 + 4) + STORM_READS * STORM_KEYS * 2);
        assert_null(strchr(fixture_received(reader), '-'));
        end_storm(fixture);
    }
}

/* Commands that read in one shard what they write in another, of keys that others write all the time. */
static void test_values_in_a_storm(void **state)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct fixture *fixture = fixture_create_shards(seed, SHARDS, NULL);
        struct fixture_client *client = fixture_connect(fixture, 0);
        begin_storm(fixture, seed);
        for (int i = 0; i < STORM_READS; i++) {
            send_with_keys(client, "MSETNX", " 1", "");
            fixture_send(client, "COPY k:1 k:2 REPLACE\r\nMULTI\r\nRENAME k:3 k:4\r\nCOPY k:5 k:3\r\nEXEC\r\n");
        }
        fixture_wait_lines(client, STORM_READS * (1 + 1 + 3 + 3));
        assert_null(strstr(fixture_received(client), "-BUSY"));
        end_storm(fixture);
    }
}

/* TXN.*: the commands of one connection belong to it, and nobody sees them before the end. */
static void test_interactive(void **state)
{
    struct fixture *fixture = fixture_create_shards(5, SHARDS, NULL);
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    fixture_expect(client, "TXN.BEGIN ID one\r\nSET a 1\r\nSET b 2\r\nMGET a b c\r\nTXN.COMMIT x y\r\n",
                   "$3\none\n+OK\n+OK\n*3\n$1\n1\n$1\n2\n$-1\n-ERR syntax error\n");
    fixture_expect(other, "MGET a b\r\nTXN.BEGIN ID one\r\nTXN.ROLLBACK\r\n",
                   "*2\n$-1\n$-1\n-TXNEXISTS a transaction with this id runs or ran already; TXN.STATUS tells what "
                   "became of it\n+OK\n");
    fixture_expect(client, "TXN.COMMIT\r\nMGET a b\r\n", "+OK\n*2\n$1\n1\n$1\n2\n");
    fixture_expect(client, "TXN.BEGIN ID one\r\nTXN.COMMIT one\r\nTXN.ROLLBACK one\r\n",
                   "-TXNEXISTS a transaction with this id runs or ran already; TXN.STATUS tells what became of it\n"
                   "+OK\n-ERR the transaction is committed already\n");
    /* what it read is changed by others before it is prepared */
    fixture_expect(client, "TXN.BEGIN ID two\r\nGET a\r\nSET b 3\r\n", "$3\ntwo\n$1\n1\n+OK\n");
    fixture_expect(other, "SET a 9\r\n", "+OK\n");
    fixture_expect(client, "GET a\r\nTXN.COMMIT\r\nGET b\r\nTXN.ROLLBACK\r\n",
                   "$1\n1\n-TXNABORT a key that it read was written by others\n$1\n2\n"
                   "-ERR no transaction is open on this connection\n");
    /* prepared, and finished by its id from another connection */
    const char *const protocols[] = {"2PC", "3PC"};
    for (int i = 0; i < 2; i++) {
        char text[256];
        (void)snprintf(text, sizeof(text), "TXN.BEGIN ID p%s PROTOCOL %s\r\nSET a %s\r\nRENAME b c\r\nTXN.PREPARE\r\n",
                       protocols[i], protocols[i], protocols[i]);
        fixture_send(client, text);
        fixture_wait_lines(client, 5);
        assert_non_null(strstr(fixture_received(client), "+OK\n+OK\n+PREPARED\n"));
        (void)snprintf(text, sizeof(text), "TXN.COMMIT p%s\r\nMGET a b c\r\nRENAME c b\r\n", protocols[i]);
        fixture_send(other, text);
        (void)snprintf(text, sizeof(text), "+OK\n*3\n$3\n%s\n$-1\n$1\n2\n+OK\n", protocols[i]);
        fixture_expect(other, "", text);
        fixture_expect(client, "TXN.COMMIT\r\n", "+OK\n");
    }
    fixture_expect(
        client, "TXN.BEGIN ID three\r\nSET a 3\r\nTXN.PREPARE\r\nGET a\r\n",
        "$5\nthree\n+OK\n+PREPARED\n-ERR the transaction is prepared; TXN.COMMIT or TXN.ROLLBACK it first\n");
    fixture_expect(other, "TXN.ROLLBACK three\r\nGET a\r\nTXN.COMMIT nobody\r\n",
                   "+OK\n$3\n3PC\n-TXNABORT no transaction with this id is known\n");
    fixture_expect(client, "TXN.COMMIT\r\n", "-TXNABORT it was aborted: rolled back\n");
    fixture_destroy(fixture);
}

/* WATCH, and all that follows, behind writes that wait for the disk. */
static void test_watch_in_a_pipeline(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct fixture *fixture = fixture_create_shards(seed, 1 + (seed % 2) * 3, NULL);
        struct fixture_client *client = fixture_connect(fixture, 0);
        struct fixture_client *other = fixture_connect(fixture, 1);
        fixture_slow_disk(fixture, (int64_t)(seed % 5) * 10 * MS);
        fixture_expect(client,
                       "SET a 1\r\nWATCH a\r\nMULTI\r\nINCR a\r\nEXEC\r\nWATCH a\r\nSET a 5\r\nMULTI\r\nINCR "
                       "a\r\nEXEC\r\nGET a\r\n",
                       "+OK\n+OK\n+OK\n+QUEUED\n*1\n:2\n+OK\n+OK\n+OK\n+QUEUED\n*-1\n$1\n5\n");
        fixture_expect(client,
                       "INCR a\r\nWATCH a\r\nUNWATCH\r\nINCR a\r\nMULTI\r\nGET a\r\nEXEC\r\nINCR a\r\nWATCH "
                       "a\r\nRESET\r\nINCR a\r\nMULTI\r\nGET a\r\nEXEC\r\n",
                       ":6\n+OK\n+OK\n:7\n+OK\n+QUEUED\n*1\n$1\n7\n:8\n+OK\n+RESET\n:9\n+OK\n+QUEUED\n*1\n$1\n9\n");
        fixture_expect(client, "INCR a\r\nCLIENT REPLY SKIP\r\nWATCH a\r\n", ":10\n");
        fixture_expect(other, "PING\r\nINCR a\r\n", "+PONG\n:11\n");
        fixture_expect(client, "MULTI\r\nGET a\r\nEXEC\r\n", "+OK\n+QUEUED\n*-1\n");
        fixture_destroy(fixture);
    }
}

/* Replies of all shards together are output of the client: one that does not take it is closed, and nothing is lost
 * when a client goes while shards still owe it parts. */
static void test_large_and_lost_gathers(void **state)
{
    struct fixture *fixture =
        fixture_create_shards(6, SHARDS, (const char *const[]){"client-output-buffer-limit", "1mb", NULL});
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    char text[1200];
    for (int i = 0; i < 2000; i++) {
        (void)snprintf(text, sizeof(text), "SET %01000d 1\r\n", i);
        fixture_send(client, text);
    }
    fixture_wait_lines(client, 2000);
    (void)fixture_received(client);
    fixture_slow_disk(fixture, 500 * MS);
    fixture_send(client, "INCR {a}n\r\nINCR {b}n\r\nKEYS *\r\nFLUSHALL\r\nDBSIZE\r\n");
    sim_run_for(fixture->sim, 20 * MS);
    fixture_send(other, "INCR {c}n\r\nINCR {d}n\r\nKEYS *\r\nFLUSHALL\r\nRANDOMKEY\r\nWATCH a\r\n");
    sim_run_for(fixture->sim, 100 * MS);
    fixture_disconnect(other);
    sim_run_for(fixture->sim, 10 * SECOND);
    assert_true(client->ended);
    /* what waited for the gathers, FLUSHALL, went with them */
    fixture_expect(fixture_connect(fixture, 2), "DBSIZE\r\nINFO errorstats\r\n", ":2004\n$14\n# Errorstats\n\n");
    fixture_destroy(fixture);
}

/* A disk that hangs: each waiting command is answered in time, and the parts that come later find nobody. */
static void test_a_stuck_disk(void **state)
{
    struct fixture *fixture = fixture_create_shards(7, SHARDS, (const char *const[]){"command-timeout", "1000", NULL});
    struct fixture_client *client = fixture_connect(fixture, 0);
    fixture_slow_disk(fixture, 20 * MS);
    fixture_expect(client, "SET a 1\r\n", "+OK\n"); /* now the node knows that it is slow */
    fixture_slow_disk(fixture, 5 * SECOND);
    fixture_send(client, "INCR b\r\nFLUSHALL\r\nINCR a\r\nWATCH a\r\nMULTI\r\nINCR a\r\nEXEC\r\nDBSIZE\r\n");
    fixture_wait_lines(client, 8);
    const char *text = fixture_received(client);
    assert_memory_equal(text, "-UNCERTAIN ", 11);
    assert_non_null(strstr(text, "-EXECABORT Transaction discarded because a WATCH before it failed"));
    int uncertain = 0;
    for (const char *at = text; (at = strstr(at, "-UNCERTAIN ")) != NULL; at++) {
        uncertain++;
    }
    assert_int_equal(uncertain, 2); /* both INCR: the WATCH changes nothing, and FLUSHALL was not decided */
    assert_non_null(strstr(text, "-CLUSTERDOWN the shards of the transaction did not answer in time"));
    sim_run_for(fixture->sim, 30 * SECOND);
    (void)fixture_received(client);
    fixture_slow_disk(fixture, MS);
    /* the flush is given up before its home votes, so the second INCR waits for no lock there */
    fixture_expect(client, "GET a\r\nGET b\r\nDBSIZE\r\n", "$1\n2\n$1\n1\n:2\n");
    fixture_destroy(fixture);
}

/* However many gathers a client sends, what they ask of the shards is bounded, and all are answered. */
static void test_a_flood_of_gathers(void **state)
{
    struct fixture *fixture = fixture_create_shards(10, 256, NULL);
    struct fixture_client *client = fixture_connect(fixture, 0);
    fixture_slow_disk(fixture, 20 * MS);
    fixture_expect(client, "INCR a\r\n", ":1\n");
    fixture_slow_disk(fixture, SECOND);
    fixture_send(client, "INCR a\r\n");
    fixture_send_many(client, 3000, "DBSIZE\r\n");
    fixture_send(client, "FLUSHALL\r\nINCR a\r\n");
    sim_run_for(fixture->sim, 500 * MS);
    struct shard_stats stats = {0};
    server_shard_stats(fixture->server, &stats);
    assert_in_range(stats.pending_bytes, 1, 8 << 20); /* 3000 × 256 requests are more */
    fixture_wait_lines(client, 3003);
    const char *text = fixture_received(client);
    assert_memory_equal(text, ":2\n:1\n:1\n", 9);
    assert_string_equal(text + strlen(text) - 10, ":1\n+OK\n:1\n");
    fixture_destroy(fixture);
}

static void test_shutdown_answers_what_waits(void **state)
{
    struct fixture *fixture = fixture_create_shards(8, SHARDS, NULL);
    struct fixture_client *client = fixture_connect(fixture, 0);
    fixture_expect(client, "SET a 1\r\n", "+OK\n");
    fixture_slow_disk(fixture, 500 * MS);
    fixture_send(client, "INCR b\r\nFLUSHALL\r\nDBSIZE\r\nWATCH a\r\nMULTI\r\nINCR a\r\nEXEC\r\nKEYS *\r\n");
    sim_run_for(fixture->sim, 50 * MS);
    server_shutdown(fixture->server);
    fixture_wait_lines(client, 10);
    assert_string_equal(fixture_received(client), ":1\n+OK\n:0\n+OK\n+OK\n+QUEUED\n*1\n:1\n*1\n$1\na\n");
    sim_run_for(fixture->sim, SECOND);
    assert_true(fixture->stopped);
    assert_int_equal(fixture->stop_status, STATUS_OK);
    fixture_destroy(fixture);
}

/* The node ends while parts are on their way: nothing is left behind (the sanitizers look). */
static void test_the_end_amid_gathers(void **state)
{
    struct fixture *fixture = fixture_create_shards(9, SHARDS, NULL);
    struct fixture_client *client = fixture_connect(fixture, 0);
    fixture_slow_disk(fixture, 5 * SECOND);
    fixture_send(client, "INCR b\r\nFLUSHALL\r\nWATCH a\r\nKEYS *\r\nMULTI\r\nPING\r\nINCR a\r\nEXEC\r\n");
    sim_run_for(fixture->sim, 50 * MS);
    fixture_kill(fixture);
    fixture_start(fixture);
    fixture_expect(fixture_connect(fixture, 1), "DBSIZE\r\n", ":1\n");
    fixture_destroy(fixture);
}

/* What goes over several shards waits for their disks: the slow log has all of that time, whatever it was. */
static void test_slow_transactions(void **state)
{
    static const char *const shown[] = {
        "*5\n$4\nMSET\n$1\na\n$1\n1\n",
        "*1\n$4\nEXEC\n",
        "*2\n$3\nGET\n$1\na\n",
        "*1\n$10\nTXN.COMMIT\n",
    };
    struct fixture *fixture = fixture_create_shards(8, SHARDS, NULL);
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    fixture_slow_disk(fixture, 20 * MS);
    fixture_expect(client, "CLIENT SETNAME me\r\nSET a 0\r\nSLOWLOG LEN\r\n",
                   "+OK\n+OK\n:0\n"); /* one shard: work alone */
    fixture_expect(client, "MSET a 1 b 2\r\nMULTI\r\nSET a 2\r\nSET b 3\r\nEXEC\r\n",
                   "+OK\n+OK\n+QUEUED\n+QUEUED\n*2\n+OK\n+OK\n");
    fixture_expect(other, "TXN.BEGIN ID lock\r\nSET a 3\r\nTXN.PREPARE\r\n", "$4\nlock\n+OK\n+PREPARED\n");
    fixture_expect(client, "TXN.BEGIN ID one\r\n", "$3\none\n");
    fixture_send(client, "GET a\r\n"); /* held by the other one */
    sim_run_for(fixture->sim, 100 * MS);
    fixture_expect(other, "TXN.COMMIT\r\n", "+OK\n");
    fixture_expect(client, "SET b 4\r\nTXN.COMMIT\r\n", "$1\n3\n+OK\n+OK\n");
    fixture_expect(client, "SLOWLOG LEN\r\n", ":9\n"); /* two of BEGIN, one of PREPARE, two of COMMIT; SET b reads */
    fixture_send(client, "SLOWLOG GET\r\n");
    sim_run_for(fixture->sim, SECOND);
    const char *text = fixture_received(client);
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
        if (strstr(text, shown[i]) == NULL) {
            fail_msg("no %s in %s", shown[i], text);
        }
    }
    assert_non_null(strstr(text, "$2\nme\n"));
    fixture_expect(client, "CONFIG SET slowlog-log-slower-than -1\r\nSLOWLOG RESET\r\nMSET a 1 b 2\r\nSLOWLOG LEN\r\n",
                   "+OK\n+OK\n+OK\n:0\n");
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_keys_of_this_file),
        cmocka_unit_test(test_each_command_has_its_way),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_keys_of_several_shards),
        cmocka_unit_test(test_pipelines_over_shards),
        cmocka_unit_test(test_gathers),
        cmocka_unit_test(test_random_keys),
        cmocka_unit_test(test_transactions),
        cmocka_unit_test(test_a_reader_in_a_storm),
        cmocka_unit_test(test_values_in_a_storm),
        cmocka_unit_test(test_slow_transactions),
        cmocka_unit_test(test_interactive),
        cmocka_unit_test(test_watch_in_a_pipeline),
        cmocka_unit_test(test_large_and_lost_gathers),
        cmocka_unit_test(test_a_stuck_disk),
        cmocka_unit_test(test_a_flood_of_gathers),
        cmocka_unit_test(test_shutdown_answers_what_waits),
        cmocka_unit_test(test_the_end_amid_gathers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
