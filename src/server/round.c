#include "server/round.h"

#include "base/assert.h"
#include "base/memory.h"
#include "server/crew.h"
#include "server/exec_plan.h"
#include "server/feeds.h"
#include "server/local.h"
#include "server/service_watch.h"

#include <stdlib.h>
#include <string.h>

struct round {
    struct list node; /* in server.rounds */
    uint64_t number;
    struct connection *connection; /* NULL: it is gone */
    uint32_t waiting, worker_count;
    struct buffer parts[]; /* by worker; none of this one */
};

bool round_takes_first(const struct command_spec *spec)
{
    return spec->id == COMMAND_CONFIG_SET || spec->id == COMMAND_CONFIG_REWRITE || spec->id == COMMAND_CLUSTER_INFO;
}

bool round_takes(const struct command_spec *spec)
{
    switch (spec->id) {
    case COMMAND_INFO:
    case COMMAND_COHORT_STATUS:
    case COMMAND_CLIENT_LIST:
    case COMMAND_CLIENT_KILL:
    case COMMAND_CLIENT_PAUSE:
    case COMMAND_CLIENT_UNBLOCK:
    case COMMAND_CLIENT_UNPAUSE:
    case COMMAND_CLUSTER_COUNTKEYSINSLOT:
    case COMMAND_CONFIG_RESETSTAT:
    case COMMAND_DEBUG:
    case COMMAND_MONITOR:
    case COMMAND_SLOWLOG_GET:
    case COMMAND_SLOWLOG_LEN:
    case COMMAND_SLOWLOG_RESET: return true;
    default: return round_takes_first(spec);
    }
}

/* ---- at who asks ---- */

static void ask(struct server *server, uint32_t worker, uint64_t number, const struct connection *connection,
                const struct command *command)
{
    struct buffer *record = workers_begin(server->workers, worker, WORKERS_SERVER, CREW_ASK);
    buffer_append(record, &number, sizeof(number));
    buffer_append_byte(record, connection_is_local(connection));
    buffer_append_byte(record, command->protocol);
    exec_plan_encode(record, command);
    (void)workers_end(server->workers, worker);
}

bool round_waits(struct connection *connection, const struct command *command)
{
    struct server *server = connection->server;
    bool first = round_takes_first(command->spec);
    if (connection->round != NULL || (first && server->worker == 0)) {
        return round_pending(connection);
    }
    struct round *round = memory_allocate_zeroed(1, sizeof(*round) + server->worker_count * sizeof(round->parts[0]));
    round->number = ++server->last_round;
    round->connection = connection;
    round->worker_count = server->worker_count;
    list_init(&round->node);
    list_append(&server->rounds, &round->node);
    connection->round = round;
    for (uint32_t i = 0; i < (first ? 1 : server->worker_count); i++) {
        if (i != server->worker) {
            round->waiting++;
            ask(server, i, round->number, connection, command);
        }
    }
    return true;
}

bool round_pending(const struct connection *connection)
{
    return connection->round != NULL && connection->round->waiting != 0;
}

static void round_free(struct round *round)
{
    list_remove(&round->node);
    for (uint32_t i = 0; i < round->worker_count; i++) {
        buffer_deinit(&round->parts[i]);
    }
    free(round);
}

void round_end(struct connection *connection)
{
    struct round *round = connection->round;
    if (round == NULL) {
        return;
    }
    connection->round = NULL;
    round->connection = NULL;
    if (round->waiting == 0) {
        round_free(round);
    }
}

void rounds_destroy(struct server *server)
{
    while (!list_empty(&server->rounds)) {
        round_free(CONTAINER_OF(server->rounds.next, struct round, node));
    }
}

void round_part(struct server *server, uint32_t from, struct slice body)
{
    uint64_t number = 0;
    ASSERT(body.size >= sizeof(number));
    memcpy(&number, body.data, sizeof(number));
    LIST_FOR_EACH (at, &server->rounds) {
        struct round *round = CONTAINER_OF(at, struct round, node);
        if (round->number != number) {
            continue;
        }
        ASSERT(round->waiting > 0);
        buffer_append(&round->parts[from], body.data + sizeof(number), body.size - sizeof(number));
        if (--round->waiting == 0 && round->connection == NULL) {
            round_free(round);
        } else if (round->waiting == 0) {
            connection_mark_resume(round->connection);
        }
        return;
    }
    UNREACHABLE();
}

