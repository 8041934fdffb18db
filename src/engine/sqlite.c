/* sqlite:///path/to.db: locks as rows of an SQLite database, for the processes of one machine. It may be the database
 * of an application, whose transactions can then ask themselves who holds (docs/engines.md).
 *
 * Every request that changes something is one transaction (BEGIN IMMEDIATE): a process that ends in it has changed
 * nothing. Requests that would change nothing, as most of those of waiters, only read.
 *
 * Times are the machine's (machine_time.h), read while nobody else writes. Nobody who held or waited is alive after
 * another boot: the first request then ends all of it.
 *
 * Tokens grow for ever, one sequence for all locks of the database. In WAL mode commits are not synced here
 * (synchronous=NORMAL): after a loss of power the newest are missing, and nobody is alive who held anything by them.
 * But tokens went further than the disk then knows. So they are set aside, TOKENS_AHEAD at a time, by a commit that is
 * synced, before the first of them is given; and after another boot what was set aside is skipped. FENCE.CHECK is
 * synced, too. In other journal modes every commit is.
 * A token is never smaller than the wall clock's second times 2^20. So they also grow when somebody removes the
 * database or puts back an older copy of it; as long as the wall clock is right, and up to a million grants a second.
 *
 * After a crash of the machine SQLite has all of a transaction or nothing (https://www.sqlite.org/atomiccommit.html,
 * wal.html). A commit that could not be written is rolled back; one whose sync failed is ENGINE_UNCERTAIN, and is asked
 * again by the same owner. */
#include "engine/sqlite.h"

#include "engine/local_place.h"
#include "engine/machine_time.h"
#include "engine/module.h"
#include "engine/notice.h"
#include "engine/sqlite_base.h"
#include "engine/sqlite_rows.h"
#include "engine/stored.h"

#include <cohort/engine.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    WALL_SHIFT = 20,
    TOKENS_AHEAD = 64 << WALL_SHIFT, /* a minute: a sync in each, at most */
    TRIES = 8,
    SETTLES_NS = 4000000, /* what a notice tells of can be read after that */
};

/* The row of cohort_meta. */
struct meta {
    bool is_of_this_boot;
    uint64_t token; /* no smaller one is given any more */
    uint64_t until;
};

struct sqlite_engine {
    struct stored stored;
    struct sqlite_base base;
    struct sqlite_rows rows; /* of the lock that was entered */
    struct meta meta;
    bool durable; /* the request wants to be on disk */
    int notices;
    int64_t heard_ns;
    char boot[2 * MACHINE_BOOT_BYTES + 1];
    char path[];
};

static struct sqlite_engine *sqlite_of(struct engine *engine) { return (struct sqlite_engine *)engine; }

/* ---- tokens ---- */

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* 2^20 in each second. */
static uint64_t wall_token(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return ((uint64_t)now.tv_sec << WALL_SHIFT) + ((uint64_t)now.tv_nsec << WALL_SHIFT) / 1000000000;
}

static enum engine_code read_meta(struct sqlite_engine *sqlite)
{
    struct sqlite_base *base = &sqlite->base;
    sqlite3_stmt *statement = base->statements[STATEMENT_META_READ];
    int code = sqlite_base_step(base, statement);
    int64_t form = 0;
    if (code == SQLITE_ROW) {
        form = sqlite3_column_int64(statement, 0);
        struct slice boot = sqlite_column_words(statement, 1);
        uint64_t token = (uint64_t)sqlite3_column_int64(statement, 2);
        uint64_t until = (uint64_t)sqlite3_column_int64(statement, 3);
        bool is_same = slice_equal(boot, slice_from_string(sqlite->boot));
        token = larger(is_same ? token : larger(token, until), wall_token());
        sqlite->meta = (struct meta){is_same, token, until};
    }
    (void)sqlite3_reset(statement);
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        return sqlite_base_trouble(base, code);
    }
    return form == TABLES_FORM ? ENGINE_OK : sqlite_base_odd(base, "cohort_meta");
}

