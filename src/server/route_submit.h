/* Which shard a command is for, and the way there: read from the state here, or through the shard's log.
 *
 * Invariants
 * 1. A read is answered from the state only when nothing of its client's is pending that it must see
 * (connection_quiet): so each client reads what it wrote.
 * 2. `connection.owed` counts what shards are to answer; a request that was not taken is refused at once, and owes
 *    nothing. */
#pragma once

#include "base/status.h"
#include "cluster/cluster.h"
#include "command/command.h"

struct connection;
struct resp_writer;
struct server;

/* Instead of a shard: the keys are in several. */
#define ROUTE_SEVERAL UINT32_MAX

/* The shard of a command's keys, or ROUTE_SEVERAL (FLUSHALL, too); 0 when it has none. A cluster of one shard has it
 * for everything. */
uint32_t route_shard(const struct server *server, const struct command *command);
/* True for commands that change nothing. */
static inline bool route_reads(const struct command_spec *spec)
{
    return (spec->flags & COMMAND_READONLY) != 0 || spec->id == COMMAND_WATCH;
}
/* Answers a read from this node's state when that is what the client asked for. Nothing of the client's is pending.
 * False, and nothing written: submit it (`*ret_way` says how). */
bool route_read(const struct connection *connection, uint32_t shard, const struct command *command,
                struct resp_writer *reply, enum cluster_way *ret_way);
/* Sends a command to its shard; `shown` is what the client asked for. */
void route_submit(struct connection *connection, uint32_t shard, const struct command *command,
                  const struct command_spec *shown);
/* Reads or submits a client's command. */
void route_to_shard(struct connection *connection, uint32_t shard, const struct command *command);
/* Figures for a command that was executed just now, from the last mark to now. */
void route_measure(struct connection *connection, const struct command *command);
