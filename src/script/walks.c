/* Stands in for Lua's functions that walk: over the chains of a table's hash part, over the bucket of a string, over
 * the open upvalues of a thread. A script can make each as long as it likes, by keys and strings that collide; Lua 5.1
 * hashes without a seed, and at most 32 bytes of a string. So each walk is counted before it is made, and a table that
 * is about to be laid out anew first tells what that will cost.
 *
 * How keys hash is Lua's (ltable.c, lstring.c of 5.1): a key is looked for from its head, the place that its hash
 * gives, along `next`. */
#include "script/lua_layout.h"
#include "script/stand_ins.h"

enum {
    FREE_NODES = 4,    /* of a walk: no chain of an honest table is much longer */
    NODES_STEP = 4,    /* passed for a step; they lie in a row */
    ORDINARY = 16,     /* a longest chain of an honest table */
    BORDER_STEPS = 3,  /* of "#": it halves the array */
    BORDER_LOOKS = 64, /* and goes on in the hash part */
    UPVALUES_STEP = 4,
    UPVALUE_STEPS = 3,
};

static void count_walk(struct script_engine *engine, uint32_t nodes)
{
    if (nodes > FREE_NODES) {
        engine_count(engine, nodes / NODES_STEP);
        if (nodes > engine->longest) {
            engine->longest = nodes;
        }
    }
}

/* ---- tables ---- */

/* The number of a key's head among `count` nodes. */
static uint32_t head_of(const struct lua_value *key, uint32_t count)
{
    uint32_t odd = (count - 1) | 1;
    uint32_t words[2];
    switch (key->type) {
    case LUA_TNUMBER:
        if (key->as.number == 0) {
            return 0;
        }
        memcpy(words, &key->as.number, sizeof(words));
        return (words[0] + words[1]) % odd;
    case LUA_TSTRING: return ((const struct lua_text *)key->as.pointer)->hash & (count - 1);
    case LUA_TBOOLEAN: return (uint32_t)key->as.boolean & (count - 1);
    default: return (uint32_t)(uintptr_t)key->as.pointer % odd;
    }
}

static bool same_key(const struct lua_value *a, const struct lua_value *b)
{
    if (a->type != b->type) {
        return false;
    }
    return a->type == LUA_TNUMBER    ? a->as.number == b->as.number
           : a->type == LUA_TBOOLEAN ? a->as.boolean == b->as.boolean
                                     : a->as.pointer == b->as.pointer;
}

static const struct lua_value *find_text(struct lua_table *table, const struct lua_text *text)
{
    uint32_t passed = 0;
    const struct lua_value *found = &luaO_nilobject_;
    for (const struct lua_node *node = &table->nodes[text->hash & (table_nodes(table) - 1)]; node != NULL;
         node = node->key.next) {
        if (node->key.value.as.pointer == text && node->key.value.type == LUA_TSTRING) {
            found = &node->value;
            break;
        }
        passed++;
    }
    count_walk(engine_here(), passed);
    return found;
}

static const struct lua_value *find_other(struct lua_table *table, const struct lua_value *key)
{
    uint32_t passed = 0;
    const struct lua_value *found = &luaO_nilobject_;
    for (const struct lua_node *node = &table->nodes[head_of(key, table_nodes(table))]; node != NULL;
         node = node->key.next) {
        if (same_key(&node->key.value, key)) {
            found = &node->value;
            break;
        }
        passed++;
    }
    count_walk(engine_here(), passed);
    return found;
}

static const struct lua_value *find_number(struct lua_table *table, lua_Number number)
{
    if (number >= 1 && number <= table->array_size) {
        int place = (int)number;
        if (place == number) {
            return &table->array[place - 1];
        }
    }
    struct lua_value key = {.as.number = number, .type = LUA_TNUMBER};
    return find_other(table, &key);
}

const void *script_table_get(void *table, const void *key)
{
    const struct lua_value *value = key;
    switch (value->type) {
    case LUA_TNIL: return &luaO_nilobject_;
    case LUA_TSTRING: return find_text(table, value->as.pointer);
    case LUA_TNUMBER: return find_number(table, value->as.number);
    default: return find_other(table, value);
    }
}

const void *script_table_get_text(void *table, void *text) { return find_text(table, text); }

/* Of lua_rawgeti: one walks over as many places as it likes, of which none is there. */
const void *script_table_get_number(void *table, int number)
{
    engine_count(engine_here(), 1);
    return find_number(table, number);
}

/* A new key takes the place of one that stands in its head by chance: what points to that one is looked for, from the
 * other's head. */