static enum engine_code write_token(struct sqlite_engine *sqlite, uint64_t token)
{
    sqlite3_stmt *statement = sqlite->base.statements[STATEMENT_META_TOKEN];
    (void)sqlite3_bind_int64(statement, 1, (int64_t)token);
    return sqlite_base_run(&sqlite->base, statement);
}

static enum engine_code write_meta(struct sqlite_engine *sqlite)
{
    sqlite3_stmt *statement = sqlite->base.statements[STATEMENT_META_SET];
    sqlite_bind_words(&sqlite->base, statement, 1, slice_from_string(sqlite->boot));
    (void)sqlite3_bind_int64(statement, 2, (int64_t)sqlite->meta.token);
    (void)sqlite3_bind_int64(statement, 3, (int64_t)(sqlite->meta.token + TOKENS_AHEAD));
    return sqlite_base_run(&sqlite->base, statement);
}

/* Everybody who held or waited is gone. */
static enum engine_code end_all(struct sqlite_base *base)
{
    sqlite3_stmt *history = base->statements[STATEMENT_BOOT_HISTORY];
    (void)sqlite3_bind_int64(history, 1, machine_time_ms());
    (void)sqlite3_bind_text(history, 2, lock_why_text(LOCK_WHY_GONE), -1, SQLITE_STATIC);
    static const enum sqlite_statement steps[] = {STATEMENT_BOOT_HISTORY, STATEMENT_BOOT_TRIM, STATEMENT_BOOT_HOLDERS,
                                                  STATEMENT_BOOT_WAITERS};
    enum engine_code code = ENGINE_OK;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && code == ENGINE_OK; i++) {
        code = sqlite_base_run(base, base->statements[steps[i]]);
    }
    return code;
}

/* By a transaction of its own, which is synced: it has to be on disk before a token of it is given. */
static enum engine_code set_tokens_aside(struct sqlite_engine *sqlite)
{
    struct sqlite_base *base = &sqlite->base;
    enum engine_code code = sqlite_base_begin(base, true, true);
    code = code == ENGINE_OK ? read_meta(sqlite) : code;
    if (code == ENGINE_OK && !sqlite->meta.is_of_this_boot) {
        code = end_all(base);
    }
    code = code == ENGINE_OK ? write_meta(sqlite) : code;
    code = code == ENGINE_OK ? sqlite_base_commit(base) : code;
    sqlite_base_rollback(base);
    return code;
}

/* ---- entering and leaving ---- */

static enum engine_code begin(struct sqlite_engine *sqlite, bool looks)
{
    enum engine_code code = ENGINE_OK;
    for (int i = 0; i < TRIES && code == ENGINE_OK; i++) {
        code = sqlite_base_begin(&sqlite->base, !looks, sqlite->durable);
        code = code == ENGINE_OK ? read_meta(sqlite) : code;
        bool has_tokens = sqlite->meta.is_of_this_boot && sqlite->meta.token < sqlite->meta.until;
        if (code == ENGINE_OK && (looks || has_tokens)) {
            return ENGINE_OK;
        }
        sqlite_base_rollback(&sqlite->base);
        code = code == ENGINE_OK ? set_tokens_aside(sqlite) : code;
    }
    return code != ENGINE_OK ? code
                             : engine_problem(&sqlite->stored.engine, ENGINE_BUSY,
                                              "%s: the wall clock jumps; nothing was changed", sqlite->base.shown);
}

