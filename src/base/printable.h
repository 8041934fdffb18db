/* Text of others on its way to a person: whatever is not printable UTF-8 is escaped, so a line stays one line, and no
 * byte moves a cursor or speaks to a terminal. */
#pragma once

#include "base/slice.h"

/* Length of the UTF-8 character at the front (RFC 3629, section 4), or 0 when there is none, it is not whole, or it is
 * a control character: of C0, C1, or one that changes the direction of writing or breaks the line (Unicode 15, 23.2).
 */
size_t printable_size(struct slice text);

/* Copies the text with \xHH for each other byte, cut where `capacity` ends (at least 1; with the NUL). Returns the
 * length. */
size_t printable_copy(struct slice text, char *to, size_t capacity);
