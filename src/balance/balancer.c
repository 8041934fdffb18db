#include "balance/balancer_internal.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"

static const int64_t SECOND_NS = 1000000000;
static const int64_t MAXIMUM_TIME_NS = INT64_MAX / 4; /* so that sums of a clock and a duration fit */

static const char *const POLICY_NAMES[BALANCER_POLICIES] = {
    [BALANCER_RANDOM] = "random",
    [BALANCER_ROUND_ROBIN] = "round-robin",
    [BALANCER_WEIGHTED_ROUND_ROBIN] = "weighted",
    [BALANCER_LEAST_OUTSTANDING] = "least",
    [BALANCER_TWO_CHOICES] = "two-choices",
    [BALANCER_PEAK_EWMA] = "peak-ewma",
    [BALANCER_RING] = "ring",
    [BALANCER_MAGLEV] = "maglev",
};

const char *balancer_policy_name(enum balancer_policy policy)
{
    ASSERT(policy < BALANCER_POLICIES);
    return POLICY_NAMES[policy];
}

bool balancer_policy_parse(struct slice name, enum balancer_policy *ret_policy)
{
    for (int i = 0; i < BALANCER_POLICIES; i++) {
        if (slice_equal(name, slice_from_string(POLICY_NAMES[i]))) {
            *ret_policy = (enum balancer_policy)i;
            return true;
        }
    }
    return false;
}

void balancer_options_init(struct balancer_options *ret_options)
{
    *ret_options = (struct balancer_options){
        .policy = BALANCER_TWO_CHOICES,
        .zone_share_percent = 100,
        .ewma_decay_ns = 10 * SECOND_NS,
        .ring_points = 160,
        .ring_load_percent = 125,
        .rise = 2,
        .fall = 3,
        .eject_errors = 5,
        .eject_base_ns = 30 * SECOND_NS,
        .eject_maximum_ns = 300 * SECOND_NS,
        .eject_percent = 10,
        .outlier_interval_ns = 10 * SECOND_NS,
        .outlier_requests = 100,
        .outlier_endpoints = 5,
        .outlier_deviation_permille = 1900,
        .slow_start_ns = 10 * SECOND_NS,
        .panic_percent = 50,
    };
}

static bool between(int64_t value, int64_t least, int64_t most) { return value >= least && value <= most; }

/* What is wrong with these options; NULL: nothing. */
static const char *problem_of_options(const struct balancer_options *options)
{
    const struct {
        bool fine;
        const char *problem;
    } checks[] = {
        {options->policy < BALANCER_POLICIES, "the policy is none of those there are"},
        {options->zone.size <= BALANCER_MAXIMUM_ZONE_BYTES, "the own zone's name is longer than 63 bytes"},
        {between(options->zone_share_percent, 0, 1000), "zone_share_percent is 0 to 1000"},
        {between(options->ewma_decay_ns, 1000000, MAXIMUM_TIME_NS), "ewma_decay_ns is at least a millisecond"},
        {between(options->ring_points, 1, BALANCER_MAXIMUM_RING_POINTS), "ring_points is 1 to 4096"},
        {between(options->ring_weight, 0, BALANCER_MAXIMUM_WEIGHT), "ring_weight is 0 to 65535"},
        {between(options->ring_load_percent, 101, 10000), "ring_load_percent is 101 to 10000"},
        {between(options->rise, 1, 1000), "rise is 1 to 1000"},
        {between(options->fall, 1, 1000), "fall is 1 to 1000"},
        {between(options->eject_base_ns, 1, MAXIMUM_TIME_NS), "eject_base_ns is at least 1"},
        {between(options->eject_maximum_ns, options->eject_base_ns, MAXIMUM_TIME_NS),
         "eject_maximum_ns is at least eject_base_ns"},
        {between(options->eject_percent, 0, 100), "eject_percent is 0 to 100"},
        {options->outlier_interval_ns == 0 || between(options->outlier_interval_ns, 1000000, MAXIMUM_TIME_NS),
         "outlier_interval_ns is 0 or at least a millisecond"},
        {between(options->outlier_requests, 1, UINT32_MAX), "outlier_requests is at least 1"},
        {between(options->outlier_endpoints, 2, UINT32_MAX), "outlier_endpoints is at least 2"},
        {between(options->outlier_deviation_permille, 1, 10000), "outlier_deviation_permille is 1 to 10000"},
        {between(options->slow_start_ns, 0, MAXIMUM_TIME_NS), "slow_start_ns is at least 0"},
        {between(options->panic_percent, 0, 100), "panic_percent is 0 to 100"},
    };
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        if (!checks[i].fine) {
            return checks[i].problem;
        }
    }
    return NULL;
}

