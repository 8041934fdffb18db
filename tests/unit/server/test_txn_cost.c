/* What transactions cost: entries of the shards' logs, counted by the node itself. All shards are led by one node, and
 * nothing else writes. */
#include "server_fixture.h"
#include "shard/outcomes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SHARDS = 4, TIMES = 20, PAUSE_MS = 2 * OUTCOME_MS };

/* The keys b, c, d and a are in the shards 1, 2, 3 and 4 (test_shards.c). */

static long entries(struct fixture_client *client)
{
    fixture_send(client, "INFO stats\r\nECHO end\r\n");
    char text[8192] = "";
    while (strstr(text, "$3\nend\n") == NULL) {
        sim_run_for(client->fixture->sim, MS);
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s", fixture_received(client));
    }
    const char *at = strstr(text, "log_entries:");
    assert_non_null(at);
    return strtol(at + strlen("log_entries:"), NULL, 10);
}

/* Entries of TIMES requests one after the other, `lines` lines of answer to each, until all of them have ended; what is
 * on its way from one to the next goes with it. PAUSE_MS between them: as much as FINISH takes and waits for, and less
 * than what DONE waits for company. */
static long cost(const char *request, int lines, int pause_ms)
{
    struct fixture *fixture = fixture_create_shards(11, SHARDS, NULL);
    struct fixture_client *client = fixture_connect(fixture, 0);
    fixture_expect(client, "SET a 1\r\nSET b 1\r\nSET c 1\r\nSET d 1\r\n", "+OK\n+OK\n+OK\n+OK\n");
    sim_run_for(fixture->sim, 50 * MS);
    long before = entries(client);
    for (int i = 0; i < TIMES; i++) {
        fixture_send(client, request);
        fixture_wait_lines(client, lines);
        (void)fixture_received(client);
        sim_run_for(fixture->sim, pause_ms * MS);
    }
    sim_run_for(fixture->sim, 400 * MS);
    long all = entries(client) - before;
    fixture_destroy(fixture);
    return all;
}

/* The last DONE goes alone. */
static void test_two_phases(void **state)
{
    assert_int_equal(cost("SET a 2\r\n", 1, PAUSE_MS), TIMES);
    /* one shard: one entry */
    assert_int_equal(cost("MULTI\r\nSET a 2\r\nINCR a\r\nGET a\r\nEXEC\r\n", 9, PAUSE_MS), TIMES);
    /* another one: PREPARE, FINISH; home: LAST */
    assert_int_equal(cost("MULTI\r\nSET a 2\r\nSET b 2\r\nEXEC\r\n", 6, PAUSE_MS), TIMES * 3 + 1);
    assert_int_equal(cost("MSET a 2 b 2\r\n", 1, PAUSE_MS), TIMES * 3 + 1);
    assert_int_equal(cost("MSET a 2 b 2 c 2 d 2\r\n", 1, PAUSE_MS), TIMES * 7 + 1);
}

/* Without pauses FINISH goes with the PREPARE of the next one, though that wants the same keys. The last one goes
 * alone, at each participant. */
static void test_one_behind_the_other(void **state)
{
    assert_int_equal(cost("MULTI\r\nSET a 2\r\nSET b 2\r\nEXEC\r\n", 6, 0), TIMES * 2 + 1 + 1);
    assert_int_equal(cost("MSET a 2 b 2\r\n", 1, 0), TIMES * 2 + 1 + 1);
    assert_int_equal(cost("MSET a 2 b 2 c 2 d 2\r\n", 1, 0), TIMES * 4 + 3 + 1);
}

static void test_reads(void **state)
{
    assert_int_equal(cost("MGET a b c d\r\n", 9, PAUSE_MS), 0);
    assert_int_equal(cost("MULTI\r\nGET a\r\nGET b\r\nEXEC\r\n", 8, PAUSE_MS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_phases),
        cmocka_unit_test(test_one_behind_the_other),
        cmocka_unit_test(test_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
