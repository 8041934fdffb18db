/* A scripted server that tells a feed: pushes 1 to `last`, of one change each, with the positions p0 to p<last>.
 *
 * Push number i sets the key k<i> to v<i> with the version i. Whoever asks from p<i> is told those behind it, in one
 * run, of which tests cut what they want; what else they want told follows behind it. */
#pragma once

#include "scripted_server.h"

struct scripted_feed {
    atomic_int first; /* where a feed without a position begins */
    atomic_int last;
    atomic_int at_most;            /* pushes for one request, then the connection closes; 0: all, and it stays */
    atomic_int refuse;             /* so many requests are answered with `refusal`; −1: all */
    _Atomic(const char *) refusal; /* a whole reply */
    _Atomic(const char *) tail;    /* RESP that follows the pushes of the next request, once; NULL: none */
    atomic_bool tail_each;         /* of each request */
    atomic_bool silent;            /* requests are not answered */
    atomic_bool reset;             /* a connection that closes is reset */
    atomic_size_t value_bytes;     /* values are so long, at least */
    atomic_int asked;              /* COHORT.FEED that came */
    atomic_int from;               /* what the last one asked for; −1: without a position */
    struct scripted_server server;
};

/* All else is zero. */
void scripted_feed_start(struct scripted_feed *feed);
void scripted_feed_stop(struct scripted_feed *feed);

/* Takes pushes from..to, and none between them, with whatever empty ones stand before each. */
void scripted_feed_expect(struct cohort_feed *feed, int from, int to);
