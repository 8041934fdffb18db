/* Reads a history from JSON lines, as docs/history.md describes them, in pieces of any size.
 *
 * Limits: a line of HISTORY_LINE_BYTES and HISTORY_VALUES_MAXIMUM, and those of history.h. After a problem the reader
 * takes nothing more. */
#pragma once

#include "base/buffer.h"
#include "check/history.h"
#include "check/key_uses.h"

enum {
    HISTORY_FORMAT = 1,
    HISTORY_LINE_BYTES = 16 * 1024 * 1024,
    HISTORY_VALUES_MAXIMUM = 1024 * 1024, /* of a line, whatever they are nested in */
    HISTORY_PROBLEM_BYTES = 256,
};

struct history_reader {
    struct history *history; /* borrowed; the caller's */
    struct buffer partial;   /* the beginning of a line that is not whole yet */
    uint64_t line;           /* number of the line being read, from 1 */
    struct key_uses uses;
    uint32_t looked_at; /* operations, for that */
    bool header;        /* seen */
    enum status status;
    char problem[HISTORY_PROBLEM_BYTES]; /* "line 7: …" once the status is not OK */
};

void history_reader_init(struct history_reader *reader, struct history *history);
void history_reader_deinit(struct history_reader *reader);

/* STATUS_INVALID on what is not a history, STATUS_VERSION on a newer format, STATUS_FULL at a limit. */
MUST_USE enum status history_reader_feed(struct history_reader *reader, struct slice bytes);

/* The end of the input; a last line without a newline counts. */
MUST_USE enum status history_reader_end(struct history_reader *reader);
