/* A request that is held back: parked with a copy of its bytes, and routed again from the beginning when what it waits
 * for is there.
 *
 * Invariants
 * 1. A connection has one parked request at most, and takes no others meanwhile (connection.h, 4).
 * 2. It waits until a moment, or until nothing of its client's is pending that it waits for: never for both. */
#pragma once

#include "command/command.h"

struct connection;

/* Keeps a copy of the request, as it was sent; `argv` may point into bytes that are about to go. */
void route_park(struct connection *connection, const struct slice *argv, uint32_t argc);
static inline void route_park_command(struct connection *connection, const struct command *command)
{
    route_park(connection, command->argv, command->argc);
}
/* True when CLIENT PAUSE holds it back: then it is parked. */
bool route_paused(struct connection *connection, const struct command *command);
/* True when a DEBUG SLEEP goes to sleep: then it is parked. */
bool route_sleeps(struct connection *connection, const struct command *command);
/* Tries the parked request again. False when it has to wait on. */
bool route_unpark(struct connection *connection);
/* Answers this to the parked request instead of trying it again. */
void route_refuse_parked(struct connection *connection, const char *text);
