/* Splits an inline request into words, by the quoting rules of Redis's sdssplitargs (the rules, not the code).
 *
 * Words are separated by white space. "…" knows \n \r \t \b \a \xHH, and \ before any other byte means that byte;
 * '…' knows \' alone. A quote may open inside a word; what follows a closing one must be white space or the end. */
#pragma once

#include "base/slice.h"

/* Takes the next word from the line at *at (< end), unescaping it in place; false at the end of the line.
 * *ret_balanced is false when quotes do not match; then nothing more can be taken. */
bool resp_inline_next(uint8_t **at, uint8_t *end, struct slice *ret_word, bool *ret_balanced);
