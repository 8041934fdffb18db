/* Heartbeats of many clients in one command. */
#include "base/assert.h"
#include "base/memory.h"
#include "base/number.h"
#include "machine/session/session_limits.h"
#include "machine/session/session_words.h"
#include "server/server_state.h"
#include "server/session_state.h"

#include <stdlib.h>

#define NS_PER_MS INT64_C(1000000)

/* One command on its way. */
struct beat_batch {
    struct requester requester; /* first */
    struct server *server;
    uint32_t shard, count;
    struct session_beat *items; /* owned */
    struct buffer reply;
    struct resp_writer writer;
};

static void batch_free(struct beat_batch *batch)
{
    batch->server->session_clients->under_way--;
    buffer_deinit(&batch->reply);
    free(batch->items);
    free(batch);
}

static struct resp_writer *batch_begin(struct requester *requester, uint64_t tag)
{
    struct beat_batch *batch = (struct beat_batch *)requester;
    (void)tag;
    batch->writer = resp_writer_to(&batch->reply, RESP2);
    return &batch->writer;
}

/* Takes a line of this type from the front. */
static bool take_line(struct slice *from, char type, int64_t *ret_value)
{
    const uint8_t *end = from->size < 4 || from->data[0] != type ? NULL : memchr(from->data, '\r', from->size);
    if (end == NULL || !number_parse_int64(slice_of(from->data + 1, (size_t)(end - from->data) - 1), ret_value)) {
        return false;
    }
    size_t size = (size_t)(end - from->data) + 2;
    *from = size > from->size ? slice_of(NULL, 0) : slice_of(from->data + size, from->size - size);
    return true;
}

static void answer(const struct beat_batch *batch, const struct session_beat *beat, int64_t ttl_ms)
{
    uint64_t tag = slot_tag(beat->slot, batch->shard);
    struct resp_writer *reply = slot_begin(beat->connection, tag);
    if (reply != NULL && ttl_ms > 0) {
        resp_integer(reply, ttl_ms);
    } else if (reply != NULL) {
        resp_error(reply, SESSION_IS_OVER);
    }
    slot_end(beat->connection, tag, NULL);
}

static void fail(const struct beat_batch *batch, enum status status)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        slot_failed(batch->items[i].connection, slot_tag(batch->items[i].slot, batch->shard), status);
    }
}

static void batch_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    struct beat_batch *batch = (struct beat_batch *)requester;
    struct slice from = buffer_slice(&batch->reply);
    int64_t count;
    (void)tag;
    (void)command;
    if (!take_line(&from, '*', &count) || count != batch->count) {
        fail(batch, STATUS_EXECUTED); /* an error of the shard, which has none for this */
        batch_free(batch);
        return;
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        int64_t ttl_ms = 0;
        (void)take_line(&from, ':', &ttl_ms);
        answer(batch, &batch->items[i], ttl_ms);
    }
    batch_free(batch);
}

static void batch_failed(struct requester *requester, uint64_t tag, enum status status)
{
    struct beat_batch *batch = (struct beat_batch *)requester;
    (void)tag;
    fail(batch, status);
    batch_free(batch);
}

static const struct requester_events batch_events = {batch_begin, batch_end, batch_failed, NULL, NULL};

static enum status submit(struct beat_batch *batch)
{
    struct server *server = batch->server;
    char *digits = memory_allocate((size_t)batch->count * NUMBER_INT64_BYTES);
    struct command_arguments *arguments = &server->lock_arguments;
    command_arguments_reserve(arguments, batch->count + 1);
    arguments->items[0] = SLICE_LITERAL("COHORT.SESSION.BEAT");
    for (uint32_t i = 0; i < batch->count; i++) {
        char *text = digits + (size_t)i * NUMBER_INT64_BYTES;
        arguments->items[i + 1] = slice_of(text, number_format_uint64(text, batch->items[i].number));
    }
    const struct command command = {command_by_id(COMMAND_COHORT_SESSION_BEAT), arguments->items, batch->count + 1,
                                    RESP2};
    enum status status = cluster_submit(server->cluster, batch->shard, &command, CLUSTER_PLAIN, &batch->requester, 0);
    free(digits);
    return status;
}

static void send(struct server *server, uint32_t shard)
{
    struct session_clients *clients = server->session_clients;
    struct session_beats *beats = &clients->beats[shard - 1];
    struct beat_batch *batch = memory_allocate_zeroed(1, sizeof(*batch));
    batch->requester.events = &batch_events;
    batch->server = server;
    batch->shard = shard;
    batch->count = beats->count;
    batch->items = beats->items;
    buffer_init(&batch->reply);
    clients->waiting -= beats->count;
    clients->under_way++;
    *beats = (struct session_beats){.sent_ns = server_now_ns(server)};
    enum status status = submit(batch);
    if (status != STATUS_OK) {
        fail(batch, status);
        batch_free(batch);
    }
}

static int64_t due_ns(const struct session_beats *beats) { return beats->sent_ns + SESSION_GATHER_MS * NS_PER_MS; }

static void schedule(struct server *server)
{
    struct session_clients *clients = server->session_clients;
    int64_t next_ns = INT64_MAX;
    for (uint32_t i = 0; i < server->shards && clients->waiting > 0; i++) {
        int64_t at_ns = clients->beats[i].count == 0 ? INT64_MAX : due_ns(&clients->beats[i]);
        next_ns = at_ns < next_ns ? at_ns : next_ns;
    }
    if (next_ns != INT64_MAX) {
        env_timer_start(server->env, &clients->timer, next_ns);
    }
}

static void timer_fire(struct env_timer *timer)
{
    struct session_clients *clients = CONTAINER_OF(timer, struct session_clients, timer);
    struct server *server = clients->server;
    int64_t now_ns = server_now_ns(server);
    for (uint32_t shard = 1; shard <= server->shards; shard++) {
        if (clients->beats[shard - 1].count != 0 && due_ns(&clients->beats[shard - 1]) <= now_ns) {
            send(server, shard);
        }
    }
    schedule(server);
    env_wake(server->env);
}

void session_beats_init(struct server *server)
{
    server->session_clients->server = server;
    env_timer_init(&server->session_clients->timer, timer_fire);
}

void session_beats_destroy(struct server *server)
{
    env_timer_stop(server->env, &server->session_clients->timer);
    for (uint32_t i = 0; i < server->shards; i++) {
        free(server->session_clients->beats[i].items);
    }
}

bool session_beats_idle(const struct server *server)
{
    return server->session_clients->waiting == 0 && server->session_clients->under_way == 0;
}

void session_beat_add(struct connection *connection, const struct command_spec *spec, struct session_id id)
{
    struct server *server = connection->server;
    struct session_beats *beats = &server->session_clients->beats[id.shard - 1];
    if (beats->count == beats->capacity) {
        beats->capacity = beats->capacity == 0 ? 16 : 2 * beats->capacity;
        beats->items = memory_resize(beats->items, beats->capacity * sizeof(*beats->items));
    }
    beats->items[beats->count++] = (struct session_beat){connection, slot_open(connection, spec), id.number};
    connection->owed++;
    server->session_clients->waiting++;
    if (beats->count == SESSION_BEATS) {
        send(server, id.shard);
    } else if (beats->count == 1) {
        schedule(server);
    }
}
