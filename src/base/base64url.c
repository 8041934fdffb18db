#include "base/base64url.h"

#include <string.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void base64url_encode(struct buffer *out, size_t start)
{
    size_t size = out->size - start;
    size_t digits = (size * 8 + 5) / 6;
    (void)buffer_reserve(out, digits);
    uint8_t *at = out->data + start;
    memmove(at + digits, at, size); /* the text grows towards what it is made of, and never reaches it */
    const uint8_t *from = at + digits;
    uint32_t bits = 0;
    uint32_t have = 0;
    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | from[i];
        have += 8;
        while (have >= 6) {
            have -= 6;
            *at++ = (uint8_t)letters[bits >> have & 63];
        }
    }
    if (have > 0) {
        *at++ = (uint8_t)letters[bits << (6 - have) & 63];
    }
    out->size = start + digits;
}

static int digit_of(uint8_t letter)
{
    const char *at = letter == '\0' ? NULL : strchr(letters, letter);
    return at == NULL ? -1 : (int)(at - letters);
}

bool base64url_decode(struct slice text, struct buffer *out)
{
    uint32_t bits = 0;
    uint32_t have = 0;
    for (size_t i = 0; i < text.size; i++) {
        int digit = digit_of(text.data[i]);
        if (digit < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)digit;
        have += 6;
        if (have >= 8) {
            have -= 8;
            buffer_append_byte(out, (uint8_t)(bits >> have));
        }
    }
    return have < 6 && (bits & ((1U << have) - 1)) == 0;
}
