/* Locks, and whatever else is waited for (wait_kind.h), as clients of this node ask for them: refusals in words;
 * requests that go to their shard with where the answer goes, and wait there (lock_wait.h) or do not; pushes to those
 * who lose a lock. */
#pragma once

#include "command/command.h"
#include "machine/lock/lock_notice.h"

struct connection;
struct server;
struct wait_kind;

/* Looks at a command about locks before it goes anywhere. NULL, or why it is refused. */
const char *lock_client_problem(const struct connection *connection, const struct command *command);
/* Sends LOCK.ACQUIRE, or another command that may wait, to its shard. */
void lock_client_ask(struct connection *connection, uint32_t shard, const struct command *command,
                     const struct wait_kind *kind);
/* The client hears of locks that it loses, if it speaks RESP3. */
void lock_client_note(struct connection *connection);
/* The connection closes: no news any more. */
void lock_client_forget(struct connection *connection);
/* What a shard tells (lock_notice.h). */
void lock_client_news(struct server *server, const struct lock_notice *notice);

/* Ten times a second. */
void lock_clients_look_after(struct server *server);
void lock_clients_init(struct server *server);
void lock_clients_destroy(struct server *server);
