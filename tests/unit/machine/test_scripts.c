/* Scripts on the machine's keys: what they may say, what stays of them, and that replicas agree. */
#include "harness.h"

#include <stdio.h>
#include <string.h>

#define ENDLESS "while true do end"

static void test_keys_and_arguments(void **state)
{
    struct harness *h = *state;
    CHECK(h, "EVAL \"return redis.call('set', KEYS[1], ARGV[1])\" 1 a x", "+OK");
    CHECK(h, "GET a", "$1 x");
    CHECK(h, "EVAL \"return {KEYS[1], ARGV[1], #KEYS, #ARGV}\" 1 a b c", "*4 $1 a $1 b :1 :2");
    CHECK(h, "EVAL \"return redis.call('incrby', KEYS[1], 5)\" 1 n", ":5");
    CHECK(h, "EVAL \"return redis.call('hgetall', KEYS[1])\" 1 none", "*0");
    CHECK(h, "EVAL \"return 1\" 0", ":1");
    CHECK(h, "EVAL \"return 1\" 1", "-ERR Number of keys can't be greater than number of args");
    CHECK(h, "EVAL \"return 1\" -1", "-ERR Number of keys can't be negative");
    CHECK(h, "EVAL \"return 1\" x", "-ERR value is not an integer or out of range");
    CHECK(h, "EVAL \"return redis.call('select', 0)\" 0", "+OK");
    CHECK(h, "EVAL \"return redis.pcall('select', '1')\" 0", "-ERR DB index is out of range");
    CHECK(h, "EVAL \"return redis.pcall('select', 'x')\" 0", "-ERR value is not an integer or out of range");
    CHECK(h, "EVAL \"return redis.call('time')\" 0", "*2 $10 1700000000 $1 0");
}

static void check_starts(struct harness *h, const char *command, const char *start)
{
    const char *reply = harness_apply(h, command);
    if (strncmp(reply, start, strlen(start)) != 0) {
        fail_msg("%s: %s", command, reply);
    }
}

static void test_refusals(void **state)
{
    struct harness *h = *state;
    check_starts(h, "EVAL \"return redis.call('get', 'b')\" 1 a",
                 "-ERR Script attempted to access a non local key in a cluster node script: ");
    check_starts(h, "EVAL \"return redis.call('eval', 'return 1', 0)\" 0",
                 "-ERR This Redis command is not allowed from script script: ");
    check_starts(h, "EVAL \"return redis.call('dbsize')\" 0", "-ERR This command is about the keys of all shards");
    check_starts(h, "EVAL \"return redis.call('multi')\" 0", "-ERR This Redis command is not allowed from script");
    check_starts(h, "EVAL \"return redis.call('nope')\" 0", "-ERR Unknown Redis command called from script");
    check_starts(h, "EVAL \"return redis.call('get')\" 0",
                 "-ERR Wrong number of args calling Redis command from script");
    check_starts(h, "EVAL \"return redis.call('cohort.part')\" 0", "-ERR Unknown Redis command called from script");
    check_starts(h, "EVAL_RO \"return redis.call('set', KEYS[1], 1)\" 1 a",
                 "-ERR Write commands are not allowed from read-only scripts.");
    CHECK(h, "EXISTS a", ":0");
}

/* What is kept to take a script back is its memory: old values of a hash's fields, and a value that is overwritten. */
static void test_journal_is_memory(void **state)
{
    struct harness *h = *state;
    static const char limit[] = "-ERR the script was stopped at its limit of 67108864 bytes of memory";
    CHECK(h,
          "EVAL \"for i = 1, 600 do redis.call('hset', KEYS[1], i, i) end redis.call('hset', KEYS[1], 'f', 'v')\" 1 h",
          "$-1");
    check_starts(
        h, "EVAL \"local s = ('x'):rep(1048576) for i = 1, 80 do redis.call('hset', KEYS[1], 'f', s) end\" 1 h", limit);
    CHECK(h, "HGET h f", "$1 v");
    CHECK(h, "EVAL \"local s = ('x'):rep(1048576) for i = 1, 40 do redis.call('hset', KEYS[1], 'f', s) end\" 1 h",
          "$-1");
    CHECK(h, "EVAL \"redis.call('setrange', KEYS[1], 70000000, 'x')\" 1 s", "$-1");
    check_starts(h, "EVAL \"redis.call('set', KEYS[2], 1) redis.call('set', KEYS[1], 'y')\" 2 s t", limit);
    CHECK(h, "STRLEN s", ":70000001");
    CHECK(h, "EXISTS t", ":0");
    check_starts(h, "EVAL \"redis.pcall('append', KEYS[1], 'y') return 1\" 1 s", limit);
    CHECK(h, "EVAL \"return redis.call('strlen', KEYS[1])\" 1 s", ":70000001");
}

static void test_reads(void **state)
{
    struct harness *h = *state;
    CHECK(h, "SET a 1", "+OK");
    CHECK(h, "EVAL_RO \"return redis.call('get', KEYS[1])\" 1 a", "$1 1");
    CHECK(h, "PEXPIRE a 10", ":1");
    harness_pass(h, 10);
    assert_null(harness_read(h, "EVAL_RO \"return redis.call('get', KEYS[1])\" 1 a")); /* the log decides */
    assert_string_equal(harness_apply(h, "EVAL_RO \"return redis.call('get', KEYS[1])\" 1 a"), "$-1");
}

