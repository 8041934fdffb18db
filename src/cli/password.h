/* The password that nodes with --requirepass ask for: from the environment, COHORT_PASSWORD, since other users of a
 * machine can see command lines. */
#pragma once

#include "client/connection.h"

/* NULL: none. */
const char *password_given(void);

/* NULL: these words of an error are not about it. Else what to do. */
const char *password_problem(struct slice words);

/* Says it, if there is one, on a connection that is new; the reply may be an error. */
MUST_USE enum status password_say(struct client_connection *connection, int64_t deadline_ns, struct slice *ret_reply);
