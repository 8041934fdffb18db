/* What Redis's security notices tell of scripts, each tried here. Not of scripts are CVE-2023-41056 (the growth of a
 * client's buffer) and CVE-2024-51741 (selectors of ACLs). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "script_world.h"

/* CVE-2022-0543: Debian's Lua left `package` among the globals. */
static void package_is_gone(void **state)
{
    expect_reply(
        *state, "local n = 0 for k in pairs(_G) do if k == 'package' or k == 'require' then n = n + 1 end end return n",
        ":0~");
    expect_text(*state, "rawget(_G, 'package')", "nil");
}

/* CVE-2015-4335: bytecode is trusted by the virtual machine. */
static void bytecode_is_refused(void **state)
{
    expect_reply(*state, "return select(2, loadstring('\\27Lua'))", "$24~bytecode is not a script~");
    expect_reply(*state,
                 "local n = 0 return select(2, load(function() n = n + 1 return n == 1 and '\\27' or n == 2 and 'Lua' "
                 "or nil end))",
                 "$24~bytecode is not a script~");
    expect_reply(*state, "\x1bLua", "-ERR Error compiling script (new function): bytecode is not a script~");
}

/* CVE-2022-24735, CVE-2025-46818: a script changes what the next one calls. */
static void libraries_stay_as_they_are(void **state)
{
    (void)script_world_run(*state,
                           "local mt = getmetatable('') pcall(function() mt.__index = function() return 'x' end end)");
    (void)script_world_run(*state, "pcall(rawset, getmetatable(''), '__index', nil) pcall(setmetatable, string, {})");
    (void)script_world_run(*state, "pcall(function() getmetatable('').__call = function() return 1 end end)");
    expect_reply(*state, "return ('a'):rep(3)", "$3~aaa~");
    expect_text(*state, "getmetatable(1) or getmetatable(true) or getmetatable(next)", "nil");
    expect_reply(*state, "return setmetatable(1, {})",
                 "-ERR user_script:1: bad argument #1 to 'setmetatable' (table expected, got number) script: <sha>, on "
                 "@user_script:1.~");
}

/* CVE-2022-24736: an empty or half-made text. */
static void odd_texts(void **state)
{
    expect_reply(*state, "", "$-1~");
    expect_reply(*state, " ", "$-1~");
    expect_reply(*state, "--", "$-1~");
    expect_reply(*state, "return", "$-1~");
    (void)script_world_run_bytes(*state, slice_of("return '\0'", 10));
    (void)script_world_run_bytes(*state, slice_of("\0\0", 2));
    (void)script_world_run(*state, "return redis.call('\\0')");
    (void)script_world_run(*state, "redis.call(unpack({}))");
}

/* CVE-2021-32626: more values than the stack has room for. */
static void many_values(void **state)
{
    expect_reply(*state, "return #{unpack({}, 1, 7990)}", ":0~");
    (void)script_world_run(*state, "return redis.call('echo', unpack({}, 1, 7990))");
    (void)script_world_run(
        *state,
        "return redis.call(unpack((function() local t = {} for i = 1, 7990 do t[i] = 'x' end return t end)()))");
    (void)script_world_run(
        *state,
        "return string.char(unpack((function() local t = {} for i = 1, 7990 do t[i] = 65 end return t end)()))");
    (void)script_world_run(*state, "return {string.byte(('x'):rep(100000), 1, -1)}");
    (void)script_world_run(*state, "return cjson.decode(('['):rep(900) .. (']'):rep(900))");
    struct script_world *world = *state;
    world->answer = "*2\r\n*1\r\n*1\r\n:1\r\n$-1\r\n";
    expect_reply(world, "return redis.call('answer')", "*2~*1~*1~:1~$-1~");
}

