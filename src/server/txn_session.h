/* TXN.*: a transaction whose client says one command after the other and hears each reply before it says the next.
 *
 *   BEGIN ─▶ ACTIVE ⇄ READ        the id is taken at home; commands run here over what they read (txn_values.h)
 *            ACTIVE ⇄ JOIN        home notes an external participant
 *              ├─▶ TIE ─▶ PREPARE …           it takes keys of sessions to other shards (txn_ties.h)
 *              ├─▶ PREPARE ─▶ PREPARED        OPEN with the participants and all PREPAREs at once
 *              │      └─▶ ABORT               a vote was no
 *              ├─▶ (PREPARE ─▶) DECIDE ─▶ end COMMIT; of 2PC that was not prepared before, home votes last
 *              └─▶ ABORT ─▶ end               ROLLBACK
 *
 * A transaction that is prepared can be finished by its id from any connection (TXN.COMMIT id, TXN.ROLLBACK id): home
 * tells its participants, they their votes. That is an errand: LOOK ─▶ ASK ─▶ DECIDE or ABORT (and LOOK again, when it
 * was opened meanwhile). Not one of a command or a MULTI: whoever runs it counts on being the only one that says
 * COMMIT.
 *
 * Invariants
 * 1. What is read is as it was when it was read first; PREPARE checks every version. So a transaction that is committed
 *    saw one moment, that of its commit.
 * 2. OK is said to TXN.COMMIT only after home said COMMIT; -TXNABORT only after home said ABORT, or when nobody can
 * have decided otherwise.
 * 3. What a client sends behind TXN.BEGIN is executed in the transaction, with all before it, or not at all: when that
 * was refused, a shard refused a read, or a step took longer than it may, it is refused too, until the client has heard
 * of it (TXN.COMMIT, TXN.ROLLBACK, TXN.BEGIN, RESET).
 * 4. A client that goes away before TXN.PREPARE has its transaction rolled back; one that is prepared stays so until
 *    somebody finishes it, or its time is over at home. */
#pragma once

#include "command/command.h"

struct connection;
struct server;
struct txn_session;

enum {
    SESSION_TIMEOUT_MS = 60000, /* of a transaction that says nothing else */
};

/* The home shard of this id; 0: it is none. */
uint32_t txn_session_home(const struct server *server, struct slice id);
/* True for TXN.*. */
bool txn_session_takes(const struct command_spec *spec);
/* Executes one of them; nothing of the connection is pending. */
void txn_session_command(struct connection *connection, const struct command *command);
/* The connection has a transaction open, or one that failed: its commands are not to be executed by themselves. */
bool txn_session_holds(const struct connection *connection);
/* A command of such a connection: true when it was taken. Nothing of the connection is pending. */
bool txn_session_run(struct connection *connection, const struct command *command);

/* What it has read and written. */
size_t txn_session_bytes(const struct txn_session *session);

/* A reply is on its way that txn_sessions_look_after looks after. */
bool txn_session_waits(const struct connection *connection);
/* The client is gone, or was told something else. */
void txn_session_leave(struct connection *connection);
/* The node stops: of a transaction that runs, what is yet sent is refused. */
void txn_session_lose(struct connection *connection);
/* Ten times a second: what shards have not answered since before this time is answered as is true then. */
void txn_sessions_look_after(struct server *server, int64_t before_ns);
void txn_sessions_destroy(struct server *server);
