/* postgresql://user@host:port/database: PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED (PostgreSQL's manual,
 * part VI; 12 or newer).
 *
 * The work is done over `work`, everything else over `control`, so that what is lost of one can be asked for over the
 * other.
 *
 * Evidence, taken when the work begins: the transaction's id (xid8), the system's identifier and its timeline. Where
 * those two are still the same, pg_xact_status tells what became of it, for as long as the server remembers (until its
 * clog is cut off, by default 50 to 200 million transactions later). On another timeline, after a standby was promoted
 * or a backup put back, the same number may be somebody else's: then it proves nothing.
 *
 * PREPARE TRANSACTION has five ends:
 *   its own tag             prepared
 *   the tag ROLLBACK        the block had failed: refused (it looks like success)
 *   an error                refused: PostgreSQL has rolled it back
 *   no answer               control looks in pg_prepared_xacts. Absent counts only when the backend that was told to
 *                           prepare is gone, in that order: else it may prepare a moment later. It is asked to end
 *                           (pg_terminate_backend), so that a server that is cut off does not keep the locks.
 *   still none at the deadline: unknown. Nothing was committed, so home decides to abort, and whoever resolves finds
 * the branch if there is one. */
#include "resource/module.h"
#include "resource/postgresql_session.h"
#include "resource/statement.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { AGAIN_MS = 20, LITERAL_BYTES = 2 * BRANCH_NAME_BYTES + 8, NUMBER_BYTES = 24, VERSION_LEAST = 120000 };
enum { NS_PER_MS = 1000000 };

struct postgresql {
    struct resource resource;
    struct pg_session work, control;
    const char *name;           /* of the branch that `work` has */
    char backend[NUMBER_BYTES]; /* of `work` */
    char started[64];           /* when that began: process ids come again */
    char evidence[RESOURCE_EVIDENCE_BYTES];
};

static struct postgresql *postgresql_of(struct resource *resource) { return (struct postgresql *)resource; }

/* "SYSTEM/TIMELINE", of where we are connected. */
#define PLACE                                                                                                          \
    "(SELECT system_identifier FROM pg_catalog.pg_control_system())::text || '/' || "                                  \
    "substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)"

static enum resource_code code_of(const struct postgresql *postgresql, enum pg_end end)
{
    return end == PG_DONE ? RESOURCE_OK : end == PG_FAILED ? RESOURCE_REFUSED : RESOURCE_DOWN;
}

/* ---- the work ---- */

static enum resource_code check_server(struct postgresql *postgresql)
{
    struct resource *resource = &postgresql->resource;
    struct pg_session *work = &postgresql->work;
    if (PQserverVersion(work->conn) < VERSION_LEAST) {
        return resource_problem(resource, RESOURCE_REFUSED, "PostgreSQL: the server has version %d; 12 is the least",
                                PQserverVersion(work->conn) / 10000);
    }
    enum pg_end end = pg_session_ask(work,
                                     "SELECT pg_catalog.current_setting('max_prepared_transactions'), "
                                     "pg_catalog.current_setting('fsync')",
                                     NULL, 0);
    if (end != PG_DONE) {
        return code_of(postgresql, end);
    }
    if (strcmp(pg_session_field(work, 0, 0), "0") == 0) {
        return resource_problem(resource, RESOURCE_REFUSED,
                                "PostgreSQL: prepared transactions are off (max_prepared_transactions = 0, the "
                                "default): set it to as many as run at once, in postgresql.conf or by ALTER SYSTEM SET "
                                "max_prepared_transactions = 64, and restart the server");
    }
    if (strcmp(pg_session_field(work, 0, 1), "on") != 0) {
        return resource_problem(resource, RESOURCE_REFUSED,
                                "PostgreSQL: the server has fsync = off, so what it has prepared does not survive its "
                                "machine: set fsync = on");
    }
    return RESOURCE_OK;
}

