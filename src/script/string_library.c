/* string: Lua's own functions, charged by what they go through; patterns are ours (pattern.c). */
#include "script/engine.h"

enum { REPEAT_BYTES = 16 }; /* what a repetition costs beside its bytes, as bytes that are copied */

static int string_rep(lua_State *L)
{
    size_t size;
    (void)luaL_checklstring(L, 1, &size);
    int times = luaL_checkint(L, 2);
    if (times > 0) {
        engine_charge(L, 1 + (uint64_t)times * (size + REPEAT_BYTES) / 64);
    }
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static const luaL_Reg patterns[] = {
    {"find", pattern_find}, {"gfind", pattern_gmatch}, {"gmatch", pattern_gmatch},
    {"gsub", pattern_gsub}, {"match", pattern_match},
};

static const char *const stock_charged[] = {"byte", "char", "format", "len", "lower", "reverse", "sub", "upper"};

void string_library_fill(lua_State *L)
{
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    lua_getfield(L, -1, "rep");
    lua_pushcclosure(L, string_rep, 1);
    lua_setfield(L, -2, "rep");
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        lua_pushcfunction(L, patterns[i].func);
        lua_setfield(L, -2, patterns[i].name);
    }
    for (size_t i = 0; i < sizeof(stock_charged) / sizeof(stock_charged[0]); i++) {
        lua_getfield(L, -1, stock_charged[i]);
        lua_CFunction function = lua_tocfunction(L, -1);
        lua_pop(L, 1);
        sandbox_charged(L, stock_charged[i], function);
    }
}
