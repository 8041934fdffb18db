#include "script/stand_ins.h"

#include <stdio.h>
#include <stdlib.h>

#include "script/engine.h"

enum {
    NUMBER_BYTES = 4096, /* a longer text is no number */
    NODE_BYTES = 40,     /* of a table's hash part, as Lua 5.1 has them on 64 bits */
    WALK_STEP = 1 << 10, /* bytes of a table that may be empty and are walked over, for a step */
    RESUMES = 16,        /* coroutines that run each other: each takes as much of the C stack as calls in C may */
    NEW_THREAD = 1000,   /* steps: its instructions are counted anew */
    JSON_HEADER = 16,
    READ_STEPS = 8, /* a text as a number */
    JSON_STEP = 8,  /* bytes of a text, written or read */
};

/* ---- the virtual machine ---- */

void *script_vm_copy(void *to, const void *from, size_t size)
{
    engine_count(engine_here(), engine_copy(size));
    return memcpy(to, from, size);
}

/* As strcoll in the locale "C", whatever locale the process has. Called for each part between NUL bytes. */
int script_vm_compare(const char *a, const char *b)
{
    size_t same = 0;
    while (a[same] == b[same] && a[same] != '\0') {
        same++;
    }
    engine_count(engine_here(), engine_bytes(same));
    return (int)(uint8_t)a[same] - (int)(uint8_t)b[same];
}

/* Reading digits takes time with the square of their number. False: too many. */
static bool charge_digits(size_t size)
{
    engine_count(engine_here(), READ_STEPS + size * size / 64);
    return size < NUMBER_BYTES;
}

int script_vm_number(const char *text, lua_Number *ret_number)
{
    return charge_digits(strnlen(text, NUMBER_BYTES)) ? luaO_str2d(text, ret_number) : 0;
}

int script_string_compare(const void *a, const void *b, size_t size)
{
    engine_count(engine_here(), engine_copy(size));
    return size == 0 ? 0 : memcmp(a, b, size);
}

void *script_string_copy(void *to, const void *from, size_t size)
{
    if (size >= 64) {
        engine_count(engine_here(), engine_copy(size));
    }
    return size == 0 ? to : memcpy(to, from, size);
}

/* ---- tables and stacks ---- */

static bool are_nodes(size_t size)
{
    size_t count = size / NODE_BYTES;
    return size % NODE_BYTES == 0 && count > 0 && (count & (count - 1)) == 0;
}

static void grow(size_t *largest, size_t size) { *largest = size > *largest ? size : *largest; }

/* A hash part that is made anew, for the keys of a table that grows: none is moved when that would go over the budget.
 */
static void *make_nodes(lua_State *L, struct script_engine *engine, size_t size)
{
    void *table = engine->growing;
    engine->growing = NULL;
    void *made = luaM_realloc_(L, NULL, 0, size);
    grow(&engine->largest_nodes, size);
    if (table != NULL) {
        /* The array part was looked through before, to see how large it should be. */
        engine_count(engine,
                     engine->largest_array / WALK_STEP + walks_of_layout(table, made, (uint32_t)(size / NODE_BYTES)));
        if (engine->stopped != SCRIPT_RETURNED) {
            (void)luaM_realloc_(L, made, size, 0);
            engine_raise(L);
        }
    }
    return made;
}

void *script_table_resize(lua_State *L, void *block, size_t old_size, size_t new_size)
{
    struct script_engine *engine = engine_here();
    if (block == NULL && are_nodes(new_size)) {
        return make_nodes(L, engine, new_size);
    }
    grow(&engine->largest_array, new_size);
    return luaM_realloc_(L, block, old_size, new_size);
}

/* Value and type, without the bytes of the value that its type does not use: they are whatever was there. */
static void take_key(const void *key, uint8_t to[static KEY_BYTES])
{
    static const uint8_t nothing[sizeof(void *)];
    int type;
    memcpy(to, key, KEY_BYTES);
    memcpy(&type, to + sizeof(void *), sizeof(type));
    size_t used = type == LUA_TNIL ? 0 : type == LUA_TBOOLEAN ? sizeof(int) : sizeof(void *);
    memcpy(to + used, nothing, sizeof(void *) - used);
}

