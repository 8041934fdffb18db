/* Slots: replies in the order of requests, whoever is ready first. */
#include "base/assert.h"
#include "base/memory.h"
#include "server/consistency.h"
#include "server/exec_plan.h"
#include "server/feeds.h"
#include "server/figures.h"
#include "server/gather.h"
#include "server/route_refuse.h"
#include "server/route_submit.h"
#include "server/server_state.h"
#include "server/txn_client.h"
#include "server/txn_session.h"
#include "server/watch.h"

#include <stdlib.h>

enum { REPLY_AVERAGE = 8 };

struct slot *slot_at(struct connection *connection, uint64_t number)
{
    ASSERT(number >= connection->slot_head && number < connection->slot_tail);
    return &connection->slots[number & (connection->slot_capacity - 1)];
}

static void slots_grow(struct connection *connection)
{
    uint32_t capacity = connection->slot_capacity == 0 ? 8 : connection->slot_capacity * 2;
    struct slot *slots = memory_allocate(capacity * sizeof(*slots));
    for (uint64_t number = connection->slot_head; number != connection->slot_tail; number++) {
        slots[number & (capacity - 1)] = *slot_at(connection, number);
    }
    free(connection->slots);
    connection->slots = slots;
    connection->slot_capacity = capacity;
}

/* What CLIENT REPLY says about the request that begins now. */
static bool take_silence(struct connection *connection)
{
    switch (connection->reply_mode) {
    case REPLY_ON: return false;
    case REPLY_OFF: return true;
    case REPLY_SKIP: connection->reply_mode = REPLY_ON; return true;
    }
    UNREACHABLE();
}

uint64_t slot_open(struct connection *connection, const struct command_spec *spec)
{
    if (connection->slot_tail - connection->slot_head == connection->slot_capacity) {
        slots_grow(connection);
    }
    uint64_t number = connection->slot_tail++;
    connection->strong_end = spec == NULL ? connection->strong_end : connection->slot_tail;
    struct server *server = connection->server;
    *slot_at(connection, number) = (struct slot){
        .state = SLOT_WAITING,
        .kind = SLOT_PLAIN,
        .command = spec == NULL ? 0 : spec->id,
        .silent = take_silence(connection),
        .script = spec != NULL && script_places_keep(&connection->script_places),
        .protocol = connection->protocol,
        .began_ms = (uint32_t)((server_now_ns(server) - server->began_ns) / 1000000),
    };
    return number;
}

static void slot_deinit(struct connection *connection, struct slot *slot)
{
    buffer_deinit(&slot->stash);
    switch ((enum slot_kind)slot->kind) {
    case SLOT_PLAIN: break;
    case SLOT_EXEC: exec_plan_destroy(slot->exec); break;
    case SLOT_WATCH: watch_look_destroy(connection, slot->look); break;
    case SLOT_GATHER: gather_destroy(connection, slot->gather); break;
    case SLOT_FEED: feed_start_destroy(slot->feed_start); break;
    case SLOT_WAITER: waiter_leave(slot->waiter); break;
    }
    slot->kind = SLOT_PLAIN;
}

/* Of its script. */
static void slot_leave_room(struct connection *connection, struct slot *slot)
{
    bool took_long = connection->server->took_long;
    connection->server->took_long = false;
    slot->script = false;
    script_room_leave(connection, took_long);
}

void slot_withdraw(struct connection *connection)
{
    struct slot *slot = slot_at(connection, connection->slot_tail - 1);
    if (slot->silent && connection->reply_mode == REPLY_ON) {
        connection->reply_mode = REPLY_SKIP; /* for the refusal that follows */
    }
    if (slot->script) {
        slot_leave_room(connection, slot);
    }
    slot_deinit(connection, slot);
    connection->slot_tail--;
}

static void slot_done(struct connection *connection, struct slot *slot)
{
    slot->state = SLOT_DONE;
    connection->stash_bytes += slot->stash.size;
}

/* The oldest slot goes. */
static inline void slot_drop(struct connection *connection)
{
    struct slot *slot = slot_at(connection, connection->slot_head);
    if (slot->state == SLOT_DONE) {
        connection->stash_bytes -= slot->stash.size;
    }
    if (__builtin_expect(slot->script, 0)) {
        script_room_lose(connection);
    }
    slot_deinit(connection, slot);
    connection->slot_head++;
}

static void note_error(struct connection *connection, const struct buffer *buffer)
{
    if (buffer->size > connection->reply_start && buffer->data[connection->reply_start] == '-') {
        figures_error(connection->server,
                      slice_of(buffer->data + connection->reply_start + 1, buffer->size - connection->reply_start - 1));
    }
}

static struct resp_writer *writer_to(struct connection *connection, struct buffer *buffer, uint8_t protocol,
                                     bool silent)
{
    connection->writer = resp_writer_to(silent ? NULL : buffer, protocol);
    connection->reply_start = buffer->size;
    return &connection->writer;
}

struct resp_writer *reply_begin(struct connection *connection)
{
    if (!connection_pending(connection)) {
        return writer_to(connection, connection_output(connection), connection->protocol, take_silence(connection));
    }
    struct slot *slot = slot_at(connection, slot_open(connection, NULL));
    return writer_to(connection, &slot->stash, slot->protocol, slot->silent);
}

