#include "engine/sqlite_base.h"

#include "engine/sqlite_tables.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

enum { PAUSE_NS = 20000, PAUSE_MAXIMUM_NS = 4000000, COLUMNS_BYTES = 256 };

/* PRAGMA synchronous: a commit in WAL mode that is not synced is lost with the power, and damages nothing. In the other
 * modes it would, so they always have the most. */
#define SYNCED "PRAGMA synchronous = EXTRA"
#define UNSYNCED "PRAGMA synchronous = NORMAL"

void sqlite_base_init(struct sqlite_base *base, struct engine *engine, const char *path)
{
    *base = (struct sqlite_base){.engine = engine, .path = path};
    size_t size = strlen(path);
    bool fits = size < sizeof(base->shown);
    (void)snprintf(base->shown, sizeof(base->shown), "%s%s", fits ? "" : "...",
                   fits ? path : path + size + 4 - sizeof(base->shown));
}

void sqlite_base_close(struct sqlite_base *base)
{
    for (size_t i = 0; i < STATEMENTS; i++) {
        (void)sqlite3_finalize(base->statements[i]);
        base->statements[i] = NULL;
    }
    (void)sqlite3_close_v2(base->connection);
    base->connection = NULL;
    base->is_broken = false;
}

/* ---- trouble ---- */

static enum engine_code refuse(struct sqlite_base *base, const char *why)
{
    return engine_problem(base->engine, ENGINE_REFUSED, "ERR %s: %s; nothing was changed", base->shown, why);
}

static enum engine_code busy(struct sqlite_base *base, const char *why)
{
    return engine_problem(base->engine, ENGINE_BUSY, "%s: %s; nothing was changed", base->shown, why);
}

enum engine_code sqlite_base_odd(struct sqlite_base *base, const char *table)
{
    base->is_broken = true;
    return engine_problem(base->engine, ENGINE_REFUSED,
                          "ERR %s: a row of %s is not as Cohort writes them: look at it, and delete it when nobody "
                          "holds the lock",
                          base->shown, table);
}

static enum engine_code other_trouble(struct sqlite_base *base, int code)
{
    int error = base->connection == NULL ? 0 : sqlite3_system_errno(base->connection);
    const char *words = base->connection == NULL ? sqlite3_errstr(code) : sqlite3_errmsg(base->connection);
    return engine_problem(base->engine, ENGINE_REFUSED, "ERR %s: %s%s%s; nothing was changed", base->shown, words,
                          error == 0 ? "" : ": ", error == 0 ? "" : strerror(error));
}

enum engine_code sqlite_base_trouble(struct sqlite_base *base, int code)
{
    int kind = code & 0xFF;
    if (kind == SQLITE_BUSY || kind == SQLITE_LOCKED || kind == SQLITE_PROTOCOL) {
        return busy(base, "others have it locked all the time (a long transaction? a process that is stopped in one? "
                          "locking_mode=EXCLUSIVE?)");
    }
    if (kind == SQLITE_NOMEM) {
        return busy(base, "memory was refused");
    }
    base->is_broken = true;
    if (code == SQLITE_READONLY_DBMOVED) {
        return busy(base, "it was replaced just now");
    }
    switch (kind) {
    case SQLITE_FULL: return refuse(base, "the disk is full");
    case SQLITE_NOTADB: return refuse(base, "is no SQLite database, or an encrypted one");
    case SQLITE_CORRUPT: return refuse(base, "is damaged (PRAGMA integrity_check says where)");
    case SQLITE_READONLY:
        return refuse(base,
                      "cannot be written; the file, those beside it (-wal, -shm, -journal) and the folder must be "
                      "writable for all that use its locks");
    default: return other_trouble(base, code);
    }
}

/* ---- statements ---- */

static int on_busy(void *data, int count)
{
    const struct sqlite_base *base = data;
    if (engine_clock_ns() >= base->engine->deadline_ns) {
        return 0;
    }
    long pause_ns = count < 8 ? (long)PAUSE_NS << count : PAUSE_MAXIMUM_NS;
    struct timespec pause = {.tv_nsec = pause_ns > PAUSE_MAXIMUM_NS ? PAUSE_MAXIMUM_NS : pause_ns};
    (void)nanosleep(&pause, NULL);
    return 1;
}

/* All of them at once: what is there cannot be refused later. */
static enum engine_code prepare_all(struct sqlite_base *base)
{
    for (size_t i = 0; i < STATEMENTS; i++) {
        int code = sqlite3_prepare_v3(base->connection, sqlite_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                                      &base->statements[i], NULL);
        if (code != SQLITE_OK) {
            return sqlite_base_trouble(base, code);
        }
    }
    return ENGINE_OK;
}

int sqlite_base_step(struct sqlite_base *base, sqlite3_stmt *statement)
{
    bool is_unbound = base->is_unbound;
    base->is_unbound = false;
    return is_unbound ? SQLITE_NOMEM : sqlite3_step(statement);
}

