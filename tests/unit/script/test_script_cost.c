/* What costs more than an instruction is charged for it: each of these does something a fixed number of times, and must
 * use at least so many steps. The figures are some 20 ns to a step on the machine where they were measured; what they
 * replace was one or two steps for microseconds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "script_world.h"

static void costs(struct script_world *world, const char *source, uint64_t least)
{
    world->budget = 100 * 1000 * 1000;
    (void)script_world_run(world, source);
    if (world->used < least) {
        print_error("%s\n  used %llu steps and not %llu\n", source, (unsigned long long)world->used,
                    (unsigned long long)least);
        world->mistakes++;
    }
}

/* Each runs its tail 100 times. */
static void each_of_a_hundred(struct script_world *world, const char *before, const char *tail, uint64_t least)
{
    char source[2048];
    world->budget = 100 * 1000 * 1000;
    (void)snprintf(source, sizeof(source), "%s for i = 1, 100 do end", before);
    (void)script_world_run(world, source);
    uint64_t empty = world->used;
    (void)snprintf(source, sizeof(source), "%s for i = 1, 100 do %s end", before, tail);
    costs(world, source, empty + 100 * least);
}

static void numbers_as_text(void **state)
{
    each_of_a_hundred(*state, "local f = string.format", "f('%99.99f', 1e300)", 400);
    each_of_a_hundred(*state, "local f = string.format", "f('%99.99e%99.99e', 1e-300, 1e-300)", 200);
    each_of_a_hundred(*state, "local f, x = tostring, 1e-300", "f(x)", 20);
    each_of_a_hundred(*state, "local x = 1e-300", "local y = x .. x", 40);
    each_of_a_hundred(*state, "local t = {} for i = 1, 100 do t[i] = 1e-300 end", "cjson.encode(t)", 2000);
    each_of_a_hundred(*state, "local x = 1e-300", "redis.call('ping', x)", 20);
    each_of_a_hundred(*state, "local x = '1e-300'", "local y = x + 1", 8);
}

static void mathematics(void **state)
{
    each_of_a_hundred(*state, "local f, x = math.fmod, 1e308", "f(x, 3e-308)", 60);
    each_of_a_hundred(*state, "local x, y = 1.1, 2.3", "local z = x ^ y", 3);
    each_of_a_hundred(*state, "local t = {} for i = 1, 7000 do t[i] = i end", "math.max(unpack(t, 1, 7000))", 2500);
}

static void json(void **state)
{
    each_of_a_hundred(*state, "local s = ('x'):rep(100000)", "cjson.encode(s)", 12000);
    each_of_a_hundred(*state, "local s = '[' .. (' '):rep(100000) .. ']'", "cjson.decode(s)", 12000);
    each_of_a_hundred(*state, "cjson.encode_sparse_array(false, 0) local t = {[1] = 1, [50000] = 1}", "cjson.encode(t)",
                      50000);
}

static void matches(void **state)
{
    each_of_a_hundred(*state, "local s = ('a'):rep(100)", "s:gsub('a', '')", 200);
    each_of_a_hundred(*state, "local f = string.find", "f('a', 'a?a?a?a?')", 8);
    /* The end of a set is looked for at each place. */
    each_of_a_hundred(*state, "local p = '[' .. ('a'):rep(10000) .. ']'", "('a'):find(p)", 10000);
    each_of_a_hundred(*state, "local p = ('a'):rep(10000) .. '?'", "('b'):find(p)", 600);
}

static void values_copied(void **state)
{
    static const char values[] = "local t = {} for i = 1, 7000 do t[i] = 65 end local function g(...) return ... end "
                                 "local function f(...) ";
    char source[512];
    (void)snprintf(source, sizeof(source), "%s for i = 1, 100 do g(...) end end f(unpack(t, 1, 7000))", values);
    costs(*state, source, 100 * 2 * 7000 / 16);
    (void)snprintf(source, sizeof(source), "%s for i = 1, 100 do string.char(...) end end f(unpack(t, 1, 7000))",
                   values);
    costs(*state, source, 100 * 7000 / 4);
}

static uint32_t hash_of(const uint8_t *bytes, size_t size)
{
    uint32_t hash = (uint32_t)size;
    size_t step = (size >> 5) + 1;
    for (size_t at = size; at >= step; at -= step) {
        hash ^= (hash << 5) + (hash >> 2) + bytes[at - 1];
    }
    return hash;
}

/* Strings of one bucket, each of another size, so that nothing compares them; two of those that are hashed are chosen.
 */
