/* Balancing: which endpoint takes the next request, by a policy, by health, by zone. Pure: no clock, no I/O, no
 * threads; time and the seed of all draws arrive as arguments, and nothing is allocated but in balancer_create and
 * balancer_update.
 *
 *   balancer_update(list) ──→ who there is
 *   balancer_pick ──→ endpoint ──→ balancer_begin … balancer_end(latency, outcome)
 *                        ▲                              │
 *                        └── loads, averages, ejections ┘ ←── balancer_check_result (active checks)
 *
 * An endpoint is named to the caller by a handle, a small number. What balancer_pick returned is good until the next
 * balancer_update; between balancer_begin and balancer_end it is good always, also when the endpoint has left the list.
 *
 * Invariants
 *  1. State belongs to an endpoint's id: in flight, averages, turns, checks, ejections. No update of the list resets
 *     any; an id that left and comes back has its own again (unless BALANCER_MAXIMUM_REMEMBERED others left after it).
 *  2. Only listed endpoints that are not draining are picked. Of these the healthy ones (checks passed, not ejected);
 *     all of them when more than `panic_percent` are unhealthy.
 *  3. Ejected at the same time are at most `eject_percent` of them (but one may always be), and never the last
 *     healthy one.
 *  4. A pick changes turns and draws, nothing else; loads change with balancer_begin and balancer_end alone.
 *
 * Time is in nanoseconds of any monotonic clock, at least 0. A time before one that was told already counts as that
 * one. */
#pragma once

#include "base/slice.h"
#include "base/status.h"

enum {
    BALANCER_MAXIMUM_ENDPOINTS = 4096,  /* of a list */
    BALANCER_MAXIMUM_REMEMBERED = 4096, /* endpoints that left, of which the state is kept */
    BALANCER_MAXIMUM_WEIGHT = 65535,
    BALANCER_MAXIMUM_ID_BYTES = 255,
    BALANCER_MAXIMUM_ADDRESS_BYTES = 255,
    BALANCER_MAXIMUM_ZONE_BYTES = 63,
    BALANCER_MAXIMUM_RING_POINTS = 4096,          /* of one endpoint */
    BALANCER_MAXIMUM_RING_TOTAL_POINTS = 1 << 20, /* of all: 16 MB */
    BALANCER_MAGLEV_SLOTS = 65537,
};

#define BALANCER_NONE UINT32_MAX

enum balancer_policy {
    BALANCER_RANDOM,               /* in proportion to weights; O(log n) */
    BALANCER_ROUND_ROBIN,          /* each in turn, weights ignored, from a random first one on; O(1) */
    BALANCER_WEIGHTED_ROUND_ROBIN, /* smooth: turns in proportion to weights, spread over the cycle; O(n) */
    BALANCER_LEAST_OUTSTANDING,    /* the smallest (in flight + 1) / weight; O(n) */
    BALANCER_TWO_CHOICES,          /* of two drawn ones, that with the smaller (in flight + 1) / weight; O(log n) */
    BALANCER_PEAK_EWMA,            /* of two drawn ones, that with the smaller average × (in flight + 1) / weight */
    BALANCER_RING,                 /* consistent hashing of the key, with bounded loads; O(log points) */
    BALANCER_MAGLEV,               /* consistent hashing of the key, by a table; O(1) */
    BALANCER_POLICIES,
};

/* "random", "round-robin", "weighted", "least", "two-choices", "peak-ewma", "ring", "maglev". */
const char *balancer_policy_name(enum balancer_policy policy);
bool balancer_policy_parse(struct slice name, enum balancer_policy *ret_policy);

/* balancer_options_init gives the defaults, which stand behind each. */
struct balancer_options {
    enum balancer_policy policy; /* two-choices */
    uint64_t seed;               /* 0; of what is drawn. Ring and table do not depend on it: all balancers agree */
    struct slice zone;           /* none; the own one, preferred while it has its share (borrowed in create) */
    uint32_t zone_share_percent; /* 100; of that share: an even part of the healthy weight for each zone. 0–1000 */

