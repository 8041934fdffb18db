#include "server/route.h"

#include "server/consistency.h"
#include "server/feeds.h"
#include "server/figures.h"
#include "server/gather.h"
#include "server/local.h"
#include "server/lock_client.h"
#include "server/lock_many.h"
#include "server/monitor.h"
#include "server/multi.h"
#include "server/pubsub.h"
#include "server/round.h"
#include "server/route_park.h"
#include "server/route_refuse.h"
#include "server/route_submit.h"
#include "server/script_peers.h"
#include "server/scripts.h"
#include "server/server_state.h"
#include "server/service_watch.h"
#include "server/session_client.h"
#include "server/txn_client.h"
#include "server/txn_session.h"
#include "server/wait_kind.h"
#include "server/watch.h"

void route_forget(struct connection *connection)
{
    multi_discard(connection);
    watch_forget(connection);
}

/* What is known of a command before anything is done about it. */
struct request {
    const struct command *command;
    uint32_t shard; /* as route_shard says */
    uint32_t named; /* where the name of its session stands; 0: it is in the name of none */
    bool queueing;  /* it joins a MULTI */
    bool at_server;
};

static struct request request_of(const struct connection *connection, const struct command *command)
{
    const struct command_spec *spec = command->spec;
    return (struct request){
        .command = command,
        .shard = route_shard(connection->server, command),
        .named = spec->id == COMMAND_SET && command->argc <= 3 ? 0 : session_named(command),
        .queueing = connection->in_multi && !multi_runs_at_once(spec),
        .at_server = spec->place == COMMAND_AT_SERVER,
    };
}

/* ---- what holds it back ---- */

/* Executed now, it would overtake what is pending, or what is pending must be known first. Commands about the node run
 * at once, also those of an EXEC that is on its way: what follows must not overtake. */
static bool overtakes(const struct connection *connection, const struct request *request)
{
    const struct command_spec *spec = request->command->spec;
    return (consistency_waits(connection) && !consistency_takes(connection, spec)) ||
           connection->plan_end > connection->slot_head || (watch_pending(connection) && multi_needs_watches(spec)) ||
           connection->txn != NULL || connection->session != NULL || connection->waiter != NULL ||
           spec->id == COMMAND_LOCK_MACQUIRE || feeds_starting(connection) || feeds_take(spec) ||
           service_watch_takes(spec) || (request->at_server && (txn_session_takes(spec) || local_needs_quiet(spec))) ||
           (spec->id == COMMAND_EXEC &&
            (multi_crosses(connection) || (connection->queued_flags & COMMAND_PUBSUB) != 0)) ||
           (spec->id == COMMAND_HELLO && connection_subscribed(connection)) ||
           (request->shard == ROUTE_SEVERAL && spec->id != COMMAND_WATCH) || spec->id == COMMAND_SESSION_CLOSE ||
           request->named != 0;
}

static bool waits_its_turn(struct connection *connection, const struct request *request)
{
    if (request->queueing) {
        return false;
    }
    const struct command *command = request->command;
    return (connection_pending(connection) && overtakes(connection, request)) ||
           (command_may_script(command->spec) && script_room_takes(connection, command) &&
            !script_room_enter(connection));
}

/* Other nodes, workers or shards are asked before. */
static bool waits_for_others(struct connection *connection, const struct request *request)
{
    const struct command *command = request->command;
    if (request->at_server && script_peers_wait(connection, command)) {
        return true;
    }
    return !request->queueing && connection->server->worker_count > 1 && round_takes(command->spec) &&
           round_waits(connection, command);
}

/* Its session is looked after, and its shard is tied to it: also of what a MULTI or TXN.BEGIN keeps for later. */
static bool waits_for_session(struct connection *connection, const struct request *request)
{
    return request->named != 0 && !(request->queueing && (request->command->spec->flags & COMMAND_NO_MULTI) != 0) &&
           session_client_waits(connection, request->shard, request->command, request->named);
}

/* Nothing goes on in the name of a session that is not there. Of what is for later that is all; true: it was refused.
 */
static bool refused_for_session(struct connection *connection, const struct request *request)
{
    const struct command_spec *spec = request->command->spec;
    bool later = request->named != 0 && (request->queueing || txn_session_holds(connection));
    struct slice name;
    const char *problem =
        later && (spec->flags & COMMAND_NO_MULTI) == 0 ? session_client_take(connection, &name) : NULL;
    if (problem != NULL) {
        route_refuse_command(connection, spec, problem);
    }
    return problem != NULL;
}

/* ---- who executes it ---- */

static void execute_local(struct connection *connection, const struct command *command)
{
    struct resp_writer *reply = reply_begin(connection);
    local_execute(connection, command, reply);
    reply_end(connection);
    route_measure(connection, command);
    round_end(connection);
}

/* The command's keys are in several shards: it is a transaction by itself. */
static void to_shards(struct connection *connection, const struct command *command)
{
    struct txn_plan plan;
    txn_plan_init(&plan, connection->server->shards, !txn_plan_cuts(command->spec));
    plan.values.scripts = cluster_scripts(connection->server->cluster);
    txn_plan_add(&plan, command);
    txn_client_command(connection, command, &plan);
}

