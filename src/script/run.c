/* The engine's life, and a run from its text to its reply. */
#include <locale.h>

#include "base/memory.h"
#include "script/chunks.h"
#include "script/frozen.h"
#include "script/lua_layout.h"

enum {
    KEEP_BYTES = 4 << 20,  /* of the region, between runs */
    PAGE_BYTES = 64 << 10, /* the largest page that a system of ours has */
    LEVELS = 3,
};

/* ---- opening ---- */

/* The script as a function, in the registry. */
static const char function_key[] = "script";

static int build(lua_State *L)
{
    sandbox_build(L);
    /* What is set for each script has its place from the start: no table grows for it. */
    static const char *const names[] = {"KEYS", "ARGV"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        lua_pushboolean(L, 0);
        sandbox_set_global(L, names[i]);
    }
    lua_pushboolean(L, 0);
    lua_setfield(L, LUA_REGISTRYINDEX, function_key);
    return 0;
}

static void reset_limits(struct script_engine *engine, uint64_t budget, size_t memory)
{
    engine->budget = budget;
    engine->memory_limit = memory;
    engine->used = 0;
    engine->beat_at = SCRIPT_BEAT_STEPS;
    engine->stopped = SCRIPT_RETURNED;
}

struct script_engine *script_engine_open(const struct script_place *place)
{
    ASSERT((uintptr_t)place->region == SCRIPT_ADDRESS);
    /* Numbers become text and back in the process's locale: that of programs which set none. */
    ASSERT(strcmp(localeconv()->decimal_point, ".") == 0);
    struct script_engine *engine = place->region;
    *engine = (struct script_engine){.place = *place, .weight = 1, .protocol = RESP2};
    engine->reply = memory_allocate(sizeof(*engine->reply));
    buffer_init(engine->reply);
    uint8_t *region = place->region;
    arena_init(&engine->arena, region + (sizeof(*engine) + 15) / 16 * 16, region + SCRIPT_REGION_BYTES);
    reset_limits(engine, SCRIPT_BUDGET, SCRIPT_MEMORY_BYTES);
    engine->main = lua_newstate(engine_allocate, engine);
    ASSERT(engine->main != NULL);
    engine->running = engine->main;
    ASSERT(lua_cpcall(engine->main, build, NULL) == 0);
    layout_check(engine->main);
    (void)lua_gc(engine->main, LUA_GCCOLLECT, 0);
    engine->frozen = frozen_create(engine);
    engine->largest_nodes = engine->largest_array = engine->largest_text = 0;
    engine->longest = engine->matched = engine->chained = 0;
    engine->growing = NULL;
    engine->weight = 1;
    memset(engine->traversals, 0, sizeof(engine->traversals));
    engine_watch(engine, engine->main);
    reset_limits(engine, SCRIPT_BUDGET, SCRIPT_MEMORY_BYTES);
    engine->chunks = chunks_create();
    engine->image_size = (size_t)(engine->arena.top - region);
    engine->image = memory_allocate(engine->image_size);
    memcpy(engine->image, region, engine->image_size);
    return engine;
}

void script_engine_close(struct script_engine *engine)
{
    if (engine != NULL) {
        chunks_destroy(engine->chunks);
        frozen_destroy(engine->frozen);
        buffer_deinit(engine->reply);
        free(engine->reply);
        free(engine->image);
    }
}

/* ---- a run ---- */

/* The region as this image has it; pages of a large run, and room for large replies of commands, go back to the
 * system. */
static void restore(struct script_engine *engine, struct slice image, bool common)
{
    buffer_clear(engine->reply);
    buffer_shrink(engine->reply, KEEP_BYTES);
    uint8_t *region = engine->place.region;
    uint8_t *keep = region + (engine->image_size / PAGE_BYTES + 1) * PAGE_BYTES + KEEP_BYTES;
    if (engine->place.release != NULL && engine->arena.top > keep) {
        engine->place.release(keep, (size_t)(engine->arena.top - keep));
    }
    frozen_lay(engine->frozen, engine, image, common);
}

