/* The URL of an engine: scheme://place[?option=value&…]. What a place is, is the engine's: a path, hosts, a database.
 */
#pragma once

#include "base/slice.h"
#include "base/status.h"

#include <stdint.h>

enum { ENGINE_PLACE_BYTES = 4096, ENGINE_OPTIONS = 24 };

struct engine_option {
    struct slice name, value;
};

struct engine_url {
    const char *text; /* as it was given, for libraries that read URLs themselves; the caller's */
    struct slice scheme;
    struct slice place; /* percent-decoded, in `bytes`, with a NUL behind it */
    struct engine_option options[ENGINE_OPTIONS];
    uint32_t option_count; /* without timeout= */
    int64_t timeout_ms;
    char bytes[ENGINE_PLACE_BYTES]; /* all of the above */
};

/* STATUS_INVALID with a problem for a person (static storage). */
MUST_USE enum status engine_url_parse(const char *text, struct engine_url *ret_url, const char **ret_problem);
