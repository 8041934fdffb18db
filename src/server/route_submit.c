#include "server/route_submit.h"

#include "server/consistency.h"
#include "server/figures.h"
#include "server/route_refuse.h"
#include "server/server_state.h"
#include "server/txn_plan.h"

/* ---- which shard ---- */

struct shard_search {
    const struct server *server;
    const struct slice *argv;
    uint32_t shard;
    bool crosses;
};

static uint32_t shard_of_key(const struct server *server, struct slice key)
{
    return slot_shard(key_slot(key), server->shards);
}

static void search_key(void *owner, uint32_t position)
{
    struct shard_search *search = owner;
    uint32_t shard = shard_of_key(search->server, search->argv[position]);
    search->crosses = search->crosses || (search->shard != 0 && search->shard != shard);
    search->shard = shard;
}

uint32_t route_shard(const struct server *server, const struct command *command)
{
    const struct command_spec *spec = command->spec;
    if (server->shards == 1) {
        return 1;
    }
    if ((spec->flags & COMMAND_PUBSUB) != 0) {
        return 0; /* a shard channel is no key of ours */
    }
    if (spec->first_key == 0) {
        return txn_plan_flushes(spec) ? ROUTE_SEVERAL : 0;
    }
    if (spec->first_key == spec->last_key && spec->key_count == 0) {
        return shard_of_key(server, command->argv[spec->first_key]);
    }
    struct shard_search search = {.server = server, .argv = command->argv};
    (void)command_keys(spec, command->argv, command->argc, search_key, &search);
    if (search.shard == 0 && spec->key_count != 0) {
        return 1; /* a script without keys: somewhere, and all of them in one shard */
    }
    return search.crosses ? ROUTE_SEVERAL : search.shard;
}

/* ---- the way there ---- */

static void submit(struct connection *connection, uint32_t shard, const struct command *command, enum cluster_way way,
                   const struct command_spec *shown)
{
    uint64_t strong_end = connection->strong_end;
    uint64_t number = slot_open(connection, shown);
    connection->strong_end = way == CLUSTER_WEAK ? strong_end : connection->strong_end;
    enum status status = cluster_submit(connection->server->cluster, shard, command, way, &connection->requester,
                                        slot_tag(number, shard));
    if (status != STATUS_OK) {
        slot_withdraw(connection);
        route_refuse(connection, status);
        return;
    }
    connection->owed++;
}

void route_submit(struct connection *connection, uint32_t shard, const struct command *command,
                  const struct command_spec *shown)
{
    submit(connection, shard, command, CLUSTER_PLAIN, shown);
}

void route_measure(struct connection *connection, const struct command *command)
{
    struct server *server = connection->server;
    int64_t now_ns = env_monotonic_ns(server->env);
    figures_command(server, command, now_ns - server->mark_ns, connection->peer,
                    connection->closed || connection->name == NULL ? "" : connection->name);
    server->mark_ns = now_ns;
}

bool route_read(const struct connection *connection, uint32_t shard, const struct command *command,
                struct resp_writer *reply, enum cluster_way *ret_way)
{
    struct cluster *cluster = connection->server->cluster;
    bool eventual = connection->level == CONSISTENCY_EVENTUAL;
    if ((eventual && cluster_read_here(cluster, shard, command, reply)) ||
        cluster_read(cluster, shard, command, reply, ret_way)) {
        return true;
    }
    if (eventual && *ret_way == CLUSTER_READ) {
        *ret_way = CLUSTER_WEAK; /* it is for another worker */
    }
    return false;
}

void route_to_shard(struct connection *connection, uint32_t shard, const struct command *command)
{
    bool reads = (command->spec->flags & COMMAND_READONLY) != 0;
    enum cluster_way way = CLUSTER_PLAIN;
    if (reads) {
        connection->server->figures.reads[connection->level]++;
        if (__builtin_expect(connection->level != CONSISTENCY_STRONG, 0) &&
            consistency_takes(connection, command->spec)) {
            consistency_read(connection, shard, command);
            return;
        }
    }
    if (!reads || !connection_quiet(connection)) {
        submit(connection, shard, command, way, command_called(command));
        return;
    }
    bool behind = connection_pending(connection); /* then the reply has a slot */
    struct resp_writer *reply = reply_begin(connection);
    if (reply->out == NULL) { /* nobody reads it, and reading changes nothing */
        if (behind) {
            reply_end(connection);
        }
        return;
    }
    if (!route_read(connection, shard, command, reply, &way)) {
        if (behind) {
            slot_withdraw(connection);
        }
        submit(connection, shard, command, way, command_called(command));
        return;
    }
    consistency_reach(connection, shard, cluster_told_index(connection->server->cluster));
    reply_end(connection);
    route_measure(connection, command);
}
