/* Durations and sizes as people write them. */
#pragma once

#include "base/slice.h"

enum { UNITS_TEXT_BYTES = 32 }; /* room for any formatted value */

/* A whole number and a unit: ms, s, m, h or d ("250ms", "10s", "5m"); "0" needs none. Milliseconds, at most
 * INT64_MAX / 1000000 of them, so that nanoseconds fit too. */
bool units_parse_duration(struct slice text, int64_t *ret_ms);

/* A whole number and a unit as in Redis's configuration, in any case: none or b, k = 1000, kb = 1024, and so on with
 * m, mb, g, gb. At most INT64_MAX bytes. */
bool units_parse_size(struct slice text, int64_t *ret_bytes);

/* "17 B", "1.50 KB", "64.00 MB", in powers of 1024. */
void units_format_size(char ret_text[static UNITS_TEXT_BYTES], uint64_t bytes);

/* The two largest units: "3 d 4 h", "1 min 5 s", "12 s". */
void units_format_duration(char ret_text[static UNITS_TEXT_BYTES], uint64_t seconds);
