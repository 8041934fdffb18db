/* A growable run of bytes that owns its memory.
 *
 * Invariants: size <= capacity; data is NULL exactly when capacity is 0.
 * Growth at least doubles, so appending n bytes costs O(n) in all.
 * Memory that cannot be had aborts the process by assertion, as everywhere in
 * this program where a bounded amount is asked for; what a peer can make large
 * is checked against its limit before it comes here. */
#pragma once

#include "base/slice.h"

struct buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

static inline void buffer_init(struct buffer *buffer) { *buffer = (struct buffer){0}; }

/* Frees the memory; the buffer is as after buffer_init. */
void buffer_deinit(struct buffer *buffer);

/* Grows capacity so that `extra` more bytes fit; the slow half of reserve. */
void buffer_grow(struct buffer *buffer, size_t extra);

/* Room for `extra` more bytes, or false when memory is refused. What then appends no more than that cannot fail: this
 * is for a library in somebody else's program. */
__attribute__((warn_unused_result)) bool buffer_try_reserve(struct buffer *buffer, size_t extra);

/* Gives memory back when much more is held than used (capacity > keep_bytes). */
void buffer_shrink(struct buffer *buffer, size_t keep_bytes);

/* Makes room for `extra` bytes after size and returns where they start.
 * The caller writes them and then adds to size. */
static inline uint8_t *buffer_reserve(struct buffer *buffer, size_t extra)
{
    if (buffer->capacity - buffer->size < extra) {
        buffer_grow(buffer, extra);
    }
    return buffer->data + buffer->size;
}

static inline void buffer_clear(struct buffer *buffer) { buffer->size = 0; }

static inline void buffer_append(struct buffer *buffer, const void *data, size_t size)
{
    if (size == 0) {
        return;
    }
    memcpy(buffer_reserve(buffer, size), data, size);
    buffer->size += size;
}

static inline void buffer_append_slice(struct buffer *buffer, struct slice slice)
{
    buffer_append(buffer, slice.data, slice.size);
}

static inline void buffer_append_byte(struct buffer *buffer, uint8_t byte)
{
    *buffer_reserve(buffer, 1) = byte;
    buffer->size++;
}

static inline void buffer_append_string(struct buffer *buffer, const char *string)
{
    buffer_append(buffer, string, strlen(string));
}

__attribute__((format(printf, 2, 3))) void buffer_append_format(struct buffer *buffer, const char *format, ...);

/* Removes the first `size` bytes; the rest moves to the front. */
void buffer_consume(struct buffer *buffer, size_t size);

static inline struct slice buffer_slice(const struct buffer *buffer)
{
    return (struct slice){buffer->data, buffer->size};
}
