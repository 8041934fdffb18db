#include "server/scripts.h"

#include "machine/scripts.h"
#include "server/local.h"
#include "server/script_home.h"
#include "server/script_peers.h"
#include "server/script_texts.h"

/* ---- on the way to a shard ---- */

/* What the first line says is looked at where the script runs; here it may make a read of it. */
static bool says_no_writes(struct slice source)
{
    struct resp_writer nobody = resp_writer_to(NULL, RESP2);
    struct slice body;
    uint32_t flags;
    return script_shebang(source, &flags, &body, &nobody) && (flags & SCRIPT_NO_WRITES) != 0;
}

static const char no_script[] = "NOSCRIPT No matching script. Please use EVAL.";
static const char says_no_script[] = "return redis.error_reply('NOSCRIPT No matching script. Please use EVAL.')";

static const char *resolve_name(struct connection *connection, struct command *command, struct command_arguments *room)
{
    struct slice text;
    if (!script_texts_find(connection->server->script_texts, command->argv[1], &text)) {
        if (!connection->in_multi) {
            return no_script;
        }
        text = slice_from_string(says_no_script);
    }
    bool reads = command->spec->id == COMMAND_EVALSHA_RO;
    command_arguments_reserve(room, command->argc);
    memcpy(room->items, command->argv, command->argc * sizeof(*room->items));
    room->items[0] = reads ? SLICE_LITERAL("EVAL_RO") : SLICE_LITERAL("EVAL");
    room->items[1] = text;
    command->argv = room->items;
    command->spec = command_by_id(reads ? COMMAND_EVAL_RO : COMMAND_EVAL);
    command->by_name = true;
    return NULL;
}

const char *scripts_resolve(struct connection *connection, struct command *command, struct command_arguments *room)
{
    uint16_t id = command->spec->id;
    if (id == COMMAND_EVALSHA || id == COMMAND_EVALSHA_RO) {
        const char *error = resolve_name(connection, command, room);
        if (error != NULL) {
            return error;
        }
    } else if (id == COMMAND_EVAL || id == COMMAND_EVAL_RO) {
        char sha[SCRIPT_SHA_BYTES];
        script_peers_keep(connection->server, command->argv[1], sha);
    } else {
        return NULL;
    }
    if (command->spec->id == COMMAND_EVAL && says_no_writes(command->argv[1])) {
        command->spec = command_by_id(COMMAND_EVAL_RO);
    }
    return NULL;
}

/* ---- SCRIPT ---- */

void local_script_load(struct local_call *call)
{
    if (script_peers_check(call->argv[2], call->reply)) {
        char sha[SCRIPT_SHA_BYTES];
        script_peers_keep(call->server, call->argv[2], sha);
        resp_bulk(call->reply, slice_of(sha, sizeof(sha)));
    }
}

void local_script_exists(struct local_call *call)
{
    if (call->argc - 2 > SCRIPT_NAMES) {
        resp_error_format(call->reply, "ERR SCRIPT EXISTS takes %d names at most; ask for the others in another one",
                          SCRIPT_NAMES);
        return;
    }
    resp_array(call->reply, call->argc - 2);
    for (uint32_t i = 2; i < call->argc; i++) {
        struct slice text;
        resp_integer(call->reply, script_texts_find(call->server->script_texts, call->argv[i], &text));
    }
}

void local_script_flush(struct local_call *call)
{
    if (!script_peers_flush_valid(call->command)) {
        resp_error(call->reply, "ERR SCRIPT FLUSH only support SYNC|ASYNC option");
        return;
    }
    if (call->connection->script_wait == NULL) { /* in EXEC, which waits for nobody */
        script_peers_flush(call->server);
    }
    resp_status(call->reply, "OK");
}
