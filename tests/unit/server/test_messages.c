/* Subscribers and publishers at one server, of one shard and of several. */
#include "server_fixture.h"

#include "server/server_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SUBSCRIBED(name, count) "*3\n$9\nsubscribe\n$1\n" name "\n:" count "\n"
#define GOT(name, text) "*3\n$7\nmessage\n$1\n" name "\n$1\n" text "\n"
#define ONLY(command)                                                                                                  \
    "-ERR Can't execute '" command "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in "   \
    "this context\n"

/* What has come and is not looked at yet is exactly this. */
static void got(struct fixture_client *client, const char *expected) { fixture_expect(client, "", expected); }

static void nothing_came(struct fixture_client *client)
{
    sim_run_for(client->fixture->sim, SECOND);
    assert_string_equal(fixture_received(client), "");
}

static void test_subscribers(void **state)
{
    struct fixture *fixture = fixture_create(1, NULL);
    struct fixture_client *subscriber = fixture_connect(fixture, 0);
    struct fixture_client *publisher = fixture_connect(fixture, 1);
    fixture_expect(subscriber, "SUBSCRIBE a b a\r\n", SUBSCRIBED("a", "1") SUBSCRIBED("b", "2") SUBSCRIBED("a", "2"));
    fixture_expect(publisher, "PUBLISH a 1\r\nPUBLISH c 2\r\nPUBLISH b 3\r\nSPUBLISH a 4\r\n", ":1\n:0\n:1\n:0\n");
    got(subscriber, GOT("a", "1") GOT("b", "3"));
    fixture_expect(subscriber, "PSUBSCRIBE [ac]\r\n", "*3\n$10\npsubscribe\n$4\n[ac]\n:3\n");
    fixture_expect(publisher, "PUBLISH a 5\r\nPUBLISH c 6\r\n", ":2\n:1\n");
    got(subscriber,
        GOT("a", "5") "*4\n$8\npmessage\n$4\n[ac]\n$1\na\n$1\n5\n*4\n$8\npmessage\n$4\n[ac]\n$1\nc\n$1\n6\n");
    fixture_expect(publisher, "PUBSUB CHANNELS\r\nPUBSUB CHANNELS b*\r\nPUBSUB NUMPAT\r\nPUBSUB NUMSUB a x\r\n",
                   "*2\n$1\na\n$1\nb\n*1\n$1\nb\n:1\n*4\n$1\na\n:1\n$1\nx\n:0\n");
    fixture_expect(subscriber, "PING\r\nPING x\r\nGET a\r\nUNSUBSCRIBE a\r\nUNSUBSCRIBE\r\nCLIENT LIST\r\n",
                   "*2\n$4\npong\n$0\n\n*2\n$4\npong\n$1\nx\n" ONLY("get") "*3\n$11\nunsubscribe\n$1\na\n:2\n"
                                                                           "*3\n$11\nunsubscribe\n$1\nb\n:1\n" ONLY(
                                                                               "client|list"));
    fixture_expect(subscriber, "UNSUBSCRIBE\r\nPUNSUBSCRIBE\r\nPING\r\nGET a\r\n",
                   "*3\n$11\nunsubscribe\n$-1\n:1\n*3\n$12\npunsubscribe\n$4\n[ac]\n:0\n+PONG\n$-1\n");
    fixture_expect(subscriber, "SSUBSCRIBE a\r\nGET a\r\n", "*3\n$10\nssubscribe\n$1\na\n:1\n" ONLY("get"));
    fixture_expect(publisher, "SPUBLISH a 7\r\nPUBLISH a 8\r\nPUBSUB SHARDCHANNELS\r\n", ":1\n:0\n*1\n$1\na\n");
    got(subscriber, "*3\n$8\nsmessage\n$1\na\n$1\n7\n");
    fixture_expect(subscriber, "RESET\r\nGET a\r\n", "+RESET\n$-1\n");
    fixture_expect(publisher, "SPUBLISH a 9\r\n", ":0\n");
    /* a star alone is no channel without a name, unlike in KEYS */
    fixture_expect(subscriber, "PSUBSCRIBE *\r\nSUBSCRIBE \"\"\r\n",
                   "*3\n$10\npsubscribe\n$1\n*\n:1\n*3\n$9\nsubscribe\n$0\n\n:2\n");
    fixture_expect(publisher, "PUBLISH \"\" 1\r\nPUBSUB CHANNELS *\r\nPUBSUB CHANNELS \"\"\r\n", ":1\n*0\n*1\n$0\n\n");
    got(subscriber, "*3\n$7\nmessage\n$0\n\n$1\n1\n");
    fixture_disconnect(subscriber);
    fixture_destroy(fixture);
}

