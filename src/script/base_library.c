/* The functions without a library's name: stock ones where they are safe, our own where those show addresses, run
 * bytecode, walk past what is protected, or work without bound. */
#include <inttypes.h>
#include <stdio.h>

#include "script/lua_layout.h"

/* A protected table in the first argument gives way to the one behind it. */
static void look_behind(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (sandbox_behind(L, 1)) {
        lua_replace(L, 1);
    }
}

static int base_next(lua_State *L)
{
    look_behind(L);
    lua_settop(L, 2);
    if (lua_next(L, 1)) {
        return 2;
    }
    lua_pushnil(L);
    return 1;
}

static int base_pairs(lua_State *L)
{
    look_behind(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

static int base_rawget(lua_State *L)
{
    look_behind(L);
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    lua_rawget(L, 1);
    return 1;
}

static int base_rawset(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checkany(L, 2);
    luaL_checkany(L, 3);
    lua_settop(L, 3);
    sandbox_check_writable(L, 1);
    lua_rawset(L, 1);
    return 1;
}

static int base_getmetatable(lua_State *L)
{
    luaL_checkany(L, 1);
    if (lua_type(L, 1) == LUA_TSTRING) {
        lua_getfield(L, LUA_REGISTRYINDEX, SANDBOX_STRING_METATABLE);
        return 1;
    }
    if (lua_istable(L, 1) && sandbox_behind(L, 1)) {
        if (lua_rawequal(L, 1, LUA_GLOBALSINDEX)) {
            lua_getfield(L, LUA_REGISTRYINDEX, SANDBOX_GLOBALS_METATABLE);
        } else {
            lua_pushnil(L);
        }
        return 1;
    }
    if (!lua_getmetatable(L, 1)) {
        lua_pushnil(L);
    } else {
        (void)luaL_getmetafield(L, 1, "__metatable");
    }
    return 1;
}

static int base_setmetatable(lua_State *L)
{
    int type = lua_type(L, 2);
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argcheck(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table expected");
    sandbox_check_writable(L, 1);
    if (luaL_getmetafield(L, 1, "__metatable")) {
        return luaL_error(L, "cannot change a protected metatable");
    }
    struct script_engine *engine = engine_here();
    engine->chained++;
    engine_weigh(engine);
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

/* An error of a command becomes its text, as in Redis. */
static int base_pcall(lua_State *L)
{
    luaL_checkany(L, 1);
    int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    if (status != 0 && lua_istable(L, -1)) {
        lua_pushliteral(L, "err");
        lua_rawget(L, -2);
        lua_remove(L, lua_isstring(L, -1) ? -2 : -1);
    }
    lua_pushboolean(L, status == 0);
    lua_insert(L, 1);
    return lua_gettop(L);
}

/* Around the handler of xpcall. When a run is stopped, Lua calls it inside of the hook that counts, where nothing is
 * counted: then it is left out. */
static int handle_error(lua_State *L)
{
    if (engine_here()->stopped == SCRIPT_RETURNED) {
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_insert(L, 1);
        lua_call(L, 1, 1);
    }
    return 1;
}

static int base_xpcall(lua_State *L)
{
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    lua_pushcclosure(L, handle_error, 1);
    lua_insert(L, 1);
    int status = lua_pcall(L, 0, LUA_MULTRET, 1);
    lua_pushboolean(L, status == 0);
    lua_replace(L, 1);
    return lua_gettop(L);
}

enum { UNPACK_MOST = 8000 }; /* about what Lua's stack takes */

static int base_unpack(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    int64_t from = luaL_optint(L, 2, 1);
    int64_t to = lua_isnoneornil(L, 3) ? (int64_t)lua_objlen(L, 1) : luaL_checkint(L, 3);
    if (from > to) {
        return 0;
    }
    int64_t count = to - from + 1;
    if (count >= UNPACK_MOST || !lua_checkstack(L, (int)count)) {
        return luaL_error(L, "too many results to unpack");
    }
    engine_charge(L, (uint64_t)count);
    for (int64_t i = from; i <= to; i++) {
        lua_rawgeti(L, 1, (int)i);
    }
    return (int)count;
}

/* ---- text of values ---- */

/* A number of its own for each object, in the order in which they were asked about. */
static uint64_t number_of(lua_State *L, int index)
{
    lua_pushvalue(L, index);
    lua_getfield(L, LUA_REGISTRYINDEX, SANDBOX_NUMBERS);
    lua_insert(L, -2);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    uint64_t number = (uint64_t)lua_tonumber(L, -1);
    lua_pop(L, 1);
    if (number == 0) {
        number = ++engine_here()->named;
        lua_pushnumber(L, (lua_Number)number);
        lua_rawset(L, -3);
        lua_pop(L, 1);
    } else {
        lua_pop(L, 2);
    }
    return number;
}

void base_push_text(lua_State *L, int index)
{
    char text[48];
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
    case LUA_TSTRING:
        lua_pushvalue(L, index);
        (void)lua_tostring(L, -1);
        return;
    case LUA_TNIL: lua_pushliteral(L, "nil"); return;
    case LUA_TBOOLEAN: lua_pushstring(L, lua_toboolean(L, index) ? "true" : "false"); return;
    default: break;
    }
    if (lua_islightuserdata(L, index) && lua_touserdata(L, index) == NULL) {
        lua_pushliteral(L, "userdata: (nil)"); /* cjson.null */
        return;
    }
    (void)snprintf(text, sizeof(text), "%s: 0x%08" PRIx64, luaL_typename(L, index), number_of(L, index));
    lua_pushstring(L, text);
}

static int base_tostring(lua_State *L)
{
    luaL_checkany(L, 1);
    if (!luaL_callmeta(L, 1, "__tostring")) {
        base_push_text(L, 1);
    }
    return 1;
}

/* ---- compiling ---- */

enum { COMPILE_STEPS = 64, COMPILE_BYTE_STEPS = 4 };

/* Lua's parser keeps names where its collector does not see them (CVE-2025-49844): nothing is collected meanwhile. A
 * bracket of 2^31 "=" (CVE-2025-46819) does not fit the limit. Afterwards the collector goes on where it would have
 * (LUA_GCRESTART would let it begin a round at each text). */
bool base_compile(lua_State *L, struct slice text, const char *name)
{
    if (text.size > SCRIPT_SOURCE_BYTES) {
        lua_pushfstring(L, "a script has at most %d bytes", (int)SCRIPT_SOURCE_BYTES);
        return false;
    }
    if (text.size > 0 && text.data[0] == LUA_SIGNATURE[0]) {
        lua_pushliteral(L, "bytecode is not a script");
        return false;
    }
    struct script_engine *engine = engine_here();
    engine->largest_text = text.size > engine->largest_text ? text.size : engine->largest_text;
    engine_charge(L, COMPILE_STEPS + COMPILE_BYTE_STEPS * (uint64_t)text.size + text_cost(text));
    size_t threshold = *thread_threshold(L);
    (void)lua_gc(L, LUA_GCSTOP, 0);
    int status = luaL_loadbuffer(L, (const char *)text.data, text.size, name);
    *thread_threshold(L) = threshold;
    return status == 0;
}

static int compiled(lua_State *L, struct slice text, const char *name)
{
    if (base_compile(L, text, name)) {
        return 1;
    }
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

static int base_loadstring(lua_State *L)
{
    struct slice text;
    text.data = (const uint8_t *)luaL_checklstring(L, 1, &text.size);
    return compiled(L, text, luaL_optstring(L, 2, (const char *)text.data));
}

/* Takes all pieces first, then compiles them. */
static int base_load(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    const char *name = luaL_optstring(L, 2, "=(load)");
    lua_settop(L, 2);
    lua_pushliteral(L, "");
    for (;;) {
        engine_charge(L, 1);
        lua_pushvalue(L, 1);
        lua_call(L, 0, 1);
        if (lua_isnil(L, -1) || (lua_isstring(L, -1) && lua_objlen(L, -1) == 0)) {
            break;
        }
        if (!lua_isstring(L, -1)) {
            lua_pushnil(L);
            lua_pushliteral(L, "reader function must return a string");
            return 2;
        }
        lua_concat(L, 2);
        if (lua_objlen(L, -1) > SCRIPT_SOURCE_BYTES) {
            break;
        }
    }
    lua_settop(L, 3);
    struct slice text;
    text.data = (const uint8_t *)lua_tolstring(L, 3, &text.size);
    return compiled(L, text, name);
}

static const luaL_Reg own[] = {
    {"getmetatable", base_getmetatable},
    {"load", base_load},
    {"loadstring", base_loadstring},
    {"next", base_next},
    {"pcall", base_pcall},
    {"rawget", base_rawget},
    {"rawset", base_rawset},
    {"setmetatable", base_setmetatable},
    {"tostring", base_tostring},
    {"unpack", base_unpack},
    {"xpcall", base_xpcall},
};

static const char *const stock[] = {"assert", "error", "ipairs", "rawequal", "type", "_VERSION"};
static const char *const stock_charged[] = {"select", "tonumber"};

void base_library_fill(lua_State *L)
{
    lua_newtable(L);
    lua_newtable(L);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_setfield(L, LUA_REGISTRYINDEX, SANDBOX_NUMBERS);
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        lua_pushcfunction(L, own[i].func);
        sandbox_set_global(L, own[i].name);
    }
    for (size_t i = 0; i < sizeof(stock) / sizeof(stock[0]); i++) {
        lua_getglobal(L, stock[i]);
        sandbox_set_global(L, stock[i]);
    }
    lua_newtable(L);
    for (size_t i = 0; i < sizeof(stock_charged) / sizeof(stock_charged[0]); i++) {
        lua_getglobal(L, stock_charged[i]);
        lua_CFunction function = lua_tocfunction(L, -1);
        lua_pop(L, 1);
        sandbox_charged(L, stock_charged[i], function);
        lua_getfield(L, -1, stock_charged[i]);
        sandbox_set_global(L, stock_charged[i]);
    }
    lua_pop(L, 1);
    lua_pushcfunction(L, base_next);
    lua_pushcclosure(L, base_pairs, 1);
    sandbox_set_global(L, "pairs");
}
