#include "server/scripts.h"

#include "base/list.h"
#include "base/memory.h"
#include "machine/scripts.h"
#include "server/local.h"
#include "server/script_home.h"

enum { BUCKETS = 1024 };

struct text {
    struct list by_name; /* in its bucket */
    struct list by_use;  /* the longest unused first */
    char sha[SCRIPT_SHA_BYTES];
    size_t size;
    uint8_t bytes[];
};

struct scripts {
    struct list buckets[BUCKETS];
    struct list used;
    size_t count, bytes;
};

struct scripts *scripts_create(void)
{
    struct scripts *scripts = memory_allocate_zeroed(1, sizeof(*scripts));
    for (size_t i = 0; i < BUCKETS; i++) {
        list_init(&scripts->buckets[i]);
    }
    list_init(&scripts->used);
    return scripts;
}

static void forget(struct scripts *scripts, struct text *text)
{
    list_remove(&text->by_name);
    list_remove(&text->by_use);
    scripts->count--;
    scripts->bytes -= text->size;
    free(text);
}

static void forget_down_to(struct scripts *scripts, size_t count, size_t bytes)
{
    while (scripts->count > count || scripts->bytes > bytes) {
        forget(scripts, CONTAINER_OF(scripts->used.next, struct text, by_use));
    }
}

void scripts_destroy(struct scripts *scripts)
{
    if (scripts != NULL) {
        forget_down_to(scripts, 0, 0);
        free(scripts);
    }
}

size_t scripts_bytes(const struct scripts *scripts) { return sizeof(*scripts) + scripts->bytes; }

/* ---- by name ---- */

static uint8_t lower(uint8_t byte) { return byte >= 'A' && byte <= 'F' ? (uint8_t)(byte + 32) : byte; }

static struct list *bucket_of(struct scripts *scripts, const char *sha)
{
    uint32_t hash = 0;
    for (int i = 0; i < 8; i++) {
        hash = hash * 31 + (uint8_t)sha[i];
    }
    return &scripts->buckets[hash % BUCKETS];
}

/* The text of this name, which is now the last used; NULL: unknown. */
static struct text *find(struct scripts *scripts, struct slice name)
{
    char sha[SCRIPT_SHA_BYTES];
    if (name.size != sizeof(sha)) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof(sha); i++) {
        sha[i] = (char)lower(name.data[i]);
    }
    LIST_FOR_EACH (node, bucket_of(scripts, sha)) {
        struct text *text = CONTAINER_OF(node, struct text, by_name);
        if (memcmp(text->sha, sha, sizeof(sha)) == 0) {
            list_remove(&text->by_use);
            list_append(&scripts->used, &text->by_use);
            return text;
        }
    }
    return NULL;
}

/* Gives the name; a text that no script can have is not kept. */
static void remember(struct scripts *scripts, struct slice source, char ret_sha[static SCRIPT_SHA_BYTES])
{
    script_sha(source, ret_sha);
    if (source.size > SCRIPT_SOURCE_BYTES || find(scripts, slice_of(ret_sha, SCRIPT_SHA_BYTES)) != NULL) {
        return;
    }
    forget_down_to(scripts, SCRIPTS_COUNT - 1, SCRIPTS_BYTES - source.size);
    struct text *text = memory_allocate(sizeof(*text) + source.size);
    text->size = source.size;
    memcpy(text->sha, ret_sha, SCRIPT_SHA_BYTES);
    if (source.size > 0) {
        memcpy(text->bytes, source.data, source.size);
    }
    list_append(bucket_of(scripts, ret_sha), &text->by_name);
    list_append(&scripts->used, &text->by_use);
    scripts->count++;
    scripts->bytes += source.size;
}

/* ---- on the way to a shard ---- */

/* What the first line says is looked at where the script runs; here it may make a read of it. */
static bool says_no_writes(struct slice source)
{
    struct resp_writer nobody = resp_writer_to(NULL, RESP2);
    struct slice body;
    uint32_t flags;
    return script_shebang(source, &flags, &body, &nobody) && (flags & SCRIPT_NO_WRITES) != 0;
}

static const char *resolve_name(struct scripts *scripts, struct command *command, struct command_arguments *room)
{
    const struct text *text = find(scripts, command->argv[1]);
    if (text == NULL) {
        return "NOSCRIPT No matching script. Please use EVAL.";
    }
    bool reads = command->spec->id == COMMAND_EVALSHA_RO;
    command_arguments_reserve(room, command->argc);
    memcpy(room->items, command->argv, command->argc * sizeof(*room->items));
    room->items[0] = reads ? SLICE_LITERAL("EVAL_RO") : SLICE_LITERAL("EVAL");
    room->items[1] = slice_of(text->bytes, text->size);
    command->argv = room->items;
    command->spec = command_by_id(reads ? COMMAND_EVAL_RO : COMMAND_EVAL);
    return NULL;
}

const char *scripts_resolve(struct server *server, struct command *command, struct command_arguments *room)
{
    uint16_t id = command->spec->id;
    if (id == COMMAND_EVALSHA || id == COMMAND_EVALSHA_RO) {
        const char *error = resolve_name(server->scripts, command, room);
        if (error != NULL) {
            return error;
        }
    } else if (id == COMMAND_EVAL || id == COMMAND_EVAL_RO) {
        char sha[SCRIPT_SHA_BYTES];
        remember(server->scripts, command->argv[1], sha);
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
    const struct machine_scripts *engine = script_home(); /* server_create has looked */
    machine_scripts_enter(engine);
    bool valid = script_check(engine->engine, call->argv[2], call->reply);
    machine_scripts_leave(engine);
    if (valid) {
        char sha[SCRIPT_SHA_BYTES];
        remember(call->server->scripts, call->argv[2], sha);
        resp_bulk(call->reply, slice_of(sha, sizeof(sha)));
    }
}

void local_script_exists(struct local_call *call)
{
    resp_array(call->reply, call->argc - 2);
    for (uint32_t i = 2; i < call->argc; i++) {
        resp_integer(call->reply, find(call->server->scripts, call->argv[i]) != NULL);
    }
}

void local_script_flush(struct local_call *call)
{
    bool valid = call->argc == 2 || (call->argc == 3 && (local_word(call, 2, "sync") || local_word(call, 2, "async")));
    if (!valid) {
        resp_error(call->reply, "ERR SCRIPT FLUSH only support SYNC|ASYNC option");
        return;
    }
    forget_down_to(call->server->scripts, 0, 0);
    resp_status(call->reply, "OK");
}
