/* What the files of this room share.
 *
 *   balancer.c             options, life, begin and end
 *   balancer_update.c      a new list: who is new, who left, whose state is kept
 *   balancer_members.c     who is eligible: health, panic, zones, slow start; the deadline
 *   balancer_health.c      checks, ejections, outliers
 *   balancer_pick.c        a pick: exclusions, the policy, what remains when the policy has nobody
 *   balancer_draw.c        random, two choices, peak EWMA
 *   balancer_turns.c       round robin, smooth weighted round robin, least outstanding
 *   balancer_keyed.c       policies of keys: from a key to an owner, and on from one that cannot take it
 *   balancer_ring.c, balancer_maglev.c    who owns what
 *   balancer_statistics.c  figures
 *
 * Invariants (besides those of balancer.h)
 *  1. slots[0, slot_count) are endpoints: listed ones, ones that left (state kept), free ones. A handle is a slot's
 * index.
 *  2. members[0, member_count) are the eligible ones, those of the own zone first when that is preferred:
 *     [0, preferred_count). Both parts are in the list's order. rank is an endpoint's index in it, else BALANCER_NONE.
 *  3. sums[i] is the sum of effective weights of members [0, i], for i < preferred_count; preferred_in_flight that of
 *     what these have in flight.
 *  4. After each refresh and each pick the turns of the preferred ones have the sum 0 (smooth weighted round robin).
 *  5. deadline_ns is the earliest time at which balancer_tick changes anything.
 *
 * Effective weights are fixed-point, 16 bits after the point, so that a weight of 1 can start slowly. */
#pragma once

#include "balance/balancer.h"
#include "base/prng.h"

enum {
    WEIGHT_ONE_BITS = 16,
    BALANCER_MAXIMUM_SLOTS = BALANCER_MAXIMUM_ENDPOINTS + BALANCER_MAXIMUM_REMEMBERED,
    BALANCER_DRAWS = 8, /* until drawing again gives way to a look at everybody */
};

/* What picks read. */
struct balancer_slot {
    int64_t turn; /* smooth weighted round robin: its current. Round robin: credit of a slow start, below 1 << 16 */
    uint64_t excluded; /* the number of the pick that must not have it */
    double average_ns;
    int64_t sampled_ns; /* of the average; negative: none yet */
    uint32_t effective; /* 1 … weight << 16 */
    uint32_t in_flight;
    uint32_t rank;
    uint32_t weight;
};

enum balancer_presence { BALANCER_FREE, BALANCER_LISTED, BALANCER_LEFT };

/* The rest of an endpoint. */
struct balancer_endpoint {
    char *text; /* id, address, zone, one after the other */
    uint16_t id_size, address_size, zone_size;
    uint8_t presence;
    bool draining;
    bool unhealthy;         /* by checks */
    uint32_t checks_in_row; /* that said the opposite of `unhealthy`'s present value */
    uint64_t id_hash;
    uint64_t left_number;     /* when it left; smaller is earlier */
    int64_t slow_since_ns;    /* negative: no slow start under way */
    int64_t ejected_until_ns; /* 0: not ejected */
    int64_t ejection_ended_ns;
    uint32_t ejections_in_row;
    uint32_t errors_in_row;
    uint32_t interval_total, interval_succeeded; /* since the last comparison of rates */
    uint64_t picked, succeeded, failed, cancelled, ejections, checks_passed, checks_failed;
};

/* Points in the order of their hashes. */
struct balancer_ring {
    uint64_t *hashes;
    uint32_t *owners;
    size_t count;
    uint32_t weight; /* options.ring_weight, or what the first list said; 0: no list yet */
};

struct balancer {
    struct balancer_options options; /* options.zone points at zone_text */
    char zone_text[BALANCER_MAXIMUM_ZONE_BYTES];
    struct prng prng;
    int64_t now_ns; /* the latest time told */
    int64_t deadline_ns;
    struct balancer_slot *slots;
    struct balancer_endpoint *endpoints; /* same index */
    uint32_t slot_count, slot_capacity;
    uint32_t *list; /* slots, in the list's order */
    uint32_t listed;
    uint32_t zones; /* how many the list has, not counting draining endpoints */
    uint64_t leavers;

    uint32_t *members, *old_members;
    uint32_t member_count, preferred_count;
    uint32_t list_capacity; /* of list, members, old_members, sums */
    uint64_t *sums;
    uint64_t preferred_in_flight;
    bool even; /* all preferred ones have the same effective weight */
    bool panic;
    bool own_zone;   /* it is preferred now */
    bool slow;       /* somebody is in a slow start */
    uint32_t cursor; /* rank of whose turn is next, below preferred_count or 0 */

