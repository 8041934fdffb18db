/* What commands tell those who listen: Redis's names, in Redis's order; and that listening changes nothing. */
#include "harness.h"

#include "machine/events.h"

#include <stdio.h>
#include <string.h>

static struct machine_events events;
static struct buffer text;

/* "name key, …" of what was told since the last time; of messages "channel: text". */
static const char *told(void)
{
    struct slice rest = buffer_slice(&events.messages);
    struct message message;
    buffer_clear(&text);
    while (message_take(&rest, &message)) {
        buffer_append_string(&text, text.size == 0 ? "" : ", ");
        bool happened = message.kind == MESSAGE_EVENT;
        struct slice first = happened ? message.body : message.subject;
        struct slice second = happened ? message.subject : message.body;
        buffer_append_slice(&text, first);
        buffer_append_string(&text, happened ? " " : ": ");
        buffer_append_slice(&text, second);
    }
    assert_int_equal(rest.size, 0);
    buffer_clear(&events.messages);
    buffer_append_byte(&text, '\0');
    return (const char *)text.data;
}

#define TELLS(h, command, expected)                                                                                    \
    do {                                                                                                               \
        (void)harness_apply(h, command);                                                                               \
        assert_string_equal(told(), expected);                                                                         \
    } while (0)

static int setup(void **state)
{
    harness_setup(state);
    events = (struct machine_events){.wanted = EVENT_CLASSES & ~(uint32_t)(EVENT_NEW | EVENT_MISSED)};
    machine_listen(((struct harness *)*state)->machine, &events);
    return 0;
}

static int teardown(void **state)
{
    buffer_deinit(&events.messages);
    buffer_deinit(&text);
    return harness_teardown(state);
}

static void test_strings(void **state)
{
    struct harness *h = *state;
    TELLS(h, "SET a 1", "set a");
    TELLS(h, "SET a 1 NX", "");
    TELLS(h, "SET a 1 EX 10", "set a, expire a");
    TELLS(h, "SETEX a 10 1", "set a, expire a");
    TELLS(h, "SETNX a 1", "");
    TELLS(h, "SETNX b 1", "set b");
    TELLS(h, "GETSET b 2", "set b");
    TELLS(h, "MSET a 1 b 2", "set a, set b");
    TELLS(h, "MSETNX a 1 c 2", "");
    TELLS(h, "INCR a", "incrby a");
    TELLS(h, "DECRBY a 5", "incrby a");
    TELLS(h, "INCRBYFLOAT a 0.5", "incrbyfloat a");
    TELLS(h, "INCR a", "");
    TELLS(h, "APPEND a x", "append a");
    TELLS(h, "SETRANGE a 1 y", "setrange a");
    TELLS(h, "SETRANGE a 1 \"\"", "");
    TELLS(h, "GETEX a PX 500", "expire a");
    TELLS(h, "GETEX a PERSIST", "persist a");
    TELLS(h, "GETEX a PERSIST", "");
    TELLS(h, "GETEX a", "");
    TELLS(h, "GETEX a PXAT 1", "del a");
    TELLS(h, "GETDEL b", "del b");
    TELLS(h, "GET a", "");
}

static void test_keys(void **state)
{
    struct harness *h = *state;
    TELLS(h, "MSET a 1 b 2", "set a, set b");
    TELLS(h, "EXPIRE a 10", "expire a");
    TELLS(h, "EXPIRE a 10 NX", "");
    TELLS(h, "PERSIST a", "persist a");
    TELLS(h, "PERSIST a", "");
    TELLS(h, "EXPIRE a -1", "del a");
    TELLS(h, "RENAME b c", "rename_from b, rename_to c");
    TELLS(h, "RENAME c c", "");
    TELLS(h, "COPY c d", "copy_to d");
    TELLS(h, "COPY c d", "");
    TELLS(h, "COPY c d REPLACE", "copy_to d");
    TELLS(h, "RENAMENX c d", "");
    TELLS(h, "UNLINK x d", "del d");
    TELLS(h, "FLUSHALL", "");
}

static void test_hashes(void **state)
{
    struct harness *h = *state;
    TELLS(h, "HSET h a 1 b 2", "hset h");
    TELLS(h, "HMSET h a 1", "hset h");
    TELLS(h, "HSETNX h a 1", "");
    TELLS(h, "HSETNX h c 1", "hset h");
    TELLS(h, "HINCRBY h a 1", "hincrby h");
    TELLS(h, "HINCRBYFLOAT h a 1", "hincrbyfloat h");
    TELLS(h, "HDEL h x", "");
    TELLS(h, "HDEL h a b", "hdel h");
    TELLS(h, "HDEL h c x", "hdel h, del h");
    TELLS(h, "HDEL h c", "");
}

static void test_what_falls_due(void **state)
{
    struct harness *h = *state;
    TELLS(h, "SET a 1 PX 10", "set a, expire a");
    TELLS(h, "SET b 1 PX 10", "set b, expire b");
    harness_pass(h, 20);
    TELLS(h, "SET a 2", "expired a, set a");
    h->position += 3;
    machine_apply_time(h->machine, &(struct machine_context){h->position, h->time_ms, h->wall_ms, 0});
    assert_string_equal(told(), "expired b");
}