    int64_t ewma_decay_ns; /* 10 s; τ: an average loses 1 - 1/e in this time. At least 1 ms */

    uint32_t ring_points;       /* 160; points on the ring of an endpoint of weight ring_weight. 1–4096 */
    uint32_t ring_weight;       /* 0: the largest weight of the first list. Balancers that must agree are given it */
    uint32_t ring_load_percent; /* 125; c: nobody gets above c times the mean load, rounded up. 101–10000 */

    uint32_t rise; /* 2; checks passed in a row that make an endpoint healthy again. 1–1000 */
    uint32_t fall; /* 3; checks failed in a row that make it unhealthy. 1–1000 */

    uint32_t eject_errors;       /* 5; failed requests in a row that eject. 0: never */
    int64_t eject_base_ns;       /* 30 s; the first ejection's time; the n-th in a row lasts n times that, … */
    int64_t eject_maximum_ns;    /* 300 s; … at most this */
    uint32_t eject_percent;      /* 10. 0–100; 0: nobody is ejected */
    int64_t outlier_interval_ns; /* 10 s; success rates are compared over this time. 0: never. At least 1 ms */
    uint32_t outlier_requests;   /* 100; with fewer in that time an endpoint's rate says nothing. At least 1 */
    uint32_t outlier_endpoints;  /* 5; with fewer rates nobody is an outlier. At least 2 */
    uint32_t outlier_deviation_permille; /* 1900; below mean - 1.9 σ is an outlier. 1–10000 */

    int64_t slow_start_ns;  /* 10 s; who comes back or joins later grows to its weight over this time. 0: at once */
    uint32_t panic_percent; /* 50; with more than this unhealthy, all are used rather than few. 0–100; 100: never */
};

void balancer_options_init(struct balancer_options *ret_options);

struct balancer;

/* STATUS_INVALID for an option out of its range, with a text for a person in *ret_why (static; may be NULL). */
MUST_USE enum status balancer_create(const struct balancer_options *options, struct balancer **ret_balancer,
                                     const char **ret_why);
/* NULL is harmless. */
void balancer_destroy(struct balancer *balancer);

/* An endpoint as its list tells of it. Texts are borrowed for the call; they hold no spaces or control characters. */
struct balancer_listing {
    struct slice id;      /* 1–255 bytes; unique in the list */
    struct slice address; /* 1–255 bytes; the balancer only keeps it */
    uint32_t weight;      /* 1–65535 */
    struct slice zone;    /* 0–63 bytes */
    bool draining;        /* gets nothing new, loses nothing */
};

enum balancer_refusal {
    BALANCER_REFUSED_NOTHING,
    BALANCER_REFUSED_COUNT,     /* more than BALANCER_MAXIMUM_ENDPOINTS */
    BALANCER_REFUSED_ID,        /* empty, too long, or with a space or control character */
    BALANCER_REFUSED_DUPLICATE, /* an id that the list has before */
    BALANCER_REFUSED_ADDRESS,
    BALANCER_REFUSED_WEIGHT,
    BALANCER_REFUSED_ZONE,
    BALANCER_REFUSED_RING_POINTS, /* weights × ring_points / ring_weight are above the limits of a ring */
    BALANCER_REFUSED_IN_FLIGHT,   /* too many that left still have requests in flight; later it will do */
};

struct balancer_refused {
    enum balancer_refusal why;
    size_t at; /* index in the list, where the reason is one endpoint */
};

/* What a person should know and do about it; never NULL. */
const char *balancer_refusal_text(enum balancer_refusal why);

/* Replaces the list (an empty one too), in the order given; ends a freeze. Nothing changes when it is refused:
 * STATUS_INVALID, STATUS_TOO_LARGE (count, ring points), STATUS_FULL (in flight), and *ret_refused says why (may be
 * NULL). O(n); O(points log points) for a ring and O(slots log n) for a table, when ids or weights changed. */
