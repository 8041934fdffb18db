/* SERVICE.WATCH: every change of a service, pushed in order to whoever asked (docs/services.md has the user's view,
 * machine/service/services.h what it is served from).
 *
 *   SERVICE.WATCH ─▶ OK ─▶ its shard is asked, strongly ─▶ the list, or FROM where it goes on ─▶ changes ─▶ …
 *
 * Each watch has a revision: all up to it is told. Watches of one service at one worker are a group, which reads on
 * from the smallest of their revisions; the groups of a shard are read together, and only when that has moved:
 *
 *   here:       in the turn in which something was applied
 *   elsewhere:  by asking, every SERVICE_POLL_MS to SERVICE_POLL_IDLE_MS
 *
 * Invariants
 * 1. What is pushed was committed. Pushes of a watch have growing revisions, and none is left out: what a watch is told
 *    begins where the last one ended, or is the whole list.
 * 2. A watch whose client has more than `feed-output-bytes` unread waits with its revision; when the changes behind
 * that are forgotten meanwhile it is told the list. Nothing is kept for its sake.
 * 3. A watch without changes is told that it is alive every SERVICE_ALIVE_MS, while the leader of its shard is heard:
 * so whoever hears nothing for longer should ask another node. */
#pragma once

#include "command/command.h"
#include "server/connection.h"

struct server;
struct service_watches;

enum {
    SERVICE_WATCHES_PER_CLIENT = 1024,
    SERVICE_READ_BYTES = 256 << 10, /* of one answer, about */
    SERVICE_READ_GROUPS = 256,      /* that are read at once */
    SERVICE_POLL_MS = 5,
    SERVICE_POLL_IDLE_MS = 80,
    SERVICE_ALIVE_MS = 5000,
};

/* True for SERVICE.WATCH and SERVICE.UNWATCH. */
static inline bool service_watch_takes(const struct command_spec *spec)
{
    return spec->id == COMMAND_SERVICE_WATCH || spec->id == COMMAND_SERVICE_UNWATCH;
}
/* Nothing of the connection is pending. */
void service_watch_command(struct connection *connection, const struct command *command);
static inline bool service_watches_of(const struct connection *connection)
{
    return connection->service_watch_count != 0;
}
/* Over RESP2, what comes between pushes could not be told from them: most commands are refused. */
bool service_watch_refuses(const struct connection *connection, const struct command_spec *spec);
/* All its watches end. */
void service_watches_leave(struct connection *connection);

/* Once per turn, behind the cluster's. True when there is more to do. */
bool service_watches_turn(struct server *server);
/* Ten times a second. */
void service_watches_tick(struct server *server);
/* Answers may still come: after the cluster has gone. */
void service_watches_destroy(struct server *server);
size_t service_watches_count(const struct server *server);