/* Of how grants ended it has what a look needs; to the rest new ones are added unseen. */
static enum engine_code enter_rows(struct sqlite_engine *sqlite, struct slice key, bool looks, bool with_past,
                                   struct lock_state *ret_state, int64_t *ret_now_ms)
{
    enum engine_code code = begin(sqlite, looks);
    if (code != ENGINE_OK) {
        return code;
    }
    code = sqlite_rows_read(&sqlite->base, key, with_past, &sqlite->rows, ret_state);
    *ret_now_ms = machine_time_ms();
    if (code != ENGINE_OK) {
        sqlite_base_rollback(&sqlite->base);
        return code;
    }
    if (!sqlite->meta.is_of_this_boot) {
        lock_state_end_all(ret_state, *ret_now_ms);
    }
    ret_state->token = sqlite->meta.token;
    return ENGINE_OK;
}

static enum engine_code enter(struct stored *stored, struct slice key, bool looks, struct lock_state *ret_state,
                              int64_t *ret_now_ms)
{
    return enter_rows(sqlite_of(&stored->engine), key, looks, looks, ret_state, ret_now_ms);
}

static enum engine_code leave(struct stored *stored, struct slice key, const struct lock_state *state, bool changed)
{
    struct sqlite_engine *sqlite = sqlite_of(&stored->engine);
    bool granted = state->token > sqlite->meta.token;
    enum engine_code code = ENGINE_OK;
    if (changed) {
        code = sqlite_rows_write(&sqlite->base, key, &sqlite->rows, granted ? state->token : sqlite->rows.token, state);
        code = code == ENGINE_OK && granted ? write_token(sqlite, state->token) : code;
        code = code == ENGINE_OK ? sqlite_base_commit(&sqlite->base) : code;
    }
    sqlite_base_rollback(&sqlite->base);
    return code;
}

static const struct stored_ops sqlite_store = {enter, leave};

/* ---- requests that may change nothing ---- */

/* True: nothing has to be written, and this is the answer. So who waits, and who tries in vain, does not keep others
 * from writing. */
static bool peek(struct sqlite_engine *sqlite, const struct lock_wanted *wanted, struct lock_granted *ret_granted,
                 enum engine_code *ret_code)
{
    struct lock_state state;
    int64_t now_ms;
    char problem[LOCK_STATE_PROBLEM_BYTES];
    bool is_answer = false;
    lock_state_init(&state);
    *ret_code = enter_rows(sqlite, wanted->key, true, false, &state, &now_ms);
    if (*ret_code == ENGINE_OK) {
        bool expired = lock_state_expire(&state, now_ms);
        enum lock_answer answer = lock_state_acquire(&state, wanted, now_ms, ret_granted, problem);
        bool is_settled = answer == LOCK_ANSWER_GRANTED || answer == LOCK_ANSWER_NOT || answer == LOCK_ANSWER_WAITS;
        is_answer = is_settled && !expired && ret_granted->unchanged && sqlite->meta.is_of_this_boot;
        *ret_code = answer == LOCK_ANSWER_GRANTED ? ENGINE_OK : answer == LOCK_ANSWER_NOT ? ENGINE_NOT : ENGINE_WAITS;
        sqlite_base_rollback(&sqlite->base);
    }
    lock_state_deinit(&state);
    return is_answer;
}

/* Commits write to the log, or to the file itself. */
static bool hears(struct sqlite_engine *sqlite)
{
    if (sqlite->base.connection == NULL) {
        return false;
    }
    const char *file = sqlite3_db_filename(sqlite->base.connection, "main");
    bool has_log = notice_watch(sqlite->notices, sqlite3_filename_wal(file)); /* by now, if not when it was opened */
    return notice_watch(sqlite->notices, file) && (has_log || !sqlite->base.has_log);
}

static enum engine_code acquire(struct engine *engine, const struct lock_wanted *wanted,
                                struct lock_granted *ret_granted)
{
    struct sqlite_engine *sqlite = sqlite_of(engine);
    bool is_told = wanted->wait_ms > 0 && hears(sqlite); /* from before the state is read */
    enum engine_code code;
    if (!peek(sqlite, wanted, ret_granted, &code)) {
        code = stored_acquire(engine, wanted, ret_granted);
    }
    if (!is_told && ret_granted->again_ms > NOTICE_POLL_MS) {
        ret_granted->again_ms = NOTICE_POLL_MS;
    }
    /* A notice is of bytes in the log, which count a moment later. */
    if (ret_granted->again_ms > 1 && engine_clock_ns() - sqlite->heard_ns < SETTLES_NS) {
        ret_granted->again_ms = 1;
    }
    return code;
}

