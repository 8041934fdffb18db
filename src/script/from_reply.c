/* A command's reply → Lua's value, as Redis 7.0 converts them.
 *
 * integer → number; bulk → string; status → {ok}; error → {err}; array → table; nil → false, in RESP3 nil;
 * map → {map}; set → {set = {member = true}}; double → {double}; big number → {big_number}; boolean → boolean;
 * verbatim string → {verbatim_string = {string, format}}. */
#include "script/engine.h"
#include "wire/resp_reply.h"

struct source {
    lua_State *L;
    int protocol;
    struct resp_reader reader;
    struct slice rest;
};

static struct resp_token next_token(struct source *source)
{
    struct resp_token token;
    enum resp_reply_result result =
        resp_reader_next(&source->reader, &RESP_REPLY_DEFAULT_LIMITS, source->rest.data, source->rest.size, &token);
    ASSERT(result == RESP_REPLY_READY); /* our own words */
    source->rest.data += source->reader.consumed;
    source->rest.size -= source->reader.consumed;
    return token;
}

static void push_text(lua_State *L, struct slice text) { lua_pushlstring(L, (const char *)text.data, text.size); }

/* The value on top → {name = value} */
static void wrap(lua_State *L, const char *name)
{
    lua_createtable(L, 0, 1);
    lua_insert(L, -2);
    lua_setfield(L, -2, name);
}

static void push_value(struct source *source);

static void push_array(struct source *source, uint64_t count)
{
    lua_createtable(source->L, (int)count, 0);
    for (uint64_t i = 1; i <= count; i++) {
        push_value(source);
        lua_rawseti(source->L, -2, (int)i);
    }
}

static void push_map(struct source *source, uint64_t elements)
{
    lua_createtable(source->L, 0, (int)(elements / 2));
    for (uint64_t i = 0; i < elements / 2; i++) {
        push_value(source);
        push_value(source);
        lua_rawset(source->L, -3);
    }
    wrap(source->L, "map");
}

static void push_set(struct source *source, uint64_t count)
{
    lua_createtable(source->L, 0, (int)count);
    for (uint64_t i = 0; i < count; i++) {
        push_value(source);
        lua_pushboolean(source->L, 1);
        lua_rawset(source->L, -3);
    }
    wrap(source->L, "set");
}

static void push_verbatim(lua_State *L, const struct resp_token *token)
{
    lua_createtable(L, 0, 2);
    push_text(L, token->text);
    lua_setfield(L, -2, "string");
    lua_pushlstring(L, token->format, sizeof(token->format));
    lua_setfield(L, -2, "format");
    wrap(L, "verbatim_string");
}

static void push_null(const struct source *source)
{
    if (source->protocol == RESP3) {
        lua_pushnil(source->L);
    } else {
        lua_pushboolean(source->L, 0);
    }
}

static void push_value(struct source *source)
{
    lua_State *L = source->L;
    engine_charge(L, 1);
    luaL_checkstack(L, 6, "reply too deep");
    struct resp_token token = next_token(source);
    switch (token.type) {
    case RESP_STATUS:
        push_text(L, token.text);
        wrap(L, "ok");
        return;
    case RESP_ERROR: push_error(L, (const char *)token.text.data, token.text.size); return;
    case RESP_INTEGER: lua_pushnumber(L, (lua_Number)token.integer); return;
    case RESP_BULK: push_text(L, token.text); return;
    case RESP_VERBATIM: push_verbatim(L, &token); return;
    case RESP_BIG_NUMBER:
        push_text(L, token.text);
        wrap(L, "big_number");
        return;
    case RESP_DOUBLE:
        lua_pushnumber(L, token.number);
        wrap(L, "double");
        return;
    case RESP_BOOLEAN: lua_pushboolean(L, token.integer != 0); return;
    case RESP_NULL: push_null(source); return;
    case RESP_ARRAY:
    case RESP_PUSH: push_array(source, token.count); return;
    case RESP_SET: push_set(source, token.count); return;
    case RESP_MAP: push_map(source, token.count); return;
    case RESP_ATTRIBUTE: break;
    }
    UNREACHABLE(); /* no command of ours has attributes */
}

void from_reply(lua_State *L, struct slice bytes, int protocol)
{
    engine_charge(L, engine_bytes(bytes.size));
    struct source source = {.L = L, .protocol = protocol, .rest = bytes};
    resp_reader_init(&source.reader);
    push_value(&source);
    ASSERT(source.rest.size == 0);
}
