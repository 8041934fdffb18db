#include "engine/postgresql_problem.h"

#include <string.h>

/* The first that fits. */
static const struct pg_meaning meanings[] = {
    {"25006", ENGINE_DOWN,
     "it is a standby or read-only: name all servers in the URL, host1,host2, and the one that "
     "takes writes is found",
     true},
    {"40", ENGINE_BUSY, "transactions were in each other's way", false},
    {"55P03", ENGINE_BUSY, "a transaction keeps the lock's row: pg_blocking_pids() tells whose it is", false},
    {"57014", ENGINE_BUSY, "somebody cancelled the query", false},
    {"57P", ENGINE_DOWN, "the server ends or begins", true},
    {"08", ENGINE_DOWN, "the connection was lost", true},
    {"25P", ENGINE_DOWN, "the server ended a transaction that stood still", true},
    {"53", ENGINE_BUSY, "the server has too little of something (connections, memory, disk)", false},
    {"28", ENGINE_REFUSED, "look at user and password in the URL, at PGPASSFILE, and at the server's pg_hba.conf",
     true},
    {"3D000", ENGINE_REFUSED, "make the database first: createdb NAME", true},
    {"42501", ENGINE_REFUSED, "the user lacks a permission; docs/engines.md has what to GRANT", true},
    {"42P01", ENGINE_DOWN, "the table was removed meanwhile, and is made anew", true},
    {"3F000", ENGINE_DOWN, "the schema was removed meanwhile, and is made anew", true},
    {"42", ENGINE_REFUSED, "the table is none of Cohort's, or of another version: choose another one by ?schema=NAME",
     true},
    {"22", ENGINE_REFUSED, "somebody changed the lock's row by hand; see docs/engines.md", false},
    {"XX", ENGINE_REFUSED, "the server's log says more", true},
    {"", ENGINE_REFUSED, "the server refuses", false},
};

const struct pg_meaning *pg_meaning_of(const char *state)
{
    const struct pg_meaning *at = meanings;
    while (strncmp(state, at->state, strlen(at->state)) != 0) {
        at++;
    }
    return at;
}

enum engine_code pg_explain(struct engine *engine, const struct pg_meaning *meaning, const char *words)
{
    return engine_problem(engine, meaning->code, "%s%s: %s", meaning->code == ENGINE_REFUSED ? "ERR postgresql: " : "",
                          words, meaning->advice);
}
