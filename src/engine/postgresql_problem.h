/* What PostgreSQL's errors mean here: SQLSTATEs (its manual, appendix A), and what a person can do next. */
#pragma once

#include "engine/engine.h"

struct pg_meaning {
    const char *state; /* SQLSTATE, or its beginning */
    enum engine_code code;
    const char *advice;
    bool closes; /* the connection is of no use any more, or what is there has to be looked at anew */
};

/* Never NULL. */
const struct pg_meaning *pg_meaning_of(const char *state);

enum engine_code pg_explain(struct engine *engine, const struct pg_meaning *meaning, const char *words);
