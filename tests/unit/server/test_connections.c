/* Clients of a whole server: the order and the silence of replies, limits, ends of connections and of the node. */
#include "server_fixture.h"

#include "base/prng.h"
#include "server/server_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <cmocka.h>

static struct shard_stats stats_of(const struct fixture *fixture)
{
    struct shard_stats stats;
    server_shard_stats(fixture->server, &stats);
    return stats;
}

/* CLIENT REPLY hides what follows, not what was sent before it, however the disk and the network behave. */
static void test_silence_and_order(void **state)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct fixture *fixture = fixture_create(seed, NULL);
        struct fixture_client *client = fixture_connect(fixture, 0);
        fixture_slow_disk(fixture, (int64_t)(seed % 3) * 20 * MS);
        fixture_expect(
            client,
            "SET a 1\r\nGET a\r\nCLIENT REPLY OFF\r\nSET a 2\r\nPING\r\nGET a\r\nNOSUCH\r\nCLIENT REPLY ON\r\n"
            "INCR a\r\nCLIENT REPLY SKIP\r\nINCR a\r\nGET a\r\nCLIENT REPLY SKIP\r\nGET a\r\nPING\r\n",
            "+OK\n$1\n1\n+OK\n:3\n$1\n4\n+PONG\n");
        fixture_expect(client, "SET a 5\r\nMULTI\r\nINCR a\r\nCLIENT REPLY ON\r\nEXEC\r\nPING\r\n",
                       "+OK\n+OK\n+QUEUED\n+QUEUED\n*2\n:6\n+OK\n+PONG\n");
        /* It holds for an EXEC as a whole: half an array would be no reply. */
        fixture_expect(client,
                       "MULTI\r\nINCR a\r\nCLIENT REPLY OFF\r\nINCR a\r\nEXEC\r\nPING\r\nCLIENT REPLY ON\r\nGET a\r\n",
                       "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n+OK\n$1\n8\n");
        fixture_expect(client, "CLIENT REPLY OFF\r\nMULTI\r\nINCR a\r\nCLIENT REPLY ON\r\nEXEC\r\nPING\r\n",
                       "*2\n:9\n+OK\n+PONG\n");
        fixture_destroy(fixture);
    }
}

/* -BUSY is answered at a bounded rate, whatever comes: the rest waits in its client's socket (little of it was read,
 * for here it would age unseen), and goes on as soon as there is room again. */
