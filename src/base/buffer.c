#include "base/buffer.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUFFER_MINIMUM_BYTES = 64 };

void buffer_deinit(struct buffer *buffer)
{
    free(buffer->data);
    buffer_init(buffer);
}

static size_t grown(const struct buffer *buffer, size_t extra)
{
    ASSERT(extra <= SIZE_MAX / 4 && buffer->size <= SIZE_MAX / 4);
    size_t wanted = buffer->size + extra;
    size_t capacity = buffer->capacity * 2;
    capacity = capacity < wanted ? wanted : capacity;
    return capacity < BUFFER_MINIMUM_BYTES ? BUFFER_MINIMUM_BYTES : capacity;
}

void buffer_grow(struct buffer *buffer, size_t extra)
{
    size_t capacity = grown(buffer, extra);
    uint8_t *data = memory_resize(buffer->data, capacity);
    buffer->data = data;
    buffer->capacity = capacity;
}

bool buffer_try_reserve(struct buffer *buffer, size_t extra)
{
    if (buffer->capacity - buffer->size >= extra) {
        return true;
    }
    size_t capacity = grown(buffer, extra);
    uint8_t *data = realloc(buffer->data, capacity);
    if (data != NULL) {
        buffer->data = data;
        buffer->capacity = capacity;
    }
    return data != NULL;
}

void buffer_shrink(struct buffer *buffer, size_t keep_bytes)
{
    if (buffer->capacity <= keep_bytes || buffer->size > buffer->capacity / 4) {
        return;
    }
    size_t capacity = buffer->size > keep_bytes ? buffer->size : keep_bytes;
    if (capacity == 0) {
        buffer_deinit(buffer);
        return;
    }
    uint8_t *data = realloc(buffer->data, capacity);
    if (data != NULL) {
        buffer->data = data;
        buffer->capacity = capacity;
    }
}

void buffer_append_format(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    ASSERT(size >= 0);
    uint8_t *at = buffer_reserve(buffer, (size_t)size + 1);
    (void)vsnprintf((char *)at, (size_t)size + 1, format, again);
    va_end(again);
    buffer->size += (size_t)size;
}

void buffer_consume(struct buffer *buffer, size_t size)
{
    ASSERT(size <= buffer->size);
    if (size != 0 && size < buffer->size) {
        memmove(buffer->data, buffer->data + size, buffer->size - size);
    }
    buffer->size -= size;
}
