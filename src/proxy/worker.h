/* A worker's insides, for the files of this room.
 *
 *   proxy.c         options, listeners, threads, figures asked for
 *   worker.c        the loop: events, connections with something left to do, timeouts
 *   accept.c        new connections, within the limits
 *   connection.c    a connection's life: begun, header, pick, connect, retry, end
 *   flow.c          bytes of one direction: copied, or spliced through a pipe when there are many
 *   list.c          lists of backends, and how workers come to a new one
 *   check.c         active checks
 *   check_words.c   what they say and hear, pure
 *   proxy_header.c  the PROXY protocol, pure
 *   figures.c       Prometheus text
 *
 * Descriptors are edge-triggered and registered once: a side remembers whether it was told to be readable or writable,
 * and tries until the system says EAGAIN. A connection that has used its share of a turn goes on in the next one. */
#pragma once

#include "base/list.h"
#include "proxy/proxy.h"
#include "proxy/proxy_header.h"

#include <pthread.h>
#include <stdatomic.h>

/* The kernel's buffer between two sockets. */
struct proxy_pipe {
    struct proxy_pipe *next; /* in the pool */
    int read_fd, write_fd;
};

struct proxy_side {
    int fd; /* -1: none */
    bool readable, writable;
    bool hung; /* an end or an error is to be read: a short read does not mean that nothing is left */
};

/* Bytes from a side to the other one. */
struct proxy_flow {
    uint8_t *held; /* read and not yet written; NULL: nothing */
    uint32_t held_from, held_to;
    struct proxy_pipe *pipe;
    uint32_t in_pipe;
    uint8_t streak; /* large reads in a row */
    bool ended;     /* the end was read */
    bool done;      /* and passed on; or nothing can be passed on any more */
    uint64_t bytes; /* read */
};

enum proxy_state { PROXY_HEADER, PROXY_CONNECTING, PROXY_STREAMING, PROXY_CLOSED };
enum { CLIENT, BACKEND, PROXY_SIDES };

struct proxy_connection {
    struct list timed; /* in one of the worker's lists, by since_ns */
    struct list ready; /* it has something left to do */
    int64_t since_ns;  /* of the header's wait, the attempt, the last byte */
    struct proxy_side sides[PROXY_SIDES];
    struct proxy_flow flows[PROXY_SIDES]; /* [CLIENT]: from the client to the backend */
    uint8_t state;
    bool broken; /* bytes were lost: it ends with resets */
    bool backend_failed;
    uint8_t tried_count;
    uint32_t tried[PROXY_MAXIMUM_RETRIES + 1]; /* the last one is the present one, while `engaged` */
    bool engaged;                              /* balancer_begin was called */
    int64_t begun_ns, latency_ns;              /* of the attempt; negative: no answer yet */
    union proxy_peer client, local;
};

struct proxy_check {
    int fd; /* -1: none under way */
    int64_t due_ns, deadline_ns;
    bool asked; /* connected, and what is to be said was said */
    size_t heard_size;
    uint8_t heard[PROXY_CHECK_HEARD_BYTES];
};

/* A backend that is listed, or was: by the balancer's handle. */
struct proxy_target {
    struct proxy_address at;
    struct slice host; /* the address as it was given, in the list's texts; only while it is listed */
    struct proxy_check check;
    bool listed;
};

/* What a list said; never changed. */
struct proxy_list {
    atomic_uint users;
    uint32_t count;
    char *texts; /* of the listings */
    struct balancer_listing listings[PROXY_MAXIMUM_BACKENDS];
    struct proxy_address addresses[PROXY_MAXIMUM_BACKENDS];
};

