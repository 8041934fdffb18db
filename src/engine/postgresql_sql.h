/* The SQL of postgresql://. In the texts @ is the schema, in quotes. */
#pragma once

#include <stdbool.h>

enum pg_sql {
    PG_EXISTS,     /* → schema, table: 0 or 1; whether the table is a permanent one */
    PG_MAKE_ALONE, /* nobody else makes anything meanwhile */
    PG_MAKE_SCHEMA,
    PG_MAKE_TABLE,
    PG_MAKE_HOLDERS, /* a view for people */
    PG_MAKE_WAITERS,
    PG_SETTINGS,      /* for the transaction; $1…: ms for a lock, of standing still, for a statement. → timeline */
    PG_SETTINGS_LOOK, /* $1: statement's time */
    PG_LOCK,          /* $1: name */
    PG_SELECT,        /* $1: name */
    PG_INSERT,        /* $1: name, $2: server */
    PG_UPDATE,        /* $1: name, $2…: token, fence, limit, changed, server, holders, waiters, past */
    PG_NOTIFY,        /* $1: channel */
    PG_LIST,          /* → names */
    PG_SQLS,
};

struct pg_sqls {
    char *texts[PG_SQLS];
};

/* False: memory was refused. pg_sqls_deinit in any case. */
bool pg_sqls_init(struct pg_sqls *sqls, const char *schema);
void pg_sqls_deinit(struct pg_sqls *sqls);
