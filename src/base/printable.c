#include "base/printable.h"

enum { ESCAPE_BYTES = 4 };

static bool is_direction_or_line(const uint8_t *at)
{
    return at[0] == 0xe2 &&
           ((at[1] == 0x80 && at[2] >= 0xa8 && at[2] <= 0xae) || (at[1] == 0x81 && at[2] >= 0xa6 && at[2] <= 0xa9));
}

size_t printable_size(struct slice text)
{
    const uint8_t *at = text.data;
    if (text.size == 0 || at[0] < 0x80) {
        return text.size > 0 && at[0] >= 0x20 && at[0] != 0x7f;
    }
    size_t size = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4 || size > text.size) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool beyond = (at[0] == 0xed && at[1] >= 0xa0) || (at[0] == 0xf4 && at[1] >= 0x90);
    bool control = (at[0] == 0xc2 && at[1] < 0xa0) || (size == 3 && is_direction_or_line(at));
    return overlong || beyond || control ? 0 : size;
}

size_t printable_copy(struct slice text, char *to, size_t capacity)
{
    const char *digits = "0123456789abcdef";
    size_t length = 0;
    while (text.size > 0) {
        size_t size = printable_size(text);
        if (length + (size == 0 ? ESCAPE_BYTES : size) >= capacity) {
            break;
        }
        if (size == 0) {
            const char escape[ESCAPE_BYTES] = {'\\', 'x', digits[text.data[0] >> 4], digits[text.data[0] & 15]};
            memcpy(to + length, escape, ESCAPE_BYTES);
            length += ESCAPE_BYTES;
        } else {
            memcpy(to + length, text.data, size);
            length += size;
        }
        size_t taken = size == 0 ? 1 : size;
        text = slice_of(text.data + taken, text.size - taken);
    }
    to[length] = '\0';
    return length;
}
