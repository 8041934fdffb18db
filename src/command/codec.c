/* Commands as bytes in the log; command.h describes the form. */
#include "command/command.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/varint.h"
#include "command/command_table.h"
#include "wire/resp_writer.h"

#include <stdlib.h>

enum { HEADER_BYTES = 3, FLAG_RESP3 = 1, FLAG_BY_NAME = 2 };

void command_arguments_init(struct command_arguments *arguments) { *arguments = (struct command_arguments){0}; }

void command_arguments_deinit(struct command_arguments *arguments)
{
    free(arguments->items);
    command_arguments_init(arguments);
}

void command_arguments_reserve(struct command_arguments *arguments, size_t count)
{
    if (count <= arguments->capacity) {
        return;
    }
    size_t capacity = arguments->capacity < 8 ? 8 : arguments->capacity;
    while (capacity < count) {
        capacity *= 2;
    }
    struct slice *items = memory_resize(arguments->items, capacity * sizeof(*items));
    arguments->items = items;
    arguments->capacity = capacity;
}

void command_encode(struct buffer *out, const struct command *command)
{
    const struct command_spec *spec = command->spec;
    ASSERT(spec->place != COMMAND_AT_SERVER && command->argc >= spec->words);
    size_t room = HEADER_BYTES + VARINT_MAXIMUM_BYTES;
    for (uint32_t i = spec->words; i < command->argc; i++) {
        room += VARINT_MAXIMUM_BYTES + command->argv[i].size;
    }
    uint8_t *start = buffer_reserve(out, room);
    put_u16(start, spec->id);
    start[2] = (uint8_t)((command->protocol == RESP3 ? FLAG_RESP3 : 0) | (command->by_name ? FLAG_BY_NAME : 0));
    uint8_t *at = varint_put(start + HEADER_BYTES, command->argc - spec->words);
    for (uint32_t i = spec->words; i < command->argc; i++) {
        struct slice argument = command->argv[i];
        at = varint_put(at, argument.size);
        if (argument.size != 0) {
            memcpy(at, argument.data, argument.size);
            at += argument.size;
        }
    }
    out->size += (size_t)(at - start);
}

bool command_exec_parts(const struct command *command, struct command_exec *ret_exec)
{
    int64_t count;
    if (command->argc < 2 || !number_parse_int64(command->argv[1], &count) || count < 0 ||
        count > (command->argc - 2) / 2) {
        return false;
    }
    const struct slice *watches = command->argv + 2;
    for (int64_t i = 0; i < count; i++) {
        int64_t version;
        if (!number_parse_int64(watches[2 * i + 1], &version) || version < 0) {
            return false;
        }
    }
    *ret_exec = (struct command_exec){
        .watches = watches,
        .watch_count = (uint32_t)count,
        .queued = watches + 2 * count,
        .queued_count = command->argc - 2 - 2 * (uint32_t)count,
    };
    return true;
}

/* Whether such a command may stand where these bytes come from. */
static bool may_stand(const struct command_spec *spec, bool in_log)
{
    return spec->place == COMMAND_AT_MACHINE || (spec->place == COMMAND_AT_LOG && in_log);
}

static bool flags_valid(const struct command_spec *spec, uint8_t flags)
{
    return (flags & ~FLAG_RESP3) == 0 || ((flags & ~(FLAG_RESP3 | FLAG_BY_NAME)) == 0 && spec->key_count != 0);
}

/* Takes id, flags and the number of arguments, and checks them as far as they go. */
static enum status take_header(struct slice *from, bool in_log, struct command *ret_command)
{
    if (from->size < HEADER_BYTES) {
        return STATUS_CORRUPT;
    }
    const struct command_spec *spec = command_by_id(get_u16(from->data));
    uint8_t flags = from->data[2];
    if (spec == NULL) {
        return get_u16(from->data) == COMMAND_NONE ? STATUS_CORRUPT : STATUS_VERSION;
    }
    *from = slice_of(from->data + HEADER_BYTES, from->size - HEADER_BYTES);
    uint64_t count;
    if (!may_stand(spec, in_log) || !flags_valid(spec, flags) || !varint_take(from, &count) || count > from->size ||
        count > UINT32_MAX - spec->words) { /* each argument takes a byte at least */
        return STATUS_CORRUPT;
    }
    ret_command->spec = spec;
    ret_command->protocol = flags & FLAG_RESP3 ? RESP3 : RESP2;
    ret_command->by_name = (flags & FLAG_BY_NAME) != 0;
    ret_command->argc = (uint32_t)count + spec->words;
    return spec->id == COMMAND_EXEC || command_arity_ok(spec, ret_command->argc) ? STATUS_OK : STATUS_CORRUPT;
}

static bool take_argument(struct slice *from, struct slice *ret_argument)
{
    uint64_t size;
    if (!varint_take(from, &size) || size > from->size) {
        return false;
    }
    *ret_argument = slice_of(from->data, size);
    *from = slice_of(from->data + size, from->size - size);
    return true;
}

/* Each queued command must decode to its last byte, and be one that a client may queue. */
static enum status check_queued(const struct command *command)
{
    struct command_exec exec;
    if (!command_exec_parts(command, &exec)) {
        return STATUS_CORRUPT;
    }
    for (uint32_t i = 0; i < exec.queued_count; i++) {
        struct slice from = exec.queued[i];
        struct command queued;
        enum status status = take_header(&from, false, &queued);
        if (status != STATUS_OK) {
            return status;
        }
        if (queued.spec->id == COMMAND_EXEC || queued.spec->internal) {
            return STATUS_CORRUPT;
        }
        struct slice argument;
        for (uint32_t at = queued.spec->words; at < queued.argc; at++) {
            if (!take_argument(&from, &argument)) {
                return STATUS_CORRUPT;
            }
        }
        if (from.size != 0) {
            return STATUS_CORRUPT;
        }
    }
    return STATUS_OK;
}

static enum status decode(struct slice *from, bool in_log, struct command_arguments *arguments,
                          struct command *ret_command)
{
    struct slice rest = *from;
    struct command command;
    enum status status = take_header(&rest, in_log, &command);
    if (status != STATUS_OK) {
        return status;
    }
    command_arguments_reserve(arguments, command.argc);
    struct slice *argv = arguments->items;
    uint32_t words = command.spec->words;
    for (uint32_t i = 0; i < words; i++) {
        argv[i] = command_table_words[command.spec->id][i];
    }
    for (uint32_t i = words; i < command.argc; i++) {
        if (!take_argument(&rest, &argv[i])) {
            return STATUS_CORRUPT;
        }
    }
    command.argv = argv;
    if (command.spec->id == COMMAND_EXEC) {
        status = check_queued(&command);
        if (status != STATUS_OK) {
            return status;
        }
    }
    *from = rest;
    *ret_command = command;
    return STATUS_OK;
}

enum status command_decode(struct slice *from, struct command_arguments *arguments, struct command *ret_command)
{
    return decode(from, false, arguments, ret_command);
}

enum status command_decode_logged(struct slice *from, struct command_arguments *arguments, struct command *ret_command)
{
    return decode(from, true, arguments, ret_command);
}
