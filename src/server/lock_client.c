#include "server/lock_client.h"

#include "machine/lock/elections.h"
#include "machine/lock/lock_arguments.h"
#include "server/lock_many.h"
#include "server/route.h"
#include "server/server_state.h"
#include "server/txn_session.h"

struct looking {
    const struct server *server;
    const struct slice *argv;
    uint32_t shard;
    bool elsewhere;
};

static void look_at_key(void *owner, uint32_t position)
{
    struct looking *looking = owner;
    uint32_t shard = slot_shard(key_slot(looking->argv[position]), looking->server->shards);
    looking->elsewhere = looking->elsewhere || shard != looking->shard;
}

/* The command that LOCK.GUARD carries must be one that can be executed where the lock is. */
static const char *guarded_problem(const struct connection *connection, const struct command *command)
{
    const struct command_spec *spec = NULL;
    const struct slice *argv = command->argv + 3;
    uint32_t argc = command->argc - 3;
    switch (command_lookup(argv, argc, &spec)) {
    case COMMAND_FOUND: break;
    case COMMAND_WRONG_ARITY: return "ERR wrong number of arguments for the command behind LOCK.GUARD";
    case COMMAND_UNKNOWN:
    case COMMAND_UNKNOWN_SUBCOMMAND: return "ERR unknown command behind LOCK.GUARD";
    }
    if (spec->id == COMMAND_EVALSHA || spec->id == COMMAND_EVALSHA_RO) {
        return "ERR LOCK.GUARD takes a script by its text: EVAL";
    }
    if (!lock_may_guard(spec)) {
        return "ERR LOCK.GUARD takes commands about keys of one shard; EVAL does several at once";
    }
    struct looking looking = {connection->server, argv, 0, false};
    looking.shard = slot_shard(key_slot(command->argv[1]), looking.server->shards);
    if (!command_keys(spec, argv, argc, look_at_key, &looking) && spec->key_count != 0) {
        return "ERR the keys of the command behind LOCK.GUARD cannot be told; look at its numkeys";
    }
    if (looking.elsewhere) {
        return "CROSSSLOT a key of the command is in another shard than the lock; give lock and keys the same hash "
               "tag, "
               "as in {order:7}:lock and {order:7}:total";
    }
    return NULL;
}

const char *lock_client_problem(const struct connection *connection, const struct command *command)
{
    if (command->spec->place == COMMAND_AT_MACHINE && txn_session_holds(connection)) {
        return "ERR locks, elections, barriers and latches do not go together with TXN.BEGIN; TXN.COMMIT or "
               "TXN.ROLLBACK first";
    }
    bool lock = slice_starts_with(slice_from_string(command->spec->name), SLICE_LITERAL("lock."));
    if (lock && command->spec->first_key == 1 && lock_name_reserved(command->argv[1])) {
        return lock_reserved_text;
    }
    if (command->spec->id == COMMAND_LOCK_MACQUIRE) {
        return lock_many_problem(command);
    }
    return command->spec->id == COMMAND_LOCK_GUARD ? guarded_problem(connection, command) : NULL;
}
