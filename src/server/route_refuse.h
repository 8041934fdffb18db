/* Why a command is not executed, in words: what is wrong with it by itself, what this connection may not say now, what
 * the node cannot do now, what a shard has answered.
 *
 * Invariants
 * 1. The first word says what a client may do: CLUSTERDOWN, BUSY, OOM and MISCONF were not executed, UNCERTAIN may have
 *    been.
 * 2. An error before a command runs also spoils an open MULTI; that of an EXEC ends it. */
#pragma once

#include "base/status.h"
#include "command/command.h"

struct connection;

/* ---- by itself ---- */

void route_refuse_unknown(struct connection *connection, const struct slice *argv, uint32_t argc);
void route_refuse_subcommand(struct connection *connection, const struct command_spec *container, struct slice word);
void route_refuse_arity(struct connection *connection, const struct command_spec *spec);
/* Invariant 2; `spec` is NULL when unknown. */
void route_refuse_command(struct connection *connection, const struct command_spec *spec, const char *text);

/* ---- here and now; true: an error was answered ---- */

/* Of every command. */
bool route_refused(struct connection *connection, const struct command_spec *spec);
/* Of those about locks and their like, when they run. */
bool route_lock_refused(struct connection *connection, const struct command *command);
/* Of a connection with a transaction of TXN.BEGIN: what does not go together with it. */
bool route_transaction_refused(struct connection *connection, const struct command_spec *spec);
/* True when maxmemory forbids this command now; nothing is answered. */
bool route_out_of_memory(struct connection *connection, const struct command_spec *spec);

/* ---- by a shard ---- */

/* The error; `reads` when the command changes nothing: whatever became of it, it can be sent again. */
const char *route_refusal(enum status status, bool reads);
/* Answers that the shard did not take a command, and that it was not executed. */
void route_refuse(struct connection *connection, enum status status);
