/* EVAL and EVAL_RO: the script runs here, in apply, and its commands are executed on the same keyspace at the same time
 * and position. What it wrote before an error stays, as in Redis; of a script that was stopped nothing stays
 * (keyspace_journal_begin). */
#include "machine/scripts.h"

#include "command/machine_handlers.h"
#include "machine/dispatch.h"
#include "machine/keys/entry.h"

enum { CHECK_STEPS = 4 }; /* for each byte of a text that is only compiled */

struct script_calls {
    struct call *call;        /* of EVAL */
    const struct slice *keys; /* declared */
    uint32_t key_count;
    bool reads;       /* only */
    size_t could_not; /* keep: what a command would have taken that was refused for it; or 0 */
    size_t published; /* bytes; counted whether or not anybody listens, for the script sees the refusal */
};

struct undeclared {
    const struct script_calls *calls;
    const struct slice *argv;
    bool found;
};

static void look_for_key(void *owner, uint32_t position)
{
    struct undeclared *undeclared = owner;
    const struct script_calls *calls = undeclared->calls;
    for (uint32_t i = 0; i < calls->key_count; i++) {
        if (slice_equal(calls->keys[i], undeclared->argv[position])) {
            return;
        }
    }
    undeclared->found = true;
}

/* ---- commands about nothing that is replicated ---- */

static void put_time(const struct call *call, struct resp_writer *writer)
{
    int64_t wall_ms = call->time.applied_wall_ms;
    resp_array(writer, 2);
    resp_bulk_integer(writer, wall_ms / 1000);
    resp_bulk_integer(writer, wall_ms % 1000 * 1000);
}

/* There is only number 0. */
static void put_select(struct slice number, struct resp_writer *writer)
{
    int64_t database;
    if (!number_parse_int64(number, &database)) {
        resp_error(writer, "ERR value is not an integer or out of range");
    } else if (database != 0) {
        resp_error(writer, "ERR DB index is out of range");
    } else {
        resp_status(writer, "OK");
    }
}

static bool answer_here(const struct call *call, const struct command *command, struct resp_writer *writer)
{
    switch (command->spec->id) {
    case COMMAND_PING:
        if (command->argc > 1) {
            resp_bulk(writer, command->argv[1]);
        } else {
            resp_status(writer, "PONG");
        }
        return true;
    case COMMAND_ECHO: resp_bulk(writer, command->argv[1]); return true;
    case COMMAND_TIME: put_time(call, writer); return true;
    case COMMAND_SELECT: put_select(command->argv[1], writer); return true;
    default: return false;
    }
}

/* ---- messages ---- */

/* PUBLISH and SPUBLISH. Who listens at which node is no part of the state, so the script hears of nobody. */
static bool publish(struct script_calls *calls, const struct command *command, struct resp_writer *writer,
                    uint64_t *steps)
{
    bool sharded = command->spec->id == COMMAND_SPUBLISH;
    if (!sharded && command->spec->id != COMMAND_PUBLISH) {
        return false;
    }
    struct message message = {sharded ? MESSAGE_SHARDED : MESSAGE_PUBLISHED, 0, command->argv[1], command->argv[2]};
    size_t bytes = message_bytes(&message);
    if (calls->reads) {
        resp_error(writer, "ERR Write commands are not allowed from read-only scripts.");
        return true;
    }
    if (bytes > SCRIPTS_PUBLISH_BYTES - calls->published) {
        resp_error(writer, "ERR a script may publish 16 MiB in all; what it has published so far stands");
        return true;
    }
    calls->published += bytes;
    *steps += bytes / 64;
    if (calls->call->events != NULL) {
        machine_events_put(calls->call->events, &message);
    }
    resp_integer(writer, 0);
    return true;
}

/* ---- those of the machine ---- */

/* Why the script may not say this, or NULL. */
static const char *refusal(const struct script_calls *calls, const struct command *command)
{
    const struct command_spec *spec = command->spec;
    if ((spec->flags & COMMAND_NOSCRIPT) != 0 || spec->place != COMMAND_AT_MACHINE) {
        return "ERR This Redis command is not allowed from script";
    }
    if (spec->first_key == 0) {
        return "ERR This command is about the keys of all shards, and is not allowed from script; send it by itself";
    }
    if (calls->reads && (spec->flags & COMMAND_WRITE) != 0) {
        return "ERR Write commands are not allowed from read-only scripts.";
    }
    struct undeclared undeclared = {calls, command->argv, false};
    (void)command_keys(spec, command->argv, command->argc, look_for_key, &undeclared);
    if (undeclared.found) {
        return "ERR Script attempted to access a non local key in a cluster node";
    }
    return NULL;
}

/* A copy of a value costs what is copied. */
static uint64_t copied_bytes(struct call *call, const struct command *command)
{
    uint16_t id = command->spec->id;
    if (id != COMMAND_COPY && id != COMMAND_RENAME && id != COMMAND_RENAMENX) {
        return 0;
    }
    const struct entry *entry = call_look(call, command->argv[1]);
    return entry == NULL ? 0 : entry_memory_bytes(entry);
}

