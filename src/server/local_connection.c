#include "base/number.h"
#include "server/consistency.h"
#include "server/feeds.h"
#include "server/local.h"
#include "server/multi.h"
#include "server/pubsub.h"
#include "server/service_watch.h"
#include "server/txn_session.h"
#include "server/watch.h"

#include "base/memory.h"

#include <stdlib.h>

bool local_password_ok(const struct server *server, struct slice password)
{
    const char *wanted = server->config.requirepass;
    size_t size = strlen(wanted);
    uint8_t difference = password.size == size ? 0 : 1;
    for (size_t i = 0; i < password.size; i++) {
        difference |= (uint8_t)(password.data[i] ^ (uint8_t)wanted[i % (size + 1)]);
    }
    return difference == 0;
}

void local_ping(struct local_call *call)
{
    if (call->argc > 2) {
        resp_error(call->reply, "ERR wrong number of arguments for 'ping' command");
    } else if (call->connection->protocol == RESP2 && connection_subscribed(call->connection)) {
        resp_array(call->reply, 2); /* told from messages by its form */
        resp_bulk_string(call->reply, "pong");
        resp_bulk(call->reply, call->argc == 2 ? call->argv[1] : SLICE_LITERAL(""));
    } else if (call->argc == 2) {
        resp_bulk(call->reply, call->argv[1]);
    } else {
        resp_status(call->reply, "PONG");
    }
}

void local_echo(struct local_call *call) { resp_bulk(call->reply, call->argv[1]); }

void local_select(struct local_call *call)
{
    int64_t database = 0;
    if (!number_parse_int64(call->argv[1], &database)) {
        resp_error(call->reply, "ERR value is not an integer or out of range");
    } else if (database < INT32_MIN || database > INT32_MAX) {
        resp_error(call->reply, "ERR value is out of range, value must between -2147483648 and 2147483647");
    } else if (database != 0) {
        resp_error(call->reply, "ERR DB index is out of range");
    } else {
        resp_status(call->reply, "OK");
    }
}

void local_quit(struct local_call *call)
{
    resp_status(call->reply, "OK");
    connection_finish(call->connection);
}

void local_reset(struct local_call *call)
{
    struct connection *connection = call->connection;
    if (connection->monitor) {
        connection->monitor = false;
        call->server->monitors--;
    }
    pubsub_leave(connection);
    multi_discard(connection);
    watch_forget(connection);
    txn_session_leave(connection);
    feeds_leave(connection);
    service_watches_leave(connection);
    connection->protocol = RESP2;
    connection->reply_mode = REPLY_ON;
    connection->no_evict = false;
    consistency_reset(connection);
    free(connection->name);
    connection->name = NULL;
    connection->authenticated = call->server->config.requirepass[0] == '\0';
    call->reply->protocol = RESP2;
    resp_status(call->reply, "RESET");
}

void local_unwatch(struct local_call *call)
{
    watch_forget(call->connection);
    resp_status(call->reply, "OK");
}

static bool may_log_in(const struct server *server, struct slice user, struct slice password)
{
    return slice_equal(user, SLICE_LITERAL("default")) &&
           (server->config.requirepass[0] == '\0' || local_password_ok(server, password));
}

static bool log_in(struct local_call *call, struct slice user, struct slice password)
{
    if (may_log_in(call->server, user, password)) {
        call->connection->authenticated = true;
        return true;
    }
    resp_error(call->reply, "WRONGPASS invalid username-password pair or user is disabled.");
    return false;
}

void local_auth(struct local_call *call)
{
    if (call->argc > 3) {
        resp_error(call->reply, "ERR syntax error");
        return;
    }
    if (call->argc == 2 && call->server->config.requirepass[0] == '\0') {
        resp_error(call->reply,
                   "ERR AUTH <password> called without any password configured for the default user. Are you "
                   "sure your configuration is correct?");
        return;
    }
    struct slice user = call->argc == 3 ? call->argv[1] : SLICE_LITERAL("default");
    if (log_in(call, user, call->argv[call->argc - 1])) {
        resp_status(call->reply, "OK");
    }
}

