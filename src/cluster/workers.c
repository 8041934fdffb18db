#include "cluster/workers.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/varint.h"

#include <stdlib.h>

enum { RECORD_HEAD_BYTES = 6 };

struct workers_listener {
    void (*arrived)(void *owner, uint32_t from, uint8_t kind, struct slice body);
    void *owner;
};

struct outbox {
    struct workers *to;
    struct buffer records;
    size_t at; /* of the record being written */
    bool writing;
};

struct workers {
    struct env *env;
    uint32_t self, count;
    struct workers_listener listeners[WORKERS_ROOMS];
    struct outbox *outboxes; /* `count` */
};

struct workers_message {
    struct env_message message; /* first */
    struct workers *to;
    uint32_t from;
    struct buffer records;
};

void workers_create(struct env *const *envs, uint32_t count, struct workers **ret_workers)
{
    ASSERT(count > 0 && count <= WORKERS_MAXIMUM);
    for (uint32_t i = 0; i < count; i++) {
        struct workers *workers = memory_allocate_zeroed(1, sizeof(*workers));
        *workers = (struct workers){.env = envs[i], .self = i, .count = count};
        workers->outboxes = memory_allocate_zeroed(count, sizeof(*workers->outboxes));
        ret_workers[i] = workers;
    }
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t to = 0; to < count; to++) {
            ret_workers[i]->outboxes[to].to = ret_workers[to];
        }
    }
}

void workers_destroy(struct workers *workers)
{
    if (workers == NULL) {
        return;
    }
    for (uint32_t i = 0; i < workers->count; i++) {
        buffer_deinit(&workers->outboxes[i].records);
    }
    free(workers->outboxes);
    free(workers);
}

uint32_t workers_self(const struct workers *workers) { return workers->self; }

uint32_t workers_count(const struct workers *workers) { return workers->count; }

struct env *workers_env(const struct workers *workers) { return workers->env; }

void workers_listen(struct workers *workers, enum workers_room room,
                    void (*arrived)(void *owner, uint32_t from, uint8_t kind, struct slice body), void *owner)
{
    workers->listeners[room] = (struct workers_listener){arrived, owner};
}

/* ---- out ---- */

struct buffer *workers_begin(struct workers *workers, uint32_t to, enum workers_room room, uint8_t kind)
{
    struct outbox *outbox = &workers->outboxes[to];
    ASSERT(to != workers->self && !outbox->writing);
    outbox->writing = true;
    outbox->at = outbox->records.size;
    uint8_t *head = buffer_reserve(&outbox->records, RECORD_HEAD_BYTES);
    head[0] = (uint8_t)room;
    head[1] = kind;
    outbox->records.size += RECORD_HEAD_BYTES;
    return &outbox->records;
}

size_t workers_end(struct workers *workers, uint32_t to)
{
    struct outbox *outbox = &workers->outboxes[to];
    ASSERT(outbox->writing);
    outbox->writing = false;
    size_t size = outbox->records.size - outbox->at - RECORD_HEAD_BYTES;
    ASSERT(size <= UINT32_MAX);
    put_u32(outbox->records.data + outbox->at + 2, (uint32_t)size);
    return size;
}

void workers_tell(struct workers *workers, uint32_t to, enum workers_room room, uint8_t kind, const struct slice *parts,
                  size_t count)
{
    struct buffer *records = workers_begin(workers, to, room, kind);
    for (size_t i = 0; i < count; i++) {
        buffer_append_slice(records, parts[i]);
    }
    (void)workers_end(workers, to);
}

void workers_tell_all(struct workers *workers, enum workers_room room, uint8_t kind, const struct slice *parts,
                      size_t count)
{
    for (uint32_t to = 0; to < workers->count; to++) {
        if (to != workers->self) {
            workers_tell(workers, to, room, kind, parts, count);
        }
    }
}

/* ---- from one to the other ---- */

static void message_free(struct env_message *message_any)
{
    struct workers_message *message = (struct workers_message *)message_any;
    buffer_deinit(&message->records);
    free(message);
}

static void message_arrived(struct env_message *message_any)
{
    struct workers_message *message = (struct workers_message *)message_any;
    struct workers *to = message->to;
    struct slice rest = buffer_slice(&message->records);
    while (rest.size != 0) {
        ASSERT(rest.size >= RECORD_HEAD_BYTES && rest.data[0] < WORKERS_ROOMS);
        uint32_t size = get_u32(rest.data + 2);
        ASSERT(rest.size - RECORD_HEAD_BYTES >= size);
        const struct workers_listener *listener = &to->listeners[rest.data[0]];
        if (listener->arrived != NULL) {
            listener->arrived(listener->owner, message->from, rest.data[1],
                              slice_of(rest.data + RECORD_HEAD_BYTES, size));
        }
        rest = slice_of(rest.data + RECORD_HEAD_BYTES + size, rest.size - RECORD_HEAD_BYTES - size);
    }
    message_free(message_any);
}

/* Takes the records. */
static void send(struct workers *workers, uint32_t to, struct buffer *records)
{
    struct workers_message *message = memory_allocate(sizeof(*message));
    *message = (struct workers_message){.message = {.arrived = message_arrived, .dropped = message_free},
                                        .to = workers->outboxes[to].to,
                                        .from = workers->self,
                                        .records = *records};
    buffer_init(records);
    env_post(workers->env, message->to->env, &message->message);
}

void workers_tell_at_once(struct workers *workers, uint32_t to, enum workers_room room, uint8_t kind,
                          const struct slice *parts, size_t count)
{
    ASSERT(to != workers->self);
    struct buffer records;
    buffer_init(&records);
    uint8_t *head = buffer_reserve(&records, RECORD_HEAD_BYTES);
    head[0] = (uint8_t)room;
    head[1] = kind;
    records.size = RECORD_HEAD_BYTES;
    for (size_t i = 0; i < count; i++) {
        buffer_append_slice(&records, parts[i]);
    }
    put_u32(records.data + 2, (uint32_t)(records.size - RECORD_HEAD_BYTES));
    send(workers, to, &records);
}

void workers_post(struct workers *workers)
{
    if (workers == NULL) {
        return;
    }
    for (uint32_t to = 0; to < workers->count; to++) {
        struct outbox *outbox = &workers->outboxes[to];
        if (outbox->records.size == 0) {
            continue;
        }
        ASSERT(!outbox->writing);
        send(workers, to, &outbox->records);
    }
}