static void set_texts(lua_State *L, const char *name, const struct slice *texts, uint32_t count)
{
    lua_createtable(L, (int)count, 0);
    for (uint32_t i = 0; i < count; i++) {
        lua_pushlstring(L, (const char *)texts[i].data, texts[i].size);
        lua_rawseti(L, -2, (int)i + 1);
    }
    engine_charge(L, count);
    sandbox_set_global(L, name);
}

/* Makes a table of whatever was raised, and adds where: the innermost function in Lua, past up to two in C. */
static int on_error(lua_State *L)
{
    lua_settop(L, 1);
    if (!lua_istable(L, 1)) {
        lua_pushliteral(L, "ERR ");
        base_push_text(L, 1);
        lua_concat(L, 2);
        lua_createtable(L, 0, 3);
        lua_insert(L, -2);
        lua_setfield(L, -2, "err");
    }
    lua_Debug place;
    for (int level = 1; level <= LEVELS && lua_getstack(L, level, &place) && lua_getinfo(L, "Sl", &place); level++) {
        if (*place.what != 'C' || level == LEVELS) {
            lua_pushliteral(L, "source");
            lua_pushstring(L, place.source);
            lua_rawset(L, -3);
            lua_pushliteral(L, "line");
            lua_pushinteger(L, place.currentline);
            lua_rawset(L, -3);
            break;
        }
    }
    return 1;
}

/* A field of the error as text, which stays on the stack. */
static const char *push_field(lua_State *L, int table, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, table);
    return lua_tostring(L, -1);
}

static void put_error(lua_State *L, const struct script_run *run, struct resp_writer *reply)
{
    int error = lua_gettop(L);
    if (!lua_istable(L, error)) {
        resp_error_format(reply, "ERR %s", lua_isstring(L, error) ? lua_tostring(L, error) : "the script failed");
        return;
    }
    const char *text = push_field(L, error, "err");
    const char *source = push_field(L, error, "source");
    const char *line = push_field(L, error, "line");
    if (text == NULL) {
        text = "ERR the script raised a table without a field 'err'";
    }
    if (source == NULL || line == NULL) {
        resp_error(reply, text);
        return;
    }
    char sha[SCRIPT_SHA_BYTES];
    script_sha(run->source, sha);
    resp_error_format(reply, "%s script: %.*s, on %s:%s.", text, SCRIPT_SHA_BYTES, sha, source, line);
}

struct task {
    const struct script_run *run;
    struct resp_writer *reply;
    bool failed;
};

/* Compiles the text; false: the reply says why not. */
static bool compile(lua_State *L, struct slice source, struct resp_writer *reply)
{
    struct slice body;
    uint32_t flags;
    if (!script_shebang(source, &flags, &body, reply)) {
        return false;
    }
    if (!base_compile(L, body, "@user_script")) {
        resp_error_format(reply, "ERR Error compiling script (new function): %s", lua_tostring(L, -1));
        return false;
    }
    return true;
}

static int compile_task(lua_State *L)
{
    struct task *task = lua_touserdata(L, 1);
    lua_settop(L, 0);
    task->failed = !compile(L, task->run->source, task->reply);
    if (!task->failed) {
        lua_setfield(L, LUA_REGISTRYINDEX, function_key);
    }
    return 0;
}

static int run_task(lua_State *L)
{
    struct task *task = lua_touserdata(L, 1);
    const struct script_run *run = task->run;
    lua_settop(L, 0);
    set_texts(L, "KEYS", run->keys, run->key_count);
    set_texts(L, "ARGV", run->args, run->arg_count);
    lua_pushcfunction(L, on_error);
    lua_getfield(L, LUA_REGISTRYINDEX, function_key);
    task->failed = true;
    if (lua_pcall(L, 0, 1, 1) != 0) {
        put_error(L, run, task->reply);
        return 0;
    }
    to_reply(L, task->reply);
    task->failed = false;
    return 0;
}

