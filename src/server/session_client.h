/* Sessions, as clients of this node ask for them.
 *
 * SESSION.OPEN goes to a shard that somebody leads, one after the other; SESSION.CLOSE to the shard that the id names.
 * Heartbeats are gathered: those of a shard's sessions leave in one command (COHORT.SESSION.BEAT), and of a worker at
 * most one goes to a shard in SESSION_GATHER_MS, unless SESSION_BEATS are together before. What a client is told is
 * what was applied.
 *
 * A command in the name of a session (LOCK.ACQUIRE, LOCK.MACQUIRE, SERVICE.REGISTER, SET … SESSION) is parked until
 * this is known: that the session lives, for how long at least, and that the shard of its key is tied to it
 * (machine/session/ties.h):
 *
 *   the tie is known ──────────────────────▶ LOOK ───lives───────────▶ ready
 *   else TIE ──0: it lives──────────────────▶ LOOK ───0───▶ NOSESSION   (-1, due: JOIN, which says either)
 *         ├──-1────────────────────────────▶ NOSESSION
 *         └──ordinal──▶ JOIN ──lives──▶ TIE with the ordinal ──1──▶ ready
 *                        └──0──▶ NOSESSION        └──0──▶ TIE, again
 *
 * Then it goes on with the time behind the session's name. Nothing of the command was executed before: so each failure
 * on the way is a definite one. */
#pragma once

#include "command/command.h"

struct connection;
struct server;
struct session_tying;
struct session_clients;

enum {
    SESSION_GATHER_MS = 100,
    SESSION_KNOWN_TIES = 16384, /* remembered by a worker; a power of two */
    SESSION_TIE_TRIES = 3,
};

/* SESSION.OPEN, KEEPALIVE, CLOSE. False: another command. */
bool session_client_command(struct connection *connection, const struct command *command);
/* Where the name of a session stands in the command; 0: it is in the name of none. */
uint32_t session_named_at(const struct command *command);
static inline uint32_t session_named(const struct command *command)
{
    uint16_t id = command->spec->id;
    return id == COMMAND_SET || id == COMMAND_LOCK_ACQUIRE || id == COMMAND_LOCK_MACQUIRE ||
                   id == COMMAND_SERVICE_REGISTER
               ? session_named_at(command)
               : 0;
}

/* The session of this command is looked after, in all shards of its keys: park it. False: that is over, or there is no
 * such session; take it. */
bool session_client_waits(struct connection *connection, uint32_t shard, const struct command *command, uint32_t at);
/* NULL, and what to execute the command with in the place of the session's name; or why it is refused. Both hold until
 * the next one. */
const char *session_client_take(struct connection *connection, struct slice *ret_name);
/* A parked command waits for that. */
bool session_tying_pending(const struct connection *connection);
/* The connection closes, or the command is refused for another reason. */
void session_client_forget(struct connection *connection);

/* Once it is known how many shards there are. */
void session_clients_init(struct server *server);
void session_clients_destroy(struct server *server);
bool session_clients_idle(const struct server *server);
