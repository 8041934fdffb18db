/* mariadb://user@host:port/database: XA START, END, PREPARE, COMMIT, ROLLBACK (The Open Group, XA, 1991; MariaDB's
 * Knowledge Base, XA Transactions). MariaDB 10.5 or newer, MySQL 8.0 or newer: before, whoever disconnects rolls its
 * prepared branch back. Galera has no XA.
 *
 * A branch's name is an xid: `cohort:CLUSTER:EPOCH` and `TXID:BRANCH`, in hexadecimal digits, and a format of its own.
 *
 * What differs from other databases
 * 1. While the connection that prepared lives, others get XAER_NOTA for the branch although XA RECOVER lists it. So it
 * is finished over that connection as long as there is one; else it is asked for until XA RECOVER lists it no longer.
 *    That it is not listed is not taken for an outcome: the outcome is home's, and known to who calls `finish`. What is
 *    concluded is that a branch that had voted yes was finished by somebody who knew it; at the server where it voted
 *    alone, which the evidence names (`localhost`, or a socket, is another server to everybody).
 * 2. A branch that has written nothing is not durable when it is prepared: after its connection has ended XA COMMIT is
 *    answered XA_RBROLLBACK. It is ended by the client that did the work, XA COMMIT … ONE PHASE in the place of its
 *    vote: nobody else can know that nothing was written, and with nothing to write both outcomes are the same
 * (read-only optimization: Mohan, Lindsay, Obermarck 1986). Whether something was written the server's own counters
 * tell (rows given to engines: triggers count, too); where they count what came to nothing (INSERT IGNORE),
 * XA_RBROLLBACK is taken for what it is: nothing was there to commit.
 * 3. XA PREPARE that fails has rolled the branch back. After a deadlock all is rolled back: this closes the connection.
 * 4. Tables that know no transactions (MyISAM, Aria) are written at once, in any transaction; the server does not say
 * so before it is too late. docs/transactions.md warns. */
#include "resource/mariadb_server.h"
#include "resource/mariadb_xid.h"
#include "resource/module.h"
#include "resource/statement.h"

#include <inttypes.h>
#include <mysqld_error.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    NS_PER_MS = 1000000,
    AGAIN_MS = 20,
    TEXT_BYTES = MARIA_XID_BYTES + 128,
};

struct mariadb {
    struct resource resource;
    struct resource_url url;
    struct maria_session work, control;
    char xid[MARIA_XID_BYTES]; /* of the branch that `work` has; "": none */
    const char *name;          /* its name */
    char connection[24];       /* of `work` */
    int64_t uptime_s;          /* of the server, when the work began, */
    int64_t began_ns;          /* which was then */
    int64_t rows;              /* written before the branch */
    bool wrote_nothing;        /* it has been ended */
};

static struct mariadb *mariadb_of(struct resource *resource) { return (struct mariadb *)resource; }

static enum resource_code code_of(enum maria_end end)
{
    return end == MARIA_DONE ? RESOURCE_OK : end == MARIA_FAILED ? RESOURCE_REFUSED : RESOURCE_DOWN;
}

static enum maria_end say(struct maria_session *session, const char *word, const char *xid, const char *behind)
{
    char text[TEXT_BYTES];
    (void)snprintf(text, sizeof(text), "%s %s%s", word, xid, behind);
    return maria_session_ask(session, text, NULL, NULL, NULL);
}

/* ---- the work ---- */

static void add_number(void *data, char *const *fields, const unsigned long *sizes, unsigned count)
{
    *(int64_t *)data += fields[count - 1] == NULL ? 0 : strtoll(fields[count - 1], NULL, 10);
}

/* Rows that this connection has given to engines, to be written. */
static enum maria_end count_rows(struct mariadb *mariadb, int64_t *ret_rows)
{
    *ret_rows = 0;
    return maria_session_ask(&mariadb->work,
                             "SHOW SESSION STATUS WHERE Variable_name IN ('Handler_write', 'Handler_update', "
                             "'Handler_delete')",
                             add_number, ret_rows, NULL);
}

