/* MULTI, EXEC, DISCARD: commands gathered here, executed as one, in the shard of all their keys or in several
 * (txn_client.h).
 *
 * In one shard EXEC goes to the machine as one command that carries the watched keys' versions and the queued commands,
 * so that it is one step of the log. exec_plan.h has what is about the connection or the node. */
#pragma once

#include "command/command.h"

struct connection;

/* Commands that are not queued inside MULTI. */
bool multi_runs_at_once(const struct command_spec *spec);
/* `shard`: of its keys, or ROUTE_SEVERAL; 0: it is about the whole cluster, or has none. */
void multi_queue(struct connection *connection, const struct command *command, uint32_t shard);
/* What EXEC would execute, and what is watched, is in several shards. */
bool multi_crosses(const struct connection *connection);
/* Commands that use or forget what is watched: they wait until the versions are there. */
bool multi_needs_watches(const struct command_spec *spec);
/* Executes MULTI, EXEC, DISCARD, WATCH and UNWATCH; false when it is none of them. */
bool multi_command(struct connection *connection, const struct command *command, uint32_t shard);
/* An error while queueing: EXEC will refuse. */
void multi_spoil(struct connection *connection);
void multi_discard(struct connection *connection);
