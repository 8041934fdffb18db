#include "cluster/transport_queue.h"

#include "base/assert.h"

void transport_queue_deinit(struct transport_queue *queue)
{
    for (int i = 0; i < TRANSPORT_PRIORITIES; i++) {
        buffer_deinit(&queue->lanes[i].bytes);
    }
    *queue = (struct transport_queue){0};
}

void transport_queue_put_magic(struct transport_queue *queue, const void *data, size_t size)
{
    struct transport_lane *lane = &queue->lanes[TRANSPORT_SIGNAL];
    ASSERT(lane->bytes.size == 0);
    buffer_append(&lane->bytes, data, size);
    lane->open = size;
}

static size_t frame_end_at(const struct transport_lane *lane, size_t at)
{
    return at + frame_size(lane->bytes.data + at);
}

static void add_span(struct transport_queue *queue, struct iovec *parts, enum transport_priority priority, size_t from,
                     size_t to)
{
    ASSERT(from <= to && to <= queue->lanes[priority].bytes.size);
    if (from < to) {
        parts[queue->span_count] = (struct iovec){queue->lanes[priority].bytes.data + from, to - from};
        queue->spans[queue->span_count].priority = priority;
        queue->spans[queue->span_count].size = to - from;
        queue->span_count++;
    }
}

/* One lane has begun a frame, at most. */
static void add_signals(struct transport_queue *queue, struct iovec *parts)
{
    queue->span_count = 0;
    for (int i = 0; i < TRANSPORT_PRIORITIES; i++) {
        add_span(queue, parts, (enum transport_priority)i, queue->lanes[i].start, queue->lanes[i].open);
    }
    const struct transport_lane *signals = &queue->lanes[TRANSPORT_SIGNAL];
    add_span(queue, parts, TRANSPORT_SIGNAL, signals->open, signals->bytes.size);
}

int transport_queue_signals(struct transport_queue *queue, struct iovec parts[static TRANSPORT_QUEUE_PARTS],
                            size_t *ret_bytes)
{
    const struct transport_lane *signals = &queue->lanes[TRANSPORT_SIGNAL];
    *ret_bytes = 0;
    queue->span_count = 0;
    if (signals->open < signals->bytes.size) {
        add_signals(queue, parts);
    }
    for (int i = 0; i < queue->span_count; i++) {
        *ret_bytes += queue->spans[i].size;
    }
    return queue->span_count;
}

int transport_queue_parts(struct transport_queue *queue, size_t bulk_bytes,
                          struct iovec parts[static TRANSPORT_QUEUE_PARTS], size_t *ret_bytes)
{
    const struct transport_lane *signals = &queue->lanes[TRANSPORT_SIGNAL], *urgent = &queue->lanes[TRANSPORT_URGENT];
    const struct transport_lane *bulk = &queue->lanes[TRANSPORT_BULK];
    size_t first = bulk->open; /* of bulk, before what is urgent */
    if (first == bulk->start && first < bulk->bytes.size && queue->passed_over >= TRANSPORT_PASSED_OVER) {
        first = frame_end_at(bulk, first);
    }
    size_t end = first;
    while (end < bulk->bytes.size && (end == bulk->start || end - bulk->start < bulk_bytes)) {
        end = frame_end_at(bulk, end);
    }
    add_signals(queue, parts);
    add_span(queue, parts, TRANSPORT_BULK, bulk->open, first);
    add_span(queue, parts, TRANSPORT_URGENT, urgent->open, urgent->bytes.size);
    add_span(queue, parts, TRANSPORT_BULK, first, end);
    *ret_bytes = transport_lane_size(signals) + transport_lane_size(urgent) + (end - bulk->start);
    return queue->span_count;
}

/* Drops what was sent, at a cost that is small against having sent it. */
static void lane_tidy(struct transport_lane *lane)
{
    while (lane->open < lane->start) {
        lane->open = frame_end_at(lane, lane->open);
    }
    if (lane->start < transport_lane_size(lane)) {
        return;
    }
    buffer_consume(&lane->bytes, lane->start);
    lane->open -= lane->start;
    lane->start = 0;
    if (lane->bytes.size == 0 && lane->bytes.capacity > TRANSPORT_QUEUE_KEEP_BYTES) {
        buffer_deinit(&lane->bytes);
    }
}

void transport_queue_sent(struct transport_queue *queue, size_t bytes)
{
    size_t sent[TRANSPORT_PRIORITIES] = {0};
    for (int i = 0; i < queue->span_count && bytes > 0; i++) {
        size_t take = bytes < queue->spans[i].size ? bytes : queue->spans[i].size;
        sent[queue->spans[i].priority] += take;
        bytes -= take;
    }
    ASSERT(bytes == 0);
    for (int i = 0; i < TRANSPORT_PRIORITIES; i++) {
        queue->lanes[i].start += sent[i];
        lane_tidy(&queue->lanes[i]);
    }
    bool kept_waiting =
        transport_lane_size(&queue->lanes[TRANSPORT_BULK]) > 0 && sent[TRANSPORT_SIGNAL] + sent[TRANSPORT_URGENT] > 0;
    queue->passed_over = sent[TRANSPORT_BULK] > 0 ? 0 : queue->passed_over + (kept_waiting ? 1 : 0);
    queue->span_count = 0;
}
