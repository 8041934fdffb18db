#include "base/varint.h"

bool varint_take_slow(struct slice *from, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (size_t i = 0; i < from->size && i < VARINT_MAXIMUM_BYTES; i++) {
        uint8_t byte = from->data[i];
        if (i == VARINT_MAXIMUM_BYTES - 1 && byte > 1) {
            return false; /* more than 64 bits */
        }
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            if (byte == 0 && i > 0) {
                return false; /* overlong: the writer never makes one */
            }
            from->data += i + 1;
            from->size -= i + 1;
            *ret_value = value;
            return true;
        }
    }
    return false;
}