void round_each(const struct round *round, void (*each)(void *owner, struct slice part), void *owner)
{
    for (uint32_t i = 0; round != NULL && i < round->worker_count; i++) {
        if (round->parts[i].size != 0) {
            each(owner, buffer_slice(&round->parts[i]));
        }
    }
}

/* ---- figures ---- */

void server_part_look(struct server *server, struct server_part *ret_part)
{
    ret_part->figures = server->figures;
    cluster_stats(server->cluster, &ret_part->stats);
    cluster_transport_statistics(server->cluster, &ret_part->transport);
    cluster_message_counters(server->cluster, &ret_part->messages);
    struct cluster_counters counters;
    cluster_counters(server->cluster, &counters);
    ret_part->txns_of_lost = counters.txn_early;
    ret_part->connections = server->connection_count;
    ret_part->client_bytes = server->client_bytes;
    ret_part->monitors = server->monitors;
    ret_part->feeds = feeds_count(server, &ret_part->feeds_behind);
    ret_part->service_watches = service_watches_count(server);
    ret_part->feed_lag_ms = feeds_lag_ms(server);
    ret_part->blocked = server->waiters.count;
    memset(ret_part->hot, 0, sizeof(ret_part->hot));
    ret_part->voting = 0;
    ret_part->leading = 0;
    ret_part->leaderless = 0;
    for (uint32_t shard = 1; shard <= server->shards; shard++) {
        if (cluster_owner(server->cluster, shard) == server->worker) {
            struct cluster_replica replica;
            cluster_replica(server->cluster, shard, &replica);
            ret_part->voting += replica.here;
            ret_part->leading += replica.leading;
            ret_part->leaderless += replica.leader == 0;
            const struct locks *locks = replica.leading ? cluster_locks(server->cluster, shard) : NULL;
            if (locks != NULL) {
                lock_heat_add(ret_part->hot, locks->heat);
            }
        }
    }
}

void server_part_add(struct server_part *sum, const struct server_part *one)
{
    figures_add(&sum->figures, &one->figures);
    cluster_stats_add(&sum->stats, &one->stats);
    sum->blocked += one->blocked;
    lock_heat_add(sum->hot, one->hot);
    if (sum->transport.frames_sent + sum->transport.accepted + sum->transport.dialed == 0) {
        sum->transport = one->transport; /* the first worker's; the others have none */
    }
    sum->messages.sent += one->messages.sent;
    sum->messages.received += one->messages.received;
    sum->messages.dropped += one->messages.dropped;
    sum->txns_of_lost += one->txns_of_lost;
    sum->connections += one->connections;
    sum->client_bytes += one->client_bytes;
    sum->monitors += one->monitors;
    sum->feeds += one->feeds;
    sum->feeds_behind += one->feeds_behind;
    sum->service_watches += one->service_watches;
    sum->feed_lag_ms = one->feed_lag_ms > sum->feed_lag_ms ? one->feed_lag_ms : sum->feed_lag_ms;
    sum->voting += one->voting;
    sum->leading += one->leading;
    sum->leaderless += one->leaderless;
}

static void add_part(void *owner, struct slice part)
{
    struct server_part *one = memory_allocate(sizeof(*one));
    ASSERT(part.size >= sizeof(*one));
    memcpy(one, part.data, sizeof(*one));
    server_part_add(owner, one);
    free(one);
}

void server_part_sum(struct server *server, const struct round *round, struct server_part *ret_part)
{
    server_part_look(server, ret_part);
    round_each(round, add_part, ret_part);
}

/* Behind the figures in a part: those of the worker's shards. */
struct replica_note {
    uint32_t shard;
    struct cluster_replica replica;
};