static void test_refusals_are_few(void **state)
{
    enum { HALF_BYTES = 2200000, REQUESTS = 60000 };
    struct fixture *fixture = fixture_create(33, NULL);
    struct fixture_client *large = fixture_connect(fixture, 0);
    struct fixture_client *small = fixture_connect(fixture, 1);
    char *text = malloc(HALF_BYTES + 64);
    int head = sprintf(text, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n", HALF_BYTES);
    memset(text + head, 'x', HALF_BYTES);
    memcpy(text + head + HALF_BYTES, "\r\n", 3);
    fixture_send_many(small, 100, "SET b 0\r\n");
    fixture_wait_lines(small, 100);
    (void)fixture_received(small);
    fixture_slow_disk(fixture, 2 * SECOND);
    fixture_send(large, text);
    fixture_send(large, text);
    sim_run_for(fixture->sim, (SHARD_LATE_MS + 200) * MS);
    fixture_send_many(small, REQUESTS, "SET b 1\r\n");
    sim_run_for(fixture->sim, SECOND);
    const char *replies = fixture_received(small);
    size_t refused = 0;
    for (const char *at = replies; (at = strstr(at, "-BUSY ")) != NULL; at++) {
        refused++;
    }
    assert_null(strstr(replies, "+OK"));
    assert_true(refused > 100 && refused <= SERVER_REFUSALS_PER_SECOND + SERVER_REFUSALS_AT_ONCE);
    const struct connection *held = CONTAINER_OF(fixture->server->connections.prev, struct connection, node);
    assert_true(held->slowed);
    assert_in_range(held->in.size - held->in_start, 1, SERVER_READ_BYTES / 2);
    fixture_slow_disk(fixture, 0);
    sim_run_for(fixture->sim, 20 * SECOND);
    (void)fixture_received(small);
    fixture_expect(small, "GET b\r\n", "$1\n1\n");
    fixture_expect(large, "STRLEN a\r\n", "+OK\n+OK\n:2200000\n");
    free(text);
    fixture_destroy(fixture);
}

/* A silent EXEC that came to nothing is silent too. */
static void test_a_silent_exec_that_fails(void **state)
{
    struct fixture *fixture = fixture_create(31, NULL);
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    fixture_expect(client, "WATCH a\r\nCLIENT REPLY OFF\r\nMULTI\r\nINCR a\r\nCLIENT ID\r\n", "+OK\n");
    sim_run_for(fixture->sim, 100 * MS);
    fixture_expect(other, "SET a 1\r\n", "+OK\n");
    fixture_expect(client, "EXEC\r\nCLIENT REPLY ON\r\nGET a\r\n", "+OK\n$1\n1\n");
    fixture_destroy(fixture);
}

static void test_watches(void **state)
{
    struct fixture *fixture = fixture_create(32, (const char *const[]){"client-query-buffer-limit", "1mb", NULL});
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    /* Looked at again, a key must still be as at the first look. */
    fixture_expect(client, "SET a 1\r\nWATCH a b\r\n", "+OK\n+OK\n");
    fixture_expect(other, "SET a 2\r\n", "+OK\n");
    fixture_send_many(client, 70000, "WATCH a\r\n");
    fixture_wait_lines(client, 70000);
    assert_null(strchr(fixture_received(client), '-'));
    fixture_expect(client, "MULTI\r\nSET a 3\r\nEXEC\r\n", "+OK\n+QUEUED\n*-1\n");
    /* Different ones have an end. */
    char words[1200];
    for (int i = 0; i < 1100; i++) {
        (void)snprintf(words, sizeof(words), "WATCH %01000d\r\n", i);
        fixture_send(client, words);
    }
    fixture_wait_lines(client, 1100);
    const char *text = fixture_received(client);
    assert_non_null(strstr(text, "-ERR too many watched keys"));
    assert_memory_equal(text, "+OK\n+OK\n", 8);
    fixture_expect(client, "UNWATCH\r\nWATCH a\r\nMULTI\r\nGET a\r\nEXEC\r\n", "+OK\n+OK\n+OK\n+QUEUED\n*1\n$1\n2\n");
    fixture_destroy(fixture);
}

/* HELLO among the queued commands changes how those after it answer. */
static void test_protocol_inside_a_transaction(void **state)
{
    struct fixture *fixture = fixture_create(33, NULL);
    struct fixture_client *client = fixture_connect(fixture, 0);
    fixture_expect(client, "HSET h a 1\r\n", ":1\n");
    fixture_send(client,
                 "MULTI\r\nHGETALL h\r\nHELLO 3 SETNAME x\r\nHGETALL h\r\nHELLO 9\r\nHGETALL h\r\nHELLO 2 SETNAME\r\n"
                 "GET none\r\nEXEC\r\nHGETALL h\r\nGET none\r\n");
    fixture_wait_lines(client, 9 + 6 + 30 + 12);
    sim_run_for(fixture->sim, 100 * MS);
    const char *text = fixture_received(client);
    const char *array = strstr(text, "*7\n");
    assert_non_null(array);
    assert_memory_equal(array, "*7\n*2\n$1\na\n$1\n1\n%7\n$6\nserver\n", 29);
    assert_non_null(strstr(array, "*0\n%1\n$1\na\n$1\n1\n-NOPROTO"));
    assert_non_null(strstr(array, "version\n%1\n$1\na\n$1\n1\n-ERR"));
    assert_string_equal(strrchr(array, 'E') + strcspn(strrchr(array, 'E'), "\n"), "\n_\n%1\n$1\na\n$1\n1\n_\n");
    fixture_destroy(fixture);
}

/* One entry may hold many reads of a large value behind a write; they do not all become replies at once, and a client
 * that does not take them is closed. */
static void test_many_large_replies(void **state)
{
    for (int deaf = 0; deaf < 2; deaf++) {
        struct fixture *fixture = fixture_create(50, (const char *const[]){"client-output-buffer-limit", "8mb", NULL});
        struct fixture_client *client = fixture_connect(fixture, 0);
        struct fixture_client *other = fixture_connect(fixture, 1);
        fixture_send(client, "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$1000000\r\n");
        fixture_send_many(client, 100000, "0123456789");
        fixture_send(client, "\r\n");
        fixture_wait_lines(client, 1);
        (void)fixture_received(client);
        fixture_slow_disk(fixture, 20 * MS);
        client->deaf = deaf == 1;
        fixture_send_many(other, 40, "INCR m\r\n");
        fixture_send(client, "SET a 1\r\n");
        fixture_send_many(client, 2000, "GET big\r\n");
        for (int i = 0; i < 200; i++) {
            sim_run_for(fixture->sim, 10 * MS);
            (void)fixture_received(client);
        }
        fixture_wait_lines(other, 40);
        (void)fixture_received(other);
        fixture_send(other, "INFO stats\r\n");
        fixture_wait_lines(other, 19);
        assert_non_null(strstr(fixture_received(other), "clients_cut_output:1"));
        struct rusage usage;
        assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
        assert_true(usage.ru_maxrss < 1000000); /* KB; all of them would be 2 GB */
        fixture_destroy(fixture);
    }
}

/* Replies that stand behind a write that waits are counted too. */
static void test_stashed_replies_are_bounded(void **state)
{
    struct fixture *fixture = fixture_create(51, NULL);
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    fixture_expect(other, "PING\r\n", "+PONG\n");
    for (int i = 0; i < 10; i++) { /* its replies are known to be small */
        fixture_send_many(client, 10, "INCR n\r\n");
        fixture_wait_lines(client, 10);
        (void)fixture_received(client);
    }
    fixture_slow_disk(fixture, 2 * SECOND);
    fixture_send_many(client, 30, "INCR n\r\n");
    fixture_send_many(client, 10000, "COMMAND DOCS\r\n");
    sim_run_for(fixture->sim, SECOND);
    fixture_send(other, "CLIENT LIST\r\n");
    fixture_wait_lines(other, 4);
    const char *list = fixture_received(other);
    int64_t most = 0;
    for (const char *at = strstr(list, "tot-mem="); at != NULL; at = strstr(at + 8, "tot-mem=")) {
        int64_t memory = strtoll(at + 8, NULL, 10);
        most = memory > most ? memory : most;
    }
    assert_in_range(most, 1 << 20, 4 << 20); /* some ten of them, not 10000 */
    fixture_disconnect(client);
    fixture_destroy(fixture);
}

/* The age of a command is right also when the clock of ages goes round, after 49.7 days. */
static void test_command_timeout_after_49_days(void **state)
{
    for (int slow = 0; slow < 2; slow++) {
        struct fixture *fixture = fixture_create(52, (const char *const[]){"command-timeout", "3000", NULL});
        struct fixture_client *client = fixture_connect(fixture, 0);
        fixture_expect(client, "SET n 0\r\n", "+OK\n");
        int64_t round_ns = (INT64_C(1) << 32) * MS;
        sim_node_pause(fixture->sim, 0, round_ns - 4 * SECOND);
        sim_run_until(fixture->sim, round_ns - 4 * SECOND);
        client = fixture_connect(fixture, 0);
        fixture_slow_disk(fixture, slow ? 10 * SECOND : SECOND);
        for (int i = 0; i < 8; i++) {
            fixture_send_many(client, 20, "INCR n\r\n"); /* in the background, so that the node looks at its clients */
            sim_run_for(fixture->sim, 1100 * MS);
        }
        fixture_wait_lines(client, 160);
        const char *text = fixture_received(client);
        bool uncertain = strstr(text, "-UNCERTAIN") != NULL;
        assert_int_equal(uncertain, slow);
        fixture_destroy(fixture);
    }
}

/* However much has come, a turn takes a part of it, from each client: what must happen every few milliseconds can. */
static void test_turns_are_short_and_fair(void **state)
{
    enum { CLIENTS = 16, EACH = 30000 };
    struct fixture *fixture = fixture_create(54, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        fixture_send_many(fixture_connect(fixture, i), EACH, "PING\r\n");
    }
    const uint64_t *calls = &fixture->server->figures.by_command[COMMAND_PING].calls;
    uint64_t most = 0;
    for (uint64_t before = 0; *calls < (uint64_t)CLIENTS * EACH; before = *calls) {
        assert_true(sim_step(fixture->sim));
        most = *calls - before > most ? *calls - before : most;
    }
    assert_in_range(most, SERVER_COMMANDS_PER_TURN / 2,
                    SERVER_COMMANDS_PER_TURN + SERVER_SHARE_MAXIMUM + CLIENTS * SERVER_SHARE_MINIMUM);
    for (int i = 0; i < CLIENTS; i++) {
        fixture_wait_lines(&fixture->clients[i], EACH);
    }
    fixture_destroy(fixture);
}

/* What a disk that has become slow owes to one client nobody else waits for, and that client waits no longer than
 * command-timeout. When the disk comes back, so do the writes. */
static void test_a_stuck_disk(void **state)
{
    struct fixture *fixture = fixture_create(53, (const char *const[]){"command-timeout", "1000", NULL});
    struct fixture_client *writer = fixture_connect(fixture, 0);
    struct fixture_client *reader = fixture_connect(fixture, 1);
    fixture_expect(writer, "SET a 1\r\n", "+OK\n");
    fixture_slow_disk(fixture, 20 * MS);
    fixture_expect(writer, "SET a 2\r\n", "+OK\n"); /* now the node knows that it is slow */
    fixture_slow_disk(fixture, 30 * SECOND);
    int64_t began_ns = sim_now_ns(fixture->sim);
    fixture_send(writer, "SET a 3\r\nGET a\r\n");
    sim_run_for(fixture->sim, 50 * MS);
    fixture_expect(reader, "GET a\r\n", "$1\n2\n");
    assert_in_range(sim_now_ns(fixture->sim) - began_ns, 50 * MS, 100 * MS);
    fixture_wait_lines(writer, 2);
    assert_in_range(sim_now_ns(fixture->sim) - began_ns, SECOND, SECOND + 250 * MS);
    const char *text = fixture_received(writer);
    assert_memory_equal(text, "-UNCERTAIN the command-timeout passed", 37);
    assert_non_null(strstr(text, "\n-CLUSTERDOWN the command-timeout passed"));
    fixture_expect(writer, "PING\r\n", "+PONG\n");
    sim_run_for(fixture->sim, 60 * SECOND);
    fixture_slow_disk(fixture, MS);
    fixture_expect(writer, "GET a\r\nSET a 4\r\nGET a\r\n", "$1\n3\n+OK\n$1\n4\n");
    fixture_destroy(fixture);
}

/* ---- the end of the node ---- */

/* However busy the clients are: what was received is answered, what is answered is there afterwards, and it is over
 * soon. */
static void test_shutdown_under_load(void **state)
{
    for (uint64_t seed = 60; seed < 65; seed++) {
        struct fixture *fixture = fixture_create(seed, NULL);
        fixture_slow_disk(fixture, 3 * MS);
        for (int i = 0; i < 8; i++) {
            struct fixture_client *client = fixture_connect(fixture, i);
            fixture_send_many(client, 40000, "INCR n\r\n");
        }
        sim_run_for(fixture->sim, 30 * MS + (int64_t)seed * MS);
        server_shutdown(fixture->server);
        int64_t began_ns = sim_now_ns(fixture->sim);
        while (!fixture->stopped) {
            assert_true(sim_step(fixture->sim));
        }
        assert_int_equal(fixture->stop_status, STATUS_OK);
        assert_true(sim_now_ns(fixture->sim) - began_ns < SECOND);
        assert_int_equal(stats_of(fixture).pending_bytes, 0);
        fixture_kill(fixture);
        sim_run_for(fixture->sim, SECOND);
        int64_t most = 0;
        for (int i = 0; i < 8; i++) {
            const char *text = fixture_received(&fixture->clients[i]);
            for (const char *at = strchr(text, ':'); at != NULL; at = strchr(at + 1, ':')) {
                int64_t value = strtoll(at + 1, NULL, 10);
                most = value > most ? value : most;
            }
            assert_null(strstr(text, "UNCERTAIN"));
        }
        fixture_start(fixture);
        struct fixture_client *client = fixture_connect(fixture, 0);
        fixture_send(client, "INCR n\r\n");
        fixture_wait_lines(client, 1);
        assert_true(strtoll(fixture_received(client) + 1, NULL, 10) > most);
        fixture_destroy(fixture);
    }
}

/* What is held back by CLIENT PAUSE is refused, not forgotten. */
static void test_shutdown_of_paused_clients(void **state)
{
    struct fixture *fixture = fixture_create(76, NULL);
    struct fixture_client *client = fixture_connect(fixture, 0);
    struct fixture_client *other = fixture_connect(fixture, 1);
    fixture_expect(other, "CLIENT PAUSE 100000 WRITE\r\n", "+OK\n");
    fixture_expect(client, "MULTI\r\nGET a\r\nEXEC\r\n", "+OK\n+QUEUED\n*1\n$-1\n"); /* writes nothing: not paused */
    fixture_send(client, "SET a 1\r\nGET a\r\n");
    sim_run_for(fixture->sim, SECOND);
    assert_string_equal(fixture_received(client), "");
    server_shutdown(fixture->server);
    fixture_wait_lines(client, 1);
    assert_memory_equal(fixture_received(client), "-CLUSTERDOWN this node is stopping; the command was not executed",
                        63);
    sim_run_for(fixture->sim, SECOND);
    assert_true(fixture->stopped);
    fixture_destroy(fixture);
}

/* CLIENT UNPAUSE wakes the paused, not the sleeping. */
static void test_unpause_lets_sleepers_sleep(void **state)
{
    struct fixture *fixture = fixture_create(77, (const char *const[]){"enable-debug-command", "yes", NULL});
    struct fixture_client *sleeper = fixture_connect(fixture, 0);
    struct fixture_client *paused = fixture_connect(fixture, 1);
    struct fixture_client *other = fixture_connect(fixture, 2);
    fixture_send(sleeper, "DEBUG SLEEP 5\r\n");
    sim_run_for(fixture->sim, 100 * MS);
    fixture_expect(other, "CLIENT PAUSE 100000\r\n", "+OK\n");
    fixture_send(paused, "PING\r\n");
    sim_run_for(fixture->sim, SECOND);
    assert_string_equal(fixture_received(paused), "");
    fixture_expect(other, "CLIENT UNPAUSE\r\n", "+OK\n");
    fixture_wait_lines(paused, 1);
    sim_run_for(fixture->sim, SECOND);
    assert_string_equal(fixture_received(sleeper), "");
    fixture_wait_lines(sleeper, 1);
    fixture_destroy(fixture);
}

/* DEBUG SNAPSHOT in the middle of an entry: what is recovered is what was there. */
static void test_snapshot_inside_a_transaction(void **state)
{
    struct fixture *fixture = fixture_create(78, (const char *const[]){"enable-debug-command", "yes", NULL});
    struct fixture_client *client = fixture_connect(fixture, 0);
    fixture_expect(client, "INCR n\r\nMULTI\r\nINCR n\r\nDEBUG SNAPSHOT\r\nINCR n\r\nEXEC\r\nINCR n\r\n",
                   ":1\n+OK\n+QUEUED\n+QUEUED\n+QUEUED\n*3\n:2\n+OK\n:3\n:4\n");
    sim_run_for(fixture->sim, SECOND);
    assert_int_equal(stats_of(fixture).snapshots, 1);
    uint64_t digest = server_digest(fixture->server);
    fixture_kill(fixture);
    fixture_start(fixture);
    assert_true(server_digest(fixture->server) == digest);
    fixture_destroy(fixture);
}

/* ---- clients that come and go ---- */

/* The rest of half a command never comes when its client has gone: then nothing of either is kept. */
static void test_half_a_command_ends_with_its_client(void **state)
{
    static const char *const halves[] = {"",
                                         "GET",
                                         "PING\r\nGE",
                                         "*3\r\n$3\r\nSE",
                                         "*2\r\n$3\r\nGET\r\n$100000\r\nab",
                                         "MULTI\r\nSET a 1\r\nEX",
                                         "MONITOR\r\nPI"};
    struct fixture *fixture = fixture_create(34, NULL);
    for (size_t i = 0; i < sizeof(halves) / sizeof(halves[0]); i++) {
        struct fixture_client *client = fixture_connect(fixture, (int)i);
        fixture_send(client, halves[i]);
        sim_run_for(fixture->sim, SECOND);
        assert_int_equal(fixture->server->connection_count, 1);
        fixture_disconnect(client);
        sim_run_for(fixture->sim, SECOND);
        assert_int_equal(fixture->server->connection_count, 0);
    }
    fixture_destroy(fixture);
}

static const char *const scraps[] = {
    "INCR n\r\n",
    "GET n\r\n",
    "MULTI\r\n",
    "EXEC\r\n",
    "DISCARD\r\n",
    "WATCH n m\r\n",
    "CLIENT LIST\r\n",
    "INFO\r\n",
    "CLIENT KILL TYPE normal SKIPME yes\r\n",
    "CLIENT KILL ID 3 SKIPME no\r\n",
    "MONITOR\r\n",
    "RESET\r\n",
    "QUIT\r\n",
    "HELLO 3\r\n",
    "CLIENT REPLY OFF\r\n",
    "CLIENT REPLY SKIP\r\n",
    "CLIENT REPLY ON\r\n",
    "DEBUG SLEEP 0.1\r\n",
    "CLIENT PAUSE 50\r\n",
    "CLIENT UNPAUSE\r\n",
    "SET m 1 PX 30\r\n",
    "GET m\r\n",
    "COMMAND DOCS\r\n",
    "*3\r\n$3\r\nSET\r\n$1\r\nm\r\n$400000\r\n",
    "*1\r\n$x\r\n",
    "APPEND m 0123456789012345678901234567890123456789\r\n",
    "DEBUG SNAPSHOT\r\n",
    "FLUSHALL\r\n",
    "WAIT 0 10\r\n",
    "UNWATCH\r\n",
    "SUBSCRIBE a b c\r\n",
    "UNSUBSCRIBE a\r\n",
    "PSUBSCRIBE * a? [ab]\r\n",
    "SSUBSCRIBE a\r\n",
    "PUNSUBSCRIBE\r\n",
    "PUBLISH a 0123456789012345678901234567890123456789\r\n",
    "SPUBLISH a x\r\n",
    "CONFIG SET notify-keyspace-events KEAnm\r\n",
    "CONFIG SET client-output-buffer-limit \"pubsub 1mb 0 0\"\r\n",
};

/* Nothing of a closed client is touched again, whatever it was doing (the sanitizers watch), and the node stays well.
 */
static void test_clients_come_and_go(void **state)
{
    for (uint64_t seed = 100; seed < 116; seed++) {
        struct fixture *fixture =
            fixture_create(seed, (const char *const[]){"enable-debug-command", "yes", "command-timeout", "100",
                                                       "client-output-buffer-limit", "1mb", NULL});
        struct prng *prng = sim_prng(fixture->sim, SIM_DRAW_CLIENT);
        fixture_slow_disk(fixture, (int64_t)prng_below(prng, 30) * MS);
        for (int i = 0; i < 400; i++) {
            struct fixture_client *client = &fixture->clients[prng_below(prng, 6)];
            if (client->stream == NULL || prng_chance(prng, 1, 20)) {
                client = fixture_connect(fixture, (int)(client - fixture->clients));
            }
            client->deaf = prng_chance(prng, 1, 10);
            for (uint64_t j = prng_below(prng, 30); j > 0; j--) {
                fixture_send(client, scraps[prng_below(prng, sizeof(scraps) / sizeof(scraps[0]))]);
            }
            sim_run_for(fixture->sim, (int64_t)prng_below(prng, 10) * MS);
            if (fixture->stopped) {
                fail_msg("stopped: %s", status_text(fixture->stop_status));
            }
        }
        sim_run_for(fixture->sim, SECOND);
        struct fixture_client *client = fixture_connect(fixture, 7);
        fixture_expect(client, "PING\r\nDEL n\r\nINCR n\r\n", "");
        fixture_wait_lines(client, 3);
        const char *text = fixture_received(client);
        assert_memory_equal(text, "+PONG\n", 6);
        assert_string_equal(text + strlen(text) - 3, ":1\n");
        if (seed % 2 == 0) {
            server_shutdown(fixture->server);
            sim_run_for(fixture->sim, 20 * SECOND);
            assert_true(fixture->stopped);
        } else {
            for (int i = 0; i < FIXTURE_CLIENTS; i++) {
                fixture_disconnect(&fixture->clients[i]);
            }
            sim_run_for(fixture->sim, 20 * SECOND);
            assert_int_equal(fixture->server->connection_count, 0);
        }
        fixture_destroy(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_silence_and_order),
        cmocka_unit_test(test_a_silent_exec_that_fails),
        cmocka_unit_test(test_refusals_are_few),
        cmocka_unit_test(test_watches),
        cmocka_unit_test(test_protocol_inside_a_transaction),
        cmocka_unit_test(test_many_large_replies),
        cmocka_unit_test(test_stashed_replies_are_bounded),
        cmocka_unit_test(test_command_timeout_after_49_days),
        cmocka_unit_test(test_turns_are_short_and_fair),
        cmocka_unit_test(test_a_stuck_disk),
        cmocka_unit_test(test_shutdown_under_load),
        cmocka_unit_test(test_shutdown_of_paused_clients),
        cmocka_unit_test(test_unpause_lets_sleepers_sleep),
        cmocka_unit_test(test_snapshot_inside_a_transaction),
        cmocka_unit_test(test_half_a_command_ends_with_its_client),
        cmocka_unit_test(test_clients_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
