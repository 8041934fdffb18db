/* The inside of a handle (cohort/client.h): settings, nodes, links, operations, and who drives.
 *
 * There is no thread of its own. Of the threads that wait for something, one drives: it waits for the descriptors and
 * the timers of all, with the mutex released; the others wait for their own end, or for their turn to drive.
 * cohort_process is a driver that never waits.
 *
 * Descriptors: work_fd, an epoll of all links and wake_fd, is what a driver waits for; loop_fd, which the caller polls,
 * is an epoll of work_fd and ready_fd. wake_fd is written when there is something to do that no link tells (a new
 * operation, an earlier timer) and read by drivers; ready_fd when a callback is due, and read by cohort_process alone.
 *
 * Invariants
 * 1. Everything is under `mutex`, but for epoll_wait, the resolver and the calls of callbacks.
 * 2. No operation is without a set timer.
 * 3. When a driver stops and others wait, one of them is signalled to drive on; when none does, and the caller's loop
 * would sleep beyond the next timer, that is woken. */
#pragma once

#include "base/key_slot.h"
#include "base/prng.h"
#include "client/connector.h"
#include "client/inherited.h"
#include "client/link.h"

enum {
    HANDLE_NODES = 128,
    HANDLE_CONNECT_MS = 1000,           /* a node that does not answer by then is left for another */
    HANDLE_BACKOFF_MS = 20,             /* first pause of a node that refused; doubles */
    HANDLE_BACKOFF_MAXIMUM_MS = 1000,   /* of a node of the URL */
    HANDLE_STRANGER_MAXIMUM_MS = 10000, /* of one that the cluster told of, and that was never reached */
    HANDLE_DOUBT_MS = 2000,             /* so long a node that said that it cannot serve is asked after the others */
    HANDLE_REFUSED_MS = 10,             /* first pause of an operation that was refused; doubles */
    HANDLE_REFUSED_MAXIMUM_MS = 500,
    HANDLE_LEADERS_MS = 5000,     /* leaders are asked for anew after so long, */
    HANDLE_LEADERS_SOON_MS = 100, /* or so soon when something was lost or refused */
    HANDLE_IDLE_LINKS = 8,        /* private links kept for the next */
    HANDLE_IN_KEPT_BYTES = 64 * 1024,
    HANDLE_TIMEOUT_MAXIMUM_MS = 24 * 3600 * 1000,
    HANDLE_NODE_UNKNOWN = 0xff,
};

struct node {
    struct client_endpoint endpoint;
    bool is_told; /* by the cluster, not by the URL */
    bool was_reached;
    uint32_t failures;
    uint32_t attempts;  /* which of a host's addresses is next */
    uint32_t refused;   /* attempts in a row that found nobody */
    uint32_t addresses; /* of its host, as was found last; 0: it was not looked for, or is an address */
    int64_t again_ns;
    int64_t doubt_until_ns; /* it said that it cannot serve: until then others are asked first */
    struct link shared;
};

struct client_settings {
    unsigned flags;
    int64_t timeout_ms;
    char *password; /* NULL: none */
    uint32_t operations_max;
    uint32_t connections_max;
    uint64_t request_bytes_max;
    uint64_t reply_bytes_max;
};

struct cohort {
    struct handle_mark mark;
    pthread_mutex_t mutex;
    struct client_settings settings;
    struct client_connector connector;
    int work_fd;
    int wake_fd;
    int loop_fd;
    int ready_fd;
    bool driving;
    bool woken;      /* wake_fd is written */
    bool ready_told; /* ready_fd is written */
    bool closing;
    bool dispatch_due; /* some that wait may have a link now */
    int64_t driver_until_ns;
    int64_t loop_until_ns; /* how long the caller's loop sleeps, as it was told; INT64_MIN: it does not */
    struct timers timers;
    struct timer timer; /* a node may be tried again */
    struct prng prng;

    struct list waiters; /* outcomes of threads that do not drive */
    struct list waiting; /* operations without a link */
    struct list pausing; /* operations that were refused */
    struct list ready;   /* operations that have ended, with a callback */
    struct list keepers; /* those on the caller's loop with a call to make (keeper.h) */
    struct list kept;    /* all keepers */
    uint32_t leaving;    /* threads of keepers that were stopped within `lost`: nobody joins them */
    pthread_cond_t left; /* one of them has */
    struct list feeds;   /* all that are open (feed.h) */
    struct list telling; /* those of them with a call to make on the caller's loop */
    uint32_t operations;
    uint64_t request_bytes;

    struct list links; /* the shared ones and the private ones */
    struct list dead;  /* private ones that have closed */
    uint32_t private_count;
    struct node *nodes[HANDLE_NODES];
    uint32_t node_count;
    uint32_t next_node; /* whom to try first */
    char problem[160];  /* why the last connection failed */

