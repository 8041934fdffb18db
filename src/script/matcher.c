#include "script/matcher.h"

#include <ctype.h>

#include "script/engine.h"

enum {
    ESCAPE = '%',
    CHARGE_EVERY = 256,
    PATTERN_STEP = 64, /* bytes of a pattern, to find its end */
};

/* Of all matchers together: many short matches cost as much as a long one. */
static void step(struct matcher *m)
{
    struct script_engine *engine = engine_here();
    if (++engine->matched == CHARGE_EVERY) {
        engine->matched = 0;
        engine_charge(m->L, CHARGE_EVERY);
    }
}

const char *matcher_init(struct matcher *m, lua_State *L, struct slice subject, struct slice pattern,
                         bool *ret_anchored)
{
    const char *text = (const char *)pattern.data;
    *m = (struct matcher){.L = L, .begin = (const char *)subject.data};
    m->end = m->begin + subject.size;
    engine_charge(L, 1 + pattern.size / PATTERN_STEP);
    m->pattern_end = text + strnlen(text, pattern.size);
    bool anchored = ret_anchored != NULL && text < m->pattern_end && *text == '^';
    if (ret_anchored != NULL) {
        *ret_anchored = anchored;
    }
    return anchored ? text + 1 : text;
}

/* ---- one item of a pattern ---- */

/* Where the single item that begins here ends: a character, %class or [set]. */
static const char *item_end(struct matcher *m, const char *p)
{
    char first = *p++;
    if (first == ESCAPE) {
        if (p >= m->pattern_end) {
            luaL_error(m->L, "malformed pattern (ends with '%%')");
        }
        return p + 1;
    }
    if (first != '[') {
        return p;
    }
    if (p < m->pattern_end && *p == '^') {
        p++;
    }
    do { /* a "]" that stands first is one of the set */
        step(m);
        if (p >= m->pattern_end) {
            luaL_error(m->L, "malformed pattern (missing ']')");
        }
        if (*p++ == ESCAPE && p < m->pattern_end) {
            p++;
        }
    } while (p >= m->pattern_end || *p != ']');
    return p + 1;
}

static bool in_class(uint8_t c, uint8_t class)
{
    bool yes;
    switch (tolower(class)) {
    case 'a': yes = isalpha(c) != 0; break;
    case 'c': yes = iscntrl(c) != 0; break;
    case 'd': yes = isdigit(c) != 0; break;
    case 'l': yes = islower(c) != 0; break;
    case 'p': yes = ispunct(c) != 0; break;
    case 's': yes = isspace(c) != 0; break;
    case 'u': yes = isupper(c) != 0; break;
    case 'w': yes = isalnum(c) != 0; break;
    case 'x': yes = isxdigit(c) != 0; break;
    case 'z': yes = c == '\0'; break;
    default: return class == c;
    }
    return isupper(class) ? !yes : yes;
}

/* The set between p, its "[", and last, its "]". */
static bool in_set(struct matcher *m, uint8_t c, const char *p, const char *last)
{
    bool found = true;
    if (p[1] == '^') {
        found = false;
        p++;
    }
    while (++p < last) {
        step(m);
        if (*p == ESCAPE) {
            p++;
            if (in_class(c, (uint8_t)*p)) {
                return found;
            }
        } else if (p[1] == '-' && p + 2 < last) {
            p += 2;
            if ((uint8_t)p[-2] <= c && c <= (uint8_t)*p) {
                return found;
            }
        } else if ((uint8_t)*p == c) {
            return found;
        }
    }
    return !found;
}

static bool item_matches(struct matcher *m, const char *at, const char *p, const char *p_end)
{
    ASSERT(at != NULL);
    step(m);
    if (at >= m->end) {
        return false;
    }
    uint8_t c = (uint8_t)*at;
    switch (*p) {
    case '.': return true;
    case ESCAPE: return in_class(c, (uint8_t)p[1]);
    case '[': return in_set(m, c, p, p_end - 1);
    default: return (uint8_t)*p == c;
    }
}

/* ---- captures ---- */

static const char *match_here(struct matcher *m, const char *at, const char *p);

static const char *open_capture(struct matcher *m, const char *at, const char *p)
{
    if (m->level >= MATCHER_CAPTURES) {
        luaL_error(m->L, "too many captures");
    }
    bool position = p + 1 < m->pattern_end && p[1] == ')';
    m->captures[m->level].begin = at;
    m->captures[m->level].size = position ? CAPTURE_POSITION : CAPTURE_OPEN;
    m->level++;
    const char *end = match_here(m, at, p + (position ? 2 : 1));
    if (end == NULL) {
        m->level--;
    }
    return end;
}

static const char *close_capture(struct matcher *m, const char *at, const char *p)
{
    int i = m->level - 1;
    while (i >= 0 && m->captures[i].size != CAPTURE_OPEN) {
        i--;
    }
    if (i < 0) {
        luaL_error(m->L, "invalid pattern capture");
    }
    m->captures[i].size = at - m->captures[i].begin;
    const char *end = match_here(m, at, p + 1);
    if (end == NULL) {
        m->captures[i].size = CAPTURE_OPEN;
    }
    return end;
}

/* "%1": the same text again. */
static const char *match_capture(struct matcher *m, const char *at, char digit)
{
    int i = digit - '1';
    if (i < 0 || i >= m->level || m->captures[i].size == CAPTURE_OPEN) {
        luaL_error(m->L, "invalid capture index");
    }
    size_t size = (size_t)m->captures[i].size; /* of a position: larger than any text, as in Lua */
    if (size > (size_t)(m->end - at)) {
        return NULL;
    }
    engine_charge(m->L, engine_bytes(size));
    return memcmp(m->captures[i].begin, at, size) == 0 ? at + size : NULL;
}