    uint64_t pick_number;
    uint32_t excluded_preferred; /* of this pick: how many preferred ones are excluded, … */
    uint64_t excluded_weight;    /* … their effective weights … */
    uint64_t excluded_in_flight; /* … and what they have in flight */
    int64_t interval_end_ns;     /* of success rates; INT64_MAX: nothing was counted */
    struct balancer_ring ring;
    uint16_t *table;         /* Maglev: BALANCER_MAGLEV_SLOTS handles, BALANCER_TABLE_EMPTY when the list is empty */
    int64_t frozen_since_ns; /* negative: not frozen */
    uint64_t picked, picked_none;
};

#define BALANCER_TABLE_EMPTY UINT16_MAX
_Static_assert(BALANCER_MAXIMUM_SLOTS < BALANCER_TABLE_EMPTY, "a handle fits a table's slot");

static inline void balancer_advance(struct balancer *balancer, int64_t now_ns)
{
    balancer->now_ns = now_ns > balancer->now_ns ? now_ns : balancer->now_ns;
}

static inline struct slice balancer_endpoint_id(const struct balancer_endpoint *endpoint)
{
    return slice_of(endpoint->text, endpoint->id_size);
}

static inline struct slice balancer_endpoint_address(const struct balancer_endpoint *endpoint)
{
    return slice_of(endpoint->text + endpoint->id_size, endpoint->address_size);
}

static inline struct slice balancer_endpoint_zone(const struct balancer_endpoint *endpoint)
{
    return slice_of(endpoint->text + endpoint->id_size + endpoint->address_size, endpoint->zone_size);
}

/* Whether this pick may have it. */
static inline bool balancer_allows(const struct balancer *balancer, const struct balancer_slot *slot)
{
    return slot->excluded != balancer->pick_number;
}

/* Whether a has the smaller (in flight + 1) / weight. */
static inline bool balancer_less_loaded(const struct balancer_slot *a, const struct balancer_slot *b)
{
    return ((uint64_t)a->in_flight + 1) * b->effective < ((uint64_t)b->in_flight + 1) * a->effective;
}

/* Spreads the bits of a hash that may have few. */
static inline uint64_t balancer_mix(uint64_t hash) { return prng_splitmix(&hash); }

/* ---- balancer_members.c ---- */
/* Whether requests may go to it for its own part: listed, not draining. */
static inline bool balancer_is_candidate(const struct balancer_endpoint *endpoint)
{
    return endpoint->presence == BALANCER_LISTED && !endpoint->draining;
}

/* Of a candidate. */
static inline bool balancer_is_healthy(const struct balancer_endpoint *endpoint)
{
    return !endpoint->unhealthy && endpoint->ejected_until_ns == 0;
}

struct balancer_census {
    uint32_t candidates, healthy, ejected;
};

struct balancer_census balancer_count_candidates(const struct balancer *balancer);
/* Works out anew who is eligible. After anything that has a say in it. */
void balancer_refresh(struct balancer *balancer);

/* ---- balancer_health.c ---- */
/* Counts a request's outcome; may eject. */
void balancer_note_outcome(struct balancer *balancer, uint32_t handle, enum balancer_outcome outcome);
/* Ejects outliers, begins a new interval. */
void balancer_compare_rates(struct balancer *balancer);
/* How many may be ejected at the same time of `candidates` (listed and not draining). */
uint32_t balancer_ejection_limit(const struct balancer *balancer, uint32_t candidates);
/* Of those whose time is over; of those that the present list and health allow no more. */
void balancer_end_ejections(struct balancer *balancer);

/* ---- policies: a handle of [0, preferred_count), which is not empty, that the pick allows; else BALANCER_NONE ---- */
uint32_t balancer_pick_random(struct balancer *balancer);
uint32_t balancer_pick_two_choices(struct balancer *balancer);
uint32_t balancer_pick_peak_ewma(struct balancer *balancer);
uint32_t balancer_pick_round_robin(struct balancer *balancer);
uint32_t balancer_pick_weighted_round_robin(struct balancer *balancer);
uint32_t balancer_pick_least_outstanding(struct balancer *balancer);
uint32_t balancer_pick_ring(struct balancer *balancer, uint64_t key);
uint32_t balancer_pick_maglev(struct balancer *balancer, uint64_t key);

void balancer_ewma_sample(struct balancer *balancer, struct balancer_slot *slot, int64_t latency_ns, bool error);
/* After a refresh: turns of the present members have the sum 0. */
void balancer_settle_turns(struct balancer *balancer);

/* ---- ring and table, of the present list ---- */
/* Points of an endpoint of this weight, by the weight that has options.ring_points. */
uint64_t balancer_ring_points(const struct balancer *balancer, uint32_t weight, uint32_t ring_weight);
void balancer_ring_build(struct balancer *balancer);
void balancer_maglev_build(struct balancer *balancer);
