#include "check/key_uses.h"

#include "base/memory.h"

#include <string.h>

enum { AS_STRING = 1, AS_HASH = 2 };

void key_uses_deinit(struct key_uses *uses)
{
    free(uses->items);
    key_uses_init(uses);
}

bool key_uses_add(struct key_uses *uses, const struct history_operation *operation)
{
    uint32_t key = operation->key;
    if (key >= uses->count) {
        uint32_t count = key + key / 2 + 64;
        uses->items = memory_resize(uses->items, count);
        memset(uses->items + uses->count, 0, count - uses->count);
        uses->count = count;
    }
    uses->items[key] |= operation->field == TEXTS_NONE ? AS_STRING : AS_HASH;
    return uses->items[key] != (AS_STRING | AS_HASH);
}