/* "%bxy": from an x to the y that balances it. */
static const char *match_balance(struct matcher *m, const char *at, const char *p)
{
    if (p + 1 >= m->pattern_end) {
        luaL_error(m->L, "unbalanced pattern");
    }
    if (at >= m->end || *at != p[0]) {
        return NULL;
    }
    int64_t open = 1;
    for (at++; at < m->end; at++) {
        step(m);
        if (*at == p[1]) {
            if (--open == 0) {
                return at + 1;
            }
        } else if (*at == p[0]) {
            open++;
        }
    }
    return NULL;
}

/* "%f[set]": between a character outside of the set and one in it; NUL stands around the subject. */
static bool at_frontier(struct matcher *m, const char *at, const char *p, const char *p_end)
{
    uint8_t before = at == m->begin ? 0 : (uint8_t)at[-1];
    uint8_t here = at == m->end ? 0 : (uint8_t)*at;
    return !in_set(m, before, p, p_end - 1) && in_set(m, here, p, p_end - 1);
}

/* ---- repetitions ---- */

/* As many as can be, then fewer. */
static const char *match_most(struct matcher *m, const char *at, const char *p, const char *p_end)
{
    ptrdiff_t count = 0;
    while (item_matches(m, at + count, p, p_end)) {
        count++;
    }
    for (; count >= 0; count--) {
        const char *end = match_here(m, at + count, p_end + 1);
        if (end != NULL) {
            return end;
        }
    }
    return NULL;
}

/* As few as can be, then more. */
static const char *match_fewest(struct matcher *m, const char *at, const char *p, const char *p_end)
{
    for (;; at++) {
        const char *end = match_here(m, at, p_end + 1);
        if (end != NULL) {
            return end;
        }
        if (!item_matches(m, at, p, p_end)) {
            return NULL;
        }
    }
}

/* What follows "%": *ret_p is behind it when it matched there (and the end of the match is returned), or NULL when this
 * is an ordinary item. */
static const char *match_special(struct matcher *m, const char *at, const char *p, const char **ret_p)
{
    char kind = p + 1 < m->pattern_end ? p[1] : '\0';
    if (kind == 'b') {
        *ret_p = p + 4;
        return match_balance(m, at, p + 2);
    }
    if (kind == 'f') {
        p += 2;
        if (p >= m->pattern_end || *p != '[') {
            luaL_error(m->L, "missing '[' after '%%f' in pattern");
        }
        *ret_p = item_end(m, p);
        return at_frontier(m, at, p, *ret_p) ? at : NULL;
    }
    if (isdigit((uint8_t)kind)) {
        *ret_p = p + 2;
        return match_capture(m, at, kind);
    }
    *ret_p = NULL;
    return NULL;
}

static const char *match_items(struct matcher *m, const char *at, const char *p)
{
    while (p < m->pattern_end) {
        step(m);
        if (*p == '(') {
            return open_capture(m, at, p);
        }
        if (*p == ')') {
            return close_capture(m, at, p);
        }
        if (*p == '$' && p + 1 == m->pattern_end) {
            return at == m->end ? at : NULL;
        }
        if (*p == ESCAPE) {
            const char *behind;
            const char *end = match_special(m, at, p, &behind);
            if (behind != NULL) {
                if (end == NULL) {
                    return NULL;
                }
                at = end;
                p = behind;
                continue;
            }
        }
        const char *p_end = item_end(m, p);
        char suffix = p_end < m->pattern_end ? *p_end : '\0';
        if (suffix == '*') {
            return match_most(m, at, p, p_end);
        }
        if (suffix == '-') {
            return match_fewest(m, at, p, p_end);
        }
        bool here = item_matches(m, at, p, p_end);
        if (suffix == '+') {
            return here ? match_most(m, at + 1, p, p_end) : NULL;
        }
        if (suffix == '?') {
            const char *end = here ? match_here(m, at + 1, p_end + 1) : NULL;
            if (end != NULL) {
                return end;
            }
            p = p_end + 1;
            continue;
        }
        if (!here) {
            return NULL;
        }
        at++;
        p = p_end;
    }
    return at;
}

static const char *match_here(struct matcher *m, const char *at, const char *p)
{
    if (++m->depth > MATCHER_DEPTH) {
        luaL_error(m->L, "pattern too complex");
    }
    const char *end = match_items(m, at, p);
    m->depth--;
    return end;
}

const char *matcher_match(struct matcher *m, const char *at, const char *pattern)
{
    m->level = 0;
    m->depth = 0;
    return match_here(m, at, pattern);
}

/* ---- what was captured ---- */

void matcher_push_capture(struct matcher *m, int number, const char *begin, const char *end)
{
    if (number >= m->level) {
        if (number != 0) {
            luaL_error(m->L, "invalid capture index");
        }
        lua_pushlstring(m->L, begin, (size_t)(end - begin));
        return;
    }
    ptrdiff_t size = m->captures[number].size;
    if (size == CAPTURE_OPEN) {
        luaL_error(m->L, "unfinished capture");
    }
    if (size == CAPTURE_POSITION) {
        lua_pushinteger(m->L, m->captures[number].begin - m->begin + 1);
    } else {
        lua_pushlstring(m->L, m->captures[number].begin, (size_t)size);
    }
}

int matcher_push_captures(struct matcher *m, const char *begin, const char *end)
{
    int count = m->level == 0 && begin != NULL ? 1 : m->level;
    luaL_checkstack(m->L, count, "too many captures");
    for (int i = 0; i < count; i++) {
        matcher_push_capture(m, i, begin, end);
    }
    return count;
}