/* The server ends what waits, and who does not answer it. */
static enum maria_end limit_time(struct mariadb *mariadb)
{
    char text[2 * TEXT_BYTES];
    int64_t left_s = (mariadb->resource.deadline_ns - resource_clock_ns()) / ((int64_t)1000 * NS_PER_MS) + 1;
    left_s = left_s < 1 ? 1 : left_s;
    (void)snprintf(
        text, sizeof(text),
        "SET SESSION innodb_lock_wait_timeout = %" PRId64 ", lock_wait_timeout = %" PRId64 ", wait_timeout = %" PRId64
        "%s%" PRId64,
        left_s, left_s, left_s + 1,
        mariadb_connection(mariadb->work.mysql) ? ", max_statement_time = " : ", max_execution_time = 1000 * ", left_s);
    return maria_session_ask(&mariadb->work, text, NULL, NULL, NULL);
}

static enum resource_code begin(struct resource *resource, const char *name,
                                char ret_evidence[static RESOURCE_EVIDENCE_BYTES])
{
    struct mariadb *mariadb = mariadb_of(resource);
    mariadb->name = name;
    mariadb->xid[0] = '\0';
    enum resource_code code = maria_session_ready(&mariadb->work);
    code = code == RESOURCE_OK ? maria_server_check(&mariadb->work) : code;
    if (code != RESOURCE_OK) {
        return code;
    }
    (void)snprintf(mariadb->connection, sizeof(mariadb->connection), "%lu", mysql_thread_id(mariadb->work.mysql));
    mariadb->began_ns = resource_clock_ns();
    enum maria_end end = maria_server_uptime(&mariadb->work, &mariadb->uptime_s);
    end = end == MARIA_DONE ? limit_time(mariadb) : end;
    end = end == MARIA_DONE ? count_rows(mariadb, &mariadb->rows) : end;
    end = end == MARIA_DONE ? maria_server_identify(&mariadb->work, ret_evidence) : end;
    return code_of(end);
}

/* The branch begins with its first statement, under the name that it will be prepared as. */
static enum resource_code start(struct mariadb *mariadb)
{
    if (mariadb->xid[0] != '\0') {
        return RESOURCE_OK;
    }
    if (!maria_xid_format(mariadb->name, mariadb->xid)) {
        return resource_problem(
            &mariadb->resource, RESOURCE_REFUSED,
            "MariaDB: the transaction's id and the participant's name are too long for XA: together "
            "%d bytes at most",
            BRANCH_XA_PART_BYTES - 1);
    }
    return code_of(say(&mariadb->work, "XA START", mariadb->xid, ""));
}

static enum resource_code run(struct resource *resource, const char *statement, int64_t *ret_changed)
{
    struct mariadb *mariadb = mariadb_of(resource);
    const char *problem = statement_problem(STATEMENT_MARIADB, statement);
    if (problem != NULL) {
        return resource_problem(resource, RESOURCE_REFUSED, "%s", problem);
    }
    enum resource_code code = start(mariadb);
    if (code != RESOURCE_OK) {
        return code;
    }
    enum maria_end end = maria_session_ask(&mariadb->work, statement, NULL, NULL, ret_changed);
    if (end == MARIA_FAILED && mariadb->work.error == ER_XAER_RMFAIL) {
        return resource_problem(resource, RESOURCE_REFUSED,
                                "MariaDB: this statement would commit what came before it, so it cannot stand in a "
                                "transaction");
    }
    return code_of(end);
}

/* The server rolls back what is not prepared. */
static void roll_back(struct resource *resource) { maria_session_close(&mariadb_of(resource)->work); }

/* ---- branches ---- */

struct look {
    const char *name;
    bool found;
};

