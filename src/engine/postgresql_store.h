/* Rows of postgresql://, locked, read and written: what stored.h wants of it. */
#pragma once

#include "engine/postgresql_link.h"
#include "engine/postgresql_row.h"
#include "engine/postgresql_sql.h"
#include "engine/stored.h"

/* What whoever waits may have been waiting for. */
struct before {
    uint64_t token;
    uint32_t holders, waiters;
};

struct postgresql {
    struct stored stored;
    struct pg_place place;
    struct pg_sqls sqls;
    struct pg_link link;
    uint64_t looked_by; /* the connection that found the table, or made it */
    bool in_transaction;
    bool must_commit; /* the transaction has written, whatever comes of the request */
    struct pg_row row;
    struct before before;
    char server[PG_ROW_SERVER_BYTES]; /* of this transaction: identity and timeline */
    struct buffer holders, waiters, past;
};

extern const struct stored_ops pg_store;

/* Without a lock: what was committed last. The result of `query` is the link's third. */
enum engine_code pg_store_look(struct postgresql *postgresql, const struct pg_query *query);

/* ENGINE_NOT: there is no such row. */
enum engine_code pg_store_look_at_row(struct postgresql *postgresql, struct slice key, struct lock_state *ret_state);

struct pg_query pg_store_query(const struct postgresql *postgresql, enum pg_sql sql);

/* Of whoever waits for a lock. */
void pg_store_channel(struct slice key, char ret_channel[static PG_CHANNEL_BYTES]);
