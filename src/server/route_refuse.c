#include "server/route_refuse.h"

#include "server/feeds.h"
#include "server/lock_client.h"
#include "server/multi.h"
#include "server/pubsub.h"
#include "server/server_state.h"
#include "server/service_watch.h"
#include "server/watch.h"

#include <stdio.h>

/* ---- by itself ---- */

void route_refuse_command(struct connection *connection, const struct command_spec *spec, const char *text)
{
    if (spec == NULL || spec->id != COMMAND_EXEC) {
        multi_spoil(connection);
        reply_with_error(connection, text);
        return;
    }
    multi_discard(connection);
    watch_forget(connection);
    struct resp_writer *reply = reply_begin(connection);
    resp_error_format(reply, "EXECABORT Transaction discarded because of: %s",
                      strncmp(text, "ERR ", 4) == 0 ? text + 4 : text);
    reply_end(connection);
}

static void append_printable(struct buffer *out, struct slice bytes, size_t limit)
{
    size_t size = bytes.size < limit ? bytes.size : limit;
    for (size_t i = 0; i < size && bytes.data[i] != '\0'; i++) {
        buffer_append_byte(out, bytes.data[i]);
    }
}

/* As Redis words it: the name, then the beginnings of the arguments. */
void route_refuse_unknown(struct connection *connection, const struct slice *argv, uint32_t argc)
{
    struct buffer *text = &connection->server->scratch;
    buffer_clear(text);
    buffer_append_string(text, "ERR unknown command '");
    append_printable(text, argv[0], 128);
    buffer_append_string(text, "', with args beginning with: ");
    size_t start = text->size;
    for (uint32_t i = 1; i < argc && text->size - start < 128; i++) {
        size_t room = 128 - (text->size - start);
        buffer_append_byte(text, '\'');
        append_printable(text, argv[i], room);
        buffer_append_string(text, "' ");
    }
    buffer_append_byte(text, '\0');
    route_refuse_command(connection, NULL, (const char *)text->data);
}

void route_refuse_subcommand(struct connection *connection, const struct command_spec *container, struct slice word)
{
    struct buffer *text = &connection->server->scratch;
    buffer_clear(text);
    buffer_append_string(text, "ERR unknown subcommand '");
    append_printable(text, word, 128);
    buffer_append_format(text, "'. Try %s HELP.", container->shown);
    buffer_append_byte(text, '\0');
    route_refuse_command(connection, NULL, (const char *)text->data);
}

void route_refuse_arity(struct connection *connection, const struct command_spec *spec)
{
    char text[128];
    (void)snprintf(text, sizeof(text), "ERR wrong number of arguments for '%s' command", spec->name);
    route_refuse_command(connection, spec, text);
}

/* ---- here and now ---- */

/* What a node takes without any key, roughly: a limit below it refuses all writes, as in Redis. */
enum { BARE_NODE_BYTES = 64 << 10 };

static bool memory_is_full(struct server *server)
{
    uint64_t bytes = server_memory_bytes(server) + crew_others(server).memory_bytes;
    return BARE_NODE_BYTES + bytes > (uint64_t)server->config.maxmemory_bytes;
}

static inline bool out_of_memory(struct server *server, const struct command_spec *spec)
{
    return (spec->flags & COMMAND_DENYOOM) != 0 && server->config.maxmemory_bytes != 0 && memory_is_full(server);
}

bool route_out_of_memory(struct connection *connection, const struct command_spec *spec)
{
    return out_of_memory(connection->server, spec);
}

static const char out_of_memory_text[] = "OOM command not allowed when used memory > 'maxmemory'.";

bool route_lock_refused(struct connection *connection, const struct command *command)
{
    const char *problem = lock_client_problem(connection, command);
    const struct command_spec *guarded = NULL;
    if (problem == NULL && command->spec->id == COMMAND_LOCK_GUARD &&
        command_lookup(command->argv + 3, command->argc - 3, &guarded) == COMMAND_FOUND &&
        route_out_of_memory(connection, guarded)) {
        problem = out_of_memory_text;
    }
    if (problem != NULL) {
        reply_with_error(connection, problem);
    }
    return problem != NULL;
}

static void refuse_subscribed(struct connection *connection, const struct command_spec *spec)
{
    char text[192];
    (void)snprintf(text, sizeof(text),
                   "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
                   "allowed in this context",
                   spec->name);
    route_refuse_command(connection, spec, text);
}