/* In the name of a session, which is known to live. */
static void in_session(struct connection *connection, const struct request *request)
{
    const struct command *command = request->command;
    struct slice name;
    const char *problem = session_client_take(connection, &name);
    if (problem != NULL) {
        reply_with_error(connection, problem);
        return;
    }
    struct command_arguments *arguments = &connection->server->session_arguments;
    command_arguments_reserve(arguments, command->argc);
    memcpy(arguments->items, command->argv, command->argc * sizeof(*command->argv));
    arguments->items[request->named] = name;
    const struct command named = {command->spec, arguments->items, command->argc, command->protocol};
    const struct wait_kind *wait = wait_kind_of(command->spec);
    if (command->spec->id == COMMAND_LOCK_MACQUIRE) {
        lock_many_acquire(connection, &named);
    } else if (wait != NULL) {
        lock_client_ask(connection, request->shard, &named, wait);
    } else {
        route_to_shard(connection, request->shard, &named);
    }
}

/* What the connection has going takes part in, or takes for itself. */
static bool taken(struct connection *connection, const struct request *request)
{
    const struct command *command = request->command;
    bool at_server = request->at_server;
    bool holds = txn_session_holds(connection);
    if (holds && route_transaction_refused(connection, command->spec)) {
        return true;
    }
    if (at_server && feeds_take(command->spec)) {
        feeds_command(connection, command);
        return true;
    }
    if (at_server && service_watch_takes(command->spec)) {
        service_watch_command(connection, command);
        return true;
    }
    if (multi_command(connection, command, request->shard)) {
        return true;
    }
    if (at_server && txn_session_takes(command->spec)) {
        txn_session_command(connection, command);
        return true;
    }
    return (holds && txn_session_run(connection, command)) ||
           (at_server && session_client_command(connection, command));
}

static void execute(struct connection *connection, const struct request *request)
{
    const struct command *command = request->command;
    const struct command_spec *spec = command->spec;
    if (request->named != 0) {
        in_session(connection, request);
    } else if (request->at_server && !gather_takes(spec)) {
        execute_local(connection, command);
    } else if (request->shard == 0 || request->at_server) {
        gather_start(connection, command);
    } else if (spec->id == COMMAND_LOCK_MACQUIRE) {
        lock_many_acquire(connection, command);
    } else if (wait_kind_of(spec) != NULL) {
        lock_client_ask(connection, request->shard, command, wait_kind_of(spec));
    } else if (request->shard == ROUTE_SEVERAL) {
        to_shards(connection, command);
    } else {
        route_to_shard(connection, request->shard, command);
    }
}

/* ---- the way through ---- */

static void dispatch(struct connection *connection, const struct command *command)
{
    struct server *server = connection->server;
    const struct command_spec *spec = command->spec;
    if (server->pause_until_ns != 0 && route_paused(connection, command)) {
        return;
    }
    const struct request request = request_of(connection, command);
    if (waits_its_turn(connection, &request)) {
        route_park_command(connection, command);
        return;
    }
    if (route_refused(connection, spec) ||
        (!request.queueing && (spec->flags & COMMAND_NO_MULTI) != 0 && route_lock_refused(connection, command))) {
        server->figures.by_command[spec->id].rejected++;
        session_client_forget(connection);
        return;
    }
    if (waits_for_others(connection, &request) || waits_for_session(connection, &request)) {
        route_park_command(connection, command);
        return;
    }
    if (refused_for_session(connection, &request)) {
        return;
    }
    connection->last_command = command_called(command);
    connection->commands++;
    if (request.queueing) {
        multi_queue(connection, command, request.shard);
        return;
    }
    if (server->monitors + server->monitors_elsewhere != 0 &&
        spec->id != COMMAND_EXEC) { /* multi.c shows an EXEC after its commands */
        monitor_feed(connection, server->as_sent != NULL ? server->as_sent : command);
    }
    if (spec->id == COMMAND_DEBUG && route_sleeps(connection, command)) {
        return;
    }
    if (!taken(connection, &request)) {
        execute(connection, &request);
    }
}

static void dispatch_script(struct connection *connection, struct command *command)
{
    struct server *server = connection->server;
    if (script_peers_wait(connection, command)) {
        route_park_command(connection, command);
        return;
    }
    const struct command sent = *command;
    const char *error = scripts_resolve(connection, command, &server->script_arguments);
    if (error != NULL) {
        route_refuse_command(connection, command->spec, error);
    } else {
        server->as_sent = &sent;
        dispatch(connection, command);
        server->as_sent = NULL;
    }
}

static void route_command(struct connection *connection, struct command *command)
{
    if (command->spec->key_count != 0 && connection->authenticated) {
        dispatch_script(connection, command);
    } else {
        dispatch(connection, command);
    }
    if (connection->script_places.entering) {
        script_room_dispatched(connection);
    }
    if (connection->script_wait != NULL && !connection->parked) {
        script_peers_end(connection);
    }
}

void route_request(struct connection *connection, const struct slice *argv, uint32_t argc)
{
    const struct command_spec *spec = NULL;
    switch (command_lookup(argv, argc, &spec)) {
    case COMMAND_FOUND: route_command(connection, &(struct command){spec, argv, argc, connection->protocol}); return;
    case COMMAND_UNKNOWN: route_refuse_unknown(connection, argv, argc); return;
    case COMMAND_UNKNOWN_SUBCOMMAND: route_refuse_subcommand(connection, spec, argv[1]); return;
    case COMMAND_WRONG_ARITY: break;
    }
    if (spec->id == COMMAND_EXEC && watch_pending(connection)) { /* it forgets the watches: those on their way, too */
        route_park(connection, argv, argc);
        return;
    }
    route_refuse_arity(connection, spec);
}
