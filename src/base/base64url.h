/* Bytes as a word of letters, digits, '-' and '_': base64url of RFC 4648, section 5, without '='. */
#pragma once

#include "base/buffer.h"
#include "base/slice.h"

/* Replaces the bytes of `out` from `start` on by their text. */
void base64url_encode(struct buffer *out, size_t start);
/* Appends the bytes. False: it is no such text, or not as base64url_encode makes it; some may have been appended. */
bool base64url_decode(struct slice text, struct buffer *out);
