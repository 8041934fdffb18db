#include "engine/sqlite_rows.h"

_Static_assert(LOCK_STATE_PAST == 16 && LOCK_STATE_PATIENCE_MS == 2000, "sqlite_tables.c has them in its statements");

/* ---- words ---- */

/* The bytes of the character that begins here; 0: none does. Not those that SQLite changes when a database is UTF-16.
 */
static size_t character_bytes(const uint8_t *at, size_t left)
{
    if (at[0] < 0x80) {
        return at[0] == 0 ? 0 : 1;
    }
    size_t size = at[0] >= 0xF0 ? 4 : at[0] >= 0xE0 ? 3 : 2;
    if (at[0] < 0xC2 || at[0] > 0xF4 || left < size) {
        return 0;
    }
    uint32_t code = at[0] & (0x7FU >> size);
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xC0) != 0x80) {
            return 0;
        }
        code = code << 6 | (at[i] & 0x3F);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    bool is_surrogate = code >= 0xD800 && code <= 0xDFFF;
    bool is_special = code == 0xFEFF || code == 0xFFFE || code == 0xFFFF;
    return code < least[size] || code > 0x10FFFF || is_surrogate || is_special ? 0 : size;
}

bool sqlite_is_text(struct slice words)
{
    for (size_t at = 0; at < words.size;) {
        size_t size = character_bytes(words.data + at, words.size - at);
        if (size == 0) {
            return false;
        }
        at += size;
    }
    return true;
}

void sqlite_bind_words(struct sqlite_base *base, sqlite3_stmt *statement, int at, struct slice words)
{
    const char *data = words.size == 0 ? "" : (const char *)words.data;
    int code = sqlite_is_text(words) ? sqlite3_bind_text(statement, at, data, (int)words.size, SQLITE_STATIC)
                                     : sqlite3_bind_blob(statement, at, data, (int)words.size, SQLITE_STATIC);
    base->is_unbound = base->is_unbound || code != SQLITE_OK;
}

struct slice sqlite_column_words(sqlite3_stmt *statement, int at)
{
    bool is_blob = sqlite3_column_type(statement, at) == SQLITE_BLOB;
    const void *data = is_blob ? sqlite3_column_blob(statement, at) : sqlite3_column_text(statement, at);
    return data == NULL ? slice_of("", 0) : slice_of(data, (size_t)sqlite3_column_bytes(statement, at));
}

/* ---- reading ---- */

static bool take_kind(struct slice text, enum lock_kind *ret_kind)
{
    for (int kind = 0; kind < LOCK_KINDS; kind++) {
        if (slice_equal(text, slice_from_string(lock_kind_text((enum lock_kind)kind)))) {
            *ret_kind = (enum lock_kind)kind;
            return true;
        }
    }
    return false;
}

static bool take_claim(sqlite3_stmt *statement, struct lock_claim *ret_claim)
{
    int64_t permits = sqlite3_column_int64(statement, 4);
    *ret_claim = (struct lock_claim){.token = (uint64_t)sqlite3_column_int64(statement, 0),
                                     .owner = sqlite_column_words(statement, 1),
                                     .note = sqlite_column_words(statement, 2),
                                     .permits = (uint32_t)permits,
                                     .since_ms = sqlite3_column_int64(statement, 5),
                                     .due_ms = sqlite3_column_int64(statement, 6),
                                     .asked_ms = sqlite3_column_int64(statement, 7)};
    return permits > 0 && permits <= INT32_MAX && ret_claim->owner.size <= LOCK_STATE_OWNER_BYTES &&
           ret_claim->note.size <= LOCK_STATE_NOTE_BYTES && ret_claim->token > 0 && ret_claim->token <= INT64_MAX &&
           take_kind(sqlite_column_words(statement, 3), &ret_claim->kind);
}

static enum engine_code no_memory(struct sqlite_base *base) { return sqlite_base_trouble(base, SQLITE_NOMEM); }

static enum engine_code take_claims(struct sqlite_base *base, sqlite3_stmt *statement, bool waits,
                                    struct sqlite_rows *rows, struct lock_state *state)
{
    struct sqlite_row *kept = waits ? rows->waiters : rows->holders;
    uint32_t *count = waits ? &rows->waiter_count : &rows->holder_count;
    uint32_t most = waits ? LOCK_STATE_WAITERS : LOCK_STATE_HOLDERS;
    int code = sqlite_base_step(base, statement);
    while (code == SQLITE_ROW) {
        struct lock_claim claim;
        if (*count == most || !take_claim(statement, &claim)) {
            return sqlite_base_odd(base, waits ? "cohort_waiters" : "cohort_holders");
        }
        if (!lock_state_add(state, waits, &claim)) {
            return no_memory(base);
        }
        kept[(*count)++] = (struct sqlite_row){claim.token, claim.due_ms, claim.asked_ms};
        code = sqlite_base_step(base, statement);
    }
    return code == SQLITE_DONE ? ENGINE_OK : sqlite_base_trouble(base, code);
}