enum status balancer_create(const struct balancer_options *options, struct balancer **ret_balancer,
                            const char **ret_why)
{
    const char *problem = problem_of_options(options);
    if (problem != NULL) {
        if (ret_why != NULL) {
            *ret_why = problem;
        }
        return STATUS_INVALID;
    }
    struct balancer *balancer = memory_allocate_zeroed(1, sizeof(*balancer));
    balancer->options = *options;
    if (options->zone.size > 0) {
        memcpy(balancer->zone_text, options->zone.data, options->zone.size);
    }
    balancer->options.zone = slice_of(balancer->zone_text, options->zone.size);
    prng_seed(&balancer->prng, options->seed);
    balancer->deadline_ns = INT64_MAX;
    balancer->interval_end_ns = INT64_MAX;
    balancer->frozen_since_ns = -1;
    balancer->ring.weight = options->ring_weight;
    *ret_balancer = balancer;
    return STATUS_OK;
}

void balancer_destroy(struct balancer *balancer)
{
    if (balancer == NULL) {
        return;
    }
    for (uint32_t i = 0; i < balancer->slot_count; i++) {
        free(balancer->endpoints[i].text);
    }
    free(balancer->slots);
    free(balancer->endpoints);
    free(balancer->list);
    free(balancer->members);
    free(balancer->old_members);
    free(balancer->sums);
    free(balancer->ring.hashes);
    free(balancer->ring.owners);
    free(balancer->table);
    free(balancer);
}

void balancer_freeze(struct balancer *balancer, int64_t now_ns)
{
    balancer_advance(balancer, now_ns);
    if (balancer->frozen_since_ns < 0) {
        balancer->frozen_since_ns = balancer->now_ns;
    }
}

uint64_t balancer_key_hash(struct slice key) { return hash_bytes(0, key.data, key.size); }

static struct balancer_slot *slot_of(struct balancer *balancer, uint32_t handle)
{
    ASSERT(handle < balancer->slot_count);
    ASSERT(balancer->endpoints[handle].presence != BALANCER_FREE);
    return &balancer->slots[handle];
}

void balancer_begin(struct balancer *balancer, uint32_t endpoint, int64_t now_ns)
{
    struct balancer_slot *slot = slot_of(balancer, endpoint);
    balancer_advance(balancer, now_ns);
    ASSERT(slot->in_flight < UINT32_MAX);
    slot->in_flight++;
    balancer->preferred_in_flight += slot->rank < balancer->preferred_count;
}

void balancer_end(struct balancer *balancer, uint32_t endpoint, int64_t now_ns, int64_t latency_ns,
                  enum balancer_outcome outcome)
{
    struct balancer_slot *slot = slot_of(balancer, endpoint);
    balancer_tick(balancer, now_ns);
    ASSERT(slot->in_flight > 0);
    slot->in_flight--;
    balancer->preferred_in_flight -= slot->rank < balancer->preferred_count;
    if (latency_ns >= 0 && outcome != BALANCER_CANCELLED) {
        balancer_ewma_sample(balancer, slot, latency_ns, outcome == BALANCER_ERROR);
    }
    balancer_note_outcome(balancer, endpoint, outcome);
}
