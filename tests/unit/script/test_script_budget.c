/* A run ends at its budget and at its memory, whatever the script tries, and uses the same steps each time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>

#include "script/chunks.h"
#include "script_world.h"

static void stops(struct script_world *world, const char *source, enum script_end end)
{
    (void)script_world_run(world, source);
    uint64_t used = world->used;
    if (world->end != end || world->reply.data[0] != '-') {
        print_error("%s\n  ends as %d and not as %d: %.200s\n", source, world->end, end, (char *)world->reply.data);
        world->mistakes++;
    }
    (void)script_world_run(world, source);
    assert_int_equal(world->used, used);
}

static void over_budget(void **state)
{
    static const char *const sources[] = {
        "while true do end",
        "repeat until false",
        "local function f() return f() end return f()",
        "while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "local co = coroutine.wrap(function() while true do coroutine.yield() end end) while true do co() end",
        "while true do coroutine.wrap(function() pcall(error) end)() end",
        "coroutine.wrap(function() while true do pcall(error) end end)()",
        "while true do local t = {} end",
        "while true do redis.pcall('ping') end",
        "return string.rep('x', 2147483647)",
        "local s = string.rep('a', 1000000) while true do local t = s .. 'b' end",
        "local s = string.rep('a', 1000000) .. 'b' local t = string.rep('a', 1000000) .. 'c' while true do local _ = s "
        "< t end",
        "local s = string.rep('\\0', 1000000) .. 'b' local t = string.rep('\\0', 1000000) .. 'c' while true do local _ "
        "= s < t end",
        "return string.find(string.rep('a', 30000), string.rep('a?', 60) .. string.rep('a', 60) .. 'b')",
        "return string.find(string.rep('a', 30000), '.-.-.-.-b')",
        "return string.gsub(string.rep('a', 1000000), '.-.-.-x', '')",
        "return string.find(string.rep('(', 1000000), '%b()')",
        "local s = string.rep('a', 1000000) while true do s:find('aab', 1, true) end",
        "while true do ('x'):rep(100000):upper() end",
        "while true do string.format('%s', ('x'):rep(100000)) end",
        "local t = {} for i = 1, 100000 do t[i] = i end while true do table.insert(t, 1, 0) end",
        "table.insert({}, -2147483647, 1)",
        "local t = {} for i = 1, 100000 do t[i] = i end while true do table.concat(t) end",
        "local t = {} for i = 1, 100000 do t[i] = i % 7 end while true do table.sort(t) end",
        "local s = ('1'):rep(4000) while true do local _ = s + s end",
        "while true do unpack({}, 1, 7000) end",
        "local t = {unpack({}, 1, 7000)} local function f(...) while true do local a = ... end end f(unpack(t, 1, "
        "7000))",
        "local t = {} for i = 1, 20000 do t['k' .. i] = i end for k in pairs(t) do t[k] = nil end while true do "
        "next(t) end",
        "local t = {} for i = 1, 20000 do t['k' .. i] = i end for k in pairs(t) do t[k] = nil end"
        " local u = {} for i = 1, 50000 do u[i] = t end return cjson.encode(u)",
        "local t = {} t[1] = t t[2] = t return t",
        "local t = {1} for i = 1, 60 do t = {t, t} end return t",
        "local t = {1} for i = 1, 60 do t = {t, t} end return cjson.encode(t)",
        "while true do cjson.decode('[' .. ('1,'):rep(10000) .. '1]') end",
        "while true do redis.sha1hex(('x'):rep(100000)) end",
        "while true do loadstring('return 1') end",
        "return loadstring('local a a = a ' .. string.rep('or a ', 20000))",
        "table.foreachi({1, 2, 3}, function() while true do end end)",
        "('aaa'):gsub('a', function() while true do end end)",
        "setmetatable({}, {__index = function(t, k) return t[k .. 'x'] end}).a = nil while true do end",
    };
    struct script_world *world = *state;
    world->budget = 2 * 1000 * 1000;
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        stops(world, sources[i], SCRIPT_OVER_BUDGET);
    }
}

static void over_memory(void **state)
{
    static const char *const sources[] = {
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(20) .. i end",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} while true do t = {t} pcall(function() t = {t, {}, {}} end) end",
        "return cjson.encode({('x'):rep(3000000), ('x'):rep(3000000)})",
        "cjson.encode_sparse_array(false, 0) return cjson.encode({[1] = 1, [10000000] = 1})",
        "local s = ('x'):rep(1000000) return {s, s, s, s, s, s, s, s, s, s}",
    };
    struct script_world *world = *state;
    world->memory_bytes = 8 << 20;
    world->budget = 50 * 1000 * 1000;
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        stops(world, sources[i], SCRIPT_OVER_MEMORY);
    }
}

/* The next run finds nothing of one that was stopped. */
static void stopped_run_leaves_nothing(void **state)
{
    struct script_world *world = *state;
    (void)script_world_run(world, "return 1");
    uint64_t used = world->used;
    world->memory_bytes = 8 << 20;
    stops(world, "local t = {} for i = 1, 1e9 do t[i] = i end", SCRIPT_OVER_MEMORY);
    expect_reply(world, "return 1", ":1~");
    assert_int_equal(world->used, used);
}

