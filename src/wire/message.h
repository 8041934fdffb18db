/* What travels to subscribers: a message of PUBLISH, or what happened to a key. It comes out of the machine, goes from
 * worker to worker and from node to node in this form, one behind the other. Pure.
 *
 *   kind u8 · class u16 · size of the subject, varint · size of the body, varint · subject · body
 *
 * Integers are little-endian. */
#pragma once

#include "base/buffer.h"

enum message_kind {
    MESSAGE_PUBLISHED, /* subject: the channel; body: the message */
    MESSAGE_SHARDED,   /* the same, of a shard channel */
    MESSAGE_EVENT,     /* subject: the key; body: what happened to it, as Redis names it */
    MESSAGE_KINDS,
};

/* Classes of events, one bit each, as notify-keyspace-events has letters for them. */
enum {
    EVENT_GENERIC = 1 << 0, /* g */
    EVENT_STRING = 1 << 1,  /* $ */
    EVENT_LIST = 1 << 2,    /* l, and others below that are named but never happen here */
    EVENT_SET = 1 << 3,     /* s */
    EVENT_HASH = 1 << 4,    /* h */
    EVENT_SORTED = 1 << 5,  /* z */
    EVENT_EXPIRED = 1 << 6, /* x */
    EVENT_EVICTED = 1 << 7, /* e */
    EVENT_STREAM = 1 << 8,  /* t */
    EVENT_MODULE = 1 << 9,  /* d */
    EVENT_NEW = 1 << 10,    /* n */
    EVENT_MISSED = 1 << 11, /* m */
    EVENT_CLASSES = (1 << 12) - 1,
};

struct message {
    enum message_kind kind;
    uint16_t class; /* of an event, one bit; else 0 */
    struct slice subject, body;
};

/* What it takes as bytes, at most. */
static inline size_t message_bytes(const struct message *message)
{
    return 3 + 2 * 10 + message->subject.size + message->body.size;
}
void message_put(struct buffer *out, const struct message *message);
/* Takes one from the front of *from, and points into it. False: that is none; *from is then unspecified. */
bool message_take(struct slice *from, struct message *ret_message);
