/* MULTI, EXEC, DISCARD: commands gathered here, executed as one, in the shard of all their keys.
 *
 * EXEC goes to the machine as one command that carries the watched keys' versions and the queued commands, so that it
 * is one step of the log. Commands about the connection or the node that were queued among them are executed when the
 * machine's answer is there, and only if the versions still held; their replies are woven in at their places. */
#pragma once

#include "command/command.h"

struct connection;
struct exec_plan;
struct slot;

/* Commands that are not queued inside MULTI. */
bool multi_runs_at_once(const struct command_spec *spec);
/* `shard`: of its keys; 0: it is about the whole cluster, or has none. */
void multi_queue(struct connection *connection, const struct command *command, uint32_t shard);
/* Commands that use or forget what is watched: they wait until the versions are there. */
bool multi_needs_watches(const struct command_spec *spec);
/* Executes MULTI, EXEC, DISCARD, WATCH and UNWATCH; false when it is none of them. */
bool multi_command(struct connection *connection, const struct command *command, uint32_t shard);
/* An error while queueing: EXEC will refuse. */
void multi_spoil(struct connection *connection);
void multi_discard(struct connection *connection);

/* Turns the machine's answer in the slot's stash into EXEC's. */
void exec_plan_finish(struct connection *connection, struct slot *slot);
void exec_plan_destroy(struct exec_plan *plan); /* takes NULL */
