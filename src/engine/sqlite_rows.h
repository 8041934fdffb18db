/* A lock's state (lock_state.h) as rows of the tables, within a transaction. */
#pragma once

#include "engine/sqlite_base.h"

/* What stands in the tables of the lock that was read, so that only what changed is written. */
struct sqlite_rows {
    uint64_t token, fence; /* of the lock's own row */
    uint32_t limit;
    uint32_t holder_count, waiter_count;
    struct sqlite_row {
        uint64_t id; /* a holder's token, a waiter's place */
        int64_t due_ms, asked_ms;
    } holders[LOCK_STATE_HOLDERS], waiters[LOCK_STATE_WAITERS];
};

/* Into an initialised state; a waiter's `token` is its place. Of how grants ended it has what there is `with_past`. */
enum engine_code sqlite_rows_read(struct sqlite_base *base, struct slice key, bool with_past,
                                  struct sqlite_rows *ret_rows, struct lock_state *ret_state);

/* What the state has of the past is new; `token` is the lock's newest. */
enum engine_code sqlite_rows_write(struct sqlite_base *base, struct slice key, const struct sqlite_rows *rows,
                                   uint64_t token, const struct lock_state *state);

/* Text when it is UTF-8 that comes back as it was, else a blob. Not copied. When memory is refused, the next step says
 * so. */
void sqlite_bind_words(struct sqlite_base *base, sqlite3_stmt *statement, int at, struct slice words);
struct slice sqlite_column_words(sqlite3_stmt *statement, int at);

/* Whether it is kept as text. */
bool sqlite_is_text(struct slice words);
