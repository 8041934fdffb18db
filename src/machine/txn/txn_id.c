#include "machine/txn/txn_id.h"

#include <stdio.h>

size_t txn_id_make(char at[static TXN_ID_BYTES], const struct txn_id *id)
{
    return (size_t)snprintf(at, TXN_ID_BYTES, "~%x.%llx.%llx.%llx.%llx", id->home, (unsigned long long)id->position,
                            (unsigned long long)id->node, (unsigned long long)id->start,
                            (unsigned long long)(id->sequence << 1 | (id->runs ? 1 : 0)));
}

static int digit(uint8_t byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* Takes a number and the '.' behind it; the last one has none. */
static bool take_number(struct slice *from, bool last, uint64_t *ret_value)
{
    uint64_t value = 0;
    size_t size = 0;
    while (size < from->size && digit(from->data[size]) >= 0) {
        if (size == 16 || (size == 1 && value == 0)) {
            return false;
        }
        value = value << 4 | (uint64_t)digit(from->data[size++]);
    }
    if (size == 0 || last != (size == from->size) || (!last && from->data[size] != '.')) {
        return false;
    }
    size_t taken = size + (last ? 0 : 1);
    *from = slice_of(from->data + taken, from->size - taken);
    *ret_value = value;
    return true;
}

bool txn_id_parse(struct slice text, struct txn_id *ret_id)
{
    if (text.size == 0 || text.size > TXN_ID_BYTES) {
        return false;
    }
    if (text.data[0] != '~') {
        *ret_id = (struct txn_id){0};
        return true;
    }
    struct slice rest = slice_of(text.data + 1, text.size - 1);
    struct txn_id id = {.made = true};
    uint64_t home;
    if (!take_number(&rest, false, &home) || !take_number(&rest, false, &id.position) ||
        !take_number(&rest, false, &id.node) || !take_number(&rest, false, &id.start) ||
        !take_number(&rest, true, &id.sequence) || home == 0 || home > UINT32_MAX || id.position > INT64_MAX) {
        return false;
    }
    id.home = (uint32_t)home;
    id.runs = (id.sequence & 1) != 0;
    id.sequence >>= 1;
    *ret_id = id;
    return true;
}