static void look_at(void *data, char *const *fields, const unsigned long *sizes, unsigned count)
{
    struct look *look = data;
    char name[BRANCH_NAME_BYTES];
    look->found =
        look->found || (maria_xid_parse(fields[0], fields[1], fields[2], slice_of(fields[3], sizes[3]), name) &&
                        strcmp(name, look->name) == 0);
}

static enum resource_code is_listed(struct mariadb *mariadb, const char *name, bool *ret_listed)
{
    struct look look = {.name = name};
    enum resource_code code = maria_session_ready(&mariadb->control);
    code =
        code == RESOURCE_OK ? code_of(maria_session_ask(&mariadb->control, "XA RECOVER", look_at, &look, NULL)) : code;
    *ret_listed = look.found;
    return code;
}

static void note_row(void *data, char *const *fields, const unsigned long *sizes, unsigned count)
{
    *(bool *)data = true;
}

/* Whether the connection of the work may still do something: it is listed, and the server is the one that it was.
 * (After a restart the same number is somebody else's.) */
static enum resource_code has_connection(struct mariadb *mariadb, bool *ret_alive)
{
    int64_t uptime_s = 0;
    char text[TEXT_BYTES];
    *ret_alive = true;
    enum resource_code code = maria_session_ready(&mariadb->control);
    code = code == RESOURCE_OK ? code_of(maria_server_uptime(&mariadb->control, &uptime_s)) : code;
    if (code != RESOURCE_OK) {
        return code;
    }
    int64_t since_s = (resource_clock_ns() - mariadb->began_ns) / ((int64_t)1000 * NS_PER_MS);
    if (uptime_s + 1 < mariadb->uptime_s + since_s) {
        *ret_alive = false;
        return RESOURCE_OK;
    }
    bool found = false;
    (void)snprintf(text, sizeof(text), "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = %s",
                   mariadb->connection);
    code = code_of(maria_session_ask(&mariadb->control, text, note_row, &found, NULL));
    *ret_alive = code != RESOURCE_OK || found;
    return code;
}

/* XA PREPARE had no answer: absence counts only when the connection is gone, in that order. */
static enum resource_code look_for_vote(struct mariadb *mariadb, const char *name)
{
    do {
        bool alive = true;
        bool listed = false;
        enum resource_code code = has_connection(mariadb, &alive);
        code = code == RESOURCE_OK ? is_listed(mariadb, name, &listed) : code;
        if (code == RESOURCE_OK && listed) {
            return RESOURCE_OK;
        }
        if (code == RESOURCE_OK && !alive) {
            return resource_problem(&mariadb->resource, RESOURCE_REFUSED,
                                    "MariaDB: the connection was lost before it had prepared");
        }
    } while (resource_pause(&mariadb->resource, AGAIN_MS));
    return resource_problem(
        &mariadb->resource, RESOURCE_UNKNOWN,
        "MariaDB: the answer to XA PREPARE was lost, and nobody says in time whether it was prepared");
}

/* Two thirds of the time for the question, so that there is some to find out what became of it. */
static enum maria_end say_prepare(struct mariadb *mariadb)
{
    int64_t deadline_ns = mariadb->resource.deadline_ns;
    int64_t now_ns = resource_clock_ns();
    mariadb->resource.deadline_ns = now_ns + (deadline_ns - now_ns) * 2 / 3;
    enum maria_end end = say(&mariadb->work, "XA PREPARE", mariadb->xid, "");
    mariadb->resource.deadline_ns = deadline_ns;
    return end;
}