static void test_protocol_3(void **state)
{
    struct fixture *fixture = fixture_create(2, NULL);
    struct fixture_client *client = fixture_connect(fixture, 0);
    fixture_send(client, "HELLO 3\r\n");
    fixture_wait_lines(client, 26);
    (void)fixture_received(client);
    fixture_expect(client, "SUBSCRIBE a\r\nPING\r\nSET k v\r\nPUBLISH a m\r\nGET k\r\n",
                   ">3\n$9\nsubscribe\n$1\na\n:1\n+PONG\n+OK\n>3\n$7\nmessage\n$1\na\n$1\nm\n:1\n$1\nv\n");
    fixture_expect(client, "CLIENT REPLY OFF\r\nPUBLISH a m\r\nSUBSCRIBE b\r\nCLIENT REPLY ON\r\n",
                   ">3\n$7\nmessage\n$1\na\n$1\nm\n>3\n$9\nsubscribe\n$1\nb\n:2\n+OK\n");
    /* in an EXEC: behind its reply, which stays whole */
    fixture_expect(client, "MULTI\r\nPUBLISH a m\r\nINCR n\r\nEXEC\r\n",
                   "+OK\n+QUEUED\n+QUEUED\n*2\n:1\n:1\n>3\n$7\nmessage\n$1\na\n$1\nm\n");
    fixture_destroy(fixture);
}

/* Whoever hears of it sees what was written before it. */
static void test_in_the_order_of_writes(void **state)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct fixture *fixture = fixture_create_shards(seed, 4, NULL);
        struct fixture_client *subscriber = fixture_connect(fixture, 0);
        struct fixture_client *publisher = fixture_connect(fixture, 1);
        struct fixture_client *reader = fixture_connect(fixture, 2);
        fixture_slow_disk(fixture, 20 * MS);
        fixture_expect(subscriber, "SUBSCRIBE c\r\n", SUBSCRIBED("c", "1"));
        fixture_send(publisher, "SET a 1\r\nSET b 1\r\nMSET c 1 d 1\r\nPUBLISH c m\r\nSET a 2\r\nPUBLISH c n\r\n");
        got(subscriber, GOT("c", "m"));
        fixture_send(reader, "MGET b c d\r\n");
        got(reader, "*3\n$1\n1\n$1\n1\n$1\n1\n");
        got(subscriber, GOT("c", "n"));
        fixture_expect(reader, "GET a\r\n", "$1\n2\n");
        got(publisher, "+OK\n+OK\n+OK\n:1\n+OK\n:1\n");
        fixture_destroy(fixture);
    }
}

