/* Numbers as text, by Redis's rules. */
#pragma once

#include "base/slice.h"

enum { NUMBER_INT64_BYTES = 21, NUMBER_LONG_DOUBLE_BYTES = 5 * 1024 };

/* Strict decimal: optional '-', no leading zeros, no spaces, no '+', within int64. */
bool number_parse_int64(struct slice text, int64_t *ret_value);

/* A cursor of SCAN, which Redis reads as strtoul does, up to a NUL: a sign may stand in front, nothing at all is 0. */
bool number_parse_cursor(struct slice text, uint64_t *ret_cursor);

/* Writes decimal digits (no NUL); returns their count. `at` has NUMBER_INT64_BYTES of room. */
size_t number_format_int64(char *at, int64_t value);
size_t number_format_uint64(char *at, uint64_t value);

/* A long double as INCRBYFLOAT reads one: strtold over the whole text; no spaces in front, not nan. */
bool number_parse_long_double(struct slice text, long double *ret_value);

/* As INCRBYFLOAT writes one: "%.17Lf" without trailing zeros. `at` has NUMBER_LONG_DOUBLE_BYTES of room;
 * returns the size. */
size_t number_format_long_double(char *at, long double value);
