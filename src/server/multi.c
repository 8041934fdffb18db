#include "server/multi.h"

#include "base/assert.h"
#include "base/number.h"
#include "base/varint.h"
#include "server/monitor.h"
#include "server/route.h"
#include "server/server_state.h"
#include "server/watch.h"
#include "wire/resp_reply.h"

#include <stdlib.h>

/* The server's commands inside one EXEC, and where their replies go. */
struct exec_plan {
    uint32_t total;   /* commands in all */
    uint32_t *places; /* of the local ones, ascending */
    uint32_t place_count;
    struct buffer commands; /* encoded local commands */
};

/* ---- queued commands: a byte says which form follows ---- */

enum { QUEUED_MACHINE, QUEUED_LOCAL };

/* Commands of the server never travel in the log, so command_encode does not take them. */
static void local_encode(struct buffer *out, const struct command *command)
{
    uint8_t *at = buffer_reserve(out, 2 * VARINT_MAXIMUM_BYTES);
    uint8_t *end = varint_put(varint_put(at, command->spec->id), command->argc);
    out->size += (size_t)(end - at);
    for (uint32_t i = 0; i < command->argc; i++) {
        at = buffer_reserve(out, VARINT_MAXIMUM_BYTES);
        out->size += (size_t)(varint_put(at, command->argv[i].size) - at);
        buffer_append_slice(out, command->argv[i]);
    }
}

static uint64_t take_number(struct slice *from)
{
    uint64_t value = 0;
    ASSERT(varint_take(from, &value));
    return value;
}

static struct command local_decode(struct slice *from, struct command_arguments *arguments)
{
    struct command command = {.spec = command_by_id((uint16_t)take_number(from))};
    command.argc = (uint32_t)take_number(from);
    command_arguments_reserve(arguments, command.argc);
    for (uint32_t i = 0; i < command.argc; i++) {
        size_t size = (size_t)take_number(from);
        ASSERT(size <= from->size);
        arguments->items[i] = slice_of(from->data, size);
        *from = slice_of(from->data + size, from->size - size);
    }
    command.argv = arguments->items;
    return command;
}

/* Takes the first queued command; true when it is the server's. */
static bool queued_take(struct slice *from, struct command_arguments *arguments, struct command *ret_command)
{
    bool local = from->data[0] == QUEUED_LOCAL;
    *from = slice_of(from->data + 1, from->size - 1);
    if (local) {
        *ret_command = local_decode(from, arguments);
    } else {
        ASSERT(command_decode(from, arguments, ret_command) == STATUS_OK);
    }
    return local;
}

void exec_plan_destroy(struct exec_plan *plan)
{
    if (plan != NULL) {
        free(plan->places);
        buffer_deinit(&plan->commands);
        free(plan);
    }
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
    buffer_deinit(&connection->queued);
}

