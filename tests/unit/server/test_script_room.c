/* Room for scripts: who sends long ones waits, and others pass by (script_room.h). */
#include "server_fixture.h"

#include "server/server_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define LONG "EVAL \"for i = 1, 100000 do end return redis.call('incr', KEYS[1])\" 1 a\r\n"
#define LONG_READ "EVAL_RO \"for i = 1, 100000 do end return 7\" 1 a\r\n"
#define SHORT "EVAL \"return redis.call('incr', KEYS[1])\" 1 c\r\n"

enum { SYNC_MS = 10, MANY = 20 };

static struct fixture *create(uint64_t seed, const char *timeout_ms)
{
    struct fixture *fixture = fixture_create(seed, (const char *const[]){"command-timeout", timeout_ms, NULL});
    fixture_slow_disk(fixture, SYNC_MS * MS);
    return fixture;
}

static const struct script_room *room_of(const struct fixture *fixture) { return &fixture->server->script_room; }

static int lines_of(struct fixture_client *client)
{
    int lines = 0;
    for (size_t i = 0; i < client->in.size; i++) {
        lines += client->in.data[i] == '\n';
    }
    return lines;
}

static void run(struct fixture *fixture, int64_t ms) { sim_run_for(fixture->sim, ms * MS); }

/* From now on syncs take so long, and so are not waited for in the turn. */
static void warm_up(struct fixture *fixture, int64_t sync_ns)
{
    struct fixture_client *client = fixture_connect(fixture, MANY + 1);
    fixture_slow_disk(fixture, sync_ns);
    fixture_send(client, "SET x 1\r\n");
    fixture_wait_lines(client, 1);
    (void)fixture_received(client);
}

/* A pipeline of long scripts is answered in its order, and others' commands between them. */
static void test_a_pipeline(void **state)
{
    (void)state;
    struct fixture *fixture = create(1, "10000");
    struct fixture_client *harmful = fixture_connect(fixture, 0), *other = fixture_connect(fixture, 1);
    fixture_send_many(harmful, MANY, LONG);
    int served = 0;
    while (lines_of(harmful) < MANY) {
        char expected[16];
        (void)snprintf(expected, sizeof(expected), ":%d\n", ++served);
        fixture_expect(other, "INCR b\r\n", expected);
        assert_true(room_of(fixture)->taken <= SCRIPT_ROOM_FIRST);
    }
    assert_true(served >= MANY / 2);
    const char *all = fixture_received(harmful);
    for (int i = 1; i <= MANY; i++) {
        char expected[16];
        int size = snprintf(expected, sizeof(expected), ":%d\n", i);
        assert_memory_equal(all, expected, (size_t)size);
        all += size;
    }
    assert_int_equal(room_of(fixture)->size, 1);
    assert_int_equal(room_of(fixture)->taken, 0);
    run(fixture, 1000);
    assert_int_equal(room_of(fixture)->size, SCRIPT_ROOM_FIRST);
    fixture_destroy(fixture);
}

/* Scripts that take no time have all the room that they want, soon. */
static void test_short_ones(void **state)
{
    (void)state;
    struct fixture *fixture = create(2, "10000");
    struct fixture_client *client = fixture_connect(fixture, 0);
    fixture_send_many(client, 1000, SHORT);
    uint32_t most = 0;
    while (lines_of(client) < 1000) {
        run(fixture, 1);
        most = room_of(fixture)->taken > most ? room_of(fixture)->taken : most;
    }
    assert_int_equal(most, SCRIPT_ROOM_MOST);
    fixture_send(client, "MULTI\r\n" SHORT "GET c\r\nEXEC\r\n" SHORT);
    fixture_wait_lines(client, 1000 + 3 + 4 + 1);
    assert_int_equal(room_of(fixture)->taken, 0);
    fixture_destroy(fixture);
}

