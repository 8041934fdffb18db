/* MULTI, EXEC, DISCARD, WATCH: commands gathered here, executed as one.
 *
 * EXEC goes to the machine as one command that carries the watched keys' versions and the queued commands, so that it
 * is one step of the log. Commands about the connection or the node that were queued among them are executed when the
 * machine's answer is there, and only if the versions still held; their replies are woven in at their places. */
#pragma once

#include "command/command.h"

enum { MULTI_MAXIMUM_WATCHES = 65536 };

struct connection;
struct exec_plan;
struct slot;

/* Commands that are not queued inside MULTI. */
bool multi_runs_at_once(const struct command_spec *spec);
void multi_queue(struct connection *connection, const struct command *command);
/* Executes MULTI, EXEC, DISCARD, WATCH and UNWATCH; false when it is none of them. */
bool multi_command(struct connection *connection, const struct command *command);
/* An error while queueing: EXEC will refuse. */
void multi_spoil(struct connection *connection);
void multi_discard(struct connection *connection);
void multi_unwatch(struct connection *connection);

/* Turns the machine's answer in the slot's stash into EXEC's. */
void exec_plan_finish(struct connection *connection, struct slot *slot);
void exec_plan_destroy(struct exec_plan *plan); /* takes NULL */
