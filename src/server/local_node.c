#include "base/memory.h"
#include "base/number.h"
#include "server/local.h"

#include <math.h>
#include <stdlib.h>

void local_time(struct local_call *call)
{
    int64_t wall_us = env_wall_us(call->server->env);
    resp_array(call->reply, 2);
    resp_bulk_integer(call->reply, wall_us / 1000000);
    resp_bulk_integer(call->reply, wall_us % 1000000);
}

/* How many nodes besides its leader are sure to have any write that was acknowledged: a majority has it, so there is
 * nothing to wait for. Shards whose voters are fewer give the number. */
static uint32_t sure_replicas(const struct server *server)
{
    uint32_t least = UINT32_MAX;
    for (uint32_t shard = 1; shard <= server->shards; shard++) {
        uint32_t count = cluster_acknowledging(server->cluster, shard);
        least = count < least ? count : least;
    }
    return least;
}

/* Held back until the client's earlier commands are answered (local_needs_quiet). */
void local_wait(struct local_call *call)
{
    int64_t replicas = 0;
    int64_t wait_ms = 0;
    if (!number_parse_int64(call->argv[1], &replicas)) {
        resp_error(call->reply, "ERR value is not an integer or out of range");
    } else if (!number_parse_int64(call->argv[2], &wait_ms)) {
        resp_error(call->reply, "ERR timeout is not an integer or out of range");
    } else if (wait_ms < 0) {
        resp_error(call->reply, "ERR timeout is negative");
    } else {
        resp_integer(call->reply, sure_replicas(call->server));
    }
}

void local_monitor(struct local_call *call)
{
    struct connection *connection = call->connection;
    if (!connection->monitor) {
        connection->monitor = true;
        call->server->monitors++;
    }
    resp_status(call->reply, "OK");
}

static void append_part(void *owner, struct slice part) { buffer_append_slice(owner, part); }

void local_slowlog_get(struct local_call *call)
{
    int64_t count = 10;
    if (call->argc > 3) {
        resp_error(call->reply, "ERR wrong number of arguments for 'slowlog|get' command");
        return;
    }
    if (call->argc == 3) {
        if (!number_parse_int64(call->argv[2], &count) || count < -1) {
            resp_error(call->reply, "ERR count should be greater than or equal to -1");
            return;
        }
    }
    struct buffer others;
    buffer_init(&others);
    round_each(call->round, append_part, &others);
    slowlog_reply(&call->server->slowlog, buffer_slice(&others), count, call->reply);
    buffer_deinit(&others);
}

static void add_count(void *owner, struct slice part)
{
    uint64_t count = 0;
    memcpy(&count, part.data, sizeof(count));
    *(uint64_t *)owner += count;
}

void local_slowlog_len(struct local_call *call)
{
    uint64_t count = call->server->slowlog.count;
    round_each(call->round, add_count, &count);
    resp_integer(call->reply, (int64_t)count);
}

void local_slowlog_reset(struct local_call *call)
{
    slowlog_clear(&call->server->slowlog);
    resp_status(call->reply, "OK");
}

/* ---- DEBUG: only when enable-debug-command says so ---- */

static bool debug_allowed(const struct local_call *call)
{
    int64_t choice = call->server->config.debug_command;
    return choice == CONFIG_DEBUG_YES || (choice == CONFIG_DEBUG_LOCAL && call->is_local);
}

/* DEBUG SLEEP holds back its own client (route.c parks it); the others are served meanwhile. */
int64_t local_sleep_ns(const struct command *command)
{
    if (command->spec->id != COMMAND_DEBUG || command->argc != 3 || !slice_is_word(command->argv[1], "SLEEP")) {
        return 0;
    }
    char text[32] = "";
    char *end = NULL;
    struct slice argument = command->argv[2];
    if (argument.size >= sizeof(text)) {
        return -1;
    }
    memcpy(text, argument.data, argument.size);
    double seconds = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(seconds) || seconds < 0 || seconds > 3600) {
        return -1;
    }
    return (int64_t)(seconds * 1e9);
}

static void worst_status(void *owner, struct slice part)
{
    enum status status = STATUS_OK;
    memcpy(&status, part.data, sizeof(status));
    *(enum status *)owner = *(enum status *)owner == STATUS_OK ? status : *(enum status *)owner;
}

struct shard_digest {
    uint32_t shard;
    uint64_t applied, digest;
};

/* Of the shards that this worker has, but for those that are between two entries. */
static void append_digests(const struct server *server, struct buffer *out)
{
    for (uint32_t shard = 1; shard <= server->shards; shard++) {
        struct shard_digest one;
        memset(&one, 0, sizeof(one));
        one.shard = shard;
        one.applied = cluster_applied_here(server->cluster, shard);
        one.digest = cluster_shard_digest(server->cluster, shard);
        if (one.digest != 0) {
            buffer_append(out, &one, sizeof(one));
        }
    }
}

static void take_digests(void *owner, struct slice part)
{
    struct shard_digest *digests = owner;
    for (size_t at = 0; at < part.size; at += sizeof(struct shard_digest)) {
        struct shard_digest one;
        memcpy(&one, part.data + at, sizeof(one));
        digests[one.shard] = one;
    }
}