static enum engine_code read_claims(struct sqlite_base *base, struct slice key, bool waits, struct sqlite_rows *rows,
                                    struct lock_state *state)
{
    sqlite3_stmt *statement = base->statements[waits ? STATEMENT_WAITERS_READ : STATEMENT_HOLDERS_READ];
    sqlite_bind_words(base, statement, 1, key);
    enum engine_code code = take_claims(base, statement, waits, rows, state);
    (void)sqlite3_reset(statement);
    return code;
}

static bool take_past(sqlite3_stmt *statement, struct lock_past *ret_past)
{
    *ret_past = (struct lock_past){.token = (uint64_t)sqlite3_column_int64(statement, 0),
                                   .owner = sqlite_column_words(statement, 1),
                                   .from_ms = sqlite3_column_int64(statement, 2),
                                   .to_ms = sqlite3_column_int64(statement, 3)};
    struct slice why = sqlite_column_words(statement, 4);
    for (int i = 0; i < LOCK_WHYS; i++) {
        if (slice_equal(why, slice_from_string(lock_why_text((enum lock_why)i)))) {
            ret_past->why = (enum lock_why)i;
            return ret_past->owner.size <= LOCK_STATE_OWNER_BYTES;
        }
    }
    return false;
}

static enum engine_code take_all_past(struct sqlite_base *base, sqlite3_stmt *statement, struct lock_state *state)
{
    int code = sqlite_base_step(base, statement);
    while (code == SQLITE_ROW) {
        struct lock_past past;
        if (!take_past(statement, &past)) {
            return sqlite_base_odd(base, "cohort_history");
        }
        if (!lock_state_add_past(state, &past)) {
            return no_memory(base);
        }
        code = sqlite_base_step(base, statement);
    }
    return code == SQLITE_DONE ? ENGINE_OK : sqlite_base_trouble(base, code);
}

static enum engine_code read_past(struct sqlite_base *base, struct slice key, struct lock_state *state)
{
    sqlite3_stmt *statement = base->statements[STATEMENT_HISTORY_READ];
    sqlite_bind_words(base, statement, 1, key);
    enum engine_code code = take_all_past(base, statement, state);
    (void)sqlite3_reset(statement);
    return code;
}

static enum engine_code read_lock(struct sqlite_base *base, struct slice key, struct sqlite_rows *rows)
{
    sqlite3_stmt *statement = base->statements[STATEMENT_LOCK_READ];
    sqlite_bind_words(base, statement, 1, key);
    int code = sqlite_base_step(base, statement);
    if (code == SQLITE_ROW) {
        rows->token = (uint64_t)sqlite3_column_int64(statement, 0);
        rows->fence = (uint64_t)sqlite3_column_int64(statement, 1);
        rows->limit = (uint32_t)sqlite3_column_int64(statement, 2);
    }
    enum engine_code trouble = code == SQLITE_ROW || code == SQLITE_DONE ? ENGINE_OK : sqlite_base_trouble(base, code);
    (void)sqlite3_reset(statement);
    return trouble;
}

enum engine_code sqlite_rows_read(struct sqlite_base *base, struct slice key, bool with_past,
                                  struct sqlite_rows *ret_rows, struct lock_state *ret_state)
{
    ret_rows->token = ret_rows->fence = 0;
    ret_rows->limit = ret_rows->holder_count = ret_rows->waiter_count = 0;
    enum engine_code code = read_lock(base, key, ret_rows);
    ret_state->token = ret_rows->token;
    ret_state->fence = ret_rows->fence;
    ret_state->limit = ret_rows->limit;
    code = code == ENGINE_OK ? read_claims(base, key, false, ret_rows, ret_state) : code;
    code = code == ENGINE_OK ? read_claims(base, key, true, ret_rows, ret_state) : code;
    return code == ENGINE_OK && with_past ? read_past(base, key, ret_state) : code;
}

/* ---- writing ---- */

static enum engine_code write_lock(struct sqlite_base *base, struct slice key, const struct sqlite_rows *rows,
                                   uint64_t token, const struct lock_state *state)
{
    if (token == rows->token && state->fence == rows->fence && state->limit == rows->limit) {
        return ENGINE_OK;
    }
    sqlite3_stmt *statement = base->statements[STATEMENT_LOCK_WRITE];
    sqlite_bind_words(base, statement, 1, key);
    (void)sqlite3_bind_int64(statement, 2, (int64_t)token);
    (void)sqlite3_bind_int64(statement, 3, (int64_t)state->fence);
    (void)sqlite3_bind_int64(statement, 4, state->limit);
    return sqlite_base_run(base, statement);
}

static const struct lock_claim *find_claim(const struct lock_claim *claims, uint32_t count, uint64_t id)
{
    for (uint32_t i = 0; i < count; i++) {
        if (claims[i].token == id) {
            return &claims[i];
        }
    }
    return NULL;
}

