#include "script/frozen.h"

#include <stdlib.h>

#include "base/memory.h"
#include "script/lua_layout.h"
#include "script/stand_ins.h"

/* ---- what a run writes to ---- */

enum { WRITTEN_TABLES = 3 };

static void add(struct frozen *frozen, const void *block, size_t size)
{
    size_t from = (size_t)((uintptr_t)block - SCRIPT_ADDRESS);
    if (block == NULL || size == 0) {
        return;
    }
    ASSERT(frozen->count < FROZEN_RANGES && from < frozen->size && size <= frozen->size - from);
    uint32_t at = frozen->count++;
    for (; at > 0 && frozen->ranges[at - 1].from > from; at--) {
        frozen->ranges[at] = frozen->ranges[at - 1];
    }
    frozen->ranges[at] = (struct frozen_range){from, size};
}

static void add_table(struct frozen *frozen, const struct lua_table *table)
{
    ASSERT(table->array_size == 0);
    add(frozen, table, sizeof(*table));
    if (table->log_nodes != 0) { /* an empty one has a node that is shared by all such */
        add(frozen, table->nodes, table_nodes(table) * sizeof(*table->nodes));
    }
}

static void add_tables(struct frozen *frozen, lua_State *L)
{
    lua_pushvalue(L, LUA_REGISTRYINDEX);
    sandbox_push_globals(L);
    lua_getfield(L, LUA_REGISTRYINDEX, SANDBOX_NUMBERS);
    for (int i = -WRITTEN_TABLES; i < 0; i++) {
        add_table(frozen, (const struct lua_table *)(uintptr_t)lua_topointer(L, i));
    }
    lua_pop(L, WRITTEN_TABLES);
}

static void add_ranges(struct frozen *frozen, const struct script_engine *engine)
{
    lua_State *L = engine->main;
    const struct lua_texts *texts = thread_texts(L);
    const struct lua_buffer *buffer = thread_buffer(L);
    add(frozen, engine, sizeof(*engine));
    add(frozen, L, THREAD_BYTES + GLOBAL_BYTES);
    add(frozen, texts->buckets, (size_t)texts->size * sizeof(*texts->buckets));
    add(frozen, thread_stack(L), (size_t)thread_number(L, THREAD_STACK_SIZE) * sizeof(struct lua_value));
    add(frozen, thread_field(L, THREAD_CALLS), (size_t)thread_number(L, THREAD_CALLS_SIZE) * CALL_BYTES);
    add(frozen, buffer->bytes, buffer->room);
    add(frozen, engine->json_settings.data, engine->json_settings.size);
    add(frozen, engine->json_block.data, engine->json_block.size);
    add_tables(frozen, L);
}

/* ---- methods that tables lack ---- */

static void find_lacking(lua_State *L, struct lua_table *table)
{
    static const char *const methods[] = {"__index", "__newindex", "__gc", "__mode", "__eq"}; /* as Lua's bits go */
    for (uint32_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        lua_pushstring(L, methods[i]);
        const struct lua_value *value = script_table_get_text(table, thread_top(L)[-1].as.pointer);
        table->no_methods |= (uint8_t)(value->type == LUA_TNIL ? 1U << i : 0);
        lua_pop(L, 1);
    }
}

static void find_all_lacking(lua_State *L)
{
    for (struct lua_table *object = *thread_objects(L); object != NULL; object = object->next) {
        if (object->type == LUA_TTABLE) {
            find_lacking(L, object);
        }
    }
}

/* ---- the frozen part ---- */

struct frozen *frozen_create(struct script_engine *engine)
{
    struct frozen *frozen = memory_allocate_zeroed(1, sizeof(*frozen));
    find_all_lacking(engine->main);
    memset(engine->arena.free, 0, sizeof(engine->arena.free));
    frozen->size = (size_t)((uintptr_t)engine->arena.top - (uintptr_t)engine);
    add_ranges(frozen, engine);
    return frozen;
}

void frozen_destroy(struct frozen *frozen)
{
    if (frozen != NULL) {
        free(frozen->reference);
        free(frozen);
    }
}

/* The stretch before the range `at`, or behind the last one. */
static struct frozen_range before(const struct frozen *frozen, uint32_t at)
{
    const struct frozen_range *last = at == 0 ? NULL : &frozen->ranges[at - 1];
    size_t from = last == NULL ? 0 : last->from + last->size;
    size_t end = at < frozen->count ? frozen->ranges[at].from : frozen->size;
    ASSERT(from <= end);
    return (struct frozen_range){from, end - from};
}

static bool has_reference(const struct frozen *frozen, struct slice image)
{
    for (uint32_t i = 0; i <= frozen->count; i++) {
        struct frozen_range part = before(frozen, i);
        if (memcmp(image.data + part.from, frozen->reference + part.from, part.size) != 0) {
            return false;
        }
    }
    return true;
}

bool frozen_adopt(struct frozen *frozen, const struct script_engine *engine, struct slice image)
{
    if (frozen->reference == NULL) {
        frozen->reference = memory_allocate(frozen->size);
        memcpy(frozen->reference, image.data, frozen->size);
        frozen->buckets = thread_texts(engine->main)->size;
    }
    frozen->laid = has_reference(frozen, image);
    return frozen->laid;
}

static bool is_short(const struct frozen *frozen, const struct script_engine *engine)
{
    return engine->stopped == SCRIPT_RETURNED && !engine->tried_to_write && engine->taken < engine->room &&
           thread_texts(engine->main)->size == frozen->buckets;
}

void frozen_lay(struct frozen *frozen, struct script_engine *engine, struct slice image, bool common)
{
    uint8_t *region = (uint8_t *)engine;
    if (!common || !frozen->laid || !is_short(frozen, engine)) {
        memcpy(region, image.data, image.size);
        frozen->laid = common;
        return;
    }
    for (uint32_t i = 0; i < frozen->count; i++) {
        const struct frozen_range *range = &frozen->ranges[i];
        memcpy(region + range->from, image.data + range->from, range->size);
    }
    memcpy(region + frozen->size, image.data + frozen->size, image.size - frozen->size);
    ASSERT(!engine->place.verify || memcmp(region, image.data, image.size) == 0);
}
