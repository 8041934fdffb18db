#include "base/number.h"
#include "server/local.h"
#include "server/route.h"

#include <math.h>
#include <stdlib.h>

void local_time(struct local_call *call)
{
    int64_t wall_us = env_wall_us(call->server->env);
    resp_array(call->reply, 2);
    resp_bulk_integer(call->reply, wall_us / 1000000);
    resp_bulk_integer(call->reply, wall_us % 1000000);
}

/* How many nodes besides its leader are sure to have any write that was acknowledged: a majority has it, so there is
 * nothing to wait for. Shards whose voters are fewer give the number. */
static uint32_t sure_replicas(const struct server *server)
{
    uint32_t least = UINT32_MAX;
    for (uint32_t shard = 1; shard <= server->shards; shard++) {
        uint32_t count = cluster_acknowledging(server->cluster, shard);
        least = count < least ? count : least;
    }
    return least;
}

/* Held back until the client's earlier commands are answered (local_needs_quiet). */
void local_wait(struct local_call *call)
{
    int64_t replicas = 0;
    int64_t wait_ms = 0;
    if (!number_parse_int64(call->argv[1], &replicas)) {
        resp_error(call->reply, "ERR value is not an integer or out of range");
    } else if (!number_parse_int64(call->argv[2], &wait_ms)) {
        resp_error(call->reply, "ERR timeout is not an integer or out of range");
    } else if (wait_ms < 0) {
        resp_error(call->reply, "ERR timeout is negative");
    } else {
        resp_integer(call->reply, sure_replicas(call->server));
    }
}

void local_monitor(struct local_call *call)
{
    struct connection *connection = call->connection;
    if (!connection->monitor) {
        connection->monitor = true;
        call->server->monitors++;
    }
    resp_status(call->reply, "OK");
}

void local_slowlog_get(struct local_call *call)
{
    int64_t count = 10;
    if (call->argc > 3) {
        resp_error(call->reply, "ERR wrong number of arguments for 'slowlog|get' command");
        return;
    }
    if (call->argc == 3) {
        if (!number_parse_int64(call->argv[2], &count) || count < -1) {
            resp_error(call->reply, "ERR count should be greater than or equal to -1");
            return;
        }
    }
    slowlog_reply(&call->server->slowlog, count, call->reply);
}

void local_slowlog_len(struct local_call *call) { resp_integer(call->reply, (int64_t)call->server->slowlog.count); }

void local_slowlog_reset(struct local_call *call)
{
    slowlog_clear(&call->server->slowlog);
    resp_status(call->reply, "OK");
}

/* ---- DEBUG: only when enable-debug-command says so ---- */

static bool debug_allowed(const struct local_call *call)
{
    int64_t choice = call->server->config.debug_command;
    return choice == CONFIG_DEBUG_YES || (choice == CONFIG_DEBUG_LOCAL && connection_is_local(call->connection));
}

/* DEBUG SLEEP holds back its own client (route.c parks it); the others are served meanwhile. */
int64_t local_sleep_ns(const struct command *command)
{
    if (command->spec->id != COMMAND_DEBUG || command->argc != 3 || !slice_is_word(command->argv[1], "SLEEP")) {
        return 0;
    }
    char text[32] = "";
    char *end = NULL;
    struct slice argument = command->argv[2];
    if (argument.size >= sizeof(text)) {
        return -1;
    }
    memcpy(text, argument.data, argument.size);
    double seconds = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(seconds) || seconds < 0 || seconds > 3600) {
        return -1;
    }
    return (int64_t)(seconds * 1e9);
}

void local_debug(struct local_call *call)
{
    if (!debug_allowed(call)) {
        resp_error(call->reply,
                   "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", "
                   "you can run it from a local connection, otherwise you need to set this option in the "
                   "configuration file, and then restart the server.");
        return;
    }
    struct server *server = call->server;
    if (local_word(call, 1, "SLEEP") && call->argc == 3) {
        if (local_sleep_ns(call->command) < 0) {
            resp_error(call->reply, "ERR DEBUG SLEEP takes seconds from 0 to 3600");
        } else {
            resp_status(call->reply, "OK");
        }
    } else if (local_word(call, 1, "SNAPSHOT") && call->argc == 2) {
        enum status status = cluster_snapshot(server->cluster);
        if (status == STATUS_OK) {
            resp_status(call->reply, "OK");
        } else {
            resp_error_format(call->reply, "ERR snapshot: %s", status_text(status));
        }
    } else if (local_word(call, 1, "DIGEST") && call->argc == 2) {
        struct buffer text;
        buffer_init(&text);
        buffer_append_format(&text, "%016llx", (unsigned long long)cluster_digest(server->cluster));
        resp_bulk(call->reply, buffer_slice(&text));
        buffer_deinit(&text);
    } else {
        resp_error(call->reply, "ERR DEBUG knows SLEEP seconds, SNAPSHOT and DIGEST");
    }
}

/* SAVE and NOSAVE change nothing here: what was acknowledged is on disk. False on words that do not go together. */
static bool shutdown_words(const struct local_call *call, bool *ret_abort)
{
    uint32_t save = 0;
    uint32_t nosave = 0;
    for (uint32_t i = 1; i < call->argc; i++) {
        if (local_word(call, i, "ABORT")) {
            *ret_abort = true;
        } else if (local_word(call, i, "SAVE")) {
            save++;
        } else if (local_word(call, i, "NOSAVE")) {
            nosave++;
        } else if (!local_word(call, i, "NOW") && !local_word(call, i, "FORCE")) {
            return false;
        }
    }
    return !(save != 0 && nosave != 0) && !(*ret_abort && call->argc > 2);
}

void local_shutdown(struct local_call *call)
{
    bool abort_wanted = false;
    if (!shutdown_words(call, &abort_wanted)) {
        resp_error(call->reply, "ERR syntax error");
        return;
    }
    if (abort_wanted) {
        resp_error(call->reply, "ERR No shutdown in progress.");
        return;
    }
    /* No reply: the connection ends, as clients of Redis expect. */
    call->reply->out = NULL;
    env_log(call->server->env, ENV_LOG_INFO, "SHUTDOWN asked for by client %s", call->connection->peer);
    connection_finish(call->connection);
    server_shutdown(call->server);
}