static void put_over(const struct script_engine *engine, const struct script_run *run, struct resp_writer *reply)
{
    if (engine->stopped == SCRIPT_OVER_BUDGET) {
        resp_error_format(reply,
                          "ERR the script was stopped after its budget of %llu steps, and nothing of it stays; let it "
                          "do less, or share its work out over several calls",
                          (unsigned long long)run->budget);
    } else {
        resp_error_format(
            reply,
            "ERR the script was stopped at its limit of %zu bytes of memory, and nothing of it stays; let "
            "it hold less, or share its work out over several calls",
            run->memory_bytes);
    }
}

static enum script_end run_protected(struct script_engine *engine, const struct script_run *run, lua_CFunction function,
                                     struct resp_writer *reply)
{
    struct task task = {.run = run, .reply = reply};
    size_t start = reply->out == NULL ? 0 : reply->out->size;
    engine->run = run;
    engine->random = (run->seed << 16) + 0x330e;
    int status = lua_cpcall(engine->main, function, &task);
    if (engine->stopped == SCRIPT_RETURNED && status == 0) {
        return task.failed ? SCRIPT_FAILED : SCRIPT_RETURNED;
    }
    if (reply->out != NULL) {
        reply->out->size = start;
    }
    if (engine->stopped == SCRIPT_RETURNED) {
        put_error(engine->main, run, reply);
        return SCRIPT_FAILED;
    }
    put_over(engine, run, reply);
    return engine->stopped;
}

/* The region as compiling left it is kept, without the parser's garbage: most scripts then end before the collector
 * begins again. */
static void keep(struct script_engine *engine, const struct script_run *run)
{
    lua_State *L = engine->main;
    (void)lua_gc(L, LUA_GCCOLLECT, 0);
    engine->host = NULL; /* its next run has another one */
    engine->taken = 0;
    engine->room = *thread_threshold(L) - thread_total(L);
    uint8_t *region = engine->place.region;
    struct slice image = slice_of(region, (size_t)(engine->arena.top - region));
    chunks_keep(engine->chunks, run, image, frozen_adopt(engine->frozen, engine, image));
}

/* The region with the script in it, compiled now or earlier: both leave the same. */
static enum script_end load(struct script_engine *engine, const struct script_run *run, const struct script_host *host,
                            struct resp_writer *reply)
{
    bool common;
    struct slice image = chunks_find(engine->chunks, run, &common);
    if (image.size != 0) {
        restore(engine, image, common);
        engine->host = host;
        return SCRIPT_RETURNED;
    }
    restore(engine, slice_of(engine->image, engine->image_size), false);
    engine->host = host;
    reset_limits(engine, run->budget, run->memory_bytes);
    enum script_end end = run_protected(engine, run, compile_task, reply);
    if (end == SCRIPT_RETURNED) {
        keep(engine, run);
        engine->host = host;
    }
    return end;
}

enum script_end script_run(struct script_engine *engine, const struct script_run *run, const struct script_host *host,
                           struct resp_writer *reply, uint64_t *ret_used)
{
    enum script_end end = load(engine, run, host, reply);
    engine->compiled = engine->used;
    if (end == SCRIPT_RETURNED) {
        end = run_protected(engine, run, run_task, reply);
    }
    *ret_used = engine->used;
    return end;
}

uint64_t script_compiled(const struct script_engine *engine) { return engine->compiled; }

bool script_check(struct script_engine *engine, struct slice source, struct resp_writer *reply)
{
    struct script_run run = {.source = source, .budget = SCRIPT_BUDGET, .memory_bytes = SCRIPT_MEMORY_BYTES};
    return load(engine, &run, NULL, reply) == SCRIPT_RETURNED;
}
