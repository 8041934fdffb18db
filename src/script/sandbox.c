/* What a script finds: the globals, and how they are kept from it.
 *
 * Lua 5.1 has no read-only tables. A script gets an empty table in the place of each library and of the globals, whose
 * metatable reads from the table behind and refuses writes; the functions that go past metatables (rawset, next, …) ask
 * sandbox_behind first. */
#include <lualib.h>

#include "script/engine.h"

/* Keys of the registry. */
static const char behind_key[] = "behind", globals_key[] = "globals";

/* By now the table has the key, without a value. */
static int refuse_write(lua_State *L)
{
    engine_here()->tried_to_write = true;
    return luaL_error(L, "Attempt to modify a readonly table");
}

static int refuse_unknown(lua_State *L)
{
    return luaL_error(L, "Script attempted to access nonexistent global variable '%s'", luaL_optstring(L, 2, "?"));
}

bool sandbox_behind(lua_State *L, int index)
{
    lua_pushvalue(L, index);
    lua_getfield(L, LUA_REGISTRYINDEX, behind_key);
    lua_insert(L, -2);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return false;
    }
    return true;
}

void sandbox_check_writable(lua_State *L, int index)
{
    if (lua_istable(L, index) && sandbox_behind(L, index)) {
        lua_pushliteral(L, "Attempt to modify a readonly table");
        lua_error(L);
    }
}

/* The table on top → what scripts see of it. */
static void protect(lua_State *L)
{
    int real = lua_gettop(L);
    lua_newtable(L);
    lua_newtable(L);
    lua_pushvalue(L, real);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, refuse_write);
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, -2);
    lua_getfield(L, LUA_REGISTRYINDEX, behind_key);
    lua_pushvalue(L, real + 1);
    lua_pushvalue(L, real);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    lua_remove(L, real);
}

void sandbox_push_globals(lua_State *L) { lua_getfield(L, LUA_REGISTRYINDEX, globals_key); }