/* CVE-2024-31449 */
static void tohex_of_any_width(void **state)
{
    expect_reply(*state, "return bit.tohex(65535, -2147483648)", "$8~0000FFFF~");
    expect_reply(*state, "return bit.tohex(65535, 2147483648)", "$8~0000FFFF~");
    expect_reply(*state, "return bit.tohex(65535, -4)", "$4~FFFF~");
    expect_reply(*state, "return bit.tohex(65535, 0)", "$0~~");
    expect_reply(*state, "return bit.tohex(65535, 2^53)", "$0~~");
    (void)script_world_run(*state, "return bit.tohex(65535, 0/0)");
    (void)script_world_run(*state, "return bit.tohex(65535, '-2147483648')");
}

/* CVE-2024-46981: finalizers and the collector. */
static void no_finalizers(void **state)
{
    expect_reply(*state,
                 "local n = 0 for i = 1, 10000 do setmetatable({}, {__gc = function() n = n + 1 end}) end return n",
                 ":0~");
    expect_reply(*state,
                 "local t = setmetatable({}, {__mode = 'k'}) for i = 1, 10000 do t[{}] = ('x'):rep(100) end return 1",
                 ":1~");
}

/* CVE-2025-49844: the collector runs while a chunk's name is known to the parser alone. */
static void nothing_is_collected_while_compiling(void **state)
{
    expect_reply(*state,
                 "for i = 1, 2000 do local f = loadstring('local a = ' .. ('\"x\" .. '):rep(20) .. '\"' .. i .. '\"', "
                 "'name' .. i) "
                 "local g = ('y'):rep(200) .. i f() end return 1",
                 ":1~");
}

/* CVE-2025-46817 */
static void unpack_counts_in_64_bits(void **state)
{
    static const char reply[] = "-ERR user_script:1: too many results to unpack script: <sha>, on @user_script:1.~";
    expect_reply(*state, "return unpack({}, 0, 2147483647)", reply);
    expect_reply(*state, "return unpack({}, -2147483648, 2147483647)", reply);
    expect_reply(*state, "return unpack({}, -2147483648, -1)", reply);
    expect_reply(*state, "return unpack({}, 1, 8000)", reply);
    expect_reply(*state, "return #{unpack({1, 2}, 2147483646, 2147483647)}", ":0~");
}

/* CVE-2025-46819: a long bracket of as many "=" as a script may have. */
static void long_brackets(void **state)
{
    char *source = malloc(SCRIPT_SOURCE_BYTES + 2);
    memset(source, '=', SCRIPT_SOURCE_BYTES);
    memcpy(source, "a=[", 3);
    (void)script_world_run_bytes(*state, slice_of(source, SCRIPT_SOURCE_BYTES));
    (void)script_world_run_bytes(*state, slice_of(source, SCRIPT_SOURCE_BYTES + 1));
    struct script_world *world = *state;
    assert_non_null(strstr((char *)world->reply.data, "a script has at most 262144 bytes"));
    free(source);
    expect_reply(world, "return [==[x]==]", "$1~x~");
    (void)script_world_run(world, "return [=");
    (void)script_world_run(world, "return [=[x");
    (void)script_world_run(world, "return [=[x]");
    (void)script_world_run(world, "--[==");
}

/* CVE-2021-32672 (the debugger reads beyond what it was sent), CVE-2020-14147, CVE-2018-11218 and CVE-2018-11219
 * (struct and cmsgpack): none of them is there. */
static void no_debugger_and_no_packers(void **state)
{
    expect_reply(*state, "return redis.breakpoint()", "$-1~");
    expect_reply(*state, "redis.debug(('x'):rep(100000), {}, nil) return 1", ":1~");
    expect_text(*state, "rawget(_G, 'struct') or rawget(_G, 'cmsgpack') or rawget(_G, 'debug')", "nil");
}

/* CVE-2022-24834: cjson counts room in 32 bits, which six bytes for each byte of a long string are too many for. The
 * limit of memory is far below. */
static void json_of_long_strings(void **state)
{
    struct script_world *world = *state;
    world->budget = 1000 * 1000 * 1000;
    (void)script_world_run(world, "return cjson.encode(('\\1'):rep(30000000))");
    assert_int_equal(world->end, SCRIPT_OVER_MEMORY);
    (void)script_world_run(world, "local s = ('\\1'):rep(1000000) return cjson.encode({s, s, s, s, s, s, s, s, s, s})");
    assert_int_equal(world->end, SCRIPT_OVER_MEMORY);
    expect_reply(world, "return #cjson.encode(('\\1'):rep(1000000))", ":6000002~");
    expect_reply(world, "return #cjson.encode({[('\\1'):rep(100000)] = 1})", ":600006~");
}