enum engine_code sqlite_base_run(struct sqlite_base *base, sqlite3_stmt *statement)
{
    int code = sqlite_base_step(base, statement);
    while (code == SQLITE_ROW) {
        code = sqlite_base_step(base, statement);
    }
    enum engine_code trouble = code == SQLITE_DONE ? ENGINE_OK : sqlite_base_trouble(base, code);
    (void)sqlite3_reset(statement);
    return trouble;
}

static enum engine_code run_text(struct sqlite_base *base, const char *text)
{
    int code = sqlite3_exec(base->connection, text, NULL, NULL, NULL);
    return code == SQLITE_OK ? ENGINE_OK : sqlite_base_trouble(base, code);
}

/* The first column of a statement's only row. */
static enum engine_code ask(struct sqlite_base *base, const char *text, char *ret_value, size_t size)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(base->connection, text, -1, &statement, NULL);
    ret_value[0] = '\0';
    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
    }
    if (code == SQLITE_ROW) {
        const unsigned char *value = sqlite3_column_text(statement, 0);
        (void)snprintf(ret_value, size, "%s", value == NULL ? "" : (const char *)value);
    }
    enum engine_code trouble = code == SQLITE_ROW || code == SQLITE_DONE ? ENGINE_OK : sqlite_base_trouble(base, code);
    (void)sqlite3_finalize(statement);
    return trouble;
}

void sqlite_base_rollback(struct sqlite_base *base)
{
    if (base->connection != NULL && sqlite3_get_autocommit(base->connection) == 0) {
        (void)sqlite3_exec(base->connection, "ROLLBACK", NULL, NULL, NULL);
    }
}

/* ---- our tables ---- */

/* "name:position in the primary key,…" of a table; empty: there is none. */
static enum engine_code read_columns(struct sqlite_base *base, const char *table,
                                     char ret_columns[static COLUMNS_BYTES])
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(base->connection, "SELECT name || ':' || pk FROM pragma_table_info(?1)", -1,
                                  &statement, NULL);
    size_t used = 0;
    ret_columns[0] = '\0';
    if (code == SQLITE_OK) {
        (void)sqlite3_bind_text(statement, 1, table, -1, SQLITE_STATIC);
        code = sqlite3_step(statement);
    }
    while (code == SQLITE_ROW && used < COLUMNS_BYTES) {
        used += (size_t)snprintf(ret_columns + used, COLUMNS_BYTES - used, "%s%s", used == 0 ? "" : ",",
                                 (const char *)sqlite3_column_text(statement, 0));
        code = sqlite3_step(statement);
    }
    enum engine_code trouble = code == SQLITE_ROW || code == SQLITE_DONE ? ENGINE_OK : sqlite_base_trouble(base, code);
    (void)sqlite3_finalize(statement);
    return trouble;
}

static enum engine_code foreign_table(struct sqlite_base *base, const char *table)
{
    base->is_broken = true;
    return engine_problem(base->engine, ENGINE_REFUSED,
                          "ERR %s: the table %s has other columns than Cohort's: rename it, or keep locks in another "
                          "database; nothing was changed",
                          base->shown, table);
}

/* A newer form may have other columns, so this is looked at first. */
static enum engine_code check_form(struct sqlite_base *base, const char *columns)
{
    char form[24];
    if (strstr(columns, "form:") == NULL) {
        return foreign_table(base, sqlite_tables[0].name);
    }
    enum engine_code code = ask(base, "SELECT form FROM cohort_meta", form, sizeof(form));
    if (code == ENGINE_OK && form[0] != '\0' && strcmp(form, "1") != 0) {
        base->is_broken = true;
        return refuse(base, "its tables were made by a newer Cohort: use that one");
    }
    return code;
}

static enum engine_code check_tables(struct sqlite_base *base, bool makes, bool *ret_missing)
{
    *ret_missing = false;
    for (size_t i = 0; i < TABLES; i++) {
        const struct sqlite_table *table = &sqlite_tables[i];
        char columns[COLUMNS_BYTES];
        enum engine_code code = read_columns(base, table->name, columns);
        if (code == ENGINE_OK && columns[0] != '\0') {
            code = i == 0 ? check_form(base, columns) : ENGINE_OK;
            code = code == ENGINE_OK && strcmp(columns, table->columns) != 0 ? foreign_table(base, table->name) : code;
        } else if (code == ENGINE_OK) {
            *ret_missing = true;
            code = makes ? run_text(base, table->create) : ENGINE_OK;
        }
        if (code != ENGINE_OK) {
            return code;
        }
    }
    char rows[24];
    enum engine_code code =
        *ret_missing && !makes ? ENGINE_OK : ask(base, "SELECT count(*) FROM cohort_meta", rows, sizeof(rows));
    *ret_missing = *ret_missing || strcmp(rows, "1") != 0;
    return code;
}

/* Without a boot: who is in the tables held before (sqlite_meta.c). */
static enum engine_code make_tables(struct sqlite_base *base)
{
    bool missing;
    enum engine_code code = run_text(base, "BEGIN IMMEDIATE");
    code = code == ENGINE_OK ? check_tables(base, true, &missing) : code;
    code = code == ENGINE_OK ? run_text(base, "INSERT OR IGNORE INTO cohort_meta VALUES (1, 1, '', 0, 0)") : code;
    code = code == ENGINE_OK ? run_text(base, "COMMIT") : code;
    sqlite_base_rollback(base);
    return code;
}