static void count_displaced(const struct lua_table *table, const struct lua_value *key)
{
    uint32_t count = table_nodes(table);
    const struct lua_node *here = &table->nodes[head_of(key, count)];
    if (here->value.type == LUA_TNIL || here->key.value.type == LUA_TNIL) {
        return;
    }
    uint32_t passed = 0;
    for (const struct lua_node *node = &table->nodes[head_of(&here->key.value, count)]; node != NULL && node != here;
         node = node->key.next) {
        passed++;
    }
    count_walk(engine_here(), passed);
}

/* The place of a key that is there; NULL: it will be new, in the table that grows now. */
static void *found_place(struct lua_table *table, const struct lua_value *key)
{
    const void *found = script_table_get(table, key);
    if (found != &luaO_nilobject_) {
        table->no_methods = 0;
        return (void *)found;
    }
    count_displaced(table, key);
    engine_here()->growing = table;
    return NULL;
}

void *script_table_set(lua_State *L, void *table, const void *key)
{
    void *found = ((const struct lua_value *)key)->type == LUA_TNIL ? NULL : found_place(table, key);
    return found != NULL ? found : luaH_set(L, table, key);
}

void *script_table_set_text(lua_State *L, void *table, void *text)
{
    struct lua_value key = {.as.pointer = text, .type = LUA_TSTRING};
    void *found = found_place(table, &key);
    return found != NULL ? found : luaH_setstr(L, table, text);
}

void *script_table_set_number(lua_State *L, void *table, int number)
{
    struct lua_value key = {.as.number = number, .type = LUA_TNUMBER};
    engine_count(engine_here(), 1);
    void *found = found_place(table, &key);
    return found != NULL ? found : luaH_setnum(L, table, number);
}

void *script_table_new(lua_State *L, int array, int nodes)
{
    engine_here()->growing = NULL;
    return luaH_new(L, array, nodes);
}

void script_table_resize_array(lua_State *L, void *table, int size)
{
    engine_here()->growing = table;
    luaH_resizearray(L, table, size);
}

/* "#" of an array that is full goes on in the hash part, doubling and halving. */
int script_table_border(void *table)
{
    struct script_engine *engine = engine_here();
    uint64_t chain = engine->longest > ORDINARY ? engine->longest : 0;
    engine_count(engine, BORDER_STEPS + chain * BORDER_LOOKS / NODES_STEP);
    return luaH_getn(table);
}

/* What it costs to lay the keys of `table` out in `count` nodes: each walks over those that are there with its head,
 * and some displace others. The fresh nodes are nobody's yet, and count. */
uint64_t walks_of_layout(const void *at, void *fresh, uint32_t count)
{
    const struct lua_table *table = at;
    struct lua_node *nodes = fresh;
    for (uint32_t i = 0; i < count; i++) {
        nodes[i].value.type = 0;
    }
    uint64_t walked = 0, keys = 0;
    uint32_t longest = 0, old = table_nodes(table);
    for (uint32_t i = 0; i < old; i++) {
        const struct lua_node *node = &table->nodes[i];
        if (node->value.type == LUA_TNIL || node->key.value.type == LUA_TNIL) {
            continue;
        }
        uint32_t before = (uint32_t)nodes[head_of(&node->key.value, count)].value.type++;
        walked += before > FREE_NODES ? before : 0;
        longest = before > longest ? before : longest;
        keys++;
    }
    return (walked + (longest > ORDINARY ? keys * (longest - ORDINARY) : 0)) / NODES_STEP;
}

/* ---- strings ---- */

/* The bucket of a text, with the hash of lstring.c. */
static const struct lua_text *bucket_of(const lua_State *L, const uint8_t *bytes, size_t size)
{
    uint32_t hash = (uint32_t)size;
    size_t step = (size >> 5) + 1;
    for (size_t at = size; at >= step; at -= step) {
        hash ^= (hash << 5) + (hash >> 2) + bytes[at - 1];
    }
    const struct lua_texts *texts = thread_texts(L);
    return texts->buckets[hash & (uint32_t)(texts->size - 1)];
}

/* Each string lies somewhere else: one for a step. Those of the same size are compared, which is counted by itself. */
void *script_text_new(lua_State *L, const char *bytes, size_t size)
{
    uint32_t passed = 0;
    for (const struct lua_text *text = bucket_of(L, (const uint8_t *)bytes, size); text != NULL; text = text->next) {
        passed++;
    }
    if (passed > FREE_NODES) {
        engine_count(engine_here(), passed);
    }
    return luaS_newlstr(L, bytes, size);
}

/* ---- upvalues ---- */

