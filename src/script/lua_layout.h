/* What Debian's Lua 5.1 (64 bits) keeps in memory, as far as a walk over it is counted here: its own headers for this
 * are in no package. layout_check states what is believed at each start. */
#pragma once

#include "script/engine.h"

struct lua_value {
    union {
        void *pointer;
        lua_Number number;
        int boolean;
    } as;
    int type;
};

struct lua_text {
    struct lua_text *next; /* in its bucket */
    uint8_t type, marked, reserved;
    uint32_t hash;
    size_t size;
};

struct lua_node {
    struct lua_value value;
    struct {
        struct lua_value value;
        struct lua_node *next;
    } key;
};

struct lua_table {
    void *next;
    uint8_t type, marked;
    uint8_t no_methods; /* bits: what it is known not to have as a metatable */
    uint8_t log_nodes;
    struct lua_table *metatable;
    struct lua_value *array;
    struct lua_node *nodes;
    struct lua_node *last_free;
    void *gray;
    int array_size;
};

struct lua_upvalue {
    struct lua_upvalue *next;
    uint8_t type, marked;
    struct lua_value *value;
};

struct lua_texts {
    struct lua_text **buckets;
    uint32_t used;
    int size; /* a power of two */
};

enum { THREAD_TOP = 16, THREAD_GLOBAL = 32, THREAD_STACK = 64, THREAD_UPVALUES = 152, GLOBAL_THRESHOLD = 112 };

extern const struct lua_value luaO_nilobject_; /* what a table gives that has no such key */

static inline uint32_t table_nodes(const struct lua_table *table) { return 1U << table->log_nodes; }

static inline void *thread_field(const lua_State *L, size_t at)
{
    void *field;
    memcpy(&field, (const uint8_t *)L + at, sizeof(field));
    return field;
}
static inline struct lua_value *thread_top(const lua_State *L) { return thread_field(L, THREAD_TOP); }
static inline struct lua_value *thread_stack(const lua_State *L) { return thread_field(L, THREAD_STACK); }
/* The global state begins with the table of all short and long strings. */
static inline const struct lua_texts *thread_texts(const lua_State *L) { return thread_field(L, THREAD_GLOBAL); }
static inline const struct lua_upvalue *thread_upvalues(const lua_State *L) { return thread_field(L, THREAD_UPVALUES); }

/* The bytes in use at which the collector goes on; LUA_GCSTOP sets it out of reach, and LUA_GCRESTART to now. */
static inline size_t *thread_threshold(const lua_State *L)
{
    return (size_t *)(void *)((uint8_t *)thread_field(L, THREAD_GLOBAL) + GLOBAL_THRESHOLD);
}

/* Asserts that this Lua looks as is said here. */
void layout_check(lua_State *L);
