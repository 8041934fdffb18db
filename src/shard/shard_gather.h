/* How long the open batch gathers while nothing else holds it back.
 *
 * An entry costs a sync and a message to each member, with one request in it as with hundreds. Clients that wait for
 * answers get them together and come again together, a few microseconds apart: sealed at the first of them, the batch
 * would leave all others to the next one. So while it has fewer requests than the last one had, it waits for the rest:
 * as long as more keep coming, for some microseconds without any, and half a millisecond at most. Who is alone waits
 * for nobody; and the batch after one for which nobody came is as small as that one. Reads alone do not wait: a round
 * of heartbeats costs little, and who reads had better not stand still meanwhile.
 *
 * The loop polls meanwhile instead of sleeping: as short a sleep costs more than that. */
#pragma once

#include "base/slice.h"

struct gather {
    size_t last;       /* requests of the last batch with something to log */
    size_t count;      /* of the open one when it was looked at last, … */
    int64_t newest_ns; /* … which it first had then */
    uint32_t turns;    /* that it has waited */
    bool waits;        /* for more, in this turn */
};