/* ---- opening ---- */

/* A database that nobody has written to is to be in WAL mode: readers and writers do not wait for each other there, and
 * a commit needs no sync. Somebody's own stays in the mode that it has. */
static enum engine_code begin_log(struct sqlite_base *base)
{
    char pages[24];
    char mode[24];
    enum engine_code code = ask(base, "PRAGMA page_count", pages, sizeof(pages));
    if (code != ENGINE_OK || strcmp(pages, "0") != 0) {
        return code;
    }
    code = ask(base, "PRAGMA journal_mode = WAL", mode, sizeof(mode));
    for (int count = 0; code == ENGINE_BUSY && on_busy(base, count) != 0;
         count++) { /* somebody else does it just now */
        code = ask(base, "PRAGMA journal_mode = WAL", mode, sizeof(mode));
    }
    return code;
}

static enum engine_code learn_mode(struct sqlite_base *base)
{
    char mode[24];
    enum engine_code code = ask(base, "PRAGMA journal_mode", mode, sizeof(mode));
    base->has_log = strcmp(mode, "wal") == 0;
    base->is_durable = true;
    return code == ENGINE_OK ? run_text(base, SYNCED) : code;
}

static enum engine_code open_connection(struct sqlite_base *base)
{
    struct stat found;
    if (stat(base->path, &found) == 0 && !S_ISREG(found.st_mode)) {
        return refuse(base, "is no file");
    }
    int code = sqlite3_open_v2(
        base->path, &base->connection,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL);
    if (code != SQLITE_OK) {
        return sqlite_base_trouble(base, code);
    }
    (void)sqlite3_extended_result_codes(base->connection, 1);
    (void)sqlite3_busy_handler(base->connection, on_busy, base);
    (void)sqlite3_db_config(base->connection, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    bool missing = false;
    enum engine_code trouble = begin_log(base);
    trouble = trouble == ENGINE_OK ? learn_mode(base) : trouble;
    trouble = trouble == ENGINE_OK ? check_tables(base, false, &missing) : trouble;
    trouble = trouble == ENGINE_OK && missing ? make_tables(base) : trouble;
    return trouble == ENGINE_OK ? prepare_all(base) : trouble;
}

bool sqlite_base_has_moved(const struct sqlite_base *base)
{
    int has_moved = 0;
    return base->connection != NULL &&
           sqlite3_file_control(base->connection, "main", SQLITE_FCNTL_HAS_MOVED, &has_moved) == SQLITE_OK &&
           has_moved != 0;
}

static enum engine_code be_open(struct sqlite_base *base)
{
    if (base->connection != NULL && (base->is_broken || sqlite_base_has_moved(base))) {
        sqlite_base_close(base);
    }
    if (base->connection != NULL) {
        return ENGINE_OK;
    }
    enum engine_code code = open_connection(base);
    if (code != ENGINE_OK) {
        sqlite_base_close(base);
    }
    return code;
}

/* ---- transactions ---- */

/* In WAL mode; elsewhere everything is. Not within a transaction. */
static enum engine_code set_durable(struct sqlite_base *base, bool durable)
{
    if (!base->has_log || durable == base->is_durable) {
        return ENGINE_OK;
    }
    enum engine_code code = run_text(base, durable ? SYNCED : UNSYNCED);
    base->is_durable = code == ENGINE_OK ? durable : base->is_durable;
    return code;
}

enum engine_code sqlite_base_begin(struct sqlite_base *base, bool writes, bool durable)
{
    for (;;) {
        enum engine_code code = be_open(base);
        code = code == ENGINE_OK && writes ? set_durable(base, durable) : code;
        if (code != ENGINE_OK) {
            return code;
        }
        code = sqlite_base_run(base, base->statements[writes ? STATEMENT_BEGIN_WRITE : STATEMENT_BEGIN_READ]);
        if (code != ENGINE_OK || !sqlite_base_has_moved(base)) {
            return code;
        }
        sqlite_base_rollback(base); /* somebody has put another one there meanwhile */
        if (engine_clock_ns() >= base->engine->deadline_ns) {
            return busy(base, "it is replaced by others all the time");
        }
    }
}

enum engine_code sqlite_base_commit(struct sqlite_base *base)
{
    sqlite3_stmt *commit = base->statements[STATEMENT_COMMIT];
    int code = sqlite3_step(commit);
    enum engine_code trouble = code == SQLITE_DONE ? ENGINE_OK : sqlite_base_trouble(base, code);
    (void)sqlite3_reset(commit);
    if (trouble != ENGINE_OK) {
        sqlite_base_rollback(base);
    }
    if (trouble != ENGINE_OK && (code & 0xFF) == SQLITE_IOERR) { /* what was written may yet be found after a crash */
        return engine_problem(base->engine, ENGINE_UNCERTAIN, "%s: cannot sync it", base->shown);
    }
    return trouble;
}
