#include "server/multi.h"

#include "base/assert.h"
#include "base/number.h"
#include "server/consistency.h"
#include "server/exec_plan.h"
#include "server/local.h"
#include "server/monitor.h"
#include "server/round.h"
#include "server/route_refuse.h"
#include "server/route_submit.h"
#include "server/server_state.h"
#include "server/txn_client.h"
#include "server/watch.h"

#include <stdlib.h>

/* ---- queued commands: a byte says which form follows ---- */

enum { QUEUED_MACHINE, QUEUED_LOCAL };

/* Takes the first queued command; true when it is the server's. */
static bool queued_take(struct slice *from, struct command_arguments *arguments, struct command *ret_command)
{
    bool local = from->data[0] == QUEUED_LOCAL;
    *from = slice_of(from->data + 1, from->size - 1);
    if (local) {
        *ret_command = exec_plan_decode(from, arguments);
    } else {
        ASSERT(command_decode(from, arguments, ret_command) == STATUS_OK);
    }
    return local;
}

bool multi_runs_at_once(const struct command_spec *spec)
{
    switch (spec->id) {
    case COMMAND_MULTI:
    case COMMAND_EXEC:
    case COMMAND_DISCARD:
    case COMMAND_WATCH:
    case COMMAND_QUIT:
    case COMMAND_RESET: return true;
    default: return false;
    }
}

bool multi_needs_watches(const struct command_spec *spec)
{
    switch (spec->id) {
    case COMMAND_EXEC:
    case COMMAND_DISCARD:
    case COMMAND_UNWATCH:
    case COMMAND_RESET: return true;
    default: return false;
    }
}

void multi_spoil(struct connection *connection)
{
    if (connection->in_multi) {
        connection->multi_failed = true;
    }
}

void multi_discard(struct connection *connection)
{
    connection->in_multi = false;
    connection->multi_failed = false;
    connection->queued_count = 0;
    connection->queued_flags = 0;
    connection->queued_shard = 0;
    connection->queued_crosses = false;
    connection->queued_values = false;
    connection->queued_scripts = false;
    buffer_deinit(&connection->queued);
}

static void answer(struct connection *connection, const char *status)
{
    struct resp_writer *reply = reply_begin(connection);
    if (status[0] == '-') {
        resp_error(reply, status + 1);
    } else {
        resp_status(reply, status);
    }
    reply_end(connection);
}

static void note_shard(struct connection *connection, uint32_t shard)
{
    if (connection->queued_shard == 0 && shard != ROUTE_SEVERAL) {
        connection->queued_shard = shard;
    } else if (connection->queued_shard != shard) {
        connection->queued_crosses = true;
    }
}

bool multi_crosses(const struct connection *connection)
{
    const struct watches *watches = &connection->watches;
    return connection->queued_crosses || watches->shard == ROUTE_SEVERAL ||
           (watches->shard != 0 && connection->queued_shard != 0 && watches->shard != connection->queued_shard);
}

void multi_queue(struct connection *connection, const struct command *command, uint32_t shard)
{
    if ((command->spec->flags & COMMAND_NO_MULTI) != 0) {
        multi_spoil(connection);
        answer(connection, "-ERR Command not allowed inside a transaction");
        return;
    }
    if (connection->server->worker_count > 1 && round_takes(command->spec)) {
        multi_spoil(connection);
        answer(connection, "-ERR this command asks all workers of this node, and a transaction does not wait for them; "
                           "send it by itself");
        return;
    }
    bool machine = command->spec->place == COMMAND_AT_MACHINE;
    bool looks = machine && shard == 0;
    bool script = command->spec->key_count != 0 && connection->server->shards > 1;
    bool moves = machine && (shard == ROUTE_SEVERAL || script) && !txn_plan_cuts(command->spec);
    size_t limit = (size_t)connection->server->config.client_query_buffer_bytes;
    size_t size = 0;
    for (uint32_t i = 0; i < command->argc; i++) {
        size += command->argv[i].size + 8;
    }
    if (connection->queued.size + size > limit) {
        multi_spoil(connection);
        answer(connection, "-ERR the transaction is larger than client-query-buffer-limit; DISCARD it and send less");
        return;
    }
    if (!machine) {
        buffer_append_byte(&connection->queued, QUEUED_LOCAL);
        exec_plan_encode(&connection->queued, command);
        if (command->spec->id == COMMAND_HELLO) {
            local_hello_protocol(connection, command, &connection->queued_protocol);
        }
    } else {
        struct command later = *command;
        later.protocol = connection->queued_protocol;
        buffer_append_byte(&connection->queued, QUEUED_MACHINE);
        command_encode(&connection->queued, &later);
        note_shard(connection, looks ? ROUTE_SEVERAL : shard);
        connection->queued_values = connection->queued_values || moves;
    }
    connection->queued_count++;
    connection->queued_scripts = connection->queued_scripts || command->spec->key_count != 0;
    connection->queued_flags |= command->spec->flags;
    answer(connection, "QUEUED");
}

