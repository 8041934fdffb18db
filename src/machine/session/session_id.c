#include "machine/session/session_id.h"

#include "base/number.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { DIGITS = 16, MAXIMUM_SHARD = 65535 };

size_t session_id_format(char text[static SESSION_ID_BYTES], struct session_id id)
{
    return (size_t)snprintf(text, SESSION_ID_BYTES, "%" PRIu32 "-%" PRIx64, id.shard, id.number);
}

static bool parse_number(struct slice text, uint64_t *ret_number)
{
    uint64_t number = 0;
    if (text.size == 0 || text.size > DIGITS || text.data[0] == '0') {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        uint8_t digit = text.data[i];
        bool letter = digit >= 'a' && digit <= 'f';
        if (!letter && (digit < '0' || digit > '9')) {
            return false;
        }
        number = number << 4 | (letter ? digit - 'a' + 10U : digit - (unsigned)'0');
    }
    *ret_number = number;
    return number <= INT64_MAX;
}

bool session_id_parse(struct slice text, struct session_id *ret_id)
{
    const uint8_t *dash = text.size == 0 ? NULL : memchr(text.data, '-', text.size);
    int64_t shard;
    if (dash == NULL) {
        return false;
    }
    struct slice head = slice_of(text.data, (size_t)(dash - text.data));
    struct slice tail = slice_of(dash + 1, text.size - head.size - 1);
    if (!number_parse_int64(head, &shard) || shard < 1 || shard > MAXIMUM_SHARD) {
        return false;
    }
    ret_id->shard = (uint32_t)shard;
    return parse_number(tail, &ret_id->number);
}

size_t session_name_format(char text[static SESSION_ID_BYTES], struct session_id id, int64_t left_ms)
{
    return (size_t)snprintf(text, SESSION_ID_BYTES, "%" PRIu32 "-%" PRIx64 "/%" PRId64, id.shard, id.number, left_ms);
}

bool session_name_parse(struct slice text, struct session_id *ret_id, int64_t *ret_left_ms)
{
    const uint8_t *stroke = text.size == 0 ? NULL : memchr(text.data, '/', text.size);
    size_t size = stroke == NULL ? text.size : (size_t)(stroke - text.data);
    *ret_left_ms = -1;
    if (!session_id_parse(slice_of(text.data, size), ret_id)) {
        return false;
    }
    return stroke == NULL ||
           (number_parse_int64(slice_of(stroke + 1, text.size - size - 1), ret_left_ms) && *ret_left_ms >= 0);
}
