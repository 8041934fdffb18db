/* What an apply tells those who listen: what happened to keys, and what scripts publish. Not a part of the state: the
 * same is applied whether anybody listens or not, and nobody can tell from a reply.
 *
 * Invariants
 * 1. Events stand in the order in which commands did what they tell; what is undone leaves none.
 * 2. At most EVENTS_BYTES wait; what comes beyond is dropped and counted. */
#pragma once

#include "wire/message.h"

enum { EVENTS_BYTES = 64 << 20 };

struct machine_events {
    uint32_t wanted;        /* classes of events; messages of scripts are always taken */
    struct buffer messages; /* wire/message.h, one behind the other */
    uint64_t dropped;
};

static inline void machine_events_put(struct machine_events *events, const struct message *message)
{
    size_t bytes = message_bytes(message);
    if (events->messages.size != 0 && events->messages.size + bytes > EVENTS_BYTES) {
        events->dropped++;
        return;
    }
    message_put(&events->messages, message);
}

/* `events` may be NULL: nobody listens. */
static inline void machine_events_note(struct machine_events *events, uint16_t class, const char *name,
                                       struct slice key)
{
    if (__builtin_expect(events == NULL, 1) || (events->wanted & class) == 0) {
        return;
    }
    struct message message = {MESSAGE_EVENT, class, key, slice_from_string(name)};
    machine_events_put(events, &message);
}
