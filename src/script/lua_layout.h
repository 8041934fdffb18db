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

struct lua_buffer {
    char *bytes;
    size_t used, room;
};

enum {
    THREAD_TOP = 16,
    THREAD_GLOBAL = 32,
    THREAD_STACK_LAST = 56,
    THREAD_STACK = 64,
    THREAD_CALLS_LAST = 72,
    THREAD_CALLS = 80,
    THREAD_STACK_SIZE = 88,
    THREAD_CALLS_SIZE = 92,
    THREAD_UPVALUES = 152,
    THREAD_BYTES = 184, /* behind the first thread lies the global state, in its block */
    GLOBAL_OBJECTS = 40,
    GLOBAL_BUFFER = 88,
    GLOBAL_THRESHOLD = 112,
    GLOBAL_TOTAL = 120,
    GLOBAL_MAIN = 176,
    GLOBAL_BYTES = 432,
    CALL_BYTES = 40,
};

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

static inline int thread_number(const lua_State *L, size_t at)
{
    int number;
    memcpy(&number, (const uint8_t *)L + at, sizeof(number));
    return number;
}
static inline void *global_at(const lua_State *L, size_t at) { return (uint8_t *)thread_field(L, THREAD_GLOBAL) + at; }
/* All that is collected but texts and open upvalues, as a list; each begins as a table does. */
static inline struct lua_table **thread_objects(const lua_State *L) { return global_at(L, GLOBAL_OBJECTS); }
/* Where texts are joined. */
static inline const struct lua_buffer *thread_buffer(const lua_State *L) { return global_at(L, GLOBAL_BUFFER); }
static inline size_t thread_total(const lua_State *L) { return *(const size_t *)global_at(L, GLOBAL_TOTAL); }

/* The bytes in use at which the collector goes on; LUA_GCSTOP sets it out of reach, and LUA_GCRESTART to now. */
static inline size_t *thread_threshold(const lua_State *L) { return global_at(L, GLOBAL_THRESHOLD); }

/* Asserts that this Lua looks as is said here. */
void layout_check(lua_State *L);