bool route_refused(struct connection *connection, const struct command_spec *spec)
{
    /* Queueing takes memory too, whatever is queued. */
    static const struct command_spec queued = {.flags = COMMAND_DENYOOM};
    bool queueing = connection->in_multi && spec->id != COMMAND_EXEC && spec->id != COMMAND_DISCARD &&
                    spec->id != COMMAND_QUIT && spec->id != COMMAND_RESET;
    if (!connection->authenticated && (spec->flags & COMMAND_NO_AUTH) == 0) {
        route_refuse_command(connection, spec, "NOAUTH Authentication required.");
    } else if (__builtin_expect(feeds_of(connection), 0) && feeds_refuse(connection, spec)) {
        route_refuse_command(
            connection, spec,
            "ERR only COHORT.FEED, COHORT.UNFEED, PING, HELLO, RESET and QUIT are allowed while this connection "
            "has feeds over RESP2; say HELLO 3, or use another connection");
    } else if (__builtin_expect(service_watches_of(connection), 0) && service_watch_refuses(connection, spec)) {
        route_refuse_command(
            connection, spec,
            "ERR only SERVICE.WATCH, SERVICE.UNWATCH, PING, HELLO, RESET and QUIT are allowed while this connection "
            "watches services over RESP2; say HELLO 3, or use another connection");
    } else if (out_of_memory(connection->server, queueing ? &queued : spec)) {
        route_refuse_command(connection, spec, out_of_memory_text);
    } else if (pubsub_forbids(connection, spec)) {
        refuse_subscribed(connection, spec);
    } else {
        return false;
    }
    return true;
}

bool route_transaction_refused(struct connection *connection, const struct command_spec *spec)
{
    if (spec->id == COMMAND_MULTI || spec->id == COMMAND_WATCH) {
        reply_with_error(connection,
                         "ERR MULTI and WATCH do not go together with TXN.BEGIN; TXN.COMMIT or TXN.ROLLBACK first");
        return true;
    }
    if (pubsub_takes(spec)) {
        reply_with_error(connection,
                         "ERR messages are no part of a transaction of TXN.BEGIN; TXN.COMMIT or TXN.ROLLBACK "
                         "first, then publish or subscribe");
        return true;
    }
    if (feeds_take(spec)) {
        reply_with_error(connection, "ERR feeds do not go together with TXN.BEGIN; TXN.COMMIT or TXN.ROLLBACK first");
        return true;
    }
    if (service_watch_takes(spec)) {
        reply_with_error(connection, "ERR watches do not go together with TXN.BEGIN; TXN.COMMIT or TXN.ROLLBACK first");
        return true;
    }
    return false;
}

/* ---- by a shard ---- */

const char *route_refusal(enum status status, bool reads)
{
    if (reads && (status == STATUS_UNCERTAIN || status == STATUS_EXECUTED)) {
        return "CLUSTERDOWN the node that executes this command was lost; it changes nothing, send it again";
    }
    switch (status) {
    case STATUS_FULL:
    case STATUS_BUSY: /* it has waited for a transaction, and then there was no room for it */
        return "BUSY too many commands wait for this shard; this one was not executed, try again in a moment";
    case STATUS_NOSPACE:
        return "MISCONF the disk is full; the command was not executed, free space on the disk of the data folder";
    case STATUS_TOO_LARGE:
        return "ERR the command is larger than one may be (1 GB, or 32 MB with several nodes); the command was not "
               "executed, send less";
    case STATUS_CLOSED: return "CLUSTERDOWN this node is stopping; the command was not executed, ask another node";
    case STATUS_NOT_LEADER:
        return "CLUSTERDOWN the node that leads this shard has just changed; the command was not executed, try again";
    case STATUS_NO_LEADER:
        return "CLUSTERDOWN no majority of this shard's nodes answers; the command was not executed, try again when "
               "they are back";
    case STATUS_UNCERTAIN:
        return "UNCERTAIN the node that executes this command was lost; it may have been executed, look before you "
               "send it again";
    case STATUS_VERSION:
        return "ERR the node that leads this shard runs an older version, which does not know this command; the "
               "command was not executed, bring all nodes to one version";
    case STATUS_EXECUTED: return "UNCERTAIN the command was executed, but its reply was lost with the node that had it";
    default: /* no file for more of the log: descriptors, memory, permissions */
        return "MISCONF the log cannot grow; the command was not executed, the node's own log says why";
    }
}

void route_refuse(struct connection *connection, enum status status)
{
    reply_with_error(connection, route_refusal(status, false)); /* it was not taken */
    if (status == STATUS_FULL) {
        connection_slow(connection);
    }
}
