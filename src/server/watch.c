#include "server/watch.h"

#include "base/assert.h"
#include "base/key_slot.h"
#include "base/memory.h"
#include "base/number.h"
#include "server/route_refuse.h"
#include "server/route_submit.h"
#include "server/server_state.h"
#include "wire/resp_reply.h"

#include <stdlib.h>

/* Keys whose versions are on their way. */
struct watch_look {
    uint32_t count;
    struct slice keys[]; /* owned */
};

static void key_free(struct connection *connection, struct slice key)
{
    connection->watches.bytes -= key.size;
    free((void *)(uintptr_t)key.data);
}

void watch_forget(struct connection *connection)
{
    struct watches *watches = &connection->watches;
    ASSERT(watches->looking == 0); /* what comes later would be watched again */
    for (size_t i = 0; i < watches->count; i++) {
        key_free(connection, watches->items[i].key);
    }
    free(watches->items);
    watches->items = NULL;
    watches->count = 0;
    watches->capacity = 0;
    watches->shard = 0;
    watches->failed = false;
}

void watch_failed(struct connection *connection) { connection->watches.failed = true; }

bool watch_pending(const struct connection *connection) { return connection->watches.pending > connection->slot_head; }

/* By key, the oldest look first. */
static int compare_watches(const void *a, const void *b)
{
    const struct watch *x = a;
    const struct watch *y = b;
    int order = slice_compare(x->key, y->key);
    return order != 0 ? order : (x->version > y->version) - (x->version < y->version);
}

/* A key that is watched twice must be as it was at the first look. */
static void forget_repeated(struct connection *connection)
{
    struct watches *watches = &connection->watches;
    if (watches->count == 0) {
        return;
    }
    struct watch *items = watches->items;
    qsort(items, watches->count, sizeof(*items), compare_watches);
    size_t kept = 1;
    for (size_t i = 1; i < watches->count; i++) {
        if (slice_equal(items[i].key, items[kept - 1].key)) {
            key_free(connection, items[i].key);
        } else {
            items[kept++] = items[i];
        }
    }
    watches->count = kept;
}

/* Takes over the key. */
static void add(struct watches *watches, struct slice key, uint64_t version)
{
    if (watches->count == watches->capacity) {
        size_t capacity = watches->capacity == 0 ? 4 : watches->capacity * 2;
        struct watch *grown = memory_resize(watches->items, capacity * sizeof(*grown));
        watches->items = grown;
        watches->capacity = capacity;
    }
    watches->items[watches->count++] = (struct watch){key, version};
}

/* Room for so many more. */
static bool fits(struct connection *connection, const struct command *command)
{
    size_t bytes = 0;
    for (uint32_t i = 1; i < command->argc; i++) {
        bytes += command->argv[i].size;
    }
    size_t limit = (size_t)connection->server->config.client_query_buffer_bytes;
    const struct watches *watches = &connection->watches;
    for (int tries = 0; tries < 2; tries++) {
        if (watches->count + watches->looking + command->argc <= WATCH_MAXIMUM_KEYS &&
            watches->bytes + bytes <= limit) {
            return true;
        }
        forget_repeated(connection);
    }
    return false;
}

static struct watch_look *look_create(struct connection *connection, const struct command *command)
{
    uint32_t count = command->argc - 1;
    struct watch_look *look = memory_allocate(sizeof(*look) + count * sizeof(look->keys[0]));
    look->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct slice key = command->argv[i + 1];
        uint8_t *copy = memory_allocate(key.size + 1);
        memcpy(copy, key.data, key.size);
        look->keys[i] = slice_of(copy, key.size);
        connection->watches.bytes += key.size;
    }
    connection->watches.looking += count;
    return look;
}

void watch_look_destroy(struct connection *connection, struct watch_look *look)
{
    for (uint32_t i = 0; i < look->count; i++) {
        key_free(connection, look->keys[i]);
    }
    connection->watches.looking -= look->count;
    connection->watches.failed = true;
    free(look);
}

/* Takes the versions out of a shard's reply, an array of decimal bulk strings; false when it is no such thing. */
static bool look_take(struct connection *connection, struct watch_look *look, struct slice reply)
{
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct resp_reader reader;
    struct resp_token token;
    resp_reader_init(&reader);
    struct slice rest = reply;
    for (uint32_t i = 0; i <= look->count; i++) {
        if (resp_reader_next(&reader, &limits, rest.data, rest.size, &token) != RESP_REPLY_READY) {
            return false;
        }
        rest = slice_of(rest.data + reader.consumed, rest.size - reader.consumed);
        int64_t version = 0;
        if (i == 0 ? token.type != RESP_ARRAY || token.count != look->count
                   : token.type != RESP_BULK || !number_parse_int64(token.text, &version)) {
            return false;
        }
        if (i != 0) {
            add(&connection->watches, look->keys[i - 1], (uint64_t)version);
            look->keys[i - 1] = slice_of(NULL, 0); /* moved */
        }
    }
    return true;
}