/* CVE-2024-46981, CVE-2025-49844, once more with a collector that has much to do: texts, names and coroutines in turn,
 * some stopped by an error, and all of it the same again. */
static void collector_between_texts(void **state)
{
    struct script_world *world = *state;
    static const char source[] =
        "local kept = {} for i = 1, 1000 do "
        "kept[i % 50] = coroutine.wrap(function() local f = loadstring('local a = ' .. i .. ' return {a, \"' .. i .. "
        "'\"}', "
        "'chunk' .. i) local x = f() coroutine.yield(x) error(x) end) "
        "local first = kept[i % 50]() pcall(kept[i % 50]) pcall(loadstring, ('('):rep(i % 150), 'bad' .. i) "
        "assert(first[2] == tostring(i)) end return 1";
    expect_reply(world, source, ":1~");
    uint64_t used = world->used;
    expect_reply(world, source, ":1~");
    assert_int_equal(world->used, used);
}

/* Everything that calls itself: on the C stack, in the parser, in a pattern, in coroutines, in handlers of errors. */
static void deep_recursion(void **state)
{
    struct script_world *world = *state;
    static const char *const sources[] = {
        "local function f() return pcall(f) end return tostring(f())",
        "local function f(...) return select('#', pcall(f, ...)) end return f()",
        "local function f() return 1 + f() end return f()",
        "local function f() return table.sort({1, 2, 3}, f) end f()",
        "local function f(x) return (('a'):gsub('a', f)) end return f()",
        "local function f() return coroutine.wrap(f)() end return f()",
        "local function f() return coroutine.resume(coroutine.create(f)) end return tostring(f())",
        "local function f() xpcall(error, f) end f()",
        "local t = setmetatable({}, {__index = function(t, k) return t[k] end}) return t.x",
        "local t = {} setmetatable(t, {__index = t, __tostring = tostring}) return tostring(t)",
        "local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x",
        "local s = ('('):rep(10000) return tostring(loadstring('return ' .. s .. '1'))",
        "local s = ('{'):rep(10000) return tostring(loadstring('return ' .. s .. '1'))",
        "return tostring(loadstring(('function() '):rep(1000)))",
        "return tostring(loadstring('return ' .. ('-'):rep(10000) .. '1'))",
        "return tostring(loadstring('return ' .. ('a..'):rep(10000) .. 'a'))",
        "return ('x'):find(('a?'):rep(10000))",
        "return ('x'):rep(10000):find(('x?'):rep(10000))",
        "return ('x'):find(('('):rep(10000))",
        "return cjson.decode(('['):rep(100000))",
        "local t = {} for i = 1, 100000 do t = {t} end return t",
        "local t = {} for i = 1, 100000 do t = {t} end return cjson.encode(t)",
        "local t = {} t.t = t return cjson.encode(t)",
    };
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        (void)script_world_run(world, sources[i]);
        uint64_t used = world->used;
        (void)script_world_run(world, sources[i]);
        assert_int_equal(world->used, used);
    }
    expect_reply(world, "return ('x'):rep(10000):find(('x?'):rep(10000))",
                 "-ERR user_script:1: pattern too complex script: <sha>, on @user_script:1.~");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(package_is_gone, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(bytecode_is_refused, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(libraries_stay_as_they_are, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(odd_texts, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(many_values, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(tohex_of_any_width, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(no_finalizers, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(nothing_is_collected_while_compiling, script_world_setup,
                                        script_world_teardown),
        cmocka_unit_test_setup_teardown(unpack_counts_in_64_bits, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(long_brackets, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(no_debugger_and_no_packers, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(json_of_long_strings, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(collector_between_texts, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(deep_recursion, script_world_setup, script_world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