/* SETRANGE clears what it makes room for, and growing may move the rest: of one that large a budget has one. */
static uint64_t made_bytes(struct call *call, const struct command *command)
{
    int64_t offset;
    if (command->spec->id != COMMAND_SETRANGE || !number_parse_int64(command->argv[2], &offset) || offset < 0 ||
        offset > CALL_STRING_BYTES || command->argv[3].size == 0) {
        return 0;
    }
    const struct entry *entry = call_look(call, command->argv[1]);
    uint64_t old = entry == NULL ? 0 : entry_memory_bytes(entry);
    uint64_t end = (uint64_t)offset + command->argv[3].size;
    return end > old && end <= CALL_STRING_BYTES ? end : 0; /* beyond, it is refused */
}

/* HSCAN walks COUNT places, whatever matches. */
static uint64_t walked(struct call *call, const struct command *command)
{
    const struct entry *entry = command->spec->id == COMMAND_HSCAN ? call_look(call, command->argv[1]) : NULL;
    if (entry == NULL || entry_is_string(entry)) {
        return 0;
    }
    uint64_t fields = entry_hash_size(entry);
    int64_t count = 10;
    for (uint32_t i = 3; i + 1 < command->argc; i++) {
        if (slice_is_word(command->argv[i], "COUNT")) {
            (void)number_parse_int64(command->argv[i + 1], &count);
        }
    }
    return count > 0 && (uint64_t)count < fields ? (uint64_t)count : fields;
}

struct needs {
    const struct keyspace *keyspace;
    const struct slice *argv;
    size_t bytes;
};

static void add_needs(void *owner, uint32_t position)
{
    struct needs *needs = owner;
    needs->bytes += keyspace_journal_needs(needs->keyspace, needs->argv[position]);
}

/* Whether what the command changes can be kept, to take it back. */
static bool can_keep(struct script_calls *calls, const struct command *command)
{
    const struct keyspace *keyspace = calls->call->keyspace;
    struct needs needs = {keyspace, command->argv, keyspace_journal_bytes(keyspace)};
    if ((command->spec->flags & COMMAND_WRITE) == 0) {
        return true;
    }
    (void)command_keys(command->spec, command->argv, command->argc, add_needs, &needs);
    calls->could_not = needs.bytes > SCRIPT_MEMORY_BYTES ? needs.bytes : 0;
    return calls->could_not == 0;
}

static size_t held_bytes(void *context)
{
    const struct script_calls *calls = context;
    return calls->could_not != 0 ? calls->could_not : keyspace_journal_bytes(calls->call->keyspace);
}

static void execute(struct call *whole, const struct command *command, struct resp_writer *writer)
{
    struct call call = *whole;
    call.spec = command->spec;
    call.argv = command->argv;
    call.argc = command->argc;
    call.reply = *writer;
    call.reply_start = call.reply_base = writer->out->size;
    dispatch_find(command->spec)(&call);
    whole->must_log = call.must_log;
    whole->hits = call.hits;
    whole->misses = call.misses;
}

static bool find_command(const struct slice *argv, uint32_t argc, struct command *ret_command,
                         struct resp_writer *writer)
{
    const struct command_spec *spec;
    switch (command_lookup(argv, argc, &spec)) {
    case COMMAND_FOUND: *ret_command = (struct command){spec, argv, argc, (uint8_t)writer->protocol}; return true;
    case COMMAND_WRONG_ARITY:
        resp_error(writer, "ERR Wrong number of args calling Redis command from script");
        return false;
    case COMMAND_UNKNOWN:
    case COMMAND_UNKNOWN_SUBCOMMAND: break;
    }
    resp_error(writer, "ERR Unknown Redis command called from script");
    return false;
}

static uint64_t call_command(void *context, const struct slice *argv, uint32_t argc, int protocol, struct buffer *reply)
{
    struct script_calls *calls = context;
    struct resp_writer writer = resp_writer_to(reply, protocol);
    struct command command;
    uint64_t steps = 10 + calls->key_count / 4;
    if (!find_command(argv, argc, &command, &writer) || answer_here(calls->call, &command, &writer) ||
        publish(calls, &command, &writer, &steps)) {
        return steps;
    }
    const char *refused = refusal(calls, &command);
    if (refused != NULL) {
        resp_error(&writer, refused);
        return steps;
    }
    if (!can_keep(calls, &command)) {
        resp_error(&writer, "ERR the script's memory has no room for what this command changes");
        return steps;
    }
    steps += copied_bytes(calls->call, &command) / 64 + made_bytes(calls->call, &command) / 16 +
             walked(calls->call, &command);
    execute(calls->call, &command, &writer);
    return steps;
}

static bool knows_command(void *context, struct slice name)
{
    const struct command_spec *spec;
    enum command_lookup found = command_lookup(&name, 1, &spec);
    return found == COMMAND_FOUND || found == COMMAND_WRONG_ARITY;
}

