/* The TCP balancer: accepts, picks a backend (balance/balancer.h), connects, and moves bytes both ways until both have
 * ended.
 *
 *   client ──→ [PROXY header] ──→ pick ──→ connect ──→ bytes, both ways ──→ both ended
 *                                  ▲          │ failed, or reset before any byte moved
 *                                  └──────────┘ another backend, within the budget of retries
 *
 * Each worker is a thread with an epoll, a listener of its own on the same port (SO_REUSEPORT), a balancer, and the
 * connections that it accepted; workers share nothing but the count of connections.
 *
 * Invariants
 *  1. A connection has one backend at a time. It changes only before any byte has moved in either direction.
 *  2. What was read is written, in order, or both ends learn that it was not: a reset of one side, or bytes that cannot
 *     be delivered, reset the other side. An end (FIN) is passed on after all bytes before it, and the other direction
 *     goes on.
 *  3. Nothing is read from a side while bytes for the other one wait: at most PROXY_HELD_BYTES, or a pipe, per
 * direction.
 *  4. balancer_begin has its balancer_end, however a connection ends.
 *
 * Limits: connections, backends, retries, held bytes, a PROXY header's size and time; see docs/balancing.md. */
#pragma once

#include "balance/balancer.h"
#include "base/buffer.h"
#include "proxy/check_words.h"

#include <sys/socket.h>

enum {
    PROXY_MAXIMUM_WORKERS = 64,
    PROXY_MAXIMUM_BACKENDS = 256,
    PROXY_MAXIMUM_RETRIES = 8,
    PROXY_MAXIMUM_CONNECTIONS = 1000000,
    PROXY_MAXIMUM_RATE = 10000000,
    PROXY_BACKLOG = 4096,     /* clients that wait to be accepted, of each worker */
    PROXY_HELD_BYTES = 65536, /* per direction, while the other side does not take them */
};

/* An address to listen on or to connect to. */
struct proxy_address {
    struct sockaddr_storage address;
    socklen_t size;
};

/* Resolves a host (a name takes a while) and a port; the first address that the system gives. False: no such host. */
bool proxy_resolve(const char *host, int port, struct proxy_address *ret_address);

struct proxy_backend {
    struct balancer_listing listing;
    struct proxy_address at;
};

struct proxy_options {
    struct proxy_address listen;          /* port 0: any */
    const struct proxy_backend *backends; /* the first list; copied */
    uint32_t backend_count;               /* 1 to PROXY_MAXIMUM_BACKENDS */
    struct balancer_options balancing;    /* the seed is the first worker's; others count up from it */
    uint32_t workers;                     /* 1 to PROXY_MAXIMUM_WORKERS */
    uint32_t connections;                 /* at the same time; more are accepted and closed at once */
    uint32_t rate; /* new ones in a second, an even part for each worker; others wait in the backlog. 0: no limit */
    int64_t connect_timeout_ns;    /* of each attempt, and for a PROXY header */
    int64_t idle_timeout_ns;       /* without a byte in either direction; 0: never */
    int64_t check_interval_ns;     /* between checks of a backend; 0: none */
    enum proxy_check_kind check;   /* what they do besides connecting */
    struct slice check_path;       /* of HTTP; borrowed as long as the proxy lives */
    uint32_t retries;              /* other backends tried after the first */
    uint32_t retry_budget_percent; /* of new connections that may be retried, over time; bursts of 100 */
    bool accept_header;            /* clients begin with a PROXY header, v1 or v2 */
    int send_header;               /* version of the PROXY header that backends get; 0: none */
};

struct proxy;

/* Listens, and starts the threads. STATUS_BUSY: the address is in use; STATUS_DENIED; STATUS_INVALID: the balancer
 * refuses the backends or options, *ret_why says how (else NULL); STATUS_FULL: descriptors. */
MUST_USE enum status proxy_create(const struct proxy_options *options, struct proxy **ret_proxy, const char **ret_why);
int proxy_port(const struct proxy *proxy);
/* Another list of backends (copied), 1 to PROXY_MAXIMUM_BACKENDS of them: in force in each worker before its next turn.
 * Who stays by its id keeps all that is known of it, also under another address; who leaves, or drains, keeps its open
 * connections. A refused list changes nothing. To be called by the thread that asks for figures. */
MUST_USE enum status proxy_update(struct proxy *proxy, const struct proxy_backend *backends, uint32_t count,
                                  struct balancer_refused *ret_refused);
/* Accepts no more; connections go on. */
void proxy_stop(struct proxy *proxy);
/* Whether all that was accepted before the stop, and what waited then, has ended. */
bool proxy_has_ended(const struct proxy *proxy);
/* Connections that are open. */
uint32_t proxy_open(const struct proxy *proxy);
/* Ends what is still open (with resets), waits for the threads. NULL is harmless. */
void proxy_destroy(struct proxy *proxy);

/* Counted since the start, but `open`. */
struct proxy_counts {
    uint64_t accepted, open;
    uint64_t refused;                          /* beyond the limit of connections */
    uint64_t rate_rests;                       /* times that accepting rested because of the rate */
    uint64_t bad_headers;                      /* PROXY headers that were malformed, or late */
    uint64_t no_backend;                       /* nobody to connect to, or none that could be connected to */
    uint64_t connect_errors, connect_timeouts; /* attempts */
    uint64_t local_errors;                     /* attempts for which there was no descriptor, port or memory here */
    uint64_t retries;
    uint64_t idle_timeouts, resets; /* connections that ended so */
    uint64_t bytes_in, bytes_out;   /* from clients, to clients */
    uint64_t bytes_spliced;         /* of both */
    uint64_t accept_errors;
};

struct proxy_backend_figures {
    /* Sums over workers, but healthy: by all; ejected: by one. Texts are good until the next update. */
    struct balancer_statistics balancing;
    uint32_t healthy_workers; /* that may send to it */
};

struct proxy_figures {
    struct proxy_counts counts;
    uint32_t workers, backends;
    struct proxy_backend_figures of[PROXY_MAXIMUM_BACKENDS];
};

/* Asks all workers. False when one did not answer within a second. */
bool proxy_figures(struct proxy *proxy, struct proxy_figures *ret_figures);
/* As Prometheus text. */
void proxy_figures_render(const struct proxy_figures *figures, struct buffer *out);
