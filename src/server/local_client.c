#include "base/number.h"
#include "server/consistency.h"
#include "server/local.h"

#include <stdlib.h>

/* One client as a line of fields, Redis's names and order where the field exists here. */
static void describe(struct buffer *out, const struct connection *connection, int64_t now_ns)
{
    const struct config *config = &connection->server->config;
    char flags[6];
    size_t flag_count = 0;
    if (connection->monitor) {
        flags[flag_count++] = 'O';
    }
    if (connection_subscribed(connection)) {
        flags[flag_count++] = 'P';
    }
    if (connection->in_multi) {
        flags[flag_count++] = 'x';
    }
    if (connection->waiter != NULL) {
        flags[flag_count++] = 'b';
    }
    if (connection->level == CONSISTENCY_EVENTUAL) {
        flags[flag_count++] = 'r';
    }
    if (flag_count == 0) {
        flags[flag_count++] = 'N';
    }
    flags[flag_count] = '\0';
    size_t kept = connection->in.size - connection->in_start;
    static const size_t none[CHANNEL_KINDS];
    const size_t *subscriptions = connection->listener == NULL ? none : connection->listener->counts;
    buffer_append_format(
        out,
        "id=%llu addr=%s laddr=%s fd=%d name=%s age=%lld idle=%lld flags=%s db=0 sub=%zu psub=%zu ssub=%zu multi=%d "
        "qbuf=%zu "
        "qbuf-free=%zu argv-mem=0 multi-mem=%zu rbs=0 rbp=0 obl=%zu oll=%llu omem=%zu tot-mem=%zu events=%s cmd=%s "
        "user=%s redir=-1 resp=%d\n",
        (unsigned long long)connection->id, connection->peer, connection->local,
        env_stream_id(connection->server->env, connection->stream), connection->name == NULL ? "" : connection->name,
        (long long)((now_ns - connection->created_ns) / 1000000000),
        (long long)((now_ns - connection->active_ns) / 1000000000), flags, subscriptions[CHANNEL_NAMED],
        subscriptions[CHANNEL_PATTERN], subscriptions[CHANNEL_SHARD],
        connection->in_multi ? (int)connection->queued_count : -1, kept, connection->in.capacity - kept,
        connection->queued.capacity, connection_output_bytes(connection),
        (unsigned long long)(connection->slot_tail - connection->slot_head), connection->out.capacity,
        connection->counted_bytes, connection->want_write ? "rw" : "r",
        connection->last_command == NULL ? "NULL" : connection->last_command->name,
        config->requirepass[0] != '\0' && !connection->authenticated ? "(none)" : "default", connection->protocol);
}

void local_client_id(struct local_call *call) { resp_integer(call->reply, (int64_t)call->connection->id); }

void local_client_info(struct local_call *call)
{
    struct buffer text;
    buffer_init(&text);
    describe(&text, call->connection, server_now_ns(call->server));
    resp_verbatim(call->reply, "txt", buffer_slice(&text));
    buffer_deinit(&text);
}

static bool listed(const struct local_call *call, const struct connection *connection)
{
    if (call->argc == 4 && local_word(call, 2, "TYPE")) {
        return local_word(call, 3, "pubsub")   ? connection_subscribed(connection)
               : local_word(call, 3, "normal") ? !connection_subscribed(connection)
                                               : false; /* nobody is a replica, or a master */
    }
    uint32_t first_id = call->argc > 3 && local_word(call, 2, "ID") ? 3 : 0;
    if (first_id == 0) {
        return true;
    }
    for (uint32_t i = first_id; i < call->argc; i++) {
        int64_t id = 0;
        if (number_parse_int64(call->argv[i], &id) && (uint64_t)id == connection->id) {
            return true;
        }
    }
    return false;
}

void local_client_list_part(const struct local_call *call, struct buffer *out)
{
    int64_t now_ns = server_now_ns(call->server);
    LIST_FOR_EACH (at, &call->server->connections) {
        const struct connection *connection = CONTAINER_OF(at, struct connection, node);
        if (listed(call, connection)) {
            describe(out, connection, now_ns);
        }
    }
}

