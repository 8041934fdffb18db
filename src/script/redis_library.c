/* redis.call and its kin, as Redis 7.0 has them. What is for one server (logs, replication, the debugger) checks its
 * arguments and does nothing. */
#include <stdio.h>

#include "script/engine.h"

enum { NUMBER_BYTES = 32, NUMBER_STEPS = 20 };

void push_error(lua_State *L, const char *text, size_t size)
{
    lua_createtable(L, 0, 2);
    lua_pushlstring(L, text, size);
    lua_setfield(L, -2, "err");
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "ignore_error_stats_update");
}

static int fail(lua_State *L, const char *text)
{
    push_error(L, text, strlen(text));
    return lua_error(L);
}

/* Numbers become text as Redis writes them: in `digits`, NUMBER_BYTES for each argument. */
static bool take_argument(lua_State *L, int index, char *digits, struct slice *ret_argument)
{
    if (lua_type(L, index) == LUA_TNUMBER) {
        engine_charge(L, NUMBER_STEPS);
        int size = snprintf(digits, NUMBER_BYTES, "%.17g", lua_tonumber(L, index));
        *ret_argument = slice_of(digits, (size_t)size);
        return true;
    }
    if (lua_type(L, index) != LUA_TSTRING) {
        return false;
    }
    ret_argument->data = (const uint8_t *)lua_tolstring(L, index, &ret_argument->size);
    return true;
}

/* The arguments as slices, good until the function returns; at least one. Or an error value on the stack, and NULL. */
static const struct slice *take_arguments(lua_State *L, int count)
{
    static const char none[] = "ERR Please specify at least one argument for this redis lib call";
    static const char wrong[] = "ERR Lua redis lib command arguments must be strings or integers";
    if (count == 0) {
        push_error(L, none, sizeof(none) - 1);
        return NULL;
    }
    luaL_checkstack(L, 4, "too many arguments");
    struct slice *argv = lua_newuserdata(L, (size_t)count * (sizeof(struct slice) + NUMBER_BYTES));
    char *digits = (char *)(argv + count);
    uint64_t bytes = 0;
    for (int i = 0; i < count; i++) {
        if (!take_argument(L, i + 1, digits + (size_t)i * NUMBER_BYTES, &argv[i])) {
            push_error(L, wrong, sizeof(wrong) - 1);
            return NULL;
        }
        bytes += argv[i].size;
    }
    engine_charge(L, (uint64_t)count + engine_bytes(bytes));
    return argv;
}

/* Leaves the reply's value, or an error's, on the stack. True: it is an error. */
static bool execute(lua_State *L)
{
    struct script_engine *engine = engine_here();
    int count = lua_gettop(L);
    const struct slice *argv = take_arguments(L, count);
    if (argv == NULL) {
        return true;
    }
    buffer_clear(engine->reply);
    uint64_t steps = engine->host->call(engine->host->context, argv, (uint32_t)count, engine->protocol, engine->reply);
    engine->held = engine->host->held == NULL ? 0 : engine->host->held(engine->host->context);
    if (engine->held + engine->arena.in_use > engine->memory_limit) {
        engine_stop(engine, SCRIPT_OVER_MEMORY);
    }
    engine_charge(L, steps);
    struct slice bytes = buffer_slice(engine->reply);
    from_reply(L, bytes, engine->protocol);
    return bytes.data[0] == '-';
}

static int redis_call(lua_State *L) { return execute(L) ? lua_error(L) : 1; }

static int redis_pcall(lua_State *L)
{
    (void)execute(L);
    return 1;
}