/* The server ends the work when this process, or its machine, does not. */
static enum resource_code limit_time(struct postgresql *postgresql)
{
    char ms[NUMBER_BYTES];
    int64_t left_ms = (postgresql->resource.deadline_ns - resource_clock_ns()) / NS_PER_MS;
    (void)snprintf(ms, sizeof(ms), "%" PRId64, left_ms < 1 ? 1 : left_ms);
    const char *const parameters[] = {ms};
    return code_of(postgresql, pg_session_ask(&postgresql->work,
                                              "SELECT pg_catalog.set_config('statement_timeout', $1, true), "
                                              "pg_catalog.set_config('idle_in_transaction_session_timeout', $1, true)",
                                              parameters, 1));
}

static enum resource_code note_self(struct postgresql *postgresql)
{
    struct pg_session *work = &postgresql->work;
    enum pg_end end = pg_session_ask(
        work,
        PQserverVersion(work->conn) >= 130000
            ? "SELECT pg_catalog.pg_current_xact_id()::text || '@' || " PLACE ", pg_catalog.pg_backend_pid()::text, "
              "(SELECT backend_start::text FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid())"
            : "SELECT pg_catalog.txid_current()::text || '@' || " PLACE ", pg_catalog.pg_backend_pid()::text, "
              "(SELECT backend_start::text FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid())",
        NULL, 0);
    if (end != PG_DONE) {
        return code_of(postgresql, end);
    }
    (void)snprintf(postgresql->evidence, sizeof(postgresql->evidence), "%s", pg_session_field(work, 0, 0));
    (void)snprintf(postgresql->backend, sizeof(postgresql->backend), "%s", pg_session_field(work, 0, 1));
    (void)snprintf(postgresql->started, sizeof(postgresql->started), "%s", pg_session_field(work, 0, 2));
    return RESOURCE_OK;
}

static enum resource_code begin(struct resource *resource, const char *name,
                                char ret_evidence[static RESOURCE_EVIDENCE_BYTES])
{
    struct postgresql *postgresql = postgresql_of(resource);
    postgresql->name = name;
    enum resource_code code = pg_session_ready(&postgresql->work);
    code = code == RESOURCE_OK ? check_server(postgresql) : code;
    code = code == RESOURCE_OK ? code_of(postgresql, pg_session_ask(&postgresql->work, "BEGIN", NULL, 0)) : code;
    code = code == RESOURCE_OK ? limit_time(postgresql) : code;
    code = code == RESOURCE_OK ? note_self(postgresql) : code;
    if (code == RESOURCE_OK) {
        (void)snprintf(ret_evidence, RESOURCE_EVIDENCE_BYTES, "%s", postgresql->evidence);
    }
    return code;
}

static enum resource_code run(struct resource *resource, const char *statement, int64_t *ret_changed)
{
    struct postgresql *postgresql = postgresql_of(resource);
    const char *problem = statement_problem(STATEMENT_POSTGRESQL, statement);
    if (problem != NULL) {
        return resource_problem(resource, RESOURCE_REFUSED, "%s", problem);
    }
    enum pg_end end = pg_session_run(&postgresql->work, statement);
    if (end != PG_DONE) {
        return code_of(postgresql, end);
    }
    *ret_changed = strtoll(PQcmdTuples(postgresql->work.result), NULL, 10);
    if (PQtransactionStatus(postgresql->work.conn) != PQTRANS_INTRANS) {
        return resource_problem(resource, RESOURCE_REFUSED, "PostgreSQL: the statement has ended the transaction");
    }
    return RESOURCE_OK;
}

/* Closing is enough, and cannot fail. */
static void roll_back(struct resource *resource) { pg_session_close(&postgresql_of(resource)->work); }

/* ---- branches ---- */

/* For a word that takes no parameter. */
static const char *quote(const char *word, const char *name, char ret_text[static LITERAL_BYTES])
{
    size_t size = (size_t)snprintf(ret_text, LITERAL_BYTES, "%s '", word);
    for (const char *at = name; *at != '\0' && size + 3 < LITERAL_BYTES; at++) {
        if (*at == '\'') {
            ret_text[size++] = '\'';
        }
        ret_text[size++] = *at;
    }
    ret_text[size++] = '\'';
    ret_text[size] = '\0';
    return ret_text;
}