/* By shard, whichever worker has it; digest 0: none has, or it is between two entries. Owned. */
static struct shard_digest *digests_of_all(const struct local_call *call)
{
    struct shard_digest *digests = memory_allocate_zeroed(call->server->shards + 1, sizeof(*digests));
    struct buffer own;
    buffer_init(&own);
    append_digests(call->server, &own);
    take_digests(digests, buffer_slice(&own));
    buffer_deinit(&own);
    round_each(call->round, take_digests, digests);
    return digests;
}

static void append_digest(struct buffer *text, uint64_t digest)
{
    buffer_append_format(text, "%016llx", (unsigned long long)digest);
}

/* One digest of everything. It moves by itself for as long as something ends: of transactions, of keys, of locks. */
static void debug_digest(const struct local_call *call)
{
    struct shard_digest *digests = digests_of_all(call);
    uint64_t digest = 0;
    for (uint32_t shard = 1; shard <= call->server->shards; shard++) {
        digest = digests[shard].digest == 0 ? digest : digest * 31 + digests[shard].digest;
    }
    free(digests);
    struct buffer text;
    buffer_init(&text);
    append_digest(&text, digest);
    resp_bulk(call->reply, buffer_slice(&text));
    buffer_deinit(&text);
}

/* [shard, applied index, digest] of each: whoever has applied as much of a shard has the same digest. */
static void debug_digest_shards(const struct local_call *call)
{
    struct shard_digest *digests = digests_of_all(call);
    uint64_t count = 0;
    for (uint32_t shard = 1; shard <= call->server->shards; shard++) {
        count += digests[shard].digest != 0;
    }
    resp_array(call->reply, count);
    struct buffer text;
    buffer_init(&text);
    for (uint32_t shard = 1; shard <= call->server->shards; shard++) {
        if (digests[shard].digest != 0) {
            buffer_clear(&text);
            append_digest(&text, digests[shard].digest);
            resp_array(call->reply, 3);
            resp_integer(call->reply, shard);
            resp_integer(call->reply, (int64_t)digests[shard].applied);
            resp_bulk(call->reply, buffer_slice(&text));
        }
    }
    buffer_deinit(&text);
    free(digests);
}

static bool asks_for_digests(const struct local_call *call)
{
    return local_word(call, 1, "DIGEST") && (call->argc == 2 || (call->argc == 3 && local_word(call, 2, "SHARDS")));
}

void local_debug_part(const struct local_call *call, struct buffer *out)
{
    struct server *server = call->server;
    if (!debug_allowed(call)) {
        return; /* who was asked says so */
    }
    if (local_word(call, 1, "SNAPSHOT") && call->argc == 2) {
        enum status status = cluster_snapshot(server->cluster);
        buffer_append(out, &status, sizeof(status));
    } else if (asks_for_digests(call)) {
        append_digests(server, out);
    }
}

void local_debug(struct local_call *call)
{
    if (!debug_allowed(call)) {
        resp_error(call->reply,
                   "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", "
                   "you can run it from a local connection, otherwise you need to set this option in the "
                   "configuration file, and then restart the server.");
        return;
    }
    struct server *server = call->server;
    if (local_word(call, 1, "SLEEP") && call->argc == 3) {
        if (local_sleep_ns(call->command) < 0) {
            resp_error(call->reply, "ERR DEBUG SLEEP takes seconds from 0 to 3600");
        } else {
            resp_status(call->reply, "OK");
        }
    } else if (local_word(call, 1, "SNAPSHOT") && call->argc == 2) {
        enum status status = cluster_snapshot(server->cluster);
        round_each(call->round, worst_status, &status);
        if (status == STATUS_OK) {
            resp_status(call->reply, "OK");
        } else {
            resp_error_format(call->reply, "ERR snapshot: %s", status_text(status));
        }
    } else if (asks_for_digests(call) && call->argc == 2) {
        debug_digest(call);
    } else if (asks_for_digests(call)) {
        debug_digest_shards(call);
    } else {
        resp_error(call->reply, "ERR DEBUG knows SLEEP seconds, SNAPSHOT, DIGEST and DIGEST SHARDS");
    }
}

/* SAVE and NOSAVE change nothing here: what was acknowledged is on disk. False on words that do not go together. */
static bool shutdown_words(const struct local_call *call, bool *ret_abort)
{
    uint32_t save = 0;
    uint32_t nosave = 0;
    for (uint32_t i = 1; i < call->argc; i++) {
        if (local_word(call, i, "ABORT")) {
            *ret_abort = true;
        } else if (local_word(call, i, "SAVE")) {
            save++;
        } else if (local_word(call, i, "NOSAVE")) {
            nosave++;
        } else if (!local_word(call, i, "NOW") && !local_word(call, i, "FORCE")) {
            return false;
        }
    }
    return !(save != 0 && nosave != 0) && !(*ret_abort && call->argc > 2);
}

void local_shutdown(struct local_call *call)
{
    bool abort_wanted = false;
    if (!shutdown_words(call, &abort_wanted)) {
        resp_error(call->reply, "ERR syntax error");
        return;
    }
    if (abort_wanted) {
        resp_error(call->reply, "ERR No shutdown in progress.");
        return;
    }
    /* No reply: the connection ends, as clients of Redis expect. */
    call->reply->out = NULL;
    env_log(call->server->env, ENV_LOG_INFO, "SHUTDOWN asked for by client %s", call->connection->peer);
    connection_finish(call->connection);
    crew_ask_shutdown(call->server);
}