static void ordinary_work_fits(void **state)
{
    struct script_world *world = *state;
    expect_reply(world, "local n = 0 for i = 1, 1000000 do n = n + i end return n", ":500000500000~");
    expect_reply(world, "local t = {} for i = 1, 100000 do t[i] = i end return #t", ":100000~");
    expect_reply(world,
                 "local t = {} for i = 1, 5000 do t['k' .. i] = i end local n = 0 for k, v in pairs(t) do n = n + v "
                 "end return n",
                 ":12502500~");
    expect_reply(world, "local s = ('x'):rep(1000000) return #(s .. s)", ":2000000~");
    expect_reply(world, "local t = {} for i = 1, 20000 do t[i] = (i * 7919) % 20011 end table.sort(t) return t[20000]",
                 ":20010~");
    expect_reply(world, "return #cjson.decode('[' .. ('1,'):rep(20000) .. '1]')", ":20001~");
}

/* A reply that nobody waits for costs the same, and stops the same. */
static void discarded_reply(void **state)
{
    struct script_world *world = *state;
    struct script_run run = {.source =
                                 SLICE_LITERAL("local s = ('x'):rep(1000000) return {s, s, s, s, s, s, s, s, s, s}"),
                             .budget = SCRIPT_BUDGET,
                             .memory_bytes = 8 << 20};
    struct script_host host = {0};
    struct resp_writer nobody = resp_writer_to(NULL, RESP2);
    uint64_t used;
    assert_int_equal(script_run(world->engine, &run, &host, &nobody, &used), SCRIPT_OVER_MEMORY);
    run.memory_bytes = SCRIPT_MEMORY_BYTES;
    assert_int_equal(script_run(world->engine, &run, &host, &nobody, &used), SCRIPT_RETURNED);
    struct resp_writer somebody = resp_writer_to(&world->reply, RESP3);
    uint64_t used_again;
    assert_int_equal(script_run(world->engine, &run, &host, &somebody, &used_again), SCRIPT_RETURNED);
    assert_int_equal(used, used_again);
}

/* Many texts between two runs of one, so that it was compiled, is still there, and is compiled again. */
static void compiled_now_or_earlier(void **state)
{
    struct script_world *world = *state;
    static const char first[] = "local t = {[{}] = 1, [{}] = 2, [{}] = 3} local s = '' for k, v in pairs(t) do "
                                "s = s .. v .. tostring(k) end return {s, ARGV[1], #KEYS}";
    char expected[256];
    (void)snprintf(expected, sizeof(expected), "%s", script_world_run(world, first));
    uint64_t used = world->used;
    for (int between = 0; between < 3 * CHUNKS; between += 1 + between / 4) {
        for (int i = 0; i < between; i++) {
            char text[64];
            (void)snprintf(text, sizeof(text), "return %d%s", i, i % 3 == 0 ? " +" : "");
            (void)script_world_run(world, text);
        }
        expect_reply(world, first, expected);
        assert_int_equal(world->used, used);
    }
}

/* What a text was compiled under holds for its runs. */
static void other_limits(void **state)
{
    struct script_world *world = *state;
    expect_reply(world, "return #('x'):rep(10000)", ":10000~");
    uint64_t used = world->used;
    world->budget = used - 1;
    stops(world, "return #('x'):rep(10000)", SCRIPT_OVER_BUDGET);
    world->budget = used;
    expect_reply(world, "return #('x'):rep(10000)", ":10000~");
    assert_int_equal(world->used, used);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(compiled_now_or_earlier, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(other_limits, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(over_budget, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(over_memory, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(stopped_run_leaves_nothing, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(ordinary_work_fits, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(discarded_reply, script_world_setup, script_world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
