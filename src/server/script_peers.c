#include "server/script_peers.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/varint.h"
#include "machine/scripts.h"
#include "server/script_asks.h"
#include "server/script_home.h"
#include "server/script_texts.h"
#include "server/server_state.h"

#include <stdlib.h>

/* A parked command, at its own worker. */
struct script_wait {
    struct list node; /* in server.script_waits */
    uint64_t number;
    struct connection *connection; /* NULL: it is gone */
    bool done;
};

/* ---- between workers: what u8 · two numbers u64 · bytes ---- */

enum { TELL_BYTES = 17 };

static void tell(struct server *server, uint32_t to, enum script_tell what, uint64_t a, uint64_t b, struct slice bytes)
{
    uint8_t head[TELL_BYTES] = {(uint8_t)what};
    put_u64(head + 1, a);
    put_u64(head + 9, b);
    const struct slice parts[2] = {slice_of(head, sizeof(head)), bytes};
    workers_tell(server->workers, to, WORKERS_SERVER, CREW_SCRIPT, parts, 2);
}

static void tell_others(struct server *server, enum script_tell what, uint64_t a, uint64_t b, struct slice bytes)
{
    for (uint32_t i = 0; i < server->worker_count; i++) {
        if (i != server->worker) {
            tell(server, i, what, a, b, bytes);
        }
    }
}

void script_peers_keep(struct server *server, struct slice text, char ret_sha[static SCRIPT_SHA_BYTES])
{
    if (script_texts_keep(server->script_texts, text, ret_sha)) {
        tell_others(server, SCRIPT_TELL_TEXT, script_texts_epoch(server->script_texts), 0, text);
    }
}

void script_peers_enter(struct server *server, uint64_t epoch, bool forget)
{
    if (epoch > script_texts_epoch(server->script_texts)) {
        script_texts_enter(server->script_texts, epoch, forget);
        tell_others(server, SCRIPT_TELL_EPOCH, epoch, forget, (struct slice){0});
    }
}

void script_peers_give(struct server *server, uint32_t worker, struct slice text)
{
    if (worker != server->worker) {
        tell(server, worker, SCRIPT_TELL_TEXT, script_texts_epoch(server->script_texts), 0, text);
    }
}

static void take_text(struct server *server, uint64_t epoch, struct slice text)
{
    char sha[SCRIPT_SHA_BYTES];
    script_texts_enter(server->script_texts, epoch, true);
    if (script_texts_welcome(server->script_texts, epoch)) {
        (void)script_texts_keep(server->script_texts, text, sha);
    }
}

static void note_done(struct server *server, uint64_t number)
{
    LIST_FOR_EACH (at, &server->script_waits) {
        struct script_wait *wait = CONTAINER_OF(at, struct script_wait, node);
        if (wait->number != number) {
            continue;
        }
        wait->done = true;
        if (wait->connection != NULL) {
            connection_mark_resume(wait->connection);
        } else {
            list_remove(&wait->node);
            free(wait);
        }
        return;
    }
    UNREACHABLE();
}

void script_peers_done(struct server *server, uint32_t worker, uint64_t number)
{
    if (number == 0) { /* nobody waits */
        return;
    }
    if (worker == server->worker) {
        note_done(server, number);
    } else {
        tell(server, worker, SCRIPT_TELL_DONE, number, 0, (struct slice){0});
    }
}

void script_peers_told(struct server *server, uint32_t from, struct slice body)
{
    ASSERT(body.size >= TELL_BYTES);
    uint64_t a = get_u64(body.data + 1), b = get_u64(body.data + 9);
    struct slice bytes = slice_of(body.data + TELL_BYTES, body.size - TELL_BYTES);
    switch ((enum script_tell)body.data[0]) {
    case SCRIPT_TELL_TEXT: take_text(server, a, bytes); return;
    case SCRIPT_TELL_EPOCH: script_texts_enter(server->script_texts, a, b != 0); return;
    case SCRIPT_TELL_ASK: script_asks_begin(server, from, a, (enum script_note)b, bytes); return;
    case SCRIPT_TELL_DONE: note_done(server, a); return;
    }
    UNREACHABLE();
}

/* ---- commands that wait ---- */

bool script_peers_check(struct slice text, struct resp_writer *reply)
{
    const struct machine_scripts *engine = script_home(); /* server_create has looked */
    machine_scripts_enter(engine);
    bool valid = script_check(engine->engine, text, reply);
    machine_scripts_leave(engine);
    return valid;
}

static bool is_word(const struct command *command, const char *word) { return slice_is_word(command->argv[2], word); }