static enum resource_code is_listed(struct postgresql *postgresql, const char *name, bool *ret_listed)
{
    const char *const parameters[] = {name};
    enum pg_end end = pg_session_ask(&postgresql->control,
                                     "SELECT 1 FROM pg_catalog.pg_prepared_xacts WHERE gid = $1 AND "
                                     "database = pg_catalog.current_database()",
                                     parameters, 1);
    *ret_listed = end == PG_DONE && pg_session_field(&postgresql->control, 0, 0)[0] != '\0';
    return code_of(postgresql, end);
}

/* "@SYSTEM/TIMELINE" of the evidence is where `control` is connected to. */
static enum resource_code is_same_place(struct postgresql *postgresql, const char *evidence, bool *ret_same)
{
    const char *place = strchr(evidence, '@');
    enum pg_end end = pg_session_ask(&postgresql->control, "SELECT " PLACE, NULL, 0);
    *ret_same = end == PG_DONE && place != NULL && strcmp(place + 1, pg_session_field(&postgresql->control, 0, 0)) == 0;
    return code_of(postgresql, end);
}

/* Asks the backend that did the work to end, too. */
static enum resource_code has_backend(struct postgresql *postgresql, bool *ret_alive)
{
    const char *const parameters[] = {postgresql->backend, postgresql->started};
    enum pg_end end = pg_session_ask(&postgresql->control,
                                     "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity "
                                     "WHERE pid = $1::int AND backend_start::text = $2",
                                     parameters, 2);
    *ret_alive = end != PG_DONE || pg_session_field(&postgresql->control, 0, 0)[0] != '\0';
    return end == PG_FAILED ? RESOURCE_OK : code_of(postgresql, end);
}

/* PREPARE TRANSACTION had no answer. */
static enum resource_code look_for_vote(struct postgresql *postgresql, const char *name)
{
    do {
        bool same = false;
        bool alive = true;
        bool listed = false;
        enum resource_code code = pg_session_ready(&postgresql->control);
        code = code == RESOURCE_OK ? is_same_place(postgresql, postgresql->evidence, &same) : code;
        code = code == RESOURCE_OK && same ? has_backend(postgresql, &alive) : code;
        code = code == RESOURCE_OK ? is_listed(postgresql, name, &listed) : code;
        if (code == RESOURCE_OK && listed) {
            return RESOURCE_OK;
        }
        if (code == RESOURCE_OK && same && !alive) {
            return resource_problem(&postgresql->resource, RESOURCE_REFUSED,
                                    "PostgreSQL: the connection was lost before it had prepared");
        }
    } while (resource_pause(&postgresql->resource, AGAIN_MS));
    return resource_problem(
        &postgresql->resource, RESOURCE_UNKNOWN,
        "PostgreSQL: the answer to PREPARE TRANSACTION was lost, and nobody says in time whether it "
        "was prepared");
}

static enum resource_code prepare(struct resource *resource)
{
    struct postgresql *postgresql = postgresql_of(resource);
    struct pg_session *work = &postgresql->work;
    char text[LITERAL_BYTES];
    int64_t deadline_ns = resource->deadline_ns; /* two thirds of the time for the question, and a third for its fate */
    int64_t now_ns = resource_clock_ns();
    resource->deadline_ns = now_ns + (deadline_ns - now_ns) * 2 / 3;
    enum pg_end end = pg_session_ask(work, quote("PREPARE TRANSACTION", postgresql->name, text), NULL, 0);
    resource->deadline_ns = deadline_ns;
    if (end == PG_LOST) {
        return look_for_vote(postgresql, postgresql->name);
    }
    if (end == PG_FAILED) {
        return RESOURCE_REFUSED;
    }
    return strcmp(PQcmdStatus(work->result), "PREPARE TRANSACTION") == 0
               ? RESOURCE_OK
               : resource_problem(resource, RESOURCE_REFUSED,
                                  "PostgreSQL: a statement had failed, so it rolled back where it was to prepare");
}

/* ---- by anybody ---- */

enum fate { FATE_UNKNOWN, FATE_PREPARED, FATE_COMMITTED, FATE_ABORTED };

