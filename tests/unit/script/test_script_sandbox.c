/* No way out, nothing that differs between nodes, nothing left for the next run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "script_world.h"

static const char unknown[] = "-ERR user_script:1: Script attempted to access nonexistent global variable '%s' script: "
                              "<sha>, on @user_script:1.~";

static void absent_names(void **state)
{
    static const char *const names[] = {"package",  "require",        "module",   "io",      "os",
                                        "debug",    "dofile",         "loadfile", "getfenv", "setfenv",
                                        "newproxy", "collectgarbage", "print",    "gcinfo"};
    char source[64], reply[256];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(source, sizeof(source), "return %s", names[i]);
        (void)snprintf(reply, sizeof(reply), unknown, names[i]);
        expect_reply(*state, source, reply);
    }
    expect_text(*state, "string.dump", "nil");
}

/* The same tables at the same addresses, so that they come in the same order: here, on every node, and in this list. */
static void order_of_pairs(void **state)
{
    struct script_world *world = *state;
    static const char by_name[] = "local t = {} for i = 1, 12 do t['key' .. i] = i end local r = {} "
                                  "for k in pairs(t) do r[#r + 1] = k end return table.concat(r, ' ')";
    static const char by_table[] = "local t = {} for i = 1, 100 do t[{}] = i end local r = {} "
                                   "for k, v in pairs(t) do r[#r + 1] = v end return table.concat(r, ' ')";
    expect_reply(world, by_name, "$62~key6 key9 key2 key1 key10 key12 key11 key5 key7 key3 key4 key8~");
    (void)script_world_run(world, by_table);
    char first[1024];
    (void)snprintf(first, sizeof(first), "%s", (char *)world->reply.data);
    (void)script_world_run(world, "local t = {} for i = 1, 1000 do t[i] = {('x'):rep(i)} end return 1");
    expect_reply(world, by_table, first);
    assert_int_equal(script_world_teardown(state), 0);
    assert_int_equal(script_world_setup(state), 0);
    expect_reply(*state, by_table, first);
}

static void no_addresses(void **state)
{
    struct script_world *world = *state;
    expect_text(world, "{}", "table: 0x00000001");
    expect_reply(world, "local a, b = {}, {} return {tostring(a), tostring(b), tostring(a), tostring(tostring)}",
                 "*4~$17~table: 0x00000001~$17~table: 0x00000002~$17~table: 0x00000001~$20~function: 0x00000003~");
    expect_text(world, "coroutine.create(function() end)", "thread: 0x00000001");
    expect_text(world, "cjson.null", "userdata: (nil)");
}

static void random_numbers(void **state)
{
    struct script_world *world = *state;
    world->seed = 7;
    expect_reply(world, "local a = math.random(1000) math.randomseed(7) return a == math.random(1000)", ":1~");
    expect_reply(world, "math.randomseed(42) return {math.random(100), math.random(5, 10)}", "*2~:75~:7~");
    expect_reply(world, "math.randomseed(1.5) return math.random(100)", ":5~");
    expect_text(world, "math.random() < 1 and math.random() >= 0", "true");
}

/* SLEEF's digits; the last ones are not always those of another library. */
static void mathematics(void **state)
{
    struct script_world *world = *state;
    expect_text(world, "2 ^ 53", "9.007199254741e+15");
    expect_text(world, "2 ^ 53 == 9007199254740992", "true");
    expect_text(world,
                "(function() for i = 0, 308 do if 10 ^ i ~= tonumber('1e' .. i) and i < 23 then return i end end "
                "return nil end)()",
                "nil");
    expect_text(
        world,
        "(function() for i = -1022, 1023 do if 2 ^ i ~= math.ldexp(1, i) then return i end end return nil end)()",
        "nil");
    expect_text(world, "string.format('%.17g', math.sin(1))", "0.8414709848078965");
    expect_text(world, "string.format('%.17g', math.exp(1))", "2.7182818284590455");
    expect_text(world, "string.format('%.17g', 2 ^ 0.5)", "1.4142135623730951");
    expect_text(world, "string.format('%.17g', math.log(10))", "2.3025850929940459");
    expect_text(world, "5 % 3 .. ' ' .. -5 % 3 .. ' ' .. 5.5 % 2", "2 1 1.5");
    expect_text(world, "0 / 0 ~= 0 / 0", "true");
    expect_text(world, "math.huge .. ' ' .. -math.huge", "inf -inf");
}

static void nothing_stays(void **state)
{
    struct script_world *world = *state;
    expect_reply(world, "KEYS.x = 1 redis.setresp(3) math.random() cjson.encode_max_depth(2) tostring({}) return 1",
                 ":1~");
    expect_text(world, "KEYS.x", "nil");
    expect_text(world, "{}", "table: 0x00000001");
    expect_reply(world, "return cjson.encode({{{{1}}}})", "$9~[[[[1]]]]~");
    expect_reply(world, "return false", "$-1~");
}

static void protected_tables(void **state)
{
    static const char *const sources[] = {
        "_G.string.x = 1",
        "string.rep = nil",
        "redis.call = nil",
        "cjson.encode = 1",
        "bit.x = 1",
        "math.pi = 3",
        "coroutine.x = 1",
        "table.concat = 1",
        "getmetatable('').__index = 1",
        "getmetatable('').__add = 1",
        "getmetatable(_G).__newindex = nil",
        "string = 1",
        "a = 1",
        "KEYS = 1",
    };
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        expect_reply(*state, sources[i],
                     "-ERR user_script:1: Attempt to modify a readonly table script: <sha>, on @user_script:1.~");
    }
    static const char *const raw[] = {"rawset(string, 'x', 1)",
                                      "setmetatable(_G, nil)",
                                      "setmetatable(math, {})",
                                      "table.insert(redis, 1)",
                                      "table.sort(cjson)",
                                      "table.remove(bit)",
                                      "rawset(getmetatable(''), '__index', 1)"};
    for (size_t i = 0; i < sizeof(raw) / sizeof(raw[0]); i++) {
        expect_reply(*state, raw[i], "-ERR Attempt to modify a readonly table script: <sha>, on @user_script:1.~");
    }
    expect_reply(*state, "local n = 0 for k in pairs(string) do n = n + 1 end return n > 10", ":1~");
    expect_reply(*state, "for k, v in pairs(_G) do if k == 'redis' then return 1 end end", ":1~");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(absent_names, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(order_of_pairs, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(no_addresses, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(random_numbers, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(mathematics, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(nothing_stays, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(protected_tables, script_world_setup, script_world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