static void append_part(void *owner, struct slice part) { buffer_append_slice(owner, part); }

void local_client_list(struct local_call *call)
{
    if (call->argc == 4 && local_word(call, 2, "TYPE")) {
        if (!local_word(call, 3, "normal") && !local_word(call, 3, "master") && !local_word(call, 3, "replica") &&
            !local_word(call, 3, "slave") && !local_word(call, 3, "pubsub")) {
            resp_error_format(call->reply, "ERR Unknown client type '%.*s'", (int)call->argv[3].size,
                              (const char *)call->argv[3].data);
            return;
        }
    } else if (call->argc > 3 && local_word(call, 2, "ID")) {
        for (uint32_t i = 3; i < call->argc; i++) {
            int64_t id = 0;
            if (!number_parse_int64(call->argv[i], &id) || id < 1) {
                resp_error(call->reply, "ERR Invalid client ID");
                return;
            }
        }
    } else if (call->argc != 2) {
        resp_error(call->reply, "ERR syntax error");
        return;
    }
    struct buffer text;
    buffer_init(&text);
    local_client_list_part(call, &text);
    round_each(call->round, append_part, &text);
    resp_verbatim(call->reply, "txt", buffer_slice(&text));
    buffer_deinit(&text);
}

void local_client_getname(struct local_call *call)
{
    if (call->connection->name == NULL) {
        resp_null(call->reply);
    } else {
        resp_bulk_string(call->reply, call->connection->name);
    }
}

/* ---- CLIENT KILL ---- */

struct kill_filter {
    int64_t id; /* 0: any */
    struct slice address, local_address, user;
    bool type_normal, type_pubsub, type_other, skip_me;
};

static bool kill_matches(const struct kill_filter *filter, const struct connection *connection,
                         const struct connection *me)
{
    if (filter->skip_me && connection == me) {
        return false;
    }
    bool subscribed = connection_subscribed(connection);
    if ((filter->type_normal && subscribed) || (filter->type_pubsub && !subscribed)) {
        return false;
    }
    return (filter->id == 0 || (uint64_t)filter->id == connection->id) && !filter->type_other &&
           (filter->address.data == NULL || slice_equal(filter->address, slice_from_string(connection->peer))) &&
           (filter->local_address.data == NULL ||
            slice_equal(filter->local_address, slice_from_string(connection->local)));
}

static size_t kill_matching(const struct local_call *call, const struct kill_filter *filter)
{
    size_t killed = 0;
    LIST_FOR_EACH_SAFE (at, after, &call->server->connections) {
        struct connection *connection = CONTAINER_OF(at, struct connection, node);
        if (kill_matches(filter, connection, call->connection)) {
            killed++;
            if (connection == call->connection) {
                connection_finish(connection);
            } else {
                connection_close(connection);
            }
        }
    }
    return killed;
}

/* These two are followed by what was given. */
static const char unknown_type_text[] = "ERR Unknown client type";
static const char unknown_user_text[] = "ERR No such user";

static const char *kill_option(const struct local_call *call, uint32_t at, struct kill_filter *filter)
{
    struct slice value = call->argv[at + 1];
    if (local_word(call, at, "ID")) {
        return number_parse_int64(value, &filter->id) && filter->id > 0 ? NULL
                                                                        : "ERR client-id should be greater than 0";
    }
    if (local_word(call, at, "TYPE")) {
        filter->type_normal = slice_is_word(value, "normal");
        filter->type_pubsub = slice_is_word(value, "pubsub");
        filter->type_other = !filter->type_normal && !filter->type_pubsub;
        bool known = filter->type_normal || filter->type_pubsub || slice_is_word(value, "master") ||
                     slice_is_word(value, "slave") || slice_is_word(value, "replica");
        return known ? NULL : unknown_type_text;
    }
    if (local_word(call, at, "ADDR")) {
        filter->address = value;
        return NULL;
    }
    if (local_word(call, at, "LADDR")) {
        filter->local_address = value;
        return NULL;
    }
    if (local_word(call, at, "USER")) {
        filter->user = value;
        return slice_equal(value, SLICE_LITERAL("default")) ? NULL : unknown_user_text;
    }
    if (local_word(call, at, "SKIPME")) {
        filter->skip_me = slice_is_word(value, "yes");
        return filter->skip_me || slice_is_word(value, "no") ? NULL : "ERR syntax error";
    }
    return "ERR syntax error";
}