struct proxy_worker {
    struct proxy *proxy;
    pthread_t thread;
    bool started;
    int epoll_fd, listen_fd, event_fd;
    int64_t now_ns; /* of this turn */
    struct balancer *balancer;
    struct list headers, connecting, streaming; /* by since_ns, earliest first */
    struct list ready;
    struct list closed;  /* freed at the end of the turn */
    uint32_t full_turns; /* in a row: there may be more events than were told */
    struct proxy_pipe *pipes;
    uint32_t pipe_count;     /* in use or in the pool */
    int64_t accept_again_ns; /* 0: accepting */
    double accept_tokens;    /* of the rate */
    int64_t accept_filled_ns;
    double retry_tokens;
    struct proxy_list *list; /* in force */
    struct proxy_target *targets;
    uint32_t target_count;
    int64_t check_due_ns;
    struct proxy_counts counts;
    bool stopped;
    uint8_t scratch[PROXY_HELD_BYTES];

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t told;
    struct proxy_list *next_list; /* to be taken; NULL: none */
    uint64_t asked, answered;
    struct proxy_counts told_counts;
    const struct proxy_list *told_list; /* what the next are of; only to be compared */
    struct balancer_statistics told_backends[PROXY_MAXIMUM_BACKENDS];
};

struct proxy {
    struct proxy_options options;
    uint32_t worker_count;
    struct proxy_worker *workers[PROXY_MAXIMUM_WORKERS];
    struct balancer *pattern; /* without traffic: what it takes, each worker's takes */
    struct proxy_list *list;  /* the latest one that was taken */
    int port;
    atomic_uint open;
    atomic_uint listening; /* workers that may accept yet */
    atomic_bool stopping, ending;
};

/* What an epoll event is about: a connection's side, a check, or one of the worker's own. */
enum { TAG_SIDE_BIT = 1, TAG_CHECK = 2, TAG_LISTENER = 4, TAG_EVENT = 8 };

/* ---- worker.c ---- */
void *proxy_worker_run(void *of);
MUST_USE bool proxy_worker_watch(struct proxy_worker *worker, int fd, uint64_t tag);
void proxy_worker_wake(const struct proxy_worker *worker);
/* Reads the clock. */
int64_t proxy_worker_clock_ns(void);

/* ---- accept.c ---- */
void proxy_accept_some(struct proxy_worker *worker);
/* Those that the system has accepted already, before the listener is closed. */
void proxy_accept_last(struct proxy_worker *worker);

/* ---- connection.c ---- */
void proxy_socket_close(int fd, bool reset);
/* Of a client that was accepted and counted as open; the descriptor is the connection's now. */
void proxy_connection_begin(struct proxy_worker *worker, int fd, const union proxy_peer *client);
void proxy_connection_event(struct proxy_worker *worker, struct proxy_connection *connection, int which,
                            uint32_t events);
/* Goes on with what is left to do. */
void proxy_connection_run(struct proxy_worker *worker, struct proxy_connection *connection);
void proxy_connection_expire(struct proxy_worker *worker);
void proxy_connection_close(struct proxy_worker *worker, struct proxy_connection *connection, bool reset);
/* No descriptors, ports or memory here: it says nothing about whom one wanted to connect to. */
bool proxy_is_own_failure(int error);
/* Whether connecting failed. */
bool proxy_has_failed(int fd);

/* ---- flow.c ---- */
enum flow_result {
    FLOW_WAITS, /* for an event */
    FLOW_MORE,  /* its share of the turn is used */
    FLOW_READ_ERROR,
    FLOW_WRITE_ERROR,
};
enum flow_result proxy_flow_run(struct proxy_worker *worker, struct proxy_connection *connection, int from);
void proxy_flow_deinit(struct proxy_worker *worker, struct proxy_flow *flow);
void proxy_flow_free_pipes(struct proxy_worker *worker);

/* ---- list.c ---- */
/* NULL is harmless. */
void proxy_list_release(struct proxy_list *list);
/* Goes over to worker->next_list, if there is one. The lock is held, or the thread not started yet. */
void proxy_worker_take_list(struct proxy_worker *worker);

/* ---- check.c ---- */
/* The list is another one. The first one's checks are spread over the interval; who joins later is checked at once. */
void backend_check_listed(struct proxy_worker *worker, bool first);
void backend_check_event(struct proxy_worker *worker, uint32_t handle, uint32_t events);
void backend_check_run_due(struct proxy_worker *worker);
void backend_check_deinit(struct proxy_worker *worker);
