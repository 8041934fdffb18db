/* table: stock where a call costs what its callbacks cost; else charged for what it moves. */
#include "script/engine.h"

static int table_concat(lua_State *L)
{
    size_t separator_size;
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *separator = luaL_optlstring(L, 2, "", &separator_size);
    int64_t from = luaL_optint(L, 3, 1);
    int64_t to = lua_isnoneornil(L, 4) ? (int64_t)lua_objlen(L, 1) : luaL_checkint(L, 4);
    luaL_Buffer result;
    luaL_buffinit(L, &result);
    for (int64_t i = from; i <= to; i++) {
        lua_rawgeti(L, 1, (int)i);
        if (!lua_isstring(L, -1)) {
            return luaL_error(L, "invalid value (%s) at index %d in table for 'concat'", luaL_typename(L, -1), (int)i);
        }
        engine_charge(L, 4 + engine_copy(separator_size + lua_objlen(L, -1)));
        luaL_addvalue(&result);
        if (i < to) {
            luaL_addlstring(&result, separator, separator_size);
        }
    }
    luaL_pushresult(&result);
    return 1;
}

/* Calls the stock function, which stands in upvalue 1, after a charge for what stands behind the position. */
static int moving(lua_State *L, bool has_position)
{
    if (lua_istable(L, 1)) {
        sandbox_check_writable(L, 1);
        if (has_position && lua_isnumber(L, 2)) {
            int64_t behind = (int64_t)lua_objlen(L, 1) - (int)lua_tointeger(L, 2);
            engine_charge(L, behind > 0 ? 1 + (uint64_t)behind : 1);
        }
    }
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static int table_insert(lua_State *L) { return moving(L, lua_gettop(L) >= 3); }
static int table_remove(lua_State *L) { return moving(L, lua_gettop(L) >= 2); }

static int less(lua_State *L)
{
    engine_charge(L, 1);
    lua_pushboolean(L, lua_lessthan(L, 1, 2));
    return 1;
}

static int compare_charged(lua_State *L)
{
    engine_charge(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

/* Lua's own sort, with a comparison that counts: those in Lua do anyhow. */
static int table_sort(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    sandbox_check_writable(L, 1);
    if (lua_isnoneornil(L, 2)) {
        lua_settop(L, 1);
        lua_pushcfunction(L, less);
    } else if (lua_iscfunction(L, 2)) {
        lua_settop(L, 2);
        lua_pushcclosure(L, compare_charged, 1);
    }
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static int table_maxn(lua_State *L)
{
    lua_Number most = 0;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushnil(L);
    while (lua_next(L, 1)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) > most) {
            most = lua_tonumber(L, -1);
        }
    }
    lua_pushnumber(L, most);
    return 1;
}

static int table_foreachi(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    int64_t count = (int64_t)lua_objlen(L, 1);
    for (int64_t i = 1; i <= count; i++) {
        engine_charge(L, 1);
        lua_pushvalue(L, 2);
        lua_pushinteger(L, (lua_Integer)i);
        lua_rawgeti(L, 1, (int)i);
        lua_call(L, 2, 1);
        if (!lua_isnil(L, -1)) {
            return 1;
        }
        lua_pop(L, 1);
    }
    return 0;
}

static int table_foreach(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (sandbox_behind(L, 1)) {
        lua_replace(L, 1);
    }
    lua_pushnil(L);
    while (lua_next(L, 1)) {
        lua_pushvalue(L, 2);
        lua_pushvalue(L, -3);
        lua_pushvalue(L, -3);
        lua_call(L, 2, 1);
        if (!lua_isnil(L, -1)) {
            return 1;
        }
        lua_pop(L, 2);
    }
    return 0;
}

static const luaL_Reg own[] = {
    {"concat", table_concat},
    {"foreach", table_foreach},
    {"foreachi", table_foreachi},
    {"maxn", table_maxn},
};

static const luaL_Reg around_stock[] = {
    {"insert", table_insert},
    {"remove", table_remove},
    {"sort", table_sort},
};

void table_library_fill(lua_State *L)
{
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        lua_pushcfunction(L, own[i].func);
        lua_setfield(L, -2, own[i].name);
    }
    for (size_t i = 0; i < sizeof(around_stock) / sizeof(around_stock[0]); i++) {
        lua_getfield(L, -1, around_stock[i].name);
        lua_pushcclosure(L, around_stock[i].func, 1);
        lua_setfield(L, -2, around_stock[i].name);
    }
}
