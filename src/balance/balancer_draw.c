/* Policies that draw: random; the power of two choices (Mitzenmacher, "The Power of Two Choices in Randomized Load
 * Balancing", IEEE TPDS 2001); peak EWMA (the load metric of Twitter's Finagle).
 *
 * Draws are in proportion to effective weights: one by binary search in the sums, or at once while all are equal. Who
 * is excluded is drawn again; after BALANCER_DRAWS of these everybody is looked at, which gives the same
 * distribution. */
#include "balance/balancer_internal.h"

#include <math.h>

/* The first one whose sum is above `at`. */
static uint32_t rank_at(const struct balancer *balancer, uint64_t at)
{
    uint32_t low = 0;
    uint32_t high = balancer->preferred_count - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (balancer->sums[middle] > at) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static uint32_t draw_any(struct balancer *balancer)
{
    if (balancer->even) {
        return balancer->members[prng_below(&balancer->prng, balancer->preferred_count)];
    }
    uint64_t total = balancer->sums[balancer->preferred_count - 1];
    return balancer->members[rank_at(balancer, prng_below(&balancer->prng, total))];
}

static bool allowed(const struct balancer *balancer, uint32_t handle, uint32_t besides)
{
    return handle != besides && balancer_allows(balancer, &balancer->slots[handle]);
}

static uint32_t draw_by_looking(struct balancer *balancer, uint32_t besides)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < balancer->preferred_count; i++) {
        uint32_t handle = balancer->members[i];
        total += allowed(balancer, handle, besides) ? balancer->slots[handle].effective : 0;
    }
    if (total == 0) {
        return BALANCER_NONE;
    }
    uint64_t at = prng_below(&balancer->prng, total);
    for (uint32_t i = 0;; i++) {
        uint32_t handle = balancer->members[i];
        if (!allowed(balancer, handle, besides)) {
            continue;
        }
        if (at < balancer->slots[handle].effective) {
            return handle;
        }
        at -= balancer->slots[handle].effective;
    }
}

/* One that the pick allows, and not `besides`. */
static uint32_t draw(struct balancer *balancer, uint32_t besides)
{
    for (int i = 0; i < BALANCER_DRAWS; i++) {
        uint32_t handle = draw_any(balancer);
        if (allowed(balancer, handle, besides)) {
            return handle;
        }
    }
    return draw_by_looking(balancer, besides);
}

uint32_t balancer_pick_random(struct balancer *balancer) { return draw(balancer, BALANCER_NONE); }

/* Two different ones, or twice the same when there is one only; false when there is none. */
static bool draw_two(struct balancer *balancer, uint32_t ret_handles[static 2])
{
    ret_handles[0] = draw(balancer, BALANCER_NONE);
    if (ret_handles[0] == BALANCER_NONE) {
        return false;
    }
    ret_handles[1] = balancer->preferred_count == 1 ? BALANCER_NONE : draw(balancer, ret_handles[0]);
    if (ret_handles[1] == BALANCER_NONE) {
        ret_handles[1] = ret_handles[0];
    }
    return true;
}

uint32_t balancer_pick_two_choices(struct balancer *balancer)
{
    uint32_t drawn[2];
    if (!draw_two(balancer, drawn)) {
        return BALANCER_NONE;
    }
    bool second = balancer_less_loaded(&balancer->slots[drawn[1]], &balancer->slots[drawn[0]]);
    return drawn[second];
}

/* What remains after this time without a sample. */
static double decay(const struct balancer *balancer, const struct balancer_slot *slot)
{
    return exp(-(double)(balancer->now_ns - slot->sampled_ns) / (double)balancer->options.ewma_decay_ns);
}

/* An endpoint without a sample is tried once; until that is answered, it comes after those that are known. */
static const double UNKNOWN_NS = 1e18;

static double ewma_score(const struct balancer *balancer, const struct balancer_slot *slot)
{
    double load = (double)slot->in_flight + 1;
    double average = slot->sampled_ns >= 0 ? slot->average_ns * decay(balancer, slot)
                     : slot->in_flight > 0 ? UNKNOWN_NS
                                           : 0;
    return average * load / (double)slot->effective;
}

uint32_t balancer_pick_peak_ewma(struct balancer *balancer)
{
    uint32_t drawn[2];
    if (!draw_two(balancer, drawn)) {
        return BALANCER_NONE;
    }
    bool second = ewma_score(balancer, &balancer->slots[drawn[1]]) < ewma_score(balancer, &balancer->slots[drawn[0]]);
    return drawn[second];
}

void balancer_ewma_sample(struct balancer *balancer, struct balancer_slot *slot, int64_t latency_ns, bool error)
{
    double sample = (double)latency_ns;
    bool known = slot->sampled_ns >= 0;
    if (error && known && sample <= slot->average_ns) {
        return;
    }
    if (known && sample <= slot->average_ns) {
        double old = decay(balancer, slot);
        sample = slot->average_ns * old + sample * (1 - old);
    }
    slot->average_ns = sample;
    slot->sampled_ns = balancer->now_ns;
}
