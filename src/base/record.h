/* Numbers and texts in records: a number is a varint, a text is its size and its bytes. A record that is kept begins
 * with its kind and the version of its form, a byte each.
 *
 * What is taken is gone from the front of *from. When it is not there, or is more than `most`, *from is unspecified. */
#pragma once

#include "base/buffer.h"
#include "base/status.h"
#include "base/varint.h"

static inline void record_put_head(struct buffer *out, uint8_t kind, uint8_t version)
{
    buffer_append_byte(out, kind);
    buffer_append_byte(out, version);
}

static inline void record_put_number(struct buffer *out, uint64_t value)
{
    uint8_t *at = buffer_reserve(out, VARINT_MAXIMUM_BYTES);
    out->size += (size_t)(varint_put(at, value) - at);
}

static inline void record_put_numbers(struct buffer *out, const uint64_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        record_put_number(out, numbers[i]);
    }
}

static inline void record_put_text(struct buffer *out, struct slice text)
{
    uint8_t *at = buffer_reserve(out, VARINT_MAXIMUM_BYTES + text.size);
    out->size += (size_t)(varint_put(at, text.size) - at);
    buffer_append_slice(out, text);
}

/* STATUS_VERSION: it is of a form that is newer than `version`; no other one is known. */
static inline MUST_USE enum status record_take_head(struct slice *from, uint8_t version, uint8_t *ret_kind)
{
    if (from->size < 2 || from->data[1] < version) {
        return STATUS_CORRUPT;
    }
    if (from->data[1] > version) {
        return STATUS_VERSION;
    }
    *ret_kind = from->data[0];
    *from = slice_of(from->data + 2, from->size - 2);
    return STATUS_OK;
}

static inline MUST_USE bool record_take_number(struct slice *from, uint64_t most, uint64_t *ret_value)
{
    uint64_t value;
    if (!varint_take(from, &value) || value > most) {
        return false;
    }
    *ret_value = value;
    return true;
}

/* False: those that could be taken are in ret_numbers. */
static inline MUST_USE bool record_take_numbers(struct slice *from, uint64_t most, uint64_t *ret_numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!record_take_number(from, most, &ret_numbers[i])) {
            return false;
        }
    }
    return true;
}

/* The text stays where it is: borrowed. */
static inline MUST_USE bool record_take_text(struct slice *from, size_t most, struct slice *ret_text)
{
    uint64_t size;
    if (!varint_take(from, &size) || size > from->size || size > most) {
        return false;
    }
    *ret_text = slice_of(from->data, size);
    *from = slice_of(from->data + size, from->size - size);
    return true;
}