static void test_transactions(void **state)
{
    struct fixture *fixture = fixture_create_shards(3, 4, NULL);
    struct fixture_client *subscriber = fixture_connect(fixture, 0);
    struct fixture_client *client = fixture_connect(fixture, 1);
    struct fixture_client *other = fixture_connect(fixture, 2);
    fixture_expect(subscriber, "SUBSCRIBE c\r\n", SUBSCRIBED("c", "1"));
    fixture_expect(client, "MULTI\r\nSET a 1\r\nPUBLISH c 1\r\nEXEC\r\n", "+OK\n+QUEUED\n+QUEUED\n*2\n+OK\n:1\n");
    fixture_expect(client, "MULTI\r\nSET a 1\r\nPUBLISH c 2\r\nSET b 1\r\nEXEC\r\n",
                   "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n*3\n+OK\n:1\n+OK\n");
    got(subscriber, GOT("c", "1") GOT("c", "2"));
    /* none of what was not executed */
    fixture_expect(client, "WATCH a\r\n", "+OK\n");
    fixture_expect(other, "SET a 2\r\n", "+OK\n");
    fixture_expect(client, "MULTI\r\nSET b 2\r\nPUBLISH c 3\r\nEXEC\r\nMULTI\r\nPUBLISH c 4\r\nDISCARD\r\n",
                   "+OK\n+QUEUED\n+QUEUED\n*-1\n+OK\n+QUEUED\n+OK\n");
    fixture_expect(client, "MULTI\r\nPUBLISH c 5\r\nNOPE\r\nEXEC\r\n",
                   "+OK\n+QUEUED\n-ERR unknown command 'NOPE', with args beginning with: \n"
                   "-EXECABORT Transaction discarded because of previous errors.\n");
    nothing_came(subscriber);
    /* scripts: over one shard, over several, and of one that is stopped */
    fixture_expect(client, "EVAL \"return redis.call('publish', 'c', '6')\" 1 a\r\n", ":0\n");
    fixture_expect(client, "EVAL \"redis.call('set', KEYS[2], 1) return redis.call('publish', 'c', '7')\" 2 a b\r\n",
                   ":0\n");
    got(subscriber, GOT("c", "6") GOT("c", "7"));
    fixture_send(client, "EVAL \"redis.call('publish', 'c', '8') while true do end\" 1 a\r\n");
    fixture_wait_lines(client, 1);
    (void)fixture_received(client);
    nothing_came(subscriber);
#define APART                                                                                                          \
    "-ERR messages are no part of a transaction of TXN.BEGIN; TXN.COMMIT or TXN.ROLLBACK first, then publish or "      \
    "subscribe\n"
    fixture_expect(client, "TXN.BEGIN ID t\r\nPUBLISH c 9\r\nSUBSCRIBE c\r\n", "$1\nt\n" APART APART);
    fixture_expect(client, "EVAL \"return redis.call('publish', 'c', '1')\" 1 a\r\n", ":0\n");
    nothing_came(subscriber);
    fixture_expect(client, "TXN.COMMIT\r\n", "+OK\n");
    got(subscriber, GOT("c", "1"));
    fixture_expect(client, "TXN.BEGIN ID u\r\nEVAL \"return redis.call('publish', 'c', '2')\" 1 a\r\nTXN.ROLLBACK\r\n",
                   "$1\nu\n:0\n+OK\n");
    nothing_came(subscriber);
    fixture_destroy(fixture);
}

static void test_subscribing_in_a_transaction(void **state)
{
    struct fixture *fixture = fixture_create(4, NULL);
    struct fixture_client *client = fixture_connect(fixture, 0);
    fixture_expect(client, "MULTI\r\nSUBSCRIBE a\r\nSET k v\r\nPUBLISH a m\r\nEXEC\r\nGET k\r\n",
                   "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n*3\n" SUBSCRIBED("a", "1") "+OK\n:1\n" GOT("a", "m") ONLY("get"));
    fixture_expect(client, "MULTI\r\nRESET\r\nMULTI\r\nUNSUBSCRIBE\r\nEXEC\r\n",
                   ONLY("multi") "+RESET\n+OK\n+QUEUED\n*1\n*3\n$11\nunsubscribe\n$-1\n:0\n");
    fixture_expect(client, "MULTI\r\nSSUBSCRIBE a\r\nSUNSUBSCRIBE\r\nEXEC\r\nPUBSUB SHARDCHANNELS\r\n",
                   "+OK\n+QUEUED\n+QUEUED\n*2\n-ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client\n"
                   "*3\n$12\nsunsubscribe\n$-1\n:0\n*0\n");
    fixture_destroy(fixture);
}

