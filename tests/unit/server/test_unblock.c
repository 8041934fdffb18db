/* CLIENT UNBLOCK: who is told 1 has ended the wait, whenever it comes: also before the client's worker has heard that
 * the request is in a queue, where others may see it already. */
#include "server_fixture.h"

#include "server/server_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const waits[] = {
    "LOCK.ACQUIRE l waiter PX 600000 WAIT 600000\r\n",
    "LOCK.MACQUIRE 2 l m waiter PX 600000 WAIT 600000\r\n",
    "LOCK.MACQUIRE 3 k l m waiter PX 600000 WAIT 600000\r\n",
};

/* From now on an answer takes the time of a sync: after a slow one none is waited for in a turn. */
static void slow(struct fixture *fixture, struct fixture_client *client)
{
    fixture_slow_disk(fixture, 100 * MS);
    fixture_expect(client, "SET x 1\r\nSET x 2\r\n", "+OK\n+OK\n");
}

/* What unblocks this client. */
static const char *unblock(struct fixture_client *client, const char *way)
{
    static char text[128];
    fixture_send(client, "CLIENT ID\r\n");
    fixture_wait_lines(client, 1);
    (void)snprintf(text, sizeof(text), "CLIENT UNBLOCK %llu%s\r\n", strtoull(fixture_received(client) + 1, NULL, 10),
                   way);
    return text;
}

/* Client 0 holds l; client 1 asks, and client 0 unblocks it so much later. */
static void unblock_after(const char *wait, int64_t after_ns, const char *way, const char *expected)
{
    struct fixture *fixture = fixture_create_shards(3, 4, (const char *const[]){NULL});
    struct fixture_client *holder = fixture_connect(fixture, 0);
    struct fixture_client *waiter = fixture_connect(fixture, 1);
    const char *text = unblock(waiter, way);
    fixture_send(holder, "LOCK.ACQUIRE l holder PX 600000\r\n");
    fixture_wait_lines(holder, 3);
    (void)fixture_received(holder);
    slow(fixture, holder);
    fixture_send(waiter, wait);
    sim_run_for(fixture->sim, after_ns);
    assert_string_equal(fixture_received(waiter), "");
    fixture_expect(holder, text, ":1\n");
    fixture_wait_lines(waiter, 1);
    assert_string_equal(fixture_received(waiter), expected);
    fixture_expect(waiter, "PING\r\n", "+PONG\n");
    fixture_expect(holder, text, ":0\n"); /* it waits no longer, and the next one would not be ended by this */
    sim_run_for(fixture->sim, 2 * SECOND);
    assert_true(waiters_idle(fixture->server));
    fixture_destroy(fixture);
}

static void test_whenever_it_comes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        for (int64_t after_ms = 5; after_ms < 500; after_ms += 35) {
            unblock_after(waits[i], after_ms * MS, "", "*-1\n");
            unblock_after(waits[i], after_ms * MS, " ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\n");
        }
    }
}

/* Who would have been granted is: it does not wait either. */
static void test_what_is_free_is_granted(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create_shards(3, 4, (const char *const[]){NULL});
    struct fixture_client *other = fixture_connect(fixture, 0);
    struct fixture_client *client = fixture_connect(fixture, 1);
    const char *text = unblock(client, "");
    slow(fixture, other);
    fixture_send(client, "LOCK.ACQUIRE l waiter PX 600000 WAIT 600000\r\n");
    sim_run_for(fixture->sim, 5 * MS);
    fixture_expect(other, text, ":1\n");
    fixture_wait_lines(client, 3);
    assert_memory_equal(fixture_received(client), "*2\n:", 4);
    /* nothing of it is left for the next one, which waits */
    fixture_send(client, "LOCK.ACQUIRE l another PX 600000 WAIT 1000\r\n");
    sim_run_for(fixture->sim, 900 * MS);
    assert_string_equal(fixture_received(client), "");
    fixture_wait_lines(client, 1);
    assert_string_equal(fixture_received(client), "*-1\n");
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whenever_it_comes),
        cmocka_unit_test(test_what_is_free_is_granted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