static void beat(void *context)
{
    const struct machine_scripts *scripts = ((struct script_calls *)context)->call->scripts;
    if (scripts->beat != NULL) {
        scripts->beat(scripts->beating);
    }
}

/* ---- EVAL text numkeys key … arg … ---- */

static bool take_key_count(struct call *call, uint32_t *ret_count)
{
    int64_t count;
    if (!call_integer(call, call->argv[2], &count)) {
        return false;
    }
    if (count > (int64_t)call->argc - 3) {
        resp_error(&call->reply, "ERR Number of keys can't be greater than number of args");
        return false;
    }
    if (count < 0) {
        resp_error(&call->reply, "ERR Number of keys can't be negative");
        return false;
    }
    *ret_count = (uint32_t)count;
    return true;
}

/* ---- what they use together ---- */

static struct scripts_sum *sum_of(struct call *call)
{
    bool writes = (call->spec->flags & COMMAND_WRITE) != 0;
    return writes ? &call->spent->writing : &call->spent->reading;
}

static bool is_new_text(struct scripts_sum *sum, struct slice text)
{
    for (uint32_t i = 0; i < sum->text_count; i++) {
        if (slice_equal(sum->texts[i], text)) {
            return false;
        }
    }
    if (sum->text_count < SCRIPTS_TEXTS) {
        sum->texts[sum->text_count++] = text;
    }
    return true;
}

static void spend(struct call *call, uint64_t used, uint64_t compiling)
{
    struct scripts_sum *sum = sum_of(call);
    call->spent->any = true;
    call->spent->ever += used;
    sum->steps += is_new_text(sum, call->argv[1]) ? used : used - compiling;
}

/* EVAL_RO takes no text whose first line has flags but not no-writes; one that is no script at all has its own error.
 */
static bool writes_in_read(struct call *call)
{
    struct resp_writer nobody = resp_writer_to(NULL, RESP2);
    struct slice source = call->argv[1], body;
    uint32_t flags;
    if ((call->spec->flags & COMMAND_WRITE) != 0 || source.size < 2 || memcmp(source.data, "#!", 2) != 0 ||
        !script_shebang(source, &flags, &body, &nobody) || (flags & SCRIPT_NO_WRITES) != 0) {
        return false;
    }
    machine_scripts_enter(call->scripts);
    bool valid = script_check(call->scripts->engine, source, &nobody);
    machine_scripts_leave(call->scripts);
    spend(call, (uint64_t)source.size * CHECK_STEPS, 0);
    if (valid) {
        resp_error(&call->reply, "ERR Can not execute a script with write flag using *_ro command.");
    }
    return valid;
}

/* The script's steps of work, all or nothing unless it failed by itself. */
static void run_script(struct call *call, const struct script_run *run)
{
    bool writes = (call->spec->flags & COMMAND_WRITE) != 0;
    struct script_calls calls = {.call = call, .keys = run->keys, .key_count = run->key_count, .reads = !writes};
    size_t told = call->events == NULL ? 0 : call->events->messages.size;
    struct script_host host = {&calls, call_command, held_bytes, knows_command, beat};
    struct resp_writer reply = call->reply;
    uint64_t used;
    if (writes) {
        keyspace_journal_begin(call->keyspace);
    }
    machine_scripts_enter(call->scripts);
    enum script_end end = script_run(call->scripts->engine, run, &host, &reply, &used);
    uint64_t compiling = script_compiled(call->scripts->engine);
    machine_scripts_leave(call->scripts);
    spend(call, used, compiling);
    if (writes) {
        bool stopped = end == SCRIPT_OVER_BUDGET || end == SCRIPT_OVER_MEMORY;
        keyspace_journal_end(call->keyspace, stopped, call->position);
        if (stopped && call->events != NULL) {
            call->events->messages.size = told; /* nothing of it stays, and nobody hears of it */
        }
    }
}

void script_eval(struct call *call)
{
    uint32_t count;
    if (!take_key_count(call, &count)) {
        return;
    }
    if (call->scripts == NULL) {
        resp_error(&call->reply, "ERR scripts are not executed here; send it to a node by itself");
        return;
    }
    if (sum_of(call)->steps >= SCRIPT_BUDGET) {
        resp_error_format(&call->reply,
                          "ERR the scripts before this one in its transaction have used up the %d steps that they have "
                          "together; it was not executed, share the work out over several transactions",
                          SCRIPT_BUDGET);
        return;
    }
    if (writes_in_read(call)) {
        return;
    }
    struct script_run run = {
        .source = call->argv[1],
        .keys = call->argv + 3,
        .args = call->argv + 3 + count,
        .key_count = count,
        .arg_count = call->argc - 3 - count,
        .seed = call->position,
        .budget = SCRIPT_BUDGET,
        .memory_bytes = SCRIPT_MEMORY_BYTES,
    };
    run_script(call, &run);
}
