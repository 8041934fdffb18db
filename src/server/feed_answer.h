/* What a shard answers to COHORT.FEED.READ (machine/feed/feed_commands.c). */
#pragma once

#include "machine/feed/feed_log.h"

enum feed_answer_look { FEED_ANSWER_HERE, FEED_ANSWER_GONE, FEED_ANSWER_UNKNOWN, FEED_ANSWER_AHEAD, FEED_ANSWER_BAD };

struct feed_answer {
    enum feed_answer_look look; /* BAD: it is no such answer */
    struct feed_mark mark;
    struct slice records; /* borrowed from the reply */
    bool more;
};

struct feed_answer feed_answer_take(struct slice reply);