void sandbox_set_global(lua_State *L, const char *name)
{
    sandbox_push_globals(L);
    lua_insert(L, -2);
    lua_pushstring(L, name);
    lua_insert(L, -2);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

enum { ARGUMENTS_STEP = 4 };

static int charged(lua_State *L)
{
    int count = lua_gettop(L);
    uint64_t steps = 1 + (uint64_t)count / ARGUMENTS_STEP;
    for (int i = 1; i <= count; i++) {
        if (lua_type(L, i) == LUA_TSTRING) {
            steps += engine_bytes(lua_objlen(L, i));
        }
    }
    engine_charge(L, steps);
    /* In this call's own frame, so that errors name the function and its line as without us. */
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

void sandbox_charged(lua_State *L, const char *name, lua_CFunction function)
{
    lua_pushcfunction(L, function);
    lua_pushcclosure(L, charged, 1);
    lua_setfield(L, -2, name);
}

/* Opens a stock library: its table is left on the stack, and nothing of it among the globals. */
static void open_stock(lua_State *L, lua_CFunction open, const char *name)
{
    lua_pushcfunction(L, open);
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
}

int luaopen_cjson(lua_State *L);
int luaopen_bit(lua_State *L);

/* bit.tohex of Debian's package reads beyond its buffer for a width of -2^31 (CVE-2024-31449). */
static int hexadecimal(lua_State *L)
{
    if (lua_isnumber(L, 2)) {
        lua_Number shifted = lua_tonumber(L, 2) + 6755399441055744.0; /* 2^52 + 2^51: the low bits are the integer's */
        uint64_t bits;
        memcpy(&bits, &shifted, sizeof(bits));
        lua_Number digits = (int32_t)bits;
        lua_pushnumber(L, digits < -8 ? -8 : digits > 8 ? 8 : digits);
        lua_replace(L, 2);
    }
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* The library on top: all its functions have the same settings with them. */
static void keep_json_settings(lua_State *L)
{
    lua_getfield(L, -1, "encode");
    ASSERT(lua_getupvalue(L, -1, 1) != NULL && lua_isuserdata(L, -1));
    engine_here()->json_settings = slice_of(lua_touserdata(L, -1), lua_objlen(L, -1));
    lua_pop(L, 2);
}

static void add_packages(lua_State *L)
{
    open_stock(L, luaopen_cjson, "cjson");
    keep_json_settings(L);
    protect(L);
    sandbox_set_global(L, "cjson");
    open_stock(L, luaopen_bit, "bit");
    lua_getfield(L, -1, "tohex");
    lua_pushcclosure(L, hexadecimal, 1);
    lua_setfield(L, -2, "tohex");
    protect(L);
    sandbox_set_global(L, "bit");
}

/* drand48 of POSIX, as Redis has it. */
static int random_number(lua_State *L)
{
    struct script_engine *engine = engine_here();
    engine->random = (engine->random * 0x5deece66dULL + 0xb) & 0xffffffffffffULL;
    lua_Number part = (lua_Number)((engine->random >> 17) % INT32_MAX) / (lua_Number)INT32_MAX;
    lua_Number low = 1;
    switch (lua_gettop(L)) {
    case 0: lua_pushnumber(L, part); return 1;
    case 1: break;
    case 2: low = luaL_checkint(L, 1); break;
    default: return luaL_error(L, "wrong number of arguments");
    }
    int last = lua_gettop(L);
    lua_Number high = luaL_checkint(L, last);
    luaL_argcheck(L, low <= high, last, "interval is empty");
    lua_pushnumber(L, low + (lua_Number)(int64_t)(part * (high - low + 1)));
    return 1;
}

static int seed_random(lua_State *L)
{
    engine_here()->random = ((uint64_t)(uint32_t)luaL_checkint(L, 1) << 16) + 0x330e;
    return 0;
}

static void add_mathematics(lua_State *L)
{
    open_stock(L, luaopen_math, LUA_MATHLIBNAME);
    static const char *const many[] = {"max", "min"};
    for (size_t i = 0; i < sizeof(many) / sizeof(many[0]); i++) {
        lua_getfield(L, -1, many[i]);
        lua_CFunction function = lua_tocfunction(L, -1);
        lua_pop(L, 1);
        sandbox_charged(L, many[i], function);
    }
    lua_pushcfunction(L, random_number);
    lua_setfield(L, -2, "random");
    lua_pushcfunction(L, seed_random);
    lua_setfield(L, -2, "randomseed");
    protect(L);
    sandbox_set_global(L, LUA_MATHLIBNAME);
}

static void add_library(lua_State *L, const char *name, void (*fill)(lua_State *L))
{
    lua_newtable(L);
    fill(L);
    protect(L);
    sandbox_set_global(L, name);
}

static void add_strings(lua_State *L)
{
    open_stock(L, luaopen_string, LUA_STRLIBNAME);
    string_library_fill(L);
    protect(L);
    /* Strings find their methods in it. */
    lua_pushliteral(L, "");
    lua_newtable(L);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushvalue(L, -1);
    protect(L);
    lua_setfield(L, LUA_REGISTRYINDEX, SANDBOX_STRING_METATABLE);
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
    sandbox_set_global(L, LUA_STRLIBNAME);
}

/* The globals become what scripts see; a name that is not there is an error. */
static void close_globals(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, globals_key);
    lua_newtable(L);
    lua_pushcfunction(L, refuse_unknown);
    lua_setfield(L, -2, "__index");
    lua_pushvalue(L, -1);
    protect(L);
    lua_setfield(L, LUA_REGISTRYINDEX, SANDBOX_GLOBALS_METATABLE);
    lua_setmetatable(L, -2);
    protect(L);
    lua_pushvalue(L, -1);
    sandbox_set_global(L, "_G");
    lua_replace(L, LUA_GLOBALSINDEX);
}

void sandbox_build(lua_State *L)
{
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, behind_key);
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, globals_key);
    open_stock(L, luaopen_base, "");
    lua_settop(L, 0);
    base_library_fill(L);
    lua_getglobal(L, LUA_COLIBNAME);
    protect(L);
    sandbox_set_global(L, LUA_COLIBNAME);
    add_strings(L);
    open_stock(L, luaopen_table, LUA_TABLIBNAME);
    table_library_fill(L);
    protect(L);
    sandbox_set_global(L, LUA_TABLIBNAME);
    add_mathematics(L);
    add_packages(L);
    add_library(L, "redis", redis_library_fill);
    close_globals(L);
}
