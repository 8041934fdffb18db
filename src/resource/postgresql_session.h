/* One connection to PostgreSQL whose every call ends by the resource's deadline, whatever server and network do:
 * libpq's asynchronous calls, and poll(2). (Only the look-up of a host's name is not bounded: give an address, or
 * hostaddr=.)
 *
 * Statements go out one at a time by the extended protocol, of which the server takes no two in one text. */
#pragma once

#include "resource/resource.h"

#include <libpq-fe.h>

enum pg_end {
    PG_DONE,
    PG_FAILED, /* the server refused it: `state` and the words of `resource` say how */
    PG_LOST,   /* no answer: it may have been executed; the session is closed */
};

struct pg_session {
    struct resource *resource; /* deadline and problem */
    PQconninfoOption *options;
    PGconn *conn;     /* NULL: none */
    PGresult *result; /* of the last statement */
    char state[6];    /* SQLSTATE of what failed last, or "" */
};

/* STATUS_INVALID, STATUS_NOMEM with words. */
MUST_USE enum status pg_session_init(struct pg_session *session, struct resource *resource, const char *url,
                                     char ret_problem[static RESOURCE_PROBLEM_BYTES]);
void pg_session_deinit(struct pg_session *session);

/* Connects, unless it is. OK, DOWN or REFUSED. */
enum resource_code pg_session_ready(struct pg_session *session);
void pg_session_close(struct pg_session *session);

/* One statement, with as many text parameters as are not NULL. Text results. */
enum pg_end pg_session_ask(struct pg_session *session, const char *text, const char *const *parameters, int count);

/* The same for somebody's statement: rows are not kept, however many there are. */
enum pg_end pg_session_run(struct pg_session *session, const char *text);

/* A field of the last result; "" for NULL and what is not there. */
const char *pg_session_field(const struct pg_session *session, int row, int column);
