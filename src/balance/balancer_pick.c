#include "balance/balancer_internal.h"
#include "base/assert.h"

/* A new pick: nobody is excluded but these. */
static void exclude(struct balancer *balancer, const struct balancer_request *request)
{
    balancer->pick_number++;
    balancer->excluded_preferred = 0;
    balancer->excluded_weight = 0;
    balancer->excluded_in_flight = 0;
    for (size_t i = 0; request != NULL && i < request->excluded_count; i++) {
        ASSERT(request->excluded[i] < balancer->slot_count);
        struct balancer_slot *slot = &balancer->slots[request->excluded[i]];
        if (!balancer_allows(balancer, slot)) {
            continue; /* given twice */
        }
        slot->excluded = balancer->pick_number;
        if (slot->rank < balancer->preferred_count) {
            balancer->excluded_preferred++;
            balancer->excluded_weight += slot->effective;
            balancer->excluded_in_flight += slot->in_flight;
        }
    }
}

static uint32_t pick_by_policy(struct balancer *balancer, const struct balancer_request *request)
{
    bool keyed = request != NULL && request->has_key;
    switch (balancer->options.policy) {
    case BALANCER_RANDOM: return balancer_pick_random(balancer);
    case BALANCER_ROUND_ROBIN: return balancer_pick_round_robin(balancer);
    case BALANCER_WEIGHTED_ROUND_ROBIN: return balancer_pick_weighted_round_robin(balancer);
    case BALANCER_LEAST_OUTSTANDING: return balancer_pick_least_outstanding(balancer);
    case BALANCER_TWO_CHOICES: return balancer_pick_two_choices(balancer);
    case BALANCER_PEAK_EWMA: return balancer_pick_peak_ewma(balancer);
    case BALANCER_RING: return balancer_pick_ring(balancer, keyed ? request->key : prng_next(&balancer->prng));
    case BALANCER_MAGLEV: return balancer_pick_maglev(balancer, keyed ? request->key : prng_next(&balancer->prng));
    case BALANCER_POLICIES: break;
    }
    UNREACHABLE();
}

/* All preferred ones were tried: the least loaded of the other zones. */
static uint32_t pick_elsewhere(const struct balancer *balancer)
{
    uint32_t least = BALANCER_NONE;
    for (uint32_t i = balancer->preferred_count; i < balancer->member_count; i++) {
        uint32_t handle = balancer->members[i];
        const struct balancer_slot *slot = &balancer->slots[handle];
        if (balancer_allows(balancer, slot) &&
            (least == BALANCER_NONE || balancer_less_loaded(slot, &balancer->slots[least]))) {
            least = handle;
        }
    }
    return least;
}

uint32_t balancer_pick(struct balancer *balancer, const struct balancer_request *request, int64_t now_ns)
{
    balancer_tick(balancer, now_ns);
    exclude(balancer, request);
    uint32_t handle = balancer->excluded_preferred < balancer->preferred_count ? pick_by_policy(balancer, request)
                                                                               : pick_elsewhere(balancer);
    if (handle == BALANCER_NONE) {
        balancer->picked_none++;
        return BALANCER_NONE;
    }
    ASSERT(balancer_allows(balancer, &balancer->slots[handle]));
    ASSERT(balancer->slots[handle].rank < balancer->member_count);
    balancer->picked++;
    balancer->endpoints[handle].picked++;
    return handle;
}
