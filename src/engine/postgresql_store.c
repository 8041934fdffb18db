#include "engine/postgresql_store.h"

#include "base/hash.h"
#include "engine/engine.h"

#include <stdio.h>

enum { NS_PER_MS = 1000000, HOLD_MS = 2000, WALL_SHIFT = 10, NUMBER_BYTES = 24 };

struct pg_query pg_store_query(const struct postgresql *postgresql, enum pg_sql sql)
{
    return (struct pg_query){.text = postgresql->sqls.texts[sql]};
}

/* Its first parameter is the lock's name. */
static struct pg_query query_of_key(const struct postgresql *postgresql, enum pg_sql sql, struct slice key)
{
    return (struct pg_query){.text = postgresql->sqls.texts[sql],
                             .count = 1,
                             .values = {(const char *)key.data},
                             .first_is_binary = true,
                             .first_bytes = (int)key.size};
}

static enum engine_code damaged(struct postgresql *postgresql)
{
    return engine_problem(
        &postgresql->stored.engine, ENGINE_REFUSED,
        "ERR postgresql: the lock's row in %s.locks is none that Cohort wrote: somebody changed it by "
        "hand; DELETE it when nobody holds the lock",
        postgresql->place.schema);
}

/* ---- the table ---- */

static enum engine_code make_table(struct postgresql *postgresql, bool with_schema)
{
    struct pg_query queries[PG_QUERIES] = {{.text = "BEGIN"}, pg_store_query(postgresql, PG_MAKE_ALONE)};
    size_t count = 2;
    if (with_schema) {
        queries[count++] = pg_store_query(postgresql, PG_MAKE_SCHEMA);
    }
    queries[count++] = pg_store_query(postgresql, PG_MAKE_TABLE);
    queries[count++] = (struct pg_query){.text = "COMMIT"};
    enum engine_code code = pg_link_ask(&postgresql->link, queries, count, false);
    if (code != ENGINE_OK) {
        return code;
    }
    const struct pg_query views[] = {{.text = "BEGIN"},
                                     pg_store_query(postgresql, PG_MAKE_ALONE),
                                     pg_store_query(postgresql, PG_MAKE_HOLDERS),
                                     pg_store_query(postgresql, PG_MAKE_WAITERS),
                                     {.text = "COMMIT"}};
    code = pg_link_ask(&postgresql->link, views, 5, false);
    if (code != ENGINE_OK && postgresql->link.conn == NULL) {
        return engine_problem(&postgresql->stored.engine, ENGINE_DOWN, "the views for people could not be made");
    }
    return ENGINE_OK; /* all works without them */
}

static enum engine_code ready(struct postgresql *postgresql)
{
    enum engine_code code = pg_link_ready(&postgresql->link);
    if (code != ENGINE_OK || postgresql->looked_by == postgresql->link.connections) {
        return code;
    }
    const struct pg_query exists = pg_store_query(postgresql, PG_EXISTS);
    int64_t schema = 0;
    int64_t table = 0;
    int64_t permanent = 0;
    code = pg_link_ask(&postgresql->link, &exists, 1, false);
    if (code != ENGINE_OK) {
        return code;
    }
    (void)pg_number(postgresql->link.results[0], 0, 0, &schema);
    (void)pg_number(postgresql->link.results[0], 0, 1, &table);
    (void)pg_number(postgresql->link.results[0], 0, 2, &permanent);
    if (permanent == 0) {
        return engine_problem(&postgresql->stored.engine, ENGINE_REFUSED,
                              "ERR postgresql: %s.locks is no ordinary table (a crash would empty an unlogged one): "
                              "choose another schema by ?schema=NAME",
                              postgresql->place.schema);
    }
    code = table != 0 ? ENGINE_OK : make_table(postgresql, schema == 0);
    postgresql->looked_by = code == ENGINE_OK ? postgresql->link.connections : 0;
    return code;
}

/* ---- reading ---- */

/* The server's clock was set back: what was left of each time is left of it. True: it was. */
static bool move_back(struct lock_state *state, const struct pg_row *row)
{
    int64_t back_ms = row->changed_ms - row->now_ms;
    if (back_ms <= 0) {
        return false;
    }
    for (uint32_t i = 0; i < state->holder_count; i++) {
        state->holders[i].since_ms -= back_ms;
        state->holders[i].due_ms -= back_ms;
    }
    for (uint32_t i = 0; i < state->waiter_count; i++) {
        state->waiters[i].since_ms -= back_ms;
        state->waiters[i].due_ms -= back_ms;
        state->waiters[i].asked_ms -= back_ms;
    }
    return true;
}

