/* Where a request goes: refused, queued (MULTI), answered here, read from the state, or through the log. */
#pragma once

#include "base/status.h"
#include "cluster/cluster.h"
#include "command/command.h"

struct connection;
struct server;
struct resp_writer;

/* Instead of a shard: the keys are in several. */
#define ROUTE_SEVERAL UINT32_MAX

/* Takes one request; its bytes are free afterwards. */
void route_request(struct connection *connection, const struct slice *argv, uint32_t argc);
/* Tries the parked request again. False when it has to wait on. */
bool route_unpark(struct connection *connection);
/* Forgets what the client had going: MULTI, WATCH. */
void route_forget(struct connection *connection);
/* Answers a read from this node's state when that is what the client asked for. Nothing of the client's is pending.
 * False, and nothing written: submit it (`*ret_way` says how). */
bool route_read(const struct connection *connection, uint32_t shard, const struct command *command,
                struct resp_writer *reply, enum cluster_way *ret_way);
/* Sends a command to its shard; `shown` is what the client asked for. */
void route_submit(struct connection *connection, uint32_t shard, const struct command *command,
                  const struct command_spec *shown);
/* Answers this to the parked request instead of trying it again. */
void route_refuse_parked(struct connection *connection, const char *text);
/* Answers that the shard did not take a command, and that it was not executed. */
void route_refuse(struct connection *connection, enum status status);
/* The error for that; `reads` when the command changes nothing: whatever became of it, it can be sent again. */
const char *route_refusal(enum status status, bool reads);
/* True for commands that change nothing. */
static inline bool route_reads(const struct command_spec *spec)
{
    return (spec->flags & COMMAND_READONLY) != 0 || spec->id == COMMAND_WATCH;
}
/* Figures for a command that was executed just now, from the last mark to now. */
void route_measure(struct connection *connection, const struct command *command);
/* True when maxmemory forbids this command now; the -OOM reply is then given. */
bool route_out_of_memory(struct connection *connection, const struct command_spec *spec);

/* Answers a command of place COMMAND_AT_SERVER other than those of MULTI; `reply` is where. */
void local_execute(struct connection *connection, const struct command *command, struct resp_writer *reply);
/* The protocol that a HELLO will set, when it is one that will succeed; else *protocol stays. */
void local_hello_protocol(struct connection *connection, const struct command *command, uint8_t *protocol);
/* How long DEBUG SLEEP asks to sleep; 0 for all else, negative when malformed. */
int64_t local_sleep_ns(const struct command *command);
/* True when the command looks at, or waits for, what earlier commands of its client do: it is held back while any is
 * pending. */
bool local_needs_quiet(const struct command_spec *spec);
