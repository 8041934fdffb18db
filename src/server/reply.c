/* Slots: replies in the order of requests, whoever is ready first. */
#include "base/assert.h"
#include "server/figures.h"
#include "server/multi.h"
#include "server/server_state.h"

#include <stdlib.h>

struct slot *slot_at(struct connection *connection, uint64_t tag)
{
    ASSERT(tag >= connection->slot_head && tag < connection->slot_tail);
    return &connection->slots[tag & (connection->slot_capacity - 1)];
}

static void slots_grow(struct connection *connection)
{
    uint32_t capacity = connection->slot_capacity == 0 ? 8 : connection->slot_capacity * 2;
    struct slot *slots = malloc(capacity * sizeof(*slots));
    ASSERT(slots != NULL);
    for (uint64_t tag = connection->slot_head; tag != connection->slot_tail; tag++) {
        slots[tag & (capacity - 1)] = *slot_at(connection, tag);
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

uint64_t slot_open(struct connection *connection)
{
    if (connection->slot_tail - connection->slot_head == connection->slot_capacity) {
        slots_grow(connection);
    }
    uint64_t tag = connection->slot_tail++;
    struct server *server = connection->server;
    *slot_at(connection, tag) = (struct slot){
        .state = SLOT_WAITING,
        .silent = take_silence(connection),
        .protocol = connection->protocol,
        .began_ms = (uint32_t)((server_now_ns(server) - server->began_ns) / 1000000),
    };
    return tag;
}

static void slot_deinit(struct slot *slot)
{
    buffer_deinit(&slot->stash);
    exec_plan_destroy(slot->exec);
    slot->exec = NULL;
}

void slot_withdraw(struct connection *connection)
{
    struct slot *slot = slot_at(connection, connection->slot_tail - 1);
    if (slot->silent && connection->reply_mode == REPLY_ON) {
        connection->reply_mode = REPLY_SKIP; /* for the refusal that follows */
    }
    slot_deinit(slot);
    connection->slot_tail--;
}

static void slot_done(struct connection *connection, struct slot *slot)
{
    slot->state = SLOT_DONE;
    connection->stash_bytes += slot->stash.size;
}

/* The oldest slot goes. */
static void slot_drop(struct connection *connection)
{
    struct slot *slot = slot_at(connection, connection->slot_head);
    if (slot->state == SLOT_DONE) {
        connection->stash_bytes -= slot->stash.size;
    }
    slot_deinit(slot);
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
    struct slot *slot = slot_at(connection, slot_open(connection));
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

struct resp_writer *slot_begin(struct connection *connection, uint64_t tag)
{
    ASSERT(connection->owed > 0);
    if (connection->closed || tag < connection->slot_head) {
        return NULL;
    }
    struct slot *slot = slot_at(connection, tag);
    bool direct = tag == connection->slot_head && slot->exec == NULL;
    bool silent = slot->silent && slot->exec == NULL;
    return writer_to(connection, direct ? connection_output(connection) : &slot->stash, slot->protocol, silent);
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

void slot_end(struct connection *connection, uint64_t tag)
{
    connection->owed--;
    if (connection->closed || tag < connection->slot_head) {
        return;
    }
    struct slot *slot = slot_at(connection, tag);
    if (slot->exec != NULL) {
        exec_plan_finish(connection, slot);
    }
    bool direct = tag == connection->slot_head && slot->stash.size == 0;
    note_error(connection, direct ? &connection->out : &slot->stash);
    slot_done(connection, slot);
    if (tag == connection->slot_head) {
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

size_t slots_give_up(struct connection *connection, bool all, uint32_t before_ms, const char *text)
{
    size_t given_up = 0;
    while (connection_pending(connection)) {
        struct slot *slot = slot_at(connection, connection->slot_head);
        if (slot->state == SLOT_WAITING) {
            if (!all && (int32_t)(slot->began_ms - before_ms) >= 0) { /* the clock goes round in 49 days */
                break;
            }
            struct resp_writer writer =
                resp_writer_to(slot->silent ? NULL : connection_output(connection), slot->protocol);
            resp_error(&writer, text);
            figures_error(connection->server, slice_from_string(text));
            given_up++;
        } else if (slot->stash.size != 0) {
            buffer_append_slice(connection_output(connection), buffer_slice(&slot->stash));
        }
        slot_drop(connection);
    }
    if (given_up != 0) {
        connection->server->figures.uncertain += given_up;
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