static void add_killed(void *owner, struct slice part)
{
    uint64_t killed = 0;
    memcpy(&killed, part.data, sizeof(killed));
    *(uint64_t *)owner += killed;
}

/* Of all workers. */
static uint64_t kill_all_matching(struct local_call *call, const struct kill_filter *filter)
{
    uint64_t killed = kill_matching(call, filter);
    round_each(call->round, add_killed, &killed);
    return killed;
}

void local_client_kill_part(const struct local_call *call, struct buffer *out)
{
    struct kill_filter filter = {.skip_me = call->argc != 3};
    bool good = true;
    if (call->argc == 3) {
        filter.address = call->argv[2];
    }
    for (uint32_t at = 2; at < call->argc && call->argc != 3; at += 2) {
        good = good && at + 1 < call->argc && kill_option(call, at, &filter) == NULL;
    }
    uint64_t killed = good ? kill_matching(call, &filter) : 0; /* else who was asked says what is wrong */
    buffer_append(out, &killed, sizeof(killed));
}

void local_client_kill(struct local_call *call)
{
    if (call->argc == 3) { /* the old form: one address */
        struct kill_filter filter = {.address = call->argv[2]};
        if (kill_all_matching(call, &filter) == 0) {
            resp_error(call->reply, "ERR No such client");
        } else {
            resp_status(call->reply, "OK");
        }
        return;
    }
    struct kill_filter filter = {.skip_me = true};
    for (uint32_t at = 2; at < call->argc; at += 2) {
        const char *error = at + 1 < call->argc ? kill_option(call, at, &filter) : "ERR syntax error";
        if (error != NULL) {
            if (error == unknown_type_text || error == unknown_user_text) {
                struct slice given = call->argv[at + 1];
                int size = (int)(given.size < 128 ? given.size : 128);
                resp_error_format(call->reply, "%s '%.*s'", error, size, (const char *)given.data);
            } else {
                resp_error(call->reply, error);
            }
            return;
        }
    }
    resp_integer(call->reply, (int64_t)kill_all_matching(call, &filter));
}

/* ---- the rest ---- */

void local_client_no_evict(struct local_call *call)
{
    bool on = local_word(call, 2, "on");
    if (!on && !local_word(call, 2, "off")) {
        resp_error(call->reply, "ERR syntax error");
        return;
    }
    call->connection->no_evict = on;
    resp_status(call->reply, "OK");
}

static void pause_clients(struct server *server, int64_t wait_ms, bool all)
{
    int64_t until_ns = server_now_ns(server) + wait_ms * 1000000;
    bool running = server->pause_until_ns > server_now_ns(server);
    server->pause_until_ns = running && server->pause_until_ns > until_ns ? server->pause_until_ns : until_ns;
    server->pause_all = all || (running && server->pause_all);
}

static bool pause_fits(int64_t wait_ms) { return wait_ms >= 0 && wait_ms <= INT64_MAX / 4000000; }

void local_client_pause_part(const struct local_call *call)
{
    bool all = call->argc == 3 || local_word(call, 3, "ALL");
    int64_t wait_ms = 0;
    if (call->argc <= 4 && (all || local_word(call, 3, "WRITE")) && number_parse_int64(call->argv[2], &wait_ms) &&
        pause_fits(wait_ms)) { /* else who was asked says what is wrong */
        pause_clients(call->server, wait_ms, all);
    }
}

