#include "wire/resp_writer.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/number.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void put_prefixed(struct resp_writer *writer, char prefix, int64_t value)
{
    if (writer->out == NULL) {
        return;
    }
    uint8_t *at = buffer_reserve(writer->out, NUMBER_INT64_BYTES + 3);
    at[0] = (uint8_t)prefix;
    size_t size = 1 + number_format_int64((char *)at + 1, value);
    at[size] = '\r';
    at[size + 1] = '\n';
    writer->out->size += size + 2;
}

static void put_line(struct resp_writer *writer, char prefix, const char *text, size_t size)
{
    if (writer->out == NULL) {
        return;
    }
    size = size < RESP_LINE_MAXIMUM_BYTES ? size : RESP_LINE_MAXIMUM_BYTES;
    uint8_t *at = buffer_reserve(writer->out, size + 3);
    at[0] = (uint8_t)prefix;
    memcpy(at + 1, text, size);
    at[size + 1] = '\r';
    at[size + 2] = '\n';
    writer->out->size += size + 3;
}

void resp_status(struct resp_writer *writer, const char *text) { put_line(writer, '+', text, strlen(text)); }

void resp_error(struct resp_writer *writer, const char *text)
{
    if (writer->out == NULL) {
        return;
    }
    size_t start = writer->out->size + 1;
    put_line(writer, '-', text, strlen(text));
    uint8_t *end = writer->out->data + writer->out->size - 2;
    for (uint8_t *at = writer->out->data + start; at < end; at++) {
        if (*at == '\r' || *at == '\n') {
            *at = ' ';
        }
    }
}

void resp_error_format(struct resp_writer *writer, const char *format, ...)
{
    char few[1024];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(few, sizeof(few), format, arguments);
    va_end(arguments);
    ASSERT(size >= 0);
    if ((size_t)size < sizeof(few)) {
        resp_error(writer, few);
        return;
    }
    size_t room = (size_t)size < RESP_LINE_MAXIMUM_BYTES ? (size_t)size + 1 : RESP_LINE_MAXIMUM_BYTES + 1;
    char *many = memory_allocate(room);
    va_start(arguments, format);
    (void)vsnprintf(many, room, format, arguments);
    va_end(arguments);
    resp_error(writer, many);
    free(many);
}

void resp_integer(struct resp_writer *writer, int64_t value) { put_prefixed(writer, ':', value); }

static void put_blob(struct resp_writer *writer, char prefix, const char *format, struct slice value)
{
    if (writer->out == NULL) {
        return;
    }
    size_t extra = format == NULL ? 0 : 4;
    uint8_t *at = buffer_reserve(writer->out, value.size + extra + NUMBER_INT64_BYTES + 5);
    uint8_t *start = at;
    *at++ = (uint8_t)prefix;
    at += number_format_uint64((char *)at, value.size + extra);
    *at++ = '\r';
    *at++ = '\n';
    if (format != NULL) {
        memcpy(at, format, 3);
        at[3] = ':';
        at += 4;
    }
    if (value.size != 0) {
        memcpy(at, value.data, value.size);
        at += value.size;
    }
    *at++ = '\r';
    *at++ = '\n';
    writer->out->size += (size_t)(at - start);
}

void resp_bulk(struct resp_writer *writer, struct slice value) { put_blob(writer, '$', NULL, value); }

void resp_bulk_string(struct resp_writer *writer, const char *value) { resp_bulk(writer, slice_from_string(value)); }

void resp_bulk_integer(struct resp_writer *writer, int64_t value)
{
    char digits[NUMBER_INT64_BYTES];
    size_t size = number_format_int64(digits, value);
    resp_bulk(writer, slice_of(digits, size));
}

void resp_verbatim(struct resp_writer *writer, const char format[static 3], struct slice value)
{
    if (writer->protocol == RESP3) {
        put_blob(writer, '=', format, value);
    } else {
        resp_bulk(writer, value);
    }
}

void resp_raw(struct resp_writer *writer, struct slice bytes)
{
    if (writer->out != NULL) {
        buffer_append_slice(writer->out, bytes);
    }
}

void resp_null(struct resp_writer *writer)
{
    resp_raw(writer, writer->protocol == RESP3 ? SLICE_LITERAL("_\r\n") : SLICE_LITERAL("$-1\r\n"));
}

void resp_null_array(struct resp_writer *writer)
{
    resp_raw(writer, writer->protocol == RESP3 ? SLICE_LITERAL("_\r\n") : SLICE_LITERAL("*-1\r\n"));
}

void resp_array(struct resp_writer *writer, size_t count) { put_prefixed(writer, '*', (int64_t)count); }

void resp_map(struct resp_writer *writer, size_t pairs)
{
    if (writer->protocol == RESP3) {
        put_prefixed(writer, '%', (int64_t)pairs);
    } else {
        put_prefixed(writer, '*', (int64_t)pairs * 2);
    }
}

void resp_set(struct resp_writer *writer, size_t count)
{
    put_prefixed(writer, writer->protocol == RESP3 ? '~' : '*', (int64_t)count);
}

void resp_push(struct resp_writer *writer, size_t count)
{
    put_prefixed(writer, writer->protocol == RESP3 ? '>' : '*', (int64_t)count);
}

void resp_boolean(struct resp_writer *writer, bool value)
{
    if (writer->protocol == RESP3) {
        resp_raw(writer, value ? SLICE_LITERAL("#t\r\n") : SLICE_LITERAL("#f\r\n"));
    } else {
        resp_integer(writer, value ? 1 : 0);
    }
}

void resp_double(struct resp_writer *writer, double value)
{
    char text[64];
    int size = isinf(value) ? snprintf(text, sizeof(text), "%s", value > 0 ? "inf" : "-inf")
                            : snprintf(text, sizeof(text), "%.17g", value);
    if (writer->protocol == RESP3) {
        put_line(writer, ',', text, (size_t)size);
    } else {
        resp_bulk(writer, slice_of(text, (size_t)size));
    }
}
