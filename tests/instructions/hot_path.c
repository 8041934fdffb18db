/* The hot path, for count.py: whole requests of clients to a whole node in the simulator, so the same instructions each
 * time. Clients send a pipeline and wait for its answers, first SETs, then GETs. callgrind writes its counts whenever
 * one of the functions begin_… is entered. */
#include "server_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { CLIENTS = 16, PIPELINE = 32, TURNS = 20, KEYS = 2000, VALUE_BYTES = 64, REQUEST_BYTES = 160 };

void begin_sets(void);
void begin_gets(void);
void begin_end(void);
__attribute__((noinline)) void begin_sets(void) { __asm__ volatile(""); }
__attribute__((noinline)) void begin_gets(void) { __asm__ volatile(""); }
__attribute__((noinline)) void begin_end(void) { __asm__ volatile(""); }

static char value[VALUE_BYTES + 1];

static void make_request(bool write, int key, char text[static REQUEST_BYTES])
{
    int size = write ? snprintf(text, REQUEST_BYTES, "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n%s\r\n", key,
                                VALUE_BYTES, value)
                     : snprintf(text, REQUEST_BYTES, "*2\r\n$3\r\nGET\r\n$16\r\nkey:%012d\r\n", key);
    assert_in_range(size, 1, REQUEST_BYTES - 1);
}

/* Every client sends its pipeline; then all answers come. */
static void turn(struct fixture *fixture, bool write, int first_key)
{
    char text[REQUEST_BYTES];
    for (int i = 0; i < CLIENTS; i++) {
        for (int at = 0; at < PIPELINE; at++) {
            make_request(write, (first_key + i * PIPELINE + at) % KEYS, text);
            buffer_append_string(&fixture->clients[i].out, text);
        }
        fixture_send(&fixture->clients[i], "");
    }
    for (int i = 0; i < CLIENTS; i++) {
        fixture_wait_lines(&fixture->clients[i], write ? PIPELINE : 2 * PIPELINE);
        (void)fixture_received(&fixture->clients[i]);
    }
}

static void sets_and_gets(void **state)
{
    (void)state;
    memset(value, 'x', VALUE_BYTES);
    struct fixture *fixture = fixture_create(1, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        (void)fixture_connect(fixture, i);
    }
    for (int i = 0; i * CLIENTS * PIPELINE < 2 * KEYS; i++) { /* the keys are there, and what is made once is made */
        turn(fixture, true, i * CLIENTS * PIPELINE);
        turn(fixture, false, i * CLIENTS * PIPELINE);
    }
    begin_sets();
    for (int i = 0; i < TURNS; i++) {
        turn(fixture, true, i * CLIENTS * PIPELINE);
    }
    begin_gets();
    for (int i = 0; i < TURNS; i++) {
        turn(fixture, false, i * CLIENTS * PIPELINE);
    }
    begin_end();
    (void)printf("%d requests of each\n", TURNS * CLIENTS * PIPELINE);
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sets_and_gets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
