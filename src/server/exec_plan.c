#include "server/exec_plan.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/record.h"
#include "server/local.h"
#include "server/server_state.h"
#include "wire/resp_reply.h"

#include <stdlib.h>

struct exec_plan {
    uint32_t total;   /* commands in all */
    uint32_t *places; /* of the local ones, ascending */
    uint32_t place_count;
    struct buffer commands; /* encoded local commands */
};

void exec_plan_encode(struct buffer *out, const struct command *command)
{
    record_put_number(out, command->spec->id);
    record_put_number(out, command->argc);
    for (uint32_t i = 0; i < command->argc; i++) {
        record_put_text(out, command->argv[i]);
    }
}

static uint64_t take_number(struct slice *from)
{
    uint64_t value = 0;
    ASSERT(varint_take(from, &value));
    return value;
}

struct command exec_plan_decode(struct slice *from, struct command_arguments *arguments)
{
    struct command command = {.spec = command_by_id((uint16_t)take_number(from))};
    command.argc = (uint32_t)take_number(from);
    command_arguments_reserve(arguments, command.argc);
    for (uint32_t i = 0; i < command.argc; i++) {
        ASSERT(record_take_text(from, SIZE_MAX, &arguments->items[i]));
    }
    command.argv = arguments->items;
    return command;
}

void exec_plan_add(struct exec_plan **plan, uint32_t place, uint32_t total, struct slice encoded)
{
    struct exec_plan *to = *plan;
    if (to == NULL) {
        to = memory_allocate_zeroed(1, sizeof(*to));
        to->total = total;
        to->places = memory_allocate(total * sizeof(*to->places));
        *plan = to;
    }
    to->places[to->place_count++] = place;
    buffer_append_slice(&to->commands, encoded);
}

void exec_plan_destroy(struct exec_plan *plan)
{
    if (plan != NULL) {
        free(plan->places);
        buffer_deinit(&plan->commands);
        free(plan);
    }
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
    struct server *server = connection->server;
    server->executing = connection;
    resp_array(&writer, plan->total);
    struct slice commands = buffer_slice(&plan->commands);
    struct command_arguments arguments;
    command_arguments_init(&arguments);
    uint32_t next = 0;
    for (uint32_t place = 0; place < plan->total; place++) {
        if (next < plan->place_count && plan->places[next] == place) {
            next++;
            struct command command = exec_plan_decode(&commands, &arguments);
            command.protocol = (uint8_t)writer.protocol;
            execute_planned(connection, slot, &command, &writer);
        } else {
            size_t size = first_reply_size(rest);
            resp_raw(&writer, slice_of(rest.data, size));
            rest = slice_of(rest.data + size, rest.size - size);
        }
    }
    server->executing = NULL;
    command_arguments_deinit(&arguments);
    buffer_deinit(&machine);
    exec_plan_destroy(plan);
    if (slot->silent) {
        buffer_clear(&slot->stash);
    }
    buffer_append_slice(&slot->stash, buffer_slice(&server->behind_exec));
    buffer_clear(&server->behind_exec);
    buffer_shrink(&server->behind_exec, 1 << 20);
}
