#include "resource/postgresql_session.h"

#include <ctype.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum { NS_PER_MS = 1000000, WORDS_MAXIMUM = 64 };

/* ---- the URL ---- */

/* Without timeout=, which is this tool's and not libpq's. NULL: memory was refused. */
static char *libpq_url(const char *text)
{
    char *made = malloc(strlen(text) + 1);
    size_t start = strcspn(text, "?");
    if (made == NULL) {
        return NULL;
    }
    memcpy(made, text, start);
    size_t size = start;
    char mark = '?';
    for (const char *at = text + start; *at != '\0';) {
        at++; /* ? or & */
        size_t option = strcspn(at, "&");
        if (option > 0 && strncmp(at, "timeout=", strlen("timeout=")) != 0) {
            made[size++] = mark;
            memcpy(&made[size], at, option);
            size += option;
            mark = '&';
        }
        at += option;
    }
    made[size] = '\0';
    return made;
}

/* Its words may repeat the whole URL, with the password. */
static void explain_url(const char *words, char problem[static RESOURCE_PROBLEM_BYTES])
{
    static const char unknown[] = "invalid URI query parameter: ";
    if (words != NULL && strncmp(words, unknown, strlen(unknown)) == 0) {
        const char *name = words + strlen(unknown);
        (void)snprintf(problem, RESOURCE_PROBLEM_BYTES, "unknown option %.*s; there are those of libpq",
                       (int)strcspn(name, "\n"), name);
        return;
    }
    (void)snprintf(problem, RESOURCE_PROBLEM_BYTES,
                   "libpq does not understand this URL: postgresql://user@host:port/database[?option=value&…], with "
                   "%%40 for an @ and %%2F for a slash in a name or a password");
}

static bool says(const struct pg_session *session, const char *name)
{
    const PQconninfoOption *at = session->options;
    while (at->keyword != NULL && strcmp(at->keyword, name) != 0) {
        at++;
    }
    return at->val != NULL && at->val[0] != '\0';
}

