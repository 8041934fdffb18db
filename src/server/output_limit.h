/* How much a client may leave unread: the words of client-output-buffer-limit. */
#pragma once

#include "base/slice.h"

#include <stdint.h>

struct output_limit {
    int64_t hard_bytes;         /* above it the client is closed, … */
    int64_t soft_bytes, soft_s; /* … and when it stays above this for so long; 0 bytes: there is no such limit */
};

struct output_limits {
    struct output_limit normal, pubsub; /* pubsub: of clients that subscribe to anything */
};

#define OUTPUT_LIMITS_STANDARD                                                                                         \
    ((struct output_limits){.normal = {INT64_C(1) << 30, 0, 0}, .pubsub = {32 << 20, 8 << 20, 60}})

enum { OUTPUT_LIMITS_TEXT_BYTES = 160 };

/* Takes a size alone, the hard limit of normal clients, or Redis's words: class, hard, soft, seconds, any number of
 * times. Classes that are not named keep their limits. NULL, or what is wrong; *limits is then untouched. */
const char *output_limits_parse(struct slice text, struct output_limits *limits);
void output_limits_format(const struct output_limits *limits, char ret_text[static OUTPUT_LIMITS_TEXT_BYTES]);
