/* The words of notify-keyspace-events: which events clients of a node hear of, and in which form. */
#pragma once

#include "base/slice.h"
#include "wire/message.h"

#include <stdint.h>

/* Beside the classes of wire/message.h. */
enum { NOTIFY_BY_KEY = 1 << 14 /* K */, NOTIFY_BY_EVENT = 1 << 15 /* E */ };

enum { NOTIFY_TEXT_BYTES = 32 };

/* False on a letter that is none. */
bool notify_parse(struct slice text, int64_t *ret_flags);
/* As Redis writes it: "AKE". */
void notify_format(int64_t flags, char ret_text[static NOTIFY_TEXT_BYTES]);
/* The classes that anybody could hear of. */
static inline uint32_t notify_classes(int64_t flags)
{
    return (flags & (NOTIFY_BY_KEY | NOTIFY_BY_EVENT)) != 0 ? (uint32_t)flags & EVENT_CLASSES : 0;
}
