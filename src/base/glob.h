/* Glob patterns by Redis's rules: `*`, `?`, `[abc]`, `[^a-z]`, and `\` before a character taken as it is. */
#pragma once

#include "base/slice.h"

/* True when the pattern matches the whole text. At most pattern size × text size steps, whatever the pattern:
 * every element but `*` takes exactly one byte, so only the last `*` ever needs another try. */
bool glob_match(struct slice pattern, struct slice text, bool ignore_case);
