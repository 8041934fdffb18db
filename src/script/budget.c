/* What a run may use, and how it is counted: README.md has the reasoning. */
#include "script/engine.h"

/* Steps between two looks at the budget. */
enum { QUANTUM = 1000 };

enum {
    CHAIN_STEP = 10,  /* tables in a chain of __index, for a step */
    CHAIN_MOST = 100, /* where Lua gives such a chain up */
    BLOCK_STEP = 64,  /* bytes of a new block: to clear, mark and sweep it */
};

static void on_count(lua_State *L, lua_Debug *activation);

static int quantum(const struct script_engine *engine)
{
    uint64_t instructions = QUANTUM / engine->weight;
    return engine->stopped != SCRIPT_RETURNED || instructions == 0 ? 1 : (int)instructions;
}

void engine_watch(struct script_engine *engine, lua_State *L)
{
    int instructions = quantum(engine);
    if (lua_gethookcount(L) != instructions) {
        engine->used += QUANTUM; /* what was executed since the last look counts as all of it */
        lua_sethook(L, on_count, LUA_MASKCOUNT, instructions);
    }
}

void engine_raise(lua_State *L)
{
    lua_settop(L, 0); /* room for one value, on whatever stack */
    lua_pushnil(L);
    lua_error(L);
    UNREACHABLE();
}

static void on_count(lua_State *L, lua_Debug *activation)
{
    struct script_engine *engine = engine_here();
    engine_count(engine, (uint64_t)lua_gethookcount(L) * engine->weight);
    if (engine->stopped != SCRIPT_RETURNED) {
        engine_raise(L);
    }
}

void engine_stop(struct script_engine *engine, enum script_end why)
{
    if (engine->stopped == SCRIPT_RETURNED) {
        engine->stopped = why;
        engine_watch(engine, engine->running);
    }
}

static void beat(struct script_engine *engine)
{
    engine->beat_at = engine->used + SCRIPT_BEAT_STEPS;
    if (engine->host != NULL && engine->host->beat != NULL) {
        engine->host->beat(engine->host->context);
    }
}

void engine_count(struct script_engine *engine, uint64_t steps)
{
    engine->used += steps < engine->budget ? steps : engine->budget + 1;
    if (engine->used >= engine->beat_at) {
        beat(engine);
    }
    if (engine->used > engine->budget) {
        engine_stop(engine, SCRIPT_OVER_BUDGET);
    }
}

void engine_charge(lua_State *L, uint64_t steps)
{
    struct script_engine *engine = engine_here();
    engine_count(engine, steps);
    if (engine->stopped != SCRIPT_RETURNED) {
        engine_raise(L);
    }
}

void engine_weigh(struct script_engine *engine)
{
    uint32_t chained = engine->chained < CHAIN_MOST ? engine->chained : CHAIN_MOST;
    uint64_t weight = 1 + chained / CHAIN_STEP;
    if (weight != engine->weight) {
        engine->weight = weight;
        engine_watch(engine, engine->running);
    }
}

void *engine_allocate(void *context, void *block, size_t old_size, size_t new_size)
{
    struct script_engine *engine = context;
    struct arena *arena = &engine->arena;
    if (new_size > old_size) {
        if (engine->stopped != SCRIPT_RETURNED) {
            return NULL;
        }
        size_t more = arena_taken(new_size) - (block == NULL ? 0 : arena_taken(old_size));
        if (arena->in_use + engine->held + more > engine->memory_limit) {
            engine_stop(engine, SCRIPT_OVER_MEMORY);
            return NULL;
        }
        engine->taken += more;
        engine_count(engine, 1 + new_size / BLOCK_STEP);
    }
    void *made = arena_resize(arena, block, block == NULL ? 0 : old_size, new_size);
    if (made == NULL && new_size > 0) {
        engine_stop(engine, SCRIPT_OVER_MEMORY);
    }
    return made;
}