static void test_what_stays(void **state)
{
    struct harness *h = *state;
    check_starts(h, "EVAL \"redis.call('set', KEYS[1], 1) redis.call('set', KEYS[2], 2) error('x')\" 2 a b",
                 "-ERR user_script");
    CHECK(h, "MGET a b", "*2 $1 1 $1 2");
    check_starts(h, "EVAL \"redis.call('del', KEYS[1]) redis.call('append', KEYS[2], 'x') " ENDLESS "\" 2 a b",
                 "-ERR the script was stopped after its budget of 5000000 steps, and nothing of it stays");
    CHECK(h, "MGET a b", "*2 $1 1 $1 2");
    check_starts(h,
                 "EVAL \"redis.call('set', KEYS[1], ('x'):rep(1000)) local s = ('x'):rep(1000) while true do s = s .. "
                 "s end\" 1 c",
                 "-ERR the script was stopped at its limit of 67108864 bytes of memory, and nothing of it stays");
    CHECK(h, "EXISTS c", ":0");
    CHECK(h, "HSET h f v", ":1");
    check_starts(
        h,
        "EVAL \"for i = 1, 2000 do redis.call('hset', KEYS[1], i, i) end redis.call('expire', KEYS[1], 100) " ENDLESS
        "\" 1 h",
        "-ERR the script was stopped");
    CHECK(h, "HGETALL h", "*2 $1 f $1 v");
    CHECK(h, "TTL h", ":-1");
    CHECK(h, "OBJECT ENCODING h", "$8 listpack");
}

/* Commands that do much for few words cost what they do. */
static void test_dear_commands(void **state)
{
    struct harness *h = *state;
    check_starts(h, "EVAL \"redis.call('setrange', KEYS[1], 400000000, 'x') return 1\" 1 large",
                 "-ERR the script was stopped after its budget");
    CHECK(h, "EXISTS large", ":0");
    CHECK(h, "EVAL \"return redis.call('setrange', KEYS[1], 1000000, 'x')\" 1 large", ":1000001");
    CHECK(h, "EVAL \"for i = 1, 20000 do redis.call('hset', KEYS[1], i, i) end return 1\" 1 h", ":1");
    check_starts(h,
                 "EVAL \"for i = 1, 3000 do redis.call('hscan', KEYS[1], 0, 'MATCH', 'z', 'COUNT', '100000') end\" 1 h",
                 "-ERR the script was stopped after its budget");
}

static void test_within_exec(void **state)
{
    struct harness *h = *state;
    assert_string_equal(
        harness_exec(h, "", "SET a 1", "EVAL \"return redis.call('incr', KEYS[1])\" 1 a", "GET a", NULL),
        "*3 +OK :2 $1 2");
    const char *reply =
        harness_exec(h, "", "SET a 1", "EVAL \"redis.call('set', KEYS[1], 9) " ENDLESS "\" 1 a", "GET a", NULL);
    assert_non_null(strstr(reply, "nothing of it stays"));
    CHECK(h, "GET a", "$1 1");
}

/* With and without replies, before and after others, also where a snapshot is taken: the same state. */
static void test_replicas_agree(void **state)
{
    static const char *const commands[] = {
        "EVAL \"math.randomseed(1) for i = 1, 100 do redis.call('hset', KEYS[1], math.random(1000), tostring({})) "
        "end\" 1 h",
        "EVAL \"for i = 1, 100 do redis.call('hset', KEYS[1], math.random(1000), i) end\" 1 h",
        "EVAL \"local t = {} for i = 1, 50 do t[{}] = i end for k, v in pairs(t) do redis.call('append', KEYS[1], v) "
        "end\" 1 s",
        "EVAL \"redis.call('set', KEYS[1], 2 ^ 0.5 .. math.sin(1)) redis.call('pexpire', KEYS[1], 50)\" 1 f",
        "EVAL \"redis.call('del', KEYS[1]) redis.call('set', KEYS[2], redis.call('time')[1]) " ENDLESS "\" 2 h s",
        "EVAL \"for i = 1, 1000 do redis.call('hset', KEYS[1], i, ('y'):rep(i % 100)) end\" 1 h",
        "EVAL \"for i = 1, 1000 do redis.call('hdel', KEYS[1], i) end redis.call('set', KEYS[1], 1) " ENDLESS "\" 1 h",
        "EVAL \"redis.call('rename', KEYS[1], KEYS[2]) redis.call('hset', KEYS[2], 1, 2) " ENDLESS "\" 2 h s",
        "EVAL \"redis.call('rename', KEYS[1], KEYS[2])\" 2 h g",
    };
    struct harness *h = *state, other, third;
    harness_init(&other);
    harness_init(&third);
    other.discard = true;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        struct buffer records;
        buffer_init(&records);
        uint64_t begun = machine_digest(third.machine);
        machine_snapshot_begin(third.machine);
        (void)machine_snapshot_step(third.machine, &records, 1);
        (void)harness_apply(h, commands[i]);
        (void)harness_apply(&other, commands[i]);
        (void)harness_read(h, "EVAL_RO \"return redis.call('hgetall', KEYS[1])\" 1 h");
        (void)harness_apply(&third, commands[i]);
        while (machine_snapshot_step(third.machine, &records, 100)) {
        }
        machine_snapshot_end(third.machine);
        struct machine *loaded = harness_load(buffer_slice(&records));
        assert_int_equal(machine_digest(loaded), begun);
        machine_destroy(loaded);
        buffer_deinit(&records);
        assert_int_equal(machine_digest(h->machine), machine_digest(other.machine));
        assert_int_equal(machine_digest(h->machine), machine_digest(third.machine));
        harness_pass(h, 7);
        harness_pass(&other, 7);
        harness_pass(&third, 7);
    }
    harness_deinit(&other);
    harness_deinit(&third);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_keys_and_arguments, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_refusals, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_journal_is_memory, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_reads, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_what_stays, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_dear_commands, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_within_exec, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_replicas_agree, harness_setup, harness_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
