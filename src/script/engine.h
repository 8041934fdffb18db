/* Inside of the room: the engine, its memory, and the budget.
 *
 * The engine lies at the start of its region, so the few functions that stand in for the C library below Lua's own code
 * (stand_ins.c) find it without an argument. Behind it come the blocks of the arena, from the first to `top`. */
#pragma once

#include <lua.h>

#include <lauxlib.h>

#include "base/assert.h"
#include "script/script.h"

enum { ARENA_CLASSES = 160 };

struct chunks;
struct frozen;

struct arena {
    uint8_t *top; /* nothing beyond was ever given out in this run */
    uint8_t *end;
    size_t in_use; /* bytes of blocks that are out, as their classes have it */
    void *free[ARENA_CLASSES];
};

enum { TRAVERSALS = 16, KEY_BYTES = 12 };

/* Where a walk of lua_next over a table stands. */
struct traversal {
    const void *table;
    uint8_t key[KEY_BYTES]; /* its value and type, as a TValue has them */
};

struct script_engine {
    struct script_place place;
    void *image; /* of the region at the moment when it was ready, on the heap */
    size_t image_size;
    struct chunks *chunks;
    struct frozen *frozen;
    lua_State *main;
    struct slice json_settings, json_block; /* of cjson: what its functions share, and where it writes */

    /* of the run */
    const struct script_run *run;
    const struct script_host *host;
    lua_State *running; /* the thread whose instructions are counted */
    uint64_t used;
    uint64_t compiled; /* of these, when the text was a function */
    uint64_t budget;
    uint64_t beat_at; /* the host's next beat, in steps */
    size_t memory_limit;
    size_t taken, room;      /* bytes that were given out, and how many until the collector begins */
    bool tried_to_write;     /* to a table of the sandbox, which then looks otherwise */
    size_t held;             /* by the host, for this run */
    enum script_end stopped; /* OVER_BUDGET or OVER_MEMORY: nothing goes on; else RETURNED */
    uint64_t weight;         /* steps of one instruction */
    size_t largest_nodes;    /* of any table so far: the block of its hash part */
    size_t largest_array;
    size_t largest_text; /* that was compiled */
    uint32_t longest;    /* walk over a chain of a table */
    void *growing;       /* the table that Lua was told to put a new key in */
    uint32_t matched;    /* steps of matchers that are not charged yet */
    uint32_t chained;    /* tables that got a metatable, up to Lua's limit of a chain */
    uint32_t resumes;    /* coroutines within coroutines */
    bool writing;        /* the script's value is on its way into the reply */
    int protocol;        /* redis.setresp */
    uint64_t random;
    uint64_t named;       /* objects that tostring gave a number */
    struct buffer *reply; /* of the host; on the heap, kept between runs */
    struct traversal traversals[TRAVERSALS];
    struct arena arena;
};

static inline struct script_engine *engine_here(void) { return (struct script_engine *)SCRIPT_ADDRESS; }

/* ---- memory (arena.c) ---- */

void arena_init(struct arena *arena, void *from, void *end);
/* As lua_Alloc wants it, but for the limit. */
void *arena_resize(struct arena *arena, void *block, size_t old_size, size_t new_size);
/* What a block of this size takes. */
size_t arena_taken(size_t size);

/* lua_Alloc: with the limit, and charged. */
void *engine_allocate(void *context, void *block, size_t old_size, size_t new_size);

/* ---- budget (budget.c) ---- */

/* Adds to what was used. May be called anywhere; what is over stops at the next instruction or engine_charge. */
void engine_count(struct script_engine *engine, uint64_t steps);
/* The same, and raises a Lua error when it is over. */
void engine_charge(lua_State *L, uint64_t steps);
void engine_stop(struct script_engine *engine, enum script_end why);
/* Leaves a run that is over. */
__attribute__((noreturn)) void engine_raise(lua_State *L);
/* Counts the instructions of the thread, from now on. */
void engine_watch(struct script_engine *engine, lua_State *L);
/* Weighs instructions anew: something that they walk over has grown. */
void engine_weigh(struct script_engine *engine);

/* Bytes that are looked at one by one, and bytes that are copied, as steps. */
static inline uint64_t engine_bytes(size_t size) { return 1 + size / 16; }
static inline uint64_t engine_copy(size_t size) { return 1 + size / 64; }

/* Steps that it takes to lay the keys of the table out in `count` fresh nodes (walks.c). */
uint64_t walks_of_layout(const void *at, void *fresh, uint32_t count);

/* ---- the sandbox ---- */

/* In the registry: what getmetatable says of a string, and of the globals. */
#define SANDBOX_STRING_METATABLE "string metatable"
#define SANDBOX_GLOBALS_METATABLE "globals metatable"
/* In the registry: objects that were made text → what stands for their address. */
#define SANDBOX_NUMBERS "numbers"

/* Makes the state's globals (sandbox.c). */
void sandbox_build(lua_State *L);
/* Pushes the table behind the globals. */
void sandbox_push_globals(lua_State *L);
/* Sets a global that scripts cannot change; takes the value from the stack. */
void sandbox_set_global(lua_State *L, const char *name);
/* Whether the value is a table that scripts may not change: then the table behind it is pushed. */
bool sandbox_behind(lua_State *L, int index);
/* Raises Redis's error when scripts may not change the table. */
void sandbox_check_writable(lua_State *L, int index);
/* Sets a field of the table on top to this stock function, charged by the sizes of its arguments. */
void sandbox_charged(lua_State *L, const char *name, lua_CFunction function);

/* Sets what has no library's name. */
void base_library_fill(lua_State *L);
/* Fill, or go over, the library's table on top. */
void string_library_fill(lua_State *L);
void table_library_fill(lua_State *L);
void redis_library_fill(lua_State *L);

/* Pushes the value as tostring gives it, without asking its metatable: with numbers in the place of addresses. */
void base_push_text(lua_State *L, int index);
/* Steps of compiling a text, beyond its bytes (text_cost.c). */
uint64_t text_cost(struct slice text);
/* Compiles text as `name`: pushes the function, or a message and returns false. */
bool base_compile(lua_State *L, struct slice text, const char *name);

/* string.find, match, gmatch, gsub (pattern.c) */
int pattern_find(lua_State *L);
int pattern_match(lua_State *L);
int pattern_gmatch(lua_State *L);
int pattern_gsub(lua_State *L);

/* ---- values ---- */

/* Pushes a reply as a Lua value (from_reply.c). */
void from_reply(lua_State *L, struct slice bytes, int protocol);
/* Pushes {err = …} of an error's text (code and message). */
void push_error(lua_State *L, const char *text, size_t size);
/* Writes the value on top as a reply (to_reply.c). */
void to_reply(lua_State *L, struct resp_writer *reply);