/* A walk that goes on where it stood looks at each place of the table once, so only its start pays for the empty ones;
 * a step from anywhere else pays as a start. `key` is a value and its type, 12 bytes. */
int script_table_next(lua_State *L, void *table, void *key)
{
    struct script_engine *engine = engine_here();
    struct traversal *walk = &engine->traversals[((uintptr_t)table >> 5) % TRAVERSALS];
    uint8_t from[KEY_BYTES];
    take_key(key, from);
    bool goes_on = walk->table == table && memcmp(walk->key, from, KEY_BYTES) == 0;
    (void)script_table_get(table, key); /* it is looked for: that walk is counted */
    engine_charge(L, goes_on ? 1 : 1 + (engine->largest_nodes + engine->largest_array) / WALK_STEP);
    int found = luaH_next(L, table, key);
    walk->table = found ? table : NULL;
    take_key(key, walk->key);
    return found;
}

int script_resume(lua_State *L, int arguments)
{
    struct script_engine *engine = engine_here();
    if (engine->resumes >= RESUMES) {
        lua_settop(L, 0);
        lua_pushliteral(L, "C stack overflow");
        return LUA_ERRRUN;
    }
    lua_State *before = engine->running;
    if (lua_status(L) == 0) {
        engine_count(engine, NEW_THREAD);
    }
    engine->resumes++;
    engine->running = L;
    engine_watch(engine, L);
    int status = lua_resume(L, arguments);
    engine->running = before;
    engine->resumes--;
    engine_watch(engine, before);
    return status;
}

/* ---- cjson: in the arena, where what an error leaves behind goes with the run ---- */

static void *json_block(void *block, size_t size)
{
    struct script_engine *engine = engine_here();
    size_t old_size = 0;
    if (block != NULL) {
        block = (uint8_t *)block - JSON_HEADER;
        memcpy(&old_size, block, sizeof(old_size));
    }
    uint8_t *made = engine_allocate(engine, block, old_size, size);
    if (made == NULL && size > 0) {
        engine_raise(engine->running);
    }
    if (made == NULL) {
        return NULL;
    }
    memcpy(made, &size, sizeof(size));
    engine->json_block = slice_of(made, size);
    return made + JSON_HEADER;
}

/* How many bytes may belong to the number here, NUMBER_BYTES at most. */
static size_t number_span(const char *text)
{
    size_t size = 0;
    while (size < NUMBER_BYTES && text[size] != '\0' && strchr("0123456789+-.eExXabcdfABCDFinfINFtyTYpP", text[size])) {
        size++;
    }
    return size;
}

void *script_json_allocate(size_t size) { return json_block(NULL, size + JSON_HEADER); }

void *script_json_resize(void *block, size_t size) { return json_block(block, size + JSON_HEADER); }

void script_json_free(void *block)
{
    if (block != NULL) {
        (void)json_block(block, 0);
    }
}

const char *script_json_text(lua_State *L, int index, size_t *ret_size)
{
    const char *text = lua_tolstring(L, index, ret_size);
    engine_charge(L, text == NULL ? 1 : 1 + *ret_size / JSON_STEP);
    return text;
}

const char *script_json_input(lua_State *L, int index, size_t *ret_size)
{
    const char *text = luaL_checklstring(L, index, ret_size);
    engine_charge(L, 1 + *ret_size / JSON_STEP);
    return text;
}

double script_json_number(const char *text, char **ret_end)
{
    if (charge_digits(number_span(text))) {
        return strtod(text, ret_end);
    }
    *ret_end = (char *)text; /* no number */
    return 0;
}

/* cjson ends the process when it gets no memory: script_json_allocate never returns without. */
void script_json_exit(int status) { UNREACHABLE(); }

/* ---- streams ---- */

FILE *script_stdin, *script_stdout, *script_stderr;

__attribute__((constructor)) static void take_streams(void)
{
    script_stdin = stdin;
    script_stdout = stdout;
    script_stderr = stderr;
}
