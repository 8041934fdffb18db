/* string.find, match, gmatch and gsub, over matcher.h. */
#include <ctype.h>

#include "script/engine.h"
#include "script/matcher.h"

static struct slice check_slice(lua_State *L, int index)
{
    struct slice text;
    text.data = (const uint8_t *)luaL_checklstring(L, index, &text.size);
    return text;
}

/* Where find and match begin: 1 is the first byte, -1 the last. */
static size_t start_of(lua_State *L, int index, size_t size)
{
    ptrdiff_t at = luaL_optinteger(L, index, 1);
    if (at < 0) {
        at += (ptrdiff_t)size + 1;
    }
    at--;
    if (at < 0) {
        return 0;
    }
    return (size_t)at > size ? size : (size_t)at;
}

static bool is_plain(lua_State *L, struct slice pattern)
{
    const char *text = (const char *)pattern.data;
    engine_charge(L, engine_bytes(pattern.size));
    return strcspn(text, "^$*+?.([%-") == strlen(text);
}

/* The first place of one text in another, or NULL. */
static const char *find_text(lua_State *L, struct slice in, struct slice text)
{
    engine_charge(L, 1 + in.size / 4 + text.size / 4);
    return memmem(in.data, in.size, text.data, text.size);
}

static int push_nil(lua_State *L)
{
    lua_pushnil(L);
    return 1;
}

static int find_plain(lua_State *L, struct slice subject, struct slice pattern, size_t start)
{
    struct slice rest = slice_of(subject.data + start, subject.size - start);
    const char *at = find_text(L, rest, pattern);
    if (at == NULL) {
        return push_nil(L);
    }
    ptrdiff_t offset = at - (const char *)subject.data;
    lua_pushinteger(L, offset + 1);
    lua_pushinteger(L, offset + (ptrdiff_t)pattern.size);
    return 2;
}

static int find_or_match(lua_State *L, bool find)
{
    struct slice subject = check_slice(L, 1), pattern = check_slice(L, 2);
    size_t start = start_of(L, 3, subject.size);
    if (find && (lua_toboolean(L, 4) || is_plain(L, pattern))) {
        return find_plain(L, subject, pattern, start);
    }
    struct matcher m;
    bool anchored;
    const char *p = matcher_init(&m, L, subject, pattern, &anchored);
    for (const char *at = m.begin + start; at <= m.end; at++) {
        const char *end = matcher_match(&m, at, p);
        if (end != NULL && find) {
            lua_pushinteger(L, at - m.begin + 1);
            lua_pushinteger(L, end - m.begin);
            return matcher_push_captures(&m, NULL, NULL) + 2;
        }
        if (end != NULL) {
            return matcher_push_captures(&m, at, end);
        }
        if (anchored) {
            break;
        }
    }
    return push_nil(L);
}

int pattern_find(lua_State *L) { return find_or_match(L, true); }
int pattern_match(lua_State *L) { return find_or_match(L, false); }

/* Upvalues: subject, pattern, offset of the next look. */
static int gmatch_next(lua_State *L)
{
    struct slice subject = check_slice(L, lua_upvalueindex(1)), pattern = check_slice(L, lua_upvalueindex(2));
    struct matcher m;
    const char *p = matcher_init(&m, L, subject, pattern, NULL);
    for (const char *at = m.begin + lua_tointeger(L, lua_upvalueindex(3)); at <= m.end; at++) {
        const char *end = matcher_match(&m, at, p);
        if (end != NULL) {
            lua_pushinteger(L, end - m.begin + (end == at ? 1 : 0));
            lua_replace(L, lua_upvalueindex(3));
            return matcher_push_captures(&m, at, end);
        }
    }
    return 0;
}

int pattern_gmatch(lua_State *L)
{
    (void)check_slice(L, 1);
    (void)check_slice(L, 2);
    lua_settop(L, 2);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, gmatch_next, 3);
    return 1;
}

/* ---- gsub ---- */

/* A text that grows in a block of Lua's: what an error leaves behind is collected. Not in a luaL_Buffer, whose 8 KiB
 * would lie on the C stack while functions of the script run. */
struct text {
    lua_State *L;
    int slot; /* on the stack: the block */
    char *data;
    size_t size, capacity;
};

static void text_append(struct text *text, const char *data, size_t size)
{
    if (text->capacity - text->size < size) {
        size_t capacity = text->capacity * 2 + size + 64;
        char *block = lua_newuserdata(text->L, capacity);
        if (text->size > 0) {
            memcpy(block, text->data, text->size);
        }
        lua_replace(text->L, text->slot);
        text->data = block;
        text->capacity = capacity;
    }
    if (size > 0) {
        memcpy(text->data + text->size, data, size);
        text->size += size;
    }
    engine_charge(text->L, engine_copy(size));
}

static void text_append_top(struct text *text)
{
    size_t size;
    const char *data = lua_tolstring(text->L, -1, &size);
    text_append(text, data, size);
    lua_pop(text->L, 1);
}

/* "%1" in a replacement stands for a capture, "%0" for the match. */
static void append_replacement(struct text *text, struct matcher *m, const char *begin, const char *end)
{
    size_t size;
    const char *news = lua_tolstring(text->L, 3, &size);
    for (size_t i = 0; i < size; i++) {
        size_t plain = i;
        while (i < size && news[i] != '%') {
            i++;
        }
        text_append(text, news + plain, i - plain);
        if (i == size) {
            return;
        }
        i++; /* at the end stands a NUL, which Lua appends too */
        if (!isdigit((uint8_t)news[i])) {
            text_append(text, news + i, 1);
        } else if (news[i] == '0') {
            text_append(text, begin, (size_t)(end - begin));
        } else {
            matcher_push_capture(m, news[i] - '1', begin, end);
            text_append_top(text);
        }
    }
}

static void append_value(struct text *text, struct matcher *m, const char *begin, const char *end)
{
    lua_State *L = text->L;
    switch (lua_type(L, 3)) {
    case LUA_TFUNCTION:
        lua_pushvalue(L, 3);
        lua_call(L, matcher_push_captures(m, begin, end), 1);
        break;
    case LUA_TTABLE:
        matcher_push_capture(m, 0, begin, end);
        lua_gettable(L, 3);
        break;
    default: append_replacement(text, m, begin, end); return;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        lua_pushlstring(L, begin, (size_t)(end - begin));
    } else if (!lua_isstring(L, -1)) {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    }
    text_append_top(text);
}

int pattern_gsub(lua_State *L)
{
    struct slice subject = check_slice(L, 1), pattern = check_slice(L, 2);
    int type = lua_type(L, 3);
    luaL_argcheck(L, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION || type == LUA_TTABLE, 3,
                  "string/function/table expected");
    int64_t most = lua_isnoneornil(L, 4) ? (int64_t)subject.size + 1 : luaL_checkint(L, 4);
    lua_settop(L, 4);
    struct text text = {.L = L, .slot = 4};
    struct matcher m;
    bool anchored;
    const char *p = matcher_init(&m, L, subject, pattern, &anchored);
    const char *at = m.begin;
    int64_t count = 0;
    while (count < most) {
        const char *end = matcher_match(&m, at, p);
        if (end != NULL) {
            count++;
            append_value(&text, &m, at, end);
        }
        if (end != NULL && end > at) {
            at = end;
        } else if (at < m.end) {
            text_append(&text, at++, 1);
        } else {
            break;
        }
        if (anchored) {
            break;
        }
    }
    text_append(&text, at, (size_t)(m.end - at));
    lua_pushlstring(L, text.data, text.size);
    lua_pushinteger(L, (lua_Integer)count);
    return 2;
}