MUST_USE enum status balancer_update(struct balancer *balancer, const struct balancer_listing *list, size_t count,
                                     int64_t now_ns, struct balancer_refused *ret_refused);
/* The source of lists cannot be reached: the last one stays, and figures say since when. */
void balancer_freeze(struct balancer *balancer, int64_t now_ns);

/* What a pick is for. */
struct balancer_request {
    bool has_key;             /* without one, policies of keys draw */
    uint64_t key;             /* balancer_key_hash, or any hash */
    const uint32_t *excluded; /* handles that were tried already; borrowed for the call */
    size_t excluded_count;
};

uint64_t balancer_key_hash(struct slice key);

/* BALANCER_NONE when there is nobody (else). `request` may be NULL: no key, nobody excluded. */
uint32_t balancer_pick(struct balancer *balancer, const struct balancer_request *request, int64_t now_ns);

enum balancer_outcome {
    BALANCER_OK,
    BALANCER_ERROR,     /* the endpoint's: refused, reset, timed out, answered that it is broken */
    BALANCER_CANCELLED, /* says nothing about the endpoint: the client left */
};

void balancer_begin(struct balancer *balancer, uint32_t endpoint, int64_t now_ns);
/* `latency_ns` from begin to what counts as the answer; negative when there is none to tell. That of an error counts
 * only when it is above the average: refusing quickly makes nobody attractive. */
void balancer_end(struct balancer *balancer, uint32_t endpoint, int64_t now_ns, int64_t latency_ns,
                  enum balancer_outcome outcome);

/* What an active check found. */
void balancer_check_result(struct balancer *balancer, uint32_t handle, int64_t now_ns, bool passed);

/* Ejections end, rates are compared, slow starts grow; picks and ends do it too, so it is needed only for figures that
 * are right while nothing happens. */
void balancer_tick(struct balancer *balancer, int64_t now_ns);
/* When balancer_tick has something to do next; INT64_MAX: never. */
int64_t balancer_next_deadline(const struct balancer *balancer);

struct balancer_statistics {
    struct slice id, address, zone; /* good until the next update */
    uint32_t weight;
    uint32_t effective_weight_permille; /* of the weight: below 1000 in a slow start */
    bool listed, draining;
    bool healthy;  /* by active checks */
    bool ejected;  /* by what requests met */
    bool eligible; /* picked now: healthy, or all are used */
    int64_t ejected_until_ns;
    uint32_t in_flight;
    uint32_t consecutive_errors;
    uint64_t picked, succeeded, failed, cancelled, ejections, checks_passed, checks_failed;
    double average_ns; /* peak EWMA, as of the last sample; 0: none yet */
};

/* Of one endpoint; false for a handle that is none (any more). */
bool balancer_endpoint_statistics(const struct balancer *balancer, uint32_t endpoint,
                                  struct balancer_statistics *ret_statistics);
/* Handles of the list, in its order: 0 ≤ at < balancer_summary.listed. */
uint32_t balancer_listed(const struct balancer *balancer, size_t at);
/* The handle of a listed id, or BALANCER_NONE; O(n). */
uint32_t balancer_find(const struct balancer *balancer, struct slice id);

struct balancer_summary {
    uint32_t listed, draining, unhealthy, ejected; /* unhealthy by checks; the ejected are counted apart */
    uint32_t leaving;                              /* left the list with requests in flight */
    uint32_t eligible;
    bool panic;    /* more than panic_percent are unhealthy or ejected: all are used */
    bool own_zone; /* the own zone is preferred now */
    bool frozen;
    int64_t frozen_since_ns;
    uint64_t picked, picked_none;
};

void balancer_summarize(const struct balancer *balancer, struct balancer_summary *ret_summary);