bool script_peers_flush_valid(const struct command *command)
{
    return command->argc == 2 || (command->argc == 3 && (is_word(command, "sync") || is_word(command, "async")));
}

static void ask(struct server *server, uint64_t number, enum script_note kind, struct slice bytes)
{
    if (server->worker == 0) {
        script_asks_begin(server, 0, number, kind, bytes);
    } else {
        tell(server, 0, SCRIPT_TELL_ASK, number, kind, bytes);
    }
}

void script_peers_flush(struct server *server)
{
    if (server->worker != 0) { /* what comes behind it on this connection finds nothing either */
        script_texts_enter(server->script_texts, script_texts_epoch(server->script_texts) + 1, true);
    }
    ask(server, 0, SCRIPT_NOTE_FLUSH, (struct slice){0});
}

/* True: its answer is not there yet. */
static bool wait_for(struct connection *connection, enum script_note kind, struct slice bytes)
{
    struct server *server = connection->server;
    struct script_wait *wait = memory_allocate_zeroed(1, sizeof(*wait));
    wait->number = ++server->last_script_wait;
    wait->connection = connection;
    list_init(&wait->node);
    list_append(&server->script_waits, &wait->node);
    connection->script_wait = wait;
    ask(server, wait->number, kind, bytes);
    return !wait->done;
}

static void add_unknown(struct server *server, struct slice name, struct buffer *names)
{
    struct slice text;
    if (name.size == SCRIPT_SHA_BYTES && !script_texts_find(server->script_texts, name, &text)) {
        for (size_t i = 0; i < name.size; i++) {
            uint8_t byte = name.data[i];
            buffer_append_byte(names, byte >= 'A' && byte <= 'F' ? (uint8_t)(byte + 32) : byte);
        }
    }
}

/* Of `count` names from `first` on. */
static bool wait_for_names(struct connection *connection, const struct slice *first, uint32_t count)
{
    struct buffer names;
    buffer_init(&names);
    for (uint32_t i = 0; i < count && count <= SCRIPT_NAMES; i++) {
        add_unknown(connection->server, first[i], &names);
    }
    bool waits = names.size != 0 && wait_for(connection, SCRIPT_NOTE_FIND, buffer_slice(&names));
    buffer_deinit(&names);
    return waits;
}

static bool wait_for_load(struct connection *connection, struct slice text)
{
    struct resp_writer nobody = resp_writer_to(NULL, RESP2);
    char sha[SCRIPT_SHA_BYTES];
    if (text.size > SCRIPT_SOURCE_BYTES || !script_peers_check(text, &nobody)) {
        return false;
    }
    script_peers_keep(connection->server, text, sha);
    return wait_for(connection, SCRIPT_NOTE_GIVE, text);
}

bool script_peers_wait(struct connection *connection, const struct command *command)
{
    if (connection->script_wait != NULL) {
        return script_peers_pending(connection);
    }
    switch (command->spec->id) {
    case COMMAND_EVALSHA:
    case COMMAND_EVALSHA_RO: return wait_for_names(connection, command->argv + 1, 1);
    case COMMAND_SCRIPT_EXISTS: return wait_for_names(connection, command->argv + 2, command->argc - 2);
    case COMMAND_SCRIPT_LOAD: return wait_for_load(connection, command->argv[2]);
    case COMMAND_SCRIPT_FLUSH:
        return !connection->in_multi && script_peers_flush_valid(command) &&
               wait_for(connection, SCRIPT_NOTE_FLUSH, (struct slice){0});
    default: return false;
    }
}

bool script_peers_pending(const struct connection *connection)
{
    return connection->script_wait != NULL && !connection->script_wait->done;
}

void script_peers_end(struct connection *connection)
{
    struct script_wait *wait = connection->script_wait;
    if (wait == NULL) {
        return;
    }
    connection->script_wait = NULL;
    wait->connection = NULL;
    if (wait->done) {
        list_remove(&wait->node);
        free(wait);
    }
}

/* ---- beginning and end ---- */

void script_peers_init(struct server *server)
{
    list_init(&server->script_waits);
    list_init(&server->script_asks);
    server->script_texts = script_texts_create();
}

void script_peers_destroy(struct server *server)
{
    script_asks_destroy(server);
    while (!list_empty(&server->script_waits)) {
        struct script_wait *wait = CONTAINER_OF(server->script_waits.next, struct script_wait, node);
        list_remove(&wait->node);
        free(wait);
    }
    script_texts_destroy(server->script_texts);
}
