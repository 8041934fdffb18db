/* Locks, as clients of this node ask for them. */
#pragma once

#include "command/command.h"

struct connection;

/* Looks at a command about locks before it goes anywhere. NULL, or why it is refused. */
const char *lock_client_problem(const struct connection *connection, const struct command *command);
