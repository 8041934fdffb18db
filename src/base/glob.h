/* Glob patterns by Redis's rules: `*`, `?`, `[abc]`, `[^a-z]`, and `\` before a character taken as it is.
 *
 * Where Redis is peculiar this is alike: the empty text matches only the empty pattern and a lone star; a class that
 * is not closed ends with the pattern; in [a-] the range runs from a to the bracket; ranges compare signed bytes. */
#pragma once

#include "base/slice.h"

/* True when the pattern matches the whole text. At most pattern size × text size steps, whatever the pattern:
 * every element but `*` takes exactly one byte, so only the last `*` ever needs another try. */
bool glob_match(struct slice pattern, struct slice text, bool ignore_case);
