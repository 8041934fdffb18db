/* Where a PostgreSQL is: a URL of libpq's, taken apart into its servers, so that each of them has a time of its own to
 * answer (libpq itself bounds only its blocking calls), and the schema of the table.
 *
 * Passwords stand in the options and nowhere else; no message of this room has one. */
#pragma once

#include "engine/engine.h"

#include <libpq-fe.h>

enum { PG_HOSTS = 16, PG_WORDS = 64, PG_SCHEMA_BYTES = 64 };

/* Pieces of a text with commas. */
struct pg_pieces {
    char *text; /* NULL: not said */
    const char *pieces[PG_HOSTS];
    uint32_t count;
};

struct pg_place {
    PQconninfoOption *options;
    struct pg_pieces hosts, addresses, ports;
    uint32_t count; /* of servers, at least one */
    char schema[PG_SCHEMA_BYTES];
};

/* STATUS_INVALID: `problem` has words. pg_place_deinit in any case. */
MUST_USE enum status pg_place_init(struct pg_place *place, const struct engine_url *url,
                                   char problem[static ENGINE_PROBLEM_BYTES]);
void pg_place_deinit(struct pg_place *place);

/* What PQconnectStartParams takes for one of the servers; texts are the place's. */
void pg_place_words(const struct pg_place *place, uint32_t server, const char *ret_keywords[static PG_WORDS],
                    const char *ret_values[static PG_WORDS]);