static enum resource_code prepare(struct resource *resource)
{
    struct mariadb *mariadb = mariadb_of(resource);
    int64_t rows = 0;
    enum resource_code code = start(mariadb);
    enum maria_end end = code == RESOURCE_OK ? say(&mariadb->work, "XA END", mariadb->xid, "") : MARIA_FAILED;
    end = end == MARIA_DONE ? count_rows(mariadb, &rows) : end;
    if (end != MARIA_DONE) {
        return code_of(end);
    }
    if (rows == mariadb->rows) {
        mariadb->wrote_nothing = true;
        return code_of(say(&mariadb->work, "XA COMMIT", mariadb->xid, " ONE PHASE"));
    }
    end = say_prepare(mariadb);
    return end == MARIA_LOST ? look_for_vote(mariadb, mariadb->name) : code_of(end);
}

/* ---- by anybody ---- */

/* Over one connection. DOWN: once more. */
static enum resource_code finish_over(struct mariadb *mariadb, struct maria_session *session, const char *xid,
                                      bool commits)
{
    enum maria_end end = say(session, commits ? "XA COMMIT" : "XA ROLLBACK", xid, "");
    if (end != MARIA_FAILED) {
        return code_of(end);
    }
    switch (session->error) {
    case ER_XAER_NOTA: return RESOURCE_DOWN;
    case ER_XA_RBROLLBACK: return RESOURCE_OK; /* it had written nothing */
    case ER_SPECIFIC_ACCESS_DENIED_ERROR:
    case ER_ACCESS_DENIED_ERROR: return RESOURCE_REFUSED;
    default: return RESOURCE_DOWN;
    }
}

/* It is not listed: somebody was first, if this is where it voted. */
static enum resource_code prove(struct mariadb *mariadb, const char *evidence, bool commits)
{
    char here[RESOURCE_EVIDENCE_BYTES];
    enum resource_code code = code_of(maria_server_identify(&mariadb->control, here));
    if (code != RESOURCE_OK || !commits || strcmp(here, evidence) == 0) {
        return code;
    }
    return resource_problem(
        &mariadb->resource, RESOURCE_UNKNOWN,
        "MariaDB: the branch is not prepared at this server, and this is not known to be the server "
        "where it was: say the URL of that one (localhost and a socket are others on other "
        "machines), or look there, and give it up with TXN.DONE … ABANDONED");
}

static enum resource_code finish_once(struct mariadb *mariadb, const char *name, const char *evidence, const char *xid,
                                      bool commits)
{
    bool listed = false;
    enum resource_code code = is_listed(mariadb, name, &listed);
    if (code != RESOURCE_OK || !listed) {
        return code != RESOURCE_OK ? code : prove(mariadb, evidence, commits);
    }
    code = finish_over(mariadb, &mariadb->control, xid, commits);
    code = code == RESOURCE_OK ? is_listed(mariadb, name, &listed) : code;
    return code == RESOURCE_OK && listed ? RESOURCE_DOWN : code;
}

static enum resource_code finish(struct resource *resource, const char *name, const char *evidence, bool commits)
{
    struct mariadb *mariadb = mariadb_of(resource);
    char xid[MARIA_XID_BYTES];
    if (!maria_xid_format(name, xid)) {
        return resource_problem(resource, RESOURCE_REFUSED, "MariaDB: '%s' is too long for XA", name);
    }
    bool own = mariadb->work.mysql != NULL && strcmp(mariadb->xid, xid) == 0;
    if (own && mariadb->wrote_nothing) {
        return RESOURCE_OK;
    }
    if (own && finish_over(mariadb, &mariadb->work, xid, commits) == RESOURCE_OK) {
        return RESOURCE_OK;
    }
    maria_session_close(&mariadb->work); /* so that others may finish it */
    enum resource_code code;
    bool is_kept = false;
    do {
        code = finish_once(mariadb, name, evidence, xid, commits);
        is_kept = is_kept || mariadb->control.error == ER_XAER_NOTA;
    } while (code == RESOURCE_DOWN && resource_pause(resource, AGAIN_MS));
    if (code == RESOURCE_DOWN && is_kept) {
        return resource_problem(resource, RESOURCE_DOWN,
                                "MariaDB: the connection that prepared the branch still lives, and keeps others from "
                                "finishing it");
    }
    return code;
}

