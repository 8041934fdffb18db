/* What several servers said, counted. Pure. */
#pragma once

#include "engine/redis_ask.h"

/* What the servers said. Who said an error said nothing. */
struct redlock_tally {
    size_t answered, yes;
    struct slice value;              /* that most have of this owner's; points into the answers */
    int64_t lefts_ms[REDIS_SERVERS]; /* of those who said yes */
    int64_t others_ms;               /* until the first of others' could be over; 0: nobody else holds it */
};

/* Of replies {value, left}: the value that most have; "" is not one. */
struct redlock_tally redlock_count_values(const struct redis_answer *answers, size_t count);

/* Of replies that are a number: more than 0 is yes. */
struct redlock_tally redlock_count_yes(const struct redis_answer *answers, size_t count);

/* False: it said nothing, or an error. */
bool redlock_take(const struct redis_answer *answer, struct slice *ret_value, int64_t *ret_left_ms);