void local_client_pause(struct local_call *call)
{
    bool all = true;
    if (call->argc > 4) {
        resp_error(call->reply, "ERR syntax error");
        return;
    }
    if (call->argc == 4) {
        all = local_word(call, 3, "ALL");
        if (!all && !local_word(call, 3, "WRITE")) {
            resp_error(call->reply, "ERR CLIENT PAUSE mode must be WRITE or ALL");
            return;
        }
    }
    int64_t wait_ms = 0;
    if (!number_parse_int64(call->argv[2], &wait_ms)) {
        resp_error(call->reply, "ERR timeout is not an integer or out of range");
        return;
    }
    if (wait_ms < 0) {
        resp_error(call->reply, "ERR timeout is negative");
        return;
    }
    if (!pause_fits(wait_ms)) {
        resp_error(call->reply, "ERR timeout is out of range");
        return;
    }
    pause_clients(call->server, wait_ms, all);
    resp_status(call->reply, "OK");
}

void local_client_unpause(struct local_call *call)
{
    local_client_unpause_part(call);
    resp_status(call->reply, "OK");
}

void local_client_unpause_part(const struct local_call *call)
{
    struct server *server = call->server;
    server->pause_until_ns = 0;
    LIST_FOR_EACH (at, &server->connections) {
        struct connection *connection = CONTAINER_OF(at, struct connection, node);
        if (connection->parked && connection->parked_until_ns != 0 && !connection->slept) {
            connection->parked_until_ns = server_now_ns(server);
            connection_mark_resume(connection);
        }
    }
}

void local_client_reply(struct local_call *call)
{
    struct connection *connection = call->connection;
    if (local_word(call, 2, "ON")) {
        connection->reply_mode = REPLY_ON;
        if (call->reply->out == NULL) { /* begun in silence, but this one is given, in its turn */
            call->reply->out = connection_pending(connection) ? &slot_at(connection, connection->slot_tail - 1)->stash
                                                              : connection_output(connection);
        }
        resp_status(call->reply, "OK");
    } else if (local_word(call, 2, "OFF")) {
        connection->reply_mode = REPLY_OFF;
        call->reply->out = NULL;
    } else if (local_word(call, 2, "SKIP")) {
        if (connection->reply_mode == REPLY_ON) {
            connection->reply_mode = REPLY_SKIP;
        }
        call->reply->out = NULL;
    } else {
        resp_error(call->reply, "ERR syntax error");
    }
}

/* Of this worker's clients: who waits for a lock is the only one that is blocked. */
static bool unblock(struct server *server, uint64_t id, bool error)
{
    LIST_FOR_EACH (at, &server->connections) {
        struct connection *connection = CONTAINER_OF(at, struct connection, node);
        if (connection->id == id) {
            return waiter_unblock(connection, error);
        }
    }
    return false;
}

/* NULL, or what is wrong. */
static const char *unblock_parse(const struct local_call *call, int64_t *ret_id, bool *ret_error)
{
    *ret_error = call->argc == 4 && local_word(call, 3, "ERROR");
    if (call->argc > 4 || (call->argc == 4 && !*ret_error && !local_word(call, 3, "TIMEOUT"))) {
        return "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
    }
    return number_parse_int64(call->argv[2], ret_id) ? NULL : "ERR value is not an integer or out of range";
}

void local_client_unblock_part(const struct local_call *call, struct buffer *out)
{
    int64_t id = 0;
    bool error = false;
    if (unblock_parse(call, &id, &error) == NULL && unblock(call->server, (uint64_t)id, error)) {
        buffer_append_byte(out, 1);
    }
}

/* A worker that has the client says so. */
static void note_unblocked(void *owner, struct slice part)
{
    (void)part;
    *(bool *)owner = true;
}

void local_client_unblock(struct local_call *call)
{
    int64_t id = 0;
    bool error = false;
    const char *problem = unblock_parse(call, &id, &error);
    if (problem != NULL) {
        resp_error(call->reply, problem);
        return;
    }
    bool unblocked = unblock(call->server, (uint64_t)id, error);
    round_each(call->round, note_unblocked, &unblocked);
    resp_integer(call->reply, unblocked ? 1 : 0);
}

void local_client_getredir(struct local_call *call) { resp_integer(call->reply, -1); }