enum status pg_session_init(struct pg_session *session, struct resource *resource, const char *url,
                            char ret_problem[static RESOURCE_PROBLEM_BYTES])
{
    *session = (struct pg_session){.resource = resource};
    char *text = libpq_url(url);
    if (text == NULL) {
        (void)snprintf(ret_problem, RESOURCE_PROBLEM_BYTES, "memory was refused");
        return STATUS_NOMEM;
    }
    char *words = NULL;
    session->options = PQconninfoParse(text, &words);
    free(text);
    if (session->options == NULL) {
        explain_url(words, ret_problem);
        PQfreemem(words);
        return STATUS_INVALID;
    }
    if (!says(session, "dbname") && !says(session, "service")) {
        (void)snprintf(ret_problem, RESOURCE_PROBLEM_BYTES,
                       "the URL names no database: postgresql://user@host:port/database");
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

void pg_session_close(struct pg_session *session)
{
    PQclear(session->result);
    PQfinish(session->conn);
    session->result = NULL;
    session->conn = NULL;
}

void pg_session_deinit(struct pg_session *session)
{
    pg_session_close(session);
    PQconninfoFree(session->options);
    session->options = NULL;
}

/* ---- waiting for the socket ---- */

/* False: the deadline has come. */
static bool wait_for(const struct pg_session *session, short events)
{
    for (;;) {
        int64_t left_ns = session->resource->deadline_ns - resource_clock_ns();
        struct pollfd ready = {.fd = PQsocket(session->conn), .events = events};
        int count = poll(&ready, 1, left_ns <= 0 ? 0 : (int)(left_ns / NS_PER_MS) + 1);
        if (count > 0) {
            return true;
        }
        if (resource_clock_ns() >= session->resource->deadline_ns) {
            return false;
        }
    }
}

/* ---- a connection ---- */

static void ignore_notice(void *data, const PGresult *result)
{
    (void)data;
    (void)result;
}

static void put_words(const struct pg_session *session, const char *ret_keywords[static WORDS_MAXIMUM],
                      const char *ret_values[static WORDS_MAXIMUM])
{
    size_t count = 0;
    for (const PQconninfoOption *at = session->options; at->keyword != NULL && count < WORDS_MAXIMUM - 3; at++) {
        if (at->val != NULL) {
            ret_keywords[count] = at->keyword;
            ret_values[count++] = at->val;
        }
    }
    if (!says(session, "target_session_attrs")) {
        ret_keywords[count] = "target_session_attrs";
        ret_values[count++] = "read-write"; /* standbys prepare nothing */
    }
    ret_keywords[count] = "fallback_application_name";
    ret_values[count++] = "cohort";
    ret_keywords[count] = NULL;
}

/* libpq has the SQLSTATE of a refused connection in its words alone: "FATAL:  28P01: …". */
static const char *find_state(struct pg_session *session, const char *words)
{
    session->state[0] = '\0';
    for (const char *at = strstr(words, ":  "); at != NULL; at = strstr(at + 1, ":  ")) {
        const char *state = at + 3;
        size_t size = 0;
        while (size < 5 && (isupper((unsigned char)state[size]) || isdigit((unsigned char)state[size]))) {
            size++;
        }
        if (size == 5 && state[5] == ':') {
            memcpy(session->state, state, 5);
            session->state[5] = '\0';
            return state + 7;
        }
    }
    return words;
}

static enum resource_code refused_connection(struct pg_session *session)
{
    struct resource *resource = session->resource;
    const char *words = find_state(session, PQerrorMessage(session->conn));
    int size = (int)strcspn(words, "\n");
    bool denied = strncmp(session->state, "28", 2) == 0;
    bool unknown = strcmp(session->state, "3D000") == 0;
    if (denied || PQconnectionNeedsPassword(session->conn)) {
        return resource_problem(resource, RESOURCE_REFUSED,
                                "PostgreSQL: %.*s: look at user and password in the URL, at PGPASSFILE, and at the "
                                "server's pg_hba.conf",
                                size, words);
    }
    if (unknown) {
        return resource_problem(resource, RESOURCE_REFUSED, "PostgreSQL: %.*s: make the database first", size, words);
    }
    return resource_problem(resource, RESOURCE_DOWN, "PostgreSQL: %.*s%s", size, words,
                            session->state[0] == '\0' ? ": is it started, and does it listen there?" : "");
}

static enum resource_code connect_server(struct pg_session *session)
{
    const char *keywords[WORDS_MAXIMUM];
    const char *values[WORDS_MAXIMUM];
    put_words(session, keywords, values);
    session->conn = PQconnectStartParams(keywords, values, 0);
    if (session->conn == NULL) {
        return resource_problem(session->resource, RESOURCE_DOWN, "memory was refused");
    }
    (void)PQsetErrorVerbosity(session->conn, PQERRORS_VERBOSE);
    PostgresPollingStatusType polling =
        PQstatus(session->conn) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
    while (polling != PGRES_POLLING_OK && polling != PGRES_POLLING_FAILED) {
        if (!wait_for(session, polling == PGRES_POLLING_READING ? POLLIN : POLLOUT)) {
            return resource_problem(session->resource, RESOURCE_DOWN, "PostgreSQL: %s does not answer in time",
                                    PQhost(session->conn));
        }
        polling = PQconnectPoll(session->conn);
    }
    return polling == PGRES_POLLING_OK ? RESOURCE_OK : refused_connection(session);
}

enum resource_code pg_session_ready(struct pg_session *session)
{
    if (session->conn != NULL && PQstatus(session->conn) == CONNECTION_OK) {
        return RESOURCE_OK;
    }
    pg_session_close(session);
    enum resource_code code = connect_server(session);
    if (code != RESOURCE_OK) {
        pg_session_close(session);
        return code;
    }
    (void)PQsetnonblocking(session->conn, 1);
    (void)PQsetNoticeReceiver(session->conn, ignore_notice, NULL);
    return RESOURCE_OK;
}

/* ---- one statement ---- */

static enum pg_end lost(struct pg_session *session, bool late)
{
    pg_session_close(session);
    (void)resource_problem(session->resource, RESOURCE_UNKNOWN, "PostgreSQL: %s",
                           late ? "the server does not answer in time" : "the connection was lost");
    return PG_LOST;
}

static enum pg_end flush(struct pg_session *session)
{
    for (;;) {
        int left = PQflush(session->conn);
        if (left <= 0) {
            return left == 0 ? PG_DONE : lost(session, false);
        }
        if (!wait_for(session, POLLIN | POLLOUT)) {
            return lost(session, true);
        }
        if (PQconsumeInput(session->conn) == 0) {
            return lost(session, false);
        }
    }
}

static bool is_failure(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY;
}

/* Of several results, which only what is no single statement has, the first failure counts. */
static enum pg_end take_results(struct pg_session *session)
{
    for (;;) {
        while (PQisBusy(session->conn)) {
            if (!wait_for(session, POLLIN)) {
                return lost(session, true);
            }
            if (PQconsumeInput(session->conn) == 0) {
                return lost(session, false);
            }
        }
        PGresult *result = PQgetResult(session->conn);
        if (result == NULL) {
            return PG_DONE;
        }
        if (PQresultStatus(result) == PGRES_COPY_IN || PQresultStatus(result) == PGRES_COPY_OUT) {
            PQclear(result);
            return lost(session, false);
        }
        if (PQresultStatus(result) == PGRES_SINGLE_TUPLE) { /* nobody wants it */
            PQclear(result);
            if (resource_clock_ns() >= session->resource->deadline_ns) {
                return lost(session, true);
            }
            continue;
        }
        if (session->result != NULL && (is_failure(session->result) || !is_failure(result))) {
            PQclear(result);
            continue;
        }
        PQclear(session->result);
        session->result = result;
    }
}

static bool send_statement(struct pg_session *session, const char *text, const char *const *parameters, int count)
{
    session->state[0] = '\0';
    PQclear(session->result);
    session->result = NULL;
    return session->conn != NULL && PQsendQueryParams(session->conn, text, count, NULL, parameters, NULL, NULL, 0) == 1;
}

static enum pg_end take_answer(struct pg_session *session)
{
    enum pg_end end = flush(session);
    end = end == PG_DONE ? take_results(session) : end;
    if (end != PG_DONE) {
        return end;
    }
    if (session->result == NULL || !is_failure(session->result)) {
        return PQstatus(session->conn) == CONNECTION_OK ? PG_DONE : lost(session, false);
    }
    const char *state = PQresultErrorField(session->result, PG_DIAG_SQLSTATE);
    const char *words = PQresultErrorField(session->result, PG_DIAG_MESSAGE_PRIMARY);
    bool ends = state != NULL && (strncmp(state, "57P", 3) == 0 || strncmp(state, "08", 2) == 0);
    if (state == NULL || ends || PQstatus(session->conn) != CONNECTION_OK) { /* the server's end, or libpq's words */
        char told[RESOURCE_PROBLEM_BYTES / 2];
        (void)snprintf(told, sizeof(told), "%s", words == NULL ? "the connection was lost" : words);
        (void)snprintf(session->state, sizeof(session->state), "%s", state == NULL ? "" : state);
        pg_session_close(session);
        (void)resource_problem(session->resource, RESOURCE_UNKNOWN, "PostgreSQL: %s", told);
        return PG_LOST;
    }
    (void)snprintf(session->state, sizeof(session->state), "%s", state);
    (void)resource_problem(session->resource, RESOURCE_REFUSED, "PostgreSQL: %s (%s)",
                           words == NULL ? "no words" : words, state);
    return PG_FAILED;
}

enum pg_end pg_session_ask(struct pg_session *session, const char *text, const char *const *parameters, int count)
{
    return send_statement(session, text, parameters, count) ? take_answer(session) : lost(session, false);
}

enum pg_end pg_session_run(struct pg_session *session, const char *text)
{
    if (!send_statement(session, text, NULL, 0)) {
        return lost(session, false);
    }
    (void)PQsetSingleRowMode(session->conn);
    return take_answer(session);
}

const char *pg_session_field(const struct pg_session *session, int row, int column)
{
    bool is_there = session->result != NULL && row < PQntuples(session->result) &&
                    column < PQnfields(session->result) && !PQgetisnull(session->result, row, column);
    return is_there ? PQgetvalue(session->result, row, column) : "";
}
