#include "server/lock_client.h"

#include "machine/lock/elections.h"
#include "machine/lock/lock_arguments.h"
#include "server/lock_look.h"
#include "server/lock_many.h"
#include "server/lock_wait.h"
#include "server/route_refuse.h"
#include "server/route_submit.h"
#include "server/server_state.h"
#include "server/txn_session.h"
#include "server/wait_kind.h"

/* ---- refusals ---- */

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
        return "ERR locks, elections, barriers, latches and services do not go together with TXN.BEGIN; TXN.COMMIT or "
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

/* ---- to the shard ---- */

/* Granted at once, or not: the shard's reply is the client's. */
static void acquire_now(struct connection *connection, uint32_t shard, const struct command *command, uint16_t id)
{
    struct server *server = connection->server;
    struct command_arguments *arguments = &server->lock_arguments;
    uint8_t origin[LOCK_ORIGIN_BYTES];
    lock_origin_put(origin, &(struct lock_origin){server->options.node_id, server->node_file.lineage.start,
                                                  connection->id, server->worker});
    command_arguments_reserve(arguments, command->argc + 1);
    arguments->items[0] = command->argv[0];
    arguments->items[1] = slice_of(origin, sizeof(origin));
    memcpy(arguments->items + 2, command->argv + 1, (command->argc - 1) * sizeof(*command->argv));
    const struct command inner = {command_by_id(id), arguments->items, command->argc + 1, command->protocol};
    route_submit(connection, shard, &inner, command->spec);
}

void lock_client_ask(struct connection *connection, uint32_t shard, const struct command *command,
                     const struct wait_kind *kind)
{
    static const struct command_spec takes_memory = {.flags = COMMAND_DENYOOM};
    int64_t ms = kind->wait_ms(command);
    if (kind->leased) {
        lock_client_note(connection);
    }
    if (kind->command == COMMAND_ELECT_CAMPAIGN && route_out_of_memory(connection, &takes_memory)) {
        acquire_now(connection, shard, command, COMMAND_COHORT_ELECT_RENEW); /* leading on takes none */
    } else if (ms == 0) {
        acquire_now(connection, shard, command, kind->inner);
    } else {
        lock_wait_begin(connection, shard, command, kind, ms);
    }
}

/* ---- news ---- */

static struct slice id_of(const struct lock_client_item *item) { return slice_of(&item->id, sizeof(item->id)); }

void lock_client_note(struct connection *connection)
{
    struct table *clients = &connection->server->lock_clients;
    struct lock_client_item *item = &connection->lock_client;
    if (item->key_size == 0 && connection->protocol == RESP3) {
        *item = (struct lock_client_item){sizeof(item->id), connection->id};
        table_insert(clients, table_hash(clients, id_of(item)), item);
    }
}

void lock_client_forget(struct connection *connection)
{
    struct table *clients = &connection->server->lock_clients;
    struct lock_client_item *item = &connection->lock_client;
    if (item->key_size != 0) {
        table_remove(clients, table_hash(clients, id_of(item)), item);
        item->key_size = 0;
    }
}

static void push_lost(struct server *server, const struct lock_notice *notice)
{
    struct slice key = slice_of(&notice->to.client, sizeof(notice->to.client));
    struct lock_client_item *item = table_find(&server->lock_clients, table_hash(&server->lock_clients, key), key);
    struct connection *connection = item == NULL ? NULL : CONTAINER_OF(item, struct connection, lock_client);
    if (connection == NULL || connection->protocol != RESP3 || connection->reply_mode == REPLY_OFF) {
        return;
    }
    struct resp_writer writer = resp_writer_to(connection_output(connection), RESP3);
    resp_push(&writer, 4);
    struct slice name = notice->key;
    resp_bulk_string(&writer, election_of(notice->key, &name) ? "office-lost" : "lock-lost");
    resp_bulk(&writer, name);
    resp_bulk(&writer, notice->owner);
    resp_integer(&writer, (int64_t)notice->token);
    connection_mark_dirty(connection);
    env_wake(server->env);
}

void lock_client_news(struct server *server, const struct lock_notice *notice)
{
    if (notice->kind == LOCK_NOTICE_LOST) {
        push_lost(server, notice);
    } else {
        waiter_news(server, notice);
    }
}

/* ---- all of them ---- */

void lock_clients_look_after(struct server *server)
{
    lock_look_after(server, waiters_look_after(server, LOCK_LOOK_AGE_MS));
}

void lock_clients_init(struct server *server)
{
    waiters_init(server);
    table_init(&server->lock_clients, 0, offsetof(struct lock_client_item, id));
    command_arguments_init(&server->lock_arguments);
}

static void leave_in_peace(void *owner, void *item)
{
    (void)owner;
    (void)item;
}

void lock_clients_destroy(struct server *server)
{
    waiters_destroy(server);
    while (table_release(&server->lock_clients, 1024, leave_in_peace, NULL)) {
    }
    lock_look_destroy(server->lock_look);
    command_arguments_deinit(&server->lock_arguments);
}
