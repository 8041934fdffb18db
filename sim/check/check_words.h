/* Words about operations, for people: used by what explains a check. */
#pragma once

#include "check/check.h"

/* Quoted, printable, cut in the middle when long. */
void words_text(struct slice text, struct buffer *out);
void words_key(const struct check *check, const struct check_key *key, struct buffer *out);

/* "set "x"", and "OK". */
void words_call(const struct history *history, const struct history_operation *operation, struct buffer *out);
void words_result(const struct history *history, const struct history_operation *operation, struct buffer *out);

/* The start that times are told from, and a time in ms since then. */
uint64_t words_first_start(const struct history *history);
void words_time(uint64_t first, uint64_t time, struct buffer *out);
