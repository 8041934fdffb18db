#include "server/route_park.h"

#include "base/assert.h"
#include "server/local.h"
#include "server/round.h"
#include "server/route.h"
#include "server/script_peers.h"
#include "server/server_state.h"
#include "server/session_client.h"

void route_park(struct connection *connection, const struct slice *argv, uint32_t argc)
{
    ASSERT(!connection->parked);
    const struct command *sent = connection->server->as_sent;
    if (sent != NULL) {
        argv = sent->argv;
        argc = sent->argc;
    }
    struct buffer *bytes = &connection->parked_bytes;
    buffer_clear(bytes);
    for (uint32_t i = 0; i < argc; i++) {
        buffer_append_slice(bytes, argv[i]);
    }
    command_arguments_reserve(&connection->parked_arguments, argc);
    const uint8_t *at = bytes->data;
    for (uint32_t i = 0; i < argc; i++) {
        connection->parked_arguments.items[i] = slice_of(at, argv[i].size);
        at += argv[i].size;
    }
    connection->parked_argc = argc;
    connection->parked = true;
}

static void park_until(struct connection *connection, const struct command *command, int64_t until_ns)
{
    route_park_command(connection, command);
    connection->parked_until_ns = until_ns;
}

bool route_paused(struct connection *connection, const struct command *command)
{
    const struct server *server = connection->server;
    const struct command_spec *spec = command->spec;
    if (server_now_ns(connection->server) >= server->pause_until_ns || spec->id == COMMAND_CLIENT_UNPAUSE ||
        spec->id == COMMAND_CLIENT_PAUSE) {
        return false;
    }
    uint32_t flags = spec->id == COMMAND_EXEC ? connection->queued_flags : spec->flags;
    if (!server->pause_all && (flags & (COMMAND_WRITE | COMMAND_MAY_REPLICATE)) == 0) {
        return false;
    }
    park_until(connection, command, server->pause_until_ns);
    return true;
}

bool route_sleeps(struct connection *connection, const struct command *command)
{
    struct server *server = connection->server;
    int64_t sleep_ns = local_sleep_ns(command);
    if (sleep_ns <= 0 || connection->slept || server->config.debug_command == CONFIG_DEBUG_NO) {
        connection->slept = false;
        return false;
    }
    park_until(connection, command, server_now_ns(server) + sleep_ns);
    connection->slept = true;
    return true;
}

static bool waits(const struct connection *connection)
{
    if (connection->parked_until_ns != 0) {
        return server_now_ns(connection->server) < connection->parked_until_ns;
    }
    return script_room_waits(connection) || (connection_pending(connection) && !connection->script_places.given) ||
           round_pending(connection) || script_peers_pending(connection) || session_tying_pending(connection);
}

bool route_unpark(struct connection *connection)
{
    ASSERT(connection->parked);
    if (waits(connection)) {
        return false;
    }
    connection->parked = false;
    connection->parked_until_ns = 0;
    struct buffer bytes = connection->parked_bytes;
    struct command_arguments arguments = connection->parked_arguments;
    uint32_t argc = connection->parked_argc;
    buffer_init(&connection->parked_bytes);
    command_arguments_init(&connection->parked_arguments);
    route_request(connection, arguments.items, argc);
    buffer_deinit(&bytes);
    command_arguments_deinit(&arguments);
    return !connection->parked;
}

void route_refuse_parked(struct connection *connection, const char *text)
{
    ASSERT(connection->parked);
    connection->parked = false;
    reply_with_error(connection, text);
    script_peers_end(connection);
    connection_mark_resume(connection);
}