static enum resource_code ask_status(struct postgresql *postgresql, const char *evidence, enum fate *ret_fate)
{
    bool same = false;
    enum resource_code code = is_same_place(postgresql, evidence, &same);
    if (code != RESOURCE_OK || !same) {
        return code;
    }
    char id[RESOURCE_EVIDENCE_BYTES];
    (void)snprintf(id, sizeof(id), "%.*s", (int)strcspn(evidence, "@"), evidence);
    const char *const parameters[] = {id};
    enum pg_end end = pg_session_ask(&postgresql->control,
                                     PQserverVersion(postgresql->control.conn) >= 130000
                                         ? "SELECT pg_catalog.pg_xact_status($1::xid8)"
                                         : "SELECT pg_catalog.txid_status($1::bigint)",
                                     parameters, 1);
    const char *told = end == PG_DONE ? pg_session_field(&postgresql->control, 0, 0) : "";
    if (strcmp(told, "committed") == 0) {
        *ret_fate = FATE_COMMITTED;
    } else if (strcmp(told, "aborted") == 0) {
        *ret_fate = FATE_ABORTED;
    }
    return end == PG_LOST ? RESOURCE_DOWN : RESOURCE_OK; /* a number that it cannot know proves nothing */
}

static enum resource_code ask_control(struct postgresql *postgresql, const char *name, const char *evidence,
                                      enum fate *ret_fate)
{
    bool listed = false;
    *ret_fate = FATE_UNKNOWN;
    enum resource_code code = pg_session_ready(&postgresql->control);
    code = code == RESOURCE_OK ? is_listed(postgresql, name, &listed) : code;
    if (code == RESOURCE_OK && listed) {
        *ret_fate = FATE_PREPARED;
        return RESOURCE_OK;
    }
    return code == RESOURCE_OK ? ask_status(postgresql, evidence, ret_fate) : code;
}

/* COMMIT PREPARED says that there is no such branch (42704), which proves nothing: somebody else was first. */
static enum resource_code prove(struct postgresql *postgresql, const char *name, const char *evidence, bool commits)
{
    enum fate fate;
    enum fate wanted = commits ? FATE_COMMITTED : FATE_ABORTED;
    enum resource_code code = ask_control(postgresql, name, evidence, &fate);
    if (code != RESOURCE_OK) {
        return code;
    }
    if (fate == wanted) {
        return RESOURCE_OK;
    }
    if (fate == FATE_PREPARED) {
        return RESOURCE_DOWN; /* once more */
    }
    if (fate == FATE_UNKNOWN) {
        return resource_problem(&postgresql->resource, RESOURCE_UNKNOWN,
                                "PostgreSQL: the branch is not prepared here any more, and nothing proves what became "
                                "of it");
    }
    return resource_problem(&postgresql->resource, RESOURCE_REFUSED,
                            "PostgreSQL: somebody has %s the branch by hand, though the transaction %s: the databases "
                            "do not agree, and only a person can mend that",
                            commits ? "rolled back" : "committed", commits ? "was committed" : "was rolled back");
}

/* 55000: somebody else finishes it just now. */
static bool is_worth_another_try(const struct pg_session *session)
{
    static const char *const states[] = {"55000", "53", "40", "55P03", "25006", NULL};
    size_t i = 0;
    while (states[i] != NULL && strncmp(session->state, states[i], strlen(states[i])) != 0) {
        i++;
    }
    return states[i] != NULL;
}

static enum resource_code finish_once(struct postgresql *postgresql, const char *name, const char *evidence,
                                      bool commits)
{
    const char *word = commits ? "COMMIT PREPARED" : "ROLLBACK PREPARED";
    char text[LITERAL_BYTES];
    enum resource_code code = pg_session_ready(&postgresql->control);
    if (code != RESOURCE_OK) {
        return code;
    }
    enum pg_end end = pg_session_ask(&postgresql->control, quote(word, name, text), NULL, 0);
    if (end == PG_LOST) {
        return RESOURCE_DOWN; /* it is asked again, and then there is evidence */
    }
    if (end == PG_DONE) {
        return strcmp(PQcmdStatus(postgresql->control.result), word) == 0 ? RESOURCE_OK : RESOURCE_DOWN;
    }
    if (strcmp(postgresql->control.state, "42704") == 0) {
        return prove(postgresql, name, evidence, commits);
    }
    if (strcmp(postgresql->control.state, "42501") == 0) {
        return resource_problem(&postgresql->resource, RESOURCE_REFUSED,
                                "PostgreSQL: only who prepared a branch, or a superuser, may finish it: connect as one "
                                "of them");
    }
    return is_worth_another_try(&postgresql->control) ? RESOURCE_DOWN : RESOURCE_REFUSED;
}

