/* The host of an engine: the thread that executes commands.
 *
 *      libcohort's link ══socket pair══▶ host: connection ──whole command──▶ engine ──▶ reply
 *                                                 └──has to wait──▶ waiting ──asked again, or over──▶ reply
 *
 * Invariants
 * 1. A connection's commands are executed in their order; one that waits holds up those behind it, and nobody else.
 * 2. A request that waits ends by its WAIT, with nil; when its connection closes, its place in the queue is given up.
 * What was granted and could not be told is released.
 * 3. Memory is bounded by what libcohort may have under way (struct cohort_options). When memory is refused, the
 * connection is closed. */
#pragma once

#include "engine/engine.h"

struct host;

/* Takes the engine over, also on failure. STATUS_NOMEM, STATUS_FULL (no descriptors), STATUS_IO (no thread). */
MUST_USE enum status host_start(struct engine *engine, int64_t timeout_ms, struct host **ret_host);

/* A descriptor that is connected to it, non-blocking and closed on exec. From any thread. */
MUST_USE enum status host_connect(struct host *host, int *ret_fd);

/* Stops the thread; closes connections and engine. Waits for the command that is being executed. */
void host_stop(struct host *host);