/* ---- EXEC ---- */

/* The log's form of an EXEC: see src/machine/exec.c. Slices in `arguments` point into `text` and `queued`. */
struct exec_build {
    struct command_arguments arguments;
    uint32_t argc;
    struct buffer text;
    struct exec_plan *plan;
    bool readonly;
};

static void build_watches(struct exec_build *build, const struct connection *connection)
{
    /* All decimal numbers first, so that the text does not move when slices are taken. */
    size_t room = (connection->watches.count + 1) * NUMBER_INT64_BYTES;
    uint8_t *at = buffer_reserve(&build->text, room);
    struct slice *items = build->arguments.items;
    items[build->argc++] = SLICE_LITERAL("EXEC");
    size_t size = number_format_uint64((char *)at, connection->watches.count);
    items[build->argc++] = slice_of(at, size);
    at += size;
    for (size_t i = 0; i < connection->watches.count; i++) {
        size = number_format_uint64((char *)at, connection->watches.items[i].version);
        items[build->argc++] = connection->watches.items[i].key;
        items[build->argc++] = slice_of(at, size);
        at += size;
    }
}

static void build_commands(struct exec_build *build, struct connection *connection)
{
    struct command_arguments *arguments = &connection->server->arguments;
    struct slice rest = buffer_slice(&connection->queued);
    for (uint32_t place = 0; place < connection->queued_count; place++) {
        struct command command;
        const uint8_t *start = rest.data + 1;
        bool local = queued_take(&rest, arguments, &command);
        struct slice encoded = slice_of(start, (size_t)(rest.data - start));
        if (local) {
            exec_plan_add(&build->plan, place, connection->queued_count, encoded);
        } else {
            build->readonly = build->readonly && (command.spec->flags & COMMAND_READONLY) != 0;
            build->arguments.items[build->argc++] = encoded;
        }
    }
}

static void submit_exec(struct connection *connection, uint32_t shard, const struct exec_build *build)
{
    struct server *server = connection->server;
    struct command command = {command_by_id(COMMAND_EXEC), build->arguments.items, build->argc, connection->protocol};
    if (build->plan == NULL && build->readonly && !connection_pending(connection)) {
        struct resp_writer *reply = reply_begin(connection);
        enum cluster_way way;
        if (reply->out == NULL) {
            return; /* nobody reads it, and reading changes nothing */
        }
        if (cluster_read(server->cluster, shard, &command, reply, &way)) {
            consistency_reach(connection, shard, cluster_told_index(server->cluster));
            reply_end(connection);
            route_measure(connection, &command);
            return;
        }
    }
    uint64_t number = slot_open(connection, command.spec);
    if (build->plan != NULL) {
        struct slot *slot = slot_at(connection, number);
        slot->kind = SLOT_EXEC;
        slot->exec = build->plan;
    }
    enum status status = cluster_submit(server->cluster, shard, &command, CLUSTER_LOGGED, &connection->requester,
                                        slot_tag(number, shard));
    if (status == STATUS_OK) {
        connection->owed++;
        connection->plan_end = build->plan != NULL ? number + 1 : connection->plan_end;
        return;
    }
    slot_withdraw(connection);
    route_refuse(connection, status);
}

