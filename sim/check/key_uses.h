/* As what each key of a history is used: one that is a string and a hash could be judged as neither. */
#pragma once

#include "check/history.h"

struct key_uses {
    uint8_t *items; /* by the number of the key's text */
    uint32_t count;
};

static inline void key_uses_init(struct key_uses *uses) { *uses = (struct key_uses){0}; }
void key_uses_deinit(struct key_uses *uses);

/* False when the operation's key was used as the other before. */
bool key_uses_add(struct key_uses *uses, const struct history_operation *operation);