struct listing {
    resource_listed listed;
    void *data;
    char server[RESOURCE_EVIDENCE_BYTES];
};

static void list_row(void *data, char *const *fields, const unsigned long *sizes, unsigned count)
{
    const struct listing *listing = data;
    char name[BRANCH_NAME_BYTES];
    if (maria_xid_parse(fields[0], fields[1], fields[2], slice_of(fields[3], sizes[3]), name)) {
        struct resource_branch branch = {.name = slice_from_string(name), .age_ms = -1, .owner = ""};
        memcpy(branch.evidence, listing->server, sizeof(branch.evidence));
        listing->listed(listing->data, &branch);
    }
}

static enum resource_code list(struct resource *resource, resource_listed listed, void *data)
{
    struct mariadb *mariadb = mariadb_of(resource);
    struct listing listing = {.listed = listed, .data = data};
    enum resource_code code = maria_session_ready(&mariadb->control);
    code = code == RESOURCE_OK ? code_of(maria_server_identify(&mariadb->control, listing.server)) : code;
    return code == RESOURCE_OK ? code_of(maria_session_ask(&mariadb->control, "XA RECOVER", list_row, &listing, NULL))
                               : code;
}

/* ---- its life ---- */

static void close_resource(struct resource *resource)
{
    struct mariadb *mariadb = mariadb_of(resource);
    maria_session_close(&mariadb->work);
    maria_session_close(&mariadb->control);
    free(mariadb);
}

static const struct resource_ops resource_mariadb;

/* NULL, or what is wrong with its options: a server that was named by one which is not known would be another one. */
static const char *options_problem(const struct resource_url *url)
{
    static const char *const known[] = {"socket", "defaults-file", "timeout"};
    for (uint32_t i = 0; i < url->option_count; i++) {
        size_t at = 0;
        size_t count = sizeof(known) / sizeof(known[0]);
        while (at < count && strcmp(url->options[i].name, known[at]) != 0) {
            at++;
        }
        if (at == count) {
            return "it has an option that is not known";
        }
    }
    const char *file = resource_url_option(url, "defaults-file");
    return file != NULL && access(file, R_OK) != 0 ? "its defaults-file cannot be read" : NULL;
}

static enum status open_resource(const char *url, struct resource **ret_resource,
                                 char ret_problem[static RESOURCE_PROBLEM_BYTES])
{
    struct mariadb *mariadb = calloc(1, sizeof(*mariadb));
    if (mariadb == NULL) {
        (void)snprintf(ret_problem, RESOURCE_PROBLEM_BYTES, "memory was refused");
        return STATUS_NOMEM;
    }
    struct resource *resource = &mariadb->resource;
    const char *problem;
    resource->ops = &resource_mariadb;
    enum status status = resource_url_parse(url, &mariadb->url, &problem);
    problem = status == STATUS_OK ? options_problem(&mariadb->url) : problem;
    if (problem != NULL) {
        (void)snprintf(ret_problem, RESOURCE_PROBLEM_BYTES,
                       "%s: mariadb://user@host:port/database[?socket=PATH&defaults-file=PATH]", problem);
        close_resource(resource);
        return STATUS_INVALID;
    }
    mariadb->work = (struct maria_session){.resource = resource, .url = &mariadb->url};
    mariadb->control = mariadb->work;
    *ret_resource = resource;
    return STATUS_OK;
}

#define OPS(word)                                                                                                      \
    {                                                                                                                  \
        .scheme = (word), .open = open_resource, .close = close_resource, .begin = begin, .run = run,                  \
        .roll_back = roll_back, .prepare = prepare, .finish = finish, .list = list,                                    \
    }

static const struct resource_ops resource_mariadb = OPS("mariadb");
static const struct resource_ops resource_mysql = OPS("mysql");

RESOURCE_MODULE_OF(&resource_mariadb, &resource_mysql);
