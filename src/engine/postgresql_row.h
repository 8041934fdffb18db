/* A lock's row, and its state: one row per lock, claims as JSON, so that people can read and query all of it.
 *
 * Texts of users (owners, notes) may have any bytes, JSON may not: in it they stand as encode(bytes, 'escape') writes
 * them, \ooo for what is not printable ASCII. Times are timestamps with milliseconds. */
#pragma once

#include "base/buffer.h"
#include "engine/lock_state.h"

#include <libpq-fe.h>

enum { PG_ROW_FORM = 1, PG_ROW_SERVER_BYTES = 96, PG_ROW_TIME_BYTES = 40 };

/* Beside the state. */
struct pg_row {
    int64_t now_ms;     /* the server's clock */
    int64_t changed_ms; /* when it was written last */
    char server[PG_ROW_SERVER_BYTES];
};

/* What PG_SELECT (postgresql_sql.h) found, into an initialised state. STATUS_NOTFOUND: there is none; STATUS_CORRUPT,
 * STATUS_VERSION, STATUS_NOMEM. */
MUST_USE enum status pg_row_read(const PGresult *result, struct lock_state *state, struct pg_row *ret_row);

/* JSON, each with a NUL. False: memory was refused. */
MUST_USE bool pg_row_write_claims(const struct lock_claim *claims, uint32_t count, struct buffer *out);
MUST_USE bool pg_row_write_past(const struct lock_state *state, struct buffer *out);

void pg_row_time(int64_t ms, char ret_text[static PG_ROW_TIME_BYTES]);
