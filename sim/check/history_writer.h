/* Writes a history as JSON lines, as docs/history.md describes them. */
#pragma once

#include "base/buffer.h"
#include "check/history.h"

/* The first line. `about` is for people ("seed 7, commit abc"), may be NULL. */
void history_write_header(const char *about, struct buffer *out);

/* One operation's line; a transaction's where its first operation stands, and nothing where others of it do. Bytes that
 * are no UTF-8 are written as U+FFFD: such a history is for people only. */
void history_write_operation(const struct history *history, uint32_t at, struct buffer *out);
/* The line of a hold of a lock, or of a use of its token. */
void history_write_hold(const struct history *history, uint32_t at, struct buffer *out);