    uint8_t leader_of[KEY_SLOTS]; /* index of a node, or HANDLE_NODE_UNKNOWN */
    int64_t leaders_ns;           /* when they were asked for last; 0: never */
    bool leaders_doubted;
    bool leaders_asked;
};

int64_t handle_boottime_ns(void);

/* This process is a child of the one that opened it: nothing of it may be touched, and the mutex not be taken. */
static inline bool handle_is_inherited(const struct cohort *cohort) { return handle_mark_is_inherited(&cohort->mark); }

static inline void handle_lock(struct cohort *cohort) { (void)pthread_mutex_lock(&cohort->mutex); }
static inline void handle_unlock(struct cohort *cohort) { (void)pthread_mutex_unlock(&cohort->mutex); }

/* NULL when there are too many, or memory is refused. */
struct node *handle_add_node(struct cohort *cohort, const struct client_endpoint *endpoint, bool is_told);

/* cohort_open, for a URL that was taken apart. The connector is copied, and is taken over when it is opened. */
enum cohort_status client_open(const struct client_url *url, const struct cohort_options *options,
                               const struct client_connector *connector, struct cohort **ret_cohort);

/* ---- drive.c: who waits for the descriptors ---- */

/* A driver, or the caller's loop, looks anew. */
void handle_wake(struct cohort *cohort);

/* Sets a timer; a driver that would sleep too long is woken. */
void handle_set_timer(struct cohort *cohort, struct timer *timer, int64_t due_ns);

/* One wait of at most until then, and all that came of it; no wait when what `mine` waits for (NULL: nothing) has
 * ended. Nobody else drives. */
void handle_drive(struct cohort *cohort, int64_t until_ns, const struct outcome *mine);

/* Sends what is queued. */
void handle_flush(struct cohort *cohort);

/* Frees the private links that have died. Nobody drives, and no caller holds one. */
void handle_free_dead(struct cohort *cohort);

/* Until the operation of the outcome has ended; it was submitted. */
void handle_wait(struct cohort *cohort, struct outcome *outcome);

/* Who drove has left; the next may. */
void handle_hand_over(struct cohort *cohort);

/* ready_fd: the caller's loop has callbacks to make; and those calls. */
void handle_tell_ready(struct cohort *cohort);
void handle_call_back(struct cohort *cohort);

/* An operation that has ended, to whoever wants to know. */
void handle_deliver(struct cohort *cohort, struct operation *operation);

/* ---- dispatch.c: which link ---- */

/* Gives an operation to a link, or has it wait for one. */
void handle_dispatch(struct cohort *cohort, struct operation *operation);

/* A link has opened, or is free again: those that wait are looked at. */
void handle_dispatch_waiting(struct cohort *cohort);

/* A link failed to open (or, with was_open, was lost). */
void handle_node_failed(struct cohort *cohort, struct node *node, bool was_open, const char *why);

/* It is there, and said that it cannot serve, or could not find out. */
void handle_doubt_node(struct cohort *cohort, struct node *node);

/* All that wait end with this. */
void handle_fail_waiting(struct cohort *cohort, enum cohort_status status, const char *why);

/* ---- leaders.c ---- */

/* The node that leads the slot, as far as is known; NULL otherwise. */
struct node *handle_leader(struct cohort *cohort, int slot);

/* Asks this open link for the leaders if it is time. */
void handle_ask_leaders(struct cohort *cohort, struct link *link);

/* ---- calls.c: what the API's calls are made of ---- */

enum cohort_status client_call(struct cohort *cohort, const struct client_request *request,
                               struct cohort_reply **ret_reply);
enum cohort_status client_start(struct cohort *cohort, const struct client_request *request, cohort_callback callback,
                                void *data);

/* The same for an operation that is made already, and taken over; NULL: memory was refused. */
enum cohort_status client_run(struct cohort *cohort, struct operation *operation, struct cohort_reply **ret_reply);
enum cohort_status client_submit(struct cohort *cohort, struct operation *operation, cohort_callback callback,
                                 void *data);

/* A refusal of the library itself; and that of a handle which is inherited. */
enum cohort_status client_refuse(enum cohort_status status, struct cohort_reply **ret_reply, const char *why);
enum cohort_status client_refuse_inherited(struct cohort_reply **ret_reply);

/* Steps of simple calls: nil is COHORT_NOTFOUND, nil is COHORT_CONFLICT, 0 is COHORT_NOTFOUND. */
bool step_nil_is_not_found(struct operation *operation, bool may_go_on);
bool step_nil_is_conflict(struct operation *operation, bool may_go_on);
bool step_zero_is_not_found(struct operation *operation, bool may_go_on);

/* Copies as many bytes of a caller's options as it has (its first field says; 0: all); NULL: all zero. */
void client_take_options(void *ret_options, size_t size, const void *given);