static enum engine_code read_row(struct postgresql *postgresql, const PGresult *result, struct lock_state *ret_state)
{
    struct engine *engine = &postgresql->stored.engine;
    enum status status = pg_row_read(result, ret_state, &postgresql->row);
    switch (status) {
    case STATUS_OK: return ENGINE_OK;
    case STATUS_NOTFOUND: return ENGINE_NOT;
    case STATUS_NOMEM: return engine_problem(engine, ENGINE_BUSY, "memory was refused");
    case STATUS_VERSION:
        return engine_problem(engine, ENGINE_REFUSED,
                              "ERR postgresql: the lock's row was written by a newer Cohort: use that one");
    default: return damaged(postgresql);
    }
}

static void format_part(const struct postgresql *postgresql, int64_t parts, char ret_text[static NUMBER_BYTES])
{
    int64_t left_ms = (postgresql->stored.engine.deadline_ns - engine_clock_ns()) / NS_PER_MS * parts / 8;
    (void)snprintf(ret_text, NUMBER_BYTES, "%lld", (long long)(left_ms < 1 ? 1 : left_ms));
}

enum engine_code pg_store_look(struct postgresql *postgresql, const struct pg_query *query)
{
    char statement_ms[NUMBER_BYTES];
    format_part(postgresql, 7, statement_ms);
    struct pg_query queries[] = {
        {.text = "BEGIN READ ONLY"}, pg_store_query(postgresql, PG_SETTINGS_LOOK), *query, {.text = "COMMIT"}};
    queries[1].count = 1;
    queries[1].values[0] = statement_ms;
    queries[1].first_bytes = 0;
    enum engine_code code = ready(postgresql);
    return code == ENGINE_OK ? pg_link_ask(&postgresql->link, queries, 4, false) : code;
}

enum engine_code pg_store_look_at_row(struct postgresql *postgresql, struct slice key, struct lock_state *ret_state)
{
    const struct pg_query select = query_of_key(postgresql, PG_SELECT, key);
    enum engine_code code = pg_store_look(postgresql, &select);
    return code == ENGINE_OK ? read_row(postgresql, postgresql->link.results[2], ret_state) : code;
}

/* ---- the row, locked ---- */

