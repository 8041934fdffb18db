/* What waits to be written to one connection: whole frames of three priorities. Pure.
 *
 * Invariants
 * 1. Bytes leave in whole frames: what has begun is finished before anything else, then all signals go, then all that
 *    is urgent, then bulk.
 * 2. A bulk frame that others have kept waiting through TRANSPORT_PASSED_OVER writes goes before what is urgent.
 * 3. start ≤ open ≤ size in each lane, and open > start in one of them at most. */
#pragma once

#include "base/buffer.h"
#include "cluster/transport.h"

#include <sys/uio.h>

enum { TRANSPORT_QUEUE_PARTS = 5, TRANSPORT_QUEUE_KEEP_BYTES = 256 << 10 };

struct transport_lane {
    struct buffer bytes;
    size_t start; /* of what is not sent */
    size_t open;  /* where the frame ends that has begun; else start */
};

struct transport_queue {
    struct transport_lane lanes[TRANSPORT_PRIORITIES];
    uint32_t passed_over;
    /* what transport_queue_parts gave out, in order */
    struct {
        enum transport_priority priority;
        size_t size;
    } spans[TRANSPORT_QUEUE_PARTS];
    int span_count;
};

void transport_queue_deinit(struct transport_queue *queue);

static inline size_t transport_lane_size(const struct transport_lane *lane) { return lane->bytes.size - lane->start; }
static inline size_t transport_queue_size(const struct transport_queue *queue)
{
    size_t size = 0;
    for (int i = 0; i < TRANSPORT_PRIORITIES; i++) {
        size += transport_lane_size(&queue->lanes[i]);
    }
    return size;
}

/* Appends to the signals, before any frame: the start of a connection. */
void transport_queue_put_magic(struct transport_queue *queue, const void *data, size_t size);

/* What to write next; returns the number of parts (0: nothing), and the bytes in all. At most about bulk_bytes of bulk,
 * but at least a frame. */
int transport_queue_parts(struct transport_queue *queue, size_t bulk_bytes,
                          struct iovec parts[static TRANSPORT_QUEUE_PARTS], size_t *ret_bytes);
/* The same of what has begun, and the signals. */
int transport_queue_signals(struct transport_queue *queue, struct iovec parts[static TRANSPORT_QUEUE_PARTS],
                            size_t *ret_bytes);
/* The first so many bytes of those parts were taken; frames may have been appended since. */
void transport_queue_sent(struct transport_queue *queue, size_t bytes);