/* Each of many clients gets its turn, in the order of coming. */
static void test_many_clients(void **state)
{
    (void)state;
    struct fixture *fixture = create(3, "10000");
    for (int i = 0; i < MANY; i++) {
        fixture_send_many(fixture_connect(fixture, i), 2, i % 2 == 0 ? LONG : "MULTI\r\n" LONG "EXEC\r\n");
    }
    struct fixture_client *other = fixture_connect(fixture, MANY);
    fixture_expect(other, "PING\r\nINCR b\r\n", "+PONG\n:1\n");
    int waiting = 0;
    LIST_FOR_EACH (at, &room_of(fixture)->waiting) {
        waiting++;
    }
    assert_true(waiting > MANY / 2);
    for (int i = 0; i < MANY; i++) {
        fixture_wait_lines(&fixture->clients[i], i % 2 == 0 ? 2 : 2 * 4);
    }
    fixture_expect(other, "GET a\r\n", "$2\n40\n");
    assert_int_equal(room_of(fixture)->taken, 0);
    fixture_destroy(fixture);
}

/* Whoever goes leaves no place taken, once its scripts have been executed. */
static void test_clients_go(void **state)
{
    (void)state;
    struct fixture *fixture = create(4, "10000");
    warm_up(fixture, 100 * MS);
    for (int i = 0; i < MANY; i++) {
        fixture_send_many(fixture_connect(fixture, i), 3, LONG);
    }
    run(fixture, 5);
    for (int i = 0; i < MANY; i++) {
        fixture_disconnect(&fixture->clients[i]);
    }
    run(fixture, 5);
    assert_true(room_of(fixture)->taken != 0);
    struct fixture_client *other = fixture_connect(fixture, MANY);
    fixture_expect(other, SHORT, ":1\n");
    for (int i = 0; i < 3 * MANY && room_of(fixture)->taken != 0; i++) {
        run(fixture, 200);
    }
    assert_true(list_empty(&room_of(fixture)->waiting));
    assert_int_equal(room_of(fixture)->taken, 0);
    fixture_destroy(fixture);
}

/* Who waits for a command-timeout is refused; what has run out of time holds its place until it was executed. */
static void test_time(void **state)
{
    (void)state;
    struct fixture *fixture = create(5, "200");
    warm_up(fixture, 3 * SECOND);
    for (int i = 0; i < MANY; i++) {
        fixture_send(fixture_connect(fixture, i), LONG);
    }
    for (int i = 0; i < MANY; i++) {
        struct fixture_client *client = &fixture->clients[i];
        fixture_wait_lines(client, 1);
        const char *text = fixture_received(client);
        assert_true(strncmp(text, "-BUSY other scripts take long", 29) == 0 || strncmp(text, "-UNCERTAIN ", 11) == 0);
    }
    assert_int_equal(room_of(fixture)->taken, SCRIPT_ROOM_FIRST);
    fixture_slow_disk(fixture, SYNC_MS * MS);
    run(fixture, 7000);
    assert_int_equal(room_of(fixture)->taken, 0);
    fixture_expect(&fixture->clients[0], SHORT, ":1\n");
    fixture_destroy(fixture);
}

/* What is answered at once, or refused, keeps no place. */
static void test_at_once(void **state)
{
    (void)state;
    struct fixture *fixture = create(6, "10000");
    struct fixture_client *client = fixture_connect(fixture, 0);
    fixture_send_many(client, MANY, LONG_READ);
    fixture_wait_lines(client, MANY);
    (void)fixture_received(client);
    fixture_expect(client, "MULTI\r\nEVAL \"return 1\" 0\r\nDISCARD\r\nEVAL \"return 1\" x\r\n",
                   "+OK\n+QUEUED\n+OK\n-ERR value is not an integer or out of range\n");
    fixture_expect(client, "MULTI\r\nNOSUCH\r\n" SHORT "EXEC\r\n",
                   "+OK\n-ERR unknown command 'NOSUCH', with args beginning with: \n+QUEUED\n-EXECABORT Transaction "
                   "discarded because of previous errors.\n");
    assert_int_equal(room_of(fixture)->taken, 0);
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_pipeline), cmocka_unit_test(test_short_ones), cmocka_unit_test(test_many_clients),
        cmocka_unit_test(test_clients_go), cmocka_unit_test(test_time),       cmocka_unit_test(test_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