static void answer_error(struct connection *connection, const char *text)
{
    struct resp_writer *reply = reply_begin(connection);
    resp_error(reply, text);
    reply_end(connection);
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

/* As Redis Cluster: each command by itself may stand in the transaction, EXEC looks whether they go together. */
static void note_shard(struct connection *connection, uint32_t shard)
{
    if (connection->queued_shard == 0) {
        connection->queued_shard = shard;
    } else if (connection->queued_shard != shard) {
        connection->queued_crosses = true;
    }
}

void multi_queue(struct connection *connection, const struct command *command, uint32_t shard)
{
    if ((command->spec->flags & COMMAND_NO_MULTI) != 0) {
        multi_spoil(connection);
        answer(connection, "-ERR Command not allowed inside a transaction");
        return;
    }
    bool machine = command->spec->place == COMMAND_AT_MACHINE;
    if (machine && shard == 0) {
        multi_spoil(connection);
        answer_error(connection, route_crossing(ROUTE_CROSSING_ALL));
        return;
    }
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
        local_encode(&connection->queued, command);
        if (command->spec->id == COMMAND_HELLO) {
            local_hello_protocol(connection, command, &connection->queued_protocol);
        }
    } else {
        struct command later = *command;
        later.protocol = connection->queued_protocol;
        buffer_append_byte(&connection->queued, QUEUED_MACHINE);
        command_encode(&connection->queued, &later);
        note_shard(connection, shard);
    }
    connection->queued_count++;
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

static void plan_local(struct exec_build *build, uint32_t place, uint32_t total, struct slice encoded)
{
    if (build->plan == NULL) {
        build->plan = calloc(1, sizeof(*build->plan));
        ASSERT(build->plan != NULL);
        build->plan->total = total;
        build->plan->places = malloc(total * sizeof(*build->plan->places));
        ASSERT(build->plan->places != NULL);
    }
    build->plan->places[build->plan->place_count++] = place;
    buffer_append_slice(&build->plan->commands, encoded);
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
            plan_local(build, place, connection->queued_count, encoded);
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
        if (reply->out != NULL && cluster_read(server->cluster, shard, &command, reply, &way)) {
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

/* Monitors see the queued commands when they are executed, then the EXEC. */
static void show_exec(struct connection *connection, const struct command *exec)
{
    if (connection->server->monitors == 0) {
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
    if (connection->queued_crosses) {
        return route_crossing(ROUTE_CROSSING_MULTI);
    }
    if (watches->shard != 0 && connection->queued_shard != 0 && watches->shard != connection->queued_shard) {
        return route_crossing(ROUTE_CROSSING_WATCH);
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
        answer_error(connection, refusal);
        return;
    }
    show_exec(connection, exec);
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

/* Takes the head of an EXEC's reply: true when so many replies follow, whole and nothing else. They may come from
 * another node. */
static bool take_exec_head(struct slice *from, uint64_t count)
{
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct resp_reader reader;
    struct resp_token token;
    resp_reader_init(&reader);
    if (resp_reader_next(&reader, &limits, from->data, from->size, &token) != RESP_REPLY_READY ||
        token.type != RESP_ARRAY || token.count != count) {
        return false;
    }
    *from = slice_of(from->data + reader.consumed, from->size - reader.consumed);
    size_t at = 0;
    for (uint64_t i = 0; i < count; i++) {
        enum resp_type root = RESP_NULL;
        resp_reader_init(&reader);
        if (resp_reader_skip(&reader, &limits, from->data + at, from->size - at, &root) != RESP_REPLY_READY) {
            return false;
        }
        at += reader.consumed;
    }
    return at == from->size;
}

static size_t first_reply_size(struct slice replies)
{
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct resp_reader reader;
    resp_reader_init(&reader);
    enum resp_type root = RESP_NULL;
    ASSERT(resp_reader_skip(&reader, &limits, replies.data, replies.size, &root) == RESP_REPLY_READY);
    return reader.consumed;
}

/* A command about the connection or the node, at its place among the replies. */
static void execute_planned(struct connection *connection, struct slot *slot, const struct command *command,
                            struct resp_writer *writer)
{
    size_t before = slot->stash.size;
    if (command->spec->id == COMMAND_MONITOR) { /* lines of it would stand inside the reply */
        resp_error(writer, "ERR MONITOR isn't allowed for DENY BLOCKING client");
        return;
    }
    local_execute(connection, command, writer);
    if (command->spec->id == COMMAND_CLIENT_REPLY) { /* it holds for the EXEC as a whole, so that replies stay whole */
        writer->out = &slot->stash;
        slot->silent = connection->reply_mode != REPLY_ON;
    }
    if (slot->stash.size == before) {
        resp_status(writer, "OK");
    }
}

void exec_plan_finish(struct connection *connection, struct slot *slot)
{
    struct exec_plan *plan = slot->exec;
    struct buffer machine = slot->stash;
    buffer_init(&slot->stash);
    slot->exec = NULL;
    connection->reply_start = 0;
    struct slice rest = buffer_slice(&machine);
    if (rest.size == 0 || rest.data[0] != '*' || rest.data[1] == '-') {
        slot->stash = machine; /* nil or an error: nothing was executed */
        exec_plan_destroy(plan);
        if (slot->silent) {
            buffer_clear(&slot->stash);
        }
        return;
    }
    struct resp_writer writer = resp_writer_to(&slot->stash, slot->protocol);
    if (!take_exec_head(&rest, plan->total - plan->place_count)) {
        resp_error(&writer, "UNCERTAIN the transaction was executed, but its replies came back unreadable");
        buffer_deinit(&machine);
        exec_plan_destroy(plan);
        return;
    }
    resp_array(&writer, plan->total);
    struct slice commands = buffer_slice(&plan->commands);
    struct command_arguments arguments;
    command_arguments_init(&arguments);
    uint32_t next = 0;
    for (uint32_t place = 0; place < plan->total; place++) {
        if (next < plan->place_count && plan->places[next] == place) {
            next++;
            struct command command = local_decode(&commands, &arguments);
            command.protocol = (uint8_t)writer.protocol;
            execute_planned(connection, slot, &command, &writer);
        } else {
            size_t size = first_reply_size(rest);
            resp_raw(&writer, slice_of(rest.data, size));
            rest = slice_of(rest.data + size, rest.size - size);
        }
    }
    command_arguments_deinit(&arguments);
    buffer_deinit(&machine);
    exec_plan_destroy(plan);
    if (slot->silent) {
        buffer_clear(&slot->stash);
    }
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