static void test_new_and_missed(void **state)
{
    struct harness *h = *state;
    events.wanted = EVENT_CLASSES;
    TELLS(h, "SET a 1", "new a, set a");
    TELLS(h, "SET a 1", "set a");
    TELLS(h, "RENAME a b", "new b, rename_from a, rename_to b");
    TELLS(h, "COPY b c", "new c, copy_to c");
    TELLS(h, "HSET h f 1", "new h, hset h");
    TELLS(h, "GET x", "keymiss x");
    TELLS(h, "MGET b x c y", "keymiss x, keymiss y");
    TELLS(h, "SET x 1 GET", "keymiss x, new x, set x");
    TELLS(h, "GETDEL y", "keymiss y");
    TELLS(h, "INCR z", "new z, incrby z");
    (void)harness_read(h, "EXISTS nope b");
    assert_string_equal(told(), "keymiss nope");
    TELLS(h, "SET t 1 PX 10", "new t, set t, expire t");
    harness_pass(h, 20);
    assert_null(harness_read(h, "GET t")); /* it goes through the log, where it is told */
    assert_string_equal(told(), "");
    TELLS(h, "GET t", "keymiss t");
}

static void test_classes(void **state)
{
    struct harness *h = *state;
    events.wanted = EVENT_GENERIC;
    TELLS(h, "SET a 1 EX 10", "expire a");
    events.wanted = EVENT_EXPIRED;
    TELLS(h, "HSET h f 1", "");
    TELLS(h, "DEL a h", "");
    events.wanted = 0;
    TELLS(h, "SET a 1 EX 10", "");
}

static void test_scripts(void **state)
{
    struct harness *h = *state;
    TELLS(
        h,
        "EVAL \"redis.call('set', KEYS[1], 1) redis.call('publish', 'c', 'm') return redis.call('del', KEYS[1])\" 1 a",
        "set a, c: m, del a");
    CHECK(h, "EVAL \"return redis.call('publish', 'c', 'm')\" 0", ":0");
    CHECK(h, "EVAL \"return redis.call('spublish', 'c', 'm')\" 0", ":0");
    assert_string_equal(told(), "c: m, c: m");
    TELLS(h, "EVAL \"redis.call('incr', KEYS[1]) redis.call('publish', 'c', 'm') error('x')\" 1 a", "incrby a, c: m");
    TELLS(h, "EVAL \"redis.call('incr', KEYS[1]) redis.call('publish', 'c', 'm') while true do end\" 1 a", "");
    TELLS(h, "EVAL_RO \"return redis.call('publish', 'c', 'm')\" 0", "");
    events.wanted = 0; /* that is about events alone */
    TELLS(h, "EVAL \"redis.call('incr', KEYS[1]) return redis.call('publish', 'c', 'm')\" 1 a", "c: m");
}

/* How much a script may publish does not depend on whether anybody listens. */
static void test_a_script_publishes_so_much(void **state)
{
    struct harness *h = *state;
    static const char script[] = "EVAL \"local t = ('x'):rep(1048576) local n = 0 while n < 100 and "
                                 "type(redis.pcall('publish', 'c', t)) == 'number' do n = n + 1 end return n\" 0";
    CHECK(h, script, ":15"); /* each takes some bytes more */
    assert_in_range(events.messages.size, 15 << 20, 16 << 20);
    buffer_clear(&events.messages);
    machine_listen(h->machine, NULL);
    CHECK(h, script, ":15");
}

static void test_transactions(void **state)
{
    struct harness *h = *state;
    (void)harness_exec(h, "", "SET a 1", "INCR a", "HSET a f 1", "DEL a", NULL);
    assert_string_equal(told(), "set a, incrby a, del a");
    (void)harness_exec(h, "a 77", "SET a 1", NULL);
    assert_string_equal(told(), "");
}

/* What waits is bounded; nothing else is lost. */
static void test_too_much(void **state)
{
    events.messages.size = 0;
    char *key = test_malloc(1 << 20);
    memset(key, 'k', 1 << 20);
    for (int i = 0; i < 100; i++) {
        machine_events_note(&events, EVENT_GENERIC, "del", slice_of(key, 1 << 20));
    }
    assert_in_range(events.messages.size, EVENTS_BYTES - (2 << 20), EVENTS_BYTES);
    assert_int_equal(events.dropped, 100 - 63);
    buffer_clear(&events.messages);
    machine_events_note(&events, EVENT_GENERIC, "del", SLICE_LITERAL("a"));
    assert_string_equal(told(), "del a");
    test_free(key);
    (void)state;
}

static void test_listening_changes_nothing(void **state)
{
    static const char *const commands[] = {
        "SET a 1 PX 30",
        "HSET h f 1",
        "RENAME h g",
        "COPY g h",
        "DEL g",
        "GETEX a PERSIST",
        "INCR n",
        "EVAL \"redis.call('incr', KEYS[1]) redis.call('publish', 'c', 'm')\" 1 n",
        "EVAL \"redis.call('del', KEYS[1]) while true do end\" 1 n",
        "SET b 1 PX 5",
        "APPEND b x",
        "GET nope",
    };
    struct harness *h = *state;
    struct harness other;
    harness_init(&other);
    for (int i = 0; i < 100; i++) {
        const char *command = commands[i * 7 % (int)(sizeof(commands) / sizeof(commands[0]))];
        (void)harness_apply(h, command);
        (void)harness_apply(&other, command);
        harness_pass(h, 3);
        harness_pass(&other, 3);
        assert_int_equal(machine_digest(h->machine), machine_digest(other.machine));
    }
    assert_true(events.messages.size > 0);
    harness_deinit(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_strings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hashes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_falls_due, setup, teardown),
        cmocka_unit_test_setup_teardown(test_new_and_missed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_classes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scripts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_script_publishes_so_much, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transactions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_much, setup, teardown),
        cmocka_unit_test_setup_teardown(test_listening_changes_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