/* The same as a transaction over several shards. */
static void start_exec(struct connection *connection)
{
    struct txn_plan plan;
    struct exec_plan *exec_plan = NULL;
    struct slice rest = buffer_slice(&connection->queued);
    txn_plan_init(&plan, connection->server->shards, connection->queued_values);
    plan.values.scripts = cluster_scripts(connection->server->cluster);
    for (size_t i = 0; i < connection->watches.count; i++) {
        txn_plan_watch(&plan, connection->watches.items[i].key, connection->watches.items[i].version);
    }
    for (uint32_t place = 0; place < connection->queued_count; place++) {
        struct command command;
        const uint8_t *start = rest.data + 1;
        if (queued_take(&rest, &connection->server->arguments, &command)) {
            exec_plan_add(&exec_plan, place, connection->queued_count, slice_of(start, (size_t)(rest.data - start)));
        } else {
            txn_plan_add(&plan, &command);
        }
    }
    txn_client_exec(connection, &plan, exec_plan);
}

/* Monitors see the queued commands when they are executed, then the EXEC. */
static void show_exec(struct connection *connection, const struct command *exec)
{
    if (connection->server->monitors + connection->server->monitors_elsewhere == 0) {
        return;
    }
    struct slice rest = buffer_slice(&connection->queued);
    for (uint32_t i = 0; i < connection->queued_count; i++) {
        struct command command;
        (void)queued_take(&rest, &connection->server->arguments, &command);
        monitor_feed(connection, &command);
    }
    monitor_feed(connection, exec);
}

/* Why the transaction must not run; NULL: it may. */
static const char *exec_refusal(struct connection *connection)
{
    const struct watches *watches = &connection->watches;
    struct command_spec sum = {.flags = connection->queued_flags};
    if (connection->multi_failed) {
        return "EXECABORT Transaction discarded because of previous errors.";
    }
    if (watches->failed) {
        return "EXECABORT Transaction discarded because a WATCH before it failed; its error says why";
    }
    if (route_out_of_memory(connection, &sum)) {
        return "EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.";
    }
    return NULL;
}

/* The shard of what is queued and watched; any other will do when there is nothing of both. */
static uint32_t exec_shard(const struct connection *connection)
{
    uint32_t shard = connection->queued_shard != 0 ? connection->queued_shard : connection->watches.shard;
    return shard != 0 ? shard : 1;
}

static void execute_exec(struct connection *connection, const struct command *exec)
{
    if (!connection->in_multi) {
        answer(connection, "-ERR EXEC without MULTI");
        return;
    }
    const char *refusal = exec_refusal(connection);
    if (refusal != NULL) {
        multi_discard(connection);
        watch_forget(connection);
        reply_with_error(connection, refusal);
        return;
    }
    show_exec(connection, exec);
    if (multi_crosses(connection)) {
        start_exec(connection);
        multi_discard(connection);
        watch_forget(connection);
        return;
    }
    struct exec_build build = {.readonly = true};
    command_arguments_init(&build.arguments);
    command_arguments_reserve(&build.arguments, 2 + 2 * connection->watches.count + connection->queued_count);
    build_watches(&build, connection);
    build_commands(&build, connection);
    submit_exec(connection, exec_shard(connection), &build);
    command_arguments_deinit(&build.arguments);
    buffer_deinit(&build.text);
    multi_discard(connection);
    watch_forget(connection);
}

bool multi_command(struct connection *connection, const struct command *command, uint32_t shard)
{
    switch (command->spec->id) {
    case COMMAND_MULTI:
        if (connection->in_multi) {
            answer(connection, "-ERR MULTI calls can not be nested");
        } else {
            connection->in_multi = true;
            connection->queued_protocol = connection->protocol;
            answer(connection, "OK");
        }
        return true;
    case COMMAND_EXEC: execute_exec(connection, command); return true;
    case COMMAND_DISCARD:
        if (connection->in_multi) {
            multi_discard(connection);
            watch_forget(connection);
            answer(connection, "OK");
        } else {
            answer(connection, "-ERR DISCARD without MULTI");
        }
        return true;
    case COMMAND_WATCH:
        if (connection->in_multi) {
            answer(connection, "-ERR WATCH inside MULTI is not allowed");
        } else {
            watch_execute(connection, command, shard);
        }
        return true;
    default: return false;
    }
}