/* Most checks are of a token that has been seen. */
static enum engine_code fence(struct engine *engine, struct slice key, uint64_t token)
{
    struct sqlite_engine *sqlite = sqlite_of(engine);
    struct lock_state state;
    int64_t now_ms;
    bool is_newer = false;
    bool passes = false;
    lock_state_init(&state);
    enum engine_code code = enter_rows(sqlite, key, true, false, &state, &now_ms);
    if (code == ENGINE_OK) {
        (void)lock_state_expire(&state, now_ms);
        passes = lock_state_fence(&state, token, &is_newer);
        sqlite_base_rollback(&sqlite->base);
    }
    lock_state_deinit(&state);
    if (code != ENGINE_OK || !is_newer) {
        return code != ENGINE_OK || passes ? code : ENGINE_NOT;
    }
    sqlite->durable = true;
    code = stored_fence(engine, key, token);
    sqlite->durable = false;
    return code;
}

static enum engine_code list(struct engine *engine, engine_listed listed, void *data)
{
    struct sqlite_engine *sqlite = sqlite_of(engine);
    enum engine_code code = begin(sqlite, true);
    if (code != ENGINE_OK) {
        return code;
    }
    struct sqlite_base *base = &sqlite->base;
    sqlite3_stmt *statement = base->statements[STATEMENT_LIST];
    (void)sqlite3_bind_int64(statement, 1, sqlite->meta.is_of_this_boot ? machine_time_ms() : INT64_MAX);
    int step = sqlite_base_step(base, statement);
    while (step == SQLITE_ROW) {
        listed(data, sqlite_column_words(statement, 0));
        step = sqlite_base_step(base, statement);
    }
    code = step == SQLITE_DONE ? ENGINE_OK : sqlite_base_trouble(base, step);
    (void)sqlite3_reset(statement);
    sqlite_base_rollback(base);
    return code;
}

/* ---- notices ---- */

static int fd_of(const struct engine *engine) { return ((const struct sqlite_engine *)engine)->notices; }

static void heard(struct engine *engine)
{
    struct sqlite_engine *sqlite = sqlite_of(engine);
    notice_take(sqlite->notices);
    sqlite->heard_ns = engine_clock_ns();
    if (sqlite_base_has_moved(&sqlite->base)) { /* what is kept open of it would mislead those who make it anew */
        sqlite_base_close(&sqlite->base);
    }
}

/* ---- opening ---- */

static void close_engine(struct engine *engine)
{
    struct sqlite_engine *sqlite = sqlite_of(engine);
    sqlite_base_close(&sqlite->base);
    if (sqlite->notices >= 0) {
        (void)close(sqlite->notices);
    }
    free(sqlite);
}

__attribute__((format(printf, 3, 4))) static enum status say(char *problem, enum status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(problem, ENGINE_PROBLEM_BYTES, format, arguments);
    va_end(arguments);
    return status;
}

static enum status take_options(const struct engine_url *url, bool *ret_local,
                                char problem[static ENGINE_PROBLEM_BYTES])
{
    *ret_local = false;
    for (uint32_t i = 0; i < url->option_count; i++) {
        const struct engine_option *option = &url->options[i];
        if (!slice_equal(option->name, SLICE_LITERAL("local"))) {
            return say(problem, STATUS_INVALID, "unknown option; there are: timeout=DURATION, local=yes");
        }
        *ret_local = slice_equal(option->value, SLICE_LITERAL("yes"));
        if (!*ret_local && !slice_equal(option->value, SLICE_LITERAL("no"))) {
            return say(problem, STATUS_INVALID, "local= is yes or no");
        }
    }
    return STATUS_OK;
}