static enum resource_code finish(struct resource *resource, const char *name, const char *evidence, bool commits)
{
    enum resource_code code;
    do {
        code = finish_once(postgresql_of(resource), name, evidence, commits);
    } while (code == RESOURCE_DOWN && resource_pause(resource, AGAIN_MS));
    return code;
}

/* xid has 32 bits; of the 64 of xid8 the others are those of a number near it, the next that will be given. */
#define LIST                                                                                                           \
    "SELECT gid, owner, (extract(epoch FROM pg_catalog.clock_timestamp() - prepared) * 1000)::bigint::text, "          \
    "(next - ((next - transaction::text::bigint) & 4294967295))::text || '@' || " PLACE                                \
    " FROM pg_catalog.pg_prepared_xacts, "                                                                             \
    "(SELECT pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()) AS next) AS ids "                       \
    "WHERE database = pg_catalog.current_database() AND gid LIKE 'cohort:%' ORDER BY prepared LIMIT 10000"

static enum resource_code list(struct resource *resource, resource_listed listed, void *data)
{
    struct postgresql *postgresql = postgresql_of(resource);
    struct pg_session *control = &postgresql->control;
    enum resource_code code = pg_session_ready(control);
    code = code == RESOURCE_OK ? code_of(postgresql, pg_session_ask(control, LIST, NULL, 0)) : code;
    if (code != RESOURCE_OK) {
        return code;
    }
    PGresult *result = control->result; /* who is told may finish branches meanwhile */
    control->result = NULL;
    for (int row = 0; row < PQntuples(result); row++) {
        struct resource_branch branch = {.name = slice_from_string(PQgetvalue(result, row, 0)),
                                         .owner = PQgetvalue(result, row, 1),
                                         .age_ms = strtoll(PQgetvalue(result, row, 2), NULL, 10)};
        (void)snprintf(branch.evidence, sizeof(branch.evidence), "%s", PQgetvalue(result, row, 3));
        listed(data, &branch);
    }
    PQclear(result);
    return RESOURCE_OK;
}

/* ---- its life ---- */

static void close_resource(struct resource *resource)
{
    struct postgresql *postgresql = postgresql_of(resource);
    pg_session_deinit(&postgresql->work);
    pg_session_deinit(&postgresql->control);
    free(postgresql);
}

static const struct resource_ops resource_postgresql;

static enum status open_resource(const char *url, struct resource **ret_resource,
                                 char ret_problem[static RESOURCE_PROBLEM_BYTES])
{
    struct postgresql *postgresql = calloc(1, sizeof(*postgresql));
    if (postgresql == NULL) {
        (void)snprintf(ret_problem, RESOURCE_PROBLEM_BYTES, "memory was refused");
        return STATUS_NOMEM;
    }
    struct resource *resource = &postgresql->resource;
    resource->ops = &resource_postgresql;
    enum status status = pg_session_init(&postgresql->work, resource, url, ret_problem);
    status = status == STATUS_OK ? pg_session_init(&postgresql->control, resource, url, ret_problem) : status;
    if (status != STATUS_OK) {
        close_resource(resource);
        return status;
    }
    *ret_resource = resource;
    return STATUS_OK;
}

#define OPS(name)                                                                                                      \
    {                                                                                                                  \
        .scheme = (name), .open = open_resource, .close = close_resource, .begin = begin, .run = run,                  \
        .roll_back = roll_back, .prepare = prepare, .finish = finish, .list = list,                                    \
    }

static const struct resource_ops resource_postgresql = OPS("postgresql");
static const struct resource_ops resource_postgres = OPS("postgres");

RESOURCE_MODULE_OF(&resource_postgresql, &resource_postgres);