static void put_part(struct server *server, struct buffer *out)
{
    struct server_part *part = memory_allocate_zeroed(1, sizeof(*part));
    server_part_look(server, part);
    buffer_append(out, part, sizeof(*part));
    free(part);
    for (uint32_t shard = 0; shard <= server->shards; shard++) {
        if (cluster_owner(server->cluster, shard) == server->worker) {
            struct replica_note note = {.shard = shard};
            cluster_replica(server->cluster, shard, &note.replica);
            buffer_append(out, &note, sizeof(note));
        }
    }
}

void round_replica(struct server *server, const struct round *round, uint32_t shard,
                   struct cluster_replica *ret_replica)
{
    cluster_replica(server->cluster, shard, ret_replica);
    uint32_t owner = cluster_owner(server->cluster, shard);
    if (round == NULL || owner == server->worker) {
        return;
    }
    struct slice part = buffer_slice(&round->parts[owner]);
    for (size_t at = sizeof(struct server_part); at < part.size; at += sizeof(struct replica_note)) {
        struct replica_note note;
        ASSERT(part.size - at >= sizeof(note));
        memcpy(&note, part.data + at, sizeof(note));
        if (note.shard == shard) {
            *ret_replica = note.replica;
        }
    }
}

/* ---- at the others ---- */

/* Executes what is the first worker's alone, for a client of another. */
static void execute_here(struct server *server, const struct command *command, struct buffer *out)
{
    struct resp_writer reply = resp_writer_to(out, command->protocol);
    local_execute_for(server, command, &reply);
}

static void answer(struct server *server, uint32_t from, const struct local_call *call, struct buffer *out)
{
    switch (call->command->spec->id) {
    case COMMAND_INFO:
    case COMMAND_COHORT_STATUS: put_part(server, out); return;
    case COMMAND_CLIENT_LIST: local_client_list_part(call, out); return;
    case COMMAND_CLIENT_KILL: local_client_kill_part(call, out); return;
    case COMMAND_CLIENT_PAUSE: local_client_pause_part(call); return;
    case COMMAND_CLIENT_UNBLOCK: local_client_unblock_part(call, out); return;
    case COMMAND_CLIENT_UNPAUSE: local_client_unpause_part(call); return;
    case COMMAND_CLUSTER_COUNTKEYSINSLOT: local_cluster_countkeysinslot_part(call, out); return;
    case COMMAND_CONFIG_RESETSTAT: figures_reset(server); return;
    case COMMAND_DEBUG: local_debug_part(call, out); return;
    case COMMAND_MONITOR: crew_expect_monitor(server, from); return;
    case COMMAND_SLOWLOG_GET: slowlog_export(&server->slowlog, out); return;
    case COMMAND_SLOWLOG_LEN: {
        uint64_t count = server->slowlog.count;
        buffer_append(out, &count, sizeof(count));
        return;
    }
    case COMMAND_SLOWLOG_RESET: slowlog_clear(&server->slowlog); return;
    default: execute_here(server, call->command, out); return;
    }
}

void round_asked(struct server *server, uint32_t from, struct slice body)
{
    uint64_t number = 0;
    ASSERT(body.size > sizeof(number) + 2);
    memcpy(&number, body.data, sizeof(number));
    bool is_local = body.data[sizeof(number)] != 0;
    uint8_t protocol = body.data[sizeof(number) + 1];
    struct slice rest = slice_of(body.data + sizeof(number) + 2, body.size - sizeof(number) - 2);
    struct command command = exec_plan_decode(&rest, &server->arguments);
    command.protocol = protocol;
    struct local_call call = {
        .server = server, .command = &command, .argv = command.argv, .argc = command.argc, .is_local = is_local};
    struct buffer part;
    buffer_init(&part);
    if (server->phase != SERVER_STOPPED) {
        answer(server, from, &call, &part);
    }
    const struct slice parts[2] = {slice_of(&number, sizeof(number)), buffer_slice(&part)};
    workers_tell(server->workers, from, WORKERS_SERVER, CREW_PART, parts, 2);
    buffer_deinit(&part);
}
