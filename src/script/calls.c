/* Stands in for what Lua does at a call, a return, and for a message: each costs more than an instruction. Arguments
 * and results are copied, a function in C has a frame, and a message names the variable that was wrong, for which the
 * function's list of variables is gone through. */
#include "script/lua_layout.h"
#include "script/stand_ins.h"

enum {
    CALL_STEPS = 2,
    C_CALL_STEPS = 6,
    VALUES_STEP = 16, /* copied for a step */
    NAME_BYTES = 64,  /* of the largest text, for a step */
    IN_C = 1,         /* what luaD_precall answers: it was a function in C, and is done */
};

static uint64_t values(const void *from, const void *to)
{
    return (uint64_t)((uintptr_t)to - (uintptr_t)from) / sizeof(struct lua_value);
}

static uint64_t arguments(const lua_State *L, const void *function)
{
    return values(function, thread_top(L)) / VALUES_STEP;
}

int script_vm_call(lua_State *L, void *function, int results)
{
    size_t place = (size_t)values(thread_stack(L), function);
    engine_count(engine_here(), CALL_STEPS + arguments(L, function));
    int kind = luaD_precall(L, function, results);
    if (kind == IN_C) {
        const struct lua_value *now = thread_stack(L) + place, *top = thread_top(L);
        engine_count(engine_here(), C_CALL_STEPS + (top > now ? values(now, top) / VALUES_STEP : 0));
    }
    return kind;
}

int script_vm_return(lua_State *L, void *first)
{
    const struct lua_value *top = thread_top(L);
    if (top > (const struct lua_value *)first + VALUES_STEP) {
        engine_count(engine_here(), values(first, top) / VALUES_STEP);
    }
    return luaD_poscall(L, first);
}

void script_call(lua_State *L, void *function, int results)
{
    engine_count(engine_here(), CALL_STEPS + C_CALL_STEPS + arguments(L, function));
    luaD_call(L, function, results);
}

static void count_names(void)
{
    struct script_engine *engine = engine_here();
    engine_count(engine, C_CALL_STEPS + engine->largest_text / NAME_BYTES);
}

void script_type_error(lua_State *L, const void *value, const char *what)
{
    count_names();
    luaG_typeerror(L, value, what);
}

void script_arithmetic_error(lua_State *L, const void *a, const void *b)
{
    count_names();
    luaG_aritherror(L, a, b);
}

int script_get_info(lua_State *L, const char *what, lua_Debug *info)
{
    if (strchr(what, 'n') != NULL) {
        count_names();
    }
    return lua_getinfo(L, what, info);
}