static bool is_known(const struct sqlite_row *known, uint32_t count, uint64_t id)
{
    for (uint32_t i = 0; i < count; i++) {
        if (known[i].id == id) {
            return true;
        }
    }
    return false;
}

/* A row that was there: it is gone, or has other times, or is as it was. */
static enum engine_code write_known(struct sqlite_base *base, struct slice key, bool waits,
                                    const struct sqlite_row *known, const struct lock_claim *claim)
{
    if (claim != NULL && claim->due_ms == known->due_ms && claim->asked_ms == known->asked_ms) {
        return ENGINE_OK;
    }
    enum sqlite_statement which = claim == NULL ? (waits ? STATEMENT_WAITER_REMOVE : STATEMENT_HOLDER_REMOVE)
                                                : (waits ? STATEMENT_WAITER_CHANGE : STATEMENT_HOLDER_CHANGE);
    sqlite3_stmt *statement = base->statements[which];
    sqlite_bind_words(base, statement, 1, key);
    (void)sqlite3_bind_int64(statement, 2, (int64_t)known->id);
    if (claim != NULL) {
        (void)sqlite3_bind_int64(statement, 3, claim->due_ms);
    }
    if (claim != NULL && waits) {
        (void)sqlite3_bind_int64(statement, 4, claim->asked_ms);
    }
    return sqlite_base_run(base, statement);
}

static enum engine_code write_new(struct sqlite_base *base, struct slice key, bool waits, uint64_t id,
                                  const struct lock_claim *claim)
{
    sqlite3_stmt *statement = base->statements[waits ? STATEMENT_WAITER_ADD : STATEMENT_HOLDER_ADD];
    sqlite_bind_words(base, statement, 1, key);
    (void)sqlite3_bind_int64(statement, 2, (int64_t)id);
    sqlite_bind_words(base, statement, 3, claim->owner);
    sqlite_bind_words(base, statement, 4, claim->note);
    (void)sqlite3_bind_text(statement, 5, lock_kind_text(claim->kind), -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(statement, 6, claim->permits);
    (void)sqlite3_bind_int64(statement, 7, claim->since_ms);
    (void)sqlite3_bind_int64(statement, 8, claim->due_ms);
    if (waits) {
        (void)sqlite3_bind_int64(statement, 9, claim->asked_ms);
    }
    return sqlite_base_run(base, statement);
}

/* A new waiter has no place yet: behind all others. */
static enum engine_code write_claims(struct sqlite_base *base, struct slice key, bool waits,
                                     const struct sqlite_row *known, uint32_t known_count,
                                     const struct lock_claim *claims, uint32_t count)
{
    enum engine_code code = ENGINE_OK;
    uint64_t place = known_count == 0 ? 0 : known[known_count - 1].id;
    for (uint32_t i = 0; i < known_count && code == ENGINE_OK; i++) {
        code = write_known(base, key, waits, &known[i], find_claim(claims, count, known[i].id));
    }
    for (uint32_t i = 0; i < count && code == ENGINE_OK; i++) {
        uint64_t id = waits && claims[i].token == 0 ? ++place : claims[i].token;
        if (!is_known(known, known_count, id)) {
            code = write_new(base, key, waits, id, &claims[i]);
        }
    }
    return code;
}

static enum engine_code write_past(struct sqlite_base *base, struct slice key, const struct lock_state *state)
{
    enum engine_code code = ENGINE_OK;
    for (uint32_t i = state->past_count; i-- > 0 && code == ENGINE_OK;) {
        const struct lock_past *past = &state->past[i];
        sqlite3_stmt *statement = base->statements[STATEMENT_HISTORY_ADD];
        sqlite_bind_words(base, statement, 1, key);
        (void)sqlite3_bind_int64(statement, 2, (int64_t)past->token);
        sqlite_bind_words(base, statement, 3, past->owner);
        (void)sqlite3_bind_int64(statement, 4, past->from_ms);
        (void)sqlite3_bind_int64(statement, 5, past->to_ms);
        (void)sqlite3_bind_text(statement, 6, lock_why_text(past->why), -1, SQLITE_STATIC);
        code = sqlite_base_run(base, statement);
    }
    if (code != ENGINE_OK || state->past_count == 0) {
        return code;
    }
    sqlite_bind_words(base, base->statements[STATEMENT_HISTORY_TRIM], 1, key);
    return sqlite_base_run(base, base->statements[STATEMENT_HISTORY_TRIM]);
}

enum engine_code sqlite_rows_write(struct sqlite_base *base, struct slice key, const struct sqlite_rows *rows,
                                   uint64_t token, const struct lock_state *state)
{
    enum engine_code code = write_lock(base, key, rows, token, state);
    code = code == ENGINE_OK
               ? write_claims(base, key, false, rows->holders, rows->holder_count, state->holders, state->holder_count)
               : code;
    code = code == ENGINE_OK
               ? write_claims(base, key, true, rows->waiters, rows->waiter_count, state->waiters, state->waiter_count)
               : code;
    return code == ENGINE_OK ? write_past(base, key, state) : code;
}
