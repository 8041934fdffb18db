#include "server/route.h"

#include "base/assert.h"
#include "server/feeds.h"
#include "server/figures.h"
#include "server/gather.h"
#include "server/lock_client.h"
#include "server/lock_many.h"
#include "server/monitor.h"
#include "server/multi.h"
#include "server/pubsub.h"
#include "server/round.h"
#include "server/script_peers.h"
#include "server/scripts.h"
#include "server/server_state.h"
#include "server/session_client.h"
#include "server/txn_client.h"
#include "server/txn_session.h"
#include "server/watch.h"

#include <stdio.h>
#include <stdlib.h>

static void answer_error(struct connection *connection, const char *text)
{
    struct resp_writer *reply = reply_begin(connection);
    resp_error(reply, text);
    reply_end(connection);
}

/* An error before a command runs also spoils an open MULTI; that of an EXEC ends it. `spec` is NULL when unknown. */
static void answer_refusal(struct connection *connection, const struct command_spec *spec, const char *text)
{
    if (spec == NULL || spec->id != COMMAND_EXEC) {
        multi_spoil(connection);
        answer_error(connection, text);
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
static void answer_unknown(struct connection *connection, const struct slice *argv, uint32_t argc)
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
    answer_refusal(connection, NULL, (const char *)text->data);
}

static void answer_unknown_subcommand(struct connection *connection, const struct command_spec *container,
                                      struct slice word)
{
    struct buffer *text = &connection->server->scratch;
    buffer_clear(text);
    buffer_append_string(text, "ERR unknown subcommand '");
    append_printable(text, word, 128);
    buffer_append_format(text, "'. Try %s HELP.", container->shown);
    buffer_append_byte(text, '\0');
    answer_refusal(connection, NULL, (const char *)text->data);
}

/* Keeps a copy of the request; `argv` may point into bytes that are about to go. */
static void park(struct connection *connection, const struct slice *argv, uint32_t argc)
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

bool route_unpark(struct connection *connection)
{
    struct server *server = connection->server;
    ASSERT(connection->parked);
    if (connection->parked_until_ns != 0 ? server_now_ns(server) < connection->parked_until_ns
                                         : connection_pending(connection) || round_pending(connection) ||
                                               script_peers_pending(connection) || session_tying_pending(connection)) {
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

void route_forget(struct connection *connection)
{
    multi_discard(connection);
    watch_forget(connection);
}

/* What a node takes without any key, roughly: a limit below it refuses all writes, as in Redis. */
enum { BARE_NODE_BYTES = 64 << 10 };

bool route_out_of_memory(struct connection *connection, const struct command_spec *spec)
{
    struct server *server = connection->server;
    if ((spec->flags & COMMAND_DENYOOM) == 0 || server->config.maxmemory_bytes == 0) {
        return false;
    }
    uint64_t bytes = server_memory_bytes(server) + crew_others(server).memory_bytes;
    return BARE_NODE_BYTES + bytes > (uint64_t)server->config.maxmemory_bytes;
}

static const char out_of_memory_text[] = "OOM command not allowed when used memory > 'maxmemory'.";

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
    answer_error(connection, route_refusal(status, false)); /* it was not taken */
    if (status == STATUS_FULL) {
        connection_slow(connection);
    }
}

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

/* The shard of a command's keys, or ROUTE_SEVERAL (FLUSHALL, too); 0 when it has none. A cluster of one shard has it
 * for everything. */
static uint32_t find_shard(const struct server *server, const struct command *command)
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

/* ---- to the shards ---- */

static void submit_as(struct connection *connection, uint32_t shard, const struct command *command,
                      enum cluster_way way, const struct command_spec *shown)
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

static void submit(struct connection *connection, uint32_t shard, const struct command *command, enum cluster_way way)
{
    submit_as(connection, shard, command, way, command_called(command));
}

void route_submit(struct connection *connection, uint32_t shard, const struct command *command,
                  const struct command_spec *shown)
{
    submit_as(connection, shard, command, CLUSTER_PLAIN, shown);
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
    if ((connection->readonly && cluster_read_here(cluster, shard, command, reply)) ||
        cluster_read(cluster, shard, command, reply, ret_way)) {
        return true;
    }
    if (connection->readonly && *ret_way == CLUSTER_READ) {
        *ret_way = CLUSTER_WEAK; /* it is for another worker */
    }
    return false;
}

static void to_shard(struct connection *connection, uint32_t shard, const struct command *command)
{
    bool reads = (command->spec->flags & COMMAND_READONLY) != 0;
    enum cluster_way way = CLUSTER_PLAIN;
    if (!reads || !connection_quiet(connection)) {
        submit(connection, shard, command, way);
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
        submit(connection, shard, command, way);
        return;
    }
    reply_end(connection);
    route_measure(connection, command);
}

/* About locks: true when it was refused, in words. */
static bool lock_refused(struct connection *connection, const struct command *command)
{
    const char *problem = lock_client_problem(connection, command);
    const struct command_spec *guarded = NULL;
    if (problem == NULL && command->spec->id == COMMAND_LOCK_GUARD &&
        command_lookup(command->argv + 3, command->argc - 3, &guarded) == COMMAND_FOUND &&
        route_out_of_memory(connection, guarded)) {
        problem = out_of_memory_text;
    }
    if (problem != NULL) {
        answer_error(connection, problem);
    }
    return problem != NULL;
}

/* True when the command was parked to sleep first. */
static bool fell_asleep(struct connection *connection, const struct command *command)
{
    int64_t sleep_ns = local_sleep_ns(command);
    if (sleep_ns <= 0 || connection->slept || connection->server->config.debug_command == CONFIG_DEBUG_NO) {
        connection->slept = false;
        return false;
    }
    park(connection, command->argv, command->argc);
    connection->parked_until_ns = server_now_ns(connection->server) + sleep_ns;
    connection->slept = true;
    return true;
}

static bool paused(const struct connection *connection, const struct command_spec *spec)
{
    struct server *server = connection->server;
    if (server->pause_until_ns == 0 || server_now_ns(server) >= server->pause_until_ns) {
        return false;
    }
    if (spec->id == COMMAND_CLIENT_UNPAUSE || spec->id == COMMAND_CLIENT_PAUSE) {
        return false;
    }
    uint32_t flags = spec->id == COMMAND_EXEC ? connection->queued_flags : spec->flags;
    return server->pause_all || (flags & COMMAND_WRITE) != 0;
}

/* Refusals that hold for every command; true when one was given. */
static bool refused(struct connection *connection, const struct command_spec *spec)
{
    if (!connection->authenticated && (spec->flags & COMMAND_NO_AUTH) == 0) {
        answer_refusal(connection, spec, "NOAUTH Authentication required.");
        return true;
    }
    if (__builtin_expect(feeds_of(connection), 0) && feeds_refuse(connection, spec)) {
        answer_refusal(
            connection, spec,
            "ERR only COHORT.FEED, COHORT.UNFEED, PING, HELLO, RESET and QUIT are allowed while this connection "
            "has feeds over RESP2; say HELLO 3, or use another connection");
        return true;
    }
    /* Queueing takes memory too, whatever is queued. */
    static const struct command_spec queued = {.flags = COMMAND_DENYOOM};
    bool queueing = connection->in_multi && spec->id != COMMAND_EXEC && spec->id != COMMAND_DISCARD &&
                    spec->id != COMMAND_QUIT && spec->id != COMMAND_RESET;
    if (route_out_of_memory(connection, queueing ? &queued : spec)) {
        answer_refusal(connection, spec, out_of_memory_text);
        return true;
    }
    if (pubsub_forbids(connection, spec)) {
        char text[192];
        (void)snprintf(text, sizeof(text),
                       "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
                       "allowed in this context",
                       spec->name);
        answer_refusal(connection, spec, text);
        return true;
    }
    return false;
}

static void execute_local(struct connection *connection, const struct command *command)
{
    struct resp_writer *reply = reply_begin(connection);
    local_execute(connection, command, reply);
    reply_end(connection);
    route_measure(connection, command);
}

/* The command's keys are in several shards: it is a transaction by itself. */
static void to_shards(struct connection *connection, const struct command *command)
{
    struct txn_plan plan;
    txn_plan_init(&plan, connection->server->shards, !txn_plan_cuts(command->spec));
    txn_plan_add(&plan, command);
    txn_client_command(connection, command, &plan);
}

/* In the name of a session, which is known to live. */
static void in_session(struct connection *connection, uint32_t shard, const struct command *command, uint32_t at)
{
    struct server *server = connection->server;
    struct slice name;
    const char *problem = session_client_take(connection, &name);
    if (problem != NULL) {
        answer_error(connection, problem);
        return;
    }
    struct command_arguments *arguments = &server->session_arguments;
    command_arguments_reserve(arguments, command->argc);
    memcpy(arguments->items, command->argv, command->argc * sizeof(*command->argv));
    arguments->items[at] = name;
    const struct command named = {command->spec, arguments->items, command->argc, command->protocol};
    if (command->spec->id == COMMAND_LOCK_ACQUIRE) {
        lock_client_acquire(connection, shard, &named);
    } else {
        to_shard(connection, shard, &named);
    }
}

static void dispatch(struct connection *connection, const struct command *command)
{
    const struct command_spec *spec = command->spec;
    struct server *server = connection->server;
    if (paused(connection, spec)) {
        park(connection, command->argv, command->argc);
        connection->parked_until_ns = server->pause_until_ns;
        return;
    }
    bool queueing = connection->in_multi && !multi_runs_at_once(spec);
    bool at_server = spec->place == COMMAND_AT_SERVER;
    uint32_t shard = find_shard(server, command);
    uint32_t named = spec->id == COMMAND_SET && command->argc <= 3 ? 0 : session_named(command);
    /* Commands about the node run at once, also those of an EXEC that is on its way: what follows must not overtake. */
    bool overtakes =
        connection->plan_end > connection->slot_head || (watch_pending(connection) && multi_needs_watches(spec)) ||
        connection->txn != NULL || connection->session != NULL || connection->lock_wait != NULL ||
        connection->lock_many != NULL || spec->id == COMMAND_LOCK_MACQUIRE || feeds_starting(connection) ||
        feeds_take(spec) || (at_server && txn_session_takes(spec)) ||
        (spec->id == COMMAND_EXEC && (multi_crosses(connection) || (connection->queued_flags & COMMAND_PUBSUB) != 0)) ||
        (spec->id == COMMAND_HELLO && connection_subscribed(connection)) ||
        (shard == ROUTE_SEVERAL && spec->id != COMMAND_WATCH) || spec->id == COMMAND_SESSION_CLOSE || named != 0 ||
        (spec->place == COMMAND_AT_SERVER && local_needs_quiet(spec));
    if (!queueing && overtakes && connection_pending(connection)) {
        park(connection, command->argv, command->argc);
        return;
    }
    if (refused(connection, spec)) {
        server->figures.by_command[spec->id].rejected++;
        session_client_forget(connection);
        return;
    }
    if (at_server && script_peers_wait(connection, command)) {
        park(connection, command->argv, command->argc);
        return;
    }
    if (!queueing && (spec->flags & COMMAND_NO_MULTI) != 0 && lock_refused(connection, command)) {
        server->figures.by_command[spec->id].rejected++;
        session_client_forget(connection);
        return;
    }
    if (!queueing && server->worker_count > 1 && round_takes(spec) && round_waits(connection, command)) {
        park(connection, command->argv, command->argc);
        return;
    }
    if (!queueing && named != 0 && !txn_session_holds(connection) &&
        session_client_waits(connection, shard, command, named)) {
        park(connection, command->argv, command->argc);
        return;
    }
    connection->last_command = command_called(command);
    connection->commands++;
    if (queueing) {
        multi_queue(connection, command, shard);
        return;
    }
    if (server->monitors + server->monitors_elsewhere != 0 &&
        spec->id != COMMAND_EXEC) { /* multi.c shows an EXEC after its commands */
        monitor_feed(connection, server->as_sent != NULL ? server->as_sent : command);
    }
    if (spec->id == COMMAND_DEBUG && fell_asleep(connection, command)) {
        return;
    }
    if (txn_session_holds(connection) && (spec->id == COMMAND_MULTI || spec->id == COMMAND_WATCH)) {
        answer_error(connection,
                     "ERR MULTI and WATCH do not go together with TXN.BEGIN; TXN.COMMIT or TXN.ROLLBACK first");
        return;
    }
    if (txn_session_holds(connection) && pubsub_takes(spec)) {
        answer_error(connection, "ERR messages are no part of a transaction of TXN.BEGIN; TXN.COMMIT or TXN.ROLLBACK "
                                 "first, then publish or subscribe");
        return;
    }
    if (at_server && feeds_take(spec)) {
        if (txn_session_holds(connection)) {
            answer_error(connection, "ERR feeds do not go together with TXN.BEGIN; TXN.COMMIT or TXN.ROLLBACK first");
        } else {
            feeds_command(connection, command);
        }
        return;
    }
    if (multi_command(connection, command, shard)) {
        return;
    }
    if (at_server && txn_session_takes(spec)) {
        txn_session_command(connection, command);
        return;
    }
    if (txn_session_holds(connection) && txn_session_run(connection, command)) {
        return;
    }
    if (at_server && session_client_command(connection, command)) {
        return;
    }
    if (named != 0) {
        in_session(connection, shard, command, named);
        return;
    }
    if (at_server && !gather_takes(spec)) {
        execute_local(connection, command);
        round_end(connection);
    } else if (shard == 0 || at_server) {
        gather_start(connection, command);
    } else if (spec->id == COMMAND_LOCK_ACQUIRE) {
        lock_client_acquire(connection, shard, command);
    } else if (spec->id == COMMAND_LOCK_MACQUIRE) {
        lock_many_acquire(connection, command);
    } else if (shard == ROUTE_SEVERAL) {
        to_shards(connection, command);
    } else {
        to_shard(connection, shard, command);
    }
}

static void dispatch_script(struct connection *connection, struct command *command)
{
    struct server *server = connection->server;
    if (script_peers_wait(connection, command)) {
        park(connection, command->argv, command->argc);
        return;
    }
    const struct command sent = *command;
    const char *error = scripts_resolve(connection, command, &server->script_arguments);
    if (error != NULL) {
        answer_refusal(connection, command->spec, error);
    } else {
        server->as_sent = &sent;
        dispatch(connection, command);
        server->as_sent = NULL;
    }
}

void route_request(struct connection *connection, const struct slice *argv, uint32_t argc)
{
    const struct command_spec *spec = NULL;
    switch (command_lookup(argv, argc, &spec)) {
    case COMMAND_FOUND: {
        struct command command = {spec, argv, argc, connection->protocol};
        if (spec->key_count != 0 && connection->authenticated) {
            dispatch_script(connection, &command);
        } else {
            dispatch(connection, &command);
        }
        if (connection->script_wait != NULL && !connection->parked) {
            script_peers_end(connection);
        }
        return;
    }
    case COMMAND_UNKNOWN: answer_unknown(connection, argv, argc); return;
    case COMMAND_UNKNOWN_SUBCOMMAND: answer_unknown_subcommand(connection, spec, argv[1]); return;
    case COMMAND_WRONG_ARITY: break;
    }
    if (spec->id == COMMAND_EXEC && watch_pending(connection)) { /* it forgets the watches: those on their way, too */
        park(connection, argv, argc);
        return;
    }
    char text[128];
    (void)snprintf(text, sizeof(text), "ERR wrong number of arguments for '%s' command", spec->name);
    answer_refusal(connection, spec, text);
}
