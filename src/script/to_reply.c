/* A script's value → the reply, as Redis 7.0 converts them: see from_reply.c for the tables that stand for types.
 * Numbers lose their fraction; an array ends at its first nil. Metatables are not asked. */
#include "script/engine.h"

enum { DEPTH = 512 }; /* tables within tables; Redis has room for some more */

struct target {
    lua_State *L;
    struct resp_writer *reply;
    size_t bytes;
    int depth;
};

/* Written or to be written, also where the reply is discarded: all replicas count alike. */
static void count(struct target *target, size_t bytes)
{
    struct script_engine *engine = engine_here();
    target->bytes += bytes + 8;
    if (target->bytes > engine->memory_limit) {
        engine_stop(engine, SCRIPT_OVER_MEMORY);
    }
    engine_charge(target->L, engine_bytes(bytes));
}

/* Pushes a field when it has this type. */
static bool has(lua_State *L, const char *name, int type)
{
    lua_pushstring(L, name);
    lua_rawget(L, -2);
    if (lua_type(L, -1) == type) {
        return true;
    }
    lua_pop(L, 1);
    return false;
}

static struct slice text_of(lua_State *L)
{
    struct slice text;
    text.data = (const uint8_t *)lua_tolstring(L, -1, &text.size);
    return text;
}

static void put_value(struct target *target);

static void clear_line_ends(uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = bytes[i] == '\r' || bytes[i] == '\n' ? ' ' : bytes[i];
    }
}

static void put_line(struct target *target, char kind)
{
    struct slice text = text_of(target->L);
    if (kind != '(') { /* Redis takes it as a string of C */
        text.size = strnlen((const char *)text.data, text.size);
    }
    while (kind == '-' && text.size > 0 && (text.data[text.size - 1] == '\r' || text.data[text.size - 1] == '\n')) {
        text.size--;
    }
    struct buffer *out = target->reply->out;
    count(target, text.size);
    if (out == NULL) {
        return;
    }
    buffer_append_byte(out, (uint8_t)kind);
    buffer_append_slice(out, text);
    clear_line_ends(out->data + out->size - text.size, text.size);
    buffer_append_string(out, "\r\n");
}

/* Counts, and then writes, keys and maybe values of the table on top. */
static void put_pairs(struct target *target, bool map)
{
    lua_State *L = target->L;
    size_t pairs = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        pairs++;
    }
    count(target, 0);
    (map ? resp_map : resp_set)(target->reply, pairs);
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        lua_pushvalue(L, -2);
        put_value(target);
        if (map) {
            put_value(target);
        } else {
            lua_pop(L, 1);
        }
    }
}

static bool put_verbatim(struct target *target)
{
    lua_State *L = target->L;
    bool done = false;
    if (has(L, "format", LUA_TSTRING)) {
        char format[3] = "   ";
        struct slice name = text_of(L);
        memcpy(format, name.data, strnlen((const char *)name.data, 3));
        lua_pop(L, 1);
        if (has(L, "string", LUA_TSTRING)) {
            struct slice text = text_of(L);
            count(target, text.size);
            resp_verbatim(target->reply, format, text);
            lua_pop(L, 1);
            done = true;
        }
    }
    return done;
}

/* In RESP2 a bulk; line ends are spaces in both. */
static void put_big_number(struct target *target)
{
    if (target->reply->protocol == RESP3) {
        put_line(target, '(');
        return;
    }
    struct slice text = text_of(target->L);
    struct buffer *out = target->reply->out;
    count(target, text.size);
    resp_bulk(target->reply, text);
    if (out != NULL) {
        clear_line_ends(out->data + out->size - text.size - 2, text.size);
    }
}

/* A table that stands for another type. */
static bool put_typed(struct target *target)
{
    lua_State *L = target->L;
    bool done = true;
    if (has(L, "err", LUA_TSTRING)) {
        put_line(target, '-');
    } else if (has(L, "ok", LUA_TSTRING)) {
        put_line(target, '+');
    } else if (has(L, "double", LUA_TNUMBER)) {
        count(target, 0);
        resp_double(target->reply, lua_tonumber(L, -1));
    } else if (has(L, "map", LUA_TTABLE)) {
        put_pairs(target, true);
    } else if (has(L, "set", LUA_TTABLE)) {
        put_pairs(target, false);
    } else if (has(L, "big_number", LUA_TSTRING)) {
        put_big_number(target);
    } else if (has(L, "verbatim_string", LUA_TTABLE)) {
        done = put_verbatim(target);
    } else {
        return false;
    }
    lua_pop(L, 1);
    return done;
}

static void put_array(struct target *target)
{
    lua_State *L = target->L;
    int elements = 0;
    for (bool more = true; more; elements++) {
        engine_charge(L, 1);
        lua_rawgeti(L, -1, elements + 1);
        more = !lua_isnil(L, -1);
        lua_pop(L, 1);
    }
    elements--;
    count(target, 0);
    resp_array(target->reply, (size_t)elements);
    for (int i = 1; i <= elements; i++) {
        lua_rawgeti(L, -1, i);
        put_value(target);
    }
}

static void put_boolean(struct target *target, bool value)
{
    count(target, 0);
    if (engine_here()->protocol == RESP3) {
        resp_boolean(target->reply, value);
    } else if (value) {
        resp_integer(target->reply, 1);
    } else {
        resp_null(target->reply);
    }
}

/* As a cast does on the machines that we know, without leaving it to the compiler. */
static int64_t whole(lua_Number number) { return number >= -0x1p63 && number < 0x1p63 ? (int64_t)number : INT64_MIN; }

/* Writes the value on top, and takes it away. */
static void put_value(struct target *target)
{
    lua_State *L = target->L;
    if (target->depth == DEPTH || !lua_checkstack(L, 8)) {
        count(target, 32);
        resp_error(target->reply, "ERR reached lua stack limit");
        lua_pop(L, 1);
        return;
    }
    target->depth++;
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
        count(target, lua_objlen(L, -1));
        resp_bulk(target->reply, text_of(L));
        break;
    case LUA_TNUMBER:
        count(target, 0);
        resp_integer(target->reply, whole(lua_tonumber(L, -1)));
        break;
    case LUA_TBOOLEAN: put_boolean(target, lua_toboolean(L, -1)); break;
    case LUA_TTABLE:
        if (!put_typed(target)) {
            put_array(target);
        }
        break;
    default: count(target, 0); resp_null(target->reply);
    }
    target->depth--;
    lua_pop(L, 1);
}

void to_reply(lua_State *L, struct resp_writer *reply)
{
    struct target target = {.L = L, .reply = reply};
    put_value(&target);
}