/* The end of a look: true when the versions are known. */
static bool look_end(struct connection *connection, struct watch_look *look, struct slice reply)
{
    bool known = look_take(connection, look, reply);
    bool failed = connection->watches.failed || !known;
    watch_look_destroy(connection, look);
    connection->watches.failed = failed;
    return known;
}

void watch_finish(struct connection *connection, struct slot *slot)
{
    bool error = slot->stash.size != 0 && slot->stash.data[0] == '-';
    if (look_end(connection, slot->look, buffer_slice(&slot->stash))) {
        buffer_clear(&slot->stash);
        buffer_append_string(&slot->stash, "+OK\r\n");
    } else if (!error) {
        buffer_clear(&slot->stash);
        buffer_append_string(&slot->stash, "-ERR the versions of the watched keys came back unreadable\r\n");
    }
    connection->reply_start = 0;
    if (slot->silent) {
        buffer_clear(&slot->stash);
    }
}

static void answer(struct connection *connection, const char *error)
{
    struct resp_writer *reply = reply_begin(connection);
    if (error == NULL) {
        resp_status(reply, "OK");
    } else {
        watch_failed(connection);
        resp_error(reply, error);
    }
    reply_end(connection);
}

/* Reads the versions now, if this node may; else `*ret_way` says how to ask for them. */
static bool look_now(struct connection *connection, const struct command *question, uint32_t shard,
                     enum cluster_way *ret_way)
{
    if (connection_pending(connection)) {
        return false;
    }
    struct buffer *reply = &connection->server->scratch;
    buffer_clear(reply);
    struct resp_writer writer = resp_writer_to(reply, RESP2);
    if (!cluster_read(connection->server->cluster, shard, question, &writer, ret_way)) {
        return false;
    }
    struct watch_look *look = look_create(connection, question);
    ASSERT(look_end(connection, look, buffer_slice(reply))); /* by this process */
    return true;
}

/* Asks one shard. The client hears of the last look alone; should another fail, EXEC will not run. */
static bool look_submit(struct connection *connection, const struct command *question, uint32_t shard,
                        enum cluster_way way, bool last)
{
    struct watch_look *look = look_create(connection, question);
    uint64_t number = slot_open(connection, last ? command_by_id(COMMAND_WATCH) : NULL);
    struct slot *slot = slot_at(connection, number);
    slot->kind = SLOT_WATCH;
    slot->look = look;
    slot->silent = slot->silent || !last;
    enum status status = cluster_submit(connection->server->cluster, shard, question, way, &connection->requester,
                                        slot_tag(number, shard));
    if (status == STATUS_OK) {
        connection->owed++;
        connection->watches.pending = number + 1;
        return true;
    }
    slot_withdraw(connection);
    answer(connection, route_refusal(status, true));
    return false;
}

struct keyed {
    uint32_t shard;
    struct slice key;
};

static int compare_keyed(const void *a, const void *b)
{
    const struct keyed *x = a;
    const struct keyed *y = b;
    return (x->shard > y->shard) - (x->shard < y->shard);
}

/* A look at each shard that has some of the keys. */
static void look_at_several(struct connection *connection, const struct command *command)
{
    uint32_t count = command->argc - 1;
    struct keyed *keys = memory_allocate(count * sizeof(*keys));
    struct slice *argv = memory_allocate(command->argc * sizeof(*argv));
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = (struct keyed){slot_shard(key_slot(command->argv[i + 1]), connection->server->shards),
                                 command->argv[i + 1]};
    }
    qsort(keys, count, sizeof(*keys), compare_keyed);
    argv[0] = command->argv[0];
    bool good = true;
    for (uint32_t from = 0, to; from < count && good; from = to) {
        uint32_t argc = 1;
        for (to = from; to < count && keys[to].shard == keys[from].shard; to++) {
            argv[argc++] = keys[to].key;
        }
        const struct command question = {command_by_id(COMMAND_COHORT_VERSIONS), argv, argc, RESP2};
        good = look_submit(connection, &question, keys[from].shard, CLUSTER_PLAIN, to == count);
    }
    free(keys);
    free(argv);
}

void watch_execute(struct connection *connection, const struct command *command, uint32_t shard)
{
    struct watches *watches = &connection->watches;
    if (!fits(connection, command)) {
        answer(connection,
               "ERR too many watched keys (65536, or client-query-buffer-limit bytes of them); UNWATCH some");
        return;
    }
    watches->shard = watches->shard == 0 || watches->shard == shard ? shard : ROUTE_SEVERAL;
    if (shard == ROUTE_SEVERAL) {
        look_at_several(connection, command);
        return;
    }
    const struct command question = {command_by_id(COMMAND_COHORT_VERSIONS), command->argv, command->argc, RESP2};
    enum cluster_way way = CLUSTER_PLAIN;
    if (look_now(connection, &question, shard, &way)) {
        answer(connection, NULL);
        route_measure(connection, command);
    } else {
        (void)look_submit(connection, &question, shard, way, true);
    }
}