static int redis_acl_check_cmd(lua_State *L)
{
    struct script_engine *engine = engine_here();
    const struct slice *argv = take_arguments(L, lua_gettop(L));
    if (argv == NULL) {
        return lua_error(L);
    }
    if (!engine->host->knows(engine->host->context, argv[0])) {
        return fail(L, "ERR Invalid command passed to redis.acl_check_cmd()");
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- replies made by hand ---- */

static bool is_one_string(lua_State *L) { return lua_gettop(L) == 1 && lua_type(L, 1) == LUA_TSTRING; }

static int wrong_arguments(lua_State *L)
{
    static const char text[] = "ERR wrong number or type of arguments";
    push_error(L, text, sizeof(text) - 1);
    return 1;
}

static bool ends_line(char byte) { return byte == '\r' || byte == '\n'; }

/* "CODE text"; a text of one word has no code. What is behind the code loses line ends on both sides. */
static int redis_error_reply(lua_State *L)
{
    if (!is_one_string(L)) {
        return wrong_arguments(L);
    }
    size_t size;
    const char *text = lua_tolstring(L, 1, &size);
    size = strnlen(text, size); /* Redis takes it as a string of C */
    if (size > 0 && text[0] == '-') {
        text++;
        size--;
    }
    const char *space = memchr(text, ' ', size);
    if (space == NULL) {
        lua_pushliteral(L, "ERR ");
    } else {
        size_t code = (size_t)(space + 1 - text);
        lua_pushlstring(L, text, code);
        text += code;
        size -= code;
    }
    for (; size > 0 && ends_line(*text); text++) {
        size--;
    }
    for (; size > 0 && ends_line(text[size - 1]);) {
        size--;
    }
    lua_pushlstring(L, text, size);
    lua_concat(L, 2);
    text = lua_tolstring(L, -1, &size);
    push_error(L, text, size);
    return 1;
}

static int redis_status_reply(lua_State *L)
{
    if (!is_one_string(L)) {
        return wrong_arguments(L);
    }
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "ok");
    return 1;
}

/* ---- the rest ---- */

static int redis_sha1hex(lua_State *L)
{
    if (lua_gettop(L) != 1) {
        return fail(L, "ERR wrong number of arguments");
    }
    struct slice text = {.data = (const uint8_t *)""};
    if (lua_isstring(L, 1)) {
        text.data = (const uint8_t *)lua_tolstring(L, 1, &text.size);
    }
    engine_charge(L, 64 + engine_bytes(text.size));
    char hex[SCRIPT_SHA_BYTES];
    script_sha(text, hex);
    lua_pushlstring(L, hex, sizeof(hex));
    return 1;
}

enum { LEVELS = 4 };

static int redis_log(lua_State *L)
{
    if (lua_gettop(L) < 2) {
        return fail(L, "ERR redis.log() requires two arguments or more.");
    }
    if (!lua_isnumber(L, 1)) {
        return fail(L, "ERR First argument must be a number (log level).");
    }
    int level = (int)lua_tointeger(L, 1);
    if (level < 0 || level >= LEVELS) {
        return fail(L, "ERR Invalid debug level.");
    }
    return 0;
}

static int redis_setresp(lua_State *L)
{
    if (lua_gettop(L) != 1) {
        return fail(L, "ERR redis.setresp() requires one argument.");
    }
    lua_Integer protocol = lua_tointeger(L, 1);
    if (protocol != RESP2 && protocol != RESP3) {
        return fail(L, "ERR RESP version must be 2 or 3.");
    }
    engine_here()->protocol = (int)protocol;
    return 0;
}

enum { REPL_MOST = 3 };

static int redis_set_repl(lua_State *L)
{
    if (lua_gettop(L) != 1) {
        return fail(L, "ERR redis.set_repl() requires two arguments.");
    }
    lua_Integer flags = lua_tointeger(L, 1);
    if (flags < 0 || flags > REPL_MOST) {
        return fail(L, "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.");
    }
    return 0;
}

static int redis_replicate_commands(lua_State *L)
{
    lua_pushboolean(L, 1);
    return 1;
}

static int redis_breakpoint(lua_State *L)
{
    lua_pushboolean(L, 0);
    return 1;
}

static int redis_debug(lua_State *L) { return 0; }

static const luaL_Reg functions[] = {
    {"acl_check_cmd", redis_acl_check_cmd},
    {"breakpoint", redis_breakpoint},
    {"call", redis_call},
    {"debug", redis_debug},
    {"error_reply", redis_error_reply},
    {"log", redis_log},
    {"pcall", redis_pcall},
    {"replicate_commands", redis_replicate_commands},
    {"set_repl", redis_set_repl},
    {"setresp", redis_setresp},
    {"sha1hex", redis_sha1hex},
    {"status_reply", redis_status_reply},
};

static const struct {
    const char *name;
    int value;
} constants[] = {
    {"LOG_DEBUG", 0},        {"LOG_VERBOSE", 1},
    {"LOG_NOTICE", 2},       {"LOG_WARNING", 3},
    {"REPL_NONE", 0},        {"REPL_AOF", 1},
    {"REPL_SLAVE", 2},       {"REPL_REPLICA", 2},
    {"REPL_ALL", REPL_MOST}, {"REDIS_VERSION_NUM", 0x0007000f},
};

void redis_library_fill(lua_State *L)
{
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        lua_pushcfunction(L, functions[i].func);
        lua_setfield(L, -2, functions[i].name);
    }
    for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++) {
        lua_pushinteger(L, constants[i].value);
        lua_setfield(L, -2, constants[i].name);
    }
    lua_pushliteral(L, "7.0.15");
    lua_setfield(L, -2, "REDIS_VERSION");
}
