/* A connection to an SQLite database: opened, checked and its tables made when it is first used, and again whenever the
 * file of that name has become another one; transactions; and words for what SQLite refuses.
 *
 * Invariants
 * 1. Nothing here opens or closes the file but by SQLite: a close() elsewhere in the process would end SQLite's record
 *    locks (SQLite's howtocorrupt.html, 2.2).
 * 2. No call waits for others beyond the engine's deadline.
 * 3. No statement is left in the middle of its rows: each is reset by whoever stepped it. */
#pragma once

#include "engine/engine.h"

#include <sqlite3.h>

enum sqlite_statement {
    STATEMENT_BEGIN_READ,
    STATEMENT_BEGIN_WRITE,
    STATEMENT_COMMIT,
    STATEMENT_META_READ,
    STATEMENT_META_TOKEN,
    STATEMENT_META_SET,
    STATEMENT_BOOT_HISTORY,
    STATEMENT_BOOT_TRIM,
    STATEMENT_BOOT_HOLDERS,
    STATEMENT_BOOT_WAITERS,
    STATEMENT_LOCK_READ,
    STATEMENT_LOCK_WRITE,
    STATEMENT_HOLDERS_READ,
    STATEMENT_HOLDER_ADD,
    STATEMENT_HOLDER_CHANGE,
    STATEMENT_HOLDER_REMOVE,
    STATEMENT_WAITERS_READ,
    STATEMENT_WAITER_ADD,
    STATEMENT_WAITER_CHANGE,
    STATEMENT_WAITER_REMOVE,
    STATEMENT_HISTORY_READ,
    STATEMENT_HISTORY_ADD,
    STATEMENT_HISTORY_TRIM,
    STATEMENT_LIST,
    STATEMENTS,
};

enum { TABLES_FORM = 1, SHOWN_BYTES = 120 };

struct sqlite_base {
    struct engine *engine; /* whose deadline counts, and whose `problem` is filled */
    const char *path;
    char shown[SHOWN_BYTES]; /* the path in messages: the end of a long one */
    sqlite3 *connection;     /* NULL: not open */
    sqlite3_stmt *statements[STATEMENTS];
    bool has_log;    /* it is in WAL mode */
    bool is_durable; /* PRAGMA synchronous is as high as it goes */
    bool is_broken;  /* to be opened anew */
    bool is_unbound; /* memory for a value of the next statement was refused */
};

void sqlite_base_init(struct sqlite_base *base, struct engine *engine, const char *path);
void sqlite_base_close(struct sqlite_base *base);

/* Whether another file has its name now, or none. */
bool sqlite_base_has_moved(const struct sqlite_base *base);

/* Begins a transaction in a database that is there and has our tables. With `writes` nobody else writes until its end,
 * and what it changes is on disk when it was committed in case it is `durable`. */
enum engine_code sqlite_base_begin(struct sqlite_base *base, bool writes, bool durable);

/* On failure it was rolled back, or it is ENGINE_UNCERTAIN. */
enum engine_code sqlite_base_commit(struct sqlite_base *base);
void sqlite_base_rollback(struct sqlite_base *base);

/* SQLITE_ROW or SQLITE_DONE, or another code, which is for sqlite_base_trouble. */
int sqlite_base_step(struct sqlite_base *base, sqlite3_stmt *statement);

/* Steps it to its end, and resets it. */
enum engine_code sqlite_base_run(struct sqlite_base *base, sqlite3_stmt *statement);

enum engine_code sqlite_base_trouble(struct sqlite_base *base, int code);

/* The tables are ours, and have what we do not write. */
enum engine_code sqlite_base_odd(struct sqlite_base *base, const char *table);