static enum status check_folder(struct slice path, bool is_local, char problem[static ENGINE_PROBLEM_BYTES])
{
    char folder[ENGINE_PLACE_BYTES];
    struct stat found;
    size_t size = path.size;
    while (size > 0 && path.data[size - 1] != '/') {
        size--;
    }
    (void)snprintf(folder, sizeof(folder), "%.*s", (int)size, (const char *)path.data);
    if (stat(folder, &found) != 0 || !S_ISDIR(found.st_mode)) {
        return say(problem, STATUS_INVALID, "the folder %s cannot be used: %s", folder, strerror(errno));
    }
    if (stat((const char *)path.data, &found) == 0 && !S_ISREG(found.st_mode)) {
        return say(problem, STATUS_INVALID, "%s is no file", (const char *)path.data);
    }
    const char *remote = is_local ? NULL : local_place_problem(folder);
    if (remote != NULL) {
        return say(
            problem, STATUS_INVALID,
            "the folder is on a file system of other machines, too (%s), and sqlite:// is for one: choose another "
            "folder, or say local=yes when only this machine has it; %s",
            remote, folder);
    }
    return STATUS_OK;
}

static enum status check_place(const struct engine_url *url, char problem[static ENGINE_PROBLEM_BYTES])
{
    bool is_local;
    if (url->place.size == 0 || url->place.data[0] != '/') {
        return say(problem, STATUS_INVALID,
                   "sqlite:// wants the whole path of a database: sqlite:///var/lib/app/app.db");
    }
    if (sqlite3_threadsafe() == 0) {
        return say(problem, STATUS_UNSUPPORTED, "the SQLite of this program was built without threads");
    }
    enum status status = take_options(url, &is_local, problem);
    return status == STATUS_OK ? check_folder(url->place, is_local, problem) : status;
}

static enum status open_engine(const struct engine_url *url, struct engine **ret_engine,
                               char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    enum status status = check_place(url, ret_problem);
    if (status != STATUS_OK) {
        return status;
    }
    struct sqlite_engine *sqlite = calloc(1, sizeof(*sqlite) + url->place.size + 1);
    if (sqlite == NULL) {
        return say(ret_problem, STATUS_NOMEM, "memory was refused");
    }
    sqlite->stored = (struct stored){.engine = {.ops = &engine_sqlite}, .store = &sqlite_store};
    memcpy(sqlite->path, url->place.data, url->place.size + 1);
    sqlite_base_init(&sqlite->base, &sqlite->stored.engine, sqlite->path);
    sqlite->notices = -1;
    uint8_t boot[MACHINE_BOOT_BYTES];
    if (machine_boot(boot) != STATUS_OK) {
        close_engine(&sqlite->stored.engine);
        return say(ret_problem, STATUS_IO, "sqlite:// needs /proc/sys/kernel/random/boot_id, which cannot be read");
    }
    for (size_t i = 0; i < sizeof(boot); i++) {
        (void)snprintf(&sqlite->boot[2 * i], 3, "%02x", boot[i]);
    }
    sqlite->notices = notice_open_empty();
    *ret_engine = &sqlite->stored.engine;
    return STATUS_OK;
}

const struct engine_ops engine_sqlite = {
    .scheme = "sqlite",
    .can = COHORT_CAN_PROCESSES | COHORT_CAN_LOCK | COHORT_CAN_SHARE | COHORT_CAN_PERMITS | COHORT_CAN_QUEUE |
           COHORT_CAN_FENCE | COHORT_CAN_ELECT | COHORT_CAN_LOOK,
    .open = open_engine,
    .close = close_engine,
    .fd = fd_of,
    .heard = heard,
    .acquire = acquire,
    .renew = stored_renew,
    .release = stored_release,
    .leave = stored_leave,
    .look = stored_look,
    .fence = fence,
    .list = list,
};

MODULE_OF(&engine_sqlite);