static enum engine_code lock_row(struct postgresql *postgresql, struct slice key)
{
    char lock_ms[NUMBER_BYTES];
    char hold_ms[NUMBER_BYTES];
    char statement_ms[NUMBER_BYTES];
    format_part(postgresql, 6, lock_ms);
    format_part(postgresql, 7, statement_ms);
    (void)snprintf(hold_ms, sizeof(hold_ms), "%d", HOLD_MS);
    struct pg_query settings = pg_store_query(postgresql, PG_SETTINGS);
    settings.count = 3;
    settings.values[0] = lock_ms;
    settings.values[1] = hold_ms;
    settings.values[2] = statement_ms;
    const struct pg_query queries[] = {{.text = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"},
                                       settings,
                                       query_of_key(postgresql, PG_LOCK, key),
                                       query_of_key(postgresql, PG_SELECT, key)};
    enum engine_code code = pg_link_ask(&postgresql->link, queries, 4, false);
    if (code != ENGINE_OK) {
        return code;
    }
    struct slice timeline = {0};
    (void)pg_bytes(postgresql->link.results[1], 0, 0, &timeline);
    (void)snprintf(postgresql->server, sizeof(postgresql->server), "%s/%.*s", postgresql->link.identity,
                   (int)timeline.size, (const char *)timeline.data);
    return ENGINE_OK;
}

static enum engine_code insert_row(struct postgresql *postgresql, struct slice key)
{
    struct pg_query queries[] = {query_of_key(postgresql, PG_INSERT, key), query_of_key(postgresql, PG_LOCK, key),
                                 query_of_key(postgresql, PG_SELECT, key)};
    queries[0].count = 2;
    queries[0].values[1] = postgresql->server;
    return pg_link_ask(&postgresql->link, queries, 3, false);
}

static enum engine_code read_locked(struct postgresql *postgresql, struct slice key, struct lock_state *ret_state)
{
    enum engine_code code = lock_row(postgresql, key);
    code = code == ENGINE_OK ? read_row(postgresql, postgresql->link.results[3], ret_state) : code;
    if (code != ENGINE_NOT) {
        return code;
    }
    code = insert_row(postgresql, key);
    code = code == ENGINE_OK ? read_row(postgresql, postgresql->link.results[2], ret_state) : code;
    return code == ENGINE_NOT
               ? engine_problem(&postgresql->stored.engine, ENGINE_BUSY, "somebody deletes the lock's row")
               : code;
}

/* ---- writing ---- */

static enum engine_code no_memory(struct postgresql *postgresql)
{
    return engine_problem(&postgresql->stored.engine, ENGINE_BUSY, "memory was refused");
}

/* Whoever waits may be granted now, or sooner. What only says that somebody still waits wakes nobody, or all who wait
 * would wake each other for ever. */
static bool matters(const struct postgresql *postgresql, const struct lock_state *state)
{
    const struct before *before = &postgresql->before;
    return state->waiter_count > 0 && (state->token != before->token || state->holder_count != before->holders ||
                                       state->waiter_count < before->waiters);
}

void pg_store_channel(struct slice key, char ret_channel[static PG_CHANNEL_BYTES])
{
    struct id128 id = hash_name(key.data, key.size);
    size_t size = (size_t)snprintf(ret_channel, PG_CHANNEL_BYTES, "cohort_");
    for (size_t i = 0; i < sizeof(id.bytes); i++) {
        size += (size_t)snprintf(&ret_channel[size], 3, "%02x", id.bytes[i]);
    }
}

/* The row's update and what follows it, as one pipeline. */
static enum engine_code write_row(struct postgresql *postgresql, struct slice key, const struct lock_state *state,
                                  bool commits)
{
    char token[NUMBER_BYTES];
    char fence[NUMBER_BYTES];
    char limit[NUMBER_BYTES];
    char changed[PG_ROW_TIME_BYTES];
    char channel[PG_CHANNEL_BYTES];
    if (!pg_row_write_claims(state->holders, state->holder_count, &postgresql->holders) ||
        !pg_row_write_claims(state->waiters, state->waiter_count, &postgresql->waiters) ||
        !pg_row_write_past(state, &postgresql->past)) {
        pg_link_roll_back(&postgresql->link);
        return no_memory(postgresql);
    }
    (void)snprintf(token, sizeof(token), "%llu", (unsigned long long)state->token);
    (void)snprintf(fence, sizeof(fence), "%llu", (unsigned long long)state->fence);
    (void)snprintf(limit, sizeof(limit), "%u", state->limit);
    pg_row_time(postgresql->row.now_ms, changed);
    pg_store_channel(key, channel);
    const char *values[] = {token,
                            fence,
                            limit,
                            changed,
                            postgresql->server,
                            (const char *)postgresql->holders.data,
                            (const char *)postgresql->waiters.data,
                            (const char *)postgresql->past.data};
    struct pg_query queries[3] = {query_of_key(postgresql, PG_UPDATE, key)};
    memcpy(&queries[0].values[1], values, sizeof(values));
    queries[0].count = 9;
    size_t count = 1;
    if (matters(postgresql, state)) {
        queries[count] = pg_store_query(postgresql, PG_NOTIFY);
        queries[count].count = 1;
        queries[count++].values[0] = channel;
    }
    if (commits) {
        queries[count++] = (struct pg_query){.text = "COMMIT"};
    }
    enum engine_code code = pg_link_ask(&postgresql->link, queries, count, commits);
    if (code == ENGINE_OK && commits && strcmp(PQcmdStatus(postgresql->link.results[count - 1]), "COMMIT") != 0) {
        return engine_problem(&postgresql->stored.engine, ENGINE_DOWN, "the server rolled the transaction back");
    }
    return code;
}

/* ---- for stored.h ---- */

static enum engine_code enter(struct stored *stored, struct slice key, bool looks, struct lock_state *ret_state,
                              int64_t *ret_now_ms)
{
    struct postgresql *postgresql = (struct postgresql *)stored;
    postgresql->in_transaction = false;
    postgresql->must_commit = false;
    enum engine_code code = looks ? pg_store_look_at_row(postgresql, key, ret_state) : ready(postgresql);
    if (looks) {
        (void)move_back(ret_state, &postgresql->row);
        *ret_now_ms = postgresql->row.now_ms;
        return code == ENGINE_NOT ? ENGINE_OK : code;
    }
    code = code == ENGINE_OK ? read_locked(postgresql, key, ret_state) : code;
    if (code != ENGINE_OK) {
        if (code == ENGINE_REFUSED || code == ENGINE_BUSY) {
            pg_link_roll_back(&postgresql->link);
        }
        return code;
    }
    postgresql->before = (struct before){ret_state->token, ret_state->holder_count, ret_state->waiter_count};
    *ret_now_ms = postgresql->row.now_ms;
    if (strcmp(postgresql->row.server, postgresql->server) != 0) { /* promoted, or restored: commits may be lost */
        uint64_t wall = (uint64_t)(postgresql->row.now_ms + 1) << WALL_SHIFT;
        ret_state->token = ret_state->token > wall ? ret_state->token : wall;
    }
    if (move_back(ret_state, &postgresql->row)) {
        code = write_row(postgresql, key, ret_state, false);
        postgresql->must_commit = true;
    }
    postgresql->in_transaction = code == ENGINE_OK;
    return code;
}

static enum engine_code leave(struct stored *stored, struct slice key, const struct lock_state *state, bool changed)
{
    struct postgresql *postgresql = (struct postgresql *)stored;
    if (!postgresql->in_transaction) {
        return ENGINE_OK;
    }
    postgresql->in_transaction = false;
    if (changed) {
        return write_row(postgresql, key, state, true);
    }
    if (postgresql->must_commit) {
        const struct pg_query commit = {.text = "COMMIT"};
        return pg_link_ask(&postgresql->link, &commit, 1, true);
    }
    pg_link_roll_back(&postgresql->link);
    return ENGINE_OK;
}

const struct stored_ops pg_store = {enter, leave};