void *script_find_upvalue(lua_State *L, void *level)
{
    uint32_t passed = 0;
    for (const struct lua_upvalue *upvalue = thread_upvalues(L);
         upvalue != NULL && (uintptr_t)upvalue->value >= (uintptr_t)level; upvalue = upvalue->next) {
        passed++;
    }
    engine_count(engine_here(), UPVALUE_STEPS + passed / UPVALUES_STEP);
    return luaF_findupval(L, level);
}

/* ---- what all this rests on ---- */

static void check_table(lua_State *L)
{
    lua_createtable(L, 3, 4);
    struct lua_table *table = (struct lua_table *)(uintptr_t)lua_topointer(L, -1);
    ASSERT(table->array_size == 3 && table_nodes(table) == 4 && table->metatable == NULL);
    lua_pushinteger(L, 7);
    lua_rawseti(L, -2, 2);
    ASSERT(table->array[1].type == LUA_TNUMBER && table->array[1].as.number == 7);
    static const char name[] = "layout";
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, name);
    lua_pushstring(L, name);
    const struct lua_text *text = (const struct lua_text *)(const void *)(lua_tostring(L, -1) - sizeof(*text));
    ASSERT(text->size == sizeof(name) - 1 && text->type == LUA_TSTRING);
    struct lua_node *node = &table->nodes[text->hash & 3];
    ASSERT(node->key.value.as.pointer == text && node->key.value.type == LUA_TSTRING && node->key.next == NULL);
    ASSERT(node->value.type == LUA_TBOOLEAN && node->value.as.boolean == 1);
    const struct lua_text *chained = bucket_of(L, (const uint8_t *)name, text->size);
    while (chained != NULL && chained != text) {
        chained = chained->next;
    }
    ASSERT(chained != NULL);
    lua_pop(L, 2);
}

static void check_threshold(lua_State *L)
{
    size_t before = *thread_threshold(L);
    size_t in_use = ((size_t)lua_gc(L, LUA_GCCOUNT, 0) << 10) + (size_t)lua_gc(L, LUA_GCCOUNTB, 0);
    (void)lua_gc(L, LUA_GCSTOP, 0);
    ASSERT(*thread_threshold(L) == SIZE_MAX - 2);
    (void)lua_gc(L, LUA_GCRESTART, 0);
    ASSERT(*thread_threshold(L) == in_use);
    *thread_threshold(L) = before;
}

/* What frozen.c takes as the memory that runs write to. */
static void check_state(lua_State *L)
{
    enum { STACK_SPARE = 6 };
    const uint8_t *calls = thread_field(L, THREAD_CALLS), *last = thread_field(L, THREAD_CALLS_LAST);
    const struct lua_value *stack_last = thread_field(L, THREAD_STACK_LAST);
    ASSERT(stack_last - thread_stack(L) == thread_number(L, THREAD_STACK_SIZE) - STACK_SPARE);
    ASSERT(last - calls == (ptrdiff_t)(thread_number(L, THREAD_CALLS_SIZE) - 1) * CALL_BYTES);
    ASSERT(*(lua_State **)global_at(L, GLOBAL_MAIN) == L);
    ASSERT((const uint8_t *)thread_texts(L) - (const uint8_t *)L == THREAD_BYTES);
    ASSERT(thread_total(L) == ((size_t)lua_gc(L, LUA_GCCOUNT, 0) << 10) + (size_t)lua_gc(L, LUA_GCCOUNTB, 0));
    lua_newtable(L);
    ASSERT(*thread_objects(L) == lua_topointer(L, -1));
    lua_pop(L, 1);
    lua_pushinteger(L, 1);
    lua_pushliteral(L, "a text");
    lua_concat(L, 2);
    const struct lua_buffer *buffer = thread_buffer(L);
    ASSERT(buffer->bytes != NULL && buffer->room >= 7 && memcmp(buffer->bytes, "1a text", 7) == 0);
    lua_pop(L, 1);
}

void layout_check(lua_State *L)
{
    struct lua_value *top = thread_top(L);
    ASSERT(sizeof(struct lua_node) == 40 && sizeof(struct lua_text) == 24 && sizeof(struct lua_table) == 64);
    lua_pushinteger(L, 5);
    ASSERT(thread_top(L) == top + 1 && top->type == LUA_TNUMBER && top->as.number == 5);
    ASSERT(thread_stack(L) < top && top - thread_stack(L) < LUA_MINSTACK && thread_upvalues(L) == NULL);
    lua_pop(L, 1);
    check_table(L);
    check_threshold(L);
    check_state(L);
}