static void test_limits(void **state)
{
    struct fixture *fixture = fixture_create(
        5, (const char *const[]){"max-client-subscriptions", "3", "max-subscriptions", "5", "max-patterns", "2", NULL});
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    fixture_expect(client, "SUBSCRIBE a b c\r\nSUBSCRIBE c\r\n",
                   SUBSCRIBED("a", "1") SUBSCRIBED("b", "2") SUBSCRIBED("c", "3") SUBSCRIBED("c", "3"));
    fixture_expect(client, "PSUBSCRIBE d\r\n",
                   "-ERR this client would have more subscriptions than max-client-subscriptions; unsubscribe from "
                   "some, or raise it with CONFIG SET\n");
    fixture_expect(other, "SUBSCRIBE a b c\r\n",
                   "-ERR the clients of this node would have more subscriptions than max-subscriptions; subscribe at "
                   "another node, or raise it with CONFIG SET\n");
    fixture_expect(other, "PUBSUB NUMSUB a b\r\n", "*4\n$1\na\n:1\n$1\nb\n:1\n"); /* all or none */
    fixture_expect(client, "UNSUBSCRIBE\r\n",
                   "*3\n$11\nunsubscribe\n$1\na\n:2\n*3\n$11\nunsubscribe\n$1\nb\n:1\n"
                   "*3\n$11\nunsubscribe\n$1\nc\n:0\n");
    fixture_expect(client, "PSUBSCRIBE x y\r\n", "*3\n$10\npsubscribe\n$1\nx\n:1\n*3\n$10\npsubscribe\n$1\ny\n:2\n");
    fixture_expect(other, "PSUBSCRIBE x\r\nPSUBSCRIBE z\r\n",
                   "*3\n$10\npsubscribe\n$1\nx\n:1\n"
                   "-ERR the clients of this node would have more patterns than max-patterns; subscribe to channels, "
                   "or raise it with CONFIG SET\n");
    char *name = malloc((64 << 10) + 100);
    (void)snprintf(name, (64 << 10) + 100, "UNSUBSCRIBE\r\n*2\r\n$9\r\nSUBSCRIBE\r\n$65537\r\n%065537d\r\n", 0);
    struct fixture_client *third = fixture_connect(fixture, 2);
    fixture_expect(third, name,
                   "*3\n$11\nunsubscribe\n$-1\n:0\n"
                   "-ERR the name of a channel or pattern is longer than 65536 bytes; use a shorter one\n");
    free(name);
    fixture_destroy(fixture);
}

/* To channel a, of 100,000 bytes; the caller frees. */
static char *large_message(void)
{
    char *message = malloc(100100);
    (void)snprintf(message, 100100, "*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$100000\r\n%0100000d\r\n", 1);
    return message;
}

/* A subscriber that does not read is closed at the limit; the others hear everything. */
static void test_slow_subscribers(void **state)
{
    struct fixture *fixture =
        fixture_create(6, (const char *const[]){"client-output-buffer-limit", "pubsub 1mb 0 0", NULL});
    struct fixture_client *deaf = fixture_connect(fixture, 0);
    struct fixture_client *subscriber = fixture_connect(fixture, 1);
    struct fixture_client *publisher = fixture_connect(fixture, 2);
    fixture_expect(deaf, "SUBSCRIBE a\r\n", SUBSCRIBED("a", "1"));
    fixture_expect(subscriber, "SUBSCRIBE a\r\n", SUBSCRIBED("a", "1"));
    deaf->deaf = true;
    fixture_send(deaf, "");
    char *message = large_message();
    size_t most = 0;
    for (int i = 0; i < 60; i++) {
        fixture_send(publisher, message);
        fixture_wait_lines(publisher, 1);
        assert_memory_equal(fixture_received(publisher), i < 10 ? ":2" : ":", i < 10 ? 2 : 1);
        fixture_wait_lines(subscriber, 7);
        (void)fixture_received(subscriber);
        most = fixture->server->client_bytes > most ? fixture->server->client_bytes : most;
    }
    assert_int_equal(fixture->server->figures.clients_cut_output, 1);
    assert_int_equal(fixture->server->channels.here, 1);
    assert_in_range(most, 1 << 20, 4 << 20);
    /* more than the limit in one turn: what reads is given time, and the whole of it, or is closed */
    for (int i = 0; i < 40; i++) {
        fixture_send(publisher, message);
    }
    fixture_wait_lines(publisher, 40);
    sim_run_for(fixture->sim, SECOND);
    assert_true(subscriber->ended || fixture->server->figures.messages_delivered > 0);
    free(message);
    fixture_destroy(fixture);
}

