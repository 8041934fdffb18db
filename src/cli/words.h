/* A command line as redis-cli takes one: words between spaces, "…" with \n \r \t \b \a \\ \" \xHH, '…' with \' alone.
 */
#pragma once

#include "base/buffer.h"

enum { WORDS_MAXIMUM = 1024 };

struct words {
    struct buffer bytes;               /* of all words */
    struct slice items[WORDS_MAXIMUM]; /* in `bytes` */
    size_t count;
};

/* NULL, or what is wrong (static storage). words_deinit in any case. */
const char *words_split(struct words *words, const char *text);
void words_deinit(struct words *words);
