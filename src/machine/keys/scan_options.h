/* What SCAN and HSCAN have in common: cursor, MATCH, COUNT, TYPE. */
#pragma once

#include "machine/call.h"

struct scan_options {
    uint64_t cursor;
    size_t count;
    bool has_pattern, has_type;
    struct slice pattern;
    struct slice type;
};

/* Reads the cursor as Redis does, which is strtoul's way. False after an error reply. */
bool scan_options_cursor(struct call *call, struct slice text, struct scan_options *options);

/* Reads the options from argv[first] on; TYPE only where allowed. False after an error reply. */
bool scan_options_read(struct call *call, uint32_t first, bool allow_type, struct scan_options *options);

/* True when there is no pattern or the text matches it. */
bool scan_options_match(const struct scan_options *options, struct slice text);

/* Ends the reply of a scan whose elements were written since `begin` (call_array_begin): cursor, then elements. */
void scan_options_reply(struct call *call, size_t begin, uint64_t cursor, size_t count);