void reply_end(struct connection *connection)
{
    if (connection_pending(connection)) {
        struct slot *slot = slot_at(connection, connection->slot_tail - 1);
        ASSERT(slot->state == SLOT_WAITING);
        slot_done(connection, slot);
        note_error(connection, &slot->stash);
        return;
    }
    note_error(connection, &connection->out);
    connection_mark_dirty(connection);
}

void reply_with_error(struct connection *connection, const char *text)
{
    struct resp_writer *reply = reply_begin(connection);
    resp_error(reply, text);
    reply_end(connection);
}

/* The slot that waits for this; NULL when nobody does any more. */
static struct slot *slot_waiting(struct connection *connection, uint64_t number)
{
    return connection->closed || number < connection->slot_head ? NULL : slot_at(connection, number);
}

struct resp_writer *slot_begin(struct connection *connection, uint64_t tag)
{
    ASSERT(connection->owed > 0);
    uint64_t number = tag / SLOT_MAXIMUM_SHARDS;
    struct slot *slot = slot_waiting(connection, number);
    if (slot == NULL) {
        return NULL;
    }
    if (slot->kind == SLOT_GATHER) {
        return writer_to(connection, gather_part(slot->gather), slot->protocol, false);
    }
    if (slot->kind == SLOT_FEED) {
        return writer_to(connection, feed_start_part(slot->feed_start), RESP2, false);
    }
    bool plain = slot->kind == SLOT_PLAIN;
    bool direct = plain && number == connection->slot_head;
    return writer_to(connection, direct ? connection_output(connection) : &slot->stash, slot->protocol,
                     plain && slot->silent);
}

/* Sends what stands ready at the head. */
static void slots_drain(struct connection *connection)
{
    while (connection_pending(connection)) {
        struct slot *slot = slot_at(connection, connection->slot_head);
        if (slot->state == SLOT_WAITING) {
            break;
        }
        if (slot->stash.size != 0) {
            buffer_append_slice(connection_output(connection), buffer_slice(&slot->stash));
        }
        slot_drop(connection);
    }
}

/* A moving average: the last eight replies or so. */
static void note_size(struct connection *connection, size_t bytes)
{
    connection->reply_bytes += bytes / REPLY_AVERAGE - connection->reply_bytes / REPLY_AVERAGE;
}

void slot_finish(struct connection *connection, uint64_t number)
{
    struct slot *slot = slot_at(connection, number);
    bool head = number == connection->slot_head;
    switch ((enum slot_kind)slot->kind) {
    case SLOT_PLAIN:
    case SLOT_WAITER: break;
    case SLOT_EXEC: exec_plan_finish(connection, slot); break;
    case SLOT_WATCH: watch_finish(connection, slot); break;
    case SLOT_GATHER:
        gather_reply(slot->gather, writer_to(connection, head ? connection_output(connection) : &slot->stash,
                                             slot->protocol, slot->silent));
        gather_destroy(connection, slot->gather);
        break;
    case SLOT_FEED:
        feed_start_reply(
            connection, slot->feed_start,
            writer_to(connection, head ? connection_output(connection) : &slot->stash, slot->protocol, slot->silent));
        feed_start_destroy(slot->feed_start);
        break;
    }
    slot->kind = SLOT_PLAIN;
    if (slot->script) {
        slot_leave_room(connection, slot);
    }
    bool direct = head && slot->stash.size == 0;
    note_error(connection, direct ? &connection->out : &slot->stash);
    note_size(connection, direct ? connection->out.size - connection->reply_start : slot->stash.size);
    slot_done(connection, slot);
    if (head) {
        slots_drain(connection);
        connection_mark_dirty(connection);
        if (connection->parked || connection->in.size != connection->in_start) {
            connection_mark_resume(connection);
        }
    }
    if (connection_unsent_bytes(connection) >= CONNECTION_OUTPUT_HIGH) {
        connection_flush(connection); /* one entry may hold many reads of large values: not all of it at once */
    }
}

static bool slot_reads(const struct slot *slot)
{
    return slot->command != 0 && route_reads(command_by_id(slot->command));
}

/* A command, or one part of it, was executed; `id` is what the client asked for, 0 when it does not wait any more. */
static void measure(struct connection *connection, const struct command *command, uint16_t id, bool last)
{
    struct server *server = connection->server;
    /* Of what nobody waits for any more, questions of our own and parts are no command. */
    bool part = command == NULL || command->spec->internal || (server->shards > 1 && gather_takes(command->spec));
    if (id == 0 ? !part : last && command != NULL && id == command_called(command)->id) {
        route_measure(connection, command);
        return;
    }
    int64_t spent_ns = 0; /* elsewhere: it counts there */
    if (command != NULL) {
        int64_t now_ns = env_monotonic_ns(server->env);
        spent_ns = now_ns - server->mark_ns;
        server->mark_ns = now_ns;
    }
    figures_part(server, id, spent_ns, last);
}

