/* The load of `cohort bench`: closed-loop clients that send batches and wait for their replies.
 *
 * Each worker thread owns its clients, its epoll and its counters and shares nothing but the plan and the stop flag.
 * A client sends `pipeline` requests in one write and sends the next batch when all replies are there; a reply's
 * latency counts from that write (a transaction's ends with its last reply). A lost connection counts its unanswered
 * requests as errors and comes back. When nothing answers for twice the timeout, the load ends.
 *
 *      idle ──connect──▶ connecting ──▶ ready ──batch sent──▶ waiting ──last reply──▶ ready … ──▶ done
 *        ▲                                            │
 *        └──── after RECONNECT_MS ◀── lost, timed out ┘ */
#pragma once

#include "cli/bench_lock.h"
#include "cli/bench_request.h"
#include "cli/histogram.h"
#include "client/connection.h"

#include <pthread.h>
#include <stdatomic.h>

enum { BENCH_PROBLEMS_MAXIMUM = 8, BENCH_PROBLEM_BYTES = 120 };

struct bench_plan {
    const struct client_url *url; /* clients go to its endpoints in turn */
    uint32_t threads;
    uint32_t clients;
    uint32_t pipeline;
    uint64_t requests;   /* in all; 0: until the duration ends */
    int64_t duration_ms; /* 0: until the requests are done */
    char level[32];      /* that each connection asks for, as COHORT.CONSISTENCY takes it; empty: none */
    struct bench_mix mix;
};

/* Errors that look alike, by the first word of their text. */
struct bench_problem {
    char text[BENCH_PROBLEM_BYTES]; /* the first one seen, made printable */
    uint64_t count;
};

/* Of locks: to how many owners, how evenly, and for how many requests. */
struct bench_grants {
    uint64_t owners, sent;
    uint64_t count, least, most; /* of one owner */
    double squares;              /* the sum of all owners' counts, squared each */
};

struct bench_counts {
    struct histogram latency[BENCH_OPERATIONS]; /* of answers that are no errors */
    uint64_t misses;                            /* GETs of keys that are not there; locks that were not granted */
    uint64_t errors;                            /* requests with an error among their replies, or without a reply */
    struct bench_problem problems[BENCH_PROBLEMS_MAXIMUM];
    struct bench_grants grants;
    int64_t first_ns; /* when the load began and ended, by client_clock_ns */
    int64_t last_ns;
};

struct bench_client;

struct bench_worker {
    const struct bench_plan *plan;
    uint32_t index;
    pthread_t thread;
    pthread_barrier_t *start;
    atomic_bool *stop;
    struct bench_client *clients;
    uint32_t client_count;
    uint32_t clients_done;
    int epoll;
    struct bench_requests requests;
    uint64_t left;             /* requests still to be sent; UINT64_MAX without a limit */
    int64_t end_ns;            /* of the duration; INT64_MAX without one */
    int64_t now_ns;            /* read when replies are */
    int64_t progress_ns;       /* of the last reply */
    _Atomic uint64_t answered; /* for the progress line */
    atomic_bool finished;
    struct bench_counts *counts;
};

/* Prepares the worker's share of the plan and connects its clients. Fails when one cannot connect. */
MUST_USE enum status bench_worker_init(struct bench_worker *worker, const struct bench_plan *plan, uint32_t index,
                                       pthread_barrier_t *start, atomic_bool *stop);
void bench_worker_deinit(struct bench_worker *worker);

/* A thread's body: waits at the barrier, then makes the load. */
void *bench_worker_run(void *owner);

void bench_counts_merge(struct bench_counts *into, const struct bench_counts *from);
