/* Where a request goes: refused (route_refuse.h), held back (route_park.h), queued (MULTI), answered here, or to its
 * shard (route_submit.h).
 *
 * Invariants
 * 1. Whether it has to wait comes first, then whether it is refused; nothing of it has been executed then. A request
 * that was held back is looked at anew, from the beginning.
 * 2. What is counted, queued or shown to monitors is counted, queued and shown once: behind all that may hold it back,
 *    but for DEBUG SLEEP, which has nothing behind it. */
#pragma once

#include "base/slice.h"

struct connection;

/* Takes one request; its bytes are free afterwards. */
void route_request(struct connection *connection, const struct slice *argv, uint32_t argc);
/* Forgets what the client had going: MULTI, WATCH. */
void route_forget(struct connection *connection);
