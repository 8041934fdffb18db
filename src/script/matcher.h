/* Lua 5.1's patterns (reference manual, 5.4.1), with every step counted.
 *
 * A pattern ends at its first NUL, as in Lua 5.1. Malformed ones raise Lua's errors; so does one that nests deeper than
 * MATCHER_DEPTH, which Lua 5.1 would follow until the C stack ends. */
#pragma once

#include <lua.h>

#include "base/slice.h"

enum { MATCHER_CAPTURES = 32, MATCHER_DEPTH = 200 };

enum { CAPTURE_OPEN = -1, CAPTURE_POSITION = -2 };

struct matcher {
    lua_State *L;
    const char *begin; /* of the subject */
    const char *end;
    const char *pattern_end;
    int depth;
    int level; /* captures, open ones too */
    struct {
        const char *begin;
        ptrdiff_t size; /* or a CAPTURE_ */
    } captures[MATCHER_CAPTURES];
};

/* The pattern begins at the returned place: *ret_anchored says whether "^" stood in front (when asked). */
const char *matcher_init(struct matcher *matcher, lua_State *L, struct slice subject, struct slice pattern,
                         bool *ret_anchored);
/* Matches at this place; the end of the match, or NULL. */
const char *matcher_match(struct matcher *matcher, const char *at, const char *pattern);
/* Pushes a capture; 0 without captures is the whole match. */
void matcher_push_capture(struct matcher *matcher, int number, const char *begin, const char *end);
/* Pushes all captures; without any the whole match, when begin is not NULL. Returns how many. */
int matcher_push_captures(struct matcher *matcher, const char *begin, const char *end);
