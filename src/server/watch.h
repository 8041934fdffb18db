/* WATCH: keys whose versions the next EXEC carries.
 *
 * Invariants
 * 1. A version is read by the leader of the keys' shard, at the WATCH's place among the client's requests.
 * 2. Nothing is forgotten while a version is on its way: EXEC, refused or not, and its like wait for it.
 * 3. After a WATCH that was refused the next EXEC is refused too: it never runs without what it was to depend on. */
#pragma once

#include "command/command.h"

enum { WATCH_MAXIMUM_KEYS = 65536 };

struct connection;
struct slot;
struct watch_look;

void watch_execute(struct connection *connection, const struct command *command, uint32_t shard);
/* No version is on its way (asserted). */
void watch_forget(struct connection *connection);
/* The WATCH was refused elsewhere. */
void watch_failed(struct connection *connection);
/* True while a version is on its way. */
bool watch_pending(const struct connection *connection);

/* ---- for reply.c ---- */

/* Turns the shard's answer in the slot's stash into WATCH's. */
void watch_finish(struct connection *connection, struct slot *slot);
/* Nobody waits for the answer any more. */
void watch_look_destroy(struct connection *connection, struct watch_look *look);