static void strings_that_collide(void **state)
{
    enum { COUNT = 1000, SHORTEST = 40, ENTRY_BYTES = 64 };
    char *source = malloc(COUNT * ENTRY_BYTES);
    size_t used = (size_t)snprintf(source, ENTRY_BYTES, "local t = {");
    uint8_t text[COUNT + SHORTEST];
    memset(text, 'x', sizeof(text));
    for (size_t size = SHORTEST; size < SHORTEST + COUNT; size++) {
        size_t step = (size >> 5) + 1, other = size - 1 - step;
        uint32_t last = 0;
        do {
            last++;
            text[other] = (uint8_t)(last >> 8);
            text[size - 1] = (uint8_t)last;
        } while (hash_of(text, size) % 4096 != 7 && last < UINT16_MAX);
        used += (size_t)snprintf(source + used, ENTRY_BYTES, "('x'):rep(%zu)..'\\%03d'..('x'):rep(%zu)..'\\%03d',",
                                 other, text[other], step - 1, text[size - 1]);
        text[other] = text[size - 1] = 'x';
    }
    (void)snprintf(source + used, ENTRY_BYTES, "}");
    struct script_world *world = *state;
    costs(world, source, COUNT * COUNT / 2 + 4 * used);
    free(source);
}

static void keys_that_collide(void **state)
{
    struct script_world *world = *state;
    /* Doubles whose two words add up to multiples of a number of places. */
    costs(world, "local t, n = {}, 2 ^ 10 - 1 for i = 1, 1000 do t[2 ^ 52 + i * n] = 1 end", 100000);
    each_of_a_hundred(world, "local t, n = {}, 2 ^ 10 - 1 for i = 1, 1000 do t[2 ^ 52 + i * n] = 1 end",
                      "local x = t[2 ^ 52 + 2000 * n]", 200);
    each_of_a_hundred(world, "local t, n = {}, 2 ^ 10 - 1 for i = 1, 1000 do t[2 ^ 52 + i * n] = 1 end",
                      "for k in pairs(t) do end", 100000);
    /* Found out before the table is laid out anew: they collide in the larger one alone, and 131,073 keys that walk
     * over each other would take minutes. */
    (void)script_world_run(world, "local t, n = {}, 2 ^ 18 - 1 for i = 1, 2 ^ 17 + 1 do t[2 ^ 52 + i * n] = 1 end");
    assert_int_equal(world->end, SCRIPT_OVER_BUDGET);
}

static void upvalues(void **state)
{
    costs(*state,
          "local a = {} for i = 1, 150 do a[i] = 'a' .. i end local d = {} for i = 91, 150 do d[i - 90] = 'a' .. i end "
          "local f = loadstring('local ' .. table.concat(a, ',') .. ' local function g() return ' .. table.concat(d, "
          "',') "
          ".. ' end for i = 1, 100 do local function f() return a1, a2, a3, a4, a5 end end') f()",
          100 * 5 * (60 / 4));
}

/* Names are looked for among the variables of all functions around, and jumps are joined in lists. */
static void texts(void **state)
{
    static const char nested[] =
        "local s = {} for i = 1, %d do local p = {} for j = 1, 190 do p[j] = 'V' .. j end s[i] = 'local ' .. "
        "table.concat(p, ',') .. ' return function() ' end return #tostring(loadstring(table.concat(s) .. "
        "('x=x '):rep(1000) .. ('end '):rep(%d)))";
    char source[1024];
    (void)snprintf(source, sizeof(source), nested, 100, 100);
    costs(*state, source, 2000ULL * 100 * 190 / 64);
    (void)snprintf(source, sizeof(source), nested, 1, 1);
    (void)script_world_run(*state, source);
    struct script_world *world = *state;
    assert_true(world->used < 300000);
    costs(world, "return #tostring(loadstring('local a a = a ' .. ('or a '):rep(10000)))", 10000ULL * 10000 / 16);
    (void)script_world_run(world, "return #tostring(loadstring('local a = [==[' .. ('or a '):rep(10000) .. ']==]'))");
    assert_true(world->used < 1000000);
    (void)script_world_run(world, "return #tostring(loadstring('--[[' .. ('or a '):rep(10000) .. ']]'))");
    assert_true(world->used < 1000000);
    (void)script_world_run(world, "return #tostring(loadstring('local a = \"\\\\\"' .. ('or a '):rep(10000) .. '\"'))");
    assert_true(world->used < 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(numbers_as_text, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(mathematics, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(json, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(matches, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(values_copied, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(strings_that_collide, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(keys_that_collide, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(upvalues, script_world_setup, script_world_teardown),
        cmocka_unit_test_setup_teardown(texts, script_world_setup, script_world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
