/* A look at an SQL statement before it is sent: whether it would end the transaction that it stands in. The servers
 * refuse most of that themselves; this says it in better words, and for all. */
#pragma once

#include "base/slice.h"

enum statement_dialect { STATEMENT_POSTGRESQL, STATEMENT_MARIADB };

/* NULL: it may be sent; else why not (static storage). */
const char *statement_problem(enum statement_dialect dialect, const char *text);