static void test_soft_limit(void **state)
{
    struct fixture *fixture =
        fixture_create(7, (const char *const[]){"client-output-buffer-limit", "pubsub 64mb 100kb 5", NULL});
    struct fixture_client *deaf = fixture_connect(fixture, 0);
    struct fixture_client *publisher = fixture_connect(fixture, 2);
    fixture_expect(deaf, "SUBSCRIBE a\r\n", SUBSCRIBED("a", "1"));
    deaf->deaf = true;
    fixture_send(deaf, "");
    char *message = large_message();
    for (int i = 0; i < 40; i++) {
        fixture_send(publisher, message);
    }
    fixture_wait_lines(publisher, 40);
    sim_run_for(fixture->sim, 4 * SECOND);
    assert_int_equal(fixture->server->figures.clients_cut_output, 0);
    sim_run_for(fixture->sim, 3 * SECOND);
    assert_int_equal(fixture->server->figures.clients_cut_output, 1);
    free(message);
    fixture_destroy(fixture);
}

static void test_events(void **state)
{
    struct fixture *fixture = fixture_create_shards(8, 4, NULL);
    struct fixture_client *subscriber = fixture_connect(fixture, 0);
    struct fixture_client *client = fixture_connect(fixture, 1);
    fixture_expect(subscriber, "PSUBSCRIBE __key*\r\n", "*3\n$10\npsubscribe\n$6\n__key*\n:1\n");
    fixture_expect(client, "SET a 1\r\n", "+OK\n");
    nothing_came(subscriber);
    fixture_expect(client, "CONFIG SET notify-keyspace-events K$g\r\nSET a 1\r\nDEL a\r\n", "+OK\n+OK\n:1\n");
    got(subscriber, "*4\n$8\npmessage\n$6\n__key*\n$16\n__keyspace@0__:a\n$3\nset\n"
                    "*4\n$8\npmessage\n$6\n__key*\n$16\n__keyspace@0__:a\n$3\ndel\n");
    fixture_expect(client, "CONFIG SET notify-keyspace-events Ex\r\nSET a 1 PX 50\r\n", "+OK\n+OK\n");
    got(subscriber, "*4\n$8\npmessage\n$6\n__key*\n$22\n__keyevent@0__:expired\n$1\na\n");
    /* over several shards the value tells what happened */
    fixture_expect(client, "CONFIG SET notify-keyspace-events KA\r\nMSET a 1 b 2\r\n", "+OK\n+OK\n");
    fixture_wait_lines(subscriber, 18);
    const char *text = fixture_received(subscriber);
    assert_non_null(strstr(text, "__keyspace@0__:a\n$3\nset\n"));
    assert_non_null(strstr(text, "__keyspace@0__:b\n$3\nset\n"));
    fixture_expect(client, "MULTI\r\nEXPIRE a 100\r\nDEL b\r\nHSET c f 1\r\nEXEC\r\n",
                   "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n*3\n:1\n:1\n:1\n");
    fixture_wait_lines(subscriber, 27);
    text = fixture_received(subscriber);
    assert_non_null(strstr(text, "__keyspace@0__:a\n$6\nexpire\n"));
    assert_non_null(strstr(text, "__keyspace@0__:b\n$3\ndel\n"));
    assert_non_null(strstr(text, "__keyspace@0__:c\n$4\nhset\n"));
    nothing_came(subscriber);
    fixture_destroy(fixture);
}

/* Reads over several shards look twice or more, and tell nothing of what they miss. */
static void test_misses(void **state)
{
    struct fixture *fixture = fixture_create_shards(10, 4, NULL);
    struct fixture_client *subscriber = fixture_connect(fixture, 0);
    struct fixture_client *client = fixture_connect(fixture, 1);
    fixture_expect(client, "CONFIG SET notify-keyspace-events Em\r\n", "+OK\n");
    fixture_expect(subscriber, "SUBSCRIBE __keyevent@0__:keymiss\r\n",
                   "*3\n$9\nsubscribe\n$22\n__keyevent@0__:keymiss\n:1\n");
    fixture_expect(client, "MGET a b c d\r\n", "*4\n$-1\n$-1\n$-1\n$-1\n");
    fixture_expect(client, "MULTI\r\nGET a\r\nGET b\r\nGET c\r\nEXEC\r\n",
                   "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n*3\n$-1\n$-1\n$-1\n");
    nothing_came(subscriber);
    fixture_expect(client, "GET a\r\n", "$-1\n");
    got(subscriber, "*3\n$7\nmessage\n$22\n__keyevent@0__:keymiss\n$1\na\n");
    nothing_came(subscriber);
    fixture_destroy(fixture);
}

