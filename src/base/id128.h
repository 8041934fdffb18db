/* A random 128-bit name: of a cluster, of a node's data folder (its incarnation). All zero means "none, not known". */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct id128 {
    uint8_t bytes[16];
};

enum { ID128_DIGITS = 32 };

static inline bool id128_equal(const struct id128 *a, const struct id128 *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static inline bool id128_is_zero(const struct id128 *id) { return id128_equal(id, &(struct id128){0}); }

/* Lower-case hexadecimal digits and a NUL. */
static inline void id128_format(const struct id128 *id, char ret_text[static ID128_DIGITS + 1])
{
    for (int i = 0; i < ID128_DIGITS; i++) {
        ret_text[i] = "0123456789abcdef"[id->bytes[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15];
    }
    ret_text[ID128_DIGITS] = '\0';
}

/* Exactly ID128_DIGITS hexadecimal digits in either case, then a NUL. */
static inline bool id128_parse(const char *text, struct id128 *ret_id)
{
    struct id128 id = {0};
    for (int i = 0; i < ID128_DIGITS; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) {
            return false;
        }
        id.bytes[i / 2] = (uint8_t)(id.bytes[i / 2] << 4 | digit);
    }
    *ret_id = text[ID128_DIGITS] == '\0' ? id : *ret_id;
    return text[ID128_DIGITS] == '\0';
}
