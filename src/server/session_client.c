#include "server/session_client.h"

#include "base/memory.h"
#include "base/number.h"
#include "machine/session/session_id.h"
#include "machine/session/session_limits.h"
#include "machine/session/session_words.h"
#include "server/route_submit.h"
#include "server/server_state.h"
#include "server/session_state.h"

#include <stdlib.h>

static const char id_text[] = "ERR the id of a session is what SESSION.OPEN gave";
static const char ttl_text[] = "ERR PX is the time to live of the session in ms, from 100 to 86400000 (a day)";

void session_clients_init(struct server *server)
{
    server->session_clients = memory_allocate_zeroed(1, sizeof(*server->session_clients));
    struct session_clients *clients = server->session_clients;
    clients->beats = memory_allocate_zeroed(server->shards, sizeof(*clients->beats));
    clients->next_shard = (uint32_t)(server->options.node_id + server->worker) % server->shards;
    list_init(&clients->tyings);
    session_beats_init(server);
}

void session_clients_destroy(struct server *server)
{
    struct session_clients *clients = server->session_clients;
    if (clients == NULL) {
        return;
    }
    session_beats_destroy(server);
    session_tyings_destroy(server);
    free(clients->beats);
    free(clients->known);
    free(clients);
    server->session_clients = NULL;
}

bool session_of(const struct server *server, struct slice text, struct session_id *ret_id)
{
    return session_id_parse(text, ret_id) && ret_id->shard <= server->shards;
}

/* The next one that has a leader; any, when none has. */
static uint32_t choose_shard(struct server *server)
{
    struct session_clients *clients = server->session_clients;
    for (uint32_t i = 0; i < server->shards; i++) {
        clients->next_shard = (clients->next_shard + 1) % server->shards;
        if (cluster_leader(server->cluster, clients->next_shard + 1) != 0) {
            break;
        }
    }
    return clients->next_shard + 1;
}

static void open(struct connection *connection, const struct command *command)
{
    int64_t ttl_ms;
    if (!slice_is_word(command->argv[1], "PX")) {
        reply_with_error(connection, "ERR syntax error");
        return;
    }
    if (!number_parse_int64(command->argv[2], &ttl_ms) || ttl_ms < SESSION_TTL_MINIMUM_MS || ttl_ms > SESSION_TTL_MS) {
        reply_with_error(connection, ttl_text);
        return;
    }
    uint32_t shard = choose_shard(connection->server);
    char digits[NUMBER_INT64_BYTES];
    const struct slice argv[] = {SLICE_LITERAL("COHORT.SESSION.OPEN"),
                                 slice_of(digits, number_format_uint64(digits, shard)), command->argv[2]};
    const struct command inner = {command_by_id(COMMAND_COHORT_SESSION_OPEN), argv, 3, command->protocol};
    route_submit(connection, shard, &inner, command->spec);
}

static void close(struct connection *connection, const struct command *command, struct session_id id)
{
    char digits[NUMBER_INT64_BYTES];
    const struct slice argv[] = {SLICE_LITERAL("COHORT.SESSION.CLOSE"),
                                 slice_of(digits, number_format_uint64(digits, id.number))};
    const struct command inner = {command_by_id(COMMAND_COHORT_SESSION_CLOSE), argv, 2, command->protocol};
    route_submit(connection, id.shard, &inner, command->spec);
}

bool session_client_command(struct connection *connection, const struct command *command)
{
    struct session_id id;
    switch (command->spec->id) {
    case COMMAND_SESSION_OPEN: open(connection, command); return true;
    case COMMAND_SESSION_KEEPALIVE:
    case COMMAND_SESSION_CLOSE: break;
    default: return false;
    }
    if (!session_of(connection->server, command->argv[1], &id)) {
        reply_with_error(connection, id_text);
    } else if (command->spec->id == COMMAND_SESSION_KEEPALIVE) {
        session_beat_add(connection, command->spec, id);
    } else {
        close(connection, command, id);
    }
    return true;
}

bool session_clients_idle(const struct server *server)
{
    return server->session_clients == NULL ||
           (list_empty(&server->session_clients->tyings) && session_beats_idle(server));
}