static bool name_ok(struct slice name)
{
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] < '!' || name.data[i] > '~') {
            return false;
        }
    }
    return true;
}

static void set_name(struct connection *connection, struct slice name)
{
    free(connection->name);
    connection->name = name.size == 0 ? NULL : memory_make_text(name.data, name.size);
}

void local_client_setname(struct local_call *call)
{
    if (!name_ok(call->argv[2])) {
        resp_error(call->reply, "ERR Client names cannot contain spaces, newlines or special characters.");
        return;
    }
    set_name(call->connection, call->argv[2]);
    resp_status(call->reply, "OK");
}

/* The options of HELLO, after its version. False when an error was answered. */
static bool hello_options(struct local_call *call)
{
    for (uint32_t i = 2; i < call->argc;) {
        uint32_t left = call->argc - i - 1;
        if (local_word(call, i, "AUTH") && left >= 2) {
            if (!log_in(call, call->argv[i + 1], call->argv[i + 2])) {
                return false;
            }
            i += 3;
        } else if (local_word(call, i, "SETNAME") && left >= 1) {
            if (!name_ok(call->argv[i + 1])) {
                resp_error(call->reply, "ERR Client names cannot contain spaces, newlines or special characters.");
                return false;
            }
            set_name(call->connection, call->argv[i + 1]);
            i += 2;
        } else {
            resp_error_format(call->reply, "ERR Syntax error in HELLO option '%.*s'", (int)call->argv[i].size,
                              (const char *)call->argv[i].data);
            return false;
        }
    }
    return true;
}

void local_hello_protocol(struct connection *connection, const struct command *command, uint8_t *protocol)
{
    int64_t version = 0;
    if (command->argc < 2 || !number_parse_int64(command->argv[1], &version) || version < RESP2 || version > RESP3) {
        return;
    }
    struct resp_writer discard = {NULL, RESP2};
    struct local_call call = {connection->server, connection, command, command->argv, command->argc, &discard};
    for (uint32_t i = 2; i < call.argc;) {
        uint32_t left = call.argc - i - 1;
        if (local_word(&call, i, "AUTH") && left >= 2 && may_log_in(call.server, call.argv[i + 1], call.argv[i + 2])) {
            i += 3;
        } else if (local_word(&call, i, "SETNAME") && left >= 1 && name_ok(call.argv[i + 1])) {
            i += 2;
        } else {
            return;
        }
    }
    *protocol = (uint8_t)version;
}

void local_hello(struct local_call *call)
{
    struct connection *connection = call->connection;
    int64_t version = 0;
    if (call->argc >= 2) {
        if (!number_parse_int64(call->argv[1], &version)) {
            resp_error(call->reply, "ERR Protocol version is not an integer or out of range");
            return;
        }
        if (version < RESP2 || version > RESP3) {
            resp_error(call->reply, "NOPROTO unsupported protocol version");
            return;
        }
    }
    if (!hello_options(call)) {
        return;
    }
    if (!connection->authenticated) {
        resp_error(call->reply,
                   "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
                   "<proto> AUTH <user> <pass> option can be used to authenticate the client and select the "
                   "RESP protocol version at the same time");
        return;
    }
    if (version != 0) {
        connection->protocol = (uint8_t)version;
        call->reply->protocol = (int)version;
    }
    resp_map(call->reply, 7);
    resp_bulk_string(call->reply, "server");
    resp_bulk_string(call->reply, "redis"); /* clients branch on it */
    resp_bulk_string(call->reply, "version");
    resp_bulk_string(call->reply, SERVER_REDIS_VERSION);
    resp_bulk_string(call->reply, "proto");
    resp_integer(call->reply, connection->protocol);
    resp_bulk_string(call->reply, "id");
    resp_integer(call->reply, (int64_t)connection->id);
    resp_bulk_string(call->reply, "mode");
    resp_bulk_string(call->reply, "cluster");
    resp_bulk_string(call->reply, "role");
    resp_bulk_string(call->reply, "master");
    resp_bulk_string(call->reply, "modules");
    resp_array(call->reply, 0);
}