static void take_owed(struct connection *connection)
{
    if (--connection->owed == CONNECTION_OWED - 1) {
        connection_mark_resume(connection);
    }
    if (connection->owed == 0 && connection->script_places.lost != 0) {
        script_room_settle(connection);
    }
}

/* A shard has answered: true when no other is to. */
static bool take_part(struct connection *connection, struct slot *slot, uint32_t shard)
{
    switch ((enum slot_kind)slot->kind) {
    case SLOT_GATHER: return gather_take(connection, slot->gather, shard);
    case SLOT_FEED: return feed_start_take(slot->feed_start, shard);
    default: return true;
    }
}

void slot_end(struct connection *connection, uint64_t tag, const struct command *command)
{
    uint64_t number = tag / SLOT_MAXIMUM_SHARDS;
    struct slot *slot = slot_waiting(connection, number);
    uint16_t id = slot == NULL ? 0 : slot->command;
    uint32_t shard = (uint32_t)(tag % SLOT_MAXIMUM_SHARDS) + 1;
    take_owed(connection);
    if (slot != NULL && (slot->kind != SLOT_GATHER || gather_asks_shards(slot->gather))) {
        consistency_told(connection, shard, cluster_told_index(connection->server->cluster));
    }
    bool last = slot == NULL || take_part(connection, slot, shard);
    if (slot != NULL && last) {
        if (slot->script) {
            connection->server->took_long = cluster_took_long(connection->server->cluster);
        }
        slot_finish(connection, number);
    } else if (slot != NULL && connection_unsent_bytes(connection) >= CONNECTION_OUTPUT_HIGH) {
        connection_flush(connection);
    }
    measure(connection, command, id, last);
}

static const char *refusal_of(const struct connection *connection, const struct slot *slot, enum status status)
{
    bool reads = slot_reads(slot);
    const char *text = reads ? consistency_refusal(connection, command_by_id(slot->command), status) : NULL;
    if (text != NULL) {
        connection->server->figures.reads_stale++;
    }
    return text != NULL ? text : route_refusal(status, reads);
}

void slot_failed(struct connection *connection, uint64_t tag, enum status status)
{
    uint64_t number = tag / SLOT_MAXIMUM_SHARDS;
    struct slot *slot = slot_waiting(connection, number);
    struct resp_writer *reply = slot_begin(connection, tag);
    take_owed(connection);
    if (slot == NULL) {
        return;
    }
    if (slot->kind == SLOT_FEED ? !feed_start_failed(slot->feed_start, status)
                                : slot->kind == SLOT_GATHER && !gather_failed(slot->gather, status)) {
        return;
    }
    if (slot->kind != SLOT_FEED && slot->kind != SLOT_GATHER) {
        resp_error(reply, refusal_of(connection, slot, status));
        if (status == STATUS_EXECUTED && !slot_reads(slot)) {
            consistency_lose(connection, (uint32_t)(tag % SLOT_MAXIMUM_SHARDS) + 1);
        }
    }
    figures_failed(connection->server, slot->command, status);
    slot_finish(connection, number);
    if (status == STATUS_FULL) {
        connection_slow(connection);
    }
}

/* A read that its level did not let be answered here has waited too long, as one that failed. */
static const char *why_of(const struct connection *connection, const struct slot *slot, const char *text,
                          const char *text_of_reads)
{
    if (!slot_reads(slot)) {
        return text;
    }
    const char *stale = consistency_refusal(connection, command_by_id(slot->command), STATUS_STALE);
    return stale != NULL ? stale : text_of_reads;
}

size_t slots_give_up(struct connection *connection, bool all, uint32_t before_ms, const char *text,
                     const char *text_of_reads)
{
    size_t given_up = 0;
    if (all) {
        txn_client_leave(connection);
        txn_session_lose(connection);
    }
    while (connection_pending(connection)) {
        struct slot *slot = slot_at(connection, connection->slot_head);
        if (slot->state == SLOT_WAITING) {
            if (connection->txn != NULL || txn_session_waits(connection)) {
                break; /* it is looked after where it is known what to say */
            }
            if (!all && (int32_t)(slot->began_ms - before_ms) >= 0) { /* the clock goes round in 49 days */
                break;
            }
            if (!all && slot->kind == SLOT_WAITER && waiter_queued(slot->waiter)) {
                break; /* it has a deadline of its own */
            }
            struct resp_writer writer =
                resp_writer_to(slot->silent ? NULL : connection_output(connection), slot->protocol);
            const char *why = why_of(connection, slot, text, text_of_reads);
            resp_error(&writer, why);
            figures_error(connection->server, slice_from_string(why));
            given_up++;
        } else if (slot->stash.size != 0) {
            buffer_append_slice(connection_output(connection), buffer_slice(&slot->stash));
        }
        slot_drop(connection);
    }
    if (given_up != 0) {
        slots_drain(connection);
        connection_mark_dirty(connection);
        connection_mark_resume(connection);
    }
    return given_up;
}

void slots_destroy(struct connection *connection)
{
    while (connection_pending(connection)) {
        slot_drop(connection);
    }
    free(connection->slots);
    connection->slots = NULL;
    connection->slot_capacity = 0;
}
