/* Transactions over several shards that clients of this node ask for: a driver for each (txn_driver.h), the plan of
 * what they ask, and their replies.
 *
 * A transaction begins when nothing of its connection is pending, and what the connection sends later waits until it
 * has ended. A client that goes away changes nothing: its transaction goes on, as a command would that a shard has. */
#pragma once

#include "command/command.h"
#include "server/txn_plan.h"

struct connection;
struct exec_plan;
struct server;

/* Starts the transaction of the plan (sealed here, taken over), which is one command (its reply is the client's), … */
void txn_client_command(struct connection *connection, const struct command *command, struct txn_plan *plan);
/* … or an EXEC: their replies in an array; nil when a watched key was changed. `exec_plan` (may be NULL) is taken over.
 */
void txn_client_exec(struct connection *connection, struct txn_plan *plan, struct exec_plan *exec_plan);

/* The client is gone, or was told something else. */
void txn_client_leave(struct connection *connection);
/* Ten times a second: what began before this time is ended, with the answer that is true then. */
void txn_clients_look_after(struct server *server, int64_t before_ns);
/* No transaction is under way. */
bool txn_clients_idle(const struct server *server);
/* The cluster is gone: frees all. */
void txn_clients_destroy(struct server *server);