/* CLIENT PAUSE WRITE holds back what publishes, too, by itself and in a MULTI. */
static void test_pause(void **state)
{
    struct fixture *fixture = fixture_create(11, NULL);
    struct fixture_client *subscriber = fixture_connect(fixture, 0);
    struct fixture_client *publisher = fixture_connect(fixture, 1);
    struct fixture_client *other = fixture_connect(fixture, 2);
    fixture_expect(subscriber, "SUBSCRIBE a\r\nSSUBSCRIBE b\r\n",
                   SUBSCRIBED("a", "1") "*3\n$10\nssubscribe\n$1\nb\n:1\n");
    fixture_expect(other, "MULTI\r\nPUBLISH a 2\r\nPING\r\n", "+OK\n+QUEUED\n+QUEUED\n");
    fixture_expect(publisher, "CLIENT PAUSE 100000 WRITE\r\nPUBSUB NUMPAT\r\n", "+OK\n:0\n");
    fixture_send(publisher, "PUBLISH a 1\r\nSPUBLISH b 1\r\n");
    fixture_send(other, "EXEC\r\n");
    nothing_came(subscriber);
    fixture_expect(subscriber, "RESET\r\nSUBSCRIBE a\r\nPING\r\n",
                   "+RESET\n" SUBSCRIBED("a", "1") "*2\n$4\npong\n$0\n\n");
    struct fixture_client *third = fixture_connect(fixture, 3);
    fixture_expect(third, "CLIENT UNPAUSE\r\n", "+OK\n");
    got(publisher, ":1\n:0\n");
    got(other, "*2\n:1\n+PONG\n");
    fixture_destroy(fixture);
}

static void test_figures(void **state)
{
    struct fixture *fixture = fixture_create(9, NULL);
    struct fixture_client *subscriber = fixture_connect(fixture, 0);
    struct fixture_client *client = fixture_connect(fixture, 1);
    fixture_send(subscriber, "SUBSCRIBE a b\r\nPSUBSCRIBE c*\r\nSSUBSCRIBE d\r\n");
    fixture_wait_lines(subscriber, 24);
    fixture_expect(client, "PUBLISH a 1\r\n", ":1\n");
    fixture_send(client, "INFO stats\r\nCLIENT LIST TYPE pubsub\r\n");
    sim_run_for(fixture->sim, SECOND);
    const char *text = fixture_received(client);
    assert_non_null(strstr(text, "pubsub_channels:2\npubsub_patterns:1\npubsubshard_channels:1\n"));
    assert_non_null(strstr(text, "messages_published:1\nmessages_delivered:1\n"));
    assert_non_null(strstr(text, "flags=P db=0 sub=2 psub=1 ssub=1 multi=-1"));
    assert_null(strstr(text, "flags=N"));
    fixture_expect(client, "EVAL \"return redis.call('publish', 'a', '1')\" 0\r\n", ":0\n");
    assert_int_equal(fixture->server->figures.messages_published, 2); /* those of scripts, too */
    fixture_expect(client, "CLIENT KILL TYPE pubsub\r\nPUBLISH a 1\r\nPUBSUB CHANNELS\r\n", ":1\n:0\n*0\n");
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_subscribers),
        cmocka_unit_test(test_protocol_3),
        cmocka_unit_test(test_in_the_order_of_writes),
        cmocka_unit_test(test_transactions),
        cmocka_unit_test(test_subscribing_in_a_transaction),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_slow_subscribers),
        cmocka_unit_test(test_soft_limit),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_misses),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
